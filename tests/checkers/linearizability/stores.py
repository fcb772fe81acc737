"""Simulated stores of one register with one known fault each, and the truth about it: the oracle of what is called what.

Three nodes hold a copy each, clients live beside them. What a store did wrong is known, and which acknowledged writes are not
in the history of the copy that survived: nothing else may ever be called a lost write.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any, Literal

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.evidence.lineages import Course
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation, Outcome

NODES = ("n1", "n2", "n3")

Flaw = Literal["none", "stale replica", "lost write", "fork", "dirty read", "lagging followers"]

NAMES: dict[Flaw, frozenset[str]] = {
    "none": frozenset(),
    "stale replica": frozenset({"stale-read", "non-monotonic-read"}),
    "lagging followers": frozenset({"stale-read", "non-monotonic-read"}),
    "lost write": frozenset({"lost-write", "split-brain", "stale-read", "non-monotonic-read"}),
    "fork": frozenset({"lost-write", "split-brain", "stale-read", "non-monotonic-read"}),
    "dirty read": frozenset({"aborted-read"}),
}
"""What a history of a store with that flaw may show, and nothing beyond it."""


@dataclass
class Story:
    """A recorded history, with what is true of it. `lost` are the values of acknowledged writes that the surviving copy never
    held or forgot; `course` is None where the history tells of no phases."""

    flaw: Flaw
    operations: list[Operation]
    lost: frozenset[int]
    course: Course | None
    closing: bool

    @property
    def history(self) -> History:
        return History.of(self.operations)


@dataclass
class _Copy:
    """One copy, with every value that it took, in order."""

    values: list[int | None] = field(default_factory=lambda: [None])

    @property
    def value(self) -> int | None:
        return self.values[-1]


def tell(rng: random.Random, flaw: Flaw) -> Story:
    """A story of a store with that flaw, drawn by `rng`: it may happen that nobody noticed."""
    length, steps = 100, rng.randint(8, 40)
    began, ended = rng.randint(10, 40), rng.randint(50, 90)
    clients = [(process, NODES[process % 3]) for process in range(rng.randint(3, 7))]
    swaps, writes = rng.choice(((0.0, 0.4), (0.2, 0.5), (0.4, 0.5), (0.15, 0.25)))
    calls = []
    free = dict.fromkeys(range(len(clients)), 0)
    for _ in range(steps):
        process, home = rng.choice(clients)
        start = free[process] + rng.randint(0, 2 * length * len(clients) // steps)
        end = start + rng.randint(1, 6)
        free[process] = end + 1
        calls.append((start + rng.random() * (end - start), start, end, process, home))
    calls = sorted(call for call in calls if call[1] < length)
    main, other = _Copy(), _Copy()
    cut = rng.choice(NODES)
    survivor_is_other = rng.random() < 0.5
    lag = rng.randint(5, 40)
    known: dict[str, int | None] = dict.fromkeys(NODES)
    past: list[tuple[float, int | None]] = [(-1.0, None)]
    operations: list[Operation] = []
    acknowledged: set[int] = set()
    number = 0
    dirty: int | None = None
    forked = forgot = healed = False

    def copy(home: str, at: float) -> _Copy:
        return other if flaw == "fork" and forked and not healed and home == cut else main

    for effect, start, end, process, home in calls:
        if flaw == "fork" and not forked and effect >= began:
            other.values = list(main.values)
            forked = True
        if flaw == "fork" and forked and not healed and effect >= ended:
            main = other if survivor_is_other else main
            healed = True
        if flaw == "lost write" and not forgot and effect >= ended:
            # A copy that missed the last writes becomes the only one.
            main.values = main.values[: max(1, len(main.values) - rng.randint(1, 3))]
            past.append((effect, main.value))
            forgot = True
        held = copy(home, effect)
        draw, outcome, error = rng.random(), "ok", None
        seen: tuple[int | None, ...] = ()
        f = "read"
        value: Any = None
        if draw < swaps + writes:
            number += 1
            if draw < swaps:
                f, value = "cas", (known[home], number)
                if held.value == known[home]:
                    held.values.append(number)
                else:
                    outcome, error, seen = "fail", MISMATCH, ((held.value,) if rng.random() < 0.5 else ())
            else:
                f, value = "write", number
                if flaw == "dirty read" and dirty is None and effect >= began:
                    dirty, outcome, error = number, "fail", "refused"
                else:
                    held.values.append(number)
            if outcome == "ok":
                acknowledged.add(number)
                known[home] = number
                past.append((effect, held.value))
                if rng.random() < 0.05:
                    outcome = "info"
                    acknowledged.discard(number)
            elif seen:
                known[home] = seen[0]
        else:
            value = held.value
            if flaw == "stale replica" and home == cut and began <= effect < ended:
                value = _at(past, min(effect, began))
            elif flaw == "lagging followers" and home != NODES[0]:
                value = _at(past, effect - lag)
            elif flaw == "dirty read" and dirty is not None and rng.random() < 0.3 and start > began:
                failed = next(op for op in operations if op.f == "write" and op.value == dirty)
                value = dirty if end > failed.invoked else value
            known[home] = value if value != dirty else known[home]
        operations.append(Operation(
            process=process, f=f, value=value, outcome=_outcome(outcome), invoked=start, error=error, seen=seen,
            completed=None if outcome == "info" else end, node=home, server=home,
        ))
    if flaw == "fork" and forked and not healed:
        main = other if survivor_is_other else main
    closing = rng.random() < 0.7 and flaw != "lagging followers"
    settled = max((op.completed or op.invoked for op in operations), default=0) + 10
    if closing:
        operations += [
            Operation(process=100 + at, f="read", value=main.value, invoked=settled + at, completed=settled + at + 1,
                      node=home, server=home)
            for at, home in enumerate(NODES)
        ]
    phases = rng.random() < 0.6
    if not phases and rng.random() < 0.3 and closing:
        operations = [_nowhere(op) for op in operations]
    return Story(
        flaw=flaw, operations=operations, lost=frozenset(acknowledged - set(main.values)), closing=closing,
        course=Course(settled if closing else 1 << 40, (ended,)) if phases else None,
    )


def _at(past: list[tuple[float, int | None]], moment: float) -> int | None:
    return [value for at, value in past if at <= moment][-1] if moment >= -1 else None


def _outcome(of: str) -> Outcome:
    return "ok" if of == "ok" else "fail" if of == "fail" else "info"


def _nowhere(op: Operation) -> Operation:
    """The operation as a history tells it that knows of no nodes."""
    return Operation(
        process=op.process, f=op.f, value=op.value, outcome=op.outcome, invoked=op.invoked, completed=op.completed,
        error=op.error, seen=op.seen,
    )


def wrong(story: Story) -> str:
    """What the verdict on a story says that is not true; empty if nothing."""
    verdict = check(story.history, CasRegister(), course=story.course)
    if story.flaw == "none":
        return "" if verdict.validity == "valid" else f"a good store is called {verdict.counts}"
    if odd := set(verdict.counts) - NAMES[story.flaw]:
        return f"called {sorted(odd)}"
    if verdict.counts.get("lost-write", 0) > len(story.lost):
        return f"{verdict.counts['lost-write']} called lost, of {len(story.lost)}"
    for anomaly in verdict.anomalies:
        assert anomaly.accused is not None
        accused = anomaly.operations[anomaly.accused]
        value = accused.value[1] if accused.f == "cas" else accused.value
        if anomaly.identifier == "lost-write" and value not in story.lost:
            return f"{value} is called lost: {anomaly.sentence}"
        if check(History.of(anomaly.operations), CasRegister()).validity != "invalid":
            return f"the evidence of {anomaly.identifier} alone is not refuted"
    return ""
