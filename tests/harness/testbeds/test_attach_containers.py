"""Containers that were there before: broken by their label, started again, and left as they were; none is touched that is not
marked."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from splitbrain.harness.databases.reference import database
from splitbrain.harness.errors import Indeterminate, PlanError, Refused, SetupError
from splitbrain.harness.history.fault import Cut, Impair, Pause, Skew
from splitbrain.harness.history.journal import load
from splitbrain.harness.plan import Plan
from splitbrain.harness.schedules import SCRIPTED, Step
from splitbrain.harness.testbeds import clocks
from splitbrain.harness.testbeds.attach_containers import Containers, address_of, found, unendable
from splitbrain.harness.testbeds.ssh_inventory import Host
from tests.conftest import ROOT, Ran, need
from tests.harness.testbeds.test_ssh import RULES, until
from tests.lab import built
from tests.nemeses.driver import Driver

PORT = database.Reference.port
SERVER = Path(database.__file__).with_name("server")
COMPOSE = "com.docker.compose"


def at(name: str) -> str:
    """The address of a container."""
    return f"198.18.77.1{name[1:]}"


ADDRESSES = {name: at(name) for name in ("n1", "n2", "n3")}
ALL = tuple((a, b) for a in ADDRESSES for b in ADDRESSES if a != b)
PLAN = Plan(database="reference", variant="majority", testbed="containers", containers="mine=yes", nodes=3)


@pytest.fixture
def started(lab: Any) -> Iterator[Callable[..., list[Any]]]:
    """Starts containers of an image in a network of their own: node → command, at fixed addresses; they are removed
    afterwards."""
    pool = docker.types.IPAMPool(subnet="198.18.77.0/24")
    ipam = docker.types.IPAMConfig(pool_configs=[pool])
    network = lab.networks.create("theirs", driver="bridge", ipam=ipam)
    made: list[Any] = []

    def start(image: str, commands: dict[str, list[str]], labels: dict[str, str], **more: Any) -> list[Any]:
        for name, words in commands.items():
            endpoint = lab.api.create_endpoint_config(ipv4_address=at(name))
            container = lab.containers.create(
                image, words, name=f"theirs-{name}", labels=labels, network="theirs", networking_config={"theirs": endpoint},
                **more,
            )
            made.append(container)
            container.start()
        return made

    try:
        yield start
    finally:
        for container in made:
            container.remove(force=True, v=True)
        network.remove()


@pytest.fixture
def theirs(started: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """Starts a cluster of three containers with these labels."""
    def start(**labels: str) -> list[Any]:
        commands = {}
        for name, address in ADDRESSES.items():
            peers = [f"--peer={other}={ADDRESSES[other]}:{PORT}" for other in ADDRESSES if other != name]
            words = [f"--name={name}", f"--listen={address}:{PORT}", *peers, "--mode=majority", "--skew=0", "--data=/tmp"]
            commands[name] = ["python3", "-I", "/server", *words]
        made = started(built("reference"), commands, labels, volumes={str(SERVER): {"bind": "/server", "mode": "ro"}})
        assert until(lambda: all(map(serves, ADDRESSES.values())))
        return made

    return start


def serves(address: str) -> bool:
    with socket.socket() as one:
        return one.connect_ex((address, PORT)) == 0


def rules(container: Any) -> str:
    container.reload()
    command = ["nsenter", f"--target={container.attrs['State']['Pid']}", "--net", "sh", "-c", RULES]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_they_are_cut_and_left_as_they_were(
    theirs: Callable[..., list[Any]], splitbrain: Callable[..., Ran], tmp_path: Path
) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("services: {}\n")
    composed = {"com.docker.compose.project.config_files": str(file), "splitbrain.disposable": "true"}
    containers = theirs(**composed)
    before = rules(containers[0])
    ran = splitbrain(
        "test", "reference", "--compose", str(file), "--variant", "majority",
        "--nemesis", "kill:follower+partition-primary", "--baseline", "1s", "--fault", "4s",
        "--between", "3s", "--time", "9s", "--settle", "5s", XDG_STATE_HOME=str(tmp_path),
    )
    (fault,) = load(ran.folder / "journal.jsonl")[1].faults
    assert len(fault.specs) == 2 and fault.bit and fault.healed, (fault.proofs, fault.undone)
    assert ran.code in (0, 2) and "3 nodes (containers)" in ran.said, ran.stdout
    assert rules(containers[0]) == before
    assert not list(Path("/run").glob("splitbrain-theirs*"))
    for container in containers:
        container.reload()
    assert [container.status for container in containers] == ["running"] * 3


class Theirs(Driver):
    """Whose servers are of the reference database."""

    def __init__(self, testbed: Containers) -> None:
        super().__init__(testbed, "n1")
        self.database = database.Reference(PLAN, testbed.nodes)

    async def clock(self, name: str) -> float | None:
        for _ in range(2):  # A connection to one that was ended is found out to be dead when it is used.
            with contextlib.suppress(Refused, Indeterminate):
                return await self.database.clock(self.database.nodes[name])
        return None


@contextlib.asynccontextmanager
async def attached(folder: Path) -> AsyncIterator[Theirs]:
    """A run that is attached to the three containers, for as long as that lasts."""
    testbed = Containers(PLAN, "a-run", folder)
    try:
        await testbed.up(3)
        await testbed.listen(PORT)
        yield Theirs(testbed)
    finally:
        await testbed.down()


KNOCKS = """
import select, socket, sys
taken, begun = 0, []
while not select.select([0], [], [], 0.05)[0]:
    begun.append(socket.socket())
    begun[-1].setblocking(False)
    begun[-1].connect_ex((sys.argv[1], int(sys.argv[2])))
    over = select.select([], begun, [], 0)[1]
    taken += sum(one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 for one in over)
    begun = [one for one in begun if one not in over][-20:]
