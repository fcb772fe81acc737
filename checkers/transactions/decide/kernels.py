"""The loops behind the weak levels, written once: plain Python for small histories, machine code for large ones.

`kernel(name, size)` gives a function of this module, compiled by numba where it is installed (the extra `fast`) and the history
is large enough to repay loading it. Both are the same lines, so they give the same answers.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

COMPILED_FROM = 5_000
"""Nodes from which on machine code repays a second of loading."""


def kernel(name: str, size: int) -> Callable[..., Any]:
    """The function of that name, as machine code where it is worth it."""
    plain: Callable[..., Any] = globals()[name]
    if size < COMPILED_FROM or importlib.util.find_spec("numba") is None:
        return plain
    return _compiled(name)


@cache
def _compiled(name: str) -> Callable[..., Any]:
    from numba import njit

    _compile_parts()
    function: Callable[..., Any] = njit(cache=True)(globals()[name])
    return function


@cache
def _compile_parts() -> None:
    """What the others call must be machine code before they are."""
    from numba import njit

    for name in ("_writes", "_visible"):
        globals()[name] = njit(cache=True)(globals()[name])


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
    size: int, read_start: Any, read_key: Any, read_writer: Any, write_start: Any, write_key: Any, edges: Any
) -> int:
    """Read committed: who has read from t2 and then reads x from t1, where t2 wrote x too, saw t2 first: t2 before t1.
    Fills `edges` (t2, t1, the row of the read) as far as it has room; returns how many there are."""
    count = 0
    room = edges.shape[0]
    for node in range(size):
        for at in range(read_start[node], read_start[node + 1]):
            for earlier in range(read_start[node], at):
                seen, by = read_writer[earlier], read_writer[at]
                if seen != by and seen != size and _writes(write_start, write_key, seen, read_key[at]):
                    if count < room:
                        edges[count, 0] = seen
                        edges[count, 1] = by
                        edges[count, 2] = at
                    count += 1
    return count


def atomic_edges(
    size: int, sessions: bool, session_start: Any, read_start: Any, read_key: Any, read_writer: Any, write_start: Any,
    write_key: Any, latest: Any, edges: Any,
) -> int:
    """Read atomic: who sees t2 (by a read, or in its own session) and reads x from t1, where t2 wrote x too, has t2 before t1.
    In a session its last writer of x is enough, for the earlier ones come before that. `latest` is a scratch column of -1,
    one entry a key. As `committed_edges` for the rest."""
    count = 0
    room = edges.shape[0]
    for session in range(session_start.shape[0] - 1):
        begin = session_start[session]
        for node in range(begin, session_start[session + 1]):
            for at in range(read_start[node], read_start[node + 1]):
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
            for at in range(write_start[node], write_start[node + 1]):
                latest[write_key[at]] = node
    return count


def happens_before(session_start: Any, session: Any, read_start: Any, read_writer: Any, clock: Any, done: Any) -> int:
    """Causal order as vector clocks: `clock[i, s]` becomes the number of transactions of session s that come before node i.
    `done` counts how far each session got; returns the number of nodes that were reached, less than all where session order
    and reads form a cycle."""
    size, sessions = session.shape[0], session_start.shape[0] - 1
    waiting = np.full(size, -1, np.int64)  # of a node: who waits for it, linked through `following`
    following = np.full(sessions, -1, np.int64)
    stack = np.empty(sessions, np.int64)
    top = 0
    for one in range(sessions):
        stack[top] = one
        top += 1
    reached = 0
    while top > 0:
        top -= 1
        here = stack[top]
        while session_start[here] + done[here] < session_start[here + 1]:
            node = session_start[here] + done[here]
            blocked = -1
            for at in range(read_start[node], read_start[node + 1]):
                writer = read_writer[at]
                if writer != size and writer - session_start[session[writer]] >= done[session[writer]]:
                    blocked = writer
                    break
            if blocked >= 0:
                following[here] = waiting[blocked]
                waiting[blocked] = here
                break
            if done[here] > 0:
                for one in range(sessions):
                    clock[node, one] = clock[node - 1, one]
                clock[node, here] = done[here]
            for at in range(read_start[node], read_start[node + 1]):
                writer = read_writer[at]
                if writer == size:
                    continue
                theirs = session[writer]
                position = writer - session_start[theirs] + 1
                if clock[node, theirs] >= position:
                    continue  # Its clock came with what is known already.
                for one in range(sessions):
                    if clock[writer, one] > clock[node, one]:
                        clock[node, one] = clock[writer, one]
                clock[node, theirs] = position
            done[here] += 1
            reached += 1
            waker = waiting[node]
            while waker >= 0:
                stack[top] = waker
                top += 1
                waker = following[waker]
    return reached


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
    size: int, session_start: Any, read_start: Any, read_key: Any, read_writer: Any, key_groups: Any, group_session: Any,
    group_start: Any, group_nodes: Any, clock: Any, need: Any,
) -> int:
    """Causal: who has t2 before it and reads x from t1, where t2 wrote x too, has t2 before t1. `need[t1, s]` becomes the
    number of transactions of session s that must come before t1 for that; of each session its last visible writer is enough.
    Returns a read of the initial state by one that sees a writer, -1 where there is none."""
    for node in range(size):
        for at in range(read_start[node], read_start[node + 1]):
            key, by = read_key[at], read_writer[at]
            for group in range(key_groups[key], key_groups[key + 1]):
                session = group_session[group]
                begin = session_start[session]
                seen = _visible(group_nodes, group_start[group], group_start[group + 1], begin + clock[node, session])
                if seen < 0 or seen == by:
                    continue
                if by == size:
                    return at
                position = seen - begin + 1
                if clock[by, session] < position and need[by, session] < position:
                    need[by, session] = position
    return -1


def schedule(session_start: Any, clock: Any, need: Any, done: Any) -> int:
    """Put all nodes in one order in which each comes after those that `clock` and `need` name. `done` counts how far each
    session got; returns the number of nodes that were placed, less than all where there is no such order."""
    sessions = session_start.shape[0] - 1
    size = clock.shape[0]
    waiting = np.full(size, -1, np.int64)
    following = np.full(sessions, -1, np.int64)
    checked = np.zeros(sessions, np.int64)  # of the node at a session's head: sessions that are satisfied already
    stack = np.empty(sessions, np.int64)
    top = 0
    for one in range(sessions):
        stack[top] = one
        top += 1
    placed = 0
    while top > 0:
        top -= 1
        here = stack[top]
        while session_start[here] + done[here] < session_start[here + 1]:
            node = session_start[here] + done[here]
            blocked = -1
            while checked[here] < sessions:
                other = checked[here]
                wanted = max(clock[node, other], need[node, other])
                if done[other] < wanted:
                    # Where that is its own session, for good: the others still go as far as they can.
                    blocked = session_start[other] + wanted - 1
                    break
                checked[here] += 1
            if blocked >= 0:
                following[here] = waiting[blocked]
                waiting[blocked] = here
                break
            checked[here] = 0
            done[here] += 1
            placed += 1
            waker = waiting[node]
            while waker >= 0:
                stack[top] = waker
                top += 1
                waker = following[waker]
    return placed


def unordered(size: int, start: Any, target: Any, degree: Any) -> int:
    """How many nodes cannot be put in an order along the edges from i to `target[start[i]:start[i + 1]]`; `degree` is the
    number of edges into each, and afterwards positive for exactly those nodes."""
    stack = np.empty(size, np.int64)
    top = 0
    for node in range(size):
        if degree[node] == 0:
            stack[top] = node
            top += 1
    left = size
    while top > 0:
        top -= 1
        node = stack[top]
        left -= 1
        for at in range(start[node], start[node + 1]):
            other = target[at]
            degree[other] -= 1
            if degree[other] == 0:
                stack[top] = other
                top += 1
    return left


def descendants(order: Any, start: Any, target: Any, reach: Any) -> None:
    """Of every vertex the set of those that it reaches, a bit each in the words of its row of `reach` (zeros before);
    `order` is a topological order."""
    words = reach.shape[1]
    for place in range(order.shape[0] - 1, -1, -1):
        vertex = order[place]
        for at in range(start[vertex], start[vertex + 1]):
            other = target[at]
            for word in range(words):
                reach[vertex, word] |= reach[other, word]
            reach[vertex, other >> 6] |= np.uint64(1) << np.uint64(other & 63)
