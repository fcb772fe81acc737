"""Account: what is wrong with a string that its epochs refuted, in words, with the operations that prove it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.strings.epochs import EVER, Chain, Epoch, Fault, Judge
from splitbrain.harness.history.history import History


class Account:
    """What is wrong, for people."""

    def __init__(self, history: History, judge: Judge) -> None:
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

    def _made_of(self, epoch: Epoch, count: int, read: int) -> set[int]:
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

    def _unreadable(self, fault: Fault) -> Decision:
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

    def _shortest(self, epoch: Epoch, append: int) -> tuple[int, int]:
        """The shortest read of `epoch` that shows `append`: how many appends it shows, and its row."""
        number = epoch.appends.index(append) + 1
        return min((count, rows[0]) for count, rows in epoch.reads.items() if count >= number)

    def _proof(self, epoch: Epoch, row: int) -> set[int]:
        """The rows that show that the operation `row` belongs to `epoch`, and where in it."""
        if row == epoch.put:
            return {row}
        if row in epoch.appends:
            return self._made_of(epoch, *self._shortest(epoch, row))
        return self._made_of(epoch, next(count for count, rows in epoch.reads.items() if row in rows), row)

    def _out_of_order(self, epoch: Epoch, late: int, early: int) -> Decision:
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

    def _mutual(self, a: Chain, b: Chain) -> Decision:
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

    def _least(self, chain: Chain, suits: Callable[[int], bool]) -> int:
        """The first row of `chain` that suits: the one that takes the fewest others to explain."""
        epoch = chain.epoch
        if epoch is None:
            return chain.row
        numbered = [(0, epoch.put)] if epoch.put >= 0 else []
        numbered += [(2 * number, row) for number, row in enumerate(epoch.appends, 1)]
        numbered += [(2 * count + 1, row) for count, rows in epoch.reads.items() for row in rows]
        return next(row for _, row in sorted(numbered) if suits(row))

    def _joined(self, chain: Chain, row: int) -> set[int]:
        """The rows that show that `row` belongs to `chain`."""
        return set(self._alike(row)) if chain.epoch is None else self._proof(chain.epoch, row)


def _short(text: str | None) -> str:
    """A text for a sentence: its end where it is long, for that is what is new in it."""
    shown = text or ""
    return repr(shown) if len(shown) <= 40 else f"...{shown[-37:]!r}"
