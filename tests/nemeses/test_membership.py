"""Members that leave and join: what is aimed at, that every way out gives all members back, and clusters that live with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.databases.cassandra import Cassandra
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import Indeterminate, Refused, UsageError
from splitbrain.harness.history.fault import Other
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import Step, nemesis, schedule
from splitbrain.harness.testbeds.namespaces import Namespaces, empty
from splitbrain.harness.testbeds.testbed import Node as AnyNode
from splitbrain.harness.testbeds.testbed import Service
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.combination import AND
from splitbrain.nemeses.membership import _members as agreed_members
from splitbrain.nemeses.nemesis import NoTarget, Outlook
from tests.conftest import Ran, need
from tests.harness.jumping import run
from tests.harness.test_faults import NAMES, SERVICE, Node, Remembering, Scene, Unstarted
from tests.harness.testbeds.cluster import inside

JOINS = Service(name="server", argv=("server", "--join"))


class Machine(Node):
    """A node that remembers what it was started with."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.service = SERVICE

    @property
    def services(self) -> list[Service]:
        return [self.service] if self.runs else []

    async def start(self, service: Service) -> None:
        await super().start(service)
        self.service = service


class Group(Unstarted, Membership):
    """Members as their majority has them; a node that was wiped is one only if it was started to join. Answers take a while,
    and some are lost."""

    name = "group"

    def __init__(self, testbed: Remembering, folder: Path, lost: random.Random) -> None:
        self.machines = {node.name: cast(Machine, node) for node in testbed.nodes}
        self.nodes = {name: cast(AnyNode, machine) for name, machine in self.machines.items()}
        self.folder = folder
        self.listed = set(NAMES)
        self.new: set[str] = set()
        """Those whose data was to be wiped before they joined."""
        self.lost = lost
        self.stubborn = False
        self.fewest = len(NAMES)
        for name in NAMES:
            (folder / name / "log").mkdir(parents=True)
            (folder / name / "log" / "1").write_text("data")

    def serves(self, name: str) -> bool:
        empty = not any((self.folder / name).iterdir())
        joined = self.machines[name].service == JOINS
        return self.machines[name].runs and name in self.listed and (name in self.new) == joined and empty == joined

    async def _answer(self, asked: AnyNode, *, changes: bool = False) -> None:
        await asyncio.sleep(0.05)
        if not self.serves(asked.name):
            raise Refused("no-member")
        if changes and self.lost.random() < 0.3:
            raise Indeterminate("connection-lost")

    async def members(self, asked: AnyNode) -> frozenset[str]:
        await self._answer(asked)
        return frozenset(self.listed)

    async def remove_member(self, name: str, asked: AnyNode) -> None:
        await asyncio.sleep(0.1)
        if self.stubborn:
            raise Refused("no-replica")
        self.listed.discard(name)
        self.fewest = min(self.fewest, len(self.listed))
        await self._answer(asked, changes=True)

    async def add_member(self, name: str, asked: AnyNode) -> Service:
        await asyncio.sleep(0.1)
        if name not in self.listed:
            self.listed.add(name)
            self.new.add(name)
        await self._answer(asked, changes=True)
        return JOINS


class Members(Scene):
    """A controller on such a group."""

    def __init__(self, folder: Path, seed: int = 1) -> None:
        super().__init__()
        self.testbed.nodes = [Machine(name) for name in NAMES]
        self.testbed.wipe = self._wipe  # type: ignore[attr-defined]
        self.group = Group(self.testbed, folder, random.Random(seed))
        self.cluster.database = self.group
        self.wiped: list[str] = []

    async def _wipe(self, name: str, keep: Collection[str]) -> None:
        self.wiped.append(name)
        empty(self.group.folder / name, keep)

    @property
    def whole(self) -> bool:
        """Whether every node is a member that serves."""
        return all(self.group.serves(name) for name in NAMES)


def test_one_node_at_a_time_is_aimed_at() -> None:
    found = nemesis("membership")
    view = Outlook(names=("n1", "n2", "n3", "n4", "n5"), primary="n2", last_primary="n1")
    for role in found.known(5):
        (spec,) = found.aim(role, view, random.Random(1))
        assert len(spec.touched) == (5 if role == "rolling" else 1)
    (rolling,) = found.aim("rolling", view, random.Random(1))
    assert rolling.options["turns"] == ["n1", "n3", "n4", "n5", "n2"], "the primary comes last"  # type: ignore[union-attr]


