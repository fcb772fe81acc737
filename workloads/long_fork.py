"""Writes of single registers, each once, and reads of several at one moment."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from splitbrain.checkers.structures.long_fork import LongForkChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Transactions
from splitbrain.harness.plan import Plan
from splitbrain.workloads.workload import Invocation, Workload

GROUP = 3
"""Registers that are read together."""

OPEN = 4
"""Groups that are written at a time."""

READS = 2 / 3
"""The part of the calls that read: every group is read many times while its writes come in."""


class LongFork(Workload):
    """Transactions that write one register, and transactions that read a whole group of `GROUP` registers. Every register is
    written once, so that what two reads of a group saw can be compared: one of them saw all that the other saw, or the writes
    were seen in two orders. One worker of each home only reads."""

    name: ClassVar[str] = "long-fork"
    summary: ClassVar[str] = "single writes and reads of groups: whether two readers see writes in different orders"
    needs: ClassVar[frozenset[Capability]] = frozenset({"transactions"})
    grows: ClassVar[bool] = True

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._groups = 0
        self._left: list[list[int]] = [self._group() for _ in range(OPEN)]

    def _group(self) -> list[int]:
        first = GROUP * self._groups
        self._groups += 1
        return list(range(first, first + GROUP))

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        at = rng.randrange(OPEN)
        wanted = kind or ("read" if rng.random() < READS else "write")
        if wanted == "read" or self.reader(process):
            # The groups that are written, and those that were just filled.
            return self._read(rng.choice([*(group[0] // GROUP for group in self._left), max(0, self._groups - OPEN - 1)]))
        key = self._left[at].pop(rng.randrange(len(self._left[at])))
        if not self._left[at]:
            self._left[at] = self._group()
        return Invocation("txn", None, (("w", key, key + 1),), "write")

    def _read(self, group: int) -> Invocation:
        return Invocation("txn", None, tuple(("r", GROUP * group + at, None) for at in range(GROUP)), "read")

    async def invoke(self, client: Transactions, invocation: Invocation) -> Any:
        return await client.txn(invocation.value)

    def final(self) -> Sequence[Invocation]:
        return [self._read(group) for group in range(self._groups)]

    def local(self) -> Sequence[Invocation]:
        return [Invocation("txn", key, (("r", key, None),), "read") for key in range(GROUP * self._groups)]

    def holds(self, value: Any) -> bool:
        return any(read not in (None, [], ()) for _, _, read in value)

    def checkers(self) -> tuple[Checker, ...]:
        return (LongForkChecker(),)
