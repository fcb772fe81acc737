"""The reference database: a small replicated key-value server whose modes each have an answer known in advance.

It runs as one process on every node, needs nothing but Python's standard library, and learns of a partition only by what
does not arrive:

    python3 -I server.py --name n1 --listen 198.18.0.1:7400 --peer n2=198.18.0.2:7400 ... --mode MODE --data DIR

**Wire.** One TCP port for clients and peers, one JSON object a line, at most `MAX_LINE` bytes. A client may send several
requests at once; each carries an `id` of its choice, which its answer echoes, and answers come in any order. A key is a
string or an integer (`1` and `"1"` are two keys), a value or an element too; a register and a set of one key are apart.

    {"id": 1, "op": "read", "key": "x"}                           {"id": 1, "ok": true, "value": 7}      null: never written
    {"id": 2, "op": "write", "key": "x", "value": 7}              {"id": 2, "ok": true}
    {"id": 3, "op": "cas", "key": "x", "expected": 7, "new": 8}   {"id": 3, "ok": true}                  expected may be null
                                                                  {"id": 3, "ok": false, "seen": 9}      it held 9: a decision
    {"id": 4, "op": "add", "key": "s", "element": 5}              {"id": 4, "ok": true}
    {"id": 5, "op": "elements", "key": "s"}                       {"id": 5, "ok": true, "elements": [5]}
    {"id": 6, "op": "local-read", "key": "x"}                     {"id": 6, "ok": true, "value": 7}      this node's own copy
    {"id": 7, "op": "local-elements", "key": "s"}                 {"id": 7, "ok": true, "elements": [5]}
    {"id": 8, "op": "status"}                                     {"id": 8, "ok": true, "name": "n1", "mode": "fenced-primary",
                                                                   "role": "primary", "primary": "n1", "generation": 3,
                                                                   "version": 1207, "ready": true}

Anything else that comes back is a failure, `{"id": 2, "error": "timeout", "definite": false}`. It is *definite* where the
operation certainly did not and will not happen: nothing of it was proposed to another node or stored here. The words:

    no-quorum     definite     fewer peers answer than the operation needs (known beforehand, or nothing was proposed yet)
    not-primary   definite     another node is primary, or none
    no-lease      definite     primary, but its lease is not in force
    unsupported   definite     the mode does not have this operation
    bad-request   definite     not a request; with `id` null where the line was no JSON object, and the connection ends
    timeout       indefinite   not confirmed within `PATIENCE`: it may have happened, or may yet
    peer-lost     indefinite   the peer that had taken it over was lost
    demoted       indefinite   this node ceased to be primary meanwhile

`status` is answered by every node at once. `role` is `primary` or `replica`; `primary` is whom this node believes to be
primary at this moment, null where it knows none or the mode has none; `version` counts the changes that this copy holds.
`ready`: a majority is connected and, where there is a primary, known.

**Time.** Peers are pinged every `BEAT`; a connection that was silent for `SILENCE` is reset and opened anew at once, with
short attempts (`DIAL`), so that nothing waits for the kernel's retransmissions. An operation ends after `PATIENCE`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import socket
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Sequence
from itertools import count
from pathlib import Path
from struct import pack
from typing import Any, ClassVar, NamedTuple, cast
from zlib import crc32

MAX_LINE = 8 << 20
BEAT = 0.1
SILENCE = 0.5
DIAL = 0.25
PATIENCE = 0.6

Key = str | int
Value = str | int | None
Message = dict[str, Any]
Judge = Callable[[str, Message | None], bool]

_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode


class Failure(Exception):
    """An operation that failed: the word that the client is told, and whether it certainly did not happen."""

    def __init__(self, word: str, *, definite: bool) -> None:
        super().__init__(word)
        self.word = word
        self.definite = definite


def no_quorum() -> Failure:
    """Too few peers, and nothing was proposed."""
    return Failure("no-quorum", definite=True)


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
        self.send(_line({"hello": self.server.name}))
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
                self.send(_line({"t": "ping", "beat": self.server.mode.beat()}))

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
        line = _line({**message, "r": number})
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


class Journal:
    """What must outlive the process: JSON lines, handed to the kernel before anything that follows from them is sent."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._fsync = fsync
        self._file = path.open("a+b")
        self._dirty = False

    def replay(self) -> list[Message]:
        """Everything written by earlier processes. A last line that was torn was never answered, and is cut off."""
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        return [json.loads(line) for line in content[:whole].splitlines()]

    def append(self, record: Message) -> None:
        """Write a record at the end of this turn."""
        self._file.write(_line(record))
        self._dirty = True

    def flush(self) -> None:
        """Hand everything to the kernel (with `fsync`, to the disk)."""
        if self._dirty:
            self._dirty = False
            self._file.flush()
            if self._fsync:
                os.fsync(self._file.fileno())


class Server:
    """What all modes share: connections, the dispatch of messages, the beat."""

    now = staticmethod(time.monotonic)

    def __init__(self, name: str, peers: dict[str, tuple[str, int]], mode: type[Mode], data: Path, *, fsync: bool) -> None:
        self.name = name
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
        self.journal: Journal | None = None
        self.mode = mode(self)

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
            wire.send(_line({"beat": self.mode.beat()}))
            return
        number = message.get("r")
        reply = self.mode.peer(peer, message)
        if number is None:
            return
        if reply is not None:
            wire.send(_line({**reply, "r": number}))
        else:
            self.spawn(self._take_over(wire, number, message))

    async def _take_over(self, wire: Wire, number: int, message: Message) -> None:
        wire.send(_line({**await self._outcome(self.mode.taken_over(message)), "r": number}))

    def serve_client(self, wire: Wire, request: Message) -> None:
        """Answer a client's request."""
        if request.get("op") == "status":
            wire.send(_line({"id": request.get("id"), "ok": True, **self.mode.status()}))
        elif not _sound(request):
            wire.send(_line({"id": request.get("id"), "error": "bad-request", "definite": True}))
        else:
            self.spawn(self._answer(wire, request))

    async def _answer(self, wire: Wire, request: Message) -> None:
        wire.send(_line({"id": request.get("id"), **await self._outcome(self.mode.operate(request))}))

    async def _outcome(self, work: Coroutine[Any, Any, Message]) -> Message:
        try:
            return await work
        except Failure as failure:
            return {"error": failure.word, "definite": failure.definite}


_FIELDS = {
    "read": (),
    "local-read": (),
    "elements": (),
    "local-elements": (),
    "write": ("value",),
    "add": ("element",),
    "cas": ("expected", "new"),
}


def _sound(request: Message) -> bool:
    fields = _FIELDS.get(str(request.get("op")))
    return (
        fields is not None
        and type(request.get("key")) in (str, int)
        and all(type(request.get(field)) in (str, int) or field == "expected" for field in fields)
        and type(request.get("expected")) in (str, int, type(None))
    )


def _line(message: Message) -> bytes:
    return _encode(message).encode() + b"\n"


