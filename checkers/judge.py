"""The judgement of a run: every checker on one recording, and one result."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import msgspec
import numpy as np

from splitbrain.checkers.assessment import claim, label, recommendations
from splitbrain.checkers.blame import blame
from splitbrain.checkers.classify import READS_ONLY, classify
from splitbrain.checkers.expectations import meets
from splitbrain.checkers.measures import availability, convergence, quality, recovery
from splitbrain.checkers.measures.merges import merge
from splitbrain.checkers.measures.availability import SECOND
from splitbrain.checkers.measures.slices import sliced
from splitbrain.checkers.measures.standstill import awake
from splitbrain.checkers.measures.staleness import staleness
from splitbrain.checkers.result import (
    Blast,
    Consistency,
    Convergence,
    Measure,
    Quality,
    Result,
    Scenario,
    Staleness,
    Totals,
)
from splitbrain.checkers.verdict import ANOMALIES, Anomaly, Checker, Validity, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, OK
from splitbrain.harness.history.recording import Recording

T = TypeVar("T")


def judge(recording: Recording, checkers: Sequence[Checker]) -> Result:
    """Judge a recording by `checkers` (the workload's) and by what judges every run.

    Invalid: some checker found an anomaly. Unknown: none did, and one of the workload's checkers is unknown, or a grave
    question of the test's quality was answered with no. A checker that throws is unknown and says what it threw, but for a
    `UsageError` about a history that another program recorded.
    """
    own = [_blamed(_run(checker, recording), recording) for checker in checkers]
    calm = awake(recording)
    unmeasured: tuple[Measure, ...] = ()
    rowless: tuple[Scenario, ...] = ()
    before, failed_before = _guarded("availability", lambda: availability.baseline(calm), unmeasured)
    rows, failed_rows = _guarded("availability", lambda: _dated(recording, availability.scenarios(calm)), rowless)
    healed, failed_healed = _guarded("recovery", lambda: _recovered(recording, calm, rows), rows)
    equal, failed_equal = _guarded("convergence", lambda: convergence.convergence(calm), Convergence())
    good, failed_good = _guarded("quality", lambda: quality.quality(recording, before, healed), Quality())
    consistent, failed_consistent = _guarded("consistency", lambda: _consistent(recording, checkers, own, healed), healed)
    usual = [
        failed_before or failed_rows or availability.verdict(before, rows),
        failed_healed or failed_consistent or recovery.verdict(healed),
        failed_equal or convergence.verdict(equal),
        failed_good or quality.verdict(good),
    ] if recording.plan is not None else []
    verdicts = [*own, *usual]
    counts = _counted(verdicts)
    validity = _validity(own, usual)
    held = _held(own)
    lost = sum(_lost(verdict) for verdict in own)
    known = classify(consistent, before, equal, nodes=len(recording.nodes), lost=lost)
    exercised = _exercised(recording, consistent)
    heading, reason = _headline(validity, own, usual, recording)
    variant = recording.variant
    result = Result(
        started=recording.started,
        plan=recording.plan,
        variant=variant,
        versions=recording.versions,
        facts=recording.facts,
        nodes=recording.nodes,
        torn=recording.torn,
        interrupted=recording.interrupted,
        validity=validity,
        heading=heading,
        reason=reason,
        exercised=exercised,
        totals=_totals(recording),
        verdicts=tuple(verdicts),
        anomalies=_ordered(verdicts),
        counts=counts,
        consistency=held,
        baseline=before,
        scenarios=known.rows,
        convergence=equal,
        quality=good,
        classification=known.classification,
        sentence=known.sentence,
        classes=known.classes,
        sacrifices=known.sacrifices,
        blast=_blast(recording, known.rows, equal, own, lost),
        claim=claim(variant.claim, counts, known.rows, held, equal, validity) if variant else None,
        labels=tuple(label(given, known.classification, held) for given in variant.labels) if variant else (),
        recommendations=recommendations(counts, known.classification, known.rows) if recording.plan is not None else (),
        limits=tuple(f"{verdict.checker}: {limit}" for verdict in verdicts for limit in verdict.limits),
    )
    expect = recording.plan.expect if recording.plan is not None else ()
    met = tuple(meets(text, result) for text in expect)
    return msgspec.structs.replace(result, expectations=met, exit_code=_exit_code(result, [one.met for one in met]))


def _exit_code(result: Result, met: Sequence[bool]) -> int:
    if result.interrupted:
        return 130
    if met:
        return 0 if all(met) else 4
    return {"valid": 0, "invalid": 1, "unknown": 2}[result.validity]


def _run(checker: Checker, recording: Recording) -> Verdict:
    began = time.perf_counter()
    try:
        found = checker.check(recording)
    except UsageError as error:
        if recording.plan is None:
            raise
        found = _thrown(checker.name, error)
    except Exception as error:
        found = _thrown(checker.name, error)
    return msgspec.structs.replace(found, seconds=time.perf_counter() - began)


def _guarded(name: str, work: Callable[[], T], instead: T) -> tuple[T, Verdict | None]:
    try:
        return work(), None
    except Exception as error:
        return instead, _thrown(name, error)


def _thrown(name: str, error: Exception) -> Verdict:
    return Verdict(checker=name, validity="unknown", reason=f"the checker failed: {type(error).__name__}: {error}")


def _dated(recording: Recording, rows: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
    """The rows with the moments of their faults as they were, also where the harness stood still in between."""
    return tuple(
        msgspec.structs.replace(
            row,
            **{name: None if (time := getattr(fault, name)) is None else time / SECOND for name in fault.MOMENTS},
            stood_still=0.0 if (span := availability.window(recording, fault)) is None
            else recording.stalled(*span) / SECOND,
        )
        for fault, row in zip(recording.faults, rows, strict=True)
    )


def _recovered(recording: Recording, calm: Recording, rows: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
    found = []
    for fault, timed, row in zip(recording.faults, calm.faults, rows, strict=True):
        seconds, reason = recovery.recovery(calm, timed)
        served = recovery.served_after(calm, timed)
        merged = merge(recording, fault)
        found.append(
            msgspec.structs.replace(row, recovery=seconds, recovery_reason=reason, served_after=served, merge=merged)
        )
    return tuple(found)


def _held(own: Sequence[Verdict]) -> Consistency:
    """Linearizability over the whole run: what judges the workload decides it completely."""
    if any(verdict.validity == "invalid" for verdict in own):
        return "refuted"
    return "held" if own and all(verdict.validity == "valid" for verdict in own) else "undecided"


def _consistent(
    recording: Recording, checkers: Sequence[Checker], own: Sequence[Verdict], rows: tuple[Scenario, ...]
) -> tuple[Scenario, ...]:
    """The rows with their consistency: an anomaly belongs to the fault that caused it, and a fault without one holds only if
    its part of the history was judged apart or the whole is valid."""
    whole = _held(own)
    if whole != "refuted":
        return tuple(msgspec.structs.replace(row, consistency=whole) for row in rows)
    found = []
    for fault, row in zip(recording.faults, rows, strict=True):
        counts: Counter[str] = Counter()
        held: Consistency = "held"
        for checker, verdict in zip(checkers, own, strict=True):
            caused, decided = _caused(recording, checker, verdict, fault.id)
            counts |= caused
            if not decided:
                held = "undecided"
        found.append(
            msgspec.structs.replace(row, anomalies=dict(counts), consistency="refuted" if counts.total() else held)
        )
    return tuple(found)


def _caused(recording: Recording, checker: Checker, verdict: Verdict, fault: int) -> tuple[Counter[str], bool]:
    """The anomalies that a fault caused (if one that is shown refutes everything, only those that are shown), and whether it
    is known that there is nothing worse."""
    if verdict.validity != "invalid":
        return Counter(), verdict.validity == "valid"
    if "faults" in verdict.facts:
        return Counter(verdict.facts["faults"].get(str(fault), {})), True
    blamed = Counter(anomaly.identifier for anomaly in verdict.anomalies if anomaly.fault == fault)
    if not READS_ONLY.issuperset(blamed):
        return blamed, True
    part = sliced(recording, next(one for one in recording.faults if one.id == fault))
    if part is None:
        return blamed, False
    apart = _run(checker, part)
    return blamed | Counter(apart.counts), apart.validity != "unknown"


def _blamed(verdict: Verdict, recording: Recording) -> Verdict:
    """The verdict with the fault of every anomaly that its checker left open."""
    def told(anomaly: Anomaly) -> Anomaly:
        if anomaly.fault is not None or not anomaly.operations:
            return anomaly
        return msgspec.structs.replace(anomaly, fault=blame(recording.faults, anomaly.operations))

    return msgspec.structs.replace(verdict, anomalies=tuple(told(anomaly) for anomaly in verdict.anomalies))


def _counted(verdicts: Sequence[Verdict]) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for verdict in verdicts:
        counts.update(verdict.counts)
        shown = Counter(anomaly.identifier for anomaly in verdict.anomalies)
        counts.update(shown - Counter(verdict.counts))
    order = {name: at for at, name in enumerate(ANOMALIES)}
    return dict(sorted(((name, n) for name, n in counts.items() if n), key=lambda item: order.get(item[0], len(order))))


def _ordered(verdicts: Sequence[Verdict]) -> tuple[Anomaly, ...]:
    """All anomalies: those of lost data first, then those of the checkers' first kind; of a kind, those that a fault caused
    first, then in each checker's own order."""
    anomalies = [anomaly for verdict in verdicts for anomaly in verdict.anomalies]
    kinds = {name: at for at, name in enumerate(dict.fromkeys(anomaly.identifier for anomaly in anomalies))}

    def place(anomaly: Anomaly) -> tuple[bool, int, bool]:
        name = anomaly.identifier
        return name not in ("lost-write", "lost-element"), kinds[name], anomaly.fault is None

    return tuple(sorted(anomalies, key=place))


def _validity(own: Sequence[Verdict], usual: Sequence[Verdict]) -> Validity:
    if any(verdict.validity == "invalid" for verdict in (*own, *usual)):
        return "invalid"
    grave = [*own, *(verdict for verdict in usual if verdict.checker in ("availability", "quality"))]
    return "valid" if own and all(verdict.validity == "valid" for verdict in grave) else "unknown"


def _headline(
    validity: Validity, own: Sequence[Verdict], usual: Sequence[Verdict], recording: Recording
) -> tuple[str, str]:
    """The heading and the sentence after it."""
    partial = ""
    if recording.interrupted:
        partial = " (The run was interrupted; this is what it showed until then.)"
    elif recording.torn:
        partial = " (The journal ends in the middle of the run; this is what it showed until then.)"
    if validity == "valid":
        fine = [verdict.checker for verdict in (*own, *usual) if verdict.validity == "valid"]
        return "NO ANOMALY FOUND", f"by {', '.join(fine)}." + partial
    if validity == "unknown":
        if not own:
            return "UNKNOWN", "no checker judged the history." + partial
        tested_first = sorted(usual, key=lambda verdict: verdict.checker != "quality")
        why = next(verdict.reason for verdict in (*own, *tested_first) if verdict.validity == "unknown")
        return "UNKNOWN", why + partial
    refuted = [verdict for verdict in own if verdict.validity == "invalid"]
    if refuted:
        return "NOT LINEARIZABLE", refuted[0].reason + partial
    return "DIVERGED", next(verdict.reason for verdict in usual if verdict.validity == "invalid") + partial


def _exercised(recording: Recording, rows: Sequence[Scenario]) -> str:
    """What the run did, so that its verdict can be weighed."""
    totals = _totals(recording)
    keys = f"{totals.keys:,} {'key' if totals.keys == 1 else 'keys'}"
    text = f"{totals.operations:,} operations on {keys}, {totals.ok:,} of them ok"
    if recording.plan is None:
        return text + "."
    proven = sum(row.bit for row in rows)
    names = dict.fromkeys(row.name for row in rows)
    text += f"; {proven} of {len(rows)} faults proven ({', '.join(names)})" if rows else "; no fault"
    return text + "."


def _totals(recording: Recording) -> Totals:
    history = recording.history
    outcome = history.outcome
    return Totals(
        operations=len(history), ok=int((outcome == OK).sum()), fail=int((outcome == FAIL).sum()),
        info=int((outcome == INFO).sum()), keys=len(np.unique(history.key)),
    )


def _lost(verdict: Verdict) -> int:
    """Acknowledged writes that a checker proved to be lost."""
    number = verdict.facts.get("lost_writes")
    return number if isinstance(number, int) else verdict.counts.get("lost-write", 0)


def _blast(
    recording: Recording, rows: Sequence[Scenario], equal: Convergence, own: Sequence[Verdict], lost: int
) -> Blast:
    history = recording.history
    unknown: list[Staleness | None] = []
    late, _ = _guarded("staleness", lambda: [_staleness(verdict, recording) for verdict in own], unknown)
    written = history.outcome == OK
    if "read" in history.fs:
        written &= history.f != history.fs.index("read")
    clear = [row for row in rows if not row.dead]
    return Blast(
        clients_blocked=_worst(row.clients_blocked for row in clear),
        without_primary=_worst(side.without_primary for row in clear for side in row.sides if side.quorum),
        recovery=None if any(row.recovery is None for row in rows) else _worst(row.recovery for row in rows),
        lost=lost,
        acknowledged=int(written.sum()),
        given_up=sum(merges) if (merges := [row.merge.given_up for row in rows if row.merge]) else None,
        staleness=next((found for found in late if found is not None), None),
        convergence=equal.seconds,
    )


def _worst(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _staleness(verdict: Verdict, recording: Recording) -> Staleness | None:
    """As the checker measured it; of registers measured here, where no write was lost (that would look the same)."""
    late = verdict.facts.get("staleness_ms")
    reads, stale = verdict.facts.get("reads", 0), verdict.facts.get("stale_reads", 0)
    if isinstance(late, dict) and reads and stale:
        return Staleness(
            stale=stale, reads=reads, share=stale / reads, median_ms=late["median"], p99_ms=late["p99"], max_ms=late["max"]
        )
    if set(verdict.counts) & {"stale-read", "non-monotonic-read"} and not set(verdict.counts) & {"lost-write", "split-brain"}:
        return staleness(recording.history)
    return None
