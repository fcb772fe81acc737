"""Queues of elements that are put in once: none lost, none handed out twice, and the first in is the first out.

What waits is read now and then, and in the end; a dequeue that finds nothing looks, too. A look takes effect at one moment, so
an element that was there before it began and is there after it was over (a later read shows it, or it is taken out) was there
all the time, and the look must show it. An element that was acknowledged or seen, that nobody took out, and that no look shows
any more is gone. A dequeue that was not answered may have taken one, at any time after it began: so of the elements that were
gone by some moment as many may have been taken as there are such dequeues that began before it. Only what is more than that is
lost for certain.

The order of two elements is judged where the one was acknowledged before the other was begun, and handed out after the other
had been. An enqueue that was not answered has no place in that order. A read tells the order, too: of two elements that it
shows the first one came in before the other, and goes out before it, and every other read shows them so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import (
    Flags,
    Ints,
    Numbers,
    check_functions,
    coded,
    grouped,
    keys_of,
    ranges,
    rows_of,
    shown_elements,
)
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Coverage, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

COMPLETE = "queues complete"
ORDERED = "queues ordered"

_CHUNK = 1 << 22
"""How many pairs of a look and an element are compared at once, at most: they take memory."""

_TRIED = 100
"""Through how many pairs of elements the shortest circle is searched, at most."""

_FIRST, _LAST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


@dataclass
class _Elements:
    """One entry an element: the row that put it in (-1: none), and the first that took it out (-1: nobody)."""

    key: Ints
    put: Ints
    taken: Ints
    seen_last: Ints
    """When the last read that shows it was over."""
    there: Ints
    """From when on it was there for certain: since it was acknowledged, or a read that shows it was over."""
    told: Ints
    """The row that tells so."""
    until: Ints
    """Until when it was there: until it began to be taken out, or the last read of it before that began."""
    again: Ints
    """The row that tells so."""


class QueueChecker:
    """Judges `enqueue` of elements, each once, `dequeue` (nil: there was none), and `read` of what waits, in its order."""

    name = "queue"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, and where an element was put in twice or is nil."""
        history = recording.history
        check_functions(history, self.name, ("enqueue", "dequeue", "read"))
        found = Findings(recording)
        numbers = Numbers()
        put = np.flatnonzero(rows_of(history, "enqueue"))
        took = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == OK))
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        shown_value, sizes = shown_elements(history, reads, numbers)
        shown_by = np.repeat(reads, sizes)
        (put_code, took_code, shown), many = coded(
            (history.key[put], numbers.of_rows(history, put)), (history.key[took], numbers.of_rows(history, took)),
            (history.key[shown_by], shown_value),
        )
        if (shown < 0).any():
            # Nil is no element.
            shown, shown_by = shown[shown >= 0], shown_by[shown >= 0]
        if len(put_code) and put_code.min() < 0:
            raise UsageError("the queue checker needs elements that are not nil, which a dequeue of an empty queue tells: "
                             "choose another checker")
        if len(put_code) and np.bincount(put_code).max() > 1:
            raise UsageError("the queue checker needs elements that are put in once: choose another checker")
        elements = _Elements(*(np.full(many, blank) for blank in (-1, -1, -1, _FIRST, _LAST, -1, _FIRST, -1)))
        elements.put[put_code] = put
        elements.key[put_code] = history.key[put]
        real = took_code >= 0
        completed = history.completed
        by_time = np.argsort(completed[took[real]], kind="stable")[::-1]
        elements.taken[took_code[real][by_time]] = took[real][by_time]
        np.maximum.at(elements.seen_last, shown, completed[shown_by])
        self._handed_out(found, history, elements, took[real], took_code[real])
        self._unput(found, history, elements, took[real], took_code[real], shown, shown_by)
        once = self._doubled(found, history, elements, shown, shown_by)
        self._back_again(found, history, elements, shown, shown_by)
        shown, shown_by = shown[once], shown_by[once]
        _find_there(history, elements, shown, shown_by)
        looks = np.sort(np.concatenate([reads, took[~real]]))
        self._missed(found, history, elements, looks, shown, shown_by)
        self._out_of_order(found, history, elements)
        self._shown_out_of_order(found, history, elements, shown, shown_by)
        untold = self._lost(found, history, elements, looks)
        lost = ("lost-element", "duplicate", "unexpected", "aborted-read", "future-read", "stale-element", "stale-read")
        # Without any read nobody could have told that one is lost.
        blind = {COMPLETE: f"nobody looked what became of {untold:,} elements"} if untold and not len(looks) else {}
        note = f"What became of {untold:,} elements nobody looked at." if untold and not blind else ""
        return found.verdict(
            self.name, {COMPLETE: lost, ORDERED: ("reordered",)},
            Coverage(keys=keys_of(history), operations=len(history)), judged=int(real.sum()) + len(reads),
            things="queues", what="answers", note=note,
            unproven=blind,
        )

    def _handed_out(self, found: Findings, history: History, elements: _Elements, took: Ints, code: Ints) -> None:
        twice = elements.taken[code] != took
        rows, codes = took[twice], code[twice]
        earlier = elements.taken[codes]

        def tell(at: int) -> Told:
            row, first = int(rows[at]), int(earlier[at])
            again, before = history[row], history[first]
            sentence = (
                f"element {again.value} was handed out to client {again.process} at {again.node or 'a client'} at "
                f"{clock(int(history.completed[row]))}, though client {before.process} had it since "
                f"{clock(int(history.completed[first]))}."
            )
            return sentence, _rows(history, int(elements.put[codes[at]]), first, row)

        found.add_rows("duplicate", rows, tell)

    def _doubled(self, found: Findings, history: History, elements: _Elements, shown: Ints, shown_by: Ints) -> Flags:
        """Elements that wait twice, as one read shows them: each once. Which entries are the first of their element in their
        read."""
        once = np.ones(len(shown), np.bool_)
        # Nearly in order: a queue is read in the order of its elements.
        pairs = np.sort(shown_by * np.int64(len(elements.put)) + shown, kind="stable")
        if not (pairs[1:] == pairs[:-1]).any():
            return once
        order = np.lexsort((shown_by, shown))
        code, by = shown[order], shown_by[order]
        again = np.flatnonzero((code[1:] == code[:-1]) & (by[1:] == by[:-1]))
        once[order[again + 1]] = False
        again = again[np.unique(code[again], return_index=True)[1]]
        again = again[elements.put[code[again]] >= 0]
        codes, rows = code[again], by[again]

        def tell(at: int) -> Told:
            row, put = int(rows[at]), int(elements.put[codes[at]])
            read = history[row]
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed "
                f"{history[put].value} more than once."
            )
            return sentence, _rows(history, put, row)

        found.add_rows("duplicate", rows, tell)
        return once

    def _unput(
        self, found: Findings, history: History, elements: _Elements, took: Ints, code: Ints, shown: Ints, shown_by: Ints
    ) -> None:
        """Elements that nobody put in, whose enqueue failed, or had yet to begin: each once."""
        never = (elements.put < 0) | (history.outcome[elements.put] == FAIL)
        since = np.where(never, _LAST, history.invoked[elements.put])
        early, soon = (
            np.flatnonzero(history.completed[rows] < since[codes]) for codes, rows in ((code, took), (shown, shown_by))
        )
        codes, rows = np.concatenate([code[early], shown[soon]]), np.concatenate([took[early], shown_by[soon]])
        first = np.sort(np.unique(codes, return_index=True)[1])
        by, rows = elements.put[codes[first]], rows[first]
        failed = (by >= 0) & (history.outcome[by] == FAIL)
        for name, kind, why in (
            ("unexpected", by < 0, "which nobody had put in"),
            ("aborted-read", failed, "though putting it in was reported as failed"),
            ("future-read", (by >= 0) & ~failed, "before it was put in"),
        ):
            self._untimely(found, history, name, by[kind], rows[kind], why)

    def _untimely(self, found: Findings, history: History, name: str, put: Ints, rows: Ints, why: str) -> None:
        def tell(at: int) -> Told:
            row = int(rows[at])
            seen = history[row]
            sentence = f"a {seen.f} of queue {seen.key} at {clock(int(history.completed[row]))} told an element {why}."
            return sentence, _rows(history, int(put[at]), row)

        found.add_rows(name, rows, tell)

    def _back_again(self, found: Findings, history: History, elements: _Elements, shown: Ints, shown_by: Ints) -> None:
        """Reads that show what had been taken out before they began."""
        gone = np.where(elements.taken >= 0, history.completed[elements.taken], _LAST)
        stale = np.flatnonzero(gone[shown] < history.invoked[shown_by])
        # The entries of a read lie beside each other.
        stale = stale[np.append(True, shown_by[stale][1:] != shown_by[stale][:-1])[: len(stale)]]
        rows, codes, took = shown_by[stale], shown[stale], elements.taken[shown[stale]]

        def tell(at: int) -> Told:
            read, dequeue = history[int(rows[at])], history[int(took[at])]
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[rows[at]]))} showed "
                f"{dequeue.value}, which client {dequeue.process} had taken out by {clock(int(history.completed[took[at]]))}."
            )
            return sentence, _rows(history, int(elements.put[codes[at]]), int(took[at]), int(rows[at]))

        found.add_rows("stale-read", rows, tell)

    def _missed(
        self, found: Findings, history: History, elements: _Elements, looks: Ints, shown: Ints, shown_by: Ints
    ) -> None:
        """Reads that do not show an element, and dequeues that found nothing, though it was there all the time: each once."""
        invoked, completed = history.invoked, history.completed
        steady = np.flatnonzero(elements.until > elements.there)
        showing = (elements.there[shown] < invoked[shown_by]) & (elements.until[shown] > completed[shown_by])
        right = np.bincount(shown_by[showing], minlength=len(history))
        of_key = {key: steady[places] for key, places in grouped(elements.key[steady])}
        wrong = []
        for key, places in grouped(history.key[looks]):
            mine = of_key.get(key)
            if mine is None:
                continue
            rows = looks[places]
            wrong.append(rows[_steady(elements, mine, invoked[rows], completed[rows]) > right[rows]])
        rows = np.concatenate(wrong) if wrong else np.zeros(0, np.int64)

        def tell(at: int) -> Told:
            row = int(rows[at])
            look, told = history[row], set(shown[shown_by == row].tolist())
            mine = of_key[int(history.key[row])]
            mine = mine[(elements.there[mine] < invoked[row]) & (elements.until[mine] > completed[row])]
            missed = next(one for one in mine[np.argsort(elements.there[mine], kind="stable")].tolist() if one not in told)
            put, again = int(elements.put[missed]), int(elements.again[missed])
            value, when = history[put].value, clock(int(completed[row]))
            later = "was taken out later" if history[again].f == "dequeue" else "was read there later"
            since = f"had been there since {clock(int(elements.there[missed]))} and {later}."
            what = (
                f"client {look.process} at {look.node or 'a client'} found queue {look.key} empty at {when}, though {value}"
                if look.f == "dequeue" else
                f"a read of queue {look.key} at {look.node or 'a server'} at {when} did not show {value}, which"
            )
            return f"{what} {since}", _rows(history, *dict.fromkeys((put, int(elements.told[missed]), again, row)))

        found.add_rows("stale-element", rows, tell)

    def _out_of_order(self, found: Findings, history: History, elements: _Elements) -> None:
        """Elements that one which came in later overtook: each once."""
        known = np.flatnonzero((elements.put >= 0) & (elements.taken >= 0))
        for _, places in grouped(elements.key[known]):
            mine = known[places]
            put, taken = elements.put[mine], elements.taken[mine]
            order = np.argsort(history.invoked[put], kind="stable")
            begun, out = history.invoked[put[order]], history.completed[taken[order]]
            # The earliest to be out of those that begun at or behind each place.
            soonest = np.minimum.accumulate(out[::-1])[::-1]
            who = np.minimum.accumulate(np.where(out == soonest, np.arange(len(out)), len(out))[::-1])[::-1]
            place = np.searchsorted(begun, history.completed[put], side="right")
            inside = (place < len(begun)) & (history.outcome[put] == OK)
            clipped = np.minimum(place, len(begun) - 1)
            wrong = inside & (soonest[clipped] < history.invoked[taken])
            at = np.flatnonzero(wrong)
            others = order[who[place[at]]]
            self._overtaken(found, history, put[at], taken[at], put[others], taken[others])

    def _overtaken(self, found: Findings, history: History, put: Ints, taken: Ints, by_put: Ints, by_taken: Ints) -> None:
        def tell(at: int) -> Told:
            late, early = history[int(taken[at])], history[int(by_taken[at])]
            sentence = (
                f"{early.value} came out of queue {early.key} at {clock(int(history.completed[by_taken[at]]))}, before "
                f"{late.value}, which had been put in by {clock(int(history.completed[put[at]]))}, before "
                f"{early.value} was."
            )
            return sentence, _rows(history, *(int(rows[at]) for rows in (put, by_put, by_taken, taken)))

        found.add_all("reordered", history.invoked[by_taken], history.completed[taken], tell)

    def _shown_out_of_order(
        self, found: Findings, history: History, elements: _Elements, shown: Ints, shown_by: Ints
    ) -> None:
        """Reads that show an element behind one that came in after it, or went out before it, each once; and reads that
        contradict each other."""
        put, taken = elements.put, elements.taken
        known = put[shown] >= 0
        shown, shown_by = shown[known], shown_by[known]
        if not len(shown):
            return
        came = np.where(history.outcome[put] == OK, history.completed[put], _LAST)
        begun = history.invoked[put][shown]
        out = np.where(taken >= 0, history.completed[taken], _LAST)
        wrong = _least_behind(came, shown, shown_by) < begun
        wrong |= _least_behind(out, shown, shown_by) < elements.until[shown]
        entries = np.flatnonzero(wrong)
        entries = entries[np.append(True, shown_by[entries][1:] != shown_by[entries][:-1])[: len(entries)]]
        rows = shown_by[entries]

        def tell(at: int) -> Told:
            entry, row = int(entries[at]), int(rows[at])
            behind = np.arange(entry + 1, int(np.searchsorted(shown_by, row, side="right")))
            ahead = int(shown[entry])
            early = behind[came[shown[behind]] < begun[entry]]
            late = shown[early[0] if len(early) else behind[out[shown[behind]] < elements.until[ahead]][0]]
            read, first, second = history[row], history[int(put[ahead])].value, history[int(put[late])].value
            where = f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))}"
            if len(early):
                why = f"which had been put in by {clock(int(history.completed[put[late]]))}, before {first} was"
                more = [int(put[late]), int(put[ahead])]
            else:
                why = f"which was taken out by {clock(int(history.completed[taken[late]]))}, when {first} was still there"
                more = [int(put[late]), int(put[ahead]), int(taken[late]), int(elements.again[ahead])]
            return f"{where} showed {first} before {second}, {why}.", _rows(history, *dict.fromkeys((*more, row)))

        found.add_rows("reordered", rows, tell)
        fine = ~np.isin(shown_by, rows)
        self._contradicting(found, history, elements, shown[fine], shown_by[fine])

    def _contradicting(
        self, found: Findings, history: History, elements: _Elements, shown: Ints, shown_by: Ints
    ) -> None:
        """Reads whose orders contradict each other: each circle of elements once."""
        # Loaded only where queues are looked at: `import splitbrain` stays light.
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import connected_components

        same = np.flatnonzero(shown_by[1:] == shown_by[:-1])
        before, behind, by = shown[same], shown[same + 1], shown_by[same]
        # What follows an element is the same nearly everywhere: few pairs are left to be looked at.
        following = np.full(len(elements.put), -1)
        following[before] = behind
        usual = np.full(len(elements.put), -1)
        usual[before] = by
        other = np.flatnonzero(following[before] != behind)
        first = np.flatnonzero(following >= 0)
        source = np.concatenate([first, before[other]])
        target, reads = np.concatenate([following[first], behind[other]]), np.concatenate([usual[first], by[other]])
        graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(len(following),) * 2)
        _, label = connected_components(graph, directed=True, connection="strong")
        inside = np.flatnonzero((label[source] == label[target]) & (source != target))
        if not len(inside):
            return
        import networkx as nx

        for _, places in grouped(label[source[inside]]):
            edges = inside[places]
            circle: Any = nx.DiGraph()
            for at in edges.tolist():
                circle.add_edge(int(source[at]), int(target[at]), read=int(reads[at]))
            around = _shortest_circle(circle)
            rows = sorted({circle.edges[one]["read"] for one in around}, key=lambda row: int(history.completed[row]))

            def tell(_: int, circle: Any = circle, around: Any = around, rows: list[int] = rows) -> Told:
                told = "; ".join(
                    f"that at {clock(int(history.completed[circle.edges[one]['read']]))} showed "
                    f"{history[int(elements.put[one[0]])].value} before {history[int(elements.put[one[1]])].value}"
                    for one in around
                )
                put = [int(elements.put[one]) for one, _ in around]
                key = history[rows[-1]].key
                return f"reads of queue {key} contradict each other: {told}.", _rows(history, *put, *rows)

            found.add_rows("reordered", np.array(rows[-1:]), tell)

    def _lost(self, found: Findings, history: History, elements: _Elements, looks: Ints) -> int:
        """Tell what is lost for certain; of how many elements nothing is known, because nobody looked."""
        final = found.recording.final
        put = elements.put
        open_ones = np.flatnonzero((put >= 0) & (elements.taken < 0) & (elements.seen_last < final))
        open_ones = open_ones[elements.there[open_ones] < _LAST]
        untold = 0
        silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
        looks_of = {key: looks[places] for key, places in grouped(history.key[looks])}
        silent_of = {key: silent[places] for key, places in grouped(history.key[silent])}
        for key, places in grouped(elements.key[open_ones]):
            mine = open_ones[places]
            rows = looks_of.get(key, np.zeros(0, np.int64))
            rows = rows[np.argsort(history.invoked[rows], kind="stable")]
            acknowledged = np.where(history.outcome[put[mine]] == OK, history.completed[put[mine]], _FIRST)
            since = np.maximum(acknowledged, elements.seen_last[mine])
            place = np.searchsorted(history.invoked[rows], since, side="right")
            # When it was gone: the earliest end of a look that began after it was there for the last time.
            ends = np.append(np.minimum.accumulate(history.completed[rows][::-1])[::-1], _LAST) if len(rows) else \
                np.array([_LAST])
            gone = ends[place]
            untold += int((gone == _LAST).sum())
            mine, since, gone = mine[gone != _LAST], since[gone != _LAST], gone[gone != _LAST]
            order = np.argsort(gone, kind="stable")
            begun = np.searchsorted(np.sort(history.invoked[silent_of.get(key, np.zeros(0, np.int64))]), gone[order], "right")
            lost = order[_unexplained(begun)]
            self._tell_lost(found, history, elements, mine[lost], since[lost], gone[lost], rows)
        return untold

    def _tell_lost(
        self, found: Findings, history: History, elements: _Elements, lost: Ints, since: Ints, by: Ints, looks: Ints
    ) -> None:
        def tell(at: int) -> Told:
            row, gone = int(elements.put[lost[at]]), int(by[at])
            enqueue = history[row]
            look = int(looks[np.flatnonzero((history.completed[looks] == gone) & (history.invoked[looks] > since[at]))[0]])
            silent = rows_of(history, "dequeue") & (history.outcome == INFO) & (history.key == history.key[row])
            maybe = int((silent & (history.invoked <= gone)).sum())
            others = f", nor can any of {maybe:,} unanswered dequeues have taken it that took no other" if maybe else ""
            ok = enqueue.outcome == "ok"
            first = int(history.completed[row]) if ok else int(elements.there[lost[at]])
            known = f"acknowledged by {enqueue.server or enqueue.node or 'the server'}" if ok else "seen there"
            sentence = (
                f"{enqueue.value}, {known} at {clock(first)}, was gone from queue {enqueue.key} by {clock(gone)}: nobody took "
                f"it out{others}."
            )
            return sentence, _rows(history, *dict.fromkeys((row, *(() if ok else (int(elements.told[lost[at]]),)), look)))

        rows = elements.put[lost]
        began = np.where(history.outcome[rows] == OK, history.completed[rows], elements.there[lost])
        found.add_all("lost-element", began, by, tell, lost=True)


