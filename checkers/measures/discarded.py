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
from splitbrain.harness.history.history import NEVER, OK, History
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.sides import Nodes, natural
from splitbrain.harness.history.values import canonical


def discarded(recording: Recording) -> tuple[Discarded | None, ...]:
    """What was called and acknowledged, while each fault was in force on every node, by servers of a side that gave way. What
    was acknowledged while the links were still being cut, or mended, may have reached another side: it is evidence that its
    side did not give way, and never counted as discarded.

    A side gave way on a key where, after the heal, a client on that side read what another side had written meanwhile, and no
    later read found anything that its own side had. On a key where no read tells, a side gave way if it did so wherever reads
    tell. Where writes go to a primary, that is asked of each shard: keys with the same nodes have one primary, whose lineage
    dies as a whole. What a home's clients still read of it there, before they read the other lineage anywhere in the shard,
    tells only that the primary had not yet stepped down. Two primaries that both go on after the heal overwrite what they had
    acknowledged: what each acknowledges then, while no client of its side was served by another side, is of its lineage, too,
    and a side gives way where its clients read another lineage's write, and a read of that lineage, this one or an earlier one
    after the last that its own primary acknowledged, found what was over before its own primary had acknowledged a later
    write. Where a side went neither way as a whole, keys of which no read tells are `untold`, and the number of writes is a
    lower bound.

    None where the fault was not proven, parted no sides, or was never healed, and for a history that is not one of registers
    with distinct values.

    Where other faults cut links meanwhile, sides are those of all of them together, and two writes are those of two sides if
    none could know of the other: a node that is cut off later wrote with the others until then. The heal is that of the last of
    them. A write that gave way is told by the first fault in which it did.
    """
    told: set[int] = set()
    found = []
    for fault in recording.faults:
        made = _made(recording, fault)
        found.append(None if made is None else _judged(recording.history, made, _fates(recording, fault, made), told))
    return tuple(found)


class _Write(NamedTuple):
    """An acknowledged write: its row, whether all of it lies in the fault's window, its side, and the stretches of the fault in
    which it was called and answered."""

    row: int
    within: bool
    side: int
    first: int
    last: int

    @property
    def known(self) -> tuple[int, int, int]:
        """All that matters to who could know of it."""
        return self.side, self.first, self.last


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


class _Made(NamedTuple):
    """What was acknowledged while a fault was being made, in force and being undone."""

    parted: _Parted
    side: dict[int, int]
    """Node → its side, both as numbers."""
    writers: dict[int, dict[Hashable, _Write]]
    """Key → value → its write."""
    alike: dict[int, list[_Write]]
    """Key → one write of each kind that matters to who could know of it, of those that lie in the window."""

    def opposed(self, key: int, write: _Write) -> bool:
        """Whether another side wrote this key, none of the two knowing of the other."""
        return any(self.parted.apart(write, other) for other in self.alike[key])


class _Fates:
    """What reads after the heal tell of what the sides had written. A place is a key with a side."""

    def __init__(self, shards: dict[int, int], primaries: bool) -> None:
        self._shards = shards
        self.primaries = primaries
        """Whether a shard has one primary, so that what a side wrote there gives way as a whole."""
        self._kept: defaultdict[tuple[int, int], dict[int, int]] = defaultdict(dict)
        """Place → home → when the last read there began that found a write of that side."""
        self._replaced: dict[tuple[int, int], int] = {}
        """Place → when the last read of its own clients began that found a concurrent write of another side."""
        self._over: dict[tuple[int, int, int], int] = {}
        """Shard, side, home → when the first read of another side's lineage began there."""
        self._spread: set[tuple[int, int]] = set()
        """The places whose writes were read on sides that could not have known of them before."""

    def kept(self, key: int, side: int, home: int, at: int) -> None:
        """At that time a read at that home found what that side had written."""
        self._kept[key, side][home] = at

    def spread(self, key: int, side: int) -> None:
        """A read on a side that could not have known of it before found what that side had written."""
        self._spread.add((key, side))

    def replaced(self, key: int, side: int, home: int, at: int) -> None:
        """At that time a read at that home, on that side, found what another side had written meanwhile."""
        self._replaced[key, side] = at
        self.over(key, side, home, at)

    def over(self, key: int, side: int, home: int, at: int) -> None:
        """At that time a read at that home, on that side, found what the primary of another side acknowledged."""
        self._over.setdefault((self.shard(key), side, home), at)

    def shard(self, key: int) -> int:
        """The number of the shard of a key, where a shard has one primary."""
        return self._shards.get(key, -1) if self.primaries else -1

    def gave_way(self, key: int, side: int) -> bool:
        """Whether it was seen to."""
        return self._replaced.get((key, side), -1) > max(self._kept.get((key, side), {}).values(), default=-1)

    def unseen(self, key: int, side: int) -> bool:
        """Whether no read found what that side had written there, but for those at homes whose primary had not yet stepped
        down."""
        homes = self._kept.get((key, side), {})
        if not self.primaries:
            return not homes
        return all(at < self._over.get((self.shard(key), side, home), -1) for home, at in homes.items())

    def wholly(self) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
        """The shards, with a side, that gave way wherever reads tell, and those that were found on another side wherever they
        tell."""
        gone = {where for where in self._replaced if self.gave_way(*where)}
        stayed = self._spread - gone
        gave, spread = ({(self.shard(key), side) for key, side in places} for places in (gone, stayed))
        return gave - spread, spread - gave

    def among(self, key: int, side: int, some: set[tuple[int, int]]) -> bool:
        """Whether the shard of that key, with that side, is one of these."""
        return (self.shard(key), side) in some


