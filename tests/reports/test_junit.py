import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Expectation, NotJudged, Result, decode, encode
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Phase, Recording
from splitbrain.reports import junit
from tests.reports import story


def judged(hostile: bool = False, **changes: Any) -> Result:
    return msgspec.structs.replace(story.result(story.recording(hostile), hostile), **changes)


def written(folder: Path, *results: Result | NotJudged) -> ET.Element:
    junit.write(folder / "junit.xml", results)
    root = ET.parse(folder / "junit.xml").getroot()
    assert faults(root) == []
    for total in ("tests", "failures", "errors"):
        assert int(root.get(total, "")) == sum(int(suite.get(total, "")) for suite in root)
    for holder in (root, *root):
        assert float(holder.get("time", "")) == pytest.approx(sum(float(part.get("time", 0)) for part in holder), abs=0.01)
    return root


TEXT = {"failure", "error", "skipped", "flakyError", "rerunError", "system-out", "system-err"}
ALLOWED: dict[str, tuple[set[str], set[str], set[str]]] = {
    "testsuites": ({"testsuite"}, set(), {"name", "time", "tests", "failures", "errors"}),
    "testsuite": (
        {"testsuite", "properties", "testcase", "system-out", "system-err"}, {"name", "tests", "failures", "errors"},
        {"group", "time", "skipped", "timestamp", "hostname", "id", "package", "file", "log", "url"},
    ),
    "testcase": ({*TEXT, "flakyFailure", "rerunFailure"}, {"name"}, {"time", "classname", "group"}),
    "properties": ({"property"}, set(), set()),
    "property": (set(), {"name", "value"}, set()),
    **dict.fromkeys(("failure", "error", "skipped"), (set(), set(), {"type", "message"})),
    **dict.fromkeys(("flakyError", "rerunError"), ({"stackTrace", "system-out", "system-err"}, {"type"}, {"message"})),
    **dict.fromkeys(("system-out", "system-err"), (set(), set(), set())),
}
"""What the schema of Jenkins' xUnit plugin, junit-10.xsd, allows: for each element its children, the attributes that it must
have, and those that it may."""


def faults(element: ET.Element) -> list[str]:
    """What in an element, and below, the schema forbids."""
    children, required, optional = ALLOWED.get(element.tag, (set(), set(), set()))
    found = [f"no element {element.tag}"] if element.tag not in ALLOWED else []
    found += [f"{element.tag} lacks {name}" for name in sorted(required - set(element.attrib))]
    found += [f"{element.tag} has {name}" for name in sorted(set(element.attrib) - required - optional)]
    found += [f"{element.tag} holds {child.tag}" for child in element if child.tag not in children]
    if element.tag in ("testsuites", "testsuite") and not re.fullmatch(r"(\d{0,3},)*\d*(\.\d*)?", element.get("time", "")):
        found.append(f"{element.tag} took {element.get('time')}")
    if element.tag not in TEXT and (element.text or "").strip():
        found.append(f"{element.tag} says {element.text}")
    return found + [fault for child in element for fault in faults(child)]


def test_what_the_schema_forbids_is_found() -> None:
    for text in ("<testsuites skipped='1' time='1'/>", "<testsuite time='0' tests='1' failures='0' errors='0'/>",
                 "<testsuites time='1e5'/>", "<testcase name='a'><rerunError message='m'/></testcase>",
                 "<testcase name='a'><b/></testcase>"):
        assert faults(ET.fromstring(text)) != []


def test_attempts_that_proved_nothing_are_told(tmp_path: Path) -> None:
    unknown = judged(validity="unknown", heading="UNKNOWN", reason="again", verdicts=(), expectations=())
    junit.write(tmp_path / "junit.xml", [judged(), unknown, judged()], [("the fault never bit",), ("too few", "too late"), ()])
    root = ET.parse(tmp_path / "junit.xml").getroot()
    assert faults(root) == []
    told = [[(one.tag, one.get("type"), one.get("message")) for one in suite.iter() if "Error" in one.tag] for suite in root]
    assert told == [
        [("flakyError", "unknown", "the fault never bit")],
        [("rerunError", "unknown", "too few"), ("rerunError", "unknown", "too late")], [],
    ]
    assert root.get("errors") == "1", "an attempt that was made again is no error"


