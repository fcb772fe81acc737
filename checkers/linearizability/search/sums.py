"""What a counter that only grows must not reach: more than somebody read who has not taken effect yet.

A necessary condition, as all needs are. A counter that only falls is one that grows, told the other way round.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.search.needs import Effect, Needs, Pending
from splitbrain.checkers.models.specifications import Call


class Sums(Needs):
    """The least that is still to be read. Every addition must have the sign `sign`, or be of nothing."""

    def __init__(self, calls: list[Call], call_of: list[int], events: list[int], sign: int, budget: Budget) -> None:
        self._calls, self._sign = calls, sign
        # By place: the least that is read by those who begin there or later.
        self._later: list[float] = [float("inf")] * (len(events) + 1)
        for at in range(len(events) - 1, -1, -1):
            if not at & 1023:
                budget.check()
            self._later[at] = self._later[at + 1]
            call = calls[call_of[events[at]]] if events[at] >= 0 else None
            if call is not None and call.f == "read" and call.outcome == "ok":
                self._later[at] = min(self._later[at], sign * call.value)
        # By return: what is read later at least, and what is read by those who have begun, the least first, with their bits.
        self._least: list[float] = []
        self._reading: list[list[tuple[int, int]]] = []

    def enter(self, place: int, pending: Sequence[Pending]) -> None:
        reading = [
            (self._sign * self._calls[call].value, bit)
            for _, bit, call, _, free in pending if not free and self._calls[call].f == "read"
        ]
        self._least.append(self._later[place])
        self._reading.append(sorted(reading))

    def doomed(self, e: int, state: Any, reached: Any, call: int, after: int) -> bool:
        sum_ = self._sign * reached
        if sum_ > self._least[e]:
            return True
        for read, bit in self._reading[e]:
            if read >= sum_:
                return False
            if not after & bit:
                return True
        return False

    def ordered(self, returning: int, effects: list[Effect]) -> list[Effect]:
        return effects


def sums_of(calls: list[Call], call_of: list[int], events: list[int], budget: Budget) -> Sums | None:
    """What is known of a counter; None where it grows and falls, or a read tells nothing. Raises `Exhausted`."""
    amounts = [call.value for call in calls if call.f == "add"]
    if any(call.f == "read" and call.outcome == "ok" and call.value is None for call in calls):
        return None
    if all(amount >= 0 for amount in amounts):
        return Sums(calls, call_of, events, 1, budget)
    return Sums(calls, call_of, events, -1, budget) if all(amount <= 0 for amount in amounts) else None
