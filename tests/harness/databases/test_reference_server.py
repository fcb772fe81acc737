"""The reference server as real processes; a node is cut off by SIGSTOP, or killed."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import CasRegister, Model, Set
from splitbrain.harness.databases.reference.server.wire import MAX_LINE
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome
from tests.harness.databases.servers import Client, Cluster, cluster

MODES = ("majority", "majority-no-writeback", "primary-async", "lww", "split-brain", "fenced-primary")
"""Those of registers and sets in which what was answered is soon everywhere; the others are in test_reference_modes.py."""
WITH_PRIMARY = ("primary-async", "split-brain", "fenced-primary")

pytestmark = pytest.mark.timeout(250)


@pytest.mark.parametrize("mode", MODES)
async def test_basics(mode: str, tmp_path: Path) -> None:
    async with cluster(mode, 3, tmp_path) as servers:
        home = await servers.ready()
        client = await servers.client(home)
        assert await client.call("read", key="x") == {"ok": True, "value": None}
        assert await client.call("write", key="x", value=7) == {"ok": True}
        assert await client.call("read", key="x") == {"ok": True, "value": 7}
        if mode == "majority-no-writeback":
            assert await client.call("cas", key="x", expected=7, new=8) == {"error": "unsupported", "definite": True}
            await client.call("write", key="x", value=8)
        else:
            assert await client.call("cas", key="x", expected=7, new=8) == {"ok": True}
            assert await client.call("cas", key="x", expected=7, new=9) == {"ok": False, "seen": 8}
            assert await client.call("cas", key="new", expected=None, new=1) == {"ok": True}
            assert await client.call("cas", key="none", expected=3, new=1) == {"ok": False, "seen": None}
        assert await client.call("elements", key="x") == {"ok": True, "elements": []}
        for element in (3, 1, "one", 1):
            assert await client.call("add", key="x", element=element) == {"ok": True}
        answer = await client.call("elements", key="x")
        assert sorted(answer["elements"], key=str) == [1, 3, "one"]
        for value, key in enumerate((1, "1", "\ud800", 10**30)):
            await client.call("write", key=key, value=value)
            assert await client.call("read", key=key) == {"ok": True, "value": value}
        assert await client.call("read", key=1) == {"ok": True, "value": 0}

        status = await client.call("status")
        assert status.pop("version") > 0
        assert status.pop("clock") > 0
        assert (status.pop("generation") > 0) == (mode in WITH_PRIMARY)
        primary = home if mode in WITH_PRIMARY else None
        assert status.pop("members", servers.names) == servers.names
        assert status == {"ok": True, "name": home, "mode": mode, "ready": True, "primary": primary,
                          "role": "primary" if primary else "replica"}

        for name in servers.names:
            other = await servers.client(name)
            if mode in WITH_PRIMARY and name != home:
                for op, fields in (("read", {}), ("write", {"value": 1}), ("elements", {}), ("add", {"element": 1})):
                    assert await other.call(op, key="x", **fields) == {"error": "not-primary", "definite": True}
            elif mode != "lww":
                assert await other.call("read", key="x") == {"ok": True, "value": 8}
                assert len((await other.call("elements", key="x"))["elements"]) == 3
            async with asyncio.timeout(60):  # Every copy gets there.
                while await other.call("local-read", key="x") != {"ok": True, "value": 8}:
                    await asyncio.sleep(0.05)
                while len((await other.call("local-elements", key="x"))["elements"]) != 3:
                    await asyncio.sleep(0.05)


async def test_requests_that_are_none(tmp_path: Path) -> None:
    async with cluster("lww", 1, tmp_path) as servers:
        client = await servers.client("n1")
        refusal = {"error": "bad-request", "definite": True}
        for op, fields in (
            ("reed", {"key": 1}), ("read", {}), ("read", {"key": [1]}), ("read", {"key": True}), ("write", {"key": 1}),
            ("write", {"key": 1, "value": None}), ("add", {"key": 1, "element": 1.5}), ("cas", {"key": 1, "expected": 1}),
            ("cas", {"key": 1, "expected": {}, "new": 1}), ("hello", {"hello": ["n2"]}),
        ):
            assert await client.call(op, **fields) == refusal
        numbers = [client.send("write", key=1, value=value) for value in range(50)]
        assert sorted([(await client.receive())["id"] for _ in numbers]) == numbers
        for junk in (b"junk\n", b"[1]\n", b"[" * 100_000 + b"\n", b"\xff\n", b"x" * (MAX_LINE + 2)):
            other = await servers.client("n1")
            other.writer.write(junk)
            assert await other.receive() == {"id": None, **refusal}
            assert await other.reader.read() == b""
        assert await client.call("read", key=1) == {"ok": True, "value": 49}


@pytest.mark.parametrize("mode", ["majority", "majority-no-writeback", "fenced-primary"])
async def test_without_a_majority_nothing_is_answered(mode: str, tmp_path: Path) -> None:
    async with cluster(mode, 3, tmp_path) as servers:
        home = await servers.ready()
        others = [name for name in servers.names if name != home]
        client = await servers.client(home)
        await client.call("write", key="x", value=1)
        servers.signal(signal.SIGSTOP, *others)
        first = await client.call("write", key="x", value=2)
        assert first["error"] in ("timeout", "peer-lost", "demoted", "no-quorum")
        await servers.until([home], lambda statuses: not statuses[0]["ready"] and statuses[0]["primary"] is None)
        for op, fields in (("read", {}), ("write", {"value": 3}), ("elements", {}), ("add", {"element": 1})):
            answer = await client.call(op, key="x", **fields)
            assert answer["definite"] and answer["error"] in ("no-quorum", "no-lease", "not-primary")
        assert (await client.call("local-read", key="x"))["value"] in (1, 2)
        servers.signal(signal.SIGCONT, *others)
        now = await servers.client(await servers.ready())
        assert (await now.call("read", key="x"))["value"] in (1, 2)
        assert await now.call("write", key="x", value=4) == {"ok": True}


async def stop_the_primary(servers: Cluster) -> tuple[str, Client, str]:
    """Stop the primary and have another elected: the old, a client of it, the new."""
    old = await servers.ready()
    client = await servers.client(old)
    assert await client.call("write", key="x", value=1) == {"ok": True}
    assert (await client.call("read", key="x"))["value"] == 1
    await servers.until(servers.names, lambda statuses: len({status["version"] for status in statuses}) == 1)
    servers.signal(signal.SIGSTOP, old)
    rest = [name for name in servers.names if name != old]
    await servers.until(rest, lambda statuses: len({status["primary"] for status in statuses} - {None, old}) == 1
                        and all(status["ready"] and status["primary"] != old for status in statuses))
    return old, client, await servers.ready(*rest)


async def test_fenced_primary_refuses_when_it_wakes_up(tmp_path: Path) -> None:
    async with cluster("fenced-primary", 3, tmp_path) as servers:
        old, client, new = await stop_the_primary(servers)
        now = await servers.client(new)
        assert await now.call("write", key="x", value=2) == {"ok": True}
        numbers = {client.send("read", key="x"), client.send("write", key="x", value=3)}
        numbers.add(client.send("cas", key="x", expected=1, new=4))
        servers.signal(signal.SIGCONT, old)
        answers = [await client.receive() for _ in numbers]
        assert {answer["id"] for answer in answers} == numbers
        assert all(answer["definite"] and answer["error"] in ("no-lease", "not-primary") for answer in answers)
        assert await servers.ready() == new
        assert await now.call("read", key="x") == {"ok": True, "value": 2}


@pytest.mark.parametrize("mode", ["primary-async", "split-brain"])
async def test_unfenced_primary_goes_on_and_its_writes_are_lost(mode: str, tmp_path: Path) -> None:
    async with cluster(mode, 3, tmp_path) as servers:
        old, client, new = await stop_the_primary(servers)
        now = await servers.client(new)
        assert await now.call("write", key="x", value=2) == {"ok": True}
        client.send("write", key="x", value=3)
        client.send("add", key="s", element=3)
        servers.signal(signal.SIGCONT, old)
        for _ in range(2):
            assert (await client.receive())["ok"]
        if mode == "split-brain":
            assert (await client.call("status"))["role"] == "primary" == (await now.call("status"))["role"]
            assert await client.call("write", key="y", value=5) == {"ok": True}
        assert await servers.ready() == new
        for name in servers.names:
            copy = await servers.client(name)
            assert await copy.call("local-read", key="x") == {"ok": True, "value": 2}
            assert await copy.call("local-read", key="y") == {"ok": True, "value": None}
            assert await copy.call("local-elements", key="s") == {"ok": True, "elements": []}


async def test_lww_converges_to_the_last_write(tmp_path: Path) -> None:
    async with cluster("lww", 3, tmp_path) as servers:
        clients = [await servers.client(name) for name in servers.names]
        await asyncio.gather(*(client.call("add", key="s", element=i) for i, client in enumerate(clients)))
        for i, client in enumerate(clients):
            await client.call("write", key="x", value=i)
        async with asyncio.timeout(60):
            while [(await client.call("read", key="x"))["value"] for client in clients] != [2, 2, 2]:
                await asyncio.sleep(0.05)
            while len({json.dumps(await client.call("elements", key="s")) for client in clients}) > 1:
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("mode", ["majority", "fenced-primary"])
async def test_what_was_answered_outlives_the_processes(mode: str, tmp_path: Path) -> None:
    async with cluster(mode, 3, tmp_path) as servers:
        client = await servers.client(await servers.ready())
        for value in range(40):
            assert (await client.call("write", key=value % 3, value=value))["ok"]
            assert (await client.call("add", key="s", element=value))["ok"]
        await servers.kill(*servers.names)
        for name in servers.names[:2]:
            with (tmp_path / name / f"reference-{name}.jsonl").open("ab") as journal:
                journal.write(b'{"k":0,"torn')
        await servers.start(*servers.names[:2])  # A majority, one of which may have been a replica.
        client = await servers.client(await servers.ready(*servers.names[:2]))
        assert [(await client.call("read", key=key))["value"] for key in range(3)] == [39, 37, 38]
        assert (await client.call("elements", key="s"))["elements"] == list(range(40))
        assert (await client.call("write", key=0, value=40))["ok"]
        await servers.start(servers.names[2])
        await servers.ready()
        late = await servers.client(servers.names[2])
        async with asyncio.timeout(60):
            while (await late.call("local-read", key=0))["value"] != 40:
                await asyncio.sleep(0.05)
            while len((await late.call("local-elements", key="s"))["elements"]) != 40:
                await asyncio.sleep(0.05)


async def test_who_missed_the_same_step_at_two_keys_is_told_of_both(tmp_path: Path) -> None:
    """What nodes compare is no sum in which equal steps cancel out."""
    async with cluster("majority", 3, tmp_path) as servers:
        client = await servers.client(await servers.ready())
        for key in range(8):
            assert (await client.call("write", key=key, value=1))["ok"]
        third = await servers.client("n3")
        async with asyncio.timeout(60):
            while [(await third.call("local-read", key=key))["value"] for key in range(8)] != [1] * 8:
                await asyncio.sleep(0.05)
        await servers.kill("n3")
        client = await servers.client(await servers.ready("n1", "n2"))
        for key in range(8):
            assert (await client.call("write", key=key, value=2))["ok"]
        await servers.start("n3")
        await servers.ready()
        late = await servers.client("n3")
        async with asyncio.timeout(60):
            while [(await late.call("local-read", key=key))["value"] for key in range(8)] != [2] * 8:
                await asyncio.sleep(0.05)


async def test_the_witness_breaks_the_tie(tmp_path: Path) -> None:
    async with cluster("fenced-primary", 4, tmp_path) as servers:
        await servers.ready()
        servers.signal(signal.SIGSTOP, "n3", "n4")
        primary = (await servers.until(["n1", "n2"], lambda statuses: all(status["ready"] for status in statuses)
                                       and statuses[0]["primary"] in ("n1", "n2")))[0]["primary"]
        client = await servers.client(primary)
        async with asyncio.timeout(60):
            while "error" in await client.call("write", key="x", value=1):
                await asyncio.sleep(0.05)
        servers.signal(signal.SIGCONT, "n3", "n4")
        await servers.ready()
        servers.signal(signal.SIGSTOP, "n1", "n2")
        await servers.until(["n3", "n4"], lambda statuses: all(status["primary"] is None for status in statuses))
        assert (await (await servers.client("n3")).call("write", key="x", value=2))["definite"]


async def record(
    servers: Cluster, seconds: float, disturb: Callable[[], Coroutine[Any, Any, None]], least: int = 25
) -> list[Operation]:
    """Two workers on every node, one with registers and one with sets, which find the primary by the status of their node;
    what they did. `disturb` is called after a quarter of the time. A slow machine goes on until `least` calls of each sort
    were answered, a minute at most."""
    operations: list[Operation] = []
    processes, values = count(), count(1)
    answered = {True: 0, False: 0}
    end = time.monotonic() + seconds

    def goes_on() -> bool:
        late = time.monotonic() - end
        return late < 0 or (late < 60 and min(answered.values()) < least)

    async def work(home: str, sets: bool) -> None:
        rng, process = random.Random(f"{home} {sets}"), next(processes)
        last: dict[str, Any] = {}
        clients: dict[str, Client] = {}
        while goes_on():
            server, key, value, kind = home, f"{'s' if sets else 'r'}{rng.randrange(3)}", next(values), rng.random()
            outcome: Outcome = "info"
            error: str | None = None
            seen: tuple[Any, ...] = ()
            fields: dict[str, Any] = {}
            argument: Any = value
            if kind < 0.4:
                f = "elements" if sets else "read"
            elif sets:
                f, fields = "add", {"element": value}
            elif kind < 0.7:
                f, fields = "write", {"value": value}
            else:
                f, fields, argument = "cas", {"expected": last.get(key), "new": value}, (last.get(key), value)
            invoked = time.monotonic_ns()
            try:
                async with asyncio.timeout(1):
                    if servers.mode in WITH_PRIMARY:
                        if home not in clients:
                            clients[home] = await servers.client(home)
                        server = (await clients[home].call("status"))["primary"] or home
                    if server not in clients:
                        clients[server] = await servers.client(server)
                    answer = await clients[server].call(f, key=key, **fields)
                if "error" in answer:
                    outcome, error = "fail" if answer["definite"] else "info", answer["error"]
                elif not answer["ok"]:
                    outcome, error, seen, last[key] = "fail", "mismatch", (answer["seen"],), answer["seen"]
                else:
                    outcome = "ok"
                    answered[sets] += 1
                    if f in ("read", "elements"):
                        argument = last[key] = answer["value"] if f == "read" else tuple(answer["elements"])
            except (TimeoutError, OSError):
                for client in clients.values():
                    client.writer.close()
                clients.clear()
            if f not in ("read", "elements") or outcome == "ok":
                operations.append(
                    Operation(process=process, f="read" if f == "elements" else f, key=key, value=argument, outcome=outcome,
                              error=error, seen=seen, invoked=invoked, completed=time.monotonic_ns(), node=home)
                )
            if outcome == "info":
                process = next(processes)
            await asyncio.sleep(0.02 if sets or outcome != "ok" else 0)
        for client in clients.values():
            client.writer.close()

    async with asyncio.TaskGroup() as group:
        for home in servers.names:
            group.create_task(work(home, sets=False))
            group.create_task(work(home, sets=True))
        await asyncio.sleep(seconds / 4)
        await disturb()
    return operations


def valid(operations: list[Operation], model: Model) -> bool:
    history = History.of(operations)
    decisions = [search(history.select(rows), model, max_steps=500_000).valid for _, rows in history.by_key()]
    assert None not in decisions
    return all(decisions)


@pytest.mark.parametrize("mode", ["majority", "fenced-primary", "lww"])
async def test_linearizable_or_not(mode: str, tmp_path: Path) -> None:
    """While one node is stopped and another, later, killed and started again; `lww` is the proof that the test can fail."""
    async with cluster(mode, 5, tmp_path) as servers:
        first = await servers.ready()
        second = next(name for name in servers.names if name != first)

        async def disturb() -> None:
            if mode != "lww":
                servers.signal(signal.SIGSTOP, first)
                await asyncio.sleep(1.1)
                servers.signal(signal.SIGCONT, first)
                await servers.kill(second)
                await servers.start(second)

        operations = await record(servers, 0.6 if mode == "lww" else 2.2, disturb, least=200 if mode == "lww" else 25)
        for sort, model in (("r", CasRegister()), ("s", Set())):
            some = [operation for operation in operations if str(operation.key).startswith(sort)]
            assert sum(operation.outcome == "ok" for operation in some) > 20
            assert valid(some, model) == (mode != "lww")


@pytest.mark.parametrize("mode", ["primary-async", "fenced-primary"])
async def test_elections_end_under_load(mode: str, tmp_path: Path) -> None:
    """While busy loops take the processors and replicas differ in what they hold."""
    busy = [await asyncio.create_subprocess_exec(sys.executable, "-c", "while True: pass") for _ in range(4)]
    try:
        async with cluster(mode, 5, tmp_path) as servers:
            for _ in range(3):
                primary = await servers.ready()
                client = await servers.client(primary)
                for value in range(500):
                    client.send("write", key=value % 10, value=value)
                await client.writer.drain()
                await client.receive()
                servers.signal(signal.SIGSTOP, primary)
                rest = [name for name in servers.names if name != primary]
                async with asyncio.timeout(60):
                    await servers.until(rest, lambda statuses, old=primary: any(  # type: ignore[misc]
                        status["role"] == "primary" and status["name"] != old for status in statuses))
                servers.signal(signal.SIGCONT, primary)
    finally:
        for loop in busy:
            loop.kill()
            await loop.wait()
