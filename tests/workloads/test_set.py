"""The set workload: unique elements in sets of a bounded size, all of them read at the end."""

from __future__ import annotations

import random
from collections import Counter

from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import Plan
from splitbrain.workloads.set import Set
from splitbrain.workloads.workload import Invocation

PLAN = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4)
OFFERS: frozenset[Capability] = frozenset({"sets"})


def calls(number: int, seed: int = 1) -> tuple[Set, list[Invocation]]:
    workload = Set(PLAN, OFFERS)
    rng = random.Random(seed)
    return workload, [workload.next(rng, turn % 9) for turn in range(number)]


def test_elements_are_unique_and_no_set_outgrows_its_bound() -> None:
    workload, made = calls(5000)
    added = [one for one in made if one.f == "add"]
    assert len({one.value for one in added}) == len(added) > 1500
    sizes = Counter(one.key for one in added)
    assert max(sizes.values()) == Set.Options().full
    assert len(sizes) > PLAN.keys
    assert set(sizes) <= {one.key for one in workload.final()}


def test_as_many_sets_grow_at_a_time_as_the_plan_has_keys() -> None:
    _, made = calls(5000)
    full: set[object] = set()
    sizes: Counter[object] = Counter()
    for one in made:
        if one.f == "add":
            sizes[one.key] += 1
            assert one.key not in full
            if sizes[one.key] == Set.Options().full:
                full.add(one.key)
            assert len(set(sizes) - full) <= PLAN.keys


def test_reads_visit_growing_and_older_sets() -> None:
    workload, made = calls(5000)
    read = {one.key for one in made if one.f == "read"}
    assert len(read) > 2 * PLAN.keys
    assert {one.value for one in made if one.f == "read"} == {None}
    assert list(workload.local()) == list(workload.final())
    assert workload.grows and not workload.ordered


def test_the_same_seed_makes_the_same_calls() -> None:
    assert calls(300, 5)[1] == calls(300, 5)[1] != calls(300, 6)[1]
