"""How an injector asks servers that may refuse, be lost, or not answer: for a bounded time, and again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from splitbrain.harness.errors import Indeterminate, Refused
from splitbrain.nemeses.cluster import POLL

T = TypeVar("T")


async def answer(request: Awaitable[T], seconds: float) -> tuple[T] | None:
    """What a server answers within so many seconds, alone in a tuple, for an answer may be nothing; None where it refuses, is
    lost, or takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return (await request,)
    except (Refused, Indeterminate, TimeoutError):
        return None


async def until(true: Callable[[], Awaitable[T | None]], seconds: float) -> T | None:
    """Ask again and again, until something comes of it; None where nothing does. Nothing is asked once so many seconds are
    over."""
    end = asyncio.get_running_loop().time() + seconds
    while not (found := await true()):
        await asyncio.sleep(POLL)
        if asyncio.get_running_loop().time() >= end:
            return None
    return found
