"""How the harness acts in containers: in the networks of their nodes, and on their files (see docker.py).

Where it may it does so from the host: by processes that come from its agent and enter the nodes' namespaces. Where it may not,
by containers of its own, from an image that has what they need.
"""

from __future__ import annotations

import asyncio
import os
import socket
from functools import partial
from pathlib import Path
from typing import Any

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import commands, folders
from splitbrain.harness.testbeds.container import Call, DockerNode, Entrance
from splitbrain.harness.testbeds.spawner import Channel, SocketAt

TOOLS = "splitbrain/tools:5"
"""The image of those containers (see harness/images.py): its entry point takes the path of a socket."""
IN_TOOLS = ("/usr/sbin/iptables-restore", "/usr/sbin/ip6tables-restore", "/bin/cat")
"""The programs in that image."""
SIGN = "/name"
"""A file in a keeper that says which one it is."""

_SIDECAR = "a sidecar container"
_ANSWER = 60.0


class Access:
    """The ways into the nodes of one run. `agent` is a process of this machine that forks others, `call` makes a blocking call
    of `client`; what is made is named after `mark` and carries `labels`. Every method raises `SetupError`."""

    def __init__(self, agent: Channel, client: Any, call: Call, folder: Path, mark: str, labels: dict[str, str]) -> None:
        self.agent = agent
        self._client = client
        self._call = call
        self._folder = folder
        self._mark = mark
        self._labels = labels
        self._hand: asyncio.Task[Channel] | None = None

    async def enter(self, node: DockerNode) -> None:
        """Have a process serve in the node's network: one of this machine, or else a container."""
        channel = await self._of_process(node)
        if channel is not None:
            iptables, ip6tables = (commands.program(name, "iptables") for name in ("iptables-restore", "ip6tables-restore"))
            cat = commands.program("cat", "coreutils")
            programs, what = (iptables, ip6tables, cat), "a process of the harness"
        else:
            channel = await self._of_sidecar(node)
            programs, what = IN_TOOLS, _SIDECAR
        node.entrance = Entrance(channel, commands.Firewall(channel), *programs, what)

    async def _of_process(self, node: DockerNode) -> Channel | None:
        """None where this user may not enter the node's network, or where the engine's process numbers are not ours."""
        channel = None
        try:
            namespace = os.open(f"/proc/{node.holder.attrs['State']['Pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            channel = await self.agent.enter(node.name, namespace)
            (proof,) = await channel.sockets([SocketAt(socket.AF_INET, socket.SOCK_DGRAM)])
            with proof:
                if is_local(proof, node.address):
                    return channel
            channel.close()
        except SetupError:
            if channel is not None:
                channel.close()
        finally:
            os.close(namespace)
        return None

    async def _of_sidecar(self, node: DockerNode) -> Channel:
        return await self._of_container(
            node.name, network_mode=f"container:{node.holder.id}", cap_add=["NET_ADMIN", "NET_RAW"],
            security_opt=["no-new-privileges", "label=disable"],
        )

    async def _of_container(self, name: str, **how: Any) -> Channel:
        """A container of our own, and the channel to it."""
        if not await self._call(partial(self._client.images.list, TOOLS)):
            raise SetupError(
                f"this user may not enter the nodes' networks, and there is no image {TOOLS}, by which a container could: "
                "run `splitbrain images build tools` once, or splitbrain as root."
            )
        folder = self._folder
        folder.mkdir(exist_ok=True)
        place = os.open(folder, os.O_PATH | os.O_CLOEXEC)
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            try:
                listener.bind(f"/proc/self/fd/{place}/{name}")  # the folder's own path may be too long for a socket
            finally:
                os.close(place)
            listener.listen(1)
            listener.setblocking(False)
            await self._call(partial(
                self._client.containers.run, TOOLS, [f"/channels/{name}"], name=f"{self._mark}-{name}-tools",
                labels=self._labels, detach=True, volumes={str(folder): {"bind": "/channels", "mode": "rw"}}, mem_limit="128m",
                **how,
            ))
            try:
                async with asyncio.timeout(_ANSWER):
                    end, _ = await asyncio.get_running_loop().sock_accept(listener)
            except TimeoutError as error:
                wrong = f"{name}: the container from {TOOLS} did not answer within {_ANSWER:.0f} s"
                raise SetupError(f"{wrong}: `splitbrain images build tools` builds it again.") from error
        channel = Channel(name, end)
        await channel.ready()
        return channel

    async def files(self, node: DockerNode) -> Channel:
        """A process that sees the volume of a node where its servers do."""
        async with node.looking:
            if node.files is None:
                await self._call(node.keeper.reload)
                hand = await self.reaching(node)
                try:
                    files = await hand.beside(node.name, node.keeper.attrs["State"]["Pid"])
                except SetupError as error:
                    raise SetupError(f"{node.name}: its files cannot be reached: {error}") from error
                seen = await files.file(SIGN)
                if seen is None or folders.content(seen).decode() != node.keeper.name:
                    files.close()
                    raise SetupError(f"{node.name}: its files cannot be reached: what the engine calls its process is another.")
                node.files = files
            return node.files

    async def reaching(self, node: DockerNode) -> Channel:
        """Who may see what any container sees, and change it: the agent, or a container with the engine's processes before
        it."""
        if node.entrance.what != _SIDECAR:
            return self.agent
        if self._hand is None:
            self._hand = asyncio.create_task(self._of_container(
                "hand", pid_mode="host", userns_mode="host", network_mode="none", cap_add=["SYS_ADMIN", "SYS_PTRACE"],
                security_opt=["no-new-privileges", "label=disable", "apparmor=unconfined"],
            ))
        return await asyncio.shield(self._hand)

    def cancel(self) -> None:
        """Begin nothing more. Idempotent."""
        if self._hand is not None:
            self._hand.cancel()

    def close(self) -> None:
        """Give up the agent, and the container beside it. Idempotent."""
        if self._hand is not None and self._hand.done() and not self._hand.cancelled() and self._hand.exception() is None:
            self._hand.result().close()
        self.agent.close()


def is_here(address: str) -> bool:
    """Whether this network namespace has that address."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return is_local(one, address)


def is_local(datagrams: socket.socket, address: str) -> bool:
    """Whether the network namespace of a socket has that address: it can be bound, and there is a way to it (in a namespace
    without any route, any address can be bound)."""
    try:
        datagrams.bind((address, 0))
        datagrams.connect((address, 9))
    except OSError:
        return False
    return True
