"""The reference server as real processes, with links that can be cut, and clients that speak to it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any

from splitbrain.harness.databases.reference import server as reference_server
from tests.harness.databases.loopback import LoopbackNode

SERVER = str(Path(reference_server.__file__).parent)
PORT = 7001
"""Not one of those that the kernel gives to whoever connects or asks for any: it might be taken before the server takes it."""


class Client:
    """A connection to one server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.ids = count(1)

    def send(self, op: str, **fields: Any) -> int:
        number = next(self.ids)
        self.writer.write(json.dumps({"id": number, "op": op, **fields}).encode() + b"\n")
        return number

    async def receive(self) -> dict[str, Any]:
        line = await self.reader.readline()
        if not line:
            raise ConnectionError
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def call(self, op: str, **fields: Any) -> dict[str, Any]:
        number = self.send(op, **fields)
        async with asyncio.timeout(60):
            answer = await self.receive()
        assert answer.pop("id") == number
        return answer


class Links:
    """What every server dials to reach a peer: a way to it, which can be cut. What is sent into a cut is lost, and so is the
    connection, though neither end is told."""

    def __init__(self) -> None:
        self._cut: set[tuple[str, str]] = set()
        self._listeners: list[asyncio.Server] = []
        self._streams: dict[tuple[str, str], list[asyncio.StreamWriter]] = {}
        self._dead: set[asyncio.StreamWriter] = set()

    async def open(self, a: str, b: str, host: str, port: int) -> int:
        """A port that leads from `a` to `b`."""
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if (a, b) in self._cut:
                with suppress(OSError):
                    await reader.read()  # Until whoever dialled gives up.
                writer.close()
                return
            try:
                far_reader, far_writer = await asyncio.open_connection(host, port)
            except OSError:
                writer.close()
                return
            self._streams.setdefault((a, b), []).extend((writer, far_writer))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass_on(reader, far_writer))
                group.create_task(self._pass_on(far_reader, writer))

        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        self._listeners.append(listener)
        address: tuple[str, int] = listener.sockets[0].getsockname()
        return address[1]

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                if writer not in self._dead:
                    writer.write(data)
                    await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    def cut(self, *sides: list[str]) -> None:
        """Cut every link between these sides."""
        for one in sides:
            for other in sides:
                for a, b in ((a, b) for a in one for b in other if one is not other):
                    self._cut.add((a, b))
                    self._dead.update(self._streams.pop((a, b), ()))

    def heal(self) -> None:
        """All links carry packets again."""
        self._cut.clear()

    def close(self) -> None:
        """No more of it."""
        for listener in self._listeners:
            listener.close()


def address(name: str) -> str:
    """Where a server listens: no other test process has it."""
    return LoopbackNode.at(int(name[1:]))


class Cluster:
    """Servers as processes."""

    def __init__(self, mode: str, size: int, folder: Path, *, skews: dict[str, float] | None = None) -> None:
        self.mode, self.folder = mode, folder
        self.links = Links()
        self.ports: dict[tuple[str, str], int] = {}
        self.skews = skews or {}
        self.names = [f"n{i}" for i in range(1, size + 1)]
        self.processes: dict[str, asyncio.subprocess.Process] = {}

    async def start(self, *names: str, more: Sequence[str] = ()) -> None:
        for name in names:
            (self.folder / name).mkdir(exist_ok=True)
            others = [peer for peer in self.names if peer != name]
            for peer in others:
                if (name, peer) not in self.ports:
                    self.ports[name, peer] = await self.links.open(name, peer, address(peer), PORT)
            peers = [f"--peer={peer}=127.0.0.1:{self.ports[name, peer]}" for peer in others]
            with (self.folder / f"{name}.log").open("ab") as log:
                self.processes[name] = await asyncio.create_subprocess_exec(
                    sys.executable, "-I", SERVER, "--name", name, "--mode", self.mode, *peers,
                    "--listen", f"{address(name)}:{PORT}", "--data", str(self.folder / name),
                    "--skew", str(self.skews.get(name, 0.0)), *more, stdout=log, stderr=log,
                )

    def signal(self, number: signal.Signals, *names: str) -> None:
        for name in names:
            self.processes[name].send_signal(number)

    async def kill(self, *names: str) -> None:
        self.signal(signal.SIGKILL, *names)
        for name in names:
            await self.processes[name].wait()

    async def client(self, name: str) -> Client:
        async with asyncio.timeout(60):
            while True:
                try:
                    return Client(*await asyncio.open_connection(address(name), PORT, limit=1 << 24))
                except OSError:
                    await asyncio.sleep(0.02)

    async def status(self, name: str) -> dict[str, Any]:
        client = await self.client(name)
        try:
            return await client.call("status")
        finally:
            client.writer.close()

    async def until(self, names: list[str], holds: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
        """Wait until the statuses of these nodes fulfil a condition."""
        async with asyncio.timeout(60):
            while True:
                statuses = [await self.status(name) for name in names]
                if holds(statuses):
                    return statuses
                await asyncio.sleep(0.05)

    async def ready(self, *names: str) -> str:
        """Wait until all are ready and name one primary, or none; the node that operations go to."""
        def settled(statuses: list[dict[str, Any]]) -> bool:
            primaries = {status["primary"] for status in statuses}
            return all(status["ready"] for status in statuses) and len(primaries) == 1

        return (await self.until(list(names or self.names), settled))[0]["primary"] or (names or self.names)[0]


@asynccontextmanager
async def cluster(
    mode: str, size: int, folder: Path, *, skews: dict[str, float] | None = None
) -> AsyncIterator[Cluster]:
    """Servers that are ready; at the end they are killed, and none of them must have failed."""
    servers = Cluster(mode, size, folder, skews=skews)
    try:
        await servers.start(*servers.names)
        await servers.ready()
        yield servers
    finally:
        running = [name for name, process in servers.processes.items() if process.returncode is None]
        servers.signal(signal.SIGCONT, *running)
        await servers.kill(*running)
        servers.links.close()
    for name in servers.names:
        assert "Traceback" not in (folder / f"{name}.log").read_text()
