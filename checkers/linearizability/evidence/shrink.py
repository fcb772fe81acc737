"""The smallest refuted part of a history that a search refuted, and the name of what it shows.

The part is refuted whatever the other operations did (`optional`), and no operation of it can be left out. Then it is given
back what it needs to stand alone: the writes of the values that it observed, so that none looks as if nobody had written it.

Names. A faster way that can judge the part names it. Of a register whose values were written more than once, each
observation may come from several writes; where every choice among them, the impossible ones apart, shows the same, that is
its name. A refused compare-and-set that the part needs is named as in `explanation`. What has no name is `non-linearizable`.

It is one file because each way of shrinking leans on the same few trials and limits, and is read beside the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from itertools import islice, product
from typing import Any

import msgspec
import numpy as np

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.evidence.evidence import LATE, PATIENCE
from splitbrain.checkers.linearizability.evidence.explain import explain
from splitbrain.checkers.linearizability.evidence.explanation import Finding
from splitbrain.checkers.linearizability.evidence.lineages import text
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.jit import from_problem
from splitbrain.checkers.linearizability.search.optional import Trials
from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.linearizability.search.start import search
from splitbrain.checkers.models.specifications import (
    Call,
    IdGenerator,
    KeyValue,
    Model,
    PriorityQueue,
    Queue,
    Register,
    Set,
    Stack,
    State,
    UnorderedQueue,
    elements,
)
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH, Operation
from splitbrain.harness.history.values import Tagged, canonical

STEPS = 20_000
"""Steps of one search while making it smaller; what takes longer is kept."""
LATER = 20
"""Later observations that are tried before a write is called lost."""
CUTS = 200
"""Quiet moments that are tried as the beginning of the evidence."""
CHOICES = 200
"""Choices of who read from whom that are tried for a name."""
ROUNDS = 3
"""Times that evidence is judged alone."""
SHOWN = 100
"""Operations of evidence that are shown where there was no time to make it smaller."""
_PROBE = "ends elsewhere"
_CONTAINERS = (Queue, UnorderedQueue, Stack, PriorityQueue)
_LOST = ("lost-write", "lost-element")
_STRANGE = ("future-read", "aborted-read", "unwritten-read", "unexpected")
"""Names that depend on who wrote a value, not on the order of things."""

Faster = Callable[[History], Decision | None]


def refute(
    history: History, model: Model, decision: Decision, budget: Budget, faster: Faster | None = None
) -> tuple[Finding, str]:
    """The proof that the history of one object is not linearizable, as small as the budget allowed, and the
    limit hit if any. `faster` may judge parts of it that it could not judge whole.
    """
    budget = budget.within(PATIENCE, LATE)
    # Some of the time is for looking at what was found.
    try:
        finding, part = _found(history, model, decision, budget.within(0.8 * budget.left, LATE), faster)
    except Exhausted as error:
        rows = _until(history, decision.stuck)
        return _in_short(history, _unnamed(history, model, rows, decision.stuck, str(error), False)), str(error)
    spent = part.spent
    try:
        finding, spent = _looked_at(history, model, finding, part, budget, faster), part.spent
    except Exhausted as error:
        spent = part.spent or str(error)
    return (_in_short(history, finding) if spent else finding), spent


def _in_short(history: History, finding: Finding) -> Finding:
    """The finding with its last operations alone, where there was no time to find out which of very many it takes."""
    if len(finding.rows) <= SHOWN:
        return finding
    by_begin = sorted(finding.rows, key=lambda row: (row == finding.accused, int(history.invoked[row])))
    left = f"{len(finding.rows) - SHOWN:,} operations before these, which it may take too, are not shown"
    return Finding(finding.identifier, tuple(sorted(by_begin[-SHOWN:])), f"{finding.sentence}; {left}", finding.accused)


def _looked_at(
    history: History, model: Model, finding: Finding, part: _Part, budget: Budget, faster: Faster | None
) -> Finding:
    """The finding as what its rows alone are said to show. Raises `Exhausted`."""
    part.trials.budget = budget
    for _ in range(ROUNDS):
        if budget.over:
            break
        names, other = _judged(history.select(np.array(finding.rows)), model, budget, faster)
        if other is None or names == {finding.identifier}:
            break
        # Alone it shows something else: that is what is shown, and only that where it is as true of the whole history.
        rows = tuple(finding.rows[at] for at in other.rows)
        if len(rows) < len(finding.rows) and part.proven(rows):
            finding = Finding(other.identifier, rows, other.sentence, finding.rows[other.accused])
            continue
        sentence = _fits_nowhere(history, model, finding.rows, finding.accused, part.spent)
        finding = Finding(other.identifier, finding.rows, sentence, finding.accused)
        if len(names) > 1:
            finding = _told_apart(history, model, finding, part, budget, faster)
        break
    return finding


def _told_apart(
    history: History, model: Model, finding: Finding, part: _Part, budget: Budget, faster: Faster | None
) -> Finding:
    """The finding without one row, if alone that shows one anomaly where all rows show several."""
    for row in finding.rows:
        rows = tuple(other for other in finding.rows if other != row)
        if rows and part.proven(rows):
            names, other = _judged(history.select(np.array(rows)), model, budget, faster)
            if other is not None and len(names) == 1:
                return Finding(other.identifier, rows, other.sentence, rows[other.accused])
    return finding


def _found(
    history: History, model: Model, decision: Decision, budget: Budget, faster: Faster | None
) -> tuple[Finding, _Part]:
    rows = _until(history, None)
    # What is wrong without those that were refused, nobody knows by what, is told without them: they only say what was not.
    sighted = [row for row in rows if not _refused(history, row) or row in history.seen]
    if len(sighted) < len(rows):
        without = search(history.select(np.array(sighted, np.int64)), model, max_steps=10 * STEPS, budget=budget)
        if without.valid is False:
            at = without.stuck
            rows, decision = sighted, msgspec.structs.replace(without, stuck=None if at is None else sighted[at])
    stuck = decision.stuck if decision.stuck is not None else search(
        history, model, max_steps=10 * STEPS, budget=budget).stuck
    begun = history.invoked <= (NEVER if stuck is None else int(history.completed[stuck]))
    part = _Part(history, model, [row for row in rows if begun[row]], stuck, budget)
    if stuck is not None and not part.refuted_by(part.place.values()):
        part = _Part(history, model, rows, None, budget)
    kept, accused = part.minimal()
    if budget.over:
        return _unnamed(history, model, kept, accused, part.spent or LATE, False), part
    names = _Names(history, model, faster, part)
    rows = kept
    try:
        rows = names.standing(kept)
        return names.of(rows) or _unnamed(history, model, rows, accused, part.spent, rows == kept), part
    except Exhausted as error:
        part.spent = part.spent or str(error)
        return _unnamed(history, model, rows, accused, part.spent, False), part


def _until(history: History, stuck: int | None) -> list[int]:
    """The rows of what may have happened, or was refused, and had begun when `stuck` returned."""
    rows = np.flatnonzero(history.invoked <= (NEVER if stuck is None else int(history.completed[stuck])))
    return [row for row in rows.tolist() if history.outcome[row] != FAIL or _refused(history, row)]


def _judged(history: History, model: Model, budget: Budget, faster: Faster | None) -> tuple[set[str], Finding | None]:
    """What a small history alone is said to show."""
    decision = faster(history) if faster is not None else None
    if decision is not None and decision.rows:
        return {decision.identifier}, _finding(decision, range(len(history)))
    if isinstance(model, Register) and int(zones.decide(history, model).max()) == zones.INVALID:
        counts, findings, _ = explain(history, model, 1, budget)
        if findings:
            return set(counts), findings[0]
    decision = search(history, model, max_steps=10 * STEPS, budget=budget)
    if decision.valid is not False:
        return set(), None
    finding, _ = _found(history, model, decision, budget, faster)
    return {finding.identifier}, finding


def _finding(decision: Decision, rows: Sequence[int]) -> Finding:
    """What a faster way found in the history of these rows."""
    proof = tuple(rows[at] for at in decision.rows)
    return Finding(decision.identifier, proof, decision.sentence, proof[-1])


class _Part:
    """The operations of a history that its refutation is sought in: up to the return of `stuck`, by which it is refuted."""

    def __init__(self, history: History, model: Model, rows: list[int], stuck: int | None, budget: Budget) -> None:
        self.history, self.model, self.stuck, self.budget = history, model, stuck, budget
        self.spent = ""
        self._set(rows)

    def _set(self, rows: list[int]) -> None:
        self.rows = rows
        self.trials = Trials(encode(self.history.select(np.array(rows)), self.model, self.budget), self.budget)
        self.place = {rows[at]: i for i, at in enumerate(self.trials.problem.rows)}
        if self.stuck not in self.place:
            part = self.history.select(np.array(rows))
            stuck = search(part, self.model, max_steps=10 * STEPS, budget=self.budget).stuck
            self.stuck = None if stuck is None else rows[stuck]
            self.window = self.trials.whole() if self.stuck is None else self.trials.until(self.place[self.stuck])
            if self.stuck is None or self.trials.refuted(frozenset(self.place.values()), self.window, STEPS) is not False:
                return
            # A search may turn back sooner, for what comes later needs something that is gone by then.
            self.stuck = None
        self.window = self.trials.whole() if self.stuck is None else self.trials.until(self.place[self.stuck])

    def minimal(self) -> tuple[list[int], int | None]:
        """The rows that are refuted whatever the others did, and the one that cannot be placed after the others, if known."""
        if not self.refuted_by(self.place.values()):
            self.spent = f"{STEPS} steps of the search for the smallest evidence"
            return self.rows, self.stuck
        states = self.trials.all_states()
        if states is not None:
            self._begin_late(states)
        else:
            self._forget()
        kept = self._without(sorted(self.place.values()))
        with suppress(Exhausted):
            # What it is that cannot be placed.
            self.refuted_by(kept)
        row = {i: row for row, i in self.place.items()}
        stuck = self.trials.stuck
        return sorted(row[i] for i in kept), None if stuck is None else row[stuck]

    def refuted_by(self, operations: Iterable[int]) -> bool:
        """Whether these operations are refuted whatever the others did."""
        return self.trials.refuted(frozenset(operations), self.window, STEPS) is True

    def proven(self, rows: Iterable[int]) -> bool:
        """As `refuted_by`, by rows of the history; those that are not in this part prove nothing."""
        return self.refuted_by(self.place[row] for row in rows if row in self.place)

    def _begin_late(self, states: tuple[int, ...]) -> None:
        """Go on with the shortest, or nearly, last part of the events that is refuted in whatever state it begins."""
        length = 4
        while length < len(self.window.events) and not self.budget.over:
            window = self.trials.since(len(self.window.events) - length, self.window, states)
            if self.trials.refuted(window.events, window, STEPS):
                self.window = window
                return
            length *= 2

    def _forget(self) -> None:
        """Go on without what a container held and gave back, and without what came before it was as in the beginning."""
        for smaller in (_without_past, _without_values):
            before = self.rows
            self._set(smaller(self.rows, self.history, self.model, self.budget))
            if len(self.rows) < len(before) and not self.refuted_by(self.place.values()):
                self._set(before)

    def _without(self, operations: list[int]) -> list[int]:
        """What is left of `operations` when one part after the other, ever smaller, is left out: the earliest first."""
        known = set(self.window.events)
        operations = [i for i in operations if i in known and i not in self.window.free]
        size = max(1, len(operations) // 2)
        while operations:
            at = 0
            while at < len(operations):
                if self.budget.over:
                    self.spent = LATE
                    return operations
                fewer = operations[:at] + operations[at + size:]
                try:
                    refuted = self.refuted_by(fewer)
                except Exhausted as error:
                    self.spent = str(error)
                    return operations
                if refuted:
                    operations = fewer
                else:
                    at += size
            if size == 1:
                break
            size = max(1, size // 2)
        return operations


class _Names:
    """Names for parts of a history, and the operations that they need to stand alone."""

    def __init__(self, history: History, model: Model, faster: Faster | None, part: _Part) -> None:
        self.history, self.model, self.faster, self.part = history, model, faster, part
        self.f = [history.fs[code] for code in history.f.tolist()]
        # By value: who wrote it, and who failed to.
        self._by_value: dict[object, tuple[list[int], list[int]]] = {}

    def standing(self, rows: list[int]) -> list[int]:
        """`rows`, which are refuted whatever the others did, with what they need to stand alone."""
        if isinstance(self.model, (KeyValue, Set)):
            return self._with_parts(rows)
        closed = self.closed(rows)
        if not isinstance(self.model, _CONTAINERS) or _refuted(closed, self.history, self.model, self.part.budget):
            return closed
        # What was put in had been taken out before: all that was done with these elements belongs together.
        closed = self._all_of(closed)
        return closed if _refuted(closed, self.history, self.model, self.part.budget) else rows

    def _with_parts(self, rows: list[int]) -> list[int]:
        """As `standing`, of texts and sets: with who wrote the parts of what was read, if it would else look as if nobody had;
        first only those that began in time."""
        texts: list[tuple[Any, int]] = []
        for row in rows:
            call = _call(self.history, row)
            if call.f in ("get", "read") and call.outcome == "ok" and call.value:
                texts.append((call.value if call.f == "get" else elements(call.value) or (), int(self.history.completed[row])))
        writers = [
            (row, _call(self.history, row).value) for row, f in enumerate(self.f)
            if f in ("put", "append", "add") and row not in rows
        ]
        sure = [(row, part) for row, part in writers if self.history.outcome[row] != FAIL]
        wider = rows
        for late, candidates in ((False, sure), (True, sure), (True, writers)):
            decision = self.faster(self.history.select(np.array(wider))) if self.faster is not None else None
            if decision is None or decision.identifier not in _STRANGE:
                break
            more = {
                row for row, part in candidates for text, ended in texts
                if part != "" and part in text and (late or self.history.invoked[row] <= ended)
            }
            wider = sorted({*rows, *more})
        return wider if _refuted(wider, self.history, self.model, self.part.budget) else rows

    def of(self, rows: list[int]) -> Finding | None:
        """The finding that `rows`, which stand alone, are."""
        finding = self._named(rows)
        if finding is not None and finding.identifier in _LOST:
            finding = self._seen_again(rows, finding)
        return finding

    def _seen_again(self, rows: list[int], finding: Finding) -> Finding:
        """Nothing was lost if it, or something newer, was observed later: then that belongs to the evidence."""
        since = max(int(self.history.invoked[row]) for row in rows)
        later = [
            row for row in np.flatnonzero((self.history.invoked > since) & (self.history.outcome == OK)).tolist()
            if self._observed(row) or self.f[row] in ("get", "read")
        ]
        for row in sorted(later, key=lambda row: -int(self.history.invoked[row]))[:LATER]:
            other = self._named(self.standing(sorted([*rows, row])))
            if other is not None and other.identifier not in _LOST:
                return other
        return finding

    def _named(self, rows: list[int]) -> Finding | None:
        if isinstance(self.model, Register):
            return self._register(rows)
        decision = self.faster(self.history.select(np.array(rows))) if self.faster is not None else None
        if decision is None or not decision.rows:
            return None
        finding = _finding(decision, rows)
        whole = isinstance(self.model, _CONTAINERS) and self._all_of(rows) == rows
        return finding if whole or self.part.proven(finding.rows) else msgspec.structs.replace(finding, rows=tuple(rows))

    # Who wrote what was observed

    def closed(self, rows: Iterable[int]) -> list[int]:
        """`rows`, with one operation that wrote, or else tried to write, each value that was observed: one that certainly
        happened rather than another, the last that began before the observation ended, else the first at all."""
        kept = set(rows)
        work = list(kept)
        wanted: dict[object, int] = {}
        while work and not self.part.budget.over:
            row = work.pop()
            for value in self._observed(row):
                wanted[value] = wanted.get(value, 0) + 1
                number = wanted[value] if isinstance(self.model, _CONTAINERS) else 1
                # An unknown end bounds nothing: what began before the beginning is as good.
                info = self.history.outcome[row] == INFO
                ended = int(self.history.invoked[row] if info else self.history.completed[row])
                writers = [writer for writer in self._writers(value) if writer != row]
                before = [writer for writer in writers if self.history.invoked[writer] <= ended]
                # What certainly happened first, the latest of it first.
                writers = sorted(reversed(before), key=lambda writer: self.history.outcome[writer] == INFO) or writers
                missing = number - len(kept.intersection(writers))
                more = [writer for writer in writers if writer not in kept][:max(0, missing)]
                kept.update(more)
                work.extend(more)
        return sorted(kept)

    def _all_of(self, rows: Iterable[int]) -> list[int]:
        """Everything that was done with the elements of a container that `rows` deal with."""
        calls: dict[int, Call] = {}
        for row in np.flatnonzero(self.history.outcome != FAIL).tolist():
            if not row & 1023:
                self.part.budget.check()
            calls[row] = _call(self.history, row)
        values = {calls[row].value for row in rows if row in calls}
        return [row for row, call in calls.items() if call.value in values]

    def _observed(self, row: int) -> tuple[object, ...]:
        """The values that `row` found, or is known to have found absent, and that somebody must have written."""
        call = _call(self.history, row)
        if call.outcome == "info" and call.f != "cas":
            return ()
        if isinstance(self.model, Register):
            if self.history.outcome[row] == FAIL and not _refused(self.history, row):
                return ()
            if call.f == "write" or (call.f == "read" and self.model.step(object(), call)):
                return ()
            value = call.value if call.f == "read" else call.seen[0] if call.seen else call.value[0]
            return () if value == self.model.initial else (value,)
        if isinstance(self.model, _CONTAINERS):
            return (call.value,) if call.f == self.model.functions[1] and call.value is not None else ()
        return ()

    def _writers(self, value: object) -> list[int]:
        """The operations that wrote `value`, or else those that failed to, in the order of their invocation."""
        if not self._by_value:
            for row, f in enumerate(self.f):
                if not row & 1023:
                    self.part.budget.check()
                if f in ("write", "cas", "enqueue", "push"):
                    call = _call(self.history, row)
                    if f == "cas" and call.value[0] == call.value[1]:
                        continue
                    new = call.value[1] if f == "cas" else call.value
                    failed = self.history.outcome[row] == FAIL
                    self._by_value.setdefault(new, ([], []))[bool(failed)].append(row)
            for lists in self._by_value.values():
                for some in lists:
                    some.sort(key=lambda row: int(self.history.invoked[row]))
        wrote, failed_to = self._by_value.get(value, ([], []))
        return wrote or failed_to

    # Registers

    def _register(self, rows: list[int]) -> Finding | None:
        """What these rows show: by the names for distinct values, or by what is the same whoever read from whom."""
        history, model = self.history, self.model
        assert isinstance(model, Register)
        rows = self._with_open(rows)
        part = history.select(np.array(rows))
        if int(zones.decide(part, model).max()) == zones.INVALID:
            counts, findings, _ = explain(part, model, 1, self.part.budget)
            for found in findings:
                proof = tuple(rows[at] for at in found.rows)
                if self.part.proven(proof):
                    return Finding(found.identifier, proof, found.sentence, rows[found.accused])
            if findings and len(counts) == 1:
                return Finding(findings[0].identifier, tuple(rows), findings[0].sentence, rows[findings[0].accused])
            if counts:
                # Several that cannot be told apart are one, by the most telling name.
                accused = rows[findings[0].accused] if findings else rows[-1]
                sentence = _fits_nowhere(history, model, rows, accused, self.part.spent)
                return Finding(next(iter(counts)), tuple(rows), sentence, accused)
        blind = [row for row in rows if _refused(history, row) and row not in history.seen]
        sighted = [row for row in rows if row not in blind]
        if blind and not self.part.proven(sighted):
            return self._refusal(rows, max(blind, key=lambda row: int(history.completed[row])))
        return self._whichever(sighted)

    def _with_open(self, rows: list[int]) -> list[int]:
        """`rows`, and for each that was refused the initial value without a word the last one never answered that may have
        replaced it: the part is refuted whatever that did, but nobody may say that nothing was under way."""
        history, initial = self.history, canonical(self.model.initial)
        more = set(rows)
        for row in rows:
            if not _refused(history, row) or row in history.seen or _call(history, row).value[0] != initial:
                continue
            open = self._open(int(history.completed[row]))
            if more.isdisjoint(open):
                more.update(open[-1:])
        return sorted(more)

    def _refusal(self, rows: list[int], row: int) -> Finding | None:
        """A compare-and-set that was refused although what it expected was there."""
        history, model = self.history, self.model
        call = _call(history, row)
        expected = call.value[0]
        began, ended = int(history.invoked[row]), int(history.completed[row])
        others = [other for other in rows if other != row]
        wrote = set(self._writers(expected))
        writers = [other for other in others if other in wrote and history.outcome[other] != FAIL]
        acked = [w for w in writers if history.outcome[w] == OK and history.completed[w] < began]
        seen = [other for other in others if expected in self._observed(other) or self._found_initial(other, expected)]
        name = f"client {int(history.process[row])} was refused cas {text(expected)} → {text(call.value[1])}"
        if [other for other in seen if history.invoked[other] > ended]:
            newer = [
                other for other, f in enumerate(self.f)
                if f in ("write", "cas") and other != row and history.outcome[other] != FAIL
                and history.invoked[other] <= ended and other not in writers
                and (not acked or history.outcome[other] == INFO or history.completed[other] > min(
                    int(history.invoked[w]) for w in acked))
            ]
            sentence = f"{name}, as if it had been replaced, although {text(expected)} was there again later"
            return Finding("non-monotonic-read", tuple(sorted({*rows, *newer[-1:]})), sentence, row)
        if acked:
            had = f"write of {text(expected)} had been acknowledged and nothing newer can have been there"
            return Finding("stale-read", tuple(rows), f"{name}, although the {had}", row)
        if [other for other in seen if history.outcome[other] == OK and history.completed[other] < began]:
            sentence = f"{name}, although {text(expected)} had been read and nothing newer can have been there"
            return Finding("non-monotonic-read", tuple(rows), sentence, row)
        if expected == canonical(model.initial) and not writers:
            failed = [
                other for other, f in enumerate(self.f)
                if f in ("write", "cas") and history.outcome[other] == FAIL and not _refused(history, other)
                and history.invoked[other] <= ended
            ]
            if failed:
                sentence = f"{name}, although {text(expected)} was still there: only a write that failed can have changed it"
                return Finding("aborted-read", tuple(sorted({*rows, failed[0]})), sentence, row)
            begun = {
                other for other in others
                if self.f[other] in ("write", "cas") and history.outcome[other] != FAIL and self._begun(other, ended)
            }
            if open := sorted(begun.union(self._open(ended))):
                return self._replaced(rows, open, ended, name)
            sentence = f"{name}, although nobody had written anything but {text(expected)}"
            return Finding("unwritten-read", tuple(rows), sentence, row)
        return None

    def _open(self, moment: int) -> list[int]:
        """The writes that were never answered and can have taken effect by `moment`."""
        unanswered = np.flatnonzero((self.history.outcome == INFO) & (self.history.invoked <= moment)).tolist()
        return [row for row in unanswered if self.f[row] in ("write", "cas") and self._begun(row, moment)]

    def _begun(self, row: int, moment: int) -> bool:
        """Whether a write can have taken effect by `moment`: it was invoked by then, and so was one of what it was made on."""
        met: set[int] = set()
        work = [row]
        while work:
            row = work.pop()
            if row in met or self.history.invoked[row] > moment:
                continue
            met.add(row)
            if self.f[row] == "write" or not self._observed(row):
                return True
            work += self._writers(self._observed(row)[0])
        return False

    def _replaced(self, rows: list[int], open: list[int], ended: int, refused: str) -> Finding | None:
        """The initial value was refused by `ended`, so one of the values of `open` was there by then; but each was also found
        after another that was acknowledged, and only begun, in between. None where that is not so."""
        history = self.history
        old, newer = -1, -1
        for writer in open:
            call = _call(history, writer)
            value = call.value[1] if call.f == "cas" else call.value
            if self._writers(value) != [writer]:
                return None
            found = next((
                (reader, other) for reader in sorted(rows, key=lambda one: -int(history.invoked[one]))
                if history.outcome[reader] == OK and reader != writer and value in self._observed(reader)
                for other in rows
                if self.f[other] == "write" and other != writer and history.outcome[other] == OK
                and ended < history.invoked[other] and history.completed[other] < history.invoked[reader]
            ), None)
            if found is None:
                return None
            old, newer = found if old < 0 else (old, newer)
        (value,) = self._observed(old)
        had = f"although {_what(history, newer)} had been acknowledged"
        before = text(value) if len(open) == 1 else "a value of the writes before it"
        sentence = f"{_what(history, old)}, {had}, and {before} had been there before that: {refused}"
        return Finding("stale-read" if self.f[old] == "read" else "split-brain", tuple(rows), sentence, old)

    def _found_initial(self, row: int, value: object) -> bool:
        call = _call(self.history, row)
        if value != canonical(self.model.initial) or call.outcome != "ok":
            return False
        return (call.f == "read" and call.value == value) or (call.f == "cas" and call.value[0] == value)

    def _whichever(self, rows: list[int]) -> Finding | None:
        """The name of what `rows` show whichever write each observation came from; a write that it cannot have come from
        counts only where there is no other."""
        history, model = self.history, self.model
        assert isinstance(model, Register)
        observers, choices = [], []
        kept = set(rows)
        for row in rows:
            if self.part.budget.over:
                return None
            call = _call(history, row)
            value: Any
            if call.f == "write" or (call.outcome == "info" and call.f == "read"):
                continue
            if history.outcome[row] == FAIL and not call.seen:
                continue
            value = call.value if call.f == "read" else call.seen[0] if call.seen else call.value[0]
            if call.f == "read" and model.step(object(), call):
                continue
            wrote = [w for w in self._writers(value) if w in kept and w != row]
            ended = NEVER if call.outcome == "info" else int(history.completed[row])
            options: list[int] = [w for w in wrote if history.invoked[w] <= ended]
            options += [-1] if value == canonical(model.initial) else []
            observers.append(row)
            choices.append(options or wrote or [-2])
        found: dict[str, Finding] = {}
        for number, chosen in enumerate(islice(product(*choices), CHOICES + 1)):
            if number == CHOICES:
                return None
            finding = self._with_sources(rows, dict(zip(observers, chosen, strict=True)))
            if finding is None:
                return None
            found.setdefault(finding.identifier, finding)
        likely = [name for name in found if name not in _STRANGE] or list(found)
        if len(likely) > 1 and set(likely) <= {"lost-write", "stale-read", "non-monotonic-read"}:
            # Each says that something older was read.
            finding = next(found[name] for name in ("stale-read", "non-monotonic-read", "lost-write") if name in found)
            return msgspec.structs.replace(finding, identifier="stale-read", rows=tuple(rows))
        return msgspec.structs.replace(found[likely[0]], rows=tuple(rows)) if len(likely) == 1 else None

    def _with_sources(self, rows: list[int], source: dict[int, int]) -> Finding | None:
        """What `rows` show if each observation came from this row: -1 for the initial value, -2 for nowhere."""
        model = self.model
        assert isinstance(model, Register)

        def version(writer: int, value: object) -> object:
            return model.initial if writer == -1 else Tagged(f"of {writer}", getattr(value, "content", value))

        operations: list[Operation] = []
        swaps: dict[int, int] = {}
        for row in rows:
            call, operation = _call(self.history, row), self.history[row]
            if call.f == "write":
                value = version(row, call.value)
            elif row not in source:
                value = operation.value
            elif call.f == "read":
                value = version(source[row], call.value)
            elif operation.outcome == "fail":
                seen = (version(source[row], call.seen[0]),)
                value = version(-3, call.value[0]), version(row, call.value[1])
                operations.append(msgspec.structs.replace(operation, value=value, seen=seen, key=None))
                continue
            elif call.value[0] == call.value[1]:
                operation = msgspec.structs.replace(operation, f="read")
                value = version(source[row], call.value[0])
            else:
                value = version(source[row], call.value[0]), version(row, call.value[1])
                swaps[row] = source[row]
            operations.append(msgspec.structs.replace(operation, value=value, key=None))
        part = History.of(operations)
        part.timed = self.history.timed
        if int(zones.decide(part, model).max()) == zones.INVALID:
            _, findings, _ = explain(part, model, 1, self.part.budget)
            if not findings:
                return None
            at = findings[0].accused
            return Finding(findings[0].identifier, tuple(rows), findings[0].sentence, rows[at])
        for row in swaps:
            met = [row]
            while swaps.get(met[-1], -1) in swaps and swaps[met[-1]] not in met:
                met.append(swaps[met[-1]])
            if swaps.get(met[-1], -1) == row:
                names = " and ".join(f"cas {text(v[0])} → {text(v[1])}" for v in (_call(self.history, r).value for r in met))
                return Finding("future-read", tuple(rows), f"{names} were each made on what another of them had set", row)
        return None


def _unnamed(history: History, model: Model, rows: list[int], stuck: int | None, spent: str, minimal: bool) -> Finding:
    """The finding where no name fits; if `minimal`, no row can be left out unless the limit `spent` was hit."""
    accused = rows[-1] if stuck is None else stuck
    if isinstance(model, IdGenerator):
        return Finding("duplicate-id", tuple(rows), f"{_what(history, accused)} was generated before", accused)
    sentence = _fits_nowhere(history, model, rows, accused, spent)
    if minimal and not spent and len(rows) > 1:
        sentence += ", and none of them can be left out"
    return Finding("non-linearizable", tuple(rows), sentence, accused)


def _fits_nowhere(history: History, model: Model, rows: Sequence[int], accused: int, spent: str) -> str:
    what = _what(history, accused)
    if _refused(history, accused) and canonical(history[accused].value[0]) in _call(history, accused).seen:
        return f"{what} was refused although it saw what it expected"
    these = f"these {len(rows)} operations" if len(rows) > 1 else "this operation alone"
    sentence = f"{what} fits nowhere: no order of {these} that agrees with their times is one that a {model.name} allows"
    return sentence if spent else f"{sentence}, whatever the others did"


def _what(history: History, row: int) -> str:
    operation = history[row]
    return f"{operation.f} {text(operation.value)} of client {operation.process}"


def _refused(history: History, row: int) -> bool:
    code = int(history.error[row])
    return history.fs[history.f[row]] == "cas" and code >= 0 and history.errors[code] == MISMATCH


def _call(history: History, row: int) -> Call:
    operation = history[row]
    outcome = "refused" if operation.outcome == "fail" else operation.outcome
    seen = tuple(canonical(value) for value in operation.seen)
    return Call(operation.f, canonical(operation.value), outcome, seen, operation.process, operation.key)


def _refuted(rows: Sequence[int], history: History, model: Model, budget: Budget) -> bool:
    """Whether a search refutes these rows. Raises `Exhausted`."""
    return search(history.select(np.array(list(rows))), model, max_steps=10 * STEPS, budget=budget).valid is False


def _without_values(rows: list[int], history: History, model: Model, budget: Budget) -> list[int]:
    """`rows` of a queue, stack or id generator without all operations on some values: what is left of an order that the
    object allows is one that it allows."""
    if not isinstance(model, (*_CONTAINERS, IdGenerator)):
        return rows
    by_value: dict[object, list[int]] = {}
    for row in rows:
        call = _call(history, row)
        if call.f == model.functions[0] or (call.outcome == "ok" and call.value is not None):
            by_value.setdefault(call.value, []).append(row)
    values = sorted(by_value, key=lambda value: by_value[value][0])
    size = max(1, len(values) // 2)
    while True:
        at = 0
        while at < len(values) and not budget.over:
            dropped = {row for value in values[at:at + size] for row in by_value[value]}
            fewer = [row for row in rows if row not in dropped]
            if fewer and _refuted(fewer, history, model, budget):
                rows, values = fewer, values[:at] + values[at + size:]
            else:
                at += size
        if size == 1:
            return rows
        size //= 2


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


def _without_past(rows: list[int], history: History, model: Model, budget: Budget) -> list[int]:
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
        if budget.over:
            break
        rest = [row for row in rows[:at] if outcome[row] == INFO] + rows[at:]
        if not _refuted(rest, history, model, budget):
            continue
        past = encode(history.select(np.array(rows[:at])), model, budget)
        probe = len(past.calls)
        ended = Problem(
            _Elsewhere(model), [*past.calls, Call(_PROBE, None)], [*past.rows, -1], [*past.events, probe, ~probe], past.open_ok
        )
        hunt = from_problem(ended)
        if hunt.run(STEPS) is False:
            return rest
    return rows
