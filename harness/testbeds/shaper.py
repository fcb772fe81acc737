"""A program that holds packets back, loses, doubles and damages them, as the kernel's queues hand them to it (NFQUEUE).

Written for kernels without netem; it needs no root, but the right to administer the network namespaces whose sockets it is
given. Standard library only, and nothing of ours: it is started by its path, and starts within a moment.

Its standard input is a `SOCK_SEQPACKET` socket with JSON messages, each of which is answered by one. The first says how many
nodes there are and comes with three sockets for each (netlink, raw IPv4, raw IPv6), in their order, or for that one alone
which it names as its `own`; every later one says what is to happen on which link, all of it: links that are not named let
everything pass. A packet from node number A is in queue `first` + A of the node that receives it. It ends with that socket.
"""

from __future__ import annotations

import array
import gc
import heapq
import itertools
import json
import random
import select
import socket
import struct
import sys
import time
from collections.abc import Sequence
from typing import Any

_NFQUEUE = 3 << 8
_PACKET, _VERDICT, _CONFIG = 0, 1, 2
_REQUEST, _ACK = 1, 4
_BIND, _COPY_PACKET = 1, 2
_CFG_COMMAND, _CFG_PARAMETERS, _CFG_MOST = 1, 2, 3
_HEADER, _VERDICT_HEADER, _PAYLOAD = 1, 2, 10
_DROP, _ACCEPT = 0, 1
_NO_BUFFER_ERRORS = 5  # NETLINK_NO_ENOBUFS
_SOL_NETLINK = 270

_DESCRIPTOR = array.array("i").itemsize
_HELD = 1.0
"""Seconds that a packet waits for bandwidth at most; then the buffer counts as full, and it is lost."""
_READ = 256
"""Packets that are read of one node until it is another's turn."""


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _message(kind: int, flags: int, queue: int, body: bytes) -> bytes:
    return struct.pack("=IHHIIBBH", 20 + len(body), _NFQUEUE | kind, flags, 0, 0, 0, 0, socket.htons(queue)) + body


class _Link:
    """What happens on one link, and what that needs to know of the packets before."""

    def __init__(self, shape: dict[str, float]) -> None:
        self.delay = shape.get("delay", 0.0) / 1000
        self.jitter = shape.get("jitter", 0.0) / 1000
        self.loss = shape.get("loss", 0.0)
        self.duplicate = shape.get("duplicate", 0.0)
        self.reorder = shape.get("reorder", 0.0)
        self.corrupt = shape.get("corrupt", 0.0)
        self.rate = shape.get("rate", 0.0) * 1000 / 8  # bytes a second
        self.last = 0.0
        self.free = 0.0

    def due(self, now: float, size: int) -> float | None:
        """When a packet is to arrive; None where it is lost. Packets keep their order, but those that `reorder` picks."""
        if self.loss and random.random() < self.loss:
            return None
        begin = now
        if self.rate:
            begin = self.free = max(self.free, now) + size / self.rate
            if begin - now > _HELD:
                self.free -= size / self.rate
                return None
        if self.reorder and random.random() < self.reorder:
            return begin
        late = self.delay + (random.uniform(-self.jitter, self.jitter) if self.jitter else 0.0)
        self.last = max(self.last, begin + max(0.0, late))
        return self.last


