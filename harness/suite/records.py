"""Rates that were measured: gathered from the folders of runs and from files, and what they make of a suite."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from splitbrain.checkers.result import Result
from splitbrain.harness.errors import UsageError, one_line
from splitbrain.harness.suite.matrix import read
from splitbrain.harness.suite.suite import results
from splitbrain.reports import green
from splitbrain.reports.rates import Rate, rate, stored_rates


def collect(paths: Iterable[Path], leave_out: Callable[[str], None]) -> list[Rate]:
    """The rates of all runs in these folders, and of those that these files keep; `leave_out` is told which run gives none, and
    why, in a line. Raises `UsageError` for a folder without runs, and where no run gives any."""
    found: list[Rate] = []
    for path in paths:
        if not path.is_dir():
            found += stored_rates(path)
            continue
        judged = results(path)
        if not judged:
            raise UsageError(f"{path}: no run lies in this folder.")
        for result in judged:
            if isinstance(result, Result) and (one := rate(result)):
                found.append(one)
            else:
                why = result.reason if not isinstance(result, Result) else "interrupted" if result.plan else "no run"
                leave_out(f"{result.run}: {one_line(why, 200)}")
    if not found:
        raise UsageError("no run is left to make a table of.")
    return found


def forecast(suite: Path, rates: Sequence[Rate]) -> str:
    """How probable these rates make it that a night of this suite is green: a table in Markdown. Raises `UsageError` for a
    file that is no suite."""
    return green.table(green.forecast(read(suite), rates))
