"""No write of a real run is accused wrongly: what is called lost is never found again, and was not taken up where it was."""

from __future__ import annotations

from typing import Any
from unittest import mock

from splitbrain.checkers.linearizability import Linearizability
from splitbrain.checkers.linearizability import engine as engine_module
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording


def slandered(recording: Recording) -> list[str]:
    """Every accused write, shown or not, that the run found again after a later heal, or that a compare-and-set of the
    register's last value came of; in words, empty where nobody is accused wrongly."""
    with mock.patch.object(engine_module, "SHOWN", 1 << 30):
        verdict = Linearizability(CasRegister()).check(recording)
    accused = {
        (anomaly.key, _set(anomaly.operations[anomaly.accused])): anomaly
        for anomaly in verdict.anomalies if anomaly.identifier == "lost-write" and anomaly.accused is not None
    }
    heals = sorted(fault.healed for fault in recording.faults if fault.healed is not None)
    came_of: dict[tuple[Any, Any], Any] = {}
    last: dict[Any, Any] = {}
    found: dict[tuple[Any, Any], Operation] = {}
    for op in recording.history:
        if op.outcome == "ok" and op.f == "read":
            last[op.key] = op.value
            found[op.key, op.value] = op
        elif op.outcome == "ok" and op.f == "cas":
            came_of[op.key, op.value[1]] = op.value[0]
    survivors = set()
    for key, value in last.items():
        while value is not None and (key, value) not in survivors:
            survivors.add((key, value))
            value = came_of.get((key, value))
    wrong = []
    for name, anomaly in accused.items():
        assert anomaly.accused is not None and anomaly.moment is not None
        write = anomaly.operations[anomaly.accused]
        assert write.completed is not None
        healed = next((heal for heal in heals if heal > write.completed), None)
        later = found.get(name)
        if name in survivors:
            wrong.append(f"{anomaly.sentence}: the last value came of it")
        elif later is not None and healed is not None and later.invoked > max(healed, anomaly.moment.seen):
            wrong.append(f"{anomaly.sentence}: found again by {later}")
    return wrong


def _set(op: Operation) -> Any:
    return op.value[1] if op.f == "cas" else op.value
