"""Sessions of transactions without any times, as the checkers of transactions write them: what their formats share."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.history.history import OK, History
from splitbrain.harness.history.micros import READ, WRITE, Micro, Micros, MicrosPacker
from splitbrain.harness.history.values import NIL

_BATCH = 32768


class Sessions:
    """Transactions on their way into a history, an operation at a time: each session's in the order in which they begin."""

    def __init__(self) -> None:
        self.sessions = array("q")
        """The session of each transaction."""
        self._outcomes = bytearray()
        self._owners = array("q")
        self._packer = MicrosPacker()
        self._batch: list[tuple[Micro]] = []

    def begin(self, session: int, outcome: int = OK) -> int:
        """A transaction of that session, with the code of its outcome: its number, from 0."""
        self.sessions.append(session)
        self._outcomes.append(outcome)
        return len(self._outcomes) - 1

    def add(self, transaction: int, f: str, key: Any, value: Any) -> None:
        """Take what a transaction did next: `r` or `w`."""
        self._owners.append(transaction)
        self._batch.append(((f, key, value),))
        if len(self._batch) >= _BATCH:
            self._pack()

    def whole(self, session: int, micros: Iterable[Micro], outcome: int = OK) -> None:
        """Take a transaction with all that it did."""
        number = self.begin(session, outcome)
        for f, key, value in micros:
            self.add(number, f, key, value)

    def history(self, notes: list[str], initial: int | None = None, first: int = 0) -> History:
        """The history. As nobody knows when transactions ran, none of them has a time at which it completed: of the order of
        time such a history says nothing.

        With `initial`, the value of the initial state, what is read of that becomes nil, and the transaction that wrote it is
        left out: `first` is taken for it where it only writes, and writes either the value `initial`, or every key there is
        (three at least) with one and the same value, while nobody reads `initial`. A key that anybody else writes `initial`
        to has that as an ordinary value.
        """
        self._pack()
        micros, owner = self._packer.micros(), np.array(self._owners, np.int64)
        session, outcome = np.array(self.sessions, np.int64), np.frombuffer(bytes(self._outcomes), np.int8)
        order = np.concatenate(([first], np.delete(np.arange(len(session)), first))) if len(session) else session
        if initial is not None and len(session) and _begun(micros, owner, first, bool(outcome[first] == OK), initial, notes):
            order = order[1:]
        return History.of_transactions(session[order], outcome[order], _grouped(micros, owner, len(session), order))

    def _pack(self) -> None:
        self._packer.pack(self._batch)
        self._batch = []


def _grouped(micros: Micros, owner: NDArray[np.int64], many: int, order: NDArray[np.int64]) -> Micros:
    """The micro-operations of transactions, of which there is one apiece, told by `owner`, of `many` transactions;
    `order` has the transactions that there are."""
    rows = np.argsort(owner, kind="stable")
    start = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=many))))
    whole = Micros(
        start.astype(np.int64), micros.f[rows], micros.key[rows], micros.value[rows], micros.list_start, micros.list_values,
        micros.keys, micros.objects,
    )
    return whole.take(order)


def _begun(
    micros: Micros, owner: NDArray[np.int64], first: int, committed: bool, initial: int, notes: list[str]
) -> bool:
    """Put nil in the place of what was read of the initial state; whether the transaction `first` wrote that, and nobody else
    wrote what it wrote."""
    reads, writes = micros.f == READ, micros.f == WRITE
    others = owner != first
    told = _told(micros, reads, writes, others, initial) if committed else None
    if told is not None:
        known, value = told
        notes.append(f"the first transaction writes the initial state of {np.count_nonzero(known)} keys")
        same = others & known[micros.key] & (micros.value == value[micros.key])
        if not (same & writes).any():
            micros.value[same & reads] = NIL
            return True
    ordinary = np.zeros(len(micros.keys), np.bool_)
    ordinary[micros.key[writes & (micros.value == initial)]] = True
    micros.value[reads & (micros.value == initial) & ~ordinary[micros.key]] = NIL
    return False


def _told(
    micros: Micros, reads: NDArray[np.bool_], writes: NDArray[np.bool_], others: NDArray[np.bool_], initial: int
) -> tuple[NDArray[np.bool_], NDArray[np.int64]] | None:
    """Which keys the first transaction writes as the initial state, and what; None where it does not."""
    rows = np.flatnonzero(~others)
    known, value = np.zeros(len(micros.keys), np.bool_), np.full(len(micros.keys), NIL)
    known[micros.key[rows]], value[micros.key[rows]] = True, micros.value[rows]
    if not len(rows) or not writes[rows].all() or np.count_nonzero(known) < len(rows):
        return None
    every = value[known]
    if (every == initial).all():
        return known, value
    seen = bool((reads & (micros.value == initial)).any())
    return (known, value) if len(known) > 2 and known.all() and (every == every[0]).all() and not seen else None
