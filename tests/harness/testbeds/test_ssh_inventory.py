"""Inventories: what they mean, and what is refused with its place."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.testbeds import ssh_link
from splitbrain.harness.testbeds.ssh_inventory import FOLDER, load, names

SENT = (*ssh_link.MODULES, "volatile", "volatile_server", "folders", "shaper")

NEWER = {
    "removeprefix", "removesuffix", "is_relative_to", "with_stem", "hardlink_to", "cache", "pairwise", "batched", "to_thread",
    "TaskGroup", "Runner", "randbytes", "bit_count", "lcm", "nextafter", "ulp", "cbrt", "exp2", "waitstatus_to_exitcode",
    "pidfd_open", "pidfd_send_signal", "eventfd", "splice", "send_fds", "recv_fds", "aclosing", "file_digest", "orig_argv",
}
"""What the standard library of Python 3.8 has not, as far as a name tells it; `Path.readlink` has the name of `os.readlink`."""


@pytest.mark.parametrize("name", SENT)
def test_what_is_sent_to_machines_is_for_python_3_8(name: str) -> None:
    path = Path(ssh_link.__file__).parent.joinpath(*name.split("."))
    file = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    tree = ast.parse(file.read_text(), feature_version=(3, 8))
    words = [word.arg for node in ast.walk(tree) if isinstance(node, ast.Call) for word in node.keywords]
    assert "strict" not in words, "of zip, it is newer"
    used = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    assert not NEWER.intersection(one.attr for one in used)
    assert not [one.lineno for one in used if one.attr == "readlink" and ast.unparse(one.value) != "os"], "of paths"


def written(folder: Path, text: str) -> Path:
    path = folder / "hosts.toml"
    path.write_text(text)
    return path


def test_what_stands_above_holds_for_all(tmp_path: Path) -> None:
    found = load(written(tmp_path, """
disposable = true
user = "lab"
port = 2222
patience = "1m"
[[hosts]]
host = "a"
patience = 20
[[hosts]]
host = "b"
user = "root"
roles = ["redis"]
programs = { redis-server = "/opt/redis-server" }
"""))
    first, second = found.hosts
    assert found.disposable and (first.user, first.port, second.user, second.port) == ("lab", 2222, "root", 2222)
    assert (first.patience, second.patience) == (20, 60)
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
        ("[[hosts]]\nhost = 'a'\npatience = 3", "hosts.toml:3: patience is 3: it must be from 4 to 600 seconds"),
        ("[[hosts]]\nhost = 'a'\nprograms = 'x'", "programs must be a table of paths"),
        ("[[hosts]]\nhost = 'a'\n[[hosts]]\nhost = 'a'", "a is named twice"),
        ("disposable = 'yes'\n[[hosts]]\nhost = 'a'", "hosts.toml:1: disposable must be true or false"),
        ("[[hosts]", "hosts.toml:1:8: not TOML"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        load(written(tmp_path, text))
