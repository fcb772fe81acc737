"""Redis under Sentinel against real servers."""

from __future__ import annotations

import asyncio
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from splitbrain.harness.databases.redis import Redis
from splitbrain.harness.databases.redis_client import RedisClient, open_own
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, SetupError, UsageError
from splitbrain.harness.plan import Plan
from tests.harness.databases.loopback import LoopbackNode, await_ready, running
from tests.harness.databases.structures import (
    accounts_are_right,
    counters_are_right,
    fences_are_right,
    ids_are_right,
    locks_are_right,
    queues_are_right,
    transactions_are_right,
    transactions_that_meet_lose_nothing,
    what_was_written_is_seen_and_removed,
)


async def test_a_connection_of_our_own_is_asked_by_many_at_once_each_in_its_turn() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from hiredis import Reader

        requests = Reader()
        with suppress(ConnectionError):
            while chunk := await reader.read(65536):
                requests.feed(chunk)
                while (request := requests.gets()) is not False:
                    await asyncio.sleep(0)
                    writer.write(b"$%d\r\n%s\r\n" % (len(request[-1]), request[-1]))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server, asyncio.timeout(60):
        node: Any = SimpleNamespace(name="n1", address="127.0.0.1")
        client = await open_own(node, server.sockets[0].getsockname()[1], "HELLO", "3")
        told = await asyncio.gather(*(client.call("ECHO", str(number)) for number in range(20)))
        await client.close()
    assert told == [str(number).encode() for number in range(20)]


async def test_registers_and_sets_on_the_primary_and_its_replicas(tmp_path: Path) -> None:
    async with running(Redis, "sentinel", tmp_path, count=3) as database:
        nodes = list(database.nodes.values())
        assert {await database.primary(node) for node in nodes} == {"n1"}
        assert all(version.count(".") == 2 for version in (await database.versions()).values())
        assert [await database.detects_after(node) for node in nodes] == [database.detection(database.variant).seconds] * 3
        theirs = Redis(database.plan, nodes)
        await theirs.attach()
        assert await theirs.ready() and [await theirs.primary(node) for node in nodes] == ["n1"] * 3
        few = Redis(Plan(database="redis", variant="sentinel", nodes=2), nodes[:2])
        with pytest.raises(SetupError, match=rf"has servers that are none of the 2 nodes: {nodes[2].address}\."):
            await few.attach()
        for variant, setting in (("sentinel-min-replicas", "min-replicas-to-write 0"), ("sentinel-fsync-no", "appendonly no")):
            other = Redis(Plan(database="redis", variant=variant, nodes=3), nodes)
            with pytest.raises(SetupError, match=f"n1 has '{setting}', and this variant is about"):
                await other.attach()
            await other.close()
        await theirs.close()
        await few.close()
        client = await database.connect(nodes[0])
        assert await client.read(1) is None
        await client.cas(1, None, 5)
        for expected in (None, 4):
            with pytest.raises(Mismatch) as mismatch:
                await client.cas(1, expected, 6)
            assert mismatch.value.seen == (5,)
        with pytest.raises(Mismatch) as mismatch:
            await client.cas(2, 4, 6)
        assert mismatch.value.seen == (None,)
        await client.cas(1, 5, 6)
        await client.write(1, -7)
        assert await client.read(1) == -7
        assert await client.elements("a") == []
        for element in (3, 11, 2, 3):
            await client.add("a", element)
        assert sorted(await client.elements("a")) == [2, 3, 11]
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [-7, -7, -7]:
                await asyncio.sleep(0.02)
            while sorted(await (await database.local(nodes[2])).elements("a")) != [2, 3, 11]:
                await asyncio.sleep(0.02)
        await client.close()


async def test_transactions_queues_counters_accounts_ids_and_locks(tmp_path: Path) -> None:
    async with running(Redis, "sentinel", tmp_path, count=1) as database:
        (node,) = database.nodes.values()
        one, other = await database.connect(node), await database.connect(node)
        before = await one.call("KEYS", "*")
        await what_was_written_is_seen_and_removed(database, one)
        assert before and await one.call("KEYS", "*") == []
        await transactions_are_right(one, other)
        await transactions_that_meet_lose_nothing(one, one, other)
        await accounts_are_right(one, other)
        await counters_are_right(one, other)
        await queues_are_right(one, other)
        await ids_are_right(one, other)
        await locks_are_right(one, other, lease=0.5)
        await fences_are_right(one, other)

        await one.call("SET", "list:{None}:20", "a string")
        with pytest.raises(Indeterminate):  # some commands of it were done
            await one.txn([("w", 21, 5), ("append", 20, 6)])
        assert await other.txn([("r", 21, None)]) == (("r", 21, 5),)
        await other.call("CONFIG", "SET", "min-replicas-to-write", 1)
        with pytest.raises(Refused) as refused:
            await other.txn([("r", 21, None), ("w", 21, 6)])
        assert refused.value.reason == "no-replicas" and not isinstance(refused.value, Mismatch)
        assert await other.txn([("r", 21, None)]) == (("r", 21, 5),)
        await other.close()


