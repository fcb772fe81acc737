"""Containers of repeated elements: what was taken more often than it was put in is refuted at once, and nothing else is."""

from __future__ import annotations

import random

import numpy as np
import pytest

from splitbrain.checkers.budget import FOREVER
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.containers.repeated import decide_repeated
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import MODELS
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.random_objects import object_history

MODEL_NAMES = ("queue", "unordered-queue", "stack", "priority-queue")


def named(*lines: tuple[str, object, int, int] | tuple[str, object, int, int, str]) -> tuple[str, tuple[int, ...]] | None:
    """What is found in calls (f, value, invoked, completed), each of a process of its own; they are acknowledged."""
    history = History.of([
        Operation(process=at, f=f, value=value, invoked=begin, completed=end, outcome=how[0] if how else "ok")  # type: ignore[arg-type]
        for at, (f, value, begin, end, *how) in enumerate(lines)
    ])
    decision = decide_repeated(history, "queue", "enqueue", "dequeue", FOREVER)
    return None if decision is None else (decision.identifier, decision.rows)


def test_each_name() -> None:
    twice = ("enqueue", 1, 0, 1), ("enqueue", 1, 2, 3)
    assert named(*twice, ("dequeue", 1, 4, 5), ("dequeue", 1, 6, 7)) is None
    assert named(*twice, ("dequeue", 1, 4, 5), ("dequeue", 1, 6, 7), ("dequeue", 1, 8, 9)) == ("duplicate", (0, 1, 2, 3, 4))
    assert named(*twice, ("dequeue", 2, 4, 5)) == ("unexpected", (2,))
    assert named(*twice, ("enqueue", 2, 3, 4, "fail"), ("dequeue", 2, 4, 5)) == ("aborted-read", (2, 3))
    assert named(*twice, ("dequeue", 2, 4, 5), ("enqueue", 2, 6, 7)) == ("future-read", (2, 3))
    assert named(*twice, ("dequeue", 2, 4, 6), ("enqueue", 2, 6, 7)) is None
    assert named(*twice, ("dequeue", 2, 4, 5, "info"), ("dequeue", None, 4, 5)) is None


@pytest.mark.parametrize("name", MODEL_NAMES)
def test_what_is_refuted_the_search_refutes(name: str) -> None:
    model = MODELS[name]()
    put, take = model.functions[:2]
    refuted = 0
    for seed in range(600):
        history = object_history(random.Random(seed), model, operations=8)
        decision = decide_repeated(history, name, put, take, FOREVER)
        if decision is not None:
            refuted += 1
            alone = history.select(np.array(decision.rows))
            assert search(history, model).valid is False and search(alone, model).valid is False
            again = decide_repeated(alone, name, put, take, FOREVER)
            assert again is not None and (again.identifier, len(again.rows)) == (decision.identifier, len(decision.rows))
    assert refuted > 20


def test_what_nobody_put_in_needs_no_search() -> None:
    """Too many calls at once for a search, of five elements."""
    rng = random.Random(1)
    calls = [
        Operation(process=at % 100, f=("enqueue", "dequeue")[at % 2], value=rng.randrange(5), invoked=at, completed=at + 1_000)
        for at in range(4_000)
    ]
    calls.append(Operation(process=100, f="dequeue", value=5, invoked=6_000, completed=6_001))
    for name in MODEL_NAMES[:2]:
        verdict = check(History.of(calls), MODELS[name]())
        assert verdict.counts == {"unexpected": 1} and not verdict.limits
