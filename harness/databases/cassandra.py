"""Cassandra: no primary, every node answers for the cluster, and each call says how many replicas must.

Of two plain writes the one with the later timestamp wins. They carry the client's clock, as those of the drivers do, or in the
variants `...-server-clock` none, and the node that coordinates them gives them its own. Where `serial` is asked for, every
write is a lightweight transaction, since plain writes beside them void what they promise; the other variants therefore offer
no compare-and-set, and no queues and locks either, which take one.
"""

from __future__ import annotations

import asyncio
import math
import re
from bisect import bisect_left
from collections.abc import Awaitable, Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from splitbrain.harness.databases.cassandra_client import (
    ALL,
    ANY,
    BIGINT,
    NODE_LOCAL,
    ONE,
    QUORUM,
    SERIAL,
    CassandraClient,
    Level,
    text,
)
from splitbrain.harness.databases.cassandra_server import (
    CASSANDRA,
    JAVA,
    JAVA_17,
    JMX,
    LAUNCHER,
    LOGBACK,
    NODETOOL,
    YAML,
    delays,
)
from splitbrain.harness.databases.cassandra_structures import CounterTable, Plain, Serial
from splitbrain.harness.databases.database import Connections, Detection, Program, since_1970
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import Indeterminate, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node, Service

REPLICAS = 3
"""Copies of every row; on fewer nodes, one on each."""

DELAY, QUARANTINE = 1, 60
"""Seconds that the ring is given to hear of a change, and that who left is not heard, where no member changes."""
CHANGING_DELAY, CHANGING_QUARANTINE = 10, 30
"""The same where members change. Until all have heard of one that leaves or joins, they send it, or its heirs, no writes."""

PHI = 8
"""`phi_convict_threshold`, the default."""

_LOOK = 0.5
"""Seconds between two looks whether a node has left."""

WARMING, WARMTH = 3, 30
"""Connections to each node, and writes and reads on each of them, that warm it."""

_SCHEMA = (
    "CREATE KEYSPACE IF NOT EXISTS splitbrain WITH replication = "
    "{{'class': 'SimpleStrategy', 'replication_factor': {replicas}}}",
    "CREATE TABLE IF NOT EXISTS splitbrain.registers "
    "(key text PRIMARY KEY, value bigint, count bigint, id bigint, owner bigint, fence bigint)",
    "CREATE TABLE IF NOT EXISTS splitbrain.sets (key text, element bigint, PRIMARY KEY (key, element))",
)

_TUNED = (
    "GossipingPropertyFileSnitch (default SimpleSnitch) and dynamic_snitch false (default true): a node asks itself first",
    "num_tokens 1 with given tokens (default 16), auto_bootstrap false (default true)",
    "read_request_timeout, write_request_timeout and cas_contention_timeout nine tenths of an operation's time-out (defaults "
    "5s, 2s, 1.8s)",
    "hints_flush_period 1s (default 10s), cassandra.ring_delay_ms 1000 (default 30000)",
    "where members change, cassandra.ring_delay_ms 10000 and cassandra.gossip_quarantine_delay_ms 30000 (default 60000); who "
    "joins has auto_bootstrap true and cassandra.ring_delay_ms 40000, so that all hear it before it is given its rows",
    "commitlog_segment_size 4MiB (default 32MiB), memtable_heap_space 64MiB, -Xmx256m, SerialGC, C1 alone: for memory",
    "cassandra.memtable.row_overhead_size 180: the bytes that a node otherwise measures at every start, for seconds",
    "cassandra.enable_nodelocal_queries true (default false): a node is asked for its own copy, and no client uses it",
)
_DYNAMO = "https://cassandra.apache.org/doc/5.0/cassandra/architecture/dynamo.html"
_GUARANTEES = "https://cassandra.apache.org/doc/5.0/cassandra/architecture/guarantees.html"
_DAMAGE = Damage(
    text="every chunk of a table and every section of the commit log has a sum: a node stops serving that reads a wrong one of "
    "a table, does not start with a log that is wrong before its end, and may go on without an end that is",
    source="Cassandra documentation 5.0, crc_check_chance of a table, disk_failure_policy and commit_failure_policy: "
    "https://cassandra.apache.org/doc/5.0/cassandra/managing/configuration/cass_yaml_file.html",
)
_LABELS = (
    Label("AP", "N. Hurst, Visual guide to NoSQL systems (2010): http://blog.nahurst.com/visual-guide-to-nosql-systems"),
    Label(
        "PA/EL",
        "D. Abadi, Consistency tradeoffs in modern distributed database system design, IEEE Computer 45(2), 2012: "
        "https://www.cs.umd.edu/~abadi/papers/abadi-pacelc.pdf",
    ),
)
_LOCAL = (
    "SELECT with consistency NODE_LOCAL at each node that holds the row, which asks nobody else (ONE where a server does not "
    "permit that: it asks itself first, and another one where it is slow)"
)
_PLAIN: frozenset[Capability] = frozenset({"registers", "sets", "counters", "accounts", "ids"})
_CONDITIONAL: frozenset[Capability] = frozenset(
    {"registers", "compare-and-set", "sets", "queues", "counters", "locks", "fences", "ids", "transactions"}
)

