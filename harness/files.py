"""Writing what people read, whole or not at all, and where it lies."""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path
from urllib.parse import quote

from splitbrain.harness.errors import StorageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Put `content` there, text as UTF-8. A reader sees the old file or the new one, never a part; a failed write leaves
    nothing behind. Where somebody else made the folder, a link that he left in it is not followed. What is no file
    (`/dev/stdout`, a pipe) stays what it is, and is written to. Raises `StorageError`."""
    half = path.with_name(f".{secrets.token_hex(8)}.half")
    data = content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace")
    try:
        if _is_device(path):
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC), "wb") as file:
                file.write(data)
            return
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}.") from error


def address(of: Path, page: Path) -> str:
    """Where a file lies, seen from a page, as a link names it."""
    return quote(os.path.relpath(of.resolve(), page.resolve().parent))


def _is_device(path: Path) -> bool:
    """Whether a device or a pipe lies there, or one of the links that the system keeps among its devices."""
    if path.parent == Path("/dev"):
        return True
    try:
        mode = path.lstat().st_mode
    except OSError:
        return False
    return stat.S_ISCHR(mode) or stat.S_ISBLK(mode) or stat.S_ISFIFO(mode)
