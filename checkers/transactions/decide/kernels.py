"""The loops behind the weak levels, written once: plain Python for small histories, machine code for large ones.

`complete(name, size, budget, ...)` runs a function of this module, compiled by numba where it is installed (the extra `fast`)
and the history is large enough to repay loading it, unless it were to be compiled first and the time left is too short for
that. Both are the same lines, so they give the same answers. Each does its work
in slices: it takes a `state` (how far it got, zeros at first) and a number of `steps`, and returns whether there is more to do,
so that the clock is looked at between them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers import compiling
from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.harness.history import machine_code

COMPILED_FROM = 5_000
"""Nodes from which on machine code repays a second of loading."""

_LISTED = frozenset(("cheapest_ways",))
"""The functions that take nothing but columns of one dimension, and look at single entries."""

SLICE, PLAIN_SLICE = 5_000_000, 20_000
"""Steps of machine code, and of plain Python, between two looks at the clock."""


def complete(name: str, size: int, budget: Budget, *columns: Any) -> NDArray[np.int64]:
    """Run the function of that name on these columns to its end; the state that it ended with. Raises `Exhausted`."""
    plain: Callable[..., Any] = globals()[name]
    run, steps, told = plain, PLAIN_SLICE, ""
    if size >= COMPILED_FROM and machine_code.available():
        if compiling.in_time(compiled := machine_code.compiled(plain, *_PARTS.get(name, ())), budget):
            run, steps = compiled, SLICE
        else:
            told = f"; {compiling.NOT_COMPILED}"
    state = np.zeros(4, np.int64)
    # Plain Python reads lists several times as fast as arrays.
    listed = run is plain and name in _LISTED
    given = [column.tolist() for column in columns] if listed else columns
    while run(state, steps, *given):
        try:
            budget.check()
        except Exhausted as error:
            raise Exhausted(f"{error}{told}") from error
    if listed:
        for column, filled in zip(columns, given, strict=True):
            column[:] = filled
    return state


def _writes(write_start: Any, write_key: Any, node: int, key: int) -> bool:
    """Whether a node wrote that key."""
    low, high = write_start[node], write_start[node + 1]
    while low < high:
        middle = (low + high) // 2
        if write_key[middle] < key:
            low = middle + 1
        else:
            high = middle
    return bool(low < write_start[node + 1] and write_key[low] == key)


def committed_edges(
    state: Any, steps: int, size: int, read_start: Any, read_key: Any, read_writer: Any, write_start: Any, write_key: Any,
    edges: Any,
) -> bool:
    """Read committed: who has read from t2 and then reads x from t1, where t2 wrote x too, saw t2 first: t2 before t1.
    Fills `edges` (t2, t1, the row of the read) as far as it has room; `state[2]` becomes how many there are."""
    node, at, count = state[0], state[1], state[2]
    room = edges.shape[0]
    step = 0
    while node < size:
        at = max(at, read_start[node])
        while at < read_start[node + 1]:
            if step >= steps:
                state[0], state[1], state[2] = node, at, count
                return True
            step += at - read_start[node] + 1
            for earlier in range(read_start[node], at):
                seen, by = read_writer[earlier], read_writer[at]
                if seen != by and seen != size and _writes(write_start, write_key, seen, read_key[at]):
                    if count < room:
                        edges[count, 0] = seen
                        edges[count, 1] = by
                        edges[count, 2] = at
                    count += 1
            at += 1
        node += 1
    state[2] = count
    return False


def atomic_edges(
    state: Any, steps: int, size: int, sessions: bool, session: Any, session_start: Any, read_start: Any, read_key: Any,
    read_writer: Any, write_start: Any, write_key: Any, latest: Any, edges: Any,
) -> bool:
    """Read atomic: who sees t2 (by a read, or in its own session) and reads x from t1, where t2 wrote x too, has t2 before t1.
    In a session its last writer of x is enough, for the earlier ones come before that. `latest` is a scratch column of -1,
    one entry a key. As `committed_edges` for the rest."""
    node, at, count = state[0], state[1], state[2]
    room = edges.shape[0]
    step = 0
    while node < size:
        begin = session_start[session[node]]
        at = max(at, read_start[node])
        while at < read_start[node + 1]:
            if step >= steps:
                state[0], state[1], state[2] = node, at, count
                return True
            step += read_start[node + 1] - read_start[node]
            key, by = read_key[at], read_writer[at]
            if sessions and latest[key] >= begin and latest[key] != by:
                if count < room:
                    edges[count, 0] = latest[key]
                    edges[count, 1] = by
                    edges[count, 2] = at
                count += 1
            for other in range(read_start[node], read_start[node + 1]):
                seen = read_writer[other]
                if seen != by and seen != size and _writes(write_start, write_key, seen, key):
                    if count < room:
                        edges[count, 0] = seen
                        edges[count, 1] = by
                        edges[count, 2] = at
                    count += 1
            at += 1
        for write in range(write_start[node], write_start[node + 1]):
            latest[write_key[write]] = node
        node += 1
    state[2] = count
    return False


def happens_before(
    state: Any, steps: int, session_start: Any, session: Any, read_start: Any, read_writer: Any, waiting: Any, following: Any,
    stack: Any, clock: Any, done: Any,
) -> bool:
    """Causal order as vector clocks: `clock[i, s]` becomes the number of transactions of session s that come before node i.
    `done` counts how far each session got, and `state[1]` the nodes that were reached, less than all where session order and
    reads form a cycle. `waiting` (-1 for each node: who waits for it, linked through `following`, -1 for each session) and
    `stack` (as many) are scratch."""
    sessions = session_start.shape[0] - 1
    top, reached = state[0], state[1]
    if state[2] == 0:
        for one in range(sessions):
            stack[one] = one
        top, state[2] = sessions, 1
    step = 0
    while top > 0:
        here = stack[top - 1]
        blocked = -1
        while session_start[here] + done[here] < session_start[here + 1]:
            if step >= steps:
                state[0], state[1] = top, reached
                return True
            node = session_start[here] + done[here]
            step += 1
            for at in range(read_start[node], read_start[node + 1]):
                writer = read_writer[at]
                if writer != session.shape[0] and writer - session_start[session[writer]] >= done[session[writer]]:
                    blocked = writer
                    break
            if blocked >= 0:
                break
            step += sessions
            if done[here] > 0:
                for one in range(sessions):
                    clock[node, one] = clock[node - 1, one]
                clock[node, here] = done[here]
            for at in range(read_start[node], read_start[node + 1]):
                writer = read_writer[at]
                if writer == session.shape[0]:
                    continue
                theirs = session[writer]
                position = writer - session_start[theirs] + 1
                if clock[node, theirs] >= position:
                    continue  # Its clock came with what is known already.
                step += sessions
                for one in range(sessions):
                    if clock[writer, one] > clock[node, one]:
                        clock[node, one] = clock[writer, one]
                clock[node, theirs] = position
            done[here] += 1
            reached += 1
            # Whoever waited for it goes on below the session itself, which stays on top until it is through.
            waker = waiting[node]
            while waker >= 0:
                stack[top - 1], stack[top] = waker, here
                top += 1
                waker = following[waker]
        top -= 1
        if blocked >= 0:
            following[here] = waiting[blocked]
            waiting[blocked] = here
    state[1] = reached
    return False


def _visible(group_nodes: Any, low: int, high: int, bound: int) -> int:
    """The last of `group_nodes[low:high]` (ascending) below `bound`, -1 where there is none."""
    start = low
    while low < high:
        middle = (low + high) // 2
        if group_nodes[middle] < bound:
            low = middle + 1
        else:
            high = middle
    return group_nodes[low - 1] if low > start else -1


def causal_needs(
    state: Any, steps: int, size: int, session_start: Any, read_start: Any, read_key: Any, read_writer: Any, key_groups: Any,
    group_session: Any, group_start: Any, group_nodes: Any, clock: Any, need: Any,
) -> bool:
    """Causal: who has t2 before it and reads x from t1, where t2 wrote x too, has t2 before t1. `need[t1, s]` becomes the
    number of transactions of session s that must come before t1 for that; of each session its last visible writer is enough.
    `state[2]` becomes the row of a read of the initial state by one that sees a writer, plus one; 0 where there is none."""
    node, at = state[0], state[1]
    step = 0
    while node < size:
        at = max(at, read_start[node])
        while at < read_start[node + 1]:
            if step >= steps:
                state[0], state[1] = node, at
                return True
            key, by = read_key[at], read_writer[at]
            step += key_groups[key + 1] - key_groups[key] + 1
            for group in range(key_groups[key], key_groups[key + 1]):
                session = group_session[group]
                begin = session_start[session]
                seen = _visible(group_nodes, group_start[group], group_start[group + 1], begin + clock[node, session])
                if seen < 0 or seen == by:
                    continue
                if by == size:
                    state[2] = at + 1
                    return False
                position = seen - begin + 1
                if clock[by, session] < position and need[by, session] < position:
                    need[by, session] = position
            at += 1
        node += 1
    return False


def schedule(
    state: Any, steps: int, session_start: Any, waiting: Any, following: Any, stack: Any, checked: Any, clock: Any, need: Any,
    done: Any,
) -> bool:
    """Put all nodes in one order in which each comes after those that `clock` and `need` name. `done` counts how far each
    session got, and `state[1]` the nodes that were placed, less than all where there is no such order. `checked` (0 for each
    session: how many sessions its next node need not wait for any more) is scratch, and the others as in `happens_before`."""
    sessions = session_start.shape[0] - 1
    top, placed = state[0], state[1]
    if state[2] == 0:
        for one in range(sessions):
            stack[one] = one
        top, state[2] = sessions, 1
    step = 0
    while top > 0:
        here = stack[top - 1]
        blocked = -1
        while session_start[here] + done[here] < session_start[here + 1]:
            if step >= steps:
                state[0], state[1] = top, placed
                return True
            node = session_start[here] + done[here]
            step += 1
            while checked[here] < sessions:
                other = checked[here]
                wanted = max(clock[node, other], need[node, other])
                if done[other] < wanted:
                    # Where that is its own session, for good: the others still go as far as they can.
                    blocked = session_start[other] + wanted - 1
                    break
                checked[here] += 1
                step += 1
            if blocked >= 0:
                break
            checked[here] = 0
            done[here] += 1
            placed += 1
            waker = waiting[node]
            while waker >= 0:
                stack[top - 1], stack[top] = waker, here
                top += 1
                waker = following[waker]
        top -= 1
        if blocked >= 0:
            following[here] = waiting[blocked]
            waiting[blocked] = here
    state[1] = placed
    return False


def unordered(state: Any, steps: int, size: int, start: Any, target: Any, degree: Any, order: Any) -> bool:
    """How many nodes cannot be put in an order along the edges from i to `target[start[i]:start[i + 1]]`, in `state[1]`; the
    others are the first of `order` (as long as there are nodes), in such an order. `degree` is the number of edges into each,
    and afterwards positive for exactly those that cannot."""
    done, known = state[0], state[2]
    if state[3] == 0:
        for node in range(size):
            if degree[node] == 0:
                order[known] = node
                known += 1
        state[3] = 1
    step = 0
    while done < known:
        if step >= steps:
            state[0], state[2] = done, known
            return True
        node = order[done]
        done += 1
        step += start[node + 1] - start[node] + 1
        for at in range(start[node], start[node + 1]):
            other = target[at]
            degree[other] -= 1
            if degree[other] == 0:
                order[known] = other
                known += 1
    state[1] = size - done
    return False


def cheapest_ways(
    state: Any, steps: int, begin: Any, end: Any, group: Any, start: Any, source: Any, target: Any, cost: Any, came: Any,
    seen: Any, near: Any, far: Any, way_start: Any, ways: Any,
) -> bool:
    """Of every pair of nodes, `begin[n]` and `end[n]`, a way that takes the fewest edges marked in `cost`, through nodes of one
    `group`: its edges, the last one first, are `ways[way_start[n]:way_start[n + 1]]`, none where there is no such way or no
    more room. Edges are in the order of their `source`, those of node i from `start[i]` up to `start[i + 1]`. `came`, `near`,
    `far` (one entry a node) and `seen` (zeros) are scratch."""
    one = state[0]
    step = 0
    while one < len(begin):
        if step >= steps:
            state[0] = one
            return True
        queued, settled = 2 * one + 1, 2 * one + 2
        goal, arrived = end[one], False
        near[0], seen[begin[one]] = begin[one], settled
        many, apart = 1, 0
        while many > 0 and not arrived:
            head = 0
            while head < many:
                node = near[head]
                head += 1
                if node == goal:
                    arrived = True
                    break
                step += start[node + 1] - start[node] + 1
                for at in range(start[node], start[node + 1]):
                    other = target[at]
                    if group[other] != group[node]:
                        continue
                    if not cost[at]:
                        if seen[other] < settled:
                            near[many], seen[other], came[other] = other, settled, at
                            many += 1
                    elif seen[other] < queued:
                        far[apart], seen[other], came[other] = other, queued, at
                        apart += 1
            many = 0
            for at in range(apart):
                if seen[far[at]] < settled:
                    near[many], seen[far[at]] = far[at], settled
                    many += 1
            apart = 0
        filled = way_start[one]
        node = goal
        while arrived and node != begin[one] and filled < len(ways):
            ways[filled] = came[node]
            node = source[came[node]]
            filled += 1
        way_start[one + 1] = filled if arrived and node == begin[one] else way_start[one]
        one += 1
    return False


_PARTS = {"committed_edges": (_writes,), "atomic_edges": (_writes,), "causal_needs": (_visible,)}
"""By name, the functions of this module that one calls."""
