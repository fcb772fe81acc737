"""Plans: what is refused before anything starts, and that a stored plan is accepted back."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.plan import FORMAT, Plan
from splitbrain.harness.resolve import check_machine, resolve
from splitbrain.harness.schedules import schedule


def test_defaults_are_the_documented_ones() -> None:
    plan = resolve({"database": "reference"})
    assert (plan.nodes, plan.workload, plan.nemesis, plan.testbed) == (5, "register", "four-partitions", "namespaces")
    assert (plan.fault, plan.between, plan.baseline, plan.concurrency, plan.timeout) == (8.0, 5.0, 5.0, 3, 1.0)


def test_a_stored_plan_is_the_same_schedule(tmp_path: Path) -> None:
    plan = resolve({"database": "reference", "nemesis": "halves", "time": 60.0, "expect": ("CP", "valid")})
    stored = tmp_path / "plan.toml"
    stored.write_bytes(msgspec.toml.encode(plan))
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
        ({"database": "redis", "nodes": "five"}, "Expected `int`"),
        ({"database": "redis", "time": 7.0}, "too short for a fault"),
        ({"database": "redis", "rate": -1.0}, "rate is -1"),
        ({"database": "redis", "concurrency": 0}, "concurrency is 0"),
        ({"database": "redis", "expect": ("lost-writ",)}, "lost-write"),
        ({"database": "redis", "binary": "/no/such/redis-server"}, "does not exist"),
        ({"database": "etcd", "binary": "/bin/true"}, "none of this database's programs"),
        ({"database": "etcd", "image": "etcd:3"}, "--image is for the testbed docker"),
        ({"database": "/no/such/database.py"}, "no such file"),
        ({}, "names no database"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_reason(given: dict[str, Any], told: str) -> None:
    with pytest.raises(UsageError, match=told):
        resolve(given)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('database = "redis"\nnode = 3\n', "unknown key 'node': did you mean 'nodes'"),
        ('database = "redis"\nnodes = \n', "not TOML"),
        (f'database = "redis"\nformat = {FORMAT + 1}\n', "newer than this splitbrain"),
        ('database = "redis"\n[[schedule]]\nat = 1.0\nduration = 5.0\nnemesis = "halves"\nwhen = 2\n', "Expected"),
        ('database = "redis"\n[[schedule]]\nat = 1.0\nduration = 0.0\nnemesis = "halves"\n', "schedule"),
    ],
)
def test_a_plan_that_is_wrong_is_refused_by_its_name(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(UsageError, match=told):
        resolve({}, file)


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
    async def local_read(self, node, method, key): ...
    async def versions(self): return {}
"""


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("async def ready", "def ready", r"mine\.py: class Mine: ready is no coroutine: write 'async def ready'"),
        ("    async def connect(self, server): ...\n", "", r"class Mine lacks connect"),
        ('reads="home"', 'reads="nearest"', r"variant 'v': Invalid enum value 'nearest'"),
        ('source=""', 'source="", promises=("strict",)', r"variant 'v': Invalid enum value 'strict'"),
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


def test_a_missing_server_or_driver_is_refused_before_a_folder_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = resolve({"database": "etcd"})
    monkeypatch.setattr("splitbrain.harness.resolve.find_program", lambda name: None)
    with pytest.raises(SetupError, match="etcd is not on this machine: apt-get install etcd-server"):
        check_machine(plan)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SetupError, match=r"pip install 'splitbrain\[etcd\]'"):
        check_machine(plan)
