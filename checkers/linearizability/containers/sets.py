"""Sets that files tell of, decided in time linear in what the reads list (and a sort).

**Without removals** see `growing`.

**With removals** (every element added and removed at most once) a read without an element may come before its addition or
after its removal. That is decided only where no two reads overlap in time, so that their order is known. An element is seen
by a run of consecutive reads, or by none. Seen, its addition falls into the gap before the run and its removal, if the
element goes again, into the gap behind: each bounds the moment of two neighbouring reads. Never seen, but certainly added
before it was removed: no read may fall between. Each read must then have a moment within its bounds and outside those
intervals; the bounds speak of one read each, so reads do not influence each other. A removal that may have come before the
addition, and then did nothing, is taken so where that is free; where it is not clear which, the answer is None. An
unacknowledged removal that no read needs may be left out, and one that a read needs did happen.

**Reading out** what is wrong, in this order, so that the evidence alone is judged alike: an element twice in one read
(`duplicate`), a read that ended before the addition began (`future-read`), an element missing that had to be there
(`stale-read` where a later read has it, `lost-element` where none does), an element that had to be gone (`stale-read`), two
reads each of which has what the other lacks (`reordered`); last, elements whose addition failed (`aborted-read`) or that
nobody added (`unexpected`). All but the last two look only at elements whose addition is in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.containers.growing import Growing
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.evidence.evidence import settle
from splitbrain.checkers.models.specifications import Model, elements
from splitbrain.checkers.verdict import Moment
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.values import MISSING, Tagged, canonical

Member = Hashable


@dataclass(frozen=True)
class _Read:
    """One read: its row and interval, and those of the elements it showed whose addition is in the history."""

    row: int
    s: int
    f: int
    shown: frozenset[Member]


@dataclass(frozen=True)
class _Set:
    """`adds` and `removes` map an element to the row of the only operation on it that may have happened; `s` and `f` are
    the interval of every row; `reads` are in the order of their start."""

    history: History
    adds: dict[Member, int]
    removes: dict[Member, int]
    reads: list[_Read]
    s: list[int]
    f: list[int]
    budget: Budget = FOREVER


def decide_set(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """A set with `add`, `remove` and whole `read`s; where something is removed, every element added and removed at most once,
    else None. Raises `Exhausted`."""
    if model.initial != frozenset():
        return None
    decision = _decide(history, budget)
    if decision is None or decision.valid:
        return decision
    return settle(history, decision, lambda part: _decide(part, budget), budget)


_PRECEDENCE = ("duplicate", "future-read", "lost-element", "stale-read", "reordered", "aborted-read", "unexpected")


def _decide(history: History, budget: Budget) -> Decision | None:
    fs, outcome = history.fs, history.outcome
    code = {name: fs.index(name) if name in fs else -2 for name in ("add", "remove", "read")}
    happened = outcome != FAIL
    if not np.isin(history.f[happened], list(code.values())).all():
        return None
    reading = np.flatnonzero((history.f == code["read"]) & (outcome == OK))
    if (history.values.kind[reading] == MISSING).any():
        return None
    removing = np.flatnonzero((history.f == code["remove"]) & happened)
    if len(removing):
        removed = _once(history, removing)
        adding = np.flatnonzero((history.f == code["add"]) & happened)
        added = {canonical(history.values[row]) for row in adding.tolist()}
        if removed is None or not added.isdisjoint(removed):
            adds = _once(history, adding)
            return None if adds is None or removed is None else _shrinking(history, reading, adds, removed, budget)
    return _growing(history, np.flatnonzero((history.f == code["add"]) | (history.f == code["read"])), reading, budget)


def _growing(history: History, rows: NDArray[np.int64], reading: NDArray[np.int64], budget: Budget) -> Decision | None:
    """The decision on a set from which nothing is removed."""
    if not all(_is_set(history.values[row]) for row in reading.tolist()):
        return None
    found: dict[str, Decision] = {}

    def report(
        identifier: str, rows: Iterable[int], about: Iterable[Hashable], sentence: Callable[[], str], accused: int,
        moment: Moment | None = None,
    ) -> None:
        if identifier not in found:
            found[identifier] = msgspec.structs.replace(_invalid(identifier, set(rows), sentence()), accused=accused)

    growth = Growing(history, rows, budget).judge(report, lambda row: f" ({_client(history, row)})", brief=True)
    if growth.valid:
        return Decision(method="set", valid=True)
    worst = next((found[name] for name in _PRECEDENCE if name in found), Decision(method="set", valid=False))
    return msgspec.structs.replace(worst, limit=growth.limit)


def _is_set(value: object) -> bool:
    return value is None or isinstance(value, tuple) or (isinstance(value, Tagged) and value.kind == "set")


def _shrinking(
    history: History, reading: NDArray[np.int64], adds: dict[Member, int], removes: dict[Member, int], budget: Budget
) -> Decision | None:
    """The decision on a set from which something is removed."""
    values = history.values
    starts = history.invoked.tolist()
    stops = np.where(history.outcome == OK, history.completed, NEVER).tolist()
    known = frozenset(adds)
    strangers: dict[Member, int] = {}
    reads = []
    listed = 0
    for row in reading.tolist():
        value = canonical(values[row])
        if not _is_set(value):
            return None
        shown = elements(value)
        if shown is None:
            return _twice(history, row, value, adds)
        listed += 64 + len(shown)
        if listed > 1 << 16:
            budget.check()
            listed = 0
        if not shown <= known:
            for member in shown - known:
                strangers.setdefault(member, row)
            shown &= known
        reads.append(_Read(row, starts[row], stops[row], shown))
    whole = _Set(history, adds, {m: row for m, row in removes.items() if m in known}, reads, starts, stops, budget)
    decision = _with_removals(whole)
    if decision is None or not decision.valid:
        return decision
    add = history.fs.index("add")
    return _stranger(history, strangers, add) if strangers else decision


def _once(history: History, rows: NDArray[np.int64]) -> dict[Member, int] | None:
    """The row of each element among `rows`, None where one comes twice."""
    values = history.values
    found: dict[Member, int] = {canonical(values[row]): row for row in rows.tolist()}
    return found if len(found) == len(rows) else None


def _invalid(identifier: str, rows: set[int], sentence: str) -> Decision:
    return Decision(method="set", valid=False, identifier=identifier, rows=tuple(sorted(rows)), sentence=sentence)


def _client(history: History, row: int) -> str:
    return f"client {int(history.process[row])}"


def _twice(history: History, row: int, value: Hashable, adds: dict[Member, int]) -> Decision:
    members = list(value) if isinstance(value, tuple) else []
    double = next(member for i, member in enumerate(members) if member in members[:i])
    rows = {row, adds[double]} if double in adds else {row}
    return _invalid("duplicate", rows, f"{_client(history, row)} read {double!r} twice in one set")


def _stranger(history: History, strangers: dict[Member, int], add: int) -> Decision:
    """The decision on elements without an addition that may have happened: failed ones first."""
    for put in np.flatnonzero((history.f == add) & (history.outcome == FAIL)).tolist():
        member = canonical(history.values[put])
        if member in strangers:
            sentence = f"{_client(history, strangers[member])} read {member!r}, though adding it had failed"
            return _invalid("aborted-read", {put, strangers[member]}, sentence)
    member, row = next(iter(strangers.items()))
    return _invalid("unexpected", {row}, f"{_client(history, row)} read {member!r}, which nobody ever added")


def _future(whole: _Set, member: Member, read: _Read) -> Decision:
    put = whole.adds[member]
    clients = _client(whole.history, read.row), _client(whole.history, put)
    return _invalid("future-read", {put, read.row}, f"{clients[0]} read {member!r} before {clients[1]} began to add it")


def _missing(whole: _Set, member: Member, read: _Read, causes: set[int]) -> Decision:
    """`read` had to show `member`, as the rows `causes` prove."""
    put = whole.adds[member]
    rows = {put, read.row} | causes
    who = f"{_client(whole.history, read.row)} read a set without {member!r}"
    why = f"though client {int(whole.history.process[put])} had added it"
    later = next((other for other in whole.reads if other.s > read.f and member in other.shown), None)
    if later is None:
        return _invalid("lost-element", rows, f"{who}, {why}, and no later read has it")
    return _invalid("stale-read", {*rows, later.row}, f"{who}, {why}; {_client(whole.history, later.row)} read it later")


@dataclass
class _Window:
    """The moments at which a read may have taken effect: its bounds, each with the element and operation that set it."""

    low: int
    high: int
    low_by: tuple[Member, int] | None = None
    high_by: tuple[Member, int] | None = None

    def after(self, moment: int, member: Member, row: int) -> None:
        if moment > self.low:
            self.low, self.low_by = moment, (member, row)

    def before(self, moment: int, member: Member, row: int) -> None:
        if moment < self.high:
            self.high, self.high_by = moment, (member, row)


def _with_removals(whole: _Set) -> Decision | None:
    """A set with removals whose reads do not overlap in time; None where they do, or where a removal is ambiguous."""
    adds, removes, reads, s, f = whole.adds, whole.removes, whole.reads, whole.s, whole.f
    if any(after.s <= before.f for before, after in pairwise(reads)):
        return None
    outcome = whole.history.outcome
    windows = [_Window(read.s, read.f) for read in reads]
    first: dict[Member, int] = {}
    last: dict[Member, int] = {}
    ambiguous = False
    for k, read in enumerate(reads):
        whole.budget.check()
        for member in read.shown:
            if s[adds[member]] > read.f:
                return _future(whole, member, read)
            if member in last and last[member] < k - 1:
                rows = {adds[member], reads[first[member]].row, reads[k - 1].row, read.row}
                if member not in removes:
                    return _missing(whole, member, reads[last[member] + 1], rows - {reads[k - 1].row})
                sentence = f"{_client(whole.history, read.row)} read {member!r} again after it had been removed"
                return _invalid("stale-read", {*rows, removes[member]}, sentence)
            first.setdefault(member, k)
            last[member] = k
    hidden = []
    for member, put in adds.items():
        take = removes.get(member)
        if member not in first:
            if outcome[put] != OK or not reads:
                continue
            if take is None or f[take] < s[put]:
                windows[-1].before(f[put], member, put)
            elif f[put] < s[take]:
                hidden.append((f[put], s[take], member))
            continue
        k = first[member]
        windows[k].after(s[put], member, put)
        if k:
            windows[k - 1].before(f[put], member, put)
        k = last[member]
        if k + 1 < len(reads):
            if take is None:
                return _missing(whole, member, reads[k + 1], {reads[k].row})
            windows[k].before(f[take], member, take)
            windows[k + 1].after(s[take], member, take)
        elif take is not None and outcome[take] != INFO and f[take] >= s[put]:
            if f[put] < s[take]:
                windows[k].before(f[take], member, take)
            elif f[take] < reads[k].f and s[take] > reads[first[member]].s:
                ambiguous = True
    decision = _windows(whole, windows, hidden)
    return None if decision.valid and ambiguous else decision


def _windows(whole: _Set, windows: list[_Window], hidden: list[tuple[int, int, Member]]) -> Decision:
    """Whether every read has a moment in its window and in none of the `hidden` open intervals (start, end, element)."""
    lows = np.array([window.low for window in windows], np.int64)
    highs = np.array([window.high for window in windows], np.int64)
    narrow = np.flatnonzero(lows > highs)
    if len(narrow):
        return _refute_window(whole, int(narrow[0]), windows[int(narrow[0])])
    x = np.sort(np.array([start for start, _, _ in hidden], np.int64))
    y = np.sort(np.array([end for _, end, _ in hidden], np.int64))

    def covered(points: NDArray[np.int64]) -> NDArray[np.bool_]:
        return np.searchsorted(x, points, "left") > np.searchsorted(y, points, "right")

    free = np.append(y[~covered(y)], NEVER)
    blocked = np.flatnonzero(covered(lows) & (free[np.searchsorted(free, lows, "left")] > highs))
    if not len(blocked):
        return Decision(method="set", valid=True)
    k = int(blocked[0])
    read, window = whole.reads[k], windows[k]
    rows = {read.row} | _proof(whole, k, window.low_by) | _proof(whole, k, window.high_by)
    point, member = window.low, None
    while point <= window.high:
        _, point, member = max((entry for entry in hidden if entry[0] < point), key=lambda entry: entry[1])
        rows |= {whole.adds[member], whole.removes[member]}
    sentence = f"{_client(whole.history, read.row)} read a set without {member!r}, which had been added and not yet removed"
    return _invalid("lost-element", rows, sentence)


def _refute_window(whole: _Set, k: int, window: _Window) -> Decision:
    """Read `k` would have had to take effect after `low` and before `high`, which is earlier."""
    read, history = whole.reads[k], whole.history
    rows = {read.row} | _proof(whole, k, window.low_by) | _proof(whole, k, window.high_by)
    if window.high_by is not None:
        member, row = window.high_by
        if row == whole.adds[member]:
            return _missing(whole, member, read, rows)
        return _invalid("stale-read", rows, f"{_client(history, read.row)} read {member!r}, which had been removed")
    assert window.low_by is not None, "a read ends after it starts"
    member, _ = window.low_by
    # The addition cannot have set the low bound: a read that ended before it has been reported.
    return _missing(whole, member, read, rows)


def _proof(whole: _Set, k: int, bound: tuple[Member, int] | None) -> set[int]:
    """The rows that prove a bound on read `k`: the operation, and the neighbouring read that shows the element's state."""
    if bound is None:
        return set()
    member, row = bound
    rows = {row, whole.adds[member]}
    shows = member in whole.reads[k].shown
    if member in whole.removes:
        rows.add(whole.removes[member])
        for other in whole.reads[:k] if row == whole.removes[member] and not shows else whole.reads[k + 1:]:
            if (member in other.shown) != shows:
                rows.add(other.row)
                break
    return rows
