"""Upgrades: what is refused, that every way out leaves one version, and a real cluster that lives with it."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness import images
from splitbrain.harness.databases.database import Database, Program
from splitbrain.harness.errors import Refused, UsageError
from splitbrain.harness.history.fault import Cut, Kill, Pause, Spec
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import Step, nemesis
from splitbrain.harness.servers import find_program
from splitbrain.nemeses import upgrade
from splitbrain.nemeses.nemesis import Outlook
from tests.conftest import Ran, need
from tests.harness.jumping import run
from tests.harness.test_faults import NAMES, Scene
from tests.lab import built
from tests.nemeses.test_membership import Machine


class Versioned:
    """Servers that tell their program as their version."""

    programs = (Program("server", ""),)
    newer = Program("server-2", "")
    variant = None
    same = False

    def __init__(self, machines: list[Machine]) -> None:
        self.nodes = {machine.name: machine for machine in machines}

    async def versions(self) -> dict[str, str]:
        await asyncio.sleep(0.05)
        if not all(machine.runs for machine in self.nodes.values()):
            raise Refused("no-connection")
        return {name: "1" if self.same else machine.service.argv[0] for name, machine in self.nodes.items()}


def scene(monkeypatch: pytest.MonkeyPatch) -> tuple[Scene, Versioned]:
    monkeypatch.setattr(upgrade, "find_program", lambda name: f"/programs/{name}")
    found = Scene()
    machines = [Machine(name) for name in NAMES]
    found.testbed.nodes = [*machines]
    database = Versioned(machines)
    found.cluster.database = cast(Database, database)
    return found, database


def test_the_primary_comes_last_or_first() -> None:
    found = nemesis("upgrade")
    view = Outlook(names=NAMES, primary="n2")
    orders = [found.aim(name, view, random.Random(1))[0].options["turns"] for name in found.known(3)]  # type: ignore[union-attr]
    assert orders == [["n1", "n3", "n2"], ["n2", "n1", "n3"]]


def test_where_there_is_one_version_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="redis sentinel cannot be upgraded: only one version can be had"):
        resolve({"database": "redis", "nemesis": "upgrade"})
    with pytest.raises(UsageError, match=r"etcd linearizable cannot be upgraded: /no/etcd, which .* is no file"):
        resolve({"database": "etcd", "nemesis": "upgrade", "options": {"upgrade": {"binary": "/no/etcd"}}})
    with pytest.raises(UsageError, match=r"in containers: \[options.upgrade\] image has to name the image of the other"):
        resolve({"database": "etcd", "nemesis": "upgrade", "testbed": "docker"})
    both = {"image": "etcd:2", "binary": __file__}
    with pytest.raises(UsageError, match=r"by a program: \[options.upgrade\] binary is for other testbeds"):
        resolve({"database": "etcd", "nemesis": "upgrade+kill", "testbed": "docker", "options": {"upgrade": both}})
    with pytest.raises(UsageError, match=r"by an image: \[options.upgrade\] image is for --testbed docker"):
        resolve({"database": "etcd", "nemesis": "upgrade", "options": {"upgrade": {"image": "etcd:2"}}})
    resolve({"database": "redis", "nemesis": "upgrade", "testbed": "docker", "options": {"upgrade": {"image": "redis:9"}}})
    (other := tmp_path / "redis-server-9").touch()
    resolve({"database": "redis", "nemesis": "upgrade", "options": {"upgrade": {"binary": str(other)}}})


def test_a_version_that_stays_is_no_upgrade(monkeypatch: pytest.MonkeyPatch) -> None:
    async def work() -> None:
        found, database = scene(monkeypatch)
        database.same = True
        await found.controller.inject([Step(1, 5, "upgrade", "rolling")])
        assert not found.last[1].bit and found.testbed.healthy

    run(work())


@settings(max_examples=40, deadline=None)
@given(at=st.floats(0, 5))
def test_cancelled_at_any_moment_all_are_of_one_version(at: float) -> None:
    async def work(monkeypatch: pytest.MonkeyPatch) -> None:
        found, database = scene(monkeypatch)
        task = asyncio.ensure_future(found.controller.inject([Step(1, 6, "upgrade", "rolling")]))
        await asyncio.sleep(at)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert found.testbed.healthy and found.cluster.out() == ()
        assert len(set((await database.versions()).values())) == 1

    with pytest.MonkeyPatch.context() as monkeypatch:
        run(work(monkeypatch))


SPECS: dict[str, Spec] = {
    "kill a follower": Kill(("n2",)), "kill the primary": Kill(("n1",)), "kill all": Kill(NAMES),
    "kill over and over": Kill(("n3",), down=0.3, up=0.4), "pause": Pause(("n2", "n3")),
    "cut": Cut((("n1", "n2"), ("n2", "n1"), ("n3", "n2"), ("n2", "n3"))),
}


@pytest.mark.parametrize("quorate", [False, True])
@pytest.mark.parametrize("apart", [True, False])
@pytest.mark.parametrize("beside", SPECS)
def test_beside_another_fault_all_are_of_one_version_at_the_end(
    beside: str, apart: bool, quorate: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever begins and ends first: nobody waits for ever for what the other fault keeps away."""
    async def work() -> None:
        found, database = scene(monkeypatch)
        found.testbed.quorate = quorate
        rolling = nemesis("upgrade").aim("rolling", Outlook(names=NAMES, primary="n1"), random.Random(1))
        if apart:
            steps = [Step(1, 6, "upgrade", "rolling"), Step(2.5, 9, "scripted", "scripted", (SPECS[beside],))]
        else:
            steps = [Step(1, 6, "upgrade+kill", "rolling + any", (*rolling, SPECS[beside]))]
        async with asyncio.timeout(200):
            await found.controller.inject(steps)
        assert found.testbed.healthy and set((await database.versions()).values()) == {"/programs/server-2"}
        assert all(fault.bit and fault.healed for fault in found.last.values()), found.last

    run(work())


