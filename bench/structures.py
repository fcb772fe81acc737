"""Structures: how many operations a second the checkers of sets, banks, counters, queues, watches and their like judge.

    python -m bench.structures [--sizes 10000,100000,1000000] [--late 0,0.05]

Prints a Markdown table. The histories are those of structures that work, with 20 clients, as the workloads of these names
make them, but that a share (`late`) of the reads is answered as of some time before, so that there is very much to find. Each
is judged in memory, in seconds of the processor.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from splitbrain.checkers.structures.bank import BankChecker
from splitbrain.checkers.structures.counter import CounterChecker
from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.structures.lock import LockChecker
from splitbrain.checkers.structures.monotonic import MonotonicChecker
from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.checkers.structures.watch import WatchChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

CLIENTS = 20
ACTIVE = 5
"""Keys that are used at the same time."""

FULL = 64
"""Elements of a set, after which another takes its place."""

AGO = 20
"""Calls by which a late answer is late."""

Call = tuple[str, Any, Any]
"""(f, key, value)"""


def _set(rng: random.Random, late: float) -> Iterator[Call]:
    sets: list[list[int]] = [[] for _ in range(ACTIVE)]
    names, made = list(range(ACTIVE)), 0
    while True:
        slot = rng.randrange(ACTIVE)
        held = sets[slot]
        if rng.random() < 0.3:
            yield "read", names[slot], tuple(held[: max(0, len(held) - AGO)] if rng.random() < late else held)
            continue
        if len(held) == FULL:
            sets[slot] = held = []
            names[slot] = max(names) + 1
        made += 1
        held.append(made)
        yield "add", names[slot], made


def _bank(rng: random.Random, late: float) -> Iterator[Call]:
    balances = [100] * 8
    while True:
        if rng.random() < 0.4:
            told = list(balances)
            if rng.random() < late:
                told[0] += 1
            yield "read", None, tuple(told)
            continue
        source, target = rng.sample(range(8), 2)
        amount = rng.randint(1, 20)
        if balances[source] >= amount:
            balances[source] -= amount
            balances[target] += amount
            yield "transfer", None, (source, target, amount)


def _counter(rng: random.Random, late: float) -> Iterator[Call]:
    sums = [0] * ACTIVE
    while True:
        key = rng.randrange(ACTIVE)
        if rng.random() < 0.5:
            yield "read", key, max(0, sums[key] - (AGO if rng.random() < late else 0))
        else:
            sums[key] += 1
            yield "add", key, 1


def _queue(rng: random.Random, late: float) -> Iterator[Call]:
    queues: list[deque[int]] = [deque() for _ in range(ACTIVE)]
    made, last = 0, [0] * ACTIVE
    while True:
        key = rng.randrange(ACTIVE)
        held, kind = queues[key], rng.random()
        if kind < 0.15:
            yield "read", key, (*((last[key],) if rng.random() < late and last[key] else ()), *held)
        elif kind < 0.58 and len(held) < FULL:
            made += 1
            held.append(made)
            yield "enqueue", key, made
        elif rng.random() < late and last[key]:
            yield "dequeue", key, last[key]
        else:
            last[key] = held.popleft() if held else 0
            yield "dequeue", key, last[key] or None


def _watch(rng: random.Random, late: float) -> Iterator[Call]:
    logs: list[list[tuple[int, int]]] = [[] for _ in range(ACTIVE)]
    made = 0
    while True:
        key = rng.randrange(ACTIVE)
        log = logs[key]
        if rng.random() < 0.4:
            made += 1
            log.append((made, made))
            yield "write", key, made
            continue
        start = max(0, len(log) - rng.randrange(AGO))
        told = log[start:]
        if len(told) > 2 and rng.random() < late:
            del told[len(told) // 2]
        yield "read", key, (log[start - 1][0] if start else 0, tuple(told))


def _ids(rng: random.Random, late: float) -> Iterator[Call]:
    made = 0
    while True:
        made += 1
        yield "generate", None, made - AGO if made > AGO and rng.random() < late else made


def _lock(rng: random.Random, late: float) -> Iterator[Call]:
    fence = 0
    while True:
        fence += 1
        stale = fence > AGO and rng.random() < late
        yield "acquire", 0, fence
        yield "write", 0, (fence, fence - AGO if stale else fence)
        yield "release", 0, None


def _monotonic(rng: random.Random, late: float) -> Iterator[Call]:
    held = [0] * ACTIVE
    while True:
        key = rng.randrange(ACTIVE)
        if rng.random() < 0.5:
            yield "read", key, max(0, held[key] - (AGO if rng.random() < late else 0))
        else:
            held[key] += 1
            yield "cas", key, (held[key] - 1, held[key])


KINDS: dict[str, tuple[Callable[[random.Random, float], Iterator[Call]], Callable[[], Checker]]] = {
    "set-full": (_set, SetFullChecker),
    "bank": (_bank, lambda: BankChecker(800, 100)),
    "counter": (_counter, CounterChecker),
    "queue": (_queue, QueueChecker),
    "watch": (_watch, WatchChecker),
    "unique-ids": (_ids, IdsChecker),
    "fenced-lock": (_lock, lambda: LockChecker(fenced=True)),
    "monotonic": (_monotonic, MonotonicChecker),
}


def operations(kind: str, count: int, late: float, seed: int = 1) -> Iterator[Operation]:
    """The operations of `count` calls, each of which takes effect while it is open: a call begins when the one before it took
    effect, or sooner, and not before its client is free."""
    rng = random.Random(seed)
    free = [0] * CLIENTS
    calls = KINDS[kind][0](rng, late)
    for number in range(count):
        f, key, value = next(calls)
        at, client = 1000 * number, number % CLIENTS
        began = max(free[client], at - rng.randrange(8_000))
        free[client] = at + rng.randrange(1, 8_000)
        yield Operation(process=client, f=f, key=key, value=value, invoked=began, completed=free[client])


def rate(kind: str, history: History) -> tuple[float, int]:
    """Seconds of the processor to judge it, and how many anomalies there are."""
    checker = KINDS[kind][1]()
    began = time.process_time()
    verdict = checker.check(Recording(history=history, nodes=()))
    return time.process_time() - began, sum(verdict.counts.values())


def main(arguments: Sequence[str] | None = None) -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(prog="bench structures", description=__doc__, formatter_class=raw)
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--sizes", default="10000,100000,1000000")
    parser.add_argument("--late", default="0,0.05")
    options = parser.parse_args(arguments)
    print("| structure | operations | late answers | anomalies | seconds | operations a second |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for kind in options.kinds.split(","):
        for late in map(float, options.late.split(",")):
            for size in map(int, options.sizes.split(",")):
                history = History.of(operations(kind, size, late))
                seconds, anomalies = rate(kind, history)
                print(f"| {kind} | {size:,} | {late:.0%} | {anomalies:,} | {seconds:.2f} | {size / seconds:,.0f} |", flush=True)


if __name__ == "__main__":
    main()
