"""The client of Redis: one connection to one server that does nothing by itself; hiredis reads and writes the protocol.

A register is the string `register:{KEY}`, a set the set `set:{KEY}`, a queue the list `queue:{KEY}`, and so on; the braces
make the key alone decide the hash slot. What has several keys, transactions and accounts, is in the slot of `None`: that of
the key of a call that has none. A transaction is a MULTI with its commands and EXEC, sent as one; a compare-and-set is a script
that compares and sets on the server, and so is what is done with a lock once it is held.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from splitbrain.harness.databases.connection import Connection
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.testbeds.testbed import Node

WAIT_MS = 500

_TOGETHER = "{None}"
_ACCOUNTS = f"accounts:{_TOGETHER}"

_NAMES: dict[Capability, tuple[str, ...]] = {
    "registers": ("register:{{{}}}",), "compare-and-set": ("register:{{{}}}",), "sets": ("set:{{{}}}",),
    "queues": ("queue:{{{}}}",), "counters": ("counter:{{{}}}",), "ids": ("id:{{{}}}",),
    "locks": ("lock:{{{}}}", "fence:{{{}}}"), "fences": ("lock:{{{}}}", "fence:{{{}}}", "register:{{{}}}"),
    "transactions": (f"list:{{{_TOGETHER}}}:{{}}", f"register:{{{_TOGETHER}}}:{{}}"),
}

_CAS = """\
local seen = redis.call('GET', KEYS[1])
if seen == (ARGV[2] or false) then
  redis.call('SET', KEYS[1], ARGV[1])
  return 'set'
end
return {seen}
"""


_ACQUIRE = """\
if redis.call('SET', KEYS[1], ARGV[1], 'NX', 'PX', ARGV[2]) then
  return redis.call('INCR', KEYS[2])
end
return {redis.call('GET', KEYS[1])}
"""

_RENEW = """\
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return {holder}
"""

_RELEASE = """\
local holder = redis.call('GET', KEYS[1])
if holder == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return {holder}
"""

_GUARDED = """\
local latest = redis.call('GET', KEYS[1])
if latest and tonumber(latest) > tonumber(ARGV[1]) then
  return {latest}
