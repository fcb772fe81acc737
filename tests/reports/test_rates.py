from pathlib import Path

import msgspec
import pytest

from harness.errors import UsageError
from harness.plan import Plan
from reports.rates import rates_table, replace_table
from tests.reports import story

BEGIN, END = "<!-- rates:begin -->", "<!-- rates:end -->"


def test_rows_count_runs_and_not_occurrences() -> None:
    bad = story.result(story.recording())
    more = msgspec.structs.replace(bad, counts={"lost-write": 7}, blast=msgspec.structs.replace(bad.blast, lost=7))
    good = msgspec.structs.replace(
        bad, validity="valid", counts={}, classification="CP", blast=msgspec.structs.replace(bad.blast, lost=0)
    )
    other = msgspec.structs.replace(good, plan=Plan(database="etcd", variant="a|b"), versions={"n1": "3.4.23"})
    foreign = msgspec.structs.replace(good, plan=None)
    table = rates_table([bad, good, more, other, foreign])
    assert table.splitlines()[2:] == [
        "| etcd 3.4.23 | a\\|b | register | four-partitions | 1 | valid 1 | none | CP 1 | 0 |",
        "| redis 7.0.15 | sentinel | register | partition-primary | 3 | invalid 2, valid 1 | lost-write 2, stale-read 1 "
        "| neither 2, CP 1 | 7 |",
    ]
    assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_what_was_not_decided_counts_as_no_loss_at_all() -> None:
    bad = story.result(story.recording())
    unknown = msgspec.structs.replace(
        bad, validity="unknown", consistency="undecided", counts={}, blast=msgspec.structs.replace(bad.blast, lost=0)
    )
    assert rates_table([unknown]).splitlines()[2].endswith("| - |")
    assert rates_table([unknown, unknown, bad]).splitlines()[2].endswith("| 143 |")


def test_the_table_is_put_between_its_markers_and_again(tmp_path: Path) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        replace_table(readme, "rates", "| new |\n")
        assert readme.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_file_without_its_place_is_refused(tmp_path: Path, text: str) -> None:
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(UsageError, match="holds no place for the table"):
        replace_table(readme, "rates", "")
    assert readme.read_text() == text
