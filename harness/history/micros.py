"""Micros: what transactions read and wrote, in columns, because a million of them hold many millions of micro-operations."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Sequence
from itertools import chain, compress, pairwise
from operator import itemgetter
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.ranges import bounds, ranges
from splitbrain.harness.history.texts import parsed
from splitbrain.harness.history.values import MICROS, MISSING, NIL, Packer, Values, canonical, frozen

READ, WRITE, APPEND, READ_LIST = 0, 1, 2, 3
UNKNOWN = NIL + 1
"""The value of a read whose result is not known."""

FIRST_OBJECT = NIL + 2
"""The id of the first value that is not an integer of at most 62 bits; the ids of the others follow it."""

_WIDE = 1 << 62
_CODES = {"r": READ, "read": READ, "w": WRITE, "write": WRITE, "append": APPEND}
_NAMES = ("r", "w", "append", "r")
_INTEGER, _NIL, _LIST, _OTHER = range(4)
_SHAPES = defaultdict(lambda: _OTHER, {int: _INTEGER, type(None): _NIL, list: _LIST, tuple: _LIST})

Micro = tuple[str, Any, Any]
"""`("r", key, what was read)`, `("w", key, value)` or `("append", key, value)`."""


class Micros:
    """The micro-operations of a history's operations, immutable by agreement.

    Those of operation i are the rows `start[i]` up to `start[i + 1]` of the columns, in the order in which the transaction
    ran them; an operation that is no transaction has none, and so has an empty transaction. Who ran them, when, and with
    which outcome is told by the columns of the `History` that they belong to. A row has

    * `f` (int8): `READ`, `WRITE` (a register is set), `APPEND` (an element is put at the end of a list) or `READ_LIST` (a
    read that returned a list);
    * `key` (int32): the place of the key in `keys`;
    * `value` (int64): of a `WRITE` or an `APPEND` the id of the value, of a `READ` the id of what it returned, of a
      `READ_LIST` the number n of the list that it returned: the ids `list_values[list_start[n]:list_start[n + 1]]`.

    The id of an integer of at most 62 bits is the integer itself; other values (strings, longer integers, what a file may
    hold) have ids from `FIRST_OBJECT` up and are `objects[id - FIRST_OBJECT]`, equal values of one type with equal ids.
    `NIL` is the id of nil: a `READ` of `NIL` found the initial state, of a list or of a register. `UNKNOWN` is the value of
    a read whose result is not known: of every read of an operation that is not `ok`, and where a transaction was
    acknowledged without telling what it read.
    """

    __slots__ = ("start", "f", "key", "value", "list_start", "list_values", "keys", "objects")

    def __init__(
        self,
        start: NDArray[np.int64],
        f: NDArray[np.int8],
        key: NDArray[np.int32],
        value: NDArray[np.int64],
        list_start: NDArray[np.int64],
        list_values: NDArray[np.int64],
        keys: Sequence[Any],
        objects: Sequence[Any],
    ) -> None:
        self.start = start
        self.f = f
        self.key = key
        self.value = value
        self.list_start = list_start
        self.list_values = list_values
        self.keys = keys
        self.objects = objects

    def __len__(self) -> int:
        """The number of operations, of micro-operations there are `len(f)`."""
        return len(self.start) - 1

    def __getitem__(self, i: int) -> tuple[Micro, ...]:
        """The micro-operations of operation i as plain values; a read whose result is not known has None."""
        return tuple(self.row(at) for at in range(self.start[i], self.start[i + 1]))

    def row(self, at: int) -> Micro:
        """One micro-operation as a plain value, by its row in the columns."""
        return _NAMES[self.f[at]], self.keys[self.key[at]], self.returned(at)

    def returned(self, at: int) -> Any:
        """The value of one row as a plain value, None where it is not known."""
        value = int(self.value[at])
        if self.f[at] == READ_LIST:
            return tuple([self.name(one) for one in self.list_values[self.list_start[value] : self.list_start[value + 1]]])
        return None if value == UNKNOWN else self.name(value)

    def name(self, value: int) -> Any:
        """The plain value of an id."""
        return _plain(value, self.objects)

    def owners(self) -> NDArray[np.int64]:
        """Of every row the operation that it belongs to."""
        return np.repeat(np.arange(len(self)), np.diff(self.start))

    def take(self, at: NDArray[Any], without_answer: NDArray[np.bool_] | None = None) -> Micros:
        """Those of the operations at these positions, -1 for one that has none. The reads of those marked `without_answer`
        (one mark a position) become `UNKNOWN`. Names keep their ids."""
        counts = np.where(at >= 0, np.diff(self.start)[at], 0) if len(self) else np.zeros(len(at), np.int64)
        rows = ranges(np.where(at >= 0, self.start[at], 0), counts)
        f, key, value = self.f[rows], self.key[rows], self.value[rows]
        if without_answer is not None and without_answer.any():
            silent = np.repeat(without_answer, counts) & ((f == READ) | (f == READ_LIST))
            f[silent], value[silent] = READ, UNKNOWN
        reads = np.flatnonzero(f == READ_LIST)
        lists = value[reads]
        lengths = np.diff(self.list_start)[lists]
        list_values = self.list_values[ranges(self.list_start[lists], lengths)]
        value[reads] = np.arange(len(reads))
        return Micros(bounds(counts), f, key, value, bounds(lengths), list_values, self.keys, self.objects)


class MicrosPacker:
    """Packs transactions into columns, a batch at a time."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, int] = {}
        self._plain_keys: dict[Any, int] = {}
        self._names: list[Any] = []
        self._objects: list[Any] = []
        self._ids: dict[Hashable, int] = {}
        self._parts: list[tuple[NDArray[Any], ...]] = []
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def pack(self, values: Sequence[Any]) -> NDArray[np.int64]:
        """Of every value the number of the transaction that it is, -1 where it is none: a list of micro-operations, each a
        function, a key and a value; the read of a transaction whose answer is not known may leave the value out."""
        fit, fitting = [True] * len(values), values
        micros = _whole(values)
        if micros is None:
            fit = [_fits(value) for value in values]
            fitting = list(compress(values, fit))
            micros = [one if len(one) == 3 else (*one, _Untold) for one in chain.from_iterable(fitting)]
        many = len(micros)
        told = list(map(itemgetter(2), micros))
        f = np.fromiter(map(_CODES.__getitem__, map(itemgetter(0), micros)), np.int8, many)
        key = self._key_codes(list(map(itemgetter(1), micros)))
        shapes = np.fromiter(map(_SHAPES.__getitem__, map(type, told)), np.int8, many)
        value = np.full(many, NIL)
        lists = shapes == _LIST
        lists &= f == READ
        for shape in (shapes == _INTEGER, (shapes == _OTHER) | ((shapes == _LIST) & ~lists)):
            if shape.any():
                value[shape] = self._codes(list(compress(told, shape.tolist())))
        returned = list(compress(told, lists.tolist()))
        f[lists] = READ_LIST
        value[lists] = np.arange(len(returned))
        lengths = np.fromiter(map(len, returned), np.int64, len(returned))
        elements = self._codes(list(chain.from_iterable(returned)))
        numbers = np.full(len(values), -1)
        numbers[fit] = self._count + np.arange(len(fitting))
        counts = np.fromiter(map(len, fitting), np.int64, len(fitting))
        self._parts.append((counts, f, key, value, lengths, elements))
        self._count += len(counts)
        return numbers

    def pack_texts(self, texts: Sequence[msgspec.Raw]) -> NDArray[np.int64] | None:
        """As `pack`, of values that are still JSON; None where one of them is not of the commonest shape."""
        read = parsed(b",".join([*texts, b""]), len(texts))
        if read is None:
            return None
        keys, first, place = np.unique(read.key, return_index=True, return_inverse=True)
        appearance = np.argsort(first)
        codes = np.empty(len(keys), np.int32)
        codes[appearance] = self._key_codes(keys[appearance].tolist())
        self._parts.append((read.counts, read.f, codes[place], read.value, read.lengths, read.elements))
        numbers = self._count + np.arange(len(texts))
        self._count += len(texts)
        return numbers

    def micros(self) -> Micros:
        """All transactions that were packed, by their numbers. The packer is empty then, but for its names."""
        kinds = (np.int64, np.int8, np.int32, np.int64, np.int64, np.int64)
        counts, f, key, value, lengths, elements = (
            np.concatenate([part[column] for part in self._parts]) if self._parts else np.empty(0, kind)
            for column, kind in enumerate(kinds)
        )
        # Each batch numbered its lists from 0.
        value[f == READ_LIST] = np.arange(len(lengths))
        self._parts, self._count = [], 0
        if len(lengths) and (f == WRITE).any() and not (f == APPEND).any():
            # What is written whole is read whole: nobody appended these elements.
            value[f == READ_LIST] = self._whole(elements, lengths)
            f[f == READ_LIST], lengths, elements = READ, lengths[:0], elements[:0]
        return Micros(bounds(counts), f, key, value, bounds(lengths), elements, tuple(self._names), tuple(self._objects))

    def _whole(self, elements: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Of every list that was read the id of the one value that it is where registers hold it."""
        start = bounds(lengths).tolist()
        lists = [elements[begin:end].tolist() for begin, end in pairwise(start)]
        return self._codes([[_plain(one, self._objects) for one in ids] for ids in lists])

    def _key_codes(self, keys: list[Any]) -> NDArray[np.int32]:
        # 1, 1.0 and true are equal to Python, and are three keys.
        plain = set(map(type, keys)) <= {int, str}
        try:
            if plain:
                return np.fromiter(map(self._plain_keys.__getitem__, keys), np.int32, len(keys))
            return np.fromiter([self._keys[canonical(key)] for key in map(frozen, keys)], np.int32, len(keys))
        except KeyError:
            for key in dict.fromkeys(keys) if plain else map(frozen, keys):
                code = self._keys.setdefault(canonical(key), len(self._names))
                if code == len(self._names):
                    self._names.append(key)
                if type(key) is int or type(key) is str:
                    self._plain_keys[key] = code
            return self._key_codes(keys)

    def _codes(self, values: list[Any]) -> NDArray[np.int64]:
        if set(map(type, values)) <= {int}:
            try:
                codes = np.fromiter(values, np.int64, len(values))
                if not len(codes) or (codes.min() > -_WIDE and codes.max() < _WIDE):
                    return codes
            except OverflowError:
                pass  # Some are longer: one at a time.
        return np.fromiter([self._code(value) for value in values], np.int64, len(values))

    def _code(self, value: Any) -> int:
        if type(value) is int and -_WIDE < value < _WIDE:
            return value
        if value is None:
            return NIL
        if value is _Untold:
            return UNKNOWN
        value = frozen(value)
        place = self._ids.setdefault(canonical(value), len(self._objects))
        if place == len(self._objects):
            self._objects.append(value)
        return FIRST_OBJECT + place


class _Untold:
    """Stands for the value of a read that tells none."""


_SEQUENCES = {list, tuple}


def _whole(values: Sequence[Any]) -> list[Any] | None:
    """The micro-operations of all these transactions, None where one may be no transaction, or does not tell all."""
    if not set(map(type, values)) <= _SEQUENCES:
        return None
    micros = list(chain.from_iterable(values))
    if not (set(map(type, micros)) <= _SEQUENCES and set(map(len, micros)) <= {3}):
        return None
    try:
        return micros if set(map(itemgetter(0), micros)) <= _CODES.keys() else None
    except TypeError:
        return None  # What cannot be hashed is no name.


def _fits(value: Any) -> bool:
    if type(value) is not list and type(value) is not tuple:
        return False
    for micro in value:
        if type(micro) is not list and type(micro) is not tuple:
            return False
        size = len(micro)
        if size != 3 and size != 2:
            return False
        f = micro[0]
        if type(f) is not str or f not in _CODES or (size == 2 and _CODES[f] != READ):
            return False
    return True


def _plain(value: int, objects: Sequence[Any]) -> Any:
    """The plain value of an id, `objects` being those that are no integers."""
    if value == NIL:
        return None
    return int(value) if value >= -_WIDE else objects[value - FIRST_OBJECT]


class OperationsPacker:
    """Packs the values of operations: those of transactions as micro-operations, all others as `Packer` does."""

    def __init__(self) -> None:
        self._values = Packer()
        self._micros = MicrosPacker()

    def pack_texts(self, texts: list[Any], transactions: NDArray[np.bool_]) -> Values | None:
        """As `pack`, of the values of transactions that are still JSON, or `UNSET`; None where they have to be decoded. What is
        not marked is nil."""
        untold = np.fromiter([text is msgspec.UNSET for text in texts], np.bool_, len(texts))
        at = np.flatnonzero(transactions & ~untold)
        numbers = self._micros.pack_texts([texts[i] for i in at.tolist()])
        if numbers is None:
            return None
        kind, first = np.zeros(len(texts), np.int8), np.full(len(texts), NIL)
        kind[at], first[at], kind[untold] = MICROS, numbers, MISSING
        return Values(kind, first, np.zeros(len(texts), np.int64), ())

    def pack(self, told: list[Any], transactions: NDArray[np.bool_], missing: object = ...) -> Values:
        """These values in columns. Of those marked in `transactions` that are lists of micro-operations, `kind` is `MICROS`
        and `first` a number that `values` understands; the others, and `missing`, are as `Packer.pack` has them."""
        if not transactions.any():
            return self._values.pack(told, missing)
        numbers = np.full(len(told), -1)
        at = np.flatnonzero(transactions)
        numbers[at] = self._micros.pack([told[i] for i in at.tolist()] if len(at) < len(told) else told)
        chosen = numbers >= 0
        if chosen.all():
            return Values(np.full(len(told), MICROS, np.int8), numbers, np.zeros(len(told), np.int64), ())
        others = [None if number >= 0 else one for one, number in zip(told, numbers.tolist(), strict=True)]
        values = self._values.pack(others, missing)
        values.kind[chosen], values.first[chosen] = MICROS, numbers[chosen]
        return values

    def values(
        self, kind: NDArray[np.int8], first: NDArray[np.int64], second: NDArray[np.int64], ok: NDArray[np.bool_],
        answered: NDArray[np.bool_], transactions: NDArray[np.bool_],
    ) -> Values:
        """The values of a history, from columns that `pack` made, one row an operation.

        What a transaction read is known where it is `ok` and `answered`, that is, its value comes from its answer and not
        from its invocation. A row that is no transaction after all gets its plain value.
        """
        packed = kind == MICROS
        micros = None
        if packed.any():
            everything = self._micros.micros()
            for row in np.flatnonzero(packed & ~transactions).tolist():
                plain = self._values.pack([everything[int(first[row])]])
                kind[row], first[row], second[row] = plain.kind[0], plain.first[0], plain.second[0]
            packed = kind == MICROS
            micros = everything.take(np.where(packed, first, -1), ~(ok & answered))
            first[packed] = NIL
        return Values(kind, first, second, self._values.objects, micros)
