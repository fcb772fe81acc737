"""The search for a serial order: it finds one where there is one, what it finds is one, and it ends with its time."""

from __future__ import annotations

import contextlib
import gc
import random
import sys
import time
from collections.abc import Callable
from itertools import permutations
from types import FrameType
from typing import Any

import msgspec
import numpy as np
import pytest

from splitbrain import Operation
from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.transactions import decide, rw_register, serial
from splitbrain.checkers.transactions.decide import kernels
from splitbrain.checkers.transactions.graph import Edges, Ints, process_edges, realtime_edges
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.serial import serial_order
from splitbrain.harness.history.history import History


def crowded(rng: random.Random, count: int, clients: int, keys: int, micros: int = 4) -> History:
    """Transactions of a store that works, each of which takes effect anywhere in its call; of every client's transactions
    only its own are one after the other."""
    calls: list[tuple[float, float, float, int]] = []
    free = [rng.random() for _ in range(clients)]
    while len(calls) < count:
        client = min(range(clients), key=free.__getitem__)
        begin, end = free[client], free[client] + rng.expovariate(1.0)
        calls.append((begin, rng.uniform(begin, end), end, client))
        free[client] = end + 0.01
    held: dict[int, int] = {}
    told: list[Operation] = []
    fresh = 0
    for begin, _, end, client in sorted(calls, key=lambda call: call[1]):
        value: list[tuple[str, int, int | None]] = []
        for _ in range(micros):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                value.append(("r", key, held.get(key)))
            else:
                fresh += 1
                held[key] = fresh
                value.append(("w", key, fresh))
        told.append(Operation(
            process=client, f="txn", value=tuple(value), invoked=round(1e9 * begin), completed=round(1e9 * end)
        ))
    return History.of(sorted(told, key=lambda one: one.invoked))


def searched(history: History, budget: Budget = FOREVER, turns: int = serial.PATIENT_TURNS) -> Ints | None:
    """What the search finds by sessions and time alone."""
    judged = rw_register._Registers(history, FOREVER)
    found: list[Ints | None] = []

    def run(external: Any, committed: Any) -> None:
        none = np.full(len(judged.key), -1)
        known = Inference(
            history, judged.micros, committed, Edges.joined([]), judged.installed, none, external, judged.read_from,
            none, True,
        )
        source, target, many = realtime_edges(history, committed)
        own = process_edges(history, committed)
        source, target = np.concatenate([source, own.source]), np.concatenate([target, own.target])
        found.append(serial_order(known, source, target, many, budget, turns))

    judged._run = run  # type: ignore[method-assign]
    judged.inference()
    return found[0] if found else None


def works(history: History, order: list[int]) -> bool:
    """Whether one transaction after the other, in that order, reads what was told, and none that completed before another
    was invoked comes after it."""
    held: dict[Any, Any] = {}
    latest = -1
    for row in order:
        one = history[row]
        latest = max(latest, one.invoked)
        if one.completed is not None and one.completed < latest:
            return False
        for f, key, value in one.value:
            if f == "w":
                held[key] = value
            elif held.get(key) != value:
                return False
    return True


def test_more_than_plain_code_has_memory_for_is_for_machine_code_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    history = crowded(random.Random(1), 200, 20, 10)
    monkeypatch.setattr(serial, "PLAIN_MOST", len(history) // 2)
    assert searched(history) is None
    monkeypatch.setattr(serial, "PLAIN_MOST", 100 * len(history))
    assert searched(history) is not None


@pytest.mark.parametrize(("count", "clients", "keys"), [(400, 20, 10), (400, 20, 3), (400, 60, 20), (3_000, 20, 10)])
def test_a_crowded_store_that_works_is_told_to(count: int, clients: int, keys: int) -> None:
    for seed in range(4):
        history = crowded(random.Random(seed), count, clients, keys)
        rank = searched(history)
        assert rank is not None
        assert works(history, np.argsort(rank).tolist())


def test_machine_code_finds_the_same_order(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    histories = [crowded(random.Random(seed), 60, 8, 4) for seed in range(20)]
    plain = [searched(history) for history in histories]
    monkeypatch.setattr(serial, "COMPILED_FROM", 0)
    for history, rank in zip(histories, plain, strict=True):
        compiled = searched(history)
        assert rank is not None and compiled is not None and rank.tolist() == compiled.tolist()


def test_an_order_is_found_exactly_where_there_is_one() -> None:
    """Small histories, of which some reads are wrong, against all orders."""
    there = 0
    for seed in range(150):
        rng = random.Random(seed)
        told = list(crowded(rng, 5, 4, 2, micros=3))
        written: dict[int, list[int | None]] = {key: [None] for key in range(2)}
        for one in told:
            for f, key, value in one.value:
                if f == "w":
                    written[key].append(value)
        at = rng.randrange(len(told))
        value = tuple((f, key, rng.choice(written[key]) if f == "r" else value) for f, key, value in told[at].value)
        told[at] = msgspec.structs.replace(told[at], value=value)
        history = History.of(told)
        rank = searched(history)
        expected = any(works(history, list(order)) for order in permutations(range(len(history))))
        if rank is not None:
            assert works(history, np.argsort(rank).tolist())
        assert (rank is not None) == expected or not searchable(history), seed
        there += expected
    assert 30 < there < 140


def searchable(history: History) -> bool:
    """Whether no read is wrong by itself, so that an order is searched at all."""
    return not rw_register.infer(history, FOREVER).problems


class Clock:
    """A clock that goes on by a second whenever it is looked at, and counts the lines of Python between two looks."""

    def __init__(self) -> None:
        self.looks, self.lines, self.most = 0, 0, 0

    def __call__(self) -> float:
        self.looks += 1
        self.most, self.lines = max(self.most, self.lines), 0
        return float(self.looks)

    def count(self, frame: FrameType, event: str, argument: Any) -> Any:
        self.lines += 1
        return self.count


def lines_between_looks(call: Callable[[Budget], Any], seconds: int, slice_: int) -> int:
    """How many lines of Python a call runs at most between two looks at the clock, and behind the last one, with so many
    steps in a slice. What is imported or compiled at the first call, and what is cleaned up meanwhile, does not count."""
    call(FOREVER)
    clock = Clock()
    gc.disable()
    before = sys.gettrace()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock)
        patch.setattr(serial, "_PLAIN_SLICE", slice_)
        patch.setattr(kernels, "PLAIN_SLICE", slice_)
        sys.settrace(clock.count)
        try:
            with contextlib.suppress(Exhausted):
                call(Budget.of(seconds))
        finally:
            sys.settrace(before)
            gc.enable()
    return max(clock.most, clock.lines)


@pytest.mark.parametrize(("way", "most"), [
    ("serial order", 20_000), ("read-committed-session", 15_000), ("read-atomic-session", 20_000), ("causal", 40_000),
])
def test_the_clock_is_looked_at_while_an_order_is_searched(way: str, most: int) -> None:
    history = crowded(random.Random(2), 400, 12, 4, 6)
    assert history.micros is not None
    facts, keys = decide.facts(history), history.micros.keys

    def call(budget: Budget) -> None:
        if way == "serial order":
            searched(history, budget)
        else:
            decide.LEVELS[way](facts, way, keys, budget)

    for seconds in (0, 5, 10**9):
        assert lines_between_looks(call, seconds, 500) < most
    assert lines_between_looks(call, 10**9, 10**9) > most  # What goes on without a look would be noticed.
