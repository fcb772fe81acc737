"""One node: its connections, what is asked of it, and the beat."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine, Iterable
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .journal import Journal
from .peers import Incoming, Link, Round
from .requests import is_sound
from .wire import BEAT, SILENCE, Failure, Judge, Message, Wire, encode_line

if TYPE_CHECKING:
    from .mode import Mode


class Server:
    """What all modes share: connections, the dispatch of messages, the beat."""

    now = staticmethod(time.monotonic)

    def __init__(self, name: str, peers: dict[str, tuple[str, int]], mode: type[Mode], data: Path, *, fsync: bool,
                 skew: float = 0.0, joins: bool = False) -> None:
        self.name = name
        self.joins = joins
        self.names = sorted([name, *peers])
        self.majority = len(self.names) // 2 + 1
        self.links = {peer: Link(self, peer, *address) for peer, address in peers.items()}
        self.incoming: set[Incoming] = set()
        self.numbers = count(1)
        self._wires: list[Wire] = []
        self._flushing = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._data = data
        self._fsync = fsync
        self._skew = int(skew * 1e9)
        self.journal: Journal | None = None
        self.mode = mode(self)

    def wall(self) -> int:
        """Nanoseconds by this node's wall clock, which is as wrong as it was started to be."""
        return time.time_ns() + self._skew

    def log(self, text: str) -> None:
        """A line to the standard output."""
        print(f"{time.time():.3f} {self.name} {text}", flush=True)

    def durable(self) -> Journal:
        """The journal, for a mode that keeps one."""
        self.journal = Journal(self._data / f"reference-{self.name}.jsonl", fsync=self._fsync)
        return self.journal

    def up(self) -> list[Link]:
        """The links that are up."""
        return [link for link in self.links.values() if link.up]

    def quorum(self) -> bool:
        """Whether this node and the peers that it reaches are a majority."""
        return len(self.up()) + 1 >= self.majority

    async def ask(self, links: Iterable[Link], message: Message, judge: Judge, deadline: float) -> bool:
        """One round: see `Round`."""
        round_ = Round(self, judge)
        round_.ask(links, message)
        return await round_.end(deadline)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run a coroutine on its own; it handles its own failures."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error

    def soon(self, wire: Wire | None = None) -> None:
        """Flush at the end of the turn: the journal, and this connection after it."""
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)
        if wire is not None:
            self._wires.append(wire)

    def _flush(self) -> None:
        self.mode.before_flush()
        self._flushing = False
        wires, self._wires = self._wires, []
        if self.journal is not None:
            self.journal.flush()
        for wire in wires:
            wire.flush()

    async def run(self, host: str, port: int) -> None:
        """Serve until the process ends."""
        loop = asyncio.get_running_loop()
        # Raised by a fault of this program: better no server than one in a state that nobody foresaw.
        loop.set_exception_handler(self._crash)
        listener = await loop.create_server(lambda: Incoming(self), host, port, backlog=256, reuse_address=True)
        self.log(f"listening on {host}:{port}, mode {self.mode.name}")
        for link in self.links.values():
            self.spawn(link.keep())
        async with listener:
            while True:
                for link in self.links.values():
                    link.ping()
                for wire in [wire for wire in self.incoming if wire.peer and self.now() - wire.heard > 2 * SILENCE]:
                    wire.reset()
                self.mode.tick()
                await asyncio.sleep(BEAT)

    def _crash(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        loop.default_exception_handler(context)
        loop.stop()

    def serve_peer(self, wire: Wire, peer: str, message: Message) -> None:
        """Answer a peer's request."""
        if message["t"] == "ping":
            self.mode.heard(peer, message["beat"])
            wire.send(encode_line({"beat": self.mode.beat()}))
            return
        number = message.get("r")
        reply = self.mode.peer(peer, message)
        if number is None:
            return
        if reply is not None:
            wire.send(encode_line({**reply, "r": number}))
        else:
            self.spawn(self._take_over(wire, number, message))

    async def _take_over(self, wire: Wire, number: int, message: Message) -> None:
        wire.send(encode_line({**await self._outcome(self.mode.taken_over(message)), "r": number}))

    def serve_client(self, wire: Wire, request: Message) -> None:
        """Answer a client's request."""
        if request.get("op") == "status":
            wire.send(encode_line({"id": request.get("id"), "ok": True, "clock": self.wall(), **self.mode.status()}))
        elif not is_sound(request):
            wire.send(encode_line({"id": request.get("id"), "error": "bad-request", "definite": True}))
        else:
            self.spawn(self._answer(wire, request))

    async def _answer(self, wire: Wire, request: Message) -> None:
        wire.send(encode_line({"id": request.get("id"), **await self._outcome(self.mode.operate(request))}))

    async def _outcome(self, work: Coroutine[Any, Any, Message]) -> Message:
        try:
            return await work
        except Failure as failure:
            return {"error": failure.word, "definite": failure.definite}
