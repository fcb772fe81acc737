"""Convergence: whether replicas held the same after the last heal, by reads of each node's own copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping

import msgspec

from splitbrain.checkers.measures.availability import SECOND, load_period
from splitbrain.checkers.models.specifications import canonical
from splitbrain.checkers.result import Convergence
from splitbrain.checkers.verdict import Anomaly, Verdict
from splitbrain.harness.errors import ELSEWHERE
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.recording import LocalRead, Recording

SHOWN = 5


def convergence(recording: Recording) -> Convergence:
    """Compare the nodes' own copies, key by key, in the last round in which a key was read.

    The settle phase reads every key once and goes on with those that differ. Time counts from the last heal or the end of
    the load, whichever is later, since until then writes are under way. A key that some node did not answer for is
    unknown, and one known difference in the last round is `diverged`, or unknown where a server had died on its own. Sets are
    compared without regard to order.
    """
    how = recording.variant.local if recording.variant is not None else ""
    reads = recording.local_reads
    if not reads:
        return Convergence(reason="no node-local reads were made", how=how)
    if any(fault.healed is None or fault.heal_wrong for fault in recording.faults):
        return Convergence(reason="a heal was not proven", how=how, rounds=1 + max(read.round for read in reads))
    last: dict[Key, int] = {}
    for read in reads:
        last[read.key] = max(last.get(read.key, 0), read.round)
    copies: defaultdict[Key, dict[str, LocalRead]] = defaultdict(dict)
    for read in reads:
        if read.round == last[read.key]:
            copies[read.key][read.node] = read
    differing, unread = [], []
    for key, found in copies.items():
        held = {_content(read.value) for read in found.values() if read.error is None}
        if len(held) > 1:
            differing.append(key)
        elif not held or any(_missing(found, node) for node in recording.nodes):
            unread.append(key)
    period = load_period(recording)
    healed = max([period[1] if period else 0, *(fault.healed or 0 for fault in recording.faults)])
    agreed = max(read.time for read in reads)
    spent = max(0, agreed - healed) / SECOND
    known = Convergence(rounds=1 + max(last.values()), keys=len(copies), how=how)
    if differing:
        reason = f"{len(differing)} of {len(copies)} keys still differed between nodes after {spent:.1f} s"
        shown = tuple(_told(key, copies[key]) for key in differing[:SHOWN])
        settle = recording.phase("settle")
        if settle is None or settle.ended is None or settle.problem:
            reason += ", when the recording ended"
            return msgspec.structs.replace(known, state="unknown", reason=reason, differing=shown)
        if dead := recording.dead(agreed):
            reason += f", but the server on {dead[0].node} had died on its own"
            return msgspec.structs.replace(known, state="unknown", reason=reason, differing=shown)
        return msgspec.structs.replace(known, state="diverged", reason=reason, differing=shown)
    if unread:
        missing = sorted({node for key in unread for node in recording.nodes if _missing(copies[key], node)})
        why = next((read.error for key in unread for read in copies[key].values() if read.error), "not read")
        reason = f"{len(unread)} of {len(copies)} keys could not be compared: {', '.join(missing)} did not answer ({why})"
        return msgspec.structs.replace(known, state="unknown", reason=reason)
    reason = f"all {len(copies)} keys were equal on {len(recording.nodes)} nodes after {spent:.1f} s"
    return msgspec.structs.replace(known, state="agreed", reason=reason, seconds=spent)


def _missing(found: Mapping[str, LocalRead], node: str) -> bool:
    """Whether this node should have told what it holds, and did not."""
    return node not in found or found[node].error not in (None, ELSEWHERE)


def _content(value: object) -> Hashable:
    if isinstance(value, list | tuple):
        return tuple(sorted((canonical(part) for part in value), key=repr))
    return canonical(value)


def _told(key: Key, found: Mapping[str, LocalRead]) -> str:
    contents = {node: _content(read.value) for node, read in found.items() if read.error is None}
    if any(isinstance(content, tuple) for content in contents.values()):
        sizes = {node: set(content) if isinstance(content, tuple) else set() for node, content in contents.items()}
        everything = set().union(*sizes.values())
        parts = [f"{node} misses {len(everything - held)} of {len(everything)}" for node, held in sizes.items()]
    else:
        parts = [f"{node} holds {'nothing' if read.value is None else read.value}"
                 for node, read in found.items() if read.error is None]
    return f"key {key}: " + ", ".join(parts)


def verdict(found: Convergence) -> Verdict:
    """Invalid (`diverged`) where replicas never agreed, unknown where they could not be compared."""
    if found.state == "diverged":
        anomaly = Anomaly(identifier="diverged", sentence=f"{found.reason}: {found.differing[0]}.")
        return Verdict(
            checker="convergence", validity="invalid", reason=f"{found.reason}.", anomalies=(anomaly,), counts={"diverged": 1}
        )
    return Verdict(
        checker="convergence", validity="valid" if found.state == "agreed" else "unknown", reason=f"{found.reason}."
    )
