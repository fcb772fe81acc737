"""What a gateway lets through, by its policy and by how counts are merged, where it knows whom it hears of."""

from __future__ import annotations

import asyncio
import random
from types import SimpleNamespace
from typing import Any

import pytest

from splitbrain.harness.history.operation import Operation
from splitbrain.harness.plan import Plan
from splitbrain.workloads.cases import rate_limiter
from splitbrain.workloads.cases.rate_limiter import RateLimiter
from splitbrain.workloads.workload import Invocation
from tests.workloads.cases.right import Copy

NODES = 5
NOW = 1000.0


@pytest.fixture(autouse=True)
def one_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a test takes, no time passes: who was heard of is heard of."""
    monkeypatch.setattr(rate_limiter, "time", SimpleNamespace(monotonic=lambda: NOW))


def limiter(**options: Any) -> RateLimiter:
    own = {"limit": 20, **options}
    plan = Plan(database="d", variant="v", nodes=NODES, concurrency=2, keys=6, options={"rate-limiter": own})
    return RateLimiter(plan, RateLimiter.needs)


def hear(workload: RateLimiter, *regions: int) -> None:
    """Region 0 hears of these now, and of the others long ago."""
    workload._began = NOW - 60
    workload._heard = {(0, region): (1, NOW) for region in regions}


async def passes(workload: RateLimiter, copy: Copy, asked: int = 100, first: int = 1) -> int:
    """How many of so many requests in a row region 0 lets through."""
    calls = [Invocation("ask", "customer-0-0", (0, first + at), "write") for at in range(asked)]
    answers = [await workload.invoke(copy, call) for call in calls]
    return sum(admitted for admitted, _ in answers)


@pytest.mark.parametrize(("policy", "most", "few"), [
    ("full", 20, 20), ("frozen", 0, 0), ("divided", 4, 4), ("safe", 1, 1), ("leader", 20, 0),
])
def test_what_each_policy_lets_through(policy: str, most: int, few: int) -> None:
    """`most`: region 0 hears of three of four others; `few`: of one."""
    for heard, expected in (((1, 2, 3), most), ((1,), few), ((1, 2, 3, 4), 20)):
        workload = limiter(policy=policy)
        hear(workload, *heard)
        assert asyncio.run(passes(workload, Copy())) == expected


def test_chance_lets_one_in_five_through() -> None:
    workload = limiter(policy="chance")
    hear(workload, 1)
    assert 140 < asyncio.run(passes(workload, Copy(), 1000)) < 260


@pytest.mark.parametrize(("merge", "passed"), [("union", 0), ("greatest", 5), ("last", 5)])
def test_what_two_sides_counted_becomes_one(merge: str, passed: int) -> None:
    """Each side counted 15 of 20; what they make together is known to the union alone."""
    workload, sides = limiter(merge=merge), [Copy(), Copy()]
    hear(workload, 1, 2, 3, 4)
    for region, copy in enumerate(sides):
        for at in range(15):
            asyncio.run(workload.invoke(copy, Invocation("ask", "customer-0-0", (region, 100 * region + at), "write")))
    whole = Copy()
    for copy in sides:
        whole.registers |= copy.registers
        for key, elements in copy.sets.items():
            whole.sets.setdefault(key, set()).update(elements)
    assert asyncio.run(passes(workload, whole, 50)) == passed


def test_a_share_counts_what_the_region_let_through_before_it_was_cut_off() -> None:
    """2 of its 4 and 17 of all 20; when it hears of the others again, what it let through alone counts for all."""
    workload, copy = limiter(policy="divided"), Copy()
    copy.sets["customer-0-0"] = {NODES * 1000, NODES * 1001, *(NODES * at + 1 for at in range(15))}
    hear(workload, 1)
    assert asyncio.run(passes(workload, copy)) == 2
    hear(workload, 1, 2, 3, 4)
    assert asyncio.run(passes(workload, copy, first=200)) == 1
    copy.sets["customer-0-0"] |= {NODES * at + 2 for at in range(30)}
    hear(workload)
    assert asyncio.run(passes(workload, copy)) == 0


def test_workers_tell_of_themselves_listen_and_ask() -> None:
    workload, rng = limiter(), random.Random(1)
    for process in range(2 * NODES):
        first = workload.next(rng, process)
        assert first.f == "read"
        workload.observe(Operation(process=process, f="read", key=first.key, value=None, invoked=0, completed=1,
                                   node=f"n{process // 2}"))
    made = [(process, workload.next(rng, process)) for process in range(2 * NODES) for _ in range(200)]
    assert {one.f for process, one in made if process % 2 == 0} == {"read"}
    assert {one.f for process, one in made if process % 2} == {"beat", "ask"}
    assert {one.key for process, one in made if one.f == "beat" and process == 1} == {"beat-0"}
    asked = {one.key for _, one in made if one.f == "ask"}
    assert asked <= {one.key for one in workload.final()}
    local = {process for process, one in made if one.f == "ask" and str(one.key).startswith("customer-2-")}
    assert local == {1}, "the third customer asks in region 0 alone"
    assert workload.next(rng, 1, "read").kind == "read" and workload.next(rng, 1, "write").kind == "write"
