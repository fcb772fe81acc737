"""Real servers, really cut off: what each database is known to do when its primary is isolated, and its control.

Clients add distinct elements to sets, one of each shard, from every home, by the variant's route; the primary (of the first
shard) is cut off from all the others and comes back; then every node's own copy is read.
"""

from __future__ import annotations

import asyncio
import pickle
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.database import Database
from splitbrain.harness.databases.etcd import Etcd
from splitbrain.harness.databases.mongodb import MongoDB
from splitbrain.harness.databases.redis import Redis
from splitbrain.harness.databases.reference.database import Reference
from splitbrain.harness.errors import Indeterminate, Refused
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Connectivity, everything
from tests.conftest import need
from tests.harness.databases.loopback import await_ready
from tests.harness.testbeds.cluster import inside

CUT = 4.0
LONGEST = 45.0
"""Seconds: the shortest cut, and how long one waits at most for what the others of the cut are known to do."""


@dataclass
class Seen:
    """Elements by outcome, those of the cut counted by home, and what the copies held in the end."""

    ok: set[int] = field(default_factory=set)
    fail: set[int] = field(default_factory=set)
    info: set[int] = field(default_factory=set)
    in_cut: Counter[tuple[str, str]] = field(default_factory=Counter)
    reasons: Counter[tuple[str, str]] = field(default_factory=Counter)
    primary: str = ""
    views: dict[str, str | None] = field(default_factory=dict)
    copies: list[set[int]] = field(default_factory=list)

    @property
    def lost(self) -> set[int]:
        """Acknowledged, and in no copy."""
        return self.ok.difference(*self.copies)

    def answered(self, *homes: str) -> int:
        """How many calls from these homes were answered while the primary was cut off."""
        return sum(self.in_cut[home, "ok"] for home in homes)


class _Experiment:
    def __init__(self, database: Database, bed: Namespaces, until: Until | None) -> None:
        self.database = database
        self.until = until
        self.bed = bed
        self.links: Connectivity = everything(database.nodes)
        self.is_cut = False
        self.stopped = False
        self.seen = Seen()
        self.elements = iter(range(1, 1_000_000))
        self.keys = ["s"]
        if isinstance(database, Redis):
            keys = {database.shard(number): str(number) for number in range(100)}
            self.keys = [keys[shard] for shard in sorted(keys)]

    async def run(self) -> Seen:
        database, seen = self.database, self.seen
        await database.start()
        await await_ready(database)
        if isinstance(database, Cassandra):
            await self.ask_no_other(database)
        async with asyncio.TaskGroup() as group:
            for home in database.nodes:
                group.create_task(self.add_from(home))
            await asyncio.sleep(1)
            seen.primary = await database.primary(next(iter(database.nodes.values()))) or "n1"
            whole, without = self.links, self.links.copy()
            without.remove_edges_from([link for link in whole.edges if seen.primary in link])
            self.links = without
            await self.bed.apply(whole, without)
            self.is_cut = True
            await asyncio.sleep(CUT)
            await self.known_effect()
            seen.views = {name: await self.view(name) or await self.view(name) for name in database.nodes}
            self.is_cut = False
            await self.bed.apply(without, whole)
            self.links = whole
            await asyncio.sleep(1)
            self.stopped = True
        await await_ready(database)
        async with asyncio.timeout(90):
            while True:
                try:
                    copies = [await self.copies(key) for key in self.keys]
                except (Refused, Indeterminate):
                    copies = []  # A server that becomes a replica hangs up on its clients: it is asked again.
                if copies and all(copy == some[0] for some in copies for copy in some):
                    break
                await asyncio.sleep(0.1)
        seen.copies = [set.union(*(some[0] for some in copies))]
        return seen

    async def known_effect(self) -> None:
        """Wait, with the cut in force, for what the database is known to do in it: elections take as long as the machine takes.

        What does not come within the longest cut fails the test by what was seen.
        """
        end = asyncio.get_running_loop().time() + LONGEST
        while self.until and not await self.until(self) and asyncio.get_running_loop().time() < end:
            await asyncio.sleep(0.1)

    async def ask_no_other(self, database: Cassandra) -> None:
        """Where a node reads its own copy slowly it asks another node, unless its table forbids that: on a busy machine three
        copies that look alike may be one."""
        clients = [await database.local(node) for node in database.nodes.values()]
        await clients[0].call("ALTER TABLE splitbrain.sets WITH speculative_retry = 'NEVER'")
        told = "SELECT speculative_retry FROM system_schema.tables WHERE keyspace_name = 'splitbrain' AND table_name = 'sets'"
        async with asyncio.timeout(60):
            while {(await client.call(told))[0]["speculative_retry"] for client in clients} != {"NEVER"}:
                await asyncio.sleep(0.1)

    async def copies(self, key: str) -> list[set[int]]:
        """What each node holds that has the key's shard."""
        copies = []
        for name in self.database.replicas(key):
            client: Any = await self.database.local(self.database.nodes[name])
            copies.append(set(await client.elements(key)))
        return copies

    async def view(self, home: str, key: str = "") -> str | None:
        node = self.database.nodes[home]
        try:
            async with asyncio.timeout(2):
                if isinstance(self.database, Redis) and key:
                    return (await self.database.primaries(node))[self.database.shard(key)]
                return await self.database.primary(node)
        except TimeoutError:
            return None

    async def add_from(self, home: str) -> None:
        clients: dict[str, Any] = {}
        while not self.stopped:
            element, during = next(self.elements), self.is_cut
            key, reason = self.keys[element % len(self.keys)], ""
            server: str | None = home
            outcome = "fail"
            try:
                if self.database.variant.writes == "primary":
                    server = await self.view(home, key)
                if server is None or not (server == home or self.links.has_edge(home, server)):
                    raise Refused("no-primary-in-reach")
                async with asyncio.timeout(self.database.plan.timeout):
                    if server not in clients:
                        clients[server] = await self.database.connect(self.database.nodes[server])
                    outcome = "info"
                    await clients[server].add(key, element)
                outcome = "ok"
            except Refused as refused:
                outcome, reason = "fail", refused.reason
            except (Indeterminate, TimeoutError):
                if server in clients:
                    await clients.pop(server).close()
            {"ok": self.seen.ok, "fail": self.seen.fail, "info": self.seen.info}[outcome].add(element)
            if during and self.is_cut:
                self.seen.in_cut[home, outcome] += 1
                self.seen.reasons[home, reason] += 1
            await asyncio.sleep(0.02)
        for client in clients.values():
            await client.close()


