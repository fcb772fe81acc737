import io
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from splitbrain.checkers.result import Convergence, Failure, Held, Home, Measure, Result, Source
from splitbrain.checkers.verdict import Anomaly, Verdict
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.recording import Recording
from splitbrain.reports import junit, terminal
from splitbrain.reports.page import html
from tests.reports import story


def printed(width: int = 80, hostile: bool = False, **changes: object) -> str:
    recording = story.recording(hostile)
    result = msgspec.structs.replace(story.result(recording, hostile), **changes)
    out = io.StringIO()
    terminal.verdict(terminal.console(out, width), result)
    return out.getvalue()


def terminal_text(path: Path, result: Result, recording: Recording) -> str:
    with path.open("w") as out:
        terminal.verdict(terminal.console(out, 200), result)
    return path.read_text()


def page_text(path: Path, result: Result, recording: Recording) -> str:
    html.write(path, result, recording)
    return path.read_text()


def junit_text(path: Path, result: Result, recording: Recording) -> str:
    found = Verdict(checker="convergence", validity="invalid", reason="r", anomalies=result.anomalies, counts=result.counts)
    junit.write(path, [msgspec.structs.replace(result, verdicts=(found,))])
    return path.read_text()


def test_the_verdict_comes_first() -> None:
    lines = printed().splitlines()
    assert lines[1] == "NOT LINEARIZABLE   2 of 40 keys: acknowledged writes were lost (lost-write)"
    heads = [line.split()[0] for line in lines if line and line[0] != " "]
    assert heads == ["NOT", "ALSO", "OBSERVED", "LIMIT", "CLAIM", "LABEL", "EXPECT"]


def test_where_to_read_on_is_told_once_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "x"
    folder.mkdir(parents=True)
    others = [
        "check      splitbrain check runs/x",
        "again      splitbrain test redis --variant sentinel --nemesis partition-primary --nodes 5 --time 45 --seed 8161",
    ]
    for there, wanted in ((False, others), (True, ["report     runs/x/report.html", *others])):
        if there:
            (folder / "report.html").touch()
        out = io.StringIO()
        terminal.kept(terminal.console(out, 80), story.result(story.recording()), folder)
        assert out.getvalue().splitlines()[1:] == wanted


FAILED = (
    Failure(outcome="info", reason="unknown-error", times=7, detail="ERR <b>disk\x1b[2J full", details=2),
    Failure(outcome="fail", reason="no-primary-in-reach", times=3),
)


def test_what_the_servers_said_of_failures_is_shown_by_reason_and_nothing_in_it_is_obeyed(tmp_path: Path) -> None:
    said = printed(200, failures=FAILED)
    assert "FAILED     7 × unknown-error (may have happened): ERR <b>disk\\x1b[2J full\n" in said
    assert "           3 × no-primary-in-reach\n" in said
    assert "FAILED" not in printed(200, failures=FAILED[1:]), "reasons alone are in the report"
    recording = story.recording(False)
    page = page_text(tmp_path / "r.html", msgspec.structs.replace(story.result(recording, False), failures=FAILED), recording)
    assert "ERR &lt;b&gt;disk\\x1b[2J full" in page and "<b>disk" not in page and "and 1 other text" in page


def test_the_evidence_says_who_was_cut_off_and_since_when() -> None:
    evidence = [line for line in printed(100).splitlines() if "→" in line]
    assert len(evidence) == 3
    assert evidence[0].startswith("  key ")
    assert "n1 0:14." in evidence[0] and "→ ok" in evidence[0]
    assert evidence[0].endswith("(n1 cut off since 0:12)")
    assert "cut off" not in evidence[1] + evidence[2]
    assert len({line.index("→") for line in evidence}) == 1


def test_availability_stands_beside_each_side() -> None:
    text = printed(120)
    assert "{n1}           writes 100.0%  reads 100.0%" in text
    assert "(no primary in reach for 3.2 s)" in text
    narrow = printed(60)
    note = narrow[narrow.index("(no primary in reach") :]
    assert max(map(len, note[: note.index(")")].splitlines())) <= 60
    assert "after heal: recovered in 1.2 s, replicas equal within 1.9 s" in text


