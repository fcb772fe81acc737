"""Plans: what is refused before anything starts, and that a stored plan is accepted back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.plan import FORMAT, Plan
from splitbrain.harness.plan_file import written
from splitbrain.harness.resolve import check_machine, resolve
from splitbrain.harness.schedules import schedule
from splitbrain.harness.servers import find_program


def test_defaults_are_the_documented_ones() -> None:
    plan = resolve({"database": "reference"})
    assert (plan.nodes, plan.workload, plan.nemesis, plan.testbed) == (5, "register", "four-partitions", "namespaces")
    assert (plan.fault, plan.between, plan.baseline, plan.concurrency, plan.timeout) == (8.0, 5.0, 5.0, 3, 1.0)


def test_a_stored_plan_is_the_same_schedule(tmp_path: Path) -> None:
    plan = resolve({"database": "reference", "nemesis": "halves", "time": 60.0, "expect": ("CP", "valid")})
    stored = tmp_path / "plan.toml"
    stored.write_text(written(plan))
    again = resolve({}, stored)
    assert again == plan
    assert schedule(again) == schedule(plan)


def test_flags_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('database = "etcd"\nnodes = 3\nseed = 7\n')
    plan = resolve({"nodes": 5, "seed": None}, file)
    assert (plan.database, plan.nodes, plan.seed) == ("etcd", 5, 7)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"database": "redos"}, "did you mean 'redis'"),
        ({"database": "redis", "variant": "sentinle"}, "did you mean 'sentinel'"),
        ({"database": "redis", "workload": "registr"}, "did you mean 'register'"),
        ({"database": "redis", "nemesis": "halfs"}, "did you mean 'halves'"),
        ({"database": "redis", "testbed": "namespace"}, "did you mean 'namespaces'"),
        ({"database": "redis", "nodes": 1}, "needs 2 nodes"),
        ({"database": "redis", "nodes": 0}, "from 1 to"),
        ({"database": "redis", "nodes": "five"}, 'nodes is "five": it must be a whole number'),
        ({"database": "redis", "time": 7.0}, "too short for a fault"),
        ({"database": "redis", "rate": -1.0}, "rate is -1"),
        ({"database": "redis", "time": 0}, 'time is 0: it must be more than that, or "auto"'),
        ({"database": "redis", "rate": 0.0}, 'rate is 0: it must be more than that, or "closed"'),
        ({"database": "redis", "time": "soon"}, r'time is "soon": it must be a length of time: seconds, "20s"'),
        ({"database": "redis", "time": True}, "time is true: it must be a length of time"),
        ({"database": "redis", "keys": 2.5}, "keys is 2.5: it must be a whole number"),
        ({"database": "redis", "pace": "stagered"}, "did you mean 'staggered'"),
        ({"database": "redis", "fault": float("nan")}, "fault is nan"),
        ({"database": "redis", "variant": "cluster", "nodes": 2}, "needs at least 3 nodes, the plan has 2"),
        ({"database": "redis", "nemesis": "kill:minority", "nodes": 2}, "no scenario 'minority' on 2 nodes"),
        ({"database": "redis", "image": "redis:7"}, "--image is for the testbed docker"),
        ({"database": "redis", "testbed": "docker", "binary": "/usr/bin"}, "--binary is for the testbed namespaces"),
        ({"database": "redis", "options": {"regster": {}}}, "did you mean 'register'"),
        ({"database": "redis", "options": {"register": {"bussy_reads": 0.4}}}, "did you mean 'busy_reads'"),
        ({"database": "redis", "options": {"register": {"busy_reads": 1.5}}}, r"\[options.register\]: busy_reads is 1.5"),
        ({"database": "redis", "options": {"register": {"busy_reads": 0.9}}}, "more than all calls together"),
        ({"database": "redis", "options": {"kill": {}}}, "no workload or nemesis of that name"),
        ({"database": "redis", "options": 3}, "options is 3: it must be tables"),
        ({"database": "redis", "concurrency": 0}, "concurrency is 0"),
        ({"database": "redis", "expect": ("lost-writ",)}, "lost-write"),
        ({"database": "redis", "binary": "/no/such/redis-server"}, "does not exist"),
        ({"database": "etcd", "binary": "/bin/true"}, "none of this database's programs"),
        ({"database": "etcd", "image": "etcd:3"}, "--image is for the testbed docker"),
        ({"database": "/no/such/database.py"}, "no such file"),
        ({"database": "/tmp/"}, "a folder; a database is a registered name"),
        ({}, "names no database"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        resolve(given)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('database = "redis"\nnode = 3\n', r"mine\.toml:2: unknown key 'node': did you mean 'nodes'"),
        ('database = "redis"\nnodes = \n', r"mine\.toml:2:9: not TOML"),
        ("expect = [1,\n", r"mine\.toml: not TOML: .* at the end of the file"),
        ("nodes = 3\n", 'names no database: .* database = "NAME"'),
        (f'database = "redis"\nformat = {FORMAT + 1}\n', "newer than this splitbrain"),
        ('database = "redis"\n[[schedule]]\nat = 1.0\nduration = 5.0\nnemesis = "halves"\nwhen = 2\n',
         r"mine\.toml:6: schedule number 1: when is 2: there are: due, primary-changes"),
        ('database = "redis"\n[[schedule]]\nat = 1.0\nduration = 0.0\nnemesis = "halves"\n', r"mine\.toml:2: schedule"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_by_its_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        resolve({}, file)


def test_a_plan_in_ones_own_words(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("""
database = "redis"
nemesis = "crash-loop+restart"
time = "1m30s"
fault = "20s"
think = "5ms"
rate = "closed"
expect = "CP"

