"""Clocks of servers on machines over a real SSH: told wrong by the server, right again afterwards, and refused before a run
where a machine cannot."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from splitbrain.harness.testbeds import clocks
from splitbrain.harness.testbeds.ssh import Ssh
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import bed, with_servers
from tests.nemeses.test_clocks import jump_strobe_and_drift


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()
    if refusal := clocks.refusal():
        pytest.skip(refusal)


def test_jump_strobe_and_drift(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        with_servers(bed(machines), jump_strobe_and_drift)
        return 0

    assert beside(tmp_path, 2, work) == 0


@pytest.mark.skipif(shutil.which("setarch") is None, reason="no setarch")
def test_a_machine_that_cannot_is_refused(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        plan = bed(machines)._plan
        assert not Ssh.missing(plan, (), {"skew"})
        other = tmp_path / "python"
        other.write_text('#!/bin/sh\nexec setarch i686 python3 "$@"\n')
        other.chmod(0o755)
        text = machines.inventory.read_text()
        machines.inventory.write_text(text.replace('host = "198.18.0.2"', f'host = "198.18.0.2"\npython = "{other}"'))
        assert not Ssh.missing(plan, (), ())
        (problem,) = Ssh.missing(plan, (), {"skew"})
        assert problem.what == (
            "n2 (198.18.0.2) cannot put the clocks of servers wrong: the clock of a process can be put wrong on x86-64 only, "
            "this is i686."
        )
        return 0

    assert beside(tmp_path, 2, work) == 0
