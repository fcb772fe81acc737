"""Mutation evidence: a working object's history, broken in one way, is caught and gets exactly that way's identifier.

The objects answer many clients at once; each breakage is the smallest of its kind, placed at random. What `check` shows is
fed to `check` alone and must say the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import (
    CasRegister,
    KeyValue,
    Model,
    PriorityQueue,
    Queue,
    Register,
    Set,
    Stack,
    UnorderedQueue,
)
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

Ops = list[Operation]
Breakage = Callable[[Ops, random.Random], Ops]

NEVER_WRITTEN = 999_999


def record(model: Model, rng: random.Random, count: int = 120, clients: int = 5) -> Ops:
    """A linearizable history: each call takes effect at a moment of its own, 100 apart, inside its interval."""
    free = [0] * clients
    held: list[Any] = []
    text = ""
    value: Any = None
    made = 0
    ops: Ops = []
    for number in range(count):
        moment = 1_000 + 100 * number
        client = min(range(clients), key=lambda c: (free[c] > moment, rng.random()))
        start = max(free[client] + 1, moment - rng.randint(1, 150))
        end = max(start, moment) + rng.randint(1, 150)
        moment = max(moment, start)
        free[client] = end
        # The object is asked in the order of `moment`: a client that was late is asked when its turn comes.
        ops.append(Operation(process=client, f="", value=moment, invoked=start, completed=end))
    ops.sort(key=lambda op: op.value)
    done: Ops = []
    for op in ops:
        first = rng.random() < 0.5
        made += first
        answer: Any = made
        if isinstance(model, Register):
            f = "write" if first else "read"
            if first and isinstance(model, CasRegister) and value is not None and rng.random() < 0.5:
                f, answer = "cas", (value, made)
            value = made if first else value
            answer = answer if first else value
        elif isinstance(model, KeyValue):
            token = f"<{made}>"
            f, answer = ("append" if rng.random() < 0.85 else "put", token) if first else ("get", text)
            text = text if not first else token if f == "put" else text + token
        elif isinstance(model, Set):
            f, answer = ("add", made) if first else ("read", list(held))
            held += [made] if first else []
        else:
            put, take = model.functions
            f = put if first else take
            if first:
                answer = rng.randrange(1_000) * 1_000 + made if isinstance(model, PriorityQueue) else made
                held.append(answer)
            else:
                at = -1 if isinstance(model, Stack) else 0
                if isinstance(model, PriorityQueue) and held:
                    at = held.index(min(held))
                answer = held.pop(at) if held else None
        done.append(replace(op, f=f, value=answer))
    return done


def replace(op: Operation, **changes: Any) -> Operation:
    return msgspec.structs.replace(op, **changes)


def changed(ops: Ops, i: int, **changes: Any) -> Ops:
    return [*ops[:i], replace(ops[i], **changes), *ops[i + 1:]]


def late(ops: Ops) -> int:
    """A moment after everything."""
    return max(op.completed or 0 for op in ops) + 10


def then(ops: Ops, *calls: tuple[str, Any]) -> Ops:
    """More calls, one after another, after everything else."""
    out = list(ops)
    for f, value in calls:
        now = late(out)
        out.append(Operation(process=0, f=f, value=value, invoked=now, completed=now + 1))
    return out


def some(ops: Ops, rng: random.Random, *fs: str, suits: Callable[[int], bool] = lambda i: True) -> int:
    """The position of an operation of these functions that suits."""
    return rng.choice([i for i, op in enumerate(ops) if op.f in fs and op.value is not None and suits(i)])


# Registers: writes 1, 2, ... and reads of the latest


def lost_write(ops: Ops, rng: random.Random) -> Ops:
    """The last write is acknowledged and gone: every later read finds what was there before it."""
    before = then(ops, ("write", 5_000), ("read", 5_000))
    return then(before, ("write", 6_000), ("read", 5_000), ("read", 5_000))


def stale_read(ops: Ops, rng: random.Random) -> Ops:
    return then(ops, ("write", 5_000), ("write", 6_000), ("read", 5_000), ("read", 6_000))


def backwards(ops: Ops, rng: random.Random) -> Ops:
    """New, then old, while the write of the new is still running."""
    ops = then(ops, ("write", 5_000))
    now = late(ops)
    return [
        *ops,
        Operation(process=1, f="write", value=6_000, invoked=now, completed=now + 90),
        Operation(process=2, f="read", value=6_000, invoked=now + 10, completed=now + 20),
        Operation(process=3, f="read", value=5_000, invoked=now + 30, completed=now + 40),
        Operation(process=3, f="read", value=6_000, invoked=now + 100, completed=now + 110),
    ]


def two_lineages(ops: Ops, rng: random.Random) -> Ops:
    """Two sides each swap the same value for one of their own."""
    ops = then(ops, ("write", 5_000))
    now = late(ops)
    return [
        *ops,
        Operation(process=1, f="cas", value=(5_000, 6_000), invoked=now, completed=now + 10),
        Operation(process=2, f="cas", value=(5_000, 7_000), invoked=now, completed=now + 10),
    ]


def failed_write_read(ops: Ops, rng: random.Random) -> Ops:
    ops = then(ops, ("write", 5_000), ("read", 5_000))
    return changed(ops, len(ops) - 2, outcome="fail")


def unwritten(ops: Ops, rng: random.Random) -> Ops:
    return changed(ops, some(ops, rng, "read"), value=NEVER_WRITTEN)


def from_the_future(ops: Ops, rng: random.Random) -> Ops:
    return then(ops, ("read", 5_000), ("write", 5_000))


# Containers


def put_take(ops: Ops) -> tuple[str, str]:
    return ("push", "pop") if any(op.f in ("push", "pop") for op in ops) else ("enqueue", "dequeue")


def lost_element(ops: Ops, rng: random.Random) -> Ops:
    """The container is found empty right after an acknowledged insertion."""
    put, take = put_take(ops)
    return then(ops, (put, 5_000_001), (take, None))


def element_never_returned(ops: Ops, rng: random.Random) -> Ops:
    """An element is passed over: it never comes out, though what had to come after it does."""
    put, take = put_take(ops)
    ops = then(ops, (put, 5_000_001), (put, 5_000_002), (put, 5_000_003))
    order = [e for e in _held(ops, put, take) if e < 5_000_000]
    if take == "pop":
        return then(ops, (take, 5_000_003), (take, 5_000_001))
    return then(ops, *[(take, e) for e in _in_order(order, ops)], (take, 5_000_001), (take, 5_000_003))


def _held(ops: Ops, put: str, take: str) -> list[Any]:
    out = {op.value for op in ops if op.f == take}
    return [op.value for op in ops if op.f == put and op.value not in out]


def _in_order(held: list[Any], ops: Ops) -> list[Any]:
    return sorted(held) if max(held, default=0) >= 1_000 else held


def swapped(ops: Ops, rng: random.Random) -> Ops:
    """Two removals exchange their answers."""
    put, take = put_take(ops)
    ops = then(ops, (put, 5_000_001), (put, 5_000_002))
    if take == "pop":
        return then(ops, (take, 5_000_001), (take, 5_000_002))
    held = [e for e in _held(ops, put, take) if e < 5_000_000]
    return then(ops, *[(take, e) for e in _in_order(held, ops)], (take, 5_000_002), (take, 5_000_001))


def taken_twice(ops: Ops, rng: random.Random) -> Ops:
    _, take = put_take(ops)
    i = some(ops, rng, take)
    return then(ops, (take, ops[i].value))


def never_put_in(ops: Ops, rng: random.Random) -> Ops:
    return changed(ops, some(ops, rng, put_take(ops)[1]), value=NEVER_WRITTEN * 1_000)


def put_in_failed(ops: Ops, rng: random.Random) -> Ops:
    put, take = put_take(ops)
    taken = {op.value for op in ops if op.f == take}
    return changed(ops, some(ops, rng, put, suits=lambda i: ops[i].value in taken), outcome="fail")


def taken_before(ops: Ops, rng: random.Random) -> Ops:
    put, take = put_take(ops)
    return then(ops, (take, 5_000_001), (put, 5_000_001))


# Sets


def missing_for_good(ops: Ops, rng: random.Random) -> Ops:
    """An acknowledged element is in no read that begins after its addition."""
    i = some(ops, rng, "add", suits=lambda i: any(op.f == "read" and op.invoked > (ops[i].completed or 0) for op in ops))
    return [
        replace(op, value=[e for e in op.value if e != ops[i].value]) if op.f == "read" else op for op in ops
    ]


def missing_once(ops: Ops, rng: random.Random) -> Ops:
    ops = then(ops, ("add", 5_000), ("read", None), ("read", None))
    everything = [op.value for op in ops if op.f == "add"]
    ops = changed(ops, len(ops) - 2, value=everything[:-1])
    return changed(ops, len(ops) - 1, value=everything)


def read_unknown(ops: Ops, rng: random.Random) -> Ops:
    i = some(ops, rng, "read")
    return changed(ops, i, value=[*ops[i].value, NEVER_WRITTEN])


def read_twice(ops: Ops, rng: random.Random) -> Ops:
    i = some(ops, rng, "read", suits=lambda i: bool(ops[i].value))
    return changed(ops, i, value=[*ops[i].value, ops[i].value[0]])


def add_failed(ops: Ops, rng: random.Random) -> Ops:
    seen = {e for op in ops if op.f == "read" for e in op.value}
    return changed(ops, some(ops, rng, "add", suits=lambda i: ops[i].value in seen), outcome="fail")


def read_ahead(ops: Ops, rng: random.Random) -> Ops:
    everything = [op.value for op in ops if op.f == "add"]
    return then(ops, ("read", [*everything, 5_000]), ("add", 5_000))


def sides(ops: Ops, rng: random.Random) -> Ops:
    """Two clients add at once; then two reads, at once, each show one of the two."""
    everything = [op.value for op in ops if op.f == "add"]
    now = late(ops)
    both = [
        Operation(process=100 + i, f="add", value=5_000 + i, invoked=now, completed=now + 90) for i in range(2)
    ]
    return [*ops, *both, *(
        Operation(process=102 + i, f="read", value=[*everything, 5_000 + i], invoked=now + 10, completed=now + 20)
        for i in range(2)
    )]


# Strings


def fresh_text(ops: Ops) -> Ops:
    """A put, so that what follows is short, and two appends."""
    return then(ops, ("put", "<p>"), ("append", "<a>"), ("append", "<b>"), ("get", "<p><a><b>"))


def text_lost(ops: Ops, rng: random.Random) -> Ops:
    return then(fresh_text(ops), ("append", "<c>"), ("get", "<p><a><b>"))


def text_stale(ops: Ops, rng: random.Random) -> Ops:
    return then(fresh_text(ops), ("append", "<c>"), ("get", "<p><a><b>"), ("get", "<p><a><b><c>"))


def text_backwards(ops: Ops, rng: random.Random) -> Ops:
    ops = fresh_text(ops)
    now = late(ops)
    return [
        *ops,
        Operation(process=1, f="append", value="<c>", invoked=now, completed=now + 90),
        Operation(process=2, f="get", value="<p><a><b><c>", invoked=now + 10, completed=now + 20),
        Operation(process=3, f="get", value="<p><a><b>", invoked=now + 30, completed=now + 40),
    ]


def text_reordered(ops: Ops, rng: random.Random) -> Ops:
    ops = then(ops, ("put", "<p>"), ("append", "<a>"), ("append", "<b>"))
    return then(ops, ("get", "<p><b><a>"))


def text_sides(ops: Ops, rng: random.Random) -> Ops:
    ops = fresh_text(ops)
    now = late(ops)
    both = [Operation(process=100 + i, f="append", value=f"<s{i}>", invoked=now, completed=now + 90) for i in range(2)]
    return [*ops, *both, *(
        Operation(process=102 + i, f="get", value=f"<p><a><b><s{i}>", invoked=now + 10, completed=now + 20) for i in range(2)
    )]


def text_doubled(ops: Ops, rng: random.Random) -> Ops:
    return then(fresh_text(ops), ("get", "<p><a><b><b>"))


def text_unwritten(ops: Ops, rng: random.Random) -> Ops:
    return changed(ops, some(ops, rng, "get"), value="<never>")


def text_failed(ops: Ops, rng: random.Random) -> Ops:
    ops = then(fresh_text(ops), ("append", "<c>"), ("get", "<p><a><b><c>"))
    return changed(ops, len(ops) - 2, outcome="fail")


def text_ahead(ops: Ops, rng: random.Random) -> Ops:
    return then(fresh_text(ops), ("get", "<p><a><b><c>"), ("append", "<c>"))


REGISTER: list[tuple[Breakage, str]] = [
    (lost_write, "stale-read"), (stale_read, "stale-read"), (backwards, "non-monotonic-read"),
    (failed_write_read, "aborted-read"), (unwritten, "unwritten-read"), (from_the_future, "future-read"),
]
CONTAINER: list[tuple[Breakage, str]] = [
    (lost_element, "lost-element"), (taken_twice, "duplicate"), (never_put_in, "unexpected"), (put_in_failed, "aborted-read"),
    (taken_before, "future-read"),
]
ORDERED: list[tuple[Breakage, str]] = [*CONTAINER, (swapped, "reordered"), (element_never_returned, "lost-element")]
SET: list[tuple[Breakage, str]] = [
    (missing_for_good, "lost-element"), (missing_once, "stale-read"), (read_unknown, "unexpected"), (read_twice, "duplicate"),
    (add_failed, "aborted-read"), (read_ahead, "future-read"), (sides, "reordered"),
]
TEXT: list[tuple[Breakage, str]] = [
    (text_lost, "stale-read"), (text_stale, "stale-read"), (text_backwards, "non-monotonic-read"),
    (text_reordered, "reordered"), (text_sides, "split-brain"), (text_doubled, "duplicate"),
    (text_unwritten, "unwritten-read"), (text_failed, "aborted-read"), (text_ahead, "future-read"),
]
CASES: list[tuple[Model, Breakage, str]] = [
    (model, breakage, identifier)
    for model, breakages in (
        (Register(), REGISTER), (CasRegister(), [*REGISTER, (two_lineages, "split-brain")]), (Queue(), ORDERED),
        (UnorderedQueue(), CONTAINER), (Stack(), ORDERED), (PriorityQueue(), ORDERED), (Set(), SET), (KeyValue(), TEXT),
    )
    for breakage, identifier in breakages
]


MODELS: tuple[Model, ...] = (
    Register(), CasRegister(), Queue(), UnorderedQueue(), Stack(), PriorityQueue(), Set(), KeyValue(),
)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_what_works_is_valid(model: Model) -> None:
    for seed in range(10):
        verdict = check(History.of(record(model, random.Random(seed))), model)
        assert verdict.validity == "valid", (seed, verdict.reason)


@pytest.mark.parametrize(("model", "breakage", "identifier"), CASES,
                         ids=[f"{model.name}-{breakage.__name__}" for model, breakage, _ in CASES])
def test_each_way_of_breaking_gets_its_name(model: Model, breakage: Breakage, identifier: str) -> None:
    for seed in range(5):
        rng = random.Random(seed)
        broken = breakage(record(model, rng), rng)
        verdict = check(History.of(broken), model)
        assert verdict.validity == "invalid", seed
        assert verdict.anomalies[0].identifier == identifier, (seed, verdict.anomalies[0].sentence)
        for anomaly in verdict.anomalies:
            alone = check(History.of(anomaly.operations), model)
            assert alone.validity == "invalid", (seed, anomaly)
            assert set(alone.counts) == {anomaly.identifier}, (seed, anomaly.sentence, alone.reason)