def test_where_members_are_fixed_it_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match=r"redis sentinel cannot change its members: a sentinel forgets .*RESET"):
        resolve({"database": "redis", "nemesis": "halves+membership:follower"})
    with pytest.raises(UsageError, match="reference lww cannot change its members: "):
        resolve({"database": "reference", "variant": "lww", "nemesis": "membership"})
    for testbed in ("namespaces", "docker"):
        resolve({"database": "etcd", "nemesis": "membership:primary", "testbed": testbed})


@pytest.mark.parametrize("nemesis", ["membership", "membership:follower", "halves+membership:follower"])
def test_of_too_few_nodes_none_may_leave(nemesis: str) -> None:
    with pytest.raises(UsageError, match="needs 3 nodes, the plan has 2"):
        resolve({"database": "etcd", "nemesis": nemesis, "nodes": 2})
    with pytest.raises(UsageError, match="redis cluster needs 4 nodes for one to leave, the plan has 3"):
        resolve({"database": "redis", "variant": "cluster", "nemesis": nemesis, "nodes": 3})
    resolve({"database": "redis", "variant": "cluster", "nemesis": nemesis, "nodes": 4})


def test_a_plan_leaves_a_slow_database_time_for_the_change() -> None:
    plan = {"database": "cassandra", "nemesis": "membership:follower", "nodes": 4}
    with pytest.raises(UsageError, match="cassandra one needs 4 nodes for one to leave, the plan has 3"):
        resolve({**plan, "nodes": 3})
    with pytest.raises(UsageError, match="cassandra takes up to 180 s to replace a member: --between 180"):
        resolve({**plan, "between": 179})
    resolve({**plan, "between": 180})
    with pytest.raises(UsageError, match="720 s to replace every member, one after the other: --between 720"):
        resolve({**plan, "nemesis": "spike+membership:rolling", "between": 180})
    resolve({**plan, "nemesis": "membership:follower+rolling", "between": 180})  # A partition that is called so.
    resolve({"database": "cassandra", "nemesis": "kill"})
    resolve({"database": "etcd", "nemesis": "membership"})


@pytest.mark.parametrize(("nemesis", "more", "told"), [
    ("kill+membership:follower", {}, "takes some away before"),
    ("halves+membership:follower", {}, "takes some away before"),
    ("membership:follower+membership:any", {}, "takes some away before"),
    ("membership+kill", {"pace": "random"}, "put them further apart"),
    ("membership:follower+kill", {"pace": "staggered", "between": 180, "fault": 200}, "put them further apart"),
    ("membership:follower+kill:follower", {"pace": "staggered", "between": 720}, ""),
    ("membership:follower+kill:follower", {}, ""),
    ("membership:follower+spike", {"pace": "staggered"}, ""),
])
def test_who_is_replaced_slowly_needs_all_others_meanwhile(nemesis: str, more: dict[str, Any], told: str) -> None:
    plan = {"database": "cassandra", "nodes": 4, "between": 720, "seed": 1, "nemesis": nemesis, **more}
    if not told:
        resolve(plan)
        return
    with pytest.raises(UsageError, match=f"(?i)cassandra replaces a member only while all its other nodes serve.*{told}"):
        resolve(plan)


def test_while_every_member_is_replaced_in_turn_nothing_keeps_one_away() -> None:
    for name in ("kill:follower+membership:rolling", "membership:rolling+halves"):
        with pytest.raises(UsageError, match="replaces every node in turn, and what it does beside that keeps some of them"):
            resolve({"database": "etcd", "nemesis": name})
    resolve({"database": "etcd", "nemesis": "membership:rolling+clock-jump:primary"})
    plan = resolve({"database": "etcd", "nemesis": "membership+kill"})
    assert {step.scenario.split(AND)[0] for step in schedule(plan)} == {"follower", "primary"}
    resolve({"database": "etcd", "nemesis": "membership:rolling+kill:follower", "pace": "staggered"})


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 1 << 16), other=st.sampled_from(["kill:any", "pause:follower", "terminate:minority"]))
def test_no_server_is_ended_that_leaves_at_the_same_time(seed: int, other: str) -> None:
    view = Outlook(names=("n1", "n2", "n3"), primary="n2")
    both = nemesis(f"{other}+membership:follower")
    (scenario,) = both.scenarios(3)
    one, left = both.aim(scenario, view, random.Random(seed))
    assert not one.touched <= left.touched
    same = nemesis("kill:n1+membership:n1")
    assert same.scenarios(3) == ()
    with pytest.raises(NoTarget, match="no server is left to kill n1"):
        same.aim("n1 + n1", view, random.Random(seed))