def _made(recording: Recording, fault: Fault) -> _Made | None:
    """What was acknowledged by whom; None where that is not measured."""
    span, history = window(recording, fault), recording.history
    if span is None or not fault.bit or not fault.cut or fault.healed is None or _healed(recording, fault) is None:
        return None
    if not FUNCTIONS.issuperset(history.fs) or "read" not in history.fs:
        return None
    parted = _Parted(recording, fault)
    if len(parted.sides) < 2:
        return None
    code = {name: number for number, name in enumerate(history.nodes)}
    side = {code[node]: number for number, nodes in enumerate(parted.sides) for node in nodes if node in code}
    place = np.where(history.server >= 0, history.server, history.node)
    written = (history.outcome == OK) & (history.f != history.fs.index("read"))
    written &= (history.invoked >= fault.started) & (history.completed <= fault.healed)
    within = (history.invoked >= span[0]) & (history.completed <= span[1])
    writers: defaultdict[int, dict[Hashable, _Write]] = defaultdict(dict)
    rows = np.flatnonzero(written)
    rows = rows[np.isin(place[rows], list(side))]
    first, last = (np.searchsorted(parted.began, at[rows], "right") - 1 for at in (history.invoked, history.completed))
    columns = (rows, history.key[rows], within[rows], place[rows], first, last)
    for row, key, inside, server, begun, ended in zip(*(column.tolist() for column in columns), strict=True):
        writers[key][_new(history, row)] = _Write(row, inside, side[server], begun, ended)
    alike = {
        key: list({write.known: write for write in values.values() if write.within}.values()) for key, values in writers.items()
    }
    return _Made(parted, side, dict(writers), alike)


def _healed(recording: Recording, fault: Fault) -> int | None:
    """When the links were whole again. A fault that parts nobody, an operator's switch perhaps, hides nothing of what is read
    while it lasts."""
    parting = tuple(one for one in recording.faults if one.cut or one.out)
    return settled(msgspec.structs.replace(recording, faults=parting), fault)


def _fates(recording: Recording, fault: Fault, made: _Made) -> _Fates:
    """What is read between the heal and the next fault."""
    history, end = recording.history, _healed(recording, fault)
    assert end is not None
    codes = {key: code for code, key in enumerate(history.keys)}
    nodes = sorted({tuple(sorted(one.replicas)) for one in recording.placements})
    shards = {codes[one.key]: nodes.index(tuple(sorted(one.replicas))) for one in recording.placements if one.key in codes}
    fates = _Fates(shards, recording.variant is not None and recording.variant.writes == "primary")
    until = min((other.started for other in recording.faults if other.started > end), default=NEVER)
    seen = (history.outcome == OK) & (history.f == history.fs.index("read"))
    seen &= (history.invoked >= end) & (history.invoked < until) & np.isin(history.key, list(made.writers))
    lineages = _Lineages(recording, fault, made, fates, until)
    rows = np.flatnonzero(seen)
    columns = (column[rows].tolist() for column in (history.key, history.node, history.invoked))
    for told, key, home, at in zip(history.values.take(rows), *columns, strict=True):
        value, reader = canonical(told), made.side.get(home)
        found = made.writers[key].get(value)
        if found is None:
            lineages.tell(fates, key, value, home, at)
            continue
        fates.kept(key, found.side, home, at)
        if reader is None or not found.within or reader in made.parted.heard(found):
            continue
        fates.spread(key, found.side)
        if any(write.side == reader and made.parted.apart(write, found) for write in made.alike[key]):
            fates.replaced(key, reader, home, at)
    return fates


