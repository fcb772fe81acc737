"""The testbed `containers`: a cluster of a person's own that runs already, in containers of this machine.

Beside each container runs the helper of machines over SSH (the folder helper), here, in that container's network: so faults,
probes and the guard are theirs. Only containers that carry the label `splitbrain.disposable=true` are touched.

A server is ended with its container, by the engine, which then leaves it to us to start it again, whatever the container's
restart policy. **A container that is started again has another network**, without any rule, while the helper is in the old one.
So, while it is started, its peers lose what they send to it over links that are cut or impaired; a helper is begun in the new
network, and writes the rules that are in force; then they send again. What it sends, its peers' rules judge, which never left.
It must come back at its address, which must be a fixed one. Until then the old helper's guard would start the container.

One that ends by itself, or by somebody else's hand, and is started again by its restart policy or by a person, is followed in
the same way: its peers are told before it has its new network. Where they were told too late, what was in force has not held.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Collection, Coroutine, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.errors import PlanError, SetupError
from splitbrain.harness.history import fault
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds import container_start, engine, firewall
from splitbrain.harness.testbeds.attach import Attached, AttachedNode, port
from splitbrain.harness.testbeds.commands import together
from splitbrain.harness.testbeds.helper.machine import lives, start_time
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.prober import Probed
from splitbrain.harness.testbeds.ssh import lacking
from splitbrain.harness.testbeds.ssh_inventory import Host, names
from splitbrain.harness.testbeds.ssh_link import BOOT, Link, Mended, program
from splitbrain.harness.testbeds.ssh_prober import RemoteProber
from splitbrain.harness.testbeds.testbed import (
    Ability,
    Applied,
    Connectivity,
    Problem,
    Reach,
    Service,
    Train,
    Wanted,
    everything,
)

GRACE = 2
"""Seconds that a container has to end by itself."""
LOOK = 0.02
"""Seconds between two looks whether a container of which the server ended has ended too."""
RETURN = 0.1
"""Seconds between two looks whether somebody has started it again."""
DISPOSABLE = "splitbrain.disposable=true"
"""The label of a container that may be broken."""


class Containers(Attached):
    """The containers that carry the plan's label, by name n1, n2, ..."""

    name: ClassVar[str] = "containers"
    summary: ClassVar[str] = "containers of your own that run already: --containers LABEL, or --compose FILE"
    abilities: ClassVar[frozenset[Ability]] = frozenset({"cut", "end", "pause", "impair", "skew"})

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        Probed.__init__(self)
        if not plan.containers:
            raise PlanError(("testbed",), "the testbed containers needs a label: --containers LABEL, or --compose FILE.")
        if plan.image or plan.binary or plan.inventory:
            raise PlanError((), "--image, --binary and --inventory say nothing to containers that run already.")
        if plan.tcp_rto_max_ms:
            raise PlanError(("tcp_rto_max_ms",), 'tcp_rto_max_ms is not set in containers of one\'s own: leave it "kernel".')
        self.nodes = ()
        self._plan = plan
        self._run = run
        self._folder = folder
        self._machines = []
        self.hosts = ()
        self._changing = asyncio.Lock()
        self._up: Connectivity | None = None
        self._late: Mapping[fault.Link, fault.Impair] = {}
        self._ahead: dict[str, int] = {}
        self._coming: set[ContainerNode] = set()
        """Who is about to have another network, without any rule."""
        self._avoided: dict[str, list[str]] = {}
        """Node → the addresses to which it sends nothing meanwhile."""
        self._gap = ""
        """Why packets may have gone round what is in force; empty where none has."""
        self._strayed = ""
        """The same of one that will not be followed any more."""
        self._beside: set[asyncio.Task[None]] = set()

    def can(self) -> frozenset[Ability]:
        """All of it; whether its containers may be ended is looked at by `missing`."""
        return self.abilities

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """Whether the engine answers, and this user may enter the networks of containers."""
        try:
            engine.connect().close()
        except engine.Unreachable as error:
            return [error.problem]
        if os.geteuid() != 0:
            return [Problem("this user may not enter the networks of containers", "run splitbrain as root")]
        return []

    @classmethod
    def link(cls, name: str, host: Host) -> Link:
        """The helper beside a container."""
        return ContainerLink(name, host)

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """Look at every container of the plan: whether it can be cut, whether a server runs there, and whether it can be ended,
        where it is to be."""
        if problems := cls.problems():
            return problems
        hosts = found(plan.containers)[: plan.nodes]
        problems = asyncio.run(lacking(cls, hosts, (), needs, runs=port(plan)))
        return [*problems, *(unendable(hosts) if "end" in needs else ())]

    async def up(self, count: int) -> None:
        """Find every container's server. Raises `SetupError` where none listens."""
        self.hosts = found(self._plan.containers)[:count]
        self._up = everything(names(self.hosts))
        await super().up(count)

    def node(self, name: str, address: str, address6: str, logs: Path, link: Link) -> ContainerNode:
        """A container with its server."""
        return ContainerNode(name, address, address6, logs, link, self, port(self._plan))

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """See `Ssh.apply`. Who is started again meanwhile, is so before or afterwards."""
        async with self._changing:
            self._up = after
            await self._avoid()
            return await super().apply(before, after)

    async def impair(self, links: Mapping[fault.Link, fault.Impair]) -> Applied:
        """See `Ssh.impair`."""
        async with self._changing:
            self._late = dict(links)
            await self._avoid()
            return await super().impair(links)

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """See `Ssh.skew`; and again once a server that was started listens, since its container's first program may have made
        room for it."""
        self._ahead[name] = nanoseconds
        await super().skew(name, nanoseconds, paused=paused)

    async def probe(self, intended: Connectivity, *, timeout: float, late: float = 0.0) -> Reach:
        """See `RemoteProber.probe`. A container that is down has no network: over links from it and to it nothing passes, which
        is no news of those that are meant to be up. Raises `SetupError` where packets may have gone round what is in force."""
        async with self._changing:
            self._refuse_gap()
            there = [node.name for node in self.nodes if not self._is_down(node)]
            reach = await super().probe(intended.subgraph(there), timeout=timeout, late=late)
        every = everything(intended.nodes).edges
        dead = {link: False for link in every if not intended.has_edge(*link) and not set(link) <= set(there)}
        return Reach(reach.datagrams | dead, reach.datagrams6, reach.fresh, reach.standing)

    async def measure(self, links: Sequence[fault.Link], *, late: float, rate: float = 0.0) -> Mapping[fault.Link, Train]:
        """See `RemoteProber.measure`; of links between containers that are not down. Raises `SetupError` as `probe` does."""
        async with self._changing:
            self._refuse_gap()
            down = {node.name for node in self.nodes if self._is_down(node)}
            there = [link for link in links if down.isdisjoint(link)]
            return await super().measure(there, late=late, rate=rate)

    async def end(self, node: ContainerNode, name: str, *, kill: bool) -> None:
        """End a container, by the engine. From before that on, its guard knows that it has to be started."""
        async with self._changing:
            await node.link.ask("doom", name=name)
            node.is_down = True
            await engine.in_thread(partial(_end, node.link.host.host, kill=kill))

    async def start(self, node: ContainerNode, name: str) -> None:
        """Start a container that was ended; its peers reach it once its rules are there. Raises `SetupError` where it does not
        start, or comes back at another address."""
        async with self._changing:
            self._coming.add(node)
            await self._avoid()
            try:
                await node.link.ask("revive", name=name)
            except BaseException:
                self._coming.discard(node)
                await self._avoid()
                raise
            await self._rejoin(node)

    def ended(self, node: ContainerNode, name: str) -> None:
        """The server of a container ended, and no fault had ended it."""
        self._do(self._return(node, name))

    async def _return(self, node: ContainerNode, name: str) -> None:
        """Where it ended with its container, follow that to the network in which somebody starts it again."""
        while node.lives():
            if node.running(name):
                return  # The server alone had ended.
            await asyncio.sleep(LOOK)
        try:
            async with self._changing:
                await self._left(node)
            while node.is_down and not self._strayed:
                await asyncio.sleep(RETURN)
                async with self._changing:
                    await self._look_again(node, name)
        except SetupError as error:
            self._strayed = f"{error} What was in force for it is not known to have held."

    async def _left(self, node: ContainerNode) -> None:
        """It has ended by itself: until it is followed, its peers send it nothing over links that are cut or impaired."""
        node.is_down = True
        self._coming.add(node)
        await self._avoid()
        if self._kept(node) and await node.started():
            self._gap = f"{node.link.place} ended by itself, and packets may have come into its new network before its rules."

    async def _look_again(self, node: ContainerNode, name: str) -> None:
        """Follow a container that ended by itself, if it runs again. Raises `SetupError` where it cannot be followed."""
        if not (first := await node.started()):
            return
        try:
            await self._rejoin(node)
            await node.adopt(name, port(self._plan), first)
        except SetupError:
            if await node.started() == first:
                raise
            await self._left(node)  # It has ended again.

    async def _rejoin(self, node: ContainerNode) -> None:
        """A container has another network: what is in force is put in force there, and then its peers reach it again."""
        try:
            await self._follow(node)
            node.is_down = False
        finally:
            self._coming.discard(node)
            await self._avoid()
        if isinstance(self._prober, RemoteProber):
            await self._prober.rejoin(node.name)

    def _kept(self, node: ContainerNode) -> set[str]:
        """The nodes from which packets are lost, or late, on their way to this one."""
        assert self._up is not None
        cut = {a for a in self.addresses() if a != node.name and not self._up.has_edge(a, node.name)}
        return cut | {a for a, b in self._late if b == node.name}

    async def _avoid(self) -> None:
        """Have nobody send over links that are cut or impaired to who is about to have another network. Whoever is so himself
        cannot be told, and is reckoned to have sent."""
        coming = {node: self._kept(node) for node in self._coming}
        for node, kept in coming.items():
            if blind := [other.link.place for other in self._coming if other.name in kept]:
                both = f"{node.link.place} and {blind[0]}"
                self._gap = f"{both} were down at once, and may have met before their rules were there."
        if not self._in_force():
            self._gap = ""
        wanted = {
            peer: sorted(node.address for node, kept in coming.items() if peer.name in kept)
            for peer in self.nodes if not self._is_down(peer)
        }
        told = {peer: addresses for peer, addresses in wanted.items() if addresses != self._avoided.get(peer.name, [])}
        await together(peer.link.ask("avoid", addresses=addresses) for peer, addresses in told.items())
        self._avoided |= {peer.name: addresses for peer, addresses in told.items()}

    def _in_force(self) -> bool:
        assert self._up is not None
        return bool(self._late) or len(self._up.edges) < len(everything(self._up.nodes).edges)

    def _refuse_gap(self) -> None:
        if (why := self._gap or self._strayed) and self._in_force():
            raise SetupError(why)

    async def _follow(self, node: ContainerNode) -> None:
        """Begin a helper in the network that a container has now, with the rules that are in force, and end the one before."""
        before, addresses = node.link, self.addresses()
        link = self.link(node.name, before.host)
        try:
            await link.open()
            found = await link.ask("look", programs={}, folder=before.host.folder, address=node.address)
            if not found["here"]:
                raise SetupError(f"{link.place}: it did not come back at {node.address}, by which the others know it.")
            with contextlib.suppress(SetupError):  # One that is gone; of one that is not, the next finds the folder locked.
                await before.ask("leave", keep=False)
        except BaseException:
            link.close()
            raise
        before.close()
        link.heard = self._hear(node)
        node.link = link
        self._avoided.pop(node.name, None)
        await node.take(self._run, owner(), (), "")
        assert self._up is not None
        if rules := firewall.rules(everything(addresses), self._up, addresses).get(node.name):
            await node.restore(rules)
        if any(b == node.name for _, b in self._late):
            await self.shape(node, self._late)
            await node.restore(firewall.queues(self._late, addresses)[node.name])

    def listens(self, node: ContainerNode) -> None:
        """The server of a container listens again: its clock is to be as wrong as it was meant to be."""
        if self._ahead.get(node.name):
            self._do(self._skew_again(node.name))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def down(self) -> None:
        """See `Ssh.down`. Nobody is followed any more; who is being followed is so before."""
        async with self._changing:
            for task in self._beside:
                task.cancel()
        await super().down()

    async def _skew_again(self, name: str) -> None:
        with contextlib.suppress(SetupError):  # One that has ended since; what did not hold is seen by its proof.
            await super().skew(name, self._ahead[name], paused=False)

    @staticmethod
    def _is_down(node: object) -> bool:
        return isinstance(node, ContainerNode) and node.is_down


