"""What MongoDB has within one document, which it changes at one moment: transactions, counters, queues and ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from splitbrain.harness.databases.mongodb_client import MongoClient
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key

_WHOLE = "whole"
"""The name of the one document that holds the lists and registers of all transactions."""


class MongoStructures(MongoClient):
    """A counter is `{_id: KEY, value}` of `counters`, so is a sequence of `ids`; a queue is `{_id: KEY, elements: [...]}` of
    `queues`. The lists and registers of transactions are the fields of one document of `txns`."""

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


def _field(key: Key) -> str:
    """The field of a key, in a document whose every other field begins with an underscore."""
    return f"key {key}"
