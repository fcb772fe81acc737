"""Isolation levels of registers without times: how long histories of 100 sessions take, valid and invalid ones.

    python -m bench.isolation [--keys 1000,20000] [--count 10000] [--json FILE]

Prints Markdown. Transactions have eight operations, half of them reads, on keys that are all as likely. A serial store runs
them one after another; a store of snapshots lets each read as of its begin, up to `OPEN` commits back, and refuses one that
writes what was written since, so that snapshot isolation holds; on many keys write skew is rare, and serializability may hold
too. Each comes as it is, with one stale read, or with one lost update. A history is text as other checkers take it (Plume,
PolySI), session by session, and is loaded and judged in a process of its own: against one level alone, and against all of
them. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

import msgspec

COUNT, SESSIONS, MICROS = 10_000, 100, 8
KEYS = (1_000, 20_000)
OPEN = 50
"""Commits that a transaction of the store of snapshots does not see, at most, though they came before its own."""

Store = Literal["serial", "snapshots"]
Fault = Literal["", "stale read", "lost update"]
STORES: tuple[Store, ...] = ("serial", "snapshots")
FAULTS: tuple[Fault, ...] = ("", "stale read", "lost update")
ALL = "all levels"
ASKED = ("serializable", "snapshot-isolation", ALL)


class Transaction(NamedTuple):
    """What one transaction did: (`r` or `w`, key, value), 0 for the initial state."""

    session: int
    micros: list[tuple[str, int, int]]


class Row(msgspec.Struct, frozen=True):
    """One history and what it was held against: seconds to load it, and to check it."""

    store: str
    fault: str
    keys: int
    asked: str
    load: float
    check: float
    verdict: str


def transactions(store: Store, fault: Fault, keys: int, count: int = COUNT, seed: int = 1) -> list[Transaction]:
    """That many committed transactions in the order of their commits.

    Raises `ValueError` where the history has no place for the fault: it is too short."""
    rng = random.Random(seed)
    versions: list[list[tuple[int, int]]] = [[(-1, 0)] for _ in range(keys)]
    last = [-1] * SESSIONS
    done: list[Transaction] = []
    value = 0
    while len(done) < count:
        session = rng.randrange(SESSIONS)
        behind = rng.randrange(OPEN) if store == "snapshots" else 0
        snapshot = max(len(done) - 1 - behind, last[session])
        micros: list[tuple[str, int, int]] = []
        own: dict[int, int] = {}
        for _ in range(MICROS):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                seen = own.get(key) or next(told for at, told in reversed(versions[key]) if at <= snapshot)
                micros.append(("r", key, seen))
            else:
                value += 1
                own[key] = value
                micros.append(("w", key, value))
        if any(versions[key][-1][0] > snapshot for key in own):
            continue
        for key, told in own.items():
            versions[key].append((len(done), told))
        last[session] = len(done)
        done.append(Transaction(session, micros))
    if fault:
        _break(done, fault, rng)
    return done


def _break(done: list[Transaction], fault: Fault, rng: random.Random) -> None:
    """One of them, T, reads a version that another one, U, read and replaced. A lost update: T replaces it as well. A stale
    read: T has read from U, by way of others, two at least."""
    writer = {told: at for at, one in enumerate(done) for f, _, told in one.micros if f == "w"}
    for first in rng.sample(range(len(done) // 4, len(done) // 2), len(done) // 4):
        keys = [key for _, key, _ in done[first].micros]
        for place, (f, key, _) in enumerate(done[first].micros):
            if f == "w" and keys.count(key) == 1 and (victim := _victim(done, first, key, fault, writer)) is not None:
                before = [value for one in done[:first] for g, other, value in one.micros if g == "w" and other == key]
                replaced = before[-1] if before else 0
                done[first].micros.insert(place, ("r", key, replaced))
                victim.micros.insert(0, ("r", key, replaced))
                return
    raise ValueError(f"no {fault} fits into these transactions")


def _victim(
    done: list[Transaction], first: int, key: int, fault: Fault, writer: dict[int, int]
) -> Transaction | None:
    """A later transaction that the fault can happen to: that writes the key alone, or that read from the first one by way of
    two others and does not touch it."""
    far = {first: 0}
    for at in range(first + 1, len(done)):
        one = done[at]
        touched = [f for f, other, _ in one.micros if other == key]
        if fault == "lost update" and touched == ["w"]:
            return one
        hops = [far[writer[seen]] for f, _, seen in one.micros if f == "r" and seen and writer[seen] in far.keys() - {at}]
        if hops:
            far[at] = 1 + min(hops)
            if fault == "stale read" and far[at] > 2 and not touched:
                return one
    return None


def write(path: Path, done: list[Transaction]) -> None:
    """The transactions as text, session by session."""
    with path.open("w") as file:
        for number, one in sorted(enumerate(done), key=lambda numbered: (numbered[1].session, numbered[0])):
            for f, key, value in one.micros:
                file.write(f"{f}({key},{value},{one.session},{number + 1})\n")


def measure(path: Path, asked: str) -> tuple[float, float, str]:
    """Load and judge one file in this process: the seconds for each, and the verdict on what was asked, or on serializability
    and snapshot isolation."""
    from splitbrain.checkers.transactions import checker
    from splitbrain.checkers.transactions.lattice import LEVELS
    from splitbrain.harness.history.formats import read

    began = time.process_time()
    history = read(path, "plume").history
    loaded = time.process_time() - began
    levels = [level for level in LEVELS if level in (ASKED if asked == ALL else (asked,))]
    began = time.process_time()
    verdict = checker.check(history, levels, time_limit=600.0, alone=asked != ALL)
    checked = time.process_time() - began
    told = ", ".join(f"{one.model} {one.state}" for one in verdict.standings if one.model in levels)
    return loaded, checked, told


def measured(keys: tuple[int, ...], count: int = COUNT) -> list[Row]:
    """Every store, fault and question, each in a process of its own."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history.txt"
        for many, store, fault in product(keys, STORES, FAULTS):
            write(path, transactions(store, fault, many, count))
            for asked in ASKED:
                command = [sys.executable, "-m", "bench.isolation", "--one", str(path), asked]
                told = msgspec.json.decode(subprocess.run(command, check=True, capture_output=True).stdout)
                rows.append(Row(store, fault, many, asked, *told))
                print(rows[-1], file=sys.stderr, flush=True)
    return rows


def tell(rows: list[Row]) -> str:
    """The table, in Markdown."""
    lines = [
        "| keys | store | fault | asked for | verdict | loading, s | checking, s |",
        "|---:|---|---|---|---|---:|---:|",
    ]
    lines += [
        f"| {row.keys:,} | {row.store} | {row.fault or 'none'} | {row.asked} | {row.verdict}"
        f" | {row.load:.2f} | {row.check:.2f} |"
        for row in rows
    ]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", default=",".join(map(str, KEYS)))
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    parser.add_argument("--one", nargs=2, metavar=("FILE", "ASKED"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        sys.stdout.buffer.write(msgspec.json.encode(measure(Path(options.one[0]), options.one[1])))
        return
    rows = measured(tuple(map(int, options.keys.split(","))), options.count)
    print(tell(rows))
    if options.json:
        options.json.write_bytes(msgspec.json.format(msgspec.json.encode(rows), indent=1))


if __name__ == "__main__":
    main()
