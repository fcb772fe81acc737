"""Events straight from their lines: the commonest ones go from bytes into columns, without a Python object for each of them.

Where numba is installed (the extra `fast`) this is machine code; without it, the ordinary way is the faster one.
"""

from __future__ import annotations

from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history import machine_code
from splitbrain.harness.history.history import NEVER
from splitbrain.harness.history.values import MISSING, NIL, PAIR, SCALAR

COMPILED_FROM, COMPILED_NOW_FROM = 16 << 20, 64 << 20
"""Bytes of lines from which on machine code repays loading it; and from which on where it has to be compiled first, once on a
machine."""
MOST_OTHERS = 0.25
"""Where more of the lines than that are of another shape, all are read the ordinary way."""

_FIELDS = (b"type", b"time", b"process", b"f", b"key", b"value", b"node", b"server", b"scheduled", b"kind", b"sum")
"""What a line tells, in the order in which it does."""
_TYPE, _TIME, _PROCESS, _F, _KEY, _VALUE, _NODE, _SERVER, _SCHEDULED, _KIND, _SUM = range(len(_FIELDS))
_NAMED = (_TYPE, _F, _NODE, _SERVER, _KIND)
"""Of which the text is one of a few names."""
_MOST_NAMES = 64
_ENOUGH = 16
"""Bytes that follow the beginning of every field, the sum's too."""

_SIZES = np.array([len(name) for name in _FIELDS])
_LETTERS = np.zeros((len(_FIELDS), int(_SIZES.max())), np.uint8)
for _place, _field in enumerate(_FIELDS):
    _LETTERS[_place, : len(_field)] = np.frombuffer(_field, np.uint8)

_OPEN, _CLOSE, _BEGIN, _END, _COMMA, _COLON, _QUOTE, _ESCAPE, _MINUS, _ZERO, _BREAK = b'{}[],:"\\-0\n'
_NULL_N, _NULL_U, _NULL_L = b"nul"


class Read(NamedTuple):
    """Events in columns, one row a line. `others` are the lines of another shape, of which the columns tell nothing. Of a
    type, function, node, server or kind its place among `names` is told, -1 where there is none. A key, an integer, is told
    where `keyed`; `form`, `first` and `second` are a value as `Values` has it; `starts` is where each line begins."""

    others: NDArray[np.bool_]
    type: NDArray[np.int8]
    time: NDArray[np.int64]
    process: NDArray[np.int64]
    f: NDArray[np.int8]
    keyed: NDArray[np.bool_]
    key: NDArray[np.int64]
    form: NDArray[np.int8]
    first: NDArray[np.int64]
    second: NDArray[np.int64]
    node: NDArray[np.int8]
    server: NDArray[np.int8]
    scheduled: NDArray[np.int64]
    kind: NDArray[np.int8]
    starts: NDArray[np.int64]
    names: dict[str, list[str]]


def worth_it(size: int) -> bool:
    """Whether lines of so many bytes together are read here."""
    if size < COMPILED_FROM or not machine_code.available():
        return False
    return size >= COMPILED_NOW_FROM or _kept()


@cache
def _kept() -> bool:
    """Whether this process need not compile it."""
    return machine_code.kept(_read)


def read(text: bytes, many: int, *, compiled: bool = True) -> Read | None:
    """So many lines, each with its line break, as events. Read here is JSON without spaces, with the fields of our journals in
    their order, texts of ASCII that nothing is escaped in, integers of at most 18 digits, and as values integers, null and
    pairs of these. None where too many lines are of another shape. Not `compiled`, the same is read without machine code."""
    if not text.endswith(b"\n"):
        return None
    others, keyed = np.zeros(many, np.bool_), np.zeros(many, np.bool_)
    time, process, key, first, second, scheduled, starts = (np.zeros(many, np.int64) for _ in range(7))
    type, f, form, node, server, kind = (np.full(many, -1, np.int8) for _ in range(6))
    columns = (others, type, time, process, f, keyed, key, form, first, second, node, server, scheduled, kind, starts)
    spans, counts = np.zeros((len(_FIELDS), _MOST_NAMES, 2), np.int64), np.zeros(len(_FIELDS), np.int64)
    if compiled:
        run = machine_code.compiled(_read, _integer, _name)
        rows = run(np.frombuffer(text, np.uint8), spans, counts, *columns)
    else:
        rows = _read(text, spans, counts, *columns)
    if rows != many or others.sum() > MOST_OTHERS * many:
        return None
    names = {
        _FIELDS[field].decode(): [text[begin:end].decode() for begin, end in spans[field, : counts[field]].tolist()]
        for field in _NAMED
    }
    for column in (type, f, node, server, kind):
        column[others] = -1
    return Read(*columns, names)


