"""The checker of transactions: every isolation level, refuted, holding or undecided, and the anomalies that refute."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from splitbrain.checkers.anomalies import in_order, place
from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions import completion, cycles, decide, explain, list_append, rw_register, serial
from splitbrain.checkers.transactions.cycles import Cycle, Edge
from splitbrain.checkers.transactions.graph import ALWAYS, ATOMIC, CAUSAL, PROCESS, READS, REALTIME, RW, WR, WW
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.lattice import LEVELS, Level, stronger, strongest, weaker, weakest
from splitbrain.checkers.transactions.spread import Spread
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Standing, State, Validity, Verdict
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.micros import APPEND, READ, UNKNOWN, WRITE, Micros
from splitbrain.harness.history.values import NIL

STRICT: frozenset[Level] = frozenset(("strict-serializable", "strong-snapshot-isolation"))
"""The levels that speak of real time."""

SHOWN = 5
"""How many anomalies of each identifier are explained."""

_NONE = cycles.Rule((), (), "plain")

_FEW = 20_000
"""Transactions over registers up to which all levels are decided before an order is looked for that shows them."""

_OF_SESSIONS: dict[Level, Level] = {
    "serializable": "strong-session-serializable",
    "snapshot-isolation": "strong-session-snapshot-isolation",
    "parallel-snapshot-isolation": "strong-session-parallel-snapshot-isolation",
    "consistent-view": "strong-session-parallel-snapshot-isolation",
}
"""By level the one with each client's own order. It is looked at first: what satisfies the one nearly always satisfies the
other, which leaves far less open and is decided in a fraction of the time."""

_EASY: tuple[Level, ...] = ("read-committed-session", "read-atomic", "read-atomic-session", "causal")
"""The levels that are decided in near-linear time, and are asked first."""

_SOON = weaker("causal")
"""Those, and what follows from them: no order proves them sooner."""


@dataclass(frozen=True)
class Findings:
    """What was found in a history: where it stands to each level, by which anomalies, and the cycles.

    `timed` says whether the history tells when transactions completed, so that it says something of real time. `sought` are the
    levels that were looked at; of the others is known what follows from these.
    """

    inference: Inference
    states: dict[Level, State]
    cycles: tuple[Cycle, ...]
    by: dict[Level, tuple[str, ...]]
    timed: bool
    limits: tuple[str, ...]
    sought: frozenset[Level] = frozenset(LEVELS)


def check(
    history: History, levels: Sequence[Level] = (), time_limit: float = 60.0, final: int = NEVER, spread: Spread | None = None,
    alone: bool = False,
) -> Verdict:
    """The verdict on the transactions of a history: on every level, or on these `alone` (of registers). `time_limit` is in
    seconds of processor time, of the clock where there is a `spread`, which has parts of it judged elsewhere; from `final` on
    (nanoseconds) everything was healed, so that an acknowledged append that no read finds there is lost."""
    began = time.monotonic()
    micros = history.micros
    if micros is None or not len(micros.f):
        reason = f"{'no transactions' if micros is None else 'every transaction is empty'}: nothing is proven."
        return Verdict(checker="transactions", validity="unknown", reason=reason)
    if not (history.outcome == OK).any():
        return Verdict(checker="transactions", validity="unknown", reason="no transaction was acknowledged: nothing is proven.")
    asked = tuple(levels) or (("strict-serializable",) if history.ends_told() else ("strong-session-serializable",))
    if mixed := _mixed(micros):
        undecided = tuple(Standing(model=level, state="undecided") for level in _ordered(asked))
        return Verdict(checker="transactions", validity="unknown", reason=mixed, standings=undecided)
    try:
        sought = frozenset(levels) if alone and levels else frozenset(LEVELS)
        found = find(history, Budget.of(time_limit, computed=spread is None), final, spread, sought)
    except Exhausted as limit:
        return Verdict(
            checker="transactions", validity="unknown", reason=f"nothing could be decided: {limit}.",
            standings=tuple(Standing(model=level, state="undecided") for level in _ordered(asked)), limits=(str(limit),),
            seconds=time.monotonic() - began,
        )
    anomalies, counts, moments = _anomalies(found)
    validity = _validity(found, asked)
    return Verdict(
        checker="transactions",
        validity=validity,
        reason=_reason(found, asked, validity, counts),
        standings=_standings(found, asked),
        anomalies=anomalies,
        counts=counts,
        moments=moments,
        complete=not any(found.states[level] == "undecided" for level in found.sought),
        coverage=Coverage(
            keys=int(np.count_nonzero(np.bincount(micros.key))), operations=int(np.count_nonzero(np.diff(micros.start))),
            refuted=None,
        ),
        limits=found.limits,
        seconds=time.monotonic() - began,
    )


def _mixed(micros: Micros) -> str:
    """Why these transactions are neither all of lists nor all of registers; empty where they are."""
    appends = np.flatnonzero(micros.f == APPEND)
    if not len(appends):
        return ""
    name = repr(micros.keys[micros.key[appends[0]]])
    writes = np.flatnonzero(micros.f == WRITE)
    if len(writes):
        other = repr(micros.keys[micros.key[writes[0]]])
        return f"{name} is a list that is appended to and {other} a register that is written: they are not judged together."
    plain = np.flatnonzero((micros.f == READ) & (micros.value != NIL) & (micros.value != UNKNOWN))
    if len(plain):
        row = int(plain[0])
        return (
            f"a read of {micros.keys[micros.key[row]]!r} returned {micros.returned(row)!r}, and lists are appended to, as to "
            f"{name}: what a list held is told as a list of its elements."
        )
    return ""


def find(
    history: History, budget: Budget, final: int = NEVER, spread: Spread | None = None,
    sought: frozenset[Level] = frozenset(LEVELS),
) -> Findings:
    """Judge a history of transactions against the levels that are `sought`, or of lists against all; the others as in `check`.
    Raises `Exhausted` where the budget does not suffice to infer how the transactions depend on each other; levels for which
    it does not are undecided."""
    history = history.open_ended()
    micros = history.micros
    assert micros is not None
    lists = bool((micros.f == APPEND).any()) or (not (micros.f == WRITE).any() and len(micros.list_start) > 1)
    timed = history.ends_told()
    # An order that they can be run in proves all levels. Without times little helps to find one, and few are decided soon.
    turns = serial.TURNS if timed or _by_luck(history, sought) else serial.HASTY_TURNS if len(sought) == len(LEVELS) else 0
    inference = list_append.infer(history, budget) if lists else rw_register.infer(history, budget, turns)
    sought = frozenset(LEVELS) if lists else sought
    if inference.ambiguous:
        return Findings(inference, dict.fromkeys(LEVELS, "undecided"), (), {}, timed, (inference.ambiguous,))
    gone = list_append.lost(inference, final) if lists and timed and final < NEVER else None
    if gone:
        inference = replace(inference, problems=(gone, *inference.problems))
    known = _Known(limits=[*inference.limits])
    for problems in inference.problems:
        known.refute(problems.ruled_out, {problems.identifier})
    tried = sought | {_OF_SESSIONS[level] for level in sought & _OF_SESSIONS.keys()}
    beneath = frozenset(below for level in tried for below in weaker(level))
    found = cycles.search(inference, budget, _suspects(inference), spread, beneath)
    unsure: frozenset[Level] = frozenset()
    if gone and found.refuted:
        behind, kept = found, list_append.without_place(inference, gone.row)
        found = cycles.search(kept, budget, _suspects(inference), spread, beneath)
        unsure = _above(behind.refuted) - _above(found.refuted)
        known.refute_lost(unsure)
    known.take(found)
    if unsure - known.by.keys():
        known.limits.append("where a lost append stood in its list is not known")
    left = beneath - known.by.keys() - unsure - _above(found.undecided)
    if lists and not _writes_told(inference):
        left -= {"read-uncommitted"}
    known.holds |= _holding(inference, lists, left)
    # Where the inference is cut short, an order of what is known of the versions is none of all of them.
    orderable = frozenset() if inference.limits else left if timed else left - STRICT
    if lists:
        _order_lists(inference, known, orderable, budget, lost=bool(gone))
    else:
        _order_registers(inference, known, orderable & tried, tried if timed else tried - STRICT, budget, spread)
    return Findings(
        inference, known.states(timed), tuple(known.proofs), {level: tuple(sorted(names)) for level, names in known.by.items()},
        timed, tuple(dict.fromkeys(known.limits)), sought,
    )


@dataclass
class _Known:
    """What is known of the levels so far: `by` has those that are refuted and the anomalies that do it, which may be none that
    has a name."""

    by: dict[Level, set[str]] = field(default_factory=dict)
    holds: set[Level] = field(default_factory=set)
    proofs: list[Cycle] = field(default_factory=list)
    limits: list[str] = field(default_factory=list)

    def refute(self, level: Level, names: set[str]) -> None:
        """Refute a level and all that imply it."""
        for above in stronger(level):
            self.by.setdefault(above, set()).update(names)

    def refute_lost(self, levels: frozenset[Level]) -> None:
        """Refute those of these levels, to which a lost append that came behind all that was read is a contradiction, that
        forbid lost updates, too: whoever appended without it came before it, or overwrote it."""
        for level in levels & stronger("consistent-view"):
            self.refute(level, {"lost-append"})

    def prove(self, proofs: Sequence[Cycle]) -> None:
        """Take cycles, each against its level."""
        for cycle in proofs:
            self.proofs.append(cycle)
            self.refute(cycle.level, {cycle.identifier})

    def take(self, found: cycles.Found) -> None:
        """Take what the search for cycles found."""
        self.proofs += found.cycles
        self.limits += found.limits
        for level, proofs in found.refuted.items():
            self.refute(level, {cycle.identifier for cycle in proofs})
        for level in found.refuted:
            # Where a component is all that was found in time, its usual name.
            if not self.by[level]:
                self.by[level].add(cycles.USUAL.get(level, "G1c" if level == "read-committed" else "G0"))

    def states(self, timed: bool) -> dict[Level, State]:
        """Where the history stands to each level; nothing holds of real time where nobody told it."""
        holds = self.holds if timed else self.holds - STRICT
        return {level: "refuted" if level in self.by else "holds" if level in holds else "undecided" for level in LEVELS}


def _above(levels: Iterable[Level]) -> frozenset[Level]:
    """These levels and all that imply one of them."""
    return frozenset(above for level in levels for above in stronger(level))


def _suspects(inference: Inference) -> dict[int, Level]:
    """The transactions with anomalies of their own, and the weakest level that these rule out."""
    found: dict[int, Level] = {}
    for problems in inference.problems:
        for row in np.unique(problems.reader).tolist():
            if row not in found or found[row] in stronger(problems.ruled_out):
                found[row] = problems.ruled_out
    return found


def _writes_told(inference: Inference) -> bool:
    """Whether it is known in which order lists were appended to, which is all that read uncommitted asks for. Reads tell it:
    where some of them cannot be trusted, a cycle of appends may be their doing, and proves nothing."""
    shaken = {one.identifier for one in inference.problems} & {"incompatible-order", "internal", "future-read"}
    return not shaken or cycles.writes_ordered(inference)


def _order_lists(
    inference: Inference, known: _Known, orderable: frozenset[Level], budget: Budget, *, lost: bool
) -> None:
    """Decide levels of lists by orders of what nobody read: one that luck finds, then every one. Where some of that is `lost`
    it need not be in any."""
    known.holds |= completion.holding(inference, orderable - known.holds, budget)
    # Consistent view is parallel snapshot isolation by another name: it has no rule of its own, and holds where that does.
    told = completion.by_every_order(inference, orderable - known.holds - {"consistent-view"}, budget)
    if told is not None:
        held, against = told
        known.holds |= {below for level in held for below in weaker(level)}
        if lost:
            known.refute_lost(_above(cycle.level for cycle in against))
        else:
            known.prove(against)


def _by_luck(history: History, levels: frozenset[Level]) -> bool:
    """Whether an order that luck finds comes cheaper than a proof: where there are many transactions, and a hard level among
    these."""
    return len(history) > _FEW and not levels <= _SOON


def _order_registers(
    inference: Inference, known: _Known, orderable: frozenset[Level], tried: frozenset[Level], budget: Budget,
    spread: Spread | None,
) -> None:
    """Decide the levels of registers that are tried by an order of the versions that luck finds, and by the complete
    procedures."""
    by_luck = _by_luck(inference.history, tried)
    if by_luck:
        known.holds |= completion.holding(inference, orderable - known.holds, budget)
    holds, proofs, limits = _decided(inference, tried, frozenset(known.by), frozenset(known.holds), budget, spread)
    known.holds |= holds
    known.limits += limits
    known.prove(proofs)
    if not by_luck:
        known.holds |= completion.holding(inference, orderable - known.by.keys() - known.holds, budget)


def _holding(inference: Inference, lists: bool, open_levels: frozenset[Level]) -> frozenset[Level]:
    """The levels that certainly hold, of those that are not refuted, as far as the dependencies tell."""
    if inference.limits:
        return frozenset()
    if inference.total:
        return open_levels
    certain: set[Level] = {"read-uncommitted", "read-committed"}
    if lists:
        # In any order that agrees with the dependencies, what nobody read may have been appended in that order.
        certain |= weaker("causal") | {level for level in open_levels if cycles.RULES.get(level, _NONE).shape == "any"}
        for level in tuple(certain & open_levels):
            certain |= weaker(level)
    return frozenset(certain & open_levels)


def _decided(
    inference: Inference, tried: frozenset[Level], refuted: frozenset[Level], holding: frozenset[Level], budget: Budget,
    spread: Spread | None = None,
) -> tuple[frozenset[Level], list[Cycle], list[str]]:
    """What the complete procedures decide of the levels that are tried and open: those that hold now, the proofs against
    others, and the limits that were hit. Each may take an equal part of the time that is left, or a quarter; those that are
    decided elsewhere, side by side, all of it."""
    holds, against = set(holding), set(refuted)
    proofs: list[Cycle] = []
    limits: list[str] = []
    rest = [level for level in reversed(LEVELS) if level not in _EASY]
    # Consistent view has no rule of its own: it is asked for by its other name.
    named = {"parallel-snapshot-isolation" if level == "consistent-view" else level for level in tried - holds - against}
    ways = [level for level in (*_EASY, *rest) if level in named]
    facts = decide.facts(inference.history) if ways else None
    if facts is None:
        return frozenset(holds), proofs, limits
    keys = inference.micros.keys
    elsewhere = None
    if spread is not None and len(ways) > 1:
        elsewhere = spread.each(_decide, ((facts, level, keys) for level in ways), budget.left)
    for at, level in enumerate(ways):
        left = sum(one not in holds | against for one in ways[at:])
        if not left:
            break
        there = next(elsewhere) if elsewhere is not None else None
        if level in holds or level in against:
            continue
        if there is None and budget.over:
            limits.append(f"{budget.limit}: {level} was not looked at")
            continue
        decision = there or decide.decide(facts, level, keys, budget.within(budget.left / min(left, 4)))
        if decision.state == "holds":
            holds |= weaker(level)
        elif decision.state == "refuted":
            against |= stronger(level)
            proofs.append(_cycle(inference, level, decision))
        else:
            limits.append(decision.limit)
    return frozenset(holds), proofs, limits


def _decide(facts: decide.Facts, level: Level, keys: Sequence[object], seconds: float) -> decide.Decision:
    return decide.decide(facts, level, keys, Budget.of(seconds))


_KINDS = {"wr": WR, "session": PROCESS, "realtime": REALTIME, "ww": WW, "rw": RW, "seen": WW}


def _cycle(inference: Inference, level: Level, decision: decide.Decision) -> Cycle:
    """A decision's proof as a cycle of dependencies."""
    codes = {key: code for code, key in enumerate(inference.micros.keys)}
    seen = ATOMIC if level in ("read-committed-session", "read-atomic") else CAUSAL
    alone, edges = decision.alone, []
    for edge in decision.cycle:
        key, row, scope = -1 if edge.key is None else codes[edge.key], _read(inference, edge, codes), ALWAYS
        if edge.relation == "seen":
            scope = seen
        elif edge.source >= 0 and (edge.relation == "ww" or (edge.relation == "rw" and inference.read_from[row] >= 0)):
            # The order of two versions is known by itself, or because the other one was found to be impossible.
            known = _scopes(inference, level, edge.source, edge.target, _KINDS[edge.relation], key)
            scope = min(known, default=READS)
            alone &= bool(known)
        edges.append(Edge(edge.source, edge.target, _KINDS[edge.relation], scope, key, row))
    return Cycle(level, tuple(edges), alone)


