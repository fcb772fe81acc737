"""Running transactions over registers one after another, and turning back where nothing can run: what `serial` searches with.

The steps are written once, as loops over columns of integers: plain Python runs them on lists, and machine code on arrays.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LONGEST = 32
"""Pairs of the longest circle that is kept."""

MORE, FOUND, STUCK, NONE = range(4)
_FREE, _UNREAD, _HELD, _KEPT = range(4)
_PLACED, _FLOOR, _COUNT, _TURNS, _FURTHEST, _LEFT, _UNUSED, _CIRCLES, _WATCHES, _WALK, _STEPS = range(11)


class Graph(NamedTuple):
    """What does not change: ranges and what is in them. `start` and `target` are the edges from each vertex, `before_start` and
    `before` those to it; `read_start` begins what each vertex reads, keys and versions, and `write_start` the keys that it
    writes, by the versions that these are. `reader_start` and `reader` tell who reads each version, `author` who wrote it (-1:
    it was there at first). `priority` says who goes first: the lowest."""

    start: Any
    target: Any
    before_start: Any
    before: Any
    read_start: Any
    read_key: Any
    read_version: Any
    write_start: Any
    write_key: Any
    reader_start: Any
    reader: Any
    author: Any
    priority: Any


class Placing(NamedTuple):
    """How far it got. A vertex is placed (`rank`, `order`), or waits for so many others (`degree`), or is `ready` (at its
    `place` there); then `barrier` says what kept it from running when it was last looked at, and `cause` which read, write or
    circle. `current` is the version of every key, `replaced` what each write replaced, and `remaining` how many transactions
    still have to read each version."""

    degree: Any
    remaining: Any
    current: Any
    rank: Any
    ready: Any
    place: Any
    order: Any
    replaced: Any
    barrier: Any
    cause: Any
    waits_for: Any
    seen: Any


class Reasons(NamedTuple):
    """At each place, chained, the pairs that keep what is ready, and was tried there, from running. A pair of vertices (first,
    second) stands for the order in which both replaced a version of some key."""

    at: Any
    next: Any
    first: Any
    second: Any


class Circles(NamedTuple):
    """Sets of pairs that cannot all be: `start` begins the pairs of each. `watched` chains those that a vertex may close."""

    start: Any
    first: Any
    second: Any
    watched: Any
    watch_next: Any
    watch_circle: Any


def begun(ready: int, turns: int) -> list[int]:
    """The counts (`state`) of a search that has so many vertices ready, and may turn back so often in all."""
    state = [0] * 11
    state[_FLOOR], state[_COUNT], state[_LEFT], state[_WALK] = -1, ready, turns, 1
    return state


def run(
    graph: Graph, placing: Placing, reasons: Reasons, circles: Circles, state: Any, most: int, steps: int
) -> int:
    """Run the vertices in an order and fill in their `rank`: `FOUND` where all could run, `NONE` where no order lets them,
    `STUCK` where it turned back at `most` so often without getting further than before, `MORE` after so many `steps`: to be
    called again with the same columns."""
    state[_STEPS] = 0
    while state[_PLACED] < len(placing.degree):
        if state[_STEPS] >= steps:
            return MORE
        state[_STEPS] += state[_COUNT] + 1
        vertex = _next(graph, placing, circles, state)
        if vertex >= 0:
            _put(graph, placing, state, vertex)
            reasons.at[state[_PLACED]] = -1
            continue
        if _given_up(state, most):
            return STUCK
        entry = _closed_circle(graph, placing, circles, state)
        if not _explained(graph, placing, reasons, circles, state, entry):
            return STUCK
        last, size = _latest(reasons, placing.rank, state[_PLACED])
        if last < 0:
            return NONE
        if size <= LONGEST:
            _keep(reasons, circles, state, size)
        wrong = placing.order[last]
        _hand_back(reasons, state, last, wrong)
        for between in range(last + 1, state[_PLACED]):
            _forget(reasons, state, between)
        _take_back(graph, placing, state, last)
        state[_FLOOR] = graph.priority[wrong]
    return FOUND


def _next(graph: Graph, placing: Placing, circles: Circles, state: Any) -> int:
    """The ready vertex that goes next, above the floor; -1 where none can. It says of the others that were looked at what keeps
    them from it."""
    priority, read_start, read_key, read_version = graph.priority, graph.read_start, graph.read_key, graph.read_version
    write_start, write_key, watched = graph.write_start, graph.write_key, circles.watched
    ready, current, remaining = placing.ready, placing.current, placing.remaining
    barrier, cause, floor = placing.barrier, placing.cause, state[_FLOOR]
    best, chosen = -1, -1
    for at in range(state[_COUNT]):
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
        if kind == _FREE and watched[vertex] >= 0:
            why = _closing(circles, placing.rank, vertex)
            if why >= 0:
                kind = _KEPT
        barrier[vertex], cause[vertex] = kind, why
        if kind == _FREE and priority[vertex] > floor:
            best, chosen = priority[vertex], vertex
            if best == 0:
                break  # Whatever changes nothing is in nobody's way.
    return chosen


def _closing(circles: Circles, rank: Any, vertex: int) -> int:
    """A circle that would be whole if that vertex ran now; -1 where none would."""
    node = circles.watched[vertex]
    while node >= 0:
        whole, circle = True, circles.watch_circle[node]
        for pair in range(circles.start[circle], circles.start[circle + 1]):
            first, second = circles.first[pair], circles.second[pair]
            if first == vertex:
                whole = rank[second] < 0
            else:
                whole = rank[first] >= 0 and (rank[second] < 0 or rank[second] > rank[first])
            if not whole:
                break
        if whole:
            return circle  # type: ignore[no-any-return]
        node = circles.watch_next[node]
    return -1


def _put(graph: Graph, placing: Placing, state: Any, vertex: int) -> None:
    """Let a ready vertex run."""
    current, remaining, degree = placing.current, placing.remaining, placing.degree
    ready, place, count = placing.ready, placing.place, state[_COUNT]
    placing.order[state[_PLACED]], placing.rank[vertex] = vertex, state[_PLACED]
    for own in range(graph.read_start[vertex], graph.read_start[vertex + 1]):
        remaining[graph.read_version[own]] -= 1
    for own in range(graph.write_start[vertex], graph.write_start[vertex + 1]):
        placing.replaced[own] = current[graph.write_key[own]]
        current[graph.write_key[own]] = own
    count -= 1
    ready[place[vertex]], place[ready[count]] = ready[count], place[vertex]
    for at in range(graph.start[vertex], graph.start[vertex + 1]):
        other = graph.target[at]
        degree[other] -= 1
        if degree[other] == 0:
            ready[count], place[other] = other, count
            count += 1
    state[_PLACED], state[_COUNT], state[_FLOOR] = state[_PLACED] + 1, count, -1


def _given_up(state: Any, most: int) -> bool:
    """Count that it turns back; whether it did so too often."""
    if state[_PLACED] > state[_FURTHEST]:
        state[_TURNS], state[_FURTHEST] = 0, state[_PLACED]
    else:
        state[_TURNS] += 1
    state[_LEFT] -= 1
    return bool(state[_TURNS] > most or state[_LEFT] < 0)


def _closed_circle(graph: Graph, placing: Placing, circles: Circles, state: Any) -> int:
    """Who waits for whom, from all that could be next: a vertex of a circle, the one that was closed first; -1 where there is
    none."""
    seen, waits_for = placing.seen, placing.waits_for
    entry, least, old = -1, len(placing.degree), state[_WALK]
    for at in range(state[_COUNT]):
        vertex, other = placing.ready[at], 0
        state[_WALK] += 1
        walk = state[_WALK]
        while other >= 0 and seen[vertex] <= old:
            seen[vertex] = walk
            state[_STEPS] += 1
            other = _waited_for(graph, placing, circles, vertex)
            waits_for[vertex] = other
            if other >= 0:
                vertex = other
        if other < 0 or seen[vertex] != walk:
            continue
        depth = _depth(graph, placing, circles, vertex)
        if depth < least:
            entry, least = vertex, depth
    return entry


def _waited_for(graph: Graph, placing: Placing, circles: Circles, vertex: int) -> int:
    """Somebody for whom a vertex waits; -1 where it waits for nobody."""
    rank, kind, why = placing.rank, placing.barrier[vertex], placing.cause[vertex]
    other = -1
    if placing.degree[vertex] > 0:
        for edge in range(graph.before_start[vertex], graph.before_start[vertex + 1]):
            if rank[graph.before[edge]] < 0:
                other = graph.before[edge]
                break
    elif kind == _UNREAD:
        other = graph.author[graph.read_version[why]]
    elif kind == _HELD:
        held = placing.current[graph.write_key[why]]
        for read in range(graph.reader_start[held], graph.reader_start[held + 1]):
            if rank[graph.reader[read]] < 0 and graph.reader[read] != vertex:
                other = graph.reader[read]
                break
    elif kind == _KEPT:
        for pair in range(circles.start[why], circles.start[why + 1]):
            if circles.first[pair] == vertex:
                other = circles.second[pair]
    return other


def _depth(graph: Graph, placing: Placing, circles: Circles, vertex: int) -> int:
    """The rank of the last of those that closed the circle in which a vertex waits; -1 where none of the placed ones did."""
    rank, depth, one = placing.rank, -1, vertex
    while True:
        kind, why = placing.barrier[one], placing.cause[one]
        if placing.degree[one] == 0 and kind == _HELD:
            writer = graph.author[placing.current[graph.write_key[why]]]
            if writer >= 0 and rank[writer] > depth:
                depth = rank[writer]
        elif placing.degree[one] == 0 and kind == _KEPT:
            for pair in range(circles.start[why], circles.start[why + 1]):
                if circles.first[pair] != one and rank[circles.first[pair]] > depth:
                    depth = rank[circles.first[pair]]
        one = placing.waits_for[one]
        if one == vertex:
            return depth


def _explained(
    graph: Graph, placing: Placing, reasons: Reasons, circles: Circles, state: Any, entry: int
) -> bool:
    """Note why nothing can run here: the circle that a vertex is in, or what keeps all that is ready where there is none (-1).
    False where there is no room for the reasons."""
    noted, at, one = True, 0, entry
    if entry >= 0:
        # It is reason enough, whatever was tried here.
        _forget(reasons, state, state[_PLACED])
    while noted and (entry >= 0 or at < state[_COUNT]):
        vertex = one if entry >= 0 else placing.ready[at]
        at += 1
        kind, why = placing.barrier[vertex], placing.cause[vertex]
        if placing.degree[vertex] == 0 and kind == _HELD:
            writer = graph.author[placing.current[graph.write_key[why]]]
            noted = _add_reason(reasons, state, writer, vertex)
        elif placing.degree[vertex] == 0 and kind == _KEPT:
            for pair in range(circles.start[why], circles.start[why + 1]):
                if noted and circles.first[pair] != vertex:
                    noted = _add_reason(reasons, state, circles.first[pair], circles.second[pair])
        if entry >= 0:
            one = placing.waits_for[one]
            if one == entry:
                break
    return noted


def _add_reason(reasons: Reasons, state: Any, first: int, second: int) -> bool:
    """Note a pair at this place, once; one of the initial state (-1) is none. False where there is no room for it."""
    placed, node = state[_PLACED], state[_UNUSED]
    if first < 0 or _has_reason(reasons, placed, first, second):
        return True
    if node < 0:
        return False
    state[_UNUSED] = reasons.next[node]
    reasons.first[node], reasons.second[node] = first, second
    reasons.next[node], reasons.at[placed] = reasons.at[placed], node
    return True


def _has_reason(reasons: Reasons, place: int, first: int, second: int) -> bool:
    """Whether a pair is among the reasons at a place."""
    node = reasons.at[place]
    while node >= 0 and (reasons.first[node] != first or reasons.second[node] != second):
        node = reasons.next[node]
    return bool(node >= 0)


def _forget(reasons: Reasons, state: Any, place: int) -> None:
    """Forget the reasons at a place."""
    while reasons.at[place] >= 0:
        node = reasons.at[place]
        reasons.at[place] = reasons.next[node]
        reasons.next[node], state[_UNUSED] = state[_UNUSED], node


def _latest(reasons: Reasons, rank: Any, place: int) -> tuple[int, int]:
    """The rank of the last one that a reason at a place begins with (-1: there are none), and how many there are."""
    last, size, node = -1, 0, reasons.at[place]
    while node >= 0:
        size += 1
        if rank[reasons.first[node]] > last:
            last = rank[reasons.first[node]]
        node = reasons.next[node]
    return last, size


def _keep(reasons: Reasons, circles: Circles, state: Any, size: int) -> None:
    """Keep the reasons at this place, so many pairs, as a circle: nobody runs into it again. It is looked at where each of its
    pairs but one may hold."""
    number, watches = state[_CIRCLES], state[_WATCHES]
    full = number + 2 > len(circles.start) or circles.start[number] + size > len(circles.first)
    if full or watches + size > len(circles.watch_next):
        for pair in range(circles.start[number]):
            circles.watched[circles.first[pair]] = -1
        number = watches = 0
    begin = end = circles.start[number]
    node = reasons.at[state[_PLACED]]
    while node >= 0:
        circles.first[end], circles.second[end] = reasons.first[node], reasons.second[node]
        end += 1
        node = reasons.next[node]
    circles.start[number + 1] = end
    for pair in range(begin, end):
        vertex, alone = circles.first[pair], True
        for other in range(begin, end):
            if other != pair and circles.first[other] == vertex:
                alone = False
        if alone:
            circles.watch_circle[watches], circles.watch_next[watches] = number, circles.watched[vertex]
            circles.watched[vertex] = watches
            watches += 1
    state[_CIRCLES], state[_WATCHES] = number + 1, watches


def _hand_back(reasons: Reasons, state: Any, last: int, wrong: int) -> None:
    """Hand the reasons at this place back to where the last of them was installed: those that do not begin with that one, the
    `wrong` one, are why it may not be there."""
    node = reasons.at[state[_PLACED]]
    reasons.at[state[_PLACED]] = -1
    while node >= 0:
        after, first = reasons.next[node], reasons.first[node]
        if first != wrong and not _has_reason(reasons, last, first, reasons.second[node]):
            reasons.next[node], reasons.at[last] = reasons.at[last], node
        else:
            reasons.next[node], state[_UNUSED] = state[_UNUSED], node
        node = after


def _take_back(graph: Graph, placing: Placing, state: Any, last: int) -> None:
    """Take back all that was placed from that rank on."""
    degree, ready, place, count = placing.degree, placing.ready, placing.place, state[_COUNT]
    state[_STEPS] += state[_PLACED] - last
    for placed in range(state[_PLACED] - 1, last - 1, -1):
        vertex = placing.order[placed]
        placing.rank[vertex] = -1
        for at in range(graph.start[vertex], graph.start[vertex + 1]):
            other = graph.target[at]
            if degree[other] == 0:
                count -= 1
                ready[place[other]], place[ready[count]] = ready[count], place[other]
            degree[other] += 1
        ready[count], place[vertex] = vertex, count
        count += 1
        for own in range(graph.write_start[vertex], graph.write_start[vertex + 1]):
            placing.current[graph.write_key[own]] = placing.replaced[own]
        for own in range(graph.read_start[vertex], graph.read_start[vertex + 1]):
            placing.remaining[graph.read_version[own]] += 1
    state[_PLACED], state[_COUNT] = last, count


PARTS = (
    _closing, _next, _put, _given_up, _waited_for, _depth, _closed_circle, _has_reason, _add_reason, _forget, _explained,
    _latest, _keep, _hand_back, _take_back,
)
"""What `run` is made of, each behind those that it calls itself."""
