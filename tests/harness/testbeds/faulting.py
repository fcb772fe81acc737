"""A program for tests: `python -m tests.harness.testbeds.faulting WHAT INVENTORY RUN` does something to machines over SSH, says
so, and waits to be killed; or it waits until it has lost every machine, and says why. What:

* `links` cuts n1 off, pauses its server, delays the links of the others and puts the clock of the server on n2 ahead;
* `fill` leaves no room on the disk of n1, and kills the server on n2;
* `unplug` makes the syncs of n1 slow, and takes the power from n2;
* `clock` puts the clock of the machine n1 ahead;
* `lose` cuts n1 off.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.fault import Impair
from splitbrain.harness.testbeds.ssh import Ssh
from splitbrain.harness.testbeds.testbed import everything
from tests.harness.testbeds.cluster import ON_PYTHON, PORT, plan


async def lose(testbed: Ssh) -> None:
    await up(testbed, 2)
    await cut(testbed)


async def cut(testbed: Ssh) -> None:
    whole = everything(node.name for node in testbed.nodes)
    alone = whole.copy()
    alone.remove_edges_from([link for link in whole.edges if "n1" in link])
    await testbed.apply(whole, alone)
    assert (await testbed.probe(alone, timeout=2)).wrong(alone) == ()


async def links(testbed: Ssh) -> None:
    await up(testbed, 3)
    await cut(testbed)
    await testbed.nodes[0].pause("server")
    await testbed.impair({link: Impair((link,), delay=300) for link in (("n2", "n3"), ("n3", "n2"))})
    assert min((await testbed.measure([("n2", "n3")], late=0.3))["n2", "n3"].late) >= 299
    await testbed.skew("n2", 3600 * 10**9, paused=False)


async def fill(testbed: Ssh) -> None:
    await testbed.bound(2)
    await up(testbed, 2)
    await testbed.fill("n1", full=True)
    await testbed.nodes[1].stop("server", kill=True)
    assert await testbed.full("n1")


async def unplug(testbed: Ssh) -> None:
    await testbed.unpluggable(2)
    await up(testbed, 2)
    await testbed.slow("n1", 600)
    await testbed.nodes[1].stop("server", kill=True)
    await testbed.lose_power("n2", "drop", 7)


async def clock(testbed: Ssh) -> None:
    await testbed.up(1)
    await testbed.skew("n1", 3600 * 10**9, paused=False)


async def up(testbed: Ssh, count: int) -> None:
    await testbed.up(count)
    for node in testbed.nodes:
        await node.start(ON_PYTHON)
    await testbed.listen(PORT)
    assert all((await testbed.serving(timeout=60)).values())


async def fault(testbed: Ssh, does: Callable[[Ssh], Awaitable[None]]) -> None:
    await does(testbed)
    print("faulty", flush=True)
    for node in testbed.nodes:
        with contextlib.suppress(SetupError):
            while await node.link.time():
                await asyncio.sleep(0.1)
    for node in testbed.nodes:
        try:
            await node.run(["true"])
        except SetupError as error:
            print(error)


WHAT = {"links": (links, 3), "fill": (fill, 2), "unplug": (unplug, 2), "clock": (clock, 1), "lose": (lose, 2)}
"""What it does, and to how many machines."""


if __name__ == "__main__":
    does, nodes = WHAT[sys.argv[1]]
    bed = Ssh(plan(testbed="ssh", inventory=sys.argv[2], nodes=nodes), sys.argv[3], Path("run"))
    bed.inside(lambda: asyncio.run(fault(bed, does)) or 0)
