"""Budget: the time and the memory that judging may take. One value, passed to whatever may be long, which looks at it."""

from __future__ import annotations

import os
import resource
import time

import msgspec

MEMORY = 2 << 30
"""Bytes by which a check may let the process grow, if nobody says otherwise."""
SHARE = 0.5
"""Of the memory that the machine has left when a check begins, so much may be used, even where it may use `MEMORY`."""


class Exhausted(Exception):
    """The time is up or the memory used, and nothing has been decided; the message says which limit it was."""


class Budget(msgspec.Struct, frozen=True):
    """What judging may take: until `deadline`, a moment of `time.monotonic`, and so many bytes of `memory` beyond the `held`
    ones that the process occupied before. `limit` is what people are told when the time is up. Where it counts what is
    `computed`, the deadline is a moment of `time.process_time`: how much is judged then does not depend on what else a machine
    has to do. That is for checks that compute in this process alone."""

    deadline: float = float("inf")
    memory: int = 3 << 30
    limit: str = "time limit"
    held: int = -1
    computed: bool = False

    @classmethod
    def of(cls, seconds: float, memory: int | None = None, *, computed: bool = False) -> Budget:
        """What a check may take that begins now; `memory` bytes, or `MEMORY` if there is as much to be shared."""
        if memory is None:
            memory = min(MEMORY, int(_available() * SHARE))
        limit = f"time limit of {seconds:.3g} s" + (" of processor time" if computed else "")
        return cls(_now(computed) + seconds, memory, limit, resident(), computed)

    @property
    def left(self) -> float:
        """Seconds until the deadline, negative behind it."""
        return self.deadline - _now(self.computed)

    @property
    def over(self) -> bool:
        """Whether the time is up."""
        return _now(self.computed) > self.deadline

    @property
    def grown(self) -> int:
        """Bytes by which this process has grown since the budget was given; 0 where that is not known."""
        return resident() - self.held if self.held >= 0 else 0

    @property
    def room(self) -> int:
        """Bytes that may still be taken."""
        return self.memory - self.grown

    def check(self) -> None:
        """Raise `Exhausted` where the time is up or the memory used. Costs some microseconds: in a loop over rows, look once
        in a thousand."""
        if self.over:
            raise Exhausted(self.limit)
        if self.held >= 0 and self.grown > self.memory:
            raise Exhausted(self.full)

    @property
    def full(self) -> str:
        """What people are told when the memory is used."""
        return f"memory limit of {self.memory / 2**20:.0f} MiB"

    def within(self, seconds: float, limit: str = "") -> Budget:
        """A part of this budget that ends after so many `seconds`, if this one does not end before; `limit` is what its end is
        then called."""
        ends = _now(self.computed) + seconds
        if ends >= self.deadline:
            return self
        return msgspec.structs.replace(self, deadline=ends, limit=limit or self.limit)

    def at_least(self, seconds: float) -> Budget:
        """This budget with no fewer than so many `seconds` left: what was found late is still to be told."""
        return msgspec.structs.replace(self, deadline=max(self.deadline, _now(self.computed) + seconds))


def _now(computed: bool) -> float:
    return time.process_time() if computed else time.monotonic()


FOREVER = Budget()
"""For what is small: no limit that anybody looks at."""


def resident() -> int:
    """The memory that this process occupies, in bytes; 0 where the system does not tell."""
    told = _told("/proc/self/statm")
    return int(told.split()[1]) * resource.getpagesize() if told else 0


def _available() -> int:
    """The bytes that this machine has left for programs; `MEMORY` over `SHARE` where it does not tell."""
    _, _, told = _told("/proc/meminfo").partition(b"MemAvailable:")
    return int(told.split()[0]) * 1024 if told else int(MEMORY / SHARE)


def _told(path: str) -> bytes:
    """What the system tells there, nothing where it does not. Asked often, and `Path.read_text` takes several times as long."""
    try:
        file = os.open(path, os.O_RDONLY)
    except OSError:
        return b""
    try:
        return os.read(file, 1 << 12)
    finally:
        os.close(file)
