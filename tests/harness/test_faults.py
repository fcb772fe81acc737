"""The controller: what comes when, and that every way out undoes everything. Time jumps; nodes only remember what was done."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import SetupError
from splitbrain.harness.faults import HELD, PATIENCE, Controller
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Cut, Fault, Kill, Other, Pause, Spec
from splitbrain.harness.load.client import Client
from splitbrain.harness.schedules import Step
from splitbrain.harness.testbeds.testbed import Applied, Connectivity, Reach, Service, everything
from splitbrain.harness.testbeds.testbed import Node as AnyNode
from splitbrain.nemeses.cluster import Cluster
from tests.harness.jumping import run

NAMES = ("n1", "n2", "n3")
LATE = 1e9
SERVICE = Service(name="server", argv=("server",))


class Node:
    """Remembers whether its one server runs and stands still. Everything takes a while."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.runs = True
        self.paused = False
        self.broken = False

    @property
    def services(self) -> Sequence[Service]:
        return [SERVICE] if self.runs else []

    def running(self, name: str) -> bool:
        return self.runs

    async def start(self, service: Service) -> None:
        assert not self.runs
        await asyncio.sleep(0.2)
        if self.broken:
            raise SetupError(f"{self.name} does not start")
        self.runs = True

    async def stop(self, name: str, *, kill: bool = False) -> None:
        await asyncio.sleep(0.1)
        self.runs = self.paused = False

    def ended(self) -> Sequence[Death]:
        return ()

    async def pause(self, name: str) -> None:
        await asyncio.sleep(0.05)
        self.paused = self.runs

    async def resume(self, name: str) -> None:
        await asyncio.sleep(0.05)
        self.paused = False


class Remembering:
    """A testbed that remembers its links, and does what it is told after a while."""

    name = "namespaces"
    attached = False

    def __init__(self) -> None:
        self.nodes = [Node(name) for name in NAMES]
        self.up = set(everything(NAMES).edges)
        self.applying = 0
        self.refuses = 0
        self.blind = False
        self.quorate = False
        """Whether servers take connections only while every link is up."""

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        self.applying += 1
        assert self.applying == 1, "two changes of the network at once"
        await asyncio.sleep(0.02)
        self.applying -= 1
        if self.refuses:
            self.refuses -= 1
            raise SetupError("n1: iptables refuses")
        self.up = set(after.edges)
        return Applied(spread=0, rules={})

    async def probe(self, intended: Connectivity, *, timeout: float) -> Reach:
        await asyncio.sleep(0.25)
        if self.blind and not self.whole:
            raise SetupError("n1 cannot be asked")
        seen = {link: link in self.up for link in everything(NAMES).edges}
        return Reach(datagrams=seen, datagrams6={}, fresh={}, standing={})

    async def serving(self, *, timeout: float) -> dict[str, bool]:
        if any(node.paused for node in self.nodes):
            await asyncio.sleep(timeout)
        return {node.name: node.runs and not node.paused and (not self.quorate or self.whole) for node in self.nodes}

    @property
    def whole(self) -> bool:
        """Whether no link is cut."""
        return self.up == set(everything(NAMES).edges)

    @property
    def healthy(self) -> bool:
        """Whether nothing is left of any fault."""
        return self.whole and all(node.runs and not node.paused for node in self.nodes)


class Unstarted(Database):
    """A database of which a test asks nothing but what it adds."""

    async def start(self) -> None:
        raise NotImplementedError

    async def ready(self) -> bool:
        raise NotImplementedError

    async def connect(self, server: AnyNode) -> Client:
        raise NotImplementedError

    async def local(self, node: AnyNode) -> Client:
        raise NotImplementedError

    async def versions(self) -> dict[str, str]:
        raise NotImplementedError


class Scene:
    """A controller on such a testbed, whose load stops at a moment of the test's choice."""

    def __init__(self, primary: Callable[[], str | None] = lambda: "n1", stops: float = LATE, seed: int = 1) -> None:
        loop = asyncio.get_running_loop()
        self.testbed = Remembering()
        self.told: list[tuple[float, str]] = []
        self.records: list[Fault] = []
        self.links: Connectivity = everything(NAMES)
        self.stops = stops
        self.cluster = Cluster(cast(Any, self.testbed), NAMES, lambda: round(loop.time() * 1e9), self.enforce)
        self.controller = Controller(
            self.cluster, seed, primary=primary, leaderless=lambda: False, stops_within=self.stops_within, record=self.record,
            teller=self,
        )

    def enforce(self, links: Connectivity) -> None:
        self.links = links

    def record(self, fault: Fault) -> None:
        self.records.append(fault)

    def fault(self, time_ns: int, text: str, detail: str) -> None:
        self.told.append((round(time_ns / 1e9, 3), text))

    async def stops_within(self, seconds: float) -> bool:
        now = asyncio.get_running_loop().time()
        await asyncio.sleep(max(0.0, min(seconds, self.stops - now)))
        return asyncio.get_running_loop().time() >= self.stops - 1e-6

    @property
    def last(self) -> dict[int, Fault]:
        """Each fault as it was recorded last."""
        return {fault.id: fault for fault in self.records}


