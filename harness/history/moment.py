"""Moments of a run, as everything that people read writes them: one clock on one screen."""

from __future__ import annotations

from typing import Annotated

import msgspec

Time = Annotated[int, msgspec.Meta(ge=-(1 << 61), le=1 << 61)]
"""Nanoseconds from the start of the run, as a journal tells them: what is computed of two of them is one of 64 bits."""


def clock(ns: int) -> str:
    """A moment of the run to the millisecond: `0:14.201`."""
    minutes, rest = divmod(max(0, ns) // 1_000_000, 60_000)
    return f"{minutes}:{rest // 1000:02d}.{rest % 1000:03d}"


def moment(ns: int) -> str:
    """A moment of the run to the second, rounded down: `0:14`."""
    return clock(ns)[:-4]
