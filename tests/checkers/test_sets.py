"""The set checker against the plain search, its evidence against itself, and every identifier by an example."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.checkers.attribution import attribute
from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability import check as linearizable
from splitbrain.checkers.linearizability.containers.growing import Growing
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import Set
from splitbrain.checkers.sets import SetChecker
from splitbrain.checkers.verdict import Lost, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Phase, Recording
from tests.checkers.scenes import SECOND, fault


def add(value: Any, invoked: int, completed: int | None, outcome: Any = "ok", **more: Any) -> Operation:
    return Operation(process=value, f="add", key=0, value=value, invoked=invoked, completed=completed, outcome=outcome, **more)


def read(value: Any, invoked: int, completed: int, **more: Any) -> Operation:
    return Operation(process=1000 + invoked, f="read", key=0, value=value, invoked=invoked, completed=completed, **more)


def check(*operations: Operation, **more: Any) -> Verdict:
    return SetChecker().check(Recording(history=History.of(operations), nodes=(), **more))


@st.composite
def histories(draw: st.DrawFn) -> list[Operation]:
    """Up to three additions and four reads of mostly sensible elements."""
    made = []
    names = range(draw(st.integers(1, 3)))
    for name in names:
        start, took = draw(st.tuples(st.integers(0, 10), st.integers(0, 5)))
        outcome = draw(st.sampled_from(["ok", "ok", "ok", "info", "fail"]))
        made.append(add(name, start, None if outcome == "info" and draw(st.booleans()) else start + took, outcome))
    for _ in range(draw(st.integers(1, 4))):
        start, took = draw(st.tuples(st.integers(0, 12), st.integers(0, 5)))
        odd = [] if draw(st.integers(0, 9)) else [draw(st.sampled_from([99, *names]))]
        made.append(read([*draw(st.sets(st.sampled_from(names))), *odd], start, start + took))
    return made


@settings(deadline=None)
@given(histories())
def test_it_agrees_with_the_plain_search_and_its_evidence_stands_alone(made: list[Operation]) -> None:
    found = check(*made)
    assert (found.validity != "invalid") == search(History.of(made), Set()).valid
    for anomaly in found.anomalies:
        assert 1 <= len(anomaly.operations) <= 6
        assert anomaly.identifier in check(*anomaly.operations).counts


@pytest.mark.parametrize(("identifier", "operations"), [
    ("lost-element", [add(1, 0, 1), read([1], 2, 3), read([], 4, 5)]),
    ("lost-element", [add(1, 0, None, "info"), read([1], 2, 3), read([], 4, 5)]),
    ("stale-read", [add(1, 0, 1), read([], 4, 5), read([1], 6, 7)]),
    ("duplicate", [add(1, 0, 1), read([1, 1], 2, 3)]),
    ("unexpected", [read([1], 2, 3)]),
    ("aborted-read", [add(1, 0, 1, "fail"), read([1], 2, 3)]),
    ("future-read", [read([1], 0, 1), add(1, 2, 3)]),
    ("reordered", [add(1, 0, 9), add(2, 0, 9), read([1], 1, 8), read([2], 1, 8)]),
    # The read began before the first addition was acknowledged, but it saw one that began later.
    ("stale-read", [add(1, 0, 3), add(2, 4, 5), read([2], 2, 6), read([1, 2], 7, 8)]),
])
def test_each_anomaly_by_its_name(identifier: str, operations: list[Operation]) -> None:
    found = check(*operations)
    assert (found.validity, set(found.counts)) == ("invalid", {identifier})
    assert [anomaly.identifier for anomaly in found.anomalies] == [identifier]


def test_an_indeterminate_addition_may_or_may_not_appear() -> None:
    assert check(add(1, 0, None, "info"), read([], 2, 3), read([1], 4, 5)).validity == "valid"
    assert check(add(1, 0, None, "info"), read([], 2, 3)).validity == "valid"


def test_every_lost_element_is_counted_and_some_are_shown_for_each_fault() -> None:
    second = SECOND
    lost = [add(n, n * second, n * second + 1) for n in range(30)]
    faults = (fault(1, 0, 10), fault(2, 15, 25))
    found = check(*lost, read([], 40 * second, 41 * second), faults=faults)
    assert found.counts == {"lost-element": 30}
    found = attribute(found, faults)
    assert found.lost == Lost(total=30, by_fault={1: 11, 2: 19})
    assert {anomaly.fault for anomaly in found.anomalies} == {1, 2}
    assert found.by_fault == {1: {"lost-element": 11}, 2: {"lost-element": 19}} and not found.outside


def test_only_final_reads_tell_that_an_element_is_lost() -> None:
    """A read of a lagging replica in the middle of a run that was killed is stale; more is not known."""
    operations = add(1, 0, 1), read([], 4, 5)
    assert set(check(*operations, phases=(Phase("load", 0),)).counts) == {"stale-read"}
    ended = (Phase("load", 0, 9), Phase("final-reads", 10, 20))
    assert set(check(*operations, phases=ended).counts) == {"stale-read"}
    assert set(check(*operations, read([], 12, 13), phases=ended).counts) == {"lost-element"}
    assert set(check(*operations, read([], 12, 13), read([1], 11, 12), phases=ended).counts) == {"stale-read"}


def test_how_stale_is_measured_from_the_acknowledgement() -> None:
    ms = 1_000_000
    found = check(add(1, 0, 10 * ms), read([], 30 * ms, 31 * ms), read([], 50 * ms, 51 * ms), read([1], 60 * ms, 61 * ms))
    late = found.staleness
    assert late is not None and (late.stale, late.reads) == (2, 3)
    assert (late.median_ms, late.p99_ms, late.max_ms) == pytest.approx((30, 39.8, 40))


def test_evidence_shows_only_the_elements_it_is_about() -> None:
    others = [add(n, 0, 1) for n in range(2, 50)]
    found = check(add(1, 0, 1), *others, read(list(range(2, 50)), 4, 5))
    assert [op.value for op in found.anomalies[0].operations] == [1, []]


def test_sets_do_not_mix() -> None:
    other = Operation(process=7, f="add", key=1, value=1, invoked=0, completed=1)
    assert set(check(other, read([1], 2, 3)).counts) == {"unexpected"}


def test_without_a_read_nothing_is_known() -> None:
    assert check(add(1, 0, 1)).validity == "unknown"


def test_other_operations_are_refused() -> None:
    with pytest.raises(UsageError, match="write"):
        check(Operation(process=1, f="write", key=0, value=1, invoked=0, completed=1))
    with pytest.raises(UsageError, match="no list"):
        check(read(5, 0, 1))


def test_sets_of_stores_with_dirty_reads_are_judged_as_by_the_plain_search() -> None:
    """Additions fail, are read all the same, are made twice or never answered: what the checker of runs calls invalid is what
    the search calls invalid, and it says that something was lost or stale only where leaving out the failed elements does
    not mend it."""
    invalid = 0
    for seed in range(400):
        rng = random.Random(seed)
        operations = []
        for process in range(rng.randint(2, 8)):
            start = rng.randint(0, 20)
            end = start + rng.randint(0, 6)
            if rng.random() < 0.5:
                outcome: Any = rng.choice(("ok", "ok", "fail", "info"))
                operations.append(Operation(
                    process=process, f="add", value=rng.randint(1, 3), outcome=outcome, invoked=start,
                    completed=None if outcome == "info" else end,
                ))
            else:
                value = tuple(rng.sample((1, 2, 3), rng.randint(0, 3)))
                operations.append(Operation(process=process, f="read", value=value, invoked=start, completed=end))
        operations.append(Operation(process=90, f="read", value=(1,), invoked=40, completed=41))
        history = History.of(operations)
        verdict = SetChecker().check(Recording(history=history, nodes=()))
        assert (verdict.validity == "valid") is search(history, Set()).valid, operations
        told = {op.value for op in operations if op.f == "add" and op.outcome != "fail"}
        clean = History.of([
            Operation(process=op.process, f="read", value=tuple(v for v in op.value if v in told), invoked=op.invoked,
                      completed=op.completed) if op.f == "read" else op for op in operations
        ])
        if search(clean, Set()).valid:
            assert not {"lost-element", "stale-read"} & set(verdict.counts), (verdict.counts, operations)
        invalid += verdict.validity == "invalid"
    assert 50 < invalid < 395


def test_a_set_of_a_file_gets_the_verdict_and_the_names_of_a_set_of_a_run() -> None:
    """One engine: whatever a file's set is said to show is among what the checker of runs counts, its evidence alone too."""
    names: set[str] = set()
    for seed in range(150):
        rng = random.Random(f"both {seed}")
        operations = []
        for process in range(rng.randint(3, 9)):
            start = rng.randint(0, 40)
            end = start + rng.randint(0, 8)
            if rng.random() < 0.5:
                outcome: Any = rng.choice(("ok", "ok", "ok", "info", "fail"))
                operations.append(Operation(
                    process=process, f="add", value=rng.choice((process, 1, 2)), outcome=outcome, invoked=start,
                    completed=None if outcome == "info" else end,
                ))
            else:
                value: list[Any] = [name for name in range(9) if rng.random() < start / 40]
                odd: list[list[Any]] = [[], [], [], value[:1], [True], ["1"]]
                value += rng.choice(odd)
                operations.append(Operation(process=process, f="read", value=value, invoked=start, completed=end))
        history = History.of(operations)
        of_run, of_file = SetChecker().check(Recording(history=history, nodes=())), linearizable(history, Set())
        assert (of_run.validity == "invalid") is (of_file.validity == "invalid"), seed
        for anomaly in of_file.anomalies:
            names.add(anomaly.identifier)
            assert anomaly.identifier in of_run.counts, seed
            assert anomaly.identifier in check(*anomaly.operations).counts, seed
    assert len(names) >= 5


def test_where_time_is_up_a_set_is_undecided_and_what_was_refuted_stays_refuted() -> None:
    operations = [add(n, 10 * n, 10 * n + 5) for n in range(400)]
    history = History.of([*operations, read([], 5000, 5001)])
    late = SetChecker(time_limit=-1).check(Recording(history=history, nodes=()))
    assert (late.validity, late.limits) == ("unknown", ("time limit of -1 s of processor time",))
    told: list[str] = []

    def report(identifier: str, *rest: Any, **more: Any) -> None:
        told.append(identifier)

    whole = Growing(history, np.arange(401), FOREVER)
    whole.budget = Budget.of(-1)
    growth = whole.judge(report, str)
    assert (growth.valid, growth.limit) == (False, "time limit of -1 s") and len(told) < 400
