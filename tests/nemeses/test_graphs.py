"""What the nemeses cut, as graphs."""

from __future__ import annotations

import random
from importlib.metadata import entry_points
from itertools import pairwise

import msgspec
import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.fault import Cut
from splitbrain.harness.history.sides import sides
from splitbrain.harness.plan import Plan
from splitbrain.harness.schedules import interval
from splitbrain.harness.testbeds.testbed import Connectivity, everything
from splitbrain.nemeses import partitions
from splitbrain.nemeses.nemesis import NoTarget, Outlook
from splitbrain.nemeses.partitions import Partition
from splitbrain.nemeses.roles import majority

ALL: list[type[Partition]] = [
    partitions.Nothing,
    partitions.FourPartitions,
    partitions.Halves,
    partitions.OneNode,
    partitions.PartitionPrimary,
    partitions.PrimaryWithMajority,
    partitions.MajoritiesRing,
    partitions.Bridge,
    partitions.OneWay,
    partitions.EveryoneAlone,
    partitions.Isolate,
    partitions.Rolling,
    partitions.TwoBridges,
    partitions.Star,
    partitions.Chain,
    partitions.RandomParts,
]


def names(count: int, primary: int = 1) -> tuple[str, ...]:
    return (f"n{primary}", *(f"n{number}" for number in range(1, count + 1) if number != primary))


def lost(graph: Connectivity) -> set[tuple[str, str]]:
    """The links that are not in a graph."""
    return set(everything(graph).edges) - set(graph.edges)


def parts(graph: Connectivity) -> tuple[tuple[str, ...], ...]:
    """The sides that a graph leaves."""
    return sides(tuple(graph), lost(graph))


def graphs(nemesis: Partition, order: tuple[str, ...], seed: int = 0) -> dict[str, Connectivity]:
    rng = random.Random(seed)
    return {scenario: nemesis.graph(scenario, order, rng) for scenario in nemesis.scenarios(len(order))}


def seen(graph: Connectivity, name: str) -> set[str]:
    return {name, *graph.predecessors(name)} & {name, *graph.successors(name)}


counts = st.integers(2, 11)


def test_every_class_is_registered_under_its_name() -> None:
    registered = {point.name: point.value for point in entry_points(group="splitbrain.nemeses")}
    assert registered == registered | {kind.name: f"splitbrain.nemeses.partitions:{kind.__name__}" for kind in ALL}


@pytest.mark.parametrize("kind", ALL)
@given(count=counts, seed=st.integers(0, 1000), primary=st.integers(1, 11))
def test_every_scenario_cuts_something_and_only_between_the_nodes(
    kind: type[Partition], count: int, seed: int, primary: int
) -> None:
    nemesis = kind()
    if count < nemesis.minimum_nodes():
        return
    order = names(count, min(primary, count))
    scenarios = nemesis.scenarios(count)
    assert len(set(scenarios)) == len(scenarios)
    for graph in graphs(nemesis, order, seed).values():
        assert set(graph) == set(order)
        assert set(graph.edges) < set(everything(order).edges)


@given(st.integers(1, 7).flatmap(lambda count: st.sets(st.sampled_from(sorted(everything(names(count)).edges) or [None]))))
def test_sides_are_the_mutually_reachable(cut: set[tuple[str, str] | None]) -> None:
    graph = everything(names(7))
    graph.remove_edges_from([link for link in cut if link])
    found = parts(graph)
    assert sorted(name for part in found for name in part) == sorted(graph)
    assert [len(part) for part in found] == sorted((len(part) for part in found), reverse=True)
    where = {name: part for part in found for name in part}
    for a in graph:
        for b in graph:
            assert (where[a] == where[b]) == (nx.has_path(graph, a, b) and nx.has_path(graph, b, a))


def test_sides_are_in_the_order_of_the_nodes() -> None:
    assert parts(partitions.apart(names(11), ["n10", "n9", "n2"], ["n11", "n1", "n3"])) == (
        ("n1", "n3", "n11"),
        ("n2", "n9", "n10"),
        *(((name,)) for name in ("n4", "n5", "n6", "n7", "n8")),
    )


def test_four_partitions_of_five() -> None:
    found = graphs(partitions.FourPartitions(), names(5, primary=3))
    assert {scenario: parts(graph) for scenario, graph in found.items()} == {
        "1|4": (("n1", "n2", "n4", "n5"), ("n3",)),
        "2|3": (("n2", "n4", "n5"), ("n1", "n3")),
        "3|2": (("n1", "n2", "n3"), ("n4", "n5")),
        "1|1|1|1|1": (("n1",), ("n2",), ("n3",), ("n4",), ("n5",)),
    }


@pytest.mark.parametrize(
    ("count", "scenarios"),
    [
        (2, ["1|1"]),
        (3, ["1|2", "2|1", "1|1|1"]),
        (4, ["1|3", "2|2", "3|1", "1|1|1|1"]),
        (6, ["1|5", "3|3", "4|2", "1|1|1|1|1|1"]),
        (7, ["1|6", "3|4", "4|3", "1|1|1|1|1|1|1"]),
    ],
)
def test_four_partitions_of_others(count: int, scenarios: list[str]) -> None:
    assert list(partitions.FourPartitions().scenarios(count)) == scenarios


