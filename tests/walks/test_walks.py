"""Three people's first hour, as they would walk it: an ordinary user with a clone, an engineer with a server of their own, a
team with a pipeline. Only what they would type and read is used."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

from tests.conftest import ROOT, Ran
from tests.end_to_end.ordinary import ordinary_user

SHORT = ("--nodes", "3", "--nemesis", "partition-primary", "--baseline", "2", "--fault", "3", "--between", "2", "--settle", "3",
         "--keys", "10")
HERE = Path(__file__).parent


def test_an_ordinary_user_from_a_clone_to_a_report() -> None:
    """They greet it, ask what the machine can do, run it, open the report, judge it again, and do what is printed."""
    with ordinary_user() as user:
        greeted = user.splitbrain()
        assert greeted.returncode == 0
        named = re.findall(r"^  splitbrain (\S+)", greeted.stdout, re.MULTILINE)
        assert named == ["test", "doctor", "list"]
        assert user.splitbrain("doctor").returncode == 0 and "etcd" in user.splitbrain("list").stdout
        ran = user.splitbrain("test", "reference", "--variant", "primary-async", *SHORT)
        assert ran.returncode == 1, ran.stdout + ran.stderr
        told = dict(re.findall(r"^(report|check|again) +(.+(?:\n {4,}\S.*)*)", ran.stdout, re.MULTILINE))
        report = user.home / " ".join(told["report"].split())
        assert "NOT LINEARIZABLE" in ran.stdout and "not linearizable" in report.read_text().lower()
        again = user.splitbrain(*shlex.split(told["check"])[1:])
        assert again.returncode == 1 and "NOT LINEARIZABLE" in again.stdout
        anew = shlex.split(told["again"])
        assert anew[:3] == ["splitbrain", "test", "reference"] and "--plan" not in anew
        planned = user.splitbrain("plan", *anew[2:])
        assert planned.returncode == 0 and "partition-primary" in planned.stdout


STEPS = (
    ("the server is theirs", r"SERVER = '''.*?\n'''\n", "SERVER = (Path(__file__).parent / 'server.py').read_text()\n"),
    ("and is read from its file", r"import json\n", "import re\nfrom pathlib import Path\n"),
    ("it is started with its peers", r"node\.address, self\._owner\.address, str\(self\.port\)\)",
     "node.address, str(self.port), *(n.address for n in self.nodes.values() if n is not node))"),
    ("a read is GET", r"value = \(await self\._ask\(.*?\n.*?int\(value\)\n",
     "value = await self._ask(f'GET {key}')\n        return None if value == '-' else int(value)\n"),
    ("a write is SET", r'await self\._ask\("write", key, value\)', "await self._ask(f'SET {key} {value}')"),
    ("there is no compare-and-set", r"    async def cas\(.*?\n\n(?=    async def close)", ""),
    ("nor is it offered", r', "compare-and-set"', ""),
    ("a request is a line", r"_ask\(self, f: str, key: Any, value: Any\) -> dict\[str, Any\]", "_ask(self, line: str) -> str"),
    ("of words", r"self\._writer\.write\(json.*?\n", "self._writer.write(line.encode() + b'\\\\n')\n"),
    ("and so is an answer", r"answer = json\.loads\(.*?raise ValueError\(.*?\n",
     "answer = (await self._reader.readline()).decode()\n            known = 'OK' if line[:3] == 'SET' else r'-|-?\\\\d+'\n"
     "            if not re.fullmatch(known, answer.strip()) or answer[-1] != '\\\\n':\n"
     "                raise ValueError('no answer of ours')\n"),
    ("which refuses nothing", r'        if "refused" in answer:\n.*?\n', ""),
    ("and ends", r"        return answer\n", "        return answer.strip()\n"),
    ("every node has a copy", r"    def replicas\(.*?\n\n(?=    async def local)", ""),
)
"""What the engineer changes in the file that `splitbrain new` wrote: why, where, and into what."""


def test_an_engineer_with_a_server_of_their_own(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    """`new`, thirteen small changes, `verify`, `test`: a verdict on their server, in their words."""
    assert splitbrain("new", "database", "ledger").code == 0
    (tmp_path / "server.py").write_text((HERE / "ledger.py").read_text())
    file = tmp_path / "ledger.py"
    text = file.read_text()
    for why, old, new in STEPS:
        text, times = re.subn(old, new, text, count=1, flags=re.DOTALL)
        assert times == 1, why
    file.write_text(text)
    verified = splitbrain("verify", "./ledger.py")
    assert verified.code == 0, verified.stdout + verified.stderr
    ran = splitbrain("test", "./ledger.py", "--nodes", "3", "--nemesis", "halves", *SHORT[4:], "--expect", "stale-read")
    assert ran.code == 0, ran.stdout + ran.stderr
    assert ran.result.heading == "NOT LINEARIZABLE" and "ledger default" in ran.stdout
    assert ran.result.claim is not None and ran.result.claim.standing == "does not hold"


PIPELINE = """
set -e
mkdir -p out
python record.py good > out/good.jsonl
splitbrain check out/good.jsonl --junit out/good.xml
if splitbrain check out/bad.jsonl --junit out/bad.xml --report out/bad.html; then exit 9; else test $? = 1; fi
python -m pytest -q -p no:cacheprovider --junit-xml=out/suite.xml checks
"""
RECORD = """
import json
for at in range(200):
    told = {"process": 0, "f": "write" if at % 2 == 0 else "read", "key": "x", "value": at - at % 2}
    print(json.dumps({"type": "invoke", "time": 10 * at, **told, "value": None if at % 2 else at}))
    print(json.dumps({"type": "ok", "time": 10 * at + 5, **told}))
