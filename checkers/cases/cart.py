"""A shopping cart: what was put into it and is not there in the end, and what was taken out and came back."""

from __future__ import annotations

from collections.abc import Sequence

from splitbrain.checkers.cases.customers import Requests, server_of
from splitbrain.checkers.structures.columns import check_functions, keys_of
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Figure, Moment, Verdict
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

KEPT, REMOVED = "carts kept", "removals kept"


class CartChecker:
    """Judges `put` of an item, each once into a cart, `take` of it, and `view`, which tells the items in a cart.

    The end are the final views, or where there are none those after the last confirmed change of the cart. An item whose
    putting was confirmed, that nobody tried to take and that no view of the end shows is `lost-element`. One whose taking was
    confirmed and that every view of the end shows has `came-back`.
    """

    name = "cart"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("put", "take", "view"))
        over = recording.final
        found = Findings(recording)
        put = taken = unread_put = unread_taken = views = settled = 0
        customers = Requests(over)
        for _, rows in history.by_key():
            operations = [history[row] for row in rows.tolist()]
            changes = [one for one in operations if one.f != "view"]
            puts = [one for one in changes if one.f == "put" and one.outcome == "ok"]
            tried = {one.value for one in changes if one.f == "take" and one.outcome != "fail"}
            kept = [one for one in puts if one.value not in tried]
            takes = [one for one in changes if one.f == "take" and one.outcome == "ok"]
            shown = [one for one in operations if one.f == "view" and one.outcome == "ok"]
            last = max((one.ended for one in changes if one.outcome == "ok"), default=0)
            end = [one for one in shown if one.invoked > last]
            end = [one for one in end if one.invoked >= over] or end
            put, taken, views = put + len(puts), taken + len(takes), views + len(shown)
            if end:
                settled += len(kept) + len(takes)
                _lost(found, kept, shown, end)
                _back(found, takes, shown, end)
            else:
                unread_put, unread_taken = unread_put + len(kept), unread_taken + len(takes)
            customers.count(operations)
        lost, back = found.counts["lost-element"], found.counts["came-back"]
        figures = [
            Figure(name="items put into carts", least=put, most=put),
            Figure(name="items that vanished from carts", least=lost, most=lost + unread_put, of=put, price="consistency"),
            Figure(name="removed items that came back", least=back, most=back + unread_taken, of=taken, price="consistency"),
            customers.figure("requests of customers turned away"),
        ]
        return found.verdict(
            self.name, {KEPT: ("lost-element",), REMOVED: ("came-back",)},
            keys=keys_of(history), judged=views, things="carts", what="views",
            figures=figures,
            unproven={} if settled or not unread_put + unread_taken else dict.fromkeys(
                (KEPT, REMOVED), "no cart was viewed after its last change"),
        )


def _lost(found: Findings, kept: Sequence[Operation], shown: Sequence[Operation], end: Sequence[Operation]) -> None:
    there = {item for view in end for item in view.value}
    for one in kept:
        if one.value not in there:
            without = next(view for view in shown if view.invoked > one.ended and one.value not in view.value)
            _tell(found, "lost-element", one, end[-1], without, "put into", "and no view of the end shows it", lost=True)


def _back(found: Findings, takes: Sequence[Operation], shown: Sequence[Operation], end: Sequence[Operation]) -> None:
    everywhere = set(end[0].value).intersection(*(view.value for view in end))
    for one in takes:
        if one.value in everywhere:
            again = next(view for view in shown if view.invoked > one.ended and one.value in view.value)
            _tell(found, "came-back", one, end[-1], again, "taken out of", "and every view of the end shows it", lost=False)


def _tell(
    found: Findings, identifier: str, change: Operation, view: Operation, first: Operation, what: str, end: str, *, lost: bool
) -> None:
    sentence = f"item {change.value} was {what} cart {change.key} by {server_of(change)} at {clock(change.ended)}, {end}."
    moment = Moment(began=change.ended, seen=first.ended, lost=lost)
    found.add(identifier, change.key, moment, lambda: (sentence, (view, change)))
