"""The histories of dbcop (2019): Rust's bincode, little endian, sessions of transactions of events.

A transaction without success aborted; an event without success took no effect, also in a transaction that committed. Value
0 is the initial state.
"""

from __future__ import annotations

import struct
from pathlib import Path

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.formats.sessions import Sessions
from splitbrain.harness.history.formats.text import Bytes
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.micros import Micro

_WORD = struct.Struct("<Q")
_EVENT = struct.Struct("<BQQB")
_HEADER_WORDS = 5
_LONGEST_NAME = 4096


def begins(head: bytes) -> bool:
    """Whether a file that begins so is one: five numbers, and the name of a database behind its length."""
    at = _HEADER_WORDS * _WORD.size
    if len(head) < at + _WORD.size:
        return False
    (length,) = _WORD.unpack_from(head, at)
    name = head[at + _WORD.size : at + _WORD.size + length]
    return length <= _LONGEST_NAME and b"\0" in head[: _WORD.size] and name.decode("utf-8", "replace").isprintable()


def read(file: Bytes, path: Path, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a file, and notes. With `torn`, a file that is cut short is read as far as it goes.

    Raises `HistoryError` where it is none, or is cut short.
    """
    notes: list[str] = []
    reader = _Reader(file, path)
    sessions = Sessions()
    try:
        for _ in range(_HEADER_WORDS):
            reader.word()
        for _ in range(3):
            reader.string()
        for session in range(reader.word()):
            for _ in range(reader.word()):
                micros, committed = reader.transaction()
                sessions.whole(session, micros, OK if committed else FAIL)
        if file.read(1):
            raise reader.error("expected the end of the file, found more")
    except EOFError as error:
        if not torn:
            raise reader.error("the file is cut short: --torn judges what came before") from error
        notes.append("the file is cut short: what its end tells in part is left out")
    dropped = reader.without_effect
    if dropped:
        notes.append(f"{dropped} events without success left out")
    return sessions.history(notes, initial=0), notes


class _Reader:
    """The parts of such a file, one behind another. Raises `EOFError` where it is cut short."""

    def __init__(self, file: Bytes, path: Path) -> None:
        self.file = file
        self.path = path
        self.at = 0
        self.without_effect = 0

    def take(self, many: int) -> bytes:
        found = self.file.read(many)
        if len(found) < many:
            raise EOFError
        self.at += many
        return found

    def word(self) -> int:
        (number,) = _WORD.unpack(self.take(_WORD.size))
        return int(number)

    def string(self) -> str:
        length = self.word()
        if length > _LONGEST_NAME:
            raise self.error(f"expected a name of at most {_LONGEST_NAME} bytes, found {length}")
        return self.take(length).decode("utf-8", "replace")

    def transaction(self) -> tuple[list[Micro], bool]:
        """What a transaction did with success, and whether it committed."""
        micros: list[Micro] = []
        for _ in range(self.word()):
            wrote, key, value, success = _EVENT.unpack(self.take(_EVENT.size))
            if wrote > 1 or success > 1:
                raise self.error(f"expected 0 or 1 before this byte, found {max(wrote, success)}")
            if success:
                micros.append(("w" if wrote else "r", key, value))
            else:
                self.without_effect += 1
        committed = self.take(1)
        if committed > b"\1":
            raise self.error(f"expected 0 or 1 before this byte, found {committed[0]}")
        return micros, committed == b"\1"

    def error(self, message: str) -> HistoryError:
        """An error at the byte that comes next, told as a column of the one line that such a file is."""
        return HistoryError(f"{message}.", path=str(self.path), line=1, column=self.at + 1)
