"""What a node keeps over the end of its process."""

from __future__ import annotations

import json
import os
from pathlib import Path

from .wire import Message, encode_line


class Journal:
    """What must outlive the process: JSON lines, handed to the kernel before anything that follows from them is sent."""

    def __init__(self, path: Path, *, fsync: bool) -> None:
        self._fsync = fsync
        self._file = path.open("a+b")
        self._dirty = False

    def replay(self) -> list[Message]:
        """Everything written by earlier processes. A last line that was torn was never answered, and is cut off."""
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            self._file.truncate(whole)
        return [json.loads(line) for line in content[:whole].splitlines()]

    def append(self, record: Message) -> None:
        """Write a record at the end of this turn."""
        self._file.write(encode_line(record))
        self._dirty = True

    def flush(self) -> None:
        """Hand everything to the kernel (with `fsync`, to the disk)."""
        if self._dirty:
            self._dirty = False
            self._file.flush()
            if self._fsync:
                os.fsync(self._file.fileno())
