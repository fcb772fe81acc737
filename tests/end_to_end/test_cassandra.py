"""Whole runs of Cassandra: what each consistency level is known to do when a node is cut off."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran, need

Splitbrain = Callable[..., Ran]


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A plan of 18 s: one node is cut off for 7."""
    need("java", "cassandra")
    file = tmp_path / "short.toml"
    file.write_text('nemesis = "one-node"\ntime = 22.0\nbaseline = 6.0\nfault = 7.0\nbetween = 8.0\n')
    return file


def test_one_is_available_stale_and_converges(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "cassandra", "--variant", "one", "--plan", short)
    result = ran.result
    assert (ran.code, result.classification) == (1, "AP"), ran.stdout
    assert result.counts["stale-read"] > 0 and result.convergence.state == "agreed"


def test_serial_is_never_wrong_and_the_other_side_is_blocked(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "cassandra", "--variant", "serial", "--plan", short)
    result = ran.result
    shares = {side.quorum: side.write.share for side in result.scenarios[0].sides}
    assert not result.anomalies and not shares[False] and (shares[True] or 0) > 0.5, ran.stdout
    assert (ran.code, result.classification) == (0, "CP"), ran.stdout
