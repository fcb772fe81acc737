"""Schedules, as values: when which fault comes, and what cannot be run."""

from __future__ import annotations

import itertools
import random
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.harness import registry
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Cut, Flap, Impair, Kill, Other, Pause, Retry, Skew, Surge
from splitbrain.harness.history.journal import load
from splitbrain.harness.plan import Plan, ScriptedFault
from splitbrain.harness.plan_file import written
from splitbrain.harness.resolve import resolve
from splitbrain.harness.schedules import Step, interval, nemesis, planned, replay, schedule, shuffled, staggered
from splitbrain.harness.testbeds.testbed import everything
from splitbrain.nemeses.combination import Combination
from splitbrain.nemeses.nemesis import Outlook
from splitbrain.nemeses.partitions import Halves
from splitbrain.nemeses.roles import each
from tests.conftest import ROOT

OLDER = Path(__file__).parent / "history" / "format-2.jsonl"


def plan(**settings: Any) -> Plan:
    return msgspec.structs.replace(Plan(database="reference", variant="majority", baseline=5, fault=8, between=5), **settings)


def test_a_name_is_a_nemesis_a_scenario_of_it_or_several() -> None:
    assert isinstance(nemesis("halves"), Halves)
    one = nemesis("kill:any")
    assert isinstance(one, Combination) and one.scenarios(5) == ("any",) and one.name == "kill:any"
    both = nemesis("one-way+kill")
    assert both.name == "one-way+kill" and both.needs == {"cut", "end"} and both.minimum_nodes() == 2
    assert both.scenarios(5) == (
        "primary-deaf + primary", "primary-mute + follower", "primary-deaf + minority", "primary-mute + majority",
        "primary-deaf + all",
    )
    with pytest.raises(UsageError, match="did you mean 'halves'"):
        nemesis("kill+halve")
    with pytest.raises(UsageError, match=r"'random', which is a pace: .* --pace random"):
        nemesis("random")


def test_an_interval_never_overlaps_and_stays_in_the_load() -> None:
    steps = interval(plan(nemesis="kill", time=60.0))
    assert [step.scenario for step in steps] == ["primary", "follower", "minority", "majority"]
    assert all(b.at == a.at + 13 for a, b in itertools.pairwise(steps)) and steps[-1].at + 13 <= 60


def test_staggered_parts_take_turns_and_overlap() -> None:
    steps = staggered(plan(nemesis="halves+kill:any+pause:primary"))
    assert steps == (
        Step(5, 8, "halves", "halves"), Step(10, 8, "kill", "any"), Step(15, 8, "pause", "primary"),
    )