def outcomes(root: ET.Element) -> dict[str, tuple[str, str | None]]:
    return {
        case.get("name", ""): next(
            ((child.tag, child.get("type")) for child in case if child.tag != "system-out"), ("passed", None)
        )
        for case in root.iter("testcase")
    }


def test_an_anomaly_is_a_failure_of_its_identifier(tmp_path: Path) -> None:
    root = written(tmp_path, judged(expectations=()))
    assert outcomes(root) == {
        "verdict": ("passed", None),
        "linearizability: lost-write": ("failure", "lost-write"),
        "linearizability: stale-read": ("failure", "stale-read"),
        "availability": ("passed", None),
        "convergence": ("skipped", None),
    }
    assert (root.get("tests"), root.get("failures"), root.get("errors"), root[0].get("skipped")) == ("5", "2", "0", "1")
    failure = next(root.iter("failure"))
    assert (failure.get("message") or "").endswith("(143 times)")
    assert "n1 client" in (failure.text or "")


def test_expectations_decide_alone_where_there_are_some(tmp_path: Path) -> None:
    root = written(tmp_path, judged())
    found = outcomes(root)
    assert found["expect lost-write"] == ("passed", None)
    assert found["expect CP"] == ("failure", "expectation")
    assert found["linearizability: lost-write"] == ("passed", None)
    assert root.get("failures") == "1"


def test_a_run_that_proves_nothing_is_an_error(tmp_path: Path) -> None:
    root = written(
        tmp_path, judged(validity="unknown", heading="UNKNOWN", reason="the fault never bit", verdicts=(), expectations=())
    )
    assert outcomes(root) == {"verdict": ("error", "unknown")}


@pytest.mark.parametrize(("code", "kind"), [(3, "set-up"), (70, "crash")])
def test_a_run_that_was_not_judged_is_an_error(tmp_path: Path, code: int, kind: str) -> None:
    broken = NotJudged(run="r", plan=story.PLAN, reason="n2 never got ready", exit_code=code)
    root = written(tmp_path, broken, judged(expectations=()))
    assert [suite.get("tests") for suite in root] == ["1", "5"]
    assert outcomes(ET.fromstring(ET.tostring(root[0]))) == {"verdict": ("error", kind)}


MET = (Expectation("lost-write", True, "seen"),)
MISSED = (Expectation("CP", False, "writes were lost"),)
WELL: dict[str, Any] = {"validity": "valid", "verdicts": (), "expectations": ()}
OUTCOMES: list[tuple[int, dict[str, Any], dict[str, int], str]] = [
    (0, WELL, {}, ""),
    (0, {"expectations": MET}, {}, ""),
    (1, {"expectations": ()}, {"failures": 2}, "lost-write"),
    (2, WELL | {"validity": "unknown"}, {"errors": 1}, "unknown"),
    (3, {"expectations": MET}, {"errors": 1}, "set-up"),
    (4, {"expectations": MISSED}, {"failures": 1}, "expectation"),
    (64, WELL, {"errors": 1}, "usage"),
    (64, {"expectations": MET}, {"errors": 1}, "usage"),
    (64, {"expectations": ()}, {"errors": 1, "failures": 2}, "usage"),
    (64, {"expectations": MISSED}, {"errors": 1, "failures": 1}, "usage"),
    (70, WELL, {"errors": 1}, "crash"),
    (70, {"expectations": MET}, {"errors": 1}, "crash"),
    (130, WELL, {"errors": 1}, "interrupted"),
    (130, {"expectations": MET}, {"errors": 1}, "interrupted"),
]


@pytest.mark.parametrize(("code", "changes", "counts", "kind"), OUTCOMES)
def test_it_is_green_where_the_exit_code_is_0_and_nowhere_else(
    tmp_path: Path, code: int, changes: dict[str, Any], counts: dict[str, int], kind: str
) -> None:
    root = written(tmp_path, judged(exit_code=code, stopped="it stopped" if code >= 64 else "", **changes))
    assert {name: int(root.get(name, "")) for name in ("failures", "errors")} == {"failures": 0, "errors": 0} | counts
    bad = [one for one in root.iter() if one.tag in ("failure", "error")]
    assert [one.get("type") for one in bad][:1] == ([kind] if kind else []) and bool(bad) == bool(code)
    assert code < 64 or bad[0].get("message") == "it stopped"
    if code not in (0, 1, 4):
        never = written(tmp_path, NotJudged(run="r", plan=story.PLAN, reason="why", exit_code=code))
        assert never.get("errors") == "1"


