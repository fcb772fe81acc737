"""Many runs at a glance: a table for the terminal, and the same in Markdown; what needs looking at comes first."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
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

PLANNED = 5
"""Where what came of a run begins in its row; before it stands what was run."""

LEAST = 48
"""Cells of a line that a table must leave for that."""

SURPRISE = (70, 64, 3, 4, 1, 2, 130, 0)
"""Exit codes, the one to look at first at the front."""


class Overview:
    """A row a run, as a table; where a terminal has no room for one, as a paragraph a run. `rows` are those of `COLUMNS`."""

    def __init__(self, rows: Sequence[tuple[str, ...]]) -> None:
        self._rows = rows

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        columns = zip(*(row[1:PLANNED] for row in (COLUMNS, *self._rows)), strict=True)
        planned = [max(map(cell_len, column)) for column in columns]
        judged = max((sum(map(cell_len, row[PLANNED:])) for row in self._rows), default=0)
        room = options.max_width - sum(planned) - 2 * len(COLUMNS[2:])
        if room >= min(judged, LEAST):
            yield self._table()
        else:
            for row in self._rows:
                yield from self._paragraph(row)

    def _table(self) -> Table:
        shown = Table(box=None, pad_edge=False, header_style="dim")
        for place, column in enumerate(COLUMNS[1:], 1):
            shown.add_column(column, no_wrap=place < PLANNED)
        for row in self._rows:
            shown.add_row(*map(Text, row[1:]))
        return shown

    def _paragraph(self, row: tuple[str, ...]) -> Iterator[Text | Padding]:
        """What was run, and below it what came of it."""
        run, database, workload, nemesis, seed, verdict, observed, expected = row
        yield Text(f"{database}, {workload}, {nemesis}, seed {seed}" if database else run, "bold")
        for line in (verdict, ", ".join(filter(None, (observed, f"expected: {expected}" if expected else "")))):
            if line:
                yield Padding(Text(line), (0, 0, 0, 2), expand=False)


def table(results: Sequence[Result | NotJudged], retried: Sequence[Sequence[str]] = ()) -> Overview:
    """The runs for a terminal. `retried` says of each in its place why its attempts before were unknown."""
    return Overview([_cells(*one) for one in _sorted(results, retried)])


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
        first, _, more = result.reason.partition("\n")
        judged = ("NOT JUDGED", first + (" …" if more else ""), "")
    else:
        found = ", ".join(f"{name} {count(number)}" for name, number in result.counts.items())
        verdict = f"{result.heading} ({found})" if found else result.heading
        verdict += f", after {plural(len(again), 'attempt')} that proved nothing" if again else ""
        verdict += f", {result.stopped}" if result.stopped else ""
        missing = ", ".join(expected.what for expected in result.expectations if not expected.met)
        # Of a rate one run decides nothing.
        rates = [f"{one.what} {'' if one.seen else 'not '}seen" for one in result.expectations if one.rate is not None]
        met = ["met"] if len(rates) < len(result.expectations) else []
        judged = (verdict, result.classification, f"NOT MET: {missing}" if missing else ", ".join([*met, *rates]))
    return tuple(printable(cell, 200) for cell in (result.run, *planned, *judged))
