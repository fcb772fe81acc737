"""A limit that is entered again and again, beside `asyncio.timeout`, which is entered once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop

from splitbrain.harness.load.limit import Limit

SHORT = 0.05
LONG = 3600.0

Bound = Callable[[], Any]
"""What bounds one call in time."""


async def hang() -> str:
    await asyncio.sleep(LONG)
    return "answered"


async def answer() -> str:
    await asyncio.sleep(0)
    return "answered"


async def refuse() -> str:
    await asyncio.sleep(0)
    raise ValueError("refused")


async def time_out_itself() -> str:
    async with asyncio.timeout(0):
        return await hang()


async def swallow() -> str:
    try:
        return await hang()
    except asyncio.CancelledError:
        return "swallowed"


async def fail_when_cancelled() -> str:
    try:
        return await hang()
    except asyncio.CancelledError:
        raise ValueError("failed") from None


HANGING: tuple[Callable[[], Awaitable[str]], ...] = (hang, time_out_itself, swallow, fail_when_cancelled)
ANSWERED: tuple[Callable[[], Awaitable[str]], ...] = (answer, refuse)


async def came_of(bound: Bound, call: Callable[[], Awaitable[str]]) -> str:
    try:
        async with bound():
            return await call()
    except (Exception, asyncio.CancelledError) as error:
        return type(error).__name__


def again_and_again(seconds: float) -> Bound:
    limit = Limit(seconds)

    @asynccontextmanager
    async def bound() -> Any:
        with limit:
            yield

    return bound


def run(work: Awaitable[Any], loop: Callable[[], asyncio.AbstractEventLoop]) -> Any:
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(asyncio.wait_for(work, 60))


LOOPS = pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])


@LOOPS
def test_it_is_what_a_timeout_of_each_call_is(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def outcomes(short: Bound, long: Bound) -> list[str]:
        hanging = [await came_of(short, call) for call in (*HANGING, *HANGING)]
        return hanging + [await came_of(long, call) for call in (*ANSWERED, *ANSWERED)]

    expected = run(outcomes(lambda: asyncio.timeout(SHORT), lambda: asyncio.timeout(LONG)), loop)
    assert expected == ["TimeoutError", "TimeoutError", "swallowed", "ValueError"] * 2 + ["answered", "ValueError"] * 2
    assert run(outcomes(again_and_again(SHORT), again_and_again(LONG)), loop) == expected


@LOOPS
def test_a_call_has_its_whole_time_though_the_timer_is_of_one_before(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    async def work() -> None:
        limit, running = Limit(0.2), asyncio.get_running_loop()
        with limit:
            pass
        await asyncio.sleep(0.1)
        began = running.time()
        with pytest.raises(TimeoutError), limit:
            await hang()
        assert running.time() - began > 0.19
        assert not limit.entered

    run(work(), loop)


@pytest.mark.parametrize("ended", [False, True])
def test_who_cancels_the_task_ends_it_also_where_the_time_is_over(ended: bool) -> None:
    async def work() -> None:
        limit = Limit(LONG)
        reached: list[str] = []

        async def call() -> None:
            with limit:
                await hang()
            reached.append("end")

        task = asyncio.create_task(call())
        while not limit.entered:
            await asyncio.sleep(0)
        if ended:
            limit.end()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert reached == [] and not limit.entered

    run(work(), uvloop.new_event_loop)


def test_an_end_comes_out_as_a_time_out_once() -> None:
    async def work() -> None:
        limit = Limit(LONG)
        limit.end()  # Nothing is within.
        with limit:
            await asyncio.sleep(0)
        task = asyncio.create_task(came_of(lambda: as_async(limit), hang))
        while not limit.entered:
            await asyncio.sleep(0)
        limit.end()
        limit.end()
        assert await task == "TimeoutError"
        assert task.cancelling() == 0
        limit.close()

    @asynccontextmanager
    async def as_async(limit: Limit) -> Any:
        with limit:
            yield

    run(work(), uvloop.new_event_loop)


def test_there_is_one_timer_and_none_once_it_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        original, timers = loop.call_at, []

        def call_at(*given: Any, **more: Any) -> asyncio.TimerHandle:
            timers.append(original(*given, **more))
            return timers[-1]

        monkeypatch.setattr(loop, "call_at", call_at)
        limit = Limit(LONG)
        for _ in range(100):
            with limit:
                pass
        assert len(timers) == 1 and not timers[0].cancelled()
        limit.close()
        assert timers[0].cancelled()
        with limit:
            pass
        assert len(timers) == 2
        limit.close()

    run(work(), asyncio.new_event_loop)


def test_outside_of_a_task_it_is_refused() -> None:
    with pytest.raises(RuntimeError):
        Limit(LONG).__enter__()