class Mode(ABC):
    """One design: what a node does with operations, with what peers send, and with time."""

    name: ClassVar[str]

    def __init__(self, server: Server) -> None:
        self.server = server

    async def operate(self, request: Message) -> Message:
        """The answer to a client's request. Raises `Failure`."""
        match request["op"]:
            case "read":
                return {"ok": True, "value": await self.read(request["key"])}
            case "write":
                await self.write(request["key"], request["value"])
                return {"ok": True}
            case "cas":
                done, seen = await self.cas(request["key"], request.get("expected"), request["new"])
                return {"ok": True} if done else {"ok": False, "seen": seen}
            case "add":
                await self.add(request["key"], request["element"])
                return {"ok": True}
            case "elements":
                return {"ok": True, "elements": await self.elements(request["key"])}
            case "local-read":
                return {"ok": True, "value": self.local_read(request["key"])}
            case _:
                return {"ok": True, "elements": self.local_elements(request["key"])}

    @abstractmethod
    async def read(self, key: Key) -> Value:
        """What the register holds."""

    @abstractmethod
    async def write(self, key: Key, value: Value) -> None:
        """Set the register."""

    @abstractmethod
    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        """Set the register if it holds `expected`; whether it did, and what it held."""

    @abstractmethod
    async def add(self, key: Key, element: Value) -> None:
        """Add an element to the set."""

    @abstractmethod
    async def elements(self, key: Key) -> list[Value]:
        """The elements of the set."""

    @abstractmethod
    def local_read(self, key: Key) -> Value:
        """What this node's copy of the register holds."""

    @abstractmethod
    def local_elements(self, key: Key) -> list[Value]:
        """The elements of this node's copy of the set."""

    @abstractmethod
    def peer(self, peer: str, message: Message) -> Message | None:
        """The reply to a peer's request; None where `taken_over` has it."""

    async def taken_over(self, message: Message) -> Message:
        """The reply to a peer's request that takes time. Raises `Failure`."""
        raise NotImplementedError

    def role(self) -> str:
        """`primary` or `replica`."""
        return "replica"

    def primary(self) -> str | None:
        """Whom this node believes to be primary."""
        return None

    def ready(self) -> bool:
        """Whether operations can be served."""
        return self.server.quorum()

    def counters(self) -> tuple[int, int]:
        """Generation and version."""
        raise NotImplementedError

    def status(self) -> Message:
        """What `status` answers."""
        generation, version = self.counters()
        return {"name": self.server.name, "mode": self.name, "role": self.role(), "primary": self.primary(),
                "generation": generation, "version": version, "ready": self.ready()}

    def beat(self) -> Message:
        """What every sign of life tells the peers."""
        return {}

    def heard(self, peer: str, beat: Message) -> None:
        """A sign of life came."""

    def joined(self, peer: str) -> None:
        """The link to a peer is up."""

    def lost(self, peer: str) -> None:
        """The link to a peer is down."""

    def tick(self) -> None:
        """`BEAT` has passed."""

    def before_flush(self) -> None:
        """The turn ends: what was gathered in it may be sent."""


Ballot = tuple[int, str]


class Version(NamedTuple):
    """What an acceptor accepted for a key: at `ballot`, the register's `value`, the first `size` of `elements` (a list that
    only ever grows at its end), and per proposer the last change of its that is in here (`marks`)."""

    ballot: Ballot
    value: Value
    elements: list[Value]
    size: int
    marks: dict[str, list[int]]

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"b": self.ballot, "v": self.value, "e": self.elements[: self.size], "m": self.marks}


def _crc(key: Key, ballot: Ballot) -> int:
    return crc32(f"{key!r} {ballot}".encode())


def _ballot(pair: Sequence[Any]) -> Ballot:
    return pair[0], pair[1]


def _version(message: Message) -> Version:
    return Version(_ballot(message["b"]), message["v"], message["e"], len(message["e"]), message["m"])


class Slot:
    """One key: what this acceptor promised and accepted, and the changes that this proposer has still to make."""

    def __init__(self) -> None:
        self.promised: Ballot = (0, "")
        self.seen = 0
        """The highest number of a ballot that refused this proposer."""
        self.accepted = Version((0, ""), None, [], 0, {})
        self.members: set[Value] = set()
        self.queue: list[Call] = []
        self.running = False
        self.prepared: Ballot | None = None
        """A ballot that a majority promised when it accepted what is accepted here: no need to prepare."""


class Call:
    """A client's operation in the hands of its proposer. `proposed` from the moment that a change of it may be found."""

    def __init__(self, op: str, arguments: list[Value]) -> None:
        self.op = op
        self.arguments = arguments
        self.proposed = False
        self.answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def expire(self) -> None:
        """The deadline passed."""
        if not self.answer.done():
            self.answer.set_exception(timed_out() if self.proposed else no_quorum())


