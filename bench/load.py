"""How many operations a second one harness makes of one Redis, journal and all, and what they cost it.

    python -m bench.load

Prints Markdown: each of `REPEAT` runs, for other work on the machine moves the numbers more than anything in the code does.
Nothing is cut, no client thinks, and every call is in the journal, from which the numbers are read.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from splitbrain.harness.history.journal import load
from splitbrain.harness.history.recording import Recording

REPEAT = 3
SECONDS = 10
COMMAND = ("test", "redis", "--nodes", "3", "--think", "0", "--nemesis", "none", "--time", f"{SECONDS}s")


class Pace(msgspec.Struct, frozen=True):
    """One run: recorded operations a second, microseconds of the harness' processor time for each, and the load of the machine
    (the mean length of its queue over the last minute) before it."""

    operations: float
    cost: float
    busy: float


def pace(recording: Recording, busy: float) -> Pace:
    """What a recording tells. Raises `RuntimeError` where its load did not end."""
    loading = recording.phase("load")
    if loading is None or loading.ended is None or loading.cpu is None:
        raise RuntimeError("the load did not end")
    invoked = recording.history.invoked
    made = int(((invoked >= loading.began) & (invoked < loading.ended)).sum())
    return Pace(made / (loading.ended - loading.began) * 1e9, loading.cpu / 1e3 / max(1, made), busy)


def measure(folder: Path) -> Pace:
    """One run. Raises `RuntimeError` with what it printed where it could not be judged."""
    busy = os.getloadavg()[0]
    done = subprocess.run(
        [sys.executable, "-m", "splitbrain", *COMMAND, "--runs", str(folder)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=300, check=False,
    )
    journals = sorted(folder.glob("*/journal.jsonl"))
    if done.returncode not in (0, 1, 2) or not journals:
        raise RuntimeError(done.stdout)
    return pace(load(journals[-1])[1], busy)


def tell() -> str:
    """The table."""
    lines = ["| operations a second | processor time of each | load before |", "| ---: | ---: | ---: |"]
    for _ in range(REPEAT):
        with tempfile.TemporaryDirectory() as folder:
            told = measure(Path(folder))
        lines.append(f"| {told.operations:,.0f} | {told.cost:.0f} µs | {told.busy:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tell())
