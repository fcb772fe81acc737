"""Refused compare-and-sets that told nothing: each needs a moment in its call at which the register did not hold what it
expected.

**No moment.** A value a was there before a moment p, for whoever observed it first had returned by then, and stayed at least
until all who observed it had begun. It gives way to the next value of its chain, or at the end of the chain to a chain that
does not certainly precede it; neither can happen before that value's write is invoked. So a refusal that was invoked after
p, and returned before every such write was invoked (or before an observer of a was), has none.

**A witness.** Otherwise an order is looked for in which every refusal has its moment: chains begin as late as they may, in
the order of their earliest ends, those that would lie inside a forward zone before it, and are through once all of them was
invoked. A refusal of a that began before a took effect has its moment; the others make a deadline at which a must be gone.
Where the next chain does not meet it, one that is pending anyway steps in; last, an indeterminate write or compare-and-set
that nobody saw, each once, and only one whose new value no refused compare-and-set expects: it would bring a value to which
refusals of its own apply, and those were passed over because nobody wrote that value as long as it did not happen. (A
refutation counts every one of them as possible.) Every step keeps the bounds: a value's write takes effect no earlier than
it is invoked and no later than the earliest end of who wrote or observed it, and the next value comes no earlier than the
latest start of who observed it. So what is found is a linearization; that nothing is found proves nothing.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

NEVER = 1 << 62
"""A deadline that does not come."""
NEAR = 64
"""How many of the next chains are asked to step in."""


class Witness:
    """One key. Values are numbers; `low[v]` is the earliest end of those who wrote or observed v, `high[v]` the latest start
    of those who observed it, `inv[v]` the invocation of its write, `after[v]` the next value of its chain.

    `roots` are the first values of the chains with the chain's earliest end and latest start, `refusals` the intervals of
    the refused compare-and-sets by what they expected, `spare` the invocations of writes that may have happened, and
    `spare_from` of compare-and-sets that may, by what they expected; none of the spare values is expected by a refusal.
    """

    def __init__(
        self,
        low: Mapping[int, int], high: Mapping[int, int], inv: Mapping[int, int], after: Mapping[int, int],
        roots: Sequence[tuple[int, int, int]], refusals: Mapping[int, list[tuple[int, int]]], spare: list[int],
        spare_from: Mapping[int, int],
    ) -> None:
        self.low, self.high, self.inv, self.after = low, high, inv, after
        self.roots = sorted(roots, key=lambda chain: chain[1])
        self.spare = sorted(spare)
        self.spare_from = spare_from
        self.placed: set[int] = set()
        self.next_spare = 0
        self.at = 0
        """Where in `roots` the next chain may be."""
        self.time = self.free = -1
        """When the present value came, and from when on another may come."""
        self.value = -1
        self.deadline = NEVER
        # By value: the invocations, ascending, and the earliest return of those from each on.
        self.refusals: dict[int, tuple[list[int], list[int]]] = {}
        for value, calls in refusals.items():
            calls.sort()
            earliest, bounds = NEVER, []
            for _, returned in reversed(calls):
                earliest = min(earliest, returned)
                bounds.append(earliest)
            self.refusals[value] = ([invoked for invoked, _ in calls], [*reversed(bounds), NEVER])

    def found(self) -> bool:
        """Whether there is one."""
        roots, placed = self.roots, self.placed
        for at, (root, low, high) in enumerate(roots):
            if root in placed:
                continue
            self.at = at + 1
            if low < high:
                behind = at + 1
                while behind < len(roots) and roots[behind][1] < high:
                    inner = roots[behind][0]
                    if inner not in placed and not self._put(inner, low):
                        return False
                    behind += 1
            if not self._put(root, low):
                return False
        return self.deadline == NEVER or self._step_in(-1, NEVER)

    def _put(self, root: int, latest: int) -> bool:
        """Let a chain take effect, from `latest` at the latest."""
        while True:
            time = min(latest, self.deadline)
            if time >= self.time and time >= self.free and time >= self.inv[root]:
                break
            if self.deadline >= latest or not self._step_in(root, latest):
                return False
        self.placed.add(root)
        values, bounds = [root], [self.low[root]]
        while (following := self.after.get(values[-1])) is not None:
            values.append(following)
            bounds.append(self.low[following])
        for i in range(len(bounds) - 2, -1, -1):
            bounds[i] = min(bounds[i], bounds[i + 1])
        # The whole chain has begun by its latest start: what may be there by then does not hold up the next chain.
        since = max(time, max(self.high[value] for value in values), max(self.inv[value] for value in values))
        self._begin(root, time)
        for value, bound in zip(values[1:], bounds[1:], strict=True):
            time = min(bound, since, self.deadline)
            if time < self.time or time < self.free or time < self.inv[value]:
                return False
            self._begin(value, time)
        return True

    def _begin(self, value: int, time: int) -> None:
        self.value, self.time, self.free = value, time, self.high[value]
        calls = self.refusals.get(value)
        self.deadline = NEVER if calls is None else calls[1][bisect_right(calls[0], time)]

    def _step_in(self, root: int, latest: int) -> bool:
        """Meet the deadline with a chain other than that of `root`, or with a write that may have happened."""
        deadline, since = self.deadline, max(self.time, self.free)
        if since > deadline:
            return False
        for other, low, high in self.roots[self.at:self.at + NEAR]:
            if other in self.placed or other == root or high > low or high > latest:
                continue
            if self.inv[other] <= deadline and since <= low:
                return self._put(other, min(low, deadline))
        if self.next_spare < len(self.spare) and self.spare[self.next_spare] <= deadline:
            invoked = self.spare[self.next_spare]
            self.next_spare += 1
        elif self.spare_from.get(self.value, NEVER) <= deadline:
            invoked = self.spare_from[self.value]
        else:
            return False
        self.value, self.deadline = -1, NEVER
        self.time = self.free = max(since, invoked)
        return True
