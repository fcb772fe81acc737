"""The clock of a whole machine over SSH, a virtual one: wrong as they were meant to be, as before afterwards, also where
nobody is there any more to put it right, and refused where somebody else steers it (see also test_wall.py)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest

from splitbrain.harness.history.fault import Skew
from splitbrain.harness.schedules import Step
from splitbrain.harness.testbeds.ssh import Ssh
from tests.harness.testbeds.cluster import plan
from tests.harness.testbeds.test_ssh import bed, until, with_servers
from tests.harness.testbeds.virtual import VirtualMachines, possible, virtual
from tests.lab import inside
from tests.nemeses.driver import Driver

if TYPE_CHECKING:
    from splitbrain.harness.testbeds.testbed import Testbed  # which pytest would take for a test

SLOW = 90.0
"""Seconds that an emulated machine may be silent on one that is busy."""
EXACT = 5_000_000
"""Nanoseconds: what a machine may take between a look at one of its clocks and a look at the other."""


@pytest.fixture(scope="module")
def booted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VirtualMachines]:
    possible()
    with virtual(tmp_path_factory.mktemp("virtual"), 1) as machines:
        machines.inventory.write_text(f'clock = "machine"\npatience = {SLOW}\n' + machines.inventory.read_text())
        yield machines


@pytest.fixture
def machines(booted: VirtualMachines, monkeypatch: pytest.MonkeyPatch) -> Iterator[VirtualMachines]:
    """The machine, whose clock is afterwards as it was, and this test beside it."""
    with inside(booted.network):
        monkeypatch.setenv("XDG_STATE_HOME", str(booted.folder / "state"))
        monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
        before = booted.start(0)
        yield booted
        assert abs(booted.start(0) - before) < EXACT


def test_jump_strobe_and_drift(machines: VirtualMachines) -> None:
    async def whole(testbed: Testbed) -> None:
        driver = await serving(testbed)
        before = machines.start(0)
        for spec in (
            Skew(("n1",), offset=60), Skew(("n1",), offset=-3600), Skew(("n1",), offset=10, every=0.1), Skew(("n1",), drift=20),
        ):
            seen: list[float] = []

            async def meanwhile(spec: Skew = spec, seen: list[float] = seen) -> None:
                async with asyncio.timeout(120):
                    while not enough(spec, seen):
                        seen.append(await asyncio.to_thread(machines.start, 0) - before)
                        # Looks of the same rhythm as what goes to and fro would see one half of it alone.
                        await asyncio.sleep(len(seen) * 0.037 % 0.1)

            fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (spec,)), meanwhile)
            assert fault.bit and fault.healed, (fault.proofs, fault.undone)
            told = {figure.what: figure for figure in fault.undone[0].figures}
            assert set(told) == {"ahead", "machine ahead"} and abs(told["machine ahead"].middle) <= EXACT / 1e9
            assert abs(machines.start(0) - before) < EXACT
            if not spec.drift:
                assert all(any(abs(one - wrong * 1e9) < EXACT for wrong in (0, spec.offset)) for one in seen), seen

    with_servers(bed(machines, 1), whole)


async def serving(testbed: Testbed) -> Driver:
    """A driver of machines whose servers have begun to tell the time."""
    driver = Driver(testbed, "n1")
    async with asyncio.timeout(120):
        while None in [await driver.clock(node.name) for node in testbed.nodes]:
            await asyncio.sleep(0.1)
    return driver


def enough(spec: Skew, seen: list[float]) -> bool:
    """Whether looks at a clock have seen what this does to it."""
    if spec.every:
        return {round(one / 1e9) for one in seen} >= {0, spec.offset}
    if spec.drift:
        assert all(after >= before - EXACT for before, after in pairwise(seen)), seen
        return bool(seen) and seen[-1] > seen[0] + 10e9
    return len(seen) == 3 and all(abs(one - spec.offset * 1e9) < EXACT for one in seen)


def test_a_clock_is_put_right_when_the_controller_was_killed_and_by_clean(machines: VirtualMachines) -> None:
    before = machines.start(0)

    def is_right() -> bool:
        return abs(machines.start(0) - before) < EXACT

    process = machines.python("tests.harness.testbeds.faulting", "clock", str(machines.inventory), "killed")
    assert process.stdout is not None
    told = process.stdout.readline()
    assert told == "faulty\n", told + process.stdout.read()
    assert abs(machines.start(0) - before - 3600 * 10**9) < EXACT
    process.kill()
    process.wait()
    assert until(is_right, 120)
    machines.sh(0, 'date -s "@$(($(date +%s) + 3600))"')  # as if its guard had been killed too
    assert not is_right()
    assert "198.18.0.1: run killed: the machine's clock: put right" in Ssh.clean()
    assert is_right()


def test_a_machine_whose_clock_a_time_service_steers_is_refused(machines: VirtualMachines) -> None:
    pid = machines.sh(0, "cp -L /usr/bin/sleep /tmp/chronyd && { /tmp/chronyd 600 > /dev/null 2>&1 & echo $!; }").strip()
    (problem,) = Ssh.missing(plan(testbed="ssh", inventory=str(machines.inventory), nodes=1), (), {"skew"})
    assert problem.what == (
        f"the clock of n1 (198.18.0.1) cannot be put wrong: chronyd (process {pid}) steers its clock, and would put it right "
        "in the middle of a fault."
    )
    assert problem.mend == f"kill {pid}"
    machines.sh(0, f"kill {pid}")
