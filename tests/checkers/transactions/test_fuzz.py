"""A little of the fuzzer in every test run."""

from __future__ import annotations

import random
from typing import Any

import msgspec
import pytest

from splitbrain import Operation
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import checker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Outcome
from tests.checkers.transactions import fuzz


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_are_judged_as_the_levels_are_defined(seed: int) -> None:
    assert not fuzz.agrees(fuzz.random_registers(random.Random(seed)))
    assert not fuzz.agrees(fuzz.random_lists(random.Random(seed)))


def test_when_a_client_gave_up_says_nothing_of_when_its_transaction_took_effect() -> None:
    """A write that nobody answered was seen after one that began when its client had given up: it came later."""
    def transaction(process: int, value: tuple[Any, ...], outcome: Outcome, invoked: int, completed: int) -> Operation:
        return Operation(process=process, f="txn", value=value, outcome=outcome, invoked=invoked, completed=completed)

    operations = [
        transaction(1, (("w", "x", 1),), "info", 0, 1), transaction(0, (("w", "x", 2),), "ok", 2, 3),
        transaction(0, (("r", "x", 1),), "ok", 4, 5),
    ]
    assert checker.find(History.of(operations), Budget.of(60)).states["strict-serializable"] == "holds"
    answered = [msgspec.structs.replace(operations[0], outcome="ok"), *operations[1:]]
    assert checker.find(History.of(answered), Budget.of(60)).states["strict-serializable"] == "refuted"
