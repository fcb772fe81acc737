"""Small queues, exactly: whether any order of the calls, each at a moment of its own inside it, makes them those of a queue.

What the rules hold against each other are two or three calls, and a wrong answer may follow from many together. So where they
find nothing, a queue of few calls is searched through for an order (Wing and Gong, *Testing and Verifying Concurrent Objects*,
1993), in as many steps as are given. Where these are used up nothing is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints, grouped
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.elements import FIRST, LAST, Elements, rows_told
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.ranges import ranges

_CALLS = 200
"""How many calls a queue may have that is searched through."""
_STEPS = 20_000
"""How many steps all searches of one history may take together."""
_SHORTENED = 40
"""Up to how many calls evidence is left out of what proves nothing."""

PUT, TAKE, READ = range(3)

Waiting = tuple[int, ...]


class _Exhausted(Exception):
    """The steps are used up."""


@dataclass(frozen=True)
class _Call:
    """A call of a queue; `told` are the elements that it put in, took out or showed. `ends` is `LAST` where no answer came: it
    may have taken effect then, later, or not at all, and what a dequeue took is not known."""

    row: int
    kind: int
    told: Waiting
    begins: int
    ends: int


class _Search:
    """The searches of one history. Where they are `ordered` the first one goes out first; else any one may."""

    def __init__(self) -> None:
        self._left = _STEPS

    def explained(self, calls: list[_Call], *, ordered: bool) -> bool:
        """Whether there is such an order; the calls are in the order of their beginnings. Raises `_Exhausted`."""
        needed = _needed(calls) if ordered else [0] * len(calls)
        everything = sum(1 << at for at, call in enumerate(calls) if call.ends < LAST)
        seen: set[tuple[int, Waiting]] = set()
        states: list[tuple[int, Waiting]] = [(0, ())]
        while states:
            done, waiting = states.pop()
            if done & everything == everything:
                return True
            if (done, waiting) in seen:
                continue
            seen.add((done, waiting))
            self._left -= 1
            if self._left < 0:
                raise _Exhausted
            states += self._further(calls, needed, done, waiting, ordered)
        return False

    def maybe(self, calls: list[_Call], *, ordered: bool) -> bool:
        """Whether there may be such an order: none is excluded where the steps are used up."""
        try:
            return self.explained(calls, ordered=ordered)
        except _Exhausted:
            return True

    @staticmethod
    def _further(
        calls: list[_Call], needed: list[int], done: int, waiting: Waiting, ordered: bool
    ) -> list[tuple[int, Waiting]]:
        """What may come next, the likeliest last."""
        bound = LAST
        open_ones: list[int] = []
        at = (~done & (done + 1)).bit_length() - 1
        for place in range(at, len(calls)):
            call = calls[place]
            if call.begins > bound:
                break
            if not done >> place & 1:
                open_ones.append(place)
                bound = min(bound, call.ends)
        found: list[tuple[int, Waiting]] = []
        sure: list[tuple[int, Waiting]] = []
        for place in reversed(open_ones):
            call = calls[place]
            if call.begins > bound:
                continue
            after = done | 1 << place
            if needed[place] & ~done:
                continue
            if call.kind == PUT:
                found.append((after, (*waiting, *call.told) if ordered else tuple(sorted((*waiting, *call.told)))))
            elif call.kind == READ:
                if call.told == waiting if ordered else set(call.told) == set(waiting):
                    # It changes nothing: where it can be next, nothing is gained by a later place.
                    return [(after, waiting)]
            elif call.ends == LAST:
                rest = range(min(1, len(waiting)) if ordered else len(waiting))
                found[:0] = [(after, (*waiting[:one], *waiting[one + 1 :])) for one in rest]
            elif call.told and call.told[0] in (waiting[:1] if ordered else waiting):
                one = waiting.index(call.told[0])
                sure.append((after, (*waiting[:one], *waiting[one + 1 :])))
        return found + sure


def _needed(calls: list[_Call]) -> list[int]:
    """Of each call that puts an element in those, as bits, that came before for certain: of elements that a read shows before
    it, or that were out when it had yet to be taken out. (They shorten the search, and decide nothing.)"""
    put = {call.told[0]: at for at, call in enumerate(calls) if call.kind == PUT}
    before = [0] * len(calls)
    takes = [call for call in calls if call.kind == TAKE and call.ends < LAST]
    for call in calls:
        ahead = 0
        for one in call.told if call.kind == READ else ():
            before[put[one]] |= ahead
            ahead |= 1 << put[one]
    for call in takes:
        before[put[call.told[0]]] |= sum(1 << put[other.told[0]] for other in takes if other.ends < call.begins)
    for middle in put.values():
        for at in put.values():
            if before[at] >> middle & 1:
                before[at] |= before[middle]
    return before


def find_unexplained(found: Findings, history: History, elements: Elements, every: Stretches) -> None:
    """Queues of few calls that no order of these explains: the call with which that begins, once a queue. Asked where the rules
    accuse nothing; `every` is all that reads show."""
    many = np.bincount(history.key + 1)
    if not ((many > 0) & (many <= _CALLS)).any():
        return
    code = np.full(len(history), -1)
    for rows in (elements.put, elements.taken):
        known = np.flatnonzero(rows >= 0)
        code[rows[known]] = known
    seen = (elements.taken >= 0) | (elements.seen_last > FIRST)
    search = _Search()
    for _, rows in grouped(history.key):
        if len(rows) > _CALLS:
            continue
        try:
            calls = _calls(history, rows[history.outcome[rows] != FAIL], code, seen, every)
            if not search.explained(calls, ordered=True):
                _tell_unexplained(found, history, search, calls)
        except _Exhausted:
            return


def _calls(history: History, rows: Ints, code: Ints, seen: Flags, every: Stretches) -> list[_Call]:
    """The calls that can have taken effect. An element that nobody saw need not have been put in where that was not
    answered."""
    found: list[_Call] = []
    kind: int
    told: Waiting
    for row in rows.tolist():
        f, ok, element = history.fs[history.f[row]], history.outcome[row] == OK, int(code[row])
        ends = int(history.completed[row]) if ok else LAST
        if f == "read":
            if not ok:
                continue
            begin, end = np.searchsorted(every.row, row, "left"), np.searchsorted(every.row, row, "right")
            kind, told = READ, tuple(every.shown[ranges(every.first[begin:end], every.size[begin:end])].tolist())
        elif f == "enqueue":
            if not ok and not seen[element]:
                continue
            kind, told = PUT, (element,)
        else:
            # What finds nothing reads that.
            kind, told = (TAKE, (element,)) if element >= 0 else (READ if ok else TAKE, ())
        found.append(_Call(row, kind, told, int(history.invoked[row]), ends))
    return found


def _tell_unexplained(found: Findings, history: History, search: _Search, calls: list[_Call]) -> None:
    """Tell of calls that no order explains: of those until the first moment by which none does."""
    ends = sorted({call.ends for call in calls if call.ends < LAST})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if search.maybe(_until(calls, ends[middle]), ordered=True):
            low = middle + 1
        else:
            high = middle
    calls = _until(calls, ends[high])
    accused = [call for call in calls if call.ends == ends[high]][-1]
    if len(calls) <= _SHORTENED:
        calls = _shortened(search, calls, accused)
    ordered = search.maybe(calls, ordered=False)
    rows = [*(call.row for call in calls if call is not accused), accused.row]

    def tell(_: int) -> Told:
        last = history[accused.row]
        how = " with the first in as the first out" if ordered else ""
        sentence = (
            f"no order of {len(rows):,} calls of queue {last.key} explains what they told{how} until the {last.f} at "
            f"{last.node or 'a server'} was over at {clock(accused.ends)}."
        )
        return sentence, rows_told(history, *rows)

    found.add_rows("reordered" if ordered else "non-linearizable", np.array([accused.row]), tell)


def _until(calls: list[_Call], moment: int) -> list[_Call]:
    """What was known at that moment: calls that were open have no answer yet."""
    return [
        call if call.ends <= moment else replace(call, ends=LAST) for call in calls
        if call.ends <= moment or (call.begins <= moment and call.kind != READ)
    ]


def _shortened(search: _Search, calls: list[_Call], accused: _Call) -> list[_Call]:
    """The same without reads, and all calls of elements that no read shows, as long as no order explains the rest."""
    for call in calls:
        shown = {one for other in calls if other.kind == READ for one in other.told}
        if call.kind == READ:
            gone = [call]
        elif call.told and call.told[0] not in shown:
            gone = [other for other in calls if other.told == call.told and other.kind != READ]
        else:
            continue
        rest = [other for other in calls if other not in gone]
        if accused in rest and len(rest) < len(calls) and not search.maybe(rest, ordered=True):
            calls = rest
    return calls