class ContainerNode(AttachedNode):
    """One container with one server. `is_down` from the moment on that it is being ended by a fault, or was found to have ended
    by itself, until it is followed to its new network. Its first process is the number `process`, started at `began`."""

    def __init__(
        self, name: str, address: str, address6: str, logs: Path, link: Link, testbed: Containers, port: int
    ) -> None:
        super().__init__(name, address, address6, logs, link)
        self.is_down = False
        self.process = 0
        self.began = ""
        self._testbed = testbed
        self._port = port

    def hear(self, message: dict[str, Any]) -> None:
        """See `SshNode.hear`."""
        super().hear(message)
        if message["event"] == "returned":
            self._testbed.listens(self)
        elif message["event"] == "ended":
            self._testbed.ended(self, message["service"])

    async def adopt(self, name: str, port: int, first: int = 0) -> None:
        """See `AttachedNode.adopt`. From now on it is known when the container itself has ended."""
        self.process = first or await engine.in_thread(partial(_process, self.link.host.host))
        self.began = start_time(self.process)
        await super().adopt(name, port, first)

    def lives(self) -> bool:
        """Whether the container has not ended since its server was found."""
        return lives(self.process) and start_time(self.process) == self.began

    async def started(self) -> int:
        """The number of the first process of a container that was started again since its server was found; else 0."""
        first = await engine.in_thread(partial(_process, self.link.host.host))
        return 0 if first == self.process and start_time(first) in (self.began, "") else first

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End the container; nothing happens where it does not run."""
        if self._services.pop(name, None) is not None:
            await self._testbed.end(self, name, kill=kill)

    async def start(self, service: Service) -> None:
        """Start the container again that a fault ended."""
        if not self.is_down:
            raise SetupError(f"{self.link.place}: its servers are not started by splitbrain.")
        await self._testbed.start(self, service.name)
        first = await engine.in_thread(partial(_process, self.link.host.host))
        await self.adopt(service.name, self._port, first)


class ContainerLink(Link):
    """The helper in a container's network: a process of this machine."""

    def _connect(self) -> None:
        try:
            with engine.speaking():
                pid = _process(self.host.host)
        except SetupError as error:
            raise Mended(str(error)) from error
        # One that does not run has no network: `clean` starts it, if it is not gone, and there is nothing else to put back.
        within = ["nsenter", f"--target={pid}", "--net", "--"] if pid else []
        command = [*within, sys.executable, "-I", "-c", BOOT]
        self._client = self._channel = _Pipes(
            subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, bufsize=0,
                             cwd="/", start_new_session=True)
        )
        self._outgoing.put(program())


