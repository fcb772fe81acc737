"""Queues, locks, identifiers, sets, watches, long forks and growing registers: right ones are not accused, and what is planted
is found by its name; counts are those of the obvious way."""

from __future__ import annotations

import random
from typing import Any

import pytest
from msgspec.structs import replace

from splitbrain import Operation
from splitbrain.checkers.structures.ids import IdsChecker
from splitbrain.checkers.structures.lock import LockChecker
from splitbrain.checkers.structures.long_fork import LongForkChecker
from splitbrain.checkers.structures.monotonic import MonotonicChecker
from splitbrain.checkers.structures.queue import QueueChecker
from splitbrain.checkers.structures.set_full import SetFullChecker
from splitbrain.checkers.structures.watch import WatchChecker
from splitbrain.harness.errors import UsageError
from tests.checkers.structures.simulated import judged, simulated

SEEDS = range(150)


def one(f: str, value: Any, at: int, process: int = 0, **others: Any) -> Operation:
    key = others.pop("key", 0)
    return Operation(process=process, f=f, value=value, key=key, invoked=10 * at, completed=10 * at + 5, **others)


def spoil(rng: random.Random, operations: list[Operation], f: str, values: Any) -> list[Operation]:
    """The same with what one answer told replaced."""
    at = [place for place, op in enumerate(operations) if op.f == f and op.outcome == "ok"]
    if not at:
        return operations
    place = rng.choice(at)
    return [*operations[:place], replace(operations[place], value=values(operations[place].value)), *operations[place + 1 :]]


# Queues.


def queue_history(rng: random.Random, length: int = 40, clients: int = 4) -> list[Operation]:
    waiting: list[int] = []
    count = iter(range(1000))

    def calls(rng: random.Random, process: int) -> tuple[str, Any]:
        f = rng.choice(("enqueue", "dequeue", "read", "enqueue"))
        return f, next(count) if f == "enqueue" else None

    def step(f: str, value: Any, process: int) -> Any:
        if f == "enqueue":
            waiting.append(value)
            return value
        return tuple(waiting) if f == "read" else waiting.pop(0) if waiting else None

    return simulated(rng, calls, step, length, clients)


def obvious_queue(operations: list[Operation]) -> dict[str, int]:
    """What is certain, each counted the obvious way."""
    found: dict[str, int] = {}
    ok = [op for op in operations if op.outcome == "ok"]
    put = {op.value: op for op in operations if op.f == "enqueue"}
    took = [op for op in ok if op.f == "dequeue"]
    first: dict[Any, Operation] = {}
    for op in sorted(took, key=lambda op: op.completed or 0):
        if op.value is None:
            continue
        if op.value in first:
            found["duplicate"] = found.get("duplicate", 0) + 1
        first.setdefault(op.value, op)
    acknowledged = {value: op for value, op in put.items() if op.outcome == "ok"}
    for value, op in acknowledged.items():
        if value in first and any(
            other in first and op.completed < put[other].invoked and first[other].completed < first[value].invoked  # type: ignore
            for other in put
        ):
            found["reordered"] = found.get("reordered", 0) + 1
    for op in took:
        if op.value is None and any(
            value in first and put.completed < op.invoked and first[value].invoked > op.completed  # type: ignore[operator]
            for value, put in acknowledged.items()
        ):
            found["stale-element"] = found.get("stale-element", 0) + 1
    return found


def test_right_queues_are_not_accused() -> None:
    answered = 0
    for seed in SEEDS:
        verdict = judged(QueueChecker(), queue_history(random.Random(seed)))
        assert not verdict.counts, seed
        answered += verdict.validity == "valid"
    assert answered > 100


