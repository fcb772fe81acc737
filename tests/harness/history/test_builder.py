"""Pairing in columns against pairing one event after another."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Literal

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import builder as builder_module
from splitbrain.harness.history.builder import Builder, Event, Kind
from splitbrain.harness.history.operation import Operation, Outcome

UNSET = msgspec.UNSET
KINDS: tuple[Kind, ...] = ("invoke", "ok", "fail", "info")


def place(position: int) -> tuple[int, int]:
    return position + 1, 1


def obvious(events: list[Event], clock: Literal["times", "file"]) -> list[Operation] | int:
    """The operations, or the position of the first event that is wrong."""
    times = [event.time for event in events]
    rising = None not in times and all(a < b for a, b in pairwise(time or 0 for time in times))
    timed = rising if clock == "file" else bool(events) and times[0] is not None
    open_at: dict[int | None, int] = {}
    crashed: set[int | None] = set()
    operations: list[tuple[int, Operation]] = []

    def moment(i: int) -> int:
        return (times[i] or 0) if timed else i

    def keep(i: int, end: int | None) -> None:
        begin = events[i]
        answer = events[end] if end is not None else None
        told = answer is not None and answer.type == "ok" and answer.value is not UNSET
        told = told and not (answer is not None and answer.value is None and begin.f == "write")
        value: Any = answer.value if told and answer is not None else begin.value
        outcome: Outcome = "info" if answer is None or answer.type == "invoke" else answer.type
        operation = Operation(
            process=begin.process or 0, f=begin.f or "", value=None if value is UNSET else value, key=begin.key,
            outcome=outcome, invoked=moment(i), completed=None if end is None else moment(end),
            error=answer.error if answer else None, seen=(answer.seen or ()) if answer else (), node=begin.node,
            server=begin.server, scheduled=begin.scheduled, index=i if begin.index is None else begin.index,
        )
        operations.append((i, operation))

    for i, event in enumerate(events):
        if event.type == "invoke":
            if event.process in open_at or event.process in crashed:
                return i
            open_at[event.process] = i
            continue
        if event.process not in open_at:
            return i
        begin = open_at.pop(event.process)
        if event.f not in (None, events[begin].f) or event.key not in (None, events[begin].key):
            return i
        if clock == "times" and timed and moment(i) < moment(begin):
            return i
        keep(begin, i)
        if event.type == "info":
            crashed.add(event.process)
    for begin in open_at.values():
        keep(begin, None)
    return [operation for _, operation in sorted(operations, key=lambda pair: (pair[1].invoked, pair[0]))]


@st.composite
def event_lists(draw: st.DrawFn) -> list[Event]:
    """Mostly well-formed events, and some that are not."""
    events: list[Event] = []
    busy: dict[int, Event] = {}
    dead: set[int] = set()
    time = 0
    timed = draw(st.booleans())
    for _ in range(draw(st.integers(0, 25))):
        time += draw(st.sampled_from([1, 1, 1, 1, 5, 0, -2]))
        process = draw(st.integers(0, 9))
        wrong = draw(st.integers(0, 40)) == 0
        if process in dead and not wrong:
            continue
        kind: Kind = draw(st.sampled_from(KINDS)) if wrong else "invoke"
        if process in busy and not wrong:
            kind = draw(st.sampled_from(["ok", "fail", "info"]))
        begin = busy.pop(process, None)
        event = Event(
            type=kind,
            process=process,
            time=time if timed else None,
            f=draw(st.sampled_from(["read", "write"])) if begin is None else draw(st.sampled_from([None, begin.f])),
            key=draw(st.sampled_from([None, 1, "k"])) if begin is None else draw(st.sampled_from([None, begin.key])),
            value=draw(st.sampled_from([UNSET, None, 1, (1, 2), "x"])),
            node=draw(st.sampled_from([None, "n1"])),
            server=draw(st.sampled_from([None, "n1", "n2"])),
            index=draw(st.sampled_from([None, 77])),
        )
        if kind == "invoke":
            busy[process] = event
        else:
            event.error = draw(st.sampled_from([None, "timeout"]))
            event.seen = draw(st.sampled_from([None, (1,)]))
            if kind == "info":
                dead.add(process)
        events.append(event)
    return events


@pytest.mark.parametrize("clock", ["times", "file"])
@pytest.mark.parametrize("batch", [1, 3, 1000])
def test_pairs_as_the_obvious_way(clock: Literal["times", "file"], batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "BATCH", batch)

    @given(event_lists())
    def run(events: list[Event]) -> None:
        expected = obvious(events, clock)
        built = Builder("x", clock=clock, where=place)
        try:
            for position, event in enumerate(events):
                built.add(event, position)
            found: object = list(built.history())
        except HistoryError as error:
            # Within a batch the kinds of errors are looked for one after another: any place of an error will do.
            assert isinstance(expected, int), error
            return
        assert found == expected

    run()


@given(event_lists())
def test_many_at_once_are_the_same_as_one_by_one(events: list[Event]) -> None:
    def one_by_one(built: Builder) -> None:
        for position, event in enumerate(events):
            built.add(event, position)

    results: list[object] = []
    for take in (one_by_one, lambda built: built.extend(events, np.arange(len(events)))):
        built = Builder("x", clock="times", where=place)
        try:
            take(built)
            results.append(list(built.history()))
        except HistoryError as error:
            results.append(str(error))
    assert results[0] == results[1]


def test_crashed_in_an_earlier_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder_module, "BATCH", 1)
    built = Builder("x", clock="times", where=place)
    for position, kind in enumerate(("invoke", "info")):
        built.add(Event(type=kind, process=3, f="read"), position)  # type: ignore[arg-type]
    with pytest.raises(HistoryError, match=r"^x:3:1: process 3 acts again after an operation with the outcome info"):
        built.add(Event(type="invoke", process=3, f="read"), 2)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ([Event(type="ok", process=1)], "1:1: process 1 completes an operation, but has none open"),
        (
            [Event(type="invoke", process=1, f="read"), Event(type="invoke", process=1, f="read")],
            r"2:1: process 1 begins an operation while its last one \(line 1\) has not completed",
        ),
        (
            [Event(type="invoke", process=1, f="read"), Event(type="ok", process=1, f="write")],
            "2:1: process 1 completes function 'write', but it invoked 'read'",
        ),
        (
            [Event(type="invoke", process=1, f="read", key=1), Event(type="ok", process=1, key=2)],
            "2:1: process 1 completes key 2, but it invoked 1",
        ),
        (
            [Event(type="invoke", process=1, f="read"), Event(type="ok", process=1, key=2)],
            "2:1: process 1 completes key 2, but it invoked no key",
        ),
        ([Event(type="invoke", process=1)], r"1:1: an invocation does not tell its function \(f\)"),
        (
            [Event(type="invoke", process=1, f="read"), Event(type="ok", f="read")],
            "2:1: some events tell their process and some do not",
        ),
        (
            [Event(type="invoke", process=1, f="read", time=1), Event(type="ok", process=1)],
            "2:1: some events tell their time and some do not",
        ),
        (
            [Event(type="invoke", process=1, f="read", time=5), Event(type="ok", process=1, time=4)],
            "2:1: an operation completes before the time at which it was invoked",
        ),
        ([Event(type="invoke", process=2**64, f="read")], "1:1: expected an integer of at most 64 bits as process"),
        (
            [Event(type="invoke", f="read"), Event(type="invoke", f="read")],
            "2:1: without processes, an operation begins while its last one",
        ),
    ],
)
def test_says_what_is_wrong_and_where(events: list[Event], message: str) -> None:
    built = Builder("x", clock="times", where=place)
    with pytest.raises(HistoryError, match=f"^x:{message}"):
        built.extend(events, np.arange(len(events)))


def test_operations_that_tell_no_process_are_of_as_many_clients() -> None:
    built = Builder("x", clock="file", where=place)
    for at in range(6):
        built.add(Event(type="ok" if at % 2 else "invoke", f="write", value=at // 2), at)
    assert built.history().process.tolist() == [0, 1, 2]
