"""Redis Cluster: hash slots over several primaries, each with at most one asynchronous replica, one server on every node.

Of N nodes the first M = max(3, (N + 1) // 2) are the first primaries and share the slots in order; the others replicate
them in turn (6 nodes: 3+3, 5 nodes: 3+2, 3 nodes: 3+0). The slots of one primary are a **shard**; a fail-over moves a shard
as a whole, so that the server of a key is the owner of its shard, as the server on a worker's home knows it. Of a cluster that
is attached to, they are read from its servers.

No majority decides who is a member: a node is removed once each of the others has forgotten it. One that is a primary hands
its shard to its replica first (CLUSTER FAILOVER, which loses nothing); where it has none it stays, for its slots would have no
owner. Whoever joins again is a replica in the shard that it was in.
"""

from __future__ import annotations

import asyncio
import binascii
import contextlib
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from splitbrain.harness.databases import redis_service
from splitbrain.harness.databases.database import Connections, Detection
from splitbrain.harness.databases.redis_client import RedisClient, open_client
from splitbrain.harness.errors import Indeterminate, Refused, SetupError, UsageError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.testbeds.testbed import Node, Service

SLOTS = 16384
_NODE_TIMEOUT_MS = 2000
_LISTENING = 5.0
"""Seconds that a server may take to listen, and to hear of its primary."""

_LOOK = 0.02
"""Seconds between two looks at what a server knows by now."""


