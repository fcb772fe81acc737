"""splitbrain in a person's own suite: the fixture `splitbrain`, and the mark `partition`.

    @pytest.mark.partition(database="./mine.py", nemesis="halves", expect=["CP"])
    def test_it_survives_a_partition():
        ...

    def test_what_it_loses(splitbrain):
        outcome = splitbrain("./mine.py", nemesis="partition-primary", time=20)
        assert "lost-write" not in outcome.result.counts

A test that is marked and does not take the fixture begins with the run, and fails unless that ends with exit code 0; one that
takes it decides by itself, and `splitbrain()` runs what the mark names. What the terminal said goes into the sections of the
test's report, and where the run's folder is into its properties (and so into pytest's own JUnit XML).

Every suite of an environment in which splitbrain is installed loads this module: it imports nothing until a run is asked for.
"""

from __future__ import annotations

import fcntl
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from splitbrain.harness.run import Outcome

MARK = "partition"
OPTIONS: tuple[tuple[str, Any, str], ...] = (
    ("time", float, "length of the load in seconds"),
    ("rate", float, "operations a second"),
    ("nodes", int, "nodes in the cluster"),
    ("seed", int, "same schedule of operations and faults"),
    ("nemesis", str, "what goes wrong"),
    ("testbed", str, "where nodes live: namespaces, docker"),
)
"""The keys of a plan that the command line decides, whatever a test says: `--splitbrain-time 60`."""


class Runner:
    """What the fixture gives: called with keys of a plan, it tests a database and returns the outcome."""

    def __init__(self, item: pytest.Item) -> None:
        self._item = item

    def __call__(self, database: str | Path | None = None, **plan: Any) -> Outcome:
        """A run of what the test's mark names, with these keys over it, and those of the command line over both. A path is
        taken from the folder of the test's file if it is there. Its folder is made in `--splitbrain-runs`, one for each worker
        of xdist; runs of several workers wait for each other, because each needs the machine.

        Raises `UsageError` for a plan that cannot be run.
        """
        from splitbrain.harness.run import run

        item = self._item
        mark = item.get_closest_marker(MARK)
        keys: dict[str, Any] = {**(mark.kwargs if mark is not None else {}), **plan}
        if database is not None:
            keys["database"] = database
        for name, _, _ in OPTIONS:
            if (value := item.config.getoption(f"splitbrain_{name}")) is not None:
                keys[name] = value
        if "database" not in keys:
            pytest.fail(f"name a database: splitbrain('reference'), or @pytest.mark.{MARK}(database=...)", pytrace=False)
        for name in ("database", "workload", "nemesis", "plan"):
            if name in keys and (near := item.path.parent / str(keys[name])).is_file():
                keys[name] = str(near)
        runs = Path(item.config.getoption("splitbrain_runs"))
        worker = getattr(item.config, "workerinput", {}).get("workerid", "")
        with _alone(runs, worker):
            outcome = run(str(keys.pop("database")), runs=runs / worker, **keys)
        item.add_report_section("call", "splitbrain", outcome.told)
        item.user_properties.append(("splitbrain", str(outcome.folder)))
        return outcome


@pytest.fixture
def splitbrain(request: pytest.FixtureRequest) -> Runner:
    """Tests a database as `splitbrain test` does: `splitbrain("redis", nemesis="halves", time=20) -> Outcome`."""
    return Runner(request.node)


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--splitbrain-time` and the others."""
    group = parser.getgroup("splitbrain", "partition tests of databases")
    group.addoption("--splitbrain-runs", default="runs", metavar="FOLDER", help="the folder that keeps all runs (runs)")
    for name, kind, text in OPTIONS:
        group.addoption(f"--splitbrain-{name}", type=kind, default=None, metavar=name.upper(), help=f"{text}, for every run")


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", f"{MARK}(database, **plan): begin with a run of splitbrain; keys of a plan: expect, ...")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """All runs go to one worker under xdist's `--dist loadgroup`."""
    if config.pluginmanager.hasplugin("xdist"):
        for item in items:
            if item.get_closest_marker(MARK) is not None:
                item.add_marker(pytest.mark.xdist_group("splitbrain"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, Any, Any]:
    """A marked test that does not take the fixture begins with the run, and fails with it."""
    if item.get_closest_marker(MARK) is not None and "splitbrain" not in getattr(item, "fixturenames", ()):
        from splitbrain.harness.errors import SplitbrainError

        try:
            outcome = Runner(item)()
        except SplitbrainError as error:
            pytest.fail(f"splitbrain: {error}", pytrace=False)
        if outcome.exit_code:
            head = "" if outcome.result is not None else "NO VERDICT: "
            told = f"{head}{outcome.reason} (exit code {outcome.exit_code}; {outcome.folder / 'report.html'})"
            pytest.fail(told, pytrace=False)
    return (yield)


@contextmanager
def _alone(runs: Path, worker: str) -> Iterator[None]:
    """Have the machine for one run: other workers wait."""
    if not worker:
        yield
        return
    runs.mkdir(parents=True, exist_ok=True)
    with (runs / ".turn").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        yield
