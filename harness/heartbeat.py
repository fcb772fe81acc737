"""The heartbeat: the harness watches its own clock, so that a stall of its own is never told as an outage of the database."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from splitbrain.harness.history.recording import Stall

BEAT = 0.05
"""Seconds between two beats."""
STILL = 0.25
"""Seconds without a beat from which on the harness stood still."""


async def heartbeat(clock: Callable[[], int], record: Callable[[Stall], None]) -> None:
    """Beat until cancelled, and `record` every time without a beat that was longer than `STILL`. `clock` tells nanoseconds
    from the start of the run."""
    last = clock()
    while True:
        await asyncio.sleep(BEAT)
        now = clock()
        if now - last > STILL * 1e9:
            record(Stall(began=last, ended=now))
        last = now
