"""The newest operation of another lineage than a given one."""

from __future__ import annotations

from collections.abc import Hashable

from splitbrain.checkers.linearizability.evidence.lineages import LONG_AGO


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
