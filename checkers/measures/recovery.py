"""Recovery: how long after a heal it took until every home was served again, steadily."""

from __future__ import annotations

import numpy as np

from splitbrain.checkers.measures.availability import (
    GOOD,
    PATIENCE,
    SECOND,
    Operations,
    after,
    baseline_window,
    measure,
    operations,
    outages,
    settled,
    wilson,
)
from splitbrain.checkers.result import Scenario
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.operation import KINDS, Kind
from splitbrain.harness.history.recording import Recording


def recovery(recording: Recording, fault: Fault) -> tuple[float | None, str]:
    """Seconds from the proven heal to the moment from which on every home's reads and writes were served, and why that is
    unknown (None) if it is.

    Served: answered, no later outage of more than a second, and of the later operations so many answered that 99% cannot be
    excluded. It must be watched for a second at least before the next fault or the end of the load.
    """
    if fault.healed is None or fault.heal_wrong:
        return None, "the heal was not proven"
    if settled(recording, fault) is None:
        return None, "the heal of another fault that was in force together with it was not proven"
    span = after(recording, fault)
    if span is None:
        return None, "no load was left after the heal"
    if span[1] - span[0] < SECOND:
        return None, "less than a second was left after the heal"
    if dead := recording.dead(span[1]):
        return None, f"the server on {dead[0].node} had died on its own"
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
    long = outages(ops.invoked, ops.completed, ops.answered, span, longer_than=PATIENCE)
    earliest = long[-1].end if long else span[0]
    inside = (ops.invoked >= span[0]) & (ops.completed <= span[1])
    completed, good = ops.completed[inside], ops.answered[inside]
    order = np.argsort(completed, kind="stable")
    completed, good = completed[order], good[order]
    later = np.cumsum(good[::-1])[::-1]
    for at in np.flatnonzero(good & (completed >= earliest)).tolist():
        if wilson(int(later[at]), len(good) - at)[1] >= GOOD:
            return int(completed[at])
    return None


def served_after(recording: Recording, fault: Fault) -> bool:
    """Whether in the second half of the time after the heal every home had more than half of its reads and of its writes
    answered: less than recovery asks, and enough to say that the cluster served again. Of a home that tried none then, for few
    calls are made, all the time after the heal counts. A kind of call that nobody ever made is not asked for."""
    span = after(recording, fault)
    if span is None or fault.heal_wrong:
        return False
    answered = recording.history.answered()
    half = (span[0] + (span[1] - span[0]) // 2, span[1])
    made = [kind for kind in KINDS if (operations(recording.history, kind, None, answered).invoked < span[1]).any()]
    for node in recording.nodes:
        for kind in made:
            ops = operations(recording.history, kind, (node,), answered)
            found = measure(ops, kind, half)
            if not found.attempted and found.outage <= found.outage_limit:
                found = measure(ops, kind, span)
            if found.answered * 2 <= found.attempted:
                return False
    return bool(made)


def shut_before(recording: Recording) -> dict[Kind, tuple[str, ...]]:
    """The homes that had less than half of their reads, or writes, answered in the second half of the time before the first
    fault: a home that was not served then was not cut off from service by a fault."""
    span = baseline_window(recording)
    if span is None:
        return {}
    answered = recording.history.answered()
    half = (span[0] + (span[1] - span[0]) // 2, span[1])
    found: dict[Kind, list[str]] = {kind: [] for kind in KINDS}
    for node in recording.nodes:
        for kind in KINDS:
            ops = measure(operations(recording.history, kind, (node,), answered), kind, half)
            if ops.answered * 2 < ops.attempted or (not ops.attempted and ops.outage > ops.outage_limit):
                found[kind].append(node)
    return {kind: tuple(nodes) for kind, nodes in found.items() if nodes}


def verdict(rows: tuple[Scenario, ...]) -> Verdict:
    """What the measured recoveries amount to: `unknown` where one is missing."""
    for row in rows:
        if row.recovery is None:
            return Verdict(
                checker="recovery", validity="unknown", reason=f"fault {row.fault}: {row.recovery_reason}."
            )
    slowest = max((row.recovery or 0.0 for row in rows), default=0.0)
    heal = "the heal" if len(rows) == 1 else "each heal"
    reason = f"every home was served again within {slowest:.3f} s of {heal}." if rows else "no fault happened."
    return Verdict(checker="recovery", validity="valid", reason=reason)
