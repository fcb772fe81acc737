"""`two-phase`: a bank whose transfers lock accounts at a majority, in two phases."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine
from itertools import count
from typing import Any
from zlib import crc32

from ..node import Server
from ..wire import PATIENCE, Failure, Key, Message, no_quorum, unsupported
from .majority import Majority

Account = list[Any]
"""The balance, and null or a lock: the name of the transaction that holds it and the balance that it will leave."""


class TwoPhase(Majority):
    """`two-phase`: two-phase locking and two-phase commit over registers that a majority keeps (Gray & Lamport 2006; with
    the layout of Percolator, Peng & Dabek 2010).

    Every account is a register of `majority`, changed by CAS alone, and so is the outcome of every transaction. A transaction
    locks its accounts (first phase), then sets its outcome from nothing to `commit`, which is the moment at which it happens,
    then puts the new balances in the place of the locks (second phase). Who finds a lock that stays where it is, because
    its coordinator died or was cut off, sets the outcome to `abort` if it is still open, and does the second phase in its
    place: so a majority does not wait for the minority. Reading balances locks them too: they are those of one moment.

    Transactions of nodes that reach each other go to one of them, which makes those that share an account wait for each other;
    that is a matter of speed, every node may coordinate.

    Known answer: the total is conserved and nothing is overdrawn; a side without a majority is blocked.
    """

    name = "two-phase"
    PATIENCE_WITH_LOCK = 0.15

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._transactions = count(time.time_ns())
        self._turns: dict[Key, asyncio.Lock] = {}
        """Keep the transactions that this node coordinates from hindering each other; nothing rests on them."""

    async def deposit(self, key: Key, amount: int) -> None:
        await self._under_locks([key], lambda balances: [balances[0] + amount])

    async def transfer(self, source: Key, target: Key, amount: int) -> tuple[bool, int]:
        def move(balances: list[int]) -> list[int] | None:
            if source == target:
                return balances if balances[0] >= amount else None
            return [balances[0] - amount, balances[1] + amount] if balances[0] >= amount else None

        before = await self._under_locks([source] if source == target else [source, target], move)
        return before[0] >= amount, before[0]

    async def balances(self, keys: list[Key]) -> list[int]:
        distinct = list(dict.fromkeys(keys))
        found = dict(zip(distinct, await self._under_locks(distinct, lambda balances: balances), strict=True))
        return [found[key] for key in keys]

    def local_balances(self, keys: list[Key]) -> list[int]:
        copies: list[Any] = [self.local_read(_account(key)) for key in keys]
        return [copy[0] if copy else 0 for copy in copies]

    async def _under_locks(self, keys: list[Key], change: Callable[[list[int]], list[int] | None]) -> list[int]:
        """Lock accounts, change them (None: leave them), unlock them; what they held. Raises `Failure`, definite where no
        outcome can have been set."""
        deadline = self.server.now() + 2 * PATIENCE
        turns: list[asyncio.Lock] = []
        try:
            async with asyncio.timeout(PATIENCE):
                for key in sorted(keys, key=repr):
                    turn = self._turns.setdefault(key, asyncio.Lock())
                    await turn.acquire()
                    turns.append(turn)
            while self.server.now() < deadline:
                before, second = await self._attempt(keys, change)
                if before is not None:
                    self.server.spawn(self._finish(second, turns))
                    turns = []
                    return before
                await second
                await asyncio.sleep(random.uniform(0.005, 0.05))
        except TimeoutError:
            pass  # Waiting for a turn: nothing has begun.
        finally:
            for turn in turns:
                turn.release()
        raise Failure("locked", definite=True)

    async def _finish(self, second: Coroutine[Any, Any, None], turns: list[asyncio.Lock]) -> None:
        await second
        for turn in turns:
            turn.release()

    async def _attempt(
        self, keys: list[Key], change: Callable[[list[int]], list[int] | None]
    ) -> tuple[list[int] | None, Coroutine[Any, Any, None]]:
        """One transaction up to its outcome: what the accounts held, None if it was not to be; and the second phase."""
        name = f"{self.server.name}/{next(self._transactions)}"
        accounts: list[Account] = await asyncio.gather(*(self._look(key) for key in keys))
        before = [account[0] for account in accounts]
        after = change(before)
        locks = [[balance, [name, then]] for balance, then in zip(before, after or before, strict=True)]
        outcomes = await asyncio.gather(
            *(self._swap(key, account, lock) for key, account, lock in zip(keys, accounts, locks, strict=True)),
            return_exceptions=True,
        )
        failed = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
        commits = not failed and all(outcome is True for outcome in outcomes)
        if commits:
            commits, _ = await self.cas(_outcome(name), None, "commit")
        second = self._second_phase(name, keys, locks, commits=commits)
        for failure in failed:
            self.server.spawn(second)
            if isinstance(failure, Failure):
                # Definite: nobody but this coordinator could have set the outcome to `commit`.
                raise Failure(failure.word, definite=True)
            raise failure
        return (before if commits else None), second

    async def _second_phase(self, name: str, keys: list[Key], locks: list[Account], *, commits: bool) -> None:
        try:
            if not commits:
                await self.cas(_outcome(name), None, "abort")
            await asyncio.gather(*(self._settle(key, lock) for key, lock in zip(keys, locks, strict=True)))
        except Failure:
            return  # Who needs these accounts next does it.

    async def _look(self, key: Key) -> Account:
        """An account that nobody has locked."""
        patience = self.server.now() + self.PATIENCE_WITH_LOCK
        before: Any = None
        while True:
            account: Any = await self.read(_account(key)) or [0, None]
            if account[1] is None:
                return list(account)
            if account == before and self.server.now() > patience:
                await self.cas(_outcome(account[1][0]), None, "abort")
                await self._settle(key, account)
            elif account != before:
                before, patience = account, self.server.now() + self.PATIENCE_WITH_LOCK
            await asyncio.sleep(random.uniform(0.002, 0.02))

    async def _settle(self, key: Key, account: Account) -> None:
        """Put what its transaction came to in the place of a lock."""
        balance, (name, then) = account
        outcome = await self.read(_outcome(name))
        await self._swap(key, account, [then if outcome == "commit" else balance, None])

    async def _swap(self, key: Key, old: Account, new: Account) -> bool:
        """Whether the account was as it was thought to be, and now is as it should be."""
        found: Any
        done, found = await self.cas(_account(key), old, new)  # type: ignore[arg-type]
        if not done and found is None and old == [0, None]:
            done, _ = await self.cas(_account(key), None, new)  # type: ignore[arg-type]
        return done

    async def operate(self, request: Message) -> Message:
        if request["op"] == "local-balances":
            return await super().operate(request)
        if request["op"] not in ("deposit", "transfer", "balances"):
            raise unsupported()
        server = self.server
        if not server.quorum():
            raise no_quorum()
        name = max([server.name, *(link.name for link in server.up())], key=lambda name: crc32(f"bank {name}".encode()))
        if name != server.name:
            replies: list[Message | None] = []

            def judge(peer: str, reply: Message | None) -> bool:
                replies.append(reply)
                return True

            await server.ask([server.links[name]], {"t": "bank", "request": request}, judge, server.now() + 3 * PATIENCE)
            if not replies or replies[0] is None:
                raise Failure("peer-lost" if replies else "timeout", definite=False)
            if "error" not in replies[0]:
                return {name: field for name, field in replies[0].items() if name != "r"}
            if replies[0]["error"] != "no-quorum" or not replies[0]["definite"]:
                raise Failure(replies[0]["error"], definite=replies[0]["definite"])
        return await super().operate(request)

    def peer(self, peer: str, message: Message) -> Message | None:
        return None if message["t"] == "bank" else super().peer(peer, message)

    async def taken_over(self, message: Message) -> Message:
        if message["t"] == "bank":
            return await super().operate(message["request"])
        return await super().taken_over(message)


def _account(key: Key) -> str:
    return f"account {key!r}"


def _outcome(transaction: str) -> str:
    return f"outcome {transaction}"
