"""Columns that grow a part at a time, in memory while they are few rows, else in files without a name, mapped into memory.

What is mapped can be given back to the disk whenever memory is short, so that a history may be larger than memory. The files
lie where temporary files do (TMPDIR) and end with the process.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import StorageError

ROWS_IN_MEMORY = 4_000_000
"""So many operations are kept in memory; more are kept on disk."""

_AT_ONCE = 1 << 20
"""Rows that are put in order at once."""

Part = dict[str, NDArray[Any]]


class Columns:
    """The parts of columns, in the order in which they came. Raises `StorageError` where there is no room for them."""

    def __init__(self) -> None:
        self.rows = 0
        self._parts: list[Part] = []
        self._files: dict[str, tuple[BinaryIO, np.dtype[Any]]] = {}

    def append(self, part: Part) -> None:
        """Take a part: an array for each column, all as long."""
        self.rows += len(next(iter(part.values())))
        self._parts.append(part)
        if self.rows > ROWS_IN_MEMORY:
            for waiting in self._parts:
                self._write(waiting)
            self._parts = []

    def take(self, name: str) -> NDArray[Any]:
        """A column as a whole, which may be written to. It is gone from here then."""
        column = self.column(name)
        self._files.pop(name, None)
        for part in self._parts:
            del part[name]
        return column

    def column(self, name: str) -> NDArray[Any]:
        """A column of what came so far."""
        if name not in self._files:
            return np.concatenate([part[name] for part in self._parts])
        file, kind = self._files[name]
        file.flush()
        return np.asarray(np.memmap(file, kind, "r+"))

    def names(self) -> tuple[str, ...]:
        """The columns that are there."""
        return tuple(self._files or (self._parts[0] if self._parts else ()))

    def _write(self, part: Part) -> None:
        for name, column in part.items():
            if name not in self._files:
                self._files[name] = (tempfile.TemporaryFile(), column.dtype)  # noqa: SIM115
            file, kind = self._files[name]
            try:
                file.write(np.ascontiguousarray(column, kind).data)
            except OSError as error:
                raise _no_room(error) from error


def arranged(column: NDArray[Any], order: NDArray[np.int64]) -> NDArray[Any]:
    """The rows of a column in that order; on disk where they are many."""
    if len(order) <= ROWS_IN_MEMORY:
        return column[order]
    file = tempfile.TemporaryFile()  # noqa: SIM115
    try:
        for at in range(0, len(order), _AT_ONCE):
            file.write(column[order[at : at + _AT_ONCE]].data)
        file.flush()
    except OSError as error:
        raise _no_room(error) from error
    return np.asarray(np.memmap(file, column.dtype, "r+"))


def _no_room(error: OSError) -> StorageError:
    place = tempfile.gettempdir()
    free = os.statvfs(place)
    return StorageError(f"{place}: a history too large for memory finds no room there ({error.strerror}; "
                        f"{free.f_bavail * free.f_frsize / 1e9:.1f} GB are free): TMPDIR names another folder.")
