"""A slice of a linearizable register history is linearizable, whatever the faults; and it keeps what belongs to it."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.measures.slices import sliced
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from tests.checkers.scenes import fault


def op(f: str, value: Any, invoked: int, completed: int | None, outcome: Any = "ok", **more: Any) -> Operation:
    return Operation(
        process=invoked, f=f, key=0, value=value, invoked=invoked, completed=completed, outcome=outcome, **more
    )


@st.composite
def linearizable(draw: st.DrawFn) -> list[Operation]:
    """Operations that took effect at the moments 0, 10, 20, ...; each was open around its own and some more besides."""
    made = []
    state: int | None = None
    for turn in range(draw(st.integers(1, 14))):
        at = turn * 10
        invoked, completed = at - draw(st.integers(0, 25)), at + draw(st.integers(0, 25))
        kind = draw(st.sampled_from(["read", "write", "cas", "refused", "blind", "info", "info-cas", "never", "failed"]))
        new = turn + 1
        match kind:
            case "read":
                made.append(op("read", state, invoked, completed))
            case "write":
                made.append(op("write", new, invoked, completed))
                state = new
            case "cas":
                made.append(op("cas", (state, new), invoked, completed))
                state = new
            case "refused":
                made.append(op("cas", (999, new), invoked, completed, "fail", error="mismatch", seen=(state,)))
            case "blind":
                made.append(op("cas", (999, new), invoked, completed, "fail", error="mismatch"))
            case "info":
                made.append(op("write", new, invoked, draw(st.sampled_from([None, completed])), "info", error="timeout"))
                state = new
            case "info-cas":
                made.append(op("cas", (state, new), invoked, None, "info", error="timeout"))
                state = new
            case "never":
                made.append(op("write", new, invoked, None, "info", error="timeout"))
            case _:
                made.append(op("write", new, invoked, completed, "fail", error="no-leader"))
    return made


def spans(*edges: tuple[int, int]) -> tuple[Any, ...]:
    return tuple(
        fault(number, 0, 0, started=began, healed=ended) for number, (began, ended) in enumerate(edges, 1)
    )


@settings(max_examples=400, deadline=None)
@given(linearizable(), st.integers(-10, 60), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_leaving_out_never_breaks_a_history(made: list[Operation], first: int, a: int, b: int, c: int) -> None:
    history = History.of(made)
    assert search(history, CasRegister()).valid
    faults = spans((first, first + a), (first + a + b, first + a + b + c))
    for one in faults:
        part = sliced(Recording(history=history, nodes=(), faults=faults), one)
        assert part is not None
        assert part.faults == (one,)
        assert search(part.history, CasRegister()).valid


def test_a_slice_holds_its_own_operations_the_writes_they_mention_and_the_last_one_before() -> None:
    made = [
        op("write", 1, 0, 1), op("read", 1, 2, 3), op("cas", (1, 2), 4, 5), op("write", 3, 6, 7), op("write", 4, 8, 9),
        op("read", 2, 20, 21), op("write", 5, 22, 23), op("read", 5, 60, 61), op("write", 6, 62, 63),
    ]
    faults = spans((15, 30), (50, 55))
    recording = Recording(history=History.of(made), nodes=(), faults=faults)
    first, second = (sliced(recording, one) for one in faults)
    assert first is not None
    assert second is not None
    assert [(o.f, o.value) for o in first.history] == [("write", 2), ("write", 4), ("read", 2), ("write", 5)]
    assert search(first.history, CasRegister()).valid is False, "4 had been acknowledged before"
    assert [(o.f, o.value) for o in second.history] == [("write", 5), ("read", 5), ("write", 6)]
    assert search(second.history, CasRegister()).valid


def test_what_is_no_register_has_no_slice() -> None:
    recording = Recording(history=History.of([op("enqueue", 1, 0, 1)]), nodes=(), faults=spans((0, 1)))
    assert sliced(recording, recording.faults[0]) is None
