"""Each trick with indeterminate and pure operations, on histories full of what it is about, against the search without it."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from splitbrain.checkers.budget import FOREVER
from splitbrain.checkers.linearizability.evidence import shrink
from splitbrain.checkers.linearizability.registers.register_search import RegisterSearch
from splitbrain.checkers.linearizability.search.jit import from_problem
from splitbrain.checkers.linearizability.search.plain import search, solve
from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.models.specifications import Call, CasRegister, Model, Mutex, Queue, Semaphore, Stack, State
from splitbrain.harness.history.history import History
from tests.checkers.linearizability.random_histories import register_history
from tests.checkers.linearizability.random_objects import object_history


class Impure(Model):
    """Another model whose operations all claim to change something, so that nothing is done at once."""

    name = "impure"

    def __init__(self, model: Model) -> None:
        self.model = model
        self.initial = model.initial

    def step(self, state: State, call: Call) -> tuple[State, ...]:
        return self.model.step(state, call)


def _register(seed: str, info: float, values: int = 2) -> tuple[History, CasRegister]:
    rng = random.Random(seed)
    initial = rng.choice([None, 0])
    history = register_history(rng, operations=9, processes=4, unique=False, values=values, info=info, initial=initial)
    return history, CasRegister(initial=initial)


def _decide(problem: Problem) -> bool | None:
    hunt = from_problem(problem)
    hunt.run(1 << 40)
    return hunt.valid


def test_twins_of_infos_and_of_others() -> None:
    """Two values only and half of all answers unknown: most pending operations have a twin."""
    answers = set()
    for seed in range(800):
        history, model = _register(f"twins {seed}", info=0.5)
        expected = search(history, model).valid
        fast = RegisterSearch(history, model)
        assert fast.run(1 << 40) is expected, seed
        assert _decide(encode(history, model)) is expected, seed
        answers.add(expected)
    assert answers == {True, False}


@pytest.mark.parametrize("model", [Mutex(), Semaphore(), Queue(), Stack()])
def test_infos_that_change_nothing_here_are_left_for_later(model: Model) -> None:
    for seed in range(300):
        history = object_history(random.Random(f"later {model.name} {seed}"), model, operations=9, processes=4)
        doubtful = History.of(
            msgspec.structs.replace(op, outcome="info") if random.Random(f"{seed} {at}").random() < 0.4 else op
            for at, op in enumerate(history)
        )
        assert _decide(encode(doubtful, model)) is search(doubtful, model).valid, seed


def test_pure_operations_at_once_or_in_their_turn() -> None:
    for seed in range(600):
        history, model = _register(f"pure {seed}", info=0.2, values=3)
        problem = encode(history, model)
        impure = Problem(Impure(model), problem.calls, problem.rows, problem.events, problem.open_ok)
        assert _decide(problem) is _decide(impure) is solve(problem).valid, seed


def test_a_write_of_the_value_that_is_there_is_not_pure() -> None:
    """Taking it at once would use it up; here it is needed after the other write."""
    assert not CasRegister().pure(Call("write", 1))
    assert not CasRegister().pure(Call("cas", (1, 2)))
    assert CasRegister().pure(Call("cas", (1, 1)))


def test_the_past_is_only_left_out_where_it_leads_back_to_the_beginning() -> None:
    for seed in range(300):
        history = object_history(random.Random(f"past {seed}"), Mutex(), operations=12, processes=2)
        rows = list(range(len(history)))
        left = shrink._without_past(rows, history, Mutex(), FOREVER)
        if len(left) < len(rows):
            assert search(history, Mutex()).valid is False, seed
            assert search(history.select(np.array(left)), Mutex()).valid is False, seed