def test_where_a_side_holds_more_of_some_keys_than_of_others_each_has_its_row() -> None:
    result = story.result(story.recording())
    scenario = result.scenarios[0]
    side = scenario.sides[0]
    nothing = msgspec.structs.replace(side.write, answered=0)
    held = (
        Held(here=2, of=3, keys=7, read=side.read, write=side.write),
        Held(here=0, of=3, keys=2, read=nothing, write=nothing),
    )
    sides = (msgspec.structs.replace(side, held=held), *scenario.sides[1:])
    lines = printed(100, scenarios=(msgspec.structs.replace(scenario, sides=sides),)).splitlines()
    first = next(at for at, line in enumerate(lines) if "{n1}" in line)
    assert lines[first].split()[1:] == ["writes", "100.0%", "reads", "100.0%"]
    assert lines[first + 1].split() == ["2", "of", "3", "replicas", "here", "writes", "100.0%", "reads", "100.0%"]
    assert lines[first + 2].split() == ["0", "of", "3", "replicas", "here", "writes", "0.0%", "reads", "0.0%"]
    assert len({line.index("writes") for line in lines[first : first + 3]}) == 1


def test_the_evidence_names_the_server_beside_the_home_wherever_it_is_shown(tmp_path: Path) -> None:
    recording = story.recording()
    result = story.result(recording)
    write, *others = result.anomalies[0].operations
    apart = msgspec.structs.replace(write, node="n1", server="n3")
    found = msgspec.structs.replace(result.anomalies[0], operations=(apart, *others))
    result = msgspec.structs.replace(result, anomalies=(found, *result.anomalies[1:]))
    first = next(line for line in terminal_text(tmp_path / "t", result, recording).splitlines() if "→" in line)
    assert "n1 via n3" in first
    assert f"n1 client {write.process} via n3" in page_text(tmp_path / "p", result, recording)
    assert f"n1 client {write.process} via n3" in junit_text(
        tmp_path / "j", msgspec.structs.replace(result, expectations=()), recording
    )


def test_a_history_without_times_shows_none_and_no_heal(tmp_path: Path) -> None:
    recording = story.recording()
    source = Source(path="h.jsonl", format="jsonl", model="register", why="", nil="")
    bare = msgspec.structs.replace(
        story.result(recording), plan=None, variant=None, source=source, scenarios=(), baseline=(), convergence=Convergence(),
    )
    untimed = terminal_text(tmp_path / "t", bare, recording)
    timed = terminal_text(tmp_path / "u", msgspec.structs.replace(bare, source=msgspec.structs.replace(source, timed=True)),
                          recording)
    tells = [[bool(re.search(r"\d:\d\d|\d s\b", line)) for line in text.splitlines() if "→" in line]
             for text in (untimed, timed)]
    assert len(tells[0]) == len(tells[1]) > 0 and not any(tells[0]) and all(tells[1])
    assert "heal" not in untimed


def test_after_heal_is_said_only_where_something_was_healed() -> None:
    calm = printed(100, scenarios=(), sentence="no fault", convergence=Convergence(state="agreed", seconds=0.5))
    assert "at the end: replicas equal within 500 ms" in calm and "after heal" not in calm
    assert "after heal: " in printed(100)


def test_a_bridge_is_told_by_home() -> None:
    """Links are cut, and yet all nodes are connected: there is one side, and it is not what anybody saw."""
    scenario = story.result(story.recording()).scenarios[0]
    read, write = scenario.sides[0].read, scenario.sides[0].write
    homes = tuple(
        Home(node=node, read=read, write=msgspec.structs.replace(write, answered=0) if node == "n2" else write)
        for node in story.NODES
    )
    whole = msgspec.structs.replace(scenario.sides[0], nodes=story.NODES, quorum=True)
    lines = printed(120, scenarios=(msgspec.structs.replace(scenario, sides=(whole,), homes=homes),)).splitlines()
    told = [re.search(r"\{(n\d)\}\s+writes\s+(\S+)", line) for line in lines]
    assert [one.groups() for one in told if one] == [
        (node, "0.0%" if node == "n2" else "100.0%") for node in story.NODES
    ]
    assert not any("{n1 n2 n3 n4 n5}" in line for line in lines)