def cut(*links: tuple[str, str]) -> Cut:
    return Cut(links)


def scripted(at: float, duration: float, *specs: Spec) -> Step:
    return Step(at, duration, "scripted", "scripted", specs)


MIXED = (
    scripted(1, 4, cut(("n1", "n2"), ("n2", "n1"))),
    scripted(2, 5, Kill(("n1", "n2")), cut(("n2", "n1"), ("n2", "n3"))),
    scripted(3, 1, Pause(("n2", "n3"))),
    scripted(3.5, 4, Kill(("n3",), down=0.3, up=0.4)),
    scripted(4, 2, Pause(("n1",))),
)


def test_each_fault_comes_and_goes_at_its_time_and_they_compose() -> None:
    async def work() -> None:
        scene = Scene()
        both = cut(("n1", "n3"), ("n1", "n2"))
        steps = [scripted(5, 8, cut(("n1", "n2"))), scripted(7, 2, Kill(("n3",))), scripted(8, 20, both)]
        await scene.controller.inject(steps)
        assert scene.told == [
            (5.02, "partition n1→n2"), (7.1, "kill n3"), (8.02, "partition n1→n3, n1→n2"),
            (pytest.approx(9.1, abs=0.05), "start again"),
            (pytest.approx(13.5, abs=0.1), "heal"), (pytest.approx(28.5, abs=0.1), "heal"),
        ]
        first, second, third = scene.last.values()
        assert first.bit and second.bit and third.bit and scene.testbed.healthy
        assert first.sides == (("n1", "n2", "n3"),) and second.sides == (("n1",), ("n2",), ("n3",))
        assert third.sides == (("n2", "n3"), ("n1",)), "n3 is down, and n1 is cut off from both"
        assert first.undone[0].holds, "what another fault still cuts is no failure of this heal"
        assert first.heal_proof(NAMES) == "6/6 links as intended, another fault cuts 2"
        assert third.heal_proof(NAMES) == "6/6 links up" and second.heal_proof(NAMES) == "1/1 serving"
        assert set(scene.links.edges) == set(everything(NAMES).edges)

    run(work())


def test_what_cannot_be_looked_at_in_the_end_is_not_said_to_have_held() -> None:
    async def work() -> None:
        scene = Scene()
        asyncio.get_running_loop().call_at(7, setattr, scene.testbed, "blind", True)
        with pytest.raises(BaseExceptionGroup) as raised:
            await scene.controller.inject([scripted(5, 8, cut(("n1", "n2")))])
        assert raised.group_contains(SetupError, match="n1 cannot be asked") and scene.testbed.healthy
        fault = scene.last[1]
        assert fault.in_force and not fault.bit and fault.healed and fault.proofs[0].detail == "n1 cannot be asked"

    run(work())


def test_lines_are_told_in_the_order_of_their_times() -> None:
    """What is proven late is told as of then, with the time at which it began."""

    async def work() -> None:
        scene = Scene()
        scene.testbed.quorate = True
        late = scripted(1, 1, Kill(("n3",)))  # its server serves again once nothing is cut
        await scene.controller.inject([late, scripted(1.5, 6, cut(("n1", "n2"))), scripted(4, 1, Pause(("n2",)))])
        times = [time for time, _ in scene.told]
        assert times == sorted(times) and len(times) == 6
        ((at, _),) = [one for one in scene.told if one[1] == "start again"]
        began = scene.last[1].heal_began
        assert began is not None and at > 7 > 4 > began / 1e9

    run(work())


def test_a_stopped_load_undoes_at_once_and_begins_nothing() -> None:
    async def work() -> None:
        scene = Scene(stops=6.0)
        await scene.controller.inject([scripted(5, 8, cut(("n1", "n2"))), scripted(7, 2, Kill(("n3",)))])
        assert list(scene.last) == [1] and scene.testbed.healthy
        assert scene.last[1].healed and 6.0 <= scene.last[1].heal_began / 1e9 < 6.6  # type: ignore[operator]

    run(work())


