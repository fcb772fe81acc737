"""Transactions of several reads and writes, of lists that are appended to and of registers."""

from __future__ import annotations

import random
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

from splitbrain.checkers.transactions import Transactions as TransactionsChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key, Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Transactions
from splitbrain.harness.plan import Plan
from splitbrain.workloads.places import Places
from splitbrain.workloads.workload import Invocation, Workload

GROWING = 6
"""Keys that transactions meet on at a time: few, so that they hinder each other."""

FULL = 48
"""Writes to a key before a new one takes its place, so that lists stay short."""

LONGEST = 4
"""The most micro-operations of a transaction."""


class TransactionWorkload(Workload):
    """Transactions of up to `LONGEST` micro-operations on `GROWING` keys at a time. Every written value is new, so that a read
    names its write. A third of the transactions only read; one worker of each home does nothing else."""

    needs: ClassVar[frozenset[Capability]] = frozenset({"transactions"})
    grows: ClassVar[bool] = True

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._written = 0
        self._keys = Places(GROWING, FULL)

    @abstractmethod
    def write(self, key: Key, value: int) -> Micro:
        """The micro-operation that writes."""

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        length = rng.randint(1, LONGEST)
        wanted = kind or ("read" if rng.random() < 1 / 3 else "write")
        if wanted == "read" or self.reader(process):
            reads = tuple(("r", rng.choice(self._keys.current), None) for _ in range(max(2, length)))
            return Invocation("txn", None, reads, "read")
        written = rng.randrange(length)
        micros = tuple(
            self._new(rng) if at == written or rng.random() < 0.5 else ("r", rng.choice(self._keys.current), None)
            for at in range(length)
        )
        return Invocation("txn", None, micros, "write")

    def _new(self, rng: random.Random) -> Micro:
        key = self._keys.open(rng.randrange(GROWING))
        self._keys.add_to(key)
        self._written += 1
        return self.write(key, self._written)

    async def invoke(self, client: Transactions, invocation: Invocation) -> Any:
        return await client.txn(invocation.value)

    def final(self) -> Sequence[Invocation]:
        keys = range(len(self._keys))
        return [Invocation("txn", None, (("r", key, None),), "read") for key in keys]

    def local(self) -> Sequence[Invocation]:
        return [Invocation("txn", key, (("r", key, None),), "read") for key in range(len(self._keys))]

    def holds(self, value: Any) -> bool:
        return any(read not in (None, [], ()) for _, _, read in value)

    def checkers(self) -> tuple[Checker, ...]:
        return (TransactionsChecker(),)


class Append(TransactionWorkload):
    """Transactions that append to lists and read them."""

    name: ClassVar[str] = "append"
    summary: ClassVar[str] = "transactions that append to lists and read them, judged against every isolation level"

    def write(self, key: Key, value: int) -> Micro:
        return "append", key, value


class Wr(TransactionWorkload):
    """Transactions that write registers and read them."""

    name: ClassVar[str] = "wr"
    summary: ClassVar[str] = "transactions that write registers and read them, judged against every isolation level"

    def write(self, key: Key, value: int) -> Micro:
        return "w", key, value
