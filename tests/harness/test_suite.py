"""Suites: the matrix, its seeds, resuming, the worst exit code."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.plan import Plan
from splitbrain.harness.suite import Suite, open_suite, read, run_suite, worst

NIGHTLY = """
nemesis = "partition-primary"
time = 20
repeats = 2

[[runs]]
database = "reference"
variant = ["majority", "primary-async"]
workload = ["register", "set"]

[[runs]]
database = "etcd"
repeats = 1
expect = ["CP"]
"""


@pytest.fixture
def nightly(tmp_path: Path) -> Path:
    file = tmp_path / "nightly.toml"
    file.write_text(NIGHTLY)
    return file


def test_the_matrix_is_every_combination_with_seeds_of_their_own(nightly: Path) -> None:
    plans = read(nightly)
    assert len(plans) == 2 * 2 * 2 + 1
    assert {plan.variant for plan in plans if plan.database == "reference"} == {"majority", "primary-async"}
    assert plans[-1].expect == ("CP",) and plans[-1].time == 20.0
    assert len({plan.seed for plan in plans}) == len(plans)
    assert read(nightly) == plans


def test_a_killed_suite_goes_on_where_it_was(nightly: Path, tmp_path: Path) -> None:
    ran: list[Plan] = []

    def perform(plan: Plan, folder: Path) -> tuple[str, int]:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(plan)
        return "label", 0

    def told(suite: Suite) -> None:
        assert not suite.finished or len(ran) == 9

    first = open_suite(nightly, tmp_path / "runs")
    with pytest.raises(KeyboardInterrupt):
        run_suite(first, perform, told)
    again = open_suite(nightly, tmp_path / "runs")
    assert again.folder == first.folder
    assert [entry.exit_code for entry in again.entries] == [0] * 3 + [None] * 6
    assert worst(again) == 130

    def rest(plan: Plan, folder: Path) -> tuple[str, int]:
        ran.append(plan)
        return "label", 2 if len(ran) == 5 else 0

    finished = run_suite(again, rest, told)
    assert ran == list(read(nightly)) and finished.finished and worst(finished) == 2
    assert open_suite(nightly, tmp_path / "runs").folder != first.folder


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((0, 2, 1), 1), ((1, 4, 0), 4), ((4, 3), 3), ((3, 70, 0), 70), ((0, 0), 0)],
)
def test_the_worst_exit_code_in_its_order(tmp_path: Path, nightly: Path, codes: tuple[int, ...], expected: int) -> None:
    entries = open_suite(nightly, tmp_path).entries[: len(codes)]
    suite = Suite("n", tmp_path, entries)
    left = iter(codes)
    assert worst(run_suite(suite, lambda plan, folder: ("label", next(left)), lambda suite: None)) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("time = 20\n", r"no \[\[runs\]\] table"),
        ("[[runs]]\ndatabase = 'reference'\nrepeats = 0\n", "number 1: repeats is 0"),
        ("[[runs]]\ndatabase = 'reference'\nnode = 3\n", "number 1: unknown key 'node'"),
        ("[[runs]]\ndatabase = 'referenc'\n", "number 1: no database"),
        ("[[runs]\n", "not TOML"),
    ],
)
def test_a_suite_that_is_wrong_is_refused_by_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        read(file)