def test_spoiled_queues_are_counted_the_obvious_way() -> None:
    named: set[str] = set()
    for seed in SEEDS:
        rng = random.Random(seed)
        operations = queue_history(rng)
        taken = [op.value for op in operations if op.f == "dequeue" and op.outcome == "ok" and op.value is not None]
        put = [op.value for op in operations if op.f == "enqueue"]
        operations = spoil(rng, operations, "dequeue", lambda _: rng.choice([None, 5000, *taken, *put]))  # noqa: B023
        out = {op.value for op in operations if op.f == "dequeue" and op.outcome == "ok"}
        operations = [op for op in operations if op.f == "dequeue" or (op.f == "enqueue" and op.value in out)]
        counts = judged(QueueChecker(), operations).counts
        for name in ("duplicate", "reordered", "stale-element"):
            assert counts.get(name, 0) == obvious_queue(operations).get(name, 0), (seed, name)
        named |= set(counts)
    assert named >= {"duplicate", "reordered", "stale-element", "unexpected"}


def explained(operations: list[Operation]) -> bool:
    """Whether some order of the calls, each at a moment of its own inside it, makes them those of a first-in-first-out
    queue."""
    calls = [op for op in operations if op.outcome == "ok" or (op.outcome == "info" and op.f != "read")]
    ends = [op.completed if op.outcome == "ok" and op.completed is not None else 10**9 for op in calls]
    seen: set[tuple[frozenset[int], tuple[Any, ...]]] = set()

    def grown(done: frozenset[int], waiting: tuple[Any, ...]) -> bool:
        left = [at for at in range(len(calls)) if at not in done]
        if not any(calls[at].outcome == "ok" for at in left):
            return True
        if (done, waiting) in seen:
            return False
        seen.add((done, waiting))
        for at in left:
            op = calls[at]
            if op.invoked > min(ends[other] for other in left):
                continue
            first = waiting[0] if waiting else None
            if op.f == "enqueue":
                after: Any = (*waiting, op.value)
            elif op.f == "dequeue":
                after = waiting[1:] if op.outcome == "info" or op.value == first else None
            else:
                after = waiting if tuple(op.value) == waiting else None
            if after is not None and grown(done | {at}, after):
                return True
        return False

    return grown(frozenset(), ())


def test_queues_are_accused_of_nothing_that_an_order_of_the_calls_explains() -> None:
    found = wrong = 0
    named: set[str] = set()
    for seed in range(250):
        rng = random.Random(seed)
        operations = queue_history(rng, length=9, clients=3)
        put = [op.value for op in operations if op.f == "enqueue"]

        def shown(told: tuple[int, ...], rng: random.Random = rng, put: list[int] = put) -> tuple[int, ...]:
            parts = [one for one in dict.fromkeys((*told, *put)) if one in told or rng.random() < 0.2]
            if rng.random() < 0.5:
                rng.shuffle(parts)
            return tuple(one for one in parts if rng.random() < 0.8)

        operations = spoil(rng, operations, "read", shown)
        counts = judged(QueueChecker(), operations).counts
        fine = explained(operations)
        assert not (fine and counts), (seed, counts)
        wrong += not fine
        found += bool(counts)
        named |= set(counts)
    assert named >= {"stale-element", "reordered", "stale-read", "future-read"}
    assert found > 0.6 * wrong > 30


def test_reads_tell_the_order_of_a_queue() -> None:
    put = [one("enqueue", 1, 1), one("enqueue", 2, 2)]
    beside = [one("enqueue", 1, 1), replace(one("enqueue", 2, 1, process=1), invoked=11)]
    turned = judged(QueueChecker(), [*put, one("read", (2, 1), 3)])
    assert turned.counts == {"reordered": 1}
    assert "showed 2 before 1, which had been put in by" in turned.anomalies[0].sentence
    assert judged(QueueChecker(), [*beside, one("read", (2, 1), 3)]).validity == "valid"
    both = judged(QueueChecker(), [*beside, one("read", (2, 1), 3), one("read", (1, 2), 4)])
    assert both.counts == {"reordered": 1} and "contradict each other" in both.anomalies[0].sentence
    out = [*beside, one("read", (2, 1), 3), one("dequeue", 1, 4), one("dequeue", 2, 5)]
    assert judged(QueueChecker(), out).counts == {"reordered": 1}
    assert judged(QueueChecker(), [*out[:3], one("dequeue", 2, 4), one("dequeue", 1, 5)]).validity == "valid"
    # Three of them in a circle, no two of which contradict each other.
    three = [*beside, replace(one("enqueue", 3, 1, process=2), invoked=12)]
    circle = [one("read", pair, at) for at, pair in enumerate([(1, 2), (2, 3), (3, 1)], 3)]
    assert judged(QueueChecker(), [*three, *circle]).counts == {"reordered": 1, "stale-element": 2, "lost-element": 1}


