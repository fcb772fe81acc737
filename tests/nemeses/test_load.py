"""A load that grows in a fault, on a real cluster: its calls are counted, and recorded as all are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import cast

from splitbrain.harness.history.fault import Hush, Retry, Surge
from splitbrain.harness.history.journal import load
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.nemeses.cluster import Crowd
from tests.conftest import Ran
from tests.harness.testbeds.cluster import with_cluster
from tests.nemeses.driver import Driver, step

QUIET = ("--variant", "majority", "--nodes", "3", "--time", "11s", "--baseline", "6s", "--fault", "2s", "--between", "2s",
         "--think", "0.05", "--keys", "60")


def test_a_spike_is_counted_and_recorded(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "spike")
    (row,) = ran.result.scenarios
    assert row.bit and row.label == "10 times the clients at all homes" and row.struck == () and row.links_cut == 0, ran.stdout
    assert (ran.code, ran.result.validity) == (0, "valid") and "clients gone" in ran.stdout, ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    assert isinstance(fault.specs[0], Surge) and fault.in_force and fault.heal_began and fault.healed
    began = recording.phase("load")
    assert began is not None
    history = recording.history

    def clients(begin: int, end: int) -> int:
        """Who called between two moments."""
        return len(set(history.process[(history.invoked > begin) & (history.invoked < end)]))

    before = clients(began.began, fault.started)
    during = clients(fault.in_force, fault.heal_began)
    assert (before, during) == (9, 90) and clients(fault.healed, began.ended or 0) == 9


class Idle:
    """A load of whom one that is to join never calls."""

    calls = 0

    async def join(self, who: object, homes: object, times: int) -> tuple[int, int]:
        return 18, 17

    async def leave(self, who: object) -> int:
        return 0

    async def work(self) -> None:
        while True:
            self.calls += 1
            await asyncio.sleep(0.01)


def test_a_load_that_does_not_grow_is_no_fault(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        idle = Idle()
        driver.cluster.load = cast(Crowd, idle)
        working = asyncio.create_task(idle.work())
        fault = await driver.do(step("spike", "all"))
        working.cancel()
        assert not fault.bit and fault.wrong == ("n1", "n2") and fault.healed

    with_cluster(tmp_path, 2, work)


def test_nobody_calls_while_it_is_quiet(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "quiet")
    assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    invoked = recording.history.invoked
    assert isinstance(fault.specs[0], Hush) and fault.bit and fault.in_force and fault.heal_began and fault.healed
    assert not ((invoked > fault.in_force) & (invoked < fault.heal_began)).any() and (invoked > fault.healed).any()


def test_what_fails_is_tried_again_and_leaves_no_trace_in_the_history(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "partition-primary+retry-storm")
    assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    assert isinstance(fault.specs[1], Retry) and fault.bit and "more tries of" in fault.undone[1].detail
    assert len(set(recording.history.process)) < 30, "the tries are nobody's operations"


def test_without_a_failure_there_is_no_storm(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "retry-storm")
    assert (ran.code, ran.result.validity) == (2, "unknown") and not ran.result.scenarios[0].bit, ran.stdout
