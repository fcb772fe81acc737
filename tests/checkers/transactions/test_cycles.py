"""The search of cycles against the obvious one, on small graphs of dependencies."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain import Operation
from splitbrain.checkers.anomalies import place
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import cycles
from splitbrain.checkers.transactions.cycles import RULES, Cycle, Edge, Rule
from splitbrain.checkers.transactions.graph import ALWAYS, CAUSAL, PROCESS, READS, REALTIME, RW, SESSION, TIMES, WR, WW, Edges
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.lattice import Level, stronger
from splitbrain.harness.history.history import History

Pairs = set[tuple[int, int]]
MOST = 6

edges_of = st.lists(
    st.builds(
        Edge,
        source=st.integers(0, MOST - 1), target=st.integers(0, MOST - 1), kind=st.sampled_from([WW, WR, RW]),
        scope=st.sampled_from([ALWAYS, ALWAYS, READS, TIMES]), key=st.integers(0, 1), row=st.integers(0, 3),
    ),
    max_size=9,
)
spans = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5), st.integers(0, 2)), min_size=MOST, max_size=MOST)


def inference(edges: list[Edge], times: list[tuple[int, int, int]]) -> Inference:
    """Transactions with these edges and nothing else; each with a begin, a duration and a process."""
    history = History.of([
        Operation(process=process, f="txn", value=(("r", 0, None),), invoked=begin, completed=begin + span)
        for begin, span, process in sorted(times, key=lambda one: one[0])
    ])
    assert history.micros is not None
    columns = np.array([(e.source, e.target, e.kind, e.scope, e.key, e.row) for e in edges], np.int64).reshape(-1, 6).T
    chosen = Edges(columns[0], columns[1], columns[2].astype(np.int8), columns[3].astype(np.int8), columns[4], columns[5])
    chosen = chosen.where(chosen.source != chosen.target)
    none = np.full(len(history.micros.f), -1)
    no = np.zeros(len(none), np.bool_)
    return Inference(history, history.micros, np.ones(len(history), np.bool_), chosen, no, none, no, none, none, True)


def everything(given: Inference) -> list[Edge]:
    """All edges, those of processes and of time between all pairs."""
    e, history = given.edges, given.history
    found = [Edge(*map(int, one)) for one in zip(e.source, e.target, e.kind, e.scope, e.key, e.row, strict=True)]
    for i, j in product(range(len(history)), repeat=2):
        if i < j and history.process[i] == history.process[j]:
            found.append(Edge(i, j, PROCESS, ALWAYS, -1, -1))
        if history.completed[i] < history.invoked[j]:
            found.append(Edge(i, j, REALTIME, ALWAYS, -1, -1))
    return found


def closed(pairs: Pairs) -> Pairs:
    """The transitive closure."""
    found = set(pairs)
    for middle, i, j in product(range(MOST), repeat=3):
        if (i, middle) in found and (middle, j) in found:
            found.add((i, j))
    return found


def cyclic(pairs: Pairs) -> bool:
    return any(i == j for i, j in closed(pairs))


def then(first: Pairs, second: Pairs) -> Pairs:
    """One of the first and then one of the second, or one of the first alone."""
    return first | {(i, k) for i, j in first for j2, k in second if j == j2}


def against(edges: list[Edge], rule: Rule) -> bool:
    """Whether the relation of a level has a cycle, by its definition over pairs."""
    edges = [edge for edge in edges if edge.scope in rule.scopes and edge.kind in (*rule.kinds, RW)]

    def of(*kinds: int) -> Pairs:
        return {(edge.source, edge.target) for edge in edges if edge.kind in kinds}

    ordered, anti = of(*rule.kinds), of(RW)
    if rule.shape == "any":
        return cyclic(ordered | anti)
    if rule.shape == "alternating":
        return cyclic(then(ordered, anti))
    if rule.shape == "prefix":
        return cyclic(then(of(WR, PROCESS), anti) | of(WW))
    if cyclic(ordered):
        return True
    for missed in (edge for edge in edges if edge.kind == RW) if rule.path else ():
        of_key = [e for e in edges if e.kind == WW and e.key == missed.key and e.target != missed.source]
        later = closed({(e.source, e.target) for e in of_key})
        writers = {missed.target} | {j for i, j in later if i == missed.target}
        for writer in writers:
            back = (writer, missed.source)
            ways = {
                "any": back in closed(ordered),
                "visible": back in closed(of(WR, PROCESS)),
                "read": back in of(WR),
                "read-or-session": back in of(WR) or back in closed(of(PROCESS)),
                "earlier-read": any(
                    (e.source, e.target) == back and e.kind == WR and e.row < missed.row for e in edges
                ),
            }
            if ways[rule.path]:
                return True
    return False


@pytest.mark.servers  # as long as one
@settings(max_examples=400, deadline=None)
@given(edges_of, spans)
def test_every_level_is_refuted_where_its_relation_has_a_cycle(edges: list[Edge], times: list[tuple[int, int, int]]) -> None:
    told = inference(edges, times)
    whole = everything(told)
    found = cycles.search(told, Budget.of(30))
    refuted = {above for level in found.refuted for above in stronger(level)}
    expected = {above for level, rule in RULES.items() if against(whole, rule) for above in stronger(level)}
    # Wherever a weaker level is refuted, so is every stronger one; the rules alone say that only where edges are of all scopes.
    assert refuted == expected
    assert not found.undecided
    for cycle in found.cycles:
        assert [edge.target for edge in cycle.edges] == [edge.source for edge in (*cycle.edges[1:], cycle.edges[0])]
        pairs = {(e.source, e.target, e.kind) for e in whole}
        assert all((edge.source, edge.target, edge.kind) in pairs for edge in cycle.edges)
        assert against(list(cycle.edges), RULES[cycle.level])


@pytest.mark.servers  # as long as one
@settings(max_examples=200, deadline=None)
@given(edges_of, spans)
def test_the_cycle_that_is_told_is_a_shortest_one(edges: list[Edge], times: list[tuple[int, int, int]]) -> None:
    level: Level = "serializable"
    told = inference(edges, times)
    only = told.edges.where(told.edges.of_kinds((WW, WR, RW), RULES[level].scopes))
    pairs = set(zip(only.source.tolist(), only.target.tolist(), strict=True))
    search = cycles.search(told, Budget.of(30))
    walks, length = set(pairs), 1
    while walks and not any(i == j for i, j in walks) and length <= MOST:
        walks = {(i, k) for i, j in walks for j2, k in pairs if j == j2}
        length += 1
    mine = [cycle for cycle in search.cycles if cycles.violates(cycle.edges, level)]
    if any(i == j for i, j in walks) and mine:
        assert min(len(cycle.edges) for cycle in mine) >= length
        serial = [cycle for cycle in mine if cycle.level == level]
        assert len(serial) != 1 or len(mine) != 1 or len(serial[0].edges) == length


def test_two_transactions_against_time_are_told_beside_a_long_cycle_of_clients() -> None:
    """Three clients make two transactions each, the second of which is read by the next client's first, before it began."""
    times = [(0, 1, client) for client in range(3)] + [(5, 1, client) for client in range(3)]
    reads = [Edge(source, target, WR, ALWAYS, 0, 0) for source, target in ((3, 1), (4, 2), (5, 0))]
    found = cycles.search(inference(reads, times), Budget.of(30))
    told = {cycle.identifier: len(cycle.edges) for cycle in found.cycles}
    assert told == {"G1c-process": 6, "G1c-realtime": 2}
    # It is not told where a short one is known.
    short = [Edge(3, 0, WR, ALWAYS, 0, 0)]
    found = cycles.search(inference(short, times), Budget.of(30))
    assert [cycle.identifier for cycle in found.cycles] == ["G1c-process"]