class _Pipes:
    """A process' ends as those of a channel."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        assert process.stdin is not None and process.stdout is not None
        self._in, self._out = process.stdin, process.stdout

    def sendall(self, data: bytes) -> None:
        while data:
            try:
                data = data[self._in.write(data):]
            except ValueError as error:
                raise OSError("closed") from error

    def recv(self, most: int) -> bytes:
        return os.read(self._out.fileno(), most)

    def recv_stderr_ready(self) -> bool:
        return False

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._in.close()
        self._process.wait()


def found(label: str) -> tuple[Host, ...]:
    """The containers that run and carry a label, by name. Raises `PlanError` where there are none, and for one that is not
    disposable."""
    client = engine.connect()
    try:
        with engine.speaking():
            running = client.containers.list(filters={"label": label})
    finally:
        client.close()
    name, _, value = DISPOSABLE.partition("=")
    marked = [one for one in running if one.labels.get(name) == value]
    unmarked = sorted(one.name for one in running if one not in marked)
    composed = label.startswith(_COMPOSED)
    if still := sorted(f"{one.name} is {one.status}" for one in marked if one.status != "running"):
        raise PlanError(("containers",), f"{', '.join(still)}: the cluster must run, all of it, before it is tested.")
    if len(projects := sorted({one.labels.get(_PROJECT, "") for one in marked})) > 1 and composed:
        raise PlanError(
            ("containers",), f"{label.removeprefix(_COMPOSED)} runs as {len(projects)} projects ({', '.join(projects)}): name "
            f"one of them, with --containers {_PROJECT}={projects[0]}"
        )
    if not running:
        raise PlanError(("containers",), f"no container that runs carries the label {label}: start the cluster first.")
    if (unmarked and not composed) or not marked:
        raise PlanError(
            ("containers",), f"{', '.join(unmarked)}: not marked as what may be broken. Give the containers of the cluster the "
            f"label {DISPOSABLE}, if you can do without its data."
        )
    return tuple(
        Host(host=one.name, address=address_of(one.attrs), folder=f"/run/splitbrain-{one.name}", start=_start(one.id))
        for one in sorted(marked, key=lambda one: str(one.name))
    )


def _start(container: str) -> tuple[str, ...]:
    """The command that starts a container again, from any network of this machine; none where the engine has no socket here."""
    kind, _, path = engine.place().partition("://")
    return (sys.executable, "-I", container_start.__file__, path, container) if kind == "unix" else ()


def unendable(hosts: Sequence[Host]) -> list[Problem]:
    """Why some of these containers cannot be ended and started again as they were."""
    with contextlib.closing(engine.connect()) as client, engine.speaking():
        running = {one.name: one for one in client.containers.list()}
    joined = {one.attrs["HostConfig"]["NetworkMode"]: name for name, one in running.items()}
    problems = []
    for host in hosts:
        one = running[host.host]
        networks = one.attrs["NetworkSettings"]["Networks"].values()
        by = next((joined[f"container:{known}"] for known in (one.id, one.name) if f"container:{known}" in joined), "")
        for so, what, mend in (
            (one.attrs["HostConfig"]["AutoRemove"], "is removed where it ends", "run it without --rm"),
            ("com.docker.swarm.service.id" in one.labels, "is replaced by a swarm where it ends", "use other faults"),
            (by, f"has a network that {by} uses too, and would lose", "let each have its own, or use other faults"),
            (not all((network["IPAMConfig"] or {}).get("IPv4Address") for network in networks),
             "may come back at another address", "give it a fixed one: docker run --ip, or ipv4_address in the compose file"),
            (not host.start, "can be started by who speaks to the engine over a network alone",
             "name its socket: DOCKER_HOST=unix:///var/run/docker.sock"),
        ):
            if so:
                problems.append(Problem(f"{host.host} {what}", mend))
    return problems


def _process(name: str) -> int:
    """The number of a container's first process; 0 where it does not run, or is gone. Blocking."""
    import docker

    with contextlib.closing(engine.connect()) as client:
        try:
            return int(client.containers.get(name).attrs["State"]["Pid"])
        except docker.errors.NotFound:
            return 0


