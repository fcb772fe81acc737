"""`result.json`: what was encoded is decoded, and damage is told."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.result import Result, decode, encode
from splitbrain.harness.errors import HistoryError
from tests.reports import story

TEXT = encode(decode(encode(story.result(story.recording()))))


def test_what_was_encoded_is_decoded() -> None:
    assert encode(decode(TEXT)) == TEXT
    assert decode(TEXT) == msgspec.json.decode(TEXT, type=Result)


@given(at=st.integers(min_value=0, max_value=len(TEXT) - 1), bit=st.integers(min_value=0, max_value=7))
def test_no_bit_that_flips_changes_what_it_says(at: int, bit: int) -> None:
    damaged = bytearray(TEXT)
    damaged[at] ^= 1 << bit
    try:
        assert encode(decode(bytes(damaged))) == TEXT, "only the digest's own words may be damaged"
    except HistoryError as error:
        assert "result.json" in str(error)


def test_a_result_without_a_digest_is_an_older_one_and_one_that_is_none_is_refused() -> None:
    older = TEXT[: TEXT.index(b',\n  "digest"')] + b"\n}\n"
    assert encode(decode(older)) == TEXT
    for text in (b"", b"\xff", b"{}", b"[" * 100_000):
        with pytest.raises(HistoryError):
            decode(text)


def test_anomalies_of_a_stored_result_are_told_in_the_order_of_the_one_that_was_judged() -> None:
    counts = {"lost-write": 1, "split-brain": 2, "stale-read": 3, "non-monotonic-read": 4}
    made = story.result(story.recording())
    rows = (msgspec.structs.replace(made.scenarios[0], anomalies=counts),)
    stored = decode(encode(msgspec.structs.replace(made, counts=counts, outside=counts, scenarios=rows)))
    assert [list(one) for one in (stored.counts, stored.outside, stored.scenarios[0].anomalies)] == [list(counts)] * 3
