"""What MongoDB has within one document, which it changes at one moment: transactions, counters, queues, locks and ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from secrets import randbits
from typing import Any

from splitbrain.harness.databases.mongodb_client import MongoClient
from splitbrain.harness.errors import Mismatch
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key

_WHOLE = "whole"
"""The name of the one document that holds the lists and registers of all transactions."""

_HELD = {"$gt": ["$until", "$$NOW"]}
"""That a lock's lease is not over, by the clock of the primary. Of a document that was never locked it is not true: what is
missing is less than any time."""


class MongoStructures(MongoClient):
    """A counter is `{_id: KEY, value}` of `counters`, so is a sequence of `ids`; a queue is `{_id: KEY, elements: [...]}` of
    `queues`. The lists and registers of transactions are the fields of one document of `txns`. A lock is
    `owner`, `until`, `fence` and `token` of the document of the register that it guards, so that both are compared and changed
    at one moment; the fence is how often the lock was taken, and the token names the call that took it last."""

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """Find the document, or find it and modify it in one command, which answers with the document as it was before: what
        is read is what was there, and what the transaction itself has written until then."""
        fields = {_field(key): True for f, key, _ in micros if f == "r"}
        pushed: dict[str, list[Any]] = {}
        changes: dict[str, Any] = {}
        for f, key, value in micros:
            if f == "append":
                pushed.setdefault(_field(key), []).append(value)
            elif f == "w":
                changes.setdefault("$set", {})[_field(key)] = value
        if pushed:
            changes["$push"] = {field: {"$each": elements} for field, elements in pushed.items()}
        if changes:
            command = {"findAndModify": "txns", "query": {"_id": _WHOLE}, "update": changes, "upsert": True,
                       "fields": {"_id": True, **fields}}
            document = await self._modified(command)
            if document is not None and document.get("_id") != _WHOLE:
                raise await self._lost("garbled-answer")
        else:
            document = await self._document("txns", _WHOLE)
        return await self._done(micros, document or {})

    async def _done(self, micros: Sequence[Micro], before: Mapping[str, Any]) -> tuple[Micro, ...]:
        """The micro-operations with what they read, where that was the document."""
        state = dict(before)
        done: list[Micro] = []
        for f, key, value in micros:
            field = _field(key)
            held = state.get(field)
            match f:
                case "append" if isinstance(held, list | None):
                    state[field] = [*(held or []), value]
                case "w":
                    state[field] = value
                case "r" if isinstance(held, int | list | None):
                    value = held
                case _:
                    raise await self._lost("garbled-answer")
            done.append((f, key, value))
        return tuple(done)

    async def increment(self, key: Key, amount: int) -> None:
        """Update with `$inc`."""
        await self._update("counters", key, {"$inc": {"value": amount}})

    async def count(self, key: Key) -> int:
        """Find the counter's document."""
        return await self._number(await self._document("counters", key)) or 0

    async def enqueue(self, key: Key, element: int) -> None:
        """Push the element to the queue's document."""
        await self._update("queues", key, {"$push": {"elements": element}})

    async def dequeue(self, key: Key) -> int | None:
        """Pop the first element, in one command that answers with the document as it was before."""
        command = {"findAndModify": "queues", "query": {"_id": key}, "update": {"$pop": {"elements": -1}}}
        elements = await self._elements(await self._modified(command))
        return elements[0] if elements else None

    async def waiting(self, key: Key) -> list[int]:
        """Find the queue's document."""
        return await self._elements(await self._document("queues", key))

    async def next_id(self, key: Key) -> int:
        """Increase the number of the sequence, in one command that answers with it."""
        command = {"findAndModify": "ids", "query": {"_id": key}, "update": {"$inc": {"value": 1}}, "upsert": True, "new": True}
        number = await self._number(await self._modified(command))
        if number is None:
            raise await self._lost("garbled-answer")
        return number

    async def acquire(self, key: Key, owner: int, lease: float) -> int:
        """Modify the document where the lock is free, in one command that answers with it; the token tells who did."""
        token = randbits(62)
        fence = {"$add": [{"$ifNull": ["$fence", 0]}, 1]}
        taken = {"owner": owner, "until": _end(lease), "fence": fence, "token": token}
        change = {"$set": {name: {"$cond": [_HELD, f"${name}", value]} for name, value in taken.items()}}
        command = {"findAndModify": "registers", "query": {"_id": key}, "update": [change], "upsert": True, "new": True}
        document = await self._modified(command)
        match document:
            case {"token": int() as last, "owner": int() as holder, "fence": int() as number}:
                if last != token:
                    raise Mismatch(holder)
                return number
        raise await self._lost("garbled-answer")

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """Find the lock with that owner and its lease not over, and modify the lease, in one command."""
        query = {"_id": key, "owner": owner, "$expr": _HELD}
        command = {"findAndModify": "registers", "query": query, "update": [{"$set": {"until": _end(lease)}}]}
        await self._matched(command, "owner", owner)

    async def release(self, key: Key, owner: int) -> None:
        """Find the lock with that owner and its lease not over, and end the lease, in one command. The fence stays."""
        query = {"_id": key, "owner": owner, "$expr": _HELD}
        command = {"findAndModify": "registers", "query": query, "update": [{"$set": {"until": "$$NOW"}}]}
        await self._matched(command, "owner", owner)

    async def holder(self, key: Key) -> int | None:
        """Find the document: its owner, if the lease is not over at the member that answers."""
        document = await self._document("registers", key, {"held": _HELD, "owner": 1})
        match document:
            case None | {"held": False}:
                return None
            case {"held": True, "owner": int() as owner}:
                return owner
        raise await self._lost("garbled-answer")

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """Find the register with that fence and modify it, in one command."""
        command = {"findAndModify": "registers", "query": {"_id": key, "fence": fence}, "update": {"$set": {"value": value}}}
        await self._matched(command, "fence", fence)

    async def _matched(self, command: Mapping[str, Any], name: str, value: int) -> None:
        """Modify the document that a query finds, in which `name` has that value. Raises `Mismatch` where there is none."""
        document = await self._modified(command)
        if document is None:
            raise Mismatch
        if document.get(name) != value:
            raise await self._lost("garbled-answer")


def _end(lease: float) -> Mapping[str, Any]:
    """When a lease that begins now is over."""
    return {"$add": ["$$NOW", int(lease * 1000)]}


def _field(key: Key) -> str:
    """The field of a key, in a document whose every other field begins with an underscore."""
    return f"key {key}"
