"""Suites: the matrix, its seeds, resuming, the worst exit code."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, tzinfo
from io import StringIO
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import msgspec
import pytest
from rich.console import Console

from splitbrain.checkers.judge import judge
from splitbrain.checkers.linearizability.checker import Linearizability
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.checkers.result import Expectation, NotJudged, Result, decode, encode
from splitbrain.checkers.sessions import Sessions
from splitbrain.checkers.verdict import Figure
from splitbrain.harness import store
from splitbrain.harness.doctor import abreast
from splitbrain.harness.errors import UsageError
from splitbrain.harness.plan import Plan
from splitbrain.harness.run import Outcome
from splitbrain.harness.suite import matrix, night
from splitbrain.harness.suite import suite as suites
from splitbrain.harness.suite.suite import (
    Ended,
    Entry,
    Suite,
    complete,
    drop_old,
    open_suite,
    outcomes,
    pending,
    publish,
    worst,
)
from splitbrain.reports import junit, summary
from tests.reports import story

NIGHTLY = """
nemesis = "partition-primary"
time = 20
repeats = 2

[[runs]]
database = "reference"
variant = ["majority", "primary-async"]
workload = ["register", "set"]

[[runs]]
database = "etcd"
repeats = 1
expect = ["CP"]
"""


@pytest.fixture
def nightly(tmp_path: Path) -> Path:
    file = tmp_path / "nightly.toml"
    file.write_text(NIGHTLY)
    return file


def read(file: Path) -> list[Plan]:
    return [one.plan for one in matrix.read(file)]


def run_suite(suite: Suite, perform: Callable[[Plan, Path], Ended], told: Callable[[Suite], None] = lambda _: None) -> Suite:
    """The runs of a suite in their order."""
    return complete(
        suite, lambda suite: ((number, perform(plan, suite.folder)) for number, plan in pending(suite)),
        lambda suite, _: told(suite),
    )


def test_the_matrix_is_every_combination_with_seeds_of_their_own(nightly: Path) -> None:
    plans = read(nightly)
    assert len(plans) == 2 * 2 * 2 + 1
    assert {plan.variant for plan in plans if plan.database == "reference"} == {"majority", "primary-async"}
    assert plans[-1].expect == ("CP",) and plans[-1].time == 20.0
    assert len({plan.seed for plan in plans}) == len(plans)
    assert read(nightly) == plans


def test_a_list_of_lengths_is_a_sweep(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[runs]]\ndatabase = "reference"\nvariant = ["majority", "lww"]\nfault = [1, "2s", 4]\n')
    plans = read(file)
    assert [(plan.variant, plan.fault) for plan in plans] == [(one, at) for one in ("majority", "lww") for at in (1, 2, 4)]
    assert len({plan.seed for plan in plans}) == 6 and {plan.time for plan in plans} == {0.0}


def test_options_go_to_the_runs_that_they_are_for(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("""
[options.register]
busy_reads = 0.4
[options.restart]
down = "2s"

