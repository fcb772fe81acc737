"""The pages of the comparison and of contracts, as the commands write them."""

from __future__ import annotations

from pathlib import Path

import msgspec
from click.testing import CliRunner

from splitbrain.checkers.result import encode
from splitbrain.harness.cli import commands
from splitbrain.reports.contract import contracts
from tests.reports import story


def stored(folder: Path) -> list[Path]:
    """Two runs: one that lost writes, and one that did not."""
    bad = msgspec.structs.replace(story.result(story.recording()), run="bad")
    good = msgspec.structs.replace(bad, run="good", counts={}, anomalies=(), classification="CP", heading="NO ANOMALY FOUND")
    for result in (bad, good):
        run = folder / "runs" / result.run
        run.mkdir(parents=True)
        (run / "result.json").write_bytes(encode(result))
        (run / "report.html").write_text("")
    return [folder / "runs" / name for name in ("bad", "good")]


def test_a_comparison_has_a_page_that_leads_to_both_reports(tmp_path: Path) -> None:
    first, second = stored(tmp_path)
    told = CliRunner().invoke(commands, ["compare", str(first), str(second), "--html", str(tmp_path / "compare.html")],
                              standalone_mode=False)
    assert told.return_value == 1, told.output
    page = (tmp_path / "compare.html").read_text()
    assert page.index("lost-write") < page.index("recovery after the heal")
    assert page.count('<b class="does-not-hold">differs</b>') == told.output.count("differs") > 2
    assert all(f'<a href="runs/{name}/report.html">' in page for name in ("bad", "good"))
    same = CliRunner().invoke(commands, ["compare", str(first), str(first), "--html", str(tmp_path / "same.html")],
                              standalone_mode=False)
    assert same.return_value == 0 and "No difference that matters" in (tmp_path / "same.html").read_text()


def test_a_contract_has_a_page_that_says_what_the_text_says(tmp_path: Path) -> None:
    stored(tmp_path)
    told = CliRunner().invoke(commands, ["contract", str(tmp_path / "runs"), "--html", str(tmp_path / "contract.html")])
    assert told.exit_code == 0, told.output
    page = (tmp_path / "contract.html").read_text()
    assert told.output.startswith("# Consistency contract: redis sentinel\n")
    (one,) = contracts([story.result(story.recording())])
    assert all(f"<dt>{title}</dt>" in page and f"## {title}\n" in told.output for title, _ in one.parts)
    assert all(f'<a href="runs/{name}/report.html">{name}</a>' in page for name in ("bad", "good"))
