"""What the code of a database or a workload does against its contract: counted, told once, and survived.

An `OSError` out of a client's call, a primary that is no node, a `close` that hangs: none of it is worth the history that was
recorded until then. Each kind is one sentence with the file and line where it came from. One that comes a hundred times is no
bad luck any more, and ends the load (`Problems.many`).
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable

from splitbrain.harness.errors import described, place

MANY = 100
"""Times after which the same problem ends the load."""


class Problems:
    """Those of one run. `tell` hears of each kind the first time; `many` is called once, with the first that came too often."""

    def __init__(self, tell: Callable[[str], None], many: Callable[[str], None] = lambda text: None) -> None:
        self.counts: Counter[str] = Counter()
        self.many = many
        self._tell = tell

    def raised(self, what: str, error: BaseException) -> str:
        """`what` (a method) raised an error that its contract does not know; a short word for the history."""
        self.add(f"{place(error, foreign=True) or place(error)}{what} raised {described(error)}")
        return type(error).__name__

    def add(self, text: str) -> None:
        """Count a problem, and tell it if it is new."""
        self.counts[text] += 1
        if self.counts[text] == 1:
            self._tell(text)
        if self.counts[text] == MANY:
            self.many(text)


def is_cancelled() -> bool:
    """Whether somebody cancels this task: if not, a `CancelledError` is the person's own code raising one."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0
