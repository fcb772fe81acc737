"""Counters, by bounds and, where every addition is of the same amount, exactly in O(n log n).

**Bounds.** A read that took effect within its call returned no less than all that was certainly added before it began (and
all that can have been taken away by its end), and no more than all that can have been added by its end (less what was
certainly taken away before it began). A read outside its bounds is wrong whatever else happened. What makes a bound may be
every operation of the history: it is told as two numbers, and where it is more than a few, only the read is shown.

**Equal additions.** Let every addition that may have happened be of the same amount d, and there be n of them. Number them
in the order of their effect; the j-th is between two reads' moments: not before a read of less than j·d began, not after
one of j·d or more had ended. So *place* j is the interval [L, H] of the latest start among reads of less than j·d and the
earliest end among reads of at least j·d; both grow with j. The history is linearizable exactly if L <= H for every place,
no read is negative, broken or above n·d, and the additions can be given one place each whose interval meets their own.
*Necessary*: the moments of effect are such places. *Sufficient*: if an addition in an earlier place began after one in a
later place had ended, the two can change places, for both bounds grow; after finitely many such changes every one takes
effect at the latest start, of places and additions, so far, and each read between its two places. An addition that may not
have happened has no end, and so may have one of the last places, which no read sees. As the places that suit an addition
are consecutive, giving each place to the suitable one that must be placed soonest finds such places if there are any (Glover
1967).

**Undecided** are unequal additions that are within the bounds: which of them a read saw is a sum of a subset.
"""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import NIL, SCALAR

Ints = NDArray[np.int64]

FEW = 8
"""Up to so many additions that make a bound are shown with the read; more are only counted."""
LARGEST = 1 << 62
"""Sums are kept below this."""


