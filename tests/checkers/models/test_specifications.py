"""The models' sequential specifications, call by call, and the values that they compare."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from splitbrain.checkers.models.specifications import (
    MODELS,
    Call,
    CasRegister,
    FencedLock,
    Model,
    MultiRegister,
    OwnerMutex,
    ReentrantMutex,
    Register,
    Semaphore,
    Set,
)
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.values import canonical


def _run(model: Model, *calls: tuple[Any, ...]) -> bool:
    """Whether the calls (f, value, process), one after another, are what the object may answer."""
    states = {model.initial}
    for f, value, *process in calls:
        call = Call(f, canonical(value), "ok", (), process[0] if process else None)
        states = {after for state in states for after in model.step(state, call)}
    return bool(states)


RIGHT: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("register", [("read", None), ("write", 1), ("read", 1), ("write", [2]), ("read", [2])]),
    ("cas-register", [("write", 1), ("cas", (1, 2)), ("read", 2), ("cas", (2, 2))]),
    ("multi-register", [("txn", [["w", "x", 1], ["r", "x", 1], ["r", "y", None]]), ("txn", [["read", "x", 1]])]),
    ("kv", [("get", ""), ("append", "a"), ("append", "b"), ("get", "ab"), ("put", "c"), ("get", "c")]),
    ("mutex", [("acquire", None), ("release", None), ("acquire", None)]),
    ("owner-mutex", [("acquire", None, 1), ("release", None, 1), ("acquire", None, 2)]),
    ("reentrant-mutex", [("acquire", None, 1), ("acquire", None, 1), ("release", None, 1), ("release", None, 1),
                         ("acquire", None, 2)]),
    ("fenced-lock", [("acquire", 3, 1), ("release", None, 1), ("acquire", 5, 2)]),
    ("semaphore", [("acquire", None), ("acquire", 1), ("release", 2), ("acquire", 2)]),
    ("queue", [("dequeue", None), ("enqueue", 1), ("enqueue", 2), ("dequeue", 1), ("dequeue", 2), ("dequeue", None)]),
    ("unordered-queue", [("enqueue", 1), ("enqueue", 2), ("enqueue", 1), ("dequeue", 2), ("dequeue", 1), ("dequeue", 1)]),
    ("stack", [("push", 1), ("push", 2), ("pop", 2), ("pop", 1), ("pop", None)]),
    ("priority-queue", [("enqueue", 2), ("enqueue", 1), ("enqueue", 2), ("dequeue", 1), ("dequeue", 2), ("dequeue", 2)]),
    ("set", [("read", []), ("add", 1), ("add", 1), ("add", 2), ("read", [2, 1]), ("remove", 1), ("read", [2])]),
    ("counter", [("add", 2), ("add", -3), ("read", -1)]),
    ("id-generator", [("generate", "a"), ("generate", "b")]),
]
WRONG: list[tuple[str, list[tuple[Any, ...]]]] = [
    ("register", [("write", 1), ("read", None)]),
    ("register", [("write", 1), ("read", True)]),
    ("cas-register", [("write", 1), ("cas", (2, 3))]),
    ("multi-register", [("txn", [["w", "x", 1]]), ("txn", [["r", "x", None]])]),
    ("kv", [("append", "a"), ("append", "b"), ("get", "ba")]),
    ("mutex", [("acquire", None), ("acquire", None)]),
    ("mutex", [("release", None)]),
    ("owner-mutex", [("acquire", None, 1), ("release", None, 2)]),
    ("reentrant-mutex", [("acquire", None, 1), ("acquire", None, 1), ("acquire", None, 1)]),
    ("reentrant-mutex", [("acquire", None, 1), ("acquire", None, 1), ("release", None, 1), ("acquire", None, 2)]),
    ("fenced-lock", [("acquire", 3, 1), ("release", None, 1), ("acquire", 3, 2)]),
    ("fenced-lock", [("acquire", 3, 1), ("release", None, 2)]),
    ("semaphore", [("acquire", 2), ("acquire", None)]),
    ("semaphore", [("release", None)]),
    ("queue", [("enqueue", 1), ("enqueue", 2), ("dequeue", 2)]),
    ("queue", [("enqueue", 1), ("dequeue", None)]),
    ("unordered-queue", [("enqueue", 1), ("dequeue", 1), ("dequeue", 1)]),
    ("stack", [("push", 1), ("push", 2), ("pop", 1)]),
    ("priority-queue", [("enqueue", 2), ("enqueue", 1), ("dequeue", 2)]),
    ("set", [("add", 1), ("add", 2), ("read", [1])]),
    ("set", [("add", 1), ("read", [1, 1])]),
    ("counter", [("add", 2), ("read", 1)]),
    ("id-generator", [("generate", "a"), ("generate", "a")]),
]


@pytest.mark.parametrize(("name", "calls"), RIGHT)
def test_what_an_object_may_answer(name: str, calls: list[tuple[Any, ...]]) -> None:
    assert _run(MODELS[name](), *calls)


@pytest.mark.parametrize(("name", "calls"), WRONG)
def test_what_an_object_may_not_answer(name: str, calls: list[tuple[Any, ...]]) -> None:
    assert not _run(MODELS[name](), *calls)
    assert _run(MODELS[name](), *calls[:-1])


def test_every_model_has_both() -> None:
    assert {name for name, _ in RIGHT} == {name for name, _ in WRONG} == set(MODELS)


@pytest.mark.parametrize("name", sorted(MODELS))
def test_a_model_can_be_sent_to_another_process(name: str) -> None:
    assert pickle.loads(pickle.dumps(MODELS[name]())) == MODELS[name]()


def test_parameters() -> None:
    assert _run(Register(initial=5), ("read", 5))
    assert _run(Register(nil="wildcard"), ("write", 1), ("read", None), ("read", 1))
    assert _run(MultiRegister(nil="wildcard"), ("txn", [["w", "x", 1]]), ("txn", [["r", "x", None]]))
    assert _run(Semaphore(permits=3), ("acquire", 3)) and not _run(Semaphore(permits=3), ("acquire", 4))
    assert _run(ReentrantMutex(depth=3), *[("acquire", None, 1)] * 3)
    assert _run(OwnerMutex(), ("acquire", "me", 1), ("release", "me", 2))


def test_a_refused_cas_tells_what_was_not_there() -> None:
    model = CasRegister()
    refused = Call("cas", (1, 2), "refused")
    assert model.step(1, refused) == () and model.step(3, refused) == (3,)
    seen = Call("cas", (1, 2), "refused", (3,))
    assert model.step(3, seen) == (3,) and model.step(4, seen) == ()
    assert model.step(1, Call("cas", (1, 2), "refused", (1,))) == ()


def test_unknown_answers_may_be_any() -> None:
    assert FencedLock().step((None, 3), Call("acquire", None, "info", (), 1)) == ((1, 3),)
    assert set(MODELS["unordered-queue"]().step(frozenset({(1, 1), (2, 1)}), Call("dequeue", None, "info"))) == {
        frozenset({(1, 1)}), frozenset({(2, 1)}),
    }
    assert Set().step(frozenset({1}), Call("read", None, "info")) == (frozenset({1}),)


def test_values_that_python_takes_for_one_are_several() -> None:
    different = [1, "1", 1.0, True, [1], {"a": 1}, {1}, None, b"1", 0, False, 0.0, ""]
    assert len({canonical(value) for value in different}) == len(different)
    assert canonical([1, [2, {"a": [3]}]]) == canonical((1, (2, {"a": (3,)})))


def test_a_value_without_bottom_is_refused() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(UsageError, match="nested"):
        canonical(deep)
