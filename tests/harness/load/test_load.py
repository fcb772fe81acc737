"""Workers: homes, routes, outcomes, processes; against a scripted database, so that each answer is known."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import networkx as nx
import pytest

from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import DETAIL, Indeterminate, Mismatch, Refused
from splitbrain.harness.history.journal import Header, Journal, load
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Placement
from splitbrain.harness.history.variant import Claim, Route, Variant
from splitbrain.harness.load.load import TURNED_AWAY, Load
from splitbrain.harness.load.problems import MANY, Problems
from splitbrain.harness.load.route import Router
from splitbrain.harness.plan import Plan
from splitbrain.harness.testbeds.testbed import Connectivity, Node, everything
from splitbrain.workloads.register import Register

NAMES = ("n1", "n2", "n3")
Answer = Callable[[str], Any]


def variant(route: Route) -> Variant:
    return Variant(name="v", summary="", reads=route, writes=route, claim=Claim(text="", source=""))


class Scripted(Database):
    """Answers every call with what `answer` returns or raises for the server's name."""

    name = "scripted"
    variants = (variant("home"),)
    programs = ()
    port = 1

    def __init__(self, plan: Plan, answer: Answer, route: Route = "home", primary: str | None = None) -> None:
        nodes: Any = [SimpleNamespace(name=name) for name in NAMES]
        super().__init__(plan, nodes)
        self.variant = variant(route)
        self.named = primary
        self.answer = answer
        self.connections = 0

    async def start(self) -> None: ...

    async def ready(self) -> bool:
        return True

    async def connect(self, server: Node) -> Any:
        self.connections += 1
        return ScriptedClient(self, server.name)

    async def primary(self, node: Node) -> str | None:
        return self.named

    async def local(self, node: Node) -> Any:
        return await self.connect(node)

    async def versions(self) -> dict[str, str]:
        return {}


class ScriptedClient:
    def __init__(self, database: Scripted, server: str) -> None:
        self._database = database
        self._server = server

    async def _call(self, *_: Any) -> Any:
        await asyncio.sleep(0.001)
        found = self._database.answer(self._server)
        return await found if asyncio.iscoroutine(found) else found

    read = write = cas = _call

    async def close(self) -> None: ...


async def work(
    tmp_path: Path, database: Scripted, seconds: float = 0.2, links: Connectivity | None = None,
    during: Callable[[Load, Router], Any] | None = None, told: list[str] | None = None, calls: int = 10,
) -> list[Operation]:
    """The history of so many seconds of load, and on a slow machine of so many more that every home made some calls after what
    was done `during` it; what was told of the database's own code is appended to `told`."""
    problems = Problems((told if told is not None else []).append)
    began = time.monotonic_ns()
    journal = Journal(tmp_path / "journal.jsonl")
    journal.header(Header(run="r", plan=database.plan, variant=database.variant, nodes=NAMES, started="", version=""))
    linked = everything(NAMES) if links is None else links
    router = Router(database, linked, journal.view, lambda: time.monotonic_ns() - began, problems)
    await router.look()
    workload = Register(database.plan, frozenset({"registers"}))
    made = Load(database.plan, database, workload, router, journal, lambda: time.monotonic_ns() - began, problems)
    running = asyncio.create_task(made.run(60 if seconds else 0.0))
    if during is not None:
        await during(made, router)
    before = {home: made.calls([home]) for home in NAMES}
    if seconds:
        await asyncio.sleep(seconds - (time.monotonic_ns() - began) / 1e9)
        while not running.done() and any(made.calls([home]) < before[home] + calls for home in NAMES):
            await asyncio.sleep(0.01)
        made.stop()
    await running
    await made.close()
    journal.end(1, interrupted=False)
    journal.close()
    return list(load(tmp_path / "journal.jsonl")[1].history)


def plan(**fields: Any) -> Plan:
    return Plan(database="scripted", variant="v", nodes=3, **({"concurrency": 2, "timeout": 10.0} | fields))


def refuse(reason: str) -> Answer:
    def answer(server: str) -> Any:
        raise Refused(reason)

    return answer


async def test_every_worker_calls_its_home(tmp_path: Path) -> None:
    operations = await work(tmp_path, Scripted(plan(), lambda server: 1))
    assert {op.node for op in operations} == set(NAMES)
    assert all(op.server == op.node and op.outcome == "ok" for op in operations)
    assert len({op.process for op in operations}) == 6


