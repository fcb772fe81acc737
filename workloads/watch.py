"""Writes of registers, and watchers that are told of them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from splitbrain.checkers.structures.watch import WatchChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Watches
from splitbrain.harness.plan import Plan
from splitbrain.workloads.workload import Invocation, Workload

WRITES = 0.4
"""The part of the calls that write; the others watch."""


class Watch(Workload):
    """Writes `plan.keys` registers, every value new, and watches them: every process goes on from the last revision that it was
    told of a key. In the end everyone is told everything. One worker of each home only watches.

    A watch is a `read` of `(since, changes)`, each change a `(revision, value)`.
    """

    name: ClassVar[str] = "watch"
    summary: ClassVar[str] = "writes of registers and watchers of them: whether every change is told once, in its order"
    needs: ClassVar[frozenset[Capability]] = frozenset({"watches"})
    grows: ClassVar[bool] = True

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._written = 0
        self._told: dict[tuple[int, Key], int] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        wanted = kind or ("write" if rng.random() < WRITES else "read")
        if wanted == "read" or self.reader(process):
            return Invocation("read", key, (self._told.get((process, key), 0), ()), "read")
        self._written += 1
        return Invocation("write", key, self._written, "write")

    def observe(self, operation: Operation) -> None:
        if operation.f == "read" and operation.outcome == "ok" and (changes := operation.value[1]):
            self._told[operation.process, operation.key] = max(revision for revision, _ in changes)

    async def invoke(self, client: Watches, invocation: Invocation) -> Any:
        if invocation.f == "read":
            since = invocation.value[0]
            return since, tuple((revision, value) for revision, value in await client.watch(invocation.key, since))
        await client.write(invocation.key, invocation.value)
        return invocation.value

    def final(self) -> Sequence[Invocation]:
        return [Invocation("read", key, (0, ()), "read") for key in range(self.plan.keys)]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def holds(self, value: Any) -> bool:
        return bool(value[1])

    def checkers(self) -> tuple[Checker, ...]:
        return (WatchChecker(),)