class Majority(Mode):
    """`majority`: every key is a register of its own under CASPaxos (Rystsov 2018): a change is a function of the state that a
    majority promised, and happens when a majority accepted its result.

    Reads ask everybody; if a majority has accepted the same ballot, that is the answer. It is sound: the state was chosen, and
    any other change that was confirmed before the read began, or seen by an earlier read, sits at a ballot that some member
    of that majority had accepted by then, and acceptors only go up. Else the read becomes a change that changes nothing, and
    so writes back what it answers. Ballots are unique, each carries one state, and the chosen states form a chain, so writes,
    CAS and reads are linearizable by ballot.

    A proposer that is refused tries again with a new ballot; lest a change happen twice, the state carries for each proposer
    the batch and attempt that it last made (a proposer makes one batch for a key at a time): where a retry finds its
    own mark, it answers what that attempt answered. An attempt that nobody retries can only be completed by others, once.

    To spare proposers the duel, a change goes to a proposer that the key and the reachable nodes decide; that is a matter of
    speed, everybody may propose. It gathers what waits for a key into one batch, and a ballot promised together with an
    acceptance saves the next batch its first round. An acceptor that has the set already is sent only the new elements.

    Known answer: linearizable; a side without a majority is blocked.
    """

    name = "majority"
    COMPARE = 10
    """Beats between two comparisons with one peer after the other, for replicas that missed something."""
    BATCH = 256
    DELTA = 16
    """Sets with more elements are sent as what is new."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._slots: dict[Key, Slot] = {}
        self._versions = 0
        self._checksum = 0
        self._beats = 0
        self._batches = count(time.time_ns())
        self._journal = server.durable()
        for record in self._journal.replay():
            slot = self._slot(record["k"])
            if "b" in record:
                self._store(record["k"], slot, record)
            else:
                slot.promised = _ballot(record["p"])

    def _slot(self, key: Key) -> Slot:
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = Slot()
        return slot

    # The acceptor.

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "do":
            return None
        if message["t"] == "ballots":
            if message["checksum"] == self._checksum:
                return {"ballots": []}
            return {"ballots": [[key, slot.accepted.ballot] for key, slot in self._slots.items()]}
        slot = self._slot(message["k"])
        match message["t"]:
            case "get":
                return self._tell(slot, message)
            case "prepare":
                if not self._promise(message["k"], slot, _ballot(message["b"])):
                    return {"p": slot.promised}
                return self._tell(slot, message)
            case _:
                return self._accept(slot, message)

    def _tell(self, slot: Slot, message: Message) -> Message:
        if slot.accepted.ballot == _ballot(message["h"]):
            return {"b": slot.accepted.ballot}
        return slot.accepted.whole()

    def _promise(self, key: Key, slot: Slot, ballot: Ballot) -> bool:
        if ballot <= slot.promised:
            return False
        slot.promised = ballot
        self._journal.append({"k": key, "p": ballot})
        return True

    def _accept(self, slot: Slot, message: Message) -> Message:
        if _ballot(message["b"]) < slot.promised:
            return {"p": slot.promised}
        if "a" in message and _ballot(message["o"]) != slot.accepted.ballot:
            return {"need": True}
        self._store(message["k"], slot, message)
        self._journal.append({name: message[name] for name in "kbnvmea" if name in message})
        return {}

    def _store(self, key: Key, slot: Slot, message: Message) -> None:
        if "a" in message:
            elements = slot.accepted.elements
            elements.extend(message["a"])
            slot.members.update(message["a"])
        else:
            elements = message["e"]
            slot.members = set(elements)
        if slot.accepted.ballot[0]:
            self._checksum ^= _crc(key, slot.accepted.ballot)
        slot.accepted = Version(_ballot(message["b"]), message["v"], elements, len(elements), message["m"])
        self._checksum ^= _crc(key, slot.accepted.ballot)
        slot.promised = _ballot(message["n"])
        self._versions += 1

    # The proposer.

    async def _change(self, key: Key, op: str, arguments: list[Value]) -> Message:
        server = self.server
        deadline = server.now() + PATIENCE
        while server.quorum():
            name = max([server.name, *(link.name for link in server.up())], key=lambda name: crc32(f"{key!r} {name}".encode()))
            if name == server.name:
                break
            replies: list[Message | None] = []

            def judge(peer: str, reply: Message | None, replies: list[Message | None] = replies) -> bool:
                replies.append(reply)
                return True

            message = {"t": "do", "k": key, "f": op, "x": arguments, "s": deadline - server.now() - 0.05}
            await server.ask([server.links[name]], message, judge, deadline)
            if replies and replies[0] is not None:
                reply = replies[0]
                if "error" not in reply:
                    return reply
                if not reply["definite"]:
                    raise Failure(reply["error"], definite=False)
                break  # That node lacks a majority; this one has it.
            if not replies:
                raise timed_out()
            if op not in ("read", "elements"):
                raise Failure("peer-lost", definite=False)
        return await self._propose(key, op, arguments, deadline)

    async def taken_over(self, message: Message) -> Message:
        return await self._propose(message["k"], message["f"], message["x"], self.server.now() + message["s"])

    async def _propose(self, key: Key, op: str, arguments: list[Value], deadline: float) -> Message:
        if not self.server.quorum():
            raise no_quorum()
        slot = self._slot(key)
        call = Call(op, arguments)
        slot.queue.append(call)
        if not slot.running:
            slot.running = True
            self.server.spawn(self._work(key, slot))
        timer = asyncio.get_running_loop().call_at(deadline, call.expire)
        try:
            return await call.answer
        finally:
            timer.cancel()

    async def _work(self, key: Key, slot: Slot) -> None:
        while slot.queue:
            batch = slot.queue[: self.BATCH]
            del slot.queue[: self.BATCH]
            await self._make(key, slot, batch)
        slot.running = False

    async def _make(self, key: Key, slot: Slot, batch: list[Call]) -> None:
        """Make one batch, in as many attempts as its calls have patience for."""
        me, number = self.server.name, next(self._batches)
        attempts: list[list[Message | None]] = []
        pause = 0.002
        while any(not call.answer.done() for call in batch):
            found: tuple[Ballot, Version] | None
            if slot.prepared is not None and slot.prepared == slot.promised:
                found = slot.prepared, slot.accepted
            else:
                found = await self._prepare(key, slot)
            slot.prepared = None
            if found is not None:
                ballot, base = found
                mark = base.marks.get(me)
                value, marks = base.value, base.marks
                added: list[Value] = []
                if mark is not None and mark[0] == number:
                    answers = attempts[mark[1]]
                else:
                    answers, value, added, changed = _apply(slot, base, batch)
                    if changed:
                        marks = {**marks, me: [number, len(attempts)]}
                    attempts.append(answers)
                if await self._spread(key, slot, ballot, base, value, added, marks, batch):
                    for call, answer in zip(batch, answers, strict=True):
                        if answer is not None and not call.answer.done():
                            call.answer.set_result(answer)
                    return
            await asyncio.sleep(random.uniform(0, pause))
            pause = min(0.05, 2 * pause)

    async def _prepare(self, key: Key, slot: Slot) -> tuple[Ballot, Version] | None:
        """The promise of a majority: a ballot and the newest state that it accepted."""
        need, peers = self.server.majority - 1, self.server.up()
        ballot = max(slot.promised[0], slot.seen) + 1, self.server.name
        self._promise(key, slot, ballot)
        mine = newest = slot.accepted
        yes = no = 0

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal newest, yes, no
            if reply is None or "p" in reply:
                no += 1
                if reply is not None:
                    slot.seen = max(slot.seen, reply["p"][0])
            else:
                yes += 1
                if "v" in reply and _ballot(reply["b"]) > newest.ballot:
                    newest = _version(reply)
            return yes >= need or no > len(peers) - need

        message = {"t": "prepare", "k": key, "b": ballot, "h": mine.ballot}
        if need and not (await self.server.ask(peers, message, judge, self.server.now() + PATIENCE) and yes >= need):
            return None
        return ballot, newest

    async def _spread(self, key: Key, slot: Slot, ballot: Ballot, base: Version, value: Value, added: list[Value],
                      marks: dict[str, list[int]], batch: list[Call]) -> bool:
        """Have a majority, this node first, accept a state at a prepared ballot; whether it did."""
        need, peers = self.server.majority - 1, self.server.up()
        following = ballot[0] + 1, self.server.name
        message: Message = {"t": "accept", "k": key, "b": ballot, "n": following, "o": base.ballot, "v": value, "m": marks}
        if base.size > self.DELTA:
            message["a"] = added
        else:
            message["e"] = [*base.elements[: base.size], *added]
        mine = message
        if "a" in message and base.ballot != slot.accepted.ballot:
            mine = {**message, "e": [*base.elements[: base.size], *added]}
            del mine["a"]
        if "p" in self._accept(slot, mine):
            return False
        for call in batch:
            call.proposed = True
        yes = no = 0

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal yes, no
            if reply is not None and "need" in reply and slot.accepted.ballot == ballot:
                whole = {**message, "e": slot.accepted.whole()["e"]}
                del whole["a"]
                round_.ask([self.server.links[peer]], whole)
            elif reply is None or reply.keys() & {"need", "p"}:
                no += 1
                if reply is not None and "p" in reply:
                    slot.seen = max(slot.seen, reply["p"][0])
            else:
                yes += 1
            return yes >= need or no > len(peers) - need

        round_ = Round(self.server, judge)
        round_.ask(peers, message)
        if need and not (await round_.end(self.server.now() + PATIENCE) and yes >= need):
            return False
        slot.prepared = following
        return True

    # What clients ask for.

    async def read(self, key: Key) -> Value:
        version = await self._fetch(key)
        return version.value if version else (await self._change(key, "read", []))["value"]

    async def elements(self, key: Key) -> list[Value]:
        version = await self._fetch(key)
        return version.elements[: version.size] if version else (await self._change(key, "elements", []))["elements"]

    async def _fetch(self, key: Key) -> Version | None:
        """The state that a majority holds at the same ballot, None where none does."""
        if not self.server.quorum():
            raise no_quorum()
        slot, peers, majority = self._slot(key), self.server.up(), self.server.majority
        mine = slot.accepted
        versions = {mine.ballot: mine}
        tally = {mine.ballot: 1}
        left = len(peers)

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal left
            left -= 1
            if reply is not None:
                ballot = _ballot(reply["b"])
                tally[ballot] = tally.get(ballot, 0) + 1
                if ballot not in versions:
                    versions[ballot] = _version(reply)
            most = max(tally.values())
            return most >= majority or most + left < majority

        if majority > 1:
            await self.server.ask(peers, {"t": "get", "k": key, "h": mine.ballot}, judge, self.server.now() + PATIENCE / 2)
        return next((versions[ballot] for ballot, votes in tally.items() if votes >= majority), None)

    async def write(self, key: Key, value: Value) -> None:
        await self._change(key, "write", [value])

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        answer = await self._change(key, "cas", [expected, new])
        return answer["ok"], answer.get("seen")

    async def add(self, key: Key, element: Value) -> None:
        await self._change(key, "add", [element])

    def local_read(self, key: Key) -> Value:
        slot = self._slots.get(key)
        return slot.accepted.value if slot else None

    def local_elements(self, key: Key) -> list[Value]:
        slot = self._slots.get(key)
        return slot.accepted.elements[: slot.accepted.size] if slot else []

    def counters(self) -> tuple[int, int]:
        return 0, self._versions

    # Replicas that missed something.

    def joined(self, peer: str) -> None:
        self.server.spawn(self._catch_up(self.server.links[peer]))

    def tick(self) -> None:
        self._beats += 1
        if self._beats % self.COMPARE == 0 and (peers := self.server.up()):
            self.server.spawn(self._catch_up(peers[self._beats // self.COMPARE % len(peers)]))

    async def _catch_up(self, link: Link) -> None:
        """Have everything written anew that the peer has a newer state of."""
        ballots: list[Any] = []

        def judge(peer: str, reply: Message | None) -> bool:
            ballots.extend(reply["ballots"] if reply else [])
            return True

        message = {"t": "ballots", "checksum": self._checksum}
        await self.server.ask([link], message, judge, self.server.now() + PATIENCE)
        for key, ballot in ballots:
            if self._slot(key).accepted.ballot < _ballot(ballot):
                try:
                    await self._change(key, "read", [])
                except Failure:
                    return


def _apply(slot: Slot, base: Version, batch: list[Call]) -> tuple[list[Message | None], Value, list[Value], bool]:
    """What the calls of a batch that still wait answer, one after the other, from `base` on; the new value, the new elements,
    and whether anything changed."""
    members = slot.members if base.ballot == slot.accepted.ballot else set(base.elements[: base.size])
    value = base.value
    added: dict[Value, None] = {}
    answers: list[Message | None] = []
    changed = False
    for call in batch:
        answer: Message | None = {"ok": True}
        if call.answer.done():
            answer = None
        elif call.op == "read":
            answer = {"ok": True, "value": value}
        elif call.op == "elements":
            answer = {"ok": True, "elements": [*base.elements[: base.size], *added]}
        elif call.op == "add":
            if call.arguments[0] not in members:
                added[call.arguments[0]] = None
        elif call.op == "cas" and value != call.arguments[0]:
            answer = {"ok": False, "seen": value}
        else:
            value, changed = call.arguments[-1], True
        answers.append(answer)
    return answers, value, list(added), changed or bool(added)


class Copy:
    """One key at one replica: the register's newest version, and the set."""

    def __init__(self) -> None:
        self.version: Ballot = (0, "")
        self.issued = 0
        """The highest number of a version that this node has given."""
        self.value: Value = None
        self.elements: dict[Value, None] = {}

    def put(self, message: Message) -> None:
        """Take in what is newer."""
        if "v" in message and _ballot(message["b"]) > self.version:
            self.version, self.value = _ballot(message["b"]), message["v"]
        self.elements.update(dict.fromkeys(message.get("e", ())))

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"b": self.version, "v": self.value, "e": list(self.elements)}


