"""MongoDB against real members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.databases.mongodb import MongoDB
from splitbrain.harness.databases.mongodb_transactions import MongoTransactions
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, SetupError
from tests.conftest import need
from tests.harness.databases.loopback import running
from tests.harness.databases.structures import (
    accounts_are_right,
    counters_are_right,
    fences_are_right,
    ids_are_right,
    locks_are_right,
    queues_are_right,
    transactions_are_right,
    transactions_that_meet_lose_nothing,
)


@asynccontextmanager
async def _mongodb(root: Path, variant: str = "majority", count: int = 3) -> AsyncIterator[MongoDB]:
    need("mongod")
    async with running(MongoDB, variant, root, count=count) as database:
        yield database


async def _primary(database: MongoDB) -> str:
    named = {await database.primary(node) for node in database.nodes.values()}
    name = named.pop()
    assert name is not None and not named
    return name


async def test_registers_sets_views_and_copies(tmp_path: Path) -> None:
    async with _mongodb(tmp_path, "linearizable") as database:
        nodes = list(database.nodes.values())
        name = await _primary(database)
        client = await database.connect(database.nodes[name])
        assert await client.read(1) is None
        await client.cas(1, None, 5)
        assert await client.read(1) == 5
        for expected, key, seen in ((4, 1, 5), (None, 1, 5), (4, 2, None)):
            with pytest.raises(Mismatch) as mismatch:
                await client.cas(key, expected, 6)
            assert mismatch.value.seen == (seen,)
            assert await client.read(key) == seen
        await client.cas(1, 5, 6)
        await client.write(1, -7)
        assert await client.read(1) == -7

        assert await client.elements("a") == []
        for element in (3, 11, 2, 3):
            await client.add("a", element)
        assert await client.elements("a") == [3, 11, 2, 3], "an element that was added twice is there twice"

        versions = await database.versions()
        assert list(versions) == ["n1", "n2", "n3"] and len(set(versions.values())) == 1
        assert [await database.detects_after(node) for node in nodes] == [database.detection(database.variant).seconds] * 3
        theirs = MongoDB(database.plan, nodes)
        with pytest.raises(SetupError, match="has a database 'splitbrain' already"):
            await theirs.attach()
        few = MongoDB(database.plan, nodes[:2])
        with pytest.raises(SetupError, match=rf"has 3 members, and these are none of the 2 nodes: {nodes[2].address}:27017\."):
            await few.attach()
        await few.close()
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [-7, -7, -7]:
                await asyncio.sleep(0.02)
        assert await (await database.local(nodes[2])).elements("a") == [3, 11, 2, 3]
        assert await (await database.local(nodes[2])).read("nothing") is None

        other = await database.connect(next(node for node in nodes if node.name != name))
        for call in (other.read(1), other.write(1, 8), other.add("a", 8), other.cas(1, -7, 8)):
            with pytest.raises(Refused) as refused:
                await call
            assert refused.value.reason == "not-primary"
        assert await client.read(1) == -7, "what was refused did not happen"

        assert await database.remove(frozenset({"registers"}), [])
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [None, None, None]:
                await asyncio.sleep(0.02)
        await theirs.attach()
        assert await theirs.ready() and {await theirs.primary(node) for node in nodes} == {name}
        await theirs.close()
        await client.close()
        await other.close()


async def test_transactions_counters_queues_ids_and_locks_within_a_document(tmp_path: Path) -> None:
    async with _mongodb(tmp_path, "linearizable", 1) as database:
        (node,) = database.nodes.values()
        one, other = await database.connect(node), await database.connect(node)
        await transactions_are_right(one, other)
        await transactions_that_meet_lose_nothing(one, one, other)
        await counters_are_right(one, other)
        await queues_are_right(one, other)
        await ids_are_right(one, other)
        await locks_are_right(one, other, lease=0.5)
        await fences_are_right(one, other)
        local: Any = await database.local(node)
        assert await local.txn([("r", 1, None)]) == (("r", 1, [7, 9, 10]),)
        await one.close()
        await other.close()


async def test_transactions_over_several_documents(tmp_path: Path) -> None:
    async with _mongodb(tmp_path, "transactions", 1) as database:
        (node,) = database.nodes.values()
        one, other = await database.connect(node), await database.connect(node)
        await transactions_are_right(one, other)
        await transactions_that_meet_lose_nothing(one, one, other)
        await accounts_are_right(one, other)
        local: Any = await database.local(node)
        assert await local.txn([("r", 1, None)]) == (("r", 1, [7, 9, 10]),)
        assert await local.balances([1, 2, 3]) == {1: 0, 2: 55, 3: 45}

        assert isinstance(one, MongoTransactions) and isinstance(other, MongoTransactions)
        async with one._transaction():
            await one._update("txns", 30, {"$set": {"value": 5}})
            with pytest.raises(Mismatch):
                await other.txn([("w", 31, 6), ("w", 30, 6)])
            assert await other.txn([("r", 30, None), ("r", 31, None)]) == (("r", 30, None), ("r", 31, None))
        assert await other.txn([("r", 30, None), ("r", 31, None)]) == (("r", 30, 5), ("r", 31, None))
        begun = asyncio.Event()

        async def abandon() -> None:
            async with one._transaction():
                await one._update("txns", 30, {"$set": {"value": 7}})
                begun.set()
                await asyncio.sleep(60)

        abandoned = asyncio.create_task(abandon())
        await begun.wait()
        abandoned.cancel()
        async with asyncio.timeout(60):
            while True:  # what nobody commits is rolled back, and in nobody's way for long
                try:
                    await other.txn([("w", 30, 8)])
                    break
                except Mismatch:
                    await asyncio.sleep(0.1)
        assert await other.txn([("r", 30, None)]) == (("r", 30, 8),)
        await one.close()
        await other.close()


async def test_first_writes_that_race_are_all_decided(tmp_path: Path) -> None:
    async with _mongodb(tmp_path, "w1") as database:
        server = database.nodes[await _primary(database)]
        clients = [await database.connect(server) for _ in range(4)]
        for key in range(10):
            await asyncio.gather(*(client.add(key, number) for number, client in enumerate(clients)))
            results = await asyncio.gather(*(client.cas(key, None, n) for n, client in enumerate(clients)),
                                           return_exceptions=True)
            assert results.count(None) == 1
            assert all(isinstance(result, Refused) for result in results if result is not None)
            assert sorted(await clients[0].elements(key)) == [0, 1, 2, 3]
            assert await clients[0].read(key) == results.index(None)
        for client in clients:
            await client.close()


async def test_reads_of_a_secondary_and_a_primary_without_a_majority(tmp_path: Path) -> None:
    async with _mongodb(tmp_path, "secondary") as database:
        name = await _primary(database)
        writer = await database.connect(database.nodes[name])
        await writer.write(1, 5)
        others = [node for node in database.nodes.values() if node.name != name]
        reader = await database.connect(others[0])
        async with asyncio.timeout(60):
            while await reader.read(1) != 5:
                await asyncio.sleep(0.02)
        for node in others:
            await node.stop("mongod", kill=True)
        with pytest.raises((Indeterminate, Refused, TimeoutError)) as lost:
            await asyncio.wait_for(writer.write(1, 6), 10)
        async with asyncio.timeout(60):
            while await database.primary(database.nodes[name]) is not None:
                await asyncio.sleep(0.05)
            local = await database.local(database.nodes[name])
            # Between the two it steps down, and a write may be interrupted.
            while not (await local.call({"hello": 1}, "admin")).get("secondary"):
                await asyncio.sleep(0.05)
        assert await database.primary(others[0]) is None
        writer = await database.connect(database.nodes[name])
        with pytest.raises(Refused) as refused:
            await writer.write(1, 7)
        assert refused.value.reason == "not-primary"
        left = await local.read(1)
        if isinstance(lost.value, Refused):  # the machine is so slow that it was no primary any more
            assert left == 5
        else:  # what is interrupted as it steps down may not have been written
            assert left == 6 or (isinstance(lost.value, Indeterminate) and lost.value.reason == "stepped-down")
        assert not await database.ready()
        await writer.close()
