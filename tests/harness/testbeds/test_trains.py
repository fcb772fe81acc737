"""Trains of datagrams: what their arrivals tell, against the plain definition."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.testbeds.trains import Arrivals


@given(st.lists(st.integers(0, 12), max_size=30))
def test_those_overtook_others_that_came_before_one_that_was_sent_earlier(numbers: list[int]) -> None:
    arrivals = Arrivals()
    for at, number in enumerate(numbers):
        arrivals.add(number, float(at), 0, float(at))
    train = arrivals.train(13, 0.0)
    first = list(dict.fromkeys(numbers))
    assert len(train.late) == len(first) and train.twice == len(numbers) - len(first)
    assert train.overtook == sum(any(later < one for later in first[at:]) for at, one in enumerate(first))
