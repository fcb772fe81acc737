"""How fast nodes are cut and their servers killed, on each testbed, beside what people do by hand: a command for every node.

    python -m bench.faults [namespaces] [docker] [ssh] [--rounds N]

Prints Markdown. Two of five nodes are cut off from the other three, which changes the rules of all five; then all five
servers are killed. Milliseconds from the moment at which the targets are known until the last node's rules are in force, or
its server is gone; the spread is between the first node and the last. By hand the very same rules are given to
`iptables-restore` of each node by one command: `nsenter`, `docker exec` into a container that has iptables and the right to
use it, or OpenSSH's client; and servers are ended by `pkill -9` or `docker kill`. All five commands are started at once, or
one after the other. Everything is done in turn, in every round of one run, and every cut, whosever it is, is proven by
packets before the next. Times are of the clock, for they are what a fault takes: so the best is told too, beside the load.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from splitbrain.harness.testbeds import engine, firewall
from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.docker_access import TOOLS
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Service, everything
from splitbrain.nemeses.cluster import Cluster
from tests import lab
from tests.harness.testbeds import machines
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, plan

NODES = 5
SIDE = ("n1", "n2")
PATIENCE = 60.0
"""Seconds that servers may take to serve, and a command to end."""
PATTERN = "server[.]py"
"""What `pkill -f` is told: the server's file, and not this pattern itself."""


class Command(msgspec.Struct, frozen=True):
    """What a person starts for one node, and what it reads."""

    argv: tuple[str, ...]
    stdin: str = ""


class Took(msgspec.Struct):
    """Milliseconds of each round: ours, between our first node and our last, and by hand."""

    ours: list[float] = []
    spread: list[float] = []
    at_once: list[float] = []
    in_turn: list[float] = []

    def row(self, testbed: str, deed: str) -> str:
        """A line of the table."""
        ratios = [f"{statistics.median(peer / ours for peer, ours in zip(peers, self.ours, strict=True)):.1f}"
                  for peers in (self.at_once, self.in_turn)]
        told = [_told(self.ours), _told(self.spread), _told(self.at_once), ratios[0], _told(self.in_turn), ratios[1]]
        return f"| {testbed} | {deed} | {' | '.join(told)} |"


def _told(times: Sequence[float]) -> str:
    """`12.3 (9.8 to 31.4)`: the median, the best and the worst."""
    return f"{statistics.median(times):.1f} ({min(times):.1f} to {max(times):.1f})"


