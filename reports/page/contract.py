"""The page of consistency contracts: one for each database and variant, on paper a sheet each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from splitbrain.checkers.result import Result
from splitbrain.harness.files import write_whole
from splitbrain.reports.contract import contracts
from splitbrain.reports.page import templates


def write(path: Path, results: Sequence[Result], links: Mapping[str, str]) -> None:
    """Write the contracts that these results have shown. `links` maps runs to the addresses of their reports, seen from
    there. Raises `StorageError`."""
    write_whole(path, page(results, links))


def page(results: Sequence[Result], links: Mapping[str, str]) -> str:
    """The page as text."""
    found = contracts(results)
    return templates.environment().get_template("contract.html.j2").render(
        contracts=found, runs=sum(len(one.runs) for one in found), links=links, style=templates.style(),
    )
