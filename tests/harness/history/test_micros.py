"""Transactions in columns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain import Operation
from splitbrain.harness.history.builder import Builder, Event
from splitbrain.harness.history.formats import jsonl, read
from splitbrain.harness.history.history import History
from splitbrain.harness.history.micros import (
    APPEND,
    FIRST_OBJECT,
    READ,
    READ_LIST,
    UNKNOWN,
    WRITE,
    Micros,
    MicrosPacker,
)
from splitbrain.harness.history.values import NIL

_SCALARS = st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.floats(allow_nan=False)
_KEYS = st.integers(-3, 3) | st.sampled_from(["x", "y", "1"]) | st.booleans()
_MICROS = st.one_of(
    st.tuples(st.just("r"), _KEYS, _SCALARS | st.lists(_SCALARS, max_size=4)),
    st.tuples(st.sampled_from(["w", "append"]), _KEYS, _SCALARS | st.lists(_SCALARS, max_size=2)),
)
_TRANSACTIONS = st.lists(st.lists(_MICROS, max_size=5), max_size=12)


def _micros(transactions: list[Any]) -> Micros:
    packer = MicrosPacker()
    packer.pack(transactions)
    return packer.micros()


def _plain(value: Any) -> Any:
    """With types, for 1, 1.0 and true are equal."""
    if isinstance(value, list | tuple):
        return tuple(_plain(part) for part in value)
    return type(value), value


@given(_TRANSACTIONS, st.data())
def test_what_was_packed_comes_back_also_in_batches_and_from_a_part(transactions: list[Any], data: st.DataObject) -> None:
    packer = MicrosPacker()
    cut = data.draw(st.integers(0, len(transactions)))
    numbers = np.concatenate([packer.pack(transactions[:cut]), packer.pack(transactions[cut:])])
    micros = packer.micros()
    assert numbers.tolist() == list(range(len(transactions)))
    assert [_plain(micros[i]) for i in range(len(micros))] == [_plain(one) for one in transactions]
    chosen = np.array(data.draw(st.lists(st.integers(-1, len(transactions) - 1), max_size=8)), np.int64)
    part = micros.take(chosen)
    told = [_plain(transactions[at]) if at >= 0 else () for at in chosen.tolist()]
    assert [_plain(part[i]) for i in range(len(part))] == told
    assert len(part.list_start) == np.count_nonzero(part.f == READ_LIST) + 1 and part.list_start[-1] == len(part.list_values)


def test_the_columns() -> None:
    micros = _micros([
        [["w", "x", 5], ["r", "y", None], ["r", "x", 5]],
        [],
        [("append", 7, "a"), ("r", 7, ["a", 2]), ("r", "x", [])],
        [["read", "y", 1 << 70], ["write", "y", -(1 << 62)]],
    ])
    a, long, least = FIRST_OBJECT, FIRST_OBJECT + 1, FIRST_OBJECT + 2
    assert micros.start.tolist() == [0, 3, 3, 6, 8]
    assert micros.owners().tolist() == [0, 0, 0, 2, 2, 2, 3, 3]
    assert micros.f.tolist() == [WRITE, READ, READ, APPEND, READ_LIST, READ_LIST, READ, WRITE]
    assert [micros.keys[code] for code in micros.key] == ["x", "y", "x", 7, 7, "x", "y", "y"]
    assert sorted(map(str, micros.objects)) == sorted(map(str, ["a", 1 << 70, -(1 << 62)]))
    assert micros.value[:3].tolist() == [5, NIL, 5] and micros.value[4:6].tolist() == [0, 1]
    assert {int(micros.value[3]), int(micros.value[6]), int(micros.value[7])} == {a, long, least}
    assert micros.list_start.tolist() == [0, 2, 2] and micros.list_values.tolist() == [micros.value[3], 2]
    assert micros.name(int(micros.value[6])) == 1 << 70


def test_equal_values_of_one_type_have_one_id() -> None:
    micros = _micros([[["w", 1, True], ["w", 1, 1], ["w", 1, 1.0], ["w", True, "1"], ["r", 1, True], ["r", 1, 1.0]]])
    assert len(set(micros.value[:4].tolist())) == 4
    assert micros.value[4] == micros.value[0] and micros.value[5] == micros.value[2]
    assert micros.key.tolist() == [micros.key[0]] * 3 + [micros.key[3]] + [micros.key[0]] * 2 and micros.key[3] != micros.key[0]


@pytest.mark.parametrize("value", [
    7, "w", None, [7], [["w", 1]], [["w", 1, 2, 3]], [["cas", 1, 2]], [[["w"], 1, 2]], [["r"]], {"w": 1}, [["append", 1]],
])
def test_what_is_no_transaction_gets_no_number(value: Any) -> None:
    packer = MicrosPacker()
    assert packer.pack([[["w", 1, 2]], value, [["r", 1]]]).tolist() == [0, -1, 1]
    assert packer.micros().value.tolist() == [2, UNKNOWN]


EVENTS = b"""{"type":"invoke","process":0,"f":"txn","value":[["append",1,5],["r",1,null]]}
{"type":"invoke","process":1,"f":"txn","value":[["r",1,null],["w",2,"a"]]}
{"type":"ok","process":0,"value":[["append",1,5],["r",1,[5]]]}
{"type":"info","process":1,"value":[["r",1,[5]],["w",2,"a"]]}
{"type":"invoke","process":2,"f":"txn","value":[["r",2,null]]}
{"type":"fail","process":2,"f":"txn","value":[["r",2,null]]}
{"type":"invoke","process":3,"f":"txn","value":[["r",2,null]]}
{"type":"ok","process":3,"f":"txn"}
{"type":"invoke","process":3,"f":"txn","value":[["r",2,null]]}
{"type":"ok","process":3,"f":"txn","value":[["r",2,null]]}
{"type":"invoke","process":4,"f":"read","key":1}
{"type":"ok","process":4,"value":[["r",1,2]]}
{"type":"invoke","process":5,"f":"txn","value":[["w",1,2]]}
"""


@pytest.mark.parametrize("lines", [1, 3, 100])
def test_what_a_transaction_read_is_known_where_its_answer_tells_it(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "history.jsonl"
    path.write_bytes(EVENTS)
    history = read(path).history
    by_lines = _by_batches(EVENTS, lines, path)
    for one in (history, by_lines):
        assert one.micros is not None and len(one.micros) == len(one)
        assert [op.value for op in one] == [
            (("append", 1, 5), ("r", 1, (5,))),
            (("r", 1, None), ("w", 2, "a")),
            (("r", 2, None),),
            (("r", 2),),
            (("r", 2, None),),
            (("r", 1, 2),),
            (("w", 1, 2),),
        ]
        assert one.micros.f.tolist() == [APPEND, READ_LIST, READ, WRITE, READ, READ, READ, WRITE]
        unknown = [value == UNKNOWN for value in one.micros.value.tolist()]
        assert unknown == [False, False, True, False, True, True, False, False]
        assert np.diff(one.micros.start).tolist() == [2, 2, 1, 1, 1, 0, 1]


def _by_batches(events: bytes, lines: int, path: Path) -> History:
    """Read with `lines` events at a time, so that answers come in other batches than their invocations."""
    builder = Builder(str(path), clock="times", where=lambda line: (line, 1))
    told = msgspec.json.Decoder(Event).decode_lines(events)
    for at in range(0, len(told), lines):
        builder.extend(told[at : at + lines], np.arange(at, at + len(told[at : at + lines])))
    return builder.history()


def test_operations_keep_their_transactions_through_lines_and_parts(tmp_path: Path) -> None:
    operations = [
        Operation(process=0, f="txn", value=(("append", "x", 1), ("r", "y", ())), invoked=0, completed=5),
        Operation(process=1, f="txn", value=(("r", "x", None),), outcome="info", invoked=1),
        Operation(process=2, f="write", key=1, value=(("w", 1, 2),), invoked=2, completed=4),
        Operation(process=3, f="txn", value=(("r", "x"), ("r", "y", None)), invoked=3, completed=4),
    ]
    history = History.of(reversed(operations))
    path = tmp_path / "history.jsonl"
    path.write_bytes(jsonl.encode(history))
    for one in (history, read(path).history):
        assert [msgspec.structs.replace(op, index=-1) for op in one] == operations
        assert one.micros is not None and one.micros.value.tolist() == [1, 0, UNKNOWN, UNKNOWN, NIL]
        part = one.select(np.array([1, 3]))
        assert [op.value for op in part] == [operations[1].value, operations[3].value]
        assert list(part.values) == [(("r", "x", None),), (("r", "x", None), ("r", "y", None))]


def test_a_history_without_transactions_has_none() -> None:
    assert History.of([Operation(process=0, f="read", invoked=0)]).micros is None
    assert History.of([]).micros is None
