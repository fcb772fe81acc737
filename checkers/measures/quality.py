"""Was the test any good: a run that proves nothing must not look green."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.measures.availability import (
    ENOUGH,
    GOOD,
    SECOND,
    baseline_window,
    load_period,
    operations,
    window,
)
from splitbrain.checkers.result import Check, Measure, PeriodCount, Quality, Scenario
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.fault import Fault, places
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import KINDS
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import group
from splitbrain.harness.plan import Plan

FEW = 10
"""Operations that a side must have tried of each kind, unless it is proven to be blocked."""
BUSY = 0.9
"""The part of a CPU from which on the harness, which computes on one, was at its limit."""
WAITED = 0.5
"""The part of a fault in which the clients of a side waited for answers, from which on they asked what they could: who waits
does not ask again, and a server that stands still for less than a call may take answers nobody meanwhile."""
OVERLAP = 0.1
"""The part of the operations that must have begun while another one was open."""


def quality(recording: Recording, before: Sequence[Measure], rows: Sequence[Scenario]) -> Quality:
    """Every question asked of a recording of ours; none of a history that another program recorded.

    `before` is the baseline and `rows` are the measured faults, with their recovery.
    """
    period = load_period(recording)
    if recording.plan is None or period is None:
        return Quality()
    return Quality(
        checks=tuple([
            *_servers(recording), *_stalls(recording, period), *_share(recording), *_complete(recording),
            *_load(recording, period), *_baseline(before, recording.plan), *_faults(recording, rows), *_final(recording),
        ]),
        counts=tuple(_counts(recording, before, rows)),
        in_flight=_in_flight(recording, period),
    )


def _servers(recording: Recording) -> Iterator[Check]:
    if recording.deaths is None:
        yield Check("servers", False, "whether a server died on its own was not looked for", grave=False)
    elif deaths := recording.dead(NEVER):
        told = [f"{death.node}: {death} at {clock(death.time)}" for death in deaths[:3]]
        more = [f"{len(deaths) - 3} more"] if len(deaths) > 3 else []
        yield Check("servers", False, f"a server died on its own: {'; '.join(told + more)}",
                    why="a server ended by itself, which the test had not done")
    else:
        yield Check("servers", True, "no server died on its own")


def _stalls(recording: Recording, period: tuple[int, int]) -> Iterator[Check]:
    """A stall is grave where it left less than half of a window, or of the load, to measure."""
    if recording.stalls is None:
        yield Check("harness", False, "whether the harness stood still was not looked for", grave=False)
        return
    whole = sum(stall.length for stall in recording.stalls)
    if not whole:
        yield Check("harness", True, "the harness never stood still")
        return
    longest = max(recording.stalls, key=lambda stall: stall.length)
    told = f"the harness stood still for {whole / SECOND:.1f} s"
    if len(recording.stalls) > 1:
        told += f" in all, the longest {longest.length / SECOND:.1f} s at {clock(longest.began)}"
    else:
        told += f" at {clock(longest.began)}"
    windows = [("the load", period), ("the time before the first fault", baseline_window(recording))]
    windows += [(f"the window of fault {fault.id}", window(recording, fault)) for fault in recording.faults]
    for name, span in windows:
        if span is not None and recording.stalled(*span) * 2 > span[1] - span[0]:
            yield Check("harness", False, f"{told}: more than half of {name} was not measured",
                        why="the machine that tests stood still for too long")
            return
    yield Check("harness", False, f"{told}: that time is left out of every measure", grave=False)


def _share(recording: Recording) -> Iterator[Check]:
    """How busy the harness was: one that used a whole CPU measured itself, where it should have measured the database."""
    load = recording.phase("load")
    if load is not None and load.share is not None:
        told = f"the harness used {load.share:.0%} of a CPU during the load"
        if load.share > BUSY:
            told += ": what it measured of latency and throughput is partly its own"
        yield Check("cpu", load.share <= BUSY, told, grave=False)


def cut_short(recording: Recording) -> list[str]:
    """The phases that did not go to their end, and why: `settle: took too long`."""
    return [f"{phase.name}: {phase.problem}" for phase in recording.phases if phase.problem]


def _complete(recording: Recording) -> Iterator[Check]:
    why = "the run was not made to its end"
    if recording.interrupted:
        yield Check("complete", False, "the run was interrupted; judged is what it did until then", why=why)
    elif recording.damage:
        yield Check("complete", False, f"{recording.damage}; judged is what stands before it", why=why)
    elif recording.torn:
        yield Check("complete", False, "the journal ends in the middle of the run; judged is what it holds", why=why)
    else:
        yield Check("complete", True, "the run went to its end")
    if problems := cut_short(recording):
        yield Check("phases", False, "; ".join(problems), why="the run did not go as planned")
    for note in recording.notes:
        yield Check("contract", False, note, grave=False)


def _load(recording: Recording, period: tuple[int, int]) -> Iterator[Check]:
    history = recording.history
    inside = (history.invoked >= period[0]) & (history.invoked < period[1])
    for kind in KINDS:
        rows = operations(history, kind).rows
        done = int((inside[rows] & (history.outcome[rows] == OK)).sum())
        yield Check(f"{kind}s", done >= ENOUGH, f"{done:,} {kind}s were acknowledged" + _at_least(done, ENOUGH),
                    why="too few calls were answered")
    invoked, completed = history.invoked[inside], history.completed[inside]
    # Open at each invocation: those invoked before it, less those completed before it.
    open_then = np.arange(len(invoked)) - np.searchsorted(np.sort(completed), invoked, "left")
    share = float((open_then > 0).mean()) if len(invoked) else 0.0
    flying = _in_flight(recording, period)
    most = ">99%" if 0.995 <= share < 1 else f"{share:.0%}"  # The first of all never did.
    yield Check(
        "concurrent", share >= OVERLAP,
        f"{most} of the operations began while another was open, {flying:.1f} were open on average",
        why="clients hardly ever worked at the same time",
    )
    rows, keys = _keys(history)
    keys, homes = keys[inside[rows]], history.node[rows][inside[rows]]
    many = len(history.nodes) + 1
    touched, by = np.unique(np.unique((keys + 1).astype(np.int64) * many + homes + 1) // many, return_counts=True)
    shared = int((by > 1).sum())
    if len(recording.nodes) > 1:
        yield Check(
            "shared keys", len(touched) > 0 and shared * 2 >= len(touched),
            f"{shared:,} of {len(touched):,} keys were used from more than one home",
            why="clients hardly ever worked on the same data",
        )
    planned = inside & (history.scheduled != NEVER)
    if planned.any():
        late = (history.invoked[planned] - history.scheduled[planned]) / 1e6
        p99 = max(0.0, float(np.percentile(late, 99)))
        yield Check("on time", p99 <= 1000, f"99% of the calls started within {p99:.0f} ms of their time", grave=False)


def _keys(history: History) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Which operations touched which keys, by their codes: those of every part of a transaction."""
    if history.micros is None:
        return np.arange(len(history)), history.key
    return history.micros.owners(), history.micros.key


