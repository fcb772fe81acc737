"""`lww`: the last write by wall clock wins."""

from __future__ import annotations

from typing import Any

from ..gossip import Gossip
from ..node import Server
from ..wire import Key, Value, encode


class LastWriteWins(Gossip):
    """`lww`: every node answers from its own copy. A change carries the wall clock and the node's name; the greater wins.

    A set is one value, replaced as a whole. A `cas` compares and writes here. Known answer: available everywhere, converges
    after heal, loses concurrent writes.
    """

    name = "lww"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._clock = 0

    def merge(self, mine: Any, theirs: Any) -> Any:
        return max(mine, theirs, key=lambda entry: entry[:2])

    def digest(self, entry: Any) -> Any:
        return entry[:2]

    async def read(self, key: Key) -> Value:
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        self._set(encode(["register", key]), value)

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        seen = self.local_read(key)
        if seen == expected:
            self._set(encode(["register", key]), new)
        return seen == expected, seen

    async def add(self, key: Key, element: Value) -> None:
        elements = self.local_elements(key)
        if element not in elements:
            self._set(encode(["set", key]), [*elements, element])

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def local_read(self, key: Key) -> Value:
        entry = self.entries.get(encode(["register", key]))
        return entry[2] if entry else None

    def local_elements(self, key: Key) -> list[Value]:
        entry = self.entries.get(encode(["set", key]))
        return entry[2] if entry else []

    def _set(self, name: str, value: Any) -> None:
        self._clock = max(self._clock + 1, self.server.wall())
        self.change(name, [self._clock, self.server.name, value])
