"""The clock of one process, put wrong: by every way in which programs ask for the time, and right again afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from splitbrain.harness.testbeds import clocks

ASKS = """
import ctypes, datetime, sys, time
libc = ctypes.CDLL(None)
class timeval(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("us", ctypes.c_long)]
class timespec(ctypes.Structure):
    _fields_ = [("s", ctypes.c_long), ("ns", ctypes.c_long)]
libc.time.restype = ctypes.c_long
for line in sys.stdin:
    tv, ts = timeval(), timespec()
    libc.gettimeofday(ctypes.byref(tv), None)
    libc.clock_gettime(5, ctypes.byref(ts))
    print(time.time(), tv.s + tv.us / 1e6, libc.time(None), ts.s + ts.ns / 1e9, time.monotonic(),
          libc.clock_gettime(77, ctypes.byref(ts)), libc.gettimeofday(None, None), flush=True)
"""

WHOLE = 1.05
"""One of the ways tells whole seconds."""

pytestmark = pytest.mark.skipif(bool(clocks.refusal()), reason=clocks.refusal())


class Asked:
    """A process that tells its clocks."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def ahead(self) -> list[tuple[float, float]]:
        """How far each of its wall clocks is ahead of this process', in seconds, at least and at most; the other clock has to
        be right."""
        assert self.process.stdin is not None and self.process.stdout is not None
        before = time.time(), time.monotonic()
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        *told, monotonic, unknown, nowhere = map(float, self.process.stdout.readline().split())
        after = time.time(), time.monotonic()
        assert before[1] <= monotonic <= after[1] and (unknown, nowhere) == (-1, 0)
        return [(one - after[0], one - before[0]) for one in told]

    def skew(self, seconds: float) -> None:
        os.kill(self.process.pid, signal.SIGSTOP)
        while Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0] != "T":
            time.sleep(0.001)
        clocks.skew([self.process.pid], round(seconds * 1e9))
        os.kill(self.process.pid, signal.SIGCONT)


@contextmanager
def asked() -> Iterator[Asked]:
    with subprocess.Popen([sys.executable, "-c", ASKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Asked(process)
        assert process.stdin is not None
        process.stdin.close()


def test_every_wall_clock_of_one_process_is_wrong_and_right_again() -> None:
    with asked() as one, asked() as other:
        for seconds in (0.0, 60.0, -3600.25, 86_400 * 365.0, 0.0):
            one.skew(seconds)
            assert all(least - WHOLE <= seconds <= most + WHOLE for least, most in one.ahead()), seconds
            assert all(least - WHOLE <= 0 <= most + WHOLE for least, most in other.ahead())


def test_nothing_is_left_in_memory_once_it_is_right() -> None:
    with asked() as one:
        one.skew(60.0)
        one.skew(0.0)
        image, entries = clocks._image()
        base = clocks._mapped(one.process.pid)[0]
        with Path(f"/proc/{one.process.pid}/mem").open("rb", buffering=0) as memory:
            memory.seek(base)
            theirs = memory.read(len(image))
        assert all(theirs[entry : entry + 5] == image[entry : entry + 5] for entry in entries.values())


@pytest.mark.skipif(shutil.which("date") is None, reason="no date")
def test_a_program_that_is_started_anew_has_the_right_time() -> None:
    child = "import os, sys\nsys.stdin.readline()\nos.execvp('date', ['date', '+%s'])"
    with subprocess.Popen([sys.executable, "-c", child], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        Asked(process).skew(3600.0)
        told, _ = process.communicate("\n", timeout=60)
    assert abs(float(told) - time.time()) < 30
