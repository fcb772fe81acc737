"""What a database is to the harness: variants with their claims, servers to start, a client, and a view of its primary."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Hashable, Sequence
from datetime import UTC, datetime
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import msgspec

from splitbrain.harness.errors import raised_by, returned_by
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Variant
from splitbrain.harness.load.client import Client
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import Server
from splitbrain.harness.testbeds.testbed import Node

BESIDE = "splitbrain-ready/retry"
"""The key of the register that is written instead of one whose write failed, where clients try again."""


class Program(msgspec.Struct, frozen=True):
    """A server's program and the exact command that gets it where it is missing (`mend`)."""

    name: str
    mend: str


class Detection(msgspec.Struct, frozen=True):
    """After how many seconds of silence the servers of a cluster take one of them for gone, as they are started here: what that
    is called (`election time-out`), and `source`, where the number comes from."""

    name: str
    seconds: float
    source: str


class Closable(Client, Protocol):
    """A client that knows whether it was closed."""

    @property
    def closed(self) -> bool:
        """By `close`, or because a call's outcome is not known."""
        ...


C = TypeVar("C", bound=Closable)


class Connections(Generic[C]):
    """The connections of a database's own, behind `primary`, `ready`, `local` and `versions`: one to each node for each way of
    opening it, opened when it is first asked for and anew after a loss. Who asks while it is being opened waits for it."""

    def __init__(self, open: Callable[..., Awaitable[C]]) -> None:
        self._open = open
        self._clients: dict[tuple[str, tuple[Hashable, ...]], C] = {}
        self._turns: defaultdict[tuple[str, tuple[Hashable, ...]], asyncio.Lock] = defaultdict(asyncio.Lock)

    async def to(self, node: Node, *how: Hashable) -> C:
        """The connection that `open(node, *how)` made. Raises what that raises."""
        name = node.name, how
        async with self._turns[name]:
            client = self._clients.get(name)
            if client is None or client.closed:
                client = self._clients[name] = await self._open(node, *how)
            return client

    async def close(self) -> None:
        """Close them all."""
        for client in self._clients.values():
            await client.close()
        self._clients.clear()


def copies(database: Database, key: Key) -> tuple[str, ...]:
    """The nodes that hold a key, as the database's author tells it. Raises `UsageError` where they are none: taken as they are,
    copies would be compared, or not, that nobody meant."""
    try:
        told: Any = database.replicas(key)
    except Exception as error:
        raise raised_by(database.replicas, error) from error
    if isinstance(told, str) or not isinstance(told, Collection):
        raise returned_by(database.replicas, told, "no tuple of names of nodes")
    if unknown := [name for name in told if name not in database.nodes]:
        raise returned_by(database.replicas, told, f"{unknown[0]!r} is no node ({', '.join(database.nodes)})")
    return tuple(told)


def shard(database: Database, key: Key, shards: int) -> int:
    """The shard of a key, of so many. Raises `UsageError` where its author tells none of them."""
    try:
        told: Any = database.shard(key)
    except Exception as error:
        raise raised_by(database.shard, error) from error
    if type(told) is not int or not 0 <= told < shards:
        raise returned_by(database.shard, told, f"primaries() told the primaries of {shards}: from 0 to {shards - 1}")
    return told


def since_1970(text: str) -> float | None:
    """The seconds since 1970 that a text in ISO 8601 tells, in UTC where it names no zone; None where it tells none."""
    try:
        told = datetime.fromisoformat(text)
    except ValueError:
        return None
    return (told if told.tzinfo else told.replace(tzinfo=UTC)).timestamp()


