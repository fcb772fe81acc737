"""An acknowledged append that no final read finds is lost, and one that any of them finds is not."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from splitbrain import Operation
from splitbrain.checkers.judge import judge
from splitbrain.checkers.transactions import Transactions, check
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Phase, Recording
from tests.checkers.scenes import SECOND, fault
from tests.checkers.transactions import stores

FINAL = 20 * SECOND
HEALED = (fault(),)


def txn(process: int, begin: float, end: float, *micros: tuple[Any, ...], outcome: Any = "ok") -> Operation:
    completed = int(end * SECOND) if outcome != "info" else None
    return Operation(
        process=process, f="txn", value=list(micros), outcome=outcome, invoked=int(begin * SECOND), completed=completed,
        node="n1",
    )


def recorded(*operations: Operation, faults: Any = HEALED, final: bool = True) -> Recording:
    phases = (Phase("load", 0, 18 * SECOND), *([Phase("final-reads", FINAL, 30 * SECOND)] if final else []))
    return Recording(history=History.of(operations), nodes=("n1", "n2", "n3", "n4", "n5"), faults=faults, phases=phases)


KEPT, GONE = txn(0, 1, 2, ("append", "x", 1)), txn(1, 6, 7, ("append", "x", 2), ("append", "y", 3))
LATER = txn(2, 8, 9, ("append", "x", 4))
END = txn(3, 21, 22, ("r", "x", (1, 4)))


def test_an_acknowledged_append_that_is_nowhere_in_the_end_is_lost() -> None:
    result = judge(recorded(KEPT, GONE, LATER, END), (Transactions(),))
    assert result.counts == {"lost-append": 1}, "nobody looked at y"
    assert (result.validity, result.lost.total, result.lost.by_fault) == ("invalid", 1, {1: 1})
    anomaly = result.anomalies[0]
    assert [op.index for op in anomaly.operations] == [1, 3] and anomaly.key == "x" and anomaly.fault == 1
    assert "T1's append of 2 to x was acknowledged and is lost: in the end T2 read [1 4]" in anomaly.sentence
    refuted = {one.model for one in result.standings if one.state == "refuted"}
    assert refuted == {"strong-snapshot-isolation", "strict-serializable"}, "without the order of time nothing is wrong"
    alone = check(History.of([msgspec.structs.replace(GONE, value=[("append", "x", 2)]), END]))
    assert alone.validity == "invalid"


def test_it_is_lost_too_where_nothing_is_left_of_its_key() -> None:
    result = judge(recorded(GONE, txn(3, 21, 22, ("r", "x", None)), txn(4, 23, 24, ("r", "y", ()))), (Transactions(),))
    assert result.counts == {"lost-append": 2} and result.lost.total == 2


@pytest.mark.parametrize("operations", [
    (KEPT, GONE, LATER, END, txn(4, 23, 24, ("r", "x", (1, 4, 2)))),
    (KEPT, GONE, LATER, END, txn(4, 23, 24, ("r", "x", (1, 2, 4)))),
    (KEPT, txn(1, 6, 7, ("append", "x", 2), outcome="info"), LATER, END),
    (KEPT, txn(1, 6, 7, ("append", "x", 2), outcome="fail"), LATER, END),
    (KEPT, txn(1, 19, 20.5, ("append", "x", 2)), LATER, END),
    (KEPT, GONE, LATER),
    (KEPT, GONE, LATER, txn(3, 10, 11, ("r", "x", (1, 4)))),
    (KEPT, GONE, LATER, txn(3, 21, 22, ("r", "x", (1, 4)), outcome="fail")),
], ids=["found behind", "found by another", "indeterminate", "failed", "not before the end", "no read",
        "only a read of the load", "no answer"])
def test_what_is_not_proven_to_be_lost_is_not_told(operations: tuple[Operation, ...]) -> None:
    result = judge(recorded(*operations), (Transactions(),))
    assert "lost-append" not in result.counts and not result.lost.total


def test_reads_prove_no_loss_before_everything_was_healed() -> None:
    operations = (KEPT, GONE, LATER, END)
    for told in (recorded(*operations, final=False), recorded(*operations, faults=(fault(heal_began=None, healed=None),))):
        result = judge(told, (Transactions(),))
        assert "lost-append" not in result.counts
        assert result.validity == "invalid", "old it is all the same"


@pytest.mark.parametrize("seed", range(20))
def test_just_what_was_taken_out_of_a_store_is_found_to_be_lost(seed: int) -> None:
    rng = random.Random(seed)
    operations = stores.correct(rng, 60, lists=True)
    end = 1 + max(op.completed or op.invoked for op in operations)
    told = {(key, value) for op in operations if op.outcome == "ok" for f, key, value in op.value if f == "append"}
    out = {one for one in told if rng.random() < 0.3}
    seen = [(key, tuple(value for of, value in sorted(told - out) if of == key)) for key in {key for key, _ in told}]
    reads = [
        Operation(process=1000, f="txn", value=[("r", key, values)], invoked=end + 2 * at, completed=end + 2 * at + 1)
        for at, (key, values) in enumerate(seen)
    ]
    history = History.of([*operations, *reads])
    assert check(history, final=end).counts.get("lost-append", 0) == len(out)
    assert "lost-append" not in check(history).counts


TORN = txn(1, 6, 7, ("append", "x", 2), ("append", "y", 3))
UPON = txn(2, 8, 9, ("append", "y", 5), ("append", "x", 1))
BOTH = txn(3, 21, 22, ("r", "x", (1,)), ("r", "y", (3, 5)))


def test_nobody_claims_to_know_where_a_lost_append_stood() -> None:
    result = judge(recorded(TORN, UPON, BOTH), (Transactions(),))
    assert "G0" not in result.counts and result.counts["lost-append"] == 1
    states = {one.model: one.state for one in result.standings}
    assert {states[level] for level in ("consistent-view", "snapshot-isolation", "strict-serializable")} == {"refuted"}
    assert {states[level] for level in ("read-uncommitted", "read-committed", "read-atomic")} == {"undecided"}
    before = judge(recorded(TORN, UPON, BOTH, final=False), (Transactions(),))
    assert before.counts == {"G0": 1}, "nothing is lost as long as it may still be read: it came behind all that was read"


def test_the_places_of_what_was_found_are_known_beside_a_loss() -> None:
    crossed = (txn(4, 1, 9, ("append", "v", 1), ("append", "w", 2)), txn(5, 1, 9, ("append", "w", 1), ("append", "v", 2)))
    reads = txn(3, 23, 24, ("r", "v", (1, 2)), ("r", "w", (1, 2)))
    result = judge(recorded(TORN, UPON, *crossed, BOTH, reads), (Transactions(),))
    assert (result.counts["lost-append"], result.counts["G0"]) == (1, 1)
    assert {one.state for one in result.standings if one.model == "read-uncommitted"} == {"refuted"}


FIRST = txn(0, 1, 3, ("r", "x", (9,)), ("append", "x", 1))
OTHER = txn(1, 1, 4, ("r", "x", (9,)), ("append", "x", 2))
BEFORE, BETWEEN = txn(2, 0, 0.5, ("append", "x", 9)), txn(2, 3.2, 3.4, ("r", "x", (9, 1)))
AFTER = txn(2, 5, 6, ("r", "x", (9, 2)))


def updates(*operations: Operation) -> int:
    return check(History.of(operations)).counts.get("lost-update", 0)


def test_who_appended_to_a_version_that_another_appended_to_lost_an_update_also_where_lists_contradict_each_other() -> None:
    verdict = check(History.of([BEFORE, FIRST, OTHER, BETWEEN, AFTER]))
    assert verdict.counts == {"lost-update": 1, "incompatible-order": 1}
    (told,) = [one.sentence for one in verdict.anomalies if one.identifier == "lost-update"]
    assert "T1 and T2 both read x = [9] and appended to that" in told


@pytest.mark.parametrize("second", [
    txn(1, 3.5, 4, ("r", "x", (9, 1)), ("append", "x", 2)),  # It saw the first one's.
    txn(1, 1, 4, ("append", "x", 2)),  # What it appended to is not known.
    txn(1, 1, 4, ("r", "x", (9,)), ("append", "x", 2), outcome="info"),  # It may not have happened.
    txn(1, 1, 4, ("r", "x", (9,)), ("append", "y", 2)),
])
def test_nobody_lost_an_update_who_did_not_append_to_the_same_version(second: Operation) -> None:
    assert not updates(BEFORE, FIRST, second, BETWEEN, AFTER)


def test_who_read_what_it_was_yet_to_append_saw_no_version_before_it() -> None:
    early = txn(0, 1, 3, ("r", "x", (9, 1)), ("append", "x", 1))
    assert not updates(BEFORE, early, txn(1, 1, 4, ("r", "x", (9, 1)), ("append", "x", 2)), BETWEEN, AFTER)
