"""Stores with a known fault: the injected kind is the one that is named, and nothing is called lost that was not."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability import engine as engine_module
from splitbrain.checkers.models.specifications import CasRegister
from tests.checkers.linearizability.stores import NAMES, Flaw, Story, tell, wrong

EACH = 80
"""Stories of every flaw; `make fuzz` tells many more."""


@pytest.mark.servers  # as long as one
@pytest.mark.parametrize("flaw", NAMES)
def test_what_is_said_of_a_store_is_true(flaw: Flaw, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SMALL", 0)
    names: Counter[str] = Counter()
    for seed in range(EACH):
        story = tell(random.Random(f"{flaw} {seed}"), flaw)
        assert wrong(story) == "", seed
        names.update(set(check(story.history, CasRegister(), course=story.course).counts))
    telling = {"lost write": "lost-write", "fork": "lost-write", "dirty read": "aborted-read"}.get(flaw, "stale-read")
    assert flaw == "none" or names[telling] >= EACH // 20, names


def test_the_oracle_can_tell_a_wrong_accusation(monkeypatch: pytest.MonkeyPatch) -> None:
    stories = [tell(random.Random(f"fork {seed}"), "fork") for seed in range(40)]
    honest = [story for story in stories if story.lost]
    assert len(honest) > 10
    slandered = [Story(story.flaw, story.operations, frozenset(), story.course, story.closing) for story in honest]
    assert any(wrong(story) for story in slandered)
