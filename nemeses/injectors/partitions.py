"""Links that lose every packet, all the time or in turn."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence

import msgspec

from splitbrain.harness.history.fault import Cut, Flap, Link, Proof
from splitbrain.harness.testbeds.testbed import everything
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import HEAL_TIMEOUT, PROVE_TIMEOUT, Injector


class CutInjector(Injector[Cut]):
    """Loses packets. Proven on every link, so that what else is in force counts as meant."""

    async def start(self, spec: Cut, cluster: Cluster) -> Proof:
        """Cut, and probe every link. Raises `SetupError` where a node's firewall refuses."""
        async with cluster.network:
            changed = await cluster.cut(self, spec.links)
            return await self._probe(spec, cluster, changed, PROVE_TIMEOUT)

    async def still(self, spec: Cut, cluster: Cluster) -> Proof:
        """Probe every link again."""
        async with cluster.network:
            return await self._probe(spec, cluster, Changed(cluster.clock(), 0), PROVE_TIMEOUT)

    async def undo(self, spec: Cut, cluster: Cluster) -> Proof:
        """Put the links back that nobody else cuts, and probe every link."""
        async with cluster.network:
            changed = await cluster.mend(self)
            proof = await self._probe(spec, cluster, changed, HEAL_TIMEOUT)
            others = len(everything(cluster.names).edges) - len(cluster.connectivity().edges)
            return msgspec.structs.replace(proof, detail=f"another fault cuts {others}") if others else proof

    async def _probe(self, spec: Cut, cluster: Cluster, changed: Changed, timeout: float) -> Proof:
        reach, wrong = await cluster.probe(timeout=timeout)
        measured = tuple(link for link in reach.cut() if link in spec.links)
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=measured)


class FlapInjector(Injector[Flap]):
    """Cuts links and mends them in turn. Each time every link is probed; a link counts as down, or up, as often as packets said
    so. What else is in force counts as meant."""

    def __init__(self) -> None:
        self._downs: Counter[Link] = Counter()
        self._ups: Counter[Link] = Counter()
        self._wrong: dict[Link, None] = {}

    async def start(self, spec: Flap, cluster: Cluster) -> Proof:
        """Cut for the first time. Raises `SetupError` where a node's firewall refuses."""
        changed = await self._turn(spec, cluster, down=True)
        return self._proof(spec, cluster, changed, tuple(link for link in spec.links if not self._downs[link]), "")

    async def during(self, spec: Flap, cluster: Cluster) -> None:
        """Mend, cut, and so on. A turn takes as long as its proof does, where that is longer."""
        acted, down = cluster.clock(), True
        while True:
            length = spec.down if down else spec.up
            await asyncio.sleep(max(0.0, length - (cluster.clock() - acted) / 1e9))
            down = not down
            acted = (await self._turn(spec, cluster, down=down)).at

    async def still(self, spec: Flap, cluster: Cluster) -> Proof:
        """Whether each link was down twice at least, and up in between: else it was a cut."""
        wrong = tuple(link for link in spec.links if self._downs[link] < 2 or not self._ups[link])
        return self._proof(spec, cluster, Changed(cluster.clock(), 0), wrong, self._told(spec))

    async def undo(self, spec: Flap, cluster: Cluster) -> Proof:
        """Put the links back that nobody else cuts, and probe every link."""
        async with cluster.network:
            changed = await cluster.mend(self)
            _, wrong = await cluster.probe(timeout=HEAL_TIMEOUT)
        self._wrong.clear()
        return self._proof(spec, cluster, changed, wrong, self._told(spec))

    async def _turn(self, spec: Flap, cluster: Cluster, *, down: bool) -> Changed:
        async with cluster.network:
            changed = await (cluster.cut(self, spec.links) if down else cluster.mend(self))
            reach, wrong = await cluster.probe(timeout=HEAL_TIMEOUT)
        cut = set(reach.cut())
        for link in spec.links:
            self._downs[link] += down and link in cut
            self._ups[link] += not down and link not in cut and link not in wrong
        self._wrong |= dict.fromkeys(wrong)
        return changed

    def _proof(self, spec: Flap, cluster: Cluster, changed: Changed, wrong: Sequence[Link], detail: str) -> Proof:
        wrong = tuple(dict.fromkeys([*wrong, *self._wrong]))
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=tuple(link for link in spec.links if self._downs[link]), detail=detail)

    def _told(self, spec: Flap) -> str:
        def times(counts: Counter[Link]) -> str:
            each = [counts[link] for link in spec.links] or [0]
            return f"{min(each)}{'' if min(each) == max(each) else f' to {max(each)}'} times"

        return f"{times(self._downs)} down and {times(self._ups)} up"
