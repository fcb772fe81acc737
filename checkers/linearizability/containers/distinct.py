"""Containers whose elements are distinct: queue, unordered queue, stack, priority queue, set, each in O(n log n).

After Lee & Mathur, "Efficient decrease-and-conquer linearizability monitoring" (OOPSLA 2025), and for the order of a queue
Henzinger, Sezgin & Vafeiadis, "Aspect-oriented linearizability proofs" (CONCUR 2013); the proofs below are complete, since
indeterminate operations, which both leave out, change them. Each `decide_*` judges the history of one object and answers
None where its conditions are not met: the search decides then. Raises `Exhausted` where the budget
does not suffice.

**Intervals.** An operation takes effect at a point of its closed interval `[s, f]`; f is infinite where no answer came.
An element has an insertion and a removal. Since the insertion comes first, its f may be lowered to the removal's f, and
the removal's s be raised to the insertion's s ("trimmed"), without losing a linearization. An element that nobody removed
gets a removal `[∞, ∞]`: removals added after everything else are always legal in a suitable order, so that changes nothing.
Between the trimmed end x of its insertion and the trimmed start y of its removal an element is certainly there: the open
interval `(x, y)` is its *stay*, empty where x >= y. A point in no stay is *free*.

**Free points.** Let p be free. Every element has y <= p or x >= p. Take any linearization without the removals that found
the container empty; move the elements with y <= p, both operations, before p and the others behind it. Each part is legal
(leaving out all operations of an element never makes a container's history illegal), the first part leaves the container
empty, and no order in time is broken: what moved before p started at or before p, what moved behind ended at or after p.
With several free points, put an element behind all those p <= x. So: *a history is linearizable if and only if it is so
without the empty removals, and each of these has a free point in its interval.*

**Indeterminate insertions** simply have f = ∞. If the element was removed, the trimmed f says that the insertion happened
by then. If it was not, its stay is empty and it constrains nothing: dropping it from a linearization is always legal.

**Indeterminate removals** ("wild") may have taken any element, or none. Leaving one out is always allowed, and so is
letting it take an element that nobody else removed, as a removal `[s, ∞]` in the place of `[∞, ∞]`: this only weakens what
the element demands. So: valid where the history without the wild ones is; invalid where it is invalid even with every
unremoved element removable from the first wild start on; valid where one assignment of wild ones to elements is. The
assignment is tried in the order of deadlines (a necessary condition on when an element must be gone); None otherwise.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.containers.repeated import decide_repeated
from splitbrain.checkers.linearizability.containers.stays import GONE, Stays
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.values import MISSING, canonical

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Elements:
    """The elements of one container in the order of their insertion: rows and trimmed intervals.

    `remove` is -1 where nobody removed the element. `s`, `x` are the insertion's interval, `y`, `f` the removal's; `rank` is
    the element itself where elements are integers, else its number. `empty` are the rows of removals that found nothing,
    over `[empty_s, empty_f]`; `wild` the starts of indeterminate removals, ascending.
    """

    insert: Ints
    remove: Ints
    s: Ints
    x: Ints
    y: Ints
    f: Ints
    rank: Ints
    empty: Ints
    empty_s: Ints
    empty_f: Ints
    wild: Ints
    budget: Budget

    def __len__(self) -> int:
        return len(self.insert)

    def take(self, some: NDArray[np.int64] | NDArray[np.bool_]) -> _Elements:
        """These elements alone, with all the empty and wild removals."""
        names = ("insert", "remove", "s", "x", "y", "f", "rank")
        return replace(self, **{name: getattr(self, name)[some] for name in names})

    def removed_from(self, start: Ints) -> _Elements:
        """The same with every element that nobody removed removable at any time from `start` on (per element)."""
        gone = self.remove < 0
        return replace(self, y=np.where(gone, np.maximum(start, self.s), self.y))


@dataclass(frozen=True)
class _Violation:
    """`members` are positions of the elements whose operations, with the row `last`, are not linearizable. `last` is the
    removal that a person would point at."""

    members: tuple[int, ...]
    last: int


_Refutation = Callable[[], _Violation]
"""Names the smallest evidence of what has been refuted already; asked only for the verdict that is given."""

_Check = Callable[[_Elements], _Refutation | None]


def decide_queue(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """First in, first out, with distinct elements.

    Without empty removals: linearizable if and only if no two elements u, v have u inserted before v and v removed before u
    (before: trimmed end < start). *Necessary*: u is at the head when v is removed. *Sufficient*: let u < v if either u's
    insertion is before v's, or its removal. Both are interval orders; a shortest cycle alternates between them, and
    a <1 b <2 c <1 d gives a <1 d (a shorter cycle) or c <1 b (the cycle b, c), so a cycle implies a forbidden pair. Along
    a total order of the elements that extends <, let each insertion, and each removal, take effect at the latest start of
    its kind so far: that is inside its interval, in order, and never a removal before its insertion.
    """
    return _decide(history, budget, "queue", "enqueue", "dequeue", _queue_order, _queue_deadlines)


def decide_unordered_queue(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """A bag of distinct elements: only the order of an element's own two operations counts, and the free points."""
    return _decide(history, budget, "unordered-queue", "enqueue", "dequeue", lambda found: None, _no_deadlines)


