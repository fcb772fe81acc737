"""A bank: money moves between accounts, and none is made or lost.

Transfers conserve the total, so every read of all accounts at one moment adds up to what was there in the beginning, whatever
transfers it saw. Where a transfer is refused that the source cannot cover, no balance is ever negative.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.structures.columns import Ints, check_functions, rows_of, sizes_of, values_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Coverage, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

_LARGE = 1 << 40
"""Balances from which on they are added as integers of any size."""

CONSERVED = "totals conserved"
COVERED = "accounts covered"


class BankChecker:
    """Judges `transfer` and `read` of the balance of every account, as a list or a map, where `total` is what all accounts held
    in the beginning. A read that adds up to something else is `wrong-total`, one with a balance below 0 `negative-balance`.

    Where nobody tells the total, it is what reads told that were over before the first transfer began, else what most reads
    tell: reads that differ cannot all be right.
    """

    name = "bank"

    def __init__(self, total: int | None = None) -> None:
        self.total = total

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, or a read that tells no list or map of integers."""
        history = recording.history
        check_functions(history, self.name, ("transfer", "read"))
        found = Findings(recording)
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        told = values_of(history, reads)
        balances = _balances(told)
        sizes = sizes_of(balances)
        asked = np.flatnonzero(sizes)
        flat = _numbers(list(chain.from_iterable(balances)))
        starts = (np.cumsum(sizes) - sizes)[asked]
        totals, least = np.zeros(len(reads), flat.dtype), np.zeros(len(reads), flat.dtype)
        if len(asked):
            totals[asked], least[asked] = np.add.reduceat(flat, starts), np.minimum.reduceat(flat, starts)
        total, known, note = (self.total, "where there are", "") if self.total is not None else _total(history, reads, totals)
        wrong, overdrawn = np.flatnonzero(totals != total), np.flatnonzero(least < 0)

        def tell(at: int, why: str) -> Told:
            read = history[int(reads[at])]
            when = clock(int(history.completed[reads[at]]))
            shown = told[at] if isinstance(told[at], dict) else list(told[at])
            return f"a read at {read.node or 'a client'} at {when} told {shown}{why}.", (read,)

        def tell_wrong(at: int) -> Told:
            sentence, read = tell(wrong[at], f": {totals[wrong[at]]} in all, {known} {total}")
            # What only other reads tell, one of them shows.
            others = [] if self.total is not None else [history[int(reads[np.argmax(totals == total)])]]
            return sentence, [*others, *read]

        def tell_overdrawn(at: int) -> Told:
            value, place = told[overdrawn[at]], next(n for n, one in enumerate(balances[overdrawn[at]]) if one < 0)
            account = list(value)[place] if isinstance(value, dict) else place
            return tell(overdrawn[at], f": account {account} is overdrawn")

        for name, rows, why in (
            ("wrong-total", reads[wrong], tell_wrong), ("negative-balance", reads[overdrawn], tell_overdrawn),
        ):
            found.add_rows(name, rows, why)
        models = {CONSERVED: ("wrong-total",), COVERED: ("negative-balance",)}
        return found.verdict(
            self.name, models, Coverage(keys=1, operations=len(history)), judged=len(reads), things="accounts", note=note,
        )


def _total(history: History, reads: Ints, totals: NDArray[Any]) -> tuple[int, str, str]:
    """What all accounts hold together as these reads tell it, how that is known, and what is to be said of it."""
    if not len(reads):
        return 0, "", ""
    transfers = history.invoked[rows_of(history, "transfer") & (history.outcome != FAIL)]
    early = totals[history.completed[reads] < transfers.min(initial=NEVER)].tolist()
    if len(set(early)) == 1:
        return early[0], "where a read before the first transfer told", ""
    [(most, _)] = Counter(totals.tolist()).most_common(1)
    return most, "where most reads tell", f"Nobody told the total: it is taken for {most} (--model bank:{most})."


def _balances(told: Sequence[Any]) -> list[Sequence[int]]:
    """The balances in what reads told. Raises `UsageError` where one told no integers."""
    balances = [tuple(value.values()) if type(value) is dict else value for value in told]
    if not {tuple}.issuperset(map(type, balances)) or not {int}.issuperset(map(type, chain.from_iterable(balances))):
        for value in balances:
            if not isinstance(value, (list, tuple)) or any(type(balance) is not int for balance in value):
                raise UsageError(f"the bank checker needs reads of balances, not {value!r}: choose another checker")
    return balances


def _numbers(balances: list[int]) -> NDArray[Any]:
    with suppress(OverflowError):
        small = np.fromiter(balances, np.int64, len(balances))
        if small.min(initial=0) > -_LARGE and small.max(initial=0) < _LARGE:
            return small
    return np.array(balances, object)