@pytest.mark.parametrize("width", [60, 80, 132])
def test_nothing_but_commands_and_paths_is_wider_than_the_terminal(width: int) -> None:
    for line in printed(width).splitlines():
        assert len(line) <= width or line.split()[0] in ("report", "check", "again"), line


def test_a_valid_run_says_what_it_exercised_and_never_that_it_is_safe() -> None:
    text = printed(
        validity="valid",
        heading="NO ANOMALY FOUND",
        reason="linearizable on 40 keys",
        anomalies=(),
        counts={},
        exercised="12,000 operations",
    )
    assert "NO ANOMALY FOUND   linearizable on 40 keys\n  12,000 operations\n" in text
    assert "safe" not in text


def test_no_escape_sequence_reaches_a_pipe() -> None:
    assert "\x1b" not in printed()


def test_nothing_of_a_strangers_text_is_interpreted() -> None:
    text = printed(hostile=True)
    assert not any(letter in text for letter in ("\x1b", "\x07", "\x00", "\u202e"))
    assert "\\x1b[31m" in text


def test_no_color_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=80, highlight=False, markup=False, emoji=False)
    terminal.verdict(screen, story.result(story.recording()))
    assert "\x1b[1m" in out.getvalue()
    assert "\x1b[1;31m" not in out.getvalue()


def progress(screen: Console) -> None:
    recording = story.recording()
    with terminal.Progress(screen) as told:
        told.plan(story.PLAN, "20261105T021012-redis")
        told.phase("set-up", "5/5 nodes ready, primary n1", 2.14)
        told.tick(3.2, {"ok": 1200, "fail": 3})
        told.fault(12_000_000_000, "partition {n1} | {n2 n3 n4 n5}", "20/20 links as intended, spread 3 ms")
        told.tick(13.2, {"ok": 2200, "fail": 3, "info": 1})
        told.phase("load", "12,431 operations", 60)
        told.note("not healed: n1→n2\nsecond line")
        told.verdict(story.result(recording))


def test_a_pipe_gets_one_plain_line_a_phase_or_a_fault() -> None:
    out = io.StringIO()
    progress(terminal.console(out, 100))
    lines = out.getvalue().splitlines()
    assert lines[:7] == [
        "redis sentinel · 5 nodes (namespaces) · register · partition-primary · seed 8161",
        "run        20261105T021012-redis",
        "set-up     5/5 nodes ready, primary n1                                     2.1s",
        "  0:12     partition {n1} | {n2 n3 n4 n5}  20/20 links as intended, spread 3 ms",
        "load       12,431 operations                                              60.0s",
        "not healed: n1→n2",
        "second line",
    ]
    assert "\x1b" not in out.getvalue()


def test_a_server_that_died_is_told_with_its_last_words() -> None:
    out = io.StringIO()
    log = ("first", "second", "\x1b[31mthe moon\n", "is full")
    terminal.Progress(terminal.console(out, 80)).death(
        Death(node="n2", service="redis", time=5_200_000_000, code=3, log=log)
    )
    lines = [line.strip() for line in out.getvalue().splitlines()]
    assert lines[0].split() == ["0:05", "n2:", "redis", "ended", "with", "exit", "code", "3", "on", "its", "own"]
    assert "\x1b" not in out.getvalue() and lines[1] == "first" and "the moon" in lines[3] and lines[-1] == "is full"


def test_a_terminal_gets_a_live_line_and_keeps_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    out = io.StringIO()
    progress(Console(file=out, force_terminal=True, width=100, highlight=False, markup=False, emoji=False))
    text = out.getvalue()
    assert "2,204 operations" in text
    # The cursor that the live line hid is back, and the line itself was erased.
    assert text.rindex("\x1b[?25h") > text.rindex("\x1b[?25l")
    assert "\x1b[2K" in text