@pytest.mark.parametrize(("level", "edges", "name"), [
    ("read-uncommitted", [(WW, ALWAYS), (WW, ALWAYS)], "G0"),
    ("strong-snapshot-isolation", [(WW, ALWAYS), (REALTIME, ALWAYS)], "G0-realtime"),
    # Which version came first is known from what had been read before it: one that read the other one's later missed it.
    ("strong-snapshot-isolation", [(WW, TIMES), (REALTIME, ALWAYS)], "G-single-realtime"),
    # Who wrote upon what it had read, read from the other one, or was overwritten by it.
    ("strong-snapshot-isolation", [(WW, READS), (REALTIME, ALWAYS)], "G1c-realtime"),
    ("read-committed-session", [(WW, ALWAYS), (PROCESS, ALWAYS)], "G0-process"),
    ("read-committed-session", [(WW, SESSION), (WW, ALWAYS)], "G0-process"),
    ("read-committed-session", [(WW, SESSION), (WW, READS)], "G1c-process"),
    ("causal", [(WW, CAUSAL), (WW, ALWAYS)], "G-single-process"),
    ("read-committed", [(WW, ALWAYS), (WR, ALWAYS)], "G1c"),
    ("read-atomic", [(WR, ALWAYS), (RW, ALWAYS)], "G-single"),
    ("strong-snapshot-isolation", [(RW, TIMES), (REALTIME, ALWAYS)], "G-single-realtime"),
    ("serializable", [(RW, ALWAYS), (RW, ALWAYS)], "G2-item"),
])
def test_every_cycle_has_the_name_of_its_dependencies(level: Level, edges: list[tuple[int, int]], name: str) -> None:
    """Of two transactions, whose writes that depend on each other are of different keys."""
    cycle = Cycle(level, tuple(Edge(at, 1 - at, kind, scope, at, -1) for at, (kind, scope) in enumerate(edges)))
    assert cycle.identifier == name


def test_a_long_cycle_stands_behind_a_short_one_of_any_level() -> None:
    assert place("G1c-realtime", 2) < place("G1c-process", 6) < place("G1c-process", 7)
    assert place("G1c-process", 3) < place("G1c-realtime", 2)
    assert place("lost-update", 2) < place("G0", 2)
    assert place("internal", 0) < place("G2-item-realtime", 9) < place("long-fork", 4)
