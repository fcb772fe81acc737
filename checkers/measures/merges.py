"""Merges: what became, after a heal, of the writes that several sides of a partition acknowledged for the same register.

They are concurrent in Lamport's sense: no client on one side could know of the other's. A database that keeps one value must
give up all but one, and where the later of two blind writes wins, no register's specification is broken by that: it is a
measurement and not an anomaly.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable

import numpy as np

from splitbrain.checkers.measures.availability import window
from splitbrain.checkers.measures.slices import FUNCTIONS
from splitbrain.checkers.models.specifications import canonical
from splitbrain.checkers.result import Merge
from splitbrain.harness.history.fault import Fault
from splitbrain.harness.history.history import OK
from splitbrain.harness.history.recording import Recording


def merge(recording: Recording, fault: Fault) -> Merge | None:
    """The registers that more than one side wrote while it was cut off, and the sides' last writes that were given up.

    A side's last write is given up where, after the heal, a client on that side read what another side had written
    meanwhile, and no later read found anything that its own side had. None where the fault was not proven, parted no sides,
    or was never healed, and for a history that is not one of registers with distinct values.
    """
    span = window(recording, fault)
    if span is None or not fault.bit or not fault.cut or fault.healed is None or len(fault.sides) < 2:
        return None
    history = recording.history
    if not FUNCTIONS.issuperset(history.fs) or "read" not in history.fs:
        return None
    code = {name: number for number, name in enumerate(history.nodes)}
    side = {code[node]: number for number, nodes in enumerate(fault.sides) for node in nodes if node in code}
    read = history.f == history.fs.index("read")
    answered = history.outcome == OK
    written = answered & ~read & (history.invoked >= span[0]) & (history.completed <= span[1])
    seen = answered & read & (history.invoked >= fault.healed) & (history.invoked < recording.until_next(fault))
    writers: defaultdict[int, dict[Hashable, int]] = defaultdict(dict)
    for row in np.flatnonzero(written).tolist():
        if (home := int(history.node[row])) in side:
            value = history.values[row]
            value = value[1] if history.fs[history.f[row]] == "cas" else value
            writers[int(history.key[row])][canonical(value)] = side[home]
    contested = {key: values for key, values in writers.items() if len(set(values.values())) > 1}
    # (register, side) → when the last read began that found a write of that side, and the last of its own clients' reads
    # that found one of another side.
    kept: dict[tuple[int, int], int] = {}
    replaced: dict[tuple[int, int], int] = {}
    for row in np.flatnonzero(seen & np.isin(history.key, list(contested))).tolist():
        key, reader = int(history.key[row]), side.get(int(history.node[row]))
        writer = contested[key].get(canonical(history.values[row]))
        if writer is not None:
            kept[key, writer] = int(history.invoked[row])
            if reader is not None and reader != writer and reader in contested[key].values():
                replaced[key, reader] = int(history.invoked[row])
    return Merge(contested=len(contested), given_up=sum(kept.get(where, -1) < at for where, at in replaced.items()))
