"""Discarded writes: what the servers of a side acknowledged during a partition, and what gave way to another side's.

Writes on two sides are concurrent in Lamport's sense: no client on one side could know of the other's. A database that keeps
one value must give up all but one, and where the later of two blind writes wins, no register's specification is broken by
that. So this is a measurement and not an anomaly, whether a side gives way as a whole (a demoted primary) or key by key (the
last write wins); what is proven to be lost is a part of it. A register may be overwritten: the last write of a side on its key
is what somebody misses.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np

from splitbrain.checkers.measures.availability import composed, settled, window
from splitbrain.checkers.measures.slices import FUNCTIONS
from splitbrain.checkers.result import Discarded, GaveWay
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import NEVER, OK
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import Nodes, natural
from splitbrain.harness.history.values import canonical


def discarded(recording: Recording) -> tuple[Discarded | None, ...]:
    """What was called and acknowledged, while each fault was in force on every node, by servers of a side that gave way. What
    was acknowledged while the links were still being cut, or mended, may have reached another side: it is evidence that its
    side did not give way, and never counted as discarded.

    A side gave way on a key where, after the heal, a client on that side read what another side had written meanwhile, and no
    later read found anything that its own side had. On a key where no read tells, a side gave way if it did so wherever reads
    tell. None where the fault was not proven, parted no sides, or was never healed, and for a history that is not one of
    registers with distinct values.

    Where other faults cut links meanwhile, sides are those of all of them together, and two writes are those of two sides if
    none could know of the other: a node that is cut off later wrote with the others until then. The heal is that of the last of
    them. A write that gave way is told by the first fault in which it did.
    """
    told: set[int] = set()
    return tuple(_discarded(recording, fault, told) for fault in recording.faults)


class _Write(NamedTuple):
    """An acknowledged write: its row, its side, and the stretches of the fault in which it was called and answered."""

    row: int
    side: int
    first: int
    last: int


class _Parted:
    """The network while a fault was in force, in stretches with the same faults in force."""

    def __init__(self, recording: Recording, fault: Fault) -> None:
        parts = _stretches(recording, fault)
        self.began = [began for began, _ in parts]
        """When each stretch began."""
        self.sides = _refined(sides for _, sides in parts)
        """The groups of nodes that nothing cut off from each other."""
        self._heard: dict[tuple[int, int], list[frozenset[int]]] = {}
        for side, nodes in enumerate(self.sides):
            for first in range(len(parts)):
                heard, known = set(nodes), [frozenset[int]()] * first
                for _, groups in parts[first:]:
                    heard |= {node for group in groups if heard & set(group) for node in group}
                    known.append(frozenset(at for at, others in enumerate(self.sides) if heard & set(others)))
                self._heard[side, first] = known

    def apart(self, one: _Write, other: _Write) -> bool:
        """Whether none of the two could know of the other."""
        return (other.side not in self._heard[one.side, one.first][other.last]
                and one.side not in self._heard[other.side, other.first][one.last])

    def heard(self, write: _Write) -> frozenset[int]:
        """The sides that could know of a write by the end of the fault."""
        return self._heard[write.side, write.first][-1]


def _stretches(recording: Recording, fault: Fault) -> list[tuple[int, tuple[Nodes, ...]]]:
    """When each stretch of a fault began (nanoseconds), and its sides. What another fault cut counts while that is certain."""
    healed = fault.healed or NEVER
    spans = [(other, span) for other in recording.faults
             if other.id != fault.id and other.bit and (other.cut or other.out) and (span := window(recording, other))
             and span[0] < healed and fault.started < span[1]]
    edges = {edge for _, span in spans for edge in span if fault.started < edge < healed}
    found = []
    for began, ended in pairwise(sorted({fault.started, healed, *edges})):
        acting = [fault, *(other for other, span in spans if span[0] <= began and ended <= span[1])]
        found.append((began, composed(recording, acting)))
    return found


def _refined(parts: Iterable[tuple[Nodes, ...]]) -> tuple[Nodes, ...]:
    """The groups of nodes that are together in each of these."""
    first, *others = parts
    for other in others:
        first = tuple(both for one in first for group in other if (both := tuple(node for node in one if node in group)))
    return tuple(sorted(first, key=lambda part: (-len(part), natural(part[0])))) if others else first


def _discarded(recording: Recording, fault: Fault, told: set[int]) -> Discarded | None:
    """The same of one fault, without the writes (by their rows) that are `told` of another, to which those of this one come."""
    # A fault that parts nobody, an operator's switch perhaps, hides nothing of what is read while it lasts.
    parting = tuple(one for one in recording.faults if one.cut or one.out)
    end = settled(msgspec.structs.replace(recording, faults=parting), fault)
    span = window(recording, fault)
    if span is None or not fault.bit or not fault.cut or fault.healed is None or end is None:
        return None
    history = recording.history
    if not FUNCTIONS.issuperset(history.fs) or "read" not in history.fs:
        return None
    parted = _Parted(recording, fault)
    if len(parted.sides) < 2:
        return None
    code = {name: number for number, name in enumerate(history.nodes)}
    side = {code[node]: number for number, nodes in enumerate(parted.sides) for node in nodes if node in code}
    read = history.f == history.fs.index("read")
    answered = history.outcome == OK
    written = answered & ~read & (history.invoked >= fault.started) & (history.completed <= fault.healed)
    until = min((other.started for other in recording.faults if other.started > end), default=NEVER)
    within = (history.invoked >= span[0]) & (history.completed <= span[1])
    seen = answered & read & (history.invoked >= end) & (history.invoked < until)
    place = np.where(history.server >= 0, history.server, history.node)
    writers: defaultdict[int, dict[Hashable, _Write]] = defaultdict(dict)
    for row in np.flatnonzero(written).tolist():
        if (server := int(place[row])) in side:
            value = history.values[row]
            value = value[1] if history.fs[history.f[row]] == "cas" else value
            first, last = (bisect_right(parted.began, int(at[row])) - 1 for at in (history.invoked, history.completed))
            writers[int(history.key[row])][canonical(value)] = _Write(row, side[server], first, last)
    # Of each key, one write of each kind that matters to who could know of it.
    alike = {
        key: {write[1:]: write for write in values.values() if within[write.row]}.values() for key, values in writers.items()
    }
    # (key, side) → when the last read began that found a write of that side, and the last of its own clients' reads that found
    # one of another side.
    kept: dict[tuple[int, int], int] = {}
    replaced: dict[tuple[int, int], int] = {}
    spread: set[tuple[int, int]] = set()
    for row in np.flatnonzero(seen & np.isin(history.key, list(writers))).tolist():
        key, reader = int(history.key[row]), side.get(int(history.node[row]))
        found = writers[key].get(canonical(history.values[row]))
        if found is not None:
            kept[key, found.side] = int(history.invoked[row])
            if reader is not None and within[found.row] and reader not in parted.heard(found):
                spread.add((key, found.side))
                if any(write.side == reader and parted.apart(write, found) for write in alike[key]):
                    replaced[key, reader] = int(history.invoked[row])
    gave_way = {where for where, at in replaced.items() if kept.get(where, -1) < at}
    whole = {number for _, number in gave_way} - {number for _, number in spread - gave_way}
    rows, contested = [], 0
    for key, values in writers.items():
        opposed = {one[1:] for one in alike[key] if any(parted.apart(one, other) for other in alike[key])}
        contested += bool(opposed)
        gone: Counter[int] = Counter()
        for write in values.values():
            where = key, write.side
            alone = where not in kept and write.side in whole and len(parted.heard(write)) == 1
            if within[write.row] and write.row not in told and (alone or (where in gave_way and write[1:] in opposed)):
                told.add(write.row)
                gone[write.side] += 1
        name = None if key < 0 else history.keys[key]
        rows += [GaveWay(key=name, nodes=parted.sides[number], writes=writes) for number, writes in sorted(gone.items())]
    return Discarded(
        written=sum(map(bool, alike.values())), contested=contested,
        writes=sum(row.writes for row in rows), keys=len({row.key for row in rows}), last=len(rows), rows=tuple(rows),
    )
