"""What an aborted transaction appended is an aborted read also where no later list has it any more."""

from __future__ import annotations

from typing import Any

from splitbrain.checkers.transactions import check
from splitbrain.harness.history.history import History
from tests.checkers.transactions.test_lost_appends import txn

ABORTED = txn(0, 1, 4, ("append", "x", 1), outcome="fail")
EARLIER = txn(1, 0, 0.5, ("append", "x", 2))
DIRTY = txn(2, 2, 3, ("r", "x", (2, 1)))
LATER = txn(3, 5, 6, ("append", "x", 3))
END = txn(4, 7, 8, ("r", "x", (2, 3)))


def found(*operations: Any) -> dict[str, int]:
    return {name: count for name, count in check(History.of(operations)).counts.items() if name == "G1a"}


def test_what_was_rolled_back_and_seen_is_an_aborted_read() -> None:
    assert found(EARLIER, ABORTED, DIRTY, LATER, END) == {"G1a": 1}
    assert found(EARLIER, ABORTED, DIRTY, LATER) == {"G1a": 1}, "and so it is while nothing contradicts it"
    assert found(EARLIER, ABORTED, LATER, END) == {}


def test_it_is_one_wherever_it_stands_in_the_list() -> None:
    first, both = txn(2, 2, 3, ("r", "x", (1, 2))), txn(5, 7, 8, ("r", "x", (2, 3, 4)))
    assert found(EARLIER, ABORTED, first, LATER, txn(6, 6, 7, ("append", "x", 4)), both) == {"G1a": 1}


def test_what_may_have_happened_is_none() -> None:
    unknown = txn(0, 1, 4, ("append", "x", 1), outcome="info")
    assert found(EARLIER, unknown, DIRTY, LATER, END) == {}


def test_nobody_knows_whose_it_is_where_another_appended_the_same() -> None:
    again = txn(5, 1, 4, ("append", "x", 1))
    assert found(EARLIER, ABORTED, again, DIRTY, LATER, END) == {}
