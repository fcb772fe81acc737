"""Inventories: what they mean, and what is refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.testbeds.ssh_inventory import FOLDER, load, names


def written(folder: Path, text: str) -> Path:
    path = folder / "hosts.toml"
    path.write_text(text)
    return path


def test_what_stands_above_holds_for_all(tmp_path: Path) -> None:
    found = load(written(tmp_path, """
disposable = true
user = "lab"
port = 2222
[[hosts]]
host = "a"
[[hosts]]
host = "b"
user = "root"
roles = ["redis"]
programs = { redis-server = "/opt/redis-server" }
"""))
    first, second = found.hosts
    assert found.disposable and (first.user, first.port, second.user, second.port) == ("lab", 2222, "root", 2222)
    assert first.folder == FOLDER and second.programs == {"redis-server": "/opt/redis-server"}
    assert found.of("redis") == (first, second) and found.of("etcd") == (first,)
    assert names(found.hosts) == {"n1": first, "n2": second}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "names no machines"),
        ("hosts = 3", "names no machines"),
        ("[[hosts]]\nuser = 'x'", r"hosts.toml:1: \[\[hosts\]\] number 1 lacks host"),
        ("[[hosts]]\nhost = 'a'\nusr = 'x'", "hosts.toml:3: unknown key 'usr': did you mean 'user'"),
        ("prt = 3\n[[hosts]]\nhost = 'a'", "hosts.toml:1: unknown key 'prt': did you mean 'port'"),
        ("[[hosts]]\nhost = 'a'\nport = 70000", "hosts.toml:3: port is 70,000"),
        ("[[hosts]]\nhost = 'a'\nprograms = 'x'", "programs must be a table of paths"),
        ("[[hosts]]\nhost = 'a'\n[[hosts]]\nhost = 'a'", "a is named twice"),
        ("disposable = 'yes'\n[[hosts]]\nhost = 'a'", "hosts.toml:1: disposable must be true or false"),
        ("[[hosts]", "hosts.toml:1:8: not TOML"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load(written(tmp_path, text))