Until = Callable[[_Experiment], Awaitable[bool]]


def others_answered(count: int, primary: int = -1, refused: int = -1) -> Until:
    """Whether every home but the primary was answered more often than that while the cut was in force, and the primary's as
    often as that answered, or refused."""

    async def answered(experiment: _Experiment) -> bool:
        seen = experiment.seen
        homes = experiment.database.nodes.keys() - {seen.primary}
        return (all(seen.answered(home) > count for home in homes) and seen.answered(seen.primary) > primary
                and seen.in_cut[seen.primary, "fail"] > refused)

    return answered


async def replica_took_over(experiment: _Experiment) -> bool:
    """Whether every node but the isolated primary names another one, and that has stopped."""
    homes = experiment.database.nodes.keys() - {experiment.seen.primary}
    named = {await experiment.view(home) for home in homes}
    return not named & {experiment.seen.primary, None} and experiment.seen.reasons[experiment.seen.primary, "cluster-down"] > 0


def _isolate_the_primary(
    kind: type[Database], variant: str, folder: Path, *, nodes: int = 3, until: Until | None = None
) -> Seen:
    """Cut the primary off for CUT seconds, and on until what the test waits for."""
    plan = Plan(database=kind.name, variant=variant, nodes=nodes, timeout=kind.default_timeout)
    bed = Namespaces(plan, "test", folder)
    result = folder / "seen"

    async def whole() -> None:
        database: Database | None = None
        try:
            await bed.up(nodes)
            database = kind(plan, bed.nodes)
            result.write_bytes(pickle.dumps(await _Experiment(database, bed, until).run()))
        finally:
            if database is not None:
                await database.close()
            await bed.down()

    inside(bed, whole)
    seen: Seen = pickle.loads(result.read_bytes())
    assert seen.ok, "nothing was acknowledged at all"
    assert not seen.fail & seen.copies[0], "what was refused had happened"
    return seen


def test_etcd_refuses_on_the_side_of_an_isolated_leader_and_loses_nothing(tmp_path: Path) -> None:
    seen = _isolate_the_primary(Etcd, "linearizable", tmp_path, until=others_answered(20))
    others = {"n1", "n2", "n3"} - {seen.primary}
    assert seen.answered(seen.primary) == 0
    assert all(seen.answered(home) > 20 for home in others)
    assert {seen.views[home] for home in others} < others
    assert not seen.lost


