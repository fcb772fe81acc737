"""Observations: what is seen of the order of time at once is so."""

from __future__ import annotations

import random
from collections import Counter

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.checkers.sessions.observations import in_time, observed
from splitbrain.harness.history.history import History
from tests.checkers.linearizability.random_histories import register_history


def test_what_no_order_of_time_explains_is_not_linearizable() -> None:
    seen: Counter[tuple[bool, str]] = Counter()
    for seed in range(400):
        history = register_history(random.Random(f"in time {seed}"), operations=8 + seed % 20, info=0.0, broken=0.7)
        told, _ = observed(history)
        seen[told.micros is None or in_time(told), check(history, CasRegister()).validity] += 1
    assert seen[False, "valid"] == 0
    assert min(seen[False, "invalid"], seen[True, "invalid"], seen[True, "valid"]) > 20, seen


def test_nothing_observed_is_in_time() -> None:
    history = register_history(random.Random(1), operations=8, info=0.0)
    told, _ = observed(history)
    assert in_time(told.select(told.process < 0))
    assert observed(History.of([]))[0].micros is None
