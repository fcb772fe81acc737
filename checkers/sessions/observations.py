"""Observations: a history of registers as one of small transactions, so that both are judged by the same code.

A read is a transaction that reads, a write one that writes, a compare-and-set that succeeded one that read what it expected
and wrote, and so did one that was not answered where somebody read what it wrote; one that was refused and told what it saw is
a read of that, and without a word of it nothing at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.models.specifications import Nil
from splitbrain.checkers.structures.columns import rows_of
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.micros import APPEND, FIRST_OBJECT, READ, READ_LIST, UNKNOWN, WRITE, Micros, OperationsPacker
from splitbrain.harness.history.ranges import bounds
from splitbrain.harness.history.values import MICROS, NIL, PAIR, SCALAR, Values, canonical

FUNCTIONS = ("read", "write", "cas", "txn")


def observed(history: History, initial: Any = None, nil: Nil = "absent") -> tuple[History, int]:
    """The history as transactions over registers that began with `initial`, and how many reads had to be left out because the
    value that they returned was written more than once, or was there in the beginning and is written too (without them the
    history asks for less: what is refuted still is). A read of nil found the beginning, or tells nothing (`wildcard`); of a key
    that was seen to begin with `initial` it found what nobody wrote.

    Raises `UsageError` for any other function, for lists, and for a transaction of other steps, which may have written what the
    others read.
    """
    unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - set(FUNCTIONS))
    if unknown:
        raise UsageError(
            f"sessions are judged of registers, by read, write, cas and txn, not by {unknown[0]!r}: choose another checker"
        )
    strange = np.flatnonzero(rows_of(history, "txn") & (history.outcome != FAIL) & (history.values.kind != MICROS))
    if len(strange):
        wrong = history[int(strange[0])]
        raise UsageError(f"operation {wrong.index}, txn {wrong.value}: a txn needs a list of (r or w, register, value)")
    changed = _as_transactions(history)
    micros = changed.micros
    if micros is None:
        return changed, 0
    if (micros.f == APPEND).any() or (micros.f == READ_LIST).any():
        raise UsageError("sessions are judged of registers, not of lists: choose another checker")
    value, owner = micros.value.copy(), micros.owners()
    writes = micros.f == WRITE
    repeated = _repeated(micros.key, value, writes)
    first = NIL if initial is None else _id(micros, initial)
    told = (micros.f == READ) & (value != UNKNOWN)
    _take_as_done(changed, micros, told, told & ~repeated & (value != first))
    reads = told & (changed.outcome[owner] == OK)
    value[told & ~reads] = UNKNOWN
    if nil == "wildcard":
        value[reads & (value == NIL)] = UNKNOWN
        reads &= value != UNKNOWN
    objects = micros.objects
    if initial is not None:
        begun = reads & (value == first)
        # Where that is also written, nobody knows which of the two was read.
        also = np.isin(micros.key, micros.key[writes & (value == first)])
        nothing = reads & (value == NIL) & ~repeated & np.isin(micros.key, micros.key[begun & ~also])
        value[begun & ~also] = NIL
        repeated |= begun & also
        if nothing.any():
            value[nothing] = FIRST_OBJECT + len(objects)
            objects = (*objects, None)
    left_out = reads & repeated
    value[left_out] = UNKNOWN
    left = Micros(micros.start, micros.f, micros.key, value, micros.list_start, micros.list_values, micros.keys, objects)
    found = changed.select(np.arange(len(changed)))
    found.values = Values(
        changed.values.kind, changed.values.first, changed.values.second, changed.values.objects, left
    )
    return found, int(left_out.sum())


def unanswered_apart(told: History, outcome: NDArray[np.int8]) -> History:
    """What was observed, in which a call that was not answered (its `outcome`) is a session of its own where its client went
    on: when it took effect says nothing of what that client must see after it."""
    _, process = np.unique(told.process, return_inverse=True)
    last = np.zeros(int(process.max(initial=-1)) + 1, np.int64)
    np.maximum.at(last, process, np.arange(len(process)))
    alone = np.flatnonzero((outcome == INFO) & (last[process] != np.arange(len(process))))
    if not len(alone):
        return told
    apart = told.select(np.arange(len(told)))
    process[alone] = len(last) + np.arange(len(alone))
    apart.process = process.astype(told.process.dtype)
    return apart


def in_time(told: History) -> bool:
    """Whether what was observed may be explained by an order of time, for all that two versions of one key tell: not where each
    was known, for an operation on it had been answered, before an operation on the other was called (Gibbons & Korach 1997)."""
    micros = told.micros
    assert micros is not None
    owner = micros.owners()
    rows = np.flatnonzero((micros.value != UNKNOWN) & (told.outcome[owner] == OK))
    rows = rows[np.lexsort((micros.value[rows], micros.key[rows]))]
    key, value = micros.key[rows], micros.value[rows]
    begin = np.flatnonzero(np.append(True, (key[1:] != key[:-1]) | (value[1:] != value[:-1]))[: len(rows)])
    if not len(begin):
        return True
    known = np.minimum.reduceat(told.completed[owner[rows]], begin)
    asked = np.maximum.reduceat(told.invoked[owner[rows]], begin)
    # All the time from when it was known until it was last asked for, that version was there.
    held = np.flatnonzero(known < asked)
    held = held[np.lexsort((known[held], key[begin[held]]))]
    keys = key[begin[held]]
    return not ((keys[1:] == keys[:-1]) & (known[held[1:]] < asked[held[:-1]])).any()


def _take_as_done(changed: History, micros: Micros, told: NDArray[np.bool_], telling: NDArray[np.bool_]) -> None:
    """Take as done every compare-and-set that was not answered and whose new value somebody read; so it had found what it
    expected, too. `told` are reads with a value, `telling` those that tell of one write alone."""
    owner = micros.owners()
    swaps = np.flatnonzero((changed.outcome == INFO) & (np.bincount(owner[told], minlength=len(changed)) > 0))
    if not len(swaps):
        return
    changed.outcome = changed.outcome.copy()
    new = {(int(micros.key[at]), int(micros.value[at])): int(owner[at])
           for at in np.flatnonzero((micros.f == WRITE) & np.isin(owner, swaps)).tolist()}
    look = np.flatnonzero(telling & (changed.outcome[owner] == OK)).tolist()
    while look:
        read = {(int(micros.key[at]), int(micros.value[at])) for at in look}
        done = np.array([new.pop(one) for one in read & new.keys()], np.int64)
        changed.outcome[done] = OK
        look = np.flatnonzero(telling & np.isin(owner, done)).tolist() if len(done) else []


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
    same = canonical(value)
    return next((FIRST_OBJECT + at for at, held in enumerate(micros.objects) if canonical(held) == same), UNKNOWN)


def _as_transactions(history: History) -> History:
    if set(np.unique(history.f).tolist()) <= {history.fs.index("txn") if "txn" in history.fs else -1}:
        return history
    return _quickly(history) or _one_by_one(history)


def _quickly(history: History) -> History | None:
    """In columns, where every value is an integer; None where one is not."""
    reads, writes, cas = rows_of(history, "read"), rows_of(history, "write"), rows_of(history, "cas")
    values = history.values
    plain = (values.kind == SCALAR) | (cas & (values.kind == PAIR))
    wide = (np.abs(values.first) >= 1 << 62) & (values.first != NIL)
    wide |= cas & (np.abs(values.second) >= 1 << 62) & (values.second != NIL)
    refused = cas & (history.outcome == FAIL)
    telling = np.array([row for row in sorted(history.seen) if refused[row] and history.seen[row]], np.int64)
    seen = [history.seen[row][0] for row in telling.tolist()]
    if not (reads | writes | cas).all() or not plain.all() or wide.any() or not all(map(_is_plain, seen)):
        return None
    known = history.outcome == OK
    swaps = cas & ~refused
    counts = np.where(swaps, 2, np.where(refused, 0, 1))
    counts[telling] = 1
    start = bounds(counts)
    f = np.full(start[-1], WRITE, np.int8)
    value = np.repeat(values.first, counts)
    first, second = start[:-1], start[:-1] + 1
    f[first[reads | swaps]] = READ
    f[first[telling]] = READ
    value[first[reads & ~known]] = UNKNOWN
    value[second[swaps]] = values.second[swaps]
    value[first[telling]] = [NIL if one is None else one for one in seen]
    key = np.repeat(history.key + 1, counts).astype(np.int32)
    nothing = np.zeros(0, np.int64)
    micros = Micros(start, f, key, value, np.zeros(1, np.int64), nothing, (None, *history.keys), ())
    changed = history.select(np.arange(len(history)))
    changed.outcome[telling] = OK
    changed.values = Values(values.kind, values.first, values.second, values.objects, micros)
    return changed


def _is_plain(value: Any) -> bool:
    return value is None or (type(value) is int and abs(value) < 1 << 62)


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
                told.append((("r", key, expected), ("w", key, new)))
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
        packed.kind, packed.first, packed.second, ok=(outcome == OK) | rows_of(history, "cas"), answered=everywhere,
        transactions=everywhere,
    )
    return changed


def _couple(value: Any) -> Sequence[Any]:
    if not isinstance(value, (tuple, list)) or len(value) != 2:
        raise UsageError(f"a cas needs a pair (expected, new), not {value!r}")
    return value
