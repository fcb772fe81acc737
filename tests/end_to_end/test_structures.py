"""Whole runs of queues, locks and identifiers: lost, doubled and held twice where replicas are asynchronous, right where a
majority keeps the log, and what only a fence can keep out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import Ran

Splitbrain = Callable[..., Ran]

SHORT = """
time = 16.0
baseline = 3.0
fault = 8.0
between = 4.0
"""
"""A plan of 16 s: one fault of 8 s."""


@pytest.mark.parametrize(("variant", "workload", "found"), [
    ("primary-async", "queue", "lost-element"),
    ("primary-async", "unique-ids", "duplicate-id"),
    ("fenced-primary", "queue", ""),
])
def test_what_a_fail_over_does_to_structures(
    splitbrain: Splitbrain, short: Path, variant: str, workload: str, found: str
) -> None:
    ran = splitbrain("test", "reference", "--variant", variant, "--workload", workload, "--nemesis", "partition-primary",
                     "--plan", short)
    assert ran.result.validity == ("invalid" if found else "valid"), ran.stdout
    assert not found or ran.result.counts.get(found, 0) > 0, ran.stdout


def test_a_lease_does_not_keep_two_holders_apart_and_a_fence_does(splitbrain: Splitbrain, short: Path) -> None:
    """A holder that is cut off for longer than its lease trusts its lock, while another takes it."""
    ran = splitbrain("test", "reference", "--variant", "fenced-primary", "--workload", "lock", "--nemesis", "halves",
                     "--plan", short)
    assert set(ran.result.counts) == {"double-hold"}, ran.stdout
    ran = splitbrain("test", "reference", "--variant", "fenced-primary", "--workload", "fenced-lock", "--nemesis", "halves",
                     "--plan", short)
    assert ran.result.validity == "valid" and "Two held a lock together" in ran.result.verdicts[0].reason, ran.stdout
