"""Text: the characters of a file that somebody else wrote, and where in it something is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from splitbrain.harness.errors import HistoryError

BOM = b"\xef\xbb\xbf"


def load(path: Path) -> bytes:
    """The bytes of a file. Raises `HistoryError` where it cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from error


def unreadable(path: Path, error: OSError) -> HistoryError:
    """What to say of a file that the system does not give."""
    return HistoryError(f"cannot be read: {(error.strerror or 'unknown error').lower()}.", path=str(path))


class Text:
    """The text of a file, in UTF-8 with or without a byte order mark. With `torn`, it may end inside a character.

    Raises `HistoryError` where it is not UTF-8.
    """

    __slots__ = ("path", "text")

    def __init__(self, data: bytes, path: str = "", *, torn: bool = False) -> None:
        self.path = path
        data = data.removeprefix(BOM)
        try:
            self.text = data.decode("utf-8")
        except UnicodeDecodeError as error:
            cut = error.end == len(data) and error.reason == "unexpected end of data"
            if cut and torn:
                self.text = data[: error.start].decode("utf-8")
                return
            start = data.rfind(b"\n", 0, error.start) + 1
            raise HistoryError(
                f"expected UTF-8, found the byte 0x{data[error.start]:02x}"
                f"{': --torn judges what came before' if cut else ''}.",
                path=path,
                line=data.count(b"\n", 0, error.start) + 1,
                column=len(data[start : error.start].decode("utf-8")) + 1,
            ) from error

    def where(self, at: int) -> tuple[int, int]:
        """The line and column of a character, from 1."""
        return self.text.count("\n", 0, at) + 1, at - self.text.rfind("\n", 0, at)

    def error(self, at: int, message: str) -> HistoryError:
        """An error at the character `at`."""
        line, column = self.where(at)
        return HistoryError(f"{message}.", path=self.path, line=line, column=column)

    def lines(self) -> Iterator[tuple[int, str]]:
        """Every line with its line break, and where it begins."""
        at = 0
        while at < len(self.text):
            end = self.text.find("\n", at) + 1 or len(self.text)
            yield at, self.text[at:end]
            at = end
