"""Shrinking: what the search finds with a simulated database, and one real run."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Cut, Kill, Pause, Spec
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import length
from splitbrain.harness.shrink import LEAD, Trials, script, size, smallest
from splitbrain.harness.store import write_plan

LINKS = (("n1", "n2"), ("n2", "n1"))


def fault(at: float, *specs: Spec, duration: float = 6.0) -> ScriptedFault:
    return ScriptedFault(at=at, duration=duration, specs=specs)


def plan(*faults: ScriptedFault) -> Plan:
    end = max(one.at + one.duration for one in faults)
    return Plan(database="reference", variant="lww", schedule=faults, time=end + 6)


PLANTED = plan(
    fault(5, Kill(("n2",))), fault(15, Pause(("n3",))), fault(25, Cut(LINKS), Kill(("n3",))), fault(27, Pause(("n2",))),
    fault(45, Kill(("n1",))), fault(55, Kill(("n4",)), Pause(("n5",))), fault(65, Pause(("n4",))),
)
"""Seven faults, of which the cut alone matters, and a part of its length."""


def matters(plan: Plan) -> bool:
    return any(Cut(LINKS) in one.specs and one.duration >= 2 for one in plan.schedule)


def ask(shows: Callable[[Plan], bool], tries: int = 3, most: int = 10_000) -> Trials:
    return Trials(lambda plan, number: shows(plan), tries, most, 5, lambda plan, seen, runs: None)


def test_one_fault_of_seven_matters() -> None:
    found = ask(matters).shrink(PLANTED)
    assert (found.seen, found.runs) == (5, 5)
    (left,) = found.plan.schedule
    assert left.specs == (Cut(LINKS),) and 2 <= left.duration < 4 and left.at <= LEAD
    assert found.plan.concurrency == 1 and length(found.plan) < left.duration + 4
    assert list(script(found.plan)) == [f"at {left.at:.1f} s for {left.duration:.1f} s: partition n1→n2, n2→n1"]
    assert size(found.plan).startswith("1 fault, 3.0 s under fault") and size(found.plan).endswith("1 client a node")


@pytest.mark.parametrize("blamed", [(), (2,), (0,)])
def test_a_database_of_chance(blamed: tuple[int, ...]) -> None:
    """Where the fault shows the anomaly in nine runs of ten, it alone is left in nine searches of ten, at least."""
    right = 0
    for seed in range(100):
        rng = random.Random(seed)
        found = ask(lambda plan, rng=rng: matters(plan) and rng.random() < 0.9).shrink(PLANTED, blamed)  # type: ignore[misc]
        assert matters(found.plan)
        right += [one.specs for one in found.plan.schedule] == [(Cut(LINKS),)]
    assert right >= 90


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 7), min_size=1, max_size=4), st.integers(8, 8))
def test_what_is_left_is_what_is_needed(needed: set[int], count: int) -> None:
    faults = [fault(5.0 + 10 * at, Pause((f"n{at}",))) for at in range(count)]
    names = {f"n{at}" for at in needed}

    def shows(plan: Plan) -> bool:
        assert plan.schedule and all(one.at >= 0 and one.at + one.duration <= plan.time for one in plan.schedule)
        assert all(one.at + one.duration <= other.at + 1e-6 for one, other in pairwise(plan.schedule)), "none overlapped"
        return names <= {name for one in plan.schedule for spec in one.specs for name in getattr(spec, "nodes", ())}

    found = smallest(plan(*faults), shows)
    assert {name for one in found.schedule for spec in one.specs for name in getattr(spec, "nodes", ())} == names


def test_what_is_left_is_a_plan_that_can_be_read_back(tmp_path: Path) -> None:
    restart = ScriptedFault(at=5.0, duration=6.0, nemesis="restart", scenario="follower", specs=(Kill(("n2",), down=0.1),))
    whole = resolve({"database": "reference", "variant": "lww", "time": 40.0,
                     "schedule": msgspec.to_builtins((restart, fault(15.0, Cut(LINKS))))})
    assert set(whole.options) == {"register", "restart"}
    found = smallest(whole, matters)
    assert set(found.options) == {"register"}
    write_plan(tmp_path / "smallest.toml", found)
    assert resolve({}, tmp_path / "smallest.toml").schedule == found.schedule


def test_faults_that_overlap_stay_so() -> None:
    both = plan(fault(10, Pause(("n1",)), duration=8), fault(14, Kill(("n2",)), duration=8))

    def shows(plan: Plan) -> bool:
        if len(plan.schedule) < 2:
            return False
        one, other = plan.schedule
        return one.at < other.at < one.at + one.duration

    found = smallest(both, shows)
    assert shows(found) and sum(one.duration for one in found.schedule) < 16


def test_what_no_run_shows_again_cannot_be_shrunk() -> None:
    with pytest.raises(UsageError, match="in none of 3 runs"):
        ask(lambda plan: False).shrink(PLANTED)


@pytest.mark.parametrize("stop", range(1, 12))
def test_who_is_interrupted_has_the_smallest_so_far(stop: int) -> None:
    """At every run in which it could be; the search takes every plan that shows it, so that the last is the smallest."""
    shown: list[Plan] = []

    def shows(plan: Plan, number: int) -> bool:
        if number == stop:
            raise KeyboardInterrupt
        if matters(plan):
            shown.append(plan)
        return matters(plan)

    trials = Trials(shows, 1, 100, 1, lambda plan, seen, runs: None)
    with pytest.raises(KeyboardInterrupt):
        trials.shrink(PLANTED)
    assert trials.least == (shown[-1] if shown else None)


def test_no_more_runs_than_were_allowed() -> None:
    done: list[Plan] = []

    def shows(plan: Plan, number: int) -> bool:
        done.append(plan)
        return matters(plan)

    trials = Trials(shows, 3, 10, 5, lambda plan, seen, runs: None)
    found = trials.shrink(PLANTED)
    assert len(done) == 10 + found.runs == 15 and matters(found.plan) and trials.spent
