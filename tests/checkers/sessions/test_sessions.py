"""Sessions: the guarantees against their definitions, what is told of a break, and what must not be accused."""

from __future__ import annotations

import json
import random
from typing import Any

import msgspec
import pytest

import splitbrain
from splitbrain import Operation
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.sessions import GUARANTEES, MODELS, Sessions, guarantees, observations
from splitbrain.checkers.sessions.guarantees import Finding
from splitbrain.checkers.sessions.models import Guarantee
from splitbrain.checkers.transactions.decide import Facts
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Cut, Fault
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from tests.checkers.scenes import NODES, apart, overlapping
from tests.checkers.sessions import fuzz
from tests.checkers.transactions.histories import SHARED, of_line

CHECKER = "splitbrain.checkers.sessions.checker"


def sequence(*calls: tuple[Any, ...], nodes: tuple[str, ...] = ()) -> list[Operation]:
    """Acknowledged calls one after another, a second apart: (process, f, value) on the register `x`, or (..., key)."""
    return [
        Operation(
            process=process, f=f, value=value, key=key[0] if key else "x", invoked=at * 10**9, completed=at * 10**9 + 1000,
            node=nodes[process] if nodes else None,
        )
        for at, (process, f, value, *key) in enumerate(calls)
    ]


def judged(operations: list[Operation], *promised: Any, **options: Any) -> Verdict:
    checker = Sessions(promised, **options) if promised else Sessions(**options)
    return checker.check(Recording(history=History.of(operations), nodes=()))


def states(verdict: Verdict) -> dict[str, str]:
    return {one.model: one.state for one in verdict.standings}


@pytest.mark.servers  # as long as one
def test_random_small_histories_are_judged_as_the_definitions_say() -> None:
    found = fuzz.run(range(250))
    assert found["valid"] > 50 and found["invalid"] > 50


def test_where_causal_consistency_is_asked_first_the_same_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """As of large histories, where machine code is to be had."""
    monkeypatch.setattr(f"{CHECKER}.COMPILED_FROM", 0)
    monkeypatch.setattr(f"{CHECKER}.machine_code.available", lambda: True)
    looked: list[str] = []

    def find(facts: Facts, guarantee: Guarantee, budget: Budget) -> Finding:
        looked.append(guarantee)
        return guarantees.find(facts, guarantee, budget)

    monkeypatch.setattr(f"{CHECKER}.find", find)
    verdict = judged(sequence((0, "write", 1), (1, "read", 1)))
    assert {one.state for one in verdict.standings} == {"holds"} and not looked
    found = fuzz.run(range(250))
    assert found["valid"] and found["invalid"] and set(looked) == set(GUARANTEES)


def test_compare_and_sets_that_tell_what_they_saw_are_the_same_transactions_in_columns_as_one_by_one() -> None:
    def told(history: History) -> list[tuple[int, list[tuple[int, Any, int]]]]:
        micros = history.micros
        assert micros is not None
        columns = zip(micros.f.tolist(), micros.key.tolist(), micros.value.tolist(), strict=True)
        whole = [(f, micros.keys[key], value) for f, key, value in columns]
        return [(int(how), whole[micros.start[row]:micros.start[row + 1]]) for row, how in enumerate(history.outcome)]

    rng = random.Random(1)
    values = (None, 0, 1, 2, -5, 1 << 61)
    compared = 0
    for _ in range(300):
        operations = []
        for row in range(rng.randrange(1, 14)):
            f = rng.choice(("read", "write", "cas"))
            operations.append(Operation(
                process=row, f=f, value=rng.choices(values, k=2) if f == "cas" else rng.choice(values), key=rng.choice("ab"),
                outcome=rng.choice(("ok", "fail", "info")), invoked=row, completed=row + rng.randrange(1, 30),
                seen=(rng.choice(values),) if f == "cas" and rng.random() < 0.6 else (),
            ))
        history = History.of(operations)
        quickly = observations._quickly(history)
        assert quickly is not None
        if history.seen:
            compared += 1
            assert told(quickly) == told(observations._one_by_one(history))
    assert compared > 100