@given(counts, st.integers(0, 1000))
def test_halves(count: int, seed: int) -> None:
    (graph,) = graphs(partitions.Halves(), names(count), seed).values()
    assert [len(side) for side in parts(graph)] == [count - count // 2, count // 2]
    assert any(len(side) >= majority(count) for side in parts(graph)) == (count % 2 == 1)


@given(st.integers(3, 11), st.integers(0, 1000))
def test_the_primary_with_a_majority(count: int, seed: int) -> None:
    (graph,) = graphs(partitions.PrimaryWithMajority(), names(count, primary=2), seed).values()
    kept, rest = parts(graph)
    assert "n2" in kept and len(kept) == majority(count) and len(rest) == count - majority(count)


@given(st.integers(3, 11))
def test_the_primary_alone(count: int) -> None:
    (graph,) = graphs(partitions.PartitionPrimary(), names(count, primary=2)).values()
    assert [len(side) for side in parts(graph)] == [count - 1, 1]
    assert parts(graph)[1] == ("n2",)


@given(st.integers(4, 11), st.integers(0, 1000))
def test_in_the_ring_every_node_sees_a_majority_and_no_two_the_same(count: int, seed: int) -> None:
    (graph,) = graphs(partitions.MajoritiesRing(), names(count), seed).values()
    views = [frozenset(seen(graph, name)) for name in graph]
    assert all(len(view) >= majority(count) for view in views)
    assert len(set(views)) == count
    assert all(graph.has_edge(b, a) for a, b in graph.edges)


@given(st.integers(3, 11), st.integers(0, 1000))
def test_one_node_sees_both_halves(count: int, seed: int) -> None:
    (graph,) = graphs(partitions.Bridge(), names(count), seed).values()
    (bridge,) = [name for name in graph if len(seen(graph, name)) == count]
    graph.remove_node(bridge)
    assert [len(side) for side in parts(graph)] == [count // 2, (count - 1) // 2]


def test_one_way() -> None:
    found = graphs(partitions.OneWay(), names(3, primary=2))
    assert sorted(found["primary-deaf"].edges) == [("n1", "n3"), ("n2", "n1"), ("n2", "n3"), ("n3", "n1")]
    assert sorted(found["primary-mute"].edges) == [("n1", "n2"), ("n1", "n3"), ("n3", "n1"), ("n3", "n2")]
    assert all(parts(graph) == (("n1", "n3"), ("n2",)) for graph in found.values())


def test_random_ones_differ_with_the_seed_and_only_with_it() -> None:
    for kind in (partitions.Halves, partitions.OneNode, partitions.MajoritiesRing, partitions.Bridge):
        drawn = [next(iter(graphs(kind(), names(5), seed).values())) for seed in range(30)]
        again = [next(iter(graphs(kind(), names(5), seed).values())) for seed in range(30)]
        assert [set(graph.edges) for graph in drawn] == [set(graph.edges) for graph in again]
        assert len({frozenset(graph.edges) for graph in drawn}) > 2


def test_steps_follow_each_other_after_the_baseline() -> None:
    plan = Plan(database="reference", variant="majority", baseline=5, fault=8, between=5)
    steps = interval(plan)
    assert [step.scenario for step in steps] == ["1|4", "2|3", "3|2", "1|1|1|1|1"]
    assert steps[0].at == 5
    assert all(b.at - a.at == 13 and a.duration == 8 for a, b in pairwise(steps))
    assert interval(msgspec.structs.replace(plan, nemesis="none")) == ()


@given(st.integers(1, 7), st.data())
def test_sides_are_the_strongly_connected_parts(count: int, data: st.DataObject) -> None:
    """Who is out stays with its part, but where the network makes no parts or its own falls apart without it."""
    links = sorted(everything(names(count)).edges)
    cut = data.draw(st.sets(st.sampled_from(links))) if links else set()
    out = data.draw(st.sets(st.sampled_from(names(count))))
    graph = everything(names(count))
    graph.remove_edges_from(cut)
    parts = [frozenset(part) for part in nx.strongly_connected_components(graph)]
    expected: list[frozenset[str]] = []
    for part in parts:
        going = [frozenset(one) for one in nx.strongly_connected_components(graph.subgraph(part - out))]
        together = len(parts) > 1 and len(going) < 2
        expected += [part] if together else [*going, *(frozenset({node}) for node in part & out)]
    found = sides(names(count), cut, out)
    assert {frozenset(part) for part in found} == set(expected) and len(found) == len(expected)


@pytest.mark.parametrize("kind", ALL)
def test_what_is_aimed_at_is_what_is_not_in_the_graph(kind: type[Partition]) -> None:
    view = Outlook(names=names(5), primary="n3")
    for scenario, graph in graphs(kind(), names(5, primary=3), seed=4).items():
        if len(kind().scenarios(5)) == 1 or kind in (partitions.FourPartitions, partitions.OneWay, partitions.Rolling):
            (spec,) = kind().aim(scenario, view, random.Random(4))
            assert isinstance(spec, Cut) and set(spec.links) == lost(graph)


@pytest.mark.parametrize("named", [None, "n9"])
def test_without_a_primary_nothing_is_aimed_at(named: str | None) -> None:
    view = Outlook(names=names(5), primary=named)
    for kind in (partitions.PartitionPrimary, partitions.FourPartitions, partitions.PrimaryWithMajority, partitions.OneWay):
        with pytest.raises(NoTarget):
            kind().aim(kind().scenarios(5)[0], view, random.Random(1))
    assert partitions.Halves().aim("halves", view, random.Random(1))


def test_where_there_is_no_primary_at_all_any_node_stands_for_it() -> None:
    view = Outlook(names=names(3), leaderless=True)
    aimed = [partitions.PartitionPrimary().aim("primary-alone", view, random.Random(seed)) for seed in range(20)]
    assert len(set(aimed)) == 3


@pytest.mark.parametrize("count", [4, 5, 7])
def test_two_bridges_see_everyone_and_the_halves_do_not_see_each_other(count: int) -> None:
    graph = graphs(partitions.TwoBridges(), names(count))["two-bridges"]
    assert sorted(degree // 2 for _, degree in graph.degree())[-2:] == [count - 1, count - 1]
    rest = graph.subgraph([name for name, degree in graph.degree() if degree // 2 < count - 1])
    halves = list(nx.strongly_connected_components(rest)) if count > 4 else [{name} for name in rest]
    assert sorted(map(len, halves)) == [(count - 2) // 2, (count - 1) // 2]


def test_a_star_has_one_node_in_its_middle() -> None:
    found = graphs(partitions.Star(), names(5, primary=3))
    assert set(found["primary-in-the-middle"].edges) == {
        link for name in ("n1", "n2", "n4", "n5") for link in (("n3", name), (name, "n3"))
    }
    other = found["follower-in-the-middle"]
    (middle,) = (name for name, degree in other.degree() if degree == 8)
    assert middle != "n3" and other.number_of_edges() == 8


@pytest.mark.parametrize("count", [3, 5, 6])
def test_a_chain_is_connected_by_neighbours_alone(count: int) -> None:
    graph = graphs(partitions.Chain(), names(count))["chain"]
    assert nx.is_strongly_connected(graph) and graph.number_of_edges() == 2 * (count - 1)
    assert sorted(degree for _, degree in graph.degree()) == [2, 2, *[4] * (count - 2)]


def test_random_parts_are_as_many_as_said_and_of_every_size() -> None:
    sizes = set()
    for seed in range(40):
        for scenario, graph in graphs(partitions.RandomParts(), names(5), seed).items():
            assert len(parts(graph)) == int(scenario[0])
            assert set(graph.edges) == set(partitions.apart(names(5), *parts(graph)).edges)
            sizes.add(tuple(map(len, parts(graph))))
    assert sizes == {(4, 1), (3, 2), (3, 1, 1), (2, 2, 1)}


@pytest.mark.parametrize(("graph", "drawn"), [
    (everything(names(3)), "P 2 3"),
    (partitions.apart(names(5), names(5)[1:]), "P | 2 3 4 5"),
    (partitions.apart(names(5), ["n3", "n1", "n2"], ["n3", "n4", "n5"]), "P 2 3 | 3 4 5"),
    (partitions.apart(names(4), ["n1", "n2"], ["n2", "n3"], ["n3", "n4"]), "P 2 | 2 3 | 3 4"),
    (partitions.OneWay().graph("primary-deaf", names(3), random.Random(1)), "P | 2 3, P → 2 3"),
    (partitions.OneWay().graph("primary-mute", names(3), random.Random(1)), "P | 2 3, 2 → P, 3 → P"),
])
def test_a_graph_is_drawn_in_a_line(graph: Connectivity, drawn: str) -> None:
    assert partitions.picture(names(len(graph)), lost(graph)) == drawn


def test_every_node_is_alone_in_turn() -> None:
    found = graphs(partitions.Rolling(), names(4))
    assert [parts(graph)[1] for graph in found.values()] == [("n1",), ("n2",), ("n3",), ("n4",)]


def test_nodes_are_isolated_by_their_role() -> None:
    view = Outlook(names=names(5), primary="n2", last_primary="n4")
    for role, size in (("primary", 1), ("follower", 1), ("last-primary", 1), ("minority", 2), ("majority", 3)):
        (spec,) = partitions.Isolate().aim(role, view, random.Random(5))
        assert isinstance(spec, Cut)
        alone = next(side for side in sides(view.names, spec.links) if len(side) == size)
        assert ("n2" in alone) == (role == "primary") or size > 1
        assert (alone == ("n4",)) or role != "last-primary"
        assert len(spec.links) == 2 * size * (5 - size)
