"""A real cluster for tests: nodes in namespaces, on each a small TCP server that tells the time."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import msgspec

from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.namespaces import Namespaces
from splitbrain.harness.testbeds.testbed import Service, Testbed

PORT = 7000
SERVER = Service(
    name="server",
    argv=(sys.executable, "-S", "-E", "{folder}/server.py"),
    files={
        "server.py": """
import socket, time
with socket.create_server(("0.0.0.0", 7000), backlog=64) as server:
    print("listening", flush=True)
    while True:
        with server.accept()[0] as client:
            try:
                client.send(repr(time.time()).encode())
            except OSError:
                pass
"""
    },
)

ON_PYTHON = msgspec.structs.replace(SERVER, argv=("python3", "-S", "-E", "{folder}/server.py"), memory_mb=24)
"""The same by the Python of the node, whatever testbed it is of."""


def plan(**settings: int | str) -> Plan:
    return Plan(database="none", variant="none", **settings)  # type: ignore[arg-type]


async def up(testbed: Namespaces, count: int) -> None:
    """Nodes, the server on each of them, listening, and probes ready."""
    await testbed.up(count)
    await asyncio.gather(*(node.start(SERVER) for node in testbed.nodes))
    async with asyncio.timeout(60):
        for node in testbed.nodes:
            while b"listening" not in node.log("server").read_bytes():
                await asyncio.sleep(0.01)
    await testbed.listen(PORT)


def inside(bed: Testbed, whole: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run `whole` where the testbed's nodes are made; what it raises fails the test."""

    def inner() -> int:
        asyncio.run(whole())
        return 0

    assert bed.inside(inner) == 0, "see what the inner process printed"


def with_cluster(
    folder: Path, count: int, work: Callable[[Namespaces], Awaitable[None]], testbed: Namespaces | None = None
) -> None:
    """Run `work` beside a cluster; what it raises fails the test."""
    bed = testbed or Namespaces(plan(), "test", folder)

    async def whole() -> None:
        try:
            await up(bed, count)
            await work(bed)
        finally:
            await bed.down()

    inside(bed, whole)
