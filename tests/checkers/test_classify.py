"""Every class, by a recording made by hand; and how several faults add up to one label."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from splitbrain.checkers.classify import classify
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Discarded, Result
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import LocalRead, Recording, View
from tests.checkers.scenes import (
    MS,
    NODES,
    SECOND,
    Says,
    anomaly,
    both,
    during,
    fault,
    recording,
    served,
)

MAJORITY = ("n2", "n3", "n4", "n5")
REFUTED = Says("invalid", (anomaly("lost-write", 7),), {"lost-write": 143})
STALE = Says("invalid", (anomaly("stale-read", 7),), {"stale-read": 9})


def judged(says: Says | None = None, *args: Any, **more: Any) -> Result:
    return judge(recording(*args, **more), (says or Says(),))


def diverged() -> list[LocalRead]:
    return [LocalRead(node=node, key=0, value=node, time=20 * SECOND) for node in NODES]


def test_cp() -> None:
    result = judged(None, during(5, 13, ("n1",), "silent"), [fault()])
    assert result.classification == "CP"
    assert result.classes == {"read": "CP", "write": "CP"}
    assert result.sacrifices == {"read": "blocked on a side", "write": "blocked on a side"}
    assert (result.validity, result.exit_code, result.heading) == ("valid", 0, "NO ANOMALY FOUND")
    one, rest = result.scenarios[0].sides
    assert (one.nodes, one.quorum, one.primary, one.write.state) == (("n1",), False, True, "blocked")
    assert (rest.nodes, rest.quorum, rest.primary, rest.write.state) == (MAJORITY, True, False, "available")
    assert result.blast.clients_blocked[-1].share == pytest.approx(0.2)


def test_cp_where_the_majority_first_needs_a_new_primary() -> None:
    serve = both(during(5, 13, ("n1",), "silent"), during(5, 8, MAJORITY, "refused"))
    views = [View(node="n3", primary="n3", time=int(7.9 * SECOND))]
    result = judged(None, serve, [fault()], views=views)
    side = result.scenarios[0].sides[1]
    assert side.write.state == "blocked"
    assert side.write.outage == pytest.approx(3, abs=0.05)
    assert side.write.transition == pytest.approx(3, abs=0.05)
    assert side.write.after_transition == 1.0
    assert side.write.served is True
    assert side.without_primary == pytest.approx(3, abs=0.05)
    assert result.blast.without_primary == pytest.approx(3, abs=0.05)
    assert result.classification == "CP"


def test_unknown_where_only_the_majority_was_blocked_and_the_other_side_went_on() -> None:
    result = judged(None, during(5, 8, MAJORITY, "refused"), [fault()])
    one, rest = result.scenarios[0].sides
    assert (one.write.state, rest.write.state, rest.write.served) == ("available", "blocked", True)
    assert result.classes == {"read": "unknown", "write": "unknown"}
    assert result.classification == "unknown"
    assert "only the side with a quorum was blocked" in result.sentence
    assert result.validity == "valid", "a class that is not known leaves the verdict on the history as it is"


def test_cp_without_any_quorum() -> None:
    result = judged(None, during(5, 13, NODES, "silent"), [fault(sides=tuple((node,) for node in NODES))])
    assert result.classification == "CP"
    assert "no side had a quorum" in result.sentence
    assert result.sacrifices["write"] == "blocked everywhere"


def test_ap() -> None:
    result = judged(REFUTED, served, [fault()])
    assert result.classification == "AP"
    assert result.sentence.endswith(", 143 acknowledged writes lost")
    assert result.sacrifices == {"read": "wrong", "write": "wrong"}
    assert (result.validity, result.exit_code, result.heading) == ("invalid", 1, "NOT LINEARIZABLE")


def test_neither_by_an_anomaly_and_a_blocked_side() -> None:
    result = judged(REFUTED, during(5, 9, MAJORITY, "refused"), [fault()])
    assert result.classification == "neither"
    assert result.sentence == "neither consistent nor available during the partition, 143 acknowledged writes lost"


def test_neither_by_never_agreeing_again() -> None:
    result = judged(REFUTED, served, [fault()], local=diverged())
    assert result.classification == "neither"
    assert "never agreed" in result.sentence
    assert result.counts["diverged"] == 1


def test_unavailable() -> None:
    result = judged(None, during(5, 13, NODES, "refused"), [fault()])
    assert result.classification == "unavailable"
    assert result.sacrifices["write"] == "blocked everywhere"


def test_writes_that_gave_way_are_a_cost_though_nothing_that_was_tested_forbids_it() -> None:
    result = judged(None, served, [fault()])
    rows = [msgspec.structs.replace(row, discarded=Discarded(contested=9, writes=7)) for row in result.scenarios]
    told = classify(rows, result.baseline, result.convergence, nodes=len(NODES), lost=0, model="causal")
    assert told.classification == "not-exercised"
    assert told.sentence.endswith("the fault cost nothing that was tested, 7 acknowledged writes discarded")


def test_not_exercised() -> None:
    result = judged(None, served, [fault()])
    assert result.classification == "not-exercised"
    assert "cost nothing" in result.sentence
    assert result.sacrifices == {"read": "none", "write": "none"}


def test_not_exercised_without_a_fault_says_so() -> None:
    result = judged(None, served)
    assert (result.classification, result.sentence) == ("not-exercised", "not exercised: no fault happened")
    assert result.validity == "unknown", "the plan has a nemesis"


def test_not_distributed() -> None:
    result = judged(None, served, nodes=("n1",), workers=4)
    assert result.classification == "not-distributed"


def test_hybrid_of_kinds() -> None:
    result = judged(STALE, during(5, 13, ("n1",), "silent", ("write",)), [fault()], readers=True)
    assert result.classes == {"read": "AP", "write": "CP"}
    assert (result.classification, result.sentence) == ("hybrid", "hybrid: writes CP, reads AP")
    assert result.scenarios[0].sentence == "writes CP, reads AP"
    assert result.sacrifices == {"read": "wrong", "write": "blocked on a side"}


def test_hybrid_of_faults() -> None:
    isolated = fault(1)
    kept = fault(2, 18, 26, sides=(("n1", "n2", "n3"), ("n4", "n5")))
    serve = both(during(5, 9, MAJORITY, "refused"), during(18, 26, ("n4", "n5"), "refused"))
    result = judged(REFUTED, serve, [isolated, kept], length=32)
    assert [row.classification for row in result.scenarios] == ["neither", "CP"]
    assert result.sentence == (
        "hybrid: CP unless the primary is cut off from the majority (then neither consistent nor available), "
        "143 acknowledged writes lost"
    )


def test_a_fault_that_cost_nothing_does_not_hide_the_others() -> None:
    harmless = fault(2, 18, 26)
    result = judged(None, during(5, 13, ("n1",), "silent"), [fault(), harmless], length=32)
    assert [row.classification for row in result.scenarios] == ["CP", "not-exercised"]
    assert result.classification == "CP"
    assert "1 of 2 faults" in result.sentence


@pytest.mark.parametrize("changes", [
    dict(wrong=(("n1", "n2"),)), dict(proven=None), dict(heal_wrong=(("n1", "n2"),)), dict(healed=None),
])
def test_a_fault_or_heal_that_was_not_proven_is_unknown(changes: dict[str, Any]) -> None:
    result = judged(None, during(5, 13, ("n1",), "silent"), [fault(**changes)])
    assert (result.classification, result.validity, result.exit_code) == ("unknown", "unknown", 2)
    assert judged(REFUTED, served, [fault(**changes)]).exit_code == 1, "an anomaly is an anomaly"


def test_one_unknown_fault_leaves_the_run_without_a_label() -> None:
    serve = both(during(5, 13, ("n1",), "silent"), during(18, 26, ("n1",), "silent"))
    result = judged(None, serve, [fault(), fault(2, 18, 26, wrong=(("n1", "n2"),))], length=32)
    assert [row.classification for row in result.scenarios] == ["CP", "unknown"]
    assert result.classification == "unknown"
    assert "otherwise: CP" in result.sentence


def test_an_unhealthy_baseline_is_unknown() -> None:
    serve = both(during(1, 4, ("n3",), "refused"), during(5, 13, ("n1",), "silent"))
    result = judged(None, serve, [fault()])
    assert (result.classification, result.validity) == ("unknown", "unknown")
    assert "before the first fault" in result.sentence


@pytest.mark.parametrize("how", ["silent", "refused"])
@pytest.mark.parametrize("lost", [False, True])
def test_a_home_that_was_blocked_before_the_fault_already_is_unknown(how: Any, lost: bool) -> None:
    says = REFUTED if lost else None
    long_before = judged(says, during(0, 13, ("n1",), how), [fault()])
    assert long_before.classification == "unknown"
    if how == "silent":  # So few calls of one home alone do not spoil what is said of all.
        assert "at {n1} were not served before the first fault either" in long_before.sentence
    assert judged(says, during(5, 13, ("n1",), how), [fault()]).classification == ("neither" if lost else "CP")
    # Another home that was blocked then does not matter.
    other = both(during(0, 4.9, ("n5",), "silent"), during(5, 13, ("n1",), how))
    assert judged(says, other, [fault()]).classification == ("neither" if lost else "CP")
    once = both(during(1, 2, ("n1",), "silent"), during(5, 13, ("n1",), how))
    assert judged(says, once, [fault()]).classification == ("neither" if lost else "CP")


@pytest.mark.parametrize("says", [None, REFUTED])
def test_one_blip_makes_no_class(says: Says | None) -> None:
    """Two calls a second at each node, and one of them at n1 unanswered: that is not CP, and not neither."""
    slow = dict(workers=1, every=500 * MS, length=40.0)
    blip = judged(says, during(7.4, 7.6, ("n1",), "silent", ("write",)), [fault(1, 5, 13)], **slow)
    one = blip.scenarios[0].sides[0]
    assert one.write.answered == one.write.attempted - 1 and one.write.state == "unknown"
    assert blip.classes["write"] == "unknown" and "too few to tell, 100 are needed: raise --rate" in blip.sentence
    assert not blip.blast.clients_blocked and blip.sacrifices["write"] != "blocked on a side"
    shut = judged(says, during(5, 13, ("n1",), "silent"), [fault(1, 5, 13)], **slow)
    assert shut.scenarios[0].sides[0].write.state == "blocked", "at that rate a side that is shut is seen to be"
    assert shut.classes["write"] == ("CP" if says is None else "neither")


def test_cp_where_the_only_client_of_a_side_waits_five_seconds_for_each_answer() -> None:
    made = recording(served, [fault(1, 5, 13)], workers=1)
    waits = [
        Operation(process=2001, f="write", value=-1, outcome="info", invoked=5 * SECOND, completed=10 * SECOND, node="n1"),
        Operation(process=2002, f="read", outcome="ok", invoked=10 * SECOND + MS, completed=13 * SECOND + MS, node="n1"),
    ]
    others = [op for op in made.history if op.node != "n1" or not 4.99 * SECOND < op.invoked < 13.01 * SECOND]
    result = judge(msgspec.structs.replace(made, history=History.of([*others, *waits])), (Says(),))
    assert result.classes == {"read": "CP", "write": "CP"}


def test_few_calls_after_the_heal_are_enough_where_all_are_answered() -> None:
    slow = dict(workers=1, every=900 * MS, length=15.0)
    shut = during(5, 13, ("n1",), "silent")
    assert judged(None, shut, [fault(1, 5, 13)], **slow).classification == "CP"
    after = both(shut, during(13, 99, ("n1",), "refused", ("write",)))
    assert "not every home was served again" in judged(None, after, [fault(1, 5, 13)], **slow).sentence


def test_a_few_answers_are_no_failure_to_serve() -> None:
    slow = dict(workers=1, every=2000 * MS, length=40.0)
    result = judged(None, during(5, 13, ("n1",), "silent"), [fault(1, 5, 13)], **slow)
    assert result.sentence.startswith("unknown: too little is known of how the side with a quorum was served (")


def test_a_fault_that_lasted_no_time_is_not_said_to_be_unproven() -> None:
    found = judged(None, during(5, 13, ("n1",), "silent"), [fault(heal_began=5 * SECOND, healed=5 * SECOND)])
    assert found.classification == "unknown" and "it lasted no time" in found.sentence


def test_an_undecided_history_is_never_counted_as_held() -> None:
    result = judged(Says("unknown"), during(5, 13, ("n1",), "silent"), [fault()])
    assert (result.classification, result.validity, result.consistency) == ("unknown", "unknown", "undecided")


def test_too_little_on_one_side_is_unknown() -> None:
    sparse = recording(served, [fault()], workers=1, every=400 * MS, keys=2)
    result = judge(sparse, (Says(),))
    assert result.scenarios[0].sides[0].read.state == "unknown"
    assert (result.classification, result.validity) == ("unknown", "unknown")


def test_a_side_that_never_comes_back_is_not_cp() -> None:
    result = judged(None, during(5, 99, ("n1",), "silent"), [fault()])
    assert result.scenarios[0].recovery is None
    assert "not served steadily again" in result.scenarios[0].recovery_reason
    assert result.classification == "unknown"
    assert "not every home was served again" in result.sentence


def test_a_majority_that_serves_too_late_is_not_cp() -> None:
    result = judged(None, both(during(5, 13, ("n1",), "silent"), during(5.5, 13, MAJORITY, "refused")), [fault()])
    assert result.classification == "unknown"
    assert "did not serve steadily again" in result.sentence


def test_one_blocked_home_blocks_its_side_however_busy_the_others_are() -> None:
    """As behind a bridge: the parts are connected, and who is answered asks far more often than who waits."""
    whole = fault(sides=(NODES,), primary="n1")
    result = judged(None, during(5, 13, ("n5",), "silent"), [whole], workers=4, every=4 * MS)
    side = result.scenarios[0].sides[0]
    assert side.write.share is not None and side.write.share > 0.99
    assert side.write.state == "blocked"
    assert "clients at n5" in side.write.reason
    assert result.classification == "CP"


def test_homes_that_were_refused_behind_a_bridge_are_named() -> None:
    whole = fault(sides=(NODES,), primary="n1")
    result = judged(None, during(5, 13, ("n3", "n4", "n5"), "refused"), [whole])
    assert result.classification == "unknown"
    assert "at {n3 n4 n5} were not served, though links by way of others joined them with a quorum" in result.sentence


def test_a_load_that_ends_with_the_heal_tells_nobody_that_was_not_served_again() -> None:
    result = judged(None, during(5, 99, ("n1",), "silent"), [fault()], length=13.6)
    assert result.classification == "unknown" and "not every home" not in result.sentence
    assert "less than a second was left after the heal: too little to see who was served again" in result.sentence


def test_replicas_that_were_not_compared_leave_ap_open() -> None:
    assert judged(REFUTED, served, [fault()], local=[]).classification == "unknown"


@pytest.mark.parametrize(("given_up", "told"), [(0, ""), (1, ", 1 acknowledged write discarded"),
                                               (7, ", 7 acknowledged writes discarded")])
def test_concurrent_writes_that_gave_way_are_told(given_up: int, told: str) -> None:
    result = judged(STALE, served, [fault()])
    rows = [msgspec.structs.replace(row, discarded=Discarded(contested=9, writes=given_up)) for row in result.scenarios]
    found = classify(rows, result.baseline, result.convergence, nodes=5, lost=0, model="linearizable")
    assert found.sentence == result.sentence + told
    rows = [msgspec.structs.replace(rows[0], discarded=Discarded(contested=9, writes=given_up, untold=1))]
    found = classify(rows, result.baseline, result.convergence, nodes=5, lost=0, model="linearizable")
    assert found.sentence == result.sentence + told.replace(", ", ", at least ")


def test_what_is_wrong_before_any_fault_leaves_no_class_that_needs_consistency() -> None:
    held = judged(None, during(5, 13, ("n1",), "silent"), [fault()])
    assert (held.classification, held.classes["write"]) == ("CP", "CP")
    wrong = judged(STALE, during(5, 13, ("n1",), "silent"), [fault()], readers=True)

    def found(outside: dict[str, int], rows: tuple[Any, ...] = held.scenarios) -> Any:
        return classify(rows, held.baseline, held.convergence, nodes=5, lost=0, model="linearizable", outside=outside)

    lost, stale = found({"lost-write": 1}), found({"stale-read": 1})
    assert lost.classification == "unknown"
    assert lost.sentence.startswith("unknown: not linearizable, though no fault is the cause")
    assert set(lost.classes.values()) == {"unknown"}
    assert (stale.classification, stale.classes["write"], stale.classes["read"]) == ("unknown", "CP", "unknown")
    assert found({"stale-read": 1}, wrong.scenarios) == found({}, wrong.scenarios), "a fault refuted it, too"
    idle = judged(None, served, [fault()])
    unharmed = found({"stale-read": 1}, idle.scenarios)
    assert unharmed.classification == "not-exercised" and unharmed.sentence.endswith("; not linearizable, but not by a fault")


def test_writes_that_several_sides_took_for_a_key_are_no_more_consistent_than_the_stale_reads_beside_them() -> None:
    result = judged(STALE, during(5, 13, ("n1",), "silent", ("write",)), [fault()], readers=True)
    for contested, write in ((0, "CP"), (1, "neither")):
        rows = [msgspec.structs.replace(row, discarded=Discarded(contested=contested)) for row in result.scenarios]
        found = classify(rows, result.baseline, result.convergence, nodes=5, lost=0, model="linearizable")
        assert (found.classes["write"], found.sacrifices["write"] == "wrong") == (write, contested > 0)


@pytest.mark.parametrize("first", [0, 1])
def test_of_several_models_the_one_is_named_of_which_it_is_true(first: int) -> None:
    kept = Says()
    open_ = Says("unknown", model="serializable", name="other")
    broken = Says("invalid", (anomaly("lost-write", 7),), model="serializable", name="other")
    run = recording(during(5, 13, ("n1",), "silent"), [fault()])
    undecided = judge(run, (kept, open_)[:: 1 - 2 * first])
    assert undecided.sentence == "unknown: it was not decided whether the history is serializable"
    refuted = judge(recording(served, [fault()]), (kept, broken)[:: 1 - 2 * first])
    assert refuted.sentence.startswith("AP: every side was served, but not serializable")


def without(kind: str, homes: tuple[str, ...] = ("n1",), since: float = 5, until: float = 13, **more: Any) -> Recording:
    """Writes are refused at n1 in the fault, where calls of that kind are not made at these homes."""
    made = recording(during(5, 13, ("n1",), "refused", ("write",)), [fault(1, 5, 13)], **more)
    left = [op for op in made.history
            if op.f != kind or op.node not in homes or not since * SECOND <= op.invoked < until * SECOND]
    return msgspec.structs.replace(made, history=History.of(left))


def test_calls_that_nobody_made_leave_the_other_kind_to_be_told_alone() -> None:
    """Had they been made they might have been answered wrongly."""
    result = judge(without("read"), (Says(),))
    assert result.classes == {"read": "unknown", "write": "CP"} and result.classification == "unknown"
    assert result.sentence == (
        "unknown: too little is known of reads at {n1} (nothing was tried; who waits for one call makes no other: raise "
        "--concurrency); writes alone: CP"
    )
    never = judge(without("read", NODES, 0, 19), (Says(),))
    assert never.sentence == "unknown: no read was made before the first fault; writes alone: CP"


def test_where_nothing_is_written_no_answer_can_be_wrong() -> None:
    for how in ("served", "refused"):
        made = recording(during(5, 13, ("n1",), how), [fault(1, 5, 13)])
        reads = History.of([op for op in made.history if op.f == "read"])
        result = judge(msgspec.structs.replace(made, history=reads), (Says(),))
        assert result.classification == "unknown" and set(result.classes.values()) == {"unknown"}, how
        assert "nothing was written, so that no answer could have been wrong" in result.sentence


def test_a_side_that_may_have_been_served_leaves_a_consistent_fault_cp() -> None:
    slow: dict[str, Any] = dict(workers=1, every=150 * MS, length=30.0)
    result = judge(without("none", **slow), (Says(),))
    read = result.scenarios[0].sides[0].read
    assert read.state == "unknown" and read.attempted == read.answered and 18 <= read.attempted < 100
    assert result.classes == {"read": "unknown", "write": "CP"}
    assert result.sentence == "CP: linearizable; a side was blocked during the partition, the side with a quorum went on"
    fewer = judge(without("read", since=9, **slow), (Says(),))
    assert 0 < fewer.scenarios[0].sides[0].read.attempted < 18, "so few answers may be right by luck"
    assert fewer.classification == "unknown" and fewer.sentence.endswith("; writes alone: CP")


@pytest.mark.parametrize("kind", ["none", "read"])
def test_writes_that_are_cp_and_reads_that_are_refuted_are_two_things(kind: str) -> None:
    """However well the reads were served."""
    result = judge(without(kind, workers=1, every=200 * MS, length=30.0), (STALE,))
    assert result.classes == {"read": "unknown", "write": "CP"}
    assert result.sentence == "hybrid: writes CP, reads not linearizable, and how available is not known"


def test_what_is_refuted_and_never_agrees_is_neither_whether_a_side_was_served_or_not() -> None:
    slow = dict(workers=1, every=200 * MS, length=30.0)
    result = judged(REFUTED, served, [fault(1, 5, 13)], local=diverged(), **slow)
    assert set(result.classes.values()) == {"unknown"}
    assert result.sentence.startswith("neither: not linearizable, and the replicas never agreed afterwards, 143")
    assert judged(REFUTED, served, [fault(1, 5, 13)], **slow).classification == "unknown"
