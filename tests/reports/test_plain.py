"""The first sentence of a report: everyday words, and nothing that the result does not count."""

from __future__ import annotations

import msgspec

from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Check, Discarded, Measure, Quality, Result, Scenario
from splitbrain.checkers.verdict import Lost, Standing, Verdict
from splitbrain.harness.history.fault import Kill, Other, Pause, Skew
from splitbrain.harness.history.operation import KINDS
from splitbrain.reports.plain import TIMES, plain, tells_losses
from tests.checkers.scenes import NODES, Says, anomaly, death, during, fault, overlapping, recording
from tests.reports import story


def told(row: Scenario | None = None, **changes: object) -> str:
    """The sentence of the story's result, changed; `row` is its only fault."""
    result = story.result(story.recording())
    rows = () if row is None else (row,)
    changes.setdefault("counts", {})
    changes.setdefault("lost", Lost())
    changes.setdefault("standings", (Standing(model="linearizable", state="holds"),))
    changes.setdefault("blast", msgspec.structs.replace(result.blast, lost=0))
    return plain(msgspec.structs.replace(result, scenarios=rows, **changes))


def row(**changes: object) -> Scenario:
    """The story's fault."""
    return msgspec.structs.replace(story.result(story.recording()).scenarios[0], **changes)


def served(of: Scenario, **kinds: Measure) -> Scenario:
    """The fault with those measures on its smaller side, and everything answered on the other."""
    fine = {"read": Measure(kind="read", state="available"), "write": Measure(kind="write", state="available")}
    small, large = of.sides
    return msgspec.structs.replace(
        of, sides=(msgspec.structs.replace(small, **(fine | kinds)), msgspec.structs.replace(large, **fine)),
    )


def test_of_a_history_from_elsewhere_no_more_is_told_than_somebody_looked_for() -> None:
    """Whether what was written last was read at all, nobody knows of it."""
    assert told(consistency="held") == "No confirmed write was lost and no read was wrong."
    assert told(plan=None, consistency="held") == "As far as anybody looked, no confirmed write was lost and no read was wrong."
    refuted = told(plan=None, validity="invalid", counts={"lost-write": 1}, lost=Lost(total=1))
    assert refuted == "1 write that had been confirmed was lost."


def test_lost_writes_of_two_sides_come_first() -> None:
    counts = {"lost-write": 5, "stale-read": 2}
    both = row(discarded=Discarded(contested=3, writes=7, keys=3, last=3), lost=5, anomalies=counts)
    text = told(both, counts=counts, lost=Lost(total=5))
    assert text.startswith(
        "While n1 was cut off from the other 4 nodes, both sides accepted writes, 5 writes that had been confirmed were lost "
        "and 2 reads returned old data; "
    )
    both = msgspec.structs.replace(both, lost=1, anomalies={"lost-write": 1})
    one = told(both, counts={"lost-write": 1}, lost=Lost(total=1))
    assert "1 write that had been confirmed was lost" in one


def test_writes_that_nobody_proved_lost_gave_way() -> None:
    both = served(row(discarded=Discarded(contested=3, writes=7, keys=3, last=3), lost=0, anomalies={"split-brain": 2}))
    blast = msgspec.structs.replace(story.result(story.recording()).blast, lost=0, discarded=7)
    text = told(both, counts={"split-brain": 2}, blast=blast)
    assert "both sides accepted writes and 7 confirmed writes gave way to the other side's; every client went on working." in \
        text
    assert "lost" not in text


def test_what_else_was_in_force_is_told() -> None:
    result = story.result(story.recording())
    (cut,) = result.scenarios
    switch = row(fault=2, label="switch n1", links_cut=0, beside=(1,), lost=9)
    rows = (cut, switch)
    text = plain(msgspec.structs.replace(result, scenarios=rows, counts={"stale-read": 3}, lost=Lost()))
    assert text.startswith(f"While the test did this (switch n1, and beside it the partition {cut.label}), ")
    alone = plain(msgspec.structs.replace(result, scenarios=rows[1:], counts={"stale-read": 3}, lost=Lost()))
    assert alone.startswith("While the test did this (switch n1), ")


def test_who_was_refused_is_named_and_nothing_else_is_blamed() -> None:
    shut = served(row(anomalies={}), write=Measure(kind="write", attempted=9, state="blocked", outage=15.0))
    assert told(shut, consistency="held", validity="valid") == (
        "While n1 was cut off from the other 4 nodes, clients beside n1 could not write at all; no confirmed write was "
        "lost and no read was wrong."
    )


