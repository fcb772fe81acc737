"""Which workload says what of which promise: the table in the documentation, held against the models that are judged."""

from __future__ import annotations

import re

import pytest

from splitbrain.checkers.cases.social_feed import LIKES
from splitbrain.checkers.promises import BESIDE, DECIDING, PARTS, WORDS
from splitbrain.checkers.structures.bank import AT_ONCE, UP_TO_DATE
from splitbrain.checkers.structures.kept import MODEL as TRANSFERS
from splitbrain.checkers.transactions.lattice import LEVELS
from splitbrain.harness import registry
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.variant import Promise
from splitbrain.harness.plan import Plan
from tests.conftest import ROOT

BY_ANSWERS = {"append": LEVELS, "wr": LEVELS, "bank": (AT_ONCE, UP_TO_DATE, TRANSFERS), "social-feed": (LIKES,)}
"""Models of which a workload's checker speaks only where there is something to judge by them."""

TABLE = re.findall(r"^\| (`[^|]+) \| ([^|]*) \| ([^|]*) \| ([^|]*) ?\|$", (ROOT / "docs" / "verdicts.md").read_text(), re.M)
TOLD = {name: cells for names, *cells in TABLE for name in re.findall("`([^`]+)`", names)}


def models(workload: str) -> set[str]:
    plan = Plan(database="reference", variant="majority", workload=workload, nodes=3, seed=1)
    made = registry.look_up("workloads", workload)(plan, frozenset({"registers", "compare-and-set"}))
    nothing = Recording(history=History.of([]), nodes=("n1",))
    judged = {one.model for checker in made.checkers() for one in checker.check(nothing).standings}
    return judged | set(BY_ANSWERS.get(workload, ()))


@pytest.mark.parametrize("workload", registry.names("workloads"))
def test_the_table_of_the_documentation_is_what_claims_are_judged_by(workload: str) -> None:
    found = models(workload)
    assert found <= BESIDE.union(*DECIDING.values(), *PARTS.values()), "no promise, and not beside all"
    promises: tuple[Promise, ...] = ("linearizable", "no-lost-write")
    for promise, told in zip(promises, TOLD[workload], strict=False):
        decides, shows = found & DECIDING[promise], found & PARTS[promise]
        expected = "decides" if decides else "shows a part" if shows else "-"
        assert told.strip().partition(",")[0] == expected, (workload, promise)
    assert ("isolation" in TOLD[workload][2]) is bool(found & (DECIDING["snapshot-isolation"] | PARTS["snapshot-isolation"]))
    assert ("causal" in TOLD[workload][2] or "sessions" in TOLD[workload][2]) is bool(
        found - set(LEVELS) & (DECIDING["causal"] | PARTS["causal"]))


def test_every_promise_has_words_and_models_and_none_is_in_part_what_decides_it() -> None:
    for promise in WORDS:
        assert promise in ("converges", "available") or DECIDING[promise], promise
        assert not DECIDING.get(promise, frozenset()) & PARTS.get(promise, frozenset()), promise
        assert not BESIDE & (DECIDING.get(promise, frozenset()) | PARTS.get(promise, frozenset())), promise
