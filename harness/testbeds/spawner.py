"""The first process of a namespace: it starts what it is asked to, reaps, and reports ends. And the channel to it.

All forking is done here, by processes with one thread and nothing else to do, so that the harness may have an event loop
and threads. Messages are JSON on a `SOCK_SEQPACKET` pair, one message a packet, with file descriptors beside them: what a
process prints never passes through here, it goes to the descriptors that came with the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import select
import signal
import socket
import time
from collections.abc import Collection, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import NoReturn

import msgspec

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import clocks, families, folders, kernel, memory_disk

_PACKET = 1 << 18
_MOST_DESCRIPTORS = 250


class SocketAt(msgspec.Struct, frozen=True):
    """A socket to be made in a network namespace; bound where `address` is given, listening where `listen` is set."""

    family: int
    kind: int
    address: str = ""
    port: int = 0
    listen: bool = False
    protocol: int = 0


class _Spawn(msgspec.Struct, frozen=True, tag=True):
    """Start `argv` in a session of its own. With it: descriptors for standard input, output and error."""

    id: int
    argv: tuple[str, ...]
    env: dict[str, str]
    cwd: str


class _Open(msgspec.Struct, frozen=True, tag=True):
    """Make sockets; the reply carries them."""

    id: int
    sockets: tuple[SocketAt, ...]


class _Signal(msgspec.Struct, frozen=True, tag=True):
    """Send a signal to the process group of a process that was spawned, if it still lives."""

    id: int
    pid: int
    signal: int


class _Kill(msgspec.Struct, frozen=True, tag=True):
    """Kill a spawned process and everything that came of it: its session, its descendants, and what inherited `service`
    in its environment (a daemon has left the first two)."""

    id: int
    pid: int
    service: str


class _Pause(msgspec.Struct, frozen=True, tag=True):
    """Stop a spawned process and everything that came of it, as for `_Kill`, where they stand."""

    id: int
    pid: int
    service: str


class _Resume(msgspec.Struct, frozen=True, tag=True):
    """Have them go on."""

    id: int
    pid: int
    service: str


class _LetRun(msgspec.Struct, frozen=True, tag=True):
    """Have them go on for a moment, as `families.let_run` does it; the reply says how many seconds of the processor they have
    used since they began."""

    id: int
    pid: int
    service: str
    seconds: float
    most: float


class _Skew(msgspec.Struct, frozen=True, tag=True):
    """Put their wall clocks wrong by so many nanoseconds, or right again (0). Without a service: of all in the pid namespace of
    `pid`, a container's."""

    id: int
    pid: int
    service: str
    nanoseconds: int
    paused: bool


class _Fork(msgspec.Struct, frozen=True, tag=True):
    """Make a node: namespaces of its own with an init that serves the socket that comes with this."""

    id: int
    name: str
    hosts: str
    sysctl: dict[str, str]


class _Enter(msgspec.Struct, frozen=True, tag=True):
    """Make a process in a namespace that is there already, and have it serve. With it: the socket that it serves, and a
    descriptor of a network namespace; or none, and it sees the files of the process `pid`."""

    id: int
    pid: int = 0


class _LastWritten(msgspec.Struct, frozen=True, tag=True):
    """Tell the file below `folder` that was written last and is none of `given`."""

    id: int
    folder: str
    given: tuple[str, ...]


class _File(msgspec.Struct, frozen=True, tag=True):
    """Open a file to be read and written; the reply carries it, or nothing where there is none."""

    id: int
    path: str


class _Fill(msgspec.Struct, frozen=True, tag=True):
    """Leave no room on the disk in memory at a folder, or give it room again; with `full` None, say whether it has none."""

    id: int
    folder: str
    full: bool | None


class _Done(msgspec.Struct, frozen=True, tag=True):
    """The reply to a request: `pid` of what was spawned, what was `said`, or why it failed."""

    id: int
    pid: int = 0
    said: str = ""
    error: str = ""


class _Ready(msgspec.Struct, frozen=True, tag=True):
    """The first message of whoever serves: its pid as the harness sees it (0 where it cannot tell), or why there is none."""

    pid: int = 0
    error: str = ""


class Ended(msgspec.Struct, frozen=True, tag=True):
    """A spawned process ended: its exit code (negative: the signal) and when (monotonic clock, nanoseconds)."""

    pid: int
    code: int
    at: int


