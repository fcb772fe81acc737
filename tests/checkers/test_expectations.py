"""What `--expect` accepts, and when it is met."""

from __future__ import annotations

import pytest

from splitbrain.checkers.expectations import WORDS, meets, parse
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result
from splitbrain.harness.errors import UsageError
from tests.checkers.scenes import MS, Says, Serve, anomaly, both, during, fault, recording, served

MAJORITY = ("n2", "n3", "n4", "n5")
LOST = Says("invalid", (anomaly("lost-write", 7),))


CUT = during(5, 13, ("n1",), "silent")


def result(serve: Serve = CUT, says: Says | None = None, *expect: str) -> Result:
    return judge(recording(serve, [fault()], expect=expect), (says or Says(),))


@pytest.mark.parametrize(("text", "word"), [("cp", "CP"), ("LOST-WRITE", "lost-write"), (" Neither ", "neither"),
                                            ("Available:Majority", "available:majority")])
def test_case_does_not_matter(text: str, word: str) -> None:
    assert parse(text) == word


@pytest.mark.parametrize(("text", "near"), [("lost-wirte", "lost-write"), ("blocked:minorty", "blocked:minority"),
                                            ("vaild", "valid")])
def test_an_unknown_word_is_refused_with_the_nearest(text: str, near: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean '{near}'"):
        parse(text)


@pytest.mark.parametrize("text", ["qqqqqq", "foo", ""])
def test_a_word_like_nothing_is_refused_with_what_kinds_there_are(text: str) -> None:
    with pytest.raises(UsageError, match=r"valid or invalid, a class .* an anomaly .* lists all") as refused:
        parse(text)
    assert len(str(refused.value)) < 250


def test_the_nearest_are_told_also_of_a_part_of_a_word() -> None:
    with pytest.raises(UsageError, match=r"did you mean .*'split-brain'.*lists all"):
        parse("brain")
    with pytest.raises(UsageError, match=r"did you mean .*'available:m"):
        parse("AVAILABLE")


def test_words_are_different_in_any_case() -> None:
    assert len({word.lower() for word in WORDS}) == len(WORDS)


@pytest.mark.parametrize(("what", "met"), [
    ("valid", True), ("invalid", False), ("CP", True), ("AP", False), ("lost-write", False), ("unknown", False),
    ("available:majority", True), ("blocked:minority", True), ("available:minority", False), ("blocked:majority", False),
])
def test_a_cp_run(what: str, met: bool) -> None:
    assert meets(what, result()).met is met


@pytest.mark.parametrize(("what", "met"), [("invalid", True), ("lost-write", True), ("neither", True), ("stale-read", False)])
def test_a_run_that_lost_writes(what: str, met: bool) -> None:
    assert meets(what, result(during(5, 9, MAJORITY, "refused"), LOST)).met is met


def test_blocked_needs_reads_or_writes_and_available_both() -> None:
    found = judge(recording(during(5, 13, ("n1",), "silent", ("write",)), [fault()], readers=True), (Says(),))
    assert meets("blocked:minority", found).met
    assert not meets("available:minority", found).met


def test_every_such_side_counts_and_there_must_be_one() -> None:
    cut = both(during(5, 13, ("n1",), "silent"))
    found = judge(recording(cut, [fault(), fault(2, 18, 26)], length=32), (Says(),))
    assert not meets("blocked:minority", found).met
    assert "scenario 2" in meets("blocked:minority", found).reason
    alone = judge(recording(served, [fault(sides=tuple((node,) for node in ("n1", *MAJORITY)))]), (Says(),))
    assert meets("available:majority", alone).reason == "no fault left a majority side"


def test_an_unproven_fault_meets_nothing_of_sides() -> None:
    found = judge(recording(during(5, 13, ("n1",), "silent"), [fault(wrong=(("n1", "n2"),))]), (Says(),))
    assert not meets("available:majority", found).met
    assert not meets("blocked:minority", found).met
    assert meets("unknown", found).met


def test_a_run_that_proves_nothing_shows_no_class_that_says_that_nothing_was_wrong() -> None:
    """The cut-off side was blocked and the rest served, but too few calls were made before that: it is no green night."""
    few = recording(during(5, 13, ("n1",), "silent"), [fault()], every=300 * MS, expect=("CP",))
    found = judge(few, (Says(),))
    assert (found.validity, found.classification, found.exit_code) == ("unknown", "CP", 4)
    assert "proves nothing" in found.expectations[0].reason and meets("unknown", found).met
    assert meets("blocked:minority", found).met


@pytest.mark.parametrize(("expect", "code"), [
    ((), 1), (("lost-write",), 0), (("lost-write", "neither"), 0), (("lost-write", "CP"), 4), (("valid",), 4),
])
def test_met_in_full_the_run_exits_zero_else_four(expect: tuple[str, ...], code: int) -> None:
    assert result(during(5, 9, MAJORITY, "refused"), LOST, *expect).exit_code == code
