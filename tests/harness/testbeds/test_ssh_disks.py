"""Disks of servers on machines over a real SSH: full, slow, and without power, where nobody else on the machine sees them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import DEEDS
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import bed, state, until, with_servers
from tests.nemeses.driver import Driver, step
from tests.nemeses.unplugged import WRITER

OWN = "mkdir {0}/mine; mount -t tmpfs mine {0}/mine; echo mine > {0}/mine/file"
MOUNTS = "cat {0}/mine/file; grep {0} /proc/self/mounts"
"""What is mounted where the machines' folders lie, beside which somebody has mounted something."""


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()


class Bounded(Ssh):
    """Its data folders have disks that can be full."""

    async def up(self, count: int) -> None:
        await self.bound(count)
        await super().up(count)


class Unpluggable(Ssh):
    """Its data folders have disks that can lose their power."""

    async def up(self, count: int) -> None:
        await self.unpluggable(count)
        await super().up(count)


async def tell(testbed: Ssh, at: int, script: str) -> str:
    """What a script in the data folder of a node prints, as its servers see it."""
    done = await testbed.nodes[at].run(["sh", "-c", f"({script}) 2>&1"])
    return done.stdout.strip()


def test_a_full_disk(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        mounts = MOUNTS.format(tmp_path)
        before = machines.sh(0, f"{OWN.format(tmp_path)}; {mounts}")
        assert before.count("\n") == 2

        async def whole(testbed: Ssh) -> None:
            driver = Driver(testbed, "n1")
            assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
            write = "dd if=/dev/zero of=more bs=8192 count=1"

            async def meanwhile() -> None:
                assert "No space left on device" in await tell(testbed, 0, write)
                assert "No space" not in await tell(testbed, 1, write)
                assert machines.sh(0, mounts) == before, "what is mounted for us is nobody else's"

            fault = await driver.do(step("full-disk", "primary"), meanwhile)
            assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
            assert "No space" not in await tell(testbed, 0, write)
            assert driver.told[0] == ("fill the disk of n1", "1/1 without room (ENOSPC), spread 0 ms")
            assert driver.told[1:] == [("make room", "written again")]

        with_servers(bed(machines, kind=Bounded), whole)
        assert machines.sh(0, mounts) == before and not list(tmp_path.glob("machine-*"))
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_power_losses_and_slow_syncs(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        mounts = MOUNTS.format(tmp_path)
        before = machines.sh(0, f"{OWN.format(tmp_path)}; {mounts}")
        assert before.count("\n") == 2

        async def whole(testbed: Ssh) -> None:
            driver = Driver(testbed, "n1")
            assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()

            async def size(name: str) -> int:
                told = await tell(testbed, 0, f"stat -c %s {name}")
                return int(told) if told.isdigit() else 0

            while (kept := await size("kept")) <= 2:
                await asyncio.sleep(0.01)

            async def meanwhile() -> None:
                assert await size("kept") >= kept and await size("loose") == 0
                assert machines.sh(0, mounts) == before

            fault = await driver.do(step("power-loss", "primary"), meanwhile)
            assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
            assert "1/1 down, n1 lost " in driver.told[0][1] and driver.told[1] == ("power on", "1/1 serving"), driver.told
            fault = await driver.do(step("slow-fsync", "all"))
            assert fault.bit and fault.healed and fault.struck == ("n1", "n2"), (fault.proofs, fault.undone)
            assert fault.proofs[0].figures[0].least >= 180

        with_servers(bed(machines, kind=Unpluggable), whole, WRITER)
        assert machines.sh(0, mounts) == before and not list(tmp_path.glob("machine-*"))

        plan = bed(machines)._plan
        machines.sh(1, "touch /run/nothing; mount --bind /run/nothing /dev/fuse")
        assert not Ssh.missing(plan, (), {"fill"})
        (problem,) = Ssh.missing(plan, (), {"unplug"})
        assert problem.what.startswith(f"n2 (198.18.0.2) cannot {DEEDS['unplug']}: FUSE cannot be mounted: ")
        return 0

    assert beside(tmp_path, 2, work) == 0


@pytest.mark.parametrize("what", ["fill", "unplug"])
def test_guards_make_disks_whole_when_the_controller_is_killed(tmp_path: Path, what: str) -> None:
    def work(machines: Machines) -> int:
        mounts = MOUNTS.format(tmp_path)
        before = machines.sh(0, f"{OWN.format(tmp_path)}; {mounts}")
        assert before.count("\n") == 2
        process = machines.python("tests.harness.testbeds.faulting", what, str(machines.inventory), "60")
        assert process.stdout is not None
        assert process.stdout.readline() == "faulty\n"
        assert state(machines, 0) in ("S", "R") and state(machines, 1) == ""
        folder = "/proc/$(pgrep -of 'server.p[y]')/cwd"
        writes = f"timeout 20 dd if=/dev/zero of={folder}/more bs=8192 count=1 conv=fsync && echo written"
        if what == "fill":
            assert machines.sh(0, writes) == ""
        process.kill()
        process.wait()
        # No command of ours: only a look, by another way.
        assert until(lambda: machines.sh(0, writes) == "written\n")
        assert until(lambda: state(machines, 1) in ("S", "R") and bool(machines.sh(1, f"cat {folder}/server.py")))
        assert machines.sh(0, mounts) == before
        left = machines.splitbrain("clean", "--no-data").communicate()[0]
        assert left.count("a-run: removed") == 2, left
        assert [state(machines, node) for node in range(2)] == ["", ""]
        assert not list(tmp_path.glob("machine-*"))
        assert until(lambda: machines.sh(0, f"grep -l {tmp_path}/machine /proc/[0-9]*/mountinfo") == "")
        assert machines.sh(0, mounts) == before
        return 0

    assert beside(tmp_path, 2, work) == 0
