"""Shopping carts, kept as one value or as a set of additions and one of removals."""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from typing import Annotated, Any, ClassVar, Literal

from splitbrain.checkers.cases.cart import CartChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.places import Places
from splitbrain.workloads.workload import Invocation, Workload

FULL = 40
"""Items that are put into a cart before its customer takes a new one."""

TAKES = 0.3
"""Of the calls that change a cart, the part that takes something out that was seen there."""


class Cart(Workload):
    """Puts items into `plan.keys` carts at a time, takes some out again, and views carts. One worker of each home only views.

    As one `value`, a cart is a register with a bit for each item, read and written as a whole: on the condition that nobody
    else changed it where the database can compare and set, and else so that the last write wins. As `sets`, what was put and
    what was taken are two sets that only grow, and the cart is the difference: copies that were apart are merged by union.
    """

    name: ClassVar[str] = "cart"
    summary: ClassVar[str] = "shopping carts, kept as one value or as sets: items that vanish, and removed ones that come back"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers", "sets"})
    grows: ClassVar[bool] = True

    class Options(OptionTable, frozen=True):
        """How carts are kept."""

        kept: Annotated[Literal["value", "sets"], Setting("What a cart is in the database.")] = "value"

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._carts = Places(plan.keys, FULL)
        self._shown: dict[int, tuple[int, list[int]]] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        slot = rng.randrange(self.plan.keys)
        if self.reader(process) or kind == "read" or (kind is None and rng.random() < 0.5):
            return Invocation("view", self._carts.current[slot], None, "read")
        cart, items = self._shown.pop(process, (0, []))
        if items and rng.random() < TAKES:
            return Invocation("take", cart, rng.choice(items), "write")
        cart = self._carts.open(slot)
        return Invocation("put", cart, self._carts.add_to(cart), "write")

    def observe(self, operation: Operation) -> None:
        if operation.f == "view" and operation.outcome == "ok" and isinstance(operation.key, int):
            self._shown[operation.process] = operation.key, list(operation.value)

    async def invoke(self, client: Any, invocation: Invocation) -> Any:
        cart, item = invocation.key, invocation.value
        if self.options.kept == "sets":
            if invocation.f != "view":
                await client.add(cart if invocation.f == "put" else f"removed-{cart}", item)
                return item
            return sorted({*await client.elements(cart)} - {*await client.elements(f"removed-{cart}")})
        held = await client.read(cart)
        bits = held or 0
        if invocation.f == "view":
            return [one for one in range(1, FULL + 1) if bits >> one & 1]
        changed = bits | 1 << item if invocation.f == "put" else bits & ~(1 << item)
        if "compare-and-set" in self.offers:
            await client.cas(cart, held, changed)
        else:
            await client.write(cart, changed)
        return item

    def final(self) -> Sequence[Invocation]:
        return [Invocation("view", cart, None, "read") for cart in range(len(self._carts))]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def written(self) -> Collection[Key]:
        return [key for cart in range(len(self._carts)) for key in (cart, f"removed-{cart}")]

    def checkers(self) -> tuple[Checker, ...]:
        return (CartChecker(),)
