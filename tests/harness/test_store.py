"""Folders of runs: what a killed one left is found, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness import recorder, store
from splitbrain.harness.plan import Plan
from splitbrain.harness.store import Run
from splitbrain.reports.terminal import Progress, console

PLAN = Plan(database="d", variant="v")


def with_data(run: Run) -> Run:
    data = run.folder / "nodes" / "n1" / "data"
    data.mkdir(parents=True)
    (data / "big").write_bytes(b"x" * 100_000)
    (data.parent / "server.log").write_text("said")
    return run


def test_the_data_of_killed_runs_is_found_and_nothing_else(tmp_path: Path) -> None:
    killed, running = (with_data(store.create(tmp_path, PLAN)) for _ in range(2))
    with_data(store.create(tmp_path, Plan(database="d", variant="v", keep=True)))
    store.create(tmp_path, PLAN)
    mine = tmp_path / "mine" / "n1" / "data"
    mine.mkdir(parents=True)
    (mine / "precious").write_text("mine")
    crafted = store.create(tmp_path, PLAN)
    (crafted.folder / "nodes").symlink_to(tmp_path / "mine")
    with store.owned(running.folder) as alone:
        assert alone
        ((found, size),) = store.left_data(tmp_path)
    assert found == killed and size >= 100_000
    found.drop_data()
    crafted.drop_data()
    assert not found.data and (killed.folder / "nodes" / "n1" / "server.log").exists() and (mine / "precious").exists()


def test_a_log_without_end_is_cut_and_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MOST_LOG", 1000)
    run = with_data(store.create(tmp_path, PLAN))
    recording = recorder._Recorder(PLAN, run, None, Progress(console()))  # type: ignore[arg-type]
    log = run.folder / "nodes" / "n1" / "server.log"
    with log.open("ab", buffering=0) as server:
        for _ in range(5):
            server.write(b"x" * 700)
            recording.limit_logs()
            assert log.stat().st_size <= 1000
        server.write(b"last words")
    assert log.read_bytes().startswith(b"said") and log.read_bytes().endswith(b"last words")
    recording.journal.close()
    assert run.journal.read_text().count("its middle was cut out") == 1
