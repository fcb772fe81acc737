"""A newcomer's workload: one file, with the checker that judges it. Counters, made of registers that are compared and set."""

from __future__ import annotations

import random
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from typing import Any, ClassVar

import splitbrain
from splitbrain import Invocation


class Counting(splitbrain.Workload):
    """Adds one to counters, and reads them. An increment goes from the count last seen to the next; one that another client's
    increment came before is refused."""

    name: ClassVar[str] = "counting"
    summary: ClassVar[str] = "counters that are incremented by compare-and-set: none may count less than was acknowledged"
    needs: ClassVar[frozenset[Any]] = frozenset({"compare-and-set"})

    def __init__(self, plan: splitbrain.Plan, offers: frozenset[Any]) -> None:
        super().__init__(plan, offers)
        self._seen: dict[Any, int] = {}

    def next(self, rng: random.Random, process: int, kind: Any = None) -> Invocation:
        key = rng.randrange(self.plan.keys)
        if kind == "read" or self.reader(process) or (kind is None and rng.random() < 0.5):
            return Invocation("read", key, None, "read")
        return Invocation("increment", key, self._seen.get(key, 0) + 1, "write")

    def observe(self, operation: splitbrain.Operation) -> None:
        if operation.outcome == "ok":
            self._seen[operation.key] = operation.value
        elif operation.seen:
            self._seen[operation.key] = operation.seen[0] or 0

    async def invoke(self, client: Any, invocation: Invocation) -> int:
        if invocation.f == "read":
            return await client.read(invocation.key) or 0
        await client.cas(invocation.key, invocation.value - 1 or None, invocation.value)
        return int(invocation.value)

    def final(self) -> Sequence[Invocation]:
        return [Invocation("read", key, None, "read") for key in range(self.plan.keys)]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def checkers(self) -> tuple[splitbrain.Checker, ...]:
        return (Bounds(),)


class Bounds:
    """A count is at least all increments that were acknowledged before the read began, and at most all that were begun before
    it ended and not refused."""

    name = "bounds"

    def check(self, recording: splitbrain.Recording) -> splitbrain.Verdict:
        found, moments = [], []
        for key, rows in recording.history.by_key():
            operations = [recording.history[int(row)] for row in rows]
            increments = [one for one in operations if one.f == "increment" and one.outcome != "fail"]
            begun = sorted(one.invoked for one in increments)
            acknowledged = sorted((one for one in increments if one.outcome == "ok"), key=lambda one: one.completed or 0)
            ends = [one.completed or 0 for one in acknowledged]
            for read in operations:
                if read.f != "read" or read.outcome != "ok":
                    continue
                least, most = bisect_left(ends, read.invoked), bisect_right(begun, read.completed or read.invoked)
                if not least <= read.value <= most:
                    moments.append(splitbrain.Moment(read.invoked, read.completed or read.invoked))
                    found.append(splitbrain.Anomaly(
                        identifier="out-of-bounds", key=key, operations=(*acknowledged[max(0, least - 2):least], read),
                        sentence=f"counter {key} was read as {read.value}: {least} increments were acknowledged by then, "
                        f"{most} begun",
                        moment=moments[-1],
                    ))
        return splitbrain.Verdict(
            checker=self.name,
            validity="invalid" if found else "valid",
            reason=f"{len(found)} counts were out of bounds",
            standings=(splitbrain.Standing(
                model="counts bounded", state="refuted" if found else "holds",
                by=("out-of-bounds",) if found else (),
            ),),
            anomalies=tuple(found[:3]),
            counts={"out-of-bounds": len(found)} if found else {},
            moments={"out-of-bounds": tuple(moments)} if found else {},
            complete=True,
        )