class MajorityNoWriteback(Mode):
    """`majority-no-writeback`: the register of Attiya, Bar-Noy & Dolev (1995) without the second half of its reads.

    A write asks a majority for the newest version, takes the next, and stores it here and then at one replica after the
    other, in random order, until a majority has it (the rest follow behind) or its patience ends. A read answers the newest
    version of the first majority that it hears, at once. So a read may see a write that has reached few replicas, and a
    later read of another majority may miss it. Without a fault the spreading is quick, and this is rare; but where a replica
    is silent, one write in `STALL` gives it `GRACE` to come back before it goes on to the others, and stays half-spread for
    so long. (On a side that is just a majority it cannot be seen: there every read hears everybody.) A set is spread by
    element and read as the union of a majority. `REPAIR` after a link came back, replicas take from each other what is newer.

    Known answer: new/old inversion, hence not linearizable; a side without a majority is blocked. There is no `cas`.
    """

    name = "majority-no-writeback"
    STALL = 8
    GRACE = 0.4
    REPAIR = 1.0

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._copies: dict[Key, Copy] = {}
        self._changes = 0
        self._repairing = False

    def _copy(self, key: Key) -> Copy:
        copy = self._copies.get(key)
        if copy is None:
            copy = self._copies[key] = Copy()
        return copy

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "get":
                return self._copy(message["k"]).whole()
            case "put":
                self._put(message)
                return {}
            case _:
                return {"copies": [{"k": key, **copy.whole()} for key, copy in self._copies.items()]}

    def _put(self, message: Message) -> None:
        self._copy(message["k"]).put(message)
        self._changes += 1

    async def _newest(self, key: Key) -> Copy:
        """What a majority, this node among it, holds together."""
        server, copy, left = self.server, Copy(), self.server.majority - 1
        copy.put(self._copy(key).whole())

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

    async def _spread(self, message: Message, deadline: float) -> None:
        """Store it at one replica after the other; returns when a majority has it."""
        server = self.server
        self._put(message)
        stored = 1
        peers = list(server.links)
        random.shuffle(peers)
        if len(server.up()) < len(peers) and random.random() * self.STALL < 1:
            await asyncio.sleep(self.GRACE)
        while stored < server.majority:
            if not peers or server.now() > deadline:
                raise timed_out()
            link = server.links[peers.pop()]
            stored += link.up and await server.ask([link], message, _answered, deadline)
        server.spawn(self._finish(message, peers))

    async def _finish(self, message: Message, peers: list[str]) -> None:
        for link in (self.server.links[peer] for peer in peers):
            if link.up:
                await self.server.ask([link], message, _answered, self.server.now() + PATIENCE)

    async def read(self, key: Key) -> Value:
        return (await self._newest(key)).value

    async def write(self, key: Key, value: Value) -> None:
        deadline = self.server.now() + PATIENCE
        newest, copy = await self._newest(key), self._copy(key)
        copy.issued = max(copy.issued, newest.version[0]) + 1
        await self._spread({"t": "put", "k": key, "b": (copy.issued, self.server.name), "v": value}, deadline)

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        raise Failure("unsupported", definite=True)

    async def add(self, key: Key, element: Value) -> None:
        if not self.server.quorum():
            raise no_quorum()
        await self._spread({"t": "put", "k": key, "e": [element]}, self.server.now() + PATIENCE)

    async def elements(self, key: Key) -> list[Value]:
        return list((await self._newest(key)).elements)

    def local_read(self, key: Key) -> Value:
        return self._copies[key].value if key in self._copies else None

    def local_elements(self, key: Key) -> list[Value]:
        return list(self._copies[key].elements) if key in self._copies else []

    def counters(self) -> tuple[int, int]:
        return 0, self._changes

    def joined(self, peer: str) -> None:
        if not self._repairing:
            self._repairing = True
            self.server.spawn(self._repair())

    async def _repair(self) -> None:
        await asyncio.sleep(self.REPAIR)
        self._repairing = False

        def judge(peer: str, reply: Message | None) -> bool:
            for message in reply["copies"] if reply else ():
                self._put(message)
            return False

        await self.server.ask(self.server.up(), {"t": "all"}, judge, self.server.now() + PATIENCE)