class _Shaper:
    def __init__(self, control: socket.socket) -> None:
        self.control = control
        self.poll = select.epoll()
        self.poll.register(control, select.EPOLLIN)
        self.netlink: dict[int, socket.socket] = {}
        self.raw: dict[int, tuple[socket.socket, socket.socket | None]] = {}
        self.first = 0
        self.links: dict[tuple[int, int], _Link] = {}
        self.held: list[tuple[float, int, int, int, int, bytes | None, bool]] = []
        """When due, a number, the node that receives, its queue, the packet's id there, its bytes where they are needed, and
        whether it is to come twice."""
        self.numbers = itertools.count()
        self.twice: list[tuple[int, bytes]] = []
        """Packets, each with its queue, that were let go and are to come once more."""
        self.copies: dict[bytes, int] = {}
        """What was sent a second time, and comes through a queue again."""

    def run(self) -> None:
        while True:
            wait = max(0.0, self.held[0][0] - time.monotonic()) if self.held else -1
            for ready, _ in self.poll.poll(wait):
                if ready == self.control.fileno():
                    if not self.told():
                        return
                else:
                    self.read(next(at for at, one in self.netlink.items() if one.fileno() == ready))
            self.release(time.monotonic())

    def told(self) -> bool:
        data, beside, _, _ = self.control.recvmsg(1 << 18, socket.CMSG_SPACE(250 * _DESCRIPTOR))
        if not data:
            return False
        descriptors = array.array("i")
        for _, _, content in beside:
            descriptors.frombytes(content[: len(content) - len(content) % _DESCRIPTOR])
        message: dict[str, Any] = json.loads(data)
        try:
            if "nodes" in message:
                self.first = message["first"]
                own = range(message["nodes"]) if message["own"] is None else [message["own"]]
                self.begin(message["nodes"], own, [socket.socket(fileno=descriptor) for descriptor in descriptors])
            else:
                self.links = {(a, b): _Link(shape) for a, b, shape in message["links"]}
                if not self.links:
                    self.release(float("inf"))
            answer = ""
        except OSError as error:
            answer = error.strerror or str(error)
        self.control.send(json.dumps({"error": answer}).encode())
        return True

    def begin(self, nodes: int, own: Sequence[int], sockets: list[socket.socket]) -> None:
        families = len(sockets) // len(own)
        for at, node in enumerate(own):
            netlink, *raw = sockets[families * at : families * (at + 1)]
            netlink.setsockopt(_SOL_NETLINK, _NO_BUFFER_ERRORS, 1)
            netlink.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            netlink.setblocking(True)
            for queue in range(nodes):
                if queue != node:
                    for body in (
                        _attribute(_CFG_COMMAND, struct.pack("!BBH", _BIND, 0, 0)),
                        _attribute(_CFG_PARAMETERS, struct.pack("!IB", 0xFFFF, _COPY_PACKET))
                        + _attribute(_CFG_MOST, struct.pack("!I", 1 << 16)),
                    ):
                        netlink.send(_message(_CONFIG, _REQUEST | _ACK, self.first + queue, body))
                        code = -struct.unpack_from("=i", netlink.recv(1 << 16), 16)[0]
                        if code:
                            raise OSError(code, f"the kernel's packet queue refuses ({code})")
            netlink.setblocking(False)
            self.netlink[node] = netlink
            self.raw[node] = raw[0], raw[1] if len(raw) > 1 else None
            self.poll.register(netlink, select.EPOLLIN)

    def read(self, node: int) -> None:
        now = time.monotonic()
        verdicts = bytearray()
        for _ in range(_READ):
            try:
                data = self.netlink[node].recv(1 << 17)
            except (BlockingIOError, InterruptedError):
                break
            verdicts += self.judge(node, now, data)
        if verdicts:
            self.netlink[node].send(verdicts)
        for queue, packet in self.twice:
            self.double(queue, node, packet)
        self.twice.clear()

    def judge(self, node: int, now: float, data: bytes) -> bytes:
        """What is said at once of a packet; nothing of one that is held."""
        kind, queue = struct.unpack_from("=H", data, 4)[0] & 0xFF, struct.unpack_from("!H", data, 18)[0]
        if kind != _PACKET:
            return b""
        number, packet, at = 0, b"", 20
        while at + 4 <= len(data):
            length, name = struct.unpack_from("=HH", data, at)
            if name & 0x7FFF == _HEADER:
                number = struct.unpack_from("!I", data, at + 4)[0]
            elif name & 0x7FFF == _PAYLOAD:
                packet = data[at + 4 : at + length]
            at += (length + 3) & ~3 or 4
        link = self.links.get((queue - self.first, node))
        if link is None:
            return _verdict(queue, number, _ACCEPT)
        if self.copies:
            content = _content(packet)
            if content in self.copies:
                self.copies[content] -= 1
                if not self.copies[content]:
                    del self.copies[content]
                return _verdict(queue, number, _ACCEPT)
        due = link.due(now, len(packet))
        if due is None:
            return _verdict(queue, number, _DROP)
        changed = _damaged(packet) if link.corrupt and random.random() < link.corrupt else None
        twice = bool(link.duplicate) and random.random() < link.duplicate
        if due <= now:
            if twice:
                self.twice.append((queue, changed or packet))
            return _verdict(queue, number, _ACCEPT, changed)
        heapq.heappush(self.held, (due, next(self.numbers), node, queue, number, changed or (packet if twice else None), twice))
        return b""

    def release(self, now: float) -> None:
        """Let everything go that is due."""
        verdicts: dict[int, bytearray] = {}
        while self.held and self.held[0][0] <= now:
            _, _, node, queue, number, packet, twice = heapq.heappop(self.held)
            verdicts.setdefault(node, bytearray()).extend(_verdict(queue, number, _ACCEPT, packet if not twice else None))
            if twice or len(verdicts[node]) > 1 << 15:
                self.netlink[node].send(verdicts.pop(node))
            if twice and packet is not None:
                self.double(queue, node, packet)
        for node, said in verdicts.items():
            self.netlink[node].send(said)

    def double(self, queue: int, node: int, packet: bytes) -> None:
        """Send a packet once more, from where it came, or, where that is another machine, from where it is to go."""
        ipv4, ipv6 = self.raw.get(queue - self.first, self.raw[node])
        content = _content(packet)
        self.copies[content] = self.copies.get(content, 0) + 1
        try:
            if packet[0] >> 4 == 4:
                ipv4.sendto(packet, (socket.inet_ntoa(packet[16:20]), 0))
            elif ipv6 is not None:
                ipv6.sendto(packet, (socket.inet_ntop(socket.AF_INET6, packet[24:40]), 0))
        except OSError:  # a full buffer: then it comes once
            del self.copies[content]


def _verdict(queue: int, number: int, said: int, packet: bytes | None = None) -> bytes:
    body = _attribute(_VERDICT_HEADER, struct.pack("!II", said, number))
    return _message(_VERDICT, _REQUEST, queue, body if packet is None else body + _attribute(_PAYLOAD, packet))


def _content(packet: bytes) -> bytes:
    """A packet without its IP header, in which the kernel may number it anew."""
    return packet[(packet[0] & 15) * 4 :] if packet[0] >> 4 == 4 else packet[40:]


def _damaged(packet: bytes) -> bytes:
    """A packet with one bit of its content turned round; checksums stay, as on a wire."""
    first = len(packet) - len(_content(packet))
    at = random.randrange(first, len(packet))
    return packet[:at] + bytes([packet[at] ^ (1 << random.randrange(8))]) + packet[at + 1 :]


if __name__ == "__main__":
    gc.disable()
    sys.setswitchinterval(1)
    _Shaper(socket.socket(fileno=0)).run()
