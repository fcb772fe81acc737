"""The journal: what was written is loaded, whole or torn at any byte."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from splitbrain.harness.errors import HistoryError, StorageError
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Cut, Fault, Proof
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.journal import FORMAT, Header, Invoke, Journal, load
from splitbrain.harness.history.operation import Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, Placement, Stall, View
from splitbrain.harness.history.variant import Claim, Variant
from splitbrain.harness.plan import Plan

HEADER = Header(
    run="r", plan=Plan(database="d", variant="v"), nodes=("n1", "n2"), started="2026-01-01T00:00:00+00:00", version="1",
    variant=Variant(name="v", summary="s", reads="home", writes="home", claim=Claim(text="t", source="s")),
)
OPERATIONS = (
    Operation(process=0, f="write", key=1, value=5, invoked=10, completed=20, node="n1", server="n2"),
    Operation(process=1, f="cas", key=1, value=(5, 6), invoked=12, completed=30, outcome="fail", error="mismatch", seen=(7,),
              node="n2", server="n2"),
    Operation(process=0, f="read", key=1, value=5, invoked=21, completed=31, node="n1", server="n2"),
    Operation(process=1, f="write", key=1, value=8, invoked=40, completed=50, outcome="info", error="timeout", node="n2",
              server="n2"),
    Operation(process=0, f="write", key=1, value=9, invoked=60, node="n1", server="n2", outcome="info"),
)

DEATH = Death(node="n2", service="server", time=55, code=-9, log=("oh", "no"))


def write(path: Path) -> None:
    journal = Journal(path)
    journal.header(HEADER)
    journal.phase("load", 5, ended=False)
    events = [(op.invoked, 0, op) for op in OPERATIONS] + [(op.completed, 1, op) for op in OPERATIONS if op.completed]
    for _, completed, op in sorted(events, key=lambda event: (event[0] or 0, event[1])):
        if completed:
            journal.complete(op)
        else:
            value = None if op.f == "read" else op.value
            journal.invoke(
                Invoke(time=op.invoked, process=op.process, f=op.f, key=op.key, value=value, node=op.node, server=op.server)
            )
    journal.fault(Fault(id=1, nemesis="halves", scenario="halves", started=15))
    proof = Proof(holds=True, acted=16, at=17, measured=(("n1", "n2"),))
    specs = (Cut((("n1", "n2"),)),)
    journal.fault(Fault(id=1, nemesis="halves", scenario="halves", started=15, specs=specs, in_force=16, proofs=(proof,)))
    journal.view(View(node="n1", primary="n2", time=3))
    journal.placement(Placement(key=1, replicas=("n1", "n2")))
    journal.death(DEATH)
    journal.stall(Stall(began=56, ended=58))
    journal.local_read(LocalRead(node="n1", key=1, value=5, time=70))
    journal.versions({"n1": "9"}, {"image": "nine:9"})
    journal.phase("load", 80, ended=True)
    journal.end(99, interrupted=False)
    journal.close()


def without_sums(path: Path) -> str:
    """The text of a journal as formats 1 and 2 wrote it."""
    return re.sub(r',"sum":"[0-9a-f]{8}"', "", path.read_text()).replace(f'"format":{FORMAT}', '"format":2', 1)


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    write(tmp_path / "journal.jsonl")
    header, recording = load(tmp_path / "journal.jsonl")
    assert header == HEADER
    assert [(op.process, op.f, op.outcome, op.invoked, op.node, op.server) for op in recording.history] == [
        (op.process, op.f, op.outcome, op.invoked, op.node, op.server) for op in OPERATIONS
    ]
    assert [op.value for op in recording.history if op.f != "cas"] == [5, 5, 8, 9]
    refused = next(op for op in recording.history if op.f == "cas")
    assert tuple(refused.value) == (5, 6) and refused.answered and tuple(refused.seen) == (7,)
    assert [(fault.in_force, fault.proven) for fault in recording.faults] == [(16, 17)]
    assert recording.views[0].primary == "n2" and recording.local_reads[0].value == 5
    assert recording.placements == (Placement(key=1, replicas=("n1", "n2")),)
    assert recording.deaths == (DEATH,) and recording.dead(54) == () and recording.dead(55) == (DEATH,)
    assert recording.stalls == (Stall(began=56, ended=58),) and recording.stalled(57, 70) == 1
    assert recording.versions == {"n1": "9"} and recording.facts == {"image": "nine:9"}
    assert not recording.torn and not recording.interrupted
    load_phase = recording.phase("load")
    assert load_phase is not None and (load_phase.began, load_phase.ended) == (5, 80)


def test_an_older_journal_knows_of_no_deaths_and_no_stalls(tmp_path: Path) -> None:
    write(tmp_path / "journal.jsonl")
    lines = without_sums(tmp_path / "journal.jsonl").splitlines(keepends=True)
    new = ('"type":"death"', '"type":"stall"')
    older = [line.replace('"format":2', '"format":1', 1) for line in lines if not any(it in line for it in new)]
    (tmp_path / "older.jsonl").write_text("".join(older))
    header, recording = load(tmp_path / "older.jsonl")
    assert header is not None and header.format == 1
    assert recording.deaths is None and recording.stalls is None
    assert recording.dead(99) == () and len(recording.history) == len(OPERATIONS)


@pytest.mark.parametrize(("told", "instead"), [
    (r'("type":"view".*"time":)\d+', rf"\g<1>{1 << 63}"), (r'("type":"death".*"time":)\d+', rf"\g<1>{-1 << 62}"),
    (r'"exit_code":0', '"exit_code":256'),
])
def test_moments_and_exit_codes_that_cannot_be_are_refused_with_their_line(tmp_path: Path, told: str, instead: str) -> None:
    write(tmp_path / "journal.jsonl")
    whole = without_sums(tmp_path / "journal.jsonl").splitlines(keepends=True)
    lines = [line for line in whole if '"type":"fault"' not in line]
    forged = tmp_path / "forged.jsonl"
    forged.write_text("".join(lines))
    load(forged)
    at = next(number for number, line in enumerate(lines) if re.search(told, line))
    lines[at] = re.sub(told, instead, lines[at])
    forged.write_text("".join(lines))
    with pytest.raises(HistoryError, match=rf"forged\.jsonl:{at + 1}:1: not a line of a journal"):
        load(forged)


def test_a_fault_of_an_older_journal_was_in_force_after_its_spread(tmp_path: Path) -> None:
    """And a fault that cut nothing, which was said to be proven then, is not."""
    write(tmp_path / "journal.jsonl")
    lines = without_sums(tmp_path / "journal.jsonl").replace(f'"format":{FORMAT}', '"format":2', 1).splitlines(keepends=True)
    older = [line for line in lines if '"type":"fault"' not in line]
    fault = '{"type":"fault","fault":{"id":%d,"nemesis":"x","scenario":"y","started":15,"proven":17,"cut":%s,"spread":1}}\n'
    older[-1:-1] = [fault % (1, '[["n1","n2"]]'), fault % (2, "[]")]
    (tmp_path / "older.jsonl").write_text("".join(older))
    _, recording = load(tmp_path / "older.jsonl")
    assert [(fault.in_force, fault.proven) for fault in recording.faults] == [(16, 17), (16, None)]
    assert [fault.bit for fault in recording.faults] == [True, False]


@given(cut=st.integers(min_value=0, max_value=10_000))
def test_torn_anywhere_it_still_loads_what_came_before(tmp_path_factory: pytest.TempPathFactory, cut: int) -> None:
    folder = tmp_path_factory.mktemp("torn")
    write(folder / "whole.jsonl")
    data = (folder / "whole.jsonl").read_bytes()
    cut = min(cut, len(data) - 2)  # Without its last line break alone it is whole.
    (folder / "torn.jsonl").write_bytes(data[:cut])
    _, recording = load(folder / "torn.jsonl")
    assert recording.torn
    whole_lines = data[:cut].count(b"\n")
    invoked = sum(line.startswith(b'{"type":"invoke"') for line in data.split(b"\n")[:whole_lines])
    assert invoked <= len(recording.history) <= invoked + 1  # A line that lacks its line break alone is whole.


def test_a_newer_journal_and_a_foreign_file_are_refused_with_their_place(tmp_path: Path) -> None:
    newer, foreign = tmp_path / "newer.jsonl", tmp_path / "foreign.jsonl"
    newer.write_text(f'{{"type":"header","format":{FORMAT + 1}}}\n')
    foreign.write_text('{"type":"header","format":1}\n{"type":"strange"}\n')
    with pytest.raises(HistoryError, match=r"newer\.jsonl:1.*update splitbrain"):
        load(newer)
    with pytest.raises(HistoryError, match=r"foreign\.jsonl:1"):
        load(foreign)


def test_a_newer_journal_whose_sums_are_made_otherwise_is_called_newer(tmp_path: Path) -> None:
    """What a format to come has for a sum is not known: its first line is no damaged one of ours."""
    write(tmp_path / "journal.jsonl")
    whole = (tmp_path / "journal.jsonl").read_text()
    (tmp_path / "journal.jsonl").write_text(whole.replace(f'"format":{FORMAT}', f'"format":{FORMAT + 1}', 1))
    with pytest.raises(HistoryError, match=rf"journal\.jsonl:1:1: .* format {FORMAT + 1}, .*: update splitbrain; or else"):
        load(tmp_path / "journal.jsonl")
    (tmp_path / "journal.jsonl").write_text(whole.replace('"run":"', '"run":"x', 1))
    with pytest.raises(HistoryError, match=r"journal\.jsonl:1: the journal is damaged in its first line"):
        load(tmp_path / "journal.jsonl")


def test_a_disk_that_does_not_take_a_line_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        Journal(tmp_path / "no" / "such" / "folder.jsonl")
    (tmp_path / "full.jsonl").symlink_to("/dev/full")
    with pytest.raises(StorageError):
        Journal(tmp_path / "full.jsonl").versions({"n1": "1"}, {})


def test_nothing_is_written_after_a_line_that_was_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else a run that lost a line would look whole."""
    journal = Journal(tmp_path / "journal.jsonl")
    journal.header(HEADER)
    write_some = os.write
    with monkeypatch.context() as cut:
        cut.setattr(os, "write", lambda file, data: write_some(file, data[: len(data) // 2]))
        with pytest.raises(StorageError, match="No space left"):
            journal.note("lost")
    with pytest.raises(StorageError, match="No space left"):
        journal.end(1, interrupted=False)
    journal.close()
    header, recording = load(tmp_path / "journal.jsonl")
    assert header == HEADER and recording.torn and recording.damage == "" and recording.notes == ()


@given(at=st.integers(min_value=0), bit=st.integers(min_value=0, max_value=7))
@example(at=-1, bit=0)  # The newline after the last line.
def test_a_bit_that_flipped_is_found_in_its_line(tmp_path_factory: pytest.TempPathFactory, at: int, bit: int) -> None:
    folder = tmp_path_factory.mktemp("flip")
    write(folder / "whole.jsonl")
    data = bytearray((folder / "whole.jsonl").read_bytes())
    at %= len(data)
    data[at] ^= 1 << bit
    line = data[:at].count(b"\n") + 1
    (folder / "flipped.jsonl").write_bytes(data)
    if line == 1:
        with pytest.raises(HistoryError, match=r"flipped\.jsonl:1:"):
            load(folder / "flipped.jsonl")
        return
    _, recording = load(folder / "flipped.jsonl")
    last = line == data.count(b"\n") + (not data.endswith(b"\n"))
    assert recording.torn and (last or recording.damage == f"line {line} of the journal is damaged")


def test_a_line_that_is_missing_or_put_in_is_found(tmp_path: Path) -> None:
    write(tmp_path / "whole.jsonl")
    lines = (tmp_path / "whole.jsonl").read_bytes().splitlines(keepends=True)
    for name, changed in (
        ("missing", [*lines[:4], *lines[5:]]), ("twice", [*lines[:4], lines[3], *lines[4:]]),
        ("unsummed", [*lines[:4], b'{"type":"note","text":"x","times":1}\n', *lines[4:]]),
    ):
        (tmp_path / name).write_bytes(b"".join(changed))
        _, recording = load(tmp_path / name)
        assert recording.torn and recording.damage == "line 5 of the journal is damaged", name


def test_whatever_is_written_can_be_read(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.header(HEADER)
    journal.note("a lone \ud800")
    journal.note("again")
    journal.note("again", 7)
    journal.local_read(LocalRead(node="n1", key=1, value=[object(), "\udfff", 1 << 70], time=70))
    journal.versions({"n1": "\ud800"}, {})
    journal.end(1, interrupted=False)
    _, recording = load(tmp_path / "journal.jsonl")
    assert recording.notes == ("a lone \\ud800", "again (7 times)") and not recording.torn
    assert recording.local_reads[0].value[1:] == ["\\udfff", str(1 << 70)]


def test_a_journal_is_read_the_same_by_many_lines_as_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written = tmp_path / "journal.jsonl"
    journal = Journal(written)
    journal.header(HEADER)
    for at in range(500):
        journal.invoke(Invoke(time=at * 10, process=at % 7, f="get", key=at % 3, node="n1", server="n2", kind="read"))
        if at % 11 == 0:
            journal.view(View(node="n1", primary=f"n{at % 2}", time=at * 10))
        outcome: Outcome = "fail" if at % 5 == 0 else "ok"
        journal.complete(
            Operation(process=at % 7, f="get", key=at % 3, value=at, outcome=outcome, error="e" if at % 5 == 0 else None,
                      detail=f"said {at}" if at % 5 == 0 else None, invoked=at * 10, completed=at * 10 + 5)
        )
    journal.end(9000, interrupted=False)
    journal.close()
    many = load(written)[1]
    monkeypatch.setattr(jsonl._Reader, "_most_events", lambda self, chunk: False)
    one = load(written)[1]
    assert list(many.history) == list(one.history) and many.views == one.views and len(many.views) == 46
    assert many.history.reads().all(), "a read is one by its kind, whatever its name"
    assert {op.detail for op in many.history} == {None, *(f"said {at}" for at in range(0, 500, 5))}
