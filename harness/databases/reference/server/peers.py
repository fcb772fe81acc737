"""Connections between nodes, and a message to several of them with its replies."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from .wire import DIAL, SILENCE, Judge, Message, Wire, encode_line

if TYPE_CHECKING:
    from .node import Server


class Incoming(Wire):
    """A connection that a client or a peer opened. A peer says `{"hello": NAME}` first; all it sends then are requests."""

    peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.server.incoming.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.server.incoming.discard(self)

    def received(self, message: Message) -> None:
        if self.peer is not None:
            self.server.serve_peer(self, self.peer, message)
        elif isinstance(hello := message.get("hello"), str) and hello in self.server.links:
            self.peer = hello
        else:
            self.server.serve_client(self, message)

    def garbled(self) -> None:
        if self.transport is not None and self.peer is None:
            self.transport.write(b'{"id":null,"error":"bad-request","definite":true}\n')
            self.transport.close()
            self.transport = None
        else:
            self.reset()


class Link(Wire):
    """The connection to one peer that this node opened, and opens again whenever it is lost. It carries this node's requests
    and their replies. `up` from the first reply on until it is lost."""

    def __init__(self, server: Server, name: str, host: str, port: int) -> None:
        super().__init__(server)
        self.name = name
        self.up = False
        self.open: dict[int, Callable[[str, Message | None], None]] = {}
        self._address = host, port
        self._closed = asyncio.Event()

    async def keep(self) -> None:
        """Connect, for ever."""
        loop = asyncio.get_running_loop()
        pause = 0.02
        while True:
            self._closed.clear()
            try:
                async with asyncio.timeout(DIAL):
                    await loop.create_connection(lambda: self, *self._address)
            except (OSError, TimeoutError):
                await asyncio.sleep(pause * random.uniform(0.5, 1))
                pause = min(0.1, 2 * pause)
                continue
            pause = 0.02
            await self._closed.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._rest = b""
        self._out.clear()
        self.send(encode_line({"hello": self.server.name}))
        self.ping()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._down()
        self._closed.set()

    def reset(self) -> None:
        super().reset()
        self._down()

    def _down(self) -> None:
        if self.up:
            self.up = False
            self.server.log(f"lost {self.name}")
            self.server.mode.lost(self.name)
        replies, self.open = self.open, {}
        for reply in replies.values():
            reply(self.name, None)

    def ping(self) -> None:
        """Ask for a sign of life; or give up a connection that gave none for too long."""
        if self.transport is not None:
            if self.server.now() - self.heard > SILENCE:
                self.reset()
            else:
                self.send(encode_line({"t": "ping", "beat": self.server.mode.beat()}))

    def tell(self, message: Message) -> None:
        """Send a message that has no reply."""
        self.send(encode_line(message))

    def received(self, message: Message) -> None:
        if not self.up:
            self.up = True
            self.server.log(f"connected to {self.name}")
            self.server.mode.joined(self.name)
        if "beat" in message:
            self.server.mode.heard(self.name, message["beat"])
        elif reply := self.open.pop(message["r"], None):
            reply(self.name, message)


class Round:
    """One message to several peers and their replies. Ends when the judge is content, when everybody has answered or was
    lost, or at the deadline."""

    def __init__(self, server: Server, judge: Judge) -> None:
        self._server = server
        self._judge = judge
        self._left = 0
        self._done: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

    def ask(self, links: Iterable[Link], message: Message) -> None:
        """Send a message; a judge may use it to ask one peer once more."""
        number = next(self._server.numbers)
        line = encode_line({**message, "r": number})
        for link in links:
            self._left += 1
            link.open[number] = self._take
            link.send(line)

    async def end(self, deadline: float) -> bool:
        """Wait; whether the judge was content."""
        if not self._left:
            return False
        timer = asyncio.get_running_loop().call_at(deadline, self._expire)
        try:
            return await self._done
        finally:
            timer.cancel()

    def _take(self, name: str, reply: Message | None) -> None:
        if not self._done.done():
            self._left -= 1
            if self._judge(name, reply):
                self._done.set_result(True)
            elif not self._left:
                self._done.set_result(False)

    def _expire(self) -> None:
        if not self._done.done():
            self._done.set_result(False)


def answered(peer: str, reply: Message | None) -> bool:
    """A judge that is content with any answer."""
    return reply is not None
