"""Refusals: a compare-and-set that was decided against, and did not tell what it saw, found another value than it expected.

That is nothing that was read, and so no part of what a history is held against; an order of all operations must have room for
it all the same.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Hashable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.structures.columns import mismatched, rows_of
from splitbrain.harness.history.history import FAIL, History
from splitbrain.harness.history.values import canonical

_LOOKS = 1_000
"""Rows between two looks at the clock."""


def untold_refusals(history: History) -> NDArray[np.int64]:
    """The rows of compare-and-sets that were refused and do not tell what they saw, or tell what they expected."""
    rows = np.flatnonzero(rows_of(history, "cas") & mismatched(history))
    return rows[[not history.seen.get(row) or _contradicts(history, row) for row in rows.tolist()]] if len(rows) else rows


def _contradicts(history: History, row: int) -> bool:
    return canonical(history.seen[row][0]) == canonical(history.values[row][0])


def refused_in(
    history: History, process: NDArray[Any], done: NDArray[np.bool_], rank: NDArray[np.int64], refusals: NDArray[np.int64],
    initial: Any, budget: Budget,
) -> bool:
    """Whether each of these has a place among the rows that are `done`, in the order of their `rank`, where its key holds
    another value than it expected: behind what its `process` did before it, and in front of what that did after it. Raises
    `Exhausted`."""
    wrote: dict[int, list[tuple[int, Hashable]]] = defaultdict(list)
    acts: dict[int, list[int]] = defaultdict(list)
    for row in np.flatnonzero(done)[np.argsort(rank[done], kind="stable")].tolist():
        if row % _LOOKS == 0:
            budget.check()
        acts[int(process[row])].append(row)
        f, value = history.fs[history.f[row]], history.values[row]
        if f == "write" or (f == "cas" and history.outcome[row] != FAIL):
            wrote[int(history.key[row])].append((int(rank[row]), canonical(value if f == "write" else value[1])))
    reached: dict[int, int] = {}
    end = int(rank.max(initial=0)) + 1
    for place, row in enumerate(refusals.tolist()):
        if place % _LOOKS == 0:
            budget.check()
        if history.seen.get(row) and _contradicts(history, row):
            return False
        client = int(process[row])
        mine = acts[client]
        behind = bisect_right(mine, row)
        low = int(rank[mine[behind - 1]]) if behind else -1
        high = int(rank[mine[behind]]) if behind < len(mine) else end
        at = max(low, reached.get(client, -1))
        versions, expected = wrote[int(history.key[row])], canonical(history.values[row][0])
        after = bisect_right(versions, at, key=lambda version: version[0])
        held = versions[after - 1][1] if after else canonical(initial)
        while held == expected and after < len(versions) and versions[after][0] < high:
            at, held = versions[after]
            after += 1
        if held == expected:
            return False
        reached[client] = at
    return True
