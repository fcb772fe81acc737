"""Watches: every change is told once, in the order of revisions, none is missing, and none is from the past.

A watch asks for the changes of a key after a revision, and is told some, up to a last one. What is held against it is what etcd
promises of watches (KV API guarantees): they are ordered, unique, and reliable, which means that what is told leaves nothing
out; nothing is said of *when* a change is told. So

* a watch proves nothing of what comes after the last revision that it was told: it may have been cut short, or be late, and
  who resumes it is told the rest;
* a change whose revision is known, since somebody was told it, is missing in a watch that asked for it and was told a later
  one;
* an acknowledged write that *nobody* was told has no known revision, but a place: behind every change that was known when the
  write began, and before every change whose write began when it had been acknowledged. It is missing where watches, one or
  several that leave no hole between them, were told all that there was in that place;
* who asks for *everything* (since 0) and does not go on from there is told all there was, that is the workload's contract:
  every change that was known when the watch began. A change is known from the moment at which its write was acknowledged, or at
  which a watch that told it was over. Only a client's last watch of a key counts: a later one of the same client might tell the
  rest, and shows where it does that the earlier one was merely late or cut short.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import (
    NOTHING,
    Flags,
    Ints,
    Numbers,
    check_functions,
    coded,
    distinct,
    grouped,
    keys_of,
    latest_before,
    records,
    rows_of,
    sizes_of,
    values_of,
)
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.ranges import ranges
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL

MODEL = "watches complete"

NAMES = ("missed-event", "event-reordered", "event-from-the-past", "duplicate", "unexpected", "aborted-read", "future-read")


class WatchChecker:
    """Judges `write` of values, each once, and `read` of (since, changes), each change a (revision, value)."""

    name = "watch"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, for a read of anything else, and where a value is written twice."""
        history = recording.history
        check_functions(history, self.name, ("read", "write"))
        streams = _Streams(Findings(recording), history)
        streams.judge()
        return streams.found.verdict(
            self.name, {MODEL: NAMES}, keys=keys_of(history), judged=len(streams.watches),
            things="changes", what="watches",
        )


