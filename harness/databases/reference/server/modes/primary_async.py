"""`primary-async`: asynchronous replicas and fail-over."""

from __future__ import annotations

import random

from ..election import Election
from ..node import Server
from ..unfenced import Unfenced
from ..wire import Message


class PrimaryAsync(Unfenced):
    """`primary-async`: asynchronous replicas; fail-over by the votes of a majority that no longer hears the primary.

    The old primary is not asked: cut off, it goes on accepting, until after the heal it hears of a greater generation and
    copies the new primary's store.

    Known answer: acknowledged writes are lost; neither consistent nor available.
    """

    name = "primary-async"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._election = Election(server, self, dict.fromkeys(server.names, 1), server.now() + random.uniform(0.05, 0.15))

    def held(self) -> list[int]:
        return [self.lineage, self.version]

    def undecided(self) -> bool:
        return self.primary() is None

    def adopt(self, generation: int, voted: str | None) -> None:
        """Nothing: a vote need not outlive the process where acknowledged writes do not either."""

    def follow(self, peer: str, generation: int) -> None:
        super().follow(peer, generation)
        self._election.learn(generation)

    def heard(self, peer: str, beat: Message) -> None:
        super().heard(peer, beat)
        if beat["primary"] and (beat["generation"] > self.generation or
                                (beat["generation"] == self.generation and not self.is_primary and self.leader is None)):
            self.follow(peer, beat["generation"])
        if self.primary() is not None:
            self._election.due = self.heard_leader + self.PATIENCE_WITH_PRIMARY + random.uniform(0, 0.2)

    def lost(self, peer: str) -> None:
        super().lost(peer)
        self._election.lost(peer)

    def tick(self) -> None:
        self._election.tick()

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] in ("vote", "withdraw"):
            return self._election.answer(peer, message)
        return super().peer(peer, message)