@pytest.mark.parametrize("reach", [NAMES, ("n2", "n3")], ids=["answered", "nobody-to-ask"])
async def test_without_think_time_who_waits_for_nothing_gives_others_their_turn(tmp_path: Path, reach: tuple[str, ...]) -> None:
    class AtOnce(ScriptedClient):
        async def _call(self, *_: Any) -> Any:
            return 1

        read = write = cas = _call

    class Database(Scripted):
        async def connect(self, server: Node) -> Any:
            return AtOnce(self, server.name)

        def shard(self, key: Any) -> int:
            if next(calls) > 100_000:
                pytest.fail("somebody has every turn")
            return 0

    calls = count()
    links = everything(NAMES)
    links.remove_edges_from([(a, b) for a, b in list(links.edges) if a not in reach or b not in reach])
    operations = await work(tmp_path, Database(plan(think=0.0), lambda server: 1, "primary", "n2"), 0.02, links)
    made = Counter(op.process for op in operations if op.node in reach)
    assert len(made) == 2 * len(reach) and max(made.values()) - min(made.values()) <= 1
    assert {op.outcome for op in operations if op.node not in reach} <= {"fail"}


@pytest.mark.parametrize("cut", [True, False], ids=["no-way-to-the-primary", "no-connection"])
async def test_without_think_time_who_reaches_no_server_waits_a_moment(tmp_path: Path, cut: bool) -> None:
    class Database(Scripted):
        async def connect(self, server: Node) -> Any:
            if server.name == "n1":
                raise Refused("no-connection")
            return await super().connect(server)

    links = everything(NAMES)
    links.remove_edge("n1", "n2")
    database = Database(plan(think=0.0), lambda server: 1, *(("primary", "n2") if cut else ()))
    operations = await work(tmp_path, database, 0.1, links)
    refused = [op for op in operations if op.node == "n1"]
    assert {op.error for op in refused} == {"no-primary-in-reach" if cut else "no-connection"}
    for process in {op.process for op in refused}:
        at = [op.invoked for op in refused if op.process == process]
        apart = [b - a for a, b in pairwise(at)]
        assert len(at) > 3 and min(apart) > TURNED_AWAY / 2 * 1e9, "a fast event loop counts in milliseconds"


@pytest.mark.parametrize("answer", [lambda server: 1, refuse("no-leader")], ids=["answered", "refused"])
async def test_who_calls_another_node_goes_the_way_of_a_packet_to_it_and_back(tmp_path: Path, answer: Answer) -> None:
    async def late(made: Load, router: Router) -> None:
        router.delay({("n2", "n1"): 0.02, ("n1", "n2"): 0.03, ("n3", "n2"): 60.0})

    operations = await work(tmp_path, Scripted(plan(), answer, "primary", "n1"), 0.3, during=late)
    took = {home: [(op.completed or 0) - op.invoked for op in operations if op.node == home] for home in NAMES}
    assert all(took.values()) and min(took["n2"]) >= 50e6
    assert min(took["n1"]) < 50e6 > min(took["n3"]), "nothing delays these"
    assert all(op.outcome in ("ok", "fail") for op in operations)


async def test_the_replicas_of_every_key_are_recorded_where_they_are_not_all_nodes(tmp_path: Path) -> None:
    class Placed(Scripted):
        def replicas(self, key: Any) -> tuple[str, ...]:
            return NAMES[::-1] if key == 0 else NAMES[: key + 1]

    operations = await work(tmp_path, Placed(plan(keys=3), lambda server: 1))
    assert {op.key for op in operations} == {0, 1, 2}
    placements = load(tmp_path / "journal.jsonl")[1].placements
    assert sorted(placements, key=str) == [Placement(1, ("n1", "n2"))]


async def test_after_an_indeterminate_write_the_worker_is_a_new_process(tmp_path: Path) -> None:
    def answer(server: str) -> Any:
        raise Indeterminate("connection-lost")

    database = Scripted(plan(), answer)
    operations = await work(tmp_path, database)
    writes = [op for op in operations if op.f == "write"]
    assert writes and all(op.outcome == "info" for op in writes)
    assert all(op.outcome == "fail" for op in operations if op.f == "read"), "a read that was not answered changed nothing"
    for write in writes:
        assert not [op for op in operations if op.process == write.process and op.invoked > write.invoked]
    assert database.connections >= len(operations) - 6, "a connection whose call is indeterminate is not used again"


