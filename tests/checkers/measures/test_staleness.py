"""How stale reads of registers were, against a slow look at all pairs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.checkers.measures.staleness import staleness
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

MS = 1_000_000


def op(f: str, value: Any, invoked: int, completed: int, outcome: Any = "ok") -> Operation:
    return Operation(
        process=1, f=f, key=0, value=value, invoked=invoked * MS, completed=completed * MS, outcome=outcome
    )


def slow(ops: list[Operation]) -> list[float]:
    """For each read, how long ago the earliest write was acknowledged that began after its version was there."""
    def version(one: Operation) -> Any:
        return one.value[1] if one.f == "cas" else one.value

    found = []
    for read in ops:
        if read.f != "read" or read.outcome != "ok":
            continue
        there = min((o.completed or 0 for o in ops if o.outcome == "ok" and version(o) == read.value), default=0)
        newer = [
            o.completed or 0 for o in ops
            if o.f != "read" and o.outcome == "ok" and (read.value is None or o.invoked > there)
        ]
        if newer and min(newer) < read.invoked:
            found.append((read.invoked - min(newer)) / MS)
    return sorted(found)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.integers(0, 4), st.sampled_from("rrwc")), max_size=12))
def test_it_finds_what_a_slow_look_finds(drawn: list[tuple[int, int, int, str]]) -> None:
    ops = []
    for number, (at, took, value, kind) in enumerate(drawn):
        new = 100 + number
        seen = None if value == 0 else 100 + value
        made = {"r": ("read", seen), "w": ("write", new), "c": ("cas", (seen, new))}[kind]
        ops.append(op(*made, at, at + took))
    expected = slow(ops)
    found = staleness(History.of(ops))
    if not expected:
        assert found is None
        return
    assert found is not None
    assert found.stale == len(expected)
    assert found.max_ms == pytest.approx(expected[-1])
    assert found.reads == sum(one.f == "read" for one in ops)


def test_fresh_concurrent_and_unanswered_are_not_stale() -> None:
    writes = op("write", 1, 0, 1), op("write", 2, 5, 9)
    assert staleness(History.of([*writes, op("read", 1, 8, 10), op("read", 2, 10, 11)])) is None
    assert staleness(History.of([op("write", 1, 0, 1), op("write", 2, 5, 9, "info"), op("read", 1, 20, 21)])) is None
    assert staleness(History.of([op("add", 1, 0, 1), op("read", [], 20, 21)])) is None
