"""Links that go down and come up again, on real nodes: how often is measured, and what did not flap is found."""

from __future__ import annotations

import asyncio
from pathlib import Path

from splitbrain.harness.history.fault import Flap
from splitbrain.harness.history.sides import sides
from splitbrain.harness.schedules import Step
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Connectivity
from tests.harness.testbeds.cluster import plan, with_cluster
from tests.nemeses.driver import Driver, step
from tests.nemeses.test_partitions import Sabotaged

FAST = Flap((("n1", "n2"), ("n2", "n1")), down=0.3, up=0.3)


def fast(spec: Flap = FAST) -> Step:
    return Step(0.0, 1.0, "flapping", "primary", (spec,))


def test_how_often_links_were_down_and_up_is_measured(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        changes: list[int] = []
        apply = testbed.apply

        async def counted(before: Connectivity, after: Connectivity) -> object:
            changes.append(len(after.edges) - len(before.edges))
            return await apply(before, after)

        testbed.apply = counted  # type: ignore[method-assign, assignment]

        async def meanwhile() -> None:
            async with asyncio.timeout(100):
                while changes.count(-2) < 4:
                    await asyncio.sleep(0.1)

        fault = await driver.do(fast(), meanwhile)
        assert fault.bit and fault.healed and fault.sides == sides(("n1", "n2"), FAST.links), fault
        downs = changes.count(-2)
        assert downs >= 4 and set(changes) <= {2, -2, 0}
        told, *_ = fault.proofs[0].detail.split(" times down and ")
        # Of the last turn the proof may not have come to its end.
        assert downs - 1 <= int(told) <= downs and fault.undone[0].detail == fault.proofs[0].detail
        assert fault.cut == fault.observed_cut == () and set(fault.flapping) == set(fault.impaired) == set(FAST.links)
        assert driver.told[0][0] == "flap {n1} | {n2} (0.3 s down, 0.3 s up)" and driver.told[1][0] == "heal"
        assert await driver.controller.prove_healed() == ()

        fault = await driver.do(step("flapping", "primary"))
        assert isinstance(fault.specs[0], Flap) and set(fault.specs[0].links) == set(FAST.links)
        assert not fault.bit and fault.healed and len(fault.wrong) == 2, "down once is a cut"

    with_cluster(tmp_path, 2, work)


def test_links_that_do_not_come_up_do_not_flap(tmp_path: Path) -> None:
    testbed = Sabotaged(plan(), "test", tmp_path)

    async def work(_: Namespaces) -> None:
        async def meanwhile() -> None:
            testbed.commands = (("iptables", "-A", "SPLITBRAIN", "-s", "198.18.0.2", "-j", "DROP"),)
            before = testbed.applied
            async with asyncio.timeout(100):
                while testbed.applied < before + 2:  # the links were up, they were probed, and they are down again
                    await asyncio.sleep(0.1)
            testbed.commands = ()

        fault = await Driver(testbed, "n1").do(fast(), meanwhile)
        assert not fault.bit and ("n2", "n1") in fault.wrong and fault.proven

    with_cluster(tmp_path, 2, work, testbed)
