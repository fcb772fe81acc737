"""Trains of datagrams over a link: how many are sent, and what becomes of them."""

from __future__ import annotations

from collections.abc import Sequence

from splitbrain.harness.history.fault import Link
from splitbrain.harness.testbeds.testbed import Train

GAP = 0.01
"""Seconds between two datagrams of a train."""
LARGE = 1200
"""Bytes of one that is sent at once with others, to tell the rate of a link."""
IN_BURST = 0xFFFF
"""The number of all of these."""

_TRAIN, _TRAINS = 25, 360
"""Datagrams of a train at least, and of all trains together."""
_BURST, _HEADERS = 60, 28


class Arrivals:
    """The datagrams of a train as they come."""

    def __init__(self) -> None:
        self.late: dict[int, float] = {}
        self.twice = 0
        self.ahead: set[int] = set()
        """Those that came before one that was sent earlier."""
        self.burst: list[tuple[float, int]] = []

    def add(self, number: int, late: float, size: int, at: float) -> None:
        """One that came so many milliseconds late, at that time (seconds)."""
        if number == IN_BURST:
            self.burst.append((at, size))
        elif number in self.late:
            self.twice += 1
        else:
            self.ahead.update(one for one in self.late if one > number)
            self.late[number] = late

    def train(self, sent: int, busy: float, *, usual: float = 0.0, inexact: float = 0.0) -> Train:
        """What became of them, in milliseconds more than is usual."""
        rate = 0.0
        if len(self.burst) > 1:
            size = sum(size + _HEADERS for _, size in self.burst[1:])
            rate = size * 8 / 1000 / max(1e-6, self.burst[-1][0] - self.burst[0][0])
        late = tuple(max(0.0, one - usual) for one in self.late.values())
        return Train(sent, late, busy, inexact, self.twice, len(self.ahead), rate)


def length(links: Sequence[Link]) -> int:
    """How many datagrams a train over each of these links has."""
    return min(200, max(_TRAIN, _TRAINS // max(1, len(links))))


def at_once(rate: float) -> int:
    """How many large ones take a third of a second at that many kbit/s, or fewer; without a rate none."""
    return min(_BURST, round(rate * 1000 / 8 / 3 / LARGE)) if rate else 0
