"""splitbrain in a suite of somebody else's: the fixture, the mark, the options, several workers, and a suite without."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conftest import ROOT

SUITE = '''
import pytest

PLAN = dict(nodes=3, baseline=2, fault=3, between=2, settle=6, keys=10)


@pytest.mark.partition(database="reference", variant="majority", nemesis="halves", expect=["valid"], **PLAN)
def test_it_holds():
    pass


@pytest.mark.partition(database="reference", variant="lww", nemesis="halves", expect=["valid"], **PLAN)
def test_it_does_not():
    raise AssertionError("the body of a test whose run failed")


@pytest.mark.partition(database="reference", variant="lww", nemesis="halves", **PLAN)
def test_it_decides_by_itself(splitbrain):
    outcome = splitbrain(expect=["stale-read"])
    assert outcome.exit_code == 0, outcome.told
    assert outcome.result.plan.keys == 10 and outcome.result.plan.seed == 11


@pytest.mark.partition(database="redos")
def test_it_is_refused():
    pass
'''


def pytest_(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words], cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, timeout=500, check=False,
    )


def outcomes(folder: Path) -> dict[str, tuple[str, str]]:
    """Test → what became of it, and where its run is."""
    found = {}
    for case in ET.parse(folder / "junit.xml").iter("testcase"):
        run = next((one.get("value", "") for one in case.iter("property") if one.get("name") == "splitbrain"), "")
        found[case.get("name", "")] = ("failed" if case.find("failure") is not None else "passed", run)
    return found


@pytest.mark.parametrize("workers", [(), ("-n", "2", "--dist", "load", "-k", "not holds")], ids=["alone", "workers"])
def test_a_suite_with_runs(tmp_path: Path, workers: tuple[str, ...]) -> None:
    """Beside each other, two runs are enough."""
    (tmp_path / "test_mine.py").write_text(SUITE)
    words = (*workers, "--strict-markers", "--splitbrain-seed=11", "--splitbrain-runs=kept", "--junit-xml=junit.xml")
    ran = pytest_(tmp_path, *words)
    found = outcomes(tmp_path)
    expected = {"test_it_does_not": "failed", "test_it_decides_by_itself": "passed", "test_it_is_refused": "failed"}
    if not workers:
        expected["test_it_holds"] = "passed"
    assert {name: what for name, (what, _) in found.items()} == expected, ran.stdout
    assert "no database is called 'redos': did you mean 'redis'?" in ran.stdout
    assert re.search(r"[Vv]alid was not seen: .*exit code 4", ran.stdout) and "the body of a test" not in ran.stdout
    sections = ran.stdout.partition("- Captured splitbrain call -")[2] or ran.stdout.partition("- splitbrain -")[2]
    assert "NOT LINEARIZABLE" in sections, ran.stdout
    for run in (Path(run) for _, run in found.values() if run):
        assert (run / "report.html").is_file() and run.is_relative_to(tmp_path / "kept")
        assert run.parent.name.startswith("gw" if workers else "kept")
    assert sum(bool(run) for _, run in found.values()) == len(expected) - 1


def test_a_suite_that_wants_none_loads_nothing(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(
        "import sys\n\n\ndef test_nothing():\n"
        "    ours = [name for name in sys.modules if name.startswith('splitbrain')]\n"
        "    assert sorted(ours) == ['splitbrain', 'splitbrain.harness', 'splitbrain.harness.pytest_plugin']\n"
        "    assert not {'msgspec', 'numpy', 'rich', 'click', 'networkx'} & set(sys.modules)\n"
    )
    ran = pytest_(tmp_path, "-p", "no:hypothesispytest")
    assert ran.returncode == 0, ran.stdout
    assert list(tmp_path.glob("runs")) == []
