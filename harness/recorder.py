"""The part of a run that needs the cluster, phase by phase; one file because it is read top to bottom.

Nodes up → database ready → workers and faults side by side → heal, proven → settle → final reads → tear-down. Everything that
happens goes to the journal the moment it happens; nothing here judges it.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import platform
import shutil
import signal
import time
import traceback
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import uvloop

import splitbrain
from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database, Detection, copies
from splitbrain.harness.databases.membership import Membership
from splitbrain.harness.errors import (
    CRASHED,
    ELSEWHERE,
    INTERRUPTED,
    Elsewhere,
    Indeterminate,
    Refused,
    SetupError,
    SplitbrainError,
    StorageError,
    UsageError,
    described,
    ours,
    place,
    raised_by,
    returned_by,
)
from splitbrain.harness.faults import NEEDED, Controller
from splitbrain.harness.heartbeat import heartbeat
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.journal import Header, Journal, check_storable
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import LocalRead, PhaseName, Stall
from splitbrain.harness.last_words import last_words
from splitbrain.harness.load.client import lacking
from splitbrain.harness.load.load import CLOSING, SILENT, Load
from splitbrain.harness.load.problems import MANY, Problems, is_cancelled
from splitbrain.harness.load.route import Router
from splitbrain.harness.plan import Plan
from splitbrain.harness.rehearsal import ask, made
from splitbrain.harness.schedules import detection, length, needs, schedule
from splitbrain.harness.store import Run
from splitbrain.harness.testbeds.testbed import Connectivity, Testbed, everything
from splitbrain.nemeses.cluster import Cluster
from splitbrain.reports.terminal import Progress
from splitbrain.workloads.workload import Invocation, Workload, check_calls

LIMITS: dict[PhaseName, float] = {
    "heal": 15.0,
    "final-reads": 60.0,
    "tear-down": 20.0,
}
"""Seconds that a phase may take. The load and the settling have the plan's lengths, and `GRACE` more to end in; a set-up has
what the database's servers may take to start, and `BESIDE` for all else."""

GRACE = 15.0
BESIDE = 10.0
PREPARING = 30.0
"""Seconds that the workload may take to make what it needs."""

RETURNING = 5.0
"""Seconds that links and servers are given to be as before, once every fault was undone."""

REMOVING = 10.0
"""Seconds that removing what a run wrote may take, where the cluster was there before."""

WATCH = 0.1
"""Seconds between two looks for servers that ended by themselves."""

LAST_LINES = 5
"""Of the log of a server that died, so many lines are kept in the journal."""

COMPARED = 64
"""Keys, at most, that are compared between nodes beside the load."""
AGREE = 0.25
"""Seconds between two rounds of comparing the replicas."""
LAST = 1000
"""The number of the round beside the final reads: one behind all those of the settling."""

PATIENCE = 5.0
"""Seconds after which a person is told what the set-up still waits for."""

PLAIN = "splitbrain has no passwords, and speaks to servers without TLS: one that wants either cannot be tested."
"""What is said with a refusal of servers that are not ours."""

MOST_LOG = 64 << 20
"""Bytes that the log of a server may have; then half of them are kept, and what it says afterwards."""

ROOM = 1 << 16
"""Bytes that must be free where a run is kept, for what ended in it to be explained by anything else."""


def record(plan: Plan, run: Run, progress: Progress) -> int:
    """Do everything that needs the cluster; what happened is in the run's journal. Whatever happens, no node is left.

    Returns 0; 130 where it was interrupted; or the exit code of what stopped it, said in one sentence to `progress`.
    """
    testbed: Testbed = registry.look_up("testbeds", plan.testbed)(plan, run.label, run.folder)

    def work() -> int:
        logging.getLogger().addHandler(drivers)
        try:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                return runner.run(_Recorder(plan, run, testbed, progress).record())
        except asyncio.CancelledError:
            return INTERRUPTED
        except Exception as raised:
            error = ours(raised)
            if error is not None:
                progress.note(str(error))
                return error.exit_code
            leaf = _leaf(raised)
            if not (where := place(leaf, foreign=True)):
                raise
            progress.note(f"{where}{described(leaf)} ended the run; its traceback is in {explain(run, raised)}")
            return CRASHED
        finally:
            logging.getLogger().removeHandler(drivers)

    # What drivers log would shred the terminal; the file comes with its first line.
    drivers = logging.FileHandler(run.folder / "drivers.log", delay=True)
    return testbed.inside(work)


