"""Columns of values give back what was put in."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.values import MISSING, NIL, OBJECT, PAIR, SCALAR, Packer, frozen, packed

numbers = st.none() | st.integers(-5, 5) | st.integers(-(2**70), 2**70) | st.sampled_from([NIL, NIL + 1, -(NIL + 1), -NIL])
values = st.recursive(
    numbers | st.text(max_size=3) | st.booleans() | st.floats(allow_nan=False),
    lambda parts: (
        st.lists(parts, max_size=3) | st.tuples(parts, parts) | st.dictionaries(st.text(max_size=2), parts, max_size=2)
    ),
    max_leaves=8,
)


def same(a: object, b: object) -> bool:
    return repr(a) == repr(b)


@given(st.lists(values, max_size=30))
def test_every_value_comes_back(given_values: list[object]) -> None:
    columns = packed(given_values)
    expected = [frozen(value) for value in given_values]
    assert len(columns) == len(expected)
    assert same(list(columns), expected)
    assert same([columns[i] for i in range(len(columns))], expected)
    at = np.arange(0, len(expected), 2)
    assert same(list(columns.take(at)), expected[::2])
    assert same(list(columns[1:]), expected[1:])


@given(st.lists(st.lists(values, max_size=10), max_size=4))
def test_batches_share_one_table(batches: list[list[object]]) -> None:
    packer = Packer()
    columns = [packer.pack(batch) for batch in batches]
    for batch, column in zip(batches, columns, strict=True):
        assert same(list(column), [frozen(value) for value in batch])


def test_registers_and_cas_need_no_objects() -> None:
    columns = packed([1, None, (1, 2), [None, 3], (4, None)])
    assert columns.kind.tolist() == [SCALAR, SCALAR, PAIR, PAIR, PAIR]
    assert columns.first.tolist() == [1, NIL, 1, NIL, 4]
    assert columns.objects == []


def test_equal_strings_are_kept_once() -> None:
    columns = packed(["a", "b", "a"])
    assert columns.kind.tolist() == [OBJECT] * 3
    assert columns.first.tolist() == [0, 1, 0]


def test_what_was_not_told_is_marked() -> None:
    untold = object()
    columns = Packer().pack([1, untold, (1, 2), None], untold)
    assert columns.kind.tolist() == [SCALAR, MISSING, PAIR, SCALAR]
    assert list(columns) == [1, None, (1, 2), None]
