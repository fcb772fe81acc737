"""Machines over a real SSH: what is refused before a run, that the control connection cannot be cut, and what happens to faults
when nobody is there any more to undo them."""

from __future__ import annotations

import asyncio
import re
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from pathlib import Path

import pytest

from splitbrain.harness.errors import SetupError
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Ability, Service, Wanted, everything
from tests.conftest import need
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, plan
from tests.harness.testbeds.machines import CONTROLLER, Machines, beside, needed, write_inventory

OWN_RULES = """
iptables -N MINE
iptables -A INPUT -p tcp --dport 81 -j MINE
iptables -A MINE -m comment --comment 'it is "mine"; $HOME' -j ACCEPT
ip6tables -A INPUT -p tcp --dport 82 -j DROP
"""
RULES = "iptables -S; ip6tables -S; iptables -t mangle -S; ip6tables -t mangle -S"


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()


def bed(machines: Machines, count: int = 2, run: str = "a-run", kind: type[Ssh] = Ssh) -> Ssh:
    return kind(plan(testbed="ssh", inventory=str(machines.inventory), nodes=count), run, machines.folder / "run")


def with_servers(testbed: Ssh, work: Callable[[Ssh], Awaitable[None]], service: Service = ON_PYTHON) -> None:
    """Run `work` beside the testbed's machines, each with that server."""

    async def whole() -> None:
        try:
            await testbed.up(len(testbed.hosts))
            for node in testbed.nodes:
                await node.start(service)
            await testbed.listen(PORT)
            await work(testbed)
        finally:
            await testbed.down()

    asyncio.run(whole())


def until(true: Callable[[], bool], seconds: float = 60) -> bool:
    end = time.monotonic() + seconds
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.05)
    return True


def state(machines: Machines, node: int) -> str:
    """How the process of the small server is: S it sleeps, R it works, T it was stopped; empty where there is none."""
    found = machines.sh(node, "ps -wweo stat,args | grep 'server.p[y]' | head -1").split()
    return found[0][0] if found else ""


def ahead(machines: Machines, node: int) -> float:
    """Seconds by which the clock of the small server is ahead of ours."""
    with socket.create_connection((machines.nodes[node].address, PORT), timeout=60) as one:
        return float(one.recv(100)) - time.time()


