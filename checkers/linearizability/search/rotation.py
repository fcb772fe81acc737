"""Rotation: many searches in one process, each a slice at a time, so that a hard key cannot starve an easy refutation."""

from __future__ import annotations

import time
from collections.abc import Sequence

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.search.jit import Search

BYTES_PER_CONFIGURATION = 320
"""What one remembered configuration weighs, with its share of the stack."""
AFTER_REFUTATION = 5.0
"""Seconds for which other keys are still searched once one key is refuted: the verdict stands, only its counts may grow."""

TIME_IS_UP = "time"
"""The limit of a search that was stopped by the clock, where nobody can say how long all had."""

_RELEASE = 8e-7
"""Seconds that it takes to forget a configuration, with its share of the stack: some for all of them, within the time limit."""
_RELEASE_ENTRY = 1.2e-7
"""Seconds that it takes to forget what was pending at a return, for each of it."""
_BYTES_TO_GROW = 32
"""For each configuration, bytes that a table of them takes all at once when it is full."""
_FIRST_SLICE = 100
_LARGEST_SLICE = 50_000
_TURN = 0.05
"""Seconds that a slice may take: where steps are slow, for states are large, slices are small."""


def rotate(searches: Sequence[Search], budget: Budget) -> None:
    """Run `searches` in turns with growing slices until all are decided or the budget is exhausted.

    The search that remembers most gives up first when together they remember more configurations than fit into the memory, or
    all when this process has grown by as much; these, and those stopped after a refutation, have `spent` set. Those
    stopped by the clock have not.
    """
    configurations = max(1, budget.memory // BYTES_PER_CONFIGURATION)
    stops = budget.deadline
    slice_ = _FIRST_SLICE
    left = [search for search in searches if search.valid is None and not search.spent]
    held, entries = sum(search.size for search in left), sum(search.entries for search in left)
    while left:
        longest = 0.0
        for search in left:
            began = time.monotonic()
            held, entries = held - search.size, entries - search.entries
            if search.run(slice_) is False:
                stops = min(stops, time.monotonic() + AFTER_REFUTATION)
            held, entries = held + search.size, entries + search.entries
            now = time.monotonic()
            longest = max(longest, now - began)
            if now + held * _RELEASE + entries * _RELEASE_ENTRY >= stops:
                if stops < budget.deadline:
                    for other in left:
                        if other.valid is None:
                            other.give_up(f"other keys were searched for {AFTER_REFUTATION:.3g} s after one was refuted")
                return
        left = [search for search in left if search.valid is None]
        while left and held > configurations:
            largest = max(left, key=lambda search: search.size)
            held -= largest.size
            largest.give_up(budget.full)
            left.remove(largest)
        if left and budget.grown + held * _BYTES_TO_GROW > budget.memory:
            for search in left:
                search.give_up(budget.full)
            return
        if longest < _TURN / 2:
            slice_ = min(2 * slice_, _LARGEST_SLICE)
        elif longest > _TURN:
            slice_ = max(1, slice_ // 2)