def test_a_random_schedule_is_the_seeds_leaves_quiet_and_mixes() -> None:
    whole = plan(nemesis="halves+kill+pause", time=2000.0, seed=3)
    steps = shuffled(whole)
    assert steps == shuffled(whole) != shuffled(msgspec.structs.replace(whole, seed=4))
    assert {step.nemesis for step in steps} == {"halves", "kill", "pause"}
    assert all(step.at >= 5 and step.at + step.duration + 5 <= 2000 and step.duration > 0 for step in steps)
    busy, end, inside = 0.0, 5.0, 0
    for step in sorted(steps, key=lambda step: step.at):
        inside += step.at < end
        busy += max(0.0, step.at + step.duration - max(end, step.at))
        end = max(end, step.at + step.duration)
    assert 0.2 < 1 - busy / (end - 5) < 0.3, "a quarter of the time is quiet"
    assert 0.15 < inside / len(steps) < 0.35, "one in four lies inside another one"
    early, late = steps[: len(steps) // 3], steps[-len(steps) // 3 :]
    assert [sum(s.nemesis == "halves" for s in part) / len(part) for part in (early, late)] != [0.0, 0.0]
    assert shuffled(plan(nemesis="none")) == ()


def lengths(database: str, nemesis: str, **settings: Any) -> list[float]:
    return [step.duration for step in schedule(resolve({"database": database, "nemesis": nemesis, "seed": 5, **settings}))]


def around(times: list[float], seconds: float) -> list[str]:
    """What each of some lengths is to a database's own time."""
    return ["longer" if length > 2 * seconds else "about" if length > 0.82 * seconds else "shorter" for length in times]


@pytest.mark.parametrize(("database", "variant", "seconds"), [
    ("etcd", "linearizable", 1.0), ("redis", "sentinel", 1.0), ("redis", "cluster", 2.0), ("mongodb", "majority", 2.0),
    ("reference", "fenced-primary", 0.6), ("reference", "primary-async", 0.6),
])
def test_pauses_last_around_the_time_after_which_a_server_is_missed(database: str, variant: str, seconds: float) -> None:
    found = lengths(database, "pause:primary", variant=variant)
    assert around(found, seconds) == ["longer", "about", "shorter"], "each of them, where time is auto"
    assert found == lengths(database, "pause:primary", variant=variant)
    assert found != lengths(database, "pause:primary", variant=variant, seed=6)
    every = schedule(resolve({"database": database, "nemesis": "pause", "variant": variant, "time": 300.0}))
    assert all(step.exact for step in every) and len({(step.scenario, number % 3) for number, step in enumerate(every)}) == 15
    assert all(b.at == pytest.approx(a.at + a.duration + 5) for a, b in itertools.pairwise(every))
    assert around([step.duration for step in every], seconds)[:6] == ["longer", "about", "shorter"] * 2
    mixed = schedule(resolve({"database": database, "nemesis": "pause+kill", "variant": variant, "pace": "random",
                              "time": 600.0, "seed": 1}))
    assert set(around([step.duration for step in mixed if step.nemesis == "pause"], seconds)) == {"longer", "about", "shorter"}
    assert all(step.duration >= 2 for step in mixed if step.nemesis == "kill")


def test_where_no_time_is_known_or_a_length_is_told_a_pause_is_as_long_as_any_fault(tmp_path: Path) -> None:
    assert lengths("etcd", "pause:primary", fault=3.0) == lengths("etcd", "pause:primary", options={"pause": {"length": 3.0}})
    assert lengths("etcd", "pause:primary", fault=3.0) == [3.0]
    assert lengths("etcd", "pause:primary", fault=3.0, options={"pause": {"length": "2s"}}) == [2.0]
    assert lengths("reference", "pause:primary", variant="majority") == [8.0], "nobody is elected"
    assert lengths("cassandra", "pause:primary") == [8.0], "less than its failure detector takes"
    assert lengths("etcd", "pause:lock-owner", workload="lock") == [8.0], "a lock's lease is another time"
    assert lengths("etcd", "halves+pause:primary") == [8.0], "the cut is not over before"
    kept = tmp_path / "plan.toml"
    kept.write_text(written(resolve({"database": "etcd", "nemesis": "pause:primary", "seed": 5})))
    assert "fault = 8.0" in kept.read_text() and 'length = "around"' in kept.read_text()
    assert schedule(resolve({}, kept)) == schedule(resolve({"database": "etcd", "nemesis": "pause:primary", "seed": 5}))
    assert [step.duration for step in schedule(resolve({"fault": 4.0}, kept))] == [4.0], "a flag wins over a file"


def test_when_the_primary_changes() -> None:
    steps = schedule(plan(nemesis="pause:primary", pace="primary-changes"))
    assert [(step.when, step.at) for step in steps] == [("primary-changes", 5)]


def test_the_outages_that_are_shipped() -> None:
    regions, cut = schedule(resolve({"database": "etcd"}, ROOT / "atlantic.toml"))
    assert regions.nemesis == "regions" and regions.at < cut.at < cut.at + cut.duration < regions.at + regions.duration
    (spec,) = cut.specs
    assert isinstance(spec, Cut)
    graph = everything(f"n{number}" for number in range(1, 6))
    graph.remove_edges_from(spec.links)
    america, europe, asia = ("n1", "n4"), ("n2", "n5"), ("n3",)  # as the nemesis deals them
    assert {frozenset(link) for link in spec.links} == {frozenset((one, other)) for one in america for other in europe}
    assert all(graph.has_edge(a, b) and graph.has_edge(b, a) for a in asia for b in (*america, *europe))
    assert planned(regions, 5) == "regions three-regions"
    assert planned(cut, 5) == "partition " + ", ".join("→".join(link) for link in spec.links), "what a script cuts is told"
    one, many = schedule(resolve({"database": "redis"}, ROOT / "too-many-removed.toml"))
    assert (one.scenario, many.scenario) == ("follower", "majority") and one.at + one.duration < many.at


def test_a_script_tells_scenarios_targets_and_overlaps(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("""
database = "reference"
nodes = 3
[[schedule]]
at = 4.0
duration = 5.0
nemesis = "kill"
scenario = "any"
[[schedule]]
at = 2.0
duration = 5.0
[[schedule.specs]]
type = "cut"
links = [["n1", "n2"], ["n2", "n1"]]
[[schedule.specs]]
type = "pause"
nodes = ["n3"]
[[schedule]]
at = 3.0
duration = 1.0
nemesis = "one-way"
when = "primary-changes"
""")
    assert schedule(resolve({}, file)) == (
        Step(2, 5, "scripted", "scripted", (Cut((("n1", "n2"), ("n2", "n1"))), Pause(("n3",)))),
        Step(3, 1, "one-way", "primary-deaf", when="primary-changes"), Step(4, 5, "kill", "any"),
    )


@pytest.mark.parametrize(("fault", "told"), [
    (dict(nemesis="halve"), "did you mean 'halves'"),
    (dict(nemesis="kill", scenario="leader"), "no scenario 'leader' on 5 nodes: there are any, primary"),
    (dict(nemesis="kill:leader"), "no scenario 'leader'"),
    (dict(), "names neither a nemesis nor specs"),
    (dict(specs=(Kill(("n1", "n9")),)), "names n9: the nodes are n1 to n5"),
    (dict(specs=(Cut((("n1", "n7"),)),)), "names n7"),
    (dict(nemesis="halves", at=-1.0), "must begin at 0 or later"),
    (dict(specs=(Kill(("n1",), down=float("nan")),)), "down is nan: it must be from 0 to 3,600"),
    (dict(specs=(Kill(("n1",), up=2.0),)), "give down too"),
    (dict(specs=(Kill(("n1", "n1")),)), "it names n1 twice"),
    (dict(specs=(Kill(()),)), "the fault at 5 s: it names no node"),
    (dict(specs=(Cut(()),)), "the fault at 5 s: it names no link"),
    (dict(specs=(Cut((("n1", "n2"), ("n3", "n3"))),)), "n3→n3 is no link"),
    (dict(specs=(Flap((("n1", "n2"),), down=0),)), "down is 0: it must be from 0.1"),
    (dict(specs=(Impair((("n1", "n2"),)),)), "it does nothing to packets: give it one of delay, jitter"),
    (dict(specs=(Impair((("n1", "n2"),), loss=5),)), "loss is 5: it must be from 0 to 1"),
    (dict(specs=(Impair((("n1", "n2"),), delay=float("nan")),)), "delay is nan"),
    (dict(specs=(Impair((("n1", "n2"),), rate=-3),)), "rate is -3"),
    (dict(specs=(Impair((("n1", "n2"),), delay=10, jitter=11),)), "no packet can come earlier than it was sent"),
    (dict(specs=(Impair((("n1", "n2"),), reorder=0.5),)), "give it a delay too"),
    (dict(specs=(Pause(("n1",), length=-1),)), "length is -1"),
    (dict(specs=(Skew(("n1",)),)), "a clock is put 2 s wrong at least"),
    (dict(specs=(Skew(("n1",), offset=float("inf")),)), "offset is inf"),
    (dict(specs=(Skew(("n1",), drift=-1),)), "drift is -1: it must be from -0.9"),
    (dict(specs=(Surge(("n1",), times=0),)), "times is 0: it must be from 2"),
    (dict(specs=(Surge(()),)), "it names no home"),
    (dict(specs=(Retry(("n1",), tries=-1),)), "tries is -1"),
    (dict(nemesis="halves", duration=float("nan")), "must begin at 0 or later, and last"),
    (dict(nemesis="halves", at=59.0), "after the load"),
])
def test_a_script_that_cannot_be_run_is_refused(fault: dict[str, Any], told: str) -> None:
    script = (ScriptedFault(**{"at": 5.0, "duration": 5.0, **fault}),)
    with pytest.raises(UsageError, match=told):
        resolve({"database": "reference", "time": 60.0, "schedule": script})


@pytest.mark.parametrize(("given", "told"), [
    ({"nemesis": "halves+pause:leader"}, "'pause' has no scenario 'leader'"),
    ({"nemesis": "majorities-ring+kill", "nodes": 3}, "needs 4 nodes"),
    ({"nemesis": "kill", "time": 3.0}, "too short for a fault"),
    ({"nemesis": "full-disk+power-loss"}, "can be filled or lose its power, not both"),
    ({"nemesis": "pause:lock-owner"}, "aimed at who holds a lock: in the workload 'register' nobody does"),
    ({"nemesis": "full-disk", "testbed": "attached"},
     "needs a testbed that can .*fill the disk of a data folder.*, not attached: docker and namespaces and ssh can"),
    ({"nemesis": "power-loss", "testbed": "attached"}, "needs a testbed that can .*take the power from .*, not attached"),
    ({"testbed": "attached", "schedule": (ScriptedFault(at=1, duration=1, specs=(Kill(("n1",)),)),)},
     "needs a testbed that can end and start servers, not attached: containers and docker and namespaces and ssh can"),
])
def test_a_nemesis_that_cannot_be_run_is_refused(tmp_path: Path, given: dict[str, Any], told: str) -> None:
    if "testbed" in given:
        inventory = tmp_path / "hosts.toml"
        inventory.write_text("disposable = true\n" + "".join(f'[[hosts]]\nhost = "192.0.2.{at}"\n' for at in range(1, 6)))
        given = {**given, "inventory": str(inventory), "nodes": 5}
    with pytest.raises(UsageError, match=told):
        resolve({"database": "reference", **given})


def test_what_nemeses_mean_can_be_written_by_hand() -> None:
    """Whatever a nemesis aims at, a run can have again with `--replay`."""
    names = each(5)
    view = Outlook(names=names, primary="n1", last_primary="n2", holders={0: ("n4",)}, owners=("n5",),
                   sides=(names[2:], names[:2]))
    for name in registry.names("nemeses"):
        found = nemesis(name)
        for scenario in found.known(5):
            for spec in found.aim(scenario, view, random.Random(scenario)):
                assert isinstance(spec, Other) or not spec.nonsense, (name, scenario, spec)


@pytest.mark.parametrize(("spec", "told"), [
    ('type = "cutt"\nlinks = [["n1", "n2"]]', r"mine\.toml:7: .* type is \"cutt\": did you mean 'cut'"),
    ('links = [["n1", "n2"]]', r"mine\.toml:6: .* it lacks 'type': there are: cut, flap, "),
    ('type = ["cut"]', r"mine\.toml:7: .* type is \[\"cut\"\]: "),
    ('type = "cut"\nlinks = [["n1", "n2"]]\nnodes = ["n1"]', r"mine\.toml:9: .* unknown key 'nodes': there are: links"),
    ('type = "kill"\nnodes = ["n1"]\ndonw = 0.1', r"mine\.toml:9: .* unknown key 'donw': did you mean 'down'"),
    ('type = "impair"\nlinks = [["n1", "n2"]]\nloss = 30.0', r"mine\.toml:6: .* loss is 30: it must be from 0 to 1"),
    ('type = "kill"\nnodes = "n1"', r"mine\.toml:6: .* cannot be taken: Expected `array`, got `str` - at `\$\.nodes`"),
])
def test_targets_that_are_mistyped_are_refused_with_their_line(tmp_path: Path, spec: str, told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'database = "reference"\n\n[[schedule]]\nat = 2.0\nduration = 5.0\n[[schedule.specs]]\n{spec}\n')
    with pytest.raises(UsageError, match=told):
        resolve({}, file)


def test_the_faults_of_a_run_are_a_script_of_the_same_targets() -> None:
    _, recording = load(OLDER)
    script = tuple(replay(recording).values())
    assert [(fault.nemesis, fault.scenario) for fault in script] == [("one-way", "primary-deaf"), ("one-way", "primary-mute")]
    assert script[0].specs == (Cut((("n1", "n2"), ("n3", "n2"))),)
    assert script[0].at == pytest.approx(1.0, abs=0.1) and script[0].duration == pytest.approx(2.6, abs=0.2)
    again = resolve({"database": "reference", "nodes": 3, "schedule": script})
    assert [step.specs for step in schedule(again)] == [fault.specs for fault in recording.faults]


def test_a_plan_keeps_every_spec(tmp_path: Path) -> None:
    specs = (
        Cut((("n1", "n2"),)), Impair((("n2", "n3"),), delay=20, jitter=5, loss=0.5),
        Kill(("n1",)), Kill(("n2", "n3"), signal="TERM", down=0.1, up=2.0), Pause(("n3",)),
        Other(name="fullness", nodes=("n1",), does="fill the folder of", options={"by": 7}),
    )
    script = (ScriptedFault(at=1, duration=2, nemesis="halves", specs=specs),)
    whole = plan(nodes=3, schedule=script)
    file = tmp_path / "plan.toml"
    file.write_text(written(whole))
    assert resolve({}, file).schedule == script
