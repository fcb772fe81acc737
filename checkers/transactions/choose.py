"""Which histories are judged as transactions, and against which levels."""

from __future__ import annotations

import difflib

import numpy as np

from splitbrain.checkers.transactions.lattice import LEVELS, Level
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History

MODELS = ("list-append", "rw-register", "transactions")
"""Models that name the data and leave the level open: the strongest that the history speaks of."""

_ALIASES: dict[str, Level] = {
    # All reads and writes are of single items, where nothing tells the two apart (Adya's PL-2.99 and PL-3).
    "repeatable-read": "serializable",
    "strong-serializable": "strict-serializable",
    "strict-serializability": "strict-serializable",
    "serializability": "serializable",
    "causal-consistency": "causal",
}


def levels_of(model: str) -> tuple[Level, ...] | None:
    """The levels that `--model` names, several with commas between them; none of them for a model that leaves the level open,
    None for a model that is none of transactions.

    Raises `UsageError` where some of the names are levels and others are not.
    """
    names = [name.strip() for name in model.split(",") if name.strip()]
    if len(names) == 1 and names[0] in MODELS:
        return ()
    known: dict[str, Level] = {level: level for level in LEVELS} | _ALIASES
    levels = [known[name] for name in names if name in known]
    if not levels:
        return None
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"there are {', '.join(LEVELS)}."
            raise UsageError(f"no isolation level is called '{name}': {hint}")
    return tuple(dict.fromkeys(levels))


def are_transactions(history: History) -> bool:
    """Whether every operation is a transaction of reads, writes and appends."""
    micros = history.micros
    if micros is None or not len(micros.f):
        return False
    fs = {history.fs[code] for code in np.unique(history.f).tolist()}
    return fs == {"txn"}
