"""Probes: packets over every link, sent and received inside the nodes. Never a look at a rule list.

Three kinds, because each sees what the others cannot:

* datagrams, IPv4 and IPv6, one way: the truth of a directed link. Several, spaced, so that one lost one is not a cut.
* fresh TCP connections to the database's port. A refusal is an answer: packets pass. They need both directions.
* bytes on standing TCP connections that were opened before the fault: a firewall that lets established connections pass
  is found. One connection for each directed link, so on a one-way link the bytes arrive although no acknowledgement comes
  back; but that connection is then in retransmission, and its silence proves nothing. So a connection is judged only
  while nothing is unacknowledged on it, and each link has two: one for the probe that proves the fault, one for the
  probe that proves that it still holds. After heal they are replaced, as the kernel may take many seconds to send again.

A link counts as lost only once a datagram from the harness, whose links are never cut, has arrived at the receiver after
the last probe was sent: a slow machine is not a cut network.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import secrets
import socket
import struct
import termios
import time
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterator, Mapping, Sequence
from statistics import median
from typing import Any, ClassVar

import msgspec

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.testbeds.spawner import SocketAt
from splitbrain.harness.testbeds.testbed import Ability, Applied, Connectivity, Reach, Train, Unwritten
from splitbrain.harness.testbeds.trains import GAP, IN_BURST, LARGE, Arrivals, at_once, length

PORT = 9
"""Where probes listen on every node: the port of the discard protocol (RFC 863), which no database uses."""
SETTLE = 0.2
"""How long, in seconds, a probe waits for packets that should not come."""

_TIMED = 0xFFFF

_TICK = 0.05
_FRESH_EVERY = 2  # ticks
_DEAF = 40  # ticks
_STANDING = 2
_HARNESS = "harness"
_NO_LINGER = struct.pack("ii", 1, 0)
_ESTABLISHED = b"\1"  # the first byte of struct tcp_info
_MADE = ("01", "08")  # in the kernel's table of connections: established, and given up by the other end
_HALF_OPEN = "03"


class Site(msgspec.Struct, frozen=True):
    """Where probes are sent from: its addresses (`address6` may be empty), and what makes non-blocking sockets there."""

    address: str
    address6: str
    sockets: Callable[[Sequence[SocketAt]], Awaitable[list[socket.socket]]]


class _Standing:
    """A connection over one link, from its first node to its second. Both ends are ours."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far

    @property
    def idle(self) -> bool:
        """Whether it stands and everything that was sent has been acknowledged."""
        established = self.near.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1) == _ESTABLISHED
        return established and fcntl.ioctl(self.near, termios.TIOCOUTQ, b"\0\0\0\0") == b"\0\0\0\0"


class Probed:
    """What every testbed has that sends probes between its nodes: the prober, once `listen` has opened it."""

    attached: ClassVar[bool] = False
    abilities: ClassVar[frozenset[Ability]]

    _prober: Prober | None = None

    def can(self) -> frozenset[Ability]:
        """All that the testbed can."""
        return self.abilities

    @classmethod
    def lacks(cls, ability: Ability) -> str:
        """Nothing, unless a testbed knows better."""
        return ""

    async def probe(self, intended: Connectivity, *, timeout: float, late: float = 0.0) -> Reach:
        """See `Prober.probe`."""
        if self._prober is None:
            raise RuntimeError("probe() comes after listen()")
        return await self._prober.probe(intended, timeout=timeout, late=late)

    async def impair(self, links: Mapping[Link, Impair]) -> Applied:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot impair links.")

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot put clocks wrong.")

    async def ahead(self, name: str) -> tuple[int, int] | None:
        """None: unless a testbed knows better, clocks that are put wrong are those of servers alone."""
        return None

    async def bound(self, count: int) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot give a data folder a disk of its own.")

    async def fill(self, name: str, *, full: bool) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot fill a disk.")

    async def unpluggable(self, count: int) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot give a data folder a disk whose power can be taken.")

    async def lose_power(self, name: str, how: str, seed: int) -> Unwritten:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot take the power from a disk.")

    async def slow(self, name: str, seconds: float) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot make a disk slow.")

    async def wipe(self, name: str, keep: Collection[str]) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot wipe the data of its nodes.")

    async def full(self, name: str) -> bool:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot fill a disk.")

    async def last_written(self, name: str, given: Collection[str]) -> str:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot damage a file.")

    async def read(self, name: str, file: str) -> bytes | None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot damage a file.")

    async def rewrite(self, name: str, file: str, content: bytes) -> None:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot damage a file.")

    async def timed_sync(self, name: str) -> float:
        """Nothing, unless a testbed has the ability."""
        raise SetupError("this testbed cannot make a disk slow.")

    async def measure(self, links: Sequence[Link], *, late: float, rate: float = 0.0) -> Mapping[Link, Train]:
        """See `Prober.measure`."""
        if self._prober is None:
            raise RuntimeError("measure() comes after listen()")
        return await self._prober.measure(links, late=late, rate=rate)

    async def serving(self, *, timeout: float) -> dict[str, bool]:
        """See `Prober.serving`."""
        if self._prober is None:
            raise RuntimeError("serving() comes after listen()")
        return await self._prober.serving(timeout=timeout)

    async def _open_prober(self, prober: Prober) -> None:
        self._prober = prober
        await prober.open()

    def _close_prober(self) -> None:
        if self._prober is not None:
            self._prober.close()
            self._prober = None


