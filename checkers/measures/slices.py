"""Slices: the part of a register history that tells of one fault, sound to judge alone.

A key that broke in one fault says nothing more of the next ones, so each is judged on its own part. What is left out must not
make a linearizable history look broken: from a register's history one may always leave out reads, and whole values (a write
with everything that read it or went on from it), because in a linearization the operations on one value stand together. So
a slice keeps what was invoked in its time, with the writes of all values that this mentions, whenever they were made; a
compare-and-set from another time counts as a plain write, which demands less. Written values must be distinct.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH, Key, Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import canonical

FUNCTIONS = frozenset({"read", "write", "cas"})


def sliced(recording: Recording, fault: Fault) -> Recording | None:
    """The recording of what was invoked from the start of `fault` to the start of the next one, the last fault's with the
    final reads. Of each key it also holds the last write that was acknowledged in the healthy time before. None where the
    history is not one of registers."""
    history = recording.history
    if not FUNCTIONS.issuperset(history.fs[code] for code in np.unique(history.f).tolist()):
        return None
    begin = fault.started
    calm = max((other.healed or NEVER for other in recording.faults if other.started < begin), default=0)
    usable = history.outcome != FAIL
    usable |= np.isin(np.arange(len(history)), np.fromiter(history.seen, np.int64, len(history.seen)))
    inside = usable & (history.invoked >= begin) & (history.invoked < recording.until_next(fault))
    kept = [history[row] for row in np.flatnonzero(inside).tolist()]
    writers = _writers(history, ~inside)
    wanted = {(op.key, canonical(value)) for op in kept for value in _mentioned(op)}
    rows = {writers[name] for name in wanted if name in writers} | set(_last(history, calm, begin).values())
    before = [_as_write(history[row]) for row in sorted(rows)]
    return msgspec.structs.replace(recording, history=History.of([*before, *kept]), faults=(fault,), local_reads=())


def _mentioned(op: Operation) -> tuple[Any, ...]:
    """The values that an operation says were there before it."""
    if op.f == "read":
        return (op.value,) if op.outcome == "ok" else ()
    if op.f == "cas":
        return op.seen if op.error == MISMATCH else (op.value[0],)
    return ()


def _writers(history: History, outside: NDArray[np.bool_]) -> dict[tuple[Key, Any], int]:
    """(key, value) → the row of the write or compare-and-set, among those outside the slice, that may have set it."""
    changing = outside & (history.outcome != FAIL)
    if "read" in history.fs:
        changing &= history.f != history.fs.index("read")
    found = {}
    for row in np.flatnonzero(changing).tolist():
        op = history[row]
        found[op.key, canonical(_set_to(op))] = row
    return found


def _last(history: History, since: int, begin: int) -> dict[int, int]:
    """Key code → the row of the last write, among those invoked after `since` and acknowledged before `begin`."""
    done = (history.invoked > since) & (history.completed < begin) & (history.outcome == OK)
    if "read" in history.fs:
        done &= history.f != history.fs.index("read")
    rows = np.flatnonzero(done)
    return dict(zip(history.key[rows].tolist(), rows.tolist(), strict=True))


def _set_to(op: Operation) -> Any:
    return op.value[1] if op.f == "cas" else op.value


def _as_write(op: Operation) -> Operation:
    return msgspec.structs.replace(op, f="write", value=_set_to(op)) if op.f == "cas" else op


