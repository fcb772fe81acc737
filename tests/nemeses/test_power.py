"""Power losses and slow syncs on real nodes: what was not synced is gone and what was is not, and all is as before
afterwards."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.harness.errors import SetupError
from splitbrain.harness.resolve import check_machine, resolve
from splitbrain.harness.testbeds import fuse
from splitbrain.harness.testbeds.namespaces import Namespaces
from tests.conftest import ROOT
from tests.harness.testbeds.cluster import SERVER, plan, with_cluster
from tests.lab import built
from tests.nemeses.driver import Driver, step
from tests.nemeses.unplugged import WRITES


def with_power(folder: Path, count: int, work: Callable[[Namespaces], Awaitable[None]]) -> None:
    """A cluster whose data folders have disks whose power can be taken."""

    class Unpluggable(Namespaces):
        async def up(self, count: int) -> None:
            await self.unpluggable(count)
            await super().up(count)

    with_cluster(folder, count, work, Unpluggable(plan(), folder.name, folder))


WRITER = msgspec.structs.replace(SERVER, files={"server.py": WRITES + SERVER.files["server.py"]})
"""A server that writes two files, one of which it syncs."""


def length(testbed: Namespaces, node: int, name: str) -> int:
    file = Path(testbed.nodes[node].folder, name)
    return file.stat().st_size if file.exists() else 0


@pytest.mark.parametrize("writes", [True, False])
def test_a_power_loss(tmp_path: Path, writes: bool) -> None:
    async def work(testbed: Namespaces) -> None:
        for node in testbed.nodes:
            await node.stop("server", kill=True)
            await node.start(WRITER if writes else SERVER)
        driver = Driver(testbed, "n1")
        assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
        while writes and length(testbed, 0, "kept") <= 2:
            await asyncio.sleep(0.01)
        before = length(testbed, 0, "kept") if writes else 0
        seen: list[int] = []

        async def meanwhile() -> None:
            if writes:
                seen.extend((length(testbed, 0, "kept"), length(testbed, 0, "loose")))

        fault = await driver.do(step("power-loss", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
        assert driver.told[0][0] == "take the power from n1" and driver.told[1] == ("power on", "1/1 serving")
        if writes:
            assert seen[0] >= before and seen[1] == 0
            assert "1/1 down, n1 lost " in driver.told[0][1] and fault.proofs[0].measured == ("n1",)
        else:
            assert "1/1 down, nothing to lose on the disk of n1" in driver.told[0][1] and fault.proofs[0].measured == ()
        assert await driver.controller.prove_healed() == ()

    with_power(tmp_path, 2, work)
    assert not any(str(tmp_path) in line for line in Path("/proc/self/mounts").read_text().splitlines())
    assert not any((tmp_path / "nodes" / "n1" / "data").iterdir()), "its disk is gone with the nodes"


def test_slow_syncs(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        driver = Driver(testbed, "n1")
        fault = await driver.do(step("slow-fsync", "all"))
        assert fault.bit and fault.healed and fault.struck == ("n1", "n2"), (fault.proofs, fault.undone)
        (figure,) = fault.proofs[0].figures
        assert figure.what == "fsync" and figure.least >= 180
        assert driver.told[0][0] == "let every fsync take 200 ms longer on n1 n2"

    with_power(tmp_path, 2, work)


def test_a_disk_that_is_not_slow_is_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Namespaces, name: str, seconds: float) -> None:
        pass

    monkeypatch.setattr(Namespaces, "slow", nothing)

    async def work(testbed: Namespaces) -> None:
        fault = await Driver(testbed, "n1").do(step("slow-fsync", "primary"))
        assert not fault.bit and fault.wrong == ("n1",)

    with_power(tmp_path, 2, work)


def test_where_fuse_is_missing_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    resolved = resolve({"database": "reference", "nemesis": "power-loss"})
    check_machine(resolved)
    monkeypatch.setattr(fuse, "DEVICE", "/dev/no-fuse")
    with pytest.raises(SetupError, match=r"cannot take the power from .* /dev/no-fuse cannot be opened .*modprobe fuse"):
        check_machine(resolved)


def test_a_killed_harness_leaves_no_mount_and_no_server(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from tests.nemeses.test_power import with_power
async def work(testbed):
    import asyncio
    print("up", flush=True)
    await asyncio.sleep(60)
with_power(Path({str(tmp_path)!r}), 1, work)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        assert _servers(tmp_path)
        os.kill(running.pid, signal.SIGKILL)
    for _ in range(1200):
        if not _servers(tmp_path):
            break
        time.sleep(0.05)
    assert not _servers(tmp_path)
    assert not [line for line in Namespaces.clean() if f"of run {tmp_path.name}:" in line]
    assert str(tmp_path) not in Path("/proc/self/mounts").read_text()
    assert not any((tmp_path / "nodes" / "n1" / "data").iterdir())


def _servers(folder: Path) -> list[str]:
    """The processes whose errors go to the log of that run's disk."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and (entry / "fd" / "2").readlink() == folder / "nodes" / "n1" / "disk.log":
                found.append(entry.name)
    return found


def test_containers_lose_power(lab: Any, tmp_path: Path) -> None:
    packed = tmp_path / "image.tar"
    with packed.open("wb") as file:
        file.writelines(lab.images.get(built("reference")).save(named=True))
    alone = ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--propagation", "private"]
    # The names of the engine's sockets may not be long.
    with tempfile.TemporaryDirectory(prefix="unplugged-") as place:
        command = [*alone, sys.executable, "-m", "tests.nemeses.unplugged", place, str(packed)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=400, cwd=ROOT, check=False)
    assert ran.stdout == "lost\ncleaned\nrefused\n", ran.stderr
