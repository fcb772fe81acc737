"""One serial order of transactions over registers, found by running them: each when what it read is there, and when nobody
still has to read what it replaces.

Of several that may run, those that write nothing go first, for they are in nobody's way, and then the one that was answered
first or, where that gets nowhere, the one that was invoked first. Where nothing can run, some wait for each other in a circle
because of a version that one of the placed ones installed too early: that one is taken back, with all behind it (conflict-
directed backjumping: Prosser, "Hybrid algorithms for the constraint satisfaction problem", Computational Intelligence 1993),
and the circle is kept, so that nobody runs into it again. That finds an order for nearly every history that has one; where
it finds none, nothing is known.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from splitbrain.checkers import compiling
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import backjumping
from splitbrain.checkers.transactions.backjumping import FOUND, LONGEST, MORE, STUCK, Circles, Graph, Placing, Reasons, run
from splitbrain.checkers.transactions.graph import Ints
from splitbrain.checkers.transactions.inference import Inference, group_ends
from splitbrain.harness.history import machine_code
from splitbrain.harness.history.history import NEVER

COMPILED_FROM = 1_500
"""Vertices from which on machine code repays loading it."""

PLAIN_MOST = 500_000
"""Vertices up to which plain Python searches: a thousand bytes of lists for each."""

HASTY_TURNS = 200
"""How often the search for an order may turn back before it gets further than ever, while there are others to try."""

TURNS = 2_000
"""How often it may where little is at stake."""

PATIENT_TURNS = 50_000
"""How often it may where an order decides a level."""

_TURNS_EACH = 20
"""How often it may turn back in all, for each vertex."""

_SLICE, _PLAIN_SLICE = 2_000_000, 20_000
"""Steps of a search between two looks at the clock; and where it is no machine code."""

_REASONS, _CIRCLES = 200_000, 20_000
"""How many pairs explain why nothing can run at all places together, and how many circles are kept, at most."""


def serial_order(
    inference: Inference, source: Ints, target: Ints, many: int, budget: Budget, turns: int = PATIENT_TURNS
) -> Ints | None:
    """The rank of every transaction in a serial order that contains these edges (between `many` vertices, the history's rows
    first), None where none was found within the budget and so many `turns` without getting further, or
    there are too many for plain code and there is no other."""
    kernel, slice_ = _kernel(many, budget)
    if kernel is run and many > PLAIN_MOST:
        return None
    history, micros = inference.history, inference.micros
    owner, key = micros.owners(), micros.key.astype(np.int64)
    writes = np.flatnonzero(inference.installed)
    reads = np.flatnonzero(inference.external)
    place = np.full(len(key) + 1, -1)
    place[writes] = np.arange(len(writes))
    version = np.where(inference.read_from[reads] >= 0, place[inference.read_from[reads]], len(writes) + key[reads])
    if (version < 0).any():
        return None
    # A transaction that read a version twice read it once.
    order = np.lexsort((version, owner[reads]))
    reads, version = reads[order], version[order]
    begin, _ = group_ends(owner[reads], version)
    reads, version = reads[begin], version[begin]
    versions = len(writes) + len(micros.keys)
    rows = np.arange(many + 1)
    quiet = np.ones(many, np.bool_)
    quiet[owner[writes]] = False
    edges = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(many, many))
    back = edges.T.tocsr()
    by_version = np.argsort(version, kind="stable")
    graph = Graph(
        start=edges.indptr.astype(np.int64), target=edges.indices.astype(np.int64),
        before_start=back.indptr.astype(np.int64), before=back.indices.astype(np.int64),
        read_start=np.searchsorted(owner[reads], rows), read_key=key[reads], read_version=version,
        write_start=np.searchsorted(owner[writes], rows), write_key=key[writes],
        reader_start=np.searchsorted(version[by_version], np.arange(versions + 1)), reader=owner[reads][by_version],
        author=np.append(owner[writes], np.full(len(micros.keys), -1)), priority=np.zeros(many, np.int64),
    )
    degree = np.bincount(edges.indices, minlength=many)
    remaining = np.bincount(version, minlength=versions).astype(np.int64)
    first = len(writes) + np.arange(len(micros.keys))
    answered = np.where(history.completed == NEVER, history.invoked, history.completed)
    moments = (answered, history.invoked) if (answered != history.invoked).any() else (answered,)
    for most, moment in product(dict.fromkeys((min(HASTY_TURNS, turns), turns)), moments):
        priority = np.zeros(many, np.int64)
        priority[np.argsort(moment, kind="stable")] = np.arange(1, len(history) + 1)
        priority[quiet] = 0
        end, rank = _searched(kernel, slice_, graph._replace(priority=priority), degree, remaining, first, budget, most)
        if end == FOUND:
            return rank[: len(history)]
        if end != STUCK:
            return None
    return None


def _searched(
    kernel: Callable[..., int], slice_: int, graph: Graph, degree: Ints, remaining: Ints, first: Ints, budget: Budget,
    turns: int,
) -> tuple[int, Ints]:
    """How the search ended (`MORE`: by the budget), and the rank of every vertex."""
    many = len(degree)
    ready, place = np.full(many, -1), np.full(many, -1)
    begin = np.flatnonzero(degree == 0)
    ready[: len(begin)] = begin
    place[begin] = np.arange(len(begin))
    none = np.full(many + 1, -1)
    pairs = min(8 * many + 1_024, _REASONS)
    circles = min(4 * many + 256, _CIRCLES)
    in_circles = circles * 8 + LONGEST
    placing = Placing(
        degree=degree.copy(), remaining=remaining.copy(), current=first.copy(), rank=none.copy(), ready=ready, place=place,
        order=none.copy(), replaced=np.empty(len(graph.write_key), np.int64), barrier=none.copy(), cause=none.copy(),
        waits_for=none.copy(), seen=np.zeros(many, np.int64),
    )
    reasons = Reasons(
        at=none.copy(), next=np.append(np.arange(1, pairs), -1), first=np.empty(pairs, np.int64),
        second=np.empty(pairs, np.int64),
    )
    kept = Circles(
        start=np.zeros(circles + 1, np.int64), first=np.empty(in_circles, np.int64), second=np.empty(in_circles, np.int64),
        watched=none.copy(), watch_next=np.empty(in_circles, np.int64), watch_circle=np.empty(in_circles, np.int64),
    )
    state = np.array(backjumping.begun(len(begin), turns + _TURNS_EACH * many))
    given: list[Any] = [graph, placing, reasons, kept, state]
    if kernel is run:
        # Plain Python reads lists several times as fast as arrays.
        given = [*(type(some)(*(column.tolist() for column in some)) for some in given[:-1]), state.tolist()]
    while (end := kernel(*given, turns, slice_)) == MORE and not budget.over:
        continue
    return end, np.asarray(given[1].rank)


def _kernel(size: int, budget: Budget) -> tuple[Callable[..., int], int]:
    """The search, and how many steps it takes at a time."""
    if size < COMPILED_FROM or not machine_code.available():
        return run, _PLAIN_SLICE
    compiled = machine_code.compiled(run, *backjumping.PARTS)
    return (compiled, _SLICE) if compiling.in_time(compiled, budget) else (run, _PLAIN_SLICE)
