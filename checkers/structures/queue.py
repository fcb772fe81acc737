"""Queues of elements that are put in once: none lost, none handed out twice, and the first in is the first out.

What waits is read now and then, and in the end; a dequeue that finds nothing looks, too. A look takes effect at one moment, so
an element that was there before it began and is there after it was over (a later read shows it, or it is taken out) was there
all the time, and the look must show it. An element that was acknowledged or seen, that nobody took out, and that no look shows
any more is gone. A dequeue that was not answered may have taken one, at any time after it began: so of the elements that were
gone by some moment as many may have been taken as there are such dequeues that began before it. Only what is more than that is
lost for certain.

What nobody took out, though its queue has no unanswered dequeue that can have, is there for ever, and so is what came in behind
it: an unanswered dequeue takes the first one.

The order of two elements is judged where the one was acknowledged, or seen, before the other was begun, and handed out after
the other had been, or not at all. A read tells the order, too: of two elements that it shows the first one came in before the
other, and goes out before it, and every other read shows them so. As it shows all that waits, nothing lies between two that it
shows beside each other. It takes effect after what it shows was put in, and before any of that is taken out.

So does what a read does not show though it is there later: it was still to come, behind all that the read shows.

Its rules are one file because all of them hold the same moments of the same elements against each other.
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
    coded_beside,
    distinct,
    grouped,
    keys_of,
    rows_of,
    shown_elements,
)
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.checkers.verdict import Coverage, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.ranges import ranges
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
    """The row that tells so; -1 where nobody can have taken it out at all."""
    behind: Ints
    """The element behind which it came in, so that it was there as long as that; -1 where it is not that which tells so."""


@dataclass
class _Windows:
    """One entry a row: between which moments that look took effect. What it shows was put in before it and taken out behind."""

    low: Ints
    high: Ints


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
        (put_code, took_code), shown_code, many = coded_beside(
            [(history.key[put], numbers.of_rows(history, put)), (history.key[took], numbers.of_rows(history, took))],
            history.key[reads], sizes, shown_value,
        )
        listed = shown_code.astype(np.int64, copy=False)
        if listed.min(initial=0) < 0:
            # Nil is no element.
            sizes = np.bincount(np.repeat(np.arange(len(reads)), sizes)[listed >= 0], minlength=len(reads))
            listed = listed[listed >= 0]
        if len(put_code) and put_code.min() < 0:
            raise UsageError("the queue checker needs elements that are not nil, which a dequeue of an empty queue tells: "
                             "choose another checker")
        if len(put_code) and np.bincount(put_code).max() > 1:
            raise UsageError("the queue checker needs elements that are put in once: choose another checker")
        elements = _Elements(*(np.full(many, blank) for blank in (-1, -1, -1, _FIRST, _LAST, -1, _FIRST, -1, -1)))
        elements.put[put_code] = put
        elements.key[put_code] = history.key[put]
        real = took_code >= 0
        completed = history.completed
        by_time = np.argsort(completed[took[real]], kind="stable")[::-1]
        elements.taken[took_code[real][by_time]] = took[real][by_time]
        self._handed_out(found, history, elements, took[real], took_code[real])
        began = np.full(many, _FIRST)
        began[put_code] = history.invoked[put]
        queues = np.full(many, -1)
        queues[took_code[real]], queues[put_code] = history.key[took[real]], history.key[put]
        shown = self._once(found, history, elements, Stretches.of(listed, reads, sizes, began, queues))
        self._unput(found, history, elements, took[real], took_code[real], shown)
        windows = _windows(history, elements, shown)
        stale = self._back_again(found, history, elements, windows, shown)
        for moments, plain in ((windows.low, history.invoked), (windows.high, completed)):
            moments[stale] = plain[stale]
        elements.seen_last = shown.spread(np.maximum, windows.high[shown.row], _FIRST)
        _find_there(history, elements, windows, shown.with_only(~stale[shown.row]))
        looks = np.sort(np.concatenate([reads, took[~real]]))
        lost_by, gone, untold = self._lost(found, history, elements, windows, looks)
        _find_until(history, elements, lost_by)
        stale[self._missed(found, history, elements, windows, looks, shown)] = True
        self._out_of_order(found, history, elements)
        self._left_behind(found, history, elements, lost_by, gone)
        shown = shown.without_elements(elements.put < 0)
        crossed = self._shown_out_of_order(found, history, elements, shown)
        shown = shown.with_only(~crossed[shown.row])
        if not self._circles(found, history, elements, shown):
            fine = shown.with_only(~stale[shown.row]).without_elements(lost_by)
            self._parting(found, history, elements, fine)
            torn = self._torn(found, history, elements, windows, fine)
            # What such a read does not show, or shows too early, tells no order.
            early = fine.row[fine.over(np.maximum, history.invoked[elements.put]) > completed[fine.row]]
            if not found.counts["reordered"]:
                sound = fine.with_only(~np.isin(fine.row, np.concatenate([torn, early])))
                self._jumped(found, history, elements, windows, sound)
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

    def _once(self, found: Findings, history: History, elements: _Elements, every: Stretches) -> Stretches:
        """Elements that wait twice, as one read shows them: each once. What reads show, an element only where its read shows
        it first."""
        # What is one stretch shows nothing twice.
        entries, shown_by = every.entries(_several(every))
        shown = every.shown[entries]
        order = np.lexsort((shown_by, shown))
        code, by = shown[order], shown_by[order]
        again = np.flatnonzero((code[1:] == code[:-1]) & (by[1:] == by[:-1]))
        later = entries[order[again + 1]]
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
        return every.without(np.sort(later))

    def _unput(
        self, found: Findings, history: History, elements: _Elements, took: Ints, code: Ints, every: Stretches
    ) -> None:
        """Elements that nobody put in, whose enqueue failed, or had yet to begin: each once."""
        never = (elements.put < 0) | (history.outcome[elements.put] == FAIL)
        since = np.where(never, _LAST, history.invoked[elements.put])
        entries, shown_by = every.entries(every.over(np.maximum, since) > history.completed[every.row])
        shown = every.shown[entries]
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

    def _back_again(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, every: Stretches
    ) -> Flags:
        """Reads that show what had been taken out before they took effect. Which rows they are."""
        gone = np.where(elements.taken >= 0, history.completed[elements.taken], _LAST)
        wrong = np.zeros(len(history), np.bool_)
        entries, shown_by = every.entries(every.over(np.minimum, gone) < windows.low[every.row])
        shown = every.shown[entries]
        stale = np.flatnonzero(gone[shown] < windows.low[shown_by])
        # The entries of a read lie beside each other.
        stale = stale[np.append(True, shown_by[stale][1:] != shown_by[stale][:-1])[: len(stale)]]
        rows, codes, took = shown_by[stale], shown[stale], elements.taken[shown[stale]]
        wrong[rows] = True
        low = windows.low[rows]

        def tell(at: int) -> Told:
            row, more = int(rows[at]), []
            read, dequeue = history[row], history[int(took[at])]
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed "
                f"{dequeue.value}, which client {dequeue.process} had taken out by {clock(int(history.completed[took[at]]))}"
            )
            if history.completed[took[at]] >= history.invoked[row]:
                others = elements.put[every.elements_of(row)]
                more = others[(others >= 0) & (history.invoked[others] == low[at])][:1].tolist()
                sentence += f", beside {history[more[0]].value}, which was put in since {clock(int(low[at]))} only"
            return f"{sentence}.", _rows(history, int(elements.put[codes[at]]), *more, int(took[at]), row)

        found.add_rows("stale-read", rows, tell)
        return wrong

    def _missed(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, looks: Ints, every: Stretches
    ) -> Ints:
        """Reads that do not show an element, and dequeues that found nothing, though it was there all the time: each once.
        Which rows they are."""
        low, high = windows.low, windows.high
        steady = np.flatnonzero(elements.until > elements.there)
        looks = looks[~_complete(history, elements, steady, windows, every)[looks]]
        entries, shown_by = every.entries(np.isin(every.row, looks))
        shown = every.shown[entries]
        showing = (elements.there[shown] < low[shown_by]) & (elements.until[shown] > high[shown_by])
        right = np.bincount(shown_by[showing], minlength=len(history))
        of_key = {key: steady[places] for key, places in grouped(elements.key[steady])}
        wrong = []
        for key, places in grouped(history.key[looks]):
            mine = of_key.get(key)
            if mine is None:
                continue
            rows = looks[places]
            wrong.append(rows[_steady(elements, mine, low[rows], high[rows]) > right[rows]])
        rows = np.concatenate(wrong) if wrong else np.zeros(0, np.int64)

        def tell(at: int) -> Told:
            row = int(rows[at])
            told = set(every.elements_of(row).tolist())
            mine = of_key[int(history.key[row])]
            mine = mine[(elements.there[mine] < low[row]) & (elements.until[mine] > high[row])]
            missed = next(one for one in mine[np.argsort(elements.there[mine], kind="stable")].tolist() if one not in told)
            return _missing(history, elements, windows, every.elements_of(row), row, missed)

        found.add_rows("stale-element", rows, tell)
        return rows

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
            place = np.searchsorted(begun, elements.there[mine], side="right")
            inside = place < len(begun)
            clipped = np.minimum(place, len(begun) - 1)
            wrong = inside & (soonest[clipped] < history.invoked[taken])
            at = np.flatnonzero(wrong)
            others = order[who[place[at]]]
            self._overtaken(found, history, elements, mine[at], mine[others])

    def _overtaken(self, found: Findings, history: History, elements: _Elements, late: Ints, early: Ints) -> None:
        put, taken = elements.put, elements.taken

        def tell(at: int) -> Told:
            first, other = int(early[at]), int(late[at])
            value, key = history[int(put[first])].value, history[int(put[first])].key
            known = "put in" if elements.told[other] == put[other] else "seen there"
            sentence = (
                f"{value} came out of queue {key} at {clock(int(history.completed[taken[first]]))}, before "
                f"{history[int(put[other])].value}, which had been {known} by {clock(int(elements.there[other]))}, before "
                f"{value} was put in"
            )
            if taken[other] < 0:
                maybe = _silent(history, int(history.key[put[other]]), int(history.completed[taken[first]]))
                others = f", nor can any of {maybe:,} unanswered dequeues have that took no other" if maybe else ""
                sentence += f": nobody had taken it out{others}"
            rows = (put[other], elements.told[other], put[first], taken[first], taken[other])
            return f"{sentence}.", _rows(history, *map(int, rows))

        seen = np.where(taken[late] >= 0, history.completed[taken[late]], history.completed[taken[early]])
        found.add_all("reordered", history.invoked[taken[early]], seen, tell)

    def _left_behind(self, found: Findings, history: History, elements: _Elements, lost: Flags, gone: Ints) -> None:
        """Elements that nobody took out, though one that came in later came out: each once. An unanswered dequeue may have
        taken one of those before; `gone` are the moments by which looks want one, too."""
        put, taken = elements.put, elements.taken
        out = (put >= 0) & (taken >= 0)
        waits = (put >= 0) & (taken < 0) & (elements.there < _LAST) & ~lost
        silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
        for key, places in grouped(elements.key[waits]):
            mine, others = np.flatnonzero(waits)[places], np.flatnonzero(out & (elements.key == key))
            others = others[np.argsort(history.invoked[put[others]], kind="stable")]
            ends = np.append(history.completed[taken[others]], _LAST)[::-1]
            soonest = np.minimum.accumulate(ends)[::-1]
            by = soonest[np.searchsorted(history.invoked[put[others]], elements.there[mine], side="right")]
            wanted = np.minimum(by, gone[mine])
            some = np.flatnonzero(wanted < _LAST)
            some = some[np.argsort(wanted[some], kind="stable")]
            begun = np.searchsorted(np.sort(history.invoked[silent[history.key[silent] == key]]), wanted[some], "right")
            overtaken = by[some] < gone[mine[some]]
            wrong = some[_unexplained(begun, overtaken)]
            wrong = wrong[by[wrong] < _LAST]
            begun, out_by = history.invoked[put[others]], history.completed[taken[others]]
            early = np.array([
                others[(out_by == by[at]) & (begun > elements.there[mine[at]])][0] for at in wrong.tolist()
            ], np.int64)
            if len(wrong):
                self._overtaken(found, history, elements, mine[wrong], early)

    def _shown_out_of_order(
        self, found: Findings, history: History, elements: _Elements, every: Stretches
    ) -> Flags:
        """Reads that show an element behind one that came in after it, or went out before it, each once. Which rows they
        are."""
        put, taken = elements.put, elements.taken
        came = elements.there
        out = np.where((put >= 0) & (taken >= 0), history.completed[taken], _LAST)
        # What stands right in the order of all is right in every stretch of it.
        order, chains, begins = every.order.elements, every.chains(), np.where(put >= 0, history.invoked[put], _FIRST)
        early = _least_behind(came, order, chains) < begins[order]
        early |= _least_behind(out, order, chains) < elements.until[order]
        doubtful = np.zeros(len(put), np.bool_)
        doubtful[order[early]] = True
        several = _several(every)
        several[np.isin(every.row, every.rows_touching(doubtful))] = True
        entries, shown_by = every.entries(several)
        shown = every.shown[entries]
        begun = history.invoked[put][shown]
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
                known = "put in" if elements.told[late] == put[late] else "seen there"
                why = f"which had been {known} by {clock(int(came[late]))}, before {first} was put in"
                more = [int(put[late]), int(elements.told[late]), int(put[ahead])]
            else:
                why = f"which was taken out by {clock(int(history.completed[taken[late]]))}, when {first} was still there"
                more = [int(put[late]), int(taken[late]), *_staying(elements, ahead)]
            return f"{where} showed {first} before {second}, {why}.", _rows(history, *more, row)

        found.add_rows("reordered", rows, tell)
        crossed = np.zeros(len(history), np.bool_)
        crossed[rows] = True
        return crossed

    def _circles(self, found: Findings, history: History, elements: _Elements, every: Stretches) -> bool:
        """Reads whose orders contradict each other: each circle of elements once. Whether there are any."""
        one, other, _ = every.joints()
        back = every.order.places[other] < every.order.places[one]
        if not back.any():
            return False
        # Loaded only where queues contradict themselves: `import splitbrain` stays light.
        from scipy.sparse import csr_matrix
        from scipy.sparse.csgraph import connected_components

        entries, shown_by = every.entries(np.isin(history.key[every.row], elements.key[one[back]]))
        shown = every.shown[entries]
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
            return False
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
        return True

    def _parting(self, found: Findings, history: History, elements: _Elements, every: Stretches) -> None:
        """Reads that show different elements right behind, or right before, the same one: each shows all that is there, so
        that this is always the same. Each read at most once."""
        doubtful = np.zeros(len(elements.put), np.bool_)
        for ends in every.joints()[:2]:
            doubtful[ends] = True
        entries, shown_by = every.entries(np.isin(every.row, every.rows_touching(doubtful)))
        shown = every.shown[entries]
        same = np.flatnonzero(shown_by[1:] == shown_by[:-1])
        before, behind, by = shown[same], shown[same + 1], shown_by[same]
        told: set[int] = set()
        for one, other, place in ((before, behind, "behind"), (behind, before, "before")):
            usual = np.full(len(elements.put), -1)
            usual[one] = np.arange(len(one))
            against = np.flatnonzero(other[usual[one]] != other)
            against = against[np.unique(one[against], return_index=True)[1]]
            against = np.array([at for at in against.tolist() if not told & {int(by[at]), int(by[usual[one[at]]])}], np.int64)
            for at in against.tolist():
                both = sorted((at, int(usual[one[at]])), key=lambda pair: int(history.completed[by[pair]]))
                told |= {int(by[pair]) for pair in both}
                codes = [int(one[at]), *(int(other[pair]) for pair in both)]

                def tell(_: int, both: list[int] = both, codes: list[int] = codes, place: str = place) -> Told:
                    values = [history[int(elements.put[code])].value for code in codes]
                    shows = "; ".join(
                        f"that at {clock(int(history.completed[by[pair]]))} showed {value} right {place} {values[0]}"
                        for pair, value in zip(both, values[1:], strict=True)
                    )
                    rows = [*(int(elements.put[code]) for code in codes), *(int(by[pair]) for pair in both)]
                    return f"reads of queue {history[rows[-1]].key} contradict each other: {shows}.", _rows(history, *rows)

                found.add_rows("reordered", by[both[-1:]], tell)

    def _torn(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, every: Stretches
    ) -> Ints:
        """Reads that begin with an element though the one that another read shows before it was still there, or end with one
        though what follows it had come in: each once. Which rows they are."""
        following, usual = every.links()
        previous = np.full(len(following), -1)
        linked = np.flatnonzero(following >= 0)
        previous[following[linked]] = linked
        ends = np.flatnonzero(every.last)
        begins = np.append(0, ends + 1)[: len(ends)]
        heads, tails = every.shown[every.first[begins]], every.shown[every.first[ends] + every.size[ends] - 1]
        reads = every.row[ends]
        ahead, next_one = previous[heads], following[tails]
        left = (ahead >= 0) & (elements.until[ahead] > windows.high[reads])
        short = (next_one >= 0) & (elements.there[next_one] < windows.low[reads])
        wrong = np.flatnonzero(left | short)
        rows = reads[wrong]

        def tell(at: int) -> Told:
            place, row = int(wrong[at]), int(rows[at])
            missed, end = (int(ahead[place]), int(heads[place])) if left[place] else (int(next_one[place]), int(tails[place]))
            other = int(usual[missed if left[place] else end])
            read, value, known = history[row], history[int(elements.put[missed])].value, history[int(elements.put[end])].value
            since = f"had been there since {clock(int(elements.there[missed]))}"
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[row]))} did not show "
                f"{value}, which a read at {clock(int(history.completed[other]))} showed right "
                f"{'before' if left[place] else 'behind'} {known}, though {value} "
                f"{_stays(history, elements, missed) if left[place] else since}"
            )
            more = _staying(elements, missed) if left[place] else [int(elements.put[missed]), int(elements.told[missed])]
            limits = _limits(history, elements, windows, every.elements_of(row), row)
            return f"{sentence}.", _rows(history, int(elements.put[end]), *more, *limits, other, row)

        found.add_rows("stale-element", rows, tell)
        return rows

    def _jumped(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, every: Stretches
    ) -> None:
        """Elements that came out while one was there which a read shows without them: as they were not out before it, they came
        in behind all that it shows. Each once. Asked where nothing simpler tells of a wrong order."""
        out = np.flatnonzero((elements.put >= 0) & (elements.taken >= 0))
        stays, placed = every.over(np.maximum, elements.until), every.order.places
        of_key = {key: at for key, at in grouped(history.key[every.row])}
        pairs: dict[int, tuple[int, int]] = {}
        for key, places in grouped(elements.key[out]):
            at = of_key.get(key)
            if at is None:
                continue
            mine = out[places]
            mine = mine[np.argsort(history.completed[elements.taken[mine]], kind="stable")]
            ends = history.completed[elements.taken[mine]]
            # Of what no read shows that one tells which shows what is there longest, of those that were over before it was out.
            alone, rows = mine[elements.seen_last[mine] == _FIRST], every.row[at]
            order = np.argsort(windows.high[rows], kind="stable")
            longest = np.append(_FIRST, np.maximum.accumulate(stays[at][order]))
            before = longest[np.searchsorted(windows.high[rows][order], elements.until[alone], side="left")]
            wrong = before > history.completed[elements.taken[alone]]
            doubtful = np.isin(stays[at], before[wrong])
            # Else something stands before what a read shows that is there longer than that, or behind it and is out sooner.
            by_place = mine[elements.seen_last[mine] > _FIRST]
            by_place = by_place[np.argsort(placed[by_place], kind="stable")]
            spots = placed[by_place]
            until = np.append(_FIRST, np.maximum.accumulate(elements.until[by_place]))
            sooner = np.append(np.minimum.accumulate(history.completed[elements.taken[by_place]][::-1])[::-1], _LAST)
            doubtful |= until[np.searchsorted(spots, every.begin[at])] > windows.high[rows]
            doubtful |= sooner[np.searchsorted(spots, every.begin[at] + every.size[at])] < stays[at]
            for row in distinct(rows[doubtful]).tolist():
                shown = every.elements_of(row)
                there, high = int(shown[np.argmax(elements.until[shown])]), windows.high[row]
                members = set(shown.tolist())
                begin, end = np.searchsorted(ends, (high, elements.until[there]), side="left").tolist()
                early = next((
                    one for one in mine[begin:end].tolist() if elements.until[one] > high and one not in members
                ), -1)
                if early >= 0:
                    pairs.setdefault(early, (row, there))
        early_ones = np.array(list(pairs), np.int64)

        def tell(at: int) -> Told:
            early = int(early_ones[at])
            row, other = pairs[early]
            put, taken, read = int(elements.put[early]), int(elements.taken[early]), history[row]
            value, first = history[put].value, history[int(elements.put[other])].value
            sentence = (
                f"{value} came out of queue {read.key} at {clock(int(history.completed[taken]))}, before {first}, though a "
                f"read at {read.node or 'a server'} at {clock(int(history.completed[row]))} showed {first} when {value} was "
                f"still to come, and {first} {_stays(history, elements, other)}."
            )
            limits = _limits(history, elements, windows, every.elements_of(row), row)
            return sentence, _rows(history, put, *_staying(elements, other), *limits, row, taken)

        found.add_rows("reordered", elements.taken[early_ones], tell)

    def _lost(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, looks: Ints
    ) -> tuple[Flags, Ints, int]:
        """Tell what is lost for certain. Which elements are, by when each was gone, and of how many nothing is known, because
        nobody looked."""
        final = found.recording.final
        put = elements.put
        open_ones = np.flatnonzero((put >= 0) & (elements.taken < 0) & (elements.seen_last < final))
        open_ones = open_ones[elements.there[open_ones] < _LAST]
        untold = 0
        losses, missing_by = np.zeros(len(put), np.bool_), np.full(len(put), _LAST)
        silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
        looks_of = {key: looks[places] for key, places in grouped(history.key[looks])}
        silent_of = {key: silent[places] for key, places in grouped(history.key[silent])}
        for key, places in grouped(elements.key[open_ones]):
            mine = open_ones[places]
            rows = looks_of.get(key, np.zeros(0, np.int64))
            rows = rows[np.argsort(windows.low[rows], kind="stable")]
            since = np.maximum(elements.there[mine], elements.seen_last[mine])
            place = np.searchsorted(windows.low[rows], since, side="right")
            # When it was gone: the earliest end of a look that began after it was there for the last time.
            ends = np.append(np.minimum.accumulate(windows.high[rows][::-1])[::-1], _LAST) if len(rows) else \
                np.array([_LAST])
            gone = ends[place]
            missing_by[mine] = gone
            untold += int((gone == _LAST).sum())
            mine, since, gone = mine[gone != _LAST], since[gone != _LAST], gone[gone != _LAST]
            order = np.argsort(gone, kind="stable")
            begun = np.searchsorted(np.sort(history.invoked[silent_of.get(key, np.zeros(0, np.int64))]), gone[order], "right")
            lost = order[_unexplained(begun)]
            losses[mine[lost]] = True
            self._tell_lost(found, history, elements, windows, mine[lost], since[lost], gone[lost], rows)
        return losses, missing_by, untold

    def _tell_lost(
        self, found: Findings, history: History, elements: _Elements, windows: _Windows, lost: Ints, since: Ints, by: Ints,
        looks: Ints,
    ) -> None:
        def tell(at: int) -> Told:
            row, gone = int(elements.put[lost[at]]), int(by[at])
            enqueue = history[row]
            look = int(looks[np.flatnonzero((windows.high[looks] == gone) & (windows.low[looks] > since[at]))[0]])
            maybe = _silent(history, int(history.key[row]), gone)
            others = f", nor can any of {maybe:,} unanswered dequeues have taken it that took no other" if maybe else ""
            ok = enqueue.outcome == "ok" and history.completed[row] <= gone
            first = int(history.completed[row]) if ok else int(elements.there[lost[at]])
            known = f"acknowledged by {enqueue.server or enqueue.node or 'the server'}" if ok else "seen there"
            sentence = (
                f"{enqueue.value}, {known} at {clock(first)}, was gone from queue {enqueue.key} by {clock(gone)}: nobody took "
                f"it out{others}."
            )
            return sentence, _rows(history, row, int(elements.told[lost[at]]), look)

        rows = elements.put[lost]
        acknowledged = (history.outcome[rows] == OK) & (history.completed[rows] <= by)
        began = np.where(acknowledged, history.completed[rows], elements.there[lost])
        found.add_all("lost-element", began, by, tell, lost=True)


def _silent(history: History, key: int, by: int) -> int:
    """How many unanswered dequeues of a queue had begun by then."""
    silent = rows_of(history, "dequeue") & (history.outcome == INFO) & (history.key == key)
    return int((silent & (history.invoked <= by)).sum())


def _missing(
    history: History, elements: _Elements, windows: _Windows, shown: Ints, row: int, missed: int
) -> Told:
    """What is told of a look that does not show an element which was there all the time."""
    look, when = history[row], clock(int(history.completed[row]))
    value = history[int(elements.put[missed])].value
    what = (
        f"client {look.process} at {look.node or 'a client'} found queue {look.key} empty at {when}, though {value}"
        if look.f == "dequeue" else
        f"a read of queue {look.key} at {look.node or 'a server'} at {when} did not show {value}, which"
    )
    sentence = f"{what} had been there since {clock(int(elements.there[missed]))} and {_stays(history, elements, missed)}."
    limits = _limits(history, elements, windows, shown, row)
    put, told = int(elements.put[missed]), int(elements.told[missed])
    return sentence, _rows(history, put, told, *limits, *_staying(elements, missed), row)


def _stays(history: History, elements: _Elements, one: int) -> str:
    """Why it was there that long."""
    ahead, again = int(elements.behind[one]), int(elements.again[one])
    if ahead >= 0:
        return f"came in behind {history[int(elements.put[ahead])].value}, which {_stays(history, elements, ahead)}"
    if again < 0:
        return "was never taken out"
    if history.outcome[again] == INFO:
        return f"could not be taken out before {clock(int(history.invoked[again]))}"
    return "was taken out later" if history[again].f == "dequeue" else "was read there later"


def _staying(elements: _Elements, one: int) -> list[int]:
    """The rows that tell so, and that it was put in."""
    ahead = int(elements.behind[one])
    return [int(elements.put[one]), *([int(elements.told[ahead]), *_staying(elements, ahead)] if ahead >= 0 else [
        int(elements.again[one])])]


def _limits(history: History, elements: _Elements, windows: _Windows, shown: Ints, row: int) -> list[int]:
    """The rows of the elements, of those that a look shows, by which its moment is told more closely than by its beginning and
    its end."""
    put, taken = elements.put[shown], elements.taken[shown]
    told = []
    if windows.low[row] > history.invoked[row]:
        told += put[(put >= 0) & (history.invoked[put] == windows.low[row])][:1].tolist()
    if windows.high[row] < history.completed[row]:
        at = np.flatnonzero((taken >= 0) & (history.completed[taken] == windows.high[row]))[:1]
        told += [*put[at].tolist(), *taken[at].tolist()]
    return told


def _windows(history: History, elements: _Elements, shown: Stretches) -> _Windows:
    """Between which moments each look took effect. What is shown too early is told of as that."""
    found = _Windows(history.invoked.copy(), history.completed.copy())
    sound = (elements.put >= 0) & (history.outcome[elements.put] != FAIL)
    begun = np.where(sound, history.invoked[elements.put], _FIRST)
    timely = shown.without(_early(history, begun, shown))
    np.maximum.at(found.low, timely.row, timely.over(np.maximum, begun))
    out = np.where(elements.taken >= 0, history.completed[elements.taken], _LAST)
    np.minimum.at(found.high, shown.row, shown.over(np.minimum, out))
    return found


def _early(history: History, begun: Ints, shown: Stretches) -> Ints:
    """The entries of reads that were over before what they show was begun."""
    entries, shown_by = shown.entries(shown.over(np.maximum, begun) > history.completed[shown.row])
    found: Ints = entries[begun[shown.shown[entries]] > history.completed[shown_by]]
    return found


def _several(shown: Stretches) -> Flags:
    """Which stretches are not their whole read."""
    found = ~shown.last
    found[1:] |= ~shown.last[:-1]
    return found


def _find_there(history: History, elements: _Elements, windows: _Windows, shown: Stretches) -> None:
    """Find from when, and until when, each element that was put in was there for certain. `shown` are reads of their own
    moment: one of the past shows nothing of that."""
    put, taken = elements.put, elements.taken
    sound = (put >= 0) & (history.outcome[put] != FAIL)
    sure = np.flatnonzero(sound & (history.outcome[put] == OK))
    elements.there[sure], elements.told[sure] = history.completed[put[sure]], put[sure]
    out = np.flatnonzero(sound & (taken >= 0))
    elements.until[out], elements.again[out] = history.invoked[taken[out]], taken[out]
    # What is read before it was put in is told of as that.
    right = shown.without(_early(history, np.where(sound, history.invoked[put], _FIRST), shown))
    rows = distinct(right.row)
    place = np.searchsorted(rows, right.row)
    # Of reads that tell the same the last one is shown.
    order = np.lexsort((-rows, windows.high[rows]))
    rank = np.empty(len(rows), np.int64)
    rank[order] = np.arange(len(rows))
    best = right.spread(np.minimum, rank[place], len(rows))
    seen = np.flatnonzero(sound & (best < len(rows)))
    by = rows[order[best[seen]]]
    sooner = windows.high[by] < elements.there[seen]
    elements.there[seen[sooner]] = windows.high[by[sooner]]
    unsure = windows.high[by] == elements.there[seen]
    unsure &= (elements.told[seen] < 0) | (history.completed[elements.told[seen]] > elements.there[seen])
    elements.told[seen[unsure]] = by[unsure]
    order = np.lexsort((rows, windows.low[rows]))
    rank[order] = np.arange(len(rows))
    best = right.spread(np.maximum, rank[place], -1)
    by = rows[order[best[seen]]]
    later = windows.low[by] > elements.until[seen]
    elements.until[seen[later]] = windows.low[by[later]]
    unsure = windows.low[by] == elements.until[seen]
    unsure &= (elements.again[seen] < 0) | (history.invoked[elements.again[seen]] < elements.until[seen])
    elements.again[seen[unsure]] = by[unsure]


def _complete(history: History, elements: _Elements, steady: Ints, windows: _Windows, shown: Stretches) -> Flags:
    """Rows of reads of which it is seen at once that they show all of these elements that were there all the time: those that
    stand before what one shows were gone before it was over, and those behind came in after it began."""
    found = np.zeros(len(history), np.bool_)
    whole = np.flatnonzero(~_several(shown))
    of_key = {key: whole[at] for key, at in grouped(history.key[shown.row[whole]])}
    order = shown.order
    for key, mine in grouped(elements.key[steady]):
        at = of_key.get(key)
        if at is None:
            continue
        places = np.sort(order.places[steady[mine]])
        ones, rows = order.elements[places], shown.row[at]
        until = np.append(_FIRST, np.maximum.accumulate(elements.until[ones]))
        there = np.append(np.minimum.accumulate(elements.there[ones][::-1])[::-1], _LAST)
        before = until[np.searchsorted(places, shown.begin[at])]
        behind = there[np.searchsorted(places, shown.begin[at] + shown.size[at])]
        found[rows] = (before <= windows.high[rows]) & (behind >= windows.low[rows])
    return found


def _find_until(history: History, elements: _Elements, lost: Flags) -> None:
    """Find how long what nobody took out, and what is not lost, was there for certain: until the first unanswered dequeue of
    its queue began, and as long as any that came in before it."""
    put = elements.put
    waits = (put >= 0) & (elements.taken < 0) & (elements.there < _LAST) & ~lost
    silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
    first: dict[int, int] = {}
    for row in silent[np.argsort(history.invoked[silent], kind="stable")].tolist():
        first.setdefault(int(history.key[row]), row)
    for key, places in grouped(elements.key[waits]):
        mine = np.flatnonzero(waits)[places]
        by = first.get(key, -1)
        until = int(history.invoked[by]) if by >= 0 else _LAST
        later = mine[elements.until[mine] < until]
        elements.until[later], elements.again[later] = until, by
        if by < 0:
            continue
        known = np.flatnonzero((elements.key == key) & (put >= 0) & (elements.there < _LAST) & ~lost)
        known = known[np.argsort(elements.there[known], kind="stable")]
        longest = np.maximum.accumulate(elements.until[known])
        who = np.maximum.accumulate(np.where(elements.until[known] == longest, np.arange(len(known)), 0))
        place = np.searchsorted(elements.there[known], history.invoked[put[mine]], side="left") - 1
        longer = (place >= 0) & (longest[place] > elements.until[mine])
        elements.until[mine[longer]] = longest[place[longer]]
        elements.behind[mine[longer]] = known[who[place[longer]]]


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


def _unexplained(begun: Ints, rather: Flags | None = None) -> Ints:
    """The places of the elements that are lost: `begun` tells of each, in the order in which they were gone, how many
    unanswered dequeues had begun by then, and each of these can have taken one. Of those among which one is lost it is the last
    of which `rather` tells so, if there is any."""
    lost, explained = [], 0
    before: list[int] = []
    for at, many in enumerate(begun.tolist()):
        if rather is not None and rather[at]:
            before.append(at)
        if explained < many:
            explained += 1
        else:
            lost.append(before.pop() if before else at)
    return np.array(lost, np.int64)


def _rows(history: History, *rows: int) -> list[Any]:
    return [history[row] for row in dict.fromkeys(rows) if row >= 0]

