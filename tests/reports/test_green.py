"""How probable a green night is: against closed forms, and for the suite that is shipped."""

from __future__ import annotations

from math import log
from pathlib import Path

import msgspec
import pytest

from splitbrain.harness.plan import Plan
from splitbrain.harness.suite.matrix import read
from splitbrain.reports import green
from splitbrain.reports.rates import Rate, stored_rates
from tests.conftest import ROOT

NIGHTLY = ROOT / "nightly.toml"


def records(good: int, of: int, unknown: int = 0) -> list[Rate]:
    """Runs of etcd, of which so many were valid, so many unknown, and the others lost a write."""
    one = Rate(
        run="r", started="", database="etcd", version="", variant="linearizable", testbed="namespaces", nodes=5,
        workload="register", nemesis="halves", seed=0, validity="valid", classification="CP", anomalies={}, replicas="agreed",
        minority=None, majority=None, lost=None, discarded=None, discarded_keys=None, discarded_last=None,
    )
    lost = msgspec.structs.replace(one, validity="invalid", classification="neither", anomalies={"lost-write": 1})
    none = msgspec.structs.replace(one, validity="unknown", classification="unknown")
    return [one] * good + [lost] * (of - good) + [none] * unknown


def plans(*expect: str, runs: int = 1, retries: int = 0) -> list[tuple[Plan, int]]:
    return [(Plan(database="etcd", variant="linearizable", nemesis="halves", nodes=5, expect=expect), retries)] * runs


def test_what_was_always_seen_is_still_not_certain() -> None:
    found = green.forecast(plans("valid"), records(100, 100)).green
    # Green if it proves something and is valid, both of which were seen in 100 of 100: together the chance of red is nearly
    # exponential, of mean 1%.
    assert found.middle == pytest.approx(1 - log(2) / 100, abs=0.003)
    assert found.low == pytest.approx(1 - log(40) / 100, abs=0.006) and found.high > 0.999
    thrice = green.forecast(plans("valid", runs=3), records(100, 100)).green
    assert thrice.middle == pytest.approx(found.middle ** 3, abs=0.005)
    few, many = (green.forecast(plans("valid"), records(number, number)).green.low for number in (5, 50))
    assert few < 0.7 < many


def test_a_rate_is_red_where_it_is_refuted_and_not_where_one_run_misses_it() -> None:
    known = records(1000, 2000)
    assert green.forecast(plans("lost-write 30%", runs=3), known).green.middle > 0.99
    assert green.forecast(plans("lost-write 80%", runs=3), known).green.middle < 0.1, "in thirty nights it is refuted"
    assert green.forecast(plans("lost-write", runs=3), known).green.middle == pytest.approx(1 / 8, abs=0.02)


def test_what_proves_nothing_is_red_unless_it_is_run_again() -> None:
    known = records(500, 500, unknown=500)
    assert green.forecast(plans("CP 30%"), known).green.middle == pytest.approx(0.5, abs=0.03)
    assert green.forecast(plans("CP 30%", retries=2), known).green.middle == pytest.approx(0.875, abs=0.03)


def test_a_place_without_records_says_nothing() -> None:
    (row,) = green.forecast(plans("lost-write"), ()).rows
    assert row.seen == ("0 of 0",) and row.green.low < 0.01 and row.green.high > 0.9
    (row,) = green.forecast(plans("blocked:minority"), records(10, 10)).rows
    assert row.seen == ("0 of 0",), "records do not tell the states of sides"


def test_the_shipped_nightly_is_green_in_29_of_30_nights() -> None:
    found = green.forecast(read(NIGHTLY), stored_rates(ROOT / "rates.jsonl"))
    assert found.green.middle >= 29 / 30, green.table(found)
    assert all(not seen.startswith("0 of") for row in found.rows for seen in row.seen), "every expectation is recorded"
    # What the page of rates says is this number.
    assert f"Green in {found.green.sentence}." in (ROOT / "docs" / "rates.md").read_text()


@pytest.mark.parametrize(
    ("was", "becomes"), [('["split-brain 40%"]', '["lost-write"]'), ('["valid", "CP 30%"]', '["valid", "CP"]'), ("60%", "99%")]
)
def test_a_change_that_makes_the_nightly_red_is_seen(tmp_path: Path, was: str, becomes: str) -> None:
    file = tmp_path / "nightly.toml"
    text = NIGHTLY.read_text()
    assert was in text
    file.write_text(text.replace(was, becomes))
    assert green.forecast(read(file), stored_rates(ROOT / "rates.jsonl")).green.middle < 29 / 30
