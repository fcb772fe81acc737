"""Nodes without a testbed: real servers as processes of this machine, on loopback addresses of this test process."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.death import Death
from splitbrain.harness.plan import Plan
from splitbrain.harness.servers import find_program
from splitbrain.harness.testbeds.testbed import Completed, Service

D = TypeVar("D", bound=Database)


class LoopbackNode:
    """A `harness.testbeds.testbed.Node` on this machine, with a folder of its own and no links that could be cut."""

    def __init__(self, number: int, root: Path) -> None:
        self.name = f"n{number}"
        self.address = self.at(number)
        self.address6 = "::1"
        self._folder = root / self.name
        self._folder.mkdir(parents=True)
        self._processes: dict[str, asyncio.subprocess.Process] = {}

    @staticmethod
    def at(number: int) -> str:
        """The address of a node of that number, so that tests may run beside each other."""
        process = os.getpid()
        return f"127.{process // 250 % 250 + 1}.{process % 250 + 1}.{number}"

    @property
    def folder(self) -> str:
        return str(self._folder)

    async def start(self, service: Service) -> None:
        program = sys.executable if service.argv[0] == "python3" else find_program(service.argv[0])
        if program is None:
            raise SetupError(f"{service.argv[0]} is not installed.")
        for name, content in service.files.items():
            (self._folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self._folder / name).write_text(content.replace("{folder}", self.folder))
        with self.log(service.name).open("ab") as log:
            self._processes[service.name] = await asyncio.create_subprocess_exec(
                "setpriv",
                "--pdeathsig=KILL",
                program,
                *(part.replace("{folder}", self.folder) for part in service.argv[1:]),
                stdout=log,
                stderr=log,
                env={**os.environ, **service.env},
                cwd=self.folder,
            )

    async def stop(self, name: str, *, kill: bool = False) -> None:
        process = self._processes[name]
        if process.returncode is None:
            process.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            try:
                await asyncio.wait_for(process.wait(), 2)
            except TimeoutError:
                process.kill()
                await process.wait()

    def running(self, name: str) -> bool:
        return self._processes[name].returncode is None

    async def pause(self, name: str) -> None:
        raise NotImplementedError

    async def resume(self, name: str) -> None:
        raise NotImplementedError

    async def let_run(self, name: str, seconds: float, most: float) -> float:
        raise NotImplementedError

    @property
    def services(self) -> Sequence[Service]:
        raise NotImplementedError

    def ended(self) -> Sequence[Death]:
        raise NotImplementedError

    def send_signal(self, name: str, number: signal.Signals) -> None:
        """Send a signal to a service."""
        self._processes[name].send_signal(number)

    async def run(self, argv: Sequence[str], *, stdin: str = "", timeout: float = 10.0) -> Completed:
        raise NotImplementedError

    def log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    async def down(self) -> None:
        """Kill every service."""
        await asyncio.gather(*(self.stop(name, kill=True) for name in self._processes))


async def await_ready(database: Database, *, limit: float = 60.0) -> float:
    """Ask until it is ready; the seconds that it took."""
    began = time.monotonic()
    async with asyncio.timeout(limit):
        while not await database.ready():
            await asyncio.sleep(0.05)
    return time.monotonic() - began


@asynccontextmanager
async def running(kind: type[D], variant: str, root: Path, *, count: int = 5) -> AsyncIterator[D]:
    """A started and ready database on `count` loopback nodes; everything it started is killed at the end."""
    nodes = [LoopbackNode(number, root) for number in range(1, count + 1)]
    database = kind(Plan(database=kind.name, variant=variant, nodes=count), nodes)
    try:
        await database.start()
        await await_ready(database)
        yield database
    finally:
        await database.close()
        await asyncio.gather(*(node.down() for node in nodes))
