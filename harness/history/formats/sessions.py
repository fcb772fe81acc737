"""What the formats of transactions without times share: sessions of transactions, and the initial state that some of them
write."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from splitbrain.harness.history.history import History, Table
from splitbrain.harness.history.operation import Operation

_BATCH = 8192


@dataclass
class Transaction:
    """A transaction on its way into a history: its session, its micro-operations, and whether it committed."""

    session: int
    micros: list[tuple[str, Any, Any]] = field(default_factory=list)
    committed: bool = True

    @property
    def writes_only(self) -> bool:
        return all(f == "w" for f, _, _ in self.micros)


def history(transactions: Iterable[Transaction]) -> History:
    """The history of these transactions: each session's in the order in which they come. As nobody knows when they ran,
    none of them has a time at which it completed: of the order of time such a history says nothing."""
    table = Table()
    batch: list[Operation] = []
    for number, one in enumerate(transactions):
        batch.append(Operation(
            process=one.session, f="txn", value=one.micros, outcome="ok" if one.committed else "fail", invoked=number,
        ))
        if len(batch) == _BATCH:
            table.extend(batch)
            batch = []
    table.extend(batch)
    built = table.history()
    built.timed = False
    return built


def with_initial_state(transactions: list[Transaction], initial: Any, notes: list[str]) -> list[Transaction]:
    """These transactions with nil for what is read of the initial state, and without the transaction that wrote it.

    The first transaction is taken for the initial state where it only writes, and writes either the value `initial`, or
    every key there is (three at least) with one and the same value, while nobody reads `initial`. A key that anybody else
    writes `initial` to has that as an ordinary value.
    """
    if transactions and (told := _initial(transactions[0], transactions, initial)):
        first, *others = transactions
        notes.append(f"the first transaction writes the initial state of {len(told)} keys")
        again = {(key, value) for one in others for f, key, value in one.micros if f == "w" and told.get(key, ...) == value}
        if not again:
            return [_renamed(one, told) for one in others]
        transactions = [first, *others]
    written = {key for one in transactions for f, key, value in one.micros if f == "w" and value == initial}
    keys = {key for one in transactions for _, key, _ in one.micros}
    return [_renamed(one, dict.fromkeys(keys - written, initial)) for one in transactions]


def _initial(first: Transaction, transactions: list[Transaction], initial: Any) -> dict[Any, Any]:
    """What the first transaction writes as the initial state, by key; empty where it does not."""
    told = {key: value for _, key, value in first.micros}
    if not first.committed or not first.writes_only or len(told) < len(first.micros):
        return {}
    if set(told.values()) == {initial}:
        return told
    keys = {key for one in transactions for _, key, _ in one.micros}
    seen = any(f == "r" and value == initial for one in transactions for f, _, value in one.micros)
    return told if len(keys) > 2 and keys == set(told) and len(set(told.values())) == 1 and not seen else {}


def _renamed(one: Transaction, initial: dict[Any, Any]) -> Transaction:
    one.micros = [
        (f, key, None if f == "r" and key in initial and initial[key] == value else value) for f, key, value in one.micros
    ]
    return one
