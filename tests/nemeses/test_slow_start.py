"""Servers that come back slowly, on real nodes: how long they took is measured, with the fault and without."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from pathlib import Path

import msgspec
import pytest

from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Other
from splitbrain.harness.resolve import resolve
from splitbrain.harness.testbeds.namespaces import Namespaces
from tests.harness.testbeds.cluster import SERVER, with_cluster
from tests.nemeses.driver import Driver, step

WORK = """
import time
while time.process_time() < 0.04:
    pass
"""
"""What a server computes before it listens."""


def used_of_the_processor() -> float:
    """Seconds that servers which have not served yet have used, as the kernel tells it in another place: what began last."""
    began, seconds = 0, 0.0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if b"SPLITBRAIN_SERVICE=server" in status.with_name("environ").read_bytes().split(b"\0"):
                told = status.read_text().rpartition(")")[2].split()
                began, seconds = max((began, seconds), (int(told[19]), sum(map(int, told[11:13])) / os.sysconf("SC_CLK_TCK")))
    return seconds


def test_a_server_comes_back_many_times_slower_than_as_ever(tmp_path: Path) -> None:
    async def work(testbed: Namespaces) -> None:
        node = testbed.nodes[0]
        await node.stop("server")
        began = time.monotonic()
        await node.start(msgspec.structs.replace(SERVER, files={"server.py": WORK + SERVER.files["server.py"]}))
        while not (await testbed.serving(timeout=1.0))["n1"]:
            await asyncio.sleep(0.01)
        usual = time.monotonic() - began
        driver = Driver(testbed, "n1")

        used: list[float] = []

        async def meanwhile() -> None:
            async with asyncio.timeout(120):
                while driver.cluster.out():
                    used.append(used_of_the_processor())
                    await asyncio.sleep(0.05)

        fault = await driver.do(step("slow-start", "primary"), meanwhile)
        assert fault.bit and fault.healed and fault.struck == ("n1",), driver.told
        (spec,) = fault.specs
        assert isinstance(spec, Other) and spec.options == {"percent": 1}
        words = r"n1 served in ([\d.]+) s, with ([\d.]+) s of the processor \(([\d.]+)%, intended 1%\)"
        told = re.fullmatch(words, fault.proofs[0].detail)
        assert told, fault.proofs
        took, processor, percent = map(float, told.groups())
        assert took > max(3.0, usual) and processor > 0.03 and percent < 1.8, (told, usual)
        assert abs(processor - used[-1]) < 0.04, "the harness counted something else than the kernel did"
        assert fault.proofs[0].figures[0].intended == 1 and abs(fault.proofs[0].figures[0].middle - percent) < 0.1
        assert driver.told[-2][0] == "kill and slowly start n1" and driver.told[-1] == ("let start", "1/1 serving")
        assert not any(one.ended() for one in testbed.nodes) and await driver.controller.prove_healed() == ()

        early = await driver.do(step("slow-start", "primary"))
        assert not early.bit and early.wrong == ("n1",) and early.healed, "it was let run before it was slow"
        assert (await testbed.serving(timeout=10))["n1"]
        await node.stop("server")
        nothing = await driver.do(step("slow-start", "primary"))
        assert not nothing.bit and nothing.wrong == ("n1",), "nothing runs there"

    with_cluster(tmp_path, 2, work)


def test_half_of_the_time_is_the_most_that_is_slow() -> None:
    with pytest.raises(UsageError, match="percent"):
        resolve({"database": "reference", "nemesis": "slow-start", "options": {"slow-start": {"percent": 90}}})
