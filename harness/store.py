"""The folder of one run, and of all runs.

    runs/20261105T021012-redis-sentinel-register/
        plan.toml       the plan with what each key means, accepted back by --plan
        journal.jsonl   every event
        nodes/n1/       what each node wrote: logs, and its data where the plan keeps it
        result.json     the judgement
        report.html     for people
        junit.xml       for a nightly job
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from splitbrain.harness.errors import StorageError, UsageError
from splitbrain.harness.files import write_whole
from splitbrain.harness.plan import Plan, short
from splitbrain.harness.plan_file import written

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Run(msgspec.Struct, frozen=True):
    """One run's folder; its name is the run's label, carried by everything that the run makes."""

    folder: Path

    @property
    def label(self) -> str:
        return self.folder.name

    @property
    def plan(self) -> Path:
        return self.folder / "plan.toml"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"

    @property
    def result(self) -> Path:
        return self.folder / "result.json"

    @property
    def report(self) -> Path:
        return self.folder / "report.html"

    @property
    def junit(self) -> Path:
        return self.folder / "junit.xml"

    @property
    def data(self) -> tuple[Path, ...]:
        """The nodes' data folders, those that are there; what a link leads to is not one."""
        found = self.folder.glob("nodes/*/data")
        return tuple(sorted(data for data in found if data.resolve() == self.folder.resolve() / data.relative_to(self.folder)))

    def drop_data(self) -> None:
        """Remove the nodes' data folders; logs stay."""
        for data in self.data:
            shutil.rmtree(data, ignore_errors=True)


def create(runs: Path, plan: Plan, name: str = "") -> Run:
    """A new run's folder with its plan in it, called `name`, or by the time and what is tested. Raises `UsageError` for a name
    that cannot be one or is taken, `StorageError` if it cannot be written."""
    if name:
        run = Run(_create_named(runs, name))
    else:
        run = Run(create_folder(runs, f"{short(plan.database)}-{plan.variant}-{short(plan.workload)}"))
    write_plan(run.plan, plan)
    return run


def write_plan(file: Path, plan: Plan) -> None:
    """Write a plan to be given back with --plan. Raises `StorageError` where it cannot be written."""
    write_whole(file, written(plan).encode())


def _create_named(runs: Path, name: str) -> Path:
    if not _NAME.fullmatch(name):
        raise UsageError(f"run name '{name}': letters, digits and . _ - make a name, which begins with a letter or digit.")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        (runs / name).mkdir()
    except FileExistsError as error:
        raise UsageError(f"{runs / name}: is there already: give the run another name.") from error
    except OSError as error:
        raise StorageError(f"{runs}: cannot be written: {error.strerror}. Name another folder with --runs.") from error
    return (runs / name).absolute()


def create_folder(runs: Path, name: str) -> Path:
    """A new folder in `runs`, named by the time (UTC) and `name`. Raises `StorageError` where it cannot be made."""
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S")
    try:
        runs.mkdir(parents=True, exist_ok=True)
        for suffix in ("", *(f"-{n}" for n in range(2, 1000))):
            folder = runs / f"{stamp}-{name}{suffix}"
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            return folder.absolute()
    except OSError as error:
        raise StorageError(f"{runs}: cannot be written: {error.strerror}. Name another folder with --runs.") from error
    raise StorageError(f"{runs}: holds a thousand runs of this second: name another folder with --runs.")


def find(path: Path) -> Run:
    """The run in that folder. Raises `UsageError` where there is none."""
    run = Run(path.absolute())
    if not run.journal.is_file():
        raise UsageError(f"{path}: not the folder of a run (it holds no journal.jsonl).")
    return run


@contextmanager
def owned(folder: Path) -> Iterator[bool]:
    """Whether this process alone has that folder, of a run or a suite: the kernel forgets it with the process."""
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        alone = True
    except BlockingIOError:
        alone = False
    try:
        yield alone
    finally:
        os.close(descriptor)


def left_data(runs: Path) -> Iterator[tuple[Run, int]]:
    """The runs in that folder, or in its suites, that were killed and whose nodes' data is still there though their plans do
    not keep it, each with the size of it in bytes."""
    for path in sorted(runs.rglob("plan.toml")):
        run = Run(path.parent)
        try:
            kept = tomllib.loads(path.read_text()).get("keep", False)
        except (OSError, ValueError):
            continue
        with owned(run.folder) as alone:
            if alone and not kept and run.data:
                files = (file for data in run.data for file in data.rglob("*") if file.is_file() and not file.is_symlink())
                yield run, sum(file.stat().st_blocks * 512 for file in files)
