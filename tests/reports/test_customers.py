"""The operations of case studies, told in the words of what customers do."""

from __future__ import annotations

from typing import Any

import pytest

from splitbrain.harness.history.operation import Operation, Outcome
from splitbrain.reports import wording
from splitbrain.reports.customers import phrase
from splitbrain.workloads.cases.social_feed import NOBODY


def made(f: str, key: Any, value: Any, outcome: Outcome = "ok", error: str = "") -> Operation:
    return Operation(process=3, f=f, key=key, value=value, invoked=1, completed=2, outcome=outcome, error=error or None)


@pytest.mark.parametrize(("workload", "operation", "told"), [
    ("flash-sale", made("buy", 17, [None, 3501]), ("buy item 17 (order 3501, the first)", "confirmed")),
    ("flash-sale", made("buy", 17, [3501, 7102], "info", "timeout"),
     ("buy item 17 (order 7102, behind 3501)", "no answer (timeout)")),
    ("flash-sale", made("read", 17, 7102), ("look at item 17", "last order 7102")),
    ("flash-sale", made("read", "payment-7102", None), ('look at "payment-7102"', "not paid")),
    ("flash-sale", made("pay", "payment-7102", [None, 8]), ('pay "payment-7102" (attempt 8)', "carried out")),
    ("cart", made("view", 4, [1, 3]), ("view cart 4", "items 1 3")),
    ("cart", made("take", 4, 3), ("take item 3 out of cart 4", "confirmed")),
    ("messaging", made("send", 2, 12_001), ("send message 12 (copy 2) to inbox 2", "confirmed")),
    ("messaging", made("read", 2, [12_000, 13_000]), ("read inbox 2", "message 12, message 13")),
    ("social-feed", made("view", 19, [2, 5, 9]), ("user 2 views author 19", "posts 5 9")),
    ("social-feed", made("view", 19, [NOBODY]), ("somebody views author 19", "nothing")),
    ("social-feed", made("block", 19, 2, "fail", "no"), ("user 2 blocks author 19", "failed (no)")),
    ("social-feed", made("likes", "likes-1", 1), ("count likes-1", "1 like")),
    ("rate-limiter", made("ask", "customer-1-4", [0, 31]), ("a request of customer-1-4", "turned away, 31 counted")),
])
def test_an_operation_of_a_case_is_told_in_its_words(workload: str, operation: Operation, told: tuple[str, str]) -> None:
    assert phrase(operation, workload) == told


def test_what_is_not_shaped_like_one_is_told_as_it_is_and_nothing_is_hidden() -> None:
    for operation in (made("buy", 17, "odd"), made("view", 4, 7), made("read", 17, 7)):
        assert phrase(operation, "register") == wording.phrase(operation)
    assert phrase(made("buy", 17, "odd"), "flash-sale") == wording.phrase(made("buy", 17, "odd"))
    assert phrase(made("read", "a\u202eb", "\x1b[2J"), "flash-sale") == ('look at "a\\u202eb"', 'paid by attempt "\\u001b[2J"')
