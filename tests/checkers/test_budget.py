"""Budgets: what is looked at while judging is long."""

import subprocess
import sys
import time

import pytest

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted

GROWING = """
from splitbrain.checkers.budget import Budget, Exhausted
small = Budget.of(60, memory=1 << 20)
small.check()
block = bytearray(64 << 20)
block[::4096] = b"x" * len(block[::4096])
try:
    small.check()
except Exhausted as reason:
    print(reason)
"""


def test_a_budget_says_which_limit_was_hit() -> None:
    with pytest.raises(Exhausted, match="time limit of 0 s"):
        Budget.of(0).check()
    FOREVER.check()
    # In a process of its own: here the system may take back what earlier tests left just while the block comes.
    told = subprocess.run([sys.executable, "-c", GROWING], capture_output=True, text=True, timeout=60)
    assert (told.stdout, told.stderr) == ("memory limit of 1 MiB\n", "")


def test_a_part_of_a_budget_never_ends_later_and_what_is_still_to_be_told_may() -> None:
    whole = Budget.of(10)
    part = whole.within(1, "time limit for one thing")
    assert part.deadline < whole.deadline and part.limit == "time limit for one thing"
    assert whole.within(100) == whole
    assert Budget.of(-1).over and not Budget.of(-1).at_least(5).over


def test_time_that_others_have_computed_is_none_of_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, computing = Budget.of(60), Budget.of(60, computed=True)
    later = time.monotonic() + 100
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert waiting.over and not computing.over and 0 < computing.within(5, "x").left <= 5
    used = time.process_time() + 100
    monkeypatch.setattr(time, "process_time", lambda: used)
    with pytest.raises(Exhausted, match="time limit of 60 s of processor time"):
        computing.check()
