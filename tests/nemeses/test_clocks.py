"""Clocks put wrong on real nodes: their servers tell it, nobody else's do, and they are right afterwards."""

from __future__ import annotations

import asyncio
import random
import re
import time
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.history.fault import Kill, Skew
from splitbrain.harness.schedules import Step, nemesis
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.nemeses.nemesis import NoTarget, Outlook
from tests.harness.testbeds.cluster import with_cluster
from tests.nemeses.driver import Driver

if TYPE_CHECKING:
    from splitbrain.harness.testbeds.testbed import Testbed  # which pytest would take for a test

EXACT = 0.01


class Between(NamedTuple):
    """A number that lies between these two."""

    low: float
    high: float

    def may_be(self, number: float) -> bool:
        return self.low - EXACT <= number <= self.high + EXACT


async def look(driver: Driver, name: str) -> Between:
    """Seconds by which the clock of a node's server is ahead of the machine's, whenever it told it while it was asked."""
    before = time.time()
    told = await driver.clock(name)
    assert told is not None
    return Between(told - time.time(), told - before)


def since_boot() -> Between:
    """Seconds from the machine's boot to 1970, below 0."""
    before = time.monotonic()
    now = time.time()
    return Between(now - time.monotonic(), now - before)


def test_jump_strobe_and_drift(tmp_path: Path) -> None:
    with_cluster(tmp_path, 2, jump_strobe_and_drift)


async def jump_strobe_and_drift(testbed: Testbed) -> None:
    """However long an answer takes, it is held against the time that it took."""
    driver = Driver(testbed, "n1")
    seen: list[Between] = []
    enough = False
    wait = 0.1

    async def meanwhile() -> None:
        nonlocal wait
        async with asyncio.timeout(100):
            while not seen or not enough:
                assert (await look(driver, "n2")).may_be(0)
                seen.append(await look(driver, "n1"))
                judge()
                await asyncio.sleep(wait)
                # Looks of the same rhythm as what goes to and fro would see one half of it alone.
                wait = 0.03 + wait * 3.7 % 0.1

    def judge() -> None:
        nonlocal enough
        if spec.every:
            assert seen[-1].may_be(0) or seen[-1].may_be(spec.offset), seen
            sure = [one.may_be(0) for one in seen if one.may_be(0) != one.may_be(spec.offset)]
            enough = sum(before != after for before, after in pairwise(sure)) >= 3
        elif spec.drift:
            assert all(one.low <= later.high + EXACT for one, later in pairwise(seen)), seen
            assert seen[-1].low <= spec.drift * (0.1 + time.monotonic() - began) + EXACT, seen
            enough = seen[-1].low - seen[0].high > 10
        else:
            assert seen[-1].may_be(spec.offset), seen
            enough = len(seen) == 5

    host = since_boot()
    for spec, told in (
        (Skew(("n1",), offset=60), "put the clock of n1 60 s ahead"),
        (Skew(("n1",), offset=-3600), "put the clock of n1 3600 s back"),
        (Skew(("n1",), offset=10, every=0.1), "put the clock of n1 10 s ahead and right again, every 0.1 s"),
        (Skew(("n1",), drift=20), "let the clock of n1 run 20 s a second too fast"),
    ):
        seen.clear()
        enough = False
        began = time.monotonic()
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (spec,)), meanwhile)
        assert fault.bit and fault.healed, (fault.proofs, fault.undone)
        assert fault.struck == ("n1",) and fault.sides == (("n1", "n2"),) and driver.told[-2][0] == told
        assert enough, seen
        assert (await look(driver, "n1")).may_be(0)
        now = since_boot()
        assert now.low - 1 < host.high and host.low - 1 < now.high, "the machine's clock is as it was"


