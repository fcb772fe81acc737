"""What is known of each element of a queue, and between which moments each look took effect: what the rules hold against each
other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Integers, Ints, grouped, rows_of
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock

FIRST, LAST = int(np.iinfo(np.int64).min), int(np.iinfo(np.int64).max)


_READ = -2
"""In the place of a row: the last read that tells so, which is looked for only where that is told."""


@dataclass
class Windows:
    """One entry a row: between which moments that look took effect. What it shows was put in before it and taken out behind."""

    low: Ints
    high: Ints


class Elements:
    """One entry an element: the row that `put` it in (-1: none), and the first that took it out (`taken`; -1: nobody).

    `begun` is when it was begun to be put in, `FIRST` where nobody did or that failed (it is not `sound` then); `out` is
    when it was out, `LAST` where nobody took it. `seen_last` is when the last read that shows it was over. It was `there` for
    certain since it was acknowledged, or a read that shows it was over, and `until` it began to be taken out, or the last read
    of it before that began. `behind` is the element behind which it came in, so that it was there as long as that; -1 where it
    is not that which tells so.
    """

    def __init__(self, history: History, many: int, put: Ints, put_code: Ints, took: Ints, took_code: Ints) -> None:
        self.key, self.put, self.taken, self.behind = (np.full(many, -1) for _ in range(4))
        self.put[put_code], self.key[put_code] = put, history.key[put]
        if np.bincount(took_code, minlength=1).max() > 1:
            by_time = np.argsort(history.completed[took], kind="stable")[::-1]
            took, took_code = took[by_time], took_code[by_time]
        self.taken[took_code] = took
        self.sound: Flags = (self.put >= 0) & (history.outcome[self.put] != FAIL)
        self.begun = np.where(self.sound, history.invoked[self.put], FIRST)
        self.out = np.where(self.taken >= 0, history.completed[self.taken], LAST)
        self.by_begun = put_code
        """Those that were put in, in the order in which that was begun."""
        sure = self.sound & (history.outcome[self.put] == OK)
        self.there = np.where(sure, history.completed[self.put], LAST)
        self._told = np.where(sure, self.put, -1)
        left = self.sound & (self.taken >= 0)
        self.until = np.where(left, history.invoked[self.taken], FIRST)
        self.again = np.where(left, self.taken, -1)
        self.seen_last = np.full(many, FIRST)

    def see(self, windows: Windows, shown: Stretches) -> None:
        """Find what reads tell of when each was there. `shown` are reads of their own moment: one of the past shows nothing of
        that."""
        self._windows, self._shown = windows, shown
        first = shown.spread(np.minimum, windows.high[shown.row], LAST)
        sooner = self.sound & (first < self.there)
        self.there[sooner], self._told[sooner] = first[sooner], _READ
        last = shown.spread(np.maximum, windows.low[shown.row], FIRST)
        later = self.sound & (last > self.until)
        self.until[later], self.again[later] = last[later], _READ

    def told(self, one: int) -> int:
        """The row that tells from when on it was there."""
        row = int(self._told[one])
        return self._reading(one, self._windows.high, int(self.there[one])) if row == _READ else row

    def told_again(self, one: int) -> int:
        """The row that tells until when it was there; -1 where nobody can have taken it out at all."""
        row = int(self.again[one])
        return self._reading(one, self._windows.low, int(self.until[one])) if row == _READ else row

    def _reading(self, one: int, moments: Ints, moment: int) -> int:
        """The last read that shows it and has that moment."""
        shown = self._shown
        place = shown.order.places[one]
        rows = shown.row[(shown.begin <= place) & (shown.begin + shown.size > place)]
        return int(rows[moments[rows] == moment].max())


def timely(history: History, elements: Elements, shown: Stretches) -> tuple[Stretches, Ints]:
    """What reads show, without what was begun to be put in when they were over, and the entries that are left out."""
    late = shown.over(np.maximum, elements.begun) > history.completed[shown.row]
    if not late.any():
        return shown, np.zeros(0, np.int64)
    entries, shown_by = shown.entries(late)
    early: Ints = entries[elements.begun[shown.shown[entries]] > history.completed[shown_by]]
    return shown.without(early), early


def windows_of(history: History, elements: Elements, shown: Stretches, right: Stretches) -> Windows:
    """Between which moments each look took effect. What is shown too early (and is not in `right`) is told of as that."""
    found = Windows(history.invoked.copy(), history.completed.copy())
    for moments, extreme, by, values in (
        (found.low, np.maximum, right, elements.begun), (found.high, np.minimum, shown, elements.out)
    ):
        # The stretches of a read lie beside each other.
        starts = np.flatnonzero(np.append(True, by.last[:-1])[: len(by.row)])
        if len(starts):
            rows = by.row[starts]
            moments[rows] = extreme(moments[rows], extreme.reduceat(by.over(extreme, values), starts))
    return found


def in_pieces(shown: Stretches) -> Flags:
    """Which stretches are not their whole read."""
    found = ~shown.last
    found[1:] |= ~shown.last[:-1]
    return found


def find_until(history: History, elements: Elements, lost: Flags) -> None:
    """Find how long what nobody took out, and what is not lost, was there for certain: until the first unanswered dequeue of
    its queue began, and as long as any that came in before it."""
    put = elements.put
    waits = (put >= 0) & (elements.taken < 0) & (elements.there < LAST) & ~lost
    silent = np.flatnonzero(rows_of(history, "dequeue") & (history.outcome == INFO))
    first: dict[int, int] = {}
    for row in silent[np.argsort(history.invoked[silent], kind="stable")].tolist():
        first.setdefault(int(history.key[row]), row)
    waiting = np.flatnonzero(waits)
    # Only behind those of queues that have such dequeues anything is looked for.
    some = np.flatnonzero((put >= 0) & (elements.there < LAST) & ~lost) if first and len(waiting) else waiting[:0]
    known_of = {key: some[places] for key, places in grouped(elements.key[some])}
    for key, places in grouped(elements.key[waiting]):
        mine = waiting[places]
        by = first.get(key, -1)
        until = int(history.invoked[by]) if by >= 0 else LAST
        later = mine[elements.until[mine] < until]
        elements.until[later], elements.again[later] = until, by
        if by < 0:
            continue
        known = known_of[key]
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
    ahead = int(elements.behind[one])
    if ahead >= 0:
        return f"came in behind {history[int(elements.put[ahead])].value}, which {stays_because(history, elements, ahead)}"
    again = elements.told_again(one)
    if again < 0:
        return "was never taken out"
    if history.outcome[again] == INFO:
        return f"could not be taken out before {clock(int(history.invoked[again]))}"
    return "was taken out later" if history[again].f == "dequeue" else "was read there later"


def staying(elements: Elements, one: int) -> list[int]:
    """The rows that tell so, and that it was put in."""
    ahead = int(elements.behind[one])
    more = [elements.told(ahead), *staying(elements, ahead)] if ahead >= 0 else [elements.told_again(one)]
    return [int(elements.put[one]), *more]


def limits_of(history: History, elements: Elements, windows: Windows, shown: Integers, row: int) -> list[int]:
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
