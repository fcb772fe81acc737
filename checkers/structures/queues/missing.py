"""What looks at queues do not show though it was there: missed once, or gone for good.

A look takes effect at one moment, so an element that was there before it began and is there after it was over (a later read
shows it, or it is taken out) was there all the time, and the look must show it. An element that was acknowledged or seen, that
nobody took out, and that no look shows any more is gone. A dequeue that was not answered may have taken one, at any time after
it began: so of the elements that were gone by some moment as many may have been taken as there are such dequeues that began
before it. Only what is more than that is lost for certain.
"""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Integers, Ints, grouped, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.elements import (
    FIRST,
    LAST,
    Elements,
    Windows,
    in_pieces,
    limits_of,
    rows_told,
    silent_by,
    staying,
    stays_because,
    unexplained,
)
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import INFO, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.ranges import ranges

_CHUNK = 1 << 22
"""How many pairs of a look and an element are compared at once, at most: they take memory."""


def find_missed(
    found: Findings, history: History, elements: Elements, windows: Windows, looks: Ints, every: Stretches
) -> Ints:
    """Reads that do not show an element, and dequeues that found nothing, though it was there all the time: each once.
    Which rows they are."""
    low, high = windows.low, windows.high
    steady = np.flatnonzero(elements.until > elements.there)
    looks = looks[~_complete(history, elements, windows, every)[looks]]
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


def _complete(history: History, elements: Elements, windows: Windows, shown: Stretches) -> Flags:
    """Rows of reads of which it is seen at once that they show all of these elements that were there all the time: those that
    stand before what one shows were gone before it was over, and those behind came in after it began."""
    found = np.zeros(len(history), np.bool_)
    whole, order = ~in_pieces(shown), shown.order.elements
    there, until = elements.there[order], elements.until[order]
    steady = until > there
    before = shown.before(np.maximum, np.where(steady, until, FIRST), FIRST)
    behind = shown.behind(np.minimum, np.where(steady, there, LAST), LAST)
    rows = shown.row
    found[rows] = whole & (before <= windows.high[rows]) & (behind >= windows.low[rows])
    return found


def _steady(elements: Elements, mine: Ints, invoked: Ints, completed: Ints) -> Ints:
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


def _missing(
    history: History, elements: Elements, windows: Windows, shown: Integers, row: int, missed: int
) -> Told:
    """What is told of a look that does not show an element which was there all the time."""
    look, when = history[row], clock(int(history.completed[row]))
    value = history[int(elements.put[missed])].value
    what = (
        f"client {look.process} at {look.node or 'a client'} found queue {look.key} empty at {when}, though {value}"
        if look.f == "dequeue" else
        f"a read of queue {look.key} at {look.node or 'a server'} at {when} did not show {value}, which"
    )
    why = stays_because(history, elements, missed)
    sentence = f"{what} had been there since {clock(int(elements.there[missed]))} and {why}."
    limits = limits_of(history, elements, windows, shown, row)
    put, told = int(elements.put[missed]), elements.told(missed)
    return sentence, rows_told(history, put, told, *limits, *staying(elements, missed), row)


def find_lost(
    found: Findings, history: History, elements: Elements, windows: Windows, looks: Ints
) -> tuple[Flags, Ints, int]:
    """Tell what is lost for certain. Which elements are, by when each was gone, and of how many nothing is known, because
    nobody looked."""
    final = found.recording.final
    put = elements.put
    open_ones = np.flatnonzero((put >= 0) & (elements.taken < 0) & (elements.seen_last < final))
    open_ones = open_ones[elements.there[open_ones] < LAST]
    untold = 0
    losses, missing_by = np.zeros(len(put), np.bool_), np.full(len(put), LAST)
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
        ends = np.append(np.minimum.accumulate(windows.high[rows][::-1])[::-1], LAST) if len(rows) else \
            np.array([LAST])
        gone = ends[place]
        missing_by[mine] = gone
        untold += int((gone == LAST).sum())
        mine, since, gone = mine[gone != LAST], since[gone != LAST], gone[gone != LAST]
        order = np.argsort(gone, kind="stable")
        begun = np.searchsorted(np.sort(history.invoked[silent_of.get(key, np.zeros(0, np.int64))]), gone[order], "right")
        lost = order[unexplained(begun)]
        losses[mine[lost]] = True
        _tell_lost(found, history, elements, windows, mine[lost], since[lost], gone[lost], rows)
    return losses, missing_by, untold


def _tell_lost(
    found: Findings, history: History, elements: Elements, windows: Windows, lost: Ints, since: Ints, by: Ints,
    looks: Ints,
) -> None:
    def tell(at: int) -> Told:
        row, gone = int(elements.put[lost[at]]), int(by[at])
        enqueue = history[row]
        look = int(looks[np.flatnonzero((windows.high[looks] == gone) & (windows.low[looks] > since[at]))[0]])
        maybe = silent_by(history, int(history.key[row]), gone)
        others = f", nor can any of {maybe:,} unanswered dequeues have taken it that took no other" if maybe else ""
        ok = enqueue.outcome == "ok" and history.completed[row] <= gone
        first = int(history.completed[row]) if ok else int(elements.there[lost[at]])
        known = f"acknowledged by {enqueue.server or enqueue.node or 'the server'}" if ok else "seen there"
        sentence = (
            f"{enqueue.value}, {known} at {clock(first)}, was gone from queue {enqueue.key} by {clock(gone)}: nobody took "
            f"it out{others}."
        )
        return sentence, rows_told(history, row, elements.told(int(lost[at])), look)

    rows = elements.put[lost]
    acknowledged = (history.outcome[rows] == OK) & (history.completed[rows] <= by)
    began = np.where(acknowledged, history.completed[rows], elements.there[lost])
    found.add_all("lost-element", history.key[rows], began, by, tell, lost=history.outcome[rows] == OK)
