"""Two faults at the same time, as one and as two that overlap: who is counted on which side, and what the class claims."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.expectations import meets
from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result
from splitbrain.harness.history.fault import Fault, Impair, Kill, Link, Pause, Skew, Spec
from splitbrain.harness.history.recording import LocalRead
from splitbrain.harness.history.sides import sides
from splitbrain.harness.history.variant import Claim
from tests.checkers.scenes import NODES, SECOND, Says, Serve, anomaly, apart, both, during, recording, served
from tests.checkers.scenes import overlapping as fault

STALE = Says("invalid", (anomaly("lost-write", 7),), {"lost-write": 3})
ALONE, REST = ("n1",), ("n2", "n3", "n4", "n5")
TWO, THREE = ("n1", "n2"), ("n3", "n4", "n5")


def judged(serve: Serve, *faults: Fault, says: Says | None = None) -> Result:
    return judge(recording(serve, faults, length=22.0), (says or Says(),))


STRIKES = (Pause(("n1",)), Kill(("n1",)), Skew(("n1",), offset=60.0))


@pytest.mark.parametrize("strike", STRIKES)
@pytest.mark.parametrize("says", [None, STALE])
@pytest.mark.parametrize("together", [True, False])
def test_of_a_node_that_is_cut_off_and_struck_nothing_is_claimed(strike: Spec, says: Says | None, together: bool) -> None:
    """Nobody knows whether the clients at n1 would have been served there, had it been cut off alone."""
    cut = apart(ALONE, REST)
    before = fault(1, 4.5, 13.5, strike)
    faults = [fault(1, 5, 13, cut, strike)] if together else [before, fault(2, 5, 13, cut, beside=(strike,))]
    result = judged(during(faults[0].started / SECOND, 13.5, ALONE, "refused"), *faults, says=says)
    row = result.scenarios[-1]
    assert [(side.nodes, side.struck, side.write.answered, side.write.state) for side in row.sides] == [
        (ALONE, ALONE, 0, "blocked"), (REST, (), row.sides[1].write.attempted, "available"),
    ], "people are told that nobody was served there"
    assert [side.nodes for side in row.masked_sides] == [ALONE] and [side.nodes for side in row.cut_sides] == [REST]
    assert row.classification == "unknown" and "everywhere" not in row.sentence, row.sentence
    assert "while n1 was cut off something else was done to it" in row.sentence
    assert result.sacrifices["write"] == ("wrong" if says else "unknown")
    told = next(one.reason for one in result.verdicts if one.checker == "availability")
    assert told == f"some side was blocked in {'the fault' if together else '1 of 2 faults'}."
    assert meets("blocked:minority", result).met is meets("available:minority", result).met is False
    assert meets("available:majority", result).met is True


def test_the_same_without_the_strike_is_cp_and_ap() -> None:
    cut = fault(1, 5, 13, apart(ALONE, REST))
    assert judged(during(5, 13, ALONE, "refused"), cut).classification == "CP"
    assert judged(served, cut, says=STALE).classification == "AP"


@pytest.mark.parametrize("strike", [Pause(("n2",)), Kill(("n2",))])
@pytest.mark.parametrize("together", [True, False])
@pytest.mark.parametrize(("says", "n1", "claimed"), [
    (None, "refused", "CP"), (STALE, "served", "AP"), (STALE, "refused", "neither"), (None, "served", "not-exercised"),
])
def test_a_struck_node_stays_on_its_side_and_the_rest_of_it_decides(
    strike: Spec, together: bool, says: Says | None, n1: str, claimed: str,
) -> None:
    cut = apart(TWO, THREE)
    faults = [fault(1, 5, 13, cut, strike)] if together else [fault(1, 5, 13, cut), fault(2, 5, 13, strike, beside=(cut,))]
    others = during(5, 13, ALONE, "refused") if n1 == "refused" else served
    result = judged(both(others, during(5, 13, ("n2",), "refused")), *faults, says=says)
    row = result.scenarios[0]
    minority, majority = row.sides
    assert (minority.nodes, minority.struck, minority.quorum, majority.quorum) == (TWO, ("n2",), False, True)
    assert minority.write.state == "blocked", "clients at n2 count for the side"
    assert minority.write.share == pytest.approx(0.0 if n1 == "refused" else 0.5, abs=0.01)
    assert row.cut_sides[0].write.share == pytest.approx(0.0 if n1 == "refused" else 1.0, abs=0.01)
    assert row.classification == claimed, row.sentence
    if n1 == "served":
        assert "(clients at n2 aside, to which something else was done)" in row.sentence


def test_a_majority_that_is_killed_is_none() -> None:
    """Three of five connected nodes, two of them down, are no side with a quorum that answers nothing."""
    result = judged(during(5, 13, NODES, "refused"), fault(1, 5, 13, apart(TWO, THREE), Kill(("n3", "n4"))))
    row = result.scenarios[0]
    assert [(side.nodes, side.quorum) for side in row.sides] == [(TWO, False), (THREE, False)]
    assert row.classification == "CP" and "no side had a quorum" in row.sentence
    steady = judged(during(5, 13, NODES, "refused"), fault(1, 5, 13, apart(TWO, THREE)))
    assert steady.classification == "unavailable"


def test_a_majority_of_which_nothing_is_known_is_no_majority_that_went_on() -> None:
    result = judged(during(5, 13, TWO, "refused"), fault(1, 5, 13, apart(TWO, THREE), Skew(THREE, offset=60.0)))
    assert result.classification == "unknown" and "while n3 n4 n5 were cut off" in result.sentence


def test_a_pause_of_the_majority_is_no_cp_where_the_other_side_is_masked() -> None:
    serve = both(during(5, 13, ALONE, "refused"), during(5, 8, REST, "refused"))
    cut = apart(ALONE, REST)
    assert judged(serve, fault(1, 5, 13, cut)).classification == "CP"
    result = judged(serve, fault(1, 5, 13, cut, Kill(ALONE)))
    assert result.classification == "unknown" and "only the side with a quorum was blocked" in result.sentence


def test_until_a_node_is_struck_it_is_only_cut_off() -> None:
    """n1 is cut off from 5 to 13 s and paused from 9 s on: that it answered nobody from 5 to 9 s was the partition's doing."""
    cut, pause = fault(1, 5, 13, apart(ALONE, REST)), fault(2, 9, 13, Pause(ALONE), beside=(apart(ALONE, REST),))
    result = judged(during(5, 13, ALONE, "refused"), cut, pause)
    row = result.scenarios[0]
    assert row.sides[0].struck == ALONE and row.classification == "CP" and row.masked_sides == ()
    assert (row.cut_sides[0].write.outage, row.sides[0].write.outage) == pytest.approx((4.0, 8.0), abs=0.1)
    assert result.classification == "CP" and result.scenarios[1].classification == "not-exercised"
    late = judged(during(9, 13, ALONE, "refused"), cut, pause, says=STALE)
    assert late.scenarios[0].classification == "AP", "it was served as long as it could be"
    assert "(clients at n1 aside" in late.scenarios[0].sentence


