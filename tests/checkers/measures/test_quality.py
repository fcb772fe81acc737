"""A run that proves nothing must not look green."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Check, Quality
from splitbrain.harness.history.fault import Pause
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Phase
from splitbrain.harness.plan import Plan
from tests.checkers.scenes import MS, NODES, SECOND, Says, Serve, during, fault, recording, served

CUT = during(5, 13, ("n1",), "silent")


def questioned(serve: Serve = CUT, *args: Any, **more: Any) -> Quality:
    return judge(recording(serve, *(args or ([fault()],)), **more), (Says(),)).quality


def failed(found: Quality) -> set[str]:
    return {check.name for check in found.failed}


def test_a_good_run_passes_every_question() -> None:
    found = questioned()
    assert failed(found) == set()
    assert len(found.checks) > 10
    assert 0.8 < found.in_flight < 3


@pytest.mark.parametrize(("name", "changes"), [
    ("complete", dict(torn=True)),
    ("complete", dict(interrupted=True)),
    ("final reads", dict(final=False)),
    ("phases", dict(phases=(
        Phase("load", 0, 18 * SECOND), Phase("settle", 18 * SECOND, 20 * SECOND, "took too long"),
        Phase("final-reads", 20 * SECOND, 21 * SECOND),
    ))),
])
def test_an_incomplete_run_fails(name: str, changes: dict[str, Any]) -> None:
    assert name in failed(questioned(**changes))
    assert judge(recording(CUT, [fault()], **changes), (Says(),)).validity == "unknown"


@pytest.mark.parametrize(("name", "changes"), [
    ("fault 1", dict(wrong=(("n1", "n2"),))),
    ("fault 1", dict(proven=None)),
    ("fault 1 heal", dict(healed=None)),
    ("fault 1 heal", dict(heal_wrong=(("n1", "n2"),))),
])
def test_a_fault_without_proof_fails(name: str, changes: dict[str, Any]) -> None:
    assert name in failed(questioned(CUT, [fault(**changes)]))


def test_a_planned_nemesis_that_never_struck_fails() -> None:
    assert "faults" in failed(questioned(served, []))


def test_one_worker_alone_is_not_concurrent() -> None:
    found = questioned(served, [], nodes=("n1",), workers=1)
    assert "concurrent" in failed(found)
    assert "concurrent" not in failed(questioned())


def test_keys_that_only_one_home_uses_prove_nothing() -> None:
    made = recording(CUT, [fault()])
    operations = [op for op in made.history if op.node == "n1" or op.invoked >= 18 * SECOND]
    lonely = msgspec.structs.replace(made, history=History.of(operations))
    assert "shared keys" in failed(judge(lonely, (Says(),)).quality)


def test_a_side_that_tried_nothing_fails_and_a_blocked_one_does_not() -> None:
    sparse = questioned(served, [fault()], workers=1, every=2000 * MS, length=60.0)
    assert {"fault 1 writes at {n1}", "fault 1 reads at {n1}"} <= failed(sparse)
    assert not any(name.endswith("at {n1}") for name in failed(questioned()))


def test_a_side_that_tried_little_because_it_waited_says_so() -> None:
    told = {check.name: check for check in questioned().checks}["fault 1 writes at {n1}"]
    assert told.passed and told.text.endswith("8 writes tried at {n1}: nothing was answered for 8.0 s")
    made = recording(CUT, [fault()])
    others = [op for op in made.history if op.node != "n1" or not 4 <= op.invoked / SECOND < 13]
    waiting = [
        msgspec.structs.replace(next(op for op in others if op.f == "write"), process=900 + n, outcome="info",
                                invoked=int(4.5 * SECOND) + n, completed=14 * SECOND, node="n1")
        for n in range(3)
    ]
    hung = msgspec.structs.replace(made, history=History.of([*others, *waiting]))
    told = {check.name: check for check in judge(hung, (Says(),)).quality.checks}["fault 1 writes at {n1}"]
    assert told.passed
    assert told.text.endswith("0 writes tried at {n1}: clients waited for calls from before, nothing was answered for 8.0 s")


def test_clients_that_waited_for_a_server_that_stood_still_for_less_than_a_call_may_take_asked_enough() -> None:
    short = msgspec.structs.replace(fault(1, 5, 5.6), specs=(Pause(("n1",), length=0.6),))
    made = recording(served, [short])
    others = [op for op in made.history if op.node != "n1" or not 4 <= op.invoked / SECOND < 6]

    def told(workers: int) -> dict[str, Check]:
        waiting = [
            msgspec.structs.replace(next(op for op in others if op.f == "read"), process=900 + n, outcome="ok",
                                    invoked=int(4.9 * SECOND) + n, completed=int(5.7 * SECOND), node="n1")
            for n in range(workers)
        ]
        hung = msgspec.structs.replace(made, history=History.of([*others, *waiting]))
        return {check.name: check for check in judge(hung, (Says(),)).quality.checks}

    assert made.plan is not None
    busy, idle = told(made.plan.concurrency), told(0)
    for kind in ("reads", "writes"):
        assert not idle[f"fault 1 {kind} at {{n1}}"].passed and busy[f"fault 1 {kind} at {{n1}}"].passed
        assert busy[f"fault 1 {kind} at {{n1}}"].text.endswith(
            f"0 {kind} tried at {{n1}}, whose clients waited for 100% of the time")


def test_too_little_load_fails() -> None:
    few = failed(questioned(served, [fault(1, 1, 2)], length=4.0, every=1000 * MS))
    assert {"reads", "writes", "baseline reads", "baseline writes"} <= few


def test_a_baseline_of_too_few_calls_says_how_long_one_would_do() -> None:
    """40 of each kind in the 4 s that were planned: 100 are in 10 s, and some more to be sure."""
    every = recording(served, [fault(1, 4, 8)], length=20.0)
    calls = {kind: [op for op in every.history if (op.f == "read") == (kind == "read") and op.invoked < 4 * SECOND]
             for kind in ("read", "write")}
    later = [op for op in every.history if op.invoked >= 4 * SECOND]
    few = msgspec.structs.replace(every, history=History.of([*calls["read"][:40], *calls["write"][:40], *later]),
                                  plan=Plan(database="d", variant="v", baseline=4))
    told = {check.name: check for check in judge(few, (Says(),)).quality.checks}
    for kind in ("reads", "writes"):
        assert told[f"baseline {kind}"].text == (
            f"40 of 40 {kind} were answered before the first fault, fewer than 100 (at this pace --baseline 13 has them)")
    unplanned = judge(msgspec.structs.replace(few, plan=None), (Says(),)).quality.checks
    assert not any("--baseline" in check.text for check in unplanned)


def test_an_unhealthy_baseline_fails() -> None:
    assert "baseline writes" in failed(questioned(during(1, 3, ("n2",), "refused", ("write",))))


def test_an_unread_key_at_the_end_fails() -> None:
    made = recording(CUT, [fault()])
    operations = [op for op in made.history if op.key != 0 or op.invoked < 20 * SECOND]
    partly = msgspec.structs.replace(made, history=History.of(operations))
    assert "final reads" in failed(judge(partly, (Says(),)).quality)


def test_late_starts_are_told_without_gravity() -> None:
    made = recording(CUT, [fault()])
    operations = [msgspec.structs.replace(op, scheduled=op.invoked - 2 * SECOND) for op in made.history]
    late = msgspec.structs.replace(made, history=History.of(operations))
    found = judge(late, (Says(),)).quality
    told = [check.text for check in found.checks if check.name == "on time"]
    assert told == ["99% of the calls started within 2000 ms of their time"]
    assert "on time" not in failed(found)


def test_operations_are_counted_by_period_side_and_kind() -> None:
    found = questioned()
    rows = {(count.period, count.side, count.kind): count for count in found.counts}
    blocked = rows["fault 1", "{n1}", "write"]
    assert blocked.attempted > 5
    assert blocked.answered == 0
    assert rows["baseline", "", "read"].answered == rows["baseline", "", "read"].attempted == 5 * 2 * 125
    assert rows["final reads", "", "read"].attempted == len(NODES) * 4


def test_a_history_of_another_program_is_not_asked() -> None:
    result = judge(recording(served, plan=False), (Says(),))
    assert result.quality.checks == ()
    assert result.validity == "valid"
