"""A small run of the differential fuzzer; `make fuzz` makes a large one."""

from __future__ import annotations

import pytest

from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import MODELS, Model
from splitbrain.harness.history.history import History
from tests.checkers.linearizability.fuzz import KINDS, Kind, Outcomes, complaint, fuzz, fuzz_wild, histories


@pytest.mark.servers  # as long as one
@pytest.mark.parametrize("name", sorted(KINDS))
def test_every_fast_way_agrees_with_the_plain_search(name: str) -> None:
    seen = fuzz(name, seed=20_000, count=800)
    judged = seen.valid + seen.invalid
    assert seen.invalid > 0.15 * judged and seen.valid > 0.3 * judged, seen
    assert seen.passed < 0.06 * (judged + seen.passed), seen


@pytest.mark.parametrize("name", sorted(MODELS))
def test_check_agrees_with_the_plain_search_on_wild_histories(name: str) -> None:
    tally = fuzz_wild(name, seed=70_000, count=500 if name == "cas-register" else 100)
    assert tally["invalid"] and tally["valid"]


def always_valid(history: History, model: Model) -> Decision | None:
    return Decision(method="fake", valid=True)


def blames_the_first(history: History, model: Model) -> Decision | None:
    """Right about the verdict, wrong about the evidence."""
    from splitbrain.checkers.linearizability.search.plain import search

    valid = search(history, model).valid
    return Decision(method="fake", valid=valid, rows=() if valid else (0,), identifier="duplicate", sentence="it did")


@pytest.mark.parametrize(("way", "told"), [(always_valid, "says"), (blames_the_first, "evidence alone")])
def test_the_fuzzer_finds_a_wrong_verdict_and_wrong_evidence(way: object, told: str) -> None:
    kind = KINDS["queue"]
    broken = Kind(kind.model, kind.object, (way,), kind.readers)  # type: ignore[arg-type]
    complaints = [complaint(broken, history, Outcomes()) for _, history in histories(broken, 1, 200)]
    assert any(told in text for text in complaints)


def test_a_seed_makes_the_same_history_again() -> None:
    for kind in KINDS.values():
        [(_, once)] = histories(kind, 4711, 1)
        [(_, again)] = histories(kind, 4711, 1)
        assert list(once) == list(again)
