"""Which operations an explanation needs: in a long history nearly all have nothing to do with what is wrong.

Two chains contradict each other where each has an operation that returned before one of the other was invoked (`zones`). Let
*suspects* be chains such that every contradiction is within one of them, or has one of them on one side; and let the chains
that are *concerned* be these and every other one in whose zone a whole operation of a suspect lies. Whatever was answered
wrongly belongs to a chain that is concerned: what it is held against lies, whole, in its zone, and either it or that is a
suspect's. Of the others only those are needed that it may be held against: for each operation of a chain that is concerned the
newest acknowledged write, and the newest observation, that was over when it began; what was acknowledged between the beginning
of such a chain and its last compare-and-set, for that is a fork; and what tells the end of the history.

Chains are kept whole or not at all, so that what is said of the part is true of the whole.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.linearizability.registers.zones import Chains
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.values import canonical

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def concerned(history: History, chains: Chains) -> Ints:
    """The rows of `history`, of one key, that are needed to say what is wrong with it, ascending."""
    low, high, root = chains.low, chains.high, chains.root
    rows, inv, ret = chains.rows, chains.inv, chains.ret
    kept = _suspects(chains)
    # Other chains with a whole operation of a suspect in their zone; they are apart from each other.
    zones = chains.present[~kept[chains.present]]
    zones = zones[low[zones] < high[zones]]
    zones = zones[np.argsort(low[zones], kind="stable")]
    mine = kept[root]
    at = np.searchsorted(low[zones], inv[mine], side="left") - 1
    around = zones[at[(at >= 0) & (ret[mine] < high[zones[at]])]] if len(zones) else zones
    kept[around] = True

    fs = history.fs
    answered = history.outcome[rows] == OK
    changing = (history.f[rows] != (fs.index("read") if "read" in fs else -1)) & answered
    mine = kept[root]
    needed = kept.copy()
    for some in (~mine & changing, ~mine):
        needed[root[_newest_before(np.flatnonzero(some), inv, ret, inv[mine])]] = True
    swapped = history.f[rows] == (fs.index("cas") if "cas" in fs else -1)
    reach = np.full(len(low), -1, np.int64)
    np.maximum.at(reach, root[mine & swapped], inv[mine & swapped])
    forks = np.flatnonzero(reach >= 0)
    if len(forks):
        forks = forks[np.argsort(low[forks], kind="stable")]
        furthest = np.maximum.accumulate(reach[forks])
        others = np.flatnonzero(~mine & changing)
        at = np.searchsorted(low[forks], inv[others], side="left") - 1
        needed[root[others[(at >= 0) & (furthest[at] > ret[others])]]] = True
    # The end of the history: the last change and what was observed after it, and the last observation.
    if changing.any():
        last = np.flatnonzero(changing)[np.argmax(ret[changing])]
        needed[root[last]] = True
        needed[root[inv > ret[last]]] = True
    needed[root[np.argmax(inv)]] = True
    failed = _failed(history, rows[chains.wrong[root]])
    needed[root[np.isin(rows, failed)]] = True
    return np.unique(np.concatenate([rows[needed[root]], failed]))


def _failed(history: History, wrong: Ints) -> Ints:
    """The rows of those who failed to write a value that was told by the rows of a chain that contradicts itself."""
    if not len(wrong):
        return wrong
    told: set[Hashable] = set()
    for row in wrong.tolist():
        value = history.values[row]
        told.update(map(canonical, value) if history.fs[history.f[row]] == "cas" else (canonical(value),))
        told.update(canonical(seen) for seen in history.seen.get(row, ()))
    failed = np.flatnonzero(history.outcome == FAIL)
    swaps = history.f[failed] == (history.fs.index("cas") if "cas" in history.fs else -1)
    wrote = [
        row for row, swap in zip(failed.tolist(), swaps.tolist(), strict=True)
        if canonical(history.values[row][1] if swap else history.values[row]) in told
    ]
    return np.array(wrote, np.int64)


def _newest_before(some: Ints, inv: Ints, ret: Ints, moments: Ints) -> Ints:
    """Of `some` operations, those that were invoked last among the ones that had returned before one of `moments`."""
    order = some[np.argsort(ret[some], kind="stable")]
    at = np.unique(np.searchsorted(ret[order], moments, side="left")) - 1
    at = at[at >= 0]
    latest = np.maximum.accumulate(inv[order])
    holder = np.maximum.accumulate(np.where(inv[order] == latest, np.arange(len(order)), -1))
    found: Ints = order[holder[at]]
    return found


def _suspects(chains: Chains) -> Bools:
    """Chains, marked, without which no contradiction is left: those that contradict themselves, and of the others as few
    as a glance tells."""
    low, high = chains.low, chains.high
    suspects = chains.wrong.copy()
    zones = chains.present[(low < high)[chains.present] & ~suspects[chains.present]]
    # As many zones as can be are left apart from each other: those that end first.
    zones = zones[np.argsort(high[zones], kind="stable")]
    apart = -1
    left = []
    for zone, begin, end in zip(zones.tolist(), low[zones].tolist(), high[zones].tolist(), strict=True):
        if begin >= apart:
            left.append(zone)
            apart = end
        else:
            suspects[zone] = True
    zones = np.array(left, np.int64)
    points = chains.present[(low >= high)[chains.present] & ~suspects[chains.present]]
    while len(zones):
        at = np.searchsorted(low[zones], high[points], side="left") - 1
        inside = (at >= 0) & (low[points] < high[zones[at]])
        if not inside.any():
            break
        # A zone that several points lie in is the likelier suspect.
        many = np.bincount(at[inside], minlength=len(zones)) > 1
        suspects[zones[many]] = True
        if not many.any():
            suspects[points[inside]] = True
            break
        zones = zones[~many]
    return suspects