class _Streams:
    """The changes of all keys: one entry each time that one was told, in the order of watches. Revisions and values are codes,
    those of one key beside each other, revisions in their order."""

    def __init__(self, found: Findings, history: History) -> None:
        self.found, self.history = found, history
        self.watches = np.flatnonzero(rows_of(history, "read") & (history.outcome == OK))
        self.writes = np.flatnonzero(rows_of(history, "write"))
        numbers = Numbers()
        pairs = values_of(history, self.watches)
        told = _of_integers(pairs) or _of_objects(pairs)
        self.since, self.sizes, self.revisions, self.values = told
        self.by = np.repeat(np.arange(len(self.watches)), self.sizes)
        """The watch that was told, as a place in `watches`."""
        keys = np.repeat(history.key[self.watches], self.sizes)
        values = self.values.copy() if isinstance(self.values, np.ndarray) else numbers.of(self.values)
        wrote = numbers.of_rows(history, self.writes)
        values[values == NIL] = wrote[wrote == NIL] = NOTHING
        (self.revision,), many = coded((keys, self.revisions))
        (self.value, self.written), values_many = coded(
            (keys, values), (history.key[self.writes], wrote)
        )
        if (np.bincount(self.written, minlength=1) > 1).any():
            raise UsageError("the watch checker needs values that are written once: choose another checker")
        self.write = np.full(values_many, -1)
        """The row that wrote each value, -1 where none did."""
        self.write[self.written] = self.writes
        self.first_of_revision = _first(self.revision, many)
        """The entry that told each revision first."""
        self.first_of_value = _first(self.value, values_many)
        """The entry that told each value first, -1 where none did."""
        self.starts = np.cumsum(self.sizes) - self.sizes
        """Where the entries of each watch begin."""
        self.odd = np.zeros(len(self.watches), np.bool_)
        """Which watches were told one revision not after another: all the others need not be put in order."""
        self.odd[self.by[1:][(self.revision[1:] <= self.revision[:-1]) & (self.by[1:] == self.by[:-1])]] = True
        self.known, self.earliest = self._known(values_many)
        """When each value that was written, and did not certainly fail, was known to be there, `NEVER` where it was not; and
        the entry that was over first of those that told it, -1 where none did."""
        self.missed = np.zeros(values_many, np.bool_)
        """Which values somebody who asked for everything was not told."""

    def _known(self, many: int) -> tuple[Ints, Ints]:
        history = self.history
        known, earliest = np.full(many, NEVER), np.full(many, -1)
        rows = np.flatnonzero(self.write >= 0)
        ok = rows[history.outcome[self.write[rows]] == OK]
        known[ok] = history.completed[self.write[ok]]
        over = history.completed[self.watches]
        latest = np.argsort(-over, kind="stable")
        entries = ranges(self.starts[latest], self.sizes[latest])
        earliest[self.value[entries]] = entries
        told = np.flatnonzero(earliest >= 0)
        known[told] = np.minimum(known[told], over[self.by[earliest[told]]])
        known[(self.write < 0) | (history.outcome[self.write] == FAIL)] = NEVER
        return known, earliest

    def judge(self) -> None:
        """Tell what is wrong with them."""
        self._contradictions()
        self._within()
        self._missed_between()
        self._unwritten()
        self._in_time()
        self._everything()
        self._untold()

    def _tell(self, name: str, watches: Ints, what: Any, *others: Ints, lost: Flags | None = None) -> None:
        """Add these watches, places in `watches`; `what` tells of the n-th what it was told, and `others` are rows that prove
        it with it, -1 for none."""
        rows, history = self.watches[watches], self.history

        def tell(at: int) -> Told:
            row = int(rows[at])
            watch = history[row]
            when = clock(int(history.completed[row]))
            sentence = f"client {watch.process} at {watch.node or 'a server'} {what(at)}, of key {watch.key} at {when}."
            more = dict.fromkeys(int(other[at]) for other in others if other[at] >= 0 and other[at] != row)
            return sentence, [history[other] for other in [*more, row]]

        began = history.invoked[rows]
        if lost is not None and lost.any():
            began = np.where(lost, history.completed[others[0]], began)
        self.found.add_all(name, history.key[rows], began, history.completed[rows], tell, lost=False if lost is None else lost)

    def _contradictions(self) -> None:
        """Revisions that had another value before, and values that had another revision."""
        entries = np.flatnonzero(self.value != self.value[self.first_of_revision][self.revision])
        before = self.first_of_revision[self.revision[entries]]
        self._tell(
            "unexpected", self.by[entries], lambda at: f"was told {self.values[entries[at]]} at revision "
            f"{self.revisions[entries[at]]}, and another client {self.values[before[at]]}", self.watches[self.by[before]],
        )
        told = self.first_of_value >= 0
        revision = np.full(len(told), -1)
        revision[told] = self.revision[self.first_of_value[told]]
        again = np.flatnonzero(self.revision != revision[self.value])
        first = self.first_of_value[self.value[again]]
        self._tell(
            "duplicate", self.by[again], lambda at: f"was told {self.values[again[at]]} at revision "
            f"{self.revisions[again[at]]}, which was told at {self.revisions[first[at]]}", self.watches[self.by[first]],
        )

    def _within(self) -> None:
        """What one watch was told out of order, twice, or of the past."""
        starts, odd = self.starts, self.odd

        def listed(watch: int) -> str:
            return _listed(self.revisions[starts[watch] : starts[watch] + self.sizes[watch]].tolist())

        disordered = distinct(self.by[1:][(self.revision[1:] < self.revision[:-1]) & (self.by[1:] == self.by[:-1])])
        self._tell("event-reordered", disordered, lambda at: f"was told revisions {listed(int(disordered[at]))} in that order")
        # Of the others each was told its lowest first, and none twice.
        entries = np.flatnonzero(np.repeat(odd, self.sizes))
        order = entries[np.lexsort((self.revision[entries], self.by[entries]))]
        revision, by = self.revision[order], self.by[order]
        twice = distinct(by[1:][(revision[1:] == revision[:-1]) & (by[1:] == by[:-1])])
        self._tell("duplicate", twice, lambda at: f"was told a revision of {listed(int(twice[at]))} twice")
        some = np.flatnonzero(self.sizes)
        first = starts.copy()
        first[odd] = order[np.searchsorted(by, np.flatnonzero(odd))]
        lowest = self.revisions[first[some]]
        past = lowest <= self.since[some]
        old, lowest = some[past], lowest[past]
        self._tell(
            "event-from-the-past", old,
            lambda at: f"was told revision {lowest[at]}, though it had asked for those after {self.since[old[at]]}",
        )

    def _missed_between(self) -> None:
        """Revisions that a watch was not told, though it was told a later one."""
        some = np.flatnonzero(self.sizes)
        if not len(some):
            return
        known = self.revisions[self.first_of_revision]
        keys = self.history.key[self.watches][self.by[self.first_of_revision]].astype(np.int64)
        levels = distinct(known)
        combined = keys * (len(levels) + 1) + np.searchsorted(levels, known)
        asked = self.history.key[self.watches[some]].astype(np.int64) * (len(levels) + 1)
        low = np.searchsorted(combined, asked + np.searchsorted(levels, self.since[some], side="right"))
        starts = self.starts
        high = np.maximum.reduceat(self.revision, starts[some]) + 1
        # Each revision counts once a watch.
        new = self.revisions > np.repeat(self.since, self.sizes)
        told = np.add.reduceat(new, starts[some], dtype=np.int64)
        again = np.flatnonzero(new & np.repeat(self.odd, self.sizes))
        pairs = np.sort(self.by[again] * np.int64(len(known)) + self.revision[again])
        twice = pairs[1:][pairs[1:] == pairs[:-1]] // len(known)
        told -= np.bincount(twice, minlength=len(self.watches))[some]
        wrong = np.flatnonzero(high - low > told)
        watches, low, high = some[wrong], low[wrong], high[wrong]
        missing = np.array([
            self._first_missing(watch, one) for watch, one in zip(watches.tolist(), low.tolist(), strict=True)
        ], np.int64)
        told_by = self.first_of_revision[missing]
        self._tell(
            "missed-event", watches,
            lambda at: f"was told changes up to revision {known[high[at] - 1]} and not {self.values[told_by[at]]} at "
            f"{known[missing[at]]}", self.watches[self.by[told_by]],
        )

    def _first_missing(self, watch: int, low: int) -> int:
        """The first revision from `low` on that a watch was not told."""
        begin = int(np.searchsorted(self.by, watch))
        told = set(self.revision[begin : begin + int(self.sizes[watch])].tolist())
        return next(one for one in range(low, low + len(told) + 1) if one not in told)

    def _unwritten(self) -> None:
        """Values that nobody wrote, whose write failed, or had yet to begin, each once, where it was told the earliest."""
        history = self.history
        told = np.repeat(history.completed[self.watches], self.sizes)
        never = (self.write < 0) | (history.outcome[self.write] == FAIL)
        since = np.where(never, NEVER, history.invoked[self.write])
        wrong = np.zeros(len(self.write), np.bool_)
        wrong[self.value[told < since[self.value]]] = True
        value = np.flatnonzero(wrong)
        entries = np.flatnonzero(wrong[self.value])
        order = entries[np.lexsort((told[entries], self.value[entries]))]
        earliest = order[np.searchsorted(self.value[order], value)]
        write = self.write[value]
        failed = (write >= 0) & (history.outcome[write] == FAIL)
        future = (write >= 0) & ~failed
        for name, kind, why in (
            ("unexpected", write < 0, ", which nobody wrote"), ("aborted-read", failed, ", whose write was reported as failed"),
            ("future-read", future, " before it was written"),
        ):
            self._untimely(name, earliest[kind], write[kind], why)

    def _untimely(self, name: str, entries: Ints, writes: Ints, why: str) -> None:
        self._tell(name, self.by[entries], lambda at: f"was told {self.values[entries[at]]}{why}", writes)

    def _in_time(self) -> None:
        """A write that was acknowledged before another began has the lower revision."""
        history = self.history
        value = np.flatnonzero((self.first_of_value >= 0) & (self.write >= 0))
        rows, entries = self.write[value], self.first_of_value[value]
        ok = history.outcome[rows] == OK
        before = np.full(len(value), -1)
        for _, places in grouped(history.key[rows]):
            sure = places[ok[places]]
            before[places] = latest_before(
                history.completed[rows[sure]], self.revision[entries[sure]], history.invoked[rows[places]], -1
            )
        wrong = np.flatnonzero(before > self.revision[entries])
        told_by = self.first_of_revision[self.revision[entries[wrong]]]
        other = self.first_of_revision[before[wrong]]
        self._tell(
            "event-reordered", self.by[told_by],
            lambda at: f"was told {self.values[told_by[at]]} at revision {self.revisions[told_by[at]]}, though "
            f"{self.values[other[at]]}, at {self.revisions[other[at]]}, came before it in time",
            self.watches[self.by[other]], self.write[self.value[other]], rows[wrong],
        )

    def _everything(self) -> None:
        """Who asks for everything, and then for nothing more, is told all that was known before: each change that such a watch
        was not told is told of the first."""
        history = self.history
        whole = self._last()
        whole = whole[self.since[whole] == 0]
        whole = whole[np.argsort(history.key[self.watches[whole]], kind="stable")]
        place = np.full(len(self.watches), -1)
        place[whole] = np.arange(len(whole))
        keys, invoked = history.key[self.watches[whole]], history.invoked[self.watches[whole]]
        values = np.flatnonzero(self.known < NEVER)
        rows = self.write[values]
        # The first watch of everything, of this key, that began after the change was known, and the end of these.
        begin = np.zeros(len(rows), np.int64)
        for key, places in grouped(history.key[rows]):
            low, high = np.searchsorted(keys, key), np.searchsorted(keys, key, side="right")
            begin[places] = low + np.searchsorted(invoked[low:high], self.known[values[places]], side="right")
        end = np.searchsorted(keys, history.key[rows], side="right")
        since = np.full(len(self.write), len(whole))
        since[values] = begin
        told = np.flatnonzero(np.repeat(place >= 0, self.sizes))
        told = told[place[self.by[told]] >= since[self.value[told]]]
        pairs = distinct(self.value[told] * np.int64(len(whole) + 1) + place[self.by[told]])
        value, at = pairs // (len(whole) + 1), pairs % (len(whole) + 1)
        # Those that were told it without a gap, from the first on.
        gapless = at - since[value] == np.arange(len(pairs)) - np.searchsorted(value, value)
        first = begin + np.bincount(value[gapless], minlength=len(self.write))[values]
        missed = np.flatnonzero(first < end)
        missed = missed[np.lexsort((rows[missed], self.watches[whole[first[missed]]], history.key[rows[missed]]))]
        watches, rows, values = whole[first[missed]], rows[missed], values[missed]
        lost = self.first_of_value[values] < 0
        self.missed[values] = True
        known_by = np.full(len(values), -1)
        known_by[~lost] = self.watches[self.by[self.earliest[values[~lost]]]]

        def what(at: int) -> str:
            nobody = ", nor was anybody" if lost[at] else ""
            return f"asked for everything and was not told {history.values[int(rows[at])]}{nobody}"

        self._tell("missed-event", watches, what, rows, known_by, lost=lost)

    def _last(self) -> Ints:
        """The last watch that each client had of each key, in their order."""
        key, process = self.history.key[self.watches], self.history.process[self.watches]
        order = np.lexsort((np.arange(len(key)), process, key))
        key, process = key[order], process[order]
        last = np.append((key[1:] != key[:-1]) | (process[1:] != process[:-1]), True)[: len(order)]
        return np.sort(order[last])

    def _untold(self) -> None:
        """Acknowledged writes that nobody was told, though watches were told all that there was where it has its place."""
        history = self.history
        values = np.flatnonzero((self.known < NEVER) & (self.first_of_value < 0) & ~self.missed)
        some = np.flatnonzero(self.sizes)
        if not len(values) or not len(some):
            return
        told = np.flatnonzero((self.first_of_value >= 0) & (self.known < NEVER))
        rows, revision = self.write[told], self.revisions[self.first_of_value[told]]
        highest = np.maximum.reduceat(self.revisions, self.starts[some])
        by_key = dict(grouped(history.key[self.watches[some]]))
        told_of = dict(grouped(history.key[rows]))
        accused: list[tuple[int, int, int, int, list[int]]] = []
        for key, places in grouped(history.key[self.write[values]]):
            watches = by_key.get(key, some[:0])
            changes = told_of.get(key, some[:0])
            if not len(watches) or not len(changes):
                continue
            mine, ranks = self.write[values[places]], np.arange(len(changes))
            changes = changes[np.argsort(revision[changes], kind="stable")]
            behind = latest_before(self.known[told[changes]], ranks, history.invoked[mine], -1)
            before = -latest_before(-history.invoked[rows[changes]], -ranks, -history.completed[mine], -len(changes))
            cover = _Cover(self.since[some[watches]], highest[watches])
            for at in np.flatnonzero(before < len(changes)).tolist():
                low = 0 if behind[at] < 0 else int(revision[changes[behind[at]]])
                above = int(changes[before[at]])
                high = int(revision[above]) - 1
                # Between two revisions that follow each other there is no place for it at all.
                chain = [int(some[watches[one]]) for one in cover.chain(low, high)]
                if by := chain or ([int(self.by[self.earliest[told[above]]])] if low >= high else []):
                    below = -1 if behind[at] < 0 else int(told[changes[behind[at]]])
                    accused.append((int(values[places[at]]), below, int(told[above]), low, by))
        accused.sort(key=lambda one: int(self.write[one[0]]))
        for value, below, above, low, by in accused:
            self._tell_untold(value, below, above, low, by)

    def _tell_untold(self, value: int, below: int, above: int, low: int, by: list[int]) -> None:
        """Tell of a write that nobody was told, between the changes `below` (-1 for none) and `above`, by these watches."""
        history, row = self.history, int(self.write[value])
        last = int(self.watches[by[-1]])
        highest = self.revisions[self.starts[by[-1]] :][: self.sizes[by[-1]]].max()

        def tell() -> Told:
            proof = [row, int(self.write[above]), int(self.watches[self.by[self.earliest[above]]])]
            if below >= 0:
                proof += [int(self.write[below]), int(self.watches[self.by[self.earliest[below]]])]
            proof += [int(self.watches[one]) for one in by]
            watch = history[last]
            place = f"after revision {low} and before {self.revisions[self.first_of_value[above]]}"
            sentence = (
                f"client {watch.process} at {watch.node or 'a server'} was told changes up to revision {highest}, and nobody "
                f"was told {history.values[row]}, which has its place {place}, of key "
                f"{watch.key} at {clock(int(history.completed[last]))}."
            )
            return sentence, [*(history[one] for one in dict.fromkeys(proof) if one != last), watch]

        moment = Moment(began=int(history.completed[row]), seen=int(history.completed[last]), lost=True)
        self.found.add("missed-event", history[row].key, moment, tell)


