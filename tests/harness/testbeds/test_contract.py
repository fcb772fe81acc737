"""What every testbed's nodes do alike: services that are killed, paused, started again, or die on their own."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import msgspec
import pytest

from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.namespaces import NamespaceNode, Namespaces
from splitbrain.harness.testbeds.ssh_node import SshNode
from splitbrain.harness.testbeds.testbed import Node, Service, everything
from tests.conftest import ROOT
from tests.harness.testbeds import machines
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, inside, plan
from tests.harness.testbeds.test_namespaces import without
from tests.harness.testbeds.test_sandbox import gone
from tests.lab import built

if TYPE_CHECKING:
    from splitbrain.harness.testbeds.testbed import Testbed  # which pytest would take for a test

Work = Callable[[Any], Awaitable[None]]

FAMILY = Service(
    name="family",
    argv=("python3", "-S", "-E", "{folder}/family.py"),
    memory_mb=48,
    files={"family.py": """
import os, subprocess, sys, threading, time
# A process, its other thread, its child, and a daemon that left it: each counts in its memory and says how far it is.
def count(who):
    number = 0
    while True:
        number += 1
        os.write(1, f"{who} {number}\\n".encode())
        time.sleep(0.005)
if os.fork() == 0:
    count("child")
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        count("daemon")
    os._exit(0)
