"""Meaning: what the values of others' histories stand for, the same for every format.

A file tells events, and its values hide what a model has to know: independent keys come as `[key value]`, versioned registers
as `[version value]`, a compare-and-set also as `[key old new]`, transactions under other names, the answer of a lock as a map
with its fence, a drained queue as one answer with many elements. All of it is told from the shapes of what was invoked, where
they leave no doubt.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.micros import OperationsPacker
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.shapes import MICROS, Shape, Shapes, is_micro
from splitbrain.harness.history.values import NIL, PAIR, SCALAR, Values, canonical

REGISTER = frozenset(("read", "write", "cas"))
FENCES = ("fence", "fencing-token", "fencing_token", "token")
"""What the fence is called in a lock's answer."""

_NO_FENCE = -1
_KEY = ("integer", "word")

Of = dict[str, set[Shape]]


def meant(history: History, shapes: Shapes, notes: list[str]) -> History:
    """The history with the meaning of its values; what was decided goes to `notes`."""
    of: Of = {f: set(found) for f, found in shapes.of.items()}
    history, of = _with_keys(history, of, notes)
    history = _without_versions(history, of, notes)
    history = _with_transactions(history, of, notes)
    history = _with_names(history, notes)
    history = _with_fences(history, of, notes)
    return _drained(history, notes)


def _with_keys(history: History, of: Of, notes: list[str]) -> tuple[History, Of]:
    """Jepsen prints an independent key as `[key value]`, which looks like the value of a `cas`. They are keys where no event
    tells a key, every invocation has such a pair (a read `[key nil]`), and a `cas` one whose second part is a pair again, or
    `[key old new]`."""
    keyed = bool(of) and not history.keys and len(history) > 0
    if not keyed or not all(_is_keyed(f, one) for f, found in of.items() for one in found):
        return history, of
    values = history.values
    if (values.kind == PAIR).all():
        names, codes = np.unique(values.first, return_inverse=True)
        keys: tuple[Any, ...] = tuple(names.tolist())
        inner = Values(np.zeros(len(values), np.int8), values.second, np.zeros(len(values), np.int64), ())
        changed = _changed(history, inner)
    else:
        told = list(values)
        if not all(type(value) is tuple and len(value) in (2, 3) and type(value[0]) in (int, str) for value in told):
            return history, of
        known: dict[Any, int] = {}
        codes = np.array([known.setdefault(value[0], len(known)) for value in told], np.int64)
        keys = tuple(known)
        if all(one[1:] in ((MICROS,), ((),)) for found in of.values() for one in found):
            if not all(len(value) == 2 and _micros(value[1]) is not None for value in told):
                return history, of
            return _apart_by_key(history, told, codes, notes), {f: {one[1] for one in found} for f, found in of.items()}
        changed = _revalued(history, [value[1] if len(value) == 2 else value[1:] for value in told])
    changed.key, changed.keys = codes.astype(np.int32), keys
    notes.append(f"values are [key value] pairs: {len(keys)} independent {'key' if len(keys) == 1 else 'keys'}")
    return changed, {f: {one[1] if len(one) == 2 else one[1:] for one in found} for f, found in of.items()}


def _apart_by_key(history: History, told: list[Any], codes: NDArray[np.int64], notes: list[str]) -> History:
    """Transactions of independent keys: what they read and write are other registers for each of these, and a client that goes
    from one to another begins there anew, for nothing is promised across them."""
    changed = _revalued(history, [
        tuple([(micro[0], (value[0], micro[1]), *micro[2:]) for micro in value[1]]) for value in told
    ])
    pairs, sessions = np.unique(np.stack([history.process, codes]), axis=1, return_inverse=True)
    if pairs.shape[1] > len(np.unique(pairs[0])):
        changed.process = sessions.reshape(-1).astype(np.int64)
    many = int(codes.max()) + 1
    notes.append(f"values are [key value] pairs: {many} independent {'key' if many == 1 else 'keys'}")
    return changed


