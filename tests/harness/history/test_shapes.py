"""The shapes of many values at once are those of each."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.shapes import shape, shapes_of

ATOMS: st.SearchStrategy[Any] = st.sampled_from((None, 1, 2, "r", "append", "x", True, 1.5, frozenset()))
VALUES = st.recursive(ATOMS, lambda parts: st.lists(parts, max_size=4) | st.tuples(parts, parts), max_leaves=6)
COLUMNS = st.tuples(st.integers(0, 2), st.sampled_from(("x", 1, [1, 2], ("r", 1, None))), ATOMS)


@given(st.lists(VALUES, max_size=6) | st.lists(COLUMNS, max_size=6))
def test_many_at_once(values: list[Any]) -> None:
    assert shapes_of(values) == {shape(value) for value in values}
