"""The commonest checks as machine code, for programs that judge many histories: load it once, and `check` uses it.

    splitbrain.load_machine_code()

It takes numba (`pip install splitbrain[fast]`), a second, and the first time after installation as long as compiling takes:
more than judging one history is worth, so nothing but the caller loads it. No verdict depends on it: what is `UNDECIDED` here
is decided by the plain ways, and so is what is wrong with an invalid history.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.registers.zones import ABSENT, INVALID, UNDECIDED
from splitbrain.checkers.models.specifications import CasRegister, Register
from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.values import NIL

MOST_STEPS = 100_000
"""Steps of a search before it is left to the plain one, which is watched by the clock."""
MOST_LOOKS = 20_000_000
"""Looks at one operation before it is, and most operations that may be pending, over all returns: tens of milliseconds."""
MOST_OPERATIONS = 400_000
"""Operations of a register that are looked at in one call."""
AT_ONCE = 100_000
"""Operations of texts, of whole keys, that are looked at between two looks at the clock."""
MOST_LETTERS = 1 << 24
"""Letters of all texts together, for each takes 16 bytes of digests."""

_kernels: ModuleType | None = None


def load_machine_code() -> None:
    """Let `check` use machine code from now on, compiled first if it was not yet.

    Raises `SetupError` where numba is missing.
    """
    global _kernels
    try:
        _kernels = import_module("splitbrain.checkers.linearizability.machine.kernels")
    except ModuleNotFoundError as missing:
        if missing.name != "numba":
            raise
        raise SetupError("machine code takes numba, which is not installed: pip install 'splitbrain[fast]'") from missing


def loaded() -> bool:
    """Whether `load_machine_code` has been called."""
    return _kernels is not None


def register(history: History, model: Register) -> int:
    """`VALID`, `INVALID` or `UNDECIDED` for the history of one register."""
    if _kernels is None or type(model) not in (Register, CasRegister):
        return UNDECIDED
    values, initial = history.values, model.initial
    if initial is None:
        initial = NIL
    elif type(initial) is not int or not NIL < initial < -NIL:
        return UNDECIDED
    if values.objects or history.seen or len(history) > MOST_OPERATIONS:
        return UNDECIDED
    if not all(f in model.functions for f in history.fs):
        return UNDECIDED
    status: int = _kernels.register(
        *_columns(
            history.invoked, history.completed, history.outcome, history.f, values.kind, values.first, values.second,
            history.error,
        ),
        _code(history.fs, "read"), _code(history.fs, "write"), _code(history.fs, "cas"), _code(history.errors, MISMATCH),
        initial, model.nil == "wildcard", MOST_STEPS, MOST_LOOKS,
    )
    return status


def append(history: History, *, every_key: bool, budget: Budget = FOREVER) -> NDArray[np.int8] | None:
    """As `append.decide`, for strings that are empty at first; None where nothing can be decided."""
    if _kernels is None:
        return None
    values, fs = history.values, history.fs
    try:
        text = "\0".join([*values.objects, ""])
        if len(text) > MOST_LETTERS:
            return None
        letters = bytearray(text, "utf-8")
    except (TypeError, UnicodeEncodeError):
        # Not all of them are texts.
        return None
    status = np.full(len(history.keys) + 1, ABSENT, np.int8)
    status[history.key + 1] = UNDECIDED
    codes = np.frombuffer(letters, np.uint8)
    begins, sums, powers = _kernels.digests(codes, len(values.objects))
    if not len(begins):
        return status
    columns = _columns(
        history.invoked, history.completed, history.outcome, history.f, history.key, values.kind, values.first
    )
    functions = [_code(fs, name) for name in ("get", "put", "append")]
    order = np.argsort(history.key, kind="stable")
    begin, ends = 0, np.array([len(order)])
    if len(order) > AT_ONCE:
        ends = np.append(np.flatnonzero(np.diff(history.key[order])) + 1, len(order))
    while begin < len(order) and not budget.over:
        # Whole keys, at least one.
        end = int(ends[max(np.searchsorted(ends, begin + AT_ONCE, "right") - 1, np.searchsorted(ends, begin, "right"))])
        _kernels.append(*columns, codes, begins, sums, powers, *functions, every_key, order[begin:end], status)
        if not every_key and (status == INVALID).any():
            break
        begin = end
    return status


def _columns(*columns: NDArray[Any]) -> list[NDArray[Any]]:
    """The columns as machine code takes them."""
    return [column if column.flags.carray else np.array(column) for column in columns]


def _code(names: tuple[str, ...], name: str) -> int:
    return names.index(name) if name in names else -2
