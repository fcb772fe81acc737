"""Injectors: who does a spec, proves it by probes, and undoes it. One class for each kind of spec."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import msgspec

from splitbrain.harness.history.fault import Cut, Kill, Pause, Proof, Spec
from splitbrain.harness.testbeds.testbed import everything
from splitbrain.nemeses.cluster import Changed, Cluster

PROVE_TIMEOUT = 1.0
"""How long packets that should pass are waited for, in seconds, before a fault is called wrong."""
HEAL_TIMEOUT = 2.0
"""The same after heal."""
SILENCE = 0.3
"""How long, in seconds, a server that stands still is given to take a connection."""
RETURN = 25.0
"""How long, in seconds, a server that was started again may need until it takes connections."""

S = TypeVar("S", bound=Spec)


class Injector(ABC, Generic[S]):
    """Does one spec, and undoes it. `undo` must be right whenever it is called: also where `start` was never reached, or was
    cancelled at any point of it."""

    @abstractmethod
    async def start(self, spec: S, cluster: Cluster) -> Proof:
        """Do it, and prove it."""

    async def during(self, spec: S, cluster: Cluster) -> None:
        """What goes on while it is in force; cancelled before it is undone."""

    async def still(self, spec: S, cluster: Cluster) -> Proof | None:
        """Prove, just before it is undone, that it held to its end; None where there is nothing to prove."""
        return None

    @abstractmethod
    async def undo(self, spec: S, cluster: Cluster) -> Proof:
        """Undo it, and prove that."""


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


class KillInjector(Injector[Kill]):
    """Ends servers, and starts them again. Proven by connections that are refused, and later taken."""

    def __init__(self) -> None:
        self._times = 0
        self._idle: tuple[str, ...] = ()

    async def start(self, spec: Kill, cluster: Cluster) -> Proof:
        """End every server of the nodes, and connect to each. A node on which nothing ran is wrong."""
        changed = await cluster.end(self, spec.nodes, spec.signal)
        self._times, self._idle = 1, changed.idle
        return await _out(spec.nodes, cluster, changed)

    async def during(self, spec: Kill, cluster: Cluster) -> None:
        """Start them again after `down` seconds, end them again `up` seconds later, and so on."""
        while spec.down is not None:
            await asyncio.sleep(spec.down)
            await cluster.start(self, spec.nodes)
            if spec.up is None:
                return
            await asyncio.sleep(spec.up)
            await cluster.end(self, spec.nodes, spec.signal)
            self._times += 1

    async def still(self, spec: Kill, cluster: Cluster) -> Proof | None:
        """Whether they are down still, where nobody was to start them."""
        if spec.down is not None:
            return None
        return await _out(spec.nodes, cluster, Changed(cluster.clock(), 0))

    async def undo(self, spec: Kill, cluster: Cluster) -> Proof:
        """Start what is down, and wait until it serves. A node on which nothing ran is left as it was."""
        changed = await cluster.start(self, spec.nodes)
        proof = await _back([name for name in spec.nodes if name not in self._idle], cluster, changed)
        if spec.up is None:
            return proof
        told = [f"ended {self._times} times", *([proof.detail] if proof.detail else [])]
        return msgspec.structs.replace(proof, detail=", ".join(told))


class PauseInjector(Injector[Pause]):
    """Has servers stand still. Proven by connections that nobody takes."""

    def __init__(self) -> None:
        self._idle: tuple[str, ...] = ()

    async def start(self, spec: Pause, cluster: Cluster) -> Proof:
        """Have every server of the nodes stand still, and connect to each. A node on which nothing runs is wrong."""
        changed = await cluster.pause(self, spec.nodes)
        self._idle = changed.idle
        return await _out(spec.nodes, cluster, changed)

    async def still(self, spec: Pause, cluster: Cluster) -> Proof:
        """Whether they stand still."""
        return await _out(spec.nodes, cluster, Changed(cluster.clock(), 0))

    async def undo(self, spec: Pause, cluster: Cluster) -> Proof:
        """Have them go on, and wait until they serve."""
        changed = await cluster.resume(self, spec.nodes)
        return await _back([name for name in spec.nodes if name not in self._idle], cluster, changed)


async def _out(nodes: tuple[str, ...], cluster: Cluster, changed: Changed) -> Proof:
    silent = await cluster.silent(nodes, timeout=SILENCE)
    wrong = tuple(name for name in nodes if name not in silent or name in changed.idle)
    return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=silent)


async def _back(nodes: Sequence[str], cluster: Cluster, changed: Changed) -> Proof:
    wrong = await cluster.serving(nodes, timeout=RETURN)
    held = [name for name in nodes if name in cluster.out()]
    serving = tuple(name for name in nodes if name not in wrong and name not in held)
    return Proof(
        holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=serving,
        detail=f"another fault keeps {' '.join(held)}" if held else "",
    )


def injector(spec: Spec) -> Injector[Any]:
    """A new injector for a spec of ours. One from elsewhere comes from its nemesis (`Nemesis.injector`)."""
    match spec:
        case Cut():
            return CutInjector()
        case Kill():
            return KillInjector()
        case Pause():
            return PauseInjector()
        case _:
            raise TypeError(f"the nemesis that brings the spec '{spec.name}' brings no injector for it")
