"""A flash sale: few units, many customers, and payments that are asked for twice."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from splitbrain.checkers.cases.flash_sale import FlashSaleChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.operation import Key, Kind, Operation
from splitbrain.harness.history.variant import Capability
from splitbrain.harness.load.client import CompareAndSet
from splitbrain.harness.plan import OptionTable, Plan
from splitbrain.harness.settings import Setting
from splitbrain.workloads.workload import Invocation, Workload

ASKED = 2
"""How often each payment is asked for, at least: the customer's page is loaded again, at another shop front."""


class FlashSale(Workload):
    """Sells `plan.keys` items at a time, `stock` units of each, and puts a new one on sale where one is sold out.

    A customer looks at an item and buys it if the page shows a unit that is left. The register of an item holds the last order
    in its book, and an order's last digits say how many units are sold with it. The sale is conditional on the order before
    where the database can compare and set; else it follows the look without a condition, as a shop on such a database must.
    A part of the orders goes on to be paid for: the payment is claimed under an idempotency key, in the same way, and asked for
    again through another worker, as by a page that is loaded again. One worker of each home only looks.
    """

    name: ClassVar[str] = "flash-sale"
    summary: ClassVar[str] = "a flash sale with payments: units sold that were not there, orders that vanish, double charges"
    needs: ClassVar[frozenset[Capability]] = frozenset({"registers"})

    class Options(OptionTable, frozen=True):
        """What is sold, and what is paid."""

        stock: Annotated[int, Setting("Units of each item.", low=1, high=99)] = 20
        paid: Annotated[float, Setting("The part of the orders that is paid for within the study.", high=1)] = 0.05

    options: Options

    def __init__(self, plan: Plan, offers: frozenset[Capability]) -> None:
        super().__init__(plan, offers)
        self._conditional = "compare-and-set" in offers
        self._placed = 0
        self._items = plan.keys
        self._on_sale: list[Key] = list(range(plan.keys))
        self._shown: dict[Key, int | None] = {}
        self._pages: dict[int, tuple[Key, int | None]] = {}
        self._due: deque[tuple[str, int]] = deque()
        self._asked: dict[str, int] = {}
        self._free: dict[int, str] = {}

    def next(self, rng: random.Random, process: int, kind: Kind | None = None) -> Invocation:
        page = self._pages.pop(process, None)
        key = self._free.pop(process, None)
        if kind == "read" or self.reader(process):
            return self._look(rng)
        if key is not None:
            return self._pay(key)
        if page is None and self._due and self._due[0][1] != process:
            key, _ = self._due.popleft()
            self._asked[key] = self._asked.get(key, 0) + 1
            return self._pay(key) if self._conditional else Invocation("read", key, None, "read")
        if page is None and kind == "write":  # A page from before.
            item = rng.choice(self._on_sale)
            page = (item, self._shown[item]) if item in self._shown else None
        if page is not None and self._sold(page[1]) < self.options.stock:
            item, last = page
            self._placed += 1
            return Invocation("buy", item, (last, self._placed * 100 + self._sold(last) + 1), "write")
        return self._look(rng)

    def _look(self, rng: random.Random) -> Invocation:
        return Invocation("read", rng.choice(self._on_sale), None, "read")

    def _pay(self, key: str) -> Invocation:
        self._placed += 1
        return Invocation("pay", key, (None, self._placed), "write")

    def _sold(self, order: int | None) -> int:
        return 0 if order is None else order % 100

    def observe(self, operation: Operation) -> None:
        if isinstance(operation.key, str):
            self._paid(operation, operation.key)
            return
        if operation.outcome == "ok":
            self._show(operation.key, operation.value if operation.f == "read" else operation.value[1])
            if operation.f == "read":
                self._pages[operation.process] = operation.key, operation.value
            elif self.options.paid and operation.value[1] // 100 % round(1 / self.options.paid) == 0:
                self._due.append((f"payment-{operation.value[1]}", operation.process))
        elif operation.seen:
            self._show(operation.key, operation.seen[0])

    def _show(self, item: Key, last: int | None) -> None:
        self._shown[item] = last
        if self._sold(last) >= self.options.stock and item in self._on_sale:
            self._on_sale[self._on_sale.index(item)] = self._items
            self._shown[self._items] = None
            self._items += 1

    def _paid(self, operation: Operation, key: str) -> None:
        if operation.f == "read" and operation.outcome == "ok" and operation.value is None:
            self._free[operation.process] = key
        elif not operation.answered or self._asked.get(key, ASKED) < ASKED:
            self._due.append((key, operation.process))

    async def invoke(self, client: CompareAndSet, invocation: Invocation) -> Any:
        if invocation.f == "read":
            return await client.read(invocation.key)
        expected, new = invocation.value
        if self._conditional:
            await client.cas(invocation.key, expected, new)
        else:
            await client.write(invocation.key, new)
        return invocation.value

    def final(self) -> Sequence[Invocation]:
        return [Invocation("read", key, None, "read") for key in (*range(self._items), *self._asked)]

    def local(self) -> Sequence[Invocation]:
        return self.final()

    def checkers(self) -> tuple[Checker, ...]:
        return (FlashSaleChecker(self.options.stock),)
