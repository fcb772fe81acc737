"""elle-cli's JSON: one array of Jepsen's events as objects."""

from __future__ import annotations

import re
from functools import partial

import msgspec

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import jepsen, malformed
from splitbrain.harness.history.formats.text import Text

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])
_BEHIND = re.compile(r"\s*+,")
_GUESSES = 20
"""How many ends of objects are tried as the end of an element, before everything between is looked at."""


def read(text: Text, builder: Builder, *, torn: bool = False) -> list[str]:
    """Hand the events of such an array to `builder`; notes on how it was read. With `torn`, an array cut short is read
    as far as its objects are whole.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    intake = jepsen.Intake(builder)
    notes: list[str] = []
    goes_on = False  # The piece begins with the comma between two elements, and is an array with a bracket in its place.
    while not text.ended:
        comma = _last_comma(text.text, goes_on)
        if comma:
            data = _array(text.text[:comma] + "]", goes_on)
            _take(text, data, _elements(text, data), intake)
            goes_on = True
        text.more(comma)
    data = _array(text.text, goes_on)
    try:
        elements = _ARRAY.decode(data)
    except malformed.ERRORS as error:
        if not (torn and malformed.explain(data, error)[0] == len(data)):
            raise _error(text, data, error) from error
        notes.append("the file is cut short: what its end tells in part is left out")
        elements = [msgspec.Raw(data[start:end]) for start, end in malformed.elements(data)]
    _take(text, data, elements, intake)
    return notes + intake.notes()


def _array(piece: str, goes_on: bool) -> bytes:
    return ("[" + piece[1:] if goes_on else piece).encode()


def _last_comma(piece: str, goes_on: bool) -> int:
    """Where the comma behind the last whole element stands, 0 where none is known."""
    end = len(piece)
    for _ in range(_GUESSES):
        end = piece.rfind("}", 0, end)
        if end < 0:
            return 0
        behind = _BEHIND.match(piece, end + 1)
        if behind is None:
            continue
        try:
            _ARRAY.decode(_array(piece[: end + 1] + "]", goes_on))
        except malformed.ERRORS:
            continue  # It lies inside of an element, or something before it is wrong.
        return behind.end() - 1
    data = _array(piece, goes_on)
    for _, byte in reversed(list(malformed.elements(data))):
        if behind := _BEHIND.match(piece, len(data[:byte].decode())):
            return behind.end() - 1
    return 0


def _elements(text: Text, data: bytes) -> list[msgspec.Raw]:
    try:
        return _ARRAY.decode(data)
    except malformed.ERRORS as error:
        raise _error(text, data, error) from error


def _take(text: Text, data: bytes, elements: list[msgspec.Raw], intake: jepsen.Intake) -> None:
    """Hand on the elements of the array `data`, which begins as the piece at hand does."""
    at, byte = 0, 0
    for element in elements:
        raw = bytes(element)
        begin = data.index(raw, max(byte, 1))
        at, byte = at + len(data[byte:begin].decode()), begin
        try:
            form = msgspec.json.decode(raw)
        except malformed.ERRORS as error:
            raise _error(text, raw, error, at) from error
        intake.take(form, text.place(at), partial(text.error, at))
        at, byte = at + len(raw.decode()), byte + len(raw)


def _error(text: Text, data: bytes, error: Exception, at: int = 0) -> HistoryError:
    """What is wrong with `data`, which begins at the character `at`."""
    byte, message = malformed.explain(data, error)
    mend = ": --torn judges what came before" if byte == len(data) and not at else ""
    return text.error(at + len(data[:byte].decode("utf-8", "ignore")), message + mend)