os.wait()
threading.Thread(target=count, args=("thread",), daemon=True).start()
count("parent")
"""},
)
MEMBERS = ("child", "daemon", "thread", "parent")


@pytest.fixture(params=["namespaces", "docker", "ssh"])
def testbed(request: pytest.FixtureRequest, tmp_path: Path) -> Testbed:
    if request.param == "ssh":
        machines.needed()
        return machines.Beside(machines.planned(tmp_path), "a-test", tmp_path)
    if request.param == "docker":
        request.getfixturevalue("lab")
        return Docker(plan(image=built("reference")), "a test", tmp_path)
    return Namespaces(plan(), "a test", tmp_path)


_FILLED = (
    "import os; os.makedirs('data/deep/er'); os.makedirs('given', exist_ok=True); os.symlink('/etc', 'data/link'); "
    "[open(name, 'w').close() for name in ('data/deep/er/file', '.hidden', 'a b', 'given/more')]"
)
_LISTED = "import os; [print(os.path.join(at, name)) for at, below, files in os.walk('.') for name in below + files]"


def with_nodes(testbed: Testbed, count: int, work: Work, service: Service = ON_PYTHON) -> None:
    """Run `work` beside `count` nodes with a small server on each."""

    async def whole() -> None:
        try:
            await testbed.up(count)
            for node in testbed.nodes:
                await node.start(service)
                await says(node, service.name, "listening")
            await testbed.listen(PORT)
            await work(testbed)
        finally:
            await testbed.down()
            assert not testbed.nodes

    inside(testbed, whole)


def log(node: Node, name: str) -> str:
    return node.log(name).read_text() if node.log(name).exists() else ""


async def says(node: Node, name: str, text: str, times: int = 1) -> None:
    """Wait until a service has printed this so often."""
    async with asyncio.timeout(60):
        while log(node, name).count(text) < times:
            await asyncio.sleep(0.01)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not true():
            await asyncio.sleep(0.01)


def counted(node: Node) -> dict[str, int]:
    """How far each member of the family is; that none missed a number says that its memory was kept."""
    found = dict.fromkeys(MEMBERS, 0)
    whole, _, _ = log(node, "family").rpartition("\n")
    for line in whole.splitlines():
        who, number = line.split()
        assert int(number) == found[who] + 1, line
        found[who] += 1
    return found


async def still(node: Node) -> dict[str, int]:
    """How far all are that stand still. What they printed before may reach the log later; who goes on prints in between."""
    async with asyncio.timeout(60):
        before = counted(node)
        while True:
            await asyncio.sleep(0.2)
            if (now := counted(node)) == before:
                return now
            before = now


async def only_the_second_serves(testbed: Testbed) -> None:
    """n1 takes no connection in any time; on a busy machine n2 may take its time."""
    for patience in (0.5, 10.0):
        serving = await testbed.serving(timeout=patience)
        assert not serving["n1"]
        if serving["n2"]:
            return
    raise AssertionError("n2 takes no connection")


async def go_on(node: Node) -> dict[str, int]:
    before = counted(node)
    await until(lambda: all(number > before[who] + 5 for who, number in counted(node).items()))
    return counted(node)


def test_paused_it_stands_still_and_resumed_it_goes_on(testbed: Testbed) -> None:
    async def work(testbed: Testbed) -> None:
        (node,) = testbed.nodes
        await node.start(FAMILY)
        await go_on(node)
        for _ in range(3):
            await node.pause("family")
            before = await still(node)
            await node.pause("family")
            await asyncio.sleep(0.2)
            assert counted(node) == before
            assert node.running("family") and not node.ended()
            spent = await node.let_run("family", 0.0, 0.0)
            assert spent > 0 and counted(node) == before, "it only tells what it has used of the processor"
            assert await node.let_run("family", 0.02, 20.0) > spent
            moved = await still(node)
            assert any(moved[who] > before[who] for who in before) and node.running("family"), "it went on for a moment"
            await node.resume("family")
            await go_on(node)
            await node.resume("family")
        for nothing in (node.pause, node.resume):
            await nothing("nonsense")
        assert await node.let_run("nonsense", 1.0, 1.0) == 0

    with_nodes(testbed, 1, work)


def test_a_paused_server_is_no_cut_link(testbed: Testbed) -> None:
    async def work(testbed: Testbed) -> None:
        whole = everything(["n1", "n2"])
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        one = testbed.nodes[0]
        assert await testbed.serving(timeout=30) == {"n1": True, "n2": True}
        await one.pause("server")
        await only_the_second_serves(testbed)
        assert (await testbed.probe(whole, timeout=1.0)).wrong(whole) == ()
        # More than its queue holds wait for it: from now on nothing answers a new connection at all.
        waiting = [socket.socket() for _ in range(100)]
        try:
            for each in waiting:
                each.setblocking(False)
                each.connect_ex((one.address, PORT))
            await asyncio.sleep(0.1)
            await only_the_second_serves(testbed)
            reach = await testbed.probe(whole, timeout=0.5)
            assert reach.wrong(whole) == () and reach.fresh == {("n1", "n2"): True}
            await testbed.apply(whole, cut)
            reach = await testbed.probe(cut, timeout=1.0)
            assert reach.wrong(cut) == () and len(reach.cut()) == 2
            await testbed.apply(cut, whole)
        finally:
            for each in waiting:
                each.close()
        await one.resume("server")
        assert await testbed.serving(timeout=60) == {"n1": True, "n2": True}
        assert (await testbed.probe(whole, timeout=1.0)).wrong(whole) == ()
        await one.stop("server", kill=True)
        await only_the_second_serves(testbed)
        assert (await testbed.probe(whole, timeout=1.0)).wrong(whole) == ()

    with_nodes(testbed, 2, work)


@pytest.mark.parametrize("testbed", ["namespaces", "docker", "ssh"], indirect=True)
def test_a_wiped_node_has_what_it_was_given_and_nothing_else(testbed: Testbed) -> None:
    async def work(testbed: Testbed) -> None:
        one, other = testbed.nodes
        given = msgspec.structs.replace(ON_PYTHON, files={**ON_PYTHON.files, "given/conf": "text"})
        await one.stop("server", kill=True)
        await one.start(given)
        await says(one, "server", "listening", times=2)
        for node in (one, other):
            assert (await node.run(["python3", "-S", "-E", "-c", _FILLED])).code == 0
        await one.stop("server", kill=True)
        await testbed.wipe("n1", set(given.files))
        await one.start(given)  # where no container runs there is nothing to look from
        left = [(await node.run(["python3", "-S", "-E", "-c", _LISTED])).stdout.split("\n") for node in (one, other)]
        assert sorted(filter(None, left[0])) == ["./given", "./given/conf", "./server.py"]
        assert {"./a b", "./.hidden", "./given/more"} <= set(left[1]), "another node keeps its own"
        kept = ["python3", "-S", "-E", "-c", "import os; os.stat('/etc/passwd')"]
        assert (await one.run(kept)).code == 0, "a link is removed, not what it leads to"
        await says(one, "server", "listening", times=1 if testbed.name == "docker" else 3)

    with_nodes(testbed, 2, work)


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize("kill", [True, False])
def test_killed_and_started_again_it_is_still_cut(testbed: Testbed, paused: bool, kill: bool) -> None:
    if testbed.name == "ssh" and paused != kill:
        return  # the machines take seconds to make

    async def work(testbed: Testbed) -> None:
        whole = everything(["n1", "n2"])
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        one = testbed.nodes[0]
        await one.start(FAMILY)
        await go_on(one)
        services = one.services
        assert [service.name for service in services] == ["server", "family"]
        await testbed.apply(whole, cut)
        for service in services:
            if paused:
                await one.pause(service.name)
            await one.stop(service.name, kill=kill)
            assert not one.running(service.name)
        await still(one)
        assert not one.services
        assert (await testbed.probe(cut, timeout=1.0)).wrong(cut) == ()
        await one.start(services[0])
        await says(one, "server", "listening", times=2)
        assert await testbed.serving(timeout=60) == {"n1": True, "n2": True}
        assert (await testbed.probe(cut, timeout=1.0)).wrong(cut) == ()
        assert not one.ended()

    with_nodes(testbed, 2, work)


def test_a_server_started_again_finds_its_files_as_it_left_them(testbed: Testbed) -> None:
    rewriting = Service(
        name="rewriting",
        argv=("python3", "-S", "-E", "{folder}/rewriting.py"),
        memory_mb=24,
        files={"state/own.conf": "first", "rewriting.py": """
