"""`majority-no-writeback`: quorums whose reads do not write back."""

from __future__ import annotations

import asyncio
import random

from ..mode import Mode
from ..node import Server
from ..peers import answered
from ..replica import Copies, Copy
from ..wire import PATIENCE, Key, Message, Value, no_quorum, timed_out


class MajorityNoWriteback(Mode):
    """`majority-no-writeback`: the register of Attiya, Bar-Noy & Dolev (1995) without the second half of its reads.

    A write asks a majority for the newest version, takes the next, and stores it here and then at one replica after the
    other, in random order, until a majority has it (the rest follow behind) or its patience ends. A read answers the newest
    version of the first majority that it hears, at once. So a read may see a write that has reached few replicas, and a
    later read of another majority may miss it. Without a fault the spreading is quick, and this is rare; but where a replica
    is silent, one write in `STALL` gives it `GRACE` to come back before it goes on to the others, and stays half-spread for
    so long. (On a side that is just a majority it cannot be seen: there every read hears everybody.) A set is spread by
    element and read as the union of a majority. A write that misses a half-spread one may take an older version than what was
    read by then, and is lost. `REPAIR` after a link came back, replicas take from each other what is newer.

    Known answer: new/old inversion, and now and then a write gives way to one that was read before it began, hence not
    linearizable; a side without a majority is blocked. There is no `cas`.
    """

    name = "majority-no-writeback"
    STALL = 8
    GRACE = 0.4
    REPAIR = 1.0

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.copies = Copies()
        self._repairing = False

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "get":
                return self.copies[message["k"]].whole()
            case "put":
                self.copies.put(message)
                return {}
            case _:
                return {"copies": self.copies.whole()}

    async def _newest(self, key: Key) -> Copy:
        """What a majority, this node among it, holds together."""
        server, copy, left = self.server, Copy(), self.server.majority - 1
        copy.put(self.copies[key].whole())

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal left
            if reply is not None:
                left -= 1
                copy.put(reply)
            return left <= 0

        if not server.quorum():
            raise no_quorum()
        if left and not await server.ask(server.up(), {"t": "get", "k": key}, judge, server.now() + PATIENCE):
            raise no_quorum()
        return copy

    async def spread(self, message: Message, deadline: float) -> None:
        """Store it at one replica after the other; returns when a majority has it."""
        server = self.server
        self.copies.put(message)
        stored = 1
        peers = list(server.links)
        random.shuffle(peers)
        if len(server.up()) < len(peers) and random.random() * self.STALL < 1:
            await asyncio.sleep(self.GRACE)
        while stored < server.majority:
            if not peers or server.now() > deadline:
                raise timed_out()
            link = server.links[peers.pop()]
            stored += link.up and await server.ask([link], message, answered, deadline)
        server.spawn(self._finish(message, peers))

    async def _finish(self, message: Message, peers: list[str]) -> None:
        for link in (self.server.links[peer] for peer in peers):
            if link.up:
                await self.server.ask([link], message, answered, self.server.now() + PATIENCE)

    async def read(self, key: Key) -> Value:
        return (await self._newest(key)).value

    async def write(self, key: Key, value: Value) -> None:
        deadline = self.server.now() + PATIENCE
        newest, copy = await self._newest(key), self.copies[key]
        copy.issued = max(copy.issued, newest.version[0]) + 1
        await self.spread({"t": "put", "k": key, "b": (copy.issued, self.server.name), "v": value}, deadline)

    async def add(self, key: Key, element: Value) -> None:
        if not self.server.quorum():
            raise no_quorum()
        await self.spread({"t": "put", "k": key, "e": [element]}, self.server.now() + PATIENCE)

    async def elements(self, key: Key) -> list[Value]:
        return list((await self._newest(key)).elements)

    def local_read(self, key: Key) -> Value:
        return self.copies.value(key)

    def local_elements(self, key: Key) -> list[Value]:
        return self.copies.elements(key)

    def counters(self) -> tuple[int, int]:
        return 0, self.copies.changes

    def joined(self, peer: str) -> None:
        if not self._repairing:
            self._repairing = True
            self.server.spawn(self._repair())

    async def _repair(self) -> None:
        await asyncio.sleep(self.REPAIR)
        self._repairing = False

        def judge(peer: str, reply: Message | None) -> bool:
            for message in reply["copies"] if reply else ():
                self.copies.put(message)
            return False

        await self.server.ask(self.server.up(), {"t": "all"}, judge, self.server.now() + PATIENCE)
