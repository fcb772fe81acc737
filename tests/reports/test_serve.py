"""The page of a folder: what stands in it, in which order, and how it stands."""

from __future__ import annotations

import re
from pathlib import Path

from splitbrain.reports import nights, serve


def test_runs_come_first_the_newest_at_the_top_and_a_suite_that_has_just_begun_is_one(tmp_path: Path) -> None:
    begun, older, newer = (tmp_path / name for name in ("20261102T000000-suite", "20261101T000000-run", "20261103T000000-run"))
    for folder in (begun, older, newer):
        folder.mkdir()
    (begun / nights.FILE).write_text("[]")
    (older / "journal.jsonl").touch()
    (newer / "report.html").touch()
    for name in ("summary.md", "junit.xml"):
        (tmp_path / name).touch()
    page = serve.listing(tmp_path, tmp_path)
    rows = re.findall(r'<tr><td><a href="([^"]+)">[^<]*</a></td><td>([^<]*)</td><td>(.*?)</td></tr>', page)
    assert [name for name, *_ in rows] == [f"{newer.name}/", f"{begun.name}/", f"{older.name}/", "junit.xml", "summary.md"]
    told = {name: (what, read) for name, what, read in rows}
    assert told[f"{begun.name}/"][0].startswith("suite: none of its runs judged yet")
    assert told[f"{older.name}/"][0] == "run: under way, or not judged"
    assert told[f"{newer.name}/"][1] == f'<a href="{newer.name}/report.html">report</a>'


def test_of_a_link_that_leads_out_nothing_is_told(tmp_path: Path) -> None:
    runs, outside = tmp_path / "runs", tmp_path / "outside"
    for folder in (runs, outside):
        folder.mkdir()
    (outside / "result.json").write_text('{"heading": "SECRET"}')
    (outside / "journal.jsonl").touch()
    (runs / "out").symlink_to(outside)
    (runs / "circle").symlink_to(runs / "circle")
    (runs / "notes.md").touch()
    (runs / "in").symlink_to(runs / "notes.md")
    assert re.findall(r'<tr><td><a href="([^"]+)">', serve.listing(runs, runs)) == ["in", "notes.md"]
