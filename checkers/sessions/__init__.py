"""Sessions: what a client may rely on who stays with his own session, weaker than linearizability: the four session guarantees
(Terry et al., "Session guarantees for weakly consistent replicated data", PDIS 1994), causal and sequential consistency."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from splitbrain.checkers.models.specifications import Nil
from splitbrain.checkers.sessions.models import GUARANTEES, MODELS, Model, models_of
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.recording import Recording

__all__ = ["GUARANTEES", "MODELS", "Model", "Sessions", "models_of"]

TIME_LIMIT = 20.0
"""Seconds of processor time that a check may take, unless told otherwise: on a busy machine it decides as much, and later."""


class Sessions:
    """Judges the registers of a recording by what sessions are promised. It is valid if `promised` holds (none: what the
    variant promises, else causal consistency), with all that it implies; only that is counted, the others stand beside it.
    `initial` is what registers began with, `nil` what a read of nil tells (`observed`).

    `alone`: nobody else judges what was read, so that a value that nobody wrote is counted here.
    """

    name = "sessions"

    def __init__(
        self, promised: Sequence[Model] = (), *, initial: Any = None, nil: Nil = "absent", alone: bool = True,
        time_limit: float = TIME_LIMIT,
    ) -> None:
        self.promised = tuple(promised)
        self.initial = initial
        self.nil: Nil = nil
        self.alone = alone
        self.time_limit = time_limit

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for a history of anything but registers."""
        # What it needs is loaded only where sessions are judged.
        from splitbrain.checkers.sessions import checker

        return checker.check(
            recording, self.promised, initial=self.initial, nil=self.nil, alone=self.alone, time_limit=self.time_limit
        )
