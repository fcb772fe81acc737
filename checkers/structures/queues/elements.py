"""What is known of each element of a queue, and between which moments each look took effect: what the rules hold against each
other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints, distinct, grouped, rows_of
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock

FIRST, LAST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


@dataclass
class Elements:
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
class Windows:
    """One entry a row: between which moments that look took effect. What it shows was put in before it and taken out behind."""

    low: Ints
    high: Ints


def windows_of(history: History, elements: Elements, shown: Stretches) -> Windows:
    """Between which moments each look took effect. What is shown too early is told of as that."""
    found = Windows(history.invoked.copy(), history.completed.copy())
    sound = (elements.put >= 0) & (history.outcome[elements.put] != FAIL)
    begun = np.where(sound, history.invoked[elements.put], FIRST)
    timely = shown.without(told_early(history, begun, shown))
    np.maximum.at(found.low, timely.row, timely.over(np.maximum, begun))
    out = np.where(elements.taken >= 0, history.completed[elements.taken], LAST)
    np.minimum.at(found.high, shown.row, shown.over(np.minimum, out))
    return found


def told_early(history: History, begun: Ints, shown: Stretches) -> Ints:
    """The entries of reads that were over before what they show was begun."""
    entries, shown_by = shown.entries(shown.over(np.maximum, begun) > history.completed[shown.row])
    found: Ints = entries[begun[shown.shown[entries]] > history.completed[shown_by]]
    return found


def in_pieces(shown: Stretches) -> Flags:
    """Which stretches are not their whole read."""
    found = ~shown.last
    found[1:] |= ~shown.last[:-1]
    return found


def find_there(history: History, elements: Elements, windows: Windows, shown: Stretches) -> None:
    """Find from when, and until when, each element that was put in was there for certain. `shown` are reads of their own
    moment: one of the past shows nothing of that."""
    put, taken = elements.put, elements.taken
    sound = (put >= 0) & (history.outcome[put] != FAIL)
    sure = np.flatnonzero(sound & (history.outcome[put] == OK))
    elements.there[sure], elements.told[sure] = history.completed[put[sure]], put[sure]
    out = np.flatnonzero(sound & (taken >= 0))
    elements.until[out], elements.again[out] = history.invoked[taken[out]], taken[out]
    # What is read before it was put in is told of as that.
    right = shown.without(told_early(history, np.where(sound, history.invoked[put], FIRST), shown))
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


def find_until(history: History, elements: Elements, lost: Flags) -> None:
    """Find how long what nobody took out, and what is not lost, was there for certain: until the first unanswered dequeue of
    its queue began, and as long as any that came in before it."""
    put = elements.put
    waits = (put >= 0) & (elements.taken < 0) & (elements.there < LAST) & ~lost
    silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
    first: dict[int, int] = {}
    for row in silent[np.argsort(history.invoked[silent], kind="stable")].tolist():
        first.setdefault(int(history.key[row]), row)
    for key, places in grouped(elements.key[waits]):
        mine = np.flatnonzero(waits)[places]
        by = first.get(key, -1)
        until = int(history.invoked[by]) if by >= 0 else LAST
        later = mine[elements.until[mine] < until]
        elements.until[later], elements.again[later] = until, by
        if by < 0:
            continue
        known = np.flatnonzero((elements.key == key) & (put >= 0) & (elements.there < LAST) & ~lost)
        known = known[np.argsort(elements.there[known], kind="stable")]
        longest = np.maximum.accumulate(elements.until[known])
        who = np.maximum.accumulate(np.where(elements.until[known] == longest, np.arange(len(known)), 0))
        place = np.searchsorted(elements.there[known], history.invoked[put[mine]], side="left") - 1
        longer = (place >= 0) & (longest[place] > elements.until[mine])
        elements.until[mine[longer]] = longest[place[longer]]
        elements.behind[mine[longer]] = known[who[place[longer]]]


def unexplained(begun: Ints, rather: Flags | None = None) -> Ints:
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


def silent_by(history: History, key: int, by: int) -> int:
    """How many unanswered dequeues of a queue had begun by then."""
    silent = rows_of(history, "dequeue") & (history.outcome == INFO) & (history.key == key)
    return int((silent & (history.invoked <= by)).sum())


def stays_because(history: History, elements: Elements, one: int) -> str:
    """Why it was there that long."""
    ahead, again = int(elements.behind[one]), int(elements.again[one])
    if ahead >= 0:
        return f"came in behind {history[int(elements.put[ahead])].value}, which {stays_because(history, elements, ahead)}"
    if again < 0:
        return "was never taken out"
    if history.outcome[again] == INFO:
        return f"could not be taken out before {clock(int(history.invoked[again]))}"
    return "was taken out later" if history[again].f == "dequeue" else "was read there later"


def staying(elements: Elements, one: int) -> list[int]:
    """The rows that tell so, and that it was put in."""
    ahead = int(elements.behind[one])
    return [int(elements.put[one]), *([int(elements.told[ahead]), *staying(elements, ahead)] if ahead >= 0 else [
        int(elements.again[one])])]


def limits_of(history: History, elements: Elements, windows: Windows, shown: Ints, row: int) -> list[int]:
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


def rows_told(history: History, *rows: int) -> list[Any]:
    return [history[row] for row in dict.fromkeys(rows) if row >= 0]
