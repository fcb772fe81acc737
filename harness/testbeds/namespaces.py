"""The default testbed: nodes in Linux namespaces, without Docker, as root or as an ordinary user.

The whole cluster, its network and the harness that drives it live in namespaces of their own (sandbox.py), so its
addresses and ports cannot collide with anything on the machine or with another run, none of its packets leaves it, and
nothing of it outlives the process that a person started.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import binary, find_program, is_program
from splitbrain.harness.testbeds import clocks, commands, firewall, kernel, memory_disk, sandbox, trials
from splitbrain.harness.testbeds.at_hand import AtHand
from splitbrain.harness.testbeds.families import SERVICE
from splitbrain.harness.testbeds.owner import is_gone, owner
from splitbrain.harness.testbeds.power import VolatileDisk
from splitbrain.harness.testbeds.prober import Probed, Prober, Site
from splitbrain.harness.testbeds.shaping import Shaping
from splitbrain.harness.testbeds.spawner import Channel, Process
from splitbrain.harness.testbeds.testbed import Ability, Applied, Completed, Connectivity, Problem, Service, Unwritten, Wanted

RUN = "SPLITBRAIN_RUN"
"""The environment variable that labels every process of a run."""
HARNESS = "SPLITBRAIN_HARNESS"
"""Beside it: the process that a person started (see owner.py)."""

_GRACE = 2.0
_BRIDGE = "198.18.255.254"
_BRIDGE6 = "fd00:198:18::ffff"
_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "JAVA_HOME")
_MOST_NODES = 250


def empty(folder: Path, keep: Collection[str]) -> None:
    """Remove what is in a folder, all but these files in it. Raises `SetupError`."""
    kept = {folder / file for file in keep}
    try:
        for file in sorted(folder.rglob("*"), reverse=True):  # what a folder holds before the folder
            if file.is_dir() and not file.is_symlink():
                if not any(file in one.parents for one in kept):
                    file.rmdir()
            elif file not in kept:
                file.unlink()
    except OSError as error:
        raise SetupError(f"{folder}: cannot be emptied: {error.strerror}.") from error


class Namespaces(AtHand, Probed):
    """N nodes, each with its own network, host name, processes and mounts, on one bridge.

    Addresses are 198.18.0.N/16 (RFC 2544: they belong to no one) and fd00:198:18::N/64; the harness is on the bridge
    itself, so it reaches every node whatever is cut. Link-local addresses are off: a packet could go round the cut.
    """

    name: ClassVar[str] = "namespaces"
    summary: ClassVar[str] = "Linux namespaces on this machine, rootless: no Docker, nothing to clean up"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {"cut", "end", "pause", "impair", "skew", "fill", "damage", "wipe", "unplug", "exchange"}
    )

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        if plan.image:
            raise UsageError("--image is for the testbed docker: the programs of nodes in namespaces are chosen with --binary.")
        self.nodes: tuple[NamespaceNode, ...] = ()
        self._plan = plan
        self._run = run
        self._folder = folder.resolve()
        self._outer = owner()
        self._init_end: socket.socket | None = None
        self._init: Channel | None = None
        self._shaping: Shaping | None = None
        self._bounded: list[Path] = []
        self._volatile: dict[str, VolatileDisk] = {}

    @classmethod
    def lacks(cls, ability: Ability) -> str:
        """Whether the kernel has packet queues, for impaired links, and FUSE, for power losses, is tried in a sandbox."""
        if ability == "skew":
            return clocks.refusal()
        tried = {"impair": trials.impairing, "unplug": trials.losing_power}
        return trials.refusal(tried[ability]) if ability in tried else ""

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """What keeps this testbed from working on this machine: programs, namespaces, the kernel's packet filter."""
        found = []
        packages = {"ip": "iproute2", "iptables-restore": "iptables", "ip6tables-restore": "iptables"}
        for program, package in packages.items():
            if find_program(program) is None:
                found.append(Problem(f"the program {program} is missing", f"sudo apt-get install {package}"))
        if not found:
            try:
                refusal = trials.refusal(trials.cutting)
            except SetupError as error:
                return [Problem("no namespaces can be made here", str(error))]
            if refusal:
                modules = "nf_tables nft_compat ip_tables iptable_filter ip6_tables ip6table_filter"
                found.append(Problem(f"iptables does not work in a namespace: {refusal}", f"sudo modprobe -a {modules}"))
        return found

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """The programs that this machine has not got, where the plan names no folder of them."""
        missing = [] if plan.binary else [wanted for wanted in programs if find_program(wanted.name) is None]
        return [Problem(f"the program {wanted.name} is not on this machine", wanted.mend) for wanted in missing]

    @classmethod
    def clean(cls) -> Sequence[str]:
        """Kill the processes that carry a run's label and whose harness is gone.

        By construction there are none, nor a namespace, rule or mount: they end with the harness. This looks all the same.
        """
        removed = []
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit() or int(entry.name) == os.getpid():
                continue
            try:
                environment = dict(
                    item.split("=", 1) for item in (entry / "environ").read_text(errors="replace").split("\0") if "=" in item
                )
            except OSError:  # gone meanwhile, or another user's
                continue
            if RUN in environment and is_gone(environment.get(HARNESS, "")):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(entry.name), signal.SIGKILL)
                    removed.append(f"process {entry.name} of run {environment[RUN]}: killed")
        return removed

    def inside(self, work: Callable[[], int]) -> int:
        """See `sandbox.enter`: if any process between the person's and the last server dies, all of them do."""
        if self._folder.is_relative_to("/run"):
            raise SetupError(f"{self._folder}: a run's folder cannot lie under /run, which the nodes have for themselves.")

        def with_init(init_end: socket.socket) -> int:
            self._init_end = init_end
            return work()

        return sandbox.enter(with_init)

    async def up(self, count: int) -> None:
        """Make the nodes. Raises `SetupError` where a program is missing or the kernel lacks something."""
        if self._init_end is None:
            raise RuntimeError("up() belongs inside inside()")
        if not 1 <= count <= _MOST_NODES:
            raise SetupError(f"{count} nodes: namespaces hold 1 to {_MOST_NODES}.")
        ip = commands.program("ip", "iproute2")
        home = self._home()
        ipv6 = os.access("/proc/net/if_inet6", os.R_OK)
        names = [f"n{number}" for number in range(1, count + 1)]
        folder = self._folder / "nodes"
        addresses = [(f"198.18.0.{number}", f"fd00:198:18::{number:x}" if ipv6 else "") for number in range(1, count + 1)]
        known = [("127.0.0.1", "localhost"), ("::1", "localhost")]
        known += [(address, name) for name, pair in zip(names, addresses, strict=True) for address in pair if address]
        hosts = folder / "hosts"
        try:
            for name in names:
                (folder / name / "data").mkdir(parents=True, exist_ok=True)
            hosts.write_text("".join(f"{address} {name}\n" for address, name in known))
        except OSError as error:
            raise SetupError(f"the nodes have no place for their data: {kernel.reason(error)}") from error
        rto = self._plan.tcp_rto_max_ms
        sysctl = {"net.ipv4.tcp_rto_max_ms": str(rto)} if rto else {}
        labels = {RUN: self._run, HARNESS: self._outer}
        chosen = binary(self._plan.binary, self._plan.database) if self._plan.binary else None
        if self._plan.binary and chosen is None:
            raise SetupError(f"binary '{self._plan.binary}' does not exist.")
        made = await commands.together(home.fork(name, hosts=hosts, sysctl=sysctl) for name in names)
        self.nodes = tuple(
            NamespaceNode(name, address, address6, folder / name, channel, pid, chosen, labels)
            for name, (address, address6), (channel, pid) in zip(names, addresses, made, strict=True)
        )
        bridge = [
            "link set lo up",
            "link add br0 type bridge mcast_snooping 0",
            "link set br0 addrgenmode none",
            "link set br0 up",
            f"address add {_BRIDGE}/16 dev br0",
            *([f"address add {_BRIDGE6}/64 dev br0 nodad"] if ipv6 else []),
        ]
        for node in self.nodes:
            bridge.append(f"link add {node.name} type veth peer name eth0 netns {node.pid}")
            bridge.append(f"link set {node.name} addrgenmode none master br0 up")
        commands.succeeded("the bridge", await commands.run(home, (ip, "-batch", "-"), "\n".join(bridge)))

        async def network(node: NamespaceNode) -> None:
            lines = ["link set lo up", "link set eth0 addrgenmode none", "link set eth0 up"]
            lines.append(f"address add {node.address}/16 dev eth0")
            if node.address6:
                lines.append(f"address add {node.address6}/64 dev eth0 nodad")
            commands.succeeded(node.name, await commands.run(node.channel, (ip, "-batch", "-"), "\n".join(lines)))

        own = self._addresses()
        await commands.together(
            step for node in self.nodes for step in (network(node), node.restore(firewall.install(own[node.name])))
        )

    async def facts(self) -> dict[str, str]:
        """The version of iptables."""
        if self._init is None:
            raise RuntimeError("facts() comes after up()")
        said, _ = await commands.run(self._init, (commands.program("iptables", "iptables"), "--version"), "")
        return {"firewall": said.stdout.strip()}

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """Give every node its rules, all at once. Raises `SetupError` with what iptables said where a node refused; the
        connectivity is then neither of the two."""
        texts = firewall.rules(before, after, self._addresses())
        return await commands.apply({node.name: node.restore for node in self.nodes}, texts)

    async def impair(self, links: Mapping[Link, Impair]) -> Applied:
        """Hold back, lose, double or damage the packets of these links (shaping.py). Raises `SetupError` where the kernel
        refuses; nothing is then impaired that was not before."""
        if self._init is None:
            raise RuntimeError("impair() comes after up()")
        if self._shaping is None:
            self._shaping = Shaping(self._init, {node.name: node.channel for node in self.nodes}, self._folder / "shaper.log")
        return await self._shaping.impair(links, self._addresses(), {node.name: node.restore for node in self.nodes})

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the clocks of a node's servers wrong (clocks.py). Raises `SetupError` where the kernel refuses."""
        (node,) = (node for node in self.nodes if node.name == name)
        await commands.together(node.skew(service.name, nanoseconds, paused=paused) for service in node.services)

    async def bound(self, count: int) -> None:
        """A disk in memory for every data folder (memory_disk.py). Raises `SetupError`."""
        for number in range(1, count + 1):
            data = self.data(f"n{number}")
            try:
                data.mkdir(parents=True, exist_ok=True)
                memory_disk.mount(data)
            except OSError as error:
                raise SetupError(f"n{number}: its data folder cannot have a disk of its own: {kernel.reason(error)}") from error
            self._bounded.append(data)

    async def fill(self, name: str, *, full: bool) -> None:
        """See `memory_disk.fill`. Raises `SetupError`."""
        try:
            memory_disk.fill(self.data(name), full=full)
        except OSError as error:
            raise SetupError(f"{name}: the size of its disk cannot be changed: {kernel.reason(error)}") from error

    async def unpluggable(self, count: int) -> None:
        """A FUSE mount for every data folder, which all mounts of the nodes are copied from. Raises `SetupError`."""
        if self._bounded:
            raise SetupError("a disk can be filled or lose its power, not both in one run.")
        for number in range(1, count + 1):
            name = f"n{number}"
            data = self.data(name)
            disk = self._volatile[name] = VolatileDisk(data, data.with_name("disk.log"))
            await disk.begin(self._home())
            self._bounded.append(data)

    async def lose_power(self, name: str, how: str, seed: int) -> Unwritten:
        """See `VolatileDisk.lose_power`. What the server has not been told yet was never written."""
        return await self._volatile[name].lose_power(how, seed)

    async def slow(self, name: str, seconds: float) -> None:
        """See `VolatileDisk.slow`."""
        await self._volatile[name].slow(seconds)

    def _home(self) -> Channel:
        """The first process of the sandbox."""
        if self._init is None:
            if self._init_end is None:
                raise RuntimeError("this belongs inside inside()")
            self._init = Channel("the sandbox", self._init_end)
        return self._init

    async def wipe(self, name: str, keep: Collection[str]) -> None:
        """Remove it from here. Raises `SetupError`."""
        empty(self.data(name), keep)

    def data(self, name: str) -> Path:
        """The node's data folder."""
        return self._folder / "nodes" / name / "data"

    async def listen(self, port: int) -> None:
        """See `Prober.open`."""
        if self._init is None:
            raise RuntimeError("listen() comes after up()")
        sites = {node.name: Site(node.address, node.address6, node.channel.sockets) for node in self.nodes}
        harness = Site(_BRIDGE, _BRIDGE6 if self.nodes[0].address6 else "", self._init.sockets)
        connections = {node.name: node.connections for node in self.nodes}
        await self._open_prober(Prober(sites, harness, port, connections))

    async def down(self) -> None:
        """Kill every node with all its processes; the network goes with the last of them. Idempotent."""
        self._close_prober()
        if self._shaping is not None:
            self._shaping.close()
            self._shaping = None
        for node in self.nodes:
            node.end()
        self.nodes = ()
        while self._bounded:
            self._unbound(self._bounded.pop())
        for disk in self._volatile.values():
            disk.close()
        self._volatile.clear()
        if self._init is not None:
            self._init.close()
            self._init = None

    def _unbound(self, data: Path) -> None:
        """Take a data folder's own disk away; what lay on it is kept where the plan says so."""
        kept = data.with_name("data.kept")
        try:
            if self._plan.keep:
                shutil.copytree(data, kept, symlinks=True)
            kernel.unmount(str(data))
            if self._plan.keep:
                data.rmdir()
                kept.rename(data)
        except OSError as error:
            raise SetupError(f"{data}: its disk cannot be taken away: {kernel.reason(error)}") from error

    def _addresses(self) -> dict[str, firewall.Addresses]:
        return {node.name: firewall.Addresses(node.address, node.address6) for node in self.nodes}


