"""What is wrong with JSON that could not be decoded, and at which byte."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import msgspec

from splitbrain.harness.history.values import MAX_DEPTH

ERRORS = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What decoding raises on bad input."""

_BYTE = re.compile(r"\(byte (\d+)\)")
_FIELD = re.compile(r" - at `\$(?:\[[^]]*\])?\.?([A-Za-z_-]*)")
_TYPES = re.compile(r"Expected `([^`]*)`, got `([^`]*)`")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_NAMES = {"int": "a number", "str": "a word", "null": "null", "array": "a list", "object": "an object", "float": "a number"}
_STRUCTURE = re.compile(rb'"(?:[^"\\]++|\\.)*+"|([,\[\]{}"])', re.DOTALL)


def explain(data: bytes, error: Exception) -> tuple[int, str]:
    """The byte at which `data` is wrong (its length, if and only if it is cut short) and what was expected there, from what
    decoding it raised."""
    told = str(error)
    if isinstance(error, UnicodeDecodeError) or "UTF-8" in told:
        try:
            data.decode("utf-8")
        except UnicodeDecodeError as whole:
            return whole.start, f"expected UTF-8, found the byte 0x{data[whole.start]:02x}"
        return _half(data), "expected UTF-8, found a half of a surrogate pair"
    if isinstance(error, RecursionError):
        return _too_deep(data), f"expected at most {MAX_DEPTH} levels of nesting"
    if isinstance(error, msgspec.ValidationError):
        field = _FIELD.search(told)
        name = field[1] if field else ""
        place = re.search(rb'"' + re.escape(name.encode()) + rb'"\s*+:\s*+', data) if name else None
        at = place.end() if place else len(data) - len(data.lstrip())
        types = _TYPES.search(told)
        as_name = f" as {name}" if name else ""
        if types is None:
            if "out of range" in told:
                return at, f"expected a number that fits{as_name}, found one that does not"
            return at, f"expected an operation, found one that is wrong ({told.split(' - at')[0]})"
        wanted = " or ".join(dict.fromkeys(_NAMES.get(word.strip(), word.strip()) for word in types[1].split("|")))
        return at, f"expected {wanted}{as_name}, found {_NAMES.get(types[2], types[2])}"
    byte = _BYTE.search(told)
    if byte is None or (int(byte[1]) == len(data) and "invalid" in told):
        # A half of a pair at the end of a text is told as an end, too.
        if _is_whole(data):
            return _half(data), "expected UTF-8, found a half of a surrogate pair"
        return len(data), "expected the rest of this JSON, found the end"
    at = min(int(byte[1]), len(data) - 1)
    if "trailing" in told:
        return at, "expected nothing after the end of this JSON"
    return at, f"expected JSON, found {data[at : at + 1].decode('latin-1')!r}"


def elements(data: bytes) -> Iterator[tuple[int, int]]:
    """Where every whole element of the array that `data` begins with starts and ends."""
    depth, start = 0, -1
    for token in _STRUCTURE.finditer(data):
        mark = token[1]
        if mark == b'"':
            return
        if mark is None:
            continue
        if depth == 1 and mark in b",]" and start >= 0 and data[start : token.start()].strip():
            yield _skip_blanks(data, start), token.start()
        depth += (mark in b"[{") - (mark in b"]}")
        if depth == 1 and mark in b"]}":
            yield _skip_blanks(data, start), token.end()
            start = -1
        elif depth == 1 and (mark == b"," or start < 0):
            start = token.end()
        elif depth == 0:
            return


def _is_whole(data: bytes) -> bool:
    """Whether this is JSON to the library of Python, which takes a half of a surrogate pair."""
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return False
    return True


def _half(data: bytes) -> int:
    """Where a surrogate pair is escaped for the first time; 0 if nowhere."""
    place = _SURROGATE.search(data)
    return place.start() if place else 0


def _skip_blanks(data: bytes, at: int) -> int:
    while data[at] in b" \t\r\n":
        at += 1
    return at


def _too_deep(data: bytes) -> int:
    depth = 0
    for token in _STRUCTURE.finditer(data):
        mark = token[1] or b","
        depth += (mark in b"[{") - (mark in b"]}")
        if depth > MAX_DEPTH:
            return token.start()
    return 0
