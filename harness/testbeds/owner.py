"""Whose something is: the process that a person started, as a text that labels everything it makes, and whether it lives."""

from __future__ import annotations

import contextlib
import os
import platform
from pathlib import Path


def owner() -> str:
    """This process: pid, start time, pid namespace, boot, machine, joined by colons."""
    pid = os.getpid()
    return ":".join((str(pid), _started(pid), _pid_namespace(), _boot(), _machine()))


def is_gone(owner: str) -> bool:
    """Whether that process has ended for certain. False where this process cannot tell: on another machine, or in another
    container."""
    pid, started, namespace, boot, machine = (*owner.split(":"), "", "", "", "", "")[:5]
    if machine != _machine() or not pid.isdigit():
        return False
    if boot != _boot():
        return True
    return namespace == _pid_namespace() and _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process started (clock ticks since boot), empty where there is none."""
    with contextlib.suppress(OSError):
        return Path("/proc", str(pid), "stat").read_text().rpartition(")")[2].split()[19]
    return ""


def _pid_namespace() -> str:
    return str(Path("/proc/self/ns/pid").stat().st_ino)


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _machine() -> str:
    with contextlib.suppress(OSError):
        if identity := Path("/etc/machine-id").read_text().strip():
            return identity
    return platform.node()