@pytest.mark.skipif(not SHARED.exists(), reason="the recorded histories are not here")
def test_histories_decided_by_brute_force_elsewhere() -> None:
    for line in (SHARED / "generated" / "small-sessions.jsonl").read_text().splitlines():
        told = json.loads(line)
        found = states(Sessions().check(Recording(history=of_line(told), nodes=())))
        names = {"causal": "session-guarantees", "sequential": "strong-session-serializable"}
        for model in MODELS:
            expected = "holds" if names.get(model, model) in told["holds"] else "refuted"
            assert found[model] == expected, (told["id"], model)


def test_a_client_that_misses_its_own_write() -> None:
    verdict = judged(sequence((0, "write", 1), (0, "read", None)))
    assert verdict.counts == {"missed-own-write": 1}
    assert "though it had itself written 1 of key x 1.000 s before" in verdict.anomalies[0].sentence
    assert states(verdict) == {
        "causal": "refuted", "sequential": "refuted", "read-your-writes": "refuted", "monotonic-reads": "holds",
        "monotonic-writes": "holds", "writes-follow-reads": "holds",
    }


def test_a_client_that_goes_back() -> None:
    verdict = judged(sequence(
        (0, "write", 1), (1, "write", 2), (2, "read", 1), (2, "read", 2), (3, "read", 2), (3, "read", 1),
    ))
    assert verdict.counts == {"read-went-back": 1}
    assert verdict.anomalies[0].operations[-1].process == 3
    assert verdict.reason.startswith("1 of 4 reads broke monotonic reads, worst 1.0 s; what holds is read your writes")


def test_an_order_that_nobody_contradicts_is_no_break() -> None:
    """A store may order writes as it likes: that 2 was written later does not make it the newer one."""
    verdict = judged(sequence((0, "write", 1), (1, "write", 2), (3, "read", 2), (3, "read", 1)))
    assert verdict.validity == "valid"


def test_an_effect_seen_before_its_cause() -> None:
    verdict = judged(sequence((0, "read", 2, "y"), (0, "write", 1, "x"), (1, "read", 1, "x"), (1, "write", 2, "y")))
    assert set(verdict.counts) == {"effect-before-cause"}


def test_a_cause_that_is_missed_breaks_causality_alone() -> None:
    verdict = judged(sequence(
        (0, "write", 1, "x"), (1, "read", 1, "x"), (1, "write", 2, "y"), (2, "read", 2, "y"), (2, "read", None, "x"),
    ))
    assert verdict.counts == {"causality-broken": 1}
    assert {model for model, state in states(verdict).items() if state == "holds"} == set(GUARANTEES)


def test_two_orders_of_two_writes_have_no_sequential_order_and_may_be_causal() -> None:
    crossed = sequence(
        (0, "write", 1, "x"), (1, "write", 2, "y"), (2, "read", 1, "x"), (2, "read", None, "y"), (3, "read", 2, "y"),
        (3, "read", None, "x"),
    )
    assert states(judged(crossed))["sequential"] == "refuted"
    assert judged(crossed).validity == "valid"
    assert judged(crossed, "sequential").counts == {"no-sequential-order": 1}


def test_values_that_repeat_accuse_nobody_and_prove_nothing() -> None:
    repeated = sequence((0, "write", 1), (0, "write", 2), (1, "write", 1), (0, "read", 2), (0, "read", 1), (0, "read", 2))
    verdict = judged(repeated)
    assert verdict.validity == "unknown" and not verdict.counts
    assert "written more than once" in verdict.reason


