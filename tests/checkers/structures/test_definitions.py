"""Sets, locks, identifiers and growing registers against their definitions, on small histories in which anything may happen:
values that nobody wrote, added twice, failed, unanswered, read before anything was written, at equal moments."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from splitbrain import Operation
from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.structures.lock import LockChecker
from splitbrain.checkers.structures.monotonic import MonotonicChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.checkers.verdict import Checker
from splitbrain.harness.history.history import History
from splitbrain.harness.history.recording import Recording

NEVER = 10 ** 12
SEEDS = 400
Call = tuple[str, Any]
Calls = list[Operation]


def history(rng: random.Random, call: Callable[[random.Random], Call]) -> Calls:
    """A few calls of a few clients. After one that was not answered its client is another one."""
    free = dict.fromkeys(range(4), 0)
    done = []
    for number in range(rng.randint(1, 9)):
        process = rng.choice(list(free))
        begin = free.pop(process) + rng.randint(1, 7)
        end: int | None = begin + rng.randint(0, 12)
        outcome: Any = rng.choice(["ok", "ok", "ok", "ok", "info", "fail"])
        f, value = call(rng)
        error = "mismatch" if outcome == "fail" and rng.random() < 0.6 else None
        free[process if outcome != "info" else 10 + number] = end or 0
        end = None if outcome == "info" and rng.random() < 0.5 else end
        done.append(Operation(
            process=process, f=f, value=value, key=rng.choice([0, 0, 0, 1]), invoked=begin, completed=end, outcome=outcome,
            error=error,
        ))
    return list(History.of(sorted(done, key=lambda one: (one.invoked, one.completed or NEVER))))


def over(one: Operation) -> int:
    return NEVER if one.completed is None else one.completed


def set_call(rng: random.Random) -> Call:
    if rng.random() < 0.5:
        return "add", rng.randint(1, 4)
    return "read", tuple(rng.choice([1, 2, 3, 4, 9]) for _ in range(rng.randint(0, 4)))


def wrong_sets(calls: Calls) -> Iterator[str]:
    reads = [one for one in calls if one.f == "read" and one.outcome == "ok"]
    yield from ("duplicate" for one in reads if len(set(one.value)) < len(one.value))
    for element in range(10):
        adds = [one for one in calls if one.f == "add" and one.value == element]
        live = [one for one in adds if one.outcome != "fail"]
        shows = [one for one in reads if element in one.value]
        seen = min((over(one) for one in shows), default=NEVER)
        if not live:
            yield from ["aborted-read" if adds else "unexpected"] if shows else []
            continue
        if seen < min(one.invoked for one in live):
            yield "future-read"
        known = min([seen, *(over(one) for one in live if one.outcome == "ok")])
        missed = [one.invoked for one in reads if element not in one.value and one.invoked > known]
        if missed:
            yield "lost-element" if all(over(one) < max(missed) for one in shows) else "stale-element"


def lock_call(rng: random.Random) -> Call:
    if rng.random() < 0.45:
        return "acquire", rng.choice([1, 2, 3, 4, None])
    f = rng.choice(["release", "renew", "write", "read"])
    return f, (rng.randint(0, 9), rng.choice([1, 2, 3, None])) if f == "write" else None


def wrong_locks(calls: Calls, last: dict[int, int]) -> Iterator[str]:
    """`last` is when each client was last seen to do anything, at any lock."""
    ends: list[tuple[int, int, int]] = []
    for place, one in enumerate(calls):
        if one.f == "acquire" and one.outcome == "ok":
            given_up = [
                other.invoked for other in calls[place + 1 :] if other.process == one.process
                and (other.f in ("acquire", "release") or (other.f in ("renew", "write") and other.error == "mismatch"))
            ]
            ends.append((over(one), -max(given_up[0] if given_up else last[one.process], over(one)), one.process))
    holds = sorted(ends)
    for at, (began, _, process) in enumerate(holds):
        if any(-ended > began and other != process for _, ended, other in holds[:at]):
            yield "double-hold"
    yield from wrong_fences(calls)


def wrong_fences(calls: Calls) -> Iterator[str]:
    granted = sorted((one for one in calls if one.f == "acquire" and one.outcome == "ok" and one.value is not None), key=over)
    for at, one in enumerate(granted):
        greater = any(over(other) < one.invoked and other.value >= one.value for other in granted)
        if greater or any(other.value == one.value for other in granted[:at]):
            yield "stale-fence"
    passed = [one for one in calls if one.f == "write" and one.outcome == "ok" and one.value[1] is not None]
    for one in passed:
        if any(over(other) < one.invoked and other.value[1] > one.value[1] for other in passed):
            yield "fence-passed"


def id_call(rng: random.Random) -> Call:
    return "generate", rng.choice([1, 2, 3, "a", None])


def wrong_ids(calls: Calls) -> Iterator[str]:
    given = Counter(one.value for one in calls if one.outcome == "ok" and one.value is not None)
    yield from ["duplicate-id"] * sum(times - 1 for times in given.values())


def growing_call(rng: random.Random) -> Call:
    if rng.random() < 0.5:
        return "read", rng.choice([None, -1, 0, 1, 2, 3])
    expected = rng.choice([None, -1, 0, 1, 2])
    return "cas", (expected, (-2 if expected is None else expected) + rng.randint(1, 2))


def wrong_registers(calls: Calls) -> Iterator[str]:
    def seen(one: Operation, place: int) -> int:
        value = one.value[place] if one.f == "cas" else one.value
        return -NEVER if value is None else value

    ok = [one for one in calls if one.outcome == "ok"]
    for one in ok:
        if any(over(other) < one.invoked and seen(other, 1) > seen(one, 0) for other in ok):
            yield "non-monotonic-read"


@pytest.mark.parametrize(("checker", "call", "wrong", "names"), [
    (SetFullChecker(), set_call, wrong_sets, 6), (IdsChecker(), id_call, wrong_ids, 1),
    (MonotonicChecker(), growing_call, wrong_registers, 1), (LockChecker(), lock_call, None, 3),
    (LockChecker(fenced=True), lock_call, wrong_fences, 2),
], ids=["set-full", "unique-ids", "monotonic", "lock", "fenced-lock"])
def test_what_is_wrong_is_counted_by_its_definition(
    checker: Checker, call: Callable[[random.Random], Call], wrong: Callable[[Calls], Iterator[str]] | None, names: int
) -> None:
    found: Counter[str] = Counter()
    for seed in range(SEEDS):
        calls = history(random.Random(seed), call)
        last: dict[int, int] = {}
        for one in calls:
            seen = one.invoked if one.outcome == "info" or one.completed is None else one.completed
            last[one.process] = max(seen, last.get(one.process, 0))
        expected: Counter[str] = Counter()
        refuted = 0
        for key in (0, 1):
            mine = [one for one in calls if one.key == key]
            told = list(wrong(mine) if wrong else wrong_locks(mine, last))
            expected.update(told)
            refuted += bool(told)
        verdict = checker.check(Recording(history=History.of(calls), nodes=()))
        assert (verdict.counts, verdict.coverage.refuted) == (expected, refuted), seed
        found += expected
    assert len(found) == names and min(found.values()) > 2, found
