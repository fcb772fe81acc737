"""Clocks that are wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import msgspec

from splitbrain.harness.history.fault import Figure, Proof, Skew
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector, ended_meanwhile, figure, kept_by_others, meant_to_serve

STEP = 0.1
"""Seconds between two steps of a clock that drifts."""
INEXACT = 1.5
"""Seconds that a clock may be off what it is meant to be: some servers tell whole seconds, and are asked twice. What drifts is
not changed while it is asked."""
TELLS = 0.01
"""The same of a machine that tells its clock itself, held against its time since it was started."""


class SkewInjector(Injector[Skew]):
    """Puts clocks wrong. Proven by asking each server for its clock, before, meanwhile and after; one that drifts is not proven
    until it is so far ahead that it can be told."""

    def __init__(self) -> None:
        self._before: dict[str, float] = {}
        self._deaths: Mapping[str, int] = {}
        self._began = 0
        self._drifted = 0.0
        """Seconds by which a clock that drifts was put ahead."""
        self._told = False
        """Whether it was seen ahead by more than may be wrong with what a server tells."""

    async def start(self, spec: Skew, cluster: Cluster) -> Proof:
        """Ask, put the clocks wrong, and ask again. A clock that nobody tells is wrong."""
        self._deaths = cluster.deaths(spec.nodes)
        asked = await cluster.ahead(spec.nodes)
        self._before = {name: ahead.seconds - ahead.meant for name, ahead in asked.items()}
        self._began = cluster.clock()
        changed = await cluster.skew(self, dict.fromkeys(spec.nodes, round((spec.offset or spec.drift * STEP) * 1e9)))
        return await self._proof(spec, cluster, changed)

    async def during(self, spec: Skew, cluster: Cluster) -> None:
        """What drifts goes on, ten times a second, and what jumps to and fro does so."""
        number = 0
        while spec.drift or spec.every:
            await asyncio.sleep(spec.every or STEP)
            number += 1
            seconds = spec.offset * (number % 2 == 0) if spec.every else spec.offset
            self._drifted = spec.drift * (cluster.clock() - self._began) / 1e9
            seconds += self._drifted
            await cluster.skew(self, dict.fromkeys(spec.nodes, round(seconds * 1e9)))
            if not self._told and abs(self._drifted) > 2 * INEXACT:
                self._told = (await self._proof(spec, cluster, Changed(cluster.clock(), 0))).holds

    async def still(self, spec: Skew, cluster: Cluster) -> Proof | None:
        """Ask again, where another fault has not taken every one of them since: there is no clock then to be wrong. Who has
        ended by himself meanwhile had a right one from then on, whoever was started in his place."""
        if died := ended_meanwhile(self._deaths, cluster):
            return died
        proof = await self._proof(spec, cluster, Changed(cluster.clock(), 0)) if meant_to_serve(spec.nodes, cluster) else None
        if not spec.drift:
            return proof
        last = "".join(f"in the end {str(figure).removeprefix('ahead ')}" for figure in proof.figures[:1]) if proof else ""
        if proof is None and self._told:
            return None
        if proof is not None and (self._told or not proof.holds or abs(self._drifted) > INEXACT):
            return msgspec.structs.replace(proof, detail=last)
        at, few = cluster.clock(), "too little to be told from what a server says of its clock"
        return Proof(holds=False, acted=at, at=at, wrong=spec.nodes, detail=", ".join(filter(None, (last, few))))

    async def undo(self, spec: Skew, cluster: Cluster) -> Proof:
        """Put the clocks right, and ask. A server that another fault keeps is not asked: it goes on, or is started again, with
        the clock that was put right. One that another fault has just let go of is waited for."""
        changed = await cluster.skew(self, dict.fromkeys(spec.nodes, 0))
        await cluster.serving(spec.nodes, timeout=RETURN)
        held = kept_by_others(spec.nodes, cluster)
        if not meant_to_serve(spec.nodes, cluster):
            wrong, figures = await _machines(spec, cluster)
            return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                         figures=figures, detail=held)
        return msgspec.structs.replace(await self._proof(spec, cluster, changed), detail=held)

    async def _proof(self, spec: Skew, cluster: Cluster, changed: Changed) -> Proof:
        """One that is down or stands still cannot be asked; a machine can."""
        ahead = await cluster.ahead(meant_to_serve(spec.nodes, cluster))
        off = {name: ahead[name].seconds - self._before.get(name, 0.0) for name in ahead}
        meant = {name: ahead[name].meant for name in ahead}
        wrong = tuple(name for name in spec.nodes if (name not in off and name not in cluster.out())
                      or (name in off and abs(off[name] - meant[name]) > INEXACT))
        off_too, machines = await _machines(spec, cluster)
        wrong = tuple(name for name in spec.nodes if name in wrong + off_too)
        figures = (*((figure("ahead", "s", list(meant.values()), list(off.values())),) if off else ()), *machines)
        return Proof(holds=not wrong and bool(off), acted=changed.at, at=cluster.clock(), spread=changed.spread,
                     wrong=wrong or (() if off else spec.nodes), measured=tuple(off), figures=figures)


async def _machines(spec: Skew, cluster: Cluster) -> tuple[tuple[str, ...], tuple[Figure, ...]]:
    """Which machines' own clocks are not as they are meant to be, where those are put wrong, and what they told."""
    told = await cluster.machines_ahead(spec.nodes)
    wrong = tuple(name for name, one in told.items() if abs(one.seconds - one.meant) > TELLS + one.took / 2)
    meant, seen = [one.meant for one in told.values()], [one.seconds for one in told.values()]
    return wrong, (figure("machine ahead", "s", meant, seen),) if told else ()
