"""Histories for the tests of transactions: from the lines of the brute-forced ones, and from plain lists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from splitbrain import Operation
from splitbrain.harness.history.history import History

SHARED = Path(__file__).resolve().parents[4] / "shared" / "histories" / "transactions"


def of_line(told: dict[str, Any]) -> History:
    """The history in one line of `generated/small-*.jsonl`."""
    return History.of([
        Operation(
            process=one["session"], f="txn", value=tuple(tuple(micro) for micro in one["ops"]), outcome=one["status"],
            invoked=one["invoked"], completed=one["completed"],
        )
        for one in told["transactions"]
    ])


def serial(*transactions: tuple[int, list[tuple[Any, ...]]]) -> History:
    """Acknowledged transactions one after another, each of a process."""
    return History.of([
        Operation(process=process, f="txn", value=tuple(micros), invoked=2 * at, completed=2 * at + 1)
        for at, (process, micros) in enumerate(transactions)
    ])


def concurrent(*transactions: list[tuple[Any, ...]]) -> History:
    """Acknowledged transactions, all at the same time, each of a process of its own."""
    return History.of([
        Operation(process=at, f="txn", value=tuple(micros), invoked=at, completed=1000 + at)
        for at, micros in enumerate(transactions)
    ])
