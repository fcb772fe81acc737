"""A program for tests: `python -m tests.harness.testbeds.faulting INVENTORY SECONDS` cuts n1 off, pauses its server, delays the
links of the others and puts the clock of the server on n2 ahead, on machines over SSH whose guards are so patient, says so,
and waits to be killed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from splitbrain.harness.history.fault import Impair
from splitbrain.harness.testbeds import ssh_node
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import everything
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, plan


async def fault(testbed: Ssh) -> None:
    await testbed.up(3)
    for node in testbed.nodes:
        await node.start(ON_PYTHON)
    await testbed.listen(PORT)
    whole = everything(node.name for node in testbed.nodes)
    alone = whole.copy()
    alone.remove_edges_from([link for link in whole.edges if "n1" in link])
    await testbed.apply(whole, alone)
    assert (await testbed.probe(alone, timeout=2)).wrong(alone) == ()
    await testbed.nodes[0].pause("server")
    await testbed.impair({link: Impair((link,), delay=300) for link in (("n2", "n3"), ("n3", "n2"))})
    assert min((await testbed.measure([("n2", "n3")], late=0.3))["n2", "n3"].late) >= 299
    await testbed.skew("n2", 3600 * 10**9, paused=False)
    print("faulty", flush=True)
    await asyncio.sleep(600)


if __name__ == "__main__":
    ssh_node.DEAD_MAN = float(sys.argv[2])
    bed = Ssh(plan(testbed="ssh", inventory=sys.argv[1], nodes=3), "a-run", Path("run"))
    bed.inside(lambda: asyncio.run(fault(bed)) or 0)