def test_a_read_shows_all_that_is_there() -> None:
    history = [one("enqueue", 1, 1), one("enqueue", 2, 2), one("read", (2,), 3), one("dequeue", 1, 4), one("dequeue", 2, 5)]
    verdict = judged(QueueChecker(), history)
    assert verdict.counts == {"stale-element": 1}
    assert "did not show 1, which had been there since" in verdict.anomalies[0].sentence
    late = replace(history[2], completed=47)  # It may have been taken out before the read looked.
    assert judged(QueueChecker(), [*history[:2], late, *history[3:]]).validity == "valid"


def test_an_element_that_waits_twice_is_doubled() -> None:
    put = one("enqueue", 5, 1)
    assert judged(QueueChecker(), [put, one("read", (5, 5), 2)]).counts == {"duplicate": 1}
    assert judged(QueueChecker(), [put, one("read", (5, 5), 2), one("read", (5, 5), 3)]).counts == {"duplicate": 1}
    assert judged(QueueChecker(), [put, one("read", (5,), 2), one("read", (5,), 3)]).validity == "valid"


def test_a_lost_element_is_one_that_nobody_can_have_taken() -> None:
    lost = [one("enqueue", 1, 1), one("enqueue", 2, 2), one("dequeue", 1, 3), one("read", (), 4)]
    verdict = judged(QueueChecker(), lost)
    assert verdict.counts == {"lost-element": 1}
    assert "2, acknowledged by" in verdict.anomalies[0].sentence
    unanswered = one("dequeue", None, 3, process=5, outcome="info")
    assert judged(QueueChecker(), [*lost, unanswered]).validity == "valid"
    # It began when the element was gone already.
    assert judged(QueueChecker(), [*lost, replace(unanswered, invoked=100)]).counts == {"lost-element": 1}
    assert judged(QueueChecker(), [*lost, one("enqueue", 3, 3, 7), unanswered]).counts == {"lost-element": 1}
    # It is there again: the read before had to show it.
    assert judged(QueueChecker(), [*lost, one("read", (2,), 9)]).counts == {"stale-element": 1}
    # A dequeue that found nothing looked, too; and what was seen is lost as what was acknowledged is.
    assert judged(QueueChecker(), [*lost[:3], one("dequeue", None, 4)]).counts == {"lost-element": 1}
    seen = [one("enqueue", 1, 1, process=7, outcome="info"), one("read", (1,), 2), one("read", (), 3)]
    assert judged(QueueChecker(), seen).counts == {"lost-element": 1}
    # What was told before anybody put it in, and never was acknowledged, need not have been there at all.
    early = [one("read", (1,), 1), one("enqueue", 1, 2, process=7, outcome="info"), one("read", (), 3)]
    assert judged(QueueChecker(), early).counts == {"future-read": 1}


def test_what_became_of_elements_is_not_known_where_nobody_looked() -> None:
    taken = [one("enqueue", 1, 1), one("enqueue", 2, 2), one("dequeue", 1, 3)]
    verdict = judged(QueueChecker(), taken)
    assert verdict.validity == "unknown" and "nobody looked what became of 1 elements" in verdict.reason
    assert {standing.model: standing.state for standing in verdict.standings} == {
        "queues complete": "undecided", "queues ordered": "holds",
    }
    assert judged(QueueChecker(), [*taken, one("dequeue", 2, 4)]).validity == "valid"
    # At the moment at which the read was over it may have been taken.
    silent = replace(one("dequeue", None, 4, 5, outcome="info"), completed=200)
    assert judged(QueueChecker(), [*taken, one("read", (), 4), replace(silent, invoked=45)]).validity == "valid"
    assert judged(QueueChecker(), [*taken, one("read", (), 4), replace(silent, invoked=46)]).counts == {"lost-element": 1}


