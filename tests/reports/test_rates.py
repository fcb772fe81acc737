from pathlib import Path

import msgspec
import pytest

from splitbrain.checkers.result import Discarded, Result
from splitbrain.harness.errors import UsageError
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.reports.rates import (
    FOUND_RUNS,
    Rate,
    each_once,
    fault_of,
    found_table,
    rate,
    rates_table,
    replace_table,
    replace_tables,
    store_rates,
    stored_rates,
)
from tests.reports import story

ROOT = Path(__file__).resolve().parents[2]

BEGIN, END = "<!-- rates:begin -->", "<!-- rates:end -->"


def rates(*results: Result) -> list[Rate]:
    return [one for result in results if (one := rate(result)) is not None]


def test_rows_count_runs_and_not_occurrences() -> None:
    bad = story.result(story.recording())
    more = msgspec.structs.replace(bad, counts={"lost-write": 7}, blast=msgspec.structs.replace(bad.blast, lost=7))
    good = msgspec.structs.replace(
        bad, validity="valid", counts={}, classification="CP",
        blast=msgspec.structs.replace(bad.blast, lost=0, discarded=5, discarded_last=3),
        scenarios=tuple(
            msgspec.structs.replace(row, discarded=Discarded(contested=4, writes=5, keys=4, last=3) if not number else None)
            for number, row in enumerate(bad.scenarios)
        ),
    )
    elsewhere = Plan(database="etcd", variant="a|b", nodes=3, testbed="docker")
    other = msgspec.structs.replace(good, plan=elsewhere, versions={"n1": "3.4.23"}, scenarios=())
    foreign = msgspec.structs.replace(good, plan=None)
    interrupted = msgspec.structs.replace(good, interrupted=True)
    table = rates_table(rates(bad, good, more, other, foreign, interrupted))
    assert table.splitlines()[2:] == [
        "| etcd 3.4.23 | a\\|b | 3 in docker | register | four-partitions | 1 | valid 1 "
        "| none | CP 1 | agreed 1 | -, - | 0 | 5, -, 3 |",
        "| redis 7.0.15 | sentinel | 5 in namespaces | register | partition-primary | 3 | invalid 2, valid 1 | "
        "lost-write 2, stale-read 1 | neither 2, CP 1 | agreed 3 | 100.0%, 100.0% | 7 | 5, 4, 3 (1 run) |",
    ]
    assert len({line.replace("\\|", "").count("|") for line in table.splitlines()}) == 1


def test_what_was_found_in_short_is_of_other_peoples_databases_of_controls_and_of_enough_runs() -> None:
    (one,) = rates(story.result(story.recording()))
    ours = msgspec.structs.replace(one, database="reference")
    control = msgspec.structs.replace(ours, variant="primary-async", nemesis="one-way")
    rare = msgspec.structs.replace(one, nemesis="kill")
    unknown = msgspec.structs.replace(one, validity="unknown", anomalies={})
    table = found_table([*[one] * (FOUND_RUNS - 1), unknown, *[ours, control] * FOUND_RUNS, *[rare] * (FOUND_RUNS - 1)])
    assert table.splitlines()[2:] == [
        "| redis 7.0.15 | sentinel | register | partition-primary | 10 | invalid 9, unknown 1 | lost-write 9, stale-read 9 |",
        "| reference 7.0.15 | primary-async | register | one-way | 10 | invalid 10 | lost-write 10, stale-read 10 |",
    ]


def test_the_tables_of_the_documentation_are_those_of_the_stored_results() -> None:
    held = each_once(stored_rates(ROOT / "rates.jsonl"))
    assert f"<!-- rates:begin -->\n{rates_table(held)}<!-- rates:end -->" in (ROOT / "docs" / "rates.md").read_text("utf-8")
    assert f"<!-- found:begin -->\n{found_table(held)}<!-- found:end -->" in (ROOT / "README.md").read_text("utf-8")


def test_what_was_not_decided_counts_as_no_loss_at_all() -> None:
    bad = story.result(story.recording())
    unknown = msgspec.structs.replace(
        bad, validity="unknown", consistency="undecided", counts={}, blast=msgspec.structs.replace(bad.blast, lost=0)
    )
    assert rates_table(rates(unknown)).splitlines()[2].endswith("| - | - |")
    assert rates_table(rates(unknown, unknown, bad)).splitlines()[2].endswith("| 143 | - |")