def test_a_side_that_answered_too_little_had_no_outage_for_it() -> None:
    few = Measure(kind="write", attempted=90, answered=50, state="blocked", outage=0.035, outage_ended=True)
    assert "clients beside n1 often could not write" in told(served(row(anomalies={}), write=few))
    long = msgspec.structs.replace(few, outage=1.2)
    assert "clients beside n1 could not write for 1.2 s" in told(served(row(anomalies={}), write=long))


def test_how_clients_were_refused_is_told_of_each_kind() -> None:
    never = Measure(kind="read", attempted=9, state="blocked", outage=8.0, outage_ended=False)
    late = Measure(kind="write", attempted=900, answered=60, state="blocked", outage=7.4, outage_ended=False)
    seldom = Measure(kind="write", attempted=196, answered=192, state="blocked", outage=0.1)
    assert "clients beside n1 could not write for the last 7.4 s, and could not read at all; no" in told(
        served(row(anomalies={}), write=late, read=never), consistency="held", validity="valid")
    assert "clients beside n1 could not always write; no" in told(
        served(row(anomalies={}), write=seldom), consistency="held", validity="valid")


def test_what_nobody_could_read_then_came_of_it() -> None:
    shut = {kind: Measure(kind=kind, attempted=9, state="blocked", outage=8.0) for kind in KINDS}
    found = {"wrong-total": 3}
    alone = served(row(lost=0, discarded=None, anomalies=found), **shut)
    everywhere = msgspec.structs.replace(alone, sides=tuple(msgspec.structs.replace(side, **shut) for side in alone.sides))
    assert told(everywhere, counts=found) == (
        "While n1 was cut off from the other 4 nodes, no client could write or read at all; what came of it: 3 times a total "
        "was wrong."
    )


def test_what_was_not_decided_is_not_claimed() -> None:
    text = told(served(row(anomalies={})), consistency="undecided", validity="valid")
    assert "every client went on working; whether data stayed correct is not known" in text
    assert told(row(), validity="unknown", reason="too few operations") == (
        "This run proves nothing either way: too few operations."
    )


def test_why_a_run_proves_nothing_comes_before_what_a_program_said() -> None:
    thrown = Verdict(checker="x", validity="unknown", reason="the checker failed: KeyError: 'primary'")
    planned = Check("phases", False, "load: OSError: [Errno 5]", why="the run did not go as planned")
    quality = Quality(checks=(Check("reads", True, "fine"), planned))
    asked = Verdict(checker="quality", validity="unknown", reason="load: OSError: [Errno 5].")
    assert told(row(), validity="unknown", reason=thrown.reason, verdicts=(thrown,)) == (
        "This run proves nothing either way, because a program that judges it failed: the checker failed: KeyError: 'primary'."
    )
    assert told(row(), validity="unknown", reason=asked.reason, verdicts=(asked,), quality=quality) == (
        "This run proves nothing either way, because the run did not go as planned: load: OSError: [Errno 5]."
    )


def test_every_question_that_makes_a_run_unknown_has_a_plain_word() -> None:
    """Asked of recordings in which everything is wrong at once: no two faults, nothing answered, servers that died."""
    silent = during(0, 99, NODES, "silent")
    bad = [
        recording(silent, [fault(heal_began=None, healed=None, proven=None, in_force=None)], deaths=(death(3.0),), final=False),
        recording(during(0, 99, NODES[:1], "silent"), [fault(wrong=(("n1", "n3"),), observed_cut=())], keys=400, workers=1,
                  interrupted=True),
        recording(plan=True),
    ]
    failed = [one for made in bad for one in judge(made, (Says(),)).quality.failed]
    assert len({one.name for one in failed}) > 6
    assert [one.name for one in failed if not one.why] == []


def test_what_was_done_to_a_node_is_told_in_the_words_of_the_fault() -> None:
    specs = (
        (Kill(nodes=("n1",)), "the server on n1 was killed"),
        (Kill(nodes=("n1", "n2", "n3")), "the servers on n1, n2 and n3 were killed"),
        (Pause(nodes=("n1",)), "the server on n1 stood still"),
        (Other(nodes=("n1", "n2"), name="x", does="unplug", like="had no power"), "n1 and n2 had no power"),
        (Kill(nodes=("n1",), signal="TERM"), ""),
        (Skew(nodes=("n1",), offset=60), ""),
    )
    for spec, words in specs:
        bad = overlapping(1, 5.0, 9.0, spec)
        result = judge(recording(faults=[bad]), (Says("invalid", (anomaly("stale-read", 6.0),)),))
        assert result.scenarios[0].done == words
        wanted = words or f"the test did this ({bad.doing(NODES)})"
        assert plain(result).startswith(f"While {wanted}, ")


