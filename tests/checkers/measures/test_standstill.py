"""A harness that stood still: nothing of it is the database's doing, and where it matters the run proves nothing."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.judge import judge
from splitbrain.checkers.measures.standstill import awake
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording, Stall
from tests.checkers.scenes import MS, NODES, SECOND, Says, during, fault, recording, served


def stall(began: float, ended: float) -> Stall:
    return Stall(began=int(began * SECOND), ended=int(ended * SECOND))


def still(made: Recording, began: float, ended: float) -> Recording:
    """The recording as a harness writes it that is stopped in that time: nobody calls, and each worker has one call whose
    time-out ran out meanwhile."""
    stop, go = int(began * SECOND), int(ended * SECOND)
    kept = [op for op in made.history if op.completed is not None and (op.completed <= stop or op.invoked >= go)]
    hung = [
        Operation(
            process=10_000 + number, f=("read", "write")[number % 2], key=0, value=-number if number % 2 else None, node=node,
            server=node, outcome=("fail", "info")[number % 2], error="timeout", invoked=stop - 2 * MS, completed=go + MS,
        )
        for number, node in enumerate(sorted(NODES * 2))
    ]
    return msgspec.structs.replace(made, history=History.of([*kept, *hung]), stalls=(stall(began, ended),))


def test_a_stall_in_a_cut_is_no_outage_of_the_database() -> None:
    made = still(recording(during(5, 13, ("n1",), "refused"), [fault()]), 8, 12)
    blamed = judge(msgspec.structs.replace(made, stalls=()), (Says(),)).scenarios[0].sides
    assert [side.write.state for side in blamed] == ["blocked", "blocked"], "the control: unmarked it looks like an outage"
    result = judge(made, (Says(),))
    cut_off, majority = result.scenarios[0].sides
    assert (cut_off.write.state, majority.write.state, majority.read.state) == ("blocked", "available", "available")
    assert majority.write.outage < 0.1 and majority.write.time_share == 1.0
    assert cut_off.write.outage == pytest.approx(4, abs=0.1)
    assert result.scenarios[0].stood_still == 4.0
    assert (result.scenarios[0].in_force, result.scenarios[0].heal_began) == (5.0, 13.0)
    check = next(check for check in result.quality.checks if check.name == "harness")
    assert (check.passed, check.grave) == (False, False)
    assert check.text == "the harness stood still for 4.0 s at 0:08.000: that time is left out of every measure"
    assert (result.validity, result.classification) == ("valid", "CP")


def test_a_stall_over_most_of_a_window_leaves_nothing_to_say() -> None:
    made = still(recording(during(5, 13, ("n1",), "refused"), [fault()]), 6, 11)
    result = judge(made, (Says(),))
    assert result.validity == "unknown"
    assert "the harness stood still for 5.0 s at 0:06.000: more than half of the window of fault 1" in result.reason
    assert next(check for check in result.quality.checks if check.name == "harness").grave


def test_a_stall_after_the_heal_does_not_count_as_recovery() -> None:
    made = still(recording(during(5, 13, ("n1",), "refused"), [fault()], length=22.0), 13.5, 17)
    (row,) = judge(made, (Says(),)).scenarios
    assert row.recovery is not None and row.recovery < 0.1


def test_one_who_never_stood_still_is_told_so_and_an_old_journal_was_not_watched() -> None:
    made = recording(served, [fault()])
    told = {check.name: check for check in judge(made, (Says(),)).quality.checks}
    assert told["harness"].passed
    unwatched = judge(msgspec.structs.replace(made, stalls=None), (Says(),)).quality.checks
    assert "whether the harness stood still was not looked for" in [check.text for check in unwatched]
    assert awake(made) is made


moments = st.lists(st.integers(0, 40), min_size=0, max_size=8, unique=True).map(sorted)


@given(moments, st.lists(st.tuples(st.integers(0, 40), st.integers(0, 8)), max_size=10), st.integers(0, 40))
def test_what_is_cut_out_is_what_a_slow_clock_leaves_out(
    edges: Sequence[int], calls: Sequence[tuple[int, int]], moment: int
) -> None:
    stalls = [Stall(began=a, ended=b) for a, b in zip(edges[::2], edges[1::2], strict=False)]

    def slow(time: int) -> int:
        return sum(not any(stall.began <= tick < stall.ended for stall in stalls) for tick in range(time))

    ops = [Operation(process=i, f="read", key=0, invoked=a, completed=a + took) for i, (a, took) in enumerate(calls)]
    bare = Recording(
        history=History.of(ops), nodes=("n1",), stalls=tuple(stalls),
        faults=(Fault(id=1, nemesis="", scenario="", started=moment),),
    )
    found = awake(bare)
    heard = [op for op in bare.history
             if not any(op.invoked < stall.ended and (op.completed or 0) > stall.began for stall in stalls)]
    assert [(op.invoked, op.completed) for op in found.history] == [
        (slow(op.invoked), slow(op.completed or 0)) for op in heard
    ]
    assert (found.faults[0].started, found.faults[0].healed) == (slow(moment), None)
