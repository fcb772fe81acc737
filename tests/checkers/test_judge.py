"""The judgement: validity, headings, exit codes, attribution, claims, and checkers that fail."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from splitbrain.checkers.assessment import claim as assessed
from splitbrain.checkers.assessment import label, recommendations
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import FORMAT, Check, Class, Convergence, Result, decode, encode
from splitbrain.checkers.structures.bank import AT_ONCE, CONSERVED, UP_TO_DATE
from splitbrain.checkers.verdict import Moment, Standing, Verdict
from splitbrain.harness.errors import HistoryError, UsageError
from splitbrain.harness.history.fault import DAMAGED, Kill, Other, Skew, Spec
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.variant import Claim, Damage, Label, Promise
from tests.checkers.scenes import MS, NODES, SECOND, Says, anomaly, apart, both, during, fault, overlapping, recording, served

CUT = during(5, 13, ("n1",), "silent")
LOST = Says("invalid", (anomaly("lost-write", 7),), {"lost-write": 5})


class Throws:
    name = "throws"

    def __init__(self, error: Exception) -> None:
        self.error = error

    def check(self, recording: Recording) -> Verdict:
        raise self.error


def judged(*says: Any, **more: Any) -> Result:
    return judge(recording(CUT, [fault()], **more), says or (Says(),))


def test_valid_says_what_was_exercised_and_never_safe() -> None:
    result = judged()
    assert (result.validity, result.exit_code, result.heading) == ("valid", 0, "NO ANOMALY FOUND")
    assert result.reason == "by says, availability, recovery, convergence, quality."
    assert "its fault proven (scenario 1)" in result.exercised
    assert "safe" not in encode(result).decode().lower()


@pytest.mark.parametrize("error", [ValueError("odd"), RecursionError(), UsageError("no such function")])
def test_a_checker_that_throws_is_unknown_and_says_why(error: Exception) -> None:
    result = judged(Throws(error))
    assert (result.validity, result.exit_code, result.heading) == ("unknown", 2, "UNKNOWN")
    told = "no such function" if isinstance(error, UsageError) else "test_judge.py:"
    assert told in result.reason and ("test_" not in told or type(error).__name__ in result.reason)
    assert result.recommendations[0].startswith("A program that judges the run failed (throws), which says nothing of the data")
    assert "raise self.error" in result.verdicts[0].traceback and "longer" not in "".join(result.recommendations[1:])
    assert judged(Throws(error), LOST).exit_code == 1, "what another checker found stands"


class Nothing:
    name = "nothing"

    def check(self, recording: Recording) -> Any:
        return None


def test_a_checker_that_returns_no_verdict_is_unknown_and_says_so() -> None:
    result = judged(Nothing())
    assert (result.validity, result.exit_code) == ("unknown", 2)
    assert "check() returned None, and no Verdict" in result.reason


def test_bad_input_is_told_where_the_history_is_somebody_elses() -> None:
    with pytest.raises(UsageError, match="no such function"):
        judge(recording(served, plan=False), (Throws(UsageError("no such function")),))


def test_a_broken_recording_is_unknown_and_not_a_crash() -> None:
    """A fault whose sides name nodes that do not exist, phases in disorder: every measurement may fail, none may stop it."""
    odd = judged(phases=())
    assert odd.validity == "unknown"
    assert judge(Recording(history=History.of([]), nodes=()), ()).validity == "unknown"
    assert judge(recording(served, [fault(sides=(("x",), ("y", "z")))]), (Says(),)).validity == "unknown"


def test_without_a_checker_nothing_is_valid() -> None:
    assert judge(recording(CUT, [fault()]), ()).validity == "unknown"


@pytest.mark.parametrize(("changes", "says", "code"), [
    (dict(interrupted=True), Says(), 130), (dict(interrupted=True), LOST, 130), (dict(torn=True), Says(), 2),
    (dict(torn=True), LOST, 1), ({}, Says("unknown"), 2),
])
def test_exit_codes_of_partial_runs(changes: dict[str, Any], says: Says, code: int) -> None:
    result = judged(says, **changes)
    assert result.exit_code == code
    if result.torn:
        assert "the middle of the run" in result.reason or "journal ends" in result.reason


def test_limits_are_always_told() -> None:
    class Limited(Says):
        def check(self, recording: Recording) -> Verdict:
            return Verdict(checker="l", validity="unknown", reason="no time.", limits=("60 s",))

    assert judged(Limited()).limits == ("l: 60 s",)


def test_an_anomaly_belongs_to_the_first_fault_during_which_it_was_under_way() -> None:
    faults = [fault(), fault(2, 18, 26)]
    says = Says("invalid", (anomaly("stale-read", 3), anomaly("stale-read", 7), anomaly("stale-read", 14),
                            anomaly("lost-write", 20), anomaly("lost-write", 31)), moments={})
    result = judge(recording(CUT, faults, length=32), (says,))
    assert [(a.identifier, a.fault) for a in result.anomalies] == [
        ("lost-write", 2), ("lost-write", 2), ("stale-read", 1), ("stale-read", 1), ("stale-read", None),
    ]


class Lost:
    """Refutes a recording in which value 1 was read after 1000 was written. Tells one anomaly, without naming a fault."""

    name = "lost"

    def check(self, recording: Recording) -> Verdict:
        reads = [op for op in recording.history if op.f == "read" and op.value == -1]
        if not reads:
            return Verdict(checker="lost", validity="valid", reason="fine.")
        found = anomaly("stale-read", reads[0].invoked / SECOND)
        return Verdict(checker="lost", validity="invalid", reason="old.", anomalies=(found,), counts={"stale-read": len(reads)})


def test_each_fault_is_judged_by_its_own_part_of_a_register_history() -> None:
    """The only anomaly shown is of the first fault; the third one has its own, the second one none."""
    faults = [fault(1), fault(2, 18, 26), fault(3, 31, 39)]
    serve = both(CUT, during(18, 26, ("n1",), "silent"), during(31, 39, ("n1",), "silent"))
    made = recording(serve, faults, length=44)
    old = [
        Operation(process=9000, f="read", key=1, value=-1, invoked=second * SECOND, completed=second * SECOND + 1, node="n2")
        for second in (7, 33)
    ]
    result = judge(msgspec.structs.replace(made, history=History.of([*made.history, *old])), (Lost(),))
    assert [row.consistency for row in result.scenarios] == ["refuted", "held", "refuted"]
    assert [row.classes["write"] for row in result.scenarios] == ["CP", "CP", "CP"]
    assert [row.classes["read"] for row in result.scenarios] == ["neither", "CP", "neither"]


def test_faults_without_a_judgement_of_their_own_are_undecided() -> None:
    made = recording(CUT, [fault(), fault(2, 18, 26)], length=32)
    queue = [msgspec.structs.replace(op, f="enqueue") if op.f == "write" else op for op in made.history]
    says = Says("invalid", (anomaly("duplicate", 7),))
    result = judge(msgspec.structs.replace(made, history=History.of(queue)), (says,))
    assert [row.consistency for row in result.scenarios] == ["refuted", "undecided"]


def test_divergence_alone_has_its_own_heading() -> None:
    from tests.checkers.test_classify import diverged

    result = judged(local=diverged())
    assert (result.heading, result.exit_code) == ("DIVERGED", 1)


def _bank(refuted: str) -> Says:
    return Says("invalid", LOST.anomalies, model=refuted)


@pytest.mark.parametrize(("claim", "says", "standing"), [
    (Claim(text="t", source="s", promises=("linearizable",)), Says(), "holds"),
    (Claim(text="t", source="s", promises=("linearizable",)), LOST, "does not hold"),
    (Claim(text="t", source="s", promises=("no-lost-write",)), LOST, "does not hold"),
    (Claim(text="t", source="s", promises=("converges",)), LOST, "not tested"),
    (Claim(text="t", source="s", promises=("converges",)), Says(), "holds"),
    (Claim(text="t", source="s", promises=("available",)), Says(), "does not hold"),
    (Claim(text="t", source="s", promises=("converges", "snapshot-isolation")), Says(), "holds in part"),
    (Claim(text="t", source="s", promises=("snapshot-isolation",)), Says(), "not tested"),
    (Claim(text="t", source="s", promises=("linearizable",)), Says("unknown"), "not tested"),
    (Claim(text="t", source="s", admits=("lost-write",)), LOST, "holds"),
    (Claim(text="t", source="s", admits=("lost-write",)), Says(), "not tested"),
    (Claim(text="t", source="s", admits=("stale-read",)), LOST, "not tested"),
    (Claim(text="t", source="s", promises=("converges",), admits=("lost-write",)), LOST, "holds"),
    (Claim(text="t", source="s", promises=("converges",), admits=("lost-write",)), Says(), "not tested"),
    (Claim(text="t", source="s"), Says(), "not tested"),
    (Claim(text="t", source="s", promises=("causal",)), Says(model="causal"), "holds"),
    (Claim(text="t", source="s", promises=("causal",)), Says("invalid", LOST.anomalies, model="causal"), "does not hold"),
    (Claim(text="t", source="s", promises=("causal",)), Says(model="sequential"), "not tested"),
    (Claim(text="t", source="s", promises=("snapshot-isolation",)), Says("unknown", model="snapshot-isolation"), "not tested"),
    (Claim(text="t", source="s", promises=("snapshot-isolation",)), _bank(CONSERVED), "does not hold"),
    (Claim(text="t", source="s", promises=("serializable",)), _bank(AT_ONCE), "does not hold"),
    (Claim(text="t", source="s", promises=("serializable",)), _bank(UP_TO_DATE), "not tested"),
    (Claim(text="t", source="s", promises=("strict-serializable",)), _bank(UP_TO_DATE), "does not hold"),
    (Claim(text="t", source="s", promises=("read-committed",)), _bank(CONSERVED), "not tested"),
])
def test_claims(claim: Claim, says: Says, standing: str) -> None:
    found = judged(says, claim=claim).claim
    assert found is not None
    assert found.standing == standing


# After Herlihy & Wing 1990, Bailis et al. 2014, Viotti & Vukolic 2016, Adya 1999 and jepsen.io/consistency, and for watches the
# documentation of etcd: whether a history that is against a model is against a promise.
SERVICES = ("stocks kept", "charges single", "limits kept")
SESSIONS = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")
COMMITTED = ("read-uncommitted", "read-committed")
SNAPSHOT = (*COMMITTED, "read-atomic", "consistent-view", "parallel-snapshot-isolation", "snapshot-isolation",
            "totals conserved", "reads prefixed")
STRONG = ("read-committed-session", "read-atomic-session", "causal", "prefix", "strong-session-parallel-snapshot-isolation",
          "strong-session-snapshot-isolation", "strong-session-serializable", "strong-snapshot-isolation")
AGAINST: dict[Promise, tuple[str, ...]] = {
    "linearizable": ("linearizable", "sequential", "causal", *SESSIONS, "sets fresh", "queues ordered", "fences kept",
                     "identifiers unique", "values monotonic", "counters consistent", "totals conserved", "balances up to date",
                     "transfers kept",
                     # Where a variant promises that of its single operations, a transaction is one of them.
                     *SNAPSHOT, *STRONG, "serializable", "strict-serializable"),
    "sequential": ("sequential", "causal", *SESSIONS), "causal": ("causal", *SESSIONS),
    "read-your-writes": ("read-your-writes",), "monotonic-reads": ("monotonic-reads",),
    "monotonic-writes": ("monotonic-writes",), "writes-follow-reads": ("writes-follow-reads",),
    "read-committed": COMMITTED, "snapshot-isolation": SNAPSHOT, "serializable": (*SNAPSHOT, "serializable"),
    "strict-serializable": (*SNAPSHOT, *STRONG, "serializable", "strict-serializable", "balances up to date", "transfers kept"),
}
BESIDE = ("locks exclusive", "watches complete", *SERVICES)


@pytest.mark.parametrize("promise", AGAINST)
def test_a_promise_is_broken_by_what_is_against_it_and_by_nothing_else(promise: Promise) -> None:
    claimed = Claim(text="t", source="s", promises=(promise,))
    for model in {*BESIDE, *(model for models in AGAINST.values() for model in models)}:
        refuted = Standing(model=model, state="refuted", by=("x",))
        verdict = Verdict(checker="mine", validity="invalid", reason="r", standings=(refuted,))
        held = assessed(claimed, {"x": 1}, (), (verdict,), Convergence(), "invalid")
        assert (held.standing == "does not hold") is (model in AGAINST[promise]), model


@pytest.mark.parametrize(("changes", "standing"), [
    ({"promises": ("no-lost-write",)}, "does not hold"), ({"admits": ("lost-write",)}, "holds"),
    ({"admits": ("lost-transfer", "stale-read")}, "not tested"), ({"promises": ("converges",)}, "not tested"),
])
@pytest.mark.parametrize("model", ["sums right", "likes counted"])
def test_a_counter_that_falls_short_in_the_end_has_lost_writes(changes: dict[str, Any], standing: str, model: str) -> None:
    refuted = Standing(model=model, state="refuted", by=("wrong-total",))
    verdict = Verdict(checker="counter", validity="invalid", reason="r", standings=(refuted,))
    claimed = Claim(text="t", source="s", **changes)
    told = assessed(claimed, {"wrong-total": 1}, (), (verdict,), Convergence(), "invalid")
    assert told.standing == standing, told.reason
    if standing != "not tested":
        assert "a counter held less in the end than was acknowledged" in told.reason


def test_a_loss_that_a_claim_does_not_speak_of_is_told_beside_it() -> None:
    refuted = Standing(model="carts kept", state="refuted", by=("lost-element",))
    verdict = Verdict(checker="cart", validity="invalid", reason="r", standings=(refuted,))
    claimed = Claim(text="t", source="s", admits=("lost-write",))
    told = assessed(claimed, {"lost-element": 1}, (), (verdict,), Convergence(), "invalid")
    assert (told.standing, told.reason) == (
        "not tested", "it admits lost-write, which was not seen in this run; of lost-element, which was seen, it does not speak"
    )


@pytest.mark.parametrize("model", BESIDE)
def test_linearizability_is_not_tested_by_what_it_says_nothing_of(model: str) -> None:
    found = judged(Says(model=model), claim=Claim(text="t", source="s", promises=("linearizable",))).claim
    assert found is not None and found.standing == "not tested"
    assert found.reason == "the workload tests nothing of linearizability"


LOSSES = "that no acknowledged write is lost"


@pytest.mark.parametrize(("model", "standing", "more", "alone"), [
    ("linearizable", "holds", "", "holds"), ("strict-serializable", "holds", "", "holds"),
    ("sets consistent", "holds", "", "holds"),
    ("sets complete", "holds in part", "tested in part: linearizability (sets complete)", "holds"),
    ("snapshot-isolation", "holds in part", "tested in part: linearizability (snapshot-isolation)", "holds"),
    ("transfers kept", "holds in part", f"tested in part: linearizability (transfers kept), {LOSSES} (transfers kept)",
     "holds in part"),
    ("sums right", "holds in part", f"tested in part: linearizability (sums right), {LOSSES} (sums right)", "holds in part"),
    ("carts kept", "holds in part", f"tested in part: linearizability (carts kept), {LOSSES} (carts kept)", "holds in part"),
    ("counters consistent", "holds in part", f"tested in part: linearizability (counters consistent); not tested: {LOSSES}",
     "not tested"),
    ("fences kept", "holds in part", f"tested in part: linearizability (fences kept); not tested: {LOSSES}", "not tested"),
    ("locks exclusive", "holds in part", f"not tested: linearizability, {LOSSES}", "not tested"),
    ("a rule of somebody's own", "holds in part", f"not tested: linearizability, {LOSSES}", "not tested"),
])
def test_a_claim_holds_in_part_where_the_workload_tests_a_part_of_it(
    model: str, standing: str, more: str, alone: str
) -> None:
    claimed = Claim(text="t", source="s", promises=("linearizable", "no-lost-write", "converges"))
    found = judged(Says(model=model), claim=claimed).claim
    assert found is not None and found.standing == standing
    assert found.reason.partition(" in this run")[2].removeprefix("; ") == more
    losses = judged(Says(model=model), claim=Claim(text="t", source="s", promises=("no-lost-write",))).claim
    assert losses is not None and losses.standing == alone
    # With a model of its own a checker can neither support nor break what a vendor says.
    broken = judged(Says("invalid", (anomaly("stale-read", 7),), model=model), claim=claimed).claim
    assert broken is not None
    assert (broken.standing == "does not hold") is (model not in ("locks exclusive", "a rule of somebody's own")), broken


def test_what_is_beside_a_promise_leaves_the_rest_of_the_run_to_support_it() -> None:
    """Two believed that they held a lock, which no linearizable store prevents, and its fences grew as they must."""
    class Lock(Says):
        def check(self, recording: Recording) -> Verdict:
            fences = Standing(model="fences kept", state="holds")
            return msgspec.structs.replace(super().check(recording), standings=(*super().check(recording).standings, fences))

    claimed = Claim(text="t", source="s", promises=("linearizable", "no-lost-write"))
    held = judged(Lock("invalid", (anomaly("double-hold", 7),), model="locks exclusive"), claim=claimed).claim
    assert held is not None and held.standing == "holds in part", held
    broken = judged(Lock("invalid", (anomaly("double-hold", 7),), model="queues ordered"), claim=claimed).claim
    assert broken is not None and broken.standing == "does not hold", broken


@pytest.mark.parametrize(("more", "standing"), [("no-lost-write", "holds"), ("converges", "does not hold")])
def test_copies_that_differ_leave_a_promise_of_linearizability_supported(more: Promise, standing: str) -> None:
    from tests.checkers.test_classify import diverged

    found = judged(local=diverged(), claim=Claim(text="t", source="s", promises=("linearizable", more))).claim
    assert found is not None and found.standing == standing, found


@pytest.mark.parametrize("tested", [True, False])
def test_a_run_that_was_no_good_test_supports_no_promise_though_copies_differ(tested: bool) -> None:
    verdict = Verdict(checker="x", validity="valid", reason="r", standings=(Standing(model="linearizable", state="holds"),))
    claimed = Claim(text="t", source="s", promises=("linearizable",))
    rows = judged().scenarios
    told = assessed(claimed, {"diverged": 1}, rows, (verdict,), Convergence(), "invalid", tested=tested)
    assert told.standing == ("holds" if tested else "not tested"), told


@pytest.mark.parametrize("promised", [("snapshot-isolation",), ("converges", "snapshot-isolation")])
def test_a_level_of_which_a_bank_shows_a_part_holds_in_part(promised: tuple[Promise, ...]) -> None:
    claimed = Claim(text="t", source="s", promises=promised)
    found = judged(Says(model=CONSERVED), claim=claimed).claim
    assert found is not None and found.standing == "holds in part"
    assert found.reason.endswith(" in this run; tested in part: snapshot isolation (totals conserved)")
    decided = judged(Says(model="snapshot-isolation"), claim=claimed).claim
    assert decided is not None and decided.standing == "holds"
    unknown = judged(Says("unknown", model=CONSERVED), claim=claimed).claim
    assert unknown is not None and unknown.standing == "not tested"


@pytest.mark.parametrize(("promise", "checker", "against"), [
    ("causal", "sessions", True), ("causal", "transactions", False), ("sequential", "transactions", False),
    ("strict-serializable", "transactions", True), ("strict-serializable", "sessions", False),
])
def test_what_is_promised_of_operations_is_not_held_against_transactions(promise: Promise, checker: str, against: bool) -> None:
    """Causal consistency of transactions asks for more than that of single operations, and has the same name."""
    claimed = Claim(text="t", source="s", promises=(promise,))
    refuted = judged(Says("invalid", LOST.anomalies, model="causal", name=checker), claim=claimed).claim
    assert refuted is not None and (refuted.standing == "does not hold") is against
    held = judged(Says(model="causal", name=checker), claim=claimed).claim
    assert held is not None and (held.standing == "holds") is (against and promise == "causal")


@pytest.mark.parametrize(("admitted", "seen", "standing"), [
    ("G2-item", "G2-item", "holds"),
    ("G2-item-realtime", "G2-item", "holds"),  # Who misses another's write misses it whatever order is counted.
    ("G2-item", "G2-item-realtime", "not tested"),  # A stale read may be all there is to it.
    ("G-single", "G-single-process", "not tested"),
    ("G-single-realtime", "G-single-process", "holds"),
    ("G2-item", "G-single", "holds"),
    ("G-single", "G2-item", "not tested"),
    ("G-nonadjacent", "long-fork", "holds"),
    ("G-single", "lost-update", "not tested"),  # A loss is more than a warning of none.
    ("G2-item", "G1c", "not tested"),
    ("G1c", "G0-realtime", "not tested"),
])
def test_what_is_admitted_is_seen_in_all_that_is_one_by_definition(admitted: str, seen: str, standing: str) -> None:
    claimed = Claim(text="t", source="s", admits=(admitted,))
    found = judged(Says("invalid", (anomaly(seen, 7),)), claim=claimed).claim
    assert found is not None and found.standing == standing, found


def test_what_is_less_than_what_is_admitted_is_named() -> None:
    claimed = Claim(text="t", source="s", admits=("G2-item",))
    found = judged(Says("invalid", (anomaly("G2-item-realtime", 7),)), claim=claimed).claim
    assert found is not None
    assert found.reason == "it admits G2-item, which was not seen in this run; G2-item-realtime, which was, shows no G2-item"


def test_a_lost_update_is_no_write_that_was_not_kept() -> None:
    """Both writes were kept until the other one replaced them: a matter of isolation."""
    promised = Claim(text="t", source="s", promises=("no-lost-write",))
    update = (anomaly("lost-update", 7),)
    for says, standing in ((Says("invalid", update), "not tested"),
                           (Says("invalid", (anomaly("lost-append", 7),)), "does not hold")):
        found = judged(says, claim=promised).claim
        assert found is not None and found.standing == standing, found
    advice = judged(Says("invalid", update), claim=promised).recommendations
    assert any("conditional write" in told for told in advice) and not any("for durable" in told for told in advice)


@pytest.mark.parametrize(("level", "micro", "standing"), [
    ("snapshot-isolation", ("w", "x", 1), "not tested"),  # A write that was rolled back is a stale read to that level.
    ("strict-serializable", ("w", "x", 1), "holds"),
    ("snapshot-isolation", ("append", "x", 1), "holds"),  # The last lists show what is in none of them.
])
def test_where_registers_are_overwritten_only_current_reads_show_that_nothing_was_lost(
    level: str, micro: tuple[Any, ...], standing: str
) -> None:
    promised = Claim(text="t", source="s", promises=("no-lost-write",))
    made = recording(CUT, [fault()], claim=promised)
    calls = [
        msgspec.structs.replace(one, f="txn", value=(("r", "x", None) if one.f == "read" else micro,)) for one in made.history
    ]
    found = judge(msgspec.structs.replace(made, history=History.of(calls)), (Says(model=level),)).claim
    assert found is not None and found.standing == standing, found


@pytest.mark.parametrize(("spec", "standing"), [
    (Skew(("n1",), offset=60.0), "not tested"), (Kill(("n1",)), "not tested"), (apart(NODES[:2], NODES[2:]), "holds"),
])
def test_availability_on_every_side_is_tested_where_there_were_sides(spec: Spec, standing: str) -> None:
    promised = Claim(text="t", source="s", promises=("available",))
    found = judge(recording(faults=[overlapping(1, 5, 13, spec)], claim=promised), (Says(),)).claim
    assert found is not None and found.standing == standing, found


def test_a_claim_of_losses_holds_only_where_something_was_lost() -> None:
    claim = Claim(text="acknowledged writes are lost", source="s", admits=("lost-write", "lost-element", "stale-read"))
    stale = judged(Says("invalid", (anomaly("stale-read", 7),)), claim=claim).claim
    lost = judged(LOST, claim=claim).claim
    assert stale is not None and lost is not None and (stale.standing, lost.standing) == ("not tested", "holds")
    assert stale.reason == ("it admits lost-write and lost-element, none of which was seen in this run; stale-read, which it "
                            "admits too, was, and is no loss")
    calm = judged(Says(), claim=claim).claim
    assert calm is not None and calm.reason.endswith("none of which was seen in this run")


@pytest.mark.parametrize(("text", "seen", "gave_way", "standing"), [
    ("CP", "CP", 0, "holds"), ("CP", "CP", 1, "holds in part"), ("PC/EC", "CP", 187, "holds in part"),
    ("AP", "CP", 187, "does not hold"), ("AP", "AP", 187, "holds"), ("neither C nor A", "neither", 187, "holds"),
])
def test_cp_holds_in_part_where_acknowledged_writes_gave_way(text: str, seen: Class, gave_way: int, standing: str) -> None:
    """Causality allows that two sides write beside each other and one of them gives way; who calls a database CP does not."""
    found = label(Label(text, "a book"), seen, "held", gave_way=gave_way)
    assert found.standing == standing
    assert ("gave way to another side's" in found.reason) is (standing == "holds in part")


def test_no_label_holds_of_a_run_that_proves_nothing() -> None:
    """The side was blocked and the majority served, but too few calls were made before that."""
    made = recording(during(5, 13, ("n1",), "silent"), [fault()], every=300 * MS, labels=(Label("CP", "a book"),))
    few = judge(made, (Says(),))
    assert (few.validity, few.classification) == ("unknown", "CP")
    assert [(one.standing, one.reason) for one in few.labels] == [("not tested", "this run is unknown")]


def test_nothing_is_promised_by_a_majority_that_never_answered() -> None:
    claim = Claim(text="t", source="s", promises=("linearizable",))
    found = judge(recording(during(5, 13, NODES, "silent"), [fault()], claim=claim), (Says(),)).claim
    assert found is not None and found.standing == "not tested" and "side with a quorum" in found.reason


def test_the_model_that_was_tested_is_the_one_that_is_named() -> None:
    held, refuted = judged(Says(model="totals conserved")), judged(Says("invalid", LOST.anomalies, model="totals conserved"))
    assert held.sentence.startswith("CP: totals conserved; ") and refuted.heading == "TOTALS NOT CONSERVED"
    assert judged(LOST).heading == "NOT LINEARIZABLE" and judged().sentence.startswith("CP: linearizable; ")
    assert [(one.model, one.state) for one in held.standings] == [("totals conserved", "holds")]


def test_anomalies_beyond_what_was_asked_for_are_not_told_as_none() -> None:
    held = judged(Says(anomalies=LOST.anomalies, model="snapshot-isolation"))
    assert (held.validity, held.heading) == ("valid", "SNAPSHOT-ISOLATION HOLDS")
    assert judged().heading == "NO ANOMALY FOUND"


def test_counts_by_fault_and_outside_add_up() -> None:
    shown = (anomaly("stale-read", 2), anomaly("stale-read", 7), anomaly("lost-write", 8), anomaly("stale-read", 20))
    result = judge(recording(CUT, [fault(), fault(2, 18, 26)], length=30), (Says("invalid", shown, moments={
        name: tuple(Moment(int(one.operations[0].invoked), int(one.operations[0].invoked), name == "lost-write")
                    for one in shown if one.identifier == name) for name in ("stale-read", "lost-write")
    }),))
    assert result.outside == {"stale-read": 1}
    assert [row.anomalies for row in result.scenarios] == [{"lost-write": 1, "stale-read": 1}, {"stale-read": 1}]
    assert result.counts == {"lost-write": 1, "stale-read": 3} and [row.lost for row in result.scenarios] == [1, 0]


def test_a_claim_is_not_tested_without_a_proven_fault() -> None:
    claim = Claim(text="t", source="s", promises=("linearizable",))
    found = judge(recording(CUT, [fault(proven=None)], claim=claim), (Says(),)).claim
    assert found is not None
    assert found.standing == "not tested"


@pytest.mark.parametrize(("damage", "standing", "told"), [
    (None, "not tested", "files of n1 were damaged, and what is expected then its file does not say"),
    (Damage(text="one forgets", source="a paper"), "not tested", "were damaged, of which is known: one forgets (a paper)"),
    (Damage(text="all is kept", source="a paper", kept=True), "does not hold", "it promises"),
])
def test_what_comes_of_damaged_files_is_held_against_a_claim_where_it_says_that_all_is_kept(
    damage: Damage | None, standing: str, told: str,
) -> None:
    claim = Claim(text="t", source="s", promises=("no-lost-write",))
    spec = Other(nodes=("n1",), name="bit-flips", does="damage", options={DAMAGED: True})
    one = msgspec.structs.replace(fault(), specs=(spec,))
    made = recording(CUT, [one], claim=claim)
    assert made.variant is not None
    made = msgspec.structs.replace(made, variant=msgspec.structs.replace(made.variant, damage=damage))
    found = judge(made, (LOST,)).claim
    assert found is not None and found.standing == standing and told in found.reason
    calm = judge(msgspec.structs.replace(made, faults=(fault(),)), (LOST,)).claim
    assert calm is not None and calm.standing == "does not hold", "nothing was damaged"
    assert judge(made, (LOST,)).validity == "invalid", "what was lost is told all the same"


@pytest.mark.parametrize(("text", "says", "standing"), [
    ("CP", Says(), "holds"), ("PC/EC", Says(), "holds"), ("AP", Says(), "does not hold"), ("CA", Says(), "does not hold"),
    ("CP", LOST, "does not hold"), ("CP or AP", Says(), "not tested"), ("tunable", Says(), "not tested"),
    ("CP", Says("unknown"), "not tested"), ("not consistent", LOST, "holds"), ("not consistent", Says(), "not tested"),
    ("neither C nor A", LOST, "holds"), ("neither C nor A", Says(), "does not hold"),
])
def test_labels(text: str, says: Says, standing: str) -> None:
    found = judged(says, labels=(Label(text, "a book"),)).labels
    assert [one.standing for one in found] == [standing]


@pytest.mark.parametrize(("model", "text", "standing", "reason"), [
    ("counters consistent", "CP", "holds in part", "what was seen is CP by what was tested (counters consistent)"),
    ("sets consistent", "CP", "holds", "what was seen is CP"),
    ("locks exclusive", "CP", "not tested",
     "what was tested (locks exclusive) is no matter of the consistency that it speaks of"),
])
def test_a_label_speaks_of_linearizability_and_a_run_of_what_it_tested(
    model: str, text: str, standing: str, reason: str
) -> None:
    held = judged(Says(model=model), labels=(Label(text, "a book"),)).labels
    assert [(one.standing, one.reason) for one in held] == [(standing, reason)]
    refuted = judged(Says("invalid", (anomaly("double-hold", 7),), model=model), labels=(Label("not consistent", "a book"),))
    assert [one.standing for one in refuted.labels] == ["not tested" if standing == "not tested" else "holds"]


@pytest.mark.parametrize(("offers", "options", "standing"), [
    ({"registers", "compare-and-set", "sets"}, {}, "does not hold"), ({"registers", "sets"}, {}, "not tested"),
    ({"registers", "sets"}, {"cart": {"kept": "sets"}}, "does not hold"),
])
@pytest.mark.parametrize(("model", "seen"), [("carts kept", "lost-element"), ("orders kept", "lost-write")])
def test_what_a_service_overwrote_by_a_look_is_not_held_against_its_database(
    model: str, seen: str, offers: set[Any], options: dict[str, Any], standing: str
) -> None:
    """Where nothing can be written on a condition, who writes next replaces what was written, as asked."""
    made = recording(CUT, [fault()], claim=Claim(text="t", source="s", promises=("no-lost-write", "linearizable")))
    assert made.variant is not None and made.plan is not None
    variant = msgspec.structs.replace(made.variant, offers=frozenset(offers))
    made = msgspec.structs.replace(made, plan=msgspec.structs.replace(made.plan, options=options), variant=variant)
    says = Says("invalid", (anomaly(seen, 7),), model=model)
    found = judge(made, (says,)).claim
    assert found is not None and found.standing == standing, found
    admits = msgspec.structs.replace(variant, claim=Claim(text="t", source="s", admits=(seen,)))
    warned = judge(msgspec.structs.replace(made, variant=admits), (says,)).claim
    assert warned is not None and (warned.standing == "holds") is (standing == "does not hold"), warned
    assert ("what was seen may be the service's own doing" in warned.reason) is (standing == "not tested"), warned


def test_losses_are_counted_in_the_blast_radius() -> None:
    blast = judged(LOST).blast
    assert blast.lost == 5
    assert blast.acknowledged > 1000
    assert blast.clients_blocked[-1].share == pytest.approx(0.2)


def test_every_problem_comes_with_something_to_do() -> None:
    lost, fine = judged(LOST).recommendations, judged().recommendations
    assert "acknowledgement" in lost[0]
    assert len(fine) == 1
    assert "deadline" in fine[0]
    held = judged(Says("invalid", (anomaly("double-hold", 7),))).recommendations
    assert "fencing token" in held[0] and "deadline" in held[1]
    odd = judged(Says("invalid", (anomaly("G1a", 7),))).recommendations
    assert "stricter" in odd[0]
    nothing = judged(Says("unknown")).recommendations
    assert nothing[0].startswith("Run it longer") and "deadline" in nothing[1]
    circle = judged(Says("invalid", (anomaly("G-single", 7),))).recommendations
    assert "serializable transactions" in circle[0] and not any("decision on a read" in line for line in circle)


def test_what_makes_a_run_prove_something_is_told_by_what_it_lacked() -> None:
    def told(*names: str, limits: tuple[str, ...] = ()) -> str:
        unmet = [Check(name, False, "no") for name in names]
        return recommendations({}, "unknown", (), "unknown", unmet=unmet, limits=limits)[0]

    assert told("phases", "baseline reads").startswith("See what failed, here")
    assert "--baseline" in told("baseline writes") and "--fault" in told("fault 3 reads at {n1}")
    assert "doctor" in told("fault 3") == told("fault 12 heal") and "longer" not in told("fault 3")
    assert told("reads") == told() != told(limits=("time limit",))


def test_a_result_survives_its_file() -> None:
    result = judged(LOST, claim=Claim(text="t", source="s"), labels=(Label("CP", "b"),), expect=("lost-write",))
    text = encode(result)
    again = decode(text)
    assert encode(again) == text
    assert again.scenarios == result.scenarios
    assert again.plan == result.plan


def test_a_foreign_or_newer_file_is_refused_by_its_name() -> None:
    with pytest.raises(HistoryError, match=r"result\.json: not a result"):
        decode(b"{}")
    with pytest.raises(HistoryError, match=r"x\.json: not a result"):
        decode(b"[1", "x.json")
    with pytest.raises(HistoryError, match="newer splitbrain"):
        decode(encode(msgspec.structs.replace(judged(), format=99)))
    otherwise = encode(judged()).replace(b'"format": %d' % FORMAT, b'"format": 99')
    with pytest.raises(HistoryError, match="newer splitbrain"):
        decode(otherwise)
    with pytest.raises(HistoryError, match="damaged"):
        decode(encode(judged()).replace(b'"torn": false', b'"torn": true '))
    with pytest.raises(HistoryError, match=r"result\.json: not a result of splitbrain: .*(utf|UTF)-8.*\.\Z"):
        decode(b'{"format": "\xff"}')


def test_nodes_that_nobody_lives_at_change_nothing() -> None:
    assert {home.node for home in judged().scenarios[0].homes} == set(NODES)


def test_anomalies_of_lost_data_come_first_and_of_a_kind_those_that_a_fault_caused() -> None:
    shown = (
        anomaly("stale-read", 1), anomaly("non-monotonic-read", 2), anomaly("stale-read", 7), anomaly("lost-write", 3),
        anomaly("lost-write", 8), anomaly("stale-read", 2), anomaly("stale-read", 9),
    )
    result = judge(recording(faults=[fault()]), (Says("invalid", shown),))
    told = [(one.identifier, one.operations[0].invoked // SECOND) for one in result.anomalies]
    assert told == [
        ("lost-write", 8), ("lost-write", 3), ("stale-read", 7), ("stale-read", 9), ("stale-read", 1), ("stale-read", 2),
        ("non-monotonic-read", 2),
    ]
