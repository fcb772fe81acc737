"""Random small histories of every built-in model, linearizable ones and broken ones."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from splitbrain.checkers.models.specifications import Call, Model
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.values import canonical

Choice = tuple[str, Any, tuple[Any, ...]]
"""A function, its argument, and the answers it might get."""


def _choices(model: Model, fresh: int, processes: int) -> list[Choice]:
    few = tuple(range(3))
    lists: tuple[Any, ...] = ((), (0,), (1,), (2,), (0, 1), (1, 2), (0, 2), (0, 1, 2), (fresh,))
    match model.name:
        case "register":
            return [("read", None, (None, *few)), ("write", fresh % 3, ())]
        case "cas-register":
            return [("read", None, (None, *few)), ("write", fresh % 3, ()), ("cas", (fresh % 2, fresh % 3), ())]
        case "multi-register":
            return [("txn", [["w", "x", fresh % 2]], ()), ("txn", [["w", "y", 1], ["w", "x", fresh % 2]], ())] + [
                ("txn", [["r", "x", a], ["r", "y", b]], ()) for a in (None, 0, 1) for b in (None, 1)
            ]
        case "kv":
            return [("get", None, ("", "a", "b", "ab", "ba", "aa")), ("put", "a", ()), ("append", "ab"[fresh % 2], ())]
        case "mutex" | "owner-mutex" | "reentrant-mutex" | "semaphore":
            return [("acquire", None, ()), ("release", None, ())]
        case "fenced-lock":
            return [("acquire", None, (None, 1, 2, 3, 4)), ("release", None, ())]
        case "queue" | "unordered-queue" | "priority-queue":
            return [("enqueue", fresh % 3, ()), ("dequeue", None, (None, *few))]
        case "stack":
            return [("push", fresh % 3, ()), ("pop", None, (None, *few))]
        case "set":
            return [("add", fresh % 3, ()), ("remove", fresh % 3, ()), ("read", None, lists)]
        case "counter":
            return [("add", fresh % 3 - 1, ()), ("read", None, (-1, 0, 1, 2))]
        case "id-generator":
            return [("generate", None, few)]
    raise AssertionError(model.name)


def object_history(rng: random.Random, model: Model, operations: int = 6, processes: int = 3) -> History:
    """A history in which most answers are such as the model might have given in the order of effect, and some are not."""
    free = [0] * processes
    plan = []
    for _ in range(rng.randint(1, operations)):
        p = rng.randrange(processes)
        invoked = free[p] + rng.randint(0, 4)
        completed = invoked + rng.choice([0, 1, 3, 8])
        free[p] = completed + rng.choice([0, 1])
        plan.append((rng.randint(invoked, completed), p, invoked, completed))
    plan.sort()
    state: Any = model.initial
    out = []
    for fresh, (_, p, invoked, completed) in enumerate(plan):
        ready = []
        for f, argument, answers in _choices(model, fresh + rng.randrange(3), processes):
            for value in answers or (argument,):
                call = Call(f, canonical(value), "ok", (), p)
                for after in model.step(state, call):
                    ready.append((f, value, after))
        if not ready or rng.random() < 0.15:
            f, argument, answers = rng.choice(_choices(model, fresh, processes))
            ready = [(f, rng.choice(answers) if answers else argument, state)]
        f, value, after = rng.choice(ready)
        operation = Operation(process=p, f=f, value=value, invoked=invoked, completed=completed)
        if rng.random() < 0.2:
            untold = None if any(f == g and answers for g, _, answers in _choices(model, fresh, processes)) else value
            operation = msgspec.structs.replace(operation, outcome="info", value=untold)
            if rng.random() < 0.5:
                after = state
        state = after
        out.append(operation)
    return History.of(out)
