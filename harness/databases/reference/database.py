"""The reference database: our own small server (the folder `server`), whose designs have answers known in advance.

The folder is shipped to every node and run by Python there.
"""

from __future__ import annotations

import asyncio
import re
import secrets
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.databases.database import Connections, Detection, Program
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.databases.reference.client import MAX_LINE, ReferenceClient
from splitbrain.harness.databases.reference.server.modes.dynamo import N, preference
from splitbrain.harness.databases.reference.server.modes.fenced_primary import FencedPrimary
from splitbrain.harness.databases.reference.server.unfenced import Unfenced
from splitbrain.harness.databases.switchable import Switchable
from splitbrain.harness.errors import Indeterminate, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability, Claim, Damage, Label, Promise, Route, Variant
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node, Service

_SERVER = Path(__file__).with_name("server")

_ALL: frozenset[Capability] = frozenset({"registers", "compare-and-set", "sets"})

_STORE: frozenset[Capability] = _ALL | {"queues", "locks", "fences", "ids", "watches"}
"""What the modes have whose store is one primary's."""


APART = "-apart"
"""The end of the name of a variant whose nodes' clocks are apart, each by `SKEW` more than the one before."""

SKEW = 0.25
"""Seconds."""


_DAMAGE = Damage(
    text="its journal has no sums: a last line that is torn is cut off, one that is no JSON ends the server, and other values "
    "are taken for the true ones",
    source="reference/server/journal.py",
)


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
    keys: int = 0,
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
        keys=keys,
        damage=_DAMAGE,
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
    ("txn-snapshot-read-skew", "the same with a planted fault: some reads see half of the next commit",
     "read skew (G-single), and nothing else that snapshot isolation forbids.", (), ("G-single", "G2-item")),
    ("txn-snapshot-lost-update", "the same with a planted fault: the last to commit wins",
     "lost updates, of lists too.", (), ("lost-append", "lost-update", "incompatible-order")),
    ("txn-read-committed", "transactions whose reads see the last commit",
     "read committed; lost updates, read skew and write skew; a side without a majority is blocked.", ("read-committed",),
     ("lost-update", *_MISSED)),
    ("txn-read-committed-dirty", "the same with a planted fault: some writes that are rolled back were seen",
     "aborted reads.", (), ("G1a",)),
)
"""Name, what it is, known answer, promises, what it admits."""


def _files() -> dict[str, str]:
    """The server's program, as it is shipped to a node."""
    return {f"server/{file.relative_to(_SERVER)}": file.read_text() for file in sorted(_SERVER.rglob("*.py"))}


class Reference(Membership, Switchable):
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
            "majority-amnesia",
            "majority, where a member that was wiped votes as if it had its data still",
            "home",
            "loses acknowledged writes where members are replaced",
            "where members are replaced one after the other, acknowledged writes are lost.",
            admits=(*_LOST, "non-monotonic-read"),
            keys=400,
        ),
        _variant(
            "majority-switch",
            "majority, until an operator lets a side without a quorum serve by itself",
            "home",
            "CP, and AP at the price of what is discarded once an operator says so",
            "linearizable; a side without a majority is blocked, unless an operator lets it serve: what it acknowledges then "
            "is discarded, and its reads are stale.",
            promises=("converges",),
            admits=(*_LOST, "non-monotonic-read"),
        ),
        _variant(
            "majority-no-writeback",
            "majority writes and majority reads that do not write back what they return",
            "home",
            "available only to a majority, yet not linearizable",
            "new/old inversion, and now and then a write gives way to one that was read before it began, hence not "
            "linearizable; a side without a majority is blocked.",
            promises=("converges",),
            admits=("lost-write", "stale-read", "non-monotonic-read"),
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
            "available everywhere, converges after heal; accounts are overdrawn, what is read was so at no one moment, and the "
            "total is conserved.",
            promises=("available", "converges"),
            admits=("negative-balance", "inconsistent-analysis"),
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
        files = _files()
        await asyncio.gather(*(node.start(self._service(node, files)) for node in self.nodes.values()))

    async def attach(self) -> None:
        """Raises `SetupError` where a server has another name than its node, or another mode than that of the variant."""
        for node in self.nodes.values():
            told, wanted = await self._status(node), mode(self.variant.name)
            if (told["name"], told["mode"]) != (node.name, wanted):
                raise SetupError(
                    f"the server on {node.name} was started with --name={told['name']} --mode={told['mode']}: the variant "
                    f"'{self.variant.name}' needs --name={node.name} --mode={wanted}."
                )

    def _service(self, node: Node, files: dict[str, str], *more: str) -> Service:
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
                *more,
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

    @classmethod
    def fixed(cls, variant: Variant) -> str:
        """All but `majority` have their members from their command line."""
        return "" if variant.name in ("majority", "majority-amnesia") else "its servers are started with a list of them"

    @classmethod
    def detection(cls, variant: Variant) -> Detection | None:
        """That of the modes which have a primary; in the others nobody is elected, and nobody is taken for gone."""
        if variant.writes == "home":
            return None
        if variant.name in ("primary-async", "split-brain"):
            return Detection("patience with a primary", Unfenced.PATIENCE_WITH_PRIMARY, "reference/server/unfenced.py")
        return Detection("lease", FencedPrimary.HOLD, "reference/server/modes/fenced_primary.py")

    async def members(self, asked: Node) -> frozenset[str]:
        """What its status says, while it votes."""
        status = await self._status(asked)
        if not status["ready"]:
            raise Refused("no-member")
        return frozenset(status["members"])

    async def remove_member(self, name: str, asked: Node) -> None:
        """A new epoch without it."""
        await (await self._own.to(asked)).call("remove-member", member=name)

    async def add_member(self, name: str, asked: Node) -> Service:
        """A new epoch with it; it votes once the others have given it what they hold."""
        await (await self._own.to(asked)).call("add-member", member=name)
        return self._service(self.nodes[name], _files(), "--join")

    @classmethod
    def unswitchable(cls, variant: Variant) -> str:
        """All but `majority-switch` have no such command."""
        return "" if variant.name == "majority-switch" else "only the servers of 'majority-switch' can"

    async def allow_minority(self, node: Node) -> None:
        """It answers from its own copy, and the last write by wall clock wins."""
        await (await self._own.to(node)).call("allow-minority")

    async def forbid_minority(self, node: Node) -> None:
        """What it acknowledged without a quorum is discarded."""
        await (await self._own.to(node)).call("forbid-minority")

    async def minority_allowed(self, node: Node) -> bool:
        """What its status says."""
        return bool((await self._status(node))["alone"])

    async def clock(self, node: Node) -> float:
        """What its status says."""
        return float((await self._status(node))["clock"]) / 1e9

    @staticmethod
    def stamp(line: str) -> float | None:
        """The first word."""
        found = re.match(r"\d{9,10}\.\d{3} ", line)
        return float(found[0]) if found is not None else None

    @staticmethod
    def fatal(line: str) -> bool:
        """The last line of a traceback."""
        return re.match(r"[A-Za-z_][\w.]*(Error|Exception|Exit|Interrupt)(:|$)", line) is not None

    async def versions(self) -> dict[str, str]:
        """This package's version, whose server it is that answers."""
        await asyncio.gather(*(self._status(node) for node in self.nodes.values()))
        return {name: version("splitbrain") for name in self.nodes}

    async def close(self) -> None:
        """Close the connections of its own."""
        await self._own.close()

    async def _status(self, node: Node) -> dict[str, Any]:
        return await (await self._own.to(node)).call("status")