def _integer(text: Any, at: int) -> tuple[int, int]:
    """The integer that begins there, and where it ends: -1 where there is none."""
    minus = text[at] == _MINUS
    if minus:
        at += 1
    began, number = at, 0
    while at < len(text) and _ZERO <= text[at] <= _ZERO + 9:
        number = number * 10 + (text[at] - _ZERO)
        at += 1
    if at == began or at - began > 18 or (text[began] == _ZERO and (minus or at - began > 1)):
        return 0, -1
    return -number if minus else number, at


def _name(text: Any, at: int, spans: Any, field: int, count: int) -> tuple[int, int]:
    """Which of the field's `count` names the text is that begins there with a quote, and where it ends: -1 where there is none,
    or there are too many. A new one is the next of `spans`."""
    if text[at] != _QUOTE:
        return 0, -1
    at += 1
    began = at
    while at < len(text) and text[at] != _QUOTE:
        if text[at] == _ESCAPE or text[at] < 32 or text[at] > 126:
            return 0, -1
        at += 1
    if at >= len(text):
        return 0, -1
    for one in range(count):
        if spans[field, one, 1] - spans[field, one, 0] == at - began:
            place, other = began, spans[field, one, 0]
            while place < at and text[place] == text[other]:
                place += 1
                other += 1
            if place == at:
                return one, at + 1
    if count == _MOST_NAMES:
        return 0, -1
    spans[field, count, 0] = began
    spans[field, count, 1] = at
    return count, at + 1


def _read(
    text: Any, spans: Any, counts: Any, others: Any, type: Any, time: Any, process: Any, f: Any, keyed: Any, key: Any,
    form: Any, first: Any, second: Any, node: Any, server: Any, scheduled: Any, kind: Any, starts: Any,
) -> int:
    """Fill the columns; how many lines there are, more than there is room for perhaps."""
    end, at, row = len(text), 0, 0
    while at < end:
        if row == len(others):
            return row + 1
        starts[row] = at
        form[row] = MISSING
        first[row] = NIL
        scheduled[row] = NEVER
        last, told, fine = -1, 0, text[at] == _OPEN
        at += 1
        while fine and at + _ENOUGH < end and text[at] == _QUOTE:
            # A name that comes behind the last one.
            at += 1
            field = -1
            for one in range(last + 1, len(_SIZES)):
                size = _SIZES[one]
                if text[at + size] == _QUOTE:
                    place = 0
                    while place < size and text[at + place] == _LETTERS[one, place]:
                        place += 1
                    if place == size:
                        field = one
                        break
            if field < 0:
                break
            at += _SIZES[field] + 1
            if text[at] != _COLON:
                break
            at += 1
            last = field
            # What it tells.
            number, behind = 0, -1
            if field == _SUM:
                behind = at + 1
                if text[at] == _QUOTE:
                    while behind < end and 48 <= text[behind] <= 102 and text[behind] != _ESCAPE:
                        behind += 1
                    behind = behind + 1 if behind < end and text[behind] == _QUOTE else -1
            elif field == _VALUE:
                pair = text[at] == _BEGIN
                here = at + 1 if pair else at
                parts = 0
                while here < end:
                    if text[here] == _NULL_N:
                        null = end - here > 4 and text[here + 1] == _NULL_U and text[here + 2] == _NULL_L
                        null = null and text[here + 3] == _NULL_L
                        number, here = NIL, here + 4 if null else -1
                    else:
                        number, here = _integer(text, here)
                    if here < 0 or here >= end:
                        break
                    parts += 1
                    if parts == 1:
                        first[row] = number
                    else:
                        second[row] = number
                    if not pair:
                        form[row] = SCALAR
                        behind = here
                        break
                    if parts == 2:
                        if text[here] == _END:
                            form[row] = PAIR
                            behind = here + 1
                        break
                    if text[here] != _COMMA:
                        break
                    here += 1
            elif field in (_TIME, _PROCESS, _KEY, _SCHEDULED):
                number, behind = _integer(text, at)
                if field == _TIME:
                    time[row] = number
                elif field == _PROCESS:
                    process[row] = number
                elif field == _KEY:
                    key[row] = number
                    keyed[row] = True
                else:
                    scheduled[row] = number
            else:
                number, behind = _name(text, at, spans, field, counts[field])
                if behind >= 0:
                    if number == counts[field]:
                        counts[field] += 1
                    if field == _TYPE:
                        type[row] = number
                    elif field == _F:
                        f[row] = number
                    elif field == _NODE:
                        node[row] = number
                    elif field == _SERVER:
                        server[row] = number
                    else:
                        kind[row] = number
            if behind < 0 or behind + 1 >= end:
                break
            at = behind
            told += 1 if field <= _PROCESS else 0
            if text[at] == _CLOSE:
                # Whoever does not tell what happened, when and to whom is read the ordinary way.
                fine = False
                if text[at + 1] == _BREAK and told == _PROCESS + 1:
                    last = len(_SIZES)
                break
            if text[at] != _COMMA:
                break
            at += 1
        if last != len(_SIZES):
            others[row] = True
            while at < end and text[at] != _BREAK:
                at += 1
        else:
            at += 1
        at += 1
        row += 1
    return row
