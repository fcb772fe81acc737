"""A run that goes on in the background, and what is left of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.conftest import ROOT


def left(folder: Path) -> list[str]:
    """What still runs of the run in that folder: its servers live there, its harness names its runs folder."""
    home, runs = f"HOME={folder}/".encode(), str(folder.parent).encode()
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            command = (entry / "cmdline").read_bytes()
            if lives_in(entry, home) or runs in command.split(b"\0"):
                found.append(command.replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def lives_in(process: Path, home: bytes) -> bool:
    """Whether a process of /proc has its home there. A run's name is not enough: another test may have begun one in the same
    second."""
    return any(part.startswith(home) for part in (process / "environ").read_bytes().split(b"\0"))


def nothing_left(folder: Path, seconds: float = 60) -> None:
    """A killed process takes its namespaces, and whatever lives in them, along: within moments."""
    end = time.monotonic() + seconds
    while left(folder) and time.monotonic() < end:
        time.sleep(0.02)
    assert not left(folder)


class Started:
    """A run that goes on in the background, so that it can be hit."""

    def __init__(self, tmp_path: Path, *words: object, **environment: str) -> None:
        self.runs = tmp_path / "runs"
        self.process = subprocess.Popen(
            [sys.executable, "-m", "splitbrain.harness.cli", "test", *map(str, words), "--runs", str(self.runs)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src"), **environment},
        )

    @property
    def journal(self) -> Path:
        return next(iter(self.runs.glob("*/journal.jsonl")))

    def until(self, moment: str, seconds: float = 120) -> None:
        """Wait until the journal tells that moment, a pattern."""
        end = time.monotonic() + seconds
        read, begun = 0, b""
        while time.monotonic() < end:
            assert self.process.poll() is None, self.process.communicate()[0]
            for path in self.runs.glob("*/journal.jsonl"):
                with path.open("rb") as journal:
                    journal.seek(read)
                    begun += journal.read()
                    read = journal.tell()
                if re.search(moment.encode(), begun):
                    return
                begun = begun[begun.rfind(b"\n") + 1 :]
            time.sleep(0.005)
        raise AssertionError(f"'{moment}' never came")

    def end(self, seconds: float = 150) -> str:
        return self.process.communicate(timeout=seconds)[0]
