"""The clusters of registers in columns: who wrote and who saw which value, and when. `zones` decides on them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.models.specifications import CasRegister, Register, check_functions
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.values import MISSING, NIL, OBJECT, PAIR, SCALAR, canonical

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]
Codes = NDArray[np.int32]


@dataclass(slots=True)
class Rows:
    """The rows of a history by what they do. `swaps` are the compare-and-sets that may have taken effect; of the refused ones
    `seers` told what they saw, and `blind` did not."""

    reads: Ints
    writes: Ints
    swaps: Ints
    blind: Ints
    seers: Ints

    @classmethod
    def of(cls, history: History, model: Register) -> Rows:
        """The rows of a history. Raises `UsageError` for a function that the model does not know."""
        names = {name: code for code, name in enumerate(history.fs)}
        f, outcome, values = history.f, history.outcome, history.values
        check_functions(model, (history.fs[code] for code in np.flatnonzero(np.bincount(f, minlength=1)).tolist()))
        ok, info = outcome == OK, outcome == INFO
        read = ok & (f == names.get("read", -1)) & (values.kind != MISSING)
        if model.nil == "wildcard":
            read &= (values.kind != SCALAR) | (values.first != NIL)
        write = (f == names.get("write", -1)) & (ok | info)
        cas = (f == names.get("cas", -1)) if isinstance(model, CasRegister) else np.zeros(len(f), np.bool_)
        refusals = np.empty(0, np.int64)
        if MISMATCH in history.errors:
            refusals = np.flatnonzero(cas & (outcome == FAIL) & (history.error == history.errors.index(MISMATCH)))
        seers = refusals[:0]
        if history.seen:
            seers = np.intersect1d(refusals, np.fromiter(history.seen, np.int64, len(history.seen)), assume_unique=True)
        blind = np.setdiff1d(refusals, seers, assume_unique=True) if len(seers) else refusals
        return cls(np.flatnonzero(read), np.flatnonzero(write), np.flatnonzero(cas & (ok | info)), blind, seers)


@dataclass(slots=True)
class Coded:
    """Values as dense integers, the same for equal values of the same key, `size` in all: what was read and written, what swaps
    expected and would set, what blind refusals expected, what seers saw and what they had expected, and what every key held
    at first."""

    size: int
    read: Codes
    written: Codes
    expected: Codes
    new: Codes
    blind: Codes
    seen: Codes
    spurned: Codes
    initial: Codes

    def owners(self, rows: Rows, key: Codes) -> Codes:
        """The key of each value, `key` being that of each row."""
        owner = np.zeros(self.size, np.int32)
        for of, codes in (
            (rows.reads, self.read), (rows.writes, self.written), (rows.swaps, self.expected), (rows.swaps, self.new),
            (rows.blind, self.blind), (rows.seers, self.seen), (rows.seers, self.spurned),
        ):
            owner[codes] = key[of]
        owner[self.initial] = np.arange(len(self.initial))
        return owner


@dataclass(slots=True)
class Times:
    """When each row was invoked and returned, with the keys one after another so that one sort serves them all: key k has the
    times from `k * span` on, and nothing happens in it at `k * span` itself. `key` is each row's."""

    key: Codes
    inv: Ints
    ret: Ints
    span: int

    @classmethod
    def of(cls, history: History, keys: int) -> Times:
        """The times of all rows, in ranks where they are too far apart for so many keys."""
        key = history.key + np.int32(1)
        returned = np.where(history.outcome == INFO, NEVER, history.completed)
        start = int(history.invoked.min())
        finite = int(np.max(history.completed, where=history.completed != NEVER, initial=start))
        end = max(int(history.invoked.max()), finite) + 2
        if (end - start + 2) * keys < 1 << 61:
            span = end - start + 2
            inv = history.invoked - (start - 1)
            ret = np.minimum(returned, end, out=returned)
            ret -= start - 1
        else:
            moments = np.unique(np.concatenate([history.invoked, returned]))
            span = len(moments) + 2
            inv = np.searchsorted(moments, history.invoked).astype(np.int64) + 1
            ret = np.searchsorted(moments, returned).astype(np.int64) + 1
        offset = np.multiply(key, span, dtype=np.int64)
        inv += offset
        ret += offset
        return cls(key, inv, ret, span)


