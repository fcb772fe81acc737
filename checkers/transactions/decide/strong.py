"""Serializability, snapshot isolation and their kin for registers, whose version order is not known.

Every pair of writers of a key was in one of two orders, and each order brings edges: the earlier before the later, and who
read the earlier before the later (a *polygraph*, Papadimitriou 1979). The history satisfies the level if and only if some
choice of orders leaves the graph without a cycle. The graph's vertices are

* for serializability the transactions;
* for prefix consistency and snapshot isolation two for each, the moment of its snapshot and the moment of its commit: a read
  comes from a commit before the reader's snapshot, a version that a reader did not see was committed after its snapshot, and
  under snapshot isolation two writers of a key do not overlap: the one commits before the other's snapshot;
* for parallel snapshot isolation the transactions again, and what is forbidden are cycles with at most one edge from a reader
  to who replaced what it read (Adya's G-single): its visibility is transitive, without one order for all.

Session order and real time are edges from the end of one to the beginning of the other. First all orders are taken that
the known edges force, until nothing more follows (which decides most histories: Cobra, OSDI 2020; PolySI, VLDB 2023); the
rest is left to a SAT solver that learns each cycle it runs into (SAT modulo acyclicity).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Timer
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.decide.decision import Decision, Edge, Relation
from splitbrain.checkers.transactions.decide.facts import Facts
from splitbrain.checkers.transactions.decide.kernels import kernel

Kind = Literal["serializable", "prefix", "snapshot", "parallel"]
Column = NDArray[np.int64]

_WR, _SESSION, _REALTIME, _WW, _RW, _INSIDE = range(6)
_RELATIONS: tuple[Relation, ...] = ("wr", "session", "realtime", "ww", "rw")
_MOST_PAIRS = 20_000_000
_CYCLES_AT_ONCE = 200


@dataclass(slots=True)
class _Edges:
    """Edges between vertices in columns: why, on which key, and the literal of the choice that they rest on (0: none)."""

    source: Column
    target: Column
    why: Column
    key: Column
    literal: Column

    @classmethod
    def of(cls, source: Any, target: Any, why: int, key: Any = -1, literal: Any = 0) -> _Edges:
        source, target = np.asarray(source, np.int64), np.asarray(target, np.int64)
        return cls(
            source, target, np.full(len(source), why), np.broadcast_to(np.asarray(key, np.int64), len(source)),
            np.broadcast_to(np.asarray(literal, np.int64), len(source)),
        )

    @classmethod
    def joined(cls, parts: Sequence[_Edges]) -> _Edges:
        names = ("source", "target", "why", "key", "literal")
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))

    def __len__(self) -> int:
        return len(self.source)

    def take(self, rows: Any) -> _Edges:
        return _Edges(self.source[rows], self.target[rows], self.why[rows], self.key[rows], self.literal[rows])


@dataclass(slots=True)
class _Graph:
    """Edges that hold, with what reaches what."""

    vertices: int
    edges: _Edges
    start: Column = field(init=False)
    target: Column = field(init=False)
    cyclic: bool = field(init=False)
    reach: NDArray[np.uint64] | None = None

    def __post_init__(self) -> None:
        edges = self.edges
        graph = csr_array((np.ones(len(edges), np.int8), (edges.source, edges.target)), shape=(self.vertices, self.vertices))
        self.start, self.target = graph.indptr.astype(np.int64), graph.indices.astype(np.int64)
        degree = np.bincount(self.target, minlength=self.vertices).astype(np.int64)
        self.cyclic = kernel("unordered", self.vertices)(self.vertices, self.start, self.target, degree) > 0

    def close(self, budget: Budget) -> None:
        """Find what reaches what. Raises `Exhausted`."""
        words = (self.vertices + 63) // 64
        if 8 * words * self.vertices > budget.memory // 2:
            raise Exhausted(f"{self.vertices:,} transactions' order takes more memory than it may")
        if budget.left < 0:
            raise Exhausted("the time limit")
        self.reach = np.zeros((self.vertices, words), np.uint64)
        order = self._order()
        if self.vertices >= 1000:
            kernel("descendants", 1 << 20)(order, self.start, self.target, self.reach)
            return
        bit = np.uint64(1) << (np.arange(64, dtype=np.uint64))
        for vertex in order[::-1].tolist():
            next_ones = self.target[self.start[vertex] : self.start[vertex + 1]]
            if len(next_ones):
                row = np.bitwise_or.reduce(self.reach[next_ones], axis=0)
                np.bitwise_or.at(row, next_ones >> 6, bit[next_ones & 63])
                self.reach[vertex] = row

    def reaches(self, source: Column, target: Column) -> NDArray[np.bool_]:
        """Whether each source reaches its target."""
        assert self.reach is not None
        found: NDArray[np.bool_] = (self.reach[source, target >> 6] >> (target & 63).astype(np.uint64)) & np.uint64(1) != 0
        return found

    def _order(self) -> Column:
        """A topological order."""
        degree = np.bincount(self.target, minlength=self.vertices)
        ready = deque(np.flatnonzero(degree == 0).tolist())
        start, target, left = self.start.tolist(), self.target.tolist(), degree.tolist()
        order = []
        while ready:
            vertex = ready.popleft()
            order.append(vertex)
            for other in target[start[vertex] : start[vertex + 1]]:
                left[other] -= 1
                if left[other] == 0:
                    ready.append(other)
        return np.array(order, np.int64)


class Polygraph:
    """The graph of one level, and the choices that are left. `decide` it once."""

    def __init__(self, facts: Facts, kind: Kind, *, sessions: bool, realtime: bool) -> None:
        self.facts, self.kind = facts, kind
        self.split = kind in ("prefix", "snapshot")
        size = facts.size
        self.vertices = 2 * size if self.split else size
        # A version is a write of a node; its readers are found by its number.
        self.node, self.key = facts.writers(), facts.write_key.astype(np.int64)
        self.reader_start, self.readers = self._readers()
        parts = [self._reads(), self._first_versions()]
        if self.split:
            nodes = np.arange(size)
            parts.append(_Edges.of(2 * nodes, 2 * nodes + 1, _INSIDE))
        if sessions or realtime:
            follows = np.flatnonzero(facts.session[1:] == facts.session[:-1])
            parts.append(_Edges.of(self.end(follows), self.begin(follows + 1), _SESSION))
        if realtime:
            parts.append(self._realtime())
        self.known = _Edges.joined(parts)
        self.replaced: list[_Edges] = [self._replaced_first()] if kind == "parallel" else []
        """For parallel snapshot isolation: edges from readers to who replaced what they read, which must not close a cycle
        with the known ones, each alone."""

    def begin(self, nodes: Any) -> Any:
        """The vertex of a node's snapshot."""
        return 2 * nodes if self.split else nodes

    def end(self, nodes: Any) -> Any:
        """The vertex of a node's commit."""
        return 2 * nodes + 1 if self.split else nodes

    def _readers(self) -> tuple[Column, Column]:
        """The readers of every version, in ranges. A version that nobody read has none."""
        facts = self.facts
        read = np.flatnonzero(facts.read_writer < facts.size)
        wanted = facts.read_writer[read] * facts.keys + facts.read_key[read]
        have = self.node * facts.keys + self.key
        version = np.searchsorted(have, wanted)
        reader = facts.readers()[read]
        pairs = np.unique(version * max(facts.size, 1) + reader)
        version, reader = pairs // max(facts.size, 1), pairs % max(facts.size, 1)
        return np.searchsorted(version, np.arange(len(have) + 1)), reader

    def _reads(self) -> _Edges:
        facts = self.facts
        read = facts.read_writer < facts.size
        return _Edges.of(
            self.end(facts.read_writer[read]), self.begin(facts.readers()[read]), _WR, facts.read_key[read].astype(np.int64)
        )

    def _initial(self) -> tuple[Column, Column, Column]:
        """Who read the initial state of a key, and each who wrote it."""
        facts = self.facts
        first = np.flatnonzero(facts.read_writer == facts.size)
        reader, key = facts.readers()[first], facts.read_key[first]
        order = np.argsort(self.key, kind="stable")
        begins = np.searchsorted(self.key[order], np.arange(facts.keys + 1))
        counts = (begins[1:] - begins[:-1])[key]
        if counts.sum() > _MOST_PAIRS:
            raise Exhausted("too many transactions read the initial state of keys that many wrote")
        readers, keys = np.repeat(reader, counts), np.repeat(key, counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        writers = self.node[order[np.repeat(begins[:-1][key], counts) + offsets]]
        other = writers != readers
        return readers[other], writers[other], keys[other].astype(np.int64)

    def _first_versions(self) -> _Edges:
        if self.kind == "parallel":
            return _Edges.of([], [], _RW)
        readers, writers, keys = self._initial()
        return _Edges.of(self.begin(readers), self.end(writers), _RW, keys)

    def _replaced_first(self) -> _Edges:
        readers, writers, keys = self._initial()
        return _Edges.of(readers, writers, _RW, keys)

    def _realtime(self) -> _Edges:
        """One vertex for each completion, chained in time: an edge each instead of one for every pair."""
        facts = self.facts
        order = np.argsort(facts.completed, kind="stable")
        moments = self.vertices + np.arange(facts.size)
        self.vertices += facts.size
        before = np.searchsorted(facts.completed[order], facts.invoked, side="left") - 1
        later = np.flatnonzero(before >= 0)
        return _Edges.joined([
            _Edges.of(self.end(order), moments, _REALTIME),
            _Edges.of(moments[:-1], moments[1:], _REALTIME),
            _Edges.of(moments[before[later]], self.begin(later), _REALTIME),
        ])

    def decide(self, level: str, keys: Sequence[object], budget: Budget) -> Decision:
        """Raises `Exhausted` where the budget ended first."""
        told = _Teller(self, level, keys)
        first, second = self._pairs()
        while True:
            graph = _Graph(self.vertices, self.known)
            if graph.cyclic:
                return told.refuted(_cycle(graph, self.known))
            graph.close(budget)
            if (broken := self._replaced_seen(graph)) is not None:
                return told.refuted(broken)
            if not len(first):
                return Decision(level=level, state="holds")
            forward = self._impossible(graph, first, second)
            backward = self._impossible(graph, second, first)
            if (forward & backward).any():
                at = int(np.flatnonzero(forward & backward)[0])
                return told.refuted(self._either_way(graph, int(first[at]), int(second[at])), alone=False)
            forced = forward | backward
            if not forced.any():
                break
            earlier = np.where(forward[forced], second[forced], first[forced])
            later = np.where(forward[forced], first[forced], second[forced])
            self._take(self._order_edges(earlier, later, np.zeros(len(earlier), np.int64)))
            first, second = first[~forced], second[~forced]
        return self._search(told, graph, first, second, budget)

    def _pairs(self) -> tuple[Column, Column]:
        """All pairs of versions of one key."""
        order = np.argsort(self.key, kind="stable")
        counts = np.bincount(self.key, minlength=1)
        if int((counts * (counts - 1) // 2).sum()) > _MOST_PAIRS:
            raise Exhausted("too many transactions wrote the same keys")
        # The i-th version of a key goes with each of the later ones.
        place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
        following = np.repeat(counts, counts) - place - 1
        first = np.repeat(np.arange(len(order)), following)
        offsets = np.arange(following.sum()) - np.repeat(np.cumsum(following) - following, following)
        return order[first], order[first + 1 + offsets]

    def _expanded(self, earlier: Column) -> tuple[Column, Column]:
        """Of every choice its place, once for each reader of the earlier version, and the reader."""
        counts = self.reader_start[earlier + 1] - self.reader_start[earlier]
        place = np.repeat(np.arange(len(earlier)), counts)
        offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        return place, self.readers[self.reader_start[earlier][place] + offsets]

    def _order_edges(self, earlier: Column, later: Column, literal: Column) -> tuple[_Edges, _Edges]:
        """The edges of "version `earlier` was replaced before `later` came": between the writers, and from the readers."""
        a, b, key = self.node[earlier], self.node[later], self.key[earlier]
        meets = self.end(b) if self.kind == "prefix" else self.begin(b)
        between = _Edges.of(self.end(a), meets, _WW, key, literal)
        place, reader = self._expanded(earlier)
        other = reader != b[place]
        place, reader = place[other], reader[other]
        return between, _Edges.of(self.begin(reader), self.end(b[place]), _RW, key[place], literal[place])

    def _take(self, edges: tuple[_Edges, _Edges]) -> None:
        between, replaced = edges
        if self.kind == "parallel":
            self.known = _Edges.joined([self.known, between])
            self.replaced.append(replaced)
        else:
            self.known = _Edges.joined([self.known, between, replaced])

    def _impossible(self, graph: _Graph, earlier: Column, later: Column) -> NDArray[np.bool_]:
        """Which of these orders would close a cycle with what is known."""
        places = np.arange(len(earlier))
        between, replaced = self._order_edges(earlier, later, places)
        closed = np.zeros(len(earlier), np.bool_)
        for edges in (between, replaced):
            closed[edges.literal[graph.reaches(edges.target, edges.source)]] = True
        return closed

    def _replaced_seen(self, graph: _Graph) -> list[_Step] | None:
        """Parallel snapshot isolation: a reader that comes after who replaced what it read."""
        for edges in self.replaced:
            broken = np.flatnonzero(graph.reaches(edges.target, edges.source) | (edges.target == edges.source))
            if len(broken):
                return self._closing(graph, edges, int(broken[0]))
        return None

    def _closing(self, graph: _Graph, edges: _Edges, at: int) -> list[_Step]:
        """The cycle that this edge closes with the known ones."""
        back = _way(graph, self.known, int(edges.target[at]), int(edges.source[at]))
        return [_step(edges, at), *back]

    def _either_way(self, graph: _Graph, first: int, second: int) -> list[_Step]:
        """The shorter of the cycles that the two orders of a pair close."""
        found = []
        for earlier, later in ((first, second), (second, first)):
            one = np.zeros(1, np.int64)
            for edges in self._order_edges(one + earlier, one + later, one):
                closing = np.flatnonzero(graph.reaches(edges.target, edges.source))
                found += [self._closing(graph, edges, int(at)) for at in closing[:1]]
        return min(found, key=len)

    def _search(self, told: _Teller, graph: _Graph, first: Column, second: Column, budget: Budget) -> Decision:
        """The choices that nothing forces: literal i + 1 says that `first[i]` came before `second[i]`."""
        try:
            from pysat.solvers import Glucose4
        except ModuleNotFoundError as error:
            if error.name != "pysat":
                raise
            raise Exhausted("it takes a search, and so python-sat: pip install 'splitbrain[sat]'") from error
        literal = np.arange(1, len(first) + 1)
        forward, backward = self._order_edges(first, second, literal), self._order_edges(second, first, -literal)
        between = _Edges.joined([forward[0], backward[0]])
        replaced = _Edges.joined([forward[1], backward[1]])
        likely = self._likely(graph, first, second)
        with Glucose4(use_timer=False) as solver:
            solver.set_phases((literal * likely).tolist())
            for at in literal.tolist():
                solver.add_clause([at, -at])  # Every choice is made.
            shortest: list[_Step] = []
            while _solved(solver, budget):
                model = np.zeros(len(first) + 1, np.bool_)
                chosen = np.array(solver.get_model() or [], np.int64)
                model[chosen[(chosen > 0) & (chosen <= len(first))]] = True
                cycles = self._cycles(between, replaced, model, budget)
                if not cycles:
                    return Decision(level=told.level, state="holds")
                for cycle in cycles:
                    if not shortest or len(cycle) < len(shortest):
                        shortest = cycle
                    solver.add_clause(sorted({-step.literal for step in cycle if step.literal}))
        return told.refuted(shortest, alone=False)

    def _likely(self, graph: _Graph, first: Column, second: Column) -> Column:
        """+1 where the first writer of a pair probably came first: it was invoked earlier."""
        when = self.facts.invoked
        return np.where(when[self.node[first]] <= when[self.node[second]], 1, -1)

    def _cycles(self, between: _Edges, replaced: _Edges, model: NDArray[np.bool_], budget: Budget) -> list[list[_Step]]:
        """Cycles that these choices close, of few choices each; none where the level holds."""
        if budget.left < 0:
            raise Exhausted("the time limit")

        def chosen(edges: _Edges) -> _Edges:
            return edges.take(np.where(edges.literal > 0, model[np.abs(edges.literal)], ~model[np.abs(edges.literal)]))

        own, theirs = chosen(between), chosen(replaced)
        parallel = self.kind == "parallel"
        all_edges = _Edges.joined([self.known, own] if parallel else [self.known, own, theirs])
        graph = _Graph(self.vertices, all_edges)
        if graph.cyclic:
            return _cheap_cycles(self.vertices, all_edges)
        if not parallel:
            return []
        graph.close(budget)
        found = []
        for edges in (*self.replaced, theirs):
            for at in np.flatnonzero(graph.reaches(edges.target, edges.source))[:_CYCLES_AT_ONCE].tolist():
                found.append([_step(edges, at), *_way(graph, all_edges, int(edges.target[at]), int(edges.source[at]))])
        return found


@dataclass(slots=True, frozen=True)
class _Step:
    source: int
    target: int
    why: int
    key: int
    literal: int


def _step(edges: _Edges, at: int) -> _Step:
    return _Step(*(int(column[at]) for column in (edges.source, edges.target, edges.why, edges.key, edges.literal)))


def _solved(solver: Any, budget: Budget) -> bool:
    """Whether there is a choice. Raises `Exhausted` where time ran out."""
    if budget.left <= 0:
        raise Exhausted("the time limit")
    timer = Timer(min(budget.left, 86_400), solver.interrupt)
    timer.daemon = True
    timer.start()
    try:
        answer = solver.solve_limited(expect_interrupt=True)
    finally:
        timer.cancel()
    if answer is None:
        raise Exhausted("the time limit")
    return bool(answer)


class _Adjacent:
    """Edges by their source."""

    def __init__(self, vertices: int, edges: _Edges) -> None:
        self.edges = edges
        self.order = np.argsort(edges.source, kind="stable")
        self.start = np.searchsorted(edges.source[self.order], np.arange(vertices + 1))

    def leaving(self, vertex: int) -> list[int]:
        """The edges that leave a vertex, by their place."""
        places: list[int] = self.order[self.start[vertex] : self.start[vertex + 1]].tolist()
        return places


def _cheapest(adjacent: _Adjacent, begin: int, end: int, inside: NDArray[np.bool_] | None, most: float) -> list[_Step]:
    """A way from `begin` to `end` that rests on the fewest choices, and of these a short one; empty where there is none of at
    most `most` choices."""
    edges = adjacent.edges
    came: dict[int, int] = {}
    cost = {begin: 0}
    queue = deque([begin])
    done: set[int] = set()
    while queue:
        vertex = queue.popleft()
        if vertex in done:
            continue
        done.add(vertex)
        if vertex == end and came:
            break
        for at in adjacent.leaving(vertex):
            other = int(edges.target[at])
            weight = 1 if edges.literal[at] else 0
            if inside is not None and not inside[other]:
                continue
            total = cost[vertex] + weight
            if total <= most and (other not in cost or total < cost[other]):
                cost[other] = total
                came[other] = at
                (queue.append if weight else queue.appendleft)(other)
    if end not in came:
        return []
    steps = []
    at = end
    while True:
        steps.append(_step(edges, came[at]))
        at = steps[-1].source
        if at == begin:
            return steps[::-1]


def _shortest(adjacent: _Adjacent, begin: int, end: int, inside: NDArray[np.bool_] | None = None) -> list[_Step]:
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
                steps = [_step(adjacent.edges, at)]
                while steps[-1].source != begin:
                    steps.append(_step(adjacent.edges, came[steps[-1].source]))
                return steps[::-1]
            queue.append(other)
    return []


def _way(graph: _Graph, edges: _Edges, begin: int, end: int) -> list[_Step]:
    if begin == end:
        return []
    return _shortest(_Adjacent(graph.vertices, edges), begin, end)


def _components(vertices: int, edges: _Edges) -> tuple[NDArray[np.int32], Column]:
    """The strongly connected component of every vertex, and the vertices that lie in one with others."""
    graph = csr_array((np.ones(len(edges), np.int8), (edges.source, edges.target)), shape=(vertices, vertices))
    _, component = connected_components(graph, directed=True, connection="strong")
    return component, np.flatnonzero(np.bincount(component)[component] > 1)


def _cycle(graph: _Graph, edges: _Edges) -> list[_Step]:
    """A short cycle of edges that all hold."""
    loops = np.flatnonzero(edges.source == edges.target)
    if len(loops):
        return [_step(edges, int(loops[0]))]
    component, members = _components(graph.vertices, edges)
    adjacent = _Adjacent(graph.vertices, edges)
    sizes = np.bincount(component)
    smallest = component[members[np.argmin(sizes[component[members]])]]
    inside = component == smallest
    best: list[_Step] = []
    for begin in np.flatnonzero(inside)[:64].tolist():
        found = _shortest(adjacent, begin, begin, inside)
        if found and (not best or len(found) < len(best)):
            best = found
    return best


def _cheap_cycles(vertices: int, edges: _Edges) -> list[list[_Step]]:
    """Cycles through choices that were made, each with few choices."""
    component, _ = _components(vertices, edges)
    on_cycle = np.flatnonzero((component[edges.source] == component[edges.target]) & (edges.literal != 0))
    adjacent = _Adjacent(vertices, edges)
    step = max(1, len(on_cycle) // _CYCLES_AT_ONCE)
    found = {}
    for at in on_cycle[::step][:_CYCLES_AT_ONCE].tolist():
        inside = component == component[edges.source[at]]
        back = _cheapest(adjacent, int(edges.target[at]), int(edges.source[at]), inside, float("inf"))
        if edges.target[at] == edges.source[at]:
            back = []
        cycle = [_step(edges, at), *back]
        found[tuple(sorted({one.literal for one in cycle if one.literal}))] = cycle
    return sorted(found.values(), key=len)


@dataclass(slots=True, frozen=True)
class _Teller:
    """Says a cycle of vertices as one of transactions."""

    graph: Polygraph
    level: str
    keys: Sequence[object]

    def refuted(self, steps: Sequence[_Step], *, alone: bool = True) -> Decision:
        """The cycle, with the moments of time between transactions and what lies inside one left out."""
        size, split = self.graph.facts.size, self.graph.split
        limit = 2 * size if split else size
        rows = self.graph.facts.row
        edges: list[Edge] = []
        steps = [step for step in steps if step.why != _INSIDE]
        begin = next((at for at, step in enumerate(steps) if step.source < limit), 0)
        pending: int | None = None
        for step in [*steps[begin:], *steps[:begin]]:
            source = pending if pending is not None else (step.source // 2 if split else step.source)
            if step.target >= limit:
                pending = source
                continue
            target = step.target // 2 if split else step.target
            key = self.keys[step.key] if step.key >= 0 else None
            edges.append(
                Edge(source=int(rows[source]), target=int(rows[target]), relation=_RELATIONS[step.why], key=key)
            )
            pending = None
        return Decision(level=self.level, state="refuted", cycle=tuple(edges), alone=alone)
