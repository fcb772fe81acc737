"""Counters that are only added to: what a read must have counted, and what it can have.

Additions are of positive amounts. A read takes effect somewhere between its invocation and its completion, so it returns at
least the sum of what was acknowledged before its invocation, and at most the sum of everything that was invoked before its
completion and did not certainly fail. An addition that may have happened (`info`) counts for the most, and not for the least.
And it returns no less than another read that was over before its invocation. All of this is necessary; that no read breaks it
does not prove the history linearizable, and is not said to.
"""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import Flags, Ints, check_functions, keys_of, latest_before, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL, SCALAR

MODEL = "counters consistent"
FINAL = "sums right"


class CounterChecker:
    """Judges counters of `add` (a positive amount) and `read` (nil: nothing was counted yet).

    A read below what it must have counted is `stale-read`, and `wrong-total` where the reads in the end, all of them, did not
    tell enough either. One that told less than an earlier one had, and no less than it must, is `non-monotonic-read`. A read
    above what it can have counted is `out-of-bounds`.
    """

    name = "counter"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, an amount that is no positive integer, or a read of no integer."""
        history = recording.history
        check_functions(history, self.name, ("add", "read"))
        found = Findings(recording)
        added = rows_of(history, "add")
        read = rows_of(history, "read") & (history.outcome == OK)
        numbers = _numbers(history, added, read)
        unsettled = 0
        for key, rows in history.by_key():
            counter = _Counter(found, history, numbers, key, rows[added[rows]], rows[read[rows]])
            unsettled += counter.judge(recording.final)
        return found.verdict(
            self.name, {MODEL: ("stale-read", "wrong-total", "non-monotonic-read", "out-of-bounds"), FINAL: ("wrong-total",)},
            keys=keys_of(history), judged=int(read.sum()), things="counters",
            unproven={FINAL: "nobody read in the end what was acknowledged"} if unsettled else {},
        )


def _numbers(history: History, added: Flags, read: Flags) -> NDArray[Any]:
    """What each row added or read, nil as 0: as integers of 64 bits where these hold all sums, else of any size. Raises
    `UsageError` where an amount is no positive integer, or where something else than an integer was read."""
    values = history.values
    scalar = values.kind == SCALAR
    first = np.where(scalar & (values.first != NIL), values.first, 0)
    large = np.flatnonzero((added | read) & ~scalar)
    for row in large.tolist():
        if type(values[row]) is not int:
            _refuse(values[row], "positive amounts" if added[row] else "reads of whole numbers")
    if len(large) or first[added].sum(dtype=np.float64) >= 1 << 62:
        told: NDArray[Any] = first.astype(object)
        for row in large.tolist():
            told[row] = values[row]
        first = told
    for row in np.flatnonzero(added & ~(first > 0))[:1].tolist():
        _refuse(values[row], "positive amounts")
    return first


def _refuse(value: object, needed: str) -> NoReturn:
    raise UsageError(f"the counter checker needs {needed}, not {value!r}: choose another checker")


class _Counter:
    """One counter."""

    def __init__(
        self, found: Findings, history: History, numbers: NDArray[Any], key: Key, additions: Ints, reads: Ints
    ) -> None:
        self.found, self.history, self.numbers, self.key = found, history, numbers, key
        outcome = history.outcome[additions]
        done = additions[outcome == OK]
        self.done = done[np.argsort(history.completed[done], kind="stable")]
        """The additions that were acknowledged, in the order of that."""
        self.begun = additions[outcome != FAIL]
        self.reads = reads[np.lexsort((history.completed[reads], history.invoked[reads]))]

    def judge(self, final: int) -> int:
        """Judge it; how many reads were too low while nobody read enough later, and nobody looked in the end."""
        history, reads = self.history, self.reads
        invoked, completed = history.invoked[reads], history.completed[reads]
        value, amounts = self.numbers[reads], self.numbers
        least = np.append(0, np.cumsum(amounts[self.done]))
        most = np.append(0, np.cumsum(amounts[self.begun]))
        counted = np.searchsorted(history.completed[self.done], invoked, side="left")
        must = least[counted]
        can = most[np.searchsorted(history.invoked[self.begun], completed, side="right")]
        # Behind the last read there is none, which told less than any.
        later = np.append(np.maximum.accumulate(value[::-1])[::-1], value.min(initial=0) - 1)[1:]
        low = np.flatnonzero(value < must)
        last = value[invoked >= final]
        right = later[low] >= must[low]
        if len(last):
            right |= last.max() >= must[low]
            self._low("wrong-total", low[~right], counted, ", and no read in the end told as much.")
            self._low("stale-read", low[right], counted, ".")
        else:
            self._low("stale-read", low, counted, ".")
        self._high(np.flatnonzero(value > can), can)
        fine = np.flatnonzero(value <= can)
        reached = latest_before(completed[fine], value[fine], invoked, 0)
        self._back(np.flatnonzero((value < reached) & (value >= must)), fine, reached)
        return 0 if len(last) else int((~right).sum())

    def _low(self, name: str, low: Ints, counted: Ints, end: str) -> None:
        history, reads, known = self.history, self.reads[low], counted[low]
        acknowledged = history.completed[self.done]

        def tell(at: int) -> Told:
            done = self.done[: known[at]]
            by_then = sum(self.numbers[done].tolist())
            return self._said(int(reads[at]), f"{by_then} had been acknowledged by then{end}"), self._evidence(
                done, int(reads[at])
            )

        began = history.invoked[reads]
        if name == "wrong-total" and len(acknowledged):
            # Less than nothing is too little even where nothing had been acknowledged.
            began = np.where(known > 0, acknowledged[known - 1], began)
        self.found.add_all(name, history.key[reads], began, history.completed[reads], tell)

    def _high(self, high: Ints, can: NDArray[Any]) -> None:
        history, reads = self.history, self.reads[high]

        def tell(at: int) -> Told:
            row = int(reads[at])
            said = self._said(row, f"no more than {can[high[at]]} had been added, or may have been.")
            return said, (history[row],)

        self.found.add_rows("out-of-bounds", reads, tell)

    def _back(self, back: Ints, fine: Ints, reached: NDArray[Any]) -> None:
        """Tell reads that told less than had been `reached` by one of the `fine` ones, behind the first of these."""
        history, reads = self.history, self.reads[back]

        def tell(at: int) -> Told:
            row, most = int(reads[at]), reached[back[at]]
            same = self.reads[fine[self.numbers[self.reads[fine]] == most]]
            knew = int(same[np.argmin(history.completed[same])])
            earlier = history[knew]
            said = (
                f"client {earlier.process} at {earlier.node or 'a client'} had been told {most} by "
                f"{clock(int(history.completed[knew]))}."
            )
            # As few additions as come to what was told then.
            begun = self.begun[history.invoked[self.begun] <= history.completed[knew]]
            largest = begun[np.argsort(-self.numbers[begun], kind="stable")]
            enough = int(np.searchsorted(np.cumsum(self.numbers[largest]), most, side="left")) + 1
            return self._said(row, said), [history[one] for one in [*sorted(largest[:enough].tolist()), knew, row]]

        self.found.add_rows("non-monotonic-read", reads, tell)

    def _said(self, row: int, why: str) -> str:
        read = self.history[row]
        who = f"a read of counter {self.key} at {read.node or 'a client'} at {clock(read.invoked)}"
        return f"{who} told {read.value}, though {why}"

    def _evidence(self, acknowledged: Ints, read: int) -> list[Operation]:
        """The read, behind as few acknowledged additions as come to more than it told."""
        amounts = self.numbers
        largest = acknowledged[np.argsort(-amounts[acknowledged], kind="stable")]
        enough = int(np.searchsorted(np.cumsum(amounts[largest]), amounts[read], side="right")) + 1
        return [self.history[row] for row in [*sorted(largest[:enough].tolist()), read]]
