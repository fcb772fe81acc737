"""Every number is counted once: the totals of terminal, result.json and report add up, recounted one operation at a time."""

from __future__ import annotations

import io
from collections import defaultdict
from pathlib import Path
from typing import Any

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


def test_what_was_given_up_is_a_plain_count(judged: tuple[Recording, Result], tmp_path: Path) -> None:
    made, result = judged
    blast = result.blast
    tried = refused = 0
    for cut, scenario in zip(FAULTS, result.scenarios, strict=True):
        begin, end = cut.in_force or 0, cut.heal_began or 0
        asked: defaultdict[tuple[str, str, Any], list[bool]] = defaultdict(list)
        for op in made.history:
            if begin <= op.invoked < end and ((op.completed or 0) <= end or end - op.invoked > SECOND):
                kind = "read" if op.f == "read" else "write"
                good = op.outcome == "ok" and (op.completed or 0) <= end
                asked["keys", kind, op.key].append(good)
                if op.server is not None:
                    asked["servers", kind, op.server].append(good)
                if kind == "write":
                    tried, refused = tried + 1, refused + (not good)
        for one in scenario.reach:
            calls = [good for (of, kind, _), good in asked.items() if (of, kind) == (one.of, one.kind)]
            assert (one.touched, one.asked) == (sum(sum(good) * 2 < len(good) for good in calls), len(calls))
        assert {(one.of, one.kind) for one in scenario.reach} == {(of, kind) for of, kind, _ in asked}
    assert tried and blast.rejected is not None and blast.rejected == pytest.approx(refused / tried)
    assert blast.quorum == pytest.approx(4 / 5), "of five homes one is cut off, both times"
    for one in blast.touched:
        same = [row for part in result.scenarios for row in part.reach if (row.of, row.kind) == (one.of, one.kind)]
        assert one.touched / one.asked == max(row.touched / row.asked for row in same)
    page = html.page(result, made, tmp_path)
    section = page.partition('<section id="sacrifice">')[2].partition("</section>")[0]
    assert all(f"<dt>{kind.capitalize()}s</dt><dd><b>{given}</b>" in section for kind, given in result.sacrifices.items())
    assert f"{share(round(blast.rejected * 1_000_000), 1_000_000)} of those tried" in section
    written = io.StringIO()
    verdict(console(written, width=160), result)
    assert f"given up: writes {result.sacrifices['write']}, reads {result.sacrifices['read']}" in written.getvalue()


def test_anomalies_of_all_faults_and_of_none_add_up(judged: tuple[Recording, Result]) -> None:
    _, result = judged
    for name, number in result.counts.items():
        assert sum(row.anomalies.get(name, 0) for row in result.scenarios) + result.outside.get(name, 0) == number


def test_terminal_report_and_result_say_these_numbers(judged: tuple[Recording, Result], tmp_path: Path) -> None:
    made, result = judged
    assert decode(encode(result)) == result
    written = io.StringIO()
    verdict(console(written, width=160), result)
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
