"""Cycles of dependencies: which level each of them rules out, and the cheapest one that shows it.

Where the order of versions is known, a level is a condition on the dependency graph (Adya 1999; Cerone & Gotsman 2016):
some relation between transactions may have no cycle. All conditions are decided by strongly connected components, in one
pass over the whole graph and then only inside of what is cyclic, some of them in the product of the graph with a small
automaton that remembers the last edge. It is one file because deciding and showing walk the same graph by the same rules.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.graph import (
    ALWAYS,
    ATOMIC,
    CAUSAL,
    PROCESS,
    READS,
    REALTIME,
    RW,
    SESSION,
    TIMES,
    WR,
    WW,
    Edges,
    Flags,
    Ints,
    process_edges,
    realtime_edges,
)
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.lattice import LEVELS, Level, stronger, weaker
from splitbrain.checkers.transactions.spread import Spread
from splitbrain.harness.history.history import NEVER

Shape = Literal["plain", "any", "alternating", "prefix"]
Path = Literal["", "earlier-read", "read", "read-or-session", "visible", "any"]


class Rule(NamedTuple):
    """When dependencies rule out a level: `kinds` are those that order transactions, `scopes` what they may come from.

    `shape` says where `rw` may stand in a cycle: `plain` nowhere, `any` anywhere, `alternating` not after another `rw`,
    `prefix` only behind a `wr` or `process`. With a `path`, a cycle with one `rw` is against the level, too, if the way
    back, from the transaction that overwrote what was read (or one that installed a still later version of that key) to the
    one that read, is of that sort: one `wr` that was read earlier in the transaction, one `wr`, one `wr` or any way inside
    the process, any way of `wr` and `process`, or any way of `kinds`.
    """

    kinds: tuple[int, ...]
    scopes: tuple[int, ...]
    shape: Shape
    path: Path = ""


_PLAIN, _SESSION, _STRONG = (ALWAYS, READS, ATOMIC), (ALWAYS, READS, ATOMIC, SESSION, CAUSAL), tuple(range(TIMES + 1))
_D, _DS, _DR = (WW, WR), (WW, WR, PROCESS), (WW, WR, PROCESS, REALTIME)

RULES: dict[Level, Rule] = {
    "read-uncommitted": Rule((WW,), (ALWAYS,), "plain"),
    "read-committed": Rule(_D, (ALWAYS, READS), "plain"),
    "read-committed-session": Rule(_DS, (ALWAYS, READS, SESSION), "plain", "earlier-read"),
    "read-atomic": Rule(_D, _PLAIN, "plain", "read"),
    "read-atomic-session": Rule(_DS, (ALWAYS, READS, ATOMIC, SESSION), "plain", "read-or-session"),
    "causal": Rule(_DS, _SESSION, "plain", "visible"),
    "parallel-snapshot-isolation": Rule(_D, _PLAIN, "plain", "any"),
    "strong-session-parallel-snapshot-isolation": Rule(_DS, _SESSION, "plain", "any"),
    "prefix": Rule(_DS, _SESSION, "prefix"),
    "snapshot-isolation": Rule(_D, _PLAIN, "alternating"),
    "strong-session-snapshot-isolation": Rule(_DS, _SESSION, "alternating"),
    "strong-snapshot-isolation": Rule(_DR, _STRONG, "alternating"),
    "serializable": Rule(_D, _PLAIN, "any"),
    "strong-session-serializable": Rule(_DS, _SESSION, "any"),
    "strict-serializable": Rule(_DR, _STRONG, "any"),
}
"""The levels by their rules. Consistent view is parallel snapshot isolation."""


class Edge(NamedTuple):
    """One dependency of a cycle, as in `Edges`."""

    source: int
    target: int
    kind: int
    scope: int
    key: int
    row: int


@dataclass(frozen=True)
class Cycle:
    """A cycle that rules out `level` (and what is stronger), with its name."""

    level: Level
    edges: tuple[Edge, ...]
    alone: bool = True
    """Whether it is a proof by itself. Else a search refuted the level, and this is one of the cycles that it could not
    avoid."""

    @property
    def identifier(self) -> str:
        """The name of the anomaly: Adya's classes by the number of `rw` and whether two of them follow each other, with
        `-process` or `-realtime` where the order of a client or of time is part of it; and better known names of some."""
        kinds = [edge.kind for edge in self.edges]
        if not self.alone and self.level in USUAL:
            return USUAL[self.level]
        suffix = ""
        if any(edge.kind == REALTIME or edge.scope == TIMES for edge in self.edges):
            suffix = "-realtime"
        elif any(edge.kind == PROCESS or edge.scope in (SESSION, CAUSAL) for edge in self.edges):
            suffix = "-process"
        anti = kinds.count(RW)
        if not anti:
            if set(kinds) == {WW} and len({edge.key for edge in self.edges}) == 1 and any(edge.scope for edge in self.edges):
                return "cyclic-versions"
            scopes = {edge.scope for edge in self.edges}
            if not scopes.isdisjoint((ATOMIC, CAUSAL)):
                # Which of two versions came first follows from what a transaction saw: the other way round it missed one.
                return "G-single" + suffix
            if TIMES in scopes and len(kinds) == 2 and set(kinds) == {WW, REALTIME}:
                # The one that time has first was still read when the other one was known: that read missed the other.
                return "G-single-realtime"
            if WR not in kinds and TIMES in scopes and self.level in USUAL:
                return USUAL[self.level]
            # Who wrote upon what it had read either overwrote that, or was overwritten by what it had read.
            return ("G1c" if WR in kinds or READS in scopes else "G0") + suffix
        if anti == 1:
            at = kinds.index(RW)
            other = self.edges[at - 1]
            if len(kinds) == 2 and other.kind == WW and other.key == self.edges[at].key and not suffix:
                return "lost-update"
            return "G-single" + suffix
        if any(a == b == RW for a, b in zip(kinds, kinds[1:] + kinds[:1], strict=True)):
            return "G2-item" + suffix
        if len(kinds) == 4 and kinds.count(WR) == 2 and not suffix:
            return "long-fork"
        return "G-nonadjacent" + suffix


USUAL: dict[Level, str] = {
    "read-committed-session": "G-single",
    "read-atomic": "G-single",
    "read-atomic-session": "G-single-process",
    "causal": "G-single-process",
    "parallel-snapshot-isolation": "G-single",
    "strong-session-parallel-snapshot-isolation": "G-single-process",
    "prefix": "G-nonadjacent-process",
    "snapshot-isolation": "G-nonadjacent",
    "strong-session-snapshot-isolation": "G-nonadjacent-process",
    "strong-snapshot-isolation": "G-nonadjacent-realtime",
    "serializable": "G2-item",
    "strong-session-serializable": "G2-item-process",
    "strict-serializable": "G2-item-realtime",
}
"""What rules out a level and none that is weaker, where the order of versions is part of the question."""


def violates(edges: tuple[Edge, ...], level: Level) -> bool:
    """Whether a cycle is against a level, too."""
    if level not in RULES:
        return False
    rule = RULES[level]
    if any(edge.scope not in rule.scopes or edge.kind not in (*rule.kinds, RW) for edge in edges):
        return False
    anti = [at for at, edge in enumerate(edges) if edge.kind == RW]
    if not anti:
        return True
    before = [edges[at - 1].kind for at in anti]
    if rule.shape == "any":
        return True
    if rule.shape == "alternating":
        return RW not in before
    if rule.shape == "prefix":
        return all(kind in (WR, PROCESS) for kind in before)
    if len(anti) > 1 or len(edges) < 2:
        return False
    way = (*edges[anti[0] + 1 :], *edges[: anti[0]])
    first = edges[anti[0]]
    state = 0
    for at, edge in enumerate(way):
        last = at == len(way) - 1
        state = _after(rule.path, state, edge.kind, edge.key == first.key, last, edge.row < first.row)
        if state < 0:
            return False
    return bool(rule.path) and state > 0


@dataclass(frozen=True)
class Found:
    """The cycles that were found, the levels they rule out directly, and the levels that could not be decided in time."""

    cycles: tuple[Cycle, ...]
    refuted: dict[Level, tuple[Cycle, ...]]
    undecided: frozenset[Level]
    limits: tuple[str, ...]


def search(
    inference: Inference, budget: Budget, suspects: dict[int, Level] | None = None, spread: Spread | None = None,
    levels: frozenset[Level] = frozenset(LEVELS),
) -> Found:
    """The cheapest cycle of every component that rules out a level and holds none that rules out a weaker one, the levels in
    their order, and the cycles against each in the order of their first transactions.

    `suspects` are transactions with anomalies of their own, and the level that these rule out: a component with one of them
    is explained already. What `budget` does not suffice for is left undecided. `spread` has components searched elsewhere,
    each of which is searched by itself anyhow. Only `levels` are looked at.
    """
    whole = _Search(budget, levels)
    whole.restrict(inference, suspects or {})
    parts = whole.parts(spread.edges) if spread is not None else [whole]
    if spread is None or len(parts) < 2:
        return whole.found()
    return _merged(list(spread.each(_search_part, ((part,) for part in parts), budget.left)))


def _search_part(part: _Search, seconds: float) -> Found:
    part.budget = Budget.of(seconds)
    return part.found()


def _merged(parts: Sequence[Found]) -> Found:
    """What was found in all parts. A level that one of them refutes is refuted, whatever the others did not get to."""
    refuted: dict[Level, tuple[Cycle, ...]] = {}
    for level in LEVELS:
        if told := [part.refuted[level] for part in parts if level in part.refuted]:
            refuted[level] = _in_order([cycle for found in told for cycle in found])
    undecided = frozenset(level for part in parts for level in part.undecided if level not in refuted)
    return Found(
        tuple(cycle for found in refuted.values() for cycle in found), refuted, undecided,
        tuple(dict.fromkeys(limit for part in parts for limit in part.limits)),
    )


def _in_order(found: Sequence[Cycle]) -> tuple[Cycle, ...]:
    return tuple(sorted(found, key=lambda cycle: min((edge.source for edge in cycle.edges), default=-1)))


def allows(inference: Inference, level: Level, budget: Budget) -> bool:
    """Whether there is certainly no cycle against that level."""
    search = _Search(budget)
    search.restrict(inference, {})
    try:
        return not len(search.edges) or not search.refutes(level)
    except Exhausted:
        return False


def cheapest(inference: Inference, level: Level, budget: Budget) -> Cycle | None:
    """The cheapest cycle against a level, as one that does not prove it alone; None where there is none. Raises
    `Exhausted`."""
    search = _Search(budget)
    search.restrict(inference, {})
    if not len(search.edges) or not search.judge(level):
        return None
    found = min(search.cycles, key=lambda cycle: len(cycle.edges))
    return replace(found, alone=False)


def writes_ordered(inference: Inference) -> bool:
    """Whether no `ww` edges form a cycle, whatever they were inferred from."""
    edges = inference.edges.where(inference.edges.kind == WW)
    return not is_cyclic(edges.source, edges.target, len(inference.history))[0].any()


def is_cyclic(source: Ints, target: Ints, many: int) -> tuple[Flags, Ints]:
    """Of every vertex whether it is on a cycle (none is its own neighbour), and the number of its component."""
    if not len(source):
        return np.zeros(many, np.bool_), np.zeros(many, np.int64)
    matrix = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(many, many))
    _, label = connected_components(matrix, directed=True, connection="strong")
    return np.bincount(label)[label] > 1, label.astype(np.int64)


class _Search:
    def __init__(self, budget: Budget, levels: frozenset[Level] = frozenset(LEVELS)) -> None:
        self.budget = budget
        self.levels = levels
        self.limits: list[str] = []
        self.cycles: list[Cycle] = []
        self.proven: set[Level] = set()
        """Levels that a component rules out, also where time was up before its cheapest cycle was found."""

    def found(self) -> Found:
        """What is found in the part of the graph that was kept."""
        refuted: dict[Level, tuple[Cycle, ...]] = {}
        undecided: set[Level] = set()
        if len(self.edges):
            whole = self.budget
            for at, level in enumerate(levels := [level for level in LEVELS if level in RULES and level in self.levels]):
                # One level with many long ways is not to leave the others unjudged.
                self.budget = whole.within(whole.left / (len(levels) - at))
                before = len(self.cycles)
                any_component = decided = False
                try:
                    any_component = self.judge(level)
                    decided = True
                except Exhausted as limit:
                    self.limits.append(f"{limit}: not all cycles against {level} were searched")
                if len(self.cycles) > before or any_component or level in self.proven:
                    refuted[level] = _in_order(self.cycles[before:])
                elif not decided:
                    undecided.add(level)
        cycles = tuple(cycle for found in refuted.values() for cycle in found)
        return Found(cycles, refuted, frozenset(undecided), tuple(self.limits))

    def restrict(self, inference: Inference, suspects: dict[int, Level]) -> None:
        """Keep what lies inside of strongly connected components of all dependencies together."""
        history, committed = inference.history, inference.committed
        edges, own = inference.edges, process_edges(history, committed)
        source, target, many = realtime_edges(history, committed)
        # What time orders as well adds no cycle: most edges, so that the usual answer (there is none) comes in half the time.
        concurrent = [np.flatnonzero(history.completed[one.source] >= history.invoked[one.target]) for one in (edges, own)]
        if is_cyclic(
            np.concatenate([edges.source[concurrent[0]], own.source[concurrent[1]], source]),
            np.concatenate([edges.target[concurrent[0]], own.target[concurrent[1]], target]), many,
        )[0].any():
            edges = Edges.joined([edges, own])
        else:
            edges = edges.where(np.empty(0, np.int64))
            source = target = np.empty(0, np.int64)
        cyclic, label = is_cyclic(
            np.concatenate([edges.source, source]), np.concatenate([edges.target, target]), many
        )
        inside = cyclic[edges.source] & (label[edges.source] == label[edges.target])
        edges = edges.where(inside)
        kept = cyclic[source] & (label[source] == label[target])
        source, target = source[kept], target[kept]
        # Numbers of their own, so that the size of what is cyclic counts, and not that of the history.
        self.vertices = np.flatnonzero(cyclic)
        place = np.full(many, -1)
        place[self.vertices] = np.arange(len(self.vertices))
        self.edges = Edges(place[edges.source], place[edges.target], edges.kind, edges.scope, edges.key, edges.row)
        self.times = place[source], place[target]
        self.component = label[self.vertices]
        self.told = np.zeros(len(self.vertices), np.bool_)
        self.cycles_at: defaultdict[int, list[int]] = defaultdict(list)
        self.suspicious = {level: np.zeros(len(self.vertices), np.bool_) for level in LEVELS}
        for row, ruled in suspects.items():
            if place[row] >= 0:
                for level in stronger(ruled):
                    self.suspicious[level][place[row]] = True
        self.real = self.vertices < len(history)
        rows = np.where(self.real, self.vertices, 0)
        self.invoked = np.where(self.real, history.invoked[rows], NEVER) if len(history) else np.empty(0, np.int64)
        self.completed = np.where(self.real, history.completed[rows], NEVER) if len(history) else np.empty(0, np.int64)
        self.process = np.where(self.real, history.process[rows], -1) if len(history) else np.empty(0, np.int64)

    def parts(self, edges: int) -> list[_Search]:
        """Searches that together find what this one does: of whole components, with about so many edges each."""
        _, first, component = np.unique(self.component, return_index=True, return_inverse=True)
        size = np.bincount(component[self.edges.source], minlength=len(first))
        order = np.argsort(first)
        part = np.empty(len(first), np.int64)
        part[order] = np.maximum(np.cumsum(size[order]) - 1, 0) // edges
        return [self._part(part[component] == number) for number in np.unique(part)]

    def _part(self, chosen: Flags) -> _Search:
        """The search of the chosen vertices, which are whole components."""
        part = _Search(self.budget, self.levels)
        place = np.cumsum(chosen) - 1
        edges = self.edges.where(chosen[self.edges.source])
        part.edges = Edges(place[edges.source], place[edges.target], edges.kind, edges.scope, edges.key, edges.row)
        source, target = self.times
        part.times = place[source[chosen[source]]], place[target[chosen[source]]]
        part.told, part.cycles_at = np.zeros(int(chosen.sum()), np.bool_), defaultdict(list)
        part.suspicious = {level: marks[chosen] for level, marks in self.suspicious.items()}
        for name in ("vertices", "component", "real", "invoked", "completed", "process"):
            setattr(part, name, getattr(self, name)[chosen])
        return part

    # One level.

    def judge(self, level: Level) -> bool:
        """Search the cycles against one level; whether there is one, explained before or not."""
        self.budget.check()
        rule = RULES[level]
        product = _Product(self, rule, rule.shape)
        refuted = False
        for component in product.components():
            refuted = True
            self.proven.add(level)
            if not self._explained(component, level):
                self._report(level, product.cheapest(component, self.budget))
            else:
                self._shorten(component, level, product)
        if rule.path:
            refuted |= self._judge_single(level, rule)
        return refuted

    def refutes(self, level: Level) -> bool:
        """Whether there is a cycle against one level, whichever. Raises `Exhausted`."""
        rule = RULES[level]
        if next(_Product(self, rule, rule.shape).components(), None) is not None:
            return True
        if not rule.path:
            return False
        product = _Product(self, rule, "alternating")
        return any(product.cheapest_single(one, rule.path, self.budget) for one in product.components())

    def _judge_single(self, level: Level, rule: Rule) -> bool:
        """Cycles with one `rw` and a way back as the rule's path says."""
        product = _Product(self, rule, "alternating")
        refuted = False
        for component in product.components():
            if self._explained(component, level):
                refuted = True
                continue
            cycle = product.cheapest_single(component, rule.path, self.budget)
            if cycle:
                refuted = True
                self._report(level, cycle)
        return refuted

    def _report(self, level: Level, edges: tuple[Edge, ...]) -> None:
        own = self.vertices
        for edge in edges:
            self.told[edge.source] = True
            self.cycles_at[edge.source].append(len(self.cycles))
        self.cycles.append(Cycle(level, tuple(
            edge._replace(source=int(own[edge.source]), target=int(own[edge.target])) for edge in edges
        )))

    def _explained(self, component: Ints, level: Level) -> bool:
        """Whether a cycle that rules out a weaker level, or a transaction that does, is part of the component."""
        return bool(self.suspicious[level][component].any()) or bool(self._known(component, level))

    def _known(self, component: Ints, level: Level) -> list[Cycle]:
        """The cycles inside a component that are known to be against a level."""
        implied = weaker(level)
        known = {at for vertex in component[self.told[component]].tolist() for at in self.cycles_at[vertex]}
        if not known:
            return []
        members = set(self.vertices[component].tolist())
        return [
            self.cycles[at] for at in sorted(known)
            if all(edge.source in members for edge in self.cycles[at].edges)
            and (self.cycles[at].level in implied or violates(self.cycles[at].edges, level))
        ]

    def _shorten(self, component: Ints, level: Level, product: _Product) -> None:
        """Report a cycle of two edges, as of what time alone orders, where all that are known are longer: a weaker level may
        take many transactions to refute, of which nobody sees at a glance what is wrong."""
        known = self._known(component, level)
        if known and all(len(cycle.edges) > 2 for cycle in known):
            pair = product.pair(component, REALTIME in product.rule.kinds)
            if pair is not None:
                self._report(level, pair[1])


