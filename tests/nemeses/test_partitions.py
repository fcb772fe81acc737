"""Every partition on real nodes: cut and healed as intended, proven by probes; and what did not bite is found."""

from __future__ import annotations

import asyncio
import random
import time
from pathlib import Path

import msgspec
import networkx as nx

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Applied, Connectivity
from splitbrain.nemeses import partitions
from splitbrain.nemeses.nemesis import Cluster
from splitbrain.nemeses.partitions import Partition, sides
from tests.harness.testbeds.cluster import plan, with_cluster
from tests.nemeses.test_graphs import ALL

FAULT = Fault(id=1, nemesis="", scenario="", started=1)


def cluster(testbed: Namespaces, primary: str | None, seed: int = 7) -> Cluster:
    names = tuple(node.name for node in testbed.nodes)
    return Cluster(testbed, names, primary, time.monotonic_ns, random.Random(seed), enforce=lambda links: None)


def test_every_scenario_bites_and_heals(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        for kind in ALL:
            nemesis = kind()
            for scenario in nemesis.scenarios(5):
                order = ("n3", "n1", "n2", "n4", "n5")
                intended = nemesis.graph(scenario, order, random.Random(7))
                began = time.monotonic_ns()
                planned = msgspec.structs.replace(FAULT, nemesis=kind.name, scenario=scenario, started=began)
                fault = await nemesis.start(planned, cluster(testbed, "n3"))
                assert fault.bit and fault.wrong == ()
                assert fault.cut == fault.observed_cut == tuple(sorted(nx.complement(intended).edges))
                assert fault.sides == sides(intended)
                assert (fault.nemesis, fault.scenario, fault.started, fault.primary) == (kind.name, scenario, began, "n3")
                held = await nemesis.heal(fault, cluster(testbed, "n3"))
                assert held.bit and held.heal_wrong == ()
                moments = [held.in_force, held.proven, held.heal_began, held.healed]
                assert sorted(moments, key=lambda moment: moment or 0) == moments and len(set(moments)) == 4
                assert (held.in_force or 0) >= fault.started + fault.spread
                print(f"{kind.name} {scenario}: spread {fault.spread / 1e6:.1f} ms, heal {held.heal_spread / 1e6:.1f} ms")

    with_cluster(tmp_path, 5, work)


def test_without_a_primary_a_node_is_drawn(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        alone = set()
        for seed in range(3):
            nemesis = partitions.PartitionPrimary()
            beside = cluster(testbed, None, seed)
            fault = await nemesis.start(msgspec.structs.replace(FAULT, scenario="primary-alone"), beside)
            assert fault.bit and fault.primary is None
            alone.add(fault.sides[-1])
            assert (await nemesis.heal(fault, beside)).healed
        assert len(alone) > 1

    with_cluster(tmp_path, 3, work)


class Sabotaged(Namespaces):
    """Real nodes; somebody empties n1's chain, or fills it, right after a connectivity was put in force."""

    commands: tuple[tuple[str, ...], ...] = ()

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        applied = await super().apply(before, after)
        for command in self.commands:
            assert (await self.nodes[0].run(command)).code == 0
        return applied


def test_a_fault_that_did_not_bite(tmp_path: Path) -> None:
    testbed = Sabotaged(plan(), "test", tmp_path)

    async def work(_: Namespaces) -> None:
        nemesis = partitions.PartitionPrimary()
        beside = cluster(testbed, "n1")
        testbed.commands = (("iptables", "-F", "SPLITBRAIN"), ("ip6tables", "-F", "SPLITBRAIN"))
        fault = await nemesis.start(FAULT, beside)
        assert not fault.bit and fault.proven is None
        assert fault.wrong == (("n2", "n1"), ("n3", "n1"))
        assert fault.observed_cut == (("n1", "n2"), ("n1", "n3"))
        assert len(fault.cut) == 4
        testbed.commands = ()
        healed = await nemesis.heal(fault, beside)
        assert healed.healed and not healed.bit

    with_cluster(tmp_path, 3, work, testbed)


def test_a_fault_that_did_not_hold(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        nemesis = partitions.PartitionPrimary()
        beside = cluster(testbed, "n1")
        fault = await nemesis.start(FAULT, beside)
        assert fault.bit
        await testbed.nodes[1].run(["ip6tables", "-F", "SPLITBRAIN"])
        healed = await nemesis.heal(fault, beside)
        assert not healed.bit and healed.wrong == (("n1", "n2"),)
        assert healed.healed is not None

    with_cluster(tmp_path, 3, work)


def test_a_heal_that_did_not_heal(tmp_path: Path) -> None:
    testbed = Sabotaged(plan(), "test", tmp_path)

    async def work(_: Namespaces) -> None:
        nemesis = partitions.PartitionPrimary()
        beside = cluster(testbed, "n1")
        fault = await nemesis.start(FAULT, beside)
        testbed.commands = (("iptables", "-A", "SPLITBRAIN", "-s", "198.18.0.2", "-j", "DROP"),)
        healed = await nemesis.heal(fault, beside)
        assert healed.bit and healed.heal_began and healed.healed is None
        assert healed.heal_wrong == (("n1", "n2"), ("n2", "n1"))

    with_cluster(tmp_path, 3, work, testbed)


def test_what_long_cut_connections_do_to_the_next_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        nemesis: Partition = partitions.EveryoneAlone()
        beside = cluster(testbed, "n1")
        for _ in range(2):
            fault = await nemesis.start(FAULT, beside)
            assert fault.bit
            await asyncio.sleep(2)  # the kernel now waits seconds before it sends again
            healed = await nemesis.heal(fault, beside)
            assert healed.bit and healed.healed

    with_cluster(tmp_path, 5, work)
