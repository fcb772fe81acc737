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
from harness.history.history import FAIL, INFO, NEVER, OK, History
from harness.history.operation import MISMATCH
from harness.history.values import MISSING, NIL, PAIR

_READ, _WRITE, _CAS = 0, 1, 2
_CODES = {"read": _READ, "write": _WRITE, "cas": _CAS}
_ANY = -1
_NEVER_LEGAL = 1 << 60
_BATCH = 16
"""Returns that are looked at together."""


class RegisterSearch(Search):
    """As `Search`. What an operation wants of the state is a number: the state itself, `_ANY`, or -2 - s for all but s."""

    def __init__(self, history: History, model: Register) -> None:
        n = len(history)
        self._outcome = outcome = history.outcome.tolist()
        returns = history.completed
        if INFO in outcome:
            returns = np.where(history.outcome == INFO, NEVER, returns)
        self._order_of = np.concatenate([history.invoked, returns]).argsort(kind="stable").tolist()
        self._returns = returns.tolist()
        self._n = n
        codes = [_CODES[f] for f in history.fs]
        self._f = [codes[code] for code in history.f.tolist()]
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
        self._bit, self._want, self._gives = [0] * n, [0] * n, [-1] * n
        self._active_pures: dict[int, tuple[int, int]] = {}
        self._active_effects: list[tuple[int, int, int, int, int, bool]] = []
        # By return: its bit, what it wants if it is pure (else None), the pending pure ones, the pending others.
        self._bits_back: list[int] = []
        self._wants_back: list[int | None] = []
        self._pending_pures: list[tuple[tuple[int, int], ...]] = []
        self._pending: list[list[tuple[int, int, int, int, int, bool]]] = []
        self._ready: dict[int, list[Any]] = {}
        self._stack = []
        self._seen = set()
        self._now = (0, 0, 0, None, 0)
        self._deepest = (-1, None)

    def _refusal(self, i: int) -> int:
        """What a refused cas wants: that another value was there, and the one that was seen."""
        expected = self._first[i]
        if i not in self._seen_values:
            return -2 - self._states.setdefault(expected, len(self._states))
        seen = self._seen_values[i][0]
        value = NIL if seen is None else seen
        return self._states.setdefault(value, len(self._states)) if value != expected else _NEVER_LEGAL

    def _build(self) -> bool:
        """Go on to the next few returns; False where there are none."""
        events, n, slots, returns = self._order_of, self._n, self._slots, self._returns
        active, pures, bits, wants, gives = self._active_effects, self._active_pures, self._bit, self._want, self._gives
        fs, outcomes, firsts, states = self._f, self._outcome, self._first, self._states
        bits_back, wants_back, pending_pures, pending = self._bits_back, self._wants_back, self._pending_pures, self._pending
        kinds, wild = self._kind, self._wild
        built = len(bits_back)
        enough = built + _BATCH
        at, end = self._cursor, 2 * n
        while at < end and built < enough:
            i = events[at]
            at += 1
            if i < n:
                outcome, f, first, give = outcomes[i], fs[i], firsts[i], -1
                if f == _READ:
                    if outcome != OK or kinds[i] == MISSING or (wild and first == NIL):
                        continue
                    want = states.setdefault(first, len(states))
                elif outcome == FAIL:
                    if f == _WRITE or self._error[i] != self._mismatch:
                        continue
                    want = self._refusal(i)
                elif f == _WRITE:
                    want, give = _ANY, states.setdefault(first, len(states))
                else:
                    want = states.setdefault(first, len(states))
                    second = self._second[i]
                    if first != second:
                        give = states.setdefault(second, len(states))
                    elif outcome == INFO:
                        continue
                if slots:
                    bit = slots.pop()
                else:
                    bit = 1 << self._used
                    self._used += 1
                bits[i] = bit
                wants[i] = want
                if give < 0:
                    pures[i] = (bit, want)
                else:
                    gives[i] = give
                    insort(active, (returns[i], i, bit, want, give, outcome == INFO))
                continue
            i -= n
            bit = bits[i]
            if not bit or outcomes[i] == INFO:
                continue
            bits_back.append(bit)
            pending_pures.append(tuple(pures.values()) if pures else ())
            pending.append(active[:])
            if gives[i] < 0:
                del pures[i]
                wants_back.append(wants[i])
            else:
                # It returns first of all that are pending.
                del active[0]
                wants_back.append(None)
            slots.append(bit)
            built += 1
        self._cursor = at
        return built > enough - _BATCH

    def _candidates(self, e: int) -> list[Any]:
        """The pending operations that are not pure, each with the bits of those that do the same and return before it."""
        twins: dict[int, int] = {}
        candidates = self._ready[e] = []
        for _, op, bit, want, gives, free in self._pending[e]:
            kind = want << 32 | gives
            before = twins.get(kind, 0)
            candidates.append((bit, want, gives, before, free, op))
            twins[kind] = before | bit
        return candidates

    def run(self, budget: int) -> bool | None:
        """Search for at most about `budget` steps; the answer, or None where it needs more."""
        if self.valid is not None:
            return self.valid
        bits_back, wants_back = self._bits_back, self._wants_back
        all_pures, ready = self._pending_pures, self._ready
        stack, seen = self._stack, self._seen
        e, state, mask, trail, k = self._now
        steps = self.steps
        last = steps + budget
        deepest = self._deepest[0]
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
                if e > deepest:
                    deepest = e
                    self._deepest = (e, trail)
            pending = ready.get(e) or self._candidates(e)
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
        self.pure = [give < 0 for give in self._gives]
        self.rows = defaultdict(dict)  # type: ignore[assignment]
        self.events = [
            i if i < n else ~(i - n) for i in self._order_of
            if self._bit[i if i < n else i - n] and (i < n or self._outcome[i - n] != INFO)
        ]

        def compute(state: int, i: int) -> int:
            want = self._want[i]
            if want != state and (want >= 0 or -2 - want == state):
                return -1
            return state if self._gives[i] < 0 else self._gives[i]

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
