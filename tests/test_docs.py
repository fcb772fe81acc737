"""The documentation builds without a warning, and what it draws and prints is so."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import click
import pytest

import splitbrain
from splitbrain.checkers.anomalies import ANOMALIES
from splitbrain.harness.cli import commands
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Spec
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import resolve
from splitbrain.harness.testbeds.testbed import DEEDS
from tests.conftest import ROOT, Ran

PAGES = sorted((ROOT / "docs").rglob("*.md"))


def generator() -> Any:
    spec = importlib.util.spec_from_file_location("docs_generate", ROOT / "docs" / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["docs_generate"] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.servers  # as long as one
def test_it_builds_strictly(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    ran = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--site-dir", str(tmp_path / "site")], cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
        timeout=280, check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    anomalies = (tmp_path / "site" / "anomalies" / "index.html").read_text()
    assert anomalies.count("<svg class=\"history\"") == len(ANOMALIES) and "generated:" not in anomalies
    plan = (tmp_path / "site" / "plan" / "index.html").read_text()
    assert all(f"<code>{key}</code>" in plan for key in Plan.__struct_fields__)
    limits = (tmp_path / "site" / "limits" / "index.html").read_text()
    assert all(f"<td>{deed}</td>" in limits for deed in DEEDS.values())
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


def test_a_network_of_ones_own_can_be_written_as_the_page_has_it(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "plan.md").read_text()
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (script,) = [block for block in blocks if "[[schedule.specs]]" in block]
    file = tmp_path / "mine.toml"
    file.write_text(script)
    (fault,) = resolve({}, file).schedule
    assert fault.specs == (splitbrain.Cut((("n2", "n1"), ("n3", "n1"), ("n2", "n3"), ("n3", "n2"))),)
    table = generator().specs()
    for kind in get_args(Spec):
        assert (f"| `{kind.__struct_config__.tag}` | " in table) == (kind is not splitbrain.Other), kind


def printed() -> list[Any]:
    """Every command that the documentation, the README and the help print, as words, with where that is."""
    found = []
    for page in (*PAGES, ROOT / "README.md"):
        text = page.read_text()
        code = "\n".join(re.findall(r"^```[a-z]*\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
        lines = re.findall(r"^(?:\$ |- run: )?splitbrain (\S.*)$", code, re.MULTILINE)
        lines += re.findall(r"^    \.venv/bin/splitbrain (\S.*)$", text, re.MULTILINE)
        lines += re.findall(r"`splitbrain ([a-z][^`]*)`", re.sub(r"\s+", " ", text))
        found += [(page.name, line) for line in lines]
    for name, command in commands.commands.items():
        examples = re.findall(r"^ +(?:\S+ \S+ \| )?splitbrain (.*)$", command.help or "", re.MULTILINE)
        found += [(f"{name} --help", line) for line in examples]
    plain = {(where, re.split(r" {2,}| #| >", line.replace("\\|", "|"))[0]) for where, line in found}
    # A word alone may name a command that needs more.
    alone = {name for name, command in commands.commands.items() if any(one.required for one in command.params)}
    return [pytest.param(line.split(), id=f"{where}: {line}") for where, line in sorted(plain) if line not in alone]


def stands_for(word: str) -> bool:
    """Whether a printed word stands for one of the reader's own."""
    return word == "mine" or "/" in word or bool(re.fullmatch(r"[A-Z|]+", word))


def parsed(words: list[str]) -> dict[str, Any]:
    """What the real parser makes of a command, whatever files there are."""
    command, left = commands.commands[words[0]], words[1:]
    while isinstance(command, click.Group) and left:
        command, left = command.commands[left[0]], left[1:]
    with pytest.MonkeyPatch.context() as patched:
        for parameter in command.params:
            if isinstance(parameter.type, click.Path):
                patched.setattr(parameter.type, "exists", False)
        return command.make_context(words[0], left).params


@pytest.mark.parametrize("words", printed())
def test_a_command_that_is_printed_is_one(words: list[str]) -> None:
    """Every command and flag is there, and every database, variant, workload and nemesis that is named."""
    refuse_what_is_not_there(words)


@pytest.mark.parametrize("words", [
    "tests redis", "test redis --nemsis pause", "test redos", "test redis --variant sentinle",
    "test redis --nemesis halfs+kill", "test redis --workload sett",
    "images built redis", "new databse mine", "check", "suite nightly.toml --keep many",
])
def test_a_command_that_is_none_is_found(words: str) -> None:
    with pytest.raises((KeyError, click.UsageError, UsageError)):
        refuse_what_is_not_there(words.split())


def refuse_what_is_not_there(words: list[str]) -> None:
    told = parsed([{"PART": "database"}.get(word, word) for word in words])
    if words[0] not in ("test", "plan", "verify"):
        return
    names = ("database", "variant", "workload", "nemesis", "nodes", "time", "fault", "expect")
    given = {name: told[name] for name in names if told.get(name) not in (None, ())}
    if (name := given.get("database")) is None or stands_for(name):
        given["database"] = "reference"
        given.pop("variant", None)
    for key in ("workload", "nemesis"):
        if stands_for(given.get(key, "")):
            del given[key]
    assert resolve(given).database == given["database"]


@pytest.mark.parametrize("words", [("list", "nemeses"), ("list", "workloads")], ids=" ".join)
def test_what_only_tells_something_runs(splitbrain: Callable[..., Ran], words: tuple[str, str]) -> None:
    ran = splitbrain(*words)
    assert ran.code == 0 and ran.stdout, ran.stderr