[options.crash-loop]
up = "3s"
[options.register]
busy_reads = 0
""")
    plan = resolve({}, file)
    assert (plan.time, plan.fault, plan.think, plan.rate, plan.expect) == (90.0, 20.0, 0.005, 0.0, ("CP",))
    assert plan.options == {
        "register": {"busy_reads": 0.0, "busy_cas": 0.15, "calm_reads": 0.9, "calm_cas": 0.03},
        "crash-loop": {"down": 0.1, "up": 3.0}, "restart": {"down": 0.1},
    }
    assert resolve({"options": {"crash-loop": {"down": "1s"}}}, file).options["crash-loop"] == {"down": 1.0, "up": 3.0}
    other = resolve({"nemesis": "halves", "workload": "set"}, file)
    assert other.options == {"set": {"additions": 0.7, "older": 0.2, "full": 64}}, "a flag's nemesis brings its own options"


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ('time = "soon"', "3: time is"),
        ('expect = ["CP",\n "lost-writ"]', "3: nothing to expect"),
        ('# fault = 1\nbinary = """\nfault = 2\n"""\nfault = 0', "7: fault is 0"),
        ("options.register.busy_reads = 2", "3: [options.register]: busy_reads is 2"),
        ("[options.register]\nbusy_reads = 0.1\ncalm_reads = -1", "5: [options.register]: calm_reads is -1"),
        ("[options.regster]\nbusy_reads = 0.1", "3: [options.regster]: "),
        ("[[schedule]]\nat = 1\nduration = 2\nnemesis = 'kill'\n[[schedule]]\nat = 'now'\nduration = 2",
         "8: schedule number 2: at"),
        ("[[schedule]]\nat = 1\nnemesis = 'kill'", "3: schedule number 1: it lacks 'duration'"),
        ("nemesis = 'halfs'", "3: no nemesis is called 'halfs'"),
        ("testbed = 'dokcer'", "3: no testbed is called 'dokcer'"),
        ("seed = 1\nvariant = 'sentinl'", "4: redis has no variant"),
        ("time = 7", "3: time is 7 s: too short"),
    ],
)
def test_an_error_names_file_and_line(tmp_path: Path, text: str, place: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(f'# a plan\ndatabase = "redis"\n{text}\n')
    with pytest.raises(UsageError) as refused:
        resolve({}, file)
    assert str(refused.value).startswith(f"{file}:{place}")
    assert "Expected `" not in str(refused.value)


def test_a_flag_is_not_blamed_on_a_line_of_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('database = "redis"\nnodes = 3\n')
    with pytest.raises(UsageError, match=r"^redis cluster needs at least 3"):
        resolve({"nodes": 2, "variant": "cluster"}, file)
    with pytest.raises(UsageError, match=r"^redis has no variant 'nope'"):
        resolve({"variant": "nope"}, file)
    with pytest.raises(UsageError, match=r"mine\.toml:2: redis cluster needs at least 3"):
        file.write_text('database = "redis"\nnodes = 2\nvariant = "no"\n')
        resolve({"variant": "cluster"}, file)


def test_a_suite_is_not_a_plan(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text('[[runs]]\ndatabase = "redis"\n')
    with pytest.raises(UsageError, match="this is a suite, of many plans: splitbrain suite "):
        resolve({}, file)


def test_a_plan_of_the_first_format_means_what_it_meant(tmp_path: Path) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('format = 1\ndatabase = "redis"\ntime = 0.0\nrate = 0.0\ntcp_rto_max_ms = 0\n')
    plan = resolve({}, file)
    assert (plan.format, plan.time, plan.rate, plan.tcp_rto_max_ms) == (FORMAT, 0.0, 0.0, 0)


@pytest.mark.parametrize("flag", ["nemesis", "pace", "fault", "baseline"])
def test_a_flag_that_a_schedule_makes_idle_is_refused(tmp_path: Path, flag: str) -> None:
    file = tmp_path / "plan.toml"
    file.write_text('database = "redis"\n[[schedule]]\nat = 1.0\nduration = 2.0\nnemesis = "halves"\n')
    value = {"nemesis": "kill", "pace": "random"}.get(flag, 3.0)
    with pytest.raises(UsageError, match=f"{flag} would change nothing"):
        resolve({flag: value}, file)
    resolve({"time": 20.0}, file)


@pytest.mark.parametrize("flag", ["nemesis", "pace", "fault", "baseline"])
def test_a_flag_that_a_replay_makes_idle_is_refused(tmp_path: Path, flag: str) -> None:
    value = {"nemesis": "kill", "pace": "random"}.get(flag, 3.0)
    with pytest.raises(UsageError, match=f"^{flag} would change nothing: --replay repeats the faults of {tmp_path}"):
        resolve({flag: value}, replay=tmp_path)
    with pytest.raises(UsageError, match="--replay RUN has the plan of that run: leave --plan out"):
        resolve({flag: value}, tmp_path / "plan.toml", tmp_path)
    with pytest.raises(UsageError, match="not the folder of a run"):
        resolve({"seed": 7}, replay=tmp_path)


def test_a_schedule_keeps_every_fault_inside_the_load() -> None:
    plan = Plan(database="reference", variant="majority", time=60.0)
    steps = schedule(plan)
    assert len(steps) == 4
    assert all(step.at + step.duration + plan.between <= plan.time for step in steps)
    assert all(after.at >= before.at + before.duration + plan.between for before, after in itertools.pairwise(steps))


MINE = """
import splitbrain

