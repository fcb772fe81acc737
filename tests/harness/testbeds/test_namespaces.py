"""Real nodes in namespaces: services, addresses, firewall and probes."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.testbeds import firewall, namespaces
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.testbed import Connectivity, Service, everything
from tests.harness.testbeds.cluster import PORT, SERVER, plan, with_cluster


def without(graph: Connectivity, *links: tuple[str, str]) -> Connectivity:
    rest = graph.copy()
    rest.remove_edges_from(links)
    return rest


def test_nodes(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        assert [node.name for node in testbed.nodes] == ["n1", "n2", "n3"]
        for node in testbed.nodes:
            assert (await node.run(["hostname"])).stdout == f"{node.name}\n"
            assert (await node.run(["pwd"])).stdout == f"{node.folder}\n"
            hosts = (await node.run(["cat", "/etc/hosts"])).stdout
            assert "198.18.0.3 n3\n" in hosts and "fd00:198:18::3 n3\n" in hosts
            processes = (await node.run(["ps", "-eo", "pid,args"])).stdout
            assert processes.count("server.py") == 1
            addresses = (await node.run(["ip", "-oneline", "address"])).stdout
            assert node.address in addresses and node.address6 in addresses and "fe80" not in addresses
            reader, writer = await asyncio.open_connection(node.address, PORT)
            assert float(await reader.read()) > 0, "its clock"
            writer.close()
        assert (await testbed.nodes[0].run(["cat"], stdin="héllo" * 100_000)).stdout == "héllo" * 100_000
        failed = await testbed.nodes[0].run(["sh", "-c", "echo bad >&2; exit 3"])
        assert (failed.code, failed.stderr) == (3, "bad\n")
        with pytest.raises(SetupError, match=r"n2: .*sleep 60.* took longer than 0.2 s"):
            await testbed.nodes[1].run(["sleep", "60"], timeout=0.2)
        assert "sleep 60" not in (await testbed.nodes[1].run(["ps", "-eo", "args"])).stdout

    with_cluster(tmp_path, 3, work)
    assert (tmp_path / "nodes/n1/server.log").read_text() == "listening\n"
    assert (tmp_path / "nodes/n1/data/server.py").stat().st_uid == os.getuid()


def test_services(tmp_path: Path) -> None:
    daemons = "trap '' TERM; setsid sh -c 'trap \"\" TERM; (setsid sleep 61 &) ; sleep 62' & sleep 63; sleep 64"

    async def work(testbed: Namespaces) -> None:
        node = testbed.nodes[0]

        async def sleeping() -> int:
            return (await node.run(["ps", "-eo", "args"])).stdout.count("\nsleep ")

        with pytest.raises(SetupError, match="server runs already"):
            await node.start(SERVER)
        await node.stop("server")
        assert not node.running("server")
        with pytest.raises(OSError, match=str(PORT)):
            await asyncio.open_connection(node.address, PORT)
        await node.start(SERVER)
        assert node.running("server")
        await node.stop("nonsense")

        loop = asyncio.get_running_loop()
        for kill in (True, False):
            await node.start(Service(name="tree", argv=("sh", "-c", daemons)))
            while await sleeping() < 3:
                await asyncio.sleep(0.01)
            grace = 30.0 if kill else 0.5
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(namespaces, "_GRACE", grace)
                began = loop.time()
                await node.stop("tree", kill=kill)
                assert (loop.time() - began < grace) == kill
            assert await sleeping() == 0

        await node.start(Service(name="short", argv=("sh", "-c", "echo $GREETING $PWD; exit 5"), env={"GREETING": "hello"}))
        while node.running("short"):
            await asyncio.sleep(0.01)
        assert node.log("short").read_text() == f"hello {node.folder}\n"
        await node.start(Service(name="short", argv=("cat", "{folder}/a/b"), files={"a/b": "in {folder}\n"}))
        while node.running("short"):
            await asyncio.sleep(0.01)
        assert node.log("short").read_text() == f"hello {node.folder}\nin {node.folder}\n"
        await node.stop("short")
        with pytest.raises(SetupError, match=r"the program no-such-program is neither in PATH nor"):
            await node.start(Service(name="missing", argv=("no-such-program",)))
        (tmp_path / "broken").write_text("no program")
        (tmp_path / "broken").chmod(0o755)
        with pytest.raises(SetupError, match=r"n1: .*broken"):
            await node.start(Service(name="broken", argv=(str(tmp_path / "broken"),)))
        server = int((await node.run(["pgrep", "-f", "server.py"])).stdout)
        await node.run(["kill", "-9", str(server)])
        while node.running("server"):
            await asyncio.sleep(0.01)
        zombies = (await node.run(["ps", "-eo", "stat"])).stdout
        assert "Z" not in zombies

    with_cluster(tmp_path, 1, work)


@pytest.mark.parametrize("given", ["file", "folder"])
def test_a_binary_of_ones_own(tmp_path: Path, given: str) -> None:
    own = tmp_path / "bin" / ("etcd" if given == "folder" else "etcd-3.5.17")
    own.parent.mkdir()
    own.write_text("#!/bin/sh\necho mine\n")
    own.chmod(0o755)
    testbed = Namespaces(plan(binary=str(own if given == "file" else own.parent)), "test", tmp_path)

    async def work(testbed: Namespaces) -> None:
        node = testbed.nodes[0]
        await node.start(Service(name="store", argv=("etcd",)))
        while node.running("store"):
            await asyncio.sleep(0.01)
        assert node.log("store").read_text() == "mine\n"
        assert (await node.run([own.name])).stdout == "mine\n"
        assert (await node.run(["hostname"])).stdout == "n1\n"
        with pytest.raises(SetupError, match=r"no program sleep in .*/bin, where --binary says"):
            await node.start(Service(name="other", argv=("sleep", "1")))

    with_cluster(tmp_path, 1, work, testbed)


def test_an_image_is_for_containers(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--binary"):
        Namespaces(plan(image="redis:7.2.6"), "test", tmp_path)


def test_retransmission_time_out(tmp_path: Path) -> None:
    if not Path("/proc/sys/net/ipv4/tcp_rto_max_ms").exists():
        pytest.skip("kernel older than 6.15")

    async def work(testbed: Namespaces) -> None:
        assert (await testbed.nodes[0].run(["cat", "/proc/sys/net/ipv4/tcp_rto_max_ms"])).stdout == "1000\n"

    with_cluster(tmp_path, 1, work, Namespaces(plan(tcp_rto_max_ms=1000), "test", tmp_path))
    assert Path("/proc/sys/net/ipv4/tcp_rto_max_ms").read_text() == "120000\n"


def test_a_setting_that_the_kernel_refuses(tmp_path: Path) -> None:
    testbed = Namespaces(plan(tcp_rto_max_ms=1), "test", tmp_path)

    async def work(testbed: Namespaces) -> None:
        raise AssertionError("the nodes came up")

    def inner() -> int:
        with pytest.raises(SetupError, match=r"node n1 could not be made"):
            asyncio.run(testbed.up(2))
        return 0

    assert testbed.inside(inner) == 0


def test_probes_see_what_is_cut_and_what_is_not(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        names = [node.name for node in testbed.nodes]
        whole = everything(names)
        one_way = without(whole, ("n2", "n1"))
        both = without(whole, ("n1", "n2"), ("n2", "n1"))
        links = sorted(whole.edges)
        before = whole
        for graph in (whole, one_way, whole, both, whole):
            applied = await testbed.apply(before, graph)
            assert set(applied.rules) == {b for a, b in set(before.edges) ^ set(graph.edges)}
            for again in (False, True):
                reach = await testbed.probe(graph, timeout=1.0)
                assert reach.wrong(graph) == ()
                assert reach.cut() == tuple(link for link in links if not graph.has_edge(*link))
                assert reach.datagrams == reach.datagrams6 == {link: graph.has_edge(*link) for link in links}
                assert reach.fresh == {(a, b): graph.has_edge(a, b) and graph.has_edge(b, a) for a, b in links}
                assert reach.standing == reach.datagrams, f"again: {again}"
            worn_out = await testbed.probe(graph, timeout=1.0)
            assert set(worn_out.standing) == {(a, b) for a, b in links if graph.has_edge(a, b) and graph.has_edge(b, a)}
            before = graph

    with_cluster(tmp_path, 3, work)


def test_the_harness_reaches_nodes_that_are_alone(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        alone = everything(node.name for node in testbed.nodes)
        whole = alone.copy()
        alone.remove_edges_from(list(alone.edges))
        await testbed.apply(whole, alone)
        for node in testbed.nodes:
            reader, writer = await asyncio.open_connection(node.address, PORT)
            assert float(await reader.read()) > 0, "its clock"
            writer.close()
        assert (await testbed.probe(alone, timeout=1.0)).wrong(alone) == ()

    with_cluster(tmp_path, 3, work)


TAMPERING = {
    "our rules are gone": (["iptables", "-F", "SPLITBRAIN"],),
    "the jump is gone": (["iptables", "-F", "INPUT"],),
    "IPv6 goes round it": (["ip6tables", "-F", "SPLITBRAIN"],),
    "established connections pass": (
        ["iptables", "-I", "INPUT", "1", "-m", "conntrack", "--ctstate", "ESTABLISHED", "-j", "ACCEPT"],
    ),
    "the database's port passes": (
        ["iptables", "-I", "INPUT", "1", "-p", "tcp", "--dport", str(PORT), "-j", "ACCEPT"],
        ["iptables", "-I", "INPUT", "1", "-p", "tcp", "--sport", str(PORT), "-j", "ACCEPT"],
    ),
    "more is cut than meant": (["iptables", "-A", "SPLITBRAIN", "-s", "198.18.0.3", "-j", "DROP"],),
    "the port is cut": (["iptables", "-A", "INPUT", "-p", "tcp", "--dport", str(PORT), "-j", "DROP"],),
}


def test_what_somebody_does_behind_the_harness_is_found(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        whole = everything(node.name for node in testbed.nodes)
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        for what, commands in TAMPERING.items():
            await testbed.probe(whole, timeout=1.0)
            await testbed.apply(whole, cut)
            for node in testbed.nodes[:2]:
                for command in commands:
                    done = await node.run(command)
                    assert done.code == 0, done
            wrong = (await testbed.probe(cut, timeout=0.3)).wrong(cut)
            assert {("n1", "n2"), ("n2", "n1")} & set(wrong) or "cut" in what, what
            assert wrong, what
            for node in testbed.nodes:
                await node.run(["iptables", "-F", "INPUT"])
                await node.run(["iptables", "-A", "INPUT", "-j", "SPLITBRAIN"])
            await testbed.apply(cut, whole)

    with_cluster(tmp_path, 3, work)


def test_a_node_that_hears_nobody_proves_nothing(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        whole = everything(node.name for node in testbed.nodes)
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        await testbed.nodes[1].run(["iptables", "-I", "INPUT", "-j", "DROP"])
        with pytest.raises(SetupError, match="n2: packets of the harness itself do not arrive"):
            await testbed.probe(cut, timeout=0.3)

    with_cluster(tmp_path, 2, work)


def test_a_firewall_that_refuses(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        whole = everything(node.name for node in testbed.nodes)
        await testbed.nodes[1].run(["iptables", "-F"])
        await testbed.nodes[1].run(["iptables", "-A", "INPUT", "-j", "ACCEPT"])
        os.environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        broken = tmp_path / "ip6tables-restore"
        broken.write_text("#!/bin/sh\n[ $(hostname) != n2 ] || { echo no room >&2; exit 4; }\n")
        broken.chmod(0o755)
        with pytest.raises(SetupError, match="n2: no room"):
            await testbed.apply(whole, without(whole, ("n1", "n2"), ("n2", "n1")))

    with_cluster(tmp_path, 2, work)


@pytest.mark.skipif(shutil.which("iptables-legacy-restore") is None, reason="this machine has only the newer iptables")
def test_the_older_iptables(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        for program in ("iptables", "ip6tables"):
            (tmp_path / f"{program}-restore").symlink_to(str(shutil.which(f"{program}-legacy-restore")))
        os.environ["PATH"] = f"{tmp_path}:{os.environ['PATH']}"
        whole = everything(node.name for node in testbed.nodes)
        cut = without(whole, ("n1", "n2"), ("n3", "n1"))
        for node in testbed.nodes:
            await node.restore(firewall.install(firewall.Addresses(node.address, node.address6)))
        await testbed.apply(whole, cut)
        assert (await testbed.probe(cut, timeout=1.0)).wrong(cut) == ()
        assert "DROP" not in (await testbed.nodes[0].run(["iptables-nft-save"])).stdout
        await testbed.apply(cut, whole)
        assert (await testbed.probe(whole, timeout=1.0)).wrong(whole) == ()

    with_cluster(tmp_path, 3, work)


LOADED = (
    "import pathlib; print(*(one.parent.name for one in pathlib.Path('/proc').glob('[0-9]*/cmdline') "
    "if one.read_bytes().split(b'\\0')[0].endswith(b'/iptables-restore')))"
)


def test_rules_when_what_was_to_set_them_has_died(tmp_path: Path) -> None:
    """The program of the next change is loaded before it is needed: whether it waits there or not, the cut is the same."""
    async def work(testbed: Namespaces) -> None:
        whole = everything(node.name for node in testbed.nodes)
        cut = without(whole, ("n1", "n2"), ("n2", "n1"))
        for before, after in ((whole, cut), (cut, whole), (whole, cut)):
            async with asyncio.timeout(60):
                while not (waiting := (await testbed.nodes[0].run(["python3", "-c", LOADED])).stdout.split()):
                    await asyncio.sleep(0.01)
            if after is cut:
                await testbed.nodes[0].run(["kill", "-9", *waiting])
            await testbed.apply(before, after)
            assert (await testbed.probe(after, timeout=1.0)).wrong(after) == ()

    with_cluster(tmp_path, 2, work)


def test_a_node_that_dies(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        node = testbed.nodes[1]
        os.kill(node.pid, signal.SIGKILL)
        while node.running("server"):
            await asyncio.sleep(0.01)
        with pytest.raises(SetupError, match="the first process of n2 is gone"):
            await node.run(["true"])

    with_cluster(tmp_path, 2, work)


def test_down_is_idempotent_and_complete(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        await testbed.down()
        await testbed.down()
        for _ in range(3000):
            processes = [entry for entry in os.listdir("/proc") if entry.isdigit()]  # noqa: PTH208
            links = os.listdir("/proc/sys/net/ipv4/conf")  # noqa: PTH208
            if len(processes) == 2 and not [link for link in links if link.startswith("n")]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(processes, links)

    with_cluster(tmp_path, 3, work)


def test_clean_finds_nothing_of_the_runs_of_these_tests() -> None:
    """What a run leaves that was killed beside them ends within moments, and is not ours."""
    assert not [line for line in Namespaces.clean() if "of run test:" in line]


def test_this_machine_can_do_it() -> None:
    assert list(Namespaces.problems()) == []


def test_a_missing_program_is_named_with_its_mend(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("splitbrain.harness.servers.SEARCH", (str(tmp_path),))
    assert [problem.mend for problem in Namespaces.problems()] == [
        "sudo apt-get install iproute2",
        "sudo apt-get install iptables",
        "sudo apt-get install iptables",
    ]


def test_a_firewall_that_does_not_work_is_a_problem(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    broken = tmp_path / "iptables-restore"
    broken.write_text("#!/bin/sh\necho Table does not exist >&2; exit 3\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    (problem,) = Namespaces.problems()
    assert "iptables-restore: Table does not exist" in problem.what and problem.mend.startswith("sudo modprobe")


def test_clean_kills_what_carries_a_dead_run_and_nothing_else() -> None:
    def labelled(harness: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["sleep", "60"], env={"SPLITBRAIN_RUN": "test-clean", "SPLITBRAIN_HARNESS": harness})

    pid, _, *rest = owner().split(":")
    stray = labelled(":".join((pid, "1", *rest)))
    others = [labelled(harness) for harness in ("", owner(), ":".join((pid, "1", "2", *rest[1:])))]
    try:
        removed = [line for line in Namespaces.clean() if "of run test-clean:" in line]
        assert removed == [f"process {stray.pid} of run test-clean: killed"]
        assert stray.wait(timeout=60) == -signal.SIGKILL
        assert [other.poll() for other in others] == [None, None, None]
    finally:
        for process in (stray, *others):
            process.kill()
            process.wait()


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "nodes").write_text("in the way")
    testbed = Namespaces(plan(), "test", tmp_path)

    def inner() -> int:
        with pytest.raises(SetupError, match=r"no place for their data: .*/nodes/n1"):
            asyncio.run(testbed.up(1))
        return 0

    assert testbed.inside(inner) == 0