def test_the_control_connection_cannot_be_cut(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        before = machines.sh(0, f"{OWN_RULES} {RULES}")

        async def whole(testbed: Ssh) -> None:
            one = testbed.nodes[0]
            # Whatever is written into the chain of cuts, even that everything is lost.
            lost = f"*filter\n:SPLITBRAIN - [0:0]\n-A SPLITBRAIN -s {CONTROLLER} -j DROP\n-A SPLITBRAIN -j DROP\nCOMMIT\n"
            await one.link.ask("restore", texts={"iptables": lost, "ip6tables": lost.replace(f"-s {CONTROLLER} ", "")})
            assert not (await testbed.serving(timeout=0.5))["n1"]  # it bites
            assert (await one.run(["echo", "still here"])).stdout == "still here\n"
            await one.link.ask("restore", texts={"iptables": "*filter\n:SPLITBRAIN - [0:0]\nCOMMIT\n"})
            assert (await testbed.serving(timeout=60))["n1"]
            # Nothing that is named passes through a shell.
            for odd in ("a b", "'; touch /tmp/no; '", "$(id)`id`", '"\\', "é\n"):
                assert (await one.run(["printf", "%s", odd])).stdout == odd

        with_servers(bed(machines, 2), whole)
        assert machines.sh(0, RULES) == before
        assert not list(tmp_path.glob("machine-*")) and not list((tmp_path / "state").rglob("*.json"))
        return 0

    assert beside(tmp_path, 2, work) == 0


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_guards_undo_faults_when_the_controller_is_gone(tmp_path: Path, how: signal.Signals) -> None:
    def work(machines: Machines) -> int:
        before = machines.sh(0, f"{OWN_RULES} {RULES}")
        machines.inventory.write_text("patience = 4\n" + machines.inventory.read_text())
        process = machines.python("tests.harness.testbeds.faulting", "links", str(machines.inventory), "a-run")
        assert process.stdout is not None
        told = process.stdout.readline()
        assert told == "faulty\n", told + process.stdout.read()
        assert "198.18.0.2/32 -j DROP" in machines.sh(0, RULES) and state(machines, 0) == "T"
        assert "-s 198.18.0.2/32 -j NFQUEUE" in machines.sh(2, RULES)
        assert ahead(machines, 1) > 3000
        process.send_signal(how)
        # No command of ours: only a look, by another way.
        assert until(lambda: machines.sh(0, RULES) == before)
        assert until(lambda: state(machines, 0) in ("S", "R"))
        assert until(lambda: abs(ahead(machines, 1)) < 600)
        assert until(lambda: all("SPLITBRAIN" not in machines.sh(node, RULES) for node in (1, 2)))
        if how == signal.SIGSTOP:  # its controller lives
            assert "nothing was left behind" in machines.splitbrain("clean", "--no-data").communicate()[0]
            process.kill()
        process.wait()
        left = machines.splitbrain("clean", "--no-data").communicate()[0]
        assert len(re.findall("process [0-9]+: killed", left)) == 3 and left.count("a-run: removed") == 3
        assert [state(machines, node) for node in range(3)] == ["", "", ""]
        assert machines.sh(0, RULES) == before and "sshd" in machines.sh(0, "ps -e")
        assert not list(tmp_path.glob("machine-*"))
        assert "nothing was left behind" in machines.splitbrain("clean", "--no-data").communicate()[0]
        return 0

    assert beside(tmp_path, 3, work) == 0


def test_machines_that_are_lost_are_told_and_put_themselves_right(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        machines.inventory.write_text("patience = 7\n" + machines.inventory.read_text())
        process = machines.python("tests.harness.testbeds.faulting", "lose", str(machines.inventory), "a-run")
        assert process.stdout is not None
        assert process.stdout.readline() == "faulty\n"
        for node, how in enumerate(("STOP", "KILL")):
            assert "-j DROP" in machines.sh(node, RULES)
            machines.sh(node, f"kill -{how} $(pgrep -of 'import base6[4]')")  # its helper
        assert process.communicate()[0] == (
            "n1 (198.18.0.1): it has been silent for 5.6 s; what was done there is put back by itself.\n"
            "n2 (198.18.0.2): the connection to it was lost.\n"
        )
        assert until(lambda: all("SPLITBRAIN" not in machines.sh(node, RULES) for node in (0, 1)))
        left = machines.splitbrain("clean", "--no-data").communicate()[0]
        assert len(re.findall("process [0-9]+: killed", left)) == left.count("a-run: removed") == 2, left
        assert not list(tmp_path.glob("machine-*"))
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_what_cannot_be_is_refused_with_the_mend(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        def refused(*wanted: Wanted, needs: Collection[Ability] = ()) -> str:
            try:
                found = Ssh.missing(bed(machines)._plan, wanted, needs)
                return "; ".join(f"{problem.what}: {problem.mend}" for problem in found)
            except SetupError as error:
                return str(error)

        assert refused() == refused(needs={"impair"}) == ""
        machines.sh(1, NO_QUEUES)
        keys, inventory = machines.known_hosts.read_text(), machines.inventory.read_text()
        second = 'host = "198.18.0.2"'
        machines.inventory.write_text(inventory.replace(second, f'{second}\npython = "/run/fakes/interpreter"'))
        assert refused() == ""
        assert refused(needs={"impair"}) == (
            "n2 (198.18.0.2) cannot have packets come late, seldom, twice or damaged: iptables: no NFQUEUE here: its kernel "
            "needs nfnetlink_queue and xt_NFQUEUE (modprobe -a nfnetlink_queue xt_NFQUEUE)"
        )
        machines.inventory.write_text(inventory)
        absent = Wanted("no-such", "apt-get install it"), Wanted("mongo-d", "splitbrain servers get mongodb")
        assert refused(*absent) == "; ".join(
            f"the program no-such is not on {place}: apt-get install it; the program mongo-d is not on {place}: name its path "
            'there in the inventory: programs = {"mongo-d" = "/path"}' for place in ("n1 (198.18.0.1)", "n2 (198.18.0.2)")
        )
        first, second = keys.splitlines()
        machines.known_hosts.write_text(second + "\n")
        said = refused()
        assert "its host key is not known" in said and f"ssh-keyscan -p 22 198.18.0.1 >> {tmp_path}/known_hosts" in said
        other = (tmp_path / "authorized").read_text().split()[1]
        machines.known_hosts.write_text(f"{first.rpartition(' ')[0]} {other}\n{second}\n")
        said = refused()
        assert "its host key is another than" in said and "ssh-keygen -R 198.18.0.1" in said
        machines.known_hosts.write_text(keys)
        machines.inventory.write_text(inventory.replace('/key"', '/host"'))
        said = refused()
        assert "n1 (198.18.0.1): root may not log in with the keys" in said and "ssh-copy-id" in said
        machines.inventory.write_text(inventory.replace('host = "198.18.0.1"', 'host = "198.18.0.1"\naddress = "198.18.0.9"'))
        assert "198.18.0.9 is no address of that machine" in refused()
        machines.inventory.write_text(inventory.replace('host = "198.18.0.1"', 'host = "198.18.0.1"\npython = "/no/python"'))
        assert "n1 (198.18.0.1): there is no /no/python" in refused()
        machines.inventory.write_text(inventory.replace("port = 22", "port = 23"))
        assert "port 23 of 198.18.0.1 does not answer" in refused()
        machines.inventory.write_text(inventory)
        assert refused() == ""
        assert "SPLITBRAIN" not in machines.sh(0, RULES) and not list(tmp_path.glob("machine-*"))
        return 0

    assert beside(tmp_path, 2, work) == 0


NO_QUEUES = r"""
mkdir /run/fakes && cd /run/fakes && printf '#!/bin/sh
cat > /run/text; grep -q NFQUEUE /run/text && { echo no NFQUEUE here >&2; exit 1; }
exec %s "$@" < /run/text
' $(command -v iptables-restore) > iptables-restore
printf '#!/bin/sh\nPATH=/run/fakes:$PATH exec python3 "$@"\n' > interpreter
chmod 755 iptables-restore interpreter
"""
"""A machine whose firewall knows no queues."""

USERS = """
cd /run && cp {folder}/authorized authorized && chmod 644 authorized
for name in able unable; do
  {{ cat passwd 2>/dev/null || cat /etc/passwd; echo "$name:x:7$((i=i+1)):100::/:/bin/sh"; }} > new && mv new passwd
  {{ cat shadow 2>/dev/null || cat /etc/shadow; echo "$name:*:19000:0:99999:7:::"; }} > more && mv more shadow
done
echo 'able ALL=(ALL) NOPASSWD: ALL' > sudoers && chmod 440 sudoers
for file in passwd shadow sudoers; do mount --bind $file /etc/$file; done
"""
"""Two people on a machine: one may become root by sudo, the other may not."""


def test_who_is_not_root_needs_sudo_without_a_password(tmp_path: Path) -> None:
    need("sudo")

    def work(machines: Machines) -> int:
        machines.sh(0, USERS.format(folder=tmp_path))
        inventory = machines.inventory.read_text()
        odd = machines.folder / "named" / "odd"
        odd.parent.mkdir()
        odd.write_text("#!/bin/sh\necho odd\n")
        odd.chmod(0o755)
        named = f'programs = {{ odd = "{odd}" }}\n{inventory}'
        machines.inventory.write_text(named.replace('user = "root"', 'user = "able"'))

        async def whole() -> None:
            testbed = bed(machines, 1)
            try:
                await testbed.up(1)
                assert (await testbed.nodes[0].run(["id", "-u"])).stdout == "0\n"
                gates = machines.sh(0, "iptables -S SPLITBRAIN-GATE")  # sudo hides who is connected; it is found all the same
                assert f"-s {CONTROLLER}/32 -p tcp -m tcp --dport 22 -j RETURN" in gates
                await testbed.nodes[0].start(Service(name="starts-it", argv=("sh", "-c", "odd; sleep 60")))
                log = testbed.nodes[0].log("starts-it")
                async with asyncio.timeout(60):
                    while not log.exists() or log.read_text() != "odd\n":
                        await asyncio.sleep(0.01)
            finally:
                await testbed.down()

        asyncio.run(whole())
        machines.inventory.write_text(inventory.replace('user = "root"', 'user = "unable"'))
        with pytest.raises(SetupError, match=r"n1 .*: unable may not use sudo without a password \(sudo: .*\)"):
            Ssh.missing(bed(machines, 1)._plan, (), ())
        return 0

    assert beside(tmp_path, 1, work) == 0


def test_a_machine_has_one_run_at_a_time(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        async def whole() -> None:
            first, second = bed(machines), bed(machines, run="another")
            try:
                await first.up(2)
                with pytest.raises(SetupError, match=r"another run of splitbrain is at work here \(a-run\)"):
                    await second.up(2)
                await second.down()
                await first.listen(PORT)
                links = everything(["n1", "n2"])
                assert (await first.probe(links, timeout=2)).wrong(links) in ((), (("n1", "n2"), ("n2", "n1")))
            finally:
                await first.down()

        asyncio.run(whole())
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_machines_are_upgraded(tmp_path: Path) -> None:
    need("etcd")
    newer = find_program("etcd-3.5.1")
    if newer is None:
        pytest.skip("etcd 3.5.1: splitbrain servers get etcd")

    def work(machines: Machines) -> int:
        words = "--testbed ssh --inventory inventory.toml --nemesis upgrade --baseline 2s --fault 3s --between 2s"

        def told() -> str:
            return " ".join(machines.splitbrain("test", "etcd", "--nodes", "3", *words.split()).communicate()[0].split())

        said = told()
        assert 'etcd-3.5.1 is not on n1 (198.18.0.1): name its path there in the inventory: programs = {"etcd-3.5.1" =' in said
        hosts = {node.name: node.address for node in machines.nodes}
        write_inventory(tmp_path, hosts, programs=f'{{"etcd-3.5.1" = "{newer}"}}')
        said = told()
        assert re.search("upgrade, one after the other, n1 n2 n3.* before all 3.4.* all upgraded all 3.5.1", said), said
        return 0

    assert beside(tmp_path, 3, work) == 0


def test_a_whole_run(tmp_path: Path) -> None:
    need("redis-server", "redis-sentinel")

    def work(machines: Machines) -> int:
        words = "--testbed ssh --inventory inventory.toml --nemesis partition-primary --time 10s --baseline 2s --fault 4s"
        said = machines.splitbrain("test", "redis", *words.split(), "--between", "3s", "--settle", "5s").communicate()[0]
        said = " ".join(said.split())
        assert re.search("partition {n1} .* 6/6 links as intended", said), said
        assert "OBSERVED" in said and "3 nodes (ssh)" in said, said
        for node in range(3):
            assert "redis" not in machines.sh(node, "ps -e") and "SPLITBRAIN" not in machines.sh(node, RULES)
        left = sorted(map(str, tmp_path.glob("machine-*/**/*")))
        assert not list(tmp_path.glob("machine-*")), (said, left)
        return 0

    assert beside(tmp_path, 3, work) == 0