async def test_a_refusal_keeps_process_and_connection(tmp_path: Path) -> None:
    database = Scripted(plan(), refuse("no-leader"))
    operations = await work(tmp_path, database)
    assert {(op.outcome, op.error) for op in operations} == {("fail", "no-leader")}
    assert len({op.process for op in operations}) == 6 == database.connections


async def test_what_the_server_said_is_kept_beside_the_reason(tmp_path: Path) -> None:
    def told(server: str) -> Any:
        raise Indeterminate("unknown-error", "ERR\x1b[2J <b>the disk</b>\nis full" + "." * 1000)

    def caused(server: str) -> Any:
        try:
            raise ConnectionResetError("reset by peer")
        except ConnectionResetError as error:
            raise Refused("no-connection") from error

    def broken(server: str) -> Any:
        raise KeyError("primary")

    for number, (answer, expected) in enumerate((
        (told, ("ERR\x1b[2J <b>the disk</b> is full" + "." * 1000)[:DETAIL]),
        (caused, "ConnectionResetError: reset by peer"), (broken, "KeyError: 'primary'"), (refuse("no-leader"), None),
    )):
        (tmp_path / str(number)).mkdir()
        operations = await work(tmp_path / str(number), Scripted(plan(), answer), seconds=0.1)
        assert {op.detail for op in operations} == {expected}


async def test_every_call_is_journaled_with_its_kind(tmp_path: Path) -> None:
    operations = await work(tmp_path, Scripted(plan(), lambda server: 1))
    assert {(op.f, op.kind) for op in operations} == {("read", "read"), ("write", "write")}


async def test_a_mismatch_is_an_answer_with_what_was_seen(tmp_path: Path) -> None:
    def answer(server: str) -> Any:
        raise Mismatch(7)

    operations = await work(tmp_path, Scripted(plan(), answer))
    assert all(op.answered and op.error == "mismatch" and tuple(op.seen) == (7,) for op in operations)


async def test_a_call_that_is_not_answered_in_time_is_indeterminate(tmp_path: Path) -> None:
    operations = await work(tmp_path, Scripted(plan(timeout=0.1), lambda server: asyncio.sleep(60)))
    assert all(op.error == "timeout" for op in operations)
    assert all(op.outcome == ("fail" if op.f == "read" else "info") for op in operations)


async def test_a_worker_whose_call_hung_tries_the_other_kind_next(tmp_path: Path) -> None:
    operations = await work(tmp_path, Scripted(plan(timeout=0.05), lambda server: asyncio.sleep(60)), seconds=0.5)
    for home in NAMES:
        made = [op.f for op in operations if op.node == home]
        assert made.count("write") >= len(made) // 4 - 1 > 0, "one of two workers only reads, the other one takes turns"


async def test_a_worker_whose_call_was_refused_at_once_goes_on_as_ever(tmp_path: Path) -> None:
    operations = await work(tmp_path, Scripted(plan(), refuse("no-leader")), seconds=1.0, calls=110)
    writes = sum(op.f == "write" for op in operations)
    assert len(operations) > 300 and writes < len(operations) * 0.25, "15% of the calls of a mixed worker and a reader"


async def test_a_primary_across_a_cut_is_out_of_reach(tmp_path: Path) -> None:
    one_way: Connectivity = nx.DiGraph([("n1", "n2"), ("n2", "n1"), ("n1", "n3")])  # n3 hears the primary, and is not heard
    database = Scripted(plan(), lambda server: 1, "primary", "n1")
    operations = await work(tmp_path, database, links=one_way)
    for op in operations:
        if op.node == "n3":
            assert (op.outcome, op.error, op.server) == ("fail", "no-primary-in-reach", None)
        else:
            assert (op.outcome, op.server) == ("ok", "n1")


