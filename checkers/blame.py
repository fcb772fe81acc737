"""Which fault caused an anomaly, told from the times of its operations."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.operation import Operation


def blame(faults: Sequence[Fault], operations: Iterable[Operation]) -> int | None:
    """The id of the first fault during which one of these operations was open; else of the last fault that had begun before
    the last of them; None where no fault had begun.

    The first one: what a later fault shows of an earlier one's damage (a write lost in the first and missed in the second)
    belongs to the earlier.
    """
    spans = [(op.invoked, op.completed) for op in operations]
    for fault in sorted(faults, key=lambda fault: fault.started):
        for invoked, completed in spans:
            if (fault.healed is None or invoked <= fault.healed) and (completed is None or completed >= fault.started):
                return fault.id
    last = max((invoked for invoked, _ in spans), default=0)
    begun = [fault for fault in faults if fault.started <= last]
    return max(begun, key=lambda fault: fault.started).id if begun else None
