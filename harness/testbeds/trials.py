"""What the kernel does for nodes in namespaces, tried in a sandbox before there is a run."""

from __future__ import annotations

import asyncio
import os
import socket
import tempfile
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import commands, firewall, sandbox
from splitbrain.harness.testbeds.power import VolatileDisk
from splitbrain.harness.testbeds.shaping import Shaping
from splitbrain.harness.testbeds.spawner import Channel

Trial = Callable[[Channel], Awaitable[str]]
"""Tries something with the first process of a sandbox; what is said against it. May raise `SetupError` instead."""


def refusal(trial: Trial) -> str:
    """What is said against it; empty where nothing is. Raises `SetupError` where no sandbox can be made."""
    with tempfile.TemporaryFile("w+") as said:

        async def tried(init_end: socket.socket) -> None:
            channel = Channel("the sandbox", init_end)
            try:
                said.write(await trial(channel))
            except SetupError as error:
                said.write(str(error))
            finally:
                channel.close()
            said.flush()

        code = sandbox.enter(lambda init_end: asyncio.run(tried(init_end)) or 0)
        said.seek(0)
        return said.read() or (f"the trial of it ended with {code}" if code else "")


async def cutting(channel: Channel) -> str:
    """Set the firewall up."""
    text = firewall.install(firewall.Addresses("198.18.0.1", "fd00:198:18::1"))
    return await _given(channel, [("iptables-restore", text.ipv4), ("ip6tables-restore", text.ipv6)])


async def impairing(channel: Channel) -> str:
    """Have the kernel hand out packets."""
    shaping = Shaping(channel, {"n1": channel, "n2": channel}, Path(os.devnull))
    try:
        await shaping.begin()
        own = firewall.Addresses("198.18.0.1", "")
        rules = (firewall.install_queues(own).ipv4, firewall.queues([("n2", "n1")], {"n2": own, "n1": own})["n1"].ipv4)
        return await _given(channel, [("iptables-restore", text) for text in rules])
    finally:
        shaping.close()


async def losing_power(channel: Channel) -> str:
    """Mount a disk whose power can be taken."""
    disk = VolatileDisk(Path("/run/disk"), Path(os.devnull))  # the sandbox' own /run: it goes with it
    try:
        await disk.begin(channel)
    finally:
        disk.close()
    return ""


async def _given(channel: Channel, rules: Iterable[tuple[str, str]]) -> str:
    """What these programs say against their rules."""
    said = ""
    for program, text in rules:
        completed, _ = await commands.run(channel, (commands.program(program, "iptables"), *firewall.ARGUMENTS), text)
        if completed.code != 0:
            said += f"{program}: {' '.join(completed.stderr.split())} "
    return said
