"""Which search a history gets."""

from __future__ import annotations

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.registers.register_search import RegisterSearch, usable
from splitbrain.checkers.linearizability.search.jit import FOREVER as NO_END
from splitbrain.checkers.linearizability.search.jit import Search, from_problem
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import CasRegister, Model, Register
from splitbrain.harness.history.history import History

_SLICE = 5_000
"""Steps after which a search looks at the clock."""


def start(history: History, model: Model, budget: Budget = FOREVER) -> Search:
    """The search for the history of one object. Raises `UsageError` where the model cannot use a call, and `Exhausted`
    where the budget does not suffice to make it."""
    if (type(model) is CasRegister or type(model) is Register) and usable(history, model):
        return RegisterSearch(history, model)
    return from_problem(encode(history, model, budget), budget)


def search(history: History, model: Model, *, max_steps: int = NO_END, budget: Budget = FOREVER) -> Decision:
    """Decide the history of one object; `valid` is None where `max_steps` steps, or the budget, do not suffice. Raises
    `Exhausted` where that does not even suffice to begin."""
    hunt = start(history, model, budget)
    while hunt.run(min(_SLICE, max_steps - hunt.steps)) is None and hunt.steps < max_steps:
        if budget.over:
            return hunt.decision(limit=budget.limit)
    return hunt.decision(limit=f"{max_steps} steps")
