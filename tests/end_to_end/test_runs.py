"""Whole runs on real servers: the known answer of each database and variant."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.result import Result, Scenario, encode
from splitbrain.harness.history.fault import Cut
from splitbrain.harness.history.journal import load as recorded
from splitbrain.harness.resolve import resolve
from tests.conftest import Ran, need
from tests.end_to_end.accused import slandered

Splitbrain = Callable[..., Ran]

SHORT = """
time = 20.0
baseline = 4.0
fault = 9.0
between = 5.0
"""
"""A plan of 20 s: one fault of 9 s."""


def sides(scenario: Scenario) -> dict[str, float]:
    """The share of writes answered on the sides with and without a quorum."""
    return {("majority" if side.quorum else "minority"): side.write.share or 0.0 for side in scenario.sides}


@pytest.mark.parametrize("variant", ["majority", "fenced-primary"])
def test_reference_that_is_consistent_and_partitioned_is_cp(splitbrain: Splitbrain, short: Path, variant: str) -> None:
    ran = splitbrain("test", "reference", "--variant", variant, "--nemesis", "partition-primary", "--plan", short)
    result = ran.result
    assert (ran.code, result.validity, result.classification) == (0, "valid", "CP"), ran.stdout
    assert "no anomaly found" in ran.stdout.lower() and "safe" not in ran.stdout.lower()
    assert result.scenarios[0].bit and not result.torn


@pytest.mark.parametrize("variant", ["primary-async", "split-brain"])
def test_reference_that_loses_acknowledged_writes_is_caught(splitbrain: Splitbrain, chained: Path, variant: str) -> None:
    ran = splitbrain("test", "reference", "--variant", variant, "--nemesis", "partition-primary", "--plan", chained,
                     "--expect", "split-brain", "--expect", "invalid")
    result = ran.result
    assert ran.code == 0, ran.stdout
    # How long an election takes is the machine's doing: where it is over at once, the pause may be too short to tell from none.
    unsure = result.classification == "unknown" and "too close to 99%" in result.sentence
    assert result.classification == "neither" or unsure, ran.stdout
    assert slandered(recorded(ran.folder / "journal.jsonl")[1]) == []
    row = result.scenarios[0]
    # Old primaries of `split-brain` may go on for a while after the heal: then reads show no side that gave way.
    assert row.discarded is not None and row.discarded.contested > 0
    assert variant == "split-brain" or (row.lost > 0 and row.discarded.writes > 0)
    assert "NOT LINEARIZABLE" in ran.stdout and "lost" in ran.stdout
    judged_again = splitbrain("check", ran.folder)
    assert judged_again.code == 0
    again = msgspec.json.decode((ran.folder / "result.json").read_bytes(), type=Result)
    apart = [msgspec.structs.replace(verdict, seconds=0) for verdict in again.verdicts]
    assert apart == [msgspec.structs.replace(verdict, seconds=0) for verdict in result.verdicts]
    assert msgspec.structs.replace(again, verdicts=()) == msgspec.structs.replace(result, verdicts=())

def test_the_evidence_alone_is_the_same_or_a_more_general_anomaly(splitbrain: Splitbrain, short: Path, tmp_path: Path) -> None:
    ran = splitbrain("test", "reference", "--variant", "primary-async", "--nemesis", "partition-primary", "--plan", short)
    assert ran.code == 1, ran.stdout
    for identifier, anomaly in {anomaly.identifier: anomaly for anomaly in ran.result.anomalies}.items():
        evidence = tmp_path / f"{identifier}.jsonl"
        evidence.write_bytes(b"".join(msgspec.json.encode(op) + b"\n" for op in anomaly.operations))
        again = splitbrain("check", evidence, "--json")
        assert again.code == 1, again.stdout + again.stderr
        counts = json.loads(again.stdout)["counts"]
        assert counts and all(generalises(name, identifier) for name in counts), (identifier, counts)


def test_last_write_wins_is_ap_and_converges(splitbrain: Splitbrain, short: Path) -> None:
    ran = splitbrain("test", "reference", "--variant", "lww", "--nemesis", "halves", "--plan", short, "--expect", "AP")
    result = ran.result
    assert ran.code == 0, ran.stdout
    assert result.convergence.state == "agreed" and result.validity == "invalid"


def test_etcd_is_cp_in_all_scenarios(splitbrain: Splitbrain, tmp_path: Path) -> None:
    need("etcd")
    plan = tmp_path / "plan.toml"
    plan.write_text("baseline = 5.0\nfault = 7.0\nbetween = 6.0\n")
    ran = splitbrain("test", "etcd", "--plan", plan)
    result = ran.result
    assert (ran.code, result.validity, result.classification) == (0, "valid", "CP"), ran.stdout
    assert len(result.scenarios) == 4
    for scenario in result.scenarios:
        for side in scenario.sides:
            share = side.write.after_transition if side.quorum else side.write.share
            assert (share or 0.0) > 0.5 if side.quorum else (share or 0.0) < 0.05, scenario


def test_etcd_serializable_reads_are_stale(splitbrain: Splitbrain, short: Path) -> None:
    need("etcd")
    ran = splitbrain("test", "etcd", "--variant", "serializable", "--nemesis", "partition-primary", "--plan", short,
                     "--expect", "stale-read")
    assert ran.code == 0, ran.stdout


def test_redis_under_sentinel_loses_acknowledged_writes(splitbrain: Splitbrain, chained: Path) -> None:
    need("redis-server", "redis-sentinel")
    ran = splitbrain("test", "redis", "--variant", "sentinel", "--nemesis", "partition-primary", "--plan", chained)
    result = ran.result
    assert (ran.code, result.classification) == (1, "neither"), ran.stdout
    assert result.counts["lost-write"] > 0
    assert slandered(recorded(ran.folder / "journal.jsonl")[1]) == []
    lost = [anomaly for anomaly in result.anomalies if anomaly.identifier == "lost-write"]
    assert lost and all(len(anomaly.operations) >= 2 and anomaly.fault == 1 for anomaly in lost)


def test_redis_without_a_fault_shows_nothing(splitbrain: Splitbrain) -> None:
    need("redis-server", "redis-sentinel")
    ran = splitbrain("test", "redis", "--nemesis", "none", "--time", "6s")
    assert not ran.result.anomalies, ran.stdout


def test_sets_under_sentinel_lose_elements(splitbrain: Splitbrain, short: Path) -> None:
    need("redis-server", "redis-sentinel")
    ran = splitbrain("test", "redis", "--workload", "set", "--nemesis", "partition-primary", "--plan", short)
    assert ran.code == 1 and ran.result.counts["lost-element"] > 0, ran.stdout


def test_a_redis_cluster_whose_primary_is_isolated_loses_acknowledged_writes(splitbrain: Splitbrain, chained: Path) -> None:
    need("redis-server")
    ran = splitbrain("test", "redis", "--variant", "cluster", "--nemesis", "partition-primary", "--plan", chained)
    assert ran.code == 1 and ran.result.counts["lost-write"] > 0, ran.stdout
    row = ran.result.scenarios[0]
    # Keys of its shard, a third of all: an isolated primary takes writes for the 2 s until it stops.
    assert row.bit and row.discarded is not None and row.discarded.contested > 0 and row.lost > 0, ran.stdout
    assert slandered(recorded(ran.folder / "journal.jsonl")[1]) == []


ONE = "baseline = 3.0\nfault = 4.0\nbetween = 3.0\nkeys = 20\nsettle = 8.0\n"


@pytest.fixture
def one(tmp_path: Path) -> Path:
    """A plan with every scenario once, for 4 s each."""
    file = tmp_path / "one.toml"
    file.write_text(ONE)
    return file


def test_a_paused_primary_is_told_in_its_own_words(splitbrain: Splitbrain, one: Path) -> None:
    ran = splitbrain("test", "reference", "--variant", "fenced-primary", "--nemesis", "pause:primary", "--plan", one)
    row = ran.result.scenarios[0]
    assert (ran.code, ran.result.validity) == (0, "valid"), ran.stdout
    assert row.bit and row.links_cut == 0 and row.struck == (row.primary,) and row.label == f"pause {row.primary}"
    assert ran.result.classification == "not-exercised" and f"no link was cut (pause {row.primary})" in ran.result.sentence
    assert f"pause {row.primary} " in ran.said and "1/1 standing still" in ran.said and "resume" in ran.said
    assert "over its lease of 0.6 s" in ran.said and "over its lease of 0.6 s" in (ran.folder / "journal.jsonl").read_text()
    assert "links" not in ran.stdout and "partition" not in ran.stdout
    went = next(side for side in row.sides if side.quorum)
    assert len(went.nodes) == 4 and went.write.answered > 10, "another primary was elected"
    report = (ran.folder / "report.html").read_text()
    assert "over its lease of 0.6 s" in report and "took no connection" in report and "directed links" not in report


def test_nothing_is_claimed_of_a_primary_that_is_cut_off_and_killed(splitbrain: Splitbrain, one: Path) -> None:
    words = ("--nemesis", "partition-primary+kill:primary", "--plan", one)
    ran = splitbrain("test", "reference", "--variant", "fenced-primary", *words)
    row = ran.result.scenarios[0]
    assert (ran.code, ran.result.validity) == (0, "valid") and row.bit, ran.stdout
    alone = next(side for side in row.sides if side.nodes == (row.primary,))
    assert alone.struck == alone.nodes and alone.write.attempted > 10 and alone.write.answered == 0
    assert row.links_cut == 8 and len(row.sides) == 2 and row.classification == "unknown"
    assert f"while {row.primary} was cut off something else was done to it" in row.sentence
    assert "everywhere" not in ran.stdout, ran.stdout


def test_faults_that_overlap_and_their_replay(splitbrain: Splitbrain, tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text("""
time = 15.0
keys = 20
[[schedule]]
at = 3.0
duration = 8.0
[[schedule.specs]]
type = "cut"
links = [["n1", "n2"], ["n2", "n1"]]
[[schedule]]
at = 5.0
duration = 1.0
nemesis = "restart"
scenario = "follower"
""")
    ran = splitbrain("test", "reference", "--variant", "primary-async", "--plan", file)
    first, second = ran.result.scenarios
    assert first.bit and second.bit and (first.beside, second.beside) == ((2,), (1,)), ran.stdout
    assert first.started < second.started < (second.healed or 0) < (first.heal_began or 0)
    assert "overlaps with the fault of 0:0" in ran.said and len(ran.result.episodes) == 3
    again = splitbrain("test", "--replay", ran.folder)
    assert [(row.bit, row.label, row.struck) for row in again.result.scenarios] == [
        (True, row.label, row.struck) for row in ran.result.scenarios
    ], again.stdout
    repeated = recorded(again.folder / "journal.jsonl")[1].plan
    assert repeated is not None and [fault.duration for fault in repeated.schedule] == [8.0, 1.0], "no longer each time"
    hosts = tmp_path / "hosts.toml"
    hosts.write_text("".join(f'[[hosts]]\nhost = "10.0.0.{number}"\n' for number in range(1, 6)))
    elsewhere = resolve({"testbed": "ssh", "inventory": str(hosts)}, replay=ran.folder)
    assert len(elsewhere.schedule) == 2 and elsewhere.tcp_rto_max_ms == 0


def test_a_run_is_shrunk_to_the_fault_that_matters(splitbrain: Splitbrain, tmp_path: Path) -> None:
    file = tmp_path / "two.toml"
    file.write_text("".join(f"""
