"""Generators of ids: linearizable exactly if no id was returned twice, whatever the times, in time linear in their number.

An id that was returned once can be returned at any moment of its call. A call without an answer returned an id to nobody.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.values import MISSING, SCALAR, canonical


def decide_ids(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """Whether every id was returned once; the evidence are the first two calls that returned the same one. None where a call
    was answered and the id is not told. Raises `Exhausted`."""
    rows = np.flatnonzero(history.outcome == OK)
    kinds = history.values.kind[rows]
    if model.initial != frozenset() or not set(history.fs) <= set(model.functions) or (kinds == MISSING).any():
        return None
    pair: tuple[int, int] | None = None
    if (kinds == SCALAR).all():
        ids = history.values.first[rows]
        order = np.argsort(ids, kind="stable")
        again = np.flatnonzero(ids[order][1:] == ids[order][:-1])
        if len(again):
            at = again[np.argmin(order[again + 1])]
            pair = int(rows[order[at]]), int(rows[order[at + 1]])
    else:
        first: dict[Hashable, int] = {}
        for at, row in enumerate(rows.tolist()):
            if not at & 1023:
                budget.check()
            before = first.setdefault(canonical(history.values[row]), row)
            if before != row:
                pair = before, row
                break
    if pair is None:
        return Decision(method="ids", valid=True)
    one, other = (int(history.process[row]) for row in pair)
    sentence = f"client {other} was given {history.values[pair[1]]!r}, which client {one} had been given" if one != other else (
        f"client {one} was given {history.values[pair[1]]!r} twice")
    return Decision(method="ids", valid=False, identifier="duplicate-id", rows=pair, sentence=sentence)