class _Product:
    """The cyclic part of the graph, with a state at each vertex: whether an `rw` may not follow (in `prefix`: may)."""

    def __init__(self, search: _Search, rule: Rule, shape: Shape) -> None:
        self.search = search
        self.rule = rule
        self.shape = shape
        kinds = rule.kinds if shape == "plain" else (*rule.kinds, RW)
        self.edges = search.edges.where(search.edges.of_kinds(kinds, rule.scopes))
        self.many = len(search.vertices)
        self.states = 2 if shape in ("alternating", "prefix") else 1
        order = np.argsort(self.edges.source, kind="stable")
        self.edges = self.edges.where(order)
        self.begin = np.searchsorted(self.edges.source, np.arange(self.many + 1))
        self.neighbours: dict[int, list[tuple[int, int, int, int, int]]] = {}

    def _steps(self, kind: int, state: int) -> int:
        """The state behind an edge of that kind, -1 where it may not follow."""
        if self.shape == "alternating":
            return 0 if kind != RW else 1 if state == 0 else -1
        if self.shape == "prefix":
            if kind == RW:
                return 0 if state else -1
            return 0 if kind == WW else 1
        return 0

    def _leaving(self, vertex: int) -> list[tuple[int, int, int, int, int]]:
        """The edges from a vertex as plain numbers: place, target, kind, key, row."""
        found = self.neighbours.get(vertex)
        if found is None:
            e, part = self.edges, slice(self.begin[vertex], self.begin[vertex + 1])
            found = self.neighbours[vertex] = list(zip(
                range(part.start, part.stop), e.target[part].tolist(), e.kind[part].tolist(), e.key[part].tolist(),
                e.row[part].tolist(), strict=True,
            ))
        return found

    def components(self) -> Iterator[Ints]:
        """The vertices of every cyclic component, each once; those of the time's chain left out."""
        source, target = [], []
        for state in range(self.states):
            for kind in range(REALTIME):
                after = self._steps(kind, state)
                if after >= 0:
                    chosen = self.edges.kind == kind
                    source.append(self.edges.source[chosen] + state * self.many)
                    target.append(self.edges.target[chosen] + after * self.many)
            if REALTIME in self.rule.kinds:
                chain_source, chain_target = self.search.times
                source.append(chain_source + state * self.many)
                target.append(chain_target)
        cyclic, label = is_cyclic(np.concatenate(source), np.concatenate(target), self.many * self.states)
        chosen_vertices = np.flatnonzero(cyclic)
        order = chosen_vertices[np.argsort(label[chosen_vertices], kind="stable")]
        if not len(order):
            return
        for part in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
            members = np.unique(part % self.many)
            members = members[self.search.real[members]]
            if len(members):
                yield members

    def cheapest(self, component: Ints, budget: Budget) -> tuple[Edge, ...]:
        """The cycle with the fewest edges inside a component; where time is up before all were compared, the best so far.
        Raises `Exhausted` where there is none by then."""
        members = set(component.tolist())
        timed = REALTIME in self.rule.kinds
        best = self.pair(component, timed)
        if timed:
            # Before a late one many others had completed: from there the way is short.
            component = component[np.argsort(-self.search.invoked[component], kind="stable")]
        # There is none of two edges: three are the fewest; of a ring it is all.
        fewest = 2 if best is not None else 3
        inside = np.zeros(self.many, np.bool_)
        inside[component] = True
        if not timed and np.count_nonzero(inside[self.edges.source] & inside[self.edges.target]) == len(component):
            fewest = len(component)
        try:
            for vertex, state in ((vertex, state) for vertex in component.tolist() for state in range(self.states)):
                if best is not None and len(best[1]) <= fewest:
                    break
                budget.check()
                found = self._from(vertex, state, members, timed, best[0] if best else 1 << 60, budget)
                if found and (best is None or found[0] < best[0]):
                    if best is None:
                        budget = budget.within(max(_PATIENCE, _PATIENT_SHARE * budget.left))
                    best = found
        except Exhausted:
            if best is None:
                raise
            told = f"{len(component):,} transactions depend on each other in circles: that of {len(best[1])} that is told may"
            self.search.limits.append(f"{told} not be the shortest")
        if best is None:
            raise Exhausted(budget.limit)
        return best[1]

    def pair(self, component: Ints, timed: bool) -> tuple[int, tuple[Edge, ...]] | None:
        """The cheapest cycle of two edges inside a component, found for all at once."""
        edges, search = self.edges, self.search
        inside = np.zeros(self.many, np.bool_)
        inside[component] = True
        mine = np.flatnonzero(inside[edges.source] & inside[edges.target])
        preference = np.array([_PREFERENCE[kind] for kind in range(len(_PREFERENCE))])
        found: list[tuple[int, tuple[Edge, ...]]] = []
        if timed:
            back = mine[search.completed[edges.target[mine]] < search.invoked[edges.source[mine]]]
            if len(back):
                at = int(back[np.argmin(preference[edges.kind[back]])])
                edge = self._edge(at)
                closing = Edge(edge.target, edge.source, REALTIME, ALWAYS, -1, -1)
                found.append((2 * _COST + _PREFERENCE[edge.kind] + _PREFERENCE[REALTIME], (edge, closing)))
        there = edges.source[mine] * self.many + edges.target[mine]
        again = edges.target[mine] * self.many + edges.source[mine]
        order = np.argsort(there, kind="stable")
        low, high = np.searchsorted(there[order], again), np.searchsorted(there[order], again, side="right")
        for at in np.flatnonzero(high > low)[:_PAIRS].tolist():
            for other in order[low[at] : high[at]].tolist():
                first, second = int(edges.kind[mine[at]]), int(edges.kind[mine[other]])
                state = self._steps(first, 0)
                if self.shape == "prefix" and RW in (first, second):
                    fits = {first, second} <= {RW, WR, PROCESS} and first != second
                else:
                    fits = state >= 0 and not (self.shape == "alternating" and first == second == RW)
                if fits:
                    cost = 2 * _COST + _PREFERENCE[first] + _PREFERENCE[second]
                    # What follows from time alone is told by the order of time itself, where that shows it as shortly.
                    cost += len(_PREFERENCE) * int((edges.scope[mine[[at, other]]] == TIMES).sum())
                    found.append((cost, (self._edge(int(mine[at])), self._edge(int(mine[other])))))
        return min(found, key=lambda one: one[0], default=None)

    def _from(
        self, start: int, first: int, members: set[int], timed: bool, most: int, budget: Budget
    ) -> tuple[int, tuple[Edge, ...]] | None:
        """The cheapest way from a vertex and state back to it, cheaper than `most`. Of the order of time one edge is enough:
        of two, one could be left out, because time orders intervals."""
        search = self.search
        steps = [[self._steps(kind, state) for state in range(self.states)] for kind in range(len(_PREFERENCE))]
        begun = int(search.invoked[start])
        cost: dict[tuple[int, int], int] = {(start, first): 0}
        back: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
        queue: list[tuple[int, int, int]] = [(0, start, first)]
        looked = 0
        while queue:
            spent, vertex, state = heapq.heappop(queue)
            if spent > cost[vertex, state] or spent >= most:
                continue
            looked += 1
            if looked % 1024 == 0:
                budget.check()
            over = timed and first == 0 and vertex != start and search.completed[vertex] < begun
            if over and spent + _COST + REALTIME < most:
                closing = Edge(vertex, start, REALTIME, ALWAYS, -1, -1)
                return spent + _COST + REALTIME, (*self._way(back, (vertex, state), (start, first)), closing)
            for at, other, kind, _, _ in self._leaving(vertex):
                after = steps[kind][state]
                if after < 0 or other not in members:
                    continue
                total = spent + _COST + _PREFERENCE[kind]
                if total >= most:
                    continue
                if other == start and after == first:
                    whole = (*self._way(back, (vertex, state), (start, first)), self._edge(at))
                    # A dearer one may have been pushed before: all that is left in the queue costs at least `spent`.
                    most = total
                    best = total, whole
                    cost[start, -1] = total
                    back[start, -1] = (vertex, state), at
                    continue
                if total < cost.get((other, after), 1 << 60):
                    cost[other, after] = total
                    back[other, after] = (vertex, state), at
                    heapq.heappush(queue, (total, other, after))
        return best if (start, -1) in cost else None

    def cheapest_single(self, component: Ints, path: Path, budget: Budget) -> tuple[Edge, ...] | None:
        """A cycle with one `rw` and the way back that `path` asks for, a short one; None where there is none. Raises
        `Exhausted`."""
        best: tuple[int, tuple[Edge, ...]] | None = None
        members = set(component.tolist())
        edges = self.edges
        inside = np.zeros(self.many, np.bool_)
        inside[component] = True
        chosen = np.flatnonzero((edges.kind == RW) & inside[edges.source] & inside[edges.target])
        try:
            for at in chosen.tolist():
                found = self._way_back(at, path, members, best[0] if best else 1 << 60, budget)
                if found and (best is None or found[0] < best[0]):
                    if best is None:
                        budget = budget.within(_PATIENCE)
                    best = found
                    if best[0] < 2 * _COST + _COST // 2:
                        break
        except Exhausted:
            if best is None:
                raise
        return best[1] if best else None

    def _way_back(
        self, anti: int, path: Path, members: set[int], most: int, budget: Budget
    ) -> tuple[int, tuple[Edge, ...]] | None:
        """The cheapest cycle that begins with that `rw`. State 0: still on later versions of its key, 1: on the way back,
        2: on a way inside the process."""
        edges = self.edges
        goal, key, row = int(edges.source[anti]), int(edges.key[anti]), int(edges.row[anti])
        start = int(edges.target[anti]), 0
        spent0 = _COST + _PREFERENCE[RW]
        cost: dict[tuple[int, int], int] = {start: spent0}
        back: dict[tuple[int, int], tuple[tuple[int, int], int]] = {}
        queue: list[tuple[int, int, int]] = [(spent0, *start)]
        budget.check()
        looked = 0
        while queue:
            looked += 1
            if looked % 1024 == 0:
                budget.check()
            spent, vertex, state = heapq.heappop(queue)
            if spent > cost[vertex, state] or spent >= most:
                continue
            if vertex == goal:
                if state == 0:
                    continue  # It installed a later version itself: no way back, but a write of its own.
                return spent, (self._edge(anti), *self._way(back, (vertex, state), start))
            for at, other, kind, of, read in self._leaving(vertex):
                if kind == RW or other not in members:
                    continue
                after = _after(path, state, kind, of == key, other == goal, read < row)
                if after < 0:
                    continue
                total = spent + _COST + _PREFERENCE[kind]
                if total < cost.get((other, after), most):
                    cost[other, after] = total
                    back[other, after] = (vertex, state), at
                    heapq.heappush(queue, (total, other, after))
        return None

    def _way(
        self, back: dict[tuple[int, int], tuple[tuple[int, int], int]], end: tuple[int, int], start: tuple[int, int]
    ) -> list[Edge]:
        way = []
        while end != start:
            end, at = back[end]
            way.append(self._edge(at))
        return way[::-1]

    def _edge(self, at: int) -> Edge:
        e = self.edges
        return Edge(int(e.source[at]), int(e.target[at]), int(e.kind[at]), int(e.scope[at]), int(e.key[at]), int(e.row[at]))


_COST = 100
_PAIRS = 10_000
"""How many edges that have one in the other direction are looked at."""

_PATIENCE = 0.25
"""Seconds in which a cheaper cycle than the first one is searched, at least."""

_PATIENT_SHARE = 0.05
"""The share of the time that is left in which it is, where that is longer."""

_PREFERENCE = {WR: 0, WW: 1, PROCESS: 2, RW: 3, REALTIME: 4}
"""Of two cycles with as many edges the one that needs less belief is told."""


def _after(path: Path, state: int, kind: int, same_key: bool, home: bool, earlier: bool) -> int:
    """The state of the way back behind an edge, -1 where it may not follow."""
    if path == "any":
        return 1
    if state == 0 and kind == WW and same_key and not home:
        return 0
    if path == "earlier-read":
        return 1 if kind == WR and state == 0 and home and earlier else -1
    if path == "read":
        return 1 if kind == WR and state == 0 and home else -1
    if path == "read-or-session":
        if kind == WR and state == 0 and home:
            return 1
        return 2 if kind == PROCESS and state in (0, 2) else -1
    return 1 if kind in (WR, PROCESS) else -1
