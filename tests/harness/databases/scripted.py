"""A server that answers one client's calls as a test says, and counts them: what the contract tests speak to."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import bson

HANG_UP = b"<hang up>"
SILENCE = b"<silence>"

Split = Callable[[bytes], tuple[bytes | None, bytes]]
"""Takes the first whole request off a buffer: (request or None, rest)."""


@dataclass
class Wire:
    """How a database's requests are told apart, and what it says to those that only open a connection."""

    split: Split
    greet: Callable[[bytes], bytes | None]
    number: Callable[[bytes, bytes], bytes] = lambda request, answer: answer
    """Makes an answer (its second argument) one to that request, where answers name their request."""


@dataclass
class Scripted:
    """What the server was asked, apart from greetings. `answers` are given in turn, the last one again and again."""

    answers: list[bytes]
    requests: list[bytes] = field(default_factory=list)
    ended: int = 0
    """Connections that the client closed."""

    def answer(self) -> bytes:
        """The answer to the request that was just counted."""
        return self.answers[min(len(self.requests), len(self.answers)) - 1]


@asynccontextmanager
async def scripted(wire: Wire, address: str, port: int, *answers: bytes) -> AsyncIterator[Scripted]:
    """Serve on that address until the end of the block. `HANG_UP` after an answer closes the connection."""
    script = Scripted(list(answers))
    writers: set[asyncio.StreamWriter] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.add(writer)
        buffer = b""
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                buffer += chunk
                while True:
                    request, buffer = wire.split(buffer)
                    if request is None:
                        break
                    if (greeting := wire.greet(request)) is not None:
                        writer.write(wire.number(request, greeting))
                        continue
                    script.requests.append(request)
                    answer = wire.number(request, script.answer())
                    if answer == SILENCE:
                        continue
                    writer.write(answer.removesuffix(HANG_UP))
                    await writer.drain()
                    if answer.endswith(HANG_UP):
                        writer.close()
                        return
            script.ended += 1
        writer.close()

    server = await asyncio.start_server(serve, address, port)
    try:
        yield script
    finally:
        server.close()
        for writer in writers:
            writer.close()
        await asyncio.sleep(0.01)  # the handlers see the end of their connections


def split_http(buffer: bytes) -> tuple[bytes | None, bytes]:
    """Requests with a Content-Length."""
    head, separator, rest = buffer.partition(b"\r\n\r\n")
    if not separator:
        return None, buffer
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
    if len(rest) < length:
        return None, buffer
    return head + separator + rest[:length], rest[length:]


def split_resp(buffer: bytes) -> tuple[bytes | None, bytes]:
    """Redis' arrays of bulk strings; the request is its words joined by spaces."""
    try:
        head, rest = buffer.split(b"\r\n", 1)
        words = []
        for _ in range(int(head[1:])):
            length, rest = rest.split(b"\r\n", 1)
            size = int(length[1:])
            if len(rest) < size + 2:
                return None, buffer
            words.append(rest[:size])
            rest = rest[size + 2 :]
    except ValueError:
        return None, buffer
    return b" ".join(words), rest


def split_lines(buffer: bytes) -> tuple[bytes | None, bytes]:
    """One request a line."""
    line, separator, rest = buffer.partition(b"\n")
    return (line, rest) if separator else (None, buffer)


def split_op_msg(buffer: bytes) -> tuple[bytes | None, bytes]:
    """MongoDB's messages, each with its length in front."""
    length = int.from_bytes(buffer[:4], "little")
    return (buffer[:length], buffer[length:]) if len(buffer) >= max(length, 16) else (None, buffer)


def op_msg(answer: Mapping[str, Any], *, responds: int = 0, code: int = 2013) -> bytes:
    """A MongoDB answer to message number `responds`; 0 stands for the one that is answered (see `Wire.number`)."""
    body = bson.encode(answer)
    return struct.pack("<iiiiIB", 21 + len(body), 1, responds, code, 0, 0) + body


def number_op_msg(request: bytes, answer: bytes) -> bytes:
    """The same answer with the number of the request."""
    known = len(answer) >= 16 and answer[8:12] == bytes(4)
    return answer[:8] + request[4:8] + answer[12:] if known else answer


def split_cql(buffer: bytes) -> tuple[bytes | None, bytes]:
    """Cassandra's frames, nine bytes and a body."""
    length = 9 + int.from_bytes(buffer[5:9], "big")
    return (buffer[:length], buffer[length:]) if len(buffer) >= max(length, 9) else (None, buffer)


def cql(opcode: int, body: bytes, *, version: int = 0x84, stream: int = 0) -> bytes:
    """A Cassandra answer."""
    return struct.pack(">BBhBi", version, 0, stream, opcode, len(body)) + body


def cql_rows(columns: Mapping[str, int], *rows: Sequence[bytes | None]) -> bytes:
    """A Cassandra result: the types of its columns (2 bigint, 4 boolean, 13 varchar), and its rows."""

    def text(word: str) -> bytes:
        return struct.pack(">H", len(word)) + word.encode()

    body = struct.pack(">iii", 2, 1, len(columns)) + text("splitbrain") + text("registers")
    body += b"".join(text(name) + struct.pack(">H", kind) for name, kind in columns.items()) + struct.pack(">i", len(rows))
    for row in rows:
        body += b"".join(struct.pack(">i", -1) if cell is None else struct.pack(">i", len(cell)) + cell for cell in row)
    return cql(8, body)


def cql_error(code: int, consistency: int = 1) -> bytes:
    """A Cassandra error, with what its code brings along."""
    more = {
        0x1000: struct.pack(">Hii", consistency, 1, 0),
        0x1100: struct.pack(">Hii", consistency, 0, 1) + b"\0\6SIMPLE",
        0x1200: struct.pack(">HiiB", consistency, 0, 1, 0),
        0x1300: struct.pack(">HiiiB", consistency, 0, 1, 1, 0),
        0x1500: struct.pack(">Hiii", consistency, 0, 1, 1) + b"\0\6SIMPLE",
    }
    return cql(0, struct.pack(">i", code) + b"\0\6as the" + more.get(code, b""))


def http(status: int, body: str, *, headers: str = "") -> bytes:
    """An HTTP answer with a JSON body."""
    length = len(body.encode())
    head = f"HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\n{headers}Content-Length: {length}\r\n\r\n"
    return (head + body).encode()
