"""Recovery: how long after a heal it took until every home was served again, steadily."""

from __future__ import annotations

import numpy as np

from checkers.availability import GOOD, PATIENCE, SECOND, Operations, after, operations, outages
from checkers.result import KINDS, Scenario
from checkers.verdict import Verdict
from harness.history.fault import Fault
from harness.history.recording import Recording


def recovery(recording: Recording, fault: Fault) -> tuple[float | None, str]:
    """Seconds from the proven heal to the moment from which on every home's reads and writes were served, and why that is
    unknown (None) if it is.

    Served: answered for the first time, no later outage of more than a second, and 99% of the later operations answered.
    It must be watched for a second at least before the next fault or the end of the load.
    """
    if fault.healed is None or fault.heal_wrong:
        return None, "the heal was not proven"
    span = after(recording, fault)
    if span is None or span[1] - span[0] < SECOND:
        return None, "less than a second was left after the heal"
    answered = recording.history.answered()
    latest = span[0]
    watched = False
    for node in recording.nodes:
        for kind in KINDS:
            ops = operations(recording.history, kind, (node,), answered)
            if not ((ops.invoked < span[1]) & (ops.completed > span[0])).any():
                continue
            watched = True
            since = _served_since(ops, span)
            if since is None or span[1] - since < SECOND:
                return None, f"{kind}s at {node} were not served steadily again within {(span[1] - span[0]) / SECOND:.1f} s"
            latest = max(latest, since)
    if not watched:
        return None, "nothing was tried after the heal"
    return (latest - span[0]) / SECOND, ""


def _served_since(ops: Operations, span: tuple[int, int]) -> int | None:
    """The moment in `span` from which on these operations were served, None where there is none."""
    long = [gap for gap in outages(ops.invoked, ops.completed, ops.answered, span) if gap.length > PATIENCE]
    if long and not long[-1].ended:
        return None
    earliest = long[-1].end if long else span[0]
    inside = (ops.invoked >= span[0]) & (ops.completed <= span[1])
    completed, good = ops.completed[inside], ops.answered[inside]
    order = np.argsort(completed, kind="stable")
    completed, good = completed[order], good[order]
    share = np.cumsum(good[::-1])[::-1] / np.arange(len(good), 0, -1)
    fit = np.flatnonzero(good & (share >= GOOD) & (completed >= earliest))
    return int(completed[fit[0]]) if len(fit) else None


def verdict(rows: tuple[Scenario, ...]) -> Verdict:
    """What the measured recoveries amount to: `unknown` where one is missing."""
    facts = {"seconds": {str(row.fault): row.recovery for row in rows}}
    for row in rows:
        if row.recovery is None:
            return Verdict(
                checker="recovery", validity="unknown", reason=f"fault {row.fault}: {row.recovery_reason}.", facts=facts
            )
    slowest = max((row.recovery or 0.0 for row in rows), default=0.0)
    reason = f"every home was served again within {slowest:.1f} s of each heal." if rows else "no fault happened."
    return Verdict(checker="recovery", validity="valid", reason=reason, facts=facts)
