"""The graph of who comes before whom at one level: its edges, what reaches what, and the cycles in it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.decide.kernels import COMPILED_FROM, complete

Column = NDArray[np.int64]

WR, SESSION, REALTIME, WW, RW, INSIDE = range(6)
"""Why one vertex comes before another: as in `decision.Relation`, and `INSIDE` for the two of one transaction."""

_CYCLES_AT_ONCE = 2_000
_SAMPLE = 512
"""Vertices by which it is estimated how many reach another one."""
_COMPILED_FROM = 1_000_000
"""Edges that all searches for ways together may look at, from which on machine code repays loading it."""


@dataclass(slots=True)
class Edges:
    """Edges between vertices in columns: why, on which key, and the literal of the choice that they rest on (0: none)."""

    source: Column
    target: Column
    why: Column
    key: Column
    literal: Column

    @classmethod
    def of(cls, source: Any, target: Any, why: int, key: Any = -1, literal: Any = 0) -> Edges:
        """Edges for one reason."""
        source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
        return cls(
            source, target, np.full(len(source), why), np.broadcast_to(np.asarray(key, np.int64), len(source)),
            np.broadcast_to(np.asarray(literal, np.int64), len(source)),
        )

    @classmethod
    def joined(cls, parts: Sequence[Edges]) -> Edges:
        """All these edges."""
        names = ("source", "target", "why", "key", "literal")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Any) -> Edges:
        """The edges at these places."""
        return Edges(self.source[rows], self.target[rows], self.why[rows], self.key[rows], self.literal[rows])


@dataclass(slots=True)
class Graph:
    """Edges that hold, with what reaches what."""

    vertices: int
    edges: Edges
    budget: Budget
    order: Column = field(init=False)
    """A topological order, where there is one."""
    cyclic: bool = field(init=False)
    asked: Column = field(init=False)
    place: Column = field(init=False)
    needed: Column = field(init=False)
    reached: list[int] = field(init=False)
    """What each vertex reaches of what was asked for, itself among it: bits at their `place`."""
    reach: NDArray[np.uint64] | None = None
    over: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        edges = self.edges
        component, _ = components(self.vertices, edges)
        self.cyclic = bool((component[edges.source] == component[edges.target]).any())
        # The components are numbered against the order, which takes no machine code. Nothing promises it: it is looked at.
        self.order = np.argsort(-component)
        if not self.cyclic and not (component[edges.source] > component[edges.target]).all():
            by = np.argsort(edges.source, kind="stable")
            start, target = np.searchsorted(edges.source[by], np.arange(self.vertices + 1)), edges.target[by]
            degree = np.bincount(target, minlength=self.vertices)
            complete("unordered", self.vertices, self.budget, self.vertices, start, target, degree, self.order)

    def close(self, asked: Column) -> Column:
        """Find which of the vertices that are `asked` for reach which, and the edges without which they would not: their places
        (a transitive reduction, Aho, Garey & Ullman 1972). Raises `Exhausted`."""
        # The last one first: what a vertex reaches has lower bits than itself, so that most sets are short, and what is nearest
        # has the highest, which is looked at soonest.
        wanted = np.zeros(self.vertices, np.bool_)
        wanted[asked] = True
        self.asked = asked = self.order[::-1][wanted[self.order[::-1]]]
        self.place = np.full(self.vertices, -1)
        self.place[asked] = np.arange(len(asked))
        self._room(self.vertices + len(asked), len(asked))
        # Python's own integers are as fast as machine code for sets that are so large.
        self.reached, needed = [0] * self.vertices, []
        start, target, by = self._nearest_first(self.edges)
        place, reached = self.place.tolist(), self.reached
        for vertex in self._last_first():
            own = 0
            for at in range(start[vertex], start[vertex + 1]):
                other = target[at]
                if place[other] >= 0 and own >> place[other] & 1:
                    continue
                own |= reached[other]
                needed.append(at)
            reached[vertex] = own | 1 << place[vertex] if place[vertex] >= 0 else own
        self.reach = self._matrix(reached)
        row = np.arange(len(asked))
        self.reach[row, row >> 6] ^= np.uint64(1) << (row & 63).astype(np.uint64)
        self.needed = np.sort(by[needed])
        return self.needed

    def close_over(self, edges: Edges) -> Column:
        """Find which of the vertices that `close` was asked for, all ends of `edges` among them, reach which by exactly one of
        these edges, and those without which they would not: their places. Raises `Exhausted`."""
        self._room(self.vertices + len(self.asked), len(self.asked))
        over, needed = [0] * self.vertices, []
        start, target, by = self._nearest_first(edges)
        inner_start, inner, _ = self._nearest_first(self.edges.take(self.needed))
        place = self.place.tolist()
        for vertex in self._last_first():
            own = 0
            for at in range(start[vertex], start[vertex + 1]):
                other = target[at]
                if not own >> place[other] & 1:
                    own |= self.reached[other]
                    needed.append(at)
            for at in range(inner_start[vertex], inner_start[vertex + 1]):
                own |= over[inner[at]]
            over[vertex] = own
        self.over = self._matrix(over)
        return np.sort(by[needed])

    def _last_first(self) -> Iterator[int]:
        """The vertices against the topological order. Raises `Exhausted`."""
        for done, vertex in enumerate(self.order[::-1].tolist()):
            if done % 256 == 0:
                self.budget.check()
            yield vertex

    def _nearest_first(self, edges: Edges) -> tuple[list[int], list[int], Column]:
        """Where the edges of each vertex begin, and their targets, in the topological order: what the first of them reach needs
        no other. And their places in `edges`."""
        position = np.empty(self.vertices, np.int64)
        position[self.order] = np.arange(self.vertices)
        by = np.argsort(edges.source * self.vertices + position[edges.target])
        return np.searchsorted(edges.source[by], np.arange(self.vertices + 1)).tolist(), edges.target[by].tolist(), by

    def _room(self, sets: int, members: int) -> None:
        """Raise `Exhausted` where there is no room for so many sets of bits."""
        if sets * (members // 8 + 64) > 0.8 * self.budget.room:
            raise Exhausted(f"the order of {self.vertices:,} transactions takes more memory than it may")

    def _matrix(self, sets: list[int]) -> NDArray[np.uint64]:
        """The sets of the vertices that were asked for, a row each."""
        width = (len(self.asked) + 63) // 64 * 8
        matrix = bytearray(len(self.asked) * width)
        for begin, vertex in zip(range(0, len(matrix), width or 1), self.asked.tolist(), strict=True):
            matrix[begin : begin + width] = sets[vertex].to_bytes(width, "little")
        return np.frombuffer(matrix, "<u8").reshape(len(self.asked), width // 8)

    def counts(self) -> tuple[Column, Column]:
        """Of each vertex that was asked for, about how many of these reach it, and how many it reaches; 0 for others."""
        assert self.reach is not None
        before, behind = np.zeros(self.vertices, np.int64), np.zeros(self.vertices, np.int64)
        behind[self.asked] = [self.reached[vertex].bit_count() for vertex in self.asked.tolist()]
        step = len(self.asked) // _SAMPLE + 1
        bits = np.unpackbits(self.reach[::step].view(np.uint8), axis=1, bitorder="little")[:, : len(self.asked)]
        before[self.asked] = step * bits.sum(axis=0, dtype=np.int64)
        return before, behind

    def reaches(self, source: Column, target: Column) -> NDArray[np.bool_]:
        """Whether each source reaches its target; `close` was asked for all of them."""
        assert self.reach is not None
        return self._bits(self.reach, source, target)

    def reaches_over(self, source: Column, target: Column) -> NDArray[np.bool_]:
        """Whether each source reaches its target by exactly one of the edges that `close_over` was given."""
        return np.zeros(len(source), np.bool_) if self.over is None else self._bits(self.over, source, target)

    def _bits(self, matrix: NDArray[np.uint64], source: Column, target: Column) -> NDArray[np.bool_]:
        row, column = self.place[source], self.place[target]
        assert not len(row) or (row.min() >= 0 and column.min() >= 0), "nobody asked for it"
        found: NDArray[np.bool_] = (matrix[row, column >> 6] >> (column & 63).astype(np.uint64)) & np.uint64(1) != 0
        return found


class Step(NamedTuple):
    """One edge."""

    source: int
    target: int
    why: int
    key: int
    literal: int


def step_of(edges: Edges, at: int) -> Step:
    """The edge at that place."""
    return steps_of(edges, [at])[0]


def steps_of(edges: Edges, places: Any) -> list[Step]:
    """The edges at these places, in this order."""
    columns = edges.source, edges.target, edges.why, edges.key, edges.literal
    return [Step(*one) for one in zip(*(column[places].tolist() for column in columns), strict=True)]


class Adjacent:
    """Edges by their source."""

    def __init__(self, vertices: int, edges: Edges) -> None:
        self.edges = edges
        self.order = np.argsort(edges.source, kind="stable")
        self.start = np.searchsorted(edges.source[self.order], np.arange(vertices + 1))

    def leaving(self, vertex: int) -> list[int]:
        """The edges that leave a vertex, by their place."""
        places: list[int] = self.order[self.start[vertex] : self.start[vertex + 1]].tolist()
        return places


def shortest(adjacent: Adjacent, begin: int, end: int, inside: NDArray[np.bool_] | None = None) -> list[Step]:
    """A shortest way from `begin` to `end` of at least one edge, empty where there is none."""
    came: dict[int, int] = {}
    queue = deque([begin])
    while queue:
        vertex = queue.popleft()
        for at in adjacent.leaving(vertex):
            other = int(adjacent.edges.target[at])
            if other in came or (inside is not None and not inside[other]):
                continue
            came[other] = at
            if other == end:
                steps = [step_of(adjacent.edges, at)]
                while steps[-1].source != begin:
                    steps.append(step_of(adjacent.edges, came[steps[-1].source]))
                return steps[::-1]
            queue.append(other)
    return []


def way(graph: Graph, edges: Edges, begin: int, end: int) -> list[Step]:
    """A shortest way from `begin` to `end`: no edge where they are one."""
    if begin == end:
        return []
    return shortest(Adjacent(graph.vertices, edges), begin, end)


def components(vertices: int, edges: Edges) -> tuple[NDArray[np.int32], Column]:
    """The strongly connected component of every vertex, and the vertices that lie in one with others."""
    graph = csr_array((np.ones(len(edges), np.int8), (edges.source, edges.target)), shape=(vertices, vertices))
    _, component = connected_components(graph, directed=True, connection="strong")
    return component, np.flatnonzero(np.bincount(component)[component] > 1)


def some_cycle(graph: Graph, edges: Edges) -> list[Step]:
    """A short cycle of edges that all hold."""
    loops = np.flatnonzero(edges.source == edges.target)
    if len(loops):
        return [step_of(edges, int(loops[0]))]
    component, members = components(graph.vertices, edges)
    adjacent = Adjacent(graph.vertices, edges)
    sizes = np.bincount(component)
    smallest = component[members[np.argmin(sizes[component[members]])]]
    inside = component == smallest
    best: list[Step] = []
    for begin in np.flatnonzero(inside)[:64].tolist():
        found = shortest(adjacent, begin, begin, inside)
        if found and (not best or len(found) < len(best)):
            best = found
        if graph.budget.over:
            break
    return best


def cheap_cycles(
    vertices: int, edges: Edges, closing: Edges, group: Column, budget: Budget
) -> list[list[Step]]:
    """For some edges of `closing` the cycle of the fewest choices that each closes with `edges` of one group of vertices, the
    shortest cycle first. Raises `Exhausted`."""
    closing = closing.take(slice(None, None, -(-len(closing) // _CYCLES_AT_ONCE) or 1))
    # Most vertices are on no cycle: what is left has numbers of its own.
    inside = np.flatnonzero(group[edges.source] == group[edges.target])
    ends = edges.source[inside], edges.target[inside], closing.source, closing.target
    touched = np.zeros(vertices, np.bool_)
    for column in ends:
        touched[column] = True
    members, number = np.flatnonzero(touched), np.cumsum(touched) - 1
    source, target, first, last = (number[column] for column in ends)
    order = np.argsort(source, kind="stable")
    start = np.searchsorted(source[order], np.arange(len(members) + 1))
    way_start, ways = np.zeros(len(closing) + 1, np.int64), np.empty(64 * len(closing) + len(members), np.int64)
    scratch = [np.zeros(len(members), np.int64) for _ in range(4)]
    size = COMPILED_FROM if len(closing) * len(inside) >= _COMPILED_FROM else 0
    complete(
        "cheapest_ways", size, budget, last, first, group[members], start, source[order], target[order],
        edges.literal[inside][order] != 0, *scratch, way_start, ways,
    )
    back = steps_of(edges, inside[order[ways[: way_start[-1]]]])
    found = {}
    for step, begin, end in zip(steps_of(closing, slice(None)), way_start[:-1].tolist(), way_start[1:].tolist(), strict=True):
        if begin < end or step.target == step.source:
            cycle = [step, *back[begin:end][::-1]]
            found[frozenset(one.literal for one in cycle if one.literal)] = cycle
    return sorted(found.values(), key=len)
