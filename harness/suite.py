"""A matrix of plans, run one after another: nightly runs, repeats, rates.

A suite is a TOML file. Top-level keys of a plan are defaults; each `[[runs]]` table overrides them, and where it names a
list for `database`, `variant`, `workload`, `nemesis`, `nodes` or `testbed`, every combination is run, `repeats` times each
with seeds of their own:

    time = 20
    repeats = 10

    [[runs]]
    database = "redis"
    variant = ["sentinel", "sentinel-min-replicas"]
    nemesis = "partition-primary"
    expect = ["lost-write"]

Without a `seed` the seeds differ from day to day (UTC), so that a month of nights is a month of schedules; each run's folder
has its own. Its folder holds `results.json` (rewritten after every run, so that a killed suite goes on where it was),
`index.html`, `runs.json`, `junit.xml` and `summary.md`, beside the folders of its runs, and for each case study among its
workloads a page that puts its runs side by side, `flash-sale.html`.
"""

from __future__ import annotations

import glob
import itertools
import re
import shutil
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from splitbrain.checkers.result import NotJudged, Result, decode
from splitbrain.harness import registry, store
from splitbrain.harness.errors import HistoryError, PlanError, UsageError, hint
from splitbrain.harness.files import write_whole
from splitbrain.harness.options import kinds
from splitbrain.harness.plan import Plan, short
from splitbrain.harness.resolve import read_text, resolve
from splitbrain.harness.run import not_judged
from splitbrain.harness.settings import line, parse, take
from splitbrain.harness.store import Run
from splitbrain.reports import junit, nights, summary
from splitbrain.reports.page import case, index

MATRIX = ("database", "variant", "workload", "nemesis", "nodes", "testbed")
WORST = (70, 64, 3, 4, 1, 2, 0)
"""Exit codes, the worst first: a suite exits with the worst of its runs. Any other is a crash."""


UNREADABLE = 70
"""Of a run whose result is missing, though it ended well, or cannot be read."""


class Entry(msgspec.Struct, frozen=True):
    """One run of a suite: its plan, and once it ended its folder's name, its exit code, and why it has no verdict if it has
    none."""

    plan: Plan
    run: str = ""
    exit_code: int | None = None
    reason: str = ""


class Ended(NamedTuple):
    """What came of one run: its folder's name (empty where it came to none), its exit code, why it has no verdict."""

    run: str
    exit_code: int
    reason: str = ""


class Suite(msgspec.Struct, frozen=True):
    """The runs of a suite in their order, with the folder that keeps them. Only the last attempt at a run counts."""

    name: str
    folder: Path
    entries: tuple[Entry, ...]

    @property
    def finished(self) -> bool:
        return all(entry.exit_code is not None for entry in self.entries)


def read(file: Path) -> tuple[Plan, ...]:
    """The plans of a suite in their order. Raises `UsageError` naming the table and what is wrong with it."""
    text = read_text(file)
    given = parse(text, str(file))
    tables = given.pop("runs", None)
    if tables is None:
        instead = f" (one plan: splitbrain test --plan {file})" if "database" in given else ""
        raise UsageError(f"{file}: has no [[runs]] table: a suite needs at least one{instead}.")
    if not isinstance(tables, list) or not tables or not all(isinstance(table, dict) for table in tables):
        raise UsageError(f"{file}:{line(text, ('runs',))}: runs must be tables, [[runs]] each.")
    plans: list[Plan] = []
    used: set[str] = set()
    for number, table in enumerate(tables, 1):
        try:
            for plan in _plans(given | table):
                plans.append(plan)
                used |= plan.options.keys()
        except PlanError as error:
            places = (("runs", number - 1, *error.keys), error.keys, ("runs", number - 1))
            place = next(found for keys in places if keys and (found := line(text, keys)))
            raise PlanError(error.keys, error.reason, place=f"{file}:{place}: [[runs]] number {number}: ") from error
        except UsageError as error:
            raise UsageError(f"{file}: [[runs]] number {number}: {error}") from error
    for keys, options in ((("options",), given.get("options")),
                          *((("runs", at, "options"), table.get("options")) for at, table in enumerate(tables))):
        if idle := sorted(set(options or {}) - used):
            place = line(text, (*keys, idle[0]))
            raise UsageError(f"{file}:{place}: [options.{idle[0]}]: no run has a workload or nemesis of that name with "
                             f"options: {hint(idle[0], sorted(used))}")
    return tuple(plans)


