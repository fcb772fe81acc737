"""Real nodes in containers: services, firewall and probes, what a restart changes, and what is in the way."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.testbeds import commands, docker, engine
from splitbrain.harness.testbeds.container import _Running
from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.docker_access import Access
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.testbed import Service, everything
from tests.conftest import ROOT
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, SERVER, plan
from tests.harness.testbeds.test_namespaces import without
from tests.lab import built, inside, removed
from tests.nemeses.driver import Driver, step

WITHOUT_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")


def bed(folder: Path, **settings: Any) -> Docker:
    return Docker(plan(image=built("reference"), **settings), "a test", folder)


def with_nodes(testbed: Docker, count: int, work: Callable[[Docker], Awaitable[None]], *, serving: bool = True) -> None:
    """Run `work` beside `count` nodes, each with the small server."""

    async def whole() -> None:
        try:
            await testbed.up(count)
            if serving:
                await asyncio.gather(*(node.start(ON_PYTHON) for node in testbed.nodes))
                await logged(testbed, "server", "listening\n")
                await testbed.listen(PORT)
            await work(testbed)
        finally:
            await testbed.down()

    def inner() -> int:
        asyncio.run(whole())
        return 0

    assert testbed.inside(inner) == 0


async def logged(testbed: Docker, service: str, text: str) -> None:
    """Wait until every node's service has printed this, and nothing else."""
    async with asyncio.timeout(60):
        for node in testbed.nodes:
            while node.log(service).read_text() != text:
                await asyncio.sleep(0.01)


def ours(client: Any) -> list[str]:
    label = {"label": f"{engine.RUN}=a test"}  # not those of runs that somebody else makes here meanwhile
    things = [*client.containers.list(all=True, filters=label), *client.networks.list(filters=label)]
    return [thing.name for thing in [*things, *client.volumes.list(filters=label)]]


def test_nodes(lab: Any, tmp_path: Path) -> None:
    before = ours(lab)

    async def work(testbed: Docker) -> None:
        assert [node.name for node in testbed.nodes] == ["n1", "n2", "n3"]
        one = testbed.nodes[0]
        said = await one.run(["python3", "-c", "import os, socket; print(socket.gethostname(), os.getcwd())"])
        assert said.stdout == f"n1 {one.folder}\n"
        known = await one.run(["python3", "-c", "import socket; print(socket.gethostbyname('n3'))"])
        assert known.stdout == f"{testbed.nodes[2].address}\n"
        copied = await one.run(["python3", "-c", "print(input())"], stdin="héllo" * 10_000 + "\n")
        assert copied.stdout == "héllo" * 10_000 + "\n"
        failed = await one.run(["python3", "-c", "import sys; print('bad', file=sys.stderr); sys.exit(3)"])
        assert (failed.code, failed.stdout, failed.stderr) == (3, "", "bad\n")
        with pytest.raises(SetupError, match=r"n1: `no-such-program` cannot be run"):
            await one.run(["no-such-program"])
        with pytest.raises(SetupError, match=r"n1: .*sleep\(9\)` took longer than 0.3 s"):
            await one.run(["python3", "-c", "import time; time.sleep(9)"], timeout=0.3)
        for node in testbed.nodes:
            reader, writer = await asyncio.open_connection(node.address, PORT)
            assert float(await reader.read()) > 0, "its clock"
            writer.close()
        labels = {engine.RUN: "a test", engine.OWNER: owner()}
        containers = lab.containers.list(all=True, filters={"label": [f"{key}={value}" for key, value in labels.items()]})
        assert len(containers) == 6
        for container in containers:
            host = container.attrs["HostConfig"]
            assert not host["Privileged"] and not host["CapAdd"] and host["NetworkMode"] != "host" and host["Memory"]
        assert {len(ours(lab)) - len(before)} == {6 + 1 + 3}
        facts = await testbed.facts()
        assert facts["engine"].startswith("Docker ") and "process of the harness" in facts["faults"]
        assert "splitbrain/reference:" in facts["image"] and "built from this machine's python3" in facts["image"]

    with_nodes(bed(tmp_path, keep=True), 3, work)
    assert (tmp_path / "nodes/n1/server.log").read_text() == "listening\n"
    assert (tmp_path / "nodes/n3/data/server.py").read_text() == SERVER.files["server.py"]
    assert ours(lab) == before


