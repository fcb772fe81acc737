"""A program for tests: `python -m tests.harness.testbeds.paused TESTBED FOLDER RUN IMAGE` pauses a server and stays so."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.namespaces import Namespaces
from tests.harness.testbeds.cluster import ON_PYTHON, plan


async def pause(testbed: Any) -> int:
    await testbed.up(2)
    for node in testbed.nodes:
        await node.start(ON_PYTHON)
        await node.pause("server")
    print("paused", flush=True)
    await asyncio.sleep(60)
    return 1


if __name__ == "__main__":
    name, folder, run, image = sys.argv[1:]
    made = Docker(plan(image=image), run, Path(folder)) if name == "docker" else Namespaces(plan(), run, Path(folder))
    sys.exit(made.inside(lambda: asyncio.run(pause(made))))
