"""The just-in-time search for registers of integers: the same order of search, without asking the model.

Whether a call is legal in a state is one comparison here, states are numbers of values, and an operation is looked at only
when the search first gets to its invocation, so that a short history that breaks early costs no more than its beginning.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from typing import Any

import numpy as np

from checkers.linearizability.jit import Search
from checkers.models import CasRegister, Register
from harness.history.history import INFO, NEVER, OK, History
from harness.history.operation import MISMATCH
from harness.history.values import MISSING, NIL, PAIR

_READ, _WRITE, _CAS = 0, 1, 2
_CODES = {"read": _READ, "write": _WRITE, "cas": _CAS}
_ANY = -1
_NEVER_LEGAL = 1 << 60


class RegisterSearch(Search):
    """As `Search`. What an operation wants of the state is a number: the state itself, `_ANY`, or -2 - s for all but s."""

    def __init__(self, history: History, model: Register) -> None:
        n = len(history)
        returns = np.where(history.outcome == INFO, NEVER, history.completed)
        order = np.argsort(np.concatenate([history.invoked, returns]), kind="stable")
        place = np.empty(2 * n, np.int64)
        place[order] = np.arange(2 * n)
        self._order_of = order.tolist()
        self._place = place[n:].tolist()
        self._n = n
        codes = [_CODES[f] for f in history.fs]
        self._f = [codes[code] for code in history.f.tolist()]
        self._outcome = history.outcome.tolist()
        self._error = history.error.tolist()
        self._mismatch = history.errors.index(MISMATCH) if MISMATCH in history.errors else -2
        values = history.values
        self._kind, self._first, self._second = values.kind.tolist(), values.first.tolist(), values.second.tolist()
        self._seen_values = history.seen
        self._wild = model.nil == "wildcard"
        initial: Any = model.initial
        self._states: dict[int, int] = {NIL if initial is None else initial: 0}

        self.valid = None
        self.spent = ""
        self.steps = 0
        self._cursor = 0
        self._slots: list[int] = []
        self._used = 0
        self._want: dict[int, int] = {}
        self._gives: dict[int, int] = {}
        self._bit: dict[int, int] = {}
        self._active_pures: dict[int, tuple[int, int]] = {}
        self._active_effects: list[tuple[int, int, int, int, bool, int]] = []
        # By return: its bit, what it wants if it is pure (else None), the pending pure ones, the pending others.
        self._bits_back: list[int] = []
        self._wants_back: list[int | None] = []
        self._pending_pures: list[tuple[tuple[int, int], ...]] = []
        self._pending: list[list[tuple[int, int, int, int, bool, int]]] = []
        self._stack = []
        self._seen = set()
        self._now = (0, 0, 0, None, 0)
        self._deepest = (-1, None)

    def _state(self, value: int) -> int:
        return self._states.setdefault(value, len(self._states))

    def _look(self, i: int) -> bool:
        """Work out what operation i wants and gives; False where it says nothing, or certainly did not happen."""
        f, outcome, states = self._f[i], self._outcome[i], self._states
        first = self._first[i]
        if f == _READ:
            if outcome != OK or self._kind[i] == MISSING or (first == NIL and self._wild):
                return False
            self._want[i] = states.setdefault(first, len(states))
            return True
        if f == _WRITE:
            if outcome != OK and outcome != INFO:
                return False
            self._want[i] = _ANY
            self._gives[i] = states.setdefault(first, len(states))
            return True
        if outcome in (OK, INFO):
            self._want[i] = states.setdefault(first, len(states))
            if first != self._second[i]:
                self._gives[i] = states.setdefault(self._second[i], len(states))
            elif outcome == INFO:
                return False
            return True
        if self._error[i] != self._mismatch:
            return False
        if i in self._seen_values:
            seen = self._seen_values[i][0]
            value = NIL if seen is None else seen
            self._want[i] = self._state(value) if value != first else _NEVER_LEGAL
        else:
            self._want[i] = -2 - self._state(first)
        return True

    def _build(self) -> bool:
        events, n, slots = self._order_of, self._n, self._slots
        active, pures = self._active_effects, self._active_pures
        at, end = self._cursor, 2 * n
        while at < end:
            i = events[at]
            at += 1
            if i < n:
                if not self._look(i):
                    continue
                if slots:
                    bit = slots.pop()
                else:
                    bit = 1 << self._used
                    self._used += 1
                self._bit[i] = bit
                gives = self._gives.get(i)
                if gives is None:
                    pures[i] = (bit, self._want[i])
                else:
                    insort(active, (self._place[i], bit, self._want[i], gives, self._outcome[i] == INFO, i))
                continue
            i -= n
            if self._outcome[i] == INFO or i not in self._bit:
                continue
            bit = self._bit[i]
            self._bits_back.append(bit)
            if i in pures:
                del pures[i]
                self._wants_back.append(self._want[i])
            else:
                self._wants_back.append(None)
            self._pending_pures.append(tuple(pures.values()))
            pending = []
            twins: dict[int, int] = {}
            for _, b, want, gives, free, op in active:
                kind = want << 32 | gives
                before = twins.get(kind, 0)
                pending.append((b, want, gives, before, free, op))
                twins[kind] = before | b
            self._pending.append(pending)
            if self._wants_back[-1] is None:
                # It returns first of all that are pending.
                del active[0]
            slots.append(bit)
            self._cursor = at
            return True
        self._cursor = at
        return False

    def run(self, budget: int) -> bool | None:
        """Search for at most about `budget` steps; the answer, or None where it needs more."""
        if self.valid is not None:
            return self.valid
        bits_back, wants_back = self._bits_back, self._wants_back
        all_pures, all_pending = self._pending_pures, self._pending
        stack, seen = self._stack, self._seen
        e, state, mask, trail, k = self._now
        steps = self.steps
        last = steps + budget
        while True:
            if k == 0:
                while True:
                    if e == len(bits_back) and not self._build():
                        self._finish(True, steps, e, trail)
                        return True
                    bit = bits_back[e]
                    if mask & bit:
                        mask ^= bit
                        e += 1
                        continue
                    want = wants_back[e]
                    if want is not None and (want == state or (want < 0 and -2 - want != state)):
                        e += 1
                        continue
                    break
                for b, want in all_pures[e]:
                    if not mask & b and (want == state or (want < 0 and -2 - want != state)):
                        mask |= b
                if e > self._deepest[0]:
                    self._deepest = (e, trail)
            pending = all_pending[e]
            own = wants_back[e]
            bit = bits_back[e]
            moved = False
            while k < len(pending):
                b, want, t, twins, free, op = pending[k]
                k += 1
                if mask & b or mask & twins != twins or (want != state and want != _ANY) or (free and t == state):
                    continue
                after = mask | b
                for pb, want in all_pures[e]:
                    if not after & pb and (want == t or (want < 0 and -2 - want != t)):
                        after |= pb
                if own is not None and (own == t or (own < 0 and -2 - own != t)):
                    after |= bit
                steps += 1
                mark = (e, t, after)
                if mark in seen:
                    continue
                seen.add(mark)
                if k < len(pending):
                    stack.append((e, state, mask, trail, k))
                state, mask, trail, k = t, after, (trail, e, op, t), 0
                moved = True
                break
            if not moved:
                if not stack:
                    self._finish(False, steps, e, trail)
                    return False
                e, state, mask, trail, k = stack.pop()
            if steps >= last:
                self._now = (e, state, mask, trail, k)
                self.steps = steps
                return None

    def _lineup(self) -> None:
        """Put this search into the terms of `Search`, for the order of its deepest trail."""
        n = self._n
        while self._build():
            pass
        self.rows_of = list(range(n))
        self.call_of = list(range(n))
        self.pure = [i not in self._gives for i in range(n)]
        self.rows = defaultdict(dict)  # type: ignore[assignment]
        self.events = [
            i if i < n else ~(i - n) for i in self._order_of
            if (i if i < n else i - n) in self._bit and (i < n or self._outcome[i - n] != INFO)
        ]

        def compute(state: int, i: int) -> int:
            want = self._want[i]
            return self._gives.get(i, state) if want == state or (want < 0 and -2 - want != state) else -1

        self.compute = compute

    def _order(self) -> tuple[list[int], int | None]:
        self._lineup()
        return super()._order()


def usable(history: History, model: Register) -> bool:
    """Whether all values are integers or nil, all functions known and every cas has a pair: else the model must be asked."""
    if history.values.objects or not (model.initial is None or type(model.initial) is int):
        return False
    if not all(f in model.functions for f in history.fs):
        return False
    if any(seen and not (seen[0] is None or type(seen[0]) is int) for seen in history.seen.values()):
        return False
    cas = history.fs.index("cas") if isinstance(model, CasRegister) and "cas" in history.fs else -1
    kind = history.values.kind
    return bool(((kind == PAIR) == (history.f == cas)).all())
