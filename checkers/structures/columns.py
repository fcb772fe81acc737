"""What the checkers of structures share: the functions of a history, and values as codes."""

from __future__ import annotations

import marshal
from collections.abc import Hashable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.values import NIL, OBJECT, SCALAR, Tagged, canonical

Ints = NDArray[np.int64]
Integers = NDArray[np.int32] | Ints
Flags = NDArray[np.bool_]

_AT_ONCE = 1 << 11
"""How many lists are made integers of at once: what they take stays near the processor."""
CHUNK = 1 << 16
"""How many integers are looked up at once, for the same reason."""
_NOBODY = -2
"""No key's code."""
NOTHING = NIL + (1 << 40)
"""The number of nil where that is a value like any other. Below it are those of what is no integer, or too low a one."""


def check_functions(history: History, checker: str, functions: Sequence[str]) -> None:
    """Raise `UsageError` where a history has another function."""
    unknown = sorted({history.fs[code] for code in np.flatnonzero(np.bincount(history.f)).tolist()} - set(functions))
    if unknown:
        raise UsageError(
            f"the {checker} checker has no operation {unknown[0]!r}, only {', '.join(functions)}: choose another checker"
        )


def keys_of(history: History) -> int:
    """How many keys it has."""
    return int(np.count_nonzero(np.bincount(history.key + 1)))


def rows_of(history: History, f: str) -> Flags:
    """Which rows are calls of that function."""
    found: Flags = history.f == (history.fs.index(f) if f in history.fs else -2)
    return found


def mismatched(history: History) -> Flags:
    """Which rows were decided against by the database."""
    found: Flags = history.error == (history.errors.index("mismatch") if "mismatch" in history.errors else -2)
    return found


class Numbers:
    """Values as integers: one of 64 bits above `NOTHING` is itself, others are given numbers below it. Nil is `NIL`."""

    def __init__(self) -> None:
        self._others: dict[Hashable, int] = {}

    def of_rows(self, history: History, rows: Ints) -> Ints:
        """Those of the values of these rows."""
        values = history.values
        plain = values.first[rows]
        if (values.kind[rows] == SCALAR).all() and ((plain > NOTHING) | (plain == NIL)).all():
            return plain
        return self.of([values[row] for row in rows.tolist()])

    def of(self, values: Sequence[Any]) -> Ints:
        """Those of these values."""
        if set(map(type, values)) <= {int}:
            with suppress(OverflowError):
                plain = np.fromiter(values, np.int64, len(values))
                if plain.min(initial=0) > NOTHING:
                    return plain
        found = [NIL if value is None else self._number(value) for value in values]
        return np.array(found, np.int64)

    def _number(self, value: Any) -> int:
        if type(value) is int and NOTHING < value < -NIL:
            return value
        return self._others.setdefault(canonical(value), NIL + 1 + len(self._others))


def coded(*parts: tuple[NDArray[np.int32], Integers]) -> tuple[list[Ints], int]:
    """Parts of (keys, numbers) as codes from 0, the same for the same pair, -1 where the number is `NIL`; and how many there
    are."""
    keys, numbers = (np.concatenate([part[column] for part in parts]) for column in (0, 1))
    ends = np.cumsum([len(part[0]) for part in parts])[:-1]
    nil = numbers == NIL
    if not nil.any():
        codes, many = _of_one_key(keys, numbers) or _of_many_keys(keys, numbers)
        return np.split(codes, ends), many
    found = np.full(len(numbers), -1)
    found[~nil], many = _of_one_key(keys[~nil], numbers[~nil]) or _of_many_keys(keys[~nil], numbers[~nil])
    return np.split(found, ends), many


def coded_beside(
    parts: Sequence[tuple[NDArray[np.int32], Ints]], keys: NDArray[np.int32], sizes: Ints, shown: Integers
) -> tuple[list[Ints], Integers, int]:
    """Parts of (keys, numbers) as `coded` has them, the codes of what lists show beside them, and how many there are. Lists
    have a key and a size each; `shown` are the numbers in them, list by list.

    Much more is shown than there is to be shown: where the parts have all of it, it costs one look into a table each.
    """
    codes, many = coded(*parts)
    listed = _of_known(parts, codes, many, keys, sizes, shown)
    if listed is not None:
        return codes, listed, many
    codes, many = coded(*parts, (np.repeat(keys, sizes), shown))
    return codes[:-1], codes[-1], many


