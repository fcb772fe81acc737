"""Putting a machine's clock wrong and right, on a clock that is made up: the one of this machine is never touched."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import families
from splitbrain.harness.testbeds.helper import guard, rules, wall
from splitbrain.harness.testbeds.helper.machine import boot
from splitbrain.harness.testbeds.ssh import Ssh
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import bed, with_servers

NEVER = "the clock of this machine"


@pytest.fixture(autouse=True)
def untouched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fails what comes near the system call."""

    def call(modes: int = 0, **fields: int) -> Any:
        raise AssertionError(NEVER)

    monkeypatch.setattr(wall, "_adjust", call)


class Kernel:
    """A clock that is moved as clock_adjtime(2) does, and a reading of it that may be a little wrong."""

    def __init__(self, start: int, inexact: int, unit: int) -> None:
        self.start, self.inexact, self.unit = start, inexact, unit
        self.kept = [0, 500, 20]
        self.moved = 0

    def read(self) -> tuple[int, int]:
        return self.start + self.inexact, abs(self.inexact)

    def adjust(self, modes: int = 0, *, seconds: int = 0, fraction: int = 0, status: int = 0, maxerror: int = 0,
               esterror: int = 0) -> Any:
        if modes & wall._ADJ_SETOFFSET:
            assert modes & wall._ADJ_NANO and 0 <= fraction < 10**9
            self.start += seconds * 10**9 + fraction
            self.kept = [0x40, 16_000_000, 16_000_000]  # as the kernel forgets that the clock was right
            self.moved += 1
        if modes & (wall._ADJ_NANO | wall._ADJ_MICRO):
            self.unit = wall._STA_NANO if modes & wall._ADJ_NANO else 0
        if modes & wall._ADJ_STATUS:
            assert modes & wall._ADJ_MAXERROR and modes & wall._ADJ_ESTERROR
            self.kept = [status & 0xFF, maxerror, esterror]  # as the kernel takes no more of it
        return SimpleNamespace(status=self.kept[0] | self.unit, maxerror=self.kept[1], esterror=self.kept[2])


@given(start=st.integers(0, 1 << 61), inexact=st.integers(-100_000, 100_000),
       skews=st.lists(st.integers(-86_400 * 10**9, 86_400 * 10**9), min_size=1, max_size=5),
       others=st.integers(-10**10, 10**10), unit=st.sampled_from([0, wall._STA_NANO]))
def test_what_is_put_back_is_what_was_there(start: int, inexact: int, skews: list[int], others: int, unit: int) -> None:
    """Whatever was done to the clock meanwhile, also by others."""
    machine = Kernel(start, inexact, unit)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wall, "_own", lambda controller: None)
        patch.setattr(wall, "read", machine.read)
        patch.setattr(wall, "_adjust", machine.adjust)
        known = wall.before("another machine")
        for skew in skews:
            wall.put(known, skew)
            assert abs(machine.start - start - skew) <= max(wall.EXACT, abs(inexact))
        machine.start += others
        wrong = abs(machine.start - start) > max(wall.EXACT, abs(inexact))
        assert wall.put_right(known) == wrong
        assert abs(machine.start - start) <= max(wall.EXACT, abs(inexact)) and machine.kept == [0, 500, 20]
        assert machine.unit == unit
        moved = machine.moved
        assert not wall.put_right(known) and machine.moved == moved


def test_the_clock_of_the_machine_that_splitbrain_runs_on_is_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {"controller": boot(), "start": 0, "kept": [0, 0, 0]}
    calls = (lambda: wall.put(known, 10**9), lambda: wall.put(known, 0), lambda: wall.put_right(known),
             lambda: wall.before(boot()), lambda: wall.before(""))
    for call in calls:
        with pytest.raises(OSError, match="it shares its kernel, and so its clock, with the machine that splitbrain runs on"):
            call()
    assert wall.refusal(boot())[0].startswith("it shares its kernel")
    state = {"boot": boot(), "clock": known}
    monkeypatch.setattr(rules, "lift", lambda run: [])
    (told,) = guard.put_back("no-such-run", state)
    assert told.startswith("the machine's clock is wrong still: it shares its kernel")
    assert guard.put_back("no-such-run", state | {"boot": "an earlier one"}) == []


