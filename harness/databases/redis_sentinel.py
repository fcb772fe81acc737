"""Redis under Sentinel: one primary with asynchronous replicas, a server and a sentinel on every node.

n1 is the first primary. Who is primary is what the sentinel beside a worker's home says.

A sentinel that stood still for more than 2 s is in "TILT mode" for 30 s afterwards: it answers, and takes no server for down
(Redis documentation, High availability with Redis Sentinel). After a pause a quorum of the others has to see a failure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import ClassVar

from splitbrain.harness.databases import redis_service
from splitbrain.harness.databases.database import Connections, Detection
from splitbrain.harness.databases.redis_client import RedisClient, open_client
from splitbrain.harness.errors import Indeterminate, Refused, SetupError
from splitbrain.harness.history.operation import Key
from splitbrain.harness.testbeds.testbed import Node, Service

SENTINEL_PORT = 26379

_GROUP = "splitbrain"
_TIMING = "info-period 500 ping-period 200 publish-period 500 ask-period 200 election-timeout 1000"
_DOWN_AFTER_MS = 1000
_FAILOVER_TIMEOUT_MS = 3000


class Sentinel:
    """One group of servers and its sentinels. `settings` are lines for every server's configuration; `wait` is the number of
    replicas that must confirm a write."""

    TUNED: ClassVar[tuple[str, ...]] = (
        f"sentinel down-after-milliseconds {_DOWN_AFTER_MS} (default 30000)",
        f"sentinel failover-timeout {_FAILOVER_TIMEOUT_MS} (default 180000)",
        f"SENTINEL DEBUG {_TIMING} (defaults 10000, 1000, 2000, 1000, 10000 ms; Redis 7.0 and later)",
        "repl-diskless-sync-delay 0 (default 5)",
        "protected-mode no (default yes)",
    )

    DETECTION: ClassVar[Detection] = Detection(
        "down-after-milliseconds", _DOWN_AFTER_MS / 1000,
        "sentinel.conf; Redis documentation, High availability with Redis Sentinel: the time \"an instance should not be "
        "reachable [...] for a Sentinel starting to think it is down\"",
    )

    def __init__(
        self, nodes: Sequence[Node], own: Connections[RedisClient], port: int, image: str, *, settings: Sequence[str] = (),
        wait: int = 0,
    ) -> None:
        self.shards = 1
        self.replicas = len(nodes) - 1
        self._nodes = nodes
        self._own = own
        self._port = port
        self._image = image
        self._settings = settings
        self._wait = wait
        self._by_address = {node.address: node.name for node in nodes}
        self._group = _GROUP
        self._quicken: tuple[str, ...] = ("SENTINEL", "DEBUG", *_TIMING.split())

    async def start(self) -> None:
        """Start every server, then every sentinel. The sentinels are quickened at the first contact."""
        await asyncio.gather(*(node.start(self._server(node)) for node in self._nodes))
        await asyncio.gather(*(node.start(self._sentinel(node)) for node in self._nodes))

    def _server(self, node: Node) -> Service:
        first = self._nodes[0]
        follows = () if node is first else (f"replicaof {first.address} {self._port}",)
        return redis_service.server(
            node, self._port, self._image, f"replica-announce-ip {node.address}", *self._settings, *follows
        )

    def _sentinel(self, node: Node) -> Service:
        quorum = len(self._nodes) // 2 + 1
        return redis_service.sentinel(
            node, SENTINEL_PORT, self._image, f"sentinel announce-ip {node.address}",
            f"sentinel monitor {_GROUP} {self._nodes[0].address} {self._port} {quorum}",
            f"sentinel down-after-milliseconds {_GROUP} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {_GROUP} {_FAILOVER_TIMEOUT_MS}",
        )

    async def attach(self) -> None:
        """Learn the name of the group that the sentinels watch, which must be one, and by which addresses they know its
        servers. Their timing is left as it is. Raises `SetupError` where the group has others too, or a node is not in it."""
        self._quicken = ()
        try:
            sentinel = await self._contact(self._nodes[0])
            groups = [_pairs(reply)["name"] for reply in await sentinel.call("SENTINEL", "MASTERS")]
        except (Refused, Indeterminate) as error:
            where = f"{self._nodes[0].address} port {SENTINEL_PORT}"
            said = error.detail or error.reason
            raise SetupError(f"no sentinel answers at {where} ({said}): each node needs one beside its server.") from error
        if len(groups) != 1:
            raise SetupError(f"the sentinels watch {len(groups)} groups ({', '.join(groups)}): one can be tested.")
        self._group = groups[0]
        master = _pairs(await sentinel.call("SENTINEL", "MASTER", self._group))
        servers = [master, *map(_pairs, await sentinel.call("SENTINEL", "REPLICAS", self._group))]
        runs = {await self._run(node): node.name for node in self._nodes}
        found = {one["ip"]: runs.get(one["runid"]) or self._by_address.get(one["ip"]) for one in servers}
        if others := [address for address, name in found.items() if name is None]:
            raise SetupError(
                f"the group '{self._group}' has servers that are none of the {len(self._nodes)} nodes: {', '.join(others)}. "
                "Name all of them, or have the sentinels forget those that are gone (SENTINEL RESET)."
            )
        if absent := [node.name for node in self._nodes if node.name not in found.values()]:
            raise SetupError(f"{', '.join(absent)} is not in the group '{self._group}' that the sentinels watch.")
        sentinels = int(master["num-other-sentinels"]) + 1
        if sentinels != len(self._nodes):
            raise SetupError(
                f"{sentinels} sentinels watch the group '{self._group}', which has {len(self._nodes)} servers: each needs one "
                "beside it, and there may be no others (SENTINEL RESET forgets those that are gone)."
            )
        self._by_address |= {address: name for address, name in found.items() if name}
        for node in self._nodes:
            await self._refuse_settings(node)

    async def _refuse_settings(self, node: Node) -> None:
        """What a variant is about must be set so by whoever started the server. Raises `SetupError`."""
        for name, wanted in map(str.split, self._settings):
            told = await (await self.local(node)).call("CONFIG", "GET", name)
            value = told[1].decode() if told else ""
            if value != wanted and (value in ("", "0") or not name.startswith("min-replicas")):
                raise SetupError(
                    f"{node.name} has '{name} {value}', and this variant is about '{name} {wanted}': set it so at every server "
                    "(CONFIG SET), or test --variant sentinel."
                )

    async def _run(self, node: Node) -> str:
        """The identity of the server there, until it is started again."""
        info = (await (await self.local(node)).call("INFO", "server")).decode()
        return next((line.partition(":")[2] for line in info.splitlines() if line.startswith("run_id:")), "")

    async def formed(self) -> tuple[Node, ...]:
        """The primary, once every sentinel names the same one and knows every replica, in sync, and every other sentinel;
        until then nothing."""
        views = await asyncio.gather(*(self._view(node) for node in self._nodes))
        return tuple(node for node in self._nodes if set(views) == {node.name})

    async def _view(self, node: Node) -> str | None:
        sentinel = await self._contact(node)
        master = _pairs(await sentinel.call("SENTINEL", "MASTER", self._group))
        replicas = [_pairs(reply) for reply in await sentinel.call("SENTINEL", "REPLICAS", self._group)]
        in_sync = [replica for replica in replicas if replica["flags"] == "slave" and replica["master-link-status"] == "ok"]
        others = len(self._nodes) - 1
        if master["flags"] != "master" or int(master["num-other-sentinels"]) != others or len(in_sync) != others:
            return None
        return self._by_address.get(master["ip"])

    async def connect(self, server: Node) -> RedisClient:
        """A connection to that node's server, which must call itself a primary: what Redis asks of clients of Sentinel."""
        client = await open_client(server, self._port, wait=self._wait)
        try:
            role = await client.call("ROLE")
        except Indeterminate as error:
            raise Refused(error.reason) from error
        if not isinstance(role, list) or role[:1] != [b"master"]:
            await client.close()
            raise Refused("not-primary", f"ROLE says {role!r}")
        return client

    async def primaries(self, node: Node) -> tuple[str | None, ...]:
        """Whom the sentinel on that node names. Raises `Refused` or `Indeterminate` where it does not answer."""
        sentinel = await self._contact(node)
        reply = await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._group)
        return (self._by_address.get(reply[0].decode()) if reply else None,)

    async def detects_after(self, node: Node) -> float:
        """What the sentinel on that node says. Raises `Refused` or `Indeterminate` where it does not answer."""
        master = _pairs(await (await self._contact(node)).call("SENTINEL", "MASTER", self._group))
        return int(master["down-after-milliseconds"]) / 1000

    def holders(self, key: Key) -> tuple[str, ...]:
        """Every node."""
        return tuple(node.name for node in self._nodes)

    def shard(self, key: Key) -> int:
        """The one shard that there is."""
        return 0

    async def local(self, node: Node) -> RedisClient:
        """A connection that reads that node's own copy."""
        return await self._own.to(node, self._port)

    async def _contact(self, node: Node) -> RedisClient:
        """A sentinel forgets its timing when it restarts, so every new connection sets it."""
        return await self._own.to(node, SENTINEL_PORT, *self._quicken)


def _pairs(reply: list[bytes]) -> dict[str, str]:
    """A flat list of names and values as a map."""
    texts = [part.decode() for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))
