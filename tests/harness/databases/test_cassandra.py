"""Cassandra against real nodes. A cluster takes long to start, so a test looks at many things on one."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from splitbrain.harness.databases import cassandra_client
from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.cassandra_client import ALL, CassandraClient
from splitbrain.harness.databases.cassandra_structures import Plain
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, SetupError
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds.testbed import Completed, Node
from tests.conftest import need
from tests.harness.databases.loopback import LoopbackNode, running
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


async def test_registers_sets_copies_clocks_and_a_node_without_a_quorum(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("java", "cassandra")
    async with running(Cassandra, "serial", tmp_path, count=3) as database:
        nodes = list(database.nodes.values())
        first, second, third = [await database.connect(node) for node in nodes]
        assert await first.read(1) is None
        await first.cas(1, None, 5)
        assert await second.read(1) == 5
        for expected, key, seen in ((4, 1, 5), (None, 1, 5), (4, 2, None)):
            with pytest.raises(Mismatch) as mismatch:
                await third.cas(key, expected, 6)
            assert mismatch.value.seen == (seen,)
        await second.cas(1, 5, 6)
        await third.write(1, -7)
        await third.write(3, 8)
        assert (await first.read(1), await second.read(3)) == (-7, 8)

        assert await first.elements("a") == []
        for element in (3, 11, 2, 3):
            await second.add("a", element)
        await third.add("ab", 99)
        assert sorted(await first.elements("a")) == [2, 3, 11]

        await transactions_are_right(first, second)
        writers = [await database.connect(node) for node in nodes[:2]]
        await transactions_that_meet_lose_nothing(third, *writers)
        await counters_are_right(second, third)
        await ids_are_right(third, first)
        await queues_are_right(second, third)
        await locks_are_right(third, first, lease=1)
        await fences_are_right(first, second)

        assert list((await database.versions()).values()) == ["5.0.2"] * 3
        assert [await database.detects_after(node) for node in nodes] == [database.detection(database.variant).seconds] * 3
        assert await database.primary(nodes[0]) is None
        async with asyncio.timeout(60):
            while [await (await database.local(node)).read(1) for node in nodes] != [-7, -7, -7]:
                await asyncio.sleep(0.05)
        assert sorted(await (await database.local(nodes[2])).elements("a")) == [2, 3, 11]
        assert await (await database.local(nodes[2])).read("nothing") is None

        ring = {}
        for node, client in zip(nodes, (first, second, third), strict=True):
            (row,) = await client.call("SELECT tokens FROM system.local")
            ring[int(*row["tokens"])] = node.name
        for key in range(100, 120):
            await first.write(key, 1)
            (row,) = await first.call("SELECT token(key) AS at FROM splitbrain.registers WHERE key = ?", str(key).encode())
            order = sorted(ring, key=lambda token: (token < row["at"], token))
            assert database.replicas(key) == tuple(ring[token] for token in order)
        await _a_node_is_asked_for_its_own_copy(database, [first, second, third])

        with monkeypatch.context() as slow_clock:
            slow_clock.setattr(cassandra_client, "time", SimpleNamespace(time_ns=lambda: 1_000_000))
            for variant in ("one", "one-server-clock"):
                client = await Cassandra(Plan(database="cassandra", variant=variant, nodes=3), nodes).connect(nodes[0])
                await client.write(variant, 4)
                select = "SELECT WRITETIME(value) AS at FROM splitbrain.registers WHERE key = ?"
                assert ((await client.call(select, variant.encode()))[0]["at"] == 1000) == (variant == "one")
                await client.close()

        for variant in ("quorum", "counter-table"):
            other = Cassandra(Plan(database="cassandra", variant=variant, nodes=3), nodes)
            one, two = [await other.connect(node) for node in nodes[:2]]
            for table in one.TABLES:
                await one.call(table)
            while not await database._agree():
                await asyncio.sleep(0.1)
            await first.call("TRUNCATE splitbrain.registers", consistency=ALL)
            await counters_are_right(one, two)
            if isinstance(one, Plain) and isinstance(two, Plain):
                await accounts_are_right(one, two)
                await ids_are_right(one, two)
                await _updates_are_lost_and_batches_are_seen_in_part(one, two)
            await one.close()
            await two.close()

        theirs = Cassandra(database.plan, nodes)
        with pytest.raises(SetupError, match="has a keyspace 'splitbrain' already"):
            await theirs.attach()
        few = Cassandra(database.plan, nodes[:2])
        with pytest.raises(SetupError, match=rf"has 3 nodes, and these are none of the 2 that are named: {nodes[2].address}\."):
            await few.attach()
        assert await database.remove(frozenset(), [])
        await theirs.attach()
        assert [theirs.replicas(key) for key in range(200)] == [database.replicas(key) for key in range(200)]
        await theirs.close()
        await few.close()
        await first.write(1, -7)

        for node in nodes[1:]:
            await node.stop("cassandra", kill=True)
        for call in (first.write(1, 9), first.add("a", 9)):
            with pytest.raises((Indeterminate, Refused)):
                await call
            await first.close()
            first = await database.connect(nodes[0])
        assert await (await database.local(nodes[0])).read(1) == -7
        with pytest.raises((Indeterminate, Refused)):
            await (await database.local(nodes[1])).read(1)
        for client in (first, second, third, *writers):
            await client.close()


async def _a_node_is_asked_for_its_own_copy(database: Cassandra, clients: Sequence[CassandraClient]) -> None:
    """Of a row that one node alone holds the others have nothing, though each of them would ask for it."""
    copies = [await database.local(node) for node in database.nodes.values()]
    await clients[0].call("CREATE KEYSPACE alone WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
    await clients[0].call("CREATE TABLE alone.rows (key text PRIMARY KEY, value bigint)")
    while not await database._agree():
        await asyncio.sleep(0.1)
    await clients[0].call("INSERT INTO alone.rows (key, value) VALUES ('a', 1)")
    select = "SELECT value FROM alone.rows WHERE key = 'a'"
    assert [await client.call(select) for client in clients] == [[{"value": 1}]] * 3
    held = [await copy.call(select, consistency=copy._level.reads) for copy in copies]
    assert sorted(held, key=len) == [[], [], [{"value": 1}]]


async def _updates_are_lost_and_batches_are_seen_in_part(one: Plain, two: Plain) -> None:
    async def add(client: Plain) -> None:
        for _ in range(30):
            await client.increment("shared", 1)

    await asyncio.gather(add(one), add(two))
    assert 30 <= await one.count("shared") < 60

    accounts = range(10, 18)
    for account in accounts:
        await one.deposit(account, 100)
    seen: set[int] = set()

    async def look() -> None:
        while seen <= {800}:
            seen.add(sum((await two.balances(accounts)).values()))

    looking = asyncio.create_task(look())
    async with asyncio.timeout(60):
        while not looking.done():
            for account in accounts:
                await one.transfer(account, 10 + (account - 9) % 8, 5)
    await looking
    assert sum((await two.balances(accounts)).values()) == 800


async def test_a_row_has_three_replicas_and_no_copy_elsewhere(tmp_path: Path) -> None:
    nodes = [LoopbackNode(number, tmp_path) for number in range(1, 6)]
    database = Cassandra(Plan(database="cassandra", variant="one", nodes=5), nodes)
    held = [database.replicas(key) for key in range(200)]
    assert all(len(set(names)) == 3 for names in held)
    assert {name for names in held for name in names} == {"n1", "n2", "n3", "n4", "n5"}


async def test_who_joins_is_no_seed_of_its_own_and_waits_longer_than_it_is_not_heard(tmp_path: Path) -> None:
    nodes = [LoopbackNode(number, tmp_path) for number in range(1, 5)]
    database = Cassandra(Plan(database="cassandra", variant="one", nodes=4), nodes)
    assert "nodetool" not in database._service(nodes[1]).files, "what only changes of members need is there for these alone"
    database.changes = True
    before, joins = database._service(nodes[1]), await database.add_member("n2", nodes[0])
    token = re.search("initial_token: .*", before.files["cassandra.yaml"])
    assert token is not None and token[0] in joins.files["cassandra.yaml"], "the same part of the ring"
    for service, bootstraps in ((before, False), (joins, True)):
        assert f"auto_bootstrap: {str(bootstraps).lower()}\n" in service.files["cassandra.yaml"]
        (seeds,) = re.findall('seeds: "(.*)"', service.files["cassandra.yaml"])
        assert (nodes[1].address in seeds.split(",")) != bootstraps and seeds == service.env["CASSANDRA_SEEDS"]
        ring, quarantine = (int(re.findall(rf"{name}_ms=(\d+)", service.files["jvm-server.options"])[0])
                            for name in ("ring_delay", "quarantine_delay"))
        assert (ring > quarantine) == bootstraps


async def test_who_is_replaced_again_is_a_member_only_where_its_last_host_identifier_is_known(tmp_path: Path) -> None:
    rings: dict[str, dict[str, Any]] = {}

    class Told(Cassandra):
        async def _ring(self, asked: Node) -> dict[str, Any]:
            return dict(rings[asked.name])

    class Leaving(LoopbackNode):
        def running(self, service: str) -> bool:
            return True

        async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
            assert argv[-1] == "decommission"
            del rings["n1"][self.name]
            return Completed(code=0, stdout="", stderr="")

    nodes = [Leaving(number, tmp_path) for number in (1, 2)]
    first = nodes[0]
    database = Told(Plan(database="cassandra", variant="one", nodes=2), nodes)
    for host in "abc":
        rings.update(n1={"n1": "x", "n2": host}, n2={"n1": "x", "n2": host})
        assert await database.members(first) == {"n1", "n2"}
        if host == "b":
            rings["n1"]["n2"] = "a"  # It has not heard of the last replacement when the next begins.
            assert await database.members(first) == {"n1"}
        await database.remove_member("n2", first)
        await database.remove_member("n2", first)  # The answer was lost.
        await database.add_member("n2", first)
        rings["n1"]["n2"] = host
        assert await database.members(first) == {"n1"}, "whoever has it still has not heard of who joined"


def test_the_clock_that_stamps_a_write_is_all_that_differs_between_two_variants() -> None:
    variants = {variant.name: variant for variant in Cassandra.variants}
    assert variants.keys() == Cassandra.LEVELS.keys()
    for name in ("one", "quorum"):
        assert variants[name].claim == variants[f"{name}-server-clock"].claim
        client, server = Cassandra.LEVELS[name], Cassandra.LEVELS[f"{name}-server-clock"]
        assert (client.reads, client.writes, client.stamped) == (server.reads, server.writes, not server.stamped)


async def test_a_folder_of_jars_is_started_and_one_without_them_is_refused_in_a_sentence(tmp_path: Path) -> None:
    need("java", "cassandra")
    jars = tmp_path / "some jars"
    jars.mkdir()
    node = LoopbackNode(1, tmp_path)
    database = Cassandra(Plan(database="cassandra", variant="one", nodes=1, binary=str(jars)), [node])
    with pytest.raises(ExceptionGroup) as refused:
        await database.start()
    assert refused.group_contains(SetupError, match="some jars, where --binary says .* holds neither .* nor Cassandra's jars")
    for jar in Path(str(find_program("cassandra"))).parent.glob("*.jar"):
        if not jar.name.startswith("jamm-"):
            (jars / jar.name).symlink_to(jar)
    try:
        with pytest.raises(ExceptionGroup) as ended:
            await database.start()
    finally:
        await database.close()
        await node.down()
    assert ended.group_contains(SetupError, match=r"n1: .* A jar is missing: there is no class org\.github\.jamm\.")
