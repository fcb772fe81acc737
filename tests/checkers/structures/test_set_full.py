"""Elements that are lost: by when they were gone, whose fault that is, and whether anybody was told that they were kept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Phase, Recording
from tests.checkers.scenes import SECOND, fault

KEYS = ("x", "y")


def call(at: float, f: str, value: Any, key: str = "x", outcome: Any = "ok") -> Operation:
    return Operation(
        process=int(at * 1000), f=f, key=key, value=value, outcome=outcome, invoked=int(at * SECOND),
        completed=None if outcome == "info" else int((at + 0.01) * SECOND), node="n1",
    )


def recorded(operations: Sequence[Operation]) -> Recording:
    phases = (Phase("load", 0, 18 * SECOND), Phase("final-reads", 20 * SECOND, 30 * SECOND))
    return Recording(history=History.of(operations), nodes=("n1", "n2", "n3", "n4", "n5"), faults=(fault(),), phases=phases)


@pytest.mark.parametrize(("reads", "by_fault", "outside"), [
    ([(3, [2]), (7, [2])], {}, {"lost-element": 1}),  # The fault is from 0:05 to 0:13.
    ([(3, [1, 2]), (7, [2])], {1: {"lost-element": 1}}, {}),
    ([(3, [2]), (4, [1, 2]), (7, [2])], {1: {"lost-element": 1}}, {}),
    ([(3, [2]), (15, [1, 2])], {1: {"lost-element": 1}}, {}),
    ([], {1: {"lost-element": 1}}, {}),
])
def test_what_was_gone_before_a_fault_is_not_its_doing(
    reads: list[tuple[float, list[int]]], by_fault: dict[int, dict[str, int]], outside: dict[str, int]
) -> None:
    """Every set has the elements 1 and 2, of which the last reads show 2 alone."""
    made = [
        one for at, key in enumerate(KEYS)
        for one in (call(1 + at / 10, "add", 1, key), call(2 + at / 10, "add", 2, key), call(21 + at / 10, "read", [2], key),
                    *(call(when + at / 10, "read", value, key) for when, value in reads))
    ]
    [verdict] = [one for one in judge(recorded(made), (SetFullChecker(),)).verdicts if one.checker == "set-full"]
    assert verdict.counts["lost-element"] == len(KEYS) == verdict.lost.total
    doubled = {name: count * len(KEYS) for name, count in outside.items()}
    assert {id: {"lost-element": found["lost-element"]} for id, found in verdict.by_fault.items() if "lost-element" in found} \
        == {id: {name: count * len(KEYS) for name, count in found.items()} for id, found in by_fault.items()}
    assert {name: count for name, count in verdict.outside.items() if name == "lost-element"} == doubled


@pytest.mark.parametrize(("outcome", "lost"), [("ok", 1), ("info", 0)])
def test_what_nobody_acknowledged_is_no_acknowledged_write_that_is_gone(outcome: str, lost: int) -> None:
    elements = [call(1, "add", 1, outcome=outcome), call(2, "read", [1]), call(21, "read", [])]
    whole = judge(recorded(elements), (SetFullChecker(),))
    assert (whole.counts, whole.lost.total) == ({"lost-element": 1}, lost)
    waiting = [call(1, "enqueue", 1, outcome=outcome), call(2, "read", [1]), call(21, "read", [])]
    queue = judge(recorded(waiting), (QueueChecker(),))
    assert (queue.counts, queue.lost.total) == ({"lost-element": 1}, lost)
