"""A load that grows in a fault, on a real cluster: its calls are counted, and recorded as all are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from splitbrain.harness.history.fault import Surge
from splitbrain.harness.history.journal import load
from splitbrain.harness.testbeds.namespaces import Namespaces
from tests.conftest import Ran
from tests.harness.testbeds.cluster import with_cluster
from tests.nemeses.driver import Driver, step

QUIET = ("--variant", "majority", "--nodes", "3", "--time", "10s", "--baseline", "5s", "--fault", "2s", "--between", "2s",
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
        driver.cluster.load = idle = Idle()
        working = asyncio.create_task(idle.work())
        fault = await driver.do(step("spike", "all"))
        working.cancel()
        assert not fault.bit and fault.wrong == ("n1", "n2") and fault.healed

    with_cluster(tmp_path, 2, work)
