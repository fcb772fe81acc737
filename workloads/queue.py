"""Elements put into queues and taken out again."""

from __future__ import annotations

import random
from typing import Annotated, Any, ClassVar

from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Queues
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.workload import Invocation, KeyedWorkload


class Queue(KeyedWorkload):
    """Puts elements into `plan.keys` queues, each element once in the run, takes them out, and looks at what waits. In the end
    what waits is read, and nothing is taken out: so nothing more can be lost on its way. One worker of each home only looks.
    """

    name: ClassVar[str] = "queue"
    summary: ClassVar[str] = "unique elements put into queues and taken out: lost, doubled and reordered ones are counted"
    needs: ClassVar[frozenset[Capability]] = frozenset({"queues"})
    grows: ClassVar[bool] = True

    class Options(OptionTable, frozen=True):
        """What the calls are, as parts of them. What is neither is a look at what waits."""

        enqueues: Annotated[float, Setting("The part of the calls that put an element into a queue.", high=1)] = 0.45
        dequeues: Annotated[float, Setting("The part of the calls that take an element out.", high=1)] = 0.4

        def __post_init__(self) -> None:
            if self.enqueues + self.dequeues > 1:
                raise ValueError("enqueues and dequeues are more than all calls together")

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._added = 0

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        enqueues, dequeues = self.options.enqueues, self.options.dequeues
        draw = rng.random() * (enqueues + dequeues if kind == "write" else 1)
        if self.reader(process) or kind == "read" or draw >= enqueues + dequeues:
            return Invocation("read", key, None, "read")
        if draw < enqueues:
            self._added += 1
            return Invocation("enqueue", key, self._added, "write")
        return Invocation("dequeue", key, None, "write")

    async def invoke(self, client: Queues, invocation: Invocation) -> Any:
        match invocation.f:
            case "read":
                return list(await client.waiting(invocation.key))
            case "enqueue":
                await client.enqueue(invocation.key, invocation.value)
                return invocation.value
            case _:
                return await client.dequeue(invocation.key)

    def checkers(self) -> tuple[Checker, ...]:
        return (QueueChecker(),)