def test_what_may_have_happened_is_no_lie() -> None:
    operations = sequence((0, "write", 1), (1, "read", 1), (1, "read", 1))
    unanswered = Operation(process=0, f="write", value=1, key="x", outcome="info", invoked=0)
    assert judged([unanswered, *operations[1:]]).validity == "valid"
    assert judged([unanswered, *sequence((1, "read", None))]).validity == "valid"


def test_a_value_that_nobody_wrote_is_told_once() -> None:
    operations = sequence((0, "write", 1), (1, "read", 7))
    assert judged(operations).counts == {"unwritten-read": 1}
    assert judged(operations, alone=False).counts == {}
    assert judged(operations, initial=7).validity == "valid"


@pytest.mark.parametrize("seen", [(), (1,)])
@pytest.mark.parametrize("text", [False, True])
@pytest.mark.parametrize("other", [False, True])
def test_what_a_compare_and_set_that_failed_was_to_write_has_one_name(seen: tuple[int, ...], text: bool, other: bool) -> None:
    def value(number: int) -> Any:
        return f"v{number}" if text else number

    operations = sequence((0, "write", value(1)), (1, "cas", (value(7), value(2))), (2, "read", value(2)))
    told = tuple(map(value, seen))
    operations[1] = msgspec.structs.replace(operations[1], outcome="fail", error="mismatch", seen=told)
    if other:  # One that tells what it saw, on another key.
        more = sequence((3, "write", value(1), "y"), (4, "cas", (value(7), value(9)), "y"))
        operations += [more[0], msgspec.structs.replace(more[1], outcome="fail", error="mismatch", seen=(value(1),))]
    verdict = judged(operations)
    assert verdict.counts == splitbrain.check(operations, "cas-register").counts == {"aborted-read": 1}
    assert verdict.reason == "what was reported as failed was read."
    # It was written by another too: then that is what was read, and nothing is left out.
    operations[2:2] = sequence((1, "write", value(2)))
    operations[2] = msgspec.structs.replace(operations[2], invoked=1_500_000_000, completed=1_600_000_000)
    assert judged(operations).validity == "valid"


def test_a_transaction_of_other_steps_is_refused_and_not_left_out() -> None:
    operations = sequence((0, "txn", (("w", "x", 1),)), (1, "txn", (("inc", "x", 1),)), (2, "txn", (("r", "x", 2),)))
    with pytest.raises(UsageError, match=r"operation 1, txn .*'inc'"):
        judged(operations)
    operations[1] = msgspec.structs.replace(operations[1], outcome="fail")
    assert judged(operations).counts == {"unwritten-read": 1}


def test_only_what_was_promised_is_counted() -> None:
    back = sequence((0, "write", 1), (0, "read", None), (1, "read", 1))
    assert judged(back, "monotonic-reads").validity == "valid"
    assert judged(back, "monotonic-reads").counts == {}
    assert judged(back, "monotonic-reads", "read-your-writes").validity == "invalid"


def test_side_and_fault_are_told() -> None:
    nodes = ("n1", "n2", "n3")
    operations = sequence((0, "write", 1), (1, "read", 1), (0, "read", None), nodes=nodes)
    fault = Fault(id=1, nemesis="cut", scenario="cut", started=10**9, specs=(Cut(links=(("n1", "n2"),)),),
                  sides=(("n1",), ("n2", "n3")))
    verdict = Sessions().check(Recording(history=History.of(operations), nodes=nodes, faults=(fault,)))
    assert verdict.reason.startswith(
        "1 of 2 reads broke read your writes, all on the minority side (1 during a fault), worst 2.0 s"
    )


@pytest.mark.parametrize(("began", "where"), [(1, "all on the minority side"), (10, "all at n3")])
def test_a_side_is_that_of_all_cuts_together(began: int, where: str) -> None:
    """n3 is on the larger side of the first cut, and alone once the second is in force: before the read, or after it."""
    pair = apart(("n1", "n2"), ("n3", "n4", "n5"))
    cuts = overlapping(1, 0.5, 20, pair), overlapping(2, began, 20, apart(("n3",), ("n1", "n2", "n4", "n5")), beside=(pair,))
    operations = sequence((0, "write", 1), (1, "read", 1), (0, "read", None), nodes=("n3", "n4"))
    verdict = Sessions().check(Recording(history=History.of(operations), nodes=NODES, faults=cuts))
    assert verdict.reason.startswith(f"1 of 2 reads broke read your writes, {where} (1 during a fault)"), verdict.reason


