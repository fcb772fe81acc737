"""Clocks put wrong on real nodes: their servers tell it, nobody else's do, and they are right afterwards."""

from __future__ import annotations

import asyncio
import time
from itertools import pairwise
from pathlib import Path

from splitbrain.harness.history.fault import Kill, Skew
from splitbrain.harness.schedules import Step
from splitbrain.harness.testbeds.namespaces import Namespaces
from tests.harness.testbeds.cluster import with_cluster
from tests.nemeses.driver import Driver


def test_jump_strobe_and_drift(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        seen: list[dict[str, float]] = []

        async def meanwhile() -> None:
            for _ in range(12):
                seen.append(await driver.cluster.ahead(("n1", "n2")))
                await asyncio.sleep(0.1)

        for spec, told in (
            (Skew(("n1",), offset=60), "put the clock of n1 60 s ahead"),
            (Skew(("n1",), offset=-3600), "put the clock of n1 3600 s back"),
            (Skew(("n1",), offset=10, every=0.1), "put the clock of n1 10 s ahead and right again, every 0.1 s"),
            (Skew(("n1",), drift=20), "let the clock of n1 run 20 s a second too fast"),
        ):
            seen.clear()
            host = time.time() - time.monotonic()
            fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (spec,)), meanwhile)
            assert fault.bit and fault.healed, (fault.proofs, fault.undone)
            assert fault.struck == ("n1",) and fault.sides == (("n1", "n2"),) and driver.told[-2][0] == told
            assert all(abs(one["n2"]) < 1 for one in seen), seen
            own = [one["n1"] for one in seen]
            if spec.drift:
                assert own[-1] - own[0] > 10 and all(later > one - 0.5 for one, later in pairwise(own))
            elif spec.every:
                assert max(own) > 9 and min(own) < 1
            else:
                assert all(abs(one - spec.offset) < 1 for one in own)
            assert abs((await driver.cluster.ahead(["n1"]))["n1"]) < 1
            assert abs(time.time() - time.monotonic() - host) < 1, "the machine's clock is as it was"

    with_cluster(tmp_path, 2, work)


def test_a_server_that_is_started_again_has_the_wrong_clock_too(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            async with asyncio.timeout(10):
                while not (ahead := await driver.cluster.ahead(["n1"])) or ahead["n1"] < 59:
                    await asyncio.sleep(0.05)

        specs = (Skew(("n1",), offset=60), Kill(("n1",), down=0.1))
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", specs), meanwhile)
        assert fault.bit and fault.healed and fault.undone[0].figures[0].middle < 1

    with_cluster(tmp_path, 2, work)


def test_a_clock_that_nobody_tells_is_no_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        driver.cluster._told = None
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), offset=60),)))
        assert not fault.bit and fault.wrong == ("n1",)

    with_cluster(tmp_path, 2, work)
