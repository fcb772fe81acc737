"""A workload that read nothing proves nothing, whatever judges it."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result
from splitbrain.harness import registry
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.plan import Plan
from tests.checkers.scenes import recording, served

WRITES = ("write", "add", "enqueue", "transfer", "txn")
SILENT = (
    "append", "bank", "causal", "counter", "long-fork", "queue", "register", "set", "set-full", "watch", "wr",
)
"""The workloads with calls whose acknowledgement tells nothing. A lock that was granted, an identifier that was handed out and
a compare-and-set that succeeded tell something."""


def silent(invocation: Any) -> bool:
    return invocation.f in WRITES and not (invocation.f == "txn" and any(micro[0] == "r" for micro in invocation.value))


def judged(name: str, *read: Operation) -> Result:
    """What is said of the writes of a workload, each acknowledged before the next, and of these reads."""
    plan = Plan(database="d", variant="v", nodes=3, workload=name)
    workload = registry.look_up("workloads", name)(plan, frozenset())
    calls = [workload.next(random.Random(at), 1, "write") for at in range(50)]
    operations = [
        Operation(process=1, f=one.f, key=one.key, value=one.value, invoked=2 * at, completed=2 * at + 1, kind="write")
        for at, one in enumerate(calls) if silent(one)
    ]
    assert len(operations) > 10
    whole = recording(served, local=())
    return judge(
        msgspec.structs.replace(whole, history=History.of([*operations, *read]), plan=plan), workload.checkers()
    )


@pytest.mark.parametrize("name", SILENT)
def test_without_a_read_it_is_unknown_and_says_so(name: str) -> None:
    told = judged(name)
    own = told.verdicts[:-4]
    assert own and told.exit_code == 2
    for verdict in own:
        assert verdict.validity == "unknown" and re.search("nothing is proven|was ever read", verdict.reason), verdict
        assert {standing.state for standing in verdict.standings} == {"undecided"}


def test_one_read_is_enough() -> None:
    assert judged("append").verdicts[0].validity == "unknown"
    transaction = Operation(process=2, f="txn", value=(("r", 99, None),), invoked=900, completed=901, kind="read")
    assert judged("append", transaction).verdicts[0].validity == "valid"