class Cluster:
    """One cluster."""

    TUNED: ClassVar[tuple[str, ...]] = (
        f"cluster-node-timeout {_NODE_TIMEOUT_MS} (default 15000)",
        "repl-diskless-sync-delay 0 (default 5)",
        "protected-mode no (default yes)",
    )

    DETECTION: ClassVar[Detection] = Detection(
        "cluster-node-timeout", _NODE_TIMEOUT_MS / 1000,
        "redis.conf; Redis documentation, Redis cluster specification: a node is taken for failing that is \"not reachable for "
        "more than NODE_TIMEOUT time\"",
    )

    def __init__(self, nodes: Sequence[Node], own: Connections[RedisClient], port: int, image: str) -> None:
        if len(nodes) < 3:
            raise UsageError("redis cluster needs 3 primaries, hence at least 3 nodes (6 for a replica of each): --nodes 6.")
        self.replicas = 0
        self._nodes = nodes
        self._own = own
        self._port = port
        self._image = image
        self._named = {node.address: node.name for node in nodes}
        """A server's address, or the identity by which a cluster that is attached to knows it → its node."""
        shards, names = max(3, (len(nodes) + 1) // 2), [node.name for node in nodes]
        self._set_layout([
            _Shard(((number * SLOTS // shards, (number + 1) * SLOTS // shards - 1),), tuple(names[number::shards]))
            for number in range(shards)
        ])

    def _set_layout(self, layout: Sequence[_Shard]) -> None:
        self._layout = layout
        self._by_slot = [0] * SLOTS
        for number, shard in enumerate(layout):
            for first, last in shard.slots:
                self._by_slot[first : last + 1] = [number] * (last + 1 - first)

    @property
    def shards(self) -> int:
        """How many there are."""
        return len(self._layout)

    async def start(self) -> None:
        """Start every server, give the first of them their slots, let all of them meet, and attach the replicas."""
        await asyncio.gather(*(node.start(self._server(node)) for node in self._nodes))
        async with asyncio.timeout(2 * _LISTENING):
            clients = await asyncio.gather(*(self._listening(node) for node in self._nodes))
            identities = [(await client.call("CLUSTER", "MYID")).decode() for client in clients]
            for number, client in enumerate(clients):
                await client.call("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
                if number < self.shards:
                    ((first, last),) = self._layout[number].slots
                    await client.call("CLUSTER", "ADDSLOTS", *range(first, last + 1))
            for number, client in enumerate(clients):
                for other in self._nodes[number + 1 :]:
                    await client.call("CLUSTER", "MEET", other.address, self._port)
            for number, client in enumerate(clients[self.shards :]):
                identity = identities[number % self.shards]
                while identity not in await _text(client, "CLUSTER", "NODES"):
                    await asyncio.sleep(0.02)
                await client.call("CLUSTER", "REPLICATE", identity)

    async def attach(self) -> None:
        """Learn by which identities the servers know each other, which slots are whose, and who replicates whom. Raises
        `SetupError` for one that has other servers too, or slots that are nobody's or on their way."""
        for node in self._nodes:
            own = next(one for one in await self._known(node) if one.myself)
            self._named[own.identity] = node.name
            if own.moving:
                raise SetupError(f"slots of {node.name} are being moved: end that first (redis-cli --cluster fix).")
        known = await self._known(self._nodes[0])
        if others := [one.address or one.identity for one in known if one.identity not in self._named]:
            raise SetupError(
                f"the cluster has {len(known)} servers, and these are none of the {len(self._nodes)} nodes: "
                f"{', '.join(others)}. Name all of them, or have the cluster forget those that are gone (CLUSTER FORGET)."
            )
        layout = []
        for primary in sorted((one for one in known if one.slots), key=lambda one: one.slots):
            holders = [primary, *(one for one in known if one.primary == primary.identity)]
            layout.append(_Shard(primary.slots, tuple(self._named[one.identity] for one in holders)))
        assigned = sum(last + 1 - first for shard in layout for first, last in shard.slots)
        if assigned != SLOTS:
            raise SetupError(f"{assigned} of the cluster's {SLOTS} slots have an owner: give the others one first.")
        held = [name for shard in layout for name in shard.holders]
        if idle := [node.name for node in self._nodes if node.name not in held]:
            raise SetupError(f"{', '.join(idle)} has no slots, and replicates nobody of the cluster who has some.")
        self._set_layout(layout)

    def _server(self, node: Node) -> Service:
        return redis_service.server(
            node, self._port, self._image, "cluster-enabled yes", f"cluster-node-timeout {_NODE_TIMEOUT_MS}",
            f"cluster-announce-ip {node.address}",
        )

    async def _listening(self, node: Node) -> RedisClient:
        while True:
            try:
                return await self._own.to(node, self._port, "READONLY")
            except Refused:
                await asyncio.sleep(0.02)

    def shard(self, key: Key) -> int:
        """The shard of a key."""
        name = f"{{{key}}}"
        return self._by_slot[binascii.crc_hqx((name[1 : name.index("}")] or name).encode(), 0) % SLOTS]

    def holders(self, key: Key) -> tuple[str, ...]:
        """The first primary of the key's shard, and the nodes that replicate it."""
        return self._layout[self.shard(key)].holders

    async def formed(self) -> tuple[Node, ...]:
        """The shards' primaries, once every server knows all of them and calls the cluster well, and every replica is in sync;
        until then nothing."""
        views = await asyncio.gather(*(self._view(node) for node in self._nodes))
        owners = views[0]
        if any(view != owners for view in views) or not all(owners):
            return ()
        return tuple(node for owner in owners for node in self._nodes if node.name == owner)

    async def _view(self, node: Node) -> tuple[str | None, ...]:
        client = await self.local(node)
        info = _lines(await _text(client, "CLUSTER", "INFO"))
        replication = _lines(await _text(client, "INFO", "replication"))
        known = await self._known(node)
        whole = len(known) == len(self._nodes) and sum(not one.primary for one in known) == self.shards
        in_sync = replication.get("master_link_status", "up") == "up"
        if info["cluster_state"] != "ok" or not in_sync or not whole or not all(one.met and one.lives for one in known):
            return ()
        return await self.primaries(node)

    async def primaries(self, node: Node) -> tuple[str | None, ...]:
        """Who serves each shard, as the server on that node knows. Raises `Refused` or `Indeterminate` where it does not
        answer."""
        return self._owners(await (await self.local(node)).call("CLUSTER", "SLOTS"))

    async def detects_after(self, node: Node) -> float:
        """What the server on that node says. Raises `Refused` or `Indeterminate` where it does not answer."""
        _, milliseconds = await (await self.local(node)).call("CONFIG", "GET", "cluster-node-timeout")
        return int(milliseconds) / 1000

    def _owners(self, reply: list[list[Any]]) -> tuple[str | None, ...]:
        """The owner of each shard's first slot in an answer to CLUSTER SLOTS."""
        owners: list[str | None] = []
        for shard in self._layout:
            first = shard.slots[0][0]
            address, _, identity = next((entry[2][:3] for entry in reply if entry[0] <= first <= entry[1]), (None, 0, None))
            told = [one.decode() for one in (identity, address) if one]
            owners.append(next((self._named[one] for one in told if one in self._named), None))
        return tuple(owners)

    async def members(self, asked: Node) -> frozenset[str]:
        """The nodes that it has met and not forgotten. Raises `Refused` where it has no slots and is no replica in sync."""
        known = await self._known(asked)
        own = next(one for one in known if one.myself)
        link = _lines(await _text(await self.local(asked), "INFO", "replication")).get("master_link_status")
        if link != "up" if own.primary else not own.slots:
            raise Refused("no-member")
        return frozenset(name for one in known if one.met and (name := self._names(one)))

    async def remove_member(self, name: str, asked: Node) -> None:
        """Have its replica take its slots where it has some, then every other node forget it, and itself all of them. A node
        hears of one that it forgot from the others again, but not within 60 s: all of them forget it within these. Raises
        `Refused` or `Indeterminate`."""
        await self._hand_over(name, asked)
        await self._forget(name)
        with contextlib.suppress(Refused, Indeterminate):  # it may be down: its data is wiped in any case
            await (await self.local(self._node(name))).call("CLUSTER", "RESET", "HARD")

    async def add_member(self, name: str) -> Service:
        """Have every other node forget what was at that address."""
        await self._forget(name)
        return self._server(self._node(name))

    async def join_member(self, name: str, asked: Node) -> None:
        """Introduce it to `asked`, and make it a replica of its shard's primary once it has heard of that."""
        node = self._node(name)
        known = await self._known(node)
        own = next(one for one in known if one.myself)
        if all(one.identity != own.identity for one in await self._known(asked)):
            await (await self.local(asked)).call("CLUSTER", "MEET", node.address, self._port)
            raise Refused("meeting")
        shard = [one.name for one in self._nodes].index(name) % self.shards
        owner = (await self.primaries(asked))[shard]
        primary = next((one for one in known if one.met and self._names(one) == owner), None)
        if primary is None:
            raise Refused("meeting")
        if own.primary != primary.identity:
            await (await self.local(node)).call("CLUSTER", "REPLICATE", primary.identity)

    async def _hand_over(self, name: str, asked: Node) -> None:
        """Have a replica of that node take its slots where it has some. A refusal means that nobody could."""
        known = await self._known(asked)
        old = next((one for one in known if self._names(one) == name and one.slots), None)
        if old is None:
            return
        heir = next((one for one in known if one.primary == old.identity and self._names(one)), None)
        if heir is None:
            raise Refused("no-replica")
        await (await self.local(self._node(self._named[heir.address]))).call("CLUSTER", "FAILOVER")
        while any(self._names(one) == name and one.slots for one in await self._known(asked)):
            await asyncio.sleep(_LOOK)

    async def _forget(self, name: str) -> None:
        """Have every node but that forget whoever is at its address, and who is at none: what a node was that joined anew."""
        others = [node for node in self._nodes if node.name != name]
        for done in await asyncio.gather(*(self._forgotten(name, node) for node in others), return_exceptions=True):
            if isinstance(done, BaseException):
                raise done  # but all others were asked

    async def _forgotten(self, name: str, node: Node) -> None:
        while any(self._names(one) == name and one.slots for one in await self._known(node)):
            await asyncio.sleep(_LOOK)
        for one in await self._known(node):
            if not one.address or self._names(one) == name:
                await (await self.local(node)).call("CLUSTER", "FORGET", one.identity)

    async def _known(self, node: Node) -> list[_Known]:
        """Whom the server on that node knows, also those whom it is about to meet, or whose address it has no more."""
        known = []
        for line in (await _text(await self.local(node), "CLUSTER", "NODES")).splitlines():
            identity, place, told, primary, _, _, _, _, *slots = line.split()
            flags = set(told.split(","))
            address = place.partition("@")[0].rpartition(":")[0]
            met, lives = not flags & {"handshake", "noaddr"}, not flags & {"fail", "fail?"}
            ranges = [text.partition("-") for text in slots if not text.startswith("[")]
            owned = tuple((int(first), int(last or first)) for first, _, last in ranges)
            known.append(
                _Known(identity, address, "myself" in flags, met, lives, primary.strip("-"), owned, len(owned) < len(slots))
            )
        return known

    def _names(self, one: _Known) -> str | None:
        return self._named.get(one.identity) or self._named.get(one.address)

    def _node(self, name: str) -> Node:
        return next(node for node in self._nodes if node.name == name)

    async def connect(self, server: Node) -> RedisClient:
        """A connection to that node's server. Keys of others' shards are refused: `moved`."""
        return await open_client(server, self._port)

    async def local(self, node: Node) -> RedisClient:
        """A connection that reads that node's own copy, replica or not; a key of another shard is refused: `moved`."""
        return await self._own.to(node, self._port, "READONLY")


class _Known(NamedTuple):
    """Whom a server knows, a line of CLUSTER NODES. `primary` is the identity of whose replica it is, empty where of none;
    `met` that it is more than an introduction, `lives` that nobody takes it for failing; `slots` are those that it has, each
    from first to last, and `moving` that some are on their way (told of itself alone)."""

    identity: str
    address: str
    myself: bool
    met: bool
    lives: bool
    primary: str
    slots: tuple[tuple[int, int], ...]
    moving: bool


class _Shard(NamedTuple):
    """Some slots, each from first to last, and the nodes that hold their keys: whose they were first, and who replicates it."""

    slots: tuple[tuple[int, int], ...]
    holders: tuple[str, ...]


async def _text(client: RedisClient, *command: str) -> str:
    return str((await client.call(*command)).decode())


def _lines(text: str) -> dict[str, str]:
    """Lines of `name:value` as a map."""
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
