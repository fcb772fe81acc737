"""Cassandra's client: one connection to one node.

The driver's codec writes and reads the frames of the native protocol (version 4); its `Cluster` is not used, because it is a
pool of connections with control connections, host states, reconnection and speculation around every call. Here one call is
one QUERY and its answer, on one connection that can be closed. A register is a row of `registers`; an element of a set is a
row of `sets` of its own, so that an element that was added twice is seen once.
"""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Sequence
from typing import Any, ClassVar

import msgspec

from splitbrain.harness.databases.connection import Stream
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.operation import Key

ANY, ONE, QUORUM, ALL, SERIAL, NODE_LOCAL = 0, 1, 4, 5, 8, 11
"""Consistency levels, as the protocol numbers them. The last is that of the node's own copy, which no driver knows
(`QueryProcessor` of Cassandra 4.0 and later)."""

VOID, ROWS, SCHEMA_CHANGE = 1, 2, 5
"""Kinds of results."""

_HEAD = struct.Struct(">BBhBi")
_VERSION = 4
_ANSWER = 0x80 | _VERSION
_LONGEST = 64_000_000
BIGINT = struct.Struct(">q")
_NEVER = -(2**63)
"""A value that no register holds: a write that must be conditional asks that the value is another."""


class Level(msgspec.Struct, frozen=True):
    """How a variant calls: the consistency levels of its reads and its writes, and whether the client stamps the writes."""

    reads: int
    writes: int
    stamped: bool = True


