"""Files on machines over a real SSH: damaged while their server is down, in the folder of the run and nowhere else."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from splitbrain.harness.errors import SetupError
from splitbrain.harness.testbeds import ssh_files
from splitbrain.harness.testbeds.attach import Attached
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import Ability
from tests.harness.testbeds.cluster import ON_PYTHON
from tests.harness.testbeds.machines import Machines, beside, needed
from tests.harness.testbeds.test_ssh import bed, with_servers
from tests.nemeses.driver import Driver, step

WRITES = msgspec.structs.replace(ON_PYTHON, files={"server.py": """
import os
os.makedirs("deep", exist_ok=True)
if not os.path.exists("deep/store"):
    open("deep/store", "wb").write(b"\\xff" * 1000)
""" + ON_PYTHON.files["server.py"]})


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()


def test_a_file_is_damaged_and_no_other(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"mine")

    def work(machines: Machines) -> int:
        async def whole(testbed: Ssh) -> None:
            driver, node = Driver(testbed, "n1"), testbed.nodes[0]
            assert await driver.cluster.serving(("n1", "n2"), timeout=60) == ()
            seen: list[bytes | None] = []

            async def meanwhile() -> None:
                seen.append(await testbed.read("n1", "deep/store"))

            for name in ("bit-flips", "truncate"):
                fault = await driver.do(step(name, "primary"), meanwhile)
                assert fault.bit and fault.healed and fault.struck == ("n1",), (fault.proofs, fault.undone)
                assert driver.told[-1] == ("mend", "n1 serves")
            flipped, cut = seen
            assert flipped and cut == flipped[:750] and sum((byte ^ 255).bit_count() for byte in flipped) == 8
            assert "250 of 1000 bytes of deep/store gone" in driver.told[-2][1]
            assert await testbed.read("n1", "deep/store") == cut

            assert await testbed.read("n1", "deep/none") is None
            await node.run(["ln", "-s", str(tmp_path), "way"])
            await node.run(["ln", "-s", str(outside), "link"])
            for file in ("../../outside", str(outside), "way/outside", "link"):
                for asked in (ssh_files.read(node, file), ssh_files.rewrite(node, file, b"yours")):
                    with pytest.raises(SetupError, match="n1: "):
                        await asked
            assert outside.read_bytes() == b"mine"

        with_servers(bed(machines), whole, WRITES)
        return 0

    assert beside(tmp_path, 2, work) == 0


def test_data_that_is_not_ours_is_left_alone() -> None:
    ours: set[Ability] = {"damage", "wipe", "fill", "unplug"}
    assert ours <= Ssh.abilities and not ours & Attached.abilities
