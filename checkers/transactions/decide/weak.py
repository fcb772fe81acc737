"""Read committed, read atomic and causal consistency, decided in near-linear time.

After Biswas & Enea, "On the complexity of checking transactional consistency" (OOPSLA 2019): a history satisfies one of these
levels if and only if some total order of the transactions contains session order (where it counts) and reads, and for every
read of x from t1 by t3, each other writer t2 of x that t3 *sees* comes before t1. What t3 sees is told by the level, not by
the order: what it read from before that read (read committed), all that it read from and its session (read atomic), all that
happened before it (causal). So the pairs (t2, t1) are known, and the question is whether they form a cycle. That of each
session the last visible writer is enough, and that no pair needs to be added which the causal order implies, keeps them few,
as in Møldrup & Pavlogiannis, "AWDIT: an optimal weak database isolation tester" (PLDI 2025). Unlike there, the initial state
comes first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.decide.decision import Decision, Edge
from splitbrain.checkers.transactions.decide.facts import Facts
from splitbrain.checkers.transactions.decide.kernels import complete

Keys = Sequence[object]
Pairs = NDArray[np.int64]


def decide_committed(facts: Facts, level: str, keys: Keys, budget: Budget, *, sessions: bool) -> Decision:
    """Read committed. Without sessions it is Adya's PL-2 (no cycle of reads, for a version order may follow any order of
    them); with them the definition of Biswas & Enea, under which the reads of a transaction do not go back either."""
    if not sessions:
        return _acyclic(facts, level, keys, np.empty((0, 3), np.int64), budget, sessions=False)
    return _acyclic(facts, level, keys, _committed_edges(facts, budget), budget, sessions=True)


def decide_atomic(facts: Facts, level: str, keys: Keys, budget: Budget, *, sessions: bool) -> Decision:
    """Read atomic: all of a transaction is seen or nothing; with sessions, and all earlier ones of one's own session."""
    return _acyclic(facts, level, keys, _atomic_edges(facts, sessions, budget), budget, sessions=sessions)


def decide_causal(facts: Facts, level: str, keys: Keys, budget: Budget) -> Decision:
    """Causal consistency (one order of conflicting versions for all: "causal convergence").

    Raises `Exhausted` where the vector clocks of so many sessions do not fit.
    """
    size, sessions = facts.size, facts.sessions
    if 8 * size * sessions > budget.room:
        raise Exhausted(f"causal order of {size:,} transactions in {sessions:,} sessions takes more memory than it may")
    clock, reached = causal_order(facts, budget)
    if reached < size:
        return _acyclic(facts, level, keys, np.empty((0, 3), np.int64), budget, sessions=True)
    need = np.zeros((size, sessions), np.int32)
    groups = _writers_by_key(facts)
    early = complete(
        "causal_needs", size, budget, size, facts.session_start, facts.read_start, facts.read_key, facts.read_writer, *groups,
        clock, need,
    )[2] - 1
    if early >= 0:
        return _before_the_first(facts, level, keys, clock, int(early))
    done, (waiting, following, stack) = np.zeros(sessions, np.int64), _queues(facts)
    checked = np.zeros(sessions, np.int64)
    placed = complete(
        "schedule", size, budget, facts.session_start, waiting, following, stack, checked, clock, need, done
    )[1]
    if placed == size:
        return Decision(level=level, state="holds")
    return Decision(level=level, state="refuted", cycle=_causal_cycle(facts, keys, clock, need, done))


def causal_order(facts: Facts, budget: Budget) -> tuple[NDArray[np.int32], int]:
    """The causal order as vector clocks (of every node how many of each session come before it), and how many nodes have one:
    less than all where session order and reads form a cycle. Raises `Exhausted`."""
    clock = np.zeros((facts.size, facts.sessions), np.int32)
    state = complete(
        "happens_before", facts.size, budget, facts.session_start, facts.session, facts.read_start, facts.read_writer,
        *_queues(facts), clock, np.zeros(facts.sessions, np.int64),
    )
    return clock, int(state[1])