class _Cover:
    """Stretches of revisions: which of them, one going on where another ends, leave no hole in a longer one. Each is (since,
    highest]."""

    def __init__(self, since: Ints, highest: Ints) -> None:
        order = np.lexsort((-highest, since))
        reach = np.maximum.accumulate(highest[order]) if len(order) else highest
        # Only those that reach further than all that begin before them.
        best = np.append(True, reach[1:] > reach[:-1])[: len(order)]
        self.which, self.since, self.highest = order[best], since[order][best], highest[order][best]

    def chain(self, low: int, high: int) -> list[int]:
        """Those that have every revision after `low`, up to and with `high`; none where these do not."""
        found: list[int] = []
        while low < high:
            at = int(np.searchsorted(self.since, low, side="right")) - 1
            if at < 0 or self.highest[at] <= low:
                return []
            found.append(int(self.which[at]))
            low = int(self.highest[at])
        return found


def _first(codes: Ints, many: int) -> Ints:
    """Where each code stands first, -1 where it does not."""
    found = np.full(many, -1)
    found[codes[::-1]] = np.arange(len(codes))[::-1]
    return found


_Told = tuple[Ints, Ints, Ints, Any]
"""Of each watch what it asked for and how many changes it was told; of each change its revision, and its value (integers, or a
list of anything)."""


