"""Merges: which of the sides' last writes gave way, told by hand and against the definition itself."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from splitbrain.checkers.measures.merges import merge
from splitbrain.checkers.result import Merge
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from tests.checkers.scenes import SECOND, fault, recording

SIDES = (("n2", "n3"), ("n1",))
CUT = fault(1, 5, 10, sides=SIDES)
UNPROVEN = fault(1, 5, 10, sides=SIDES, proven=None)
WRONG = fault(1, 5, 10, sides=SIDES, wrong=(("n1", "n2"),))
NEXT = fault(2, 15, 17, sides=SIDES)


def op(home: str | None, f: str, value: Any, at: float, key: int = 0, outcome: Any = "ok") -> Operation:
    return Operation(
        process=0, f=f, key=key, value=value, invoked=int(at * SECOND), completed=int(at * SECOND) + 1000, node=home,
        outcome=outcome,
    )


def recorded(operations: list[Operation]) -> Recording:
    scene = recording(faults=(CUT, NEXT), nodes=("n1", "n2", "n3"))
    return msgspec.structs.replace(scene, history=History.of([op("n1", "read", None, 1), *operations]))


BOTH = [op("n1", "write", 1, 6), op("n2", "write", 2, 7)]


def test_a_side_whose_clients_then_read_the_others_write_gave_way() -> None:
    assert merge(recorded([*BOTH, op("n1", "read", 2, 11)]), CUT) == Merge(contested=1, given_up=1)
    cas = [op("n1", "write", 1, 6), op("n2", "cas", (0, 2), 7), op("n1", "read", 2, 11)]
    assert merge(recorded(cas), CUT) == Merge(contested=1, given_up=1)


def test_nothing_gave_way_where_it_was_not_seen_to() -> None:
    for after in (
        [],
        [op("n3", "read", 2, 11)],  # by its own side
        [op("n1", "read", 1, 11), op("n2", "read", 2, 11)],  # each still sees its own
        [op("n1", "read", 2, 11), op("n1", "read", 1, 12)],  # it is still there
        [op("n1", "read", 2, 9)],  # before the heal
        [op("n1", "read", 2, 16)],  # the next fault's
        [op("n1", "read", 2, 11, outcome="fail")],
        [op(None, "read", 2, 11)],
    ):
        assert merge(recorded([*BOTH, *after]), CUT) == Merge(contested=1, given_up=0), after


def test_one_sides_writes_are_no_contest() -> None:
    assert merge(recorded([op("n2", "write", 2, 7), op("n3", "write", 3, 8), op("n1", "read", 3, 11)]), CUT) == Merge()
    late = [op("n1", "write", 1, 11), op("n2", "write", 2, 7), op("n1", "read", 2, 12)]
    assert merge(recorded(late), CUT) == Merge()


def test_it_is_not_measured_without_a_proven_fault_that_parts_and_heals() -> None:
    scene = recorded([*BOTH, op("n1", "read", 2, 11)])
    unhealed, whole = ({"healed": None}, {"sides": (("n1", "n2", "n3"),)})
    for one in (UNPROVEN, WRONG, msgspec.structs.replace(CUT, **unhealed), msgspec.structs.replace(CUT, **whole)):
        assert merge(scene, one) is None
    sets = msgspec.structs.replace(scene, history=History.of([op("n1", "add", 1, 6), op("n1", "read", [1], 7)]))
    assert merge(sets, CUT) is None


def by_definition(operations: list[Operation], sides: tuple[tuple[str, ...], ...]) -> Merge:
    wrote = [x for x in operations if x.f == "write" and 5.1 < x.invoked / SECOND < 10]
    reads = [x for x in operations if x.f == "read" and 10.1 < x.invoked / SECOND < 15]
    contested = given_up = 0
    for key in (0, 1):
        per_side = [{x.value for x in wrote if x.key == key and x.node in side} for side in sides]
        contested += sum(map(bool, per_side)) > 1
        for number, own in enumerate(per_side):
            foreign = set().union(*per_side[:number], *per_side[number + 1 :])
            lost_at = [x.invoked for x in reads if x.key == key and x.node in sides[number] and x.value in foreign]
            kept_at = [x.invoked for x in reads if x.key == key and x.value in own]
            given_up += bool(own and lost_at) and max(lost_at) > max(kept_at, default=-1)
    return Merge(contested=contested, given_up=given_up)


STEP = st.tuples(st.sampled_from(["n1", "n2", "n3"]), st.booleans(), st.integers(0, 1), st.integers(0, 30))


@settings(max_examples=400, deadline=None)
@given(st.lists(STEP, max_size=30), st.sampled_from([SIDES, (("n1",), ("n2",), ("n3",))]))
@example([("n1", True, 0, 0), ("n2", True, 0, 0), ("n1", False, 0, 1)], SIDES)
def test_it_is_what_it_says_to_be(steps: list[tuple[str, bool, int, int]], sides: tuple[tuple[str, ...], ...]) -> None:
    made, written = [], 0
    for turn, (home, writes, key, pick) in enumerate(steps):
        if writes:
            written += 1
            made.append(op(home, "write", written, 5.5 + turn / 10, key))
        else:
            made.append(op(home, "read", pick % (written + 1) or None, 10.5 + turn / 10, key))
    assert merge(recorded(made), msgspec.structs.replace(CUT, sides=sides)) == by_definition(made, sides)