def test_the_whole_run_is_not_told_again_in_the_same_words() -> None:
    counts = {"negative-balance": 11}
    text = told(row(discarded=None, lost=0, anomalies=counts), counts={**counts, "long-fork": 7})
    assert text.count("11 times an account was seen overdrawn") == 1 and "In the whole run" not in text


def test_what_is_a_lower_bound_is_told_as_one() -> None:
    for untold, words in ((0, " and 14 confirmed writes gave way"), (2, " and at least 14 confirmed writes gave way")):
        gone = Discarded(written=9, contested=4, writes=14, keys=3, last=3, untold=untold)
        assert words in told(row(discarded=gone, lost=0, anomalies={"split-brain": 1}), counts={"split-brain": 1}, lost=Lost())


def test_a_fault_that_was_not_proven_is_not_told_as_done() -> None:
    result: Result = story.result(story.recording())
    text = told(msgspec.structs.replace(result.scenarios[0], bit=False), counts={"stale-read": 3})
    assert text == "3 reads returned old data."


def test_a_fault_is_told_with_what_came_of_it_and_the_run_with_the_rest() -> None:
    fault = served(row(lost=0, discarded=None, anomalies={"stale-read": 2}))
    text = told(fault, counts={"lost-write": 1, "stale-read": 9}, lost=Lost(total=1))
    assert text == (
        "While n1 was cut off from the other 4 nodes, 2 reads returned old data; every client went on working. In the "
        "whole run, 1 write that had been confirmed was lost and 9 reads returned old data."
    )
    assert told(msgspec.structs.replace(fault, anomalies={}), counts={"stale-read": 9}) == (
        "While n1 was cut off from the other 4 nodes, every client went on working. In the whole run, 9 reads returned "
        "old data."
    )


def test_what_the_tested_rule_permits_is_not_told_as_wrong() -> None:
    fault = served(row(lost=0, discarded=None, anomalies={"G2-item": 20}))
    rule = Standing(model="snapshot-isolation", state="holds", by=())
    text = told(fault, counts={"G2-item": 20}, validity="valid", consistency="held", standings=(rule,))
    assert text == (
        "While n1 was cut off from the other 4 nodes, every client went on working; the rule that was tested "
        "(snapshot-isolation) held, and 20 anomalies break only stricter ones."
    )
    wrong = told(fault, counts={"G2-item": 20}, validity="invalid", consistency="refuted")
    assert "20 times no order of the transactions explains what they saw" in wrong
    fault = msgspec.structs.replace(fault, anomalies={"G1a": 3})
    assert "3 answers that no correct one can give" in told(fault, counts={"G1a": 3}, validity="invalid", consistency="refuted")


def test_what_was_seen_is_told_in_everyday_words() -> None:
    assert set(TIMES) <= set(ANOMALIES)
    found = {"double-hold": 85, "diverged": 1}
    assert told(served(row(lost=0, discarded=None, anomalies=found)), counts=found) == (
        "While n1 was cut off from the other 4 nodes, 85 times two clients held the same lock; every client went on "
        "working; once the network was whole again, copies of the data stayed different."
    )


def test_an_anomaly_is_told_once() -> None:
    """A deleted post that is shown is a read of old data too."""
    found = {"deleted-seen": 3, "wrong-total": 1, "stale-read": 2}
    assert told(counts=found) == "2 reads returned old data, 3 times a deleted post was shown and 1 time a total was wrong."


def test_a_read_that_is_wrong_in_two_ways_is_counted_once() -> None:
    """One read of a queue may show what was out already, and not show what waits."""
    assert told(counts={"stale-read": 37, "stale-element": 190}) == "At least 190 reads returned old data."
    assert told(counts={"stale-read": 2, "stale-element": 1}) == "At least 2 reads returned old data."
    assert told(counts={"stale-element": 3}) == "3 reads returned old data."


