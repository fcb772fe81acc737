"""How stale the reads of registers were."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import rows_of
from splitbrain.checkers.verdict import Staleness
from splitbrain.harness.history import machine_code
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.values import NIL, PAIR, SCALAR, canonical

COMPILED_FROM = 500_000
"""Operations from which on machine code repays loading it, or compiling it once on a machine."""


def staleness(history: History, *, lossy: bool = False) -> Staleness | None:
    """Every read of a version that was there before a write which had been acknowledged when the read began, and for how
    long it had been (the earliest such write). None where nothing was read, or the history is not one of registers with
    distinct values.

    Where writes were lost (`lossy`), a read that misses one looks the same. There only those reads count that missed a write
    which somebody found again, no sooner than the read began: they are certainly stale, and there may be more.
    """
    answered = history.outcome == OK
    if {history.fs[code] for code in np.unique(history.f[answered]).tolist()} - {"read", "write", "cas"}:
        return None
    codes, is_read = _codes(history), rows_of(history, "read")
    compiled = len(history) >= COMPILED_FROM and machine_code.available()
    late: list[NDArray[np.int64]] = []
    reads = 0
    for _, rows in history.by_key():
        done = rows[answered[rows]]
        distinct, name = np.unique(codes[done], return_inverse=True)
        looked = is_read[done]
        reads += int(looked.sum())
        if looked.all() or not looked.any():
            continue
        there, found = np.full(len(distinct), NEVER), np.full(len(distinct), -1)
        np.minimum.at(there, name, history.completed[done])
        there[distinct == NIL] = -1
        invoked = history.invoked[done[looked]]
        np.maximum.at(found, name[looked], invoked)
        starts, ends, written = history.invoked[done[~looked]], history.completed[done[~looked]], name[~looked]
        order = np.argsort(starts, kind="stable")
        began, acknowledged = starts[order], ends[order]
        # The earliest acknowledgement among the writes that began no earlier than each.
        earliest = np.append(np.minimum.accumulate(acknowledged[::-1])[::-1], NEVER)
        place = np.searchsorted(began, there[name[looked]], "right")
        overwritten = earliest[place]
        if lossy:
            again = found[written][order]
            missed = np.flatnonzero(overwritten < invoked)
            overwritten[missed] = _earliest_found_again(acknowledged, again, place[missed], invoked[missed], compiled)
        late.append((invoked - overwritten)[overwritten < invoked])
    return ages(np.concatenate(late) / 1e6 if late else (), reads, lossy=lossy) if reads else None


def _codes(history: History) -> NDArray[np.int64]:
    """What each operation that was answered read or wrote, as an integer; `NIL` for nothing."""
    values, swaps, answered = history.values, rows_of(history, "cas"), history.outcome == OK
    if (values.kind == np.where(swaps, PAIR, SCALAR))[answered].all():
        codes: NDArray[np.int64] = np.where(swaps, values.second, values.first)
        return codes
    names: dict[Hashable, int] = {None: NIL}
    told = zip(values, swaps.tolist(), answered.tolist(), strict=True)
    return np.array([
        names.setdefault(canonical(value[1] if swap else value), len(names)) if ok else NIL for value, swap, ok in told
    ], np.int64)


def _earliest_found_again(
    acknowledged: NDArray[np.int64], again: NDArray[np.int64], since: NDArray[np.int64], read: NDArray[np.int64],
    compiled: bool,
) -> NDArray[np.int64]:
    """For each read, which began at `read` and missed all writes from the place `since` on: when the first of those was
    acknowledged that somebody found `again` no sooner, `NEVER` where nobody did."""
    many = len(acknowledged)
    latest = np.argsort(-again, kind="stable")
    latest = latest[again[latest] >= 0]
    order = np.argsort(-read, kind="stable")
    columns = again[latest], many - latest, acknowledged[latest], read[order], many - since[order]
    least, tree = np.empty(len(since), np.int64), np.full(many + 1, NEVER)
    if compiled:
        machine_code.compiled(_sweep)(*columns, tree, least)
    else:  # Plain Python reads lists several times as fast as arrays.
        told = least.tolist()
        plain: Callable[..., None] = _sweep
        plain(*(column.tolist() for column in columns), tree.tolist(), told)
        least[:] = told
    earliest = np.empty(len(since), np.int64)
    earliest[order] = least
    return earliest


def _sweep(again: Any, place: Any, acknowledged: Any, read: Any, since: Any, tree: Any, least: Any) -> None:
    """Fill in `least` for each read, the latest first, as the writes do that were found again; places are counted from
    behind, from 1."""
    # By Fenwick's tree of least values, over the places: the latest reads first, beside what was found as late.
    write = 0
    for at in range(len(read)):
        while write < len(again) and again[write] >= read[at]:
            node, earliest = place[write], acknowledged[write]
            # Whatever is above is of no greater value.
            while node < len(tree) and tree[node] > earliest:
                tree[node] = earliest
                node += node & -node
            write += 1
        node, told = since[at], NEVER
        while node:
            told = min(told, tree[node])
            node &= node - 1
        least[at] = told


def ages(late: Sequence[float] | NDArray[np.float64], reads: int, *, lossy: bool = False) -> Staleness:
    """How stale these reads of so many were, by their ages in milliseconds."""
    found = np.asarray(late, np.float64)
    if not len(found):
        return Staleness(stale=0, reads=reads, share=0.0, median_ms=0.0, p99_ms=0.0, max_ms=0.0, lossy=lossy)
    return Staleness(
        stale=len(found), reads=reads, share=len(found) / reads, median_ms=float(np.median(found)),
        p99_ms=float(np.percentile(found, 99)), max_ms=float(found.max()), lossy=lossy,
    )
