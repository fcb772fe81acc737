"""The reference database: our own small server (the folder `server`), whose designs have answers known in advance.

The folder is shipped to every node and run by Python there. The client speaks its JSON lines over a plain
stream: one request, one line back, with the same id.
"""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.databases.connection import Connection
from splitbrain.harness.databases.database import Connections, Database, Program
from splitbrain.harness.databases.reference.server.modes.dynamo import N, preference
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Label, Promise, Route, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node, Service

MAX_LINE = 8 << 20
_SERVER = Path(__file__).with_name("server")


class ReferenceClient(Connection):
    """One connection to one server; its reads ask the server's own copy where it is `local`."""

    ERRORS: ClassVar[dict[str, bool]] = {
        "no-quorum": True,
        "not-primary": True,
        "no-lease": True,
        "unsupported": True,
        "in-doubt": True,
        "compacted": True,
        "bad-request": True,
        "timeout": False,
        "peer-lost": False,
        "demoted": False,
    }
    """The server's word, which is the reason → whether the operation certainly did not happen. A refusal counts only where
    the table and the answer agree that it is definite; any other word, a lost connection and nonsense are indefinite."""

    DECIDED: ClassVar[frozenset[str]] = frozenset({"conflict", "locked", "taken"})
    """Words of a decision against the operation, for the sake of another."""

    REFUSABLE: ClassVar[frozenset[str]] = frozenset({"cas", "transfer", "acquire", "renew", "release", "guarded-write"})
    """The requests that the database may decide against, with what it saw."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, local: bool = False) -> None:
        self._local = "local-" if local else ""
        self._reader = reader
        self._writer = writer
        self._calls = 0
        self._turn = asyncio.Lock()

    async def read(self, key: Key) -> int | None:
        """The value of a register, None where there is none."""
        return await self._number(await self.call(self._local + "read", key=key), "value")

    async def write(self, key: Key, value: int) -> None:
        """Set a register."""
        await self.call("write", key=key, value=value)

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Set a register if it holds `expected`."""
        answer = await self.call("cas", key=key, expected=expected, new=new)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))

    async def add(self, key: Key, element: int) -> None:
        """Add an element to a set."""
        await self.call("add", key=key, element=element)

    async def elements(self, key: Key) -> list[int]:
        """The elements of a set."""
        return await self._numbers(await self.call(self._local + "elements", key=key))

    async def increment(self, key: Key, amount: int) -> None:
        """Add to a counter."""
        await self.call("increment", key=key, amount=amount)

    async def count(self, key: Key) -> int:
        """What a counter has come to."""
        return (await self._integers((await self.call(self._local + "count", key=key)).get("value")))[0]

    async def deposit(self, key: Key, amount: int) -> None:
        """Put money into an account."""
        await self.call("deposit", key=key, amount=amount)

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """Move money between accounts."""
        answer = await self.call("transfer", source=source, target=target, amount=amount)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """What accounts hold."""
        told = (await self.call(self._local + "balances", keys=list(keys))).get("balances")
        balances = await self._integers(*told) if isinstance(told, list) else []
        if len(balances) != len(keys):
            raise await self._lost("garbled-answer")
        return dict(zip(keys, balances, strict=True))

    async def enqueue(self, key: Key, element: int) -> None:
        """Put an element at the end of a queue."""
        await self.call("enqueue", key=key, element=element)

    async def dequeue(self, key: Key) -> int | None:
        """Take the first element of a queue out."""
        return await self._number(await self.call("dequeue", key=key), "value")

    async def waiting(self, key: Key) -> list[int]:
        """The elements of a queue."""
        return await self._numbers(await self.call(self._local + "waiting", key=key))

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """Take a lock; its fence."""
        answer = await self._decided("acquire", key=key, owner=owner, lease=round(lease * 1000))
        return (await self._integers(answer.get("fence")))[0]

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """Begin a lock's lease anew."""
        await self._decided("renew", key=key, owner=owner, lease=round(lease * 1000))

    async def release(self, key: Key, owner: int) -> None:
        """Give a lock back."""
        await self._decided("release", key=key, owner=owner)

    async def holder(self, key: Key) -> int | None:
        """Who holds a lock."""
        return await self._number(await self.call(self._local + "holder", key=key), "value")

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """Set a register that a lock guards."""
        await self._decided("guarded-write", key=key, value=value, fence=fence)

    async def next_id(self, key: Key) -> int:
        """An identifier."""
        return (await self._integers((await self.call("id", key=key)).get("value")))[0]

    async def watch(self, key: Key, since: int) -> list[tuple[int, int]]:
        """The changes of a register after a revision."""
        told = (await self.call(self._local + "watch", key=key, since=since)).get("changes")
        try:
            changes = [(revision, value) for revision, value in told]  # type: ignore[union-attr]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        for change in changes:
            await self._integers(*change)
        return changes

    async def _decided(self, op: str, **fields: Any) -> dict[str, Any]:
        answer = await self.call(op, **fields)
        if not answer["ok"]:
            raise Mismatch(await self._number(answer, "seen"))
        return answer

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """Do a transaction."""
        told = (await self.call(self._local + "txn", micros=list(micros))).get("micros")
        try:
            done = tuple((f, key, value) for f, key, value in told)  # type: ignore[union-attr]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        if [micro[:2] for micro in done] != [micro[:2] for micro in micros]:
            raise await self._lost("garbled-answer")
        return done

    async def call(self, op: str, **fields: Any) -> dict[str, Any]:
        """One request and its answer, which has a boolean `ok`, false only for what the table `REFUSABLE` names."""
        async with self._turn:
            if self.closed:
                raise Refused("no-connection")
            self._calls += 1
            number = self._calls
            request = {"id": number, "op": op, **fields}
            try:
                self._writer.write(json.dumps(request, separators=(",", ":")).encode() + b"\n")
                line = await self._reader.readuntil(b"\n")
            except (OSError, EOFError) as error:
                raise await self._lost("connection-lost") from error
            except asyncio.LimitOverrunError as error:
                raise await self._lost("garbled-answer") from error
            except BaseException:
                await self.close()
                raise
        try:
            answer = json.loads(line)
            if answer["id"] != number:
                raise ValueError("an answer to something else")
            reason = answer.get("error")
            if reason is None and (answer["ok"] is True or (answer["ok"] is False and op in self.REFUSABLE)):
                return dict(answer)
            if answer["definite"] is True and reason in self.DECIDED:
                raise Mismatch
            definite = answer["definite"] is True and self.ERRORS.get(reason, False)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise await self._lost("garbled-answer") from error
        if definite:
            raise Refused(reason)
        raise await self._lost(*((reason,) if reason in self.ERRORS else ("unknown-error", line.decode(errors="replace"))))

    async def close(self) -> None:
        """End the connection at once."""
        self._writer.transport.abort()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._writer.transport.is_closing()

    async def _number(self, answer: dict[str, Any], field: str) -> int | None:
        number = answer.get(field, "missing")
        if number is not None and type(number) is not int:
            raise await self._lost("garbled-answer")
        return number

    async def _numbers(self, answer: dict[str, Any]) -> list[int]:
        elements = answer.get("elements")
        if not isinstance(elements, list) or any(type(element) is not int for element in elements):
            raise await self._lost("garbled-answer")
        return elements

    async def _integers(self, *numbers: Any) -> list[int]:
        if any(type(number) is not int for number in numbers):
            raise await self._lost("garbled-answer")
        return list(numbers)


