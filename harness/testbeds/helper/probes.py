"""The probes of a node: packets to every other one, and what came from them."""

from __future__ import annotations

import contextlib
import fcntl
import select
import socket
import struct
import termios
import time
from typing import Any

PORT = 9
TICK = 0.05
STANDING = 2

_NO_LINGER = struct.pack("ii", 1, 0)
_LOST = (ConnectionRefusedError, ConnectionResetError)
_ROOM = 1 << 20
_STAMP = struct.Struct("!8sHQ")


class Probes:
    """The probes of this node (see `prober.py` for what they are): packets to every other one, and what came from them."""

    def __init__(self, helper: Any) -> None:
        self.helper = helper
        for name in ("listen", "part", "stand", "aim", "probe", "hush", "collect", "tune", "train", "arrivals"):
            setattr(helper, f"do_{name}", getattr(self, name))
        self.own = ""
        self.peers: dict[str, Any] = {}
        self.port = 0
        self.datagrams: dict[int, socket.socket] = {}
        self.standing: dict[str, list[socket.socket]] = {}
        self.far: dict[int, Any] = {}
        self.waiting: Any = None
        self.nonce = b""
        self.due = 0.0
        self.ticks = 0
        self.sending = False
        self.fresh: set[str] = set()
        self.knocks: dict[int, Any] = {}
        self.heard: set[tuple[str, str]] = set()
        self.bytes: set[str] = set()
        self.collecting: Any = None
        self.hushing: Any = None
        self.judged: list[str] = []
        self.addresses: dict[str, Any] = {}
        self.tuned = b""
        self.late: list[Any] = []

    def register(self, one: socket.socket, events: int, call: Any) -> None:
        self.helper.readers[one.fileno()] = call
        self.helper.poll.register(one, events)

    def drop(self, one: socket.socket) -> None:
        if self.helper.readers.pop(one.fileno(), None) is not None:
            self.helper.poll.unregister(one)
        one.close()

    def listen(self, own: str, addresses: Any, port: int) -> Any:
        """Open the sockets. `addresses` are every node's, IPv4 and IPv6 (empty where it has none)."""
        self.own, self.port = own, port
        self.addresses = {name: tuple(pair) for name, pair in addresses.items()}
        self.peers = {name: pair for name, pair in self.addresses.items() if name != own}
        for family, address in zip((socket.AF_INET, socket.AF_INET6), self.addresses[own]):  # noqa: B905
            if address:
                made = socket.socket(family, socket.SOCK_DGRAM)
                made.setblocking(False)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _ROOM)
                made.bind((address, PORT))
                self.datagrams[family] = made
                self.register(made, select.POLLIN, lambda key, made=made, family=family: self.receive(made, family))
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self.addresses[own][0], PORT))
        listener.listen(1024)
        listener.setblocking(False)
        self.register(listener, select.POLLIN, lambda key: self.accept(listener))
        return {}

    # --- standing connections

    def usable(self, peer: str) -> list[socket.socket]:
        found = []
        for one in self.standing.get(peer, ()):
            with contextlib.suppress(OSError):
                established = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == b"\1"
                if established and fcntl.ioctl(one, termios.TIOCOUTQ, b"\0\0\0\0") == b"\0\0\0\0":
                    found.append(one)
        return found

    def stand(self, id: int, peers: Any, timeout: float) -> Any:
        """Give the links to these peers connections that are idle; answered when they stand, or time is up."""
        opening: dict[int, Any] = {}
        for peer in peers:
            kept = self.usable(peer)
            for one in self.standing.get(peer, ()):
                if one not in kept:
                    with contextlib.suppress(OSError):
                        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
                    one.close()
            self.standing[peer] = kept
            for _ in range(STANDING - len(kept)):
                made = socket.socket()
                made.setblocking(False)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.bind((self.addresses[self.own][0], 0))
                made.connect_ex((self.peers[peer][0], PORT))
                opening[made.fileno()] = (peer, made)
                self.register(made, select.POLLOUT, self.stood)
        self.waiting = [id, opening, time.monotonic() + timeout]
        self.settle()

    def part(self, peer: str) -> Any:
        """The connections with that node have ended: its network is another one."""
        for one in self.standing.pop(peer, ()):
            one.close()
        for key in [key for key, (_, name, _) in self.far.items() if name == peer]:
            self.drop(self.far.pop(key)[0])
        return {}

    def stood(self, key: int) -> None:
        peer, one = self.waiting[1].pop(key)
        self.helper.readers.pop(key, None)
        self.helper.poll.unregister(one)
        if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
            one.send(self.own.encode() + b"\n")
            self.standing[peer].append(one)
        else:
            one.close()
        self.settle()

    def settle(self) -> None:
        if self.waiting is None:
            return
        id, opening, end = self.waiting
        if opening and time.monotonic() < end:
            return
        for _, one in opening.values():
            self.drop(one)
        self.waiting = None
        self.helper.say(id=id, missing=sorted({peer for peer, _ in opening.values()}))

    def accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError):
            far, _ = listener.accept()
            far.setblocking(False)
            self.far[far.fileno()] = [far, "", b""]
            self.register(far, select.POLLIN, self.arrived)

    def arrived(self, key: int) -> None:
        entry = self.far[key]
        far, peer, rest = entry
        try:
            data = far.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            del self.far[key]
            self.drop(far)
            return
        if not peer:
            rest += data
            if b"\n" not in rest:
                entry[2] = rest
                return
            name, _, data = rest.partition(b"\n")
            entry[1], entry[2] = name.decode(errors="replace"), b""
        if self.nonce and self.nonce in data and entry[1] not in self.bytes:
            self.bytes.add(entry[1])
            self.helper.say(event="bytes", peer=entry[1])

    # --- a probe

    def aim(self, nonce: str) -> Any:
        """Listen for packets with this nonce; `heard`, `fresh` and `bytes` are told as they come. A link's standing connection
        is judged only where nothing on it is unacknowledged."""
        self.nonce = bytes.fromhex(nonce)
        self.heard, self.bytes, self.fresh = set(), set(), set()
        for one, _ in list(self.knocks.values()):
            self.drop(one)
        self.knocks.clear()
        self.sending, self.ticks = False, 0
        self.judged = [peer for peer in self.peers if self.usable(peer)]
        return {"standing": self.judged}

    def probe(self) -> Any:
        """Begin to send to every peer: all of them listen."""
        self.sending, self.due = True, time.monotonic()
        return {}

    def tick(self) -> None:
        self.settle()
        if not self.sending or time.monotonic() < self.due:
            return
        self.due = time.monotonic() + TICK
        if self.ticks == 0:
            for peer in self.judged:
                with contextlib.suppress(OSError, IndexError):
                    self.usable(peer)[0].send(self.nonce)
        if self.ticks % 2 == 0:
            for peer in set(self.peers) - self.fresh:
                self.knock(peer)
        self.ticks += 1
        for peer, pair in self.peers.items():
            self.send(peer, pair)
        self.quieten()

    def send(self, name: str, pair: Any, what: bytes = b"") -> None:
        for family, address in zip((socket.AF_INET, socket.AF_INET6), pair):  # noqa: B905
            if address and family in self.datagrams:
                with contextlib.suppress(OSError):
                    self.datagrams[family].sendto(self.nonce + (what or self.own.encode()), (address, PORT))

    def receive(self, made: socket.socket, family: int) -> None:
        while True:
            try:
                data = made.recv(4096)
            except OSError:
                return
            if data[:8] == self.tuned:
                _, number, sent = _STAMP.unpack_from(data)
                sender = data[_STAMP.size:].rstrip(b"\0").decode(errors="replace")
                self.late.append((sender, number, sent, time.monotonic_ns(), len(data)))
            if data[:8] != self.nonce:
                continue
            sender = data[8:].decode(errors="replace")
            if sender == "\0":
                self.collecting[1].discard(family)
                if not self.collecting[1]:
                    self.collected()
            elif (str(family), sender) not in self.heard:
                self.heard.add((str(family), sender))
                self.helper.say(event="heard", family=int(family), peer=sender)

    def knock(self, peer: str) -> None:
        made = socket.socket()
        made.setblocking(False)
        made.connect_ex((self.peers[peer][0], self.port))
        self.knocks[made.fileno()] = (made, peer)
        self.register(made, select.POLLOUT, self.knocked)

    def knocked(self, key: int) -> None:
        one, peer = self.knocks.pop(key)
        problem = one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        self.drop(one)
        if problem == 0 or isinstance(OSError(problem, ""), _LOST):  # somebody said no: the packets pass
            self.fresh.add(peer)
            self.helper.say(event="fresh", peer=peer)

    def hush(self, id: int, enough: int) -> None:
        """Send no more once everything was sent so often; answered then."""
        self.hushing = (id, enough)
        self.quieten()

    def quieten(self) -> None:
        if self.hushing is not None and self.ticks >= self.hushing[1]:
            self.sending = False
            self.helper.say(id=self.hushing[0], ticks=self.ticks)
            self.hushing = None

    def collect(self, id: int) -> Any:
        """Answered once a packet of this node to itself has arrived, behind everything that had."""
        self.collecting = (id, set(self.datagrams))
        self.send(self.own, self.addresses[self.own], b"\0")

    def collected(self) -> None:
        for key in list(self.far):
            self.arrived(key)
        for one, _ in list(self.knocks.values()):
            self.drop(one)
        self.knocks.clear()
        self.helper.say(id=self.collecting[0])
        self.collecting = None

    # --- trains of datagrams, whose times are told

    def tune(self, nonce: str) -> Any:
        """Listen for trains with this nonce."""
        self.tuned, self.late = bytes.fromhex(nonce), []
        return {}

    def train(self, peers: Any, number: int, count: int, gap: float, size: int) -> Any:
        """Send so many datagrams of at least so many bytes to each of these nodes, this one among them maybe, a gap apart, and
        numbered from `number` on, or all by the same where there is no gap."""
        began = time.monotonic()
        for sent in range(count):
            for peer in peers:
                stamped = _STAMP.pack(self.tuned, number + sent if gap else number, time.monotonic_ns()) + self.own.encode()
                with contextlib.suppress(OSError):
                    self.datagrams[socket.AF_INET].sendto(stamped.ljust(size, b"\0"), (self.addresses[peer][0], PORT))
            time.sleep(max(0.0, began + (sent + 1) * gap - time.monotonic()))
        return {}

    def arrivals(self) -> Any:
        """Of each datagram that came: its sender, its number, when it was sent and when it came, and its bytes."""
        self.receive(self.datagrams[socket.AF_INET], socket.AF_INET)
        return {"late": self.late}
