"""A server that comes back slowly: it was killed, and has hardly any of the processor until it serves again.

So does a machine that has others' work to do as well, or that starts everything at once after a power cut. Who waits for it
waits longer; who counts on it (a supervisor, a quorum of which it is the last) may give up or act twice.
"""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, ClassVar

from splitbrain.harness.history.fault import Nodes, Other, Proof, Spec
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors import RETURN, SILENCE, Injector
from splitbrain.nemeses.processes import Processes

ROUND = 1.0
"""Seconds in which a server stands still and then runs once."""
SLOW = 0.9
"""Seconds that a server stands still at least before it serves, to have started slowly."""


class SlowStart(Processes):
    """SIGKILL; started again, and stood still for nearly all of the time (SIGSTOP, SIGCONT, in turn) until it serves."""

    name: ClassVar[str] = "slow-start"
    summary: ClassVar[str] = "kill -9 of the servers by role, which then may hardly run (1% of the time) until they serve again"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "pause"})

    class Options(OptionTable, frozen=True):
        """How slowly."""

        percent: Annotated[int, Setting(
            "The part of the time in which a server may run while it starts; that it stands still again takes more.",
            unit="%", low=1, high=50)] = 1

    options: Options

    def spec(self, nodes: Nodes) -> Spec:
        return Other(nodes=nodes, name=self.name, does="kill and slowly start", undoing="let start", like="came back slowly",
                     options={"percent": self.options.percent})

    def injector(self, spec: Spec) -> Injector[Any]:
        return SlowStartInjector()


class SlowStartInjector(Injector[Other]):
    """Ends servers and starts them slowly. Proven by the time from their start to a connection that they take, and by the part
    of it in which they could run: a start as ever takes that long, and what it waits for others."""

    def __init__(self) -> None:
        self._idle: tuple[str, ...] = ()
        """The nodes on which nothing ran."""
        self._began = 0
        self._ran = 0.0
        """Seconds for which those could run that do not serve yet."""
        self._served: dict[str, tuple[float, float]] = {}
        """Node → seconds until it served, and for which of them it could run."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """End them, and start them so that they stand still at once. A node on which nothing runs is wrong."""
        self._idle = (await cluster.end(self, spec.nodes)).idle
        await cluster.pause(self, spec.nodes)
        changed = await cluster.start(self, spec.nodes)
        self._began = changed.at
        silent = await cluster.silent(spec.nodes, timeout=SILENCE)
        wrong = tuple(name for name in spec.nodes if name in self._idle or name not in silent)
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=silent, detail=f"{len(silent)}/{len(spec.nodes)} not serving yet")

    async def during(self, spec: Other, cluster: Cluster) -> None:
        """Let them run for the end of each round, until they serve; who serves runs as ever."""
        run = ROUND * spec.options["percent"] / 100
        while left := [name for name in spec.nodes if name not in self._served and name not in self._idle]:
            await asyncio.sleep(ROUND - run)
            asked = asyncio.ensure_future(cluster.silent(left, timeout=run + SILENCE))
            began = cluster.clock()
            try:
                await cluster.resume(self, left)
                await asyncio.sleep(run)
                await cluster.pause(self, left)
                self._ran += (cluster.clock() - began) / 1e9
                silent = await asked
            finally:
                asked.cancel()
            serving = [name for name in left if name not in silent]
            self._served |= dict.fromkeys(serving, (self._so_far(cluster), self._ran))
            await cluster.resume(self, serving)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Whether they were slow to serve, or do not yet."""
        at = cluster.clock()
        times = {name: self._served.get(name, (self._so_far(cluster), self._ran)) for name in spec.nodes}
        wrong = tuple(name for name, (took, ran) in times.items() if name in self._idle or took - ran < SLOW)
        told = [f"{name} {'served' if name in self._served else 'did not serve'} in {took:.1f} s, of which it could run for "
                f"{ran:.2f} s ({ran / took:.0%}, intended {spec.options['percent']}%)" for name, (took, ran) in times.items()]
        return Proof(holds=not wrong, acted=at, at=at, wrong=wrong, measured=spec.nodes, detail="; ".join(told))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Let them run, start who ended meanwhile, and wait until they serve."""
        changed = await cluster.resume(self, spec.nodes)
        await cluster.start(self, spec.nodes)
        await cluster.revive(spec.nodes)
        wrong = await cluster.serving([name for name in spec.nodes if name not in self._idle], timeout=RETURN)
        serving = [name for name in spec.nodes if name not in wrong and name not in self._idle]
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=tuple(serving), detail=f"{len(serving)}/{len(spec.nodes)} serving")

    def _so_far(self, cluster: Cluster) -> float:
        return (cluster.clock() - self._began) / 1e9