def _in_flight(recording: Recording, period: tuple[int, int]) -> float:
    history = recording.history
    start, end = np.maximum(history.invoked, period[0]), np.minimum(history.completed, period[1])
    return float(np.maximum(0, end - start).sum() / (period[1] - period[0])) if period[1] > period[0] else 0.0


def _baseline(before: Sequence[Measure], plan: Plan | None) -> Iterator[Check]:
    why = "too little was answered before the fault to compare with"
    if not before:
        yield Check("baseline", False, "no time before the first fault was recorded", why=why)
    for found in before:
        enough = found.attempted >= ENOUGH
        passed = enough and found.answered >= GOOD * found.attempted
        text = f"{found.answered:,} of {found.attempted:,} {found.kind}s were answered before the first fault"
        yield Check(
            f"baseline {found.kind}s", passed, text + _at_least(found.attempted, ENOUGH) + _needed(found, plan), why=why,
        )


def _needed(found: Measure, plan: Plan | None) -> str:
    """How long the baseline must be for enough calls, with some to spare; empty where there were, or nothing tells it."""
    if found.attempted >= ENOUGH or not found.attempted or plan is None or plan.schedule:
        return ""
    return f" (at this pace --baseline {ceil(1.25 * plan.baseline * ENOUGH / found.attempted)} has them)"


