"""Whatever a file holds, reading it ends in a history or in one clear error, and soon."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import formats
from splitbrain.harness.history.history import History

SEEDS = (
    b'[{:type :invoke, :f :read, :value nil, :process 0 :time 1 :error [:a "b"]}\n'
    b" {:type :ok, :f :read, :value 3N, :process 0}]",
    b'{:type :invoke :f :cas :value [1 [2 3]] :process 1} #_ x {:type :info :f :cas :value #{1 #inst "x"} :process 1} ; end\n',
    b'[{"type":"invoke","f":"write","value":-1.5e3,"process":0,"time":1},\n{"type":"ok","f":"write","value":[1],"process":0}]',
    b'{"type":"invoke","f":"write","value":1,"process":0,"time":1}\n{"type":"ok","value":null,"process":0,"time":2,"seen":[1]}\n',
    b'{"process":0,"f":"cas","value":[1,2],"invoked":1,"completed":2,"outcome":"fail","error":"mismatch","seen":[3]}\n',
    b"INFO  jepsen.util - 0\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 0 :fail :cas [1 2]\n",
    b"w(1,2,3,4)\nr(1,2,99999999999999999999,5)\nw(1,9,-3,-1)\n", b"r 1 2\n---\nw 1 3\n===\nr 1 3\n",
    b'{:process 0, :type :invoke, :f :get, :key "7", :value nil}\n{:process 0, :type :ok, :f :get, :key "7", :value "x"}\n',
)
SPLINTERS = (
    b"", b"[", b"]", b"{", b"}", b"(", b'"', b"\\", b"#", b"#_", b"#{", b":", b",", b";", b"\n", b"\r\n", b"\x00", b"\xff",
    b"\xc3", b"nil", b"null", b"99999999999999999999", b"1e999", b"-", b"##", b"\xef\xbb\xbf", b"[" * 300, b"9" * 5000,
    b":type", b"jepsen.util - ",
)


BYTE = re.compile(r"\(byte \d+\)\.\Z")
"""Where in a binary file, which has no lines. Cobra's logs are a folder: a file is refused as a whole."""


def read(data: bytes, format: formats.Format | None = None) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        path.write_bytes(data)
        for torn in (False, True):
            try:
                reading = formats.read(path, format, torn)
            except HistoryError as error:
                assert "\n" not in str(error)
                assert error.line >= 1 or BYTE.search(str(error)) or format == "cobra"
                continue
            assert isinstance(reading.history, History)
            assert len(list(reading.history)) == len(reading.history)


@given(st.binary(max_size=200))
def test_any_bytes(data: bytes) -> None:
    read(data)


@given(st.sampled_from(formats.FORMATS), st.lists(st.sampled_from(SPLINTERS + SEEDS), max_size=8))
def test_any_pieces_read_as_any_format(format: formats.Format, pieces: list[bytes]) -> None:
    read(b"".join(pieces), format)


breaks_anywhere = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 5), st.sampled_from(SPLINTERS)), max_size=4)


@given(st.sampled_from(SEEDS), breaks_anywhere)
def test_good_files_broken_somewhere(seed: bytes, breaks: list[tuple[int, int, bytes]]) -> None:
    for at, gone, splinter in breaks:
        at %= len(seed) + 1
        seed = seed[:at] + splinter + seed[at + gone :]
    read(seed)


SESSIONS = (
    b"w(1,7,9,9)\nw(2,7,9,9)\nw(3,7,9,9)\nr(1,7,0,1)\nw(2,5,1,2)\nr(3,0,0,1)\nw(1,8,1,-1)\n",
    b"w 1 0\nw 2 0\n===\nr 1 0\nw 1 3\n--\nr 2 18446744073709551616\n",
    b"w 1 " + b"9" * 5000 + b"\n", b"r(1," + b"9" * 5000 + b",0,0)\n",
)


def told(path: Path, format: formats.Format | None, torn: bool) -> object:
    """A history as it is read, or that there is something wrong."""
    try:
        history, format, notes, shapes = formats.read(path, format, torn)
    except HistoryError:
        return "wrong"
    return format, list(map(repr, history)), notes, history.timed, dict(shapes.of)


@given(
    st.sampled_from((*SEEDS, *SESSIONS)), breaks_anywhere, st.sampled_from((None, None, *formats.FORMATS)), st.integers(1, 40)
)
def test_the_size_of_the_pieces_matters_nothing(
    seed: bytes, breaks: list[tuple[int, int, bytes]], format: formats.Format | None, size: int
) -> None:
    for at, gone, splinter in breaks:
        at %= len(seed) + 1
        seed = seed[:at] + splinter + seed[at + gone :]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "history"
        path.write_bytes(seed)
        for torn in (False, True):
            whole = told(path, format, torn)
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr("splitbrain.harness.history.formats.text.PIECE", size)
                assert told(path, format, torn) == whole


MEGABYTES = 5_000_000
HUGE = (
    b"[" * 100_000,
    b"{:a " * 100_000,
    b'{"type":' * 100_000,
    b"#{" * 100_000,
    b"#_" * 100_000,
    b"(" * 50_000 + b")" * 50_000,
    b'{"type":"invoke","process":0,"f":"write","value":' + b"[" * 100_000 + b"]" * 100_000 + b"}\n",
    b'{"type":"invoke","process":0,"f":"write","value":' + b"9" * 1_000_000 + b"}\n",
    b"{:type :invoke :process 0 :f :write :value " + b"9" * 1_000_000 + b"}",
    b"INFO  jepsen.util - 0 :invoke :write " + b"9" * 1_000_000 + b"\n",
    b'{"' + b"x" * MEGABYTES,
    b'{:a "' + b"\\" * MEGABYTES,
    b" " * MEGABYTES,
    b"," * MEGABYTES,
    b";" * MEGABYTES,
    b"jepsen.util -" + b" " * MEGABYTES,
    b"jepsen.util" * 500_000,
    b"\x00" * MEGABYTES,
    b"[" + b"{" * MEGABYTES,
)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("format", formats.FORMATS)
@pytest.mark.parametrize("data", HUGE, ids=range(len(HUGE)))
def test_nothing_takes_long(data: bytes, format: formats.Format) -> None:
    """A second or two each; what grows faster than its file would take hours."""
    read(data, format)


@pytest.mark.parametrize("line", ["w(1,2,99999999999999999999,4)", "w(1,2,3,-2)"])
def test_a_session_or_transaction_that_cannot_be_is_refused_with_its_line(line: str, tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text(f"w(1,1,1,1)\n{line}\n")
    with pytest.raises(HistoryError, match=r"history\.txt:2:1: expected a session of at most 64 bits"):
        formats.read(path, "plume")