_APART = ("wrong-total", "negative-balance", "inconsistent-analysis", "long-fork")
"""What comes of calls that read and write apart, and of reads beside a batch: only within a partition it is isolated."""


def _variant(name: str, summary: str, claim: Claim, *tuned: str) -> Variant:
    """A variant of plain reads and writes."""
    return Variant(
        name=name, summary=summary, reads="home", writes="home", claim=claim, labels=_LABELS, offers=_PLAIN,
        tuned=(*_TUNED, *tuned), damage=_DAMAGE, local=_LOCAL,
    )


def _by_server_clock(variant: Variant) -> Variant:
    """The same, but the coordinator stamps the writes."""
    return msgspec.structs.replace(
        variant,
        name=f"{variant.name}-server-clock",
        summary="the same; each write gets its timestamp from the node that coordinates it, not from the client",
        tuned=(*variant.tuned, "writes without a timestamp (the drivers' default is the client's clock)"),
    )


_ONE = _variant(
    "one",
    "the drivers' default: one replica acknowledges a write, one answers a read",
    Claim(
        text='"Divergent versions of the same data may exist temporarily, but they are eventually reconciled to a '
        'consistent state."',
        source=f"Cassandra documentation 5.0, Guarantees: {_GUARANTEES}",
        promises=("converges",),
        admits=("lost-write", "stale-read", "non-monotonic-read", "split-brain", *_APART),
    ),
)
_QUORUM = _variant(
    "quorum",
    "a majority of the replicas acknowledges a write, a majority answers a read",
    Claim(
        text='"If QUORUM is used for both writes and reads, at least one of the replicas is guaranteed to participate '
        'in both the write and the read request, which in turn guarantees that the quorums will overlap and the write '
        'will be visible to the read."',
        source=f"Cassandra documentation 5.0, Dynamo: {_DYNAMO}",
        promises=("converges",),
        admits=("lost-write", "stale-read", *_APART),
    ),
    "consistency QUORUM (the drivers' default is LOCAL_ONE)",
)
_ALL = _variant(
    "all",
    "every replica acknowledges a write, every replica answers a read",
    Claim(
        text='"All of the replicas must respond."',
        source=f"Cassandra documentation 5.0, Dynamo: {_DYNAMO}",
        promises=("converges",),
        admits=("lost-write", "stale-read", *_APART),
    ),
    "consistency ALL (the drivers' default is LOCAL_ONE)",
)
_ANY = msgspec.structs.replace(
    _variant(
        "any",
        "a write is acknowledged as soon as any node has it, even as a hint; one replica answers a read",
        Claim(
            text='"A single replica may respond, or the coordinator may store a hint. If a hint is stored, the coordinator '
            'will later attempt to replay the hint and deliver the mutation to the replicas."',
            source=f"Cassandra documentation 5.0, Dynamo: {_DYNAMO}",
            promises=("available", "converges"),
            admits=("lost-write", "stale-read", "non-monotonic-read", "split-brain", *_APART),
        ),
        "writes with consistency ANY, reads with ONE (the drivers' default is LOCAL_ONE)",
    ),
    # A transfer is a logged batch, which two other nodes have to keep before it is written: more than is claimed of ANY.
    offers=_PLAIN - {"accounts"},
)
_SERIAL = msgspec.structs.replace(
    _variant(
        "serial",
        "every write is a lightweight transaction (Paxos), every read asks the same majority",
        Claim(
            text='"Lightweight transactions with linearizable consistency"',
            source=f"Cassandra documentation 5.0, Guarantees: {_GUARANTEES}",
            # Not that copies become equal: hints are a best effort, who finishes another's transaction leaves none, and no
            # read of this variant repairs a copy. What a copy missed it lacks until `nodetool repair`.
            promises=("linearizable", "no-lost-write"),
        ),
        "paxos_variant v2 (default v1)",
        "SERIAL, commits with QUORUM (the drivers' default is LOCAL_ONE)",
    ),
    offers=_CONDITIONAL,
    # Of two transactions on a key at once, one is often told that its outcome is not known: on 200 keys one write in a hundred.
    keys=600,
)
_COUNTER_TABLE = msgspec.structs.replace(
    _variant(
        "counter-table",
        "counters that additions are sent to, a majority of the replicas acknowledges one, a majority answers a read",
        Claim(
            text='"if a counter update fails unexpectedly (timeout or loss of connection to the coordinator node), the client '
            'has no way to know if the update has been applied or not"',
            source="Cassandra documentation 5.0, Counters: "
            "https://cassandra.apache.org/doc/5.0/cassandra/developing/cql/counter-column.html",
            promises=("converges",),
            admits=("stale-read",),
        ),
        "consistency QUORUM (the drivers' default is LOCAL_ONE)",
    ),
    offers=frozenset({"counters"}),
)


