"""The most obvious judges, which share nothing with the searches: every order of every choice of the operations that may not
have happened, and the same without going twice where the same is left of the same state."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import permutations

from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.models.specifications import Call, Model, State
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation
from splitbrain.harness.history.values import canonical


def linearizable(history: History, model: Model) -> bool:
    """Whether some order of the operations, leaving out any of the `info` ones, agrees with their times and the model."""
    problem = encode(history, model)
    position = {event: at for at, event in enumerate(problem.events)}
    certain = [i for i in range(len(problem.calls)) if not problem.info(i)]
    doubtful = [i for i in range(len(problem.calls)) if problem.info(i)]
    for chosen in range(1 << len(doubtful)):
        happened = certain + [i for at, i in enumerate(doubtful) if chosen >> at & 1]
        for order in permutations(happened):
            if _agrees(order, position) and _allowed(order, problem):
                return True
    return False


def _agrees(order: tuple[int, ...], position: dict[int, int]) -> bool:
    return all(
        position.get(~order[later], len(position)) > position[order[earlier]]
        for earlier in range(len(order)) for later in range(earlier + 1, len(order))
    )


def _allowed(order: tuple[int, ...], problem: Problem) -> bool:
    states: set[State] = {problem.model.initial}
    for i in order:
        states = {after for state in states for after in problem.model.step(state, problem.calls[i])}
    return bool(states)


def possible(operations: Sequence[Operation], model: Model) -> bool:
    """Whether some order of `operations`, leaving out any of the `info` ones, agrees with their times and the model: for a few
    operations, read as they were recorded."""
    calls: list[tuple[int, Call, int, float]] = []
    required = 0
    for op in operations:
        refused = op.outcome == "fail" and op.f == "cas" and op.error == MISMATCH and "cas" in model.functions
        if op.outcome == "fail" and not refused:
            continue
        bit = 1 << len(calls)
        required |= 0 if op.outcome == "info" else bit
        seen = tuple(canonical(value) for value in op.seen) if refused else ()
        call = Call(op.f, canonical(op.value), "refused" if refused else op.outcome, seen,  # type: ignore[arg-type]
                    op.process if model.per_process else None, None if model.per_key else op.key)
        calls.append((bit, call, op.invoked, math.inf if op.outcome == "info" or op.completed is None else op.completed))
    work: list[tuple[int, State]] = [(0, model.initial)]
    met = set(work)
    while work:
        done, state = work.pop()
        if done & required == required:
            return True
        left = [entry for entry in calls if not done & entry[0]]
        first = min(entry[3] for entry in left)
        for bit, call, invoked, _ in left:
            if invoked <= first:
                for after in model.step(state, call):
                    if (done | bit, after) not in met:
                        met.add((done | bit, after))
                        work.append((done | bit, after))
    return False
