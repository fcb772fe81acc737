"""The just-in-time search for registers of integers: the same search, without asking the model.

Whether a call is legal in a state is one comparison here, and an operation is looked at only when the search first gets to
its invocation, so that a short history that breaks early costs no more than its beginning. The operation that returns is
tried before all others that are pending; these are listed only where it does not lead to the end.
"""

from __future__ import annotations

from bisect import insort
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from splitbrain.checkers.linearizability.search.jit import Search
from splitbrain.checkers.models.specifications import CasRegister, Register
from splitbrain.harness.history.history import FAIL, INFO, NEVER, OK, History
from splitbrain.harness.history.operation import MISMATCH
from splitbrain.harness.history.values import MISSING, NIL, PAIR

_READ, _WRITE, _CAS = 0, 1, 2
_CODES = {"read": _READ, "write": _WRITE, "cas": _CAS}

_EFFECT, _SAME, _OTHER = 0, 1, 2
"""Kinds: an operation that may change the state, a pure one that wants this state, a pure one that wants any but this."""
_ANY = 1 << 64
"""What an effect wants that is legal in every state; no state is that number."""
_NONE = _ANY + 1
"""A state that there never is."""

_Entry = tuple[int, int, int, int, int, int]
"""A pending operation: when it returns, its row, bit and kind, the state that it wants and the one that it leads to."""
_Return = tuple[tuple[tuple[int, int, int], ...], list[_Entry], int]
"""What is pending when an operation returns: the pure ones (bit, kind, wanted state); those that return, the next to return
first, which is the operation itself; and how many that do not."""
_Move = tuple[int, int, int]
"""What may take effect now: its bit, row, and the state that it leads to."""

_FIRST, _RETURNING, _ALL = 0, 1, 2
"""Which moves of a frame have been listed: that of the returning operation, of those that return, of all that are pending."""


