"""What containers with elements that come again must not hold: found out before it is held.

Who finds a container empty needs every element that is there to be taken by the time he returns. So at any moment before he
took effect no more of an element may be there than removals of it are left that begin before his return, and the first to
return is the one to ask. Necessary, not sufficient: what is left in spite of it the search finds out.

A queue gives its elements in the order in which they were put in: the elements that were put in so far, one after the other,
must be what removals return in some order that time allows. Which removal returns the next one is found without a search: of
those that return this element and may be next, as none that is left returned before they began, the one that returns
first. *If an order has another, b, here and that one, a, later, they can change places*: a may be next; and what begins after
the return of b begins after that of a, so it is behind both.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Hashable, Sequence
from typing import Any

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.search.needs import Effect, Needs, Pending
from splitbrain.checkers.models.specifications import Call, Model, Queue, UnorderedQueue

_NOBODY = 1 << 60
"""A place behind the return of everybody."""

Ahead = tuple[int, int]
"""Which removals have been given an element: all before the first number, and of those from there on the ones of these bits."""


class Order:
    """The removals of one queue that return an element, in the order in which they begin: (begin, return, element)."""

    def __init__(self, removals: list[tuple[int, int, Hashable]]) -> None:
        self._begins = [begin for begin, _, _ in removals] + [_NOBODY]
        self._returns = [back for _, back, _ in removals]
        self._elements = [element for _, _, element in removals]
        self._known: dict[tuple[Ahead, Hashable], Ahead | None] = {}

    def following(self, ahead: Ahead, element: Hashable) -> Ahead | None:
        """Where one more element was put in that is given to whom it must; None where nobody may be next that returns it."""
        asked = ahead, element
        if asked not in self._known:
            self._known[asked] = self._following(*asked)
        return self._known[asked]

    def _following(self, ahead: Ahead, element: Hashable) -> Ahead | None:
        first, given = ahead
        at, soonest, chosen = first, _NOBODY, -1
        while self._begins[at] < soonest:
            if not given >> (at - first) & 1:
                back = self._returns[at]
                if self._elements[at] == element and (chosen < 0 or back < self._returns[chosen]):
                    chosen = at
                soonest = min(soonest, back)
            at += 1
        if chosen < 0:
            return ahead if first == len(self._returns) else None
        given |= 1 << (chosen - first)
        while given & 1:
            first, given = first + 1, given >> 1
        return first, given


class OrderedQueue(Queue):
    """A queue whose elements can leave it in the order of these removals. A state is what it holds, and who has been given
    what was put in."""

    def __init__(self, order: Order) -> None:
        object.__setattr__(self, "order", order)
        object.__setattr__(self, "initial", ((), (0, 0)))

    order: Order

    def step(self, state: Any, call: Call) -> tuple[Hashable, ...]:
        held, ahead = state
        if call.f == "enqueue":
            ahead = self.order.following(ahead, call.value)
            return () if ahead is None else (((*held, call.value), ahead),)
        return tuple((left, ahead) for left in super().step(held, call))


def foreseeing(model: Model, calls: list[Call], call_of: list[int], events: list[int], budget: Budget) -> Model:
    """The model that knows of a queue who is given what; `model` where there is no such. Raises `Exhausted`."""
    if type(model) is not Queue or model.initial != ():
        return model
    returns = {~i: at for at, i in enumerate(events) if i < 0}
    removals: list[tuple[int, int, Hashable]] = []
    for at, i in enumerate(events):
        if not at & 1023:
            budget.check()
        if i < 0:
            continue
        call = calls[call_of[i]]
        if call.f == "dequeue":
            if call.outcome == "info":
                return model
            if call.value is not None:
                removals.append((at, returns[i], call.value))
        elif call.value is None:
            return model
    return OrderedQueue(Order(removals))


class Stock(Needs):
    """What may be held of each element, by what removals are still to come. Raises `Exhausted`."""

    def __init__(self, model: Model, calls: list[Call], call_of: list[int], events: list[int], budget: Budget) -> None:
        self._calls = calls
        self._put, self._take = model.functions
        self._bag = isinstance(model, UnorderedQueue)
        self._inside = isinstance(model, OrderedQueue)
        self._returns = {~i: at for at, i in enumerate(events) if i < 0}
        # By element, where removals of it begin and return; where those begin of which nobody knows what they took.
        self._begun: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._over: defaultdict[Hashable, list[int]] = defaultdict(list)
        self._wild: list[int] = []
        finding_none: list[tuple[int, int]] = []
        for at, i in enumerate(events):
            if not at & 1023:
                budget.check()
            call = calls[call_of[i if i >= 0 else ~i]]
            if call.f == self._put:
                continue
            if i < 0:
                self._over[call.value].append(at)
            elif call.outcome == "info":
                self._wild.append(at)
            elif call.value is not None:
                self._begun[call.value].append(at)
            else:
                finding_none.append((at, self._returns[i]))
        self._later = _first_back(finding_none)
        """Who finds nothing begins there or later, and the first of these returns here."""
        # By return: its place, who has begun and finds nothing, the first to return first, and the bits of removals.
        self._places: list[int] = []
        self._finding_none: list[list[tuple[int, int]]] = []
        self._taking: list[dict[Hashable, int]] = []

    def enter(self, place: int, pending: Sequence[Pending]) -> None:
        finding_none: list[tuple[int, int]] = []
        taking: dict[Hashable, int] = {}
        for _, bit, call, i, free in pending:
            told = self._calls[call]
            if told.f == self._take and not free:
                if told.value is not None:
                    taking[told.value] = taking.get(told.value, 0) | bit
                else:
                    finding_none.append((self._returns[i], bit))
        self._places.append(place)
        self._finding_none.append(sorted(finding_none))
        self._taking.append(taking)

    def doomed(self, e: int, state: Any, reached: Any, call: int, after: int) -> bool:
        told = self._calls[call]
        if told.f != self._put:
            return False
        element, place = told.value, self._places[e]
        begins, backs = self._later
        by = backs[bisect_left(begins, place)]
        for back, bit in self._finding_none[e]:
            if back >= by:
                break
            if not after & bit:
                by = back
        if by == _NOBODY:
            return False
        left = bisect_left(self._begun[element], by) - bisect_left(self._over[element], place)
        left -= (after & self._taking[e].get(element, 0)).bit_count()
        held = dict(reached).get(element, 0) if self._bag else (reached[0] if self._inside else reached).count(element)
        return bool(held > left + bisect_left(self._wild, by))

    def ordered(self, returning: int, effects: list[Effect]) -> list[Effect]:
        return effects


def _first_back(spans: list[tuple[int, int]]) -> tuple[list[int], list[int]]:
    """Where these begin, and for each, and behind them all, the first return of it and of those that begin later."""
    backs = [_NOBODY]
    for _, back in reversed(spans):
        backs.append(min(back, backs[-1]))
    return [begin for begin, _ in spans], backs[::-1]
