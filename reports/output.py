"""What commands write to: by itself here, since one that only tells its flags need not load what judges and reports."""

from __future__ import annotations

import contextlib
import os
from typing import Any, TextIO


class Output:
    """A stream for what people read, which may go away: a closed terminal, the end of `| head`, a full disk. Then nothing is
    written any more, and nothing else is lost: neither a run nor its exit code."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Write what can be written, as the stream can."""
        try:
            return self._file.write(text)
        except UnicodeEncodeError:
            known = self._file.encoding or "ascii"
            return self.write(text.encode(known, "backslashreplace").decode(known))
        except (OSError, ValueError):
            return self._give_up(text)

    def flush(self) -> None:
        """Hand on what waits."""
        try:
            self._file.flush()
        except (OSError, ValueError):
            self._give_up("")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _give_up(self, text: str) -> int:
        with contextlib.suppress(OSError, ValueError):
            nothing = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nothing, self._file.fileno())  # What waits in a buffer goes there too, with the interpreter's last flush.
            os.close(nothing)
        return len(text)
