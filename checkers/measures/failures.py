"""What calls failed of, and what the servers said of it."""

from __future__ import annotations

from collections import Counter

import numpy as np

from splitbrain.checkers.result import Failure
from splitbrain.harness.history.history import FAIL, OK, OUTCOMES, History


def failures(history: History) -> tuple[Failure, ...]:
    """The reasons of the calls that the database did not decide, the commonest first, each with how often it came and the text
    that the servers gave most often with it."""
    rows = np.flatnonzero(~history.answered() & (history.outcome != OK) & (history.error >= 0))
    pairs = Counter(zip(history.outcome[rows].tolist(), history.error[rows].tolist(), strict=True))
    said: dict[tuple[int, int], Counter[str]] = {pair: Counter() for pair in pairs}
    for row, text in history.details.items():
        pair = int(history.outcome[row]), int(history.error[row])
        if pair in said:
            said[pair][text] += 1
    found = [
        Failure(outcome="fail" if outcome == FAIL else "info", reason=history.errors[error], times=times,
                detail=next((text for text, _ in said[outcome, error].most_common(1)), ""), details=len(said[outcome, error]))
        for (outcome, error), times in pairs.items()
    ]
    return tuple(sorted(found, key=lambda one: (-one.times, OUTCOMES.index(one.outcome), one.reason)))
