"""`counter-crdt`: a counter that every node counts its own part of."""

from __future__ import annotations

from typing import Any

from ..gossip import Gossip
from ..node import Server
from ..wire import Key, encode, unsupported


class CounterCrdt(Gossip):
    """`counter-crdt`: the grow-only counter of Shapiro et al. (2011): node → how much was counted there. The sum is the
    counter, the greater number of each node the merge. A node's own part outlives its process, lest it count from 0 again.

    Known answer: available everywhere; the sum is right after the heal.
    """

    name = "counter-crdt"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._journal = server.durable()
        for record in self._journal.replay():
            self.take(record["k"], record["e"])

    def merge(self, mine: Any, theirs: Any) -> Any:
        return {node: max(mine.get(node, 0), theirs.get(node, 0)) for node in sorted({*mine, *theirs})}

    async def increment(self, key: Key, amount: int) -> None:
        if amount < 0:
            raise unsupported()
        name, me = encode(key), self.server.name
        entry = {me: self.entries.get(name, {}).get(me, 0) + amount}
        self.change(name, entry)
        self._journal.append({"k": name, "e": entry})

    async def count(self, key: Key) -> int:
        return self.local_count(key)

    def local_count(self, key: Key) -> int:
        return sum(self.entries.get(encode(key), {}).values())
