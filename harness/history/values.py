"""Values: what operations wrote and returned, in columns, because a million tuples and integers weigh too much."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

SCALAR, PAIR, OBJECT, MISSING = 0, 1, 2, 3
NIL = np.iinfo(np.int64).min
"""None, in the columns of integers."""

_PLAIN = {int, type(None)}
_SEQUENCES = {list, tuple}


class Values(Sequence[Any]):
    """A sequence of values, immutable by agreement. Indexing gives back the plain value.

    `kind` (int8) says how row i is kept: `SCALAR`, an integer or None in `first`; `PAIR`, a tuple of two of those in
    `first` and `second` (the value of a `cas`); `OBJECT`, anything else at `objects[first]`, equal strings at the same
    place; `MISSING`, no value was told. `first` and `second` are int64 with `NIL` for None.
    """

    __slots__ = ("kind", "first", "second", "objects")

    def __init__(
        self, kind: NDArray[np.int8], first: NDArray[np.int64], second: NDArray[np.int64], objects: Sequence[Any]
    ) -> None:
        self.kind = kind
        self.first = first
        self.second = second
        self.objects = objects

    def __len__(self) -> int:
        return len(self.kind)

    @overload
    def __getitem__(self, i: int) -> Any: ...
    @overload
    def __getitem__(self, i: slice) -> Values: ...

    def __getitem__(self, i: int | slice) -> Any:
        if isinstance(i, slice):
            return self.take(np.arange(len(self))[i])
        kind, first = self.kind[i], int(self.first[i])
        if kind == SCALAR:
            return None if first == NIL else first
        if kind == PAIR:
            second = int(self.second[i])
            return (None if first == NIL else first, None if second == NIL else second)
        return self.objects[first] if kind == OBJECT else None

    def __iter__(self) -> Iterator[Any]:
        step = 65536
        for at in range(0, len(self), step):
            rows = slice(at, at + step)
            kinds, firsts, seconds = self.kind[rows], self.first[rows].tolist(), self.second[rows].tolist()
            if not kinds.any():
                yield from (None if first == NIL else first for first in firsts)
                continue
            objects = self.objects
            for kind, first, second in zip(kinds.tolist(), firsts, seconds, strict=True):
                if kind == SCALAR:
                    yield None if first == NIL else first
                elif kind == PAIR:
                    yield (None if first == NIL else first, None if second == NIL else second)
                else:
                    yield objects[first] if kind == OBJECT else None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    def take(self, at: NDArray[Any]) -> Values:
        """The values at these positions."""
        return Values(self.kind[at], self.first[at], self.second[at], self.objects)


def _same(a: Any, b: Any) -> bool:
    return bool(a == b)


class Packer:
    """Packs batches of values into columns that share one table of objects."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self._strings: dict[str, int] = {}

    def pack(self, values: Sequence[Any], missing: object = ...) -> Values:
        """These values in columns; `missing` is what stands for a value that was not told. Lists become tuples."""
        untold = [i for i, value in enumerate(values) if value is missing] if missing in values else []
        if untold:
            values = [None if value is missing else value for value in values]
        packed = self._pack(values)
        packed.kind[untold] = MISSING
        return packed

    def _pack(self, values: Sequence[Any]) -> Values:
        n = len(values)
        kinds = set(map(type, values))
        kind, first, second = np.zeros(n, np.int8), np.empty(n, np.int64), np.zeros(n, np.int64)
        try:
            if kinds <= _PLAIN:
                return Values(kind, _integers(values), second, self.objects)
            nested = [i for i, value in enumerate(values) if type(value) in _SEQUENCES]
            pairs = [values[i] for i in nested]
            flat = list(chain.from_iterable(pairs))
            if kinds <= _PLAIN | _SEQUENCES and set(map(len, pairs)) == {2} and set(map(type, flat)) <= _PLAIN:
                alone = list(values)
                for i in nested:
                    alone[i] = None
                both = _integers(flat)
                kind[nested] = PAIR
                first = _integers(alone)
                first[nested], second[nested] = both[0::2], both[1::2]
                return Values(kind, first, second, self.objects)
        except OverflowError:
            pass
        ones = [self._one(value) for value in values]
        return Values(
            np.array([one[0] for one in ones], np.int8),
            np.array([one[1] for one in ones], np.int64),
            np.array([one[2] for one in ones], np.int64),
            self.objects,
        )

    def _one(self, value: Any) -> tuple[int, int, int]:
        kind = type(value)
        if kind is str:
            place = self._strings.get(value)
            if place is None:
                place = self._strings[value] = len(self.objects)
                self.objects.append(value)
            return OBJECT, place, 0
        if _small(value):
            return SCALAR, NIL if value is None else value, 0
        if kind in _SEQUENCES:
            if len(value) == 2 and _small(value[0]) and _small(value[1]):
                a, b = value
                return PAIR, NIL if a is None else a, NIL if b is None else b
            value = frozen(value)
        self.objects.append(value)
        return OBJECT, len(self.objects) - 1, 0


def packed(values: Iterable[Any]) -> Values:
    """These values in columns of their own."""
    return Packer().pack(list(values))


def frozen(value: Any) -> Any:
    """`value` with every list in it turned into a tuple."""
    if type(value) in _SEQUENCES:
        return tuple([frozen(part) for part in value])
    if type(value) is dict:
        return {name: frozen(part) for name, part in value.items()}
    return value


def _small(value: Any) -> bool:
    return value is None or (type(value) is int and NIL < value <= -(NIL + 1))


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    """These integers, `NIL` for None. Raises OverflowError where one does not fit beside `NIL`."""
    told: Any = [NIL if value is None else value for value in values] if None in values else values
    column = np.array(told, np.int64)
    if None not in values and NIL in values:
        raise OverflowError
    return column
