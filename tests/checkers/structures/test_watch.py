"""Watches: what is missing is found where it is proven, and watches that are late, cut short or taken up again are not
accused."""

from __future__ import annotations

import random
from collections import Counter
from itertools import product
from typing import Any

from msgspec.structs import replace

from splitbrain import Operation
from splitbrain.checkers.structures.watch import WatchChecker
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.recording import Recording
from tests.checkers.structures.simulated import judged


def write(value: int, invoked: int, completed: int, outcome: Any = "ok") -> Operation:
    return Operation(
        process=100 + value, f="write", value=value, key=0, invoked=invoked, completed=completed, outcome=outcome,
    )


def watch(process: int, since: int, changes: Any, invoked: int, completed: int | None = None) -> Operation:
    over = invoked + 1 if completed is None else completed
    return Operation(process=process, f="read", value=(since, tuple(changes)), key=0, invoked=invoked, completed=over)


def counts_of(*operations: Operation) -> dict[str, int]:
    return dict(judged(WatchChecker(), sorted(operations, key=lambda one: one.invoked)).counts)


# What is proven.


def test_a_write_that_nobody_was_told_is_missed_where_watches_were_told_all_of_its_place() -> None:
    before, lost, after = write(1, 0, 1), write(2, 10, 11), write(3, 20, 21)
    assert counts_of(before, lost, after, watch(0, 0, [(3, 1)], 5), watch(0, 3, [(9, 3)], 30)) == {"missed-event": 1}
    # Two that leave no hole between them, of two clients; and with a hole.
    assert counts_of(before, lost, after, watch(0, 0, [(3, 1)], 5), watch(1, 3, [(9, 3)], 30)) == {"missed-event": 1}
    assert not counts_of(before, lost, after, watch(0, 0, [(3, 1)], 5), watch(1, 7, [(9, 3)], 30))
    # It may come after all that was told, where the write beside it was not told either, or began before this one ended.
    assert not counts_of(before, lost, after, watch(0, 0, [(3, 1)], 5), watch(0, 3, [], 30))
    assert not counts_of(before, lost, write(3, 11, 21), watch(0, 0, [(3, 1)], 5), watch(0, 3, [(9, 3)], 30))
    # What may have happened, or failed, has no place.
    for outcome in ("info", "fail"):
        assert not counts_of(
            before, write(2, 10, 11, outcome), after, watch(0, 0, [(3, 1)], 5), watch(0, 3, [(9, 3)], 30),
        )


def test_between_two_revisions_that_follow_each_other_there_is_no_place_for_a_write() -> None:
    operations = [write(1, 0, 1), write(2, 10, 11), write(3, 20, 21), watch(0, 0, [(3, 1)], 5), watch(1, 3, [(4, 3)], 30)]
    assert counts_of(*operations) == {"missed-event": 1}


def test_where_the_place_of_a_write_begins_is_known_by_who_was_told_the_one_before() -> None:
    """A watch after revision 3 was asked for the write only if that has a higher one."""
    lost, after = write(2, 10, 11), write(3, 20, 21)
    late = watch(1, 3, [(9, 3)], 30)
    assert counts_of(write(1, 0, 1, "info"), watch(0, 0, [(3, 1)], 5), lost, after, late) == {"missed-event": 1}
    assert not counts_of(write(1, 0, 1, "info"), watch(0, 2, [(3, 1)], 12), lost, after, late)


def test_only_the_last_watch_of_a_client_has_to_tell_everything() -> None:
    writes = [write(1, 0, 1), write(2, 2, 3)]
    early = watch(0, 0, [(1, 1)], 10)
    assert counts_of(*writes, early) == {"missed-event": 1}
    assert not counts_of(*writes, early, watch(0, 1, [(4, 2)], 20))
    assert not counts_of(*writes, early, watch(0, 0, [(1, 1), (4, 2)], 20))
    assert counts_of(*writes, early, watch(0, 0, [(1, 1)], 20)) == {"missed-event": 1}
    # Another client, or another key, is none of it.
    assert counts_of(*writes, early, watch(1, 0, [(1, 1), (4, 2)], 20)) == {"missed-event": 1}


def test_a_change_that_was_told_is_known_though_its_write_was_not_answered() -> None:
    writes = [write(1, 0, 1), write(2, 2, 3, "info")]
    told = watch(0, 0, [(1, 1), (4, 2)], 10)
    assert counts_of(*writes, told, watch(0, 0, [(1, 1)], 20)) == {"missed-event": 1}
    assert counts_of(*writes, told, watch(1, 0, [(1, 1)], 20)) == {"missed-event": 1}
    assert not counts_of(*writes, told, watch(1, 0, [(1, 1)], 9, 20))


