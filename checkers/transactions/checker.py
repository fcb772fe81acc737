"""The checker of transactions: every isolation level, refuted, holding or undecided, and the anomalies that refute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from splitbrain.checkers.transactions import completion, cycles, list_append, rw_register
from splitbrain.checkers.transactions.cycles import Cycle
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.lattice import LEVELS, Level, stronger, weaker
from splitbrain.checkers.verdict import State
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.micros import APPEND, WRITE

STRICT: frozenset[Level] = frozenset(("strict-serializable", "strong-snapshot-isolation"))
"""The levels that speak of real time."""


@dataclass(frozen=True)
class Findings:
    """What was found in a history: where it stands to each level, by which anomalies, and the cycles."""

    inference: Inference
    states: dict[Level, State]
    cycles: tuple[Cycle, ...]
    by: dict[Level, tuple[str, ...]]
    timed: bool
    limits: tuple[str, ...]


def find(history: History, deadline: float) -> Findings:
    """Judge a history of transactions against all levels, until `deadline` (of `time.monotonic`)."""
    micros = history.micros
    assert micros is not None
    lists = bool((micros.f == APPEND).any()) or (not (micros.f == WRITE).any() and len(micros.list_start) > 1)
    inference = (list_append if lists else rw_register).infer(history)
    timed = not ((history.outcome == OK) & (history.completed == NEVER)).any()
    if inference.ambiguous:
        return Findings(inference, dict.fromkeys(LEVELS, "undecided"), (), {}, timed, (inference.ambiguous,))
    by: dict[Level, set[str]] = {level: set() for level in LEVELS}
    suspects: dict[int, Level] = {}
    for problems in inference.problems:
        ruled = problems.ruled_out
        for level in stronger(ruled):
            by[level].add(problems.identifier)
        for row in np.unique(problems.reader).tolist():
            if row not in suspects or suspects[row] in stronger(ruled):
                suspects[row] = ruled
    found = cycles.search(inference, deadline, suspects)
    for level, proofs in found.refuted.items():
        for above in stronger(level):
            by[above] |= {cycle.identifier for cycle in proofs}
    refuted = {level for level in LEVELS if by[level]}
    limits = [*inference.limits, *found.limits]
    open_levels = frozenset(LEVELS) - refuted
    holds = _holding(inference, lists, open_levels, found.undecided, deadline)
    if not timed:
        holds -= STRICT
    states: dict[Level, State] = {
        level: "refuted" if level in refuted else "holds" if level in holds else "undecided" for level in LEVELS
    }
    names = {level: tuple(sorted(by[level])) for level in refuted}
    return Findings(inference, states, found.cycles, names, timed, tuple(limits))


def _holding(
    inference: Inference, lists: bool, open_levels: frozenset[Level], late: frozenset[Level], deadline: float
) -> frozenset[Level]:
    """The levels that certainly hold, of those that are not refuted."""
    whole = set(open_levels)
    for level in late:
        whole -= stronger(level)
    if inference.limits:
        return frozenset()
    shaken = {one.identifier for one in inference.problems} & {"incompatible-order", "internal", "future-read"}
    if lists and shaken and not cycles.writes_ordered(inference):
        # What was written in which order is known from reads that nobody can trust: it has no cycle, or nothing is known.
        whole.discard("read-uncommitted")
    if inference.total:
        return frozenset(whole)
    certain: set[Level] = {"read-uncommitted", "read-committed"}
    if lists:
        certain |= weaker("causal")
    found = certain & whole
    found |= completion.holding(inference, frozenset(whole - found), deadline)
    return frozenset(found)
