"""Judged in parts, as judged at once."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitbrain.checkers.linearizability import check, check_parts
from splitbrain.checkers.linearizability import parts as parts_module
from splitbrain.checkers.linearizability.parts import partition
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.history import History
from tests.checkers.linearizability.random_histories import register_history


def history(seed: int, keys: int) -> History:
    """Registers of several keys, some of them broken, and perhaps one of no name."""
    rng = random.Random(seed)
    names = [None, *range(keys)] if rng.random() < 0.3 else list(range(keys))
    return History.of([
        msgspec.structs.replace(one, key=key, process=one.process + 10 * at)
        for at, key in enumerate(names) for one in register_history(rng, broken=0.2)
    ])


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 40))
def test_a_partition_has_every_row_once_and_no_key_twice(seed: int, keys: int, operations: int) -> None:
    whole = history(seed, keys)
    found = partition(whole, operations)
    assert sorted(row for rows in found for row in rows.tolist()) == list(range(len(whole)))
    assert all((rows[1:] > rows[:-1]).all() for rows in found)
    codes = [set(whole.key[rows].tolist()) for rows in found]
    assert sum(map(len, codes)) == len(set().union(*codes))
    assert all(len(rows) <= operations or len(of) == 1 for rows, of in zip(found, codes, strict=True))


@pytest.mark.parametrize("operations", [1, 20])
def test_the_verdict_is_that_of_all_at_once(operations: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts_module._Here, "operations", operations)
    seen = set()
    for seed in range(60):
        whole = history(seed, 5)
        once, apart = check(whole, CasRegister()), check_parts(whole, CasRegister(), 60.0)
        seen.add(once.validity)
        assert (apart.validity, apart.reason, apart.counts, apart.standings) == (
            once.validity, once.reason, once.counts, once.standings)
        assert (apart.coverage.keys, apart.coverage.refuted, apart.coverage.operations) == (
            once.coverage.keys, once.coverage.refuted, once.coverage.operations)
        assert {(one.identifier, one.operations) for one in apart.anomalies} == {
            (one.identifier, one.operations) for one in once.anomalies}
        assert {name: set(times) for name, times in apart.moments.items()} == {
            name: set(times) for name, times in once.moments.items()}
    assert seen == {"valid", "invalid"}
