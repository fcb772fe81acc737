"""What happens to machines whose power goes, and to disks whose syncs are slow.

Whoever acknowledges a write only after it was synced (fsync) loses nothing at a power loss, where it also synced the names of
its files; after a `kill` the operating system still has what it was given, after this it has not. What may survive of what was
not synced is said by `harness/testbeds/volatile.py`.
"""

from __future__ import annotations

import asyncio
import random
from statistics import median
from typing import Annotated, Any, ClassVar

import msgspec

from splitbrain.harness.history.fault import Figure, Kill, Nodes, Other, Proof, Spec
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability, Unwritten
from splitbrain.harness.testbeds.volatile import How
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import Injector
from splitbrain.nemeses.injectors.processes import KillInjector
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.processes import Processes
from splitbrain.nemeses.roles import nodes_of

ATTEMPTS = 5
"""How often a sync that should be quick again is tried: a machine has other work."""


class PowerLoss(Processes):
    """Servers are killed, and of what they wrote and did not sync the disk has only what `unsynced` says. Started again at the
    end."""

    name: ClassVar[str] = "power-loss"
    summary: ClassVar[str] = "the servers killed and all that was not fsynced gone, by role, later started again"
    needs: ClassVar[frozenset[Ability]] = frozenset({"end", "unplug"})
    usual: ClassVar[tuple[str, ...]] = ("all", "primary", "minority")

    class Options(OptionTable, frozen=True):
        """What becomes of it."""

        unsynced: Annotated[How, Setting(
            "What is left of unsynced writes: nothing (drop), the first of them and pages of one (tear), or each page as it "
            "was at some moment (reorder)."
        )] = "drop"

    options: Options

    def spec(self, nodes: Nodes) -> Other:
        return Other(nodes=nodes, name=self.name, does="take the power from", undoing="power on", like="had no power",
                     options={"unsynced": self.options.unsynced, "seed": 0})

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        spec = self.spec(nodes_of(scenario, view, rng))
        return (msgspec.structs.replace(spec, options={**spec.options, "seed": rng.randrange(1 << 32)}),)

    def injector(self, spec: Spec) -> Injector[Any]:
        return PowerLossInjector()


class PowerLossInjector(Injector[Other]):
    """Ends servers and takes the power from their disks. That they are down is proven by connections that are refused; what
    the disks lost is what they count themselves, and told also where it is nothing."""

    def __init__(self) -> None:
        self._servers = KillInjector()
        self._lost = False

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Kill all at once, then lose what was not synced."""
        proof = await self._servers.start(Kill(spec.nodes), cluster)
        lost = await cluster.lose_power(spec.nodes, spec.options["unsynced"], spec.options["seed"])
        self._lost = any(one.steps or one.writes for one in lost.values())
        wrong = tuple(dict.fromkeys([*proof.wrong, *(name for name in spec.nodes if name not in lost)]))
        down = f"{len(spec.nodes) - len(proof.wrong)}/{len(spec.nodes)} down"
        return msgspec.structs.replace(
            proof, holds=not wrong, wrong=wrong, at=cluster.clock(), detail=f"{down}, {told(lost)}",
            measured=tuple(name for name, one in lost.items() if one.steps or one.writes),
        )

    async def still(self, spec: Other, cluster: Cluster) -> Proof | None:
        """Whether they are down. Where another fault had them down all the time, whether the disks lost something."""
        proof = await self._servers.still(Kill(spec.nodes), cluster)
        return None if self._lost and not cluster.struck(self._servers) else proof

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Start them on what the disks have."""
        proof = await self._servers.undo(Kill(spec.nodes), cluster)
        serving = f"{len(proof.measured)}/{len(spec.nodes)} serving"
        return msgspec.structs.replace(proof, detail=", ".join(filter(None, [serving, proof.detail])))


def told(lost: dict[str, Unwritten]) -> str:
    """What disks lost, in words. One on which nothing was unsynced lost no more than a kill would have taken."""
    parts = []
    for name, one in lost.items():
        what = [f"{one.writes} writes ({one.bytes} bytes)"] if one.writes else []
        what += [f"{one.steps} changes of names or lengths"] if one.steps else []
        if what:
            parts.append(f"{name} lost {' and '.join(what)}")
    untouched = [name for name, one in lost.items() if not one.writes and not one.steps]
    if untouched:
        parts.append(f"nothing to lose on the disk of {' '.join(untouched)}")
    return ", ".join(parts)


class SlowFsync(Processes):
    """Every sync takes longer: a disk at its limit, a network disk that stutters."""

    name: ClassVar[str] = "slow-fsync"
    summary: ClassVar[str] = "every fsync takes longer on the disk of the data folder, by role"
    needs: ClassVar[frozenset[Ability]] = frozenset({"unplug"})

    class Options(OptionTable, frozen=True):
        """How much."""

        delay: Annotated[int, Setting("How much longer a sync takes.", unit="ms", low=10, high=60_000)] = 200

    options: Options

    def spec(self, nodes: Nodes) -> Spec:
        return Other(nodes=nodes, name=self.name, does=f"let every fsync take {self.options.delay} ms longer on",
                     undoing="fsync as before", options={"delay": self.options.delay})

    def injector(self, spec: Spec) -> Injector[Any]:
        return SlowFsyncInjector()


class SlowFsyncInjector(Injector[Other]):
    """Makes syncs slow. Proven by syncs of a file of the harness' own in the folder, which are timed."""

    async def start(self, spec: Other, cluster: Cluster) -> Proof:
        """Slow them down, and time one."""
        return await self._proof(spec, cluster, await cluster.slow(self, spec.nodes, spec.options["delay"] / 1000))

    async def still(self, spec: Other, cluster: Cluster) -> Proof:
        """Time one again."""
        return await self._proof(spec, cluster, Changed(cluster.clock(), 0))

    async def undo(self, spec: Other, cluster: Cluster) -> Proof:
        """Let go, and time one."""
        changed = await cluster.slow(self, spec.nodes, 0.0)
        for _ in range(ATTEMPTS - 1):
            proof = await self._proof(spec, cluster, changed)
            if proof.holds:
                return proof
        return await self._proof(spec, cluster, changed)

    async def _proof(self, spec: Other, cluster: Cluster, changed: Changed) -> Proof:
        meant = [1000 * cluster.slowed(name) for name in spec.nodes]
        seen = await asyncio.gather(*(cluster.testbed.timed_sync(name) for name in spec.nodes))
        slack = 0.9 * spec.options["delay"]
        wrong = tuple(name for name, least, took in zip(spec.nodes, meant, seen, strict=True)
                      if took < 0.9 * least or (not least and took > slack))
        figure = Figure("fsync", "ms", *(round(one, 1) for one in (max(meant), median(seen), min(seen), max(seen))))
        return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                     measured=spec.nodes, figures=(figure,), detail=str(figure))