import pathlib, time
own = pathlib.Path("state/own.conf")
print("found", own.read_text(), flush=True)
own.write_text(own.read_text() + " and more")
print("wrote", flush=True)
time.sleep(600)
"""},
    )
    other = msgspec.structs.replace(rewriting, files={**rewriting.files, "state/own.conf": "second"})

    async def work(testbed: Testbed) -> None:
        (node,) = testbed.nodes
        for number, service in enumerate((rewriting, rewriting, other, other), 1):
            await node.start(service)
            await says(node, "rewriting", "wrote", times=number)
            await node.stop("rewriting", kill=True)
        found = [line.removeprefix("found ") for line in log(node, "rewriting").splitlines() if line.startswith("found")]
        assert found == ["first", "first and more", "second", "second and more"]

    with_nodes(testbed, 1, work)


def test_who_died_is_remembered_and_who_was_stopped_is_not(testbed: Testbed) -> None:
    dying = Service(name="dying", argv=("python3", "-c", "print('alas'); raise SystemExit(5)"), memory_mb=24)
    brief = Service(name="dying", argv=("sh", "-c", "exit 5"), memory_mb=24)

    async def work(testbed: Testbed) -> None:
        (node,) = testbed.nodes
        for service in (dying, *[brief] * BRIEFLY[testbed.name]):
            await node.start(service)
            await until(lambda: not node.running("dying"))
        await murder(node, "server")
        await until(lambda: not node.running("server"))
        often = 1 + BRIEFLY[testbed.name]
        assert [(death.node, death.service, death.code) for death in node.ended()] == [
            *[("n1", "dying", 5)] * often, ("n1", "server", KILLED[testbed.name]),
        ]
        await node.start(ON_PYTHON)
        await says(node, "server", "listening", times=2)
        await node.stop("server", kill=True)
        await node.stop("dying")
        await node.start(FAMILY)
        await node.pause("family")
        await node.stop("family")
        assert len(node.ended()) == often + 1
        assert [death.time for death in node.ended()] == sorted(death.time for death in node.ended())

    with_nodes(testbed, 1, work)


BRIEFLY = {"namespaces": 20, "docker": 0, "ssh": 20}
"""How often a service lives for a moment: its end may be heard of before its start has been."""
KILLED = {"namespaces": -signal.SIGKILL, "docker": 128 + signal.SIGKILL, "ssh": -signal.SIGKILL}


async def murder(node: Node, service: str) -> None:
    """End a service behind the node's back."""
    if isinstance(node, NamespaceNode | SshNode):
        assert (await node.run(["pkill", "-KILL", "-f", f"{service}.py"])).code == 0
    else:
        cast(Any, node)._services[service].container.kill("SIGKILL")


def test_nodes_with_paused_servers_can_be_torn_down(testbed: Testbed) -> None:
    async def work(testbed: Testbed) -> None:
        for node in testbed.nodes:
            await node.start(FAMILY)
            for service in node.services:
                await node.pause(service.name)

    with_nodes(testbed, 2, work)


def test_kill_9_while_servers_are_paused_leaves_nothing(testbed: Testbed, tmp_path: Path) -> None:
    if testbed.name == "ssh":
        return  # its guards are seen at work in test_ssh.py
    run = f"test-{uuid.uuid4()}"
    image = built("reference") if testbed.name == "docker" else "none"
    command = [sys.executable, "-m", "tests.harness.testbeds.paused", testbed.name, str(tmp_path), run, image]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env={**os.environ, "MARK": run}) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "paused\n"
        process.kill()
    assert gone(run)
    removed = [line for line in type(testbed).clean() if run in line]
    assert len(removed) == (4 + 1 + 2 if testbed.name == "docker" else 0)  # containers, network, volumes


def test_a_paused_run_that_is_alive_is_not_cleaned(testbed: Testbed) -> None:
    async def work(testbed: Testbed) -> None:
        await testbed.nodes[0].pause("server")
        assert list(type(testbed).clean()) == []
        assert testbed.nodes[0].running("server")

    with_nodes(testbed, 1, work)
