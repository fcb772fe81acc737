"""A server that comes back slowly: it was killed, and has hardly any of the processor until it serves again.

So does a machine that has others' work to do as well, or that starts everything at once after a power cut. Who waits for it
waits longer; who counts on it (a supervisor, a quorum of which it is the last) may give up or act twice.
"""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Annotated, Any, ClassVar

from splitbrain.harness.history.fault import Figure, Nodes, Other, Proof, Spec
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.injectors.processes import SILENCE
from splitbrain.nemeses.processes import Processes

ROUND = 1.0
"""Seconds for which a server stands still at first, and which a round takes that lets it run for a moment at its end."""
TURN = 0.1
"""Seconds of the processor that it may use in a round, at most: where it may have much of it, rounds are shorter."""
MOST = 10.0
"""How many times as long such a moment may last: others want the processor too, and a server waits for others."""
SLOW = 0.9
"""Seconds that a server stands still at least before it serves, to have started slowly."""
OVER = 2.0
"""How many times as much of the processor as it was to have it may have had, and what it may have in one round beside: a
container runs for a moment before it can be frozen."""


class SlowStart(Processes):
    """SIGKILL; started again, and stood still (SIGSTOP, SIGCONT) whenever it has used its part of the processor, until it
    serves."""

    name: ClassVar[str] = "slow-start"
    summary: ClassVar[str] = "kill -9 of the servers by role, which then have hardly any of the processor (1%) until they serve"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "pause"})

    class Options(OptionTable, frozen=True):
        """How slowly."""

        percent: Annotated[int, Setting(
            "The part of one processor that a server may use while it starts.", unit="%", low=1, high=50)] = 1

    options: Options

    def spec(self, nodes: Nodes) -> Spec:
        return Other(nodes=nodes, name=self.name, does="kill and slowly start", undoing="let start", like="came back slowly",
                     options={"percent": self.options.percent})

    def injector(self, spec: Spec) -> Injector[Any]:
        return SlowStartInjector()


class _Start:
    """One server's: seconds of the processor that it has used, and for which it went on, until it served after so many."""

    def __init__(self) -> None:
        self.used = 0.0
        self.went_on = 0.0
        self.served: float | None = None
        self._spent = 0.0

    def add(self, spent: float, seconds: float) -> None:
        """It has used so much since its process began, of which another fault may have made a new one, and went on so long."""
        self.used += spent - self._spent if spent >= self._spent else spent
        self._spent = spent
        self.went_on += seconds


class SlowStartInjector(Injector[Other]):
    """Ends servers and starts them slowly. Proven by the time from their start to a connection that they take, for nearly all
    of which they stood still, and by what they used of the processor meanwhile, as the kernel counts it."""

    def __init__(self) -> None:
        self._idle: tuple[str, ...] = ()
        """The nodes on which nothing ran."""
        self._began = 0
        self._starts: dict[str, _Start] = {}

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """End them, and start them so that they stand still at once. A node on which nothing runs is wrong."""
        self._idle = (await cluster.end(self, spec.nodes)).idle
        await cluster.pause(self, spec.nodes)
        changed = await cluster.start(self, spec.nodes)
        self._began = changed.at
        self._starts = {name: _Start() for name in spec.nodes if name not in self._idle}
        for name in self._starts:
            await self._run(name, 0.0, cluster)
        silent = await cluster.silent(spec.nodes, timeout=SILENCE)
        wrong = tuple(name for name in spec.nodes if name in self._idle or name not in silent)
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=silent, detail=f"{len(silent)}/{len(spec.nodes)} not serving yet")

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """Let them run for a moment in each round, until they serve; who serves runs as ever. Who used more than its part of
        the processor, before it stood still or in a round, waits for longer."""
        part = spec.options["percent"] / 100
        turn = min(ROUND * part, TURN)
        wait = ROUND
        while left := {name: start for name, start in self._starts.items() if start.served is None}:
            await asyncio.sleep(wait)
            wait = turn / part
            may = {name: min(part * self._so_far(cluster) - start.used, 2 * turn) for name, start in left.items()}
            if not (running := [name for name in left if may[name] > turn / 2]):
                continue
            asked = asyncio.ensure_future(cluster.silent(running, timeout=MOST * max(may.values()) + SILENCE))
            try:
                await asyncio.gather(*(self._run(name, may[name], cluster) for name in running))
                silent = await asked
            finally:
                asked.cancel()
            serving = [name for name in running if name not in silent]
            for name in serving:
                left[name].served = self._so_far(cluster)
            await cluster.resume(self, serving)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether they were slow to serve, or do not yet, and had no more of the processor than they were to have."""
        at = cluster.clock()
        meant = spec.options["percent"]
        took = {name: start.served or self._so_far(cluster) for name, start in self._starts.items()}
        had = {name: 100 * start.used / took[name] for name, start in self._starts.items()}
        most = {name: OVER * meant + 100 * min(ROUND * meant / 100, TURN) / took[name] for name in took}
        # One that has used nothing was started by nobody: another fault keeps it down.
        wrong = tuple(name for name in spec.nodes if name not in took or not 0 < had[name] <= most[name]
                      or took[name] - self._starts[name].went_on < SLOW)
        told = [f"{name} {'did not serve' if start.served is None else 'served'} in {took[name]:.1f} s, with {start.used:.3f} "
                f"s of the processor ({had[name]:.1f}%, intended {meant}%)" for name, start in self._starts.items()]
        seen = list(had.values()) or [0.0]
        figure = Figure("processor", "%", meant, *(round(one, 2) for one in (median(seen), min(seen), max(seen))))
        return Proof(holds=not wrong, acted=at, at=at, wrong=wrong, measured=spec.nodes, figures=(figure,),
                     detail="; ".join(told))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Let them run, start who ended meanwhile, and wait until they serve."""
        changed = await cluster.resume(self, spec.nodes)
        await cluster.start(self, spec.nodes)
        await cluster.revive(spec.nodes)
        wrong = await cluster.serving([name for name in spec.nodes if name not in self._idle], timeout=RETURN)
        serving = [name for name in spec.nodes if name not in wrong and name not in self._idle]
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=tuple(serving), detail=f"{len(serving)}/{len(spec.nodes)} serving")

    async def _run(self, name: str, seconds: float, cluster: Cluster) -> None:
        began = cluster.clock()
        spent = await cluster.let_run(self, name, seconds, MOST * seconds)
        if spent is not None:
            self._starts[name].add(spent, (cluster.clock() - began) / 1e9)

    def _so_far(self, cluster: Cluster) -> float:
        return (cluster.clock() - self._began) / 1e9
