"""A little of the fuzzer in every test run."""

from __future__ import annotations

import random

import pytest

from tests.checkers.transactions import fuzz


@pytest.mark.parametrize("seed", range(60))
def test_random_histories_are_judged_as_the_levels_are_defined(seed: int) -> None:
    assert not fuzz.agrees(fuzz.random_registers(random.Random(seed)))
    assert not fuzz.lists_agree(random.Random(seed))
