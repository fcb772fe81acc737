"""History: the operations of a run in columns, so that a million of them are small and fast to judge."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.history.operation import Key, Operation, Outcome
from harness.history.values import Values, packed

OK, FAIL, INFO = 0, 1, 2
OUTCOMES: tuple[Outcome, ...] = ("ok", "fail", "info")
NEVER = np.iinfo(np.int64).max
"""`completed` of an operation that no answer ever came for."""

COLUMNS = ("process", "invoked", "completed", "outcome", "f", "key", "error", "node", "server", "scheduled", "index")
"""The columns that are plain arrays."""


class History:
    """Operations in columns, one row each, in the order of their invocation. Immutable by agreement.

    `process`, `invoked` and `completed` are int64 (`completed` is `NEVER` where no answer came); `outcome` is int8 (`OK`,
    `FAIL`, `INFO`); `f`, `key`, `error`, `node` and `server` are int32 codes into the tuples `fs`, `keys`, `errors` and
    `nodes` (-1: none). `values` are the operations' values, themselves in columns; `seen` maps a row to what a refused
    `cas` reported; `scheduled` is int64, `NEVER` where the load was a closed loop; `index` is the number that the recording
    gave the operation, so that a part of a history still names it. `timed` says that `invoked` and `completed` are
    nanoseconds; else they are positions in a file that tells no times, or none that can be trusted.
    """

    __slots__ = (*COLUMNS, "values", "seen", "timed", "fs", "keys", "errors", "nodes")

    process: NDArray[np.int64]
    invoked: NDArray[np.int64]
    completed: NDArray[np.int64]
    outcome: NDArray[np.int8]
    f: NDArray[np.int32]
    key: NDArray[np.int32]
    error: NDArray[np.int32]
    node: NDArray[np.int32]
    server: NDArray[np.int32]
    scheduled: NDArray[np.int64]
    index: NDArray[np.int64]
    values: Values
    seen: dict[int, tuple[Any, ...]]
    timed: bool
    fs: tuple[str, ...]
    keys: tuple[Key, ...]
    errors: tuple[str, ...]
    nodes: tuple[str, ...]

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> History:
        """The history of these operations, put in the order of their invocation (stable)."""
        ops = sorted(operations, key=lambda op: op.invoked)
        self = cls()
        self.timed = True
        n = len(ops)
        self.process = np.fromiter((op.process for op in ops), np.int64, n)
        self.invoked = np.fromiter((op.invoked for op in ops), np.int64, n)
        self.completed = np.fromiter((NEVER if op.completed is None else op.completed for op in ops), np.int64, n)
        self.outcome = np.fromiter((OUTCOMES.index(op.outcome) for op in ops), np.int8, n)
        self.scheduled = np.fromiter((NEVER if op.scheduled is None else op.scheduled for op in ops), np.int64, n)
        self.index = np.fromiter((i if op.index < 0 else op.index for i, op in enumerate(ops)), np.int64, n)
        self.f, self.fs = _codes([op.f for op in ops])
        self.key, self.keys = _codes([op.key for op in ops])
        self.error, self.errors = _codes([op.error for op in ops])
        homes_servers, self.nodes = _codes([op.node for op in ops] + [op.server for op in ops])
        self.node, self.server = homes_servers[:n], homes_servers[n:]
        self.values = packed(op.value for op in ops)
        self.seen = {i: op.seen for i, op in enumerate(ops) if op.seen}
        return self

    def __len__(self) -> int:
        return len(self.process)

    def __iter__(self) -> Iterator[Operation]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, i: int) -> Operation:
        def name(codes: NDArray[np.int32], names: tuple[Any, ...]) -> Any:
            return None if codes[i] < 0 else names[codes[i]]

        return Operation(
            process=int(self.process[i]),
            f=self.fs[self.f[i]],
            value=self.values[i],
            key=name(self.key, self.keys),
            outcome=OUTCOMES[self.outcome[i]],
            invoked=int(self.invoked[i]),
            completed=None if self.completed[i] == NEVER else int(self.completed[i]),
            error=name(self.error, self.errors),
            seen=self.seen.get(i, ()),
            node=name(self.node, self.nodes),
            server=name(self.server, self.nodes),
            scheduled=None if self.scheduled[i] == NEVER else int(self.scheduled[i]),
            index=int(self.index[i]),
        )

    def answered(self) -> NDArray[np.bool_]:
        """Which rows the database decided: `ok`, or a `cas` refused because another value was there."""
        mismatch = self.errors.index("mismatch") if "mismatch" in self.errors else -2
        decided: NDArray[np.bool_] = (self.outcome == OK) | ((self.outcome == FAIL) & (self.error == mismatch))
        return decided

    def select(self, rows: NDArray[Any]) -> History:
        """The history of these rows (a boolean mask, or positions in ascending order); names keep their codes."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        other = History()
        for column in COLUMNS:
            setattr(other, column, getattr(self, column)[at])
        other.timed = self.timed
        other.fs, other.keys, other.errors, other.nodes = self.fs, self.keys, self.errors, self.nodes
        other.values = self.values.take(at)
        other.seen = {new: self.seen[old] for new, old in enumerate(at.tolist()) if old in self.seen} if self.seen else {}
        return other

    def by_key(self) -> Iterator[tuple[Key, NDArray[np.int64]]]:
        """Every key with the rows of its operations, ascending; the operations without a key come as key None."""
        order = np.argsort(self.key, kind="stable")
        ends = np.flatnonzero(np.diff(self.key[order])) + 1
        for rows in np.split(order, ends) if len(order) else ():
            code = int(self.key[rows[0]])
            yield None if code < 0 else self.keys[code], rows


def _codes(names: Sequence[Any]) -> tuple[NDArray[np.int32], tuple[Any, ...]]:
    known: dict[Any, int] = {}
    codes = np.fromiter((-1 if name is None else known.setdefault(name, len(known)) for name in names), np.int32, len(names))
    return codes, tuple(known)