class CassandraClient(Stream):
    """One connection to one node. Where `level.reads` is SERIAL, writes are lightweight transactions that are committed with
    `level.writes`."""

    DEFINITE: ClassVar[dict[int, str]] = {
        0x1000: "unavailable",
        0x1002: "bootstrapping",
        0x2000: "syntax",
        0x2100: "unauthorized",
        0x2200: "invalid",
    }
    """The error's code → the reason: the coordinator saw that it could not be done, and asked no replica. A lightweight
    transaction that is unavailable is so only where the round of Paxos was, and not the commit that follows it."""

    INDEFINITE: ClassVar[dict[int, str]] = {
        0x0000: "server-error",
        0x1001: "overloaded",
        0x1100: "write-timeout",
        0x1200: "read-timeout",
        0x1300: "read-failure",
        0x1500: "write-failure",
    }
    """The code → the reason: some replicas may have it, and hints may bring it to others later. Any other code is indefinite
    too."""

    TABLES: ClassVar[tuple[str, ...]] = ()
    """What creates the tables that it needs beyond those that every client has."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, level: Level) -> None:
        super().__init__(reader, writer)
        self._level = level
        self._serial = level.reads == SERIAL

    async def read(self, key: Key) -> int | None:
        """SELECT the register's row."""
        rows = await self._select("SELECT value FROM splitbrain.registers WHERE key = ?", key)
        if len(rows) > 1:
            raise await self._lost("garbled-answer")
        return rows[0] if rows else None

    async def write(self, key: Key, value: int) -> None:
        """UPDATE the register's row; in `serial` on a condition that always holds."""
        if self._serial:
            await self._set_if("!=", key, _NEVER, value)
        else:
            await self._change("UPDATE splitbrain.registers SET value = ? WHERE key = ?", BIGINT.pack(value), text(key))

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """UPDATE the register's row IF it holds the expected value (null where there is none)."""
        await self._set_if("=", key, expected, new)

    async def add(self, key: Key, element: int) -> None:
        """INSERT the element's row; in `serial` IF NOT EXISTS, and one that is there already is as good as added."""
        values = text(key), BIGINT.pack(element)
        if self._serial:
            await self._transact("INSERT INTO splitbrain.sets (key, element) VALUES (?, ?) IF NOT EXISTS", *values)
        else:
            await self._change("INSERT INTO splitbrain.sets (key, element) VALUES (?, ?)", *values)

    async def elements(self, key: Key) -> list[int]:
        """SELECT all rows of the set."""
        rows = await self._select("SELECT element FROM splitbrain.sets WHERE key = ?", key)
        if None in rows:
            raise await self._lost("garbled-answer")
        return [element for element in rows if element is not None]

    async def call(self, query: str, *values: bytes | None, consistency: int = ONE, timestamp: int | None = None) -> Any:
        """One query and its result, for everything but the operations too: a list of rows, each a dict; None where the result
        has no rows. The error of one that failed is classified."""
        async with self._turn:  # the harness' own connections are asked by several tasks
            return await self._call(query, values, consistency, timestamp)

    async def greet(self) -> None:
        """Begin the protocol. Raises `Refused`."""
        from cassandra.protocol import ReadyMessage, StartupMessage

        try:
            answer = await self._exchange(StartupMessage(cqlversion="3.0.0", options={}))
        except Indeterminate as error:
            raise Refused("no-connection") from error
        if not isinstance(answer, ReadyMessage):
            await self.close()
            raise Refused("no-connection", f"it answers {answer.name} where a connection begins")

    async def _set_if(self, operator: str, key: Key, condition: int | None, new: int, *, column: str = "value") -> None:
        query = f"UPDATE splitbrain.registers SET {column} = ? WHERE key = ? IF {column} {operator} ?"
        known = None if condition is None else BIGINT.pack(condition)
        row = await self._transact(query, BIGINT.pack(new), text(key), known)
        if row["[applied]"]:
            return
        seen = row.get(column)
        if not isinstance(seen, int | None):
            raise await self._lost("garbled-answer")
        if seen == new:  # by another's hand, or because this very call was finished by another coordinator
            raise await self._lost("new-value-seen")
        raise Mismatch(seen)

    async def _transact(self, query: str, *values: bytes | None) -> dict[str, Any]:
        rows = await self.call(query, *values, consistency=self._level.writes)
        match rows:
            case [{"[applied]": bool()}]:
                return dict(rows[0])
        raise await self._lost("garbled-answer")

    async def _change(self, query: str, *values: bytes) -> None:
        stamp = time.time_ns() // 1000 if self._level.stamped else None
        if await self.call(query, *values, consistency=self._level.writes, timestamp=stamp) is not None:
            raise await self._lost("garbled-answer")

    async def _select(self, query: str, key: Key) -> list[int | None]:
        rows = await self.call(query, text(key), consistency=self._level.reads)
        if not isinstance(rows, list) or any(len(row) != 1 for row in rows):
            raise await self._lost("garbled-answer")
        found = [next(iter(row.values())) for row in rows]
        if not all(isinstance(value, int | None) for value in found):
            raise await self._lost("garbled-answer")
        return found

    async def _call(self, query: str, values: Sequence[bytes | None], consistency: int, timestamp: int | None) -> Any:
        from cassandra.protocol import ErrorMessage, QueryMessage, ResultMessage

        if self._closed:
            raise Refused("no-connection")
        message = QueryMessage(query, consistency, SERIAL, timestamp=timestamp)
        message.query_params = list(values) or None
        answer = await self._exchange(message)
        if isinstance(answer, ErrorMessage):
            raise await self._error(answer, SERIAL if " IF " in query else consistency)
        if not isinstance(answer, ResultMessage) or answer.kind not in (VOID, ROWS, SCHEMA_CHANGE):
            raise await self._lost("garbled-answer")
        if answer.kind != ROWS:
            return None
        return [dict(zip(answer.column_names, row, strict=True)) for row in answer.parsed_rows]

    async def _exchange(self, message: Any) -> Any:
        from cassandra.protocol import ProtocolHandler

        frame = ProtocolHandler.encode_message(message, 0, _VERSION, None, False)
        try:
            self._writer.write(frame)
            version, flags, stream, opcode, length = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if version != _ANSWER or stream != 0 or not 0 <= length < _LONGEST:
                raise await self._lost("garbled-answer")
            body = await self._reader.readexactly(length)
        except (OSError, EOFError, RuntimeError) as error:  # uvloop's, where the server has closed it already
            raise await self._lost("connection-lost") from error
        except BaseException:
            await self.close()
            raise
        try:
            return ProtocolHandler.decode_message(_VERSION, {}, stream, flags, opcode, body, None, None)
        except Exception as error:  # the codec raises whatever a malformed frame leads it to
            raise await self._lost("garbled-answer") from error

    async def _error(self, error: Any, asked: int) -> Refused | Indeterminate:
        unavailable = error.code == 0x1000
        if error.code in self.DEFINITE and not (unavailable and error.info.get("consistency") != asked):
            return Refused(self.DEFINITE[error.code], str(error.message))
        reason = self.INDEFINITE.get(error.code, "unavailable" if unavailable else "unknown-error")
        return await self._lost(reason, f"{error.message} (code {error.code:#06x})")


def text(key: Key) -> bytes:
    """A key as the protocol has it."""
    return str(key).encode()
