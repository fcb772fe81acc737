"""Transactions of MongoDB over several documents, and a bank made of them.

A transaction is a request for each of its steps, under the number that its session gives it, and one that commits it. Before
that is sent nothing of it has happened; and where the server calls an error of it a `TransientTransactionError`, nothing has
either: the transaction was rolled back, mostly for another's sake.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count
from typing import Any
from uuid import uuid4

from splitbrain.harness.databases.mongodb_client import SET, MongoClient
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key


class MongoTransactions(MongoClient):
    """A list is the document `{_id: KEY, list: [...]}` of `txns`, a register `{_id: KEY, value}` of it, an account
    `{_id: KEY, value}` of `accounts`. Where a client reads a member's own copy (`secondary`), it finds without a transaction,
    which a secondary would refuse."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, write: Mapping[str, Any],
                 read: str = "snapshot", limit: int = 0, secondary: bool = False) -> None:
        super().__init__(reader, writer, write=write, read=read, limit=limit, secondary=secondary)
        self._secondary = secondary
        self._session = uuid4()
        self._transactions = count(1)
        self._begun: dict[str, Any] | None = None
        """What every request of the transaction says that was begun."""

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """A find or an update for each micro-operation."""
        if self._secondary:
            return tuple([(f, key, await self._held(key)) for f, key, _ in micros])
        done: list[Micro] = []
        async with self._transaction():
            for f, key, value in micros:
                match f:
                    case "r":
                        value = await self._held(key)
                    case "append":
                        await self._update("txns", key, {"$push": {"list": value}})
                    case _:
                        await self._update("txns", key, {"$set": {"value": value}})
                done.append((f, key, value))
        return tuple(done)

    async def deposit(self, key: Key, amount: int) -> None:
        """Increase the account's value."""
        await self._update("accounts", key, {"$inc": {"value": amount}})

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """Find what the source holds, decrease it, and increase what the target holds."""
        async with self._transaction():
            balance = await self._number(await self._document("accounts", source)) or 0
            if balance < amount:
                await self._end("abortTransaction")
                raise Mismatch(balance)
            await self.deposit(source, -amount)
            await self.deposit(target, amount)

    async def balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        """Find all accounts in one transaction."""
        if self._secondary:
            return await self._balances(keys)
        async with self._transaction():
            return await self._balances(keys)

    async def call(self, command: Mapping[str, Any], database: str = SET) -> dict[str, Any]:
        """One command and its answer, as a step of the transaction that was begun, if one was."""
        if self._begun is None:
            return await super().call(command, database)
        begun, self._begun = self._begun, self._of_session(self._begun)
        # The concerns are those of the transaction as a whole.
        step = {name: value for name, value in command.items() if name not in ("readConcern", "writeConcern")}
        return await super().call({**step, **begun}, database)

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[None]:
        """A transaction, committed in the end. Raises `Mismatch` where it was rolled back."""
        import bson

        self._begun = {
            "lsid": {"id": bson.Binary(self._session.bytes, bson.binary.UUID_SUBTYPE)},
            "txnNumber": bson.Int64(next(self._transactions)), "autocommit": False, "startTransaction": True,
            "readConcern": self._find["readConcern"],
        }
        try:
            yield
            if self._begun is not None:
                await self._end("commitTransaction")
        finally:
            self._begun = None

    async def _end(self, command: str) -> None:
        assert self._begun is not None
        session, self._begun = self._of_session(self._begun), None
        answer = await super().call({command: 1, **session, "writeConcern": self._write}, "admin")
        if "writeConcernError" in answer:
            raise await self._lost("write-concern", str(answer["writeConcernError"]))

    def _of_session(self, begun: Mapping[str, Any]) -> dict[str, Any]:
        return {name: begun[name] for name in ("lsid", "txnNumber", "autocommit")}

    async def _held(self, key: Key) -> Any:
        document = await self._document("txns", key) or {}
        held = document.get("list", document.get("value"))
        if not isinstance(held, int | list | None):
            raise await self._lost("garbled-answer")
        return held

    async def _balances(self, keys: Sequence[Key]) -> dict[Key, int]:
        wanted = {"find": "accounts", "filter": {"_id": {"$in": list(keys)}}, "batchSize": len(keys), "singleBatch": True}
        match await self.call({**wanted, **self._find}):
            case {"cursor": {"firstBatch": list(documents)}} if all(isinstance(one, Mapping) for one in documents):
                found = {one.get("_id"): await self._number(one) or 0 for one in documents}
                return {key: found.get(key, 0) for key in keys}
        raise await self._lost("garbled-answer")

    async def _error(self, error: Mapping[str, Any]) -> Refused | Indeterminate:
        if error.get("code") not in self.DEFINITE and "TransientTransactionError" in error.get("errorLabels", ()):
            return Mismatch()
        return await super()._error(error)
