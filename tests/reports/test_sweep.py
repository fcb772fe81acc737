"""What faults cost against their length: each point a run, nothing invented between them or for what is not known."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.linearizability import Linearizability
from splitbrain.checkers.measures.staleness import staleness
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.checkers.result import NotJudged, Result
from splitbrain.checkers.verdict import Staleness
from splitbrain.reports import nights, summary, sweep
from splitbrain.reports.page import charts, index
from tests.reports import story


def swept() -> list[Result | NotJudged]:
    """The story at faults of three lengths: as it was; with one that was not proven and nothing decided; and one without a
    verdict."""
    result = story.result(story.recording())
    row = msgspec.structs.replace(result.scenarios[0], lost=143)
    result = msgspec.structs.replace(result, scenarios=(row,), blast=msgspec.structs.replace(result.blast, lost=150))
    short = msgspec.structs.replace(
        row, in_force=12.0, heal_began=13.0, bit=False, lost=0, anomalies={}, recovery_reason="the heal was not proven")
    late = Staleness(stale=3, reads=10, share=0.3, median_ms=100, p99_ms=900, max_ms=1500, lossy=True)
    blast = msgspec.structs.replace(result.blast, lost=0, staleness=None, recovery=None, discarded=None)
    return [
        msgspec.structs.replace(result, run="long", plan=msgspec.structs.replace(story.PLAN, fault=15.0),
                                blast=msgspec.structs.replace(result.blast, staleness=late)),
        msgspec.structs.replace(result, run="short", plan=msgspec.structs.replace(story.PLAN, fault=1.0), validity="unknown",
                                consistency="undecided", scenarios=(short,), blast=blast),
        NotJudged(run="none", plan=msgspec.structs.replace(story.PLAN, fault=4.0), reason="no cluster", exit_code=3),
    ]


def test_runs_that_differ_in_the_length_of_their_faults_stand_apart() -> None:
    told = nights.all_told(swept())
    assert [run.place.under for run in told] == [f"partition-primary, {length} s" for length in (15, 1, 4)]
    (found,) = sweep.sweeps(told)
    assert [point.run.run for point in found.points] == ["short", "long"]
    assert [run.run for run in found.missing] == ["none"]
    assert sweep.sweeps(nights.all_told(swept()[:1] * 3)) == ()


def test_a_point_is_what_its_run_measured_and_what_is_not_known_is_no_number() -> None:
    results = swept()
    (found,) = sweep.sweeps(nights.all_told(results))
    unproven, proven = found.points
    row = story.result(story.recording()).scenarios[0]
    assert row.in_force is not None and row.heal_began is not None
    assert proven.cost.lengths == (row.heal_began - row.in_force,) and unproven.cost.lengths == ()
    assert (unproven.cost.length, sweep.lasted(unproven)) == (1.0, "1.0 s planned, not proven")
    assert [sweep.certain(point) for point in found.points] == [False, True]
    assert [sweep.cell(unproven, one) for one in sweep.MEASURES] == ["not known"] * 4
    assert [sweep.cell(proven, one) for one in sweep.MEASURES] == ["143", "not known", "at least 1.5 s", "1.2 s"]
    assert any(line.startswith("stalest read of the run: not known in 1 of 2 runs") for line in found.notes)
    assert any("could not be judged" in line for line in found.notes)


def test_the_chart_draws_what_is_known_and_no_line_between() -> None:
    (found,) = sweep.sweeps(nights.all_told(swept()))
    panels = charts.against_length(found)["hconcat"]
    assert [panel["title"]["text"] for panel in panels] == [
        "writes lost, proven", "stalest read of the run", "recovery after the heal",
    ]
    assert all(panel["mark"]["type"] == "point" for panel in panels)
    lost, stale, _ = (panel["data"]["values"] for panel in panels)
    assert lost == [{"x": 14.99, "y": 143, "sure": True, "least": False}]
    assert stale == [{"x": 14.99, "y": 1.5, "sure": True, "least": True}]


def test_discarded_writes_that_may_be_more_are_told_as_at_least_so_many() -> None:
    for untold, told in ((0, "1,012"), (3, "at least 1,012")):
        results = [
            msgspec.structs.replace(one, blast=msgspec.structs.replace(one.blast, discarded=1012, discarded_untold=untold))
            if isinstance(one, Result) else one for one in swept()
        ]
        (found,) = sweep.sweeps(nights.all_told(results))
        assert [sweep.cell(point, sweep.MEASURES[1]) for point in found.points] == [told] * 2
        assert [row["least"] for row in charts.against_length(found)["hconcat"][1]["data"]["values"]] == [untold > 0] * 2


def test_the_index_and_the_summary_tell_it(tmp_path: Path) -> None:
    results = swept()
    page = index.page("lengths", nights.all_told(results), (), index.Status(3, 3))
    section = page.partition('<section id="sweeps">')[2].partition("</section>")[0]
    assert len(re.findall(r"<tr><th scope=\"row\"", section)) == 2 and "<svg " in section
    assert "at least 1.5 s" in section and "not known" in section
    summary.write(tmp_path / "summary.md", results)
    text = (tmp_path / "summary.md").read_text()
    assert text.startswith("3 runs: 1 invalid, 1 unknown, 1 not judged.\n")
    rows = text.partition("## Against the length of the fault")[2]
    assert "| 15.0 s | 143 | not known | at least 1.5 s | 1.2 s | invalid | long |" in rows
    assert "| 1.0 s planned, not proven | not known | not known | not known | not known | unknown | short |" in rows
    summary.write(tmp_path / "summary.md", results[:1])
    assert "Against" not in (tmp_path / "summary.md").read_text()


def test_staleness_of_a_judged_run_is_that_of_its_history() -> None:
    recording = story.recording()
    result = judge(recording, [Linearizability(CasRegister())])
    assert set(result.counts) == {"stale-read"}
    assert result.blast.staleness is not None and result.blast.staleness == staleness(recording.history)
    told = nights.told(msgspec.structs.replace(result, run="one"))
    assert told is not None and told.cost is not None
    assert told.cost.stale_ms == pytest.approx(result.blast.staleness.max_ms) and not told.cost.at_least
