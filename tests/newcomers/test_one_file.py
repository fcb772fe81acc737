"""What a newcomer adds is one file that touches none of ours, and shows up wherever people look."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.checkers.result import Result
from splitbrain.harness.errors import UsageError
from splitbrain.harness.resolve import resolve
from tests.conftest import Ran

HERE = Path(__file__).parent
QUIET = ("--variant", "majority", "--nodes", "3", "--nemesis", "none", "--time", "3s")


def shown(ran: Ran, text: str) -> Result:
    """The result of a run whose terminal, report and JUnit all show that text."""
    assert text in " ".join(ran.stdout.split())
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
    assert again.code == 1 and "reads returned more than 100" in " ".join(again.stdout.split())


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