# Watches as they may be, of a store that tells all in its order.


def story(rng: random.Random) -> list[Operation]:
    """Writes that get a revision at one moment of theirs, or none; and clients that watch: from views that are late, cut short
    at any change, from the last that they were told, anew from 0, or from any revision."""
    writes: list[Operation] = []
    log: list[tuple[int, int]] = []
    moment, revision = 0, 0
    for value in range(rng.randint(1, 7)):
        begin = moment + rng.randint(-6, 6)
        end = begin + rng.randint(1, 12)
        outcome = rng.choice(["ok", "ok", "ok", "info", "fail"])
        writes.append(write(value, begin, end, outcome))
        if outcome == "ok" or (outcome == "info" and rng.random() < 0.5):
            at = rng.uniform(begin, end) if outcome == "ok" else begin + rng.uniform(0, 40)
            log.append((value, int(10 * at)))
        moment += rng.randint(0, 8)
    log.sort(key=lambda one: one[1])
    changes: list[tuple[int, int, int]] = []
    for value, at in log:
        revision += rng.randint(1, 3)
        changes.append((revision, value, at))
    watches: list[Operation] = []
    for client in range(rng.randint(1, 3)):
        begin, known = rng.randint(-5, 40), 0
        for _ in range(rng.randint(1, 4)):
            end = begin + rng.randint(1, 10)
            since = rng.choice([known, known, known, 0, rng.randint(0, revision)])
            view = 10 * rng.randint(begin - 20, end)
            told = [(number, value) for number, value, at in changes if number > since and at < view]
            told = told[: rng.randint(0, 3)] if rng.random() < 0.5 else told
            watches.append(watch(client, since, told, begin, end))
            known = max([since, *(number for number, _ in told)])
            begin = end + rng.randint(1, 10)
        # Who ends with everything is told all there is.
        if watches[-1].value[0] == 0:
            everything = [(number, value) for number, value, at in changes if at < 10 * begin]
            watches.append(watch(client, 0, everything, begin))
    shift = 100
    moved = [*writes, *watches]
    return sorted(
        (Operation(process=one.process, f=one.f, value=one.value, key=0, outcome=one.outcome, invoked=one.invoked + shift,
                   completed=(one.completed or 0) + shift) for one in moved), key=lambda one: one.invoked,
    )


def told_all(watches: list[Operation], revision: int) -> bool:
    """Whether one of these watches proves that there is no change of that revision which it was not told."""
    return any(one.value[0] < revision <= max((number for number, _ in one.value[1]), default=0) for one in watches)


def obviously_missed(operations: list[Operation]) -> int:
    """How often a change is missing, each kind by its definition, all revisions tried."""
    watches = [one for one in operations if one.f == "read" and one.outcome == "ok"]
    writes = [one for one in operations if one.f == "write" and one.outcome != "fail"]
    revisions = {value: number for one in watches for number, value in one.value[1]}
    known: dict[int, int] = {}
    for one in writes:
        moments = [other.completed for other in watches if one.value in [value for _, value in other.value[1]]]
        moments += [one.completed] if one.outcome == "ok" else []
        known |= {one.value: min(moment for moment in moments if moment is not None)} if moments else {}
    found = 0
    for one in watches:
        numbers = {number for number, _ in one.value[1]}
        found += any(one.value[0] < number < max(numbers, default=0) for number in {*revisions.values()} - numbers)
    last = {one.process: one for one in watches}.values()
    for one in writes:
        if one.value not in known:
            continue
        if any(other.value[0] == 0 and other.invoked > known[one.value]
               and one.value not in [value for _, value in other.value[1]] for other in last):
            found += 1
        elif one.value not in revisions:
            free = []
            for number in range(1, max(revisions.values(), default=0) + 2):
                fits = number not in revisions.values() and all(
                    (known[other.value] >= one.invoked or revisions[other.value] < number)
                    and (other.invoked <= one.completed or revisions[other.value] > number)  # type: ignore[operator]
                    for other in writes if other.value in revisions
                )
                free += [number] if fits and not told_all(watches, number) else []
            found += not free
    return found


def test_watches_that_are_late_cut_short_or_taken_up_again_are_not_accused() -> None:
    ends: Counter[bool] = Counter()
    for seed in range(3000):
        operations = story(random.Random(seed))
        counts = counts_of(*operations)
        assert not counts, seed
        ends[any(one.value[1] for one in operations if one.f == "read")] += 1
    assert min(ends[True], ends[False]) > 100


