"""A flash sale: whether more was sold than there was, whether a sale that was confirmed stands, and who paid twice.

An item is a register that holds the last order in its book, and every order names the one that it followed: `buy` has
`(previous, order)`. So whoever reads an item has read a whole book, back to the first order. A payment is a register of its
own, named by its idempotency key: `pay` has `(None, attempt)`, and should be carried out once.

Only what clients were told counts as certain: a sale or a payment that was not answered may have happened, and is in the
upper bounds alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from splitbrain.checkers.cases.customers import Requests, server_of
from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

STOCKS, ORDERS, CHARGES = "stocks kept", "orders kept", "charges single"


class FlashSaleChecker:
    """Judges `read`, `buy` and `pay` of items with `stock` units each.

    A sale that was confirmed after `stock` others were is `oversold`. One that is in no book that was read in the end, after
    the item's last sale, is `lost-write`. A payment that was carried out after another with its idempotency key is
    `charged-twice`.
    """

    name = "flash-sale"

    def __init__(self, stock: int) -> None:
        self.stock = stock

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("read", "buy", "pay"))
        over = recording.final
        found = Findings(recording)
        sold = sold_most = beyond = beyond_most = charged = twice = twice_most = 0
        settled = unread = untold = 0
        customers = Requests(over)
        for _, rows in history.by_key():
            operations = [history[row] for row in rows.tolist()]
            buys = [one for one in operations if one.f == "buy"]
            pays = [one for one in operations if one.f == "pay"]
            confirmed, open_buys = _confirmed(buys), _open(buys)
            sold += len(confirmed)
            sold_most += len(confirmed) + open_buys
            beyond += max(0, len(confirmed) - self.stock)
            beyond_most += max(0, len(confirmed) + open_buys - self.stock)
            if confirmed:
                books = Books(buys)
                self._oversold(found, confirmed, books)
                read = _lost(found, operations, confirmed, books, over)
                settled, unread = settled + read, unread + (not read)
                untold += 0 if read else len(confirmed)
            carried_out, open_pays = _confirmed(pays), _open(pays)
            charged += bool(carried_out)
            twice += len(carried_out) > 1
            twice_most += len(carried_out) + open_pays > 1
            _charged(found, carried_out)
            if not pays:
                customers.count(operations)
        figures = [
            Figure(name="units sold", least=sold, most=sold_most),
            Figure(name="units sold that were not there", least=beyond, most=beyond_most, of=sold, price="consistency"),
            Figure(name="confirmed orders that vanished", least=found.counts["lost-write"],
                   most=found.counts["lost-write"] + untold, of=sold, price="consistency"),
            Figure(name="payments carried out more than once", least=twice, most=twice_most, of=charged, price="consistency"),
            customers.figure("requests of customers turned away"),
        ]
        models = {STOCKS: ("oversold",), ORDERS: ("lost-write",), CHARGES: ("charged-twice",)}
        unproven = {ORDERS: f"no book of {unread:,} items was read after their last sale"} if unread and not settled else {}
        return found.verdict(
            self.name, models, keys=keys_of(history), judged=sold, things="items",
            what="sales", figures=figures, unproven=unproven,
        )

    def _oversold(self, found: Findings, confirmed: Sequence[Operation], books: Books) -> None:
        """Tell the sales beyond the stock. Each goes back to a unit that was sold again, which may have been long before: it
        happened at the moment of that sale, the earliest of which are told first."""
        units: set[int] = set()
        again = []
        for sale in confirmed:
            if (unit := books.unit(sale)) in units:
                again.append(sale)
            units.add(unit)
        for at, sale in enumerate(confirmed[self.stock :]):
            cause = again[at] if at < len(again) else sale
            sentence = (
                f"order {sale.value[1]} of item {sale.key} was confirmed at {clock(sale.ended)} by {server_of(sale)}, "
                f"though {self.stock} units were all there were, and {self.stock + at} had been sold by then."
            )
            found.add("oversold", sale.key, Moment(began=cause.invoked, seen=cause.ended),
                      partial(_told, sentence, confirmed[: self.stock], sale))


class Books:
    """The books of one item, each named by its last order: what was sold when somebody read that order, or placed one behind
    it."""

    def __init__(self, buys: Sequence[Operation]) -> None:
        self._orders = {one.value[1]: one for one in buys}
        self._kept: dict[int | None, frozenset[int] | None] = {None: frozenset()}

    def book(self, last: int | None) -> frozenset[int] | None:
        """The orders in it; None where one of them was never placed."""
        chain: list[int] = []
        at = last
        while at not in self._kept:
            assert at is not None
            chain.append(at)
            self._kept[at] = None  # Of orders that follow each other in a circle there is no book.
            at = self._orders[at].value[0] if at in self._orders else at
        before = self._kept[at]
        for order in reversed(chain):
            before = None if before is None or order not in self._orders else before | {order}
            self._kept[order] = before
        return self._kept[last]

    def unit(self, sale: Operation) -> int:
        """Which unit of the item it sold, from 1, as its buyer saw it; 0 where that is not known."""
        book = self.book(sale.value[1])
        return 0 if book is None else len(book)

    def told(self, operation: Operation) -> frozenset[int] | None:
        """What was in the book that an answered look showed, or that a confirmed sale followed."""
        return self.book(operation.value if operation.f == "read" else operation.value[0])

    def chain(self, last: int | None) -> list[Operation]:
        """The orders of a book, the first one first."""
        book = self.book(last) or ()
        return sorted((self._orders[order] for order in book), key=lambda one: len(self.book(one.value[1]) or ()))


def _lost(
    found: Findings, operations: Sequence[Operation], confirmed: Sequence[Operation], books: Books, final: int
) -> bool:
    """Tell the confirmed orders that are in no book which was read in the end; whether one was read. The end are the final
    reads, or where there are none whatever was read after the last sale. Lost it was by the moment in which somebody was first
    shown a book without it."""
    over = max(one.ended for one in confirmed)
    told = [one for one in operations if one.outcome == "ok" and books.told(one) is not None]
    reads = [one for one in told if one.f == "read" and one.invoked > over]
    reads = [one for one in reads if one.invoked >= final] or reads
    if not reads:
        return False
    kept = frozenset().union(*(books.told(read) or () for read in reads))
    for sale in confirmed:
        order = sale.value[1]
        if order in kept:
            continue
        without = next(one for one in told if one.invoked > sale.ended and order not in (books.told(one) or ()))
        sentence = (
            f"order {order} of item {sale.key} was confirmed at {clock(sale.ended)} by {server_of(sale)}, "
            f"and is in no book of that item that was read in the end."
        )
        found.add("lost-write", sale.key, Moment(began=sale.ended, seen=without.ended, lost=True),
                  partial(_told, sentence, [*books.chain(reads[-1].value), reads[-1]], sale))
    return True


def _charged(found: Findings, carried_out: Sequence[Operation]) -> None:
    for again in carried_out[1:]:
        first = carried_out[0]
        sentence = (
            f"{again.key} was carried out at {clock(again.ended)} by {server_of(again)}, though it had been with the same "
            f"idempotency key at {clock(first.ended)} by {server_of(first)}."
        )
        found.add("charged-twice", again.key, Moment(began=again.invoked, seen=again.ended),
                  partial(_told, sentence, (first,), again))


def _confirmed(operations: Sequence[Operation]) -> list[Operation]:
    """Those that were confirmed, in the order in which they were."""
    return sorted((one for one in operations if one.outcome == "ok"), key=lambda one: one.ended)


def _open(operations: Sequence[Operation]) -> int:
    """How many may have happened."""
    return sum(one.outcome == "info" for one in operations)


def _told(sentence: str, others: Sequence[Operation], accused: Operation) -> Told:
    return sentence, [*others, accused]