class Cassandra(Membership):
    """Cassandra 5.0, on every node.

    A node that is removed gives its rows to those that are left (`nodetool decommission`); one that is down cannot, and stays a
    member. Who joins in its place takes the same part of the ring under a new host identifier, and is given its rows.
    """

    name = "cassandra"
    variants = (_ONE, _by_server_clock(_ONE), _QUORUM, _by_server_clock(_QUORUM), _SERIAL, _ALL, _ANY, _COUNTER_TABLE)
    programs = (
        Program("java", "apt-get install openjdk-17-jre-headless"),
        Program("cassandra", "splitbrain servers get cassandra"),
    )
    driver = "cassandra"
    modules = ("cassandra",)
    server = CASSANDRA
    default_nodes = 3
    default_timeout = 2.0
    starting = 240.0
    busy = 0.5
    port = 9042
    least = REPLICAS + 1
    changing = 120.0
    leaving = 30.0
    joining = 150.0
    replacing = 180.0

    LEVELS: ClassVar[dict[str, Level]] = {
        "one": Level(ONE, ONE),
        "one-server-clock": Level(ONE, ONE, stamped=False),
        "quorum": Level(QUORUM, QUORUM),
        "quorum-server-clock": Level(QUORUM, QUORUM, stamped=False),
        "serial": Level(SERIAL, QUORUM, stamped=False),
        "all": Level(ALL, ALL),
        "any": Level(ONE, ANY),
        "counter-table": Level(QUORUM, QUORUM, stamped=False),
    }
    """Variant → how it calls."""

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._tokens = {node.name: -(2**63) + number * 2**64 // len(nodes) for number, node in enumerate(nodes)}
        self._places = sorted((token, name) for name, token in self._tokens.items())
        """The tokens and whose they are."""
        self._replicas = min(REPLICAS, len(nodes))
        self._warm: set[tuple[str, int]] = set()
        self._own = Connections(self._open)
        self._copies = Connections(self._open_copy)
        self._hosts: dict[str, Any] = {}
        """Node that was to leave → its host identifier then."""
        self._left: dict[str, Any] = {}
        """The same of those that left: whoever has it still has not heard of who joined."""
        kinds: dict[str, type[CassandraClient]] = {"serial": Serial, "counter-table": CounterTable}
        self._kind = kinds.get(plan.variant, Plain)

    async def start(self) -> None:
        """Start every node, wait until all of them are in the ring, and create the tables on all of them."""
        async with asyncio.TaskGroup() as group:
            for node in self.nodes.values():
                group.create_task(self._start(node))
        await self._create()

    async def attach(self) -> None:
        """Learn the ring, and make a keyspace of its own. Raises `SetupError` for a cluster that has other nodes too, or such a
        keyspace already."""
        clients = {node.name: await self._own.to(node) for node in self.nodes.values()}
        own = {name: (await client.call("SELECT host_id, tokens, partitioner FROM system.local"))[0]
               for name, client in clients.items()}
        names = {row["host_id"]: name for name, row in own.items()}
        first = next(iter(clients.values()))
        peers = await first.call("SELECT peer, host_id FROM system.peers_v2") or []
        if others := [str(row["peer"]) for row in peers if row["host_id"] not in names]:
            raise SetupError(
                f"the cluster has {len(peers) + 1} nodes, and these are none of the {len(self.nodes)} that are named: "
                f"{', '.join(others)}. Name all of them."
            )
        if wrong := [row["partitioner"] for row in own.values() if not row["partitioner"].endswith(".Murmur3Partitioner")]:
            raise SetupError(f"the cluster has the partitioner {wrong[0]}: only Murmur3Partitioner's rings are known.")
        if await first.call("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = 'splitbrain'"):
            raise SetupError("the cluster has a keyspace 'splitbrain' already, as from a run before: drop it first.")
        self._places = sorted((int(token), name) for name, row in own.items() for token in row["tokens"])
        await self._create()

    async def remove(self, needs: frozenset[Capability], keys: Collection[Key]) -> bool:
        """The keyspace is the run's own."""
        await (await self._own.to(next(iter(self.nodes.values())))).call("DROP KEYSPACE splitbrain")
        return True

    async def _create(self) -> None:
        for statement in (*_SCHEMA, *self._kind.TABLES):
            first = await self._own.to(next(iter(self.nodes.values())))
            try:
                await first.call(statement.format(replicas=self._replicas))
            except (Refused, Indeterminate) as error:
                raise SetupError(f"the tables could not be created: {error}.") from error
        while not await _went(self._agree()):
            await asyncio.sleep(0.1)

    async def _agree(self) -> bool:
        """Whether the nodes' schemas are of the same version."""
        clients = [await self._own.to(node) for node in self.nodes.values()]
        rows = [await client.call("SELECT schema_version FROM system.local") for client in clients]
        return len({str(row[0]["schema_version"]) for row in rows}) == 1

    async def _start(self, node: Node) -> None:
        await node.start(self._service(node))
        while True:
            try:
                peers = await (await self._own.to(node)).call("SELECT peer FROM system.peers_v2")
                if len(peers or ()) == len(self.nodes) - 1:
                    return
            except (Refused, Indeterminate) as error:
                if not node.running("cassandra"):
                    raise SetupError(f"{node.name}: cassandra ended. {_last_words(node)}") from error
            await asyncio.sleep(0.1)

    def _jars(self) -> Path | None:
        """The folder of jars that the plan's `binary` is; None where it is a program, holds one, or is not given. Raises
        `SetupError` for a folder that holds neither."""
        folder = Path(self.plan.binary).expanduser().absolute()
        if not self.plan.binary or not folder.is_dir() or (folder / "cassandra").is_file():
            return None
        if not [*folder.glob("cassandra-all-5.*.jar"), *folder.glob("apache-cassandra-5.*.jar")]:
            raise SetupError(
                f"{folder}, where --binary says that Cassandra is, holds neither the program cassandra nor Cassandra's jars "
                "(no cassandra-all-5.*.jar and no apache-cassandra-5.*.jar): 'splitbrain servers get cassandra' fetches them."
            )
        return folder

    def _service(self, node: Node, *, joins: bool = False) -> Service:
        jars = self._jars()
        # A node that is a seed of its own asks nobody for its rows.
        seeds = ",".join(other.address for other in self.nodes.values() if not joins or other is not node)
        known = {"address": node.address, "seeds": seeds, "token": str(self._tokens[node.name]),
                 "bootstrap": str(joins).lower(), "timeout": str(int(self.plan.timeout * 900)), "folder": "{folder}"}
        ring, quarantine = (CHANGING_DELAY, CHANGING_QUARANTINE) if self.changes else (DELAY, QUARANTINE)
        java = (*JAVA, *delays(ring + quarantine * joins, quarantine))
        if self.changes:
            java += (f"-Dcassandra.jmx.local.port={JMX}",)
        return Service(
            name="cassandra",
            argv=("/bin/sh", "{folder}/cassandra") if jars else ("cassandra", "-f", "-R"),
            # The image's entry point writes these into the file again, whatever the file says.
            env={
                "CASSANDRA_CONF": ".",
                **({"CASSANDRA_JARS": str(jars)} if jars else {}),
                "CASSANDRA_SEEDS": seeds,
                **{
                    f"CASSANDRA_{name}": node.address
                    for name in ("LISTEN_ADDRESS", "BROADCAST_ADDRESS", "RPC_ADDRESS", "BROADCAST_RPC_ADDRESS")
                },
            },
            files={
                "cassandra.yaml": YAML.format_map(known),
                "cassandra-rackdc.properties": "dc=dc1\nrack=rack1\n",
                "jvm-server.options": "\n".join(java) + "\n",
                "jvm17-server.options": "\n".join(JAVA_17) + "\n",
                "logback.xml": LOGBACK,
                **({"cassandra": LAUNCHER} if jars else {}),
                **({"nodetool": NODETOOL} if self.changes else {}),
            },
            image="cassandra:5.0.2",
            memory_mb=450,
        )

    async def ready(self) -> bool:
        """Through every node a write to all replicas and a read of all replicas went through; then the nodes were warmed."""
        if not all(await asyncio.gather(*(_went(self._serves(node)) for node in self.nodes.values()))):
            return False
        places = [(node, number) for node in self.nodes.values() for number in range(WARMING)]
        return all(await asyncio.gather(*(_went(self._warmed(*place)) for place in places)))

    async def _warmed(self, node: Node, number: int) -> bool:
        """Write and read, once, until Java has compiled the way of it: a cold node takes many times as long for one call."""
        if (node.name, number) in self._warm:
            return True
        client = await self.connect(node)
        try:
            for value in range(WARMTH):
                await client.write(f"splitbrain-ready/{node.name}/{number}", value)
                await client.read(f"splitbrain-ready/{node.name}/{number}")
        finally:
            await client.close()
        self._warm.add((node.name, number))
        return True

    async def _serves(self, node: Node) -> bool:
        client = await self._own.to(node)
        for number in range(len(self.nodes) * 2):
            key = text(f"splitbrain-ready/{number}")
            update = "UPDATE splitbrain.registers SET value = ? WHERE key = ?"
            await client.call(update, BIGINT.pack(number), key, consistency=ALL)
            select = "SELECT value FROM splitbrain.registers WHERE key = ?"
            if await client.call(select, key, consistency=ALL) != [{"value": number}]:
                return False
        transaction = "INSERT INTO splitbrain.sets (key, element) VALUES (?, ?) IF NOT EXISTS"
        await client.call(transaction, text(f"splitbrain-ready/{node.name}"), BIGINT.pack(1), consistency=ALL)
        return True

    async def connect(self, server: Node) -> CassandraClient:
        """A connection to that node."""
        return await self._open(server, self.LEVELS[self.variant.name])

    def replicas(self, key: Key) -> tuple[str, ...]:
        """The first node on the ring from the key's token on, and those that follow it."""
        from cassandra.metadata import Murmur3Token

        first = bisect_left(self._places, (Murmur3Token.hash_fn(text(key)), ""))
        following = dict.fromkeys(name for _, name in (*self._places[first:], *self._places[:first]))
        return tuple(following)[: self._replicas]

    async def local(self, node: Node) -> CassandraClient:
        """A connection that reads that node's own copy, where it is a replica of the key."""
        return await self._copies.to(node)

    async def clock(self, node: Node) -> float:
        """The node's own time of day; `now()` would never go back."""
        rows = await (await self._own.to(node)).call("SELECT toUnixTimestamp(current_timestamp()) AS told FROM system.local")
        return float(rows[0]["told"]) / 1000

    @classmethod
    def detection(cls, variant: Variant) -> Detection:
        """Of all variants: nobody is elected, but who is silent so long is taken for down."""
        return Detection(
            "phi_convict_threshold", _silence(PHI),
            "N. Hayashibara et al., The phi accrual failure detector (2004), as Cassandra 5.0's FailureDetector has it: a node "
            f"is down when its silence is {PHI} (the default) times ln 10 as long as the heartbeats are apart, a second",
        )

    async def detects_after(self, node: Node) -> float:
        """That of its settings."""
        select = "SELECT value FROM system_views.settings WHERE name = 'phi_convict_threshold'"
        rows = await (await self._own.to(node)).call(select)
        return _silence(float(rows[0]["value"]))

    async def members(self, asked: Node) -> frozenset[str]:
        """Those in its ring, each under the host identifier that it has now. Raises `Refused` where it is in no ring itself."""
        ring = await self._ring(asked)
        return frozenset(name for name, host in ring.items() if name not in self._left or host != self._left[name])

    async def remove_member(self, name: str, asked: Node) -> None:
        """Have it give its rows away and leave (nodetool decommission), until `asked` has it in its ring no more."""
        node = self.nodes[name]
        if name not in await self._ring(asked):
            return
        if not node.running("cassandra"):
            raise Refused("not-running", "a node that is down has no rows to give away")
        self._hosts[name] = (await self._ring(node))[name]  # Others may not have heard of it since it was last replaced.
        ran = await node.run(("/bin/sh", f"{node.folder}/nodetool", "decommission"), timeout=2 * self.changing)
        if ran.code != 0:
            raise Refused("not-decommissioned", " ".join((ran.stdout + ran.stderr).split()))
        while name in await self._ring(asked):
            await asyncio.sleep(_LOOK)

    async def add_member(self, name: str, asked: Node) -> Service:
        """It asks to be let in by itself. Its delay is longer than the others hear nobody at its address: before that is over,
        they would send it no writes, and what is written meanwhile would be on a node less than its writer was told."""
        if name in self._hosts:
            self._left[name] = self._hosts[name]
        return self._service(self.nodes[name], joins=True)

    async def _ring(self, asked: Node) -> dict[str, Any]:
        """The nodes that have a place in the ring, as that server has it, with their host identifiers (None: not heard yet)."""
        client = await self._own.to(asked)
        (own,) = await client.call("SELECT bootstrapped, host_id FROM system.local")
        if own["bootstrapped"] != "COMPLETED":
            raise Refused("no-member")
        names = {node.address: node.name for node in self.nodes.values()}
        peers = {str(row["peer"]): row["host_id"] for row in await client.call("SELECT peer, host_id FROM system.peers_v2")}
        return {asked.name: own["host_id"], **{names[peer]: host for peer, host in peers.items() if peer in names}}

    @staticmethod
    def stamp(line: str) -> float | None:
        """`INFO  2026-11-28 18:17:43,597 `, as our own logback.xml has it written."""
        found = re.match(r"[A-Z]+ +([-\d]{10} [\d:]{8}),(\d{3}) ", line)
        return since_1970(f"{found[1]}.{found[2]}") if found is not None else None

    @staticmethod
    def fatal(line: str) -> bool:
        """What Cassandra exits for, what the Java machine does, and what it cannot start with."""
        return re.search(
            r"encountered during startup|# A fatal error has been detected|^(Exception in thread|Terminating due to|Error: )"
            r"|java\.lang\.OutOfMemoryError|^ERROR .*(Exiting|exiting|stopping the daemon)", line) is not None

    async def versions(self) -> dict[str, str]:
        """`release_version` of each node's own row."""
        versions = {}
        for node in self.nodes.values():
            rows = await (await self._own.to(node)).call("SELECT release_version FROM system.local")
            versions[node.name] = str(rows[0]["release_version"])
        return versions

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._copies.close()
        await self._own.close()

    async def _open(self, server: Node, level: Level | None = None) -> CassandraClient:
        try:
            reader, writer = await asyncio.open_connection(server.address, self.port)
        except OSError as error:
            raise Refused("no-connection") from error
        client = self._kind(reader, writer, level or Level(ONE, ONE))
        try:
            await client.greet()
        except BaseException:
            await client.close()
            raise
        return client


    async def _open_copy(self, server: Node) -> CassandraClient:
        client = await self._open(server, Level(NODE_LOCAL, ONE))
        try:
            await client.call("SELECT release_version FROM system.local", consistency=NODE_LOCAL)
            return client
        except Refused as error:
            await client.close()
            if error.reason != "invalid":
                raise
        except BaseException:
            await client.close()
            raise
        # A server that was not started for this, as one of somebody else, refuses the level.
        return await self._open(server)


async def _went(step: Awaitable[bool]) -> bool:
    """Whether it came to an end that is good."""
    try:
        return await step
    except (Refused, Indeterminate):
        return False


def _silence(phi: float) -> float:
    """The seconds of silence that make so much suspicion, of heartbeats that are a second apart."""
    return round(phi * math.log(10), 1)


def _last_words(node: Node) -> str:
    log = node.log("cassandra")
    text = log.read_text(errors="replace") if log.exists() else ""
    if missing := re.search(r"(?:NoClassDefFoundError|ClassNotFoundException): ([\w./$]+)", text):
        return f"A jar is missing: there is no class {missing[1].replace('/', '.')} in those that it was started with."
    return (text.splitlines() or ["It logged nothing."])[-1]
