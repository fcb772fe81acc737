"""A social feed against the obvious way to judge it: every view against every call before it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.cases.social_feed import SocialFeedChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Phase, Recording


def call(f: str, value: Any, at: int, outcome: Any = "ok", **fields: Any) -> Operation:
    told = {"key": 0, "process": at, "invoked": 10 * at, "completed": None if outcome == "info" else 10 * at + 5} | fields
    return Operation(f=f, value=value, outcome=outcome, **told)


def view(user: int, *elements: int, at: int) -> Operation:
    return call("view", (user, *elements), at)


def judge(operations: Sequence[Operation], final: int | None = None) -> Verdict:
    phases = () if final is None else (Phase("final-reads", 10 * final, 10 * final + 100),)
    return SocialFeedChecker().check(Recording(history=History.of(operations), nodes=("n1",), phases=phases))


def test_a_feed_that_keeps_every_promise_is_not_accused() -> None:
    """The view beside a deletion may show the post; a reply may outlive what it answers, if that was deleted."""
    verdict = judge([
        call("post", 1, 0), view(3, 1, at=1), call("reply", (1, 2), 2), view(3, 1, 2, at=3),
        call("delete", 1, 4, invoked=40, completed=60), view(3, 1, 2, at=5), view(3, 2, at=7), call("block", 3, 8),
        view(3, at=9), view(4, 2, at=10), call("rename", 5, 11, key="p", process=1), call("look", 5, 12, key="p", process=1),
        call("look", None, 13, key="p", process=2),
    ])
    assert verdict.validity == "valid" and not verdict.counts and len(verdict.standings) == 4


@pytest.mark.parametrize(("wrong", "identifier", "model"), [
    ([call("delete", 1, 1), view(3, 1, at=2)], "deleted-seen", "deletions kept"),
    ([call("block", 3, 1), view(3, 1, at=2)], "blocked-seen", "blocks kept"),
    ([call("reply", (1, 2), 1), view(3, 2, at=2)], "effect-before-cause", "replies causal"),
    ([call("rename", 5, 1, key="p", process=1), call("look", 4, 2, key="p", process=1)], "missed-own-write", "profiles fresh"),
])
def test_what_a_feature_does_not_get_has_its_name(wrong: list[Operation], identifier: str, model: str) -> None:
    verdict = judge([call("post", 1, 0), *wrong])
    assert verdict.counts == {identifier: 1}
    assert [one.model for one in verdict.standings if one.state == "refuted"] == [model]
    assert judge(verdict.anomalies[0].operations).counts == {identifier: 1}


def test_a_tombstone_that_was_lost_is_told_of_the_end() -> None:
    operations = [call("post", 1, 0), call("delete", 1, 1), view(-1, 1, at=20), view(-1, 1, at=21)]
    told = {one.name: one.least for one in judge(operations, final=20).figures}
    assert told["deleted posts shown"] == 2 and told["of them shown to everybody in the end"] == 1
    told = {one.name: one.least for one in judge([*operations, view(-1, at=22)], final=20).figures}
    assert told["of them shown to everybody in the end"] == 0, "one was not shown it"


def likes(count: int, at: int, **fields: Any) -> Operation:
    return call("likes", count, at, key="likes-0", **fields)


def like(number: int, at: int, outcome: Any = "ok", **fields: Any) -> Operation:
    return call("like", number, at, outcome, key="likes-0", **fields)


def test_a_count_of_likes_that_catches_up_is_behind_and_no_anomaly() -> None:
    verdict = judge([call("post", 1, 0), view(3, 1, at=1), like(1, 2), like(2, 3), likes(0, 4), likes(2, 30), likes(1, 31)],
                    final=30)
    assert verdict.validity == "valid" and len(verdict.standings) == 5
    assert behind(verdict) == (1, 1, 1) and missing(verdict) == (0, 0, 2)


def test_likes_that_no_count_tells_in_the_end_are_missing_and_more_than_were_given_are_out_of_bounds() -> None:
    verdict = judge([view(3, at=0), like(1, 1), like(2, 2), like(3, 3, "info"), likes(1, 30), likes(0, 31)], final=30)
    assert verdict.counts == {"wrong-total": 1} and missing(verdict) == (1, 2, 2), "one that is told may be the unconfirmed one"
    assert [(one.model, one.by) for one in verdict.standings if one.state == "refuted"] == [("likes counted", ("wrong-total",))]
    assert [one.value for one in verdict.anomalies[0].operations] == [1, 2, 1]
    assert judge([view(3, at=0), like(1, 1), like(2, 2, "fail"), likes(2, 3)]).counts == {"out-of-bounds": 1}
    assert not judge([view(3, at=0), like(1, 1), like(2, 2, "info"), likes(2, 3)]).counts


def test_likes_that_nobody_counted_in_the_end_prove_nothing() -> None:
    verdict = judge([view(3, at=0), like(1, 1), likes(0, 2)])
    assert verdict.validity == "unknown" and missing(verdict) == (0, 1, 1) and behind(verdict) == (1, 1, 1)
    assert "likes" not in str(judge([call("post", 1, 0), view(3, 1, at=1)]).figures), "where nobody gave one, none is told"


def behind(verdict: Verdict) -> tuple[int, int, int | None]:
    return figure(verdict, "counts of likes behind what was confirmed")


def missing(verdict: Verdict) -> tuple[int, int, int | None]:
    return figure(verdict, "confirmed likes missing from every count in the end")


def figure(verdict: Verdict, name: str) -> tuple[int, int, int | None]:
    return next((one.least, one.most, one.of) for one in verdict.figures if one.name == name)


GIVEN = st.lists(st.tuples(st.sampled_from(["ok", "ok", "info", "fail"]), st.integers(0, 9), st.integers(1, 4)), max_size=4)
COUNTED = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 14), st.integers(1, 3)), max_size=4)


@given(GIVEN, COUNTED)
def test_likes_are_bounded_as_by_every_way_in_which_they_can_have_been_counted(given: list[Any], counted: list[Any]) -> None:
    """The oracle tries every set of likes that a count can stand for."""
    final = 100
    gave = [like(number, 0, outcome, process=number, invoked=10 * begun + number,
                 completed=None if outcome == "info" else 10 * (begun + took) + number)
            for number, (outcome, begun, took) in enumerate(given)]
    told = [likes(value, 0, process=9, invoked=10 * begun + 7, completed=10 * (begun + took) + 7)
            for value, begun, took in counted]
    done = {one.value for one in gave if one.outcome == "ok"}

    def meant(count: Operation) -> list[set[int]]:
        there = [one.value for one in gave if one.outcome != "fail" and one.invoked <= count.ended]
        return [set(some) for some in combinations(there, count.value)]

    high = [count for count in told if not meant(count)]
    before = [count for count in told if count.invoked < final and count not in high]
    late = [[len({one.value for one in gave if one.outcome == "ok" and one.ended < count.invoked} - some)
             for some in meant(count)] for count in before]
    end = max((count for count in told if count.invoked >= final), key=lambda one: one.value, default=None)
    gone = [len(done)] if end is None else [len(done - some) for some in meant(end)] or [0]
    verdict = judge([view(3, at=0), *gave, *told], final=10)
    assert verdict.counts.get("out-of-bounds", 0) == len(high)
    assert verdict.counts.get("wrong-total", 0) == (end is not None and min(gone) > 0)
    if any(one.outcome != "fail" for one in gave):
        assert behind(verdict)[:2] == (sum(min(some) > 0 for some in late), sum(max(some) > 0 for some in late))
        assert missing(verdict) == (0 if end is None else min(gone), max(gone), len(done))


def test_nothing_seen_proves_nothing_and_other_functions_are_refused() -> None:
    assert judge([call("post", 1, 0)]).validity == "unknown"
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge([call("write", 1, 0)])


CHANGES = st.lists(st.tuples(
    st.sampled_from(["post", "reply", "delete", "block"]), st.integers(1, 3), st.integers(4, 6),
    st.sampled_from(["ok", "ok", "info", "fail"]), st.integers(0, 9), st.integers(1, 4),
), max_size=6)
VIEWS = st.lists(st.tuples(st.integers(1, 3), st.sets(st.integers(1, 6)), st.integers(0, 12)), max_size=4)


@given(CHANGES, VIEWS)
def test_it_judges_as_one_would_by_hand(changes: list[Any], views: list[Any]) -> None:
    operations, replied = [], set[int]()
    for place, (f, small, great, outcome, begun, took) in enumerate(changes):
        if f == "reply" and great in replied:
            continue
        replied |= {great} if f == "reply" else set()
        value = (small, great) if f == "reply" else small
        operations.append(call(f, value, 0, outcome, process=place, invoked=10 * begun,
                               completed=None if outcome == "info" else 10 * (begun + took)))
    looks = [view(user, *sorted(elements), at=at) for user, elements, at in views]
    wrong = dict.fromkeys(("deleted-seen", "blocked-seen", "effect-before-cause"), 0)
    for look in looks:
        user, *elements = look.value
        done = [one for one in operations if one.outcome == "ok" and (one.completed or 0) < look.invoked]
        wrong["deleted-seen"] += sum(any(one.f == "delete" and one.value == element for one in done) for element in elements)
        wrong["blocked-seen"] += bool(elements) and any(one.f == "block" and one.value == user for one in done)
        for reply in (one for one in operations if one.f == "reply"):
            answered, element = reply.value
            deleted = any(one.f == "delete" and one.value == answered and one.outcome != "fail" for one in operations)
            wrong["effect-before-cause"] += element in elements and answered not in elements and not deleted
    verdict = judge([*operations, *looks])
    assert verdict.counts == {name: number for name, number in wrong.items() if number}
    for anomaly in verdict.anomalies:
        assert anomaly.identifier in judge(anomaly.operations).counts
