"""What the checkers of case studies share: who was turned away, and by whom somebody was told."""

from __future__ import annotations

from collections.abc import Iterable

from splitbrain.checkers.verdict import Figure
from splitbrain.harness.history.operation import Operation


class Requests:
    """The requests of customers, as they are counted, and how many of them were turned away: those that were refused for
    certain, and at the most all that were not answered. What was invoked from `final` on is nobody's but the run's own."""

    def __init__(self, final: int) -> None:
        self._final = final
        self._asked = self._away = self._away_most = 0

    def count(self, operations: Iterable[Operation]) -> None:
        """Count these too."""
        for one in operations:
            if one.invoked < self._final:
                self._asked += 1
                self._away += not one.answered and one.outcome != "info"
                self._away_most += not one.answered

    def figure(self, name: str) -> Figure:
        """How many were turned away, of all."""
        return Figure(name=name, least=self._away, most=self._away_most, of=self._asked, price="availability")


def server_of(operation: Operation) -> str:
    """Who answered, as far as it is known."""
    return operation.server or operation.node or "a server"
