"""What a nemesis is: a schedule of scenarios, each of which starts one fault and heals it."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar

import msgspec
import networkx as nx

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Applied, Connectivity, Testbed


class Step(msgspec.Struct, frozen=True):
    """One fault of a schedule: it starts `at` seconds into the load and heals `duration` seconds later."""

    at: float
    duration: float
    nemesis: str
    scenario: str


class Cluster(msgspec.Struct, frozen=True):
    """What a nemesis may know and touch. `clock` tells nanoseconds from the start of the run; `primary` is resolved at the
    moment of the fault; `enforce` tells the load which links its workers may use."""

    testbed: Testbed
    names: tuple[str, ...]
    primary: str | None
    clock: Callable[[], int]
    rng: random.Random
    enforce: Callable[[Connectivity], None]

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """Put a connectivity in force. A link that goes down is closed to the workers before the first packet is lost, and
        one that comes up is opened to them after the last rule is gone."""
        both: Connectivity = nx.DiGraph(edge for edge in after.edges if before.has_edge(*edge))
        self.enforce(both)
        applied = await self.testbed.apply(before, after)
        self.enforce(after)
        return applied


class Nemesis(ABC):
    """One thing that goes wrong, in one or more scenarios."""

    name: ClassVar[str]
    summary: ClassVar[str]

    @abstractmethod
    def scenarios(self, nodes: int) -> Sequence[str]:
        """The names of its scenarios on that many nodes, in the order of the default schedule."""

    @abstractmethod
    async def start(self, fault: Fault, cluster: Cluster) -> Fault:
        """Do it and prove it: the fault with `in_force`, `proven` (or `wrong`), `cut`, `observed_cut`, `sides`, `primary`,
        `spread`."""

    @abstractmethod
    async def heal(self, fault: Fault, cluster: Cluster) -> Fault:
        """Undo it and prove it: the fault with `heal_began`, `healed` (or `heal_wrong`) and `heal_spread`."""

    def minimum_nodes(self) -> int:
        """The smallest cluster that this makes sense on."""
        return 2

    def steps(self, plan: Plan) -> tuple[Step, ...]:
        """The interval schedule: after the baseline its scenarios in turn, again from the first while time is left, each
        followed by `plan.between` healthy seconds. With `plan.time` 0 every scenario comes exactly once."""
        scenarios = list(self.scenarios(plan.nodes))
        steps: list[Step] = []
        at = plan.baseline
        while scenarios and (len(steps) < len(scenarios) if plan.time == 0 else at + plan.fault + plan.between <= plan.time):
            steps.append(Step(at, plan.fault, self.name, scenarios[len(steps) % len(scenarios)]))
            at += plan.fault + plan.between
        return tuple(steps)
