"""`merge` and `merge-tombstones`: sets that are joined after a partition, and what becomes of removed elements."""

from __future__ import annotations

from typing import Any

from ..gossip import Gossip
from ..wire import Key, Message, Value, encode


class Merge(Gossip):
    """`merge`: every node answers from its own copy; copies are joined by union. Nothing remembers that an element was removed:
    a removal is told to the peers in reach, once, and a copy that it did not reach brings the element back.

    Known answer: available everywhere, converges after heal, no added element is lost; removed elements come back.
    """

    name = "merge"

    def merge(self, mine: Any, theirs: Any) -> Any:
        return sorted({*mine, *theirs}, key=_order)

    async def add(self, key: Key, element: Value) -> None:
        self.change(encode(key), [element])

    async def remove(self, key: Key, element: Value) -> None:
        self._drop(encode(key), element)
        for link in self.server.up():
            link.tell({"t": "drop", "name": encode(key), "element": element})

    def _drop(self, name: str, element: Value) -> None:
        self.put(name, [kept for kept in self.entries.get(name, []) if kept != element])

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "drop":
            self._drop(message["name"], message["element"])
            return None
        return super().peer(peer, message)

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self.entries.get(encode(key), []))


class MergeTombstones(Gossip):
    """`merge-tombstones`: the two-phase set of Shapiro et al. (2011): a removed element leaves a tombstone, which wins over the
    element in every merge, and for ever.

    Known answer: available everywhere, converges after heal, no added element is lost but to a removal, and no removed element
    comes back.
    """

    name = "merge-tombstones"

    def merge(self, mine: Any, theirs: Any) -> Any:
        added, removed = ({*ours, *others} for ours, others in zip(mine, theirs, strict=True))
        return [sorted(added - removed, key=_order), sorted(removed, key=_order)]

    async def add(self, key: Key, element: Value) -> None:
        self.change(encode(key), [[element], []])

    async def remove(self, key: Key, element: Value) -> None:
        self.change(encode(key), [[], [element]])

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self.entries.get(encode(key), [[], []])[0])


def _order(element: Value) -> tuple[bool, Value]:
    return isinstance(element, str), element