def test_an_element_whose_enqueue_failed_or_that_is_told_too_early() -> None:
    assert judged(QueueChecker(), [one("enqueue", 1, 1, outcome="fail"), one("dequeue", 1, 2)]).counts == {"aborted-read": 1}
    assert judged(QueueChecker(), [one("dequeue", 1, 1), one("enqueue", 1, 2)]).counts == {"future-read": 1}
    back = [one("enqueue", 1, 1), one("dequeue", 1, 2), one("read", (1,), 3)]
    assert judged(QueueChecker(), back).counts == {"stale-read": 1}
    assert judged(QueueChecker(), [one("enqueue", 1, 1, outcome="info"), one("dequeue", 1, 2)]).validity == "valid"


# Locks.


def lock_history(rng: random.Random, fences: bool = True) -> list[Operation]:
    holder: list[int | None] = [None]
    fence = [0]
    mine: dict[int, int] = {}

    def calls(rng: random.Random, process: int) -> tuple[str, Any]:
        if process in mine:
            f = rng.choice(("release", "renew", "write"))
            return f, (rng.randrange(1000), mine[process]) if f == "write" else process
        return rng.choice(("acquire", "read")), None

    def step(f: str, value: Any, process: int) -> Any:
        if f == "read":
            return holder[0]
        if f == "acquire":
            if holder[0] is not None:
                raise LookupError
            fence[0] += 1
            holder[0], mine[process] = process, fence[0]
            return fence[0]
        if f == "release":
            holder[0] = None
            mine.pop(process, None)
        return value

    return simulated(rng, calls, step)


def test_right_locks_are_not_accused() -> None:
    for seed in SEEDS:
        operations = lock_history(random.Random(seed))
        assert not judged(LockChecker(), operations).counts, seed
        assert not judged(LockChecker(fenced=True), operations).counts, seed


def test_two_holders_at_a_time() -> None:
    held = [one("acquire", 1, 1, 0), one("acquire", 2, 3, 1), one("release", 0, 5, 0), one("release", 1, 6, 1)]
    verdict = judged(LockChecker(), held)
    assert verdict.counts == {"double-hold": 1}
    assert "held lock 0 together for 0.000 s" in verdict.anomalies[0].sentence
    assert judged(LockChecker(fenced=True), held).validity == "valid"
    assert "Two held a lock together 1 times" in judged(LockChecker(fenced=True), held).reason


@pytest.mark.parametrize("end", [
    one("release", 0, 2, 0), one("renew", 0, 2, 0, outcome="fail", error="mismatch"), one("release", 0, 2, 0, outcome="info"),
    one("renew", 0, 2, 0, outcome="info"),
])
def test_a_hold_ends_where_it_is_given_up_or_where_nothing_more_is_known(end: Operation) -> None:
    held = [one("acquire", 1, 1, 0), end, one("acquire", 2, 3, 1), one("release", 1, 6, 1)]
    assert judged(LockChecker(), held).validity == "valid"


def test_an_unanswered_acquire_holds_nothing() -> None:
    held = [one("acquire", 1, 1, 0, outcome="info"), one("acquire", 2, 3, 1), one("release", 1, 6, 1)]
    assert judged(LockChecker(), held).validity == "valid"


def test_who_asks_for_a_lock_again_has_it_no_longer() -> None:
    refused = one("acquire", None, 4, 0, outcome="fail", error="mismatch")
    held = [one("acquire", 1, 1, 0), one("acquire", 2, 5, 1), one("release", 1, 6, 1), one("read", None, 7, 0)]
    assert judged(LockChecker(), held).counts == {"double-hold": 1}
    assert judged(LockChecker(), [*held, refused]).validity == "valid"
    # Another lock, or another client's call, ends nothing.
    assert judged(LockChecker(), [*held, replace(refused, key=1)]).counts == {"double-hold": 1}
    assert judged(LockChecker(), [*held, replace(refused, process=3)]).counts == {"double-hold": 1}
    # A renewal that was not answered tells the client nothing, who goes on to hold it.
    assert judged(LockChecker(), [*held, one("renew", 0, 4, 0, outcome="fail", error="timeout")]).counts == {"double-hold": 1}


