"""Whole runs of what is more than a register: what each database is known to do to it when a node is cut off, and to keep."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran, need

Splitbrain = Callable[..., Ran]

PLAN = """\
nodes = 3
time = {time}
baseline = 3.0
fault = {fault}
between = 3.0
nemesis = "{nemesis}"
"""


@pytest.fixture
def short(tmp_path: Path) -> Callable[..., Path]:
    """A plan with one fault."""

    def write(nemesis: str, fault: float) -> Path:
        file = tmp_path / "short.toml"
        file.write_text(PLAN.format(time=fault + 6, fault=fault, nemesis=nemesis))
        return file

    return write


def test_two_hold_a_lock_of_etcd_when_a_holder_is_cut_off_beyond_its_lease(
    splitbrain: Splitbrain, short: Callable[..., Path]
) -> None:
    plan = short("one-node", 9.0)
    ran = splitbrain("test", "etcd", "--workload", "lock", "--plan", plan)
    assert ran.code == 1 and ran.result.counts.keys() == {"double-hold"}, ran.stdout


def test_a_queue_under_sentinel_loses_what_the_old_primary_took(splitbrain: Splitbrain, short: Callable[..., Path]) -> None:
    ran = splitbrain("test", "redis", "--workload", "queue", "--plan", short("partition-primary", 6.0))
    assert (ran.code, ran.result.classification) == (1, "neither"), ran.stdout
    assert ran.result.counts["lost-element"] > 0, ran.stdout


def test_snapshots_of_mongodb_hold_and_show_write_skew(splitbrain: Splitbrain, short: Callable[..., Path]) -> None:
    need("mongod")
    plan = short("partition-primary", 6.0)
    ran = splitbrain("test", "mongodb", "--variant", "transactions", "--workload", "append", "--plan", plan)
    standings = {one.model: one for verdict in ran.result.verdicts for one in verdict.standings}
    assert standings["serializable"].state == "refuted" and "G2-item" in standings["serializable"].by, ran.stdout
    assert standings["snapshot-isolation"].state == "holds", ran.stdout


def test_two_hold_a_lock_of_mongodb_when_its_holder_is_cut_off_and_a_fence_keeps_them_apart(
    splitbrain: Splitbrain, short: Callable[..., Path]
) -> None:
    need("mongod")
    plan = short("isolate:lock-owner", 8.0)
    ran = splitbrain("test", "mongodb", "--variant", "majority", "--workload", "lock", "--plan", plan)
    assert ran.code == 1 and ran.result.counts.keys() == {"double-hold"}, ran.stdout
    ran = splitbrain("test", "mongodb", "--variant", "majority", "--workload", "fenced-lock", "--plan", plan)
    assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    assert "Two held a lock together" in ran.result.verdicts[0].reason, ran.stdout
