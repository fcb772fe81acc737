"""Causality: which reads broke it, and the few operations that prove each.

Whether causal consistency holds is decided elsewhere (`transactions.decide`); here it is known not to. A read of x that
returned t1, by one who has t2 in its causal past, another write of x, puts t2 before t1. What is counted are those of these
pairs that go in a circle with causal order and put the later invoked write before the earlier one: every circle has one, for a
circle of causal order alone would be information from the future, and is told as that.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.sessions.guarantees import Break, way_within
from splitbrain.checkers.transactions.decide.facts import Facts
from splitbrain.checkers.transactions.decide.weak import causal_order
from splitbrain.harness.history.ranges import ranges

Ints = NDArray[np.int64]

_A_PAIR = 64
"""Bytes for a read beside a session that wrote its key."""


def causal_breaks(facts: Facts, budget: Budget) -> tuple[list[Break], Callable[[Break], list[int]]]:
    """The reads that broke causality, each once, and for each on demand the nodes that prove it. There is at least one.
    Raises `Exhausted`."""
    past = _Past(facts, budget)
    return past.breaks(), past.proof


class _Past:
    """The causal past of every node, and the pairs of writes that reads put in order."""

    def __init__(self, facts: Facts, budget: Budget) -> None:
        self.facts = facts
        size = facts.size
        budget.check()
        self.clock, _ = causal_order(facts, budget)
        budget.check()
        newer, older, reader = self._pairs(budget)
        budget.check()
        self.first = {int(node): int(write) for write, by, node in zip(newer, older, reader, strict=True) if by == size}
        between = older < size
        self.newer, self.older, self.reader = newer[between], older[between], reader[between]
        real = facts.read_writer < size
        follows = np.flatnonzero(facts.session[1:] == facts.session[:-1])
        self.source = np.concatenate([self.newer, facts.read_writer[real], follows])
        self.target = np.concatenate([self.older, facts.readers()[real], follows + 1])
        self.graph = csr_array((np.ones(len(self.source), np.int8), (self.source, self.target)), shape=(size, size))
        _, self.component = connected_components(self.graph, directed=True, connection="strong")

    def _pairs(self, budget: Budget) -> tuple[Ints, Ints, Ints]:
        """(t2, t1, reader): of each session the last visible writer. Raises `Exhausted`."""
        facts = self.facts
        writers = facts.writers()
        order = np.lexsort((writers, facts.session[writers], facts.write_key))
        stride = facts.size + 1
        keys, own = facts.write_key[order].astype(np.int64), writers[order]
        group = keys * facts.sessions + facts.session[own]
        groups, begins = np.unique(group, return_index=True)
        codes = group * stride + own
        # Every read beside every session that wrote its key.
        readers, read_key = facts.readers(), facts.read_key.astype(np.int64)
        low = np.searchsorted(groups, read_key * facts.sessions)
        counts = np.searchsorted(groups, (read_key + 1) * facts.sessions) - low
        if int(counts.sum()) * _A_PAIR > budget.room:
            raise Exhausted(budget.full)
        at = np.repeat(np.arange(len(readers)), counts)
        which = ranges(low, counts)
        session = groups[which] % facts.sessions
        bound = facts.session_start[session] + self.clock[readers[at], session]
        last = np.searchsorted(codes, groups[which] * stride + bound) - 1
        fits = last >= begins[which]
        at, last = at[fits], last[fits]
        newer, older = own[last], facts.read_writer[at]
        apart = newer != older
        return newer[apart], older[apart], readers[at][apart]

    def breaks(self) -> list[Break]:
        found = [Break(reader, newer, self.facts.size, newer) for reader, newer in self.first.items()]
        invoked = self.facts.invoked
        inside = self.component[self.newer] == self.component[self.older]
        rows = np.flatnonzero(inside & (invoked[self.newer] >= invoked[self.older]))
        rows = rows[np.lexsort((-invoked[self.newer[rows]], self.reader[rows]))]
        _, kept = np.unique(self.reader[rows], return_index=True)
        for row in rows[kept].tolist():
            if int(self.reader[row]) not in self.first:
                newer = int(self.newer[row])
                found.append(Break(int(self.reader[row]), newer, int(self.older[row]), newer))
        if not found and inside.any():
            # No pair is backward: somebody also read what was yet to be written.
            row = int(np.flatnonzero(inside)[0])
            found.append(Break(int(self.reader[row]), int(self.newer[row]), int(self.older[row]), int(self.newer[row])))
        elif not found:
            row = int(np.flatnonzero(self.component[self.source] == self.component[self.target])[0])
            source, target = int(self.source[row]), int(self.target[row])
            found.append(Break(target, source, source, source))
        return found

    def proof(self, one: Break) -> list[int]:
        found = {one.reader, one.newer, *self._seen(one.newer, one.reader)}
        if one.older < self.facts.size:
            found.add(one.older)
            begin = one.older if one.older != one.newer else one.reader
            way = way_within(self.graph, begin, one.newer, self.component)
            for a, b in pairwise(way):
                found |= {a, b}
                row = int(np.flatnonzero((self.source == a) & (self.target == b))[-1])
                if row < len(self.newer):
                    found |= {int(self.reader[row]), *self._seen(a, int(self.reader[row]))}
        return sorted(found)

    def _seen(self, first: int, second: int) -> list[int]:
        """The nodes on a way of sessions and reads from one to the other, where there is one."""
        facts = self.facts
        session = int(facts.session[first])
        place = first - int(facts.session_start[session])
        found: list[int] = []
        node = second
        while node != first and int(facts.session[node]) != session:
            for by in facts.read_writer[facts.read_start[node] : facts.read_start[node + 1]].tolist():
                if by < facts.size and (by == first or self.clock[by, session] > place):
                    found += [node, by]
                    node = by
                    break
            else:
                if node == facts.session_start[facts.session[node]] or self.clock[node, session] <= place:
                    return found
                node -= 1
        return found
