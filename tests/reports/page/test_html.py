import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest

from splitbrain.checkers.result import Check, Failure, Quality, Result
from splitbrain.harness.errors import StorageError
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Fault, Kill
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.reports import wording
from splitbrain.reports.contract import recovery
from splitbrain.reports.page import charts, html
from tests.reports import story

VOID = {"meta", "br", "link", "img", "input", "hr"}


class Page(HTMLParser):
    """Every element with its attributes, and the text; fails on a tag that is closed out of order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        # HTML lets rows and items end by themselves; the template closes every one of them.
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self.open or self.open[-1] not in ("style", "script"):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def page(hostile: bool = False, **changes: Any) -> tuple[str, Page]:
    recording = story.recording(hostile)
    result = msgspec.structs.replace(story.result(recording, hostile), **changes)
    text = html.page(result, recording, Path("runs/x"))
    return text, Page(text)


def test_sections_stand_in_the_order_of_the_design() -> None:
    _, parsed = page()
    assert [attrs["id"] for tag, attrs in parsed.elements if tag == "section"] == [
        "verdict", "why", "partition", "availability", "time", "sacrifice", "quality", "timeline", "checkers", "contract",
        "reproduce", "files", "glossary",
    ]  # fmt: skip


def test_the_verdict_comes_before_everything() -> None:
    _, parsed = page()
    assert parsed.text.index("NOT LINEARIZABLE 2 of 40 keys") < parsed.text.index("Claim") < parsed.text.index("Why")


@pytest.mark.parametrize("hostile", [False, True])
def test_nothing_is_fetched_and_nothing_runs(hostile: bool) -> None:
    text, parsed = page(hostile)
    tags = {tag for tag, _ in parsed.elements}
    scripts = re.findall(r"<script([^>]*)>(.*?)</script>", text, re.DOTALL)
    assert [attributes for attributes, _ in scripts] == [' type="application/json" id="bins"', ""]
    sums = re.findall(r"'sha256-([^']+)'", text)
    assert sums == [base64.b64encode(hashlib.sha256(scripts[1][1].encode()).digest()).decode()]
    assert json.loads(scripts[0][1])["rows"]
    assert not tags & {"iframe", "object", "embed", "link", "img", "form", "base", "image", "use", "foreignobject"}
    for _, attrs in parsed.elements:
        for name, value in attrs.items():
            assert not name.startswith("on")
            assert name != "src"
            if name == "href":
                # A source may be followed by who reads; the run's own files are beside the page.
                assert value is not None and not value.startswith("/")
                assert value.startswith(("https://", "http://")) or ":" not in unquote(value)
            assert "javascript:" not in (value or "")
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    assert "default-src 'none'" in text


def test_a_strangers_text_is_shown_and_not_obeyed() -> None:
    text, parsed = page(hostile=True)
    assert text.count("<script") == 2 and "<script>alert" not in text
    assert not any(letter in text for letter in ("\x1b", "\x07", "\x00", "\u202e"))
    assert "</script><script>alert(1)</script>\\x1b[31m" in parsed.text


def test_huge_values_do_not_make_a_huge_page() -> None:
    recording = story.recording()
    result = story.result(recording)
    first = result.anomalies[0]
    big = tuple(msgspec.structs.replace(op, value="x" * 3_000_000) for op in first.operations)
    result = msgspec.structs.replace(
        result, anomalies=(msgspec.structs.replace(first, operations=big, sentence="y" * 3_000_000),)
    )
    assert len(html.page(result, recording, Path("runs/x"))) < 600_000


def test_identifiers_of_pictures_are_unique_and_found() -> None:
    text, parsed = page()
    names = [attrs["id"] for _, attrs in parsed.elements if "id" in attrs]
    assert len(names) == len(set(names))
    assert set(re.findall(r"url\(#([^)]+)\)", text)) <= set(names)


def test_a_picture_that_fails_is_said_and_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("<no engine>")

    monkeypatch.setattr(charts, "over_time", broken)
    _, parsed = page()
    assert "This picture could not be drawn: RuntimeError: <no engine>." in parsed.text
    assert "NOT LINEARIZABLE" in parsed.text
    assert any(attrs.get("class") == "lanes" for _, attrs in parsed.elements)


def test_an_interrupted_run_without_fault_or_operation_has_a_report() -> None:
    recording = msgspec.structs.replace(
        story.recording(), history=History.of(()), faults=(), views=(), local_reads=(), torn=True
    )
    result = Result(validity="unknown", heading="UNKNOWN", reason="no operation was recorded", plan=story.PLAN, torn=True)
    parsed = Page(html.page(result, recording, Path("runs/x")))
    assert "UNKNOWN no operation was recorded" in parsed.text
    assert "ends in the middle of the run" in parsed.text


def test_a_history_of_another_program_has_a_report() -> None:
    recording = msgspec.structs.replace(story.recording(), plan=None, variant=None, faults=(), views=())
    result = msgspec.structs.replace(story.result(story.recording()), plan=None, variant=None, scenarios=(), claim=None)
    parsed = Page(html.page(result, recording, Path("x")))
    assert "A history recorded by another program" in parsed.text


def test_a_fault_that_was_not_proven_is_not_claimed() -> None:
    recording = story.recording()
    proof = msgspec.structs.replace(story.FAULT.proofs[0], holds=False, measured=(), wrong=story.FAULT.cut)
    missed = msgspec.structs.replace(story.FAULT, in_force=None, proofs=(proof,))
    recording = msgspec.structs.replace(recording, faults=(missed,))
    result = story.result(recording)
    row = msgspec.structs.replace(result.scenarios[0], bit=False, proven=None)
    text = Page(html.page(msgspec.structs.replace(result, scenarios=(row,)), recording, Path("x"))).text
    assert "not proven" in text
    assert "partition {n1} | {n2 n3 n4 n5}: 12/20 links as intended" in text
    assert "The fault was not proven: this row proves nothing." in text


def test_a_fault_that_others_overlap_is_pictured_with_what_they_did() -> None:
    recording = story.recording()
    other = msgspec.structs.replace(story.FAULT, id=2, specs=(Kill(("n4",)),), proofs=story.FAULT.proofs)
    later = msgspec.structs.replace(other, id=3, in_force=story.FAULT.heal_began)
    cases = [msgspec.structs.replace(recording, faults=(story.FAULT, *others)) for others in ((), (other,), (later,))]
    alone, beside, after = (Page(html.page(story.result(recording), case, Path("x"))).text for case in cases)
    assert "for a part of the time fault 2 as well: kill n4" in beside and "cut or struck by another fault" in beside
    assert "for a part of the time" not in alone + after


def test_calls_that_the_database_decided_against_are_told_beside_those_that_failed() -> None:
    recording = story.recording()
    calls: list[Operation] = []
    for error in ("mismatch", "mismatch", "timeout"):
        calls.append(Operation(process=len(calls), f="cas", value=(1, 2), outcome="fail", error=error, invoked=1, completed=2))
    failures = (Failure(outcome="fail", reason="timeout", times=1),)
    result = msgspec.structs.replace(story.result(recording), anomalies=(), failures=failures)
    told = Page(html.page(result, msgspec.structs.replace(recording, history=History.of(calls)), Path("x"))).text
    assert "2 calls more failed for a reason of their own" in told
    assert "of their own" not in page()[1].text


def test_what_came_after_the_heal_is_not_told_as_in_the_partition() -> None:
    """The fault was in force from 12.01 s to 27 s."""
    result = story.result(story.recording())
    (row,) = result.scenarios

    def why(begin: float, end: float, **changes: Any) -> str:
        op = Operation(process=1, f="read", key=1, value=1, invoked=story.second(begin), completed=story.second(end), node="n3")
        anomaly = msgspec.structs.replace(result.anomalies[0], operations=(op,), sentence="it was old")
        return wording.during(anomaly, msgspec.structs.replace(row, **changes))

    for begin, end in ((11.0, 12.02), (20.0, 20.1), (26.99, 27.5)):
        told = row.sentence.replace(" during the partition", "")
        assert why(begin, end) == f"in that partition, {row.label}: {told}", (begin, end)
    for begin, end in ((27.01, 27.05), (40.0, 40.1)):
        assert why(begin, end) == f"that goes back to the partition before, {row.label}: {row.sentence}", (begin, end)
    assert why(11.99, 12.005) == f"while the links were being cut, {row.label}: {row.sentence}"
    apart: dict[str, Any] = {"links_cut": 0, "label": "pause n1", "sentence": "not exercised: no link was cut (pause n1)"}
    assert why(11.99, 12.005, **apart) == "this was just being done: pause n1"
    assert why(20.0, 20.1, **apart) == "this was done meanwhile: pause n1"
    assert why(20.0, 20.1, **(apart | {"label": "was old"})) == "", "the sentence has it"
    assert why(40.0, 40.1, **apart) == "that goes back to what was done before: pause n1"
    assert "in that" not in why(20.0, 20.1, in_force=None), "what was never in force had nothing in it"
    late = Operation(process=1, f="read", key=1, value=1, invoked=story.second(40), completed=story.second(41), node="n3")
    shown = page(anomalies=(msgspec.structs.replace(result.anomalies[0], operations=(late,), sentence="it was old"),))[1].text
    assert f"It was old. That goes back to the partition before, {row.label}: {row.sentence}." in shown
    assert "Shaded: the fault" not in shown and "Shaded: the fault" in page()[1].text, "its picture has no shade"


def test_an_undecided_run_does_not_claim_that_nothing_was_lost() -> None:
    blast = msgspec.structs.replace(story.result(story.recording()).blast, lost=0)
    _, parsed = page(blast=blast, consistency="undecided")
    assert "acknowledged writes lost" not in parsed.text.split("Why")[0].replace(story.result(story.recording()).sentence, "")
    _, parsed = page(blast=blast, consistency="held")
    assert "0 of 5,312 acknowledged writes lost" in parsed.text
    _, parsed = page(blast=blast, consistency="refuted")
    assert "0 of 5,312 acknowledged writes proven to be lost" in parsed.text


def test_failed_questions_of_quality_are_open_and_many_passed_ones_are_folded() -> None:
    passed = tuple(Check(f"passed {number}", True, "yes") for number in range(9))
    text, parsed = page(quality=Quality(checks=(*passed, Check("fault proven", False, "it never bit"))))
    assert "9 of 10 questions answered with yes" in parsed.text
    assert text.index("it never bit") < text.index("9 of 10 questions") < text.index("passed 0")


def test_recovery_is_claimed_only_where_every_heal_was_followed_by_it() -> None:
    row = story.result(story.recording()).scenarios[0]
    stuck = msgspec.structs.replace(row, fault=1, label="{n2}", recovery=None, recovery_reason="writes at n1 were not served")
    assert recovery((row, stuck)) is None
    _, parsed = page(scenarios=(row, stuck))
    assert "from heal to recovery" not in parsed.text
    assert "Every client was served again" not in parsed.text
    assert "After the heal {n2}: writes at n1 were not served." in parsed.text
    _, parsed = page()
    assert "1.2 s from heal to recovery" in parsed.text


def test_the_steps_of_the_evidence_stand_in_the_order_of_time(tmp_path: Path) -> None:
    recording = story.recording()
    result = story.result(recording)
    first, *rest = result.anomalies
    turned = msgspec.structs.replace(first, operations=first.operations[::-1])
    page = html.page(msgspec.structs.replace(result, anomalies=(turned, *rest)), recording, tmp_path)
    steps = re.findall(r'<li><span class="muted">([\d:.]+)', page.partition('<ol class="steps">')[2].partition("</ol>")[0])
    assert steps == [wording.clock(op.invoked) for op in sorted(first.operations, key=lambda op: op.invoked)]
    assert len(steps) > 1


def test_an_interval_is_rounded_outwards() -> None:
    measure = msgspec.structs.replace(story.result(story.recording()).baseline[0], low=0.99961, high=0.99999)
    _, parsed = page(baseline=(measure,))
    assert "99.9–100.0%" in parsed.text


def test_a_fault_is_told_by_when_it_began_and_when_it_was_undone() -> None:
    def told(began: float, over: float | None) -> str:
        heal_began = None if over is None else story.second(over)
        return html._lasted(msgspec.structs.replace(story.FAULT, started=story.second(began), heal_began=heal_began))

    assert told(4.2, 9.9) == "0:04–0:09" and told(4.2, None) == "0:04–end"
    assert told(4.2, 4.35) == "0:04.200–0:04.350" and told(4.9, 5.1) == "0:04.900–0:05.100"


def test_the_timeline_holds_the_evidence_between_the_faults() -> None:
    recording = story.recording()
    anomaly = story.result(recording).anomalies[0]
    rows = html.timeline(recording, anomaly)
    assert sum(row.kind == "evidence" for row in rows) == len(anomaly.operations)
    told = [row.what for row in rows if row.kind == "fault"]
    assert told == [
        "partition-primary: primary alone begins", "proven: partition {n1} | {n2 n3 n4 n5}",
        "heal begins", "heal: 20/20 links up",
    ]
    times = [row.time for row in rows if row.time]
    assert times == sorted(times)
    on_key = sum(op.key == anomaly.key for op in recording.history)
    skipped = sum(int(row.what.split()[0].replace(",", "")) for row in rows if row.kind == "gap")
    shown = sum(row.kind in ("op", "evidence") for row in rows)
    assert shown + skipped <= on_key
    assert any(row.who == "n2 n3 n4 n5" and row.what == "takes n3 for primary" for row in rows)


def test_a_server_that_died_is_told_with_its_last_words_and_holds_the_fault_harmless() -> None:
    recording = story.recording()
    result = story.result(recording)
    anomaly = result.anomalies[0]
    at = anomaly.operations[0].invoked + 1
    death = Death(node="n4", service="redis", time=at, code=-9, log=("<b>the moon</b>", "is full"))
    died = msgspec.structs.replace(recording, deaths=(death,))
    told = [row for row in html.timeline(died, anomaly) if row.who == "n4" and row.kind == "fault"]
    assert [row.what for row in told] == ["redis was ended by SIGKILL, on its own"]
    row = msgspec.structs.replace(result.scenarios[0], dead=("n4",))
    text = html.page(msgspec.structs.replace(result, scenarios=(row,)), died, Path("x"))
    assert "What redis logged on n4 in the end" in text and "&lt;b&gt;the moon&lt;/b&gt;" in text
    assert "not known, for the server on n4 had died on its own" in Page(text).text


def test_a_heal_that_did_not_take_is_said() -> None:
    recording = story.recording()
    proof = msgspec.structs.replace(story.FAULT.undone[0], holds=False, wrong=(("n1", "n2"),))
    left: Fault = msgspec.structs.replace(story.FAULT, undone=(proof,))
    rows = html.timeline(msgspec.structs.replace(recording, faults=(left,)), story.result(recording).anomalies[0])
    assert "heal: 19/20 links up" in [row.what for row in rows]


def test_the_file_is_whole_or_not_there(tmp_path: Path) -> None:
    recording = story.recording()
    report = tmp_path / "report.html"
    html.write(report, story.result(recording), recording)
    assert report.read_text().endswith("</html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert report.stat().st_size < 1_000_000
    blocked = tmp_path / "folder"
    blocked.mkdir()
    with pytest.raises(StorageError, match="folder: cannot be written"):
        html.write(blocked, story.result(recording), recording)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["folder", "report.html"]


def test_files_of_the_run_are_linked_where_they_are(tmp_path: Path) -> None:
    recording = story.recording()
    log = tmp_path / "nodes" / "n1" / "redis server.log"
    log.parent.mkdir(parents=True)
    log.write_text("")
    (tmp_path / "journal.jsonl").write_text("")
    html.write(tmp_path / "report.html", story.result(recording), recording)
    parsed = Page((tmp_path / "report.html").read_text())
    links = [href for tag, attrs in parsed.elements if tag == "a" and not (href := attrs["href"] or "").startswith("#")]
    assert links == ["journal.jsonl", "junit.xml", "nodes/n1/redis%20server.log"]


def test_what_a_checker_looked_at_is_shown_as_json() -> None:
    text, _ = page()
    start = text.index('<pre tabindex="0">') + 18
    assert json.loads(text[start : text.index("</pre>", start)].replace("&#34;", '"')) == {
        "keys": 40, "operations": 11_000, "refuted": 2, "methods": {"chains": 40}, "undecided": [],
    }
