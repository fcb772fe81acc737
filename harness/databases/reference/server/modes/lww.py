"""`lww`: the last write by wall clock wins."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any
from zlib import crc32

from ..mode import Mode
from ..node import Server
from ..peers import Link, answered
from ..wire import PATIENCE, Key, Message, Value, encode


class LastWriteWins(Mode):
    """`lww`: every node answers from its own copy. A change carries the wall clock and the node's name; the greater wins.

    A node tells each peer what it was told itself since that peer last confirmed (every `GOSSIP`), and every few rounds
    compares a checksum of everything, so that what came by way of a third node spreads too. A set is one value, replaced as
    a whole. A `cas` compares and writes here. Known answer: available everywhere, converges after heal, loses concurrent
    writes.
    """

    name = "lww"
    GOSSIP = 2
    COMPARE = 5
    """Beats between two rounds of gossip, and between two comparisons."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._entries: dict[str, tuple[int, str, Any]] = {}
        self._news: dict[str, set[str]] = {peer: set() for peer in server.links}
        self._checksum = 0
        self._clock = 0
        self._beats = 0

    async def read(self, key: Key) -> Value:
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        self._change(encode(["register", key]), value)

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        seen = self.local_read(key)
        if seen == expected:
            self._change(encode(["register", key]), new)
        return seen == expected, seen

    async def add(self, key: Key, element: Value) -> None:
        elements = self.local_elements(key)
        if element not in elements:
            self._change(encode(["set", key]), [*elements, element])

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def local_read(self, key: Key) -> Value:
        entry = self._entries.get(encode(["register", key]))
        return entry[2] if entry else None

    def local_elements(self, key: Key) -> list[Value]:
        entry = self._entries.get(encode(["set", key]))
        return entry[2] if entry else []

    def counters(self) -> tuple[int, int]:
        return 0, len(self._entries)

    def _change(self, name: str, value: Any) -> None:
        self._clock = max(self._clock + 1, time.time_ns())
        if self._merge(name, (self._clock, self.server.name, value)):
            for news in self._news.values():
                news.add(name)

    def _merge(self, name: str, entry: tuple[int, str, Any]) -> bool:
        old = self._entries.get(name)
        if old is not None and old[:2] >= entry[:2]:
            return False
        if old is not None:
            self._checksum ^= crc32(f"{name} {old[0]} {old[1]}".encode())
        self._checksum ^= crc32(f"{name} {entry[0]} {entry[1]}".encode())
        self._entries[name] = entry
        return True

    def tick(self) -> None:
        self._beats += 1
        for link in self.server.up():
            if self._beats % self.GOSSIP == 0 and self._news[link.name]:
                self.server.spawn(self._tell(link, self._news[link.name]))
                self._news[link.name] = set()
            if self._beats % self.COMPARE == 0:
                self.server.spawn(self._compare(link))

    async def _tell(self, link: Link, names: Iterable[str]) -> None:
        told = {name: self._entries[name] for name in names}
        if not await self.server.ask([link], {"t": "tell", "entries": told}, answered, self.server.now() + PATIENCE):
            self._news[link.name].update(told)

    async def _compare(self, link: Link) -> None:
        replies: list[Message] = []

        def judge(peer: str, reply: Message | None) -> bool:
            replies.extend([reply] if reply else [])
            return bool(replies)

        deadline = self.server.now() + PATIENCE
        await self.server.ask([link], {"t": "compare", "checksum": self._checksum}, judge, deadline)
        if replies and "stamps" in replies[0]:
            stamps: dict[str, list[Any]] = replies[0]["stamps"]
            newer = [name for name, entry in self._entries.items() if list(entry[:2]) > stamps.get(name, [0, ""])]
            if newer:
                await self._tell(link, newer)

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "tell":
            for name, (stamp, author, value) in message["entries"].items():
                self._merge(name, (stamp, author, value))
            return {}
        if message["checksum"] == self._checksum:
            return {}
        return {"stamps": {name: entry[:2] for name, entry in self._entries.items()}}
