"""`first-write-wins`: what came second is taken back, and said so."""

from __future__ import annotations

from typing import Any

from ..gossip import Gossip
from ..node import Server
from ..wire import Failure, Key, Value, encode, unsupported


class FirstWriteWins(Gossip):
    """`first-write-wins`: every node lets a register be written once, as far as it knows: a seat that is sold. Of two writes
    beside each other the one of the earlier wall clock stays, and the other, though acknowledged, is taken back and
    recorded as compensated, so that somebody can apologize (Helland & Campbell 2009).

    Known answer: available everywhere, converges after heal; acknowledged writes are taken back, and each of them is
    compensated.
    """

    name = "first-write-wins"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._clock = 0

    def merge(self, mine: Any, theirs: Any) -> Any:
        writes = {tuple(write) for entry in (mine, theirs) for write in entry}
        return [list(write) for write in sorted(writes, key=lambda write: write[:2])]

    async def read(self, key: Key) -> Value:
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        if not (await self.cas(key, None, value))[0]:
            raise Failure("taken", definite=True)

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        if expected is not None:
            raise unsupported()
        seen = self.local_read(key)
        if seen is None:
            self._clock = max(self._clock + 1, self.server.wall())
            self.change(encode(key), [[self._clock, self.server.name, new]])
        return seen is None, seen

    def local_read(self, key: Key) -> Value:
        writes = self.entries.get(encode(key))
        return writes[0][2] if writes else None

    def compensated(self, key: Key) -> list[Value]:
        return [value for _, _, value in self.entries.get(encode(key), [])[1:]]
