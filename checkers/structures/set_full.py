"""Sets, element by element: when each was added, first seen and last missed, and so what was lost and what only came late.

An element is *known* from the moment at which it was acknowledged, or at which the first read that returned it was over. Every
read that begins later must return it. One that does not is *stale* where a later read returns it again, for as long as from the
moment at which it was known until the last read that missed it began; the element is *lost* where none does. An addition that
was not answered counts from where it was seen. What nobody looked for after it was known was *never read*, and proves nothing.
After Jepsen's `set-full` (Kingsbury), in columns.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import (
    Flags,
    Ints,
    Numbers,
    check_functions,
    coded_beside,
    keys_of,
    order_of,
    rows_of,
    shown_elements,
)
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Staleness, Verdict
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.ranges import ranges
from splitbrain.harness.history.recording import Recording

COMPLETE = "sets complete"
FRESH = "sets fresh"
_FIRST = int(np.iinfo(np.int64).min)
_WIDEST = int(np.iinfo(np.int32).max)
_NOWHERE = -2
"""No key's code."""
_STEPS = 32
"""Reads of an element that are looked at one after the other, for all elements at once; few have more that are beside each
other. The rest is looked at whole."""


class SetFullChecker:
    """Judges `add` of elements and `read` of whole sets that only grow."""

    name = "set-full"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("add", "read"))
        found = Findings(recording)
        sets = _Sets(found, history)
        sets.judge()
        notes = [f"{sets.never_read:,} of {sets.many:,} elements were never looked for"] if sets.never_read else []
        if len(sets.late):
            notes.append(f"{len(sets.late):,} elements came late, the latest {sets.late.max() / 1e9:.3f} s after it was known")
        reads = len(sets.reads)
        verdict = found.verdict(
            self.name, {
                COMPLETE: ("lost-element", "duplicate", "unexpected", "aborted-read", "future-read"),
                FRESH: ("stale-element", "lost-element"),
            },
            keys=keys_of(history), judged=reads, things="sets",
            note="; ".join(notes) + ("." if notes else ""),
            unproven={} if sets.looked_for else dict.fromkeys((COMPLETE, FRESH), "no read began after an element was known"),
        )
        if not len(sets.late) or not history.timed:
            return verdict
        ages, missed = sets.late / 1e6, sets.missed()
        staleness = Staleness(
            stale=missed, reads=reads, share=missed / reads, median_ms=float(np.median(ages)),
            p99_ms=float(np.percentile(ages, 99)), max_ms=float(ages.max()),
        )
        return msgspec.structs.replace(verdict, staleness=staleness)


