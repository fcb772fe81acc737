"""One serial order of transactions over registers, found by running them: each when what it read is there, and when nobody
still has to read what it replaces.

Of several that may run, those that write nothing go first, for they are in nobody's way, and then the one that was answered
first. That finds an order for nearly every history that has one; where it gets stuck, nothing is known.
"""

from __future__ import annotations

import heapq
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix

from splitbrain.checkers.transactions.graph import Ints
from splitbrain.checkers.transactions.inference import Inference, group_ends
from splitbrain.harness.history.history import NEVER

COMPILED_FROM = 200_000
"""Vertices from which on machine code repays loading it."""


def serial_order(inference: Inference, source: Ints, target: Ints, many: int) -> Ints | None:
    """The rank of every transaction in a serial order that contains these edges (between `many` vertices, the history's rows
    first), None where none was found."""
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
    remaining = np.bincount(version, minlength=len(writes) + len(micros.keys)).astype(np.int64)
    rows = np.arange(many + 1)
    answered = np.argsort(np.where(history.completed == NEVER, history.invoked, history.completed), kind="stable")
    priority = np.zeros(many, np.int64)
    priority[answered] = np.arange(1, len(history) + 1)
    quiet = np.ones(many, np.bool_)
    quiet[owner[writes]] = False
    priority[quiet] = 0
    graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(many, many))
    rank = np.full(many, -1)
    placed = _kernel(many)(
        graph.indptr.astype(np.int64), graph.indices.astype(np.int64), np.bincount(graph.indices, minlength=many), priority,
        np.searchsorted(owner[reads], rows), key[reads], version, np.searchsorted(owner[writes], rows), key[writes],
        remaining, len(writes) + np.arange(len(micros.keys)), rank,
    )
    return rank[: len(history)] if placed == many else None


def _kernel(size: int) -> Callable[..., int]:
    if size < COMPILED_FROM or importlib.util.find_spec("numba") is None:
        return run
    return _compiled()


@cache
def _compiled() -> Callable[..., int]:
    from numba import njit

    function: Callable[..., int] = njit(cache=True)(run)
    return function


def run(
    start: Any, target: Any, degree: Any, priority: Any, read_start: Any, read_key: Any, read_version: Any, write_start: Any,
    write_key: Any, remaining: Any, current: Any, rank: Any,
) -> int:
    """Run the vertices in an order and fill in their `rank`; how many could run. `current` is the version of every key, and
    `remaining` how many transactions still have to read each version."""
    many = degree.shape[0]
    first_waiting = np.full(current.shape[0], -1, np.int64)
    next_waiting = np.full(many, -1, np.int64)
    queue = [np.int64(0)]
    queue.pop()
    for vertex in range(many):
        if degree[vertex] == 0:
            heapq.heappush(queue, np.int64(priority[vertex] * many + vertex))
    placed = 0
    while len(queue) > 0:
        vertex = heapq.heappop(queue) % many
        blocked = -1
        for at in range(read_start[vertex], read_start[vertex + 1]):
            if current[read_key[at]] != read_version[at]:
                blocked = read_key[at]
                break
        if blocked < 0:
            for at in range(write_start[vertex], write_start[vertex + 1]):
                held = current[write_key[at]]
                left = remaining[held]
                for own in range(read_start[vertex], read_start[vertex + 1]):
                    if read_version[own] == held:
                        left -= 1
                if left > 0:
                    blocked = write_key[at]
                    break
        if blocked >= 0:
            next_waiting[vertex] = first_waiting[blocked]
            first_waiting[blocked] = vertex
            continue
        rank[vertex] = placed
        placed += 1
        for at in range(read_start[vertex], read_start[vertex + 1]):
            remaining[read_version[at]] -= 1
            waker = first_waiting[read_key[at]]
            first_waiting[read_key[at]] = -1
            while waker >= 0:
                heapq.heappush(queue, np.int64(priority[waker] * many + waker))
                waker = next_waiting[waker]
        for at in range(write_start[vertex], write_start[vertex + 1]):
            current[write_key[at]] = at
            waker = first_waiting[write_key[at]]
            first_waiting[write_key[at]] = -1
            while waker >= 0:
                heapq.heappush(queue, np.int64(priority[waker] * many + waker))
                waker = next_waiting[waker]
        for at in range(start[vertex], start[vertex + 1]):
            other = target[at]
            degree[other] -= 1
            if degree[other] == 0:
                heapq.heappush(queue, np.int64(priority[other] * many + other))
    return placed
