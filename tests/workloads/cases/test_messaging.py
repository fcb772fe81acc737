"""What is sent again, and from where; and that inboxes of a right service are not accused."""

from __future__ import annotations

import random

import pytest

from splitbrain.checkers.cases.messaging import COPIES
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.plan import Plan
from splitbrain.workloads.cases.messaging import FULL, Messaging
from tests.workloads.cases.right import used


def messaging(delivery: str) -> Messaging:
    plan = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4, options={"messaging": {"delivery": delivery}})
    return Messaging(plan, Messaging.needs)


@pytest.mark.parametrize("delivery", ["at-most-once", "at-least-once", "deduplicated"])
def test_a_right_service_is_not_accused(delivery: str) -> None:
    workload = messaging(delivery)
    done = used(workload)
    verdict = workload.checkers()[0].check(Recording(history=History.of(done), nodes=()))
    assert verdict.validity == "valid", verdict.reason
    assert [one.least for one in verdict.figures[1:]] == [0] * 5
    sends = [one for one in done if one.f == "send"]
    assert len({one.value for one in sends}) == len(sends) > 500
    assert max(sum(one.key == inbox for one in sends) for inbox in range(20)) <= FULL
    assert {one.kind for one in done if one.process in (0, 3, 6)} == {"read"}
    rng = random.Random(1)
    assert workload.next(rng, 1, "read").kind == "read" and workload.next(rng, 1, "write").kind == "write"


@pytest.mark.parametrize(("delivery", "again"), [("at-most-once", False), ("at-least-once", True), ("deduplicated", True)])
def test_what_was_not_confirmed_is_sent_again_from_the_same_home(delivery: str, again: bool) -> None:
    workload, rng = messaging(delivery), random.Random(2)
    for process in (1, 4):
        workload.observe(Operation(process=process, f="read", key=0, value=[], node=f"n{process // 3}", invoked=0, completed=1))
    first = workload.next(rng, 1, "write")
    workload.observe(Operation(process=1, f="send", key=first.key, value=first.value, outcome="info", error="timeout",
                               node="n0", invoked=2, completed=3))
    assert workload.next(rng, 4, "write").value // COPIES != first.value // COPIES, "another home does not know of it"
    second = workload.next(rng, 1, "write")
    assert ((second.key, second.value) == (first.key, first.value + 1)) == again
