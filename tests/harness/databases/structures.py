"""What every client of a capability owes, tried on real servers: the same small story for each database that has it.

Every function takes clients of one database, all of which take every call."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from typing import Any

import msgspec
import pytest

from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import Indeterminate, Mismatch
from splitbrain.harness.history.operation import Operation


async def what_was_written_is_seen_and_removed(database: Database, client: Any) -> None:
    """By every workload that its clients can do: before its first call nothing is held, by then something, and nothing again
    once it is removed. Watches are left out, which tell all that ever was."""
    done = set()
    for name in registry.names("workloads"):
        kind = registry.look_up("workloads", name)
        if not kind.needs <= database.variant.offers - {"watches"}:
            continue
        plan = msgspec.structs.replace(database.plan, workload=name, keys=3, concurrency=1)
        workload = kind(plan, database.variant.offers)

        async def held(workload: Any = workload) -> bool:
            return any([workload.holds(await workload.invoke(client, call)) for call in workload.local()])

        assert not await held() and not await database.found(workload.needs), name
        seen, rng = False, random.Random(7)
        await workload.set_up(client)
        for turn in range(60):
            call = workload.next(rng, 0, "write" if turn % 2 else None)
            with contextlib.suppress(Mismatch):
                value = await workload.invoke(client, call)
                workload.observe(Operation(process=0, f=call.f, key=call.key, value=value, invoked=turn, node="n1"))
            seen = seen or await held()
        assert seen or not workload.local(), name
        assert await database.found(workload.needs), name
        assert await database.remove(workload.needs, workload.written())
        assert not await held() and not await database.found(workload.needs), name
        done.add(name)
    assert {"register"} < done


async def transactions_are_right(one: Any, other: Any) -> None:
    """Reads see what was written before them, in the same transaction too."""
    assert await one.txn([("r", 1, None), ("append", 1, 7), ("r", 1, None)]) == (
        ("r", 1, None), ("append", 1, 7), ("r", 1, [7]),
    )
    told = await other.txn([("append", 2, 8), ("append", 1, 9), ("append", 1, 10), ("r", 1, None), ("r", 2, None)])
    assert told[3:] == (("r", 1, [7, 9, 10]), ("r", 2, [8]))
    assert await one.txn([("r", 2, None), ("r", 1, None), ("r", 3, None)]) == (
        ("r", 2, [8]), ("r", 1, [7, 9, 10]), ("r", 3, None),
    )
    assert await other.txn([("w", 4, 5), ("r", 4, None), ("w", 4, 6)]) == (("w", 4, 5), ("r", 4, 5), ("w", 4, 6))
    assert await one.txn([("r", 4, None), ("w", 5, 7)]) == (("r", 4, 6), ("w", 5, 7))


async def transactions_that_meet_lose_nothing(reader: Any, *writers: Any) -> None:
    """Of transactions at once on one list each is there, or was rolled back, or is not known; the writers may be of no use
    afterwards."""
    done: set[int] = set()
    unknown: set[int] = set()

    async def append(client: Any, elements: range) -> None:
        for element in elements:
            try:
                await client.txn([("r", 9, None), ("append", 9, element)])
            except Mismatch:
                continue
            except Indeterminate:
                unknown.add(element)
                return
            done.add(element)

    await asyncio.gather(*(append(client, range(10 * at, 10 * at + 10)) for at, client in enumerate(writers)))
    elements = (await reader.txn([("r", 9, None)]))[0][2]
    assert done and done <= set(elements) <= done | unknown and len(set(elements)) == len(elements)


async def accounts_are_right(one: Any, other: Any) -> None:
    """Money moves, and none moves that is not there."""
    assert await one.balances([1, 2]) == {1: 0, 2: 0}
    await one.deposit(1, 70)
    await one.deposit(2, 30)
    await other.transfer(1, 2, 25)
    with pytest.raises(Mismatch) as mismatch:
        await other.transfer(1, 2, 46)
    assert mismatch.value.seen == (45,)
    await one.transfer(1, 3, 45)
    assert await other.balances([1, 2, 3]) == {1: 0, 2: 55, 3: 45}


async def counters_are_right(one: Any, other: Any) -> None:
    """Each counts for itself."""
    assert await one.count(1) == 0
    await one.increment(1, 2)
    await other.increment(1, 5)
    await other.increment(2, 1)
    assert [await client.count(key) for client in (one, other) for key in (1, 2)] == [7, 1, 7, 1]


async def queues_are_right(one: Any, other: Any) -> None:
    """First in, first out, and out once."""
    assert await one.waiting(1) == [] and await one.dequeue(1) is None
    for element in (5, 12, 3):
        await one.enqueue(1, element)
    await other.enqueue(2, 4)
    assert await other.waiting(1) == [5, 12, 3]
    assert await other.dequeue(1) == 5
    assert await one.dequeue(1) == 12
    await one.enqueue(1, 6)
    assert await one.waiting(1) == [3, 6]
    assert [await other.dequeue(1), await other.dequeue(1), await other.dequeue(1)] == [3, 6, None]


async def ids_are_right(one: Any, other: Any) -> None:
    """No identifier twice."""
    given = [await client.next_id(1) for _ in range(5) for client in (one, other)]
    assert len(set(given)) == 10


async def locks_are_right(one: Any, other: Any, *, lease: float) -> None:
    """One holder at a time, until it gives the lock back, or its lease ends unrenewed."""
    first = await one.acquire(1, 7, 60)
    with pytest.raises(Mismatch):
        await other.acquire(1, 8, 60)
    assert await other.holder(1) == 7 and await other.holder(2) is None
    with pytest.raises(Mismatch):
        await other.release(1, 8)
    with pytest.raises(Mismatch):
        await other.renew(1, 8, 60)
    await one.release(1, 7)
    assert await one.holder(1) is None
    second, outlived = await _outlives_its_lease(one, other, lease)
    while not outlived:
        assert lease < 20, "the machine is too slow to renew a lease of 20 s"
        lease *= 2
        second, outlived = await _outlives_its_lease(one, other, lease)
    async with asyncio.timeout(60 + 10 * lease):
        while await one.holder(1) is not None:
            await asyncio.sleep(lease / 10)
    with pytest.raises(Mismatch):
        await other.renew(1, 8, lease)
    third = await one.acquire(1, 7, 60)
    assert first is None or first < second < third


async def _outlives_its_lease(one: Any, other: Any, lease: float) -> tuple[Any, bool]:
    """A lock's fence, and whether it is held for longer than its lease while it is renewed. False where it was free, and the
    machine took so long to renew it that it may have been."""
    began = renewed = time.monotonic()
    fence = await other.acquire(1, 8, lease)
    while time.monotonic() - began < 1.5 * lease:
        asked = time.monotonic()
        try:
            await other.renew(1, 8, lease)
            holder = await one.holder(1)
        except Mismatch:
            holder = None
        if holder != 8:
            assert holder is None and time.monotonic() - renewed > lease
            return fence, False
        renewed = asked
        await asyncio.sleep(lease / 10)
    return fence, True


async def fences_are_right(one: Any, other: Any) -> None:
    """What a lock guards is written by its holder alone."""
    fence = await one.acquire(5, 7, 60)
    await one.guarded_write(5, 50, fence)
    assert await other.read(5) == 50
    await one.release(5, 7)
    later = await other.acquire(5, 8, 60)
    await other.guarded_write(5, 51, later)
    with pytest.raises(Mismatch):
        await one.guarded_write(5, 52, fence)
    assert await one.read(5) == 51


async def watches_are_right(one: Any, other: Any) -> None:
    """Every change once, in its order, from where one asks."""
    assert await one.watch(8, 0) == []
    for value in (5, 6, 6, 7):
        await other.write(8, value)
        await other.write(9, value)
    changes = await one.watch(8, 0)
    revisions = [revision for revision, _ in changes]
    assert [value for _, value in changes] == [5, 6, 6, 7] and revisions == sorted(set(revisions))
    assert await other.watch(8, revisions[1]) == changes[2:]
    assert await other.watch(8, revisions[3]) == []
    told, _ = await asyncio.gather(one.watch(8, revisions[3]), other.write(8, 9))
    assert [value for _, value in told] == [9]
