"""The wall clock of the whole machine, put ahead or back, and put right again.

While nobody sets it, the wall clock is the time since the machine was started (CLOCK_BOOTTIME) and a number that stays as it
is: what lets it run faster or slower does so to both. That number is read before a fault, and is what is put back, whatever
has become of the clock meanwhile. The clock is moved by a distance (ADJ_SETOFFSET of adjtimex(2)), not set to a time, which
would be late by what it takes to set it. Its rate is never changed: clocks that only go forward would run at it too, and with
them every time-out.

No clock is moved where the controller's own boot is, nor in a container: that clock would be the controller's, or others'.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import sys
import threading
import time
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds import families
from splitbrain.harness.testbeds.helper.machine import boot, lives, seen

EXACT = 50_000
"""Nanoseconds below which a difference is not worth a change."""
READS = 25
"""How often both clocks are read, for the time at which that took least."""
MOVES = 5

_FIRST = {"pid": 0xEFFFFFFC, "user": 0xEFFFFFFD}
"""The inodes of the namespaces that a kernel starts with (PROC_PID_INIT_INO, PROC_USER_INIT_INO)."""
_ADJ_MAXERROR, _ADJ_ESTERROR, _ADJ_STATUS, _ADJ_SETOFFSET, _ADJ_MICRO, _ADJ_NANO = 0x4, 0x8, 0x10, 0x100, 0x1000, 0x2000
_ADJ_TICK = 0x4000
_STA_NANO = 0x2000
"""Whether the kernel takes and tells fractions of a second in nanoseconds, by the word of who set its clock last."""
_MEND = 'take clock = "machine" out of the inventory: the clocks of its servers alone are then put wrong'
_STEERING = {
    "chronyd", "ntpd", "openntpd", "ntp-daemon", "systemd-timesyn", "phc2sys", "ptp4l", "htpdate", "VBoxService", "ntpdate",
    "sntp",
}
"""Programs that steer a machine's clock by themselves, as the kernel names their processes."""
_MAY_SET = 1 << 25
"""CAP_SYS_TIME. A time service that has it not, as `chronyd -x`, tells others the time and steers nothing."""


class _Timex(ctypes.Structure):
    """`struct timex` of adjtimex(2), on 64 bits."""

    _fields_ = [
        ("modes", ctypes.c_uint), ("offset", ctypes.c_long), ("freq", ctypes.c_long), ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long), ("status", ctypes.c_int), ("constant", ctypes.c_long), ("precision", ctypes.c_long),
        ("tolerance", ctypes.c_long), ("seconds", ctypes.c_long), ("fraction", ctypes.c_long), ("tick", ctypes.c_long),
        ("rest", ctypes.c_long * 14),
    ]


class Wall:
    """What a helper is asked of the clock of its machine."""

    def __init__(self, helper: Any) -> None:
        self.helper = helper
        self.known: Any = {}
        self.setting = threading.Lock()
        for name in ("wall", "set", "ahead"):
            setattr(helper, f"do_{name}", getattr(self, name))

    def wall(self, controller: str) -> Any:
        """Why it cannot be put wrong for a controller of that boot; changes nothing."""
        why, mend = refusal(controller)
        return {"why": why, "mend": mend}

    def set(self, controller: str, nanoseconds: int) -> Any:
        """Put it wrong by so much, or right (0)."""
        state = self.helper.state
        with self.setting:
            if nanoseconds and "clock" not in state:
                with self.helper.changing:
                    self.known = state["clock"] = before(controller)
                    self.helper.keep()
            if nanoseconds:
                put(self.known, nanoseconds)
            elif "clock" in state:
                put_right(self.known)
                with self.helper.changing:
                    del state["clock"]
                    self.helper.keep()
        return {}

    def ahead(self, controller: str) -> Any:
        """By how much it is ahead of what it was before the last fault, or is now, and by how much that may be wrong."""
        with self.setting:
            self.known = self.known or before(controller)
            start, error = read()
        return {"ahead": start - self.known["start"], "inexact": error}


def refusal(controller: str) -> tuple[str, str]:
    """Why the clock of this machine is not to be put wrong for a controller of that boot, in a sentence, and the mend; both
    empty where it may be. Changes nothing."""
    try:
        _own(controller)
        _adjust(_ADJ_TICK, tick=_adjust().tick)
    except OSError as error:
        return f"{error.strerror}.", _MEND
    for pid in sorted(seen()):
        if name := steers(pid):
            return f"{name} (process {pid}) steers its clock, and would put it right in the middle of a fault.", _stopping(pid)
    return "", ""