def test_a_container_and_a_machine_that_lets_nobody_set_its_clock_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wall, "_FIRST", {"pid": 1})
    why, mend = wall.refusal("another machine")
    assert why == "it is a container, whose clock is that of the machine around it." and mend.startswith("take clock =")
    monkeypatch.setattr(wall, "_FIRST", {})

    def refuse(modes: int = 0, **fields: int) -> Any:
        if modes:
            raise OSError(0, "its clock cannot be set: Operation not permitted")
        return SimpleNamespace(tick=10_000)

    monkeypatch.setattr(wall, "_adjust", refuse)
    assert wall.refusal("another machine")[0] == "its clock cannot be set: Operation not permitted."


SERVICES = {
    "as root": ([], True),
    "as somebody else": (["setpriv", "--reuid=1", "--clear-groups", "--inh-caps=+sys_time", "--ambient-caps=+sys_time"], True),
    "in a pid namespace": (["unshare", "--pid", "--fork", "--kill-child"], True),
    "with no leave to set it": (["setpriv", "--bounding-set=-sys_time", "--inh-caps=-sys_time"], False),
    "in a user namespace": (["unshare", "--user", "--map-root-user"], False),
}


@pytest.mark.parametrize("how", SERVICES)
def test_who_steers_the_clock(tmp_path: Path, how: str) -> None:
    """A process of that name, which does nothing."""
    if os.geteuid() != 0:
        pytest.skip("only root has what a time service has")
    within, steers = SERVICES[how]
    program = tmp_path / "chronyd"
    shutil.copy(str(shutil.which("sleep")), program)
    tmp_path.chmod(0o755)
    with subprocess.Popen([*within, program, "60"]) as process:
        try:
            found: list[int] = []
            while not found:
                assert process.poll() is None
                found = [pid for pid in families.family(process.pid, "none") if command(pid).endswith(b"/chronyd")]
            assert [wall.steers(pid) for pid in found] == ["chronyd" if steers else ""]
            apart = how == "in a pid namespace"
            assert wall._stopping(found[0]).startswith("stop the container" if apart else ("kill ", "systemctl stop "))
        finally:
            families.kill(process.pid, "none")
    assert wall.steers(os.getpid()) == wall.steers(found[0]) == ""


def command(pid: int) -> bytes:
    """The program that a process says it is."""
    return Path(f"/proc/{pid}/cmdline").read_bytes().partition(b"\0")[0]


def test_machines_that_are_namespaces_are_refused(tmp_path: Path) -> None:
    needed()

    def work(machines: Machines) -> int:
        machines.inventory.write_text('clock = "machine"\n' + machines.inventory.read_text())
        testbed = bed(machines, 1)
        assert not Ssh.missing(testbed._plan, (), ())
        assert {problem.what for problem in Ssh.missing(bed(machines)._plan, (), {"skew"})} == {
            "n1 (198.18.0.1) shares its kernel, and so its clock, with n2 (198.18.0.2)",
            "n2 (198.18.0.2) shares its kernel, and so its clock, with n1 (198.18.0.1)",
        }
        (problem,) = Ssh.missing(testbed._plan, (), {"skew"})
        assert problem.what == (
            "the clock of n1 (198.18.0.1) cannot be put wrong: it shares its kernel, and so its clock, with the machine that "
            "splitbrain runs on."
        )
        assert problem.mend.startswith('take clock = "machine" out of the inventory')

        async def whole(testbed: Ssh) -> None:
            """Even of one whose helper is asked nevertheless."""
            for call in (testbed.skew("n1", 10**9, paused=False), testbed.ahead("n1")):
                with pytest.raises(SetupError, match="shares its kernel"):
                    await call

        with_servers(testbed, whole)
        return 0

    assert beside(tmp_path, 2, work) == 0
