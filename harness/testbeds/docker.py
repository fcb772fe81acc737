"""Nodes as containers of a Docker engine on this machine: any image as it is, faults from outside.

**A node is a network that outlives its servers.** A restarted container has a new network namespace without any rule, and
whoever puts rules into it afterwards is too late: its server has spoken already. So each node has a *holder*: a container
that runs nothing but a program which waits for ever (holder.py, 130 bytes, given to the engine by us), owns the node's
network, address, name and volume, and is never restarted or paused. Each service is a container of its own from the
database's own image, which joins the holder's network (`--network container:`). Rules are in the holder's network before the
first service exists, and a service that is killed and started again comes back to the rules in force: there is no moment in
which it could speak to anyone. If a holder dies, its services cannot be started any more.

**Faults come from outside.** In each holder's network a process of ours serves a channel (spawner.py), so that the firewall
and the probes are those of the testbed `namespaces`. Where we may enter the network (root on the engine's machine), it is a
process on the host. Where we may not, it is one more container on the holder's network with the capability NET_ADMIN, from
an image of our own that has iptables and Python; it connects to a socket in the run's folder, and sockets and pipes are
handed through that like on the host. A node's own containers have no capability more than Docker's default, and nothing is
added to an image.

**A node's files** are reached by a process that sees what its keeper sees, a container with the node's volume: `setns` in a
process on the host where we may, else in one more container, which has the rights for it (`hand`) and sees the processes of
the engine's machine. So what a user may do who may speak to the engine does not depend on whether he is root.

**A disk can lose its power** where the engine and the harness, as root, have one mount namespace: the harness mounts a file
system of ours (power.py) in a folder of the run, before there is a container, and the node's volume is that folder, bound.
Whether the engine sees there what the harness does is tried, not assumed.

**No packet can go round.** The network is made for the run, has no way out (`internal`) and no IPv6; that is looked at, not
assumed.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import os
import re
import secrets
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds import clocks, commands, engine, firewall, folders, holder, kernel, memory_disk, power
from splitbrain.harness.testbeds.at_hand import at_hand
from splitbrain.harness.testbeds.container import FOLDER, MEMORY_FACTOR, DockerNode, File, archive
from splitbrain.harness.testbeds.docker_access import SIGN, TOOLS, Access, is_here
from splitbrain.harness.testbeds.engine import in_thread
from splitbrain.harness.testbeds.namespaces import Namespaces, empty
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.power import VolatileDisk
from splitbrain.harness.testbeds.prober import Probed, Prober, Site
from splitbrain.harness.testbeds.shaping import Shaping
from splitbrain.harness.testbeds.spawner import Channel, serve
from splitbrain.harness.testbeds.testbed import DEEDS, Ability, Applied, Connectivity, Problem, Service, Unwritten, Wanted

_MARK = "splitbrain.mark"  # tells two runs of one name apart
_RANGE = ipaddress.ip_network("198.19.0.0/16")
_HOLDER = "splitbrain/holder:1"
_PULL = 60.0
_AGAIN = 0.1
"""Seconds between two looks whether a clock is still as wrong as it was put."""
_MOST_NODES = 250
_ELSEWHERE = (
    "the engine's networks are not on this machine, or not in this network namespace",
    "run splitbrain where the engine runs (one in a virtual machine, as Docker Desktop's, cannot be used).",
)


def _instead(built: Sequence[str], database: str) -> str:
    """What mends that an image cannot be had; `built` are those that were built here for the database."""
    if built:
        return f"use the one that was built on this machine: --image {built[-1]}"
    return f"build one from this machine's own packages: splitbrain images build {database}"


class Docker(Probed):
    """N nodes on a network of their own, a /24 of 198.19.0.0/16 (RFC 2544: it belongs to no one); the harness reaches them
    over the network's bridge, whatever is cut."""

    name: ClassVar[str] = "docker"
    summary: ClassVar[str] = "containers of a Docker engine on this machine, official images by default"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {"cut", "end", "pause", "impair", "skew", "fill", "damage", "wipe", "unplug", "exchange"}
    )

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        if plan.binary:
            raise UsageError("--binary is for the testbed namespaces: what a container runs is its image's, see --image.")
        self.nodes: tuple[DockerNode, ...] = ()
        self._plan = plan
        self._folder = folder.resolve()
        self._labels = {engine.RUN: run, engine.OWNER: owner(), _MARK: secrets.token_hex(4)}
        self._mark = f"splitbrain-{re.sub(r'[^A-Za-z0-9_.-]', '-', run)}-{self._labels[_MARK]}"
        self._client: Any = None
        self._agent_end: socket.socket | None = None
        self._access: Access | None = None
        self._gateway = ""
        self._calls: set[asyncio.Future[Any]] = set()
        self._images: dict[str, asyncio.Task[engine.Image]] = {}
        self._bounded = False
        self._unpluggable = False
        self._disks: list[VolatileDisk] = []
        self._shaping: Shaping | None = None
        self._skewing: asyncio.Task[None] | None = None

    @classmethod
    def lacks(cls, ability: Ability) -> str:
        """Whether the kernel has packet queues, for impaired links, is tried in a sandbox; what is done to the clock and the
        files of a container, and to its disk, with one."""
        if ability not in ("impair", "skew", "fill", "damage", "unplug"):
            return ""
        if ability in ("impair", "unplug") and os.geteuid() != 0:
            return f"only root may {DEEDS[ability]} in containers: run splitbrain as root."
        if ability == "impair":
            return Namespaces.lacks(ability)
        if ability == "skew" and (refusal := clocks.refusal()):
            return refusal
        with tempfile.TemporaryDirectory() as folder:
            testbed = cls(Plan(database="", variant=""), "try", Path(folder))

            async def tried() -> None:
                try:
                    if ability == "unplug":
                        await testbed.unpluggable(1)
                    if ability == "fill":
                        await testbed.bound(1)
                    await testbed.up(1)
                    if ability == "fill":
                        await testbed.fill("n1", full=True)
                    if ability == "skew":
                        await testbed.try_clock("n1")
                    if ability == "damage":
                        await testbed.last_written("n1", ())
                finally:
                    await testbed.down()

            try:
                testbed.inside(lambda: asyncio.run(tried()) or 0)
            except SetupError as error:
                return str(error)
        return ""

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """What keeps this testbed from working here: no engine or none that answers us, its networks elsewhere, no iptables
        and no right to use it."""
        try:
            client = engine.connect()
        except engine.Unreachable as error:
            return [error.problem]
        found = []
        with contextlib.closing(client), engine.speaking():
            gateway = _gateway_of_default(client)
            if gateway and not is_here(gateway):
                found.append(Problem(*_ELSEWHERE))
            if os.geteuid() == 0 and find_program("iptables-restore") is None:
                found.append(Problem("the program iptables-restore is missing", "sudo apt-get install iptables"))
            if os.geteuid() != 0 and not client.images.list(TOOLS):
                found.append(Problem(f"an ordinary user needs the image {TOOLS}", "splitbrain images build tools"))
        return found

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """The plan's images that are not here and that no registry has. Programs are never missing: images bring them."""
        if not _images(plan):
            return ()
        try:
            client = engine.connect()
        except engine.Unreachable as error:
            return [error.problem]
        with contextlib.closing(client), engine.speaking():
            reasons = {image: reason for image in _images(plan) if (reason := engine.unobtainable(client, image))}
            mend = _instead(engine.built(client, plan.database), plan.database) if reasons else ""
        told = [f"the image {image} is not here and cannot be pulled ({reason})" for image, reason in reasons.items()]
        return tuple(Problem(what, mend) for what in told)

    @classmethod
    def clean(cls) -> Sequence[str]:
        """Remove the containers, networks, volumes and disks of runs whose harness is gone; where no engine can be spoken to,
        the disks."""
        try:
            client = engine.connect()
        except engine.Unreachable:
            return power.clean()
        with contextlib.closing(client), engine.speaking():
            return [*engine.remove(client, engine.left_behind), *power.clean()]

    def inside(self, work: Callable[[], int]) -> int:
        """Call `work` in this process. If it is killed, containers stay behind, for `clean`.

        Before, with one thread only, a process is forked from which those come that enter the nodes' networks. It ends with
        this one.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        agent = os.fork()
        if agent == 0:
            try:
                ours.close()
                os.setsid()
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    signal.signal(number, signal.SIG_IGN)
                gc.disable()
                serve(theirs)
            finally:
                os._exit(0)
        theirs.close()
        self._agent_end = ours
        kernel.many_descriptors()
        try:
            return work()
        finally:
            ours.close()
            os.waitpid(agent, 0)

    async def up(self, count: int) -> None:
        """Make the network and the nodes. Raises `SetupError` where the engine refuses or cannot be reached."""
        if self._agent_end is None:
            raise RuntimeError("up() belongs inside inside()")
        if not 1 <= count <= _MOST_NODES:
            raise SetupError(f"{count} nodes: a network holds 1 to {_MOST_NODES}.")
        agent = Channel("the harness", self._agent_end)
        try:
            self._client = await in_thread(engine.connect)
        except BaseException:
            agent.close()
            raise
        self._access = Access(agent, self._client, self.call, self._folder / "nodes" / "channels", self._mark, self._labels)
        names = [f"n{number}" for number in range(1, count + 1)]
        try:
            for name in names:
                (self._folder / "nodes" / name).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SetupError(f"the nodes have no place for their logs: {kernel.reason(error)}") from error
        subnet = await self.call(self._network)
        await self.call(partial(_provide_holder, self._client))
        self._gateway = str(subnet[254])
        if not is_here(self._gateway):
            raise SetupError(": ".join(_ELSEWHERE))
        addresses = {name: str(subnet[number]) for number, name in enumerate(names, 1)}
        self.nodes = tuple(
            DockerNode(name, address, self._folder / "nodes" / name, self.call, self._container)
            for name, address in addresses.items()
        )
        # None is pulled while a fault is in force.
        await commands.together([*map(self._here, _images(self._plan)), *(self._up(node, addresses) for node in self.nodes)])

    async def bound(self, count: int) -> None:
        """`up` will give each node a volume in memory."""
        self._bounded = True

    async def unpluggable(self, count: int) -> None:
        """`up` will give each node such a disk."""
        self._unpluggable = True

    async def _up(self, node: DockerNode, hosts: Mapping[str, str]) -> None:
        access = self._ways()
        if self._unpluggable:
            folder = self._folder / "nodes" / node.name / "disk"
            disk = VolatileDisk(folder, folder.with_name("disk.log"))
            self._disks.append(disk)
            await disk.begin(access.agent)
            node.disk = disk
        node.holder = await self.call(partial(self._holder, node, hosts))
        await access.enter(node)
        await node.refuse_ipv6()
        await node.restore(firewall.install(firewall.Addresses(node.address, "")))

    def _network(self) -> ipaddress.IPv4Network:
        """Make the network in the first subnet that is free."""
        import docker

        routes = _routes()
        for subnet in _RANGE.subnets(new_prefix=24):
            if any(subnet.overlaps(route) for route in routes):
                continue
            pool = docker.types.IPAMPool(subnet=str(subnet), gateway=str(subnet[254]))
            try:
                self._client.networks.create(
                    self._mark, driver="bridge", internal=True, labels=self._labels,
                    ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                )
            except docker.errors.APIError as error:
                if "overlap" not in str(error.explanation).lower():
                    raise
                continue
            return ipaddress.IPv4Network(subnet)
        raise SetupError(f"every subnet of {_RANGE} is taken: `splitbrain clean` removes those of runs that were killed.")

    def _holder(self, node: DockerNode, hosts: Mapping[str, str]) -> Any:
        """Make a node's volume and the container that holds its network, started."""
        rto = self._plan.tcp_rto_max_ms
        node.volume = self._volume(node, f"{self._mark}-{node.name}")
        endpoint = self._client.api.create_endpoint_config(ipv4_address=node.address)
        holder = self._client.containers.create(
            _HOLDER, ["/holder"], name=f"{self._mark}-{node.name}", hostname=node.name, labels=self._labels,
            network=self._mark, networking_config={self._mark: endpoint}, extra_hosts=dict(hosts),
            sysctls={"net.ipv4.tcp_rto_max_ms": str(rto)} if rto else {},
            volumes={node.volume: {"bind": FOLDER, "mode": "rw"}},
            mem_limit="32m", pids_limit=16, cap_drop=["ALL"], security_opt=["no-new-privileges"],
        )
        _keep(node, holder)
        if node.disk is not None:
            _look_at(node.disk, holder)
        holder.start()
        holder.reload()
        return holder

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the clocks of a node's servers wrong (clocks.py), and again where a server has become another program since, as
        official images have it: their first one prepares the server and then makes room for it. Raises `SetupError`."""
        node = self._node(name)
        node.ahead = nanoseconds
        await node.skew(await self._ways().reaching(node))
        if nanoseconds and (self._skewing is None or self._skewing.done()):
            self._skewing = asyncio.create_task(self._skew_again())

    async def _skew_again(self) -> None:
        while skewed := [node for node in self.nodes if node.ahead]:
            await asyncio.sleep(_AGAIN)
            for node in skewed:
                with contextlib.suppress(SetupError):  # One that ends meanwhile; what did not hold is seen by its proof.
                    await node.skew(await self._ways().reaching(node))

    async def try_clock(self, name: str) -> None:
        """Put the clock of a node's holder wrong, whom nobody asks. Raises `SetupError`."""
        node = self._node(name)
        hand = await self._ways().reaching(node)
        await hand.skew(node.holder.attrs["State"]["Pid"], "", 1_000_000_000, paused=False)

    async def fill(self, name: str, *, full: bool) -> None:
        """See `memory_disk.fill`. Raises `SetupError`."""
        if not self._bounded:
            raise SetupError(f"{name}: its disk cannot be filled: that is made before the node is.")
        await (await self._files(name)).fill(FOLDER, full=full)

    async def full(self, name: str) -> bool:
        """As the node's servers find it. Raises `SetupError`."""
        return await (await self._files(name)).is_full(FOLDER)

    async def last_written(self, name: str, given: Collection[str]) -> str:
        """As the node's servers see it. Raises `SetupError`."""
        return await (await self._files(name)).last_written(FOLDER, given)

    async def read(self, name: str, file: str) -> bytes | None:
        """As the node's servers see it. Raises `SetupError`."""
        opened = await (await self._files(name)).file(f"{FOLDER}/{file}")
        return None if opened is None else folders.content(opened)

    async def rewrite(self, name: str, file: str, content: bytes) -> None:
        """Where the node's servers see it. Raises `SetupError`."""
        opened = await (await self._files(name)).file(f"{FOLDER}/{file}")
        if opened is None:
            raise SetupError(f"{name}: there is no {file}.")
        folders.rewrite(opened, content)

    async def _files(self, name: str) -> Channel:
        return await self._ways().files(self._node(name))

    def _ways(self) -> Access:
        if self._access is None:
            raise RuntimeError("this comes after up()")
        return self._access

    def _node(self, name: str) -> DockerNode:
        return next(node for node in self.nodes if node.name == name)

    def _volume(self, node: DockerNode, name: str) -> str:
        """A volume of its own, in memory where it is to be filled, bound to the node's disk where that can lose its power. Its
        keeper, which is never restarted, is why one in memory outlives the servers."""
        how = {"type": "tmpfs", "device": "tmpfs", "o": f"size={memory_disk.ROOM},mode=0777"} if self._bounded else {}
        if node.disk is not None:
            how = {"type": "none", "o": "bind", "device": str(node.disk.folder)}
        volume: str = self._client.volumes.create(name, labels=self._labels, driver_opts=how).name
        return volume

    async def _container(self, node: DockerNode, service: Service) -> Any:
        """A container for a service, created and not started, on its node's network and volume. The plan's image wins over the
        official one; it is pulled where it is not here. Raises `SetupError` where it cannot be had."""
        image = service.exchanged or self._plan.image or service.image
        if not image:
            raise SetupError(f"the service {service.name} names no container image: give one with --image.")
        await self._here(image)
        disk = memory_disk.ROOM if self._bounded else 0
        memory = (MEMORY_FACTOR * service.memory_mb << 20) + disk if service.memory_mb else None
        return await self.call(partial(
            self._client.containers.create, image, [part.replace("{folder}", FOLDER) for part in service.argv],
            name=f"{self._mark}-{node.name}-{service.name}", labels=self._labels, environment=service.env, working_dir=FOLDER,
            network_mode=f"container:{node.holder.id}", volumes={node.volume: {"bind": FOLDER, "mode": "rw"}},
            mem_limit=memory, memswap_limit=memory, security_opt=["no-new-privileges"],
            log_config={"type": "json-file", "config": {"max-size": "16m"}},
        ))

    async def _here(self, image: str) -> None:
        """Wait until the engine has it. Raises `SetupError`."""
        if image not in self._images:
            self._images[image] = asyncio.create_task(self._fetch(image))
        await asyncio.shield(self._images[image])

    async def _fetch(self, name: str) -> engine.Image:
        try:
            async with asyncio.timeout(_PULL):
                return await in_thread(partial(engine.fetch, self._client, name))
        except TimeoutError as error:
            raise SetupError(f"the image {name} was not pulled within {_PULL:.0f} s: `docker pull {name}`.") from error
        except SetupError as error:
            offer = _instead(await self.call(partial(engine.built, self._client, self._plan.database)), self._plan.database)
            raise SetupError(f"the image {name} is not here and cannot be pulled ({error}); {offer}") from error

    async def facts(self) -> dict[str, str]:
        """The engine, the images with their digests, and how the faults came into the nodes' networks."""
        version = await self.call(self._client.version)
        images = [str(await image) for image in self._images.values()]
        return {
            "engine": f"Docker {version['Version']}, kernel {version['KernelVersion']}",
            "image": "; ".join(images),
            "faults": f"put in force in each node's network by {self.nodes[0].entrance.what}",
        }

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """Give every node its rules, all at once. Raises `SetupError` with what iptables said where a node refused; the
        connectivity is then neither of the two."""
        texts = firewall.rules(before, after, {node.name: firewall.Addresses(node.address, "") for node in self.nodes})
        return await commands.apply({node.name: node.restore for node in self.nodes}, texts)

    async def lose_power(self, name: str, how: str, seed: int) -> Unwritten:
        """See `VolatileDisk.lose_power`."""
        return await self._disk(name).lose_power(how, seed)

    async def slow(self, name: str, seconds: float) -> None:
        """See `VolatileDisk.slow`."""
        await self._disk(name).slow(seconds)

    async def timed_sync(self, name: str) -> float:
        """Where the disk of the node is mounted. Raises `SetupError`."""
        with at_hand(self.data(name)):
            return await asyncio.to_thread(folders.timed_sync, self.data(name))

    def data(self, name: str) -> Path:
        """Where the disk of a node is mounted."""
        return self._disk(name).folder

    def _disk(self, name: str) -> VolatileDisk:
        disk = self._node(name).disk
        if disk is None:
            raise SetupError(f"{name}: its disk cannot lose its power: that is made before the node is.")
        return disk

    async def impair(self, links: Mapping[Link, Impair]) -> Applied:
        """See `Shaping.impair`."""
        if self._shaping is None:
            channels = {node.name: node.entrance.channel for node in self.nodes}
            self._shaping = Shaping(self._ways().agent, channels, self._folder / "shaper.log")
        own = {node.name: firewall.Addresses(node.address, "") for node in self.nodes}
        return await self._shaping.impair(links, own, {node.name: node.restore for node in self.nodes})

    async def wipe(self, name: str, keep: Collection[str]) -> None:
        """Give the node a new and empty volume, or empty the disk that it has, and remove the containers of its services: those
        that are made next find there what they are given. So nothing is kept but that. Raises `SetupError`."""
        node = self._node(name)
        await node.forget()
        if node.disk is not None:
            empty(node.disk.folder, ())
        else:
            await self.call(partial(self._empty, node))
            node.look_away()

    def _empty(self, node: DockerNode) -> None:
        """Make a node's next volume, and a container that keeps it, through which files come into it."""
        node.wiped += 1
        volume = self._volume(node, f"{self._mark}-{node.name}-{node.wiped}")
        keeper = self._client.containers.create(
            _HOLDER, ["/holder"], name=f"{self._mark}-{node.name}-keeper-{node.wiped}", labels=self._labels,
            network_mode="none", volumes={volume: {"bind": FOLDER, "mode": "rw"}},
        )
        _keep(node, keeper)
        keeper.start()
        node.volume = volume

    async def listen(self, port: int) -> None:
        """See `Prober.open`."""
        sites = {node.name: Site(node.address, "", node.entrance.channel.sockets) for node in self.nodes}
        harness = Site(self._gateway, "", self._ways().agent.sockets)
        connections = {node.name: node.connections for node in self.nodes}
        await self._open_prober(Prober(sites, harness, port, connections))

    async def down(self) -> None:
        """Remove every container, the network and the volumes; with the plan's `keep`, what the volumes hold is copied into
        the nodes' folders before. Idempotent."""
        self._close_prober()
        if self._shaping is not None:
            self._shaping.close()
            self._shaping = None
        for task in (*self._images.values(), *filter(None, [self._skewing])):
            task.cancel()
        if self._access is not None:
            self._access.cancel()
        if self._calls:  # a call that was given up goes on in its thread, and may yet make a container
            await asyncio.wait(set(self._calls))
        for node in self.nodes:
            node.close()
        nodes, self.nodes = self.nodes, ()
        try:
            if self._client is not None:
                await self._remove(nodes)
        finally:
            if self._access is not None:
                self._access.close()
                self._access = None
            while self._disks:
                with contextlib.closing(self._disks.pop()) as disk:
                    disk.unmount()

    async def _remove(self, nodes: Sequence[DockerNode]) -> None:
        try:
            if self._plan.keep:
                await commands.together(self.call(node.copy_out) for node in nodes if hasattr(node, "holder"))
        finally:
            mark = self._labels[_MARK]
            await self.call(partial(engine.remove, self._client, lambda labels: labels.get(_MARK) == mark))
            self._client.close()
            self._client = None
            shutil.rmtree(self._folder / "nodes" / "channels", ignore_errors=True)

    async def call(self, work: Callable[[], Any]) -> Any:
        """A blocking call to the engine, in a thread; `down` waits for it. Raises `SetupError` with what the engine said."""
        call = asyncio.ensure_future(in_thread(work))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)
        return await asyncio.shield(call)


