"""What the harness itself costs: from the command to the first operation, a partition, from the end of the load to the exit.

    python -m bench.runs

Prints Markdown. Each database is run `REPEAT` times, the median counts. Times are read from the run's journal; the moment of
the first operation is seen from outside, as the command's start is. Settling and final reads are the database's time, and
left out of the end. A database whose server is missing is left out, and said.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import msgspec

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.history.journal import load
from splitbrain.harness.servers import find_program

REPEAT = 3
PLAN = "time = 11.0\nbaseline = 3.0\nfault = 5.0\nbetween = 3.0\n"
DATABASES = ("reference", "etcd", "redis", "mongodb", "cassandra")


class Cost(msgspec.Struct, frozen=True):
    """Seconds, but for `spread` (milliseconds between the first and the last node's change)."""

    ready: float
    first: float
    spread: float
    end: float


def measure(database: str, folder: Path) -> Cost:
    """One run. Raises `RuntimeError` with what it printed where it could not be judged."""
    plan = folder / "plan.toml"
    plan.write_text(PLAN)
    runs = folder / "runs"
    began = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "splitbrain.harness.cli", "test", database, "--nemesis", "partition-primary",
         "--plan", str(plan), "--runs", str(runs)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )
    first = None
    while first is None and process.poll() is None:
        time.sleep(0.005)
        for journal in runs.glob("*/journal.jsonl"):
            if b'{"type":"invoke"' in journal.read_bytes():
                first = time.monotonic() - began
    told, _ = process.communicate(timeout=300)
    whole = time.monotonic() - began
    if first is None or process.returncode not in (0, 1, 2):
        raise RuntimeError(told)
    journal = max(runs.glob("*/journal.jsonl"))
    _, recording = load(journal)
    spans = {phase.name: ((phase.ended or phase.began) - phase.began) / 1e9 for phase in recording.phases}
    loading = recording.phase("load")
    invoked = int(recording.history.invoked[0])
    after = whole - first - ((loading.ended or 0) - invoked) / 1e9 if loading else 0.0
    return Cost(
        ready=spans["set-up"],
        first=first,
        spread=max(fault.spread for fault in recording.faults) / 1e6,
        end=after - spans["settle"] - spans["final-reads"],
    )


def tell() -> str:
    """The table."""
    lines = [
        "| database | set-up | command to first operation | partition, spread | end of load to exit |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for name in DATABASES:
        if name not in registry.names("databases"):
            continue
        database: type[Database] = registry.look_up("databases", name)
        missing = [program.name for program in database.programs if find_program(program.name) is None]
        if missing:
            print(f"{name} is left out: no {', '.join(missing)}", file=sys.stderr)
            continue
        costs = []
        for _ in range(REPEAT):
            with tempfile.TemporaryDirectory() as folder:
                costs.append(measure(name, Path(folder)))
        ready, first, spread, end = (
            statistics.median(getattr(cost, field) for cost in costs) for field in ("ready", "first", "spread", "end")
        )
        lines.append(f"| {name} | {ready:.2f} s | {first:.2f} s | {spread:.0f} ms | {end:.2f} s |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(tell())