def _queues(facts: Facts) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Of each node who waits for it, of each session who waits beside it, and the sessions that can go on: none yet."""
    return np.full(facts.size, -1), np.full(facts.sessions, -1), np.full(facts.sessions, -1)


def _committed_edges(facts: Facts, budget: Budget) -> Pairs:
    columns = (facts.read_start, facts.read_key, facts.read_writer, facts.write_start, facts.write_key)
    return _collected(
        facts, lambda edges: complete("committed_edges", facts.size, budget, facts.size, *columns, edges)
    )


def _atomic_edges(facts: Facts, sessions: bool, budget: Budget) -> Pairs:
    columns = (facts.read_start, facts.read_key, facts.read_writer, facts.write_start, facts.write_key)
    return _collected(facts, lambda edges: complete(
        "atomic_edges", facts.size, budget, facts.size, sessions, facts.session, facts.session_start, *columns,
        np.full(facts.keys, -1), edges,
    ))


def _collected(facts: Facts, fill: Callable[[Pairs], NDArray[np.int64]]) -> Pairs:
    """The pairs that one of the kernels finds, each with the read that says so."""
    room = 2 * len(facts.read_key) + 64
    while True:
        edges = np.empty((room, 3), np.int64)
        count = int(fill(edges)[2])
        if count <= room:
            return edges[:count]
        room = count


def _acyclic(facts: Facts, level: str, keys: Keys, pairs: Pairs, budget: Budget, *, sessions: bool) -> Decision:
    """Whether reads, these pairs and session order have no cycle; the initial state is before everything."""
    size = facts.size
    before_first = pairs[pairs[:, 1] == size]
    if len(before_first):
        seen, _, at = before_first[0].tolist()
        return _initial_again(facts, level, keys, seen, at)
    read = facts.read_writer < size
    writers, readers = facts.read_writer[read], facts.readers()[read]
    sources, targets = [writers, pairs[:, 0]], [readers, pairs[:, 1]]
    if sessions:
        follows = np.flatnonzero(facts.session[1:] == facts.session[:-1])
        sources.append(follows)
        targets.append(follows + 1)
    source, target = np.concatenate(sources), np.concatenate(targets)
    graph = csr_array((np.ones(len(source), np.int8), (source, target)), shape=(size, size))
    degree = np.bincount(graph.indices, minlength=size).astype(np.int64)
    if complete("unordered", size, budget, size, graph.indptr, graph.indices, degree, np.empty(size, np.int64))[1] == 0:
        return Decision(level=level, state="holds")
    edges = _some_cycle(size, source, target, budget)
    told = [_told(facts, keys, pairs, a, b, sessions=sessions) for a, b in edges]
    return Decision(level=level, state="refuted", cycle=tuple(told))


def _some_cycle(
    size: int, source: NDArray[np.int64], target: NDArray[np.int64], budget: Budget
) -> list[tuple[int, int]]:
    """A short cycle through some node of the smallest component that has one: the shortest through the few that there is time
    for."""
    graph = csr_array((np.ones(len(source), np.int8), (source, target)), shape=(size, size))
    _, component = connected_components(graph, directed=True, connection="strong")
    loops = source[source == target]
    if len(loops):
        return [(int(loops[0]), int(loops[0]))]
    sizes = np.bincount(component)
    smallest = int(np.flatnonzero(sizes == sizes[sizes > 1].min())[0])
    members = np.flatnonzero(component == smallest)
    best: list[int] = []
    for begin in members[:64].tolist():
        found = _way_back(graph, begin, component, smallest, len(best) - 1 if best else len(members))
        if found and (not best or len(found) < len(best)):
            best = found
        if budget.over:
            break
    return list(zip(best, [*best[1:], best[0]], strict=True))


def _way_back(
    graph: csr_array[np.int8], begin: int, component: NDArray[np.int32], which: int, most: int
) -> list[int]:
    """The nodes of a shortest cycle through `begin` of at most `most` nodes, empty where there is none."""
    came: dict[int, int] = {}
    queue = deque([(begin, 1)])
    while queue:
        node, length = queue.popleft()
        if length > most:
            return []
        for other in graph.indices[graph.indptr[node] : graph.indptr[node + 1]].tolist():
            if other == begin:
                path = [node]
                while path[-1] != begin:
                    path.append(came[path[-1]])
                return path[::-1]
            if other not in came and component[other] == which:
                came[other] = node
                queue.append((other, length + 1))
    return []


def _told(
    facts: Facts, keys: Keys, pairs: NDArray[np.int64], a: int, b: int, *, sessions: bool
) -> Edge:
    """Why node a comes before node b: the plainest reason there is."""
    source, target = int(facts.row[a]), int(facts.row[b])
    own = slice(facts.read_start[b], facts.read_start[b + 1])
    for key, writer in zip(facts.read_key[own].tolist(), facts.read_writer[own].tolist(), strict=True):
        if writer == a:
            return Edge(source=source, target=target, relation="wr", key=keys[key])
    if sessions and facts.session[a] == facts.session[b] and a < b:
        return Edge(source=source, target=target, relation="session")
    at = int(pairs[(pairs[:, 0] == a) & (pairs[:, 1] == b)][0, 2])
    reader = int(np.searchsorted(facts.read_start, at, side="right")) - 1
    return Edge(
        source=source, target=target, relation="seen", key=keys[int(facts.read_key[at])], reader=int(facts.row[reader])
    )


def _initial_again(facts: Facts, level: str, keys: Keys, seen: int, at: int) -> Decision:
    """A reader found the initial state though it sees a writer."""
    reader = int(facts.row[int(np.searchsorted(facts.read_start, at, side="right")) - 1])
    key = keys[int(facts.read_key[at])]
    writer = int(facts.row[seen])
    return Decision(
        level=level, state="refuted",
        cycle=(
            Edge(source=-1, target=writer, relation="ww", key=key),
            Edge(source=writer, target=-1, relation="seen", key=key, reader=reader),
        ),
    )


def _before_the_first(facts: Facts, level: str, keys: Keys, clock: NDArray[np.int32], at: int) -> Decision:
    reader = int(np.searchsorted(facts.read_start, at, side="right")) - 1
    wrote = facts.writers()[facts.write_key == facts.read_key[at]]
    place = wrote - facts.session_start[facts.session[wrote]]
    seen = wrote[place < clock[reader, facts.session[wrote]]]
    return _initial_again(facts, level, keys, int(seen[0]), at)


Groups = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]


def _writers_by_key(facts: Facts) -> Groups:
    """Of every key the sessions that wrote it, and of each of these the nodes, ascending, as ranges in ranges."""
    writers = facts.writers()
    order = np.argsort(facts.write_key, kind="stable")
    nodes, key = writers[order], facts.write_key[order]
    session = facts.session[nodes]
    new = np.append(True, (key[1:] != key[:-1]) | (session[1:] != session[:-1]))[: len(nodes)]
    begins = np.flatnonzero(new)
    key_groups = np.searchsorted(key[begins], np.arange(facts.keys + 1))
    return key_groups, session[begins].astype(np.int64), np.append(begins, len(nodes)), nodes


def _causal_cycle(
    facts: Facts, keys: Keys, clock: NDArray[np.int32], need: NDArray[np.int32], done: NDArray[np.int64]
) -> tuple[Edge, ...]:
    """A cycle among those that could not be placed, each told by the reason why it waits for the one before it."""
    start = facts.session_start

    def blocker(node: int) -> int:
        wanted = np.maximum(clock[node], need[node])
        session = int(np.flatnonzero(wanted > done)[0])
        return int(start[session]) + int(wanted[session]) - 1

    head = next(int(start[s] + done[s]) for s in range(facts.sessions) if start[s] + done[s] < start[s + 1])
    trail: list[int] = []
    while head not in trail:
        trail.append(head)
        head = int(start[facts.session[blocker(head)]] + done[facts.session[blocker(head)]])
    edges: list[Edge] = []
    for node in reversed(trail[trail.index(head) :]):
        last = blocker(node)
        first = int(start[facts.session[last]] + done[facts.session[last]])
        if first != last:
            edges.append(Edge(source=int(facts.row[first]), target=int(facts.row[last]), relation="session"))
        edges += _reason(facts, keys, clock, last, node)
    return tuple(edges)


def _reason(facts: Facts, keys: Keys, clock: NDArray[np.int32], first: int, second: int) -> list[Edge]:
    """Why node `first` comes before node `second`: a path of sessions and reads, or somebody who saw it."""
    session = int(facts.session[first])
    position = first - int(facts.session_start[session])
    if clock[second, session] > position:
        return _path(facts, keys, clock, first, second)
    wrote = set(facts.write_key[facts.write_start[first] : facts.write_start[first + 1]].tolist())
    rows = np.flatnonzero(facts.read_writer == second)
    readers = np.searchsorted(facts.read_start, rows, side="right") - 1
    for at, reader in zip(rows.tolist(), readers.tolist(), strict=True):
        if int(facts.read_key[at]) in wrote and clock[reader, session] > position:
            return [Edge(
                source=int(facts.row[first]), target=int(facts.row[second]), relation="seen",
                key=keys[int(facts.read_key[at])], reader=int(facts.row[reader]),
            )]
    raise AssertionError("no read tells why one comes before the other")


def _path(facts: Facts, keys: Keys, clock: NDArray[np.int32], first: int, second: int) -> list[Edge]:
    """From `first` to `second` along sessions and reads, backwards through those that have it before them."""
    session, position = int(facts.session[first]), first - int(facts.session_start[facts.session[first]])
    edges: list[Edge] = []
    node = second
    while node != first:
        source = int(facts.row[node])
        if facts.session[node] == session:
            edges.append(Edge(source=int(facts.row[first]), target=source, relation="session"))
            break
        for at in range(facts.read_start[node], facts.read_start[node + 1]):
            writer = int(facts.read_writer[at])
            if writer < facts.size and (writer == first or clock[writer, session] > position):
                key = keys[int(facts.read_key[at])]
                edges.append(Edge(source=int(facts.row[writer]), target=source, relation="wr", key=key))
                node = writer
                break
        else:
            edges.append(Edge(source=int(facts.row[node - 1]), target=source, relation="session"))
            node -= 1
    return edges[::-1]