def _find_there(history: History, elements: _Elements, shown: Ints, shown_by: Ints) -> None:
    """Find from when, and until when, each element that was put in was there for certain."""
    put, taken = elements.put, elements.taken
    sound = (put >= 0) & (history.outcome[put] != FAIL)
    sure = np.flatnonzero(sound & (history.outcome[put] == OK))
    elements.there[sure], elements.told[sure] = history.completed[put[sure]], put[sure]
    out = np.flatnonzero(sound & (taken >= 0))
    elements.until[out], elements.again[out] = history.invoked[taken[out]], taken[out]
    # What is read before it was put in is told of as that, and a read of the past shows nothing of its own moment.
    gone = np.where(taken >= 0, history.completed[taken], _LAST)
    right = sound[shown] & (history.completed[shown_by] >= history.invoked[put[shown]])
    stale = np.zeros(len(history), np.bool_)
    stale[shown_by[history.invoked[shown_by] > gone[shown]]] = True
    right &= ~stale[shown_by]
    codes, rows = shown[right], shown_by[right]
    np.minimum.at(elements.there, codes, history.completed[rows])
    first = history.completed[rows] == elements.there[codes]
    unsure = first & ((elements.told[codes] < 0) | (history.completed[elements.told[codes]] > elements.there[codes]))
    elements.told[codes[unsure]] = rows[unsure]
    np.maximum.at(elements.until, codes, history.invoked[rows])
    last = history.invoked[rows] == elements.until[codes]
    later = last & ((elements.again[codes] < 0) | (history.invoked[elements.again[codes]] < elements.until[codes]))
    elements.again[codes[later]] = rows[later]


