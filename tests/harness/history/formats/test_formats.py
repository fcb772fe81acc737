"""Every format: what is read, how the format is found, and what is said of a file that is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitbrain.harness.errors import HistoryError, UsageError
from splitbrain.harness.history import formats
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import porcupine_kv
from splitbrain.harness.history.formats.edn import read as read_edn
from splitbrain.harness.history.formats.text import Text, line_and_column
from tests.conftest import HISTORIES

PUBLISHED = ("elle", "elle-cli", "etcd", "knossos", "kv")
needs_histories = pytest.mark.skipif(not HISTORIES.is_dir(), reason="the histories of others are not here")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "history"


def rows(path: Path, *, torn: bool = False) -> list[tuple[Any, ...]]:
    history = formats.read(path, torn=torn).history
    return [(op.process, op.f, op.key, op.value, op.outcome, op.error, op.invoked, op.completed) for op in history]


EDN = "[{:type :invoke, :f :write, :value 1, :process 0}\n {:type :ok, :f :write, :value 1, :process 0}]"
LINES = EDN[1:-1]
JSON = '[{"type":"invoke","f":"write","value":1,"process":0},\n{"type":"ok","f":"write","value":1,"process":0}]'
JSONL = JSON[1:-1].replace("},", "}") + "\n"
LOG = "INFO  jepsen.util - 0\t:invoke\t:write\t1\nINFO  jepsen.util - 0 :ok :write 1\n"
KV = (
    '{:process 0, :type :invoke, :f :put, :key "k", :value "1"}\n{:process 0, :type :ok, :f :put, :key "k", :value "1"}\n'
)


@pytest.mark.parametrize(
    ("text", "format"),
    [
        (EDN, "edn"),
        (EDN.replace("[", "(").replace("]", ")"), "edn"),
        ("; a comment\n,," + EDN, "edn"),
        (LINES, "edn"),
        ("#jepsen.history.Op" + LINES.replace("\n ", "\n#jepsen.history.Op"), "edn"),
        (JSON, "elle-cli"),
        (JSON.replace("[", " [\n  ").replace("},", "} ,"), "elle-cli"),
        (JSONL, "jsonl"),
        (JSONL.rstrip(), "jsonl"),
        ('{"process":0,"f":"write","value":1,"invoked":0,"completed":1}\n', "jsonl"),
        (LOG, "jepsen-log"),
        ("2020-05-05 12:00:00,123{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:invoke\t:write\t1\n"
         "2020-05-05 12:00:00,124{GMT}\tINFO\t[jepsen worker 0] jepsen.util: 0\t:ok\t:write\t1\n", "jepsen-log"),
    ],
)
@pytest.mark.parametrize("dressed", ["plain", "bom", "crlf"])
def test_one_write_in_every_format(file: Path, text: str, format: str, dressed: str) -> None:
    file.write_bytes({"plain": "", "bom": "\ufeff", "crlf": ""}[dressed].encode() + text.encode())
    if dressed == "crlf":
        file.write_bytes(text.replace("\n", "\r\n").encode())
    assert formats.detect(file) == format
    assert rows(file) == [(0, "write", None, 1, "ok", None, 0, 1)]


def test_key_value_lines(file: Path) -> None:
    file.write_text(KV)
    assert formats.detect(file) == "porcupine-kv"
    assert rows(file) == [(0, "put", "k", "1", "ok", None, 0, 1)]


@pytest.mark.parametrize("text", ["", "\n \n"])
def test_an_empty_file_is_an_empty_history(file: Path, text: str) -> None:
    file.write_text(text)
    assert rows(file) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b\n1,2\n", "1:1: expected the beginning of one of edn, elle-cli, jepsen-log, porcupine-kv, jsonl, plume, awdit, "
         "dbcop, cobra, found 'a,b"),
        ("[1 2]", "1:2: expected the map of an operation, found a number"),
        ("{:type :begin :process 0}", "1:1: expected type invoke, ok, fail or info, found 'begin'"),
        ("{:type :invoke :f :read :process 1.5}", "1:1: expected a number or a word as process, found 1.5"),
        ("{:type :invoke :process 1}", "1:1: expected a word as f, the function, found none"),
        ("{:type :invoke :f :read :process 1 :key [1]}", "1:1: expected a number or a word as key"),
        (EDN + " 1", "2:48: expected the end of the file after the end of the history"),
        (JSON + " 1", "2:50: expected nothing after the end of this JSON"),
        ('[{"type":"invoke"},\n {"process":"x","type":"ok"}]', "1:2: expected a word as f, the function, found none"),
        (JSON.replace('"ok"', '"done"'), "2:1: expected type invoke, ok, fail or info, found 'done'"),
        (JSON[:-1] + ', 3]', "2:50: expected the map of an operation, found a number"),
        (JSON.replace('1,"process":0}]', '1e999,"process":0}]'), "2:1: expected a number that fits"),
        ('{"type":"invoke","process":1.5,"f":"read"}\n', "1:1: expected a number or a word as process, found 1.5"),
        ('{"type":"invoke","process":1,"f":"read","time":1.5}\n', "1:[0-9]+: expected a number or null as time"),
        *[(JSONL.replace('"ok"', f'"{word}"'), f"2:1: expected type invoke, ok, fail or info, found '{word}'")
          for word in ("OK", ":ok", "okay", "Ok ", "success")],
        *[(JSONL.replace('"invoke"', f'"{word}"'), f"1:1: expected type invoke, ok, fail or info, found '{word}'")
          for word in ("INVOKE", "invocation", "phase")],
        (LINES.replace(":ok", ":okay"), "2:2: expected type invoke, ok, fail or info, found 'okay'"),
        (LOG.replace(":ok", ":okay"), "2:21: expected type invoke, ok, fail or info, found 'okay'"),
        ('{"type":"header"}\n' + JSONL.replace('"ok"', '":OK"'), "3:1: expected type invoke, ok, fail or info, found ':OK'"),
        ('{"type":"invoke","process":0,"f":"read"}\n{"type"}\n', "2:8: expected JSON, found '}'"),
        ('{"a":1}\n', "1:1: expected an operation, found one that is wrong .*missing required field `process`"),
        (JSONL + '{"process":0,"f":"read","invoked":9}\n', "3:1: expected an event like the lines before, found an operation"),
        ('{"process":0,"f":"read","invoked":9}\n' + JSONL, "2:1: expected an operation like the lines before, found an event"),
        ('{"process":0,"f":"read","invoked":9,"completed":8}\n', "1:1: the operation completes before the time"),
        ('{"process":0,"f":"read","invoked":1,"completed":4}\n{"process":0,"f":"read","invoked":3,"completed":5}\n',
         "2:1: process 0 begins an operation before its last one completed"),
        (LOG + "INFO  jepsen.util - 0\t:invoke\t:write\n", "3:21: expected a process, a type, a function and a value"),
        (LOG + "INFO  jepsen.util - 0 :invoke :write [1\n", r"3:38: expected ']' at the end of this vector, found the end"),
        (LOG + "INFO  jepsen.util - 0\t:ok\t:write\t1\n", "3:1: process 0 completes an operation, but has none open"),
        (EDN.replace(":ok", ":info")[:-1] + EDN[1:], "2:48: process 0 acts again after an operation with the outcome info"),
    ],
)
def test_what_is_wrong_and_where(file: Path, text: str, message: str) -> None:
    file.write_text(text)
    with pytest.raises(HistoryError, match=f"^{file}:{message}") as raised:
        formats.read(file)
    assert raised.value.exit_code == 64
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("data", [b"\xff\xfe{", b'{"type":"\xff"}', b"{:type :\xff}"])
def test_bytes_that_are_no_utf8(file: Path, data: bytes) -> None:
    file.write_bytes(b"\n" + data)
    with pytest.raises(HistoryError, match=r"expected (UTF-8, found the byte|EDN, JSON)"):
        formats.read(file)


@pytest.mark.parametrize("value", [b"\xff", b"ab\xc3", rb"\ud800"])
def test_a_last_line_that_is_no_utf8_is_not_cut_short(file: Path, value: bytes) -> None:
    file.write_bytes(JSONL.encode() + b'{"type":"invoke","process":7,"f":"write","value":"' + value + b'"}')
    with pytest.raises(HistoryError, match=r":3:\d+: expected UTF-8, found "):
        formats.read(file, torn=True)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(HistoryError, match="cannot be read: "):
            formats.read(path)


def test_a_format_that_is_none(file: Path) -> None:
    file.write_text(EDN)
    with pytest.raises(UsageError, match="no format is called 'csv': there are edn, elle-cli"):
        formats.read(file, "csv")  # type: ignore[arg-type]


RICH_EDN = EDN.replace("1", '[-1.5e-3 "é\\n\\u00e9" nil true \\newline #{:a} #inst "x" #_ b {:c ##NaN}]')
RICH_JSON = JSON.replace("1", '[-1.5e-3,"é\\n\\u00e9",null,true,{"c":[-2]}]')


RICH_JSONL = RICH_JSON[1:-1].replace("},\n", "}\n") + "\n"


@pytest.mark.parametrize("text", [EDN, LINES, JSON, JSONL, LOG, KV, RICH_EDN, RICH_EDN[1:-1], RICH_JSON, RICH_JSONL])
def test_a_file_cut_anywhere(file: Path, text: str) -> None:
    """Cut short, a file is refused with its line, or proves itself whole; `torn` reads what is whole and says so."""
    data = text.encode()
    file.write_bytes(data)
    whole = rows(file)
    begun = [(*whole[0][:4], "info", None, 0, None)]
    for end in range(data.index(b"jepsen.util -") + 14 if text == LOG else 1, len(data)):
        file.write_bytes(data[:end])
        reading = formats.read(file, torn=True)
        found = rows(file, torn=True)
        assert found in ([], begun, whole), end
        try:
            assert rows(file) == found, end
        except HistoryError as error:
            assert "--torn judges" in str(error) or "found" in str(error)
            assert error.line in (1, 2)
            assert reading.notes[-1].endswith("left out"), end


def test_a_refused_cas_without_a_reason_is_a_mismatch_only_in_logs(file: Path) -> None:
    file.write_text("INFO  jepsen.util - 0 :invoke :cas [1 2]\nINFO  jepsen.util - 0 :fail :cas [1 2]\n")
    assert rows(file)[0][5] == "mismatch"
    file.write_text("{:type :invoke :f :cas :value [1 2] :process 0}{:type :fail :f :cas :process 0}")
    assert rows(file)[0][5] is None
    file.write_text("{:type :invoke :f :cas :value [1 2] :process 0}{:type :fail :f :cas :process 0 :error :mismatch}")
    assert rows(file)[0][5] == "mismatch"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (":timeout", "timeout"),
        ('[:not-found "no\\n lease"]', "not-found: no lease"),
        ('"a  b"', "a b"),
        ("nil", None),
        ("{:type X}", "{'type': 'X'}"),
        ('"' + "x" * 900 + '"', "x" * 200),
    ],
)
def test_reasons_of_any_shape(file: Path, error: str, reason: str | None) -> None:
    file.write_text("{:type :invoke :f :read :process 0}{:type :fail :f :read :process 0 :error " + error + "}")
    assert rows(file)[0][5] == reason


def test_times_count_only_where_they_rise(file: Path) -> None:
    events = "{:type :invoke :f :read :process 0 :time %d}{:type :ok :f :read :process 0 :time %d}"
    file.write_text(events % (5, 9))
    assert (rows(file)[0][6:], formats.read(file).history.timed) == ((5, 9), True)
    file.write_text(events % (9, 9))
    assert (rows(file)[0][6:], formats.read(file).history.timed) == ((0, 1), False)
    assert formats.read(file).notes == ["times do not rise with every event: the order of the file counts"]


def test_the_nemesis_and_other_lines_are_left_out(file: Path) -> None:
    file.write_text("{:type :info :f :start :process :nemesis}" + LINES + "{:type :info :f :stop :process :nemesis :value nil}")
    assert len(rows(file)) == 1
    assert formats.read(file).notes == ["2 events of the nemesis left out"]
    file.write_text("INFO  jepsen.core - hello\n" + LOG + "INFO  jepsen.util - :nemesis\t:info\t:stop\tnil\n")
    assert len(rows(file)) == 1
    assert formats.read(file).notes == ["2 other lines of the log left out"]


def test_what_a_log_tells_beside_values(file: Path) -> None:
    file.write_text(
        "INFO  jepsen.util - 0\t:invoke\t:write\t3\nINFO  jepsen.util - 0\t:info\t:write\t:timed-out\n"
        "INFO  jepsen.util - 1\t:invoke\t:cas\t[1 2]\nINFO  jepsen.util - 1\t:fail\t:cas\t[1 2]\t:no-leader\n"
        "INFO  jepsen.util - 2\t:invoke\t:read\tnil\nINFO  jepsen.util - 2\t:ok\t:read\tnil\n"
    )
    assert [row[1:6] for row in rows(file)] == [
        ("write", None, 3, "info", "timed-out"), ("cas", None, (1, 2), "fail", "no-leader"), ("read", None, None, "ok", None),
    ]


@needs_histories
@pytest.mark.parametrize("path", sorted(HISTORIES.glob("kv/*.txt")), ids=lambda path: path.name)
def test_key_value_lines_are_read_as_edn_would(path: Path) -> None:
    histories = []
    for read in (porcupine_kv.read, read_edn):
        builder = Builder(str(path), clock="file", where=line_and_column)
        read(Text.of(path.read_bytes(), str(path)), builder)
        histories.append(builder.history())
    fast, slow = histories
    assert len(fast) > 10
    assert list(fast) == list(slow)


@needs_histories
def test_the_same_history_in_two_formats() -> None:
    folder = HISTORIES / "elle-cli"
    assert list(formats.read(folder / "set_full.edn").history) == list(formats.read(folder / "set_full.json").history)


@needs_histories
@pytest.mark.parametrize(
    "path", [path for path in sorted(HISTORIES.glob("*/*.*")) if path.parent.name in PUBLISHED], ids=lambda path: path.name
)
def test_every_history_is_read_whole(path: Path) -> None:
    """As many invocations as the text names, but for the nemesis."""
    history, format, _, _ = formats.read(path)
    text = path.read_text()
    count = {"jepsen-log": ":invoke", "elle-cli": '"type":"invoke"'}.get(format, ":type :invoke")
    assert len(history) == text.count(count)
