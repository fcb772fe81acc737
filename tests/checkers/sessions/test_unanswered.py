"""What nobody answered, what was refused, what repeats, and what registers began with: nothing is held that was not decided,
and nobody is accused of what may have been."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from splitbrain import Operation, check
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.operation import MISMATCH

REFUSED = {"outcome": "fail", "error": MISMATCH}
LOST = {"outcome": "info"}


def calls(*told: tuple[Any, ...]) -> list[Operation]:
    """(process, f, value) or (process, f, value, fields), one after another, on the register `x`."""
    return [
        Operation(
            process=process, f=f, value=value, invoked=10 * at, completed=10 * at + 5,
            **{"key": "x", **(fields[0] if fields else {})},
        )
        for at, (process, f, value, *fields) in enumerate(told)
    ]


def states(verdict: Verdict) -> dict[str, str]:
    return {one.model: one.state for one in verdict.standings}


def test_an_order_of_all_operations_has_room_for_what_was_refused() -> None:
    begun = [(0, "cas", (None, 1)), (1, "cas", (1, 2)), (1, "cas", (2, 3), REFUSED)]
    assert check(calls(*begun), "sequential").validity == "unknown"
    assert check(calls(*begun), "causal").validity == "valid"
    for more in ((2, "write", 4), (1, "read", 2)):  # Another value to find, and none.
        found = check(calls(*begun, more), "sequential")
        assert (found.validity == "valid") == (more[1] == "write"), found.reason
    assert check(calls(*begun[:2], (1, "cas", (7, 3), REFUSED)), "sequential").validity == "valid"


def test_who_was_refused_by_what_it_expected_is_not_believed() -> None:
    story = calls((0, "write", 1), (1, "cas", (1, 2), {**REFUSED, "seen": (1,)}), (0, "read", 1))
    assert check(story, "sequential").validity == "unknown"
    told = calls((0, "write", 1), (1, "cas", (3, 2), {**REFUSED, "seen": (1,)}), (0, "read", 1))
    assert check(told, "sequential").validity == "valid"


def test_a_value_that_two_put_in_the_place_of_one_has_no_order_though_nobody_read_it() -> None:
    story = calls((0, "write", 2), (1, "cas", (2, 1)), (2, "cas", (2, 1)))
    assert check(story, "sequential").counts == {"no-sequential-order": 1}
    assert check(story[:2], "sequential").validity == "valid"


def test_a_compare_and_set_that_was_read_had_found_what_it_expected() -> None:
    begun = [(1, "cas", (None, 1), LOST), (0, "read", 1)]
    assert check(calls(*begun), "sequential").validity == "valid"
    assert check(calls(*begun, (3, "cas", (None, 3))), "sequential").validity == "invalid"
    for first in ("a", 7):  # Strings go one by one, integers in columns.
        assert check(calls((1, "cas", (first, 1), LOST), (0, "read", 1)), "causal").counts == {"unwritten-read": 1}
    chain = [(1, "cas", (9, 1), LOST), (2, "cas", (1, 2), LOST), (0, "read", 2)]
    assert check(calls(*chain), "causal").counts == {"unwritten-read": 1}
    assert check(calls((3, "write", 9), *chain), "causal").validity == "valid"


def test_a_client_that_goes_on_after_no_answer_need_not_see_what_may_happen_later() -> None:
    gone_on = [(0, "write", 1, LOST), (0, "read", None), (1, "read", 1)]
    found = check(calls(*gone_on), "read-your-writes")
    assert found.validity == "unknown" and "after calls that were not answered" in found.reason
    known = [(0, "write", 1), *gone_on[1:]]
    assert check(calls(*known), "read-your-writes").counts == {"missed-own-write": 1}
    assert check(calls((0, "write", 1, LOST), (0, "read", 1), (1, "read", 1)), "sequential").validity == "valid"
    # What others read tells of the client's other calls all the same.
    back = [(0, "write", 1), (0, "write", 2), (1, "read", 2), (1, "write", 3, LOST), (1, "read", 1)]
    assert check(calls(*back), "causal").validity == "invalid"


def test_a_register_that_began_with_a_value_was_never_nil() -> None:
    story = calls((1, "read", 1), (0, "read", None), (0, "write", 2), (0, "read", 2))
    assert check(story, "causal").counts == {"unwritten-read": 1}
    [found] = check(calls((1, "read", 1), (0, "write", 2), (1, "read", None)), "causal").anomalies
    assert found.identifier == "unwritten-read" and [one.value for one in found.operations] == [1, None]
    assert check(found.operations, "causal").counts == {"unwritten-read": 1}
    apart = calls((1, "read", 1), (0, "read", None, {"key": "y"}), (0, "write", 2))
    assert check(apart, "causal").validity == "unknown"
    assert check(story, "causal", nil="wildcard").validity == "valid"


@pytest.mark.parametrize(("first", "like"), [(1.0, True), (1, True), ((1,), (True,)), ({"a": 1}, {"a": True}), (0.0, False)])
def test_a_beginning_is_not_what_only_python_takes_for_it(first: Any, like: Any) -> None:
    story = calls((0, "write", like, {"key": "y"}), (1, "read", first), (1, "read", like, {"key": "y"}), (0, "write", 5))
    assert check(story, "sequential").validity == "valid"
    wrong = calls((0, "write", like, {"key": "y"}), (1, "read", first), (0, "read", first, {"key": "y"}), (0, "write", 5))
    assert check(wrong, "sequential").counts == {"missed-own-write": 1}


@pytest.mark.parametrize("value", [float("nan"), -0.0, [0.0, -0.0], {"a": 1, "b": 2}], ids=repr)
def test_what_was_written_is_not_taken_for_a_beginning(value: Any) -> None:
    again = {"b": 2, "a": 1} if isinstance(value, dict) else [-0.0, 0.0] if isinstance(value, list) else value + 0.0
    story = calls((0, "write", value), (1, "read", again))
    for model in ("sequential", "register"):
        assert check(story, model).validity == "valid"


def sequential(operations: Sequence[Operation]) -> bool:
    """Whether one order of all of them explains what they returned, by trying every one. What was not answered may take
    effect at any time after what its client had done before, or never."""
    told = [one for one in operations if one.outcome != "fail" or one.error == MISMATCH]
    told = [one for one in told if one.outcome != "info" or one.f != "read"]
    before = [[other for other in range(at) if told[other].process == one.process] for at, one in enumerate(told)]
    certain = {at for at, one in enumerate(told) if one.outcome != "info"}
    tried: set[tuple[frozenset[int], Any]] = set()

    def goes_on(done: frozenset[int], held: Any) -> bool:
        if certain <= done:
            return True
        if (done, held) in tried:
            return False
        tried.add((done, held))
        for at, one in enumerate(told):
            if at in done or any(other in certain and other not in done for other in before[at]):
                continue
            if one.f == "write":
                after = one.value
            elif one.f == "read":
                if held != one.value:
                    continue
                after = held
            elif (held == one.value[0]) == (one.outcome == "fail") or (one.seen and one.seen[0] != held):
                continue
            else:
                after = held if one.outcome == "fail" else one.value[1]
            if goes_on(done | {at}, after):
                return True
        return False

    return goes_on(frozenset(), None)


def test_sequential_consistency_is_what_trying_every_order_tells() -> None:
    found = {"valid": 0, "invalid": 0, "unknown": 0}
    for seed in range(100):
        rng = random.Random(seed)
        values: list[int | None] = [None]
        story: list[tuple[Any, ...]] = []
        for at in range(rng.randint(2, 7)):
            f = rng.choice(["read", "write", "cas"])
            how = rng.choice([{}, {}, {}, LOST, REFUSED if f == "cas" else {}])
            new = rng.choice([at + 1, at + 1, at + 1, 1])
            value: Any = rng.choice(values) if f == "read" else new if f == "write" else (rng.choice(values), new)
            values += [] if f == "read" or how is REFUSED else [new]
            seen = (rng.choice(values),) if how is REFUSED and rng.random() < 0.4 else ()
            story.append((rng.randrange(3), f, value, {**how, "seen": seen}))
        operations = calls(*story)
        verdict = check(operations, "sequential")
        found[verdict.validity] += 1
        if verdict.validity != "unknown":
            told = [replace(one, value=None) if one.f == "read" and one.outcome == "info" else one for one in operations]
            assert sequential(told) == (verdict.validity == "valid"), (seed, verdict.reason)
    assert found["valid"] > 20 and found["invalid"] > 8, found
