"""Transactions: how long histories take to load, and to be judged against every level, and what they weigh.

    python -m bench.transactions [--largest 1000000] [--json FILE]

Prints Markdown. The histories are those of a strictly serializable store with 20 clients and four micro-operations a
transaction: lists of up to 16 elements, and registers in the order of time. Each is written as a journal has it, two lines
a transaction, and loaded and judged in a process of its own. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

SIZES = (10_000, 100_000, 1_000_000)
CLIENTS = 20
MICROS = 4
ACTIVE = 10
"""Keys that are used at the same time; one is replaced by a fresh one after `WRITES` writes."""

WRITES = 16


class Row(msgspec.Struct, frozen=True):
    """One history: seconds to load and to check it, bytes a transaction that its columns weigh, and the peak in all
    (megabytes)."""

    kind: str
    transactions: int
    load: float
    check: float
    weight: float
    peak: float
    verdict: str


def events(kind: str, count: int, seed: int = 1) -> Iterator[dict[str, Any]]:
    """The events of `count` transactions, each of which takes effect while it is open."""
    rng = random.Random(seed)
    held: dict[int, list[int]] = {}
    active = list(range(ACTIVE))
    lists = kind == "list-append"
    open_since: list[tuple[int, list[list[Any]]]] = []
    now, fresh = 0, ACTIVE
    for number in range(count):
        asked: list[list[Any]] = []
        told: list[list[Any]] = []
        for _ in range(MICROS):
            at = rng.randrange(ACTIVE)
            key = active[at]
            values = held.setdefault(key, [])
            if rng.random() < 0.5:
                seen: Any = list(values) if lists else values[-1] if values else None
                asked.append(["r", key, None])
                told.append(["r", key, seen])
            else:
                values.append(len(values) + 1)
                asked.append(["append" if lists else "w", key, len(values)])
                told.append(asked[-1])
                if len(values) >= WRITES:
                    del held[active[at]]
                    active[at], fresh = fresh, fresh + 1
        now += 1000
        # The transaction took effect now; it was invoked before, and is answered when as many others were.
        yield {"type": "invoke", "time": now, "process": number % CLIENTS, "f": "txn", "value": asked, "node": "n1"}
        open_since.append((number % CLIENTS, told))
        if len(open_since) == CLIENTS - 2:
            process, answer = open_since.pop(0)
            yield {"type": "ok", "time": now + 500, "process": process, "f": "txn", "value": answer}
    for process, answer in open_since:
        now += 1000
        yield {"type": "ok", "time": now, "process": process, "f": "txn", "value": answer}


def write(path: Path, kind: str, count: int) -> None:
    """The events of a history as lines of JSON."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for event in events(kind, count):
            file.write(encoder.encode(event) + b"\n")


def measure(path: Path, kind: str) -> Row:
    """Load and judge one file in this process."""
    from splitbrain.checkers.transactions import checker
    from splitbrain.harness.history.formats import jsonl
    from splitbrain.harness.history.history import COLUMNS

    began = time.process_time()
    history = jsonl.read(path)[0]
    loaded = time.process_time() - began
    micros = history.micros
    assert micros is not None
    columns = [getattr(history, name) for name in COLUMNS] + [history.values.kind, history.values.first, history.values.second]
    columns += [micros.start, micros.f, micros.key, micros.value, micros.list_start, micros.list_values]
    began = time.process_time()
    verdict = checker.check(history, time_limit=300.0)
    checked = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(kind, len(history), loaded, checked, sum(c.nbytes for c in columns) / len(history), peak, verdict.validity)


def measured(largest: int) -> list[Row]:
    """Every kind and size up to the largest, each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        for kind in ("list-append", "rw-register"):
            for size in SIZES:
                if size <= largest:
                    write(path, kind, size)
                    command = [sys.executable, "-m", "bench.transactions", "--one", str(path), kind]
                    told = subprocess.run(command, check=True, capture_output=True).stdout
                    rows.append(msgspec.json.decode(told, type=Row))
    return rows


def tell(rows: list[Row]) -> str:
    """The table, in Markdown."""
    lines = [
        "| transactions | kind | verdict | loading, s | checking, s | checked a second | bytes each | peak, MB |",
        "|---:|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.transactions:,} | {row.kind} | {row.verdict} | {row.load:.2f} | {row.check:.2f} |"
        f" {row.transactions / max(row.check, 1e-9):,.0f} | {row.weight:.0f} | {row.peak:,.0f} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "KIND"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.buffer.write(msgspec.json.encode(measure(Path(options.one[0]), options.one[1])))
        return
    rows = measured(options.largest)
    print(tell(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))


if __name__ == "__main__":
    main()
