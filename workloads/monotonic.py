"""Registers whose values only grow, and reads of them."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from splitbrain.checkers.structures.monotonic import MonotonicChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import CompareAndSet
from splitbrain.harness.plan import Plan
from splitbrain.workloads.workload import Invocation, KeyedWorkload, shown

GROWS = 0.4
"""The part of the calls that set a register; the others read one."""


class Monotonic(KeyedWorkload):
    """Sets `plan.keys` registers, each from the value last seen to a greater one, and reads them: no register ever goes down,
    so no reader may see it go down. One worker of each home only reads."""

    name: ClassVar[str] = "monotonic"
    summary: ClassVar[str] = "registers that only grow, by compare-and-set: whether anyone sees one go down"
    needs: ClassVar[frozenset[Capability]] = frozenset({"compare-and-set"})

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._written = 0
        self._last: dict[Key, int] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        wanted = kind or ("write" if rng.random() < GROWS else "read")
        if wanted == "read" or self.reader(process):
            return Invocation("read", key, None, "read")
        self._written += 1
        return Invocation("cas", key, (self._last.get(key), self._written), "write")

    def observe(self, operation: Operation) -> None:
        if (seen := shown(operation)) is not None:
            self._last[operation.key] = seen

    async def invoke(self, client: CompareAndSet, invocation: Invocation) -> Any:
        if invocation.f == "read":
            return await client.read(invocation.key)
        await client.cas(invocation.key, *invocation.value)
        return invocation.value

    def checkers(self) -> tuple[Checker, ...]:
        return (MonotonicChecker(),)