async def test_what_has_no_server_in_reach_is_not_tried_again(tmp_path: Path) -> None:
    one_way: Connectivity = nx.DiGraph([("n1", "n2"), ("n2", "n1"), ("n1", "n3")])
    database = Scripted(plan(), refuse("moved"), "primary", "n1")

    async def storm(made: Load, router: Router) -> None:
        made.persist("lost", ["n3"], 3)
        made.persist("all", NAMES, 3)
        async with asyncio.timeout(50):
            while made.persisted("lost")[2] < 5 or made.persisted("all")[1] < 20:
                await asyncio.sleep(0.01)
        (failed, tries, lost), (of_all, _, also_lost) = made.persisted("lost"), made.persisted("all")
        assert tries == 0 and failed - 2 <= lost <= failed, "but for the last call of either worker"
        assert lost == also_lost < of_all
        assert made.persisted("nobody") == (0, 0, 0)
        await made.relent("lost")
        await made.relent("all")

    await work(tmp_path, database, links=one_way, during=storm)


async def test_open_calls_across_a_cut_are_broken_off(tmp_path: Path) -> None:
    database = Scripted(plan(timeout=60.0), lambda server: asyncio.sleep(600), "primary", "n1")

    async def cut(made: Load, router: Router) -> None:
        await asyncio.sleep(0.1)
        router.links = nx.DiGraph([("n1", "n2"), ("n2", "n1")])
        made.enforce()
        await asyncio.sleep(0.05)
        database.answer = lambda server: 1

    began = time.monotonic()
    running = asyncio.create_task(work(tmp_path, database, 0.3, during=cut))
    lost: list[str] = []
    while len(lost) < 2:
        await asyncio.sleep(0.1)
        lost = [line for line in (tmp_path / "journal.jsonl").read_text().splitlines() if "cut-off" in line]
        assert time.monotonic() - began < 50
    assert len(lost) == 2, "both workers of n3 and nobody else"
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert time.monotonic() - began < 55, "the call's own time was not waited for"


async def test_an_open_loop_keeps_its_schedule_and_tells_late_starts(tmp_path: Path) -> None:
    stalled = 0.0

    async def answer() -> int:
        nonlocal stalled
        stalled = stalled or time.monotonic() + 0.3  # From the first call on, however late that is.
        await asyncio.sleep(max(0.0, stalled - time.monotonic()))
        return 1

    operations = await work(tmp_path, Scripted(plan(rate=120.0), lambda server: answer()), 0.6, calls=20)
    assert all(op.scheduled is not None and op.scheduled <= op.invoked + 1_000_000 for op in operations)
    late = [op.invoked - (op.scheduled or 0) for op in operations]
    assert max(late) > 100_000_000, "the calls that waited behind the stall say since when"
    slots = 1 + 120 * (max(op.scheduled or 0 for op in operations) - min(op.scheduled or 0 for op in operations)) / 1e9
    assert slots - 7 < len(operations) < slots + 1, "each was called once, but for the last of some workers"
    assert len(operations) >= 50


async def test_a_seed_fixes_the_calls(tmp_path: Path) -> None:
    first, second = tmp_path / "1", tmp_path / "2"
    for folder in (first, second):
        folder.mkdir()
    one = await work(first, Scripted(plan(seed=5, concurrency=1), refuse("no")))
    two = await work(second, Scripted(plan(seed=5, concurrency=1), refuse("no")))
    for process in range(3):
        calls = [[(op.f, op.key) for op in ops if op.process == process][:5] for ops in (one, two)]
        assert calls[0] == calls[1]


@pytest.mark.parametrize("named", ["n2", None])
async def test_the_primary_is_who_most_nodes_name(tmp_path: Path, named: str | None) -> None:
    database = Scripted(plan(), lambda server: 1, "primary", named)
    router = Router(database, everything(NAMES), lambda view: None, lambda: 0, Problems(print))
    await router.look()
    assert router.primary() == named


@pytest.mark.parametrize(("shards", "made_at"), [
    ((None,), "n1"), (("n2",), "n2"), (("n1", "n3"), "n3"), (("n1", None), "n1"), ((None, "n3"), "n1"),
])
async def test_what_has_no_key_is_made_at_the_primary_of_its_shard(shards: tuple[str | None, ...], made_at: str) -> None:
    """As the accounts of a bank on a Redis cluster: `None` is in the last shard."""
    class Sharded(Scripted):
        async def primaries(self, node: Node) -> tuple[str | None, ...]:
            return shards

        def shard(self, key: Any) -> int:
            return len(shards) - 1

    database = Sharded(plan(), lambda server: 1, "primary")
    router = Router(database, everything(NAMES), lambda view: None, lambda: 0, Problems(print))
    await router.look()
    assert router.maker() == made_at


