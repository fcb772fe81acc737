"""A level that is asked for alone stands where it stands among all."""

from __future__ import annotations

import random

from splitbrain.checkers.budget import FOREVER
from splitbrain.checkers.transactions import checker
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.transactions.fuzz import random_registers

SOUGHT = [level for level in LEVELS if level in ("serializable", "snapshot-isolation", "consistent-view", "causal")]


def test_a_level_alone_stands_where_it_stands_among_all() -> None:
    seen = set()
    for seed in range(40):
        rng = random.Random(seed)
        history = History.of(random_registers(rng))
        states = checker.find(history, FOREVER).states
        level = rng.choice(SOUGHT)
        verdict = checker.check(history, [level], alone=True)
        told = {one.model: one.state for one in verdict.standings}
        if not told or verdict.reason.startswith("no transaction"):
            continue
        seen.add(told[level])
        assert told[level] == states[level], seed
        assert verdict.complete == (told[level] != "undecided")
        # What is told of others follows from it, and is nothing else than what is found where they are looked at.
        assert all(states[one] == state for one, state in told.items() if state != "undecided"), seed  # type: ignore[index]
    assert {"holds", "refuted"} <= seen


def test_consistent_view_is_refuted_by_the_rule_of_its_other_name() -> None:
    history = History.of([
        Operation(process=process, f="txn", value=micros, invoked=invoked, completed=completed)
        for process, invoked, completed, micros in (
            (1, 1, 10, (("w", 1, 1), ("r", 2, None))), (0, 2, 13, (("r", 0, None), ("w", 0, 1))),
            (1, 14, 30, (("w", 0, 4), ("r", 1, 1))), (0, 15, 23, (("w", 0, 3), ("r", 1, 2))),
            (0, 24, 34, (("r", 1, 1), ("r", 0, 1), ("w", 0, 5), ("w", 1, 2))),
        )
    ])
    verdict = checker.check(history, ["consistent-view"], alone=True)
    assert verdict.validity == "invalid" and verdict.counts