def test_etcd_lives_with_it(splitbrain: Callable[..., Ran]) -> None:
    need("etcd")
    if find_program("etcd-3.5.1") is None:
        pytest.skip("etcd 3.5.1: splitbrain servers get etcd")
    ran = splitbrain("test", "etcd", "--nodes", "3", "--nemesis", "upgrade", "--baseline", "2s", "--fault", "3s",
                     "--between", "2s")
    (row,) = ran.result.scenarios
    assert row.bit and row.healed and (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    assert ran.result.classification == "not-exercised" and "all 3.5.1" in ran.said


@pytest.mark.usefixtures("lab")
def test_containers_are_upgraded_into_another_image(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    need("etcd")
    if find_program("etcd-3.5.1") is None:
        pytest.skip("etcd 3.5.1: splitbrain servers get etcd")
    (plan := tmp_path / "plan.toml").write_text('[options.upgrade]\nimage = "splitbrain/etcd:no"\n')
    command = ("test", "etcd", "--testbed", "docker", "--image", built("etcd"), "--nodes", "3", "--nemesis", "upgrade",
               "--baseline", "2s", "--fault", "3s", "--between", "2s", "--plan", plan)
    ran = splitbrain(*command)
    assert ran.code == 3 and "the image splitbrain/etcd:no is not here and cannot be pulled" in ran.said + ran.stderr, ran
    assert not ran.runs.exists()
    plan.write_text(f'[options.upgrade]\nimage = "{images.build("etcd", "etcd-3.5.1").name}"\n')
    ran = splitbrain(*command)
    (row,) = ran.result.scenarios
    assert row.bit and row.healed and ran.result.validity != "invalid", ran.stdout
    assert "all 3.5.1" in ran.said and "splitbrain/etcd:3.5.1 (" in ran.result.facts["image"]
    assert ran.result.facts["image"].count("splitbrain/etcd:") == 2
