"""A load that grows in a fault, on a real cluster: its calls are counted, and recorded as all are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

from splitbrain.harness.history.fault import Hush, Retry, Sever, Surge
from splitbrain.harness.history.history import INFO, OK
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
    assert (ran.code, ran.result.validity) == (0, "valid") and "clients gone" in ran.said, ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    assert isinstance(fault.specs[0], Surge) and fault.in_force and fault.heal_began and fault.healed
    began = recording.phase("load")
    assert began is not None
    history = recording.history

    def clients(begin: int, end: int) -> range:
        """How many called between two moments. After a call of which nothing is known a client goes by another name: of two
        names one may be the other's."""
        called = (history.invoked > begin) & (history.invoked < end)
        names, unknown = len(set(history.process[called])), int((history.outcome[called] == INFO).sum())
        return range(names - unknown, names + 1)

    assert 9 in clients(began.began, fault.started) and 9 in clients(fault.healed, began.ended or 0)
    assert 90 in clients(fault.in_force, fault.heal_began)


class Idle:
    """A load of whom one that is to join never calls, and another calls though nobody should."""

    begun = 0
    retried = (0, 0, 0)

    def persist(self, who: object, homes: object, tries: int) -> None:
        pass

    def persisted(self, who: object) -> tuple[int, int, int]:
        return self.retried

    def calls(self, homes: Sequence[str]) -> int:
        return self.begun if "n2" in homes else 0

    async def hush(self, who: object, homes: object) -> None:
        pass

    def answered(self, homes: Sequence[str]) -> int:
        return self.calls(homes)

    stopped = True

    def sever(self, who: object, homes: object) -> None:
        pass

    def severed(self, home: str) -> bool:
        return False

    async def relent(self, who: object) -> None:
        pass

    async def join(self, who: object, homes: object, times: int) -> tuple[int, int]:
        return 18, 17

    async def leave(self, who: object) -> int:
        return 0

    async def work(self) -> None:
        while True:
            self.begun += 1
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

        async def call() -> None:
            idle.begun += 1

        fault = await driver.do(step("quiet", "all"), call)
        assert not fault.bit and fault.wrong == ("n2",) and fault.healed, "it held at first, and not to its end"
        fault = await driver.do(step("client-cut", "all"), call)
        assert not fault.bit and fault.wrong == ("n1", "n2"), "one never called, the other was answered"
        fault = await driver.do(step("quiet", "lock-owner"), call)
        assert fault.bit and fault.hushed == {"n1"}, "others may call"
        for idle.retried, bit in (((0, 0, 0), False), ((1222, 2, 1220), False), ((1222, 30, 1192), False), ((20, 9, 17), True)):
            fault = await driver.do(step("retry-storm", "all"))
            assert fault.bit is bit and fault.wrong == (() if bit else ("n1", "n2")) and fault.healed
        assert fault.proofs[0].detail == "9 more tries of 20 calls that failed, 17 of which had no server in reach to try"

    with_cluster(tmp_path, 2, work)


QUIET_TWICE = """
database = "reference"
variant = "fenced-primary"
workload = "lock"
nodes = 3
time = 13
[[schedule]]
at = 3
duration = 1
nemesis = "quiet"
[[schedule]]
at = 6
duration = 4
nemesis = "quiet"
scenario = "lock-owner"
"""


def test_nobody_calls_while_it_is_quiet_and_who_stands_still_loses_its_lock(
    splitbrain: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "plan.toml").write_text(QUIET_TWICE)
    ran = splitbrain("test", "--plan", str(tmp_path / "plan.toml"))
    assert ran.code == 1 and {found.identifier for found in ran.result.anomalies} == {"double-hold"}, ran.stdout
    assert {found.fault for found in ran.result.anomalies} == {2}, ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    invoked, node = recording.history.invoked, recording.history.node
    for fault, homes in zip(recording.faults, ({"n1", "n2", "n3"}, recording.faults[1].hushed), strict=True):
        assert isinstance(fault.specs[0], Hush) and fault.bit and fault.in_force and fault.heal_began and fault.healed
        assert fault.hushed == homes and len(homes) in (1, 3) and (invoked > fault.healed).any()
        during = (invoked > fault.in_force) & (invoked < fault.heal_began)
        assert {recording.history.nodes[code] for code in set(node[during])} == {"n1", "n2", "n3"} - homes


def test_clients_that_are_cut_off_are_told_as_such_and_no_class_is_claimed(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "client-cut:primary")
    (row,) = ran.result.scenarios
    assert (ran.code, ran.result.validity, ran.result.classification) == (0, "valid", "not-exercised"), ran.stdout
    cut, rest = sorted(row.sides, key=lambda side: len(side.nodes))
    assert row.bit and row.severed == cut.nodes and row.cut_sides == (rest,) and row.links_cut == 0
    assert (cut.quorum, rest.quorum) == (False, True)
    assert cut.read.attempted > 0 and cut.read.answered == cut.write.answered == 0
    assert rest.read.answered + rest.write.answered > 0 and "blocked" not in (rest.read.state, rest.write.state)
    assert "no link was cut between nodes" in row.sentence
    assert any("Cut links between nodes" in line for line in ran.result.recommendations)
    assert not any("did not hurt" in line for line in ran.result.recommendations), "its clients could not work"
    assert f"clients and {cut.nodes[0]}: cut" in (ran.folder / "report.html").read_text()
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    assert isinstance(fault.specs[0], Sever) and fault.sides == (("n1", "n2", "n3"),) and fault.healed
    assert fault.proofs[0].detail.startswith("0 of ") and "answered again" in fault.undone[0].detail


def test_what_fails_is_tried_again_and_leaves_no_trace_in_the_history(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "partition-primary+retry-storm")
    assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    _, recording = load(ran.folder / "journal.jsonl")
    (fault,) = recording.faults
    assert isinstance(fault.specs[1], Retry) and fault.bit and "more tries of" in fault.undone[1].detail
    assert recording.plan is not None
    unknown = sum(op.outcome == "info" for op in recording.history)
    workers = len({op.node for op in recording.history}) * recording.plan.concurrency
    assert len(set(recording.history.process)) <= workers + unknown, "the tries are nobody's operations"


def test_without_a_failure_there_is_no_storm(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--nemesis", "retry-storm")
    if not ran.result.scenarios[0].bit:
        assert (ran.code, ran.result.validity) == (2, "unknown"), ran.stdout
    else:  # the machine was so slow that a call failed by itself
        _, recording = load(ran.folder / "journal.jsonl")
        began = recording.faults[0].in_force or 0
        assert ((recording.history.outcome != OK) & (recording.history.completed > began)).any(), ran.stdout
