"""Impossible reads of a register whose values are written more than once: found in O(n log n), before any search.

A read of v needs a change to v, the last one before it. That change began before the read ended; and if a change to another
value was over before the read began, it ended no earlier than that one began. Where every change to v fails one of these,
the read is impossible, whatever else happened. The converse does not hold: what passes is left to the search.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Register
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import MISSING, NIL, PAIR, SCALAR

Ints = NDArray[np.int64]
EVER = int(np.iinfo(np.int64).min)


def decide_impossible(history: History, model: Register, budget: Budget = FOREVER) -> Decision | None:
    """The decision that the first such read of one key refutes it; None where there is none, or where values are no integers.
    Raises `Exhausted`."""
    values, fs, outcome = history.values, history.fs, history.outcome
    if not np.isin(values.kind, (SCALAR, PAIR, MISSING)).all() or not (model.initial is None or type(model.initial) is int):
        return None
    initial = NIL if model.initial is None else model.initial
    codes = {name: fs.index(name) if name in fs else -2 for name in ("read", "write", "cas")}
    writing, swapping = history.f == codes["write"], history.f == codes["cas"]
    new = np.where(swapping, values.second, values.first)
    changing = (writing | (swapping & (values.first != values.second))) & (values.kind != MISSING)
    finish = np.where(outcome == OK, history.completed, NEVER)
    reads = np.flatnonzero((history.f == codes["read"]) & (outcome == OK) & (values.kind == SCALAR))
    if model.nil == "wildcard":
        reads = reads[values.first[reads] != NIL]
    changes = np.flatnonzero(changing & (outcome != FAIL))
    # Of the changes that were over before each read, the one that began last, and the one of another value than that.
    over = changes[outcome[changes] == OK]
    over = over[np.argsort(finish[over], kind="stable")]
    budget.check()
    latest, second = _latest(history.invoked[over], new[over])
    upto = np.searchsorted(finish[over], history.invoked[reads], "left") - 1
    order = np.lexsort((history.invoked[changes], new[changes]))
    changes = changes[order]
    starts = history.invoked[changes]
    # The latest end among the changes to one value up to each.
    reach = finish[changes]
    bounds = [0, *(np.flatnonzero(np.diff(new[changes])) + 1).tolist(), len(changes)]
    budget.check()
    for number, (low, high) in enumerate(pairwise(bounds)):
        if not number & 4095:
            budget.check()
        np.maximum.accumulate(reach[low:high], out=reach[low:high])
    begin = np.searchsorted(new[changes], values.first[reads], "left")
    end = np.searchsorted(new[changes], values.first[reads], "right")
    for number, (read, at, first, last) in enumerate(zip(
        reads.tolist(), upto.tolist(), begin.tolist(), end.tolist(), strict=True
    )):
        if not number & 1023:
            budget.check()
        value = values.first[read]
        other = -1
        if at >= 0:
            other = int(latest[at]) if new[over[latest[at]]] != value else int(second[at])
        since = int(history.invoked[over[other]]) if other >= 0 else EVER
        if value == initial and since == EVER:
            continue
        count = int(np.searchsorted(starts[first:last], finish[read], "right"))
        if count and reach[first + count - 1] >= since:
            continue
        return _refuted(history, read, changes[first:last], count, int(over[other]) if other >= 0 else -1, new, finish, initial)
    return None


def _latest(began: Ints, new: Ints) -> tuple[Ints, Ints]:
    """For each beginning of these changes, the place of the one that began last, and of the last one of another value than
    that; -1 where there is none."""
    firsts, seconds = np.empty(len(began), np.int64), np.empty(len(began), np.int64)
    first = second = -1
    starts, told = began.tolist(), new.tolist()
    for at, (start, value) in enumerate(zip(starts, told, strict=True)):
        if first < 0 or start > starts[first]:
            if first >= 0 and told[first] != value:
                second = first
            first = at
        elif told[first] != value and (second < 0 or start > starts[second]):
            second = at
        firsts[at], seconds[at] = first, second
    return firsts, seconds


def _refuted(
    history: History, read: int, mine: Ints, count: int, other: int, new: Ints, finish: Ints, initial: int
) -> Decision:
    """Why that read is impossible: `mine` are the changes to its value, of which `count` began in time."""
    who = f"client {int(history.process[read])} read {_told(history, read)}"

    def decision(identifier: str, rows: set[int], sentence: str) -> Decision:
        return Decision(
            method="impossible", valid=False, identifier=identifier, rows=tuple(sorted(rows)), sentence=sentence, accused=read
        )

    if not count and history.values.first[read] != initial:
        writes = np.isin(history.f, [at for at, f in enumerate(history.fs) if f in ("write", "cas")])
        failed = np.flatnonzero(
            writes & (history.outcome == FAIL) & (new == history.values.first[read]) & (history.invoked <= finish[read])
        )
        if len(failed):
            return decision("aborted-read", {int(failed[0]), read}, f"{who}, whose write had been reported as failed")
        if len(mine):
            return decision("future-read", {int(mine[0]), read}, f"{who} before anybody began to write it")
        return decision("unwritten-read", {read}, f"{who}, which nobody had written")
    rows = {read, other}
    if count:
        rows.add(int(mine[np.argmax(finish[mine[:count]])]))
    sentence = (
        f"{who}, although {history.fs[history.f[other]]} {_told(history, other)} had been acknowledged by then, and every write"
        " of what was read was over before that began"
    )
    return decision("stale-read", rows, sentence)


def _told(history: History, row: int) -> str:
    value = history.values[row]
    return "nil" if value is None else str(value)
