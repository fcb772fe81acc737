import fcntl
import io
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from pathlib import Path

import msgspec

from splitbrain.checkers.result import Expectation, NotJudged
from splitbrain.reports import summary
from splitbrain.reports.terminal import console
from tests.reports import story


def test_what_needs_looking_at_comes_first(tmp_path: Path) -> None:
    good = msgspec.structs.replace(story.result(story.recording()), run="good", expectations=(), exit_code=0)
    missed = msgspec.structs.replace(story.result(story.recording()), run="missed", exit_code=4)
    reason = "n2 | never got ready\x1b[31m. Its log:\nINFO n2 of the log"
    broken = NotJudged(run="broken", plan=story.PLAN, reason=reason, exit_code=3)
    summary.write(tmp_path / "summary.md", [good, missed, broken])
    text = (tmp_path / "summary.md").read_text()
    rows = text.splitlines()
    # Nobody expected anything of them: nothing is as it should be, or not.
    assert rows[0] == "3 runs: 2 invalid, 1 not judged."
    expecting = msgspec.structs.replace(good, plan=msgspec.structs.replace(story.PLAN, expect=("lost-write",)))
    summary.write(tmp_path / "expecting.md", [expecting, missed, broken])
    assert (tmp_path / "expecting.md").read_text().splitlines()[0] == "1 of 3 runs as they should be."
    assert [row.split(" | ")[0] for row in rows[4:]] == ["| broken", "| missed", "| good"]
    assert "n2 \\| never got ready\\\\x1b[31m. Its log: … |" in rows[4], "the index has the rest"
    assert rows[5].endswith("| neither | NOT MET: CP |")


def test_a_rate_is_told_by_whether_it_was_seen_in_this_run(tmp_path: Path) -> None:
    known, rate = Expectation("valid", True, ""), Expectation("CP 70%", True, "", 0.7, False)
    missed, seen = msgspec.structs.replace(known, met=False), msgspec.structs.replace(rate, seen=True)
    for expectations, told in (((known, rate), "met, CP 70% not seen"), ((seen,), "CP 70% seen"), ((known,), "met"),
                               ((missed, rate), "NOT MET: valid")):
        result = msgspec.structs.replace(story.result(story.recording()), expectations=expectations)
        summary.write(tmp_path / "summary.md", [result])
        assert (tmp_path / "summary.md").read_text().splitlines()[-1].endswith(f" | {told} |")


def test_the_terminals_table_shows_strangers_text_as_text() -> None:
    out = io.StringIO()
    console(out, 300).print(summary.table([msgspec.structs.replace(story.result(story.recording()), heading="[red]x\x1b[31m")]))
    assert "[red]x\\x1b[31m (lost-write 143, stale-read 1,014)" in out.getvalue()
    assert "\x1b" not in out.getvalue()


def test_a_night_in_a_file_has_no_blanks_at_the_ends_of_lines() -> None:
    found = story.result(story.recording())
    for width in (60, 300):
        out = io.StringIO()
        console(out, width).print(summary.table([found, NotJudged(run="broken", plan=story.PLAN, reason="no", exit_code=3)]))
        lines = out.getvalue().split("\n")
        assert len(lines) > 3 and lines == [line.rstrip(" ") for line in lines]


def on_a_terminal() -> None:
    """Print a night on this process' terminal, 80 columns wide, and then 120."""
    counts = {"lost-write": 13, "split-brain": 98, "stale-read": 3852, "non-monotonic-read": 22, "reordered": 4, "diverged": 1}
    plan = msgspec.structs.replace(story.PLAN, expect=("CP",))
    found = msgspec.structs.replace(story.result(story.recording()), plan=plan, counts=counts, exit_code=4)
    broken = NotJudged(run="broken", plan=msgspec.structs.replace(plan, variant="sentinel-min-replicas"), exit_code=3,
                       reason="n2 never got ready, and so on, and so on, for longer than any line has room: the end")
    for width in (80, 120):
        fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        print(f"width {width}", flush=True)
        console().print(summary.table([found, broken, msgspec.structs.replace(found, counts={})]))


def test_a_night_reads_well_on_a_terminal_of_80_columns_and_has_a_table_on_one_of_120() -> None:
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import on_a_terminal as show; show()"],
        stdin=inside, stdout=inside, stderr=inside,
        # Of the size that the terminal has: xdist gives its workers one of its own.
        env={name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        | {"TERM": "xterm", "NO_COLOR": "1", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    ) as child:
        os.close(inside)
        told = bytearray()
        while True:
            try:
                told += os.read(terminal, 65536)
            except OSError:  # A terminal that everybody has left.
                break
    os.close(terminal)
    assert child.returncode == 0, told.decode()
    shown = re.sub(r"\x1b\[[0-9;]*m", "", told.decode()).replace("\r\n", "\n")
    narrow, wide = (part.split("\n") for part in re.split(r"width (?:80|120)\n", shown)[1:])
    assert max(map(len, narrow)) <= 80 and max(map(len, wide)) <= 120
    assert narrow[0] == "redis sentinel-min-replicas, register, partition-primary, seed 8161"
    assert "  NOT JUDGED" in narrow and "  neither, expected: NOT MET: CP" in narrow and len(narrow) < 14
    # Whole words, and all of them, in both.
    for lines in (narrow, wide):
        assert {"redis", "sentinel-min-replicas", "partition-primary", "lost-write", "3", "852", "non-monotonic-read",
                "reordered", "diverged", "end", "MET", "CP"} <= set(re.findall(r"[\w-]+", " ".join(lines)))
    assert wide[0].split() == list(summary.COLUMNS[1:])
    narrowed = " ".join(" ".join(narrow).split())
    assert "(lost-write 13, split-brain 98, stale-read 3,852, non-monotonic-read 22, reordered 4, diverged 1)" in narrowed
