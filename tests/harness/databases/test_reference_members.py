"""The reference server whose members are changed: real processes, wiped and replaced while clients write and read."""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
from pathlib import Path

import pytest

from splitbrain.checkers.models.specifications import CasRegister, Set
from tests.harness.databases.servers import Cluster, cluster
from tests.harness.databases.test_reference_server import record, valid

pytestmark = pytest.mark.timeout(250)


async def change(servers: Cluster, op: str, member: str) -> bool:
    """Ask the other nodes until one has done it; False where none can for a while."""
    for _ in range(20):
        for name in servers.names:
            if name != member and servers.processes[name].returncode is None:
                try:
                    async with asyncio.timeout(5):
                        client = await servers.client(name)
                        answer = await client.call(op, member=member)
                        client.writer.close()
                except (TimeoutError, OSError):
                    continue
                if answer.get("ok"):
                    return True
        await asyncio.sleep(0.05)
    return False


async def replace(servers: Cluster, name: str) -> None:
    """Remove a member, end it, wipe it, add it and start it; where it cannot be removed it stays."""
    if not await change(servers, "remove-member", name):
        return
    await servers.kill(name)
    shutil.rmtree(servers.folder / name)
    while not await change(servers, "add-member", name):
        await asyncio.sleep(0.05)
    await servers.start(name, more=["--join"])


@pytest.mark.parametrize("mode", ["majority", "majority-amnesia"])
async def test_every_member_is_replaced(mode: str, tmp_path: Path) -> None:
    """What was written before, and not since, is there still, unless who joins votes with nothing."""
    async with cluster(mode, 3, tmp_path) as servers:
        client = await servers.client("n1")
        for key in range(300):
            assert (await client.call("write", key=key, value=key))["ok"]
        for element in range(50):
            assert (await client.call("add", key="s", element=element))["ok"]
        for name in servers.names:
            await replace(servers, name)
            await servers.ready()
        for name in servers.names:
            client = await servers.client(name)
            assert (await client.call("status"))["members"] == servers.names
            values = [(await client.call("read", key=key)).get("value") for key in range(300)]
            elements = (await client.call("elements", key="s")).get("elements", [])
            assert (values == list(range(300)) and elements == list(range(50))) == (mode == "majority")
            assert (await client.call("write", key="new", value=1))["ok"]
        await servers.kill("n2")  # What it has learned of its members outlives it.
        await servers.start("n2")
        await servers.ready()


async def test_who_is_no_member_answers_nothing(tmp_path: Path) -> None:
    async with cluster("majority", 3, tmp_path) as servers:
        client = await servers.client("n3")
        assert (await client.call("write", key="x", value=1))["ok"]
        assert await change(servers, "remove-member", "n3")
        assert await change(servers, "remove-member", "n3"), "done already"
        answer = await client.call("read", key="x")
        assert answer == {"error": "no-quorum", "definite": True}
        await servers.until(["n1", "n2"], lambda told: all(one["members"] == ["n1", "n2"] and one["ready"] for one in told))
        assert (await (await servers.client("n1")).call("write", key="x", value=2))["ok"]
        servers.signal(signal.SIGSTOP, "n2")  # One of two members is no majority, and the third is none.
        other = await servers.client("n1")
        await servers.until(["n1"], lambda told: not told[0]["ready"])
        assert (await other.call("write", key="x", value=3))["error"] == "no-quorum"
        assert (await other.call("add-member", member="n3"))["error"] == "no-quorum"
        servers.signal(signal.SIGCONT, "n2")
        await servers.until(["n1", "n2"], lambda told: all(one["ready"] for one in told))
        assert await change(servers, "add-member", "n3")
        await servers.ready()
        assert await client.call("read", key="x") == {"ok": True, "value": 2}


@pytest.mark.parametrize("seed", [1])
async def test_it_stays_linearizable(seed: int, tmp_path: Path) -> None:
    """While members are replaced, and others are stopped and cut off in the middle of it."""
    rng = random.Random(seed)
    async with cluster("majority", 5, tmp_path) as servers:
        done = asyncio.Event()

        async def trouble() -> None:
            while not done.is_set():
                name = rng.choice(servers.names)
                await asyncio.sleep(rng.uniform(0, 0.3))
                process = servers.processes[name]
                if process.returncode is not None:
                    continue
                if rng.random() < 0.5:
                    servers.signal(signal.SIGSTOP, name)
                    await asyncio.sleep(rng.uniform(0.05, 0.8))
                    if process.returncode is None:
                        process.send_signal(signal.SIGCONT)
                else:
                    others = [other for other in servers.names if other != name]
                    servers.links.cut([name], others)
                    await asyncio.sleep(rng.uniform(0.05, 0.8))
                    servers.links.heal()

        async def disturb() -> None:
            troubling = asyncio.create_task(trouble())
            for _ in range(3):
                await replace(servers, rng.choice(servers.names))
            done.set()
            await troubling

        operations = await record(servers, 4, disturb)
        for sort, model in (("r", CasRegister()), ("s", Set())):
            some = [operation for operation in operations if str(operation.key).startswith(sort)]
            assert sum(operation.outcome == "ok" for operation in some) > 20
            assert valid(some, model)
