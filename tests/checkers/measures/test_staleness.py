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


def slow(ops: list[Operation], lossy: bool) -> list[float]:
    """For each read, how long ago the earliest write was acknowledged that began after its version was there; where writes were
    lost, of those that a read found which began no sooner."""
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
            and (not lossy or any(p.f == "read" and p.value == version(o) and p.invoked >= read.invoked for p in ops))
        ]
        if newer and min(newer) < read.invoked:
            found.append((read.invoked - min(newer)) / MS)
    return sorted(found)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 6), st.integers(0, 4), st.sampled_from("rrwc")), max_size=12),
       st.booleans())
def test_it_finds_what_a_slow_look_finds(drawn: list[tuple[int, int, int, str]], lossy: bool) -> None:
    ops = []
    for number, (at, took, value, kind) in enumerate(drawn):
        new = 100 + number
        seen = None if value == 0 else 100 + value
        made = {"r": ("read", seen), "w": ("write", new), "c": ("cas", (seen, new))}[kind]
        ops.append(op(*made, at, at + took))
    expected = slow(ops, lossy)
    reads = sum(one.f == "read" for one in ops)
    found = staleness(History.of(ops), lossy=lossy)
    if not reads:
        assert found is None
        return
    assert found is not None and found.lossy is lossy
    assert (found.stale, found.reads, found.share) == (len(expected), reads, len(expected) / reads)
    assert found.max_ms == pytest.approx(max(expected, default=0.0))


def test_fresh_concurrent_and_unanswered_are_not_stale() -> None:
    writes = op("write", 1, 0, 1), op("write", 2, 5, 9)
    fresh = [*writes, op("read", 1, 8, 10), op("read", 2, 10, 11)]
    unanswered = [op("write", 1, 0, 1), op("write", 2, 5, 9, "info"), op("read", 1, 20, 21)]
    assert [found.stale for ops in (fresh, unanswered) if (found := staleness(History.of(ops)))] == [0, 0]
    assert staleness(History.of([op("add", 1, 0, 1), op("read", [], 20, 21)])) is None
    assert staleness(History.of(list(writes))) is None


def test_a_read_that_misses_a_lost_write_is_not_stale_and_one_that_misses_a_write_found_again_is() -> None:
    """2 was written on a side that gave way and is never seen again; 3 is found at 40 ms."""
    written = [op("write", 1, 0, 1), op("write", 2, 10, 11), op("write", 3, 20, 21)]
    reads = [op("read", 1, 15, 16), op("read", 1, 25, 26), op("read", 3, 40, 41)]
    found = staleness(History.of([*written, *reads]), lossy=True)
    assert found is not None and (found.stale, found.reads, found.max_ms) == (1, 3, 4.0)
    taken = staleness(History.of([*written, *reads]))
    assert taken is not None and (taken.stale, taken.max_ms) == (2, 14.0)
