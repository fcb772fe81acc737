"""The newest operation of another lineage than a given one."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable

from splitbrain.checkers.linearizability.evidence.lineages import LONG_AGO


def newest_by(
    inv: list[int], ret: list[int], lineage: dict[int, Hashable], moments: list[int]
) -> list[tuple[int, Hashable, int]]:
    """Of each moment, in any order, which of these operations that had returned before was invoked last, its lineage, and which
    one of the other lineages was; -1 where there is none."""
    newest = Newest(inv, ret, lineage)
    returned = sorted(map(ret.__getitem__, lineage))
    states: list[tuple[int, Hashable, int]] = [(-1, None, -1)]
    for moment in returned:
        newest.before(moment + 1, None, set())
        states.append((newest.first[1], newest.first[2], newest.second[1]))
    return [states[bisect_left(returned, moment)] for moment in moments]


class Newest:
    """Among operations that returned before a moment, the one of another lineage than a given one that was invoked last.
    `lineage` is that of each row, `inv` and `ret` are of all rows. Moments must not go back."""

    def __init__(self, inv: list[int], ret: list[int], lineage: dict[int, Hashable]) -> None:
        self.inv, self.ret, self.lineage = inv, ret, lineage
        self.waiting = sorted(lineage, key=ret.__getitem__, reverse=True)
        self.first: tuple[int, int, Hashable] = (LONG_AGO, -1, None)
        self.second: tuple[int, int, Hashable] = self.first

    def before(self, moment: int, root: Hashable, without: set[int]) -> int:
        """That operation's row, -1 where there is none; rows in `without` do not count from now on."""
        while self.waiting and self.ret[self.waiting[-1]] < moment:
            row = self.waiting.pop()
            if row in without:
                continue
            inv, lineage = self.inv[row], self.lineage[row]
            if inv > self.first[0]:
                if lineage != self.first[2]:
                    self.second = self.first
                self.first = (inv, row, lineage)
            elif inv > self.second[0] and lineage != self.first[2]:
                self.second = (inv, row, lineage)
        return self.second[1] if self.first[2] == root else self.first[1]
