"""Transactions over registers whose values are written once, against an obvious judge."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.registers import precedence
from splitbrain.checkers.linearizability.registers.precedence import agrees, decide_precedence, show
from splitbrain.checkers.linearizability.search.problem import encode
from splitbrain.checkers.models.specifications import MultiRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome
from tests.checkers.linearizability.naive import possible

MODEL = MultiRegister()
Parts = list[tuple[str, str, Any]]


def _transactions(rng: random.Random, count: int, span: int) -> list[Operation]:
    """Transactions of a store that works, each taking effect within its time; of those without an answer some do not."""
    registers = "xyz"[:rng.randint(1, 3)]
    unsure = rng.choice((0.0, 0.2, 0.6))
    times = []
    for _ in range(count):
        begin = rng.randint(0, span)
        end = begin + rng.choice((0, 0, 1, 2, 8))
        times.append((rng.uniform(begin, end), begin, end))
    held: dict[str, int] = {}
    made = 0
    operations = []
    for process, (_, begin, end) in enumerate(sorted(times)):
        outcome: Outcome = rng.choice(("info", "info", "fail")) if rng.random() < unsure else "ok"
        parts: Parts = []
        mine: dict[str, int] = {}
        for _ in range(rng.randint(1, 3)):
            register = rng.choice(registers)
            if rng.random() < 0.5:
                made += 1
                mine[register] = made
                parts.append(("w", register, made))
            else:
                parts.append(("r", register, mine.get(register, held.get(register))))
        if outcome == "ok" or (outcome == "info" and rng.random() < 0.6):
            held |= mine
        operations.append(Operation(
            process=process, f="txn", value=parts, outcome=outcome, invoked=begin,
            completed=None if outcome == "info" and rng.random() < 0.5 else end,
        ))
    return operations


def _spoiled(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """The same with another value read, or at another time."""
    at = rng.randrange(len(operations))
    operation = operations[at]
    written = [part for other in operations for part in other.value if part[0] == "w"]
    parts = [
        ("r", register, rng.choice([told for _, name, told in written if name == register] or [None])) if f == "r"
        else (f, register, told) for f, register, told in operation.value
    ]
    moved = rng.randint(-6, 6)
    changed = [
        msgspec.structs.replace(operation, value=parts),
        msgspec.structs.replace(
            operation, invoked=operation.invoked + moved,
            completed=None if operation.completed is None else operation.completed + moved,
        ),
    ]
    return [*operations[:at], rng.choice(changed), *operations[at + 1:]]


def test_every_decision_on_a_small_history_is_the_one_of_the_obvious_judge() -> None:
    told: Counter[tuple[bool | None, bool]] = Counter()
    for seed in range(400):
        rng = random.Random(f"precedence {seed}")
        operations = _transactions(rng, rng.randint(2, 7), rng.choice((3, 8, 20)))
        for _ in range(seed % 4):
            operations = _spoiled(rng, operations)
        rng.shuffle(operations)
        history = History.of(operations)
        decision = decide_precedence(history, MODEL)
        valid = possible(operations, MODEL)
        assert decision is None or decision.valid == valid, seed
        if decision is not None and decision.stuck is not None:
            proof = show(history, MODEL, decision.stuck)
            assert proof is not None and proof.accused in proof.rows
            assert not possible([history[row] for row in proof.rows], MODEL), seed
        told[None if decision is None else decision.valid, valid] += 1
    assert told[True, True] > 150 and told[False, False] > 30 and told[None, True] == 0, told


def _two_choices(without: tuple[str, str] | None, order: list[int]) -> list[Operation]:
    """Two writers of `x` and two of `y`, a reader of each, and whoever reads one register knows of both writers of the other:
    whichever writer of `x` was first, neither of `y` can have been, unless one reader does not know of one (`without`)."""
    values: dict[str, Parts] = {
        "x1": [("w", "x", 1), ("w", "a", 1)], "x2": [("w", "x", 2), ("w", "b", 1)],
        "y1": [("w", "y", 1), ("w", "c", 1)], "y2": [("w", "y", 2), ("w", "d", 1)],
        "r1": [("r", "x", 1), ("r", "c", 1), ("r", "d", 1)], "r2": [("r", "x", 2), ("r", "c", 1), ("r", "d", 1)],
        "r3": [("r", "y", 1), ("r", "a", 1), ("r", "b", 1)], "r4": [("r", "y", 2), ("r", "a", 1), ("r", "b", 1)],
    }
    if without is not None:
        values[without[0]].remove(("r", without[1], 1))
    told = list(values.values())
    return [Operation(process=at, f="txn", value=told[at], invoked=0, completed=9) for at in order]


def test_what_only_trying_tells_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    undone = 0
    undo = precedence._Order._undo

    def counted(self: precedence._Order, length: int) -> None:
        nonlocal undone
        undone += 1
        undo(self, length)

    monkeypatch.setattr(precedence._Order, "_undo", counted)
    rng = random.Random(1)
    for reader, registers in (("r1", "cd"), ("r2", "cd"), ("r3", "ab"), ("r4", "ab")):
        for register in registers:
            operations = _two_choices((reader, register), rng.sample(range(8), 8))
            assert possible(operations, MODEL)
            decision = decide_precedence(History.of(operations), MODEL)
            assert decision is not None and decision.valid, (reader, register)
    assert undone > 4
    operations = _two_choices(None, rng.sample(range(8), 8))
    assert not possible(operations, MODEL)
    decision = decide_precedence(History.of(operations), MODEL)
    assert decision is not None and decision.valid is False


def test_a_value_that_was_written_twice_or_there_before_is_not_decided() -> None:
    def write(at: int, value: int) -> Operation:
        return Operation(process=at, f="txn", value=[("w", "x", value)], invoked=at, completed=at + 5)

    assert decide_precedence(History.of([write(0, 1), write(1, 2)]), MODEL) is not None
    assert decide_precedence(History.of([write(0, 1), write(1, 1)]), MODEL) is None
    assert decide_precedence(History.of([write(0, 1), write(1, 2)]), MultiRegister(before=2)) is None


def test_an_order_agrees_only_with_all_that_happened_their_times_and_the_model() -> None:
    def transaction(at: int, value: Parts, outcome: Outcome = "ok") -> Operation:
        return Operation(process=at, f="txn", value=value, invoked=10 * at, completed=10 * at + 12, outcome=outcome)

    problem = encode(History.of([
        transaction(0, [("w", "x", 1)]), transaction(1, [("r", "x", 1)]), transaction(2, [("w", "x", 2)]),
        transaction(3, [("w", "x", 3)], "info"),
    ]), MODEL)
    for right in ([0, 1, 2], [0, 1, 2, 3]):
        assert agrees(problem, right)
    for wrong in ([0, 1], [0, 2, 1], [0, 1, 2, 2], [1, 0, 2], [2, 0, 1], [0, 1, 3, 2][::-1]):
        assert not agrees(problem, wrong), wrong


def _crowd(count: int, clients: int) -> list[Operation]:
    """So many clients at once read one of three registers and write one; some never hear of it."""
    rng = random.Random(7)
    held: dict[str, int] = {}
    free = [(rng.random(), client) for client in range(clients)]
    calls = []
    for _ in range(count):
        free.sort()
        begin, client = free[0]
        effect = begin + rng.expovariate(1)
        end = effect + rng.expovariate(1)
        free[0] = (end + rng.expovariate(2), client)
        calls.append((effect, begin, end))
    operations = []
    for made, (_, begin, end) in enumerate(sorted(calls)):
        read, write = rng.choice("xyz"), rng.choice("xyz")
        value = [("r", read, held.get(read)), ("w", write, made)]
        held[write] = made
        outcome: Outcome = "info" if rng.random() < 0.02 else "ok"
        operations.append(Operation(
            process=made, f="txn", value=value, outcome=outcome, invoked=int(begin * 1e6),
            completed=None if outcome == "info" else int(end * 1e6),
        ))
    return operations


def test_many_clients_at_once_are_decided() -> None:
    verdict = check(History.of(_crowd(900, 30)), MODEL, time_limit=60)
    assert verdict.validity == "valid" and verdict.coverage.methods == {"precedence": 1}


def test_of_thousands_of_transactions_those_are_shown_that_fit_nowhere() -> None:
    operations = _crowd(900, 30)
    # Two that overlap each read what the other writes.
    one = operations[500]
    at = next(
        at for at in range(501, 900)
        if operations[at].value[1][1] != one.value[1][1] and operations[at].outcome == one.outcome == "ok"
    )
    other = operations[at]
    for place, reader, writer in ((500, one, other), (at, other, one)):
        _, register, value = writer.value[1]
        operations[place] = msgspec.structs.replace(
            reader, value=[("r", register, value), reader.value[1]], invoked=min(one.invoked, other.invoked),
            completed=max(one.ended, other.ended),
        )
    history = History.of(operations)
    decision = decide_precedence(history, MODEL)
    assert decision is not None and decision.valid is False and decision.stuck is not None
    proof = show(history, MODEL, decision.stuck)
    assert proof is not None and len(proof.rows) <= 4
    assert not possible([history[row] for row in proof.rows], MODEL)
    verdict = check(history, MODEL, time_limit=60)
    assert verdict.validity == "invalid" and all(not possible(found.operations, MODEL) for found in verdict.anomalies)


def test_the_time_is_looked_at() -> None:
    with pytest.raises(Exhausted):
        decide_precedence(History.of(_crowd(900, 30)), MODEL, Budget.of(0))
