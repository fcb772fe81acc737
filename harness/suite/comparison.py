"""What differs between the folders of two runs, or of two suites."""

from __future__ import annotations

from pathlib import Path

from splitbrain.checkers.result import Result
from splitbrain.harness.errors import UsageError
from splitbrain.harness.suite.suite import judged, results
from splitbrain.reports import compare, nights


def differences(first: Path, second: Path) -> list[compare.Line]:
    """Every line of the comparison: of two runs where each folder is one, else of all the runs in each. Raises `UsageError`
    where there is nothing to compare."""
    both = {folder: results(folder) for folder in (first, second)}
    for folder, found in both.items():
        if not found:
            raise UsageError(f"{folder}: no run lies in this folder.")
        if not any(isinstance(one, Result) for one in found) and not (folder / "result.json").is_file():
            raise UsageError(f"{folder}: no run there was judged: {found[0].reason.rstrip('.')}.")
    if (first / "result.json").is_file() and (second / "result.json").is_file():
        lines = compare.runs(judged(first), judged(second))
    else:
        lines = compare.suites(*(nights.all_told(both[folder]) for folder in (first, second)))
    if not lines:
        raise UsageError(f"{first} and {second} hold no results to compare: each is the folder of a run, or of runs.")
    return lines
