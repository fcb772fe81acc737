"""The fault controller: each fault of the schedule is aimed, done, proven, and undone on every way out.

What a nemesis aims at is resolved into specs, each of which has an injector. Every undo lies on a stack before its injector
acts, so that a fault ends also where the load fails, a signal comes or time is up. Faults are tasks of their own and may
overlap; what they do together is the cluster's to compose (`nemeses/cluster.py`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from typing import Any, Protocol

import msgspec

from splitbrain.harness.errors import SetupError, ours, raised_by, returned_by
from splitbrain.harness.history.fault import Fault, Kill, Nodes, OnServers, Pause, Proof, Spec, places
from splitbrain.harness.history.moment import moment
from splitbrain.harness.history.operation import Key
from splitbrain.harness.plan import Tables
from splitbrain.harness.rehearsal import ask, check_specs
from splitbrain.harness.schedules import Step, nemesis
from splitbrain.harness.testbeds.testbed import everything
from splitbrain.nemeses.cluster import Cluster
from splitbrain.nemeses.injectors.injector import RETURN, Injector
from splitbrain.nemeses.nemesis import DRAWS, Nemesis, NoTarget, Outlook

LOOK = 0.05
"""Seconds between two looks at who is primary."""
PATIENCE = 2.0
"""How long, in seconds, a fault waits for its target: an election may be under way."""
NEEDED = RETURN + 5.0
"""How long, in seconds, the undoing of a fault may take."""
HURRY = 5.0
"""The same where the run was cancelled: whoever wants out does not wait until a server serves again."""

HELD = 3.0
"""How long, in seconds, the proof that servers serve again may take before links that the same fault cut are put back: a server
that was started without a quorum may serve only with one."""


class Teller(Protocol):
    """Who is told what a fault does."""

    def fault(self, time_ns: int, text: str, detail: str) -> None: ...


class Controller:
    """Does the faults of one run. `primary` names the primary of the moment, and a database without one is `leaderless`;
    `stops_within` waits so many seconds and tells whether the load was stopped meanwhile; `record` is given a fault at each
    stage of it; `options` are the plan's, and `acknowledged` counts the writes that were; `holders` and `owners` tell who holds
    keys and locks, as `Outlook` has them."""

    def __init__(
        self, cluster: Cluster, seed: int, *, primary: Callable[[], str | None], leaderless: Callable[[], bool],
        stops_within: Callable[[float], Awaitable[bool]], record: Callable[[Fault], None], teller: Teller,
        options: Tables | None = None, acknowledged: Callable[[], int] = lambda: 0,
        holders: Callable[[], Mapping[Key, Nodes]] = dict, owners: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self.cluster = cluster
        self._seed = seed
        self._options = options or {}
        self._acknowledged = acknowledged
        self._holders = holders
        self._owners = owners
        self._primary = primary
        self._leaderless = leaderless
        self._stops_within = stops_within
        self._record = record
        self._teller = teller
        self._named: list[str] = []
        """Who was primary, one after another."""
        self._told = 0
        """The moment of the last line that was told."""
        self.under_way = 0
        """How many faults are in force."""
        self.healed: asyncio.Queue[int | None] = asyncio.Queue()
        """The id of each fault that was undone, as it happens; None once there will be no more."""

    async def inject(self, steps: Sequence[Step]) -> None:
        """Every fault of the schedule, each at its time; returns when the last one is undone. A stopped load undoes at once."""
        begin = self.cluster.clock()
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(self._watch())
            faults: list[asyncio.Task[None]] = []
            for number, step in enumerate(steps, 1):
                before = faults[-1] if step.alone and faults else None
                faults.append(group.create_task(self._fault(number, step, begin, before)))
            if faults:
                await asyncio.wait(faults)
            watching.cancel()

    async def prove_healed(self) -> tuple[str, ...]:
        """Whether every link carries packets and every server takes connections again, whatever the faults did; a sentence for
        what does not."""
        async with self.cluster.network:
            whole = everything(self.cluster.names)
            wrong = (await self.cluster.testbed.probe(whole, timeout=1.0)).wrong(whole)
        silent = await self.cluster.silent(self.cluster.names, timeout=1.0)
        told = (f"not healed: {places(wrong)}" if wrong else "", f"not serving: {' '.join(silent)}" if silent else "")
        return tuple(one for one in told if one)

    async def _fault(self, number: int, step: Step, begin: int, before: asyncio.Task[None] | None) -> None:
        if await self._stops_within(step.at - (self.cluster.clock() - begin) / 1e9):
            return
        stopped = False
        while before is not None and not before.done() and not stopped:
            stopped = await self._stops_within(LOOK)
        why = "the fault before it was not healed until the load ended" if stopped else ""
        if not why and step.writes and not await self._written(step.writes):
            why = f"fewer than {step.writes:,} writes were acknowledged until the load ended"
        if not why and step.when == "primary-changes" and not await self._primary_changed():
            if step.alone:  # A pace has one as often as that happens; a script names each.
                return
            why = "the primary did not change until the load ended"
        if why:
            self._nothing(Fault(id=number, nemesis=step.nemesis, scenario=step.scenario, started=self.cluster.clock()), why)
            return
        fault = Fault(id=number, nemesis=step.nemesis, scenario=step.scenario, started=self.cluster.clock())
        self._record(fault)
        found = nemesis(step.nemesis, self._options)
        try:
            rng = random.Random(f"{self._seed}/nemesis/{number}")
            specs = _timed(await self._again(step) if step.specs else await self._aim(found, step, rng), step)
        except NoTarget as error:
            self._nothing(fault, str(error))
            return
        fault = msgspec.structs.replace(fault, specs=specs, primary=self._primary())
        await self._do(fault, found, step.duration)

    def _nothing(self, fault: Fault, why: str) -> None:
        """Record that it did not come."""
        fault = msgspec.structs.replace(fault, detail=f"nothing was done: {why}")
        self._record(fault)
        self._tell(fault.started, f"{fault.nemesis} {fault.scenario}", fault.detail)

    async def _again(self, step: Step) -> tuple[Spec, ...]:
        """The targets that a script names; whoever is primary now takes the part of who was primary then, and the other way
        round. An election may be under way."""
        if not step.primary:
            return step.specs
        for _ in range(round(PATIENCE / LOOK)):
            if self._primary() is not None or await self._stops_within(LOOK):
                break
        now = self._primary() or step.primary
        return tuple(spec.renamed({step.primary: now, now: step.primary}) for spec in step.specs)

    async def _aim(self, found: Nemesis, step: Step, rng: random.Random) -> tuple[Spec, ...]:
        """What to do. An election may be under way: a target that is not there is waited for, and another primary than one to
        which that is done already by another fault. Raises `NoTarget`."""
        for attempt in range(round(PATIENCE / LOOK) + 1):
            primary = self._primary()
            view = Outlook(
                names=self.cluster.names, primary=primary, leaderless=self._leaderless(), out=self.cluster.out(),
                last_primary=next((name for name in reversed(self._named) if name != primary), None),
                holders=self._holders(), owners=tuple(self._owners()), sides=self.cluster.sides(),
            )
            state = rng.getstate()
            try:
                specs = self._drawn(found, step.scenario, view, rng)
            except NoTarget:
                rng.setstate(state)
                if attempt == round(PATIENCE / LOOK) or await self._stops_within(LOOK):
                    raise
            else:
                if not specs or not all(spec.touched for spec in specs):
                    raise NoTarget(f"{step.scenario} means no link and no node here")
                over = attempt == round(PATIENCE / LOOK) or step.scenario in view.names
                if over or not self._done_already(specs) or await self._stops_within(LOOK):
                    return specs
                rng.setstate(state)
        raise AssertionError("unreachable")

    def _done_already(self, specs: Sequence[Spec]) -> bool:
        """Whether one of them is to end servers that are down, or have some stand still of which none runs."""
        out = {Kill: set(self.cluster.down(self.cluster.names)), Pause: set(self.cluster.out())}
        return any(spec.touched <= out[type(spec)] for spec in specs if isinstance(spec, Kill | Pause))

    @staticmethod
    def _drawn(found: Nemesis, scenario: str, view: Outlook, rng: random.Random) -> tuple[Spec, ...]:
        """Targets, drawn anew where something is to befall servers all of which another fault keeps down or standing still: it
        would do nothing. Where a role means these and no others, they are the targets. Raises `NoTarget`."""
        for _ in range(DRAWS):
            specs: tuple[Spec, ...] = ask(found.aim, scenario, view, rng)
            check_specs(found, specs, view.names)
            if not any(isinstance(spec, OnServers) and spec.touched <= set(view.out) for spec in specs):
                break
        return specs

    async def _do(self, fault: Fault, found: Nemesis, duration: float) -> None:
        """Do it, prove it, wait, undo it, prove that. What was reached is recorded on every way out."""
        names, clock = self.cluster.names, self.cluster.clock
        injectors = [found.injector(spec) for spec in fault.specs]
        undone: dict[int, Proof] = {}
        undoing: list[asyncio.Future[None]] = []
        proofs: list[Proof] = []

        async def undo(at: int) -> None:
            undone[at] = await _proof(injectors[at].undo, fault.specs[at], self.cluster)

        async def begin_to_undo(at: int) -> None:
            task = asyncio.ensure_future(undo(at))
            cut = any(spec.needs == "cut" for spec in fault.specs[:at])
            try:
                await _to_its_end(task, HELD if cut else None)
            finally:
                if not task.done():
                    undoing.append(task)

        async def end_to_undo() -> None:
            for task in undoing:
                await _to_its_end(task)

        self.under_way += 1
        try:
            async with AsyncExitStack() as stack:
                stack.push_async_callback(end_to_undo)
                for at, (spec, injector) in enumerate(zip(fault.specs, injectors, strict=True)):
                    stack.push_async_callback(begin_to_undo, at)
                    proofs.append(await _proof(injector.start, spec, self.cluster))
                holds = all(proof.holds for proof in proofs)
                fault = msgspec.structs.replace(
                    fault, proofs=tuple(proofs), sides=self.cluster.sides(),
                    in_force=max(proof.acted for proof in proofs) if holds else None,
                )
                self._record(fault)
                self._tell(fault.in_force or fault.started, fault.doing(names), fault.proof(names))
                left = duration
                if any(isinstance(spec, Pause) and spec.length for spec in fault.specs):
                    # The proof just before its end takes as long as this one took.
                    left -= 2 * (clock() - max(proof.acted for proof in proofs)) / 1e9
                await self._last(fault.specs, injectors, left)
                try:
                    for at, (spec, injector) in enumerate(zip(fault.specs, injectors, strict=True)):
                        proofs[at] = _both(proofs[at], await _proof(injector.still, spec, self.cluster, or_none=True))
                except SetupError as error:  # What cannot be looked at is not known to have held.
                    unknown = (msgspec.structs.replace(proof, holds=False, detail=str(error)) for proof in proofs)
                    fault = msgspec.structs.replace(fault, proofs=tuple(unknown))
                    raise
                fault = msgspec.structs.replace(fault, proofs=tuple(proofs), heal_began=clock())
        finally:
            if len(undone) == len(injectors):
                found_again = tuple(undone[at] for at in range(len(injectors)))
                fault = msgspec.structs.replace(
                    fault, undone=found_again, heal_began=fault.heal_began or min(p.acted - p.spread for p in found_again),
                    healed=max(proof.at for proof in found_again) if all(proof.holds for proof in found_again) else None,
                )
            self._record(fault)
            self.under_way -= 1
        self.healed.put_nowait(fault.id)
        self._tell(fault.heal_began or clock(), fault.undoing(), fault.heal_proof(names))

    def _tell(self, at: int, text: str, detail: str) -> None:
        """What happened at a moment is told once it is proven. Where something later was told meanwhile, it is told as of now,
        and when it began: people read lines in their order."""
        if at < self._told:
            detail = f"{detail}, since {moment(at)}"
            at = self.cluster.clock()
        self._told = at
        self._teller.fault(at, text, detail)

    async def _last(self, specs: Sequence[Spec], injectors: Sequence[Injector[Any]], duration: float) -> None:
        """Wait, while what goes on meanwhile goes on."""
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(_asked(one.during, spec, self.cluster)) for spec, one in zip(specs, injectors, strict=True)
            ]
            await self._stops_within(duration)
            for task in beside:
                task.cancel()

    async def _watch(self) -> None:
        """Remember who is primary, and who was."""
        while True:
            primary = self._primary()
            if primary is not None and self._named[-1:] != [primary]:
                self._named.append(primary)
            await asyncio.sleep(LOOK)

    async def _written(self, writes: int) -> bool:
        """Wait until so many writes were acknowledged; False where the load was stopped before."""
        while self._acknowledged() < writes:
            if await self._stops_within(LOOK):
                return False
        return True

    async def _primary_changed(self) -> bool:
        """Wait until the nodes name another primary; False where the load was stopped before. The first of all is no other."""
        before = max(1, len(self._named))
        while len(self._named) <= before:
            if await self._stops_within(LOOK):
                return False
        return True


def _timed(specs: tuple[Spec, ...], step: Step) -> tuple[Spec, ...]:
    """The specs, where pauses of them that are to last exactly as long as the fault are told how long that is."""
    return tuple(msgspec.structs.replace(spec, length=step.duration) if isinstance(spec, Pause) and (step.exact or spec.length)
                 else spec for spec in specs)


async def _to_its_end(task: asyncio.Future[None], most: float | None = None) -> None:
    """What undoes a fault goes to its end, also where it is cancelled meanwhile. Whoever wants out waits `HURRY` seconds at
    most, which may be too short for the proof. After `most` seconds it goes on alone, and is not given up."""
    current = asyncio.current_task()
    hurry = HURRY if current is not None and current.cancelling() else None
    try:
        await asyncio.wait([task], timeout=min((one for one in (hurry, most) if one is not None), default=None))
    except asyncio.CancelledError:
        await asyncio.wait([task], timeout=most or HURRY)
        raise
    finally:
        if most is None:
            task.cancel()
    if not task.cancelled() and task.done():
        task.result()


async def _asked(method: Callable[..., Awaitable[Any]], spec: Spec, cluster: Cluster) -> Any:
    """What an injector's method answers. Raises `UsageError` with its place for what it raises against its contract."""
    try:
        return await method(spec, cluster)
    except Exception as error:
        raise ours(error) or raised_by(method, error) from error


async def _proof(method: Callable[..., Awaitable[Any]], spec: Spec, cluster: Cluster, *, or_none: bool = False) -> Any:
    """The proof that an injector's method gives. Raises `UsageError` where it gives none."""
    proof = await _asked(method, spec, cluster)
    if not isinstance(proof, Proof) and not (or_none and proof is None):
        raise returned_by(method, proof, "no Proof")
    return proof


def _both(first: Proof, last: Proof | None) -> Proof:
    """A proof that held at the beginning, and what was seen just before the end, in the words of then."""
    if last is None:
        return first
    detail, figures = last.detail or first.detail, first.figures or last.figures
    if last.holds:
        return msgspec.structs.replace(first, figures=figures, detail=detail)
    wrong = (*first.wrong, *(place for place in last.wrong if place not in first.wrong))
    return msgspec.structs.replace(first, holds=False, wrong=wrong, figures=figures, detail=detail)
