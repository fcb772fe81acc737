"""Observations: a history of registers as one of small transactions, so that both are judged by the same code.

A read is a transaction that reads, a write one that writes, a compare-and-set that succeeded one that read what it expected and
wrote; one that was refused and told what it saw is a read of that.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.models.specifications import Nil
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.micros import APPEND, READ, READ_LIST, UNKNOWN, WRITE, Micros, OperationsPacker
from splitbrain.harness.history.values import NIL, PAIR, SCALAR, Values

FUNCTIONS = ("read", "write", "cas", "txn")


def observed(history: History, initial: Any = None, nil: Nil = "absent") -> tuple[History, int]:
    """The history as transactions over registers that began with `initial`, and how many reads had to be left out because the
    value that they returned was written more than once, or was there in the beginning and is written too (without them the
    history asks for less: what is refuted still is). A read of nil found the beginning, or tells nothing (`wildcard`).

    Raises `UsageError` for any other function, and for lists.
    """
    unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - set(FUNCTIONS))
    if unknown:
        raise UsageError(
            f"sessions are judged of registers, by read, write, cas and txn, not by {unknown[0]!r}: choose another checker"
        )
    changed = _as_transactions(history)
    micros = changed.micros
    if micros is None:
        return changed, 0
    if (micros.f == APPEND).any() or (micros.f == READ_LIST).any():
        raise UsageError("sessions are judged of registers, not of lists: choose another checker")
    value = micros.value.copy()
    reads = (micros.f == READ) & (value != UNKNOWN) & (changed.outcome[micros.owners()] == OK)
    writes = micros.f == WRITE
    if nil == "wildcard":
        value[reads & (value == NIL)] = UNKNOWN
        reads &= value != UNKNOWN
    repeated = _repeated(micros.key, value, writes)
    if initial is not None:
        begun = reads & (value == _id(micros, initial))
        # Where that is also written, nobody knows which of the two was read.
        also = np.isin(micros.key, micros.key[writes & (value == _id(micros, initial))])
        value[begun & ~also] = NIL
        repeated |= begun & also
    left_out = reads & repeated
    value[left_out] = UNKNOWN
    told = Micros(
        micros.start, micros.f, micros.key, value, micros.list_start, micros.list_values, micros.keys, micros.objects
    )
    found = changed.select(np.arange(len(changed)))
    found.values = Values(
        changed.values.kind, changed.values.first, changed.values.second, changed.values.objects, told
    )
    return found, int(left_out.sum())


def _repeated(key: NDArray[np.int32], value: NDArray[np.int64], writes: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Of every micro-operation whether its value was written to its key more than once. Nil counts as written once, in the
    beginning."""
    nil = np.flatnonzero(value == NIL)
    rows = np.flatnonzero(writes)
    order = np.lexsort((value, key))
    by_key, by_value = key[order], value[order]
    group = np.cumsum(np.append(False, (by_key[1:] != by_key[:-1]) | (by_value[1:] != by_value[:-1]))[: len(order)])
    groups = np.empty(len(order), np.int64)
    groups[order] = group
    times = np.bincount(groups[rows], minlength=len(order) + 1)
    times[groups[nil]] += 1
    # A nil that nobody wrote is counted once for each that read it: they are one.
    if len(nil):
        times[np.unique(groups[nil])] = 1 + np.bincount(groups[rows], minlength=len(order) + 1)[np.unique(groups[nil])]
    many: NDArray[np.bool_] = times[groups] > 1
    return many


def _id(micros: Micros, value: Any) -> int:
    if type(value) is int and abs(value) < 1 << 62:
        return value
    return next((number for number in range(NIL + 2, NIL + 2 + len(micros.objects)) if micros.name(number) == value), UNKNOWN)


def _as_transactions(history: History) -> History:
    if set(np.unique(history.f).tolist()) <= {history.fs.index("txn") if "txn" in history.fs else -1}:
        return history
    return _quickly(history) or _one_by_one(history)


def _codes(history: History, *fs: str) -> NDArray[np.bool_]:
    return np.isin(history.f, [history.fs.index(f) for f in fs if f in history.fs])


def _quickly(history: History) -> History | None:
    """In columns, where every value is an integer, and no compare-and-set told what it saw."""
    reads, writes, cas = _codes(history, "read"), _codes(history, "write"), _codes(history, "cas")
    values = history.values
    plain = (values.kind == SCALAR) | (cas & (values.kind == PAIR))
    wide = (np.abs(values.first) >= 1 << 62) & (values.first != NIL)
    wide |= cas & (np.abs(values.second) >= 1 << 62) & (values.second != NIL)
    if history.seen or not (reads | writes | cas).all() or not plain.all() or wide.any():
        return None
    known = history.outcome == OK
    counts = np.where(cas, 2, 1)
    start = np.zeros(len(history) + 1, np.int64)
    np.cumsum(counts, out=start[1:])
    f = np.full(start[-1], WRITE, np.int8)
    value = np.repeat(values.first, counts)
    first, second = start[:-1], start[:-1] + 1
    f[first[reads | cas]] = READ
    value[first[reads & ~known]] = UNKNOWN
    value[first[cas & ~known]] = UNKNOWN
    value[second[cas]] = values.second[cas]
    key = np.repeat(history.key + 1, counts).astype(np.int32)
    nothing = np.zeros(0, np.int64)
    micros = Micros(start, f, key, value, np.zeros(1, np.int64), nothing, (None, *history.keys), ())
    changed = history.select(np.arange(len(history)))
    changed.values = Values(values.kind, values.first, values.second, values.objects, micros)
    return changed


def _one_by_one(history: History) -> History:
    told: list[Any] = []
    outcome = history.outcome.copy()
    for row, operation in enumerate(history):
        key, value, known = operation.key, operation.value, operation.outcome == "ok"
        match operation.f:
            case "read":
                told.append((("r", key, value),) if known else (("r", key),))
            case "write":
                told.append((("w", key, value),))
            case "cas" if operation.outcome == "fail" and operation.seen:
                told.append((("r", key, operation.seen[0]),))
                outcome[row] = OK
            case "cas" if operation.outcome == "fail":
                told.append(())
            case "cas":
                expected, new = _couple(value)
                told.append((("r", key, expected) if known else ("r", key), ("w", key, new)))
            case _:
                told.append(value)
    packer = OperationsPacker()
    everywhere = np.ones(len(told), np.bool_)
    packed = packer.pack(told, everywhere)
    changed = history.select(np.arange(len(history)))
    changed.outcome = outcome
    changed.f = np.zeros(len(told), np.int32)
    changed.fs = ("txn",)
    changed.values = packer.values(
        packed.kind, packed.first, packed.second, ok=outcome == OK, answered=everywhere, transactions=everywhere
    )
    return changed


def _couple(value: Any) -> Sequence[Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UsageError(f"a cas needs a pair (expected, new), not {value!r}")
    return value