def _steady(elements: _Elements, mine: Ints, invoked: Ints, completed: Ints) -> Ints:
    """How many of these elements of one queue were there all the time between each pair of moments."""
    order = np.argsort(elements.there[mine], kind="stable")
    there, until = elements.there[mine][order], elements.until[mine][order]
    begin = np.searchsorted(there, invoked, side="left")
    # Those that came before, without those that were gone; which of these came in between is looked at one by one.
    counts = begin - np.searchsorted(np.sort(until, kind="stable"), completed, side="right")
    spans = np.searchsorted(there, completed, side="right") - begin
    ends = np.cumsum(spans)
    at = 0
    while at < len(spans):
        to = max(int(np.searchsorted(ends, (ends[at - 1] if at else 0) + _CHUNK, side="right")), at + 1)
        which = np.repeat(np.arange(at, to), spans[at:to])
        inner = until[ranges(begin[at:to], spans[at:to])] <= completed[which]
        counts[at:to] += np.bincount(which[inner] - at, minlength=to - at)
        at = to
    return counts


def _least_behind(values: Ints, shown: Ints, reads: Ints) -> Ints:
    """Of each entry the least of the values of the elements behind it in its read; `_LAST` where it is the last. The entries of
    a read lie beside each other."""
    order = np.argsort(values, kind="stable")
    wide = len(values)
    place = np.empty(wide, np.int64)
    place[order] = np.arange(wide)
    same = reads[1:] == reads[:-1]
    read = np.cumsum(np.append(0, ~same)) * wide
    # Each read's are less than those of the next one, so that one pass from behind goes through all.
    least = np.minimum.accumulate((place[shown] + read)[::-1])[::-1]
    found = np.full(len(shown), _LAST)
    found[:-1][same] = values[order[least[1:][same] - read[1:][same]]]
    return found


def _shortest_circle(circle: Any) -> list[tuple[int, int]]:
    """The edges of the shortest circle in a strongly connected graph, through one of its first `_TRIED` edges."""
    import networkx as nx

    best: list[int] = []
    for source, target in list(circle.edges)[:_TRIED]:
        way = nx.shortest_path(circle, target, source)
        if not best or len(way) < len(best):
            best = way
    return list(zip(best, [*best[1:], best[0]], strict=True))


def _unexplained(begun: Ints) -> Ints:
    """The places of the elements that are lost: `begun` tells of each, in the order in which they were gone, how many
    unanswered dequeues had begun by then, and each of these can have taken one."""
    lost, explained = [], 0
    for at, many in enumerate(begun.tolist()):
        if explained < many:
            explained += 1
        else:
            lost.append(at)
    return np.array(lost, np.int64)


def _rows(history: History, *rows: int) -> list[Any]:
    return [history[row] for row in rows if row >= 0]

