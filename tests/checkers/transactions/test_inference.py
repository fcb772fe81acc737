"""The columns that both inferences are made of, against the plain way."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.transactions.inference import located

_NUMBERS = st.integers(-5, 20)


@given(wanted=st.lists(_NUMBERS), ordered=st.sets(_NUMBERS).map(sorted))
def test_numbers_are_located_where_they_stand(wanted: list[int], ordered: list[int]) -> None:
    found = located(np.array(wanted, np.int64), np.array(ordered, np.int64))
    assert found.tolist() == [ordered.index(number) if number in ordered else -1 for number in wanted]
