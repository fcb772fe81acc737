"""A nemesis of somebody's own, in one file: it fills the data folder of a node, proves it and undoes it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

import splitbrain
from splitbrain import Cluster, NoTarget, Other, Outlook, Proof

SIZE = "65536"


class Fullness(splitbrain.Nemesis):
    """Sixty-four KiB more in the data folder of one node."""

    name: ClassVar[str] = "fullness"
    summary: ClassVar[str] = "a data folder that grows"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("one-folder",)

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Other, ...]:
        free = [name for name in view.names if name not in view.out]
        if not free:
            raise NoTarget("every node is down")
        chosen = (rng.choice(free),)
        return (Other(name=self.name, nodes=chosen, does="fill the folder of", undoing="empty", options={"by": SIZE}),)

    def injector(self, spec: Any) -> splitbrain.Injector[Any]:
        return Filling()


class Filling(splitbrain.Injector[Other]):
    """Writes one file, and looks at its size."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        return await self._do(spec, cluster, ("truncate", "-s", spec.options["by"], "ballast"), spec.options["by"])

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        return await self._do(spec, cluster, ("rm", "-f", "ballast"), "")

    async def _do(self, spec: Other, cluster: Cluster, command: tuple[str, ...], wanted: str) -> Proof:
        (node,) = (node for node in cluster.testbed.nodes if node.name in spec.nodes)
        await node.run(command)
        acted = cluster.clock()
        size = (await node.run(("stat", "-c", "%s", "ballast"))).stdout.strip()
        right = size == wanted
        return Proof(holds=right, acted=acted, at=cluster.clock(), wrong=() if right else spec.nodes, measured=spec.nodes,
                     detail=f"{size or 'no'} bytes there")
