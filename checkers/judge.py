"""The judgement of a run: every checker on one recording, and one result."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.anomalies import ANOMALIES, generalises, in_order, place, refutes_reads_only
from splitbrain.checkers.assessment import claim, label, recommendations
from splitbrain.checkers.attribution import attribute
from splitbrain.checkers.classify import classify
from splitbrain.checkers.expectations import meets
from splitbrain.checkers.measures import availability, convergence, latency, quality, recovery
from splitbrain.checkers.measures.availability import SECOND
from splitbrain.checkers.measures.discarded import discarded
from splitbrain.checkers.measures.failures import failures
from splitbrain.checkers.measures.pacelc import pacelc
from splitbrain.checkers.measures.reach import reach
from splitbrain.checkers.measures.slices import FUNCTIONS, sliced
from splitbrain.checkers.measures.staleness import ages, staleness
from splitbrain.checkers.measures.standstill import awake
from splitbrain.checkers.promises import BESIDE, BY_A_LOOK
from splitbrain.checkers.result import (
    Blast,
    Consistency,
    Convergence,
    Episode,
    Measure,
    Quality,
    Result,
    Scenario,
    Shut,
    Totals,
)
from splitbrain.checkers.verdict import Anomaly, Checker, Lost, Staleness, Standing, Validity, Verdict
from splitbrain.harness.errors import INTERRUPTED, SplitbrainError, UsageError, described, returned_by
from splitbrain.harness.errors import place as place_of
from splitbrain.harness.history.fault import is_damage
from splitbrain.harness.history.history import FAIL, INFO, OK, History
from splitbrain.harness.history.micros import READ, WRITE
from splitbrain.harness.history.operation import KINDS
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import listed, natural
from splitbrain.harness.history.variant import Variant

P = ParamSpec("P")
T = TypeVar("T")


def judge(recording: Recording, checkers: Sequence[Checker]) -> Result:
    """Judge a recording by `checkers` (the workload's) and by what judges every run.

    Invalid: some checker found an anomaly. Unknown: none did, and one of the workload's checkers is unknown, or a grave
    question of the test's quality was answered with no. A checker that throws is unknown and says what it threw, but for a
    `UsageError` about a history that another program recorded.
    """
    calm = awake(recording)
    return _exiting(_result(recording, calm, _findings(recording, calm, checkers)), recording)


@dataclass(frozen=True)
class _Findings:
    """The verdicts of the workload's checkers (`own`), what is measured of every run, and the `usual` verdicts on that. `rows`
    tell of each fault. A measure that failed is empty, and its verdict says why."""

    own: list[Verdict]
    usual: list[Verdict]
    baseline: tuple[Measure, ...]
    rows: tuple[Scenario, ...]
    episodes: tuple[Episode, ...]
    convergence: Convergence
    quality: Quality


def _findings(recording: Recording, calm: Recording, checkers: Sequence[Checker]) -> _Findings:
    """What is found in a recording; `calm` is the same without the stalls of the harness."""
    own = [attribute(_run(checker, recording), recording.faults) for checker in checkers]
    before, failed_before = _guarded("availability", (), availability.baseline, calm)
    rows, failed_rows = _guarded("availability", (), _scenarios, recording, calm)
    episodes, _ = _guarded("availability", (), _episodes, recording, calm)
    rows, failed_healed = _guarded("recovery", rows, _recovered, recording, calm, rows)
    equal, failed_equal = _guarded("convergence", Convergence(), convergence.convergence, calm)
    good, failed_good = _guarded("quality", Quality(), quality.quality, recording, before, rows)
    (own, rows), failed_consistent = _guarded("consistency", (own, rows), _consistent, recording, checkers, own, rows)
    usual = [
        failed_before or failed_rows or availability.verdict(before, rows),
        failed_healed or failed_consistent or recovery.verdict(rows),
        failed_equal or convergence.verdict(equal),
        failed_good or quality.verdict(good),
    ] if recording.plan is not None else []
    return _Findings(own, [attribute(verdict, recording.faults) for verdict in usual], before, rows, episodes, equal, good)


def _result(recording: Recording, calm: Recording, found: _Findings) -> Result:
    """What these findings say together; what it exits with is not told yet."""
    plan, variant, own = recording.plan, recording.variant, found.own
    verdicts = (*own, *found.usual)
    validity, held, lost = _validity(own, found.usual), _held(own), _lost(own)
    heading, reason = _headline(validity, own, found.usual, recording)
    counts = in_order(sum((Counter(verdict.counts) for verdict in verdicts), Counter()))
    standings = tuple(standing for verdict in own for standing in verdict.standings)
    tested = _tested(own, held)
    known = classify(
        found.rows, found.baseline, found.convergence, nodes=len(recording.nodes), lost=lost.total, model=tested,
        outside=sum((Counter(one.outside) for one in own if one.validity == "invalid" and _decides(one, own)), Counter()),
    )
    blast = _blast(recording, known.rows, found.convergence, own, lost.total)
    took, _ = _guarded("latency", (), latency.latencies, calm)
    fired, _ = _guarded("alerts", (), latency.alerts, calm, known.rows, blast.staleness)
    otherwise, _ = _guarded("pacelc", None, pacelc, calm)
    return Result(
        started=recording.started, plan=plan, variant=variant, versions=recording.versions, facts=recording.facts,
        nodes=recording.nodes, torn=recording.torn, interrupted=recording.interrupted,
        validity=validity, heading=heading, reason=reason,
        exercised=_exercised(recording, found.rows),
        totals=_totals(recording),
        verdicts=verdicts,
        anomalies=_ordered(verdicts),
        counts=counts,
        outside=in_order(sum((Counter(verdict.outside) for verdict in verdicts), Counter())),
        lost=lost,
        standings=standings,
        consistency=held,
        baseline=found.baseline,
        scenarios=known.rows,
        episodes=found.episodes,
        convergence=found.convergence,
        failures=failures(recording.history),
        quality=found.quality,
        classification=known.classification, sentence=known.sentence, classes=known.classes, sacrifices=known.sacrifices,
        blast=blast,
        latencies=took if plan is not None else (),
        alerts=fired if plan is not None else (),
        pacelc=otherwise,
        claim=claim(
            variant.claim, counts, known.rows, own, found.convergence, validity, overwritten=_overwritten(recording.history),
            damage=_damage(recording, variant), tested=_tests(found.usual), by_a_look=_by_a_look(recording, variant),
        ) if variant else None,
        labels=tuple(
            label(given, "unknown" if validity == "unknown" else known.classification, held, otherwise, known.classes,
                  blast.discarded or 0, tested, BESIDE | BY_A_LOOK if variant and _by_a_look(recording, variant) else BESIDE)
            for given in (variant.labels if variant else ())
        ),
        recommendations=recommendations(
            counts, known.classification, known.rows, validity, [one.checker for one in verdicts if one.traceback],
            found.quality.failed, [limit for verdict in verdicts for limit in verdict.limits],
        ) if plan is not None else (),
        limits=tuple(f"{verdict.checker}: {limit}" for verdict in verdicts for limit in verdict.limits),
    )


def _damage(recording: Recording, variant: Variant) -> str:
    """What was done to files of which nobody says that what they held is kept, and what is said; empty where nothing was."""
    damaged = [spec for fault in recording.faults if fault.in_force is not None for spec in fault.specs if is_damage(spec)]
    if not damaged or (variant.damage is not None and variant.damage.kept):
        return ""
    nodes = sorted({name for spec in damaged for name in spec.touched}, key=natural)
    said = "and what is expected then its file does not say" if variant.damage is None else (
        f"of which is known: {variant.damage.text} ({variant.damage.source})")
    return f"files of {listed(tuple(nodes))} were damaged, {said}"


def _by_a_look(recording: Recording, variant: Variant) -> bool:
    """Whether a service, if the workload is one, wrote without a condition what it had made of an earlier look: where its
    database cannot compare and set, and what it keeps are values."""
    tables = {} if recording.plan is None else recording.plan.options
    return "compare-and-set" not in variant.offers and tables.get("cart", {}).get("kept") != "sets"


def _overwritten(history: History) -> bool:
    """Whether transactions set registers."""
    return history.micros is not None and bool((history.micros.f == WRITE).any())


def _exiting(result: Result, recording: Recording) -> Result:
    """The result with what was expected of it and whether that was seen, and with what it exits."""
    met = tuple(meets(text, result) for text in (recording.plan.expect if recording.plan is not None else ()))
    code, stopped = _stopped(recording)
    code = code or _exit_code(result, [one.met for one in met])
    if code == 0 and (problems := quality.cut_short(recording)):  # What was expected was seen, not all done.
        code, stopped = 2, problems[0]
    return msgspec.structs.replace(result, expectations=met, exit_code=code, stopped=stopped)


def _stopped(recording: Recording) -> tuple[int, str]:
    """What the run exits with whatever is seen in it, because it did not go as planned, and why; 0 where it did."""
    if recording.interrupted:
        return INTERRUPTED, "the run was interrupted"
    return next(((phase.exit_code, f"{phase.name}: {phase.problem}") for phase in recording.phases if phase.exit_code), (0, ""))


def _exit_code(result: Result, met: Sequence[bool]) -> int:
    if met:
        return 0 if all(met) else 4
    return {"valid": 0, "invalid": 1, "unknown": 2}[result.validity]


def _run(checker: Checker, recording: Recording) -> Verdict:
    began = time.perf_counter()
    try:
        found = _verdict(checker, recording)
    except UsageError as error:
        if recording.plan is None:
            raise
        found = _thrown(checker.name, error)
    except Exception as error:
        found = _thrown(checker.name, error)
    if recording.plan is not None and found.validity != "invalid" and found.standings and not tells(recording.history):
        reason = "nothing that was answered tells what is there, nobody read: nothing is proven."
        found = msgspec.structs.replace(
            found, validity="unknown", reason=reason if found.validity == "valid" else found.reason,
            standings=tuple(msgspec.structs.replace(one, state="undecided") for one in found.standings),
        )
    return msgspec.structs.replace(found, seconds=time.perf_counter() - began)


def _verdict(checker: Checker, recording: Recording) -> Verdict:
    """What it says, as far as a result can hold it."""
    found = checker.check(recording)
    if not isinstance(found, Verdict):
        raise returned_by(checker.check, found, "no Verdict")
    try:
        return msgspec.convert(msgspec.structs.asdict(found), Verdict)
    except msgspec.ValidationError as error:
        raise returned_by(checker.check, found, f"no Verdict that can be kept: {error}") from error


_SILENT = ("add", "append", "enqueue", "push", "put", "transfer", "txn", "write")
"""Functions whose acknowledgement tells nothing of what is there; a transaction tells what it read."""


def tells(history: History) -> bool:
    """Whether any answer tells what is there. A history of writes alone is right whatever became of them."""
    answered = history.answered()
    silent = np.isin(history.f, [code for code, f in enumerate(history.fs) if f in _SILENT])
    if (answered & (~silent | history.reads())).any():
        return True
    micros = history.micros
    return micros is not None and bool(answered[micros.owners()[micros.f == READ]].any())


def _guarded(
    name: str, instead: T, measure: Callable[P, T], *given: P.args, **named: P.kwargs
) -> tuple[T, Verdict | None]:
    """What is measured of what is given; where that fails, what stands for it, and the verdict that says so."""
    try:
        return measure(*given, **named), None
    except Exception as error:
        return instead, _thrown(name, error)


def _thrown(name: str, error: Exception) -> Verdict:
    said = str(error) if isinstance(error, SplitbrainError) else f"{place_of(error, foreign=True)}{described(error)}"
    told = "".join(traceback.format_exception(error))
    return Verdict(checker=name, validity="unknown", reason=f"the checker failed: {said}", traceback=told)


def _scenarios(recording: Recording, calm: Recording) -> tuple[Scenario, ...]:
    """The faults, measured without the stalls of the harness, with their moments as they were."""
    return tuple(
        msgspec.structs.replace(
            row,
            **{name: None if (time := getattr(fault, name)) is None else time / SECOND for name in (*fault.MOMENTS, "proven")},
            stood_still=0.0 if (span := availability.window(recording, fault)) is None
            else recording.stalled(*span) / SECOND,
        )
        for fault, row in zip(recording.faults, availability.scenarios(calm), strict=True)
    )


def _episodes(recording: Recording, calm: Recording) -> tuple[Episode, ...]:
    """The episodes, measured without the stalls of the harness, with their moments as they were."""
    times = [stretch.whole for stretch in availability.stretches(recording)]
    return tuple(
        msgspec.structs.replace(row, began=time.started / SECOND, ended=(time.heal_began or 0) / SECOND)
        for row, time in zip(availability.episodes(calm), times, strict=True)
    )


def _recovered(recording: Recording, calm: Recording, rows: tuple[Scenario, ...]) -> tuple[Scenario, ...]:
    found = []
    shut = recovery.shut_before(calm)
    for timed, row, gone, reached in zip(calm.faults, rows, discarded(recording), reach(calm), strict=True):
        seconds, reason = recovery.recovery(calm, timed)
        served = recovery.served_after(calm, timed)
        found.append(
            msgspec.structs.replace(
                row, recovery=seconds, recovery_reason=reason, served_after=served, shut_before=shut, discarded=gone,
                reach=reached,
            )
        )
    return tuple(found)


def _held(own: Sequence[Verdict]) -> Consistency:
    """Where the whole run stands to the model that its workload tests."""
    deciding = [verdict for verdict in own if _decides(verdict, own)]
    if any(verdict.validity == "invalid" for verdict in deciding):
        return "refuted"
    return "held" if deciding and all(verdict.validity == "valid" for verdict in deciding) else "undecided"


def _decides(verdict: Verdict, own: Sequence[Verdict]) -> bool:
    """Whether a verdict is about consistency: one that names no model (a person's own check beside the workload's) is not,
    unless there is no other."""
    return bool(verdict.standings) or not any(other.standings for other in own)


def _tested(own: Sequence[Verdict], held: Consistency) -> str:
    """The model of which that is said: of several, the first that was refuted, or not decided."""
    told = {"refuted": "invalid", "undecided": "unknown", "held": "valid"}[held]
    deciding = sorted((verdict for verdict in own if verdict.standings), key=lambda verdict: verdict.validity != told)
    return deciding[0].standings[0].model if deciding else ""


def _consistent(
    recording: Recording, checkers: Sequence[Checker], own: Sequence[Verdict], rows: tuple[Scenario, ...]
) -> tuple[list[Verdict], tuple[Scenario, ...]]:
    """The verdicts, with what judging each fault's part apart has added to them, and the rows with their consistency: a fault
    without an anomaly of its own holds only if its part of the history was judged apart or the whole is valid."""
    whole = _held(own)
    verdicts = list(own)
    if whole != "refuted":
        return verdicts, tuple(msgspec.structs.replace(row, consistency=whole) for row in rows)
    found = []
    for fault, row in zip(recording.faults, rows, strict=True):
        held: Consistency = "held"
        for at, checker in enumerate(checkers):
            verdicts[at], decided = _apart(recording, checker, verdicts[at], fault.id)
            held = held if decided or not _decides(verdicts[at], own) else "undecided"
        caused = in_order(sum((Counter(verdict.by_fault.get(fault.id, {})) for verdict in verdicts), Counter()))
        refuted = any(verdict.by_fault.get(fault.id) for verdict in verdicts if _decides(verdict, own))
        found.append(msgspec.structs.replace(
            row, anomalies=caused, consistency="refuted" if refuted else held,
            lost=sum(verdict.lost.by_fault.get(fault.id, 0) for verdict in verdicts),
        ))
    return verdicts, tuple(found)


def _apart(recording: Recording, checker: Checker, verdict: Verdict, fault: int) -> tuple[Verdict, bool]:
    """The verdict with what a fault's own part of the history shows beyond it, and whether it is known that there is nothing
    worse. A key that broke once says nothing more in the whole history; in its part it does.

    What a part shows as lost may be found again outside of it, so that only the more general name is certain.
    """
    if verdict.validity != "invalid":
        return verdict, verdict.validity == "valid"
    caused = verdict.by_fault.get(fault, {})
    if verdict.complete or (caused and not refutes_reads_only(caused)):
        return verdict, True
    part = sliced(recording, next(one for one in recording.faults if one.id == fault))
    if part is None:
        return verdict, False
    apart = _run(checker, part)
    more: Counter[str] = Counter()
    for name, number in apart.counts.items():
        certain = ANOMALIES[name].more_general[0] if name in ANOMALIES and ANOMALIES[name].loses else name
        if not caused or not refutes_reads_only((certain,)):
            more[certain] += number
    if more:
        by_fault = {**verdict.by_fault, fault: in_order(Counter(caused) + more)}
        counts = in_order(Counter(verdict.counts) + more)
        verdict = msgspec.structs.replace(verdict, by_fault=dict(sorted(by_fault.items())), counts=counts)
    return verdict, apart.validity != "unknown"


def _ordered(verdicts: Sequence[Verdict]) -> tuple[Anomaly, ...]:
    """All anomalies, the most telling first; of a kind, those that a fault caused first, then in each checker's own order."""
    anomalies = [anomaly for verdict in verdicts for anomaly in verdict.anomalies]
    return tuple(sorted(
        anomalies, key=lambda one: (*place(one.identifier, len(one.cycle)), one.identifier, one.fault is None)
    ))


def _validity(own: Sequence[Verdict], usual: Sequence[Verdict]) -> Validity:
    if any(verdict.validity == "invalid" for verdict in (*own, *usual)):
        return "invalid"
    return "valid" if own and all(verdict.validity == "valid" for verdict in own) and _tests(usual) else "unknown"


def _tests(usual: Sequence[Verdict]) -> bool:
    """Whether the run was one that may support anything: all that a test needs was there."""
    return all(verdict.validity == "valid" for verdict in usual if verdict.checker in ("availability", "quality"))


def _headline(
    validity: Validity, own: Sequence[Verdict], usual: Sequence[Verdict], recording: Recording
) -> tuple[str, str]:
    """The heading and the sentence after it."""
    partial = ""
    if recording.interrupted:
        partial = " (The run was interrupted; this is what it showed until then.)"
    elif recording.torn:
        partial = " (The journal ends in the middle of the run; this is what it showed until then.)"
    beyond = next((verdict for verdict in own if verdict.counts and verdict.standings), None)
    if validity == "valid" and beyond is not None:
        # There are anomalies, and none against what was asked for.
        return f"{beyond.standings[0].model} holds".upper(), beyond.reason + partial
    if validity == "valid" and recording.plan is None and own:
        return "NO ANOMALY FOUND", own[0].reason.removeprefix("no anomaly found: ") + partial
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
        return _refuted(refuted[0].standings), refuted[0].reason + partial
    return "DIVERGED", next(verdict.reason for verdict in usual if verdict.validity == "invalid") + partial


def _refuted(standings: Sequence[Standing]) -> str:
    """The heading of what was refuted: NOT LINEARIZABLE, NOT READ COMMITTED, TOTALS NOT CONSERVED."""
    model = next((standing.model for standing in standings if standing.state == "refuted"), "")
    if not model:
        return "ANOMALY FOUND"
    subject, _, predicate = model.partition(" ")
    sentence = subject.endswith("s") and predicate and " " not in predicate  # `totals conserved`: it tells what holds
    return (f"{subject} not {predicate}" if sentence else f"not {model}").upper()


def _exercised(recording: Recording, rows: Sequence[Scenario]) -> str:
    """What the run did, so that its verdict can be weighed."""
    totals = _totals(recording)
    keys = f"{totals.keys:,} {'key' if totals.keys == 1 else 'keys'}"
    if recording.plan is None:
        many = "1 operation" if totals.operations == 1 else f"{totals.operations:,} operations"
        return f"{many} on {keys}, {totals.ok:,} of them ok."
    final = _final(recording)
    ok = totals.ok - int((recording.history.outcome[final] == OK).sum())
    text = f"{totals.operations - totals.final:,} operations on {keys}, {ok:,} of them ok"
    text += f", and {totals.final:,} final reads" if totals.final else ""
    proven = sum(row.bit for row in rows)
    names = dict.fromkeys(row.name for row in rows)
    faults = f"its fault {'' if proven else 'not '}proven" if len(rows) == 1 else f"{proven:,} of {len(rows):,} faults proven"
    text += f"; {faults} ({', '.join(names)})" if rows else "; no fault"
    return text + "."


def _totals(recording: Recording) -> Totals:
    history = recording.history
    outcome = history.outcome
    keys = history.key if history.micros is None else history.micros.key
    return Totals(
        operations=len(history), ok=int((outcome == OK).sum()), fail=int((outcome == FAIL).sum()),
        info=int((outcome == INFO).sum()), final=int(_final(recording).sum()), keys=len(np.unique(keys)),
    )


def _final(recording: Recording) -> NDArray[np.bool_]:
    """Which operations are final reads."""
    return recording.history.invoked >= recording.final


def _lost(own: Sequence[Verdict]) -> Lost:
    """Acknowledged writes that the checkers proved to be lost."""
    by_fault = sum((Counter(verdict.lost.by_fault) for verdict in own), Counter())
    return Lost(total=sum(verdict.lost.total for verdict in own), by_fault=dict(sorted(by_fault.items())))


def _blast(
    recording: Recording, rows: Sequence[Scenario], equal: Convergence, own: Sequence[Verdict], lost: int
) -> Blast:
    history = recording.history
    stale, _ = _guarded("staleness", None, _staleness, recording, own)
    written = history.outcome == OK
    written &= ~history.reads()
    clear = [row for row in rows if not row.dead]
    given_up = [row.discarded for row in rows if row.discarded is not None]
    writes = [home.write for row in clear if row.bit for home in row.homes]
    cut = [row for row in clear if row.bit and row.links_cut and row.in_force is not None and row.heal_began is not None]
    return Blast(
        touched=tuple(
            max(here, key=lambda one: one.touched / one.asked) for of in ("keys", "servers") for kind in KINDS
            if (here := [one for row in clear if row.bit for one in row.reach if (one.of, one.kind) == (of, kind)])
        ),
        rejected=_share(sum(one.attempted - one.answered for one in writes), sum(one.attempted for one in writes)),
        quorum=_share(
            sum(len(side.nodes) * _length(row) for row in cut for side in row.sides if side.quorum),
            sum(len(recording.nodes) * _length(row) for row in cut),
        ),
        contested=_share(sum(gone.contested for gone in given_up), sum(gone.written for gone in given_up)),
        clients_blocked=tuple(
            Shut(kind=kind, share=worst.clients_blocked[kind], fault=worst.fault, scenario=worst.name)
            for kind in KINDS
            if (shut := [row for row in clear if row.clients_blocked.get(kind)])
            and (worst := max(shut, key=lambda row: row.clients_blocked[kind]))
        ),
        without_primary=_worst(side.without_primary for row in clear for side in row.cut_sides if side.quorum),
        recovery=None if any(row.recovery is None for row in rows) else _worst(row.recovery for row in rows),
        lost=lost,
        acknowledged=int(written.sum()),
        discarded=sum(gone.writes for gone in given_up) if given_up else None,
        discarded_last=sum(gone.last for gone in given_up) if given_up else None,
        discarded_untold=sum(gone.untold for gone in given_up),
        staleness=stale,
        convergence=equal.seconds,
    )


def _share(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _length(row: Scenario) -> float:
    """How long a fault was in force."""
    return (row.heal_began or 0.0) - (row.in_force or 0.0)


def _worst(values: Any) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _staleness(recording: Recording, own: Sequence[Verdict]) -> Staleness | None:
    """That of the first verdict of which it is known."""
    return next((found for verdict in own if (found := _stale(recording, verdict)) is not None), None)


def _stale(recording: Recording, verdict: Verdict) -> Staleness | None:
    """As the checker measured it; of registers measured here."""
    if verdict.staleness is not None:
        return verdict.staleness
    history = recording.history
    if not any(standing.model == "linearizable" for standing in verdict.standings) or not FUNCTIONS.issuperset(history.fs):
        return None
    if verdict.validity == "valid":
        # No read of a linearizable history is stale: what takes a second at a million operations need not be looked for.
        reads = history.reads() & (history.outcome == OK)
        return ages((), int(reads.sum())) if reads.any() else None
    old = all(
        generalises("non-monotonic-read", name) and not generalises("split-brain", name) for name in verdict.counts
    )
    return staleness(history, lossy=verdict.validity == "unknown" or not old)
