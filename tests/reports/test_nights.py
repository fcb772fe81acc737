"""The nights of a suite: the index, the rates, the comparison, and who may look."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, fisher_exact

from splitbrain.checkers.expectations import meets, parse
from splitbrain.checkers.result import Expectation, NotJudged, Result
from splitbrain.harness.errors import UsageError
from splitbrain.reports import compare, nights, serve
from splitbrain.reports.contract import markdown
from splitbrain.reports.nights import CHANCE, Night, Told
from splitbrain.reports.page import index
from tests.reports import story


def line(number: int = 0, *, seen: bool = True, missed: bool = False, variant: str = "sentinel", text: str = "") -> Told:
    """One run of a redis that was expected to be `neither` in 80% of its runs."""
    place = nights.Place("redis", "7.0.15", variant, "5 namespaces", "register", f"partition-primary{text}")
    return Told(
        run=f"20261105T0210{number:02d}-redis{text}", place=place, seed=number, verdict="invalid", heading="NOT LINEARIZABLE",
        reason=f"it is so{text}", classification="neither" if seen else "AP", exit_code=4 if missed else 0,
        anomalies={"lost-write": 3}, expect=("neither 80%",),
        expectations=(Expectation("neither 80%", True, "", 0.8, seen), Expectation("CP", not missed, f"why{text}")),
    )


def test_a_rate_is_refuted_by_too_few_and_never_by_one_run() -> None:
    def held(seen: int, of: int) -> nights.RateSeen:
        (found,) = nights.rates_seen([line(at, seen=at < seen) for at in range(of)], ())
        return found

    assert not held(0, 1).refuted and not held(0, 3).refuted
    assert held(0, 5).refuted and held(5, 20).refuted
    assert not held(12, 20).refuted
    assert held(7, 20).chance == pytest.approx(sum(binom.pmf(at, 20, 0.8) for at in range(8)))
    # So many rates as the nightly could have, each with as many runs as thirty nights give: red by chance in one night of 30
    # at the most.
    assert 1 - (1 - CHANCE) ** 12 < 1 / 30


def test_nights_before_count_and_what_proves_nothing_does_not() -> None:
    unknown = msgspec.structs.replace(line(9, seen=False), verdict="unknown")
    before = tuple(Night(f"2026110{at}T021000-suite-n", (line(seen=False),)) for at in range(1, 5))
    (found,) = nights.rates_seen([line(seen=False), unknown], before)
    assert (found.seen, found.runs, found.refuted) == (0, 5, True)
    short = msgspec.structs.replace(line(9), exit_code=2)
    (found,) = nights.rates_seen([line(seen=False), short], before)
    assert (found.seen, found.runs) == (0, 5), "a run that was cut short tells no rate"
    other = msgspec.structs.replace(line(), place=msgspec.structs.replace(line().place, version="8.0"))
    (found,) = nights.rates_seen([other], before)
    assert (found.seen, found.runs) == (1, 1)


@pytest.mark.parametrize(("text", "spelled"), [("neither 80%", "neither 80%"), ("CP 99.5 %", "CP 99.5%"), ("cp", "CP")])
def test_an_expectation_may_name_a_rate(text: str, spelled: str) -> None:
    assert parse(text) == spelled


@pytest.mark.parametrize("text", ["neither 0%", "neither 101%", "neither often", "neither80%", "80%"])
def test_what_is_no_rate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expect"):
        parse(text)


def test_a_rate_is_met_by_a_run_that_is_judged_and_by_no_other() -> None:
    result = msgspec.structs.replace(story.result(story.recording()), classification="neither")
    seen, missing = meets("neither 80%", result), meets("AP 80%", result)
    assert (seen.met, seen.seen, seen.rate) == (True, True, 0.8)
    assert (missing.met, missing.seen, missing.rate) == (True, False, 0.8)
    assert not meets("AP 80%", msgspec.structs.replace(result, validity="unknown")).met


def test_the_index_begins_with_what_was_not_expected() -> None:
    place = msgspec.structs.replace(line().place, workload="set")
    fine = [msgspec.structs.replace(line(at), place=place) for at in range(3)]
    text = index.page("nightly", [*fine, line(7, missed=True, variant="cluster")], (), index.Status(4, 4))
    assert "3 of 4 runs as they should be" in text and "all 4 runs done" in text
    assert text.index("expectation missed</b>: redis cluster") < text.index('id="matrix"')
    matrix = text[text.index('id="matrix"') :]
    assert matrix.index("cluster") < matrix.index("sentinel")
    assert '<a href="20261105T021007-redis/report.html">' in matrix
    assert "neither 3 of 3 (43.9% to 100.0%)" in matrix


def test_the_index_tells_what_differs_from_the_nights_before_and_what_does_not() -> None:
    def plain(*, seen: bool = True) -> Told:
        return msgspec.structs.replace(line(seen=seen), expectations=(), expect=())

    before = tuple(Night(f"202611{at:02d}T021000-suite-n", (plain(seen=False),)) for at in range(1, 13))
    text = index.page("n", [plain()], before, index.Status(1, 2, "about 3 min left"))
    assert "not as on the nights before</b>: redis sentinel" in text
    assert "neither 1 of 1; on the nights before 0 of 12" in text
    assert "run 2 of 2, about 3 min left" in text and 'http-equiv="refresh"' in text
    assert text.count('<li class="good"') == 12
    same = index.page("n", [plain(seen=False)], before, index.Status(1, 1))
    assert "Nothing surprising, compared with 12 nights before." in same and 'http-equiv="refresh"' not in same


def test_the_index_is_green_only_where_all_is_over_and_as_it_should_be() -> None:
    def tone(runs: list[Told], done: int) -> str:
        text = index.page("n", runs, (), index.Status(done, 2))
        assert ("so far" in text) == (done < 2 and bool(runs) and all(run.expect for run in runs))
        return text.split('<header class="')[1].split('"')[0]

    fine, bad = line(), msgspec.structs.replace(line(1), expect=(), expectations=(), exit_code=1)
    assert tone([fine, fine], 2) == "valid"
    assert tone([fine], 1) == tone([], 0) == "study"
    assert tone([fine, bad], 2) == tone([bad], 1) == "study", "an anomaly that nobody expected is not green"
    assert tone([fine, line(2, missed=True)], 2) == "invalid"


def test_what_proves_nothing_is_not_called_unjudged_and_what_has_no_report_leads_to_its_folder() -> None:
    unknown = msgspec.structs.replace(line(), verdict="unknown", exit_code=2, classification="unknown")
    text = index.page("n", [unknown], (), index.Status(1, 1))
    assert "proves nothing</b>: redis" in text and "not judged" not in text and "</b> 1 of 1" in text
    why = "set-up: n1: redis ended.\nn1/redis.log: wrong number of arguments"
    none = nights.told(NotJudged(run="a run", plan=story.PLAN, reason=why, exit_code=3))
    assert none is not None
    text = index.page("n", [none], (), index.Status(1, 1))
    assert 'href="a%20run/"' in text and "report.html" not in text
    assert "redis ended." in text and "<small>n1/redis.log: wrong" in text and "\\n" not in text
    assert "<details><summary>1 more line</summary><small>n1/redis.log" in text, "the logs do not bury the next place"


def test_a_suite_that_expects_nothing_says_what_was_seen() -> None:
    runs = [msgspec.structs.replace(line(at), expectations=(), expect=()) for at in range(2)]
    text = index.page("claims", runs, (), index.Status(2, 2))
    assert f"<h1>2 runs: 2 {runs[0].verdict}</h1>" in text and "Nothing was expected of them." in text
    assert "as they should be" not in text and "Nothing surprising" not in text


def test_a_run_that_was_not_judged_is_in_the_index_and_not_green() -> None:
    none = nights.told(NotJudged(run="", plan=story.PLAN, reason="no such variant", exit_code=64))
    assert none is not None
    text = index.page("n", [none], (), index.Status(1, 1))
    assert "not judged</b>: redis sentinel" in text and "no such variant" in text and "1 run: 1 not judged" in text


def test_a_strangers_text_is_text_in_the_index() -> None:
    text = index.page("n", [line(text=story.HOSTILE, missed=True)], (), index.Status(1, 1))
    assert "<script" not in text and "\x1b" not in text and "\x00" not in text


def test_lines_are_read_back_and_what_is_none_is_nothing(tmp_path: Path) -> None:
    told = nights.told(story.result(story.recording()))
    assert told is not None and told.place.version == "7.0.15"
    nights.write(tmp_path, [told, line()])
    assert nights.read(tmp_path) == (told, line())
    (tmp_path / nights.FILE).write_text("[{}]")
    assert nights.read(tmp_path) == () and nights.read(tmp_path / "none") == ()


def results() -> tuple[Result, Result]:
    """The story, and the same with nothing wrong."""
    bad = story.result(story.recording())
    return bad, msgspec.structs.replace(bad, counts={}, blast=msgspec.structs.replace(bad.blast, lost=0))


def test_runs_differ_in_whether_and_not_in_how_often() -> None:
    bad, good = results()
    fewer = msgspec.structs.replace(bad, counts={"lost-write": 1, "stale-read": 1})
    assert not any(one.apart for one in compare.runs(bad, fewer))
    assert bad.plan is not None
    expecting = msgspec.structs.replace(good, plan=msgspec.structs.replace(bad.plan, expect=("CP", "valid"), variant="other"))
    told = {line.what: (line.first, line.second) for line in compare.runs(good, expecting)}
    assert told["plan: expect"] == ("[]", '["CP", "valid"]') and told["plan: variant"][1] == '"other"', "as in a plan's file"
    assert {one.what for one in compare.runs(good, expecting) if one.given} == {"plan: expect", "plan: variant"}
    lines = compare.runs(bad, good)
    assert lines[0].apart and {one.what for one in lines if one.apart} == {"lost-write", "stale-read", "writes lost, proven"}


def test_suites_differ_by_more_than_chance() -> None:
    def some(seen: int, of: int) -> list[Told]:
        return [line(at, seen=at < seen) for at in range(of)]

    assert not any(one.apart for one in compare.suites(some(10, 10), some(9, 10)))
    assert compare.suites(some(10, 10), some(2, 10))[0].apart
    (first, *_) = compare.suites(some(3, 3), [line(variant="cluster")])
    assert first.apart and (first.first, first.second) == ("3 runs", "not run")
    assert compare.suites([line(variant="cluster")], some(3, 3))[0].first == "1 run"


def test_a_contract_adds_up_over_runs() -> None:
    bad, good = results()
    text = markdown([bad, good, msgspec.structs.replace(bad, plan=msgspec.structs.replace(story.PLAN, variant="cluster"))])
    assert text.count("# Consistency contract: redis") == 2
    first = text[: text.index("# Consistency contract: redis cluster")]
    write = bad.scenarios[0].sides[0].write
    assert f"writes {100 * write.answered / write.attempted:.1f}% answered" in first and "(2 times)" in first
    total = bad.blast.acknowledged + good.blast.acknowledged
    assert f"{bad.blast.lost} of {total:,} acknowledged writes were lost." in first
    assert "Anomalies in 1 of 2 runs." in first


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, int]]:
    """A folder of runs, served, with a secret beside it."""
    runs = tmp_path / "runs"
    (runs / "run <1>").mkdir(parents=True)
    (runs / "run <1>" / "report.html").write_text("<p>report")
    (runs / "run <1>" / "n1.log").write_text("<script>alert(1)</script>")
    (tmp_path / "secret.txt").write_text("secret")
    (runs / "link.txt").symlink_to(tmp_path / "secret.txt")
    (runs / "up").symlink_to(tmp_path)
    with serve.server(runs) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield runs, server.server_address[1]
        server.shutdown()
        thread.join()


def ask(port: int, path: str, method: str = "GET", host: str = "") -> tuple[int, str, str]:
    """Status, type and content."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"127.0.0.1:{port}")
    connection.endheaders()
    answer = connection.getresponse()
    found = answer.status, answer.getheader("Content-Type", ""), answer.read().decode()
    connection.close()
    return found


