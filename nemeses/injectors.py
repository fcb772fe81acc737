"""Injectors: who does a spec, proves it by probes, and undoes it. One class for each kind of spec; it is one file because
`injector` names all of them, as the journal does their specs."""

from __future__ import annotations

import asyncio
import math
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from statistics import median
from typing import Any, Generic, TypeVar

import msgspec

from splitbrain.harness.history.fault import (
    ONE_WAY,
    Cut,
    Figure,
    Flap,
    Hush,
    Impair,
    Kill,
    Link,
    Pause,
    Place,
    Proof,
    Retry,
    Sever,
    Skew,
    Spec,
    Surge,
)
from splitbrain.harness.testbeds.testbed import Train, everything
from splitbrain.nemeses.cluster import Changed, Cluster

PROVE_TIMEOUT = 1.0
"""How long packets that should pass are waited for, in seconds, before a fault is called wrong."""
HEAL_TIMEOUT = 2.0
"""The same after heal."""
SILENCE = 0.3
"""How long, in seconds, a server that stands still is given to take a connection."""
JUST = (0.8, 1.4)
"""How many times its database's own time a pause lasts, from and to, that is told to be just under or over it."""
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


class ImpairInjector(Injector[Impair]):
    """Impairs links. Proven by trains of datagrams over each of them, whose delay, loss, order and rate are measured. What
    other faults do to the same links counts as meant."""

    async def start(self, spec: Impair, cluster: Cluster) -> Proof:
        """Impair, and measure. Raises `SetupError` where the kernel refuses."""
        async with cluster.network:
            return await self._measured(spec, cluster, await cluster.impair(self, spec))

    async def still(self, spec: Impair, cluster: Cluster) -> Proof:
        """Measure again."""
        async with cluster.network:
            return await self._measured(spec, cluster, Changed(cluster.clock(), 0))

    async def undo(self, spec: Impair, cluster: Cluster) -> Proof:
        """Let go, and measure."""
        async with cluster.network:
            return await self._measured(spec, cluster, await cluster.clear(self))

    async def _measured(self, spec: Impair, cluster: Cluster, changed: Changed) -> Proof:
        trains = await cluster.measure(spec.links)
        return self._judged(spec, cluster, changed, trains, cluster.clock())

    def _judged(
        self, spec: Impair, cluster: Cluster, changed: Changed, trains: Mapping[Link, Train], at: int
    ) -> Proof:
        impaired = cluster.impaired()
        meant = {link: impaired.get(link, Impair((link,))) for link in trains}
        wrong = tuple(link for link in spec.links if link in trains and not as_meant(meant[link], trains[link]))
        if not trains or not all_as_meant(meant, trains):
            wrong = spec.links
        return Proof(holds=not wrong, acted=changed.at, at=at, spread=changed.spread, wrong=wrong,
                     measured=tuple(trains), figures=figures(spec, meant, trains))


class TogetherInjector(ImpairInjector):
    """Impairs some links while others, `beside`, impair others: all are impaired, measured and cleared at once, by the first of
    them that is asked to; what it saw is the answer of the others too."""

    def __init__(self, spec: Impair, beside: list[tuple[TogetherInjector, Impair]]) -> None:
        self._beside = beside
        self._seen: dict[str, Proof] = {}
        beside.append((self, spec))

    async def start(self, spec: Impair, cluster: Cluster) -> Proof:
        """Impair all, and measure. Raises `SetupError` where the kernel refuses."""
        return await self._all("start", cluster, cluster.impair)

    async def still(self, spec: Impair, cluster: Cluster) -> Proof:
        """Measure all again."""

        async def as_it_is(who: object, impair: Impair) -> Changed:
            return Changed(cluster.clock(), 0)

        return await self._all("still", cluster, as_it_is)

    async def undo(self, spec: Impair, cluster: Cluster) -> Proof:
        """Let go of all, and measure."""
        return await self._all("undo", cluster, lambda who, impair: cluster.clear(who))

    async def _all(self, what: str, cluster: Cluster, change: Callable[[object, Impair], Awaitable[Changed]]) -> Proof:
        async with cluster.network:
            if what not in self._seen:
                changed = [await change(one, spec) for one, spec in self._beside]
                trains = await cluster.measure([link for _, spec in self._beside for link in spec.links])
                at = cluster.clock()
                for (one, spec), its in zip(self._beside, changed, strict=True):
                    over = {link: trains[link] for link in spec.links if link in trains}
                    one._seen[what] = one._judged(spec, cluster, its, over, at)
            return self._seen.pop(what)


SLACK = 60.0
"""Milliseconds that a packet may be later than it is meant to be: a machine has other work."""
SIGMA = 5.0
"""Standard deviations that a measured share may be off before it is called wrong."""


