"""Cluster: what injectors act on. It composes everything that is in force into one state of the network and one of the servers.

Each change is held by who made it: a link is up again when the last who cut it lets go, a server is started again when the
last who ended its node lets go. So faults may overlap in any order, and letting go of what one does not hold changes nothing.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

import msgspec
import networkx as nx

from splitbrain.harness.databases.database import Database, Detection
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.history.sides import sides
from splitbrain.harness.testbeds.testbed import Connectivity, Reach, Service, Testbed, Train, Unwritten, everything

POLL = 0.1
"""Seconds between two looks whether a node serves again."""
PROMPT = 0.3
"""Seconds within which a server tells its clock: what it told of is known to half of them."""
ASKED = 5
"""How often one is asked for its clock that takes longer."""


class Changed(msgspec.Struct, frozen=True):
    """When the last of some changes had been made (nanoseconds from the start of the run), how long after the first one, and
    the nodes at which there was nothing to change."""

    at: int
    spread: int
    idle: tuple[str, ...] = ()


class Ahead(msgspec.Struct, frozen=True):
    """Seconds by which a clock was ahead of the machine's, and was meant to be, and that the answer took: it was told of some
    moment of them, and `ahead` is right to half of them."""

    seconds: float
    meant: float
    took: float


class Crowd(Protocol):
    """The load, as far as a fault can change it."""

    def calls(self, homes: Sequence[str]) -> int:
        """Calls that were begun at these homes, also those that were tried again."""
        ...

    async def join(self, who: object, homes: Sequence[str], times: int) -> tuple[int, int]:
        """`times` as many workers at these homes, until `who` has them leave; how many came, and how many made a call."""
        ...

    async def leave(self, who: object) -> int:
        """No new calls of theirs; how many they were."""
        ...

    async def hush(self, who: object, homes: Sequence[str]) -> None:
        """No new calls at these homes, until `who` lets them; returns when none is open."""
        ...

    def sever(self, who: object, homes: Sequence[str]) -> None:
        """Clients at these homes reach no server, until `who` lets them; calls that are open there are broken off."""
        ...

    def severed(self, home: str) -> bool:
        """Whether clients there reach no server."""
        ...

    def answered(self, homes: Sequence[str]) -> int:
        """Calls that were answered at these homes."""
        ...

    @property
    def stopped(self) -> bool:
        """Whether no new calls are made."""
        ...

    def persist(self, who: object, homes: Sequence[str], tries: int) -> None:
        """What fails at these homes is tried again so many times, until `who` has it no more."""
        ...

    def persisted(self, who: object) -> tuple[int, int, int]:
        """How many calls were to be tried again for `who` by now, how many tries that made, and for how many of the calls there
        could be none, since no server was in reach that it could have gone to."""
        ...

    async def relent(self, who: object) -> None:
        """As before: calls at every home that nobody else hushes, none tried again for `who`; returns when no try is open."""
        ...


class Cluster:
    """The nodes of a run, their links and their servers. `clock` tells nanoseconds from the start of the run; `enforce` tells
    the load which links its workers may use, `late` by how many seconds packets over some of them are, and `load` is what a
    surge makes more of; `told` asks a node's server for its wall clock, in seconds (None: no answer). `database` is who knows
    the servers' members, and `detection` after how long a silence they take one of them for gone (None: nobody tells).

    `network` is to be held by who changes links until the change has been proven, so that probes see one state; `reconfiguring`
    by who changes the members or what they may do without a quorum, so that one change is over before the next.
    """

    def __init__(
        self, testbed: Testbed, names: Sequence[str], clock: Callable[[], int], enforce: Callable[[Connectivity], None],
        told: Callable[[str], Awaitable[float | None]] | None = None, load: Crowd | None = None,
        late: Callable[[Mapping[Link, float]], None] = lambda links: None, database: Database | None = None,
        detection: Detection | None = None,
    ) -> None:
        self.testbed = testbed
        self.database = database
        self.detection = detection
        self.names = tuple(names)
        self.clock = clock
        self.network = asyncio.Lock()
        self.reconfiguring = asyncio.Lock()
        self.switched: defaultdict[str, set[object]] = defaultdict(set)
        """Node → who lets it serve without a quorum."""
        self._applying = asyncio.Lock()
        self._enforce = enforce
        self._told = told
        self.load = load
        self._late = late
        self._cuts: dict[object, frozenset[Link]] = {}
        self._impaired: dict[object, Impair] = {}
        self._down: defaultdict[str, set[object]] = defaultdict(set)
        self._still: defaultdict[str, set[object]] = defaultdict(set)
        self._struck: defaultdict[object, set[str]] = defaultdict(set)
        self._skewed: defaultdict[str, dict[object, int]] = defaultdict(dict)
        self._ended: dict[str, tuple[Service, ...]] = {}
        self._full: defaultdict[str, set[object]] = defaultdict(set)
        self._slow: defaultdict[str, dict[object, float]] = defaultdict(dict)
        self._watched: dict[str, tuple[Service, ...]] = {}
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def connectivity(self) -> Connectivity:
        """The links that are meant to be up."""
        graph = everything(self.names)
        for links in self._cuts.values():
            graph.remove_edges_from(links)
        return graph

    def out(self) -> tuple[str, ...]:
        """The nodes whose servers are meant to be down or to stand still."""
        return tuple(name for name in self.names if self._down[name] or self._still[name])

    def down(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Those of these nodes whose servers are meant to be down."""
        return tuple(name for name in nodes if self._down[name])

    def troubled(self, name: str) -> bool:
        """Whether something else may keep a node from answering: a link of it is cut, or a server of any node is out."""
        return bool(self.out()) or any(name in link for links in self._cuts.values() for link in links)

    def sides(self) -> tuple[tuple[str, ...], ...]:
        """The groups of nodes that can work together at this moment."""
        return sides(self.names, {link for links in self._cuts.values() for link in links}, self.out())

    # --- links

    async def cut(self, who: object, links: Iterable[Link]) -> Changed:
        """Lose packets over these links until `who` lets go. Raises `SetupError` where a node's firewall refuses."""
        return await asyncio.shield(self._change(who, frozenset(links)))

    async def mend(self, who: object) -> Changed:
        """Let go of the links that `who` cut."""
        return await asyncio.shield(self._change(who, frozenset()))

    async def probe(self, *, timeout: float) -> tuple[Reach, tuple[Link, ...]]:
        """What packets see of every link, and the links where that is not what is meant."""
        intended = self.connectivity()
        impaired = self.impaired()
        if not impaired:
            reach = await self.testbed.probe(intended, timeout=timeout)
            return reach, reach.wrong(intended)
        reach = await self.testbed.probe(intended, timeout=timeout, late=max(map(longest, impaired.values())))
        return reach, reach.wrong(intended, frozenset(impaired))

    def impaired(self) -> dict[Link, Impair]:
        """What is meant to happen on each link that is impaired, by all who impair it: delays add up, a packet must escape
        every loss, the least bandwidth counts."""
        found: dict[Link, Impair] = {}
        for one in self._impaired.values():
            for link in one.links:
                found[link] = _both(found[link], one) if link in found else msgspec.structs.replace(one, links=(link,))
        return found

    async def impair(self, who: object, impair: Impair) -> Changed:
        """Do this to the packets of some links until `who` lets go. Raises `SetupError` where the kernel refuses."""
        return await asyncio.shield(self._reshape(who, impair))

    async def clear(self, who: object) -> Changed:
        """Let go of the links that `who` impaired."""
        return await asyncio.shield(self._reshape(who, None))

    async def measure(self, links: Iterable[Link]) -> Mapping[Link, Train]:
        """What becomes of packets over those of these links that nobody cuts."""
        up, impaired = self.connectivity(), self.impaired()
        late = max(map(longest, impaired.values()), default=0.0)
        rate = min((one.rate for one in impaired.values() if one.rate), default=0.0)
        return await self.testbed.measure([link for link in links if up.has_edge(*link)], late=late, rate=rate)

    async def _reshape(self, who: object, impair: Impair | None) -> Changed:
        async with self._applying:
            before = self._impaired.pop(who, None)
            if impair is not None:
                self._impaired[who] = impair
            elif before is None:
                return Changed(self.clock(), 0)
            impaired = self.impaired()
            applied = await self.testbed.impair(impaired)
            self._late({link: one.delay / 1000 for link, one in impaired.items() if one.delay and not one.reorder})
            return Changed(self.clock(), applied.spread)

    async def _change(self, who: object, links: frozenset[Link]) -> Changed:
        """A link that goes down is closed to the workers before the first packet is lost, and one that comes up is opened to
        them after the last rule is gone. A change that was begun goes to its end before the next one begins, also where who
        asked for it was cancelled."""
        async with self._applying:
            before = self.connectivity()
            self._cuts[who] = links
            if not links:
                del self._cuts[who]
            after = self.connectivity()
            both: Connectivity = nx.DiGraph()
            both.add_nodes_from(self.names)
            both.add_edges_from(edge for edge in after.edges if before.has_edge(*edge))
            self._enforce(both)
            applied = await self.testbed.apply(before, after)
            at = self.clock()
            self._enforce(after)
            return Changed(at, applied.spread)

    # --- servers

    async def end(self, who: object, nodes: Iterable[str], signal: Literal["KILL", "TERM"] = "KILL") -> Changed:
        """End every server of these nodes, all at once, until `who` lets go."""

        async def one(name: str) -> bool:
            node = self._node(name)
            first = not self._down[name]
            self._down[name].add(who)
            if not first:
                return True
            services = self._ended[name] = tuple(node.services)
            if services:
                self._struck[who].add(name)
            self.watch(name)
            await _all(node.stop(service.name, kill=signal == "KILL") for service in services)
            return bool(services)

        return await self._each(nodes, one)

    async def start(self, who: object, nodes: Iterable[str]) -> Changed:
        """Let go of these nodes: their servers are started again, in their order, where nobody else keeps them down. Where
        somebody has them stand still, they do so from their start on."""

        async def one(name: str) -> bool:
            self._down[name].discard(who)
            if name not in self._ended:
                return False
            if self._down[name]:
                self._strike(self._down[name], name)
                return False
            await self._started(name, self._ended[name])
            del self._ended[name]
            return True

        return await self._each(nodes, one)

    async def replace(self, name: str, service: Service) -> bool:
        """When the servers of a node that is down are started again, start this instead; False where nobody keeps it down."""
        async with self._locks[name]:
            if self._down[name]:
                self._ended[name] = (service,)
            return bool(self._down[name])

    async def exchange(self, who: object, name: str, program: str, *, other: str = "", image: str = "") -> None:
        """End the servers of a node (SIGTERM) and start them again at once, those of this program with the other one, or from
        another image. Where somebody keeps them down, they are started so later."""

        def exchanged(service: Service) -> Service:
            if service.argv[0] != program:
                return service
            return msgspec.structs.replace(service, argv=(other or program, *service.argv[1:]), exchanged=image)

        await self.end(who, [name], "TERM")
        async with self._locks[name]:
            self._ended[name] = tuple(map(exchanged, self._ended.get(name, ())))
        await self.start(who, [name])

    def watch(self, name: str) -> None:
        """Remember which servers run on a node, beside those that have ended by themselves since it was watched: one whose
        member was removed may, and one whose file was damaged, while another that runs beside it goes on."""
        known = {service.name: service for service in (*self._watched.get(name, ()), *self._node(name).services)}
        self._watched[name] = tuple(known.values())

    async def wipe(self, name: str) -> bool:
        """Remove what is in a node's data folder, all but the files that the servers were given which ran there when it was
        watched; False, and nothing is removed, where one runs. Raises `SetupError`."""
        async with self._locks[name]:
            if self._node(name).services:
                return False
            await self.testbed.wipe(name, {file for service in self._watched.get(name, ()) for file in service.files})
            return True

    async def pause(self, who: object, nodes: Iterable[str]) -> Changed:
        """Have every server of these nodes stand still until `who` lets go."""

        async def one(name: str) -> bool:
            node = self._node(name)
            if node.services and not self._still[name]:
                self._struck[who].add(name)
            self._still[name].add(who)
            await _all(node.pause(service.name) for service in node.services)
            return bool(node.services) or bool(self._down[name])

        return await self._each(nodes, one)

    async def resume(self, who: object, nodes: Iterable[str]) -> Changed:
        """Let go of these nodes: their servers go on, where nobody else has them stand still."""

        async def one(name: str) -> bool:
            node = self._node(name)
            self._still[name].discard(who)
            if self._still[name]:
                if self._node(name).services:
                    self._strike(self._still[name], name)
                return False
            await _all(node.resume(service.name) for service in node.services)
            return True

        return await self._each(nodes, one)

    def struck(self, who: object) -> frozenset[str]:
        """The nodes that are other for what `who` did to their servers: it ended or stopped some that ran, or some would run if
        it had let go. At the rest, others had them down or standing still all the time."""
        return frozenset(self._struck[who])

    def _strike(self, holders: Iterable[object], name: str) -> None:
        for who in holders:
            self._struck[who].add(name)

    async def let_run(self, who: object, name: str, seconds: float, most: float) -> float | None:
        """Have the servers of a node that `who` has stand still go on until together they have used about so many seconds of
        the processor (with 0 they do not), or `most` seconds have passed, and stand still again; how many they have used since
        their start. None, and nothing happens, where somebody else has them stand still or keeps them down."""

        async def one() -> float | None:
            async with self._locks[name]:
                if self._still[name] != {who} or self._down[name]:
                    return None
                node = self._node(name)
                names = [service.name for service in node.services]
                spent = await asyncio.gather(*(node.let_run(service, seconds / len(names), most) for service in names))
                return float(sum(spent))

        return await asyncio.shield(asyncio.ensure_future(one()))

    async def skew(self, who: object, skews: Mapping[str, int]) -> Changed:
        """Put the wall clocks of these nodes' servers ahead by so many nanoseconds, beside what others do to them; with 0 `who`
        lets go."""

        async def one(name: str) -> bool:
            before = self.skewed(name)
            self._skewed[name][who] = skews[name]
            if not skews[name]:
                del self._skewed[name][who]
            if self.skewed(name) != before:
                await self.testbed.skew(name, self.skewed(name), paused=bool(self._still[name]))
            return bool(self._node(name).services)

        return await self._each(skews, one)

    def skewed(self, name: str) -> int:
        """Nanoseconds by which the clock of a node is meant to be ahead."""
        return sum(self._skewed[name].values())

    async def ahead(self, nodes: Iterable[str]) -> dict[str, Ahead]:
        """By how much the clocks of these nodes' servers are ahead of the machine's, as they tell them; without those that do
        not answer. No clock is changed while it is asked, and one that was slow to answer is asked again."""

        async def asked(name: str) -> Ahead | None:
            async with self._locks[name]:
                before = time.time()
                told = await self._told(name) if self._told else None
                after = time.time()
                return None if told is None else Ahead(told - (before + after) / 2, self.skewed(name) / 1e9, after - before)

        async def one(name: str) -> Ahead | None:
            found: list[Ahead] = []
            while len(found) < ASKED and not any(ahead.took <= PROMPT for ahead in found):
                if (ahead := await asked(name)) is None:
                    break
                found.append(ahead)
            return min(found, key=lambda ahead: ahead.took, default=None)

        return await _answers(nodes, one)

    async def machines_ahead(self, nodes: Iterable[str]) -> dict[str, Ahead]:
        """The same of the clocks of whole machines, told by the machines themselves, held against the time since they were
        started; without those whose servers' clocks alone are put wrong."""

        async def one(name: str) -> Ahead | None:
            async with self._locks[name]:
                told = await self.testbed.ahead(name)
                return None if told is None else Ahead(told[0] / 1e9, self.skewed(name) / 1e9, 2 * told[1] / 1e9)

        return await _answers(nodes, one)

    # --- data folders

    async def fill(self, who: object, nodes: Iterable[str]) -> Changed:
        """Leave no room on the disks of these nodes' data folders until `who` lets go."""

        async def one(name: str) -> bool:
            self._full[name].add(who)
            self.watch(name)
            await self.testbed.fill(name, full=True)
            return True

        return await self._each(nodes, one)

    async def make_room(self, who: object, nodes: Iterable[str]) -> Changed:
        """Let go of these nodes: their disks have room again where nobody else fills them."""

        async def one(name: str) -> bool:
            self._full[name].discard(who)
            if not self._full[name]:
                await self.testbed.fill(name, full=False)
            return True

        return await self._each(nodes, one)

    async def full(self, nodes: Iterable[str]) -> tuple[str, ...]:
        """Those of these nodes in whose data folder a write fails, for want of room."""
        return tuple([name for name in nodes if await self.testbed.full(name)])

    async def lose_power(self, nodes: Iterable[str], how: str, seed: int) -> dict[str, Unwritten]:
        """Take the power from the disks of those of these nodes on which nothing runs; what each lost."""

        async def one(name: str) -> tuple[str, Unwritten] | None:
            async with self._locks[name]:
                if self._node(name).services:
                    return None
                return name, await self.testbed.lose_power(name, how, seed + self.names.index(name))

        return dict(filter(None, await asyncio.gather(*map(one, nodes))))

    async def slow(self, who: object, nodes: Iterable[str], seconds: float) -> Changed:
        """Let the syncs of these nodes' disks take so much longer, beside what others do to them; with 0 `who` lets go."""

        async def one(name: str) -> bool:
            self._slow[name][who] = seconds
            if not seconds:
                del self._slow[name][who]
            await self.testbed.slow(name, self.slowed(name))
            return True

        return await self._each(nodes, one)

    def slowed(self, name: str) -> float:
        """Seconds that a sync is meant to take longer on a node."""
        return sum(self._slow[name].values())

    async def revive(self, nodes: Iterable[str]) -> Changed:
        """Start those servers of these nodes again that ended by themselves since something was done to their data; where
        somebody keeps a node down, they are started with its others later. Where nothing had ended, a node is idle."""

        async def one(name: str) -> bool:
            gone = self.gone(name)
            if self._down[name]:
                later = {service.name: service for service in (*gone, *self._ended.get(name, ()))}
                self._ended[name] = tuple(later.values())
                return False
            if not gone:
                return False
            await self._started(name, gone)
            return True

        return await self._each(nodes, one)

    def deaths(self, nodes: Iterable[str]) -> dict[str, int]:
        """How often servers of these nodes have ended though nobody ended them."""
        return {name: len(self._node(name).ended()) for name in nodes}

    def gone(self, name: str) -> tuple[Service, ...]:
        """The servers of a node that do not run, of those that did when something was done to its data or to them."""
        return tuple(service for service in self._watched.get(name, ()) if not self._node(name).running(service.name))

    async def last_written(self, name: str) -> str:
        """The file in the data folder of a node that was written last, of those with something in them which its servers made
        themselves; empty where there is none."""
        given = {file for service in self._watched.get(name, ()) for file in service.files}
        return await self.testbed.last_written(name, given)

    async def _started(self, name: str, services: Iterable[Service]) -> None:
        """Start these in their order. Where somebody has them stand still or puts their clocks wrong, they are so at once."""
        node = self._node(name)
        for service in services:
            if not node.running(service.name):
                await node.start(service)
            if self._still[name]:
                await node.pause(service.name)
                self._strike(self._still[name], name)
        if self.skewed(name):
            await self.testbed.skew(name, self.skewed(name), paused=bool(self._still[name]))

    async def silent(self, nodes: Iterable[str], *, timeout: float) -> tuple[str, ...]:
        """Those of these nodes whose server takes no connection within `timeout` seconds."""
        serving = await self.testbed.serving(timeout=timeout)
        return tuple(name for name in nodes if not serving[name])

    async def serving(self, nodes: Iterable[str], *, timeout: float) -> tuple[str, ...]:
        """Wait until these nodes serve, `timeout` seconds at most; those that do not. Who is meant to be down or to stand
        still is not waited for, and not named. While links of theirs are cut the time does not count: a server that finds no
        quorum when it starts may rightly wait for one."""
        began = self.clock()
        while True:
            silent = await self.silent([name for name in nodes if name not in self.out()], timeout=1.0)
            if {node for links in self._cuts.values() for link in links for node in link}.intersection(silent):
                began = self.clock()
            if not silent or self.clock() - began > timeout * 1e9:
                return silent
            await asyncio.sleep(POLL)

    async def _each(self, nodes: Iterable[str], change: Callable[[str], Awaitable[bool]]) -> Changed:
        """Change these nodes, all at once, each by one at a time. A change that was begun goes to its end also where who asked
        for it is cancelled."""
        times: list[int] = []
        idle: list[str] = []

        async def one(name: str) -> None:
            async with self._locks[name]:
                if not await change(name):
                    idle.append(name)
                times.append(self.clock())

        await asyncio.shield(asyncio.ensure_future(_all(one(name) for name in nodes)))
        return Changed(max(times, default=self.clock()), max(times, default=0) - min(times, default=0), tuple(sorted(idle)))

    def _node(self, name: str) -> Any:
        return next(node for node in self.testbed.nodes if node.name == name)


def longest(impair: Impair) -> float:
    """Seconds that a packet is held back at most, where it does not wait for bandwidth."""
    return (impair.delay + impair.jitter) / 1000


def _both(one: Impair, other: Impair) -> Impair:
    def either(a: float, b: float) -> float:
        return 1 - (1 - a) * (1 - b)

    return Impair(
        one.links, delay=one.delay + other.delay, jitter=one.jitter + other.jitter, loss=either(one.loss, other.loss),
        duplicate=either(one.duplicate, other.duplicate), reorder=either(one.reorder, other.reorder),
        corrupt=either(one.corrupt, other.corrupt), rate=min(filter(None, (one.rate, other.rate)), default=0.0),
    )


async def _answers(nodes: Iterable[str], ask: Callable[[str], Awaitable[Ahead | None]]) -> dict[str, Ahead]:
    """What these nodes answer, all asked at once; without those that do not."""
    names = list(nodes)
    answers = await asyncio.gather(*map(ask, names))
    return {name: ahead for name, ahead in zip(names, answers, strict=True) if ahead is not None}


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    async with asyncio.TaskGroup() as group:
        for one in work:
            group.create_task(one)
