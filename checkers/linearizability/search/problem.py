"""Problem: the history of one object, encoded for a search: calls as values, times as positions in one order of events."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.models.specifications import Call, Model, PriorityQueue, Queue, Stack, UnorderedQueue, check_functions
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH, Key
from splitbrain.harness.history.values import canonical


@dataclass
class Problem:
    """What a search needs to know of one object.

    Operations are numbered from 0 in the order of their invocation; those that certainly did not happen are left out.
    `calls[i]` is what operation i did and `rows[i]` its row in the history. `events` are all invocations (`i`) and returns
    (`~i`) in the order of time, an invocation before a return at the same moment, for intervals are closed. Operations
    that never return (`info`, and `ok` without a time) have no return event; `open_ok` holds the second kind, which must
    take effect all the same.
    """

    model: Model
    calls: list[Call]
    rows: list[int]
    events: list[int]
    open_ok: list[int]

    def pure(self, call: Call) -> bool:
        """Whether `call` changes nothing, whatever the state. To take None may be to take an element, if one was put
        in that is None."""
        return self.model.pure(call) and not (self.holds_none and call.f == self.model.functions[1] and call.value is None)

    @cached_property
    def holds_none(self) -> bool:
        """Whether None is an element of a container: something with it was put in."""
        model = self.model
        container = isinstance(model, (Queue, UnorderedQueue, Stack, PriorityQueue))
        return container and any(call.value is None for call in self.calls if call.f == model.functions[0])

    def info(self, i: int) -> bool:
        """Whether operation i may also never have happened."""
        return self.calls[i].outcome == "info"


def encode(history: History, model: Model, budget: Budget = FOREVER) -> Problem:
    """The problem of whether `history`, all of it calls to one object, is linearizable.

    Failed operations are left out, but for a `cas` refused with `mismatch`, which says that another value was there.
    Raises `UsageError` where the model does not know a function, or cannot use a value, and `Exhausted` where the budget
    does not suffice.
    """
    outcome = history.outcome
    kept = outcome != FAIL
    mismatch = history.errors.index(MISMATCH) if MISMATCH in history.errors else -2
    refused = (outcome == FAIL) & (history.error == mismatch)
    if "cas" in model.functions and refused.any():
        kept |= refused & (history.f == history.fs.index("cas"))
    rows = np.flatnonzero(kept)
    present = history.f[rows]
    check_functions(model, (history.fs[code] for code in np.unique(present).tolist()))

    never = (outcome[rows] == INFO) | (history.completed[rows] == NEVER)
    returning = np.flatnonzero(~never)
    times = np.concatenate([history.invoked[rows], history.completed[rows][returning]])
    marks = np.concatenate([np.arange(len(rows)), ~returning])
    events = marks[np.argsort(times, kind="stable")].tolist()
    open_ok = np.flatnonzero(never & (outcome[rows] == OK)).tolist()

    at = rows.tolist()
    fs = [history.fs[code] for code in present.tolist()]
    outcomes = outcome[rows].tolist()
    processes = history.process[rows].tolist() if model.per_process else [None] * len(at)
    keys: list[Key] = [None] * len(at)
    if not model.per_key:
        keys = [None if code < 0 else history.keys[code] for code in history.key[rows].tolist()]
    calls: list[Call] = []
    checked: set[Call] = set()
    values, seen = history.values, history.seen
    for row, f, how, process, key in zip(at, fs, outcomes, processes, keys, strict=True):
        if not len(calls) & 1023:
            budget.check()
        value = canonical(values[row])
        if how == OK:
            call = Call(f, value, "ok", (), process, key)
        elif how == INFO:
            call = Call(f, value, "info", (), process, key)
        else:
            call = Call(f, value, "refused", tuple(canonical(v) for v in seen.get(row, ())), process, key)
        if call not in checked:
            checked.add(call)
            if complaint := model.complaint(call):
                raise UsageError(f"operation {int(history.index[row])}, {f} {values[row]!r}: {complaint}")
        calls.append(call)
    return Problem(model, calls, at, events, open_ok)
