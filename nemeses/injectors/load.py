"""Clients that are more, silent, cut off from their nodes, or try again."""

from __future__ import annotations

import asyncio

from splitbrain.harness.history.fault import Hush, Place, Proof, Retry, Sever, Surge
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors.injector import PROVE_TIMEOUT, RETURN, Injector, figure

BROKEN_OFF = 0.05
"""Seconds in which calls that are broken off have ended: an answer that had come already is still taken."""
COUNTED = 0.5
"""Seconds for which calls are counted."""
STORM = 0.1
"""The part of the calls that failed which must have been tried again at a server."""


class SurgeInjector(Injector[Surge]):
    """Brings more clients. Proven by the load: every one that came has begun a call. How many calls that makes is measured, and
    is the servers' and the machine's to say: where they are at their limit already, more clients only wait longer."""

    async def start(self, spec: Surge, cluster: Cluster) -> Proof:
        """Count calls, bring the clients, and count again."""
        if cluster.load is None:
            return Proof(holds=False, acted=cluster.clock(), at=cluster.clock(), wrong=spec.homes)
        before = await _calls(cluster)
        acted = cluster.clock()
        came, begun = await cluster.load.join(self, spec.homes, spec.times)
        holds = 0 < came == begun
        seen = await _calls(cluster)
        meant = before * (1 + (spec.times - 1) * len(spec.homes) / len(cluster.names))
        return Proof(holds=holds, acted=acted, at=cluster.clock(), wrong=() if holds else spec.homes, measured=spec.homes,
                     figures=(figure("calls", "a second", [meant], [seen]),), detail=f"{begun} of {came} clients came")

    async def undo(self, spec: Surge, cluster: Cluster) -> Proof:
        """Send them away."""
        gone = await cluster.load.leave(self) if cluster.load is not None else 0
        return Proof(holds=True, acted=cluster.clock(), at=cluster.clock(), measured=spec.homes, detail=f"{gone} clients gone")


class HushInjector(Injector[Hush]):
    """Has clients be silent. Proven by the load, which counts no call at these homes, from the moment at which none was open
    any more to the end."""

    def __init__(self) -> None:
        self._calls: dict[str, int] = {}

    async def start(self, spec: Hush, cluster: Cluster) -> Proof:
        """Wait for what is open, and count."""
        if cluster.load is None:
            return Proof(holds=False, acted=cluster.clock(), at=cluster.clock(), wrong=spec.homes)
        await cluster.load.hush(self, spec.homes)
        acted = cluster.clock()
        self._calls = {home: cluster.load.calls([home]) for home in spec.homes}
        await asyncio.sleep(COUNTED)
        return self._counted(spec, cluster, acted)

    async def still(self, spec: Hush, cluster: Cluster) -> Proof:
        """Count again."""
        return self._counted(spec, cluster, cluster.clock())

    async def undo(self, spec: Hush, cluster: Cluster) -> Proof:
        """Let them call."""
        if cluster.load is not None:
            await cluster.load.relent(self)
        return Proof(holds=True, acted=cluster.clock(), at=cluster.clock(), measured=spec.homes, detail="calls again")

    def _counted(self, spec: Hush, cluster: Cluster, acted: int) -> Proof:
        made = {} if cluster.load is None else {home: cluster.load.calls([home]) - self._calls[home] for home in spec.homes}
        wrong = tuple(home for home in spec.homes if made.get(home) != 0)
        return Proof(holds=not wrong, acted=acted, at=cluster.clock(), wrong=wrong, measured=spec.homes,
                     detail=f"{sum(made.values()):,} calls")


