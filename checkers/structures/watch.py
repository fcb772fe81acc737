"""Watches: every change is told once, in the order of revisions, none is missing, and none is from the past.

A watch asks for the changes of a key after a revision, and is told some, up to a last one; it must have been told all between.
What changes there were is known from all watches together, for each has its revision; and every acknowledged write must be
among what somebody is told who asks for all, after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from functools import partial
from typing import Any

import numpy as np

from splitbrain.checkers.structures.columns import check_functions, keys_of, latest_before, rows_of
from splitbrain.checkers.structures.findings import Findings
from splitbrain.checkers.verdict import Coverage, Moment, Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Key
from splitbrain.harness.history.recording import Recording

MODEL = "watches complete"
NAMES = ("missed-event", "event-reordered", "event-from-the-past", "duplicate", "unexpected", "aborted-read", "future-read")


class WatchChecker:
    """Judges `write` of values, each once, and `read` of (since, changes), each change a (revision, value)."""

    name = "watch"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function, for a read of anything else, and where a value is written twice."""
        history = recording.history
        check_functions(history, self.name, ("read", "write"))
        found, watches = Findings(recording), 0
        written, watched = rows_of(history, "write"), rows_of(history, "read") & (history.outcome == OK)
        for key, rows in history.by_key():
            watches += _Stream(found, history, key).judge(rows[written[rows]].tolist(), rows[watched[rows]].tolist())
        return found.verdict(
            self.name, {MODEL: NAMES}, Coverage(keys=keys_of(history), operations=len(history)), judged=watches,
            things="changes", what="watches",
        )


