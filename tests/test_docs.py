"""The documentation builds without a warning, and what it draws and prints is so."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import splitbrain
from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.harness.cli import commands
from splitbrain.harness.plan import Plan
from tests.conftest import ROOT

PAGES = sorted((ROOT / "docs").rglob("*.md"))


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


def test_it_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        timeout=120, check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    anomalies = (tmp_path / "site" / "anomalies" / "index.html").read_text()
    assert anomalies.count("<svg class=\"history\"") == len(ANOMALIES) and "generated:" not in anomalies
    plan = (tmp_path / "site" / "plan" / "index.html").read_text()
    assert all(f"<code>{key}</code>" in plan for key in Plan.__struct_fields__)
    api = (tmp_path / "site" / "api" / "index.html").read_text()
    untold = {name for name in splitbrain.__all__ if not re.search(rf'id="splitbrain[\w.]*\.{name}"', api)}
    assert untold == {"Spec"}, "a union of what is told"


@pytest.mark.parametrize(
    ("identifier", "model"),
    [("lost-write", "cas-register"), ("stale-read", "register"), ("non-monotonic-read", "register"),
     ("split-brain", "cas-register"), ("future-read", "register"), ("unwritten-read", "register"),
     ("aborted-read", "register")],
)
def test_a_picture_shows_what_it_says(identifier: str, model: str) -> None:
    operations = []
    for number, bar in enumerate(generator().PICTURES[identifier]):
        f, *rest = re.sub(r"\((failed)\)|→", "", bar.text).split()
        value = int(rest[0]) if len(rest) == 1 else tuple(map(int, rest))
        operations.append(splitbrain.Operation(
            process=number, f=f, value=value, invoked=round(bar.began * 10), completed=round(bar.ended * 10),
            outcome="fail" if "failed" in bar.text else "ok",
        ))
    verdict = splitbrain.check(operations, model)
    assert verdict.validity == "invalid" and identifier in verdict.counts, verdict


def test_every_command_that_is_printed_is_there() -> None:
    """In the documentation and in the README."""
    for page in (*PAGES, ROOT / "README.md"):
        fenced = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL))
        for line in re.findall(r"^(?:\$ |- run: )?(?:\.venv/bin/)?splitbrain ([a-z].*)$", fenced, re.MULTILINE):
            word, *options = line.split("  ")[0].split(" #")[0].split()
            assert word in commands.commands, f"{page.name}: {line}"
            known = {option for parameter in commands.commands[word].params for option in parameter.opts}
            told = {option.partition("=")[0] for option in options if option.startswith("--")}
            assert told <= known, f"{page.name}: {line}"