class _Sets:
    """All sets of a history. Elements are codes, those of one set beside each other; reads are in the order of sets and
    beginnings."""

    def __init__(self, found: Findings, history: History) -> None:
        # Imported here: it takes longer to load than all the rest of a small history's judging.
        from scipy.sparse import csr_array

        self.found, self.history = found, history
        additions = np.flatnonzero(rows_of(history, "add"))
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        self.order = order_of(history.key[reads])
        """Of each read how many began before it, in any set."""
        self.reads = reads[self.order]
        self.invoked, self.completed = history.invoked[self.reads], history.completed[self.reads]
        numbers = Numbers()
        value, sizes = shown_elements(history, self.reads, numbers)
        (code,), shown, self.many = coded_beside(
            [(history.key[additions], numbers.of_rows(history, additions))], history.key[self.reads], sizes, value
        )
        # Nil is no element.
        additions, code = additions[code >= 0], code[code >= 0]
        offsets = np.append(0, np.cumsum(sizes))
        if shown.min(initial=0) < 0:
            offsets = np.append(0, np.cumsum(shown >= 0))[offsets]
            shown = shown[shown >= 0]
        self.sizes: Ints = np.diff(offsets)
        """How many elements each read shows."""
        # Of one type with `shown`, or both are made wide.
        offsets = offsets.astype(np.int32 if offsets[-1] <= _WIDEST else np.int64)
        by_element = csr_array(
            (np.zeros(len(shown), np.int8), shown, offsets), shape=(len(self.reads), self.many)
        ).tocsc()
        self.by: NDArray[np.int32] = by_element.indices
        """The places of the reads that show each element, ascending, element by element."""
        self.start = by_element.indptr.astype(np.int64)
        self.key = self._keys(additions, code)
        """The set of each element."""
        counts = np.bincount(history.key[self.reads] + 1, minlength=len(history.keys) + 1)
        ends = np.cumsum(counts)
        self.begins, self.ends = (ends - counts)[self.key + 1], ends[self.key + 1]
        """The places of the first read of each element's set, and behind the last."""
        # Of several additions of one element the first acknowledged counts, else the first that did not fail.
        outcome = history.outcome[additions]
        self.added = np.full(self.many, -1)
        self.added[code] = additions
        if (self.added[code] != additions).any():
            rank = np.where(outcome == OK, 0, np.where(outcome == FAIL, 2, 1))
            order = np.lexsort((history.completed[additions], rank))[::-1]
            self.added[code[order]] = additions[order]
        # Rows are in the order in which they began: of several additions the first one's is written last.
        begun = np.flatnonzero(outcome != FAIL)[::-1]
        self.begun = np.full(self.many, NEVER)
        self.begun[code[begun]] = history.invoked[additions[begun]]
        self.sure: Flags = self.added >= 0
        self.sure[self.sure] = history.outcome[self.added[self.sure]] == OK
        self.late = np.zeros(0, np.int64)
        self.never_read = self.looked_for = 0

    def _keys(self, additions: Ints, code: Ints) -> Ints:
        key = np.full(self.many, _NOWHERE)
        key[code] = self.history.key[additions]
        # What nobody added is in the set of the reads that show it.
        rest = np.flatnonzero(key == _NOWHERE)
        key[rest] = self.history.key[self.reads[self.by[self.start[rest]]]]
        return key

    def judge(self) -> None:
        """Tell what is wrong with them."""
        self._doubled()
        self._find_known()
        self._unadded()
        last = self._last_missed()
        looked = self.ends > self.begins
        looked[looked] = self.invoked[self.ends[looked] - 1] > self.known[looked]
        self.never_read, self.looked_for = int((~looked & (self.known < NEVER)).sum()), int(looked.sum())
        final = self.found.recording.final
        elements = np.flatnonzero(last >= 0)
        # Few are not shown by the last read that shows them after they were missed.
        gone = self.start[elements + 1] == self.start[elements]
        shown = np.flatnonzero(~gone)
        gone[shown] = self.completed[self.by[self.start[elements[shown] + 1] - 1]] < self.invoked[last[elements[shown]]]
        last_seen = self._last_seen(elements[gone])
        gone[gone] = (self.invoked[last[elements[gone]]] > last_seen) & (last_seen < final)
        self._missing(elements[~gone], last[elements[~gone]])
        lost = elements[gone]
        # It is seen to be gone by the first of the reads that all miss it, which may be over before any fault begins.
        there = np.maximum(self.known[lost], self._last_seen(lost))
        first = self._first_behind(self.key[lost], there)
        self._missing(lost, last[lost], self.completed[first])

    def _find_known(self) -> None:
        """When each element was first seen, and when it was known: acknowledged or seen."""
        self.streak: Ints = np.diff(self.start)
        """How many reads show each element: as long as it is not `broken`, all from the first of these on."""
        shown = np.flatnonzero(self.streak)
        self.broken = shown[self.by[self.start[shown]] != self.ends[shown] - self.streak[shown]]
        self.seen = self._first_seen(shown)
        acknowledged = np.full(self.many, NEVER)
        acknowledged[self.sure] = self.history.completed[self.added[self.sure]]
        # What was never added, or certainly failed, is wrong where it is seen, and not where it is missed.
        self.known = np.where(self.begun < NEVER, np.minimum(acknowledged, self.seen), NEVER)

    def _first_seen(self, shown: Ints) -> Ints:
        """When the first of the reads that show an element was over, of each of the `shown`; `NEVER` of the others."""
        found = np.full(self.many, NEVER)
        found[shown] = self._first_over()[self.by[self.start[shown]]]
        # Where a read between these misses it, that read tells nothing.
        open_ones = self.broken
        found[open_ones] = NEVER
        begin, end = self.start[:-1], self.start[1:]
        for step in range(_STEPS):
            # A read that began when another one was over is over later.
            by = self.by[begin[open_ones] + step]
            earlier = self.invoked[by] < found[open_ones]
            open_ones, by = open_ones[earlier], by[earlier]
            found[open_ones] = np.minimum(found[open_ones], self.completed[by])
            open_ones = open_ones[begin[open_ones] + step + 1 < end[open_ones]]
            if not len(open_ones):
                return found
        entries, starts = self._entries(open_ones)
        found[open_ones] = np.minimum.reduceat(self.completed[self.by[entries]], starts)
        return found

    def _first_over(self) -> Ints:
        """Of each read when the first of those was over that began no earlier in its set."""
        found, keys, ahead = self.completed.copy(), self.history.key[self.reads], 1
        # What is known of so many reads is known of twice as many next.
        while ahead < len(found):
            beside = (keys[ahead:] == keys[:-ahead]) & (self.invoked[ahead:] < found[:-ahead])
            if not beside.any():
                break
            sooner = np.flatnonzero(beside)
            found[sooner] = np.minimum(found[sooner], found[sooner + ahead])
            ahead *= 2
        return found

    def _last_seen(self, elements: Ints) -> Ints:
        """When the last of the reads that show each of these elements was over; `_FIRST` where none shows it."""
        found = np.full(len(elements), _FIRST)
        shown = self.start[elements + 1] > self.start[elements]
        if shown.any():
            entries, starts = self._entries(elements[shown])
            found[shown] = np.maximum.reduceat(self.completed[self.by[entries]], starts)
        return found

    def _entries(self, elements: Ints) -> tuple[Ints, Ints]:
        """Where in `by` the reads that show these elements stand, element by element, and where each begins among these."""
        sizes = self.start[elements + 1] - self.start[elements]
        return ranges(self.start[elements], sizes), np.cumsum(sizes) - sizes

    def _showing(self, element: int) -> Ints:
        """The places of the reads that show it."""
        return self.by[self.start[element] : self.start[element + 1]].astype(np.int64)

    def _last_missed(self) -> Ints:
        """Of each element the last read to begin, of those that began after it was known, which misses it; -1: none does."""
        streak, broken = self.streak.copy(), self.broken
        # Those that show it without a gap from the end on: the read before them is the last one that misses it.
        if len(broken):
            behind = self.ends[broken] - self.start[broken + 1]
            gapless = _halved(self.start[broken], self.start[broken + 1], lambda at: self.by[at] - at < behind)
            streak[broken] = self.start[broken + 1] - gapless
        latest = self.ends - 1 - streak
        there = latest >= self.begins
        there[there] = self.invoked[latest[there]] > self.known[there]
        return np.where(there, latest, -1)

    def missed(self) -> int:
        """How many reads missed any: those that show fewer elements than were known when they began."""
        keys = self.history.key[self.reads]
        first = self._first_behind(self.key, self.known)
        wanted = np.cumsum(np.bincount(first[first < self.ends], minlength=len(self.reads)))
        wanted -= np.append(0, wanted)[np.searchsorted(keys, keys, side="left")]
        return int((self.sizes - self._early() < wanted).sum())

    def _first_behind(self, keys: Ints, moments: Ints) -> Ints:
        """The place of the first read that began after a moment in a set, of each pair of these: of all reads together, set by
        set; behind all of the set where none did."""
        many, all_keys = len(self.reads) + 1, self.history.key[self.reads].astype(np.int64)
        began = np.empty(len(self.reads), np.int64)
        began[self.order] = self.invoked
        before = np.searchsorted(began, moments, side="right")
        found: Ints = np.searchsorted(all_keys * many + self.order, keys * many + before)
        return found

    def _early(self) -> Ints:
        """How many elements each read shows that were not known yet when it began."""
        early = np.zeros(len(self.reads), np.int64)
        begin, end = self.start[:-1], self.start[1:]
        open_ones = np.flatnonzero(end > begin)
        for step in range(_STEPS):
            by = self.by[begin[open_ones] + step]
            unknown = self.invoked[by] <= self.known[open_ones]
            early += np.bincount(by[unknown], minlength=len(early))
            open_ones = open_ones[unknown]
            open_ones = open_ones[begin[open_ones] + step + 1 < end[open_ones]]
            if not len(open_ones):
                return early
        entries, starts = self._entries(open_ones)
        sizes = self.start[open_ones + 1] - self.start[open_ones]
        later = np.arange(len(entries)) - np.repeat(starts, sizes) >= _STEPS
        by = self.by[entries[later]]
        unknown = self.invoked[by] <= np.repeat(self.known[open_ones], sizes)[later]
        return early + np.bincount(by[unknown], minlength=len(early))

    def _missing(self, elements: Ints, reads: Ints, gone: Ints | None = None) -> None:
        """Tell what these reads missed: elements that came late, or are lost, and by when each of them was `gone`."""
        since = self.known[elements]
        late = self.invoked[reads] - since

        def tell(at: int) -> Told:
            element, read = int(elements[at]), self.history[int(self.reads[reads[at]])]
            addition = self._addition(element)
            value = addition.value if addition else "an element"
            who = f"a read at {read.node or 'a server'} at {clock(read.invoked)} missed {value}, known since "
            who += clock(int(since[at]))
            after = ", and nobody saw it again." if gone is not None else f": it came {late[at] / 1e9:.3f} s late or later."
            return who + after, [*self._known_by(element), read]

        if gone is not None:
            self.found.add_all("lost-element", self.key[elements], since, gone, tell, lost=self.sure[elements])
        else:
            self.late = late
            self.found.add_all("stale-element", self.key[elements], self.invoked[reads], self.completed[reads], tell)

    def _addition(self, element: int) -> Operation | None:
        row = int(self.added[element])
        return self.history[row] if row >= 0 else None

    def _known_by(self, element: int) -> list[Operation]:
        """The addition, and the first read that shows the element where that made it known first."""
        addition = self._addition(element)
        known_by = [] if addition is None else [addition]
        if not self.sure[element] or addition is None or self.known[element] < addition.ended:
            showing = self._showing(element)
            known_by.append(self.history[int(self.reads[showing[np.argmin(self.completed[showing])]])])
        return known_by

    def _doubled(self) -> None:
        """Tell the reads that show an element twice, each once, and forget the second time."""
        twice = np.flatnonzero(self.by[1:] == self.by[:-1]) + 1
        # Where the next element begins, its first read may be the last one's of the element before.
        twice = twice[self.start[np.searchsorted(self.start, twice)] != twice]
        if not len(twice):
            return
        reads, first = np.unique(self.by[twice], return_index=True)
        elements = np.searchsorted(self.start, twice[first], side="right") - 1

        def tell(at: int) -> Told:
            read, addition = self.history[int(self.reads[reads[at]])], self._addition(int(elements[at]))
            when = clock(int(self.completed[reads[at]]))
            sentence = f"a read at {read.node or 'a server'} at {when} returned an element twice."
            return sentence, [read] if addition is None else [addition, read]

        self.found.add_rows("duplicate", self.reads[reads], tell)
        self.sizes = self.sizes - np.bincount(self.by[twice], minlength=len(self.sizes))
        self.by = np.delete(self.by, twice)
        self.start = self.start - np.searchsorted(twice, self.start)

    def _unadded(self) -> None:
        """Tell what was seen and not added, or not yet, each once."""
        elements = np.flatnonzero(self.begun > self.seen)
        outcome = np.where(self.added[elements] < 0, -1, self.history.outcome[self.added[elements]])
        for name, kind, why in (
            ("unexpected", outcome < 0, "that nobody added"),
            ("aborted-read", outcome == FAIL, "whose addition was reported as failed"),
            ("future-read", (outcome >= 0) & (outcome != FAIL), "before it was added"),
        ):
            self._untimely(name, elements[kind], why)

    def _untimely(self, name: str, elements: Ints, why: str) -> None:
        early = [self._showing(one) for one in elements.tolist()]
        reads = np.array([
            shows[np.argmax(self.completed[shows] < self.begun[one])] for shows, one in zip(early, elements, strict=True)
        ], np.int64)

        def tell(at: int) -> Told:
            read, addition = self.history[int(self.reads[reads[at]])], self._addition(int(elements[at]))
            when = clock(int(self.completed[reads[at]]))
            sentence = f"a read at {read.node or 'a server'} at {when} returned an element {why}."
            return sentence, [read] if addition is None else [addition, read]

        self.found.add_rows(name, self.reads[reads], tell)


def _halved(low: Ints, high: Ints, before: Callable[[Ints], Flags]) -> Ints:
    """The first number from `low` on that is not `before`, of each pair, `high` where all below it are. `before` is asked of
    one number of each pair at once: one below `high`."""
    last = high - 1
    while (open_ones := low < high).any():
        middle = np.minimum((low + high) // 2, last)
        early = before(middle)
        low, high = np.where(open_ones & early, middle + 1, low), np.where(open_ones & ~early, middle, high)
    return low
