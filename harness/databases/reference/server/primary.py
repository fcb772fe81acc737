"""What modes with a primary share."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from typing import Any

from .mode import Mode
from .node import Server
from .structures import Structures
from .wire import Key, Message, Value


class Store:
    """Registers and sets, changed by `[op, key, argument...]`."""

    def __init__(self) -> None:
        self.values: dict[Key, Value] = {}
        self.sets: dict[Key, dict[Value, None]] = {}
        self.structures = Structures()

    def apply(self, change: list[Any]) -> Message:
        """Make a change; the answer."""
        op, key = change[0], change[1]
        if op not in ("add", "cas", "write", "guarded-write"):
            return self.structures.apply(change)
        if op == "add":
            self.sets.setdefault(key, {})[change[2]] = None
            return {"ok": True}
        if op == "cas" and self.values.get(key) != change[2]:
            return {"ok": False, "seen": self.values.get(key)}
        if op == "guarded-write" and change[2] < (fence := self.structures.fences.get(key, 0)):
            return {"ok": False, "seen": fence}
        self.values[key] = change[-1]
        self.structures.changed(key, change[-1])
        return {"ok": True}

    def whole(self) -> Message:
        """As a peer is told it."""
        sets = [[key, list(elements)] for key, elements in self.sets.items()]
        return {"values": list(self.values.items()), "sets": sets, "structures": self.structures.whole()}

    def restore(self, whole: Message) -> None:
        """Become what a peer told."""
        self.values = {key: value for key, value in whole["values"]}
        self.sets = {key: dict.fromkeys(elements) for key, elements in whole["sets"]}
        self.structures.restore(whole["structures"])


class Primary(Mode):
    """What the modes with a primary share: operations only there, on a `Store`."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.store = Store()
        self.generation = 0
        self.is_primary = False

    @abstractmethod
    async def change(self, change: list[Any]) -> Message:
        """Make a change as the primary; the answer. Raises `Failure`."""

    @abstractmethod
    def admit(self) -> None:
        """Raises `Failure` where this node must not serve now."""

    async def read(self, key: Key) -> Value:
        self.admit()
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        await self.change(["write", key, value])

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        answer = await self.change(["cas", key, expected, new])
        return answer["ok"], answer.get("seen")

    async def add(self, key: Key, element: Value) -> None:
        await self.change(["add", key, element])

    async def elements(self, key: Key) -> list[Value]:
        self.admit()
        return self.local_elements(key)

    async def structure(self, request: Message) -> Message:
        op, key = request["op"], request["key"]
        match op:
            case "local-waiting" | "local-holder" | "local-watch":
                return self._looked_at(op.removeprefix("local-"), request)
            case "waiting" | "holder":
                self.admit()
                return self._looked_at(op, request)
            case "watch":
                return await self._watched(request)
            case "enqueue":
                return await self.change([op, key, request["element"]])
            case "dequeue" | "id":
                return await self.change([op, key])
            case "guarded-write":
                return await self.change([op, key, request["fence"], request["value"]])
            case _:
                now = self.server.wall()
                return await self.change([op, key, request["owner"], now + request.get("lease", 0) * 1_000_000, now])

    def _looked_at(self, what: str, request: Message) -> Message:
        key, structures = request["key"], self.store.structures
        match what:
            case "waiting":
                return {"ok": True, "elements": list(structures.queues.get(key, ()))}
            case "holder":
                return {"ok": True, "value": structures.holder(key, self.server.wall())}
            case _:
                return {"ok": True, "changes": structures.since(key, request["since"])}

    async def _watched(self, request: Message) -> Message:
        for _ in range(10):
            self.admit()
            if (told := self._looked_at("watch", request))["changes"]:
                return told
            await asyncio.sleep(0.02)
        self.admit()
        return self._looked_at("watch", request)

    def local_read(self, key: Key) -> Value:
        return self.store.values.get(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self.store.sets.get(key, ()))

    def role(self) -> str:
        return "primary" if self.is_primary else "replica"

    def ready(self) -> bool:
        return super().ready() and self.primary() is not None
