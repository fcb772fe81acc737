"""Clients: a process does one thing at a time, and nothing any more after an operation that never ended."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.history import NEVER


def first_overlap(
    process: NDArray[np.int64], invoked: NDArray[np.int64], completed: NDArray[np.int64]
) -> tuple[int, str] | None:
    """The row of the first operation that a process begins before its last one completed, with a sentence; None where there
    is none."""
    order = np.lexsort((invoked, process))
    before, behind = order[:-1], order[1:]
    wrong = np.flatnonzero((process[before] == process[behind]) & (completed[before] > invoked[behind]))
    if not len(wrong):
        return None
    first = wrong[np.argmin(invoked[behind[wrong]])]
    row = int(behind[first])
    if completed[before[first]] == NEVER:
        return row, f"process {process[row]} acts again after an operation that never completed"
    return row, f"process {process[row]} begins an operation before its last one completed"
