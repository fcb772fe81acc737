"""Lineages: the versions of one register, who wrote and who observed each, and how they descend from each other.

A value written once is a version. A compare-and-set a→b that took effect makes b a child of a: versions form trees, and a
linearizable history has only paths. What is wrong with them, and by which name, is told in `explain`.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field
from functools import cached_property
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.models.specifications import CasRegister, Register
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.names import NO_NAME
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.sides import listed
from splitbrain.harness.history.values import MISSING, PAIR, SCALAR, canonical

LONG_AGO = -NEVER - 1
"""Before every moment; times may be negative."""
FAR = 1000
"""How far a lineage is followed for a smaller proof."""
_NEAR = 300
"""How many observations are looked at for one from every home."""
_OFTEN = 1 << 14
"""Operations after which somebody looks at the clock."""


class Course(msgspec.Struct, frozen=True):
    """What tells which lineage survived in a run: when its heals began, and from when on reads tell what the register held in
    the end (those after the heal and the settling). Nanoseconds."""

    settled: int
    heals: tuple[int, ...] = ()


@dataclass(slots=True)
class Version:
    """One value: who wrote it, who observed it, and its place in the lineage. Times are nanoseconds or positions."""

    value: Hashable
    writer: int = -1
    acked: bool = False
    written: tuple[int, int] = (LONG_AGO, LONG_AGO)
    parent: Version | None = None
    children: list[Version] = field(default_factory=list)
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
    # The earliest return of an observation of this version, or of an operation on a descendant, and which.
    early: int = NEVER
    early_by: int = -1
    # The latest invocation of an observation of this version or a descendant, and which.
    sought: int = LONG_AGO
    sought_by: int = -1
    # The earliest acknowledgement among the descendants' writes that were not lost, and the version written.
    replaced: int = NEVER
    replaced_by: Version | None = None
    # The same among the descendants' observations.
    overtaken: int = NEVER
    overtaken_by: int = -1


class _Sightings(NamedTuple):
    """The observations in the order in which they were asked for: when, their rows, and in columns their servers, their homes,
    and which version each saw, by its place among all versions (`at`) and in the walk (`enter`)."""

    asked: list[int]
    rows: list[int]
    server: NDArray[np.int64]
    home: NDArray[np.int64]
    at: NDArray[np.int64]
    enter: NDArray[np.int64]


class Lineages:
    """The versions of one key; `homes` are the codes of all nodes that did anything. Raises `Exhausted`."""

    def __init__(self, history: History, model: Register, budget: Budget, course: Course | None, homes: set[int]) -> None:
        self.course = course
        self.homes = homes
        self.settled = None if course is None else course.settled
        self.runs: dict[Hashable, tuple[set[Hashable], NDArray[np.bool_]]] = {}
        self.budget = budget
        self.history = history
        self.model = model
        self.f = list(map(history.fs.__getitem__, history.f.tolist()))
        self.inv: list[int] = history.invoked.tolist()
        self.outcome: list[int] = history.outcome.tolist()
        self.ret: list[int] = np.where(history.outcome == INFO, NEVER, history.completed).tolist()
        self.values: list[Any] = []
        plain = bool(((history.values.kind == SCALAR) | (history.values.kind == PAIR)).all())
        for row, value in enumerate(history.values):
            if not row % _OFTEN:
                budget.check()
            self.values.append(value if plain else canonical(value))
        self.server: list[int] = np.where(history.server >= 0, history.server, history.node).tolist()
        self.home: list[int] = np.where(history.node >= 0, history.node, history.server).tolist()
        self.clock = history.timed
        self.versions: dict[Hashable, Version] = {}
        self.failed: dict[Hashable, int] = {}
        self.observed: list[tuple[int, Hashable]] = []
        self.refused: set[int] = set()
        # The indeterminate compare-and-sets whose value nobody ever saw.
        self.unseen: set[int] = set()
        self.budget.check()
        self._read()
        self.budget.check()
        self._link()
        self.seen_by = dict(self.observed)
        self._close()

    def _read(self) -> None:
        """Find the versions, their writers and who observed them."""
        model, values, history = self.model, self.values, self.history
        errors = history.errors
        first = canonical(model.initial)
        self.versions[first] = Version(first)
        reads = history.f == (history.fs.index("read") if "read" in history.fs else NO_NAME)
        telling = np.flatnonzero(reads & (history.outcome == OK) & (history.values.kind != MISSING)).tolist()
        seen = [(row, values[row]) for row in telling if not (values[row] is None and model.nil == "wildcard")]
        maybe: dict[Hashable, int] = {}
        swaps: list[int] = []
        for number, row in enumerate(np.flatnonzero(~reads).tolist()):
            if not number % _OFTEN:
                self.budget.check()
            f, how, value = self.f[row], self.outcome[row], values[row]
            if f == "write":
                if how == FAIL:
                    self.failed.setdefault(value, row)
                else:
                    self._written(row, value)
            elif f == "cas" and isinstance(model, CasRegister):
                expected, new = value
                if how == FAIL:
                    self.failed.setdefault(new, row)
                    code = int(history.error[row])
                    if code >= 0 and errors[code] == MISMATCH:
                        self.refused.add(row)
                        if row in history.seen:
                            seen.append((row, canonical(history.seen[row][0])))
                elif expected == new:
                    if how == OK:
                        seen.append((row, expected))
                elif how == OK:
                    swaps.append(row)
                else:
                    maybe[new] = row
        self.observed = sorted(seen, key=itemgetter(0))
        # An info cas counts only if its value was observed, directly or through others that count.
        for row in swaps:
            self.observed.append((row, values[row][0]))
        at = 0
        while maybe and at < len(self.observed):
            row = maybe.pop(self.observed[at][1], -1)
            at += 1
            if row >= 0:
                swaps.append(row)
                self.observed.append((row, values[row][0]))
        self.unseen = set(maybe.values())
        for row in swaps:
            expected, new = values[row]
            self._written(row, new)
            parent = self._version(expected)
            child = self.versions[new]
            child.parent = parent
            parent.children.append(child)
        versions = self.versions
        for row, value in self.observed:
            version = versions.get(value)
            if version is None:
                version = versions[value] = Version(value)
            version.observers.append(row)

    def _version(self, value: Hashable) -> Version:
        """The version of that value, a new one where there was none."""
        version = self.versions.get(value)
        if version is None:
            version = self.versions[value] = Version(value)
        return version

    def _written(self, row: int, value: Hashable) -> None:
        version = self._version(value)
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
        for number, version in enumerate(order):
            if not number % _OFTEN:
                self.budget.check()
            parent = version.parent
            if parent is not None:
                version.root, version.depth = parent.root, parent.depth + 1
                version.there = parent.there
            else:
                version.root = version.value
            if version.value == initial and version.writer < 0:
                version.there = LONG_AGO
            version.there = min([version.there, *map(self.ret.__getitem__, self._own(version))])
        self.budget.check()
        for version in reversed(order):
            version.leave = 1 + sum(child.leave for child in version.children)
            if version.observers:
                last = max(version.observers, key=self.inv.__getitem__)
                version.sought, version.sought_by = self.inv[last], last
                first = min(version.observers, key=self.ret.__getitem__)
                if self.ret[first] < NEVER:
                    version.early, version.early_by = self.ret[first], first
            for child in version.children:
                if child.early < version.early:
                    version.early, version.early_by = child.early, child.early_by
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

    def _holds(self, head: Version, version: Version) -> bool:
        """Whether `version` is `head` or came of it."""
        return head.enter <= version.enter < head.leave

    def _close(self) -> None:
        """Find what the register held in the end, by reads that began when every change had been answered: `final` is the
        newest version of one lineage, seen by every home that did anything here; None where that is not known."""
        self.final: Version | None = None
        self.closing: list[int] = []
        since = max((version.written[1] for version in self.order if version.acked), default=LONG_AGO)
        since = since if self.settled is None else max(since, self.settled - 1)
        closing = [(row, self.versions[value]) for row, value in self.observed if self.inv[row] > since]
        if not closing or (self.settled is None and self.homes and {self.home[row] for row, _ in closing} != self.homes):
            return
        if self.settled is not None and not self.homes <= {self.home[row] for row, _ in closing}:
            return
        deepest = max((version for _, version in closing), key=lambda version: version.depth)
        if all(self._holds(version, deepest) for _, version in closing) and not (deepest.writer < 0 and deepest.odd):
            self.final = deepest
            self.closing = [row for row, version in closing if version is deepest]

    def _survivor(self, one: Version, other: Version) -> tuple[Version, int] | None:
        """Which of two lineages survived, and the observation that shows it; None where nobody knows.

        The register holds the one's child in the end; or else it is told by who took up whose versions first: where servers
        (or homes) are known, those of the one that died were given the versions of the other.
        """
        if self.final is None:
            return None
        for survivor, dead in ((one, other), (other, one)):
            if self._holds(survivor, self.final) and not self._holds(dead, self.final):
                return survivor, self.closing[0]
        seen = []
        places = self._places(one), self._places(other)
        for at, (survivor, dead) in enumerate(((one, other), (other, one))):
            row = self._taken_up(survivor, places[1 - at] - places[at], max(self.ret[one.writer], self.ret[other.writer]))
            if row >= 0:
                seen.append((self.inv[row], at, row, survivor, dead))
        if not seen:
            return None
        moment, _, row, survivor, dead = min(seen, key=lambda found: found[:2])
        # Nothing of the one that died may be there later on, not even what overwrote it where it was.
        own = [self.versions[value] for value in self._run(dead)[0]]
        if any(version.sought >= moment for version in (dead, *own)):
            return None
        return survivor, row

    def _places(self, head: Version) -> set[tuple[str, int]]:
        """The server that acknowledged it, and the home of who asked."""
        places = ("server", self.server[head.writer]), ("home", self.home[head.writer])
        return {(kind, code) for kind, code in places if code >= 0}

    def _run(self, head: Version) -> tuple[set[Hashable], NDArray[np.bool_]]:
        """As `_acknowledged_on`, asked for once; and by its place among all versions whether one is among them."""
        if head.value not in self.runs:
            values = self._acknowledged_on(head)
            self.runs[head.value] = values, np.fromiter(map(values.__contains__, self.versions), np.bool_, len(self.versions))
        return self.runs[head.value]

    def _acknowledged_on(self, head: Version) -> set[Hashable]:
        """The changes that the server of `head` acknowledged from it on until the next heal, when it may have been given what
        others had acknowledged without telling anybody, or until it showed such."""
        server, found = self.server[head.writer], {head.value}
        if server < 0 or self.course is None:
            return found
        heal = min((moment for moment in self.course.heals if moment > self.inv[head.writer]), default=LONG_AGO)
        asked, rows = self._answers[server]
        at = bisect_left(asked, self.inv[head.writer])
        for row in rows[at:at + FAR]:
            if self.inv[row] >= heal or self.ret[row] >= heal:
                break
            if self.f[row] != "read" and self.outcome[row] == OK and self.values[row] is not None:
                value = self._set_by(row)
                if self.f[row] == "write" or value in found or self.values[row][0] in found or row == head.writer:
                    found.add(value)
                    continue
                break
            if row in self.seen_by:
                version = self.versions[self.seen_by[row]]
                if version.value not in found and not self._holds(head, version):
                    if self.ret[row] < self.ret[head.writer] or version.there < self.inv[head.writer]:
                        continue
                    break
        return found

    @cached_property
    def _answers(self) -> dict[int, tuple[list[int], list[int]]]:
        """Server → when its answers were asked for, and their rows."""
        order = np.argsort(self.history.invoked, kind="stable")
        server = np.array(self.server, np.int64)[order]
        found = {}
        for code in np.unique(server).tolist():
            rows = order[server == code]
            found[code] = self.history.invoked[rows].tolist(), rows.tolist()
        return found

    @cached_property
    def _sightings(self) -> _Sightings:
        rows = sorted(sorted(self.seen_by), key=self.inv.__getitem__)
        places = {value: at for at, value in enumerate(self.versions)}
        values = [self.seen_by[row] for row in rows]
        columns = (
            [self.server[row] for row in rows], [self.home[row] for row in rows], [places[value] for value in values],
            [self.versions[value].enter for value in values],
        )
        return _Sightings([self.inv[row] for row in rows], rows, *(np.array(column, np.int64) for column in columns))

    def _taken_up(self, survivor: Version, places: set[tuple[str, int]], after: int) -> int:
        """The first observation of the versions of `survivor` at one of these places, asked for after a moment; -1 if none."""
        _, run = self._run(survivor)
        told = self._sightings
        at = bisect_left(told.asked, after + 1)
        part = slice(at, at + FAR)
        enter = told.enter[part]
        here = np.zeros(len(enter), np.bool_)
        for kind, code in places:
            here |= (told.server if kind == "server" else told.home)[part] == code
        here &= ((survivor.enter <= enter) & (enter < survivor.leave)) | run[told.at[part]]
        found = int(here.argmax()) if len(here) else 0
        return told.rows[at + found] if len(here) and here[found] else -1

    def _old_everywhere(self, version: Version, known: int) -> list[int]:
        """Observations of versions older than this one, asked for after it was acknowledged and last seen, until there is one
        from every home."""
        told = self._sightings
        at = bisect_left(told.asked, known + 1)
        part = slice(at, at + _NEAR)
        older = np.flatnonzero(self._sound_since[told.at[part]] < version.written[0])
        rows: list[int] = []
        missing = set(self.homes)
        for place, home in zip(older.tolist(), told.home[part][older].tolist(), strict=True):
            if home in missing:
                rows.append(told.rows[at + place])
                missing.discard(home)
                if not missing:
                    return rows
        return []

    @cached_property
    def _sound_since(self) -> NDArray[np.int64]:
        """Of all versions since when each was there, `NEVER` where its lineage contradicts itself: to be asked for when that is
        known of all."""
        return np.array([NEVER if version.odd else version.there for version in self.versions.values()], np.int64)

    def _found_again(self) -> str:
        """Who read what in its place."""
        names: dict[str, None] = {}
        for other in self.closing:
            where = self.history.nodes[self.home[other]] if self.home[other] >= 0 else ""
            names.setdefault(where or f"client {int(self.history.process[other])}")
        when = "in the end" if self.settled is None else "after the heal"
        assert self.final is not None
        return f"nobody found it again: {when} {listed(list(names))} read {text(self.final.value)}"

    def _newer(self, version: Version, moment: int) -> list[Version]:
        """The versions that may have taken the place of `version` before `moment`, for all that is known by then."""
        own = self._own(version) if version.writer >= 0 else []  # The initial value came before all others.
        low = min((self.ret[row] for row in own), default=LONG_AGO)
        return [
            other for other in self.begun(moment)
            if (other.parent is version or (other.root != version.root and min(other.written[1], other.early) >= low))
        ]

    def _instead_of(self, version: Version, moment: int) -> list[int]:
        """The writers of what may have taken the place of `version` before `moment`; where there are none that were seen, the
        unanswered compare-and-sets that may have replaced it, or what came after it, unseen."""
        if newer := [one.writer for one in self._newer(version, moment)]:
            return newer
        on = {version.value, *(other.value for other in self.begun(moment))} if self.unseen else set()
        return [row for row in sorted(self.unseen) if self.inv[row] <= moment and self.values[row][0] in on]

    def begun(self, moment: int) -> list[Version]:
        """The versions that may have been written by `moment`: that, and all that they descend from, was begun by then."""
        found: list[Version] = []
        among: set[Hashable] = set()
        for version in self.order:
            if version.writer < 0 or version.written[0] > moment:
                continue
            if version.parent is None or version.parent.writer < 0 or version.parent.value in among:
                found.append(version)
                among.add(version.value)
        return found

    def _own(self, version: Version) -> list[int]:
        """Who wrote or observed `version`."""
        return ([version.writer] if version.writer >= 0 else []) + version.observers

    def _stayed(self, row: int, version: Version) -> list[int]:
        """What shows that no other value can have taken the place of `version` before `row` returned."""
        later = [other for other in version.observers if self.inv[other] > self.ret[row]]
        if later:
            return [min(later, key=lambda other: self.ret[other])]
        rows = []
        for other in self.order:
            inv, ret = other.written
            if other.root == version.root or inv > self.ret[row] or ret < version.written[0] or other.writer < 0:
                continue
            # It came before, for whoever observed it first had returned before `version` was last observed or written.
            line = [one for below in self._below(self.versions[other.root]) for one in self._own(below)]
            rows.append(min(line, key=lambda one: self.ret[one]))
            # Nobody wrote the initial value, and perhaps nobody observed it.
            rows += sorted(self._own(version), key=lambda one: self.inv[one])[-1:]
        return rows

    def _set_by(self, row: int) -> Hashable:
        value: Hashable = self.values[row] if self.f[row] == "write" else self.values[row][1]
        return value

    def _touched(self, row: int) -> tuple[Hashable, ...]:
        if self.f[row] == "write":
            return (self.values[row],)
        if self.f[row] == "cas" and self.outcome[row] != FAIL:
            return self.values[row][0], self.values[row][1]
        return (self._observed_by(row),)

    def closed(self, rows: Iterable[int]) -> set[int]:
        """`rows` with those that wrote what they observed, and those that wrote what these observed."""
        found: set[int] = set()
        work = [*rows]
        while work:
            row = work.pop()
            if row not in found:
                found.add(row)
                work.extend(self._source(row))
        return found

    def ends(self, rows: Iterable[int]) -> set[int]:
        """`rows` without the compare-and-sets from and to versions that others of them made or went on from: what they lead
        from, what they lead to, and where they part."""
        some = set(rows)
        links = {row for row in some if self.f[row] == "cas" and self.outcome[row] != FAIL}
        made, used = {self._set_by(row) for row in links}, Counter(self.values[row][0] for row in links)
        return {row for row in some if row not in links or self.values[row][0] not in made or self._set_by(row) not in used
                or used[self.values[row][0]] > 1}

    def turns(self, rows: Iterable[int]) -> set[int]:
        """The first compare-and-set after each write of `rows`, and who wrote what it expected: a lineage that went on from an
        older version did so there."""
        some = sorted(rows, key=lambda row: self.inv[row])
        links = [row for row in some if self.f[row] == "cas" and self.outcome[row] != FAIL]
        began = [self.inv[row] for row in links]
        places = {bisect_right(began, self.ret[row]) for row in some if self.f[row] == "write"}
        first = [links[at] for at in places if at < len(links)]
        return {*first, *(source for row in first for source in self._source(row))}

    def _source(self, row: int) -> list[int]:
        """The row that wrote, or failed to write, what `row` observed or is known to have found absent."""
        f, how = self.f[row], self.outcome[row]
        if f == "write" or (how == FAIL and row not in self.refused) or (f == "read" and how != OK):
            return []
        value = self.values[row][0] if how == FAIL and row not in self.history.seen else self._observed_by(row)
        version = self.versions.get(value)
        if version is not None and version.writer >= 0:
            return [version.writer]
        return [self.failed[value]] if value in self.failed and value != canonical(self.model.initial) else []

    def _origin(self, version: Version, before: int) -> list[int]:
        """The operations that prove that `version` was there before `before`, and how it descends from what was."""
        rows: list[int] = []
        at: Version | None = version
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

    def _between(self, low: Version, high: Version) -> list[int]:
        """The writers from `low` up to, and without, its ancestor `high`."""
        rows = []
        at: Version | None = low
        while at is not None and at is not high:
            rows.append(at.writer)
            at = at.parent
        return rows

    def _way(self, one: Version, other: Version) -> list[int]:
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

    def _below(self, head: Version) -> list[Version]:
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

    def _at(self, moment: int) -> str:
        if moment == NEVER:
            return ""
        return f" at {clock(moment)}" if self.clock else f" at {moment}"

    def _through(self, row: int) -> str:
        return self.history.nodes[self.server[row]] if self.server[row] >= 0 else ""

    def _name(self, row: int) -> str:
        if self.f[row] == "cas":
            expected, new = self.values[row]
            return f"cas {text(expected)} → {text(new)}"
        return f"{self.f[row]} {text(self.values[row])}"

    def _did(self, row: int) -> str:
        client, where = int(self.history.process[row]), self._through(row)
        if self.f[row] == "read" or self.outcome[row] == FAIL:
            what = f"read {text(self._observed_by(row))}" + (f" from {where}" if where else "")
        else:
            what = f"made {self._name(row)}" + (f" through {where}" if where else "")
        return f"client {client} {what}{self._at(self.inv[row])}"

    def _acked(self, row: int) -> str:
        where = self._through(row)
        by = f" by {where}" if where else ""
        return f"{self._name(row)} of client {int(self.history.process[row])}, acknowledged{by}{self._at(self.ret[row])}"


def text(value: Hashable) -> str:
    """A value as sentences show it, 40 characters at most."""
    content = getattr(value, "content", value)
    text = "nil" if content is None else str(content)
    return text if len(text) <= 40 else text[:37] + "..."
