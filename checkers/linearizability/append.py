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

A decision is None where a text was written twice, one begins with another, or one is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np

from checkers.linearizability.decision import Decision
from checkers.linearizability.evidence import settle
from checkers.models import Model
from harness.history.history import FAIL, NEVER, OK, History
from harness.history.values import MISSING

EVER = int(np.iinfo(np.int64).min)


@dataclass
class _Epoch:
    """What the reads tell of one epoch.

    `put` is the row of its put, None for the first epoch. `text` is the longest read, of row `longest`, and `appends` the
    rows of its appends. `counts` maps the length of each of its beginnings to the number of appends in it, and `newest` that
    number to the latest start among its writes. `reads` are (number of appends shown, row).
    """

    put: int | None
    text: str
    longest: int
    appends: list[int]
    counts: dict[int, int]
    newest: list[int]
    reads: list[tuple[int, int]] = field(default_factory=list)


@dataclass(frozen=True)
class _Chain:
    """The operations of an epoch that take effect together, by steps: (step, row), ascending; even steps are writes.
    `low` is the earliest end and `high` the latest start of them, `first` is whether it is the first epoch's."""

    steps: list[tuple[int, int]]
    low: int
    high: int
    first: bool = False


def decide_append(history: History, model: Model) -> Decision | None:
    """A string per key: `get`, `put` and `append` with distinct texts. An invalid decision names every row that its reads
    are made of, for a read whose texts nobody wrote would be another violation."""
    if model.initial != "":
        return None
    decision = _decide(history)
    if decision is None or decision.valid:
        return decision
    return settle(history, decision, _decide)


def _decide(history: History) -> Decision | None:
    judge = _Judge(history)
    return judge.decide() if judge.read_writes() else None


