"""Transactions: which isolation levels a history of transactions refutes, which hold, and the cycles that prove it."""

from __future__ import annotations

from collections.abc import Sequence

from splitbrain.checkers.transactions.lattice import Level
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History


def check(history: History, levels: Sequence[Level] = (), time_limit: float = 60.0) -> Verdict:
    """The verdict on the transactions of a history: valid where it satisfies `levels` (none: the strongest that speaks of what
    the history tells), with its standing to every other level. `time_limit` is in seconds."""
    # What it needs is loaded only where there are transactions.
    from splitbrain.checkers.transactions import checker

    return checker.check(history, levels, time_limit)
