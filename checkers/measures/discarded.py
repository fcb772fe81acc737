"""Discarded writes: what the servers of a side acknowledged during a partition, and what gave way to another side's.

Writes on two sides are concurrent in Lamport's sense: no client on one side could know of the other's. A database that keeps
one value must give up all but one, and where the later of two blind writes wins, no register's specification is broken by
that. So this is a measurement and not an anomaly, whether a side gives way as a whole (a demoted primary) or key by key (the
last write wins); what is proven to be lost is a part of it. A register may be overwritten: the last write of a side on its key
is what somebody misses.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable

import numpy as np

from splitbrain.checkers.measures.availability import window
from splitbrain.checkers.measures.slices import FUNCTIONS
from splitbrain.checkers.result import Discarded, GaveWay
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import canonical


def discarded(recording: Recording, fault: Fault) -> Discarded | None:
    """What was acknowledged between the start of the fault and the end of its heal by servers of a side that gave way.

    A side gave way on a key where, after the heal, a client on that side read what another side had written meanwhile, and no
    later read found anything that its own side had. On a key where no read tells, a side gave way if it did so wherever reads
    tell. None where the fault was not proven, parted no sides, or was never healed, and for a history that is not one of
    registers with distinct values.
    """
    if window(recording, fault) is None or not fault.bit or not fault.cut or fault.healed is None or len(fault.sides) < 2:
        return None
    history = recording.history
    if not FUNCTIONS.issuperset(history.fs) or "read" not in history.fs:
        return None
    code = {name: number for number, name in enumerate(history.nodes)}
    side = {code[node]: number for number, nodes in enumerate(fault.sides) for node in nodes if node in code}
    read = history.f == history.fs.index("read")
    answered = history.outcome == OK
    written = answered & ~read & (history.invoked >= fault.started) & (history.completed <= fault.healed)
    seen = answered & read & (history.invoked >= fault.healed) & (history.invoked < recording.until_next(fault))
    place = np.where(history.server >= 0, history.server, history.node)
    writers: defaultdict[int, dict[Hashable, int]] = defaultdict(dict)
    for row in np.flatnonzero(written).tolist():
        if (server := int(place[row])) in side:
            value = history.values[row]
            value = value[1] if history.fs[history.f[row]] == "cas" else value
            writers[int(history.key[row])][canonical(value)] = side[server]
    # (key, side) → when the last read began that found a write of that side, and the last of its own clients' reads that found
    # one of another side.
    kept: dict[tuple[int, int], int] = {}
    replaced: dict[tuple[int, int], int] = {}
    spread: set[tuple[int, int]] = set()
    for row in np.flatnonzero(seen & np.isin(history.key, list(writers))).tolist():
        key, reader = int(history.key[row]), side.get(int(history.node[row]))
        writer = writers[key].get(canonical(history.values[row]))
        if writer is not None:
            kept[key, writer] = int(history.invoked[row])
            if reader is not None and reader != writer:
                spread.add((key, writer))
                if reader in writers[key].values():
                    replaced[key, reader] = int(history.invoked[row])
    gave_way = {where for where, at in replaced.items() if kept.get(where, -1) < at}
    whole = {number for _, number in gave_way} - {number for _, number in spread - gave_way}
    rows = []
    for key, values in writers.items():
        for number, writes in sorted(Counter(values.values()).items()):
            if (key, number) in gave_way or (number in whole and (key, number) not in kept):
                name = None if key < 0 else history.keys[key]
                rows.append(GaveWay(key=name, nodes=fault.sides[number], writes=writes))
    return Discarded(
        contested=sum(len(set(values.values())) > 1 for values in writers.values()),
        writes=sum(row.writes for row in rows), keys=len({row.key for row in rows}), last=len(rows), rows=tuple(rows),
    )
