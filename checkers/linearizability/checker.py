"""The checker of a recording: its history, what every replica held in the end, and the faults that stood."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from splitbrain.checkers.linearizability.engine import check
from splitbrain.checkers.linearizability.evidence.lineages import Course
from splitbrain.checkers.models.specifications import Model, Register
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import COLUMNS, NEVER, History
from splitbrain.harness.history.operation import Key, Operation
from splitbrain.harness.history.recording import LocalRead, Recording
from splitbrain.harness.history.values import OBJECT, Values


class Linearizability:
    """Judges whether a recording's history is linearizable for a model, key by key.

    Where the last round of final reads found the same value of a register on every node, after all operations had ended,
    that value is what the register held: each of these reads joins the history. So a write that was acknowledged, never
    overwritten and is on no replica is proven lost.

    `time_limit` is in seconds of the clock, for several `processes` may search: on a busy machine hard keys may be left
    undecided that would be decided on an idle one.
    """

    name = "linearizability"

    def __init__(self, model: Model, *, time_limit: float = 60.0, processes: int | None = None) -> None:
        self.model = model
        self.time_limit = time_limit
        self.processes = processes

    def check(self, recording: Recording) -> Verdict:
        """The verdict on the recording's history."""
        history = recording.history
        local = final_reads(recording) if isinstance(self.model, Register) else []
        return check(
            extended(history, local), self.model, time_limit=self.time_limit, processes=self.processes,
            course=course(recording, local),
        )


def course(recording: Recording, local: Sequence[Operation] = ()) -> Course | None:
    """When the heals and the final reads began, those of each replica (`local`) among them (`NEVER` where a run did not come so
    far); None for a history that tells of neither."""
    if not recording.phases and not local:
        return None
    heals = tuple(sorted(fault.heal_began for fault in recording.faults if fault.heal_began is not None))
    settled = min((operation.invoked for operation in local), default=NEVER)
    return Course(min(settled, recording.final), heals)


def final_reads(recording: Recording) -> list[Operation]:
    """The last round of local reads of every key on which all nodes agree, as reads after everything else.

    Empty where a read of the round began before the last operation had ended; a key is left out where a node did not answer
    or two nodes differ.
    """
    settled = [read for read in recording.local_reads if read.fault is None]
    if not settled or not len(recording.history):
        return []
    last = max(read.round for read in settled)
    reads = [read for read in settled if read.round == last]
    completed = recording.history.completed[recording.history.completed != NEVER]
    began = max(int(recording.history.invoked.max()), int(completed.max()) if len(completed) else 0) + 1
    if min(read.time for read in reads) < began:
        return []
    by_key: defaultdict[Key, list[LocalRead]] = defaultdict(list)
    for read in reads:
        by_key[read.key].append(read)
    operations = []
    for key, told in by_key.items():
        agree = all(read.error is None and read.value == told[0].value for read in told)
        if agree and {read.node for read in told} == set(recording.nodes):
            operations += [
                Operation(process=-1 - at, f="read", value=read.value, key=key, invoked=began, completed=read.time,
                          node=read.node, server=read.node)
                for at, read in enumerate(told)
            ]
    return operations


def extended(history: History, operations: Sequence[Operation]) -> History:
    """`history` with operations that were all invoked after its own, for keys that it knows."""
    known = set(history.keys)
    more = History.of([operation for operation in operations if operation.key in known])
    if not len(more):
        return history
    both = History()
    joined = np.concatenate
    for column in COLUMNS:
        setattr(both, column, joined([getattr(history, column), getattr(more, column)]))
    both.index[len(history):] = -1
    for column, names in (("f", "fs"), ("key", "keys"), ("error", "errors"), ("node", "nodes"), ("server", "nodes")):
        mine, theirs = getattr(history, names), getattr(more, names)
        place = {name: at for at, name in enumerate(mine)}
        table = np.array([place.setdefault(name, len(place)) for name in theirs] + [-1], np.int32)
        setattr(both, names, tuple(place))
        setattr(both, column, joined([getattr(history, column), table[getattr(more, column)]]))
    first = more.values.first.copy()
    first[more.values.kind == OBJECT] += len(history.values.objects)
    both.values = Values(
        joined([history.values.kind, more.values.kind]), joined([history.values.first, first]),
        joined([history.values.second, more.values.second]), [*history.values.objects, *more.values.objects],
        # What is read at the end are registers and sets, never transactions.
        None if history.micros is None else history.micros.take(np.r_[: len(history), np.full(len(more), -1)]),
    )
    both.seen, both.details = history.seen, history.details
    both.timed = history.timed
    return both