[[schedule]]
at = {at}
duration = {duration}
nemesis = "{nemesis}"
scenario = "{scenario}"
""" for at, duration, nemesis, scenario in (
        (2.0, 0.6, "pause", "follower"), (3.5, 4.0, "partition-primary", "primary-alone"))))
    ran = splitbrain("test", "reference", "--variant", "primary-async", "--plan", file, "--keys", "20",
                     "--between", "1s")
    assert "stale-read" in ran.result.counts, ran.stdout
    shrunk = splitbrain("shrink", ran.folder, "--anomaly", "stale-read", "--tries", "1", "--most", "3", "--confirm", "1")
    assert shrunk.code == 0, shrunk.stdout
    (smallest,) = shrunk.runs.glob("*-shrink-*/smallest.toml")
    assert f"splitbrain test --plan {smallest}" in shrunk.stdout, shrunk.stdout
    (left,) = resolve({}, smallest).schedule
    assert left.nemesis == "partition-primary" and isinstance(left.specs[0], Cut)
    assert "1 fault, " in shrunk.stdout and "2 faults, " in shrunk.stdout
    nothing = splitbrain("shrink", ran.folder, "--anomaly", "stale-reed")
    assert nothing.code == 64 and "did you mean 'stale-read'" in nothing.stderr


def test_a_wrong_clock_loses_writes_where_the_newest_is_found_by_it(splitbrain: Splitbrain) -> None:
    for variant, found in (("quorum-clock", True), ("majority", False)):
        ran = splitbrain("test", "reference", "--variant", variant, "--nemesis", "clock-jump:follower", "--time", "10s",
                         "--baseline", "2s", "--fault", "4s", "--between", "2s")
        (row,) = ran.result.scenarios
        assert row.bit and row.links_cut == 0 and row.label == f"put the clock of {row.struck[0]} 60 s ahead"
        assert ("lost-write" in ran.result.counts) == found == (ran.code == 1), ran.stdout
        told = re.search(r"([\d.]+) s \(([\d.]+ to [\d.]+, )?intended 60\)", ran.said)
        assert told and abs(float(told[1]) - 60) < 1.5, ran.stdout


def test_slow_links_cost_a_round_trip_and_no_consistency(splitbrain: Splitbrain) -> None:
    ran = splitbrain("test", "reference", "--variant", "majority", "--nemesis", "delay:all", "--time", "12s", "--nodes", "3",
                     "--baseline", "3s", "--fault", "4s", "--between", "3s")
    (row,) = ran.result.scenarios
    assert ran.result.validity == "valid" and row.bit and row.label == "delay 100 ms on all links", ran.stdout
    (side,) = row.sides
    before = next(one for one in ran.result.baseline if one.kind == "write")
    assert side.write.latency is not None and before.latency is not None
    assert side.write.latency > 0.19, "a majority is a round trip away"
    told = "writes took " in ran.said and re.search(r"before \(medians\): longer by [\d.]+ round trips of 2\d\d ms", ran.said)
    assert told or side.write.latency <= 2 * before.latency, "on a machine as slow as the links it is nothing to tell"


def test_printed_commands_run_as_printed(splitbrain: Splitbrain) -> None:
    ran = splitbrain("test", "reference", "--nemesis", "none", "--time", "3s", "--nodes", "3")
    told = {name: rest for name, rest in (line.split(maxsplit=1) for line in ran.stdout.splitlines() if len(line.split()) > 1)
            if name in ("check", "again")}
    assert set(told) == {"check", "again"}, ran.stdout
    assert "after heal" not in ran.said and "at the end: replicas equal" in ran.said
    assert "did not hurt" not in (ran.folder / "report.html").read_text()
    for command in told.values():
        program, *words = shlex.split(command)
        assert program == "splitbrain"
        again = splitbrain(*words)
        assert again.code == ran.code, again.stdout + again.stderr
    # Nobody judges anew for a report what this version has judged already.
    stored = ran.folder / "result.json"
    stored.write_bytes(encode(msgspec.structs.replace(ran.result, heading="AS STORED")))
    assert splitbrain("report", ran.folder).code == 0
    assert "AS STORED" in (ran.folder / "report.html").read_text()
