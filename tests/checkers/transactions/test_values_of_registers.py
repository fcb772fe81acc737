"""Registers whose values are lists, and transactions that are neither of lists nor of registers alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import splitbrain
from splitbrain import Operation


def check(*transactions: list[Any]) -> splitbrain.Verdict:
    operations = [
        Operation(process=i, f="txn", value=value, invoked=10 * i, completed=10 * i + 5)
        for i, value in enumerate(transactions)
    ]
    return splitbrain.check(operations, "strict-serializable")


@pytest.mark.parametrize(("written", "read", "counts"), [
    ((5,), (5,), {}),
    ((5,), (7,), {"unwritten-read": 1}),
    ([1, None], [1, None], {}),
    ([1, None], [True, None], {"unwritten-read": 1}),
    (5, [5], {"unwritten-read": 1}),
    ([], [], {}),
    (float("nan"), float("nan"), {}),
    (0.0, -0.0, {}),
])  # fmt: skip
def test_a_list_in_a_register_is_one_value(written: Any, read: Any, counts: dict[str, int]) -> None:
    verdict = check([("w", "x", written)], [("r", "x", read)])
    assert (verdict.validity, verdict.counts) == ("invalid" if counts else "valid", counts)


def test_cycles_through_values_that_are_lists_are_found() -> None:
    assert check([("w", "x", [5]), ("w", "x", 6)], [("r", "x", [5])]).counts == {"G1b": 1}
    assert check([("w", "x", [5])], [("r", "x", [5])], [("r", "x", None)]).counts == {"G-single-realtime": 1}


def test_lists_in_registers_of_a_file(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"
    events = []
    for process, value in enumerate([[["w", "x", [5]], ["w", "y", 1]], [["r", "x", [6]], ["r", "y", 1]]]):
        events += [{"type": kind, "process": process, "f": "txn", "value": value} for kind in ("invoke", "ok")]
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    assert splitbrain.check_file(path, "serializable").verdict.counts == {"unwritten-read": 1}


def test_a_read_behind_an_own_write_is_wrong_inside_its_transaction_whoever_wrote_what_it_saw() -> None:
    """Read uncommitted (Adya's PL-1: no G0) says nothing of it, as the recorded verdicts have it."""
    assert check([("w", "x", 1), ("r", "x", "never written")]).counts == {"internal": 1}
    assert check([("w", "x", 1)], [("w", "x", 2), ("r", "x", 1)]).counts == {"internal": 1}


@pytest.mark.parametrize(("transactions", "told"), [
    ([[("append", "x", 5)], [("r", "x", 5)]], "returned 5"),
    ([[("append", "x", 5)], [("w", "y", 6)]], "not judged together"),
])  # fmt: skip
def test_what_is_neither_lists_nor_registers_proves_nothing(transactions: list[Any], told: str) -> None:
    verdict = check(*transactions)
    assert verdict.validity == "unknown" and told in verdict.reason
