"""Suites on other machines: Dask's own cluster on loopback, whose workers are processes; each address is a machine."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Thread
from typing import Any

import msgspec
import pytest

from splitbrain import __version__
from splitbrain.checkers import linearizability
from splitbrain.checkers.models.specifications import CasRegister, Model
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness import machines
from splitbrain.harness.check import check_file
from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import History
from splitbrain.harness.plan import Plan
from splitbrain.harness.suite import suite
from tests.checkers.linearizability.random_histories import register_history
from tests.checkers.transactions.test_spread import side_by_side
from tests.conftest import NOT_COPIED, ROOT

distributed = pytest.importorskip("distributed")
pytestmark = pytest.mark.servers

SHORT = """
database = "reference"
nemesis = "none"
time = 2
settle = 2
[[runs]]
variant = ["majority", "primary-async"]
repeats = {repeats}
"""


@contextmanager
def cluster(*hosts: str) -> Iterator[Any]:
    """A cluster with a worker at each of these addresses, in a process of its own."""
    workers = {
        at: {"cls": distributed.Nanny, "options": {"host": host, "nthreads": 2, "dashboard_address": None}}
        for at, host in enumerate(hosts)
    }
    scheduler = {"cls": distributed.Scheduler, "options": {"host": "127.0.0.1", "dashboard": False}}
    with distributed.SpecCluster(scheduler=scheduler, workers=workers, asynchronous=False, silence_logs=50) as made:
        yield made


class Watch:
    """Keeps what is told, and calls `at_load` with the machine once a run says that its set-up is over."""

    def __init__(self, at_load: Any = None) -> None:
        self.where: dict[int, list[str]] = {}
        self.notes: list[str] = []
        self.told: dict[int, str] = {}
        self._at_load = at_load

    def begins(self, number: int, plan: Plan, where: str) -> None:
        self.where.setdefault(number, []).append(where)

    def says(self, number: int, line: str) -> None:
        if line.startswith("set-up") and self._at_load is not None:
            then, self._at_load = self._at_load, None
            # Dask's own thread tells this, and must go on.
            Thread(target=then, args=(self.where[number][-1],)).start()

    def ended(self, number: int, told: str) -> None:
        self.told[number] = told

    def note(self, text: str) -> None:
        self.notes.append(text)


def _suite(tmp_path: Path, repeats: int) -> Path:
    file = tmp_path / "short.toml"
    file.write_text(SHORT.format(repeats=repeats))
    return file


def _times(folder: Path) -> tuple[float, float]:
    """When a run began and ended."""
    return (folder / "plan.toml").stat().st_mtime, (folder / "result.json").stat().st_mtime


def test_runs_are_spread_one_at_a_time_on_each_machine_and_come_back_also_from_a_worker_that_was_killed(
    tmp_path: Path,
) -> None:
    killed: list[str] = []
    file = _suite(tmp_path, 2)
    with (
        cluster("127.0.0.1", "127.0.0.2", "127.0.0.2") as made, suite.open_suite(file, tmp_path) as opened,
        machines.connect(made.scheduler_address) as reached,
    ):
        def kill(where: str) -> None:
            until = time.monotonic() + 60
            # On a slow machine that run may have ended by now; then it is the next one's.
            while not (found := [one for one, has in reached.client.run(_has_runs).items() if has and where in one]):
                assert time.monotonic() < until
                time.sleep(0.02)
            worker = found[0]
            killed.append(where)
            os.kill(reached.client.run(os.getpid, workers=[worker])[worker], signal.SIGKILL)

        watch = Watch(kill)
        finished = suite.complete(opened, _on(reached, watch), lambda *_: None)
    assert [entry.exit_code for entry in finished.entries] == [0, 0, 0, 0], [entry.reason for entry in finished.entries]
    for entry in finished.entries:
        folder = opened.folder / entry.run
        assert {"plan.toml", "journal.jsonl", "result.json", "report.html", "junit.xml"} <= {p.name for p in folder.iterdir()}
        assert (folder / "nodes").is_dir()
    assert killed and any("was lost" in note for note in watch.notes)
    assert sum(map(len, watch.where.values())) == 5, "one run was done twice"
    assert {where for places in watch.where.values() for where in places} == {"127.0.0.1", "127.0.0.2"}
    assert set(watch.told) == {0, 1, 2, 3}
    by_host: dict[str, list[tuple[float, float]]] = {}
    for number, entry in enumerate(finished.entries):
        by_host.setdefault(watch.where[number][-1], []).append(_times(opened.folder / entry.run))
    for spans in by_host.values():
        spans.sort()
        assert all(before[1] <= after[0] + 1 for before, after in pairwise(spans)), spans


def _on(reached: machines.Cluster, watch: Watch) -> Callable[[suite.Suite], Iterable[tuple[int, suite.Ended]]]:
    return lambda opened: machines.perform_on(reached, suite.pending(opened), opened.folder, watch)


def _has_runs() -> bool:
    return bool(machines._running)


def test_an_interrupted_suite_tears_down_what_other_machines_run_and_goes_on_later(tmp_path: Path) -> None:
    file = _suite(tmp_path, 1)

    def interrupt(where: str) -> None:
        os.kill(os.getpid(), signal.SIGINT)

    with cluster("127.0.0.1") as made, machines.connect(made.scheduler_address) as reached:
        with suite.open_suite(file, tmp_path) as opened, pytest.raises(KeyboardInterrupt):
            suite.complete(opened, _on(reached, Watch(interrupt)), lambda *_: None)
        deadline = time.monotonic() + 120
        while any(reached.client.run(_has_runs).values()):
            assert time.monotonic() < deadline, "its run goes on"
            time.sleep(0.1)
        with suite.open_suite(file, tmp_path) as again:
            assert again.folder == opened.folder
            finished = suite.complete(again, _on(reached, Watch()), lambda *_: None)
    assert suite.worst(finished) == 0


def test_a_worker_with_other_sources_is_refused_with_a_sentence(tmp_path: Path) -> None:
    shutil.copytree(ROOT, tmp_path / "other", symlinks=True, ignore=NOT_COPIED)
    with (tmp_path / "other" / "checkers" / "judge.py").open("a") as file:
        file.write("# Another state of the same version.\n")
    with cluster() as made:
        command = [sys.executable, "-P", "-m", "distributed.cli.dask_worker", made.scheduler_address, "--no-dashboard"]
        folder = ["--local-directory", str(tmp_path / "scratch"), "--host", "127.0.0.3"]
        worker = subprocess.Popen(
            [*command, *folder], env={**os.environ, "PYTHONPATH": str(tmp_path / "other" / "src")},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            told = rf"^the worker at 127\.0\.0\.3 has a splitbrain {__version__} of other sources .*: give both the same\.$"
            with pytest.raises(UsageError, match=told), machines.connect(made.scheduler_address):
                pass
        finally:
            worker.terminate()
            worker.wait(30)


def test_what_else_may_differ_is_told_and_nobody_there_is_too(tmp_path: Path) -> None:
    own = tmp_path / "mine.py"
    own.write_text("")
    here = machines.machine((str(own),))
    for there, told in (
        (here, ""),
        (here._replace(splitbrain="9.9"), f"has splitbrain 9.9, here is {__version__}"),
        (here._replace(python="2.7"), "has Python 2.7"),
        (here._replace(distributed="1"), "has distributed 1"),
        (here._replace(files=("0",)), f"has another {own}"),
        (here._replace(files=("",)), f"has no {own}"),
        (ModuleNotFoundError(name="splitbrain"), "has no splitbrain: pip install"),
        (AttributeError("no such function"), "cannot tell what it has"),
    ):
        found = machines._difference("tcp://10.0.0.7:4321", here, there, [str(own)])
        assert told in found and (not told or found.startswith("the worker at 10.0.0.7 "))
    with pytest.raises(SetupError, match="no Dask scheduler answers"), machines.connect("127.0.0.1:9"):
        pass


def test_the_parts_of_histories_are_judged_by_workers_also_if_one_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines.Parts, "operations", 200)
    monkeypatch.setattr(machines.Parts, "edges", 12)
    rng = random.Random(3)
    many = [
        msgspec.structs.replace(one, key=key, process=one.process + 100 * key)
        for key in range(40) for one in register_history(rng, operations=60, broken=0.2, info=0.02)
    ]
    history = History.of(many)
    here = linearizability.check(history, CasRegister())
    assert here.validity == "invalid" and (here.coverage.refuted or 0) > 1
    with cluster("127.0.0.1", "127.0.0.2") as made, machines.connect(made.scheduler_address) as reached:
        judged = machines.Parts(reached)
        asked: list[int] = []

        def spread(parts: Iterable[History], model: Model, time_limit: float) -> Iterator[Verdict]:
            for at, verdict in enumerate(judged(parts, model, time_limit)):
                if at == 1:
                    process = next(iter(reached.client.run(os.getpid).values()))
                    os.kill(process, signal.SIGKILL)
                asked.append(at)
                yield verdict

        spread.operations = 200  # type: ignore[attr-defined]
        there = linearizability.check_parts(history, CasRegister(), 60.0, spread)  # type: ignore[arg-type]
        transactions = [_checked(tmp_path, lists, judged) for lists in (True, False)]
    assert len(asked) > 4
    assert there.reason == here.reason and there.counts == here.counts and there.coverage.keys == 40
    assert {one.key for one in there.anomalies} == {one.key for one in here.anomalies}
    for alone, spread_out, answers in transactions:
        assert answers > 1 and alone.validity == "invalid" and len(alone.counts) > 2
        assert msgspec.structs.replace(spread_out, seconds=0.0) == msgspec.structs.replace(alone, seconds=0.0)


def _checked(folder: Path, lists: bool, judged: machines.Parts) -> tuple[Verdict, Verdict, int]:
    """The verdict on a file of transactions here, and by the workers, and how often these answered."""
    file = folder / "history.jsonl"
    file.write_bytes(jsonl.encode(side_by_side(random.Random(2), 20, lists=lists)))
    answers = 0
    each = judged.each

    def counted(call: Any, works: Any, seconds: float) -> Iterator[Any]:
        nonlocal answers
        for answer in each(call, works, seconds):
            answers += 1
            yield answer

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(judged, "each", counted)
        alone, spread_out = check_file(file).verdict, check_file(file, spread=judged).verdict
    return alone, spread_out, answers