def _images(plan: Plan) -> list[str]:
    """The images that a plan names: that of its servers, and that into which they are upgraded."""
    named = [plan.image, plan.options.get("upgrade", {}).get("image", "")]
    return [*dict.fromkeys(image for image in named if image)]


def _keep(node: DockerNode, keeper: Any) -> None:
    """Have a container keep a node's volume. Whoever the server runs as, the volume is its own; official images begin as root
    and then become somebody else. Blocking."""
    keeper.put_archive("/", archive({SIGN.lstrip("/"): File(keeper.name.encode())}, FOLDER.lstrip("/")))
    node.keeper = keeper


def _look_at(disk: VolatileDisk, container: Any) -> None:
    """Raise `SetupError` where what the engine puts into a container is not on the disk that the harness mounted. Blocking."""
    file = disk.folder / ".splitbrain-disk"
    container.put_archive(FOLDER, archive({file.name: File(b"-")}))
    if not file.exists():
        raise SetupError("the Docker engine does not see what is mounted here, for it has another mount namespace: so a "
                         "container gets no disk that can lose its power. Run splitbrain in that one, or in namespaces.")
    file.unlink()


def _provide_holder(client: Any) -> None:
    """Give the engine the image of the holders, if it has not got it."""
    if client.images.list(_HOLDER):
        return
    architecture = client.version()["Arch"]
    if architecture not in holder.ARCHITECTURES:
        raise SetupError(f"nodes can be made on {' and '.join(holder.ARCHITECTURES)}, this engine's machine is {architecture}.")
    repository, tag = _HOLDER.split(":")
    program = {"holder": File(holder.program(architecture), 0o755)}
    label = f"LABEL {engine.BUILT}=nothing"
    client.api.import_image_from_data(archive(program), repository=repository, tag=tag, changes=[label])


def _gateway_of_default(client: Any) -> str:
    """The address of the bridge that every engine has, empty where it has none or does not tell."""
    for network in client.networks.list(names=["bridge"]):
        for pool in network.attrs["IPAM"]["Config"] or ():
            return str(pool.get("Gateway", ""))
    return ""


def _routes() -> list[ipaddress.IPv4Network]:
    """Where packets from here have a way already, other than the default one."""
    routes = []
    for line in Path("/proc/net/route").read_text().splitlines()[1:]:
        fields = line.split()
        destination, mask = (int.from_bytes(bytes.fromhex(fields[column]), sys.byteorder) for column in (1, 7))
        if mask:
            routes.append(ipaddress.IPv4Network((destination, mask.bit_count())))
    return routes
