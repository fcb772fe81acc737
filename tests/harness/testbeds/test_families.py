"""A server's family: what came of it, and nothing of another machine that has the same name for it."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from splitbrain.harness.testbeds import families
from splitbrain.harness.testbeds.helper import guard, machine
from tests.conftest import need

RUN = f"a-run-of-{os.getpid()}"
MARKED = ("env", f"{families.SERVICE}={RUN}/server", f"{machine.RUN}={RUN}", "sleep", "600")


def test_what_runs_in_a_container_of_this_machine_is_nobody_of_ours() -> None:
    need("unshare")
    if os.geteuid() != 0:
        pytest.skip("only root may make a pid namespace")
    ours, too = (subprocess.Popen(MARKED, start_new_session=True) for _ in range(2))
    apart = subprocess.Popen(["unshare", "--pid", "--fork", "--kill-child", *MARKED], start_new_session=True)
    try:
        theirs = set[int]()
        end = time.monotonic() + 60
        while time.monotonic() < end and not (theirs and {ours.pid, too.pid} <= set(marked())):
            theirs = {pid for pid in marked() if not families.is_beside(pid, os.getpid())}
            time.sleep(0.01)
        assert families.family(ours.pid, f"{RUN}/server") == {ours.pid, too.pid}
        assert families.family(min(theirs), "") == theirs, "whoever asks for all of its namespace"
        assert theirs <= set(machine.seen()) and not theirs & set(machine.pids())
        assert sorted(guard.end_all(RUN, {})) == sorted([ours.pid, too.pid])
        assert marked() == sorted(theirs) and apart.poll() is None
    finally:
        for one in (ours, too, apart):
            one.kill()
            one.wait()


def test_who_is_dying_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """One whose memory the kernel has taken away, and its environment with it, but whose files it has not closed yet."""
    dying = set[int]()

    def die(pid: int, number: int) -> None:
        if pid not in dying:
            dying.add(pid)
            threading.Timer(0.3, os.kill, (pid, number)).start()

    monkeypatch.setattr(families, "send_signal", die)
    read = families.environment
    monkeypatch.setattr(families, "environment", lambda pid: [] if pid in dying else read(pid))
    gone = subprocess.Popen(["true"])
    gone.wait()
    with subprocess.Popen(MARKED, start_new_session=True) as one:
        while one.pid not in marked():
            time.sleep(0.01)
        families.kill(gone.pid, f"{RUN}/server")
        assert not machine.lives(one.pid)


def marked() -> list[int]:
    """The processes that carry the run's label and have not ended, wherever."""
    label = f"{machine.RUN}={RUN}".encode()
    return sorted(pid for pid in machine.seen() if label in families.environment(pid) and machine.lives(pid)
                  and Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