_ALL: frozenset[Capability] = frozenset({"registers", "compare-and-set", "sets"})

_STORE: frozenset[Capability] = _ALL | {"queues", "locks", "fences", "ids", "watches"}
"""What the modes have whose store is one primary's."""


APART = "-apart"
"""The end of the name of a variant whose nodes' clocks are apart, each by `SKEW` more than the one before."""

SKEW = 0.25
"""Seconds."""


def mode(variant: str) -> str:
    """The server's mode behind a variant."""
    return variant.removesuffix(APART)


def _variant(
    name: str,
    summary: str,
    route: Route,
    label: str,
    known: str,
    *,
    promises: tuple[Promise, ...] = (),
    admits: tuple[str, ...] = (),
    offers: frozenset[Capability] = _ALL,
) -> Variant:
    source = f"reference/server, mode {mode(name)}"
    return Variant(
        name=name,
        summary=summary,
        reads=route,
        writes=route,
        claim=Claim(text=f'"Known answer: {known}"', source=source, promises=promises, admits=admits),
        labels=(Label(label, source),),
        offers=offers,
        local="what each server's own copy holds",
    )


_LOST = ("lost-write", "lost-element", "stale-read")


_MISSED = ("G-single", "G-single-realtime", "G2-item", "G2-item-realtime")
"""The cycles of transactions that missed each other."""

