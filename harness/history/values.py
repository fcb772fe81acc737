"""Values: what operations wrote and returned, in columns, because a million tuples and integers weigh too much."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, overload

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import UsageError

if TYPE_CHECKING:
    from splitbrain.harness.history.micros import Micros

SCALAR, PAIR, OBJECT, MISSING, MICROS = 0, 1, 2, 3, 4
MAX_DEPTH = 200
"""How many lists and maps may lie inside each other in a value."""

NIL = np.iinfo(np.int64).min
"""None, in the columns of integers."""


class Values(Sequence[Any]):
    """A sequence of values, immutable by agreement. Indexing gives back the plain value.

    `kind` (int8) says how row i is kept: `SCALAR`, an integer or None in `first`; `PAIR`, a tuple of two of those in
    `first` and `second` (the value of a `cas`); `OBJECT`, anything else at `objects[first]`, equal strings at the same
    place; `MISSING`, no value was told; `MICROS`, the micro-operations of a transaction, `micros[i]`. `first` and `second` are
    int64 with `NIL` for None. `micros` has one entry a row, and is None where no row is a transaction.
    """

    __slots__ = ("kind", "first", "second", "objects", "micros")

    def __init__(
        self,
        kind: NDArray[np.int8],
        first: NDArray[np.int64],
        second: NDArray[np.int64],
        objects: Sequence[Any],
        micros: Micros | None = None,
    ) -> None:
        self.kind = kind
        self.first = first
        self.second = second
        self.objects = objects
        self.micros = micros

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
        if kind == MICROS and self.micros is not None:
            return self.micros[i]
        return self.objects[first] if kind == OBJECT else None

    def __iter__(self) -> Iterator[Any]:
        step = 65536
        for at in range(0, len(self), step):
            rows = slice(at, at + step)
            kinds, firsts = self.kind[rows], self.first[rows]
            found: list[Any] = firsts.tolist()
            for i in np.flatnonzero((firsts == NIL) & (kinds == SCALAR)).tolist():
                found[i] = None
            pairs, others = np.flatnonzero(kinds == PAIR), np.flatnonzero((kinds != SCALAR) & (kinds != PAIR)).tolist()
            for i, first, second in zip(pairs.tolist(), firsts[pairs].tolist(), self.second[rows][pairs].tolist(), strict=True):
                found[i] = (None if first == NIL else first, None if second == NIL else second)
            for i in others:
                kind = kinds[i]
                if kind == MICROS and self.micros is not None:
                    found[i] = self.micros[at + i]
                else:
                    found[i] = self.objects[found[i]] if kind == OBJECT else None
            yield from found

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(_same, self, other))

    def take(self, at: NDArray[Any]) -> Values:
        """The values at these positions."""
        micros = None if self.micros is None else self.micros.take(at)
        return Values(self.kind[at], self.first[at], self.second[at], self.objects, micros)


def _same(a: Any, b: Any) -> bool:
    return bool(a == b)


_PLAIN = {int, type(None)}


class Packer:
    """Packs batches of values into columns that share one table of objects."""

    def __init__(self) -> None:
        self.objects: list[Any] = []
        self._strings: dict[str, int] = {}

    def pack(self, values: Sequence[Any], missing: object = ...) -> Values:
        """These values in columns; `missing` is what stands for a value that was not told. Lists become tuples."""
        if set(map(type, values)) <= _PLAIN:
            nil = np.fromiter([value is None for value in values], np.bool_, len(values))
            try:
                plain = np.fromiter([NIL if value is None else value for value in values], np.int64, len(values))
            except OverflowError:
                plain = np.full(len(values), NIL)
            if np.array_equal(plain == NIL, nil):
                return Values(np.zeros(len(values), np.int8), plain, np.zeros(len(values), np.int64), self.objects)
        kind = np.zeros(len(values), np.int8)
        # Most are integers, or nothing: only what is neither is looked at one by one.
        firsts: list[Any] = [NIL if value is None or value is missing else value for value in values]
        untold = [i for i, value in enumerate(values) if value is missing]
        nils = list(map(type, values)).count(type(None)) + len(untold)
        seconds: list[int] = []
        pairs: list[int] = []
        others: list[int] = []
        for i, value in enumerate(firsts):
            what = type(value)
            if what is int:
                continue
            if what is str:
                firsts[i] = self._string(value)
                others.append(i)
            else:
                if (what is list or what is tuple) and len(value) == 2:
                    a, b = value
                    if a is None:
                        a = NIL
                        nils += 1
                    if b is None:
                        b = NIL
                        nils += 1
                    if type(a) is int and type(b) is int:
                        firsts[i] = a
                        seconds.append(b)
                        pairs.append(i)
                        continue
                    nils -= (value[0] is None) + (value[1] is None)
                firsts[i] = self._object(frozen(value))
                others.append(i)
        first, second = np.empty(len(values), np.int64), np.zeros(len(values), np.int64)
        try:
            first[:] = firsts
            second[pairs] = seconds
            wide = nils != np.count_nonzero(first == NIL) + np.count_nonzero(second == NIL)
        except OverflowError:
            wide = True
        if wide:
            # An integer of more than 64 bits, or one that is taken for NIL: keep these as objects.
            values = [Wide(frozen(value)) if _wide(value) else value for value in values]
            packed = self.pack(values, missing)
            self.objects[:] = [one.value if type(one) is Wide else one for one in self.objects]
            return packed
        kind[pairs], kind[others], kind[untold] = PAIR, OBJECT, MISSING
        return Values(kind, first, second, self.objects)

    def _string(self, string: str) -> int:
        place = self._strings.get(string)
        if place is None:
            place = self._strings[string] = self._object(string)
        return place

    def _object(self, value: Any) -> int:
        self.objects.append(value)
        return len(self.objects) - 1


def packed(values: Iterable[Any]) -> Values:
    """These values in columns of their own."""
    return Packer().pack(list(values))


_NESTING = {list, tuple, dict}


def frozen(value: Any, levels: int = MAX_DEPTH) -> Any:
    """`value` with every list in it turned into a tuple. Raises `RecursionError` where more levels than that are nested."""
    if type(value) is list or type(value) is tuple:
        if not levels:
            raise RecursionError("a value is nested too deeply")
        if _NESTING.isdisjoint(map(type, value)):
            return tuple(value)
        return tuple([frozen(part, levels - 1) for part in value])
    if type(value) is dict:
        if not levels:
            raise RecursionError("a value is nested too deeply")
        return {name: frozen(part, levels - 1) for name, part in value.items()}
    return value


class Wide(NamedTuple):
    """Wraps a value that does not fit into columns, on its way to the table of objects."""

    value: Any


def _wide(value: Any) -> bool:
    if type(value) is int:
        return not NIL < value <= -(NIL + 1)
    return (type(value) is list or type(value) is tuple) and len(value) == 2 and (_wide(value[0]) or _wide(value[1]))


class Tagged(msgspec.Struct, frozen=True):
    """A value that Python would take for another one, or could not hash, with its kind beside it."""

    kind: str
    content: Hashable


def canonical(value: Any) -> Hashable:
    """A hashable stand-in for `value`, equal for two values exactly if a database would call them equal.

    Integers, strings, bytes and None stand for themselves, lists and tuples become tuples; booleans, floats, maps, sets and
    anything unhashable are `Tagged`. Raises `UsageError` where a value is nested too deeply.
    """
    kind = type(value)
    if kind is int or kind is str or value is None:
        return value  # type: ignore[no-any-return]
    try:
        return _canonical(value)
    except RecursionError as error:
        raise UsageError("a value is nested too deeply to be compared with others") from error


def _canonical(value: Any) -> Hashable:
    kind = type(value)
    if kind is int or kind is str or value is None or kind is bytes or kind is Tagged:
        return value  # type: ignore[no-any-return]
    if kind is tuple or kind is list:
        return tuple([_canonical(part) for part in value])
    if kind is bool:
        return Tagged("bool", value)
    if kind is float:
        return Tagged("float", repr(value + 0.0))  # -0.0 is 0.0.
    if kind is dict:
        return Tagged("map", frozenset((_canonical(name), _canonical(part)) for name, part in value.items()))
    if kind is set or kind is frozenset:
        return Tagged("set", frozenset(_canonical(part) for part in value))
    try:
        hash(value)
    except TypeError:
        return Tagged("repr", repr(value))
    return value  # type: ignore[no-any-return]
