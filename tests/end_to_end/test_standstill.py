"""A harness that is stopped in the middle of a cut says so, and blames nobody for it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

from splitbrain.checkers.result import decode
from splitbrain.harness.history.journal import load
from tests.end_to_end.started import Started

PLAN = "time = 14.0\nbaseline = 2.0\nfault = 9.0\nbetween = 2.5\nkeys = 20\n"


def writers(journal: Path) -> list[int]:
    """The processes that have that journal open: what records the run."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and any(link.readlink() == journal for link in (entry / "fd").iterdir()):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def test_a_harness_that_is_stopped_in_a_cut(start: Callable[..., Started], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(PLAN)
    words = ("reference", "--variant", "majority", "--nemesis", "partition-primary", "--plan", tmp_path / "plan.toml")
    run = start(*words)
    run.until(r'"in_force":\d')
    time.sleep(1)
    recorders = writers(run.journal)
    assert recorders
    stopping = time.monotonic()
    for process in recorders:
        os.kill(process, signal.SIGSTOP)
    stopped = time.monotonic()
    time.sleep(4)
    going = time.monotonic()
    for process in recorders:
        os.kill(process, signal.SIGCONT)
    least, most = going - stopped, time.monotonic() - stopping
    told = run.end()
    _, recording = load(run.journal)
    assert recording.stalls
    longest = max(stall.length for stall in recording.stalls) / 1e9
    # It notices that it stood still when it is its turn again.
    assert least - 0.1 < longest < most + 3
    assert f"the harness stood still for {longest:.1f} s" in " ".join(told.split())
    result = decode((run.journal.parent / "result.json").read_bytes())
    (row,) = result.scenarios
    majority = next(side for side in row.sides if side.quorum)
    assert row.stood_still > least - 0.1 and row.links_cut == 8
    assert max(majority.write.outage, majority.read.outage) < least - 0.5, "the stall is no outage"
    minority = next(side for side in row.sides if not side.quorum)
    assert minority.write.state == "blocked", "the control: what the cut did is still seen"
    assert any(check.name == "harness" and not check.passed for check in result.quality.checks)
    assert "lost-write" not in result.counts and result.validity != "invalid"