def _faults(recording: Recording, rows: Sequence[Scenario]) -> Iterator[Check]:
    plan = recording.plan
    if not rows and plan is not None and (plan.nemesis != "none" or plan.schedule):
        yield Check("faults", False, f"the plan has the nemesis {plan.nemesis}, but no fault happened", why="no fault happened")
    unproven, few = "a fault was not proven to have happened", "too little was asked while a fault was in force"
    for fault, row in zip(recording.faults, rows, strict=True):
        name = f"fault {fault.id}"
        if fault.bit:
            seen = (spec.seen(proof) for spec, proof in zip(fault.specs, fault.proofs, strict=True))
            yield Check(name, True, f"{row.name}: {'; '.join(seen)}")
        elif fault.detail and not fault.specs:
            yield Check(name, False, f"{row.name}: {fault.detail}", why=unproven)
            continue
        elif fault.proven is None:
            yield Check(name, False, f"{row.name}: it was never proven to take effect", why=unproven)
        else:
            yield Check(name, False, f"{row.name}: {places(fault.wrong)} not as intended", why=unproven)
        undone = "the end of a fault was not proven"
        if fault.healed is None and not fault.heal_wrong:
            yield Check(f"{name} heal", False, f"{row.name}: the heal was never proven", why=undone)
        else:
            again = (spec.again(proof) for spec, proof in zip(fault.specs, fault.undone, strict=False))
            yield Check(f"{name} heal", not fault.heal_wrong, f"{row.name}: {'; '.join(again)}", why=undone)
        for side in row.sides if fault.in_force is not None else ():
            nodes = group(side.nodes)
            waited = _waited(recording, fault, side.nodes) if fault.out else 0.0
            for kind in KINDS:
                found = side.of(kind)
                if set(side.nodes) <= fault.hushed:
                    yield Check(f"{name} {kind}s at {nodes}", True, f"{row.name}: nobody was to call at {nodes}")
                    continue
                passed = found.attempted >= FEW or found.state == "blocked"
                if not passed and waited >= WAITED:
                    told = f"{found.attempted} {kind}s tried at {nodes}, whose clients waited for {waited:.0%} of the time"
                    yield Check(f"{name} {kind}s at {nodes}", True, f"{row.name}: {told}")
                    continue
                yield Check(f"{name} {kind}s at {nodes}", passed, f"{row.name}: {_asked(found, nodes)}", why=few)
        yield Check(
            f"{name} recovery", row.recovery is not None, grave=False,
            text=f"{row.name}: served again after {row.recovery:.1f} s" if row.recovery is not None
            else f"{row.name}: {row.recovery_reason}",
        )


def _waited(recording: Recording, fault: Fault, nodes: Sequence[str]) -> float:
    """The part of a fault in which the usual clients at these homes waited for an answer, on average; 0 where it was not in
    force."""
    history, plan = recording.history, recording.plan
    if plan is None or fault.in_force is None or fault.heal_began is None or fault.heal_began <= fault.in_force:
        return 0.0
    rows = np.isin(history.node, [code for code, name in enumerate(history.nodes) if name in nodes])
    invoked = history.invoked[rows]
    over = np.minimum(history.completed[rows], invoked + round(plan.timeout * SECOND))
    began, ended = np.maximum(invoked, fault.in_force), np.minimum(over, fault.heal_began)
    whole = len(nodes) * plan.concurrency * (fault.heal_began - fault.in_force)
    return float(np.maximum(0, ended - began).sum() / whole)


def _asked(found: Measure, nodes: str) -> str:
    """How much was tried there, and why it was no more: who waits for an answer does not ask again."""
    told = f"{found.attempted:,} {found.kind}s tried at {nodes}"
    if found.attempted >= FEW:
        return told
    if found.outage <= found.outage_limit:
        return told + _at_least(found.attempted, FEW)
    few = "" if found.state == "blocked" else f", too few to tell why ({FEW} are needed)"
    if not found.attempted:
        return f"{told}: clients waited for calls from before, nothing was answered for {found.outage:.1f} s{few}"
    return f"{told}: nothing was answered for {found.outage:.1f} s{few}"


def _final(recording: Recording) -> Iterator[Check]:
    phase = recording.phase("final-reads")
    history = recording.history
    why = "the data was not read at the end"
    if phase is None or not history.reads().any():
        yield Check("final reads", False, "the final reads did not happen", why=why)
        return
    done = (history.invoked >= phase.began) & (history.outcome == OK) & history.reads()
    rows, touched = _keys(history)
    keys = np.unique(touched)
    read = int(np.isin(keys, touched[done[rows]]).sum())
    yield Check("final reads", read == len(keys), f"{read:,} of {len(keys):,} keys were read at the end", why=why)


