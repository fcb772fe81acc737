"""The client of MongoDB: its wire protocol on one plain connection to one member.

The driver's `bson` writes and reads the documents; its client is not used, because it monitors members, waits for one that
it holds suitable, keeps sessions that it ends on close, and after a refusal asks nothing for up to half a second. Here one
request is one OP_MSG and its reply, on one connection that can be closed. A register is the document `{_id: KEY, value}` of the
collection `registers`; a set is `{_id: KEY, elements: [...]}` of `sets`, to which an element is pushed, so that one that was
added twice is seen twice.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from itertools import count
from typing import Any, ClassVar

from splitbrain.harness.databases.connection import Stream
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused
from splitbrain.harness.history.operation import Key

SET = "splitbrain"
"""The name of the replica set and of the database that holds the workload's collections."""

_HEAD = struct.Struct("<iiii")
_MESSAGE = struct.Struct("<iiiiIB")
_OP_MSG = 2013
_LONGEST = 48_000_000


class MongoClient(Stream):
    """One connection to one member. `write` is the write concern of every update, `read` the read concern of every find,
    `limit` what a find may take on the server in milliseconds (0: no limit). A member that is no primary answers finds only
    with `secondary`."""

    DEFINITE: ClassVar[dict[int, str]] = {
        10107: "not-primary",  # NotWritablePrimary
        13435: "not-primary",  # NotPrimaryNoSecondaryOk
        10058: "not-primary",  # LegacyNotPrimary
        13436: "recovering",  # NotPrimaryOrSecondary
        11000: "duplicate-key",  # DuplicateKey: two first writes raced, this one changed nothing
        10334: "too-large",  # BSONObjectTooLarge
        17419: "too-large",  # resulting document after update is too large
    }
    """The code of a command's or an update's error → the reason: it was looked at and not done."""

    INDEFINITE: ClassVar[dict[int, str]] = {
        50: "time-limit",  # MaxTimeMSExpired
        64: "write-concern",  # WriteConcernFailed
        91: "shutting-down",  # ShutdownInProgress
        189: "stepped-down",  # PrimarySteppedDown
        262: "time-limit",  # ExceededTimeLimit
        11600: "shutting-down",  # InterruptedAtShutdown
        11601: "interrupted",  # Interrupted
        11602: "stepped-down",  # InterruptedDueToReplStateChange
    }
    """The code → the reason: it may be in the member's log already. Any other code is indefinite too, and so is every error of
    the write concern, whatever its code: the write itself was done."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, write: Mapping[str, Any],
                 read: str = "majority", limit: int = 0, secondary: bool = False) -> None:
        super().__init__(reader, writer)
        self._write = dict(write)
        self._find: dict[str, Any] = {"readConcern": {"level": read}}
        if secondary:
            self._find["$readPreference"] = {"mode": "secondaryPreferred"}
        if limit:
            self._find["maxTimeMS"] = limit
        self._numbers = count(1)

    async def read(self, key: Key) -> int | None:
        """Find the register's document."""
        return await self._number(await self._document("registers", key))

    async def write(self, key: Key, value: int) -> None:
        """Update the register's document, or insert it where there is none."""
        await self._update("registers", key, {"$set": {"value": value}})

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Find the document and modify it, in one command that answers with the document as it was before. The comparison is
        part of the modification, so that a document which differs is told and left as it is."""
        value: dict[str, Any]
        if expected is None:
            value = {"update": [{"$set": {"value": {"$ifNull": ["$value", new]}}}], "upsert": True}
        else:
            value = {"update": [{"$set": {"value": {"$cond": [{"$eq": ["$value", expected]}, new, "$value"]}}}]}
        command = {"findAndModify": "registers", "query": {"_id": key}, **value}
        seen = await self._number(await self._modified(command))
        if seen != expected:
            raise Mismatch(seen)

    async def add(self, key: Key, element: int) -> None:
        """Push the element to the set's document."""
        await self._update("sets", key, {"$push": {"elements": element}})

    async def elements(self, key: Key) -> list[int]:
        """Find the set's document."""
        return await self._elements(await self._document("sets", key))

    async def call(self, command: Mapping[str, Any], database: str = SET) -> dict[str, Any]:
        """One command and its answer, for everything but the operations too; the error of one that failed is classified."""
        async with self._turn:  # the harness' own connections are asked by several tasks
            return await self._call(command, database)

    async def _call(self, command: Mapping[str, Any], database: str) -> dict[str, Any]:
        import bson

        if self._closed:
            raise Refused("no-connection")
        number = next(self._numbers)
        body = bson.encode({**command, "$db": database})
        try:
            self._writer.write(_MESSAGE.pack(_MESSAGE.size + len(body), number, 0, _OP_MSG, 0, 0) + body)
            length, _, responds, code = _HEAD.unpack(await self._reader.readexactly(_HEAD.size))
            if code != _OP_MSG or responds != number or not _MESSAGE.size < length < _LONGEST:
                raise await self._lost("garbled-answer")
            rest = await self._reader.readexactly(length - _HEAD.size)
        except (OSError, EOFError) as error:
            raise await self._lost("connection-lost") from error
        except BaseException:
            await self.close()
            raise
        try:
            flags, kind = struct.unpack_from("<IB", rest)
            answer = bson.decode(rest[5:])
        except (ValueError, struct.error, bson.errors.BSONError) as error:
            raise await self._lost("garbled-answer") from error
        if flags or kind or answer.get("ok") not in (0, 1):
            raise await self._lost("garbled-answer")
        if not answer["ok"]:
            raise await self._error(answer)
        return answer

    async def _document(
        self, collection: str, key: Key, projection: Mapping[str, Any] | None = None
    ) -> Mapping[str, Any] | None:
        find = {"find": collection, "filter": {"_id": key}, "limit": 1, "singleBatch": True, **self._find}
        answer = await self.call({**find, "projection": projection} if projection else find)
        match answer:
            case {"cursor": {"firstBatch": []}}:
                return None
            case {"cursor": {"firstBatch": [document]}} if isinstance(document, Mapping) and document.get("_id") == key:
                return document
        raise await self._lost("garbled-answer")

    async def _update(self, collection: str, key: Key, change: Mapping[str, Any]) -> None:
        update = {"q": {"_id": key}, "u": change, "upsert": True}
        answer = await self.call({"update": collection, "updates": [update], "writeConcern": self._write})
        match answer:
            case {"writeErrors": [{"code": int()} as error]}:
                raise await self._error(error)
            case {"writeConcernError": error}:
                raise await self._lost("write-concern", str(error))
            case {"n": 1}:
                return
        raise await self._lost("garbled-answer")

    async def _modified(self, command: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """The document that a findAndModify answers with."""
        answer = await self.call({**command, "writeConcern": self._write})
        if "writeConcernError" in answer:
            raise await self._lost("write-concern", str(answer["writeConcernError"]))
        if "value" not in answer or not isinstance(answer["value"], Mapping | None):
            raise await self._lost("garbled-answer")
        return answer["value"]

    async def _elements(self, document: Mapping[str, Any] | None) -> list[int]:
        if document is None:
            return []
        found = document.get("elements")
        if not isinstance(found, list) or not all(isinstance(element, int) for element in found):
            raise await self._lost("garbled-answer")
        return found

    async def _number(self, document: Mapping[str, Any] | None) -> int | None:
        if document is None:
            return None
        value = document.get("value")
        if value is None and isinstance(document.get("fence"), int):  # the lock was taken before its register was written
            return None
        if not isinstance(value, int):
            raise await self._lost("garbled-answer")
        return value

    async def _error(self, error: Mapping[str, Any]) -> Refused | Indeterminate:
        code, text = error.get("code"), str(error.get("errmsg", error))
        if code in self.DEFINITE and "writeConcernError" not in error:
            return Refused(self.DEFINITE[code], text)
        return await self._lost(self.INDEFINITE.get(code, "unknown-error") if isinstance(code, int) else "garbled-answer", text)

