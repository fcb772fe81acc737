"""Why a register with distinct values is not linearizable: every anomaly by its name, with the operations that prove it.

Versions. A value written once is a version. A compare-and-set a→b that took effect makes b a child of a: versions form trees
("lineages"), and a linearizable history has only paths. Version v *was there before* w if an operation on v, or on a version
that v descends from, returned before the write of w was invoked; then v can only come back by being written again, which
never happens. An operation *observes* v if it read v, or expected v in a cas that took effect, or saw v in a refused one.

The names, in the order in which the first that applies is reported:

* `lost-write`: an acknowledged write (or cas) on a lineage that died. That two lineages went on from one version is proven by a
  cas that took effect on a version that was there before the write; which of them survived is told by what every home read in
  the end (after the heal and the settling), and where that does not descend from either, by who took up whose versions first.
  In a run that settled, also a write newer than what every home, without exception, read later, if nobody found it again, and
  if no other write had replaced it before that: where a server comes back empty, its registers' last writes are lost. One
  replica that lags looks the same as a loss, so that without these closing reads nothing is called lost.
* `split-brain`: two lineages went on from one version, and which of them survived is not known, or both went on.
* `stale-read`: a version was read that was there before a write that had been acknowledged when the read began, and that
  write was not lost.
* `non-monotonic-read`: versions were read in an order that contradicts itself (new, then old) while no newer write had been
  acknowledged.
* `aborted-read`: the value of a write that was reported as failed was observed.
* `future-read`: a value was observed before its write was invoked.
* `unwritten-read`: a value was observed that nobody wrote.

A cas that was refused, without a word of what it saw, although what it expected was there all the time, saw something else:
an older value (`stale-read`; `non-monotonic-read` where the write of what it expected was not acknowledged yet, but read),
or where there was none before, the value of a failed write (`aborted-read`) or one that nobody wrote (`unwritten-read`).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Hashable, Iterable
from functools import cached_property
from itertools import accumulate

import msgspec

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.evidence.lineages import FAR, Course, Lineages, Version, text
from splitbrain.checkers.linearizability.evidence.newest import Newest, newest_by
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.models.specifications import Register
from splitbrain.checkers.verdict import Moment
from splitbrain.harness.history.history import FAIL, INFO, NEVER, History
from splitbrain.harness.history.values import canonical


class Finding(msgspec.Struct, frozen=True):
    """One anomaly in the history of one key: its identifier, its proof as positions in that history, and the sentence.

    `accused` is the operation that should not have been answered as it was: the write that was lost, the read that was old.
    `moment` is when it happened, None where the accused operation's own time is all that is known.
    """

    identifier: str
    rows: tuple[int, ...]
    sentence: str
    accused: int
    moment: Moment | None = None


class Explanation(Lineages):
    """What is wrong with the versions of one key. Raises `Exhausted`."""

    def __init__(
        self, history: History, model: Register, shown: int, budget: Budget, course: Course | None, homes: set[int]
    ) -> None:
        super().__init__(history, model, budget, course, homes)
        self.shown = shown
        self.moments: dict[str, list[Moment]] = {}
        self.found: list[Finding] = []

    def judge(self) -> None:
        """Count every anomaly, and keep the first of each name."""
        for part in (self._impossible, self._branches, self._forks, self._gone, self._reads, self._refusals):
            self.budget.check()
            part()
        if not self.moments:
            self._contradiction()

    def _counts(self, identifier: str, moment: Moment) -> bool:
        """Count one more; whether it is to be shown."""
        moments = self.moments.setdefault(identifier, [])
        moments.append(moment)
        return len(moments) <= self.shown

    def _when(self, row: int) -> Moment:
        """The time of one operation that was answered wrongly."""
        return Moment(self.inv[row], self.inv[row] if self.ret[row] == NEVER else self.ret[row])

    def _gone_when(self, version: Version, row: int) -> Moment:
        """From the last that was seen of a lost version until `row`, which was answered without it."""
        return Moment(min(max(self.ret[version.writer], version.sought), self.inv[row]), self.inv[row], True)

    def _show(self, identifier: str, accused: int, rows: Iterable[int], sentence: str) -> None:
        proof = {accused, *rows} - {-1}
        # An info cas is known to have happened only by those who observed its value.
        for row in tuple(proof):
            while self.f[row] == "cas" and self.outcome[row] == INFO and row not in self.unseen:
                observers = self.versions[self.values[row][1]].observers
                if proof.intersection(observers):
                    break
                row = min(observers, key=lambda other: self.outcome[other] == INFO)
                proof.add(row)
        self.found.append(Finding(identifier, tuple(sorted(proof)), sentence, accused, self.moments[identifier][-1]))

    def _impossible(self) -> None:
        """Values that nobody wrote, that were reported as not written, or that were not written yet."""
        initial = canonical(self.model.initial)
        for row, value in self.observed:
            version = self.versions[value]
            if version.writer < 0 and value != initial:
                version.odd = True
                failed = self.failed.get(value)
                if failed is None:
                    if self._counts("unwritten-read", self._when(row)):
                        self._show("unwritten-read", row, (), f"{self._did(row)}, which nobody had written")
                elif self.inv[failed] <= self.ret[row]:
                    self._aborted(row, failed)
                elif self._counts("future-read", self._when(row)):
                    when = f"{self._name(failed)} was invoked{self._at(self.inv[failed])}, and that failed"
                    self._show("future-read", row, (failed,), f"{self._did(row)}, before {when}")
            elif self.ret[row] < version.written[0] and value in self.failed and self.inv[self.failed[value]] <= self.ret[row]:
                # It is written once more later; what was read then can only be that of the one that failed.
                for below in self._below(version):
                    below.odd = True
                self._aborted(row, self.failed[value])
            elif self.ret[row] < version.written[0]:
                for below in self._below(version):
                    below.odd = True
                if not self._counts("future-read", self._when(row)):
                    continue
                when = f"{self._name(version.writer)} was invoked{self._at(version.written[0])}"
                self._show("future-read", row, (version.writer,), f"{self._did(row)}, before {when}")
        for version in self.order:
            # Not the version itself was observed too early, but one that came of it.
            if version.early >= version.written[0] or version.writer < 0 or version.odd:
                continue
            for below in self._below(version):
                below.odd = True
            row = version.early_by
            if self._counts("future-read", self._when(row)):
                way = self._between(self.versions[self._observed_by(row)], version)
                when = f"{self._name(version.writer)}, which that came of, was invoked{self._at(version.written[0])}"
                self._show("future-read", row, {version.writer, *way}, f"{self._did(row)}, before {when}")

    def _aborted(self, row: int, failed: int) -> None:
        """`row` observed the value of a write that was under way and failed."""
        if self._counts("aborted-read", self._when(row)):
            what = f"the value of {self._name(failed)}, which had been reported as failed"
            self._show("aborted-read", row, (failed,), f"{self._did(row)}, {what}")

    def _branches(self) -> None:
        """Two cas that took effect on one version: which lineage survived, and what was lost of the other."""
        for version in [version for version in self.order if len(version.children) > 1 and not version.odd]:
            heads = sorted(version.children, key=lambda head: self.inv[head.writer])
            for at, head in enumerate(heads):
                for other in heads[at + 1:]:
                    self._part(head, other, {version.writer, head.writer, other.writer})

    def _forks(self) -> None:
        """A cas that took effect on a version that was there before a write acknowledged before the cas."""
        last: dict[Hashable, Version] = {}
        for version in self.order:
            if version.parent is not None:
                held = last.get(version.root)
                if held is None or self.inv[version.writer] > self.inv[held.writer]:
                    last[version.root] = version
        spans = sorted(
            ((child.parent.there, self.inv[child.writer], child) for child in last.values() if child.parent is not None),
            key=lambda span: span[0],
        )
        if not spans:
            return
        starts = [span[0] for span in spans]
        # Of the spans up to each place, the two that reach furthest; they are of different lineages.
        best: list[tuple[int, int]] = []
        first = second = -1
        for at, span in enumerate(spans):
            if first < 0 or span[1] > spans[first][1]:
                first, second = at, first
            elif second < 0 or span[1] > spans[second][1]:
                second = at
            best.append((first, second))
        for version in self.order:
            if not version.acked or version.lost or version.odd:
                continue
            inv, ret = version.written
            at = bisect_left(starts, inv) - 1
            if at < 0:
                continue
            first, second = best[at]
            chosen = second if spans[first][2].root == version.root else first
            if chosen < 0 or spans[chosen][1] <= ret:
                continue
            # The first cas of that lineage that is proof enough, sought from its end.
            child = cursor = spans[chosen][2]
            for _ in range(FAR):
                if cursor.parent is None or self.inv[cursor.writer] <= ret:
                    break
                if cursor.parent.there < inv:
                    child = cursor
                cursor = cursor.parent
            if child.odd:
                continue
            self._part(version, child, {version.writer, child.writer, *self._origin(child.parent or child, inv)})

    def _part(self, one: Version, other: Version, base: set[int]) -> None:
        """Two lineages went on from one version, proven by the rows of `base`: accuse what is lost of the one that died; where
        that is not known, or both went on after both had begun, they are what they are."""
        base = base | {side.observers[0] for side in (one, other) if not side.acked and side.observers}
        known = self._survivor(one, other)
        if known is None:
            fresh = not (one.odd or other.odd)
            for below in (*self._below(one), *self._below(other)):
                below.odd = True
            if fresh and self._counts("split-brain", self._when(other.writer)):
                self._split(one, other, base)
            return
        survivor, shown = known
        dead = other if survivor is one else one
        proven = False
        for gone in self._below(dead):
            gone.odd = True
            if not gone.acked or gone.lost or self.ret[gone.writer] >= self.inv[shown] or gone.sought >= self.inv[shown]:
                continue
            gone.lost = proven = True
            if self._counts("lost-write", self._gone_when(gone, shown)):
                way = set(self._between(gone, dead))
                seen = self.versions[self._observed_by(shown)]
                if self._holds(survivor, seen):
                    way |= set(self._between(seen, survivor))
                elif seen.writer >= 0:
                    way.add(seen.writer)
                early, late = sorted((one, other), key=lambda side: self.inv[side.writer])
                had = f"{self._name(early.writer)} had been made{self._at(self.ret[early.writer])}"
                against = f"it came of an older version although {had}" if dead is late else (
                    f"{self._did(late.writer)}, on an older version"
                )
                self._show("lost-write", gone.writer, {*base, *way, shown}, (
                    f"{self._acked(gone.writer)}, was lost: {against}; {self._found_again()}"
                ))
        both = one.acked and other.acked and one.sought > self.inv[other.writer] and other.sought > self.inv[one.writer]
        if (not proven or both) and self._counts("split-brain", self._when(other.writer)):
            self._split(one, other, base)

    def _split(self, one: Version, other: Version, base: set[int]) -> None:
        had = f"{self._name(one.writer)} had been made{self._at(self.ret[one.writer])}"
        self._show("split-brain", other.writer, base, (
            f"{self._did(other.writer)}, although {had}: two lineages from one value"
        ))

    # Who survived

    def _gone(self) -> None:
        """Acknowledged writes that are newer than what every home read later, and that nobody found again.

        Only where the run has settled, and the closing reads are known: else one replica that lags would look the same.
        """
        if self.settled is None or self.final is None:
            return
        final = self.final
        for version in self.order:
            if not version.acked or version.lost or version.odd or self._holds(version, final):
                continue
            inv, ret = version.written
            known = max(ret, version.sought)
            if self._holds(final, version) or final.there < inv:
                rows = [row for row in self.closing if self.inv[row] > known]
                proof = self._origin(final, inv)
                if self._holds(final, version):
                    proof = [final.writer, *self._between(version, final)]
            else:
                rows = self._old_everywhere(version, known)
                proof = self._origin(self.versions[self.seen_by[rows[0]]], inv) if rows else []
            if not rows or len({self.home[row] for row in rows} & self.homes) < len(self.homes):
                continue
            version.lost = True
            if self._overwritten(version, self.inv[rows[0]]):
                first = self._old_everywhere(version, known)
                if not first or self._overwritten(version, self.inv[first[0]]):
                    continue
            if self._counts("lost-write", self._gone_when(version, rows[0])):
                self._show("lost-write", version.writer, {*proof, rows[0]}, (
                    f"{self._acked(version.writer)}, was lost: {self._did(rows[0])}, which is older, and "
                    f"{self._found_again()}"
                ))

    def _overwritten(self, version: Version, moment: int) -> bool:
        """Whether a write that asks for nothing had replaced it before a moment: what is gone then is that one, if anything."""
        began, over = self._blind
        at = bisect_right(began, version.written[1])
        return at < len(began) and over[at] < moment

    @cached_property
    def _blind(self) -> tuple[list[int], list[int]]:
        """The acknowledged writes that ask for nothing: when each began, ascending, and when the first of those was over that
        began no earlier."""
        writes = sorted(one.written for one in self.order if one.acked and one.parent is None and not one.odd)
        over = list(accumulate((end for _, end in reversed(writes)), min))[::-1]
        return [begin for begin, _ in writes], over

    def _reads(self) -> None:
        """Reads of a version older than one that had been acknowledged, or read, when they began."""
        lost = {version.writer for version in self.order if version.lost}
        for version in reversed(self.order):
            for child in version.children:
                if child.lost:
                    continue
                if child.acked and self.ret[child.writer] < version.replaced:
                    version.replaced, version.replaced_by = self.ret[child.writer], child
                if child.replaced < version.replaced:
                    version.replaced, version.replaced_by = child.replaced, child.replaced_by
                for row in () if child.odd else child.observers:
                    if self.ret[row] < version.overtaken and row not in lost:
                        version.overtaken, version.overtaken_by = self.ret[row], row
                if child.overtaken < version.overtaken:
                    version.overtaken, version.overtaken_by = child.overtaken, child.overtaken_by
        saw = {row: version for row, value in self.observed if not (version := self.versions[value]).odd}
        observed = sorted(saw, key=self.inv.__getitem__)
        reads = [
            row for row in observed
            if saw[row].there < NEVER and (self.f[row] == "read" or self.outcome[row] == FAIL
                                           or self.values[row][0] == self.values[row][1])
        ]
        stale: set[int] = set()
        roots = {one.writer: one.root for one in self.order if one.acked and not one.lost}
        for row, (first, root, second) in zip(
            reads, newest_by(self.inv, self.ret, roots, [self.inv[row] for row in reads]), strict=True
        ):
            version = saw[row]
            newer = version.replaced_by
            if newer is not None and version.replaced < self.inv[row]:
                stale.add(row)
                if self._counts("stale-read", self._when(row)):
                    self._stale(row, newer, {version.writer, *self._between(newer, version)})
                continue
            write = second if root == version.root else first
            if write >= 0 and self.inv[write] > version.there:
                stale.add(row)
                if self._counts("stale-read", self._when(row)):
                    self._stale(row, self.versions[self._set_by(write)], {*self._origin(version, self.inv[write])})
        newest = Newest(self.inv, self.ret, {
            row: version.root for row in observed if not (version := saw[row]).lost and row not in lost
        })
        wrong = stale
        for row in reads:
            if row in wrong:
                continue
            version = saw[row]
            seen = version.overtaken_by
            if version.overtaken < self.inv[row] and seen not in wrong:
                wrong.add(row)
                if self._counts("non-monotonic-read", self._when(row)):
                    after = self.versions[self._observed_by(seen)]
                    self._backwards(row, seen, {version.writer, *self._between(after, version)})
                continue
            seen = newest.before(self.inv[row], version.root, wrong)
            if seen >= 0 and self.inv[seen] > version.there:
                wrong.add(row)
                if self._counts("non-monotonic-read", self._when(row)):
                    after = self.versions[self._observed_by(seen)]
                    self._backwards(row, seen, {after.writer, *self._origin(version, self.inv[seen])})

    def _refusals(self) -> None:
        """Compare-and-sets that were refused, without a word of what was there, while what they expected was."""
        if self.refused <= self.history.seen.keys():
            return
        initial = self.versions[canonical(self.model.initial)]
        for row in zones.refused_in_vain(self.history, self.model):
            self.budget.check()
            version = self.versions[self.values[row][0]]
            rows = {version.writer, *self._stayed(row, version)}
            expected = text(version.value)
            told = f"client {int(self.history.process[row])} was refused {self._name(row)}{self._at(self.inv[row])}"
            again = [other for other in version.observers if self.inv[other] > self.ret[row]]
            if again and (newer := self._instead_of(version, self.ret[row])):
                # It may have seen the newer value; then the older one must not be there again.
                if self._counts("non-monotonic-read", self._when(row)):
                    rows |= {newer[0]}
                    self._show("non-monotonic-read", row, rows, f"{told}, although later {self._did(again[0])}")
            elif version is initial and version.writer < 0:
                aborted = [other for other in self.failed.values() if other not in self.refused]
                failed = [other for other in aborted if self.inv[other] <= self.ret[row]]
                if failed:
                    if self._counts("aborted-read", self._when(row)):
                        self._show("aborted-read", row, {failed[0], *rows}, (
                            f"{told}, although {self._name(failed[0])} had failed and {expected} was still there"
                        ))
                elif open := [one for one in self.begun(self.ret[row]) if not one.odd]:
                    self._replaced(row, open, told)
                elif newer := self._instead_of(version, self.ret[row]):
                    if self._counts("non-linearizable", self._when(row)):
                        self._show("non-linearizable", row, {newer[0], *rows}, (
                            f"{told}, although nothing that was under way then can have replaced {expected}"
                        ))
                elif self._counts("unwritten-read", self._when(row)):
                    self._show("unwritten-read", row, rows, f"{told}, although nobody had written anything but {expected}")
            elif version.acked and self.ret[version.writer] < self.inv[row]:
                if self._counts("stale-read", self._when(row)):
                    had = f"{self._name(version.writer)} had been acknowledged{self._at(self.ret[version.writer])}"
                    self._show("stale-read", row, rows, f"{told}, although {had} and nothing newer can have been there")
            elif self._counts("non-monotonic-read", self._when(row)):
                seen = min(version.observers, key=lambda other: self.ret[other])
                had = f"{expected} had been read{self._at(self.ret[seen])}"
                self._show("non-monotonic-read", row, {seen, *rows}, (
                    f"{told}, although {had} and nothing newer can have been there"
                ))

    def _replaced(self, row: int, open: list[Version], told: str) -> None:
        """`row` was refused the initial value, so one of the `open` versions was there by then; but each was also observed
        after another that was acknowledged, and only begun, in between."""
        rows: set[int] = set()
        old, newer = -1, -1
        for version in open:
            found = next(((reader, write.writer)
                          for reader in sorted(version.observers, key=lambda other: -self.inv[other])
                          for write in self.order
                          if write.acked and write.root != version.root
                          and self.inv[write.writer] > self.ret[row] and self.ret[write.writer] < self.inv[reader]), None)
            if found is None:
                if self._counts("non-linearizable", self._when(row)):
                    self._show("non-linearizable", row, {version.writer, *version.observers}, (
                        f"{told}, although {self._name(version.writer)}, which alone was under way then, came later"
                        if len(open) == 1 else f"{told}, although all that was under way then came later"
                    ))
                return
            rows |= {version.writer, *found}
            old, newer = found if old < 0 else (old, newer)
        identifier = "split-brain" if self.f[old] == "cas" and self.outcome[old] != FAIL else "stale-read"
        if self._counts(identifier, self._when(old)):
            had = f"{self._name(newer)} had been acknowledged{self._at(self.ret[newer])}"
            what = text(open[0].value) if len(open) == 1 else "a value of the writes before it"
            sentence = f"{self._did(old)}, although {had}, and {what} had been there before that: {told}"
            self._show(identifier, old, {row, *rows}, sentence)

    def _stale(self, row: int, newer: Version, rows: set[int]) -> None:
        had = f"{self._name(newer.writer)} had been acknowledged{self._at(self.ret[newer.writer])}"
        # What shows that the newer write was not lost: itself seen later, or what was observed last of all.
        if newer.sought >= self.inv[row]:
            rows |= {newer.sought_by, *self._between(self.versions[self._observed_by(newer.sought_by)], newer)}
        else:
            last, value = self._last_observed
            if last != row:
                rows |= {last, *self._origin(self.versions[value], NEVER)[:1]}
        self._show("stale-read", row, {newer.writer, *rows}, f"{self._did(row)}, although {had}")

    @cached_property
    def _last_observed(self) -> tuple[int, Hashable]:
        """The row of the last observation of all, and the value."""
        return max(self.observed, key=lambda pair: self.inv[pair[0]])

    def _backwards(self, row: int, seen: int, rows: set[int]) -> None:
        had = f"the newer {text(self._observed_by(seen))} had been read{self._at(self.ret[seen])}"
        self._show("non-monotonic-read", row, {seen, *rows}, f"{self._did(row)}, although {had}")

    def _contradiction(self) -> None:
        """Two lineages of which each has an operation that returned before one of the other began."""
        low: dict[Hashable, int] = {}
        high: dict[Hashable, int] = {}
        for version in self.order:
            root = version.root
            for row in self._own(version):
                if root not in low or self.ret[row] < self.ret[low[root]]:
                    low[root] = row
                if root not in high or self.inv[row] > self.inv[high[root]]:
                    high[root] = row
        reach: Hashable = None
        started = False
        for root in sorted(low, key=lambda root: self.ret[low[root]]):
            if started and self.ret[low[root]] < self.inv[high[reach]] and self.ret[low[reach]] < self.inv[high[root]]:
                if self._counts("non-monotonic-read", self._when(high[reach])):
                    rows = {low[root], high[root], low[reach], high[reach]}
                    for row in tuple(rows):
                        for value in self._touched(row):
                            top = self.versions[self.versions[value].root]
                            rows |= {top.writer, *self._between(self.versions[value], top)}
                    both = f"{self._did(high[reach])}, and {self._did(high[root])}"
                    self._show("non-monotonic-read", high[reach], rows, f"{both}: no order of the writes explains both")
                return
            if not started or self.inv[high[root]] > self.inv[high[reach]]:
                reach, started = root, True

    def proves(self, row: int, finding: Finding) -> bool:
        """Whether the proof needs `row` for what is not in the proof: one of the nodes that told the old version, and what
        shows that nothing replaced the value that was refused; or because its sentence names it."""
        if self.f[row] != "read" and f"{self._name(row)} " in finding.sentence:
            return True
        if finding.identifier == "lost-write" and self.f[row] == "read" and self.server[row] >= 0:
            return True
        return finding.accused in self.refused and finding.accused not in self.history.seen


    # Ways through the lineages


    # Words


