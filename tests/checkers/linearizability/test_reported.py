"""Histories that were once judged wrongly, each standing for a kind."""

from __future__ import annotations

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import (
    CasRegister,
    Counter,
    KeyValue,
    PriorityQueue,
    Queue,
    Stack,
    UnorderedQueue,
)
from splitbrain.checkers.sets import SetChecker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation
from splitbrain.harness.history.recording import Recording


def refused(expected: int | None, new: int | None, invoked: int, completed: int) -> Operation:
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


def test_a_refusal_of_the_initial_value_is_told_with_what_was_under_way() -> None:
    """Somebody had written something: what was wrong is that it was found later, or the initial value again."""
    one, blind = Operation(process=0, f="write", value=1, outcome="info", invoked=26), refused(None, 2, 41, 47)
    three = Operation(process=4, f="write", value=3, invoked=72, completed=75)
    for last, name in (
        (Operation(process=5, f="read", value=1, invoked=80, completed=83), "stale-read"),
        (Operation(process=5, f="cas", value=(1, 4), invoked=80, completed=83), "split-brain"),
        (Operation(process=5, f="read", value=None, invoked=80, completed=83), "stale-read"),
    ):
        verdict = check(History.of([one, blind, three, last]), CasRegister())
        assert verdict.counts == {name: 1}, verdict.counts
    again = Operation(process=5, f="read", value=None, invoked=50, completed=53)
    assert check(History.of([one, blind, again]), CasRegister()).counts == {"non-monotonic-read": 1}


def test_a_refusal_beside_a_lineage_that_comes_back_to_the_initial_value_is_explained() -> None:
    verdict = check(History.of([
        Operation(process=0, f="cas", value=(None, 3), invoked=0, completed=2),
        Operation(process=1, f="cas", value=(1, None), outcome="info", invoked=3), refused(3, None, 5, 6),
        Operation(process=4, f="cas", value=(3, 1), invoked=9, completed=11),
    ]), CasRegister())
    assert verdict.counts == {"stale-read": 1} and not verdict.limits


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


def test_what_happened_without_an_answer_is_held_against_a_container() -> None:
    """4 was never taken, and 6, behind it, was: whenever that was."""
    for model, put, take in ((Queue(), "enqueue", "dequeue"), (PriorityQueue(), "enqueue", "dequeue")):
        first = Operation(process=0, f=put, value=4, invoked=0, completed=1)
        second = Operation(process=1, f=put, value=6, invoked=2, completed=3)
        other = Operation(process=3, f=take, value=4, invoked=4)
        taken = Operation(process=2, f=take, value=6, invoked=4)
        assert check(History.of([first, second, taken]), model).validity == "invalid"
        assert check(History.of([first, second, other, taken]), model).validity == "valid"


def test_what_was_taken_without_a_time_was_taken_all_the_same() -> None:
    """From a stack, 6 below 4, which was put on it before anybody began to take; from a bag, what was never in it twice."""
    for model, put, take, values in ((Stack(), "push", "pop", (6, 4)), (UnorderedQueue(), "enqueue", "dequeue", (6, 6))):
        first = Operation(process=0, f=put, value=6, invoked=0, completed=1)
        second = Operation(process=1, f=put if values[1] == 4 else take, value=values[1], invoked=2, completed=3)
        taken = Operation(process=2, f=take, value=6, invoked=4)
        assert check(History.of([first, second, taken]), model).validity == "invalid"
        assert check(History.of([first, taken]), model).validity == "valid"


def test_what_was_overwritten_was_not_lost() -> None:
    """By a register's checker as by that of texts: the put that a read missed was replaced properly later."""
    for put, get, model in (("put", "get", KeyValue()), ("write", "read", CasRegister())):
        calls = ((0, put, "a"), (0, put, "b"), (1, get, "a"), (0, put, "c"), (1, get, "c"))
        verdict = check(History.of([
            Operation(process=process, f=f, value=value, invoked=20 * at, completed=20 * at + 10)
            for at, (process, f, value) in enumerate(calls)
        ]), model)
        assert verdict.counts == {"stale-read": 1}


def test_followers_that_lag_have_lost_nothing() -> None:
    """Nobody read again in the end, so nobody knows that 2 is gone; wherever the read of 1 was answered."""
    for readers in (("n2", "n3"), ("n1",), (None,)):
        writes = [
            Operation(process=0, f="write", value=1, invoked=0, completed=10, node="n1", server="n1"),
            Operation(process=1, f="write", value=2, invoked=20, completed=30, node="n1", server="n1"),
        ]
        reads = [
            Operation(process=2 + at, f="read", value=1, invoked=40 + at, completed=50 + at, node=node, server=node)
            for at, node in enumerate(readers)
        ]
        assert check(History.of([*writes, *reads]), CasRegister()).counts == {"stale-read": len(reads)}


def test_none_may_be_an_element() -> None:
    operations = [
        Operation(process=0, f="enqueue", value=None, invoked=0, completed=1),
        Operation(process=1, f="dequeue", value=None, invoked=2, completed=3),
        Operation(process=0, f="enqueue", value=5, invoked=4, completed=5),
        Operation(process=1, f="dequeue", value=5, invoked=6, completed=7),
    ]
    for model in (Queue(), UnorderedQueue()):
        assert check(History.of(operations), model).validity == "valid"
        left_in = "invalid" if type(model) is Queue else "valid"
        assert check(History.of([operations[0], *operations[2:]]), model).validity == left_in


def test_a_wrong_sum_tells_the_two_numbers_and_shows_the_read() -> None:
    adds = [Operation(process=0, f="add", value=1, invoked=10 * i, completed=10 * i + 5) for i in range(1_000)]
    pending = Operation(process=1, f="add", value=1, outcome="info", invoked=0)
    read = Operation(process=2, f="read", value=7, invoked=20_000, completed=20_001)
    verdict = check(History.of([*adds, pending, read]), Counter())
    assert verdict.counts == {"out-of-bounds": 1}
    assert [operation.value for operation in verdict.anomalies[0].operations] == [7]
    assert "between 1000 and 1001" in verdict.anomalies[0].sentence
    for value in (1_000, 1_001):
        right = Operation(process=2, f="read", value=value, invoked=20_000, completed=20_001)
        assert check(History.of([*adds, pending, right]), Counter()).validity == "valid"
