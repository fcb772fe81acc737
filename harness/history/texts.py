"""Transactions straight from their JSON: the commonest ones, of integers, go from bytes into columns, without a Python object
for each of their parts.

Where numba is installed (the extra `fast`) this is machine code; without it, the ordinary way is the faster one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history import machine_code
from splitbrain.harness.history.values import NIL

COMPILED_FROM = 16 << 20
"""Bytes of transactions from which on machine code repays loading it, which takes as long as reading so many without it."""

_READ, _WRITE, _APPEND, _READ_LIST = range(4)
_OPEN, _CLOSE, _COMMA, _QUOTE, _MINUS, _ZERO = b'[],"-0'
_R, _W, _N = b"rwn"


class Parsed(NamedTuple):
    """Columns of transactions as `Micros` has them, but keys are themselves: micro-operations of each transaction; function,
    key and value of each of these; elements of each list that was read; the elements."""

    counts: NDArray[np.int64]
    f: NDArray[np.int8]
    key: NDArray[np.int64]
    value: NDArray[np.int64]
    lengths: NDArray[np.int64]
    elements: NDArray[np.int64]


def worth_it(size: int) -> bool:
    """Whether transactions of so many bytes together are read here."""
    return size >= COMPILED_FROM and machine_code.available()


def parsed(text: bytes, many: int, *, compiled: bool = True) -> Parsed | None:
    """So many transactions, a comma after each, as JSON without spaces: lists of `[f, key, value]` with the functions r, w and
    append or their long names, integers of at most 18 digits as keys, and as values integers, null of a read or a list of
    integers that a read returned. None where one of them is anything else. Not `compiled`, the
    same is read without machine code."""
    at_most = text.count(b",")  # There are no more of anything.
    counts, f = np.zeros(many, np.int64), np.empty(at_most, np.int8)
    key, value, lengths, elements = (np.empty(at_most, np.int64) for _ in range(4))
    columns = counts, f, key, value, lengths, elements
    if compiled:
        micros, lists, told = machine_code.compiled(_read)(np.frombuffer(text, np.uint8), *columns)
    else:
        micros, lists, told = _read(text, *columns)
    if micros < 0:
        return None
    return Parsed(
        counts, f[:micros].copy(), key[:micros].copy(), value[:micros].copy(), lengths[:lists].copy(), elements[:told].copy()
    )


def _read(text: Any, counts: Any, f: Any, key: Any, value: Any, lengths: Any, elements: Any) -> tuple[int, int, int]:
    """Fill the columns; how many micro-operations, lists and elements there are, or -1 where the text is of another shape."""
    end, at, number = len(text), 0, 0
    micros, lists, told = 0, 0, 0
    wrong = (-1, 0, 0)
    while at < end:
        # A transaction.
        if number >= len(counts) or text[at] != _OPEN:
            return wrong
        at += 1
        first = micros
        while True:
            if at >= end:
                return wrong
            if text[at] == _CLOSE and micros == first:
                break
            # [" and a name.
            if end - at < 11 or text[at] != _OPEN or text[at + 1] != _QUOTE:
                return wrong
            at += 2
            began = at
            while at < end and text[at] != _QUOTE:
                at += 1
            size = at - began
            if text[began] == _R and (size == 1 or (size == 4 and text[began + 1] == 101 and text[began + 2] == 97 and
                                                    text[began + 3] == 100)):
                code = _READ
            elif text[began] == _W and (size == 1 or (size == 5 and text[began + 1] == 114 and text[began + 2] == 105 and
                                                      text[began + 3] == 116 and text[began + 4] == 101)):
                code = _WRITE
            elif (size == 6 and text[began] == 97 and text[began + 1] == 112 and text[began + 2] == 112 and
                  text[began + 3] == 101 and text[began + 4] == 110 and text[began + 5] == 100):
                code = _APPEND
            else:
                return wrong
            at += 1
            # Two numbers, or in place of the second null or a list: step 0 is the key, 1 the value, 2 inside of a list.
            step, length = 0, 0
            while True:
                if at >= end:
                    return wrong
                if step < 2:
                    if text[at] != _COMMA:
                        return wrong
                    at += 1
                    if at >= end:
                        return wrong
                    if step == 1 and text[at] == _N:
                        if code != _READ or end - at < 5:
                            return wrong
                        value[micros] = NIL
                        at += 4
                        break
                    if step == 1 and text[at] == _OPEN:
                        if code != _READ:
                            return wrong
                        code, step = _READ_LIST, 2
                        at += 1
                        if at < end and text[at] == _CLOSE:
                            at += 1
                            break
                minus = at < end and text[at] == _MINUS
                if minus:
                    at += 1
                began, told_number = at, 0
                while at < end and _ZERO <= text[at] <= _ZERO + 9:
                    told_number = told_number * 10 + (text[at] - _ZERO)
                    at += 1
                if at == began or at - began > 18 or at >= end:
                    return wrong
                if minus:
                    told_number = -told_number
                if step == 0:
                    key[micros] = told_number
                    step = 1
                elif step == 1:
                    value[micros] = told_number
                    break
                else:
                    elements[told] = told_number
                    told, length = told + 1, length + 1
                    if text[at] == _CLOSE:
                        at += 1
                        break
                    if text[at] != _COMMA:
                        return wrong
                    at += 1
            if code == _READ_LIST:
                value[micros] = lists
                lengths[lists] = length
                lists += 1
            f[micros] = code
            micros += 1
            if at >= end or text[at] != _CLOSE:
                return wrong
            at += 1
            if at < end and text[at] == _COMMA:
                at += 1
                if at < end and text[at] == _CLOSE:
                    return wrong
                continue
            break
        if at + 1 >= end or text[at] != _CLOSE or text[at + 1] != _COMMA:
            return wrong
        at += 2
        counts[number] = micros - first
        number += 1
    return (micros, lists, told) if number == len(counts) else wrong
