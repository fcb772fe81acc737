"""What every test shares: where servers are, and how a person's command is called."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings

from splitbrain.checkers.result import Result
from splitbrain.harness.servers import find_program
from tests.lab import enter

ROOT = Path(__file__).parent.parent
HISTORIES = ROOT.parent / "shared" / "histories"
SERVERS = ("end_to_end", "harness/databases", "harness/testbeds", "installed", "newcomers", "walks")
"""Folders of tests in which all start servers or namespaces."""
NOT_COPIED = shutil.ignore_patterns(
    ".venv", "runs", ".git", ".*cache", "*.egg-info", ".hypothesis", "*.pyc.*", "*.tmp.*"
)
"""What a copy of the checkout does without: what it does not need, and what tests beside it write and take away meanwhile."""
STARTERS = {"with_cluster", "with_power", "beside", "inside"}
"""What elsewhere a test that starts some calls."""

LONG = (
    "end_to_end/test_runs.py",
    "end_to_end/test_bad_luck.py",
    "harness/databases/test_partitions.py",
    "end_to_end/test_docker.py",
    "end_to_end/test_cassandra.py",
    "newcomers/test_new.py",
    "newcomers/test_pytest_plugin.py",
    "harness/testbeds/test_docker.py",
    "harness/test_suite.py",
    "harness/testbeds/test_attach.py",
    "end_to_end/test_guarantees.py",
    "end_to_end/test_structures.py",
    "harness/test_machines.py",
    "harness/testbeds/test_ssh.py",
    "harness/testbeds/test_ssh_disks.py",
    "harness/testbeds/test_ssh_wall.py",
    "harness/databases/test_reference.py",
    "walks/test_walks.py",
    "nemeses/test_membership.py",
    "harness/testbeds/test_attach_containers.py",
    "newcomers/test_mistakes.py",
    "harness/testbeds/test_namespaces.py",
    "end_to_end/test_mongodb.py",
    "harness/databases/test_cassandra.py",
    "end_to_end/test_public_run.py",
    "nemeses/test_load.py",
    "nemeses/test_power.py",
    "harness/databases/test_reference_members.py",
    "end_to_end/test_standstill.py",
    "end_to_end/test_cases.py",
    "harness/databases/test_mongodb.py",
    "nemeses/test_upgrade.py",
)
"""Files that take about a minute or longer, most of it waiting; the longest first, and those with Docker's engine, which only
one has at a time, far from each other."""

# How fast examples are made says how busy the machine is.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # A shell begins so what runs in the background; tests interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what `make check` leaves out, and put the files in turn."""
    slow = [ROOT / "tests" / folder for folder in SERVERS]
    for item in items:
        if any(folder in item.path.parents for folder in slow) or starts(item):
            item.add_marker(pytest.mark.servers)
    items[:] = in_turn(items)


def in_turn(items: list[pytest.Item]) -> list[pytest.Item]:
    """The same tests, file by file: the long files evenly among the others, the longest first.

    So what waits runs beside what computes, and processes that take the next file when they have done one end together.
    """
    files: dict[Path, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.path, []).append(item)
    long = [path for name in LONG if (path := ROOT / "tests" / name) in files]
    others = sorted((path for path in files if path not in long), key=lambda path: -sum(map(weight, files[path])))
    place = {path: at / len(some) for some in (long, others) for at, path in enumerate(some)}
    return [item for path in sorted((*long, *others), key=place.__getitem__) for item in files[path]]


def weight(item: pytest.Item) -> int:
    """How many of the short tests one is about as long as."""
    return 30 if item.get_closest_marker("servers") else 1


def starts(item: pytest.Item) -> bool:
    """Whether a test calls what starts servers, or the command or the function that does."""
    if not isinstance(item, pytest.Function):
        return False
    names, constants = set(), set()
    codes = [item.function.__code__]
    while codes:
        code = codes.pop()
        names |= {*code.co_names}
        constants |= {one for one in code.co_consts if isinstance(one, str)}
        codes += [one for one in code.co_consts if isinstance(one, CodeType)]
    commanded = "splitbrain" in item.fixturenames and {"test", "suite"} & constants
    return bool(STARTERS & names or commanded or {"splitbrain", "test"} <= names)


class Ran(msgspec.Struct, frozen=True):
    """A command that ended: its exit code, what it printed, and the run's folder where it made one."""

    code: int
    stdout: str
    stderr: str
    runs: Path

    @property
    def said(self) -> str:
        """What it printed, as if no line were broken: where one is, depends on what stands before it."""
        return " ".join(self.stdout.split())

    @property
    def folder(self) -> Path:
        return max(path.parent for path in self.runs.glob("*/journal.jsonl"))

    @property
    def result(self) -> Result:
        return msgspec.json.decode((self.folder / "result.json").read_bytes(), type=Result)


@pytest.fixture
def splitbrain(tmp_path: Path) -> Callable[..., Ran]:
    """Calls `splitbrain` as a person does; runs are kept in the test's own folder."""

    def call(*words: object, seconds: float = 280, **environment: str) -> Ran:
        command = [sys.executable, "-m", "splitbrain.harness.cli", *map(str, words)]
        if words[:1] in (("test",), ("suite",)):
            command += ["--runs", str(tmp_path / "runs")]
        ran = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment}, check=False,
        )
        return Ran(ran.returncode, ran.stdout, ran.stderr, tmp_path / "runs")

    return call


@pytest.fixture
def lab(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """See `tests.lab.enter`."""
    yield from enter(monkeypatch)


def need(*programs: str) -> None:
    """Skip, loudly and by name, where a server cannot be had; in CI that is a failure."""
    missing = [program for program in programs if find_program(program) is None]
    if missing and os.environ.get("CI"):
        pytest.fail(f"CI has no {', '.join(missing)}")
    if missing:
        pytest.skip(f"no {', '.join(missing)} on this machine: 'splitbrain doctor' says how to get it")
