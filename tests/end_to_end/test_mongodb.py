"""Whole runs of MongoDB: what each variant is known to do when its primary is cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran, need

Splitbrain = Callable[..., Ran]


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A plan of 17 s: one fault of 9 s, of which the election takes about 4."""
    need("mongod")
    file = tmp_path / "short.toml"
    file.write_text('nemesis = "partition-primary"\ntime = 17.0\nbaseline = 3.0\nfault = 9.0\nbetween = 4.0\n')
    return file


def test_acknowledged_writes_are_rolled_back_and_reads_are_stale(splitbrain: Splitbrain, chained: Path) -> None:
    ran = splitbrain("test", "mongodb", "--variant", "w1", "--plan", chained)
    result = ran.result
    assert (ran.code, result.classification) == (1, "neither"), ran.stdout
    assert result.counts["lost-write"] > 0 and result.counts["stale-read"] > 0, ran.stdout
    row = result.scenarios[0]
    assert row.discarded is not None and row.discarded.writes > 0
    assert all(anomaly.fault == 1 for anomaly in result.anomalies if anomaly.identifier == "lost-write")
    assert result.convergence.state == "agreed"


def test_linearizable_reads_and_majority_writes_are_cp(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "mongodb", "--variant", "linearizable", "--plan", short)
    result = ran.result
    assert (ran.code, result.validity, result.classification) == (0, "valid", "CP"), ran.stdout
    minority = next(side for side in result.scenarios[0].sides if not side.quorum)
    assert not minority.write.share and not minority.read.share