_Request = _Spawn | _Open | _Signal | _Kill | _Pause | _Resume | _LetRun | _Skew | _Fork | _Enter | _LastWritten | _File | _Fill
_Reply = _Done | _Ready | Ended
_requests = msgspec.json.Decoder(_Request)
_replies = msgspec.json.Decoder(_Reply)
_encode = msgspec.json.Encoder().encode


# --- in the process that serves a namespace


def serve(channel: socket.socket, *, child: int | None = None, control: int | None = None) -> int:
    """Do what the channel asks until its other end is closed, or until `child` ends: then return its wait status.

    Signal numbers that come in over `control` are sent to `child`; its end means that the outer process died.
    """
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    os.set_blocking(wake_read, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    poll.register(wake_read, select.POLLIN)
    if control is not None:
        poll.register(control, select.POLLIN)
    spawned: set[int] = set()
    while True:
        # Before the first wait too: a child may have ended before SIGCHLD was listened to.
        for pid, status in _reap():
            if pid == child:
                return status
            if pid in spawned:
                spawned.discard(pid)
                _send(channel, Ended(pid, os.waitstatus_to_exitcode(status), time.monotonic_ns()))
        for ready, _ in poll.poll():
            if ready == wake_read:
                os.read(wake_read, 4096)
            elif ready == control and child is not None:
                numbers = os.read(control, 64)
                if not numbers:
                    return signal.SIGKILL
                for number in numbers:
                    os.kill(child, number)
            elif ready == channel.fileno():
                try:
                    data, descriptors, _, _ = socket.recv_fds(channel, _PACKET, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
                except ConnectionResetError:  # closed before it had read of an end: closed all the same
                    data, descriptors = b"", []
                if not data:
                    if child is None:
                        return 0
                    poll.unregister(channel)
                    continue
                _answer(channel, _requests.decode(data), descriptors, spawned)


def _answer(channel: socket.socket, request: _Request, descriptors: list[int], spawned: set[int]) -> None:
    pid, said = 0, ""
    made: list[socket.socket | FileIO] = []
    try:
        if isinstance(request, _Spawn):
            pid = _spawn(request, descriptors)
            spawned.add(pid)
        elif isinstance(request, _Open):
            made.extend(_socket(at) for at in request.sockets)
        elif isinstance(request, _Signal):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(request.pid, request.signal)
        elif isinstance(request, _Kill):
            families.kill(request.pid, request.service)
        elif isinstance(request, _Pause):
            families.pause(request.pid, request.service)
        elif isinstance(request, _Resume):
            families.resume(request.pid, request.service)
        elif isinstance(request, _LetRun):
            said = str(families.let_run(request.pid, request.service, request.seconds, request.most))
        elif isinstance(request, _Skew):
            clocks.skew_family(request.pid, request.service, request.nanoseconds, paused=request.paused)
        elif isinstance(request, _Fork):
            _fork(request, descriptors[0])
        elif isinstance(request, _LastWritten):
            said = folders.last_written(Path(request.folder), request.given)
        elif isinstance(request, _File):
            with contextlib.suppress(FileNotFoundError):
                made.append(folders.opened(Path(request.path)))
        elif isinstance(request, _Fill):
            if request.full is None:
                said = "full" if folders.is_full(Path(request.folder)) else ""
            else:
                memory_disk.fill(Path(request.folder), full=request.full)
        else:
            _enter(request.pid, *descriptors)
    except OSError as error:
        reply = _Done(request.id, error=kernel.reason(error))
    else:
        reply = _Done(request.id, pid, said)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)
    _send(channel, reply, [one.fileno() for one in made] if not reply.error else [])
    for one in made:
        one.close()


def _send(channel: socket.socket, message: _Reply, descriptors: Sequence[int] = ()) -> None:
    # The harness is gone: whoever kills the namespace next ends this process too.
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        socket.send_fds(channel, [_encode(message)], descriptors)


def _spawn(request: _Spawn, descriptors: Sequence[int]) -> int:
    os.chdir(request.cwd)
    return os.posix_spawn(
        request.argv[0],
        request.argv,
        request.env,
        file_actions=[(os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(descriptors)],
        setsid=True,
        setsigmask=(),
        setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),
    )


def _socket(at: SocketAt) -> socket.socket:
    made = socket.socket(at.family, at.kind, at.protocol)
    try:
        if at.address:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((at.address, at.port))
        if at.listen:
            made.listen(1024)
    except OSError as error:
        made.close()
        raise OSError(error.errno, f"{at.address} port {at.port}: {error.strerror}") from error
    return made


def _reap() -> list[tuple[int, int]]:
    ended = []
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            ended.append((pid, status))
    return ended


def _fork(request: _Fork, descriptor: int) -> None:
    if os.fork() == 0:
        try:
            _node(request, socket.socket(fileno=os.dup(descriptor)))
        finally:
            os._exit(70)


def _node(request: _Fork, channel: socket.socket) -> NoReturn:
    try:
        kernel.unshare(
            kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWIPC | kernel.CLONE_NEWPID
        )
        if os.fork() != 0:
            os._exit(0)
        pid = int(Path("/proc/self").readlink().name)  # /proc is still that of the harness
        os.setsid()
        _close_all_but(channel)
        socket.sethostname(request.name)
        kernel.own_mounts()
        if Path("/etc/hosts").exists():
            kernel.mount(request.hosts, "/etc/hosts", "", kernel.MS_BIND)
        for name, value in request.sysctl.items():
            Path("/proc/sys", *name.split(".")).write_text(value)
    except OSError as error:
        _send(channel, _Ready(error=kernel.reason(error)))
        os._exit(70)
    gc.disable()
    _send(channel, _Ready(pid))
    serve(channel)
    os._exit(0)


def _enter(pid: int, descriptor: int, network: int = -1) -> None:
    if os.fork() == 0:
        channel = socket.socket(fileno=os.dup(descriptor))
        try:
            os.setsid()
            if pid:
                mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY)
                _close_all_but(channel, mounts)
                kernel.setns(mounts, kernel.CLONE_NEWNS)
                os.close(mounts)
            else:
                kernel.setns(network, kernel.CLONE_NEWNET)
                _close_all_but(channel)
            _send(channel, _Ready(os.getpid()))
            serve(channel)
        except OSError as error:
            _send(channel, _Ready(error=kernel.reason(error)))
        finally:
            os._exit(0)


