"""Redis: one primary with asynchronous replicas under Sentinel, a server and a sentinel on every node.

A register is the string `register:KEY`, a set the set `set:KEY`. A compare-and-set is a script that compares and sets on
the primary. The primary is whoever the sentinel beside a worker's home names at that moment.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from harness.databases.database import Database, Program
from harness.errors import Indeterminate, Mismatch, Refused
from harness.history.operation import Key
from harness.history.variant import Claim, Label, Variant
from harness.plan import Plan
from harness.testbeds.testbed import Node, Service

if TYPE_CHECKING:
    from redis.asyncio import Redis as Driver

SENTINEL_PORT = 26379
IMAGE = "redis:7.2.6"

_CAS = """\
local seen = redis.call('GET', KEYS[1])
if seen == (ARGV[2] or false) then
  redis.call('SET', KEYS[1], ARGV[1])
  return 'set'
end
return {seen}
"""

_SENTINEL_TIMING = "info-period 500 ping-period 200 publish-period 500 ask-period 200 election-timeout 1000"
_GROUP = "splitbrain"
_WAIT_MS = 500
_DOWN_AFTER_MS = 1000
_FAILOVER_TIMEOUT_MS = 3000
_TUNED = (
    f"sentinel down-after-milliseconds {_DOWN_AFTER_MS} (default 30000)",
    f"sentinel failover-timeout {_FAILOVER_TIMEOUT_MS} (default 180000)",
    f"SENTINEL DEBUG {_SENTINEL_TIMING} (defaults 10000, 1000, 2000, 1000, 10000 ms; Redis 7.0 and later)",
    "repl-diskless-sync-delay 0 (default 5)",
    "protected-mode no (default yes)",
)
_DOCUMENTATION = (
    "Redis documentation, High availability with Redis Sentinel: "
    "https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/"
)
_LABELS = (
    Label("CP", "N. Hurst, Visual guide to NoSQL systems (2010): http://blog.nahurst.com/visual-guide-to-nosql-systems"),
    Label(
        "not consistent",
        "K. Kingsbury, Asynchronous replication with failover (2013): "
        "https://aphyr.com/posts/287-asynchronous-replication-with-failover",
    ),
)


class RedisClient:
    """One connection to one server. `wait` is the number of replicas that must confirm a write before it counts."""

    DEFINITE: ClassVar[dict[str, str]] = {
        "LOADING": "loading",
        "READONLY": "read-only",
        "NOREPLICAS": "no-replicas",
        "MASTERDOWN": "primary-down",
        "CLUSTERDOWN": "cluster-down",
        "MOVED": "moved",
        "ASK": "moved",
        "TRYAGAIN": "try-again",
        "OOM": "out-of-memory",
        "MISCONF": "cannot-save",
        "BUSY": "busy",
    }
    """The first word of an error reply → the reason: the server looked at the command and did not run it. Any other error
    reply, a lost connection and a reply that cannot be read are indefinite."""

    STRIPPED: ClassVar[dict[str, str]] = {
        "BusyLoadingError": "LOADING",
        "ReadOnlyError": "READONLY",
        "MasterDownError": "MASTERDOWN",
        "ClusterDownError": "CLUSTERDOWN",
        "MovedError": "MOVED",
        "AskError": "ASK",
        "TryAgainError": "TRYAGAIN",
        "OutOfMemoryError": "OOM",
    }
    """The driver's exceptions that stand for a first word and leave it out of their text."""

    def __init__(self, driver: Driver, *, wait: int = 0) -> None:
        self._driver = driver
        self._wait = wait

    async def read(self, key: Key) -> int | None:
        """GET."""
        return await self._number(await self.call("GET", f"register:{key}"))

    async def write(self, key: Key, value: int) -> None:
        """SET."""
        if await self.call("SET", f"register:{key}", value) != b"OK":
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """EVAL of a script that compares, and sets or tells what it saw."""
        arguments = [new] if expected is None else [new, expected]
        reply = await self.call("EVAL", _CAS, 1, f"register:{key}", *arguments)
        if isinstance(reply, list) and len(reply) == 1:
            raise Mismatch(await self._number(reply[0]))
        if reply != b"set":
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def add(self, key: Key, element: int) -> None:
        """SADD."""
        if not isinstance(await self.call("SADD", f"set:{key}", element), int):
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def elements(self, key: Key) -> list[int]:
        """SMEMBERS."""
        reply = await self.call("SMEMBERS", f"set:{key}")
        if not isinstance(reply, list):
            raise await self._lost("garbled-answer")
        try:
            return [int(element) for element in reply]
        except (TypeError, ValueError):
            raise await self._lost("garbled-answer") from None

    async def call(self, *command: str | int) -> Any:
        """One command and its raw reply, for everything but the operations too."""
        from redis.exceptions import RedisError, ResponseError

        if self.closed:
            raise Refused("no-connection")
        if not self._driver.connection.is_connected:  # type: ignore[union-attr]
            raise await self._lost("connection-lost")  # the driver would connect again by itself, whoever answers now
        try:
            return await self._driver.execute_command(*command)  # type: ignore[no-untyped-call]
        except RedisError as error:
            name = type(error).__name__
            word = self.STRIPPED.get(name) or str(error).split(" ")[0]
            if word in self.DEFINITE and (isinstance(error, ResponseError) or name in self.STRIPPED):
                raise Refused(self.DEFINITE[word]) from None
            raise await self._lost("unknown-error" if isinstance(error, ResponseError) else "connection-lost") from None
        except (OSError, EOFError, ValueError, TypeError, AttributeError):
            raise await self._lost("connection-lost") from None
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """Close the connection without waiting for the server."""
        connection, self._driver.connection = self._driver.connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._driver.connection is None

    async def _confirm(self) -> None:
        """Ask on the same connection how many replicas have what was just written."""
        if not self._wait:
            return
        try:
            replicas = await self.call("WAIT", self._wait, _WAIT_MS)
        except Refused as error:
            raise await self._lost(error.reason) from None
        if not isinstance(replicas, int) or replicas < self._wait:
            raise await self._lost("too-few-replicas")

    async def _number(self, reply: Any) -> int | None:
        try:
            return None if reply is None else int(reply)
        except (TypeError, ValueError):
            raise await self._lost("garbled-answer") from None

    async def _lost(self, reason: str) -> Indeterminate:
        await self.close()
        return Indeterminate(reason)


