"""A node of the testbed `docker`: its holder, and a container for each service that was started (see docker.py)."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import socket
import struct
import tarfile
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from io import FileIO
from pathlib import Path
from typing import Any, NamedTuple

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.death import Death
from splitbrain.harness.testbeds import commands, firewall
from splitbrain.harness.testbeds.power import VolatileDisk
from splitbrain.harness.testbeds.spawner import Channel
from splitbrain.harness.testbeds.testbed import Completed, Service

FOLDER = "/splitbrain"
"""Where every container of a node sees the node's volume."""
MEMORY_FACTOR = 4
"""A service may take so many times the memory that it says it needs: a limit stops what has run away, and no honest server."""

_GRACE = 2.0

Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Makes a blocking call to the engine in a thread. Raises `SetupError` with what the engine said."""


class Entrance(NamedTuple):
    """How the harness acts in a node's network: a channel to `what` lives there, its firewall, and the paths of programs
    there."""

    channel: Channel
    firewall: commands.Firewall
    iptables: str
    ip6tables: str
    cat: str
    what: str


class DockerNode:
    """One node. `holder`, `volume`, `keeper` and `entrance` are there once `Docker.up` has made them; `create` makes a
    service's container, on the node's network and `volume`; that is bound to `disk` where it can lose its power. The keeper is
    a container that has the same volume, by which files come into it and out of it: the holder, until the node has been
    wiped. `files` is a process that sees what the keeper sees, where somebody has asked for one; one at a time asks
    (`looking`). Its servers' clocks are meant to be so many nanoseconds `ahead`; nobody freezes or thaws them while that is
    seen to (`acting`)."""

    holder: Any
    disk: VolatileDisk | None
    volume: str
    keeper: Any
    entrance: Entrance

    def __init__(
        self, name: str, address: str, logs: Path, call: Call, create: Callable[[DockerNode, Service], Awaitable[Any]]
    ) -> None:
        self.name = name
        self.address = address
        self.address6 = ""
        self._logs = logs
        self._call = call
        self._create = create
        self._services: dict[str, _Running] = {}
        self._dead: list[Death] = []
        self.wiped = 0
        self.disk = None
        self.files: Channel | None = None
        self.looking = asyncio.Lock()
        self.acting = asyncio.Lock()
        self.ahead = 0

    @property
    def folder(self) -> str:
        """The node's volume, also the working directory of its services."""
        return FOLDER

    def log(self, name: str) -> Path:
        """What a service printed, both streams, all its starts."""
        return self._logs / f"{name}.log"

    async def start(self, service: Service) -> None:
        """Start a service: in the container that it had, if it is the same one. Raises `SetupError` where it runs already, its
        image cannot be had, or its program cannot be executed."""
        if self.running(service.name):
            raise SetupError(f"{self.name}: {service.name} runs already.")
        before = self._services.get(service.name)
        if before is not None:
            await self._call(before.over.wait)  # the engine starts no container of which it thinks that it runs
        if before is not None and before.service == service:
            container = before.container
        else:
            if before is not None:
                await self._call(partial(before.container.remove, v=True, force=True))
            container = await self._create(self, service)
            files = {name: File(text.replace("{folder}", FOLDER).encode()) for name, text in service.files.items()}
            await self._call(partial(self.keeper.put_archive, FOLDER, archive(files)))
            if self.disk is not None:  # A person's files were on the disk long before the power went.
                await self._call(partial(_sync, [self.disk.folder / name for name in files]))
        if before is not None:
            del self._services[service.name]  # the order is that of starts
            self._dead += self._deaths(before)
            before.close()
        running = self._services[service.name] = _Running(service, container, self.log(service.name))
        try:
            await self._call(running.start)
        except SetupError as error:
            image = container.attrs["Config"]["Image"]
            raise SetupError(f"{self.name}: {service.name} cannot be started from the image {image}: {error}") from error

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End a service and everything in its container; nothing happens where it does not run."""
        running = self._services.get(name)
        if running is not None and not (kill and await running.killed()):
            await self._call(partial(running.stop, kill=kill))

    async def forget(self) -> None:
        """Remove the containers of all services, none of which may run: a start makes them anew. Raises `SetupError`."""
        for name, before in list(self._services.items()):
            if self.running(name):
                raise SetupError(f"{self.name}: {name} runs, and keeps its data.")
            await self._call(partial(before.container.remove, v=True, force=True))
            del self._services[name]
            self._dead += self._deaths(before)
            before.close()

    async def pause(self, name: str) -> None:
        """Freeze a service's container. The holder, which answers for the node's network, and a sidecar go on."""
        async with self.acting:
            if self.running(name) and not self._services[name].paused:
                await self._call(self._services[name].pause)

    async def resume(self, name: str) -> None:
        """Resume a frozen container."""
        async with self.acting:
            if self.running(name) and self._services[name].paused:
                await self._call(self._services[name].resume)

    async def let_run(self, name: str, seconds: float, most: float) -> float:
        """Thaw a service's container for so many seconds: what it has used by then the engine tells too late to wait for it."""
        async with self.acting:
            if not self.running(name):
                return 0.0
            running = self._services[name]
            if seconds:
                try:
                    await self._call(running.resume)
                    await asyncio.sleep(min(seconds, most))
                finally:
                    await self._call(running.pause)
            return float(await self._call(running.spent))

    async def skew(self, by: Channel) -> None:
        """Have the clocks of its servers be as they are meant to. Raises `SetupError`."""
        async with self.acting:
            for name, running in self._services.items():
                if self.running(name):
                    await by.skew(running.number, "", self.ahead, paused=running.paused)

    @property
    def services(self) -> Sequence[Service]:
        """The services whose containers run, in the order in which they were started."""
        return [running.service for name, running in self._services.items() if self.running(name)]

    def running(self, name: str) -> bool:
        """Whether the service's container runs."""
        return name in self._services and not self._services[name].gone.is_set()

    def ended(self) -> Sequence[Death]:
        """The services that ended though nobody stopped them, and how."""
        found = [death for running in self._services.values() for death in self._deaths(running)]
        return sorted([*self._dead, *found], key=lambda death: death.time)

    def _deaths(self, running: _Running) -> list[Death]:
        """The end of that start of a service, if it has ended by itself."""
        end = running.end
        if end is None or running.stopped:
            return []
        return [Death(node=self.name, service=running.service.name, time=end.time, code=end.code, detail=end.detail)]

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
        """Run a program in the container of the first service that runs and is not paused. Raises `SetupError` where none does,
        the image has no such program, or it takes too long; it then goes on until its service ends."""
        going = (running for name, running in self._services.items() if self.running(name) and not running.paused)
        container = next((running.container for running in going), None)
        if container is None:
            raise SetupError(f"{self.name}: no service runs in whose container `{' '.join(argv)}` could be run.")
        completed: Completed | None = await self._call(partial(_execute, container, argv, stdin, timeout))
        if completed is None:
            raise SetupError(f"{self.name}: `{' '.join(argv)}` took longer than {timeout:g} s.")
        if completed.code in (126, 127) and completed.stdout.startswith("OCI runtime"):
            raise SetupError(f"{self.name}: `{' '.join(argv)}` cannot be run: {completed.stdout.strip()}")
        return completed

    async def restore(self, rules: firewall.Rules) -> int:
        """Give the node's firewall its rules, and tell when the last of them was in force (monotonic clock, ns)."""
        return await self.entrance.firewall.restore(rules, self.entrance.iptables, self.entrance.ip6tables)

    async def connections(self) -> str:
        """The kernel's tables of the node's TCP connections."""
        return await commands.connections(self.entrance.channel, self.entrance.cat)

    async def refuse_ipv6(self) -> None:
        """Raise `SetupError` where the node has an IPv6 address by which it could be reached."""
        result = await commands.run(self.entrance.channel, (self.entrance.cat, "/proc/net/if_inet6"), "")
        found = [line for line in result[0].stdout.splitlines() if line.split()[-1] != "lo"]
        if found:  # without IPv6 in the kernel there is no such file, and nothing is printed
            raise SetupError(f"{self.name} has an IPv6 address, by which packets would go round a cut: {found[0]}")

    def copy_out(self) -> None:
        """Copy the files of the node's volume into its folder, as `data`. Blocking."""
        with tempfile.TemporaryFile() as packed:
            packed.writelines(self.keeper.get_archive(FOLDER)[0])
            packed.seek(0)
            with tarfile.open(fileobj=packed) as volume:
                for member in volume:
                    parts = Path(member.name).parts[1:]
                    content = volume.extractfile(member) if member.isreg() and ".." not in parts else None
                    if content is not None:
                        path = Path(self._logs, "data", *parts)
                        path.parent.mkdir(parents=True, exist_ok=True)
                        with path.open("wb") as copy:
                            shutil.copyfileobj(content, copy)

    def look_away(self) -> None:
        """Give up who sees its files. Idempotent."""
        if self.files is not None:
            self.files.close()
            self.files = None

    def close(self) -> None:
        """Give up the entrance, who sees its files, and what the services' processes are held by."""
        self.look_away()
        for running in self._services.values():
            running.close()
        if hasattr(self, "entrance"):
            self.entrance.firewall.close()
            self.entrance.channel.close()


