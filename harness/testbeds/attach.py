"""The testbed `attached`: a cluster of a person's own that runs already, on machines that an inventory names.

Its servers are not ours: nothing is installed, started or configured, and what a fault changes is put back by the guards of
the folder helper also when the harness is killed. Only the machines that are named are touched, and only where the inventory
says `disposable = true`: faults break what they are done to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import ClassVar

from splitbrain.harness import registry
from splitbrain.harness.errors import PlanError, SetupError
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds import commands
from splitbrain.harness.testbeds.ssh import Ssh, chosen, lacking
from splitbrain.harness.testbeds.ssh_link import LONG, Link
from splitbrain.harness.testbeds.ssh_node import SshNode
from splitbrain.harness.testbeds.testbed import Ability, Problem, Service, Wanted

_PROXY = "docker-proxy"


class Attached(Ssh):
    """The machines of the plan's inventory with the servers that run there: whoever listens on the database's port."""

    name: ClassVar[str] = "attached"
    summary: ClassVar[str] = "a cluster of your own that runs already, on machines over SSH: --hosts FILE --attach"
    attached: ClassVar[bool] = True
    abilities: ClassVar[frozenset[Ability]] = Ssh.abilities - {
        "wipe", "exchange", "damage", "fill", "unplug"  # whose data is not ours
    }

    def __init__(self, plan: Plan, run: str, folder: Path) -> None:
        super().__init__(plan, run, folder)
        if not self.inventory.disposable:
            raise PlanError(
                ("inventory",), f"{plan.inventory} does not say that this cluster may be broken: write disposable = true above "
                "its first [[hosts]], if you can do without its data."
            )

    def can(self) -> frozenset[Ability]:
        """Servers are ended only where every machine has a command that starts its own again."""
        return self.abilities if all(host.start for host in self.hosts) else self.abilities - {"end"}

    @classmethod
    def missing(cls, plan: Plan, programs: Sequence[Wanted], needs: Collection[Ability]) -> Sequence[Problem]:
        """Look at every machine of the plan: whether it can be cut, and whether a server runs there."""
        return cls.problems() or asyncio.run(lacking(cls, chosen(plan)[1], (), needs, runs=port(plan)))

    async def up(self, count: int) -> None:
        """Connect to every machine and find its server. Raises `SetupError` where none listens."""
        await super().up(count)
        adopted = [node for node in self.nodes if isinstance(node, AttachedNode)]
        await commands.together(node.adopt(self._plan.database, port(self._plan)) for node in adopted)

    def node(self, name: str, address: str, address6: str, logs: Path, link: Link) -> AttachedNode:
        """A node whose server runs already."""
        return AttachedNode(name, address, address6, logs, link)


class AttachedNode(SshNode):
    """One machine with one server, which was there before."""

    async def adopt(self, name: str, port: int, first: int = 0) -> None:
        """Find the server: the process that listens on this port, or will, and is that one until then. Raises `SetupError`
        where there is none."""
        found = await self.link.ask("adopt", name=name, port=port, start=list(self.link.host.start), first=first)
        if not found["pid"]:
            raise SetupError(f"{self.link.place}: nothing listens on port {port} there: start the cluster first.")
        if _PROXY in found["command"].split(" ", 1)[0]:
            raise SetupError(
                f"{self.link.place}: port {port} is that of a container, behind {_PROXY}: packets to it would go round a cut. "
                "Run splitbrain there, with --containers, or the server in the machine's own network."
            )
        self._services[name] = Service(name=name, argv=tuple(found["command"].split())), found["pid"]
        self.log(name).touch()
        self._down = False
        self._over.discard(name)
        self._bury(name)

    async def start(self, service: Service) -> None:
        """Start the server again that a fault ended, by its owner's command."""
        if not self._down:
            raise SetupError(f"{self.link.place}: its servers are not started by splitbrain.")
        self._services[service.name] = service, 0  # known before it may be told as returned
        try:
            await self.link.ask("revive", LONG, name=service.name)
        except SetupError:
            del self._services[service.name]
            raise
        self._down = False

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End the server. Raises `SetupError` where nobody could start it again."""
        if not self.link.host.start:
            raise SetupError(f"{self.link.place}: its server is not ended, since the inventory has no start = [...] for it.")
        self._down = True
        await super().stop(name, kill=kill)


def port(plan: Plan) -> int:
    """The port by which a server of the plan's database is found."""
    return int(registry.look_up("databases", plan.database).port)