class RegisterSearch(Search):
    """As `Search`. States are values as columns keep them."""

    def __init__(self, history: History, model: Register) -> None:
        self._history = history
        self._wild = model.nil == "wildcard"
        initial: Any = model.initial
        self.initial = NIL if initial is None else initial
        self.valid = None
        self.spent = ""
        self.steps = 0
        self._open: list[_Entry] = []
        """What may have happened and does not return, in the order of invocation."""
        self._upcoming = self._returns()
        self._passed: list[_Return] = []
        # By frame: return, state, mask, trail, which moves were listed, and those of them that are left.
        self._stack = []
        self._seen = set()
        self._at: tuple[int, int, int, Any] = (0, self.initial, 0, None)
        self._deepest = (-1, None)

    def _returns(self) -> Iterator[_Return]:
        """The returns in the order of time, one row of the history after the other."""
        history, values = self._history, self._history.values
        starts, ends = history.invoked.tolist(), history.completed.tolist()
        starts.append(NEVER)
        codes = [_CODES[f] for f in history.fs]
        functions, outcomes, told = history.f.tolist(), history.outcome.tobytes(), values.kind.tobytes()
        firsts, seconds = values.first.tolist(), values.second.tolist()
        refusals = set()
        if MISMATCH in history.errors:
            refusals = set(np.flatnonzero(history.error == history.errors.index(MISMATCH)).tolist())
        wild = self._wild
        active: list[_Entry] = []
        open_infos = self._open
        pures: dict[int, tuple[int, int, int]] = {}
        slots: list[int] = []
        used = 0
        due = NEVER
        for row, start in enumerate(starts):
            while due < start:
                yield tuple(pures.values()) if pures else (), active[:], len(open_infos)
                _, who, bit, kind, _, _ = active.pop(0)
                slots.append(bit)
                if kind:
                    del pures[who]
                due = active[0][0] if active else NEVER
            if start == NEVER:
                return
            outcome, function, want, kind, give = outcomes[row], codes[functions[row]], firsts[row], _EFFECT, _NONE
            if function == _READ:
                if outcome != OK or told[row] == MISSING or (wild and want == NIL):
                    continue
                kind = _SAME
            elif outcome == FAIL:
                if function != _CAS or row not in refusals:
                    continue
                kind, want = self._refusal(row, want)
            elif function == _WRITE:
                want, give = _ANY, want
            else:
                give = seconds[row]
                if want == give:
                    if outcome == INFO:
                        continue
                    kind = _SAME
            if slots:
                bit = slots.pop()
            else:
                bit = 1 << used
                used += 1
            if kind:
                pures[row] = (bit, kind, want)
            # What was answered at an unknown time returns last, what may never have happened does not return.
            if outcome == INFO:
                open_infos.append((NEVER, row, bit, kind, want, give))
            else:
                end = min(ends[row], NEVER - 1)
                insort(active, (end, row, bit, kind, want, give))
                if end < due:
                    due = end

    def _refusal(self, row: int, expected: int) -> tuple[int, int]:
        """What a refused cas wants: that another value was there, and the one that was seen."""
        if row not in self._history.seen:
            return _OTHER, expected
        value = self._history.seen[row][0]
        seen = NIL if value is None else value
        return _SAME, seen if seen != expected else _NONE

    def _moves(self, e: int, listed: int, state: int, mask: int) -> list[_Move]:
        """The operations behind those `listed` that may take effect in this state, the first to be tried last.

        Of those that do the same only the one that returns first. It is none that does what the returning one does: if that
        could take effect, it was tried.
        """
        _, pending, infos = self._passed[e]
        _, _, _, _, want, give = pending[0]
        kinds = {(want, give)}
        moves: list[_Move] = []
        for _, row, bit, kind, want, give in pending:
            if kind or mask & bit or (want != state and want != _ANY) or (want, give) in kinds:
                continue
            kinds.add((want, give))
            moves.append((bit, row, give))
        if listed == _FIRST:
            moves.reverse()
            return moves
        moves = []
        for _, row, bit, _, want, give in self._open[:infos]:
            if mask & bit or give == state or (want != state and want != _ANY) or (want, give) in kinds:
                continue
            kinds.add((want, give))
            moves.append((bit, row, give))
        moves.reverse()
        return moves

    def run(self, budget: int) -> bool | None:
        """Search for at most about `budget` steps; the answer, or None where it needs more."""
        if self.valid is not None:
            return self.valid
        upcoming, passed, frames, seen = self._upcoming, self._passed, self._stack, self._seen
        e, state, mask, trail = self._at
        steps = self.steps
        last = steps + budget
        deepest = self._deepest[0]
        while True:
            # Pass the returns of operations that have taken effect, and of pure ones that are legal now.
            while True:
                if e == len(passed):
                    following = next(upcoming, None)
                    if following is None:
                        self._finish(True, steps, e, trail)
                        return True
                    passed.append(following)
                pures, pending, _ = passed[e]
                _, row, bit, kind, want, give = pending[0]
                if mask & bit:
                    mask ^= bit
                elif not kind or (want == state) is (kind == _OTHER):
                    break
                e += 1
            for pure_bit, pure_kind, pure_want in pures:
                if (pure_want == state) is (pure_kind == _SAME):
                    mask |= pure_bit
            steps += 1
            mark = (e, state, mask)
            moved = False
            if mark not in seen:
                seen.add(mark)
                if e > deepest:
                    deepest = e
                    self._deepest = (e, trail)
                if not kind and want in (state, _ANY):
                    frames.append((e, state, mask, trail, _FIRST, []))
                    trail = (trail, e, row, give)
                    state = give
                    e += 1
                    moved = True
                else:
                    frames.append((e, state, mask, trail, _RETURNING, self._moves(e, _FIRST, state, mask)))
            while not moved:
                if not frames:
                    self._finish(False, steps, e, trail)
                    return False
                e, state, mask, trail, listed, moves = frames.pop()
                while not moves and listed < _ALL:
                    moves = self._moves(e, listed, state, mask)
                    listed += 1
                if moves:
                    bit, row, give = moves.pop()
                    if moves or listed < _ALL:
                        frames.append((e, state, mask, trail, listed, moves))
                    mask |= bit
                    trail = (trail, e, row, give)
                    state = give
                    moved = True
            if steps >= last:
                self._at = (e, state, mask, trail)
                self.steps = steps
                return None

    def _lineup(self) -> None:
        """Put this search into the terms of `Search`, for the order of its deepest trail."""
        self._passed += self._upcoming
        entries = {entry[1]: entry for _, pending, _ in self._passed for entry in pending}
        entries |= {entry[1]: entry for entry in self._open}
        moments = [(int(self._history.invoked[row]), False, row) for row in entries]
        moments += [(end, True, row) for row, (end, *_) in entries.items() if end != NEVER]
        self.events = [~row if back else row for _, back, row in sorted(moments)]
        self.rows_of = self.call_of = list(range(len(self._history)))
        self.pure = [row in entries and entries[row][3] != _EFFECT for row in self.rows_of]
        self.rows = defaultdict(dict)  # type: ignore[assignment]

        def compute(state: int, row: int) -> int:
            _, _, _, kind, want, give = entries[row]
            if kind:
                return state if (want == state) is (kind == _SAME) else _NONE
            return give if want in (state, _ANY) else _NONE

        self.compute = compute

    def _returned(self) -> tuple[int, ...]:
        return tuple(pending[0][1] for _, pending, _ in self._passed[:self._deepest[0] + 1])

    def _order(self) -> tuple[list[int], int | None]:
        self._lineup()
        return super()._order()


def usable(history: History, model: Register) -> bool:
    """Whether all values are integers or nil, all functions known and every cas has a pair: else the model must be asked."""
    initial = model.initial
    if history.values.objects or not (initial is None or (type(initial) is int and NIL < initial < -NIL)):
        return False
    if not all(f in model.functions for f in history.fs):
        return False
    if any(seen and not (seen[0] is None or type(seen[0]) is int) for seen in history.seen.values()):
        return False
    cas = history.fs.index("cas") if isinstance(model, CasRegister) and "cas" in history.fs else -1
    kind = history.values.kind
    return bool(((kind == PAIR) == (history.f == cas)).all())
