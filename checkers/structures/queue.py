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
from functools import partial
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
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Verdict
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
        shown_value, shown_by = shown_elements(history, reads, numbers)
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
        for row, one in zip(took[twice].tolist(), code[twice].tolist(), strict=True):
            first = int(elements.taken[one])
            again, before = history[row], history[first]
            moment = Moment(began=again.invoked, seen=int(history.completed[row]))
            sentence = (
                f"element {again.value} was handed out to client {again.process} at {again.node or 'a client'} at "
                f"{clock(moment.seen)}, though client {before.process} had it since {clock(int(history.completed[first]))}."
            )
            found.add("duplicate", moment, sentence, partial(_rows, history, int(elements.put[one]), first, row))

    def _unput(
        self, found: Findings, history: History, elements: _Elements, took: Ints, code: Ints, shown: Ints, shown_by: Ints
    ) -> None:
        """Elements that nobody put in, whose enqueue failed, or had yet to begin: each once."""
        told: set[int] = set()
        all_codes, all_rows = np.concatenate([code, shown]), np.concatenate([took, shown_by])
        put = elements.put[all_codes]
        wrong = (put < 0) | (history.outcome[put] == FAIL) | (history.completed[all_rows] < history.invoked[put])
        for at in np.flatnonzero(wrong).tolist():
            one, row, by = int(all_codes[at]), int(all_rows[at]), int(put[at])
            if one in told:
                continue
            told.add(one)
            seen = history[row]
            moment = Moment(began=seen.invoked, seen=int(history.completed[row]))
            if by < 0:
                name, why = "unexpected", "which nobody had put in"
            elif history.outcome[by] == FAIL:
                name, why = "aborted-read", "though putting it in was reported as failed"
            else:
                name, why = "future-read", "before it was put in"
            sentence = f"a {seen.f} of queue {seen.key} at {clock(moment.seen)} told an element {why}."
            found.add(name, moment, sentence, partial(_rows, history, by, row))

    def _back_again(self, found: Findings, history: History, elements: _Elements, shown: Ints, shown_by: Ints) -> None:
        """Reads that show what had been taken out before they began."""
        taken = elements.taken[shown]
        stale = (taken >= 0) & (history.completed[taken] < history.invoked[shown_by])
        _, first = np.unique(shown_by[stale], return_index=True)
        for at in np.flatnonzero(stale)[first].tolist():
            read, dequeue = history[int(shown_by[at])], history[int(taken[at])]
            moment = Moment(began=read.invoked, seen=int(history.completed[shown_by[at]]))
            sentence = (
                f"a read of queue {read.key} at {read.node or 'a server'} at {clock(moment.seen)} showed {dequeue.value}, "
                f"which "
                f"client {dequeue.process} had taken out by {clock(int(history.completed[taken[at]]))}."
            )
            rows = (int(elements.put[shown[at]]), int(taken[at]), int(shown_by[at]))
            found.add("stale-read", moment, sentence, partial(_rows, history, *rows))

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
            for row, where in zip(rows[wrong].tolist(), place[wrong].tolist(), strict=True):
                element = int(order[at_longest[where]])
                empty, later = history[row], history[int(taken[element])]
                moment = Moment(began=empty.invoked, seen=int(history.completed[row]))
                sentence = (
                    f"client {empty.process} at {empty.node or 'a client'} found queue {empty.key} empty at "
                    f"{clock(moment.seen)}, "
                    f"though {later.value} had been there since {clock(int(history.completed[put[element]]))} and was taken "
                    f"out "
                    f"later."
                )
                rows_told = (int(put[element]), int(taken[element]), row)
                found.add("stale-element", moment, sentence, partial(_rows, history, *rows_told))

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
            for at in np.flatnonzero(wrong).tolist():
                other = int(order[who[place[at]]])
                late, early = history[int(taken[at])], history[int(taken[other])]
                moment = Moment(began=early.invoked, seen=int(history.completed[taken[at]]))
                sentence = (
                    f"{early.value} came out of queue {early.key} at {clock(int(history.completed[taken[other]]))}, before "
                    f"{late.value}, which had been put in by {clock(int(history.completed[put[at]]))}, before {early.value} "
                    f"was."
                )
                rows = (int(put[at]), int(put[other]), int(taken[other]), int(taken[at]))
                found.add("reordered", moment, sentence, partial(_rows, history, *rows))

    def _lost(self, found: Findings, history: History, elements: _Elements, reads: Ints) -> int:
        """Tell what is lost for certain; of how many elements nothing is known, because nobody looked."""
        phase = found.recording.phase("final-reads")
        final = _LAST if phase is None else phase.began
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
            begun = np.sort(history.invoked[silent_of.get(key, np.zeros(0, np.int64))])
            explained = 0
            for element, by in zip(mine[order].tolist(), gone[order].tolist(), strict=True):
                if explained < int(np.searchsorted(begun, by, side="right")):
                    explained += 1
                    continue
                self._tell_lost(found, history, elements, element, by, looks)
        return untold

    def _tell_lost(
        self, found: Findings, history: History, elements: _Elements, element: int, by: int, looks: Ints
    ) -> None:
        row = int(elements.put[element])
        enqueue = history[row]
        acknowledged = int(history.completed[row])
        look = int(looks[np.flatnonzero(history.completed[looks] == by)[0]])
        silent = rows_of(history, "dequeue") & (history.outcome == INFO) & (history.key == history.key[row])
        maybe = np.flatnonzero(silent & (history.invoked <= by))
        others = f", nor can any of {len(maybe):,} unanswered dequeues have taken it that took no other" if len(maybe) else ""
        sentence = (
            f"{enqueue.value}, acknowledged by {enqueue.server or enqueue.node or 'the server'} at {clock(acknowledged)}, "
            f"was gone "
            f"from queue {enqueue.key} by {clock(by)}: nobody took it out{others}."
        )
        moment = Moment(began=acknowledged, seen=by, lost=True)
        found.add("lost-element", moment, sentence, partial(_rows, history, row, look))


def _rows(history: History, *rows: int) -> list[Any]:
    return [history[row] for row in rows if row >= 0]

