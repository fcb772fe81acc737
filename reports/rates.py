"""Tables of rates for a README, made from stored results and never typed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import median

from checkers.result import Result
from harness.errors import UsageError
from reports.files import write_whole
from reports.wording import count, printable

COLUMNS = (
    "database",
    "variant",
    "workload",
    "nemesis",
    "runs",
    "verdicts",
    "anomalies (runs)",
    "class (runs)",
    "writes lost (median)",
)


def rates_table(results: Sequence[Result]) -> str:
    """A Markdown table, a row for each database and version, variant, workload and nemesis. Results of histories that
    another program recorded have no plan and are left out, and so are runs that were interrupted."""
    rows: dict[tuple[str, ...], list[Result]] = {}
    for result in results:
        if result.plan is not None and not result.interrupted:
            plan = result.plan
            version = "/".join(sorted(set(result.versions.values())))
            name = f"{plan.database} {version}".strip()
            nemesis = "scripted" if plan.schedule else plan.nemesis
            rows.setdefault((name, plan.variant, plan.workload, nemesis), []).append(result)
    lines = [markdown_row(COLUMNS), markdown_row(("---",) * 4 + ("---:",) + ("---",) * 3 + ("---:",))]
    for names, group in sorted(rows.items()):
        validities = _counted(result.validity for result in group)
        classes = _counted(result.classification for result in group)
        found = _counted(identifier for result in group for identifier, number in result.counts.items() if number)
        # An undecided history lost nothing that anyone knows of: that is no zero.
        lost = [result.blast.lost for result in group if result.blast.lost or result.consistency != "undecided"]
        middle = f"{median(lost):,.10g}" if lost else "-"
        lines.append(markdown_row((*names, count(len(group)), validities, found or "none", classes, middle)))
    return "\n".join(lines) + "\n"


def replace_table(path: Path, name: str, table: str) -> None:
    """Put the table between the markers of its name in that file. Raises `UsageError` where they are not there once each, in
    order, and `StorageError` where the file cannot be written."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: cannot be read: {error}.") from None
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise UsageError(f"{path}: holds no place for the table: put the lines {begin} and {end} where it belongs.")
    before, rest = text.split(begin)
    after = rest.split(end)[1]
    write_whole(path, f"{before}{begin}\n{table}{end}{after}")


def _counted(of: Iterable[str]) -> str:
    """`lost-write 19, stale-read 3`: the most frequent first."""
    names = Counter(of)
    return ", ".join(f"{name} {count(names[name])}" for name in sorted(names, key=lambda name: (-names[name], name)))


def markdown_row(cells: Sequence[str]) -> str:
    """A row of a table: what would end a cell, or begin markup, is escaped."""
    shown = (printable(cell, 200).replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(shown)} |"
