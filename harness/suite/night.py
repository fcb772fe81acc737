"""A suite as one command: go through what is left of it, one run after another, several at once or on other machines; tell how
it goes on, and write what people read of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path

from rich.console import Console

from splitbrain.checkers.result import NotJudged
from splitbrain.harness.doctor import abreast
from splitbrain.harness.errors import CRASHED, INTERRUPTED, SplitbrainError, UsageError, described, place
from splitbrain.harness.machines import Watch, connect, own_files, perform_on
from splitbrain.harness.plan import Plan
from splitbrain.harness.run import Outcome, perform, perform_apart
from splitbrain.harness.suite import suite as suites
from splitbrain.harness.suite.suite import Ended, Suite
from splitbrain.reports import summary
from splitbrain.reports.fleet import Fleet
from splitbrain.reports.terminal import Progress
from splitbrain.reports.wording import plural, time_left

OWN_NODES = ("namespaces", "docker")
"""Testbeds that make nodes of a run's own. Any other has the machines of its inventory, which bear one run at a time."""


GOES_ON = "interrupted: the same command goes on with what is left"
"""What ends a suite of which something is left."""


def run_night(
    file: Path, runs: Path, screen: Console, *, dask: str | None = None, parallel: int = 1, kept: int | None = None
) -> int:
    """Run what is left of the suite in `file`, whose folder is in `runs`, and give its exit code. `dask` is the scheduler of
    the machines that do it instead of this one; `parallel` is how many runs may go on at once here, never more than its
    processors bear; all folders of the suite but the newest `kept` are removed in the end. Raises `SplitbrainError`."""
    if dask is not None and parallel > 1:
        raise UsageError("--parallel is for this machine; with --dask every machine has one run at a time.")
    width, why = abreast(parallel, len(os.sched_getaffinity(0)))
    if why:
        screen.print(why, markup=False)
    try:
        finished, published = _go_through(file, runs, screen, dask, width, kept)
    except KeyboardInterrupt:
        screen.print(GOES_ON)
        return INTERRUPTED
    if published:
        screen.print(f"index      {finished.folder}/index.html", markup=False)
        for page in suites.case_pages(finished):
            screen.print(f"case study {page}", markup=False)
        screen.print(summary.table(suites.outcomes(finished), suites.retried(finished)))
    if not finished.finished:
        screen.print(GOES_ON)
    return suites.worst(finished) if published else CRASHED


def _published(suite: Suite, left: str, screen: Console) -> bool:
    """Publish a suite as it stands; whether it could be told. Where a page cannot be made the results stay what they are, and
    the next run is made."""
    try:
        suites.publish(suite, left)
    except SplitbrainError:
        raise
    except Exception as error:
        screen.print(f"splitbrain: {place(error)}the pages of the suite cannot be made ({described(error)}): this is a bug in "
                     f"splitbrain. All results are kept in {suite.folder}, each run with its own report.", markup=False)
        return False
    return True


