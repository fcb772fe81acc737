"""Servers ended and paused on real nodes: it bites, it is proven, it is over after its end; and what others do meanwhile."""

from __future__ import annotations

import asyncio
import random
import re
from pathlib import Path
from typing import cast

import msgspec
import pytest

from splitbrain.harness.databases.database import Database, Detection
from splitbrain.harness.history.fault import Kill, Nodes, Pause
from splitbrain.harness.schedules import Step, nemesis
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.nemeses.nemesis import NoTarget, Outlook
from splitbrain.nemeses.roles import ROLES, nodes_of
from tests.harness.testbeds.cluster import SERVER, with_cluster
from tests.nemeses.driver import Driver, step

FIVE = ("n1", "n2", "n3", "n4", "n5")


def drawn(role: str, view: Outlook) -> set[Nodes]:
    return {nodes_of(role, view, random.Random(seed)) for seed in range(60)}


def test_roles() -> None:
    view = Outlook(names=FIVE, primary="n2", last_primary="n5", holders={0: ("n3",), "a": ("n4", "n1"), 1: ()},
                   owners=("n5", "n1"))
    assert drawn("any", view) == {(name,) for name in FIVE}
    assert drawn("primary", view) == {("n2",)}
    assert drawn("follower", view) == {(name,) for name in FIVE if name != "n2"}
    assert drawn("last-primary", view) == {("n5",)}
    assert {len(nodes) for nodes in drawn("minority", view)} == {2} and len(drawn("minority", view)) > 5
    assert {len(nodes) for nodes in drawn("quorum", view)} == {3}
    assert {len(nodes) for nodes in drawn("quorum", Outlook(names=FIVE, out=("n1", "n4")))} == {1}
    assert {len(nodes) for nodes in drawn("majority", view)} == {3} and len(drawn("majority", view)) > 5
    assert drawn("key-holder", view) == {("n1",), ("n3",), ("n4",)} and drawn("lock-owner", view) == {("n5",)}
    assert drawn("all", view) == {FIVE}


def test_a_role_that_nobody_plays_is_no_target() -> None:
    view = Outlook(names=FIVE, holders={0: ()})
    for role in ("primary", "follower", "last-primary", "key-holder", "lock-owner"):
        with pytest.raises(NoTarget):
            nodes_of(role, view, random.Random(1))
    with pytest.raises(NoTarget, match="no quorum"):
        nodes_of("quorum", Outlook(names=FIVE, out=FIVE[:3]), random.Random(1))
    leaderless = Outlook(names=FIVE, leaderless=True)
    assert drawn("primary", leaderless) == {(name,) for name in FIVE}


def test_a_node_is_named_and_may_be_the_only_one() -> None:
    for name in ("kill", "pause", "power-loss", "clock-jump"):
        found = nemesis(name)
        assert found.minimum_nodes() == 1 and len(found.scenarios(1)) == 1 and "follower" not in found.known(1)
        for count, role in ((1, found.scenarios(1)[0]), *((1, role) for role in found.known(1)), (5, "n4")):
            view = Outlook(names=FIVE[:count], primary="n1", last_primary="n1", holders={0: ("n1",)}, owners=("n1",))
            (spec,) = found.aim(role, view, random.Random(1))
            assert spec.touched == {"n4" if count == 5 else "n1"}, role
        assert "n4" in found.known(5) and "n6" not in found.known(5)
    assert nemesis("bit-flips").minimum_nodes() == 2 and "n2" in nemesis("bit-flips").known(2)


