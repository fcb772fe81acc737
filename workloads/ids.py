"""Identifiers that are handed out once."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Any, ClassVar

from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Ids
from splitbrain.workloads.workload import Invocation, Workload


class UniqueIds(Workload):
    """Asks `plan.keys` generators for identifiers. A call that was not answered gave its identifier to nobody, so that it may
    be forgotten: the calls of one worker of each home, and a third of the others', are reads therefore, made and measured as
    such. In the end everyone asks once more."""

    name: ClassVar[str] = "unique-ids"
    summary: ClassVar[str] = "identifiers from generators: whether one is handed out twice"
    needs: ClassVar[frozenset[Capability]] = frozenset({"ids"})

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        reads = self.reader(process) or (kind == "read" if kind else rng.random() < 1 / 3)
        return Invocation("generate", rng.randrange(self.plan.keys), None, "read" if reads else "write")

    async def invoke(self, client: Ids, invocation: Invocation) -> Any:
        return await client.next_id(invocation.key)

    def final(self) -> Sequence[Invocation]:
        return [Invocation("generate", key, None, "read") for key in range(self.plan.keys)]

    def local(self) -> Sequence[Invocation]:
        return []

    def written(self) -> Collection[Key]:
        return range(self.plan.keys)

    def checkers(self) -> tuple[Checker, ...]:
        return (IdsChecker(),)