def test_sentinel_leaves_two_primaries_and_loses_what_the_old_one_acknowledged(tmp_path: Path) -> None:
    seen = _isolate_the_primary(Redis, "sentinel", tmp_path, until=others_answered(20, primary=60))
    others = {"n1", "n2", "n3"} - {seen.primary}
    assert seen.views[seen.primary] == seen.primary
    assert len({seen.views[home] for home in others}) == 1
    assert seen.answered(seen.primary) > 50
    assert all(seen.answered(home) > 20 for home in others)
    assert len(seen.lost) >= 50


def test_sentinel_with_min_replicas_loses_less_but_loses(tmp_path: Path) -> None:
    seen = _isolate_the_primary(Redis, "sentinel-min-replicas", tmp_path, until=others_answered(0, refused=50))
    assert seen.in_cut[seen.primary, "fail"] > 50
    assert 0 < len(seen.lost) < seen.in_cut[seen.primary, "fail"] + seen.answered(seen.primary)


def test_sentinel_with_wait_for_every_replica_loses_no_element(tmp_path: Path) -> None:
    seen = _isolate_the_primary(Redis, "sentinel-wait", tmp_path)
    assert seen.answered("n1", "n2", "n3") == 0
    assert not seen.lost


def test_a_cluster_stops_its_isolated_primary_after_the_node_timeout_and_loses_what_it_took_until_then(tmp_path: Path) -> None:
    seen = _isolate_the_primary(Redis, "cluster", tmp_path, nodes=6, until=replica_took_over)
    assert seen.primary == "n1"
    assert seen.answered("n1") > 0
    assert seen.reasons["n1", "cluster-down"] > 0
    assert len({seen.views[home] for home in ("n2", "n3", "n4", "n5", "n6")}) == 1
    assert seen.views["n2"] == "n4"
    assert len(seen.lost) > 0


@pytest.mark.parametrize("variant", ["majority", "fenced-primary"])
def test_the_consistent_designs_block_the_isolated_node_and_lose_nothing(tmp_path: Path, variant: str) -> None:
    seen = _isolate_the_primary(Reference, variant, tmp_path, until=others_answered(20))
    others = {"n1", "n2", "n3"} - {seen.primary}
    assert seen.answered(seen.primary) == 0
    assert all(seen.answered(home) > 20 for home in others)
    assert not seen.lost


@pytest.mark.parametrize("variant", ["primary-async", "split-brain"])
def test_the_unfenced_designs_go_on_at_the_isolated_primary_and_lose_what_it_took(tmp_path: Path, variant: str) -> None:
    seen = _isolate_the_primary(Reference, variant, tmp_path, until=others_answered(0, primary=50))
    assert seen.views[seen.primary] == seen.primary
    assert len(set(seen.views.values())) == 2
    assert seen.answered(seen.primary) > 50
    assert seen.lost


def test_a_primary_of_mongodb_takes_writes_until_it_steps_down_and_they_are_rolled_back(tmp_path: Path) -> None:
    need("mongod")
    seen = _isolate_the_primary(MongoDB, "w1", tmp_path, until=others_answered(10, primary=10))
    others = {"n1", "n2", "n3"} - {seen.primary}
    assert seen.views[seen.primary] is None
    assert {seen.views[home] for home in others} < others
    assert seen.answered(seen.primary) > 10
    assert all(seen.answered(home) > 10 for home in others)
    assert len(seen.lost) >= 10


def test_writes_of_mongodb_that_a_majority_has_are_never_rolled_back(tmp_path: Path) -> None:
    need("mongod")
    seen = _isolate_the_primary(MongoDB, "majority", tmp_path, until=others_answered(0))
    assert seen.answered(seen.primary) == 0
    assert all(seen.answered(home) > 0 for home in {"n1", "n2", "n3"} - {seen.primary})
    assert not seen.lost


def test_a_quorum_of_cassandra_blocks_the_isolated_node_and_loses_nothing(tmp_path: Path) -> None:
    need("java", "cassandra")
    seen = _isolate_the_primary(Cassandra, "quorum", tmp_path, until=others_answered(5))
    assert seen.answered("n1") == 0
    assert all(seen.answered(home) > 5 for home in ("n2", "n3"))
    assert not seen.lost


def test_one_replica_of_cassandra_answers_on_both_sides_and_the_sides_hold_the_same_in_the_end(tmp_path: Path) -> None:
    need("java", "cassandra")
    seen = _isolate_the_primary(Cassandra, "one-server-clock", tmp_path, until=others_answered(5))
    assert all(seen.answered(home) > 5 for home in ("n1", "n2", "n3"))
    assert not seen.lost
