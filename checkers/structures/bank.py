"""A bank: money moves between accounts, and none is made or lost.

Transfers conserve the total, so every read of all accounts at one moment adds up to what was there in the beginning, whatever
transfers it saw. Where a transfer is refused that the source cannot cover, no balance is ever negative.
"""

from __future__ import annotations

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
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording

_LARGE = 1 << 40
"""Balances from which on they are added as integers of any size."""

CONSERVED = "totals conserved"
COVERED = "accounts covered"


class BankChecker:
    """Judges `transfer` (source, target, amount) and `read` (the balance of every account, in one order), where `total` is what
    all accounts held in the beginning. A read that adds up to something else is `wrong-total`, one with a balance below 0
    `negative-balance`."""

    name = "bank"

    def __init__(self, total: int) -> None:
        self.total = total

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, or a read that tells no list of integers."""
        history = recording.history
        check_functions(history, self.name, ("transfer", "read"))
        found = Findings(recording)
        reads = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        told = _balances(history, reads)
        sizes = sizes_of(told)
        asked = np.flatnonzero(sizes)
        flat = _numbers(list(chain.from_iterable(told)))
        starts = (np.cumsum(sizes) - sizes)[asked]
        totals, least = np.zeros(len(reads), flat.dtype), np.zeros(len(reads), flat.dtype)
        if len(asked):
            totals[asked], least[asked] = np.add.reduceat(flat, starts), np.minimum.reduceat(flat, starts)
        wrong, overdrawn = np.flatnonzero(totals != self.total), np.flatnonzero(least < 0)

        def tell(at: int, why: str) -> Told:
            read = history[int(reads[at])]
            when = clock(int(history.completed[reads[at]]))
            return f"a read at {read.node or 'a client'} at {when} told {list(told[at])}{why}.", (read,)

        def tell_wrong(at: int) -> Told:
            return tell(wrong[at], f": {totals[wrong[at]]} in all, where there are {self.total}")

        def tell_overdrawn(at: int) -> Told:
            account = next(place for place, balance in enumerate(told[overdrawn[at]]) if balance < 0)
            return tell(overdrawn[at], f": account {account} is overdrawn")

        for name, rows, why in (
            ("wrong-total", reads[wrong], tell_wrong), ("negative-balance", reads[overdrawn], tell_overdrawn),
        ):
            found.add_all(name, history.invoked[rows], history.completed[rows], why)
        models = {CONSERVED: ("wrong-total",), COVERED: ("negative-balance",)}
        return found.verdict(
            self.name, models, Coverage(keys=1, operations=len(history)), judged=len(reads), things="accounts"
        )


def _balances(history: History, reads: Ints) -> list[Sequence[int]]:
    """What these reads told. Raises `UsageError` where one told no list of integers."""
    told = values_of(history, reads)
    if not set(map(type, told)) <= {tuple} or not set(map(type, chain.from_iterable(told))) <= {int}:
        for balances in told:
            if not isinstance(balances, (list, tuple)) or any(type(balance) is not int for balance in balances):
                raise UsageError(f"the bank checker needs reads of balances, not {balances!r}: choose another checker")
    return told


def _numbers(balances: list[int]) -> NDArray[Any]:
    with suppress(OverflowError):
        small = np.fromiter(balances, np.int64, len(balances))
        if small.min(initial=0) > -_LARGE and small.max(initial=0) < _LARGE:
            return small
    return np.array(balances, object)
