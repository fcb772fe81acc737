"""The sums of many lines at once, against one line after the other."""

from __future__ import annotations

import re
import zlib

from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.history.sums import summed

SUMS = st.integers(0, (1 << 32) - 1)
BODIES = st.lists(st.binary(max_size=30).map(lambda body: body.replace(b"\n", b" ")), min_size=1, max_size=6)
TOLD = re.compile(rb',"sum":"([0-9a-f]{8})"\}\n')


def written(bodies: list[bytes], sum: int) -> list[bytes]:
    lines = []
    for body in bodies:
        sum = zlib.crc32(body, sum)
        lines.append(b'%b,"sum":"%08x"}\n' % (body, sum))
    return lines


def one_by_one(text: bytes, sum: int) -> int | None:
    for line in re.findall(rb"[^\n]*\n|[^\n]+", text):
        told = TOLD.search(line)
        if told is None or told.end() != len(line) or (sum := zlib.crc32(line[: told.start()], sum)) != int(told[1], 16):
            return None
    return sum


@given(BODIES, SUMS)
def test_lines_with_the_right_sums_tell_the_last(bodies: list[bytes], sum: int) -> None:
    lines = written(bodies, sum)
    assert summed(b"".join(lines), sum) == int(TOLD.findall(lines[-1])[-1], 16)


@given(BODIES, SUMS, st.data())
def test_what_was_changed_anywhere_is_found(bodies: list[bytes], sum: int, data: st.DataObject) -> None:
    text = bytearray(b"".join(written(bodies, sum)))
    for at in data.draw(st.lists(st.integers(0, len(text) - 1), min_size=1, max_size=3)):
        text[at] ^= 1 << data.draw(st.integers(0, 7))
    changed = bytes(text)
    assert summed(changed, sum) == one_by_one(changed, sum)


@given(BODIES, SUMS, st.data())
def test_a_line_that_is_missing_came_twice_or_elsewhere_is_found(bodies: list[bytes], sum: int, data: st.DataObject) -> None:
    lines = written(bodies, sum)
    some = data.draw(st.lists(st.sampled_from(lines), max_size=8))
    text = b"".join(some)
    assert summed(text, sum) == (one_by_one(text, sum) if some else None)


@given(BODIES, SUMS, st.data())
def test_what_is_no_whole_line_with_a_sum_has_none(bodies: list[bytes], sum: int, data: st.DataObject) -> None:
    text = b"".join(written(bodies, sum))
    cut = data.draw(st.integers(0, len(text) - 1))
    assert summed(text[:cut], sum) == (one_by_one(text[:cut], sum) if text[:cut].endswith(b"\n") else None)
    assert summed(text[cut:], sum) == one_by_one(text[cut:], sum)
