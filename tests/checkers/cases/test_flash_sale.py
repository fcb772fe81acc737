"""A flash sale against the obvious way to count it: every bound, every name, and whose evidence stands alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.attribution import attribute
from splitbrain.checkers.cases.flash_sale import FlashSaleChecker
from splitbrain.checkers.judge import judge as judged
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from tests.checkers import scenes

STOCK = 2


def call(f: str, value: Any, at: int, outcome: Any = "ok", key: Any = 0, **fields: Any) -> Operation:
    return Operation(process=at, f=f, key=key, value=value, outcome=outcome, invoked=10 * at,
                     completed=None if outcome == "info" else 10 * at + 5, **fields)


def judge(operations: Sequence[Operation]) -> Verdict:
    return FlashSaleChecker(STOCK).check(Recording(history=History.of(operations), nodes=("n1",)))


def figures(verdict: Verdict) -> dict[str, tuple[int, int]]:
    return {one.name: (one.least, one.most) for one in verdict.figures}


def test_a_sale_that_keeps_its_promises_is_not_accused() -> None:
    verdict = judge([
        call("read", None, 0), call("buy", (None, 11), 1), call("buy", (None, 21), 2, "fail", error="mismatch", seen=(11,)),
        call("buy", (11, 32), 3), call("pay", (None, 4), 4, key="payment-11"),
        call("pay", (None, 5), 5, "fail", key="payment-11", error="mismatch", seen=(4,)), call("read", 32, 6),
    ])
    assert verdict.validity == "valid" and not verdict.counts
    assert figures(verdict) == {
        "units sold": (2, 2), "units sold that were not there": (0, 0), "confirmed orders that vanished": (0, 0),
        "payments carried out more than once": (0, 0), "requests of customers turned away": (0, 0),
    }


def test_two_sides_sell_one_stock_and_one_book_stays() -> None:
    operations = [
        call("buy", (None, 11), 1), call("buy", (11, 22), 2), call("buy", (11, 32), 3), call("read", 32, 4),
        call("pay", (None, 5), 5, key="p"), call("pay", (None, 6), 6, key="p"), call("read", 0, 7, "fail", error="timeout"),
    ]
    verdict = judge(operations)
    assert verdict.counts == {"lost-write": 1, "oversold": 1, "charged-twice": 1}
    assert [one.by for one in verdict.standings] == [("lost-write",), ("oversold",), ("charged-twice",)]
    assert figures(verdict)["requests of customers turned away"] == (1, 1)
    told = judged(Recording(history=History.of(operations), nodes=("n1",)), (FlashSaleChecker(STOCK),))
    assert (told.heading, told.anomalies[0].identifier) == ("ORDERS NOT KEPT", "lost-write"), "heading and evidence are one"
    for anomaly in verdict.anomalies:
        assert anomaly.identifier in judge(anomaly.operations).counts


def test_what_was_not_answered_is_in_the_upper_bounds_alone() -> None:
    verdict = judge([
        call("buy", (None, 11), 1), call("buy", (11, 22), 2), call("buy", (11, 32), 3, "info"), call("read", 22, 4),
        call("pay", (None, 5), 5, "info", key="p"), call("pay", (None, 6), 6, key="p"),
    ])
    assert verdict.validity == "valid"
    assert figures(verdict)["units sold that were not there"] == (0, 1)
    assert figures(verdict)["payments carried out more than once"] == (0, 1)
    assert figures(verdict)["requests of customers turned away"] == (0, 1)


def test_what_happened_before_the_fault_is_not_the_faults() -> None:
    """A unit was sold again in the calm; that the stock was exceeded by it showed only in the partition."""
    second = 10**9
    sales = [((None, 11), 1), ((None, 21), 2), ((21, 32), 6), ((32, 43), 7)]
    operations = [
        Operation(process=at, f="buy", key=0, value=value, invoked=at * second, completed=at * second + 5)
        for value, at in sales
    ]
    operations.append(Operation(process=9, f="read", key=0, value=43, invoked=20 * second, completed=20 * second + 5))
    recording = scenes.recording(faults=[scenes.fault()])
    verdict = attribute(FlashSaleChecker(3).check(
        Recording(history=History.of(operations), nodes=recording.nodes, faults=recording.faults)
    ), recording.faults)
    assert verdict.counts == {"lost-write": 1, "oversold": 1}
    assert verdict.outside == verdict.counts and not verdict.by_fault


def test_books_that_nobody_read_prove_nothing_and_other_functions_are_refused() -> None:
    verdict = judge([call("buy", (None, 11), 1)])
    assert verdict.validity == "unknown" and figures(verdict)["confirmed orders that vanished"] == (0, 1)
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge([call("write", 1, 0)])


OUTCOMES = st.sampled_from(["ok", "ok", "fail", "info"])
SALES = st.lists(st.tuples(st.integers(0, 6), OUTCOMES), max_size=7)
READS = st.lists(st.integers(0, 8), max_size=3)


@given(SALES, READS, st.lists(OUTCOMES, max_size=4))
def test_it_counts_as_one_would_by_hand(sales: list[tuple[int, Any]], shown: list[int], payments: list[Any]) -> None:
    """Order n is placed n-th and follows any order so far (0: none); the reads come after all of them, and may tell of an order
    that nobody placed."""
    operations, follows = [], {}
    for number, (before, outcome) in enumerate(sales, 1):
        follows[number] = min(before, number - 1)
        operations.append(call("buy", (follows[number] or None, number), number, outcome))
    operations += [call("read", last or None, 20 + at) for at, last in enumerate(shown)]
    operations += [call("pay", (None, 100 + at), 40 + at, outcome, key="p") for at, outcome in enumerate(payments)]
    confirmed = [number for number, (_, outcome) in enumerate(sales, 1) if outcome == "ok"]
    maybe = sum(outcome == "info" for _, outcome in sales)
    books: list[set[int]] = []
    for last in shown:
        book = set()
        while last in follows:
            book.add(last)
            last = follows[last]
        if last == 0:
            books.append(book)
    lost = [number for number in confirmed if books and not any(number in book for book in books)]
    verdict = judge(operations)
    beyond = max(0, len(confirmed) - STOCK)
    assert verdict.counts.get("oversold", 0) == beyond and verdict.counts.get("lost-write", 0) == len(lost)
    assert verdict.counts.get("charged-twice", 0) == max(0, payments.count("ok") - 1)
    told = figures(verdict)
    assert told["units sold"] == (len(confirmed), len(confirmed) + maybe)
    assert told["units sold that were not there"] == (beyond, max(0, len(confirmed) + maybe - STOCK))
    assert told["payments carried out more than once"] == (
        int(payments.count("ok") > 1), int(payments.count("ok") + payments.count("info") > 1)
    )
    assert (verdict.validity == "invalid") == bool(beyond or lost or payments.count("ok") > 1)
    for anomaly in verdict.anomalies:
        assert anomaly.identifier in judge(anomaly.operations).counts
