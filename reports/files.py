"""Writing what people read: whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from splitbrain.harness.errors import StorageError


def write_whole(path: Path, content: str | bytes) -> None:
    """Put `content` there, text as UTF-8. A reader sees the old file or the new one, never a part; a failed write leaves
    nothing behind. Raises `StorageError`."""
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        try:
            half.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "backslashreplace"))
            half.replace(path)
        finally:
            half.unlink(missing_ok=True)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}.") from None
