"""Terminal, page, JUnit and JSON say the same of a run, whatever came of it."""

from __future__ import annotations

import io
import json
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import msgspec
import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Expectation, Result
from splitbrain.harness.run import Outcome, encode_outcome, why
from splitbrain.reports import junit
from splitbrain.reports.page import html
from splitbrain.reports.terminal import console, verdict
from splitbrain.reports.wording import sentence
from tests.checkers.scenes import Says, anomaly, during, fault, recording

MISSED = Expectation("CP", False, "classified: neither")
OUTCOMES: dict[str, tuple[tuple[Any, ...], dict[str, Any]]] = {
    "valid": ((Says(),), {}),
    "invalid": ((Says("invalid", (anomaly("lost-write", 7),), {"lost-write": 5}),), {}),
    "unknown": ((Says("unknown"),), {}),
    "missed": ((Says("invalid", (anomaly("lost-write", 7),), {"lost-write": 5}),), {"expectations": (MISSED,), "exit_code": 4}),
    "met": ((Says(),), {"expectations": (Expectation("valid", True, "the run is valid"),)}),
}


@pytest.mark.parametrize("name", OUTCOMES)
def test_all_say_the_same(tmp_path: Path, name: str) -> None:
    says, changes = OUTCOMES[name]
    recorded = recording(during(5, 13, ("n1",), "silent"), [fault()])
    result: Result = msgspec.structs.replace(judge(recorded, says), **changes)
    screen = console(io.StringIO(), width=200)
    verdict(screen, result)
    told = {"terminal": screen.file.getvalue()}  # type: ignore[attr-defined]
    html.write(tmp_path / "report.html", result, recorded)
    told["page"] = unescape(re.sub("<[^>]+>", " ", (tmp_path / "report.html").read_text()))
    junit.write(tmp_path / "junit.xml", [result])
    root = ET.parse(tmp_path / "junit.xml").getroot()
    told["junit"] = " ".join([*root.itertext(), *(one.get("message", "") for one in root.iter())])
    outcome = Outcome(folder=tmp_path, exit_code=result.exit_code, result=result, reason=why(result))
    told["json"] = encode_outcome(outcome).decode()
    for where, text in told.items():
        words = " ".join(text.split())
        assert result.heading in words and result.reason.rstrip(".") in words, where
        if name == "missed":
            assert "CP" in words and MISSED.reason in words, where
    reason = json.loads(told["json"])["reason"]
    whole = "CP was not seen: classified: neither." if name == "missed" else sentence(f"{result.heading}: {result.reason}")
    assert reason == whole and reason[:1].isupper() and reason.endswith(".")
    assert (len(list(root.iter("failure"))) + len(list(root.iter("error"))) > 0) == (result.exit_code != 0)
