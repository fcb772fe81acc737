"""What Cassandra has beyond registers and sets, at each kind of level: plain, serial, and with counter tables.

A counter and a sequence of ids are columns of the row that the register of the same key is in, so that they lie on the same
nodes. What belongs together, whatever its keys, lies in the partition of `None`, the key of a call that has none.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from math import ceil
from secrets import randbits
from typing import Any, ClassVar, NoReturn

from splitbrain.harness.databases.cassandra_client import BIGINT, CassandraClient, text
from splitbrain.harness.errors import Mismatch
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key


class Plain(CassandraClient):
    """A client that reads, and then writes what follows from it, which nothing keeps others from doing at the same time. An
    account is the partition of `movements` that has all that was ever put into it or taken out; a transfer is a logged batch
    of two: in the end both are there, but nothing says that both are seen at one moment."""

    TABLES: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE IF NOT EXISTS splitbrain.movements "
        "(account text, number bigint, amount bigint, PRIMARY KEY (account, number))",
    )

    async def increment(self, key: Key, amount: int) -> None:
        """SELECT the number, and UPDATE it to what it is then."""
        await self._advance("count", key, amount)

    async def count(self, key: Key) -> int:
        """SELECT the number."""
        return await self._number("count", key) or 0

    async def next_id(self, key: Key) -> int:
        """SELECT the last one, and UPDATE it to the next."""
        return await self._advance("id", key, 1)

    async def deposit(self, key: Key, amount: int) -> None:
        """INSERT a movement."""
        await self._change(
            "INSERT INTO splitbrain.movements (account, number, amount) VALUES (?, ?, ?)", text(key), *_movement(amount)
        )

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """SELECT what the source holds, and INSERT a movement for each of the two in a logged batch."""
        balance = (await self.balances([source]))[source]
        if balance < amount:
            raise Mismatch(balance)
        insert = "INSERT INTO splitbrain.movements (account, number, amount) VALUES (?, ?, ?);"
        values = text(source), *_movement(-amount), text(target), *_movement(amount)
        await self._change(f"BEGIN BATCH {insert} {insert} APPLY BATCH", *values)

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """SELECT the sums of all movements, account by account, in one query."""
        accounts = ", ".join("?" for _ in keys)
        query = f"SELECT account, SUM(amount) AS held FROM splitbrain.movements WHERE account IN ({accounts}) GROUP BY account"
        rows = await self.call(query, *map(text, keys), consistency=self._level.reads)
        try:
            held = {str(row["account"]): int(row["held"]) for row in rows}
        except (KeyError, TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        return {key: held.get(str(key), 0) for key in keys}

    async def _advance(self, column: str, key: Key, amount: int) -> int:
        """Add to a number, and what it comes to."""
        number = (await self._number(column, key) or 0) + amount
        await self._change(f"UPDATE splitbrain.registers SET {column} = ? WHERE key = ?", BIGINT.pack(number), text(key))
        return number

    async def _number(self, column: str, key: Key) -> int | None:
        rows = await self._select(f"SELECT {column} FROM splitbrain.registers WHERE key = ?", key)
        if len(rows) > 1:
            raise await self._lost("garbled-answer")
        return rows[0] if rows else None


class Serial(Plain):
    """A client that writes on the condition that what it has read is still there. The lists and registers of transactions are
    rows of one partition, which has a version that every transaction that writes replaces. A queue is a partition, in which an
    element's place is after the last that one was put at. A lock is `owner` and `fence` of the row of the register that it
    guards; the owner is written with a TTL, and gone with it, while the fence stays."""

    TABLES: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE IF NOT EXISTS splitbrain.txns "
        "(whole text, key text, value text, version bigint static, PRIMARY KEY (whole, key))",
        "CREATE TABLE IF NOT EXISTS splitbrain.queues "
        "(key text, place bigint, element bigint, last bigint static, PRIMARY KEY (key, place))",
    )

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """SELECT the rows that are read, and the version; where something is written, UPDATE them in a batch IF the version is
        still that."""
        keys = list(dict.fromkeys(str(key) for _, key, _ in micros))
        version, state = await self._rows(keys)
        written: dict[str, Any] = {}
        done: list[Micro] = []
        for f, key, value in micros:
            name = str(key)
            match f, state.get(name):
                case "append", None | list() as held:
                    state[name] = written[name] = [*(held or ()), value]
                case "w", _:
                    state[name] = written[name] = value
                case "r", None | int() | list() as held:
                    value = held
                case _:
                    raise await self._lost("garbled-answer")
            done.append((f, key, value))
        if written:
            await self._replace(version, written)
        return tuple(done)

    async def _rows(self, keys: Sequence[str]) -> tuple[int | None, dict[str, Any]]:
        """The version, which comes with a row that every transaction writes, and what the keys hold."""
        names = [_WHOLE, *keys]
        query = f"SELECT key, value, version FROM splitbrain.txns WHERE whole = ? AND key IN ({', '.join('?' for _ in names)})"
        rows = await self.call(query, text(None), *map(text, names), consistency=self._level.reads)
        try:
            versions = {row["version"] for row in rows}
            state = {str(row["key"]): json.loads(row["value"]) for row in rows if row["key"] != _WHOLE}
        except (KeyError, TypeError, ValueError) as error:
            raise await self._lost("garbled-answer") from error
        if len(versions) > 1 or not all(isinstance(version, int) for version in versions):
            raise await self._lost("garbled-answer")
        return next(iter(versions), None), state

    async def _replace(self, version: int | None, written: dict[str, Any]) -> None:
        new = randbits(62)
        known = None if version is None else BIGINT.pack(version)
        updates = [
            "UPDATE splitbrain.txns SET version = ? WHERE whole = ? IF version = ?;",
            *["UPDATE splitbrain.txns SET value = ? WHERE whole = ? AND key = ?;"] * (len(written) + 1),
        ]
        values: list[bytes | None] = [BIGINT.pack(new), text(None), known]
        for name, value in {_WHOLE: None, **written}.items():
            values += [json.dumps(value).encode(), text(None), text(name)]
        row = await self._transact(f"BEGIN BATCH {' '.join(updates)} APPLY BATCH", *values)
        if not row["[applied]"]:
            await self._decided_against(row.get("version") == new)

    async def enqueue(self, key: Key, element: int) -> None:
        """SELECT the last place, and in a batch INSERT the element's row after it and UPDATE the last place IF it is still
        that."""
        rows = await self._numbers("SELECT last FROM splitbrain.queues WHERE key = ? LIMIT 1", key, "last")
        last = rows[0][0] if rows else None
        place = (last or 0) + 1 + randbits(_DISTANCE_BITS)
        batch = (
            "BEGIN BATCH UPDATE splitbrain.queues SET last = ? WHERE key = ? IF last = ?; "
            "INSERT INTO splitbrain.queues (key, place, element) VALUES (?, ?, ?); APPLY BATCH"
        )
        row = await self._transact(batch, BIGINT.pack(place), text(key), _packed(last), text(key), BIGINT.pack(place),
                                   BIGINT.pack(element))
        if not row["[applied]"]:
            await self._decided_against(row.get("last") == place)

    async def dequeue(self, key: Key) -> int | None:
        """SELECT the first row, and DELETE it IF nobody else has."""
        first = await self._waiting(key, " LIMIT 1")
        if not first:
            return None
        place, element = first[0]
        delete = "DELETE FROM splitbrain.queues WHERE key = ? AND place = ? IF EXISTS"
        if not (await self._transact(delete, text(key), BIGINT.pack(place)))["[applied]"]:
            raise Mismatch
        return element

    async def waiting(self, key: Key) -> list[int]:
        """SELECT all rows of the queue."""
        return [element for _, element in await self._waiting(key)]

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """SELECT owner and fence; where nobody holds the lock, UPDATE both in a batch IF they are still that."""
        rows = await self._numbers("SELECT owner, fence FROM splitbrain.registers WHERE key = ?", key, "owner", "fence")
        holder, before = rows[0] if rows else (None, None)
        if holder is not None:
            raise Mismatch(holder)
        fence = (before or 0) + 1
        batch = (
            "BEGIN BATCH UPDATE splitbrain.registers USING TTL ? SET owner = ? WHERE key = ? IF owner = NULL AND fence = ?; "
            "UPDATE splitbrain.registers SET fence = ? WHERE key = ?; APPLY BATCH"
        )
        row = await self._transact(batch, _ttl(lease), BIGINT.pack(owner), text(key), _packed(before), BIGINT.pack(fence),
                                   text(key))
        if not row["[applied]"]:
            await self._decided_against(row.get("owner") == owner)
        return fence

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """UPDATE the owner to itself, which begins its TTL anew, IF it is that one."""
        query = "UPDATE splitbrain.registers USING TTL ? SET owner = ? WHERE key = ? IF owner = ?"
        await self._if_equal(query, _ttl(lease), BIGINT.pack(owner), text(key), BIGINT.pack(owner))

    async def release(self, key: Key, owner: int) -> None:
        """UPDATE the owner to none IF it is that one."""
        query = "UPDATE splitbrain.registers SET owner = NULL WHERE key = ? IF owner = ?"
        await self._if_equal(query, text(key), BIGINT.pack(owner))

    async def holder(self, key: Key) -> int | None:
        """SELECT the owner."""
        return await self._number("owner", key)

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """UPDATE the register IF that is the fence."""
        query = "UPDATE splitbrain.registers SET value = ? WHERE key = ? IF fence = ?"
        await self._if_equal(query, BIGINT.pack(value), text(key), BIGINT.pack(fence))

    async def _if_equal(self, query: str, *values: bytes) -> None:
        """Change a row on a condition; `Mismatch` where it does not hold."""
        if not (await self._transact(query, *values))["[applied]"]:
            raise Mismatch

    async def _decided_against(self, own: bool) -> NoReturn:
        """Raises `Mismatch`, or `Indeterminate` where what is there is of this very call: another coordinator finished it."""
        if own:
            raise await self._lost("new-value-seen")
        raise Mismatch

    async def _waiting(self, key: Key, limit: str = "") -> list[tuple[int, int]]:
        """The places of a queue and the elements there, in their order. The place alone is null where a queue is empty that was
        not always: its last place is kept."""
        query = f"SELECT place, element FROM splitbrain.queues WHERE key = ?{limit}"
        rows = await self._numbers(query, key, "place", "element")
        waiting = [(place, element) for place, element in rows if place is not None and element is not None]
        if len(waiting) < len(rows) and rows != [(None, None)]:
            raise await self._lost("garbled-answer")
        return waiting

    async def _numbers(self, query: str, key: Key, *columns: str) -> list[tuple[int | None, ...]]:
        """The rows that a query answers with, of these columns, all of which are numbers."""
        rows = await self.call(query, text(key), consistency=self._level.reads)
        if not isinstance(rows, list):
            raise await self._lost("garbled-answer")
        if not all(tuple(row) == columns and all(isinstance(value, int | None) for value in row.values()) for row in rows):
            raise await self._lost("garbled-answer")
        return [tuple(row.values()) for row in rows]

    async def _advance(self, column: str, key: Key, amount: int) -> int:
        before = await self._number(column, key)
        number = (before or 0) + amount
        await self._set_if("=", key, before, number, column=column)
        return number


class CounterTable(CassandraClient):
    """A client whose counters are rows of a counter table: additions are sent, and not what they come to."""

    TABLES: ClassVar[tuple[str, ...]] = (
        "CREATE TABLE IF NOT EXISTS splitbrain.counters (key text PRIMARY KEY, value counter)",
    )

    async def increment(self, key: Key, amount: int) -> None:
        """UPDATE the counter by that much."""
        await self._change("UPDATE splitbrain.counters SET value = value + ? WHERE key = ?", BIGINT.pack(amount), text(key))

    async def count(self, key: Key) -> int:
        """SELECT the counter."""
        rows = await self._select("SELECT value FROM splitbrain.counters WHERE key = ?", key)
        if len(rows) > 1:
            raise await self._lost("garbled-answer")
        return (rows[0] if rows else None) or 0


_WHOLE = ""
"""The row that has no value, and is there for the version."""


_DISTANCE_BITS = 30
"""Of the random distance between two places of a queue: so that a place tells which call put an element there."""


def _packed(number: int | None) -> bytes | None:
    return None if number is None else BIGINT.pack(number)


def _ttl(lease: float) -> bytes:
    """A TTL in which a lease is never over too early: a server counts whole seconds, and the one that has begun as one."""
    return struct.pack(">i", ceil(lease) + 1)


def _movement(amount: int) -> tuple[bytes, bytes]:
    """The number of a new movement, and its amount."""
    return BIGINT.pack(randbits(63)), BIGINT.pack(amount)
