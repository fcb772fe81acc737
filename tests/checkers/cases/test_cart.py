"""Carts against the obvious way to judge them, item by item."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.cases.cart import CartChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording


def call(f: str, value: Any, at: int, outcome: Any = "ok") -> Operation:
    return Operation(process=at, f=f, key=0, value=value, outcome=outcome, invoked=10 * at,
                     completed=None if outcome == "info" else 10 * at + 5)


def judge(operations: Sequence[Operation]) -> Verdict:
    return CartChecker().check(Recording(history=History.of(operations), nodes=("n1",)))


def figures(verdict: Verdict) -> dict[str, tuple[int, int]]:
    return {one.name: (one.least, one.most) for one in verdict.figures}


def test_a_cart_that_keeps_what_is_put_is_not_accused() -> None:
    """What may have been taken may be gone, and what may have been put may be there."""
    verdict = judge([call("put", 1, 0), call("put", 2, 1), call("take", 1, 2), call("take", 2, 3, "info"),
                     call("put", 3, 4, "info"), call("view", (3,), 5)])
    assert verdict.validity == "valid" and not verdict.counts


def test_an_item_that_vanishes_and_one_that_comes_back_have_their_names() -> None:
    verdict = judge([call("put", 1, 0), call("put", 2, 1), call("take", 2, 2), call("view", (2,), 3), call("view", (2,), 4)])
    assert verdict.counts == {"lost-element": 1, "came-back": 1}
    assert [one.state for one in verdict.standings] == ["refuted", "refuted"]
    for anomaly in verdict.anomalies:
        assert judge(anomaly.operations).counts == {anomaly.identifier: 1}
    verdict = judge([call("put", 1, 0), call("take", 1, 1), call("view", (1,), 2), call("view", (), 3)])
    assert not verdict.counts, "it is not there for everybody"


def test_a_cart_that_nobody_saw_proves_nothing_and_other_functions_are_refused() -> None:
    early = judge([call("put", 1, 0), call("view", (1,), 1), call("put", 2, 2)])
    assert (early.validity, {one.state for one in early.standings}) == ("unknown", {"undecided"}), early
    assert early.reason == "no cart was viewed after its last change: nothing is proven."
    verdict = judge([call("put", 1, 0), call("put", 2, 1), call("take", 2, 2)])
    assert verdict.validity == "unknown"
    assert figures(verdict)["items that vanished from carts"] == (0, 1)
    assert figures(verdict)["removed items that came back"] == (0, 1)
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge([call("write", 1, 0)])


OUTCOMES = st.sampled_from(["ok", "ok", "info", "fail"])
ITEMS = st.lists(st.tuples(OUTCOMES, st.one_of(st.none(), OUTCOMES)), max_size=5)
VIEWS = st.lists(st.tuples(st.sets(st.integers(1, 5)), st.integers(0, 14)), max_size=4)


@given(ITEMS, VIEWS)
def test_it_judges_as_one_would_by_hand(items: list[Any], views: list[Any]) -> None:
    """Item n is put at 2n - 2 and taken, where it is, at 2n - 1."""
    operations = []
    for item, (put, take) in enumerate(items, 1):
        operations.append(call("put", item, 2 * item - 2, put))
        if take is not None:
            operations.append(call("take", item, 2 * item - 1, take))
    looks = [call("view", tuple(sorted(shown)), at) for shown, at in views]
    last = max((one.completed or 0 for one in operations if one.outcome == "ok"), default=0)
    end = [set(look.value) for look in looks if look.invoked > last]
    lost = [item for item, (put, take) in enumerate(items, 1)
            if put == "ok" and take in (None, "fail") and end and not any(item in shown for shown in end)]
    back = [item for item, (_, take) in enumerate(items, 1) if take == "ok" and end and all(item in shown for shown in end)]
    verdict = judge([*operations, *looks])
    assert verdict.counts.get("lost-element", 0) == len(lost) and verdict.counts.get("came-back", 0) == len(back)
    for anomaly in verdict.anomalies:
        assert judge(anomaly.operations).counts == {anomaly.identifier: 1}
