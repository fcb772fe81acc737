"""Reads, writes and compare-and-sets on many registers, every value written once."""

from __future__ import annotations

import random
from typing import Annotated, Any, ClassVar

from splitbrain.checkers.linearizability import Linearizability
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.checkers.sessions import Sessions
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import CompareAndSet
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.workload import Invocation, KeyedWorkload, shown


class Register(KeyedWorkload):
    """Reads, writes and, where the variant offers it, compare-and-sets on `plan.keys` registers, numbered from 0.

    Every key is used during the whole run, so that each one spans every fault. Every written value is new (one counter for
    the run), so that a read names its write and the history is decided in nearly linear time. A compare-and-set goes from
    the value that anyone last saw in that key to a new one; before anything was seen it is a write.

    Even keys are busy: half reads, and many calls at once on the same value. Odd keys are calm: nine reads in ten, so that
    what was written stays to be read, from every home, and a lost or half-replicated write is not soon overwritten. One
    worker of each home only reads.
    """

    name: ClassVar[str] = "register"
    summary: ClassVar[str] = "reads, writes and compare-and-sets on many registers, judged for linearizability"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers"})

    class Options(OptionTable, frozen=True):
        """What the calls to a key are, as parts of them. What is neither a read nor a compare-and-set is a write."""

        busy_reads: Annotated[float, Setting("Of the calls to a busy key, the part that reads.", high=1)] = 0.5
        busy_cas: Annotated[float, Setting("Of the calls to a busy key, the part that compares and sets.", high=1)] = 0.15
        calm_reads: Annotated[float, Setting("Of the calls to a calm key, the part that reads.", high=1)] = 0.9
        calm_cas: Annotated[float, Setting("Of the calls to a calm key, the part that compares and sets.", high=1)] = 0.03

        def __post_init__(self) -> None:
            if max(self.busy_reads + self.busy_cas, self.calm_reads + self.calm_cas) > 1:
                raise ValueError("reads and compare-and-sets are more than all calls together")

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._written = 0
        self._last: dict[Key, int] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        options = self.options
        reads, cas = (options.calm_reads, options.calm_cas) if key % 2 else (options.busy_reads, options.busy_cas)
        draw = rng.random()
        wanted = kind or ("read" if draw < reads else "write")
        if wanted == "read" or self.reader(process):
            return Invocation("read", key, None, "read")
        self._written += 1
        last = self._last.get(key)
        if draw < 1 - cas or last is None or "compare-and-set" not in self.offers:
            return Invocation("write", key, self._written, "write")
        return Invocation("cas", key, (last, self._written), "write")

    def observe(self, operation: Operation) -> None:
        if (seen := shown(operation)) is not None:
            self._last[operation.key] = seen

    async def invoke(self, client: CompareAndSet, invocation: Invocation) -> Any:
        match invocation.f:
            case "read":
                return await client.read(invocation.key)
            case "write":
                await client.write(invocation.key, invocation.value)
            case _:
                await client.cas(invocation.key, *invocation.value)
        return invocation.value

    def checkers(self) -> tuple[Checker, ...]:
        return Linearizability(CasRegister()), Sessions(alone=False)
