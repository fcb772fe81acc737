"""Events that are read straight into columns are those that are read one by one; what is of another shape is left."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import lines
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import COLUMNS, History
from splitbrain.harness.history.shapes import Shapes

INTEGERS = st.integers(-3, 3) | st.integers(-(10**18) + 1, 10**18 - 1) | st.sampled_from((10**18, -(1 << 63), (1 << 63) - 1))
WORDS = st.sampled_from(("n1", "n2", "é", 'a"b', "", "read")) | st.text(max_size=3)
VALUES: st.SearchStrategy[Any] = (
    st.none() | INTEGERS | st.tuples(st.none() | INTEGERS, st.none() | INTEGERS) | st.booleans() | st.floats(-2, 2) | WORDS |
    st.lists(st.none() | INTEGERS | st.lists(INTEGERS, max_size=2), max_size=3)
)
NAMES = st.sampled_from(("read", "write", "cas", "drain", "dequeue"))
ORDINARY = {
    "key": INTEGERS, "value": st.none() | INTEGERS | st.tuples(st.none() | INTEGERS, INTEGERS),
    "node": st.sampled_from(("n1", "n2")), "server": st.sampled_from(("n1", "n3")),
    "scheduled": st.integers(0, 99), "kind": st.sampled_from(("read", "write")),
}
ODD = {
    "key": st.none() | INTEGERS | WORDS, "value": VALUES, "node": st.none() | WORDS, "server": WORDS, "scheduled": INTEGERS,
    "kind": st.none() | st.sampled_from(("read", "write", "other")), "index": st.integers(0, 99),
    "sum": st.text("0af", max_size=9), "other": VALUES,
}
ANSWERS = {"error": WORDS, "detail": WORDS, "seen": st.lists(VALUES, max_size=1)}
CHANGES = (b"", b" ", b"\n", b'"', b",", b"0", b"-", b"}", b"\\")


@st.composite
def events(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Calls and their ends, in an order that may be; most of them as our journals tell them."""
    found: list[dict[str, Any]] = []
    open_calls: dict[int, dict[str, Any]] = {}
    process = {client: client for client in range(3)}
    for time in range(draw(st.integers(1, 12))):
        client = draw(st.integers(0, 2))
        fields = draw(st.sampled_from((ORDINARY, ORDINARY, ODD)))
        call = open_calls.pop(client, None)
        event: dict[str, Any] = {"type": "invoke", "time": time, "process": process[client]}
        if call is None:
            event["f"] = draw(NAMES)
            event |= {name: draw(given) for name, given in fields.items() if draw(st.booleans())}
            open_calls[client] = event
        else:
            event["type"] = draw(st.sampled_from(("ok", "ok", "fail", "info")))
            event |= {"f": call["f"]} | ({"key": call["key"]} if "key" in call else {})
            if draw(st.booleans()):
                event["value"] = draw(fields["value"])
            if fields is ODD:
                event |= {name: draw(given) for name, given in ANSWERS.items() if draw(st.booleans())}
            if event["type"] == "info":
                process[client] += 3
        event.setdefault("sum", "0123abcd")
        found.append(event)
    return found


def told(text: bytes, quick: bool, chunk: int) -> Any:
    """What a file holds, by columns or one by one; what is said of it where it is wrong."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(jsonl, "CHUNK", chunk)
        patched.setattr(lines, "MOST_OTHERS", 1.0)
        patched.setattr(lines, "worth_it", lambda size: quick)
        patched.setattr(lines, "read", lambda text, many, read=lines.read: read(text, many, compiled=False))
        try:
            history, notes, shapes = jsonl.read(io.BytesIO(text), "file", other=lambda number, line: None)
        except HistoryError as error:
            return str(error)
    return columns(history, shapes), notes


def columns(history: History, shapes: Shapes) -> Any:
    arrays = {name: (getattr(history, name).dtype, getattr(history, name).tolist()) for name in COLUMNS}
    values = [(type(value), repr(value)) for value in history.values]
    forms = [column.tolist() for column in (history.values.kind, history.values.first, history.values.second)]
    names = history.fs, history.keys, history.errors, history.nodes
    return arrays, values, forms, names, repr(history.seen), history.details, history.timed, repr(vars(shapes))


def text(told: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode(errors="replace") + b"\n" for one in told)


@settings(deadline=None)
@given(events(), st.sampled_from((60, 400, 1 << 20)))
def test_the_same_history(told_events: list[dict[str, Any]], chunk: int) -> None:
    lines_of = text(told_events)
    assert told(lines_of, True, chunk) == told(lines_of, False, chunk)


@settings(deadline=None)
@given(events(), st.data())
def test_the_same_is_said_of_what_was_changed(told_events: list[dict[str, Any]], data: st.DataObject) -> None:
    changed = bytearray(text(told_events))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(changed) - 1))
        changed[at : at + data.draw(st.integers(0, 2))] = data.draw(st.sampled_from(CHANGES))
    assert told(bytes(changed), True, 1 << 20) == told(bytes(changed), False, 1 << 20)


def test_what_a_line_tells() -> None:
    called = b'{"type":"invoke","time":7,"process":-2,"f":"cas","key":3,"value":[null,-5]'
    call = called + b',"node":"n1","server":"n2","kind":"write","sum":"00ffa0c1"}\n'
    answer = b'{"type":"fail","time":9,"process":-2,"f":"cas","key":3,"error":"mismatch","sum":"00ffa0c1"}\n'
    other = b'{"type":"ok","time":9,"process":4,"f":"read","key":3,"value":12,"sum":"00ffa0c1"}\n'
    found = lines.read(call + other + other + other + answer, 5, compiled=False)
    assert found is not None
    assert found.others.tolist() == [False, False, False, False, True]
    assert (found.time.tolist()[:2], found.process.tolist()[:2], found.key.tolist()[:2]) == ([7, 9], [-2, 4], [3, 3])
    assert (found.first.tolist()[1], found.second.tolist()[0], found.form.tolist()[:2]) == (12, -5, [1, 0])
    assert [found.names["f"][at] for at in found.f[:2]] == ["cas", "read"] and found.f[4] == -1
    assert found.names["kind"] == ["write"] and found.starts.tolist()[1] == len(call)


def test_a_sum_that_is_no_json_is_not_taken_for_one() -> None:
    line = b'{"type":"ok","time":9,"process":4,"f":"read","sum":"00ffa0c1"}\n'
    found = lines.read(line.replace(b'"00', rb'"\0') + 4 * line, 5, compiled=False)
    assert found is not None and found.others.tolist() == [True, False, False, False, False]


def test_what_is_mostly_of_another_shape_is_not_read() -> None:
    assert lines.read(b'{"process":1}\n' * 8, 8, compiled=False) is None
