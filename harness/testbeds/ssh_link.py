"""The connection to one machine: paramiko, and over it the helper (the folder helper) that acts there.

The agent's keys and known_hosts are what a person's own `ssh` uses. A machine whose key is not known is refused, never
trusted at first sight: faults are done there as root.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import getpass
import json
import queue
import shlex
import socket
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import families
from splitbrain.harness.testbeds.ssh_inventory import Host

CONNECT = 10.0
"""Seconds in which a machine takes a connection: its kernel does, however busy it is."""
START = 60.0
"""Seconds that each further step may take until the helper has answered first, of which a slow machine takes many: it makes
keys and starts programs. Where something is wrong it is mostly told at once."""
BEAT = 1.0
"""Seconds between two signs of life."""
SILENT = 0.8
"""The part of its guard's patience after which a machine without an answer counts as lost: before the guard acts."""
ASKED = 5
"""How often a machine is asked for its clock where times have to be told apart."""
ANSWER = 30.0
"""Seconds that a request may take where nothing else is said, unless the machine may be silent for longer."""
LONG = 300.0
"""Seconds that one may take which installs, copies or removes many files, or starts somebody's server. A machine that is lost
meanwhile is told as soon as it is silent."""

BOOT = 'import base64,zlib;exec(zlib.decompress(base64.b64decode(open(0,"rb",0,closefd=False).readline())))'


class Time(NamedTuple):
    """What to add to a time of a machine's monotonic clock for one of ours, and by how much that may be wrong, nanoseconds."""

    offset: int
    error: int


