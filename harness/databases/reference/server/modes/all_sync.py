"""`all-sync`: every write waits for every replica."""

from __future__ import annotations

import asyncio
import time
from itertools import count
from typing import Any
from zlib import crc32

from ..mode import Mode
from ..node import Server
from ..peers import Link, answered
from ..primary import Store
from ..wire import BEAT, PATIENCE, Failure, Key, Message, Value, no_quorum, timed_out


class AllSync(Mode):
    """`all-sync`: read one, write all. Changes of a key are ordered by one node, which the key decides, and made in two steps:
    every replica is asked to hold still (`hold`: it answers no more reads of that key), and when all do, they are told to
    go on with the change (`done`), or, if one did not, without it. So no replica shows the old value once another has shown the
    new one. A replica that is cut off between the steps does not know, and answers no reads of that key until it is told.

    The ordering node tells the outcome until it is confirmed, also after the heal. Its changes of a key are numbered, so that
    one which is told twice is made once. A node that starts copies from every other before it takes part, since every
    acknowledged change is at all of them; one that died between the steps leaves its key in doubt.

    Known answer: linearizable; any cut blocks all writes.
    """

    name = "all-sync"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._store = Store()
        self._held: dict[Key, asyncio.Event] = {}
        self._turns: dict[Key, asyncio.Lock] = {}
        self._numbers = count(time.time_ns())
        self._finished: dict[Key, int] = {}
        """The number of the last change of each key that this copy was told the outcome of."""
        self._copied: set[str] = set()

    def ready(self) -> bool:
        return self._has_copied() and len(self.server.links) == len(self.server.up())

    def _has_copied(self) -> bool:
        return len(self._copied) == len(self.server.links)

    def counters(self) -> tuple[int, int]:
        return 0, len(self._finished)

    # Reads.

    async def read(self, key: Key) -> Value:
        await self._still(key)
        return self.local_read(key)

    async def elements(self, key: Key) -> list[Value]:
        await self._still(key)
        return self.local_elements(key)

    async def _still(self, key: Key) -> None:
        """Wait until no change of the key is under way."""
        if not self._has_copied():
            raise no_quorum()
        try:
            async with asyncio.timeout(PATIENCE):
                while key in self._held:
                    await self._held[key].wait()
        except TimeoutError as error:
            raise Failure("in-doubt", definite=True) from error

    def local_read(self, key: Key) -> Value:
        return self._store.values.get(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self._store.sets.get(key, ()))

    # Changes, at the node that they came to.

    async def write(self, key: Key, value: Value) -> None:
        await self._change(["write", key, value])

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        answer = await self._change(["cas", key, expected, new])
        return answer["ok"], answer.get("seen")

    async def add(self, key: Key, element: Value) -> None:
        await self._change(["add", key, element])

    async def _change(self, change: list[Any]) -> Message:
        server = self.server
        name = max(server.names, key=lambda name: crc32(f"{change[1]!r} {name}".encode()))
        if name == server.name:
            return await self._order(change)
        if not server.links[name].up:
            raise no_quorum()
        replies: list[Message] = []

        def judge(peer: str, reply: Message | None) -> bool:
            replies.extend([reply] if reply else [])
            return True

        if not await server.ask([server.links[name]], {"t": "order", "c": change}, judge, server.now() + 2 * PATIENCE):
            raise timed_out()
        if not replies:
            raise Failure("peer-lost", definite=False)
        if "error" in replies[0]:
            raise Failure(replies[0]["error"], definite=replies[0]["definite"])
        return replies[0]

    async def taken_over(self, message: Message) -> Message:
        return await self._order(message["c"])

    # The same at the node that orders them.

    async def _order(self, change: list[Any]) -> Message:
        server, key = self.server, change[1]
        deadline = server.now() + PATIENCE
        try:
            async with asyncio.timeout(PATIENCE / 2):
                await self._turns.setdefault(key, asyncio.Lock()).acquire()
        except TimeoutError as error:
            raise no_quorum() from error
        told = True
        try:
            if not self.ready():
                raise no_quorum()
            if change[0] == "cas" and self.local_read(key) != change[2]:
                return {"ok": False, "seen": self.local_read(key)}
            missing = len(server.links)

            def judge(peer: str, reply: Message | None) -> bool:
                nonlocal missing
                missing -= bool(reply and reply["held"])
                return missing == 0

            number = next(self._numbers)
            self._hold(key)
            held = not missing or await server.ask(server.links.values(), {"t": "hold", "k": key, "n": number}, judge, deadline)
            outcome = {"t": "done", "k": key, "n": number, "c": change if held else None}
            self._done(outcome)
            told = False
            server.spawn(self._tell_all(outcome))
            if not held:
                raise no_quorum()
            return {"ok": True}
        finally:
            if told:
                self._turns[key].release()

    async def _tell_all(self, outcome: Message) -> None:
        """Have every replica confirm the outcome, however long it takes; the next change of the key waits for that."""
        await asyncio.gather(*(self._tell(link, outcome) for link in self.server.links.values()))
        self._turns[outcome["k"]].release()

    async def _tell(self, link: Link, outcome: Message) -> None:
        while not (link.up and await self.server.ask([link], outcome, answered, self.server.now() + 2 * PATIENCE)):
            await asyncio.sleep(BEAT / 2)

    # Every replica.

    def _hold(self, key: Key) -> None:
        self._held.setdefault(key, asyncio.Event())

    def _done(self, outcome: Message) -> None:
        if outcome["n"] <= self._finished.get(outcome["k"], 0):
            return
        self._finished[outcome["k"]] = outcome["n"]
        if outcome["c"] is not None:
            self._store.apply(outcome["c"])
        if (held := self._held.pop(outcome["k"], None)) is not None:
            held.set()

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "order":
                return None
            case "hold":
                fresh = message["n"] > self._finished.get(message["k"], 0) and self._has_copied()
                if fresh:
                    self._hold(message["k"])
                return {"held": fresh}
            case "done":
                self._done(message)
                return {}
            case _:
                return {**self._store.whole(), "finished": list(self._finished.items())}

    def joined(self, peer: str) -> None:
        if peer not in self._copied:
            self.server.spawn(self._copy(self.server.links[peer]))

    async def _copy(self, link: Link) -> None:
        def judge(peer: str, reply: Message | None) -> bool:
            if reply is None:
                return False
            values, sets = dict(map(tuple, reply["values"])), dict(map(tuple, reply["sets"]))
            for key, number in reply["finished"]:
                if number > self._finished.get(key, 0):
                    self._finished[key] = number
                    if key in values:
                        self._store.values[key] = values[key]
                    if key in sets:
                        self._store.sets[key] = dict.fromkeys(sets[key])
            self._copied.add(peer)
            return True

        await self.server.ask([link], {"t": "copy"}, judge, self.server.now() + PATIENCE)
