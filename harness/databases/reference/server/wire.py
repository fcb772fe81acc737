"""Lines of JSON over TCP: the words of a failure, and one connection."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from hashlib import blake2b
from struct import pack
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from .node import Server

MAX_LINE = 8 << 20
BEAT = 0.1
SILENCE = 0.5
DIAL = 0.25
PATIENCE = 0.6

Key = str | int
Value = str | int | None
Micro = list[Any]
"""`["r", key, null]`, `["w", key, value]` or `["append", key, value]`; in an answer the third of a read is what it returned."""
Message = dict[str, Any]
Judge = Callable[[str, Message | None], bool]
Ballot = tuple[int, str]
"""A number, and the name of the node that chose it: unique, and ordered."""

encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


def encode_line(message: Message) -> bytes:
    """A message as it is sent."""
    return encode(message).encode() + b"\n"


def fingerprint(text: str) -> int:
    """64 bits that tell this text from others, also where those of many are added up by exclusive or. With a cyclic redundancy
    check, which is linear, equal steps at two keys would cancel out, and two nodes that differ would hold themselves equal."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


def as_ballot(pair: Sequence[Any]) -> Ballot:
    """A ballot as it came over the wire."""
    return pair[0], pair[1]


class Failure(Exception):
    """An operation that failed: the word that the client is told, and whether it certainly did not happen."""

    def __init__(self, word: str, *, definite: bool) -> None:
        super().__init__(word)
        self.word = word
        self.definite = definite


def no_quorum() -> Failure:
    """Too few peers, and nothing was proposed."""
    return Failure("no-quorum", definite=True)


def unsupported() -> Failure:
    """The mode does not have this operation."""
    return Failure("unsupported", definite=True)


def timed_out() -> Failure:
    """Proposed, and not confirmed in time."""
    return Failure("timeout", definite=False)


class Wire(asyncio.Protocol):
    """One connection: lines in, lines out. What is sent leaves at the end of the event loop's turn, all in one piece."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.transport: asyncio.Transport | None = None
        self.heard = server.now()
        self._rest = b""
        self._out: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.heard = self.server.now()

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None

    def data_received(self, data: bytes) -> None:
        self.heard = self.server.now()
        lines = (self._rest + data).split(b"\n") if self._rest else data.split(b"\n")
        self._rest = lines.pop()
        if len(self._rest) > MAX_LINE:
            self.garbled()
            return
        for line in lines:
            try:
                message = json.loads(line)
            except (ValueError, RecursionError):
                message = None
            if not isinstance(message, dict) or len(line) > MAX_LINE:
                self.garbled()
                return
            self.received(message)

    def received(self, message: Message) -> None:
        """Act on one message."""
        raise NotImplementedError

    def garbled(self) -> None:
        """Act on something that is no message: end the connection."""
        self.reset()

    def send(self, line: bytes) -> None:
        """Send a line (with its end) at the end of this turn."""
        if self.transport is not None:
            if not self._out:
                self.server.soon(self)
            self._out.append(line)

    def flush(self) -> None:
        """Hand everything to the kernel. A peer that takes nothing for long is dropped rather than buffered for."""
        out, self._out = self._out, []
        if self.transport is not None:
            self.transport.write(b"".join(out))
            if self.transport.get_write_buffer_size() > 4 * MAX_LINE:
                self.reset()

    def reset(self) -> None:
        """End the connection at once and forget what it still carries."""
        if self.transport is not None:
            # Without this the kernel would go on sending what is buffered, for minutes after the close.
            self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
            self.transport.abort()
            self.transport = None