class _Running(NamedTuple):
    """One start of a service."""

    service: Service
    process: Process


class NamespaceNode:
    """One node: its init is process 1 of its own pid namespace (see spawner.py)."""

    def __init__(
        self,
        name: str,
        address: str,
        address6: str,
        folder: Path,
        channel: Channel,
        pid: int,
        binary: Path | None,
        labels: dict[str, str],
    ) -> None:
        self.name = name
        self.address = address
        self.address6 = address6
        self.channel = channel
        self.pid = pid
        self._logs = folder
        self._data = folder / "data"
        self._binary = binary
        self._labels = labels
        self._services: dict[str, _Running] = {}
        self._given: dict[str, Service] = {}
        self._dead: list[Death] = []
        self._firewall = commands.Firewall(channel)
        self._watcher: Channel | None = None
        """A process beside the first one of the node, where somebody has asked for one; one at a time asks."""
        self._asking = asyncio.Lock()

    @property
    def folder(self) -> str:
        """The node's data folder, also the working directory of its services."""
        return str(self._data)

    def log(self, name: str) -> Path:
        """What a service printed, both streams, all its starts."""
        return self._logs / f"{name}.log"

    async def start(self, service: Service) -> None:
        """Start a service. Raises `SetupError` where its program is missing, it runs already, or it cannot be executed."""
        if self.running(service.name):
            raise SetupError(f"{self.name}: {service.name} runs already.")
        self._forget(service.name)
        argv = [part.replace("{folder}", self.folder) for part in service.argv]
        argv[0] = self._server(argv[0])
        env = self._environment() | {SERVICE: service.name} | service.env
        with contextlib.ExitStack() as stack:
            try:
                for name, content in service.files.items() if self._given.get(service.name) != service else ():
                    path = self._data / name
                    path.parent.mkdir(parents=True, exist_ok=True)
                    with path.open("w") as file:  # A person's files were on the disk long before the power went.
                        file.write(content.replace("{folder}", self.folder))
                        file.flush()
                        os.fsync(file.fileno())
                nothing = os.open(os.devnull, os.O_RDONLY)
                stack.callback(os.close, nothing)
                log = os.open(self.log(service.name), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
                stack.callback(os.close, log)
            except OSError as error:
                raise SetupError(f"{self.name}: {service.name} cannot be started: {kernel.reason(error)}") from error
            process = await self.channel.spawn(argv, env, self.folder, (nothing, log, log))
        self._services[service.name] = _Running(service, process)
        self._given[service.name] = service

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End a service and everything that came of it; nothing happens where it was not started."""
        process = self._forget(name)
        if process is None:
            return
        if not kill and not process.ended.done():
            await self.channel.signal(process, signal.SIGTERM)
            await asyncio.wait([process.ended], timeout=_GRACE)
        await self.channel.kill(process, name)
        await process.ended

    async def pause(self, name: str) -> None:
        """Pause a service and everything that came of it."""
        if self.running(name):
            await self.channel.pause(self._services[name].process, name)

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the clock of a service and of everything that came of it wrong."""
        await self.channel.skew(self._services[name].process.pid, name, nanoseconds, paused=paused)

    async def resume(self, name: str) -> None:
        """Resume a paused service."""
        if self.running(name):
            await self.channel.resume(self._services[name].process, name)

    async def let_run(self, name: str, seconds: float, most: float) -> float:
        """Let a paused service run for a moment. The node's first process does not wait for that: it has other work."""
        if not self.running(name):
            return 0.0
        async with self._asking:
            if self._watcher is None:
                self._watcher = await self.channel.beside(self.name, 1)
        return await self._watcher.let_run(self._services[name].process, name, seconds, most)

    @property
    def services(self) -> Sequence[Service]:
        """The services whose own process is alive, in the order in which they were started."""
        return [running.service for name, running in self._services.items() if self.running(name)]

    def running(self, name: str) -> bool:
        """Whether the service's own process is alive."""
        running = self._services.get(name)
        return running is not None and not running.process.ended.done()

    def ended(self) -> Sequence[Death]:
        """The services whose own process ended though nobody stopped them, and how."""
        found = [self._death(name, running.process) for name, running in self._services.items() if running.process.ended.done()]
        return sorted([*self._dead, *found], key=lambda death: death.time)

    def _death(self, name: str, process: Process) -> Death:
        ended = process.ended.result()
        return Death(node=self.name, service=name, time=ended.at, code=ended.code)

    def _forget(self, name: str) -> Process | None:
        """The process that a service had, which counts no more; that it ended by itself is remembered."""
        running = self._services.pop(name, None)
        if running is None:
            return None
        if running.process.ended.done():
            self._dead.append(self._death(name, running.process))
        return running.process

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
        """Run a program on the node. Raises `SetupError` where it is missing or takes too long; it is then killed."""
        command = (self._tool(argv[0]), *argv[1:])
        env = self._environment()
        completed, _ = await commands.run(self.channel, command, stdin, env=env, cwd=self.folder, timeout=timeout)
        return completed

    async def restore(self, rules: firewall.Rules) -> int:
        """Give the node's firewall its rules, and tell when the last of them was in force (monotonic clock, ns)."""
        iptables, ip6tables = (commands.program(name, "iptables") for name in ("iptables-restore", "ip6tables-restore"))
        return await self._firewall.restore(rules, iptables, ip6tables)

    async def connections(self) -> str:
        """The kernel's tables of the node's TCP connections."""
        return await commands.connections(self.channel, commands.program("cat", "coreutils"))

    def end(self) -> None:
        """Kill the node: its init, and with it every process on it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        self._firewall.close()
        if self._watcher is not None:
            self._watcher.close()
        self.channel.close()

    def _environment(self) -> dict[str, str]:
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        return {"PATH": commands.PATH, "TZ": "UTC"} | kept | {"HOME": self.folder, "TMPDIR": self.folder} | self._labels

    def _server(self, program: str) -> str:
        """The program of a service. Where the plan names a `binary`, that and no other: a folder that holds it, or the
        program itself, whose name then begins with the one asked for (`etcd-3.5.17`); others are looked for beside it."""
        if program == "python3" or self._binary is None or os.sep in program:
            return self._tool(program)
        if is_program(self._binary, program):
            return str(self._binary)
        folder = self._binary if self._binary.is_dir() else self._binary.parent
        found = shutil.which(program, path=str(folder))
        if found is None:
            raise SetupError(f"there is no program {program} in {folder}, where --binary says that it is.")
        return found

    def _tool(self, program: str) -> str:
        if program == "python3":
            return sys.executable  # new enough for certain, which the one in PATH may not be
        own = [] if self._binary is None else [self._binary if self._binary.is_dir() else self._binary.parent]
        found = find_program(program, *map(str, own))
        if found is None:
            raise SetupError(
                f"the program {program} is neither in PATH nor in a usual folder: 'splitbrain doctor' says how to get it."
            )
        return found