async def test_of_transfers_at_once_none_is_lost(tmp_path: Path) -> None:
    async with running(Redis, "sentinel", tmp_path, count=1) as database:
        (node,) = database.nodes.values()
        clients = [await database.connect(node) for _ in range(5)]
        for account in range(3):
            await clients[0].deposit(account, 100)

        async def move(client: RedisClient, number: int) -> Counter[str]:
            done: Counter[str] = Counter()
            for turn in range(60):
                try:
                    await client.transfer(turn % 3, (turn + 1 + number % 2) % 3, 40)
                    done["moved"] += 1
                except Mismatch as mismatch:
                    done["refused" if mismatch.seen else "outrun"] += 1
            return done

        done = sum(await asyncio.gather(*(move(client, number) for number, client in enumerate(clients))), Counter())
        assert done["moved"] and done["outrun"]
        with pytest.raises(Mismatch) as refused:  # Whether one of those was depends on who came first.
            await clients[0].transfer(0, 1, 301)
        assert refused.value.seen
        balances = (await clients[0].balances(range(3))).values()
        assert sum(balances) == 300 and min(balances) >= 0
        for client in clients:
            await client.close()


async def test_a_replica_is_no_primary(tmp_path: Path) -> None:
    async with running(Redis, "sentinel", tmp_path, count=3) as database:
        with pytest.raises(Refused) as refused:
            await database.connect(database.nodes["n2"])
        assert refused.value.reason == "not-primary"


async def test_a_primary_without_replicas_refuses_or_cannot_confirm(tmp_path: Path) -> None:
    for variant, expected, reason in (
        ("sentinel-min-replicas", Refused, "no-replicas"),
        ("sentinel-wait", Indeterminate, "too-few-replicas"),
    ):
        async with running(Redis, variant, tmp_path / "a space" / variant, count=3) as database:
            nodes = [cast(LoopbackNode, node) for node in database.nodes.values()]
            client = await database.connect(nodes[0])
            await client.write(1, 5)
            for node in nodes[1:]:
                node.send_signal("redis", signal.SIGSTOP)
            with pytest.raises((Refused, Indeterminate)) as raised:
                async with asyncio.timeout(60):
                    while True:
                        await client.write(1, 6)
                        await client.add("s", 6)
                        await client.cas(1, 6, 6)
                        await asyncio.sleep(0.05)
            assert type(raised.value) is expected and str(raised.value) == reason
            await client.close()


async def test_the_sentinels_agree_on_a_new_primary_and_the_old_one_follows(tmp_path: Path) -> None:
    async with running(Redis, "sentinel", tmp_path, count=3) as database:
        first = cast(LoopbackNode, database.nodes["n1"])
        old = await database.connect(first)
        await old.write(1, 5)
        for service in ("redis", "sentinel"):
            first.send_signal(service, signal.SIGSTOP)
        others = [database.nodes["n2"], database.nodes["n3"]]
        async with asyncio.timeout(60):
            while True:
                named = {await database.primary(node) for node in others}
                if len(named) == 1 and named <= {"n2", "n3"}:
                    break
                await asyncio.sleep(0.05)
        new = await database.connect(database.nodes[cast(str, named.pop())])
        assert await new.read(1) == 5
        await new.write(1, 6)
        for service in ("redis", "sentinel"):
            first.send_signal(service, signal.SIGCONT)
        await await_ready(database)
        with suppress(Indeterminate):  # whoever is demoted hangs up on its clients
            await (await database.local(first)).read(1)
        assert await (await database.local(first)).read(1) == 6
        with pytest.raises(Indeterminate):  # whoever is demoted hangs up on its clients
            await old.write(1, 7)
        assert await new.read(1) == 6
        await new.close()