[[runs]]
database = "reference"
workload = ["register", "set"]
nemesis = ["restart", "halves"]
""")
    told = [(plan.workload, plan.nemesis, plan.options) for plan in read(file)]
    assert all(options["register"]["busy_reads"] == 0.4 for workload, _, options in told if workload == "register")
    assert [options.get("restart") for _, _, options in told] == [{"down": 2.0}, None, {"down": 2.0}, None]


def test_a_killed_suite_goes_on_where_it_was(nightly: Path, tmp_path: Path) -> None:
    ran: list[Plan] = []

    def perform(plan: Plan, folder: Path) -> Ended:
        if len(ran) == 3:
            raise KeyboardInterrupt
        ran.append(plan)
        return Ended("", 0)

    def told(suite: Suite) -> None:
        assert not suite.finished or len(ran) == 9

    with open_suite(nightly, tmp_path / "runs") as first, pytest.raises(KeyboardInterrupt):
        run_suite(first, perform, told)

    def rest(plan: Plan, folder: Path) -> Ended:
        ran.append(plan)
        return Ended("", 2 if len(ran) == 5 else 0)

    with open_suite(nightly, tmp_path / "runs") as again:
        assert again.folder == first.folder
        assert [entry.exit_code for entry in again.entries] == [0] * 3 + [None] * 6
        assert worst(again) == 130
        finished = run_suite(again, rest, told)
    assert ran == read(nightly) and finished.finished and worst(finished) == 2
    with open_suite(nightly, tmp_path / "runs") as new:
        assert new.folder != first.folder


def test_a_suite_that_went_on_says_the_same_as_one_that_was_never_stopped(nightly: Path, tmp_path: Path) -> None:
    def pages(name: str, stops: list[int]) -> dict[str, str]:
        def perform(plan: Plan, folder: Path) -> Ended:
            if stops and len(list(folder.glob("run-*"))) == stops[0]:
                stops.pop(0)
                raise KeyboardInterrupt
            result = kept(folder, f"run-{plan.seed}", plan=plan, run=f"run-{plan.seed}")
            return Ended(result.run, result.exit_code)

        nightly.write_text(f"seed = 7\n{NIGHTLY}")  # Otherwise seeds are those of the day.
        while True:
            with open_suite(nightly, tmp_path / name) as suite, suppress(KeyboardInterrupt):
                publish(run_suite(suite, perform, publish))
                break
        return {path.name: path.read_text().replace(suite.folder.name, "") for path in suite.folder.iterdir() if path.is_file()}

    whole = pages("whole", [])
    assert {"index.html", "summary.md", "junit.xml", "runs.json", "results.json", "contract.html"} <= whole.keys()
    assert pages("stopped", [0, 2, 7]) == whole


def test_two_at_once_on_one_file_are_two_suites(nightly: Path, tmp_path: Path) -> None:
    with open_suite(nightly, tmp_path / "runs") as first:
        with open_suite(nightly, tmp_path / "runs") as second:
            assert second.folder != first.folder
        with open_suite(nightly, tmp_path / "runs") as third:
            assert third.folder == second.folder, "that one was given up, and is gone on with"


@pytest.mark.parametrize(
    ("codes", "expected"),
    [((0, 2, 1), 1), ((1, 4, 0), 4), ((4, 3), 3), ((3, 70, 0), 70), ((0, 0), 0), ((0, 64), 64), ((64, 70), 70), ((0, 137), 70)],
)
def test_the_worst_exit_code_in_its_order(tmp_path: Path, nightly: Path, codes: tuple[int, ...], expected: int) -> None:
    plans = read(nightly)
    suite = Suite("n", tmp_path, tuple(Entry(plan) for plan in plans[: len(codes)]))
    left = iter(codes)
    assert worst(run_suite(suite, lambda plan, folder: Ended("", next(left)))) == expected


def test_a_run_that_was_refused_or_cannot_be_read_is_told_and_not_green(tmp_path: Path, nightly: Path) -> None:
    plans = read(nightly)[:3]
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_bytes(b"\xff not a result")
    (tmp_path / "interrupted").mkdir()
    (tmp_path / "interrupted" / "plan.toml").write_text("an attempt that was killed: no entry has it")
    ends = iter([Ended("", 64, "no such variant"), Ended("broken", 0), Ended("gone", 0)])
    suite = Suite("n", tmp_path, tuple(Entry(plan) for plan in plans))
    suite = run_suite(suite, lambda plan, folder: next(ends))
    refused, broken, gone = found = outcomes(suite)
    assert isinstance(refused, NotJudged) and (refused.reason, refused.exit_code) == ("no such variant", 64)
    assert isinstance(broken, NotJudged) and "not a result" in broken.reason and broken.exit_code == 70
    assert isinstance(gone, NotJudged) and gone.exit_code == 70 and worst(suite) == 70
    junit.write(tmp_path / "junit.xml", found)
    summary.write(tmp_path / "summary.md", found)
    for text in ((tmp_path / "junit.xml").read_text(), (tmp_path / "summary.md").read_text()):
        assert "no such variant" in text and "not a result" in text and plans[0].variant in text
    assert 'type="usage"' in (tmp_path / "junit.xml").read_text()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("time = 20\n", r"no \[\[runs\]\] table: a suite needs at least one\."),
        ("[[runs]]\ndatabase = 'reference'\nrepeats = 0\n", r"wrong\.toml:3: \[\[runs\]\] number 1: repeats is 0"),
        ("[[runs]]\ndatabase = 'reference'\nnode = 3\n",
         r"wrong\.toml:3: .*number 1: unknown key 'node': did you mean 'nodes'"),
        ("[[runs]]\ndatabase = 'referenc'\n", r"wrong\.toml:2: .*number 1: no database"),
        ("[[runs]\n", r"wrong\.toml:1:7: not TOML"),
        ("database = 'reference'\ntime = 60\n", r"\(one plan: splitbrain test --plan .*wrong\.toml\)"),
        ("fault = 'long'\n[[runs]]\ndatabase = 'reference'\n", r'wrong\.toml:1: .*number 1: fault is "long"'),
        ("[[runs]]\ndatabase = 'reference'\n[[runs]]\ndatabase = 'etcd'\nnodes = [3, 0]\n",
         r"wrong\.toml:5: .*number 2: nodes is 0"),
        ("[[runs]]\ndatabase = 'etcd'\nretries = 11\n", r"wrong\.toml:3: .*retries is 11: it must be a whole number"),
        ("[options.registr]\n[[runs]]\ndatabase = 'etcd'\n", r"wrong\.toml:1: \[options.registr\].* did you mean 'register'"),
        ("[[runs]]\ndatabase = 'etcd'\n[runs.options.register]\nbusy_reads = 2\n", r"wrong\.toml:4: .*busy_reads is 2"),
    ],
)
def test_a_suite_that_is_wrong_is_refused_by_its_place(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "wrong.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        read(file)


def test_older_nights_of_this_suite_and_no_other_are_dropped(nightly: Path, tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    for name in ("20261101T021700-suite-nightly", "20261102T021700-suite-nightly", "20261103T021700-suite-nightly-2",
                 "20261101T021700-suite-nightly-long", "20261101T021700-redis-nightly"):
        (runs / name).mkdir(parents=True)
        (runs / name / "results.json").write_text("[]")
    (runs / "20261100T021700-suite-nightly").symlink_to(runs / "20261101T021700-redis-nightly")
    with open_suite(nightly, runs) as suite:
        with store.owned(runs / "20261101T021700-suite-nightly"):
            assert [folder.name for folder in drop_old(suite, 2)] == ["20261102T021700-suite-nightly"]
        assert [folder.name for folder in drop_old(suite, 2)] == ["20261101T021700-suite-nightly"]
        assert drop_old(suite, 2) == () and suite.folder.exists()
    assert (runs / "20261101T021700-suite-nightly-long").exists() and (runs / "20261101T021700-redis-nightly").exists()
    assert (runs / "20261103T021700-suite-nightly-2").exists()


def test_seeds_differ_from_day_to_day_and_a_suite_keeps_its_own_over_midnight(
    nightly: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Later(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Later:
            return cls(2030, 1, 1, tzinfo=UTC)

    before = read(nightly)
    with open_suite(nightly, tmp_path / "runs") as first:
        pass
    monkeypatch.setattr("splitbrain.harness.suite.matrix.datetime", Later)
    assert [plan.seed for plan in read(nightly)] != [plan.seed for plan in before]
    with open_suite(nightly, tmp_path / "runs") as again:
        assert again == first
    nightly.write_text(f"seed = 7\n{NIGHTLY}")
    monkeypatch.undo()
    fixed = read(nightly)
    monkeypatch.setattr("splitbrain.harness.suite.matrix.datetime", Later)
    assert read(nightly) == fixed


def test_a_refuted_rate_makes_a_suite_red(nightly: Path, tmp_path: Path) -> None:
    result = msgspec.structs.replace(story.result(story.recording()), exit_code=0)

    def night(*seen: bool) -> int:
        with open_suite(nightly, tmp_path / "runs") as suite:
            entries = []
            for number, one in enumerate(seen):
                (suite.folder / f"run{number}").mkdir()
                told = msgspec.structs.replace(result, expectations=(Expectation("AP 80%", True, "", 0.8, one),))
                (suite.folder / f"run{number}" / "result.json").write_bytes(encode(told))
                entries.append(Entry(suite.entries[number].plan, f"run{number}", 0))
            short = msgspec.structs.replace(suite, entries=tuple(entries))
            publish(short)
            (suite.folder / "results.json").write_text("[]")
            page = (suite.folder / "index.html").read_text()
            assert [name for name in ("contract.html", "compare.html") if f'<a href="{name}">' in page] == [
                path.name for path in sorted(suite.folder.glob("co*.html"), reverse=True)]
            assert "compare.html" not in page or suite.folder.name in (suite.folder / "compare.html").read_text()
            return worst(short)

    assert night(False, True, True) == 0
    assert not list((tmp_path / "runs").rglob("compare.html")), "there is no night before"
    assert night(False, False) == 0, "two runs of five: it happens"
    time.sleep(1.1)  # A suite's folder is named by the second.
    assert night(False, False, False, False) == 4
    assert list((tmp_path / "runs").rglob("compare.html"))


def kept(folder: Path, name: str, **changes: Any) -> Ended:
    """The story as a run of a suite's, with a result in which that is changed."""
    result = msgspec.structs.replace(story.result(story.recording()), **changes)
    (folder / name).mkdir()
    (folder / name / "result.json").write_bytes(encode(result))
    return Ended(name, result.exit_code)


