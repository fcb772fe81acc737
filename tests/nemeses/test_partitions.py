"""Every partition on real nodes: cut and healed as intended, proven by probes; and what did not bite is found."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from pathlib import Path

from splitbrain.harness.history.fault import Cut
from splitbrain.harness.history.sides import sides
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Applied, Connectivity
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.partitions import Partition, apart
from tests.harness.testbeds.cluster import plan, with_cluster
from tests.nemeses.driver import Driver, step
from tests.nemeses.test_graphs import ALL

ALONE = step("partition-primary", "primary-alone")


def test_one_of_ones_own_only_says_which_links_stay() -> None:
    class Pairs(Partition):
        name = "pairs"
        summary = "pairs of nodes"

        def graph(self, scenario: str, names: Sequence[str], rng: random.Random) -> Connectivity:
            return apart(names, names[:2], names[2:])

    pairs = Pairs()
    (spec,) = pairs.aim("pairs", Outlook(names=("n1", "n2", "n3", "n4"), primary="n2"), random.Random(1))
    assert isinstance(spec, Cut) and pairs.scenarios(4) == ("pairs",)
    assert ("n2", "n1") not in spec.links and ("n2", "n3") in spec.links


def test_every_scenario_bites_and_heals(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n3")
        for kind in ALL:
            nemesis = kind()
            for scenario in nemesis.scenarios(5):
                view = Outlook(names=driver.cluster.names, primary="n3")
                (spec,) = nemesis.aim(scenario, view, random.Random("7/nemesis/1"))
                assert isinstance(spec, Cut)
                fault = await driver.do(step(kind.name, scenario))
                assert fault.bit and fault.wrong == fault.heal_wrong == ()
                assert fault.specs == (spec,) and fault.cut == fault.observed_cut == spec.links
                assert fault.sides == sides(view.names, spec.links)
                assert (fault.nemesis, fault.scenario, fault.primary) == (kind.name, scenario, "n3")
                assert fault.started < (fault.in_force or 0) < (fault.proven or 0)
                assert (fault.proven or 0) < (fault.heal_began or 0) < (fault.healed or 0)
                print(f"{kind.name} {scenario}: spread {fault.spread / 1e6:.1f} ms, heal {fault.heal_spread / 1e6:.1f} ms")
        proof = dict(driver.told)["partition {n1} | {n2} | {n3} | {n4} | {n5}"]
        assert proof.startswith("20/20 links as intended, spread ")
        assert driver.told[-1] == ("heal", "20/20 links up")

    with_cluster(tmp_path, 5, work)


def test_without_a_primary_a_node_is_drawn(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        alone = set()
        for seed in range(5):
            fault = await Driver(testbed, None, seed).do(ALONE)
            assert fault.bit and fault.primary is None and fault.healed
            alone.add(fault.sides[-1])
        assert len(alone) > 1

    with_cluster(tmp_path, 3, work)


def test_a_primary_that_is_no_node_is_no_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n9")
        fault = await driver.do(ALONE)
        assert not fault.bit and fault.proven is None and fault.specs == () == fault.sides
        assert fault.detail == "nothing was done: no node was named as primary"
        assert driver.told == [("partition-primary primary-alone", fault.detail)]

    with_cluster(tmp_path, 3, work)


class Sabotaged(Namespaces):
    """Real nodes; somebody empties n1's chain, or fills it, right after a connectivity was put in force."""

    commands: tuple[tuple[str, ...], ...] = ()
    applied = 0

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        applied = await super().apply(before, after)
        self.applied += 1
        for command in self.commands:
            assert (await self.nodes[0].run(command)).code == 0
        return applied


def test_a_fault_that_did_not_bite(tmp_path: Path) -> None:
    testbed = Sabotaged(plan(), "test", tmp_path)

    async def work(_: Namespaces) -> None:
        async def meanwhile() -> None:
            testbed.commands = ()

        testbed.commands = (("iptables", "-F", "SPLITBRAIN"), ("ip6tables", "-F", "SPLITBRAIN"))
        fault = await Driver(testbed, "n1").do(ALONE, meanwhile)
        assert not fault.bit and fault.in_force is None and fault.proven is None
        assert fault.wrong == (("n2", "n1"), ("n3", "n1"))
        assert fault.observed_cut == (("n1", "n2"), ("n1", "n3"))
        assert len(fault.cut) == 4 and fault.healed

    with_cluster(tmp_path, 3, work, testbed)


def test_a_fault_that_did_not_hold(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        async def meanwhile() -> None:
            await testbed.nodes[1].run(["ip6tables", "-F", "SPLITBRAIN"])

        fault = await Driver(testbed, "n1").do(ALONE, meanwhile)
        assert not fault.bit and fault.wrong == (("n1", "n2"),)
        assert fault.proven and fault.healed is not None

    with_cluster(tmp_path, 3, work)


def test_a_heal_that_did_not_heal(tmp_path: Path) -> None:
    testbed = Sabotaged(plan(), "test", tmp_path)

    async def work(_: Namespaces) -> None:
        async def meanwhile() -> None:
            testbed.commands = (("iptables", "-A", "SPLITBRAIN", "-s", "198.18.0.2", "-j", "DROP"),)

        driver = Driver(testbed, "n1")
        fault = await driver.do(ALONE, meanwhile)
        assert fault.bit and fault.heal_began and fault.healed is None
        assert fault.heal_wrong == (("n1", "n2"), ("n2", "n1"))
        assert await driver.controller.prove_healed() == ("not healed: n1→n2, n2→n1",)

    with_cluster(tmp_path, 3, work, testbed)


def test_what_long_cut_connections_do_to_the_next_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        async def meanwhile() -> None:
            await asyncio.sleep(2)  # the kernel now waits seconds before it sends again

        driver = Driver(testbed, "n1")
        for _ in range(2):
            fault = await driver.do(step("everyone-alone", "everyone-alone"), meanwhile)
            assert fault.bit and fault.healed

    with_cluster(tmp_path, 5, work)


def test_two_cuts_compose_and_each_heal_lifts_its_own(tmp_path: Path) -> None:
    """The rules of somebody else stay through all of it."""

    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, None)
        cluster = driver.cluster
        foreign = ("-A", "INPUT", "-s", "203.0.113.7/32", "-j", "DROP")
        assert (await testbed.nodes[0].run(["iptables", *foreign])).code == 0
        one, other = [("n1", "n2"), ("n2", "n1")], [("n2", "n1"), ("n2", "n3")]
        await cluster.cut("one", one)
        await cluster.cut("other", other)
        reach, wrong = await cluster.probe(timeout=1.0)
        assert wrong == () and reach.cut() == (("n1", "n2"), ("n2", "n1"), ("n2", "n3"))
        assert cluster.sides() == (("n1", "n3"), ("n2",))
        await cluster.mend("one")
        reach, wrong = await cluster.probe(timeout=1.0)
        assert wrong == () and reach.cut() == (("n2", "n1"), ("n2", "n3"))
        await cluster.mend("one")  # what one does not hold, one cannot let go of
        await cluster.mend("other")
        assert await driver.controller.prove_healed() == ()
        listed = (await testbed.nodes[0].run(["iptables", "-S", "INPUT"])).stdout
        assert " ".join(foreign) in listed

    with_cluster(tmp_path, 3, work)
