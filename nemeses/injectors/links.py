"""Links that are slow, lossy or narrow, and whether what was measured of them is what is meant."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from statistics import median

from splitbrain.harness.history.fault import ONE_WAY, Figure, Impair, Link, Proof
from splitbrain.harness.testbeds.testbed import Train
from splitbrain.nemeses.cluster import Changed, Cluster
from splitbrain.nemeses.injectors.injector import Injector, figure

SLACK = 60.0
"""Milliseconds that a packet may be later than it is meant to be: a machine has other work."""
SIGMA = 5.0
"""Standard deviations that a measured share may be off before it is called wrong."""


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
        told.append(figure(ONE_WAY, "ms", [one.delay for one in meant.values()], late))
    if spec.jitter:
        spread = [max(train.late) - min(train.late) for train in trains.values() if train.late]
        told.append(figure("spread", "ms", [2 * one.jitter for one in meant.values()], spread))
    for wanted, what, intended, seen in (
        (spec.loss or spec.corrupt, "lost", map(share_lost, meant.values()), [train.lost for train in trains.values()]),
        (spec.duplicate, "twice", (one.duplicate for one in meant.values()),
         [train.twice / train.sent for train in trains.values()]),
        (spec.reorder, "overtook others", (one.reorder for one in meant.values()),
         [train.overtook / train.sent for train in trains.values()]),
    ):
        if wanted:
            told.append(figure(what, "%", [100 * share for share in intended], [100 * share for share in seen]))
    if spec.rate and any(one.rate for one in meant.values()):
        told.append(figure("rate", "kbit/s", [one.rate for one in meant.values()], [train.rate for train in trains.values()]))
    return tuple(told)
