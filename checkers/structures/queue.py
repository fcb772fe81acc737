"""Queues of elements that are put in once: none lost, none handed out twice, and the first in is the first out.

What waits is read now and then, and in the end. An element that was acknowledged, that nobody took out, and that no read shows
any more is gone. A dequeue that was not answered may have taken one, at any time after it began: so of the elements that were
gone by some moment as many may have been taken as there are such dequeues that began before it. Only what is more than that is
lost for certain.

The order of two elements is judged where the one was acknowledged before the other was begun, and handed out after the other
had been. An enqueue that was not answered has no place in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import (
    Ints,
    Numbers,
    check_functions,
    coded,
    grouped,
    keys_of,
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

_FIRST, _LAST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


@dataclass
class _Elements:
    """One entry an element: the row that put it in (-1: none), and the first that took it out (-1: nobody)."""

    key: Ints
    put: Ints
    taken: Ints
    seen_first: Ints
    """When the first read that shows it was over."""
    seen_last: Ints
    """When the last read that shows it was over."""


class QueueChecker:
    """Judges `enqueue` of elements, each once, `dequeue` (nil: there was none), and `read` of what waits, in its order."""

    name = "queue"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, and where an element was put in twice."""
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
        if len(put_code) and np.bincount(put_code).max() > 1:
            raise UsageError("the queue checker needs elements that are put in once: choose another checker")
        elements = _Elements(*(np.full(many, blank) for blank in (-1, -1, -1, _LAST, _FIRST)))
        elements.put[put_code] = put
        elements.key[put_code] = history.key[put]
        real = took_code >= 0
        completed = history.completed
        by_time = np.argsort(completed[took[real]], kind="stable")[::-1]
        elements.taken[took_code[real][by_time]] = took[real][by_time]
        np.minimum.at(elements.seen_first, shown, completed[shown_by])
        np.maximum.at(elements.seen_last, shown, completed[shown_by])
        self._handed_out(found, history, elements, took[real], took_code[real])
        self._unput(found, history, elements, took[real], took_code[real], shown, shown_by)
        self._back_again(found, history, elements, shown, shown_by)
        self._empty(found, history, elements, took[~real])
        self._out_of_order(found, history, elements)
        untold = self._lost(found, history, elements, reads)
        lost = ("lost-element", "duplicate", "unexpected", "aborted-read", "future-read", "stale-element", "stale-read")
        # Without any read nobody could have told that one is lost.
        blind = {COMPLETE: f"nobody looked what became of {untold:,} elements"} if untold and not len(reads) else {}
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

    def _unput(
        self, found: Findings, history: History, elements: _Elements, took: Ints, code: Ints, shown: Ints, shown_by: Ints
    ) -> None:
        """Elements that nobody put in, whose enqueue failed, or had yet to begin: each once."""
        all_codes, all_rows = np.concatenate([code, shown]), np.concatenate([took, shown_by])
        put = elements.put[all_codes]
        wrong = np.flatnonzero(
            (put < 0) | (history.outcome[put] == FAIL) | (history.completed[all_rows] < history.invoked[put])
        )
        _, first = np.unique(all_codes[wrong], return_index=True)
        wrong = wrong[np.sort(first)]
        by, rows = put[wrong], all_rows[wrong]
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
        taken = elements.taken[shown]
        stale = np.flatnonzero((taken >= 0) & (history.completed[taken] < history.invoked[shown_by]))
        stale = stale[np.unique(shown_by[stale], return_index=True)[1]]
        rows, codes, took = shown_by[stale], shown[stale], taken[stale]

        def tell(at: int) -> Told:
            read, dequeue = history[int(rows[at])], history[int(took[at])]
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(int(history.completed[rows[at]]))} showed "
                f"{dequeue.value}, which client {dequeue.process} had taken out by {clock(int(history.completed[took[at]]))}."
            )
            return sentence, _rows(history, int(elements.put[codes[at]]), int(took[at]), int(rows[at]))

        found.add_rows("stale-read", rows, tell)

    def _empty(self, found: Findings, history: History, elements: _Elements, nothing: Ints) -> None:
        """Dequeues that found nothing, though an element was there all the time."""
        known = np.flatnonzero((elements.put >= 0) & (elements.taken >= 0))
        put, taken = elements.put[known], elements.taken[known]
        sure = history.outcome[put] == OK
        known, put, taken = known[sure], put[sure], taken[sure]
        of_key = dict(grouped(elements.key[known]))
        for key, places in grouped(history.key[nothing]):
            mine = of_key.get(key, np.zeros(0, np.int64))
            order = mine[np.argsort(history.completed[put[mine]], kind="stable")]
            there, until = history.completed[put[order]], history.invoked[taken[order]]
            if not len(order):
                continue
            longest = np.maximum.accumulate(until)
            at_longest = np.maximum.accumulate(np.where(until == longest, np.arange(len(until)), 0))
            rows = nothing[places]
            place = np.searchsorted(there, history.invoked[rows], side="left") - 1
            wrong = (place >= 0) & (longest[np.maximum(place, 0)] > history.completed[rows])
            missed = order[at_longest[place[wrong]]]
            self._missed(found, history, rows[wrong], put[missed], taken[missed])

    def _missed(self, found: Findings, history: History, rows: Ints, put: Ints, taken: Ints) -> None:
        def tell(at: int) -> Told:
            empty, later = history[int(rows[at])], history[int(taken[at])]
            sentence = (
                f"client {empty.process} at {empty.node or 'a client'} found queue {empty.key} empty at "
                f"{clock(int(history.completed[rows[at]]))}, though {later.value} had been there since "
                f"{clock(int(history.completed[put[at]]))} and was taken out later."
            )
            return sentence, _rows(history, int(put[at]), int(taken[at]), int(rows[at]))

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

    def _lost(self, found: Findings, history: History, elements: _Elements, reads: Ints) -> int:
        """Tell what is lost for certain; of how many elements nothing is known, because nobody looked."""
        final = found.recording.final
        put = elements.put
        open_ones = np.flatnonzero((put >= 0) & (elements.taken < 0))
        open_ones = open_ones[(history.outcome[put[open_ones]] == OK) & (elements.seen_last[open_ones] < final)]
        untold = 0
        silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
        looks_of = {key: reads[places] for key, places in grouped(history.key[reads])}
        silent_of = {key: silent[places] for key, places in grouped(history.key[silent])}
        for key, places in grouped(elements.key[open_ones]):
            mine = open_ones[places]
            looks = looks_of.get(key, np.zeros(0, np.int64))
            looks = looks[np.argsort(history.invoked[looks], kind="stable")]
            since = np.maximum(history.completed[put[mine]], elements.seen_last[mine])
            place = np.searchsorted(history.invoked[looks], since, side="right")
            # When it was gone: the earliest end of a read that began after it was there for the last time.
            ends = np.append(np.minimum.accumulate(history.completed[looks][::-1])[::-1], _LAST) if len(looks) else \
                np.array([_LAST])
            gone = ends[place]
            untold += int((gone == _LAST).sum())
            mine, gone = mine[gone != _LAST], gone[gone != _LAST]
            order = np.argsort(gone, kind="stable")
            begun = np.searchsorted(np.sort(history.invoked[silent_of.get(key, np.zeros(0, np.int64))]), gone[order], "right")
            lost = order[_unexplained(begun)]
            self._tell_lost(found, history, elements.put[mine[lost]], gone[lost], looks)
        return untold

    def _tell_lost(self, found: Findings, history: History, rows: Ints, by: Ints, looks: Ints) -> None:
        def tell(at: int) -> Told:
            row, gone = int(rows[at]), int(by[at])
            enqueue = history[row]
            acknowledged = int(history.completed[row])
            look = int(looks[np.flatnonzero(history.completed[looks] == gone)[0]])
            silent = rows_of(history, "dequeue") & (history.outcome == INFO) & (history.key == history.key[row])
            maybe = int((silent & (history.invoked <= gone)).sum())
            others = f", nor can any of {maybe:,} unanswered dequeues have taken it that took no other" if maybe else ""
            sentence = (
                f"{enqueue.value}, acknowledged by {enqueue.server or enqueue.node or 'the server'} at {clock(acknowledged)}, "
                f"was gone from queue {enqueue.key} by {clock(gone)}: nobody took it out{others}."
            )
            return sentence, _rows(history, row, look)

        found.add_all("lost-element", history.completed[rows], by, tell, lost=True)


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