@dataclass(slots=True)
class Links:
    """The swaps that took effect, and put the value `target` in the place of `source`. `lost` are the places among all swaps of
    those that may be left out."""

    rows: Ints
    source: Codes
    target: Codes
    lost: Ints

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(slots=True)
class Clusters:
    """By value: the key that it belongs to, how often it was written, whether anybody saw it, when its write was invoked and
    returned, when the first who saw it returned and the last was invoked. Who saw what: the rows `observers` and the values
    `observed`."""

    owner: Codes
    writers: Ints
    watched: Bools
    write_inv: Ints
    write_ret: Ints
    first_seen: Ints
    last_sought: Ints
    observers: Ints
    observed: Codes

    @classmethod
    def of(cls, rows: Rows, values: Coded, times: Times, links: Links, selfish: Ints, watched: Bools) -> Clusters:
        """The clusters of all values; `selfish` are the places among all swaps of those that only read."""
        size, keys, inv, ret = values.size, len(values.initial), times.inv, times.ret
        never = np.int64(np.iinfo(np.int64).max)
        writers = np.bincount(values.written, minlength=size) + np.bincount(links.target, minlength=size)
        writers += np.bincount(values.initial, minlength=size)
        write_inv, write_ret = np.full(size, -1, np.int64), np.full(size, never)
        write_inv[values.written], write_ret[values.written] = inv[rows.writes], ret[rows.writes]
        write_inv[links.target], write_ret[links.target] = inv[links.rows], ret[links.rows]
        write_inv[values.initial] = write_ret[values.initial] = np.arange(keys) * times.span
        observers = np.concatenate([rows.reads, rows.seers, rows.swaps[selfish]])
        observed = np.concatenate([values.read, values.seen, values.expected[selfish]])
        first_seen, last_sought = np.full(size, never), np.full(size, -1, np.int64)
        np.minimum.at(first_seen, observed, ret[observers])
        np.maximum.at(last_sought, observed, inv[observers])
        owner = values.owners(rows, times.key)
        return cls(owner, writers, watched, write_inv, write_ret, first_seen, last_sought, observers, observed)

    @property
    def present(self) -> Bools:
        """The values that there are: others were expected, or would have been set, and nothing more."""
        return (self.writers > 0) | self.watched


def coded(history: History, model: Register, rows: Rows, keys: int) -> Coded:
    """What these rows read and wrote, and the initial value of every key."""
    values = history.values
    swaps, blind, seers = rows.swaps, rows.blind, rows.seers
    pairs = np.concatenate([swaps, blind, seers])
    plain = np.concatenate([rows.reads, rows.writes])
    kinds = np.bincount(values.kind[plain], minlength=4), np.bincount(values.kind[pairs], minlength=4)
    initial = model.initial
    initial_plain = initial is None or (type(initial) is int and NIL < initial < -NIL)
    told = _plain([history.seen[row][0] for row in seers.tolist()])
    if initial_plain and told is not None and not kinds[0][PAIR] + kinds[0][OBJECT] and kinds[1].sum() == kinds[1][PAIR]:
        first = int(initial) if initial is not None else NIL  # type: ignore[call-overload]
        raw = np.concatenate([
            values.first[plain], values.first[swaps], values.second[swaps], values.first[blind], told,
            values.first[seers], np.full(keys, first),
        ])
    else:
        raw = _numbered(history, plain, pairs, rows, initial, keys)
    key = history.key
    where = np.concatenate([
        key[plain], key[swaps], key[swaps], key[blind], key[seers], key[seers], np.arange(-1, keys - 1, dtype=np.int32),
    ])
    where += 1
    codes, size = _dense(raw, where, keys)
    counts = [len(rows.reads), len(rows.writes), len(swaps), len(swaps), len(blind), len(seers), len(seers)]
    return Coded(size, *np.split(codes, np.cumsum(counts)))


