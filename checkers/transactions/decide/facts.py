"""Facts: what a history of transactions over registers says for certain, as columns that every level is decided on.

A *node* is a transaction that committed: one that was acknowledged, or an indeterminate one of which a read of a node saw a
write. An indeterminate transaction that nobody saw is left out: it may not have happened, and leaving out what nobody read
never makes a history worse. What it read is not known, so it can only have been seen, and one look at the reads is enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.transactions.inference import written_once
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.micros import APPEND, READ, READ_LIST, UNKNOWN, WRITE, Micros
from splitbrain.harness.history.ranges import bounds, ranges
from splitbrain.harness.history.values import NIL

Flaw = Literal["garbage", "aborted-read", "intermediate-read", "internal", "future-read"]
"""What is wrong with one read alone: it returned what nobody wrote, what an aborted transaction wrote, what its writer
replaced itself, something else than its own transaction had written or read before, or what it was going to write later."""

_TABLE = 1 << 26
"""The most entries of a table from values to writes; beyond, values are looked up in sorted order."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Nodes are numbered session by session, and in a session by their invocation; node `size` stands for the initial state.

    `row` is a node's row in the history. The nodes of session s are `session_start[s]` up to `session_start[s + 1]`, and
    `session` tells each node's. `read_key` and `read_writer` are the external reads (of what another transaction wrote, or of
    the initial state) in program order: those of node i are the rows `read_start[i]` up to `read_start[i + 1]`. `write_key`
    are the keys that a node wrote, ascending, in the ranges of `write_start`. `flaws` are the reads that are wrong in
    themselves, as (what, history row, key). `unclear` says why the history cannot be taken apart, empty where it can.
    """

    row: NDArray[np.int64]
    session: NDArray[np.int32]
    session_start: NDArray[np.int64]
    invoked: NDArray[np.int64]
    completed: NDArray[np.int64]
    read_start: NDArray[np.int64]
    read_key: NDArray[np.int32]
    read_writer: NDArray[np.int64]
    write_start: NDArray[np.int64]
    write_key: NDArray[np.int32]
    keys: int
    flaws: tuple[tuple[Flaw, int, int], ...] = ()
    unclear: str = ""

    @property
    def size(self) -> int:
        """The number of nodes."""
        return len(self.row)

    @property
    def sessions(self) -> int:
        """The number of sessions."""
        return len(self.session_start) - 1

    def readers(self) -> NDArray[np.int64]:
        """Of every read the node that made it."""
        return np.repeat(np.arange(self.size), np.diff(self.read_start))

    def writers(self) -> NDArray[np.int64]:
        """Of every write the node that made it."""
        return np.repeat(np.arange(self.size), np.diff(self.write_start))


def facts(history: History) -> Facts:
    """Take a history of transactions over registers apart. Operations that are no transactions play no part."""
    micros = history.micros
    if micros is None:
        return _nothing("the history has no transactions")
    if (micros.f == APPEND).any() or (micros.f == READ_LIST).any():
        return _nothing("lists are decided by the order that their reads show")
    outcome = history.outcome
    owner = micros.owners()
    writes = np.flatnonzero(micros.f == WRITE)
    reads = np.flatnonzero((micros.f == READ) & (micros.value != UNKNOWN) & (outcome[owner] == OK))
    own, finals = _own_writes(micros, owner)
    last = np.zeros(len(micros.f), np.bool_)
    last[finals] = True
    flaws: list[tuple[Flaw, int, int]] = []

    internal = reads[own[reads] >= 0]
    wrong = internal[micros.value[own[internal]] != micros.value[internal]]
    flaws += [("internal", int(owner[at]), int(micros.key[at])) for at in wrong[:10]]
    reads = reads[own[reads] < 0]

    source, unclear = _sources(micros, writes, reads)
    if unclear:
        once, _ = written_once(owner, micros.key.astype(np.int64), micros.value, writes)
        source, unclear = _sources(micros, once, reads)
    missing = reads[source == _MISSING]
    flaws += [("garbage", int(owner[at]), int(micros.key[at])) for at in missing[:10]]
    known = source >= 0
    seen, by = source[known], reads[known]
    mine = owner[seen] == owner[by]
    flaws += [("future-read", int(owner[at]), int(micros.key[at])) for at in by[mine][:10]]
    failed = (outcome[owner[seen]] == FAIL) & ~mine
    flaws += [("aborted-read", int(owner[at]), int(micros.key[at])) for at in by[failed][:10]]
    replaced = ~last[seen] & ~mine & ~failed
    flaws += [("intermediate-read", int(owner[at]), int(micros.key[at])) for at in by[replaced][:10]]

    committed = outcome == OK
    committed &= np.diff(micros.start) > 0
    committed[owner[seen[~mine & ~failed]]] = True
    return _columns(history, micros, owner, finals, reads, source, committed, tuple(flaws), unclear)


_MISSING = -2
_INITIAL = -1


def _columns(
    history: History, micros: Micros, owner: NDArray[np.int64], writes: NDArray[np.int64], reads: NDArray[np.int64],
    source: NDArray[np.int64], committed: NDArray[np.bool_], flaws: tuple[tuple[Flaw, int, int], ...], unclear: str,
) -> Facts:
    rows = np.flatnonzero(committed)
    order = np.argsort(history.process[rows], kind="stable")
    rows = rows[order]
    size = len(rows)
    _, starts, session = np.unique(history.process[rows], return_index=True, return_inverse=True)
    node = np.full(len(history) + 1, -1)
    node[rows] = np.arange(size)

    writer = np.where(source >= 0, node[owner[np.maximum(source, 0)]], size)
    kept = (source != _MISSING) & (node[owner[reads]] >= 0) & (writer >= 0)
    reads, writer = reads[kept], writer[kept]
    read_start, taken = _by_node(owner[reads], rows, len(history))
    reads, writer = reads[taken], writer[taken]
    write_start, taken = _by_node(owner[writes], rows, len(history))
    return Facts(
        row=rows,
        session=session.astype(np.int32),
        session_start=np.append(starts, size).astype(np.int64),
        invoked=history.invoked[rows],
        completed=history.completed[rows],
        read_start=read_start,
        read_key=micros.key[reads],
        read_writer=writer.astype(np.int64),
        write_start=write_start,
        write_key=micros.key[writes[taken]],
        keys=len(micros.keys),
        flaws=flaws,
        unclear=unclear,
    )


def _by_node(
    owners: NDArray[np.int64], rows: NDArray[np.int64], operations: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each node's range begins, and of what belongs to `owners` (ascending) the places in the order of the nodes."""
    counts = np.bincount(owners, minlength=operations)
    return bounds(counts[rows]), ranges(bounds(counts)[rows], counts[rows])


