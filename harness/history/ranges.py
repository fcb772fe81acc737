"""Ranges: columns whose rows belong together in runs, as the elements of many lists do."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def bounds(counts: NDArray[Any]) -> NDArray[np.int64]:
    """Where ranges of these lengths begin when they follow each other, and where the last ends."""
    start = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=start[1:])
    return start


def ranges(begin: NDArray[Any], counts: NDArray[Any]) -> NDArray[np.int64]:
    """The numbers `begin[i]` up to `begin[i] + counts[i]` for each i, one range after another."""
    start = bounds(counts)
    places = np.arange(start[-1])
    places += np.repeat(begin - start[:-1], counts)
    return places
