"""The servers' lines near an anomaly: those and no others, at their place in the run, and nothing of theirs obeyed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.databases.reference.database import Reference
from splitbrain.harness.history.fault import Fault, Skew
from splitbrain.harness.history.recording import Recording
from splitbrain.reports.page import html, logs
from tests.reports import story

EPOCH = 1_795_888_480 * 10**9


def recording(epoch: int | None = EPOCH) -> Recording:
    told = story.recording()
    plan = msgspec.structs.replace(story.PLAN, database="reference")
    return msgspec.structs.replace(told, epoch=epoch, plan=plan)


def write(folder: Path, node: str, *lines: tuple[float, str]) -> None:
    log = folder / "nodes" / node / "reference.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text("".join(f"{EPOCH // 10**9 + at:.3f} {text}\n" for at, text in lines))


def test_lines_near_the_evidence_and_the_faults_beginning_are_shown_where_they_belong(tmp_path: Path) -> None:
    told = recording()
    result = story.result(told)
    anomaly = result.anomalies[0]
    assert anomaly.fault == 1 and story.FAULT.started == 12 * 10**9
    last = max(op.completed or op.invoked for op in anomaly.operations) / 1e9
    write(tmp_path, "n1", (5.0, "too early"), (11.5, "just before"), (12.7, story.HOSTILE), (last + 1.5, "too late"))
    write(tmp_path, "n3", (last + 0.9, "in time"))
    write(tmp_path, "n4", (3.0, "far away"))
    text = html.page(result, told, tmp_path)
    shown = text[text.index('<details class="logs">') :]
    shown = shown[: shown.index("</details>")]
    assert shown.index("<b>n1</b>") < shown.index("0:11.500 ") < shown.index("0:12.700") < shown.index("<b>n3</b>")
    assert "just before" in shown and "in time" in shown and "<b>n4</b>" not in shown
    assert not [word for word in ("too early", "too late", "far away", "<script", "\x1b", "\x00") if word in shown]


def test_no_line_is_placed_without_the_runs_wall_clock_or_with_a_clock_that_was_put_wrong(tmp_path: Path) -> None:
    write(tmp_path, "n1", (12.1, "of n1"))
    write(tmp_path, "n2", (12.1, "of n2"))
    for epoch, names in ((None, []), (EPOCH, ["n1", "n2"])):
        told = recording(epoch)
        page = html.page(story.result(told), told, tmp_path)
        assert [name for name in ("n1", "n2") if f"of {name}" in page] == names
    skew = Fault(
        id=2, nemesis="clock-jump", scenario="ahead", started=story.FAULT.started,
        specs=(Skew(nodes=("n1",), offset=60.0),),
    )
    told = msgspec.structs.replace(recording(), faults=(story.FAULT, skew))
    shown = str(logs.told(told, story.result(recording()).anomalies[0], tmp_path))
    assert "reference.log: 1795888492.100 of n2" in shown and "100 of n1" not in shown and "Not those of n1" in shown


def test_a_run_read_without_its_database_has_its_report(tmp_path: Path) -> None:
    write(tmp_path, "n1", (12.1, "of n1"))
    plan = msgspec.structs.replace(story.PLAN, database="gone.py")
    told = msgspec.structs.replace(recording(), plan=plan)
    assert str(logs.told(told, story.result(recording()).anomalies[0], tmp_path)) == ""


@given(st.lists(st.integers(0, 40_000), max_size=40), st.lists(st.integers(0, 40_000), min_size=1, max_size=5))
def test_of_many_lines_the_nearest_are_kept_and_the_others_counted(written: list[int], wanted: list[int]) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write(folder, "n1", *((ms / 1000, f"line {ms}") for ms in written))
        found = logs.near(recording(), [ms * 10**6 for ms in wanted], folder, Reference.stamp)
    far = sorted(min(abs(ms - at) for at in wanted) for ms in written)
    inside = [distance for distance in far if distance <= 1000]
    if not inside:
        assert found == []
        return
    (of,) = found
    kept = [round(line.time / 10**6) for line in of.lines]
    assert kept == sorted(kept) and len(kept) == min(logs.LINES, len(inside)) and of.more == len(inside) - len(kept)
    assert sorted(min(abs(ms - at) for at in wanted) for ms in kept) == inside[: len(kept)]
