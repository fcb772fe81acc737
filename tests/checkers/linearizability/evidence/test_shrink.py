"""The evidence of what a search refuted: it holds whatever the other operations did, and stands alone under its name."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from itertools import combinations
from typing import Any

import msgspec
import numpy as np
import pytest

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.evidence import shrink
from splitbrain.checkers.linearizability.evidence.explanation import Finding
from splitbrain.checkers.linearizability.search.optional import Trials
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import (
    MODELS,
    CasRegister,
    Counter,
    Model,
    MultiRegister,
    Mutex,
    OwnerMutex,
    Queue,
    ReentrantMutex,
    Register,
    Semaphore,
    Stack,
)
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation
from tests.checkers.linearizability.random_histories import register_history
from tests.checkers.linearizability.random_objects import object_history

PLENTY = 1 << 30
FINITE: tuple[Model, ...] = (Register(), CasRegister(), MultiRegister(), Mutex(), OwnerMutex(), ReentrantMutex(), Semaphore())


def _any_random(model: Model, rng: random.Random, operations: int = 7) -> History:
    if isinstance(model, CasRegister):
        return register_history(rng, operations=operations, unique=rng.random() < 0.3, values=3, broken=0.7)
    return object_history(rng, model, operations=operations)


def _never_linearizable(history: History, model: Model, rows: Iterable[int], others: Iterable[int]) -> bool:
    """Whether `rows` are refuted together with each choice of `others`: the slow and obvious way."""
    kept, free = sorted(rows), sorted(others)
    return all(
        search(history.select(np.array(sorted([*kept, *chosen]), np.int64)), model).valid is False
        for count in range(len(free) + 1) for chosen in combinations(free, count)
    )


def _counted(history: History, row: int) -> bool:
    return history.outcome[row] != 1 or shrink._refused(history, row)


@pytest.mark.parametrize("model", [*FINITE, Queue(), Stack(), Counter()], ids=lambda model: model.name)
def test_what_is_not_required_may_have_happened_or_not(model: Model) -> None:
    answers = []
    for seed in range(120):
        rng = random.Random(f"optional {model.name} {seed}")
        history = _any_random(model, rng)
        trials = Trials(encode(history, model))
        rows = trials.problem.rows
        required = [i for i in range(len(rows)) if rng.random() < 0.5]
        told = trials.refuted(required, trials.whole(), PLENTY)
        mine = [rows[i] for i in required]
        assert told is _never_linearizable(history, model, mine, set(rows) - set(mine)), seed
        answers.append(told)
    assert 4 < sum(map(bool, answers)) < 110


@pytest.mark.parametrize("model", FINITE, ids=lambda model: model.name)
def test_a_part_of_the_events_that_is_refuted_refutes_the_whole(model: Model) -> None:
    refuted = 0
    for seed in range(120):
        rng = random.Random(f"window {model.name} {seed}")
        history = _any_random(model, rng)
        trials = Trials(encode(history, model))
        states = trials.all_states()
        assert states is not None
        whole = trials.whole()
        decision = search(history, model)
        for at in range(len(whole.events)):
            window = trials.since(at, whole, states)
            if trials.refuted(window.events, window, PLENTY):
                assert decision.valid is False, (seed, at)
                refuted += at > 0
        if decision.stuck is not None:
            stuck = trials.problem.rows.index(decision.stuck)
            if trials.refuted(range(len(trials.problem.calls)), trials.until(stuck), PLENTY):
                assert decision.valid is False
    assert refuted > 5


def test_a_search_for_a_smaller_part_can_run_out_of_steps() -> None:
    history = History.of([_op("write", n % 3, 0, 9) for n in range(6)])
    trials = Trials(encode(history, Register()))
    assert trials.refuted(range(len(trials.problem.calls)), trials.whole(), 0) is None


def _exactly(verdict: Verdict, model: Model) -> None:
    for anomaly in verdict.anomalies:
        again = check(History.of(anomaly.operations), model)
        assert again.validity == "invalid", anomaly
        assert set(again.counts) == {anomaly.identifier}, (anomaly, again.counts)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_evidence_alone_shows_that_anomaly_and_no_other(name: str) -> None:
    model = MODELS[name]()
    shown = 0
    for seed in range(150):
        verdict = check(_any_random(model, random.Random(f"exact {name} {seed}"), operations=9), model)
        _exactly(verdict, model)
        shown += len(verdict.anomalies)
        assert verdict.validity != "invalid" or verdict.anomalies
    assert shown > 15


def _refuted_at_random(model: Model, label: str) -> Iterator[tuple[int, History, Finding, str]]:
    """Random histories that a search refutes, with their seed, what was found, and the limit that was hit."""
    for seed in range(150):
        history = _any_random(model, random.Random(f"{label} {model.name} {seed}"))
        decision = search(history, model)
        if decision.valid is False:
            yield seed, history, *shrink.refute(history, model, decision, FOREVER)


@pytest.mark.parametrize("model", FINITE, ids=lambda model: model.name)
def test_the_evidence_of_a_search_holds_whatever_the_others_did(model: Model) -> None:
    tried = 0
    for seed, history, finding, spent in _refuted_at_random(model, "whatever"):
        assert not spent
        mine = [row for row in finding.rows if _counted(history, row)]
        others = [row for row in range(len(history)) if _counted(history, row) and row not in mine]
        assert _never_linearizable(history, model, mine, others), (seed, finding)
        tried += 1
    assert tried > 15


@pytest.mark.parametrize("model", [Mutex(), OwnerMutex(), Semaphore(), MultiRegister()], ids=lambda model: model.name)
def test_no_operation_of_unnamed_evidence_can_be_left_out(model: Model) -> None:
    tried = 0
    for seed, history, finding, _ in _refuted_at_random(model, "minimal"):
        assert finding.identifier == "non-linearizable"
        everything = set(range(len(history)))
        for row in finding.rows:
            fewer = set(finding.rows) - {row}
            assert not _never_linearizable(history, model, fewer, everything - fewer), (seed, row)
        tried += 1
    assert tried > 10


def test_two_acquisitions_without_a_release_between_them_are_all_that_is_shown() -> None:
    operations, now = [], 0
    for turn in range(200):
        for f in ("acquire", "release"):
            operations.append(Operation(process=turn % 5, f=f, invoked=now, completed=now + 3))
            now += 5
    operations[250] = msgspec.structs.replace(operations[250], f="acquire")
    operations[251] = msgspec.structs.replace(operations[251], f="acquire")
    verdict = check(History.of(operations), Mutex())
    assert [len(anomaly.operations) for anomaly in verdict.anomalies] == [2]
    assert all(op.f == "acquire" for op in verdict.anomalies[0].operations)
    assert "whatever the others did" in verdict.anomalies[0].sentence


def test_ids_given_twice_are_two_operations() -> None:
    operations = [Operation(process=0, f="generate", value=n % 40, invoked=n, completed=n) for n in range(60)]
    verdict = check(History.of(operations), MODELS["id-generator"]())
    assert verdict.counts == {"duplicate-id": 1}
    assert len(verdict.anomalies[0].operations) == 2


def _op(f: str, value: Any, invoked: int, completed: int, outcome: Any = "ok", error: str | None = None) -> Operation:
    return Operation(process=invoked, f=f, value=value, invoked=invoked, completed=completed, outcome=outcome, error=error)


REFUSED: dict[str, list[Operation]] = {
    "stale-read": [_op("write", 1, 0, 1), _op("write", 2, 2, 3), _op("cas", (2, 3), 4, 5, "fail", MISMATCH)],
    "non-monotonic-read": [
        _op("write", 1, 0, 100), _op("read", 1, 2, 3), _op("cas", (1, 3), 4, 5, "fail", MISMATCH), _op("read", 1, 6, 7),
    ],
    "unwritten-read": [_op("cas", (None, 3), 0, 1, "fail", MISMATCH), _op("write", 1, 2, 3)],
    "aborted-read": [_op("write", 1, 0, 1, "fail"), _op("cas", (None, 3), 2, 3, "fail", MISMATCH)],
}


@pytest.mark.parametrize("identifier", sorted(REFUSED))
def test_a_refusal_without_a_reason_has_a_name(identifier: str) -> None:
    verdict = check(History.of(REFUSED[identifier]), CasRegister())
    assert verdict.counts == {identifier: 1}
    assert verdict.anomalies[0].operations[-1].error == MISMATCH or identifier == "non-monotonic-read"
    _exactly(verdict, CasRegister())


def test_a_refusal_between_a_newer_write_and_the_old_value_read_again() -> None:
    """It may have seen the newer value; then the old one must not be there again."""
    verdict = check(History.of([
        _op("write", 1, 0, 1), _op("write", 2, 2, 50), _op("cas", (1, 3), 10, 11, "fail", MISMATCH), _op("read", 1, 20, 21),
    ]), CasRegister())
    assert verdict.counts == {"non-monotonic-read": 1}
    _exactly(verdict, CasRegister())


@pytest.mark.parametrize("again", [False, True])
def test_a_refusal_while_one_that_nobody_answered_may_have_changed_the_value_is_not_of_an_unwritten_one(again: bool) -> None:
    """The unanswered one is part of the evidence: whether it happened or not, the refusal and what came later do not fit."""
    more = [_op("write", 1, 30, 31), _op("write", 1, 32, 33), _op("read", 1, 34, 35)] if again else []
    verdict = check(History.of([
        Operation(process=0, f="cas", value=(None, 9 if again else 1), invoked=0, outcome="info"),
        _op("cas", (None, 2), 10, 11, "fail", MISMATCH), _op("cas", (None, 3), 20, 21), *more,
    ]), CasRegister())
    assert verdict.counts == {"non-monotonic-read": 1}
    assert [op.value for op in verdict.anomalies[0].operations if op.outcome == "info"] == [(None, 9 if again else 1)]


def test_two_swaps_of_which_each_was_made_on_what_the_other_had_set() -> None:
    verdict = check(History.of([_op("cas", (1, 2), 0, 9), _op("cas", (2, 1), 1, 9)]), CasRegister())
    assert verdict.counts == {"future-read": 1}
    _exactly(verdict, CasRegister())


def test_a_value_written_twice_is_stale_whichever_write_was_read() -> None:
    verdict = check(History.of([
        _op("write", 1, 0, 1), _op("write", 1, 2, 3), _op("write", 2, 4, 5), _op("read", 1, 6, 7), _op("read", 2, 8, 9),
    ]), Register())
    assert verdict.counts == {"stale-read": 1}


def test_what_has_not_been_written_yet_is_not_called_unwritten() -> None:
    verdict = check(History.of([_op("cas", (1, 2), 0, 1), _op("write", 1, 2, 3), _op("write", 1, 4, 5)]), CasRegister())
    assert verdict.counts == {"future-read": 1}
    _exactly(verdict, CasRegister())


def test_a_past_the_moment_gives_what_there_is_and_says_so() -> None:
    operations = [_op("acquire", None, n, n) for n in range(0, 40, 2)]
    history = History.of(operations)
    finding, spent = shrink.refute(history, Mutex(), search(history, Mutex()), Budget.of(-1))
    assert "time limit" in spent
    assert search(history.select(np.array(finding.rows)), Mutex()).valid is False
    assert "whatever" not in finding.sentence


WRITING = ("write", "cas", "add", "enqueue", "push")


@pytest.mark.parametrize("name", ["register", "cas-register", "queue", "unordered-queue", "stack", "priority-queue", "set"])
def test_what_is_called_unwritten_is_written_nowhere_in_the_whole_history(name: str) -> None:
    model = MODELS[name]()
    claims = 0
    for seed in range(200):
        history = _any_random(model, random.Random(f"claim {name} {seed}"), operations=9)
        written = [op.value for op in history if op.f in WRITING and op.f != "cas"]
        written += [op.value[1] for op in history if op.f == "cas" and op.value[0] != op.value[1]]
        for anomaly in check(history, model).anomalies:
            if anomaly.identifier not in ("unwritten-read", "unexpected") or len(anomaly.operations) > 1:
                continue
            [op] = anomaly.operations
            if op.f == "cas" and op.outcome == "fail" and not op.seen:
                continue
            value = op.seen[0] if op.seen else op.value[0] if op.f == "cas" else op.value
            claims += 1
            assert (not set(value) <= set(written)) if name == "set" else value not in written, (seed, anomaly)
    assert claims > 5


def test_not_the_transaction_is_accused_at_which_the_search_turned_back() -> None:
    # The second leaves in z what the first, which cannot be at all, could not have found any more.
    values: list[Any] = [
        [("w", "y", 5), ("r", "z", None), ("r", "z", 3)], [("r", "z", None), ("w", "z", 3)], [("r", "z", 3), ("w", "x", 1)],
    ]
    times = [(0, 10), (1, 2), (12, 13)]
    operations = [
        Operation(process=process, f="txn", value=value, invoked=invoked, completed=completed)
        for process, (value, (invoked, completed)) in enumerate(zip(values, times, strict=True))
    ]
    verdict = check(History.of(operations), MultiRegister())
    assert verdict.limits == ()
    [found] = verdict.anomalies
    assert [operation.process for operation in found.operations] == [0]
    assert check(History.of(operations[1:]), MultiRegister()).validity == "valid"
