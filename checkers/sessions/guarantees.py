"""The session guarantees, decided on facts in near-linear time.

After Terry et al. (PDIS 1994) and Brzezinski, Sobaniec & Wawrzyniak ("From session causality to causal consistency", PDP 2004):
a history satisfies a guarantee if and only if there is one order of all writes, and for every read a set of writes that it
*sees*, such that a read returns the last write of its key that it sees, and

* read your writes: it sees the earlier writes of its own session;
* monotonic reads: it sees what earlier reads of its session saw;
* monotonic writes: the writes of a session are in their order, and who sees one sees the earlier ones;
* writes follow reads: what a session's reads saw before one of its writes comes before that write, and who sees the write
  sees that too.

The smallest such sets are known, so which writes must come before the one that a read returned is known too, and the guarantee
holds if and only if these pairs form no cycle. Nothing is assumed of time: that a client read something older is told by the
order that reads themselves show. (All four together are causal consistency, where a transaction writes at most once.)

Of pairs in a cycle, those are *backward* that put a write that was invoked later before one that was invoked earlier. Every
cycle has one. They are what is counted and told: a reader went back where it saw them.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.sessions.models import Guarantee
from splitbrain.checkers.transactions.decide.facts import Facts
from splitbrain.harness.history.ranges import ranges

Ints = NDArray[np.int64]

MOST_PAIRS = 20_000_000
"""Pairs that are looked at one by one, where reads are so stale that a chain does not do."""

MOST_SEEN = 4_000_000
"""Writes that reads of several keys may see between them."""


@dataclass(frozen=True)
class Break:
    """A read of node `reader` that broke a guarantee: it returned the write of node `older` (the number of nodes: what was
    there in the beginning) though it had to see that of `newer`, because of node `because` (an earlier read, or the write
    itself)."""

    reader: int
    newer: int
    older: int
    because: int


@dataclass(frozen=True)
class Finding:
    """Where the facts stand to a guarantee: every break of it that is known for certain, and the nodes of a cycle for each,
    which alone prove it (asked for one by one)."""

    breaks: tuple[Break, ...]
    nodes: Callable[[Break], list[int]] = field(compare=False)
    refuted: bool


@dataclass(slots=True)
class _Pairs:
    """Writes that come before others: vertices (nodes, and from `size` on helpers that stand for many), which read says so, and
    because of what."""

    source: list[Ints] = field(default_factory=list)
    target: list[Ints] = field(default_factory=list)
    reader: list[Ints] = field(default_factory=list)
    because: list[Ints] = field(default_factory=list)

    def add(self, source: Ints, target: Ints, reader: Ints | int = -1, because: Ints | int = -1) -> None:
        self.source.append(source)
        self.target.append(target)
        self.reader.append(np.broadcast_to(np.asarray(reader, np.int64), len(source)))
        self.because.append(np.broadcast_to(np.asarray(because, np.int64), len(source)))


def find(facts: Facts, guarantee: Guarantee, budget: Budget) -> Finding:
    """Where the facts stand to a guarantee, flaws apart. Every node writes one key at most.

    Raises `Exhausted` where it would take too long.
    """
    budget.check()
    pairs, first = _Pairs(), list[Break]()
    helpers = _WAYS[guarantee](facts, pairs, first)
    _own_reads_first(facts, pairs)
    budget.check()
    return _judged(facts, pairs, helpers, first)


def _own_reads_first(facts: Facts, pairs: _Pairs) -> None:
    """A compare-and-set, or a transaction, comes after what it read itself."""
    readers = facts.readers()
    real = (facts.read_writer < facts.size) & (np.diff(facts.write_start)[readers] > 0)
    pairs.add(facts.read_writer[real], readers[real], readers[real], readers[real])


def _one_key_each(facts: Facts) -> Ints:
    """Of every node the key that it writes, -1 where it writes none."""
    key = np.full(facts.size, -1, np.int64)
    writers = facts.writers()
    key[writers] = facts.write_key
    return key


def _read_your_writes(facts: Facts, pairs: _Pairs, first: list[Break]) -> int:
    size, keys = facts.size, max(facts.keys, 1)
    writers = facts.writers()
    group = facts.session[writers].astype(np.int64) * keys + facts.write_key
    order = np.argsort(group, kind="stable")
    own, group = writers[order], group[order]  # each session's writes of each key, in their order
    # Helper `size + i` stands for own[begin of its group .. i].
    same = np.append(False, group[1:] == group[:-1])[: len(own)]
    at = np.arange(len(own))
    pairs.add(own, size + at)
    pairs.add(size + at[same] - 1, size + at[same])
    readers = facts.readers()
    wanted = facts.session[readers].astype(np.int64) * keys + facts.read_key
    begin = np.searchsorted(group, wanted)
    stride = size + 1
    # How many of its group come before the reader: nodes of a session ascend.
    earlier = np.searchsorted(group * stride + own, wanted * stride + readers) - begin
    place = np.full(size + 1, -1)
    place[own] = at
    by = facts.read_writer
    mine = place[by] - begin  # its place among the reader's own writes of the key, if it is one of them
    is_mine = (by < size) & (mine >= 0) & (mine < earlier)
    some = earlier > 0
    for row in np.flatnonzero(some & (by == size)).tolist():
        newer = int(own[begin[row] + earlier[row] - 1])
        first.append(Break(int(readers[row]), newer, size, newer))
    others = np.flatnonzero(some & (by < size) & ~is_mine)
    pairs.add(size + begin[others] + earlier[others] - 1, by[others], readers[others])
    own_old = np.flatnonzero(some & is_mine)
    before = own_old[mine[own_old] > 0]
    pairs.add(size + begin[before] + mine[before] - 1, by[before], readers[before])
    stale = own_old[earlier[own_old] - 1 > mine[own_old]]
    # Of several that returned the same write, the last one's says all.
    _, last = np.unique(by[stale][::-1], return_index=True)
    stale_last = stale[len(stale) - 1 - last]
    counts = earlier[stale_last] - 1 - mine[stale_last]
    if counts.sum() > MOST_PAIRS:
        raise Exhausted(f"read-your-writes of {int(counts.sum()):,} pairs takes longer than it may")
    source = ranges(begin[stale_last] + mine[stale_last] + 1, counts)
    pairs.add(own[source], np.repeat(by[stale_last], counts), np.repeat(readers[stale_last], counts), own[source])
    rest = np.setdiff1d(stale, stale_last)
    newest = own[begin[rest] + earlier[rest] - 1]
    pairs.add(newest, by[rest], readers[rest], newest)
    return len(own) + _what_own_writes_led_to(facts, pairs, size + len(own))


def _monotonic_reads(facts: Facts, pairs: _Pairs, first: list[Break]) -> int:
    size, readers, by = facts.size, facts.readers(), facts.read_writer
    group = facts.session[readers].astype(np.int64) * max(facts.keys, 1) + facts.read_key
    order = np.argsort(group, kind="stable")
    group, by, reader = group[order], by[order], readers[order]
    same = group[1:] == group[:-1]
    real = by < size
    # From each read of a write to the next one of another; what is behind a read of the beginning is told by that.
    at = np.arange(len(by))
    latest = np.maximum.accumulate(np.where(real, at, -1)) if len(at) else at
    before = np.append(-1, latest[:-1])[: len(at)]
    known = before >= 0
    known &= group[np.maximum(before, 0)] == group
    for row in np.flatnonzero(known & ~real).tolist():
        first.append(Break(int(reader[row]), int(by[before[row]]), size, int(reader[before[row]])))
    rows = np.flatnonzero(known & real)
    rows = rows[by[before[rows]] != by[rows]]
    pairs.add(by[before[rows]], by[rows], reader[rows], reader[before[rows]])
    # One that reads a key twice sees all of it each time.
    twice = np.flatnonzero(same & (reader[1:] == reader[:-1]) & (by[1:] != by[:-1])) + 1
    for row in twice.tolist():
        if real[row] and real[row - 1]:
            pairs.add(by[[row]], by[[row - 1]], reader[row], reader[row])
        elif real[row]:
            first.append(Break(int(reader[row]), int(by[row]), size, int(reader[row])))
    return _what_reads_led_to(facts, pairs, _updates(facts)) if len(_updates(facts)) else 0


def _monotonic_writes(facts: Facts, pairs: _Pairs, first: list[Break]) -> int:
    writers = facts.writers()
    follows = np.flatnonzero(facts.session[writers[1:]] == facts.session[writers[:-1]])
    pairs.add(writers[follows], writers[follows + 1])
    keys = max(facts.keys, 1)
    group = facts.session[writers].astype(np.int64) * keys + facts.write_key
    order = np.argsort(group, kind="stable")
    stride = facts.size + 1
    codes = group[order] * stride + writers[order]
    for node, seen in _of_several(facts):
        for key, by in seen:
            for _, other in seen:
                if other == facts.size:
                    continue
                wanted = int(facts.session[other]) * keys + key
                at = int(np.searchsorted(codes, wanted * stride + other, side="right")) - 1
                if at < 0 or codes[at] // stride != wanted:
                    continue
                _must_precede(facts, pairs, first, node, int(codes[at] % stride), by, other)
    return 0


def _updates(facts: Facts) -> Ints:
    """The nodes that write, and read: what they see comes before what they write."""
    found: Ints = np.flatnonzero((np.diff(facts.read_start) > 0) & (np.diff(facts.write_start) > 0))
    return found


def _what_own_writes_led_to(facts: Facts, pairs: _Pairs, helper: int) -> int:
    """Updates come after all earlier writes of their session. Helper `helper + i` stands for the writers of a session up to the
    i-th of all; how many helpers there are."""
    updates, writers = _updates(facts), facts.writers()
    if not len(updates):
        return 0
    at = np.arange(len(writers))
    same = np.append(False, facts.session[writers[1:]] == facts.session[writers[:-1]])[: len(writers)]
    pairs.add(writers, helper + at)
    pairs.add(helper + at[same] - 1, helper + at[same])
    place = np.searchsorted(writers, updates)
    later = same[place]
    pairs.add(helper + place[later] - 1, updates[later])
    return len(writers)


def _what_reads_led_to(facts: Facts, pairs: _Pairs, targets: Ints) -> int:
    """These nodes come after what was read before them in their session. Helper `size + i` stands for all that node i, and
    those before it in its session, read; how many helpers there are."""
    size = facts.size
    readers = facts.readers()
    real = facts.read_writer < size
    follows = np.flatnonzero(facts.session[1:] == facts.session[:-1]) + 1
    pairs.add(size + follows - 1, size + follows)
    pairs.add(facts.read_writer[real], size + readers[real], readers[real], readers[real])
    behind = targets[facts.session_start[facts.session[targets]] < targets]
    pairs.add(size + behind - 1, behind)
    return size


def _writes_follow_reads(facts: Facts, pairs: _Pairs, first: list[Break]) -> int:
    helpers = _what_reads_led_to(facts, pairs, facts.writers())
    several = list(_of_several(facts))
    if several:
        _seen_through_writes(facts, pairs, first, several)
    return helpers


def _seen_through_writes(
    facts: Facts, pairs: _Pairs, first: list[Break], several: list[tuple[int, list[tuple[int, int]]]]
) -> None:
    """Who sees a write sees what its session had read before, and so on: for reads of several keys."""
    wrote = _one_key_each(facts)
    told = 0
    for node, seen in several:
        keys = {key for key, _ in seen}
        reached: set[int] = {by for _, by in seen if by < facts.size}
        left = list(reached)
        walked: dict[int, int] = {}
        while left:
            write = left.pop()
            session = int(facts.session[write])
            begin = walked.get(session, int(facts.session_start[session]))
            for before in range(begin, write):
                for by in facts.read_writer[facts.read_start[before] : facts.read_start[before + 1]].tolist():
                    if by < facts.size and by not in reached:
                        reached.add(by)
                        left.append(by)
            walked[session] = max(begin, write)
        told += len(reached)
        if told > MOST_SEEN:
            raise Exhausted("what reads of several keys see takes longer than it may")
        for write in reached:
            if int(wrote[write]) in keys:
                for key, by in seen:
                    if key == wrote[write]:
                        _must_precede(facts, pairs, first, node, write, by, write)


def _of_several(facts: Facts) -> Iterable[tuple[int, list[tuple[int, int]]]]:
    """The nodes that read several keys, with the keys and writers."""
    for node in np.flatnonzero(np.diff(facts.read_start) > 1).tolist():
        rows = slice(facts.read_start[node], facts.read_start[node + 1])
        yield node, list(zip(facts.read_key[rows].tolist(), facts.read_writer[rows].tolist(), strict=True))


def _must_precede(
    facts: Facts, pairs: _Pairs, first: list[Break], node: int, newer: int, older: int, because: int
) -> None:
    if older == facts.size:
        first.append(Break(node, newer, older, because))
    elif newer != older:
        pairs.add(np.array([newer]), np.array([older]), node, because)


_WAYS: dict[Guarantee, Callable[[Facts, _Pairs, list[Break]], int]] = {
    "read-your-writes": _read_your_writes,
    "monotonic-reads": _monotonic_reads,
    "monotonic-writes": _monotonic_writes,
    "writes-follow-reads": _writes_follow_reads,
}


def _judged(facts: Facts, pairs: _Pairs, helpers: int, first: list[Break]) -> Finding:
    source, target = np.concatenate(pairs.source), np.concatenate(pairs.target)
    reader, because = np.concatenate(pairs.reader), np.concatenate(pairs.because)
    vertices = facts.size + helpers
    graph = csr_array((np.ones(len(source), np.int8), (source, target)), shape=(vertices, vertices))
    _, component = connected_components(graph, directed=True, connection="strong")
    loops = source == target
    inside = (component[source] == component[target]) & (np.bincount(component, minlength=vertices)[component[source]] > 1)
    inside |= loops
    # Where the source is a helper, the newest write that it stands for is what the read had to see.
    stands = _stands_for(facts.size, vertices, source, target, facts)
    newer = stands[source]
    backward = inside & (target < facts.size) & (reader >= 0) & (newer >= 0)
    backward[backward] &= facts.invoked[newer[backward]] >= facts.invoked[target[backward]]
    rows = np.flatnonzero(backward)
    # A read counts once, by the newest of what it missed.
    rows = rows[np.lexsort((-facts.invoked[newer[rows]], reader[rows]))]
    _, kept = np.unique(reader[rows], return_index=True)
    rows = rows[kept]
    cyclic = {
        Break(int(reader[row]), int(newer[row]), int(target[row]), int(because[row] if because[row] >= 0 else newer[row])): row
        for row in rows.tolist()
    }
    if not cyclic:
        # Reads that led to writes, in a circle: of each, the read of what was written last.
        rows = np.flatnonzero(inside & (source < facts.size))
        rows = rows[np.lexsort((-facts.invoked[source[rows]], reader[rows] < 0))]
        _, kept = np.unique(component[source[rows]], return_index=True)
        for row in rows[np.sort(kept)].tolist():
            write = int(source[row])
            cyclic[Break(int(reader[row]) if reader[row] >= 0 else write, write, write, write)] = row

    def nodes(one: Break) -> list[int]:
        found = {one.reader, one.newer, one.older, one.because}
        if one in cyclic:
            row = cyclic[one]
            way = way_within(graph, int(target[row]), int(source[row]), component)
            found |= set(way)
            for a, b in pairwise(way):
                edge = int(np.flatnonzero((source == a) & (target == b))[0])
                found |= {int(reader[edge]), int(because[edge])}
        return sorted(node for node in found if 0 <= node < facts.size)

    return Finding((*_once(first), *cyclic), nodes, bool(first) or bool(inside.any()))


def _once(first: list[Break]) -> list[Break]:
    """Of what found the beginning again, each read once."""
    return list({one.reader: one for one in first}.values())


def _stands_for(size: int, vertices: int, source: Ints, target: Ints, facts: Facts) -> Ints:
    """Of every vertex a node: itself, or the newest of those that lead into a helper directly; -1 where none does."""
    stands = np.full(vertices, -1)
    stands[:size] = np.arange(size)
    into = np.flatnonzero((target >= size) & (source < size))
    into = into[np.argsort(facts.invoked[source[into]], kind="stable")]
    stands[target[into]] = source[into]
    return stands


def way_within(graph: csr_array[np.int8], begin: int, end: int, component: NDArray[np.int32]) -> list[int]:
    """The vertices of a shortest way inside one strongly connected component, both ends included; `begin` alone where the
    end is not in it."""
    came = {begin: -1}
    queue = deque([begin])
    while queue:
        vertex = queue.popleft()
        if vertex == end:
            path = [vertex]
            while path[-1] != begin:
                path.append(came[path[-1]])
            return path[::-1]
        for other in graph.indices[graph.indptr[vertex] : graph.indptr[vertex + 1]].tolist():
            if other not in came and component[other] == component[begin]:
                came[other] = vertex
                queue.append(other)
    return [begin]