@settings(max_examples=150, deadline=None)
@given(at=st.floats(0, 7.5))
def test_cancelled_at_any_moment_nothing_is_left(at: float) -> None:
    async def work() -> None:
        scene = Scene()
        task = asyncio.ensure_future(scene.controller.inject(MIXED))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert scene.testbed.healthy and scene.cluster.out() == ()
        assert set(scene.links.edges) == set(everything(NAMES).edges)
        for fault in scene.last.values():
            assert len(fault.undone) == len(fault.specs) or not fault.proofs, "what was done is recorded as undone"

    run(work())


@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 7.5))
def test_what_fails_beside_it_undoes_everything(at: float) -> None:
    async def work() -> None:
        scene = Scene()

        async def load() -> None:
            await asyncio.sleep(at)
            raise ValueError("the load failed")

        with pytest.raises(ExceptionGroup) as raised:
            async with asyncio.TaskGroup() as group:
                group.create_task(scene.controller.inject(MIXED))
                group.create_task(load())
        assert raised.group_contains(ValueError)
        assert scene.testbed.healthy

    run(work())


def test_a_spec_that_cannot_be_done_undoes_those_before_it() -> None:
    async def work() -> None:
        scene = Scene()
        scene.testbed.refuses = 1
        with pytest.raises(ExceptionGroup) as raised:
            await scene.controller.inject([scripted(1, 5, Kill(("n2",)), cut(("n1", "n2")))])
        assert raised.group_contains(SetupError, match="iptables refuses")
        assert scene.testbed.healthy and not scene.last[1].bit and scene.last[1].in_force is None
        assert len(scene.last[1].undone) == 2

    run(work())


def test_an_undo_that_fails_does_not_keep_the_others_from_theirs() -> None:
    async def work() -> None:
        scene = Scene()
        scene.testbed.nodes[1].broken = True
        with pytest.raises(ExceptionGroup):
            await scene.controller.inject([scripted(1, 5, cut(("n1", "n2")), Kill(("n2",)))])
        assert scene.testbed.up == set(everything(NAMES).edges)
        assert scene.last[1].bit and scene.last[1].healed is None

    run(work())


def test_a_primary_is_waited_for_and_where_there_is_none_nothing_is_claimed() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        step = Step(1, 3, "partition-primary", "primary-alone")
        late = Scene(primary=lambda: "n2" if loop.time() > 2.5 else None)
        await late.controller.inject([step])
        assert late.last[1].bit and late.last[1].primary == "n2" and 2.5 < (late.last[1].in_force or 0) / 1e9 < 2.7
        began = loop.time()
        never = Scene(primary=lambda: None)
        await never.controller.inject([step])
        assert never.told[-1][1] == "partition-primary primary-alone" and PATIENCE <= loop.time() - began - 1 < PATIENCE + 0.2
        assert never.last[1].specs == () and not never.last[1].bit and "no node was named" in never.last[1].detail
        assert never.testbed.healthy

    run(work())


def test_a_fault_that_comes_when_the_primary_changes() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        scene = Scene(primary=lambda: "n1" if loop.time() < 7 else None if loop.time() < 8 else "n3", stops=30.0)
        again = Step(20, 1, "kill", "primary", when="primary-changes")
        await scene.controller.inject([Step(2, 1, "kill", "last-primary", when="primary-changes"), again])
        assert scene.last[2].specs == () and not scene.last[2].bit, "one that a script names and that did not come is told"
        assert scene.last[2].detail == "nothing was done: the primary did not change until the load ended"
        assert scene.last[1].specs == (Kill(("n1",)),) and 8 <= scene.last[1].started / 1e9 < 8.2
        began = loop.time()
        first = Scene(primary=lambda: None if loop.time() < began + 2 else "n1", stops=began + 5)
        await first.controller.inject([Step(1, 1, "kill", "primary", when="primary-changes")])
        assert first.last[1].specs == (), "that somebody is primary for the first time is no change"

    run(work())


def test_a_crash_loop_beats_until_its_end() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.controller.inject([scripted(1, 10, Kill(("n2",), down=0.5, up=1.0))])
        fault = scene.last[1]
        assert fault.bit and fault.healed and scene.testbed.healthy
        assert fault.undone[0].detail == "ended 6 times"

    run(work())


