"""A suite as it stands: which of its runs are done, what came of them, and what people and jobs read of it.

Its folder holds `results.json` (rewritten after every run, so that a killed suite goes on where it was), `index.html`,
`contract.html`, `compare.html` (with the night before), `runs.json`, `junit.xml` and `summary.md`, beside the folders of its
runs, and for each case study among its workloads a page that puts its runs side by side, `flash-sale.html`.
"""

from __future__ import annotations

import glob
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

import msgspec

from splitbrain.checkers.result import Discarded, NotJudged, Quality, Result, decode
from splitbrain.checkers.verdict import Anomaly, Coverage
from splitbrain.harness import registry, store
from splitbrain.harness.errors import INTERRUPTED, HistoryError, UsageError
from splitbrain.harness.files import write_whole
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan, short
from splitbrain.harness.run import not_judged
from splitbrain.harness.store import Run
from splitbrain.harness.suite.matrix import SEEDS, read
from splitbrain.reports import compare as comparison
from splitbrain.reports import junit, nights, summary
from splitbrain.reports.page import case, compare, contract, index

WORST = (70, 64, 3, 4, 1, 2, 0)
"""Exit codes, the worst first: a suite exits with the worst of its runs. Any other is a crash."""


UNREADABLE = 70
"""Of a run whose result is missing, though it ended well, or cannot be read."""


class Attempt(msgspec.Struct, frozen=True):
    """A run that proved nothing and was run again: its folder's name, its seed, and why."""

    run: str
    seed: int
    reason: str


class Entry(msgspec.Struct, frozen=True):
    """One run of a suite: its plan, and once it ended its folder's name, its exit code, and why it has no verdict if it has
    none. Where it proves nothing it is run again with another seed, `retries` times at most; `retried` are the attempts
    before."""

    plan: Plan
    run: str = ""
    exit_code: int | None = None
    reason: str = ""
    retries: int = 0
    retried: tuple[Attempt, ...] = ()


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
        return not self.left

    @property
    def left(self) -> int:
        """Runs that are still to be run."""
        return sum(entry.exit_code is None for entry in self.entries)


@contextmanager
def open_suite(file: Path, runs: Path) -> Iterator[Suite]:
    """The suite of that file: the newest one in `runs` that was not finished, has the same plans and is nobody else's at the
    moment, else a new one. It is this process' until the end of the context."""
    entries = tuple(Entry(plan, retries=retries) for plan, retries in read(file))
    name = file.stem
    for folder in sorted(runs.glob(f"*-suite-{glob.escape(name)}*"), reverse=True):
        with store.owned(folder) as alone:
            suite = _stored(name, folder) if alone else None
            if suite is None or suite.finished:
                continue
            if _unseeded(suite.entries) == _unseeded(entries):
                yield suite
                return
    folder = store.create_folder(runs, f"suite-{name}")
    with store.owned(folder):
        suite = Suite(name, folder, entries)
        _save(suite)
        yield suite


def _unseeded(entries: Iterable[Entry]) -> list[tuple[Plan, int]]:
    """What a suite asks for but for its seeds, which are those of the day on which it began."""
    return [(msgspec.structs.replace(entry.plan, seed=0), entry.retries) for entry in entries]


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
    found, again = outcomes(suite), retried(suite)
    told, before = nights.all_told(found, again), earlier(suite)
    nights.write(suite.folder, told)
    done = len(suite.entries) - suite.left
    beside = tuple(_beside(suite.folder, found, told, before))
    status = index.Status(done, len(suite.entries), left)
    index.write(suite.folder / "index.html", suite.name, told, before, status, beside)
    junit.write(suite.folder / "junit.xml", found, again)
    summary.write(suite.folder / "summary.md", found, again)
    for page, name, here in _cases(suite, found):
        of = sum(entry.plan.workload == name for entry in suite.entries)
        case.write(page, short(name), registry.look_up("workloads", name).summary, here, of)


def _beside(
    folder: Path, found: Sequence[Result | NotJudged], told: Sequence[nights.Told], before: Sequence[nights.Night]
) -> Iterator[tuple[str, str]]:
    """Write the pages that lie beside an index, and give the name and the file of each."""
    if judged := [one for one in found if isinstance(one, Result) and one.plan is not None]:
        contract.write(folder / "contract.html", judged, {one.run: f"{quote(one.run)}/report.html" for one in judged})
        yield "the consistency contract of each database and variant", "contract.html"
    if before and told:
        last = before[-1]
        # The night before is named and not linked: it may be dropped, and a job publishes this folder alone.
        links = [(f"index of {folder.name}", "index.html")]
        compare.write(folder / "compare.html", comparison.suites(last.runs, told), last.name, folder.name, links)
        yield f"compared with the last night before, {last.name}", "compare.html"
    else:
        (folder / "compare.html").unlink(missing_ok=True)  # Of a night that was dropped since.


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


def pending(suite: Suite) -> tuple[tuple[int, Plan], ...]:
    """What was not run yet: the place of each entry in the suite, and its plan."""
    return tuple((number, entry.plan) for number, entry in enumerate(suite.entries) if entry.exit_code is None)


