"""`dynamo-one`, `dynamo-quorum` and `dynamo-sloppy`: n replicas of a key, of which w confirm a write and r answer a read."""

from __future__ import annotations

import asyncio
import random
from typing import ClassVar
from zlib import crc32

from ..mode import Mode
from ..node import Server
from ..peers import Link, answered
from ..replica import Copies, Copy
from ..wire import PATIENCE, Key, Message, Value, no_quorum, timed_out

N = 3
"""The replicas of a key, where there are so many nodes."""


def preference(names: list[str], key: Key | None) -> list[str]:
    """All nodes in the order in which they are to hold the key; the first `N` are its replicas."""
    ordered = sorted(names)
    start = crc32(repr(key).encode()) % len(ordered)
    return [*ordered[start:], *ordered[:start]]


class Dynamo(Mode):
    """The design of DeCandia et al. (2007), with versions by wall clock as in its successors: any node coordinates, a write
    goes to every replica of its key and is answered when `W` confirmed it, a read asks every replica and answers the newest
    of the first `R`; what these miss is repaired, and of one read in ten what any replica misses. A set is spread by element
    and read as the union. A replica that did not confirm a write gets it from the coordinator when it is back.

    Where the quorum is *sloppy*, the next nodes in the key's order stand in for replicas that are out of reach, for writes
    and for reads. What they keep for another is a hint, handed over when that one is back (`hinted hand-off`); a read does
    not see the hints of nodes that do not stand in for it, so that r + w > n promises nothing.
    """

    R: ClassVar[int]
    W: ClassVar[int]
    SLOPPY: ClassVar[bool] = False
    CHANCE = 0.1
    """The part of the reads that have all replicas compared behind them."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._copies = Copies()
        self._hints: dict[str, dict[int, Message]] = {peer: {} for peer in server.links}
        self._issued = 0
        self._beats = 0

    def counters(self) -> tuple[int, int]:
        return 0, self._copies.changes

    def ready(self) -> bool:
        return len(self.server.up()) == len(self.server.links)

    # The coordinator.

    def _holders(self, key: Key) -> list[tuple[str, str | None]]:
        """The nodes in reach that are asked, each with the replica that it stands in for."""
        server, order = self.server, preference(self.server.names, key)
        reach = {server.name, *(link.name for link in server.up())}
        holders: list[tuple[str, str | None]] = [(name, None) for name in order[:N] if name in reach]
        if self.SLOPPY:
            missing = [name for name in order[:N] if name not in reach]
            spare = [name for name in order[N:] if name in reach]
            holders += zip(spare, missing, strict=False)
        return holders

    async def _write(self, key: Key, message: Message) -> None:
        server, holders = self.server, self._holders(key)
        if len(holders) < self.W:
            raise no_quorum()
        covered = {absent or name for name, absent in holders}
        for name in preference(server.names, key)[:N]:
            if name not in covered:
                self._hint(name, message)
        confirmed = asyncio.Semaphore(0)
        for name, absent in holders:
            if name == server.name:
                self._take(message, absent)
                confirmed.release()
            else:
                server.spawn(self._put(server.links[name], message, absent, confirmed))
        try:
            async with asyncio.timeout(PATIENCE):
                for _ in range(self.W):
                    await confirmed.acquire()
        except TimeoutError as error:
            raise timed_out() from error

    async def _put(self, link: Link, message: Message, absent: str | None, confirmed: asyncio.Semaphore) -> None:
        told = {**message, "for": absent}
        if await self.server.ask([link], told, answered, self.server.now() + PATIENCE):
            confirmed.release()
        else:
            self._hint(absent or link.name, message)

    async def _newest(self, key: Key) -> Copy:
        """What the first `R` replicas hold together."""
        holders = [name for name, _ in self._holders(key)]
        if len(holders) < self.R:
            raise no_quorum()
        if random.random() < self.CHANCE:
            self.server.spawn(self._ask_all(key, holders))
        newest, answers = await self._ask(key, holders, self.R)
        if len(answers) < self.R:
            raise no_quorum()
        self._repair(key, newest, answers)
        return newest

    async def _ask_all(self, key: Key, holders: list[str]) -> None:
        self._repair(key, *await self._ask(key, holders, len(holders)))

    async def _ask(self, key: Key, holders: list[str], enough: int) -> tuple[Copy, dict[str, Message]]:
        """The newest of the first answers, and the answers."""
        server, newest = self.server, Copy()
        answers: dict[str, Message] = {}

        def judge(peer: str, reply: Message | None) -> bool:
            if reply is not None and len(answers) < enough:
                answers[peer] = reply
                newest.put(reply)
            return len(answers) >= enough

        if server.name in holders:
            judge(server.name, self._copies[key].whole())
        links = [server.links[name] for name in holders if name != server.name]
        if len(answers) < enough:
            await server.ask(links, {"t": "get", "k": key}, judge, server.now() + PATIENCE)
        return newest, answers

    def _repair(self, key: Key, newest: Copy, answers: dict[str, Message]) -> None:
        whole = {"t": "put", "k": key, "for": None, **newest.whole()}
        if newest.version[0] == 0:
            del whole["b"], whole["v"]
        for name, reply in answers.items():
            held = Copy()
            held.put(reply)
            if held.misses(whole):
                if name == self.server.name:
                    self._copies.put(whole)
                elif self.server.links[name].up:
                    self.server.links[name].tell(whole)

    async def read(self, key: Key) -> Value:
        return (await self._newest(key)).value

    async def elements(self, key: Key) -> list[Value]:
        return list((await self._newest(key)).elements)

    async def write(self, key: Key, value: Value) -> None:
        self._issued = max(self._issued + 1, self.server.wall())
        await self._write(key, {"t": "put", "k": key, "b": (self._issued, self.server.name), "v": value})

    async def add(self, key: Key, element: Value) -> None:
        await self._write(key, {"t": "put", "k": key, "e": [element]})

    # The replicas.

    def local_read(self, key: Key) -> Value:
        return self._copies.value(key)

    def local_elements(self, key: Key) -> list[Value]:
        return self._copies.elements(key)

    def _take(self, message: Message, absent: str | None) -> None:
        if absent is not None:
            self._hint(absent, message)
        self._copies.put(message)

    def _hint(self, absent: str, message: Message) -> None:
        if absent == self.server.name:
            return
        hints = self._hints[absent]
        hints[max(hints, default=0) + 1] = message

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "get":
                return self._copies[message["k"]].whole()
            case "put":
                self._take({name: message[name] for name in "kbve" if name in message}, message["for"])
                return {}
            case _:
                for hint in message["hints"]:
                    self._copies.put(hint)
                return {}

    def tick(self) -> None:
        self._beats += 1
        for link in self.server.up():
            if self._hints[link.name] and self._beats % 3 == 0:
                self.server.spawn(self._hand_off(link))

    async def _hand_off(self, link: Link) -> None:
        numbers = list(self._hints[link.name])[:500]
        message = {"t": "hints", "hints": [self._hints[link.name][number] for number in numbers]}
        if await self.server.ask([link], message, answered, self.server.now() + PATIENCE):
            for number in numbers:
                self._hints[link.name].pop(number, None)


class DynamoOne(Dynamo):
    """`dynamo-one`: n = 3, r = w = 1. Known answer: available wherever a replica of the key is in reach, stale reads; converges
    after heal."""

    name = "dynamo-one"
    R = 1
    W = 1


class DynamoQuorum(Dynamo):
    """`dynamo-quorum`: n = 3, r = w = 2: r + w > n. Known answer: a side that lacks two replicas of a key is blocked on it;
    no read misses an acknowledged write while clocks agree, yet a read may see a write that a later one misses; converges
    after heal."""

    name = "dynamo-quorum"
    R = 2
    W = 2


class DynamoSloppy(Dynamo):
    """`dynamo-sloppy`: n = 3, r = w = 2, with stand-ins. Known answer: available on every side of two nodes, stale reads though
    r + w > n; converges after heal."""

    name = "dynamo-sloppy"
    R = 2
    W = 2
    SLOPPY = True
