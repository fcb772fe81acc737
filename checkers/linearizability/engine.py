"""The order of attack: what decides each key, within which limits, and the verdict over all of them."""

from __future__ import annotations

import os
import pickle
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.anomalies import in_order, rank
from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.containers.counters import decide_counter
from splitbrain.checkers.linearizability.containers.distinct import (
    decide_priority_queue,
    decide_queue,
    decide_stack,
    decide_unordered_queue,
)
from splitbrain.checkers.linearizability.containers.ids import decide_ids
from splitbrain.checkers.linearizability.containers.sets import decide_set
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.evidence import evidence, shrink
from splitbrain.checkers.linearizability.evidence.explain import explain
from splitbrain.checkers.linearizability.evidence.explanation import Finding
from splitbrain.checkers.linearizability.evidence.lineages import Course
from splitbrain.checkers.linearizability.machine import compiled
from splitbrain.checkers.linearizability.registers import precedence, projections, zones
from splitbrain.checkers.linearizability.registers.impossible import decide_impossible
from splitbrain.checkers.linearizability.search.pool import beside, judge_apart
from splitbrain.checkers.linearizability.search.rotation import TIME_IS_UP, rotate
from splitbrain.checkers.linearizability.search.start import search, start
from splitbrain.checkers.linearizability.strings import append
from splitbrain.checkers.models.specifications import (
    CasRegister,
    IdGenerator,
    KeyValue,
    Model,
    MultiRegister,
    PriorityQueue,
    Queue,
    Register,
    Set,
    Stack,
    UnorderedQueue,
)
from splitbrain.checkers.models.specifications import Counter as Sum
from splitbrain.checkers.verdict import Anomaly, Coverage, Moment, Standing, State, Undecided, Validity, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import INFO, OK, History
from splitbrain.harness.history.operation import Key

SMALL = 600
"""Up to so many operations of one register, a search is tried before the columns are sorted into zones."""
PATIENCE = 1.0
"""Seconds of searching in this process after which more processes are worth their start."""
_AT_ONCE = 500
"""Steps that the search of a single key is given before anybody looks at the clock."""
AT_LEAST = 0.1
"""Of the time limit, so much, and so many seconds, are for the explanation even where deciding took all the time there was."""
_FOR_REGISTERS = 0.2
"""Of the time that is left, so much is for looking at each of several registers alone, before they are searched together."""
_FOR_PRECEDENCE = 0.85
"""Of the time that is left then, so much is for finding out which of their transactions must come first."""
_READING = ("read", "get")
EXPLAINED_APART = 200_000
"""Operations of refuted keys from which on it is worth the start of a process to explain some of them there."""
_MEANWHILE = 150_000
"""Operations whose keys are explained here while another process starts: about a second."""
MOST_BESIDE = 3
"""So many processes explain keys beside this one at most: each takes the memory of its share."""
SHOWN = 20
"""Anomalies of each name that are shown; all are counted."""
_TO_CHOOSE_FROM = 10 * SHOWN
"""Of so many of each name, over all keys, the evidence is looked for: of many keys, a few of each."""

_SPECIAL: dict[type[Model], Callable[[History, Any, Budget], Decision | None]] = {
    IdGenerator: decide_ids,
    Sum: decide_counter,
    PriorityQueue: decide_priority_queue,
    Queue: decide_queue,
    Set: decide_set,
    Stack: decide_stack,
    UnorderedQueue: decide_unordered_queue,
}


class _Parts:
    """The parts of a history that belong to each of some key codes, taken apart when the first of them is asked for."""

    def __init__(self, history: History, codes: list[int]) -> None:
        self.history = history
        self.codes = codes
        self._rows: dict[int, NDArray[np.int64]] = {}

    def of(self, code: int) -> History:
        if not self._rows:
            wanted = np.zeros(len(self.history.keys) + 1, np.bool_)
            wanted[np.array(self.codes) + 1] = True
            rows = np.flatnonzero(wanted[self.history.key + 1])
            rows = rows[np.argsort(self.history.key[rows], kind="stable")]
            ends = np.searchsorted(self.history.key[rows], self.codes, side="right")
            self._rows = dict(zip(self.codes, np.split(rows, ends[:-1]), strict=True))
        rows = self._rows[code]
        return self.history if len(rows) == len(self.history) else self.history.select(rows)


