"""The shell is told the names that belong where a word is begun, as Bash asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import BashComplete

from splitbrain.harness import registry
from splitbrain.harness.cli import commands
from tests.conftest import ROOT


def completed(line: str) -> list[tuple[str, str]]:
    """What may stand for the last word of a line: its kind and itself."""
    *words, begun = line.split(" ")
    found = BashComplete(commands, {}, "splitbrain", "_SPLITBRAIN_COMPLETE").get_completions(words[1:], begun)
    return [(one.type, one.value) for one in found]


@pytest.mark.parametrize(("line", "names"), [
    ("splitbrain test re", ["redis", "reference"]),
    ("splitbrain plan red", ["redis"]),
    ("splitbrain verify ref", ["reference"]),
    ("splitbrain images build et", ["etcd"]),
    ("splitbrain servers get mo", ["mongodb"]),
    ("splitbrain test redis --variant sentinel-m", ["sentinel-min-replicas"]),
    ("splitbrain test etcd --time 3 --variant l", ["linearizable"]),
    ("splitbrain verify etcd --variant se", ["serializable"]),
    ("splitbrain test redis --workload cou", ["counter"]),
    ("splitbrain test redis --nemesis partition-p", ["partition-primary"]),
    ("splitbrain test redis --nemesis halves+pau", ["halves+pause"]),
    ("splitbrain test redis --testbed na", ["namespaces"]),
    ("splitbrain test redis --pace r", ["random"]),
    ("splitbrain test redis --expect lost-w", ["lost-write"]),
    ("splitbrain test redis --expect CP --expect blocked:mi", ["blocked:minority"]),
    ("splitbrain check - --model cas", ["cas-register"]),
    ("splitbrain check - --format jep", ["jepsen-log"]),
    ("splitbrain check - --nil w", ["wildcard"]),
    ("splitbrain case fl", ["flash-sale"]),
    ("splitbrain new ne", ["nemesis"]),
    ("splitbrain sui", ["suite"]),
    ("splitbrain test no-such --variant s", []),
    ("splitbrain test --variant s", []),
])
def test_names(line: str, names: list[str]) -> None:
    assert completed(line) == [("plain", name) for name in names]


def test_all_of_them_where_nothing_is_begun() -> None:
    assert completed("splitbrain test ") == [("plain", name) for name in registry.names("databases")]
    assert completed("splitbrain test x --nemesis ") == [("plain", name) for name in registry.names("nemeses")]


@pytest.mark.parametrize(("line", "kind"), [
    ("splitbrain test ./mi", "file"), ("splitbrain test redis --nemesis lib/mi", "file"),
    ("splitbrain test redis --checker ./mi", "file"), ("splitbrain test --plan ni", "file"),
    ("splitbrain suite ni", "file"), ("splitbrain check his", "file"), ("splitbrain report ru", "dir"),
    ("splitbrain compare ru", "dir"),
])
def test_paths(line: str, kind: str) -> None:
    assert completed(line) == [(kind, line.split()[-1])]


def test_a_file_that_does_not_load_ends_no_line(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("class Broken(:\n")
    assert completed(f"splitbrain test {tmp_path / 'mine.py'} --variant s") == []


def test_bash_itself(tmp_path: Path) -> None:
    """The line of docs/commands.md, and then what Bash does at the Tab key."""
    (line,) = [line for line in (ROOT / "docs" / "commands.md").read_text().splitlines() if "=bash_source" in line]
    program = tmp_path / "splitbrain"
    program.write_text(f"#!{sys.executable}\nfrom splitbrain.harness.cli import main\n\nmain()\n")
    program.chmod(0o755)
    asked = "COMP_WORDS=(splitbrain test redis --variant sentinel-w); COMP_CWORD=4; _splitbrain_completion splitbrain"
    ran = subprocess.run(
        ["bash", "-c", f'{line}\n{asked}\necho "${{COMPREPLY[@]}}"'], capture_output=True, text=True, timeout=240, check=False,
        env={**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")},
    )
    assert ran.stdout == "sentinel-wait\n", ran.stdout + ran.stderr
