"""What a newcomer adds is one file that touches none of ours, and shows up wherever people look."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.checkers.result import Result
from splitbrain.harness.errors import UsageError
from splitbrain.harness.resolve import resolve
from tests.conftest import Ran

HERE = Path(__file__).parent
FORGETFUL = HERE.parent / "end_to_end" / "forgetful.py"
SHORT = "baseline = 2.0\nfault = 4.0\nbetween = 2.0\nkeys = 20\nsettle = 6.0\n"
QUIET = ("--variant", "majority", "--nodes", "3", "--nemesis", "none", "--time", "3s")


def shown(ran: Ran, text: str) -> Result:
    """The result of a run whose terminal, report and JUnit all show that text."""
    assert text in ran.said
    for file in ("report.html", "junit.xml"):
        assert text in " ".join((ran.folder / file).read_text().split()), file
    return ran.result


def test_a_checker(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--checker", HERE / "small_numbers.py")
    result = shown(ran, "reads returned more than 100")
    assert ran.code == 1 and "unexpected" in result.counts
    assert {verdict.checker: verdict.validity for verdict in result.verdicts}["linearizability"] == "valid"
    assert result.claim is not None and result.claim.standing != "does not hold"
    again = splitbrain("check", ran.folder)
    assert again.code == 1 and "reads returned more than 100" in again.said


def test_a_workload_that_holds(splitbrain: Callable[..., Ran]) -> None:
    ran = splitbrain("test", "reference", *QUIET, "--workload", HERE / "counting.py")
    result = shown(ran, "counting")
    assert (ran.code, result.validity) == (0, "valid"), ran.stdout
    assert "NO ANOMALY FOUND" in ran.stdout and [standing.model for standing in result.standings] == ["counts bounded"]
    again = splitbrain("check", ran.folder)
    assert again.code == 0 and "NO ANOMALY FOUND" in again.stdout


def test_a_workload_that_does_not(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(SHORT)
    ran = splitbrain("test", "reference", "--variant", "primary-async", "--nemesis", "partition-primary", "--plan", "plan.toml",
                     "--workload", HERE / "counting.py", "--run-name", "counted", "--json")
    told = json.loads(ran.stdout)
    assert (ran.code, told["exit_code"], told["folder"]) == (1, 1, str(ran.folder)) and ran.folder.name == "counted", ran.stderr
    assert told["result"]["counts"].keys() == {"out-of-bounds"} == ran.result.counts.keys()
    assert "COUNTS NOT BOUNDED" in ran.stderr
    for file in ("report.html", "junit.xml"):
        written = (ran.folder / file).read_text()
        assert "out-of-bounds" in written and "counts were out of bounds" in written, file
    again = splitbrain("check", ran.folder)
    assert again.code == 1 and "counts were out of bounds" in again.said


def test_a_nemesis_beside_a_partition(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(SHORT)
    ran = splitbrain("test", "reference", "--nemesis", f"partition-primary+{HERE / 'full_folder.py'}", "--plan", "plan.toml")
    result = shown(ran, "full_folder")
    row = result.scenarios[0]
    assert (ran.code, result.validity) == (0, "valid"), ran.stdout
    # Of a node that was cut off while its folder was full nobody knows which of the two its clients waited for.
    assert result.classification == ("unknown" if row.masked_sides else "CP"), ran.stdout
    assert min(side.write.share or 0.0 for side in row.sides) < 0.05, "and it is told that they waited"
    assert row.bit and row.links_cut == 8 and len(row.struck) == 1
    assert " full (8192 KiB)" in ran.said and "not full (8192 KiB)" in ran.said
    assert "heal + empty" in ran.said and "partition-primary+full_folder" in ran.said
    report = (ran.folder / "report.html").read_text()
    assert "fill the folder of n" in report and "not full (8192 KiB)" in report
    again = splitbrain("check", ran.folder)
    assert again.code == 0 and "NO ANOMALY FOUND" in again.stdout


def test_a_database(splitbrain: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "plan.toml").write_text(SHORT)
    ran = splitbrain("test", FORGETFUL, "--nemesis", "halves", "--plan", "plan.toml")
    result = shown(ran, "forgetful")
    assert ran.code == 1 and result.counts["stale-read"] > 0 and result.versions == dict.fromkeys(result.nodes, "1")
    assert result.claim is not None and result.claim.text == "eventually consistent"
    again = splitbrain("check", ran.folder)
    assert again.code == 1 and "stale-read" in again.stdout


def test_a_file_is_named_whole_in_the_plan_that_is_kept() -> None:
    plan = resolve({"database": "reference", "checkers": [str(HERE / "small_numbers.py")]})
    assert plan.checkers == (str(HERE / "small_numbers.py"),)


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("workload", "x = 1\n", "must define exactly one subclass of splitbrain.Workload, it defines 0"),
        ("nemesis", "import nothing_of_this_name\n", ":1: cannot be loaded: ModuleNotFoundError"),
        ("checkers", "class Broken(:\n", ":1: cannot be loaded: SyntaxError"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path, field: str, text: str, told: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)
    with pytest.raises(UsageError) as refused:
        resolve({"database": "reference", field: [str(file)] if field == "checkers" else str(file)})
    assert str(refused.value).startswith(str(file)) and told in str(refused.value)
    file.unlink()
    with pytest.raises(UsageError, match="no such file"):
        resolve({"database": "reference", field: [str(file)] if field == "checkers" else str(file)})
