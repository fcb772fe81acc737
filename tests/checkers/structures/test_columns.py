"""The fast ways of the checkers of structures say what the plain ones do: integers read in bulk or one by one, reads of an
element looked at a few at a time or all."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from bench.structures import KINDS, operations
from splitbrain import Operation
from splitbrain.checkers.structures import set_full
from splitbrain.checkers.structures.columns import coded_beside, records
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL

SMALL = st.integers(-(1 << 31), (1 << 31) - 1)
NESTED = st.recursive(SMALL, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=30)
OTHER = st.sampled_from([None, True, 1.5, "i", b"(", 1 << 31, -(1 << 31) - 1, 1 << 70, [1], frozenset([1]), {1: 2}, object()])


def flat(value: Any) -> list[tuple[bool, int]]:
    if isinstance(value, int):
        return [(True, value)]
    return [(False, len(value)), *(record for part in value for record in flat(part))]


@settings(max_examples=50)
@given(st.lists(st.lists(NESTED, max_size=5).map(tuple), max_size=5))
def test_tuples_of_integers_are_records(values: list[Any]) -> None:
    found = records(values)
    assert found is not None
    told = list(zip(found.numbers.tolist(), found.number.tolist(), strict=True))
    assert told == [record for value in values for record in flat(value)]


@settings(max_examples=50)
@given(st.lists(NESTED, max_size=5), OTHER, st.lists(NESTED, max_size=5))
def test_anything_else_is_not(before: list[Any], other: Any, after: list[Any]) -> None:
    assert records([(*before, other, *after)]) is None
    assert records([(1, 2), ((*before, (other, 3)), *after)]) is None


@settings(max_examples=200)
@given(st.data())
def test_what_lists_show_has_the_codes_of_what_was_put_in(data: st.DataObject) -> None:
    low = data.draw(st.sampled_from([0, -(1 << 31), 1 << 40, NIL + 1]))
    owned = data.draw(st.booleans(), "every number is one key's")
    number = st.integers(0, 11).map(lambda at: low + at)
    key = st.integers(-1, 2)
    pair = number.map(lambda one: ((one - low) % 4 - 1, one)) if owned else st.tuples(key, number | st.just(NIL))
    parts = data.draw(st.lists(st.lists(pair, max_size=12), min_size=1, max_size=2))
    known = sorted({pair for part in parts for pair in part})
    lists = []
    for owner in data.draw(st.lists(key, max_size=5)):
        mine = [one for of, one in known if of == owner] if owned else [*range(low, low + 14), NIL]
        lists.append((owner, data.draw(st.lists(st.sampled_from(mine), max_size=6)) if mine else []))
    listed = [(owner, one) for owner, shown in lists for one in shown]
    there = sorted({pair for pair in [*known, *listed] if pair[1] != NIL})

    codes, shown, many = coded_beside(
        [(np.array([of for of, _ in part], np.int32), np.array([one for _, one in part], np.int64)) for part in parts],
        np.array([owner for owner, _ in lists], np.int32), np.array([len(told) for _, told in lists], np.int64),
        np.array([one for _, one in listed], np.int64),
    )
    assert many == len(there)
    for expected, found in [*zip(parts, codes, strict=True), (listed, shown)]:
        assert found.tolist() == [there.index(pair) if pair[1] != NIL else -1 for pair in expected]


def spoiled(kind: str, seed: int) -> list[Operation]:
    """A history some of whose reads were told too little, too much, twice, or in another order."""
    rng = random.Random(seed)
    found = []
    for operation in operations(kind, rng.choice((40, 300)), 0.05, seed=seed):
        if rng.random() < 0.02:
            operation = replace(operation, outcome=rng.choice(("info", "fail")))
        elif operation.f == "read" and rng.random() < 0.1:
            since, told = operation.value if kind == "watch" else (None, operation.value)
            parts = list(told)
            strange = (rng.randrange(1, 100), rng.randrange(1, 200)) if kind == "watch" else rng.randrange(1, 400)
            parts.insert(rng.randrange(len(parts) + 1), rng.choice([*parts, strange]))
            del parts[rng.randrange(len(parts))]
            parts[:2] = reversed(parts[:2])
            told = (*parts, strange) if rng.random() < 0.3 else tuple(parts)
            operation = replace(operation, value=(since, told) if kind == "watch" else told)
        found.append(operation)
    return found


def judged(kind: str, recorded: list[Operation]) -> Verdict:
    return KINDS[kind][1]().check(Recording(history=History.of(recorded), nodes=()))


def told(verdict: Verdict) -> Any:
    """What both ways must agree on: all but how values are spelled, and in which order elements come."""
    moments = {
        name: sorted((one.began, one.seen, one.lost) for one in of_name) for name, of_name in verdict.moments.items()
    }
    return verdict.validity, verdict.counts, moments, verdict.standings, verdict.staleness


@pytest.mark.parametrize("kind", ["set-full", "queue", "watch"])
@pytest.mark.parametrize("spell", [lambda number: f"n{number:09}", lambda number: number + (1 << 40)], ids=["words", "large"])
def test_elements_are_judged_alike_whatever_they_are(kind: str, spell: Any) -> None:
    def spelled(operation: Operation) -> Operation:
        value = operation.value
        if operation.f != "read":
            return operation if value is None else replace(operation, value=spell(value))
        if kind == "watch":
            return replace(operation, value=(value[0], tuple((revision, spell(one)) for revision, one in value[1])))
        return replace(operation, value=tuple(map(spell, value)))

    named: set[str] = set()
    for seed in range(40):
        recorded = spoiled(kind, seed)
        verdict = judged(kind, recorded)
        assert told(verdict) == told(judged(kind, list(map(spelled, recorded)))), seed
        named |= set(verdict.counts)
    assert len(named) >= 4


@pytest.mark.parametrize("steps", [0, 1])
def test_sets_are_judged_alike_however_many_reads_are_looked_at(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    recorded = [spoiled("set-full", seed) for seed in range(40)]
    before = [told(judged("set-full", one)) for one in recorded]
    monkeypatch.setattr(set_full, "_STEPS", steps)
    assert [told(judged("set-full", one)) for one in recorded] == before
    assert sum(bool(counts) for _, counts, *_ in before) > 30