class SeverInjector(Injector[Sever]):
    """Cuts clients off from their nodes. Proven from the clients' side by the load: they call, and nothing is answered, from
    first to last; and that it is no partition of servers by probes of every link and by connections that the nodes take."""

    def __init__(self) -> None:
        self._begun: dict[str, int] = {}
        self._answered: dict[str, int] = {}

    async def start(self, spec: Sever, cluster: Cluster) -> Proof:
        """Cut off, and count calls and answers."""
        if cluster.load is None:
            return Proof(holds=False, acted=cluster.clock(), at=cluster.clock(), wrong=spec.homes)
        cluster.load.sever(self, spec.homes)
        await asyncio.sleep(BROKEN_OFF)
        acted = cluster.clock()
        self._answered = {home: cluster.load.answered([home]) for home in spec.homes}
        self._begun = {home: cluster.load.calls([home]) for home in spec.homes}
        await asyncio.sleep(COUNTED)
        return await self._counted(spec, cluster, acted)

    async def still(self, spec: Sever, cluster: Cluster) -> Proof:
        """Count again."""
        return await self._counted(spec, cluster, cluster.clock())

    async def undo(self, spec: Sever, cluster: Cluster) -> Proof:
        """Link them again, and wait until something is answered at each home whose node serves and that nobody else cuts off;
        where no calls are made any more, that its node takes a connection."""
        if cluster.load is None:
            return Proof(holds=True, acted=cluster.clock(), at=cluster.clock())
        before = {home: cluster.load.answered([home]) for home in spec.homes}
        await cluster.load.relent(self)
        acted = cluster.clock()
        silent, held = spec.homes, frozenset[str]()
        while silent and cluster.clock() - acted < RETURN * 1e9 and not cluster.load.stopped:
            await asyncio.sleep(COUNTED / 10)
            held |= {home for home in silent if cluster.load.severed(home) or cluster.troubled(home)}
            silent = tuple(home for home in silent if home not in held and cluster.load.answered([home]) == before[home])
        if cluster.load.stopped:
            silent = await cluster.silent(silent, timeout=PROVE_TIMEOUT)
        again = tuple(home for home in spec.homes if home not in silent and home not in held)
        told = ((again, "answered again"), (silent, "not answered again"), (sorted(held), "still in another fault"))
        return Proof(holds=not silent, acted=acted, at=cluster.clock(), wrong=silent, measured=again,
                     detail=", ".join(f"{' '.join(homes)} {what}" for homes, what in told if homes))

    async def _counted(self, spec: Sever, cluster: Cluster, acted: int) -> Proof:
        load = cluster.load
        assert load is not None
        begun = {home: load.calls([home]) - self._begun[home] for home in spec.homes}
        answered = {home: load.answered([home]) - self._answered[home] for home in spec.homes}
        silent = await cluster.silent([name for name in spec.homes if name not in cluster.out()], timeout=PROVE_TIMEOUT)
        async with cluster.network:
            _, links = await cluster.probe(timeout=PROVE_TIMEOUT)
        wrong: tuple[Place, ...] = tuple(home for home in spec.homes if answered[home] or not begun[home] or home in silent)
        wrong += links
        return Proof(holds=not wrong, acted=acted, at=cluster.clock(), wrong=wrong, measured=spec.homes,
                     detail=f"{sum(answered.values()):,} of {sum(begun.values()):,} calls there were answered")


class RetryInjector(Injector[Retry]):
    """Has clients try again what fails. Proven at its end by the load, which counts the tries: where nothing failed there was
    no storm, nor where no server was in reach of nearly all whose calls did."""

    async def start(self, spec: Retry, cluster: Cluster) -> Proof:
        """From now on."""
        if cluster.load is not None:
            cluster.load.persist(self, spec.homes, spec.tries)
        at = cluster.clock()
        return Proof(holds=cluster.load is not None, acted=at, at=at, measured=spec.homes, detail="clients told to try again")

    async def still(self, spec: Retry, cluster: Cluster) -> Proof:
        """Count."""
        failed, tries, lost = cluster.load.persisted(self) if cluster.load is not None else (0, 0, 0)
        at = cluster.clock()
        nowhere = f", {lost:,} of which had no server in reach to try" if lost else ""
        holds = tries > 0 and failed - lost >= STORM * failed
        return Proof(holds=holds, acted=at, at=at, wrong=() if holds else spec.homes, measured=spec.homes,
                     detail=f"{tries:,} more tries of {failed:,} calls that failed{nowhere}")

    async def undo(self, spec: Retry, cluster: Cluster) -> Proof:
        """No more."""
        told = (await self.still(spec, cluster)).detail
        if cluster.load is not None:
            await cluster.load.relent(self)
        return Proof(holds=True, acted=cluster.clock(), at=cluster.clock(), measured=spec.homes, detail=told)


async def _calls(cluster: Cluster) -> float:
    """Calls a second that the load makes, counted for `COUNTED` seconds."""
    if cluster.load is None:
        return 0.0
    calls, began = cluster.load.calls(cluster.names), cluster.clock()
    await asyncio.sleep(COUNTED)
    return (cluster.load.calls(cluster.names) - calls) / max(1, cluster.clock() - began) * 1e9
