"""Partitions: connectivity graphs, put in force and proven by probes.

A scenario is only a graph; everything else (when, on which testbed, how it is proven and undone) is `Partition`'s. The
names that a graph is made from are ordered: first the primary of the moment, then the others in order. Where the database
has no primary, any node stands for it.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice
from typing import ClassVar

import msgspec
import networkx as nx

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.testbeds.testbed import Connectivity, everything
from splitbrain.nemeses.nemesis import Cluster, Nemesis

PROVE_TIMEOUT = 1.0
"""How long packets that should pass are waited for, in seconds, before a fault is called wrong."""
HEAL_TIMEOUT = 2.0
"""The same after heal."""


class Partition(Nemesis):
    """A fault that cuts links and nothing else."""

    @abstractmethod
    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        """The links that stay up. `names` has the primary first."""

    async def start(self, fault: Fault, cluster: Cluster) -> Fault:
        """Cut, and probe every link. Raises `SetupError` where a node's firewall refuses."""
        first = cluster.primary if cluster.primary is not None else cluster.rng.choice(cluster.names)
        names = (first, *(name for name in cluster.names if name != first))
        before = everything(cluster.names)
        after = self.graph(fault.scenario, names, cluster.rng)
        applied = await cluster.apply(before, after)
        in_force = cluster.clock()
        reach = await cluster.testbed.probe(after, timeout=PROVE_TIMEOUT)
        wrong = reach.wrong(after)
        return msgspec.structs.replace(
            fault,
            in_force=in_force,
            proven=None if wrong else cluster.clock(),
            cut=tuple(sorted(set(before.edges) - set(after.edges))),
            observed_cut=reach.cut(),
            wrong=wrong,
            sides=sides(after),
            primary=cluster.primary,
            spread=applied.spread,
        )

    async def heal(self, fault: Fault, cluster: Cluster) -> Fault:
        """Probe that the fault held to its end (else it is wrong after all), put every link back, and probe them. The
        links are put back also where probing fails."""
        before = everything(cluster.names)
        before.remove_edges_from(fault.cut)
        after = everything(cluster.names)
        try:
            held = await cluster.testbed.probe(before, timeout=PROVE_TIMEOUT)
        finally:
            heal_began = cluster.clock()
            applied = await cluster.apply(before, after)
        reach = await cluster.testbed.probe(after, timeout=HEAL_TIMEOUT)
        wrong = reach.wrong(after)
        return msgspec.structs.replace(
            fault,
            wrong=tuple(sorted({*fault.wrong, *held.wrong(before)})),
            heal_began=heal_began,
            healed=None if wrong else cluster.clock(),
            heal_wrong=wrong,
            heal_spread=applied.spread,
        )


def sides(graph: Connectivity) -> tuple[tuple[str, ...], ...]:
    """The strongly connected parts, largest first, nodes in the graph's order.

    A node that only sends, or only receives, is a side of its own: it can take part in nothing.
    """
    order = {name: place for place, name in enumerate(sorted(graph, key=_natural))}
    parts = [tuple(sorted(part, key=order.__getitem__)) for part in nx.strongly_connected_components(graph)]
    return tuple(sorted(parts, key=lambda part: (-len(part), order[part[0]])))


def _natural(name: str) -> tuple[int, str]:
    return len(name), name


def majority(nodes: int) -> int:
    """The smallest number of nodes of which there cannot be two sides."""
    return nodes // 2 + 1


def apart(names: Iterable[str], *groups: Iterable[str]) -> Connectivity:
    """The links within each group; nodes that are in none are alone."""
    graph: Connectivity = nx.DiGraph()
    graph.add_nodes_from(names)
    for group in groups:
        graph.add_edges_from(everything(group).edges)
    return graph


class Nothing(Partition):
    """The control: what a database does when nothing goes wrong."""

    name: ClassVar[str] = "none"
    summary: ClassVar[str] = "no fault at all"

    def minimum_nodes(self) -> int:
        return 1

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ()

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return everything(names)


