"""Containers with distinct elements, on histories made by hand; random ones are the fuzzer's."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from splitbrain.checkers.linearizability.containers.distinct import (
    decide_priority_queue,
    decide_queue,
    decide_stack,
    decide_unordered_queue,
)
from splitbrain.checkers.linearizability.containers.sets import decide_set
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import Model, PriorityQueue, Queue, Set, Stack, UnorderedQueue
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome

Decide = Callable[[History, Model], Decision | None]
Line = tuple[Any, ...]

WAYS: dict[str, tuple[Decide, Model]] = {
    "queue": (decide_queue, Queue()),
    "unordered-queue": (decide_unordered_queue, UnorderedQueue()),
    "stack": (decide_stack, Stack()),
    "priority-queue": (decide_priority_queue, PriorityQueue()),
    "set": (decide_set, Set()),
}


def history(*lines: Line) -> History:
    """From lines (f, value, invoked, completed), each by a process of its own, `ok` unless a fifth item says else."""
    return History.of(
        Operation(process=i, f=f, value=value, invoked=start, completed=end, outcome=how[0] if how else "ok")
        for i, (f, value, start, end, *how) in enumerate(lines)
    )


def judged(name: str, *lines: Line) -> Decision | None:
    """The decision, which must be what the search says."""
    decide, model = WAYS[name]
    made = history(*lines)
    decision = decide(made, model)
    if decision is not None:
        assert decision.valid == search(made, model).valid
    return decision


def named(name: str, *lines: Line) -> tuple[str, tuple[int, ...]]:
    """The identifier and the rows of an invalid history."""
    decision = judged(name, *lines)
    assert decision is not None and decision.valid is False and decision.sentence
    return decision.identifier, decision.rows


def valid(name: str, *lines: Line) -> bool:
    decision = judged(name, *lines)
    return decision is not None and decision.valid is True


def test_a_queue_is_first_in_first_out() -> None:
    first, second = ("enqueue", 1, 0, 1), ("enqueue", 2, 2, 3)
    assert valid("queue", first, second, ("dequeue", 1, 4, 5), ("dequeue", 2, 6, 7))
    assert valid("queue", first, second, ("dequeue", 2, 4, 7), ("dequeue", 1, 6, 8)), "dequeues at the same time"
    assert named("queue", first, second, ("dequeue", 2, 4, 5), ("dequeue", 1, 6, 7)) == ("reordered", (0, 1, 2, 3))
    assert named("queue", first, second, ("dequeue", 2, 4, 5)) == ("lost-element", (0, 1, 2))
    assert valid("unordered-queue", first, second, ("dequeue", 2, 4, 5))


def test_intervals_are_closed() -> None:
    """An operation that begins at the moment when another ends overlaps it."""
    assert valid("queue", ("enqueue", 1, 0, 2), ("enqueue", 2, 2, 3), ("dequeue", 2, 4, 5), ("dequeue", 1, 6, 7))
    assert valid("queue", ("dequeue", 1, 0, 2), ("enqueue", 1, 2, 3))
    assert valid("queue", ("enqueue", 1, 0, 1), ("dequeue", None, 1, 2), ("dequeue", 1, 3, 4))


def test_an_empty_answer_needs_a_moment_without_any_element() -> None:
    for name, (_, model) in WAYS.items():
        if name == "set":
            continue
        put, take = model.functions
        assert named(name, (put, 1, 0, 1), (take, None, 2, 3), (take, 1, 4, 5)) == ("stale-element", (0, 1, 2))
        assert named(name, (put, 1, 0, 1), (take, None, 2, 3)) == ("lost-element", (0, 1))
        assert valid(name, (put, 1, 0, 1), (take, None, 2, 5), (take, 1, 3, 5))
        # Two elements that relieve each other, then with a gap between them.
        relief = [(put, 1, 0, 1), (take, 1, 6, 9), (put, 2, 2, 3), (take, 2, 10, 12)]
        if name != "stack":
            assert named(name, *relief, (take, None, 2, 9)) == ("stale-element", (0, 1, 2, 3, 4))
        gap = [(put, 1, 0, 1), (take, 1, 2, 3), (put, 2, 4, 5), (take, 2, 10, 12)]
        assert valid(name, *gap, (take, None, 2, 9))


def test_what_was_put_in_once_comes_out_once_and_after() -> None:
    for name in ("queue", "unordered-queue", "stack", "priority-queue"):
        put, take = WAYS[name][1].functions
        assert named(name, (put, 1, 0, 1), (take, 1, 2, 3), (take, 1, 4, 5)) == ("duplicate", (0, 1, 2))
        assert named(name, (put, 1, 0, 1), (take, 7, 2, 3)) == ("unexpected", (1,))
        assert named(name, (take, 1, 0, 1), (put, 1, 2, 3)) == ("future-read", (0, 1))
        assert named(name, (put, 1, 0, 1, "fail"), (take, 1, 2, 3)) == ("aborted-read", (0, 1))


def test_a_stack_is_last_in_first_out() -> None:
    pushes = [("push", 1, 0, 1), ("push", 2, 2, 3)]
    assert valid("stack", *pushes, ("pop", 2, 4, 5), ("pop", 1, 6, 7))
    assert named("stack", *pushes, ("pop", 1, 4, 5), ("pop", 2, 6, 7)) == ("reordered", (0, 1, 2, 3))
    assert named("stack", *pushes, ("pop", 1, 4, 5)) == ("lost-element", (0, 1, 2))
    assert valid("stack", ("push", 1, 0, 3), ("push", 2, 2, 3), ("pop", 1, 4, 5), ("pop", 2, 6, 7))


def test_a_stack_can_be_wrong_by_three_elements_of_which_any_two_are_right() -> None:
    found = 0
    rng = random.Random(7)
    for _ in range(1_500):
        lines: list[Line] = []
        for element in (1, 2, 3):
            start = rng.randint(0, 12)
            end = start + rng.randint(0, 8)
            take = rng.randint(start, 24)
            lines += [("push", element, start, end), ("pop", element, take, take + rng.randint(0, 8))]
        decision = judged("stack", *lines)
        if decision is not None and len(decision.rows) == 6:
            found += 1
            for element in (1, 2, 3):
                assert valid("stack", *(line for line in lines if line[1] != element))
    assert found > 1


def test_a_priority_queue_gives_the_smallest() -> None:
    two = [("enqueue", 5, 0, 1), ("enqueue", 3, 2, 3)]
    assert valid("priority-queue", *two, ("dequeue", 3, 4, 5), ("dequeue", 5, 6, 7))
    assert named("priority-queue", *two, ("dequeue", 5, 4, 5), ("dequeue", 3, 6, 7)) == ("reordered", (0, 1, 2, 3))
    assert named("priority-queue", *two, ("dequeue", 5, 4, 5)) == ("lost-element", (0, 1, 2))
    assert valid("priority-queue", *two, ("dequeue", 5, 2, 5))
    assert decide_priority_queue(history(("enqueue", "a", 0, 1)), PriorityQueue()) is None


def test_an_indeterminate_insertion_may_have_happened_or_not() -> None:
    for name in ("queue", "unordered-queue", "stack", "priority-queue"):
        put, take = WAYS[name][1].functions
        assert valid(name, (put, 1, 0, None, "info"), (take, None, 5, 6))
        assert valid(name, (put, 1, 0, 1, "info"), (take, None, 5, 6), (take, 1, 7, 8))
        assert named(name, (put, 1, 0, None, "info"), (take, 1, 2, 3), (take, None, 5, 6), (take, 1, 7, 8))[0] == "duplicate"
    # Seen, it happened before it was seen: 1 went in before 2 did.
    lines = [("enqueue", 1, 0, None, "info"), ("dequeue", 1, 2, 3), ("enqueue", 2, 4, 5), ("dequeue", None, 6, 7)]
    assert named("queue", *lines) == ("lost-element", (2, 3))


def test_an_indeterminate_removal_may_have_taken_anything() -> None:
    for name in ("queue", "unordered-queue", "stack", "priority-queue"):
        put, take = WAYS[name][1].functions
        assert valid(name, (put, 1, 0, 1), (take, None, 2, None, "info"), (take, None, 4, 5))
        assert valid(name, (put, 1, 0, 1), (take, None, 2, None, "info"), (take, 1, 4, 5))
        one = [(put, 1, 0, 1), (put, 2, 2, 3), (take, None, 4, None, "info")]
        assert judged(name, *one, (take, None, 8, 9)) is None, "one cannot have taken both: the search says so"
        assert named(name, *one, (take, None, 2, 3))[0] == "lost-element", "too early for the first"


def test_elements_that_are_not_distinct_are_left_to_the_search() -> None:
    for name in ("queue", "unordered-queue", "stack", "priority-queue"):
        put, take = WAYS[name][1].functions
        assert judged(name, (put, 1, 0, 1), (put, 1, 2, 3)) is None
        assert judged(name, (put, 1, 0, 1, "info"), (put, 1, 2, 3), (take, 1, 4, 5)) is None
        assert valid(name, (put, 1, 0, 1, "fail"), (put, 1, 2, 3), (take, 1, 4, 5))
    assert judged("queue", ("enqueue", None, 0, 1)) is None
    assert valid("queue", ("enqueue", 1, 0, 1), ("enqueue", "1", 2, 3), ("enqueue", True, 4, 5), ("dequeue", 1, 6, 7))
    assert judged("set", ("add", 1, 0, 1), ("add", 1, 2, 3), ("remove", 1, 4, 5)) is None
    assert valid("set", ("add", 1, 0, 1), ("add", 1, 2, 3), ("read", (1,), 2, 3))


def test_a_set_grows() -> None:
    adds: list[Line] = [("add", 1, 0, 1), ("add", 2, 2, 3)]
    assert valid("set", *adds, ("read", [1, 2], 4, 5), ("read", [2, 1], 4, 5))
    assert valid("set", *adds, ("read", [1], 2, 3), ("read", [], 0, 1))
    assert named("set", *adds, ("read", [1], 4, 5)) == ("lost-element", (1, 2))
    assert named("set", *adds, ("read", [1], 4, 5), ("read", [1, 2], 6, 7)) == ("stale-read", (1, 2, 3))
    assert named("set", *adds, ("read", [1, 2, 9], 4, 5)) == ("unexpected", (2,))
    assert named("set", *adds, ("read", [1, 2, 2], 4, 5))[0] == "duplicate"
    assert named("set", ("read", [1], 0, 1), ("add", 1, 2, 3)) == ("future-read", (0, 1))
    assert named("set", ("add", 1, 0, 1, "fail"), ("read", [1], 2, 3)) == ("aborted-read", (0, 1))
    both: list[Line] = [("add", 1, 0, 9), ("add", 2, 0, 9)]
    assert named("set", *both, ("read", [1], 2, 5), ("read", [2], 3, 6)) == ("reordered", (0, 1, 2, 3))
    # Seen, then not seen, though the addition is not over.
    assert named("set", ("add", 1, 0, 9), ("read", [1], 1, 2), ("read", [], 3, 4)) == ("lost-element", (0, 1, 2))
    # The order of two additions: a read shows the later without the earlier.
    assert named("set", *adds, ("read", [2], 1, 5)) == ("lost-element", (0, 1, 2))


def test_a_set_whose_elements_are_removed() -> None:
    life: list[Line] = [("add", 1, 0, 1), ("remove", 1, 4, 5)]
    assert valid("set", *life, ("read", [], 0, 1), ("read", [1], 2, 3), ("read", [], 6, 7))
    assert named("set", *life, ("read", [], 2, 3)) == ("lost-element", (0, 1)), "the removal proves nothing"
    assert named("set", *life, ("read", [1], 6, 7)) == ("stale-read", (0, 1, 2))
    assert valid("set", ("add", 1, 0, 1), ("remove", 1, 4, None, "info"), ("read", [1], 6, 7), ("read", [], 8, 9))
    again = [("read", [1], 2, 3), ("read", [], 6, 7), ("read", [1], 8, 9)]
    assert named("set", *life, *again)[0] == "stale-read"
    assert judged("set", *life, ("read", [1], 2, 6), ("read", [], 5, 7)) is None, "reads that overlap"


@pytest.mark.parametrize("name", ["queue", "unordered-queue", "stack", "priority-queue"])
@pytest.mark.parametrize("count", [2_000])
def test_long_valid_histories_are_valid(name: str, count: int) -> None:
    """Of an object that works, with many clients: nothing is found."""
    rng = random.Random(f"{name} {count}")
    put, take = WAYS[name][1].functions
    held: list[int] = []
    lines: list[Line] = []
    ranks = rng.sample(range(count), count)
    for i in range(count):
        moment = 10 * i + 500
        start, end = moment - rng.randint(0, 100), moment + rng.randint(0, 100)
        how: Outcome = "ok"
        if rng.random() < 0.5:
            held.append(ranks[i])
            lines.append((put, ranks[i], start, end, how))
            continue
        got = None
        if held:
            at = {"queue": 0, "stack": -1, "priority-queue": held.index(min(held))}.get(name, rng.randrange(len(held)))
            got = held.pop(at)
        lines.append((take, got, start, end, how))
    decide, model = WAYS[name]
    decision = decide(history(*lines), model)
    assert decision is not None and decision.valid


def test_a_deep_stack() -> None:
    pushes = [("push", i, 2 * i, 2 * i + 1) for i in range(3_000)]
    pops = [("pop", i, 20_000 - 2 * i, 20_001 - 2 * i) for i in range(3_000)]
    decision = decide_stack(history(*pushes, *pops), Stack())
    assert decision is not None and decision.valid
    pops[10], pops[2_000] = (("pop", 10, *pops[2_000][2:]), ("pop", 2_000, *pops[10][2:]))
    decision = decide_stack(history(*pushes, *pops), Stack())
    assert decision is not None and (decision.valid, decision.identifier, len(decision.rows)) == (False, "reordered", 4)