class Prober:
    """Sends probes between `nodes`; `harness` is a site whose packets reach every node always. `connections` tells for each
    node the kernel's tables of its TCP connections."""

    def __init__(
        self, nodes: Mapping[str, Site], harness: Site, port: int, connections: Mapping[str, Callable[[], Awaitable[str]]]
    ) -> None:
        self._nodes = dict(nodes)
        self._harness = harness
        self._port = port
        self._connections = dict(connections)
        self._loop = asyncio.get_running_loop()
        self._datagrams: dict[tuple[str, int], socket.socket] = {}
        self._listeners: dict[str, socket.socket] = {}
        self._standing: dict[Link, list[_Standing]] = {}
        self._nonce = b""
        self._heard: set[tuple[int, str, str]] = set()
        self._bytes: set[Link] = set()
        self._controls: dict[str, int] = {}
        self._news = asyncio.Event()
        self._trains: dict[Link, Arrivals] = {}

    async def open(self) -> None:
        """Open the sockets, and the standing connections over every link; all links must be up. Raises `SetupError`."""
        for name, site in (*self._nodes.items(), (_HARNESS, self._harness)):
            for family, address in _families(site):
                # Nothing is sent to the harness, and it may be an ordinary user on a network of others.
                port = PORT if name != _HARNESS else 0
                (made,) = await site.sockets([SocketAt(family, socket.SOCK_DGRAM, address, port)])
                self._datagrams[name, family] = made
                self._loop.add_reader(made, self._datagram, made, family, name)
        for name, site in self._nodes.items():
            (listener,) = await site.sockets([SocketAt(socket.AF_INET, socket.SOCK_STREAM, site.address, PORT, listen=True)])
            self._listeners[name] = listener
        links = [(a, b) for a in self._nodes for b in self._nodes if a != b]
        if not await self._stand(links, timeout=5.0):
            raise SetupError("the nodes cannot reach each other, though nothing is cut: see `splitbrain doctor`.")

    async def probe(self, intended: Connectivity, *, timeout: float, late: float = 0.0) -> Reach:
        """Probe every link. What is intended says only how long to wait: for packets that should pass up to `timeout`
        seconds, for those that should not `SETTLE`; and where packets come `late`, longer. Raises `SetupError` where a node no
        longer hears the harness."""
        links = [(a, b) for a in self._nodes for b in self._nodes if a != b]
        up = {link for link in links if intended.has_edge(*link)}
        round_trip = {(a, b) for a, b in links if (a, b) in up and (b, a) in up}
        worn = [link for link in round_trip if len(self._usable(link)) < _STANDING]
        if worn:
            await self._stand(worn, timeout=timeout + 2 * late)
        standing = self._begin(links)
        fresh: set[Link] = set()
        attempts: set[asyncio.Task[None]] = set()
        families = [family for family, _ in _families(self._harness)]
        # Time is counted in ticks that really came: if this process was held up, the probe takes longer.
        settled = round((SETTLE + late) / _TICK)
        patience = max(round((timeout + 4 * late) / _TICK), settled)  # a connection takes two round trips, with its bytes
        began = time.monotonic()
        ticks = 0
        try:
            while True:
                missing = (
                    {link for link in up for family in families if (family, *link) not in self._heard}
                    | (round_trip - fresh)
                    | {link for link in up if link in standing and link not in self._bytes}
                )
                if not missing and len(up) == len(links):
                    break
                due = time.monotonic() >= began + ticks * _TICK
                if due and ticks >= (patience if missing else settled):
                    if self._controlled(settled):
                        break
                    if ticks >= patience + _DEAF:
                        deaf = sorted(name for name in self._nodes if self._controls.get(name, 0) < settled)
                        raise SetupError(f"{', '.join(deaf)}: packets of the harness itself do not arrive there.")
                if due:
                    if ticks % _FRESH_EVERY == 0:
                        attempts |= await self._knock([link for link in links if link not in fresh], fresh)
                    ticks += 1
                    self._send(ticks, [(family, a, b) for family in families for a, b in links])
                self._news.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK / 2):
                        await self._news.wait()
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
        self._drain()
        untaken = await self._untaken(sorted({b for _, b in round_trip - fresh}))
        return Reach(
            datagrams={link: (socket.AF_INET, *link) in self._heard for link in links},
            datagrams6={link: (socket.AF_INET6, *link) in self._heard for link in links} if len(families) > 1 else {},
            fresh={link: link in fresh for link in links if link in fresh or link[1] not in untaken},
            standing={link: link in self._bytes for link in standing},
        )

    def _begin(self, links: Sequence[Link]) -> dict[Link, _Standing]:
        """Forget what was heard, and send a new nonce over a standing connection of each link; those that have one."""
        self._nonce = secrets.token_bytes(8)
        self._heard.clear()
        self._bytes.clear()
        self._controls.clear()
        standing = {link: usable[0] for link in links if (usable := self._usable(link))}
        for connection in standing.values():
            with contextlib.suppress(OSError):  # a connection that the peer reset: its bytes do not arrive
                connection.near.send(self._nonce)
        return standing

    async def measure(self, links: Sequence[Link], *, late: float, rate: float = 0.0) -> dict[Link, Train]:
        """Send datagrams over these links, spaced, and see what becomes of them; with a rate, then as many large ones at once
        as take a third of a second at that. `late` seconds are waited for the last."""
        self._nonce = secrets.token_bytes(8)
        controls = [(_HARNESS, name) for name in sorted({b for _, b in links})]
        self._trains = {link: Arrivals() for link in (*links, *controls)}
        count = length(links)
        began = time.monotonic()
        for number in range(count):
            for a, b in (*links, *controls):
                self._send_timed(a, b, number)
            await asyncio.sleep(max(0.0, began + (number + 1) * GAP - time.monotonic()))
        await self._waited(late + SETTLE)
        burst = at_once(rate)
        if burst > 1:
            for a, b in links:
                for _ in range(burst):
                    self._send_timed(a, b, IN_BURST, LARGE)
            await self._waited(late + SETTLE + 1)
        found, self._trains = self._trains, {}
        busy = {name: median(found[_HARNESS, name].late.values() or (0.0,)) for _, name in controls}
        return {link: found[link].train(count, busy[link[1]]) for link in links}

    async def _waited(self, seconds: float) -> None:
        """Wait, in steps that really came: if this process was held up, what it did not hear meanwhile it hears first."""
        for _ in range(round(seconds / _TICK)):
            await asyncio.sleep(_TICK)
        self._drain()

    def _send_timed(self, a: str, b: str, number: int, size: int = 0) -> None:
        stamped = self._nonce + struct.pack("!HHQ", _TIMED, number, time.monotonic_ns()) + a.encode().ljust(size, b"\0")
        with contextlib.suppress(BlockingIOError):
            self._datagrams[a, socket.AF_INET].sendto(stamped, (self._nodes[b].address, PORT))

    async def serving(self, *, timeout: float) -> dict[str, bool]:
        """Node → whether its server takes a connection of the harness within `timeout` seconds. A connection that was made is
        the kernel's doing; that the server took it is seen in the node's table of connections."""
        made = await self._harness.sockets([SocketAt(socket.AF_INET, socket.SOCK_STREAM)] * len(self._nodes))
        answers = await asyncio.gather(
            *(self._serves(name, one, timeout) for name, one in zip(self._nodes, made, strict=True))
        )
        return dict(zip(self._nodes, answers, strict=True))

    def close(self) -> None:
        """Close every socket. Idempotent."""
        for made in self._datagrams.values():
            self._loop.remove_reader(made)
            made.close()
        for listener in self._listeners.values():
            listener.close()
        for link in list(self._standing):
            for connection in self._standing.pop(link):
                self._abandon(connection)
        self._datagrams.clear()
        self._listeners.clear()

    # --- datagrams

    def _send(self, tick: int, wanted: Sequence[tuple[int, str, str]]) -> None:
        for family, a, b in wanted:
            if (family, a, b) not in self._heard:
                self._send_one(family, a, b, 0)
        for name in self._nodes:
            self._send_one(socket.AF_INET, _HARNESS, name, tick)

    def _send_one(self, family: int, a: str, b: str, tick: int) -> None:
        site = self._nodes[b]
        address = site.address if family == socket.AF_INET else site.address6
        try:
            self._datagrams[a, family].sendto(self._nonce + struct.pack("!H", tick) + a.encode(), (address, PORT))
        except OSError as error:
            raise SetupError(f"{a} cannot send packets to {b} at all: {error}") from error

    def _datagram(self, receiver: socket.socket, family: int, name: str) -> None:
        for data in _packets(receiver):
            if data[:8] != self._nonce:
                continue
            if struct.unpack_from("!H", data, 8)[0] == _TIMED:
                number, sent = struct.unpack_from("!HQ", data, 10)
                if arrivals := self._trains.get((data[20:].rstrip(b"\0").decode(), name)):
                    now = time.monotonic_ns()
                    arrivals.add(number, (now - sent) / 1e6, len(data), now / 1e9)
                continue
            sender = data[10:].decode()
            if sender == _HARNESS:
                self._controls[name] = max(self._controls.get(name, 0), struct.unpack("!H", data[8:10])[0])
            else:
                self._heard.add((family, sender, name))
            self._news.set()

    def _controlled(self, tick: int) -> bool:
        return tick > 0 and all(self._controls.get(name, 0) >= tick for name in self._nodes)

    def _drain(self) -> None:
        for (name, family), receiver in self._datagrams.items():
            self._datagram(receiver, family, name)
        for link, connections in self._standing.items():
            for connection in connections:
                self._arrived(link, connection)

    # --- fresh connections

    async def _knock(self, links: Sequence[Link], answered: set[Link]) -> set[asyncio.Task[None]]:
        attempts = set()
        for name, site in self._nodes.items():
            targets = [b for a, b in links if a == name]
            made = await site.sockets([SocketAt(socket.AF_INET, socket.SOCK_STREAM)] * len(targets))
            for target, one in zip(targets, made, strict=True):
                attempts.add(asyncio.create_task(self._connect(one, (name, target), answered)))
        return attempts

    async def _connect(self, one: socket.socket, link: Link, answered: set[Link]) -> None:
        with one:
            try:
                await self._loop.sock_connect(one, (self._nodes[link[1]].address, self._port))
            except (ConnectionRefusedError, ConnectionResetError):
                pass  # somebody said no: the packets pass
            except OSError:
                return
            answered.add(link)
            self._news.set()

    # --- connections that the kernel has made and no server has taken

    async def _serves(self, name: str, one: socket.socket, timeout: float) -> bool:
        async def taken() -> None:
            await self._loop.sock_connect(one, (self._nodes[name].address, self._port))
            while one.getsockname() in await self._waiting(name, *_MADE, _HALF_OPEN):
                await asyncio.sleep(_TICK)

        with one:
            try:
                await _within(timeout, taken())
            except OSError:  # refused, or (TimeoutError) waiting for ever
                return False
            return True

    async def _untaken(self, names: Sequence[str]) -> set[str]:
        """Those of the nodes whose servers take no connections, whoever asks."""
        stuck = await asyncio.gather(*(self._nobody_accepts(name) for name in names))
        return {name for name, is_stuck in zip(names, stuck, strict=True) if is_stuck}

    async def _nobody_accepts(self, name: str) -> bool:
        """Whether a connection to the node's server has waited for longer than a live one lets it."""
        before = await self._waiting(name, *_MADE)
        if before:
            await asyncio.sleep(SETTLE)
            before &= await self._waiting(name, *_MADE)
        return bool(before)

    async def _waiting(self, name: str, *states: str) -> set[tuple[str, int]]:
        """Whose connection (address, port) in one of these states the node's server has not taken: it belongs to no process,
        so that it has no inode."""
        found = set()
        for line in (await self._connections[name]()).splitlines():
            _, own, other, state, *_, inode = line.split()[:10]
            if state in states and inode == "0" and int(own.rpartition(":")[2], 16) == self._port:
                address, _, port = other.rpartition(":")  # an IPv4 address is the end of an IPv6 one
                found.add((socket.inet_ntoa(struct.pack("=I", int(address[-8:], 16))), int(port, 16)))
        return found

    # --- standing connections

    def _usable(self, link: Link) -> list[_Standing]:
        return [connection for connection in self._standing.get(link, ()) if connection.idle]

    def _keep_usable(self, link: Link) -> int:
        """Abandon the connections of a link that are not idle; how many are left."""
        kept = self._usable(link)
        for connection in self._standing.get(link, ()):
            if connection not in kept:
                self._abandon(connection)
        self._standing[link] = kept
        return len(kept)

    async def _stand(self, links: Sequence[Link], *, timeout: float) -> bool:
        """Give these links two connections that are idle; whether that succeeded."""
        opening = [link for link in links for _ in range(_STANDING - self._keep_usable(link))]
        if not opening:
            return True
        near: dict[tuple[str, int], tuple[Link, socket.socket]] = {}
        waiting = len(opening)
        done = asyncio.Event()

        def accept(name: str) -> None:
            nonlocal waiting
            with contextlib.suppress(BlockingIOError):
                far, peer = self._listeners[name].accept()
                far.setblocking(False)
                link, one = near.pop(peer, (None, None))
                if link is None or one is None:
                    far.close()
                    return
                connection = _Standing(one, far)
                self._standing[link].append(connection)
                self._loop.add_reader(far, self._arrived, link, connection)
                waiting -= 1
                if waiting == 0:
                    done.set()

        async def connect(link: Link, one: socket.socket) -> None:
            await self._loop.sock_connect(one, (self._nodes[link[1]].address, PORT))

        async def stand() -> None:
            for name, site in self._nodes.items():
                mine = [link for link in opening if link[0] == name]
                wanted = [SocketAt(socket.AF_INET, socket.SOCK_STREAM, site.address)] * len(mine)
                for link, one in zip(mine, await site.sockets(wanted), strict=True):
                    one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    near[one.getsockname()] = (link, one)
                    attempts.append(asyncio.create_task(connect(link, one)))
            await done.wait()
            await asyncio.gather(*attempts)

        for name, listener in self._listeners.items():
            self._loop.add_reader(listener, accept, name)
        attempts: list[asyncio.Task[None]] = []
        try:
            await _within(timeout, stand())
        except (TimeoutError, OSError):
            return False
        finally:
            for attempt in attempts:
                attempt.cancel()
            await asyncio.gather(*attempts, return_exceptions=True)
            for listener in self._listeners.values():
                self._loop.remove_reader(listener)
            for _, one in near.values():
                one.close()
        return True

    def _arrived(self, link: Link, connection: _Standing) -> None:
        for data in _packets(connection.far):
            if not data:  # its end: reading on would never block again
                self._loop.remove_reader(connection.far)
            elif self._nonce and self._nonce in data:
                self._bytes.add(link)
                self._news.set()

    def _abandon(self, connection: _Standing) -> None:
        self._loop.remove_reader(connection.far)
        for end in (connection.near, connection.far):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
            end.close()


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> None:
    """Do this, in so many seconds of ticks that really came: what this process was held up counts nothing. Raises what it
    raises, and `TimeoutError`."""
    task = asyncio.ensure_future(work)
    try:
        for _ in range(max(1, round(seconds / _TICK))):
            done, _ = await asyncio.wait([task], timeout=_TICK)
            if done:
                return task.result()
        raise TimeoutError
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _families(site: Site) -> list[tuple[int, str]]:
    ipv6 = [(int(socket.AF_INET6), site.address6)] if site.address6 else []
    return [(int(socket.AF_INET), site.address), *ipv6]


def _packets(receiver: socket.socket) -> Iterator[bytes]:
    """What has arrived, until there is no more; empty bytes last where the connection has ended."""
    while True:
        try:
            data = receiver.recv(4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        yield data
        if not data:
            return
