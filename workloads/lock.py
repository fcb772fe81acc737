"""Locks that clients hold for a while, with and without a fence."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from splitbrain.checkers.structures.lock import LockChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import SECOND, Setting
from splitbrain.workloads.workload import Invocation, KeyedWorkload

LOCKS, SPREAD = 6, 20
"""The most locks, few, so that one that was lost is soon taken by another; a plan of more than `LOCKS * SPREAD` keys, as a
database needs whose calls hinder each other where they meet, has one for every `SPREAD` of its keys."""

SHORT = 0.05
"""Seconds that most holds last at most."""

WRITES, WRITES_ALONE = 0.1, 0.5
"""The share of a holder's calls that write what its lock guards: while it is answered, and once it is not, or stood still for
longer than its lease. A process whose write ends unknown is gone with its lock; the writes that a fence must refuse are those
of a holder that was cut off or paused."""


@dataclass
class _Hold:
    """A lock that a process believes to hold, from its `home`; `heard` is when it was last answered, `alone` that its last
    call was not. Times are those of the monotonic clock."""

    key: Key
    fence: int | None
    until: float
    home: str
    heard: float
    alone: bool = False


class Lock(KeyedWorkload):
    """Takes locks (few, see `LOCKS`) on lease, each process one at a time, holds it for a while in which the lease is renewed,
    and gives it back. A process trusts its lock until it is told that it lost it, as a client does that does
    not watch its own clock: cut off or paused for longer than the lease, it goes on while another takes the lock. One worker
    of each home only asks who holds which.

    A process is its owner's name, so `acquire` and `release` have none; the value of an `acquire` is its fence.
    """

    name: ClassVar[str] = "lock"
    summary: ClassVar[str] = "locks on lease, held for a while: whether two ever hold one at the same time"
    needs: ClassVar[frozenset[Capability]] = frozenset({"locks"})

    class Options(OptionTable, frozen=True):
        """How long a lock is held."""

        lease: Annotated[float, Setting("How long a lock is held for an owner that is not heard of.", unit=SECOND, low=0.1,
                                        high=60)] = 2.0
        longest: Annotated[float, Setting("How long one owner at each home holds a lock, renewing its lease.", unit=SECOND,
                                          low=0.1, high=600)] = 20.0

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._holds: dict[int, _Hold] = {}
        self._written = 0

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        hold = self._holds.get(process)
        if hold is not None:
            if time.monotonic() >= hold.until:
                return Invocation("release", hold.key, process, "write")
            return self.held(rng, process, hold)
        key = rng.randrange(self.keys)
        if self.reader(process) or kind == "read" or rng.random() < 0.3:
            return Invocation("read", key, None, "read")
        return Invocation("acquire", key, process, "write")

    def patient(self, process: int) -> bool:
        """Whether that process holds a lock for long: the second worker of every home. So every side of a cut has a holder."""
        workers = self.plan.concurrency
        return process % workers == min(1, workers - 1) and process < workers * self.plan.nodes

    def held(self, rng: random.Random, process: int, hold: _Hold) -> Invocation:
        """What a process does that holds a lock."""
        return Invocation("renew", hold.key, process, "read")

    def observe(self, operation: Operation) -> None:
        process = operation.process
        if operation.f == "acquire" and operation.outcome == "ok":
            rng = random.Random(f"{self.plan.seed}/{process}/{operation.invoked}")
            lasts = self.options.longest if self.patient(process) else SHORT * rng.random()
            now = time.monotonic()
            self._holds[process] = _Hold(operation.key, operation.value, now + lasts, operation.node or "", now)
        elif operation.f == "release" or operation.outcome == "info" or (operation.answered and operation.outcome == "fail"):
            self._holds.pop(process, None)
        elif process in self._holds:
            hold = self._holds[process]
            hold.alone = not operation.answered
            hold.heard = time.monotonic() if operation.answered else hold.heard

    def owners(self) -> Sequence[str]:
        """Those that were answered last: who is cut off already is no target."""
        holds = sorted(self._holds.values(), key=lambda hold: -hold.until)
        return tuple(dict.fromkeys(hold.home for hold in holds if not hold.alone))

    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        match invocation.f:
            case "read":
                return await client.holder(invocation.key)
            case "acquire":
                return await client.acquire(invocation.key, invocation.value, self.options.lease)
            case "renew":
                await client.renew(invocation.key, invocation.value, self.options.lease)
            case _:
                await client.release(invocation.key, invocation.value)
        return invocation.value

    @property
    def keys(self) -> int:
        return min(max(LOCKS, self.plan.keys // SPREAD), self.plan.keys)

    def checkers(self) -> tuple[Checker, ...]:
        return (LockChecker(),)


class FencedLock(Lock):
    """The same, where what a lock guards is written with the holder's fence, and refuses an old one. What is read is the
    register that is guarded."""

    name: ClassVar[str] = "fenced-lock"
    summary: ClassVar[str] = "locks on lease that guard registers by a fence: whether a holder that lost its lock gets through"
    needs: ClassVar[frozenset[Capability]] = frozenset({"fences"})

    def held(self, rng: random.Random, process: int, hold: _Hold) -> Invocation:
        alone = hold.alone or time.monotonic() - hold.heard > self.options.lease
        if rng.random() >= (WRITES_ALONE if alone else WRITES):
            return super().held(rng, process, hold)
        self._written += 1
        return Invocation("write", hold.key, (self._written, hold.fence), "write")

    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        match invocation.f:
            case "read":
                return await client.read(invocation.key)
            case "write":
                await client.guarded_write(invocation.key, *invocation.value)
                return invocation.value
        return await super().invoke(client, invocation)

    def checkers(self) -> tuple[Checker, ...]:
        return (LockChecker(fenced=True),)