def test_each_nemesis_bites_at_every_role_and_is_over_afterwards(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n2")
        for name in ("kill", "terminate", "pause"):
            for role in ROLES:
                if role == "last-primary":
                    continue
                seen: dict[str, bool] = {}

                async def meanwhile(seen: dict[str, bool] = seen) -> None:
                    for _ in range(20):  # A busy machine may have a server wait that is meant to serve.
                        for node, serves in (await testbed.serving(timeout=0.3)).items():
                            seen[node] = seen.get(node, False) or serves
                        if {node for node, serves in seen.items() if not serves} == set(driver.cluster.out()):
                            break

                fault = await driver.do(step(name, role), meanwhile)
                assert fault.bit and fault.healed and fault.proven, (name, role)
                assert fault.cut == () and set(fault.struck) == {node for node, serves in seen.items() if not serves}
                assert set(fault.sides) == {(node,) for node in fault.struck} | (
                    {rest} if (rest := tuple(node for node in FIVE if node not in fault.struck)) else set()
                )
                assert all((await testbed.serving(timeout=10)).values())
                text, proof = driver.told[-2]
                assert text.startswith("pause" if name == "pause" else "kill") and "link" not in text + proof
        assert not any(node.ended() for node in testbed.nodes), "what a nemesis ends did not die on its own"

    with_cluster(tmp_path, 5, work)


def test_how_long_servers_stood_still_is_measured_and_held_against_the_databases_own_time(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        for seconds, told in ((30.0, ", under its election time-out of 30 s"), (0.05, ", over its election time-out of 0.05 s"),
                              (0.0, " (after how long others miss a server is not known of it)")):
            driver.cluster.database = cast("Database", object())
            driver.cluster.detection = Detection("election time-out", seconds, "a test") if seconds else None
            fault = await driver.do(Step(0.0, 0.4, "pause", "minority", exact=True))
            (spec,) = fault.specs
            assert isinstance(spec, Pause) and spec.length == 0.4 and fault.bit and fault.healed
            (figure,) = fault.undone[0].figures
            assert (figure.what, figure.intended) == ("stood still", 0.4) and figure.middle > 0.1
            assert driver.told[-1][0] == "resume"
            assert re.fullmatch(rf"1/1 serving, stood still for \d+\.\d\d s{re.escape(told)}", driver.told[-1][1])
            again = await driver.do(Step(0.0, 0.4, "scripted", "scripted", (msgspec.structs.replace(spec, length=9.0),)))
            assert again.specs == (spec,), "a script may ask for another length"

        node = testbed.nodes[1]

        async def dies() -> None:
            assert (await node.run(["pkill", "-KILL", "-f", "server.py"])).code == 0
            async with asyncio.timeout(60):
                while node.running("server"):
                    await asyncio.sleep(0.01)
            await node.start(SERVER)

        fault = await driver.do(Step(0.0, 0.4, "scripted", "scripted", (Pause((node.name,)),)), dies)
        assert not fault.bit and fault.healed and fault.proofs[0].detail == "n2 ended by itself"

    with_cluster(tmp_path, 3, work)


def test_a_restart_and_a_crash_loop(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            async with asyncio.timeout(60):
                while not (await testbed.serving(timeout=0.5))["n1"]:
                    await asyncio.sleep(0.05)

        fault = await driver.do(step("restart", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.specs == (Kill(("n1",), down=0.1),)
        assert [text for text, _ in driver.told] == ["restart n1", "start again"]
        starts = testbed.nodes[1].log("server").read_bytes().count(b"listening")

        async def wait() -> None:
            async with asyncio.timeout(60):
                while testbed.nodes[1].log("server").read_bytes().count(b"listening") < starts + 3:
                    await asyncio.sleep(0.05)

        loop = Step(0.0, 1.0, "", "", (Kill(("n2",), down=0.05, up=0.2),))
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", loop.specs), wait)
        assert fault.bit and fault.healed
        assert driver.told[-2][0] == "crash loop n2" and "ended " in driver.told[-1][1]
        assert not any(node.ended() for node in testbed.nodes)

    with_cluster(tmp_path, 2, work)


def test_a_node_on_which_nothing_runs_cannot_be_killed(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        await testbed.nodes[0].stop("server")
        for name in ("kill", "pause"):
            fault = await Driver(testbed, "n1").do(step(name, "primary"))
            assert not fault.bit and fault.wrong == ("n1",)

    with_cluster(tmp_path, 2, work)


def test_a_server_that_does_not_come_back_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitbrain.nemeses.injectors.processes.RETURN", 0.5)

    async def work(testbed: Namespaces) -> None:
        async def meanwhile() -> None:
            await testbed.nodes[0].run(["rm", "server.py"])

        driver = Driver(testbed, "n1")
        fault = await driver.do(step("kill", "primary"), meanwhile)
        assert fault.bit and fault.heal_began and fault.healed is None and fault.heal_wrong == ("n1",)
        assert driver.told[-1] == ("start again", "0/1 serving")
        assert await driver.controller.prove_healed() == ("not serving: n1",)

    with_cluster(tmp_path, 2, work)


def test_a_kill_inside_a_partition_inside_a_pause(tmp_path: Path) -> None:
    """A server that is started again meets the rules that are in force, and stands still where somebody has it so."""

    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        cluster = driver.cluster
        links = [("n1", "n2"), ("n2", "n1")]
        await cluster.cut("cut", links)
        await cluster.pause("pause", ["n1"])
        await cluster.end("kill", ["n1"])
        await cluster.end("again", ["n1"])
        assert not testbed.nodes[0].services
        await cluster.start("kill", ["n1"])
        assert not testbed.nodes[0].services, "somebody else keeps it down"
        await cluster.start("again", ["n1"])
        assert testbed.nodes[0].running("server") and await cluster.silent(["n1"], timeout=0.3) == ("n1",)
        await cluster.resume("pause", ["n1"])
        assert await cluster.serving(["n1"], timeout=30.0) == ()
        reach, wrong = await cluster.probe(timeout=1.0)
        assert wrong == () and reach.cut() == (("n1", "n2"), ("n2", "n1"))
        await cluster.mend("cut")
        assert await driver.controller.prove_healed() == ()

    with_cluster(tmp_path, 3, work)


def test_a_combination_is_one_fault_with_the_specs_of_each(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        both = nemesis("partition-primary+pause:follower")
        (scenario,) = both.scenarios(3)
        fault = await driver.do(step("partition-primary+pause:follower", scenario))
        assert fault.bit and fault.healed and isinstance(fault.specs[1], Pause)
        (paused,) = fault.struck
        assert paused in ("n2", "n3") and fault.sides == (("n2", "n3"), ("n1",)), "it stays on the side that it is on"
        text, proof = driver.told[-2]
        assert text == f"partition {{n1}} | {{n2 n3}} + pause {paused}"
        assert proof.startswith("6/6 links as intended, 1/1 standing still, spread ")
        assert driver.told[-1] == ("heal + resume", "6/6 links up, 1/1 serving")

        # A server that is down takes no connection either, and stands nowhere.
        killed = (Kill(("n1",)), Pause(("n1",)))
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", killed))
        assert not fault.bit and fault.proofs[0].holds and not fault.proofs[1].holds and fault.wrong == ("n1",)
        assert driver.told[-2][1].startswith("1/1 down, 0/1 standing still, n1 down, spread ")
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Kill(("n1",)), Pause(("n1", "n3")))))
        assert fault.bit and fault.proofs[1].measured == ("n3",)
        assert driver.told[-2][1].startswith("1/1 down, 1/2 standing still, n1 down, spread ")

        # Who is started while it lasts stands still from then on.
        await driver.cluster.end("another fault", ["n1"])
        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Pause(("n1",)),)))
        assert not fault.bit and fault.wrong == ("n1",), "it was down all the time"

        async def started() -> None:
            await driver.cluster.start("another fault", ["n1"])

        fault = await driver.do(Step(0.0, 1.0, "scripted", "scripted", (Pause(("n1",)),)), started)
        assert fault.bit and fault.healed
        assert all((await testbed.serving(timeout=10)).values())

    with_cluster(tmp_path, 3, work)
