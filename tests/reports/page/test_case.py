"""The page of a case study: every figure of every run, nothing of a stranger's unescaped, and what was not judged said so."""

from __future__ import annotations

import re
from functools import cache
from html import unescape
from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from splitbrain.checkers.result import NotJudged, Result
from splitbrain.checkers.verdict import Figure
from splitbrain.harness.plan import Plan
from splitbrain.reports.page import case
from splitbrain.reports.terminal import verdict
from tests.reports import story
from tests.reports.page.test_browser import browser, opened

__all__ = ["browser"]

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
    never = Figure(name="of them sold again", least=0, most=0, price="consistency")
    assert case.cost(run(never)) == "It cost nothing: none of them sold again."
    assert case.cost(run(SOLD, TWICE)) == "It cost nothing: no payments <carried> out twice."


def test_what_was_observed_in_a_run_that_proves_nothing_is_told_as_no_proof() -> None:
    few = msgspec.structs.replace(
        run(SOLD), validity="unknown", reason="53 of 53 writes, fewer than 100.", sentence="CP: stocks kept",
    )
    told = text(case.page("sale", "a sale", [few, run(SOLD)], 2))
    assert "Observed: CP: stocks kept; but this run proves nothing: 53 of 53 writes, fewer than 100. " in told
    assert told.count("but this run proves nothing") == 1


def test_a_run_that_was_not_judged_says_why_and_a_stranger_says_nothing_else() -> None:
    plan = Plan(database="d", variant="v")
    page = case.page("sale", "a sale", [run(SOLD, hostile=True), NotJudged(run="", plan=plan, reason="<b>no</b> servers",
                                                                         exit_code=3)], 3)
    assert "It was not judged." in page and "<b>no</b>" not in page and "2 of 3 runs done" in text(page)
    assert not re.search(r"<(img|script|iframe)", page)
    assert not case.has_figures(NotJudged(run="", plan=plan, reason="", exit_code=3)) and not case.has_figures(run())


def test_runs_are_told_apart_by_the_options_in_which_they_differ() -> None:
    runs = [run(SOLD), run(SOLD), run(SOLD)]
    plans = [Plan(database=name, variant="v", workload="sale", options={"sale": {"stock": 5, "policy": policy}})
             for name, policy in (("d", "full"), ("d", "frozen"), ("e", "full"))]
    page = text(case.page("sale", "a sale", [msgspec.structs.replace(one, plan=plan)
                                             for one, plan in zip(runs, plans, strict=True)], 3))
    assert "Price of d v, policy full d v, policy frozen e v units sold" in page


def test_runs_that_differ_in_nothing_else_are_told_apart_by_their_seeds() -> None:
    plans = [Plan(database="d", variant="v", workload="sale", seed=seed) for seed in (1, 2)]
    runs = [msgspec.structs.replace(run(SOLD), plan=plan) for plan in plans]
    assert "Price of d v, seed 1 d v, seed 2 units sold" in text(case.page("sale", "a sale", runs, 2))


def test_the_terminal_tells_the_figures_too() -> None:
    told = StringIO()
    verdict(Console(file=told, width=100), run(SOLD, BEYOND))
    assert "COUNTED    1,926 to 1,943 units sold" in told.getvalue()
    assert "0 to 15 of 1,926 units sold that were not there" in told.getvalue()


@pytest.mark.servers
@pytest.mark.parametrize(("runs", "width"), [(3, 1280), (3, 380), (6, 380)])
def test_nobody_is_shut_out(browser: Any, tmp_path: Path, runs: int, width: int) -> None:
    case.write(tmp_path / "sale.html", "sale", "a sale", [run(SOLD, BEYOND, AWAY, TWICE)] * runs, runs)
    assert (tmp_path / "sale.html").read_text().endswith("</html>")
    from axe_playwright_python.sync_playwright import Axe

    page = opened(browser, tmp_path / "sale.html", width, "dark")
    assert [one["id"] for one in Axe().run(page).response["violations"]] == []
    assert page.complaints == [] and page.evaluate("document.documentElement.scrollWidth") <= width
    page.context.close()
