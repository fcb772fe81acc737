"""What calls failed of is counted by reason, with the words of the servers."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.measures.failures import failures
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation

_ANSWERS = st.tuples(
    st.sampled_from(("ok", "fail", "info")), st.sampled_from((None, "timeout", "not-primary", MISMATCH)),
    st.sampled_from((None, "READONLY You can't write", "MISCONF disk")),
)


@given(st.lists(_ANSWERS, max_size=30))
def test_every_call_that_was_not_decided_is_counted_and_the_commonest_text_is_shown(answers: list[Any]) -> None:
    operations = [
        Operation(process=at, f="write", value=at, outcome=outcome, error=error, detail=detail, invoked=at, completed=at + 1)
        for at, (outcome, error, detail) in enumerate(answers)
    ]
    failed = [op for op in operations if op.outcome != "ok" and op.error and not op.answered]
    found = failures(History.of(operations))
    assert sum(one.times for one in found) == len(failed)
    assert [one.times for one in found] == sorted((one.times for one in found), reverse=True)
    for one in found:
        texts = [op.detail for op in failed if (op.outcome, op.error) == (one.outcome, one.reason)]
        assert one.times == len(texts)
        told = [text for text in texts if text]
        assert one.details == len(set(told))
        assert one.detail == "" if not told else told.count(one.detail) == max(map(told.count, told))
