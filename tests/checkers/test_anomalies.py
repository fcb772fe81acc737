"""The table of anomalies: whole, in order, and without circles."""

from __future__ import annotations

import pytest

from splitbrain.checkers.anomalies import ANOMALIES, generalises, in_order, losing, rank, refutes_reads_only


def test_every_row_is_whole_and_leads_to_something_more_general_without_a_circle() -> None:
    for name, row in ANOMALIES.items():
        assert row.identifier == name and row.refutes and row.touches and row.refutes <= {"read", "write"}
        assert row.meaning.endswith(".") and row.meaning[0].isupper()
        chain = [name]
        for one in chain:
            chain += ANOMALIES[one].more_general
        assert name not in chain[1:] and chain[-1] in ("non-linearizable", "diverged")
        assert all(generalises(one, name) for one in chain) and not any(generalises(name, one) for one in chain[1:])


def test_what_is_gone_is_told_first_and_refutes_everything() -> None:
    ranks = [rank(name) for name in losing()]
    assert {"lost-write", "lost-element", "lost-append", "lost-transfer", "lost-update"} == set(losing())
    assert sorted(ranks) == [0, 1, 2, 3, 4]
    assert not any(refutes_reads_only((name,)) for name in losing())
    assert list(in_order({"mine": 1, "stale-read": 2, "diverged": 0, "lost-write": 3})) == ["lost-write", "stale-read", "mine"]


@pytest.mark.parametrize(("names", "only"), [
    (("stale-read",), True), (("stale-read", "reordered", "G-single-realtime"), True), (("stale-read", "split-brain"), False),
    (("somebody's own",), False),
])
def test_which_leave_the_writes_as_they_were(names: tuple[str, ...], only: bool) -> None:
    assert refutes_reads_only(names) is only
