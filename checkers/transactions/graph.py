"""The dependency graph of transactions: who overwrote, read from, and was overwritten by whom, and who came first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.history import NEVER, History

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]
Codes = NDArray[np.int32]
"""Numbers below 2^31, of which there are many at once."""

WW, WR, RW, PROCESS, REALTIME = range(5)
KINDS = ("ww", "wr", "rw", "process", "realtime")
"""`ww`: the second installed the version after that of the first; `wr`: it read the first one's version; `rw`: it installed
a version after the one that the first read; `process`: the same client ran it later; `realtime`: it was invoked after the
first had completed."""

ALWAYS, READS, ATOMIC, SESSION, CAUSAL, TIMES = range(6)
"""What a dependency was inferred from, which says at which levels it is certain.

`ALWAYS`: what was read and written, at every level. `READS`: a transaction's write follows what it read, from read
committed up. `ATOMIC`: what a transaction saw of another one it saw whole, from read atomic up. `SESSION`: a client's
writes are in its order. `CAUSAL`: and so is what it reads. `TIMES`: a write that completed before another was invoked
precedes it.
"""


class Edges:
    """Edges between transactions in columns: `source` and `target` (rows of the history), `kind`, `scope` (what it was
    inferred from), `key` (the code of the item in the micro-operations, -1 for none) and `row` (of a `wr` or `rw` the row
    of the micro-operation that read, -1 for none)."""

    __slots__ = ("source", "target", "kind", "scope", "key", "row")

    def __init__(
        self, source: Ints, target: Ints, kind: NDArray[np.int8], scope: NDArray[np.int8], key: Codes, row: Codes
    ) -> None:
        self.source = source
        self.target = target
        self.kind = kind
        self.scope = scope
        self.key = key
        self.row = row

    def __len__(self) -> int:
        return len(self.source)

    @classmethod
    def of(
        cls, source: Ints, target: Ints, kind: int, scope: int = ALWAYS, key: Ints | None = None, row: Ints | None = None
    ) -> Edges:
        """Edges of one kind and scope; those from a transaction to itself are left out."""
        apart = source != target
        many = int(np.count_nonzero(apart))
        none = np.full(many, -1, np.int32)
        return cls(
            source[apart], target[apart], np.full(many, kind, np.int8), np.full(many, scope, np.int8),
            none if key is None else key[apart].astype(np.int32), none if row is None else row[apart].astype(np.int32),
        )

    @classmethod
    def joined(cls, parts: Sequence[Edges]) -> Edges:
        """All these edges."""
        if not parts:
            return cls.of(np.empty(0, np.int64), np.empty(0, np.int64), WW)
        return cls(
            np.concatenate([part.source for part in parts]), np.concatenate([part.target for part in parts]),
            np.concatenate([part.kind for part in parts]), np.concatenate([part.scope for part in parts]),
            np.concatenate([part.key for part in parts]), np.concatenate([part.row for part in parts]),
        )

    def where(self, chosen: Flags | Ints) -> Edges:
        """Those of the edges that are marked, or at these places."""
        return Edges(
            self.source[chosen], self.target[chosen], self.kind[chosen], self.scope[chosen], self.key[chosen],
            self.row[chosen],
        )

    def of_kinds(self, kinds: Iterable[int], scopes: Iterable[int]) -> Flags:
        """Which edges are of these kinds and scopes."""
        by_kind, by_scope = np.zeros(len(KINDS), np.bool_), np.zeros(TIMES + 1, np.bool_)
        by_kind[list(kinds)] = True
        by_scope[list(scopes)] = True
        found: Flags = by_kind[self.kind] & by_scope[self.scope]
        return found


def process_edges(history: History, committed: Flags) -> Edges:
    """From every committed transaction to the next one of its process."""
    rows = np.flatnonzero(committed)
    order = rows[np.argsort(history.process[rows], kind="stable")]
    same = history.process[order[1:]] == history.process[order[:-1]]
    return Edges.of(order[:-1][same], order[1:][same], PROCESS)


def realtime_edges(history: History, committed: Flags) -> tuple[Ints, Ints, int]:
    """Edges that connect every committed transaction with all that were invoked after it completed, as sources and targets,
    and the number of their vertices: the rows of the history, and one more for each completion.

    The vertices of completions are chained in the order of time. So there are three edges a transaction, where drawing each
    to those that follow next would take as many as there are clients.
    """
    n = len(history)
    ended = np.flatnonzero(committed & (history.completed != NEVER))
    ended = ended[np.argsort(history.completed[ended], kind="stable")]
    times = history.completed[ended]
    places = n + np.arange(len(ended))
    began = np.flatnonzero(committed)
    before = np.searchsorted(times, history.invoked[began], side="left") - 1
    later = before >= 0
    source = np.concatenate([ended, places[:-1], places[before[later]]])
    target = np.concatenate([places, places[1:], began[later]])
    return source, target, n + len(ended)
