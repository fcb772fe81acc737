"""The modes of the reference server whose operations or answers are their own: what each must show while its links are cut, and
what after. Where two modes differ in one thing, the one is the proof that the test of the other can fail."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from splitbrain import Operation
from splitbrain.checkers.transactions import check
from splitbrain.harness.databases.reference.server.command import MODES
from splitbrain.harness.databases.reference.server.modes.dynamo import preference
from splitbrain.harness.history.history import History
from tests.harness.databases.servers import Client, Cluster, cluster
from tests.harness.databases.test_reference_server import MODES as TESTED_THERE

pytestmark = pytest.mark.timeout(250)

OK = {"ok": True}
NO_QUORUM = {"error": "no-quorum", "definite": True}


async def clients(servers: Cluster) -> list[Client]:
    return [await servers.client(name) for name in servers.names]


async def until(holds: Callable[[], Any], limit: float = 60.0) -> None:
    """Wait until a coroutine function says so."""
    async with asyncio.timeout(limit):
        while not await holds():
            await asyncio.sleep(0.05)


async def agree(servers: Cluster, op: str, **fields: Any) -> dict[str, Any]:
    """Wait until all servers answer the same; the answer."""
    everyone = await clients(servers)
    answers: list[dict[str, Any]] = []

    async def same() -> bool:
        answers[:] = [await client.call(op, **fields) for client in everyone]
        return all(answer == answers[0] and "error" not in answer for answer in answers)

    await until(same)
    return answers[0]


async def refused(call: Callable[[], Awaitable[dict[str, Any]]]) -> None:
    """Wait until a call is refused for want of a quorum. Who has not noticed yet may say that it cannot tell, and no more."""

    async def for_want_of_a_quorum() -> bool:
        answer = await call()
        assert "ok" not in answer, answer
        return answer == NO_QUORUM

    await until(for_want_of_a_quorum)


async def cut(servers: Cluster, *sides: list[str]) -> None:
    """Cut, and wait until the nodes have noticed."""
    servers.links.cut(*sides)
    await asyncio.sleep(1)


@pytest.mark.parametrize("mode", ["vector-clock", "merge", "merge-tombstones", "lww"])
async def test_additions_on_two_sides(mode: str, tmp_path: Path) -> None:
    """A union keeps both; the last write, which replaces the set, loses one."""
    async with cluster(mode, 3, tmp_path) as servers:
        one, two, _ = await clients(servers)
        await one.call("add", key="s", element=1)
        assert await agree(servers, "elements", key="s") == {"ok": True, "elements": [1]}
        await cut(servers, ["n1"], ["n2", "n3"])
        assert await one.call("add", key="s", element=2) == OK == await two.call("add", key="s", element=3)
        assert sorted((await one.call("elements", key="s"))["elements"]) == [1, 2]
        servers.links.heal()
        elements = sorted((await agree(servers, "local-elements", key="s"))["elements"])
        if mode == "lww":
            async def converged() -> bool:
                return len((await one.call("elements", key="s"))["elements"]) == 2 and (
                    await one.call("elements", key="s") == await two.call("elements", key="s")
                )
            await until(converged)
        else:
            async def merged() -> bool:
                return sorted((await agree(servers, "elements", key="s"))["elements"]) == [1, 2, 3]
            await until(merged)
        assert elements


async def test_siblings_are_kept_until_they_are_overwritten_knowingly(tmp_path: Path) -> None:
    async with cluster("vector-clock", 3, tmp_path) as servers:
        one, two, three = await clients(servers)
        await one.call("write", key="x", value=1)
        assert await agree(servers, "siblings", key="x") == {"ok": True, "elements": [1]}
        await cut(servers, ["n1"], ["n2", "n3"])
        for client, value in ((one, 5), (one, 2), (two, 3)):
            assert await client.call("write", key="x", value=value) == OK
        servers.links.heal()

        async def two_siblings() -> bool:
            return sorted((await agree(servers, "siblings", key="x"))["elements"]) == [2, 3]

        await until(two_siblings)
        assert (await agree(servers, "read", key="x"))["value"] == 3
        assert await three.call("write", key="x", value=1) == OK
        await until(lambda: _is(servers, [1]))


async def _is(servers: Cluster, elements: list[int]) -> bool:
    return bool((await agree(servers, "siblings", key="x"))["elements"] == elements)


@pytest.mark.parametrize("mode", ["merge", "merge-tombstones"])
async def test_what_becomes_of_a_removed_element(mode: str, tmp_path: Path) -> None:
    async with cluster(mode, 3, tmp_path) as servers:
        one, two, _ = await clients(servers)
        for element in (1, 2):
            await one.call("add", key="s", element=element)
        assert await agree(servers, "elements", key="s") == {"ok": True, "elements": [1, 2]}
        await cut(servers, ["n1"], ["n2", "n3"])
        assert await one.call("remove", key="s", element=1) == OK == await two.call("add", key="s", element=3)
        assert (await one.call("elements", key="s"))["elements"] == [2]
        servers.links.heal()

        async def merged() -> bool:
            return bool((await agree(servers, "elements", key="s"))["elements"] == ([1, 2, 3] if mode == "merge" else [2, 3]))

        await until(merged)


async def test_of_two_first_writes_one_is_compensated(tmp_path: Path) -> None:
    async with cluster("first-write-wins", 3, tmp_path) as servers:
        one, two, three = await clients(servers)
        assert await one.call("cas", key="seat 1", expected=None, new=1) == OK
        await agree(servers, "read", key="seat 1")
        assert await three.call("cas", key="seat 1", expected=None, new=2) == {"ok": False, "seen": 1}
        assert await three.call("write", key="seat 1", value=2) == {"error": "taken", "definite": True}
        await cut(servers, ["n1"], ["n2", "n3"])
        assert await two.call("cas", key="seat 2", expected=None, new=3) == OK
        assert await one.call("cas", key="seat 2", expected=None, new=4) == OK
        servers.links.heal()

        async def compensated() -> bool:
            return bool((await agree(servers, "compensated", key="seat 2"))["elements"] == [4])

        await until(compensated)
        assert (await agree(servers, "read", key="seat 2"))["value"] == 3
        assert (await agree(servers, "compensated", key="seat 1"))["elements"] == []


async def test_a_counter_is_right_after_the_heal_and_after_a_kill(tmp_path: Path) -> None:
    async with cluster("counter-crdt", 3, tmp_path) as servers:
        one, two, three = await clients(servers)
        for client, amount in ((one, 1), (two, 10), (three, 100)):
            assert await client.call("increment", key="c", amount=amount) == OK
        assert await one.call("increment", key="c", amount=-1) == {"error": "unsupported", "definite": True}
        assert (await agree(servers, "count", key="c"))["value"] == 111
        await cut(servers, ["n1"], ["n2", "n3"])
        for client in (one, two):
            assert await client.call("increment", key="c", amount=1000) == OK
        assert (await one.call("count", key="c"))["value"] == 1111
        await servers.kill("n1")
        servers.links.heal()
        await servers.start("n1")
        again = await servers.client("n1")
        assert await again.call("increment", key="c", amount=10_000) == OK

        async def right() -> bool:
            return bool((await agree(servers, "local-count", key="c"))["value"] == 12_111)

        await until(right)


async def test_the_ledger_is_overdrawn_and_its_total_conserved(tmp_path: Path) -> None:
    async with cluster("ap-ledger", 3, tmp_path) as servers:
        one, two, _ = await clients(servers)
        keys = ["a", "b", "c"]
        await one.call("deposit", key="a", amount=100)
        assert (await agree(servers, "balances", keys=keys))["balances"] == [100, 0, 0]
        await cut(servers, ["n1"], ["n2", "n3"])
        assert await one.call("transfer", source="a", target="b", amount=80) == OK
        assert await one.call("transfer", source="a", target="b", amount=80) == {"ok": False, "seen": 20}
        assert await two.call("transfer", source="a", target="c", amount=70) == OK
        assert (await one.call("balances", keys=keys))["balances"] == [20, 80, 0]
        servers.links.heal()

        async def merged() -> bool:
            return bool((await agree(servers, "local-balances", keys=keys))["balances"] == [-50, 80, 70])

        await until(merged)


async def test_two_phase_conserves_the_total_and_blocks_the_minority(tmp_path: Path) -> None:
    keys = [0, 1, 2, 3]
    async with cluster("two-phase", 3, tmp_path) as servers:
        everyone = await clients(servers)
        for key in keys:
            assert await everyone[0].call("deposit", key=key, amount=50) == OK
        assert await everyone[1].call("transfer", source=0, target=1, amount=51) == {"ok": False, "seen": 50}
        stop = asyncio.Event()
        seen: list[list[int]] = []
        moved = 0

        async def work(client: Client, number: int) -> None:
            nonlocal moved
            rng = random.Random(number)
            while not stop.is_set():
                if number % 2:
                    answer = await client.call("balances", keys=keys)
                    if answer.get("ok"):
                        seen.append(answer["balances"])
                else:
                    source, target = rng.sample(keys, 2)
                    answer = await client.call("transfer", source=source, target=target, amount=5)
                    moved += bool(answer.get("ok"))

        async with asyncio.TaskGroup() as group:
            for number, name in enumerate([*servers.names, *servers.names]):
                group.create_task(work(await servers.client(name), number))
            await asyncio.sleep(1)
            servers.links.cut(["n1"], ["n2", "n3"])  # In the midst of it: locks of the minority's stay behind.
            await asyncio.sleep(0.8)
            before, there = len(seen), moved
            await refused(lambda: everyone[0].call("transfer", source=0, target=1, amount=1))
            await refused(lambda: everyone[0].call("balances", keys=keys))
            await asyncio.sleep(1.2)

            async def goes_on() -> bool:
                return len(seen) > before and moved > there

            await until(goes_on)
            servers.links.heal()
            await asyncio.sleep(0.5)
            stop.set()
        assert {sum(balances) for balances in seen} == {200}
        assert all(balance >= 0 for balances in seen for balance in balances)
        assert sum((await everyone[0].call("balances", keys=keys))["balances"]) == 200


async def test_all_sync_blocks_all_writes_and_no_reads(tmp_path: Path) -> None:
    async with cluster("all-sync", 3, tmp_path) as servers:
        everyone = await clients(servers)
        for number, client in enumerate(everyone):
            for key in range(4):
                assert await client.call("write", key=key, value=number) == OK
                for other in everyone:  # At once, everywhere.
                    assert await other.call("read", key=key) == {"ok": True, "value": number}
            assert await client.call("add", key="s", element=number) == OK
        assert await everyone[0].call("cas", key=0, expected=1, new=7) == {"ok": False, "seen": 2}
        assert await everyone[0].call("cas", key=0, expected=2, new=7) == OK
        await agree(servers, "read", key=0)  # Nobody is in doubt.
        await cut(servers, ["n1"], ["n2", "n3"])
        await servers.until(servers.names, lambda statuses: not any(status["ready"] for status in statuses))
        for client in everyone:
            for key in range(4):
                assert (await client.call("write", key=key, value=9))["error"] in ("no-quorum", "peer-lost", "timeout")
                assert (await client.call("read", key=key))["value"] == (2 if key else 7)
        servers.links.heal()
        await servers.ready()

        async def goes_on() -> bool:
            return all([await client.call("write", key=key, value=5) == OK for key in range(4) for client in everyone])

        await until(goes_on)
        await servers.kill("n2")
        await servers.start("n2")
        await servers.ready()
        back = await servers.client("n2")
        assert (await back.call("read", key=3))["value"] == 5
        assert sorted((await back.call("elements", key="s"))["elements"]) == [0, 1, 2]


@pytest.mark.parametrize("apart", [False, True])
async def test_clocks_apart_lose_acknowledged_writes(apart: bool, tmp_path: Path) -> None:
    async with cluster("quorum-clock", 3, tmp_path, skews={"n1": 2.0} if apart else {}) as servers:
        one, two, three = await clients(servers)
        for value in range(0, 10, 2):
            assert await one.call("write", key="x", value=value) == OK
            assert await two.call("write", key="x", value=value + 1) == OK
            assert (await three.call("read", key="x"))["value"] == (value if apart else value + 1)
        await cut(servers, ["n1"], ["n2", "n3"])
        await refused(lambda: one.call("write", key="x", value=10))
        await refused(lambda: one.call("read", key="x"))
        assert await two.call("write", key="x", value=10) == OK


@pytest.mark.parametrize("mode", ["dynamo-one", "dynamo-quorum", "dynamo-sloppy"])
async def test_dynamo(mode: str, tmp_path: Path) -> None:
    """One key, five nodes; its first replica is cut off together with a node that holds none of it."""
    async with cluster(mode, 5, tmp_path) as servers:
        order = preference(servers.names, "x")
        few, many = [order[0], order[3]], [order[1], order[2], order[4]]
        lonely, other = await servers.client(order[3]), await servers.client(order[4])
        assert await lonely.call("write", key="x", value=1) == OK
        await lonely.call("add", key="x", element=1)

        async def spread() -> bool:
            copies = [await (await servers.client(name)).call("local-read", key="x") for name in order[:3]]
            return [copy["value"] for copy in copies] == [1, 1, 1]

        await until(spread)
        for name in order[3:]:
            assert (await (await servers.client(name)).call("local-read", key="x"))["value"] is None
        await cut(servers, few, many)

        async def written() -> bool:  # Who has not noticed the cut yet may not be able to tell.
            return await other.call("write", key="x", value=2) == OK

        await until(written)
        assert (await other.call("read", key="x"))["value"] == 2
        if mode == "dynamo-quorum":
            await refused(lambda: lonely.call("read", key="x"))
            await refused(lambda: lonely.call("add", key="x", element=2))
        else:
            assert await lonely.call("read", key="x") == {"ok": True, "value": 1}, "stale"
            assert await lonely.call("add", key="x", element=2) == OK
        assert await other.call("add", key="x", element=3) == OK
        servers.links.heal()
        elements = [1, 3] if mode == "dynamo-quorum" else [1, 2, 3]

        async def handed_over() -> bool:
            holders = [await servers.client(name) for name in order[:3]]
            copies = [(await holder.call("local-read", key="x"), await holder.call("local-elements", key="x"))
                      for holder in holders]
            return all((value["value"], sorted(held["elements"])) == (2, elements) for value, held in copies)

        await until(handed_over)


TRANSACTIONAL = tuple(mode for mode in MODES if mode.startswith("txn-"))


async def transactions(servers: Cluster, seconds: float, least: int = 200) -> tuple[list[list[Any]], list[list[Any]]]:
    """Micro-operations of the transactions that were committed, and of those that were not, of several clients; every one reads
    two registers and writes one of them, and reads two lists and appends to one. A slow machine goes on until `least` were
    committed, a minute at most."""
    primary = await servers.ready()
    committed: list[list[Any]] = []
    rolled_back: list[list[Any]] = []
    end = asyncio.get_running_loop().time() + seconds
    values = iter(range(1, 1_000_000))

    def goes_on() -> bool:
        late = asyncio.get_running_loop().time() - end
        return late < 0 or (late < 60 and len(committed) < least)

    async def work(number: int) -> None:
        client, rng = await servers.client(primary), random.Random(number)
        while goes_on():
            a, b = rng.sample(range(3), 2)
            value = next(values)
            micros = [["r", a, None], ["r", b, None], ["w", a, value], ["r", f"l{a}", None], ["r", f"l{b}", None],
                      ["append", f"l{b}", value]]
            answer = await client.call("txn", micros=micros)
            if answer.get("ok"):
                committed.append(answer["micros"])
            elif answer["definite"]:
                rolled_back.append(micros)
                if answer["error"] != "conflict":  # A busy machine may have it lose its lease, or have another primary.
                    client = await servers.client(await servers.ready())

    async with asyncio.TaskGroup() as group:
        for number in range(6):
            group.create_task(work(number))
    return committed, rolled_back


@pytest.mark.parametrize("mode", TRANSACTIONAL)
async def test_transactions_and_what_was_planted(mode: str, tmp_path: Path) -> None:
    """What a level forbids is not seen, and what is planted is."""
    async with cluster(mode, 3, tmp_path) as servers:
        committed, rolled_back = await transactions(servers, 1.5)
        reader = await servers.client(await servers.ready())
        final = {key: value for _, key, value in
                 (await reader.call("txn", micros=[["r", f"l{key}", None] for key in range(3)]))["micros"]}
    assert len(committed) > 20
    undone = {micros[2][2] for micros in rolled_back}
    seen = {value for micros in committed for _, key, values in micros[3:5] for value in values or ()}
    aborted_reads = bool(undone & seen) or any(micro[2] in undone for micros in committed for micro in micros[:2])
    assert aborted_reads == (mode == "txn-read-committed-dirty")
    lost = {micros[5][2] for micros in committed} - {value for values in final.values() for value in values or ()}
    assert bool(lost) == (mode == "txn-snapshot-lost-update")


@pytest.mark.parametrize("mode", TRANSACTIONAL)
async def test_read_skew(mode: str, tmp_path: Path) -> None:
    """Two keys that are only written together, and always the same."""
    async with cluster(mode, 3, tmp_path) as servers:
        primary = await servers.ready()
        writer, reader = await servers.client(primary), await servers.client(primary)
        skewed, stop = 0, asyncio.Event()

        async def write() -> None:
            value = 0
            while not stop.is_set():
                value += 1
                await writer.call("txn", micros=[["w", "a", value], ["w", "b", value]])

        planted = mode.startswith("txn-read-committed") or mode == "txn-snapshot-read-skew"
        writing = asyncio.create_task(write())
        turns = 0
        while turns < 150 or (planted and not skewed and turns < 5000):  # A writer that has no turn plants nothing.
            turns += 1
            answer = await reader.call("txn", micros=[["r", "a", None], ["r", "b", None]])
            skewed += answer["micros"][0][2] != answer["micros"][1][2]
        stop.set()
        await writing
        assert (skewed > 0) == planted


@pytest.mark.parametrize("mode", ["txn-snapshot", "txn-snapshot-read-skew"])
async def test_half_of_a_commit_is_all_that_a_skewed_snapshot_shows(mode: str, tmp_path: Path) -> None:
    """Transactions that append to two lists, and others that read all of them."""
    done: list[Operation] = []
    values = iter(range(1, 1_000_000))

    async def work(client: Client, rng: random.Random, reads: bool) -> None:
        for _ in range(25):
            keys = rng.sample(["a", "b", "c", "d"], 4 if reads else 2)
            micros = [["r", key, None] if reads else ["append", key, next(values)] for key in keys]
            answer = await client.call("txn", micros=micros)
            outcome: Any = "ok" if answer.get("ok") else "fail" if answer["definite"] else "info"
            told = answer["micros"] if outcome == "ok" else micros
            done.append(Operation(
                process=len(done), f="txn", invoked=0, completed=None if outcome == "info" else 1, outcome=outcome,
                value=[(f, key, tuple(value) if isinstance(value, list) else value) for f, key, value in told],
            ))

    async with cluster(mode, 3, tmp_path) as servers:
        primary = await servers.ready()
        workers = [(await servers.client(primary), random.Random(number), number % 2 == 0) for number in range(8)]
        found: set[str] = set()
        planted = {"G-single"} if mode == "txn-snapshot-read-skew" else set()
        while len(done) < 800 or (planted - found and len(done) < 8000):
            await asyncio.gather(*(work(*worker) for worker in workers))
            found = set(check(History.of(done)).counts)
    assert planted <= found <= planted | {"G2-item"}


@pytest.mark.parametrize("mode", ["txn-serializable", "txn-serializable-write-skew", "txn-snapshot"])
async def test_write_skew(mode: str, tmp_path: Path) -> None:
    """Two that each read both and write one: serializable if at least one of them sees the other, or is rolled back."""
    async with cluster(mode, 3, tmp_path) as servers:
        primary = await servers.ready()
        one, two = await servers.client(primary), await servers.client(primary)
        skewed = turn = 0
        while turn < 60 or (mode != "txn-serializable" and not skewed and turn < 2000):
            turn += 1
            a, b = f"a{turn}", f"b{turn}"
            answers = await asyncio.gather(
                one.call("txn", micros=[["r", a, None], ["r", b, None], ["w", a, 1]]),
                two.call("txn", micros=[["r", a, None], ["r", b, None], ["w", b, 1]]),
            )
            skewed += all(answer.get("ok") and answer["micros"][0][2] is answer["micros"][1][2] is None for answer in answers)
        assert (skewed > 0) == (mode != "txn-serializable")


async def test_no_mode_is_left_out() -> None:
    here = {"vector-clock", "merge", "merge-tombstones", "first-write-wins", "counter-crdt", "ap-ledger", "two-phase",
            "all-sync", "quorum-clock", "dynamo-one", "dynamo-quorum", "dynamo-sloppy"}
    elsewhere = {"majority-amnesia", "majority-switch"}  # test_reference_members.py, test_reference_switch.py
    assert set(MODES) == {*TESTED_THERE, *TRANSACTIONAL, *here, *elsewhere}
    assert all("Known answer: " in " ".join((mode.__doc__ or "").split()) for mode in MODES.values())
