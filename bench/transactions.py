"""Transactions: how long histories take to load, and to be judged against every level, and what they weigh.

    python -m bench.transactions [--largest 1000000] [--json FILE]

Prints Markdown. The histories are those of a strictly serializable store with 20 clients and four micro-operations a
transaction: lists of up to 16 elements, and registers in the order of time. A transaction takes effect as it is invoked, as
in a store of one thread beside its clients, or anywhere in its call. Each history is written as a journal has it, two lines a
transaction, and loaded and judged in a process of its own. Seconds are of the processor.
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
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import msgspec

SIZES = (10_000, 100_000, 1_000_000)
CLIENTS = 20
MICROS = 4
ACTIVE = 10
"""Keys that are used at the same time; one is replaced by a fresh one after `WRITES` writes."""

WRITES = 16

Effect = Literal["as invoked", "anywhere"]
EFFECTS: tuple[Effect, ...] = ("as invoked", "anywhere")


class Row(msgspec.Struct, frozen=True):
    """One history: seconds to load and to check it, bytes a transaction that its columns weigh, and the peak in all
    (megabytes)."""

    kind: str
    effect: str
    transactions: int
    load: float
    check: float
    weight: float
    peak: float
    verdict: str


def events(kind: str, count: int, effect: Effect = "anywhere", seed: int = 1) -> Iterator[dict[str, Any]]:
    """The events of `count` transactions, each of which takes effect while it is open: anywhere in its call, or as it is
    invoked. Transactions are answered in any order."""
    rng = random.Random(seed)
    calls = _calls(count, rng)
    effects = [rng.uniform(*call) if effect == "anywhere" else call[0] for call in calls]
    lists = kind == "list-append"
    held: dict[int, list[int]] = {}
    active, fresh = list(range(ACTIVE)), ACTIVE
    asked: list[list[list[Any]]] = [[] for _ in calls]
    told: list[list[list[Any]]] = [[] for _ in calls]
    for at in sorted(range(count), key=effects.__getitem__):
        for _ in range(MICROS):
            slot = rng.randrange(ACTIVE)
            key = active[slot]
            values = held.setdefault(key, [])
            if rng.random() < 0.5:
                seen: Any = list(values) if lists else values[-1] if values else None
                asked[at].append(["r", key, None])
                told[at].append(["r", key, seen])
            else:
                values.append(len(values) + 1)
                asked[at].append(["append" if lists else "w", key, len(values)])
                told[at].append(asked[at][-1])
                if len(values) >= WRITES:
                    del held[active[slot]]
                    active[slot], fresh = fresh, fresh + 1
    idle = list(range(CLIENTS))
    process: dict[int, int] = {}
    for now, at in sorted((moment, at) for at, call in enumerate(calls) for moment in call):
        begins = at not in process
        if begins:
            process[at] = idle.pop(rng.randrange(len(idle)))
        else:
            idle.append(process[at])
        yield {
            "type": "invoke" if begins else "ok", "time": now, "process": process[at], "f": "txn",
            "value": asked[at] if begins else told[at], **({"node": "n1"} if begins else {}),
        }


def _calls(count: int, rng: random.Random) -> list[tuple[int, int]]:
    """When each transaction is invoked and answered, two clients idle but at the ends."""
    calls = [(0, 0)] * count
    under_way: list[int] = []
    now = 0
    for at in range(count):
        now += 1000
        calls[at] = now, 0
        under_way.append(at)
        if len(under_way) == CLIENTS - 2:
            one = under_way.pop(rng.randrange(len(under_way)))
            calls[one] = calls[one][0], now + 500
    for one in under_way:
        now += 1000
        calls[one] = calls[one][0], now
    return calls


def write(path: Path, kind: str, count: int, effect: Effect) -> None:
    """The events of a history as lines of JSON."""
    encoder = msgspec.json.Encoder()
    with path.open("wb") as file:
        for event in events(kind, count, effect):
            file.write(encoder.encode(event) + b"\n")


def measure(path: Path, kind: str, effect: str) -> Row:
    """Load and judge one file in this process."""
    from splitbrain.checkers.transactions import checker
    from splitbrain.harness.history.formats import read
    from splitbrain.harness.history.history import COLUMNS

    began = time.process_time()
    history = read(path).history
    loaded = time.process_time() - began
    micros = history.micros
    assert micros is not None
    columns = [getattr(history, name) for name in COLUMNS] + [history.values.kind, history.values.first, history.values.second]
    columns += [micros.start, micros.f, micros.key, micros.value, micros.list_start, micros.list_values]
    began = time.process_time()
    verdict = checker.check(history, time_limit=300.0)
    checked = time.process_time() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    weight = sum(column.nbytes for column in columns) / len(history)
    return Row(kind, effect, len(history), loaded, checked, weight, peak, verdict.validity)


def measured(largest: int) -> list[Row]:
    """Every kind and size up to the largest, each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.jsonl"
        for kind, effect, size in product(("list-append", "rw-register"), EFFECTS, SIZES):
            if size <= largest:
                # In a process of its own, for a child's peak counts from what its parent had.
                writing = get_context("spawn").Process(target=write, args=(path, kind, size, effect))
                writing.start()
                writing.join()
                command = [sys.executable, "-m", "bench.transactions", "--one", str(path), kind, effect]
                told = subprocess.run(command, check=True, capture_output=True).stdout
                rows.append(msgspec.json.decode(told, type=Row))
    return rows


def tell(rows: list[Row]) -> str:
    """The table, in Markdown."""
    lines = [
        "| transactions | kind | effect | verdict | loading, s | checking, s | checked a second | bytes each | peak, MB |",
        "|---:|---|---|---|---:|---:|---:|---:|---:|",
    ]
    lines += [
        f"| {row.transactions:,} | {row.kind} | {row.effect} | {row.verdict} | {row.load:.2f} | {row.check:.2f} |"
        f" {row.transactions / max(row.check, 1e-9):,.0f} | {row.weight:.0f} | {row.peak:,.0f} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=SIZES[-1])
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=3, metavar=("FILE", "KIND", "EFFECT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.buffer.write(msgspec.json.encode(measure(Path(options.one[0]), *options.one[1:])))
        return
    rows = measured(options.largest)
    print(tell(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))


if __name__ == "__main__":
    main()