def test_a_folder_of_runs_is_shown_as_it_is_now(served: tuple[Path, int]) -> None:
    runs, port = served
    status, kind, text = ask(port, "/")
    assert status == 200 and kind.startswith("text/html") and "run &lt;1&gt;" in text
    assert ask(port, "/run%20%3C1%3E/report.html")[2] == "<p>report"
    assert ask(port, "/run%20%3C1%3E/n1.log")[1].startswith("text/plain")
    assert ask(port, "/run%20%3C1%3E")[0] == 301
    (runs / "later").mkdir()
    assert "later" in ask(port, "/")[2]
    (runs / "later" / "journal.jsonl").write_text("")
    assert "run: under way, or not judged" in ask(port, "/")[2]
    (runs / "later" / "result.json").write_text('{"heading": "NOT <LINEARIZABLE>", "other": 1}')
    assert "run: NOT &lt;LINEARIZABLE&gt;" in ask(port, "/")[2]
    (runs / "later" / "result.json").write_text("{")
    assert "run: judged, by a version that this one cannot read" in ask(port, "/")[2]
    assert ask(port, "/", "HEAD") == (200, "text/html; charset=utf-8", "")


@pytest.mark.parametrize(
    "path",
    [
        "/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "//../secret.txt", "/run%20%3C1%3E/../../secret.txt",
        "/link.txt", "/up/secret.txt", "/up/", "/%00", "/" + "a" * 5000, "/none",
    ],
)
def test_nothing_outside_the_folder_is_given_out(served: tuple[Path, int], path: str) -> None:
    status, _, text = ask(served[1], path)
    assert status == 404 and "secret" not in text


