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


def start(history: History, model: Model, budget: Budget = FOREVER) -> Search:
    """The search for the history of one object. Raises `UsageError` where the model cannot use a call, and `Exhausted`
    where the budget does not suffice to make it."""
    if (type(model) is CasRegister or type(model) is Register) and usable(history, model):
        return RegisterSearch(history, model)
    return from_problem(encode(history, model, budget))


def search(history: History, model: Model, *, max_steps: int = NO_END) -> Decision:
    """Decide the history of one object; `valid` is None where `max_steps` steps do not suffice."""
    hunt = start(history, model)
    hunt.run(max_steps)
    return hunt.decision(limit=f"{max_steps} steps")
