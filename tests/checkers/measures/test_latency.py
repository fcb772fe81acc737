"""Latency by part of the run, and the alerts that would have fired: against a plain count."""

from __future__ import annotations

import numpy as np
import pytest

from splitbrain.checkers.measures.latency import alerts, latencies
from splitbrain.checkers.verdict import Staleness
from splitbrain.harness.history.operation import KINDS
from tests.checkers.scenes import during, fault, recording


def test_every_part_is_that_of_a_plain_count() -> None:
    made = recording(during(5, 9, ("n1",), "silent"), [fault(1, 5, 9)], length=16.0)
    found = {(row.period, row.kind): row for row in latencies(made)}
    began, over, healed = made.faults[0].in_force or 0, made.faults[0].heal_began or 0, made.faults[0].healed or 0
    ending = made.phase("final-reads")
    final = 1 << 62 if ending is None else ending.began
    parts = {"before the faults": (0, made.faults[0].started), "during the faults": (began, over),
             "after the last heal": (healed, final)}
    for period, (since, until) in parts.items():
        for kind in KINDS:
            took = [
                ((op.completed or 0) - op.invoked) / 1e6 for op in made.history
                if op.answered and (op.f == "read") == (kind == "read") and since <= op.invoked < until
            ]
            assert found[period, kind].answered == len(took)
            assert found[period, kind].p99_ms == pytest.approx(float(np.quantile(took, 0.99)))
            assert found[period, kind].max_ms == pytest.approx(max(took))


def test_alerts_fire_where_their_condition_held_for_long_enough() -> None:
    def told(length: float) -> dict[str, bool]:
        everywhere = during(5, 5 + length, ("n1", "n2", "n3", "n4", "n5"), "refused")
        made = recording(everywhere, [fault(1, 5, 5 + length)], length=length + 12)
        return {alert.name: alert.fired for alert in alerts(made, (), None)}

    quorum = "no write answered anywhere for 10 s (no quorum)"
    assert not told(6)[quorum] and told(14)[quorum]
    assert told(6)["more than 5% of writes rejected"]
    calm = recording(during(5, 5, (), "refused"), [fault(1, 5, 9)], length=16.0)
    assert not any(alert.fired for alert in alerts(calm, (), None))


def test_old_reads_alert_from_a_minute_on_and_without_a_fault_there_is_nothing_to_alert_of() -> None:
    made = recording(during(5, 5, (), "refused"), [fault(1, 5, 9)], length=16.0)

    def fired(age: float) -> bool:
        stale = Staleness(stale=1, reads=10, share=0.1, median_ms=age, p99_ms=age, max_ms=age)
        return next(alert.fired for alert in alerts(made, (), stale) if "behind" in alert.name)

    assert fired(60_001) and not fired(59_999)
    assert alerts(recording(during(5, 5, (), "refused"), [], length=3.0), (), None) == ()
    assert {row.period for row in latencies(recording(during(5, 5, (), "refused"), [], length=3.0))} == {"all of it"}