def _is_keyed(f: str, one: Shape) -> bool:
    if type(one) is not tuple or len(one) not in (2, 3) or one[0] not in _KEY:
        return False
    if f != "cas":
        return len(one) == 2
    return len(one) == 3 or _couple(one[1])


def _couple(one: Shape) -> bool:
    return type(one) is tuple and len(one) == 2


def _without_versions(history: History, of: Of, notes: list[str]) -> History:
    """A register with versions is told as `[version value]`, the version nil where it is not known yet."""
    if not of or not set(of) <= REGISTER or not all(_is_versioned(f, one) for f, found in of.items() for one in found):
        return history
    told = list(history.values)
    if not all(type(value) is tuple and len(value) == 2 and type(value[0]) in (int, type(None)) for value in told):
        return history
    notes.append("values are [version value] pairs: the versions are not judged")
    return _revalued(history, [value[1] for value in told])


def _is_versioned(f: str, one: Shape) -> bool:
    if type(one) is not tuple or len(one) != 2:
        return False
    return _couple(one[1]) and one[0] in ("nil", "integer") if f == "cas" else one[0] == "nil"


def _with_transactions(history: History, of: Of, notes: list[str]) -> History:
    """Transactions are called `txn`, but also `read` and `write`. One that only reads may tell what in its answer alone."""
    shapes = set().union(*of.values()) if of else set()
    if MICROS not in shapes or not shapes <= {MICROS, (), "nil"}:
        return history
    plain = history.fs == ("txn",) and history.micros is not None
    if plain and len(np.flatnonzero(history.values.kind == 2)) == 0:
        return history
    told = [
        () if value is None and outcome != OK else _micros(value)
        for value, outcome in zip(history.values, history.outcome.tolist(), strict=True)
    ]
    if any(value is None for value in told):
        return history
    transactions = np.ones(len(told), np.bool_)
    packer = OperationsPacker()
    packed = packer.pack(told, transactions)
    values = packer.values(
        packed.kind, packed.first, packed.second, ok=history.outcome == OK, answered=transactions, transactions=transactions
    )
    changed = _changed(history, values)
    changed.f = np.zeros(len(told), np.int32)
    if history.fs != ("txn",):
        notes.append(f"{' and '.join(sorted(history.fs))} are transactions")
    changed.fs = ("txn",)
    return changed


def _micros(value: Any) -> Any:
    if type(value) is not tuple or not all(map(is_micro, value)):
        return None
    return tuple([(part[0].lstrip(":"), *part[1:]) for part in value])


def _with_names(history: History, notes: list[str]) -> History:
    """`get` and `put` of anything but strings are the read and write of a register."""
    if set(history.fs) != {"get", "put"} or all(type(value) is str for value in answers(history, "put")):
        return history
    renamed = _changed(history, history.values)
    renamed.fs = tuple({"get": "read", "put": "write"}[f] for f in history.fs)
    notes.append("get and put are the read and write of a register")
    return renamed


def _with_fences(history: History, of: Of, notes: list[str]) -> History:
    """The answer of a lock is its fence: an integer where nothing was told when it was asked for, or a part of a map."""
    if "acquire" not in history.fs or not set(history.fs) <= {"acquire", "release"}:
        return history
    told = list(history.values)
    if not any(type(value) is dict for value in told):
        return history
    asked = history.f == history.fs.index("acquire")
    fences = [
        _fence(value) if acquires and outcome == OK else None
        for value, acquires, outcome in zip(told, asked.tolist(), history.outcome.tolist(), strict=True)
    ]
    if all(fence is None for fence in fences):
        owners = [value.get("client") if type(value) is dict else value for value in told]
        return _revalued(history, [value if type(value) in (int, str) else None for value in owners])
    notes.append("the answers of the lock are maps: their fences are judged")
    return _revalued(history, fences)


def _fence(value: Any) -> int | None:
    found = next((value[name] for name in FENCES if name in value), None) if type(value) is dict else value
    return found if type(found) is int and found != _NO_FENCE else None


