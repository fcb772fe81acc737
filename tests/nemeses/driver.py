"""Faults done to real nodes as a run does them, without a load: what happens in the middle is the test's to say."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from splitbrain.harness.faults import Controller
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.schedules import Step
from splitbrain.harness.testbeds.testbed import Testbed
from splitbrain.nemeses.cluster import Cluster
from tests.harness.testbeds.cluster import PORT

Meanwhile = Callable[[], Awaitable[None]]


class Driver:
    """Does one fault after another on a testbed, whose primary is always the same."""

    def __init__(self, testbed: Testbed, primary: str | None, seed: int = 7) -> None:
        self.told: list[tuple[str, str]] = []
        self.stages: list[Fault] = []
        self.meanwhile: Meanwhile | None = None
        names = tuple(node.name for node in testbed.nodes)
        self.addresses = {node.name: node.address for node in testbed.nodes}
        self.cluster = Cluster(testbed, names, time.monotonic_ns, enforce=lambda links: None, told=self.clock)
        self.controller = Controller(
            self.cluster, seed, primary=lambda: primary, leaderless=lambda: primary is None, stops_within=self._wait,
            record=self.stages.append, teller=self, holders=lambda: {0: names[-1:]}, owners=lambda: names[:1],
        )

    async def clock(self, name: str) -> float | None:
        """What the server of a node says the time is."""
        try:
            async with asyncio.timeout(10):
                reader, writer = await asyncio.open_connection(self.addresses[name], PORT)
                told = await reader.read()
        except OSError:
            return None
        writer.close()
        return float(told)

    def fault(self, time_ns: int, text: str, detail: str) -> None:
        """What the terminal would show."""
        self.told.append((text, detail))

    async def do(self, step: Step, meanwhile: Meanwhile | None = None) -> Fault:
        """One fault from its start to its end; `meanwhile` is done while it is in force."""
        self.meanwhile = meanwhile
        self.stages.clear()
        await self.controller.inject([step])
        return self.stages[-1]

    async def _wait(self, seconds: float) -> bool:
        if seconds > 0 and self.meanwhile is not None:
            await self.meanwhile()
        return False


def step(nemesis: str, scenario: str) -> Step:
    """A fault that is due at once and lasts as long as what is done meanwhile."""
    return Step(0.0, 1.0, nemesis, scenario)
