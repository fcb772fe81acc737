"""elle-cli's JSON: one array of Jepsen's events as objects."""

from __future__ import annotations

from functools import partial
from itertools import islice

import msgspec

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import jepsen, malformed
from splitbrain.harness.history.formats.text import Text

_ARRAY = msgspec.json.Decoder(list[msgspec.Raw])


def read(text: Text, builder: Builder, *, torn: bool = False) -> list[str]:
    """Hand the events of such an array to `builder`; notes on how it was read. With `torn`, an array cut short is read
    as far as its objects are whole.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    data = text.text.encode()
    notes: list[str] = []
    try:
        objects = _ARRAY.decode(data)
    except malformed.ERRORS as error:
        at, message = malformed.explain(data, error)
        cut = at == len(data)
        if not (torn and cut):
            raise _error(text, data, at, message + ": --torn judges what came before" * cut) from error
        notes.append("the file is cut short: what its end tells in part is left out")
        objects = [msgspec.Raw(data[start:end]) for start, end in malformed.elements(data)]

    def begin(number: int) -> int:
        return next(islice(malformed.elements(data), number, None))[0]

    def fail(number: int, message: str) -> HistoryError:
        return _error(text, data, begin(number), message)

    builder.where = lambda number: _where(text, data, begin(number))
    intake = jepsen.Intake(builder)
    for number, element in enumerate(objects):
        try:
            form = msgspec.json.decode(element)
        except malformed.ERRORS as error:
            at, message = malformed.explain(bytes(element), error)
            raise _error(text, data, begin(number) + at, message) from error
        intake.take(form, number, partial(fail, number))
    return notes + intake.notes()


def _where(text: Text, data: bytes, byte: int) -> tuple[int, int]:
    return text.where(len(data[:byte].decode("utf-8", "ignore")))


def _error(text: Text, data: bytes, byte: int, message: str) -> HistoryError:
    line, column = _where(text, data, byte)
    return HistoryError(f"{message}.", path=text.path, line=line, column=column)
