"""Disks of servers on machines over a real SSH: full, slow, and without power, where nobody else on the machine sees them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import msgspec
import pytest

from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import DEEDS
from tests.conftest import need
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import bed, state, until, with_servers
from tests.nemeses.driver import Driver, step
from tests.nemeses.unplugged import WRITER

UNABLE = r"""
printf '#!/bin/sh\nexec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin python3 "$@"\n' > /run/python
chmod 755 /run/python
"""
"""A machine where root may not mount."""


def mount_mine(machines: Machines, folder: Path) -> str:
    """Mount something where the machines' folders lie, on a machine whose mounts are shared, as systemd has them; what is
    mounted there then."""
    mine = f"{folder}/mine"
    machines.sh(0, f"mount --make-rshared /; mkdir {mine}; mount -t tmpfs mine {mine}; echo mine > {mine}/file")
    found = mounts(machines, folder)
    assert found.count("\n") == 2
    return found


def mounts(machines: Machines, folder: Path) -> str:
    """What is mounted where the machines' folders lie, and what lies in that."""
    return machines.sh(0, f"cat {folder}/mine/file; grep {folder} /proc/self/mounts")


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
        before = mount_mine(machines, tmp_path)

        async def whole(testbed: Ssh) -> None:
            driver = Driver(testbed, "n1")
            assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
            write = "dd if=/dev/zero of=more bs=8192 count=1"

            async def meanwhile() -> None:
                assert "No space left on device" in await tell(testbed, 0, write)
                assert "No space" not in await tell(testbed, 1, write)
                assert mounts(machines, tmp_path) == before, "what is mounted for us is nobody else's"

            fault = await driver.do(step("full-disk", "primary"), meanwhile)
            assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
            assert "No space" not in await tell(testbed, 0, write)
            assert driver.told[0] == ("fill the disk of n1", "1/1 without room (ENOSPC), spread 0 ms")
            assert driver.told[1:] == [("make room", "written again")]
            assert f"{tmp_path}/mine" in await tell(testbed, 0, "cat /proc/self/mounts")
            machines.sh(0, f"umount {tmp_path}/mine")
            assert f"{tmp_path}/mine" not in await tell(testbed, 0, "cat /proc/self/mounts"), "it would be in use for ever"

        testbed = bed(machines, kind=Bounded)
        with_servers(testbed, whole)
        assert mounts(machines, tmp_path) == "" and not list(tmp_path.glob("machine-*"))

        machines.sh(1, UNABLE)
        text = machines.inventory.read_text()
        machines.inventory.write_text(text.replace('host = "198.18.0.2"', 'host = "198.18.0.2"\npython = "/run/python"'))
        assert not Ssh.missing(testbed._plan, (), ())
        (problem,) = Ssh.missing(testbed._plan, (), {"fill"})
        assert problem.what == f"n2 (198.18.0.2) cannot {DEEDS['fill']}: unshare: Operation not permitted"
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_power_losses_and_slow_syncs(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        before = mount_mine(machines, tmp_path)

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
                assert mounts(machines, tmp_path) == before

            fault = await driver.do(step("power-loss", "primary"), meanwhile)
            assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
            assert "1/1 down, n1 lost " in driver.told[0][1] and driver.told[1] == ("power on", "1/1 serving"), driver.told
            fault = await driver.do(step("slow-fsync", "all"))
            assert fault.bit and fault.healed and fault.struck == ("n1", "n2"), (fault.proofs, fault.undone)
            assert fault.proofs[0].figures[0].least >= 180

        testbed = bed(machines, kind=Unpluggable)
        plan, testbed._plan = testbed._plan, msgspec.structs.replace(testbed._plan, keep=True)
        with_servers(testbed, whole, WRITER)
        assert mounts(machines, tmp_path) == before
        data = tmp_path / "machine-n1" / "a-run" / "n1"
        assert (data / "kept").stat().st_size > 2 and (data / "server.py").exists() and not data.with_name("n1.kept").exists()

        machines.sh(1, "touch /run/nothing; mount --bind /run/nothing /dev/fuse")
        assert not Ssh.missing(plan, (), {"fill"})
        (problem,) = Ssh.missing(plan, (), {"unplug"})
        assert problem.what.startswith(f"n2 (198.18.0.2) cannot {DEEDS['unplug']}: FUSE cannot be mounted: ")
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_what_redis_did_not_sync_is_lost(tmp_path: Path) -> None:
    need("redis-server", "redis-sentinel")

    def work(machines: Machines) -> int:
        words = "--testbed ssh --inventory inventory.toml --variant sentinel-fsync-no --workload set --nemesis power-loss:all"
        times = "--time 6s --baseline 2s --fault 2s --between 2s --settle 2s"
        process = machines.splitbrain("test", "redis", *words.split(), *times.split())
        said = " ".join(process.communicate()[0].split())
        assert re.search("3/3 down, n1 lost .* lost-element", said), said
        assert process.returncode == 1 and not list(tmp_path.glob("machine-*"))
        return 0

    assert beside(tmp_path, 3, work) == 0


def test_guards_make_disks_whole_when_the_controller_is_killed(tmp_path: Path) -> None:
    folder = "/proc/$(pgrep -of 'server.p[y]')/cwd"
    writes = f"timeout 20 dd if=/dev/zero of={folder}/more bs=8192 count=1 conv=fsync && echo written"

    def killed(machines: Machines, what: str) -> None:
        process = machines.python("tests.harness.testbeds.faulting", what, str(machines.inventory), "a-run")
        assert process.stdout is not None
        assert process.stdout.readline() == "faulty\n"
        assert state(machines, 0) in ("S", "R") and state(machines, 1) == ""
        if what == "fill":
            assert machines.sh(0, writes) == ""
        process.kill()
        process.wait()
        # No command of ours: only a look, by another way.
        assert until(lambda: machines.sh(0, writes) == "written\n")
        assert until(lambda: state(machines, 1) in ("S", "R") and bool(machines.sh(1, f"cat {folder}/server.py")))
        machines.sh(1, "kill $(pgrep -of 'server.p[y]')")
        assert until(lambda: state(machines, 1) == ""), "it heeds signals as any other does"

    def work(machines: Machines) -> int:
        before = mount_mine(machines, tmp_path)
        machines.inventory.write_text("patience = 60\n" + machines.inventory.read_text())
        for what in ("fill", "unplug"):
            killed(machines, what)
            assert mounts(machines, tmp_path) == before
            left = machines.splitbrain("clean", "--no-data").communicate()[0]
            assert left.count("a-run: removed") == 2, left
            assert [state(machines, node) for node in range(2)] == ["", ""]
            assert not list(tmp_path.glob("machine-*"))
            assert until(lambda: machines.sh(0, f"grep -l {tmp_path}/machine /proc/[0-9]*/mountinfo") == "")
            assert mounts(machines, tmp_path) == before
        return 0

    assert beside(tmp_path, 2, work) == 0
