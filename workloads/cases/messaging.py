"""Messages into inboxes: sent once, or again until they are confirmed."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal

from splitbrain.checkers.cases.messaging import COPIES, MessagingChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Sets
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.places import Places
from splitbrain.workloads.workload import Invocation, Workload

Delivery = Literal["at-most-once", "at-least-once", "deduplicated"]

FULL = 64
"""Messages of an inbox before a new one takes its place, so that a read stays small."""


class Messaging(Workload):
    """Sends messages to `plan.keys` inboxes at a time, and reads inboxes, those too that are full.

    A message is told to be delivered only once the database has confirmed it. One that was not confirmed is sent again from the
    same home, as another copy, until it is; or never, where `delivery` is `at-most-once`. Where it is `deduplicated`, a device
    shows one copy of a message. One worker of each home only reads.
    """

    name: ClassVar[str] = "messaging"
    summary: ClassVar[str] = "messages: confirmed ones that vanish, doubled ones, old ones that appear as new"
    needs: ClassVar[frozenset[Capability]] = frozenset({"sets"})
    ordered: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    class Options(OptionTable, frozen=True):
        """What is promised."""

        delivery: Annotated[Delivery, Setting("How often a message is sent, and shown.")] = "at-least-once"
        sends: Annotated[float, Setting("The part of the calls that send; the others read an inbox.", low=0.01, high=1)] = 0.4

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._messages = 0
        self._inboxes = Places(plan.keys, FULL)
        self._homes: dict[int, str] = {}
        self._unsent: defaultdict[str, deque[tuple[Key, int]]] = defaultdict(deque)

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        if self.reader(process) or kind == "read" or (kind is None and rng.random() >= self.options.sends):
            key = rng.randrange(len(self._inboxes)) if rng.random() < 0.2 else rng.choice(self._inboxes.current)
            return Invocation("read", key, None, "read")
        if unsent := self._unsent[self._homes.get(process, "")]:
            inbox, copy = unsent.popleft()
            return Invocation("send", inbox, copy + 1, "write")
        inbox = self._inboxes.open(rng.randrange(self.plan.keys))
        self._inboxes.add_to(inbox)
        self._messages += 1
        return Invocation("send", inbox, self._messages * COPIES, "write")

    def observe(self, operation: Operation) -> None:
        home = operation.node or ""
        self._homes[operation.process] = home
        if operation.f == "send" and not operation.answered and self.options.delivery != "at-most-once" \
                and operation.value % COPIES < COPIES - 1:
            self._unsent[home].append((operation.key, operation.value))

    async def invoke(self, client: Sets, invocation: Invocation) -> Any:
        if invocation.f == "send":
            await client.add(invocation.key, invocation.value)
            return invocation.value
        return list(await client.elements(invocation.key))

    def final(self) -> Sequence[Invocation]:
        return [Invocation("read", key, None, "read") for key in range(len(self._inboxes))]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def checkers(self) -> tuple[Checker, ...]:
        return (MessagingChecker(deduplicated=self.options.delivery == "deduplicated"),)