print(taken)
"""
"""How often a server takes a connection, until the standard input ends."""


def knocking(container: Any, address: str) -> subprocess.Popen[str]:
    """Somebody in a container's network who does that all the time."""
    within = ["nsenter", f"--target={container.attrs['State']['Pid']}", "--net", sys.executable, "-c", KNOCKS]
    return subprocess.Popen([*within, address, str(PORT)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_what_is_in_force_is_so_for_one_that_is_started_again(theirs: Callable[..., list[Any]], tmp_path: Path) -> None:
    """Its network is another one, and no packet of a peer from which it is cut off comes into it."""
    containers = theirs(mine="yes", **{"splitbrain.disposable": "true"})
    containers[1].update(restart_policy={"Name": "always"})
    before = [rules(one) for one in containers]

    async def whole() -> None:
        async with attached(tmp_path) as driver:

            async def again() -> None:
                was = containers[1].attrs["State"]["Pid"]
                knocks = knocking(containers[0], ADDRESSES["n2"])
                assert (await driver.cluster.end(again, ["n2"])).idle == ()
                containers[1].reload()
                assert containers[1].status == "exited"
                assert (await driver.cluster.start(again, ["n2"])).idle == ()
                assert await driver.cluster.serving(["n2"], timeout=60) == ()
                assert knocks.communicate()[0] == "0\n"
                containers[1].reload()
                assert containers[1].attrs["State"]["Pid"] not in (0, was)

            specs = (Cut((("n1", "n2"),)), Impair(ALL, delay=60), Skew(("n2",), offset=60))
            fault = await driver.do(Step(0.0, 1.0, SCRIPTED, SCRIPTED, specs), again)
            assert [proof for proof in (*fault.proofs, *fault.undone) if not proof.holds] == []
            assert fault.bit and fault.healed
            assert await driver.controller.prove_healed() == ()

    asyncio.run(whole())
    assert [rules(one) for one in containers] == before


def test_one_that_dies_and_is_started_again_by_the_engine_is_followed(
    theirs: Callable[..., list[Any]], tmp_path: Path
) -> None:
    """Its rules are in its new network before a packet of a peer is, or what was in force is not told as held."""
    containers = theirs(mine="yes", **{"splitbrain.disposable": "true"})
    containers[1].update(restart_policy={"Name": "always"})
    before = [rules(one) for one in containers]

    async def whole() -> None:
        async with attached(tmp_path) as driver:
            second, deaths = driver.cluster.testbed.nodes[1], 0

            async def dies() -> None:
                nonlocal deaths
                deaths += 1
                was = containers[1].attrs["State"]["Pid"]
                os.kill(was, signal.SIGKILL)
                async with asyncio.timeout(60):
                    while len(second.ended()) < deaths or not second.running("reference"):
                        await asyncio.sleep(0.05)
                assert await driver.cluster.serving(["n2"], timeout=60) == ()
                containers[1].reload()
                assert containers[1].attrs["State"]["Pid"] not in (0, was)

            async def dies_unheard() -> None:
                knocks = knocking(containers[0], ADDRESSES["n2"])
                await dies()
                await asyncio.sleep(0.5)
                passed.append(knocks.communicate()[0])

            passed: list[str] = []
            cut = Step(0.0, 1.0, SCRIPTED, SCRIPTED, (Cut((("n1", "n2"), ("n3", "n2"))), Impair((("n2", "n3"),), delay=60)))
            try:
                fault = await driver.do(cut, dies_unheard)
            except* SetupError as told:
                assert "ended by itself, and packets may have come" in str(told.exceptions[0])
            else:
                assert fault.bit and fault.healed and passed == ["0\n"], (fault.proofs, fault.undone, passed)
            for spec in (Skew(("n2",), offset=60), Pause(("n2",))):
                fault = await driver.do(Step(0.0, 1.0, SCRIPTED, SCRIPTED, (spec,)), dies)
                assert not fault.bit and fault.healed, (fault.proofs, fault.undone)
                assert fault.proofs[0].detail == "n2 ended by itself"
            fault = await driver.do(cut, lambda: asyncio.sleep(0))
            assert fault.bit and fault.healed, (fault.proofs, fault.undone)
            assert await driver.controller.prove_healed() == () and deaths == 3

    asyncio.run(whole())
    assert [rules(one) for one in containers] == before


def test_a_redis_cluster_is_attached_to(
    started: Callable[..., list[Any]], splitbrain: Callable[..., Ran], tmp_path: Path
) -> None:
    need("redis-server", "redis-cli")
    words = "redis-server --protected-mode no --dir /tmp --cluster-enabled yes --cluster-node-timeout 2000"
    commands = {f"n{number}": [*words.split(), "--repl-diskless-sync-delay", "0"] for number in range(1, 7)}
    containers = started(built("redis"), commands, {"app": "cache", "splitbrain.disposable": "true"})
    said = splitbrain("test", "redis", "--containers", "app=cache", "--variant", "cluster")
    assert "0 of the cluster's 16384 slots have an owner" in said.said, said.stdout
    create = ["redis-cli", "--cluster", "create", *(f"{at(name)}:6379" for name in commands), "--cluster-replicas", "1"]
    subprocess.run([*create, "--cluster-yes"], check=True, stdout=subprocess.DEVNULL)
    before = list(map(rules, containers))
    ran = splitbrain(
        "test", "redis", "--containers", "app=cache", "--variant", "cluster", "--nemesis", "partition-primary", "--baseline",
        "2s", "--fault", "5s", "--between", "3s", "--time", "10s", "--settle", "10s", XDG_STATE_HOME=str(tmp_path),
    )
    (fault,) = load(ran.folder / "journal.jsonl")[1].faults
    assert fault.bit and fault.healed, (fault.proofs, fault.undone)
    assert "6 nodes (containers)" in ran.said and "stays in the cluster" not in ran.said, ran.stdout
    assert list(map(rules, containers)) == before
    keys = subprocess.run(["redis-cli", "-h", at("n1"), "dbsize"], check=True, capture_output=True, text=True)
    assert keys.stdout.strip() == "0"


def test_those_that_are_not_marked_are_not_touched(
    lab: Any, theirs: Callable[..., list[Any]], splitbrain: Callable[..., Ran]
) -> None:
    containers = theirs(mine="yes")
    said = splitbrain("test", "reference", "--containers", "mine=yes")
    assert said.code == 64 and "theirs-n1, theirs-n2, theirs-n3: not marked" in said.stderr
    said = splitbrain("test", "reference", "--containers", "mine=no")
    assert said.code == 64 and "no container that runs carries the label mine=no" in said.stderr
    (network,) = lab.networks.list(names=["theirs"])
    network.disconnect(containers[0])
    network.connect(containers[0])
    assert [problem.what for problem in unendable([Host(host=one.name, start=("true",)) for one in containers])] == [
        "theirs-n1 may come back at another address"
    ]


def test_one_that_could_be_reached_round_a_cut_is_refused(lab: Any, theirs: Callable[..., list[Any]]) -> None:
    file, project = f"{COMPOSE}.project.config_files=/x.yaml", f"{COMPOSE}.project"
    labels = {"mine": "yes", "splitbrain.disposable": "true", f"{COMPOSE}.project.config_files": "/x.yaml", project: "one"}
    first, second, _ = theirs(**labels)
    assert [host.address for host in found("mine=yes")] == list(ADDRESSES.values()) == [host.address for host in found(file)]
    first.pause()
    with pytest.raises(PlanError, match="theirs-n1 is paused: the cluster must run, all of it"):
        found("mine=yes")
    first.unpause()
    sleeps = ["python3", "-c", "import time; time.sleep(600)"]
    other = lab.containers.run(built("reference"), sleeps, labels=labels | {project: "two"}, detach=True)
    try:
        with pytest.raises(PlanError, match=r"/x\.yaml runs as 2 projects \(one, two\): name one of them"):
            found(file)
    finally:
        other.remove(force=True, v=True)
    network = lab.networks.create("theirs-too", driver="bridge")
    try:
        network.connect(second)
        with pytest.raises(PlanError, match=r"theirs-n2 has 198\.18\.77\.12 and .*: it must have one, of IPv4"):
            found("mine=yes")
    finally:
        network.disconnect(second, force=True)
        network.remove()
    both = {"IPAddress": "198.18.77.11", "GlobalIPv6Address": "fd00::11"}
    told = {**first.attrs, "NetworkSettings": {"Networks": {"theirs": both}}}
    with pytest.raises(PlanError, match=r"198\.18\.77\.11 and fd00::11"):
        address_of(told)


def test_kill_9_in_the_middle_of_a_fault_leaves_them_as_they_were(theirs: Callable[..., list[Any]], tmp_path: Path) -> None:
    containers = theirs(mine="yes", **{"splitbrain.disposable": "true"})
    before = rules(containers[0])
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "XDG_STATE_HOME": str(tmp_path)}
    words = "test reference --containers mine=yes --nemesis kill:n1+everyone-alone+delay+pause:n2+clock-jump:n3"
    words += " --baseline 1s --fault 60s --time 70s"
    command = [sys.executable, "-m", "splitbrain.harness.cli"]
    with subprocess.Popen([*command, *words.split()], cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL) as process:
        def in_force() -> bool:
            changed = all(rule in rules(one) for one in containers[1:] for rule in ("-j DROP", "-j NFQUEUE"))
            return changed and not alive(containers[0]) and stopped(containers[1]) and wrong(containers[2])

        assert until(in_force, 60)
        process.kill()
    # By no command of ours.
    assert until(lambda: all(map(alive, containers)))
    assert until(lambda: all(rules(one) == before and not stopped(one) and not wrong(one) for one in containers))
    command += ["clean", "--attached"]
    said = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert said.stdout.count(": removed") == 3
    assert not any(word in said.stdout for word in ("killed", "resumed", "started again"))
    assert not list(Path("/run").glob("splitbrain-theirs*"))


def alive(container: Any) -> bool:
    container.reload()
    return bool(container.attrs["State"]["Pid"])


def stopped(container: Any) -> bool:
    container.reload()
    return Path("/proc", str(container.attrs["State"]["Pid"]), "stat").read_text().rpartition(")")[2].split()[0] == "T"


def wrong(container: Any) -> bool:
    """Whether its server's clock is."""
    container.reload()
    return not clocks.is_skewed(container.attrs["State"]["Pid"], 0)
