"""Why a register with distinct values is not linearizable: every anomaly by its name, with the operations that prove it.

Versions. A value written once is a version. A compare-and-set a→b that took effect makes b a child of a: versions form trees
("lineages"), and a linearizable history has only paths. Version v *was there before* w if an operation on v, or on a version
that v descends from, returned before the write of w was invoked; then v can only come back by being written again, which
never happens. An operation *observes* v if it read v, or expected v in a cas that took effect, or saw v in a refused one.

The names, in the order in which the first that applies is reported:

* `lost-write`: an acknowledged write (or cas) is not part of what the register went on with. Proven in one of three ways: a
  cas took effect, after the acknowledgement, on a version that was there before the write; or two cas took effect on one
  version, and the other one's lineage was observed last; or the last that was ever observed is a version that was there
  before the write, although nothing newer was observed since. In the third case a single lagging replica would look the
  same, so where nodes are known, most of them (or the one that acknowledged the write) must have told the old version.
* `split-brain`: two cas took effect on one version.
* `stale-read`: a version was read that was there before a write that had been acknowledged when the read began, and that
  write was not lost.
* `non-monotonic-read`: versions were read in an order that contradicts itself (new, then old) while no newer write had been
  acknowledged.
* `aborted-read`: the value of a write that was reported as failed was observed.
* `future-read`: a value was observed before its write was invoked.
* `unwritten-read`: a value was observed that nobody wrote.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from checkers.models import CasRegister, Register, canonical
from harness.history.history import FAIL, INFO, NEVER, OK, History
from harness.history.operation import MISMATCH
from harness.history.values import MISSING

PRECEDENCE = (
    "lost-write", "split-brain", "stale-read", "non-monotonic-read", "aborted-read", "future-read", "unwritten-read",
)
_LONG_AGO = -NEVER - 1
"""Before every moment; times may be negative."""
_FAR = 1000
"""How far a lineage is followed for a smaller proof."""


class Finding(msgspec.Struct, frozen=True):
    """One anomaly in the history of one key: its identifier, its proof as positions in that history, and the sentence.

    `accused` is the operation that should not have been answered as it was: the write that was lost, the read that was old.
    """

    identifier: str
    rows: tuple[int, ...]
    sentence: str
    accused: int


@dataclass(slots=True)
class _Version:
    """One value: who wrote it, who observed it, and its place in the lineage. Times are nanoseconds or positions."""

    value: Hashable
    writer: int = -1
    acked: bool = False
    written: tuple[int, int] = (_LONG_AGO, _LONG_AGO)
    parent: _Version | None = None
    children: list[_Version] = field(default_factory=list)
    root: Hashable = None
    depth: int = 0
    observers: list[int] = field(default_factory=list)
    lost: bool = False
    # Whether its own lineage contradicts itself, so that no other conclusion is drawn from this version.
    odd: bool = False
    # Its place in a walk through its lineage, and the end of its descendants there.
    enter: int = 0
    leave: int = 0
    # The earliest return of an operation on this version, or on one that it descends from.
    there: int = NEVER
    # The latest invocation of an observation of this version or a descendant, and which.
    sought: int = _LONG_AGO
    sought_by: int = -1
    # The earliest acknowledgement among the descendants' writes that were not lost, and the version written.
    replaced: int = NEVER
    replaced_by: _Version | None = None
    # The same among the descendants' observations.
    overtaken: int = NEVER
    overtaken_by: int = -1


def explain(history: History, model: Register, shown: int) -> tuple[dict[str, int], list[Finding]]:
    """How many anomalies of each name there are in the history of one key with distinct written values, and of each name
    the first `shown`, the most telling name first. Empty if there are none.

    Each finding's rows, taken as a history of their own, show the same anomaly: one of which that is not so, because others
    mingle with it, is counted but not shown, unless there is no other.
    """
    lineages = _Lineages(history, model, shown)
    lineages.judge()
    rank = {name: at for at, name in enumerate(PRECEDENCE)}
    counts = dict(sorted(lineages.counts.items(), key=lambda entry: rank[entry[0]]))
    found = [finding for finding in lineages.found if _alone(history, model, finding) == finding.identifier]
    return counts, sorted(found or lineages.found, key=lambda finding: rank[finding.identifier])


def _alone(history: History, model: Register, finding: Finding) -> str:
    """The most telling name of what the rows of `finding` show alone."""
    part = _Lineages(history.select(np.array(finding.rows)), model, 0)
    part.judge()
    return min(part.counts, key=PRECEDENCE.index, default="")


class _Lineages:
    def __init__(self, history: History, model: Register, shown: int) -> None:
        self.shown = shown
        self.counts: dict[str, int] = {}
        self.found: list[Finding] = []
        self.history = history
        self.model = model
        self.f = [history.fs[code] for code in history.f.tolist()]
        self.inv: list[int] = history.invoked.tolist()
        outcome = history.outcome.tolist()
        self.outcome = outcome
        completed = history.completed.tolist()
        self.ret = [NEVER if how == INFO else at for how, at in zip(outcome, completed, strict=True)]
        self.values: list[Any] = [canonical(value) for value in history.values]
        servers, homes = history.server.tolist(), history.node.tolist()
        self.server = [s if s >= 0 else h for s, h in zip(servers, homes, strict=True)]
        self.clock = history.timed
        self.versions: dict[Hashable, _Version] = {}
        self.failed: dict[Hashable, int] = {}
        self.observed: list[tuple[int, Hashable]] = []
        self._read()
        self._link()

    def _read(self) -> None:
        """Find the versions, their writers and who observed them."""
        model, values = self.model, self.values
        errors = self.history.errors
        missing = self.history.values.kind == MISSING
        first = canonical(model.initial)
        self.versions[first] = _Version(first)
        maybe: dict[Hashable, int] = {}
        swaps: list[int] = []
        for row, f in enumerate(self.f):
            how, value = self.outcome[row], values[row]
            if f == "read":
                if how == OK and not missing[row] and not (value is None and model.nil == "wildcard"):
                    self.observed.append((row, value))
            elif f == "write":
                if how == FAIL:
                    self.failed.setdefault(value, row)
                else:
                    self._written(row, value)
            elif f == "cas" and isinstance(model, CasRegister):
                expected, new = value
                if how == FAIL:
                    self.failed.setdefault(new, row)
                    code = int(self.history.error[row])
                    if code >= 0 and errors[code] == MISMATCH and row in self.history.seen:
                        self.observed.append((row, canonical(self.history.seen[row][0])))
                elif expected == new:
                    if how == OK:
                        self.observed.append((row, expected))
                elif how == OK:
                    swaps.append(row)
                else:
                    maybe[new] = row
        # An info cas counts only if its value was observed, directly or through others that count.
        for row in swaps:
            self.observed.append((row, values[row][0]))
        at = 0
        while at < len(self.observed):
            row = maybe.pop(self.observed[at][1], -1)
            at += 1
            if row >= 0:
                swaps.append(row)
                self.observed.append((row, values[row][0]))
        for row in swaps:
            expected, new = values[row]
            self._written(row, new)
            parent = self.versions.setdefault(expected, _Version(expected))
            child = self.versions[new]
            child.parent = parent
            parent.children.append(child)
        for row, value in self.observed:
            self.versions.setdefault(value, _Version(value)).observers.append(row)

    def _written(self, row: int, value: Hashable) -> None:
        version = self.versions.setdefault(value, _Version(value))
        version.writer = row
        version.acked = self.outcome[row] == OK
        version.written = (self.inv[row], self.ret[row])

    def _link(self) -> None:
        """Walk every lineage down and up again, and fill in what a version inherits from its ancestors and descendants."""
        order = [version for version in self.versions.values() if version.parent is None]
        for version in order:
            order.extend(version.children)
        self.order = order
        initial = canonical(self.model.initial)
        for version in order:
            parent = version.parent
            if parent is not None:
                version.root, version.depth = parent.root, parent.depth + 1
                version.there = parent.there
            else:
                version.root = version.value
            if version.value == initial and version.writer < 0:
                version.there = _LONG_AGO
            for row in ([version.writer] if version.writer >= 0 else []) + version.observers:
                version.there = min(version.there, self.ret[row])
        for version in reversed(order):
            version.leave = 1 + sum(child.leave for child in version.children)
            for row in version.observers:
                if self.inv[row] > version.sought:
                    version.sought, version.sought_by = self.inv[row], row
            for child in version.children:
                if child.sought > version.sought:
                    version.sought, version.sought_by = child.sought, child.sought_by
        walked = 0
        for version in order:
            if version.parent is None:
                version.enter, version.leave = walked, walked + version.leave
                walked = version.leave
            place = version.enter + 1
            for child in version.children:
                child.enter, child.leave = place, place + child.leave
                place = child.leave

    def judge(self) -> None:
        """Count every anomaly, and keep the first of each name."""
        self._impossible()
        self._branches()
        self._forks()
        self._gone()
        self._reads()
        if not self.counts:
            self._contradiction()

    def _counts(self, identifier: str) -> bool:
        """Count one more; whether it is to be shown."""
        self.counts[identifier] = self.counts.get(identifier, 0) + 1
        return self.counts[identifier] <= self.shown

    def _show(self, identifier: str, accused: int, rows: Iterable[int], sentence: str) -> None:
        proof = {accused, *rows} - {-1}
        # An info cas is known to have happened only by those who observed its value.
        for row in tuple(proof):
            while self.f[row] == "cas" and self.outcome[row] == INFO:
                observers = self.versions[self.values[row][1]].observers
                if proof.intersection(observers):
                    break
                row = min(observers, key=lambda other: self.outcome[other] == INFO)
                proof.add(row)
        self.found.append(Finding(identifier, tuple(sorted(proof)), sentence, accused))

    def _impossible(self) -> None:
        """Values that nobody wrote, that were reported as not written, or that were not written yet."""
        initial = canonical(self.model.initial)
        for row, value in self.observed:
            version = self.versions[value]
            if version.writer < 0 and value != initial:
                version.odd = True
                failed = self.failed.get(value)
                if failed is None:
                    if self._counts("unwritten-read"):
                        self._show("unwritten-read", row, (), f"{self._did(row)}, which nobody had written")
                elif self._counts("aborted-read"):
                    what = f"the value of {self._name(failed)}, which had been reported as failed"
                    self._show("aborted-read", row, (failed,), f"{self._did(row)}, {what}")
            elif self.ret[row] < version.written[0]:
                for below in self._below(version):
                    below.odd = True
                if not self._counts("future-read"):
                    continue
                when = f"{self._name(version.writer)} was invoked{self._at(version.written[0])}"
                self._show("future-read", row, (version.writer,), f"{self._did(row)}, before {when}")

    def _branches(self) -> None:
        """Two cas that took effect on one version, and what was lost of the lineage that was not observed last."""
        for version in self.order:
            heads = version.children
            if len(heads) < 2:
                continue
            survivor = max(heads, key=lambda head: (head.sought, self.inv[head.writer]))
            for below in self._below(survivor):
                below.odd = True
            for head in heads:
                if head is not survivor:
                    self._branch(version, head, survivor)

    def _branch(self, version: _Version, head: _Version, survivor: _Version) -> None:
        """Two cas took effect on `version`, and the lineage of `survivor` was observed last, if any was."""
        one, other = sorted((head, survivor), key=lambda h: self.inv[h.writer])
        proof = {version.writer, one.writer, other.writer}
        proof |= {side.observers[0] for side in (one, other) if not side.acked}
        witness = survivor.sought_by
        proven = False
        for lost in self._below(head):
            lost.odd = True
            if not lost.acked or lost.lost:
                continue
            lost.lost = True
            if self.ret[lost.writer] >= survivor.sought or survivor.sought <= head.sought:
                continue
            proven = True
            if self._counts("lost-write"):
                seen = self.versions[self._observed_by(witness)]
                way = {*self._between(lost, head), *self._between(seen, survivor)}
                self._show("lost-write", lost.writer, {*proof, *way, witness}, (
                    f"{self._acked(lost.writer)}, was lost: {self._did(witness)}, which came from "
                    f"{self._name(survivor.writer)}, and {_text(lost.value)} was never seen again"
                ))
        # With an indeterminate cas the proof of the one is the proof of the other.
        if (not proven or (one.acked and other.acked)) and self._counts("split-brain"):
            had = f"{self._name(one.writer)} had been made{self._at(self.ret[one.writer])}"
            self._show("split-brain", other.writer, proof, (
                f"{self._did(other.writer)}, although {had}: two lineages from one value"
            ))

    def _forks(self) -> None:
        """A cas that took effect on a version that was there before a write acknowledged before the cas."""
        last: dict[Hashable, _Version] = {}
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
            for _ in range(_FAR):
                if cursor.parent is None or self.inv[cursor.writer] <= ret:
                    break
                if cursor.parent.there < inv:
                    child = cursor
                cursor = cursor.parent
            self._fork(version, child, child.parent or child)

    def _fork(self, version: _Version, child: _Version, parent: _Version) -> None:
        """`child` was made on `parent`, which was there before `version`, after `version` was acknowledged."""
        inv, ret = version.written
        base = {*self._origin(parent, inv), child.writer, version.writer}
        if not child.acked:
            base |= set(child.observers[:1])
        here, there = self.versions[version.root], self.versions[child.root]
        if there.sought > here.sought:
            version.lost = True
            if self._counts("lost-write"):
                if self.inv[child.writer] <= here.sought:
                    base |= {there.sought_by, *self._way(self.versions[self._observed_by(there.sought_by)], child)}
                self._show("lost-write", version.writer, base, (
                    f"{self._acked(version.writer)}, was lost: {self._did(child.writer)}, "
                    f"and {_text(parent.value)} is older than {_text(version.value)}"
                ))
            return
        witness = here.sought_by
        for gone in self._below(child):
            if not gone.acked or gone.lost or gone.odd or self.ret[gone.writer] >= here.sought:
                continue
            gone.lost = True
            if self._counts("lost-write"):
                seen = self.versions[self._observed_by(witness)]
                way = {*self._between(gone, child), *self._way(seen, version)}
                self._show("lost-write", gone.writer, {*base, *way, witness}, (
                    f"{self._acked(gone.writer)}, was lost: {_text(parent.value)} had been replaced by "
                    f"{self._name(version.writer)}{self._at(ret)}, and later {self._did(witness)}"
                ))

    def _gone(self) -> None:
        """Acknowledged writes newer than the version that was observed last."""
        possible = [(self.inv[row], value) for row, value in self.observed if not self.versions[value].odd]
        if not possible:
            return
        final = self.versions[max(possible, key=lambda pair: pair[0])[1]]
        told_last = sorted(final.observers, key=lambda row: self.inv[row])
        invs = [self.inv[row] for row in told_last]
        names = {name for name in self.server if name >= 0}
        for version in self.order:
            if not version.acked or version.lost or version.odd or version.enter <= final.enter < version.leave:
                continue
            inv, ret = version.written
            descends = final.enter < version.enter < final.leave
            if not descends and final.there >= inv:
                continue
            told = told_last[bisect_left(invs, max(ret, version.sought) + 1):]
            if not told:
                continue
            by: dict[int, int] = {}
            for row in told:
                by.setdefault(self.server[row], row)
            chosen = told[:1]
            if names and -1 not in by:
                own = by.get(self.server[version.writer])
                if own is not None:
                    chosen = [own]
                elif 2 * len(by) > len(names):
                    chosen = list(by.values())[: len(names) // 2 + 1]
                else:
                    continue
            version.lost = True
            if self._counts("lost-write"):
                proof = [final.writer, *self._between(version, final)] if descends else self._origin(final, inv)
                self._show("lost-write", version.writer, {*proof, *chosen}, (
                    f"{self._acked(version.writer)}, was lost: {self._did(chosen[0])}, which is older, "
                    f"and {_text(version.value)} was never seen again"
                ))

    def _reads(self) -> None:
        """Reads of a version older than one that had been acknowledged, or read, when they began."""
        for version in reversed(self.order):
            for child in version.children:
                if child.lost:
                    continue
                if child.acked and self.ret[child.writer] < version.replaced:
                    version.replaced, version.replaced_by = self.ret[child.writer], child
                if child.replaced < version.replaced:
                    version.replaced, version.replaced_by = child.replaced, child.replaced_by
                for row in () if child.odd else child.observers:
                    if self.ret[row] < version.overtaken:
                        version.overtaken, version.overtaken_by = self.ret[row], row
                if child.overtaken < version.overtaken:
                    version.overtaken, version.overtaken_by = child.overtaken, child.overtaken_by
        observed = sorted(
            ((row, self.versions[value]) for row, value in self.observed if not self.versions[value].odd),
            key=lambda pair: self.inv[pair[0]],
        )
        reads = [
            (row, version) for row, version in observed
            if version.there < NEVER and (self.f[row] == "read" or self.outcome[row] == FAIL
                                          or self.values[row][0] == self.values[row][1])
        ]
        stale: set[int] = set()
        newest = _Newest([(v.written[1], v.written[0], v.writer, v.root) for v in self.order if v.acked and not v.lost])
        for row, version in reads:
            newer = version.replaced_by
            if newer is not None and version.replaced < self.inv[row]:
                stale.add(row)
                if self._counts("stale-read"):
                    self._stale(row, newer, {version.writer, *self._between(newer, version)})
                continue
            write = newest.before(self.inv[row], version.root, stale)
            if write >= 0 and self.inv[write] > version.there:
                stale.add(row)
                if self._counts("stale-read"):
                    self._stale(row, self.versions[self._set_by(write)], {*self._origin(version, self.inv[write])})
        lost = {version.writer for version in self.order if version.lost}
        newest = _Newest([
            (self.ret[row], self.inv[row], row, version.root) for row, version in observed
            if not version.lost and row not in lost
        ])
        wrong = stale
        for row, version in reads:
            if row in wrong:
                continue
            seen = version.overtaken_by
            if version.overtaken < self.inv[row] and seen not in wrong:
                wrong.add(row)
                if self._counts("non-monotonic-read"):
                    after = self.versions[self._observed_by(seen)]
                    self._backwards(row, seen, {version.writer, *self._between(after, version)})
                continue
            seen = newest.before(self.inv[row], version.root, wrong)
            if seen >= 0 and self.inv[seen] > version.there:
                wrong.add(row)
                if self._counts("non-monotonic-read"):
                    after = self.versions[self._observed_by(seen)]
                    self._backwards(row, seen, {after.writer, *self._origin(version, self.inv[seen])})

    def _set_by(self, row: int) -> Hashable:
        value: Hashable = self.values[row] if self.f[row] == "write" else self.values[row][1]
        return value

    def _stale(self, row: int, newer: _Version, rows: set[int]) -> None:
        had = f"{self._name(newer.writer)} had been acknowledged{self._at(self.ret[newer.writer])}"
        # What shows that the newer write was not lost: itself seen later, or what was observed last of all.
        if newer.sought >= self.inv[row]:
            rows |= {newer.sought_by, *self._between(self.versions[self._observed_by(newer.sought_by)], newer)}
        else:
            last, value = max(self.observed, key=lambda pair: self.inv[pair[0]])
            if last != row:
                rows |= {last, *self._origin(self.versions[value], NEVER)[:1]}
        self._show("stale-read", row, {newer.writer, *rows}, f"{self._did(row)}, although {had}")

    def _backwards(self, row: int, seen: int, rows: set[int]) -> None:
        had = f"the newer {_text(self._observed_by(seen))} had been read{self._at(self.ret[seen])}"
        self._show("non-monotonic-read", row, {seen, *rows}, f"{self._did(row)}, although {had}")

    def _contradiction(self) -> None:
        """Two lineages of which each has an operation that returned before one of the other began."""
        low: dict[Hashable, int] = {}
        high: dict[Hashable, int] = {}
        for version in self.order:
            root = version.root
            for row in ([version.writer] if version.writer >= 0 else []) + version.observers:
                if root not in low or self.ret[row] < self.ret[low[root]]:
                    low[root] = row
                if root not in high or self.inv[row] > self.inv[high[root]]:
                    high[root] = row
        reach: Hashable = None
        started = False
        for root in sorted(low, key=lambda root: self.ret[low[root]]):
            if started and self.ret[low[root]] < self.inv[high[reach]] and self.ret[low[reach]] < self.inv[high[root]]:
                if self._counts("non-monotonic-read"):
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

    def _touched(self, row: int) -> tuple[Hashable, ...]:
        if self.f[row] == "write":
            return (self.values[row],)
        if self.f[row] == "cas" and self.outcome[row] != FAIL:
            return self.values[row][0], self.values[row][1]
        return (self._observed_by(row),)

    # Ways through the lineages

    def _origin(self, version: _Version, before: int) -> list[int]:
        """The operations that prove that `version` was there before `before`, and how it descends from what was."""
        rows: list[int] = []
        at: _Version | None = version
        while at is not None:
            if at.writer >= 0:
                rows.append(at.writer)
                if self.ret[at.writer] < before:
                    return rows
            early = [row for row in at.observers if self.ret[row] < before]
            if early:
                return [*rows, min(early, key=lambda row: self.ret[row])]
            at = at.parent
        return rows

    def _between(self, low: _Version, high: _Version) -> list[int]:
        """The writers from `low` up to, and without, its ancestor `high`."""
        rows = []
        at: _Version | None = low
        while at is not None and at is not high:
            rows.append(at.writer)
            at = at.parent
        return rows

    def _way(self, one: _Version, other: _Version) -> list[int]:
        """The writers on the way between two versions of one lineage."""
        rows = []
        a, b = one, other
        while a is not b:
            if a.depth < b.depth:
                a, b = b, a
            rows.append(a.writer)
            if a.parent is None:
                break
            a = a.parent
        return rows

    def _below(self, head: _Version) -> list[_Version]:
        """`head` and its descendants."""
        found = [head]
        for version in found:
            found.extend(version.children)
        return found

    def _observed_by(self, row: int) -> Hashable:
        if self.f[row] == "read":
            value: Hashable = self.values[row]
        elif self.outcome[row] == FAIL:
            value = canonical(self.history.seen[row][0])
        else:
            value = self.values[row][0]
        return value

    # Words

    def _at(self, moment: int) -> str:
        if moment == NEVER:
            return ""
        return f" at {moment / 1e9:.2f} s" if self.clock else f" at {moment}"

    def _through(self, row: int) -> str:
        return self.history.nodes[self.server[row]] if self.server[row] >= 0 else ""

    def _name(self, row: int) -> str:
        if self.f[row] == "cas":
            expected, new = self.values[row]
            return f"cas {_text(expected)} → {_text(new)}"
        return f"{self.f[row]} {_text(self.values[row])}"

    def _did(self, row: int) -> str:
        client, where = int(self.history.process[row]), self._through(row)
        if self.f[row] == "read" or self.outcome[row] == FAIL:
            what = f"read {_text(self._observed_by(row))}" + (f" from {where}" if where else "")
        else:
            what = f"made {self._name(row)}" + (f" through {where}" if where else "")
        return f"client {client} {what}{self._at(self.inv[row])}"

    def _acked(self, row: int) -> str:
        where = self._through(row)
        by = f" by {where}" if where else ""
        return f"{self._name(row)} of client {int(self.history.process[row])}, acknowledged{by}{self._at(self.ret[row])}"


class _Newest:
    """Among operations (returned, invoked, row, lineage) that returned before a moment, the one of another lineage than a
    given one that was invoked last. Moments must not go back."""

    def __init__(self, operations: list[tuple[int, int, int, Hashable]]) -> None:
        self.waiting = sorted(operations, key=lambda operation: -operation[0])
        self.first: tuple[int, int, Hashable] = (_LONG_AGO, -1, None)
        self.second: tuple[int, int, Hashable] = self.first

    def before(self, moment: int, root: Hashable, without: set[int]) -> int:
        """That operation's row, -1 where there is none; rows in `without` do not count from now on."""
        while self.waiting and self.waiting[-1][0] < moment:
            _, inv, row, lineage = self.waiting.pop()
            if row in without:
                continue
            if inv > self.first[0]:
                if lineage != self.first[2]:
                    self.second = self.first
                self.first = (inv, row, lineage)
            elif inv > self.second[0] and lineage != self.first[2]:
                self.second = (inv, row, lineage)
        return self.second[1] if self.first[2] == root else self.first[1]


def _text(value: Hashable) -> str:
    content = getattr(value, "content", value)
    text = "nil" if content is None else str(content)
    return text if len(text) <= 40 else text[:37] + "..."
