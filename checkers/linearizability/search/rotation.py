"""Rotation: many searches in one process, each a slice at a time, so that a hard key cannot starve an easy refutation."""

from __future__ import annotations

import math
import resource
import time
from collections.abc import Sequence
from pathlib import Path

from splitbrain.checkers.linearizability.search.jit import Search

BYTES_PER_CONFIGURATION = 320
"""What one remembered configuration weighs, with its share of the stack."""
AFTER_REFUTATION = 5.0
"""Seconds for which other keys are still searched once one key is refuted: the verdict stands, only its counts may grow."""

_FIRST_SLICE = 100
_LARGEST_SLICE = 50_000
_TURN = 0.05
"""Seconds that a slice may take: where steps are slow, for states are large, slices are small."""


def rotate(searches: Sequence[Search], seconds: float, configurations: int, memory: float = math.inf) -> None:
    """Run `searches` in turns with growing slices until all are decided, `seconds` have passed, or memory is full.

    The search that remembers most gives up first when they remember more than `configurations` together, or all when this
    process has grown by more than `memory` bytes; these, and those stopped after a refutation, have `spent` set. Those
    stopped by the clock have not.
    """
    held = _resident()
    now = time.perf_counter()
    ends = now + seconds
    stops = ends
    budget = _FIRST_SLICE
    left = [search for search in searches if search.valid is None and not search.spent]
    while left:
        longest = 0.0
        for search in left:
            began = time.perf_counter()
            if search.run(budget) is False:
                stops = min(stops, time.perf_counter() + AFTER_REFUTATION)
            now = time.perf_counter()
            longest = max(longest, now - began)
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
        if left and _resident() - held > memory:
            for search in left:
                search.give_up(f"memory limit of {memory / 2**20:.0f} MiB")
            return
        budget = min(2 * budget, _LARGEST_SLICE) if longest < _TURN / 2 else max(1, budget // 2) if longest > _TURN else budget


def _resident() -> int:
    """The memory that this process occupies, in bytes; 0 where the system does not tell."""
    status = Path("/proc/self/statm")
    return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0
