"""What registers tell: less than lists, for a write hides what it replaced.

Every value is written once to a key, so that a read names its writer. Which version came after which follows from several
sources, each certain from some level up (`graph.ALWAYS` ... `graph.TIMES`): the initial state comes first; a transaction's
write follows what it read; what is seen of another transaction is seen whole (Biswas & Enea 2019); a client's own order;
and the order of time, where a version was known before another one was begun or still read (Gibbons & Korach 1997). All
edges are consequences of the level at which they count, so that a cycle is never a false alarm; what they leave open others
have to decide.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions.graph import (
    ALWAYS,
    ATOMIC,
    CAUSAL,
    READS,
    RW,
    SESSION,
    TIMES,
    WR,
    WW,
    Edges,
    Flags,
    Ints,
    process_edges,
    realtime_edges,
)
from splitbrain.checkers.transactions.inference import Inference, Problems, group_ends, located, paired, written_once
from splitbrain.checkers.transactions.serial import TURNS, serial_order
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.micros import READ, UNKNOWN, WRITE, Micros
from splitbrain.harness.history.ranges import ranges
from splitbrain.harness.history.values import NIL

_MOST = 16
"""How many edges one source may draw for each micro-operation, at most."""


def infer(history: History, budget: Budget, turns: int = TURNS) -> Inference:
    """The dependencies of a history of reads and writes of registers, and what is wrong without a cycle. Where they can be run
    in an order that keeps sessions and time, there are none: that order is all there is to know. It is looked for in so many
    `turns` (0: not at all). Raises `Exhausted`."""
    return _Registers(history, budget, turns).inference()


class _Registers:
    def __init__(self, history: History, budget: Budget, turns: int = TURNS) -> None:
        micros = history.micros
        assert micros is not None
        self.history = history
        self.budget = budget
        self.turns = turns
        self.micros: Micros = micros
        self.owner = micros.owners()
        self.key = micros.key.astype(np.int64)
        self.keys = max(len(micros.keys), 1)
        self.problems: list[Problems] = []
        self.limits: list[str] = []
        self.parts: list[Edges] = []

    def inference(self) -> Inference:
        micros, many = self.micros, len(self.micros.f)
        outcome = self.history.outcome[self.owner]
        self.writes = np.flatnonzero(micros.f == WRITE)
        self.reads = np.flatnonzero((micros.f == READ) & (micros.value != UNKNOWN) & (outcome == OK))
        self.read_from = np.full(many, -1)
        none = np.full(many, -1)
        ambiguous = self._find_writers()
        if ambiguous:
            return Inference.of_ambiguous(self.history, ambiguous)
        self.budget.check()
        committed = self._find_committed()
        self.installed = self.last & committed[self.owner]
        self.budget.check()
        external = self._judge_reads()
        self.budget.check()
        if self.turns and not any(map(len, self.problems)) and (serial := self._run(external, committed)) is not None:
            return serial
        self._draw(external, committed)
        edges = Edges.joined(self.parts)
        self.parts.clear()
        # At most one writer of a key: there is nothing to order.
        total = not len(edges) or bool((np.bincount(self.key[self.installed], minlength=1) <= 1).all())
        return Inference(
            self.history, micros, committed, edges, self.installed, none, external, self.read_from, none, total,
            tuple(one for one in self.problems if len(one)), "", tuple(self.limits),
        )

    def _run(self, external: Flags, committed: Flags) -> Inference | None:
        """An inference without any dependencies, where the transactions can be run in an order that keeps sessions and time,
        each on what it read: there is nothing more to ask. None where no such order was found."""
        none = np.full(len(self.key), -1)
        inference = Inference(
            self.history, self.micros, committed, Edges.joined([]), self.installed, none, external, self.read_from, none, True
        )
        source, target, many = realtime_edges(self.history, committed)
        own = process_edges(self.history, committed)
        source, target = np.concatenate([source, own.source]), np.concatenate([target, own.target])
        # What is left of the time is for what follows from the reads, where this finds nothing.
        budget = self.budget.within(self.budget.left / 3)
        return None if serial_order(inference, source, target, many, budget, self.turns) is None else inference

    # Who wrote what.

    def _find_writers(self) -> str:
        """Who wrote what each read found, and what each transaction installs; what to say where a value was written twice."""
        writes, key, value = self.writes, self.key, self.micros.value
        if (value[writes] == NIL).any():
            row = int(writes[value[writes] == NIL][0])
            return f"nil was written to {self.micros.keys[key[row]]!r}: a read of it may have found that, or the initial state."
        reads = self.reads[value[self.reads] != NIL]
        # By write: the first one of that value in its transaction.
        self.first_like = np.arange(len(key))
        once, ordered, theirs = self._by_value(writes, reads)
        if (ordered[1:] == ordered[:-1]).any():
            last, first = written_once(self.owner, key, value, writes)
            self.first_like[last] = first
            once, ordered, theirs = self._by_value(last, reads)
        twice = np.flatnonzero(ordered[1:] == ordered[:-1])
        if len(twice):
            row = int(once[twice[0]])
            name, told = self.micros.keys[key[row]], self.micros.name(int(value[row]))
            return (
                f"{told!r} was written to {name!r} more than once, so that nobody knows who was read from: every value written"
                " to a key must be its own."
            )
        found = located(theirs, ordered)
        hit = found >= 0
        self.read_from[reads[hit]] = once[found[hit]]
        self.unwritten = np.zeros(len(key), np.bool_)
        self.unwritten[reads[~hit]] = True
        # The last write of each transaction to each key is the one that it installs.
        code = self.owner[writes] * self.keys + key[writes]
        by = np.argsort(code, kind="stable")
        begin, count = group_ends(code[by])
        self.last = np.zeros(len(key), np.bool_)
        self.last[writes[by[begin + count - 1]]] = True
        self.own_code, self.own_begin, self.own_count, self.own_writes = code[by[begin]], begin, count, writes[by]
        return ""

    def _by_value(self, writes: Ints, reads: Ints) -> tuple[Ints, Ints, Ints]:
        """The writes in the order of a number for each key and value, their numbers, and those of what the reads found."""
        key, value = self.key, self.micros.value
        mine, theirs = paired(key[writes], value[writes], key[reads], value[reads])
        order = np.argsort(mine, kind="stable")
        return writes[order], mine[order], theirs

    def _find_committed(self) -> Flags:
        outcome = self.history.outcome
        committed: Flags = outcome == OK
        sources = self.read_from[self.reads]
        seen = self.owner[sources[sources >= 0]]
        committed[seen[outcome[seen] == INFO]] = True
        committed &= np.diff(self.micros.start) > 0
        return committed

    # What is wrong without a cycle.

    def _judge_reads(self) -> Flags:
        """Which reads are of other transactions' versions, or of the initial state."""
        reads, owner, source = self.reads, self.owner, self.read_from
        external = np.zeros(len(self.key), np.bool_)
        external[reads] = True
        # The transaction's own last write before each read.
        own = np.full(len(self.key), -1)
        if len(self.own_code):
            wanted = owner[reads] * self.keys + self.key[reads]
            at = np.searchsorted(self.own_code, wanted)
            at[at == len(self.own_code)] = 0
            mine = self.own_code[at] == wanted
            pairs, at = reads[mine], at[mine]
            counts = self.own_count[at]
            writes = self.own_writes[ranges(self.own_begin[at], counts)]
            readers = np.repeat(pairs, counts)
            earlier = writes < readers
            own[readers[earlier]] = writes[earlier]  # In the order of the writes: the last one stays.
        hidden = reads[own[reads] >= 0]
        external[hidden] = False
        wrong = hidden[self.micros.value[hidden] != self.micros.value[own[hidden]]]
        ahead = (source[reads] >= 0) & (self.first_like[source[reads]] > reads) & (owner[source[reads]] == owner[reads])
        future = reads[ahead]
        external[future] = False
        self._problem("future-read", future)
        self._problem("internal", np.setdiff1d(wrong, future, assume_unique=True))
        thin_air = np.flatnonzero(external & self.unwritten)
        external[thin_air] = False
        self._problem("unwritten-read", thin_air)
        deep = np.flatnonzero(external & (source >= 0))
        author = owner[source[deep]]
        failed = self.history.outcome[author] == FAIL
        self._problem("G1a", deep[failed], author[failed])
        partial = ~failed & ~self.last[source[deep]]
        self._problem("G1b", deep[partial], author[partial])
        code = owner * self.keys + self.key
        by = np.flatnonzero(external)
        by = by[np.argsort(code[by], kind="stable")]
        again = np.flatnonzero((code[by][1:] == code[by][:-1]) & (source[by][1:] != source[by][:-1]))
        self._problem("non-repeatable-read", by[1:][again])
        self.unsteady = np.zeros(len(self.history), np.bool_)
        self.unsteady[owner[by[1:][again]]] = True
        return external

    def _problem(self, identifier: str, rows: Ints, other: Ints | None = None) -> None:
        self.problems.append(Problems.of(identifier, self.owner[rows], rows, other))

    # The graph.

    def _draw(self, external: Flags, committed: Flags) -> None:
        owner, key = self.owner, self.key
        reads = np.flatnonzero(external)
        source = self.read_from[reads]
        fine = (source < 0) | (self.installed[np.maximum(source, 0)])
        self.seen = reads[fine]
        self.version = np.where(self.read_from[self.seen] >= 0, self.read_from[self.seen], -1)
        deep = self.version >= 0
        rows = self.seen[deep]
        self.parts.append(Edges.of(owner[self.version[deep]], owner[rows], WR, key=key[rows], row=rows))
        # The reads of each version, to draw what overwrote it.
        self.by_version = np.argsort(self.version, kind="stable")
        self.sorted_versions = self.version[self.by_version]
        # A read and a write of one key in one transaction: which version it replaced, as far as it knew.
        writes = np.flatnonzero(self.installed)
        self.installed_rows = writes
        self.installed_code = owner[writes] * self.keys + key[writes]
        self.installed_order = np.argsort(self.installed_code, kind="stable")
        mine = self._installed_by(owner[self.seen], key[self.seen])
        replaced = mine >= 0
        before, after = self.version[replaced], mine[replaced]
        self._draw_initial(after[before >= 0])
        self._follows(before, after, READS, "what transactions read before they wrote")
        self._lost_updates(before, after)
        self._draw_atomic()
        self._draw_sessions()
        self._draw_times()

    def _installed_by(self, transactions: Ints, keys: Ints) -> Ints:
        """The write that each of these transactions installed at that key, -1 where there is none."""
        if not len(self.installed_rows):
            return np.full(len(transactions), -1)
        wanted = transactions * self.keys + keys
        ordered = self.installed_code[self.installed_order]
        at = np.searchsorted(ordered, wanted)
        at[at == len(ordered)] = 0
        return np.where(ordered[at] == wanted, self.installed_rows[self.installed_order[at]], -1)

    def _follows(self, before: Ints, after: Ints, scope: int, source: str, proof: Ints | None = None) -> None:
        """Draw that these versions (rows of writes) follow those: their writers, and the readers of the earlier ones.
        `proof` are the reads that tell it."""
        chosen = np.flatnonzero((before >= 0) & (after >= 0) & (before != after))
        if not len(chosen):
            return
        chosen = chosen[_first_of_each(before[chosen], after[chosen])]
        before, after = before[chosen], after[chosen]
        owner, key = self.owner, self.key
        row = None if proof is None else proof[chosen]
        self.parts.append(Edges.of(owner[before], owner[after], WW, scope, key=key[after], row=row))
        begin = np.searchsorted(self.sorted_versions, before)
        counts = np.searchsorted(self.sorted_versions, before, side="right") - begin
        self._overwritten(begin, counts, after, scope, source)

    def _overwritten(self, begin: Ints, counts: Ints, after: Ints, scope: int, source: str) -> None:
        """Draw that the reads at these places of `by_version` were overwritten by those writes."""
        if counts.sum() > _MOST * len(self.key):
            self.limits.append(f"{source} orders too many reads and writes: not all edges of it are drawn")
            counts = np.minimum(counts, _MOST)
        rows = self.seen[self.by_version[ranges(begin, counts)]]
        writer = np.repeat(after, counts)
        self.parts.append(Edges.of(self.owner[rows], self.owner[writer], RW, scope, key=self.key[rows], row=rows))

    def _draw_initial(self, later: Ints) -> None:
        """Whoever read the initial state was overwritten by every writer of the key. Those that follow another version are
        reached through its writer."""
        first = np.searchsorted(self.sorted_versions, -1, side="right")
        readers = self.seen[self.by_version[:first]]
        if not len(readers):
            return
        first_ones = self.installed.copy()
        first_ones[later] = False
        roots = np.flatnonzero(first_ones)
        roots = roots[np.argsort(self.key[roots], kind="stable")]
        begin = np.searchsorted(self.key[roots], self.key[readers])
        counts = np.searchsorted(self.key[roots], self.key[readers], side="right") - begin
        if counts.sum() > _MOST * len(self.key):
            self.limits.append("the initial state orders too many reads and writes: not all edges of it are drawn")
            counts = np.minimum(counts, _MOST)
        writes = roots[ranges(begin, counts)]
        rows = np.repeat(readers, counts)
        self.parts.append(Edges.of(self.owner[rows], self.owner[writes], RW, ALWAYS, key=self.key[rows], row=rows))

    def _lost_updates(self, before: Ints, after: Ints) -> None:
        """Two transactions that read one version and both replaced it."""
        place = np.where(before >= 0, before, -1 - self.key[after])
        pairs = np.unique(np.stack([place, self.owner[after]]), axis=1) if len(place) else np.empty((2, 0), np.int64)
        begin, count = group_ends(pairs[0])
        chosen = count > 1
        losers = ranges(begin[chosen] + 1, count[chosen] - 1)
        first = np.repeat(begin[chosen], count[chosen] - 1)
        row = self._installed_by(pairs[1][losers], self._key_of(pairs[0][losers]))
        self.problems.append(Problems.of("lost-update", pairs[1][losers], row, pairs[1][first]))

    def _key_of(self, places: Ints) -> Ints:
        return np.where(places >= 0, self.key[np.maximum(places, 0)], -1 - places)

    def _draw_atomic(self) -> None:
        """Of two transactions that one read from, and that both wrote a key it read from the one: the other one's came
        first."""
        owner, key = self.owner, self.key
        deep = self.version >= 0
        deep &= ~self.unsteady[owner[self.seen]]  # These see nothing whole, as is told of them already.
        reader, author = owner[self.seen[deep]], owner[self.version[deep]]
        first = _first_of_each(reader, author)
        pairs = reader[first], author[first]
        # Every read of the reader beside every transaction that it read from.
        begin = np.searchsorted(owner[self.seen], pairs[0])
        counts = np.searchsorted(owner[self.seen], pairs[0], side="right") - begin
        at = ranges(begin, counts)
        author = np.repeat(pairs[1], counts)
        other = self._installed_by(author, key[self.seen[at]])
        version = self.version[at]
        chosen = (other >= 0) & (version >= 0) & (other != version) & (owner[np.maximum(version, 0)] != author)
        proof = self.seen[at[chosen]]
        self._follows(other[chosen], version[chosen], ATOMIC, "what is seen whole", proof)

    def _draw_sessions(self) -> None:
        """What one client wrote, and read, in its own order."""
        owner, key, history = self.owner, self.key, self.history
        writes = self.installed_rows
        row = np.concatenate([self.seen, writes])
        version = np.concatenate([self.version, writes])
        wrote = np.arange(len(row)) >= len(self.seen)
        transaction = owner[row]
        # Within a transaction reads come before what it installs, whatever the order of its micro-operations was.
        by = np.lexsort((row, wrote, transaction, key[row], history.process[transaction]))
        row, version, wrote, transaction = row[by], version[by], wrote[by], transaction[by]
        same = (history.process[transaction][1:] == history.process[transaction][:-1]) & (key[row][1:] == key[row][:-1])
        apart = same & (transaction[1:] != transaction[:-1])
        self._follows(version[:-1][apart], version[1:][apart], CAUSAL, "what a client saw")
        only = np.flatnonzero(wrote)
        version, transaction = version[only], transaction[only]
        same = (history.process[transaction][1:] == history.process[transaction][:-1]) & (key[version][1:] == key[version][:-1])
        self._follows(version[:-1][same], version[1:][same], SESSION, "what a client wrote")

    def _draw_times(self) -> None:
        """Versions in the order of time: one that was known, because its write or a read of it had completed, before another
        was begun or still read, precedes it."""
        history, owner = self.history, self.owner
        writes = self.installed_rows
        many = len(writes)
        if not many:
            return
        finish, start = history.completed[owner[writes]].copy(), history.invoked[owner[writes]].copy()
        deep = self.version >= 0
        at = np.searchsorted(writes, self.version[deep])
        readers = owner[self.seen[deep]]
        np.minimum.at(finish, at, history.completed[readers])
        np.maximum.at(start, at, history.invoked[readers])
        # Ranks, so that they may be shifted apart by key; a finish comes after a start at the same time.
        moments = np.concatenate([finish, start])
        in_time = np.argsort(moments)
        ordered = moments[in_time]
        rank = np.empty(2 * many, np.int64)
        rank[in_time] = np.cumsum(np.append(False, ordered[1:] != ordered[:-1]))
        key = self.key[writes]
        wide = 2 * len(rank) + 2
        f = 2 * rank[:many] + 1 + key * wide
        s = 2 * rank[many:] + key * wide
        never = finish == NEVER
        f[never] = (key[never] + 1) * wide - 1
        by = np.argsort(s)
        ordered = s[by]
        place = np.empty(many, np.int64)
        place[by] = np.arange(many)
        least = np.minimum.accumulate(f[by][::-1])[::-1]  # The least finish of what starts from here on.
        least = np.append(least, np.iinfo(np.int64).max)
        begin = np.searchsorted(ordered, f, side="right")
        # Without the version itself, where it is among its own followers.
        among = place >= begin
        bound = least[begin]
        span = np.where(among, place - begin, 0)
        bound[among] = least[place[among] + 1]
        inner = np.flatnonzero(among & (span > 0))
        if span.sum() <= _MOST * many:
            low = np.minimum.reduceat(
                np.append(f[by], 0)[ranges(begin[inner], span[inner])], np.cumsum(span[inner]) - span[inner]
            ) if len(inner) else np.empty(0, np.int64)
            bound[inner] = np.minimum(bound[inner], low)
        last = np.minimum((key + 1) * wide - 1, bound)
        end = np.searchsorted(ordered, last, side="right")
        counts = np.maximum(end - begin, 0)
        if counts.sum() > _MOST * max(len(self.key), 1):
            self.limits.append("time orders too many writes: not all edges of it are drawn")
            counts = np.minimum(counts, _MOST)
        counts[never] = 0
        after = by[ranges(begin, counts)]
        before = np.repeat(np.arange(many), counts)
        # The one that finishes first of those that follow, which the bound leaves out where it is still read.
        finishing = np.argsort(f)
        inside = (bound < (key + 1) * wide - 1) & ~never
        nearest = finishing[np.minimum(np.searchsorted(f[finishing], bound[inside]), many - 1)]
        before = np.concatenate([before, np.flatnonzero(inside)])
        after = np.concatenate([after, nearest])
        certain = (before != after) & (f[before] < s[after]) & (key[before] == key[after])
        self._follows(writes[before[certain]], writes[after[certain]], TIMES, "time")


def _first_of_each(first: Ints, second: Ints) -> Ints:
    """Where each distinct pair stands first; the pairs in order."""
    if not len(first):
        return np.empty(0, np.int64)
    code = first * (int(second.max()) + 1) + second
    order = np.argsort(code, kind="stable")
    code = code[order]
    places: Ints = order[np.append(True, code[1:] != code[:-1])]
    return places