@pytest.mark.parametrize("error", [OSError("no route"), ValueError("nonsense"), asyncio.CancelledError(), KeyError("x")])
async def test_what_a_client_may_not_raise_is_indeterminate_and_told_once(tmp_path: Path, error: BaseException) -> None:
    def answer(server: str) -> Any:
        raise error

    told: list[str] = []
    operations = await work(tmp_path, Scripted(plan(timeout=5.0), answer), told=told)
    name = type(error).__name__
    assert {op.error for op in operations} == {name}
    assert {op.outcome for op in operations if op.f == "write"} <= {"info"}
    assert {op.outcome for op in operations if op.f == "read"} == {"fail"}
    assert told and all(name in text and "test_load.py:" in text for text in told) and len(told) == len(set(told))


@pytest.mark.parametrize("value", ["\ud800", float("nan"), 1 << 64, object(), b"bytes", [1, "\udfff"]])
async def test_an_answer_that_no_history_holds_is_told_and_the_journal_stays_readable(tmp_path: Path, value: Any) -> None:
    told: list[str] = []
    operations = await work(tmp_path, Scripted(plan(), lambda server: value if server == "n1" else 1), told=told)
    answers = {op.server: op for op in operations if op.f == "read"}
    assert (answers["n1"].outcome, answers["n1"].error) == ("fail", "ValueError")
    assert answers["n2"].outcome == "ok" and any("a history holds" in text for text in told)


async def test_a_connection_that_cannot_be_made_or_closed_costs_no_history(tmp_path: Path) -> None:
    class Clumsy(Scripted):
        async def connect(self, server: Node) -> Any:
            if server.name == "n1":
                raise OSError("no route")
            client = await super().connect(server)

            async def close() -> None:
                await (asyncio.sleep(60) if server.name == "n2" else asyncio.sleep(0, client.nothing))

            client.close = close
            return client

    told: list[str] = []
    operations = await work(tmp_path, Clumsy(plan(), lambda server: 1), told=told)
    assert {(op.outcome, op.error) for op in operations if op.server == "n1"} == {("fail", "OSError")}
    assert {op.outcome for op in operations if op.server != "n1"} == {"ok"}
    assert any("took longer" in text for text in told) and any("close() of a client raised Attr" in text for text in told)


async def test_an_odd_answer_of_primary_is_told_and_asked_again(tmp_path: Path) -> None:
    class Odd(Scripted):
        asked = 0

        async def primary(self, node: Node) -> str | None:
            self.asked += 1
            if self.asked == 5:
                raise KeyError("primary")
            return "n9" if self.asked == 6 else "n1"

    async def follow(made: Load, router: Router) -> None:
        following = asyncio.create_task(router.follow())
        while database.asked < 12:
            await asyncio.sleep(0.05)
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)

    told: list[str] = []
    database = Odd(plan(), lambda server: 1, "primary")
    operations = await work(tmp_path, database, 0.6, during=follow, told=told)
    assert sum("raised KeyError" in text for text in told) == 1 and sum("which is no node" in text for text in told) == 1
    last = {op.node: op for op in operations}
    assert {op.server for op in last.values()} == {"n1"}, "every home names the primary again"


async def test_a_problem_that_comes_again_and_again_is_the_end(tmp_path: Path) -> None:
    ends: list[str] = []
    problems = Problems(lambda text: None, ends.append)
    for _ in range(3 * MANY):
        problems.raised("read()", ValueError("x"))
    assert ends == ["read() raised ValueError: x"] and problems.counts[ends[0]] == 3 * MANY


async def test_a_silent_server_is_not_asked_for_every_key(tmp_path: Path) -> None:
    database = Scripted(plan(keys=40, timeout=0.1), lambda server: asyncio.sleep(60) if server == "n2" else 1)
    finals = Register(database.plan, frozenset({"registers"})).final()

    async def final(made: Load, router: Router) -> None:
        made.stop()
        await made.make(finals)

    operations = await work(tmp_path, database, 0.0, during=final)
    reads = [op for op in operations if op.f == "read"]
    assert sum(op.server == "n1" for op in reads) >= len(finals) > sum(op.server == "n2" for op in reads) > 1