def _numbered(history: History, plain: Ints, pairs: Ints, rows: Rows, initial: object, keys: int) -> Ints:
    """The values of the rows `plain`, what the `pairs` expected and set, what seers saw and the initial values, as numbers.
    Raises `UsageError` where a compare-and-set has no pair."""
    values = history.values
    known: dict[object, int] = {}
    objects: dict[int, int] = {}
    numbers: list[int] = []

    def number(value: object) -> int:
        return known.setdefault(canonical(value), len(known))

    for row, kind, at in zip(plain.tolist(), values.kind[plain].tolist(), values.first[plain].tolist(), strict=True):
        if kind == OBJECT:
            if at not in objects:
                objects[at] = number(values[row])
            numbers.append(objects[at])
        else:
            numbers.append(number(values[row]))
    expected, new = [], []
    for row in pairs.tolist():
        pair = values[row]
        if type(pair) not in (tuple, list) or len(pair) != 2:
            place = int(history.index[row])
            raise UsageError(f"operation {place}, cas {pair!r}: a cas needs a pair (expected, new)")
        expected.append(number(pair[0]))
        new.append(number(pair[1]))
    m, b = len(rows.swaps), len(rows.blind)
    seen = [number(history.seen[row][0]) for row in rows.seers.tolist()]
    numbers += expected[:m] + new[:m] + expected[m:m + b] + seen + expected[m + b:] + [number(initial)] * keys
    return np.array(numbers, np.int64)


def linked(history: History, rows: Rows, values: Coded) -> tuple[Links, Ints, Bools]:
    """The swaps that took effect, the places of those that only read (a→a reads a), and which values anybody saw. One without
    an answer counts only if its value was seen, directly or through others that count."""
    same = values.expected == values.new
    sure = history.outcome[rows.swaps] == OK
    watched = np.zeros(values.size, np.bool_)
    watched[values.read] = True
    watched[values.seen] = True
    watched[values.expected[sure]] = True
    happened = sure & ~same
    maybe = np.flatnonzero(~sure & ~same)
    if len(maybe):
        happened[_needed(maybe, values.expected, values.new, watched)] = True
    at = np.flatnonzero(happened)
    links = Links(rows.swaps[at], values.expected[at], values.new[at], maybe[~happened[maybe]])
    return links, np.flatnonzero(sure & same), watched


def _needed(maybe: Ints, c_from: Codes, c_to: Codes, watched: Bools) -> list[int]:
    """Which of the indeterminate swaps did happen, because their value was seen; marks what they saw in turn."""
    makers: dict[int, list[int]] = {}
    for at, code in zip(maybe.tolist(), c_to[maybe].tolist(), strict=True):
        makers.setdefault(code, []).append(at)
    found = []
    work = [code for code in makers if watched[code]]
    while work:
        for at in makers.pop(work.pop(), ()):
            found.append(at)
            seen = int(c_from[at])
            if not watched[seen]:
                watched[seen] = True
                work.append(seen)
    return found


def _plain(values: list[object]) -> Ints | None:
    """Integers and None as they are kept in columns; None where some are of another kind."""
    if not set(map(type, values)) <= {int, type(None)}:
        return None
    try:
        column = np.array([NIL if value is None else value for value in values], np.int64)
    except OverflowError:
        return None
    return column if np.count_nonzero(column == NIL) == values.count(None) else None


def _dense(raw: Ints, where: NDArray[np.int32], keys: int) -> tuple[Codes, int]:
    """Numbers for the values `raw` of the keys `where`, from 0 and without gaps, the same for equal values of the same key; and
    how many there are."""
    nil = raw == NIL
    real = raw[~nil] if nil.any() else raw
    least, most = (int(real.min()), int(real.max())) if len(real) else (0, 0)
    del real
    width = most - least + 2
    if width * keys > 4 * len(raw) + 65536:
        distinct, inverse = np.unique(raw, return_inverse=True)
        if len(distinct) * keys > 4 * len(raw) + 65536:
            distinct, inverse = np.unique(where * np.int64(len(distinct)) + inverse, return_inverse=True)
            return inverse.astype(np.int32), len(distinct)
        width = len(distinct)
        place = inverse
    else:
        place = raw
        place -= least - 1
        place[nil] = 0
    place += np.multiply(where, width, dtype=np.int64)
    used = np.zeros(width * keys, np.bool_)
    used[place] = True
    number = np.cumsum(used, dtype=np.int32)
    number -= 1
    return number[place], int(number[-1]) + 1
