"""The levels by their definitions, decided by trying everything: slow and obvious. For histories of a few transactions.

A list is a register that also tells its order: a read names the version that its last element is, and every list that was read
has to be the beginning of the key's order, which is what its writers appended, one after the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import chain, combinations, pairwise, permutations, product

from splitbrain.harness.history.operation import Operation

INITIAL = -1


class Story:
    """Committed transactions with what each read from whom; `flawed` where a read is wrong in itself."""

    def __init__(self, operations: Sequence[Operation], committed: Sequence[int]) -> None:
        self.operations = [operations[at] for at in committed]
        self.size = len(committed)
        writer = {
            (key, value): (at, last)
            for at, one in enumerate(operations)
            for last, (key, value) in _writes(one)
        }
        place = {at: node for node, at in enumerate(committed)}
        self.flawed = False
        self.reads: list[list[tuple[object, int]]] = []
        self.writes = [{key for _, (key, _) in _writes(one)} for one in self.operations]
        self.lists: list[tuple[object, tuple[object, ...]]] = []
        lists = any(f == "append" or type(told[-1]) is tuple for one in operations for f, _, *told in one.value if told)
        for at in committed:
            mine: dict[object, object] = {}
            grown: dict[object, tuple[object, ...]] = {}
            reads: list[tuple[object, int]] = []
            for f, key, *told in operations[at].value:
                if f == "w":
                    mine[key] = told[0]
                elif f == "append":
                    grown[key] = (*grown.get(key, ()), told[0])
                elif told and operations[at].outcome == "ok" and lists:
                    found, own = tuple(told[0] or ()), grown.get(key, ())
                    self.lists.append((key, found))
                    begun = found[: len(found) - len(own)]
                    self.flawed |= found[len(begun) :] != own
                    source, last = writer.get((key, begun[-1]), (None, False)) if begun else (INITIAL, True)
                    if source == INITIAL:
                        reads.append((key, INITIAL))
                    elif source not in place or source == at or not last:
                        self.flawed = True
                    else:
                        reads.append((key, place[source]))
                elif told and operations[at].outcome == "ok":
                    if key in mine:
                        self.flawed |= mine[key] != told[0]
                    elif told[0] is None:
                        reads.append((key, INITIAL))
                    else:
                        source, last = writer.get((key, told[0]), (None, False))
                        if source not in place or source == at or not last:
                            self.flawed = True
                        else:
                            reads.append((key, place[source]))
            self.reads.append(reads)

    def session(self, a: int, b: int) -> bool:
        one, other = self.operations[a], self.operations[b]
        return one.process == other.process and one.invoked < other.invoked

    def realtime(self, a: int, b: int) -> bool:
        completed = self.operations[a].completed
        # A client that gave up says nothing of when its call took effect.
        return completed is not None and self.operations[a].outcome != "info" and completed < self.operations[b].invoked

    def read_from(self, a: int, b: int) -> bool:
        return any(writer == a for _, writer in self.reads[b])

    def fits(self, place: dict[int, int], key: object) -> bool:
        """Whether every list that was read of a key is the beginning of its order, given the places of its writers in that."""
        writers = sorted((at for at in range(self.size) if key in self.writes[at]), key=place.__getitem__)
        order = tuple(value for at in writers for _, (other, value) in _writes(self.operations[at]) if other == key)
        return all(order[: len(found)] == found for other, found in self.lists if other == key)

    def all_fit(self, place: dict[int, int]) -> bool:
        """Whether that is so of every key, if all writers are in one order."""
        return all(self.fits(place, key) for key in {key for key, _ in self.lists})


def _writes(operation: Operation) -> list[tuple[bool, tuple[object, object]]]:
    """Every write of a transaction, and whether it is its last of that key."""
    writes = [(key, told[0]) for f, key, *told in operation.value if f in ("w", "append")]
    return [(key not in {later for later, _ in writes[at + 1 :]}, (key, value)) for at, (key, value) in enumerate(writes)]


def stories(operations: Sequence[Operation]) -> Iterator[Story]:
    """The history with every choice of which indeterminate transactions committed."""
    ok = [at for at, one in enumerate(operations) if one.outcome == "ok"]
    info = [at for at, one in enumerate(operations) if one.outcome == "info"]
    for some in chain.from_iterable(combinations(info, many) for many in range(len(info) + 1)):
        yield Story(operations, sorted([*ok, *some]))


def holds(operations: Sequence[Operation], level: str) -> bool:
    """Whether a history satisfies a level."""
    return any(not story.flawed and _LEVELS[level](story) for story in stories(operations))


def _orders(story: Story, contained: Sequence[tuple[int, int]]) -> Iterator[dict[int, int]]:
    """The places of all transactions in every total order that contains these pairs; the initial state comes first."""
    for order in permutations(range(story.size)):
        place = {INITIAL: -1} | {node: at for at, node in enumerate(order)}
        if all(place[a] < place[b] for a, b in contained) and story.all_fit(place):
            yield place


def _pairs(story: Story, *relations: str) -> list[tuple[int, int]]:
    nodes = range(story.size)
    return [(a, b) for a in nodes for b in nodes if any(getattr(story, name)(a, b) for name in relations)]


def _axiom(story: Story, place: dict[int, int], node: int, at: int, seen: Sequence[int]) -> bool:
    """Whoever of those seen wrote the key of that read, came before whom it was read from."""
    key, by = story.reads[node][at]
    return all(other == by or key not in story.writes[other] or place[other] < place[by] for other in seen)


def _committed(story: Story) -> bool:
    return any(True for _ in _orders(story, _pairs(story, "read_from")))


def _committed_session(story: Story) -> bool:
    def fine(place: dict[int, int]) -> bool:
        return all(
            _axiom(story, place, node, at, [writer for _, writer in reads[:at] if writer != INITIAL])
            for node, reads in enumerate(story.reads) for at in range(len(reads))
        )

    return any(map(fine, _orders(story, _pairs(story, "read_from", "session"))))


def _atomic(story: Story, *relations: str) -> bool:
    def fine(place: dict[int, int]) -> bool:
        return all(
            _axiom(story, place, node, at, [a for a in range(story.size) if any(getattr(story, r)(a, node) for r in relations)])
            for node, reads in enumerate(story.reads) for at in range(len(reads))
        )

    return any(map(fine, _orders(story, _pairs(story, *relations))))


def _closure(size: int, pairs: Sequence[tuple[int, int]]) -> set[tuple[int, int]]:
    closed = set(pairs)
    for middle, a, b in product(range(size), repeat=3):
        if (a, middle) in closed and (middle, b) in closed:
            closed.add((a, b))
    return closed


def _causal(story: Story) -> bool:
    before = _closure(story.size, _pairs(story, "read_from", "session"))

    def fine(place: dict[int, int]) -> bool:
        return all(
            _axiom(story, place, node, at, [a for a in range(story.size) if (a, node) in before])
            for node, reads in enumerate(story.reads) for at in range(len(reads))
        )

    return any(map(fine, _orders(story, sorted(before))))


def _serial(story: Story, *relations: str) -> bool:
    def fine(place: dict[int, int]) -> bool:
        return all(
            _axiom(story, place, node, at, [a for a in range(story.size) if place[a] < place[node]])
            for node, reads in enumerate(story.reads) for at in range(len(reads))
        )

    return any(map(fine, _orders(story, _pairs(story, "read_from", *relations))))


def _snapshots(story: Story, *relations: str, conflicts: bool) -> bool:
    """Snapshots and commits in one order of all moments."""
    size = story.size
    ends = [(a, b) for a in range(size) for b in range(size) if any(getattr(story, name)(a, b) for name in relations)]
    for order in _interleavings(size):
        snapshot = {node: at for at, (kind, node) in enumerate(order) if kind == "snapshot"}
        commit = {node: at for at, (kind, node) in enumerate(order) if kind == "commit"} | {INITIAL: -1}
        if any(commit[a] > snapshot[b] for a, b in ends) or not story.all_fit(commit):
            continue
        if conflicts and any(
            a != b and story.writes[a] & story.writes[b] and snapshot[a] < commit[b] and snapshot[b] < commit[a]
            for a in range(size) for b in range(size)
        ):
            continue
        if all(
            commit[by] < snapshot[node] and _axiom(
                story, commit, node, at, [a for a in range(size) if commit[a] < snapshot[node]]
            )
            for node, reads in enumerate(story.reads) for at, (_, by) in enumerate(reads)
        ):
            return True
    return False


def _interleavings(size: int) -> Iterator[list[tuple[str, int]]]:
    def grown(order: list[tuple[str, int]], left: set[int], running: set[int]) -> Iterator[list[tuple[str, int]]]:
        if not left and not running:
            yield order
        for node in left:
            yield from grown([*order, ("snapshot", node)], left - {node}, running | {node})
        for node in running:
            yield from grown([*order, ("commit", node)], left, running - {node})

    return grown([], set(range(size)), set())


def _parallel(story: Story, *relations: str) -> bool:
    """Some order of every key's writers, so that who sees whom is transitive, contains the orders, and nobody missed what it
    sees."""
    keys = sorted({key for keys in story.writes for key in keys}, key=repr)
    writers = [[node for node in range(story.size) if key in story.writes[node]] for key in keys]
    base = _pairs(story, "read_from", *relations)
    for orders in product(*(permutations(some) for some in writers)):
        before = {key: dict(zip(order, range(len(order)), strict=True)) for key, order in zip(keys, orders, strict=True)}
        if not all(story.fits(before.get(key, {}), key) for key in {key for key, _ in story.lists}):
            continue
        versions = [(a, b) for order in orders for a, b in pairwise(order)]
        sees = _closure(story.size, [*base, *versions])
        if any((node, node) in sees for node in range(story.size)):
            continue
        if all(
            (other, node) not in sees or before[key][other] <= before[key].get(by, -1)
            for node, reads in enumerate(story.reads) for key, by in reads if key in before
            for other in before[key]
        ):
            return True
    return False


_LEVELS: dict[str, Callable[[Story], bool]] = {
    "read-committed": _committed,
    "read-committed-session": _committed_session,
    "read-atomic": lambda story: _atomic(story, "read_from"),
    "read-atomic-session": lambda story: _atomic(story, "read_from", "session"),
    "causal": _causal,
    "prefix": lambda story: _snapshots(story, "session", conflicts=False),
    "consistent-view": _parallel,
    "parallel-snapshot-isolation": _parallel,
    "strong-session-parallel-snapshot-isolation": lambda story: _parallel(story, "session"),
    "snapshot-isolation": lambda story: _snapshots(story, conflicts=True),
    "strong-session-snapshot-isolation": lambda story: _snapshots(story, "session", conflicts=True),
    "strong-snapshot-isolation": lambda story: _snapshots(story, "session", "realtime", conflicts=True),
    "serializable": _serial,
    "strong-session-serializable": lambda story: _serial(story, "session"),
    "strict-serializable": lambda story: _serial(story, "session", "realtime"),
}
LEVELS = tuple(_LEVELS)
