"""The register workload: unique values, compare-and-sets from what was seen, the same calls for the same seed."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable

import pytest

from splitbrain.harness.history.operation import KINDS, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import CompareAndSet
from splitbrain.harness.plan import Plan
from splitbrain.workloads.register import Register
from splitbrain.workloads.workload import Invocation

OFFERS: frozenset[Capability] = frozenset({"registers", "compare-and-set"})
PLAN = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=6)
MIXED = (1, 2, 4, 5, 7, 8)


def calls(workload: Register, number: int, seed: int = 1, processes: Iterable[int] = MIXED) -> list[Invocation]:
    """That many calls, each observed as done."""
    rng = random.Random(seed)
    order = list(processes)
    made = []
    for turn in range(number):
        process = order[turn % len(order)]
        invocation = workload.next(rng, process)
        made.append(invocation)
        value = turn if invocation.f == "read" else invocation.value
        workload.observe(Operation(process=process, f=invocation.f, key=invocation.key, value=value, invoked=turn))
    return made


def test_every_value_is_written_once() -> None:
    made = [one for one in calls(Register(PLAN, OFFERS), 2000) if one.kind == "write"]
    values = [one.value[1] if one.f == "cas" else one.value for one in made]
    assert len(values) == len(set(values)) > 300


def test_busy_keys_are_written_and_calm_ones_read() -> None:
    made = calls(Register(PLAN, OFFERS), 6000)
    assert {one.key for one in made} == set(range(6))
    for parity, (low, high) in ((0, (0.45, 0.55)), (1, (0.86, 0.94))):
        kinds = Counter(one.kind for one in made if isinstance(one.key, int) and one.key % 2 == parity)
        assert low < kinds["read"] / kinds.total() < high


def test_the_same_seed_and_observations_make_the_same_calls() -> None:
    first, again, other = (calls(Register(PLAN, OFFERS), 300, seed) for seed in (7, 7, 8))
    assert first == again != other


def test_a_cas_goes_from_the_value_last_seen_and_never_before_one_was() -> None:
    workload = Register(PLAN, OFFERS)
    rng = random.Random(3)
    unseen = [workload.next(rng, 1) for _ in range(500)]
    assert "cas" not in {one.f for one in unseen}
    for key in range(6):
        workload.observe(Operation(process=1, f="read", key=key, value=1000 + key, invoked=1))
    seen = [(one.key, one.value[0]) for one in (workload.next(rng, 1) for _ in range(500)) if one.f == "cas"]
    assert set(seen) == {(key, 1000 + key) for key in range(6)}
    workload.observe(Operation(process=1, f="read", key=0, value=None, invoked=1))
    workload.observe(Operation(process=1, f="write", key=0, value=5, invoked=1, outcome="fail", error="no-leader"))
    workload.observe(Operation(process=1, f="cas", key=0, value=(5, 6), invoked=1, outcome="info", error="timeout"))
    made = [workload.next(rng, 1) for _ in range(500)]
    assert {one.value[0] for one in made if one.f == "cas" and one.key == 0} == {1000}
    workload.observe(
        Operation(process=1, f="cas", key=0, value=(1, 2), invoked=1, outcome="fail", error="mismatch", seen=(77,))
    )
    made = [workload.next(rng, 1) for _ in range(500)]
    assert {one.value[0] for one in made if one.f == "cas" and one.key == 0} == {77}


def test_the_kind_that_is_asked_for_is_made_by_all_but_the_readers() -> None:
    workload = Register(PLAN, OFFERS)
    rng = random.Random(5)
    for kind in KINDS:
        assert {workload.next(rng, 1, kind).kind for _ in range(200)} == {kind}
    assert {workload.next(rng, 0, "write").kind for _ in range(200)} == {"read"}


def test_without_cas_there_is_none() -> None:
    assert {one.f for one in calls(Register(PLAN, frozenset({"registers"})), 1000)} == {"read", "write"}


def test_the_first_worker_of_each_home_only_reads_and_no_later_process_does() -> None:
    assert {one.f for one in calls(Register(PLAN, OFFERS), 300, processes=(0, 3, 6))} == {"read"}
    assert {one.f for one in calls(Register(PLAN, OFFERS), 300, processes=(9, 12))} == {"read", "write", "cas"}
    alone = Plan(database="d", variant="v", nodes=3, concurrency=1, keys=6)
    assert {one.f for one in calls(Register(alone, OFFERS), 300, processes=(0, 1, 2))} == {"read", "write", "cas"}


def test_final_and_local_reads_cover_every_key() -> None:
    workload = Register(PLAN, OFFERS)
    assert [one.key for one in workload.final()] == list(range(6)) == [one.key for one in workload.local()]
    assert workload.ordered and not workload.grows


class Recorder:
    """A client that notes the calls made to it."""

    def __init__(self) -> None:
        self.made: list[tuple[object, ...]] = []

    async def read(self, key: object) -> int:
        self.made.append(("read", key))
        return 42

    async def write(self, key: object, value: int) -> None:
        self.made.append(("write", key, value))

    async def cas(self, key: object, expected: int | None, new: int) -> None:
        self.made.append(("cas", key, expected, new))


@pytest.mark.parametrize(("invocation", "made", "value"), [
    (Invocation("read", 3, None, "read"), ("read", 3), 42),
    (Invocation("write", 3, 7, "write"), ("write", 3, 7), 7),
    (Invocation("cas", 3, (6, 7), "write"), ("cas", 3, 6, 7), (6, 7)),
])
async def test_each_call_is_one_call_of_the_client(invocation: Invocation, made: object, value: object) -> None:
    recorder = Recorder()
    client: CompareAndSet = recorder  # type: ignore[assignment]
    assert await Register(PLAN, OFFERS).invoke(client, invocation) == value
    assert recorder.made == [made]
