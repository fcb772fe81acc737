"""Sets, element by element: when each was added, first seen and last missed, and so what was lost and what only came late.

An element is *known* from the moment at which it was acknowledged, or at which the first read that returned it was over. Every
read that begins later must return it. One that does not is *stale* where a later read returns it again, for as long as from the
moment at which it was known until the last read that missed it began; the element is *lost* where none does. An addition that
was not answered counts from where it was seen. What nobody looked for after it was known was *never read*, and proves nothing.
After Jepsen's `set-full` (Kingsbury), in columns.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import msgspec
import numpy as np

from splitbrain.checkers.structures.columns import Ints, Numbers, check_functions, coded, keys_of, rows_of, shown_elements
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Staleness, Verdict
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

COMPLETE = "sets complete"
FRESH = "sets fresh"
_FIRST = int(np.iinfo(np.int64).min)


class SetFullChecker:
    """Judges `add` of elements and `read` of whole sets that only grow."""

    name = "set-full"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("add", "read"))
        found = Findings(recording)
        added, read, late = rows_of(history, "add"), rows_of(history, "read"), list[int]()
        never = elements = reads = missed = looked = 0
        for _, rows in history.by_key():
            sets = _Set(found, history, rows[added[rows]], rows[read[rows] & (history.outcome[rows] == OK)])
            sets.judge()
            never, elements, reads = never + sets.never_read, elements + sets.many, reads + len(sets.reads)
            missed, looked = missed + sets.missed, looked + sets.looked_for
            late += sets.late
        notes = [f"{never:,} of {elements:,} elements were never looked for"] if never else []
        if late:
            notes.append(f"{len(late):,} elements came late, the latest {max(late) / 1e9:.3f} s after it was known")
        verdict = found.verdict(
            self.name, {
                COMPLETE: ("lost-element", "duplicate", "unexpected", "aborted-read", "future-read"),
                FRESH: ("stale-element", "lost-element"),
            },
            Coverage(keys=keys_of(history), operations=len(history)), judged=reads, things="sets",
            note="; ".join(notes) + ("." if notes else ""),
            unproven={} if looked else dict.fromkeys((COMPLETE, FRESH), "no read began after an element was known"),
        )
        if not late or not history.timed:
            return verdict
        ages = np.array(late) / 1e6
        staleness = Staleness(
            stale=missed, reads=reads, share=missed / reads, median_ms=float(np.median(ages)),
            p99_ms=float(np.percentile(ages, 99)), max_ms=float(ages.max()),
        )
        return msgspec.structs.replace(verdict, staleness=staleness)


class _Set:
    """One set."""

    def __init__(self, found: Findings, history: History, additions: Ints, reads: Ints) -> None:
        self.found, self.history, self.reads = found, history, reads
        numbers = Numbers()
        shown_value, shown_by = shown_elements(history, reads, numbers)
        (code, self.shown), self.many = coded(
            (history.key[additions], numbers.of_rows(history, additions)), (history.key[shown_by], shown_value)
        )
        # Nil is no element.
        additions, code = additions[code >= 0], code[code >= 0]
        self.by = np.searchsorted(reads, shown_by[self.shown >= 0])
        self.shown = self.shown[self.shown >= 0]
        self.late: list[int] = []
        self.missed = self.never_read = self.looked_for = 0
        # Of several additions of one element the first acknowledged counts, else the first that did not fail.
        outcome = history.outcome[additions]
        rank = np.where(outcome == OK, 0, np.where(outcome == FAIL, 2, 1))
        order = np.lexsort((history.completed[additions], rank))[::-1]
        self.added = np.full(self.many, -1)
        self.added[code[order]] = additions[order]
        self.begun = np.full(self.many, NEVER)
        np.minimum.at(self.begun, code[outcome != FAIL], history.invoked[additions[outcome != FAIL]])

    def judge(self) -> None:
        """Tell what is wrong with it."""
        history, many = self.history, self.many
        if not len(self.reads) or not many:
            self.never_read = many
            return
        invoked, completed = history.invoked[self.reads], history.completed[self.reads]
        acknowledged = np.full(many, NEVER)
        ok = self.added >= 0
        ok[ok] = history.outcome[self.added[ok]] == OK
        acknowledged[ok] = history.completed[self.added[ok]]
        seen, last_seen = np.full(many, NEVER), np.full(many, _FIRST)
        np.minimum.at(seen, self.shown, completed[self.by])
        np.maximum.at(last_seen, self.shown, completed[self.by])
        # What was never added, or certainly failed, is wrong where it is seen, and not where it is missed.
        known = np.where(self.begun < NEVER, np.minimum(acknowledged, seen), NEVER)
        self._doubled()
        self._unadded(completed)
        last_missed = self._last_missed(known, invoked)
        looked = invoked.max() > known
        self.never_read, self.looked_for = int((~looked & (known < NEVER)).sum()), int(looked.sum())
        phase = self.found.recording.phase("final-reads")
        final = NEVER if phase is None else phase.began
        gone = (last_missed >= 0) & (invoked[np.maximum(last_missed, 0)] > last_seen) & (last_seen < final)
        back = (last_missed >= 0) & ~gone
        for element in np.flatnonzero(gone | back).tolist():
            self._tell(element, int(last_missed[element]), int(known[element]), lost=bool(gone[element]))

    def _last_missed(self, known: Ints, invoked: Ints) -> Ints:
        """Of each element the last read to begin, of those that began after it was known, which misses it; -1 where none does.
        Counts the reads that missed any."""
        order = np.argsort(invoked, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        # Each element with the places of the reads that show it, once each, the last first.
        codes = np.unique(self.shown * len(order) + (len(order) - 1 - place[self.by]))
        shown, behind = codes // len(order), codes % len(order)
        # Those that show it without a gap from the end on: the read before them is the last one that misses it.
        nth = np.arange(len(codes)) - np.searchsorted(shown, shown)
        latest = len(order) - 1 - np.bincount(shown[nth == behind], minlength=self.many)
        latest[latest >= 0] = order[latest[latest >= 0]]
        last: Ints = np.where((latest >= 0) & (invoked[latest] > known), latest, -1)
        # A read misses some where it shows fewer than were known when it began.
        begun = invoked[order]
        wanted = np.searchsorted(np.sort(known), begun, side="left")
        at = len(order) - 1 - behind
        there = np.bincount(at[known[shown] < begun[at]], minlength=len(order))
        self.missed = int((there < wanted).sum())
        return last

    def _tell(self, element: int, read: int, known: int, *, lost: bool) -> None:
        history, row = self.history, int(self.added[element])
        missed = history[int(self.reads[read])]
        since = missed.invoked - known
        addition = history[row] if row >= 0 else None
        value = addition.value if addition else "an element"
        who = f"a read at {missed.node or 'a server'} at {clock(missed.invoked)} missed {value}, known since {clock(known)}"
        seen = int(history.completed[self.reads[read]])
        evidence = partial(self._evidence, element, read)
        if lost:
            moment = Moment(began=known, seen=seen, lost=True)
            self.found.add("lost-element", moment, f"{who}, and nobody saw it again.", evidence)
            return
        self.late.append(since)
        moment = Moment(began=missed.invoked, seen=seen)
        sentence = f"{who}: it came {since / 1e9:.3f} s late or later."
        self.found.add("stale-element", moment, sentence, evidence)

    def _evidence(self, element: int, read: int) -> list[Any]:
        """The addition, the first read that shows the element where only that made it known, and the one that missed it."""
        row = int(self.added[element])
        rows = [row]
        if row < 0 or self.history.outcome[row] != OK:
            showing = self.reads[self.by[self.shown == element]]
            rows.append(int(showing[np.argmin(self.history.completed[showing])]))
        return _rows(self.history, [*rows, int(self.reads[read])])

    def _doubled(self) -> None:
        pairs = np.lexsort((self.shown, self.by))
        shown, by = self.shown[pairs], self.by[pairs]
        twice = np.flatnonzero((shown[1:] == shown[:-1]) & (by[1:] == by[:-1]))
        _, first = np.unique(by[twice], return_index=True)
        for at in twice[first].tolist():
            row = int(self.reads[by[at]])
            read = self.history[row]
            moment = Moment(began=read.invoked, seen=int(self.history.completed[row]))
            rows = [int(self.added[shown[at]]), row]
            sentence = f"a read at {read.node or 'a server'} at {clock(moment.seen)} returned an element twice."
            self.found.add("duplicate", moment, sentence, partial(_rows, self.history, rows))

    def _unadded(self, completed: Ints) -> None:
        wrong = self.begun[self.shown] > completed[self.by]
        _, first = np.unique(self.shown[wrong], return_index=True)
        for at in np.flatnonzero(wrong)[first].tolist():
            element, row = int(self.shown[at]), int(self.reads[self.by[at]])
            read, added = self.history[row], int(self.added[element])
            if added < 0:
                name, why = "unexpected", "that nobody added"
            elif self.history.outcome[added] == FAIL:
                name, why = "aborted-read", "whose addition was reported as failed"
            else:
                name, why = "future-read", "before it was added"
            moment = Moment(began=read.invoked, seen=int(self.history.completed[row]))
            sentence = f"a read at {read.node or 'a server'} at {clock(moment.seen)} returned an element {why}."
            self.found.add(name, moment, sentence, partial(_rows, self.history, [added, row]))


def _rows(history: History, rows: list[int]) -> list[Any]:
    return [history[row] for row in rows if row >= 0]
