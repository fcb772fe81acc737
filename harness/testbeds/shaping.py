"""Impaired links without netem, which many kernels lack: packets go through queues of the kernel to a program (shaper.py)."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import msgspec

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.fault import Impair, Link
from splitbrain.harness.testbeds import commands, firewall
from splitbrain.harness.testbeds.spawner import Channel, SocketAt
from splitbrain.harness.testbeds.testbed import Applied

_NETLINK_NETFILTER = 12
PROGRAM = Path(__file__).with_name("shaper.py")
"""What the kernel hands packets to."""
_PATIENCE = 10.0


class Shaping:
    """The program, and what it was told. `nodes` are in the order of the queues' numbers; the program itself is started beside
    the first process of `home`, and ends with that or with `close`. What it has to complain of goes to `log`."""

    def __init__(self, home: Channel, nodes: Mapping[str, Channel], log: Path) -> None:
        self._home = home
        self._nodes = dict(nodes)
        self._log = log
        self._control, self._theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._control.setblocking(False)
        self._told = asyncio.Lock()
        self._begun = False

    async def begin(self) -> None:
        """Start it, with its sockets in every node. Raises `SetupError` where the kernel has no such queues."""
        wanted = [SocketAt(socket.AF_NETLINK, socket.SOCK_RAW, protocol=_NETLINK_NETFILTER),
                  SocketAt(socket.AF_INET, socket.SOCK_RAW, protocol=socket.IPPROTO_RAW)]
        if os.access("/proc/net/if_inet6", os.R_OK):
            wanted.append(SocketAt(socket.AF_INET6, socket.SOCK_RAW, protocol=socket.IPPROTO_RAW))
        made = [one for channel in self._nodes.values() for one in await channel.sockets(wanted)]
        begun = {"nodes": len(self._nodes), "own": None, "first": firewall.FIRST}
        argv = (sys.executable, "-I", "-S", str(PROGRAM))
        try:
            with self._theirs, self._log.open("ab") as log:
                await self._home.spawn(argv, {}, "/", (self._theirs.fileno(), log.fileno(), log.fileno()))
            socket.send_fds(self._control, [msgspec.json.encode(begun)], [one.fileno() for one in made])
            await self._answer()
        except OSError as error:
            raise SetupError(f"links cannot be impaired: {error}") from error
        finally:
            for one in made:
                one.close()

    async def impair(self, links: Mapping[Link, Impair], own: Mapping[str, firewall.Addresses],
                     restores: Mapping[str, commands.Restore]) -> Applied:
        """Hold back, lose, double or damage the packets of these links, by rules that each node's firewall restores. Raises
        `SetupError` where the kernel refuses; nothing is then impaired that was not before."""
        if not self._begun:
            if not links:
                return Applied(0, {})
            await self.begin()
            await commands.together(restore(firewall.install_queues(own[name])) for name, restore in restores.items())
            self._begun = True
        await self.tell(links)
        applied = await commands.apply(restores, firewall.queues(links, own))
        if not links:
            await self.tell({})  # What came meanwhile is let go too.
        return applied

    async def tell(self, links: Mapping[Link, Impair]) -> None:
        """What happens on which links from now on; with none, everything that is held back is let go. Raises `SetupError`."""
        place = {name: number for number, name in enumerate(self._nodes)}
        told = [(place[a], place[b], shape(one)) for (a, b), one in links.items()]
        async with self._told:
            try:
                await asyncio.get_running_loop().sock_sendall(self._control, msgspec.json.encode({"links": told}))
                await self._answer()
            except OSError as error:
                raise SetupError(f"links cannot be impaired: {error}") from error

    def close(self) -> None:
        """End it. Idempotent."""
        self._control.close()
        self._theirs.close()

    async def _answer(self) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                said = await asyncio.get_running_loop().sock_recv(self._control, 4096)
        except TimeoutError as error:
            raise SetupError("links cannot be impaired: the program that does it does not answer.") from error
        reason = msgspec.json.decode(said)["error"] if said else f"the program that does it has ended, see {self._log}"
        if reason:
            raise SetupError(f"links cannot be impaired: {reason}")


def shape(impair: Impair) -> dict[str, float]:
    """The numbers alone."""
    told = msgspec.structs.asdict(impair)
    return {name: value for name, value in told.items() if name != "links" and value}
