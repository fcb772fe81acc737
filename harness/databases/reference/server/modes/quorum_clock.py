"""`quorum-clock`: quorums that trust the clocks."""

from __future__ import annotations

from typing import Any

from ..wire import PATIENCE, Key, Value, no_quorum
from .majority_no_writeback import MajorityNoWriteback


class QuorumClock(MajorityNoWriteback):
    """`quorum-clock`: majority writes and majority reads as in `majority-no-writeback`, but a write asks nobody what the newest
    version is: it takes the wall clock of the node that it came to, and the greatest wins.

    Known answer: new/old inversion, hence not linearizable; where clocks are apart, acknowledged writes are lost even without
    a fault; a side without a majority is blocked. There is no `cas`.
    """

    name = "quorum-clock"

    async def write(self, key: Key, value: Value) -> None:
        if not self.server.quorum():
            raise no_quorum()
        copy = self.copies[key]
        copy.issued = max(copy.issued + 1, self.server.wall())
        message: dict[str, Any] = {"t": "put", "k": key, "b": (copy.issued, self.server.name), "v": value}
        await self.spread(message, self.server.now() + PATIENCE)
