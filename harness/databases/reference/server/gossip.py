"""What modes share in which every node answers from its own copy, and copies are merged behind."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from .mode import Mode
from .node import Server
from .peers import Link, answered
from .wire import PATIENCE, Message, encode, fingerprint


class Gossip(Mode):
    """Named entries, merged with what peers tell of them; `merge` is commutative, associative and idempotent, so that copies
    that were told the same are the same.

    A node tells each peer what it was told itself since that peer last confirmed (every `GOSSIP`), and every few rounds
    compares a checksum of everything, so that what came by way of a third node spreads too.
    """

    GOSSIP = 2
    COMPARE = 5
    """Beats between two rounds of gossip, and between two comparisons."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.entries: dict[str, Any] = {}
        self._news: dict[str, set[str]] = {peer: set() for peer in server.links}
        self._checksum = 0
        self._beats = 0

    @abstractmethod
    def merge(self, mine: Any, theirs: Any) -> Any:
        """The entry that both lead to. `mine` is left as it is."""

    def digest(self, entry: Any) -> Any:
        """Something small that tells an entry from any other of its name."""
        return fingerprint(encode(entry))

    def change(self, name: str, entry: Any) -> None:
        """Merge a change that was made here, and tell it."""
        if self.take(name, entry):
            for news in self._news.values():
                news.add(name)

    def take(self, name: str, entry: Any) -> bool:
        """Merge an entry; whether that changed anything."""
        old = self.entries.get(name)
        merged = entry if old is None else self.merge(old, entry)
        if merged == old:
            return False
        self.put(name, merged)
        return True

    def put(self, name: str, entry: Any) -> None:
        """Put an entry in the place of what there was."""
        for version in (self.entries.get(name), entry):
            if version is not None:
                self._checksum ^= fingerprint(f"{name} {self.digest(version)}")
        self.entries[name] = entry

    def counters(self) -> tuple[int, int]:
        return 0, len(self.entries)

    def tick(self) -> None:
        self._beats += 1
        for link in self.server.up():
            if self._beats % self.GOSSIP == 0 and self._news[link.name]:
                self.server.spawn(self._tell(link, self._news[link.name]))
                self._news[link.name] = set()
            if self._beats % self.COMPARE == 0:
                self.server.spawn(self._compare(link))

    async def _tell(self, link: Link, names: Iterable[str]) -> None:
        told = {name: self.entries[name] for name in names}
        if not await self.server.ask([link], {"t": "tell", "entries": told}, answered, self.server.now() + PATIENCE):
            self._news[link.name].update(told)

    async def _compare(self, link: Link) -> None:
        replies: list[Message] = []

        def judge(peer: str, reply: Message | None) -> bool:
            replies.extend([reply] if reply else [])
            return bool(replies)

        deadline = self.server.now() + PATIENCE
        await self.server.ask([link], {"t": "compare", "checksum": self._checksum}, judge, deadline)
        if replies and "digests" in replies[0]:
            digests: dict[str, Any] = replies[0]["digests"]
            other = [name for name, entry in self.entries.items() if digests.get(name) != self.digest(entry)]
            if other:
                await self._tell(link, other)

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "tell":
            for name, entry in message["entries"].items():
                self.take(name, entry)
            return {}
        if message["checksum"] == self._checksum:
            return {}
        return {"digests": {name: self.digest(entry) for name, entry in self.entries.items()}}
