"""A newcomer's nemesis: one file, with an injector of its own that fills a folder, proves it and undoes it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import splitbrain
from splitbrain import Cluster, NoTarget, Other, Outlook, Proof

BOUND = 8192
"""KiB in the folder, at which it counts as full."""


class FullFolder(splitbrain.Nemesis):
    """The data folder of one node, filled up to a bound."""

    name: ClassVar[str] = "full-folder"
    summary: ClassVar[str] = "fill the data folder of a node up to 8 MiB, and empty it again"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("one-folder",)

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Other, ...]:
        free = [name for name in view.names if name not in view.out]
        if not free:
            raise NoTarget("every node is down")
        chosen = (rng.choice(free),)
        return (Other(name=self.name, nodes=chosen, does="fill the folder of", undoing="empty", options={"kib": BOUND}),)

    def injector(self, spec: Any) -> splitbrain.Injector[Any]:
        return Filling()


class Filling(splitbrain.Injector[Other]):
    """Writes one file of what the folder lacks to the bound. The disk itself tells how full the folder is, before and after."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        lacking = max(0, spec.options["kib"] - await self._full(spec, cluster))
        await self._run(spec, cluster, "dd", "if=/dev/zero", "of=ballast", "bs=1024", f"count={lacking}")
        return await self._proof(spec, cluster, full=True)

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        return await self._proof(spec, cluster, full=True)

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        await self._run(spec, cluster, "rm", "-f", "ballast")
        return await self._proof(spec, cluster, full=False)

    async def _proof(self, spec: Other, cluster: Cluster, *, full: bool) -> Proof:
        acted = cluster.clock()
        kib = await self._full(spec, cluster)
        right = (kib >= spec.options["kib"]) == full
        return Proof(holds=right, acted=acted, at=cluster.clock(), wrong=() if right else spec.nodes, measured=spec.nodes,
                     detail=f"{'full' if kib >= spec.options['kib'] else 'not full'} ({spec.options['kib']} KiB)")

    async def _full(self, spec: Other, cluster: Cluster) -> int:
        """KiB that the folder takes on the disk."""
        return int((await self._run(spec, cluster, "du", "-sk", ".")).split()[0])

    async def _run(self, spec: Other, cluster: Cluster, *command: str) -> str:
        (node,) = (node for node in cluster.testbed.nodes if node.name in spec.nodes)
        return (await node.run(command)).stdout
