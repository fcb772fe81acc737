"""Limits that hold: whatever is judged, it ends soon after its time is up, and says so.

Time is a clock that goes on by a second whenever it is looked at, so that what is done between two looks can be counted: in
calls of functions, on whatever machine.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from itertools import product
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec
import pytest

from bench import generate, grid
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability import check, engine
from splitbrain.checkers.models.specifications import MODELS, CasRegister, IdGenerator, Model, Set
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

SIZE = 1_500
AFTER = 60_000
"""Calls of functions that may follow when the time is up: those of the first five hundred steps of a search, whose states are
large, before anybody looks."""


class Clock:
    """A clock that tells how many seconds it was looked at, and after `seconds` counts the calls of functions."""

    def __init__(self, seconds: int) -> None:
        self.seconds, self.looks, self.calls = seconds, 0, 0

    def __call__(self) -> float:
        self.looks += 1
        if self.looks == self.seconds + 2:
            sys.setprofile(self._count)
        return float(self.looks)

    def _count(self, frame: FrameType, event: str, argument: Any) -> None:
        self.calls += event in ("call", "c_call")


def judged(history: History, model: Model, seconds: int) -> tuple[Verdict, int]:
    """The verdict within so many looks at the clock, and how many calls came after them."""
    clock = Clock(seconds)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "monotonic", clock)
        try:
            return check(history, model, time_limit=seconds, processes=1), clock.calls
        finally:
            sys.setprofile(None)


@pytest.mark.parametrize(
    ("model", "few"), [(model, few) for few, models in ((False, generate.THINGS), (True, generate.FEW)) for model in models]
)
def test_every_model_ends_when_its_time_is_up(model: str, few: bool) -> None:
    operations = list(generate.operations(model, SIZE, unsure=0.01, few=few))
    for history, wrong in ((History.of(operations), "invalid"), (History.of(grid.broken(operations)), "valid")):
        for seconds in (2, 5, 10, 30):
            verdict, calls = judged(history, MODELS[model](), seconds)
            assert calls < AFTER, f"{calls} calls after {seconds} looks"
            assert verdict.validity != wrong
            assert verdict.validity != "unknown" or verdict.limits == (f"time limit of {seconds} s",)


def test_a_way_that_goes_on_when_its_time_is_up_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def idle(history: History, model: Model, budget: Budget) -> None:
        while not budget.over:
            continue
        for at in range(2 * AFTER):
            abs(at)

    monkeypatch.setitem(engine._SPECIAL, IdGenerator, idle)
    assert judged(History.of(list(generate.operations("id-generator", 10))), IdGenerator(), 5)[1] > AFTER


def chained(count: int) -> History:
    """A chain of compare-and-sets, and at its end a read of its middle."""
    read = Operation(process=2, f="read", value=count // 2, invoked=10**6, completed=10**6 + 1)
    return History.of([
        Operation(process=0, f="write", value=0, invoked=0, completed=1),
        *(Operation(process=1, f="cas", value=(i, i + 1), invoked=10 + 10 * i, completed=15 + 10 * i) for i in range(count)),
        read,
    ])


def old_reads(count: int) -> History:
    """Five values, written and read in turn, and now and then a read of one that was replaced."""
    operations = []
    for at in range(count):
        value = at // 2 % 5
        stale = at % 2 and at % (count // 5) == count // 10 | 1
        operations.append(Operation(
            process=at % 2, f=("write", "read")[at % 2], value=(value + 2) % 5 if stale else value, invoked=10 * at,
            completed=10 * at + 5,
        ))
    return History.of(operations)


@pytest.mark.parametrize("history", [chained(4_000), old_reads(4_000)], ids=["chained", "old reads"])
def test_what_is_shown_of_an_old_read_is_found_within_the_limit(history: History) -> None:
    for seconds in (3, 10, 50):
        verdict, calls = judged(history, CasRegister(), seconds)
        assert calls < AFTER
        assert verdict.validity != "valid"
    verdict = check(history, CasRegister())
    assert verdict.validity == "invalid"
    assert 0 < max(len(anomaly.operations) for anomaly in verdict.anomalies) < 10


def test_ids_need_no_search() -> None:
    ids = [
        Operation(process=at % 40, f="generate", value=at, invoked=10 * at, completed=10 * at + 50) for at in range(20_000)
    ]
    for last, validity, shown in ((len(ids), "valid", 0), (77, "invalid", 2)):
        again = Operation(process=0, f="generate", value=last, invoked=10**6, completed=10**6 + 1)
        history = History.of([*ids, again])
        tracemalloc.start()
        try:
            verdict = check(history, IdGenerator())
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert verdict.validity == validity
        assert [len(anomaly.operations) for anomaly in verdict.anomalies] == [shown] * (shown > 0)
        assert most < 200 * len(history)


def test_an_element_added_again_is_lost_within_any_limit() -> None:
    """Not more than two additions of it, and the read that misses it."""
    adds = [Operation(process=0, f="add", value=at % 1_000, invoked=10 * at, completed=10 * at + 5) for at in range(3_000)]
    whole = tuple(range(1_000))
    for read, validity in ((whole, "valid"), (whole[:500] + whole[501:], "invalid")):
        history = History.of([*adds, Operation(process=1, f="read", value=read, invoked=10**6, completed=10**6 + 1)])
        verdict = check(history, Set())
        assert verdict.validity == validity
        assert all(anomaly.identifier == "lost-element" and len(anomaly.operations) <= 3 for anomaly in verdict.anomalies)
        for seconds in (2, 4, 8):
            assert judged(history, Set(), seconds)[1] < AFTER


def test_what_was_too_hard_says_where_and_what_would_help() -> None:
    hard = History.of(list(generate.operations("cas-register", 20_000, clients=100, unsure=0.05, few=True)))
    verdict, _ = judged(hard, CasRegister(), 40)
    assert verdict.validity == "unknown"
    for part in ("The search came furthest at", "were under way beside it", "unanswered changes", "written once", "more keys"):
        assert part in verdict.reason


def test_a_search_uses_its_whole_limit_while_nothing_is_refuted() -> None:
    hard = History.of(list(generate.operations("queue", 2_000, few=True)))
    for seconds in (20, 60):
        clock = Clock(seconds)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "monotonic", clock)
            try:
                assert check(hard, MODELS["queue"](), time_limit=seconds, processes=1).validity == "unknown"
            finally:
                sys.setprofile(None)
        assert clock.looks > seconds


def test_the_first_found_are_shown_where_there_is_no_time_for_all() -> None:
    """Every key is refuted, and the time suffices to explain some."""
    def of(key: int) -> list[Operation]:
        calls = (("write", 1), ("write", 2), ("read", 1))
        return [
            Operation(process=key, f=f, value=value, key=key, invoked=100 * key + 10 * at, completed=100 * key + 10 * at + 5)
            for at, (f, value) in enumerate(calls)
        ]

    verdict, _ = judged(History.of([operation for key in range(400) for operation in of(key)]), CasRegister(), 200)
    assert verdict.validity == "invalid" and verdict.anomalies
    assert any(limit.endswith(" of 400 refuted keys") for limit in verdict.limits)


def test_the_grid_tells_what_it_judged() -> None:
    judged_cells = []
    for size, fault in product((200, 400), (False, True)):
        place = grid.Place("queue", "distinct", size, 5, 0.01, fault)
        judged_cells.append(grid.Judged(place, list(grid.judge(place, [5]))))
    assert all(one.right for one in judged_cells)
    text = grid.summary(judged_cells)
    assert "4 histories, judged 4 times: 4 decided, 0 `unknown`" in text
    assert "| queue | distinct | " in text and "2 valid | 2 invalid | 3 |" in text


def test_the_grid_goes_on_where_it_ended_and_never_tells_less(tmp_path: Path) -> None:
    store, page = tmp_path / "grid.jsonl", tmp_path / "grid.md"
    page.write_text("before\n<!-- grid:begin -->\n<!-- grid:end -->\nbehind\n")
    place = grid.Place("queue", "distinct", 200, 5, 0.0, False)
    other = grid.Place("stack", "distinct", 200, 5, 0.0, True)
    earlier = [grid.Judged(one, [grid.Cell(1, 0.25, 0.25, "valid", 0, 0, ())]) for one in (place, other)]
    grid.keep(store, earlier)
    asked = ["--models=queue", "--values=distinct", "--sizes=200", "--unsure=0", "--clients=5", "--limits=5"]
    grid.main([*asked, f"--store={store}", f"--page={page}"])
    found = grid.kept(store)
    assert set(found) == {place, other, msgspec.structs.replace(place, fault=True)}
    assert {one for one, judged in found.items() if judged.code == grid.code()} == set(found) - {other}
    assert found[other] == earlier[1] and found[place].right
    text = page.read_text()
    assert "3 histories, judged" in text and "1 were judged by earlier code." in text
    assert text.startswith("before\n") and text.endswith("\nbehind\n")
    said = grid.put("less", page, 2)
    assert "tells of 3 histories" in said and page.read_text() == text
