"""One of several registers alone, against the search of all orders."""

from __future__ import annotations

import random

import numpy as np

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.registers.projections import decision, projected
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import CasRegister, MultiRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.fuzz import wild
from tests.checkers.linearizability.random_objects import object_history

MODEL = MultiRegister()


def test_what_one_register_refutes_is_refuted_and_so_is_its_evidence_alone() -> None:
    refuted = passed = missed = 0
    for seed in range(500):
        rng = random.Random(f"registers {seed}")
        history = object_history(rng, MODEL, 7, 4) if seed % 2 else History.of(wild(MODEL, rng))
        alone = projected(history, MODEL)
        assert alone is not None
        told = decision(check(alone[0], CasRegister(), processes=1), alone[1])
        valid = search(history, MODEL).valid
        if told is None:
            passed, missed = passed + 1, missed + (not valid)
            continue
        refuted += 1
        assert not valid, seed
        assert told.accused in told.rows
        assert not search(history.select(np.array(told.rows)), MODEL).valid, seed
    assert refuted > 100 and passed > 50 and missed > 5, (refuted, passed, missed)


def _transfers(count: int) -> list[Operation]:
    """One client after the other reads a register and writes another, both of few values."""
    held: dict[str, int] = {}
    operations = []
    for at in range(count):
        read, write = ("x", "y") if at % 2 else ("y", "x")
        before = held.get(read)
        held[write] = at % 7
        value = [["r", read, before], ["w", write, at % 7]]
        operations.append(Operation(process=at % 5, f="txn", value=value, invoked=10 * at, completed=10 * at + 12))
    return operations


def test_one_wrong_read_among_thousands_is_found_and_shown_with_what_it_takes() -> None:
    operations = _transfers(2000)
    assert check(History.of(operations), MODEL, time_limit=30).validity == "valid"
    for wrong in (99, 1500 % 7):
        value = [["r", "x", wrong], ["w", "y", 1901 % 7]]
        operations[1901] = Operation(process=1, f="txn", value=value, invoked=19010, completed=19022)
        verdict = check(History.of(operations), MODEL, time_limit=30)
        assert verdict.validity == "invalid" and verdict.coverage.methods == {"registers": 1}
        [anomaly] = verdict.anomalies
        assert anomaly.sentence.startswith("register x: ") and len(anomaly.operations) <= 3
        assert check(History.of(anomaly.operations), MODEL).validity == "invalid"
