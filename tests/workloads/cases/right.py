"""A service that is right: registers and sets of one server, used by the clients of a workload one after another."""

from __future__ import annotations

import asyncio
import random
from typing import Any

from splitbrain.harness.errors import Mismatch
from splitbrain.harness.history.operation import Operation
from splitbrain.workloads.workload import Invocation, Workload


class Copy:
    """Registers and sets of one server."""

    def __init__(self) -> None:
        self.registers: dict[Any, int] = {}
        self.sets: dict[Any, set[int]] = {}

    async def read(self, key: Any) -> int | None:
        return self.registers.get(key)

    async def write(self, key: Any, value: int) -> None:
        self.registers[key] = value

    async def cas(self, key: Any, expected: int | None, new: int) -> None:
        if self.registers.get(key) != expected:
            raise Mismatch(self.registers.get(key))
        self.registers[key] = new

    async def add(self, key: Any, element: int) -> None:
        self.sets.setdefault(key, set()).add(element)

    async def elements(self, key: Any) -> list[int]:
        return list(self.sets.get(key, ()))


def used(workload: Workload, turns: int = 4000, workers: int = 9) -> list[Operation]:
    """What so many calls of three workers at each of three homes came to, and the final reads after them."""

    async def use() -> list[Operation]:
        copy, rng, done = Copy(), random.Random(4), list[Operation]()

        async def call(process: int, invocation: Invocation) -> None:
            at = 10 * len(done)
            fields: dict[str, Any] = {"value": invocation.value, "outcome": "ok"}
            try:
                fields["value"] = await workload.invoke(copy, invocation)
            except Mismatch as mismatch:
                fields |= {"outcome": "fail", "error": "mismatch", "seen": mismatch.seen}
            done.append(Operation(
                process=process, f=invocation.f, key=invocation.key, kind=invocation.kind, node=f"n{process // 3}",
                invoked=at, completed=at + 5, **fields,
            ))
            workload.observe(done[-1])

        for _ in range(turns):
            process = rng.randrange(workers)
            await call(process, workload.next(rng, process))
        for invocation in workload.final():
            await call(workers, invocation)
        return done

    return asyncio.run(use())