class _Lineages:
    """What the primaries that acknowledged writes during a fault went on to acknowledge after its heal, until the next fault
    (`until`), while they certainly were on their side's lineage: none where shards have no primaries.

    A primary is on it until the first call of a client of its side that another side answered, or that found what another side
    had written. One that was none during the fault may have copied another lineage, unseen.
    """

    def __init__(self, recording: Recording, fault: Fault, made: _Made, fates: _Fates, until: int) -> None:
        self._made = made
        self._later: defaultdict[int, dict[Hashable, tuple[int, int]]] = defaultdict(dict)
        """Key → value → the side that wrote it after the heal, and when that was over."""
        self._wrote: defaultdict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
        """Place → when each write of that lineage began, with when the first of those from it on was over."""
        self._last: defaultdict[tuple[int, int], int] = defaultdict(int)
        """Shard, side → when the last of these was over."""
        self._without: dict[tuple[int, int, int], int] = {}
        """Shard, side, other side → when the last read began that found what the one had written before the other had: until
        then its lineage did not hold the other's."""
        if not fates.primaries:
            return
        history, read, healed = recording.history, recording.history.fs.index("read"), fault.healed or NEVER
        rows = np.flatnonzero(
            (history.outcome == OK) & (history.server >= 0) & (history.completed > healed) & (history.invoked < until)
            & np.isin(history.key, list(made.writers))
        )
        sides = np.array([made.side.get(code, -1) for code in (*range(len(history.nodes)), -1)])  # The last is what -1 finds.
        home, server, reads = sides[history.node[rows]], sides[history.server[rows]], history.f[rows] == read
        ended: dict[tuple[int, int], int] = {}
        primaries: set[tuple[int, int]] = set()
        for key, values in made.writers.items():
            for write in values.values():
                primaries.add((fates.shard(key), int(history.server[write.row])))
                self._wrote[key, write.side].append((int(history.invoked[write.row]), int(history.completed[write.row])))
        telling = (home >= 0) & (reads | ((server >= 0) & (server != home)))
        columns = (rows, history.key[rows], home, server, reads, history.invoked[rows])
        for row, key, mine, other, looks, began in zip(*(column[telling].tolist() for column in columns), strict=True):
            if (fates.shard(key), mine) not in ended:
                found = made.writers[key].get(canonical(history.values[row])) if looks else None
                if other not in (mine, -1) or (found is not None and found.side != mine):
                    ended[fates.shard(key), mine] = began
        wrote = (server >= 0) & ~reads
        columns = (rows, history.key[rows], history.server[rows], server, history.invoked[rows], history.completed[rows])
        for row, key, name, side, began, over in zip(*(column[wrote].tolist() for column in columns), strict=True):
            shard = fates.shard(key)
            if (shard, name) in primaries and over < ended.get((shard, side), NEVER):
                self._later[key][_new(history, row)] = side, over
                self._wrote[key, side].append((began, over))
        for (key, side), written in self._wrote.items():
            written.sort()
            self._last[fates.shard(key), side] = max(self._last[fates.shard(key), side], *(over for _, over in written))
            for at in range(len(written) - 2, -1, -1):
                written[at] = written[at][0], min(written[at][1], written[at + 1][1])

    def tell(self, fates: _Fates, key: int, value: Hashable, home: int, at: int) -> None:
        """At that time a read at that home found this, which nobody had written during the fault."""
        side, over = self._later.get(key, {}).get(value, (-1, 0))
        if side < 0:
            return
        fates.kept(key, side, home, at)
        reader, shard = self._made.side.get(home), fates.shard(key)
        for other in range(len(self._made.parted.sides)):
            written = self._wrote.get((key, other), [])
            place = bisect_right(written, (over, NEVER))
            if other != side and place < len(written) and written[place][1] < at:
                self._without[shard, side, other] = at
        if reader is None or reader == side:
            return
        fates.over(key, reader, home, at)
        without = self._without.get((shard, side, reader), -1)
        if without == at or without > self._last[shard, reader]:
            fates.spread(key, side)
            fates.replaced(key, reader, home, at)


def _new(history: History, row: int) -> Hashable:
    """What a write or a compare-and-set put there."""
    value = history.values[row]
    return canonical(value[1] if history.fs[history.f[row]] == "cas" else value)


def _judged(history: History, made: _Made, fates: _Fates, told: set[int]) -> Discarded:
    """What gave way, without the writes (by their rows) that are `told` of another fault, to which those of this one come."""
    gave, stayed = fates.wholly()
    rows, contested = [], 0
    untold: set[int] = set()
    for key, values in made.writers.items():
        opposed = {write.known for write in made.alike[key] if made.opposed(key, write)}
        contested += bool(opposed)
        gone: Counter[int] = Counter()
        for write in (one for one in values.values() if one.within and one.row not in told):
            where = key, write.side
            alone = fates.unseen(*where) and len(made.parted.heard(write)) == 1
            if (fates.gave_way(*where) and write.known in opposed) or (alone and fates.among(*where, gave)):
                told.add(write.row)
                gone[write.side] += 1
            elif alone and not fates.among(*where, stayed):
                untold.add(key)
        name = None if key < 0 else history.keys[key]
        rows += [GaveWay(key=name, nodes=made.parted.sides[at], writes=writes) for at, writes in sorted(gone.items())]
    return Discarded(
        written=sum(map(bool, made.alike.values())), contested=contested, writes=sum(row.writes for row in rows),
        keys=len({row.key for row in rows}), last=len(rows), untold=len(untold), rows=tuple(rows),
    )
