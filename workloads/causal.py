"""Reads and writes of few registers by processes that stay with them, so that one's writes follow from what it read."""

from __future__ import annotations

import random
from typing import Any, ClassVar

from splitbrain.checkers.sessions import Sessions
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Registers
from splitbrain.harness.plan import Plan
from splitbrain.workloads.workload import Invocation, KeyedWorkload

GROUP = 3
"""Registers that belong together."""

STAY = 12
"""Calls that a process makes in one group before it goes to another."""

WRITES = 0.4
"""The part of the calls that write."""


class Causal(KeyedWorkload):
    """Reads and writes `plan.keys` registers, in groups of `GROUP`. A process stays in a group for `STAY` calls, so that what
    it writes to one register follows from what it read of another; every value is new. It asks less than linearizability:
    whether a client that stays with its server sees its own writes, never goes back, and sees no effect without its cause. One
    worker of each home only reads."""

    name: ClassVar[str] = "causal"
    summary: ClassVar[str] = "reads and writes that follow from each other, judged for causality and what sessions are promised"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers"})

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._written = 0
        self._calls: dict[int, int] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        calls = self._calls[process] = self._calls.get(process, 0) + 1
        first = GROUP * ((process + calls // STAY) % -(-self.plan.keys // GROUP))
        key = rng.randrange(first, min(first + GROUP, self.plan.keys))
        wanted = kind or ("write" if rng.random() < WRITES else "read")
        if wanted == "read" or self.reader(process):
            return Invocation("read", key, None, "read")
        self._written += 1
        return Invocation("write", key, self._written, "write")

    async def invoke(self, client: Registers, invocation: Invocation) -> Any:
        if invocation.f == "read":
            return await client.read(invocation.key)
        await client.write(invocation.key, invocation.value)
        return invocation.value

    def checkers(self) -> tuple[Checker, ...]:
        return (Sessions(),)
