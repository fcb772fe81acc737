import io
from pathlib import Path

import msgspec

from splitbrain.checkers.result import NotJudged
from splitbrain.reports import summary
from splitbrain.reports.terminal import console
from tests.reports import story


def test_what_needs_looking_at_comes_first(tmp_path: Path) -> None:
    good = msgspec.structs.replace(story.result(story.recording()), run="good", expectations=(), exit_code=0)
    missed = msgspec.structs.replace(story.result(story.recording()), run="missed", exit_code=4)
    broken = NotJudged(run="broken", plan=story.PLAN, reason="n2 | never got ready\x1b[31m", exit_code=3)
    summary.write(tmp_path / "summary.md", [good, missed, broken])
    text = (tmp_path / "summary.md").read_text()
    rows = text.splitlines()
    # Nobody expected anything of them: nothing is as it should be, or not.
    assert rows[0] == "3 runs: 2 invalid, 1 not judged."
    expecting = msgspec.structs.replace(good, plan=msgspec.structs.replace(story.PLAN, expect=("lost-write",)))
    summary.write(tmp_path / "expecting.md", [expecting, missed, broken])
    assert (tmp_path / "expecting.md").read_text().splitlines()[0] == "1 of 3 runs as they should be."
    assert [row.split(" | ")[0] for row in rows[4:]] == ["| broken", "| missed", "| good"]
    assert "n2 \\| never got ready\\\\x1b[31m" in rows[4]
    assert rows[5].endswith("| neither | NOT MET: CP |")


def test_the_terminals_table_shows_strangers_text_as_text() -> None:
    out = io.StringIO()
    console(out, 300).print(summary.table([msgspec.structs.replace(story.result(story.recording()), heading="[red]x\x1b[31m")]))
    assert "[red]x\\x1b[31m (lost-write 143, stale-read 1,014)" in out.getvalue()
    assert "\x1b" not in out.getvalue()
