"""The operator's switch: what it is aimed at, that every way out puts it back, and what a run says of it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.databases.switchable import Switchable
from splitbrain.harness.errors import Indeterminate, Refused, UsageError
from splitbrain.harness.history.fault import Other
from splitbrain.harness.history.operation import KINDS
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import Step, nemesis, schedule
from splitbrain.harness.testbeds.testbed import Node as AnyNode
from splitbrain.nemeses.nemesis import NoTarget, Outlook
from tests.conftest import ROOT, Ran
from tests.harness.jumping import run
from tests.harness.test_faults import NAMES, Remembering, Scene, Unstarted

FIVE = ("n1", "n2", "n3", "n4", "n5")


class Panel(Unstarted, Switchable):
    """Servers with a switch each. Answers take a while, some are lost, and one is `stuck`: it takes no switch."""

    name = "panel"

    def __init__(self, testbed: Remembering, lost: random.Random, stuck: str = "") -> None:
        self.nodes = {node.name: cast(AnyNode, node) for node in testbed.nodes}
        self.alone: set[str] = set()
        self.lost = lost
        self.stuck = stuck

    async def _take(self, name: str, *, alone: bool) -> None:
        await asyncio.sleep(0.05)
        if self.lost.random() < 0.2:
            raise Refused("no-connection")
        if name != self.stuck:
            (self.alone.add if alone else self.alone.discard)(name)
        await asyncio.sleep(0.05)
        if self.lost.random() < 0.2:
            raise Indeterminate("connection-lost")

    async def allow_minority(self, node: AnyNode) -> None:
        await self._take(node.name, alone=True)

    async def forbid_minority(self, node: AnyNode) -> None:
        await self._take(node.name, alone=False)

    async def minority_allowed(self, node: AnyNode) -> bool:
        await asyncio.sleep(0.05)
        return node.name in self.alone


class Switched(Scene):
    """A controller on such servers."""

    def __init__(self, seed: int = 1, stuck: str = "") -> None:
        super().__init__()
        self.panel = Panel(self.testbed, random.Random(seed), stuck)
        self.cluster.database = self.panel


def steps(at: float = 2.0, duration: float = 3.0) -> list[Step]:
    """A cut from 1 s to 6 s, and a switch."""
    return [Step(1, 5, "partition-primary", "primary"), Step(at, duration, "switch", "minority")]


def aimed(sides: tuple[tuple[str, ...], ...], out: tuple[str, ...] = ()) -> tuple[str, ...]:
    (spec,) = nemesis("switch").aim("minority", Outlook(names=FIVE, sides=sides, out=out), random.Random(1))
    assert isinstance(spec, Other)
    return spec.nodes


def test_the_sides_without_a_quorum_are_aimed_at() -> None:
    assert aimed((("n2", "n4", "n5"), ("n1", "n3"))) == ("n1", "n3")
    assert aimed((("n3", "n4"), ("n1", "n2"), ("n5",))) == FIVE, "no side has one"
    assert aimed((("n2", "n4", "n5"), ("n1", "n3")), out=("n3",)) == ("n1",), "who is down takes no switch"
    for sides in ((FIVE,), (FIVE[1:], FIVE[:1])):
        with pytest.raises(NoTarget, match="no side is without a quorum"):
            aimed(sides, out=("n1",))


def test_where_there_is_no_switch_it_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="etcd linearizable cannot be switched by hand: its file names no such switch"):
        resolve({"database": "etcd", "nemesis": "halves+switch"})
    with pytest.raises(UsageError, match=r"reference majority cannot be switched by hand: only .* 'majority-switch' can"):
        resolve({"database": "reference", "variant": "majority", "nemesis": "switch"})
    with pytest.raises(UsageError, match="needs 3 nodes"):
        resolve({"database": "reference", "variant": "majority-switch", "nemesis": "switch", "nodes": 2})
    resolve({"database": "reference", "variant": "majority-switch", "nemesis": "halves+switch"})


def test_it_is_proven_by_what_each_node_says_and_put_back() -> None:
    async def work() -> None:
        scene = Switched()
        await scene.controller.inject(steps(duration=8.0))
        fault = scene.last[2]
        assert fault.bit and fault.healed and fault.struck == ("n1",) and not scene.panel.alone, (fault.proofs, fault.undone)
        assert fault.doing(NAMES) == "operator's switch: serve without a quorum at n1"
        assert fault.proofs[0].detail == "n1 needs no quorum, n2 n3 need a quorum"
        assert fault.undone[0].detail == "n1 needs a quorum" and fault.undoing() == "operator's switch back"

    run(work())


def test_on_a_whole_network_nothing_is_done_and_nothing_claimed() -> None:
    async def work() -> None:
        scene = Switched()
        await scene.controller.inject([Step(1, 5, "switch", "minority")])
        fault = scene.last[1]
        assert not fault.bit and not fault.specs and fault.detail == "nothing was done: no side is without a quorum"

    run(work())


def test_a_switch_that_a_node_does_not_take_is_none() -> None:
    async def work() -> None:
        scene = Switched(stuck="n1")
        await scene.controller.inject(steps())
        fault = scene.last[2]
        assert not fault.bit and fault.wrong == ("n1",) and not scene.panel.alone

    run(work())


def test_a_node_that_forgets_it_meanwhile_is_told() -> None:
    async def work() -> None:
        scene = Switched()
        task = asyncio.ensure_future(scene.controller.inject(steps(duration=4.0)))
        await asyncio.sleep(4)
        assert scene.panel.alone == {"n1"}
        scene.panel.alone.clear()
        await task
        fault = scene.last[2]
        assert fault.in_force and not fault.bit and fault.wrong == ("n1",) and fault.healed

    run(work())


def test_who_two_faults_switch_is_put_back_by_the_last() -> None:
    async def work() -> None:
        scene = Switched()
        task = asyncio.ensure_future(scene.controller.inject([*steps(), Step(3, 7, "switch", "minority")]))
        await asyncio.sleep(8)
        assert scene.last[2].heal_began and scene.panel.alone == {"n1"}
        await task
        one, other = scene.last[2], scene.last[3]
        assert one.bit and other.bit and other.healed and not scene.panel.alone
        assert not scene.cluster.switched["n1"]

    run(work())


@settings(max_examples=50, deadline=None)
@given(at=st.floats(0, 7.5), seed=st.integers(0, 1 << 16))
def test_cancelled_at_any_moment_it_is_put_back(at: float, seed: int) -> None:
    async def work() -> None:
        scene = Switched(seed)
        task = asyncio.ensure_future(scene.controller.inject([*steps(duration=6.0), Step(3, 4, "switch", "minority")]))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not scene.panel.alone and scene.testbed.healthy, scene.last

    run(work())


SCRIPT = """
database = "reference"
variant = "majority-switch"
nodes = 3
time = 7.0
rate = 500.0
baseline = 1.0
settle = 1.0

