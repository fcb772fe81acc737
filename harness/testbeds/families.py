"""A server and everything that came of it: its family. Ended, or made to stand still and go on, all of it.

Only the standard library, so that it can be sent to a machine as text (see the folder helper).
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time
from pathlib import Path

SERVICE = "SPLITBRAIN_SERVICE"
"""The environment variable by which a process that has left its session and its parents is known as of a service."""

_TIMEOUT = 10.0
"""Seconds in which all of it must have ended or stopped: on a slow machine one look at all processes takes more than one."""
_LOOK = 0.0005
"""Seconds between two looks at what a process has used of the processor."""


def kill(leader: int, service: str) -> None:
    """Kill a spawned process and everything that came of it. Raises `OSError` where it does not die. Its time begins with the
    signal: on a machine that has none left, a look at its processes takes long. One that is dying has no environment any more,
    and may so be no member of the family that it belongs to still."""
    end = 0.0
    told: set[int] = set()
    while alive := family(leader, service) or told & {pid for pid, _, _ in _processes()}:
        if end and time.monotonic() > end:
            raise OSError(errno.EBUSY, f"{service or leader} does not die: {', '.join(map(str, sorted(alive)))}")
        for pid in alive - told:
            send_signal(pid, signal.SIGKILL)
        told |= alive
        end = end or time.monotonic() + _TIMEOUT
        time.sleep(0.001)


def pause(leader: int, service: str) -> None:
    """Stop a spawned process and everything that came of it where they stand; returns once nothing of it runs. One that is
    stopped cannot fork, so that a look at which all are stopped has seen all. Raises `OSError` where it does not stop."""
    end = 0.0
    told: set[int] = set()
    while not ((members := family(leader, service)) <= told and all(map(_stands, members))):
        if end and time.monotonic() > end:
            raise OSError(errno.EBUSY, f"{service or leader} does not stop: {', '.join(map(str, sorted(members)))}")
        for pid in members - told:
            send_signal(pid, signal.SIGSTOP)
        end = end or time.monotonic() + _TIMEOUT
        told |= members
        time.sleep(0.001)


def resume(leader: int, service: str) -> None:
    """Have a process and everything that came of it go on."""
    for pid in family(leader, service):
        send_signal(pid, signal.SIGCONT)


def let_run(leader: int, service: str, seconds: float, most: float) -> float:
    """Have what stands still go on until it has used so many `seconds` of the processor (with 0 it does not), or `most` seconds
    have passed, and stop it again; what `spent` says then. Raises `OSError` where it does not stop."""
    enough, end = spent(leader, service) + seconds, time.monotonic() + most
    if seconds:
        try:
            resume(leader, service)
            while spent(leader, service) < enough and time.monotonic() < end:
                time.sleep(_LOOK)
        finally:
            pause(leader, service)
    return spent(leader, service)


def spent(leader: int, service: str) -> float:
    """Seconds of the processor that a spawned process and everything that came of it have used since they began: those of it
    that live, and those that these have waited for."""
    ticks, seconds = os.sysconf("SC_CLK_TCK"), 0.0
    for pid in family(leader, service):
        with contextlib.suppress(OSError):  # One that has just ended.
            seconds += time.clock_gettime(~pid << 3 | 2)  # The clock of all its threads, as clock_getcpuclockid makes it.
            told = Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()
            seconds += (int(told[13]) + int(told[14])) / ticks
    return seconds


def family(leader: int, service: str) -> set[int]:
    """The processes that live of those that came of a spawned one: its session, its descendants, and what inherited
    `service` in its environment (a daemon has left the first two). Without a service, all of its pid namespace, as a container
    has one of its own."""
    if not service:
        return _beside(leader)
    mark = f"{SERVICE}={service}".encode()
    found = {leader}
    alive: set[int] = set()
    for pid, parent, session in sorted(_processes()):
        if pid != 1 and (parent in found or session == leader or pid == leader
                         or (mark in environment(pid) and is_beside(pid, leader))):
            found.add(pid)
            alive.add(pid)
    return alive


def _beside(leader: int) -> set[int]:
    """The processes that live in the pid namespace of one. Raises `OSError` where that is our own."""
    alive: set[int] = set()
    try:
        there = _namespace(str(leader), "pid")
    except FileNotFoundError:
        return alive
    if there == _namespace("self", "pid"):
        raise OSError(errno.EPERM, f"process {leader} has no pid namespace of its own")
    for pid, _, _ in _processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # The machine's own may be hidden.
            if _namespace(str(pid), "pid") == there:
                alive.add(pid)
    return alive


def is_beside(pid: int, other: int, kind: str = "pid") -> bool:
    """Whether two processes are in one namespace of that kind, as far as can be told. Of one in another pid namespace, a
    container on this machine, what its environment says is another run's business."""
    try:
        return _namespace(str(pid), kind) == _namespace(str(other), kind)
    except OSError:
        return True


def _namespace(pid: str, kind: str) -> str:
    """The namespace of that kind that a process is in; the process by its name in /proc. Raises `OSError`."""
    return os.readlink(f"/proc/{pid}/ns/{kind}")  # noqa: PTH115 - Path.readlink is newer than Python 3.8


def send_signal(pid: int, number: int) -> None:
    """Send a signal to a process, if it is there."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)


def environment(pid: int) -> list[bytes]:
    """The environment that a process was started with, a `NAME=VALUE` each; none where it cannot be read."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "environ").read_bytes().split(b"\0")
    return []


def _stands(pid: int) -> bool:
    """Whether no thread of a process that was told to stop runs any more; one that waits for a disk stops before it would."""
    states = ""
    for task in Path("/proc", str(pid), "task").glob("*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            states += task.read_text().rpartition(")")[2].split()[0]
    return set(states) <= set("TtDZX")


def _processes() -> list[tuple[int, int, int]]:
    """Pid, parent and session of every process of this pid namespace that is not a zombie."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if state not in "ZX":
                    found.append((int(entry.name), int(parent), int(session)))
    return found
