"""Which fault an anomaly belongs to."""

from __future__ import annotations

import pytest

from splitbrain.checkers.blame import blame
from splitbrain.harness.history.operation import Operation
from tests.checkers.scenes import fault

FAULTS = (
    fault(1, 0, 0, started=10, healed=20), fault(2, 0, 0, started=30, healed=40), fault(3, 0, 0, started=50, healed=None),
)


@pytest.mark.parametrize(("times", "blamed"), [
    ([(0, 9)], None), ([(0, 10)], 1), ([(20, 21)], 1), ([(21, 29)], 1), ([(15, 16), (35, 36)], 1), ([(5, 6), (35, 36)], 2),
    ([(41, 49)], 2), ([(5, None)], 1), ([(45, None)], 3), ([(90, 91)], 3), ([], None),
])
def test_the_first_fault_that_an_operation_was_open_in(times: list[tuple[int, int | None]], blamed: int | None) -> None:
    ops = [Operation(process=1, f="read", invoked=a, completed=b) for a, b in times]
    assert blame(FAULTS, ops) == blamed
    assert blame(FAULTS[::-1], ops) == blamed
    assert blame((), ops) is None
