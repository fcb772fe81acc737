"""A bank: money moves between accounts, and none is made or lost.

Transfers conserve the total, so every read of all accounts at one moment adds up to what was there in the beginning, whatever
transfers it saw. Where a transfer is refused that the source cannot cover, no balance is ever negative.
"""

from __future__ import annotations

from functools import partial

import numpy as np

from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording

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
        unknown = sorted({history.fs[code] for code in np.unique(history.f).tolist()} - {"transfer", "read"})
        if unknown:
            raise UsageError(
                f"the bank checker has no operation {unknown[0]!r}, only transfer and read: choose another checker"
            )
        found = Findings(recording)
        reads = [row for row in np.flatnonzero(history.outcome == OK).tolist() if history.fs[history.f[row]] == "read"]
        for row in reads:
            balances = history.values[row]
            if not isinstance(balances, (list, tuple)) or any(type(balance) is not int for balance in balances):
                raise UsageError(f"the bank checker needs reads of balances, not {balances!r}: choose another checker")
            read = history[row]
            moment = Moment(began=read.invoked, seen=int(history.completed[row]))
            told = f"a read at {read.node or 'a client'} at {clock(moment.seen)} told {list(balances)}"
            if sum(balances) != self.total:
                sentence = f"{told}: {sum(balances)} in all, where there are {self.total}."
                found.add("wrong-total", moment, sentence, partial(_alone, read))
            if any(balance < 0 for balance in balances):
                account = next(at for at, balance in enumerate(balances) if balance < 0)
                found.add("negative-balance", moment, f"{told}: account {account} is overdrawn.", partial(_alone, read))
        models = {CONSERVED: ("wrong-total",), COVERED: ("negative-balance",)}
        return found.verdict(
            self.name, models, Coverage(keys=1, operations=len(history)), judged=len(reads), things="accounts"
        )


def _alone(read: Operation) -> list[Operation]:
    return [read]
