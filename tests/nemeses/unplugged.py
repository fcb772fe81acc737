"""A program for tests: `python -m tests.nemeses.unplugged FOLDER IMAGE` takes the power from containers.

It is started in mount, network and pid namespaces of its own, with a Docker engine there, so that nothing is mounted where
others see it; all of it ends with them. IMAGE is a file with the image of the reference database. It says what it has shown, a
line for each.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from splitbrain.harness.testbeds import engine
from splitbrain.harness.testbeds.docker import Docker
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, inside, plan
from tests.nemeses.driver import Driver, step

WRITES = """
import os, threading, time
def write():
    kept, loose = (os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND) for name in ("kept", "loose"))
    while True:
        os.write(loose, b"+")
        os.write(kept, b"+")
        os.fsync(kept)
        time.sleep(0.01)
threading.Thread(target=write, daemon=True).start()
"""
"""What a server writes beside its work: two files, one of which it syncs."""

WRITER = msgspec.structs.replace(ON_PYTHON, files={"server.py": WRITES + ON_PYTHON.files["server.py"]})
HARNESS = "import asyncio, sys; from tests.nemeses import unplugged; unplugged.with_nodes(*sys.argv[1:], unplugged.stay)"


def with_nodes(folder: str, image: str, work: Callable[[Docker], Awaitable[None]]) -> None:
    """Two nodes whose disks can lose their power, with a server that writes on each."""
    testbed = Docker(plan(image=image, keep=True), "unplugged", Path(folder))

    async def whole() -> None:
        try:
            await testbed.unpluggable(2)
            await testbed.up(2)
            await asyncio.gather(*(node.start(WRITER) for node in testbed.nodes))
            await testbed.listen(PORT)
            await work(testbed)
        finally:
            await testbed.down()

    inside(testbed, whole)


async def lose(testbed: Docker) -> None:
    """What was not synced is gone, what was is not, and what the servers were given is as if it had always been there."""
    driver = Driver(testbed, "n1")
    assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
    kept, loose = (testbed.data("n1") / name for name in ("kept", "loose"))
    while not kept.exists() or kept.stat().st_size <= 2:
        await asyncio.sleep(0.01)
    before, seen = kept.stat().st_size, list[int]()

    async def meanwhile() -> None:
        seen.extend((kept.stat().st_size, loose.stat().st_size if loose.exists() else 0))

    fault = await driver.do(step("power-loss", "primary"), meanwhile)
    assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
    assert seen[0] >= before and seen[1] == 0, seen
    assert "1/1 down, n1 lost " in driver.told[0][1] and driver.told[1] == ("power on", "1/1 serving"), driver.told
    fault = await driver.do(step("slow-fsync", "all"))
    assert fault.bit and fault.healed and fault.proofs[0].figures[0].least >= 180, (fault.proofs, fault.undone)
    await driver.cluster.end(driver, ["n2"])
    assert await driver.cluster.wipe("n2") and not any(testbed.data("n2").iterdir())
    await driver.cluster.start(driver, ["n2"])
    assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
    assert await driver.controller.prove_healed() == ()


async def stay(testbed: Docker) -> None:
    """Until it is killed."""
    print("up", flush=True)
    await asyncio.sleep(600)


def mounts() -> list[str]:
    """The disks that are mounted here."""
    return [line for line in Path("/proc/self/mounts").read_text().splitlines() if line.startswith("splitbrain:")]


def main(folder: Path, packed: Path) -> None:
    """Everything, with one engine."""
    client = engine.connect()
    (loaded,) = client.images.load(packed.read_bytes())
    image = loaded.tags[0]
    assert Docker.lacks("unplug") == "" and not mounts()

    with_nodes(str(folder / "one"), image, lose)
    assert not mounts() and not (folder / "one/nodes/n1/disk").exists()
    assert (folder / "one/nodes/n1/data/kept").stat().st_size > 2, "kept, as the plan says"
    print("lost", flush=True)

    command = [sys.executable, "-c", HARNESS, str(folder / "two"), image]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stdout.readline() == b"up\n"
        assert [line for line in Docker.clean() if "disk" in line] == [] and mounts(), "it lives"
        running.kill()
    removed = list(Docker.clean())
    assert len([line for line in removed if line.startswith("the disk at ")]) == 2 and not mounts(), removed
    assert not any((folder / "two/nodes/n1/disk").iterdir()) and Docker.clean() == []
    assert not client.containers.list(all=True) and not client.volumes.list()
    print("cleaned", flush=True)

    asked = [sys.executable, "-c", "from splitbrain.harness.testbeds.docker import Docker; print(Docker.lacks('unplug'))"]
    elsewhere = ["unshare", "--mount", "--propagation", "private", *asked]
    ran = subprocess.run(elsewhere, capture_output=True, text=True, check=False)
    assert "does not see what is mounted here" in ran.stdout and not mounts(), ran
    assert not client.containers.list(all=True) and not client.volumes.list()
    print("refused", flush=True)


def with_engine(folder: Path) -> subprocess.Popen[bytes]:
    """An engine in the namespaces of this process, which DOCKER_HOST names from then on."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    socket = f"unix://{folder}/sock"
    with (folder / "log").open("wb") as log:
        started = subprocess.Popen(
            ["dockerd", "--host", socket, "--data-root", str(folder / "data"), "--exec-root", str(folder / "exec"), "--pidfile",
             str(folder / "pid"), "--bip", "198.18.255.1/24", "--exec-opt", "native.cgroupdriver=cgroupfs"],
            stdout=log, stderr=log)
    os.environ["DOCKER_HOST"] = socket
    for _ in range(1200):
        try:
            engine.connect().close()
            return started
        except engine.Unreachable:
            time.sleep(0.05)
    raise RuntimeError((folder / "log").read_text())


if __name__ == "__main__":
    place = Path(sys.argv[1])
    dockerd = with_engine(place)
    try:
        main(place, Path(sys.argv[2]))
    finally:
        dockerd.terminate()
        dockerd.wait()
