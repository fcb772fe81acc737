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

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.decide.decision import Decision, Edge, Relation
from splitbrain.checkers.transactions.decide.facts import Facts
from splitbrain.checkers.transactions.decide.precedence import (
    INSIDE,
    REALTIME,
    RW,
    SESSION,
    WR,
    WW,
    Column,
    Edges,
    Graph,
    Step,
    cheap_cycles,
    components,
    some_cycle,
    step_of,
    way,
)
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.ranges import ranges

Kind = Literal["serializable", "prefix", "snapshot", "parallel"]
_RELATIONS: tuple[Relation, ...] = ("wr", "session", "realtime", "ww", "rw")
_MOST_PAIRS = 20_000_000
_CHUNK = 1 << 18
"""Pairs that are compared, or told to the solver, between two looks at the clock."""
_FORCED = 0.02
"""The part of the choices that a round must force to be worth another one."""
_CONFLICTS, _STEPS = 1_000, 2_000_000
"""Conflicts and propagations of the solver between two looks at the clock: tenths of a second."""


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
            parts.append(Edges.of(2 * nodes, 2 * nodes + 1, INSIDE))
        if sessions or realtime:
            follows = np.flatnonzero(facts.session[1:] == facts.session[:-1])
            parts.append(Edges.of(self.end(follows), self.begin(follows + 1), SESSION))
        if realtime:
            parts.append(self._realtime())
        self.known = Edges.joined(parts)
        self.replaced = self._replaced_first() if kind == "parallel" else Edges.of([], [], RW)
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

    def _reads(self) -> Edges:
        facts = self.facts
        read = facts.read_writer < facts.size
        return Edges.of(
            self.end(facts.read_writer[read]), self.begin(facts.readers()[read]), WR, facts.read_key[read].astype(np.int64)
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
        writers = self.node[order[ranges(begins[:-1][key], counts)]]
        other = writers != readers
        return readers[other], writers[other], keys[other].astype(np.int64)

    def _first_versions(self) -> Edges:
        if self.kind == "parallel":
            return Edges.of([], [], RW)
        readers, writers, keys = self._initial()
        return Edges.of(self.begin(readers), self.end(writers), RW, keys)

    def _replaced_first(self) -> Edges:
        readers, writers, keys = self._initial()
        return Edges.of(readers, writers, RW, keys)

    def _realtime(self) -> Edges:
        """One vertex for each completion, chained in time: an edge each instead of one for every pair."""
        facts = self.facts
        order = np.argsort(facts.completed, kind="stable")
        moments = self.vertices + np.arange(facts.size)
        self.vertices += facts.size
        before = np.searchsorted(facts.completed[order], facts.invoked, side="left") - 1
        later = np.flatnonzero(before >= 0)
        return Edges.joined([
            Edges.of(self.end(order), moments, REALTIME),
            Edges.of(moments[:-1], moments[1:], REALTIME),
            Edges.of(moments[before[later]], self.begin(later), REALTIME),
        ])

    def decide(self, level: str, keys: Sequence[object], budget: Budget) -> Decision:
        """Raises `Exhausted` where the budget ended first."""
        told = _Teller(self, level, keys)
        first, second = self._pairs()
        asked = self._ends(first, second)
        while True:
            graph = Graph(self.vertices, self.known, budget)
            if graph.cyclic:
                return told.refuted(some_cycle(graph, self.known))
            self.known = self.known.take(graph.close(asked))
            if (broken := self._replaced_seen(graph)) is not None:
                return told.refuted(broken)
            if self.kind == "parallel":
                self.replaced = self.replaced.take(graph.close_over(self.replaced))
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
            asked = self._ends(first, second)  # Of those that were taken, too: what they say twice is to be left out.
            few = np.count_nonzero(forced) < _FORCED * len(first)
            first, second = first[~forced], second[~forced]
            if few and len(first):
                break  # What follows from so little the solver finds out sooner.
        return self._search(told, graph, first, second, budget)

    def _pairs(self) -> tuple[Column, Column]:
        """All pairs of versions of one key."""
        order = np.argsort(self.key, kind="stable")
        counts = np.bincount(self.key, minlength=1)
        if int((counts * (counts - 1) // 2).sum()) > _MOST_PAIRS:
            raise Exhausted("too many transactions wrote the same keys")
        # Each version of a key goes with all that follow it, up to the last of that key.
        places = np.arange(len(order))
        following = np.repeat(np.cumsum(counts), counts) - places - 1
        return order[np.repeat(places, following)], order[ranges(places + 1, following)]

    def _ends(self, first: Column, second: Column) -> Column:
        """The vertices between which these choices, and those that are forbidden anyway, draw edges."""
        if self.kind == "parallel":
            return np.arange(self.vertices)
        chosen = np.zeros(len(self.node), np.bool_)
        chosen[first] = chosen[second] = True
        versions = np.flatnonzero(chosen)
        writers, (_, readers) = self.node[versions], self._expanded(versions)
        return np.concatenate([self.begin(writers), self.end(writers), self.begin(readers)])

    def _expanded(self, earlier: Column) -> tuple[Column, Column]:
        """Of every choice its place, once for each reader of the earlier version, and the reader."""
        counts = self.reader_start[earlier + 1] - self.reader_start[earlier]
        place = np.repeat(np.arange(len(earlier)), counts)
        return place, self.readers[ranges(self.reader_start[earlier], counts)]

    def _order_edges(self, earlier: Column, later: Column, literal: Column) -> tuple[Edges, Edges]:
        """The edges of "version `earlier` was replaced before `later` came": between the writers, and from the readers."""
        a, b, key = self.node[earlier], self.node[later], self.key[earlier]
        meets = self.end(b) if self.kind == "prefix" else self.begin(b)
        between = Edges.of(self.end(a), meets, WW, key, literal)
        place, reader = self._expanded(earlier)
        other = reader != b[place]
        place, reader = place[other], reader[other]
        return between, Edges.of(self.begin(reader), self.end(b[place]), RW, key[place], literal[place])

    def _take(self, edges: tuple[Edges, Edges]) -> None:
        between, replaced = edges
        if self.kind == "parallel":
            self.known = Edges.joined([self.known, between])
            self.replaced = Edges.joined([self.replaced, replaced])
        else:
            self.known = Edges.joined([self.known, between, replaced])

    def _impossible(self, graph: Graph, earlier: Column, later: Column) -> NDArray[np.bool_]:
        """Which of these orders would close a cycle with what is known. Raises `Exhausted`."""
        closed = np.zeros(len(earlier), np.bool_)
        for begin in range(0, len(earlier), _CHUNK):
            graph.budget.check()
            part = slice(begin, begin + _CHUNK)
            places = np.arange(begin, min(begin + _CHUNK, len(earlier)))
            between, replaced = self._order_edges(earlier[part], later[part], places)
            for edges in (between, replaced):
                closed[edges.literal[graph.reaches(edges.target, edges.source)]] = True
            closed[between.literal[graph.reaches_over(between.target, between.source)]] = True
        return closed

    def _replaced_seen(self, graph: Graph) -> list[Step] | None:
        """Parallel snapshot isolation: a reader that comes after who replaced what it read."""
        broken = np.flatnonzero(graph.reaches(self.replaced.target, self.replaced.source))
        return self._closing(graph, self.replaced, int(broken[0])) if len(broken) else None

    def _closing(self, graph: Graph, edges: Edges, at: int) -> list[Step]:
        """The cycle that this edge closes with the known ones."""
        back = way(graph, self.known, int(edges.target[at]), int(edges.source[at]))
        return [step_of(edges, at), *back]

    def _either_way(self, graph: Graph, first: int, second: int) -> list[Step]:
        """The shorter of the cycles that the two orders of a pair close."""
        found = []
        for earlier, later in ((first, second), (second, first)):
            one = np.zeros(1, np.int64)
            for edges in self._order_edges(one + earlier, one + later, one):
                closing = np.flatnonzero(graph.reaches(edges.target, edges.source))
                found += [self._closing(graph, edges, int(at)) for at in closing[:1]]
            a, b, over = self.node[one + earlier], self.node[one + later], self.replaced
            before = (over.source == b) | graph.reaches(np.broadcast_to(b, len(over)), over.source)
            behind = (over.target == a) | graph.reaches(over.target, np.broadcast_to(a, len(over)))
            for at in np.flatnonzero(before & behind)[:1].tolist():
                between = self._order_edges(one + earlier, one + later, one)[0]
                found.append([
                    step_of(between, 0), *way(graph, self.known, int(b[0]), int(over.source[at])), step_of(over, at),
                    *way(graph, self.known, int(over.target[at]), int(a[0])),
                ])
        return min(found, key=len)

    def _search(self, told: _Teller, graph: Graph, first: Column, second: Column, budget: Budget) -> Decision:
        """The choices that nothing forces: literal i + 1 says that `first[i]` came before `second[i]`."""
        try:
            from pysat.solvers import Glucose4
        except ModuleNotFoundError as error:
            if error.name != "pysat":
                raise
            raise Exhausted("it takes a search, and so python-sat: pip install 'splitbrain[sat]'") from error
        literal = np.arange(1, len(first) + 1)
        forward, backward = self._order_edges(first, second, literal), self._order_edges(second, first, -literal)
        between = Edges.joined([forward[0], backward[0]])
        replaced = Edges.joined([forward[1], backward[1]])
        likely = self._likely(graph, first, second)
        with Glucose4(use_timer=False) as solver:
            solver.set_phases((literal * likely).tolist())
            for at in literal.tolist():
                if at % _CHUNK == 0:
                    budget.check()
                solver.add_clause([at, -at])  # Every choice is made.
            shortest: list[Step] = []
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

    def _likely(self, graph: Graph, first: Column, second: Column) -> Column:
        """+1 where the first writer of a pair probably came first: the middle of its call was earlier or, where there are no
        times, it has fewer before it and more behind it."""
        facts = self.facts
        if facts.completed.max() < NEVER:
            when = facts.invoked + facts.completed
        else:
            before, behind = graph.counts()
            when = (before - behind)[self.end(np.arange(facts.size))]
        return np.where(when[self.node[first]] <= when[self.node[second]], 1, -1)

    def _cycles(self, between: Edges, replaced: Edges, model: NDArray[np.bool_], budget: Budget) -> list[list[Step]]:
        """Cycles that these choices close, of few choices each; none where the level holds."""
        budget.check()

        def chosen(edges: Edges) -> Edges:
            return edges.take(np.where(edges.literal > 0, model[np.abs(edges.literal)], ~model[np.abs(edges.literal)]))

        own, theirs = chosen(between), chosen(replaced)
        parallel = self.kind == "parallel"
        all_edges = Edges.joined([self.known, own] if parallel else [self.known, own, theirs])
        graph = Graph(self.vertices, all_edges, budget)
        if graph.cyclic:
            component, _ = components(self.vertices, all_edges)
            inner = (component[all_edges.source] == component[all_edges.target]) & (all_edges.literal != 0)
            return cheap_cycles(self.vertices, all_edges, all_edges.take(inner), component.astype(np.int64), budget)
        if not parallel:
            return []
        closing = Edges.joined([self.replaced, theirs])
        graph.close(np.concatenate([closing.source, closing.target]))
        closing = closing.take(graph.reaches(closing.target, closing.source))
        return cheap_cycles(self.vertices, all_edges, closing, np.zeros(self.vertices, np.int64), budget)


def _solved(solver: Any, budget: Budget) -> bool:
    """Whether there is a choice. Raises `Exhausted` where time ran out. The solver keeps what it learned from one look at the
    clock to the next, so that where time is the processor's it gets as far on a busy machine as on another."""
    while True:
        budget.check()
        solver.conf_budget(_CONFLICTS)
        solver.prop_budget(_STEPS)
        answer = solver.solve_limited(expect_interrupt=True)
        if answer is not None:
            return bool(answer)


@dataclass(slots=True, frozen=True)
class _Teller:
    """Says a cycle of vertices as one of transactions."""

    graph: Polygraph
    level: str
    keys: Sequence[object]

    def refuted(self, steps: Sequence[Step], *, alone: bool = True) -> Decision:
        """The cycle, with the moments of time between transactions and what lies inside one left out."""
        size, split = self.graph.facts.size, self.graph.split
        limit = 2 * size if split else size
        rows = self.graph.facts.row
        edges: list[Edge] = []
        steps = [step for step in steps if step.why != INSIDE]
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
