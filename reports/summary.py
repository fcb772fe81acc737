"""Many runs at a glance: a table for the terminal, and the same in Markdown; what needs looking at comes first."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table
from rich.text import Text

from splitbrain.checkers.result import NotJudged, Result
from splitbrain.harness.files import write_whole
from splitbrain.harness.plan import short
from splitbrain.reports import sweep
from splitbrain.reports.nights import all_told, headline
from splitbrain.reports.rates import markdown_row
from splitbrain.reports.wording import count, plural, printable

COLUMNS = ("run", "database", "workload", "nemesis", "seed", "verdict", "observed", "expected")

SURPRISE = (70, 64, 3, 4, 1, 2, 130, 0)
"""Exit codes, the one to look at first at the front."""


def table(results: Sequence[Result | NotJudged], retried: Sequence[Sequence[str]] = ()) -> Table:
    """A row a run. `retried` says of each in its place why its attempts before were unknown."""
    shown = Table(box=None, pad_edge=False, header_style="dim")
    for column in COLUMNS[1:]:
        shown.add_column(column)
    for result, again in _sorted(results, retried):
        _, *cells = _cells(result, again)
        shown.add_row(*(Text(cell) for cell in cells))
    return shown


def write(path: Path, results: Sequence[Result | NotJudged], retried: Sequence[tuple[str, ...]] = ()) -> None:
    """Write the table as Markdown, and below it what faults cost against their length, where that differs. Raises
    `StorageError`."""
    told = all_told(results, retried)
    lines = [f"{headline(told)}.", "", markdown_row(COLUMNS)]
    lines += [markdown_row(("---",) * len(COLUMNS)), *(markdown_row(_cells(*one)) for one in _sorted(results, retried))]
    for swept in sweep.sweeps(told):
        lines += ["", *sweep.markdown(swept)]
    write_whole(path, "\n".join(lines) + "\n")


def _sorted(
    results: Sequence[Result | NotJudged], retried: Sequence[Sequence[str]]
) -> list[tuple[Result | NotJudged, Sequence[str]]]:
    place = {code: number for number, code in enumerate(SURPRISE)}
    pairs = zip(results, retried or [()] * len(results), strict=True)
    return sorted(pairs, key=lambda pair: place.get(pair[0].exit_code, -1))


def _cells(result: Result | NotJudged, again: Sequence[str]) -> tuple[str, ...]:
    plan = result.plan
    planned = ("", "", "", "")
    if plan is not None:
        nemesis = "scripted" if plan.schedule else short(plan.nemesis)
        planned = (f"{short(plan.database)} {plan.variant}", short(plan.workload), nemesis, str(plan.seed))
    if isinstance(result, NotJudged):
        judged = ("NOT JUDGED", result.reason, "")
    else:
        found = ", ".join(f"{name} {count(number)}" for name, number in result.counts.items())
        verdict = f"{result.heading} ({found})" if found else result.heading
        verdict += f", after {plural(len(again), 'attempt')} that proved nothing" if again else ""
        verdict += f", {result.stopped}" if result.stopped else ""
        missing = ", ".join(expected.what for expected in result.expectations if not expected.met)
        expected = f"NOT MET: {missing}" if missing else ("met" if result.expectations else "")
        judged = (verdict, result.classification, expected)
    return tuple(printable(cell, 200) for cell in (result.run, *planned, *judged))
