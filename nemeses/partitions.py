"""Partitions: connectivity graphs, and nothing else.

A scenario is only a graph; when it is put in force, on which testbed, how it is proven and undone is not its business. The
names that a graph is made from are ordered: first the primary of the moment, then the others in order. Where the database
has no primary, any node stands for it.
"""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from itertools import islice, pairwise
from typing import Annotated, ClassVar

import networkx as nx

from splitbrain.harness.history.fault import Cut, Flap, Link, Spec
from splitbrain.harness.history.sides import in_order
from splitbrain.harness.plan import OptionTable
from splitbrain.harness.settings import SECOND, Setting
from splitbrain.harness.testbeds.testbed import Ability, Connectivity, everything
from splitbrain.nemeses.nemesis import Nemesis, NoTarget, Outlook
from splitbrain.nemeses.roles import each, majority, nodes_of, played


class Partition(Nemesis):
    """A fault that cuts links and nothing else."""

    needs: ClassVar[frozenset[Ability]] = frozenset({"cut"})
    of_primary: ClassVar[bool] = True
    """Whether its graphs are made around the primary: then there must be one, where the database has one at all."""

    def scenarios(self, nodes: int) -> Sequence[str]:
        """Its only one, which has its name."""
        return (self.name,)

    @abstractmethod
    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        """The links that stay up. `names` has the primary first."""

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Cut every link that is not in the graph. Raises `NoTarget`."""
        try:
            first = view.first(rng)
        except NoTarget:
            if self.of_primary:
                raise
            first = rng.choice(view.names)
        graph = self.graph(scenario, (first, *(name for name in view.names if name != first)), rng)
        return (cut(graph),)


def cut(graph: Connectivity) -> Cut:
    """What loses every link that is not in a graph."""
    lost = set(everything(graph).edges) - set(graph.edges)
    return Cut(in_order(lost))


def picture(names: Sequence[str], lost: Iterable[Link]) -> str:
    """The links that are up, drawn in a line: nodes between two bars all see each other, `P 2 | 3 4 5`; a node that stands in
    several places is a bridge, `P 2 3 | 3 4 5`; and an arrow is a link that is up one way. The first node is P."""
    drawn = {name: "P" if number == 0 else str(number + 1) for number, name in enumerate(names)}
    up = set(everything(names).edges) - set(lost)
    mutual: nx.Graph[str] = nx.Graph()
    mutual.add_nodes_from(names)
    mutual.add_edges_from(link for link in up if link[::-1] in up)
    place = {name: number for number, name in enumerate(names)}
    cliques = sorted(sorted(map(place.__getitem__, clique)) for clique in nx.find_cliques(mutual))
    told = [" | ".join(" ".join(drawn[names[number]] for number in clique) for clique in cliques)]
    for name in names:
        if heard := [other for other in names if (name, other) in up and (other, name) not in up]:
            told.append(f"{drawn[name]} → {' '.join(drawn[other] for other in heard)}")
    return ", ".join(told)


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
    of_primary: ClassVar[bool] = False

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
    of_primary: ClassVar[bool] = False

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        mixed = rng.sample(names, len(names))
        half = len(names) // 2
        return apart(names, mixed[:half], mixed[half:])


class OneNode(Partition):
    """A random node, the primary or another, against the rest."""

    name: ClassVar[str] = "one-node"
    summary: ClassVar[str] = "one random node alone"
    of_primary: ClassVar[bool] = False

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

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        others = rng.sample(names[1:], len(names) - 1)
        kept = majority(len(names)) - 1
        return apart(names, [names[0], *others[:kept]], others[kept:])


class MajoritiesRing(Partition):
    """Every node sees a majority, and no two see the same one: nodes on a ring, in random order, each linked to its
    nearest neighbours on both sides. After Jepsen's nemesis of this name; links are cut in both directions."""

    name: ClassVar[str] = "majorities-ring"
    summary: ClassVar[str] = "every node sees a majority, no two the same"
    of_primary: ClassVar[bool] = False

    def minimum_nodes(self) -> int:
        return 4

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
    of_primary: ClassVar[bool] = False

    def minimum_nodes(self) -> int:
        return 3

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
    of_primary: ClassVar[bool] = False

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return apart(names)


