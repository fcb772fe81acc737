"""The testbed `ssh`: nodes are machines of a person's own, named in an inventory, with servers that splitbrain starts there.

Everything on a machine is done by a helper (the folder helper), as root, over one connection a machine; the connection is never
cut, and when it ends, a guard there puts everything back.
"""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import msgspec

from splitbrain.harness.errors import NotCleaned, PlanError, SetupError, UsageError
from splitbrain.harness.history import fault
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds import commands, firewall, kernel, shaping, ssh_files, ssh_notes
from splitbrain.harness.testbeds.helper.machine import boot
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.prober import Probed
from splitbrain.harness.testbeds.ssh_inventory import Host, Inventory, address, load, names
from splitbrain.harness.testbeds.ssh_link import LONG, Link, disk_server
from splitbrain.harness.testbeds.ssh_node import Disk, SshNode
from splitbrain.harness.testbeds.ssh_prober import RemoteProber
from splitbrain.harness.testbeds.testbed import DEEDS, Ability, Applied, Connectivity, Problem, Unwritten, Wanted

_TOOLS = ("iptables-restore", "ip6tables-restore")


class _Machine(NamedTuple):
    """A machine and what it said of itself."""

    link: Link
    host: Host
    address: str
    found: dict[str, Any]


class Ssh(Probed):
    """The machines of the plan's inventory, in its order n1, n2, ...; `hosts` are those of the plan."""

    name: ClassVar[str] = "ssh"
    summary: ClassVar[str] = "machines over SSH, named in an inventory; servers are started there"
    abilities: ClassVar[frozenset[Ability]] = frozenset(
        {"cut", "end", "pause", "impair", "skew", "fill", "damage", "wipe", "unplug", "exchange"}
    )

    _disk: Disk = ""

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        self.nodes: tuple[SshNode, ...] = ()
        self._plan = plan
        self._run = run
        self._folder = folder
        self._machines: list[_Machine] = []
        self._impaired = False
        self.inventory, self.hosts = chosen(plan)

    @classmethod
    def problems(cls) -> Sequence[Problem]:
        """Whether the library is there; whether machines can be reached, their inventory decides."""
        if importlib.util.find_spec("paramiko") is None:
            return [Problem("no module paramiko", "pip install 'splitbrain[ssh]'")]
        return []

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """Look at every machine of the plan, and install what is missing where the inventory says so."""
        if problems := cls.problems():
            return problems
        return asyncio.run(lacking(cls, chosen(plan)[1], programs, needs))

    @classmethod
    def clean(cls) -> Sequence[str]:
        """Remove from the machines what runs that were killed left there: those that this machine has a note of. Raises
        `NotCleaned` where a machine does not answer, or keeps something."""
        removed, kept = [], []
        for note in ssh_notes.left_behind(cls.name):
            done, undone = asyncio.run(_clean(cls, note))
            removed += done
            kept += undone
        if kept:
            raise NotCleaned(kept, removed)
        return removed

    def inside(self, work: Callable[[], int]) -> int:
        """Call `work` in this process. If it is killed, the guards put everything back; servers that were started stay, for
        `clean`."""
        kernel.many_descriptors()
        return work()

    async def up(self, count: int) -> None:
        """Connect to every machine and take it for the run."""
        self._machines = await _connected(self.link, names(self.hosts[:count]))
        refuse_own(self._machines)
        hosts = tuple(machine.host for machine in self._machines)
        ssh_notes.write(ssh_notes.Note(self._run, self.name, owner(), hosts))
        folder = self._folder / "nodes"
        for machine in self._machines:
            (folder / machine.link.name).mkdir(parents=True, exist_ok=True)
        self.nodes = tuple(
            self.node(machine.link.name, machine.address, machine.host.address6, folder / machine.link.name, machine.link)
            for machine in self._machines
        )
        for node in self.nodes:
            node.link.heard = self._hear(node)
        seen = [machine.found["connection"] for machine in self._machines]
        await commands.together(
            node.take(self._run, owner(), (one[0], one[3]) if one else (), self._disk)
            for node, one in zip(self.nodes, seen, strict=True)
        )

    @classmethod
    def link(cls, name: str, host: Host) -> Link:
        """What leads to the helper on a machine."""
        return Link(name, host)

    def node(self, name: str, address: str, address6: str, logs: Path, link: Link) -> SshNode:
        """A node of this testbed."""
        return SshNode(name, address, address6, logs, link)

    def _hear(self, node: SshNode) -> Callable[[dict[str, Any]], None]:
        def hear(message: dict[str, Any]) -> None:
            if message["event"] in ("log", "ended", "returned"):
                node.hear(message)
            elif isinstance(self._prober, RemoteProber):
                self._prober.hear(node.name, message)

        return hear

    async def wipe(self, name: str, keep: Collection[str]) -> None:
        """Remove it there, with find. Raises `SetupError`."""
        node = self._named(name)
        spared = [word for file in sorted(keep) for word in ("!", "-path", f"./{file}")]
        for what in (("!", "-type", "d", *spared), ("-type", "d", "-empty")):
            done = await node.run(["find", ".", "-mindepth", "1", *what, "-delete"])
            if done.code:
                raise SetupError(f"{name}: {node.folder}: cannot be emptied: {done.stderr.strip()}")

    async def bound(self, count: int) -> None:
        """`up` will give each node a disk in memory."""
        self._disk = "memory"

    async def fill(self, name: str, *, full: bool) -> None:
        """See `memory_disk.fill`, which the helper calls. Raises `SetupError`."""
        await self._named(name).link.ask("fill", full=full)

    async def full(self, name: str) -> bool:
        """As the node's servers find it. Raises `SetupError`."""
        return await ssh_files.full(self._named(name))

    async def unpluggable(self, count: int) -> None:
        """`up` will give each node a disk by FUSE. Raises `SetupError`."""
        if self._disk:
            raise SetupError("a disk can be filled or lose its power, not both in one run.")
        self._disk = "volatile"

    async def lose_power(self, name: str, how: str, seed: int) -> Unwritten:
        """What its server has not been told yet was never written. Raises `SetupError`."""
        found = await self._named(name).link.ask("lose_power", how=how, seed=seed)
        return msgspec.convert(found["lost"], Unwritten)

    async def slow(self, name: str, seconds: float) -> None:
        """Its server is told. Raises `SetupError`."""
        await self._named(name).link.ask("slow", seconds=seconds)

    async def timed_sync(self, name: str) -> float:
        """In the folder of the run there. Raises `SetupError`."""
        return await ssh_files.timed_sync(self._named(name))

    async def last_written(self, name: str, given: Collection[str]) -> str:
        """In the folder of the run there. Raises `SetupError`."""
        return await ssh_files.last_written(self._named(name), given)

    async def read(self, name: str, file: str) -> bytes | None:
        """From the folder of the run there. Raises `SetupError`."""
        return await ssh_files.read(self._named(name), file)

    async def rewrite(self, name: str, file: str, content: bytes) -> None:
        """In the folder of the run there, and nowhere else. Raises `SetupError`."""
        await ssh_files.rewrite(self._named(name), file, content)

    def _named(self, name: str) -> SshNode:
        return next(node for node in self.nodes if node.name == name)

    async def facts(self) -> dict[str, str]:
        """The machines, and how well their clocks are known."""
        worst = max(node.link.error for node in self.nodes) / 1e6
        whole = ", ".join(node.name for node in self.nodes if node.link.host.clock == "machine")
        return {
            "machines": "; ".join(
                f"{machine.link.name} is {machine.host.host} ({machine.address}), kernel {machine.found['kernel']}"
                for machine in self._machines
            ),
            **({"clocks": f"put wrong are those of whole machines: {whole}"} if whole else {}),
            "times": f"of what was done on the machines: within {worst:.1f} ms (half a round trip)",
        }

    async def apply(self, before: Connectivity, after: Connectivity) -> Applied:
        """Give every node its rules, all at once. Raises `SetupError` with what iptables said where a node refused; the
        connectivity is then neither of the two."""
        texts = firewall.rules(before, after, self.addresses())
        return await commands.apply({node.name: node.restore for node in self.nodes}, texts)

    async def impair(self, links: Mapping[fault.Link, fault.Impair]) -> Applied:
        """Hold back, lose, double or damage the packets of these links on the machine that receives them. Raises `SetupError`
        where its kernel refuses."""
        if not links and not self._impaired:
            return Applied(0, {})
        self._impaired = True
        await commands.together(self.shape(node, links) for node in self.nodes)
        queues = firewall.queues(links, self.addresses())
        applied = await commands.apply({node.name: node.restore for node in self.nodes}, queues)
        if not links:
            await commands.together(self.shape(node, links) for node in self.nodes)  # What came meanwhile is let go too.
        return applied

    async def shape(self, node: SshNode, links: Mapping[fault.Link, fault.Impair]) -> None:
        """Tell a node what becomes of packets over those of these links that lead to it, once they go through its queues."""
        place = {name: number for number, name in enumerate(self.addresses())}
        await node.impair(place[node.name], len(place), [
            (place[a], place[b], shaping.shape(one)) for (a, b), one in links.items() if b == node.name
        ])

    def addresses(self) -> dict[str, firewall.Addresses]:
        """Node → where its packets come from."""
        return {node.name: firewall.Addresses(node.address, node.address6) for node in self.nodes}

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the clocks of a node's servers wrong (clocks.py), or that of the machine where the inventory says so
        (helper/wall.py). Raises `SetupError`."""
        node = self._named(name)
        if self._whole(node):
            await node.set_clock(nanoseconds)
            return
        await commands.together(node.skew(service.name, nanoseconds, paused=paused) for service in node.services)

    async def ahead(self, name: str) -> tuple[int, int] | None:
        """Asked of a machine whose own clock is put wrong."""
        node = self._named(name)
        return await node.ahead() if self._whole(node) else None

    def _whole(self, node: SshNode) -> bool:
        """Whether it is the clock of a node's whole machine that is put wrong. Raises `SetupError` where it has it together
        with another node."""
        if node.link.host.clock != "machine":
            return False
        if shared := _together(self._machines, node.link):
            raise SetupError(f"{shared}.")
        return True

    async def listen(self, port: int) -> None:
        """See `RemoteProber.open`."""
        await self._open_prober(RemoteProber(self.nodes, port))

    async def down(self) -> None:
        """Put everything back on every machine, remove the run from there, and hang up. Idempotent."""
        self._close_prober()
        nodes, self.nodes = self.nodes, ()
        machines, self._machines = self._machines, []
        try:
            taken = [node for node in nodes if node.folder]
            await commands.together(node.leave(keep=self._plan.keep) for node in taken)
            if nodes:
                ssh_notes.forget(self._run, owner())
        finally:
            for machine in machines:
                machine.link.close()


def chosen(plan: Plan) -> tuple[Inventory, tuple[Host, ...]]:
    """The inventory of a plan and the machines in it that may be nodes. Raises `UsageError`."""
    if not plan.inventory:
        raise PlanError(("testbed",), f"the testbed {plan.testbed} needs an inventory of machines: --inventory FILE.")
    if plan.image or plan.binary:
        flag = "--image" if plan.image else "--binary"
        raise UsageError(f"{flag} is not for machines: the inventory says where programs are (programs = {{ ... }}).")
    if plan.tcp_rto_max_ms:
        raise PlanError(("tcp_rto_max_ms",), 'tcp_rto_max_ms is not set on machines of one\'s own: leave it "kernel".')
    inventory = load(Path(plan.inventory))
    hosts = inventory.of(plan.database)
    if len(hosts) < plan.nodes:
        had = f"{plan.inventory} has {len(hosts)} machines for {plan.database}"
        raise PlanError(("nodes",), f"{had}, the plan needs {plan.nodes}.")
    return inventory, hosts[: plan.nodes]


def refuse_own(machines: Sequence[_Machine]) -> None:
    """Refuse to run from a machine that is a node: cuts would hit the clients. Raises `SetupError`."""
    nodes = {machine.address: machine.host.host for machine in machines}
    for machine in machines:
        ours = next(iter(machine.found["connection"]), "")
        if ours in nodes:
            raise SetupError(
                f"{machine.link.place} sees this machine as {ours}, which is the node {nodes[ours]}: clients would be cut with "
                "it. Run splitbrain on a machine that is no node."
            )


async def _connected(
    lead: Callable[[str, Host], Link], hosts: Mapping[str, Host], programs: Mapping[str, str] | None = None
) -> list[_Machine]:
    """A connection to each machine, all at once, and what it says of itself. None is left where one fails."""
    links = {name: lead(name, host) for name, host in hosts.items()}

    async def one(link: Link) -> _Machine:
        await link.open()
        own = await asyncio.to_thread(address, link.host)
        wanted = {name: link.host.programs.get(name, name) for name in (*(programs or {}), *_TOOLS)}
        found = await link.ask("look", programs=wanted, folder=link.host.folder, address=own)
        if found["uid"] != 0:
            raise SetupError(f"{link.place}: its helper is not root.")
        if not found["connection"] and type(link) is Link:
            raise SetupError(f"{link.place}: its sshd does not tell where the connection comes from (SSH_CONNECTION).")
        if not found["here"]:
            raise SetupError(
                f"{link.place}: {own} is no address of that machine: write the one that the nodes know it by as address = ... "
                "in the inventory."
            )
        return _Machine(link, link.host, own, found)

    try:
        return await commands.together(one(link) for link in links.values())
    except BaseException:
        for link in links.values():
            link.close()
        raise


async def lacking(
    testbed: type[Ssh], hosts: Sequence[Host], programs: Sequence[Wanted], needs: Collection[Ability], *, runs: int = 0
) -> list[Problem]:
    """What these machines lack for such faults, once what may be installed has been; also a server, where one `runs` on that
    port."""
    machines = await _connected(testbed.link, names(hosts), {wanted.name: wanted.mend for wanted in programs})
    try:
        refuse_own(machines)
        tools = [Wanted(name, "apt-get install iptables") for name in _TOOLS]
        return [
            problem for found in await commands.together(
                _missing(machine, machines, [*tools, *programs], needs, runs) for machine in machines
            ) for problem in found
        ]
    finally:
        for machine in machines:
            machine.link.close()


async def _missing(
    machine: _Machine, machines: Sequence[_Machine], wanted: Sequence[Wanted], needs: Collection[Ability], runs: int
) -> list[Problem]:
    link, found, missing = machine.link, machine.found, []
    for left in found["left"]:
        missing.append(Problem(f"{link.place}: the run {left} left things in {link.host.folder}", "splitbrain clean"))
    if found["chains"] and not found["left"]:
        missing.append(Problem(f"{link.place}: it has a chain of splitbrain's: {found['chains'][0]}", "splitbrain clean"))
    if not found["writable"]:
        missing.append(Problem(f"{link.place}: {link.host.folder} cannot be made there", "folder = ... in the inventory"))
    if runs and not (await link.ask("adopt", name="server", port=runs, start=[]))["pid"]:
        missing.append(Problem(f"nothing listens on port {runs} of {link.place}", "start the cluster first"))
    for program in wanted:
        if found["programs"].get(program.name) or program.name == "python3":
            continue
        if link.host.install and program.mend.startswith("apt-get install "):
            await _install(link, program.mend.split()[2:])
        else:
            path = f'name its path there in the inventory: programs = {{"{program.name}" = "/path"}}'
            mend = path if program.mend.startswith("splitbrain ") else program.mend  # which would get it to this machine
            missing.append(Problem(f"the program {program.name} is not on {link.place}", mend))
    if "impair" in needs and not missing:
        own = firewall.Addresses("198.18.0.1", "")
        text = firewall.queues([("n2", "n1")], {"n2": own, "n1": own})["n1"].ipv4
        if why := (await link.ask("refusal", source=shaping.PROGRAM.read_text(), text=text))["why"]:
            mend = "its kernel needs nfnetlink_queue and xt_NFQUEUE (modprobe -a nfnetlink_queue xt_NFQUEUE)"
            missing.append(Problem(f"{link.place} cannot {DEEDS['impair']}: {why}", mend))
    kinds: dict[Ability, Disk] = {"fill": "memory", "unplug": "volatile"}
    for ability, kind in kinds.items():
        source = disk_server() if kind == "volatile" else ""
        if ability in needs and not missing and (why := (await link.ask("disk", kind=kind, source=source))["why"]):
            missing.append(Problem(f"{link.place} cannot {DEEDS[ability]}: {why}", "use another machine, or other faults"))
    if "skew" in needs and not missing:
        missing += await _unskewable(machine, machines)
    return missing


async def _unskewable(machine: _Machine, machines: Sequence[_Machine]) -> list[Problem]:
    """Why the clock of a machine, or those of its servers, cannot be put wrong."""
    link = machine.link
    if link.host.clock == "servers":
        why = (await link.ask("clock"))["why"]
        return [Problem(f"{link.place} cannot {DEEDS['skew']}: {why}", "use another machine, or other faults")] if why else []
    if shared := _together(machines, link):
        return [Problem(shared, 'name machines that are whole ones, or take clock = "machine" out of the inventory')]
    told = await link.ask("wall", controller=boot())
    return [Problem(f"the clock of {link.place} cannot be put wrong: {told['why']}", told["mend"])] if told["why"] else []


def _together(machines: Sequence[_Machine], link: Link) -> str:
    """What tells that a machine's clock is another node's too, since they share a kernel; empty where it is not."""
    boots = {machine.link: machine.found["boot"] for machine in machines}
    other = next((one.place for one, booted in boots.items() if one is not link and booted == boots[link]), "")
    return f"{link.place} shares its kernel, and so its clock, with {other}" if other else ""


async def _install(link: Link, packages: Sequence[str]) -> None:
    """Install packages, and have none of their servers started: splitbrain starts its own."""
    env = {"DEBIAN_FRONTEND": "noninteractive", "RUNLEVEL": "1"}
    argv = ["apt-get", "install", "--yes", "--quiet", "--", *packages]
    said = await link.ask("run", LONG + link.silent, argv=argv, stdin="", limit=LONG, cwd="/", env=env)
    if said["code"] != 0:
        raise SetupError(f"{link.place}: apt-get install {' '.join(packages)}: {' '.join(said['stderr'].split())[-500:]}")


async def _clean(testbed: type[Ssh], note: ssh_notes.Note) -> tuple[list[str], list[str]]:
    """Remove a run from its machines; a line for what was done, and for each that was not cleaned and keeps its note."""
    done: list[str] = []
    undone: list[str] = []
    kept: list[Host] = []

    async def one(host: Host) -> None:
        link = testbed.link(host.host, host)
        try:
            await link.open()
            lines = (await link.ask("clean", LONG, run=note.run, folder=host.folder))["done"]
            done.extend(f"{host.host}: run {note.run}: {line}" for line in lines)
        except SetupError as error:
            kept.append(host)
            undone.append(f"{host.host}: run {note.run}: not cleaned: {error}")
        finally:
            link.close()

    await asyncio.gather(*(one(host) for host in note.hosts))
    if kept:
        ssh_notes.write(ssh_notes.Note(note.run, note.testbed, note.owner, tuple(kept)))
    else:
        ssh_notes.forget(note.run, note.owner)
    return done, undone
