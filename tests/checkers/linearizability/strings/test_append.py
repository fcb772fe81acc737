"""Strings with append, on histories made by hand and on files of others; random ones are the fuzzer's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.registers.zones import INVALID, UNDECIDED, VALID
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.linearizability.strings.append import decide, decide_append
from splitbrain.checkers.models.specifications import KeyValue
from splitbrain.harness.history import formats
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

SHARED = Path(__file__).parents[5] / "shared" / "histories"
Line = tuple[Any, ...]


def history(*lines: Line) -> History:
    """From lines (f, value, invoked, completed), each by a process of its own, `ok` unless a fifth item says else."""
    return History.of(
        Operation(process=i, f=f, value=value, invoked=start, completed=end, outcome=how[0] if how else "ok")
        for i, (f, value, start, end, *how) in enumerate(lines)
    )


def named(*lines: Line) -> tuple[str, tuple[int, ...]]:
    """The identifier and the rows of an invalid history."""
    made = history(*lines)
    decision = decide_append(made, KeyValue())
    assert decision is not None and decision.valid is False and decision.sentence
    assert search(made, KeyValue()).valid is False
    assert search(made.select(np.array(decision.rows)), KeyValue()).valid is False
    return decision.identifier, decision.rows


def valid(*lines: Line) -> bool:
    made = history(*lines)
    decision = decide_append(made, KeyValue())
    assert decision is None or decision.valid == search(made, KeyValue()).valid
    return decision is not None and decision.valid is True


A, B = ("append", "ab", 0, 1), ("append", "cd", 2, 3)


def test_a_read_shows_the_appends_in_their_order() -> None:
    assert valid(A, B, ("get", "abcd", 4, 5))
    assert valid(("append", "ab", 0, 3), B, ("get", "cdab", 4, 5))
    assert valid(A, B, ("get", None, 0, 1), ("get", "", 0, 1), ("get", "ab", 2, 3))
    assert named(A, B, ("get", "cdab", 4, 5)) == ("reordered", (0, 1, 2))


def test_an_acknowledged_append_is_seen() -> None:
    assert named(A, B, ("get", "ab", 4, 5)) == ("stale-read", (0, 1, 2))
    assert named(A, B, ("get", "ab", 4, 5), ("get", "abcd", 6, 7)) == ("stale-read", (0, 1, 2))
    assert named(("append", "ab", 0, 9), ("get", "ab", 1, 2), ("get", "", 3, 4)) == ("non-monotonic-read", (0, 1, 2))
    assert valid(A, ("append", "cd", 2, None, "info"), ("get", "ab", 4, 5), ("get", "abcd", 6, 7))


def test_what_is_read_was_written_once_and_before() -> None:
    assert named(A, ("get", "abab", 2, 3)) == ("duplicate", (0, 1))
    assert named(A, ("get", "abx", 2, 3)) == ("unwritten-read", (1,))
    assert named(("get", "ab", 0, 1), ("append", "ab", 2, 3)) == ("future-read", (0, 1))
    assert named(("append", "ab", 0, 1, "fail"), ("get", "ab", 2, 3)) == ("aborted-read", (0, 1))
    assert named(A, ("put", "xy", 2, 3), ("get", "abxy", 4, 5)) == ("unwritten-read", (2,))


def test_a_put_opens_an_epoch() -> None:
    put = ("put", "xy", 4, 5)
    assert valid(A, B, put, ("get", "xy", 6, 7))
    assert valid(A, put, ("append", "cd", 2, 8), ("get", "xycd", 6, 7))
    assert valid(A, ("append", "cd", 2, 3), put, ("get", "xy", 6, 7)), "nobody saw the second append, and nobody could have"
    assert named(A, put, ("get", "ab", 6, 7)) == ("stale-read", (0, 1, 2))
    assert named(A, put, ("get", "ab", 6, 7), ("get", "xy", 8, 9))[0] == "stale-read"
    assert named(put, ("put", "uv", 6, 7), ("get", "xy", 8, 9)) == ("stale-read", (0, 1, 2))
    two: list[Line] = [put, ("put", "uv", 4, 5), ("append", "ab", 6, 7), ("append", "cd", 8, 9)]
    assert named(*two, ("get", "xyab", 10, 15), ("get", "uvcd", 10, 15))[0] == "split-brain"


def test_two_lineages() -> None:
    both: list[Line] = [("append", "ab", 0, 9), ("append", "cd", 0, 9)]
    assert named(*both, ("get", "ab", 2, 5), ("get", "cd", 3, 6)) == ("split-brain", (0, 1, 2, 3))
    assert named(*both, ("get", "abcd", 2, 5), ("get", "cdab", 3, 6)) == ("reordered", (0, 1, 2, 3))
    assert named(*both, ("put", "xy", 0, 9), ("get", "ab", 0, 9), ("get", "xyab", 0, 9))[0] == "split-brain"


def test_equal_texts() -> None:
    twice: list[Line] = [("append", "ab", 0, 1), ("append", "ab", 4, 5)]
    assert valid(*twice, ("get", "ab", 2, 3), ("get", "abab", 6, 7))
    assert named(*twice, ("get", "ab", 6, 7)) == ("stale-read", (0, 1, 2))
    assert named(*twice, ("get", "ababab", 6, 7))[0] == "duplicate"
    assert valid(*twice, ("put", "ab", 8, 9), ("get", "ab", 10, 11))
    assert valid(("append", "ab", 0, 1), ("put", "ab", 2, 5), ("get", "ab", 3, 4))
    assert valid(("append", "ab", 0, 1), ("put", "xy", 2, 3), ("append", "ab", 4, 5), ("get", "xyab", 6, 7))
    puts: list[Line] = [("put", "ab", 0, 1), ("put", "xy", 4, 5), ("put", "ab", 8, 9)]
    assert valid(*puts, ("get", "ab", 2, 3), ("get", "xy", 6, 7), ("get", "ab", 10, 11))
    assert named(*puts, ("get", "ab", 2, 3), ("get", "ab", 6, 7))[0] == "stale-read"


def test_texts_that_cannot_be_told_apart_are_left_to_the_search() -> None:
    assert decide_append(history(("append", "a", 0, 1), ("append", "ab", 2, 3)), KeyValue()) is None
    assert decide_append(history(("append", "", 0, 1)), KeyValue()) is None
    assert decide_append(history(A), KeyValue(initial="x")) is None


def test_every_key_is_a_string_of_its_own() -> None:
    ops = [
        Operation(process=0, f="append", value="ab", key="x", invoked=0, completed=1),
        Operation(process=0, f="get", value="ab", key="x", invoked=2, completed=3),
        Operation(process=0, f="get", value="ab", key="y", invoked=4, completed=5),
        Operation(process=0, f="put", value="", key="z", invoked=6, completed=7),
    ]
    made = History.of(ops)
    status = decide(made, KeyValue())
    assert [int(status[1 + made.keys.index(key)]) for key in "xyz"] == [VALID, INVALID, UNDECIDED]


FILES = json.loads((SHARED / "verdicts.json").read_text()) if SHARED.exists() else []


@pytest.mark.skipif(not FILES, reason="the shared histories are not here")
@pytest.mark.parametrize(
    ("file", "unpartitioned", "expected"),
    [(e["file"], "unpartitioned" in e["model"], e["expected"]) for e in FILES if e["model"].startswith("kv")],
)
def test_files_of_others(file: str, unpartitioned: bool, expected: bool) -> None:
    """The verdict of all keys together is that of the keys apart: linearizability is local."""
    verdict = check(formats.read(SHARED / file).history, KeyValue())
    assert (verdict.validity == "valid") is expected
    assert verdict.validity != "unknown"
    for anomaly in verdict.anomalies:
        alone = check(History.of(anomaly.operations), KeyValue())
        assert [a.identifier for a in alone.anomalies] == [anomaly.identifier]
