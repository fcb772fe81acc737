"""A rate limiter against the obvious way to count it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.cases.rate_limiter import RateLimiterChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

LIMIT = 3
BEYOND, BLOCKED = "requests let through beyond the limit", "requests blocked though there was room"
ADMITTED, RIGHTLY = "requests admitted", "requests rightly blocked"


def ask(admitted: Any, at: int, outcome: Any = "ok", key: str = "a") -> Operation:
    value = (int(admitted), at) if outcome == "ok" else (0, at)
    return Operation(process=at, f="ask", key=key, value=value, outcome=outcome, invoked=10 * at, completed=10 * at + 5)


def judge(operations: Sequence[Operation]) -> tuple[Verdict, dict[str, int]]:
    verdict = RateLimiterChecker(LIMIT).check(Recording(history=History.of(operations), nodes=("n1",)))
    assert all(one.least == one.most for one in verdict.figures)
    return verdict, {one.name: one.least for one in verdict.figures}


def test_a_limiter_that_lets_through_what_may_pass_is_not_accused() -> None:
    verdict, told = judge([*(ask(at < LIMIT, at) for at in range(6)), *(ask(True, at, key="b") for at in range(10, 12))])
    assert verdict.validity == "valid" and told == {ADMITTED: 5, RIGHTLY: 3, BEYOND: 0, BLOCKED: 0}


def test_two_sides_that_count_apart_let_too_many_through_and_a_frozen_one_too_few() -> None:
    verdict, told = judge([*(ask(True, at) for at in range(5)), ask(False, 5), ask(True, 10, key="b"), ask(False, 11, key="b"),
                           ask(True, 12, "info", key="b")])
    assert verdict.counts == {"over-admitted": 2} and told == {ADMITTED: 6, RIGHTLY: 1, BEYOND: 2, BLOCKED: 2}
    assert verdict.anomalies[0].operations[-1].invoked == 30
    for anomaly in verdict.anomalies:
        assert judge(anomaly.operations)[0].counts == {"over-admitted": 1}


def test_nothing_admitted_proves_nothing_and_other_functions_are_refused() -> None:
    assert judge([ask(False, 1)])[0].validity == "unknown"
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge([Operation(process=0, f="write", key="a", value=1, invoked=0, completed=1)])


@given(st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["let through", "blocked", "fail", "info"])), max_size=14))
def test_it_counts_as_one_would_by_hand(requests: list[tuple[str, Any]]) -> None:
    operations = [
        ask(how == "let through", at, how if how in ("fail", "info") else "ok", key) for at, (key, how) in enumerate(requests)
    ]
    wrong = room = 0
    for key in "ab":
        left = LIMIT
        for _, how in (one for one in requests if one[0] == key):
            if how == "let through":
                wrong, left = wrong + (left <= 0), left - 1
        for _, how in (one for one in requests if one[0] == key):
            if how != "let through" and left > 0:  # An oracle would have let it through.
                room, left = room + 1, left - 1
    verdict, told = judge(operations)
    assert told[BEYOND] == verdict.counts.get("over-admitted", 0) == wrong and told[BLOCKED] == room
    assert told[ADMITTED] + told[RIGHTLY] + told[BLOCKED] == len(requests)
    for anomaly in verdict.anomalies:
        assert judge(anomaly.operations)[0].counts