class _Stream:
    """The changes of one key."""

    def __init__(self, found: Findings, history: History, key: Key) -> None:
        self.found = found
        self.history = history
        self.key = key
        self.revision: dict[Any, int] = {}
        """The revision of each value, as first told."""
        self.first: dict[Any, int] = {}
        """The watch that was told each value the earliest."""
        self.told_by: dict[int, tuple[Any, int]] = {}
        """The value of each revision, as first told, and the watch that was."""

    def judge(self, writes: list[int], watches: list[int]) -> int:
        """Judge it; how many watches there are."""
        changes = {row: _changes(self.history.values[row]) for row in watches}
        for row in watches:
            for revision, value in changes[row][1]:
                self._learn(row, revision, value)
        known = np.array(sorted(self.told_by), np.int64)
        for row in watches:
            self._complete(row, *changes[row], known)
        by_value = {self.history.values[row]: row for row in writes}
        if len(by_value) < len(writes):
            raise UsageError("the watch checker needs values that are written once: choose another checker")
        for value in self.revision:
            self._written(by_value.get(value, -1), value)
        self._in_time(by_value)
        self._acknowledged(writes, sorted(
            (row for row in watches if changes[row][0] == 0), key=lambda row: int(self.history.invoked[row])
        ), changes)
        return len(watches)

    def _learn(self, row: int, revision: int, value: Any) -> None:
        first = self.first.setdefault(value, row)
        if self.history.completed[row] < self.history.completed[first]:
            self.first[value] = row
        before = self.told_by.setdefault(revision, (value, row))
        if before[0] != value:
            self._tell("unexpected", row, f"was told {value} at revision {revision}, and another client {before[0]}", before[1])
        if (other := self.revision.setdefault(value, revision)) != revision:
            self._tell("duplicate", row, f"was told {value} at revision {revision}, which was told at {other}",
                       first)

    def _complete(self, row: int, since: int, changes: list[tuple[int, Any]], known: Any) -> None:
        revisions = [revision for revision, _ in changes]
        if not revisions:
            return
        if revisions != sorted(revisions):
            self._tell("event-reordered", row, f"was told revisions {_listed(revisions)} in that order")
        if len(set(revisions)) < len(revisions):
            self._tell("duplicate", row, f"was told a revision of {_listed(revisions)} twice")
        if min(revisions) <= since:
            self._tell("event-from-the-past", row, f"was told revision {min(revisions)}, though it had asked for those after "
                                                   f"{since}")
        low, high = np.searchsorted(known, since, side="right"), np.searchsorted(known, max(revisions), side="right")
        if high - low > len({revision for revision in revisions if revision > since}):
            missing = sorted(set(known[low:high].tolist()) - set(revisions))
            value, by = self.told_by[missing[0]]
            self._tell("missed-event", row, f"was told changes up to revision {max(revisions)} and not {value} at "
                                            f"{missing[0]}", by)

    def _written(self, write: int, value: Any) -> None:
        row = self.first[value]
        if write < 0:
            self._tell("unexpected", row, f"was told {value}, which nobody wrote")
        elif self.history.outcome[write] == FAIL:
            self._tell("aborted-read", row, f"was told {value}, whose write was reported as failed", write)
        elif self.history.completed[row] < self.history.invoked[write]:
            self._tell("future-read", row, f"was told {value} before it was written", write)

    def _in_time(self, by_value: dict[Any, int]) -> None:
        """A write that was acknowledged before another began has the lower revision."""
        pairs = [(by_value[value], revision) for value, revision in self.revision.items() if value in by_value]
        if not pairs:
            return
        rows, revisions = np.array([row for row, _ in pairs]), np.array([revision for _, revision in pairs], np.int64)
        ok = self.history.outcome[rows] == OK
        before = latest_before(self.history.completed[rows[ok]], revisions[ok], self.history.invoked[rows], -1)
        for at in np.flatnonzero(before > revisions).tolist():
            value, row = self.told_by[int(revisions[at])]
            earlier, other = self.told_by[int(before[at])]
            told = f"was told {value} at revision {revisions[at]}, though {earlier}, at {before[at]}, came before it in time"
            self._tell("event-reordered", row, told, other, by_value[earlier], int(rows[at]))

    def _acknowledged(self, writes: list[int], whole: list[int], changes: dict[int, tuple[int, list[tuple[int, Any]]]]) -> None:
        """Who asks for everything is told every write that was acknowledged before."""
        invoked = self.history.invoked[whole].tolist()
        told: defaultdict[Any, set[int]] = defaultdict(set)
        for place, watch in enumerate(whole):
            for _, value in changes[watch][1]:
                told[value].add(place)
        missing: list[tuple[int, int]] = []
        for row in writes:
            if self.history.outcome[row] != OK:
                continue
            place = bisect_right(invoked, int(self.history.completed[row]))
            places = told.get(self.history.values[row], set())
            while place in places:
                place += 1
            if place < len(whole):
                missing.append((whole[place], row))
        for watch, row in sorted(missing):
            lost = self.history.values[row] not in self.revision
            told_of = f"asked for everything and was not told {self.history.values[row]}"
            self._tell("missed-event", watch, told_of + (", nor was anybody" if lost else ""), row, lost=lost)

    def _tell(self, name: str, row: int, what: str, *others: int, lost: bool = False) -> None:
        watch = self.history[row]
        seen = int(self.history.completed[row])
        began = int(self.history.completed[others[0]]) if lost else watch.invoked
        sentence = f"client {watch.process} at {watch.node or 'a server'} {what}, of key {self.key} at {clock(seen)}."
        rows = [*dict.fromkeys(other for other in others if other != row), row]
        self.found.add(name, Moment(began=began, seen=seen, lost=lost), sentence, partial(_rows, self.history, rows))


def _changes(value: Any) -> tuple[int, list[tuple[int, Any]]]:
    try:
        since, changes = value
        return int(since), [(int(revision), told) for revision, told in changes]
    except (TypeError, ValueError) as error:
        raise UsageError(f"the watch checker needs reads of (since, changes), not {value!r}: choose another checker") from error


def _rows(history: History, rows: list[int]) -> list[Any]:
    return [history[row] for row in rows]


def _listed(revisions: list[int]) -> str:
    return ", ".join(map(str, revisions[:6])) + (", ..." if len(revisions) > 6 else "")
