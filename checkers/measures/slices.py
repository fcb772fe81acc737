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
from splitbrain.harness.history.names import NO_NAME
from splitbrain.harness.history.operation import MISMATCH, Operation
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
    writers = _writers(history, ~inside)
    places = np.flatnonzero(inside)
    wanted = _mentioned(history, places)
    rows = {writers[name] for name in wanted if name in writers} | set(_last(history, calm, begin).values())
    before = np.array(sorted(rows), np.int64)
    if "cas" in history.fs and (history.f[before] == history.fs.index("cas")).any():
        ops = [_as_write(history[row]) for row in before.tolist()]
        part = History.of([*ops, *(history[row] for row in places.tolist())])
    else:
        part = history.select(np.sort(np.concatenate((before, places))))
    return msgspec.structs.replace(recording, history=part, faults=(fault,), local_reads=())


def _mentioned(history: History, places: NDArray[np.int64]) -> set[tuple[int, Any]]:
    """(key code, value) of all values that these operations say were there before them."""
    found = set()
    refused = history.errors.index(MISMATCH) if MISMATCH in history.errors else NO_NAME
    columns = (history.f[places], history.outcome[places], history.key[places], history.error[places])
    for row, f, outcome, key, error in zip(places.tolist(), *(column.tolist() for column in columns), strict=True):
        if history.fs[f] == "read" and outcome == OK:
            found.add((key, canonical(history.values[row])))
        elif history.fs[f] == "cas":
            values = history.seen.get(row, ()) if error == refused else history.values[row][:1]
            found.update((key, canonical(value)) for value in values)
    return found


def _writers(history: History, outside: NDArray[np.bool_]) -> dict[tuple[int, Any], int]:
    """(key code, value) → the row of the write or compare-and-set, among those outside the slice, that may have set it."""
    changing = outside & (history.outcome != FAIL)
    if "read" in history.fs:
        changing &= history.f != history.fs.index("read")
    cas = history.fs.index("cas") if "cas" in history.fs else NO_NAME
    rows = np.flatnonzero(changing)
    found = {}
    for row, key, f in zip(rows.tolist(), history.key[rows].tolist(), history.f[rows].tolist(), strict=True):
        value = history.values[row]
        found[key, canonical(value[1] if f == cas else value)] = row
    return found


def _last(history: History, since: int, begin: int) -> dict[int, int]:
    """Key code → the row of the last write, among those invoked after `since` and acknowledged before `begin`."""
    done = (history.invoked > since) & (history.completed < begin) & (history.outcome == OK)
    if "read" in history.fs:
        done &= history.f != history.fs.index("read")
    rows = np.flatnonzero(done)
    return dict(zip(history.key[rows].tolist(), rows.tolist(), strict=True))


def _as_write(op: Operation) -> Operation:
    return msgspec.structs.replace(op, f="write", value=op.value[1]) if op.f == "cas" else op


