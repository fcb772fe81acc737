"""Elements of any kind: every structure has a verdict on them, or one sentence that says what it needs."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from splitbrain import Operation, check
from splitbrain.checkers.structures.choose import STRUCTURES
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.values import frozen

ELEMENTS: list[Any] = [
    0, -1, 1 << 62, (1 << 62) + 5, (1 << 63) - 1, -(1 << 62), -(1 << 63), -(1 << 63) + 1, -(1 << 63) + 2, 1 << 63, 1 << 80,
    -(1 << 80), "", "a", "0", True, False, 1.5, 0.0, float("inf"), b"a", [], [[]], [0], [1, [2]], [None], {},
    {"a": None}, {"a": -1},
]
FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "bank": ("transfer", "read"),
    "counter-bounds": ("add", "read"),
    "fenced-lock": ("acquire", "renew", "release", "read", "write"),
    "lock": ("acquire", "renew", "release", "read", "write"),
    "long-fork": ("txn",),
    "monotonic": ("read", "cas"),
    "set-full": ("add", "read"),
    "total-queue": ("enqueue", "dequeue", "read"),
    "unique-ids": ("generate",),
    "watch": ("write", "read"),
}


def history(*calls: tuple[str, Any]) -> list[Operation]:
    """These calls, one after another."""
    return [
        Operation(process=0, f=f, value=value, key=0, invoked=10 * at, completed=10 * at + 5)
        for at, (f, value) in enumerate(calls)
    ]


def queue(elements: list[Any]) -> list[tuple[str, Any]]:
    put = [("enqueue", element) for element in elements]
    return [*put, ("read", elements), *(("dequeue", element) for element in elements), ("dequeue", None)]


def elements_of_a_set(elements: list[Any]) -> list[tuple[str, Any]]:
    return [*(("add", element) for element in elements), ("read", elements)]


def changes(elements: list[Any]) -> list[tuple[str, Any]]:
    told = [[number, element] for number, element in enumerate(elements, 1)]
    return [*(("write", element) for element in elements), ("read", (0, told)), ("read", (1, told[1:]))]


def identifiers(elements: list[Any]) -> list[tuple[str, Any]]:
    return [("generate", element) for element in elements]


HOLDERS: dict[str, Callable[[list[Any]], list[tuple[str, Any]]]] = {
    "total-queue": queue, "set-full": elements_of_a_set, "watch": changes, "unique-ids": identifiers,
}


@pytest.mark.parametrize("name", HOLDERS)
def test_elements_of_any_kind_are_themselves(name: str) -> None:
    rng = random.Random(1)
    for element in ELEMENTS:
        assert check(history(*HOLDERS[name]([element])), name).validity == "valid", element
    for _ in range(60):
        some = rng.sample(ELEMENTS, rng.randint(2, len(ELEMENTS)))
        verdict = check(history(*HOLDERS[name](some)), name)
        assert verdict.validity == "valid", (some, verdict.reason)


@pytest.mark.parametrize("element", ELEMENTS, ids=repr)
def test_one_that_is_lost_or_comes_twice_is_found(element: Any) -> None:
    others = [other for other in (7, "b", [7]) if other != element]
    for name, calls, found in (
        ("total-queue", [*queue(others)[:-1], ("enqueue", element), ("read", [])], "lost-element"),
        ("total-queue", [*queue([element, *others])[:-1], ("dequeue", element)], "duplicate"),
        ("total-queue", [*queue(others), ("dequeue", element)], "unexpected"),
        ("set-full", [*elements_of_a_set([element, *others]), ("read", others)], "lost-element"),
        ("set-full", [*elements_of_a_set(others), ("read", [*others, element])], "unexpected"),
        ("watch", [("write", element), *changes(others)], "missed-event"),
        ("watch", [*changes(others), ("read", (0, [*changes(others)[-2][1][1], [9, element]]))], "unexpected"),
        ("unique-ids", identifiers([element, *others, element]), "duplicate-id"),
    ):
        assert found in check(history(*calls), name).counts, (name, calls)


def test_a_dequeue_that_tells_nil_found_nothing_so_nil_is_no_element() -> None:
    for outcome in ("ok", "info", "fail"):
        operations = [Operation(process=0, f="enqueue", value=None, key=0, invoked=0, completed=5, outcome=outcome)]
        with pytest.raises(UsageError, match="elements that are not nil"):
            check(operations, "total-queue")


def test_nil_is_a_value_that_a_watch_tells_like_any_other() -> None:
    assert check(history(*changes([None, -(1 << 62), "a", 0])), "watch").validity == "valid"
    assert "unexpected" in check(history(*changes(["a"]), ("read", (0, [[1, "a"], [2, None]]))), "watch").counts


@pytest.mark.parametrize("since", [1 << 70, "a", 1.5, float("inf"), float("nan"), None, [0]], ids=repr)
def test_a_revision_is_a_whole_number(since: Any) -> None:
    tells: list[Any] = [(since, []), (0, [[since, "a"]])]
    for told in tells:
        with pytest.raises(UsageError, match="the watch checker needs"):
            check(history(("read", told)), "watch")


def test_a_counter_of_amounts_that_64_bits_do_not_hold_together_is_not_accused() -> None:
    large = (1 << 63) - 1
    adds = [Operation(process=at, f="add", value=large, key=0, invoked=0, completed=50, outcome="info") for at in range(3)]
    read = Operation(process=3, f="read", value=large, key=0, invoked=10, completed=20)
    assert check([*adds, read], "counter-bounds").validity == "valid"
    low = check(history(("add", large), ("add", large), ("read", 1)), "counter-bounds")
    assert low.validity == "invalid" and set(low.counts) == {"stale-read"}


@pytest.mark.parametrize("name", STRUCTURES)
def test_nothing_is_a_verdict(name: str) -> None:
    verdict = check([], name)
    assert verdict.validity == "unknown" and "nothing is proven" in verdict.reason


def test_whatever_is_told_there_is_a_verdict_or_a_sentence() -> None:
    rng = random.Random(2)
    told: dict[str, set[str]] = {name: set() for name in STRUCTURES}
    shapes: list[Callable[[Any], Any]] = [
        lambda one: one, lambda one: one, lambda one: [one], lambda one: [one, one], lambda one: (0, [[1, one]]),
        lambda one: (one, [[one, 1]]), lambda one: {0: one}, lambda one: [["r", 0, one]], lambda one: [["w", one, one]],
        lambda one: (1, one), lambda one: (one, 1), lambda one: None,
    ]
    for _ in range(2500):
        name = rng.choice([*STRUCTURES])
        shape = rng.choice(shapes)
        operations = [
            Operation(
                process=rng.randrange(3), f=rng.choice(FUNCTIONS[name]), key=rng.choice([0, 0, None, "k"]), invoked=10 * at,
                value=frozen(shape(rng.choice([*ELEMENTS, 1, 2, None]))), completed=10 * at + rng.randrange(1, 40),
                outcome=rng.choice(["ok", "ok", "ok", "info", "fail"]),
            )
            for at in range(rng.randrange(1, 6))
        ]
        told[name].add(outcome(operations, name))
    assert all(len(found) > 1 for found in told.values()), told


def outcome(operations: list[Operation], name: str) -> str:
    """What is said of these operations: a verdict, or a sentence."""
    try:
        verdict: Verdict = check(operations, name)
    except UsageError as error:
        assert "\n" not in str(error)
        return "sentence"
    return verdict.validity


def test_calls_that_took_no_time_may_be_told_in_any_order() -> None:
    at_once = Operation(process=0, f="generate", value=1, invoked=10, completed=10)
    longer = Operation(process=0, f="generate", value=2, invoked=10, completed=20)
    assert check([at_once, longer], "unique-ids").validity == check([longer, at_once], "unique-ids").validity == "valid"
    with pytest.raises(UsageError, match="before its last one completed"):
        check([longer, longer], "unique-ids")


def test_what_is_shown_of_a_fence_or_of_a_missed_element_proves_it() -> None:
    def grant(process: int, fence: int, invoked: int, completed: int) -> Operation:
        return Operation(process=process, f="acquire", value=fence, key=0, invoked=invoked, completed=completed)

    # The one with fence 3 may have come later.
    [stale] = check([grant(0, 2, 5, 11), grant(1, 3, 11, 12), grant(2, 2, 12, 12)], "lock").anomalies
    assert [one.value for one in stale.operations] == [2, 2] and "after client 0 with fence 2" in stale.sentence
    [twin] = check([grant(0, 2, 5, 11), grant(1, 2, 6, 12)], "lock").anomalies
    assert "as was client 0 with fence 2" in twin.sentence
    early = Operation(process=1, f="read", value=[1], key=0, invoked=3, completed=6)
    missed = [
        Operation(process=0, f="add", value=1, key=0, invoked=0, completed=20), early,
        Operation(process=1, f="read", value=[], key=0, invoked=10, completed=15),
    ]
    [lost] = check(missed, "set-full").anomalies
    assert [1] in [list(one.value) for one in lost.operations if one.f == "read"]
    assert check(lost.operations, "set-full").counts == {"lost-element": 1}
