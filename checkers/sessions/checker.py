"""The checker of sessions: where a history of registers stands to what clients are promised, and the reads that broke it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import msgspec
import numpy as np

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.measures.availability import composed
from splitbrain.checkers.models.specifications import Nil
from splitbrain.checkers.sessions.causality import causal_breaks
from splitbrain.checkers.sessions.guarantees import Break, find
from splitbrain.checkers.sessions.models import GUARANTEES, MODELS, Guarantee, Model
from splitbrain.checkers.sessions.observations import in_time, observed, unanswered_apart
from splitbrain.checkers.sessions.refusals import refused_in, untold_refusals
from splitbrain.checkers.structures.columns import rows_of
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.transactions import completion, decide, rw_register
from splitbrain.checkers.transactions.decide import Decision, Facts
from splitbrain.checkers.transactions.decide.facts import Flaw
from splitbrain.checkers.transactions.decide.kernels import COMPILED_FROM
from splitbrain.checkers.transactions.serial import TURNS
from splitbrain.checkers.verdict import Moment, Standing, State, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history import machine_code
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import FAIL, NEVER, History
from splitbrain.harness.history.micros import READ, UNKNOWN
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import listed
from splitbrain.harness.history.values import NIL, canonical

SEARCHED = 4_000
"""Operations up to which a sequential order is searched for where none was found at once."""

_SOON = 1 << 26
"""Operations times sessions up to which machine code tells within seconds whether causal consistency holds."""
_FOR_ALL = 0.25
"""Of the time, so much is for that."""

IMPLIED: dict[Model, tuple[Model, ...]] = {
    "sequential": ("sequential", "causal", *GUARANTEES),
    "causal": ("causal", *GUARANTEES),
} | {one: (one,) for one in GUARANTEES}  # type: ignore[assignment]
"""Every model with all that it implies, itself first."""

BROKEN: dict[Model, str] = {
    "read-your-writes": "missed-own-write",
    "monotonic-reads": "read-went-back",
    "monotonic-writes": "own-writes-reordered",
    "writes-follow-reads": "effect-before-cause",
    "causal": "causality-broken",
    "sequential": "no-sequential-order",
}
"""Model → the anomaly that refutes it."""

_FLAWS = {"garbage": "unwritten-read", "aborted-read": "aborted-read", "future-read": "future-read",
          "intermediate-read": "G1b", "internal": "internal"}


@dataclass
class _Judgement:
    """What is known of one model."""

    state: State
    by: list[str] = field(default_factory=list)
    limit: str = ""
    sentence: str = ""


def check(
    recording: Recording, promised: Sequence[Model], *, initial: Any, nil: Nil, alone: bool, time_limit: float
) -> Verdict:
    """See `Sessions`. Raises `UsageError` for a history of anything but registers."""
    budget = Budget.of(time_limit, computed=True)
    history = recording.history
    whole, left_out = observed(history, initial, nil)
    told = unanswered_apart(whole, history.outcome)
    facts = decide.facts(told) if told.micros is not None else None
    promised = promised or _claimed(recording) or ("causal",)
    counted = [model for model in MODELS if any(model in IMPLIED[one] for one in promised)]
    found = Findings(recording)
    if facts is None or facts.unclear or not facts.size:
        nothing = "nothing is proven: no operation that reads or writes was answered"
        models = {model: _Judgement("undecided", limit=(facts and facts.unclear) or nothing) for model in MODELS}
        return _verdict(found, promised, models, 0, ())
    if (np.diff(facts.write_start) > 1).any():
        raise UsageError("sessions are judged of registers that are written one at a time: of transactions name a level")
    if facts.flaws:
        return _flawed(found, promised, told, facts, alone)
    view = _View(recording, told, facts, initial)
    models = view.models(found, counted, budget)
    if told is not whole and any(judged.state == "holds" for judged in models.values()):
        kept = _View(recording, whole, decide.facts(whole), initial).models(found, (), budget)
        for model, judged in models.items():
            if judged.state == "holds" and kept[model].state != "holds":
                left_open = kept[model].limit if kept[model].state == "undecided" else ""
                judged.state, judged.limit = "undecided", left_open or "clients went on after calls that were not answered"
    if left_out:
        limit = f"{left_out:,} reads of values that were written more than once tell nothing"
        for judged in models.values():
            if judged.state == "holds":
                judged.state, judged.limit = "undecided", limit
    if budget.over:
        view.limits.append(budget.limit)  # Also where it is what nobody promised that was left open.
    return _verdict(found, promised, models, view.reads, view.limits)


def _flawed(found: Findings, promised: Sequence[Model], told: History, facts: Facts, alone: bool) -> Verdict:
    flaws = _with_refused(told, found.recording.history, facts.flaws)
    names = list(dict.fromkeys(_FLAWS[what] for what, _, _ in flaws))
    assert told.micros is not None
    if alone:
        for what, row, key in flaws:
            read = found.recording.history[row]
            moment = Moment(began=read.invoked, seen=read.ended)
            others = _beginning(found, told, row, key)
            found.add(_FLAWS[what], read.key, moment, partial(_flaw, read, told.micros.keys[key], what, others))
    sentence = "; ".join(dict.fromkeys(_WAS_READ[what] for what, _, _ in flaws))
    models = {model: _Judgement("refuted", names, sentence=sentence) for model in MODELS}
    return _verdict(found, promised, models, int((told.micros.f == READ).sum()), ())


def _with_refused(told: History, history: History, flaws: Sequence[tuple[Flaw, int, int]]) -> list[tuple[Flaw, int, int]]:
    """The flaws, with what a compare-and-set that failed was to write told as that: it is no write among the observations."""
    micros = told.micros
    if micros is None or not any(what == "garbage" for what, _, _ in flaws):
        return list(flaws)
    failed = rows_of(history, "cas") & (history.outcome == FAIL)
    refused = {
        (one.key, canonical(one.value[1]))
        for one in map(history.__getitem__, np.flatnonzero(failed).tolist())
    }

    def name(what: Flaw, row: int, key: int) -> Flaw:
        read = (micro[2] for micro in micros[row] if micro[0] == "r" and micro[1] == micros.keys[key])
        return "aborted-read" if any((micros.keys[key], canonical(value)) in refused for value in read) else what

    return [(name(*flaw) if flaw[0] == "garbage" else flaw[0], *flaw[1:]) for flaw in flaws]


def _beginning(found: Findings, told: History, row: int, key: int) -> list[Operation]:
    """Who saw what the register began with, where this row read nil of one that did not begin with that."""
    micros = told.micros
    assert micros is not None
    mine, reads = slice(micros.start[row], micros.start[row + 1]), (micros.key == key) & (micros.f == READ)
    wrong = micros.value[mine][reads[mine]].tolist()
    if not any(value not in (NIL, UNKNOWN) and micros.name(value) is None for value in wrong):
        return []
    saw = micros.owners()[reads & (micros.value == NIL)]
    return [found.recording.history[int(saw[0])]] if len(saw) else []


def _flaw(read: Operation, key: Key, what: str, others: Sequence[Operation]) -> Told:
    return f"{_who(read)} read {_shown(read, key)}, {_WHY[what]}", (*others, read)


def _verdict(
    found: Findings, promised: Sequence[Model], models: dict[Model, _Judgement], reads: int, limits: Sequence[str]
) -> Verdict:
    recording = found.recording
    keys = len(np.unique(recording.history.key)) if recording.history.micros is None else len(recording.history.micros.keys)
    verdict = found.verdict("sessions", {}, keys=keys, judged=reads, things="registers", apart=False)
    order = [*promised, *(model for model in MODELS if model not in promised)]
    states = [models[model].state for model in promised]
    validity = "invalid" if "refuted" in states else "valid" if set(states) == {"holds"} and reads else "unknown"
    vacuous = not reads and set(states) == {"holds"}
    reason = "no read tells anything: nothing is proven." if vacuous else _reason(promised, models)
    limits = [*limits, *(judged.limit for model, judged in models.items() if judged.limit and model in promised)]
    return msgspec.structs.replace(
        verdict, validity=validity, reason=reason,
        standings=tuple(
            Standing(model=model, state=models[model].state, by=tuple(models[model].by)) for model in order
        ),
        limits=tuple(dict.fromkeys(limits)),
    )


def _claimed(recording: Recording) -> tuple[Model, ...]:
    """The models of sessions that the variant promises."""
    claimed = recording.variant.claim.promises if recording.variant is not None else ()
    return tuple(model for model in MODELS if model in claimed)


_WHY = {
    "garbage": "which nobody wrote.", "aborted-read": "whose write was reported as failed.",
    "future-read": "which it was only going to write.", "intermediate-read": "which its writer replaced itself.",
    "internal": "which is not what it had written itself.",
}


_WAS_READ: dict[Flaw, str] = {
    "garbage": "what nobody wrote was read", "aborted-read": "what was reported as failed was read",
    "future-read": "what was only going to be written was read",
    "intermediate-read": "what its writer replaced itself was read",
    "internal": "what a transaction had written itself was not what it read",
}


def _reason(promised: Sequence[Model], models: dict[Model, _Judgement]) -> str:
    broken = [model for model in MODELS if models[model].state == "refuted"]
    holds = next((model for model in MODELS if models[model].state == "holds"), None)
    told = [models[model].sentence for model in reversed(broken) if models[model].sentence]
    if any(model in broken for model in promised):
        whole = "; ".join(dict.fromkeys(told)) or f"{_words(promised[0])} does not hold"
        kept = [model for model in GUARANTEES if models[model].state == "holds"]
        return whole + (f"; what holds is {listed(list(map(_words, kept)))}." if kept else ".")
    undecided = [model for model in promised if models[model].state != "holds"]
    if undecided:
        why = models[undecided[0]].limit
        return f"{_words(undecided[0])} could not be decided" + (f": {why}." if why else ".")
    beyond = f"; {'; '.join(dict.fromkeys(told))}" if told else ""
    best = [holds] if holds is not None and set(promised) <= set(IMPLIED[holds]) else promised
    return f"{listed(list(map(_words, best)))} {'holds' if len(best) == 1 else 'hold'}{beyond}."


def _words(model: str) -> str:
    return {"causal": "causal consistency", "sequential": "sequential consistency"}.get(model, model.replace("-", " "))


class _View:
    """One history taken apart, and what is said of it."""

    def __init__(self, recording: Recording, told: History, facts: Facts, initial: Any) -> None:
        self.recording = recording
        self.history = recording.history
        self.told = told
        self.facts = facts
        assert told.micros is not None
        self.micros = told.micros
        self.reads = int(((self.micros.f == READ) & (self.micros.value != UNKNOWN)).sum())
        self.limits: list[str] = []
        self.initial = initial

    def models(self, found: Findings, counted: Sequence[Model], budget: Budget) -> dict[Model, _Judgement]:
        """Where the history stands to each model; what breaks those that are `counted` is found."""
        models: dict[Model, _Judgement] = {}
        whole = self._at_once(budget)
        for guarantee in GUARANTEES:
            holds = whole is not None and whole.state == "holds"
            of = found if guarantee in counted else None
            models[guarantee] = _Judgement("holds") if holds else self.guarantee(of, guarantee, budget)
        models["causal"] = self.causal(found if "causal" in counted else None, models, whole, budget)
        models["sequential"] = self.sequential(found if "sequential" in counted else None, models["causal"], budget)
        return models

    def _at_once(self, budget: Budget) -> Decision | None:
        """Of a large history whether causal consistency holds, where that is soon known: then so do all guarantees, which need
        not be looked at one by one."""
        size = self.facts.size
        if size < COMPILED_FROM or size * self.facts.sessions > _SOON or not machine_code.available():
            return None
        found = decide.decide(self.facts, "causal", self.micros.keys, budget.within(budget.left * _FOR_ALL))
        return None if found.state == "undecided" else found

    def operation(self, node: int) -> Operation:
        return self.history[int(self.facts.row[node])]

    def guarantee(self, found: Findings | None, guarantee: Guarantee, budget: Budget) -> _Judgement:
        try:
            finding = find(self.facts, guarantee, budget)
        except Exhausted as limit:
            self.limits.append(str(limit))
            return _Judgement("undecided", limit=str(limit))
        if not finding.refuted:
            return _Judgement("holds")
        worst = self._tell(found, BROKEN[guarantee], finding.breaks, finding.nodes, guarantee)
        return _Judgement("refuted", [BROKEN[guarantee]] if found is not None else [],
                          sentence=self._summary(guarantee, finding.breaks, worst))

    def _tell(
        self, found: Findings | None, identifier: str, breaks: Sequence[Break], nodes: Callable[[Break], list[int]],
        model: Model,
    ) -> int:
        """Count and show them; the longest time that one went back, -1 where no time is known."""
        worst = -1
        timed = self.history.timed
        ages = []
        for one in breaks:
            since = int(self.facts.completed[one.because])
            seen = int(self.facts.completed[one.reader])
            ages.append(seen - since if NEVER not in (since, seen) and timed and seen >= since else -1)
        for age, one in sorted(zip(ages, breaks, strict=True), key=lambda pair: -pair[0]):
            worst = max(worst, age)
            if found is None:
                continue
            row = int(self.facts.row[one.reader])
            invoked, completed = int(self.history.invoked[row]), int(self.history.completed[row])
            moment = Moment(began=invoked, seen=invoked if completed == NEVER else completed)
            found.add(identifier, self.history[row].key, moment, partial(self._told, nodes, one, model, age))
        return worst

    def _told(self, nodes: Callable[[Break], list[int]], one: Break, model: Model, age: int) -> Told:
        others = sorted((self.operation(node) for node in nodes(one) if node != one.reader), key=lambda op: op.invoked)
        return self._sentence(one, model, age), [*others, self.operation(one.reader)]

    def _sentence(self, one: Break, model: Model, age: int) -> str:
        read, newer = self.operation(one.reader), self.operation(one.newer)
        before = f"{_who(read)} read {self._returned(one)} at {_when(self.recording, read)}"
        ago = f" {age / 1e9:.3f} s before" if age >= 0 else " before"
        match model:
            case "read-your-writes":
                return f"{before}, though it had itself written {_written(newer)}{ago}."
            case "monotonic-reads":
                return f"{before}, though it had read {_written(newer)}{ago}."
            case "writes-follow-reads":
                return f"{before}, an effect of what was only then caused: {_written(newer)} and it follow from each other."
            case _:
                return f"{before}, though it had seen what comes after {_written(newer)}, which is newer."

    def _returned(self, one: Break) -> str:
        if one.older == self.facts.size:
            return "what was there in the beginning"
        return _written(self.operation(one.older))

    def _summary(self, model: Model, breaks: Sequence[Break], worst: int) -> str:
        """`312 of 9,480 reads broke monotonic reads, all on the minority side, worst 8.1 s`."""
        many = len(breaks)
        text = f"{many:,} of {self.reads:,} reads broke {_words(model)}"
        readers = [self.operation(one.reader) for one in breaks]
        if readers and (sides := self._sides(readers)):
            text += f", {sides}"
        if self.recording.faults and readers:
            when = Counter(self._period(read) for read in readers)
            text += " (" + ", ".join(f"{when[name]:,} {name}" for name in _PERIODS if when[name]) + ")"
        keys = Counter(read.key for read in readers if read.key is not None)
        if len(keys) > 1:
            key, most = keys.most_common(1)[0]
            text += f", on {len(keys):,} keys, most on key {key} ({most:,})"
        return text + (f", worst {worst / 1e9:.1f} s" if worst >= 0 else "")

    def _sides(self, reads: Sequence[Operation]) -> str:
        """Where they were, if that was one side, or not everywhere."""
        standing = [self._standing(read) for read in reads]
        known = {tuple(fault.id for fault in faults): faults for faults in standing}
        small = {ids: {node for side in composed(self.recording, faults) if 2 * len(side) < len(self.recording.nodes)
                       for node in side} for ids, faults in known.items() if faults}
        if all(faults and read.node in small[tuple(fault.id for fault in faults)]
               for read, faults in zip(reads, standing, strict=True)):
            return "all on the minority side"
        nodes = sorted({read.node for read in reads if read.node is not None})
        if not nodes or len(nodes) == len(self.recording.nodes):
            return ""
        return f"all at {' and '.join(nodes)}" if len(nodes) < 3 else f"at {len(nodes)} of {len(self.recording.nodes)} nodes"

    def _standing(self, read: Operation) -> list[Fault]:
        return [fault for fault in self.recording.faults
                if fault.started <= read.ended and (fault.healed is None or read.invoked <= fault.healed)]

    def _period(self, read: Operation) -> str:
        if self._standing(read):
            return "during a fault"
        early = all(fault.started > read.ended for fault in self.recording.faults)
        return "before the first fault" if early else "after a fault"

    def causal(
        self, found: Findings | None, models: dict[Model, _Judgement], whole: Decision | None, budget: Budget
    ) -> _Judgement:
        broken = [model for model in GUARANTEES if models[model].state == "refuted"]
        if broken:
            return _Judgement("refuted", [name for model in broken for name in models[model].by])
        keys = self.micros.keys
        decision = whole or decide.decide(self.facts, "causal", keys, budget)
        if decision.state != "refuted":
            return _Judgement(decision.state, limit=decision.limit)
        name = [BROKEN["causal"]] if found is not None else []
        try:
            breaks, nodes = causal_breaks(self.facts, budget)
        except Exhausted as limit:
            # Refuted it is all the same; where, is not told.
            self.limits.append(f"{limit}: which reads broke causal consistency was not found")
            return _Judgement("refuted", name, sentence="causal consistency does not hold")
        worst = self._tell(found, BROKEN["causal"], breaks, nodes, "causal")
        return _Judgement("refuted", name, sentence=self._summary("causal", breaks, worst))

    def sequential(self, found: Findings | None, causal: _Judgement, budget: Budget) -> _Judgement:
        if causal.state == "refuted":
            return _Judgement("refuted", causal.by)
        try:
            # An order of time as well would be all there is to know; it is not looked for where there is none.
            inference = rw_register.infer(self.told, budget, TURNS if in_time(self.told) else 0)
        except Exhausted as limit:
            return _Judgement("undecided", limit=str(limit))
        refusals = untold_refusals(self.history)
        soon = budget.within(5, "no order was found within 5 s of processor time")
        if inference.ambiguous:
            pass  # Values that repeat, and that nobody read, are for the search alone.
        elif len(refusals):
            order = completion.serial(inference, "strong-session-serializable", soon)
            try:
                if order is not None and refused_in(
                    self.history, self.told.process, inference.committed, order, refusals, self.initial, soon
                ):
                    return _Judgement("holds")
            except Exhausted as limit:
                return _Judgement("undecided", limit=str(limit))
        elif completion.holding(inference, frozenset({"strong-session-serializable"}), soon):
            return _Judgement("holds")
        if budget.over or (soon.over and self.facts.size > SEARCHED):
            return _Judgement("undecided", limit=soon.limit)
        if self.facts.size > SEARCHED:
            return _Judgement("undecided", limit=f"no order of {self.facts.size:,} operations was found at once")
        decision = decide.decide(self.facts, "strong-session-serializable", self.micros.keys, budget)
        if decision.state == "holds" and len(refusals):
            return _Judgement("undecided", limit="no order was found at once in which what was refused had to be")
        if decision.state != "refuted":
            return _Judgement(decision.state, limit=decision.limit)
        rows = sorted({row for edge in decision.cycle for row in (edge.source, edge.target) if row >= 0})
        name = BROKEN["sequential"]
        clients = len({self.history[row].process for row in rows})
        sentence = f"no one order of all operations explains what {clients} clients saw"
        if found is not None:
            operations = [self.history[row] for row in rows]
            last = max(operations, key=lambda op: op.invoked)
            moment = Moment(began=last.invoked, seen=last.ended)
            found.add(name, None, moment, lambda: (sentence + ".", [*(one for one in operations if one is not last), last]))
        return _Judgement("refuted", [name] if found is not None else [], sentence=sentence)


_PERIODS = ("before the first fault", "during a fault", "after a fault")


def _who(operation: Operation) -> str:
    return f"client {operation.process}" + (f" at {operation.node}" if operation.node else "")


def _written(operation: Operation) -> str:
    value = operation.value
    if operation.f == "cas":
        value = value[1]
    elif operation.f == "txn":
        return ", ".join(f"{micro[2]} of key {micro[1]}" for micro in value if micro[0] == "w")
    return f"{value}" + (f" of key {operation.key}" if operation.key is not None else "")


def _shown(operation: Operation, key: Any) -> str:
    value = operation.value
    if operation.f == "txn":
        value = next((micro[2] for micro in value if micro[0] == "r" and micro[1] == key), None)
    elif operation.f == "cas" and isinstance(value, (tuple, list)):
        value = operation.seen[0] if operation.seen else value[0]
    return f"{value}" + (f" of key {key}" if key is not None else "")


def _when(recording: Recording, operation: Operation) -> str:
    return clock(operation.ended) if recording.history.timed else f"operation {operation.index}"
