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

_LONGEST = 32
"""Pairs of the longest circle that is kept."""

MORE, FOUND, STUCK, NONE = range(4)
_FREE, _UNREAD, _HELD, _KEPT = range(4)


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
    graph = csr_matrix((np.ones(len(source), np.int8), (source, target)), shape=(many, many))
    back = graph.T.tocsr()
    by_version = np.argsort(version, kind="stable")
    fixed = (
        graph.indptr.astype(np.int64), graph.indices.astype(np.int64), back.indptr.astype(np.int64),
        back.indices.astype(np.int64), np.searchsorted(owner[reads], rows), key[reads], version,
        np.searchsorted(owner[writes], rows), key[writes], np.searchsorted(version[by_version], np.arange(versions + 1)),
        owner[reads][by_version], np.append(owner[writes], np.full(len(micros.keys), -1)),
    )
    degree = np.bincount(graph.indices, minlength=many)
    remaining = np.bincount(version, minlength=versions).astype(np.int64)
    first = len(writes) + np.arange(len(micros.keys))
    answered = np.where(history.completed == NEVER, history.invoked, history.completed)
    moments = (answered, history.invoked) if (answered != history.invoked).any() else (answered,)
    for most, moment in product(dict.fromkeys((min(HASTY_TURNS, turns), turns)), moments):
        priority = np.zeros(many, np.int64)
        priority[np.argsort(moment, kind="stable")] = np.arange(1, len(history) + 1)
        priority[quiet] = 0
        end, rank = _searched(kernel, slice_, fixed, degree, priority, remaining, first, budget, most)
        if end == FOUND:
            return rank[: len(history)]
        if end != STUCK:
            return None
    return None


def _searched(
    kernel: Callable[..., int], slice_: int, fixed: tuple[Ints, ...], degree: Ints, priority: Ints, remaining: Ints,
    first: Ints, budget: Budget, turns: int,
) -> tuple[int, Ints]:
    """How the search ended (`MORE`: by the budget), and the rank of every vertex."""
    many = len(degree)
    ready = np.full(many, -1)
    begin = np.flatnonzero(degree == 0)
    ready[: len(begin)] = begin
    place = np.full(many, -1)
    place[begin] = np.arange(len(begin))
    none = np.full(many + 1, -1)
    pairs = min(8 * many + 1_024, _REASONS)
    circles = min(4 * many + 256, _CIRCLES)
    following = np.append(np.arange(1, pairs), -1)
    state = np.array([0, -1, len(begin), 0, 0, turns + _TURNS_EACH * many, 0, 0, 0, 1])
    working = [
        degree.copy(), priority, remaining.copy(), first.copy(), none.copy(), ready, place, none.copy(),
        np.empty(len(fixed[8]), np.int64), none.copy(), none.copy(), none.copy(), np.zeros(many, np.int64), none.copy(),
        following, np.empty(pairs, np.int64), np.empty(pairs, np.int64), np.zeros(circles + 1, np.int64),
        np.empty(circles * 8 + _LONGEST, np.int64), np.empty(circles * 8 + _LONGEST, np.int64), none.copy(),
        np.empty(circles * 8 + _LONGEST, np.int64), np.empty(circles * 8 + _LONGEST, np.int64), state,
    ]
    # Plain Python reads lists several times as fast as arrays.
    given = [*fixed, *working] if kernel is not run else [column.tolist() for column in (*fixed, *working)]
    while (end := kernel(*given, turns, slice_)) == MORE and not budget.over:
        continue
    return end, np.asarray(given[len(fixed) + 4])


def _kernel(size: int, budget: Budget) -> tuple[Callable[..., int], int]:
    """The search, and how many steps it takes at a time."""
    if size < COMPILED_FROM or not machine_code.available() or not compiling.in_time(machine_code.compiled(run), budget):
        return run, _PLAIN_SLICE
    return machine_code.compiled(run), _SLICE