class _Case:
    """The history of one key and what is known of it. The history of one of several `parts` is made when it is asked for."""

    __slots__ = ("key", "decision", "_history", "_code")

    def __init__(self, key: Key, history: History | _Parts, code: int = -1, decision: Decision | None = None) -> None:
        self.key = key
        self.decision = decision
        self._history = history
        self._code = code

    @property
    def history(self) -> History:
        if isinstance(self._history, _Parts):
            self._history = self._history.of(self._code)
        return self._history


@dataclass(slots=True)
class _Findings:
    """What is wrong, over all keys."""

    moments: dict[str, list[Moment]] = field(default_factory=dict)
    shown: list[tuple[_Case, Finding]] = field(default_factory=list)
    bad_keys: int = 0


def check(
    history: History,
    model: Model,
    *,
    time_limit: float = 60.0,
    memory_limit: int | None = None,
    processes: int | None = None,
    explanation: bool = True,
    course: Course | None = None,
) -> Verdict:
    """Whether every key of `history` is linearizable for `model`, and if not, why not.

    The answer is `invalid` if one key is refuted, else `unknown` if one key could not be decided within `time_limit` seconds
    (some of which are for the explanation) and while this process had grown by no more than `memory_limit` bytes (by default
    2 GiB, or half of what the machine has left where that is less), else `valid`. `limits` names every limit that was hit,
    `coverage.undecided` which keys are undecided and how far they were searched. `processes` is how many may search or explain
    at once, by default one a core. Without `explanation` there are no anomalies and no counts, only the answer, and what could
    not be decided at once is not searched when a key has been refuted. `course` tells what survived in a run, None for a
    history that tells of no phases.

    Raises `UsageError` where the model does not know an operation or cannot use its value.
    """
    began = time.monotonic()
    budget = Budget.of(time_limit, memory_limit)
    methods: Counter[str] = Counter()
    cases, limits, keys = _decide(history, model, methods, budget, processes, explanation)
    invalid = [case for case in cases if case.decision is not None and case.decision.valid is False]
    unknown = [case for case in cases if case.decision is not None and case.decision.valid is None]
    found = _Findings(bad_keys=len(invalid))
    if explanation:
        budget = budget.at_least(AT_LEAST * (1 + time_limit))
        shown = max(1, min(SHOWN, _TO_CHOOSE_FROM // max(1, len(invalid))))
        explained = _explain_all(invalid, model, shown, course, budget, processes)
        for case, told in zip(invalid, explained, strict=True):
            if told is None:
                continue
            for name, times in told.moments.items():
                found.moments.setdefault(name, []).extend(times)
            found.shown += [(case, finding) for finding in told.findings]
            if told.limit and told.limit not in limits:
                limits.append(told.limit)
        if left := explained.count(None):
            limits.append(f"{budget.limit}: no explanation for {left} of {len(invalid)} refuted keys")
    return _verdict(history, model, keys, methods, found, unknown, limits, time.monotonic() - began)


def answers(history: History, model: Model) -> dict[Key, bool]:
    """Whether each key of `history` is linearizable for `model`, however long it takes, and nothing else."""
    cases, _, _ = _decide(history, model, Counter(), FOREVER, 1, True)
    told: dict[Key, bool] = {key: True for key, _ in history.by_key()}
    return told | {case.key: False for case in cases}


def _decide(
    history: History, model: Model, methods: Counter[str], budget: Budget, processes: int | None, explanation: bool
) -> tuple[list[_Case], list[str], int]:
    """The keys that are invalid or undecided, the limits that were hit, and the number of keys; counts the `methods`."""
    given = budget.left
    cases: list[_Case] = []
    open_cases: list[_Case] = []
    keys = 1
    if isinstance(model, Register) and type(model) in (Register, CasRegister):
        keys = _registers(history, model, methods, cases, open_cases, budget)
    elif type(model) is KeyValue:
        status = append.decide(history, model, every_key=explanation, budget=budget)
        keys = _sort_out(history, status, "append", methods, cases, open_cases, every_key=explanation)
    else:
        keys = len(parts := list(history.by_key()) if model.per_key else [(None, np.arange(len(history)))])
        special = _SPECIAL.get(type(model))
        for key, rows in parts:
            case = _Case(key, history if keys == 1 else history.select(rows))
            if special is not None and not budget.over:
                try:
                    case.decision = special(case.history, model, budget)
                except Exhausted:
                    case.decision = None
            if case.decision is None:
                open_cases.append(case)
            else:
                methods[case.decision.method] += 1
                if case.decision.valid is not True:
                    cases.append(case)

    limits: list[str] = []
    if isinstance(model, Register | MultiRegister):
        open_cases = _impossible(open_cases, model, methods, cases, budget)
    if open_cases and (explanation or not cases):
        # What is refuted is also to be explained.
        reserve = min(given / 5, evidence.PATIENCE) if explanation else 0.0
        limit = budget.limit
        if not budget.over:
            try:
                _search(open_cases, model, budget, reserve, processes, explanation)
            except Exhausted as error:
                limit = str(error)
        for case in open_cases:
            decision = case.decision = case.decision or Decision(method="search", valid=None, limit=limit)
            methods[decision.method] += 1
            if decision.valid is not True:
                cases.append(case)
            if decision.limit and decision.limit not in limits:
                limits.append(decision.limit)
    return cases, limits, keys


def _registers(
    history: History, model: Register, methods: Counter[str], cases: list[_Case], open_cases: list[_Case], budget: Budget
) -> int:
    """Decide registers by zones, all keys at once; what they cannot decide goes to `open_cases`."""
    if len(history) <= SMALL and len(history.keys) <= 1:
        open_cases.append(_Case(history.keys[0] if history.keys else None, history))
        return 1
    status = zones.decide(history, model, budget)
    return _sort_out(history, status, "chains" if "cas" in history.fs else "zones", methods, cases, open_cases)


def _impossible(
    open_cases: list[_Case], model: Register | MultiRegister, methods: Counter[str], cases: list[_Case], budget: Budget
) -> list[_Case]:
    """Refute what a single read refutes, and decide several registers where that takes no search; what is left."""
    left = []
    for case in open_cases:
        if budget.over:
            left.append(case)
            continue
        try:
            if isinstance(model, MultiRegister):
                case.decision = _of_several(case.history, model, budget)
            elif len(case.history) > SMALL:
                case.decision = decide_impossible(case.history, model, budget)
        except Exhausted:
            case.decision = None
        if case.decision is None:
            left.append(case)
        else:
            methods[case.decision.method] += 1
            if case.decision.valid is not True:
                cases.append(case)
    return left


def _of_several(history: History, model: MultiRegister, budget: Budget) -> Decision | None:
    """The decision on several registers: on few transactions by some steps of the search, else by one register alone, and
    then by what must come before what. Raises `Exhausted`."""
    if len(history) > SMALL:
        decision = _by_register(history, model, budget)
        if decision is not None:
            return decision
    else:
        tried = search(history, model, max_steps=_AT_ONCE, budget=budget)
        if tried.valid is not None:
            return tried
    return precedence.decide_precedence(history, model, budget.within(budget.left * _FOR_PRECEDENCE))


def _by_register(history: History, model: MultiRegister, budget: Budget) -> Decision | None:
    """Refute several registers by one of them alone, in a part of the time. Raises `Exhausted`."""
    alone = projections.projected(history, model, budget)
    if alone is None:
        return None
    registers, names = alone
    one = CasRegister(initial=model.before, nil=model.nil)
    verdict = check(registers, one, time_limit=budget.left * _FOR_REGISTERS, memory_limit=budget.room, processes=1)
    return projections.decision(verdict, names)


def _sort_out(
    history: History, status: NDArray[np.int8], name: str, methods: Counter[str], cases: list[_Case],
    open_cases: list[_Case], *, every_key: bool = True,
) -> int:
    """Of keys that `name` decided all at once, put the invalid ones in `cases` and the undecided ones in `open_cases`; without
    `every_key` only the invalid ones, if there are any. The number of keys."""
    found: list[int] = status.tolist()
    keys = len(found) - found.count(zones.ABSENT)
    methods[name] = keys - found.count(zones.UNDECIDED)
    if found.count(zones.VALID) == keys:
        return keys
    wanted = (zones.INVALID, zones.UNDECIDED) if every_key or zones.INVALID not in found else (zones.INVALID,)
    codes = [at - 1 for at, how in enumerate(found) if how in wanted]
    parts = _Parts(history, codes)
    for code in codes:
        case = _Case(history.keys[code] if code >= 0 else None, parts, code)
        if found[code + 1] == zones.INVALID:
            case.decision = Decision(method=name, valid=False)
            cases.append(case)
        else:
            open_cases.append(case)
    return keys


def _search(
    cases: list[_Case], model: Model, budget: Budget, reserve: float, processes: int | None, trace: bool
) -> None:
    """Search every case, in this process first, in several if that is not soon enough. As long as none is refuted, the
    `reserve` of so many seconds for explaining is not needed. Raises `Exhausted`."""
    if isinstance(model, Register) and compiled.loaded():
        for case in cases:
            if not budget.over:
                case.decision = _by_machine_code(case.history, model, trace)
        if not (cases := [case for case in cases if case.decision is None]):
            return
    searches = [start(case.history, model, budget) for case in cases]
    sooner = budget.within(budget.left - reserve)
    if len(cases) == 1 and searches[0].run(_AT_ONCE) is not None:
        cases[0].decision = searches[0].decision(trace=trace and searches[0].valid is not True)
        return
    workers = 1 if len(cases) == 1 else min(processes or len(os.sched_getaffinity(0)), len(cases))
    if workers > 1:
        rotate(searches, sooner.within(PATIENCE))
        rest = [at for at, hunt in enumerate(searches) if hunt.valid is None and not hunt.spent]
        if len(rest) > 1 and not sooner.over:
            parts = [cases[at].history for at in rest]
            decisions = judge_apart(parts, model, sooner, workers)
            for at, decision in zip(rest, decisions or (), strict=False):
                if decision.limit != TIME_IS_UP:
                    cases[at].decision = decision
    left = [(case, hunt) for case, hunt in zip(cases, searches, strict=True) if case.decision is None]
    hunts = [hunt for _, hunt in left]
    rotate(hunts, sooner)
    refuted = [case for case in cases if case.decision is not None and case.decision.valid is False]
    if not refuted and all(hunt.valid is not False for hunt in hunts):
        rotate(hunts, budget)
    for case, hunt in left:
        case.decision = hunt.decision(hunt.spent or budget.limit, trace and hunt.valid is not True)


def _by_machine_code(history: History, model: Register, trace: bool) -> Decision | None:
    """The decision of the compiled search, None where it has none. Where a refuted history got stuck only the plain search
    can tell; that is worth a few steps."""
    if (status := compiled.register(history, model)) == zones.UNDECIDED:
        return None
    if status == zones.INVALID and trace:
        traced = search(history, model, max_steps=_AT_ONCE)
        if traced.valid is False:
            return traced
    return Decision(method="search", valid=status == zones.VALID)


class _Explained(msgspec.Struct):
    """What is wrong with one key: when each anomaly happened, by its name, what is shown, and the limit that was hit."""

    moments: dict[str, list[Moment]] = {}
    findings: list[Finding] = []
    limit: str = ""


def _explain_all(
    cases: list[_Case], model: Model, shown: int, course: Course | None, budget: Budget, processes: int | None
) -> list[_Explained | None]:
    """What is wrong with each of these keys, by several processes where they have many operations; None for those for which
    the budget did not suffice."""
    many = min(processes or len(os.sched_getaffinity(0)), MOST_BESIDE + 1, len(cases))
    small = type(model) not in (Register, CasRegister) or sum(len(case.history) for case in cases) < EXPLAINED_APART
    if many < 2 or budget.over or small:
        return _explain_each(cases, model, shown, course, budget)
    # This process has explained some before the others have begun; what is left is dealt round, the first to this one.
    ahead = min(int(np.searchsorted(np.cumsum([len(case.history) for case in cases]), _MEANWHILE)), len(cases) - many)
    shares = [cases[ahead + at::many] for at in range(many)]
    found: list[_Explained | None] = [None] * len(cases)
    memory = max(0, budget.room) // many
    try:
        with beside(budget) as pool:
            for share in shares[1:]:
                sent = [(case.key, case.history, -1, case.decision) for case in share]
                pool.give(_explain_apart, (sent, model, shown, course), budget, memory)
            found[:ahead] = _explain_each(cases[:ahead], model, shown, course, budget)
            found[ahead::many] = _explain_each(shares[0], model, shown, course, budget)
            answers = pool.answers()
    except (OSError, pickle.PicklingError, AttributeError):
        return _explain_each(cases, model, shown, course, budget)
    for at, share in enumerate(shares[1:], 1):
        told = None if answers is None else msgspec.msgpack.decode(answers[at - 1], type=list[_Explained | None])
        found[ahead + at::many] = _explain_each(share, model, shown, course, budget) if told is None else told
    return found


def _explain_apart(
    sent: list[tuple[Key, History, int, Decision]], model: Model, shown: int, course: Course | None, budget: Budget
) -> bytes:
    """As `_explain_each`, as MessagePack."""
    return msgspec.msgpack.encode(_explain_each([_Case(*one) for one in sent], model, shown, course, budget))


def _explain_each(
    cases: Sequence[_Case], model: Model, shown: int, course: Course | None, budget: Budget
) -> list[_Explained | None]:
    """What is wrong with each of these keys, at most `shown` of each name with its evidence; None for those for which the
    budget did not suffice. Raises `UsageError`."""
    found: list[_Explained | None] = []
    for case in cases:
        if budget.over:
            break
        try:
            found.append(_explain(case, model, shown, course, budget))
        except UsageError:
            raise
        except Exception as error:
            # What was refuted stays refuted, whether or not it can be put into words.
            where = "" if case.key is None else f" of key {case.key}"
            found.append(_Explained(limit=f"the explanation{where} failed: {type(error).__name__}: {error}"))
    return found + [None] * (len(cases) - len(found))


def _explain(case: _Case, model: Model, shown: int, course: Course | None, budget: Budget) -> _Explained:
    """As `_explain_each`, of one."""
    decision = case.decision
    assert decision is not None
    moments: dict[str, list[Moment]] = {}
    findings: list[Finding] = []
    limit = ""
    if decision.method == "append":
        try:
            decision = append.decide_append(case.history, model, budget) or decision
        except Exhausted as error:
            return _Explained(limit=f"{error}: the explanation is not complete")
    elif decision.method == "precedence" and decision.stuck is not None and isinstance(model, MultiRegister):
        try:
            proof = precedence.show(case.history, model, decision.stuck, budget.within(evidence.PATIENCE, evidence.LATE))
        except Exhausted as error:
            return _Explained(limit=f"{error}: what is wrong was not found")
        if proof is None:
            return _Explained(limit=f"{evidence.LATE}: what is wrong was not found")
        decision = proof
    if decision.rows:
        accused = decision.rows[-1] if decision.accused is None else decision.accused
        findings = [Finding(decision.identifier, decision.rows, decision.sentence, accused)]
        limit = decision.limit
    elif decision.limit:
        return _Explained(limit=f"{decision.limit}: what is wrong was not found")
    elif isinstance(model, Register):
        if decision.method == "search" and int(zones.decide(case.history, model, budget).max()) == zones.INVALID:
            decision = Decision(method="zones", valid=False)
        if decision.method != "search":
            moments, findings, whole = explain(case.history, model, shown, budget, course)
            limit = "" if whole else f"{budget.limit}: not every anomaly was looked for"
    if not findings and not limit:
        finding, limit = shrink.refute(case.history, model, decision, budget, _faster(model, budget))
        moments, findings = {name: moments[name] for name in (finding.identifier,) if name in moments}, [finding]
    if not moments:
        moments = {finding.identifier: [_moment(case.history, finding)] for finding in findings}
    return _Explained(moments, findings, limit)


def _faster(model: Model, budget: Budget) -> Callable[[History], Decision | None] | None:
    """The faster way that there is for histories of one object; it has no decision where the budget does not suffice."""
    special = append.decide_append if type(model) is KeyValue else _SPECIAL.get(type(model))
    if special is None:
        return None
    way: Callable[[History, Any, Budget], Decision | None] = special

    def decide(history: History) -> Decision | None:
        try:
            return way(history, model, budget)
        except Exhausted:
            return None

    return decide


def _verdict(
    history: History, model: Model, keys: int, methods: Counter[str], found: _Findings, unknown: list[_Case],
    limits: list[str], seconds: float,
) -> Verdict:
    coverage = Coverage(
        keys=keys, operations=len(history), refuted=found.bad_keys, methods={name: n for name, n in methods.items() if n},
        undecided=tuple(
            Undecided(key=case.key, operations=len(case.history), linearized=len(case.decision.linearized))
            for case in unknown if case.decision is not None
        ),
    )
    counts = in_order({name: len(times) for name, times in found.moments.items()})
    anomalies = _anomalies(found) if found.shown else ()
    verdict = conclude(model, coverage, anomalies, counts, found.moments, tuple(limits), seconds)
    if verdict.validity != "unknown" or not unknown:
        return verdict
    hardest = max(unknown, key=lambda case: len(case.history))
    return msgspec.structs.replace(verdict, reason=verdict.reason + _hardness(hardest, model))


def conclude(
    model: Model, coverage: Coverage, anomalies: tuple[Anomaly, ...], counts: dict[str, int],
    moments: Mapping[str, Sequence[Moment]], limits: tuple[str, ...], seconds: float,
) -> Verdict:
    """The verdict that what was covered and found amounts to, with its reason."""
    keys, refuted, undecided = coverage.keys, coverage.refuted or 0, len(coverage.undecided)
    of_keys = f"{refuted} of {keys} keys" if keys > 1 else "the history"
    validity: Validity
    if refuted:
        validity = "invalid"
        what = ", ".join(f"{n:,} × {name}" for name, n in counts.items())
        verb = "are" if keys > 1 and refuted > 1 else "is"
        reason = f"{of_keys} {verb} not linearizable" + (f": {what}" if what else "")
    elif undecided:
        validity = "unknown"
        reason = f"{undecided} of {keys} keys could not be decided: {', '.join(limits)}"
    else:
        validity = "valid"
        size = f"{keys} {'keys' if keys != 1 else 'key'}, {coverage.operations} operation{'s' * (coverage.operations != 1)}"
        reason = f"no anomaly found: {size}, linearizable as a {model.name}"
    states: dict[Validity, State] = {"valid": "holds", "invalid": "refuted", "unknown": "undecided"}
    return Verdict(
        checker="linearizability", validity=validity, reason=reason, anomalies=anomalies, counts=counts,
        standings=(Standing(model="linearizable", state=states[validity], by=tuple(counts)),), coverage=coverage,
        moments={name: tuple(times) for name, times in moments.items()}, limits=limits, seconds=seconds,
    )


def _hardness(case: _Case, model: Model) -> str:
    """Where the search for the history of a key came no further, what made that hard, and what would help."""
    history, decision = case.history, case.decision
    if decision is None or decision.stuck is None:
        return ""
    moment = int(history.completed[decision.stuck])
    begun = history.invoked <= moment
    reading = np.isin(history.f, [at for at, f in enumerate(history.fs) if f in _READING])
    unsure = int(np.count_nonzero(begun & ~reading & (history.outcome == INFO)))
    late = history.completed >= int(history.invoked[decision.stuck])
    beside = int(np.count_nonzero(begun & late & (history.outcome == OK))) - 1
    operation = history[decision.stuck]
    where = "" if case.key is None else f" on key {case.key}"
    told = (
        f". The search came furthest at {operation.f} of client {operation.process}{where}, after"
        f" {len(decision.linearized):,} of {len(history):,} operations: {beside} were under way beside it"
    )
    if unsure:
        told += f", and any of {unsure} unanswered changes may take effect there or later"
    help = ["fewer unanswered operations"] if unsure else []
    help += ["values that are written once"] if isinstance(model, Register) else []
    help += ["fewer clients on a key, so more keys"] if model.per_key else []
    return f"{told}. What helps: {', '.join(help)}" if help else told


def _anomalies(found: _Findings) -> tuple[Anomaly, ...]:
    """Those that are shown, the most telling first."""
    per: Counter[str] = Counter()
    anomalies = []
    for case, finding in sorted(found.shown, key=lambda pair: (rank(pair[1].identifier), len(pair[1].rows))):
        per[finding.identifier] += 1
        if per[finding.identifier] <= SHOWN:
            anomalies.append(_anomaly(case, finding))
    return tuple(anomalies)


def _anomaly(case: _Case, finding: Finding) -> Anomaly:
    """The finding with its operations."""
    return Anomaly(
        identifier=finding.identifier, sentence=finding.sentence, key=case.key,
        operations=tuple(case.history[row] for row in finding.rows), accused=finding.rows.index(finding.accused),
        moment=_moment(case.history, finding),
    )


def _moment(history: History, finding: Finding) -> Moment:
    """When it happened: while the accused operation was open, if nothing else is known."""
    if finding.moment is not None:
        return finding.moment
    accused = history[finding.accused]
    if finding.identifier != "lost-write":
        return Moment(accused.invoked, accused.ended)
    return Moment(accused.ended, max(accused.ended, *(int(history.invoked[row]) for row in finding.rows)), True)
