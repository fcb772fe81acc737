"""Which histories of others are judged as structures: told by name, or by operations that nothing else has."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from splitbrain.checkers.models.specifications import FencedLock, Queue
from splitbrain.checkers.structures.bank import BankChecker
from splitbrain.checkers.structures.counter import CounterChecker
from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.structures.lock import LockChecker
from splitbrain.checkers.structures.long_fork import LongForkChecker
from splitbrain.checkers.structures.monotonic import MonotonicChecker
from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.checkers.structures.watch import WatchChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History

STRUCTURES: Mapping[str, Callable[[], Checker]] = {
    "bank": BankChecker,
    "counter-bounds": CounterChecker,
    "fenced-lock": lambda: LockChecker(fenced=True),
    "lock": LockChecker,
    "long-fork": LongForkChecker,
    "monotonic": MonotonicChecker,
    "set-full": SetFullChecker,
    "total-queue": QueueChecker,
    "unique-ids": IdsChecker,
    "watch": WatchChecker,
}
"""The structures by the names that `--model` takes."""

_ALIASES = {"ids": "unique-ids"}
_OBJECTS = {"queue": ("total-queue", Queue.functions), "fenced-lock": ("fenced-lock", FencedLock.functions)}
"""Names that a linearizable object has as well, with the operations that it knows: one that has more is the structure."""


def names() -> list[str]:
    """Every name that `structure_of` takes."""
    return sorted({*STRUCTURES, *_ALIASES})


def is_name(model: str) -> bool:
    """Whether that is the name of a structure, and of nothing else."""
    name = model.strip().partition(":")[0]
    return name in names() and name not in _OBJECTS


def structure_of(name: str, history: History) -> Checker | None:
    """The checker of the structure of that name, None where the name is no structure's. `bank:800` tells the total of all
    balances. Raises `UsageError` for any other parameter."""
    name, _, parameter = name.strip().partition(":")
    name = _ALIASES.get(name, name)
    if name in _OBJECTS:
        name, known = _OBJECTS[name]
        if _functions(history) <= set(known):
            return None
    if name not in STRUCTURES:
        return None
    if not parameter:
        return STRUCTURES[name]()
    if name != "bank":
        raise UsageError(f"the model '{name}' takes no parameter ('{parameter}').")
    if not parameter.lstrip("-").isdecimal():
        raise UsageError(f"the total of a bank is a whole number (bank:800), not '{parameter}'.")
    return BankChecker(int(parameter))


def found_structure(history: History) -> tuple[str, str] | None:
    """The name of the structure that only these operations can be of, and why; None where they may be of anything else."""
    fs = _functions(history)
    told = f"operations {', '.join(sorted(fs))}"
    if fs <= {"transfer", "read"} and "transfer" in fs:
        return "bank", told
    if {"enqueue", "dequeue", "read"} == fs:
        return "total-queue", f"{told}, and reads show what waits"
    if {"acquire", "renew"} <= fs <= {"acquire", "renew", "release", "read", "write"}:
        return "fenced-lock" if "write" in fs else "lock", told
    return None


def _functions(history: History) -> set[str]:
    return {history.fs[code] for code in np.flatnonzero(np.bincount(history.f)).tolist()}
