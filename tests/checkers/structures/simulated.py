"""Objects that are right, used by clients at one time: every call takes effect at one moment between its beginning and its
end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from splitbrain import Operation
from splitbrain.checkers.verdict import Checker, Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording

Step = Callable[[str, Any, int], Any]
"""(f, value, process) -> what the call returns; it raises `LookupError` where the object decides against it."""


def simulated(
    rng: random.Random, calls: Callable[[random.Random, int], tuple[str, Any]], step: Step, length: int = 40, clients: int = 4
) -> list[Operation]:
    """What clients recorded: some calls were never answered, and took effect or did not; some failed."""
    free = dict.fromkeys(range(clients), 0)
    planned: list[tuple[int, int, int, int, bool, bool]] = []
    for _ in range(length):
        process = min(free, key=free.__getitem__)
        begin = free[process] + rng.randint(1, 9)
        end = begin + rng.randint(1, 30)
        free[process] = end
        lost = rng.random() < 0.06
        if lost:
            del free[process]
            free[max(free, default=0) + 1 + clients + len(planned)] = end
        planned.append((rng.randint(begin, end), begin, end, process, lost, rng.random() < 0.5))
    done = []
    for _, begin, end, process, lost, happens in sorted(planned):
        f, value = calls(rng, process)
        tick = process % 10
        blank = Operation(process=process, f=f, value=value, key=0, invoked=10 * begin + tick, completed=10 * end + tick)
        if lost and not happens:
            done.append(replace(blank, outcome="fail" if f == "read" else rng.choice(("fail", "info"))))
            continue
        try:
            told = step(f, value, process)
        except LookupError:
            done.append(replace(blank, outcome="fail", error="mismatch"))
            continue
        done.append(replace(blank, outcome="fail" if f == "read" else "info") if lost else replace(blank, value=told))
    return sorted(done, key=lambda one: one.invoked)


def judged(checker: Checker, operations: list[Operation]) -> Verdict:
    """The verdict on these operations; every anomaly that is shown proves itself."""
    verdict = checker.check(Recording(history=History.of(operations), nodes=()))
    for anomaly in verdict.anomalies:
        assert anomaly.sentence.endswith(".")
        again = checker.check(Recording(history=History.of(anomaly.operations), nodes=()))
        assert again.counts, (anomaly.identifier, anomaly.operations)
    return verdict
