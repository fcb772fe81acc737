"""History: the operations of a run in columns, so that a million of them are small and fast to judge."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.columns import Columns, arranged
from splitbrain.harness.history.micros import APPEND, READ, UNKNOWN, WRITE, Micros, OperationsPacker
from splitbrain.harness.history.names import NO_NAME, Names
from splitbrain.harness.history.operation import KINDS, Key, Kind, Operation, Outcome
from splitbrain.harness.history.values import MICROS, NIL, Values

_T = TypeVar("_T")

OK, FAIL, INFO = 0, 1, 2
OUTCOMES: tuple[Outcome, ...] = ("ok", "fail", "info")
_OUTCOME_CODES = {name: code for code, name in enumerate(OUTCOMES)}
KIND_CODES: dict[Kind | None, int] = {None: -1} | {name: code for code, name in enumerate(KINDS)}
NEVER = np.iinfo(np.int64).max
"""`completed` of an operation that no answer ever came for."""

COLUMNS = ("process", "invoked", "completed", "outcome", "f", "key", "error", "node", "server", "scheduled", "index", "kind")
"""The columns that are plain arrays."""


class History:
    """Operations in columns, one row each, in the order of their invocation. Immutable by agreement.

    `process`, `invoked` and `completed` are int64 (`completed` is `NEVER` where no answer came); `outcome` is int8 (`OK`,
    `FAIL`, `INFO`); `kind` is int8, the place in `KINDS` (-1: nobody told it, see `reads`); `f`, `key`, `error`, `node` and
    `server` are int32 codes into the tuples `fs`, `keys`, `errors` and `nodes` (-1: none). `values` are the operations' values,
    themselves in columns; `seen` maps a row to what a refused `cas` reported, and `details` to what the server said of a
    failure in its own words; `scheduled` is int64, `NEVER` where the load was a closed loop; `index` is the number that the
    recording gave the operation, so that a part of a history still names it. `timed` says that `invoked` and `completed` are
    nanoseconds; else they are positions in a file that tells no times, or none that can be trusted.
    """

    __slots__ = (*COLUMNS, "values", "seen", "details", "timed", "fs", "keys", "errors", "nodes")

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
    kind: NDArray[np.int8]
    values: Values
    seen: dict[int, tuple[Any, ...]]
    details: dict[int, str]
    timed: bool
    fs: tuple[str, ...]
    keys: tuple[Key, ...]
    errors: tuple[str, ...]
    nodes: tuple[str, ...]

    @classmethod
    def of(cls, operations: Iterable[Operation]) -> History:
        """The history of these operations, put in the order of their invocation (stable)."""
        table = Table()
        table.extend(sorted(operations, key=lambda op: op.invoked))
        return table.history()

    @classmethod
    def of_transactions(cls, process: NDArray[np.int64], outcome: NDArray[np.int8], micros: Micros) -> History:
        """The history of transactions of which nobody knows when they ran, in the order in which each process ran its own."""
        many = len(process)
        history = cls()
        history.process, history.timed = process, False
        history.invoked = history.index = np.arange(many)
        history.completed = history.scheduled = np.full(many, NEVER)
        history.outcome = outcome
        history.f, history.kind = np.zeros(many, np.int32), np.full(many, -1, np.int8)
        history.key = history.error = history.node = history.server = np.full(many, -1, np.int32)
        history.fs, history.keys, history.errors, history.nodes = ("txn",) if many else (), (), (), ()
        history.seen, history.details = {}, {}
        told = micros.take(np.arange(many), outcome != OK) if many else None
        history.values = Values(np.full(many, MICROS, np.int8), np.full(many, NIL), np.zeros(many, np.int64), (), told)
        return history

    def __len__(self) -> int:
        return len(self.process)

    def __iter__(self) -> Iterator[Operation]:
        return (self[i] for i in range(len(self)))

    @property
    def micros(self) -> Micros | None:
        """The micro-operations of the transactions, one entry a row of the history; None where no operation is one."""
        return self.values.micros

    def __getitem__(self, i: int) -> Operation:
        def name(codes: NDArray[Any], names: tuple[Any, ...]) -> Any:
            return None if codes[i] < 0 else names[codes[i]]

        return Operation(
            process=int(self.process[i]),
            f=self.fs[self.f[i]],
            value=self._value(i),
            key=name(self.key, self.keys),
            outcome=OUTCOMES[self.outcome[i]],
            invoked=int(self.invoked[i]),
            completed=None if self.completed[i] == NEVER else int(self.completed[i]),
            error=name(self.error, self.errors),
            detail=self.details.get(i),
            kind=name(self.kind, KINDS),
            seen=self.seen.get(i, ()),
            node=name(self.node, self.nodes),
            server=name(self.server, self.nodes),
            scheduled=None if self.scheduled[i] == NEVER else int(self.scheduled[i]),
            index=int(self.index[i]),
        )

    def _value(self, i: int) -> Any:
        value, micros = self.values[i], self.micros
        if self.values.kind[i] != MICROS or self.outcome[i] != OK or micros is None:
            return value
        # Only in an acknowledged transaction a None would be taken for what was read.
        rows = slice(micros.start[i], micros.start[i + 1])
        untold = (micros.f[rows] == READ) & (micros.value[rows] == UNKNOWN)
        return tuple([one[:2] if hidden else one for one, hidden in zip(value, untold.tolist(), strict=True)])

    def reads(self) -> NDArray[np.bool_]:
        """Which rows only read, as whoever made the call told; where nobody told, those of the function `read`, and the
        transactions that write nothing."""
        told = self.kind >= 0
        known: NDArray[np.bool_] = self.kind == KIND_CODES["read"]
        if told.all():
            return known
        reads: NDArray[np.bool_] = self.f == (self.fs.index("read") if "read" in self.fs else NO_NAME)
        if self.micros is not None:
            wrote = np.concatenate(([0], np.cumsum((self.micros.f == WRITE) | (self.micros.f == APPEND))))
            start = self.micros.start
            reads |= (start[1:] > start[:-1]) & (wrote[start[1:]] == wrote[start[:-1]])
        return np.where(told, known, reads)

    def answered(self) -> NDArray[np.bool_]:
        """Which rows the database decided: `ok`, or a `cas` refused because another value was there."""
        mismatch = self.errors.index("mismatch") if "mismatch" in self.errors else -2
        decided: NDArray[np.bool_] = (self.outcome == OK) | ((self.outcome == FAIL) & (self.error == mismatch))
        return decided

    def ends_told(self) -> bool:
        """Whether it is told when the operations that succeeded completed."""
        return not ((self.outcome == OK) & (self.completed == NEVER)).any()

    def latencies(self) -> NDArray[np.int64]:
        """Nanoseconds until each call was over; where an open loop meant to call earlier than it could, from that moment on."""
        took: NDArray[np.int64] = self.completed - np.minimum(self.invoked, self.scheduled)
        return took

    def select(self, rows: NDArray[Any]) -> History:
        """The history of these rows (a boolean mask, or positions in ascending order); names keep their codes."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        other = History()
        for column in COLUMNS:
            setattr(other, column, getattr(self, column)[at])
        other.timed = self.timed
        other.fs, other.keys, other.errors, other.nodes = self.fs, self.keys, self.errors, self.nodes
        other.values = self.values.take(at)
        other.seen, other.details = _kept(self.seen, at), _kept(self.details, at)
        return other

    def on_clock(self, clock: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> History:
        """The same operations at the moments that another clock tells for theirs. It keeps their order, and `NEVER`."""
        other = self.select(np.ones(len(self), np.bool_))
        other.invoked, other.completed, other.scheduled = clock(self.invoked), clock(self.completed), clock(self.scheduled)
        return other

    def open_ended(self) -> History:
        """The same operations, of which those that may have happened (`info`) never completed: when a client gave up says
        nothing of when its call took effect."""
        other = copy.copy(self)
        other.completed = np.where(self.outcome == INFO, NEVER, self.completed)
        return other

    def by_key(self) -> Iterator[tuple[Key, NDArray[np.int64]]]:
        """Every key with the rows of its operations, ascending; the operations without a key come as key None."""
        order = np.argsort(self.key, kind="stable")
        ends = np.flatnonzero(np.diff(self.key[order])) + 1
        for rows in np.split(order, ends) if len(order) else ():
            code = int(self.key[rows[0]])
            yield None if code < 0 else self.keys[code], rows


def _kept(told: dict[int, _T], at: NDArray[Any]) -> dict[int, _T]:
    """What is told of some rows, of those at these positions, by their new numbers."""
    return {new: told[old] for new, old in enumerate(at.tolist()) if old in told} if told else {}


def moved(told: dict[int, _T], place: NDArray[np.int64]) -> dict[int, _T]:
    """What is told of some rows, each of which has gone to `place[row]`."""
    rows = place[np.fromiter(told, np.int64, len(told))]
    return dict(zip(rows.tolist(), told.values(), strict=True))


class Table:
    """Operations on their way into the columns of a History, a batch at a time."""

    def __init__(self) -> None:
        self._values = OperationsPacker()
        self._names = {name: Names() for name in ("f", "key", "error", "node")}
        self._parts = Columns()
        self._seen: dict[int, tuple[Any, ...]] = {}
        self._details: dict[int, str] = {}

    def __len__(self) -> int:
        return self._parts.rows

    def extend(self, operations: Sequence[Operation]) -> None:
        """Take operations in any order. Raises `OverflowError` for an integer of more than 64 bits but in a value."""
        n, ops = len(operations), operations
        part: dict[str, NDArray[Any]] = {
            "process": np.fromiter([op.process for op in ops], np.int64, n),
            "invoked": np.fromiter([op.invoked for op in ops], np.int64, n),
            "completed": np.fromiter([NEVER if op.completed is None else op.completed for op in ops], np.int64, n),
            "outcome": np.fromiter([_OUTCOME_CODES[op.outcome] for op in ops], np.int8, n),
            "f": self._names["f"].encode([op.f for op in ops]),
            "key": self._names["key"].encode([op.key for op in ops]),
            "error": self._names["error"].encode([op.error for op in ops]),
            "node": self._names["node"].encode([op.node for op in ops]),
            "server": self._names["node"].encode([op.server for op in ops]),
            "scheduled": np.fromiter([NEVER if op.scheduled is None else op.scheduled for op in ops], np.int64, n),
            "index": np.fromiter([op.index for op in ops], np.int64, n),
            "kind": np.fromiter([KIND_CODES[op.kind] for op in ops], np.int8, n),
        }
        values = self._values.pack([op.value for op in ops], part["f"] == self._names["f"].code("txn"))
        part |= {"form": values.kind, "first": values.first, "second": values.second}
        if any(map(attrgetter("seen"), ops)):
            self._seen |= {self._parts.rows + at: op.seen for at, op in enumerate(ops) if op.seen}
        if any(map(attrgetter("detail"), ops)):
            self._details |= {self._parts.rows + at: op.detail for at, op in enumerate(ops) if op.detail}
        # Most histories leave several columns empty: these weigh nothing until the end.
        for name, column in part.items():
            if n and (column == column[0]).all():
                part[name] = np.broadcast_to(column[0].copy(), n)
        self._parts.append(part)

    def column(self, name: str) -> NDArray[Any]:
        """A column of what was taken so far, in that order."""
        return self._parts.column(name)

    def history(self) -> History:
        """The history, in the order of invocation (stable). The table is empty then."""
        history = History()
        history.timed = True
        if not self._parts.rows:
            self.extend(())
        order = np.argsort(self.column("invoked"), kind="stable")
        sorted_already = bool((order[1:] > order[:-1]).all())
        columns = {}
        for name in self._parts.names():
            column = self._parts.take(name)
            columns[name] = column if sorted_already else arranged(column, order)
        form, first, second = columns.pop("form"), columns.pop("first"), columns.pop("second")
        transactions = columns["f"] == self._names["f"].code("txn")
        history.values = self._values.values(
            form, first, second, ok=columns["outcome"] == OK, answered=np.ones(len(form), np.bool_), transactions=transactions
        )
        for name, column in columns.items():
            setattr(history, name, column)
        unnamed = history.index < 0
        history.index[unnamed] = np.flatnonzero(unnamed)
        history.fs, history.keys, history.errors, history.nodes = (names.names() for names in self._names.values())
        history.seen, history.details = self._seen, self._details
        if not sorted_already and (self._seen or self._details):
            place = np.empty(len(order), np.int64)
            place[order] = np.arange(len(order))
            history.seen, history.details = moved(self._seen, place), moved(self._details, place)
        self._parts, self._seen, self._details = Columns(), {}, {}
        return history
