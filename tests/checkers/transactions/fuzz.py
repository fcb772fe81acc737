"""The fuzzer of transactions: stores that work, and random small histories against the definitions of the levels.

    python -m tests.checkers.transactions.fuzz --count 10000 --seed 1

Histories of a strictly serializable store must show no anomaly, and no level may be refuted. Random histories of registers
and of lists, of a few transactions, are held against the definition of every level: what is refuted must not satisfy it, what
holds must; so are files of every format. A disagreement stops the run and prints the seed and the history.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from splitbrain import Operation
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import checker
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.harness.check import check_file
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Outcome
from tests.checkers.transactions import files, stores
from tests.checkers.transactions.decide.definitions import holds

LARGEST = 4
"""Transactions of a random history: the definitions go through all their orders."""


def random_registers(rng: random.Random, again: float = 0.2) -> list[Operation]:
    """A few transactions that read anything that is written somewhere, at any time. A part (`again`) of the writes that follow
    another one of their key in their transaction write the same."""
    keys, fresh = rng.randint(1, 2), 0
    plans: list[list[list[Any]]] = []
    for _ in range(rng.randint(2, LARGEST)):
        micros: list[list[Any]] = []
        for _ in range(rng.choice((0, 1, 1, 2, 2, 2, 3, 3, 3, 3))):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                fresh += 1
                mine = [value for f, other, value in micros if f == "w" and other == key]
                micros.append(["w", key, rng.choice(mine) if mine and rng.random() < again else fresh])
            else:
                micros.append(["r", key, None])
        plans.append(micros)
    written: dict[int, list[int | None]] = {key: [None] for key in range(keys)}
    for micros in plans:
        for f, key, value in micros:
            if f == "w":
                written[key].append(value)
    done = []
    apart = rng.randrange(2)  # Without it many moments are the same.
    clock = {process: 0 for process in range(3)}
    for at, micros in enumerate(plans):
        outcome: Outcome = rng.choices(("ok", "info", "fail"), (85, 8, 7))[0]
        process = rng.randrange(3) if outcome != "info" else 100 + at
        begin = clock.get(process, 0) + rng.randint(1, 6)
        end = begin + rng.randint(1, 8)
        clock[process] = end
        value = tuple(
            (f, key, rng.choice(written[key]) if f == "r" and outcome == "ok" else told) for f, key, told in micros
        )
        done.append(Operation(
            process=process, f="txn", value=value, outcome=outcome, invoked=10 * begin + apart * at,
            completed=None if outcome == "info" and rng.random() < 0.5 else 10 * end + apart * at,
        ))
    return sorted(done, key=lambda one: one.invoked)


def agrees(operations: list[Operation]) -> str:
    """What is wrong with the verdict on a history; empty where all levels are as their definitions say."""
    found = checker.find(History.of(operations), Budget.of(60))
    for level in LEVELS:
        if level == "read-uncommitted" or found.states[level] == "undecided":
            continue
        if holds(operations, level) != (found.states[level] == "holds"):
            return f"{level} {found.states[level]}"
    return ""


def random_lists(rng: random.Random) -> list[Operation]:
    """A few transactions whose reads are mostly beginnings of one order of each key's elements, and what they appended
    themselves."""
    told = random_registers(rng, again=0)
    orders: dict[Any, list[int]] = {}
    for one in told:
        for f, key, value in one.value:
            orders.setdefault(key, [])
            if f == "w":
                orders[key].append(value)
    for order in orders.values():
        rng.shuffle(order)
    lists = []
    for one in told:
        micros: list[tuple[Any, ...]] = []
        appended: dict[Any, list[int]] = {}
        mine = {(key, value) for f, key, value in one.value if f == "w"}
        for f, key, value in one.value:
            if f == "w":
                appended.setdefault(key, []).append(value)
                micros.append(("append", key, value))
                continue
            seen = orders[key][: rng.randint(0, len(orders[key]))]
            if rng.random() < 0.8:
                seen = [element for element in seen if (key, element) not in mine] + appended.get(key, [])
            if rng.random() < 0.03:
                rng.shuffle(seen)
            if rng.random() < 0.02:
                seen.append(rng.choice((99, *seen)))
            micros.append(("r", key, tuple(seen) if one.outcome == "ok" else None))
        lists.append(msgspec.structs.replace(one, value=tuple(micros)))
    return lists


def file_agrees(rng: random.Random, format: str, path: Path) -> str:
    """What is wrong with the verdict on a file of that format with a few transactions, written to `path`."""
    made = random_lists if format in ("edn", "json", "jsonl") and rng.random() < 0.5 else random_registers
    operations = files.tellable(made(rng), format)
    if not any(one.value and one.outcome == "ok" for one in operations):
        return ""
    verdict = check_file(files.write(path, operations, format, rng), rng.choice((None, "transactions"))).verdict
    states: dict[str, str] = {one.model: one.state for one in verdict.standings}
    for level in LEVELS:
        if level == "read-uncommitted":
            continue
        if level in checker.STRICT and format not in ("edn", "json", "jsonl"):
            # Without times nothing of their order holds; what is refuted is refuted by what it implies.
            right = states[level] != "holds" and (states[level] == "undecided" or not holds(operations, level))
        else:
            right = states[level] == "undecided" or holds(operations, level) == (states[level] == "holds")
        if not right:
            return f"{path}: {level} {states[level]}"
    return ""


def works(rng: random.Random, *, lists: bool) -> str:
    """What is wrong with the verdict on a store that works."""
    operations = stores.correct(
        rng, rng.randint(1, 40), lists=lists, clients=rng.randint(1, 8), keys=rng.randint(1, 5)
    )
    found = checker.find(History.of(operations), Budget.of(60))
    return ", ".join(f"{level} refuted by {names}" for level, names in found.by.items())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so long")
    options = parser.parse_args()
    ends = time.monotonic() + options.seconds
    folder = Path(tempfile.mkdtemp())  # Stays where something is wrong.
    for number in range(options.count):
        if time.monotonic() > ends:
            break
        format = files.FORMATS[number % len(files.FORMATS)]
        if wrong := file_agrees(random.Random(f"{options.seed}-{number}"), format, folder / str(number)):
            sys.exit(f"a file, seed {options.seed}-{number}: {wrong}")
        for name, wrong in (
            ("a store of lists that works", works(random.Random(f"{options.seed}-{number}"), lists=True)),
            ("a store of registers that works", works(random.Random(f"{options.seed}-{number}"), lists=False)),
        ):
            if wrong:
                sys.exit(f"{name}, seed {options.seed}-{number}: {wrong}")
        for name, made in (("registers", random_registers), ("lists", random_lists)):
            operations = made(random.Random(f"{options.seed}-{number}"))
            if wrong := agrees(operations):
                shown = "\n".join(map(repr, operations))
                sys.exit(f"random {name}, seed {options.seed}-{number}: {wrong}\n{shown}")
    shutil.rmtree(folder)
    print(f"{number + 1:,} of each kind, all as they should be")


if __name__ == "__main__":
    main()
