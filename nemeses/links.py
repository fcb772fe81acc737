"""Links that are slow, lossy, or worse: which ones is said by the part that their nodes play, how bad by options.

Each link is one way: on both ways between two nodes a delay of 100 ms makes a round trip of 200 ms.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

import msgspec

from splitbrain.harness.history.fault import Impair, Link, Spec
from splitbrain.harness.history.sides import in_order
from splitbrain.harness.plan import OptionTable, Tables
from splitbrain.harness.settings import Setting
from splitbrain.harness.testbeds.testbed import Ability, everything
from splitbrain.nemeses.injectors.injector import Injector
from splitbrain.nemeses.injectors.links import TogetherInjector
from splitbrain.nemeses.nemesis import Nemesis, Outlook
from splitbrain.nemeses.roles import OWNER, nodes_of

MILLISECONDS = "milliseconds"
SHARE = "as a share of all packets"

Varying = Annotated[float, Setting("How much earlier or later than that at most.", unit=MILLISECONDS, high=10_000)]
Late = Annotated[float, Setting("How long a packet is held back on each link, one way.", unit=MILLISECONDS, high=10_000)]


class Links(Nemesis):
    """Something done to the packets of some links. Its scenarios are which: `all`, or those to and from the primary (or a
    follower); of these, `to-` and `from-` are one way."""

    needs: ClassVar[frozenset[Ability]] = frozenset({"impair"})

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("all", "primary")

    def known(self, nodes: int) -> Sequence[str]:
        roles = ("primary", "follower", "minority", "key-holder", OWNER)
        return ("all", *(way + role for role in roles for way in ("", "to-", "from-")))

    options: OptionTable
    """What is done to the links: each option is the field of `Impair` that has its name."""

    def spec(self, links: tuple[Link, ...]) -> Impair:
        """What is done to these links."""
        return Impair(links, **msgspec.structs.asdict(self.options))

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        links = everything(view.names).edges
        if scenario == "all":
            return (self.spec(in_order(links)),)
        way = next((way for way in ("to-", "from-") if scenario.startswith(way)), "")
        some = set(nodes_of(scenario.removeprefix(way), view, rng))
        chosen = [(a, b) for a, b in links if (a in some) != (b in some) and (not way or (b if way == "to-" else a) in some)]
        return (self.spec(in_order(chosen)),)


class Delay(Links):
    """Every packet comes late; with `jitter` some later than others, but none before one that was sent earlier."""

    name: ClassVar[str] = "delay"
    summary: ClassVar[str] = "packets come 100 ms late, on all links, then to and from the primary (delay:to-primary)"

    class Options(OptionTable, frozen=True):
        """How late packets come."""

        delay: Late = 100.0
        jitter: Varying = 0.0

        def __post_init__(self) -> None:
            if not self.delay or self.jitter > self.delay:
                raise ValueError("delay must be more than 0, and jitter no more than delay")


class Jitter(Delay):
    """Delays that vary as much as they last: time-outs fire that a steady delay would not."""

    name: ClassVar[str] = "jitter"
    summary: ClassVar[str] = "packets come 0 to 200 ms late, on all links, then to and from the primary"

    class Options(Delay.Options, frozen=True):
        """How late packets come, and by how much that varies."""

        jitter: Varying = 100.0


class Lossy(Links):
    """A share of the packets never comes: connections stand, and crawl."""

    name: ClassVar[str] = "loss"
    summary: ClassVar[str] = "30% of the packets are lost, on all links, then to and from the primary (loss:from-primary)"

    class Options(OptionTable, frozen=True):
        """How many packets are lost."""

        loss: Annotated[float, Setting("How many are lost.", unit=SHARE, low=0.01, high=0.95)] = 0.3


class Duplicate(Links):
    """A share of the packets comes twice."""

    name: ClassVar[str] = "duplicate"
    summary: ClassVar[str] = "half of the packets come twice"

    class Options(OptionTable, frozen=True):
        """How many packets come twice."""

        duplicate: Annotated[float, Setting("How many come twice.", unit=SHARE, low=0.01, high=1)] = 0.5


class Reorder(Links):
    """A share of the packets overtakes the others, which are held back a little."""

    name: ClassVar[str] = "reorder"
    summary: ClassVar[str] = "a quarter of the packets overtakes the others, which come 25 ms late"

    class Options(OptionTable, frozen=True):
        """How many packets overtake the others, and how late those are."""

        reorder: Annotated[float, Setting("How many overtake the others.", unit=SHARE, low=0.01, high=0.4)] = 0.25
        delay: Annotated[float, Setting("How late the others are.", unit=MILLISECONDS, low=15, high=10_000)] = 25.0


class Corrupt(Links):
    """In a share of the packets one bit is turned round. TCP and UDP throw such packets away, by their sums; what a database
    sees is loss, unless the sum happens to fit."""

    name: ClassVar[str] = "corrupt"
    summary: ClassVar[str] = "a bit of 10% of the packets is turned round"

    class Options(OptionTable, frozen=True):
        """How many packets are damaged."""

        corrupt: Annotated[float, Setting("How many are damaged.", unit=SHARE, low=0.01, high=0.95)] = 0.1


class Regions(Nemesis):
    """Nodes dealt to regions in turn, with a round trip of 50 to 200 ms between two of them and none within one: what a cluster
    is like that spans continents."""

    name: ClassVar[str] = "regions"
    summary: ClassVar[str] = "nodes in three regions, 50, 100 and 200 ms round trip between them"
    needs: ClassVar[frozenset[Ability]] = frozenset({"impair"})
    trips: ClassVar[tuple[tuple[int, int, float], ...]] = ((0, 1, 50.0), (1, 2, 100.0), (0, 2, 200.0))
    """Two regions, and the milliseconds of a round trip between them."""

    def __init__(self, tables: Tables | None = None) -> None:
        super().__init__(tables)
        self._together: list[tuple[TogetherInjector, Impair]] = []

    def injector(self, spec: Spec) -> Injector[Any]:
        """Of all pairs of regions at once: one after the other would be put in force, and proven, for seconds."""
        return TogetherInjector(spec, self._together) if isinstance(spec, Impair) else super().injector(spec)

    def minimum_nodes(self) -> int:
        return 3

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("three-regions",)

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        regions = [view.names[first::3] for first in range(3)]
        return tuple(
            Impair(in_order(link for a in regions[one] for b in regions[other] for link in ((a, b), (b, a))), delay=trip / 2)
            for one, other, trip in self.trips
        )


class RoundTrips(Nemesis):
    """All links late by a known delay, then by twice that: what answers take longer meanwhile tells for how many round trips
    they wait, and so which half of PACELC's second question the database chose (`checkers/measures/pacelc.py`)."""

    name: ClassVar[str] = "pacelc"
    summary: ClassVar[str] = "all links 50 ms late, then 100 ms: do answers wait for round trips without a partition (PACELC)?"
    needs: ClassVar[frozenset[Ability]] = frozenset({"impair"})

    class Options(OptionTable, frozen=True):
        """How late packets come."""

        delay: Annotated[float, Setting("How long a packet is held back on each link, one way, the first time; then twice as "
                                        "long.", unit=MILLISECONDS, low=10, high=1_000)] = 50.0

    options: Options

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("once", "twice")

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        links = in_order(everything(view.names).edges)
        return (Impair(links, delay=self.options.delay * (2 if scenario == "twice" else 1)),)


class Bandwidth(Links):
    """Links carry only so much; what waits longer than a second for its turn is lost."""

    name: ClassVar[str] = "bandwidth"
    summary: ClassVar[str] = "each link carries 500 kbit/s, all of them, then those to and from the primary"

    class Options(OptionTable, frozen=True):
        """How much a link carries."""

        rate: Annotated[float, Setting("How much a link carries, one way.", unit="kbit/s", low=32, high=1_000_000)] = 500.0
