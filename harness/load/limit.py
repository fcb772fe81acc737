"""How long a call may take: one timer for all calls of a worker, for one for each of them is a tenth of what a call costs."""

from __future__ import annotations

import asyncio
from types import TracebackType


class Limit:
    """Bounds what is within it in time, again and again, as `asyncio.timeout` does once: the task is cancelled, and what comes
    out is a `TimeoutError`. The timer is set anew only when it goes off, and so mostly outlives the call that began it."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._task: asyncio.Task[object] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ends = 0.0
        self._others = 0
        """How many cancel the task for reasons of their own."""
        self._over = False

    @property
    def entered(self) -> bool:
        """Whether something is within it at this moment."""
        return self._task is not None

    def __enter__(self) -> None:
        """Raises `RuntimeError` outside of a task."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be bounded in time")
        self._task, self._others, self._over = task, task.cancelling(), False
        loop = task.get_loop()
        self._ends = loop.time() + self._seconds
        if self._timer is None:
            self._timer = loop.call_at(self._ends, self._look, loop)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        task, self._task = self._task, None
        if self._over and task is not None and task.uncancel() <= self._others and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def end(self) -> None:
        """The time of what is within is over now."""
        if self._task is not None and not self._over:
            self._over = True
            self._task.cancel()

    def close(self) -> None:
        """Nothing more will be within."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        if self._task is None:
            return
        if loop.time() < self._ends:
            self._timer = loop.call_at(self._ends, self._look, loop)
        else:
            self.end()
