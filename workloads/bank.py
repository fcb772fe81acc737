"""Transfers between accounts, and reads of all balances."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from splitbrain.checkers.structures.bank import BankChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Accounts
from splitbrain.workloads.workload import Invocation, Workload

ACCOUNTS = 8
DEPOSIT = 100
"""What every account holds in the beginning."""

MOST = 20
"""The most that is moved at once."""

TRANSFERS = 0.6
"""The part of the calls that move money; the others read all balances."""


class Bank(Workload):
    """Moves money between `ACCOUNTS` accounts, numbered from 0, which hold `DEPOSIT` each, and reads all balances at once. One
    worker of each home only reads."""

    name: ClassVar[str] = "bank"
    summary: ClassVar[str] = "transfers between accounts: the total must be conserved, and nothing overdrawn"
    needs: ClassVar[frozenset[Capability]] = frozenset({"accounts"})

    async def set_up(self, client: Accounts) -> None:
        for account in range(ACCOUNTS):
            await client.deposit(account, DEPOSIT)

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        source, target = rng.sample(range(ACCOUNTS), 2)
        amount = rng.randint(1, MOST)
        wanted = kind or ("write" if rng.random() < TRANSFERS else "read")
        if wanted == "read" or self.reader(process):
            return Invocation("read", None, None, "read")
        return Invocation("transfer", None, (source, target, amount), "write")

    async def invoke(self, client: Accounts, invocation: Invocation) -> Any:
        if invocation.f == "read":
            return list((await client.balances(range(ACCOUNTS))).values())
        await client.transfer(*invocation.value)
        return invocation.value

    def final(self) -> Sequence[Invocation]:
        return [Invocation("read", None, None, "read")]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def holds(self, value: Any) -> bool:
        return any(value)

    def written(self) -> Collection[Key]:
        return range(ACCOUNTS)

    def checkers(self) -> tuple[Checker, ...]:
        return (BankChecker(ACCOUNTS * DEPOSIT, DEPOSIT),)
