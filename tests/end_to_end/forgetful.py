"""A database that splitbrain does not know, in one file: every node accepts every write and tells the others once.

Nobody asks again, so that what was written while a link was cut stays on its side for ever.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import splitbrain

SERVER = '''
import json, socket, socketserver, sys, threading, time

name, own, *peers = sys.argv[1:]
store, lock = {}, threading.Lock()
news = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
news.bind((own, 7501))


def take(key, value, at):
    with lock:
        if key not in store or store[key][1] < at:
            store[key] = (value, at)


def listen():
    while True:
        take(*json.loads(news.recv(65536)))


class Session(socketserver.StreamRequestHandler):
    disable_nagle_algorithm = True

    def handle(self):
        for line in self.rfile:
            f, key, value = json.loads(line)
            if f == "write":
                told = (key, value, [time.time(), name])
                take(*told)
                for peer in peers:
                    news.sendto(json.dumps(told).encode(), (peer, 7501))
            self.wfile.write((json.dumps(store.get(key, (None, []))[0]) + chr(10)).encode())


class Server(socketserver.ThreadingTCPServer):
    daemon_threads = allow_reuse_address = True


threading.Thread(target=listen, daemon=True).start()
print(name, "listens", flush=True)
Server((own, 7500), Session).serve_forever()
'''


def _note(acknowledged: str, value: int) -> None:
    with Path(acknowledged).open("a") as log:
        log.write(f"{value}\n")


class ForgetfulClient:
    """One line asked, one line answered."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self, key: Any) -> Any:
        return await self._ask("read", key, None)

    async def write(self, key: Any, value: int) -> None:
        await self._ask("write", key, value)
        if acknowledged := os.environ.get("FORGETFUL_ACKNOWLEDGED"):
            _note(acknowledged, value)

    async def close(self) -> None:
        self._writer.close()

    @property
    def closed(self) -> bool:
        return self._writer.is_closing()

    async def _ask(self, f: str, key: Any, value: Any) -> Any:
        try:
            self._writer.write(json.dumps((f, str(key), value)).encode() + b"\n")
            line = await self._reader.readline()
        except OSError:
            line = b""
        try:
            return json.loads(line)
        except ValueError:
            await self.close()
            raise splitbrain.Indeterminate("connection-lost" if not line else "garbled-answer") from None


class Forgetful(splitbrain.Database):
    """Accepts everything, everywhere; forgets to tell."""

    name = "forgetful"
    variants = (
        splitbrain.Variant(
            name="plain",
            summary="every node accepts; the others are told once",
            reads="home",
            writes="home",
            claim=splitbrain.Claim(text="eventually consistent", source="forgetful.py", promises=("converges",)),
            offers=frozenset({"registers"}),
        ),
    )
    programs = (splitbrain.Program("python3", "apt-get install python3"),)
    port = 7500

    def __init__(self, plan: splitbrain.Plan, nodes: Sequence[splitbrain.Node]) -> None:
        super().__init__(plan, nodes)
        self._own = splitbrain.Connections(self.connect)

    async def start(self) -> None:
        for node in self.nodes.values():
            peers = [other.address for other in self.nodes.values() if other is not node]
            await node.start(
                splitbrain.Service(
                    name="forgetful",
                    argv=("python3", "-I", "{folder}/server.py", node.name, node.address, *peers),
                    files={"server.py": SERVER},
                )
            )

    async def ready(self) -> bool:
        try:
            for node in self.nodes.values():
                client = await self.connect(node)
                await client.write(f"splitbrain-ready-{node.name}", 1)
                await client.close()
        except splitbrain.Refused:
            return False
        return True

    async def connect(self, server: splitbrain.Node) -> Any:
        try:
            return ForgetfulClient(*await asyncio.open_connection(server.address, self.port))
        except OSError:
            raise splitbrain.Refused("no-connection") from None

    async def local(self, node: splitbrain.Node) -> Any:
        return await self._own.to(node)

    async def close(self) -> None:
        await self._own.close()

    async def versions(self) -> dict[str, str]:
        return dict.fromkeys(self.nodes, "1")
