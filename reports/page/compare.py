"""The page of a comparison: two runs, or two suites, side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from splitbrain.harness.files import write_whole
from splitbrain.reports.compare import Line
from splitbrain.reports.page import templates

RULE = ("Two runs differ where one shows what the other does not; how often a run shows it is chance. Two suites differ where "
        "more runs of one show it than chance explains, or all runs of one and none of the other, however few. What differs "
        "stands first.")


def write(path: Path, lines: Sequence[Line], first: str, second: str, links: Sequence[tuple[str, str]]) -> None:
    """Write the comparison of what is called `first` with what is called `second`; `links` are names and addresses of their
    pages, seen from there. Raises `StorageError`."""
    write_whole(path, page(lines, first, second, links))


def page(lines: Sequence[Line], first: str, second: str, links: Sequence[tuple[str, str]]) -> str:
    """The page as text."""
    return templates.environment().get_template("compare.html.j2").render(
        lines=lines, first=first, second=second, links=links, apart=sum(line.apart for line in lines), rule=RULE,
        style=templates.style(),
    )
