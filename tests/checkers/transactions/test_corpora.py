"""Others' histories with known verdicts, and small ones whose levels were decided by brute force."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import checker
from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import formats
from tests.checkers.transactions.histories import SHARED, of_line

pytestmark = pytest.mark.skipif(not SHARED.exists(), reason="the recorded histories are not here")

ENTRIES: list[dict[str, Any]] = (
    [entry for entry in json.loads((SHARED / "verdicts.json").read_text()) if entry.get("levels")] if SHARED.exists() else []
)
NAMES = {
    # Elle also names what follows from what it found; here a cycle is told where nothing weaker explains it.
    "elle-tests/list-g1b.edn": {"G1b"},
    "elle-tests/list-unobserved-write-g0.edn": {"G0"},
    "elle-tests/list-duplicate-elements.edn": {"duplicate-elements", "G1c"},
    "elle-tests/list-g-single.edn": {"G-single"},
    "elle-tests/list-g-nonadjacent.edn": {"long-fork"},
    "elle-tests/list-strong-si.edn": {"G-single-realtime"},
    "elle-tests/list-g0.edn": {"G0"},
    "elle-tests/list-dirty-update.edn": {"dirty-update"},
    "elle-tests/list-future-read.edn": {"future-read"},
    "elle-tests/wr-g1a.edn": {"G1a"},
    "elle-tests/wr-internal.edn": {"non-repeatable-read"},
    "elle-tests/wr-wfr-g-single.edn": {"G-single"},
}


@pytest.mark.servers  # as long as one
@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry["file"])
def test_every_level_is_as_published_or_undecided(entry: dict[str, Any]) -> None:
    history = formats.read(SHARED / entry["file"]).history
    found = checker.find(history, Budget.of(20))
    expected = {level: told["holds"] for level, told in entry["levels"].items() if told["holds"] is not None}
    wrong = {
        level: found.states[level]
        for level, holds in expected.items()
        if found.states[level] not in ("undecided", "holds" if holds else "refuted")
    }
    assert not wrong
    if entry["file"] in NAMES:
        named = {cycle.identifier for cycle in found.cycles} | {one.identifier for one in found.inference.problems}
        assert named == NAMES[entry["file"]]


@pytest.mark.servers  # as long as one
@pytest.mark.parametrize("name", ["small-lists", "small-registers"])
def test_every_level_of_small_histories_is_as_brute_force_says(name: str) -> None:
    undecided = count = 0
    for line in (SHARED / "generated" / f"{name}.jsonl").read_text().splitlines():
        told = json.loads(line)
        found = checker.find(of_line(told), Budget.of(20))
        for level, state in found.states.items():
            assert state == "undecided" or level in told["holds" if state == "holds" else "fails"], (told["id"], level)
            undecided += state == "undecided"
            count += 1
    assert undecided < 0.02 * count


def test_a_broken_line_is_told_with_its_place(tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text("w(1,1,0,0)\nr(1,1,0)\n")
    with pytest.raises(HistoryError, match=r":2:1: expected r\(key,value,session,transaction\)"):
        formats.read(path)