def decide_counter(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """Whether the reads of a counter with `add` and `read` are possible. None where additions differ and no bound is broken.

    The evidence is the read that is out of its bounds, and what makes the bound if that is at most `FEW` additions; else the
    read alone need not be impossible. Two reads that go back where nothing is taken away are both shown, with what had been
    added by then if it is as little; where nothing so simple is wrong, no rows are. Raises `Exhausted`.
    """
    fs, outcome = history.fs, history.outcome
    if type(model.initial) is not int or not set(fs) <= {"add", "read"}:
        return None
    adding = history.f == (fs.index("add") if "add" in fs else -2)
    adds, reads = np.flatnonzero(adding & (outcome != FAIL)), np.flatnonzero(~adding & (outcome == OK))
    used = np.concatenate([adds, reads])
    values = history.values
    amounts, told = values.first[adds], values.first[reads]
    if (values.kind[used] != SCALAR).any() or (values.first[used] == NIL).any():
        return None
    if float(np.abs(amounts).sum(dtype=np.float64)) + abs(model.initial) >= LARGEST or (np.abs(told) >= LARGEST).any():
        return None
    told = told - model.initial
    start, end = history.invoked, np.where(outcome == OK, history.completed, NEVER)
    low, high = _bounds(amounts, start[adds], end[adds], start[reads], end[reads])
    wrong = np.flatnonzero((told < low) | (told > high))
    if len(wrong):
        at = int(wrong[0])
        return _out_of_bounds(history, model, int(reads[at]), int(low[at]), int(high[at]), adds, start, end)
    amounts, adds = amounts[amounts != 0], adds[amounts != 0]
    if not len(adds):
        return Decision(method="counter", valid=True)
    if (amounts != amounts[0]).any():
        return None
    step = int(amounts[0])
    if (told % step).any():
        at = int(np.flatnonzero(told % step)[0])
        row = int(reads[at])
        return Decision(
            method="counter", valid=False, identifier="wrong-total", rows=(row,),
            sentence=f"{_client(history, row)} read {values[row]}, though it begins with {model.initial} and every addition is"
            f" {step}",
        )
    return _equal(history, adds, reads, told // step, start, end, budget)


def _bounds(amounts: Ints, starts: Ints, ends: Ints, began: Ints, ended: Ints) -> tuple[Ints, Ints]:
    """The least and the most that each read over [began, ended] can have found."""
    by_start, by_end = np.argsort(starts, kind="stable"), np.argsort(ends, kind="stable")
    begun = np.searchsorted(starts[by_start], ended, "right")
    over = np.searchsorted(ends[by_end], began, "left")

    def total(order: Ints, some: Ints, upto: Ints) -> Ints:
        sums: Ints = np.concatenate([[0], np.cumsum(some[order])])[upto]
        return sums

    more, less = np.maximum(amounts, 0), np.minimum(amounts, 0)
    return (
        total(by_end, more, over) + total(by_start, less, begun),
        total(by_start, more, begun) + total(by_end, less, over),
    )


def _out_of_bounds(
    history: History, model: Model, row: int, low: int, high: int, adds: Ints, start: Ints, end: Ints
) -> Decision:
    over = int(np.count_nonzero(end[adds] < start[row]))
    begun = int(np.count_nonzero(start[adds] <= end[row]))
    amounts, too_low = history.values.first[adds], history.values.first[row] < low + model.initial  # type: ignore[operator]
    past, open_too = end[adds] < start[row], start[adds] <= end[row]
    makers = adds[np.where(amounts > 0, past, open_too) if too_low else np.where(amounts > 0, open_too, past)]
    rows = tuple(sorted([*makers.tolist(), row])) if len(makers) <= FEW else (row,)
    initial: int = model.initial  # type: ignore[assignment]
    right = f"{low + initial}" if low == high else f"between {low + initial} and {high + initial}"
    sentence = (
        f"{_client(history, row)} read {history.values[row]}, but it must have been {right}: {over} additions were over before"
        f" the read began, {begun} had begun when it ended"
    )
    return Decision(method="counter", valid=False, identifier="out-of-bounds", rows=rows, accused=row, sentence=sentence)


def _equal(
    history: History, adds: Ints, reads: Ints, counts: Ints, start: Ints, end: Ints, budget: Budget
) -> Decision:
    """The decision where the reads found `counts` additions, each within its bounds."""
    size = len(adds)
    # Places from 0: place j is for the addition after which j + 1 are there.
    latest = np.full(size + 1, np.iinfo(np.int64).min)
    np.maximum.at(latest, counts, start[reads])
    latest = np.maximum.accumulate(latest)[:size]
    earliest = np.full(size + 1, NEVER)
    np.minimum.at(earliest, counts, end[reads])
    earliest = np.minimum.accumulate(earliest[::-1])[::-1][1:]
    back = np.flatnonzero(latest > earliest)
    if len(back):
        place = int(back[0])
        fewer, more = reads[counts <= place], reads[counts > place]
        late, early = int(fewer[np.argmax(start[fewer])]), int(more[np.argmin(end[more])])
        begun = adds[start[adds] <= end[early]]
        return Decision(
            method="counter", valid=False, identifier="non-monotonic-read", accused=late,
            rows=tuple(sorted([early, late, *(begun.tolist() if len(begun) <= FEW else [])])),
            sentence=f"{_client(history, late)} read {history.values[late]} after {_client(history, early)} had read"
            f" {history.values[early]}, and nothing goes back",
        )
    first = np.searchsorted(earliest, start[adds], "left")
    last = np.searchsorted(latest, end[adds], "right") - 1
    arriving = np.argsort(first, kind="stable")
    firsts, lasts = first[arriving].tolist(), last[arriving].tolist()
    waiting: list[int] = []
    at = 0
    for place in range(size):
        if not place & 4095:
            budget.check()
        while at < size and firsts[at] <= place:
            heapq.heappush(waiting, lasts[at])
            at += 1
        if not waiting or heapq.heappop(waiting) < place:
            return Decision(method="counter", valid=False)
    return Decision(method="counter", valid=True)


def _client(history: History, row: int) -> str:
    return f"client {int(history.process[row])}"