@pytest.mark.parametrize(("change", "code", "told"), [
    ({"phases": (Phase("load", 0, 1, "mine.py:9: next() raised", None, 64),)}, 64, "load: mine.py:9: next() raised"),
    ({"phases": (Phase("load", 0, 1, "KeyError", None, 70), Phase("heal", 1, 2, "x", None, 64))}, 70, "load: KeyError"),
    ({"interrupted": True, "phases": (Phase("load", 0, 1, "x", None, 64),)}, 130, "the run was interrupted"),
    ({"phases": (Phase("load", 0, 1), Phase("settle", 1, 2, "took too long"))}, 2, "settle: took too long"),
    ({"phases": (Phase("load", 0, 1, "read() raised KeyError, 100 times"),)}, 2, "load: read() raised KeyError, 100 times"),
    ({"phases": (Phase("load", 0, 1), Phase("settle", 1, 2))}, 0, ""),
])
def test_what_stopped_a_run_counts_though_everything_expected_was_seen(
    tmp_path: Path, change: dict[str, Any], code: int, told: str
) -> None:
    plan = msgspec.structs.replace(story.PLAN, expect=("unknown",))
    one = Operation(process=0, f="read", value=1, invoked=0, completed=1)
    result = judge(Recording(history=History.of([one]), nodes=("n1",), plan=plan, **change), [])
    assert [one.met for one in result.expectations] == [True]
    assert (result.exit_code, result.stopped) == (code, told)
    assert written(tmp_path, decode(encode(result))).get("errors") == ("1" if code else "0")


def test_versions_and_seed_are_properties(tmp_path: Path) -> None:
    root = written(tmp_path, judged())
    properties = {item.get("name"): item.get("value") for item in root.iter("property")}
    assert properties["seed"] == "8161"
    assert properties["version.n1"] == "7.0.15"
    assert properties["testbed.image"] == f"redis:7.2.6 (sha256:{'5e' * 32}, pulled)"
    assert properties["count.lost-write"] == "143"
    assert root[0][0].tag == "properties"


def test_no_character_that_xml_forbids_is_written(tmp_path: Path) -> None:
    root = written(tmp_path, judged(hostile=True, expectations=()))
    text = (tmp_path / "junit.xml").read_text("utf-8")
    assert not any(ord(letter) < 32 and letter not in "\n\r\t" for letter in text)
    assert "<script" not in text
    message = next(root.iter("failure")).get("message") or ""
    assert "</script><script>alert(1)</script>\\x1b[31m" in message


def test_cases_keep_their_class_over_nights_and_name_the_fault(tmp_path: Path) -> None:
    first = judged(expectations=())
    blamed = msgspec.structs.replace(first.verdicts[0], by_fault={1: {"lost-write": 143}})
    first = msgspec.structs.replace(first, verdicts=(blamed, *first.verdicts[1:]))
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    roots = [written(tmp_path / "a", first), written(tmp_path / "b", msgspec.structs.replace(first, run="another-night"))]
    for root in roots:
        assert {case.get("classname") for case in root.iter("testcase")} == {"redis.sentinel.register.partition-primary"}
    messages = [failure.get("message") or "" for failure in roots[0].iter("failure")]
    assert messages[0].endswith("(143 times); fault 1, {n1} | {n2 n3 n4 n5}")
    assert "fault 1" not in messages[1]
    verdict = next(case for case in roots[0].iter("testcase") if case.get("name") == "verdict")
    assert float(verdict.get("time") or 0) == story.PLAN.time
    # A run whose length its faults decide has no time in its plan.
    auto = msgspec.structs.replace(story.PLAN, time=0.0)
    calm = judged(plan=auto, scenarios=())
    for result, took in ((judged(plan=auto), 27.09 + auto.between), (calm, auto.baseline + auto.between),
                         (judged(plan=None), 0.0)):
        verdict = next(written(tmp_path, result).iter("testcase"))
        assert float(verdict.get("time") or 0) == pytest.approx(took, abs=0.01), "from the first call to the end of the load"
