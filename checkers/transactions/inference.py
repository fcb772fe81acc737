"""What a history of transactions tells: its dependencies, and what is wrong without any cycle."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.transactions.graph import Edges, Flags, Ints
from splitbrain.checkers.transactions.lattice import RULED_OUT, Level
from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.micros import Micros


@dataclass(frozen=True)
class Problems:
    """All anomalies of one identifier that are no cycle, in columns: `reader` the transactions (rows of the history) that
    show them, `row` the micro-operations, `other` the transactions beside them (-1: none). `ruled_out` is the weakest level
    that they are against."""

    identifier: str
    reader: Ints
    row: Ints
    other: Ints
    ruled_out: Level

    @classmethod
    def of(
        cls, identifier: str, reader: Ints, row: Ints, other: Ints | None = None, ruled_out: Level | None = None
    ) -> Problems:
        """Problems without transactions beside them, and against the level that the table has, unless told otherwise."""
        beside = np.full(len(reader), -1) if other is None else other
        return cls(identifier, reader, row, beside, ruled_out or RULED_OUT[identifier])

    def __len__(self) -> int:
        return len(self.reader)


@dataclass(frozen=True)
class Inference:
    """What was inferred from a history of transactions.

    `committed` marks the transactions (rows of the history) that took effect: those that are `ok`, and those with the
    outcome `info` of which somebody saw a write. `edges` are their dependencies. `installed` marks the micro-operations
    that installed a version: the last write or append of each committed transaction to each key; `version` is its place in
    the key's version order, from 0, where that is known, else -1. `total` says that the version order of every key is known
    but for who wrote last. `external` marks the reads of committed transactions that read another transaction's version, or
    the initial one; `read_from` is the micro-operation that wrote it (-1: the initial state), `seen` how many versions of
    the key's order it saw (-1: unknown). `ambiguous` is a sentence where nobody knows who was read from.
    """

    history: History
    micros: Micros
    committed: Flags
    edges: Edges
    installed: Flags
    version: Ints
    external: Flags
    read_from: Ints
    seen: Ints
    total: bool
    problems: tuple[Problems, ...] = ()
    ambiguous: str = ""
    limits: tuple[str, ...] = field(default=())

    @classmethod
    def of_ambiguous(cls, history: History, sentence: str) -> Inference:
        """Nothing but the sentence that says why nobody knows who was read from."""
        assert history.micros is not None
        many = len(history.micros.f)
        no_row, nothing = np.full(many, -1), np.zeros(many, np.bool_)
        return cls(
            history, history.micros, committed=history.outcome == OK, edges=Edges.joined([]), installed=nothing, version=no_row,
            external=nothing, read_from=no_row, seen=no_row, total=False, ambiguous=sentence,
        )

    @cached_property
    def reads_by_version(self) -> tuple[Ints, Ints]:
        """The external reads that found a version that was written, by the micro-operation that wrote it; and these."""
        reads = np.flatnonzero(self.external & (self.read_from >= 0))
        reads = reads[np.argsort(self.read_from[reads], kind="stable")]
        return reads, self.read_from[reads]


def group_ends(*columns: NDArray[np.int64]) -> tuple[Ints, Ints]:
    """Where each run of equal rows of these columns begins, and how long it is."""
    many = len(columns[0])
    if not many:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    fresh = np.zeros(many, np.bool_)
    fresh[0] = True
    for column in columns:
        fresh[1:] |= column[1:] != column[:-1]
    begin = np.flatnonzero(fresh)
    return begin, np.diff(np.append(begin, many))


def written_once(owner: Ints, key: Ints, value: Ints, writes: Ints) -> tuple[Ints, Ints]:
    """Of these writes (rows, ascending) the last one of each value that a transaction wrote to a key, and of each of them the
    first: what a transaction writes again is one write, for nobody can tell which of them a read found."""
    order = np.lexsort((value[writes], key[writes], owner[writes]))
    begin, count = group_ends(owner[writes][order], key[writes][order], value[writes][order])
    last, first = writes[order[begin + count - 1]], writes[order[begin]]
    rows = np.argsort(last)
    return last[rows], first[rows]


def paired(keys: Ints, values: Ints, other_keys: Ints, other_values: Ints) -> tuple[Ints, Ints]:
    """One number for each pair of a key and a value, equal for equal pairs."""
    if not len(values):
        return np.empty(0, np.int64), np.full(len(other_values), -1)
    low, high = int(values.min()), int(values.max())
    if len(other_values):
        low, high = min(low, int(other_values.min())), max(high, int(other_values.max()))
    most = int(max(keys.max(), other_keys.max() if len(other_keys) else 0)) + 1
    span = high - low + 1
    if span * most < 1 << 62:
        return keys * span + (values - low), other_keys * span + (other_values - low)
    names, codes = np.unique(np.concatenate([values, other_values]), return_inverse=True)
    return keys * len(names) + codes[: len(values)], other_keys * len(names) + codes[len(values) :]


def located(wanted: Ints, ordered: Ints) -> Ints:
    """Where each wanted number stands among these, which are ascending and differ; -1 where it does not."""
    if not len(ordered):
        return np.full(len(wanted), -1)
    found = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    return np.where(ordered[found] == wanted, found, -1)
