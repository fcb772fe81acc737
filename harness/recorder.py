"""The part of a run that needs the cluster, phase by phase; readable top to bottom.

Nodes up → database ready → workers and faults side by side → heal, proven → settle → final reads → tear-down. Everything that
happens goes to the journal the moment it happens; nothing here judges it.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import platform
import signal
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

import splitbrain
from splitbrain.harness import registry
from splitbrain.harness.databases.database import Database
from splitbrain.harness.errors import ELSEWHERE, Indeterminate, Refused, SetupError, SplitbrainError
from splitbrain.harness.faults import NEEDED, Controller
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.journal import Header, Journal
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.recording import LocalRead, PhaseName
from splitbrain.harness.load.load import Load
from splitbrain.harness.load.route import Router
from splitbrain.harness.plan import Plan
from splitbrain.harness.schedules import schedule
from splitbrain.harness.store import Run
from splitbrain.harness.testbeds.testbed import Connectivity, Testbed, everything
from splitbrain.nemeses.cluster import Cluster
from splitbrain.reports.terminal import Progress
from splitbrain.workloads.workload import Workload

LIMITS: dict[PhaseName, float] = {
    "set-up": 90.0,
    "heal": 15.0,
    "final-reads": 60.0,
    "tear-down": 20.0,
}
"""Seconds that a phase may take. The load and the settling have the plan's lengths, and this much more to end in."""

GRACE = 15.0

WATCH = 0.1
"""Seconds between two looks for servers that ended by themselves."""

LAST_LINES = 5
"""Of the log of a server that died, so many are kept in the journal."""

AGREE = 0.25
"""Seconds between two rounds of comparing the replicas."""

INTERRUPTED = 130


def record(plan: Plan, run: Run, progress: Progress) -> int:
    """Do everything that needs the cluster; what happened is in the run's journal. Whatever happens, no node is left.

    Returns 0; 130 where it was interrupted; or the exit code of what stopped it, said in one sentence to `progress`.
    """
    testbed: Testbed = registry.look_up("testbeds", plan.testbed)(plan, run.label, run.folder)

    def work() -> int:
        try:
            return asyncio.run(_Recorder(plan, run, testbed, progress).record())
        except asyncio.CancelledError:
            return INTERRUPTED
        except (SplitbrainError, BaseExceptionGroup) as raised:
            error = _ours(raised)
            if error is None:
                raise
            progress.note(str(error))
            return error.exit_code

    return testbed.inside(work)


def _ours(raised: BaseException) -> SplitbrainError | None:
    """The error of ours that a group of exceptions stands for, None where one of them is not ours."""
    if isinstance(raised, SplitbrainError):
        return raised
    if isinstance(raised, BaseExceptionGroup):
        found = [_ours(inner) for inner in raised.exceptions]
        return found[0] if all(found) else None
    return None


