"""Additions to counters, and reads of them."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from splitbrain.checkers.structures.counter import CounterChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Counters
from splitbrain.workloads.workload import Invocation, KeyedWorkload

ADDITIONS = 0.6
"""The part of the calls that add; the others read."""

MOST = 5
"""The greatest amount that is added at once."""


class Counter(KeyedWorkload):
    """Adds to `plan.keys` counters, numbered from 0, and reads them. What is added is positive, so that a read has bounds. One
    worker of each home only reads."""

    name: ClassVar[str] = "counter"
    summary: ClassVar[str] = "additions to counters, whose reads must lie between what was acknowledged and what was attempted"
    needs: ClassVar[frozenset[Capability]] = frozenset({"counters"})

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        amount = rng.randint(1, MOST)
        wanted = kind or ("write" if rng.random() < ADDITIONS else "read")
        if wanted == "read" or self.reader(process):
            return Invocation("read", key, None, "read")
        return Invocation("add", key, amount, "write")

    async def invoke(self, client: Counters, invocation: Invocation) -> Any:
        if invocation.f == "read":
            return await client.count(invocation.key)
        await client.increment(invocation.key, invocation.value)
        return invocation.value

    def holds(self, value: Any) -> bool:
        return bool(value != 0)

    def checkers(self) -> tuple[Checker, ...]:
        return (CounterChecker(),)
