"""Stretches tell what going through every entry of every read tells."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.structures.stretches import Stretches

MANY = 8
NONE = 1000

reads = st.lists(
    st.one_of(
        st.lists(st.integers(0, MANY - 1), max_size=6),
        st.tuples(st.integers(0, MANY), st.integers(0, MANY)).map(lambda ends: list(range(*ends))),
    ),
    max_size=7,
)
"""Lists of elements: any, and pieces of one order. Each is of a row of its own."""
values = st.lists(st.integers(-50, 50), min_size=MANY, max_size=MANY)
flags = st.lists(st.booleans(), min_size=MANY, max_size=MANY)


def row_of(number: int) -> int:
    return 3 * number + 1


def stretches(told: list[list[int]]) -> Stretches:
    shown = np.array([one for read in told for one in read], np.int64)
    rows, sizes = np.array([row_of(at) for at in range(len(told))], np.int64), np.array([len(read) for read in told], np.int64)
    return Stretches.of(shown, rows, sizes, np.arange(MANY)[::-1], np.zeros(MANY, np.int64))


def told_by(shown: Stretches, count: int) -> list[list[int]]:
    return [shown.elements_of(row_of(at)).tolist() for at in range(count)]


def pieces(shown: Stretches) -> list[list[int]]:
    """What each stretch shows, as its place in the order tells it."""
    return [
        shown.order.elements[begin : begin + size].tolist()
        for begin, size in zip(shown.begin.tolist(), shown.size.tolist(), strict=True)
    ]


@given(reads)
def test_the_stretches_of_a_read_are_what_it_shows(told: list[list[int]]) -> None:
    shown = stretches(told)
    assert told_by(shown, len(told)) == told
    assert sorted(shown.order.elements.tolist()) == list(range(MANY))
    assert [one for piece in pieces(shown) for one in piece] == [one for read in told for one in read]


@given(st.integers(1, MANY), st.data())
def test_reads_that_agree_are_one_stretch_each(wide: int, data: st.DataObject) -> None:
    order = data.draw(st.permutations(range(MANY)))
    begins = data.draw(st.lists(st.integers(0, MANY - 1), min_size=1))
    told = [order[begin : begin + wide] for begin in begins]
    assert len(stretches(told).row) == len(told)


@given(reads, values, st.booleans())
def test_extremes_are_those_of_all_entries(told: list[list[int]], numbers: list[int], least: bool) -> None:
    shown, extreme = stretches(told), np.minimum if least else np.maximum
    one, none = (min, NONE) if least else (max, -NONE)
    assert shown.over(extreme, np.array(numbers)).tolist() == [one(numbers[at] for at in piece) for piece in pieces(shown)]
    each = [numbers[at % MANY] for at in range(len(shown.row))]
    expected = [
        one([value for value, piece in zip(each, pieces(shown), strict=True) if element in piece], default=none)
        for element in range(MANY)
    ]
    assert shown.spread(extreme, np.array(each, np.int64), none).tolist() == expected


@given(reads, flags)
def test_elements_are_found_and_left_out(told: list[list[int]], chosen: list[bool]) -> None:
    shown, some = stretches(told), np.array(chosen)
    assert shown.touching(some).tolist() == [any(chosen[one] for one in piece) for piece in pieces(shown)]
    touched = [row_of(at) for at, read in enumerate(told) if any(chosen[one] for one in read)]
    assert shown.rows_touching(some).tolist() == touched
    rest = shown.without_elements(some)
    assert told_by(rest, len(told)) == [[one for one in read if not chosen[one]] for read in told]
    assert (rest.row[1:] >= rest.row[:-1]).all() and (rest.size > 0).all()


@given(reads, flags)
def test_what_follows_an_element_is_what_the_last_read_shows(told: list[list[int]], chosen: list[bool]) -> None:
    told = [list(dict.fromkeys(read)) for read in told]
    shown = stretches(told).without_elements(np.array(chosen))
    following, usual = [-1] * MANY, [-1] * MANY
    for at, read in enumerate(told):
        left = [one for one in read if not chosen[one]]
        for before, behind in pairwise(left):
            following[before], usual[before] = behind, row_of(at)
    assert shown.following().tolist() == following
    assert [shown.last_linking(one) if usual[one] >= 0 else -1 for one in range(MANY)] == usual
    joints = {(int(one), int(other), int(row)) for one, other, row in zip(*shown.joints(), strict=True)}
    beside = {
        (before, behind, row_of(at)) for at, read in enumerate(told)
        for left in [[one for one in read if not chosen[one]]] for before, behind in pairwise(left)
    }
    assert joints <= beside and len(beside) - len(joints) == sum(len(piece) - 1 for piece in pieces(shown))


@given(reads, values, st.lists(st.integers(0, 2), min_size=MANY, max_size=MANY))
def test_what_stands_before_and_behind_a_stretch_is_of_its_own_queue(
    told: list[list[int]], numbers: list[int], queues: list[int]
) -> None:
    told = [[one for one in read if queues[one] == queues[read[0]]] for read in told]
    shown = np.array([one for read in told for one in read], np.int64)
    rows, sizes = np.array([row_of(at) for at in range(len(told))], np.int64), np.array([len(read) for read in told], np.int64)
    found = Stretches.of(shown, rows, sizes, np.arange(MANY)[::-1], np.array(queues))
    order = found.order.elements.tolist()
    at_places = np.array([numbers[one] for one in order])
    before, behind = found.before(np.maximum, at_places, -NONE).tolist(), found.behind(np.minimum, at_places, NONE).tolist()
    inside = set()
    for at, (begin, size) in enumerate(zip(found.begin.tolist(), found.size.tolist(), strict=True)):
        queue = queues[order[begin]]
        assert before[at] == max((numbers[one] for one in order[:begin] if queues[one] == queue), default=-NONE)
        assert behind[at] == min((numbers[one] for one in order[begin + size :] if queues[one] == queue), default=NONE)
        inside |= set(range(begin, begin + size))
    assert found.inside(found.begin + found.size).tolist() == [place in inside for place in range(MANY)]
