"""Histories that were once judged wrongly, each standing for a kind."""

from __future__ import annotations

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import CasRegister, KeyValue
from splitbrain.checkers.sets import SetChecker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation
from splitbrain.harness.history.recording import Recording


def refused(expected: int | None, new: int, invoked: int, completed: int) -> Operation:
    return Operation(
        process=invoked, f="cas", value=(expected, new), outcome="fail", error=MISMATCH, invoked=invoked, completed=completed
    )


def spare_cas(last: int) -> list[Operation]:
    """600 writes, then cas 1→3 is refused, which only the unanswered cas 1→2 can explain; then a cas from `last` is."""
    past = [
        Operation(process=0, f="write", value=1000 + i, invoked=-10_000 + 10 * i, completed=-9_995 + 10 * i) for i in range(600)
    ]
    return [
        *past, Operation(process=3, f="write", value=1, invoked=0, completed=1), refused(1, 3, 2, 4),
        Operation(process=1, f="cas", value=(1, 2), outcome="info", invoked=3), refused(last, 3, 6, 7),
    ]


def test_what_explains_one_refusal_may_be_refuted_by_another() -> None:
    assert check(History.of(spare_cas(2)), CasRegister()).validity == "invalid"
    assert check(History.of(spare_cas(2)[-4:]), CasRegister()).validity == "invalid"
    assert check(History.of(spare_cas(9)), CasRegister()).validity == "valid"


def test_a_refusal_of_the_initial_value_that_nothing_had_replaced_is_explained() -> None:
    verdict = check(History.of([
        refused(None, 1, 10, 20), Operation(process=2, f="cas", value=(5, 6), invoked=15, completed=50),
        Operation(process=1, f="write", value=5, invoked=30, completed=40),
    ]), CasRegister())
    assert verdict.validity == "invalid"
    assert verdict.counts == {"unwritten-read": 1}
    assert not verdict.limits


def test_more_appends_of_one_text_than_there_were_are_explained() -> None:
    verdict = check(History.of([
        Operation(process=0, f="append", value="a", invoked=0, completed=1),
        Operation(process=1, f="append", value="a", outcome="info", invoked=2),
        Operation(process=2, f="put", value="b", outcome="info", invoked=3),
        Operation(process=3, f="get", value="aa", invoked=5, completed=6),
        Operation(process=4, f="append", value="a", invoked=7, completed=8),
        Operation(process=5, f="get", value="baa", invoked=9, completed=20),
    ]), KeyValue())
    assert verdict.validity == "invalid"
    assert list(verdict.counts) == ["duplicate"]
    assert not verdict.limits


def test_a_failed_addition_that_was_read_moves_no_front() -> None:
    """What is added after a read cannot be missed by it, whatever else the read returned."""
    operations = [
        Operation(process=0, f="add", value=1, outcome="fail", invoked=0, completed=1),
        Operation(process=1, f="read", value=(1,), invoked=2, completed=3),
        Operation(process=0, f="add", value=2, invoked=4, completed=5),
    ]
    verdict = SetChecker().check(Recording(history=History.of(operations), nodes=()))
    assert verdict.counts == {"aborted-read": 1}