def _end(name: str, *, kill: bool) -> None:
    """End a container: at once, or by its own signal, with a grace. By the engine, which else might start it again by itself.
    Blocking."""
    import docker

    with contextlib.closing(engine.connect()) as client:
        container = client.containers.get(name)
        try:
            if kill:
                container.kill("SIGKILL")
            else:
                container.stop(timeout=GRACE)
        except docker.errors.APIError as error:
            if error.status_code != 409:  # It has ended by itself.
                raise


def address_of(attributes: Mapping[str, Any]) -> str:
    """The address of a container of which the engine tells this. Raises `PlanError` where it has another one, by which packets
    would go round a cut."""
    networks = attributes["NetworkSettings"]["Networks"].values()
    found = [network[key] for network in networks for key in ("IPAddress", "GlobalIPv6Address") if network.get(key)]
    if len(found) != 1 or ":" in found[0]:
        raise PlanError(
            ("containers",), f"{attributes['Name'].lstrip('/')} has {' and '.join(found) or 'no address'}: it must have one, "
            "of IPv4, since packets to another would go round a cut. Have it in one network, without IPv6."
        )
    return str(found[0])


_PROJECT = "com.docker.compose.project"
_COMPOSED = f"{_PROJECT}.config_files="


def composed(file: Path) -> str:
    """The label of the containers that Docker Compose made from this file. Those of them that are marked are the nodes."""
    return f"{_COMPOSED}{file.expanduser().absolute()}"


def nodes(label: str) -> int:
    """How many nodes a label means."""
    return len(names(found(label)))
