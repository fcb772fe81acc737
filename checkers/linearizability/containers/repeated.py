"""Containers whose elements are not distinct: what no order of anything allows, found without a search.

Let the removals of one element be in the order of their ends. By the end of the k-th at least k of them took effect, each
after an insertion of that element of its own; so at least k insertions had begun by then. That is necessary, not sufficient:
where it holds, the search decides.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import MISSING, canonical

MOST = 50
"""Operations of evidence, above which it is left to the search."""


def decide_repeated(history: History, method: str, insert: str, remove: str, budget: Budget) -> Decision | None:
    """The decision that an element was taken which was not there as often; None where there is none. Raises `Exhausted`."""
    fs, outcome, values = history.fs, history.outcome, history.values
    if not {fs[code] for code in np.unique(history.f).tolist()} <= {insert, remove}:
        return None
    inserting = history.f == (fs.index(insert) if insert in fs else -2)
    taking = ~inserting & (outcome == OK) & (values.kind != MISSING)
    put: defaultdict[Hashable, list[int]] = defaultdict(list)
    taken: defaultdict[Hashable, list[int]] = defaultdict(list)
    failed: dict[Hashable, int] = {}
    for number, row in enumerate(np.flatnonzero(inserting | taking).tolist()):
        if not number & 1023:
            budget.check()
        element = canonical(values[row])
        if taking[row]:
            if element is not None:
                taken[element].append(row)
        elif outcome[row] == FAIL:
            failed.setdefault(element, row)
        else:
            put[element].append(row)
    ends = np.where(history.completed < NEVER, history.completed, NEVER - 1)
    worst: tuple[int, Hashable, list[int], list[int]] | None = None
    for number, (element, rows) in enumerate(taken.items()):
        if not number & 255:
            budget.check()
        removals = np.array(rows)[np.argsort(ends[rows], kind="stable")]
        begun = np.sort(history.invoked[put[element]])
        short = np.flatnonzero(np.searchsorted(begun, ends[removals], "right") < np.arange(1, len(removals) + 1))
        # Of the k-th removal with fewer insertions, k - 1 had begun: the fewest are the smallest evidence.
        if len(short) and (worst is None or short[0] < worst[0]):
            last = int(ends[removals[short[0]]])
            sources = [row for row in put[element] if history.invoked[row] <= last]
            worst = int(short[0]), element, removals[: short[0] + 1].tolist(), sources
    if worst is None or 2 * worst[0] > MOST:
        return None
    _, element, taking_it, sources = worst
    name, client = repr(values[taking_it[-1]]), f"client {int(history.process[taking_it[-1]])}"
    later = [row for row in put[element] if row not in sources]
    if sources:
        identifier = "duplicate"
        sentence = f"{client} was given {name}, which was taken {len(taking_it)} times by then and put in {len(sources)} times"
    elif later:
        identifier, sentence = "future-read", f"{client} was given {name} before anybody began to put it in"
        sources = later[:1]
    elif element in failed:
        identifier, sentence = "aborted-read", f"{client} was given {name}, though putting it in had failed"
        sources = [failed[element]]
    else:
        identifier, sentence = "unexpected", f"{client} was given {name}, which nobody ever put in"
    return Decision(
        method=method, valid=False, identifier=identifier, rows=tuple(sorted((*sources, *taking_it))), sentence=sentence,
        accused=taking_it[-1],
    )