def test_what_another_fault_keeps_down_is_not_said_to_serve() -> None:
    async def work() -> None:
        scene = Scene()
        await scene.controller.inject([scripted(1, 3, Kill(("n1", "n2"))), scripted(2, 5, Pause(("n2",)))])
        assert scene.last[1].heal_proof(NAMES) == "1/2 serving, another fault keeps n2" and scene.last[1].healed
        assert scene.last[2].heal_proof(NAMES) == "1/1 serving" and scene.testbed.healthy

    run(work())


class Pair(Node):
    """A node with two servers, the first of which has ended by itself."""

    def __init__(self) -> None:
        super().__init__("n1")
        self.up = [SERVICE, msgspec.structs.replace(SERVICE, name="beside")]

    @property
    def services(self) -> Sequence[Service]:
        return self.up

    def running(self, name: str) -> bool:
        return any(service.name == name for service in self.up)

    async def start(self, service: Service) -> None:
        self.up.append(service)

    async def stop(self, name: str, *, kill: bool = False) -> None:
        self.up = [service for service in self.up if service.name != name]


def test_a_server_that_ended_is_started_again_though_another_beside_it_went_on() -> None:
    async def work() -> None:
        scene = Scene()
        pair = Pair()
        scene.testbed.nodes[0] = pair
        await scene.cluster.end("damage", ["n1"])
        await scene.cluster.start("damage", ["n1"])
        assert len(pair.up) == 2
        await pair.stop("server")  # by itself: its file is damaged
        assert [service.name for service in scene.cluster.gone("n1")] == ["server"]
        await scene.cluster.end("damage", ["n1"])
        await scene.cluster.start("damage", ["n1"])
        assert [service.name for service in pair.up] == ["beside"]
        await scene.cluster.revive(["n1"])
        assert {service.name for service in pair.up} == {"server", "beside"}
        await pair.stop("server")
        await scene.cluster.end("kill", ["n1"])
        await scene.cluster.revive(["n1"])
        assert not pair.up, "somebody keeps it down"
        await scene.cluster.start("kill", ["n1"])
        assert [service.name for service in pair.up] == ["server", "beside"], "who was to be started then is started with it"

    run(work())


def test_what_another_fault_had_done_already_is_not_claimed() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        scene = Scene()
        inside = [scripted(1, 9, Kill(("n1",))), scripted(2, 1, Kill(("n1",))), scripted(4, 1, Kill(("n1",), down=0.1)),
                  scripted(6, 1, Pause(("n1",))), scripted(20, 5, Pause(("n2",))), scripted(21, 2, Pause(("n2",)))]
        await scene.controller.inject(inside)
        assert [fault.bit for fault in scene.last.values()] == [True, False, False, False, True, False]
        assert all(fault.healed for fault in scene.last.values()) and scene.testbed.healthy
        assert scene.last[3].proofs[0].detail == "another fault had done it already" and scene.last[3].wrong == ("n1",)
        for seed in range(20):
            drawn = Scene(seed=seed)
            await drawn.controller.inject([scripted(1, 9, Kill(("n1",))), Step(3, 2, "kill", "any")])
            assert all(fault.bit for fault in drawn.last.values()), "another is drawn than the one that is down"
        began = loop.time()
        elected = Scene(primary=lambda: "n1" if loop.time() < began + 3 else "n2")
        await elected.controller.inject([scripted(1, 9, Pause(("n1",))), Step(2, 2, "pause", "primary")])
        assert elected.last[2].bit and elected.last[2].specs == (Pause(("n2",)),), "another primary is waited for"
        longer = Scene()
        later = [scripted(1, 3, Kill(("n1",))), scripted(2, 9, Kill(("n1", "n2"))), scripted(3, 12, Pause(("n1",))),
                 scripted(20, 3, Pause(("n2",))), scripted(21, 4, Pause(("n2",)))]
        await longer.controller.inject(later)
        assert all(fault.bit and fault.healed for fault in longer.last.values()), "each holds it for longer than the one before"

    run(work())


def test_a_server_that_waits_for_a_quorum_is_waited_for_as_long_as_it_is_cut_off() -> None:
    async def work() -> None:
        scene = Scene()
        scene.testbed.quorate = True
        await scene.controller.inject([scripted(1, 60, cut(("n1", "n2"))), scripted(2, 3, Kill(("n1",)))])
        killed = scene.last[2]
        assert killed.bit and killed.undone[0].holds and killed.healed is not None
        assert killed.heal_began is not None and killed.heal_began / 1e9 < 6 and killed.healed / 1e9 > 61

    run(work())


