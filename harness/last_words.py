"""What a server that died, or never got ready, said of it at the end of its log."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

END = 256 << 10
"""Bytes of the end of a log that are read: a server may list all that it was doing when it gave up."""

NEAR = 100
"""Lines before the last one that says why, within which an earlier one says it better: what comes of a cause follows it."""

LONGEST = 2000
"""Characters of a line that are kept."""


def last_words(log: Path, lines: int, is_fatal: Callable[[str], bool]) -> list[str]:
    """So many lines of a log: from the one on that says why its server ended, else the last ones."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - END))
        said = file.read().decode(errors="replace").splitlines()
    fatal = [at for at, line in enumerate(said) if is_fatal(line)]
    near = [at for at in fatal if fatal[-1] - at <= NEAR]
    began = max(0, min([len(said) - lines, *near]))
    return [line[:LONGEST] for line in said[began : began + lines]]