def _scopes(inference: Inference, level: Level, source: int, target: int, kind: int, key: int) -> set[int]:
    """What a dependency was inferred from that counts at a level; empty where it was not."""
    edges = inference.edges
    same = (edges.source == source) & (edges.target == target) & (edges.kind == kind) & (edges.key == key)
    return set(edges.scope[same].tolist()) & set(cycles.RULES[level].scopes)


def _read(inference: Inference, edge: decide.Edge, codes: dict[object, int]) -> int:
    """The read that an edge of a decision rests on, as the row of its micro-operation; -1 for none."""
    by = {"wr": edge.target, "rw": edge.source, "seen": edge.reader}.get(edge.relation)
    if by is None or edge.key is None:
        return -1
    micros, key = inference.micros, codes[edge.key]
    for row in range(int(micros.start[by]), int(micros.start[by + 1])):
        if micros.key[row] == key and inference.external[row]:
            source = int(inference.read_from[row])
            writer = -1 if source < 0 else int(np.searchsorted(micros.start, source, side="right")) - 1
            if writer == {"wr": edge.source, "seen": edge.target}.get(edge.relation, writer):
                return row
    return -1


# What is told.


def _anomalies(found: Findings) -> tuple[tuple[Anomaly, ...], dict[str, int], dict[str, tuple[Moment, ...]]]:
    """The anomalies that are shown, how many there are of each name, and when they happened."""
    inference = found.inference
    shown: list[Anomaly] = []
    counts: Counter[str] = Counter()
    moments: dict[str, list[Moment]] = {}
    for problems in inference.problems:
        before = counts[problems.identifier]
        counts[problems.identifier] += len(problems)
        told = moments.setdefault(problems.identifier, [])
        told += [explain.moment_of_problem(inference, problems, at) for at in range(len(problems))]
        shown += [explain.of_problem(inference, problems, at) for at in range(min(len(problems), max(SHOWN - before, 0)))]
    for cycle in found.cycles:
        if not cycle.edges:
            continue
        anomaly = explain.of_cycle(inference, cycle)
        counts[anomaly.identifier] += 1
        if anomaly.moment is not None:
            moments.setdefault(anomaly.identifier, []).append(anomaly.moment)
        if counts[anomaly.identifier] <= SHOWN:
            shown.append(anomaly)
    ordered = sorted(shown, key=lambda anomaly: place(anomaly.identifier, len(anomaly.cycle)))
    return tuple(ordered), in_order(counts), {name: tuple(told) for name, told in moments.items()}