_TRANSACTIONAL: tuple[tuple[str, str, str, tuple[Promise, ...], tuple[str, ...]], ...] = (
    ("txn-serializable", "transactions that commit only if nothing that they read has changed",
     "strictly serializable; a side without a majority is blocked.", ("strict-serializable",), ()),
    ("txn-serializable-write-skew", "the same with a planted fault: some reads are not checked",
     "write skew (G2-item), and nothing that snapshot isolation forbids.", (), ("G2-item",)),
    ("txn-snapshot", "transactions that read a snapshot, of which the first to commit wins",
     "snapshot isolation; write skew; a side without a majority is blocked.", ("snapshot-isolation",), ("G2-item",)),
    ("txn-snapshot-read-skew", "the same with a planted fault: some reads see what was committed since",
     "read skew (G-single).", (), ("G-single",)),
    ("txn-snapshot-lost-update", "the same with a planted fault: the last to commit wins",
     "lost updates, of lists too.", (), ("lost-append", "lost-update", "incompatible-order")),
    ("txn-read-committed", "transactions whose reads see the last commit",
     "read committed; lost updates, read skew and write skew; a side without a majority is blocked.", ("read-committed",),
     ("lost-update", *_MISSED)),
    ("txn-read-committed-dirty", "the same with a planted fault: some writes that are rolled back were seen",
     "aborted reads.", (), ("G1a",)),
)
"""Name, what it is, known answer, promises, what it admits."""


