"""`splitbrain.run`: from a person's own program, from a thread, beside an event loop."""

from __future__ import annotations

import asyncio
import signal
import threading
from pathlib import Path

import pytest

import splitbrain

FORGETFUL = Path(__file__).parent / "forgetful.py"


async def test_a_run_in_a_thread_beside_an_event_loop(tmp_path: Path) -> None:
    handler, threads = signal.getsignal(signal.SIGINT), threading.active_count()
    running = asyncio.create_task(asyncio.to_thread(
        splitbrain.run, str(FORGETFUL), runs=tmp_path / "runs", nemesis="halves", time=7, baseline=2, fault=3, between=2,
        keys=20, expect=["stale-read"],
    ))
    turns = 0
    while not running.done():
        await asyncio.sleep(0.1)
        turns += 1
    outcome = await running
    assert turns > 10, "the loop went on meanwhile"
    assert (outcome.exit_code, outcome.folder.parent) == (0, tmp_path / "runs"), outcome.told
    assert outcome.result is not None and outcome.result.counts["stale-read"] > 0
    assert (outcome.folder / "report.html").is_file() and "stale-read" in outcome.told
    assert signal.getsignal(signal.SIGINT) is handler and threading.active_count() < threads + 10


def test_what_cannot_run_is_refused_and_what_did_not_start_is_told(tmp_path: Path) -> None:
    with pytest.raises(splitbrain.UsageError, match="did you mean 'redis'"):
        splitbrain.run("redos", runs=tmp_path / "runs")
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(splitbrain.SplitbrainError, match="cannot be written"):
        splitbrain.run("reference", runs=tmp_path / "runs", nemesis="none", time=2)


def test_what_is_no_path_and_no_name_is_refused_in_a_sentence() -> None:
    wrongs = ({"runs": None}, "runs=None: a path"), ({"plan": 3}, "plan=3: a path"), ({"name": 3}, "name=3: a text")
    for wrong, told in wrongs:
        with pytest.raises(splitbrain.UsageError, match=told):
            splitbrain.run("reference", **wrong)
