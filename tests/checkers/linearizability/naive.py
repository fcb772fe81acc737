"""The slowest and most obvious judge: every order of every choice of the operations that may not have happened."""

from __future__ import annotations

from itertools import permutations

from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.models.specifications import Model, State
from splitbrain.harness.history.history import History


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