def test_a_scripted_combination_names_a_scenario_of_each_part() -> None:
    script = {"at": 5.0, "duration": 5.0, "nemesis": "membership+kill"}
    plan = {"database": "etcd", "nodes": 5}
    resolve({**plan, "schedule": [{**script, "scenario": "follower + all"}]})
    with pytest.raises(UsageError, match="does 2 things at once, and its scenario 'follower' does not name one of each"):
        resolve({**plan, "schedule": [{**script, "scenario": "follower"}]})


class Telling(Group):
    """What each node tells; who is not in it does not answer."""

    def __init__(self, told: dict[str, set[str]]) -> None:
        self.told = {name: frozenset(members) for name, members in told.items()}
        self.nodes = {f"n{number}": cast(AnyNode, Node(f"n{number}")) for number in range(1, 5)}

    async def members(self, asked: AnyNode) -> frozenset[str]:
        if asked.name not in self.told:
            raise Refused("no-member")
        return self.told[asked.name]


ALL, LEFT = {"n1", "n2", "n3", "n4"}, {"n1", "n2", "n4"}


@pytest.mark.parametrize(("told", "agreed"), [
    ({"n1": ALL, "n2": ALL, "n4": ALL}, ALL),
    ({"n2": LEFT, "n4": LEFT}, LEFT),  # n1 is down, n3 has left.
    ({"n2": LEFT, "n3": ALL, "n4": LEFT}, LEFT),
    ({"n2": LEFT, "n3": ALL, "n4": ALL}, set()),
    ({"n2": LEFT, "n3": LEFT}, set()),  # Who is no member by its own list has no vote.
    ({}, set()),
])
async def test_members_are_agreed_on_by_a_majority_of_themselves(told: dict[str, set[str]], agreed: set[str]) -> None:
    database = Telling(told)
    assert await agreed_members(cast(Cluster, SimpleNamespace(names=tuple(database.nodes), database=database))) == agreed


@pytest.mark.parametrize("role", ["follower", "primary", "rolling"])
def test_a_node_leaves_and_joins_empty(tmp_path: Path, role: str) -> None:
    async def work() -> None:
        scene = Members(tmp_path)
        await scene.controller.inject([Step(1, 5, "membership", role)])
        fault = scene.last[1]
        assert fault.bit and fault.healed and scene.whole and scene.group.fewest == 2, (fault.proofs, fault.undone)
        assert scene.group.new == set(fault.struck) == (set(NAMES) if role == "rolling" else set(fault.struck))
        assert fault.undone[0].detail == "members n1 n2 n3" and "before n1 n2 n3" in fault.proofs[0].detail

    run(work())


@pytest.mark.parametrize("tenths", range(1, 30, 2))
def test_who_is_joining_when_the_time_of_the_fault_is_over_is_not_removed_once_more(tmp_path: Path, tenths: int) -> None:
    async def work() -> None:
        scene = Members(tmp_path)
        await scene.controller.inject([Step(1, tenths / 10, "membership", "rolling")])
        fault = scene.last[1]
        assert fault.bit and fault.healed and scene.whole, (fault.proofs, fault.undone)
        (spec,) = fault.specs
        assert isinstance(spec, Other)
        first, *others = spec.options["turns"]
        assert scene.wiped == [first, first, *others], "none after it began to join; the first at once, and when it is its turn"

    run(work())


