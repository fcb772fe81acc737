"""Identifiers that are handed out once."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, ClassVar

from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Kind
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import Ids
from splitbrain.workloads.workload import Invocation, Workload


class UniqueIds(Workload):
    """Asks `plan.keys` generators for identifiers. Nothing is read: an identifier is only ever given."""

    name: ClassVar[str] = "unique-ids"
    summary: ClassVar[str] = "identifiers from generators: whether one is handed out twice"
    needs: ClassVar[frozenset[Capability]] = frozenset({"ids"})

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        return Invocation("generate", rng.randrange(self.plan.keys), None, "write")

    async def invoke(self, client: Ids, invocation: Invocation) -> Any:
        return await client.next_id(invocation.key)

    def final(self) -> Sequence[Invocation]:
        return []

    def local(self) -> Sequence[Invocation]:
        return []

    def checkers(self) -> tuple[Checker, ...]:
        return (IdsChecker(),)
