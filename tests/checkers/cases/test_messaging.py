"""Messages against the obvious way to judge them, device by device."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.cases.messaging import COPIES, MessagingChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording


def send(message: int, at: int, outcome: Any = "ok", copy: int = 0) -> Operation:
    return Operation(process=100 + at, f="send", key=0, value=message * COPIES + copy, outcome=outcome, invoked=10 * at,
                     completed=None if outcome == "info" else 10 * at + 5)


def read(copies: Sequence[int], at: int, device: int = 1) -> Operation:
    return Operation(process=device, f="read", key=0, value=tuple(copies), invoked=10 * at, completed=10 * at + 5)


def judge(operations: Sequence[Operation], *, deduplicated: bool = False) -> Verdict:
    return MessagingChecker(deduplicated=deduplicated).check(Recording(history=History.of(operations), nodes=("n1",)))


def figures(verdict: Verdict) -> dict[str, tuple[int, int]]:
    return {one.name: (one.least, one.most) for one in verdict.figures}


def copies(*messages: int) -> list[int]:
    return [message * COPIES for message in messages]


def test_messages_that_come_once_and_in_order_are_not_accused() -> None:
    """The third is never confirmed, and arrives all the same."""
    verdict = judge([send(1, 0), read(copies(1), 1), send(2, 2), read(copies(1, 2), 3), send(3, 4, "info"),
                     read(copies(1, 2, 3), 5)])
    assert verdict.validity == "valid" and not verdict.counts
    told = figures(verdict)
    assert told["messages confirmed"] == (2, 2) and told["messages never confirmed"] == (1, 1)
    assert told["messages never confirmed that arrived"] == (1, 1)
    assert told["confirmed messages that vanished"] == told["old messages that appeared as new"] == (0, 0)


def test_a_confirmed_message_that_nobody_finds_is_lost_and_an_old_one_appears_as_new() -> None:
    verdict = judge([send(1, 0), send(2, 1), send(3, 2), read(copies(3), 3), read(copies(3, 2), 4), read(copies(3), 4, 2)])
    assert verdict.counts == {"lost-element": 1, "reordered": 1}
    assert [one.state for one in verdict.standings] == ["refuted", "refuted"]
    for anomaly in verdict.anomalies:
        assert anomaly.identifier in judge(anomaly.operations).counts


def test_copies_are_shown_by_a_device_that_does_not_know_them_apart() -> None:
    operations = [send(1, 0, "info"), send(1, 1, copy=1), read([1 * COPIES, 1 * COPIES + 1], 3)]
    assert figures(judge(operations))["messages shown more than once"] == (1, 1)
    assert figures(judge(operations, deduplicated=True))["messages shown more than once"] == (0, 0)
    assert judge(operations).validity == "valid", "at least once is what was promised"


def test_inboxes_that_nobody_read_prove_nothing_and_other_functions_are_refused() -> None:
    early = judge([send(1, 0), read(copies(1), 1), send(2, 2)])
    assert (early.validity, [one.state for one in early.standings]) == ("unknown", ["undecided", "holds"]), early
    assert early.reason == "no inbox was read after its last message was confirmed: nothing is proven."
    verdict = judge([send(1, 0)])
    assert verdict.validity == "unknown" and figures(verdict)["confirmed messages that vanished"] == (0, 1)
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge([Operation(process=0, f="write", key=0, value=1, invoked=0, completed=1)])


SENT = st.lists(st.sampled_from(["ok", "ok", "info", "fail"]), min_size=1, max_size=5)
READ = st.lists(st.tuples(st.integers(1, 2), st.sets(st.integers(1, 5)), st.integers(0, 12)), max_size=5)


@given(SENT, READ)
def test_it_judges_as_one_would_by_hand(sent: list[Any], reads: list[tuple[int, set[int], int]]) -> None:
    """Message n is sent at 2n; a device reads at odd moments, one read at a time."""
    sends = [send(message, 2 * message, outcome) for message, outcome in enumerate(sent, 1)]
    looks, taken = [], set[tuple[int, int]]()
    for device, shown, at in reads:
        if (device, at) not in taken:
            taken.add((device, at))
            looks.append(read(copies(*(one for one in sorted(shown) if one <= len(sent))), 2 * at + 1, device))
    looks.sort(key=lambda one: one.invoked)
    confirmed = [message for message, outcome in enumerate(sent, 1) if outcome == "ok"]
    late = 0
    for device in (1, 2):
        known: set[int] = set()
        for look in (one for one in looks if one.process == device):
            new = {one // COPIES for one in look.value} - known
            late += sum(message in confirmed and any(other > message for other in known) for message in new)
            known |= new
    end = [one for one in looks if not confirmed or one.invoked > 20 * max(confirmed) + 5]
    lost = [one for one in confirmed if end and not any(one * COPIES in look.value for look in end)]
    verdict = judge([*sends, *looks])
    assert verdict.counts.get("reordered", 0) == late and verdict.counts.get("lost-element", 0) == len(lost)
    told = figures(verdict)
    assert told["messages confirmed"][0] == len(confirmed)
    assert told["confirmed messages that vanished"] == (len(lost), len(lost) if end else len(confirmed))
    for anomaly in verdict.anomalies:
        assert anomaly.identifier in judge(anomaly.operations).counts
