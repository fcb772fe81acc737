"""Pruning by what is still needed, against the search of all orders."""

from __future__ import annotations

import random

import pytest

from splitbrain.checkers.linearizability.search import jit
from splitbrain.checkers.linearizability.search.plain import search as plain
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import KeyValue, Model, MultiRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.random_objects import object_history


@pytest.mark.parametrize("model", [MultiRegister(), KeyValue()], ids=lambda model: model.name)
def test_against_plain(model: Model) -> None:
    told = {True: 0, False: 0}
    for seed in range(400):
        history = object_history(random.Random(seed), model, 8, 4)
        found = jit.from_problem(encode(history, model)).run(jit.FOREVER)
        assert found is not None and found is plain(history, model).valid, seed
        told[found] += 1
    assert min(told.values()) > 20


def test_reads_keep_what_they_need() -> None:
    """An early write that would cover what a slow reader needs is not tried: as many steps as there are operations."""
    many = 200
    operations = []
    for at in range(many):
        calls = [
            ([["w", "x", 2 * at + 1]], 8), ([["w", "x", 2 * at + 2]], 6),
            ([["r", "x", 2 * at + 2], ["w", "y", at]], 9), ([["r", "x", 2 * at + 1], ["w", "z", at]], 9),
        ]
        operations += [
            Operation(process=process, f="txn", value=value, invoked=10 * at, completed=10 * at + taken)
            for process, (value, taken) in enumerate(calls)
        ]
    hunt = jit.from_problem(encode(History.of(operations), MultiRegister()))
    assert hunt.run(20 * many) is True