def _of_integers(pairs: list[Any]) -> _Told | None:
    """What watches were told, where that is nothing but integers; None where it is not."""
    try:
        sizes = sizes_of([changes for _, changes in pairs])
    except (TypeError, ValueError):
        return None
    found = records(pairs)
    if found is None or len(found.number) != 3 * (len(pairs) + int(sizes.sum())):
        return None
    # A watch is a pair of what it asked for and as many changes, each change a pair: three records for either.
    numbers, number = found.numbers.reshape(-1, 3), found.number.reshape(-1, 3)
    head = np.zeros(len(number), np.bool_)
    head[np.cumsum(sizes + 1) - sizes - 1] = True
    pair = ~numbers[:, 0] & (number[:, 0] == 2) & numbers[:, 1] & (numbers[:, 2] != head)
    if not pair.all() or (number[head, 2] != sizes).any():
        return None
    since, revisions, values = (column.astype(np.int64) for column in (number[head, 1], number[~head, 1], number[~head, 2]))
    return since, sizes, revisions, values


def _of_objects(pairs: list[Any]) -> _Told:
    """What watches were told, whatever that is. Raises `UsageError` where one was told anything else."""
    if _tuples(pairs) and _sized(pairs):
        since, told = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        changes: list[Any] = list(chain.from_iterable(told)) if _tuples(told) else [None]
        if not (_tuples(changes) and _sized(changes)
                and {int}.issuperset(map(type, chain(since, map(itemgetter(0), changes))))):
            since, told = _each(pairs)
    else:
        since, told = _each(pairs)
    flat = list(chain.from_iterable(chain.from_iterable(told)))
    try:
        revisions = np.fromiter(flat[0::2], np.int64, len(flat) // 2)
        return np.array(since, np.int64), sizes_of(told), revisions, flat[1::2]
    except OverflowError as error:
        raise UsageError("the watch checker needs revisions of 64 bits: choose another checker") from error


def _each(pairs: list[Any]) -> tuple[list[int], list[Any]]:
    read = [_changes(value) for value in pairs]
    return [since for since, _ in read], [changes for _, changes in read]


def _tuples(values: Sequence[Any]) -> bool:
    return {tuple}.issuperset(map(type, values))


def _sized(pairs: Sequence[Any]) -> bool:
    return {2}.issuperset(map(len, pairs))


def _changes(value: Any) -> tuple[int, list[tuple[int, Any]]]:
    try:
        since, changes = value
        return _whole(since), [(_whole(revision), told) for revision, told in changes]
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"the watch checker needs reads of (since, changes), not {value!r}: choose another checker") from error


def _whole(number: Any) -> int:
    """Some databases tell revisions as text. Raises `ValueError` where it is not a whole one."""
    whole = int(number)
    if type(number) is float and number != whole:
        raise ValueError(f"{number} is no whole number")
    return whole


def _listed(revisions: list[int]) -> str:
    return ", ".join(map(str, revisions[:6])) + (", ..." if len(revisions) > 6 else "")
