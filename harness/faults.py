"""The faults of a run: the schedule, and who starts each of them, proves it, heals it and proves that."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence

from splitbrain.harness import registry
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.journal import Journal
from splitbrain.harness.load.load import Load
from splitbrain.harness.load.route import Router
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Connectivity, Testbed
from splitbrain.nemeses.nemesis import Cluster, Nemesis, Step
from splitbrain.reports.terminal import Progress


class Controller:
    """Injects the faults of one run beside its load."""

    def __init__(self, plan: Plan, testbed: Testbed, names: Sequence[str], router: Router, load: Load, journal: Journal,
                 clock: Callable[[], int], progress: Progress) -> None:
        self.plan = plan
        self.testbed = testbed
        self.names = tuple(names)
        self.router = router
        self.load = load
        self.journal = journal
        self.clock = clock
        self.progress = progress
        self.under_way = False
        self.healed: asyncio.Queue[int | None] = asyncio.Queue()
        """The id of each fault that was healed, as it happens; None once there will be no more."""

    async def inject(self, steps: Sequence[Step]) -> None:
        """Each fault of the schedule: start it, prove it, wait, heal it, prove that. A stopped load heals at once."""
        begin = asyncio.get_running_loop().time()
        rng = random.Random(f"{self.plan.seed}/nemesis")
        for number, step in enumerate(steps, 1):
            if await self.load.stops_within(begin + step.at - asyncio.get_running_loop().time()):
                return
            nemesis: Nemesis = registry.look_up("nemeses", step.nemesis)()
            cluster = Cluster(self.testbed, self.names, self.router.primary(), self.clock, rng, self.enforce)
            self.under_way = True
            fault = Fault(id=number, nemesis=step.nemesis, scenario=step.scenario, started=self.clock())
            self.journal.fault(fault)
            fault = await nemesis.start(fault, cluster)
            self.journal.fault(fault)
            self.progress.fault(fault.in_force or fault.started, describe(fault), proof(fault, len(self.names)))
            await self.load.stops_within(step.duration)
            fault = await nemesis.heal(fault, cluster)
            self.journal.fault(fault)
            self.under_way = False
            self.healed.put_nowait(fault.id)
            self.progress.fault(fault.heal_began or self.clock(), "heal", heal_proof(fault, len(self.names)))

    def enforce(self, links: Connectivity) -> None:
        """These are the links that workers may use from now on."""
        self.router.links = links
        self.load.enforce()


def schedule(plan: Plan) -> tuple[Step, ...]:
    """The faults of a plan, in order: its own script, or its nemesis' intervals."""
    if plan.schedule:
        return tuple(
            Step(fault.at, fault.duration, fault.nemesis, registry.look_up("nemeses", fault.nemesis)().scenarios(plan.nodes)[0])
            for fault in sorted(plan.schedule, key=lambda fault: fault.at)
        )
    nemesis: Nemesis = registry.look_up("nemeses", plan.nemesis)()
    return nemesis.steps(plan)


def describe(fault: Fault) -> str:
    """`partition {n1} | {n2 n3}`, or the links that are cut where the sides alone do not tell it."""
    between = {(a, b) for side in fault.sides for other in fault.sides if side != other for a in side for b in other}
    if between != set(fault.cut):
        return f"partition {', '.join(f'{a}→{b}' for a, b in fault.cut)}"
    sides = sorted(fault.sides, key=lambda side: (len(side), side))
    return "partition " + " | ".join("{" + " ".join(side) + "}" for side in sides)


def proof(fault: Fault, nodes: int) -> str:
    """How many links the probes found as intended, and the spread."""
    links = nodes * (nodes - 1)
    return f"{links - len(fault.wrong)}/{links} links as intended, spread {fault.spread / 1e6:.0f} ms"


def heal_proof(fault: Fault, nodes: int) -> str:
    """How many links the probes found up again."""
    links = nodes * (nodes - 1)
    return f"{links - len(fault.heal_wrong)}/{links} links up"
