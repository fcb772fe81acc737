"""Redis, in the two ways that it survives the loss of a node: under Sentinel and as a cluster."""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Collection, Sequence
from itertools import count

from splitbrain.harness.databases.database import BESIDE, Connections, Detection, Program, since_1970
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.databases.redis_client import WAIT_MS, RedisClient, open_own
from splitbrain.harness.databases.redis_cluster import Cluster
from splitbrain.harness.databases.redis_sentinel import Sentinel
from splitbrain.harness.errors import Indeterminate, Refused
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node, Service

IMAGE = "redis:7.2.6"

_KEYED: frozenset[Capability] = frozenset(
    {"registers", "compare-and-set", "sets", "queues", "counters", "accounts", "locks", "fences", "ids"}
)
"""What has one key, or all its keys in one slot. The lists of transactions are read on the nodes that hold their own keys."""

_DOCUMENTATION = (
    "Redis documentation, High availability with Redis Sentinel: "
    "https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/"
)
_PERSISTENCE = (
    "Redis documentation, Redis persistence: https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/"
)
_DAMAGE = Damage(
    text="a server does not load a snapshot whose sum is wrong; its log of commands has no sums: one that lost its end is "
    "loaded without it, one that is no log in its middle is refused, other values are taken for the true ones, by replicas too",
    source=f"{_PERSISTENCE}; redis.conf, rdbchecksum and aof-load-truncated",
)
_LABELS = (
    Label("CP", "N. Hurst, Visual guide to NoSQL systems (2010): http://blog.nahurst.com/visual-guide-to-nosql-systems"),
    Label(
        "not consistent",
        "K. Kingsbury, Asynchronous replication with failover (2013): "
        "https://aphyr.com/posts/287-asynchronous-replication-with-failover",
    ),
)
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def _sentinel(name: str, summary: str, text: str, source: str, *tuned: str) -> Variant:
    """A variant of one primary that sentinels choose: whatever its options are, it promises and admits the same."""
    return Variant(
        name=name,
        summary=summary,
        reads="primary",
        writes="primary",
        claim=Claim(
            text=text,
            source=source,
            promises=("converges",),
            admits=("lost-write", "lost-element", "lost-append", "lost-transfer", "split-brain", "stale-read"),
        ),
        labels=_LABELS,
        offers=_KEYED | {"transactions"},
        tuned=(*Sentinel.TUNED, *tuned),
        damage=_DAMAGE,
        local="GET or SMEMBERS at each server, replica or not",
    )


