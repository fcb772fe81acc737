"""Etcd against real members."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from splitbrain.harness.databases.etcd import Etcd
from splitbrain.harness.databases.etcd_client import encode
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, SetupError
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import schedule
from tests.conftest import ROOT
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
    watches_are_right,
    what_was_written_is_seen_and_removed,
)


@asynccontextmanager
async def _etcd(root: Path, variant: str = "linearizable", count: int = 3) -> AsyncIterator[Etcd]:
    async with running(Etcd, variant, root, count=count) as database:
        yield database


async def test_registers_and_sets_through_every_member(tmp_path: Path) -> None:
    async with _etcd(tmp_path) as database:
        first, second, third = [await database.connect(node) for node in database.nodes.values()]
        assert await first.read(1) is None
        await first.cas(1, None, 5)
        assert await second.read(1) == 5
        with pytest.raises(Mismatch) as mismatch:
            await third.cas(1, 4, 6)
        assert mismatch.value.seen == (5,)
        with pytest.raises(Mismatch) as mismatch:
            await third.cas(1, None, 6)
        assert mismatch.value.seen == (5,)
        with pytest.raises(Mismatch) as mismatch:
            await third.cas(2, 4, 6)
        assert mismatch.value.seen == (None,)
        await second.cas(1, 5, 6)
        await third.write(1, -7)
        assert await first.read(1) == -7

        assert await first.elements("a") == []
        for element in (3, 11, 2):
            await second.add("a", element)
        await third.add("ab", 99)
        assert sorted(await first.elements("a")) == [2, 3, 11]
        for client in (first, second, third):
            await client.close()


@pytest.mark.parametrize("variant", ["linearizable", "serializable"])
async def test_transactions_and_what_is_built_of_them(tmp_path: Path, variant: str) -> None:
    async with _etcd(tmp_path, variant, 1) as database:
        one, other = [await database.connect(node) for node in [*database.nodes.values()] * 2]
        await transactions_are_right(one, other)
        await transactions_that_meet_lose_nothing(one, one, other)
        await accounts_are_right(one, other)
        await counters_are_right(one, other)
        await queues_are_right(one, other)
        await ids_are_right(one, other)
        await fences_are_right(one, other)
        await watches_are_right(one, other)
        await one.enqueue(3, 5)
        with pytest.raises(Mismatch):
            await other.enqueue(3, 5)
        local = await database.local(database.nodes["n1"])
        assert (await local.txn([("r", 1, None)]), await local.waiting(3)) == ((("r", 1, [7, 9, 10]),), [5])
        await one.close()
        await other.close()


async def test_what_a_run_wrote_is_removed(tmp_path: Path) -> None:
    async with _etcd(tmp_path, count=1) as database:
        client = await database.connect(database.nodes["n1"])
        await what_was_written_is_seen_and_removed(database, client)
        everything = {"key": encode("\0"), "range_end": encode("\0"), "count_only": True}
        assert "count" not in await client.call("/v3/kv/range", everything)
        with pytest.raises(Indeterminate) as error:
            await client.watch(0, 0)
        assert "compacted" in error.value.detail
        await client.close()


async def test_a_lock_is_held_as_long_as_its_lease_is_renewed(tmp_path: Path) -> None:
    async with _etcd(tmp_path, count=1) as database:
        one, other = [await database.connect(node) for node in [*database.nodes.values()] * 2]
        await locks_are_right(one, other, lease=2)
        await one.close()
        await other.close()


async def test_it_knows_its_leader_versions_and_copies(tmp_path: Path) -> None:
    async with _etcd(tmp_path) as database:
        nodes = list(database.nodes.values())
        leaders = {await database.primary(node) for node in nodes}
        assert len(leaders) == 1 and leaders <= database.nodes.keys()
        versions = await database.versions()
        assert list(versions) == ["n1", "n2", "n3"]
        assert all(version.startswith("3.") for version in versions.values())
        assert [await database.detects_after(node) for node in nodes] == [database.detection(database.variant).seconds] * 3
        theirs = Etcd(database.plan, nodes)
        await theirs.attach()
        assert {await theirs.primary(node) for node in nodes} == leaders
        few = Etcd(database.plan, nodes[:2])
        with pytest.raises(SetupError, match=r"has 3 members, and these are none of the 2 nodes: n3\."):
            await few.attach()
        await theirs.close()
        await few.close()
        client = await database.connect(nodes[0])
        await client.write(1, 5)
        await client.add("s", 7)
        await client.close()
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [5, 5, 5]:
                await asyncio.sleep(0.02)
            while [await (await database.local(node)).elements("s") for node in nodes] != [[7], [7], [7]]:
                await asyncio.sleep(0.02)
        assert await (await database.local(nodes[0])).read("nothing") is None


@pytest.mark.parametrize("variant", ["linearizable", "serializable"])
async def test_a_member_without_a_majority_answers_only_serializable_reads(tmp_path: Path, variant: str) -> None:
    async with _etcd(tmp_path, variant) as database:
        last = database.nodes["n3"]
        writer = await database.connect(last)
        await writer.write(1, 5)
        await writer.acquire(2, 1, 600)
        for name in ("n1", "n2"):
            await database.nodes[name].stop("etcd", kill=True)
        async with asyncio.timeout(60):
            while await database.primary(last) is not None:
                await asyncio.sleep(0.1)
        assert await database.primary(database.nodes["n1"]) is None
        assert not await asyncio.wait_for(_or_false(database), 12)
        with pytest.raises((Indeterminate, TimeoutError)):
            await asyncio.wait_for(writer.write(1, 6), 1)
        reader = await database.connect(last)
        if variant == "serializable":
            assert await reader.read(1) == 5
        else:
            with pytest.raises((Indeterminate, TimeoutError)):
                await asyncio.wait_for(reader.read(1), 1)
        # Nor does it say that a lock is held, which may be free by now.
        with pytest.raises((Indeterminate, TimeoutError)):
            await asyncio.wait_for((await database.connect(last)).acquire(2, 2, 600), 1)
        assert await (await database.local(last)).read(1) == 5
        with pytest.raises(Refused):
            await (await database.local(database.nodes["n1"])).read(1)
        await reader.close()
        await writer.close()


async def _or_false(database: Etcd) -> bool:
    try:
        return await asyncio.wait_for(database.ready(), 1)
    except TimeoutError:
        return False


async def test_the_member_says_what_the_table_of_indeterminate_answers_expects(tmp_path: Path) -> None:
    async with _etcd(tmp_path) as database:
        for name in ("n1", "n2"):
            await database.nodes[name].stop("etcd", kill=True)
        client = await database.connect(database.nodes["n3"])
        with pytest.raises(Indeterminate) as lost:
            await asyncio.wait_for(client.write(1, 5), 60)
        assert lost.value.reason == "request-timed-out"
        await client.close()


async def test_a_guarded_set_is_added_to_while_it_is_as_it_was_added(tmp_path: Path) -> None:
    async with _etcd(tmp_path, "guarded-sets", count=1) as database:
        client = await database.connect(next(iter(database.nodes.values())))
        for element in (3, 11, 2):
            await client.add(1, element)
        await client.add(10, 3)  # another set, whose name begins like the first's
        await client.call("/v3/kv/put", {"key": encode("set/1/11"), "value": ""})
        with pytest.raises(Mismatch):
            await client.add(1, 4)
        await client.add(10, 4)
        assert (sorted(await client.elements(1)), sorted(await client.elements(10))) == ([2, 3, 11], [3, 4])
        await client.close()


def test_the_plan_that_is_shipped_kills_the_one_member_over_and_over() -> None:
    plan = resolve({}, ROOT / "lost-on-kill.toml")
    (fault,) = schedule(plan)
    assert (fault.nemesis, plan.nodes, plan.variant) == ("crash-loop:any", 1, "guarded-sets")
