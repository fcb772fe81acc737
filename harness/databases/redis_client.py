"""The client of Redis: one connection to one server through redis-py, with everything switched off that acts by itself.

A register is the string `register:{KEY}`, a set the set `set:{KEY}`; the braces make the key alone decide the hash slot. A
compare-and-set is a script that compares and sets on the server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.operation import Key
from splitbrain.harness.testbeds.testbed import Node

if TYPE_CHECKING:
    from redis.asyncio import Redis as Driver

WAIT_MS = 500

_CAS = """\
local seen = redis.call('GET', KEYS[1])
if seen == (ARGV[2] or false) then
  redis.call('SET', KEYS[1], ARGV[1])
  return 'set'
end
return {seen}
"""


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
        return await self._number(await self.call("GET", f"register:{{{key}}}"))

    async def write(self, key: Key, value: int) -> None:
        """SET."""
        if await self.call("SET", f"register:{{{key}}}", value) != b"OK":
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """EVAL of a script that compares, and sets or tells what it saw."""
        arguments = [new] if expected is None else [new, expected]
        reply = await self.call("EVAL", _CAS, 1, f"register:{{{key}}}", *arguments)
        if isinstance(reply, list) and len(reply) == 1:
            raise Mismatch(await self._number(reply[0]))
        if reply != b"set":
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def add(self, key: Key, element: int) -> None:
        """SADD."""
        if not isinstance(await self.call("SADD", f"set:{{{key}}}", element), int):
            raise await self._lost("garbled-answer")
        await self._confirm()

    async def elements(self, key: Key) -> list[int]:
        """SMEMBERS."""
        reply = await self.call("SMEMBERS", f"set:{{{key}}}")
        if not isinstance(reply, list):
            raise await self._lost("garbled-answer")
        try:
            return [int(element) for element in reply]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

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
                raise Refused(self.DEFINITE[word]) from error
            raise await self._lost("unknown-error" if isinstance(error, ResponseError) else "connection-lost") from error
        except (OSError, EOFError, ValueError, TypeError, AttributeError) as error:
            raise await self._lost("connection-lost") from error
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
            replicas = await self.call("WAIT", self._wait, WAIT_MS)
        except Refused as error:
            raise await self._lost(error.reason) from error
        if not isinstance(replicas, int) or replicas < self._wait:
            raise await self._lost("too-few-replicas")

    async def _number(self, reply: Any) -> int | None:
        try:
            return None if reply is None else int(reply)
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def _lost(self, reason: str) -> Indeterminate:
        await self.close()
        return Indeterminate(reason)


async def open_own(node: Node, port: int, *greeting: str) -> RedisClient:
    """A connection of the harness' own, which begins with a command that a server may be too old to know. Raises `Refused`."""
    client = await open_client(node, port)
    if greeting:
        try:
            await client.call(*greeting)
        except Indeterminate:
            client = await open_client(node, port)
    return client


async def open_client(node: Node, port: int, *, wait: int = 0) -> RedisClient:
    """A connection to that server. Raises `Refused`. The driver has one connection and every retry off."""
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
    except (RedisError, OSError) as error:
        await client.close()
        raise Refused("no-connection") from error
    except BaseException:
        await client.close()
        raise
    return client