def test_a_suite_that_is_published_after_each_run_reads_each_result_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "n.toml"
    file.write_text('[[runs]]\ndatabase = "redis"\nvariant = "sentinel"\nrepeats = 5\n')
    reads: list[str] = []

    def decoding(data: bytes, path: Path) -> Result:
        reads.append(path.parent.name)
        return decode(data, path)

    monkeypatch.setattr("splitbrain.harness.suite.suite.decode", decoding)
    with open_suite(file, tmp_path / "runs") as suite:
        for number, (at, plan) in enumerate(pending(suite)):
            entries = list(suite.entries)
            entries[at] = Entry(plan, *kept(suite.folder, f"run{number}", plan=plan, run=f"run{number}"))
            suite = msgspec.structs.replace(suite, entries=tuple(entries))
            publish(suite)
            assert [one.run for one in outcomes(suite)] == [f"run{done}" for done in range(number + 1)]
    assert reads == [f"run{number}" for number in range(5)]
    changed = msgspec.structs.replace(story.result(story.recording()), run="judged anew")
    (suite.folder / "run3" / "result.json").write_bytes(encode(changed))
    assert outcomes(suite)[3].run == "judged anew"


def test_what_stays_in_memory_of_a_result_is_all_that_the_pages_of_a_suite_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The pages are the same as of the whole results, and a run that shows many anomalies takes no more room than another."""
    checkers = (Linearizability(CasRegister(), processes=1), Sessions())
    whole = msgspec.structs.replace(judge(story.recording(), checkers), exit_code=1)
    figure = Figure(name="units sold that were not there", least=3, most=5, of=90, price="consistency")
    sale = msgspec.structs.replace(
        whole, verdicts=(msgspec.structs.replace(whole.verdicts[0], figures=(figure,)), *whole.verdicts[1:]),
    )
    keep = suites.told_by_pages
    pages = []
    for name, kept_of in (("a", keep), ("b", lambda result: result)):
        monkeypatch.setattr(suites, "told_by_pages", kept_of)
        (tmp_path / name / "night").mkdir(parents=True)
        suite = Suite("night", tmp_path / name / "night", ())
        for run, result in (("run", whole), ("hostile", story.result(story.recording(True), True)), ("sale", sale)):
            assert result.plan is not None
            changes = {field: getattr(result, field) for field in result.__struct_fields__} | {"run": run}
            entry = Entry(result.plan, *kept(suite.folder, run, **changes))
            suite = msgspec.structs.replace(suite, entries=(*suite.entries, entry))
        publish(suite)
        pages.append({path.name: path.read_text() for path in suite.folder.iterdir() if path.is_file()})
    assert pages[0] == pages[1]
    assert {"index.html", "contract.html", "junit.xml", "summary.md", "runs.json", "register.html"} == pages[0].keys()
    many = msgspec.structs.replace(whole, anomalies=whole.anomalies * 40, verdicts=tuple(
        msgspec.structs.replace(one, anomalies=one.anomalies * 40) for one in whole.verdicts))
    assert len(encode(keep(many))) == len(encode(keep(whole))) < len(encode(whole)) / 3


def test_what_proves_nothing_is_run_again_and_that_is_told_everywhere(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text('retries = 2\n[[runs]]\ndatabase = "redis"\nvariant = "sentinel"\nrepeats = 3\n')
    plans: list[Plan] = []

    def perform(plan: Plan, folder: Path) -> Ended:
        plans.append(plan)
        never = {"validity": "unknown", "reason": f"too little {len(plans)}", "heading": "UNKNOWN", "exit_code": 2,
                 "counts": {}}
        fine = {"validity": "valid", "exit_code": 0, "counts": {}, "reason": "fine"}
        changes = {0: fine, 1: {"validity": "invalid", "exit_code": 1}}.get(plans.index(plans[-1]), never)
        return kept(folder, f"run{len(plans)}", plan=plan, **(fine if len(plans) == 6 else changes))

    with open_suite(file, tmp_path / "runs") as suite:
        seeds = [plan.seed for _, plan in pending(suite)]
        suite = run_suite(suite, perform)
    assert [plan.seed for plan in plans] == [*seeds, seeds[2] + 1, seeds[2] + 2], "an anomaly is no reason to run again"
    last = suite.entries[2]
    assert (last.run, last.exit_code, [(one.run, one.seed) for one in last.retried]) == (
        "run5", 2, [("run3", seeds[2]), ("run4", seeds[2] + 1)])
    publish(suite)
    for name, told in (
        ("index.html", "2 attempts before were unknown: too little 3; too little 4"),
        ("summary.md", "UNKNOWN, after 2 attempts that proved nothing"),
        ("junit.xml", 'rerunError type="unknown" message="too little 4"'),
    ):
        assert told in (suite.folder / name).read_text()


def test_a_run_that_was_cut_short_is_run_again_and_never_green(tmp_path: Path) -> None:
    """Though all that was expected of it was seen."""
    file = tmp_path / "n.toml"
    file.write_text('retries = 1\n[[runs]]\ndatabase = "redis"\nvariant = "sentinel"\n')
    names = iter(("first", "second"))

    def perform(plan: Plan, folder: Path) -> Ended:
        return kept(folder, next(names), plan=plan, expectations=(Expectation("lost-write", True, "seen"),), exit_code=2,
                    stopped="settle: took too long")

    with open_suite(file, tmp_path / "runs") as suite:
        suite = run_suite(suite, perform)
    assert [(one.run, one.reason) for one in suite.entries[0].retried] == [("first", "settle: took too long")]
    assert worst(suite) == 2
    publish(suite)
    for name, told in (
        ("index.html", "did not end as it should</b>: redis sentinel"), ("index.html", "settle: took too long"),
        ("summary.md", "NOT LINEARIZABLE (lost-write 143, stale-read 1,014), after 1 attempt that proved "
         "nothing, settle: took too long"),
        ("junit.xml", '<error type="unknown" message="settle: took too long"'),
    ):
        assert told in (suite.folder / name).read_text(), name


def test_a_suite_that_was_killed_before_a_retry_goes_on_with_it(tmp_path: Path) -> None:
    file = tmp_path / "n.toml"
    file.write_text('retries = 1\n[[runs]]\ndatabase = "redis"\nvariant = "sentinel"\n')
    ran: list[int] = []

    def perform(plan: Plan, folder: Path) -> Ended:
        if ran:
            return Ended("", 130)
        ran.append(plan.seed)
        return kept(folder, "first", plan=plan, validity="unknown", exit_code=2)

    with open_suite(file, tmp_path / "runs") as suite:
        assert worst(run_suite(suite, perform)) == 130
    with open_suite(file, tmp_path / "runs") as again:
        assert again.folder == suite.folder
        finished = run_suite(again, lambda plan, folder: kept(folder, "second", plan=plan, validity="valid", exit_code=0))
        assert [one.run for one in finished.entries[0].retried] == ["first"] and worst(finished) == 0


@pytest.mark.parametrize("parallel", [1, 2])
def test_a_suite_that_is_interrupted_between_two_runs_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parallel: int
) -> None:
    def interrupted(suite: Suite, rest: str = "") -> None:
        raise KeyboardInterrupt

    file = tmp_path / "n.toml"
    file.write_text('[[runs]]\ndatabase = "reference"\n')
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    monkeypatch.setattr("splitbrain.harness.suite.suite.publish", interrupted)
    screen = Console(file=StringIO(), width=300)
    assert night.run_night(file, tmp_path / "runs", screen, parallel=parallel) == 130
    assert "interrupted: the same command goes on" in screen.file.getvalue()  # type: ignore[attr-defined]


def test_a_page_that_cannot_be_made_costs_no_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nightly: Path) -> None:
    def ended(plan: Plan, runs: Path, progress: object, name: str = "") -> Outcome:
        folder = runs / f"run{len(list(runs.iterdir()))}"
        folder.mkdir()
        return Outcome(folder=folder, exit_code=0, reason="as expected")

    def broken(*_: object) -> None:
        raise KeyError("no such cell")

    monkeypatch.setattr("splitbrain.harness.suite.night.perform", ended)
    monkeypatch.setattr("splitbrain.reports.page.index.write", broken)
    screen = Console(file=StringIO(), width=300)
    assert night.run_night(nightly, tmp_path / "runs", screen) == 70
    said = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "the pages of the suite cannot be made (KeyError: 'no such cell'): this is a bug in splitbrain." in said
    (folder,) = (tmp_path / "runs").iterdir()
    entries = msgspec.json.decode((folder / "results.json").read_bytes(), type=tuple[Entry, ...])
    assert len(entries) == len(read(nightly)) and all(entry.run for entry in entries)


@pytest.mark.parametrize("nights", [1, 2])
def test_no_page_of_a_night_leads_to_one_that_is_gone_or_out_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nightly: Path, nights: int
) -> None:
    def ended(plan: Plan, runs: Path, progress: object, name: str = "") -> Outcome:
        made = kept(runs, name := f"run{len(list(runs.iterdir()))}", plan=plan, run=name)
        (runs / made.run / "report.html").touch()
        return Outcome(folder=runs / made.run, exit_code=made.exit_code, reason="as expected")

    monkeypatch.setattr("splitbrain.harness.suite.night.perform", ended)
    for _ in range(3):
        night.run_night(nightly, tmp_path / "runs", Console(file=StringIO(), width=300), kept=nights)
    folders = sorted((tmp_path / "runs").iterdir())
    assert len(folders) == nights
    for folder in folders:
        links = {link for page in folder.glob("*.html") for link in re.findall(r'href="([^"#:]+)"', page.read_text())}
        assert len(links) > 3 and [link for link in links if not (folder / unquote(link)).exists()] == []
        assert not any(unquote(link).startswith(("..", "/")) for link in links), "a job publishes this folder alone"
    assert ("compare.html" in links, 'class="trend"' in (folders[-1] / "index.html").read_text()) == (nights > 1,) * 2


@pytest.mark.servers
def test_runs_at_once_are_the_same_suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "n.toml"
    file.write_text('time = 3\nnodes = 3\nnemesis = "none"\nsettle = 2\n[[runs]]\ndatabase = "reference"\nrepeats = 3\n'
                    'expect = ["not-exercised"]\n[[runs]]\ndatabase = "reference"\nnodes = 2\n')
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(4)))
    screen = Console(file=StringIO(), width=300)
    night.run_night(file, tmp_path / "runs", screen, parallel=8)
    told = screen.file.getvalue()  # type: ignore[attr-defined]
    assert "8 runs at once would need 16 processors, 2 a run, and this machine has 4: 2 at a time." in told
    assert re.search(r"run \d of 4: reference .* \(1 of 4 done, (about \d+ min|less than a minute) left\)", told), told
    assert told.index("run 2 of 4: ") < told.index(" (1 of 4 done")
    with open_suite(file, tmp_path / "runs") as after:
        (folder,) = (one for one in (tmp_path / "runs").iterdir() if one != after.folder)
    entries = msgspec.json.decode((folder / "results.json").read_bytes(), type=tuple[Entry, ...])
    assert [(folder / entry.run / "report.html").is_file() for entry in entries] == [True] * 4


def test_never_more_runs_at_once_than_the_processors_bear() -> None:
    assert [abreast(asked, 8)[0] for asked in (1, 4, 5)] == [1, 4, 4] and abreast(3, 1)[0] == 1
    assert abreast(4, 8)[1] == "" and "5 runs at once would need 10 processors" in abreast(5, 8)[1]
