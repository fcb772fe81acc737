"""The same events are the same history and get the same verdict, in whichever format they are written."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.check import check_file
from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import formats
from tests.conftest import ROOT

Told = dict[str, Any]

LOGGERS = (
    "",
    "INFO  jepsen.util - ",
    "INFO [2017-03-30 22:26:45,322] jepsen worker 4 - jepsen.util ",
    "2022-07-28 07:53:02,859{GMT}\tINFO\t[jepsen worker 2] jepsen.util: ",
    "2015-01-01 00:00:00 INFO jepsen.print: ",
)


def edn(value: Any) -> str:
    if isinstance(value, list):
        return "[" + " ".join(map(edn, value)) + "]"
    return "nil" if value is None else str(value)


def edn_map(event: Told) -> str:
    names = " ".join(f":{name} {edn(told)}" for name, told in event.items() if name in ("process", "value"))
    error = f" :error :{event['error']}" if "error" in event else ""
    return f"{{:type :{event['type']}, :f :{event['f']} {names}{error}}}"


def log_line(event: Told) -> str:
    error = f"\t:{event['error']}" if "error" in event else ""
    return f"{event['process']}\t:{event['type']}\t:{event['f']}\t{edn(event['value'])}{error}\n"


def written(events: list[Told]) -> dict[str, str]:
    """The events in every format."""
    maps = [edn_map(event) for event in events]
    nemesis = {"type": "info", "f": "start", "process": "nemesis", "value": None}
    texts = {
        "vector": "[" + "\n ".join(maps) + "]",
        "list": "; a comment\n(" + ",\n".join(maps) + ")",
        "bare": "{:type :info :f :start :process :nemesis :value #object[x 1]}\n" + "\n".join(maps),
        "tagged": "\n".join("#jepsen.history.Op" + one for one in maps),
        "array": json.dumps([nemesis, *events]),
        "lines": "".join(json.dumps(one) + "\n" for one in events),
        "lines, lenient": "".join(json.dumps(one | {"process": str(one.get("process"))}) + "\n" for one in [nemesis, *events]),
    }
    for number, logger in enumerate(LOGGERS):
        other = f"{logger}Waiting for TCP port 2379 ...\n" if "util" in logger else ""
        texts[f"log {number}"] = other + "".join(logger + log_line(event) for event in events)
    return texts


@st.composite
def histories(draw: Any) -> list[Told]:
    """Calls on registers, plain or with independent keys, with versions or without, a cas also as a triple."""
    keyed, versioned = draw(st.booleans()), draw(st.booleans())
    triples = keyed and not versioned and draw(st.booleans())
    calls = draw(st.lists(
        st.tuples(st.sampled_from(["read", "write", "cas"]), st.integers(0, 3), st.integers(0, 3), st.integers(0, 1),
                  st.sampled_from(["ok", "ok", "ok", "fail", "info"])), min_size=1, max_size=8,
    ))
    events: list[Told] = []
    open_calls: list[Told] = []

    def dressed(value: Any, key: int, version: int | None) -> Any:
        value = [version, value] if versioned else value
        return [key, value] if keyed else value

    for process, (f, a, b, key, outcome) in enumerate(calls):
        value: Any = a if f == "write" else [a, b] if f == "cas" else None
        answer = a if f == "read" and outcome == "ok" else value
        begin, end = dressed(value, key, None), dressed(answer, key, 7 if outcome == "ok" else None)
        if f == "cas" and triples:
            begin = end = [key, a, b]
        told = {"type": outcome, "f": f, "process": process, "value": end}
        events.append({"type": "invoke", "f": f, "process": process, "value": begin})
        open_calls.append(told | ({} if outcome == "ok" else {"error": "timeout"}))
        while open_calls and draw(st.booleans()):
            events.append(open_calls.pop(draw(st.integers(0, len(open_calls) - 1))))
    return events + open_calls


@settings(max_examples=25)
@given(histories())
def test_the_same_events_are_the_same_history_and_verdict(events: list[Told]) -> None:
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, text in written(events).items():
            path = Path(folder) / "history"
            path.write_text(text)
            checked = check_file(path, nil="absent", time_limit=20)
            history = checked.recording.history
            rows = [(op.process, op.f, op.key, op.value, op.outcome, op.invoked, op.completed) for op in history]
            found[name] = (rows, checked.model, checked.verdict.validity, checked.result.reason)
    assert all(one == found["vector"] for one in found.values()), found


LINES = written([
    {"type": "invoke", "f": "write", "process": 0, "value": 1}, {"type": "ok", "f": "write", "process": 0, "value": 1},
])


def test_a_stored_history_that_tells_nothing_hides_none_that_does(tmp_path: Path) -> None:
    (tmp_path / "history.txt").write_text("0\t:invoke\t:write\t1\n0\t:ok\t:write\t1\n")
    for nothing in (b"", b"\n"):
        (tmp_path / "history.edn").write_bytes(nothing)
        (tmp_path / "history.edn.gz").write_bytes(gzip.compress(nothing))
        assert formats.read(tmp_path).format == "jepsen-log" and len(formats.read(tmp_path).history) == 1
    (tmp_path / "history.txt").unlink()
    assert not len(formats.read(tmp_path).history)
    (tmp_path / "history.edn").write_text("[{:type :invoke")
    with pytest.raises(HistoryError, match=r"history\.edn:1:"):
        formats.read(tmp_path)


def test_compressed_and_stored_histories(tmp_path: Path) -> None:
    path = tmp_path / "history.edn.gz"
    path.write_bytes(gzip.compress(LINES["vector"].encode()))
    assert len(formats.read(path).history) == 1
    assert len(formats.read(tmp_path).history) == 1
    whole = path.read_bytes()
    for damaged in (whole[:-12], whole[:-8] + b"damaged."):
        path.write_bytes(damaged)
        with pytest.raises(HistoryError, match=r"history\.edn\.gz:1:1: cannot be decompressed"):
            formats.read(path)
    path.unlink()
    (tmp_path / "test.jepsen").write_bytes(b"JEPSEN\x00\x01")
    for where in (tmp_path, tmp_path / "test.jepsen"):
        with pytest.raises(HistoryError, match=r"Jepsen's own binary format: give the history\.edn"):
            formats.read(where)


@pytest.mark.parametrize("where", ["-", "/dev/stdin"])
def test_pipes(where: str) -> None:
    for name in ("vector", "lines", "log 0"):
        ran = subprocess.run(
            [sys.executable, "-m", "splitbrain.harness.cli", "check", where], input=LINES[name], capture_output=True, text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, check=False,
        )
        assert (ran.returncode, ran.stdout[:16]) == (0, "NO ANOMALY FOUND"), ran.stderr


@pytest.mark.parametrize("line", [
    b'{:type :invoke, :process 1, :f :read, :value nil}\n{:type :ok, :process 1, :f :read, :value 1}\n',
    b'{"type":"invoke","process":1,"f":"read"}\n{"type":"ok","process":1,"f":"read","value":1}\n',
    b'{"type":"invoke","process":1,"f":"read","value":"' + b"x" * 10_000,
])
@pytest.mark.parametrize("many", [10, 1_000_000])
def test_a_pipe_is_read_up_to_a_limit(line: bytes, many: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitbrain.harness.history.formats.source.PIPE_LIMIT", 1 << 20)
    path = tmp_path / "pipe"
    os.mkfifo(path)

    def write() -> None:
        with contextlib.suppress(BrokenPipeError), path.open("wb", buffering=0) as pipe:
            for _ in range(many):
                pipe.write(line)

    writer = threading.Thread(target=write)
    writer.start()
    if many > 10:
        with pytest.raises(HistoryError, match=r"pipe: gives more than 1 MiB, unpacked: write it to a file and give that\.\Z"):
            formats.read(path)
    elif line.endswith(b"\n"):
        assert len(formats.read(path).history) == many
    else:
        with pytest.raises(HistoryError, match="pipe:1:10052: expected JSON"):
            formats.read(path)
    writer.join()


def test_what_would_never_end_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("splitbrain.harness.history.formats.source.PATIENCE", 0.1)
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path / "pipe", "nobody wrote into this pipe"), (Path("/dev/zero"), "it is a device"),
        (tmp_path / ("x" * 300), "cannot be read: file name too long"), (tmp_path, "it is a folder, neither of a run of ours"),
    ):
        with pytest.raises(HistoryError, match=message) as raised:
            formats.read(path)
        assert raised.value.exit_code == 64
