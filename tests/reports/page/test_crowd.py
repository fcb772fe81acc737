"""A run with hundreds of faults that overlap: what it says stays short enough to be read, and its sums stay what they are."""

from __future__ import annotations

import io
import re
from collections import Counter
from pathlib import Path

import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result
from splitbrain.harness.history.recording import Recording
from splitbrain.reports.page import charts, html
from splitbrain.reports.terminal import SHOWN, console, verdict
from splitbrain.reports.wording import count
from tests.checkers.scenes import MS, NODES, Says, apart, fault, overlapping, recording


@pytest.fixture(scope="module")
def crowd() -> tuple[Recording, Result]:
    """200 partitions, one begun before the last one was healed, too short for anybody to have asked enough."""
    faults = [
        overlapping(number + 1, 1 + number * 0.2, 1.3 + number * 0.2,
                    apart((NODES[number % 5],), tuple(node for node in NODES if node != NODES[number % 5])))
        for number in range(200)
    ]
    made = recording(faults=faults, length=44.0, workers=1, every=200 * MS)
    return made, judge(made, (Says(),))


def test_the_page_of_a_crowd_of_faults_can_be_read(crowd: tuple[Recording, Result], tmp_path: Path) -> None:
    made, result = crowd
    assert len(result.scenarios) == 200 and len(result.episodes) > html.LISTED and len(result.quality.failed) > html.LISTED
    page = html.page(result, made, tmp_path)
    assert len(page.encode()) <= 2_000_000
    assert page.count('aria-label="availability during episode') == html.PICTURED
    assert f"All {len(result.episodes)} stretches in which faults overlapped" in page
    assert f"{count(len(result.quality.failed) - html.LISTED)} more are in result.json" in page
    written = io.StringIO()
    verdict(console(written, width=100), result)
    assert len(written.getvalue().splitlines()) < 200
    assert written.getvalue().count("\nTEST ") == SHOWN
    assert f"{count(len(result.quality.failed) - SHOWN)} more in the report" in written.getvalue()


def test_operations_of_faults_that_overlap_are_counted_once(crowd: tuple[Recording, Result]) -> None:
    made, result = crowd
    assert sum(row.invoked for row in result.quality.counts) == len(made.history)
    during = [row for row in result.quality.counts if row.period == "faults 1 to 200"]
    within = [op for op in made.history if made.faults[0].started <= op.invoked < (made.faults[-1].healed or 0)]
    assert {row.kind: row.invoked for row in during} == Counter("read" if op.f == "read" else "write" for op in within)


def test_operations_of_many_faults_one_after_another_are_told_together_and_add_up() -> None:
    faults = [fault(number + 1, 1 + number, 1.5 + number) for number in range(30)]
    made = recording(faults=faults, length=32.0, workers=1, every=100 * MS)
    counts = judge(made, (Says(),)).quality.counts
    rows = html.counted(counts)
    assert [row.period for row in rows if row.kind == "read"] == [
        "baseline", "during faults", "after faults", "final reads",
    ]
    assert sum(row.invoked for row in rows) == sum(row.invoked for row in counts) == len(made.history)
    during: Counter[str] = Counter()
    for row in counts:
        if re.fullmatch(r"fault \d+", row.period):
            during[row.kind] += row.answered
    assert {row.kind: row.answered for row in rows if row.period == "during faults"} == dict(during)
    assert html.counted(counts[:html.LISTED]) == counts[:html.LISTED]


def test_in_a_chart_a_crowd_of_faults_is_the_time_in_which_some_was_in_force(crowd: tuple[Recording, Result]) -> None:
    made, _ = crowd
    throughput, *_ = charts.over_time(made)["vconcat"]
    bands, _, edges = throughput["layer"][:3]
    (band,) = bands["data"]["values"]
    assert (round(band["a"], 3), round(band["b"], 3)) == (1.0, 41.101)
    assert edges["data"]["values"] == []
