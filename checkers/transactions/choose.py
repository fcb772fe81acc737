"""Which histories are judged as transactions, and against which levels."""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.transactions.inference import paired
from splitbrain.checkers.transactions.lattice import LEVELS, Level
from splitbrain.harness.errors import UsageError, hint
from splitbrain.harness.history.history import FAIL, History
from splitbrain.harness.history.micros import APPEND, READ, UNKNOWN, WRITE
from splitbrain.harness.history.values import MICROS, NIL

MODELS = ("list-append", "rw-register", "transactions")
"""Models that name the data and leave the level open: the strongest that the history speaks of."""

_ALIASES: dict[str, Level] = {
    # All reads and writes are of single items, where nothing tells the two apart (Adya's PL-2.99 and PL-3).
    "repeatable-read": "serializable",
    "strong-serializable": "strict-serializable",
    "strict-serializability": "strict-serializable",
    "serializability": "serializable",
    "causal-consistency": "causal",
    # Causal consistency of registers has the same name: this one is of transactions alone.
    "transactional-causal": "causal",
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
            raise UsageError(f"no isolation level is called '{name}': {hint(name, known)}")
    return tuple(dict.fromkeys(levels))


def values_repeat(history: History) -> bool:
    """Whether some value is written to a key by several transactions, or is an element of a list twice, so that nobody knows
    from whom a read of it is."""
    micros = history.micros
    if micros is None:
        return False
    rows = np.flatnonzero((micros.f == WRITE) | (micros.f == APPEND))
    order = np.lexsort((micros.value[rows], micros.key[rows]))
    keys, values = micros.key[rows][order], micros.value[rows][order]
    owner = micros.owners()[rows][order]
    apart = (owner[1:] != owner[:-1]) | (micros.f[rows][order][1:] == APPEND)
    return bool(((keys[1:] == keys[:-1]) & (values[1:] == values[:-1]) & apart).any())


def unwritten_is_read(history: History) -> bool:
    """Whether some read of a register returned what nobody wrote to it: what it began with, or nothing that can be."""
    micros = history.micros
    if micros is None:
        return False
    writes = np.flatnonzero(micros.f == WRITE)
    reads = np.flatnonzero((micros.f == READ) & (micros.value != UNKNOWN) & (micros.value != NIL))
    mine, theirs = paired(
        micros.key[writes].astype(np.int64), micros.value[writes], micros.key[reads].astype(np.int64), micros.value[reads]
    )
    return not bool(np.isin(theirs, mine).all())


def are_transactions(history: History) -> bool:
    """Whether every operation that may have happened is a transaction of reads, writes and appends, or an empty one. One of
    other steps may have written what the others read."""
    if history.micros is None or (history.values.kind[history.outcome != FAIL] != MICROS).any():
        return False
    fs = {history.fs[code] for code in np.unique(history.f).tolist()}
    return fs == {"txn"}
