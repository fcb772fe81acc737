"""Evidence that stands alone: the rows of a decision, judged without the rest, are invalid with the same identifier."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.harness.history.history import History

Rows = NDArray[np.int64]

MOST_TRIALS = 400
PATIENCE = 3.0
"""Seconds for making one proof smaller."""
LATE = "time limit for making the evidence smaller"


class _Trials:
    """Judgements of parts of a history, as many as the limits allow in one round; `limit` is the last that was hit."""

    def __init__(self, decide: Callable[[History], Decision | None], budget: Budget) -> None:
        self.decide = decide
        self.budget = budget.within(PATIENCE, LATE)
        self.left = MOST_TRIALS
        self.limit = ""

    def another(self) -> bool:
        """Whether there may be one more."""
        self.left -= 1
        if self.left < 0:
            self.limit = f"{MOST_TRIALS} attempts to make the evidence smaller"
        elif self.budget.over:
            self.limit = self.budget.limit
        else:
            return True
        return False


def settle(
    history: History, decision: Decision, decide: Callable[[History], Decision | None], budget: Budget = FOREVER
) -> Decision:
    """An invalid `decision` on `history` reduced to evidence that `decide` and `settle` judge alike.

    The rows alone are judged again, and again with what that names, until they name themselves; then every row is left out
    that can be without changing the identifier. Where the rows named are not refuted alone, it begins with the whole
    history. After `MOST_TRIALS` trials in a round, or `PATIENCE` seconds, or where the budget is exhausted, the evidence may be
    larger than it needs to be; then the decision's `limit` says so. `decide` may raise `Exhausted`.
    """
    trials = _Trials(decide, budget)
    try:
        return _settled(history, decision, trials)
    except Exhausted as error:
        return msgspec.structs.replace(decision, limit=trials.limit or str(error))


def _settled(history: History, decision: Decision, trials: _Trials) -> Decision:
    decision = _reduced(history, decision, trials)
    while True:
        rows = np.array(decision.rows, np.int64)
        alone = history.select(rows)
        again = trials.decide(alone)
        if again is None or again.valid is not False:
            break
        again = _reduced(alone, again, trials)
        decision = _lifted(again, rows)
        if len(again.rows) == len(rows):
            break
    return msgspec.structs.replace(decision, limit=trials.limit)


def _reduced(history: History, decision: Decision, trials: _Trials) -> Decision:
    """One round of `settle`."""
    given, decide = decision, trials.decide
    trials.left = MOST_TRIALS
    decision, rows = _narrowed(history, decision, decide)
    if not decision.rows:
        return _thinned(history, given, trials)
    for row in decision.rows:
        fewer = rows[rows != row]
        if row not in rows or not len(fewer):
            continue
        if not trials.another():
            break
        without = decide(history.select(fewer))
        if without is not None and without.valid is False and without.rows and without.identifier == decision.identifier:
            narrower, fewer = _narrowed(history, _lifted(without, fewer), decide)
            if narrower.rows and narrower.identifier == decision.identifier:
                decision, rows = narrower, fewer
    return decision


def _narrowed(history: History, decision: Decision, decide: Callable[[History], Decision | None]) -> tuple[Decision, Rows]:
    """Judge the rows that `decision` names until a judgement names all that it was given."""
    while True:
        rows = np.array(decision.rows, np.int64)
        alone = decide(history.select(rows))
        if alone is None or alone.valid is not False or not alone.rows:
            return Decision(method=decision.method, valid=False), rows[:0]
        decision = _lifted(alone, rows)
        if len(decision.rows) == len(rows):
            return decision, rows


def _thinned(history: History, given: Decision, trials: _Trials) -> Decision:
    """What is left of the whole history when ever smaller parts are left out while the identifier stays."""
    rows = np.arange(len(history))
    best, size = given, len(rows) // 2
    while size:
        at = 0
        while at < len(rows):
            if not trials.another():
                return msgspec.structs.replace(best, rows=tuple(rows.tolist()))
            fewer = np.concatenate([rows[:at], rows[at + size:]])
            without = trials.decide(history.select(fewer))
            if without is not None and without.valid is False and without.identifier == given.identifier:
                rows, best = fewer, _lifted(without, fewer)
            else:
                at += size
        size //= 2
    return msgspec.structs.replace(best, rows=tuple(rows.tolist()))


def _lifted(decision: Decision, rows: Rows) -> Decision:
    """`decision`, on the history of `rows`, with the rows of the whole history."""
    accused = None if decision.accused is None else int(rows[decision.accused])
    return msgspec.structs.replace(decision, rows=tuple(int(rows[row]) for row in decision.rows), accused=accused)
