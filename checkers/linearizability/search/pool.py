"""Searching several keys at once in processes of our own, which end with their parent."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from threading import Timer

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import History

GRACE = 0.1
"""Seconds that a process may take beyond its time before it is killed: its keys are undecided then."""
_ANSWER = 0.1
"""Seconds of its time that a process has for ending its last slice and telling what it found."""


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
    running: list[subprocess.Popen[bytes]] = []
    decisions: list[Decision | None] = [None] * len(histories)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-m", "splitbrain.checkers.linearizability.search.worker"]
    # A process that is slow to begin is slow to take its task, too.
    clock = Timer(budget.left + GRACE, _kill, [running])
    clock.start()
    try:
        memory = max(0, budget.memory - budget.grown) // len(shares)
        for share in shares:
            if budget.over:
                return None
            task = pickle.dumps(([histories[at] for at in share], model, max(0.0, budget.left - _ANSWER), memory))
            worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment)
            running.append(worker)
            assert worker.stdin is not None
            worker.stdin.write(len(task).to_bytes(8, "big") + task)
            worker.stdin.flush()
        for share, worker in zip(shares, running, strict=True):
            assert worker.stdout is not None
            answer = worker.stdout.read()
            if worker.wait() != 0:
                return None
            for at, decision in zip(share, pickle.loads(answer), strict=True):
                decisions[at] = decision
    except (OSError, pickle.PicklingError, AttributeError):
        return None
    finally:
        clock.cancel()
        for worker in running:
            if worker.poll() is None:
                worker.kill()
                worker.wait()
            for pipe in (worker.stdin, worker.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        continue
    return [decision for decision in decisions if decision is not None]


def _kill(running: list[subprocess.Popen[bytes]]) -> None:
    for worker in running:
        worker.kill()