class Bed(ABC):
    """A testbed of five nodes, and what people would do there by hand."""

    name: ClassVar[str]

    def __init__(self, folder: Path, rounds: int) -> None:
        self.folder = folder
        self.rounds = rounds
        self.testbed: Any = None

    @abstractmethod
    def missing(self) -> str:
        """Why there can be none here; empty where nothing is missing."""

    @abstractmethod
    def made(self) -> Any:
        """The testbed."""

    @abstractmethod
    def cut(self, node: Any, rules: firewall.Rules) -> Command:
        """Gives one node its rules."""

    @abstractmethod
    def kill(self, node: Any) -> Command:
        """Kills its server."""

    def run(self) -> None:
        """Measure, and print the table's lines. Ends this process where the one that measures was ended."""
        self.testbed = self.made()
        if code := self.testbed.inside(lambda: asyncio.run(self.measure()) or 0):
            sys.exit(code)

    async def prepare(self) -> None:
        """What people would have ready before."""

    async def measure(self) -> None:
        """Every round."""
        bed = self.testbed
        cuts, kills = Took(), Took()
        try:
            await bed.up(NODES)
            nodes = {node.name: node for node in bed.nodes}
            names = tuple(nodes)
            await asyncio.gather(*(node.start(self.server()) for node in bed.nodes))
            await bed.listen(PORT)
            await self.prepare()
            cluster = Cluster(bed, names, time.monotonic_ns, lambda connectivity: None)
            await self._serve(cluster)
            whole, half = everything(names), everything(names)
            links = [link for link in whole.edges if (link[0] in SIDE) != (link[1] in SIDE)]
            half.remove_edges_from(links)
            addresses = {name: firewall.Addresses(node.address, node.address6) for name, node in nodes.items()}
            rules = firewall.rules(whole, half, addresses)
            by_hand = [self.cut(nodes[name], rules[name]) for name in names]
            for number in range(self.rounds + 1):
                began = time.monotonic_ns()
                changed = await cluster.cut(self, links)
                told = (changed.at - began) / 1e6, changed.spread / 1e6
                await self._proven(cluster, half)
                await cluster.mend(self)
                both = []
                for perform in (at_once, in_turn):
                    both.append(await perform(by_hand))
                    await self._proven(cluster, half)
                    await bed.apply(half, whole)
                if number:  # The first time is that of what is loaded late.
                    _add(cuts, told, both)
                began = time.monotonic_ns()
                changed = await cluster.end(self, names)
                told = (changed.at - began) / 1e6, changed.spread / 1e6
                await cluster.start(self, names)
                await self._serve(cluster)
                both = []
                for perform in (at_once, in_turn):
                    both.append(await perform([self.kill(node) for node in bed.nodes]))
                    async with asyncio.timeout(PATIENCE):
                        while any(node.services for node in bed.nodes):
                            await asyncio.sleep(0.01)
                    await asyncio.gather(*(node.start(self.server()) for node in bed.nodes))
                    await self._serve(cluster)
                if number:
                    _add(kills, told, both)
        finally:
            await bed.down()
        print(cuts.row(self.name, "cut"), kills.row(self.name, "kill"), sep="\n", flush=True)

    def server(self) -> Service:
        """What runs on a node."""
        return ON_PYTHON

    async def _serve(self, cluster: Cluster) -> None:
        if silent := await cluster.serving(cluster.names, timeout=PATIENCE):
            raise RuntimeError(f"{' '.join(silent)} of {self.name} do not serve")

    async def _proven(self, cluster: Cluster, intended: Any) -> None:
        wrong = (await self.testbed.probe(intended, timeout=2.0)).wrong(intended)
        if wrong:
            raise RuntimeError(f"{self.name}: not cut: {wrong}")


def _add(took: Took, ours: tuple[float, float], by_hand: Sequence[float]) -> None:
    took.ours.append(ours[0])
    took.spread.append(ours[1])
    took.at_once.append(by_hand[0])
    took.in_turn.append(by_hand[1])


class InNamespaces(Bed):
    name = "namespaces"

    def missing(self) -> str:
        return "; ".join(problem.what for problem in Namespaces.problems())

    def made(self) -> Any:
        return Namespaces(plan(), "bench", self.folder)

    def cut(self, node: Any, rules: firewall.Rules) -> Command:
        return Command(("nsenter", f"--target={node.pid}", "--net", "sh"), _script(rules))

    def kill(self, node: Any) -> Command:
        return Command(("nsenter", f"--target={node.pid}", "--mount", "--pid", "pkill", "-9", "-f", PATTERN))


class OnMachines(Bed):
    name = "ssh"

    def missing(self) -> str:
        if os.geteuid() != 0:
            return "sshd lets nobody log in unless it is root"
        return "; ".join(problem.what for problem in Ssh.problems())

    def made(self) -> Any:
        return machines.Beside(machines.planned(self.folder, NODES), "bench", self.folder)

    def cut(self, node: Any, rules: firewall.Rules) -> Command:
        return Command((*self._ssh(node), "sh"), _script(rules))

    def kill(self, node: Any) -> Command:
        return Command((*self._ssh(node), f"pkill -9 -f {PATTERN}"))

    def _ssh(self, node: Any) -> tuple[str, ...]:
        options = ("BatchMode=yes", f"UserKnownHostsFile={self.folder}/known_hosts")
        chosen = [word for option in options for word in ("-o", option)]
        return ("ssh", "-F", "none", "-i", f"{self.folder}/key", *chosen, f"root@{node.address}")


