"""A program for tests: `python -m tests.harness.testbeds.skewing INVENTORY RUN` puts the clock of the machine n1 an hour ahead,
over SSH, says so, and waits to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from splitbrain.harness.testbeds.ssh import Ssh
from tests.harness.testbeds.cluster import plan


async def skew(testbed: Ssh) -> None:
    await testbed.up(1)
    await testbed.skew("n1", 3600 * 10**9, paused=False)
    print("faulty", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    bed = Ssh(plan(testbed="ssh", inventory=sys.argv[1], nodes=1), sys.argv[2], Path("run"))
    bed.inside(lambda: asyncio.run(skew(bed)) or 0)