"""
CHECKS = """
import pytest, splitbrain

PLAN = dict(variant="majority", nodes=3, nemesis="halves", baseline=1, fault=3, between=1, settle=3, keys=10)


def test_a_run_of_our_own():
    outcome = splitbrain.run("reference", nodes=3, nemesis="none", time=1, settle=2, expect=["valid"])
    assert outcome.exit_code == 0, outcome.told


@pytest.mark.partition(database="reference", expect=["blocked:minority"], **PLAN)
def test_who_is_cut_off_is_blocked():
    pass
"""


def test_a_team_with_a_pipeline(tmp_path: Path) -> None:
    """A repository with folders called like ours: histories of its own program, and runs in its pytest, by its script alone."""
    for name in ("harness", "reports", "checkers", "checks", "bin", "out"):
        (tmp_path / name).mkdir()
    (tmp_path / "harness" / "__init__.py").write_text("raise SystemExit('the harness of somebody else')\n")
    (tmp_path / "record.py").write_text(RECORD)
    (tmp_path / "checks" / "test_partition.py").write_text(CHECKS)
    bad = [json.dumps({"process": at, "f": f, "value": value, "invoked": 10 * at, "completed": 10 * at + 5})
           for at, (f, value) in enumerate([("write", 1), ("write", 2), ("read", 1)])]
    (tmp_path / "out" / "bad.jsonl").write_text("\n".join(bad) + "\n")
    for name, what in (("python", ""), ("splitbrain", "-m splitbrain.harness.cli ")):
        program = tmp_path / "bin" / name
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -P {what}"$@"\n')
        program.chmod(0o755)
    ran = subprocess.run(
        ["bash", "-c", PIPELINE], cwd=tmp_path, capture_output=True, text=True, timeout=500, check=False,
        env={**os.environ, "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT / "src")},
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    files = [tmp_path / "out" / f"{name}.xml" for name in ("good", "bad", "suite")]
    good, wrong, suite = (len(list(ET.parse(file).iter("failure"))) for file in files)
    assert (good, suite) == (0, 0) and wrong > 0
    assert "stale-read" in (tmp_path / "out" / "bad.html").read_text()
