"""Transactions: which isolation levels a history of transactions refutes, which hold, and the cycles that prove it."""

from __future__ import annotations

from collections.abc import Sequence

from splitbrain.checkers.transactions.lattice import LEVELS, Level
from splitbrain.checkers.transactions.spread import Spread
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.recording import Recording

TIME_LIMIT = 60.0
"""Seconds that a check may take, unless told otherwise."""


class Transactions:
    """Judges the transactions of a recording. `levels` are those that it must satisfy to be valid, and the only ones that
    registers are held against; none: those that the variant promises, and where it promises none the strongest that speaks of
    what the recording tells, and the recording is held against all. `spread` has parts of it judged elsewhere."""

    name = "transactions"

    def __init__(self, levels: Sequence[Level] = (), time_limit: float = TIME_LIMIT, spread: Spread | None = None) -> None:
        self.levels = tuple(levels)
        self.time_limit = time_limit
        self.spread = spread

    def check(self, recording: Recording) -> Verdict:
        """The verdict on the transactions of a recording."""
        levels = self.levels or _claimed(recording)
        return check(
            recording.history, levels, self.time_limit, final=_healed_reads(recording), spread=self.spread,
            alone=bool(self.levels),
        )


def _claimed(recording: Recording) -> tuple[Level, ...]:
    """The levels that the variant promises."""
    claimed = recording.variant.claim.promises if recording.variant is not None else ()
    return tuple(level for level in reversed(LEVELS) if level in claimed)


def _healed_reads(recording: Recording) -> int:
    """When the final reads began, where every fault was healed before; never, where they cannot prove that a write is gone."""
    healed = all(fault.healed is not None and not fault.heal_wrong for fault in recording.faults)
    return recording.final if healed else NEVER


def check(
    history: History, levels: Sequence[Level] = (), time_limit: float = TIME_LIMIT, *, final: int = NEVER,
    spread: Spread | None = None, alone: bool = False,
) -> Verdict:
    """The verdict on the transactions of a history, with its standing to every level; of registers, where `levels` are asked
    for `alone`, to these and what follows from them. `time_limit` is in seconds; from `final` on (nanoseconds) everything was
    healed, so that an acknowledged append that no read finds there is lost. `spread` has parts of it judged elsewhere."""
    # What it needs is loaded only where there are transactions.
    from splitbrain.checkers.transactions import checker

    return checker.check(history, levels, time_limit, final, spread, alone)