class _Judge:
    def __init__(self, history: History) -> None:
        self.history = history
        self.start: list[int] = history.invoked.tolist()
        self.end: list[int] = np.where(history.outcome == OK, history.completed, NEVER).tolist()
        self.writers: dict[str, int] = {}
        self.puts: set[int] = set()
        self.failed: dict[str, int] = {}
        self.texts: dict[str, list[int]] = {}
        self.lengths: list[int] = []
        self.epochs: dict[int | None, _Epoch] = {}

    def read_writes(self) -> bool:
        """Take the columns apart. False where this method cannot decide."""
        history = self.history
        values = list(history.values)
        names = [history.fs[code] for code in history.f.tolist()]
        for row, (f, how, value) in enumerate(zip(names, history.outcome.tolist(), values, strict=True)):
            if f == "get":
                if how != OK:
                    continue
                if history.values.kind[row] == MISSING or (value is not None and type(value) is not str):
                    return False
                self.texts.setdefault(value or "", []).append(row)
            elif how == FAIL:
                if type(value) is str and value:
                    self.failed.setdefault(value, row)
            elif f not in ("put", "append") or type(value) is not str or not value or value in self.writers:
                return False
            else:
                self.writers[value] = row
                if f == "put":
                    self.puts.add(row)
        self.lengths = sorted({len(text) for text in self.writers})
        ordered = sorted(self.writers)
        return not any(later.startswith(text) for text, later in pairwise(ordered))

    def decide(self) -> Decision:
        for text in sorted(self.texts, key=len, reverse=True):
            if not self._place(text):
                return self._unreadable(text)
        chains = []
        shown: set[int] = set()
        for epoch in self.epochs.values():
            if epoch.put is not None:
                shown.add(epoch.put)
            for row in epoch.appends:
                if row in shown:
                    return self._in_two_epochs(row)
                shown.add(row)
            chain = self._chain(epoch)
            if isinstance(chain, Decision):
                return chain
            chains.append(chain)
        chains += [_Chain([(0, row)], self.end[row], self.start[row]) for row in self.writers.values() if row not in shown]
        return self._zones(chains) or Decision(method="append", valid=True)

    def _parse(self, text: str, at: int = 0) -> list[int] | None:
        """The rows of the writes that `text` is made of from position `at` on, None where it is not made of them."""
        rows = []
        while at < len(text):
            for length in self.lengths:
                row = self.writers.get(text[at:at + length])
                if row is not None:
                    rows.append(row)
                    at += length
                    break
            else:
                return None
        return rows

    def _place(self, text: str) -> bool:
        """Put the reads of `text` (no longer than any text before) into their epoch. False where it cannot have been read."""
        head = next((row for length in self.lengths if (row := self.writers.get(text[:length])) is not None), None)
        put = head if head in self.puts else None
        epoch = self.epochs.get(put)
        if epoch is None:
            rows = self._parse(text)
            if rows is None:
                return False
            appends = rows if put is None else rows[1:]
            if len(set(appends)) < len(appends) or not self.puts.isdisjoint(appends):
                return False
            lengths = [0 if put is None else self._length(put), *map(self._length, appends)]
            starts = [EVER if put is None else self.start[put], *(self.start[row] for row in appends)]
            counts = {length: number for number, length in enumerate(accumulate(lengths))}
            epoch = _Epoch(put, text, self.texts[text][0], appends, counts, list(accumulate(starts, max)))
            self.epochs[put] = epoch
        elif not epoch.text.startswith(text) or len(text) not in epoch.counts:
            return False
        count = epoch.counts[len(text)]
        for row in self.texts[text]:
            if self.end[row] < epoch.newest[count]:
                return False
            epoch.reads.append((count, row))
        return True

    def _length(self, row: int) -> int:
        return len(self.history.values[row])

    def _chain(self, epoch: _Epoch) -> _Chain | Decision:
        """The chain of an epoch, or the decision that it is out of order."""
        steps = [] if epoch.put is None else [(0, epoch.put)]
        steps += [(2 * number, row) for number, row in enumerate(epoch.appends, 1)]
        steps += [(2 * count + 1, row) for count, row in epoch.reads]
        steps.sort()
        start, end = self.start, self.end
        latest, late = EVER, -1
        pending, pending_row, step = EVER, -1, -1
        low, high = NEVER if epoch.put is not None else EVER, EVER
        for number, row in steps:
            if number != step:
                step = number
                if pending > latest:
                    latest, late = pending, pending_row
            if end[row] < latest:
                return self._out_of_order(epoch, late, row)
            if start[row] > pending:
                pending, pending_row = start[row], row
            low = min(low, end[row])
            high = max(high, start[row])
        return _Chain(steps, low, high, epoch.put is None)

    def _zones(self, chains: list[_Chain]) -> Decision | None:
        """The decision that two chains precede each other, if any do."""
        low = np.array([chain.low for chain in chains], np.int64)
        high = np.array([chain.high for chain in chains], np.int64)
        forward = np.flatnonzero(low < high)
        forward = forward[np.argsort(low[forward], kind="stable")]
        starts, ends = low[forward], high[forward]
        clash = np.flatnonzero(starts[1:] < ends[:-1])
        if len(clash):
            return self._mutual(chains[int(forward[clash[0]])], chains[int(forward[clash[0] + 1])])
        points = np.flatnonzero(low >= high)
        around = np.searchsorted(starts, high[points], "left") - 1
        inside = np.flatnonzero((around >= 0) & (low[points] < np.append(ends, EVER)[around]))
        if len(inside):
            return self._mutual(chains[int(forward[around[inside[0]]])], chains[int(points[inside[0]])])
        return None

    # What is wrong, for people

    def _invalid(self, identifier: str, rows: set[int], sentence: str) -> Decision:
        return Decision(method="append", valid=False, identifier=identifier, rows=tuple(sorted(rows)), sentence=sentence)

    def _name(self, row: int) -> str:
        return f"client {int(self.history.process[row])}"

    def _value(self, row: int) -> str:
        return repr(self.history.values[row])

    def _made_of(self, row: int) -> set[int]:
        """The row of a read and those of the writes that its text is made of."""
        return {row, *(self._parse(self.history.values[row] or "") or ())}

    def _unreadable(self, text: str) -> Decision:
        """Why nobody can have read `text`, or not when it was read."""
        rows = self.texts[text]
        read, found = rows[0], self._scan(text)
        for place, write in enumerate(found):
            if write in found[:place]:
                sentence = f"{self._name(read)} read {self._value(write)} twice in one text, though it was written once"
                return self._invalid("duplicate", {write, read}, sentence)
        for write in found:
            for row in rows:
                if self.end[row] < self.start[write]:
                    sentence = f"{self._name(row)} read {self._value(write)} before {self._name(write)} began to write it"
                    return self._invalid("future-read", {write, row}, sentence)
        parts = self._parse(text)
        if parts is None:
            for value, write in self.failed.items():
                if value in text:
                    sentence = f"{self._name(read)} read {value!r}, though writing it had failed"
                    return self._invalid("aborted-read", {write, read}, sentence)
            return self._invalid("unwritten-read", {read}, f"{self._name(read)} read {_short(text)}, which nobody wrote")
        for write in parts[1:]:
            if write in self.puts:
                sentence = f"{self._name(read)} read {self._value(write)} behind another text, though a put replaces all"
                return self._invalid("unwritten-read", {write, read}, sentence)
        epoch = self.epochs[parts[0] if parts and parts[0] in self.puts else None]
        other = epoch.longest
        longest = self._parse(epoch.text) or []
        place = next(i for i, (a, b) in enumerate(zip(parts, longest, strict=False)) if a != b)
        a, b = parts[place], longest[place]
        evidence = self._made_of(read) | self._made_of(other)
        if b in parts or a in longest:
            first, second, one, two = (a, b, read, other) if b in parts else (b, a, other, read)
            sentence = (
                f"{self._name(one)} read {self._value(first)} before {self._value(second)} in the text, {self._name(two)} did"
                " not"
            )
            return self._invalid("reordered", evidence, sentence)
        sentence = (
            f"{self._name(read)} read {self._value(a)} where {self._name(other)} read {self._value(b)}: neither text can have"
            " grown into the other"
        )
        return self._invalid("split-brain", evidence, sentence)

    def _scan(self, text: str) -> list[int]:
        """The writes that `text` shows, passing over what is none."""
        found, at = [], 0
        while at < len(text):
            for length in self.lengths:
                row = self.writers.get(text[at:at + length])
                if row is not None:
                    found.append(row)
                    at += length
                    break
            else:
                at += 1
        return found

    def _in_two_epochs(self, append: int) -> Decision:
        reads = [self._shortest(epoch, append) for epoch in self.epochs.values() if append in epoch.appends]
        sentence = (
            f"{self._name(reads[0])} and {self._name(reads[1])} read {self._value(append)} in texts that began with different"
            " puts, though it was appended once"
        )
        return self._invalid("split-brain", self._made_of(reads[0]) | self._made_of(reads[1]), sentence)

    def _shortest(self, epoch: _Epoch, append: int) -> int:
        """The read with the shortest text of `epoch` that shows `append`."""
        number = epoch.appends.index(append) + 1
        return min((count, row) for count, row in epoch.reads if count >= number)[1]

    def _proof(self, epoch: _Epoch, row: int) -> set[int]:
        """The rows that show that the operation `row` belongs to `epoch`, and where in it."""
        if row == epoch.put:
            return {row}
        return self._made_of(self._shortest(epoch, row) if row in epoch.appends else row)

    def _out_of_order(self, epoch: _Epoch, late: int, early: int) -> Decision:
        """`early` ended before `late` started, though it comes behind it in the epoch's chain."""
        rows = self._proof(epoch, late) | self._proof(epoch, early)
        if late in self.writers.values():
            sentence = (
                f"{self._name(early)} had written {self._value(early)} before {self._name(late)} began to write"
                f" {self._value(late)}, yet it was read behind it"
            )
            return self._invalid("reordered", rows, sentence)
        shown = next(count for count, row in epoch.reads if row == late)
        who = self._name(late)
        if early in epoch.appends:
            missing = f"{self._value(early)}, though {self._name(early)} had written it"
            seen = [(count, row) for count, row in epoch.reads if count > shown and self.start[row] > self.end[late]]
            if not seen:
                return self._invalid("lost-write", rows, f"{who} read a text without {missing}, and no later read has it")
            reader = min(seen)[1]
            sentence = f"{who} read a text without {missing}; {self._name(reader)} read it later"
            return self._invalid("stale-read", rows | self._made_of(reader), sentence)
        same = self.history.process[late] == self.history.process[early]
        lacking = self._value(epoch.appends[shown])
        sentence = f"{who} read a text without {lacking}, which {'it' if same else self._name(early)} had read before"
        return self._invalid("non-monotonic-read" if same else "stale-read", rows, sentence)

    def _mutual(self, a: _Chain, b: _Chain) -> Decision:
        """The decision on two chains each of which had to come before the other; `a` is one that some read shows."""
        start, end = self.start, self.end
        b_late = self._least(b, lambda row: a.first or start[row] > a.low)
        a_early = None if a.first else self._least(a, lambda row: end[row] < start[b_late])
        a_late = self._least(a, lambda row: start[row] > b.low)
        b_early = self._least(b, lambda row: end[row] < start[a_late])
        rows = self._joined(a, a_late) | self._joined(b, b_early)
        if a_early is not None:
            rows |= self._joined(a, a_early) | self._joined(b, b_late)
        who = self._name(a_late)
        did = f"{who} {'read' if self._is_read(a_late) else 'wrote'} {_short(self.history.values[a_late])}"
        before = f"after {self._name(b_early)} had {'read' if self._is_read(b_early) else 'written'}"
        sentence = f"{did} {before} {_short(self.history.values[b_early])}, which had replaced it"
        if len(b.steps) == 1 and not self._is_read(b_early):
            if b_early not in self.puts:
                sentence = f"{did} {before} {_short(self.history.values[b_early])} to the same text"
            return self._invalid("lost-write", rows, f"{sentence}; no read ever showed that")
        if self._is_read(a_late) or (not a.first and self._is_read(b_late)):
            return self._invalid("stale-read", rows, sentence)
        return self._invalid("split-brain", rows, f"{sentence}: two texts grew at once")

    def _is_read(self, row: int) -> bool:
        return row not in self.writers.values()

    def _least(self, chain: _Chain, suits: Callable[[int], bool]) -> int:
        """The first row of `chain` that suits: the one that takes the fewest others to explain."""
        return next(row for _, row in chain.steps if suits(row))

    def _joined(self, chain: _Chain, row: int) -> set[int]:
        """The rows that show that `row` belongs to `chain`."""
        head = chain.steps[0][1]
        epoch = self.epochs.get(head if head in self.puts else None)
        if epoch is None or row not in {member for _, member in chain.steps} or len(chain.steps) == 1:
            return {row}
        return self._proof(epoch, row)


def _short(text: str | None) -> str:
    """A text for a sentence: its end where it is long, for that is what is new in it."""
    shown = text or ""
    return repr(shown) if len(shown) <= 40 else f"...{shown[-37:]!r}"
