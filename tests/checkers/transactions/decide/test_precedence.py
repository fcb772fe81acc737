"""The graph of who comes before whom, against networkx."""

from __future__ import annotations

import random

import networkx as nx
import numpy as np

from splitbrain.checkers.budget import FOREVER
from splitbrain.checkers.transactions.decide.precedence import RW, Edges, Graph, cheap_cycles, components


def some_edges(rng: random.Random, vertices: int, count: int) -> Edges:
    ends = [(rng.randrange(vertices), rng.randrange(vertices)) for _ in range(count)]
    literals = [rng.choice((0, 1)) * rng.randrange(1, 50) for _ in ends]
    return Edges.of([one for one, _ in ends], [other for _, other in ends], RW, -1, literals)


def test_a_graph_is_in_order_exactly_where_it_has_no_cycle() -> None:
    kinds = set()
    for seed in range(200):
        rng = random.Random(seed)
        vertices = rng.randrange(1, 12)
        edges = some_edges(rng, vertices, rng.randrange(vertices + 4))
        whole: nx.MultiDiGraph[int] = nx.MultiDiGraph()
        whole.add_nodes_from(range(vertices))
        whole.add_edges_from(zip(edges.source.tolist(), edges.target.tolist(), strict=True))
        graph = Graph(vertices, edges, FOREVER)
        assert graph.cyclic == (not nx.is_directed_acyclic_graph(whole))
        kinds.add(graph.cyclic)
        if not graph.cyclic:
            place = np.argsort(graph.order)
            assert sorted(graph.order.tolist()) == list(range(vertices))
            assert (place[edges.source] < place[edges.target]).all()
    assert kinds == {False, True}


def test_the_cycle_that_an_edge_closes_takes_the_fewest_choices() -> None:
    told = 0
    for seed in range(100):
        rng = random.Random(seed)
        vertices = rng.randrange(2, 12)
        edges = some_edges(rng, vertices, 2 * vertices)
        group = components(vertices, edges)[0].astype(np.int64)
        closing = edges.take((group[edges.source] == group[edges.target]) & (edges.literal != 0))
        inside: nx.DiGraph[int] = nx.DiGraph()
        for source, target, literal in zip(edges.source.tolist(), edges.target.tolist(), edges.literal.tolist(), strict=True):
            cost = min(int(literal != 0), inside.edges[source, target]["cost"] if inside.has_edge(source, target) else 1)
            inside.add_edge(source, target, cost=cost)
        cycles = cheap_cycles(vertices, edges, closing, group, FOREVER)
        assert [len(cycle) for cycle in cycles] == sorted(len(cycle) for cycle in cycles)
        for cycle in cycles:
            told += 1
            assert [step.target for step in cycle] == [step.source for step in (*cycle[1:], cycle[0])]
            back = nx.shortest_path_length(inside, cycle[0].target, cycle[0].source, weight="cost")
            assert sum(step.literal != 0 for step in cycle[1:]) == back
        assert bool(cycles) == bool(len(closing))
    assert told > 100