def explain(run: Run, raised: BaseException) -> Path:
    """Keep a traceback in the run's folder; the file."""
    file = run.folder / "crash.txt"
    file.write_text("".join(traceback.format_exception(raised)), "utf-8", "backslashreplace")
    return file


def _leaf(raised: BaseException) -> BaseException:
    """The first exception of a group that is none itself."""
    return _leaf(raised.exceptions[0]) if isinstance(raised, BaseExceptionGroup) else raised


class _Recorder:
    """The part of a run that needs the cluster."""

    def __init__(self, plan: Plan, run: Run, testbed: Testbed, progress: Progress) -> None:
        self.plan = plan
        self.run = run
        self.testbed = testbed
        self.progress = progress
        self.began, self.epoch = time.monotonic_ns(), time.time_ns()
        self.journal = Journal(run.journal)
        self.interrupted = False
        self.gave_up = ""
        self.mistaken = 0
        """The exit code of what ended a phase though only its author could have mended it."""
        self.tearing_down = False
        self.writes = False
        """Whether this run writes into a cluster that it was attached to, and that was empty before."""
        self.load: Load | None = None
        self.deaths: set[Death] = set()
        self.cut_logs: set[str] = set()
        self.problems = Problems(self.own_problem, self.too_many)

    def own_problem(self, text: str) -> None:
        """The person's own code broke its contract, in a way that is new."""
        self.journal.note(text)
        self.progress.note(text)

    def too_many(self, text: str) -> None:
        """The same problem again and again: no more load; what was recorded is judged."""
        if self.load is not None and not self.load.stopped:
            self.gave_up = f"{text}, {MANY} times"
            self.progress.note(f"healing and tearing down: {self.gave_up}")
            self.load.stop()

    def clock(self) -> int:
        """Nanoseconds from the start of the run."""
        return time.monotonic_ns() - self.began

    async def record(self) -> int:
        database_class: type[Database] = registry.look_up("databases", self.plan.database)
        variant = next(variant for variant in database_class.variants if variant.name == self.plan.variant)
        if self.testbed.attached:
            variant = msgspec.structs.replace(variant, tuned=())  # It is as its owner has set it.
        self.names = tuple(f"n{number}" for number in range(1, self.plan.nodes + 1))
        with self.stop_on_signal():
            try:
                self.journal.header(
                    Header(
                        run=self.run.label, plan=self.plan, variant=variant, nodes=self.names,
                        version=splitbrain.__version__, kernel=platform.release(),
                        started=datetime.fromtimestamp(self.epoch // 10**9, UTC).isoformat(), epoch=self.epoch,
                    )
                )
                self.workload: Workload = made(registry.look_up("workloads", self.plan.workload), self.plan, variant.offers)
                async with self.phase("set-up", within=database_class.starting + BESIDE):
                    await self.set_up(database_class)
                await self.measure()
            finally:
                await self.tear_down()
        return INTERRUPTED if self.interrupted else self.mistaken

    async def tear_down(self) -> None:
        """Remove every node, whatever has failed before or fails now: a full disk keeps no server running."""
        self.tearing_down = True
        self.progress.close()
        began, problem = self.clock(), ""
        self.write_if_possible(lambda: self.journal.phase("tear-down", began, ended=False))
        ticking = asyncio.create_task(self.tick("tear-down", began))
        try:
            async with asyncio.timeout(LIMITS["tear-down"]):
                if self.writes:
                    await self.remove_data()
                await self.testbed.down()
        except Exception as error:
            said = "took too long" if isinstance(error, TimeoutError) else str(ours(error) or described(error))
            problem = f"{said}; `splitbrain clean` removes what is left"
            self.progress.note(f"tear-down: {problem}")
        ticking.cancel()
        self.progress.close()
        if not self.plan.keep:
            self.run.drop_data()
        ended = self.clock()

        def end() -> None:
            for text, times in self.problems.counts.items():
                if times > 1:
                    self.journal.note(text, times)
            self.journal.phase("tear-down", ended, ended=True, problem=problem)
            self.journal.end(ended, interrupted=self.interrupted)

        self.write_if_possible(end)
        self.journal.close()
        if not problem:
            self.progress.phase("tear-down", "", (ended - began) / 1e9)

    async def remove_data(self) -> None:
        """Remove from a cluster that was there before what this run wrote into it; where it cannot be, that is told."""
        why = "its author does not say how it is removed"
        try:
            async with asyncio.timeout(REMOVING):
                removed = await self.database.remove(self.workload.needs, self.workload.written())
        except Exception as error:
            removed, why = False, str(ours(error) or described(error))
        if not removed:
            self.progress.note(f"what workload '{self.workload.name}' wrote stays in the cluster: {why}")
        await self.close_database()

    def write_if_possible(self, write: Callable[[], None]) -> None:
        """Write to the journal while tearing down; that it cannot be written was the run's end already, or is told here."""
        try:
            write()
        except StorageError as error:
            self.progress.note(str(error))

    async def set_up(self, database_class: type[Database]) -> None:
        """Nodes up, servers started, a write and a read through every node that should take them, primary known."""
        if "fill" in needs(self.plan):
            await self.testbed.bound(self.plan.nodes)
        if "unplug" in needs(self.plan):
            await self.testbed.unpluggable(self.plan.nodes)
        await self.testbed.up(self.plan.nodes)
        self.database = made(database_class, self.plan, self.testbed.nodes)
        if isinstance(self.database, Membership):
            self.database.changes = "wipe" in needs(self.plan)
        self.router = Router(self.database, everything(self.names), self.journal.view, self.clock, self.problems)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self.watch())
            await self.start()
            watching.cancel()
        self.detection = await self.detected() if self.testbed.attached else detection(self.plan)
        versions = await self.versions()
        self.journal.versions(versions, await self.testbed.facts())
        await self.testbed.listen(self.database.port)
        known = set(self.problems.counts)
        await self.router.look()
        if wrong := [text for text in self.problems.counts if text not in known]:
            raise UsageError(f"{wrong[0]}.")
        primary = self.router.primary()
        await self.meet(primary or self.names[0])
        await self.prepare()
        self.ready = f"{len(self.names)}/{len(self.names)} nodes ready" + (f", primary {primary}" if primary else "")
        self.ready += f", {self.database.name} {' and '.join(sorted(set(versions.values())))}"

    async def detected(self) -> Detection | None:
        """After how long a silence the servers of a cluster that is not ours take one of them for gone, as they say; None where
        one cannot be asked, or they differ."""
        usual = self.database.detection(self.database.variant)
        if usual is None:
            return None
        try:
            async with asyncio.timeout(self.plan.timeout):
                found = set(await asyncio.gather(*map(self.database.detects_after, self.database.nodes.values())))
        except (Refused, Indeterminate, TimeoutError):
            return None
        except Exception as error:
            raise ours(error) or raised_by(self.database.detects_after, error) from error
        if wrong := [one for one in found if one is not None and type(one) not in (int, float)]:
            raise returned_by(self.database.detects_after, wrong[0], "neither a number of seconds nor None")
        seconds = found.pop()
        return None if found or not seconds else msgspec.structs.replace(usual, seconds=seconds, source="told by its servers")

    async def start(self) -> None:
        """Start the database and wait until it is ready."""
        what = "start()"
        try:
            async with asyncio.timeout(self.database.starting) as limit:
                await (self.attach() if self.testbed.attached else self.database.start())
                what = "ready()"
                began = time.monotonic()
                while not (told := await self.database.ready()):
                    if told is not False:  # A forgotten return: it would be waited for to the end.
                        break
                    await asyncio.sleep(0.02)
                    if began and time.monotonic() - began > PATIENCE:
                        self.progress.note(f"still waiting for {self.database.name} to get ready. {self.logged()}")
                        began = 0.0
                if told is not True and told is not False:  # A word such as "no" is true to Python.
                    raise returned_by(self.database.ready, told, "neither True nor False")
        except SplitbrainError:
            raise
        except Exception as error:
            if (known := ours(error)) is not None:  # Several servers could not be started, each for a reason of its own.
                raise known from error
            if limit.expired():
                took = f"{self.database.name} did not get ready within {self.database.starting:g} s"
                raise SetupError(f"{took}. {self.logged()}") from error
            raise SetupError(f"{place(error)}{what} raised {described(error)}. {self.logged()}") from error

    async def attach(self) -> None:
        """Learn of a cluster what it is, and refuse one that does not answer, or holds what would be taken for the run's and be
        removed with it, before anything is written."""
        try:
            await self.database.attach()
            name = await self.database.found(self.workload.needs)
        except (Refused, Indeterminate) as error:
            raise SetupError(f"the cluster does not tell what it is ({error.detail or error.reason}). {PLAIN}") from error
        if name:
            raise SetupError(f"the cluster is not empty: it has '{name}', as from a run before. Remove its keys first.")
        await self.refuse_data()
        self.writes = True

    async def refuse_data(self) -> None:
        """Refuse a cluster that holds already what the workload writes: reads of it would be taken for anomalies."""
        for call in self.calls("local"):
            for name in copies(self.database, call.key):
                try:
                    async with asyncio.timeout(self.plan.timeout + CLOSING):
                        found = await self.read_copy(name, call)
                except TimeoutError as error:
                    raise SetupError(f"{name} does not tell what it holds, nor anything else. {PLAIN}") from error
                except (Refused, Indeterminate) as error:
                    said = error.detail or error.reason
                    raise SetupError(f"{name} does not tell what it holds ({said}). {PLAIN}") from error
                except Exception as error:
                    raise ours(error) or raised_by(self.database.local, error) from error
                if self.workload.holds(found):
                    raise SetupError(
                        f"the cluster is not empty: at {name}, key {call.key} of the workload {self.workload.name} holds "
                        f"{str(found)[:80]}, as from a run before. Remove its keys first."
                    )

    async def meet(self, server: str) -> None:
        """Refuse a client that lacks what is to be called. One that refuses the connection is met in the load."""
        try:
            async with asyncio.timeout(self.plan.timeout + CLOSING):
                client = await self.database.connect(self.database.nodes[server])
                if missing := lacking(client, self.database.variant.offers):
                    raise returned_by(self.database.connect, client, missing)
                await client.close()
        except (Refused, Indeterminate, TimeoutError):
            return
        except Exception as error:
            raise ours(error) or raised_by(self.database.connect, error) from error

    async def prepare(self) -> None:
        """Have the workload make what it needs before the load, if it needs anything."""
        if type(self.workload).set_up is Workload.set_up:
            return
        server = self.router.maker()
        try:
            async with asyncio.timeout(PREPARING):
                client = await self.database.connect(self.database.nodes[server])
                try:
                    await self.workload.set_up(client)
                finally:
                    await client.close()
                while not await self.agreed():
                    await asyncio.sleep(WATCH / 2)
        except (Refused, Indeterminate, TimeoutError) as error:
            name = self.workload.name
            raise SetupError(f"workload '{name}' could not be set up through {server}: {described(error)}.") from error
        except Exception as error:
            raise ours(error) or raised_by(self.workload.set_up, error) from error

    async def agreed(self) -> bool:
        """Whether every copy holds the same, so that what was set up is where it will be read."""
        for call in self.calls("local"):
            found = []
            for name in copies(self.database, call.key):
                try:
                    found.append(await self.read_copy(name, call))
                except (Refused, Indeterminate):
                    return False
            if any(copy != found[0] for copy in found):
                return False
        return True

    async def versions(self) -> dict[str, str]:
        """What the servers say that they are; what they do not say rightly is a problem told, and no end of the run."""
        try:
            async with asyncio.timeout(self.plan.timeout + GRACE):
                told = await self.database.versions()
            if not isinstance(told, dict):
                self.problems.add(f"versions() returned {told!r:.40}, and no map from each node to its version")
                return {}
            return {node: str(told[node]).encode("utf-8", "backslashreplace").decode() for node in self.names if node in told}
        except Exception as error:
            self.problems.raised("versions()", error)
            return {}

    async def watch(self) -> None:
        """A server that ends by itself ends the wait for it; one that logs and logs does not fill the disk."""
        while True:
            await asyncio.sleep(WATCH)
            self.limit_logs()
            if ended := [f"{death.node}: {death}" for node in self.testbed.nodes for death in node.ended()]:
                raise SetupError(f"{'; '.join(ended)}. {self.logged()}")

    async def measure(self) -> None:
        """Load with faults, heal, settle, final reads. From the load on there is something to judge: what goes wrong
        afterwards is told in its phase, and the next one follows."""
        self.load = load = Load(
            self.plan, self.database, self.workload, self.router, self.journal, self.clock, self.problems
        )
        try:
            async with asyncio.TaskGroup() as group:
                beside = [
                    group.create_task(self.router.follow()), group.create_task(self.watch_for_deaths()),
                    group.create_task(heartbeat(self.clock, self.stood_still)),
                ]
                async with self.phase("load", judged=True):
                    await self.load_and_faults(load)
                async with self.phase("heal", judged=True):
                    await self.prove_healed()
                if not self.interrupted:
                    async with self.phase("settle", judged=True):
                        await self.settle()
                    async with self.phase("final-reads", judged=True):
                        await load.make(self.calls("final"))
                        await self.compare(LAST, self.calls("local"))
                for task in beside:
                    task.cancel()
        finally:
            self.look_for_deaths()
            await load.close()
            await self.close_database()

    def calls(self, method: Literal["final", "local"]) -> Sequence[Invocation]:
        """What the workload asks for in the end. Raises `UsageError` where its author told something else."""
        asked = self.workload.final if method == "final" else self.workload.local
        return check_calls(asked, ask(asked))

    async def close_database(self) -> None:
        try:
            async with asyncio.timeout(CLOSING):
                await self.database.close()
        except Exception as error:
            self.problems.raised("close()", error)

    def stood_still(self, stall: Stall) -> None:
        """The harness itself did not run for a while: told, and left out of what is measured."""
        self.journal.stall(stall)
        self.progress.note(f"the harness stood still for {stall.length / 1e9:.1f} s at {clock(stall.began)}")

    async def watch_for_deaths(self) -> None:
        """A server that ends by itself is told; the run goes on."""
        while True:
            self.look_for_deaths()
            self.limit_logs()
            await asyncio.sleep(WATCH)

    def limit_logs(self) -> None:
        """Cut a server's log that has grown too long back to its beginning: a server appends to it, and goes on there."""
        for log in self.run.folder.glob("nodes/*/*.log"):
            if log.stat().st_size > MOST_LOG:
                os.truncate(log, MOST_LOG // 2)
                name = f"{log.parent.name}/{log.name}"
                if name not in self.cut_logs:
                    self.cut_logs.add(name)
                    self.own_problem(f"{name} grew beyond {MOST_LOG >> 20} MB: its middle was cut out")

    def look_for_deaths(self) -> None:
        """Record each server that ended though nobody stopped it, once."""
        for node in self.testbed.nodes:
            for found in node.ended():
                if found not in self.deaths:
                    log = tuple(last_words(node.log(found.service), LAST_LINES, self.is_fatal))
                    death = msgspec.structs.replace(found, time=found.time - self.began, log=log)
                    self.journal.death(death)
                    self.deaths.add(found)
                    self.progress.death(death)

    async def load_and_faults(self, load: Load) -> None:
        """Workers and nemesis side by side, until the time is up, a signal stops them, or one of them fails."""
        steps = schedule(self.plan, self.detection)
        self.controller = Controller(
            Cluster(self.testbed, self.names, self.clock, self.enforce, self.clock_of, load,
                    self.router.delay, self.database, self.detection), self.plan.seed,
            primary=self.router.primary,
            leaderless=lambda: self.router.leaderless, stops_within=load.stops_within, record=self.journal.fault,
            teller=self.progress, options=self.plan.options, acknowledged=lambda: load.acknowledged,
            holders=lambda: {call.key: self.router.holders(call.key) for call in self.calls("local")},
            owners=self.workload.owners,
        )
        seconds = length(self.plan, self.detection)
        slow = self.database.replacing if isinstance(self.database, Membership) and self.database.changes else 0.0
        async with asyncio.timeout(seconds + GRACE + NEEDED + slow), asyncio.TaskGroup() as group:
            faulting = group.create_task(self.controller.inject(steps))
            group.create_task(self.follow_replicas(load, self.controller))
            await load.run(seconds)
            await faulting
            self.controller.healed.put_nowait(None)

    async def clock_of(self, name: str) -> float | None:
        """What a node's server says the time is; None where it does not answer."""
        try:
            async with asyncio.timeout(self.plan.timeout):
                told: Any = await self.database.clock(self.database.nodes[name])
        except (Refused, Indeterminate, TimeoutError):
            return None
        except Exception as error:
            self.problems.raised("clock()", error)
            return None
        if told is not None and type(told) not in (int, float):
            self.problems.add(str(returned_by(self.database.clock, told, "no number of seconds")))
            return None
        return cast("float | None", told)

    def enforce(self, links: Connectivity) -> None:
        """These are the links that workers may use from now on."""
        self.router.links = links
        if self.load is not None:
            self.load.enforce()

    async def follow_replicas(self, load: Load, controller: Controller) -> None:
        """After each heal compare the replicas beside the load, until every key was once seen equal on all nodes, the next
        fault begins, or the load ends. It reads for at most a tenth of the time, so as not to be a load of its own; and
        nothing that grows while it is read."""
        loop = asyncio.get_running_loop()
        if self.workload.grows:
            return
        calls = self.calls("local")
        while (fault := await controller.healed.get()) is not None:
            differing = calls[:: max(1, -(-len(calls) // COMPARED))]
            for round in itertools.count():
                began = loop.time()
                differing = await self.compare(round, differing, fault)
                if not differing or await load.stops_within(max(AGREE, 9 * (loop.time() - began))) or controller.under_way:
                    break

    async def prove_healed(self) -> None:
        """Every link carries packets again and every server takes connections, whatever the faults did, or will within
        `RETURNING`. Raises `SetupError`: a fault whose end was proven may have left a server that ended afterwards."""
        end = time.monotonic() + RETURNING
        while problems := await self.controller.prove_healed():
            if time.monotonic() > end:
                raise SetupError("; ".join(problems))

    async def settle(self) -> None:
        """Wait until all replicas hold the same, or the plan's patience ends; a round that was begun is finished."""
        end = asyncio.get_running_loop().time() + self.plan.settle
        differing = self.calls("local")
        async with asyncio.timeout(self.plan.settle + GRACE):
            for round in itertools.count():
                differing = await self.compare(round, differing)
                if not differing or asyncio.get_running_loop().time() + AGREE > end:
                    return
                await asyncio.sleep(AGREE)

    async def compare(self, round: int, calls: Sequence[Invocation], fault: int | None = None) -> Sequence[Invocation]:
        """Make these reads of every node's own copy, into the journal; those on which the nodes do not agree. A key is read
        from all nodes at once, because beside a load it changes. What only a server that died cannot tell is not waited for.
        """
        silent: Counter[str] = Counter()
        disagreed = []

        async def read(name: str, call: Invocation) -> tuple[Any, bool]:
            value, error = None, None
            try:
                if silent[name] >= SILENT:
                    raise TimeoutError  # The others would be waited for as long, one after another.
                async with asyncio.timeout(self.plan.timeout):
                    value = await self.read_copy(name, call)
                check_storable(value)
                silent[name] = 0
            except TimeoutError:
                error, silent[name] = "timeout", silent[name] + 1
            except (Refused, Indeterminate) as problem:
                error, silent[name] = str(problem), 0
            except SplitbrainError:
                raise
            except (Exception, asyncio.CancelledError) as problem:
                if is_cancelled():
                    raise
                value, error = None, self.problems.raised("local()", problem)
            self.journal.local_read(
                LocalRead(node=name, key=call.key, value=value, error=error, time=self.clock(), round=round, fault=fault)
            )
            return (value if error is None else error), error is None

        for call in calls:
            found = dict(zip(self.names, await asyncio.gather(*(read(name, call) for name in self.names)), strict=True))
            dead = {death.node for death in self.deaths}
            held = [(name, copy) for name, copy in found.items() if copy != (ELSEWHERE, False)]
            told = [copy for name, copy in held if copy[1] or name not in dead]
            if not told or not told[0][1] or any(copy != told[0] for copy in told):
                disagreed.append(call)
        return disagreed

    async def read_copy(self, name: str, call: Invocation) -> Any:
        """What that node's own copy holds, in an order of its own where the order is no part of it. A connection that was lost
        since it was last used, as by whoever was demoted, is opened again once: a read may be made twice."""
        if name not in copies(self.database, call.key):
            raise Elsewhere
        node = self.database.nodes[name]
        try:
            value = await self.workload.invoke(await self.database.local(node), call)
        except Indeterminate:
            value = await self.workload.invoke(await self.database.local(node), call)
        if self.workload.ordered or not isinstance(value, list | tuple | set | frozenset):
            return value
        try:
            return sorted(value)
        except TypeError:  # Of several kinds: any order will do that is the same everywhere.
            return sorted(value, key=repr)

    @asynccontextmanager
    async def phase(self, name: PhaseName, *, judged: bool = False, within: float | None = None) -> AsyncIterator[None]:
        """One phase: in the journal, on the terminal, and bounded in time (`SetupError` names it), by `LIMITS` or to so many
        seconds. With `judged`, an error of ours ends the phase and not the run."""
        began, computed = self.clock(), time.process_time_ns()
        self.journal.phase(name, began, ended=False)
        problem, exit_code = "", 0
        ticking = asyncio.create_task(self.tick(name, began))
        try:
            async with asyncio.timeout(within or LIMITS.get(name)):
                yield
            if name == "load":
                problem = self.gave_up
        except TimeoutError as error:
            problem = "took too long"
            if not judged:
                raise SetupError(f"{name} {problem}. {self.logged()}") from error
            self.progress.note(f"{name} {problem}. {self.logged()}")
        except BaseException as error:
            known = ours(error)
            cancelled = isinstance(error, asyncio.CancelledError)
            problem = "interrupted" if cancelled else described(error) if known is None else str(known)
            exit_code = known.exit_code if known is not None else 0 if cancelled else CRASHED
            if not judged or known is None or isinstance(known, StorageError):
                raise
            if exit_code in (UsageError.exit_code, CRASHED):  # What was recorded is judged, and this is told all the same.
                self.mistaken = self.mistaken or exit_code
                explain(self.run, error)
            else:
                exit_code = 0
            self.progress.note(f"{name}: {problem}")
        finally:
            ticking.cancel()
            self.progress.close()
            ended, cpu = self.clock(), time.process_time_ns() - computed
            self.journal.phase(name, ended, ended=True, problem=problem, cpu=cpu, exit_code=exit_code)
            if not problem:
                share = f"  harness {cpu / max(1, ended - began):.0%} CPU" if name == "load" else ""
                self.progress.phase(name, self.told(name) + share, (self.clock() - began) / 1e9)

    def told(self, name: PhaseName) -> str:
        """What a finished phase has to say on the terminal."""
        match name:
            case "set-up":
                return self.ready
            case "load" if self.load is not None:
                totals = self.load.totals
                return f"{totals.total():,} operations  " + "  ".join(f"{totals[k]:,} {k}" for k in ("ok", "fail", "info"))
            case _:
                return ""

    async def tick(self, name: PhaseName, began: int) -> None:
        """Show twice a second how far a phase is."""
        limit = {"load": length(self.plan), "settle": self.plan.settle}.get(name, 0.0)
        while True:
            await asyncio.sleep(0.5)
            totals = self.load.totals if self.load is not None and name == "load" else {}
            self.progress.tick((self.clock() - began) / 1e9, totals, name, limit)

    @contextmanager
    def stop_on_signal(self) -> Iterator[None]:
        """The first signal ends the load, so that the run heals and tears down; the second one, and one that comes before
        there is a load, tears down now."""
        loop = asyncio.get_running_loop()
        main = asyncio.current_task()
        signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

        def received(name: str) -> None:
            again, self.interrupted = self.interrupted, True
            if self.tearing_down or main is None:
                return
            if again or self.load is None:
                self.progress.note(f"{name}: tearing down now")
                main.cancel()
            else:
                self.progress.note(f"{name}: healing and tearing down (once more: tear down now)")
                self.load.stop()

        heard = [number for number in signals if signal.getsignal(number) is not signal.SIG_IGN]  # nohup ignores SIGHUP
        for number in heard:
            loop.add_signal_handler(number, received, number.name)
        try:
            yield
        finally:
            for number in heard:
                loop.remove_signal_handler(number)

    def is_fatal(self, line: str) -> bool:
        """Whether a line of a server's log says why it ended, as far as its database's file knows."""
        try:
            return self.database.fatal(line)
        except Exception as error:
            self.problems.raised("fatal()", error)
            return False

    def logged(self) -> str:
        """What each node's servers logged in the end; or that they could log none, on a full disk."""
        words = []
        if shutil.disk_usage(self.run.folder).free < ROOM:
            return f"{self.run.folder}: no space left on the device."
        for log in sorted(self.run.folder.glob("nodes/*/*.log")):
            words += [f"{log.parent.name}/{log.name}: {line}" for line in last_words(log, 3, self.is_fatal)]
        return "From the logs:\n  " + "\n  ".join(words[-15:]) if words else "No server logged anything."
