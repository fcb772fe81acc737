"""A store that works shows no anomaly, and each thing that can go wrong in one is found under exactly its name."""

from __future__ import annotations

import random

import msgspec
import pytest

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import check, checker
from splitbrain.checkers.transactions.lattice import LEVELS, stronger
from splitbrain.harness.history.history import History
from tests.checkers.transactions import stores
from tests.checkers.transactions.stores import LISTS, REGISTERS, Plant


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "registers"])
@pytest.mark.parametrize("seed", range(60))
def test_a_store_that_works_is_strict_serializable(lists: bool, seed: int) -> None:
    rng = random.Random(seed)
    count, clients, keys = rng.randint(1, 40), rng.randint(1, 8), rng.randint(1, 5)
    history = History.of(stores.correct(rng, count, lists=lists, clients=clients, keys=keys))
    found = checker.find(history, Budget.of(20))
    assert not found.by and not found.cycles and not found.inference.problems
    assert set(found.states.values()) <= {"holds"} or not found.inference.total


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "registers"])
def test_a_larger_store_that_works_holds(lists: bool) -> None:
    history = History.of(stores.correct(random.Random(1), 3000, lists=lists, clients=10, keys=40))
    verdict = check(history)
    assert verdict.validity == "valid" and not verdict.counts


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize(
    ("lists", "plant"),
    [(True, plant) for plant in LISTS] + [(False, plant) for plant in REGISTERS],
    ids=[f"list-{plant.name}" for plant in LISTS] + [f"register-{plant.name}" for plant in REGISTERS],
)
def test_what_goes_wrong_gets_its_name_and_rules_out_its_levels(lists: bool, plant: Plant, seed: int | None) -> None:
    around = [] if seed is None else stores.correct(random.Random(seed), 60, lists=lists)
    history = History.of([*around, *stores.operations(plant, begin=3)])
    found = checker.find(history, Budget.of(20))
    verdict = check(history)
    assert set(verdict.counts) == {plant.name}
    refuted = {level for weakest in plant.ruled_out for level in stronger(weakest)}
    assert {level for level, state in found.states.items() if state == "refuted"} == refuted
    assert all(found.states[level] == "holds" for level in LEVELS if level not in refuted)
    assert verdict.validity == ("invalid" if "strict-serializable" in refuted else "valid")
    for anomaly in verdict.anomalies:
        assert "T1" in anomaly.sentence
        assert {one.process for one in anomaly.operations} <= {op.process for op in stores.operations(plant)}


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "registers"])
@pytest.mark.parametrize("time_limit", [30.0, 0.0])
def test_one_large_component_ends_with_a_witness_and_without_time_claims_nothing_false(lists: bool, time_limit: float) -> None:
    rng = random.Random(3)
    operations = stores.correct(rng, 1200, lists=lists, clients=20, keys=60)
    end = max(one.completed or 0 for one in operations)
    late = []
    for at, one in enumerate(operations):
        if one.outcome == "ok" and all(f == "r" for f, *_ in one.value):
            shift = rng.randrange(end)
            assert one.completed is not None
            one = msgspec.structs.replace(one, process=9000 + at, invoked=one.invoked + shift, completed=one.completed + shift)
        late.append(one)
    history = History.of(late)
    verdict = check(history, ("strict-serializable", "serializable"), time_limit)
    states = {one.model: one.state for one in verdict.standings}
    assert states["strict-serializable"] != "holds" and states["serializable"] != "refuted"
    assert set(states) == set(LEVELS)
    if not time_limit:
        assert verdict.validity == "unknown" and verdict.limits == ("time limit of 0 s of processor time",)
    else:
        assert states["strict-serializable"] == "refuted" and all(name.endswith("-realtime") for name in verdict.counts)
        assert len(verdict.anomalies[0].cycle) == 2


def test_a_cycle_is_told_edge_by_edge() -> None:
    skew = next(plant for plant in LISTS if plant.name == "G2-item")
    anomaly = check(History.of(stores.operations(skew))).anomalies[0]
    assert anomaly.sentence == (
        "T1 did not see T2's append of 1 to planted-x, because it read []; T2 did not see T1's append of 1 to planted-y,"
        " because it read []. So T1 must come before T2, and T2 before T1: a contradiction."
    )
    assert [(edge.source, edge.target, edge.kind) for edge in anomaly.cycle] == [(0, 1, "rw"), (1, 0, "rw")]