class Redis(Membership):
    """Redis. The variants of Sentinel are in redis_sentinel.py, the cluster is in redis_cluster.py."""

    name = "redis"
    variants = (
        _sentinel(
            "sentinel",
            "one primary, asynchronous replicas, fail-over by a majority of sentinels",
            '"Sentinel + Redis distributed system does not guarantee that acknowledged writes are retained during '
            'failures, since Redis uses asynchronous replication."',
            _DOCUMENTATION,
        ),
        _sentinel(
            "sentinel-min-replicas",
            "the same; a primary refuses writes without a replica that answered within the last second or so",
            '"Using this configuration, the old Redis master M1 in the above example, will become unavailable after '
            '10 seconds." (here: 1 second; until then its writes may be lost)',
            _DOCUMENTATION,
            "min-replicas-to-write 1 (default 0)", "min-replicas-max-lag 1 (default 10)",
        ),
        _sentinel(
            "sentinel-wait",
            "the same; a write counts only after WAIT says that every replica has it",
            '"WAIT does not make Redis a strongly consistent store"',
            "Redis documentation, WAIT: https://redis.io/docs/latest/commands/wait/",
            f"every write is followed by WAIT for all replicas, {WAIT_MS} ms; fewer is indeterminate",
        ),
        _sentinel(
            "sentinel-fsync-always",
            "the same; every server writes a log of commands, and syncs it before it answers",
            '"appendfsync always: fsync every time new commands are appended to the AOF. Very very slow, very safe." '
            "(of one server; replicas lag)",
            _PERSISTENCE,
            "appendonly yes (default no)", "appendfsync always (default everysec)",
        ),
        _sentinel(
            "sentinel-fsync-everysec",
            "the same; every server writes a log of commands, and syncs it once a second",
            '"appendfsync everysec: fsync every second. Fast enough [...], and you may lose 1 second of data if there is a '
            'disaster."',
            _PERSISTENCE,
            "appendonly yes (default no)",
        ),
        _sentinel(
            "sentinel-fsync-no",
            "the same; every server writes a log of commands, and leaves it to the operating system when it is synced",
            '"appendfsync no: Never fsync, just put your data in the hands of the Operating System."',
            _PERSISTENCE,
            "appendonly yes (default no)", "appendfsync no (default everysec)",
        ),
        Variant(
            name="cluster",
            nodes=6,
            least=3,
            summary="hash slots over several primaries, asynchronous replicas, fail-over by a majority of the primaries",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"Usually there are small windows where acknowledged writes can be lost. Windows to lose acknowledged '
                'writes are larger when clients are in a minority partition."',
                source="Redis documentation, Redis cluster specification: "
                "https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/",
                promises=("converges",),
                admits=("lost-write", "lost-element", "lost-append", "lost-transfer", "split-brain", "stale-read"),
            ),
            labels=_LABELS[:1],
            offers=_KEYED,
            tuned=Cluster.TUNED,
            damage=_DAMAGE,
            local="GET or SMEMBERS at each server that holds the key's shard, replica or not",
        ),
    )
    programs = (
        Program("redis-server", "apt-get install redis-server"),
        Program("redis-sentinel", "apt-get install redis-sentinel"),
    )
    driver = "redis"
    modules = ("hiredis",)
    busy = 0.1
    port = 6379
    least = 4  # of three shards one must have a replica: slots would have no owner

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._own = Connections(open_own)
        self._deployment = self._deploy()

    def _deploy(self) -> Sentinel | Cluster:
        nodes = list(self.nodes.values())
        match self.variant.name:
            case "cluster":
                return Cluster(nodes, self._own, self.port, IMAGE)
            case "sentinel-min-replicas":
                settings = ("min-replicas-to-write 1", "min-replicas-max-lag 1")
                return Sentinel(nodes, self._own, self.port, IMAGE, settings=settings)
            case "sentinel-fsync-always" | "sentinel-fsync-everysec" | "sentinel-fsync-no":
                settings = ("appendonly yes", f"appendfsync {self.variant.name.rpartition('-')[2]}")
                return Sentinel(nodes, self._own, self.port, IMAGE, settings=settings)
            case "sentinel-wait":
                return Sentinel(nodes, self._own, self.port, IMAGE, wait=len(nodes) - 1)
            case _:
                return Sentinel(nodes, self._own, self.port, IMAGE)

    async def start(self) -> None:
        """Start the servers and form the group or the cluster."""
        await self._deployment.start()

    async def attach(self) -> None:
        """Ask the sentinels what they watch, or the servers of a cluster whose the slots are."""
        await self._deployment.attach()

    async def found(self, needs: frozenset[Capability]) -> str:
        """By SCAN at every server."""
        for node in self.nodes.values():
            if name := await (await self.local(node)).found(needs):
                return name
        return ""

    async def remove(self, needs: frozenset[Capability], keys: Collection[Key]) -> bool:
        """At the primary of each key's shard. Raises `Refused` where nobody knows all of them."""
        named = [await self.primaries(node) for node in self.nodes.values()]
        owners = next((known for known in named if all(known)), None)
        if owners is None:
            raise Refused("no-primary")
        together = not needs.isdisjoint({"accounts", "transactions"})
        places = [(None if together else key, key, needs) for key in keys]
        places += [(key, key, frozenset({"registers"})) for key in (*map(self._ready_key, range(len(owners))), BESIDE)]
        problem: Exception | None = None
        for place, key, written in places:
            owner = owners[self.shard(place)]
            assert owner is not None
            try:
                await (await self._own.to(self.nodes[owner], self.port)).remove(key, written)
            except (Refused, Indeterminate) as error:
                problem = error  # Those of the others are removed.
        if problem is not None:
            raise problem
        return True

    async def ready(self) -> bool:
        """The group or cluster is formed as all its members see it, and a write and a read went through on every primary;
        under Sentinel every replica has the write."""
        try:
            primaries = await self._deployment.formed()
            served = await asyncio.gather(*(self._serves(shard, node) for shard, node in enumerate(primaries)))
        except (Refused, Indeterminate):
            return False
        return bool(served) and all(served)

    async def _serves(self, shard: int, node: Node) -> bool:
        key, client, token = self._ready_key(shard), await self._own.to(node, self.port), secrets.randbits(32)
        await client.write(key, token)
        replicas = await client.call("WAIT", self._deployment.replicas, WAIT_MS)
        return int(replicas) >= self._deployment.replicas and await client.read(key) == token

    def _ready_key(self, shard: int) -> str:
        return next(key for key in (f"splitbrain-ready/{number}" for number in count()) if self.shard(key) == shard)

    async def connect(self, server: Node) -> RedisClient:
        """A connection to that node's server."""
        return await self._deployment.connect(server)

    def shard(self, key: Key) -> int:
        """The shard of a key; there is one shard under Sentinel."""
        return self._deployment.shard(key)

    def replicas(self, key: Key) -> tuple[str, ...]:
        """The nodes of the key's shard."""
        return self._deployment.holders(key)

    async def primaries(self, node: Node) -> tuple[str | None, ...]:
        """Who serves each shard, as that node knows; where it knows nothing, None for each."""
        try:
            return await self._deployment.primaries(node)
        except (Refused, Indeterminate):
            return (None,) * self._deployment.shards

    async def primary(self, node: Node) -> str | None:
        """Whom that node knows as primary, in a cluster as the primary of the first shard."""
        return (await self.primaries(node))[0]

    async def local(self, node: Node) -> RedisClient:
        """A connection that reads that node's server, replica or not."""
        return await self._deployment.local(node)

    async def clock(self, node: Node) -> float:
        """What TIME says."""
        seconds, micros = await (await self._own.to(node, self.port)).call("TIME")
        return int(seconds) + int(micros) / 1e6

    @classmethod
    def fixed(cls, variant: Variant) -> str:
        """What forgetting a node would take of sentinels."""
        if variant.name == "cluster":
            return ""
        return "a sentinel forgets one replica only with all of them (SENTINEL RESET), and nobody commits that"

    @classmethod
    def detection(cls, variant: Variant) -> Detection:
        """What its sentinels, or the servers of a cluster, are told."""
        return Cluster.DETECTION if variant.name == "cluster" else Sentinel.DETECTION

    async def detects_after(self, node: Node) -> float:
        """What the sentinel there, or the server, has been told."""
        return await self._deployment.detects_after(node)

    async def members(self, asked: Node) -> frozenset[str]:
        """Those of CLUSTER NODES."""
        return await self._cluster.members(asked)

    async def remove_member(self, name: str, asked: Node) -> None:
        """By CLUSTER FORGET at every other node."""
        await self._cluster.remove_member(name, asked)

    async def add_member(self, name: str, asked: Node) -> Service:
        """Nothing but to forget what it was: a node is let in once it runs."""
        return await self._cluster.add_member(name)

    async def join_member(self, name: str, asked: Node) -> None:
        """By CLUSTER MEET, and CLUSTER REPLICATE of its shard's primary."""
        await self._cluster.join_member(name, asked)

    @property
    def _cluster(self) -> Cluster:
        """Raises `TypeError`."""
        if not isinstance(self._deployment, Cluster):
            raise TypeError("what is done to members is refused under Sentinel")
        return self._deployment

    @staticmethod
    def stamp(line: str) -> float | None:
        """`5:M 28 Nov 2026 17:58:26.330 * `, of servers and of sentinels."""
        found = re.match(r"\d+:[A-Z] (\d\d) ([A-Z][a-z]{2}) (\d{4}) ([\d:.]{12}) ", line)
        if found is None or found[2] not in _MONTHS:
            return None
        return since_1970(f"{found[3]}-{_MONTHS.index(found[2]) + 1:02d}-{found[1]} {found[4]}")

    @staticmethod
    def fatal(line: str) -> bool:
        """A crash report, a failed assertion, and what it cannot go on with when it starts."""
        told = r"crashed by signal|ASSERTION FAILED|\*\*\* FATAL|Fatal error|Out Of Memory|[Ee]xiting|Bad file format"
        return re.search(told, line) is not None

    async def versions(self) -> dict[str, str]:
        """`redis_version` of INFO."""
        versions = {}
        for node in self.nodes.values():
            info = await (await self._own.to(node, self.port)).call("INFO", "server")
            lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
            versions[node.name] = lines["redis_version"]
        return versions

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()
