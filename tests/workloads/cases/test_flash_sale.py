"""What customers of a flash sale ask for, of a shop that is right: nothing is sold beyond the stock, and every payment is asked
for again by another."""

from __future__ import annotations

import random

import pytest

from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.plan import Plan
from splitbrain.workloads.cases.flash_sale import FlashSale
from tests.workloads.cases.right import used

PLAN = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4, options={"flash-sale": {"stock": 5, "paid": 0.2}})


def sale(conditional: bool) -> tuple[FlashSale, list[Operation]]:
    """What nine workers do one after another with registers that are right."""
    workload = FlashSale(PLAN, frozenset({"registers", "compare-and-set"} if conditional else {"registers"}))
    return workload, used(workload, 6000)


@pytest.mark.parametrize("conditional", [True, False])
def test_a_right_shop_sells_out_and_is_not_accused(conditional: bool) -> None:
    workload, done = sale(conditional)
    verdict = workload.checkers()[0].check(Recording(history=History.of(done), nodes=()))
    assert verdict.validity == ("valid" if conditional else "invalid"), verdict.reason
    sold = next(one for one in verdict.figures if one.name == "units sold").least
    assert sold > 500 and (not conditional or sold <= 5 * len({one.key for one in done if one.f == "buy"}))
    assert {one.kind for one in done if one.process in (0, 3, 6)} == {"read"}
    placed = [one.value[1] for one in done if one.f == "buy"]
    assert len(set(placed)) == len(placed)
    payments = {one.key for one in done if one.f == "pay"}
    asked = {key: {one.process for one in done if one.key == key and one.f == "pay"} for key in payments}
    assert len(payments) > 50 and {one.key for one in workload.final()} >= payments
    if conditional:
        assert sum(len(who) > 1 for who in asked.values()) > 0.9 * len(asked)


def test_each_kind_is_made_where_it_is_asked_for() -> None:
    workload, _ = sale(True)
    rng = random.Random(1)
    assert {workload.next(rng, 1, "read").kind for _ in range(20)} == {"read"}
    assert {workload.next(rng, 1, "write").kind for _ in range(20)} == {"write"}