def fenced(history: History, shapes: Shapes) -> bool:
    """Whether a lock's answers are fences: integers, where none was told when it was asked for, nor when it was released."""
    told = [value for value in answers(history, "acquire") if value is not None]
    released = any(type(value) is int for value in answers(history, "release"))
    if not told or released or not all(type(value) is int for value in told):
        return False
    asked = shapes.of.get("acquire", set())
    return "integer" not in asked and (bool(asked & {"word", "other"}) or len(set(told)) > 1)


def _drained(history: History, notes: list[str]) -> History:
    """A `drain` is a dequeue of each element that it returned, and one more that finds the queue empty.

    Where its client dequeued while it was open, its elements are told there. One that never ended (`info`) may have taken any
    number of elements: as many dequeues without an answer as there are elements that nobody took.
    """
    if "drain" not in history.fs or "enqueue" not in history.fs:
        return history
    operations = list(history)
    drains = [one for one in operations if one.f == "drain" and one.outcome != "fail"]
    kept = [one for one in operations if one.f != "drain"]
    spread: list[Operation] = []
    for drain in drains:
        if drain.outcome == "ok":
            told = drain.value if type(drain.value) in (tuple, frozenset) else ()
            spread += [msgspec.structs.replace(drain, f="dequeue", value=element) for element in (*told, None)]
    open_ended = [drain for drain in drains if drain.outcome != "ok"]
    if open_ended:
        taken = sum(one.f == "dequeue" and one.outcome != "fail" and one.value is not None for one in (*kept, *spread))
        left = max(0, sum(one.f == "enqueue" and one.outcome != "fail" for one in kept) - taken)
        for drain in open_ended:
            spread += [msgspec.structs.replace(drain, f="dequeue", value=None) for _ in range(left)]
    if drains:
        notes.append(f"{len(drains)} drains judged as the dequeues of their elements, and of nothing at their ends")
    drained = History.of([*kept, *spread])
    drained.timed = history.timed
    return drained


# What a history tells of the values before its first write.


def begun_with(history: History, nil: str) -> list[Any]:
    """The values that registers were directly seen to hold before anything was written to them, each once; None is nil, and
    tells nothing where `nil` is `wildcard`.

    A read sees it that returned before any write of its key was invoked. Of other values than 0 and false only those count
    that nobody ever writes: a client that reads what is written later has seen the future.
    """
    keys, invoked, completed, reads, values = _accesses(history)
    if not len(keys):
        return []
    first = np.full(int(keys.max()) + 2, np.iinfo(np.int64).max)
    writes = ~reads
    np.minimum.at(first, keys[writes], invoked[writes])
    early = reads & (completed < first[keys]) & (completed < np.iinfo(np.int64).max)
    rows = _each_once(history, early)
    seen: dict[Any, Any] = {}
    among = {canonical(value): value for value in map(values, rows)}
    written = {canonical(values(row)) for row in _with_one_of(history, writes, among.values())} if rows else set()
    for row in rows:
        value = values(row)
        if value is None and nil == "wildcard":
            continue
        if value is None or _plain_zero(value) or canonical(value) not in written:
            seen.setdefault(canonical(value), value)
    return list(seen.values())


def may_have_begun_with(history: History, among: Collection[Any] | None = None) -> list[Any]:
    """The values that a register may have held from the beginning: those that were read, and nobody wrote, and 0 and false;
    `among` some, where these are told.

    A 0 that was read while a write of it was open that failed is that write's.
    """
    keys, invoked, completed, reads, values = _accesses(history)
    written: dict[Any, list[int]] = {}
    for row in _with_one_of(history, ~reads, among):
        written.setdefault(canonical(values(row)), []).append(row)
    found: dict[Any, Any] = {}
    dirty = set()
    outcome = _outcomes(history)
    names = None if among is None else set(map(canonical, among))
    for row in _with_one_of(history, reads, among):
        value = values(row)
        name = canonical(value)
        if value is None or name in dirty or (names is not None and name not in names):
            continue
        if name in written and not _plain_zero(value):
            continue
        mine = [write for write in written.get(name, ()) if outcome(write) == FAIL and keys[write] == keys[row]]
        if any(invoked[write] < completed[row] and completed[write] > invoked[row] for write in mine):
            dirty.add(name)
            found.pop(name, None)
            continue
        found.setdefault(name, value)
    return list(found.values())


