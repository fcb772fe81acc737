"""Text: the characters of a file that somebody else wrote, a piece at a time, and where in it something is."""

from __future__ import annotations

import codecs
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Protocol

from splitbrain.harness.errors import HistoryError

BOM = b"\xef\xbb\xbf"

PIECE = 1 << 20
"""Bytes that are read at once, unless something in the file is longer."""

COLUMNS = 32
"""Bits of a place that are its column."""


class Bytes(Protocol):
    """As much of a binary file as is read of it here: fewer bytes than were asked for are the last ones."""

    def read(self, size: int, /) -> bytes: ...


def unreadable(path: Path, error: OSError) -> HistoryError:
    """What to say of a file that the system does not give."""
    return HistoryError(f"cannot be read: {(error.strerror or 'unknown error').lower()}.", path=str(path))


class Text:
    """The text of a file, in UTF-8 with or without a byte order mark. With `torn`, it may end inside a character.

    `text` is the piece of it that is at hand, `ended` whether nothing comes after that. A number of a character is its place in
    the piece: after `more` it is another one, or gone. Raises `HistoryError` where the file is not UTF-8.
    """

    __slots__ = ("path", "text", "ended", "_file", "_torn", "_decoder", "_first", "_cursor")

    def __init__(self, file: Bytes, path: str = "", *, torn: bool = False) -> None:
        self.path = path
        self.text = ""
        self.ended = False
        self._file = file
        self._torn = torn
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")()
        # A character, its line, and where the line break before it is: of the piece's first one, and of the one last asked for.
        self._first = self._cursor = (0, 1, -1)
        self.more(0)

    @classmethod
    def of(cls, data: bytes, path: str = "", *, torn: bool = False) -> Text:
        """The text that these bytes are."""
        return cls(BytesIO(data), path, torn=torn)

    def more(self, at: int) -> bool:
        """Read on, and drop what stands before the character `at`, whose number is 0 then; False where the file has ended,
        and nothing was dropped. As much is read as is kept, so that what is long is not looked at too often."""
        if self.ended:
            return False
        line, column = self.where(at)
        self._first = self._cursor = (0, line, -column)
        self.text = self.text[at:]
        size = max(PIECE, len(self.text))
        data = self._file.read(size)
        self.ended = len(data) < size
        try:
            self.text += self._decoder.decode(data, self.ended)
        except UnicodeDecodeError as error:
            self.text += error.object[: error.start].decode()
            cut = self.ended and error.end == len(error.object) and error.reason == "unexpected end of data"
            if not (cut and self._torn):
                raise self.error(
                    len(self.text),
                    f"expected UTF-8, found the byte 0x{error.object[error.start]:02x}"
                    f"{': --torn judges what came before' if cut else ''}",
                ) from error
        return True

    def where(self, at: int) -> tuple[int, int]:
        """The line and column of a character, from 1."""
        known, line, begin = self._cursor if at >= self._cursor[0] else self._first
        line += self.text.count("\n", known, at)
        found = self.text.rfind("\n", known, at)
        self._cursor = (at, line, found if found >= 0 else begin)
        return line, at - self._cursor[2]

    def place(self, at: int) -> int:
        """Line and column of a character in one number, which `line_and_column` takes apart."""
        line, column = self.where(at)
        return line << COLUMNS | min(column, (1 << COLUMNS) - 1)

    def error(self, at: int, message: str) -> HistoryError:
        """An error at the character `at`."""
        line, column = self.where(at)
        return HistoryError(f"{message}.", path=self.path, line=line, column=column)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Every line with its line break, and where it begins."""
        at = 0
        while True:
            end = self.text.find("\n", at) + 1
            if not end and self.more(at):
                at = 0
                continue
            end = end or len(self.text)
            if at == end:
                return
            yield at, self.text[at:end]
            at = end


def line_and_column(place: int) -> tuple[int, int]:
    """The line and column that a place is."""
    return place >> COLUMNS, place & (1 << COLUMNS) - 1
