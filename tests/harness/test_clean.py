"""What `clean` says of what it could not do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from splitbrain.harness.clean import clean
from splitbrain.harness.testbeds import ssh_notes
from splitbrain.harness.testbeds.owner import owner
from splitbrain.harness.testbeds.ssh_inventory import Host
from tests.conftest import Ran


def gone() -> str:
    """The owner of a run that has ended: this process' own, but for its number."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        pass
    return ":".join((str(ended.pid), "1", *owner().split(":")[2:]))


def test_a_machine_that_does_not_answer_is_not_counted_as_cleaned(
    tmp_path: Path, splitbrain: Callable[..., Ran], monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    away = Host(host="127.0.0.1", port=1, known_hosts=str(tmp_path / "known_hosts"))
    ssh_notes.write(ssh_notes.Note("killed", "attached", gone(), (away,)))
    ran = splitbrain("clean", "--attached", XDG_STATE_HOME=str(tmp_path))
    told = ran.stdout.splitlines()
    assert told[0].startswith("127.0.0.1: run killed: not cleaned: ")
    assert told[1:] == ["nothing was removed; not cleaned: 1 (told above): mend that and clean again"], ran.stdout
    assert ran.code == 3 and not ran.stderr, ran.stderr
    assert len(list(tmp_path.rglob("killed.*.json"))) == 1, "it is still remembered"


def test_what_cannot_be_removed_hinders_nothing_else_and_is_not_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    told: list[str] = []
    assert clean(None, told.append, lambda: False) == 0 and told == ["nothing was left behind"]
    here = Host(host="127.0.0.1", port=1)
    for testbed in ("attached", "containers"):
        ssh_notes.write(ssh_notes.Note(f"of-{testbed}", testbed, gone(), (here,)))
    told.clear()
    assert clean(None, told.append, lambda: False) == 3
    assert told[-1].startswith("nothing was removed; not cleaned: 2 ") and len(told) == 3, told