def _each_once(history: History, rows: NDArray[np.bool_]) -> list[int]:
    """These rows, in their order, without those that hold the same integer or nil as an earlier one."""
    kind, first = history.values.kind, history.values.first
    if history.micros is not None:
        return np.flatnonzero(rows).tolist()  # Rows of micro-operations.
    plain = np.flatnonzero(rows & (kind == SCALAR))
    kept = plain[np.unique(first[plain], return_index=True)[1]]
    return sorted([*kept.tolist(), *np.flatnonzero(rows & (kind != SCALAR)).tolist()])


def _with_one_of(history: History, rows: NDArray[np.bool_], values: Collection[Any] | None) -> list[int]:
    """These rows without those that certainly hold none of the values: there may be too many to look at each."""
    if history.micros is None and values is not None:
        told, small = history.values, [value for value in values if type(value) is int and NIL < value < -NIL]
        held = np.array([*small, NIL], np.int64)
        rows = rows & ~((told.kind == SCALAR) & ~np.isin(told.first, held))
        if "cas" in history.fs:
            swaps = (history.f == history.fs.index("cas")) & (told.kind == PAIR)
            rows &= ~(swaps & ~np.isin(told.second, held))
    found: list[int] = np.flatnonzero(rows).tolist()
    return found


def _plain_zero(value: Any) -> bool:
    return value is False or (type(value) is int and value == 0)


def _outcomes(history: History) -> Callable[[int], int]:
    owners = history.micros.owners() if history.micros is not None else None
    return lambda row: int(history.outcome[row if owners is None else owners[row]])


def _accesses(
    history: History,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_], Callable[[int], Any]]:
    """Every access to a register: its key's code, when it was invoked and completed, whether it is a read whose answer is known
    (the others count as writes, but for reads without one, which are left at the end of time), and its value by row. The value
    of a `cas` is the new one."""
    micros = history.micros
    if micros is not None:
        owners = micros.owners()
        known = (micros.f == 0) & (history.outcome[owners] == OK) & (micros.value != np.iinfo(np.int64).min + 1)
        reads = (micros.f == 0) | (micros.f == 3)
        completed = np.where(reads & ~known, np.iinfo(np.int64).max, history.completed[owners])
        return micros.key.astype(np.int64), history.invoked[owners], completed, reads, micros.returned
    read = history.fs.index("read") if "read" in history.fs else -2
    cas = history.fs.index("cas") if "cas" in history.fs else -2
    reads = history.f == read
    completed = np.where(reads & (history.outcome != OK), np.iinfo(np.int64).max, history.completed)

    def value(row: int) -> Any:
        told = history.values[row]
        return told[1] if history.f[row] == cas and type(told) is tuple and len(told) == 2 else told

    return history.key.astype(np.int64) + 1, history.invoked, completed, reads, value


# The history with other values.


def answers(history: History, f: str) -> list[Any]:
    """The values of the acknowledged operations of that name."""
    if f not in history.fs:
        return []
    rows = np.flatnonzero((history.f == history.fs.index(f)) & (history.outcome == OK))
    return list(history.values.take(rows))


def _changed(history: History, values: Values) -> History:
    changed = history.select(np.arange(len(history)))
    changed.values = values
    return changed


def _revalued(history: History, values: list[Any]) -> History:
    packer = OperationsPacker()
    transactions = np.isin(history.f, [history.fs.index("txn")] if "txn" in history.fs else [])
    packed = packer.pack(values, transactions)
    everywhere = np.ones(len(values), np.bool_)
    return _changed(
        history,
        packer.values(
            packed.kind, packed.first, packed.second, ok=history.outcome == OK, answered=everywhere, transactions=transactions
        ),
    )
