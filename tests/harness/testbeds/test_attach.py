"""A cluster that was there before: found, tested, broken and put back; its settings, rules and processes as they were."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest

from splitbrain.harness.history.fault import Pause
from splitbrain.harness.history.journal import load
from tests.conftest import need
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import RULES, until

GROUP = "theirs"


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()
    need("perl", "redis-server", "redis-sentinel", "redis-cli")


def start_theirs(machines: Machines) -> None:
    """A group of Redis servers under sentinels, as its owner starts it: three servers, named and tuned in a way of his own."""
    first = machines.nodes[0].address
    for number, node in enumerate(machines.nodes):
        folder = machines.folder / f"theirs-{number}"
        folder.mkdir()
        (folder / "sentinel.conf").write_text(
            f"port 26379\nprotected-mode no\ndaemonize yes\ndir {folder}\nsentinel announce-ip {node.address}\n"
            f"sentinel monitor {GROUP} {first} 6379 2\nsentinel down-after-milliseconds {GROUP} 1500\n"
        )
        (folder / "start").write_text(
            f"#!/bin/sh\ncd {folder} && exec redis-server --daemonize yes --protected-mode no --repl-diskless-sync-delay 0 "
            f"--replica-announce-ip {node.address} {f'--replicaof {first} 6379' if number else ''}\n"
        )
        (folder / "start").chmod(0o755)
        machines.sh(number, f"{folder}/start; redis-sentinel {folder}/sentinel.conf")
    names = f"redis-cli -p 26379 sentinel {{}} {GROUP} | grep -c ^name$"
    known = f"{names.format('sentinels')}; {names.format('replicas')}"
    assert until(lambda: all(machines.sh(number, known) == "2\n2\n" for number in range(len(machines.nodes))), 90)


def inventory(machines: Machines, *, disposable: bool = True, start: bool = True) -> None:
    text = machines.inventory.read_text()
    for number in range(len(machines.nodes)):
        here = f'folder = "{machines.folder}/machine-n{number + 1}"'
        text = text.replace(here, f'{here}\nstart = ["{machines.folder}/theirs-{number}/start"]' if start else here)
    machines.inventory.write_text(f"disposable = {str(disposable).lower()}\n{text}")


def state(machines: Machines, node: int) -> str:
    found = machines.sh(node, "ps -wweo stat,args | grep 'redis-serve[r]' | head -1").split()
    return found[0][0] if found else ""


def goes_on(machines: Machines, node: int) -> bool:
    """Whether that server lives and does not stand still: it waits, or works just now."""
    return state(machines, node) in ("S", "R")


def wrong(machines: Machines) -> int:
    """How many of the servers tell a time that is wrong."""
    told = [machines.sh(node, "redis-cli time | head -1").strip() for node in range(len(machines.nodes))]
    return sum(abs(int(one) - time.time()) > 30 for one in told if one.isdigit())


ATTACHED = ("--hosts", "inventory.toml", "--attach")


def test_a_cluster_is_tested_and_left_as_it_was(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        def splitbrain(*words: str) -> str:
            said = machines.splitbrain("test", "redis", *ATTACHED, "--settle", "10s", *words).communicate()[0]
            return " ".join(said.split())

        before = machines.sh(0, f"iptables -A INPUT -p tcp --dport 81 -j DROP; {RULES}")
        inventory(machines)
        assert "nothing listens on port 6379 of n1 (198.18.0.1): start the cluster first" in splitbrain("--time", "20s")
        listen = 'use IO::Socket::INET; my $s = IO::Socket::INET->new(Listen => 5, LocalPort => 6379) or die; sleep'
        for node in range(3):
            (machines.folder / f"proxy-{node}").write_text(f"exec -a docker-proxy perl -e '{listen}'\n")
            machines.sh(node, f"bash {machines.folder}/proxy-{node} > /dev/null 2>&1 < /dev/null & echo $! > /run/proxy")
        assert until(lambda: ":18EB 00000000:0000 0A" in machines.sh(2, "cat /proc/net/tcp"), 30)  # 6379
        assert "port 6379 is that of a container, behind docker-proxy" in splitbrain("--time", "20s")
        for node in range(3):
            machines.sh(node, "kill $(cat /run/proxy)")
        secret = "redis-server --daemonize yes --protected-mode no --dir /tmp --save '' --requirepass secret"
        for node in range(3):
            machines.sh(node, secret)
        said = splitbrain("--variant", "cluster")
        assert "does not tell what it is (ReplyError: NOAUTH" in said and "splitbrain has no passwords" in said, said
        for node in range(3):
            machines.sh(node, "redis-cli -a secret shutdown")
        start_theirs(machines)
        machines.sh(0, "redis-cli set theirs 5")
        sentinel = f"redis-cli -p 26379 sentinel master {GROUP} | grep -A1 -e down-after -e failover; ps -e | grep -c redis"
        settings = machines.sh(0, sentinel)
        whole = ("--baseline", "2s", "--fault", "5s", "--between", "3s", "--time", "16s", "--pace", "staggered")
        said = splitbrain("--nemesis", "partition-primary+pause:primary", *whole)
        assert re.search(r"partition {n1} .* 6/6 links as intended", said), said
        assert "OBSERVED" in said and "3 nodes (attached)" in said, said
        assert machines.sh(0, sentinel) == settings and machines.sh(0, RULES) == before
        assert "SPLITBRAIN" not in machines.sh(2, RULES) and not list(tmp_path.glob("machine-*"))
        (_, _, journal) = sorted(machines.folder.glob("runs/*/journal.jsonl"))
        (pause,) = load(journal)[1].faults[1].specs
        assert isinstance(pause, Pause) and 3 * 1.5 <= pause.length <= 5 * 1.5, pause  # as its sentinels told
        for node in range(3):
            assert machines.sh(node, "redis-cli keys '*'") == "theirs\n"
        first = re.findall(r"ip\n(\S+)", machines.sh(0, f"redis-cli -p 26379 sentinel master {GROUP}"))
        machines.sh(0, f"redis-cli -h {first[0]} set 'register:{{0}}' 0")
        said = splitbrain("--time", "20s")
        assert "the cluster is not empty: it has 'register:{0}', as from a run before" in said, said
        return 0

    assert beside(tmp_path, 3, work) == 0


def test_what_may_not_be_broken_is_not_touched(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        def splitbrain(*words: str) -> str:
            return machines.splitbrain("test", "redis", *words, "--nemesis", "kill").communicate()[0].replace("\n", " ")

        inventory(machines, disposable=False)
        assert "write disposable = true above its first [[hosts]]" in splitbrain(*ATTACHED)
        machines.inventory.write_text(machines.inventory.read_text().replace("disposable = false", ""))
        assert "write disposable = true above its first [[hosts]]" in splitbrain(*ATTACHED)
        assert "say --attach, too" in splitbrain("--hosts", "inventory.toml")
        assert "--attach needs the cluster" in splitbrain("--attach")
        machines.inventory.write_text("disposable = true\n" + re.sub("start = .*", "", machines.inventory.read_text()))
        assert "nemesis 'kill' needs a testbed that can end and start servers, not attached" in splitbrain(*ATTACHED)
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_kill_9_in_the_middle_of_a_fault_leaves_the_cluster_as_it_was(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        inventory(machines)
        start_theirs(machines)
        before = machines.sh(0, RULES)
        process = machines.splitbrain(
            "test", "redis", *ATTACHED, "--nemesis", "kill:primary+one-node+delay+clock-jump:follower", "--baseline", "1s",
            "--fault", "60s", "--time", "70s",
        )

        def in_force() -> bool:
            done = all(rule in machines.sh(0, RULES) for rule in ("-j DROP", "-j NFQUEUE"))
            return done and state(machines, 0) == "" and wrong(machines) == 1

        assert until(in_force, 90), process.communicate()[0]
        process.kill()
        process.wait()
        # By no command of ours.
        assert until(lambda: all(goes_on(machines, node) for node in range(3)))
        assert until(lambda: machines.sh(0, RULES) == before)
        assert until(lambda: wrong(machines) == 0)
        said = machines.splitbrain("clean", "--attached").communicate()[0]
        assert said.count(": removed") == 3
        assert not any(word in said for word in ("killed", "resumed", "started again"))
        assert all(goes_on(machines, node) for node in range(3))
        assert not list(tmp_path.glob("machine-*"))
        return 0

    assert beside(tmp_path, 3, work) == 0