@pytest.mark.parametrize("together", [True, False])
def test_slow_links_are_the_network_s_as_a_cut_is(together: bool) -> None:
    slow = Impair(tuple((a, b) for a in NODES for b in NODES if a != b), delay=100.0)
    cut = apart(ALONE, REST)
    faults = [fault(1, 5, 13, cut, slow)] if together else [fault(1, 5, 13, cut), fault(2, 5, 13, slow, beside=(cut,))]
    result = judged(during(5, 13, ALONE, "refused"), *faults)
    row = result.scenarios[0]
    assert [side.nodes for side in row.cut_sides] == [ALONE, REST] and row.masked_sides == ()
    assert row.classification == "CP"
    assert judged(served, *faults, says=STALE).classification == "AP"


@pytest.mark.parametrize("together", [True, False])
def test_two_cuts_compose(together: bool) -> None:
    """{n1 n2} | {n3 n4 n5} and {n3} | the others: three sides, and none with a quorum, so none failed to serve with one."""
    one, other = apart(TWO, THREE), apart(("n3",), ("n1", "n2", "n4", "n5"))
    faults = [fault(1, 5, 13, one, other)] if together else [fault(1, 5, 13, one), fault(2, 5.05, 13, other, beside=(one,))]
    result = judged(during(5, 13, NODES, "refused"), *faults)
    for row in result.scenarios:
        assert [(side.nodes, side.quorum) for side in row.sides] == [(TWO, False), (("n4", "n5"), False), (("n3",), False)]
        assert row.classification == "CP" and "no side had a quorum" in row.sentence


