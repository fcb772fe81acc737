"""The workloads of counters, banks and transactions: what they ask for, and that what they write names itself."""

from __future__ import annotations

import random
from collections import Counter as Tally

import pytest

from splitbrain.harness.plan import Plan
from splitbrain.workloads.bank import ACCOUNTS, Bank
from splitbrain.workloads.counter import Counter
from splitbrain.workloads.transactions import FULL, Append, TransactionWorkload, Wr
from splitbrain.workloads.workload import Invocation, Workload

PLAN = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4)


def calls(workload: Workload, number: int = 3000) -> list[Invocation]:
    rng = random.Random(1)
    return [workload.next(rng, turn % 9) for turn in range(number)]


@pytest.mark.parametrize("kind", [Counter, Bank, Append, Wr])
def test_both_kinds_are_called_and_readers_only_read(kind: type[Workload]) -> None:
    workload = kind(PLAN, kind.needs)
    made = calls(workload)
    assert {one.kind for one in made} == {"read", "write"}
    assert {one.kind for turn, one in enumerate(made) if turn % 9 in (0, 3, 6)} == {"read"}
    rng = random.Random(2)
    assert {workload.next(rng, 1, "read").kind for _ in range(20)} == {"read"}
    assert {workload.next(rng, 1, "write").kind for _ in range(20)} == {"write"}
    assert {one.kind for one in [*workload.final(), *workload.local()]} == {"read"}


def test_counters_are_added_to_and_money_goes_elsewhere() -> None:
    assert all(one.value > 0 for one in calls(Counter(PLAN, Counter.needs)) if one.f == "add")
    transfers = [one.value for one in calls(Bank(PLAN, Bank.needs)) if one.f == "transfer"]
    assert all(len({source, target} & set(range(ACCOUNTS))) == 2 and amount > 0 for source, target, amount in transfers)


@pytest.mark.parametrize(("kind", "f"), [(Append, "append"), (Wr, "w")])
def test_every_written_value_is_new_and_no_key_outgrows_its_bound(kind: type[TransactionWorkload], f: str) -> None:
    workload = kind(PLAN, kind.needs)
    made = calls(workload)
    writes = [micro for one in made for micro in one.value if micro[0] != "r"]
    assert {micro[0] for micro in writes} == {f}
    assert len({micro[2] for micro in writes}) == len(writes)
    assert max(Tally(micro[1] for micro in writes).values()) <= FULL
    assert all((one.kind == "write") == any(micro[0] == f for micro in one.value) for one in made)
    assert {micro[1] for micro in writes} <= {one.value[0][1] for one in workload.final()}