class Store:
    """Registers and sets, changed by `[op, key, argument...]`."""

    def __init__(self) -> None:
        self.values: dict[Key, Value] = {}
        self.sets: dict[Key, dict[Value, None]] = {}

    def apply(self, change: list[Any]) -> Message:
        """Make a change; the answer."""
        op, key = change[0], change[1]
        if op == "add":
            self.sets.setdefault(key, {})[change[2]] = None
        elif op == "cas" and self.values.get(key) != change[2]:
            return {"ok": False, "seen": self.values.get(key)}
        else:
            self.values[key] = change[-1]
        return {"ok": True}

    def whole(self) -> Message:
        """As a peer is told it."""
        return {"values": list(self.values.items()), "sets": [[key, list(elements)] for key, elements in self.sets.items()]}

    def restore(self, whole: Message) -> None:
        """Become what a peer told."""
        self.values = {key: value for key, value in whole["values"]}
        self.sets = {key: dict.fromkeys(elements) for key, elements in whole["sets"]}


class Primary(Mode):
    """What the modes with a primary share: operations only there, on a `Store`."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.store = Store()
        self.generation = 0
        self.is_primary = False

    @abstractmethod
    async def change(self, change: list[Any]) -> Message:
        """Make a change as the primary; the answer. Raises `Failure`."""

    @abstractmethod
    def admit(self) -> None:
        """Raises `Failure` where this node must not serve now."""

    async def read(self, key: Key) -> Value:
        self.admit()
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        await self.change(["write", key, value])

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        answer = await self.change(["cas", key, expected, new])
        return answer["ok"], answer.get("seen")

    async def add(self, key: Key, element: Value) -> None:
        await self.change(["add", key, element])

    async def elements(self, key: Key) -> list[Value]:
        self.admit()
        return self.local_elements(key)

    def local_read(self, key: Key) -> Value:
        return self.store.values.get(key)

    def local_elements(self, key: Key) -> list[Value]:
        return list(self.store.sets.get(key, ()))

    def role(self) -> str:
        return "primary" if self.is_primary else "replica"

    def ready(self) -> bool:
        return super().ready() and self.primary() is not None


class Unfenced(Primary):
    """A primary that answers first and replicates behind, and never asks whether it still is the primary.

    It streams its changes to the replicas that hold its lineage (its generation, up to the change before); every other one
    is sent the whole store first, and so loses what it had. Subclasses say how a primary comes to be and when it yields.
    """

    PATIENCE_WITH_PRIMARY = 0.6

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.leader: str | None = None
        self.heard_leader = 0.0
        self.views: dict[str, Message] = {}
        """What each peer said last of itself."""
        self.version = 0
        self.lineage = 0
        """The generation whose primary the store was copied from."""
        self._fresh: list[list[Any]] = []
        self._following: set[str] = set()
        self._wanted = 0.0

    async def change(self, change: list[Any]) -> Message:
        self.admit()
        answer = self.store.apply(change)
        if answer["ok"]:
            self.version += 1
            self._fresh.append(change)
        return answer

    def admit(self) -> None:
        if not self.is_primary:
            raise Failure("not-primary", definite=True)

    def primary(self) -> str | None:
        if self.is_primary:
            return self.server.name
        return self.leader if self.server.now() - self.heard_leader < self.PATIENCE_WITH_PRIMARY else None

    def ready(self) -> bool:
        return super().ready() and self.lineage == self.generation

    def counters(self) -> tuple[int, int]:
        return self.generation, self.version

    def beat(self) -> Message:
        return {"primary": self.is_primary, "names": self.primary(), "generation": self.generation}

    def heard(self, peer: str, beat: Message) -> None:
        self.views[peer] = beat
        if peer == self.leader:
            if beat["primary"]:
                self.heard_leader = self.server.now()
            else:
                self.leader = None

    def lead(self, generation: int) -> None:
        """Become primary."""
        self.server.log(f"primary, generation {generation}, from version {self.version}")
        self.is_primary, self.leader = True, None
        self.generation = self.lineage = generation
        self._following.clear()
        for link in self.server.up():
            self._send_all(link)

    def follow(self, peer: str, generation: int) -> None:
        """Become a replica of a primary."""
        if self.is_primary:
            self.server.log(f"demoted at version {self.version}: discards what it accepted since it was cut off")
        self.server.log(f"follows {peer}, generation {generation}")
        self.is_primary, self.leader, self.generation = False, peer, generation
        self.heard_leader = self.server.now()
        self._fresh.clear()
        self._want(peer)

    def _want(self, peer: str) -> None:
        if self.server.now() - self._wanted > 2 * BEAT and self.server.links[peer].up:
            self._wanted = self.server.now()
            self.server.links[peer].send(_line({"t": "want"}))

    def _send_all(self, link: Link) -> None:
        self.before_flush()
        self._following.add(link.name)
        whole = self.store.whole()
        link.send(_line({"t": "all", "generation": self.generation, "version": self.version, **whole}))

    def before_flush(self) -> None:
        if self._fresh:
            line = _line({"t": "more", "generation": self.generation, "after": self.version - len(self._fresh),
                          "changes": self._fresh})
            self._fresh = []
            for name in self._following:
                self.server.links[name].send(line)

    def joined(self, peer: str) -> None:
        if self.is_primary:
            self._send_all(self.server.links[peer])
        elif peer == self.leader:
            self._want(peer)

    def lost(self, peer: str) -> None:
        self._following.discard(peer)

    def peer(self, peer: str, message: Message) -> Message | None:
        match message["t"]:
            case "want":
                if self.is_primary and self.server.links[peer].up:
                    self._send_all(self.server.links[peer])
            case "all" if peer == self.leader and message["generation"] == self.generation:
                self.store.restore(message)
                self.lineage, self.version = self.generation, message["version"]
                self.server.log(f"copied version {self.version} of generation {self.generation} from {peer}")
            case "more" if peer == self.leader and message["generation"] == self.generation == self.lineage:
                if message["after"] == self.version:
                    for change in message["changes"]:
                        self.store.apply(change)
                    self.version += len(message["changes"])
                elif message["after"] > self.version:
                    self._want(peer)
            case "more" if peer == self.leader:
                self._want(peer)
        return None


class PrimaryAsync(Unfenced):
    """`primary-async`: asynchronous replicas; fail-over by the votes of a majority that no longer hears the primary.

    A voter votes once in a generation, and for nobody who holds less than itself. The old primary is not asked: cut off, it
    goes on accepting, until after the heal it hears of a greater generation and copies the new primary's store.

    Known answer: acknowledged writes are lost; neither consistent nor available.
    """

    name = "primary-async"

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._voted = 0
        self._due = server.now() + random.uniform(0.05, 0.15)

    def heard(self, peer: str, beat: Message) -> None:
        super().heard(peer, beat)
        if beat["primary"] and (beat["generation"] > self.generation or
                                (beat["generation"] == self.generation and not self.is_primary and self.leader is None)):
            self.follow(peer, beat["generation"])
        if self.primary() is not None:
            self._due = self.heard_leader + self.PATIENCE_WITH_PRIMARY + random.uniform(0, 0.2)

    def tick(self) -> None:
        if self.primary() is None and self.server.now() >= self._due and self.server.quorum():
            self._due = self.server.now() + random.uniform(0.2, 0.35)
            self.server.spawn(self._campaign())

    async def _campaign(self) -> None:
        generation = self._voted = max(self._voted, self.generation) + 1
        missing = self.server.majority - 1

        def judge(peer: str, reply: Message | None) -> bool:
            nonlocal missing
            if reply is not None:
                missing -= reply["yes"]
                self._voted = max(self._voted, reply["voted"])
            return missing <= 0

        message = {"t": "vote", "generation": generation, "held": [self.lineage, self.version]}
        won = not missing or await self.server.ask(self.server.up(), message, judge, self.server.now() + 2 * BEAT)
        if won and self.primary() is None and self.generation < generation:
            self.lead(generation)

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] != "vote":
            return super().peer(peer, message)
        yes = (
            self.primary() is None
            and message["generation"] > max(self._voted, self.generation)
            and message["held"] >= [self.lineage, self.version]
        )
        if yes:
            self._voted = message["generation"]
            self._due = self.server.now() + random.uniform(0.25, 0.45)
        return {"yes": yes, "voted": self._voted}


class SplitBrain(Unfenced):
    """`split-brain`: on every side the first node by name that hears of no primary makes itself one; nobody is asked, and
    nothing is fenced.

    Two primaries that hear each other again go on for `YIELD`; then the one of the smaller generation (of the same: by name)
    follows the other, and its replicas with it. Its lineage is discarded.

    Known answer: two lineages, acknowledged writes are lost.
    """

    name = "split-brain"
    YIELD = 1.2
    ASSEMBLY = 2.0
    """How long a node that has just started waits for peers that it never heard."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._begun = server.now()
        self._rivalled: float | None = None

    def tick(self) -> None:
        now = self.server.now()
        views = {link.name: self.views[link.name] for link in self.server.up() if link.name in self.views}
        primaries = [(view["generation"], name) for name, view in views.items() if view["primary"]]
        if self.is_primary:
            if not primaries or max(primaries) < (self.generation, self.server.name):
                self._rivalled = None
            elif self._rivalled is None:
                self._rivalled = now
            elif now - self._rivalled > self.YIELD:
                self._rivalled = None
                self.follow(max(primaries)[1], max(primaries)[0])
        elif self.primary() is None:
            started = len(self.views) == len(self.server.links) or now - self._begun > self.ASSEMBLY
            if primaries:
                self.follow(max(primaries)[1], max(primaries)[0])
            elif started and self.server.name <= min([name for name, view in views.items() if not view["names"]], default="~"):
                self.lead(max([self.generation, *(view["generation"] for view in views.values())]) + 1)