def test_elements_of_a_set_that_came_late_are_not_told_as_reads() -> None:
    """One read may miss many of them, and a set that is judged element by element counts these."""
    late = Verdict(checker="set-full", validity="invalid", reason="", counts={"stale-element": 3})
    assert told(counts=late.counts, verdicts=(late,)) == "3 elements that were there were missing from what was read."
    assert told(counts={"stale-element": 1}, verdicts=(late,)) == "1 element that was there was missing from what was read."


def test_an_order_that_only_time_forbids_is_not_said_to_be_none() -> None:
    text = told(counts={"G2-item-realtime": 1, "G-single-process": 1}, validity="invalid", consistency="refuted")
    assert text == "2 times no order of the transactions that fits when they were made explains what they saw."
    assert "1 time no order of the transactions explains" in told(counts={"G0": 1, "G0-realtime": 7}, validity="invalid")


def test_what_the_rule_permits_is_not_called_wrong_where_something_else_is_unknown() -> None:
    rule = Standing(model="read-uncommitted", state="holds", by=())
    text = told(counts={"G1a": 1}, validity="unknown", consistency="held", standings=(rule,))
    assert text == "The rule that was tested (read-uncommitted) held, and 1 anomaly breaks only stricter ones."
    assert told(counts={"G1a": 1}, validity="unknown", consistency="undecided") == "Whether data stayed correct is not known."


def test_of_a_rule_that_says_less_no_more_is_told() -> None:
    def kept(*models: str) -> str:
        standings = tuple(Standing(model=model, state="holds") for model in models)
        return told(consistency="held", validity="valid", standings=standings)

    bank = ("totals conserved", "accounts covered")
    assert kept(*bank) == (
        "Every total was right and no account was overdrawn; whether every confirmed transfer was kept is not known."
    )
    assert kept(*bank, "balances of one moment", "balances up to date") == (
        "Every total was right, no account was overdrawn and no read missed a confirmed transfer."
    )
    assert kept(*bank, "transfers kept") == (
        "Every total was right, no account was overdrawn and every confirmed transfer was kept."
    )
    assert kept("strict-serializable", "serializable") == "No confirmed write was lost and no read was wrong."
    assert kept("serializable") == "The rule that was tested (serializable) held."
    assert kept("stocks kept", "orders kept", "charges single") == (
        "Nothing was sold that was not there, no confirmed order was lost and no payment was carried out twice."
    )
    assert kept() == "Nothing wrong was found."


def test_who_was_not_measured_is_not_said_to_have_gone_on() -> None:
    quiet = served(row(anomalies={}), write=Measure(kind="write"))
    assert ", nobody was seen to be shut out; " in told(quiet, consistency="held", validity="valid")
    few = served(row(anomalies={}), read=Measure(kind="read", attempted=3, answered=3))
    assert ", nobody was seen to be shut out; " in told(few, consistency="held", validity="valid")
    killed = msgspec.structs.replace(
        served(row(anomalies={})), links_cut=0, struck=("n1",), label="kill n1", done="the server on n1 was killed",
    )
    assert told(killed, consistency="held", validity="valid") == (
        "While the server on n1 was killed, clients beside the other nodes went on working; no confirmed write was lost and no "
        "read was wrong."
    )
    everybody = msgspec.structs.replace(killed, struck=tuple(name for side in killed.sides for name in side.nodes))
    assert "nobody was seen to be shut out" in told(everybody, consistency="held", validity="valid")


def test_copies_that_stayed_different_are_not_blamed_on_a_network_that_was_whole() -> None:
    assert told(counts={"diverged": 1}, validity="invalid", consistency="held") == (
        "No confirmed write was lost and no read was wrong; copies of the data stayed different in the end."
    )
    assert told(served(row(anomalies={})), counts={"diverged": 1}, validity="invalid", consistency="held") == (
        "While n1 was cut off from the other 4 nodes, every client went on working; no confirmed write was lost and no read "
        "was wrong; once the network was whole again, copies of the data stayed different."
    )


def test_whether_a_lost_write_would_have_been_found_is_told_by_what_was_tested() -> None:
    def tells(*models: str) -> bool:
        standings = tuple(Standing(model=model, state="holds") for model in models)
        return tells_losses(msgspec.structs.replace(story.result(story.recording()), standings=standings))

    assert tells("linearizable") and tells("snapshot-isolation") and tells("sets complete", "sets fresh")
    assert not tells("totals conserved", "accounts covered") and not tells("locks exclusive")
    assert tells("totals conserved", "balances up to date") and tells("totals conserved", "transfers kept")