@pytest.mark.parametrize("specs", [(cut(("n1", "n2")), Kill(NAMES)), (Kill(NAMES), cut(("n1", "n2")))])
def test_a_server_that_waits_for_a_quorum_does_not_wait_for_links_that_its_own_fault_cuts(specs: tuple[Spec, ...]) -> None:
    """What is done last is undone first, and its proof would wait for ever."""
    async def work() -> None:
        scene = Scene()
        scene.testbed.quorate = True
        async with asyncio.timeout(60):
            await scene.controller.inject([scripted(1, 5, *specs)])
        (fault,) = scene.last.values()
        assert scene.testbed.healthy and fault.bit and all(proof.holds for proof in fault.undone)
        assert fault.healed is not None and fault.healed / 1e9 < 6 + HELD + 2

    run(work())


@settings(max_examples=50, deadline=None)
@given(at=st.floats(0, 12))
def test_cancelled_while_links_hold_servers_back_nothing_is_left(at: float) -> None:
    async def work() -> None:
        scene = Scene()
        scene.testbed.quorate = True
        task = asyncio.ensure_future(scene.controller.inject([scripted(1, 3, cut(("n1", "n2")), Kill(NAMES))]))
        await asyncio.sleep(at)
        task.cancel()
        await asyncio.wait([task])
        assert scene.testbed.healthy

    run(work())


CLOSE = tuple(Step(1 + 0.4 * at, 0.3, "halves", "halves", (cut(("n1", "n2")), Kill((name,))), alone=True)
              for at, name in enumerate(NAMES * 3))
"""Faults that follow one another more closely than their proofs take: 0.1 s lie between them."""


@settings(max_examples=30, deadline=None)
@given(stops=st.floats(1, 40))
def test_faults_that_are_to_come_alone_wait_for_the_heal_of_the_one_before(stops: float) -> None:
    async def work() -> None:
        scene = Scene(stops=stops)
        await scene.controller.inject(CLOSE)
        faults = list(scene.last.values())
        done = [fault for fault in faults if fault.specs]
        assert scene.testbed.healthy and all(fault.bit and fault.healed for fault in done)
        for first, second in itertools.pairwise(done):
            assert first.healed is not None and first.healed <= second.started
        late = "nothing was done: the fault before it was not healed until the load ended"
        assert all(fault.detail == late for fault in faults[len(done):])
        assert len(done) == len(CLOSE) or stops < 30

    run(work())


def test_a_fault_waits_for_acknowledged_writes() -> None:
    async def work() -> None:
        loop = asyncio.get_running_loop()
        scene = Scene()
        scene.controller._acknowledged = lambda: round(100 * loop.time())
        steps = [Step(1, 1, "scripted", "scripted", (cut(("n1", "n2")),), writes=700),
                 Step(3, 1, "scripted", "scripted", (cut(("n1", "n3")),), writes=100)]
        await scene.controller.inject(steps)
        assert {number: fault.started / 1e9 for number, fault in scene.last.items()} == pytest.approx({1: 7.0, 2: 3.0}, abs=0.1)
        never = Scene(stops=loop.time() + 5)
        never.controller._acknowledged = lambda: 1234
        await never.controller.inject([Step(1, 1, "scripted", "scripted", (cut(("n1", "n2")),), writes=5000)])
        assert never.last[1].detail == "nothing was done: fewer than 5,000 writes were acknowledged until the load ended"
        assert not never.last[1].bit and never.testbed.healthy

    run(work())


def test_whoever_is_primary_takes_the_part_of_who_was() -> None:
    async def work() -> None:
        scene = Scene(primary=lambda: "n3")
        steps = [
            Step(1, 1, "scripted", "scripted", (cut(("n1", "n2"), ("n2", "n1")), Pause(("n1",))), primary="n1"),
            Step(5, 1, "scripted", "scripted", (Kill(("n2", "n3")),), primary="n1"),
            Step(9, 1, "scripted", "scripted", (Kill(("n1",)),)),
        ]
        rolling = Other(nodes=NAMES, name="membership", does="replace", options={"turns": ["n2", "n3", "n1"], "percent": 1})
        assert rolling.renamed({"n1": "n3", "n3": "n1"}).options == {"turns": ["n2", "n1", "n3"], "percent": 1}
        await scene.controller.inject(steps)
        assert [fault.specs for fault in scene.last.values()] == [
            (cut(("n2", "n3"), ("n3", "n2")), Pause(("n3",))), (Kill(("n1", "n2")),), (Kill(("n1",)),),
        ]
        assert scene.testbed.healthy

    run(work())