class InContainers(Bed):
    name = "docker"

    def missing(self) -> str:
        if not os.environ.get("SPLITBRAIN_LAB"):
            return "no Docker engine of the tests' own: run it by tools/docker-lab, as root"
        return ""

    def run(self) -> None:
        os.environ["DOCKER_HOST"] = os.environ["SPLITBRAIN_LAB"]
        with lab.inside(lab.NAMESPACE):
            super().run()

    def made(self) -> Any:
        lab.built("tools")
        return Docker(plan(image=lab.built("reference")), "bench", self.folder)

    async def prepare(self) -> None:
        """A container with iptables in each node's network, as a person would have it beside images that have none."""
        client = engine.connect()
        for node in self.testbed.nodes:
            client.containers.run(
                TOOLS, ["-c", "import signal; signal.pause()"], entrypoint="python3", detach=True, cap_add=["NET_ADMIN"],
                name=f"{node.holder.name}-by-hand", labels=node.holder.labels, network_mode=f"container:{node.holder.id}",
            )
        client.close()

    def cut(self, node: Any, rules: firewall.Rules) -> Command:
        restore = ("iptables-restore", *firewall.ARGUMENTS)
        return Command(("docker", "exec", "-i", f"{node.holder.name}-by-hand", *restore), rules.ipv4)

    def kill(self, node: Any) -> Command:
        return Command(("docker", "kill", f"{node.holder.name}-{ON_PYTHON.name}"))


BEDS = (InNamespaces, InContainers, OnMachines)


def _script(rules: firewall.Rules) -> str:
    """Both firewalls of one node, given their rules by one shell."""
    programs = {"iptables-restore": rules.ipv4, "ip6tables-restore": rules.ipv6}
    given = [f"{program} {' '.join(firewall.ARGUMENTS)} <<END\n{text}END\n" for program, text in programs.items() if text]
    return "set -e\n" + "".join(given)


async def _perform(command: Command) -> None:
    process = await asyncio.create_subprocess_exec(
        *command.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    async with asyncio.timeout(PATIENCE):
        told, _ = await process.communicate(command.stdin.encode())
    if process.returncode != 0:
        raise RuntimeError(f"{' '.join(command.argv)}: {told.decode(errors='replace').strip()}")


async def at_once(commands: Sequence[Command]) -> float:
    """Milliseconds that all of them take, started at once."""
    began = time.monotonic()
    await asyncio.gather(*map(_perform, commands))
    return (time.monotonic() - began) * 1e3


async def in_turn(commands: Sequence[Command]) -> float:
    """Milliseconds that they take, one after the other."""
    began = time.monotonic()
    for command in commands:
        await _perform(command)
    return (time.monotonic() - began) * 1e3


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(prog="bench.faults", description=__doc__.splitlines()[0])
    parser.add_argument("testbeds", nargs="*")  # Of several, argparse before Python 3.12 takes none for a wrong choice.
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args(arguments)
    if unknown := sorted({*options.testbeds} - {bed.name for bed in BEDS}):
        parser.error(f"no testbed is called {unknown[0]}: there are {', '.join(bed.name for bed in BEDS)}")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Whoever ends it leaves no containers behind either.
    load = os.getloadavg()[0]
    print(f"Milliseconds: the median of {options.rounds} rounds, the best and the worst. Load before: {load:.1f}.\n")
    print("| testbed | five nodes | splitbrain | its spread | a command a node, at once | ratio | in turn | ratio |")
    print("|---|---|---:|---:|---:|---:|---:|---:|", flush=True)
    absent = []
    for bed in BEDS:
        if options.testbeds and bed.name not in options.testbeds:
            continue
        with tempfile.TemporaryDirectory() as folder:
            one = bed(Path(folder), options.rounds)
            if reason := one.missing():
                absent.append(f"{bed.name}: not measured: {reason}.")
            else:
                one.run()
    print("", *absent, sep="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
