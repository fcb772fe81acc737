"""`txn-...`: transactions at a dial of isolation levels, each also with a planted fault."""

from __future__ import annotations

import asyncio
import random
from abc import abstractmethod
from collections.abc import Iterable
from typing import Any

from ..node import Server
from ..primary import Store
from ..wire import Failure, Key, Message, Micro, unsupported
from .fenced_primary import FencedPrimary

Content = int | str | list[Any] | None


class Versions(Store):
    """What each key held after each commit: a value, or a list that is appended to."""

    KEPT = 128
    """The most versions of a key; what reads an older one is refused."""

    def __init__(self) -> None:
        super().__init__()
        self.commits = 0
        self._versions: dict[Key, list[tuple[int, Content]]] = {}

    def apply(self, change: list[Any]) -> Message:
        self.commits += 1
        for micro in change[1]:
            versions = self._versions.setdefault(micro[1], [(0, None)])
            versions.append((self.commits, written(versions[-1][1], micro)))
            if len(versions) > self.KEPT:
                del versions[: self.KEPT // 2]
        return {"ok": True}

    def latest(self, key: Key) -> Content:
        """What the last commit left."""
        return self._versions[key][-1][1] if key in self._versions else None

    def at(self, key: Key, commits: int) -> Content:
        """What the key held after so many commits. Raises `Failure` where that is forgotten."""
        for number, content in reversed(self._versions.get(key, [(0, None)])):
            if number <= commits:
                return content
        raise conflict()


def written(content: Content, micro: Micro) -> Content:
    """What a write or an append makes of what was there."""
    if micro[0] == "w":
        value: Content = micro[2]
        return value
    return [*(content if isinstance(content, list) else []), micro[2]]


def conflict() -> Failure:
    """Rolled back."""
    return Failure("conflict", definite=True)


class Transaction:
    """One in the making: how many commits it began after, and what it has written so far."""

    def __init__(self, began: int) -> None:
        self.began = began
        self.read: dict[Key, Content] = {}
        """What was there when it first read a key."""
        self.writes: list[Micro] = []
        self.locks: list[asyncio.Lock] = []

    def sees(self, key: Key, content: Content) -> Content:
        """What it reads where `content` was there before its own writes."""
        for micro in self.writes:
            if micro[1] == key:
                content = written(content, micro)
        return content


class Transactional(FencedPrimary):
    """Transactions at a `fenced-primary`, which logs the writes of each as one change: so what one commit is comes after what
    another was, on every later primary too. A transaction is done a micro-operation at a time with pauses between, so that
    transactions overlap; the subclasses say what a read sees and what may commit.
    """

    PAUSE = 0.003

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self.store = self.versions = Versions()
        self.last: dict[Key, int] = {}
        """The number of the last commit of each key that was put into the log here."""
        self._logged = 0

    @abstractmethod
    def see(self, transaction: Transaction, key: Key) -> Content:
        """What a read sees, before the transaction's own writes. Raises `Failure`."""

    @abstractmethod
    def check(self, transaction: Transaction) -> list[Micro]:
        """What is written if the transaction commits now. Raises `Failure` where it must not."""

    async def lock(self, transaction: Transaction, key: Key) -> None:
        """Before a write."""

    def lead(self, generation: int) -> None:
        self.last.clear()
        self._logged = 0
        for _, change in self.log:
            if change:
                self._count(change[1])
        super().lead(generation)

    def append(self, change: list[Any]) -> None:
        super().append(change)
        if change:
            self._count(change[1])

    def _count(self, writes: list[Micro]) -> None:
        self._logged += 1
        for micro in writes:
            self.last[micro[1]] = self._logged

    def changed(self, transaction: Transaction, keys: Iterable[Key]) -> bool:
        """Whether any of these has a commit that the transaction began before."""
        return any(self.last.get(key, 0) > transaction.began for key in keys)

    async def transact(self, micros: list[Micro]) -> list[Micro]:
        self.admit()
        generation = self.generation
        transaction = Transaction(self.versions.commits)
        done: list[Micro] = []
        try:
            for f, key, value in micros:
                await asyncio.sleep(random.uniform(0, self.PAUSE))
                if f == "r":
                    content = self.see(transaction, key)
                    transaction.read.setdefault(key, content)
                    done.append([f, key, transaction.sees(key, content)])
                else:
                    await self.lock(transaction, key)
                    transaction.writes.append([f, key, value])
                    done.append([f, key, value])
            self.admit()
            if self.generation != generation:
                raise conflict()
            if transaction.writes:
                await self.change(["commit", self.check(transaction)])
            return done
        finally:
            self.end(transaction)

    def end(self, transaction: Transaction) -> None:
        """It was committed or rolled back."""
        for lock in transaction.locks:
            lock.release()

    def local_transact(self, micros: list[Micro]) -> list[Micro]:
        return [[f, key, self.versions.latest(key)] for f, key, _ in micros]

    async def operate(self, request: Message) -> Message:
        if request["op"] in ("txn", "local-txn"):
            return await super().operate(request)
        raise unsupported()


class ReadCommitted(Transactional):
    """`txn-read-committed`: a read sees the last commit; whoever writes a key first keeps others from writing it until it has
    committed, and gives up where it waits too long.

    Known answer: read committed; lost updates, read skew and write skew; a side without a majority is blocked.
    """

    name = "txn-read-committed"
    PATIENCE_WITH_LOCK = 0.1

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._locks: dict[Key, asyncio.Lock] = {}

    def see(self, transaction: Transaction, key: Key) -> Content:
        return self.versions.latest(key)

    def check(self, transaction: Transaction) -> list[Micro]:
        return transaction.writes

    async def lock(self, transaction: Transaction, key: Key) -> None:
        lock = self._locks.setdefault(key, asyncio.Lock())
        if lock in transaction.locks:
            return
        try:
            async with asyncio.timeout(self.PATIENCE_WITH_LOCK):
                await lock.acquire()
        except TimeoutError as error:
            raise conflict() from error
        transaction.locks.append(lock)


class ReadCommittedDirty(ReadCommitted):
    """`txn-read-committed-dirty`: `txn-read-committed` with a planted fault: one transaction in twenty that writes is rolled
    back, and what it wrote is seen by others until then.

    Known answer: aborted reads.
    """

    name = "txn-read-committed-dirty"
    ROLLED_BACK = 0.05

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._doomed: list[Transaction] = []

    def see(self, transaction: Transaction, key: Key) -> Content:
        content = super().see(transaction, key)
        for doomed in self._doomed:
            if doomed is not transaction:
                content = doomed.sees(key, content)
        return content

    async def lock(self, transaction: Transaction, key: Key) -> None:
        await super().lock(transaction, key)
        if not transaction.writes and random.random() < self.ROLLED_BACK:
            self._doomed.append(transaction)

    def check(self, transaction: Transaction) -> list[Micro]:
        if transaction in self._doomed:
            raise conflict()
        return super().check(transaction)

    def end(self, transaction: Transaction) -> None:
        super().end(transaction)
        if transaction in self._doomed:
            self._doomed.remove(transaction)


class Snapshot(Transactional):
    """`txn-snapshot`: reads see what was committed when the transaction began; of two that overlap and write the same key, the
    first to commit wins (Berenson et al. 1995).

    Known answer: snapshot isolation; write skew; a side without a majority is blocked.
    """

    name = "txn-snapshot"

    def see(self, transaction: Transaction, key: Key) -> Content:
        return self.versions.at(key, transaction.began)

    def check(self, transaction: Transaction) -> list[Micro]:
        if self.changed(transaction, {micro[1] for micro in transaction.writes}):
            raise conflict()
        return transaction.writes


class SnapshotReadSkew(Snapshot):
    """`txn-snapshot-read-skew`: `txn-snapshot` with a planted fault: keys that a transaction reads after another one it sees as
    the first commit since it began left them, where that is there by then.

    Known answer: read skew (G-single), and nothing else that snapshot isolation forbids. What a transaction sees half of is the
    next commit after its snapshot, so that whoever saw what it missed began later.
    """

    name = "txn-snapshot-read-skew"

    def see(self, transaction: Transaction, key: Key) -> Content:
        if key in transaction.read:
            return transaction.read[key]
        return self.versions.at(key, transaction.began + bool(transaction.read))


class SnapshotLostUpdate(Snapshot):
    """`txn-snapshot-lost-update`: `txn-snapshot` with a planted fault: the last to commit wins, with what it made of
    what it saw.

    Known answer: lost updates, of lists too.
    """

    name = "txn-snapshot-lost-update"

    def check(self, transaction: Transaction) -> list[Micro]:
        keys = dict.fromkeys(micro[1] for micro in transaction.writes)
        return [["w", key, transaction.sees(key, self.see(transaction, key))] for key in keys]


class Serializable(Snapshot):
    """`txn-serializable`: `txn-snapshot` whose writers commit only if nothing that they read has changed either, as if all
    of it happened when they commit (Kung & Robinson 1981). Transactions that only read happen when they begin.

    Known answer: strictly serializable; a side without a majority is blocked.
    """

    name = "txn-serializable"

    def check(self, transaction: Transaction) -> list[Micro]:
        if self.changed(transaction, transaction.read):
            raise conflict()
        return super().check(transaction)


class SerializableWriteSkew(Serializable):
    """`txn-serializable-write-skew`: `txn-serializable` with a planted fault: of one transaction in four the reads are not
    checked.

    Known answer: write skew (G2-item), and nothing that snapshot isolation forbids.
    """

    name = "txn-serializable-write-skew"
    UNCHECKED = 0.25

    def check(self, transaction: Transaction) -> list[Micro]:
        if random.random() < self.UNCHECKED:
            transaction.read.clear()
        return super().check(transaction)
