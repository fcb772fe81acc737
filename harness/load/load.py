"""The load: workers that make one call at a time, each from its home node, and journal every one of them."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, count
from typing import Any

import msgspec

from splitbrain.harness.databases.database import BESIDE, Database, copies
from splitbrain.harness.errors import Indeterminate, Mismatch, Refused, described, raised_by
from splitbrain.harness.history.journal import Invoke, Journal, check_storable
from splitbrain.harness.history.operation import MISMATCH, Key, Kind, Operation, Outcome
from splitbrain.harness.history.recording import Placement
from splitbrain.harness.history.variant import Route
from splitbrain.harness.load.client import Client
from splitbrain.harness.load.limit import Limit
from splitbrain.harness.load.problems import Problems, is_cancelled
from splitbrain.harness.load.route import Router
from splitbrain.harness.plan import Plan
from splitbrain.workloads.workload import Invocation, Workload, check_call

SILENT = 3
"""Final reads in a row that a server may leave without an answer, until it is asked no more."""

CLOSING = 1.0
"""Seconds that closing a connection may take."""

ARRIVE = 3.0
"""Seconds within which a worker that joins has begun a call."""
AGAIN = 0.05
"""Seconds between two looks whether all have."""

TURNED_AWAY = 0.004
"""Seconds that a worker without think time waits where its call reached no server, as long as one usually thinks: nothing else
would bound how often it is refused, and every refusal is recorded."""


class Load:
    """Workers on every node, `plan.concurrency` each. Closed loop with a think time, or open loop where the plan has a rate:
    then every call has a scheduled time, and a late start is recorded with it, so that latencies do not hide a stall."""

    def __init__(self, plan: Plan, database: Database, workload: Workload, router: Router, journal: Journal,
                 clock: Callable[[], int], problems: Problems) -> None:
        self.problems = problems
        self.totals: Counter[str] = Counter()
        self.acknowledged = 0
        """Writes that were."""
        self._plan = plan
        self._database = database
        self._workload = workload
        self._router = router
        self._journal = journal
        self._clock = clock
        self._processes = count()
        self._placed: set[Key] = set()
        self._stopped = asyncio.Event()
        self._group: asyncio.TaskGroup | None = None
        self._crowds: dict[object, list[tuple[_Worker, asyncio.Task[None]]]] = {}
        self._hushed: dict[object, frozenset[str]] = {}
        self._severed: dict[object, frozenset[str]] = {}
        self._retries: dict[object, _Retries] = {}
        self._begun: Counter[str] = Counter()
        """Calls, and tries of them, that were begun, by home."""
        self._answered: Counter[str] = Counter()
        """Calls that were answered, by home."""
        self._calls = 0
        """Calls that were begun by anybody."""
        homes = [name for name in database.nodes for _ in range(plan.concurrency)]
        self._workers = [_Worker(self, number, home) for number, home in enumerate(homes)]

    def place(self, key: Key) -> None:
        """Record which nodes hold a key that was not used before, where that is not all of them."""
        if key in self._placed:
            return
        self._placed.add(key)
        replicas = copies(self._database, key)
        if set(replicas) != set(self._database.nodes):
            self._journal.placement(Placement(key, replicas))

    async def run(self, seconds: float) -> None:
        """Work for so long, or until `stop`; calls that are open at the end are waited for."""
        begin = self._clock()
        async with asyncio.TaskGroup() as self._group:
            for number, worker in enumerate(self._workers):
                self._group.create_task(worker.work(self._schedule(number, begin)))
            await self.stops_within(seconds)
            self._stopped.set()

    async def join(self, who: object, homes: Sequence[str], times: int) -> tuple[int, int]:
        """`times` as many workers at these homes, until `who` has them leave; `times` as many calls where the plan has a rate.
        They do what all do. How many came, and how many of them had begun a call within `ARRIVE` seconds."""
        if self._group is None or self.stopped:
            return 0, 0
        crowd = self._crowds[who] = []
        places = [home for home in homes for _ in range(self._plan.concurrency * (times - 1))]
        rate = self._plan.rate * (times - 1) * len(homes) / len(self._database.nodes)
        begin = self._clock()
        for number, home in enumerate(places):
            worker = _Worker(self, len(self._workers) + number, home)
            slots = _slots(begin, rate, number, len(places)) if rate else None
            crowd.append((worker, self._group.create_task(worker.work(slots))))
        arrive = ARRIVE + (len(places) / rate if rate else 0.0)
        while not all(worker.begun for worker, _ in crowd) and self._clock() - begin < arrive * 1e9:
            if await self.stops_within(AGAIN):
                break
        return len(crowd), sum(worker.begun for worker, _ in crowd)

    async def leave(self, who: object) -> int:
        """No new calls of those who joined for `who`; their open ones are waited for. How many they were."""
        crowd = self._crowds.get(who, [])
        for worker, _ in crowd:
            worker.leaves = True
        await asyncio.gather(*(asyncio.shield(task) for _, task in crowd))
        await asyncio.gather(*(worker.close() for worker, _ in self._crowds.pop(who, [])))
        return len(crowd)

    async def hush(self, who: object, homes: Sequence[str]) -> None:
        """No new calls at these homes until `who` relents; returns when none is open."""
        self._hushed[who] = frozenset(homes)
        while any(worker.calling for worker in self._everybody() if worker.home in homes):
            if await self.stops_within(AGAIN):
                return

    def sever(self, who: object, homes: Sequence[str]) -> None:
        """Clients at these homes reach no server, until `who` relents; calls that are open there are broken off."""
        self._severed[who] = frozenset(homes)
        self.enforce()

    def severed(self, home: str) -> bool:
        """Whether clients there reach no server."""
        return bool(self._severed) and any(home in homes for homes in self._severed.values())

    def answered(self, homes: Sequence[str]) -> int:
        """Calls that were answered at these homes."""
        return sum(self._answered[home] for home in homes)

    def persist(self, who: object, homes: Sequence[str], tries: int) -> None:
        """What the database does not answer at these homes is tried again at once, so many times, until `who` relents."""
        self._retries[who] = _Retries(frozenset(homes), tries)

    def persisted(self, who: object) -> tuple[int, int, int]:
        """How many calls were to be tried again for `who` by now, how many tries that made, and for how many of the calls there
        could be none, since no server was in reach that it could have gone to."""
        retries = self._retries.get(who)
        return (retries.failed, retries.made, retries.lost) if retries is not None else (0, 0, 0)

    async def relent(self, who: object) -> None:
        """As before, as far as `who` had it otherwise; returns when no try is open."""
        self._hushed.pop(who, None)
        self._severed.pop(who, None)
        if (retries := self._retries.pop(who, None)) is not None:
            retries.over = True
            await asyncio.gather(*(asyncio.shield(task) for task in retries.tasks))

    def calls(self, homes: Sequence[str]) -> int:
        """Calls that were begun at these homes, also those that were tried again."""
        return sum(self._begun[home] for home in homes)

    def silent(self, home: str) -> bool:
        """Whether nobody is to call there."""
        return bool(self._hushed) and any(home in homes for homes in self._hushed.values())

    def failed(self, home: str, invocation: Invocation) -> None:
        """A call was not answered: tried again, if it is to be."""
        for retries in self._retries.values():
            if home in retries.homes and self._group is not None and not self.stopped:
                retries.failed += 1
                task = self._group.create_task(self._try_again(retries, home, invocation))
                retries.tasks.add(task)
                task.add_done_callback(retries.tasks.discard)

    async def _try_again(self, retries: _Retries, home: str, invocation: Invocation) -> None:
        """Each time on a connection of its own, until it is answered. What it answers is of no interest; what a client raises
        against its contract it raises in recorded calls too, where it is told."""
        route = self._database.variant.route(invocation.kind)
        lost = True
        for left in reversed(range(retries.tries)):
            if retries.over or self.stopped or self.silent(home):
                return
            client: Client | None = None
            try:
                server = self.server(home, route, invocation.key)
                lost = False
                retries.made += 1
                self._begun[home] += 1
                async with asyncio.timeout(self._plan.timeout):
                    client = await self._database.connect(self._database.nodes[server])
                    await self._repeat(client, invocation)
                return
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
            except Exception:
                retries.lost += lost and not left
                await asyncio.sleep(0)
            finally:
                if client is not None:
                    await self._end(client)

    async def _repeat(self, client: Any, invocation: Invocation) -> None:
        """The same read; instead of a write, which must not happen twice, one of a key that nobody reads, or a read."""
        if invocation.kind == "read":
            await self._workload.invoke(client, invocation)
        elif "registers" in self._database.variant.offers:
            await client.write(BESIDE, 1)
        else:
            for read in self._workload.local()[:1]:
                await self._workload.invoke(client, read)

    async def _end(self, client: Client) -> None:
        """Close a connection, within a time."""
        try:
            async with asyncio.timeout(CLOSING):
                await client.close()
        except TimeoutError:
            self.problems.add(f"close() of a client took longer than {CLOSING:g} s")
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            self.problems.raised("close() of a client", error)
        except Exception as error:
            self.problems.raised("close() of a client", error)

    def stop(self) -> None:
        """No new calls."""
        self._stopped.set()

    @property
    def stopped(self) -> bool:
        """Whether no new calls are made."""
        return self._stopped.is_set()

    async def stops_within(self, seconds: float) -> bool:
        """Wait so long, or until no new calls are made; whether that came first."""
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._stopped.wait()
        except TimeoutError:
            return self.stopped
        return True

    def server(self, home: str, route: Route, key: Key) -> str:
        """The node that an operation on this key from this home goes to. Raises `Refused` where none is in reach."""
        if self.severed(home):
            raise Refused("cut-off")
        return self._router.server(home, route, key)

    def linked(self, home: str, server: str) -> bool:
        """Whether what a client there asks comes to that server, and the answer back."""
        return not self.severed(home) and self._router.linked(home, server)

    def enforce(self) -> None:
        """Break off every open call whose home is no longer linked with its server: its answer could not have come."""
        for worker in self._everybody():
            worker.enforce()

    async def make(self, invocations: Sequence[Invocation]) -> None:
        """Make exactly these calls, every one from each home."""
        async with asyncio.TaskGroup() as group:
            for number, worker in enumerate(self._workers[:: self._plan.concurrency]):
                turn = number * len(invocations) // max(1, len(self._database.nodes))
                group.create_task(worker.make([*invocations[turn:], *invocations[:turn]]))

    async def close(self) -> None:
        """Close every connection."""
        await asyncio.gather(*(worker.close() for worker in self._everybody()))

    def _everybody(self) -> list[_Worker]:
        return [*self._workers, *(worker for crowd in self._crowds.values() for worker, _ in crowd)]

    def _schedule(self, worker: int, begin: int) -> Iterator[int] | None:
        if not self._plan.rate:
            return None
        return _slots(begin, self._plan.rate, worker, len(self._workers))


def _slots(begin: int, rate: float, worker: int, workers: int) -> Iterator[int]:
    """The moments, in nanoseconds, at which one of several workers calls that make so many calls a second together."""
    return (begin + int(slot / rate * 1e9) for slot in count(worker, workers))


class _Retries:
    """Calls that are tried again."""

    def __init__(self, homes: frozenset[str], tries: int) -> None:
        self.homes = homes
        self.tries = tries
        self.failed = self.made = self.lost = 0
        self.over = False
        self.tasks: set[asyncio.Task[None]] = set()


class _Answer(msgspec.Struct, frozen=True, gc=False):
    """What came of a call."""

    outcome: Outcome
    error: str | None = None
    value: Any = None
    seen: tuple[object, ...] = ()
    detail: str = ""


class _Worker:
    def __init__(self, load: Load, number: int, home: str) -> None:
        self._load = load
        self.home = home
        self._rng = random.Random(f"{load._plan.seed}/{number}")
        self._process = next(load._processes)
        self._clients: dict[str, Client] = {}
        self._server: str | None = None
        self._limit = Limit(load._plan.timeout)
        self._broken_off = False
        self._reached = False
        """Whether its last call had a connection to be made on."""
        self.calling = False
        """Whether a call of it is open."""
        self.begun = False
        """Whether it has begun a call."""
        self.leaves = False
        """Whether it makes no new calls, though the load goes on."""

    async def work(self, schedule: Iterator[int] | None) -> None:
        """Call again and again, as soon as there is an answer or at the times of a schedule. They are the run's nanoseconds:
        the time of a fast event loop is in milliseconds, and stands still while it has much to do."""
        load, workload, think = self._load, self._load._workload, self._load._plan.think
        kind: Kind | None = None
        while not load.stopped and not self.leaves:
            scheduled: int | None = None
            if schedule is not None:
                scheduled = next(schedule)
                while load.silent(self.home) and not load.stopped:
                    await asyncio.sleep(AGAIN)
                    scheduled = next(at for at in chain([scheduled], schedule) if at > load._clock())
                if (early := scheduled - load._clock()) > 0:
                    await asyncio.sleep(early / 1e9)
                    if load.stopped or self.leaves:
                        break
            while load.silent(self.home):
                await asyncio.sleep(AGAIN)
                if load.stopped or self.leaves:
                    return
            try:
                invocation = workload.next(self._rng, self._process, kind)
            except Exception as error:
                raise raised_by(workload.next, error) from error
            check_call(workload.next, invocation)
            load._calls += 1
            number = load._calls
            self.calling = True
            operation = await self._call(invocation, scheduled)
            self.calling = False
            kind = None
            if not operation.answered:
                load.failed(self.home, invocation)
                if load._clock() - operation.invoked >= load._plan.timeout * 5e8:
                    kind = "write" if invocation.kind == "read" else "read"
            pause = think if self._reached else think or TURNED_AWAY
            if schedule is None and (pause or load._calls == number):
                await asyncio.sleep(pause)  # Also where nobody else had a turn meanwhile: this call waited for nothing.

    async def make(self, invocations: Sequence[Invocation]) -> None:
        silent = 0
        for invocation in invocations:
            operation = await self._call(invocation, None)
            silent = silent + 1 if operation.error in ("timeout", "unreachable") else 0
            if silent == SILENT:
                return  # The others would wait for as long, one after another.

    def enforce(self) -> None:
        if self._limit.entered and self._server is not None and not self._load.linked(self.home, self._server):
            self._broken_off = True
            self._limit.end()

    async def close(self) -> None:
        self._limit.close()
        while self._clients:
            await self._load._end(self._clients.popitem()[1])

    async def _call(self, invocation: Invocation, scheduled: int | None) -> Operation:
        load = self._load
        route = load._database.variant.route(invocation.kind)
        self._server, self._broken_off, self._reached = None, False, False
        load.place(invocation.key)
        load._begun[self.home] += 1
        self.begun = True
        invoked = load._clock()
        answer = _Answer("fail")
        try:
            self._server = load.server(self.home, route, invocation.key)
        except Refused as refused:
            answer = _Answer("fail", refused.reason, detail=refused.detail)
        load._journal.invoke(
            Invoke(time=invoked, process=self._process, f=invocation.f, key=invocation.key, value=invocation.value,
                   node=self.home, server=self._server, scheduled=scheduled, kind=invocation.kind)
        )
        if self._server is not None:
            try:
                answer = await self._ask(invocation, self._server)
            except BaseException:
                self._process = next(load._processes)  # What came of the call is not known: a new client, as after any such.
                raise
        outcome = answer.outcome
        if outcome == "info" and invocation.kind == "read":
            outcome = "fail"  # A read that was not answered changed nothing.
        operation = Operation(
            process=self._process, f=invocation.f, key=invocation.key, outcome=outcome, error=answer.error, seen=answer.seen,
            detail=answer.detail or None, kind=invocation.kind,
            value=answer.value if outcome == "ok" else invocation.value, invoked=invoked, completed=load._clock(),
            node=self.home, server=self._server, scheduled=scheduled,
        )
        load._journal.complete(operation)
        load.totals[outcome] += 1
        load._answered[self.home] += operation.answered
        load.acknowledged += outcome == "ok" and invocation.kind == "write"
        try:
            load._workload.observe(operation)
        except Exception as error:
            raise raised_by(load._workload.observe, error) from error
        if outcome == "info":
            self._process = next(load._processes)
        return operation

    async def _ask(self, invocation: Invocation, server: str) -> _Answer:
        """Make the call, bounded in time. Whatever a client raises is an answer: what its contract does not know may have
        happened, unless there was no connection to make it on."""
        load = self._load
        try:
            with self._limit:
                client = self._clients.get(server)
                if client is None:
                    client = self._clients[server] = await load._database.connect(load._database.nodes[server])
                self._reached = True
                router = load._router
                if router.late:
                    await router.cross(self.home, server)
                try:
                    value = await load._workload.invoke(client, invocation)
                except (Mismatch, Refused):
                    await router.cross(server, self.home)
                    raise
                if router.late:
                    await router.cross(server, self.home)
            check_storable(value)
            return _Answer("ok", value=value)
        except Mismatch as mismatch:
            return _Answer("fail", MISMATCH, seen=self._seen(invocation, mismatch))
        except Refused as refused:
            return _Answer("fail", str(refused.reason), detail=refused.detail)
        except Indeterminate as indeterminate:
            answer = _Answer("info", str(indeterminate.reason), detail=indeterminate.detail)
        except TimeoutError:
            if server not in self._clients:
                return _Answer("fail", "unreachable")
            answer = _Answer("info", "cut-off" if self._broken_off else "timeout")
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            answer = self._broken_contract(invocation, server, error)
        except Exception as error:
            answer = self._broken_contract(invocation, server, error)
        await self._drop(server)
        return answer

    def _seen(self, invocation: Invocation, mismatch: Mismatch) -> tuple[object, ...]:
        try:
            check_storable(mismatch.seen[:1])
        except ValueError as error:
            self._load.problems.raised(f"{invocation.f}()", error)
            return ()
        return mismatch.seen[:1]

    def _broken_contract(self, invocation: Invocation, server: str, error: BaseException) -> _Answer:
        connected = server in self._clients
        word = self._load.problems.raised(f"{invocation.f}()" if connected else "connect()", error)
        return _Answer("info" if connected else "fail", word, detail=described(error))

    async def _drop(self, server: str) -> None:
        if server in self._clients:
            await self._load._end(self._clients.pop(server))
