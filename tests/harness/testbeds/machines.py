"""Machines for tests: namespaces joined by a bridge, each with its own network, processes, /run and a real sshd.

They, and everything that is started beside them, end with the process that made them, however it ends (see sandbox.py).
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds import sandbox
from splitbrain.harness.testbeds.namespaces import NamespaceNode, Namespaces
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Service
from tests.conftest import ROOT, need
from tests.harness.testbeds.cluster import plan

CONTROLLER = "198.18.255.254"

Work = Callable[["Machines"], Awaitable[None]]


def needed() -> None:
    """Skip where there can be no machines."""
    need("sshd", "ssh-keygen", "iptables")
    if os.geteuid() != 0:
        pytest.skip("sshd lets nobody log in unless it is root")


class Machines:
    """Some machines, `nodes`, and the inventory that names them. The controller is beside them, on their bridge."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.inventory = folder / "inventory.toml"
        self.known_hosts = folder / "known_hosts"
        self.nodes: tuple[NamespaceNode, ...] = ()

    def environment(self) -> dict[str, str]:
        """Of a `splitbrain` that is started beside them."""
        kept = {name: value for name, value in os.environ.items() if name != "SSH_AUTH_SOCK"}
        return kept | {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT}", "XDG_STATE_HOME": str(self.folder / "state")}

    def splitbrain(self, *words: str) -> subprocess.Popen[str]:
        """The command, started in the machines' folder."""
        return self.python("splitbrain.harness.cli", *words)

    def python(self, module: str, *words: str) -> subprocess.Popen[str]:
        """A program of ours, started in the machines' folder."""
        return subprocess.Popen(
            [sys.executable, "-m", module, *words], cwd=self.folder, env=self.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )

    def sh(self, node: int, script: str) -> str:
        """What a script prints on a machine, by another way than SSH."""
        target = f"--target={self.nodes[node].pid}"
        command = ["nsenter", target, "--net", "--mount", "--pid", "--uts", "sh", "-c", script]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        return ran.stdout


def write_inventory(folder: Path, hosts: dict[str, str], port: int = 22, **settings: str) -> Path:
    """An inventory of machines (name → address), each with a folder of its own."""
    path = folder / "inventory.toml"
    lines = ['user = "root"', f'key = "{folder}/key"', f'known_hosts = "{folder}/known_hosts"', f"port = {port}"]
    lines += [f"{name} = {value}" for name, value in settings.items()]
    for name, address in hosts.items():
        lines += ["", "[[hosts]]", f'host = "{address}"', f'folder = "{folder}/machine-{name}"']
    path.write_text("\n".join(lines) + "\n")
    return path


def beside(folder: Path, count: int, work: Callable[[Machines], int]) -> int:
    """Call `work` beside so many machines, in a process of its own; what it returns."""
    machines = Machines(folder)
    bed = Namespaces(plan(), "machines", folder / "lab")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "key")], check=True)
    (folder / "key.pub").rename(folder / "authorized")
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / "host")], check=True)

    async def raise_machines() -> None:
        await bed.up(count)
        machines.nodes = bed.nodes
        for node in bed.nodes:
            await node.run(["sh", "-c", FRESH])
            await node.start(sshd(folder))
            async with asyncio.timeout(60):
                while not _answers(node.address):
                    await asyncio.sleep(0.02)
        public = (folder / "host.pub").read_text().split()[:2]
        machines.known_hosts.write_text("".join(f"{node.address} {' '.join(public)}\n" for node in bed.nodes))
        write_inventory(folder, {node.name: node.address for node in bed.nodes})

    def inner(init: socket.socket) -> int:
        bed._init_end = init
        os.environ.update(XDG_STATE_HOME=str(folder / "state"))
        os.environ.pop("SSH_AUTH_SOCK", None)
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        loop.run_until_complete(raise_machines())
        return work(machines)

    return sandbox.enter(inner, as_root=True)


FRESH = """
iptables -D INPUT -j SPLITBRAIN; iptables -F SPLITBRAIN; iptables -X SPLITBRAIN
ip6tables -D INPUT -j SPLITBRAIN; ip6tables -F SPLITBRAIN; ip6tables -X SPLITBRAIN
mkdir -p /run/sshd
"""
"""A machine that nobody has had before."""


SSHD = ("PasswordAuthentication no", "UsePAM no", "StrictModes no", "PidFile none", "MaxStartups 100", "PermitRootLogin yes")
"""The settings of an sshd that takes the test's key alone."""


def sshd(folder: Path) -> Service:
    """A real one, which takes the test's key alone."""
    settings = (f"HostKey {folder}/host", f"AuthorizedKeysFile {folder}/authorized /run/authorized", *SSHD)
    return Service(
        name="sshd", argv=(str(find_program("sshd")), "-D", "-e", "-f", "{folder}/sshd_config"),
        files={"sshd_config": "\n".join(settings) + "\n"},
    )


def _answers(address: str) -> bool:
    with socket.socket() as one:
        one.settimeout(1)
        return one.connect_ex((address, 22)) == 0


def planned(folder: Path, count: int = 2) -> Plan:
    """A plan on so many machines, whose inventory is there before they are."""
    path = write_inventory(folder, {f"n{number}": f"198.18.0.{number}" for number in range(1, count + 1)})
    return plan(testbed="ssh", inventory=str(path), nodes=count)


class Beside(Ssh):
    """The testbed on machines of the test's own, for the tests that all testbeds share."""

    def inside(self, work: Callable[[], int]) -> int:
        return beside(self._folder, len(self.hosts), lambda machines: super(Beside, self).inside(work))