class FencedPrimary(Primary):
    """`fenced-primary`: one log, replicated as in Raft (Ongaro & Ousterhout 2014), and reads under a lease.

    A primary is elected by a majority for a generation, and has at least the log of every voter (the last generation, then
    the length). Replicas refuse what an older generation appends. A change is answered when a majority stored it in this
    generation, an entry of an earlier one only behind an entry of this one. So every answered change is in the log of every
    later primary, in the same place, which makes changes, a CAS too, linearizable by their place in the log.

    Whoever takes an append grants its sender `GRANT`: until that is over it neither votes for another nor stands itself
    (a restarted node, which has forgotten its grants, waits as long). The primary's lease ends `HOLD` after it *sent* the
    newest appends that a majority confirmed, on its own monotonic clock. Every majority that elects another holds one of
    these grants, which began later and last longer; so while the lease is in force nobody else has answered anything, and
    what is committed here is all there is to read. A primary whose lease ended shuts itself down as one; one that was
    stopped and goes on looks at the clock before it answers. It serves once an entry of its own generation is committed.

    Where the count of nodes is even, the first by name is the witness as well: it has a second vote, so that of two halves
    one goes on.

    Known answer: linearizable; a side without a majority is blocked.
    """

    name = "fenced-primary"
    HOLD = 0.6
    GRANT = 0.8
    ENTRIES = 500
    """The most entries of one append."""
    WINDOW = 2000
    """The most entries that a replica has been sent and not confirmed."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._weights = dict.fromkeys(server.names, 1)
        if len(server.names) % 2 == 0:
            self._weights[server.names[0]] = 2
        self._voted: str | None = None
        self._log: list[tuple[int, list[Any]]] = []
        self._committed = 0
        self._applied = 0
        self._leader: str | None = None
        self._serves_from = 0
        self._elected = 0.0
        self._stored: dict[str, int] = {}
        self._sent: dict[str, int] = {}
        self._confirmed: dict[str, float] = {}
        """The primary's: up to where each replica stored its log, was sent it; when the last confirmed append was sent."""
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._journal = server.durable()
        records = self._journal.replay()
        for record in records:
            if "i" in record:
                self._log[record["i"] :] = [(record["g"], record["c"])]
            else:
                self.generation, self._voted = record["g"], record["w"]
        self._granted = server.now() + (self.GRANT if records else 0)
        self._due = self._granted + random.uniform(0.05, 0.15)

    def _majority(self, votes: int) -> bool:
        return 2 * votes > sum(self._weights.values())

    def _quorum(self) -> bool:
        return self._majority(self._weights[self.server.name] + sum(self._weights[link.name] for link in self.server.up()))

    def _shared(self, own: float, others: dict[str, float]) -> float:
        """The greatest number that a majority, with this node's own, is not below."""
        votes = 0
        for number, name in sorted([(own, self.server.name), *zip(others.values(), others, strict=True)], reverse=True):
            votes += self._weights[name]
            if self._majority(votes):
                return number
        return -1.0

    def _leased(self) -> bool:
        now = self.server.now()
        return self.is_primary and now < self._shared(now, self._confirmed) + self.HOLD

    def _serving(self) -> bool:
        return self._leased() and self._committed >= self._serves_from

    def _last(self) -> list[int]:
        return [self._log[-1][0] if self._log else 0, len(self._log)]

    # What clients ask for.

    def admit(self) -> None:
        if not self.is_primary:
            raise Failure("not-primary", definite=True)
        if not self._serving():
            raise Failure("no-lease", definite=True)

    async def change(self, change: list[Any]) -> Message:
        self.admit()
        self._append(change)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[len(self._log)] = answer
        timer = asyncio.get_running_loop().call_later(PATIENCE, _fail, answer, timed_out())
        try:
            return await answer
        finally:
            timer.cancel()

    def primary(self) -> str | None:
        if self.is_primary:
            return self.server.name if self._leased() else None
        return self._leader if self.server.now() < self._granted else None

    def ready(self) -> bool:
        return self._quorum() and self.primary() is not None and (not self.is_primary or self._serving())

    def counters(self) -> tuple[int, int]:
        return self.generation, self._committed

    # The primary.

    def _append(self, change: list[Any]) -> None:
        self._store(len(self._log), [(self.generation, change)])
        self.server.soon()

    def _store(self, at: int, entries: list[tuple[int, list[Any]]]) -> None:
        self._log[at:] = entries
        for i, (generation, change) in enumerate(entries, at):
            self._journal.append({"i": i, "g": generation, "c": change})

    def before_flush(self) -> None:
        if self.is_primary:
            for link in self.server.up():
                if self._sent[link.name] < len(self._log):
                    self._replicate(link)
            self._commit()

    def _replicate(self, link: Link) -> None:
        """Send what the replica was not sent yet, if only the grant that it asks for."""
        sent = self._sent[link.name]
        room = min(self.ENTRIES, self._stored[link.name] + self.WINDOW - sent)
        entries = self._log[sent : sent + room] if room > 0 else []
        self._sent[link.name] = sent + len(entries)
        generation, at = self.generation, self.server.now()
        message = {"t": "append", "g": generation, "i": sent, "p": self._log[sent - 1][0] if sent else 0, "e": entries,
                   "c": self._committed}

        def judge(peer: str, reply: Message | None) -> bool:
            if reply is not None:
                self._confirm(peer, generation, at, reply)
            return True

        Round(self.server, judge).ask([link], message)

    def _confirm(self, peer: str, generation: int, at: float, reply: Message) -> None:
        if reply["g"] > self.generation:
            self._adopt(reply["g"])
        if not self.is_primary or self.generation != generation or reply["g"] != generation:
            return
        self._confirmed[peer] = max(at, self._confirmed.get(peer, 0.0))
        if reply["ok"]:
            self._stored[peer] = max(self._stored[peer], reply["n"])
            self._commit()
        else:
            self._sent[peer] = max(self._stored[peer], min(self._sent[peer], reply["n"]))
        if self._sent[peer] < len(self._log):
            self.server.soon()

    def _commit(self) -> None:
        shared = int(self._shared(len(self._log), dict(self._stored)))
        if shared > self._committed and self._log[shared - 1][0] == self.generation:
            self._committed = shared
            self._apply()

    def _apply(self) -> None:
        while self._applied < self._committed:
            change = self._log[self._applied][1]
            self._applied += 1
            answer = self.store.apply(change) if change else {}
            waiting = self._waiting.pop(self._applied, None)
            if waiting is not None and not waiting.done():
                waiting.set_result(answer)

    def _lead(self) -> None:
        now = self.server.now()
        self.server.log(f"primary, generation {self.generation}, from entry {len(self._log)}")
        self.is_primary, self._leader, self._elected = True, None, now
        self._stored = dict.fromkeys(self.server.links, 0)
        self._sent = dict.fromkeys(self.server.links, len(self._log))
        self._confirmed = {}
        self._append([])
        self._serves_from = len(self._log)
        for link in self.server.up():
            self._replicate(link)

    def _resign(self, why: str) -> None:
        self.server.log(f"shuts itself down as primary of generation {self.generation}: {why}")
        self.is_primary = False
        self._due = self.server.now() + random.uniform(0.1, 0.3)
        for answer in self._waiting.values():
            _fail(answer, Failure("demoted", definite=False))
        self._waiting = {}

    def _adopt(self, generation: int, voted: str | None = None) -> None:
        if self.is_primary:
            self._resign(f"generation {generation} has begun")
        if generation > self.generation or voted is not None:
            self.generation, self._voted = generation, voted
            self._journal.append({"g": generation, "w": voted})

    def lost(self, peer: str) -> None:
        if self.is_primary:
            self._sent[peer] = self._stored[peer]

    def joined(self, peer: str) -> None:
        if self.is_primary:
            self._replicate(self.server.links[peer])

    def tick(self) -> None:
        now = self.server.now()
        if self.is_primary:
            if not self._leased() and now - self._elected > self.HOLD:
                self._resign("its lease has ended")
            for link in self.server.up() if self.is_primary else ():
                self._replicate(link)
        elif now >= self._due and now >= self._granted and self._quorum():
            self._due = now + random.uniform(0.2, 0.35)
            self.server.spawn(self._campaign())

    # The replicas.

    async def _campaign(self) -> None:
        """Ask whether a majority would vote, so that a generation is not wasted; then for the votes."""
        for trial in (True, False):
            if self.is_primary or self.server.now() < self._granted:
                return
            if not trial:
                self._adopt(self.generation + 1, self.server.name)
            generation = self.generation
            votes = self._weights[self.server.name]

            def judge(peer: str, reply: Message | None) -> bool:
                nonlocal votes
                if reply is not None:
                    votes += self._weights[peer] if reply["yes"] else 0
                    if reply["g"] > self.generation:
                        self._adopt(reply["g"])
                return self._majority(votes)

            message = {"t": "vote", "g": generation + trial, "trial": trial, "last": self._last()}
            await self.server.ask(self.server.up(), message, judge, self.server.now() + 2 * BEAT)
            if not self._majority(votes) or self.generation != generation:
                return
        if not self.is_primary and self._voted == self.server.name:
            self._lead()

    def peer(self, peer: str, message: Message) -> Message | None:
        return self._vote(peer, message) if message["t"] == "vote" else self._take(peer, message)

    def _vote(self, peer: str, message: Message) -> Message:
        yes = (
            not self._leased()
            and self.server.now() >= self._granted
            and message["last"] >= self._last()
            and (message["g"] > self.generation or (message["g"] == self.generation and self._voted in (None, peer)))
        )
        if yes and not message["trial"]:
            self._adopt(message["g"], peer)
            self._due = self.server.now() + random.uniform(0.25, 0.45)
        return {"g": self.generation, "yes": yes}

    def _take(self, peer: str, message: Message) -> Message:
        if message["g"] < self.generation:
            return {"g": self.generation, "ok": False, "n": 0}
        if message["g"] > self.generation:
            self._adopt(message["g"])
        if self._leader != peer or self.server.now() >= self._granted:
            self.server.log(f"follows {peer}, generation {self.generation}")
        self._leader = peer
        self._granted = self.server.now() + self.GRANT
        self._due = self._granted + random.uniform(0, 0.15)
        at, log = message["i"], self._log
        if at > len(log) or (at and log[at - 1][0] != message["p"]):
            hint = min(at, len(log))
            # Back over the whole generation that differs; what is committed cannot differ.
            while at <= len(log) and hint > self._committed and log[hint - 1][0] == log[at - 1][0]:
                hint -= 1
            return {"g": self.generation, "ok": False, "n": hint}
        entries = [(generation, change) for generation, change in message["e"]]
        same = 0
        while same < len(entries) and at + same < len(log) and log[at + same][0] == entries[same][0]:
            same += 1
        if same < len(entries):
            self._store(at + same, entries[same:])
        stored = at + len(entries)
        if min(message["c"], stored) > self._committed:
            self._committed = min(message["c"], stored)
            self._apply()
        return {"g": self.generation, "ok": True, "n": stored}