class FourPartitions(Partition):
    """The primary alone, with half of the nodes or one less, with the smallest majority; then everyone alone.

    On 5 nodes 1|4, 2|3, 3|2 and 1|1|1|1|1, the primary's side first: the experiment that CAPTester draws. Of small
    clusters those that are the same come once: on 3 nodes 1|2, 2|1 and 1|1|1.
    """

    name: ClassVar[str] = "four-partitions"
    summary: ClassVar[str] = "the primary with ever more nodes, then everyone alone (5 nodes: 1|4, 2|3, 3|2, 1|1|1|1|1)"

    def scenarios(self, nodes: int) -> Sequence[str]:
        sizes = sorted({1, nodes // 2, majority(nodes)} - {0, nodes})
        return tuple(dict.fromkeys([*(f"{size}|{nodes - size}" for size in sizes), "|".join("1" * nodes)]))

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        rest = iter(names)
        return apart(names, *(tuple(islice(rest, int(size))) for size in scenario.split("|")))


class Halves(Partition):
    """A random smallest majority against the rest; two equal halves, neither with a majority, where the number is even."""

    name: ClassVar[str] = "halves"
    summary: ClassVar[str] = "two random halves"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("halves",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        mixed = rng.sample(names, len(names))
        half = len(names) // 2
        return apart(names, mixed[:half], mixed[half:])


class OneNode(Partition):
    """A random node, the primary or another, against the rest."""

    name: ClassVar[str] = "one-node"
    summary: ClassVar[str] = "one random node alone"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("one-node",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        alone = rng.choice(names)
        return apart(names, [name for name in names if name != alone])


class PartitionPrimary(Partition):
    """The primary alone against the rest."""

    name: ClassVar[str] = "partition-primary"
    summary: ClassVar[str] = "the primary alone, the rest together"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary-alone",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return apart(names, names[1:])


class PrimaryWithMajority(Partition):
    """The primary in a smallest majority of random nodes, against the rest: nothing needs to fail over."""

    name: ClassVar[str] = "primary-with-majority"
    summary: ClassVar[str] = "the primary with a random smallest majority"

    def minimum_nodes(self) -> int:
        return 3

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary-with-majority",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        others = rng.sample(names[1:], len(names) - 1)
        kept = majority(len(names)) - 1
        return apart(names, [names[0], *others[:kept]], others[kept:])


class MajoritiesRing(Partition):
    """Every node sees a majority, and no two see the same one: nodes on a ring, in random order, each linked to its
    nearest neighbours on both sides. After Jepsen's nemesis of this name; links are cut in both directions."""

    name: ClassVar[str] = "majorities-ring"
    summary: ClassVar[str] = "every node sees a majority, no two the same"

    def minimum_nodes(self) -> int:
        return 4

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("majorities-ring",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        ring = rng.sample(names, len(names))
        graph = apart(names)
        for place, name in enumerate(ring):
            for distance in range(1, majority(len(ring)) // 2 + 1):
                neighbour = ring[(place + distance) % len(ring)]
                graph.add_edges_from([(name, neighbour), (neighbour, name)])
        return graph


class Bridge(Partition):
    """Two random halves that do not see each other, and one random node that sees both."""

    name: ClassVar[str] = "bridge"
    summary: ClassVar[str] = "two halves, and one node that sees both"

    def minimum_nodes(self) -> int:
        return 3

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("bridge",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        bridge, *others = rng.sample(names, len(names))
        half = len(others) // 2
        return apart(names, [bridge, *others[:half]], [bridge, *others[half:]])


class OneWay(Partition):
    """Cut in one direction: first the primary can send but hears nothing, then it hears but cannot be heard."""

    name: ClassVar[str] = "one-way"
    summary: ClassVar[str] = "the primary sends but hears nothing; then hears but cannot be heard"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary-deaf", "primary-mute")

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        primary, *others = names
        graph = everything(names)
        for other in others:
            graph.remove_edge(*((other, primary) if scenario == "primary-deaf" else (primary, other)))
        return graph


class EveryoneAlone(Partition):
    """No node sees another."""

    name: ClassVar[str] = "everyone-alone"
    summary: ClassVar[str] = "every node alone"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("everyone-alone",)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return apart(names)