def test_other_functions_are_refused() -> None:
    with pytest.raises(UsageError, match="not by 'enqueue'"):
        judged(sequence((0, "enqueue", 1)))


def test_a_read_of_the_beginning_that_is_also_written_accuses_nobody() -> None:
    # It found the beginning, or the write of the same value: told as the write's, it would come from the future.
    found = judged(sequence((0, "read", 0), (1, "write", 5), (0, "read", 5), (0, "write", 0)), initial=0)
    assert found.validity == "unknown" and not found.counts
    assert judged(sequence((0, "write", 5), (0, "read", 0), (0, "read", 5), (1, "write", 0)), initial=0).validity == "unknown"
    # Where nobody writes it, it is the beginning.
    assert judged(sequence((0, "write", 5), (0, "read", 0), (1, "write", 6)), initial=0).counts == {"missed-own-write": 1}


def test_what_nobody_read_proves_nothing() -> None:
    found = judged(sequence((0, "write", 1), (1, "write", 2)))
    assert found.validity == "unknown" and found.reason == "no read tells anything: nothing is proven."
    assert judged(sequence((0, "write", 1), (0, "read", None)), nil="wildcard").validity == "unknown"
    assert judged(sequence((0, "write", 1), (0, "read", 1))).validity == "valid"


def test_calls_that_failed_or_were_not_answered_oblige_nobody() -> None:
    write, read = sequence((0, "write", 1), (0, "read", 1))
    later = Operation(process=1, f="write", value=2, key="x", invoked=10, outcome="info")
    assert judged([write, later, read]).validity == "valid"
    failed = Operation(process=0, f="write", value=2, key="x", invoked=10_000, completed=20_000, outcome="fail")
    assert judged([write, failed, read]).validity == "valid"
    untold = Operation(process=0, f="read", value=7, key="x", invoked=10_000, completed=20_000, outcome="fail")
    assert judged([write, untold, read]).validity == "valid"
    # A compare-and-set that was not answered took effect where somebody read it.
    maybe = Operation(process=1, f="cas", value=(1, 2), key="x", invoked=10, outcome="info")
    seen = [Operation(process=2, f="read", value=value, key="x", invoked=at, completed=at + 5)
            for at, value in ((100_000, 2), (200_000, None))]
    assert judged([write, maybe, seen[0]]).validity == "valid"
    assert judged([write, maybe, *seen]).counts == {"read-went-back": 1}


STALE = sequence((1, "write", 1), (1, "write", 2), (2, "read", 2), (2, "read", 1), (3, "read", 2))


def test_a_check_that_ended_by_its_time_is_unknown_and_says_so() -> None:
    fine = STALE[:3]
    assert judged(fine, *GUARANTEES).validity == "valid"
    ended = judged(fine, *GUARANTEES, time_limit=0.0)
    assert ended.validity == "unknown" and "time limit of 0 s of processor time" in ended.reason
    assert ended.limits == ("time limit of 0 s of processor time",)
    assert {states(ended)[one] for one in GUARANTEES} == {"undecided"}


def test_a_busy_machine_changes_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if ten minutes passed between any two looks at the clock."""
    told = judged(STALE, "sequential")
    clock = iter(range(0, 10**9, 600))
    for name in ("monotonic", "perf_counter"):
        monkeypatch.setattr(f"splitbrain.checkers.budget.time.{name}", lambda: float(next(clock)))
    assert msgspec.structs.replace(judged(STALE, "sequential"), seconds=told.seconds) == told