def _go_through(
    file: Path, runs: Path, screen: Console, dask: str | None, width: int, kept: int | None
) -> tuple[Suite, bool]:
    """Run what is left, publishing after each run, and drop what is old; the suite as it stands then, and whether that was
    published. Interrupted beside a run, or between two, `KeyboardInterrupt`: what ended is kept."""
    with suites.open_suite(file, runs) as opened:
        screen.print(f"{plural(len(opened.entries), 'run')} in {opened.folder}", markup=False)
        pace = _Pace(opened)

        def told(suite: Suite, number: int) -> None:
            entry = suite.entries[number]
            if entry.exit_code is None:
                screen.print(f"run {number + 1} of {len(suite.entries)} proves nothing ({entry.retried[-1].reason}): it is run "
                             f"again at the end, attempt {len(entry.retried) + 1} of {entry.retries + 1}", markup=False)
            _published(suite, pace.rest(suite.left), screen)

        _published(opened, "", screen)
        if dask is not None:
            with (
                connect(dask, own_files([plan for _, plan in suites.pending(opened)])) as cluster,
                Fleet(screen, len(opened.entries), len(opened.entries) - opened.left) as fleet,
            ):
                finished = suites.complete(
                    opened, lambda suite: perform_on(cluster, suites.pending(suite), suite.folder, fleet), told
                )
        elif width > 1:
            with Fleet(screen, len(opened.entries), len(opened.entries) - opened.left) as fleet:
                finished = suites.complete(opened, lambda suite: _at_once(suite, width, fleet), told)
        else:
            finished = suites.complete(opened, lambda suite: _in_turn(suite, screen, pace), told)
        # First, so that no page of tonight leads to a night that is gone.
        for folder in suites.drop_old(finished, kept) if kept else ():
            screen.print(f"removed {folder}", markup=False)
        published = _published(finished, pace.rest(finished.left), screen)
    return finished, published


class _Pace:
    """How fast the runs of a suite end, here or elsewhere: what tells how long the rest takes."""

    def __init__(self, suite: Suite) -> None:
        self._began = time.monotonic()
        self._left = suite.left

    def rest(self, left: int) -> str:
        """How long `left` runs take; empty where nothing tells it yet."""
        return time_left(time.monotonic() - self._began, self._left - left, left)


def _in_turn(suite: Suite, screen: Console, pace: _Pace) -> Iterator[tuple[int, Ended]]:
    """One run after another, each with its own progress."""
    left = suite.left
    for number, plan in suites.pending(suite):
        entry = suite.entries[number]
        again = f", attempt {len(entry.retried) + 1} of {entry.retries + 1}" if entry.retried else ""
        rest = pace.rest(left)
        screen.print(f"\nrun {number + 1} of {len(suite.entries)}{again}{rest and ', '}{rest}")
        yield number, _ended(partial(perform, plan, suite.folder, Progress(screen)), screen)
        left -= 1


def _at_once(suite: Suite, width: int, watch: Watch) -> Iterator[tuple[int, Ended]]:
    """So many runs at a time, each in a process of its own. Left early, it tears down what runs."""
    waiting = deque(suites.pending(suite))
    going: dict[Future[Ended], tuple[int, Plan]] = {}
    children: list[subprocess.Popen[bytes]] = []

    def one(number: int, plan: Plan) -> Ended:
        return _ended(partial(perform_apart, plan, suite.folder, began=children.append, hear=partial(watch.says, number)), None)

    with ThreadPoolExecutor(width) as pool:
        try:
            while waiting or going:
                for number, plan in list(waiting):
                    taken = any(other.testbed not in OWN_NODES for _, other in going.values())
                    if len(going) < width and (plan.testbed in OWN_NODES or not taken):
                        waiting.remove((number, plan))
                        watch.begins(number, plan, "")
                        going[pool.submit(one, number, plan)] = number, plan
                for future in wait(going, return_when=FIRST_COMPLETED).done:
                    number, plan = going.pop(future)
                    ended = future.result()
                    found = suites.came(suite.folder, suites.Entry(plan, *ended))
                    watch.ended(number, found.reason if isinstance(found, NotJudged) else found.heading)
                    yield number, ended
        finally:
            for child in children:
                if child.poll() is None:
                    child.send_signal(signal.SIGINT)


def _ended(run: Callable[[], Outcome], screen: Console | None) -> Ended:
    """What came of a run, however it ended; its problem is told on the screen, where it has one."""
    try:
        outcome = run()
    except SplitbrainError as error:
        if screen is not None:
            screen.print(f"splitbrain: {error}", markup=False)
        return Ended("", error.exit_code, str(error))
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return Ended("", CRASHED, f"{type(error).__name__}: {error}")
    return Ended(outcome.folder.name, outcome.exit_code, "" if outcome.result else outcome.reason)
