"""Reads that are impossible whatever else happened, against the plain search."""

from __future__ import annotations

import random
import time

import msgspec
import numpy as np
import pytest

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.registers.impossible import decide_impossible
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.random_histories import register_history


def test_what_it_refutes_is_refuted_and_so_is_its_evidence_alone() -> None:
    names = set()
    for seed in range(600):
        history = register_history(random.Random(f"impossible {seed}"), unique=False, operations=9)
        decision = decide_impossible(history, CasRegister())
        if decision is not None:
            names.add(decision.identifier)
            assert search(history, CasRegister()).valid is False, seed
            assert search(history.select(np.array(decision.rows)), CasRegister()).valid is False, seed
    assert names == {"future-read", "unwritten-read", "stale-read", "aborted-read"}


def _few_values(count: int) -> list[Operation]:
    """One client after the other writes and reads one of five values, and another is never answered."""
    operations = []
    for at in range(count):
        value = at // 2 % 5
        f = ("write", "read")[at % 2]
        operations.append(Operation(process=at % 7, f=f, value=value, invoked=10 * at, completed=10 * at + 9))
        if at % 100 == 0:
            operations.append(Operation(process=1000 + at, f="write", value=6, outcome="info", invoked=10 * at))
    return operations


def test_one_wrong_read_of_few_values_is_found_at_once_and_shown_with_what_it_takes() -> None:
    operations = _few_values(3000)
    assert decide_impossible(History.of(operations), CasRegister()) is None
    place = next(at for at in range(2000, 3000) if operations[at].f == "read")
    for value, name, size in ((operations[place - 5].value, "stale-read", 3), (99, "unwritten-read", 1)):
        broken = [*operations]
        broken[place] = msgspec.structs.replace(broken[place], value=value)
        verdict = check(History.of(broken), CasRegister(), time_limit=30)
        assert (verdict.validity, verdict.counts) == ("invalid", {name: 1})
        [anomaly] = verdict.anomalies
        assert len(anomaly.operations) == size


def test_a_search_that_came_no_further_says_where_and_what_would_help(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", time.process_time)  # What others compute meanwhile is none of its time.
    operations = [
        Operation(process=at, f="cas", value=(at % 5, (at * 3 + 1) % 5), invoked=at % 40, completed=1000 + at)
        for at in range(60)
    ]
    operations += [Operation(process=100 + at, f="write", value=at % 5, outcome="info", invoked=2) for at in range(20)]
    operations.append(Operation(process=300, f="read", value=7, invoked=2000, completed=2001))
    verdict = check(History.of(operations), CasRegister(), time_limit=0.3, processes=1)
    assert verdict.validity == "unknown"
    assert "values that are written once" in verdict.reason and "unanswered" in verdict.reason