def _of_known(
    parts: Sequence[tuple[NDArray[np.int32], Ints]], codes: Sequence[Ints], many: int, keys: NDArray[np.int32], sizes: Ints,
    shown: Integers,
) -> NDArray[np.int32] | None:
    """The codes of what lists show, by a table; None where one shows what the parts do not have of its key, or have of another
    key, too, or where the table would be too large."""
    code = np.concatenate(codes)
    known = code >= 0
    code = code[known]
    if not len(code) or not len(shown):
        return None
    owner, numbers = (np.concatenate([part[column] for part in parts])[known] for column in (0, 1))
    low, high = int(numbers.min()), int(numbers.max())
    if high - low > 4 * (len(numbers) + len(shown)) or shown.min() < low or shown.max() > high:
        return None
    table = np.full(high - low + 1, -1, np.int32)
    table[numbers - low] = code
    listed = np.empty(len(shown), np.int32)
    for at in range(0, len(shown), CHUNK):
        listed[at : at + CHUNK] = table[np.subtract(shown[at : at + CHUNK], low, dtype=np.int64)]
    # The codes of a key are beside each other: one outside them is another key's, or nobody's. Keys begin at -1 (none).
    key_of = np.empty(many, np.int64)
    key_of[code] = owner
    counts = np.bincount(key_of + 1, minlength=int(keys.max()) + 2)
    ends, some = np.cumsum(counts), sizes > 0
    starts, mine = (np.cumsum(sizes) - sizes)[some], keys[some] + 1
    inside = np.minimum.reduceat(listed, starts) >= (ends - counts)[mine]
    return listed if (inside & (np.maximum.reduceat(listed, starts) < ends[mine])).all() else None


def _of_one_key(keys: NDArray[np.int32], numbers: Ints) -> tuple[Ints, int] | None:
    """The codes of pairs and how many there are, by a table instead of sorting; None where a number is one of several keys', or
    the table would be too large."""
    if not len(numbers):
        return None
    low = int(numbers.min())
    size = int(numbers.max()) - low + 1
    if size > 4 * len(numbers) + 1024:
        return None
    at = numbers - low
    owner = np.full(size, _NOBODY, keys.dtype)
    owner[at] = keys
    if (owner[at] != keys).any():
        return None
    there = np.flatnonzero(owner != _NOBODY)
    code = np.empty(size, np.int64)
    code[there[order_of(owner[there])]] = np.arange(len(there))
    return code[at], len(there)


def _of_many_keys(keys: NDArray[np.int32], numbers: Ints) -> tuple[Ints, int]:
    order = np.lexsort((numbers, keys))
    by_key, by_number = keys[order], numbers[order]
    code = np.cumsum(np.append(False, (by_key[1:] != by_key[:-1]) | (by_number[1:] != by_number[:-1]))[: len(order)])
    found = np.empty(len(order), np.int64)
    found[order] = code
    return found, int(code[-1]) + 1 if len(code) else 0


def grouped(keys: NDArray[Any]) -> Iterator[tuple[int, Ints]]:
    """Every key with the places that it has, ascending."""
    order = order_of(keys)
    ordered = keys[order]
    ends = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    for places in np.split(order, ends) if len(order) else ():
        yield int(keys[places[0]]), places


def order_of(keys: NDArray[Any]) -> Ints:
    """The places of these keys, key by key, ascending. (Numpy sorts numbers of 16 bits by counting: many times faster.)"""
    narrow = np.int16 if len(keys) and keys.min() > -(1 << 15) and keys.max() < 1 << 15 else keys.dtype
    found: Ints = np.argsort(keys.astype(narrow, copy=False), kind="stable")
    return found


