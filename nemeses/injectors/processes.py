"""Servers that are killed, or stand still."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import msgspec

from splitbrain.harness.history.fault import Kill, Pause, Proof
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector, ended_meanwhile, figure, kept_by_others, meant_to_serve

SILENCE = 0.3
"""How long, in seconds, a server that stands still is given to take a connection."""
JUST = (0.8, 1.4)
"""How many times its database's own time a pause lasts, from and to, that is told to be just under or over it."""


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
        """Whether they are down still, where nobody was to start them, and whether that was not another fault's doing alone."""
        if not cluster.struck(self):
            return _others_doing(spec.nodes, cluster)
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
    """Has servers stand still. Proven by connections that nobody takes; how long they did is measured, and held against the
    time after which the database takes a server for gone."""

    def __init__(self) -> None:
        self._idle: tuple[str, ...] = ()
        self._since: int | None = None
        self._deaths: Mapping[str, int] = {}
        self._stood: set[str] = set()
        """The nodes on which a server was seen to stand still, and not only to be down of another fault."""

    async def start(self, spec: Pause, cluster: Cluster) -> Proof:
        """Have every server of the nodes stand still, and connect to each. A node on which nothing runs is wrong."""
        self._deaths = cluster.deaths(spec.nodes)
        changed = await cluster.pause(self, spec.nodes)
        self._idle, self._since = changed.idle, changed.at
        return self._seen(await _out(spec.nodes, cluster, changed, silence=_brief(spec)), cluster)

    async def still(self, spec: Pause, cluster: Cluster) -> Proof:
        """Whether they stand still, and at least one of them did so: a server that is down does not, nor did one that has ended
        meanwhile, whoever was started in its place."""
        if died := ended_meanwhile(self._deaths, cluster):
            return died
        if not cluster.struck(self):
            return _others_doing(spec.nodes, cluster)
        proof = self._seen(await _out(spec.nodes, cluster, Changed(cluster.clock(), 0), silence=_brief(spec)), cluster)
        return proof if self._stood else msgspec.structs.replace(proof, holds=False, wrong=spec.nodes)

    def _seen(self, proof: Proof, cluster: Cluster) -> Proof:
        """The proof, of those alone who were not down of another fault; whoever was is told beside it."""
        silent = [str(node) for node in proof.measured]
        down = cluster.down(silent)
        self._stood |= set(silent) - set(down)
        measured = tuple(node for node in silent if node not in down)
        return msgspec.structs.replace(proof, measured=measured, detail=f"{' '.join(down)} down" if down else "")

    async def undo(self, spec: Pause, cluster: Cluster) -> Proof:
        """Have them go on, and wait until they serve."""
        changed = await cluster.resume(self, spec.nodes)
        proof = await _back([name for name in spec.nodes if name not in self._idle], cluster, changed)
        if self._since is None or self._idle or proof.detail:
            return proof
        stood = (changed.at - changed.spread - self._since) / 1e9
        figures = (figure("stood still", "s", [spec.length], [stood]),) if spec.length else ()
        return msgspec.structs.replace(proof, figures=figures, detail=_against(stood, cluster))


def _brief(spec: Pause) -> float:
    """How long a server that stands still is given to take a connection: no more than a part of a short pause."""
    return min(SILENCE, spec.length / 4) if spec.length else SILENCE


def _against(seconds: float, cluster: Cluster) -> str:
    """How long servers stood still, and how long that is for their database; empty where there is none."""
    if cluster.database is None:
        return ""
    told = f"stood still for {seconds:.2f} s"
    detection = cluster.detection
    if detection is None:
        return f"{told} (after how long others miss a server is not known of it)"
    times = seconds / detection.seconds
    just = "just " if JUST[0] < times < JUST[1] else ""
    return f"{told}, {just}{'under' if times < 1 else 'over'} its {detection.name} of {detection.seconds:g} s"


def _others_doing(nodes: tuple[str, ...], cluster: Cluster) -> Proof:
    """What befell these nodes befell them by another fault from first to last: this one did nothing."""
    at = cluster.clock()
    return Proof(holds=False, acted=at, at=at, wrong=nodes, detail="another fault had done it already")


async def _out(nodes: tuple[str, ...], cluster: Cluster, changed: Changed, silence: float = SILENCE) -> Proof:
    silent = await cluster.silent(nodes, timeout=silence)
    wrong = tuple(name for name in nodes if name not in silent or name in changed.idle)
    return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=silent)


async def _back(nodes: Sequence[str], cluster: Cluster, changed: Changed) -> Proof:
    wrong = await cluster.serving(nodes, timeout=RETURN)
    serving = tuple(name for name in meant_to_serve(nodes, cluster) if name not in wrong)
    return Proof(
        holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=serving,
        detail=kept_by_others(nodes, cluster),
    )