def as_meant(meant: Impair, train: Train) -> bool:
    """Whether what became of a train over one link is what is meant."""
    lost = share_lost(meant)
    if not train.late:
        return lost**train.sent > 1e-6
    late = median(train.late)
    least = 0.9 * meant.delay - meant.jitter / 2 - 1 - train.inexact
    if meant.delay and train.inexact:  # It must be more than what wrong clocks alone would show.
        least = max(least, train.inexact)
    most = 2 * meant.delay + meant.jitter + SLACK + 3 * train.busy + train.inexact + (1000.0 if meant.rate else 0.0)
    if not (least <= late <= most or meant.reorder >= 0.5) or not _likely(train.lost, lost, train.sent):
        return False
    # Whatever else is sent shares the bandwidth.
    return not meant.rate or (0 < train.rate <= 1.5 * meant.rate) or lost > 0


def all_as_meant(meant: Mapping[Link, Impair], trains: Mapping[Link, Train]) -> bool:
    """Whether that is so of all links together, which tells more of shares: some of each that is meant must have been seen."""
    sent = sum(train.sent for train in trains.values())
    lost = sum(share_lost(meant[link]) * train.sent for link, train in trains.items()) / sent
    if not _likely(sum(train.lost * train.sent for train in trains.values()) / sent, lost, sent):
        return False
    twice = sum(meant[link].duplicate * train.sent for link, train in trains.items())
    overtaking = sum(meant[link].reorder * train.sent for link, train in trains.items())
    seen_twice = sum(train.twice for train in trains.values())
    return (_often(twice, seen_twice) and not (seen_twice and not twice)
            and _often(overtaking, sum(train.overtook for train in trains.values())))


def share_lost(meant: Impair) -> float:
    """The share of packets that do not come: what is damaged is thrown away by whoever checks its sum."""
    return 1 - (1 - meant.loss) * (1 - meant.corrupt)


def _likely(seen: float, meant: float, count: int) -> bool:
    return abs(seen - meant) <= SIGMA * math.sqrt(meant * (1 - meant) / count) + 0.02


def _often(meant: float, seen: int) -> bool:
    """Whether something was seen about as often as it was meant to happen, where enough was sent to tell."""
    return seen >= meant / 5 or meant < 20


def figures(spec: Impair, meant: Mapping[Link, Impair], trains: Mapping[Link, Train]) -> tuple[Figure, ...]:
    """What a spec changes, as measured on its links."""
    told = []
    if (spec.delay or spec.jitter or spec.reorder) and any(train.late for train in trains.values()):
        late = [median(train.late) for train in trains.values() if train.late]
        told.append(_figure(ONE_WAY, "ms", [one.delay for one in meant.values()], late))
    if spec.jitter:
        spread = [max(train.late) - min(train.late) for train in trains.values() if train.late]
        told.append(_figure("spread", "ms", [2 * one.jitter for one in meant.values()], spread))
    for wanted, what, intended, seen in (
        (spec.loss or spec.corrupt, "lost", map(share_lost, meant.values()), [train.lost for train in trains.values()]),
        (spec.duplicate, "twice", (one.duplicate for one in meant.values()),
         [train.twice / train.sent for train in trains.values()]),
        (spec.reorder, "overtook others", (one.reorder for one in meant.values()),
         [train.overtook / train.sent for train in trains.values()]),
    ):
        if wanted:
            told.append(_figure(what, "%", [100 * share for share in intended], [100 * share for share in seen]))
    if spec.rate and any(one.rate for one in meant.values()):
        told.append(_figure("rate", "kbit/s", [one.rate for one in meant.values()], [train.rate for train in trains.values()]))
    return tuple(told)


