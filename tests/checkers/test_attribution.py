"""Which fault an anomaly belongs to, and that the counts add up."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitbrain.checkers.attribution import attribute, fault_of
from splitbrain.checkers.verdict import Anomaly, Lost, Moment, Verdict
from splitbrain.harness.history.fault import Fault, Pause
from splitbrain.harness.history.operation import Operation
from tests.checkers.scenes import SECOND, anomaly, fault

FAULTS = (
    fault(1, 0, 0, started=10, healed=20), fault(2, 0, 0, started=30, healed=40), fault(3, 0, 0, started=50, healed=None),
)


@pytest.mark.parametrize(("began", "seen", "blamed"), [
    (0, 9, None), (0, 10, 1), (20, 21, 1), (21, 29, 1), (15, 36, 1), (21, 36, 2), (41, 49, 2), (5, 55, 1), (90, 91, 3),
])
def test_the_first_fault_in_whose_time_it_happened(began: int, seen: int, blamed: int | None) -> None:
    for faults in (FAULTS, FAULTS[::-1]):
        found = fault_of(faults, Moment(began, seen))
        assert (None if found is None else found.id) == blamed
    assert fault_of((), Moment(began, seen)) is None


@given(st.dictionaries(st.sampled_from(["lost-write", "stale-read", "mine"]), st.lists(
    st.tuples(st.integers(0, 60), st.integers(0, 20), st.booleans()), min_size=1, max_size=8,
)))
def test_counts_by_fault_are_complete_and_add_up(found: dict[str, list[tuple[int, int, bool]]]) -> None:
    moments = {name: tuple(Moment(at, at + took, lost) for at, took, lost in all_) for name, all_ in found.items()}
    counts = {name: len(all_) for name, all_ in found.items()}
    told = attribute(Verdict(checker="c", validity="invalid", reason="", counts=counts, moments=moments), FAULTS)
    for name, number in counts.items():
        assert sum(of.get(name, 0) for of in told.by_fault.values()) + told.outside.get(name, 0) == number
        assert told.outside.get(name, 0) == sum(moment.seen < 10 for moment in moments[name])
    assert told.counts == counts and not told.moments
    gone = [moment for all_ in moments.values() for moment in all_ if moment.lost]
    assert told.lost.total == len(gone) == sum(told.lost.by_fault.values()) + sum(moment.seen < 10 for moment in gone)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.none() | st.integers(0, 30)), max_size=5),
    st.lists(st.tuples(st.integers(-5, 60), st.integers(0, 20), st.booleans()), min_size=1, max_size=12),
)
def test_many_moments_belong_to_what_each_of_them_does(
    stood: list[tuple[int, int | None]], found: list[tuple[int, int, bool]]
) -> None:
    faults = [
        fault(at, 0, 0, started=began, healed=None if lasted is None else began + lasted)
        for at, (began, lasted) in enumerate(stood)
    ]
    moments = tuple(Moment(at, at + took, lost) for at, took, lost in found)
    verdict = Verdict(checker="c", validity="invalid", reason="", counts={"x": len(moments)}, moments={"x": moments})
    told = attribute(verdict, faults)
    blamed = [fault_of(faults, moment) for moment in moments]
    for one in faults:
        assert told.by_fault.get(one.id, {}).get("x", 0) == sum(fault is one for fault in blamed)
        gone = [moment.lost for moment, fault in zip(moments, blamed, strict=True) if fault is one]
        assert told.lost.by_fault.get(one.id, 0) == sum(gone)
    assert told.outside.get("x", 0) == blamed.count(None)


def test_what_no_moment_is_known_of() -> None:
    """A checker of somebody's own: what it shows tells its time, what it only counts is nobody's. Replicas that differ have no
    operations, and are what the last fault left."""
    shown = (anomaly("mine", 7e-9), anomaly("mine", 35e-9), Anomaly(identifier="diverged", sentence="differ"))
    told = attribute(Verdict(checker="c", validity="invalid", reason="", anomalies=shown, counts={"mine": 5}), FAULTS)
    assert [one.fault for one in told.anomalies] == [1, 2, 3]
    assert told.outside == {"mine": 3} and told.by_fault == {1: {"mine": 1}, 2: {"mine": 1}, 3: {"diverged": 1}}
    assert told.lost == Lost()


def told_of(op: Operation, one: Fault) -> str:
    """What is added to the sentence of an anomaly in which this operation is accused, where this was the fault."""
    found = Anomaly(identifier="stale-read", sentence="", operations=(op,), accused=0, moment=Moment(0, 10**18))
    return attribute(Verdict(checker="c", validity="invalid", reason="", anomalies=(found,)), (one,)).anomalies[0].sentence


EDGES = ("started", "in_force", "proven", "heal_began", "healed")


@given(
    st.lists(st.integers(1, 60), min_size=5, max_size=5).map(sorted), st.integers(0, 5), st.integers(0, 70),
    st.none() | st.integers(0, 70), st.booleans(), st.sampled_from(["n1", "n2", "n3"]), st.booleans(),
)
@example(times=[1, 1, 1, 1, 1], reached=3, at=0, took=1, wrong=False, node="n1", paused=False)  # It stood no time at all.
def test_a_node_is_cut_off_while_all_links_are_and_at_no_other_moment(
    times: list[int], reached: int, at: int, took: int | None, wrong: bool, node: str, paused: bool,
) -> None:
    """Whatever a fault reached, and whenever: asked moment by moment whether it is known that the links were cut then."""
    when: dict[str, Any] = {
        name: time if number <= reached else None for number, (name, time) in enumerate(zip(EDGES, times, strict=True))
    }
    one = fault(1, wrong=(("n1", "n2"),) if wrong and when["proven"] is not None else (), spread=0, **when)
    if paused:
        one = msgspec.structs.replace(one, specs=(Pause(("n1", "n2")),))
    op = Operation(process=1, f="write", node=node, outcome="ok" if took is not None else "info", invoked=at,
                   completed=None if took is None else at + took)
    until = 200 if when["heal_began"] is None else when["heal_began"]
    sure = set() if when["proven"] is None or when["in_force"] is None or wrong else set(range(when["in_force"], until))
    cut = node != "n3" and bool(sure & set(range(at, at + (took or 0) + 1)))
    assert bool(told_of(op, one)) is cut


def test_a_cut_that_did_not_hold_is_not_told() -> None:
    op, held = Operation(process=1, f="read", node="n10", invoked=7 * SECOND, completed=8 * SECOND), fault(
        1, 6, 12, cut=(("n10", "n9"), ("n2", "n10"), ("n10", "n2")), observed_cut=())
    assert told_of(op, held) == " (n10 was cut off from n2 n9 since 0:06.000)"
    left = msgspec.structs.replace(held, proofs=(msgspec.structs.replace(held.proofs[0], holds=False, wrong=(("n10", "n9"),)),))
    assert told_of(op, left) == "", "a probe came through before the heal"


def test_what_was_done_to_the_node_itself_is_told() -> None:
    paused = msgspec.structs.replace(
        FAULTS[0], specs=(Pause(("n1", "n2")),), in_force=2 * SECOND, started=SECOND, heal_began=None, healed=None
    )
    for node, told in (("n1", "old (pause n1 n2 since 0:02.000)"), ("n3", "old")):
        op = Operation(process=1, f="read", node=node, invoked=3 * SECOND, completed=4 * SECOND)
        one = Anomaly(identifier="stale-read", sentence="old", operations=(op,), accused=0)
        found = attribute(Verdict(checker="c", validity="invalid", reason="", anomalies=(one,)), (paused,))
        assert found.anomalies[0].sentence == told