def decide_stack(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """Last in, first out, with distinct elements.

    Without empty removals, decrease and conquer: an element whose push has a point p in no stay of another element, and
    whose pop has one, q, can be the bottom of the stack from p to q whenever the others are linearizable at all (by the
    free points p and q these can be split into before p, between, and behind q). So it may be left out. In a linearizable
    history there is always such an element, the first pushed; if none is left to leave out and elements remain, there is
    no linearization. Leaving out only frees further points, so the order does not matter.

    An interval is covered by stays either by one that spans it or by a chain of overlapping ones. Each element still in
    waits for one interval, and *watches* the stays that cover it: it is looked at again when one of those goes. The latest
    stay that spans it tends to go last, which keeps looking again rare; a look is O(log n) in a tree of maxima.
    """
    return _decide(history, budget, "stack", "push", "pop", _stack_order, _stack_deadlines)


def decide_priority_queue(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """The smallest first, with distinct integers.

    Let v be the largest element. Its insertion constrains nobody, and its removal is an empty removal for the others. By
    induction from the largest down: linearizable if and only if every removal of v has a point in no stay of a smaller
    element, and every empty removal one in no stay at all.
    """
    return _decide(history, budget, "priority-queue", "enqueue", "dequeue", _priority_order, _priority_deadlines)


def _decide(
    history: History, budget: Budget, method: str, insert: str, remove: str, order: _Check,
    deadlines: Callable[[_Elements], Ints],
) -> Decision | None:
    """Decide by the free points and by `order`, which judges the history without empty and wild removals. Raises
    `Exhausted`."""
    found = _elements(history, method, insert, remove, budget)
    if not isinstance(found, _Elements):
        return found or decide_repeated(history, method, insert, remove, budget)

    def judge(elements: _Elements) -> _Refutation | None:
        budget.check()
        return order(elements) or _emptiness(elements)

    refutation = judge(found)
    if refutation is not None and len(found.wild):
        starts = _assign(found, np.minimum(deadlines(found), _empty_deadlines(found)))
        if starts is not None and judge(found.removed_from(starts)) is None:
            return Decision(method=method, valid=True)
        refutation = judge(found.removed_from(np.full(len(found), found.wild[0])))
        if refutation is None:
            return None
    if refutation is None:
        return Decision(method=method, valid=True)
    try:
        violation = refutation()
    except Exhausted as error:
        return Decision(method=method, valid=False, limit=str(error))
    return _explain(history, method, found, violation)


def _elements(history: History, method: str, insert: str, remove: str, budget: Budget) -> _Elements | Decision | None:
    """The elements, or the decision that an operation about one element alone is impossible, or None: not distinct, or
    beyond this method."""
    outcome, fs = history.outcome, history.fs
    happened = outcome != FAIL
    known = [fs.index(name) if name in fs else -2 for name in (insert, remove)]
    if not np.isin(history.f[happened], known).all():
        return None
    # What happened though no answer came has an end: before what never happens.
    finish = np.where(outcome == OK, np.minimum(history.completed, NEVER - 1), NEVER)
    inserting = history.f == known[0]
    rows = np.flatnonzero(inserting & happened)
    removals = np.flatnonzero((history.f == known[1]) & (outcome == OK))
    if (history.values.kind[removals] == MISSING).any():
        return None
    values = list(map(canonical, history.values))
    budget.check()
    row_of = {values[row]: row for row in rows.tolist()}
    if len(row_of) < len(rows) or None in row_of:
        return None
    if method == "priority-queue" and not all(type(element) is int and abs(element) < NEVER for element in row_of):
        return None
    removed: dict[Hashable, int] = {}
    empty = []
    for number, row in enumerate(removals.tolist()):
        if not number & 0xFFFF:
            budget.check()
        element = values[row]
        if element is None:
            empty.append(row)
        elif element not in row_of:
            if method == "priority-queue" and type(element) is not int:
                return None
            return _unexpected(history, method, row, element, np.flatnonzero(inserting & ~happened))
        elif element in removed:
            return _twice(history, method, row_of[element], removed[element], row)
        else:
            removed[element] = row
    remove_row = np.fromiter((removed.get(element, -1) for element in row_of), np.int64, len(rows))
    gone = remove_row >= 0
    s, x = history.invoked[rows], finish[rows]
    y = np.where(gone, history.invoked[remove_row], NEVER)
    f = np.where(gone, finish[remove_row], NEVER)
    early = np.flatnonzero(f < s)
    if len(early):
        return _before_put(history, method, int(rows[early[0]]), int(remove_row[early[0]]))
    wild = np.flatnonzero((history.f == known[1]) & (outcome == INFO))
    at = np.array(empty, np.int64)
    rank = np.fromiter(row_of, np.int64, len(rows)) if method == "priority-queue" else np.arange(len(rows))
    return _Elements(
        insert=rows, remove=remove_row, s=s, x=np.minimum(x, f), y=np.maximum(y, s), f=f, rank=rank,
        empty=at, empty_s=history.invoked[at], empty_f=finish[at], wild=np.sort(history.invoked[wild]), budget=budget,
    )


def _unexpected(history: History, method: str, row: int, element: Hashable, failed: Ints) -> Decision:
    """The decision that `row` returned an element that no operation in the history can have put in."""
    name, client = history.values[row], _client(history, row)
    for put in failed.tolist():
        if canonical(history.values[put]) == element:
            return Decision(
                method=method, valid=False, identifier="aborted-read", rows=tuple(sorted((put, row))),
                sentence=f"{client} was given {name!r}, though putting it in had failed",
            )
    return Decision(
        method=method, valid=False, identifier="unexpected", rows=(row,),
        sentence=f"{client} was given {name!r}, which nobody ever put in",
    )


def _twice(history: History, method: str, put: int, got: int, again: int) -> Decision:
    """The decision that `got` and `again` both returned what `put` put in."""
    return Decision(
        method=method, valid=False, identifier="duplicate", rows=tuple(sorted((put, got, again))),
        sentence=f"{_client(history, again)} was given {history.values[again]!r}, and so was {_client(history, got)}, though it"
        " was put in only once",
    )


def _before_put(history: History, method: str, put: int, got: int) -> Decision:
    """The decision that `got` returned what `put` had not begun to put in."""
    return Decision(
        method=method, valid=False, identifier="future-read", rows=tuple(sorted((put, got))),
        sentence=f"{_client(history, got)} was given {history.values[put]!r} before {_client(history, put)} began to put it in",
    )


def _client(history: History, row: int) -> str:
    return f"client {int(history.process[row])}"


def _explain(history: History, method: str, found: _Elements, violation: _Violation) -> Decision:
    """The decision with the rows of `violation`: a loss where one of its elements was never removed."""
    last = violation.last
    pairs = [(int(found.insert[m]), int(found.remove[m])) for m in violation.members]
    rows = sorted({row for pair in pairs for row in pair if row >= 0} | {last})
    lost = [put for put, got in pairs if got < 0]
    others = lost or [put for put, got in pairs if got != last]
    name, giver = repr(history.values[others[0]]), _client(history, others[0])
    client = _client(history, last)
    if history.values[last] is None:
        identifier = "lost-element" if lost else "stale-element"
        sentence = f"{client} found it empty, though {name}, put in by {giver}, was certainly there"
        if len(others) > 1:
            sentence = f"{client} found it empty, though at every moment of that call an element was there, {name} for one"
    else:
        identifier = "lost-element" if lost else "reordered"
        order = {"queue": "first in, first out", "stack": "last in, first out"}.get(method, "the smallest first")
        sentence = f"{client} was given {history.values[last]!r} when {name}, put in by {giver}, had to come first ({order})"
        if len(others) > 1:
            sentence = f"{client} was given {history.values[last]!r}; no order of these operations is {order}"
        if lost:
            sentence += f"; nobody ever got {name}"
    return Decision(method=method, valid=False, rows=tuple(rows), identifier=identifier, sentence=sentence)


# Free points


def _emptiness(elements: _Elements) -> _Refutation | None:
    """An empty removal without a free point, with a smallest set of stays that cover it."""
    if not len(elements.empty):
        return None
    stay = elements.x < elements.y
    x, y = np.sort(elements.x[stay]), np.sort(elements.y[stay])

    def covered(points: Ints) -> NDArray[np.bool_]:
        return np.searchsorted(x, points, "left") > np.searchsorted(y, points, "right")

    # Free points form closed intervals, and each begins at the end of a stay: with the start, these are enough to look at.
    free = y[~covered(y)]
    without = covered(elements.empty_s)
    first = np.searchsorted(free, elements.empty_s, "left")
    without &= np.append(free, NEVER)[first] > elements.empty_f
    # At infinity everything has been removed.
    without &= elements.empty_f < NEVER
    bad = np.flatnonzero(without)
    if not len(bad):
        return None

    def refutation() -> _Violation:
        e = int(bad[0])
        cover = _cover(elements, int(elements.empty_s[e]), int(elements.empty_f[e]))
        return _Violation(members=cover, last=int(elements.empty[e]))

    return refutation


def _cover(elements: _Elements, start: int, end: int) -> tuple[int, ...]:
    """The fewest stays that together cover all of `[start, end]`, as positions; they must exist."""
    members = []
    point = start
    while point <= end:
        reach = np.where(elements.x < point, elements.y, GONE)
        best = int(np.argmax(reach))
        members.append(best)
        point = int(reach[best])
    return tuple(members)


def _empty_deadlines(elements: _Elements) -> Ints:
    """When each element must have begun to go: the earliest end of an empty removal that starts after its insertion."""
    return _earliest_end(elements.empty_s, elements.empty_f, elements.x)


def _earliest_end(starts: Ints, ends: Ints, after: Ints) -> Ints:
    """For each of `after`, the least of `ends` whose start is later, NEVER where there is none."""
    order = np.argsort(starts, kind="stable")
    least = np.append(np.minimum.accumulate(ends[order][::-1])[::-1], NEVER)
    return least[np.searchsorted(starts[order], after, "right")]


def _no_deadlines(elements: _Elements) -> Ints:
    return np.full(len(elements), NEVER)


def _assign(elements: _Elements, deadlines: Ints) -> Ints | None:
    """A start of removal for every element that nobody removed: wild starts in the order of the deadlines, NEVER for those
    that may stay; None where there are too few in time."""
    pressed = np.flatnonzero((elements.remove < 0) & (deadlines < NEVER))
    pressed = pressed[np.argsort(deadlines[pressed], kind="stable")]
    if len(pressed) > len(elements.wild) or (elements.wild[: len(pressed)] > deadlines[pressed]).any():
        return None
    starts = np.full(len(elements), NEVER)
    starts[pressed] = elements.wild[: len(pressed)]
    return starts


def _dominated_minimum(before: Ints, beyond: Ints, values: Ints, limit: Ints, floor: Ints) -> Ints:
    """For each query q the least of `values[w]` with `before[w] < limit[q]` and `beyond[w] > floor[q]`, else NEVER."""
    order = np.argsort(before, kind="stable")
    queries = np.argsort(limit, kind="stable")
    places = np.argsort(np.argsort(-beyond, kind="stable"), kind="stable")[order].tolist()
    ends = np.searchsorted(-np.sort(beyond)[::-1], -floor[queries], "left").tolist()
    counts = np.searchsorted(before[order], limit[queries], "left").tolist()
    least = [NEVER] * (len(values) + 1)
    sorted_values = values[order].tolist()
    result = np.full(len(limit), NEVER)
    added = 0
    for query, end, count in zip(queries.tolist(), ends, counts, strict=True):
        while added < count:
            place, value = places[added] + 1, sorted_values[added]
            while place < len(least):
                if value < least[place]:
                    least[place] = value
                place += place & -place
            added += 1
        best = NEVER
        while end:
            if least[end] < best:
                best = least[end]
            end &= end - 1
        result[query] = best
    return result


# Queue


def _queue_order(elements: _Elements) -> _Refutation | None:
    by_end = np.argsort(elements.x, kind="stable")
    ends, latest = elements.x[by_end], np.maximum.accumulate(elements.y[by_end])
    # For v, the latest start of removal among those inserted before it.
    before = np.searchsorted(ends, elements.s, "left")
    y = np.append(latest, GONE)[before - 1] if len(elements) else latest
    bad = np.flatnonzero((before > 0) & (y > elements.f))
    if not len(bad):
        return None

    def refutation() -> _Violation:
        v = int(bad[np.argmin(elements.f[bad])])
        earlier = by_end[: int(before[v])]
        u = int(earlier[np.argmax(elements.y[earlier])])
        return _Violation(members=(u, v), last=int(elements.remove[v]))

    return refutation


def _queue_deadlines(elements: _Elements) -> Ints:
    return _earliest_end(elements.s, elements.f, elements.x)


# Priority queue


def _priority_order(elements: _Elements) -> _Refutation | None:
    """Smallest first, paint the stays over the points in question; a removal needs an unpainted one."""
    points = np.unique(elements.y)
    order = np.argsort(elements.rank, kind="stable")
    first = np.searchsorted(points, elements.y, "left")[order].tolist()
    beyond = np.searchsorted(points, elements.f, "right")[order].tolist()
    paint_from = np.searchsorted(points, elements.x, "right")[order].tolist()
    # next_free[p] leads to the first unpainted point from p on, with the path halved as it is walked.
    next_free = list(range(len(points) + 1))
    for i, (p, end, start) in enumerate(zip(first, beyond, paint_from, strict=True)):
        if not i & 0x7FFF:
            elements.budget.check()
        at = p
        while next_free[at] != at:
            next_free[at] = next_free[next_free[at]]
            at = next_free[at]
        if at >= end:
            return lambda: _too_large(elements, order[:i], int(order[i]))
        at = start
        while at < p:
            if next_free[at] == at:
                next_free[at] = at + 1
            else:
                next_free[at] = next_free[next_free[at]]
            at = next_free[at]
    return None


def _too_large(elements: _Elements, smaller: Ints, v: int) -> _Violation:
    """v was removed while at every moment one of `smaller` was there."""
    cover = _cover(elements.take(smaller), int(elements.y[v]), int(elements.f[v]))
    return _Violation(members=(*(int(smaller[c]) for c in cover), v), last=int(elements.remove[v]))


def _priority_deadlines(elements: _Elements) -> Ints:
    gone = elements.remove >= 0
    return _dominated_minimum(-elements.rank[gone], elements.y[gone], elements.f[gone], -elements.rank, elements.x)


# Stack


def _stack_order(elements: _Elements) -> _Refutation | None:
    # A push and a pop at the same point disturb nobody: only elements with a stay take part.
    staying = np.flatnonzero(elements.x < elements.y)
    staying = staying[np.argsort(elements.x[staying], kind="stable")]
    core = _bottomless(elements, staying)
    if not len(core):
        return None

    def refutation() -> _Violation:
        members = tuple(_smallest(elements, core).tolist())
        last = min((m for m in members if elements.remove[m] >= 0), key=lambda m: int(elements.f[m]))
        return _Violation(members=members, last=int(elements.remove[last]))

    return refutation


def _bottomless(elements: _Elements, members: Ints) -> Ints:
    """What remains of `members` (ascending in x, each with a stay) when every possible bottom of the stack is left out."""
    xs: list[int] = elements.x[members].tolist()
    ys: list[int] = elements.y[members].tolist()
    n = len(xs)
    pushes = elements.s[members]
    push_s: list[int] = pushes.tolist()
    pop_f: list[int] = elements.f[members].tolist()
    # How many stays begin before each push and each pop: a prefix of the sorted members.
    push_k: list[int] = np.searchsorted(elements.x[members], pushes, "left").tolist()
    pop_k: list[int] = np.searchsorted(elements.x[members], elements.y[members], "left").tolist()
    stays = Stays(ys)
    watchers: list[list[int]] = [[] for _ in range(n)]
    pushed = bytearray(n)
    out = bytearray(n)
    queue = list(range(n - 1, -1, -1))
    looks = 0
    while queue:
        if not looks & 0x3FFF:
            elements.budget.check()
        looks += 1
        # Look at element v: wait for its push, then for its pop.
        v = queue.pop()
        if out[v]:
            continue
        if pushed[v]:
            start, end, k = ys[v], pop_f[v], pop_k[v]
        else:
            start, end, k = push_s[v], xs[v], push_k[v]
        latest = stays.latest(k, end)
        cover = [latest] if latest >= 0 else stays.chain(xs, start, end)
        for stay in cover:
            watchers[stay].append(v)
        if cover:
            continue
        if not pushed[v]:
            pushed[v] = 1
            queue.append(v)
            continue
        out[v] = 1
        stays.leave_out(v)
        queue += watchers[v]
        watchers[v] = []
    remaining: Ints = members[np.frombuffer(out, np.uint8) == 0]
    return remaining


def _smallest(elements: _Elements, core: Ints) -> Ints:
    """Members of `core` that alone have no bottom, none of them dispensable.

    More elements never make a stack linearizable again, so the shortest bad prefix in the order of the pops is found by
    doubling and halving; its last member is indispensable, and goes on to stand first.
    """
    kept: list[int] = []
    rest = core[np.argsort(elements.f[core], kind="stable")]

    def bad(count: int) -> bool:
        members = np.concatenate([np.array(kept, np.int64), rest[:count]])
        return len(_bottomless(elements, members[np.argsort(elements.x[members], kind="stable")])) > 0

    while not bad(0):
        low, high = 0, 1
        while high < len(rest) and not bad(high):
            low, high = high, 2 * high
        high = min(high, len(rest))
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if bad(middle) else (middle, high)
        kept.append(int(rest[high - 1]))
        # What came after is not needed; the nearest before it are the likeliest partners.
        rest = rest[: high - 1][::-1]
    return np.array(kept, np.int64)[np.argsort(elements.x[kept], kind="stable")]


def _stack_deadlines(elements: _Elements) -> Ints:
    gone = elements.remove >= 0
    return _dominated_minimum(elements.x[gone], elements.y[gone], elements.f[gone], elements.s, elements.x)
