"""The smallest refuted part of a history that a search refuted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from checkers.linearizability import zones
from checkers.linearizability.decision import Decision
from checkers.linearizability.explain import Finding, explain
from checkers.linearizability.jit import from_problem
from checkers.linearizability.problem import Problem, encode
from checkers.linearizability.start import search
from checkers.models import Call, CasRegister, IdGenerator, Model, Register, State, canonical
from harness.history.history import FAIL, INFO, NEVER, OK, History
from harness.history.operation import MISMATCH

PATIENCE = 3.0
"""Seconds for making one refutation smaller."""
STEPS = 200_000
"""Steps of one search while making it smaller; what takes longer is kept."""
LATER = 20
"""Later observations that are tried before a write is called lost."""
CUTS = 200
"""Quiet moments that are tried as the beginning of the evidence."""
_PROBE = "ends elsewhere"


def refute(history: History, model: Model, decision: Decision, ends: float) -> tuple[Finding, str]:
    """The proof that the history of one object is not linearizable, as small as could be made, and the limit hit if any.

    Operations are left out only where that cannot make a linearizable history look broken: what came after the operation
    that cannot be placed; what came before a quiet moment at which the object can only have been as in the beginning; pure
    operations; and of a register, writes that none of the remaining reads can have read. So what is left refutes the whole
    history, and is refuted when judged alone.
    """
    ends = min(ends, time.perf_counter() + PATIENCE)
    rows = [row for row in range(len(history)) if history.outcome[row] != FAIL or _refused(history, row)]
    if type(model) is CasRegister:
        rows = _about_refusal(history, model, rows)
    if decision.stuck is not None:
        last = int(history.completed[decision.stuck])
        rows = _if_refuted([row for row in rows if history.invoked[row] <= last], rows, history, model)
    needs = _sources(history, model, rows)
    if needs is None:
        rows = _without_past(rows, history, model, ends)
    free = None if needs is not None else {row for row in rows if model.pure(_call(history, row))}
    spent = ""

    def allowed(kept: list[int]) -> bool:
        if needs is None:
            return True
        present = set(kept)
        return all(source in present for row in kept for source in needs.get(row, ()))

    size = max(1, len(rows) // 2)
    while True:
        at, before = 0, len(rows)
        while at < len(rows):
            chunk = {row for row in rows[at:at + size] if free is None or row in free}
            kept = [row for row in rows if row not in chunk]
            if time.perf_counter() > ends:
                spent = f"time limit of {PATIENCE:.3g} s for making the evidence smaller"
                break
            if chunk and kept and allowed(kept) and _refuted(kept, history, model):
                rows = kept
                # What is later stays rather than what is earlier: start again where something may have become free.
                at = 0 if size == 1 else at
            else:
                at += size
        if spent or (size == 1 and len(rows) == before):
            break
        size = max(1, size // 2)
    if needs is not None:
        found = _named(history, model, rows)
        if found is not None and found.identifier == "lost-write":
            # Nothing was lost if something newer was observed later.
            since = max(int(history.invoked[row]) for row in rows)
            later = [row for row in needs if int(history.invoked[row]) > since]
            for row in sorted(later, key=lambda row: -int(history.invoked[row]))[:LATER]:
                other = _named(history, model, sorted({*rows, row, *needs[row]}))
                if other is not None and other.identifier != "lost-write":
                    found = other
                    break
        if found is not None:
            return found, spent
    part = history.select(np.array(rows))
    stuck = search(part, model, max_steps=STEPS).stuck
    accused = rows[stuck] if stuck is not None else rows[-1]
    identifier = "duplicate" if isinstance(model, IdGenerator) else "non-linearizable"
    operation = history[accused]
    sentence = (
        f"{operation.f} {_text(operation.value)} of client {operation.process} fits nowhere: no order of these "
        f"{len(rows)} operations that agrees with their times is one that a {model.name} allows"
    )
    return Finding(identifier, tuple(rows), sentence, accused), spent


def _named(history: History, model: Model, rows: list[int]) -> Finding | None:
    """What these rows of a register show, by the names for distinct values; None where values are not distinct."""
    rows = sorted({*rows, *_failed_writers(history, rows)})
    part = history.select(np.array(rows))
    if not isinstance(model, Register) or int(zones.decide(part, model).max()) != zones.INVALID:
        return None
    _, findings = explain(part, model, 1)
    if not findings:
        return None
    found = findings[0]
    return Finding(found.identifier, tuple(rows[at] for at in found.rows), found.sentence, rows[found.accused])


def _text(value: object) -> str:
    text = "nil" if value is None else str(value)
    return text if len(text) <= 40 else text[:37] + "..."


def _refused(history: History, row: int) -> bool:
    code = int(history.error[row])
    return history.fs[history.f[row]] == "cas" and code >= 0 and history.errors[code] == MISMATCH


def _call(history: History, row: int) -> Call:
    operation = history[row]
    outcome = "refused" if operation.outcome == "fail" else operation.outcome
    seen = tuple(canonical(value) for value in operation.seen)
    return Call(operation.f, canonical(operation.value), outcome, seen, operation.process, operation.key)


def _refuted(rows: Iterable[int], history: History, model: Model) -> bool:
    return search(history.select(np.array(list(rows))), model, max_steps=STEPS).valid is False


def _if_refuted(smaller: list[int], rows: list[int], history: History, model: Model) -> list[int]:
    return smaller if len(smaller) < len(rows) and _refuted(smaller, history, model) else rows


class _Elsewhere(Model):
    """`model`, and a probe that is possible only where the object is not in its initial state."""

    name = "elsewhere"

    def __init__(self, model: Model) -> None:
        self.model = model
        self.initial = model.initial

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        if call.f != _PROBE:
            return self.model.step(state, call)
        return (state,) if state != self.initial else ()

    def pure(self, call: Call) -> bool:
        return call.f == _PROBE or self.model.pure(call)


def _without_past(rows: list[int], history: History, model: Model, ends: float) -> list[int]:
    """`rows` from the last quiet moment on at which the object can only have been in its initial state again, and the `info`
    operations from before it, which may still take effect."""
    inv, ret, outcome = history.invoked.tolist(), history.completed.tolist(), history.outcome.tolist()
    cuts = []
    latest = -NEVER
    for at, row in enumerate(rows):
        if at and latest < inv[row]:
            cuts.append(at)
        if outcome[row] != INFO:
            latest = max(latest, ret[row])
    for at in reversed(cuts[-CUTS:]):
        if time.perf_counter() > ends:
            break
        rest = [row for row in rows[:at] if outcome[row] == INFO] + rows[at:]
        if not _refuted(rest, history, model):
            continue
        past = encode(history.select(np.array(rows[:at])), model)
        probe = len(past.calls)
        ended = Problem(
            _Elsewhere(model), [*past.calls, Call(_PROBE, None)], [*past.rows, -1], [*past.events, probe, ~probe], past.open_ok
        )
        hunt = from_problem(ended)
        if hunt.run(STEPS) is False:
            return rest
    return rows


def _about_refusal(history: History, model: CasRegister, rows: list[int]) -> list[int]:
    """Where a compare-and-set was refused although what it expected was there all the time: that one, the operations on the
    value by then, and those that their values come from. No other write can have taken effect in that time."""
    refused = zones.refused_in_vain(history, model)
    if not refused:
        return rows
    row = min(refused, key=lambda row: int(history.completed[row]))
    calls = {other: _call(history, other) for other in rows if history.invoked[other] <= history.completed[row]}
    touching: dict[object, list[int]] = {}
    for other, call in calls.items():
        if call.outcome != "refused":
            for value in set(call.value) if call.f == "cas" else (call.value,):
                touching.setdefault(value, []).append(other)
    kept = {row}
    work = [calls[row].value[0]]
    while work:
        for other in touching.pop(work.pop(), ()):
            kept.add(other)
            if calls[other].f == "cas":
                work.append(calls[other].value[0])
    return _if_refuted(sorted(kept), rows, history, model)


def _sources(history: History, model: Model, rows: list[int]) -> dict[int, list[int]] | None:
    """For every row of a register, the rows that it cannot do without: those that may have set the value it observed.

    A write cannot have been the one where it began after the observation had ended, or where another write, that certainly
    happened, lies wholly between the two. None where the model is not a register.
    """
    if type(model) not in (Register, CasRegister):
        return None
    call = {row: _call(history, row) for row in rows}
    inv = {row: int(history.invoked[row]) for row in rows}
    ret = {row: NEVER if history.outcome[row] == INFO else int(history.completed[row]) for row in rows}
    writers = [row for row in rows if call[row].f != "read" and not model.pure(call[row])]
    sure = [row for row in writers if history.outcome[row] == OK]
    sources: dict[int, list[int]] = {}
    for row in rows:
        accepts = _accepts(call[row], model)
        if accepts is None:
            continue
        latest = max((inv[other] for other in sure if ret[other] < inv[row]), default=-NEVER)
        same = [
            writer for writer in writers
            if writer != row and inv[writer] <= ret[row]
            and accepts(call[writer].value[1] if call[writer].f == "cas" else call[writer].value)
        ]
        # Where all were overwritten, one is kept all the same, lest the value look as if nobody had ever written it.
        sources[row] = [writer for writer in same if ret[writer] >= latest] or same[-1:]
    return sources


def _failed_writers(history: History, rows: list[int]) -> list[int]:
    """The failed operations that would have written what these rows read although none of them wrote it."""
    calls = [_call(history, row) for row in rows]
    written = {call.value[1] if call.f == "cas" else call.value for call in calls if call.f != "read"}
    read = {call.value[0] if call.f == "cas" else call.value for call in calls if call.f != "write"} - written
    failed = []
    for row in np.flatnonzero(history.outcome == FAIL).tolist() if read else ():
        operation = history[row]
        if operation.f != "read" and row not in rows:
            value = operation.value[1] if operation.f == "cas" else operation.value
            if canonical(value) in read:
                failed.append(row)
    return failed


def _accepts(call: Call, model: Model) -> Callable[[object], bool] | None:
    """Which values `call` may have found; None where it may have found any."""
    if call.f == "write" or (call.f == "read" and (call.outcome == "info" or model.step(object(), call))):
        return None
    if call.f == "read":
        return lambda value: value == call.value
    if call.seen:
        return lambda value: value == call.seen[0]
    if call.outcome == "refused":
        return lambda value: value != call.value[0]
    return lambda value: value == call.value[0]
