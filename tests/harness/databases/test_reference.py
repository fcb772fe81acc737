"""The reference database's client against its real server: what every mode must do while nothing is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.databases.reference.database import Reference, mode
from splitbrain.harness.databases.reference.server.command import MODES
from splitbrain.harness.errors import Mismatch, Refused, SetupError
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Node
from tests.harness.databases.loopback import running


@pytest.mark.parametrize("variant", [variant.name for variant in Reference.variants if "sets" in variant.offers])
async def test_registers_and_sets(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        nodes = list(database.nodes.values())
        named = {await database.primary(node) for node in nodes}
        assert len(named) == 1
        primary = named.pop()
        assert (primary is None) == (database.variant.writes == "home")
        assert list(await database.versions()) == ["n1", "n2", "n3"]

        client = await database.connect(database.nodes[primary or "n1"])
        assert await client.read(1) is None
        if "compare-and-set" in database.variant.offers:
            await client.cas(1, None, 5)
            for expected in (None, 4):
                with pytest.raises(Mismatch) as mismatch:
                    await client.cas(1, expected, 6)
                assert mismatch.value.seen == (5,)
            await client.cas(1, 5, 6)
            assert await client.read(1) == 6
        else:
            with pytest.raises(Refused):
                await client.cas(1, None, 5)
        await client.write(1, -7)
        assert await client.read(1) == -7
        assert await client.elements("a") == []
        for element in (3, 11, 2):
            await client.add("a", element)
        assert sorted(await client.elements("a")) == [2, 3, 11]
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [-7, -7, -7]:
                await client.read(1)  # where reads write back, they repair
                await client.write(1, -7)  # where nobody repairs, a copy that missed the first one has another chance
                await asyncio.sleep(0.02)
        await client.close()


async def everywhere(database: Reference, what: Callable[[Any], Awaitable[Any]], value: object) -> None:
    """Wait until every node's own copy tells that."""
    async with asyncio.timeout(60):
        while [await what(await database.local(node)) for node in database.nodes.values()] != [value] * len(database.nodes):
            await asyncio.sleep(0.05)


async def test_counters(tmp_path: Path) -> None:
    async with running(Reference, "counter-crdt", tmp_path, count=3) as database:
        await database.attach()
        other = Reference(Plan(database="reference", variant="majority", nodes=3), list(database.nodes.values()))
        with pytest.raises(SetupError, match="the variant 'majority' needs --name=n1 --mode=majority"):
            await other.attach()
        await other.close()
        for name, amount in (("n1", 2), ("n3", 3)):
            await (await database.connect(database.nodes[name])).increment(1, amount)
        await everywhere(database, lambda client: client.count(1), 5)


@pytest.mark.parametrize("variant", ["two-phase", "ap-ledger"])
async def test_accounts(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        client = await database.connect(database.nodes["n2"])
        await client.deposit(1, 10)
        await client.transfer(1, 2, 4)
        with pytest.raises(Mismatch) as mismatch:
            await client.transfer(1, 2, 7)
        assert mismatch.value.seen == (6,)
        assert await client.balances([2, 1, 3]) == {2: 4, 1: 6, 3: 0}
        await everywhere(database, lambda client: client.balances([1, 2]), {1: 6, 2: 4})


@pytest.mark.parametrize("variant", [variant.name for variant in Reference.variants if "transactions" in variant.offers])
async def test_transactions(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        primary = await database.primary(database.nodes["n1"])
        assert primary is not None
        client = await database.connect(database.nodes[primary])
        async with asyncio.timeout(60):
            while True:
                with suppress(Mismatch):  # One in twenty is rolled back, where that is planted.
                    done = await client.txn([("r", 1, None), ("append", 1, 5), ("append", 1, 6), ("r", 1, None), ("w", 2, 7)])
                    break
        assert done == (("r", 1, None), ("append", 1, 5), ("append", 1, 6), ("r", 1, [5, 6]), ("w", 2, 7))
        await everywhere(database, lambda client: client.txn([("r", 1, None), ("r", 2, None)]), (("r", 1, [5, 6]), ("r", 2, 7)))
        other = await database.connect(next(node for name, node in database.nodes.items() if name != primary))
        with pytest.raises(Refused, match="not-primary"):
            await other.txn([("r", 1, None)])


async def test_views_may_be_asked_for_side_by_side(tmp_path: Path) -> None:
    async with running(Reference, "lww", tmp_path, count=2) as database:
        node = database.nodes["n1"]

        async def read(node: Node) -> int | None:
            return await (await database.local(node)).read(1)

        answers = await asyncio.gather(
            *(database.primary(node) for _ in range(20)), *(read(node) for _ in range(20))
        )
        assert answers == [None] * 40


async def test_a_dead_server_is_a_refusal(tmp_path: Path) -> None:
    async with running(Reference, "lww", tmp_path, count=2) as database:
        node = database.nodes["n1"]
        await node.stop("reference", kill=True)
        assert await database.primary(node) is None
        with pytest.raises(Refused):
            await (await database.local(node)).read(1)
        with pytest.raises(Refused):
            await database.connect(node)
        assert not await database.ready()


def test_the_claim_is_what_the_server_says_of_its_mode() -> None:
    for variant in Reference.variants:
        said = " ".join((MODES[mode(variant.name)].__doc__ or "").split())
        assert variant.claim.text.strip('"') in said


STORES = [variant.name for variant in Reference.variants if "queues" in variant.offers]


@pytest.mark.parametrize("variant", STORES)
async def test_queues_locks_identifiers_and_watches(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        primary = await database.primary(database.nodes["n1"])
        assert primary is not None
        client = await database.connect(database.nodes[primary])
        assert await client.dequeue(1) is None
        for element in (3, 1, 2):
            await client.enqueue(1, element)
        assert await client.dequeue(1) == 3
        assert await client.waiting(1) == [1, 2]
        await everywhere(database, lambda client: client.waiting(1), [1, 2])

        assert [await client.next_id(1), await client.next_id(1), await client.next_id(2)] == [1, 2, 1]

        await client.write(5, 7)
        await client.write(5, 8)
        first, second = await client.watch(5, 0)
        assert (first[1], second[1]) == (7, 8) and first[0] < second[0]
        assert await client.watch(5, first[0]) == [second]
        assert await client.watch(5, second[0]) == []
        await everywhere(database, lambda client: client.watch(5, 0), [first, second])


@pytest.mark.parametrize("variant", STORES)
async def test_a_lock_is_free_after_its_lease_and_its_fence_keeps_the_last_holder_out(tmp_path: Path, variant: str) -> None:
    async with running(Reference, variant, tmp_path, count=3) as database:
        primary = await database.primary(database.nodes["n1"])
        assert primary is not None
        client = await database.connect(database.nodes[primary])
        fence = await client.acquire(1, 10, 60)
        with pytest.raises(Mismatch) as mismatch:
            await client.acquire(1, 11, 5)
        assert mismatch.value.seen == (10,) and await client.holder(1) == 10
        await client.renew(1, 10, 0.3)
        async with asyncio.timeout(60):
            while await client.holder(1) is not None:
                await asyncio.sleep(0.05)
        later = await client.acquire(1, 11, 60)
        assert later > fence
        for call in (client.renew(1, 10, 60), client.release(1, 10), client.guarded_write(1, 5, fence)):
            with pytest.raises(Mismatch):
                await call
        await client.guarded_write(1, 6, later)
        assert await client.read(1) == 6
        await client.release(1, 11)
        assert await client.holder(1) is None
        await client.guarded_write(1, 7, later)
