"""A rate limiter with a gateway in every region, and what it does when it believes to be cut off from the others."""

from __future__ import annotations

import random
import time
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal

from splitbrain.checkers.cases.rate_limiter import RateLimiterChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import SECOND, Setting
from splitbrain.workloads.workload import Invocation, Workload

BEATS = 0.1
"""The part of a gateway's calls that tell others that it is there."""

SILENCE = 1.0
"""Seconds after which a region that was not heard of is believed to be cut off."""

SAFE = 0.2
"""The part of a region's share that safe mode lets through."""

NO_LIMIT = 10**9

Policy = Literal["full", "frozen", "divided", "safe", "chance", "leader"]
Merge = Literal["union", "greatest", "last"]


class RateLimiter(Workload):
    """`limit` requests of each customer may pass in every `window`, wherever they are asked. Every node is a region with a
    gateway; there are `plan.keys` customers, of whom every third one asks in one region alone.

    A gateway counts a request first, and lets it through if the count is within the limit. Counts are `merge`d as the union of
    all requests; as the greatest of what the regions counted, each going on from the greatest that it sees; or in one register
    whose last write wins.

    Gateways tell of themselves by beats. One that has not heard of a region for `SILENCE` believes to be cut off, and goes by
    its `policy`. It lets through: the `full` limit; nothing (`frozen`); its region's share of the limit (`divided`), or a part
    of that (`safe`); one request in as many as there are regions (`chance`); or the full
    limit if it hears of most regions, else nothing (`leader`). Of a database that does not answer it lets nothing through,
    whatever the policy. One worker of each home listens to the others' beats.
    """

    name: ClassVar[str] = "rate-limiter"
    summary: ClassVar[str] = "a rate limiter in several regions: requests let through beyond the limit, and wrongly blocked"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers", "sets"})

    class Options(OptionTable, frozen=True):
        """What may pass, and how it is counted."""

        limit: Annotated[int, Setting("Requests of a customer that may pass in each window.", low=1, high=1000)] = 30
        window: Annotated[float, Setting("How long a window is.", unit=SECOND, low=0.5, high=3600)] = 3.0
        policy: Annotated[Policy, Setting("What a gateway does that believes to be cut off.")] = "full"
        merge: Annotated[Merge, Setting("How the counts of regions become one.")] = "union"

        def __post_init__(self) -> None:
            if self.policy in ("divided", "safe") and self.merge != "union":
                raise ValueError("what a region has let through itself is known of the union of requests alone")

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._began: float | None = None
        self._number = 0
        self._regions: dict[int, int] = {}
        self._names: list[str] = []
        self._heard: dict[tuple[int, int], tuple[int, float]] = {}
        self._asked: set[str] = set()

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        if self._began is None:
            self._began = time.monotonic()
        region = self._regions.get(process)
        self._number += 1
        if region is None or kind == "read" or self.reader(process):
            return Invocation("read", f"beat-{rng.randrange(self.plan.nodes)}", None, "read")
        if rng.random() < BEATS:
            return Invocation("beat", f"beat-{region}", self._number, "write")
        mine = [one for one in range(self.plan.keys) if one % 3 < 2 or one // 3 % self.plan.nodes == region]
        window = int((time.monotonic() - self._began) / self.options.window)
        key = f"customer-{rng.choice(mine)}-{window}"
        self._asked.add(key)
        return Invocation("ask", key, (region, self._number), "write")

    def observe(self, operation: Operation) -> None:
        if operation.node is None:
            return
        if operation.node not in self._names:
            self._names.append(operation.node)
        region = self._names.index(operation.node)
        self._regions[operation.process] = region
        if operation.f == "read" and operation.outcome == "ok" and str(operation.key).startswith("beat-"):
            other = int(str(operation.key).removeprefix("beat-"))
            last, _ = self._heard.get((region, other), (0, 0.0))
            if (operation.value or 0) > last:
                self._heard[region, other] = operation.value, time.monotonic()

    def silent(self, region: int) -> int:
        """How many other regions one has not heard of lately. Whoever just began has not listened yet, and is told of none."""
        now = time.monotonic()
        first = 0, (self._began or now) + SILENCE
        return sum(
            now - self._heard.get((region, other), first)[1] > SILENCE
            for other in range(self.plan.nodes) if other != region
        )

    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        if invocation.f == "read":
            if str(invocation.key).startswith("beat-") or self.options.merge == "last":
                return await client.read(invocation.key)
            return await self._counted(client, str(invocation.key))
        if invocation.f == "beat":
            await client.write(invocation.key, invocation.value)
            return invocation.value
        region, number = invocation.value
        limit, share = self._allowance(region, number)
        if not limit:
            return 0, 0
        if share is not None:
            counted = await client.elements(invocation.key)
            own = sum(one % self.plan.nodes == region for one in counted)
            if own >= share or len(counted) >= limit:
                return 0, own
        count = await self._count(client, str(invocation.key), region, number)
        return int(count <= limit), count

    def _allowance(self, region: int, number: int) -> tuple[int, int | None]:
        """Up to which count a request passes, and what its region may let through of that, None where it may all of it."""
        limit, regions = self.options.limit, self.plan.nodes
        if not (silent := self.silent(region)):
            return limit, None
        match self.options.policy:
            case "full":
                return limit, None
            case "frozen":
                return 0, None
            case "divided":
                return limit, limit // regions
            case "safe":
                return limit, max(1, int(limit // regions * SAFE))
            case "chance":
                return NO_LIMIT if random.Random(f"{self.plan.seed}/{number}").random() < 1 / regions else 0, None
            case "leader":
                return limit if 2 * (regions - silent) > regions else 0, None

    async def _count(self, client: Any, key: str, region: int, number: int) -> int:
        """Count a request, and what that makes."""
        match self.options.merge:
            case "union":
                await client.add(key, number * self.plan.nodes + region)
                return await self._counted(client, key)
            case "greatest":
                count = await self._counted(client, key) + 1
                await client.write(f"{key}/{region}", count)
            case "last":
                count = (await client.read(key) or 0) + 1
                await client.write(key, count)
        return count

    async def _counted(self, client: Any, key: str) -> int:
        if self.options.merge == "union":
            return len(await client.elements(key))
        counts = [await client.read(f"{key}/{other}") or 0 for other in range(self.plan.nodes)]
        return max(counts)

    def final(self) -> Sequence[Invocation]:
        keys = [*sorted(self._asked), *(f"beat-{region}" for region in range(self.plan.nodes))]
        return [Invocation("read", key, None, "read") for key in keys]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def holds(self, value: Any) -> bool:
        return value is not None and value != 0

    def written(self) -> Collection[Key]:
        regions = range(self.plan.nodes)
        parts = [f"{key}/{region}" for key in self._asked for region in regions]
        return [*self._asked, *parts, *(f"beat-{region}" for region in regions)]

    def checkers(self) -> tuple[Checker, ...]:
        return (RateLimiterChecker(self.options.limit),)
