"""Banks: totals and balances."""

from __future__ import annotations

import pytest

from splitbrain.checkers.structures.bank import BankChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording


def judge(*operations: Operation) -> Verdict:
    return BankChecker(30).check(Recording(history=History.of(operations), nodes=("n1",)))


def read(*balances: object) -> Operation:
    return Operation(process=1, f="read", value=list(balances), invoked=10, completed=20)


TRANSFER = Operation(process=0, f="transfer", value=(0, 1, 5), invoked=0, completed=5)


@pytest.mark.parametrize(("balances", "counts", "states"), [
    ((10, 20, 0), {}, ["holds", "holds"]),
    ((10, 15, 0), {"wrong-total": 1}, ["refuted", "holds"]),
    ((35, -5, 0), {"negative-balance": 1}, ["refuted", "holds"]),
    ((40, -5, 0), {"wrong-total": 1, "negative-balance": 1}, ["refuted", "refuted"]),
])
def test_totals_and_balances(balances: tuple[int, ...], counts: dict[str, int], states: list[str]) -> None:
    verdict = judge(TRANSFER, read(*balances))
    assert (verdict.counts, [one.state for one in verdict.standings]) == (counts, states)
    assert verdict.validity == ("invalid" if counts else "valid")
    assert {name for one in verdict.anomalies for name in judge(*one.operations).counts} == set(counts)


def test_nothing_read_proves_nothing_and_other_reads_are_refused() -> None:
    assert judge(TRANSFER).validity == "unknown"
    with pytest.raises(UsageError, match="reads of balances"):
        judge(read("a"))