def test_it_only_reads_and_only_for_this_machine(served: tuple[Path, int]) -> None:
    _, port = served
    assert ask(port, "/", host=f"evil.example:{port}")[0] == 403
    assert ask(port, "/", "PUT")[0] == ask(port, "/", "DELETE")[0] == ask(port, "/", "POST")[0] == 501
    with serve.server(served[0]) as other:
        assert other.server_address[0] == "127.0.0.1"


def test_what_was_claimed_stands_beside_what_was_observed() -> None:
    told = nights.told(story.result(story.recording()))
    assert told is not None
    (row,) = index.claimed([told, told])
    assert [(one.text, one.standings) for one in row.claims] == [
        ("CP", "does not hold 2"), ("acknowledged writes may be lost in partitions", "holds 2"), ("PA/EL", "not tested 2"),
    ]
    assert row.observed.startswith("neither 2; ") and row.runs == (told, told)
    (mixed,) = index.claimed([told, msgspec.structs.replace(told, verdict="valid", anomalies={}, otherwise="EL")])
    assert mixed.observed.startswith("neither 1, EL 1; ")
    text = index.page("claims", [told, told], (), index.Status(2, 2))
    assert text.index("Claimed and observed") < text.index("does not hold 2") < text.index("documentation of Sentinel")
    assert text.count("<small>does not hold: ") == len({one.reason for one in told.claims if one.standing == "does not hold"})
    assert "<small>holds: " not in text


@given(st.tuples(*[st.integers(0, 40)] * 4))
def test_two_counts_differ_by_more_than_chance_as_fisher_says(table: tuple[int, int, int, int]) -> None:
    seen, missing, other_seen, other_missing = table
    chance = fisher_exact(np.array([[seen, missing], [other_seen, other_missing]])).pvalue
    if abs(chance - 0.05) > 1e-9:
        assert nights.differ(seen, seen + missing, other_seen, other_seen + other_missing) == (chance < 0.05)
    if seen + missing:
        assert nights.at_most(seen, seen + missing, 0.8) == pytest.approx(binom.cdf(seen, seen + missing, 0.8))