def test_fences_that_do_not_grow_and_that_let_through() -> None:
    grown = [one("acquire", 2, 1, 0), one("release", 0, 2, 0), one("acquire", 2, 3, 1), one("release", 1, 4, 1)]
    assert judged(LockChecker(fenced=True), grown).counts == {"stale-fence": 1}
    passed = [one("acquire", 1, 1, 0), one("acquire", 2, 3, 1), one("write", (10, 2), 4, 1), one("write", (11, 1), 5, 0)]
    assert judged(LockChecker(fenced=True), passed).counts == {"fence-passed": 1}
    refused = [*passed[:3], replace(passed[3], outcome="fail", error="mismatch")]
    assert judged(LockChecker(fenced=True), refused).validity == "valid"
    assert "the fence refused 1 write." in judged(LockChecker(fenced=True), refused).reason
    unanswered = [*passed[:2], replace(passed[2], outcome="info"), passed[3]]
    assert judged(LockChecker(fenced=True), unanswered).validity == "valid"


# Identifiers.


def test_identifiers() -> None:
    right = [one("generate", 1, 1), one("generate", 2, 2), one("generate", 1, 3, key=1)]
    assert judged(IdsChecker(), right).validity == "valid"
    twice = [one("generate", "a", 1), one("generate", "b", 2), one("generate", "a", 3, 1), one("generate", "a", 4)]
    assert judged(IdsChecker(), twice).counts == {"duplicate-id": 2}
    assert judged(IdsChecker(), [one("generate", 1, 1), one("generate", 1, 2, outcome="info")]).validity == "valid"
    with pytest.raises(UsageError, match="no operation 'read'"):
        judged(IdsChecker(), [one("read", 1, 1)])


# Growing registers.


def test_registers_that_go_down_are_counted_the_obvious_way() -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        held: list[int | None] = [None]
        count = iter(range(1, 1000))

        def calls(rng: random.Random, process: int, held: Any = held, count: Any = count) -> tuple[str, Any]:
            return ("read", None) if rng.random() < 0.5 else ("cas", (held[0], next(count)))

        def step(f: str, value: Any, process: int, held: Any = held) -> Any:
            if f == "read":
                return held[0]
            if value[0] != held[0]:
                raise LookupError
            held[0] = value[1]
            return value

        operations = simulated(rng, calls, step)
        assert not judged(MonotonicChecker(), operations).counts, seed
        spoiled = spoil(rng, operations, "read", lambda _: rng.randint(1, 20))  # noqa: B023
        ok = [op for op in spoiled if op.outcome == "ok"]
        reached = {op.index: op.value[1] if op.f == "cas" else op.value or 0 for op in ok}
        assert len(reached) <= len(ok)
        wrong = sum(
            any((other.value[1] if other.f == "cas" else other.value or 0) > ((op.value[0] if op.f == "cas" else op.value) or 0)
                and other.completed < op.invoked for other in ok)  # type: ignore[operator]
            for op in ok
        )
        assert judged(MonotonicChecker(), spoiled).counts.get("non-monotonic-read", 0) == wrong, seed


# Sets.


def set_history(rng: random.Random) -> list[Operation]:
    held: list[int] = []
    count = iter(range(1000))

    def calls(rng: random.Random, process: int) -> tuple[str, Any]:
        return ("add", next(count)) if rng.random() < 0.5 else ("read", None)

    def step(f: str, value: Any, process: int) -> Any:
        if f == "read":
            return tuple(held)
        held.append(value)
        return value

    return simulated(rng, calls, step)


def obvious_set(operations: list[Operation]) -> dict[str, int]:
    reads = [op for op in operations if op.f == "read" and op.outcome == "ok"]
    found: dict[str, int] = {}
    for op in (op for op in operations if op.f == "add" and op.outcome != "fail"):
        seen = [read for read in reads if op.value in read.value]
        moments = [read.completed for read in seen] + ([op.completed] if op.outcome == "ok" else [])
        if not moments:
            continue
        missed = [read for read in reads if op.value not in read.value and read.invoked > min(moments)]  # type: ignore[type-var, operator]
        if missed:
            last = max(read.invoked for read in missed)
            name = "stale-element" if any(read.completed >= last for read in seen) else "lost-element"  # type: ignore[operator]
            found[name] = found.get(name, 0) + 1
    return found


