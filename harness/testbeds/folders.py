"""A node's data folder, for who has it before him: the file that was written last, whether there is room, and how long a
sync takes. Only the standard library, so that it can be sent to a machine as text, or lie in an image.
"""

from __future__ import annotations

import errno
import os
import stat
import time
from collections.abc import Collection
from io import FileIO
from pathlib import Path


def last_written(folder: Path, given: Collection[str]) -> str:
    """The file below a folder that was written last, of those with something in them that are none of `given`; empty where
    there is none. Raises `OSError`."""
    found = [(status.st_mtime_ns, str(file.relative_to(folder))) for file in folder.rglob("*")
             if file.parent.name != "__pycache__" and stat.S_ISREG((status := file.lstat()).st_mode) and status.st_size]
    return max((one for one in found if one[1] not in given), default=(0, ""))[1]


def opened(file: Path) -> FileIO:
    """A file of a data folder, to be read and written in its place, itself and not what it is a link to. Raises `OSError`."""
    return os.fdopen(os.open(file, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW), "r+b", buffering=0)


def content(file: FileIO) -> bytes:
    """All that is in it, and closes it. Raises `OSError`."""
    with file:
        return file.readall()


def rewrite(file: FileIO, content: bytes) -> None:
    """Put this in its place, so that a full disk has room for it, and close it. Raises `OSError`."""
    with file:
        rest = memoryview(content)
        while rest:
            rest = rest[file.write(rest) or 0 :]
        file.truncate()


def timed_sync(folder: Path) -> float:
    """Milliseconds that a sync of a file in a folder takes. Raises `OSError`."""
    file = folder / ".splitbrain-fsync"
    with file.open("wb") as opened:
        opened.write(b"-")
        opened.flush()
        began = time.monotonic()
        os.fsync(opened.fileno())
        took = time.monotonic() - began
    file.unlink()
    return 1000 * took


def is_full(folder: Path) -> bool:
    """Whether no page can be written in a folder, for want of room. Raises `OSError` where it cannot for another reason."""
    probe = folder / ".splitbrain-room"
    try:
        try:
            probe.write_bytes(bytes(os.sysconf("SC_PAGESIZE")))
        finally:
            probe.unlink(missing_ok=True)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return True
    return False
