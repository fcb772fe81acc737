"""Queues exactly: whether any order of the calls, each at a moment of its own inside it, makes them those of a queue.

What the rules hold against each other are two or three calls, and a wrong answer may follow from many together. So where they
find nothing, a queue of few calls is searched through for an order (Wing and Gong, *Testing and Verifying Concurrent Objects*,
1993), in as many steps as are given. Where these are used up nothing is said. A larger queue is searched through a few elements
at a time, beside the calls that are doubtful (`doubts`): what a queue does with some of its elements a queue of these alone
does as well, so that what refutes the part refutes the whole.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from splitbrain.checkers.structures.columns import Flags, Ints, grouped, rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.structures.queues.doubts import find_doubts
from splitbrain.checkers.structures.queues.elements import FIRST, LAST, Elements, rows_told
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.ranges import ranges

_CALLS = 200
"""How many calls a queue may have that is searched through."""
_MOST = 100_000
"""How many calls all queues may have together of which parts are."""
_BESIDE = (1, 3, 6)
"""How many elements before a doubtful call, and how many behind it, are looked at: few first."""
_LOOKS = 30
"""How many reads, the nearest ones."""
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
    """Queues of which the rules accuse nothing and which no order of their calls explains: the call with which that begins,
    once a queue. Small ones are searched through, and of larger ones what is doubtful. `every` is all that reads show."""
    many = np.bincount(history.key + 1)
    if not ((many > 0) & (many <= _MOST)).any():
        return
    judged = _Judged(found, history, elements, every)
    queues = [(key, rows) for key, rows in grouped(history.key) if history[int(rows[0])].key not in found.keys]
    left = _MOST
    try:
        for _, rows in queues:
            if len(rows) <= _CALLS:
                judged.whole(rows[history.outcome[rows] != FAIL])
        for key, rows in queues:
            if _CALLS < len(rows) <= left:
                left -= len(rows)
                judged.in_parts(key, rows)
    except _Exhausted:
        return


class _Judged:
    """The queues of one history, and what is searched for in them. Everything raises `_Exhausted`."""

    def __init__(self, found: Findings, history: History, elements: Elements, every: Stretches) -> None:
        self.found, self.history, self.elements, self.every = found, history, elements, every
        self.code = np.full(len(history), -1)
        """Of each call the element that it put in or took out."""
        for rows in (elements.put, elements.taken):
            known = np.flatnonzero(rows >= 0)
            self.code[rows[known]] = known
        self.seen: Flags = (elements.taken >= 0) | (elements.seen_last > FIRST)
        self.search = _Search()

    @cached_property
    def _queues(self) -> tuple[dict[int, Ints], dict[int, Ints], Flags, Ints]:
        """Of each queue its elements and its stretches; the dequeues; and room for a number an element."""
        return (
            dict(grouped(self.elements.key)), dict(grouped(self.history.key[self.every.row])),
            rows_of(self.history, "dequeue"), np.full(len(self.elements.put), -1),
        )

    def whole(self, rows: Ints) -> None:
        """A queue of these calls."""
        calls = _calls(self.history, rows, self.code, self.seen, self.every)
        if not self.search.explained(calls, ordered=True):
            _tell_unexplained(self.found, self.history, self.search, calls)

    def in_parts(self, key: int, rows: Ints) -> None:
        """A queue of more calls: what it does with a few of its elements is what a queue of these alone does, so that where
        no order explains it none explains the whole. Only elements beside a doubtful call are looked at."""
        history, elements = self.history, self.elements
        elements_of, stretches_of, dequeues, place_of = self._queues
        looks = rows[(history.outcome[rows] == OK) & (self.code[rows] < 0)]
        mine = elements_of.get(key)
        if mine is None or not len(looks):
            return  # Without these the rules leave nothing open.
        silent = rows[dequeues[rows] & (history.outcome[rows] == INFO)]
        silent = silent[np.argsort(history.invoked[silent], kind="stable")]
        mine = mine[(elements.put[mine] >= 0) & (self.seen[mine] | (history.outcome[elements.put[mine]] == OK))]
        shown = stretches_of.get(key, mine[:0])
        order, places, moments = find_doubts(history, elements, mine, looks, silent, self.every, shown, place_of)
        past = -1
        for at in np.lexsort((moments, places)).tolist():
            place, moment = int(places[at]), int(moments[at])
            if place <= past:
                continue
            past = place
            for beside in _BESIDE:
                few = order[max(0, place - beside) : place + beside + 1]
                calls = self._part(few, looks, silent, moment)
                if not self.search.explained(calls, ordered=True):
                    _tell_unexplained(self.found, history, self.search, calls, self._beside(few, silent))
                    return

    def _part(self, few: Ints, looks: Ints, silent: Ints, moment: int) -> list[_Call]:
        """The calls of these elements, and the looks that are nearest to a moment, as if there were no other elements."""
        history = self.history
        far = np.maximum(history.invoked[looks] - moment, moment - history.completed[looks])
        near = looks[np.argsort(np.maximum(far, 0), kind="stable")[:_LOOKS]]
        rows = np.concatenate([self._touching(few, silent), near])
        rows = rows[np.argsort(history.invoked[rows], kind="stable")]
        among = set(few.tolist())
        return [
            replace(call, told=tuple(one for one in call.told if one in among)) if call.kind == READ else call
            for call in _calls(history, rows, self.code, self.seen, self.every)
        ]

    def _touching(self, few: Ints, silent: Ints) -> Ints:
        """The calls that put these elements in or took them out, or may have: of the unanswered dequeues as many as there are
        others, the earliest, for these can have taken whatever a later one can."""
        taken = self.elements.taken[few]
        return np.concatenate([self.elements.put[few], taken[taken >= 0], silent[: np.count_nonzero(taken < 0)]])

    def _beside(self, few: Ints, silent: Ints) -> Callable[[Ints], Ints]:
        """What belongs to calls beside them: what put in and took out the other elements that they show."""

        def beside(rows: Ints) -> Ints:
            shown = self.every.shown[self.every.entries(np.isin(self.every.row, rows))[0]]
            return self._touching(np.setdiff1d(shown, few), silent)

        return beside


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


def _tell_unexplained(
    found: Findings, history: History, search: _Search, calls: list[_Call], beside: Callable[[Ints], Ints] | None = None
) -> None:
    """Tell of calls that no order explains: of those until the first moment by which none does. `beside` says what else belongs
    to their rows."""
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
    rows = [call.row for call in calls if call is not accused]
    if beside is not None:
        rows += beside(np.array([*rows, accused.row])).tolist()
    rows = [*(row for row in dict.fromkeys(rows) if row != accused.row), accused.row]

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
