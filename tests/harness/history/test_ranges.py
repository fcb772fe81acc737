"""Ranges, against the loop that they stand for."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.ranges import bounds, ranges

spans = st.lists(st.tuples(st.integers(-50, 50), st.integers(0, 6)), max_size=12)


@given(spans)
def test_ranges_follow_each_other_as_a_loop_lays_them(spans: list[tuple[int, int]]) -> None:
    begin, counts = (np.array([span[column] for span in spans], np.int64) for column in (0, 1))
    told = [number for first, many in spans for number in range(first, first + many)]
    assert ranges(begin, counts).tolist() == told
    start = bounds(counts)
    assert [told[start[i]:start[i + 1]] for i in range(len(spans))] == [
        list(range(first, first + many)) for first, many in spans
    ]
    assert start[-1] == len(told)
