"""The plain search against every permutation; the search that is used, trick by trick, against the plain search."""

from __future__ import annotations

import random

import pytest

from splitbrain.checkers.linearizability.registers.register_search import RegisterSearch, usable
from splitbrain.checkers.linearizability.search.jit import from_problem
from splitbrain.checkers.linearizability.search.plain import search, solve
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.linearizability.search.start import start
from splitbrain.checkers.models.specifications import MODELS, CasRegister, Mutex, Queue, UnorderedQueue
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.naive import linearizable
from tests.checkers.linearizability.random_histories import register_history
from tests.checkers.linearizability.random_objects import object_history


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_plain_search_agrees_with_every_permutation(name: str) -> None:
    model = MODELS[name]()
    answers = []
    for seed in range(150):
        history = object_history(random.Random(f"{name} {seed}"), model, operations=5)
        expected = linearizable(history, model)
        assert search(history, model).valid is expected, seed
        answers.append(expected)
    assert {True, False} <= set(answers)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_the_just_in_time_search_agrees_with_the_plain_search(name: str) -> None:
    """All tricks at once: nothing is forced before a return, infos bounded, twins, pure operations at once."""
    model = MODELS[name]()
    for seed in range(300):
        history = object_history(random.Random(f"jit {name} {seed}"), model, operations=9, processes=4)
        hunt = from_problem(encode(history, model))
        hunt.run(1 << 40)
        assert hunt.valid is search(history, model).valid, seed


def test_the_register_search_agrees_with_both() -> None:
    for seed in range(3000):
        rng = random.Random(f"register {seed}")
        model = CasRegister(initial=rng.choice([None, 0]), nil=rng.choice(["absent", "wildcard"]))
        history = register_history(rng, operations=10, processes=4, unique=seed % 3 == 0, initial=model.initial)
        assert usable(history, model)
        fast = RegisterSearch(history, model)
        fast.run(1 << 40)
        slow = from_problem(encode(history, model))
        slow.run(1 << 40)
        assert fast.valid is slow.valid is search(history, model).valid, seed


@pytest.mark.parametrize("name", ["cas-register", "queue", "unordered-queue", "set"])
def test_slices_do_not_change_the_answer(name: str) -> None:
    model = MODELS[name]()
    for seed in range(100):
        history = object_history(random.Random(f"slices {name} {seed}"), model, operations=9)
        hunt = start(history, model)
        while hunt.run(1) is None:
            pass
        assert hunt.valid is search(history, model).valid, seed


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_linearization_is_one(name: str) -> None:
    """The order that a search gives back agrees with the times and with the model, and leaves out only infos."""
    model = MODELS[name]()
    for seed in range(150):
        history = object_history(random.Random(f"order {name} {seed}"), model, operations=9)
        problem = encode(history, model)
        hunt = start(history, model)
        hunt.run(1 << 40)
        decision = hunt.decision()
        place = {row: at for at, row in enumerate(decision.linearized)}
        assert len(place) == len(decision.linearized)
        states = {model.initial}
        call_of = dict(zip(problem.rows, problem.calls, strict=True))
        for row in decision.linearized:
            states = {after for state in states for after in model.step(state, call_of[row])}
        assert states
        for row, at in place.items():
            for other, later in place.items():
                if history.outcome[row] == 0 and history.completed[row] < history.invoked[other]:
                    assert at < later
        if decision.valid:
            assert all(call_of[row].outcome == "info" for row in problem.rows if row not in place)
        else:
            assert decision.stuck in problem.rows and decision.stuck not in place


def test_what_was_sure_without_an_end_must_take_effect() -> None:
    history = History.of([
        Operation(process=0, f="acquire", invoked=0),
        Operation(process=1, f="acquire", invoked=1, completed=2),
    ])
    assert solve(encode(history, Mutex())).valid is False
    hunt = start(history, Mutex())
    assert hunt.run(1000) is False


def test_an_unknown_dequeue_may_have_taken_any_element() -> None:
    history = History.of([
        Operation(process=0, f="enqueue", value=1, invoked=0, completed=1),
        Operation(process=0, f="enqueue", value=2, invoked=2, completed=3),
        Operation(process=1, f="dequeue", outcome="info", invoked=4),
        Operation(process=0, f="dequeue", value=1, invoked=5, completed=6),
        Operation(process=0, f="dequeue", value=None, invoked=7, completed=8),
    ])
    assert start(history, UnorderedQueue()).run(1000) is True
    assert start(history, Queue()).run(1000) is True


def test_a_budget_that_is_too_small_is_said() -> None:
    history = object_history(random.Random(3), CasRegister(), operations=9)
    decision = search(history, CasRegister(), max_steps=0)
    assert decision.valid is None and decision.limit == "0 steps"


@pytest.mark.parametrize(("f", "value"), [("pop", None), ("cas", 3), ("cas", (1, 2, 3))])
def test_a_call_that_the_model_cannot_use_is_refused(f: str, value: object) -> None:
    history = History.of([Operation(process=0, f=f, value=value, invoked=0, completed=1)])
    with pytest.raises(UsageError):
        search(history, CasRegister())
