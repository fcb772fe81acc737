"""Moments of a run, as everything that people read writes them: one clock on one screen."""

from __future__ import annotations


def clock(ns: int) -> str:
    """A moment of the run to the millisecond: `0:14.201`."""
    minutes, rest = divmod(max(0, ns) // 1_000_000, 60_000)
    return f"{minutes}:{rest // 1000:02d}.{rest % 1000:03d}"


def moment(ns: int) -> str:
    """A moment of the run to the second, rounded down: `0:14`."""
    return clock(ns)[:-4]