def obviously_missing(operations: list[Operation]) -> int:
    """How many reads miss an element that was known when they began."""
    reads = [op for op in operations if op.f == "read" and op.outcome == "ok"]
    known = [
        (op.value, min(moment for moment in moments if moment is not None))
        for op in operations if op.f == "add" and op.outcome != "fail"
        if (moments := [read.completed for read in reads if op.value in read.value]
            + ([op.completed] if op.outcome == "ok" else []))
    ]
    return sum(any(since < read.invoked and value not in read.value for value, since in known) for read in reads)


def test_sets_are_counted_the_obvious_way() -> None:
    named: set[str] = set()
    for seed in SEEDS:
        rng = random.Random(seed)
        operations = set_history(rng)
        assert not judged(SetFullChecker(), operations).counts, seed
        for _ in range(2):
            operations = spoil(rng, operations, "read", lambda told: told[:-1] if rng.random() < 0.5 else told[1:])  # noqa: B023
        verdict = judged(SetFullChecker(), operations)
        counts = verdict.counts
        assert counts == obvious_set(operations), seed
        if verdict.staleness is not None:
            assert verdict.staleness.stale == obviously_missing(operations), seed
        named |= set(counts)
    assert named == {"lost-element", "stale-element"}


def test_sets_tell_how_late_what_was_doubled_and_what_nobody_looked_for() -> None:
    late = [one("add", 1, 10**8), one("read", (), 2 * 10**8), one("read", (1,), 3 * 10**8), one("add", 2, 4 * 10**8)]
    verdict = judged(SetFullChecker(), late)
    assert verdict.counts == {"stale-element": 1} and verdict.staleness is not None and verdict.staleness.stale == 1
    assert "1 of 2 elements were never looked for; 1 elements came late, the latest 1.000 s" in verdict.reason
    assert judged(SetFullChecker(), [one("add", 1, 1), one("read", (1, 1), 2)]).counts == {"duplicate": 1}
    assert judged(SetFullChecker(), [one("add", 1, 1, outcome="fail"), one("read", (1,), 2)]).counts == {"aborted-read": 1}
    assert judged(SetFullChecker(), [one("read", (7,), 2)]).counts == {"unexpected": 1}


def test_sets_say_nothing_of_what_nobody_looked_for_or_never_was() -> None:
    early = [one("read", (), 1), one("add", 1, 2), one("add", 2, 3)]
    assert judged(SetFullChecker(), early).validity == "unknown"
    assert "no read began after an element was known" in judged(SetFullChecker(), early).reason
    assert {standing.state for standing in judged(SetFullChecker(), early).standings} == {"undecided"}
    assert judged(SetFullChecker(), [*early, one("read", (1, 2), 4)]).validity == "valid"
    # Concurrent with the addition, unanswered and never seen, or failed: none has to be there.
    slow = replace(one("add", 1, 2, 5), completed=500)
    for add in (slow, one("add", 1, 2, outcome="info"), one("add", 1, 2, outcome="fail")):
        assert judged(SetFullChecker(), [one("add", 3, 1), add, one("read", (3,), 4)]).validity == "valid"
    # A read of what failed is wrong; that it is not there later is right.
    rolled_back = [one("add", 1, 1, outcome="fail"), one("read", (1,), 2), one("read", (), 3)]
    assert judged(SetFullChecker(), rolled_back).counts == {"aborted-read": 1}
    assert judged(SetFullChecker(), [one("read", (7,), 1), one("read", (), 2)]).counts == {"unexpected": 1}
    # Once seen, an unanswered one has to stay; one that was added anew after it failed is there.
    seen = [one("add", 1, 1, outcome="info"), one("read", (1,), 2), one("read", (), 3)]
    assert judged(SetFullChecker(), seen).counts == {"lost-element": 1}
    anew = [one("add", 1, 1, outcome="fail"), one("add", 1, 2), one("read", (1,), 3)]
    assert judged(SetFullChecker(), anew).validity == "valid"
    assert judged(SetFullChecker(), [one("add", 1, 1), one("read", (1, None), 2)]).validity == "valid"


