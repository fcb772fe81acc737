"""Queues against an exhaustive definition: what an order of the calls explains is not accused, and what none explains is."""

from __future__ import annotations

import random

import numpy as np
import pytest
from msgspec.structs import replace

from splitbrain import Operation
from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.structures.queues import search
from splitbrain.checkers.structures.stretches import Stretches
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording
from tests.checkers.structures.simulated import judged
from tests.checkers.structures.test_structures import explained, one, queue_history


def spoiled(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """The same after some of: an answer is another one, a call is shorter, at another time, or not answered, or is left out.
    Every call is of a client of its own."""
    found = list(operations)
    put = [op.value for op in found if op.f == "enqueue"] or [1]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        at = rng.randrange(len(found))
        op, draw = found[at], rng.random()
        assert op.completed is not None
        if draw < 0.2 and len(found) > 2:
            found.pop(at)
        elif op.outcome != "ok":
            continue
        elif draw < 0.4:
            begin, end = sorted(rng.randint(op.invoked, op.completed) for _ in range(2))
            found[at] = replace(op, invoked=begin, completed=end)
        elif draw < 0.55:
            by = max(rng.randint(-150, 150), -op.invoked)
            found[at] = replace(op, invoked=op.invoked + by, completed=op.completed + by)
        elif draw < 0.65 and op.f != "read":
            found[at] = replace(op, outcome="info", value=op.value if op.f == "enqueue" else None)
        elif op.f == "dequeue":
            found[at] = replace(op, value=rng.choice([None, *put]))
        elif op.f == "read":
            told = list(op.value)
            if told and rng.random() < 0.5:
                told.pop(rng.randrange(len(told)))
            else:
                told.insert(rng.randint(0, len(told)), rng.choice(put))
            found[at] = replace(op, value=tuple(told))
    return [replace(op, process=client) for client, op in enumerate(sorted(found, key=lambda op: op.invoked))]


def test_small_queues_are_accused_exactly_where_no_order_of_the_calls_explains_them() -> None:
    named: set[str] = set()
    wrong = right = 0
    for seed in range(600):
        rng = random.Random(seed)
        operations = spoiled(rng, queue_history(rng, length=rng.randint(3, 9), clients=rng.randint(1, 4)))
        counts, fine = judged(QueueChecker(), operations).counts, explained(operations)
        assert fine is not bool(counts), (seed, counts)
        wrong, right = wrong + (not fine), right + fine
        named |= set(counts)
    assert wrong > 100 and right > 100
    assert named >= {"stale-element", "reordered", "stale-read", "future-read", "lost-element", "duplicate"}


def test_queues_are_judged_the_same_where_what_reads_show_is_told_element_by_element(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Stretches.of

    def apart(*given: np.ndarray) -> Stretches:
        found = whole(*given)
        each = np.arange(len(found.shown))
        return Stretches(found.order, found.shown, np.repeat(found.row, found.size), each, np.ones_like(each))

    named: set[str] = set()
    for seed in range(300):
        rng = random.Random(seed)
        operations: list[Operation] = []
        for key in range(rng.choice((1, 1, 2))):
            calls = queue_history(rng, length=rng.choice((8, 20, 60)), clients=rng.randint(1, 8))
            for _ in range(rng.choice((0, 1, 2, 5))):
                calls = spoiled(rng, calls)
            for at, op in enumerate(calls):
                if op.f == "read" and op.value and rng.random() < 0.05:
                    calls[at] = replace(op, value=(*rng.sample(op.value, len(op.value)), rng.choice((None, 777, *op.value))))
            operations += [replace(op, key=key) for op in calls]
        operations.sort(key=lambda op: op.invoked)
        history = History.of([replace(op, process=client) for client, op in enumerate(operations)])
        monkeypatch.setattr(Stretches, "of", whole)
        verdict = QueueChecker().check(Recording(history=history, nodes=()))
        monkeypatch.setattr(Stretches, "of", apart)
        again = QueueChecker().check(Recording(history=history, nodes=()))
        assert replace(again, seconds=0) == replace(verdict, seconds=0), seed
        named |= set(verdict.counts)
    assert named >= {"stale-element", "reordered", "stale-read", "future-read", "lost-element", "duplicate", "unexpected"}


TOGETHER = (844, 3400, 6327, 7171, 10849, 15656, 16355, 18637, 19798, 20281, 20689, 21100, 22467, 22623, 24007, 24924, 26687,
            27963, 29399, 29801)
"""Histories, by their seeds, that are refuted by more calls together than any rule holds against each other."""


def small_history(seed: int) -> list[Operation]:
    rng = random.Random(seed)
    return spoiled(rng, queue_history(rng, length=rng.randint(3, 9), clients=rng.randint(1, 4)))


@pytest.mark.parametrize("seed", TOGETHER)
def test_what_only_many_calls_together_refute_is_found_by_looking_for_an_order(seed: int) -> None:
    verdict = judged(QueueChecker(), small_history(seed))
    [anomaly] = verdict.anomalies
    assert anomaly.identifier in ("reordered", "non-linearizable") and "no order of" in anomaly.sentence
    assert not explained(list(anomaly.operations))
    states = {standing.model: standing.state for standing in verdict.standings}
    assert states["queues ordered"] == "refuted"
    assert (states["queues complete"] == "refuted") is (anomaly.identifier == "non-linearizable")


def test_what_tells_of_an_order_alone_does_not_say_that_anything_is_missing() -> None:
    assert judged(QueueChecker(), small_history(844)).counts == {"reordered": 1}
    assert judged(QueueChecker(), small_history(29399)).counts == {"non-linearizable": 1}


@pytest.mark.parametrize("limits", [{"_STEPS": 3}, {"_CALLS": 7, "_MOST": 7}])
def test_nothing_is_said_where_the_search_is_not_finished(limits: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
    assert judged(QueueChecker(), small_history(844)).counts
    for limit, number in limits.items():
        monkeypatch.setattr(search, limit, number)
    assert not judged(QueueChecker(), small_history(844)).counts


def test_right_queues_of_many_clients_are_explained() -> None:
    for seed in range(20):
        assert not judged(QueueChecker(), queue_history(random.Random(seed), length=60, clients=10)).counts, seed


def test_parts_of_a_queue_are_accused_exactly_where_no_order_explains_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "_CALLS", 0)
    for seed in [*TOGETHER, *range(200)]:
        operations = small_history(seed)
        assert explained(operations) is not bool(judged(QueueChecker(), operations).counts), seed


def long_queue(operations: list[Operation]) -> list[Operation]:
    """The same calls of a queue that was used long before and is afterwards."""
    start = 10_000 - min(op.invoked for op in operations)
    end = start + max(op.invoked if op.completed is None else op.completed for op in operations)
    moved = [
        replace(op, invoked=op.invoked + start, completed=None if op.completed is None else op.completed + start)
        for op in operations
    ]
    before = [
        timed(f, 1_000 + at, 100 * at + begin, 100 * at + begin + 30) for at in range(90)
        for f, begin in (("enqueue", 0), ("dequeue", 20))
    ]
    after = [timed("enqueue", 2_000 + at, end + 20 * at, end + 20 * at + 10) for at in range(1, 50)]
    return [replace(op, process=client) for client, op in enumerate([*before, *moved, *after])]


@pytest.mark.parametrize("seed", TOGETHER)
def test_what_a_few_calls_of_a_large_queue_refute_is_found(seed: int) -> None:
    operations = long_queue(small_history(seed))
    assert len(operations) > 200
    [anomaly] = judged(QueueChecker(), operations).anomalies
    assert anomaly.identifier in ("reordered", "non-linearizable") and "no order of" in anomaly.sentence
    assert len(anomaly.operations) < 10 and not explained(list(anomaly.operations))


def test_right_queues_of_many_calls_are_accused_of_nothing() -> None:
    for seed in range(20):
        rng = random.Random(seed)
        operations = queue_history(rng, length=250, clients=rng.choice((2, 4, 8, 20)))
        assert not judged(QueueChecker(), operations).counts, seed


def timed(f: str, value: object, invoked: int, completed: int, outcome: str = "ok") -> Operation:
    return Operation(process=invoked, f=f, value=value, key=0, invoked=invoked, completed=completed, outcome=outcome)  # type: ignore[arg-type]


def test_what_nobody_took_out_is_overtaken() -> None:
    calls = [one("enqueue", 1, 1), one("enqueue", 2, 2), one("dequeue", 2, 3)]
    verdict = judged(QueueChecker(), calls)
    assert verdict.counts == {"reordered": 1}
    [overtaken] = verdict.anomalies
    assert "2 came out of queue 0" in overtaken.sentence and "nobody had taken it out." in overtaken.sentence
    silent = one("dequeue", None, 2, process=5, outcome="info")
    assert not judged(QueueChecker(), [*calls, silent]).counts
    # There is one for one of them only, or it began too late.
    more = [one("enqueue", 0, 0), *calls]
    assert judged(QueueChecker(), [*more, silent]).counts == {"reordered": 1}
    assert judged(QueueChecker(), [*calls, replace(silent, invoked=36)]).counts == {"reordered": 1}
    # What is lost is not overtaken, too.
    assert judged(QueueChecker(), [*calls, one("read", (), 4)]).counts == {"lost-element": 1}


def test_what_nobody_can_have_taken_is_missed_by_a_read_that_overlaps_another() -> None:
    put, shown = timed("enqueue", 2, 0, 10), timed("read", (2,), 30, 50)
    for look in (timed("read", (), 20, 40), timed("dequeue", None, 20, 40)):
        verdict = judged(QueueChecker(), [put, look, shown])
        assert verdict.counts == {"stale-element": 1} and "was never taken out" in verdict.anomalies[0].sentence
    silent = timed("dequeue", None, 5, 0, "info")
    silent = replace(silent, completed=90)
    assert not judged(QueueChecker(), [put, timed("read", (), 20, 40), shown, silent]).counts
    late = judged(QueueChecker(), [put, timed("read", (), 20, 40), shown, replace(silent, invoked=45)])
    assert late.counts == {"stale-element": 1} and "could not be taken out before" in late.anomalies[0].sentence


def test_an_unanswered_dequeue_takes_the_first_one() -> None:
    calls = [timed("dequeue", None, 1, 99, "info"), timed("enqueue", 1, 2, 3), timed("enqueue", 2, 4, 5)]
    verdict = judged(QueueChecker(), [*calls, timed("read", (1,), 6, 7), timed("read", (1,), 10, 11)])
    assert set(verdict.counts) == {"stale-element"} and "came in behind 1" in verdict.anomalies[0].sentence
    assert not judged(QueueChecker(), [*calls, timed("read", (2,), 6, 7)]).counts


def test_what_a_read_shows_right_behind_an_element_is_always_the_same() -> None:
    put = [timed("enqueue", value, value, 50) for value in (1, 2, 3)]
    verdict = judged(QueueChecker(), [*put, timed("read", (1, 2), 4, 51), timed("read", (1, 3), 5, 52)])
    assert verdict.counts == {"reordered": 1} and "right behind 1" in verdict.anomalies[0].sentence
    assert not judged(QueueChecker(), [*put, timed("read", (1, 2), 4, 51), timed("read", (1, 2, 3), 5, 52)]).counts
    # A read that shows what came in before another one begins with an element that was not the first.
    torn = judged(QueueChecker(), [*put[:2], timed("read", (2,), 4, 51), timed("read", (1, 2), 5, 52)])
    assert torn.counts == {"stale-element": 1} and "showed right before 2" in torn.anomalies[0].sentence


def test_what_a_read_shows_without_an_element_that_was_still_to_come_goes_out_before_it() -> None:
    put = [timed("enqueue", 1, 10, 310), timed("enqueue", 2, 30, 290)]
    calls = [*put, timed("read", (1,), 51, 291), timed("dequeue", 2, 351, 441)]
    verdict = judged(QueueChecker(), calls)
    assert verdict.counts == {"reordered": 1} and "when 2 was still to come" in verdict.anomalies[0].sentence
    # It may have been out before the read, and an unanswered dequeue may have taken the other one.
    assert not judged(QueueChecker(), [*calls[:3], timed("dequeue", 2, 250, 441)]).counts
    assert not judged(QueueChecker(), [*calls, replace(timed("dequeue", None, 330, 330, "info"), completed=900)]).counts
    late = replace(timed("dequeue", None, 450, 450, "info"), completed=900)
    assert judged(QueueChecker(), [*calls, late]).counts == {"reordered": 1}
    # A read that shows both tells nothing of the kind.
    assert not judged(QueueChecker(), [*put, timed("read", (2, 1), 51, 291), timed("dequeue", 2, 351, 441)]).counts


def test_what_one_queue_handed_out_in_a_wrong_order_hides_nothing_of_another_one() -> None:
    wrong = [one("enqueue", 1, 1), one("enqueue", 2, 2), one("dequeue", 2, 3), one("dequeue", 1, 4)]
    put = [timed("enqueue", 1, 10, 310), timed("enqueue", 2, 30, 290)]
    calls = [replace(op, key=1) for op in (*put, timed("read", (1,), 51, 291), timed("dequeue", 2, 351, 441))]
    counts = judged(QueueChecker(), sorted([*wrong, *calls], key=lambda op: op.invoked)).counts
    assert counts == {"reordered": 2}


def test_what_contradicts_itself_in_one_queue_hides_nothing_of_another_one() -> None:
    put = [timed("enqueue", value, value, 50) for value in (1, 2, 3)]
    circle = [*put[:2], timed("read", (1, 2), 4, 51), timed("read", (2, 1), 5, 52)]
    assert judged(QueueChecker(), circle).counts == {"reordered": 1}
    parting = [replace(op, key=1) for op in (*put, timed("read", (1, 2), 4, 51), timed("read", (1, 3), 5, 52))]
    together = [replace(op, key=2) for op in small_history(844)]
    for others, found in ((parting, 2), (together, 2), ([*parting, *together], 3)):
        calls = sorted([*circle, *others], key=lambda op: op.invoked)
        calls = [replace(op, process=client) for client, op in enumerate(calls)]
        assert judged(QueueChecker(), calls).counts == {"reordered": found}


def test_a_read_that_is_wrong_itself_tells_of_no_order() -> None:
    put = [timed("enqueue", 1, 10, 310), timed("enqueue", 2, 11, 290)]
    out = [timed("dequeue", 1, 351, 355), timed("dequeue", 2, 360, 365)]
    torn = [timed("read", (2,), 4, 321), timed("read", (1, 2), 5, 322)]
    assert judged(QueueChecker(), [*torn, *put, *out]).counts == {"stale-element": 1}
    early = timed("read", (2,), 1, 8)
    assert judged(QueueChecker(), [early, *put, *out]).counts == {"future-read": 1}
