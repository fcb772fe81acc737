"""Convergence: whether replicas held the same after the last heal, by reads of each node's own copy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence

import msgspec

from splitbrain.checkers.measures.availability import SECOND, load_period
from splitbrain.checkers.result import Convergence
from splitbrain.checkers.verdict import Anomaly, Verdict
from splitbrain.harness.errors import ELSEWHERE
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.recording import LocalRead, Phase, Recording
from splitbrain.harness.history.values import canonical
from splitbrain.harness.plan import SETTLE

SHOWN = 5


def convergence(recording: Recording) -> Convergence:
    """Compare the nodes' own copies, key by key, in the last round in which a key was read.

    The settle phase reads every key once and goes on with those that differ. Time counts from the last heal: the replicas
    were compared beside the load from then on (`_agreed`), and what had not agreed there agrees in the settle phase at the
    latest; without a fault it counts from the end of the load. A key that some node did not answer for is
    unknown, and one known difference in the last round is `diverged`, or unknown where a server had died on its own or equal
    replicas were waited for less than `SETTLE`: they may only be slow. What was cut short, before every key was compared,
    agreed on nothing. Sets are compared without regard to order, queues with it.
    """
    ordered = "dequeue" in recording.history.fs
    how = recording.variant.local if recording.variant is not None else ""
    reads = [read for read in recording.local_reads if read.fault is None]
    if not reads:
        return Convergence(reason="no node-local reads were made", how=how)
    if any(fault.healed is None or fault.heal_wrong for fault in recording.faults):
        return Convergence(reason="a heal was not proven", how=how, rounds=len({read.round for read in reads}))
    latest = max(recording.faults, key=lambda fault: fault.healed or 0, default=None)
    if latest is not None and latest.healed is not None:
        healed = latest.healed
        reads = [read for read in reads if read.time >= healed]
        if not reads:
            return Convergence(reason="no node-local reads were made after the last heal", how=how)
    copies = _last_copies(reads)
    differing, unread = [], []
    for key, found in copies.items():
        held = {_content(read.value, ordered) for read in found.values() if read.error is None}
        if len(held) > 1:
            differing.append(key)
        elif not held or any(_missing(found, node) for node in recording.nodes):
            unread.append(key)
    period = load_period(recording)
    beside = [read for read in recording.local_reads if latest is not None and read.fault == latest.id]
    over = period[1] if period else 0
    # Where nobody looked beside the load, it is not known how long before its end they agreed.
    since = latest.healed if latest is not None and latest.healed is not None and beside else over
    spent = max(0, max(read.time for read in reads) - since) / SECOND
    after = "the heal" if beside else "the end of the load"
    known = Convergence(rounds=len({read.round for read in reads}), keys=len(copies), how=how)
    if differing:
        reason = f"{_of(len(differing), len(copies))} still differed between nodes {spent:.1f} s after {after}"
        shown = tuple(_told(key, copies[key], ordered) for key in differing[:SHOWN])
        doubt = _doubt(recording, max(read.time for read in reads))
        return msgspec.structs.replace(
            known, state="unknown" if doubt else "diverged", reason=reason + doubt, differing=shown
        )
    if unread:
        missing = sorted({node for key in unread for node in recording.nodes if _missing(copies[key], node)})
        why = next((read.error for key in unread for read in copies[key].values() if read.error), "not read")
        reason = f"{_of(len(unread), len(copies))} could not be compared: {', '.join(missing)} did not answer ({why})"
        return msgspec.structs.replace(known, state="unknown", reason=reason)
    if not any(_whole(recording.phase(name)) for name in ("settle", "final-reads")):
        were = f"all of the {len(copies):,} keys that were compared were"
        were = "the key that was compared was" if len(copies) == 1 else were
        reason = f"{were} equal, but the recording ended before that was done"
        return msgspec.structs.replace(known, state="unknown", reason=reason)
    seen = (_agreed(beside, ordered) if beside else None) or _agreed(reads, ordered)
    spent = spent if seen is None else max(0, seen - since) / SECOND
    were = "the key was" if len(copies) == 1 else f"all {len(copies):,} keys were"
    reason = f"{were} equal on {len(recording.nodes)} nodes {spent:.1f} s after {after}"
    return msgspec.structs.replace(known, state="agreed", reason=reason, seconds=spent if beside or latest is None else None)


def _of(some: int, every: int) -> str:
    """`2 of 40 keys`, `the key`."""
    return "the key" if every == 1 else f"{some:,} of {every:,} keys"


def _last_copies(reads: Sequence[LocalRead]) -> Mapping[Key, Mapping[str, LocalRead]]:
    """By key and node, the reads of the last round in which the key was read."""
    last: dict[Key, int] = {}
    for read in reads:
        last[read.key] = max(last.get(read.key, 0), read.round)
    copies: defaultdict[Key, dict[str, LocalRead]] = defaultdict(dict)
    for read in reads:
        if read.round == last[read.key]:
            copies[read.key][read.node] = read
    return copies


def _doubt(recording: Recording, until: int) -> str:
    """Why copies that differed `until` then may only be slow, as the end of a sentence; empty where they stay apart."""
    if not _whole(recording.phase("settle")):
        return ", when the recording ended"
    if dead := recording.dead(until):
        return f", but the server on {dead[0].node} had died on its own"
    if recording.plan is not None and recording.plan.settle < SETTLE:
        return f", which is too soon to tell slow replicas from those that stay apart: --settle {SETTLE:g}"
    return ""


def _whole(phase: Phase | None) -> bool:
    """Whether it went to its end: every key was compared in it."""
    return phase is not None and phase.ended is not None and not phase.problem


def _agreed(reads: Sequence[LocalRead], ordered: bool) -> int | None:
    """When every key had been seen equal on all nodes at one time; None where some key never was. Beside a load copies change,
    but written values are distinct: equal ones tell the same past."""
    rounds: defaultdict[tuple[int, Key], list[LocalRead]] = defaultdict(list)
    for read in reads:
        if read.error != ELSEWHERE:
            rounds[read.round, read.key].append(read)
    agreed: dict[Key, int] = {}
    for (_, key), found in sorted(rounds.items(), key=lambda item: item[0][0]):
        same = len({_content(read.value, ordered) for read in found}) == 1 and not any(read.error for read in found)
        if key not in agreed and same:
            agreed[key] = max(read.time for read in found)
    return max(agreed.values()) if {key for _, key in rounds} == set(agreed) and agreed else None


def _missing(found: Mapping[str, LocalRead], node: str) -> bool:
    """Whether this node should have told what it holds, and did not."""
    return node not in found or found[node].error not in (None, ELSEWHERE)


def _content(value: object, ordered: bool) -> Hashable:
    if isinstance(value, list | tuple):
        parts = [canonical(part) for part in value]
        return tuple(parts if ordered else sorted(parts, key=repr))
    return canonical(value)


def _held(value: object) -> object:
    """What a copy holds, also where a transaction of one read told it."""
    match value:
        case [["r", _, returned]]:
            return returned
    return value


def _told(key: Key, found: Mapping[str, LocalRead], ordered: bool) -> str:
    held_by = {node: _held(read.value) for node, read in found.items() if read.error is None}
    contents = {node: _content(value, ordered) for node, value in held_by.items()}
    if any(isinstance(content, tuple) for content in contents.values()):
        sizes = {node: set(content) if isinstance(content, tuple) else set() for node, content in contents.items()}
        everything = set().union(*sizes.values())
        parts = [f"{node} misses {len(everything - held)} of {len(everything)}" for node, held in sizes.items()]
        if all(held == everything for held in sizes.values()):
            parts = [f"all nodes hold the same {len(everything)}, not in one order or not as often"]
    else:
        parts = [f"{node} holds {'nothing' if value is None else value}" for node, value in held_by.items()]
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