def test_the_verdict_of_a_check_begins_with_the_plan_and_the_versions() -> None:
    out = io.StringIO()
    terminal.Progress(terminal.console(out, 120)).verdict(story.result(story.recording()))
    assert out.getvalue().startswith("redis 7.0.15 sentinel · 5 nodes")


def test_an_output_that_goes_away_costs_nothing() -> None:
    """As `| head -3` closes a pipe: what is written afterwards goes nowhere, and nothing is raised."""
    program = (
        "import os, sys\n"
        "from splitbrain.reports.terminal import Progress, console\n"
        "told = Progress(console())\n"
        "told.note('first'); sys.stdin.readline()\n"
        "for _ in range(3): told.note('x' * 100_000)\n"
        "told.close(); sys.stderr.write('went on'); sys.exit(1)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as child:
        assert child.stdin is not None and child.stdout is not None and child.stderr is not None
        assert child.stdout.readline() == "first\n"
        child.stdout.close()
        child.stdin.write("\n")
        child.stdin.close()
        assert (child.stderr.read(), child.wait(20)) == ("went on", 1)


def test_a_pipe_hears_nothing_of_what_is_only_for_the_moment() -> None:
    out = io.StringIO()
    told = terminal.Progress(terminal.console(out, 80))
    told.judging()
    told.tick(1.0, {"ok": 1})
    told.close()
    assert out.getvalue() == ""
    moving = io.StringIO()
    screen = Console(file=moving, force_terminal=True, width=60)
    with terminal.Progress(screen) as shown:
        shown.judging()
    assert "judge" in moving.getvalue()


@pytest.mark.parametrize("width", [60, 80, 132, 200])
def test_a_phase_that_goes_on_shows_a_bar_and_what_is_left_in_one_line(width: int) -> None:
    out = io.StringIO()
    screen = Console(file=out, force_terminal=True, width=width, color_system=None)
    with terminal.Progress(screen) as shown:
        shown.tick(15.0, {"ok": 123_456, "fail": 12_345, "info": 1_234}, "load", 60.0)
        shown.tick(1.0, {}, "set-up")
    lines = [line for line in re.split(r"\x1b\[[0-9;?]*[A-Za-z]|[\r\n]", out.getvalue()) if line.strip()]
    load = next(line for line in lines if line.startswith("load"))
    assert "0:15" in load and "0:45 left" in load and load.count("━") == max(5, min(30, width // 6))
    assert all(len(line) <= width for line in lines)
    assert any(line.split() == ["set-up", "0:01"] for line in lines)


def test_a_narrow_encoding_is_written_in_escapes() -> None:
    out = io.TextIOWrapper(io.BytesIO(), "ascii")
    terminal.console(out, 80).print("a \u00b7 b")
    out.seek(0)
    assert out.buffer.read() == b"a \\xb7 b\n"


@pytest.mark.parametrize("write", [terminal_text, page_text, junit_text])
def test_an_anomaly_without_operations_is_normal(tmp_path: Path, write: Callable[[Path, Result, Recording], str]) -> None:
    recording = story.recording()
    alone = Anomaly(identifier="diverged", sentence="n1 and n2 hold different values of x", operations=(), key="x")
    result = msgspec.structs.replace(story.result(recording), anomalies=(alone,), counts={"diverged": 1})
    assert "hold different values" in write(tmp_path / "report", result, recording)


def test_a_side_of_which_too_little_is_known_says_how_much_was_needed() -> None:
    few = Measure(kind="write", attempted=4, answered=3, share=0.75, time_share=1.0,
                  reason="3 of 4 answered: too few to tell, 18 are needed")
    read = Measure(kind="read", attempted=200, answered=200, share=1.0, time_share=1.0, state="available")
    row = story.result(story.recording()).scenarios[0]
    side = msgspec.structs.replace(row.sides[0], write=few, read=read)
    text = printed(scenarios=(msgspec.structs.replace(row, sides=(side, *row.sides[1:])),))
    assert "(writes: 3 of 4 answered: too few to tell, 18 are needed)" in " ".join(text.split())