# Watches.


def watch_history(rng: random.Random) -> list[Operation]:
    log: list[tuple[int, int]] = []
    count = iter(range(1000))
    told: dict[int, int] = {}

    def calls(rng: random.Random, process: int) -> tuple[str, Any]:
        return ("write", next(count)) if rng.random() < 0.5 else ("read", (told.get(process, 0), ()))

    def step(f: str, value: Any, process: int) -> Any:
        if f == "write":
            log.append((3 * len(log) + 1, value))
            return value
        changes = tuple(change for change in log if change[0] > value[0])[: rng.randint(1, 9)]
        told[process] = max((revision for revision, _ in changes), default=value[0])
        return value[0], changes

    # Who asks for everything is told everything.
    whole = 10 ** 6
    return [*simulated(rng, calls, step), one("read", (0, tuple(log)), whole, process=10**4)]


def test_right_watches_are_not_accused() -> None:
    for seed in SEEDS:
        operations = watch_history(random.Random(seed))
        # A first watch may end early: only the one in the end is of everything.
        early = {op.process for op in operations if op.f == "read" and op.outcome == "ok" and op.value[0] == 0}
        operations = [op for op in operations if op.process not in early or op.process == 10**4 or op.f == "write"]
        assert not judged(WatchChecker(), operations).counts, seed


@pytest.mark.parametrize(("changes", "name"), [
    (((1, 10), (4, 12)), "missed-event"), (((4, 11), (1, 10), (7, 12)), "event-reordered"),
    (((1, 10), (1, 10), (4, 11), (7, 12)), "duplicate"), (((1, 10), (4, 11), (7, 12), (9, 99)), "unexpected"),
])
def test_a_watch_that_is_told_wrongly(changes: tuple[tuple[int, int], ...], name: str) -> None:
    writes = [one("write", 10, 1), one("write", 11, 2), one("write", 12, 3)]
    right = one("read", (0, ((1, 10), (4, 11), (7, 12))), 9)
    assert judged(WatchChecker(), [*writes, right]).validity == "valid"
    assert name in judged(WatchChecker(), [*writes, right, one("read", (0, changes), 8, 1)]).counts


def test_a_watch_is_not_told_of_the_past_and_a_lost_change_is_lost() -> None:
    writes = [one("write", 10, 1), one("write", 11, 2)]
    right = one("read", (0, ((1, 10), (4, 11))), 9)
    past = one("read", (1, ((1, 10), (4, 11))), 8, 1)
    assert judged(WatchChecker(), [*writes, right, past]).counts == {"event-from-the-past": 1}
    assert judged(WatchChecker(), [*writes, one("read", (0, ((1, 10),)), 9)]).counts == {"missed-event": 1}
    swapped = one("read", (0, ((1, 11), (4, 10))), 9)
    assert "event-reordered" in judged(WatchChecker(), [*writes, swapped]).counts


def test_watches_accuse_nobody_of_what_is_not_known() -> None:
    writes = [one("write", 10, 1), one("write", 11, 1, 1, outcome="info"), one("write", 12, 3, 2, outcome="fail")]
    # An unanswered write may be missing, and come at any time; a failed one has to be missing.
    assert judged(WatchChecker(), [*writes, one("read", (0, ((1, 10),)), 9)]).validity == "valid"
    assert judged(WatchChecker(), [*writes, one("read", (0, ((1, 11), (2, 10))), 9)]).validity == "valid"
    assert judged(WatchChecker(), [*writes, one("read", (0, ((1, 10), (2, 11))), 9)]).validity == "valid"
    told = [one("read", (0, ((1, 10), (2, 12))), 9)]
    assert judged(WatchChecker(), [*writes, *told]).counts == {"aborted-read": 1}
    # A write that had not been acknowledged when the watch began may be missing, and a watch after it has nothing to tell.
    late = replace(one("write", 13, 4, 3), completed=95)
    assert judged(WatchChecker(), [writes[0], late, one("read", (0, ((1, 10),)), 9, 4)]).validity == "valid"
    assert judged(WatchChecker(), [writes[0], one("read", (0, ((1, 10),)), 2), one("read", (1, ()), 3)]).validity == "valid"
    # A watch that was not answered told nothing.
    assert judged(WatchChecker(), [writes[0], one("read", (0, ()), 9, outcome="fail")]).validity == "unknown"
    with pytest.raises(UsageError, match="written once"):
        judged(WatchChecker(), [writes[0], one("write", 10, 2)])


