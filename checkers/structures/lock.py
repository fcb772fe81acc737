"""Locks: who held one together, for how long, and whether a fence kept the earlier holder out.

A client holds a lock from the moment at which it was acknowledged until it begins to give it back, or to ask for it anew, or
begins the call by whose answer it is told that it lost it. What it did last, where it went silent, is the end of what is known;
so a hold is never longer here than it was. Two holds of one lock that overlap are a fact, whatever a lease says: between a
lease's end and the moment at which its owner learns of it, only a fence protects (Kleppmann, "How to do distributed locking",
2016).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from splitbrain.checkers.structures.columns import (
    Flags,
    Ints,
    check_functions,
    grouped,
    keys_of,
    latest_before,
    mismatched,
    rows_of,
)
from splitbrain.checkers.structures.findings import Findings, Told
from splitbrain.checkers.verdict import Moment, Verdict
from splitbrain.harness.history.history import INFO, NEVER, OK, History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.values import NIL, PAIR, SCALAR

EXCLUSIVE = "locks exclusive"
FENCED = "fences kept"
_NONE = int(np.iinfo(np.int64).min)


@dataclass(frozen=True)
class Holds:
    """Stretches in which clients held locks: the row of the `acquire`, its key, from when to when, and the row that ended
    it."""

    row: Ints
    key: Ints
    began: Ints
    ended: Ints
    ended_by: Ints


def holds(history: History) -> Holds:
    """What clients believed to hold, in the order of keys and times."""
    rows = np.lexsort((history.invoked, history.key, history.process))
    process, key = history.process[rows], history.key[rows]
    taken = (rows_of(history, "acquire") & (history.outcome == OK))[rows]
    lost = mismatched(history) & (rows_of(history, "renew") | rows_of(history, "release") | rows_of(history, "write"))
    # Who asks for a lock does not believe to have it.
    ends = (rows_of(history, "acquire") | rows_of(history, "release") | lost)[rows]
    at = np.arange(len(rows))
    following = np.append(np.minimum.accumulate(np.where(ends, at, len(rows))[::-1])[::-1], len(rows))
    begin = np.flatnonzero(taken)
    end = following[begin + 1]
    known = end < len(rows)
    same = known.copy()
    place = np.minimum(end, max(len(rows) - 1, 0))
    same &= (process[place] == process[begin]) & (key[place] == key[begin])
    # One that never gave it back held it until the last thing that it was seen to do.
    names, of = np.unique(history.process, return_inverse=True)
    moments = np.where(history.outcome == INFO, history.invoked, np.where(history.completed == NEVER, history.invoked,
                                                                          history.completed))
    last = np.full(len(names), _NONE)
    np.maximum.at(last, of, moments)
    acquire = rows[begin]
    silent = last[np.searchsorted(names, process[begin])]
    ended = np.where(same, history.invoked[rows[place]] if len(rows) else 0, silent)
    began = history.completed[acquire]
    ended = np.maximum(ended, began)
    # Of those that began at one moment the longest is the first, whoever's it is.
    order = np.lexsort((-ended, began, key[begin]))
    return Holds(
        acquire[order], key[begin][order].astype(np.int64), began[order], ended[order],
        np.where(same, rows[place] if len(rows) else 0, -1)[order],
    )


class LockChecker:
    """Judges `acquire` (whose value is its fence), `renew`, `release`, `read` of who holds it, and `write` of (value, fence) to
    what the lock guards. `fenced`: what counts is the fence, that two held a lock is only told.

    Two clients that held a lock at one time are `double-hold`; a fence that is not greater than one that was granted before
    is `stale-fence`, and a write that passed though one with a greater fence had been acknowledged `fence-passed`.
    """

    name = "lock"

    def __init__(self, *, fenced: bool = False) -> None:
        self.fenced = fenced
        self.name = "fenced-lock" if fenced else "lock"

    def check(self, recording: Recording) -> Verdict:
        """Raises `UsageError` for any other function."""
        history = recording.history
        check_functions(history, self.name, ("acquire", "renew", "release", "read", "write"))
        found = Findings(recording)
        held = holds(history)
        together, longest = self._together(found, history, held)
        self._fences(found, history)
        refused = self._writes(found, history)
        note = f"Two held a lock together {together:,} times, for {longest / 1e9:.3f} s at most" if together else ""
        if self.fenced:
            note = f"{note or 'No two held a lock together'}; the fence refused {refused:,} write{'s' if refused != 1 else ''}"
        models = {FENCED: ("stale-fence", "fence-passed")} if self.fenced else {
            EXCLUSIVE: ("double-hold",), FENCED: ("stale-fence", "fence-passed"),
        }
        if not self.fenced and not self._has_fences(history):
            models.pop(FENCED)
        return found.verdict(
            self.name, models, keys=keys_of(history), judged=len(held.row),
            things="locks", what="holds", note=note + "." if note else "",
        )

    def _together(self, found: Findings, history: History, held: Holds) -> tuple[int, int]:
        """Tell every hold that began while another client's of the same lock went on; how many, and the longest, in ns."""
        times = longest = 0
        open_row, open_end, open_key = -1, _NONE, -2
        rows, keys = held.row.tolist(), held.key.tolist()
        began, ended = held.began.tolist(), held.ended.tolist()
        process = history.process[held.row].tolist()
        for at in range(len(rows)):
            if keys[at] != open_key:
                open_row, open_end, open_key = -1, _NONE, keys[at]
            if open_row >= 0 and began[at] < open_end and process[at] != process[open_row]:
                times += 1
                span = min(open_end, ended[at]) - began[at]
                longest = max(longest, span)
                if not self.fenced:
                    moment = Moment(began=began[at], seen=began[at] + span)
                    tell = partial(self._double, history, held, open_row, at, span)
                    found.add("double-hold", history[rows[at]].key, moment, tell)
            if ended[at] > open_end:
                open_row, open_end = at, ended[at]
        return times, longest

    def _double(self, history: History, held: Holds, one: int, other: int, span: int) -> Told:
        first, second = history[int(held.row[one])], history[int(held.row[other])]
        sentence = (
            f"client {first.process} at {first.node or 'a client'} and client {second.process} at "
            f"{second.node or 'a client'} held "
            f"lock {second.key} together for {span / 1e9:.3f} s from {clock(int(held.began[other]))}: the first had it since "
            f"{clock(int(held.began[one]))}, and had not given it back."
        )
        by = int(held.ended_by[one])
        if by < 0:
            by = int(np.flatnonzero(history.process == first.process)[-1])
        return sentence, [history[row] for row in (int(held.row[one]), by, int(held.row[other]))]

    def _has_fences(self, history: History) -> bool:
        return bool(_fenced_rows(history).any())

    def _fences(self, found: Findings, history: History) -> None:
        granted = np.flatnonzero(_fenced_rows(history))
        for _, places in grouped(history.key[granted]):
            rows = granted[places]
            fence, completed = history.values.first[rows], history.completed[rows]
            before = latest_before(completed, fence, history.invoked[rows], _NONE)
            stale = fence <= before
            # Of two that were granted at the same time, only equal ones are certainly wrong.
            order = np.lexsort((completed, fence))
            twice = order[1:][fence[order][1:] == fence[order][:-1]]
            stale[twice] = True
            self._stale(found, history, rows, np.flatnonzero(stale))

    def _stale(self, found: Findings, history: History, rows: Ints, stale: Ints) -> None:
        fence, completed = history.values.first[rows], history.completed[rows]

        def tell(place: int) -> Told:
            at = int(stale[place])
            operation = history[int(rows[at])]
            before = (fence >= fence[at]) & (completed < operation.invoked)
            earlier = np.flatnonzero(before | ((fence == fence[at]) & (rows != rows[at])))
            chosen = earlier[np.argmax(fence[earlier])]
            other = history[int(rows[chosen])]
            return (
                f"client {operation.process} was granted lock {operation.key} at {clock(int(completed[at]))} with fence "
                f"{operation.value}, {'after' if before[chosen] else 'as was'} client {other.process} with fence {other.value}."
            ), (other, operation)

        found.add_rows("stale-fence", rows[stale], tell)

    def _writes(self, found: Findings, history: History) -> int:
        """Tell the writes that passed; how many were refused."""
        written = rows_of(history, "write") & (history.values.kind == PAIR) & (history.values.second != NIL)
        passed = np.flatnonzero(written & (history.outcome == OK))
        for _, places in grouped(history.key[passed]):
            rows = passed[places]
            fence, completed = history.values.second[rows], history.completed[rows]
            before = latest_before(completed, fence, history.invoked[rows], _NONE)
            self._passed(found, history, rows, np.flatnonzero(fence < before))
        return int((written & mismatched(history)).sum())

    def _passed(self, found: Findings, history: History, rows: Ints, late: Ints) -> None:
        fence, completed = history.values.second[rows], history.completed[rows]

        def tell(place: int) -> Told:
            at = int(late[place])
            operation = history[int(rows[at])]
            earlier = np.flatnonzero((fence > fence[at]) & (completed < operation.invoked))
            other = history[int(rows[earlier[0]])]
            return (
                f"client {operation.process} at {operation.node or 'a client'} wrote {operation.value[0]} with fence "
                f"{operation.value[1]} at {clock(int(completed[at]))}, though client {other.process} had written "
                f"{other.value[0]} with fence {other.value[1]} by {clock(int(completed[earlier[0]]))}: the fence let it "
                "through."
            ), (other, operation)

        found.add_rows("fence-passed", rows[late], tell)


def _fenced_rows(history: History) -> Flags:
    told: Flags = rows_of(history, "acquire") & (history.outcome == OK) & (history.values.kind == SCALAR)
    told &= history.values.first != NIL
    return told
