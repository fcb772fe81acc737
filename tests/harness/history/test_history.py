"""The columns of a history against the plain list of its operations."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import MISMATCH, Operation


@st.composite
def operation_lists(draw: st.DrawFn) -> list[Operation]:
    operations = []
    for index in range(draw(st.integers(0, 12))):
        invoked = draw(st.integers(0, 20))
        operations.append(
            Operation(
                process=draw(st.integers(0, 5)),
                f=draw(st.sampled_from(["read", "write", "cas"])),
                value=draw(st.sampled_from([None, 1, (1, 2), "x", (1, 2, 3)])),
                key=draw(st.sampled_from([None, 0, 7, "k"])),
                outcome=draw(st.sampled_from(["ok", "fail", "info"])),
                invoked=invoked,
                completed=draw(st.none() | st.integers(invoked, 30)),
                error=draw(st.sampled_from([None, MISMATCH, "timeout"])),
                seen=draw(st.sampled_from([(), (3,)])),
                node=draw(st.sampled_from([None, "n1", "n2"])),
                server=draw(st.sampled_from([None, "n2", "n3"])),
                scheduled=draw(st.none() | st.just(invoked)),
                index=index,
            )
        )
    return operations


@given(operation_lists())
def test_of_gives_the_operations_back_in_order(operations: list[Operation]) -> None:
    history = History.of(operations)
    assert list(history) == sorted(operations, key=lambda operation: operation.invoked)
    assert history.answered().tolist() == [operation.answered for operation in history]


@given(operation_lists(), st.data())
def test_select_is_what_a_list_would_select(operations: list[Operation], data: st.DataObject) -> None:
    history = History.of(operations)
    mask = np.array(data.draw(st.lists(st.booleans(), min_size=len(history), max_size=len(history))), np.bool_)
    expected = [operation for operation, kept in zip(history, mask, strict=True) if kept]
    assert list(history.select(mask)) == expected
    assert list(history.select(np.flatnonzero(mask))) == expected


@given(operation_lists())
def test_by_key_is_a_partition(operations: list[Operation]) -> None:
    history = History.of(operations)
    found = {key: [history[row] for row in rows.tolist()] for key, rows in history.by_key()}
    expected: dict[object, list[Operation]] = {}
    for operation in history:
        expected.setdefault(operation.key, []).append(operation)
    assert found == expected


def test_an_answer_that_never_came() -> None:
    history = History.of([Operation(process=0, f="read", invoked=1, outcome="info")])
    assert history.completed.tolist() == [NEVER]
    assert history[0].completed is None
