"""Which fault an anomaly belongs to, and that the counts add up."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.attribution import attribute, fault_of
from splitbrain.checkers.verdict import Anomaly, Lost, Moment, Verdict
from splitbrain.harness.history.fault import Pause
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


def test_what_no_moment_is_known_of() -> None:
    """A checker of somebody's own: what it shows tells its time, what it only counts is nobody's. Replicas that differ have no
    operations, and are what the last fault left."""
    shown = (anomaly("mine", 7e-9), anomaly("mine", 35e-9), Anomaly(identifier="diverged", sentence="differ"))
    told = attribute(Verdict(checker="c", validity="invalid", reason="", anomalies=shown, counts={"mine": 5}), FAULTS)
    assert [one.fault for one in told.anomalies] == [1, 2, 3]
    assert told.outside == {"mine": 3} and told.by_fault == {1: {"mine": 1}, 2: {"mine": 1}, 3: {"diverged": 1}}
    assert told.lost == Lost()


def test_nobody_is_cut_off_by_a_fault_that_is_not_there_yet_or_over() -> None:
    for at, cut in ((5, False), (15, True), (25, False)):
        op = Operation(process=1, f="read", node="n1", invoked=at, completed=at + 1)
        one = Anomaly(identifier="stale-read", sentence="old", operations=(op,), accused=0, moment=Moment(at, 60))
        verdict = Verdict(checker="c", validity="invalid", reason="", anomalies=(one,))
        faults = (msgspec.structs.replace(FAULTS[0], started=10, in_force=10),)
        assert ("cut off" in attribute(verdict, faults).anomalies[0].sentence) is cut
        slow = (msgspec.structs.replace(faults[0], in_force=18),)
        assert "cut off" not in attribute(verdict, slow).anomalies[0].sentence, "its links were still being cut"


def test_what_was_done_to_the_node_itself_is_told() -> None:
    paused = msgspec.structs.replace(
        FAULTS[0], specs=(Pause(("n1", "n2")),), proofs=(), in_force=2 * SECOND, started=SECOND, healed=None
    )
    for node, told in (("n1", "old (pause n1 n2 since 0:02.000)"), ("n3", "old")):
        op = Operation(process=1, f="read", node=node, invoked=3 * SECOND, completed=4 * SECOND)
        one = Anomaly(identifier="stale-read", sentence="old", operations=(op,), accused=0)
        found = attribute(Verdict(checker="c", validity="invalid", reason="", anomalies=(one,)), (paused,))
        assert found.anomalies[0].sentence == told
