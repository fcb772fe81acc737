"""A node on a machine that is reached over SSH: what is asked of it is done by the helper there."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.death import Death
from splitbrain.harness.testbeds import firewall, shaping
from splitbrain.harness.testbeds.helper.machine import SEARCH, boot
from splitbrain.harness.testbeds.ssh_link import LONG, Link, disk_server
from splitbrain.harness.testbeds.testbed import Completed, Service

Disk = Literal["", "memory", "volatile"]
"""What a data folder lies on: the machine's disk, or one of its own (helper/disks.py), in memory or by FUSE."""


class SshNode:
    """One machine. `folder` is there once the run has begun on it (`take`)."""

    def __init__(self, name: str, address: str, address6: str, logs: Path, link: Link) -> None:
        self.name = name
        self.address = address
        self.address6 = address6
        self.folder = ""
        self.link = link
        self._logs = logs
        self._services: dict[str, tuple[Service, int]] = {}
        self._given: dict[str, Service] = {}
        self._over: set[str] = set()
        self._endings: dict[str, dict[str, Any]] = {}
        self._dead: list[Death] = []
        self._down = False

    async def take(self, run: str, owner: str, gate: Sequence[str], disk: Disk) -> None:
        """Take the machine for a run: from now on its guard watches. `gate` is the controller's address and the port there that
        it is connected to, nothing where no network is between. `disk` is what the data folder lies on."""
        gates = [("6" if ":" in gate[0] else "4", *gate)] if gate else []
        if disk:
            await self.link.ask("separate")
        reply = await self.link.ask(
            "begin", run=run, owner=owner, folder=self.link.host.folder, gates=gates, node=self.name,
            patience=self.link.host.patience, disk=disk, source=disk_server() if disk == "volatile" else "",
        )
        self.folder = reply["folder"]

    def hear(self, message: dict[str, Any]) -> None:
        """What the helper says by itself of servers: what they print, and that one ended."""
        if message["event"] == "log":
            with self.log(message["service"]).open("ab") as log:
                log.write(message["text"].encode("latin-1"))
        name = message["service"]
        if message["event"] == "returned" and name in self._services:  # one that was here before us, under another number
            self._services[name] = self._services[name][0], message["pid"]
            self._over.discard(name)
        elif message["event"] == "ended":
            self._endings[name] = message
            self._bury(name)

    def _bury(self, name: str) -> None:
        """Remember that a service ended, once both are known: its process, and that this one ended. A service that lives for a
        moment may be told as ended before whoever started it has read that it was started."""
        message = self._endings.get(name)
        if message is not None and name in self._services and self._services[name][1] == message["pid"]:
            del self._endings[name]
            self._over.add(name)
            at = self.link.here(message["at"])
            how = "" if message["code"] is not None else "it ended by itself, or by somebody else's hand"
            self._dead.append(Death(node=self.name, service=name, time=at, code=message["code"], detail=how))

    def log(self, name: str) -> Path:
        """What a service printed, both streams, all its starts, as far as it has been sent here."""
        return self._logs / f"{name}.log"

    async def start(self, service: Service) -> None:
        """Start a service. Raises `SetupError` where its program is missing, it runs already, or it cannot be executed."""
        if self.running(service.name):
            raise SetupError(f"{self.name}: {service.name} runs already.")
        self._services.pop(service.name, None)
        argv = [part.replace("{folder}", self.folder) for part in service.argv]
        argv[0] = self.link.host.programs.get(argv[0], argv[0])
        given = self._given.get(service.name) == service
        files = {} if given else {name: text.replace("{folder}", self.folder) for name, text in service.files.items()}
        self._over.discard(service.name)
        reply = await self.link.ask(
            "start", name=service.name, argv=argv, env={**self._path(), **service.env}, files=files, node=self.name
        )
        self._services[service.name] = service, reply["pid"]
        self._given[service.name] = service
        self._bury(service.name)

    def _path(self) -> dict[str, str]:
        """Where a server finds the programs that it starts itself, those of the inventory first: Cassandra is given no path of
        Java."""
        named = dict.fromkeys(os.path.dirname(path) for path in self.link.host.programs.values() if os.sep in path)  # noqa: PTH120
        return {"PATH": os.pathsep.join((*named, *SEARCH))}

    async def stop(self, name: str, *, kill: bool = False) -> None:
        """End a service and everything that came of it; nothing happens where it was not started."""
        if self._services.pop(name, None) is not None:
            await self.link.ask("stop", name=name, kill=kill)

    async def pause(self, name: str) -> None:
        """Pause a service and everything that came of it."""
        if self.running(name):
            await self.link.ask("pause", name=name)

    async def resume(self, name: str) -> None:
        """Resume a paused service."""
        if self.running(name):
            await self.link.ask("resume", name=name)

    async def let_run(self, name: str, seconds: float, most: float) -> float:
        """Let a paused service run for a moment."""
        if not self.running(name):
            return 0.0
        return float((await self.link.ask("let_run", name=name, seconds=seconds, most=most))["spent"])

    async def skew(self, name: str, nanoseconds: int, *, paused: bool) -> None:
        """Put the clock of a service and of everything that came of it wrong."""
        if self.running(name):
            await self.link.ask("skew", name=name, nanoseconds=nanoseconds, paused=paused)

    async def set_clock(self, nanoseconds: int) -> None:
        """Put the clock of the whole machine wrong by so much, or right (0)."""
        await self.link.ask("set", controller=boot(), nanoseconds=nanoseconds)

    async def ahead(self) -> tuple[int, int]:
        """Nanoseconds by which the clock of the whole machine is ahead of what it was before faults, and by how much this may
        be wrong."""
        told = await self.link.ask("ahead", controller=boot())
        return told["ahead"], told["inexact"]

    @property
    def services(self) -> Sequence[Service]:
        """The services that run, in the order in which they were started."""
        return [service for name, (service, _) in self._services.items() if self.running(name)]

    def running(self, name: str) -> bool:
        """Whether the service's own process is alive, as far as was heard."""
        return name in self._services and name not in self._over

    def ended(self) -> Sequence[Death]:
        """The services that ended though nobody stopped them, and how."""
        return sorted(self._dead, key=lambda death: death.time)

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
        """Run a program on the node. Raises `SetupError` where it is missing or takes too long; it is then killed."""
        command = [self.link.host.programs.get(argv[0], argv[0]), *argv[1:]]
        reply = await self.link.ask(
            "run", timeout + self.link.silent, argv=command, stdin=stdin, limit=timeout, cwd=self.folder, env={}
        )
        return Completed(reply["code"], reply["stdout"], reply["stderr"])

    async def restore(self, rules: firewall.Rules) -> int:
        """Give the node's firewall its rules, and tell when the last of them was in force (our monotonic clock, ns)."""
        texts = {"iptables": rules.ipv4, **({"ip6tables": rules.ipv6} if rules.ipv6 else {})}
        return self.link.here((await self.link.ask("restore", texts=texts))["at"])

    async def impair(self, own: int, nodes: int, links: Sequence[tuple[int, int, dict[str, float]]]) -> None:
        """What happens from now on to packets that come over these links, all of it, once rules have them go through the node's
        queues. It is number `own` of so many."""
        source = shaping.PROGRAM.read_text()
        await self.link.ask("impair", source=source, own=own, nodes=nodes, first=firewall.FIRST, links=links)

    async def connections(self) -> str:
        """The kernel's tables of the node's TCP connections."""
        return str((await self.link.ask("connections"))["text"])

    async def leave(self, *, keep: bool) -> None:
        """Put everything back, end what was started, remove the run's folder there, and hang up."""
        try:
            await self.link.ask("leave", LONG, keep=keep)
        finally:
            self.link.close()
            await asyncio.sleep(0)