class _Recorder:
    """The part of a run that needs the cluster."""

    def __init__(self, plan: Plan, run: Run, testbed: Testbed, progress: Progress) -> None:
        self.plan = plan
        self.run = run
        self.testbed = testbed
        self.progress = progress
        self.began = time.monotonic_ns()
        self.journal = Journal(run.journal)
        self.interrupted = False
        self.tearing_down = False
        self.load: Load | None = None
        self.deaths: set[Death] = set()

    def clock(self) -> int:
        """Nanoseconds from the start of the run."""
        return time.monotonic_ns() - self.began

    async def record(self) -> int:
        database_class: type[Database] = registry.look_up("databases", self.plan.database)
        variant = next(variant for variant in database_class.variants if variant.name == self.plan.variant)
        self.names = tuple(f"n{number}" for number in range(1, self.plan.nodes + 1))
        self.journal.header(
            Header(
                run=self.run.label, plan=self.plan, variant=variant, nodes=self.names, version=splitbrain.__version__,
                kernel=platform.release(), started=datetime.now(UTC).isoformat(timespec="seconds"),
            )
        )
        self.workload: Workload = registry.look_up("workloads", self.plan.workload)(self.plan, variant.methods)
        with self.stop_on_signal():
            try:
                async with self.phase("set-up"):
                    await self.set_up(database_class)
                await self.measure()
            finally:
                self.tearing_down = True
                self.progress.close()
                async with self.phase("tear-down"):
                    await self.testbed.down()
                    if not self.plan.keep:
                        self.run.drop_data()
                self.journal.end(self.clock(), interrupted=self.interrupted)
                self.journal.close()
        return 130 if self.interrupted else 0

    async def set_up(self, database_class: type[Database]) -> None:
        """Nodes up, servers started, a write and a read through every node that should take them, primary known."""
        await self.testbed.up(self.plan.nodes)
        self.database = database_class(self.plan, self.testbed.nodes)
        self.router = Router(self.database, everything(self.names), self.journal.view, self.clock)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self.watch())
            await self.start()
            watching.cancel()
        versions = await self.database.versions()
        self.journal.versions(versions, await self.testbed.facts())
        await self.testbed.listen(self.database.port)
        await self.router.look()
        primary = self.router.primary()
        self.ready = f"{len(self.names)}/{len(self.names)} nodes ready" + (f", primary {primary}" if primary else "")
        self.ready += f", {self.database.name} {' and '.join(sorted(set(versions.values())))}"

    async def start(self) -> None:
        """Start the database and wait until it is ready."""
        try:
            async with asyncio.timeout(LIMITS["set-up"] - 10):
                await self.database.start()
                while not await self.database.ready():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise SetupError(f"{self.plan.database} never got ready. {self.last_words()}") from None

    async def watch(self) -> None:
        """A server that ends by itself ends the wait for it."""
        while True:
            await asyncio.sleep(WATCH)
            if ended := [f"{death.node}: {death}" for node in self.testbed.nodes for death in node.ended()]:
                raise SetupError(f"{'; '.join(ended)}. {self.last_words()}")

    async def measure(self) -> None:
        """Load with faults, heal, settle, final reads."""
        beside = [asyncio.create_task(self.router.follow()), asyncio.create_task(self.watch_for_deaths())]
        self.load = load = Load(self.plan, self.database, self.workload, self.router, self.journal, self.clock)
        try:
            async with self.phase("load"):
                await self.load_and_faults(load)
            async with self.phase("heal"):
                await self.prove_healed()
            if not self.interrupted:
                async with self.phase("settle"):
                    await self.settle()
                async with self.phase("final-reads"):
                    await load.make(self.workload.final())
                    await self.compare(round=1000)
        finally:
            for task in beside:
                task.cancel()
            await asyncio.wait(beside)
            self.look_for_deaths()
            await load.close()
            await self.database.close()

    async def watch_for_deaths(self) -> None:
        """A server that ends by itself is told; the run goes on."""
        while True:
            self.look_for_deaths()
            await asyncio.sleep(WATCH)

    def look_for_deaths(self) -> None:
        """Record each server that ended though nobody stopped it, once."""
        for node in self.testbed.nodes:
            for found in node.ended():
                if found not in self.deaths:
                    log = tuple(tail(node.log(found.service), LAST_LINES))
                    death = msgspec.structs.replace(found, time=found.time - self.began, log=log)
                    self.journal.death(death)
                    self.deaths.add(found)
                    self.progress.death(death)

    async def load_and_faults(self, load: Load) -> None:
        """Workers and nemesis side by side, until the time is up, a signal stops them, or one of them fails."""
        steps = schedule(self.plan)
        self.controller = Controller(
            Cluster(self.testbed, self.names, self.clock, self.enforce), self.plan.seed, primary=self.router.primary,
            leaderless=lambda: self.router.leaderless, stops_within=load.stops_within, record=self.journal.fault,
            teller=self.progress,
        )
        seconds = self.plan.time or max((step.at + step.duration for step in steps), default=0.0) + self.plan.between
        async with asyncio.timeout(seconds + GRACE + NEEDED), asyncio.TaskGroup() as group:
            ticking = group.create_task(self.tick(load))
            faulting = group.create_task(self.controller.inject(steps))
            await load.run(seconds)
            await faulting
            ticking.cancel()

    def enforce(self, links: Connectivity) -> None:
        """These are the links that workers may use from now on."""
        self.router.links = links
        if self.load is not None:
            self.load.enforce()

    async def prove_healed(self) -> None:
        """Every link carries packets again and every server takes connections, whatever the faults did."""
        for problem in await self.controller.prove_healed():
            self.progress.note(problem)

    async def settle(self) -> None:
        """Wait until all replicas hold the same, or the plan's patience ends; a round that was begun is finished."""
        end = asyncio.get_running_loop().time() + self.plan.settle
        keys = self.workload.local[1]
        async with asyncio.timeout(self.plan.settle + GRACE):
            for round in itertools.count():
                keys = await self.compare(round, keys)
                if not keys or asyncio.get_running_loop().time() + AGREE > end:
                    return
                await asyncio.sleep(AGREE)

    async def compare(self, round: int, keys: Sequence[Key] | None = None) -> tuple[Key, ...]:
        """Read the keys from every node's own copy into the journal; the keys on which the nodes do not agree.
        What only a server that died cannot tell is not waited for."""
        method, all_keys = self.workload.local
        wanted = all_keys if keys is None else keys
        found: dict[str, list[Any]] = {}

        async def read(name: str) -> None:
            found[name] = []
            for key in wanted:
                value, error = None, None
                try:
                    async with asyncio.timeout(self.plan.timeout):
                        value = await self.database.local_read(self.database.nodes[name], method, key)
                        value = sorted(value) if method == "elements" else value
                except (Refused, Indeterminate, TimeoutError) as problem:
                    error = str(problem) or "timeout"
                found[name].append((value if error is None else error, error is None))
                self.journal.local_read(
                    LocalRead(node=name, key=key, value=value, error=error, time=self.clock(), round=round)
                )

        async with asyncio.TaskGroup() as group:
            for name in self.names:
                group.create_task(read(name))
        disagreed = []
        dead = {death.node for death in self.deaths}
        for at, key in enumerate(wanted):
            held = [(name, found[name][at]) for name in self.names if found[name][at] != (ELSEWHERE, False)]
            copies = [copy for name, copy in held if copy[1] or name not in dead]
            if not copies or not copies[0][1] or any(copy != copies[0] for copy in copies):
                disagreed.append(key)
        return tuple(disagreed)

    @asynccontextmanager
    async def phase(self, name: PhaseName) -> AsyncIterator[None]:
        """One phase: in the journal, on the terminal, and bounded in time (`SetupError` names it)."""
        began = self.clock()
        self.journal.phase(name, began, ended=False)
        problem = ""
        try:
            async with asyncio.timeout(LIMITS.get(name)):
                yield
        except TimeoutError:
            problem = "took too long"
            raise SetupError(f"{name} {problem}. {self.last_words()}") from None
        except BaseException as error:
            known = _ours(error)
            problem = f"{type(error).__name__}: {error}" if known is None else str(known)
            raise
        finally:
            self.journal.phase(name, self.clock(), ended=True, problem=problem)
            if not problem:
                self.progress.phase(name, self.told(name), (self.clock() - began) / 1e9)

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

    async def tick(self, load: Load) -> None:
        began = self.clock()
        while True:
            await asyncio.sleep(0.5)
            self.progress.tick((self.clock() - began) / 1e9, load.totals)

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

        for number in signals:
            loop.add_signal_handler(number, received, number.name)
        try:
            yield
        finally:
            for number in signals:
                loop.remove_signal_handler(number)

    def last_words(self) -> str:
        """The last lines that each node's servers logged."""
        words = []
        for log in sorted(self.run.folder.glob("nodes/*/*.log")):
            words += [f"{log.parent.name}/{log.name}: {line}" for line in tail(log, 3)]
        return "The last lines of the logs:\n  " + "\n  ".join(words[-15:]) if words else "No server logged anything."


def tail(log: Path, lines: int) -> list[str]:
    """The last lines of a log, of which it reads a few kilobytes."""
    with log.open("rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 8192))
        return file.read().decode(errors="replace").splitlines()[-lines:]
