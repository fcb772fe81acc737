"""The fuzzer of transactions: stores that work, and random small histories against the definitions of the levels.

    python -m tests.checkers.transactions.fuzz --count 10000 --seed 1

Histories of a strictly serializable store must show no anomaly, and no level may be refuted. Random histories of registers,
of a few transactions, are held against the definition of every level: what is refuted must not satisfy it, what holds must.
A list says more than a register, so that a history of lists may only hold where the same one of registers does (each read
taken for the last element it saw). A disagreement stops the run and prints the seed and the history.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from typing import Any

import msgspec

from splitbrain import Operation
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import checker
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Outcome
from tests.checkers.transactions import stores
from tests.checkers.transactions.decide.definitions import holds

LARGEST = 4
"""Transactions of a random history: the definitions go through all their orders."""


def random_registers(rng: random.Random) -> list[Operation]:
    """A few transactions that read anything that is written somewhere, at any time."""
    keys, fresh = rng.randint(1, 2), 0
    plans: list[list[list[Any]]] = []
    for _ in range(rng.randint(2, LARGEST)):
        micros: list[list[Any]] = []
        for _ in range(rng.randint(1, 3)):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                fresh += 1
                micros.append(["w", key, fresh])
            else:
                micros.append(["r", key, None])
        plans.append(micros)
    written: dict[int, list[int | None]] = {key: [None] for key in range(keys)}
    for micros in plans:
        for f, key, value in micros:
            if f == "w":
                written[key].append(value)
    done = []
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
            process=process, f="txn", value=value, outcome=outcome, invoked=10 * begin + at,
            completed=None if outcome == "info" else 10 * end + at,
        ))
    return sorted(done, key=lambda one: one.invoked)


def agrees(operations: list[Operation]) -> str:
    """What is wrong with the verdict on a history of registers; empty where all levels are as their definitions say."""
    found = checker.find(History.of(operations), Budget.of(60))
    for level in LEVELS:
        if level == "read-uncommitted" or found.states[level] == "undecided":
            continue
        if holds(operations, level) != (found.states[level] == "holds"):
            return f"{level} {found.states[level]}"
    return ""


def random_lists(rng: random.Random) -> tuple[list[Operation], list[Operation]]:
    """A few transactions whose reads are prefixes of one order of each key's elements, and the same as registers."""
    told = random_registers(rng)
    orders: dict[Any, list[int]] = {}
    for one in told:
        for f, key, value in one.value:
            orders.setdefault(key, [])
            if f == "w":
                orders[key].append(value)
    for order in orders.values():
        rng.shuffle(order)
    lists, registers = [], []
    for one in told:
        listed: list[tuple[Any, ...]] = []
        plain: list[tuple[Any, ...]] = []
        for f, key, value in one.value:
            seen = tuple(orders[key][: rng.randint(0, len(orders[key]))])
            if f == "w":
                listed.append(("append", key, value))
                plain.append((f, key, value))
            else:
                listed.append((f, key, seen if one.outcome == "ok" else None))
                plain.append((f, key, seen[-1] if seen and one.outcome == "ok" else None))
        lists.append(msgspec.structs.replace(one, value=tuple(listed)))
        registers.append(msgspec.structs.replace(one, value=tuple(plain)))
    return lists, registers


def lists_agree(rng: random.Random) -> str:
    """What is wrong with the verdict on a history of lists; empty where the registers that it is, too, allow what holds."""
    lists, registers = random_lists(rng)
    found = checker.find(History.of(lists), Budget.of(60))
    claimed = [level for level in LEVELS if level != "read-uncommitted" and found.states[level] == "holds"]
    return ", ".join(f"{level} holds in {lists}" for level in claimed if not holds(registers, level))


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
    for number in range(options.count):
        if time.monotonic() > ends:
            break
        for name, wrong in (
            ("a store of lists that works", works(random.Random(f"{options.seed}-{number}"), lists=True)),
            ("a store of registers that works", works(random.Random(f"{options.seed}-{number}"), lists=False)),
            ("random lists", lists_agree(random.Random(f"{options.seed}-{number}"))),
        ):
            if wrong:
                sys.exit(f"{name}, seed {options.seed}-{number}: {wrong}")
        operations = random_registers(random.Random(f"{options.seed}-{number}"))
        if wrong := agrees(operations):
            shown = "\n".join(map(repr, operations))
            sys.exit(f"random registers, seed {options.seed}-{number}: {wrong}\n{shown}")
    print(f"{number + 1:,} of each kind, all as they should be")


if __name__ == "__main__":
    main()