def _at_least(number: int, wanted: int) -> str:
    return "" if number >= wanted else f", fewer than {wanted}"


def _counts(recording: Recording, before: Sequence[Measure], rows: Sequence[Scenario]) -> Iterator[PeriodCount]:
    """Every operation of the run in exactly one row. What baseline and windows say of attempted and answered ones is what was
    measured there, so that all tables tell the same."""
    history = recording.history
    answered = history.answered()
    measured: dict[tuple[str, str, str], Measure] = {("baseline", "", found.kind): found for found in before}
    for row in rows:
        for side in row.sides:
            for kind in KINDS:
                measured[f"fault {row.fault}", group(side.nodes), kind] = side.of(kind)
    periods = _periods(recording, {row.fault: tuple(side.nodes for side in row.sides) for row in rows})
    for (period, began, nodes), (_, ended, _) in zip(periods, [*periods[1:], ("", NEVER, ())], strict=True):
        for homes in nodes or ((),):
            where = group(homes) if homes else ""
            for kind in KINDS:
                ops = operations(history, kind, homes or None, answered)
                inside = (ops.invoked >= began) & (ops.invoked < ended)
                invoked = int(inside.sum())
                found = measured.get((period, where, kind))
                known = found is not None and (found.attempted or not invoked)
                if invoked or (found is not None and period != "final reads"):
                    yield PeriodCount(
                        period=period, side=where, kind=kind, invoked=invoked,
                        attempted=found.attempted if known and found is not None else invoked,
                        answered=found.answered if known and found is not None else int((inside & ops.answered).sum()),
                    )


def _periods(
    recording: Recording, told: Mapping[int, tuple[tuple[str, ...], ...]]
) -> list[tuple[str, int, tuple[tuple[str, ...], ...]]]:
    """The stretches of the run, each up to the next: name, beginning, and the sides that are told apart in it (`told`: those of
    each fault). The times of faults that followed each other without a break between them are one stretch, of all sides."""
    load = load_period(recording)
    found: list[tuple[str, int, tuple[tuple[str, ...], ...]]] = [("baseline", load[0] if load else 0, ())]
    for together in _chained(recording.faults):
        fault = together[0]
        over = max(NEVER if one.healed is None else one.healed for one in together)
        if len(together) > 1:
            name = f"faults {fault.id} to {together[-1].id}"
            found.append((name, fault.started, ()))
            if over != NEVER:
                found.append((f"after {name}", over, ()))
            continue
        sides = told.get(fault.id) or fault.sides or (recording.nodes,)
        stages = (
            (f"fault {fault.id} begins", fault.started, ()), (f"fault {fault.id}", fault.in_force, sides),
            (f"fault {fault.id} heals", fault.heal_began, ()), (f"after fault {fault.id}", fault.healed, ()),
        )
        found += [(name, began, nodes) for name, began, nodes in stages if began is not None]
    if load is not None:
        found = [(name, min(began, load[1]), nodes) for name, began, nodes in found]
        found.append(("after the load", load[1], ()))
    final = recording.phase("final-reads")
    if final is not None:
        found.append(("final reads", final.began, ()))
    return found


def _chained(faults: Sequence[Fault]) -> list[list[Fault]]:
    """The faults in the order in which they began, those together of which one began before another was proven undone."""
    chains: list[list[Fault]] = []
    over = -1
    for fault in sorted(faults, key=lambda fault: fault.started):
        if chains and fault.started < over:
            chains[-1].append(fault)
        else:
            chains.append([fault])
        over = max(over, NEVER if fault.healed is None else fault.healed)
    return chains


def verdict(found: Quality) -> Verdict:
    """`unknown` where a grave question was answered with no."""
    if not found.checks:
        return Verdict(
            checker="quality", validity="unknown",
            reason="not recorded by splitbrain: whether the test was any good cannot be told.",
        )
    if failed := found.failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        return Verdict(checker="quality", validity="unknown", reason=f"{failed[0].text}{more}.")
    return Verdict(checker="quality", validity="valid", reason=f"all {len(found.checks)} questions are answered with yes.")
