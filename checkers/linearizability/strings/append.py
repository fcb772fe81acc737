"""A string with `get`, `put` and `append` whose written texts are distinct: near-linear in the length of what was read.

**Reading a text.** Where no written text begins with another, a text falls into written ones in one way at most. Every put
opens an *epoch*, in which the string is the put's text and then appended ones; before any put there is the first epoch,
which begins with nothing. A text thus tells its epoch (by the put it begins with) and which appends took effect in it, in
which order. Texts of one epoch must be beginnings of its longest.

**Chains.** The operations of an epoch that some read shows are its *chain*: the put, the reads of its text alone, the first
append, the reads up to there, the second append, and so on. A chain is a contiguous part of every linearization in that
order, but for appends and puts that no read shows. These can be moved out of it: behind the last read of the chain an
append or a put that nobody sees does no harm, and a put in front of the last read would have been seen. So take each of
them as a chain of one operation. Conversely, chains one after another in any order are legal, provided that the first epoch
comes first: what nobody sees is appended to the end of some epoch after its last read, and every chain but the first epoch's
begins with a put. Hence the rule of zones (Gibbons & Korach 1997, see `zones`): linearizable if and only if

* within a chain no operation ended before one of an earlier step started, and
* no two chains precede each other, where A precedes B if an operation of A ended before one of B started, and the first
  epoch's chain precedes every other.

In the relation between chains the latest start of a cycle is preceded by all of the cycle, so every cycle contains one of
length two; and from an order of chains that extends the relation each operation takes effect at the latest start so far.

**Indeterminate** writes have no end. One that a read shows did happen; one that none shows may be left out (its chain of one
precedes nothing), for in a linearization nobody would notice. Indeterminate and failed gets tell nothing.

**Equal texts.** A text that was appended several times is a choice: which append put it where it is shown. Only those are
candidates that may come behind what is before that place and before what is behind it; the history is linearizable if and
only if it is so for one of the choices. A text that was put several times, or put and appended, opens several epochs: a read
that begins with it belongs to one whose put began before the read ended, and not to one that a put behind it had closed
before the read began (the first epoch is closed by any put). Where several are possible, all such reads are taken for the
latest, then for the earliest.

**Undecided** is a key where a text is empty or begins with another; where the choices are too many; and where neither of the
two ways to take such beginnings does, for the history may need some of each.

It is one file because the proofs above speak of all its steps together.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise, product
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.linearizability.decision import Decision, in_time
from splitbrain.checkers.linearizability.evidence.evidence import settle
from splitbrain.checkers.linearizability.machine import compiled
from splitbrain.checkers.linearizability.registers.zones import ABSENT, INVALID, UNDECIDED, VALID
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import MISSING

EVER = int(np.iinfo(np.int64).min)

FEW = 4
"""In how many of the latest epochs a text is sought at once, before its beginning is looked up."""

MOST_CHOICES = 256
"""How many ways to choose among appends of equal texts are tried, at most."""


def decide(history: History, model: Model, *, every_key: bool = True, ends: float = math.inf) -> NDArray[np.int8]:
    """`VALID`, `INVALID`, `UNDECIDED` or `ABSENT` for every key: entry 0 for operations without a key, c + 1 for key code c.

    With `every_key` false it ends at the first that is invalid, and those behind it are left undecided, as are those that
    were not looked at by `ends`, a moment of `time.perf_counter`.
    """
    status = compiled.append(history, every_key=every_key) if model.initial == "" else None
    part = history
    if status is None:
        status = np.full(len(history.keys) + 1, ABSENT, np.int8)
        status[history.key + 1] = UNDECIDED
        if model.initial != "":
            return status
    else:
        found = status.tolist()
        if UNDECIDED not in found or (INVALID in found and not every_key):
            return status
        part = history.select(status[history.key + 1] == UNDECIDED)
    left = _judges(part)
    while left and time.perf_counter() < ends:
        code, judge = left.popitem()
        status[code + 1] = judge.status()
        if status[code + 1] == INVALID and not every_key:
            for other in left:
                status[other + 1] = UNDECIDED
            break
    return status


def decide_append(history: History, model: Model, ends: float = math.inf) -> Decision | None:
    """The history of one key, with the evidence where it is invalid; None where it is undecided. Raises `Late` after `ends`.

    The evidence holds every write that its reads are made of, for a read of what nobody wrote would be another violation.
    """
    if model.initial != "":
        return None
    in_time(ends)
    decision = _decide(history)
    if decision is None or decision.valid:
        return decision
    return settle(history, decision, _decide, ends)


def _decide(history: History) -> Decision | None:
    judge = next(iter(_judges(history).values()), None)
    status = VALID if judge is None else judge.status()
    if judge is None or status == VALID:
        return Decision(method="append", valid=True)
    return _Account(history, judge).decision() if status == INVALID else None


@dataclass(slots=True)
class _Epoch:
    """What the reads tell of one epoch.

    `put` is the row of its put, -1 for the first epoch. `text` is the longest read, of row `longest`, `parts` are the texts
    that were appended in it, and `appends` the rows of those appends. `counts` maps the length of each of its beginnings to
    the number of appends in it, and `reads` that number to the rows of the reads.
    """

    put: int
    text: str
    longest: int
    parts: list[str]
    appends: list[int]
    counts: dict[int, int]
    reads: dict[int, list[int]]


class _Chain(NamedTuple):
    """Operations that take effect together: those of an epoch, or one write that no read shows (`epoch` is None).

    `low` is their earliest end and `high` their latest start.
    """

    low: int
    high: int
    row: int
    epoch: _Epoch | None


@dataclass(slots=True)
class _Fault:
    """Why a key is not linearizable: what the account for people starts from. `kind` says which of the others are set, and
    `row` is the put whose epoch a text is taken for where that text is unreadable."""

    kind: str
    read: int = -1
    row: int = -1
    epoch: _Epoch | None = None
    chains: tuple[_Chain, ...] = ()


class _Judge:
    """One key: its writes and reads, and whether they are linearizable. `fault` tells what is wrong, once that is known.

    `puts` maps a text to the rows of its puts and `appends` to that of its first append; `again` has all rows of a text that
    was appended several times; all in the order of their start.
    """

    __slots__ = (
        "start", "end", "lengths", "puts", "appends", "again", "texts", "failed", "unfit", "epochs", "fault", "contested",
    )

    def __init__(self, start: list[int], end: list[int]) -> None:
        self.start = start
        self.end = end
        self.lengths: tuple[int, ...] = ()
        self.puts: dict[str, list[int]] = {}
        self.appends: dict[str, int] = {}
        self.again: dict[str, list[int]] = {}
        self.texts: dict[str, list[int]] = {}
        self.failed: dict[str, int] = {}
        self.unfit = False
        self.epochs: dict[int, _Epoch] = {}
        self.fault: _Fault | None = None
        self.contested = False

    def status(self) -> int:
        if self.unfit or not self._prefix_free():
            return UNDECIDED
        status = self._linearizable(latest=True)
        if status != INVALID or not self.contested:
            return status
        return VALID if self._linearizable(latest=False) == VALID else UNDECIDED

    def _prefix_free(self) -> bool:
        """Whether no written text begins with another; sets their `lengths`."""
        puts, appends = self.puts, self.appends
        lengths = {*map(len, puts), *map(len, appends)}
        self.lengths = tuple(sorted(lengths))
        if len(lengths) < 2:
            return True
        shorter = self.lengths[:-1]
        for writes in (puts, appends):
            for text in writes:
                for length in shorter:
                    if length >= len(text):
                        break
                    if text[:length] in puts or text[:length] in appends:
                        return False
        return True

    def _linearizable(self, latest: bool) -> int:
        self.epochs = {}
        self.fault = None
        shared = not self.puts.keys().isdisjoint(self.appends) or any(len(rows) > 1 for rows in self.puts.values())
        epochs = list(self.epochs.values())
        for text in sorted(self.texts, key=len, reverse=True):
            length = len(text)
            for epoch in () if shared else epochs:
                # The beginnings of an epoch's texts are no other epoch's.
                if length in epoch.counts and epoch.text.startswith(text):
                    epoch.reads[epoch.counts[length]] = self.texts[text]
                    break
            else:
                if not self._place(text, latest):
                    return INVALID
                epochs = list(self.epochs.values())[-FEW:]
        if self.again:
            return self._choose()
        return VALID if self._in_order() else INVALID

    def _in_order(self) -> bool:
        """Whether the epochs, each with its appends, are in order and apart."""
        shown: set[int] = set()
        chains = []
        for put, epoch in self.epochs.items():
            shown.add(put)
            for row in epoch.appends:
                if row in shown:
                    self.fault = _Fault("two epochs", row=row)
                    return False
                shown.add(row)
            chain = self._chain(epoch)
            if chain is None:
                return False
            chains.append(chain)
        start, end = self.start, self.end
        for row in self.writes():
            if row not in shown:
                chains.append(_Chain(end[row], start[row], row, None))
        return self._apart(chains)

    def writes(self) -> list[int]:
        """The rows of everything that was put or appended."""
        rows = [*self.appends.values()]
        for copies in self.again.values():
            rows += copies[1:]
        for copies in self.puts.values():
            rows += copies
        return rows

    def _place(self, text: str, latest: bool) -> bool:
        """Put the reads of `text` (no longer than any text before) into their epoch. False where it cannot have been read."""
        puts, append = self.heads(text)
        rows = self.texts[text]
        if len(puts) + (append >= 0) < 2:
            return self._join(puts[0] if puts else -1, text, rows)
        start, end = self.start, self.end
        every = [row for copies in self.puts.values() for row in copies]
        ended = min(end[row] for row in every)
        by: dict[int, list[int]] = {}
        for row in rows:
            begun = [put for put in puts if start[put] <= end[row]]
            replaced = max((start[put] for put in every if end[put] < start[row]), default=EVER)
            possible = [put for put in begun if end[put] >= replaced]
            if append >= 0 and start[append] <= end[row] and ended >= start[row]:
                possible.insert(0, -1)
            if len(possible) > 1:
                self.contested = True
            chosen = (possible or begun or ([-1] if append >= 0 else puts))[-1 if latest else 0]
            by.setdefault(chosen, []).append(row)
        return all([self._join(chosen, text, some) for chosen, some in by.items()])

    def heads(self, text: str) -> tuple[list[int], int]:
        """The puts and the append that `text` may begin with."""
        for length in self.lengths:
            head = text[:length]
            if head in self.puts or head in self.appends:
                return self.puts.get(head, []), self.appends.get(head, -1)
        return [], -1

    def _join(self, put: int, text: str, rows: list[int]) -> bool:
        """Count these reads of `text` into the epoch of `put`."""
        epoch = self.epochs.get(put)
        if epoch is None:
            at, parts = self.parse(text, put)
            if at < len(text) or (len(set(parts)) < len(parts) and self._too_often(parts)):
                self.fault = _Fault("unreadable", read=rows[0], row=put)
                return False
            at = len(text) - sum(map(len, parts))
            counts = {at: 0}
            for number, part in enumerate(parts, 1):
                at += len(part)
                counts[at] = number
            appends = [self.appends[part] for part in parts]
            epoch = self.epochs[put] = _Epoch(put, text, rows[0], parts, appends, counts, {})
        elif len(text) not in epoch.counts or not epoch.text.startswith(text):
            self.fault = _Fault("unreadable", read=rows[0], row=put, epoch=epoch)
            return False
        epoch.reads[epoch.counts[len(text)]] = rows
        return True

    def _too_often(self, parts: list[str]) -> bool:
        return any(n > len(self.again.get(part, (0,))) for part, n in Counter(parts).items())

    def parse(self, text: str, put: int) -> tuple[int, list[str]]:
        """The appended texts that `text` is made of, behind the text of `put` (-1: none), and how far that goes."""
        parts = []
        at = 0
        appends, lengths = self.appends, self.lengths
        if put >= 0:
            at = next(length for length in lengths if put in self.puts.get(text[:length], ()))
        while at < len(text):
            for length in lengths:
                part = text[at:at + length]
                if part in appends:
                    parts.append(part)
                    at += length
                    break
            else:
                break
        return at, parts

    def _choose(self) -> int:
        """Try every choice of the appends of equal texts."""
        places = []
        candidates = []
        combinations = 1
        for epoch in self.epochs.values():
            for place, part in enumerate(epoch.parts):
                if part in self.again:
                    fitting = self._fitting(epoch, place)
                    combinations *= len(fitting)
                    if combinations > MOST_CHOICES:
                        return UNDECIDED
                    places.append((epoch, place))
                    candidates.append(fitting)
        choices = [choice for choice in product(*candidates) if len(set(choice)) == len(choice)]
        for choice in choices:
            self._take(places, choice)
            if self._in_order():
                return VALID
        # One of them once more, or what comes nearest to one, so that the fault and the epochs are of the same.
        nearest: list[int] = []
        for epoch, place in places:
            latest, earliest = self._bounds(epoch, place)
            every = self.again[epoch.parts[place]]
            copies = [row for row in every if row not in nearest]
            nearest.append(min(copies or every, key=lambda row: max(latest - self.end[row], self.start[row] - earliest)))
        self._take(places, choices[0] if choices else tuple(nearest))
        if self._in_order():
            self.fault = _Fault("choice")
        return INVALID

    def _take(self, places: list[tuple[_Epoch, int]], choice: tuple[int, ...]) -> None:
        for (epoch, place), row in zip(places, choice, strict=True):
            epoch.appends[place] = row

    def _fitting(self, epoch: _Epoch, place: int) -> list[int]:
        """Which appends of the text at `place` of `epoch` may be shown there."""
        latest, earliest = self._bounds(epoch, place)
        return [row for row in self.again[epoch.parts[place]] if self.end[row] >= latest and self.start[row] <= earliest]

    def _bounds(self, epoch: _Epoch, place: int) -> tuple[int, int]:
        """The latest start of what is certain before `place` of `epoch`, and the earliest end of what is behind it."""
        start, end = self.start, self.end
        latest, earliest = EVER, NEVER
        if epoch.put >= 0:
            latest = start[epoch.put]
        for number, part in enumerate(epoch.parts):
            if part not in self.again:
                row = epoch.appends[number]
                if number < place:
                    latest = max(latest, start[row])
                else:
                    earliest = min(earliest, end[row])
        for count, rows in epoch.reads.items():
            if count <= place:
                latest = max(latest, max(start[row] for row in rows))
            else:
                earliest = min(earliest, min(end[row] for row in rows))
        return latest, earliest

    def _chain(self, epoch: _Epoch) -> _Chain | None:
        """The chain of an epoch, None where it is out of order."""
        start, end, reads = self.start, self.end, epoch.reads
        put = epoch.put
        latest, late, low = EVER, -1, EVER
        if put >= 0:
            low, latest, late = end[put], start[put], put
        number = 0
        for write in (-1, *epoch.appends):
            if write >= 0:
                if end[write] < latest:
                    self.fault = _Fault("out of order", read=late, row=write, epoch=epoch)
                    return None
                number += 1
                if end[write] < low:
                    low = end[write]
                if start[write] > latest:
                    latest, late = start[write], write
            if number in reads:
                before, before_row = latest, late
                for row in reads[number]:
                    if end[row] < before:
                        self.fault = _Fault("out of order", read=before_row, row=row, epoch=epoch)
                        return None
                    if start[row] > latest:
                        latest, late = start[row], row
                    if end[row] < low:
                        low = end[row]
        return _Chain(low, latest, put, epoch)

    def _apart(self, chains: list[_Chain]) -> bool:
        """Whether no two chains precede each other."""
        forward = [chain for chain in chains if chain[0] < chain[1]]
        if len(forward) > 1:
            forward.sort(key=_low)
            for one, other in pairwise(forward):
                if other[0] < one[1]:
                    self.fault = _Fault("chains", chains=(one, other))
                    return False
        lows = [chain[0] for chain in forward]
        for chain in chains if forward else ():
            if chain[0] >= chain[1]:
                at = bisect_left(lows, chain[1]) - 1
                if at >= 0 and chain[0] < forward[at][1]:
                    self.fault = _Fault("chains", chains=(forward[at], chain))
                    return False
        return True


_low = itemgetter(0)


def _judges(history: History) -> dict[int, _Judge]:
    """The judge of each key code, -1 for operations without a key."""
    start: list[int] = history.invoked.tolist()
    outcomes: list[int] = history.outcome.tolist()
    end: list[int] = history.completed.tolist()
    if any(outcomes):
        end = [at if how == OK else NEVER for at, how in zip(end, outcomes, strict=True)]
    missing = MISSING in history.values.kind
    names = [history.fs[code] for code in history.f.tolist()]
    judges: dict[int, _Judge] = {}
    row = -1
    for code, f, how, value in zip(history.key.tolist(), names, outcomes, history.values, strict=True):
        row += 1
        judge = judges.get(code)
        if judge is None:
            judge = judges[code] = _Judge(start, end)
        if f == "get":
            if how != OK:
                continue
            text = "" if value is None else value
            if type(text) is not str or (missing and history.values.kind[row] == MISSING):
                judge.unfit = True
            elif text in judge.texts:
                judge.texts[text].append(row)
            else:
                judge.texts[text] = [row]
        elif how == FAIL:
            if type(value) is str and value:
                judge.failed.setdefault(value, row)
        else:
            if type(value) is not str or not value or f not in ("append", "put"):
                judge.unfit = True
            elif f == "put":
                judge.puts.setdefault(value, []).append(row)
            elif value not in judge.appends:
                judge.appends[value] = row
            else:
                judge.again.setdefault(value, [judge.appends[value]]).append(row)
    return judges


class _Account:
    """What is wrong, for people."""

    def __init__(self, history: History, judge: _Judge) -> None:
        self.history = history
        self.judge = judge
        self.start, self.end = judge.start, judge.end
        self.puts = {row for copies in judge.puts.values() for row in copies}
        self.writes = set(judge.writes())

    def decision(self) -> Decision:
        fault = self.judge.fault
        assert fault is not None
        if fault.kind == "unreadable":
            return self._unreadable(fault)
        if fault.kind == "choice":
            sentence = "no choice among the appends of equal texts explains what was read"
            return self._invalid("non-linearizable", set(range(len(self.history))), sentence)
        if fault.kind == "two epochs":
            return self._in_two_epochs(fault.row)
        if fault.kind == "chains":
            return self._mutual(*fault.chains)
        assert fault.epoch is not None
        return self._out_of_order(fault.epoch, fault.read, fault.row)

    def _invalid(self, identifier: str, rows: set[int], sentence: str) -> Decision:
        return Decision(method="append", valid=False, identifier=identifier, rows=tuple(sorted(rows)), sentence=sentence)

    def _name(self, row: int) -> str:
        return f"client {int(self.history.process[row])}"

    def _value(self, row: int) -> str:
        return _short(self.history.values[row])

    def _made_of(self, epoch: _Epoch, count: int, read: int) -> set[int]:
        """The row of a read, and those that prove which writes its text is made of: `count` appends of `epoch`."""
        puts, append = self.judge.heads(self.history.values[read] or "")
        rows = {read, *self._copies(epoch.parts[:count]), *puts}
        if len(puts) + (append >= 0) > 1:
            # All puts tell together which epoch it is.
            rows |= {append, *self.puts}
        return rows - {-1}

    def _copies(self, parts: list[str]) -> set[int]:
        """The rows of all appends of these texts."""
        rows = {self.judge.appends[part] for part in parts}
        return rows.union(*(self.judge.again.get(part, ()) for part in parts))

    def _unreadable(self, fault: _Fault) -> Decision:
        """Why nobody can have read that text, or not at that time."""
        read, put = fault.read, fault.row
        text = self.history.values[read] or ""
        found = self._scan(text, put)
        often = [row for place, row in enumerate(found) if place or put < 0]
        for write, times in Counter(often).items():
            copies = self.judge.again.get(self.history.values[write], [write])
            if times > len(copies):
                sentence = f"{self._name(read)} read {self._value(write)} more often in one text than it was appended"
                return self._invalid("duplicate", {*copies, read, max(put, write)}, sentence)
        for write in found:
            copies = self._alike(write)
            if all(self.end[read] < self.start[row] for row in copies):
                return self._future(read, write, copies)
        at, parts = self.judge.parse(text, put)
        if at < len(text):
            for value, write in self.judge.failed.items():
                if value in text:
                    sentence = f"{self._name(read)} read {value!r}, though writing it had failed"
                    return self._invalid("aborted-read", {write, read}, sentence)
            return self._invalid("unwritten-read", {read}, f"{self._name(read)} read {_short(text)}, which nobody wrote")
        epoch = fault.epoch
        assert epoch is not None, "a text that can be read and is the first of its epoch is placed"
        other, longest = epoch.longest, epoch.parts
        place = next(i for i, (one, two) in enumerate(zip(parts, longest, strict=False)) if one != two)
        evidence = {read, *self._copies(parts), *self._copies(longest), other}
        if put >= 0:
            evidence.add(put)
        a, b = parts[place], longest[place]
        if b in parts or a in longest:
            first, second, one, two = (a, b, read, other) if b in parts else (b, a, other, read)
            sentence = (
                f"{self._name(one)} read {_short(first)} before {_short(second)} in the text, {self._name(two)} did"
                " not"
            )
            return self._invalid("reordered", evidence, sentence)
        sentence = (
            f"{self._name(read)} read {_short(a)} where {self._name(other)} read {_short(b)}: neither text can have"
            " grown into the other"
        )
        return self._invalid("split-brain", evidence, sentence)

    def _alike(self, write: int) -> list[int]:
        """The rows of all that wrote the same text."""
        text = self.history.values[write]
        rows = self.judge.again.get(text, [self.judge.appends[text]] if text in self.judge.appends else [])
        return [*rows, *self.judge.puts.get(text, ())]

    def _future(self, read: int, write: int, copies: list[int]) -> Decision:
        sentence = f"{self._name(read)} read {self._value(write)} before {self._name(write)} began to write it"
        return self._invalid("future-read", {*copies, read}, sentence)

    def _scan(self, text: str, put: int) -> list[int]:
        """The writes that `text`, taken for one of the epoch of `put` (-1: the first), shows, passing over what is none."""
        found, at = [], 0
        judge = self.judge
        while at < len(text):
            for length in judge.lengths:
                part = text[at:at + length]
                row = judge.appends.get(part, -1)
                if at == 0 and (put >= 0 or row < 0) and part in judge.puts:
                    row = put if put in judge.puts[part] else judge.puts[part][0]
                if row >= 0:
                    found.append(row)
                    at += length
                    break
            else:
                at += 1
        return found

    def _in_two_epochs(self, append: int) -> Decision:
        epochs = [epoch for epoch in self.judge.epochs.values() if append in epoch.appends]
        if self.history.values[append] in self.judge.again:
            # Every one of them was taken, and then one once more.
            rows = set(self._alike(append)).union(*(
                self._made_of(epoch, max(epoch.reads), epoch.reads[max(epoch.reads)][0]) for epoch in self.judge.epochs.values()
                if self.history.values[append] in epoch.parts
            ))
            sentence = f"the texts that were read show {self._value(append)} more often than it was appended"
            return self._invalid("duplicate", rows, sentence)
        epochs = epochs[:2]
        reads = [self._shortest(epoch, append) for epoch in epochs]
        sentence = (
            f"{self._name(reads[0][1])} and {self._name(reads[1][1])} read {self._value(append)} in texts that began"
            " differently, though it was appended once"
        )
        first, second = (self._made_of(epoch, *at) for epoch, at in zip(epochs, reads, strict=True))
        return self._invalid("split-brain", first | second, sentence)

    def _shortest(self, epoch: _Epoch, append: int) -> tuple[int, int]:
        """The shortest read of `epoch` that shows `append`: how many appends it shows, and its row."""
        number = epoch.appends.index(append) + 1
        return min((count, rows[0]) for count, rows in epoch.reads.items() if count >= number)

    def _proof(self, epoch: _Epoch, row: int) -> set[int]:
        """The rows that show that the operation `row` belongs to `epoch`, and where in it."""
        if row == epoch.put:
            return {row}
        if row in epoch.appends:
            return self._made_of(epoch, *self._shortest(epoch, row))
        return self._made_of(epoch, next(count for count, rows in epoch.reads.items() if row in rows), row)

    def _out_of_order(self, epoch: _Epoch, late: int, early: int) -> Decision:
        """`early` ended before `late` started, though it comes behind it in the epoch's chain."""
        rows = self._proof(epoch, late) | self._proof(epoch, early)
        if early not in self.writes:
            shown = next(count for count, reads in epoch.reads.items() if early in reads)
            for write in ([epoch.put] if epoch.put >= 0 else []) + epoch.appends[:shown]:
                if self.end[early] < self.start[write]:
                    copies = self._alike(write)
                    return self._future(early, write, copies if len(copies) == 1 else [*copies, *rows])
        if late in self.writes:
            sentence = (
                f"{self._name(early)} had written {self._value(early)} before {self._name(late)} began to write"
                f" {self._value(late)}, yet it was read behind it"
            )
            return self._invalid("reordered", rows, sentence)
        shown = next(count for count, rows in epoch.reads.items() if late in rows)
        who = self._name(late)
        if early in self.writes:
            missing = f"{self._value(early)}, though {self._name(early)} had written it"
            later = [
                (count, row) for count, reads in epoch.reads.items() if count > shown
                for row in reads if self.start[row] > self.end[late]
            ]
            if not later:
                return self._invalid("stale-read", rows, f"{who} read a text without {missing}, and no later read has it")
            count, reader = min(later)
            sentence = f"{who} read a text without {missing}; {self._name(reader)} read it later"
            return self._invalid("stale-read", rows | self._made_of(epoch, count, reader), sentence)
        sentence = f"{who} read a text without {self._value(epoch.appends[shown])}, which {self._name(early)} had read before"
        return self._invalid("non-monotonic-read", rows, sentence)

    def _mutual(self, a: _Chain, b: _Chain) -> Decision:
        """Each of two chains had to come before the other; `a` is an epoch's."""
        start, end = self.start, self.end
        first = a.low == EVER
        b_late = self._least(b, lambda row: first or start[row] > a.low)
        a_late = self._least(a, lambda row: start[row] > b.low)
        b_early = self._least(b, lambda row: end[row] < start[a_late])
        rows = self._joined(a, a_late) | self._joined(b, b_early)
        if not first:
            rows |= self._joined(a, self._least(a, lambda row: end[row] < start[b_late])) | self._joined(b, b_late)
        wrote_late, wrote_early = a_late in self.writes, b_early in self.writes
        did = f"{self._name(a_late)} {'wrote' if wrote_late else 'read'} {self._value(a_late)}"
        before = f"after {self._name(b_early)} had {'written' if wrote_early else 'read'} {self._value(b_early)}"
        if b.epoch is None:
            what = "put" if b.row in self.puts else "append"
            # What nobody ever read may be on a copy that nobody asked.
            identifier = "split-brain" if wrote_late else "stale-read"
            return self._invalid(identifier, rows, f"{did} {before}; no read ever showed that {what}")
        sentence = f"{did} {before}, which had replaced it"
        if wrote_late and (first or b_late in self.writes):
            return self._invalid("split-brain", rows, f"{sentence}: two texts grew at once")
        if not wrote_early:
            return self._invalid("non-monotonic-read", rows, sentence)
        later = [
            (count, row) for count, reads in b.epoch.reads.items() for row in reads if self.start[row] > self.end[a_late]
        ]
        if not later:
            return self._invalid("stale-read", rows, f"{sentence}, and no later read showed that again")
        return self._invalid("stale-read", rows | self._made_of(b.epoch, *min(later)), sentence)

    def _least(self, chain: _Chain, suits: Callable[[int], bool]) -> int:
        """The first row of `chain` that suits: the one that takes the fewest others to explain."""
        epoch = chain.epoch
        if epoch is None:
            return chain.row
        numbered = [(0, epoch.put)] if epoch.put >= 0 else []
        numbered += [(2 * number, row) for number, row in enumerate(epoch.appends, 1)]
        numbered += [(2 * count + 1, row) for count, rows in epoch.reads.items() for row in rows]
        return next(row for _, row in sorted(numbered) if suits(row))

    def _joined(self, chain: _Chain, row: int) -> set[int]:
        """The rows that show that `row` belongs to `chain`."""
        return set(self._alike(row)) if chain.epoch is None else self._proof(chain.epoch, row)


def _short(text: str | None) -> str:
    """A text for a sentence: its end where it is long, for that is what is new in it."""
    shown = text or ""
    return repr(shown) if len(shown) <= 40 else f"...{shown[-37:]!r}"
