"""What a client can do: a connection of one worker to one server, and a protocol for each capability.

A variant names the capabilities that its clients have (`Variant.offers`), a workload those that it cannot do without
(`Workload.needs`); each is the protocol of the same name here. One class usually has several. A node-local client (see
`Database.local`) has the reading half of each.

A call is one request on one connection. It returns when the database acknowledged it; else it raises `Refused` (it certainly
did not happen), `Mismatch` (it was decided against, and the answer told what was seen) or `Indeterminate` (it may have
happened). A client that raised anything but `Refused` or `Mismatch` is closed and not used again. The worker bounds every
call in time and cancels it: cancellation closes the connection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from inspect import isfunction
from typing import Any, Protocol

from splitbrain.harness.history.micros import Micro
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.variant import Capability


class Client(Protocol):
    """A connection to one server. It never retries, redirects, discovers or fails over."""

    async def close(self) -> None:
        """Give the connection back; never raises, never waits for the server."""
        ...


class Registers(Client, Protocol):
    """`registers`: values by key, each replaced as a whole."""

    async def read(self, key: Key) -> int | None:
        """The value of a register, None where there is none."""
        ...

    async def write(self, key: Key, value: int) -> None:
        """Set a register."""
        ...


class CompareAndSet(Registers, Protocol):
    """`compare-and-set`: registers that can be set on a condition."""

    async def cas(self, key: Key, expected: int | None, new: int) -> None:
        """Set a register to `new` if it holds `expected` (None: nothing yet); else `Mismatch`, with what it held where the
        answer tells it."""
        ...


class Sets(Client, Protocol):
    """`sets`: sets by key, apart from the registers of the same keys."""

    async def add(self, key: Key, element: int) -> None:
        """Add an element to a set."""
        ...

    async def elements(self, key: Key) -> Sequence[int]:
        """The elements of a set, as the database returns them (duplicates and all)."""
        ...


class Queues(Client, Protocol):
    """`queues`: queues by key."""

    async def enqueue(self, key: Key, element: int) -> None:
        """Put an element at the end."""
        ...

    async def dequeue(self, key: Key) -> int | None:
        """Take the first element out; None where there is none. An element that was taken out and not told is lost, so a call
        that was not answered is indeterminate, as a write is."""
        ...

    async def waiting(self, key: Key) -> Sequence[int]:
        """The elements that wait, in their order, without taking any."""
        ...


class Counters(Client, Protocol):
    """`counters`: numbers by key that begin at 0 and are added to."""

    async def increment(self, key: Key, amount: int) -> None:
        """Add to a counter."""
        ...

    async def count(self, key: Key) -> int:
        """What a counter has come to."""
        ...


class Accounts(Client, Protocol):
    """`accounts`: balances by key that begin at 0, and money that moves between them."""

    async def deposit(self, key: Key, amount: int) -> None:
        """Put money into an account from outside."""
        ...

    async def transfer(self, source: Key, target: Key, amount: int) -> None:
        """Move money at one moment; `Mismatch` with the balance, where the source holds too little."""
        ...

    async def balances(self, keys: Sequence[Key]) -> Mapping[Key, int]:
        """What these accounts hold, all at one moment."""
        ...


class Locks(Client, Protocol):
    """`locks`: locks by key, held by an owner of the caller's choice, on lease: a lock whose owner was not heard of for that
    long is free for others. Nobody tells the owner."""

    async def acquire(self, key: Key, owner: int, lease: float) -> int | None:
        """Take a lock for `lease` seconds: its fence, a number that grows with every holder, None where the database has none.
        `Mismatch` where another holds it."""
        ...

    async def renew(self, key: Key, owner: int, lease: float) -> None:
        """Begin the lease anew. `Mismatch` where this owner does not hold the lock any more. It changes nothing that a client
        could be wrong about, so that one that was not answered may be forgotten, as a read is."""
        ...

    async def release(self, key: Key, owner: int) -> None:
        """Give a lock back. `Mismatch` where this owner does not hold it."""
        ...

    async def holder(self, key: Key) -> int | None:
        """The owner that holds a lock, None where nobody does."""
        ...


class Fences(Locks, Protocol):
    """`fences`: locks whose fence is never None, and registers that are guarded by it."""

    async def guarded_write(self, key: Key, value: int, fence: int) -> None:
        """Set the register that the lock of the same key guards. `Mismatch` where a greater fence is known there, by an earlier
        write or because another took the lock; it may also be where the lease is over. `read` reads the register."""
        ...

    async def read(self, key: Key) -> int | None:
        """The value of a register, None where there is none."""
        ...


class Ids(Client, Protocol):
    """`ids`: identifiers that are given once."""

    async def next_id(self, key: Key) -> int | str:
        """An identifier that nobody was given of this key."""
        ...


class Transactions(Client, Protocol):
    """`transactions`: several reads and writes at once, at the isolation level of the variant."""

    async def txn(self, micros: Sequence[Micro]) -> tuple[Micro, ...]:
        """Do these micro-operations, `("r", key, None)`, `("w", key, value)` or `("append", key, element)`, as one transaction;
        the same, with what reads returned (a list, where the key was appended to; None, where nothing was written). `Refused`
        where it was rolled back."""
        ...


QUIET = 0.2
"""Seconds that a watch waits for a change."""


class Watches(Client, Protocol):
    """`watches`: registers whose changes are told as they happen, each with its revision: a number that grows with every change
    of the key (not by one: other keys may have had the numbers between)."""

    async def write(self, key: Key, value: int) -> None:
        """Set a register."""
        ...

    async def watch(self, key: Key, since: int) -> Sequence[tuple[int, int]]:
        """The changes of a key after that revision (0: all there were), as (revision, value) in the order in which they are
        told. It waits up to `QUIET` for the first one where there is none yet, and tells none then."""
        ...


PROTOCOLS: Mapping[Capability, type] = {
    "registers": Registers, "compare-and-set": CompareAndSet, "sets": Sets, "queues": Queues, "counters": Counters,
    "accounts": Accounts, "locks": Locks, "fences": Fences, "ids": Ids, "transactions": Transactions, "watches": Watches,
}


def lacking(client: Any, offers: Iterable[Capability]) -> str:
    """What a client that is to have these capabilities has not; empty where it has all of it."""
    for capability in sorted(offers):
        for protocol in PROTOCOLS[capability].__mro__:
            for name, method in vars(protocol).items():
                if isfunction(method) and not name.startswith("_") and not callable(getattr(client, name, None)):
                    return f"its client has no {name}(), which the capability '{capability}' of Variant.offers needs"
    return ""