class Mine(splitbrain.Database):
    name = "mine"
    claim = splitbrain.Claim(text="", source="")
    variants = (splitbrain.Variant(name="v", summary="", reads="home", writes="home", claim=claim),)
    programs = ()
    port = 1
    async def start(self): ...
    async def ready(self): return True
    async def connect(self, server): ...
    async def local(self, node): ...
    async def versions(self): return {}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("async def ready", "def ready", r"mine\.py: class Mine: ready is no coroutine: write 'async def ready'"),
        ("    async def connect(self, server): ...\n", "", r"class Mine lacks connect"),
        ('reads="home"', 'reads="nearest"', r"variant 'v': Invalid enum value 'nearest'"),
        ('source=""', 'source="", promises=("strict",)', r"variant 'v': Invalid enum value 'strict'"),
        ("port = 1", "port = lambda: 1", r"class Mine: port must be a whole number"),
        ("port = 1", "port, starting = 1, '2 min'", r"class Mine: starting must be a number of seconds"),
        ("programs = ()", "programs = (lambda: 1,)", r"class Mine: programs must be a tuple of splitbrain.Program"),
        ("port = 1", "port = 1; modules = (lambda: 1,)", r"class Mine: modules must be a tuple of texts"),
        ("port = 1", "port = 1; variants = ()", r"class Mine: variants must be a tuple of at least one"),
        ("port = 1", "port = 1; default_nodes = lambda: 3", r"class Mine: default_nodes is a function: it must be a whole"),
        ("port = 1", "port = 1; default_timeout = lambda: 3", r"class Mine: default_timeout is a function: it must be a leng"),
        ("port = 1", "port = 1; default_timeout = float('nan')", r"class Mine: default_timeout is nan: it must be"),
        ('source=""', 'source="", admits=("stale-reads",)', r"admits 'stale-reads', .* did you mean 'stale-read'"),
    ],
)
def test_a_database_of_ones_own_that_breaks_its_contract_is_refused_at_load(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE)
    resolve({"database": str(file)})
    assert old in MINE
    file.write_text(MINE.replace(old, new))
    with pytest.raises(UsageError, match=told):
        resolve({"database": str(file)})


def test_what_is_held_in_a_class_and_not_in_the_plan_may_be_anything(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE + "    cache = [lambda: 1, open(__file__)]\n")
    plan = resolve({"database": str(file)})
    assert msgspec.json.decode(msgspec.json.encode(plan), type=Plan) == plan


def test_an_option_whose_default_no_plan_can_hold_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("""
import typing
import splitbrain
from splitbrain.workloads.register import Register

class Options(splitbrain.OptionTable):
    how: typing.Any = lambda: 1

class Mine(Register):
    name = "mine"
    Options = Options
""")
    with pytest.raises(UsageError, match=r"Mine: the default of the option 'how' cannot be written into a plan: a function"):
        resolve({"database": "reference", "workload": str(file)})


def test_a_missing_server_or_driver_is_refused_before_a_folder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve({"database": "etcd"})
    monkeypatch.setattr("splitbrain.harness.testbeds.namespaces.find_program",
                        lambda name: None if name == "etcd" else find_program(name))
    with pytest.raises(SetupError, match="etcd is not on this machine: apt-get install etcd-server"):
        check_machine(plan)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"pip install 'splitbrain\[etcd\]'"):
        check_machine(plan)


def test_a_testbed_that_cannot_work_here_is_refused_before_a_folder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("docker")
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")
    with pytest.raises(SetupError, match=r"docker does not work here: no Docker engine answers .*systemctl start"):
        check_machine(resolve({"database": "reference", "testbed": "docker"}))
    check_machine(resolve({"database": "reference"}))