def _plans(fields: dict[str, Any]) -> Iterator[Plan]:
    """The plans of one table with the defaults of its suite. Raises `PlanError`."""
    fields = dict(fields)
    repeats = fields.pop("repeats", 1)
    seed = fields.pop("seed", int(f"{datetime.now(UTC):%Y%m%d}"))
    if not isinstance(repeats, int) or isinstance(repeats, bool) or not 1 <= repeats <= 1000:
        raise PlanError(("repeats",), f"repeats is {repeats!r}: it must be a whole number from 1 to 1000.")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise PlanError(("seed",), f"seed is {seed!r}: it must be a whole number.")
    for combination in _combinations(fields):
        for repeat in range(repeats):
            own = zlib.crc32(repr((sorted(map(str, combination.items())), repeat)).encode()) % 100_000
            yield resolve(_with_own_options(combination) | {"seed": (seed + own) % 100_000})


def _with_own_options(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of one run without the options that are for other runs of its suite."""
    if not isinstance(fields.get("options"), dict):
        return fields
    told = take(Plan, {name: fields[name] for name in ("workload", "nemesis", "schedule") if name in fields})
    known = kinds(Plan(database="", variant="", **told))
    return fields | {"options": {name: table for name, table in fields["options"].items() if name in known}}


def _combinations(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    lists = {name: value if isinstance(value, list) else [value] for name, value in fields.items() if name in MATRIX}
    for values in itertools.product(*lists.values()):
        yield fields | dict(zip(lists, values, strict=True))


@contextmanager
def open_suite(file: Path, runs: Path) -> Iterator[Suite]:
    """The suite of that file: the newest one in `runs` that was not finished, has the same plans and is nobody else's at the
    moment, else a new one. It is this process' until the end of the context."""
    plans = read(file)
    name = file.stem
    for folder in sorted(runs.glob(f"*-suite-{glob.escape(name)}*"), reverse=True):
        with store.owned(folder) as alone:
            suite = _stored(name, folder) if alone else None
            if suite is None or suite.finished:
                continue
            if _unseeded(entry.plan for entry in suite.entries) == _unseeded(plans):
                yield suite
                return
    folder = store.create_folder(runs, f"suite-{name}")
    with store.owned(folder):
        suite = Suite(name, folder, tuple(Entry(plan) for plan in plans))
        _save(suite)
        yield suite


def _unseeded(plans: Iterable[Plan]) -> list[Plan]:
    """The plans but for their seeds, which are those of the day on which the suite began."""
    return [msgspec.structs.replace(plan, seed=0) for plan in plans]


def earlier(suite: Suite) -> tuple[nights.Night, ...]:
    """The nights before: what other folders of this suite hold, the oldest first."""
    folders = sorted(suite.folder.parent.glob(f"*-suite-{glob.escape(suite.name)}*"))
    return nights.nights(folder for folder in folders if folder.name < suite.folder.name and _is_of(suite.name, folder))


def _is_of(name: str, folder: Path) -> bool:
    """Whether a folder is one of that suite, and not of one whose name begins alike."""
    return re.fullmatch(rf"\d{{8}}T\d{{6}}-suite-{re.escape(name)}(-\d+)?", folder.name) is not None


def publish(suite: Suite, left: str = "") -> None:
    """Write what people and jobs read of a suite as it stands: index, summary, JUnit, and the lines that later nights compare
    with. `left` says how long the rest takes. Raises `StorageError`."""
    found = outcomes(suite)
    told = nights.all_told(found)
    nights.write(suite.folder, told)
    done = sum(entry.exit_code is not None for entry in suite.entries)
    index.write(suite.folder / "index.html", suite.name, told, earlier(suite), index.Status(done, len(suite.entries), left))
    junit.write(suite.folder / "junit.xml", found)
    summary.write(suite.folder / "summary.md", found)
    for page, name, here in _cases(suite, found):
        of = sum(entry.plan.workload == name for entry in suite.entries)
        case.write(page, short(name), registry.look_up("workloads", name).summary, here, of)


def case_pages(suite: Suite) -> tuple[Path, ...]:
    """The pages of the case studies among the runs of a suite."""
    return tuple(page for page, _, _ in _cases(suite, outcomes(suite)))


def _cases(
    suite: Suite, found: Sequence[Result | NotJudged]
) -> Iterator[tuple[Path, str, tuple[Result | NotJudged, ...]]]:
    """Each case study: its page, its workload, and what came of its runs."""
    for name in dict.fromkeys(one.plan.workload for one in found if one.plan is not None and case.has_figures(one)):
        here = tuple(one for one in found if one.plan is not None and one.plan.workload == name)
        yield suite.folder / f"{Path(name).stem}.html", name, here


def drop_old(suite: Suite, kept: int) -> tuple[Path, ...]:
    """Remove the oldest folders of this suite beyond the newest `kept`, this one among them; one that another process has is
    left alone. The removed ones."""
    folders = [
        folder for folder in sorted(suite.folder.parent.glob(f"*-suite-{glob.escape(suite.name)}*"))
        if _is_of(suite.name, folder) and not folder.is_symlink() and (folder / "results.json").is_file()
    ]
    removed = []
    for folder in folders[: max(0, len(folders) - kept)]:
        with store.owned(folder) as alone:
            if alone and folder != suite.folder:
                shutil.rmtree(folder, ignore_errors=True)
                removed.append(folder)
    return tuple(removed)


def run_suite(suite: Suite, perform: Callable[[Plan, Path], Ended], told: Callable[[Suite], None]) -> Suite:
    """Run what was not run yet, one after another, keeping `results.json` after each. `perform` runs a plan in a folder;
    `told` hears of every change. An interrupted run (130) ends the suite there."""
    return keep(suite, ((number, perform(plan, suite.folder)) for number, plan in pending(suite)), told)


def pending(suite: Suite) -> tuple[tuple[int, Plan], ...]:
    """What was not run yet: the place of each entry in the suite, and its plan."""
    return tuple((number, entry.plan) for number, entry in enumerate(suite.entries) if entry.exit_code is None)


def keep(suite: Suite, ends: Iterable[tuple[int, Ended]], told: Callable[[Suite], None]) -> Suite:
    """Keep `results.json` as runs end, in whichever order they do: each has its place in the suite. An interrupted run (130)
    ends the suite there."""
    for number, ended in ends:
        if ended.exit_code == 130:
            break
        done = Entry(suite.entries[number].plan, ended.run, ended.exit_code, ended.reason)
        suite = msgspec.structs.replace(suite, entries=(*suite.entries[:number], done, *suite.entries[number + 1 :]))
        _save(suite)
        told(suite)
    return suite


def outcomes(suite: Suite) -> tuple[Result | NotJudged, ...]:
    """What came of every run of a suite that ended: its stored result, or why it has none."""
    return tuple(came(suite.folder, entry) for entry in suite.entries if entry.exit_code is not None)


def came(folder: Path, entry: Entry) -> Result | NotJudged:
    """What came of one run that ended, whose folder is in that of its suite: its stored result, or why it has none."""
    code = entry.exit_code or 0
    if not entry.run:
        return NotJudged(run="", plan=entry.plan, reason=entry.reason or "it came to no run", exit_code=code)
    found = _outcome(Run(folder / entry.run), code)
    if isinstance(found, NotJudged):
        return msgspec.structs.replace(found, plan=entry.plan, reason=entry.reason or found.reason)
    return found


def worst(suite: Suite) -> int:
    """The exit code of a suite: the worst of its runs, and of what can be read of them, and 4 where an expected rate is
    refuted; 130 where some were not run."""
    if not suite.finished:
        return 130
    found = outcomes(suite)
    codes = {entry.exit_code for entry in suite.entries} | {one.exit_code for one in found}
    if any(rate.refuted for rate in nights.rates_seen(nights.all_told(found), earlier(suite))):
        codes.add(4)
    if codes - set(WORST):
        return WORST[0]
    return next(code for code in WORST if code in codes)


def results(folder: Path) -> tuple[Result | NotJudged, ...]:
    """What came of every run in a folder of runs (a suite's too), the oldest first: its stored result, or why it has
    none."""
    runs = {path.parent for name in ("plan.toml", "result.json") for path in folder.rglob(name)}
    return tuple(_outcome(Run(run)) for run in sorted(runs))


def judged(folder: Path) -> Result:
    """The stored result of a run. Raises `HistoryError` where it is none, `UsageError` where it cannot be read."""
    found = Run(folder).result
    try:
        return decode(found.read_bytes(), found)
    except OSError as error:
        raise UsageError(f"{found}: cannot be read: {error.strerror}.") from error


def _outcome(run: Run, exit_code: int = 3) -> Result | NotJudged:
    try:
        return decode(run.result.read_bytes(), run.result)
    except FileNotFoundError:
        return not_judged(run, exit_code or UNREADABLE)
    except HistoryError as error:
        return NotJudged(run=run.label, reason=str(error), exit_code=UNREADABLE)
    except OSError as error:
        return NotJudged(run=run.label, reason=f"{run.result}: cannot be read: {error.strerror}.", exit_code=UNREADABLE)


def _stored(name: str, folder: Path) -> Suite | None:
    try:
        entries = msgspec.json.decode((folder / "results.json").read_bytes(), type=tuple[Entry, ...])
    except (OSError, msgspec.MsgspecError):
        return None  # Not a suite, or one of another version: it is left alone.
    return Suite(name, folder, entries)


def _save(suite: Suite) -> None:
    write_whole(suite.folder / "results.json", msgspec.json.format(msgspec.json.encode(suite.entries), indent=2) + b"\n")
