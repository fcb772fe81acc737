"""Transactions read straight from JSON are those that are read through Python's values; what is of another shape is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history import texts
from splitbrain.harness.history.builder import Builder, TextEvent
from splitbrain.harness.history.formats import jsonl, read
from splitbrain.harness.history.micros import Micros, MicrosPacker
from splitbrain.harness.history.texts import parsed

NUMBERS = st.integers(-(10**18) + 1, 10**18 - 1) | st.integers(-3, 3)
READS = st.tuples(st.sampled_from(("r", "read")), NUMBERS, st.none() | NUMBERS | st.lists(NUMBERS, max_size=4))
WRITES = st.tuples(st.sampled_from(("w", "write", "append")), NUMBERS, NUMBERS)
PLAIN = st.lists(st.lists(READS | WRITES, max_size=4), max_size=6)
ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() |
    st.sampled_from(("r", "w", "append", "read", "wri", "", "x,y]")),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner, max_size=2), max_leaves=12,
)


def columns(micros: Micros) -> list[Any]:
    arrays = (micros.start, micros.f, micros.key, micros.value, micros.list_start, micros.list_values)
    return [*(array.tolist() for array in arrays), tuple(micros.keys), tuple(micros.objects)]


def text(values: Any) -> bytes:
    return b"".join(json.dumps(value, separators=(",", ":")).encode() + b"," for value in values)


@given(PLAIN, PLAIN)
def test_the_same_columns(first: list[Any], second: list[Any]) -> None:
    directly, through = MicrosPacker(), MicrosPacker()
    for values in (first, second):
        raws = [msgspec.Raw(text([value])[:-1]) for value in values]
        with pytest.MonkeyPatch.context() as plainly:
            plainly.setattr("splitbrain.harness.history.micros.parsed", lambda *given: parsed(*given, compiled=False))
            numbers = directly.pack_texts(raws)
        assert numbers is not None and numbers.tolist() == through.pack(values).tolist()
    assert columns(directly.micros()) == columns(through.micros())


@given(st.lists(ODD | st.lists(st.lists(ODD, min_size=1, max_size=4), max_size=3) | PLAIN.map(lambda some: (some or [[]])[0])))
def test_nothing_else_is_taken_for_a_transaction(values: list[Any]) -> None:
    values = [*values, [["append", 0, 0]]]  # Else lists that were read are taken for what registers hold whole.
    read = parsed(text(values), len(values), compiled=False)
    if read is not None:
        packer = MicrosPacker()
        assert (packer.pack(values) >= 0).all()
        micros = packer.micros()
        assert np.diff(micros.start).tolist() == read.counts.tolist() and micros.f.tolist() == read.f.tolist()
        assert [micros.keys[code] for code in micros.key.tolist()] == read.key.tolist()
        assert (micros.value.tolist(), micros.list_values.tolist()) == (read.value.tolist(), read.elements.tolist())


@given(st.binary(max_size=40) | PLAIN.flatmap(lambda some: st.integers(0, len(text(some))).map(lambda at: text(some)[:at])))
def test_a_text_that_ends_anywhere_is_never_read_beyond(data: bytes) -> None:
    for many in (1, 2):
        parsed(data, many, compiled=False)


def test_a_file_gives_the_same_history_by_machine_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    path = tmp_path / "history.jsonl"
    lines: list[dict[str, Any]] = []
    for number in range(3000):
        asked: Any = [["r", number % 7, None], ["append", number % 5, number]]
        told: Any = [["r", number % 7, list(range(number % 9))], asked[1]]
        if number == 2000:
            told = [["r", "a word", 1.5]]
        kind = ("ok", "ok", "fail", "info")[number % 4]
        lines.append({"type": "invoke", "process": number, "f": "txn", "value": asked, "time": 2 * number})
        lines.append({"type": kind, "process": number, "time": 2 * number + 1, **({"value": told} if kind == "ok" else {})})
    path.write_text("".join(json.dumps(line, separators=(",", ":")) + "\n" for line in lines))
    monkeypatch.setattr(jsonl, "CHUNK", 20_000)
    monkeypatch.setattr(texts, "COMPILED_FROM", 1 << 40)
    ordinary = read(path).history
    monkeypatch.setattr(texts, "COMPILED_FROM", 0)
    took: list[type[Any]] = []
    extend = Builder.extend

    def noted(self: Builder, events: Any, positions: Any) -> None:
        took.append(type(events[0]))
        extend(self, events, positions)

    monkeypatch.setattr(Builder, "extend", noted)
    directly = read(path).history
    assert set(took) == {TextEvent}
    assert list(directly) == list(ordinary)
    assert directly.micros is not None and ordinary.micros is not None
    assert sorted(map(repr, directly.micros.keys)) == sorted(map(repr, ordinary.micros.keys))