def test_what_gave_way_is_told_of_the_runs_that_were_asked_for_it() -> None:
    bad = story.result(story.recording())
    asked = msgspec.structs.replace(bad, blast=msgspec.structs.replace(bad.blast, discarded=5, discarded_last=3), scenarios=())
    untold = msgspec.structs.replace(asked, blast=msgspec.structs.replace(asked.blast, discarded_untold=2))
    (one,), (least,) = rates(asked), rates(untold)
    before = msgspec.structs.replace(one, discarded=7, discarded_untold=None)
    parts_nobody = msgspec.structs.replace(asked, blast=msgspec.structs.replace(asked.blast, discarded=None))

    def told(*group: Rate) -> str:
        return rates_table(group).splitlines()[2].split(" | ")[-1].removesuffix(" |")

    assert (told(one), told(one, least), told(least)) == ("5, -, 3", "≥ 5, -, 3", "≥ 5, -, 3")
    assert (told(one, before), told(before), told(*rates(parts_nobody))) == ("5, -, 3 (1 run)", "-", "-")


def test_stored_rates_are_read_back(tmp_path: Path) -> None:
    kept = rates(story.result(story.recording()))
    store_rates(tmp_path / "rates.jsonl", kept)
    assert list(stored_rates(tmp_path / "rates.jsonl")) == kept and kept


def test_a_store_is_added_to_and_holds_each_run_once(tmp_path: Path) -> None:
    store = tmp_path / "rates.jsonl"
    (first,) = rates(story.result(story.recording()))
    second = msgspec.structs.replace(first, run="second")
    elsewhere = msgspec.structs.replace(first, seed=first.seed + 1)
    again = msgspec.structs.replace(first, validity="unknown")
    assert store_rates(store, [first]) == (first,)
    assert store_rates(store, [second, elsewhere]) == (first, second, elsewhere)
    assert store_rates(store, [again, second]) == (again, second, elsewhere) == stored_rates(store)
    assert each_once([first, second, again]) == (again, second)


def test_a_device_is_no_store() -> None:
    with pytest.raises(UsageError, match="is no file"):
        store_rates(Path("/dev/zero"), [])


def test_a_store_that_holds_something_else_is_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine\n")
    with pytest.raises(UsageError, match=r"notes\.txt:1: is no stored result"):
        store_rates(tmp_path / "notes.txt", rates(story.result(story.recording())))
    assert (tmp_path / "notes.txt").read_text() == "mine\n"


def test_clients_that_wait_a_fault_out_have_a_row_of_their_own() -> None:
    plan = Plan(database="redis", variant="sentinel", nemesis="pause:primary", fault=9, timeout=9)
    assert fault_of(plan) == "pause:primary"
    assert fault_of(msgspec.structs.replace(plan, timeout=9.5)) == "pause:primary, calls wait 9.5 s"
    script = (ScriptedFault(at=1, duration=12, nemesis="pause:primary"), ScriptedFault(at=20, duration=3, nemesis="kill"))
    assert fault_of(msgspec.structs.replace(plan, schedule=script, timeout=12)) == "scripted"
    assert fault_of(msgspec.structs.replace(plan, schedule=script, timeout=13)) == "scripted, calls wait 13 s"


@pytest.mark.parametrize("content", [b"{}\n", b"no\n", b'{"run": 3}\n', b"\xff\n"])
def test_a_file_that_holds_something_else_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "rates.jsonl").write_bytes(content)
    with pytest.raises(UsageError, match=r"rates\.jsonl:1: is no stored result"):
        stored_rates(tmp_path / "rates.jsonl")
    with pytest.raises(UsageError, match="cannot be read"):
        stored_rates(tmp_path / "other.jsonl")


def test_the_table_is_put_between_its_markers_and_again(tmp_path: Path) -> None:
    page = tmp_path / "rates.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    for _ in range(2):
        replace_table(page, "rates", "| new |\n")
        assert page.read_text() == f"before\n{BEGIN}\n| new |\n{END}\nafter\n"


def test_a_page_is_given_the_tables_that_it_has_a_place_for(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("<!-- found:begin -->\n<!-- found:end -->\n")
    replace_tables(page, {"rates": "| all |\n", "found": "| found |\n"})
    assert page.read_text() == "<!-- found:begin -->\n| found |\n<!-- found:end -->\n"
    page.write_text(f"{BEGIN}{END}<!-- found:begin --><!-- found:end -->")
    replace_tables(page, {"rates": "| all |\n", "found": "| found |\n"})
    assert "| all |" in page.read_text() and "| found |" in page.read_text()
    page.write_text("no place")
    with pytest.raises(UsageError, match="put the lines <!-- rates:begin -->"):
        replace_tables(page, {"rates": "", "found": ""})


@pytest.mark.parametrize("text", ["", BEGIN, f"{END}{BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"])
def test_a_file_without_its_place_is_refused(tmp_path: Path, text: str) -> None:
    page = tmp_path / "rates.md"
    page.write_text(text)
    with pytest.raises(UsageError, match="holds no place for the table"):
        replace_table(page, "rates", "")
    assert page.read_text() == text
