"""Wall clocks that are wrong: of the servers of some nodes, while the machine's and everybody else's stay right.

What breaks is whatever orders events, ends leases or finds the newest version by the time of day.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

import msgspec

from splitbrain.harness.history.fault import Nodes, Skew
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import SECOND, Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.processes import Processes

Ahead = Annotated[float, Setting("How far a clock is put ahead; below 0: back.", unit=SECOND, low=-86_400, high=86_400)]


class Clocks(Processes):
    """Something done to the clocks of some nodes' servers; a scenario is a role."""

    needs: ClassVar[frozenset[Ability]] = frozenset({"skew"})
    usual: ClassVar[tuple[str, ...]] = ("primary", "follower", "minority")
    of_running: ClassVar[bool] = True

    options: OptionTable
    """What is done to the clocks: each option is the field of `Skew` that has its name."""

    def spec(self, nodes: Nodes) -> Skew:
        return Skew(nodes, **msgspec.structs.asdict(self.options))


class ClockJump(Clocks):
    """A clock that is put ahead all at once, and back at the end."""

    name: ClassVar[str] = "clock-jump"
    summary: ClassVar[str] = "the clocks of servers by role 60 s ahead, and right again at the end"

    class Options(OptionTable, frozen=True):
        """How far."""

        offset: Ahead = 60.0

        def __post_init__(self) -> None:
            if abs(self.offset) < 2:
                raise ValueError("offset must be at least 2 s: less cannot be told from what servers say of their clocks")


class ClockStrobe(Clocks):
    """A clock that jumps to and fro."""

    name: ClassVar[str] = "clock-strobe"
    summary: ClassVar[str] = "the clocks of servers by role 10 s ahead and right again, several times a second"

    class Options(ClockJump.Options, frozen=True):
        """How far, and how often."""

        offset: Ahead = 10.0
        every: Annotated[float, Setting("How long it stays ahead, and right.", unit=SECOND, low=0.05, high=3600)] = 0.2


class ClockDrift(Clocks):
    """A clock that runs too fast, or too slow."""

    name: ClassVar[str] = "clock-drift"
    summary: ClassVar[str] = "the clocks of servers by role run twice as fast, and are put right at the end"

    class Options(OptionTable, frozen=True):
        """How much."""

        drift: Annotated[float, Setting("Seconds that it gains each second; below 0: loses.", low=-0.9, high=100)] = 1.0

        def __post_init__(self) -> None:
            if abs(self.drift) < 0.5:
                raise ValueError("drift must be at least 0.5 s a second: less cannot be told within the length of a fault")
