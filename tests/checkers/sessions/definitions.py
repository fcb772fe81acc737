"""The session guarantees by their definitions, decided by trying every order of the writes: slow and obvious."""

from __future__ import annotations

import random
from collections.abc import Sequence
from itertools import combinations, permutations

from msgspec.structs import replace

from splitbrain import Operation
from splitbrain.harness.history.history import OUTCOMES

GUARANTEES = ("read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads")


def reads(operation: Operation) -> list[tuple[object, object]]:
    """(key, value) of what it is known to have read."""
    if operation.outcome != "ok":
        return [(operation.key, operation.seen[0])] if operation.f == "cas" and operation.seen else []
    if operation.f == "txn":
        return [(micro[1], micro[2]) for micro in operation.value if micro[0] == "r"]
    return [] if operation.f == "write" else [(operation.key, operation.value[0] if operation.f == "cas" else operation.value)]


def written(operation: Operation) -> tuple[object, object] | None:
    """(key, value) of what it wrote, if it did."""
    if operation.f == "txn":
        return next(((micro[1], micro[2]) for micro in operation.value if micro[0] == "w"), None)
    if operation.f == "read":
        return None
    return operation.key, operation.value[1] if operation.f == "cas" else operation.value


def holds(operations: Sequence[Operation], guarantees: Sequence[str]) -> bool:
    """Whether there is one execution with all of these."""
    certain = [one for one in operations if one.outcome == "ok" or (one.outcome == "fail" and one.f == "cas" and one.seen)]
    maybe = [one for one in operations if one.outcome == "info" and written(one)]
    for number in range(len(maybe) + 1):
        for some in combinations(maybe, number):
            if _holds(sorted([*certain, *some], key=lambda one: one.invoked), guarantees):
                return True
    return False


def _holds(story: list[Operation], guarantees: Sequence[str]) -> bool:
    writes = [at for at, one in enumerate(story) if written(one) and one.outcome != "fail"]
    by_value = {written(story[at]): at for at in writes}
    if any(value is not None and (key, value) not in by_value for one in story for key, value in reads(one)):
        return False
    returned = [[by_value[key, value] for key, value in reads(one) if value is not None] for one in story]
    mine = [[other for other in range(at) if story[other].process == one.process] for at, one in enumerate(story)]
    sees = [set(told) for told in returned]
    changed = True
    while changed:  # What must be seen, and no more.
        before = [set(seen) for seen in sees]
        for at in range(len(story)):
            if "read-your-writes" in guarantees and reads(story[at]):
                sees[at] |= {other for other in mine[at] if other in writes}
            if "monotonic-reads" in guarantees and reads(story[at]):
                sees[at] |= {write for other in mine[at] for write in sees[other]}
            if "monotonic-writes" in guarantees:
                sees[at] |= {other for write in set(sees[at]) for other in mine[write] if other in writes}
            if "writes-follow-reads" in guarantees:
                sees[at] |= {seen for write in set(sees[at]) for other in mine[write] for seen in sees[other]}
        changed = before != sees
    order = [(write, at) for at in writes for write in sees[at]]
    if "monotonic-writes" in guarantees:
        order += [(other, at) for at in writes for other in mine[at] if other in writes]
    if "writes-follow-reads" in guarantees:
        order += [(seen, at) for at in writes for other in mine[at] for seen in sees[other]]
    return any(_fits(story, sees, order, chosen) for chosen in permutations(writes))


def _fits(story: list[Operation], sees: list[set[int]], order: list[tuple[int, int]], chosen: Sequence[int]) -> bool:
    place = {write: at for at, write in enumerate(chosen)}
    if any(place[before] >= place[after] for before, after in order):
        return False
    for at, one in enumerate(story):
        for key, value in reads(one):
            seen = [write for write in sees[at] if write != at and written(story[write])[0] == key]  # type: ignore[index]
            last = max(seen, key=place.__getitem__, default=None)
            if (None if last is None else written(story[last])[1]) != value:  # type: ignore[index]
                return False
    return True


def sample(rng: random.Random) -> list[Operation]:
    """A small random history of registers, or of reads of several of them: mostly one that a replicated store might tell."""
    keys, sessions = rng.randint(1, 2), rng.randint(1, 3)
    several, cas = rng.random() < 0.4, rng.random() < 0.3
    values: dict[int, list[int | None]] = {key: [None] for key in range(keys)}
    story: list[Operation] = []
    written_so_far = 0
    dead: set[int] = set()
    length = rng.randint(2, 9)
    for at in range(length):
        process = rng.randrange(sessions)
        if process in dead:
            continue
        key = rng.randrange(keys)
        outcome = rng.choices(OUTCOMES, (12, 1, 0.3))[0]
        blank = Operation(process=process, f="read", invoked=2 * at, completed=2 * at + 1)
        if written_so_far < 5 and rng.random() < 0.5:
            written_so_far += 1
            new = written_so_far
            if cas and not several:
                told = (rng.choice(values[key]), new)
                story.append(replace(blank, f="cas", key=key, value=told, outcome=outcome))
            elif several:
                story.append(replace(blank, f="txn", value=(("w", key, new),), outcome=outcome))
            else:
                story.append(replace(blank, f="write", key=key, value=new, outcome=outcome))
            if outcome == "info":
                dead.add(process)
            if outcome != "fail":
                values[key].append(new)
        elif several:
            chosen = rng.sample(range(keys), rng.randint(1, keys))
            micros = tuple(("r", one, rng.choice(values[one][-3:])) for one in chosen)
            story.append(replace(blank, f="txn", value=micros))
        else:
            told_value = rng.choice(values[key][-3:])
            story.append(replace(blank, key=key, value=told_value))
    if rng.random() < 0.3 and story:
        # Somebody read before it was written.
        one = story.pop(rng.randrange(len(story)))
        story = [*story, one] if one.f in ("write", "txn") else story
        story = [
            replace(op, invoked=2 * at, completed=2 * at + 1) for at, op in enumerate(story)
        ]
        last = {op.process: at for at, op in enumerate(story)}
        story = [op for at, op in enumerate(story) if op.outcome != "info" or last[op.process] == at]
    return story
