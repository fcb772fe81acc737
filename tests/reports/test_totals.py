"""Every number is counted once: the totals of terminal, result.json and report add up, recounted one operation at a time."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from splitbrain.checkers.judge import judge
from splitbrain.checkers.result import Result, decode, encode
from splitbrain.harness.history.operation import KINDS
from splitbrain.harness.history.recording import Recording
from splitbrain.reports.page import html
from splitbrain.reports.terminal import console, verdict
from splitbrain.reports.wording import count, share
from tests.checkers.scenes import SECOND, Says, anomaly, both, during, fault, recording

FAULTS = [fault(1, 5, 9, in_force=int(5.2 * SECOND)), fault(2, 12, 16, healed=int(16.4 * SECOND))]


@pytest.fixture(scope="module")
def judged() -> tuple[Recording, Result]:
    serve = both(during(5, 9, ("n1",), "silent"), during(12, 16, ("n1",), "refused"), during(12.5, 13, ("n3",), "silent"))
    made = recording(serve, FAULTS, length=20.0)
    shown = (anomaly("stale-read", 6), anomaly("stale-read", 13), anomaly("lost-write", 14), anomaly("stale-read", 2))
    return made, judge(made, (Says("invalid", shown, counts={"stale-read": 40, "lost-write": 1}),))


def test_every_operation_is_in_exactly_one_row(judged: tuple[Recording, Result]) -> None:
    made, result = judged
    assert sum(row.invoked for row in result.quality.counts) == len(made.history) == result.totals.operations
    totals = result.totals
    assert totals.ok + totals.fail + totals.info == totals.operations
    final = [row for row in result.quality.counts if row.period == "final reads"]
    assert sum(row.invoked for row in final) == totals.final > 0


def test_a_side_tells_the_same_in_every_table_and_the_same_as_a_plain_count(judged: tuple[Recording, Result]) -> None:
    made, result = judged
    rows = {(row.period, row.side, row.kind): row for row in result.quality.counts}
    for cut, scenario in zip(FAULTS, result.scenarios, strict=True):
        begin, end = cut.in_force or 0, cut.heal_began or 0
        for side in scenario.sides:
            for kind in KINDS:
                ops = [op for op in made.history if op.node in side.nodes and (op.f == "read") == (kind == "read")]
                called = [op for op in ops if begin <= op.invoked < end]
                tried = [op for op in called if (op.completed or 0) <= end or end - op.invoked > SECOND]
                answered = [op for op in tried if op.outcome == "ok" and (op.completed or 0) <= end]
                found = side.of(kind)
                row = rows[f"fault {cut.id}", "{" + " ".join(side.nodes) + "}", kind]
                assert (found.attempted, found.answered) == (len(tried), len(answered))
                assert (row.invoked, row.attempted, row.answered) == (len(called), len(tried), len(answered))


def test_anomalies_of_all_faults_and_of_none_add_up(judged: tuple[Recording, Result]) -> None:
    _, result = judged
    for name, number in result.counts.items():
        assert sum(row.anomalies.get(name, 0) for row in result.scenarios) + result.outside.get(name, 0) == number


def test_terminal_report_and_result_say_these_numbers(judged: tuple[Recording, Result], tmp_path: Path) -> None:
    made, result = judged
    assert decode(encode(result)) == result
    written = io.StringIO()
    verdict(console(written, width=160), result, tmp_path)
    page = html.page(result, made, tmp_path)
    for scenario in result.scenarios:
        for side in scenario.sides:
            for kind in KINDS:
                found = side.of(kind)
                assert f"{kind}s {share(found.answered, found.attempted):>6}" in written.getvalue()
                assert f"{count(found.answered)} / {count(found.attempted)}" in page
    load = result.totals.operations - result.totals.final
    assert f"{count(load)} operations on 4 keys" in result.exercised
    assert f"and {count(result.totals.final)} final reads" in result.exercised
