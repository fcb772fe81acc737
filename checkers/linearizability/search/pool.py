"""Judging several keys at once in processes of our own, which end with their parent."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import TIMEOUT_MAX, Timer
from typing import Any

import msgspec

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.search.rotation import TIME_IS_UP, rotate
from splitbrain.checkers.linearizability.search.start import start
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import History

GRACE = 0.1
"""Seconds that a process may take beyond its time before it is killed: its keys are undecided then."""
_ANSWER = 0.1
"""Seconds of its time that a process has for ending its last slice and telling what it found."""


class Pool:
    """Processes beside this one, each of which does one piece of work."""

    def __init__(self) -> None:
        self._running: list[subprocess.Popen[bytes]] = []

    def give(self, work: Callable[..., Any], arguments: tuple[Any, ...], budget: Budget, memory: int) -> None:
        """Begin a process that calls `work`, a function of a module, with these arguments and a budget that ends a little
        earlier than this one and has so many bytes. Raises `OSError`, and what pickle raises for what cannot be sent."""
        sooner = msgspec.structs.replace(budget, deadline=budget.deadline - _ANSWER, memory=memory)
        task = pickle.dumps((work, arguments, sooner))
        command = [sys.executable, "-m", "splitbrain.checkers.linearizability.search.worker"]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        # In a group of its own, for Ctrl-C is for this process, with which the others end.
        worker = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0,
        )
        self._running.append(worker)
        assert worker.stdin is not None
        worker.stdin.write(len(task).to_bytes(8, "big") + task)
        worker.stdin.flush()

    def answers(self) -> list[Any] | None:
        """What each came to, when all have ended; None where one failed."""
        found = []
        for worker in self._running:
            assert worker.stdout is not None
            answer = worker.stdout.read()
            if worker.wait() != 0:
                return None
            found.append(pickle.loads(answer))
        return found

    def kill(self) -> None:
        """End what still runs."""
        for worker in self._running:
            worker.kill()

    def close(self) -> None:
        """End what still runs, and leave nothing open."""
        for worker in self._running:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue


@contextmanager
def beside(budget: Budget) -> Iterator[Pool]:
    """A pool whose processes end when the block or the budget does."""
    pool = Pool()
    # A process that is slow to begin is slow to take its task, too.
    clock = Timer(min(budget.left + GRACE, TIMEOUT_MAX), pool.kill)
    clock.start()
    try:
        yield pool
    finally:
        clock.cancel()
        pool.close()


def judge_apart(
    histories: Sequence[History], model: Model, budget: Budget, workers: int
) -> list[Decision] | None:
    """The decisions on these histories, made by `workers` processes within the budget; None where processes are no help:
    the model cannot be sent (it was defined in a script), or a process failed.
    """
    if type(model).__module__ == "__main__":
        return None
    # The largest first, dealt round, so that every process has some of each.
    order = sorted(range(len(histories)), key=lambda at: -len(histories[at]))
    shares = [share for share in (order[k::workers] for k in range(workers)) if share]
    decisions: list[Decision | None] = [None] * len(histories)
    memory = max(0, budget.room) // len(shares)
    try:
        with beside(budget) as pool:
            for share in shares:
                if budget.over:
                    return None
                pool.give(searched, ([histories[at] for at in share], model), budget, memory)
            answers = pool.answers()
    except (OSError, pickle.PicklingError, AttributeError):
        return None
    if answers is None:
        return None
    for share, found in zip(shares, answers, strict=True):
        for at, decision in zip(share, found, strict=True):
            decisions[at] = decision
    return [decision for decision in decisions if decision is not None]


def searched(histories: Sequence[History], model: Model, budget: Budget) -> list[Decision]:
    """The decisions on these histories that a search finds within the budget."""
    searches = [start(history, model) for history in histories]
    rotate(searches, budget)
    return [search.decision(search.spent or TIME_IS_UP) for search in searches]
