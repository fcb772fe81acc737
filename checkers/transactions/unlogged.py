"""Transactions that no log has: what was read from them aborted, unless a whole log is missing, which nothing tells."""

from __future__ import annotations

import msgspec
import numpy as np

from splitbrain.checkers.verdict import Checker, Verdict
from splitbrain.harness.history.history import INFO
from splitbrain.harness.history.recording import Recording


class Unlogged:
    """The checker of logs in which aborted transactions are not told. Those known only by what was read from them have
    negative processes, and are told as `fail`: where a verdict rests on that, the reason says so."""

    def __init__(self, checker: Checker) -> None:
        self.name = checker.name
        self._checker = checker

    def check(self, recording: Recording) -> Verdict:
        """The verdict on a recording of such logs."""
        verdict, history = self._checker.check(recording), recording.history
        strangers = history.process < 0
        if verdict.validity != "invalid" or not strangers.any():
            return verdict
        other = history.select(np.ones(len(history), np.bool_))
        other.outcome = np.where(strangers, INFO, history.outcome)
        if self._checker.check(msgspec.structs.replace(recording, history=other)).validity == "invalid":
            return verdict
        reason = f"{verdict.reason.rstrip('.')} (if no log is missing: some of what was read is in none)."
        return msgspec.structs.replace(verdict, reason=reason)