class Database(ABC):
    """One database under test: one class in one file.

    Made once for a run with its plan and its nodes. Every method that talks to servers is bounded by its caller.
    """

    name: ClassVar[str]
    variants: ClassVar[tuple[Variant, ...]]
    """The first is the vendor's default."""
    programs: ClassVar[tuple[Program, ...]]
    driver: ClassVar[str] = ""
    """The extra of this package that brings the driver, empty where none is needed: `redis` for `splitbrain[redis]`."""
    modules: ClassVar[tuple[str, ...]] = ()
    """The modules that the driver's extra brings, for `doctor`. They are imported where they are used, never at the top of
    the module, so that `list` and `doctor` work without them."""
    default_nodes: ClassVar[int] = 5
    default_timeout: ClassVar[float] = 1.0
    """Seconds that an operation may take by default: longer where a server that is well sometimes needs longer."""
    starting: ClassVar[float] = 80.0
    """Seconds that its servers may take, all together, until they are ready."""
    busy: ClassVar[float] = 0.2
    """The part of a processor that one server of it takes, and what stands beside it, under the load of a usual plan: what
    `doctor` reckons with."""
    server: ClassVar[Server | None] = None
    """What `splitbrain servers get` fetches, where no package brings the programs."""
    newer: ClassVar[Program | None] = None
    """The program of another version than that which a run starts, for a rolling upgrade."""
    port: ClassVar[int]
    """The port that probes connect to."""

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        self.plan = plan
        self.nodes = {node.name: node for node in nodes}
        self.variant = next(variant for variant in self.variants if variant.name == plan.variant)

    @abstractmethod
    async def start(self) -> None:
        """Start every server and form the cluster; returns without waiting longer than forming it needs."""

    async def attach(self) -> None:
        """Instead of `start`, where the cluster runs already and is not ours: learn from it what `start` would have decided.
        Changes nothing, but may make a place of its own for what clients will write, which `remove` removes. By default there
        is nothing to learn. Raises `SetupError` for one that cannot be tested; also what a client raises."""

    async def found(self, needs: frozenset[Capability]) -> str:
        """The name of something in a cluster that is attached to, which clients would write by these capabilities under some
        key: it is not the run's, and would be taken for it. Empty where there is none, or, as by default, nobody looks."""
        return ""

    async def remove(self, needs: frozenset[Capability], keys: Collection[Key]) -> bool:
        """Remove from a cluster that was attached to what clients have written by these capabilities under these keys, and what
        `ready` wrote: it is as before then. False, as by default, where nothing is removed. May raise what a client raises."""
        return False

    @abstractmethod
    async def ready(self) -> bool:
        """Whether a write and a read go through on every node that should take them. Asked again until it is true; leaves
        no key of a workload behind (uses keys that begin with `splitbrain-ready`)."""

    @abstractmethod
    async def connect(self, server: Node) -> Client:
        """A new connection to that server alone. Raises `Refused` where it does not answer."""

    async def primary(self, node: Node) -> str | None:
        """Who this node (or the sentinel or router beside it) names as primary at this moment; None where it names none,
        or where the database has none. Asked several times a second: cheap, one request, its own connection kept."""
        return None

    def shard(self, key: Key) -> int:
        """Which of the database's shards, counted from 0, holds this key. Where shards have primaries of their own, the
        primary that an operation goes to is that of its key's shard."""
        return 0

    async def primaries(self, node: Node) -> tuple[str | None, ...]:
        """`primary`, for each shard; one request too. `primary` is that of the first shard."""
        return (await self.primary(node),)

    def replicas(self, key: Key) -> tuple[str, ...]:
        """The nodes that hold this key by design, whatever a fail-over has made of them: all of them unless it says else."""
        return tuple(self.nodes)

    @abstractmethod
    async def local(self, node: Node) -> Client:
        """A client that reads this node's own copy, asking no other node where the database allows it. It is the database's
        own, kept and opened anew when it was closed; nobody else closes it. Raises `Refused`."""

    async def clock(self, node: Node) -> float | None:
        """The wall clock of that node's server, in seconds since 1970, as it tells it; None where it does not say. What puts
        clocks wrong is proven by it, so that a database whose servers cannot tell it keeps this method as it is."""
        return None

    @classmethod
    def fixed(cls, variant: Variant) -> str:
        """Why the members of a cluster of that variant cannot be changed, the end of a sentence that names it; empty where they
        can: see `Membership`."""
        return "its file does not say how"

    @classmethod
    def unswitchable(cls, variant: Variant) -> str:
        """Why no operator can let nodes of that variant serve without a quorum, the end of a sentence that names it; empty
        where one can: see `Switchable`."""
        return "its file names no such switch"

    @classmethod
    def detection(cls, variant: Variant) -> Detection | None:
        """After how long a silence the servers of that variant take one of them for gone, so that faults can be shorter and
        longer than that; None where its file does not say."""
        return None

    async def detects_after(self, node: Node) -> float | None:
        """The seconds of `detection` as the server on that node has them; None where it cannot be asked."""
        return None

    @staticmethod
    def stamp(line: str) -> float | None:
        """When a line of a server's log was written, in seconds since 1970, as the line itself tells it (servers that are
        started log in UTC); None where it tells no time. The report shows lines near an anomaly by it."""
        return None

    @staticmethod
    def fatal(line: str) -> bool:
        """Whether a line of a server's log says why it ends, so that of one that died this is told, and not what else stands at
        the end of its log. By default no line is known to."""
        return False

    @abstractmethod
    async def versions(self) -> dict[str, str]:
        """Node → version, as the running servers report it."""

    async def close(self) -> None:
        """Give up connections of its own; never raises."""