def _validity(found: Findings, asked: Sequence[Level]) -> Validity:
    states = [found.states[level] for level in asked]
    if "refuted" in states:
        return "invalid"
    return "valid" if all(state == "holds" for state in states) else "unknown"


def _standings(found: Findings, asked: Sequence[Level]) -> tuple[Standing, ...]:
    return tuple(
        Standing(model=level, state=found.states[level], by=found.by.get(level, ())) for level in _ordered(asked)
        if level in asked or level in found.sought or found.states[level] != "undecided"
    )


def _ordered(asked: Sequence[Level]) -> list[Level]:
    """The levels that were asked for first, then the others, the strongest first."""
    return [*asked, *(level for level in reversed(LEVELS) if level not in asked)]


def _reason(found: Findings, asked: Sequence[Level], validity: Validity, counts: dict[str, int]) -> str:
    states = found.states
    holds = _names(strongest(level for level in LEVELS if states[level] == "holds"))
    if found.inference.ambiguous:
        return found.inference.ambiguous
    if validity == "valid":
        told = ", ".join(f"{count:,} × {name}" for name, count in counts.items())
        beyond = _names(weakest(level for level in LEVELS if states[level] == "refuted"))
        return f"{_names(asked)} holds" + (f"; {beyond} does not: {told}." if beyond else ".")
    if validity == "unknown":
        unclear = _names([level for level in asked if states[level] == "undecided"])
        known = f"; {holds} holds" if holds else ""
        why = f": {found.limits[0]}" if found.limits else ""
        return f"{unclear} could not be decided{why}{known}."
    wrong = _names([level for level in asked if states[level] == "refuted"])
    told = ", ".join(f"{count:,} × {name}" for name, count in counts.items())
    first = _names(weakest(level for level in LEVELS if states[level] == "refuted"))
    nothing = "; no level certainly holds" if len(found.sought) == len(LEVELS) else ""
    remains = f"; what holds is {holds}" if holds else nothing
    cause = f" (nor {'do' if ' and ' in first else 'does'} {first})" if first != wrong else ""
    return f"{wrong} does not hold{cause}: {told}{remains}."


def _names(levels: Sequence[Level]) -> str:
    """These levels in words, of two names for one level the first. Causal consistency is also promised of single operations,
    and is another thing there."""
    chosen = [level for level in levels if level != "consistent-view" or len(levels) == 1]
    told = {"causal": "transactional causal consistency"}
    return " and ".join(told.get(level, level.replace("-", " ")) for level in chosen)