def steers(pid: int) -> str:
    """The name of a process that steers the clock of this machine, whoever it runs as, also in a container: its clock is the
    machine's. Empty for any other."""
    with contextlib.suppress(OSError):
        name = Path("/proc", str(pid), "comm").read_text().strip()
        if name in _STEERING and lives(pid):
            told = re.search(r"^CapPrm:\s*(\w+)$", Path("/proc", str(pid), "status").read_text(), re.MULTILINE)
            may = told is None or int(told[1], 16) & _MAY_SET
            return name if may and families.is_beside(pid, os.getpid(), "user") else ""
    return ""


def _stopping(pid: int) -> str:
    """How a process is stopped for as long as its machine is a node."""
    if not families.is_beside(pid, os.getpid()):
        return "stop the container that it runs in, and start it afterwards"
    with contextlib.suppress(OSError):
        unit = re.search(r"/([^/\n]+\.service)$", Path("/proc", str(pid), "cgroup").read_text(), re.MULTILINE)
        if unit:
            return f"systemctl stop {unit[1]}, and systemctl start {unit[1]} afterwards"
    return f"kill {pid}"


def read() -> tuple[int, int]:
    """Nanoseconds from 1970 to the machine's start, as its clocks have it, and by how much that may be wrong."""
    best = 0, 1 << 62
    for _ in range(READS):
        before = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = time.time_ns()
        after = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        best = min(best, (now - (before + after) // 2, (after - before + 1) // 2), key=lambda one: one[1])
    return best


def before(controller: str) -> Any:
    """What `put` and `put_right` need to know of the clock as it is now. Raises `OSError` where it may not be put wrong."""
    _own(controller)
    told = _adjust()
    return {"controller": controller, "start": read()[0], "kept": [told.status, told.maxerror, told.esterror]}


def put(known: Any, nanoseconds: int) -> None:
    """Have the clock be so much ahead of what it would be. Raises `OSError`."""
    _own(known["controller"])
    for _ in range(MOVES):
        now, error = read()
        off = known["start"] + nanoseconds - now
        if abs(off) <= max(error, EXACT):
            return
        seconds, fraction = divmod(off, 10**9)
        _adjust(_ADJ_SETOFFSET | _ADJ_NANO, seconds=seconds, fraction=fraction)
    raise OSError(0, f"the machine's clock is off by {off / 1e9:.6f} s, and was moved {MOVES} times: somebody else sets it")


def put_right(known: Any) -> bool:
    """Have the clock be as if nobody had put it wrong, with what the kernel knew of it; whether it was wrong. Raises
    `OSError`."""
    _own(known["controller"])
    now, error = read()
    wrong = bool(abs(known["start"] - now) > max(error, EXACT))
    put(known, 0)
    status, most, estimated = known["kept"]
    unit = _ADJ_NANO if status & _STA_NANO else _ADJ_MICRO
    _adjust(_ADJ_STATUS | _ADJ_MAXERROR | _ADJ_ESTERROR | unit, status=status, maxerror=most, esterror=estimated)
    return wrong


def _own(controller: str) -> None:
    """Raises `OSError` where the clock is not this machine's alone."""
    if not controller or boot() == controller:
        raise OSError(0, "it shares its kernel, and so its clock, with the machine that splitbrain runs on")
    for kind, first in _FIRST.items():
        place = f"/proc/self/ns/{kind}"
        if os.path.exists(place) and os.stat(place).st_ino != first:  # noqa: PTH110, PTH116
            raise OSError(0, "it is a container, whose clock is that of the machine around it")


def _adjust(modes: int = 0, **fields: int) -> _Timex:
    """Call clock_adjtime(2); without modes it only tells. Raises `OSError`."""
    if sys.maxsize < 1 << 32:
        raise OSError(0, "the clock of a machine can be put wrong where Python has 64 bits only")
    told = _Timex(modes=modes, **fields)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.clock_adjtime(ctypes.c_int(time.CLOCK_REALTIME), ctypes.byref(told)) < 0:
        raise OSError(0, f"its clock cannot be set: {os.strerror(ctypes.get_errno())}")
    return told