def test_of_two_values_at_one_revision_neither_is_told_too_early() -> None:
    writes = [one("write", 10, 1), one("write", 11, 5)]
    watches = [one("read", (0, ((1, 10),)), 3, 1), one("read", (0, ((1, 11),)), 9, 2)]
    assert judged(WatchChecker(), [*writes, *watches]).counts == {"unexpected": 1, "missed-event": 1}
    # Who was told first in time counts, not who asked first.
    early = one("read", (0, ((1, 10),)), 2, 2)
    slow = [replace(early, process=1, invoked=10, completed=99), one("write", 10, 3), early]
    assert "future-read" in judged(WatchChecker(), slow).counts


def test_missed_changes_of_many_watches_are_told_once_each() -> None:
    for seed in SEEDS:
        rng = random.Random(seed)
        writes = [one("write", value, rng.randrange(90), value) for value in range(8)]
        watches = []
        for process in range(10, 18):
            at = rng.randrange(90)
            there = [op for op in writes if op.completed < 10 * at and rng.random() < 0.9]  # type: ignore[operator]
            told = tuple((op.completed, op.value) for op in sorted(there, key=lambda op: (op.completed, op.value)))
            watches.append(one("read", (0, told), at, process))
        missing = {
            op.value for op in writes for watch in watches
            if op.completed < watch.invoked and op.value not in {value for _, value in watch.value[1]}  # type: ignore[operator]
        }
        told_all = [{revision for revision, _ in watch.value[1]} for watch in watches]
        gaps = sum(
            any(revision < max(told) for revision in set().union(*told_all) - told) for told in told_all if told
        )
        if len({op.completed for op in writes}) == len(writes):
            counts = judged(WatchChecker(), [*writes, *watches]).counts
            assert counts.get("missed-event", 0) == len(missing) + gaps, seed
            assert set(counts) <= {"missed-event"}


# Long forks.


def txn(at: int, *micros: tuple[str, int, Any], process: int = 0) -> Operation:
    return one("txn", micros, at, process, key=None)


def test_long_forks() -> None:
    writes = [txn(1, ("w", 0, 1)), txn(1, ("w", 1, 2), process=1)]
    crossed = [txn(2, ("r", 0, 1), ("r", 1, None), process=2), txn(2, ("r", 0, None), ("r", 1, 2), process=3)]
    assert judged(LongForkChecker(), [*writes, *crossed]).counts == {"long-fork": 1}
    chain = [txn(2, ("r", 0, None), ("r", 1, None), process=4), crossed[0], txn(4, ("r", 0, 1), ("r", 1, 2), process=3)]
    assert judged(LongForkChecker(), [*writes, *chain]).validity == "valid"
    with pytest.raises(UsageError, match="written once"):
        judged(LongForkChecker(), [*writes, txn(5, ("w", 0, 3))])


def test_long_forks_of_reads_that_have_only_some_registers_in_common() -> None:
    writes = [txn(1, ("w", 0, 1)), txn(1, ("w", 1, 2), process=1)]
    first = txn(2, ("r", 0, 1), ("r", 1, None), ("r", 2, None), process=2)
    second = txn(2, ("r", 0, None), ("r", 1, 2), process=3)
    assert judged(LongForkChecker(), [*writes, first, second]).counts == {"long-fork": 1}
    assert judged(LongForkChecker(), [*writes, first, txn(2, ("r", 0, 1), ("r", 1, 2), process=3)]).validity == "valid"
    assert judged(LongForkChecker(), [*writes, first, txn(2, ("r", 3, None), ("r", 1, 2), process=3)]).validity == "valid"
