"""What is judged in parts elsewhere is judged as it is here."""

from __future__ import annotations

import pickle
import random
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec
import pytest

from splitbrain import Operation
from splitbrain.checkers.budget import FOREVER
from splitbrain.checkers.transactions import checker, cycles
from splitbrain.checkers.transactions.spread import Answer
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from tests.checkers.transactions import fuzz


class Copies:
    """Does calls on copies of what they are given, as another machine does."""

    def __init__(self, edges: int) -> None:
        self.edges = edges
        self.calls = 0

    def each(
        self, call: Callable[..., Answer], works: Iterable[tuple[Any, ...]], seconds: float
    ) -> Iterator[Answer]:
        for work in works:
            self.calls += 1
            yield pickle.loads(pickle.dumps(call(*pickle.loads(pickle.dumps(work)), seconds)))


def side_by_side(rng: random.Random, many: int, *, lists: bool) -> History:
    """Many small random histories, one after another, each with keys and clients of its own."""
    done: list[Operation] = []
    for at in range(many):
        for one in fuzz.random_lists(rng) if lists else fuzz.random_registers(rng):
            value = tuple([(f, f"{at} {key}", told) for f, key, told in one.value])
            completed = None if one.completed is None else one.completed + 1000 * at
            done.append(msgspec.structs.replace(
                one, value=value, process=one.process + 1000 * at, invoked=one.invoked + 1000 * at, completed=completed,
                index=-1,
            ))
    return History.of(done)


def timeless(verdict: Verdict) -> Verdict:
    return msgspec.structs.replace(verdict, seconds=0.0)


@pytest.mark.parametrize("lists", [True, False], ids=["lists", "registers"])
@pytest.mark.parametrize("seed", range(8))
def test_parts_are_judged_as_the_whole_is(seed: int, lists: bool) -> None:
    rng = random.Random(seed)
    history = side_by_side(rng, rng.randint(1, 30), lists=lists)
    here = checker.check(history)
    for edges in (1, 12):
        copies = Copies(edges)
        assert timeless(checker.check(history, spread=copies)) == timeless(here)


def test_a_part_is_whole_components() -> None:
    history = side_by_side(random.Random(4), 60, lists=True)
    assert len(checker.find(history, FOREVER).cycles) > 10
    copies = Copies(1)
    checker.find(history, FOREVER, spread=copies)
    apart = copies.calls
    copies = Copies(1_000_000)
    checker.find(history, FOREVER, spread=copies)
    assert apart > 10 and copies.calls == 0, "what is little is searched here"


def test_one_part_that_ran_out_of_time_does_not_hide_what_another_found() -> None:
    proof = cycles.Cycle("serializable", (cycles.Edge(1, 2, 0, 0, 0, -1),))
    late = cycles.Found((), {}, frozenset({"serializable", "causal"}), ("time was up",))
    found = cycles._merged([late, cycles.Found((proof,), {"serializable": (proof,)}, frozenset(), ())])
    assert found.cycles == (proof,) and set(found.refuted) == {"serializable"}
    assert found.undecided == {"causal"} and found.limits == ("time was up",)
