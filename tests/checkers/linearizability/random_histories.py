"""Random small histories of registers, linearizable ones and broken ones in similar share."""

from __future__ import annotations

import random
from typing import Any

import msgspec

from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation


def register_history(
    rng: random.Random,
    *,
    operations: int = 8,
    processes: int = 3,
    unique: bool = True,
    values: int = 3,
    cas: bool = True,
    refused: bool = True,
    info: float = 0.15,
    initial: Any = None,
    broken: float = 0.5,
    moments: int = 40,
) -> History:
    """What a register might have answered to a few clients, then, with probability `broken`, spoiled at one or two places.

    Times are whole numbers up to about `moments`, so that some are equal. `unique` writes every value once.
    """
    n = rng.randint(1, operations)
    free = [0] * processes
    ops: list[tuple[int, int, int, int]] = []  # effect, process, invoked, completed
    for _ in range(n):
        p = rng.randrange(processes)
        invoked = free[p] + rng.randint(0, moments // 5)
        length = rng.choice([0, 1, 2, 5, moments // 4])
        effect = invoked + rng.randint(0, max(length, 1))
        ops.append((effect, p, invoked, max(effect, invoked + length)))
        free[p] = ops[-1][3] + rng.choice([0, 1, 1, 2])
    ops.sort()
    state = initial
    last_read: Any = initial
    fresh = 100
    out = []
    for _, p, invoked, completed in ops:
        f = rng.choice(["read", "write", "cas", "cas"] if cas else ["read", "read", "write"])
        value: Any = None
        outcome, error = "ok", None
        seen: tuple[Any, ...] = ()
        fresh += 1
        new = fresh if unique else rng.randrange(values)
        happens = True
        if rng.random() < info:
            outcome = "info"
            happens = rng.random() < 0.6
        if f == "read":
            value = state
            last_read = state
        elif f == "write":
            value = new
            if outcome == "ok" and rng.random() < 0.05:
                outcome, happens = "fail", False
            if happens:
                state = new
        else:
            expected = rng.choice([state, state, last_read]) if unique else rng.choice([state, rng.randrange(values)])
            value = (expected, new)
            if not unique and rng.random() < 0.1:
                value = (expected, expected)
            if state == expected:
                if happens:
                    state = value[1]
            elif outcome == "ok":
                outcome = "fail"
                if refused:
                    error = MISMATCH
                    if rng.random() < 0.5:
                        seen = (state,)
        out.append(
            Operation(process=p, f=f, value=value, outcome=outcome, invoked=invoked,  # type: ignore[arg-type]
                      completed=completed if outcome != "info" or rng.random() < 0.5 else None, error=error, seen=seen)
        )
    if rng.random() < broken:
        for _ in range(rng.randint(1, 2)):
            i = rng.randrange(len(out))
            out[i] = _spoil(rng, out[i], out)
    return History.of(out)


def _spoil(rng: random.Random, op: Operation, ops: list[Operation]) -> Operation:
    written = [o.value if o.f == "write" else o.value[1] for o in ops if o.f != "read"]
    what = rng.random()
    if what < 0.5 and op.f == "read":
        return msgspec.structs.replace(op, value=rng.choice([*written, None, 999]))
    if what < 0.5 and op.f == "cas":
        return msgspec.structs.replace(op, value=(rng.choice([*written, None]), op.value[1]))
    if what < 0.8 or op.completed is None:
        return msgspec.structs.replace(
            op, invoked=max(0, op.invoked - rng.randint(0, 20)), completed=(op.completed or op.invoked) + rng.randint(0, 5)
        )
    shift = rng.randint(0, 20)
    return msgspec.structs.replace(op, invoked=op.invoked + shift, completed=op.completed + shift)