def complete(
    suite: Suite, perform: Callable[[Suite], Iterable[tuple[int, Ended]]], told: Callable[[Suite, int], None]
) -> Suite:
    """Run what was not run yet, and after it once more what proved nothing, as often as each entry allows. `perform` runs what
    is `pending`, and yields the place of each run in the suite as it ends, in whichever order; `told` hears of every change and
    its place. `results.json` is kept after each. An interrupted run (130) ends the suite there."""
    while suite.left:
        before = suite
        for number, ended in perform(suite):
            if ended.exit_code == INTERRUPTED:
                return suite
            entries = list(suite.entries)
            entries[number] = _after(suite.folder, entries[number], ended)
            suite = msgspec.structs.replace(suite, entries=tuple(entries))
            _save(suite)
            told(suite, number)
        if suite is before:
            break
    return suite


def _after(folder: Path, entry: Entry, ended: Ended) -> Entry:
    """An entry once its run ended: done, or to be run again with another seed because the run proves nothing."""
    done = msgspec.structs.replace(entry, run=ended.run, exit_code=ended.exit_code, reason=ended.reason)
    if len(entry.retried) >= entry.retries:
        return done
    found = came(folder, done)
    if isinstance(found, NotJudged) or found.interrupted or (found.validity != "unknown" and found.exit_code != 2):
        return done
    return msgspec.structs.replace(
        entry, plan=msgspec.structs.replace(entry.plan, seed=(entry.plan.seed + 1) % SEEDS),
        retried=(*entry.retried, Attempt(ended.run, entry.plan.seed, found.stopped or found.reason)),
    )


def retried(suite: Suite) -> tuple[tuple[str, ...], ...]:
    """Of every run that ended, in the order of `outcomes`: why its attempts before proved nothing."""
    return tuple(tuple(one.reason for one in entry.retried) for entry in suite.entries if entry.exit_code is not None)


def outcomes(suite: Suite) -> tuple[Result | NotJudged, ...]:
    """What came of every run of a suite that ended: its stored result, or why it has none."""
    return tuple(came(suite.folder, entry) for entry in suite.entries if entry.exit_code is not None)


def came(folder: Path, entry: Entry) -> Result | NotJudged:
    """What came of one run that ended, whose folder is in that of its suite: its stored result, or why it has none."""
    code = entry.exit_code or 0
    if not entry.run:
        return NotJudged(run="", plan=entry.plan, reason=entry.reason or "it came to no run", exit_code=code)
    found = _outcome(Run(folder / entry.run), code, _kept)
    if isinstance(found, NotJudged):
        return msgspec.structs.replace(found, plan=entry.plan, reason=entry.reason or found.reason)
    return found


def worst(suite: Suite) -> int:
    """The exit code of a suite: the worst of its runs, and of what can be read of them, and 4 where an expected rate is
    refuted; 130 where some were not run."""
    if not suite.finished:
        return INTERRUPTED
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
        return _read(found)
    except OSError as error:
        raise UsageError(f"{found}: cannot be read: {error.strerror}.") from error


def _read(file: Path) -> Result:
    """The result that is stored there. Raises `HistoryError` where it is none, `OSError` where it cannot be read."""
    return decode(file.read_bytes(), file)


def _kept(file: Path) -> Result:
    """The same, read once for as long as the file is the same: a suite is published anew whenever one of its runs ends."""
    found = file.stat()
    return _as_it_was(file, found.st_ino, found.st_mtime_ns, found.st_size)


@cache
def _as_it_was(file: Path, inode: int, changed_ns: int, size: int) -> Result:
    return told_by_pages(_read(file))


def told_by_pages(result: Result) -> Result:
    """A result without what only its own report tells: of the anomalies one of each kind is left. It stays in memory for as
    long as the suite goes on, which may have thousands."""
    examples = _one_of_each(result.anomalies)
    same = {one.identifier: one for one in examples}
    return msgspec.structs.replace(
        result, anomalies=examples,
        verdicts=tuple(
            msgspec.structs.replace(
                verdict, coverage=Coverage(), limits=(),
                anomalies=tuple(same[one.identifier] if same.get(one.identifier) == one else one
                                for one in _one_of_each(verdict.anomalies)),
            ) for verdict in result.verdicts
        ),
        scenarios=tuple(msgspec.structs.replace(row, homes=(), discarded=_without_keys(row.discarded), reach=())
                        for row in result.scenarios),
        variant=None if result.variant is None else _shared(result.variant),
        baseline=(), episodes=(), failures=(), quality=Quality(), latencies=(), alerts=(), limits=(),
    )


def _one_of_each(anomalies: Sequence[Anomaly]) -> tuple[Anomaly, ...]:
    """The first of each kind."""
    found: dict[str, Anomaly] = {}
    for anomaly in anomalies:
        found.setdefault(anomaly.identifier, anomaly)
    return tuple(found.values())


def _without_keys(discarded: Discarded | None) -> Discarded | None:
    return None if discarded is None else msgspec.structs.replace(discarded, rows=())


@cache
def _shared(variant: Variant) -> Variant:
    """The same variant, once in memory for all runs that have it."""
    return variant


def _outcome(run: Run, exit_code: int = 3, reading: Callable[[Path], Result] = _read) -> Result | NotJudged:
    try:
        return reading(run.result)
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
