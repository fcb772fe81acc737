"""What happens to the load, and to nothing else: many more clients come, and go again."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, ClassVar

from splitbrain.harness.history.fault import Spec, Surge
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.nemeses.nemesis import Nemesis, Outlook


class Spike(Nemesis):
    """Ten times the clients, at every home. What the clients do is recorded as of all."""

    name: ClassVar[str] = "spike"
    summary: ClassVar[str] = "ten times as many clients at every home, who go again at the end"

    class Options(OptionTable, frozen=True):
        """How many."""

        times: Annotated[int, Setting("How many times as many clients there are.", low=2, high=1000)] = 10

    options: Options

    def scenarios(self, nodes: int) -> Sequence[str]:
        """At every home."""
        return ("all",)

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        return (Surge(view.names, times=self.options.times),)

    def minimum_nodes(self) -> int:
        """It needs no other node."""
        return 1
