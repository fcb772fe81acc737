"""Where servers' programs are found, and what is told where one cannot be had."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness.databases.cassandra_server import CASSANDRA
from splitbrain.harness.errors import SetupError, UsageError
from splitbrain.harness.plan import Plan
from splitbrain.harness.resolve import resolve
from splitbrain.harness.servers import binary, find_program, get


def _program(path: Path) -> str:
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_a_program_is_found_in_the_named_folder_then_on_path_then_where_servers_are_fetched_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    fetched = _program(CASSANDRA.folder / "a-server-of-this-test")
    assert CASSANDRA.folder.is_relative_to(tmp_path)
    assert find_program("a-server-of-this-test") == fetched
    on_path = _program(tmp_path / "bin" / "a-server-of-this-test")
    assert find_program("a-server-of-this-test") == on_path
    named = _program(tmp_path / "named" / "a-server-of-this-test")
    assert find_program("a-server-of-this-test", str(tmp_path / "named")) == named
    assert find_program("no-server-of-this-test") is None
    assert get(CASSANDRA.name) == CASSANDRA.folder, "what is there is not fetched again"


def test_a_binary_is_a_path_or_a_server_that_was_fetched_by_name_or_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    servers = tmp_path / "cache" / "splitbrain" / "servers"
    program = _program(servers / "etcd-3.5.1" / "etcd-3.5.1")
    _program(servers / "mongodb-6.0.5" / "mongod")
    for name in ("etcd-3.5.1", "3.5.1", program):
        assert binary(name, "etcd") == Path(program)
    assert binary("6.0.5", "mongodb") == servers / "mongodb-6.0.5", "mongod is looked for in it"
    assert binary("6.0.5", "etcd") is binary("3.5", "etcd") is binary("etcd", "etcd") is None
    for name in ("etcd-3.5.1", "3.5.1"):
        assert resolve({"database": "etcd", "binary": name, "seed": 1}).binary == name
    with pytest.raises(UsageError, match=r"binary '3\.5\.9' does not exist, nor was it fetched \('splitbrain servers get etcd' "
                                         r"fetches 3\.5\.1\)\.$"):
        resolve({"database": "etcd", "binary": "3.5.9"})
    with pytest.raises(UsageError, match=r"mongod' is none of this database's programs \(etcd\)"):
        resolve({"database": "etcd", "binary": str(servers / "mongodb-6.0.5" / "mongod")})
    monkeypatch.chdir(tmp_path)
    own = _program(tmp_path / "3.5.1" / "etcd")
    assert binary("3.5.1", "etcd") == Path(own).parent, "a folder that is there is meant"


def test_a_server_that_cannot_be_had_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match="there is no server 'oracle' to get: cassandra, etcd, mongodb"):
        get("oracle")
    with pytest.raises(SetupError, match="the program mvn is missing"):
        get("cassandra")
    assert not list((tmp_path / "cache" / "splitbrain" / "servers").iterdir())
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(SetupError, match="cannot be written: Not a directory"):
        get("cassandra")


def test_a_database_may_need_its_own_defaults() -> None:
    plan = resolve({"database": "cassandra", "variant": "serial", "seed": 1})
    assert (plan.nodes, plan.timeout, plan.keys) == (3, 2.0, 600)
    plan = resolve({"database": "cassandra", "seed": 1, "timeout": 0.5})
    assert (plan.variant, plan.timeout, plan.keys) == ("one", 0.5, Plan(database="", variant="").keys)
    assert resolve({"database": "mongodb", "seed": 1}).timeout == 1.0