end
redis.call('SET', KEYS[2], ARGV[2])
return 1
"""


class RedisClient(Connection):
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

    def __init__(self, connection: _Connection, *, wait: int = 0) -> None:
        self._connection: _Connection | None = connection
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
        return await self._numbers(await self.call("SMEMBERS", f"set:{{{key}}}"))

    async def enqueue(self, key: Key, element: int) -> None:
        """RPUSH."""
        await self._counted("RPUSH", f"queue:{{{key}}}", element)

    async def dequeue(self, key: Key) -> int | None:
        """LPOP."""
        element = await self._number(await self.call("LPOP", f"queue:{{{key}}}"))
        if element is not None:
            await self._confirm()
        return element

    async def waiting(self, key: Key) -> list[int]:
        """LRANGE."""
        return await self._numbers(await self.call("LRANGE", f"queue:{{{key}}}", 0, -1))

    async def increment(self, key: Key, amount: int) -> None:
        """INCRBY."""
        await self._counted("INCRBY", f"counter:{{{key}}}", amount)

    async def count(self, key: Key) -> int:
        """GET."""
        return await self._number(await self.call("GET", f"counter:{{{key}}}")) or 0

    async def next_id(self, key: Key) -> int:
        """INCR."""
        return await self._counted("INCR", f"id:{{{key}}}")

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """SET NX PX, and INCR of the fence, in a script."""
        return await self._decided(_ACQUIRE, (f"lock:{{{key}}}", f"fence:{{{key}}}"), owner, int(lease * 1000))

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """PEXPIRE if the lock has that owner, in a script."""
        await self._decided(_RENEW, (f"lock:{{{key}}}",), owner, int(lease * 1000))

    async def release(self, key: Key, owner: int) -> None:
        """DEL if the lock has that owner, in a script."""
        await self._decided(_RELEASE, (f"lock:{{{key}}}",), owner)

    async def holder(self, key: Key) -> int | None:
        """GET."""
        return await self._number(await self.call("GET", f"lock:{{{key}}}"))

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """SET unless a greater fence was given, in a script."""
        await self._decided(_GUARDED, (f"fence:{{{key}}}", f"register:{{{key}}}"), fence, value)

    async def deposit(self, key: Key, amount: int) -> None:
        """HINCRBY of a hash that has all accounts."""
        await self._counted("HINCRBY", _ACCOUNTS, str(key), amount)

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """WATCH the accounts, look at the source, and change both in a MULTI that nobody came before."""
        await self.call("WATCH", _ACCOUNTS)
        balance = await self._number(await self.call("HGET", _ACCOUNTS, str(source))) or 0
        if balance < amount:
            await self.call("UNWATCH")
            raise Mismatch(balance)
        await self._at_once(("HINCRBY", _ACCOUNTS, str(source), -amount), ("HINCRBY", _ACCOUNTS, str(target), amount))
        await self._confirm()

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """HMGET."""
        reply = await self.call("HMGET", _ACCOUNTS, *map(str, keys))
        balances = [await self._number(one) or 0 for one in reply] if isinstance(reply, list) else []
        if len(balances) != len(keys):
            raise await self._lost("garbled-answer")
        return dict(zip(keys, balances, strict=True))

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """MULTI with RPUSH, SET, and for a read LRANGE and GET, because what a key is depends on how it is written."""
        commands: list[tuple[str | int, ...]] = []
        for f, key, value in micros:
            lists, register = f"list:{_TOGETHER}:{key}", f"register:{_TOGETHER}:{key}"
            match f:
                case "append":
                    commands.append(("RPUSH", lists, value))
                case "w":
                    commands.append(("SET", register, value))
                case _:
                    commands += [("LRANGE", lists, 0, -1), ("GET", register)]
        replies = iter(await self._at_once(*commands))
        done: list[Micro] = []
        for f, key, value in micros:
            reply = next(replies)
            if f == "r":
                elements, number = await self._numbers(reply), await self._number(next(replies))
                value = elements or number
            done.append((f, key, value))
        if any(f != "r" for f, _, _ in micros):
            await self._confirm()
        return tuple(done)

    async def found(self, needs: Collection[Capability]) -> str:
        """SCAN for a name that these capabilities write, under any key but those that ask whether servers are ready."""
        names = {name.format("*") for need in needs for name in _NAMES.get(need, ())}
        for name in sorted(names | ({_ACCOUNTS} if "accounts" in needs else set())):
            cursor: Any = 0
            while True:
                cursor, found = await self.call("SCAN", cursor, "MATCH", name, "COUNT", 10_000)
                if others := [one for one in found if b"splitbrain-ready" not in one]:
                    return str(others[0].decode(errors="replace"))
                if int(cursor) == 0:
                    break
        return ""

    async def remove(self, key: Key, needs: Collection[Capability]) -> None:
        """DEL what these capabilities write under a key, and HDEL of an account."""
        if names := [name.format(key) for need in needs for name in _NAMES.get(need, ())]:
            await self.call("DEL", *names)
        if "accounts" in needs:
            await self.call("HDEL", _ACCOUNTS, str(key))

    async def call(self, *command: str | int) -> Any:
        """One command and its raw reply, for everything but the operations too."""
        reply = (await self._replies(command))[0]
        if isinstance(reply, Exception):
            raise await self._failed(reply) from reply
        return reply

    async def _at_once(self, *commands: tuple[str | int, ...]) -> list[Any]:
        """MULTI, these commands and EXEC, sent as one, and the commands' raw replies. A command that the server does not take
        into the transaction refuses it as a whole; where what was watched has changed it is a `Mismatch`."""
        begun, *queued, done = await self._replies(("MULTI",), *commands, ("EXEC",))
        if begun != b"OK":
            raise await self._lost("garbled-answer")  # the commands may have been done, each for itself
        if isinstance(done, Exception):
            aborted = str(done).startswith("EXECABORT ")
            error = next((reply for reply in queued if aborted and isinstance(reply, Exception)), done)
            raise await self._failed(error) from error
        if done is None:
            raise Mismatch
        if not isinstance(done, list) or len(done) != len(commands) or any(isinstance(one, Exception) for one in done):
            raise await self._lost("garbled-answer")
        return done

    async def _replies(self, *commands: tuple[str | int, ...]) -> list[Any]:
        """These commands, sent as one, and the raw replies: an error reply is a `ReplyError` among them."""
        if self._connection is None:
            raise Refused("no-connection")
        try:
            return await self._connection.ask(commands)
        except (OSError, EOFError) as error:
            raise await self._lost("connection-lost") from error
        except ValueError as error:
            raise await self._lost("garbled-answer") from error
        except BaseException:
            await self.close()
            raise

    async def _failed(self, error: Exception) -> Refused | Indeterminate:
        reason = self.DEFINITE.get(str(error).split(" ")[0])
        return await self._lost("unknown-error") if reason is None else Refused(reason)

    async def close(self) -> None:
        """Close the connection without waiting for the server."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def closed(self) -> bool:
        """Whether it is closed, by `close` or because a call's outcome is not known."""
        return self._connection is None

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

    async def _counted(self, *command: str | int) -> int:
        """A command that writes and replies with a number."""
        reply = await self.call(*command)
        if not isinstance(reply, int):
            raise await self._lost("garbled-answer")
        await self._confirm()
        return reply

    async def _decided(self, script: str, keys: tuple[str, ...], *arguments: int) -> int:
        """EVAL of a script that writes and replies with a number, or with a list of what it saw and decided against."""
        reply = await self.call("EVAL", script, len(keys), *keys, *arguments)
        if isinstance(reply, list) and len(reply) == 1:
            raise Mismatch(await self._number(reply[0]))
        if not isinstance(reply, int):
            raise await self._lost("garbled-answer")
        await self._confirm()
        return reply

    async def _numbers(self, reply: Any) -> list[int]:
        if not isinstance(reply, list):
            raise await self._lost("garbled-answer")
        try:
            return [int(element) for element in reply]
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error

    async def _number(self, reply: Any) -> int | None:
        try:
            return None if reply is None else int(reply)
        except (TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error


class _Shared(RedisClient):
    """One that several tasks ask, each in its turn."""

    def __init__(self, connection: _Connection) -> None:
        super().__init__(connection)
        self._turn = asyncio.Lock()

    async def _replies(self, *commands: tuple[str | int, ...]) -> list[Any]:
        async with self._turn:
            return await super()._replies(*commands)


async def open_own(node: Node, port: int, *greeting: str) -> RedisClient:
    """A connection of the harness' own, which begins with a command that a server may be too old to know. Raises `Refused`."""
    client = _Shared(await _connected(node, port))
    if greeting:
        try:
            await client.call(*greeting)
        except Indeterminate:
            client = _Shared(await _connected(node, port))
    return client


async def open_client(node: Node, port: int, *, wait: int = 0) -> RedisClient:
    """A connection to that server, which has answered on it. Raises `Refused`."""
    return RedisClient(await _connected(node, port), wait=wait)


async def _connected(node: Node, port: int) -> _Connection:
    loop = asyncio.get_running_loop()
    try:
        _, connection = await loop.create_connection(_Connection, node.address, port)
    except OSError as error:
        raise Refused("no-connection") from error
    try:
        # A server that stands still takes connections and does not answer. One that is too old to know this command does.
        await connection.ask([("CLIENT", "SETINFO", "LIB-NAME", "splitbrain")])
    except (OSError, EOFError, ValueError) as error:
        connection.close()
        raise Refused("no-connection") from error
    except BaseException:
        connection.close()
        raise
    return connection


_MORE = object()


class _Connection(asyncio.Protocol):
    """Commands and their replies, asked one after another. What comes without being asked for ends it."""

    def __init__(self) -> None:
        from hiredis import Reader, pack_command

        self._loop = asyncio.get_running_loop()
        self._pack = pack_command
        self._reader = Reader(protocolError=ValueError, notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[list[Any]] | None = None
        self._replies: list[Any] = []
        self._wanted = 0
        self._end: Exception | None = None

    def ask(self, commands: Sequence[tuple[str | int, ...]]) -> asyncio.Future[list[Any]]:
        """The reply to each, in a future that has an `OSError` or an `EOFError` where the connection is lost, and a
        `ValueError` for what is no reply. Raises the same where that was before."""
        if self._end is not None or self._transport is None:
            raise self._end or EOFError()
        self._replies, self._wanted = [], len(commands)
        self._waiting = self._loop.create_future()
        self._transport.write(b"".join(map(self._pack, commands)))  # type: ignore[arg-type]
        return self._waiting

    def close(self) -> None:
        """Close it without waiting for the server."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                if self._waiting is None or self._waiting.done():
                    raise ValueError("a reply to nothing")
                self._replies.append(reply)
                if len(self._replies) == self._wanted:
                    self._waiting.set_result(self._replies)
        except ValueError as error:
            self._ended(error)
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._ended(exc or EOFError("the server closed the connection"))

    def _ended(self, error: Exception) -> None:
        self._end = self._end or error
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