class Link:
    """The helper on one machine. Every method raises `SetupError`, naming the node and the machine, where a request fails or
    the machine is lost. `heard` is told what the helper says by itself."""

    def __init__(self, name: str, host: Host) -> None:
        self.name = name
        self.host = host
        self.heard: Callable[[dict[str, Any]], None] = lambda message: None
        self.offset = 0
        """What to add to a time of that machine's monotonic clock for one of ours, nanoseconds."""
        self.error = 1 << 62
        """By how much that may be wrong: half the shortest round trip."""
        self._loop = asyncio.get_running_loop()
        self._asked: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._number = 0
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._client: Any = None
        self._channel: Any = None
        self._lost = ""
        self._answered = time.monotonic()
        self._beating: asyncio.Task[None] | None = None

    @property
    def place(self) -> str:
        """The node and its machine, for people."""
        return f"{self.name} ({self.host.host})"

    async def open(self) -> None:
        """Connect, and start the helper there."""
        try:
            await asyncio.to_thread(self._connect)
        except Mended as error:
            raise SetupError(f"{self.place}: {error}") from error
        except BaseException:
            self.close()
            raise
        for work, name in ((self._read, "reader"), (self._write, "writer")):
            threading.Thread(target=work, daemon=True, name=f"{self.name} {name}").start()
        try:
            await self._beat(START)
            for _ in range(2):
                await self._beat(self.silent)
        except SetupError as error:
            why = _explained(self.host, self._last_words())
            self.close()
            if not why:
                raise
            raise SetupError(f"{self.place}: {why}") from error
        self._beating = asyncio.create_task(self._beat_on())

    @property
    def silent(self) -> float:
        """Seconds without an answer after which the machine counts as lost."""
        return SILENT * self.host.patience

    async def ask(self, op: str, within: float | None = None, **fields: Any) -> dict[str, Any]:
        """A request, and its reply, which comes within so many seconds."""
        within = max(ANSWER, self.silent) if within is None else within
        if self._lost:
            raise SetupError(f"{self.place}: {self._lost}")
        self._number += 1
        number = self._number
        reply: asyncio.Future[dict[str, Any]] = self._loop.create_future()
        self._asked[number] = reply
        self._outgoing.put(json.dumps({"op": op, "id": number, **fields}).encode() + b"\n")
        try:
            async with asyncio.timeout(within):
                found = await reply
        except TimeoutError as error:
            raise SetupError(f"{self.place}: it did not answer ({op}) within {within:g} s.") from error
        finally:
            self._asked.pop(number, None)
        if "error" in found:
            raise SetupError(f"{self.place}: {found['error']}")
        return found

    async def time(self) -> Time:
        """That machine's monotonic clock, asked just now. Its error is by how much it may differ from that of another time,
        since the way to and fro is as uneven now as it was then: what the round trip took longer than the shortest one."""
        found = [await self._beat(self.silent) for _ in range(ASKED)]
        best = min(found, key=lambda one: one.error)
        return Time(best.offset, best.error - self.error)

    def here(self, at: int) -> int:
        """A time of that machine's monotonic clock as one of ours."""
        return at + self.offset

    def close(self) -> None:
        """Hang up. If the run is not over there, its guard puts everything back. Idempotent."""
        if self._beating is not None:
            self._beating.cancel()
        self._give_up("the connection was closed.")
        self._outgoing.put(None)
        if self._client is not None:
            threading.Thread(target=self._client.close, daemon=True).start()

    # --- in threads

    def _connect(self) -> None:
        import paramiko

        host = self.host
        client = paramiko.SSHClient()
        self._client = client
        known = Path(host.known_hosts).expanduser() if host.known_hosts else Path("~/.ssh/known_hosts").expanduser()
        with contextlib.suppress(FileNotFoundError):
            client.load_host_keys(str(known))
        if not host.known_hosts:
            with contextlib.suppress(OSError):
                client.load_system_host_keys("/etc/ssh/ssh_known_hosts")
        client.set_missing_host_key_policy(paramiko.RejectPolicy())
        named = host.host if host.port == 22 else f"[{host.host}]:{host.port}"
        scan = f"ssh-keyscan -p {host.port} {shlex.quote(host.host)} >> {shlex.quote(str(known))}"
        try:
            client.connect(
                host.host, host.port, host.user or getpass.getuser(), key_filename=str(Path(host.key).expanduser()) if host.key
                else None, sock=socket.create_connection((host.host, host.port), CONNECT), transport_factory=_patient,
                timeout=START, banner_timeout=START, auth_timeout=START, channel_timeout=START, look_for_keys=not host.key,
            )
        except paramiko.BadHostKeyException as error:
            raise Mended(
                f"its host key is another than {known} has: somebody may be in between. If the machine was made anew: "
                f"ssh-keygen -R {shlex.quote(named)} -f {shlex.quote(str(known))}"
            ) from error
        except (paramiko.PasswordRequiredException, FileNotFoundError) as error:
            raise Mended(f"the key {host.key} cannot be used ({error}): add it to the agent with ssh-add.") from error
        except paramiko.AuthenticationException as error:
            user = host.user or getpass.getuser()
            raise Mended(
                f"{user} may not log in with the keys of the agent and ~/.ssh{f' and {host.key}' if host.key else ''}: "
                f"ssh-copy-id -p {host.port} {shlex.quote(f'{user}@{host.host}')}"
            ) from error
        except paramiko.SSHException as error:
            if "not found in known_hosts" in str(error):
                raise Mended(
                    f"its host key is not known. Look at it, and if it is the machine's own, keep it: {scan}"
                ) from error
            raise Mended(f"SSH: {error}.") from error
        except OSError as error:
            raise Mended(f"port {host.port} of {host.host} does not answer: {error}.") from error
        transport = client.get_transport()
        transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        transport.set_keepalive(5)
        self._channel = transport.open_session(timeout=START)
        as_root = "" if (host.user or getpass.getuser()) == "root" else "sudo -n -- "
        self._channel.exec_command(f"exec {as_root}{shlex.quote(host.python)} -I -c {shlex.quote(BOOT)}")
        self._outgoing.put(program())

    def _write(self) -> None:
        while (data := self._outgoing.get()) is not None:
            try:
                self._channel.sendall(data)
            except OSError:
                return  # the reader tells why

    def _read(self) -> None:
        rest = b""
        while True:
            try:
                data = self._channel.recv(1 << 16)
            except OSError:
                data = b""
            if not data:
                break
            *lines, rest = (rest + data).split(b"\n")
            if lines:
                self._call(self._take, lines)
        self._call(self._give_up, "the connection to it was lost.")

    def _call(self, work: Callable[..., None], *what: Any) -> None:
        with contextlib.suppress(RuntimeError):  # the event loop has ended
            self._loop.call_soon_threadsafe(work, *what)

    # --- in the event loop

    def _take(self, lines: list[bytes]) -> None:
        self._answered = time.monotonic()
        for line in lines:
            message = json.loads(line)
            if "id" in message:
                waiting = self._asked.get(message["id"])
                if waiting is not None and not waiting.done():
                    waiting.set_result(message)
            else:
                self.heard(message)

    def _give_up(self, why: str) -> None:
        self._lost = self._lost or why
        for waiting in self._asked.values():
            if not waiting.done():
                waiting.set_exception(SetupError(f"{self.place}: {self._lost}"))

    def _last_words(self) -> str:
        with contextlib.suppress(OSError):
            if self._channel is not None and self._channel.recv_stderr_ready():
                return str(self._channel.recv_stderr(4096).decode(errors="replace")).strip()
        return ""

    async def _beat(self, within: float) -> Time:
        began = time.monotonic_ns()
        reply = await self.ask("beat", within)
        ended = time.monotonic_ns()
        found = Time((began + ended) // 2 - reply["now"], (ended - began) // 2)
        if found.error <= self.error:
            self.offset, self.error = found
        return found

    async def _beat_on(self) -> None:
        """Signs of life for the guard, and from it."""
        while not self._lost:
            await asyncio.sleep(BEAT)
            with contextlib.suppress(SetupError):
                await self._beat(self.silent - BEAT)
            if time.monotonic() - self._answered > self.silent - BEAT:
                self._give_up(f"it has been silent for {self.silent:g} s; what was done there is put back by itself.")


class Mended(Exception):
    """Why there is no connection, with the mend."""


def _patient(*words: Any, **options: Any) -> Any:
    """What speaks SSH over a socket, with the time that a slow machine takes to agree on keys."""
    import paramiko

    transport = paramiko.Transport(*words, **options)
    transport.handshake_timeout = START
    return transport


def _explained(host: Host, said: str) -> str:
    """What the machine said before the helper could run, with the mend; empty where it said nothing."""
    last = said.splitlines()[-1] if said else ""
    absent = "not found" in said or "No such file" in said
    if "sudo" in said and not absent:
        return f"{host.user or getpass.getuser()} may not use sudo without a password ({last}): log in as root, or allow it."
    if absent:
        return f"there is no {host.python}, or no sudo ({last}): install it, or name it with python = ... in the inventory."
    return last


MODULES = (
    "families", "clocks", "kernel", "memory_disk", "fuse", "helper", "helper.machine", "helper.rules", "helper.wall",
    "helper.guard", "helper.links", "helper.disks", "helper.probes", "helper.main",
)
"""What the helper is made of, each after what it imports."""


@cache
def program() -> bytes:
    """The helper, as the line that the machine's Python reads first."""
    return base64.b64encode(zlib.compress(_assembled(MODULES, "module.Helper().serve()").encode(), 9)) + b"\n"


@cache
def disk_server() -> str:
    """What serves a disk that can lose its power, told on standard output what to do. It is given the descriptors of the mount
    namespace that it enters, and of the mount."""
    enter = 'import socket, sys; sys.modules["{room}.kernel"].setns(int(sys.argv[1]), 0)'
    serve = "module.Server(int(sys.argv[2])).serve(socket.socket(fileno=1))"
    return _assembled(("kernel", "volatile", "volatile_server"), f"{enter}; {serve}")


def _assembled(modules: Sequence[str], last: str) -> str:
    """A program of these modules of this folder that ends with the line `last`, where `{room}` stands for the folder and
    `module` is the last of them."""
    room = families.__name__.rpartition(".")[0]
    above = [room.rsplit(".", left)[0] for left in range(room.count("."), 0, -1)]
    lines = ["import sys, types", f"for name in {[*above, room]!r}:", "    sys.modules[name] = types.ModuleType(name)"]
    for name in modules:
        path = Path(families.__file__).parent.joinpath(*name.split("."))
        file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
        lines += [
            f'module = sys.modules["{room}.{name}"] = types.ModuleType("{room}.{name}")',
            f'exec(compile({file.read_text()!r}, "{file.name}", "exec"), module.__dict__)',
        ]
    lines.append(last.replace("{room}", room))
    return "\n".join(lines)