class Redis(Database):
    """Redis with a server and a sentinel on every node; n1 is the first primary."""

    name = "redis"
    variants = (
        Variant(
            name="sentinel",
            summary="one primary, asynchronous replicas, fail-over by a majority of sentinels",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"Sentinel + Redis distributed system does not guarantee that acknowledged writes are retained during '
                'failures, since Redis uses asynchronous replication."',
                source=_DOCUMENTATION,
                promises=("converges",),
                admits=("lost-write", "lost-element", "split-brain", "stale-read"),
            ),
            labels=_LABELS,
            tuned=_TUNED,
            local="GET or SMEMBERS at each server, replica or not",
        ),
        Variant(
            name="sentinel-min-replicas",
            summary="the same; a primary refuses writes without a replica that answered within the last second or so",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"Using this configuration, the old Redis master M1 in the above example, will become unavailable after '
                '10 seconds." (here: 1 second; until then its writes may be lost)',
                source=_DOCUMENTATION,
                promises=("converges",),
                admits=("lost-write", "lost-element", "split-brain", "stale-read"),
            ),
            labels=_LABELS,
            tuned=(*_TUNED, "min-replicas-to-write 1 (default 0)", "min-replicas-max-lag 1 (default 10)"),
            local="GET or SMEMBERS at each server, replica or not",
        ),
        Variant(
            name="sentinel-wait",
            summary="the same; a write counts only after WAIT says that every replica has it",
            reads="primary",
            writes="primary",
            claim=Claim(
                text='"WAIT does not make Redis a strongly consistent store"',
                source="Redis documentation, WAIT: https://redis.io/docs/latest/commands/wait/",
                promises=("converges",),
                admits=("lost-write", "lost-element", "split-brain", "stale-read"),
            ),
            labels=_LABELS,
            tuned=(*_TUNED, f"every write is followed by WAIT for all replicas and {_WAIT_MS} ms; fewer is indeterminate"),
            local="GET or SMEMBERS at each server, replica or not",
        ),
    )
    programs = (
        Program("redis-server", "apt-get install redis-server"),
        Program("redis-sentinel", "apt-get install redis-sentinel"),
    )
    driver = "redis"
    modules = ("redis",)
    port = 6379

    def __init__(self, plan: Plan, nodes: Sequence[Node]) -> None:
        super().__init__(plan, nodes)
        self._by_address = {node.address: node.name for node in nodes}
        self._own: dict[tuple[str, int], RedisClient] = {}

    async def start(self) -> None:
        """Start every server, then every sentinel. The sentinels are quickened at the first contact."""
        first = next(iter(self.nodes.values()))
        nodes = self.nodes.values()
        await asyncio.gather(*(node.start(self._server(node, first)) for node in nodes))
        await asyncio.gather(*(node.start(self._sentinel(node, first)) for node in nodes))

    def _server(self, node: Node, first: Node) -> Service:
        lines = [
            f"bind {node.address}",
            f"port {self.port}",
            "protected-mode no",
            "dir {folder}",
            "repl-diskless-sync-delay 0",
            f"replica-announce-ip {node.address}",
        ]
        if node is not first:
            lines.append(f"replicaof {first.address} {self.port}")
        if self.variant.name == "sentinel-min-replicas":
            lines += ["min-replicas-to-write 1", "min-replicas-max-lag 1"]
        return Service(
            name="redis",
            argv=("redis-server", "{folder}/redis.conf"),
            files={"redis.conf": "\n".join(lines) + "\n"},
            image=IMAGE,
            memory_mb=32,
        )

    def _sentinel(self, node: Node, first: Node) -> Service:
        quorum = len(self.nodes) // 2 + 1
        lines = [
            f"bind {node.address}",
            f"port {SENTINEL_PORT}",
            "protected-mode no",
            "dir {folder}",
            f"sentinel announce-ip {node.address}",
            f"sentinel monitor {_GROUP} {first.address} {self.port} {quorum}",
            f"sentinel down-after-milliseconds {_GROUP} {_DOWN_AFTER_MS}",
            f"sentinel failover-timeout {_GROUP} {_FAILOVER_TIMEOUT_MS}",
        ]
        return Service(
            name="sentinel",
            argv=("redis-sentinel", "{folder}/sentinel.conf"),
            files={"sentinel.conf": "\n".join(lines) + "\n"},
            image=IMAGE,
            memory_mb=16,
        )

    async def ready(self) -> bool:
        """Every sentinel names the same primary and knows every replica, in sync, and every other sentinel; a write went
        through on the primary and every replica has it."""
        try:
            views = await asyncio.gather(*(self._view(node) for node in self.nodes.values()))
            primary = views[0]
            if primary is None or set(views) != {primary}:
                return False
            token = secrets.token_hex(8)
            await (await self._client(self.nodes[primary], self.port)).call("SET", "splitbrain-ready", token)
            clients = [await self._client(node, self.port) for node in self.nodes.values()]
            async with asyncio.timeout(1):
                while {await client.call("GET", "splitbrain-ready") for client in clients} != {token.encode()}:
                    await asyncio.sleep(0.01)
        except (Refused, Indeterminate, TimeoutError):
            return False
        return True

    async def _view(self, node: Node) -> str | None:
        """The primary that this node's sentinel names, None while it does not see the whole group in order."""
        sentinel = await self._client(node, SENTINEL_PORT)
        master = _pairs(await sentinel.call("SENTINEL", "MASTER", _GROUP))
        replicas = [_pairs(reply) for reply in await sentinel.call("SENTINEL", "REPLICAS", _GROUP)]
        in_sync = [
            replica for replica in replicas if replica["flags"] == "slave" and replica["master-link-status"] == "ok"
        ]
        others = len(self.nodes) - 1
        if master["flags"] != "master" or int(master["num-other-sentinels"]) != others or len(in_sync) != others:
            return None
        return self._by_address.get(master["ip"])

    async def connect(self, server: Node) -> RedisClient:
        """A connection to that node's server, which must call itself a primary: what Redis asks of clients of Sentinel."""
        wait = len(self.nodes) - 1 if self.variant.name == "sentinel-wait" else 0
        client = await _open(server, self.port, wait=wait)
        try:
            role = await client.call("ROLE")
        except Indeterminate as error:
            raise Refused(error.reason) from None
        if not isinstance(role, list) or role[:1] != [b"master"]:
            await client.close()
            raise Refused("not-primary")
        return client

    async def primary(self, node: Node) -> str | None:
        """Whom the sentinel on that node names."""
        try:
            sentinel = await self._client(node, SENTINEL_PORT)
            reply = await sentinel.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _GROUP)
        except (Refused, Indeterminate):
            return None
        return self._by_address.get(reply[0].decode()) if reply else None

    async def local_read(self, node: Node, method: Literal["read", "elements"], key: Key) -> Any:
        """GET or SMEMBERS at that node's server."""
        try:
            client = await self._client(node, self.port)
            return await (client.read(key) if method == "read" else client.elements(key))
        except Indeterminate as error:
            raise Refused(error.reason) from None

    async def versions(self) -> dict[str, str]:
        """`redis_version` of INFO."""
        versions = {}
        for node in self.nodes.values():
            info = await (await self._client(node, self.port)).call("INFO", "server")
            lines = dict(line.split(":", 1) for line in info.decode().splitlines() if ":" in line)
            versions[node.name] = lines["redis_version"]
        return versions

    async def close(self) -> None:
        """Close the connections behind `primary`, `ready` and `local_read`."""
        for client in self._own.values():
            await client.close()
        self._own.clear()

    async def _client(self, node: Node, port: int) -> RedisClient:
        """The harness' own connection. A sentinel forgets its timing when it restarts, so each new connection sets it."""
        client = self._own.get((node.name, port))
        if client is not None and not client.closed:
            return client
        client = await _open(node, port)
        if port == SENTINEL_PORT:
            try:
                await client.call("SENTINEL", "DEBUG", *_SENTINEL_TIMING.split())
            except Indeterminate:  # before Redis 7.0 there is no such command
                client = await _open(node, port)
        self._own[node.name, port] = client
        return client


async def _open(node: Node, port: int, *, wait: int = 0) -> RedisClient:
    """The driver with one connection and every retry off."""
    from redis.asyncio import Redis as Driver
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff
    from redis.exceptions import RedisError

    driver = Driver(
        host=node.address,
        port=port,
        single_connection_client=True,
        retry=Retry(NoBackoff(), 0),
        socket_timeout=None,
        socket_connect_timeout=None,
        protocol=2,
    )
    driver.response_callbacks.clear()
    client = RedisClient(driver, wait=wait)
    try:
        await driver.initialize()
    except (RedisError, OSError):
        await client.close()
        raise Refused("no-connection") from None
    except BaseException:
        await client.close()
        raise
    return client


def _pairs(reply: list[bytes]) -> dict[str, str]:
    """A flat list of names and values as a map."""
    texts = [part.decode() for part in reply]
    return dict(zip(texts[::2], texts[1::2], strict=True))