def _fail(answer: asyncio.Future[Message], failure: Failure) -> None:
    if not answer.done():
        answer.set_exception(failure)


class LastWriteWins(Mode):
    """`lww`: every node answers from its own copy. A change carries the wall clock and the node's name; the greater wins.

    A node tells each peer what it was told itself since that peer last confirmed (every `GOSSIP`), and every few rounds
    compares a checksum of everything, so that what came by way of a third node spreads too. A set is one value, replaced as
    a whole. A `cas` compares and writes here. Known answer: available everywhere, converges after heal, loses concurrent
    writes.
    """

    name = "lww"
    GOSSIP = 2
    COMPARE = 5
    """Beats between two rounds of gossip, and between two comparisons."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._entries: dict[str, tuple[int, str, Any]] = {}
        self._news: dict[str, set[str]] = {peer: set() for peer in server.links}
        self._checksum = 0
        self._clock = 0
        self._beats = 0

    async def read(self, key: Key) -> Value:
        return self.local_read(key)

    async def write(self, key: Key, value: Value) -> None:
        self._change(_encode(["register", key]), value)

    async def cas(self, key: Key, expected: Value, new: Value) -> tuple[bool, Value]:
        seen = self.local_read(key)
        if seen == expected:
            self._change(_encode(["register", key]), new)
        return seen == expected, seen

    async def add(self, key: Key, element: Value) -> None:
        elements = self.local_elements(key)
        if element not in elements:
            self._change(_encode(["set", key]), [*elements, element])

    async def elements(self, key: Key) -> list[Value]:
        return self.local_elements(key)

    def local_read(self, key: Key) -> Value:
        entry = self._entries.get(_encode(["register", key]))
        return entry[2] if entry else None

    def local_elements(self, key: Key) -> list[Value]:
        entry = self._entries.get(_encode(["set", key]))
        return entry[2] if entry else []

    def counters(self) -> tuple[int, int]:
        return 0, len(self._entries)

    def _change(self, name: str, value: Any) -> None:
        self._clock = max(self._clock + 1, time.time_ns())
        if self._merge(name, (self._clock, self.server.name, value)):
            for news in self._news.values():
                news.add(name)

    def _merge(self, name: str, entry: tuple[int, str, Any]) -> bool:
        old = self._entries.get(name)
        if old is not None and old[:2] >= entry[:2]:
            return False
        if old is not None:
            self._checksum ^= crc32(f"{name} {old[0]} {old[1]}".encode())
        self._checksum ^= crc32(f"{name} {entry[0]} {entry[1]}".encode())
        self._entries[name] = entry
        return True

    def tick(self) -> None:
        self._beats += 1
        for link in self.server.up():
            if self._beats % self.GOSSIP == 0 and self._news[link.name]:
                self.server.spawn(self._tell(link, self._news[link.name]))
                self._news[link.name] = set()
            if self._beats % self.COMPARE == 0:
                self.server.spawn(self._compare(link))

    async def _tell(self, link: Link, names: Iterable[str]) -> None:
        told = {name: self._entries[name] for name in names}
        if not await self.server.ask([link], {"t": "tell", "entries": told}, _answered, self.server.now() + PATIENCE):
            self._news[link.name].update(told)

    async def _compare(self, link: Link) -> None:
        replies: list[Message] = []

        def judge(peer: str, reply: Message | None) -> bool:
            replies.extend([reply] if reply else [])
            return bool(replies)

        deadline = self.server.now() + PATIENCE
        await self.server.ask([link], {"t": "compare", "checksum": self._checksum}, judge, deadline)
        if replies and "stamps" in replies[0]:
            stamps: dict[str, list[Any]] = replies[0]["stamps"]
            newer = [name for name, entry in self._entries.items() if list(entry[:2]) > stamps.get(name, [0, ""])]
            if newer:
                await self._tell(link, newer)

    def peer(self, peer: str, message: Message) -> Message | None:
        if message["t"] == "tell":
            for name, (stamp, author, value) in message["entries"].items():
                self._merge(name, (stamp, author, value))
            return {}
        if message["checksum"] == self._checksum:
            return {}
        return {"stamps": {name: entry[:2] for name, entry in self._entries.items()}}


def _answered(peer: str, reply: Message | None) -> bool:
    return reply is not None


MODES: dict[str, type[Mode]] = {
    mode.name: mode for mode in (Majority, MajorityNoWriteback, PrimaryAsync, LastWriteWins, SplitBrain, FencedPrimary)
}


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _peer(text: str) -> tuple[str, tuple[str, int]]:
    name, _, address = text.partition("=")
    return name, _address(address)


def main(arguments: Sequence[str]) -> None:
    """Serve as the command line says."""
    parser = argparse.ArgumentParser(description="The reference database of splitbrain.", allow_abbrev=False)
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", required=True, type=_address, metavar="HOST:PORT")
    parser.add_argument("--peer", action="append", default=[], type=_peer, metavar="NAME=HOST:PORT")
    parser.add_argument("--mode", required=True, choices=sorted(MODES))
    parser.add_argument("--data", required=True, type=Path, metavar="DIR")
    parser.add_argument("--fsync", action="store_true", help="wait for the disk, not only for the kernel")
    options = parser.parse_args(arguments)

    async def serve() -> None:
        server = Server(options.name, dict(options.peer), MODES[options.mode], options.data, fsync=options.fsync)
        await server.run(*options.listen)

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1:])
