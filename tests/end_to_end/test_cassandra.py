"""Whole runs of Cassandra: what each consistency level is known to do when a node is cut off.

A busy machine makes Cassandra slow, so that the fault is long enough for many operations on each side, and the load goes on
after the heal for longer than recovery takes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.harness.servers import find_program
from tests.conftest import Ran, need

Splitbrain = Callable[..., Ran]

LONG = 300
"""Seconds that a run may take: half a minute of load, and twice as much for servers that start and settle on a busy machine."""


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """A plan of half a minute: one node is cut off for the half of it."""
    need("java", "cassandra")
    file = tmp_path / "short.toml"
    file.write_text('nemesis = "one-node"\ntime = 32.0\nbaseline = 6.0\nfault = 14.0\nbetween = 12.0\n')
    return file


@pytest.fixture
def jars(tmp_path: Path) -> Path:
    """A folder of Cassandra's jars, and nothing else."""
    need("java", "cassandra")
    folder = tmp_path / "jars"
    folder.mkdir()
    for jar in Path(str(find_program("cassandra"))).parent.glob("*.jar"):
        (folder / jar.name).symlink_to(jar)
    return folder


def test_one_is_available_stale_and_converges(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "cassandra", "--variant", "one", "--plan", short, seconds=LONG)
    result = ran.result
    assert (ran.code, result.classification) == (1, "AP"), ran.stdout
    assert result.counts["stale-read"] > 0 and result.convergence.state == "agreed"


def test_quorum_is_served_on_the_majority_side_alone(splitbrain: Splitbrain, short: Path, jars: Path) -> None:
    ran = splitbrain("test", "cassandra", "--variant", "quorum", "--plan", short, "--binary", jars, seconds=LONG)
    (row,) = ran.result.scenarios
    majority, minority = sorted(row.sides, key=lambda side: not side.quorum)
    assert row.bit and len(minority.nodes) == 1, ran.stdout
    for found in (minority.read, minority.write):
        assert (found.state, found.answered) == ("blocked", 0), ran.stdout
    # A read may wait for the node that was cut off until it is taken for dead; a write asks every replica.
    assert (majority.write.share or 0) > 0.5 and majority.read.answered > 0, ran.stdout
    assert ran.result.convergence.state == "agreed", ran.stdout


def test_serial_is_never_wrong_and_the_other_side_is_blocked(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "cassandra", "--variant", "serial", "--plan", short, seconds=LONG)
    result = ran.result
    shares = {side.quorum: side.write.share for side in result.scenarios[0].sides}
    assert not result.anomalies and not shares[False] and (shares[True] or 0) > 0.5, ran.stdout
    # On a slow machine its gossip may take longer to come back than the load goes on.
    assert ran.code == 0 and (result.classification == "CP" or "served again after the heal" in result.sentence), ran.stdout
