"""Epochs: what the reads of a string say of it, and whether that is linearizable. The proofs are in `append`."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise, product
from operator import itemgetter
from typing import NamedTuple

import numpy as np

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.registers.zones import INVALID, UNDECIDED, VALID
from splitbrain.harness.history.history import FAIL, NEVER, OK, History
from splitbrain.harness.history.values import MISSING

EVER = int(np.iinfo(np.int64).min)

FEW = 4
"""In how many of the latest epochs a text is sought at once, before its beginning is looked up."""

MOST_CHOICES = 256
"""How many ways to choose among appends of equal texts are tried, at most."""


@dataclass(slots=True)
class Epoch:
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


class Chain(NamedTuple):
    """Operations that take effect together: those of an epoch, or one write that no read shows (`epoch` is None).

    `low` is their earliest end and `high` their latest start.
    """

    low: int
    high: int
    row: int
    epoch: Epoch | None


@dataclass(slots=True)
class Fault:
    """Why a key is not linearizable: what the account for people starts from. `kind` says which of the others are set, and
    `row` is the put whose epoch a text is taken for where that text is unreadable."""

    kind: str
    read: int = -1
    row: int = -1
    epoch: Epoch | None = None
    chains: tuple[Chain, ...] = ()


class Judge:
    """One key: its writes and reads, and whether they are linearizable. `fault` tells what is wrong, once that is known.

    `puts` maps a text to the rows of its puts and `appends` to that of its first append; `again` has all rows of a text that
    was appended several times; all in the order of their start.
    """

    __slots__ = (
        "start", "end", "budget", "lengths", "puts", "appends", "again", "texts", "failed", "unfit", "epochs", "fault",
        "contested",
    )

    def __init__(self, start: list[int], end: list[int], budget: Budget) -> None:
        self.start = start
        self.end = end
        self.budget = budget
        self.lengths: tuple[int, ...] = ()
        self.puts: dict[str, list[int]] = {}
        self.appends: dict[str, int] = {}
        self.again: dict[str, list[int]] = {}
        self.texts: dict[str, list[int]] = {}
        self.failed: dict[str, int] = {}
        self.unfit = False
        self.epochs: dict[int, Epoch] = {}
        self.fault: Fault | None = None
        self.contested = False

    def status(self) -> int:
        """`VALID`, `INVALID` or `UNDECIDED`. Raises `Exhausted`."""
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
        for number, text in enumerate(sorted(self.texts, key=len, reverse=True)):
            if not number & 255:
                self.budget.check()
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
                    self.fault = Fault("two epochs", row=row)
                    return False
                shown.add(row)
            chain = self._chain(epoch)
            if chain is None:
                return False
            chains.append(chain)
        start, end = self.start, self.end
        for row in self.writes():
            if row not in shown:
                chains.append(Chain(end[row], start[row], row, None))
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
                self.fault = Fault("unreadable", read=rows[0], row=put)
                return False
            at = len(text) - sum(map(len, parts))
            counts = {at: 0}
            for number, part in enumerate(parts, 1):
                at += len(part)
                counts[at] = number
            appends = [self.appends[part] for part in parts]
            epoch = self.epochs[put] = Epoch(put, text, rows[0], parts, appends, counts, {})
        elif len(text) not in epoch.counts or not epoch.text.startswith(text):
            self.fault = Fault("unreadable", read=rows[0], row=put, epoch=epoch)
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
            self.budget.check()
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
            self.fault = Fault("choice")
        return INVALID

    def _take(self, places: list[tuple[Epoch, int]], choice: tuple[int, ...]) -> None:
        for (epoch, place), row in zip(places, choice, strict=True):
            epoch.appends[place] = row

    def _fitting(self, epoch: Epoch, place: int) -> list[int]:
        """Which appends of the text at `place` of `epoch` may be shown there."""
        latest, earliest = self._bounds(epoch, place)
        return [row for row in self.again[epoch.parts[place]] if self.end[row] >= latest and self.start[row] <= earliest]

    def _bounds(self, epoch: Epoch, place: int) -> tuple[int, int]:
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

    def _chain(self, epoch: Epoch) -> Chain | None:
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
                    self.fault = Fault("out of order", read=late, row=write, epoch=epoch)
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
                        self.fault = Fault("out of order", read=before_row, row=row, epoch=epoch)
                        return None
                    if start[row] > latest:
                        latest, late = start[row], row
                    if end[row] < low:
                        low = end[row]
        return Chain(low, latest, put, epoch)

    def _apart(self, chains: list[Chain]) -> bool:
        """Whether no two chains precede each other."""
        forward = [chain for chain in chains if chain[0] < chain[1]]
        if len(forward) > 1:
            forward.sort(key=_low)
            for one, other in pairwise(forward):
                if other[0] < one[1]:
                    self.fault = Fault("chains", chains=(one, other))
                    return False
        lows = [chain[0] for chain in forward]
        for chain in chains if forward else ():
            if chain[0] >= chain[1]:
                at = bisect_left(lows, chain[1]) - 1
                if at >= 0 and chain[0] < forward[at][1]:
                    self.fault = Fault("chains", chains=(forward[at], chain))
                    return False
        return True


_low = itemgetter(0)


def judges(history: History, budget: Budget) -> dict[int, Judge]:
    """The judge of each key code, -1 for operations without a key. Raises `Exhausted`."""
    start: list[int] = history.invoked.tolist()
    outcomes: list[int] = history.outcome.tolist()
    end: list[int] = history.completed.tolist()
    if any(outcomes):
        end = [at if how == OK else NEVER for at, how in zip(end, outcomes, strict=True)]
    missing = MISSING in history.values.kind
    names = [history.fs[code] for code in history.f.tolist()]
    judges: dict[int, Judge] = {}
    row = -1
    for code, f, how, value in zip(history.key.tolist(), names, outcomes, history.values, strict=True):
        row += 1
        if not row & 4095:
            budget.check()
        judge = judges.get(code)
        if judge is None:
            judge = judges[code] = Judge(start, end, budget)
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