def test_two_cuts_one_after_the_other_do_not() -> None:
    one, other = apart(ALONE, REST), apart(("n5",), ("n1", "n2", "n3", "n4"))
    result = judged(served, fault(1, 5, 8, one), fault(2, 8, 13, other))
    assert [[side.nodes for side in row.sides] for row in result.scenarios] == [
        [ALONE, REST], [("n1", "n2", "n3", "n4"), ("n5",)],
    ]


@pytest.mark.parametrize("strike", STRIKES)
def test_of_faults_that_cost_nothing_the_one_that_cut_links_is_told(strike: Spec) -> None:
    result = judged(served, fault(1, 5, 8, strike), fault(2, 9, 13, apart(ALONE, REST)))
    assert result.classification == "not-exercised" and "no link was cut" not in result.sentence, result.sentence


@pytest.mark.parametrize("strike", STRIKES)
def test_a_strike_alone_cuts_nothing(strike: Spec) -> None:
    result = judged(during(5, 13, ALONE, "refused"), fault(1, 5, 13, strike))
    row = result.scenarios[0]
    assert row.classification == "not-exercised" and "no link was cut" in row.sentence and row.masked_sides == ()
    if not isinstance(strike, Skew):
        assert [side.nodes for side in row.sides] == [ALONE, REST] and [side.nodes for side in row.cut_sides] == [REST]
        assert "the servers that went on were available" in row.sentence


def test_an_episode_is_over_when_the_next_fault_begins_to_be_put_in_force() -> None:
    """Until then nothing was done to the node that is struck by it."""
    cut, strike = apart(ALONE, REST), Pause(("n2",))
    slow = msgspec.structs.replace(fault(2, 9, 13, strike, beside=(cut,)), in_force=int(9.5 * SECOND))
    first, second = judged(served, fault(1, 5, 13, cut), slow).episodes
    assert (first.began, first.ended, second.began, second.ended) == (5, 9, 9.5, 13)
    assert [side.struck for side in first.sides] == [(), ()] and [side.struck for side in second.sides] == [(), ("n2",)]


def test_a_promise_of_availability_is_not_tested_where_nobody_can_tell() -> None:
    promise = Claim(text="always on", source="a book", promises=("available",))

    def told(*specs: Spec) -> tuple[str, str]:
        claim = judge(recording(served, [fault(1, 5, 13, *specs)], claim=promise), (Says(),)).claim
        assert claim is not None
        return claim.standing, claim.reason

    assert told(apart(ALONE, REST))[0] == "holds"
    assert told(apart(ALONE, REST), Skew(ALONE, offset=1.0)) == (
        "not tested", "something else was done to every node of a side that was cut off"
    )


def test_replicas_that_never_agreed_are_neither_also_beside_a_masked_side() -> None:
    scene = recording(served, [fault(1, 5, 13, apart(ALONE, REST), Pause(ALONE))], local=[
        LocalRead(node=node, key=0, value=node, time=20 * SECOND) for node in NODES
    ])
    result = judge(scene, (STALE,))
    assert result.classification == "neither" and "every side" not in result.sentence


def test_a_result_of_before_tells_no_more_than_it_did() -> None:
    row = judged(during(5, 13, ALONE, "refused"), fault(1, 5, 13, Kill(ALONE))).scenarios[0]
    older = msgspec.structs.replace(
        row, sides=tuple(msgspec.structs.replace(side, struck=(), spared=()) for side in row.sides)
    )
    assert [side.nodes for side in older.cut_sides] == [REST]


LINKS = [(a, b) for a in NODES for b in NODES if a != b]


@given(st.sets(st.sampled_from(LINKS)), st.sets(st.sampled_from(NODES)))
def test_every_node_is_on_one_side_and_a_strike_never_joins_what_is_cut(cut: set[Link], out: set[str]) -> None:
    network, found = sides(NODES, cut), sides(NODES, cut, out)
    assert sorted(node for side in found for node in side) == sorted(NODES)
    assert all(any(set(side) <= set(whole) for whole in network) for side in found)
    assert sides(NODES, cut, ()) == network
    if len(network) == 1:
        assert all((node,) in found for node in out), "without a partition a node that is out is alone"
    steady = [node for node in NODES if node not in out]
    for whole in network:
        within = sides([node for node in steady if node in whole], cut)
        for part in within:
            assert any(set(part) <= set(side) for side in found), "nodes that can work together are not told apart"
        if len(network) > 1 and len(within) < 2:
            assert whole in found, "what is cut off stays on its side, whatever is done to it"
