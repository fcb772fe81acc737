"""What lists tell: a read of a list is the order in which its elements were appended (Kingsbury & Alvaro, "Elle: inferring
isolation anomalies from experimental observations", VLDB 2020).

The longest list read of a key is its version order, as far as it goes; every other read has to be a prefix of it. What was
appended and never read comes after it, for else somebody would have read it, unless it is proven to be lost.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions.graph import READS, RW, WR, WW, Edges, Flags, Ints
from splitbrain.checkers.transactions.inference import Inference, Problems, group_ends, located, paired
from splitbrain.checkers.transactions.lattice import Level
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.micros import APPEND, READ, READ_LIST, Micros
from splitbrain.harness.history.ranges import bounds, ranges
from splitbrain.harness.history.values import NIL

_CHUNK = 1 << 22
"""How many elements of lists are compared at once."""

_COMPARED = 1000
"""How many lists are compared with the longest one by what acknowledged transactions appended alone."""

_UNREAD_PAIRS = 16
"""How many edges to appends that nobody read are drawn for each micro-operation, at most."""


def infer(history: History, budget: Budget) -> Inference:
    """The dependencies of a history of appends and reads of lists, and what is wrong without a cycle. Raises `Exhausted`."""
    return _Lists(history, budget).inference()


def lost(inference: Inference, final: int) -> Problems:
    """The acknowledged appends that are in no list read from `final` on (nanoseconds), after everything was healed, though
    their key was read then. Of each the problem has the first read that missed it as reader, the append as micro-operation and
    the transaction that made it beside them."""
    history, micros = inference.history, inference.micros
    owner, key = micros.owners(), micros.key.astype(np.int64)
    late = (history.invoked[owner] >= final) & (history.outcome[owner] == OK)
    reads = np.flatnonzero(late & ((micros.f == READ_LIST) | ((micros.f == READ) & (micros.value == NIL))))
    reads = reads[np.argsort(history.invoked[owner[reads]], kind="stable")]
    first = np.full(len(micros.keys), -1)
    first[key[reads[::-1]]] = reads[::-1]
    known = (micros.f == APPEND) & (history.outcome[owner] == OK) & (history.completed[owner] < final) & (first[key] >= 0)
    appends = np.flatnonzero(known)
    listed = reads[micros.f[reads] == READ_LIST]
    begin = micros.list_start[micros.value[listed]]
    lengths = micros.list_start[micros.value[listed] + 1] - begin
    there = micros.list_values[ranges(begin, lengths)]
    mine, found = paired(key[appends], micros.value[appends], np.repeat(key[listed], lengths), there)
    gone = appends[~np.isin(mine, found)]
    return Problems.of("lost-append", owner[first[key[gone]]], gone, owner[gone])


def without_place(inference: Inference, appends: Ints) -> Inference:
    """The same without any place of these appends, which are lost, in the order of their lists: that they came behind all that
    was read follows only where they are not. (What read a list saw it without them, wherever they were.)"""
    micros, edges = inference.micros, inference.edges
    owner, many = micros.owners(), max(len(micros.keys), 1)
    code = owner * many + micros.key
    # Who also appended something there that was found has a place in that order.
    nowhere = np.setdiff1d(code[appends], code[inference.version >= 0])
    drawn = (edges.kind == WW) & np.isin(edges.target * many + edges.key, nowhere)
    return replace(inference, edges=edges.where(~drawn))


class _Lists:
    def __init__(self, history: History, budget: Budget) -> None:
        micros = history.micros
        assert micros is not None
        self.history = history
        self.budget = budget
        self.micros: Micros = micros
        self.owner = micros.owners()
        self.outcome = history.outcome[self.owner]
        self.key = micros.key.astype(np.int64)
        self.keys = len(micros.keys)
        self.problems: list[Problems] = []
        self.limits: list[str] = []

    def inference(self) -> Inference:
        micros = self.micros
        self.appends = np.flatnonzero(micros.f == APPEND)
        known = (micros.f == READ_LIST) | ((micros.f == READ) & (micros.value == NIL))
        self.reads = np.flatnonzero(known & (self.outcome == OK))
        self._find_orders()
        self.budget.check()
        ambiguous = self._find_writers()
        if ambiguous:
            return Inference.of_ambiguous(self.history, ambiguous)
        committed = self._find_committed()
        self._find_versions(committed)
        self.budget.check()
        self._judge_elements()
        self._judge_orders()
        self.budget.check()
        external, seen, read_from = self._judge_reads()
        self.budget.check()
        edges, total = self._draw(committed, seen)
        return Inference(
            self.history, micros, committed, edges, self.installed, self.version, external, read_from, seen, total,
            tuple(one for one in self.problems if len(one)), "", tuple(self.limits),
        )

    # The order of each key: the longest list that was read of it.

    def _find_orders(self) -> None:
        micros, reads = self.micros, self.reads
        self.length = np.zeros(len(micros.f), np.int64)
        listed = reads[micros.f[reads] == READ_LIST]
        lists = micros.value[listed]
        self.length[listed] = np.diff(micros.list_start)[lists]
        longest = np.zeros(self.keys, np.int64)
        np.maximum.at(longest, self.key[reads], self.length[reads])
        self.longest_read = np.full(self.keys, -1)
        whole = listed[self.length[listed] == longest[self.key[listed]]][::-1]
        self.longest_read[self.key[whole]] = whole
        self.order_start = bounds(longest)
        chosen = self.longest_read[longest > 0]
        begin = micros.list_start[micros.value[chosen]]
        self.elements = micros.list_values[ranges(begin, self.length[chosen])]
        self.element_key = np.repeat(np.arange(self.keys), longest)
        self.prefix = np.ones(len(micros.f), np.bool_)
        at = 0
        ends = np.cumsum(self.length[listed])
        while at < len(listed):
            base = ends[at - 1] if at else 0
            to = max(int(np.searchsorted(ends, base + _CHUNK, side="right")), at + 1)
            some = listed[at:to]
            lengths = self.length[some]
            mine = micros.list_values[ranges(micros.list_start[micros.value[some]], lengths)]
            differs = mine != self.elements[ranges(self.order_start[self.key[some]], lengths)]
            if differs.any():
                self.prefix[np.repeat(some, lengths)[differs]] = False
            at = to
            self.budget.check()

    def _find_writers(self) -> str:
        """Who appended each element of the orders; what to say where an element was appended twice."""
        appends, key, value = self.appends, self.key, self.micros.value
        self.place = np.full(len(value), -1)  # of an append, its place among all elements of all orders
        mine, theirs = paired(key[appends], value[appends], self.element_key, self.elements)
        order = np.argsort(mine, kind="stable")
        ordered = mine[order]
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            row = int(appends[order[twice[0]]])
            name, element = self.micros.keys[key[row]], self.micros.name(int(value[row]))
            return (
                f"{element!r} was appended to {name!r} more than once, so that nobody knows whose it is: every element of a"
                " list must be its own."
            )
        found = located(theirs, ordered)
        present = np.flatnonzero(found >= 0)[::-1]
        self.writer_row = np.full(len(theirs), -1)
        self.writer_row[present] = appends[order[found[present]]]
        # Where an element stands twice in a list, its first place is its own.
        self.place[self.writer_row[present]] = present
        return ""

    def _find_committed(self) -> Flags:
        outcome = self.history.outcome
        committed: Flags = outcome == OK
        seen = self.owner[self.writer_row[self.writer_row >= 0]]
        committed[seen[outcome[seen] == INFO]] = True
        counts = np.diff(self.micros.start)
        committed &= counts > 0
        return committed

    def _find_versions(self, committed: Flags) -> None:
        """The last append of each committed transaction to each key, and the transaction's appends by key."""
        appends = self.appends
        by = appends[np.argsort(self.owner[appends] * max(self.keys, 1) + self.key[appends], kind="stable")]
        begin, count = group_ends(self.owner[by], self.key[by])
        self.groups, self.group_begin, self.group_count = by, begin, count
        last = by[begin + count - 1]
        self.last_of = np.full(len(self.key), -1)
        self.last_of[by] = np.repeat(last, count)
        self.installed = np.zeros(len(self.key), np.bool_)
        self.installed[last[committed[self.owner[last]]]] = True
        self.version = np.full(len(self.key), -1)
        placed = appends[self.place[appends] >= 0]
        self.version[placed] = self.place[placed] - self.order_start[self.key[placed]]

    # What is wrong without a cycle.

    def _judge_orders(self) -> None:
        """Lists that are no prefix of the longest one, and such as turn round what one transaction appended, or leave some
        out."""
        odd = np.flatnonzero(~self.prefix)
        other = self.longest_read[self.key[odd]]
        by = self.groups
        inner = np.ones(len(by), np.bool_)
        inner[self.group_begin] = False
        behind = np.flatnonzero(inner)
        place, before = self.place[by[behind]], self.place[by[behind - 1]]
        turned = by[behind[(place >= 0) & (place < before) | (place >= 0) & (before < 0)]]
        witness = self.longest_read[self.key[turned]]
        # An indeterminate transaction may have aborted, and read uncommitted says nothing of who read from it. So it is ruled
        # out by what acknowledged transactions appended alone.
        self.appends_by_key = self.appends[np.argsort(self.key[self.appends], kind="stable")] if len(odd) else self.appends[:0]
        self._judge_odd(odd[:_COMPARED])
        self._judge_aborted(odd[:_COMPARED])
        self._judge_bases(np.unique(self.key[odd]))
        if len(odd) > _COMPARED:
            self.limits.append(f"only {_COMPARED:,} of {len(odd):,} lists that contradict others were looked into")
        certain = np.array([self._contradict(int(read)) for read in odd[:_COMPARED].tolist()], np.bool_)
        certain = np.append(certain, np.zeros(len(odd) - len(certain), np.bool_))
        own = self.outcome[turned] == OK
        cases: tuple[tuple[Level, Flags, Flags], ...] = (("read-uncommitted", certain, own), ("read-committed", ~certain, ~own))
        for level, lists, parts in cases:
            self.problems.append(Problems(
                "incompatible-order",
                np.concatenate([self.owner[odd[lists]], self.owner[witness[parts]]]),
                np.concatenate([odd[lists], witness[parts]]),
                np.concatenate([self.owner[other[lists]], self.owner[turned[parts]]]), level,
            ))

    def _appended(self, key: int) -> Ints:
        """The appends to a key."""
        begin, behind = np.searchsorted(self.key[self.appends_by_key], (key, key + 1))
        return self.appends_by_key[begin:behind]

    def _list(self, read: int) -> list[int]:
        number = int(self.micros.value[read])
        micros = self.micros
        elements: list[int] = micros.list_values[micros.list_start[number] : micros.list_start[number + 1]].tolist()
        return elements

    def _judge_odd(self, odd: Ints) -> None:
        """Elements that are twice in a list, or that nobody appended, in lists that are no prefix of the longest one."""
        known = {key: set(self.micros.value[self._appended(key)].tolist()) for key in set(self.key[odd].tolist())}
        lists = {read: self._list(read) for read in odd.tolist()}
        twice = [read for read, elements in lists.items() if len(set(elements)) < len(elements)]
        strange = [read for read, elements in lists.items() if not known[int(self.key[read])].issuperset(elements)]
        double, garbage = np.array(twice, np.int64), np.array(strange, np.int64)
        self.problems.append(Problems.of("duplicate-elements", self.owner[double], double))
        self.problems.append(Problems.of("unwritten-read", self.owner[garbage], garbage))

    def _judge_aborted(self, odd: Ints) -> None:
        """Elements that aborted transactions appended, in lists that are no prefix of the longest one: what is rolled back is
        in no later list, so that these contradict it as soon as anything else follows."""
        if not len(odd):
            return
        lists, lengths = self.micros.value[odd], self.length[odd]
        read = np.repeat(odd, lengths)
        elements = self.micros.list_values[ranges(self.micros.list_start[lists], lengths)]
        appends = self.appends
        theirs, mine = paired(self.key[appends], self.micros.value[appends], self.key[read], elements)
        theirs, first, times = np.unique(theirs, return_index=True, return_counts=True)
        found = located(mine, theirs)
        read, append = read[found >= 0], found[found >= 0]
        # Of what was appended more than once nobody knows whose it is.
        author = self.owner[appends[first[append]]]
        aborted = (times[append] == 1) & (self.history.outcome[author] == FAIL)
        read, author = read[aborted], author[aborted]
        self.problems.append(Problems.of("G1a", self.owner[read], read, author))

    def _judge_bases(self, keys: Ints) -> None:
        """Two transactions that read one version of a key and both appended to it, where the lists of the key contradict each
        other so that no graph has them: whichever came first, the other one missed it."""
        if not len(keys):
            return
        begin, many = self.groups[self.group_begin], max(self.keys, 1)
        reads = self.reads[np.isin(self.key[self.reads], keys)]
        group = located(self.owner[reads] * many + self.key[reads], self.owner[begin] * many + self.key[begin])
        reads, group = reads[group >= 0], group[group >= 0]
        before = reads < begin[group]
        reads, group = reads[before], group[before]
        group, first = np.unique(group, return_index=True)
        reads = reads[first]
        if len(reads) > _COMPARED:
            self.limits.append(f"only {_COMPARED:,} of {len(reads):,} lists were compared as what transactions appended to")
        made: dict[tuple[int, tuple[int, ...]], list[int]] = {}
        for read, at in zip(reads[:_COMPARED].tolist(), group[:_COMPARED].tolist(), strict=True):
            begins = int(self.group_begin[at])
            appends = self.groups[begins : begins + int(self.group_count[at])]
            base = tuple(self._list(read)) if self.micros.f[read] == READ_LIST else ()
            if not set(base).intersection(self.micros.value[appends].tolist()):  # Who read its own future saw no base of it.
                made.setdefault((int(self.key[read]), base), []).append(int(appends[-1]))
        rows = np.array([row for appends in made.values() for row in appends[1:]], np.int64)
        other = np.array([appends[0] for appends in made.values() for _ in appends[1:]], np.int64)
        self.problems.append(Problems.of("lost-update", self.owner[rows], rows, self.owner[other]))

    def _contradict(self, read: int) -> bool:
        """Whether a list and the longest one of its key have the elements of acknowledged transactions in different
        orders."""
        micros, key = self.micros, int(self.key[read])
        start, end = self.order_start[key], self.order_start[key + 1]
        mine, appended = self._list(read), self._appended(key)
        acknowledged = set(micros.value[appended[self.outcome[appended] == OK]].tolist())
        kept = [element for element in mine if element in acknowledged]
        longest = [element for element in self.elements[start:end].tolist() if element in acknowledged]
        both = min(len(kept), len(longest))
        return kept[:both] != longest[:both]

    def _judge_elements(self) -> None:
        row = self.writer_row
        witness = self.longest_read[self.element_key]
        garbage = np.flatnonzero(row < 0)
        if len(garbage):
            self.problems.append(Problems.of("unwritten-read", self.owner[witness[garbage]], witness[garbage]))
        by = np.lexsort((self.elements, self.element_key))
        same = (self.elements[by][1:] == self.elements[by][:-1]) & (self.element_key[by][1:] == self.element_key[by][:-1])
        if same.any():
            double = by[1:][same]
            self.problems.append(
                Problems.of("duplicate-elements", self.owner[witness[double]], witness[double])
            )
        writer = np.where(row >= 0, self.owner[row], -1)
        aborted = (row >= 0) & (self.history.outcome[writer] == FAIL)
        if aborted.any():
            # A committed append on top of an aborted one, in the same list.
            same = self.element_key[:-1] == self.element_key[1:]
            follows = np.flatnonzero(aborted[:-1] & ~aborted[1:] & same & (row[1:] >= 0))
            self.problems.append(Problems.of("dirty-update", writer[follows + 1], row[follows + 1], writer[follows]))

    def _judge_reads(self) -> tuple[Flags, Ints, Ints]:
        """Which reads are of other transactions' versions, how many versions of the key's order they saw, and who wrote the
        last of these."""
        many = len(self.key)
        external = np.zeros(many, np.bool_)
        seen, read_from = np.full(many, -1), np.full(many, -1)
        reads = self.reads[self.prefix[self.reads]]
        before = np.zeros(many, np.int64)
        internal = np.zeros(many, np.bool_)
        self._compare_with_own(reads, before, internal)
        depth = self.length - before
        good = reads[~internal[reads] & (depth[reads] >= 0)]
        external[good] = True
        seen[good] = depth[good]
        deep = good[depth[good] > 0]
        writer = self.writer_row[self.order_start[self.key[deep]] + depth[deep] - 1]
        written = writer >= 0
        deep, writer = deep[written], writer[written]
        read_from[deep] = writer
        reader, author = self.owner[deep], self.owner[writer]
        mine = reader == author  # A read of one's own future.
        external[deep[mine]] = False
        deep, writer, reader, author = deep[~mine], writer[~mine], reader[~mine], author[~mine]
        failed = self.history.outcome[author] == FAIL
        self.problems.append(Problems.of("G1a", reader[failed], deep[failed], author[failed]))
        partial = ~failed & (self.last_of[writer] != writer)
        self.problems.append(Problems.of("G1b", reader[partial], deep[partial], author[partial]))
        self._compare_reads(good[external[good]], depth)
        return external, seen, read_from

    def _compare_with_own(self, reads: Ints, before: Ints, internal: Flags) -> None:
        """Count the transaction's own earlier appends for each read; find the reads that do not end with these, and those
        that hold a later one."""
        if not len(self.groups) or not len(reads):
            return
        code = self.owner[self.groups[self.group_begin]] * self.keys + self.key[self.groups[self.group_begin]]
        wanted = self.owner[reads] * self.keys + self.key[reads]
        at = np.searchsorted(code, wanted)
        at[at == len(code)] = 0
        own = code[at] == wanted
        if not own.any():
            return
        mine, at = reads[own], at[own]
        counts = self.group_count[at]
        pairs = np.repeat(mine, counts)
        appends = self.groups[ranges(self.group_begin[at], counts)]
        earlier = appends < pairs
        np.add.at(before, pairs[earlier], 1)
        nth = ranges(np.zeros(len(counts), np.int64), counts)
        place = self.version[appends]
        length = self.length[pairs]
        wrong = earlier & ((place < 0) | (place != length - before[pairs] + nth))
        internal[pairs[wrong]] = True
        internal_reads = np.flatnonzero(internal)
        self.problems.append(
            Problems.of("internal", self.owner[internal_reads], internal_reads)
        )
        future = np.unique(pairs[~earlier & (place >= 0) & (place < length)])
        self.problems.append(Problems.of("future-read", self.owner[future], future))

    def _compare_reads(self, good: Ints, depth: Ints) -> None:
        """Reads of one transaction that saw different versions of a key."""
        code = self.owner[good] * max(self.keys, 1) + self.key[good]
        order = np.argsort(code, kind="stable")
        by, code = good[order], code[order]
        differ = np.flatnonzero((code[1:] == code[:-1]) & (depth[by][1:] != depth[by][:-1]))
        later = by[1:][differ]
        self.problems.append(Problems.of("non-repeatable-read", self.owner[later], later))

    # The graph.

    def _draw(self, committed: Flags, seen: Ints) -> tuple[Edges, bool]:
        """The edges, and whether the order of every key is known."""
        key = self.key
        writer = np.where(self.writer_row >= 0, self.owner[self.writer_row], 0)
        taken = np.flatnonzero((self.writer_row >= 0) & committed[writer])
        taken = taken[self.place[self.writer_row[taken]] == taken]  # Not what stands twice in a list.
        author, of = writer[taken], self.element_key[taken]
        parts = []
        follows = of[1:] == of[:-1]
        parts.append(Edges.of(author[:-1][follows], author[1:][follows], WW, key=of[1:][follows]))
        # The version after each element, or after none: the next committed one, or whatever nobody read.
        following = np.searchsorted(taken, np.arange(len(self.elements) + 1))
        unread = np.flatnonzero(self.installed & (self.place < 0))
        unread = unread[np.argsort(key[unread], kind="stable")]
        # Who also has an element in the order that comes first with it; only its last one is never read.
        begin = np.searchsorted(key[unread], np.arange(self.keys))
        count = np.searchsorted(key[unread], np.arange(self.keys), side="right") - begin
        last = np.full(self.keys, -1)
        last[of] = author
        ends = np.flatnonzero((last >= 0) & (count > 0))
        to = unread[ranges(begin[ends], count[ends])]
        parts.append(Edges.of(np.repeat(last[ends], count[ends]), self.owner[to], WW, key=key[to]))
        total = bool((count <= 1).all())

        reads = np.flatnonzero(seen >= 0)
        reads = reads[committed[self.owner[reads]]]
        shallow = seen[reads]
        place = self.order_start[key[reads]] + shallow
        deep = shallow > 0
        source = self.writer_row[place[deep] - 1]
        fine = (source >= 0) & committed[self.owner[source]]
        by = reads[deep][fine]
        parts.append(Edges.of(self.owner[source[fine]], self.owner[by], WR, key=key[by], row=by))
        after = following[place]
        here = np.zeros(len(reads), np.bool_)
        inside = after < len(taken)
        here[inside] = of[after[inside]] == key[reads[inside]]
        parts.append(Edges.of(self.owner[reads[here]], author[after[here]], RW, key=key[reads[here]], row=reads[here]))
        tail = reads[~here]
        self._lost_updates(tail, unread)
        many = count[key[tail]]
        if many.sum() > _UNREAD_PAIRS * max(len(key), 1):
            self.limits.append("appends that nobody read are too many on one key: not all edges to them are drawn")
            many = np.minimum(many, _UNREAD_PAIRS)
            total = False
        to = unread[ranges(begin[key[tail]], many)]
        by = np.repeat(tail, many)
        parts.append(Edges.of(self.owner[by], self.owner[to], RW, key=key[by], row=by))
        edges = Edges.joined(parts)
        outcome = self.history.outcome
        edges.scope[(outcome[edges.source] == INFO) | (outcome[edges.target] == INFO)] = READS
        acknowledged = outcome[author] == OK
        if not acknowledged.all():
            author, of = author[acknowledged], of[acknowledged]
            follows = of[1:] == of[:-1]
            edges = Edges.joined([edges, Edges.of(author[:-1][follows], author[1:][follows], WW, key=of[1:][follows])])
        return edges, total

    def _lost_updates(self, tail: Ints, unread: Ints) -> None:
        """Two transactions that read the last version of a key that anybody found, and both appended to it what nobody did:
        whichever came first, the other one missed it. The unread appends are in the order of their keys."""
        code = self.owner * max(self.keys, 1) + self.key
        rows = unread[np.isin(code[unread], code[tail])]
        begin, count = group_ends(self.key[rows])
        losers = ranges(begin + 1, count - 1)
        first = np.repeat(begin, count - 1)
        self.problems.append(Problems.of("lost-update", self.owner[rows[losers]], rows[losers], self.owner[rows[first]]))