def test_a_slow_answer_is_asked_for_again_and_no_clock_is_changed_meanwhile(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        asked = 0

        async def slow(name: str) -> float | None:
            nonlocal asked
            asked += 1
            told = await driver.clock(name)
            await asyncio.sleep(0.4 if asked % 2 else 0)
            return told

        async def meanwhile() -> None:
            for _ in range(3):
                ahead = (await driver.cluster.ahead(["n1"]))["n1"]
                assert abs(ahead.seconds - ahead.meant) <= ahead.took / 2 + EXACT, ahead

        driver.cluster._told = slow
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), drift=50),)), meanwhile)
        assert fault.bit and fault.healed, (fault.proofs, fault.undone)
        assert asked >= 2 * 7, "before, when it was in force, meanwhile, at its end and afterwards"
        seen = fault.specs[0].proven(fault.proofs[0], ())
        told = re.fullmatch(r"ahead [-\d.]+ s \(intended 5\), in the end ([\d.,]+) s \(intended ([\d.,]+)\)", seen)
        assert told and all(float(one.replace(",", "")) > 5 for one in told.groups()), seen

        async def end() -> None:
            await driver.cluster.end(driver, ["n1"])

        for meanwhile_too in (None, end):
            early = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), drift=0.1),)), meanwhile_too)
            assert not early.bit and early.wrong == ("n1",) and "too little to be told" in early.proofs[0].detail, early
            assert early.healed
        await driver.cluster.start(driver, ["n1"])

    with_cluster(tmp_path, 2, work)


def test_a_server_that_is_started_again_has_the_wrong_clock_too(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            async with asyncio.timeout(60):
                while not (ahead := await driver.cluster.ahead(["n1"])) or ahead["n1"].seconds < 59:
                    await asyncio.sleep(0.05)

        specs = (Skew(("n1",), offset=60), Kill(("n1",), down=0.1))
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", specs), meanwhile)
        assert fault.bit and fault.healed and fault.undone[0].figures[0].middle < 1

    with_cluster(tmp_path, 2, work)


@pytest.mark.parametrize("takes", ["pause", "end"])
def test_what_another_fault_has_taken_since_has_its_clock_put_right_all_the_same(tmp_path: Path, takes: str) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            if takes == "pause":
                await driver.cluster.pause(driver, ["n1"])
            else:
                await driver.cluster.end(driver, ["n1"])

        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), offset=60),)), meanwhile)
        assert fault.bit and fault.healed and not fault.heal_wrong
        assert driver.told[-1] == ("put the clock right", "another fault keeps n1")
        assert fault.specs[0].again(fault.undone[0]) == "another fault keeps n1"
        if takes == "pause":
            await driver.cluster.resume(driver, ["n1"])
        else:
            await driver.cluster.start(driver, ["n1"])
        async with asyncio.timeout(60):
            while not (ahead := await driver.cluster.ahead(["n1"])):
                await asyncio.sleep(0.05)
        assert abs(ahead["n1"].seconds) <= 1 + ahead["n1"].took / 2

    with_cluster(tmp_path, 2, work)


def test_a_clock_of_what_stands_still_already_is_no_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        await driver.cluster.pause(driver, ["n1"])
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), offset=60),)))
        assert not fault.bit and fault.proven is None
        await driver.cluster.resume(driver, ["n1"])

    with_cluster(tmp_path, 2, work)


def test_a_clock_that_nobody_tells_is_no_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        driver.cluster._told = None
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Skew(("n1",), offset=60),)))
        assert not fault.bit and fault.wrong == ("n1",)

    with_cluster(tmp_path, 2, work)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1 << 16), name=st.sampled_from(["clock-jump", "clock-strobe", "clock-drift"]),
       role=st.sampled_from(["any", "follower", "minority", "primary"]))
def test_a_clock_is_that_of_a_server_that_can_be_asked(seed: int, name: str, role: str) -> None:
    view = Outlook(names=("n1", "n2", "n3"), primary="n2", out=("n1",))
    (spec,) = nemesis(name).aim(role, view, random.Random(seed))
    assert not spec.touched <= {"n1"}
    with pytest.raises(NoTarget, match="another fault has every server that was meant"):
        nemesis(name).aim(role, msgspec.structs.replace(view, out=view.names), random.Random(seed))
