"""A ledger: which transfers a read of all balances saw, told by the balances alone.

A read of one moment saw some set of transfers whole, and with each of them all that were over before it began: it is a prefix
of an order of the transfers that agrees with time. Such a set is known by the transfer in it that began last (its *head*): all
that were over by then are in it, those that began later are not, and of those that were open any may be. So there is one
question for each head, small where few were open, and bounds of each account's balance answer most of them at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import Ints
from splitbrain.harness.history.history import NEVER

NONE = -1
"""The head of the set of no transfers."""

_BLOCK = 64
"""How many heads are looked at together at first."""

_STEPS = 20_000
"""How many transfers are tried for one read."""

MOST_OPEN = 200
"""The most that may be open at one time."""

_HEADS = 20_000_000
"""How many heads are looked at for all reads together."""

_READ = 1_000
"""As how many heads a read counts by itself."""

_STEP = 20
"""As how many heads a transfer that is tried counts."""

Steps = list[tuple[int, int, int, int]]
"""Transfers as (number, source, target, amount)."""


class Exhausted(Exception):
    """Too many transfers were open at one time to tell which of them a read saw."""


class Seen(NamedTuple):
    """A set of transfers that explains a read: the one that began last, and those that were open when it began and are in the
    set, too. All that were over by then are."""

    head: int
    open: frozenset[int]


class Ledger:
    """Transfers, numbered in the order in which they began. `invoked` and `completed` are in nanoseconds, `completed` `NEVER`
    where nobody knows that it happened; each moves an amount from an account to another one."""

    def __init__(self, invoked: Ints, completed: Ints, source: Ints, target: Ints, amount: Ints, accounts: int) -> None:
        self.invoked, self.completed = invoked, completed
        self.source, self.target, self.amount = source, target, amount
        self.accounts = accounts
        many = len(invoked)
        change = np.zeros((many, accounts), np.int64)
        change[np.arange(many), source] = -amount
        change[np.arange(many), target] = amount
        known = np.flatnonzero(completed != NEVER)
        self._over = known[np.argsort(completed[known], kind="stable")]
        """Those that are known to have happened, in the order in which they were acknowledged."""
        self._ended = completed[self._over]
        before = np.searchsorted(self._ended, invoked, side="left")
        """How many were over when each began."""
        self._before = before
        self._base = _sums(change[self._over])[before] + change
        """What is certainly in a set with that head, as changes of balances."""
        less, more = np.minimum(change, 0), np.maximum(change, 0)
        low = self._base + _sums(less)[:-1] - _sums(less[self._over])[before]
        high = self._base + _sums(more)[:-1] - _sums(more[self._over])[before]
        nothing = np.zeros((1, accounts), np.int64)
        # Of each account an entry for the set of no transfers, and one for each head.
        self.low = np.ascontiguousarray(np.concatenate([nothing, low]).T)
        self.high = np.ascontiguousarray(np.concatenate([nothing, high]).T)
        self._endless = np.flatnonzero(completed == NEVER)
        self._latest = np.maximum.accumulate(np.where(completed == NEVER, -1, completed)) if many else completed
        self._left = _HEADS

    def of(self, transfers: Sequence[int]) -> Ledger:
        """The ledger of some of the transfers, as they are numbered."""
        rows = np.array(transfers, np.int64)
        return Ledger(
            self.invoked[rows], self.completed[rows], self.source[rows], self.target[rows], self.amount[rows], self.accounts,
        )

    def begun(self, moment: int) -> int:
        """How many transfers had begun by then."""
        return int(np.searchsorted(self.invoked, moment, side="right"))

    def explanations(self, change: Sequence[int], moment: int) -> Iterator[Seen]:
        """Every set of transfers that had begun by a moment and that changes the balances so, the latest heads first. Raises
        `Exhausted`."""
        given = min(_STEPS, max(0, self._left // _STEP))
        steps = [given]
        self._left -= _READ
        wanted = np.array(change, np.int64)
        try:
            for place in self._within(wanted, self.begun(moment) + 1):
                head = place - 1
                if head == NONE:
                    yield Seen(NONE, frozenset())
                    continue
                left = (wanted - self._base[head]).tolist()
                for chosen in subsets(self._open(head), left, steps):
                    yield Seen(head, chosen)
        finally:
            self._left -= _STEP * (given - steps[0])

    @property
    def ample(self) -> bool:
        """Whether more may be asked of each read than one explanation, so that something is left for the others."""
        return 2 * self._left > _HEADS

    def shows(self, seen: Seen, transfer: int) -> bool:
        """Whether a set has a transfer."""
        if seen.head == NONE:
            return False
        over = self.completed[transfer] < self.invoked[seen.head]
        return bool(over) or transfer == seen.head or transfer in seen.open

    def missed(self, seen: Seen, moment: int) -> int | None:
        """The first transfer that was over before a moment and is not in a set; None where there is none."""
        begin = 0 if seen.head == NONE else int(self._before[seen.head])
        over = self._over[begin : np.searchsorted(self._ended, moment, side="left")]
        return next((one for one in over.tolist() if not self.shows(seen, one)), None)

    def lacking(self, seen: Seen, other: Seen) -> int | None:
        """A transfer of one set that another one lacks, whose head is no earlier."""
        if seen.head == NONE:
            return None
        return next((one for one in sorted({seen.head, *seen.open}) if not self.shows(other, one)), None)

    def heads(self, account: int, change: int, moment: int) -> Ints:
        """With which heads, of those that had begun by a moment, an account may be changed so."""
        end = self.begun(moment) + 1
        found: Ints = np.flatnonzero((self.low[account, :end] <= change) & (self.high[account, :end] >= change)) - 1
        return found

    def _within(self, wanted: Ints, end: int) -> Iterator[int]:
        """The entries below `end`, the last first, whose bounds have these changes between them."""
        size = _BLOCK
        while end > 0:
            begin = max(0, end - size)
            self._left -= end - begin
            if self._left < 0:
                raise Exhausted
            told = wanted[0]
            at = begin + np.flatnonzero((self.low[0, begin:end] <= told) & (self.high[0, begin:end] >= told))
            for account in range(1, self.accounts):
                if not len(at):
                    break
                told = wanted[account]
                at = at[(self.low[account][at] <= told) & (self.high[account][at] >= told)]
            yield from at[::-1].tolist()
            end, size = begin, 2 * size

    def _open(self, head: int) -> Steps:
        """The transfers that had begun before that one, and were not over when it began. Raises `Exhausted`."""
        began = int(self.invoked[head])
        first = int(np.searchsorted(self._latest, began, side="left"))
        late = np.arange(first, head)
        late = late[(self.completed[late] >= began) & (self.completed[late] != NEVER)]
        endless = self._endless[: np.searchsorted(self._endless, head)]
        rows = np.concatenate([late, endless])
        if len(rows) > MOST_OPEN:
            raise Exhausted
        # Those of one account beside each other: what is left of it shows early that it cannot be.
        rows = rows[np.lexsort((self.target[rows], self.source[rows]))]
        return list(zip(
            rows.tolist(), self.source[rows].tolist(), self.target[rows].tolist(), self.amount[rows].tolist(), strict=True,
        ))


def _sums(rows: NDArray[Any]) -> NDArray[Any]:
    """The sums of the first 0, 1, 2, ... rows."""
    return np.concatenate([np.zeros((1, rows.shape[1]), np.int64), np.cumsum(rows, axis=0)])


def subsets(transfers: Steps, left: list[int], steps: list[int]) -> Iterator[frozenset[int]]:
    """The sets of these transfers that change balances by what is `left`. Raises `Exhausted`, after as many steps as are left
    in `steps`."""
    # What the transfers from each place on may change an account by.
    bounds = [[(0, 0)] * len(left)]
    for _, source, target, amount in reversed(transfers):
        ahead = list(bounds[-1])
        for account, more in ((source, -amount), (target, amount)):
            low, high = ahead[account]
            ahead[account] = (low + min(more, 0), high + max(more, 0))
        bounds.append(ahead)
    bounds.reverse()
    if not all(low <= some <= high for (low, high), some in zip(bounds[0], left, strict=True)):
        return
    limits = [
        (source, target, amount, *ahead[source], *ahead[target])
        for (_, source, target, amount), ahead in zip(transfers, bounds[1:], strict=True)
    ]
    # One loop, and no function that calls itself: where many are open, it is most of what a bank takes.
    chosen: list[int] = []
    turns: list[int] = []
    at, end, given = 0, len(transfers), steps[0]
    while True:
        given -= 1
        if given < 0:
            steps[0] = given
            raise Exhausted
        if at == end:
            steps[0] = given
            yield frozenset(transfers[place][0] for place in chosen)
        else:
            source, target, amount, low, high, least, most = limits[at]
            here, there = left[source], left[target]
            may = low <= here + amount <= high and least <= there - amount <= most
            if low <= here <= high and least <= there <= most:
                if may:
                    turns.append(at)
                at += 1
                continue
            if may:
                chosen.append(at)
                left[source], left[target] = here + amount, there - amount
                at += 1
                continue
        if not turns:
            steps[0] = given
            return
        # Back to the last one that was left out though it may be taken.
        at = turns.pop()
        while chosen and chosen[-1] > at:
            _, source, target, amount = transfers[chosen.pop()]
            left[source] -= amount
            left[target] += amount
        _, source, target, amount = transfers[at]
        left[source] += amount
        left[target] -= amount
        chosen.append(at)
        at += 1