class Isolate(Partition):
    """The nodes of a role, together, against the rest."""

    name: ClassVar[str] = "isolate"
    summary: ClassVar[str] = "nodes by role against the rest: primary, follower, last-primary, minority (isolate:follower)"

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary", "follower") if nodes < 4 else ("primary", "follower", "minority")

    def known(self, nodes: int) -> Sequence[str]:
        return tuple(role for role in played(nodes) if role != "all")

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        return (cut(self._without(view.names, nodes_of(scenario, view, rng))),)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return self._without(names, nodes_of(scenario, Outlook(names=tuple(names), primary=names[0]), rng))

    @staticmethod
    def _without(names: Sequence[str], some: Sequence[str]) -> Connectivity:
        return apart(names, some, [name for name in names if name not in some])


class Flapping(Isolate):
    """The links between the nodes of a role and the rest go down and come up again, over and over: whoever was suspected is
    back before the others have agreed on it."""

    name: ClassVar[str] = "flapping"
    summary: ClassVar[str] = "links between nodes by role and the rest, a second down and a second up in turn"

    class Options(OptionTable, frozen=True):
        """How long links are down, and up."""

        down: Annotated[float, Setting("How long links are down each time.", unit=SECOND, low=0.1, high=600)] = 1.0
        up: Annotated[float, Setting("How long they are up in between.", unit=SECOND, low=0.1, high=600)] = 1.0

    options: Options

    def aim(self, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Raises `NoTarget`."""
        lost = cut(self._without(view.names, nodes_of(scenario, view, rng)))
        return (Flap(lost.links, down=self.options.down, up=self.options.up),)


class Rolling(Partition):
    """Every node alone in turn, each a fault of its own: what a rolling change of the network does."""

    name: ClassVar[str] = "rolling"
    summary: ClassVar[str] = "every node alone, one after another"
    of_primary: ClassVar[bool] = False

    def scenarios(self, nodes: int) -> Sequence[str]:
        return each(nodes)

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return apart(names, [name for name in names if name != scenario])


class TwoBridges(Partition):
    """Two random halves that do not see each other, and two random nodes that see everyone."""

    name: ClassVar[str] = "two-bridges"
    summary: ClassVar[str] = "two halves, and two nodes that see both"
    of_primary: ClassVar[bool] = False

    def minimum_nodes(self) -> int:
        return 4

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        one, other, *rest = rng.sample(names, len(names))
        half = len(rest) // 2
        return apart(names, [one, other, *rest[:half]], [one, other, *rest[half:]])


class Star(Partition):
    """One node sees everyone, and nobody else sees another: first the primary, then some other node."""

    name: ClassVar[str] = "star"
    summary: ClassVar[str] = "one node sees everyone, nobody else does: the primary, then another"

    def minimum_nodes(self) -> int:
        return 3

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("primary-in-the-middle", "follower-in-the-middle")

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        middle = names[0] if scenario == "primary-in-the-middle" else rng.choice(names[1:])
        return apart(names, *([middle, name] for name in names if name != middle))


class Chain(Partition):
    """Nodes in random order, each of which sees its neighbours alone: everything is connected, and nobody sees a majority but
    on three nodes."""

    name: ClassVar[str] = "chain"
    summary: ClassVar[str] = "every node sees its two neighbours alone, in random order"
    of_primary: ClassVar[bool] = False

    def minimum_nodes(self) -> int:
        return 3

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        return apart(names, *pairwise(rng.sample(names, len(names))))


class RandomParts(Partition):
    """Random parts of random sizes, two of them and then three: now and then none has a majority."""

    name: ClassVar[str] = "random-parts"
    summary: ClassVar[str] = "two, then three random parts of random sizes"
    of_primary: ClassVar[bool] = False

    def minimum_nodes(self) -> int:
        return 3

    def scenarios(self, nodes: int) -> Sequence[str]:
        return ("2 parts", "3 parts")

    def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
        mixed = rng.sample(names, len(names))
        ends = sorted(rng.sample(range(1, len(names)), int(scenario.split()[0]) - 1))
        return apart(names, *(mixed[begin:end] for begin, end in pairwise([0, *ends, len(names)])))
