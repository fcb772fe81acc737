"""Intervals, outages and shares against slow obvious oracles."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from splitbrain.checkers.measures.availability import (
    GOOD,
    PATIENCE,
    TRIED,
    Operations,
    Outage,
    after,
    baseline,
    episodes,
    measure,
    outages,
    quorum,
    scenarios,
    verdict,
    wilson,
)
from splitbrain.harness.history.fault import ONE_WAY, Fault, Figure, Impair, Kill, Link, Proof
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import KINDS, Key
from splitbrain.harness.history.recording import Phase, Placement, View
from tests.checkers.scenes import MS, NODES, SECOND, both, during, fault, recording, served


@settings(deadline=None)
@given(st.integers(0, 400), st.integers(1, 400))
def test_wilson_is_the_interval_of_the_books(answered: int, attempted: int) -> None:
    answered = min(answered, attempted)
    interval = binomtest(answered, attempted).proportion_ci(method="wilson")
    assert wilson(answered, attempted) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_wilson_of_nothing_says_nothing() -> None:
    assert wilson(0, 0) == (0.0, 1.0)


STEP = PATIENCE // 2

calls = st.lists(
    st.tuples(st.integers(0, 24), st.one_of(st.integers(1, 6), st.none()), st.booleans()), max_size=12,
)


def slow_outages(ops: list[tuple[int, int, bool]], w0: int, w1: int) -> list[Outage]:
    """By looking at every half second: `ops` are (invoked, completed, answered) in half seconds, and take time."""
    ops = [(max(a, w0), min(b, w1), ok and b <= w1) for a, b, ok in ops if a < w1 and b > w0]
    answers = {b for _, b, ok in ops if ok}
    found = []
    start: int | None = None
    for t in range(w0, w1 + 1):
        if start is not None and (t in answers or t == w1):
            found.append(Outage(start * STEP, t * STEP, t in answers))
            start = None
        if start is None and any(a <= t < b for a, b, _ in ops):
            start = t
    return found


@settings(deadline=None, max_examples=1000)
@given(calls, st.integers(0, 10), st.integers(1, 20))
def test_outages_are_those_that_a_slow_look_finds(made: list[tuple[int, int | None, bool]], w0: int, length: int) -> None:
    ops = [(a, 1000 if took is None else a + took, answered and took is not None) for a, took, answered in made]
    invoked = np.array([a * STEP for a, _, _ in ops], np.int64)
    completed = np.array([NEVER if b == 1000 else b * STEP for _, b, _ in ops], np.int64)
    answered = np.array([ok for _, _, ok in ops], np.bool_)
    assert outages(invoked, completed, answered, (w0 * STEP, (w0 + length) * STEP)) == slow_outages(ops, w0, w0 + length)


def operations(*made: tuple[float, float | None, bool]) -> Operations:
    """(invoked, completed or None, answered), in seconds."""
    return Operations(
        np.array([int(a * SECOND) for a, _, _ in made], np.int64),
        np.array([NEVER if b is None else int(b * SECOND) for _, b, _ in made], np.int64),
        np.array([ok for _, _, ok in made], np.bool_), np.arange(len(made)),
    )


WINDOW = (10 * SECOND, 20 * SECOND)


def many(number: int, answered: int) -> list[tuple[float, float | None, bool]]:
    """That many quick operations spread over the window, the answered ones evenly among them."""
    return [
        (10 + 9 * i / number, 10 + 9 * i / number + 0.001, (i * answered) // number != ((i + 1) * answered) // number)
        for i in range(number)
    ]


@pytest.mark.parametrize(("number", "answered", "state"), [
    (100, 100, "available"), (99, 99, "unknown"), (1000, 990, "available"), (1000, 989, "unknown"), (1000, 980, "blocked"),
    (20, 0, "blocked"), (0, 0, "unknown"), (18, 17, "unknown"), (18, 16, "blocked"),
])
def test_states_follow_share_interval_and_number(number: int, answered: int, state: str) -> None:
    assert measure(operations(*many(number, answered)), "read", WINDOW, limit=9 * SECOND).state == state


def test_of_enough_operations_one_alone_never_blocks_a_side() -> None:
    assert wilson(TRIED - 1, TRIED)[1] >= GOOD > wilson(TRIED - 2, TRIED - 1)[1]


def later(made: list[tuple[float, float | None, bool]]) -> list[tuple[float, float | None, bool]]:
    """The same a second later."""
    return [(a + 1, None if b is None else b + 1, ok) for a, b, ok in made]


hung = (10.5, 11.5, False)
"""A call that was given up after its second."""


@pytest.mark.parametrize(("made", "state", "reason"), [
    ([], "unknown", "nothing was tried"),
    ([(10.0, 12.0, False)], "unknown", "0 of 1 answered, none for 10.0 s: too few to tell, 18 are needed"),
    ([hung], "unknown", "0 of 1 answered, none for 9.5 s: too few to tell, 18 are needed"),
    ([(10.5, 10.501, False)], "unknown", "0 of 1 answered, none for 9.5 s: too few to tell, 18 are needed"),
    ([*many(3, 3), (11.0, 12.002, False)], "unknown", "3 of 4 answered, none for 2.0 s: too few to tell, 18 are needed"),
    ([*many(99, 99)[::10], (11.0, 11.001, False)], "unknown", "10 of 11 answered: too few to tell, 18 are needed"),
    (many(40, 40), "unknown", "40 of 40 answered: too few to tell, 100 are needed"),
    # Refused twice within a moment, and nobody asks for seconds: no more than one blip was seen.
    ([(11.0, 11.001, False), (11.2, 11.201, False), (13.0, 13.001, True)], "unknown",
     "1 of 3 answered, none for 2.0 s: too few to tell, 18 are needed"),
    # Two saw nothing answered for longer than a second, or one waited far longer: that is none.
    ([hung, (12.0, 13.0, False)], "blocked", "nothing answered for 9.5 s"),
    ([(10.5, 10.501, False), (12.0, 12.001, False)], "blocked", "nothing answered for 9.5 s"),
    ([(9.0, None, False)], "blocked", "nothing answered for 10.0 s"),
    ([(11.0, 14.5, True)], "blocked", "nothing answered for 3.5 s"),
    # One call waits, where answers came so often that ten were due meanwhile; and where they did not.
    ([*many(60, 60)[:30], (14.42, 15.42, False), *later(many(60, 60)[30:])], "unknown",
     "60 of 61 answered, none for 1.1 s: too few to tell, 100 are needed"),
    ([*many(120, 120)[:60], (14.45, 15.45, False), *later(many(120, 120)[60:])], "blocked",
     "nothing answered for 1.1 s"),
])
def test_either_state_needs_its_evidence(made: list[tuple[float, float | None, bool]], state: str, reason: str) -> None:
    found = measure(operations(*made), "write", WINDOW)
    assert (found.state, found.reason) == (state, reason)


@pytest.mark.parametrize(("made", "beside", "state"), [
    # One client waits for a write, and then for a read: nothing was answered, and each kind has one call.
    ([(15.0, 18.0, False)], [(10.0, 15.0, False)], "blocked"),
    ([(15.0, 18.0, False)], [(10.0, 15.0, True)], "unknown"),
    ([(15.0, 18.0, False)], [(10.0, 15.0, False), (16.0, 16.1, True)], "unknown"),
    ([(15.0, 18.0, False)], [], "unknown"),
    # Two wait at the same time, and a third does not.
    ([(10.5, 12.0, False)], [(10.5, 12.0, False)], "blocked"),
    ([(10.5, 12.0, False)], [(10.5, 12.0, False), (11.0, 11.1, True)], "unknown"),
    # Both were refused in one moment, and nobody asked again; or it was before the time that is judged.
    ([(10.5, 10.501, False)], [(10.5, 10.501, False)], "unknown"),
    ([(10.5, 11.0, False)], [(8.0, 10.0, False)], "unknown"),
])
def test_calls_of_the_other_kind_see_that_nothing_is_answered(
    made: list[tuple[float, float | None, bool]], beside: list[tuple[float, float | None, bool]], state: str
) -> None:
    assert measure(operations(*made), "read", WINDOW, beside=operations(*beside)).state == state


def test_an_outage_blocks_whatever_the_share() -> None:
    quick = [(10 + i / 100, 10 + i / 100 + 0.001, True) for i in range(300)]
    stuck: list[tuple[float, float | None, bool]] = [*quick, (13.5, 14.6, True), *((a + 5, b + 5, ok) for a, b, ok in quick)]
    found = measure(operations(*stuck), "write", WINDOW)
    assert (found.share, found.state, found.outage_ended) == (1.0, "blocked", True)
    assert found.outage == pytest.approx(1.1)
    assert measure(operations(*stuck), "write", WINDOW, limit=2 * SECOND).state == "available"


def test_an_operation_belongs_to_the_window_by_its_invocation() -> None:
    ops = operations(
        (9.9, 10.5, False),  # before the window: not attempted in it
        (10.0, 10.1, True),
        (19.9, 20.1, True),  # open at the end for a moment: nobody knows
        (18.0, 20.1, True),  # waited for two seconds of it: not answered in it
        (18.5, None, False),
        (20.0, 20.1, True),
    )
    found = measure(ops, "read", WINDOW)
    assert (found.attempted, found.answered) == (3, 1)


def test_workers_stuck_since_before_the_window_are_an_outage_without_an_attempt() -> None:
    found = measure(operations((9.9, None, False), (9.8, 21.0, True)), "write", WINDOW)
    assert (found.attempted, found.state) == (0, "blocked")
    assert (found.outage, found.outage_ended, found.served) == (10.0, False, False)


def test_a_pause_after_an_outage_does_not_hide_that_someone_was_answered_later() -> None:
    later = [(14 + i / 10, 14 + i / 10 + 0.01, True) for i in range(20)]
    found = measure(operations((10.0, 11.5, False), *later), "write", WINDOW)
    assert (found.outage, found.outage_ended, found.served) == (4.01, True, True)


def test_an_outage_lasts_as_long_as_nothing_was_answered_however_few_calls_hung_in_it() -> None:
    found = measure(operations((9.0, 9.1, True), (11.8, 12.8, False)), "write", WINDOW)
    assert (found.outage, found.outage_ended, found.served, found.state) == (8.2, False, False, "unknown")
    assert found.time_share == pytest.approx(0.18)


def test_nobody_who_lives_there_any_more_ends_it() -> None:
    ops = operations((10.0, 10.1, True), (11.0, 12.0, False))._replace(lived=(0, 15 * SECOND))
    assert measure(ops, "write", WINDOW).outage == 4.0
    phases = (Phase("load", 0, 20 * SECOND),)
    stopped = recording(during(5, 9, ("n1",), "refused"), [fault()], length=8.0, phases=phases, final=False)
    assert scenarios(stopped)[0].sides[0].write.outage == pytest.approx(3.0, abs=0.05)


def test_the_share_of_time_tells_what_the_share_of_operations_hides() -> None:
    quick = [(10 + i / 1000, 10 + i / 1000 + 0.0005, True) for i in range(4000)]
    found = measure(operations(*quick, (14.0, 15.1, True), *((a + 5.1, b + 5.1, ok) for a, b, ok in quick)), "read", WINDOW)
    assert found.share == 1.0 and found.time_share == pytest.approx(0.89, abs=0.002)
    assert measure(operations((10.0, 10.01, True), (18.0, 18.01, True)), "read", WINDOW).time_share == 1.0
    assert measure(operations(), "read", WINDOW).time_share is None


def test_nobody_waiting_is_no_outage() -> None:
    found = measure(operations((10.0, 10.01, True), (18.0, 18.01, True)), "read", WINDOW)
    assert found.outage == pytest.approx(0.01)


def test_an_outage_may_last_three_times_the_baselines_longest() -> None:
    slow = both(during(1, 2.0, NODES, "refused"), during(5, 7.2, NODES, "refused"))
    side = scenarios(recording(slow, [fault()]))[0].sides[1]
    assert 2.7 < side.write.outage_limit < 3.3
    assert side.write.outage < side.write.outage_limit


def test_a_window_begins_when_the_last_rule_is_in_force_and_not_when_probes_have_shown_it() -> None:
    late = fault(in_force=5 * SECOND, proven=int(5.5 * SECOND))
    row = scenarios(recording(during(5, 6.06, ("n1",), "refused"), [late]))[0]
    assert row.sides[0].write.outage == pytest.approx(1.06, abs=0.03)
    assert row.sides[0].write.state == "blocked"


def test_a_window_runs_to_the_start_of_the_heal() -> None:
    late = fault(in_force=8 * SECOND, proven=int(8.3 * SECOND), heal_began=9 * SECOND)
    row = scenarios(recording(during(5, 8, ("n1",), "silent"), [late], workers=2, every=5 * MS))[0]
    assert row.sides[0].write.state == "available"
    assert (row.in_force, row.proven, row.heal_began) == (8.0, 8.3, 9.0)
    never = scenarios(recording(served, [fault(proven=None)]))[0]
    assert [side.write.state for side in never.sides] == ["unknown", "unknown"]


def test_a_transition_by_route_counts_from_the_new_primarys_own_answer() -> None:
    views = [View(node="n2", primary="n1", time=SECOND), View(node="n2", primary="n3", time=7 * SECOND)]
    row = scenarios(recording(served, [fault()], views=views))[0]
    assert row.sides[0].write.transition == 0.0, "the old primary stayed on this side"
    assert row.sides[1].write.transition == pytest.approx(2.0, abs=0.05)


def test_a_side_that_lost_its_primary_for_good_has_no_transition() -> None:
    views = [View(node="n2", primary="n1", time=SECOND), View(node="n2", primary=None, time=7 * SECOND)]
    assert scenarios(recording(served, [fault()], views=views))[0].sides[1].write.transition is None


def test_a_side_is_measured_apart_by_the_replicas_that_it_holds_of_a_key() -> None:
    placements = [Placement(key, ("n1", "n2", "n3", "n4", "n5")[key : key + 3]) for key in range(3)]
    sides = ("n3", "n4", "n5"), ("n1", "n2")
    made = recording(faults=[fault(sides=sides)], placements=tuple(placements), keys=3)
    # From the cut on, the smaller side answers for a key by how many replicas it has of it: 2 all, 1 reads alone, 0 nothing.
    served_here: dict[Key, tuple[str, ...]] = {0: ("read", "write"), 1: ("read",), 2: ()}
    operations = [
        op if op.node not in sides[1] or not 5 <= op.invoked / SECOND < 13 or op.f in served_here[op.key]
        else msgspec.structs.replace(op, outcome="fail", error="unavailable")
        for op in made.history
    ]
    (row,) = scenarios(msgspec.structs.replace(made, history=History.of(operations)))
    large, small = sorted(row.sides, key=lambda side: -len(side.nodes))
    found = {(held.here, held.of): (held.keys, held.write.share, held.read.share) for held in small.held}
    assert found == {(2, 3): (1, 1.0, 1.0), (1, 3): (1, 0.0, 1.0), (0, 3): (1, 0.0, 0.0)}
    assert [held.here for held in small.held] == [2, 1, 0]
    assert {held.here: held.write.state for held in small.held} == {2: "available", 1: "blocked", 0: "blocked"}
    assert {held.here: held.write.state for held in large.held} == dict.fromkeys((3, 2, 1), "available")
    for side in row.sides:
        for kind in KINDS:
            parts = [held.read if kind == "read" else held.write for held in side.held]
            assert sum(part.attempted for part in parts) == side.of(kind).attempted
            assert sum(part.answered for part in parts) == side.of(kind).answered
    assert not any(side.held for side in scenarios(recording(faults=[fault(sides=sides)]))[0].sides)


def test_quorum_is_more_than_half_of_all_nodes() -> None:
    assert quorum(("a", "b", "c"), ("a", "b", "c", "d", "e"))
    assert not quorum(("a", "b"), ("a", "b", "c", "d"))


def test_the_baseline_ends_with_the_first_fault_and_forgives_what_the_cut_broke_off() -> None:
    before = baseline(recording(during(4.5, 13, ("n1",), "silent"), [fault()]))
    assert [found.share for found in before] == [1.0, 1.0]
    assert verdict(before, ()).validity == "valid"
    sick = baseline(recording(during(2, 3, ("n1",), "refused"), [fault()]))
    assert verdict(sick, ()).validity == "unknown"
    assert baseline(recording(served, phases=())) == ()
    assert verdict((), ()).validity == "unknown"


def test_a_load_that_never_ended_lasts_until_the_last_thing_recorded() -> None:
    torn = recording(served, [fault(heal_began=None, healed=None)], final=False, phases=(Phase("load", 0),))
    row = scenarios(torn)[0]
    assert row.sides[0].write.attempted > 100


def test_where_faults_overlap_episodes_are_measured() -> None:
    """A cut from 5 to 13 s and a node that is down from 9 to 15 s: what each of three stretches was like."""
    down = Fault(
        id=2, nemesis="kill", scenario="any", started=9 * SECOND, specs=(Kill(("n5",)),), in_force=9 * SECOND,
        heal_began=15 * SECOND, healed=15 * SECOND + MS, sides=(("n2", "n3", "n4"), ("n1",), ("n5",)), primary="n2",
        proofs=(Proof(holds=True, acted=9 * SECOND, at=9 * SECOND),),
    )
    links = tuple(link for other in NODES[1:] for link in (("n1", other), (other, "n1")))
    cut = fault(cut=links, observed_cut=links)
    scene = recording(both(during(5, 13, ["n1"], "refused"), during(9, 15, ["n5"], "refused")), [cut, down], length=22.0)
    first, second, third = episodes(scene)
    assert [(row.began, row.ended, row.faults) for row in (first, second, third)] == [
        (5.0, 9.0, (1,)), (9.0, 13.0, (1, 2)), (13.0, 15.0, (2,)),
    ]
    assert [tuple(side.nodes for side in row.sides) for row in (first, second, third)] == [
        (("n1",), ("n2", "n3", "n4", "n5")), (("n1",), ("n2", "n3", "n4", "n5")), (("n1", "n2", "n3", "n4"), ("n5",)),
    ]
    assert [[side.write.answered > 0 for side in row.sides] for row in (first, second, third)] == [
        [False, True], [False, True], [True, False],
    ]
    assert second.label == "partition {n1} | {n2 n3 n4 n5} + kill n5" and second.struck == ("n5",)
    assert [row.beside for row in scenarios(scene)] == [(2,), (1,)]
    healthy = (15 * SECOND + MS, 22 * SECOND)
    assert after(scene, cut) == after(scene, down) == healthy, "while another fault is in force nothing is healthy"
    assert episodes(recording(faults=[fault(), fault(2, 15, 17)])) == ()


def test_a_delay_of_all_links_alike_is_told_in_round_trips() -> None:
    links = tuple((one, other) for one in NODES for other in NODES if one != other)

    def late(on: tuple[Link, ...] = links, holds: bool = True, began: float = 5.0) -> Fault:
        figure, at, end = Figure(ONE_WAY, "ms", 100, 101.5, 101, 103), int(began * SECOND), int((began + 4) * SECOND)
        return Fault(
            id=int(began), nemesis="delay", scenario="all", started=at, in_force=at, heal_began=end, healed=end + MS,
            sides=(NODES,), specs=(Impair(on, delay=100),), primary="n1",
            proofs=(Proof(holds=holds, acted=at, at=at + MS, figures=(figure,)),),
            undone=(Proof(holds=True, acted=end, at=end + MS),),
        )

    def trips(*faults: Fault) -> list[float | None]:
        return [row.round_trip for row in scenarios(recording(served, faults))]

    assert trips(late()) == [pytest.approx(0.203)]
    assert trips(late(links[:-1])) == trips(late(holds=False)) == trips(fault()) == [None]
    assert trips(late(), late(began=7)) == [None, None]
