"""What modes with a primary share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from .mode import Mode
from .node import Server
from .wire import Key, Message, Value


class Store:
    """Registers and sets, changed by `[op, key, argument...]`."""

    def __init__(self) -> None:
        self.values: dict[Key, Value] = {}
        self.sets: dict[Key, dict[Value, None]] = {}

    def apply(self, change: list[Any]) -> Message:
        """Make a change; the answer."""
        op, key = change[0], change[1]
        if op == "add":
            self.sets.setdefault(key, {})[change[2]] = None
        elif op == "cas" and self.values.get(key) != change[2]:
            return {"ok": False, "seen": self.values.get(key)}
        else:
            self.values[key] = change[-1]
        return {"ok": True}

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"values": list(self.values.items()), "sets": [[key, list(elements)] for key, elements in self.sets.items()]}

    def restore(self, whole: Message) -> None:
        """Become what a peer told."""
        self.values = {key: value for key, value in whole["values"]}
        self.sets = {key: dict.fromkeys(elements) for key, elements in whole["sets"]}


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

    def local_read(self, key: Key) -> Value:
        return self.store.values.get(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self.store.sets.get(key, ()))

    def role(self) -> str:
        return "primary" if self.is_primary else "replica"

    def ready(self) -> bool:
        return super().ready() and self.primary() is not None