class Reference(Database):
    """The reference database; each variant is one of its server's modes."""

    name = "reference"
    variants: ClassVar[tuple[Variant, ...]] = (
        _variant(
            "majority",
            "consensus for every key: changes and reads need a majority",
            "home",
            "CP",
            "linearizable; a side without a majority is blocked.",
            promises=("linearizable", "no-lost-write", "converges"),
        ),
        _variant(
            "majority-no-writeback",
            "majority writes and majority reads that do not write back what they return",
            "home",
            "available only to a majority, yet not linearizable",
            "new/old inversion, hence not linearizable; a side without a majority is blocked.",
            promises=("converges",),
            admits=("stale-read", "non-monotonic-read"),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "quorum-clock",
            "majority writes and majority reads; the greatest wall clock wins",
            "home",
            "available only to a majority, yet not linearizable",
            "new/old inversion, hence not linearizable;",
            promises=("converges",),
            admits=("stale-read", "non-monotonic-read"),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "quorum-clock-apart",
            "quorum-clock on nodes whose clocks are apart",
            "home",
            "loses acknowledged writes without a fault",
            "new/old inversion, hence not linearizable; where clocks are apart, acknowledged writes are lost even without a "
            "fault;",
            promises=("converges",),
            admits=("lost-write", "stale-read", "non-monotonic-read"),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "all-sync",
            "every write waits for every replica, and reads answer from one",
            "home",
            "consistent; any cut blocks all writes",
            "linearizable; any cut blocks all writes.",
            promises=("linearizable", "no-lost-write", "converges"),
        ),
        _variant(
            "primary-async",
            "one primary, asynchronous replicas, fail-over by the votes of a majority",
            "primary",
            "neither C nor A",
            "acknowledged writes are lost; neither consistent nor available.",
            promises=("converges",),
            admits=(*_LOST, "split-brain", "duplicate-id", "stale-fence", "missed-event"),
            offers=_STORE,
        ),
        _variant(
            "lww",
            "every node accepts; the last write by wall clock wins; gossip",
            "home",
            "AP",
            "available everywhere, converges after heal, loses concurrent writes.",
            promises=("available", "converges"),
            admits=(*_LOST, "non-monotonic-read"),
        ),
        _variant(
            "vector-clock",
            "every node accepts; what was written beside each other is kept, and merged on read",
            "home",
            "AP",
            "available everywhere, converges after heal, and of a set nothing acknowledged is lost.",
            promises=("available", "no-lost-write", "converges"),
            admits=("stale-read",),
            offers=frozenset({"sets"}),
        ),
        _variant(
            "dynamo-one",
            "three replicas of a key, of which one confirms a write and one answers a read",
            "home",
            "AP",
            "available wherever a replica of the key is in reach, stale reads; converges after heal.",
            promises=("converges",),
            admits=(*_LOST, "split-brain", "non-monotonic-read"),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "dynamo-quorum",
            "three replicas of a key, of which two confirm a write and two answer a read",
            "home",
            "available only to two replicas of a key, yet not linearizable",
            "a side that lacks two replicas of a key is blocked on it; no read misses an acknowledged write while clocks "
            "agree, yet a read may see a write that a later one misses;",
            promises=("no-lost-write", "converges"),
            admits=("non-monotonic-read",),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "dynamo-sloppy",
            "the same, where other nodes stand in for replicas that are out of reach",
            "home",
            "AP",
            "available on every side of two nodes, stale reads though r + w > n; converges after heal.",
            promises=("converges",),
            admits=(*_LOST, "split-brain", "non-monotonic-read"),
            offers=_ALL - {"compare-and-set"},
        ),
        _variant(
            "split-brain",
            "every side makes a primary of its own, and nothing fences the old one",
            "primary",
            "neither C nor A: a lineage is lost",
            "two lineages, acknowledged writes are lost.",
            promises=("converges",),
            admits=(*_LOST, "split-brain", "duplicate-id", "stale-fence", "missed-event"),
            offers=_STORE,
        ),
        _variant(
            "fenced-primary",
            "one primary with a lease, elected by a majority for a generation that replicas check",
            "primary",
            "CP",
            "linearizable; a side without a majority is blocked.",
            promises=("linearizable", "no-lost-write", "converges"),
            offers=_STORE,
        ),
        _variant(
            "counter-crdt",
            "a counter that every node counts its own part of, merged behind",
            "home",
            "AP",
            "available everywhere; the sum is right after the heal.",
            promises=("available", "converges"),
            admits=("stale-read",),
            offers=frozenset({"counters"}),
        ),
        _variant(
            "two-phase",
            "a bank whose transfers lock accounts at a majority, in two phases",
            "home",
            "CP",
            "the total is conserved and nothing is overdrawn; a side without a majority is blocked.",
            promises=("linearizable", "converges"),
            offers=frozenset({"accounts"}),
        ),
        _variant(
            "ap-ledger",
            "a bank whose every branch goes on by itself; logs are merged",
            "home",
            "AP",
            "available everywhere, converges after heal; accounts are overdrawn, and the total is conserved.",
            promises=("available", "converges"),
            admits=("negative-balance",),
            offers=frozenset({"accounts"}),
        ),
        *(
            _variant(
                name, summary, "primary", "available only to a majority", known, promises=("converges", *promises),
                admits=admits, offers=frozenset({"transactions"}),
            )
            for name, summary, known, promises, admits in _TRANSACTIONAL
        ),
    )
    programs = (Program("python3", "apt-get install python3"),)
    port = 7400

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._own = Connections(self._open)

    async def start(self) -> None:
        """Start the server on every node."""
        files = {f"server/{file.relative_to(_SERVER)}": file.read_text() for file in sorted(_SERVER.rglob("*.py"))}
        await asyncio.gather(*(node.start(self._service(node, files)) for node in self.nodes.values()))

    def _service(self, node: Node, files: dict[str, str]) -> Service:
        peers = [f"--peer={peer.name}={peer.address}:{self.port}" for peer in self.nodes.values() if peer is not node]
        return Service(
            name="reference",
            argv=(
                "python3",
                "-I",
                "{folder}/server",
                f"--name={node.name}",
                f"--listen={node.address}:{self.port}",
                *peers,
                f"--mode={mode(self.variant.name)}",
                f"--skew={SKEW * list(self.nodes).index(node.name) if self.variant.name.endswith(APART) else 0}",
                "--data={folder}",
            ),
            files=files,
            image="python:3.11.10-slim",
            memory_mb=24,
        )

    async def ready(self) -> bool:
        """Every server says so, all name the same primary (or none), and a write and a read went through on each of them that
        takes operations; where there is a primary, the write has reached every copy."""
        try:
            answers = await asyncio.gather(*(self._status(node) for node in self.nodes.values()))
            named = {answer["primary"] for answer in answers}
            if len(named) != 1 or not all(answer["ready"] for answer in answers):
                return False
            if self.variant.writes == "home":
                return all(await asyncio.gather(*(self._serves(node) for node in self.nodes.values())))
            primary = named.pop()
            return primary in self.nodes and await self._serves(self.nodes[primary], copies=True)
        except (Refused, Indeterminate, TimeoutError, KeyError):
            return False

    async def _serves(self, node: Node, *, copies: bool = False) -> bool:
        client, key, token = await self._own.to(node), f"splitbrain-ready/{node.name}", secrets.randbits(32)
        offers = self.variant.offers
        if "counters" in offers:
            await client.increment(key, 1)
            return await client.count(key) > 0
        if "accounts" in offers:
            await client.deposit(key, 1)
            return (await client.balances([key]))[key] > 0
        if "transactions" in offers:
            await client.txn([("w", key, token)])
        else:
            await client.write(key, token)
        if await self._held(client, key) != token:
            return False
        others = [await self.local(other) for other in self.nodes.values()] if copies else []
        async with asyncio.timeout(1):
            while any([await self._held(other, key) != token for other in others]):
                await asyncio.sleep(0.01)
        return True

    async def _held(self, client: ReferenceClient, key: Key) -> Any:
        if "transactions" in self.variant.offers:
            return (await client.txn([("r", key, None)]))[0][2]
        return await client.read(key)

    async def connect(self, server: Node) -> ReferenceClient:
        """A connection to that server."""
        return await self._open(server)

    async def _open(self, server: Node, local: bool = False) -> ReferenceClient:
        try:
            reader, writer = await asyncio.open_connection(server.address, self.port, limit=MAX_LINE)
        except OSError as error:
            raise Refused("no-connection") from error
        return ReferenceClient(reader, writer, local=local)

    async def primary(self, node: Node) -> str | None:
        """Whom the server on that node believes to be primary."""
        try:
            named = (await self._status(node)).get("primary")
        except (Refused, Indeterminate):
            return None
        return named if named in self.nodes else None

    async def local(self, node: Node) -> ReferenceClient:
        """A connection whose reads ask the server's own copy."""
        return await self._own.to(node, True)

    def replicas(self, key: Key) -> tuple[str, ...]:
        """All nodes, or the first in the key's order."""
        if self.variant.name.startswith("dynamo-"):
            return tuple(preference(list(self.nodes), key)[:N])
        return super().replicas(key)

    async def clock(self, node: Node) -> float:
        """What its status says."""
        return float((await self._status(node))["clock"]) / 1e9

    @staticmethod
    def stamp(line: str) -> float | None:
        """The first word."""
        found = re.match(r"\d{9,10}\.\d{3} ", line)
        return float(found[0]) if found is not None else None

    async def versions(self) -> dict[str, str]:
        """This package's version, whose server it is that answers."""
        await asyncio.gather(*(self._status(node) for node in self.nodes.values()))
        return {name: version("splitbrain") for name in self.nodes}

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _status(self, node: Node) -> dict[str, Any]:
        return await (await self._own.to(node)).call("status")