def run(
    start: Any, target: Any, before_start: Any, before: Any, read_start: Any, read_key: Any, read_version: Any,
    write_start: Any, write_key: Any, reader_start: Any, reader: Any, author: Any,
    degree: Any, priority: Any, remaining: Any, current: Any, rank: Any, ready: Any, place: Any, order: Any, replaced: Any,
    barrier: Any, cause: Any, waits_for: Any, seen: Any, reasons: Any, reason_next: Any, reason_first: Any,
    reason_second: Any, circle_start: Any, circle_first: Any, circle_second: Any, watched: Any, watch_next: Any,
    watch_circle: Any, state: Any, most: int, steps: int,
) -> int:
    """Run the vertices in an order and fill in their `rank`: `FOUND` where all could run, `NONE` where no order lets them,
    `STUCK` where it turned back at `most` so often without getting further than before, `MORE` after so many `steps`: to be
    called again with the same arrays.

    `current` is the version of every key, and `remaining` how many transactions still have to read each version; `author` and
    `reader` are who wrote and who reads a version. A pair of vertices (first, second) stands for the order in which both
    replaced a version of some key: a circle is a set of pairs that cannot all be, and `reasons` are at each place the pairs
    that keep what is ready, and was tried there, from running.
    """
    many = len(degree)
    placed, floor, count, turns, furthest, left_in_all = state[0], state[1], state[2], state[3], state[4], state[5]
    free, circles, watches, walk = state[6], state[7], state[8], state[9]
    step = 0
    while placed < many:
        if step >= steps:
            state[0], state[1], state[2], state[3], state[4], state[5] = placed, floor, count, turns, furthest, left_in_all
            state[6], state[7], state[8], state[9] = free, circles, watches, walk
            return MORE
        step += count + 1
        best, chosen = -1, -1
        for at in range(count):
            vertex = ready[at]
            if best >= 0 and priority[vertex] >= best:
                continue
            kind, why = _FREE, -1
            for own in range(read_start[vertex], read_start[vertex + 1]):
                if current[read_key[own]] != read_version[own]:
                    kind, why = _UNREAD, own
                    break
            if kind == _FREE:
                for own in range(write_start[vertex], write_start[vertex + 1]):
                    held = current[write_key[own]]
                    left = remaining[held]
                    if left > 0:
                        for read in range(read_start[vertex], read_start[vertex + 1]):
                            if read_version[read] == held:
                                left -= 1
                    if left > 0:
                        kind, why = _HELD, own
                        break
            node = watched[vertex] if kind == _FREE else -1
            while node >= 0:
                whole = True
                circle = watch_circle[node]
                for pair in range(circle_start[circle], circle_start[circle + 1]):
                    first, second = circle_first[pair], circle_second[pair]
                    if first == vertex:
                        whole = rank[second] < 0
                    else:
                        whole = rank[first] >= 0 and (rank[second] < 0 or rank[second] > rank[first])
                    if not whole:
                        break
                if whole:
                    kind, why = _KEPT, circle
                    break
                node = watch_next[node]
            barrier[vertex], cause[vertex] = kind, why
            if kind == _FREE and priority[vertex] > floor:
                best, chosen = priority[vertex], vertex
                if best == 0:
                    break  # Whatever changes nothing is in nobody's way.
        if chosen >= 0:
            floor = -1
            order[placed], rank[chosen] = chosen, placed
            placed += 1
            reasons[placed] = -1
            for own in range(read_start[chosen], read_start[chosen + 1]):
                remaining[read_version[own]] -= 1
            for own in range(write_start[chosen], write_start[chosen + 1]):
                replaced[own] = current[write_key[own]]
                current[write_key[own]] = own
            count -= 1
            ready[place[chosen]], place[ready[count]] = ready[count], place[chosen]
            for at in range(start[chosen], start[chosen + 1]):
                other = target[at]
                degree[other] -= 1
                if degree[other] == 0:
                    ready[count], place[other] = other, count
                    count += 1
            continue

        turns, left_in_all = (0 if placed > furthest else turns + 1), left_in_all - 1
        furthest = max(furthest, placed)
        if turns > most or left_in_all < 0:
            return STUCK

        # Who waits for whom, from all that could be next: a circle, the one that was closed first.
        entry, least, old = -1, many, walk
        for at in range(count):
            vertex, other = ready[at], 0
            walk += 1
            while other >= 0 and seen[vertex] <= old:
                seen[vertex], other = walk, -1
                step += 1
                if degree[vertex] > 0:
                    for edge in range(before_start[vertex], before_start[vertex + 1]):
                        if rank[before[edge]] < 0:
                            other = before[edge]
                            break
                elif barrier[vertex] == _UNREAD:
                    other = author[read_version[cause[vertex]]]
                elif barrier[vertex] == _HELD:
                    held = current[write_key[cause[vertex]]]
                    for read in range(reader_start[held], reader_start[held + 1]):
                        if rank[reader[read]] < 0 and reader[read] != vertex:
                            other = reader[read]
                            break
                elif barrier[vertex] == _KEPT:
                    for pair in range(circle_start[cause[vertex]], circle_start[cause[vertex] + 1]):
                        if circle_first[pair] == vertex:
                            other = circle_second[pair]
                waits_for[vertex] = other
                if other >= 0:
                    vertex = other
            if other < 0 or seen[vertex] != walk:
                continue
            depth, one = -1, vertex
            while True:
                if degree[one] == 0 and barrier[one] == _HELD:
                    writer = author[current[write_key[cause[one]]]]
                    if writer >= 0:
                        depth = max(depth, rank[writer])
                elif degree[one] == 0 and barrier[one] == _KEPT:
                    for pair in range(circle_start[cause[one]], circle_start[cause[one] + 1]):
                        if circle_first[pair] != one:
                            depth = max(depth, rank[circle_first[pair]])
                one = waits_for[one]
                if one == vertex:
                    break
            if depth < least:
                entry, least = vertex, depth

        if entry >= 0:
            # It is reason enough, whatever was tried here.
            while reasons[placed] >= 0:
                node = reasons[placed]
                reasons[placed] = reason_next[node]
                reason_next[node], free = free, node
        one, at = entry, 0
        while entry >= 0 or at < count:
            vertex = one if entry >= 0 else ready[at]
            at += 1
            low = high = 0
            if degree[vertex] == 0 and barrier[vertex] == _HELD:
                high = 1
            elif degree[vertex] == 0 and barrier[vertex] == _KEPT:
                low, high = circle_start[cause[vertex]], circle_start[cause[vertex] + 1]
            for pair in range(low, high):
                if barrier[vertex] == _HELD:
                    first, second = author[current[write_key[cause[vertex]]]], vertex
                else:
                    first, second = circle_first[pair], circle_second[pair]
                    if first == vertex:
                        continue
                if first < 0:
                    continue
                node = reasons[placed]
                while node >= 0 and (reason_first[node] != first or reason_second[node] != second):
                    node = reason_next[node]
                if node < 0:
                    if free < 0:
                        return STUCK
                    node = free
                    free = reason_next[node]
                    reason_first[node], reason_second[node] = first, second
                    reason_next[node], reasons[placed] = reasons[placed], node
            if entry >= 0:
                one = waits_for[one]
                if one == entry:
                    break
        last, size = -1, 0
        node = reasons[placed]
        while node >= 0:
            last, size = max(last, rank[reason_first[node]]), size + 1
            node = reason_next[node]
        if last < 0:
            return NONE
        wrong = order[last]

        # Keep it, where each of its pairs but one holds again.
        if size <= _LONGEST:
            full = circles + 2 > len(circle_start) or circle_start[circles] + size > len(circle_first)
            if full or watches + size > len(watch_next):
                for pair in range(circle_start[circles]):
                    watched[circle_first[pair]] = -1
                circles = watches = 0
            begin = end = circle_start[circles]
            node = reasons[placed]
            while node >= 0:
                circle_first[end], circle_second[end] = reason_first[node], reason_second[node]
                end += 1
                node = reason_next[node]
            circle_start[circles + 1] = end
            for pair in range(begin, end):
                alone = True
                for other in range(begin, end):
                    if other != pair and circle_first[other] == circle_first[pair]:
                        alone = False
                if alone:
                    watch_circle[watches], watch_next[watches] = circles, watched[circle_first[pair]]
                    watched[circle_first[pair]] = watches
                    watches += 1
            circles += 1

        # Go back to where the last of them was installed; the others are why it may not be there.
        node = reasons[placed]
        reasons[placed] = -1
        while node >= 0:
            after = reason_next[node]
            first, second = reason_first[node], reason_second[node]
            known = reasons[last]
            if first != wrong:
                while known >= 0 and (reason_first[known] != first or reason_second[known] != second):
                    known = reason_next[known]
            if first != wrong and known < 0:
                reason_next[node], reasons[last] = reasons[last], node
            else:
                reason_next[node], free = free, node
            node = after
        while placed > last:
            placed -= 1
            step += 1
            vertex = order[placed]
            rank[vertex] = -1
            while placed > last and reasons[placed] >= 0:
                node = reasons[placed]
                reasons[placed] = reason_next[node]
                reason_next[node], free = free, node
            for at in range(start[vertex], start[vertex + 1]):
                other = target[at]
                if degree[other] == 0:
                    count -= 1
                    ready[place[other]], place[ready[count]] = ready[count], place[other]
                degree[other] += 1
            ready[count], place[vertex] = vertex, count
            count += 1
            for own in range(write_start[vertex], write_start[vertex + 1]):
                current[write_key[own]] = replaced[own]
            for own in range(read_start[vertex], read_start[vertex + 1]):
                remaining[read_version[own]] += 1
        floor = priority[wrong]
    return FOUND
