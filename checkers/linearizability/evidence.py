"""Evidence that stands alone: the rows of a decision, judged without the rest, are invalid with the same identifier."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np

from checkers.linearizability.decision import Decision
from harness.history.history import History

MOST_TRIALS = 400


def settle(history: History, decision: Decision, decide: Callable[[History], Decision | None]) -> Decision:
    """An invalid `decision` on `history` reduced to evidence that `decide` judges alike.

    The rows alone are judged again, and again with what that names, until they name themselves; then every row is left out
    that can be without changing the identifier (at most `MOST_TRIALS` trials). What is left proves itself: the decision
    returned is the one that `decide` gives for its rows.
    """
    rows = np.array(decision.rows)
    decision, rows = _narrowed(history, rows, decision, decide)
    trials = 0
    for row in decision.rows:
        trials += 1
        fewer = rows[rows != row]
        if trials > MOST_TRIALS or row not in rows or not len(fewer):
            continue
        without = decide(history.select(fewer))
        if without is not None and without.valid is False and without.identifier == decision.identifier:
            decision, rows = _narrowed(history, fewer, _lifted(without, fewer), decide)
    return decision


def _narrowed(
    history: History, rows: np.ndarray, decision: Decision, decide: Callable[[History], Decision | None]
) -> tuple[Decision, np.ndarray]:
    """Judge the rows that `decision` names until a judgement names all that it was given."""
    while True:
        rows = np.array(decision.rows)
        alone = decide(history.select(rows))
        if alone is None or alone.valid is not False:
            return decision, rows
        decision = _lifted(alone, rows)
        if len(decision.rows) == len(rows):
            return decision, rows


def _lifted(decision: Decision, rows: np.ndarray) -> Decision:
    """`decision`, on the history of `rows`, with the rows of the whole history."""
    return msgspec.structs.replace(decision, rows=tuple(int(rows[row]) for row in decision.rows))