def test_a_removal_that_does_not_show_is_none(tmp_path: Path) -> None:
    async def work() -> None:
        scene = Members(tmp_path)
        scene.group.stubborn = True
        await scene.controller.inject([Step(1, 5, "membership", "follower")])
        fault = scene.last[1]
        assert not fault.bit and len(fault.wrong) == 1 and scene.whole and not scene.group.new
        assert "refused: no-replica" in fault.proofs[0].detail

    run(work())


@settings(max_examples=60, deadline=None)
@given(at=st.floats(0, 7), seed=st.integers(0, 1 << 16), role=st.sampled_from(["follower", "primary", "rolling"]))
def test_cancelled_at_any_moment_all_are_members_again(
    tmp_path_factory: pytest.TempPathFactory, at: float, seed: int, role: str
) -> None:
    async def work() -> None:
        scene = Members(tmp_path_factory.mktemp("members"), seed)
        steps = [Step(1, 4, "membership", role), Step(3, 5, "membership", "any")]
        task = asyncio.ensure_future(scene.controller.inject(steps))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scene.whole and scene.cluster.out() == (), (scene.group.listed, scene.group.new, scene.last)
        assert scene.group.fewest >= 2, "never two at a time"

    run(work())


@pytest.mark.parametrize(("program", "words", "role", "baseline", "after"), [
    ("etcd", "etcd --nodes 3", "follower", 5, 5),
    ("mongod", "mongodb --nodes 3", "primary", 2, 3),
    ("redis-server", "redis --variant cluster --nodes 6", "primary", 1, 2),
])
def test_a_real_cluster_lives_with_it(
    splitbrain: Callable[..., Ran], program: str, words: str, role: str, baseline: int, after: int
) -> None:
    need(program)
    ran = splitbrain("test", *words.split(), "--nemesis", f"membership:{role}", "--time", f"{baseline + 2 + after}s",
                     "--baseline", f"{baseline}s", "--fault", "2s", "--between", f"{min(after, 3)}s")
    (row,) = ran.result.scenarios
    assert row.bit and row.healed and row.dead == () and (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    assert ran.result.classification == "not-exercised", "a change of members cuts no link"
    (struck,) = row.struck
    names = [f"n{number}" for number in range(1, int(words[-1]) + 1)]
    others = " ".join(name for name in names if name != struck)
    assert f"members {others}, before {' '.join(names)}" in ran.said
    assert f"add to the members members {' '.join(names)}" in ran.said
    assert f"remove from the members and wipe {struck}" in ran.said
    assert next(home for home in row.homes if home.node == struck).write.state == "blocked"


def test_a_node_of_cassandra_that_may_not_leave_or_is_down_stays_a_member(tmp_path: Path) -> None:
    need("java", "cassandra")
    plan = Plan(database="cassandra", variant="one", nodes=2)
    testbed = Namespaces(plan, "test", tmp_path)

    async def whole() -> None:
        await testbed.up(2)
        database = Cassandra(plan, testbed.nodes)
        database.changes = True
        first, second = testbed.nodes
        try:
            await database.start()
            with pytest.raises(Refused, match="not-decommissioned") as refused:
                await database.remove_member("n2", first)
            assert "Not enough live nodes to maintain replication factor in keyspace" in (refused.value.detail or "")
            assert [await database.members(node) for node in (first, second)] == [{"n1", "n2"}] * 2
            await second.stop("cassandra", kill=True)
            with pytest.raises(Refused, match="not-running"):
                await database.remove_member("n2", first)
            assert await database.members(first) == {"n1", "n2"}
        finally:
            await database.close()
            await testbed.down()

    inside(testbed, whole)


@pytest.mark.parametrize("variant", ["majority", "majority-amnesia"])
def test_who_votes_without_its_data_is_found(splitbrain: Callable[..., Ran], variant: str) -> None:
    ran = splitbrain("test", "reference", "--variant", variant, "--nodes", "3", "--nemesis", "membership:rolling",
                     "--keys", "400", "--time", "6s", "--baseline", "2s", "--fault", "1s", "--between", "2s", "--settle", "1s")
    (row,) = ran.result.scenarios
    assert row.bit and row.healed and row.struck == ("n1", "n2", "n3"), ran.stdout
    if variant == "majority":
        assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    else:
        assert ran.code == 1 and ran.result.lost.total > 0 and "lost-write" in ran.result.counts, ran.stdout
