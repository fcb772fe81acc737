"""Pruning by what is still needed, against the search of all orders."""

from __future__ import annotations

import random

import msgspec
import pytest

from bench import generate
from splitbrain.checkers.linearizability.search import jit
from splitbrain.checkers.linearizability.search.plain import search as plain
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import (
    Counter,
    KeyValue,
    Model,
    MultiRegister,
    PriorityQueue,
    Queue,
    Stack,
    UnorderedQueue,
)
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.random_objects import object_history

MODELS = [MultiRegister(), KeyValue(), Counter(), Queue(), UnorderedQueue(), PriorityQueue(), Stack()]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
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


def few_values(rng: random.Random, model: Model, share: float) -> History:
    """A history of five values in which a `share` of the answers are others."""
    take = model.functions[1]
    operations = []
    for op in generate.operations(model.name, 12, clients=4, unsure=0.2, seed=rng.randrange(1 << 30), few=True):
        if op.f == take and rng.random() < share:
            other = op.value + rng.choice([-1, 1]) if isinstance(model, Counter) else rng.choice([0, 1, 2, None])
            op = msgspec.structs.replace(op, value=other)
        operations.append(op)
    return History.of(operations)


@pytest.mark.parametrize("model", MODELS[2:], ids=lambda model: model.name)
def test_of_few_values_against_plain(model: Model) -> None:
    told = {True: 0, False: 0}
    for seed in range(300):
        history = few_values(random.Random(f"{seed}"), model, 0.1)
        found = jit.from_problem(encode(history, model)).run(jit.FOREVER)
        assert found is not None and found is plain(history, model).valid, seed
        told[found] += 1
    assert min(told.values()) > 20


def waves(model: Model, many: int) -> History:
    """Pairs of elements, 1 and 2, put in at once, and much later all are taken, of each pair the one that was put in later
    according to the ends of the calls first."""
    put, take = model.functions
    operations = []
    for at in range(many):
        for element in (1, 2):
            operations.append(Operation(
                process=element, f=put, value=element, invoked=10 * at, completed=10 * at + 4 + element
            ))
    for at in range(2 * many):
        begin = 10 * (many + at)
        operations.append(Operation(process=1, f=take, value=2 - at % 2, invoked=begin, completed=begin + 5))
    return History.of(operations)


def test_elements_are_put_into_a_queue_in_the_order_in_which_they_leave_it() -> None:
    """As many steps as there are operations, where each pair might be put in in two orders."""
    many = 100
    hunt = jit.from_problem(encode(waves(Queue(), many), Queue()))
    assert hunt.run(40 * many) is True


def test_a_counter_does_not_grow_past_what_is_still_to_be_read() -> None:
    """Whoever began before the read may be counted or not, and there are many choices of who is."""
    many = 40
    operations = [
        Operation(process=at, f="add", value=3 + at % 2, invoked=at, completed=1000 + at) for at in range(many)
    ]
    operations.append(Operation(process=many, f="read", value=4, invoked=500, completed=2000))
    operations.append(Operation(process=many + 1, f="read", value=5, invoked=500, completed=2000))
    hunt = jit.from_problem(encode(History.of(operations), Counter()))
    assert hunt.run(100 * many) is False
