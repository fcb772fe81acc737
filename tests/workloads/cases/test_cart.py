"""What customers put into carts and take out; and that right carts are not accused, however they are kept."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.plan import Plan
from splitbrain.workloads.cases.cart import FULL, Cart
from tests.workloads.cases.right import used


@pytest.mark.parametrize("kept", ["value", "sets"])
@pytest.mark.parametrize("offers", [Cart.needs, Cart.needs | {"compare-and-set"}])
def test_a_right_cart_is_not_accused(kept: str, offers: frozenset[str]) -> None:
    plan = Plan(database="d", variant="v", nodes=3, concurrency=3, keys=4, options={"cart": {"kept": kept}})
    workload = Cart(plan, offers)  # type: ignore[arg-type]
    done = used(workload)
    verdict = workload.checkers()[0].check(Recording(history=History.of(done), nodes=()))
    assert verdict.validity == "valid", verdict.reason
    assert [one.least for one in verdict.figures[1:]] == [0, 0, 0]
    puts = Counter((one.key, one.value) for one in done if one.f == "put")
    takes = Counter(one.f for one in done)["take"]
    assert max(puts.values()) == 1 and len(puts) > 500 and takes > 100
    assert max(Counter(cart for cart, _ in puts).values()) <= FULL
    assert {one.kind for one in done if one.process in (0, 3, 6)} == {"read"}
    rng = random.Random(1)
    assert {workload.next(rng, 1, "read").kind for _ in range(9)} == {"read"}
    assert {workload.next(rng, 1, "write").kind for _ in range(9)} == {"write"}