def distinct(numbers: Integers) -> Ints:
    """Each of them once, ascending. (`numpy.unique` is many times slower where there are many.)"""
    ordered = np.sort(numbers)
    found: Ints = ordered[np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]]
    return found


def latest_before(moments: Ints, values: Ints, at: Ints, none: int) -> Ints:
    """The greatest of `values` whose moment is before each of `at`, `none` where there is none."""
    order = np.argsort(moments, kind="stable")
    greatest = np.append(none, np.maximum.accumulate(values[order])) if len(order) else np.array([none])
    found: Ints = greatest[np.searchsorted(moments[order], at, side="left")]
    return found


def shown_elements(history: History, reads: Ints, numbers: Numbers) -> tuple[Integers, Ints]:
    """Every element that these reads returned, as a number, read by read, and how many each returned. Raises `UsageError` where
    one returned no list."""
    told = values_of(history, reads)
    found = integers_of(told)
    if found is None:
        lists = lists_of(told)
        found = integers_of(lists)
        if found is None:
            return numbers.of(list(chain.from_iterable(lists))), sizes_of(lists)
    return found


def integers_of(lists: list[Any]) -> tuple[NDArray[np.int32], Ints] | None:
    """Every integer in these tuples, tuple by tuple, and how long each is; None where one is no tuple, or anything else is in
    it than integers of 32 bits."""
    shown, sizes = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for at in range(0, len(lists), _AT_ONCE):
        some = lists[at : at + _AT_ONCE]
        found = records(some) if {tuple}.issuperset(map(type, some)) else None
        if found is None:
            return None
        many = found.number[~found.numbers].astype(np.int64)
        # As many as there are lists: no element is one, not even an empty one.
        if len(many) != len(some):
            return None
        shown.append(found.number[found.numbers])
        sizes.append(many)
    return np.concatenate(shown), np.concatenate(sizes)


class Records(NamedTuple):
    """Tuples of tuples and of integers, one entry each, a tuple before its parts: how many these are (`numbers` is False), or
    which integer it is."""

    numbers: Flags
    number: NDArray[np.int32]


_RECORD = np.dtype([("kind", "u1"), ("number", "<i4")])
_TUPLE, _INTEGER = b"(i"


def records(values: list[Any]) -> Records | None:
    """These values, which are tuples, as records; None where anything else is in them than tuples and integers of 32 bits.

    That is how Python itself serializes them, five bytes a record, and there is no faster way to the integers of many tuples.
    """
    try:
        told = marshal.dumps(values, 2)  # In this version an object that comes again is told again.
    except ValueError:
        return None
    if len(told) % _RECORD.itemsize:
        return None
    found = np.frombuffer(told, _RECORD)[1:]  # The first is the list itself.
    numbers = found["kind"] == _INTEGER
    # As long as each is of five bytes, the next one begins where it is looked for.
    return Records(numbers, found["number"]) if (numbers | (found["kind"] == _TUPLE)).all() else None


def lists_of(values: Sequence[Any]) -> list[Sequence[Any]]:
    """These values, which are lists or nothing. Raises `UsageError` where one is not."""
    return [_list(value) for value in values]


def values_of(history: History, rows: Ints) -> list[Any]:
    """The values of these rows, most of which are kept as objects."""
    values = history.values
    kept = values.kind[rows] == OBJECT
    if not kept.any():
        return list(values.take(rows))
    # What is no object has the place of some other value, and is put in its own place behind.
    told = list(map(values.objects.__getitem__, np.where(kept, values.first[rows], values.first[rows[kept][0]]).tolist()))
    others = np.flatnonzero(~kept)
    for at, value in zip(others.tolist(), values.take(rows[others]), strict=True):
        told[at] = value
    return told


def _list(value: Any) -> Sequence[Any]:
    if isinstance(value, Tagged):
        value = value.content
    if value is not None and not isinstance(value, (tuple, list, set, frozenset)):
        raise UsageError(f"a read of elements is needed, not one of {value!r}: choose another checker")
    return tuple(value or ())


def sizes_of(lists: Sequence[Sequence[Any]]) -> Ints:
    """How long each is."""
    return np.fromiter(map(len, lists), np.int64, len(lists))
