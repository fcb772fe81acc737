"""The machine: its programs and processes."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from splitbrain.harness.testbeds import families

RUN = "SPLITBRAIN_RUN"
SEARCH = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")

_LISTENS = "0A"


def seen() -> list[int]:
    """Every process that is to be seen here, those in containers of this machine too."""
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def pids() -> list[int]:
    """Every process of the machine; those in containers of it are others' machines."""
    return [pid for pid in seen() if families.is_beside(pid, os.getpid())]


def lives(pid: int) -> bool:
    """Whether a process has not ended; one that has, and that nobody has waited for, does not live."""
    return _stat(pid, 0) not in ("", "Z", "X")


def start_time(pid: int) -> str:
    """When a process was started, in ticks since the machine was; empty where there is none."""
    return _stat(pid, 19)


def is_same(leader: int, started: str) -> bool:
    """Whether a process, or else what is left of its session, is the one that was started then: while a session has members
    its number is given to nobody."""
    return start_time(leader) in (started, "")


def shares_network(pid: int) -> bool:
    """Whether a process has the network that this one has: beside that of a container, others are on its machine."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "ns/net").stat().st_ino == Path("/proc/self/ns/net").stat().st_ino
    return False


def boot() -> str:
    """Which boot of the machine this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _stat(pid: int, field: int) -> str:
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[field]
    return ""


def which(program: str) -> str | None:
    """The path of a program, also where a session over SSH is not told of `sbin`; None where there is none."""
    return shutil.which(program, path=os.pathsep.join((os.environ.get("PATH", ""), *SEARCH)))


def listener(port: int) -> int:
    """The process that listens on a port, the oldest where several do; 0 for none."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == _LISTENS and int(fields[1].rpartition(":")[2], 16) == port:
                    inodes.add(f"socket:[{fields[9]}]")
    for pid in sorted(seen() if inodes else (), key=lambda pid: (int(start_time(pid) or 0), pid)):
        with contextlib.suppress(OSError):
            for descriptor in os.listdir(f"/proc/{pid}/fd"):  # noqa: PTH208
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{descriptor}") in inodes:  # noqa: PTH115
                        return pid
    return 0


def connection() -> list[str]:
    """The controller's address and port and this machine's, as sshd sees them; it tells the login's first process, which may
    have become root since."""
    pid = os.getpid()
    while pid > 1:
        for entry in families.environment(pid):
            if entry.startswith(b"SSH_CONNECTION="):
                return entry.decode().partition("=")[2].split()
        pid = int(_stat(pid, 1) or 0)
    return []
