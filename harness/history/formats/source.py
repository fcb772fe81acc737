"""Source: the bytes of a history, from a file, a pipe, a compressed file, or the folder that a Jepsen test left."""

from __future__ import annotations

import gzip
import os
import select
import stat
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, NamedTuple

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.formats.text import BOM, unreadable

HEAD = 1 << 16
"""How many bytes the format is told by."""

PATIENCE = 5.0
"""Seconds that a named pipe may be without a writer."""

PIPE_LIMIT = 1 << 29
"""How many bytes are taken from a pipe, or from what is packed: neither tells how much is to come."""

STORED = ("history.edn", "history.edn.gz", "history.txt", "history.jsonl", "history.json", "jepsen.log")
"""What a Jepsen test leaves that holds its history, the most telling first."""

_GZIP = b"\x1f\x8b"
_PACKED = {b"(\xb5/\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"PK\x03\x04": "zip"}


class Source(NamedTuple):
    """An opened history: where it was found, how it begins (without a byte order mark), and all its bytes."""

    path: Path
    head: bytes
    file: BinaryIO


def stored(path: Path) -> Path:
    """The file that holds the history: `path` itself or, in a folder that a Jepsen test left, its history.

    Raises `HistoryError` for a folder without one.
    """
    if not is_folder(path):
        return path
    left = [path / name for name in STORED if (path / name).is_file()]
    # A test that was stopped leaves some of them empty.
    for file in left:
        if _tells(file):
            return file
    if left:
        return left[0]
    if (path / "test.jepsen").is_file():
        raise _binary(path / "test.jepsen")
    raise HistoryError(
        f"cannot be read: it is a folder, neither of a run of ours nor with one of {', '.join(STORED)}.", path=str(path)
    )


def _tells(path: Path) -> bool:
    """Whether anything is in a file; what is wrong with one is told where it is read."""
    try:
        with path.open("rb") as file:
            return bool(_source(path, file, seekable=True).head.strip())
    except (OSError, EOFError, zlib.error, HistoryError):
        return True


def is_folder(path: Path) -> bool:
    """Whether `path` is a folder. Raises `HistoryError` where nothing can have such a name."""
    try:
        return path.is_dir()
    except OSError as error:
        raise unreadable(path, error) from error


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The history at `path`: a file (also compressed by gzip), a pipe, `-` for the standard input, or a folder that a Jepsen
    test left. A pipe is read no further than its head until somebody asks for `file`.

    Raises `HistoryError` where it cannot be read, and for what is no text.
    """
    found = stored(path)
    try:
        if str(found) == "-":
            yield _source(found, sys.stdin.buffer, seekable=False)
            return
        with _open(found) as (file, seekable):
            yield _source(found, file, seekable)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise HistoryError(f"cannot be decompressed: {error}.", path=str(found), line=1, column=1) from error
    except OSError as error:
        raise unreadable(found, error) from error


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, bool]]:
    # A named pipe without a writer would keep an ordinary open waiting for ever.
    number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(number, "rb") as file:
        mode = os.fstat(number).st_mode
        if stat.S_ISFIFO(mode) and not select.select([number], [], [], PATIENCE)[0]:
            raise HistoryError(f"nobody wrote into this pipe for {PATIENCE:.0f} s.", path=str(path))
        if stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and not os.isatty(number) and os.fstat(number).st_rdev != _NULL):
            raise HistoryError("cannot be read: it is a device, not a file.", path=str(path))
        os.set_blocking(number, True)
        yield file, stat.S_ISREG(mode)


_NULL = Path(os.devnull).stat().st_rdev


def _source(path: Path, file: BinaryIO, seekable: bool) -> Source:
    head = file.read(HEAD)
    if head.startswith(_GZIP):
        file = gzip.GzipFile(fileobj=file if seekable else _Rest(head, file))  # type: ignore[assignment,arg-type]
        if seekable:
            file.fileobj.seek(0)  # type: ignore[attr-defined]
        head, seekable = file.read(HEAD), False
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise HistoryError(f"is packed by {name}: unpack it first.", path=str(path), line=1, column=1)
    if head.startswith(b"JEPSEN"):
        raise _binary(path)
    if seekable:
        file.seek(0)
        return Source(path, head.removeprefix(BOM), file)
    return Source(path, head.removeprefix(BOM), _Bounded(_Rest(head, file), path))  # type: ignore[arg-type]


def _binary(path: Path) -> HistoryError:
    return HistoryError("is Jepsen's own binary format: give the history.edn beside it.", path=str(path), line=1, column=1)


class _Rest:
    """The bytes that were read already, and then the rest of the file."""

    def __init__(self, head: bytes, file: BinaryIO) -> None:
        self._head = BytesIO(head)
        self._file = file

    def read(self, size: int = -1) -> bytes:
        told = self._head.read(size)
        return told if 0 <= size <= len(told) else told + self._file.read(size - len(told) if size >= 0 else -1)

    def readline(self, size: int = -1) -> bytes:
        told = self._head.readline(size)
        if told.endswith(b"\n") or len(told) == size:
            return told
        return told + self._file.readline(size - len(told) if size >= 0 else -1)


class _Bounded:
    """A pipe, up to `PIPE_LIMIT`. Raises `HistoryError` where it holds more."""

    def __init__(self, file: _Rest, path: Path) -> None:
        self._file = file
        self._path = path
        self._left = PIPE_LIMIT

    def read(self, size: int = -1) -> bytes:
        return self._counted(self._file.read(size if 0 <= size <= self._left else self._left + 1))

    def readline(self) -> bytes:
        return self._counted(self._file.readline(self._left + 1))

    def _counted(self, told: bytes) -> bytes:
        self._left -= len(told)
        if self._left < 0:
            raise HistoryError(
                f"gives more than {PIPE_LIMIT >> 20} MiB, unpacked: write it to a file and give that.", path=str(self._path)
            )
        return told
