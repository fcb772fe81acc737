"""Sums: every line of a journal ends with the CRC-32 of what stands before it, begun with the sum of the line before.

Those of many lines are held against what the lines tell in one reading. In the state in which a CRC stands before its last
inversion, four bytes that equal the state make it zero, zeros keep it so, and four certain bytes lead it from zero to any
state. So each line's told sum is put in place of its end as eight such bytes: the sum of all of it is the last told one, where
each told one was right. One that was wrong, or a body, changes the state for all that follows, for nothing but the same change
at a later place of the same lines would take it back, and what does is found as rarely as in any CRC-32.
"""

from __future__ import annotations

import zlib

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

_END = np.frombuffer(b',"sum":"00000000"}\n', np.uint8)
_SIZE = len(_END)
_HEX = slice(8, 16)
_FIXED = np.r_[:8, 16:_SIZE]
_NONE = 255
_DIGITS = np.full(256, _NONE, np.uint8)
_DIGITS[list(b"0123456789abcdef")] = np.arange(16)
_ONES = np.uint32(0xFFFFFFFF)


def _backwards() -> NDArray[np.uint32]:
    """By the upper byte of a state: what takes one byte's step back, with the byte that it was beneath."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> 1) ^ np.uint32(0xEDB88320), table >> 1).astype(np.uint32)
    back = np.empty(256, np.uint32)
    back[table >> 24] = (table << 8) ^ np.arange(256, dtype=np.uint32)
    return back


_BACK = _backwards()


def summed(lines: bytes, sum: int) -> int | None:
    """The sum of the last of these lines, where each has the right one, behind a line with that `sum`; None where one has not,
    or is no whole line with a sum."""
    text = bytearray(lines)
    ends = np.flatnonzero(np.frombuffer(text, np.uint8) == ord("\n")) + 1
    if not len(ends) or ends[-1] != len(text) or ends[0] < _SIZE:
        return None
    tails = sliding_window_view(np.frombuffer(text, np.uint8), _SIZE, writeable=True)
    told = tails[ends - _SIZE]
    digits = _DIGITS[told[:, _HEX]]
    if (digits == _NONE).any() or (told[:, _FIXED] != _END[_FIXED]).any():
        return None
    sums = (digits[:, 0::2] << 4 | digits[:, 1::2]).view(">u4").ravel().astype(np.uint32)
    state = sums ^ _ONES
    leading = state
    for _ in range(4):
        leading = (leading << np.uint32(8)) ^ _BACK[leading >> np.uint32(24)]
    put = np.zeros(told.shape, np.uint8)
    put[:, :4] = state.astype("<u4").view(np.uint8).reshape(-1, 4)
    put[:, -4:] = leading.astype("<u4").view(np.uint8).reshape(-1, 4)
    tails[ends - _SIZE] = put
    last = int(sums[-1])
    return last if zlib.crc32(text, sum) == last else None
