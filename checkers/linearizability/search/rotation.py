"""Rotation: many searches in one process, each a slice at a time, so that a hard key cannot starve an easy refutation."""

from __future__ import annotations

import time
from collections.abc import Sequence

from splitbrain.checkers.linearizability.search.jit import Search

BYTES_PER_CONFIGURATION = 320
"""What one remembered configuration weighs, with its share of the stack."""
AFTER_REFUTATION = 5.0
"""Seconds for which other keys are still searched once one key is refuted: the verdict stands, only its counts may grow."""

_FIRST_SLICE = 1000
_LARGEST_SLICE = 50_000


def rotate(searches: Sequence[Search], seconds: float, configurations: int) -> None:
    """Run `searches` in turns with growing slices until all are decided, `seconds` have passed, or memory is full.

    The search that remembers most gives up first when they remember more than `configurations` together; it, and those
    stopped after a refutation, have `spent` set. Those stopped by the clock have not.
    """
    now = time.perf_counter()
    ends = now + seconds
    stops = ends
    budget = _FIRST_SLICE
    left = [search for search in searches if search.valid is None and not search.spent]
    while left:
        for search in left:
            if search.run(budget) is False:
                stops = min(stops, time.perf_counter() + AFTER_REFUTATION)
            now = time.perf_counter()
            if now >= stops:
                if stops < ends:
                    for other in left:
                        if other.valid is None:
                            other.give_up(f"other keys were searched for {AFTER_REFUTATION:.3g} s after one was refuted")
                return
        left = [search for search in left if search.valid is None]
        while left and sum(search.size for search in left) > configurations:
            largest = max(left, key=lambda search: search.size)
            largest.give_up(f"memory limit of {configurations} configurations")
            left.remove(largest)
        budget = min(2 * budget, _LARGEST_SLICE)
