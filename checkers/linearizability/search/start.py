"""Which search a history gets."""

from __future__ import annotations

import math

from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.registers.register_search import RegisterSearch, usable
from splitbrain.checkers.linearizability.search.jit import FOREVER, Search, from_problem
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import CasRegister, Model, Register
from splitbrain.harness.history.history import History


def start(history: History, model: Model, ends: float = math.inf) -> Search:
    """The search for the history of one object. Raises `UsageError` where the model cannot use a call, and `Late` where it is
    not ready by `ends`, a moment of `time.perf_counter`."""
    if (type(model) is CasRegister or type(model) is Register) and usable(history, model):
        return RegisterSearch(history, model)
    return from_problem(encode(history, model, ends))


def search(history: History, model: Model, *, max_steps: int = FOREVER) -> Decision:
    """Decide the history of one object; `valid` is None where `max_steps` steps do not suffice."""
    hunt = start(history, model)
    hunt.run(max_steps)
    return hunt.decision(limit=f"{max_steps} steps")