def _own_writes(micros: Micros, owner: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of every micro-operation the last write of its key before it in its own transaction (-1: none); and the last writes of
    each key in each transaction, ordered by transaction and key."""
    many = len(micros.f)
    own = np.full(many, -1)
    if not many:
        return own, own
    group = owner * len(micros.keys) + micros.key
    order = np.argsort(group, kind="stable")
    group = group[order]
    first = np.append(True, group[1:] != group[:-1])
    places = np.arange(many)
    latest = np.maximum.accumulate(np.where(micros.f[order] == WRITE, places, -1))
    begins = np.flatnonzero(first)
    again = np.flatnonzero(~first)  # Few: most transactions touch a key once.
    begin = begins[np.searchsorted(begins, again, side="right") - 1]
    before = latest[again - 1]
    own[order[again]] = np.where(before >= begin, order[np.maximum(before, 0)], -1)
    final = latest[np.append(begins[1:], many) - 1]
    return own, order[final[final >= begins]]


def _sources(micros: Micros, writes: NDArray[np.int64], reads: NDArray[np.int64]) -> tuple[NDArray[np.int64], str]:
    """Of every read the write whose value it returned (`_INITIAL`, `_MISSING`), and why that is not always clear."""
    key, value = micros.key.astype(np.int64), micros.value
    source = np.full(len(reads), _MISSING)
    source[value[reads] == NIL] = _INITIAL
    looked = np.flatnonzero(value[reads] != NIL)
    unclear = "nil was written and read" if (value[writes] == NIL).any() and (source == _INITIAL).any() else ""
    if not len(looked) or not len(writes):
        return source, unclear
    at = reads[looked]
    low = int(value[writes].min())
    span = int(value[writes].max()) - low + 1
    inside = (value[at] >= low) & (value[at] < low + span)
    looked, at = looked[inside], at[inside]
    if 0 < span <= min(_TABLE, 8 * (len(writes) + len(reads)) + 1024):
        # Most recorders count: their values are no more than the writes, and no two keys share one.
        table = np.full(span, -1, np.int64)
        table[value[writes] - low] = writes
        if (table[value[writes] - low] == writes).all():
            found = table[value[at] - low]
            right = (found >= 0) & (key[found] == key[at])
            source[looked[right]] = found[right]
            return source, unclear
    if 0 < span * len(micros.keys) <= min(_TABLE, 8 * (len(writes) + len(reads)) + 1024):
        table = np.full(span * len(micros.keys), -1)
        codes = key[writes] * span + (value[writes] - low)
        table[codes] = writes
        again = table[codes] != writes
        found = table[key[at] * span + (value[at] - low)]
        source[looked[found >= 0]] = found[found >= 0]
        if again.any():
            repeated = np.zeros(len(table), np.bool_)
            repeated[codes[again]] = True
            if repeated[key[at] * span + (value[at] - low)].any():
                unclear = "a value was written twice to one key and read"
        return source, unclear
    order = np.lexsort((value[writes], key[writes]))
    sorted_writes = writes[order]
    both = np.concatenate([sorted_writes, at])
    rank = np.empty(len(both), np.int64)
    merged = np.lexsort((value[both], key[both]))
    by_key, by_value = key[both][merged], value[both][merged]
    changed = (by_key[1:] != by_key[:-1]) | (by_value[1:] != by_value[:-1])
    rank[merged] = np.append(0, np.cumsum(changed))
    of_writes, of_reads = rank[: len(writes)], rank[len(writes) :]
    place = np.searchsorted(of_writes, of_reads)
    hit = place < len(of_writes)
    hit[hit] = of_writes[place[hit]] == of_reads[hit]
    source[looked[hit]] = sorted_writes[place[hit]]
    twice = of_writes[1:][of_writes[1:] == of_writes[:-1]]
    if len(twice) and np.isin(of_reads, twice).any():
        unclear = "a value was written twice to one key and read"
    return source, unclear


def _nothing(unclear: str) -> Facts:
    none = np.zeros(0, np.int64)
    small = np.zeros(0, np.int32)
    zero = np.zeros(1, np.int64)
    return Facts(none, small, zero, none, none, zero, small, none, zero, small, 0, unclear=unclear)
