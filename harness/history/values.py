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
        n = len(values)
        kinds = set(map(type, values))
        second = np.zeros(n, np.int64)
        if kinds <= _PLAIN:
            try:
                return Values(np.zeros(n, np.int8), _integers(values), second, self.objects)
            except OverflowError:
                pass
        kind = np.empty(n, np.int8)
        first = np.empty(n, np.int64)
        if kinds <= _PLAIN | {list, tuple}:
            nested = [i for i, value in enumerate(values) if type(value) is list or type(value) is tuple]
            pairs = [values[i] for i in nested]
            flat = list(chain.from_iterable(pairs))
            if set(map(len, pairs)) == {2} and set(map(type, flat)) <= _PLAIN:
                at = np.array(nested, np.int64)
                kind[:] = SCALAR
                kind[at] = PAIR
                alone = list(values)
                for i in nested:
                    alone[i] = None
                try:
                    first[:] = _integers(alone)
                    both = _integers(flat)
                except OverflowError:
                    pass
                else:
                    first[at], second[at] = both[0::2], both[1::2]
                    return Values(kind, first, second, self.objects)
        for i, value in enumerate(values):
            kind[i], first[i], second[i] = self._one(value, missing)
        return Values(kind, first, second, self.objects)

    def _one(self, value: Any, missing: object) -> tuple[int, int, int]:
        if value is missing:
            return MISSING, 0, 0
        if value is None:
            return SCALAR, NIL, 0
        kind = type(value)
        if kind is int and NIL < value <= -(NIL + 1):
            return SCALAR, value, 0
        if kind is list or kind is tuple:
            if len(value) == 2:
                a, b = value
                if (a is None or (type(a) is int and NIL < a <= -(NIL + 1))) and (
                    b is None or (type(b) is int and NIL < b <= -(NIL + 1))
                ):
                    return PAIR, NIL if a is None else a, NIL if b is None else b
            value = frozen(value)
        if kind is str:
            place = self._strings.setdefault(value, len(self.objects))
            if place < len(self.objects):
                return OBJECT, place, 0
        self.objects.append(value)
        return OBJECT, len(self.objects) - 1, 0


def packed(values: Iterable[Any]) -> Values:
    """These values in columns of their own."""
    return Packer().pack(list(values))


def frozen(value: Any) -> Any:
    """`value` with every list in it turned into a tuple."""
    if type(value) is list or type(value) is tuple:
        return tuple([frozen(part) for part in value])
    if type(value) is dict:
        return {name: frozen(part) for name, part in value.items()}
    return value


def _integers(values: Sequence[int | None]) -> NDArray[np.int64]:
    """These integers, `NIL` for None. Raises OverflowError where one does not fit beside `NIL`."""
    told: Any = [NIL if value is None else value for value in values] if None in values else values
    column = np.array(told, np.int64)
    if None not in values and NIL in values:
        raise OverflowError
    return column
