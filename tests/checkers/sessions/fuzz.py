"""The checker of sessions against the definitions, on random small histories:
`python -m tests.checkers.sessions.fuzz 10000`."""

from __future__ import annotations

import random
import sys
import time

from splitbrain import Operation
from splitbrain.checkers.sessions import GUARANTEES, Sessions
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from tests.checkers.sessions.definitions import holds, sample


def compare(operations: list[Operation]) -> list[str]:
    """What the checker says of a history and the definitions do not; that what it tells alone proves itself included."""
    recording = Recording(history=History.of(operations), nodes=())
    verdict = Sessions().check(recording)
    states = {one.model: one.state for one in verdict.standings}
    wrong = []
    for model, guarantees in [*((one, (one,)) for one in GUARANTEES), ("causal", GUARANTEES)]:
        expected = "holds" if holds(operations, guarantees) else "refuted"
        if not any(one.outcome == "ok" for one in operations):
            continue
        if states[model] != expected:
            wrong.append(f"{model}: {states[model]}, but it is {expected}")
    if states["causal"] == "refuted" and states["sequential"] != "refuted":
        wrong.append("sequential, though not causal")
    if verdict.validity == "invalid" and not verdict.counts:
        wrong.append("nothing counted")
    for anomaly in verdict.anomalies:
        again = Sessions().check(Recording(history=History.of(anomaly.operations), nodes=()))
        if again.validity != "invalid":
            wrong.append(f"{anomaly.identifier} is not proven by {anomaly.operations}")
        if not anomaly.sentence.endswith("."):
            wrong.append(f"no sentence: {anomaly.sentence}")
    return wrong


def run(seeds: range) -> dict[str, int]:
    """Compare so many; raises `AssertionError` with the first history that differs."""
    found = {"valid": 0, "invalid": 0, "unknown": 0}
    for seed in seeds:
        operations = sample(random.Random(seed))
        if not operations:
            continue
        wrong = compare(operations)
        assert not wrong, f"seed {seed}: {wrong}\n" + "\n".join(map(repr, operations))
        found[Sessions().check(Recording(history=History.of(operations), nodes=())).validity] += 1
    return found


if __name__ == "__main__":
    began = time.monotonic()
    print(run(range(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)), f"{time.monotonic() - began:.0f} s")