class _End(NamedTuple):
    """How a container ended (see `Death`), and when that was seen (monotonic clock, ns)."""

    time: int
    code: int | None
    detail: str


class _Running:
    """One start of a service's container. Its first process has the `number` on the engine's machine. `gone` is set when its
    processes have ended, `over` when the engine has told so too: `end` then says how. A thread copies what it prints into its
    log."""

    def __init__(self, service: Service, container: Any, log: Path) -> None:
        self.service = service
        self.container = container
        self.gone = threading.Event()
        self.gone.set()
        self.over = threading.Event()
        self.over.set()
        self.end: _End | None = None
        self.stopped = False
        self.paused = False
        self._log = log
        self.number = 0
        self._process: int | None = None

    def start(self) -> None:
        """Blocking. Its output is listened to before it begins."""
        log = self._log.open("ab", buffering=0)
        output = self.container.attach(stdout=True, stderr=True, stream=True, logs=False)
        self.container.start()
        self.number, self._process = _process(self.container)
        self.gone.clear()
        self.over.clear()
        threading.Thread(target=self._follow, args=(output, log), daemon=True, name="log").start()

    def _follow(self, output: Any, log: FileIO) -> None:
        import docker

        try:
            with log:
                for chunk in output:
                    log.write(chunk)
            code = self.container.wait()["StatusCode"]
            now = time.monotonic_ns()
            self.container.reload()
            memory = self.container.attrs["HostConfig"]["Memory"] >> 20
            killed = self.container.attrs["State"]["OOMKilled"]
            self.end = _End(now, code, f"out of memory: its limit was {memory} MB" if killed else "")
        except docker.errors.NotFound:
            self.end = _End(time.monotonic_ns(), None, "its container was removed")
        except Exception as error:  # the engine went away, or the disk is full: nobody follows it any more
            self.end = _End(time.monotonic_ns(), None, " ".join(str(error).split()))
        finally:
            self.gone.set()
            self.over.set()

    def pause(self) -> None:
        """Blocking. Returns once the kernel has frozen all of it."""
        self._ask(self.container.pause)
        self.paused = True

    def resume(self) -> None:
        """Blocking."""
        self._ask(self.container.unpause)
        self.paused = False

    def spent(self) -> float:
        """Seconds of the processor that the container has used since it was started, as the engine counts them. Blocking."""
        told = self.container.client.api.stats(self.container.id, stream=False, one_shot=True)
        return int(told["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9

    def stop(self, *, kill: bool) -> None:
        """Blocking. SIGTERM and, after a grace, SIGKILL; with `kill` SIGKILL at once."""
        if self.gone.is_set():  # by itself, or stopped before
            return
        self.stopped = True
        if not kill:
            self._ask(partial(self.container.kill, "SIGTERM"))
            self.over.wait(_GRACE)
        if not self.over.is_set():
            self._ask(partial(self.container.kill, "SIGKILL"))
            self.over.wait()

    async def killed(self) -> bool:
        """Whether the container's processes could be killed from here, without the engine: the first of them, with which all
        others go. One that is frozen may not hear of it (control groups of version 1). The signal is sent before anything is
        waited for: what the end of one server has the engine do would hold up the next."""
        if self._process is None or self.paused or self.gone.is_set():
            return False
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        before, self.stopped = self.stopped, True
        try:
            signal.pidfd_send_signal(self._process, signal.SIGKILL)
        except OSError:  # it has ended, or has become somebody whom this user may not kill
            self.stopped = before
            return False
        loop.add_reader(self._process, ended.set)
        try:
            async with asyncio.timeout(_GRACE):
                await ended.wait()
        except TimeoutError:
            return False
        finally:
            loop.remove_reader(self._process)
        self.gone.set()
        return True

    def close(self) -> None:
        """Let go of its process. Idempotent."""
        if self._process is not None:
            os.close(self._process)
            self._process = None

    def _ask(self, call: Callable[[], Any]) -> None:
        import docker

        try:
            call()
        except docker.errors.APIError as error:
            if error.status_code not in (404, 409):  # it has ended by itself
                raise


def _sync(files: Sequence[Path]) -> None:
    for file in files:
        with file.open("rb") as opened:
            os.fsync(opened.fileno())


def _process(container: Any) -> tuple[int, int | None]:
    """The number of a container's first process, and a descriptor of it, which names no other one later; None where this user
    may not signal it, or the numbers that the engine tells are not those of this process' /proc. Blocking."""
    number: int = container.client.api.inspect_container(container.id)["State"]["Pid"]
    try:
        process = os.pidfd_open(number)
    except OSError:  # it has ended already, or the kernel is older than 5.3
        return number, None
    with contextlib.suppress(OSError):
        if container.id in Path("/proc", str(number), "cgroup").read_text():
            signal.pidfd_send_signal(process, 0)  # it was there while that was read, and may be signalled
            return number, process
    os.close(process)
    return number, None


class File(NamedTuple):
    """A file to be put into a container."""

    content: bytes
    mode: int = 0o666


def archive(files: Mapping[str, File], *folders: str) -> bytes:
    """A tar of files and folders. Anybody may write to them: the user that a server becomes is its image's own business."""
    made = io.BytesIO()
    needed = {str(parent) for name in files for parent in Path(name).parents} - {"."}
    with tarfile.open(fileobj=made, mode="w") as tar:
        for folder in sorted(needed | set(folders)):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(entry)
        for name, file in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode, entry.mtime = len(file.content), file.mode, int(time.time())
            tar.addfile(entry, io.BytesIO(file.content))
    return made.getvalue()


def _execute(container: Any, argv: Sequence[str], stdin: str, timeout: float) -> Completed | None:
    """Run a program in a container; None where it took longer. Blocking."""
    api = container.client.api
    identity = api.exec_create(container.id, list(argv), stdin=True, workdir=FOLDER)["Id"]
    stream = api.exec_start(identity, socket=True)
    end: socket.socket = getattr(stream, "_sock", stream)
    printed = {1: b"", 2: b""}
    deadline = time.monotonic() + timeout
    with end:
        try:
            end.settimeout(timeout)
            end.sendall(stdin.encode())
            end.shutdown(socket.SHUT_WR)
            while header := _exactly(end, 8, deadline):
                number, size = struct.unpack(">BxxxI", header)
                printed[number] += _exactly(end, size, deadline)
        except TimeoutError:
            return None
    code = api.exec_inspect(identity)["ExitCode"]
    return Completed(code, printed[1].decode(errors="replace"), printed[2].decode(errors="replace"))


def _exactly(end: socket.socket, size: int, deadline: float) -> bytes:
    """The next `size` bytes, fewer only where the stream ends."""
    read = b""
    while len(read) < size:
        end.settimeout(max(deadline - time.monotonic(), 0.001))
        part = end.recv(size - len(read))
        if not part:
            break
        read += part
    return read