def test_services(lab: Any, tmp_path: Path) -> None:
    counting = Service(
        name="counting",
        argv=("python3", "{folder}/a/count.py", "{folder}"),
        files={"a/count.py": """
import os, pathlib, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
path = pathlib.Path(sys.argv[1], "starts")
path.write_text(str(int(path.read_text()) + 1) if path.exists() else "1")
print(path.read_text(), os.environ.get("GREETING"), "{folder}", flush=True)
signal.pause()
"""},
    )

    async def work(testbed: Docker) -> None:
        (node,) = testbed.nodes
        loop = asyncio.get_running_loop()
        said = ""
        greeting = msgspec.structs.replace(counting, env={"GREETING": "hello"})
        for number, (service, kill) in enumerate([(counting, False), (counting, True), (greeting, True)], 1):
            await node.start(service)
            said += f"{number} {service.env.get('GREETING')} {node.folder}\n"
            await logged(testbed, "counting", said)
            with pytest.raises(SetupError, match="n1: counting runs already"):
                await node.start(service)
            grace = 60.0 if kill else 0.5
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("splitbrain.harness.testbeds.container._GRACE", grace)
                began = loop.time()
                await node.stop("counting", kill=kill)
                assert not node.running("counting") and (loop.time() - began < grace) == kill
            await node.stop("counting")
            assert list(node.ended()) == []
        await node.stop("nonsense")
        with pytest.raises(SetupError, match="n1: no service runs in whose container"):
            await node.run(["python3"])

        with pytest.raises(SetupError, match=r"n1: missing cannot be started from the image splitbrain/ref.*no-such-program"):
            await node.start(Service(name="missing", argv=("no-such-program",)))
        await node.start(Service(name="short", argv=("python3", "-c", "print('last words'); raise SystemExit(5)")))
        while node.running("short"):
            await asyncio.sleep(0.01)
        assert list(map(str, node.ended())) == ["short ended with exit code 5"]
        assert node.log("short").read_text() == "last words\n"
        greedy = Service(name="greedy", argv=("python3", "-c", "x = b'1' * (200 << 20)"), memory_mb=8)
        await node.start(greedy)
        while node.running("greedy"):
            await asyncio.sleep(0.01)
        assert "greedy ended with exit code 137 (out of memory: its limit was 32 MB)" in map(str, node.ended())

    with_nodes(bed(tmp_path), 1, work, serving=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may end a container's processes")
def test_servers_are_killed_without_the_engine(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = Service(name="parent", argv=("python3", "-c", f"""
import socket, subprocess, sys, time
server = socket.create_server(("0.0.0.0", {PORT}))
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], pass_fds=[server.fileno()])
print("listening", flush=True)
time.sleep(3600)
"""))
    asked: list[object] = []
    ask = _Running._ask

    def noted(running: _Running, call: Callable[[], object]) -> None:
        asked.append(call)
        ask(running, call)

    monkeypatch.setattr(_Running, "_ask", noted)

    async def work(testbed: Docker) -> None:
        (node,) = testbed.nodes
        for number in (1, 2):  # the second time in the same container
            await node.start(parent)
            await logged(testbed, "parent", "listening\n" * number)
            await node.stop("parent", kill=True)
            assert not node.running("parent") and node.services == [] and not asked
            with pytest.raises(ConnectionRefusedError):  # nor does its child hold the port
                await asyncio.open_connection(node.address, PORT)
        await node.start(parent)
        await node.pause("parent")
        asked.clear()
        await node.stop("parent", kill=True)  # the engine thaws what is frozen
        assert len(asked) == 1 and not node.running("parent")
        api = type(lab.api)
        told, ours = api.inspect_container, {"State": {"Pid": os.getpid()}}
        with monkeypatch.context() as patched:  # the engine's numbers are those of other processes here
            patched.setattr(api, "inspect_container", lambda api, name: told(api, name) | ours)
            await node.start(parent)
        asked.clear()
        await node.stop("parent", kill=True)
        assert len(asked) == 1 and not node.running("parent") and list(node.ended()) == []

    with_nodes(bed(tmp_path), 1, work, serving=False)


def test_probes_see_what_is_cut_and_what_is_not(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        whole = everything(node.name for node in testbed.nodes)
        alone = without(whole, *whole.edges)
        before = whole
        for graph in (whole, without(whole, ("n2", "n1")), without(whole, ("n1", "n2"), ("n2", "n1")), alone, whole):
            await testbed.apply(before, graph)
            reach = await testbed.probe(graph, timeout=1.0)
            assert reach.wrong(graph) == () and set(reach.cut()) == set(whole.edges) - set(graph.edges)
            assert reach.standing.items() <= reach.datagrams.items() and reach.standing and reach.datagrams6 == {}
            for node in testbed.nodes:
                _, writer = await asyncio.open_connection(node.address, PORT)
                writer.close()
            before = graph

    with_nodes(bed(tmp_path), 3, work)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may impair the links of containers")
def test_links_are_impaired_and_over_afterwards(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        driver = Driver(testbed, "n1")

        async def meanwhile() -> None:
            await testbed.nodes[0].stop("server", kill=True)  # a server that comes back is slow still
            await testbed.nodes[0].start(ON_PYTHON)

        fault = await driver.do(step("delay", "to-primary"), meanwhile)
        assert fault.bit and fault.healed and fault.specs[0].touched == {"n1", "n2", "n3"}, (fault.proofs, fault.undone)
        (begun, *held), ended = fault.proofs, fault.undone[0]
        assert {link[1] for link in begun.measured} == {"n1"} and all(proof.figures[0].least >= 90 for proof in (begun, *held))
        assert ended.holds and ended.figures[0].intended == 0
        assert await driver.controller.prove_healed() == ()

    assert Docker.lacks("impair") == ""
    with_nodes(bed(tmp_path), 3, work)


class Contained:
    """How the harness comes into containers: as root, or as one who may only speak to the engine, by containers of its own."""

    def __init__(self, entered: str, monkeypatch: pytest.MonkeyPatch) -> None:
        if entered == "by sidecars":
            built("tools")
            monkeypatch.setattr(Access, "_of_process", self._refused)

    @staticmethod
    async def _refused(access: Access, node: object) -> None:
        return None


STORED = msgspec.structs.replace(ON_PYTHON, files={"server.py": """
import os
os.makedirs("deep", exist_ok=True)
if not os.path.exists("deep/store"):
    open("deep/store", "wb").write(bytes(1000))
    os.chmod("deep/store", 0o600)
    os.chown("deep/store", 1234, 1234)
stored = os.stat("deep/store")
if open("deep/store", "rb").read() != bytes(1000) or (stored.st_uid, stored.st_mode & 0o777) != (1234, 0o600):
    raise SystemExit("damaged")
""" + ON_PYTHON.files["server.py"]})
"""A server with a file, without which, whole, it does not run."""


@pytest.mark.parametrize("entered", ["from the host", "by sidecars"])
def test_files_are_damaged_and_whole_again(lab: Any, tmp_path: Path, entered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ours(lab)
    Contained(entered, monkeypatch)
    does = ("bit-flips" if entered == "from the host" else "truncate", "primary")
    told = "n1: 8 of 1000 bytes of deep/store differ (at " if does[0] == "bit-flips" else "250 of 1000 bytes of deep/store gone"

    async def work(testbed: Docker) -> None:
        await asyncio.gather(*(node.start(STORED) for node in testbed.nodes))
        await logged(testbed, "server", "listening\n")
        await testbed.listen(PORT)
        driver = Driver(testbed, "n1")
        seen: list[bytes | None] = []

        async def meanwhile() -> None:
            seen.append(await testbed.read("n1", "deep/store"))
            seen.append(await testbed.read("n2", "deep/store"))

        fault = await driver.do(step(*does), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
        assert told in driver.told[0][1] and driver.told[1] == ("mend", "n1 did not, its file was put back")
        assert seen[0] not in (None, bytes(1000)) and seen[1] == bytes(1000)
        assert await testbed.read("n1", "deep/store") == bytes(1000) and await testbed.read("n1", "store") is None
        assert testbed.nodes[0].log("server").read_text().count("damaged") == 1
        await testbed.nodes[0].stop("server", kill=True)
        await testbed.wipe("n1", ())
        assert await testbed.last_written("n1", ()) == "", "its new volume"
        await testbed.nodes[0].start(STORED)
        assert await driver.cluster.serving(("n1",), timeout=60) == ()
        assert await testbed.read("n1", "deep/store") == bytes(1000)

    if entered == "from the host":
        assert Docker.lacks("damage") == ""
    with_nodes(bed(tmp_path), 2, work, serving=False)
    assert ours(lab) == before


@pytest.mark.parametrize("entered", ["from the host", "by sidecars"])
def test_a_disk_is_full_and_has_room_again(lab: Any, tmp_path: Path, entered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ours(lab)
    Contained(entered, monkeypatch)

    async def written(node: Any) -> int:
        """The exit code of a program of a server's container that writes two pages into the data folder."""
        done = await node.run(["python3", "-c", "open('more', 'wb').write(bytes(8192))"])
        assert done.code == 0 or "No space left on device" in done.stderr
        return int(done.code)

    async def work(testbed: Docker) -> None:
        one, two = testbed.nodes
        driver = Driver(testbed, "n1")
        codes: list[int] = []

        async def meanwhile() -> None:
            codes.append(await written(one))
            await one.stop("server", kill=True)  # its volume is not another one when it comes back
            await one.start(ON_PYTHON)
            codes.extend([await written(one), await written(two)])

        fault = await driver.do(step("full-disk", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
        assert [bool(code) for code in codes] == [True, True, False] and await written(one) == 0
        assert driver.told[0][1].startswith("1/1 without room (ENOSPC)") and driver.told[1] == ("make room", "written again")
        assert await testbed.read("n1", "more") == bytes(8192)

    if entered == "from the host":
        assert Docker.lacks("fill") == ""
    testbed = bed(tmp_path, keep=True)
    asyncio.run(testbed.bound(2))
    with_nodes(testbed, 2, work)
    assert ours(lab) == before and (tmp_path / "nodes/n1/data/more").stat().st_size == 8192


BECOMES = msgspec.structs.replace(ON_PYTHON, argv=("python3", "-S", "-E", "-c", """
import os, time
time.sleep(0.3)
os.execvp("python3", ["python3", "-S", "-E", "server.py"])
"""))
"""A server whose first program prepares it, and then becomes it, as in official images."""


@pytest.mark.parametrize("entered", ["from the host", "by sidecars"])
def test_clocks_are_wrong_and_right_again(lab: Any, tmp_path: Path, entered: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = ours(lab)
    Contained(entered, monkeypatch)

    async def work(testbed: Docker) -> None:
        await asyncio.gather(*(node.start(BECOMES) for node in testbed.nodes))
        await logged(testbed, "server", "listening\n")
        await testbed.listen(PORT)
        driver = Driver(testbed, "n1")

        async def until(name: str, low: float, high: float) -> None:
            """Its server says so in the end."""
            async with asyncio.timeout(100):
                while not ((told := await driver.cluster.ahead([name])) and low <= told[name].seconds <= high):
                    await asyncio.sleep(0.05)

        async def meanwhile() -> None:
            await until("n1", 59, 61)
            await until("n2", -1, 1)
            await testbed.nodes[0].pause("server")
            await testbed.skew("n1", 90_000_000_000, paused=True)
            await testbed.nodes[0].resume("server")
            await until("n1", 89, 91)
            await testbed.skew("n1", 60_000_000_000, paused=False)
            await testbed.nodes[0].stop("server", kill=True)  # As a fault does that is over before this one.
            await testbed.nodes[0].start(BECOMES)
            await until("n1", 59, 61)

        fault = await driver.do(step("clock-jump", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
        assert fault.proofs[0].figures[0].least >= 58 and fault.undone[0].figures[0].middle < 1
        await until("n1", -1, 1)

    if entered == "from the host":
        assert Docker.lacks("skew") == ""
    with_nodes(bed(tmp_path), 2, work, serving=False)
    assert ours(lab) == before


def test_what_somebody_does_behind_the_harness_is_found(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        whole = everything(node.name for node in testbed.nodes)
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        await testbed.apply(whole, cut)
        iptables = commands.program("iptables", "iptables")
        await commands.run(testbed.nodes[1].entrance.channel, (iptables, "-F", "SPLITBRAIN"), "")
        assert ("n1", "n2") in (await testbed.probe(cut, timeout=0.3)).wrong(cut)

    with_nodes(bed(tmp_path), 2, work)


TALKER = """
import os, socket, sys, time
# From its first instruction on it sends to the other node, and says so; and it prints what it hears.
one = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
one.bind(("", 7001))
one.setblocking(False)
heard = set()
began = time.monotonic()
while True:
    try:
        one.sendto(sys.argv[2].encode(), (sys.argv[1], 7001))
        words = one.recv(100).decode()
        if words not in heard:
            heard.add(words)
            print("heard", words, flush=True)
    except BlockingIOError:
        pass
    if time.monotonic() - began > 0.2:
        time.sleep(0.005)
"""


@pytest.mark.parametrize("entered", ["from the host", "by sidecars"])
def test_a_node_that_is_killed_and_started_again_is_still_cut(
    lab: Any, tmp_path: Path, entered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Contained(entered, monkeypatch)

    def talker(node: int, words: str) -> Service:
        other = f"n{3 - node}"
        argv = ("python3", "-S", "-E", "{folder}/talker.py", other, words)
        return Service(name="talker", argv=argv, files={"talker.py": TALKER})

    async def hears(node: Any, words: str, seconds: float = 60) -> bool:
        for _ in range(round(100 * seconds)):
            if f"heard {words}\n" in node.log("talker").read_text():
                return True
            await asyncio.sleep(0.01)
        return False

    async def work(testbed: Docker) -> None:
        one, two = testbed.nodes
        whole = everything(["n1", "n2"])
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        await one.start(talker(1, "first"))
        await two.start(talker(2, "other"))
        assert await hears(two, "first") and await hears(one, "other")
        await testbed.apply(whole, cut)
        await one.stop("talker", kill=True)
        for _ in range(5):  # in the container that it had
            await one.start(talker(1, "first"))
            await asyncio.sleep(0.1)
            await one.stop("talker", kill=True)
        await one.start(talker(1, "second"))  # in a new one
        reach = await testbed.probe(cut, timeout=1.0)
        assert reach.wrong(cut) == () and len(reach.cut()) == 2
        assert not await hears(two, "second", seconds=1)
        assert one.log("talker").read_text().count("other") == 1
        await testbed.apply(cut, whole)
        assert await hears(two, "second")

    with_nodes(bed(tmp_path), 2, work)


def test_a_node_whose_holder_was_killed_does_not_come_back(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        node = testbed.nodes[0]
        node.holder.kill()
        await node.stop("server", kill=True)
        with pytest.raises(SetupError, match="n1: server cannot be started"):
            await node.start(ON_PYTHON)

    with_nodes(bed(tmp_path), 1, work)


def test_without_rights_on_this_machine_sidecars_do_it(lab: Any, tmp_path: Path) -> None:
    before = ours(lab)
    command = [*WITHOUT_RIGHTS, sys.executable, "-m", "tests.harness.testbeds.cut", str(tmp_path), built("tools")]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    faults = "put in force in each node's network by a sidecar container"
    assert ran.stdout == f"6 cut\n0 cut\n{faults}\nstore: b'not'\n", ran.stderr
    command[-1] = "splitbrain/no-tools:1"
    ran = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT, check=False)
    assert ran.returncode != 0 and "run `splitbrain images build tools` once" in ran.stderr
    assert ours(lab) == before


def test_a_container_that_somebody_removes_is_a_death(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        node = testbed.nodes[0]
        lab.containers.get(node._services["server"].container.id).remove(force=True)
        async with asyncio.timeout(60):
            while not (ended := node.ended()):
                await asyncio.sleep(0.01)
        assert not node.running("server") and str(ended[0]).startswith("server ")
        await node.pause("server")
        await node.resume("server")
        await node.stop("server")

    with_nodes(bed(tmp_path), 1, work)


def test_a_subnet_that_is_taken_is_left_alone(lab: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import docker as sdk

    taken = sdk.types.IPAMConfig(pool_configs=[sdk.types.IPAMPool(subnet="198.19.8.0/25")])
    monkeypatch.setattr(docker, "_RANGE", ip_network("198.19.8.0/23"))
    seen: list[str] = []

    async def work(testbed: Docker) -> None:
        seen.append(testbed.nodes[0].address)

    with removed(lambda: lab.networks.create("stranger", driver="bridge", ipam=taken)):
        # Once as the harness sees it, once as only the engine does.
        with_nodes(bed(tmp_path), 1, work, serving=False)
        monkeypatch.setattr(docker, "_routes", list)
        with_nodes(bed(tmp_path), 1, work, serving=False)
        monkeypatch.setattr(docker, "_RANGE", ip_network("198.19.8.0/24"))
        with pytest.raises(SetupError, match=r"every subnet of 198.19.8.0/24 is taken: `splitbrain clean`"):
            with_nodes(bed(tmp_path), 1, work, serving=False)
    assert seen == ["198.19.9.1"] * 2


def test_an_image_that_cannot_be_had(lab: Any, tmp_path: Path) -> None:
    async def work(testbed: Docker) -> None:
        with pytest.raises(SetupError, match=r"the service a names no container image: give one with --image"):
            await testbed.nodes[0].start(Service(name="a", argv=("a",)))
        for _ in range(2):
            with pytest.raises(SetupError, match=r"/no:1 is not here and cannot be pulled \(.*\); build one from"):
                await testbed.nodes[0].start(Service(name="b", argv=("b",), image="127.0.0.1:1/no:1"))

    with_nodes(Docker(plan(), "a test", tmp_path), 1, work, serving=False)


def test_an_image_that_cannot_be_had_is_refused_before_a_folder_is_made(lab: Any) -> None:
    assert Docker.missing(plan(image=built("reference")), (), ()) == () == Docker.missing(plan(), (), ())
    (problem,) = Docker.missing(plan(image="127.0.0.1:1/no:1"), (), ())
    assert problem.what.startswith("the image 127.0.0.1:1/no:1 is not here and cannot be pulled (")
    assert problem.mend.startswith(("use the one that was built on this machine: --image splitbrain/", "build one from"))


def test_it_is_cancelled_while_it_comes_up(lab: Any, tmp_path: Path) -> None:
    before = ours(lab)
    for delay in (0.05, 0.2, 0.5, 0.8, 1.2):
        testbed = bed(tmp_path)

        async def whole(testbed: Docker, delay: float) -> None:
            try:
                with pytest.raises(TimeoutError):
                    async with asyncio.timeout(delay):
                        await testbed.up(5)
                        await asyncio.sleep(60)
            finally:
                await testbed.down()
                await testbed.down()

        def inner(testbed: Docker = testbed, delay: float = delay) -> int:
            asyncio.run(whole(testbed, delay))
            return 0

        assert testbed.inside(inner) == 0
        assert ours(lab) == before


def test_a_binary_is_for_namespaces(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--image"):
        Docker(plan(binary="/usr/bin/etcd"), "a test", tmp_path)


def test_this_machine_can_do_it(lab: Any) -> None:
    assert list(Docker.problems()) == []


def test_an_engine_whose_networks_are_elsewhere(lab: Any, tmp_path: Path) -> None:
    before = ours(lab)
    with inside(None):
        (problem,) = Docker.problems()
        assert "not on this machine" in problem.what
        with pytest.raises(SetupError, match="not on this machine, or not in this network namespace"):
            with_nodes(bed(tmp_path), 1, lambda testbed: asyncio.sleep(0), serving=False)
    assert ours(lab) == before


def test_no_module(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "docker", None)
    (problem,) = Docker.problems()
    assert problem.mend == "pip install 'splitbrain[docker]'"
    assert list(Docker.clean()) == []


def test_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "engine"
    monkeypatch.setenv("DOCKER_HOST", f"unix://{path}")
    (problem,) = Docker.problems()
    assert problem.what == f"there is no Docker engine at unix://{path}" and "apt-get install docker.io" in problem.mend
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        (problem,) = Docker.problems()
        assert "no Docker engine answers" in problem.what and "systemctl start docker" in problem.mend
    monkeypatch.setenv("DOCKER_HOST", "nonsense://here")
    (problem,) = Docker.problems()
    assert "nonsense://here" in problem.what
    assert list(Docker.clean()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give up a right")
def test_no_permission(tmp_path: Path) -> None:
    path = tmp_path / "engine"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        path.chmod(0)
        command = ["setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-dac_override,-dac_read_search"]
        show = "from splitbrain.harness.testbeds.docker import Docker; print(Docker.problems())"
        ran = subprocess.run(
            [*command, sys.executable, "-c", show], capture_output=True, text=True, timeout=240, cwd=ROOT, check=True,
            env={**os.environ, "DOCKER_HOST": f"unix://{path}"},
        )
    assert "this user may not speak to the Docker engine" in ran.stdout and "usermod -aG docker" in ran.stdout