async def test_a_cluster_serves_each_key_at_the_owner_of_its_shard(tmp_path: Path) -> None:
    async with running(Redis, "cluster", tmp_path, count=6) as database:
        nodes = list(database.nodes.values())
        owners = await database.primaries(nodes[5])
        assert owners == ("n1", "n2", "n3")
        assert {await database.primary(node) for node in nodes} == {"n1"}
        assert [await database.detects_after(node) for node in nodes] == [database.detection(database.variant).seconds] * 6
        served = set()
        for node in nodes[:3]:  # calls that have no key go to the owner of None
            client = await database.connect(node)
            if node.name == owners[database.shard(None)]:
                await accounts_are_right(client, client)
            else:
                with pytest.raises(Refused, match="moved"):
                    await client.transfer(1, 2, 5)
            await client.close()
        for key in range(12):
            shard = database.shard(key)
            for node in nodes:
                client = await database.connect(node)
                if node.name == owners[shard]:
                    await client.write(key, key)
                    await client.cas(key, key, key + 1)
                    assert await client.read(key) == key + 1
                    await client.add(key, 7)
                    assert await client.elements(key) == [7]
                    served.add(shard)
                else:
                    for call in (client.read(key), client.write(key, 0), client.cas(key, 0, 1), client.add(key, 1)):
                        with pytest.raises(Refused) as refused:
                            await call
                        assert refused.value.reason == "moved"
                await client.close()
            holders = {owners[shard], f"n{shard + 4}"}
            assert set(database.replicas(key)) == holders
            async with asyncio.timeout(60):
                for node in nodes:
                    if node.name in holders:
                        while await (await database.local(node)).read(key) != key + 1:
                            await asyncio.sleep(0.02)
                    else:
                        with pytest.raises(Refused):
                            await (await database.local(node)).read(key)
        assert served == {0, 1, 2}
        await _a_cluster_is_attached_to(database)


async def _a_cluster_is_attached_to(ours: Redis) -> None:
    """One that runs already is read as it is, wherever its slots are and by whatever names its servers go."""
    nodes = list(ours.nodes.values())
    theirs = Redis(ours.plan, nodes)
    try:
        await theirs.attach()
        assert [theirs.shard(key) for key in range(12)] == [ours.shard(key) for key in range(12)]
        assert [theirs.replicas(key) for key in range(12)] == [ours.replicas(key) for key in range(12)]

        moved = next(key for key in range(100, 200) if ours.shard(key) == 0)
        clients = [await ours.connect(node) for node in nodes]
        slot = await clients[0].call("CLUSTER", "KEYSLOT", f"{{{moved}}}")
        from_, to = [(await client.call("CLUSTER", "MYID")).decode() for client in clients[:2]]
        await clients[1].call("CLUSTER", "SETSLOT", slot, "IMPORTING", from_)
        await clients[0].call("CLUSTER", "SETSLOT", slot, "MIGRATING", to)
        with pytest.raises(SetupError, match="slots of n1 are being moved"):
            await theirs.attach()
        for client in (clients[1], clients[0]):
            await client.call("CLUSTER", "SETSLOT", slot, "NODE", to)
        for node, client in zip(nodes, clients, strict=True):
            await client.call("CONFIG", "SET", "cluster-announce-hostname", f"{node.name}.lab")
            await client.call("CONFIG", "SET", "cluster-preferred-endpoint-type", "hostname")
        async with asyncio.timeout(60):
            while {await theirs.primaries(node) for node in nodes} != {("n1", "n2", "n3")} or not await theirs.ready():
                await asyncio.sleep(0.05)
            while await _attached(theirs) is None or theirs.shard(moved) != 1:
                await asyncio.sleep(0.05)
        assert set(theirs.replicas(moved)) == {"n2", "n5"}
        client = await theirs.connect(nodes[1])
        await client.write(moved, 3)
        assert await client.read(moved) == 3

        few = Redis(Plan(database="redis", variant="cluster", nodes=5), nodes[:5])
        with pytest.raises(SetupError, match=rf"has 6 servers, and these are none of the 5 nodes: {nodes[5].address}"):
            await few.attach()
        await few.close()
        await clients[2].call("CONFIG", "SET", "requirepass", "secret")
        with pytest.raises(Indeterminate) as error:
            await Redis(ours.plan, nodes).attach()
        assert "NOAUTH" in error.value.detail
    finally:
        await theirs.close()


async def _attached(database: Redis) -> Redis | None:
    """It, or None while its servers do not agree yet."""
    try:
        await database.attach()
    except SetupError:
        return None
    return database


def test_a_cluster_has_three_primaries_or_is_refused(tmp_path: Path) -> None:
    nodes = [LoopbackNode(number, tmp_path) for number in (1, 2)]
    with pytest.raises(UsageError, match="at least 3 nodes"):
        Redis(Plan(database="redis", variant="cluster", nodes=2), nodes)
