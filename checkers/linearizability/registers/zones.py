"""Zones and chains: registers whose written values are all distinct, decided for all keys at once in O(n log n).

After Gibbons & Korach, "Testing shared memories" (1997). The operations on one value form its *cluster*: the write and the
reads of it. With f the earliest return and s the latest invocation in a cluster, f < s makes a *forward zone* [f, s], in
which the register certainly holds that value, and otherwise a *backward zone* [s, f], somewhere in which it does. A history
is linearizable exactly if nothing is read before it is written, every value read was written, forward zones are disjoint
and no backward zone lies inside a forward one; the last two say that no two zones precede each other.

A compare-and-set a→b that took effect glues the clusters of a and b into one *chain*, a contiguous part of every
linearization. The order within a chain is known (write, reads, cas, reads, ...): no operation may return before one of an
earlier link is invoked. Between chains the zone rule holds as it does between clusters, because every cycle of precedences
contains one of length two.

Indeterminate operations: a write or cas whose value was seen did happen, before the first who saw it returned; its own
return is unknown, so it bounds nothing. One whose value nobody saw may be left out, since the rest can only become easier,
but for a refused compare-and-set that needs it as the reason.

Refused compare-and-sets that told what they saw are reads of it. For the others see `refusals`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.registers.clusters import (
    Bools,
    Clusters,
    Codes,
    Ints,
    Rows,
    Times,
    coded,
    linked,
)
from splitbrain.checkers.linearizability.registers.refusals import Witness
from splitbrain.checkers.models.specifications import Register
from splitbrain.harness.history.history import INFO, History

UNDECIDED, VALID, INVALID = 0, 1, 2
ABSENT = -1
"""Of a key without operations."""


def decide(history: History, model: Register, budget: Budget = FOREVER) -> NDArray[np.int8]:
    """`VALID`, `INVALID`, `UNDECIDED` or `ABSENT` for every key: entry 0 for operations without a key, c + 1 for key code c.

    A key is undecided where a value was written twice (or is also the initial one), or where no order is found that
    gives every refused compare-and-set its reason, or where the budget does not suffice.
    Raises `UsageError` for a function that the model does not know.
    """
    return _Zones(history, model, budget).status


def refused_in_vain(history: History, model: Register) -> list[int]:
    """The rows of refused compare-and-sets that had no moment at which the register did not hold what they expected."""
    found: list[int] = _Zones(history, model, FOREVER).refuted.tolist()
    return found


def chains(history: History, model: Register, budget: Budget = FOREVER) -> Chains | None:
    """The chains of the history of one key with distinct values; None where a compare-and-set was refused without a word of
    what was there, which may concern every chain, or where the budget does not suffice."""
    return _Zones(history, model, budget, keep_chains=True).chains


@dataclass(frozen=True)
class Chains:
    """The chains of one key. `root[i]` is the chain of operation `rows[i]`, which was invoked at `inv[i]` and returned at
    `ret[i]`; a row of a link stands for the cluster that it made. By chain: `low` is the earliest return, `high` the latest
    invocation, `wrong` whether it contradicts itself; `present` are the chains that there are."""

    rows: Ints
    root: Codes
    inv: Ints
    ret: Ints
    low: Ints
    high: Ints
    wrong: Bools
    present: Ints


@dataclass(slots=True)
class _Chained:
    """By value the chain that it is in, named by its first value; by chain the earliest return and the latest invocation; and
    the chains that there are."""

    root: Codes
    low: Ints
    high: Ints
    whole: Ints

    @classmethod
    def of(cls, root: Codes, low: Ints, high: Ints, present: Bools) -> _Chained:
        """Chains of clusters with these bounds."""
        alone = root == np.arange(len(root), dtype=np.int32)
        at = np.flatnonzero(~alone)
        if len(at):
            low, high = low.copy(), high.copy()
            np.minimum.at(low, root[at], low[at])
            np.maximum.at(high, root[at], high[at])
        return cls(root, low, high, np.flatnonzero(present & alone))


class _Zones:
    def __init__(self, history: History, model: Register, budget: Budget, *, keep_chains: bool = False) -> None:
        self.budget = budget
        self.refuted = np.empty(0, np.int64)
        self.chains: Chains | None = None
        keys = len(history.keys) + 1
        self.bad = np.zeros(keys, np.bool_)
        self.unsure = np.zeros(keys, np.bool_)
        if len(history):
            try:
                self._judge(history, model, keys, keep_chains)
            except Exhausted:
                self.unsure |= ~self.bad
        self.status = np.where(self.unsure, UNDECIDED, np.where(self.bad, INVALID, VALID)).astype(np.int8)
        self.status[np.bincount(history.key + 1, minlength=keys) == 0] = ABSENT

    def _judge(self, history: History, model: Register, keys: int, keep_chains: bool) -> None:
        self.rows = rows = Rows.of(history, model)
        self.budget.check()
        self.values = values = coded(history, model, rows, keys)
        self.budget.check()
        self.times = times = Times.of(history, keys)
        self.unsure[times.key[rows.seers[values.seen == values.spurned]]] = True
        self.links, selfish, watched = linked(history, rows, values)
        self.clusters = clusters = Clusters.of(rows, values, times, self.links, selfish, watched)
        self.budget.check()
        wrong = self._contradicted()
        root = np.arange(values.size, dtype=np.int32)
        if len(self.links):
            wrong[self._chain(root)] = True
        self.budget.check()
        low, high = np.minimum(clusters.first_seen, clusters.write_ret), np.maximum(clusters.last_sought, clusters.write_inv)
        self.chained = chained = _Chained.of(root, low, high, clusters.present)
        self._zone_rule(chained.low[chained.whole], chained.high[chained.whole], clusters.owner[chained.whole])
        if len(rows.blind):
            self._judge_blind(history, low, high)
        elif keep_chains:
            wrong[root[wrong]] = True
            of = np.concatenate([clusters.observers, rows.writes, self.links.rows])
            chain = root[np.concatenate([clusters.observed, values.written, self.links.target])]
            self.chains = Chains(of, chain, times.inv[of], times.ret[of], chained.low, chained.high, wrong, chained.whole)

    def _contradicted(self) -> Bools:
        """Which values contradict themselves: nobody wrote them, they were seen before they were written, or two swaps took
        them away. Their keys are bad; one of whose values were written twice is not for us."""
        clusters = self.clusters
        twice = clusters.writers > 1
        unwritten = clusters.watched & (clusters.writers == 0)
        branches = np.bincount(self.links.source, minlength=len(twice)) > 1
        early = clusters.first_seen < clusters.write_inv
        self.unsure[clusters.owner[twice]] = True
        wrong: Bools = unwritten | branches | early
        self.bad[clusters.owner[wrong]] = True
        return wrong

    def _judge_blind(self, history: History, low: Ints, high: Ints) -> None:
        """Decide the keys of compare-and-sets that were refused without a word of what was there: see `refusals`. `low` and
        `high` are the bounds of each cluster."""
        times, links, clusters, key = self.times, self.links, self.clusters, self.times.key
        # A swap belongs to the clusters on both of its sides.
        low, high = low.copy(), high.copy()
        np.minimum.at(low, links.source, times.ret[links.rows])
        np.maximum.at(high, links.source, times.inv[links.rows])
        written = clusters.writers[self.values.blind] > 0
        rows, code = self.rows.blind[written], self.values.blind[written]
        certain = _reasons(
            np.flatnonzero(clusters.present), low, high, clusters.write_inv, code, times.inv[rows], times.ret[rows]
        ) | self.bad[key[rows]]
        rows, code = rows[~certain], code[~certain]
        if not len(rows):
            return
        possible = self._possible(rows, code, low, high)
        self.refuted = rows[~possible]
        self.bad[key[self.refuted]] = True
        left = ~self.bad[key[rows]] & ~self.unsure[key[rows]]
        if left.any():
            self._seek_witnesses(history, rows[left], code[left], low, high)

    def _possible(self, rows: Ints, code: Codes, low: Ints, high: Ints) -> Bools:
        """Whether the register may have held another value than `code` at some moment of each of these refused
        compare-and-sets: before that was certainly there, or behind it, where another chain or swap might come next."""
        first, last = self.times.inv[rows], self.times.ret[rows]
        root, whole, write_inv = self.chained.root[code], self.chained.whole, self.clusters.write_inv
        by_inv = whole[np.argsort(write_inv[whole], kind="stable")]
        at = np.searchsorted(write_inv[by_inv], last, side="right")
        others = _greatest_other(by_inv, self.chained.low, at, root.astype(np.int64), -1) >= self.chained.high[root]
        after = np.full(len(low), -1, np.int32)
        after[self.links.source] = self.links.target
        following = after[code]
        others = np.where(following >= 0, write_inv[following] <= last, others)
        others |= np.isin(code, self.values.expected[self.links.lost])
        found: Bools = (first <= low[code]) | ((high[code] <= last) & others)
        return found

    def _seek_witnesses(self, history: History, doubtful: Ints, code: Codes, low: Ints, high: Ints) -> None:
        """Look, key by key, for an order that gives every refusal its reason; a key for which none is found is undecided."""
        rows, values, times, links, clusters, chained = (
            self.rows, self.values, self.times, self.links, self.clusters, self.chained)
        key, owner, whole = times.key[doubtful], clusters.owner, chained.whole
        refusals: dict[int, dict[int, list[tuple[int, int]]]] = {}
        for k, value, began, ended in zip(
            key.tolist(), code.tolist(), times.inv[doubtful].tolist(), times.ret[doubtful].tolist(), strict=True
        ):
            refusals.setdefault(k, {}).setdefault(value, []).append((began, ended))
        # Writes without an answer of what nobody saw may be left out, or be a reason.
        spare = np.zeros(values.size, np.bool_)
        spare[values.written[history.outcome[rows.writes] == INFO]] = True
        spare[clusters.watched] = False
        roots: dict[int, list[tuple[int, int, int]]] = {k: [] for k in refusals}
        spares: dict[int, list[int]] = {k: [] for k in refusals}
        affected = np.zeros(len(self.bad), np.bool_)
        affected[key] = True
        mine = whole[affected[owner[whole]]]
        lows, highs, invs = low.tolist(), high.tolist(), clusters.write_inv.tolist()
        for k, value, a, b, may in zip(
            owner[mine].tolist(), mine.tolist(), chained.low[mine].tolist(), chained.high[mine].tolist(), spare[mine].tolist(),
            strict=True,
        ):
            if not may:
                roots[k].append((value, a, b))
            elif value not in refusals[k]:
                spares[k].append(invs[value])
        # So may swaps, whose new value no refused one expects.
        swapped: dict[int, int] = {}
        unasked = links.lost[~np.isin(values.new[links.lost], values.blind)]
        for value, began in zip(values.expected[unasked].tolist(), times.inv[rows.swaps[unasked]].tolist(), strict=True):
            swapped[value] = min(began, swapped.get(value, began))
        following = dict(zip(links.source.tolist(), links.target.tolist(), strict=True))
        for k, calls in refusals.items():
            witness = Witness(lows, highs, invs, following, roots[k], calls, spares[k], swapped)
            if self.budget.over or not witness.found():
                self.unsure[k] = True

    def _chain(self, root: Codes) -> Codes:
        """Set `root` to the first value of each value's chain, and check the order within every chain; values of those that
        are out of order."""
        clusters, span = self.clusters, self.times.span
        owner, source, target = clusters.owner, self.links.source, self.links.target
        size = len(root)
        members = np.unique(np.concatenate([source, target]))
        place = np.empty(size, np.int32)
        place[members] = np.arange(len(members), dtype=np.int32)
        up = np.arange(len(members), dtype=np.int32)
        up[place[target]] = place[source]
        del place
        depth = (up != np.arange(len(members), dtype=np.int32)).astype(np.int32)
        parent = up.copy()
        for _ in range(len(members).bit_length() + 1):
            further = up[up]
            if (further == up).all():
                break
            depth += depth[up]
            up = further
        endless = parent[up] != up
        if endless.any():
            self.unsure[owner[members[endless]]] = True
        root[members] = members[up]
        order = np.lexsort((depth, up))
        ordered = members[order]
        # Levels: the write, then the reads, of each value along the chain, in times of the key alone.
        base = np.multiply(owner[ordered], span, dtype=np.int64)
        latest = np.empty(2 * len(ordered), np.int64)
        earliest = np.empty(2 * len(ordered), np.int64)
        latest[0::2] = clusters.write_inv[ordered] - base
        latest[1::2] = np.maximum(clusters.last_sought[ordered] - base, -1)
        earliest[0::2], earliest[1::2] = clusters.write_ret[ordered], clusters.first_seen[ordered]
        earliest -= np.repeat(base, 2)
        np.maximum(latest, -1, out=latest)
        segment = np.repeat(np.cumsum(np.concatenate([[0], np.diff(up[order]) != 0])), 2)
        if (int(segment[-1]) + 2) * (span + 2) >= 1 << 62:
            moments = np.unique(np.concatenate([latest, earliest]))
            latest, earliest = np.searchsorted(moments, latest), np.searchsorted(moments, earliest)
            span = len(moments)
        before = np.maximum.accumulate(latest + 1 + segment * (span + 2))[:-1] - segment[1:] * (span + 2) - 1
        wrong = earliest[1:] < before
        disordered: Codes = np.repeat(ordered, 2)[1:][wrong]
        self.bad[owner[disordered]] = True
        return disordered

    def _zone_rule(self, low: Ints, high: Ints, owner: Codes) -> None:
        forward = low < high
        zones = np.flatnonzero(forward)
        zones = zones[np.argsort(low[zones], kind="stable")]
        starts, ends = low[zones], high[zones]
        clash = starts[1:] < ends[:-1]
        if clash.any():
            self.bad[owner[zones[1:][clash]]] = True
        if not len(zones):
            return
        points = np.flatnonzero(~forward)
        around = np.searchsorted(starts, high[points], side="left") - 1
        inside = (around >= 0) & (low[points] < ends[around])
        if inside.any():
            self.bad[owner[points[inside]]] = True


def _reasons(clusters: Ints, low: Ints, high: Ints, write_inv: Ints, code: Codes, inv: Ints, ret: Ints) -> Bools:
    """Whether the register certainly held another value than `code` at some moment of each refused cas [inv, ret].

    `clusters` are the values present; the keys that are linearizable without the refusals are meant. It held another one if
    the cas began before `code` was written, or another value b certainly held sway within the call, or b came after `code`
    and was there before the call, or b came before `code` and was still there after the call.
    """
    f, s = low[clusters], high[clusters]
    place = np.searchsorted(clusters, code)
    found: Bools = inv <= write_inv[code]

    def other(order: Ints, best: Ints, at: Ints, worst: int) -> Ints:
        return _greatest_other(order, best, at, place, worst)

    least = np.iinfo(np.int64).min + 2
    by_f = np.argsort(f, kind="stable")
    found |= other(by_f, s, np.searchsorted(f[by_f], inv, side="left"), least) > low[code]
    by_s = np.argsort(-s, kind="stable")
    found |= -other(by_s, -f, np.searchsorted(-s[by_s], -ret, side="left"), least) < high[code]
    points = np.flatnonzero(f >= s)
    by_s = points[np.argsort(-s[points], kind="stable")]
    found |= -other(by_s, -f, np.searchsorted(-s[by_s], -inv, side="right"), least) <= ret
    zones = np.flatnonzero(f < s)
    by_f = zones[np.argsort(f[zones], kind="stable")]
    found |= other(by_f, s, np.searchsorted(f[by_f], ret, side="right"), least) >= inv
    return found


def _greatest_other(order: Ints, best: Ints, at: Ints, own: Ints, worst: int) -> Ints:
    """For each question i the greatest of `best` among the first `at[i]` of `order` without `own[i]`, `worst` where there
    is none."""
    if not len(order):
        return np.full(len(at), worst)
    value = best[order]
    top = np.maximum.accumulate(value)
    second = np.maximum.accumulate(np.minimum(value, np.concatenate([[worst], top[:-1]])))
    holder = np.maximum.accumulate(np.where(value == top, np.arange(len(order)), -1))
    chosen = np.maximum(at - 1, 0)
    return np.where(at == 0, worst, np.where(order[holder[chosen]] == own, second[chosen], top[chosen]))