def join(path: str) -> None:
    """Connect to the socket at `path` and serve whoever listens there, until it hangs up."""
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel.connect(path)
    _send(channel, _Ready())
    serve(channel)


def _close_all_but(channel: socket.socket, *kept: int) -> None:
    for other in [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]:
        if other > 2 and other not in (channel.fileno(), *kept):
            with contextlib.suppress(OSError):  # the descriptor that listed them
                os.close(other)


# --- in the harness


class Process:
    """A process that was spawned. `ended` is done when it has ended and was reaped."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self.ended: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()


class Channel:
    """The harness' end: requests to the first process of one namespace. Every method raises `SetupError`, naming `name`,
    where the request fails or that process is gone."""

    def __init__(self, name: str, end: socket.socket) -> None:
        self.name = name
        self._socket = end
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._replies: dict[int, asyncio.Future[tuple[_Done, list[int]]]] = {}
        self._processes: dict[int, Process] = {}
        self._ready: asyncio.Future[_Ready] = self._loop.create_future()
        self._open = True
        self._loop.add_reader(self._socket, self._receive)

    async def fork(self, name: str, *, hosts: Path, sysctl: Mapping[str, str]) -> tuple[Channel, int]:
        """A node made below this namespace: its channel, and the pid of its init."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        node = Channel(name, ours)
        with theirs:
            await self._ask(_Fork(self._number(), name, str(hosts), dict(sysctl)), [theirs.fileno()])
        return node, await node.ready()

    async def enter(self, name: str, namespace: int) -> Channel:
        """A process in the network namespace of that descriptor: its channel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        entered = Channel(name, ours)
        with theirs:
            await self._ask(_Enter(self._number()), [theirs.fileno(), namespace])
        await entered.ready()
        return entered

    async def beside(self, name: str, pid: int) -> Channel:
        """A process that sees the files which the process `pid` sees: its channel."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        entered = Channel(name, ours)
        with theirs:
            await self._ask(_Enter(self._number(), pid), [theirs.fileno()])
        await entered.ready()
        return entered

    async def last_written(self, folder: str, given: Collection[str]) -> str:
        """See `folders.last_written`."""
        done, _ = await self._ask(_LastWritten(self._number(), folder, tuple(given)))
        return done.said

    async def file(self, path: str) -> FileIO | None:
        """A file, to be read and written (see `folders.opened`); None where there is none."""
        _, descriptors = await self._ask(_File(self._number(), path))
        return os.fdopen(descriptors[0], "r+b", buffering=0) if descriptors else None

    async def fill(self, folder: str, *, full: bool) -> None:
        """See `memory_disk.fill`."""
        await self._ask(_Fill(self._number(), folder, full))

    async def is_full(self, folder: str) -> bool:
        """See `folders.is_full`."""
        done, _ = await self._ask(_Fill(self._number(), folder, None))
        return bool(done.said)

    async def ready(self) -> int:
        """Wait until the other end serves; its pid as this process sees it, 0 where it cannot tell."""
        ready = await self._ready
        if ready.error:
            raise SetupError(f"node {self.name} could not be made: {ready.error}")
        return ready.pid

    async def spawn(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, descriptors: tuple[int, int, int]
    ) -> Process:
        """Start a program (`argv[0]` is its path) with these as standard input, output and error."""
        done, _ = await self._ask(_Spawn(self._number(), tuple(argv), dict(env), cwd), descriptors)
        return self._processes[done.pid]

    async def sockets(self, wanted: Sequence[SocketAt]) -> list[socket.socket]:
        """Sockets of that namespace, non-blocking."""
        made: list[socket.socket] = []
        for first in range(0, len(wanted), _MOST_DESCRIPTORS):
            part = tuple(wanted[first : first + _MOST_DESCRIPTORS])
            _, descriptors = await self._ask(_Open(self._number(), part))
            made.extend(socket.socket(fileno=descriptor) for descriptor in descriptors)
        for one in made:
            one.setblocking(False)
        return made

    async def signal(self, process: Process, number: int) -> None:
        """Send a signal to the process' group."""
        await self._ask(_Signal(self._number(), process.pid, number))

    async def kill(self, process: Process, service: str) -> None:
        """Kill the process and everything that came of it."""
        await self._ask(_Kill(self._number(), process.pid, service))

    async def pause(self, process: Process, service: str) -> None:
        """Stop the process and everything that came of it where they stand; returns once nothing of it runs."""
        await self._ask(_Pause(self._number(), process.pid, service))

    async def skew(self, pid: int, service: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the wall clocks of a process and of everything that came of it wrong by so much; 0 is right. They stand still
        meanwhile, and afterwards too if they are paused. Without a service: of all in its pid namespace."""
        await self._ask(_Skew(self._number(), pid, service, nanoseconds, paused))

    async def resume(self, process: Process, service: str) -> None:
        """Have the process and everything that came of it go on."""
        await self._ask(_Resume(self._number(), process.pid, service))

    async def let_run(self, process: Process, service: str, seconds: float, most: float) -> float:
        """See `families.let_run`. Nothing else is done here meanwhile."""
        done, _ = await self._ask(_LetRun(self._number(), process.pid, service, seconds, most))
        return float(done.said)

    def close(self) -> None:
        """Give the channel up; what waits on it fails. Idempotent."""
        if not self._open:
            return
        self._open = False
        self._loop.remove_reader(self._socket)
        self._socket.close()
        gone = SetupError(f"the first process of {self.name} is gone.")
        if not self._ready.done():
            self._ready.set_result(_Ready(error=str(gone)))
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.set_exception(gone)
        for process in self._processes.values():
            if not process.ended.done():
                process.ended.set_result(Ended(process.pid, -signal.SIGKILL, time.monotonic_ns()))
        self._processes.clear()

    def _number(self) -> int:
        self._next += 1
        return self._next

    async def _ask(self, request: _Request, descriptors: Sequence[int] = ()) -> tuple[_Done, list[int]]:
        if not self._open:
            raise SetupError(f"the first process of {self.name} is gone.")
        reply: asyncio.Future[tuple[_Done, list[int]]] = self._loop.create_future()
        self._replies[request.id] = reply
        try:
            socket.send_fds(self._socket, [_encode(request)], descriptors)
            done, received = await reply
        except OSError as error:
            raise SetupError(f"the first process of {self.name} does not listen: {error}") from error
        finally:
            del self._replies[request.id]
        if done.error:
            raise SetupError(f"{self.name}: {done.error}")
        return done, received

    def _receive(self) -> None:
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data, descriptors = b"", []
        if not data:
            self.close()
            return
        message = _replies.decode(data)
        if isinstance(message, _Ready):
            if not self._ready.done():
                self._ready.set_result(message)
        elif isinstance(message, Ended):
            process = self._processes.pop(message.pid, None)
            if process is not None:
                process.ended.set_result(message)
        else:
            if message.pid:
                self._processes[message.pid] = Process(message.pid)
            waiting = self._replies.get(message.id)
            if waiting is None or waiting.done():
                for descriptor in descriptors:
                    os.close(descriptor)
            else:
                waiting.set_result((message, descriptors))