def dropped(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """A change is not told to anybody, or not to one watch."""
    told = [one for one in operations if one.f == "read" and one.value[1]]
    if not told:
        return operations
    gone = rng.choice(rng.choice(told).value[1])
    victims = told if rng.random() < 0.5 else [rng.choice(told)]
    return [
        watch(one.process, one.value[0], [change for change in one.value[1] if change != gone], one.invoked, one.completed)
        if one in victims else one
        for one in operations
    ]


def test_what_is_missed_is_counted_the_obvious_way() -> None:
    found: Counter[int] = Counter()
    for seed in range(3000):
        rng = random.Random(seed)
        operations = dropped(rng, story(rng))
        counts = counts_of(*operations)
        assert counts.get("missed-event", 0) == obviously_missed(operations), seed
        assert set(counts) <= {"missed-event"}, seed
        found[counts.get("missed-event", 0)] += 1
    assert found[1] > 300 and found[2] > 50, found


# Whether any log at all may have been watched so.


def some_log(operations: list[Operation]) -> bool:
    """Whether there is a log of writes, each with a revision and a moment of its own, of which every watch was told all from
    where it began to the last that it was told, and who ended with everything all that was known: every place of every write
    that nobody was told is tried, where there is room for any number of them."""
    watches = [one for one in operations if one.f == "read" and one.outcome == "ok"]
    writes = {one.value: one for one in operations if one.f == "write" and one.outcome != "fail"}
    told = [change for one in watches for change in one.value[1]]
    log = dict(told)
    if len(set(told)) != len(log) or len(set(log.values())) != len(log) or not set(log.values()) <= writes.keys():
        return False
    by = {value: (one.ended if one.outcome == "ok" else NEVER) for value, one in writes.items()}
    for one in watches:
        for _, value in one.value[1]:
            by[value] = min(by[value], one.ended)
        since, numbers = one.value[0], [number for number, _ in one.value[1]]
        if numbers != sorted(number for number in log if since < number <= max(numbers, default=0)):
            return False
    for one in {one.process: one for one in watches}.values():
        known = {value for value, moment in by.items() if moment < one.invoked}
        if one.value[0] == 0 and known - {value for _, value in one.value[1]}:
            return False
    untold = [value for value, one in writes.items() if one.outcome == "ok" and value not in log.values()]
    free = [number for number in range(1, max(log, default=0) + len(untold) + 2)
            if number not in log and not told_all(watches, number)]
    return any(
        in_time([*log.items(), *zip(places, untold, strict=True)], writes, by)
        for places in product(free, repeat=len(untold))
    )


def in_time(log: list[tuple[int, int]], writes: dict[int, Operation], by: dict[int, int]) -> bool:
    """Whether each of these writes may have got its place within its call, one place after the other."""
    moment = 0
    for place in sorted({number for number, _ in log}):
        values = [value for number, value in log if number == place]
        if any(max(moment, writes[value].invoked) > by[value] for value in values):
            return False
        moment = max(moment, *(writes[value].invoked for value in values))
    return True


def garbled(rng: random.Random, operations: list[Operation]) -> list[Operation]:
    """Something is told twice, in another order, of another value or revision, or to who asked for something else; or writes
    are other ones, or at another time."""
    done = list(operations)
    at = rng.randrange(len(done))
    one = done[at]
    shift = rng.randint(-15, 15)
    if one.f == "write" or rng.random() < 0.2:
        done[at] = replace(one, invoked=one.invoked + shift, completed=one.ended + shift) if rng.random() < 0.5 else \
            replace(one, outcome=rng.choice(["ok", "info", "fail"]))
        return sorted(done, key=lambda one: one.invoked)
    since, changes = one.value[0], list(one.value[1])
    match rng.choice(["twice", "order", "other", "since", "gone"]) if changes else "since":
        case "twice":
            changes.append(rng.choice(changes))
        case "order":
            rng.shuffle(changes)
        case "other":
            changes[rng.randrange(len(changes))] = (rng.randint(1, 8), rng.randint(0, 7))
        case "gone":
            changes.pop(rng.randrange(len(changes)))
        case _:
            since = rng.randint(0, 6)
    done[at] = replace(one, value=(since, tuple(changes)))
    return done


def test_what_no_log_explains_is_found_and_nothing_else() -> None:
    found: Counter[str] = Counter()
    for seed in range(800):
        rng = random.Random(seed)
        operations = story(rng)
        for _ in range(rng.randint(1, 3)):
            operations = garbled(rng, operations)
        verdict = WatchChecker().check(Recording(history=History.of(operations), nodes=()))
        assert (not verdict.counts) is some_log(list(History.of(operations))), seed
        found += Counter(dict.fromkeys(verdict.counts, 1))
    assert len(found) == 7 and min(found.values()) > 2, found
