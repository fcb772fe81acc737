"""Plain events of EDN that machine code rewrites are the history, and the errors, that the reader of all EDN finds."""

from __future__ import annotations

from functools import partial
from io import BytesIO
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import machine_code
from splitbrain.harness.history.builder import Builder
from splitbrain.harness.history.formats import edn, plain
from splitbrain.harness.history.formats.text import Text, line_and_column
from splitbrain.harness.history.history import History
from splitbrain.harness.history.texts import parsed
from tests.conftest import HISTORIES

COLUMNS = ("process", "invoked", "completed", "outcome", "f", "key", "error", "node", "server", "scheduled", "index", "kind")


def columns(history: History) -> list[Any]:
    told = [getattr(history, name).tolist() for name in COLUMNS]
    values, micros = history.values, history.values.micros
    told += [history.timed, history.fs, history.keys, history.errors, history.nodes, history.seen, history.details]
    told += [list(map(repr, values)), values.kind.tolist(), list(map(repr, values.objects))]
    if micros is not None:
        told += [column.tolist() for column in (micros.start, micros.f, micros.key, micros.value, micros.list_values)]
        told += [micros.keys, micros.objects]
    return told


def told(data: bytes, torn: bool, way: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A history with all that is told of it, or what is wrong."""
    monkeypatch.setattr(edn, "Plain", way)
    builder = Builder("x", clock="file", where=line_and_column)
    try:
        notes = edn.read(Text(BytesIO(data), "x", torn=torn), builder, torn=torn)
        return columns(builder.history()), notes, builder.rising, builder.timed, dict(builder.shapes.of)
    except HistoryError as error:
        return str(error)


class Nothing(plain.Plain):
    """Takes no event."""

    def take(self, at: int) -> int:
        return at


class Counting(plain.Plain):
    """Counts how much is taken of all texts."""

    taken = 0

    def take(self, at: int) -> int:
        behind = super().take(at)
        Counting.taken += behind - at
        return behind


def compare(data: bytes, piece: int = 1 << 20, batch: int = 32768) -> None:
    """See that both ways find the same."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(plain, "COMPILED_FROM", 0)
        patched.setattr("splitbrain.harness.history.formats.text.PIECE", piece)
        patched.setattr("splitbrain.harness.history.builder.BATCH", batch)
        patched.setattr("splitbrain.harness.history.micros.parsed", partial(parsed, compiled=False))
        for torn in (False, True):
            expected = told(data, torn, Nothing, patched)
            assert told(data, torn, partial(Counting, compiled=False), patched) == expected



SPACES = (" ",) * 12 + (", ", ",", "\n", "\t", "\r\n", " ,,", " ;x\n", " #_ 1 ", "\x0b")
PARTS = (":x", "1", "-1", "7", "nil", "true", '"s"') * 4 + (
    "0", "-0", "007", "+5", "999999999999999999", "-999999999999999999", "1000000000000000000", "9223372036854775807",
    "-9223372036854775808", "4611686018427387904", "99999999999999999999", "3N", "1.5", "2M", "1/2", "1x", "0x1f", "-", "1e5",
    ":a/b", ":a.b", ":a-b_c", ":é", ":a?", "::a", ":1", ":", ":read", ":overlong", "sym", "nilly", "nil/x", "truely", "false",
    '"a"', '""', '"a b]}"', '":ok"', '"é"', '"a?b"', r'"\n"', r'"\""', '"\n"', r"\a", r"\]", "#{1 2}", "{:a 1}", "(1 2)",
    '#inst "x"', "##NaN", "[1][2]", "[" * 7 + "1" + "]" * 7, "[" * 8 + "1" + "]" * 8, "\x00", "\x7f", "é", "{:type :ok}",
    "1:a", ":a:b", "1[2]", ":a[2]", "[1]2", "[", "]", "", '1"a"', '"a"1', '"a', '"\x7f"', "nil[1]", "-x", ":ok", "[:a -]",
    "#a 1", "?" * 8, r'"\101"', r'"\q"',
)
FIELDS = (":time", ":index", ":error", ":key", ":type", ":process", ":f", ":value", ":kind", ":node", ":other", ":typ", "type",
          '"type"', ":types", ":e/type")
BREAKS = ("", "[", "]", "{", "}", '"', "\\", "#", "#_", ":", ",", ";", "\n", "1", " ", "?", "é", "(", "#a", "#a.B/c{", "nil")


def a_value(rng: Random, depth: int = 0) -> str:
    if depth < 3 and rng.random() < 0.3:
        between = rng.choice(SPACES)
        return "[" + between.join(a_value(rng, depth + 1) for _ in range(rng.randrange(4))) + "]"
    return rng.choice(PARTS) if rng.random() < 0.2 else rng.choice(PARTS[:5])


def a_transaction(rng: Random, kind: str) -> str:
    micros = []
    for _ in range(rng.randrange(4)):
        f = rng.choice((":r", ":append") * 5 + (":w", ":read", ":write", '"r"'))
        key = str(rng.randrange(4)) if rng.random() < 0.95 else a_value(rng)
        lists = "[" + " ".join(str(rng.randrange(9)) for _ in range(rng.randrange(4))) + "]"
        value = str(rng.randrange(9)) if f not in (":r", ":read", '"r"') else lists if kind == "ok" else "nil"
        micros.append(f"[{f} {key} {value if rng.random() < 0.95 else a_value(rng)}]")
    return "[" + rng.choice((" ", " ", ", ", "")).join(micros) + "]"


def a_file(rng: Random) -> bytes:
    """Operations of a few clients as EDN, most of them plain: `rng` says how many are not, and how the file is broken."""
    oddity, transactions = rng.choice((0, 0, 0.01, 0.03, 0.2)), rng.choice((0.0, 1.0, 1.0, 0.5))
    running: dict[int, tuple[str, str]] = {}
    lines = []
    for number in range(rng.randrange(12)):
        process = rng.randrange(4)
        if process in running:
            kind = rng.choice(("ok", "ok", "ok", "fail", "info"))
            f, value = running.pop(process)
            if kind == "ok":
                value = a_transaction(rng, kind) if f == ":txn" else a_value(rng)
            running |= {} if kind != "info" else {process: (f, value)}
        else:
            f, kind = ":txn" if rng.random() < transactions else rng.choice((":read", ":write", ":cas", ":drain")), "invoke"
            value = a_transaction(rng, kind) if f == ":txn" else a_value(rng)
            running[process] = f, value
        pairs = [(":type", f":{kind}"), (":process", str(process)), (":f", f), (":value", value)]
        pairs += [(":time", str(number * 10))] * (oddity != 0.2) + [(":index", str(number))] * rng.randrange(2)
        if kind in ("fail", "info"):
            pairs += [(":error", rng.choice((":timeout", "[:a :b]", '"it broke"', "nil", a_value(rng))))]
        if rng.random() < oddity:
            pairs += [(rng.choice(FIELDS), a_value(rng))]
        if rng.random() < oddity:
            pairs[rng.randrange(len(pairs))] = rng.choice(FIELDS[:8]), rng.choice(PARTS)
        if rng.random() < oddity:
            pairs.pop(rng.randrange(len(pairs)))
        rng.shuffle(pairs)
        space = rng.choice(SPACES) if rng.random() < oddity else " "
        told = (space + rng.choice((" ", ", ", ",\n "))).join(f"{name}{space}{one}" for name, one in pairs)
        tag = rng.choice(("", "", "#jepsen.history.Op", "#a ", "#_ ")) if rng.random() < oddity * 2 else ""
        lines.append(f"{tag}{{{told}}}")
        if rng.random() < oddity:
            lines.append(rng.choice(("{:type :info :f :start :process :nemesis :value nil}", "; é ?", *PARTS)))
    text = rng.choice(("{}", "{}\n", "[{}]", "({})", "[{}]\n", "; x\n[\n{}\n]") * 2 + ("[{}", "[[{}]]", "#a [{}]")).replace(
        "{}", rng.choice(("\n", "\n ", " ", "", ",\n")).join(lines))
    for _ in range(rng.choice((0, 0, 0, 0, 0, 0, 1, 2))):
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice(BREAKS) + text[at + rng.randrange(3):]
    data = text.encode()
    return data if rng.random() < 0.9 else data[: rng.randrange(len(data) + 1)]


@settings(max_examples=50)
@given(st.randoms(use_true_random=False), st.sampled_from((1, 7, 40, 300, 1 << 20)), st.sampled_from((1, 3, 32768)))
def test_plain_events_are_read_as_all_others(rng: Random, piece: int, batch: int) -> None:
    compare(a_file(rng), piece, batch)


@pytest.mark.parametrize("field", FIELDS[:9])
def test_every_value_in_every_field(field: str) -> None:
    fields = {":type": ":invoke", ":process": "3", ":f": ":txn", ":value": "[[:r 1 nil]]"}
    for part in sorted(set(PARTS)):
        for value in (part, f"[{part}]") if field in (":value", ":error", ":key") else (part,):
            told = " ".join(f"{name} {one}" for name, one in (fields | {field: value}).items())
            compare(f"{{{told}}}\n{{:type :ok :f :txn :process 3}}".encode())


@pytest.mark.parametrize("event", [
    "{:type :invoke :process 3 :f :txn :value [[:r 1 nil]] :time 1}", "{:type :invoke, :process 3, :f :txn, :value}",
    "{:type :invoke:process 3 :f :txn}", "{:type:invoke,:process 3,:f:txn}",
    "{:f :read :process 3 :type :invoke :value[[:r 1]]}", "{:type :invoke :subprocess 3 :f :txn}",
    "{:type :invoke\n :process 3 :f :txn :value [[:r 1 nil]]}",
    f"{{:type :invoke :process 3 :f :read :value {'[' * 201 + ']' * 201}}}",
    "{:process 3 :type :invoke :f :txn :value ]}", "{:process 3 :type :invoke :f :txn :value [}", "{:type :invoke :process 3}",
    "{:type :invoke :process 3 :f :txn :type :invoke}", "{:type :invoke :process 3 :f :txn :kind :read}", "{}", "{1 2}",
])
def test_every_place_of_an_event(event: str) -> None:
    for around in ("{}", "#{}", "# {}", "#1{}", "#a{}", "#a/b.c_d{}", "#a {}", "#a #b{}", "{}{}", "{}]", "[{}", "{} #", '"{}"'):
        compare(around.replace("{}", event).encode())


FILES = sorted((HISTORIES / "transactions").rglob("*.edn"), key=lambda path: path.stat().st_size)[:20]


@pytest.mark.skipif(not FILES, reason="needs the recorded histories")
def test_recorded_histories_are_the_same_by_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(plain, "COMPILED_FROM", 0)
    monkeypatch.setattr(plain, "TO_COMPILE", 0)
    monkeypatch.setattr(Counting, "taken", 0)
    for path in FILES:
        data = path.read_bytes()
        assert told(data, False, Counting, monkeypatch) == told(data, False, Nothing, monkeypatch), path
    assert Counting.taken > 0.9 * sum(path.stat().st_size for path in FILES)


@pytest.mark.parametrize("odd", [
    "{:type :info :f :start :process :nemesis :value {:a 1}}", '{:type :invoke :process 99 :f :txn :value [[:append "é" 1]]}',
    "{:type :invoke :process 99 :f :write :value 007}", "",
])
def test_what_is_not_plain_costs_only_itself(odd: str) -> None:
    lines = [
        f"{tag}{{:index {at}, :time {at}, :type :{kind}, :process {at // 2}, :f :txn, :value [[:append 1 {at}] [:r 2 {read}]]}}"
        for at, (tag, kind, read) in enumerate((("", "invoke", "nil"), ("#jepsen.history.Op", "ok", "[1 2]")) * 20)
    ]
    lines[10:10] = [odd]
    data = "\n".join(lines).encode()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Counting, "taken", 0)
        compare(data)
        assert Counting.taken == 2 * (len(data.decode()) - (len(f"{odd}\n") if odd else 0))


class Willing(plain.Plain):
    """Tells whether it would take the events of the last piece, and takes none."""

    last = False

    def take(self, at: int) -> int:
        if self._piece is not self._text.text:
            self._look_at(self._text.text)
        Willing.last = self.ready
        return at


@pytest.mark.parametrize(("events", "kept", "willing"), [
    (10, True, False), (50, True, True), (50, False, False), (100, False, True),
])
def test_machine_code_is_compiled_only_for_a_long_file(
    events: int, kept: bool, willing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = b"{:type :invoke, :process 1, :f :read, :value nil}\n"
    monkeypatch.setattr(plain, "COMPILED_FROM", 20 * len(event))
    monkeypatch.setattr(plain, "TO_COMPILE", 40 * len(event))
    monkeypatch.setattr(machine_code, "kept", lambda function: kept)
    monkeypatch.setattr(machine_code, "available", lambda: True)
    told(events * event, False, Willing, monkeypatch)
    assert Willing.last is willing