[[schedule]]
at = 1.0
duration = 3.6
nemesis = "halves"

[[schedule]]
at = 3.2
duration = 2.5
nemesis = "switch"
"""


def test_a_run_tells_what_a_switch_costs(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "script.toml").write_text(SCRIPT)
    ran = splitbrain("test", "--plan", "script.toml")
    cut, switch = ran.result.scenarios
    assert ran.code == 1 and cut.bit and cut.healed and switch.bit and switch.healed, ran.stdout
    (alone,) = switch.struck
    assert f"operator's switch: serve without a quorum at {alone}" in ran.said
    before, during = ({part.nodes: part for part in episode.sides} for episode in ran.result.episodes[:2])
    rest = tuple(name for name in NAMES if name != alone)
    for kind in KINDS:
        shut, opened = (one[alone,].of(kind).share for one in (before, during))
        assert shut is not None and opened is not None and shut < 0.5 < opened, (kind, shut, opened)
        assert all(one[rest].of(kind).answered for one in (before, during)), "the majority served all the while"
    assert cut.classification == ran.result.classification == "neither" and switch.classification == "not-exercised"
    assert cut.discarded is not None and cut.discarded.writes > 0
    assert {row.nodes for row in cut.discarded.rows} == {(alone,)}, "what the majority acknowledged stands"
    assert ran.result.lost.total > 0 and "lost-write" in ran.result.counts and "diverged" not in ran.result.counts


def test_the_plan_that_is_shipped_switches_in_the_midst_of_the_cut() -> None:
    cut, switch = schedule(resolve({}, ROOT / "switch.toml"))
    assert (cut.nemesis, switch.nemesis) == ("halves", "switch")
    assert cut.at < switch.at < cut.at + cut.duration < switch.at + switch.duration
