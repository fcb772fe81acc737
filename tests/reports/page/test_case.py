"""The page of a case study: every figure of every run, nothing of a stranger's unescaped, and what was not judged said so."""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from pathlib import Path

import msgspec

from splitbrain.checkers.result import NotJudged, Result
from splitbrain.checkers.verdict import Figure
from splitbrain.harness.plan import Plan
from splitbrain.reports.page import case
from tests.reports import story

SOLD = Figure(name="units sold", least=1926, most=1943)
BEYOND = Figure(name="units sold that were not there", least=0, most=15, of=1926, price="consistency")
AWAY = Figure(name="requests turned away", least=28, most=28, of=6136, price="availability")
TWICE = Figure(name="payments <carried> out twice", least=0, most=0, of=104, price="consistency")


@cache
def result_of(hostile: bool) -> Result:
    return story.result(story.recording(hostile=hostile), hostile=hostile)


def run(*figures: Figure, hostile: bool = False) -> Result:
    """The story of a run, whose first verdict has these figures."""
    result = result_of(hostile)
    first = msgspec.structs.replace(result.verdicts[0], figures=figures)
    return msgspec.structs.replace(result, verdicts=(first, *result.verdicts[1:]), run="a run")


def text(of: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", of)).split())


def test_every_figure_stands_in_the_column_of_its_run_with_its_bounds() -> None:
    page = case.page("sale", "a sale", [run(SOLD, BEYOND, AWAY, TWICE), run(SOLD, AWAY)], 2)
    told = text(page)
    assert "units sold 1,926 to 1,943 1,926 to 1,943" in told
    assert "units sold that were not there consistency 0 to 15 0.0% to 0.8% of 1,926 -" in told
    assert "requests turned away availability 28 0.5% of 6,136 28 0.5% of 6,136" in told
    assert "<carried>" not in page and 'href="a%20run/report.html"' in page
    assert "refresh" not in page and "<script" not in page


def test_what_a_run_cost_is_told_by_how_certain_it_is() -> None:
    assert case.cost(run(SOLD, BEYOND, AWAY, TWICE)) == (
        "28 requests turned away. 0 to 15 units sold that were not there. No payments <carried> out twice."
    )
    assert case.cost(run(SOLD, TWICE)) == "It cost nothing: no payments <carried> out twice."


def test_a_run_that_was_not_judged_says_why_and_a_stranger_says_nothing_else() -> None:
    plan = Plan(database="d", variant="v")
    page = case.page("sale", "a sale", [run(SOLD, hostile=True), NotJudged(run="", plan=plan, reason="<b>no</b> servers",
                                                                         exit_code=3)], 3)
    assert "It was not judged." in page and "<b>no</b>" not in page and "2 of 3 runs done" in text(page)
    assert not re.search(r"<(img|script|iframe)", page)
    assert not case.has_figures(NotJudged(run="", plan=plan, reason="", exit_code=3)) and not case.has_figures(run())


def test_it_is_written_whole(tmp_path: Path) -> None:
    case.write(tmp_path / "sale.html", "sale", "a sale", [run(SOLD)], 1)
    assert (tmp_path / "sale.html").read_text().endswith("</html>")
