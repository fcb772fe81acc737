"""Links impaired between machines over a real SSH: measured against what was intended, over afterwards, and the control
connection never touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitbrain.harness.history.fault import Impair
from splitbrain.harness.testbeds.ssh import Ssh
from tests.harness.testbeds.machines import CONTROLLER, Machines, beside, needed
from tests.harness.testbeds.test_ssh import RULES, bed, with_servers
from tests.nemeses.driver import Driver
from tests.nemeses.test_links import THREE, impair

ALL = tuple((a, b) for a in THREE for b in THREE if a != b)
OWN_QUEUE = """
iptables -t mangle -N MINE
iptables -t mangle -A INPUT -s 203.0.113.7/32 -j MINE
iptables -t mangle -A MINE -j NFQUEUE --queue-num 0
"""


@pytest.fixture(autouse=True)
def possible() -> None:
    needed()


def test_what_was_intended_is_measured_and_over_afterwards(tmp_path: Path) -> None:
    def work(machines: Machines) -> int:
        before = machines.sh(0, f"{OWN_QUEUE} {RULES}")

        async def whole(testbed: Ssh) -> None:
            driver = Driver(testbed, "n1")
            one = testbed.nodes[0]

            async def lose_everything() -> None:
                """Whatever is written into our chain, the control connection passes."""
                (begun,) = driver.stages[-1].proofs
                assert begun.holds and [figure.what for figure in begun.figures] == ["one way", "rate"], begun
                lost = f"-A SPLITBRAIN -s {CONTROLLER} -j DROP\n-A SPLITBRAIN -j DROP"
                lost = f"*mangle\n:SPLITBRAIN - [0:0]\n{lost}\nCOMMIT\n"
                await one.link.ask("restore", texts={"iptables": lost})
                assert not (await testbed.serving(timeout=0.5))["n1"]  # it bites
                assert (await one.run(["echo", "still here"])).stdout == "still here\n"

            spec = Impair(ALL, delay=60, jitter=20, loss=0.2, duplicate=0.3, reorder=0.2, corrupt=0.1)
            fault = await driver.do(impair(spec))
            assert fault.bit and fault.healed, (fault.proofs, fault.undone)
            assert not fault.cut and set(fault.impaired) == set(ALL) and fault.sides == (THREE,)
            assert set(fault.proofs[0].measured) == set(ALL) == set(fault.undone[0].measured)
            told = {figure.what: figure for figure in fault.proofs[0].figures}
            assert set(told) == {"one way", "spread", "lost", "twice", "overtook others"}
            for figure in told.values():
                # A busy machine makes packets late, and spreads them, at will.
                most = float("inf") if figure.unit == "ms" else 2 * figure.intended + 30
                assert figure.intended / 4 < figure.middle < most, figure
            fault = await driver.do(impair(Impair((("n2", "n1"),), delay=100, rate=500)), lose_everything)
            assert not fault.bit and fault.wrong == (("n2", "n1"),) and fault.healed, fault
            assert await driver.controller.prove_healed() == ()

        with_servers(bed(machines, 3), whole)
        assert machines.sh(0, RULES) == before and "SPLITBRAIN" not in machines.sh(1, RULES)
        return 0

    assert beside(tmp_path, 3, work) == 0