def _figure(what: str, unit: str, intended: Sequence[float], seen: Sequence[float]) -> Figure:
    if not seen:
        return Figure(what, unit, 0.0, 0.0, 0.0, 0.0)
    numbers = (median(intended), median(seen), min(seen), max(seen))
    return Figure(what, unit, *(round(number, 3) + 0.0 for number in numbers))


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
        if died := _died(self._deaths, cluster):
            return died
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
        figures = (_figure("stood still", "s", [spec.length], [stood]),) if spec.length else ()
        return msgspec.structs.replace(proof, figures=figures, detail=_against(stood, cluster))


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
        if died := _died(self._deaths, cluster):
            return died
        proof = await self._proof(spec, cluster, Changed(cluster.clock(), 0)) if _others(spec.nodes, cluster) else None
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
        held = _kept(spec.nodes, cluster)
        if not _others(spec.nodes, cluster):
            wrong, figures = await _machines(spec, cluster)
            return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong,
                         figures=figures, detail=held)
        return msgspec.structs.replace(await self._proof(spec, cluster, changed), detail=held)

    async def _proof(self, spec: Skew, cluster: Cluster, changed: Changed) -> Proof:
        """One that is down or stands still cannot be asked; a machine can."""
        ahead = await cluster.ahead(_others(spec.nodes, cluster))
        off = {name: ahead[name].seconds - self._before.get(name, 0.0) for name in ahead}
        meant = {name: ahead[name].meant for name in ahead}
        wrong = tuple(name for name in spec.nodes if (name not in off and name not in cluster.out())
                      or (name in off and abs(off[name] - meant[name]) > INEXACT))
        off_too, machines = await _machines(spec, cluster)
        wrong = tuple(name for name in spec.nodes if name in wrong + off_too)
        figures = (*((_figure("ahead", "s", list(meant.values()), list(off.values())),) if off else ()), *machines)
        return Proof(holds=not wrong and bool(off), acted=changed.at, at=cluster.clock(), spread=changed.spread,
                     wrong=wrong or (() if off else spec.nodes), measured=tuple(off), figures=figures)


async def _machines(spec: Skew, cluster: Cluster) -> tuple[tuple[str, ...], tuple[Figure, ...]]:
    """Which machines' own clocks are not as they are meant to be, where those are put wrong, and what they told."""
    told = await cluster.machines_ahead(spec.nodes)
    wrong = tuple(name for name, one in told.items() if abs(one.seconds - one.meant) > TELLS + one.took / 2)
    meant, seen = [one.meant for one in told.values()], [one.seconds for one in told.values()]
    return wrong, (_figure("machine ahead", "s", meant, seen),) if told else ()


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
                     figures=(_figure("calls", "a second", [meant], [seen]),), detail=f"{begun} of {came} clients came")

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


BROKEN_OFF = 0.05
"""Seconds in which calls that are broken off have ended: an answer that had come already is still taken."""
COUNTED = 0.5
"""Seconds for which calls are counted."""
STORM = 0.1
"""The part of the calls that failed which must have been tried again at a server."""
STEP = 0.1
"""Seconds between two steps of a clock that drifts."""
TELLS = 0.01
"""The same of a machine that tells its clock itself, held against its time since it was started."""
INEXACT = 1.5
"""Seconds that a clock may be off what it is meant to be: some servers tell whole seconds, and are asked twice. What drifts is
not changed while it is asked."""


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


def _died(before: Mapping[str, int], cluster: Cluster) -> Proof | None:
    """The proof that servers of some nodes ended by themselves since; None where none did."""
    died = tuple(name for name, times in cluster.deaths(before).items() if times > before[name])
    at = cluster.clock()
    return Proof(holds=False, acted=at, at=at, wrong=died, detail=f"{' '.join(died)} ended by itself") if died else None


async def _out(nodes: tuple[str, ...], cluster: Cluster, changed: Changed, silence: float = SILENCE) -> Proof:
    silent = await cluster.silent(nodes, timeout=silence)
    wrong = tuple(name for name in nodes if name not in silent or name in changed.idle)
    return Proof(holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=silent)


async def _back(nodes: Sequence[str], cluster: Cluster, changed: Changed) -> Proof:
    wrong = await cluster.serving(nodes, timeout=RETURN)
    serving = tuple(name for name in _others(nodes, cluster) if name not in wrong)
    return Proof(
        holds=not wrong, acted=changed.at, at=cluster.clock(), spread=changed.spread, wrong=wrong, measured=serving,
        detail=_kept(nodes, cluster),
    )


def _others(nodes: Sequence[str], cluster: Cluster) -> tuple[str, ...]:
    """Those of the nodes whose servers no fault has down or standing still."""
    return tuple(name for name in nodes if name not in cluster.out())


def _kept(nodes: Sequence[str], cluster: Cluster) -> str:
    """Which of them a fault has; empty where it has none."""
    held = [name for name in nodes if name in cluster.out()]
    return f"another fault keeps {' '.join(held)}" if held else ""


def injector(spec: Spec) -> Injector[Any]:
    """A new injector for a spec of ours. One from elsewhere comes from its nemesis (`Nemesis.injector`)."""
    match spec:
        case Cut():
            return CutInjector()
        case Flap():
            return FlapInjector()
        case Impair():
            return ImpairInjector()
        case Skew():
            return SkewInjector()
        case Surge():
            return SurgeInjector()
        case Hush():
            return HushInjector()
        case Sever():
            return SeverInjector()
        case Retry():
            return RetryInjector()
        case Kill():
            return KillInjector()
        case Pause():
            return PauseInjector()
        case _:
            raise TypeError(f"the nemesis that brings the spec '{spec.name}' brings no injector for it")
