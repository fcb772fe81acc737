"""How stale the stale reads of registers were."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.verdict import Staleness
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.values import canonical


def staleness(history: History) -> Staleness | None:
    """Every read of a version that was there before a write which had been acknowledged when the read began, and for how
    long it had been (the earliest such write). None where there is none, or the history is not one of registers with
    distinct values.

    Where writes were lost, reads that miss them look the same: ask only of histories without.
    """
    late: list[NDArray[np.int64]] = []
    reads = 0
    for _, rows in history.by_key():
        done = rows[history.outcome[rows] == OK]
        there: dict[Hashable, int] = {None: -1}
        read_rows, starts, ends = [], [], []
        for row in done.tolist():
            f, value = history.fs[history.f[row]], history.values[row]
            if f not in ("read", "write", "cas"):
                return None
            if f == "read":
                read_rows.append((row, canonical(value)))
            else:
                value = value[1] if f == "cas" else value
                starts.append(int(history.invoked[row]))
                ends.append(int(history.completed[row]))
            name = canonical(value)
            there[name] = min(there.get(name, NEVER), int(history.completed[row]))
        reads += len(read_rows)
        if not starts or not read_rows:
            continue
        order = np.argsort(starts, kind="stable")
        began = np.array(starts)[order]
        # The earliest acknowledgement among the writes that began no earlier than each.
        acknowledged = np.append(np.minimum.accumulate(np.array(ends)[order][::-1])[::-1], NEVER)
        known = np.array([there[name] for _, name in read_rows])
        overwritten = acknowledged[np.searchsorted(began, known, "right")]
        invoked = history.invoked[[row for row, _ in read_rows]]
        late.append((invoked - overwritten)[overwritten < invoked])
    found = np.concatenate(late) / 1e6 if late else np.empty(0)
    if not len(found):
        return None
    return Staleness(
        stale=len(found), reads=reads, share=len(found) / reads, median_ms=float(np.median(found)),
        p99_ms=float(np.percentile(found, 99)), max_ms=float(found.max()),
    )
