"""Additions to sets that only grow, and reads of whole sets."""

from __future__ import annotations

import random
from typing import Annotated, Any, ClassVar

from splitbrain.checkers.sets import SetChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Sets
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.places import Places
from splitbrain.workloads.workload import Invocation, KeyedWorkload


class Set(KeyedWorkload):
    """Adds elements to sets, each element once in the run, and reads whole sets.

    `plan.keys` sets grow at a time; one that was given `full` elements is replaced by a fresh one, and goes on being read.
    An element is never removed, so every acknowledged one must be in every later read: each lost one is counted. One worker
    of each home only reads.
    """

    name: ClassVar[str] = "set"
    summary: ClassVar[str] = "unique elements added to sets: lost, duplicated, unexpected and stale ones are counted"
    needs: ClassVar[frozenset[Capability]] = frozenset({"sets"})
    ordered: ClassVar[bool] = False
    grows: ClassVar[bool] = True

    class Options(OptionTable, frozen=True):
        """What the calls are, and how large a set becomes."""

        additions: Annotated[float, Setting("The part of the calls that add an element; the others read a set.",
                                            low=0.01, high=1)] = 0.7
        older: Annotated[float, Setting("The part of the reads that read any set so far, not one that still grows.",
                                        high=1)] = 0.2
        full: Annotated[int, Setting("Elements added to a set before a new one takes its place, so that a read stays small.",
                                     low=1, high=10_000)] = 64

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._added = 0
        self._sets = Places(plan.keys, self.options.full)

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        slot = rng.randrange(self.plan.keys)
        draw = rng.random()
        older = rng.randrange(len(self._sets))
        wanted = kind or ("read" if draw >= self.options.additions else "write")
        if wanted == "read" or self.reader(process):
            key = older if rng.random() < self.options.older else self._sets.current[slot]
            return Invocation("read", key, None, "read")
        key = self._sets.open(slot)
        self._sets.add_to(key)
        self._added += 1
        return Invocation("add", key, self._added, "write")

    async def invoke(self, client: Sets, invocation: Invocation) -> Any:
        if invocation.f == "add":
            await client.add(invocation.key, invocation.value)
            return invocation.value
        return list(await client.elements(invocation.key))

    @property
    def keys(self) -> int:
        return len(self._sets)

    def checkers(self) -> tuple[Checker, ...]:
        return (SetChecker(),)


class SetFull(Set):
    """The same calls, judged element by element: when each was added, first seen and last missed, so that what was lost and
    what was only late are told apart, with how late."""

    name: ClassVar[str] = "set-full"
    summary: ClassVar[str] = "the same, judged element by element: lost, late by how much, never read, doubled, out of order"

    def checkers(self) -> tuple[Checker, ...]:
        return (SetFullChecker(),)
