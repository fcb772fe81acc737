"""A program for tests: `python -m tests.harness.testbeds.cut FOLDER TOOLS` cuts nodes of the testbed docker and heals them, and
changes a file of one, by containers from the image TOOLS where it has no right of its own."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from splitbrain.harness.testbeds import docker_access
from splitbrain.harness.testbeds.container import FOLDER, File, archive
from splitbrain.harness.testbeds.docker import Docker
from splitbrain.harness.testbeds.testbed import everything
from tests.harness.testbeds.cluster import PORT, plan


async def cut_and_heal(testbed: Docker) -> int:
    try:
        await testbed.up(3)
        await testbed.listen(PORT)
        whole = everything(node.name for node in testbed.nodes)
        alone = whole.copy()
        alone.remove_edges_from(list(whole.edges))
        for before, after in ((whole, alone), (alone, whole)):
            await testbed.apply(before, after)
            reach = await testbed.probe(after, timeout=20.0)
            assert reach.wrong(after) == ()
            print(f"{len(reach.cut())} cut")
        print((await testbed.facts())["faults"])
        testbed.nodes[0].keeper.put_archive(FOLDER, archive({"store": File(b"whole", 0o600)}))
        file = await testbed.last_written("n1", ())
        await testbed.rewrite("n1", file, b"not")
        print(f"{file}: {await testbed.read('n1', file)!r}")
    finally:
        await testbed.down()
    return 0


if __name__ == "__main__":
    docker_access.TOOLS = sys.argv[2]
    made = Docker(plan(), "a test", Path(sys.argv[1]))
    sys.exit(made.inside(lambda: asyncio.run(cut_and_heal(made))))
