"""The search that is used: just-in-time linearization (Lowe, "Testing for linearizability", 2017), depth first.

An operation takes effect only when some return forces it: at each return, in the order of time, the returning operation must
have taken effect, perhaps after others that were pending. A configuration is (return, state, which pending operations took
effect); each is visited once. Pending operations hold a bit each, given back at the return, so that configurations stay
small integers; states are numbers, and the model is asked once per state and call.

What bounds the search, and why it may:

* an `info` operation never returns, so nothing ever forces it; one that could never change the state is left out;
* an `info` operation that would leave the state as it is in this state is not tried: leaving it for later is as good;
* of pending operations that do the same, only the one that returns first is tried (an `info` returns last of all): in
  any linearization the two may change places;
* pure operations take effect as soon as they are legal: they never need to be branched on. Only operations that no state
  can be changed by are pure; one that happens to leave this state alone is not;
* a configuration in which somebody can never find what he read is left (`foresight`).
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Hashable
from typing import Any

from splitbrain.checkers.budget import FOREVER as FOR_EVER
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.search.foresight import foresight, same
from splitbrain.checkers.linearizability.search.needs import Needs
from splitbrain.checkers.linearizability.search.problem import Problem
from splitbrain.checkers.models.specifications import Model

_ILLEGAL, _UNKNOWN, _SEVERAL = -1, -2, -3
FOREVER = 1 << 60

Row = dict[int, int]
"""Where each call leads from one state: the next state's number, or one of the constants above."""


class Machine:
    """A model with its states and calls numbered, and its steps remembered."""

    def __init__(self, model: Model, calls: list[Any]) -> None:
        self.model = model
        self.calls = calls
        self.states: list[Hashable] = [model.initial]
        self.numbers: dict[Hashable, int] = {model.initial: 0}
        self.rows: list[Row] = [{}]
        self.several: dict[tuple[int, int], tuple[int, ...]] = {}

    def compute(self, state: int, call: int) -> int:
        """Ask the model for a step that is `_UNKNOWN` so far, and remember the answer."""
        reached = []
        for new in self.model.step(self.states[state], self.calls[call]):
            number = self.numbers.setdefault(new, len(self.states))
            if number == len(self.states):
                self.states.append(new)
                self.rows.append({})
            reached.append(number)
        answer = reached[0] if len(reached) == 1 else _SEVERAL if reached else _ILLEGAL
        if answer == _SEVERAL:
            self.several[state, call] = tuple(reached)
        self.rows[state][call] = answer
        return answer


class Search:
    """One search, that can be run in slices: `run(steps)` until `valid` is not None. `spent` says why it was given up.

    `call_of[i]` and `rows_of[i]` are the number of the call and the row of operation i, `events` the invocations (`i`) and
    returns (`~i`) in the order of time, `pure[c]` whether call c is pure.
    """

    entries = 0
    """How many pending operations are remembered, over all returns."""

    def __init__(
        self, rows: list[Row], compute: Callable[[int, int], int], several: dict[tuple[int, int], tuple[int, ...]],
        pure: list[bool], call_of: list[int], rows_of: list[int], events: list[int], open_ok: list[int],
        states: list[Any], needs: Needs | None,
    ) -> None:
        self.rows, self.compute, self.several, self.pure = rows, compute, several, pure
        self.states, self.needs = states, needs
        self.call_of, self.rows_of = call_of, rows_of
        self.events = [*events, *(~i for i in open_ok)] if open_ok else events
        self.initial = 0
        self.valid: bool | None = None
        self.spent = ""
        self.steps = 0
        # Built as the search first gets there: the returning operation's bit, call, and what is pending at that moment.
        self._returning: list[tuple[int, int, int]] = []
        self._pures: list[list[tuple[int, int]]] = []
        self._effects: list[list[tuple[int, int, int, bool, int]]] = []
        self._cursor = 0
        self._slots: list[int] = []
        self._used = 0
        self._bits: dict[int, tuple[int, int, int, int, bool]] = {}
        self._active_pure: list[tuple[int, int, int, int, bool]] = []
        self._active: list[tuple[int, int, int, int, bool]] = []
        self._due = {~event: at for at, event in enumerate(self.events) if event < 0}
        # The stack: return, state, mask, trail, next candidate.
        self._stack: list[Any] = []
        self._seen: set[tuple[int, int, int]] = set()
        self._now: tuple[int, int, int, Any, int] = (0, 0, 0, None, 0)
        self._deepest: tuple[int, Any] = (-1, None)

    @property
    def size(self) -> int:
        """How many configurations are remembered."""
        return len(self._seen)

    def _build(self) -> bool:
        """Go on to the next return; False where there is none."""
        events, due, slots = self.events, self._due, self._slots
        at, end = self._cursor, len(events)
        while at < end:
            i = events[at]
            at += 1
            if i >= 0:
                if slots:
                    bit = slots.pop()
                else:
                    bit = 1 << self._used
                    self._used += 1
                back = due.get(i, FOREVER + i)
                call = self.call_of[i]
                entry = (back, bit, call, i, back >= FOREVER)
                self._bits[i] = entry
                insort(self._active_pure if self.pure[call] else self._active, entry)
                continue
            i = ~i
            entry = self._bits.pop(i)
            _, bit, call, _, _ = entry
            self._returning.append((bit, call, i))
            self._pures.append([(e[1], e[2]) for e in self._active_pure])
            effects = []
            twins: dict[int, int] = {}
            for _, b, c, op, free in self._active:
                before = twins.get(c, 0)
                effects.append((b, c, before, free, op))
                twins[c] = before | b
            if self.needs is not None:
                self.needs.enter(at - 1, [*self._active_pure, *self._active])
                effects = self.needs.ordered(i, effects)
            self._effects.append(effects)
            self.entries += len(effects) + len(self._active_pure)
            (self._active_pure if self.pure[call] else self._active).remove(entry)
            slots.append(bit)
            self._cursor = at
            return True
        self._cursor = at
        return False

    def run(self, budget: int) -> bool | None:
        """Search for at most about `budget` steps; the answer, or None where it needs more."""
        if self.valid is not None:
            return self.valid
        rows, compute, several = self.rows, self.compute, self.several
        returning, all_pures, all_effects = self._returning, self._pures, self._effects
        stack, seen = self._stack, self._seen
        states, needs = self.states, self.needs
        e, state, mask, trail, k = self._now
        last = self.steps + budget
        steps = self.steps
        # Returns that are passed are no steps, but take time as well where nobody has been there.
        unlooked = len(returning) + budget
        while True:
            # Pass the returns of operations that have taken effect, and of pure ones that are legal now.
            if k == 0:
                while True:
                    if e == len(returning):
                        if e >= unlooked:
                            self._now = (e, state, mask, trail, 0)
                            self.steps = steps
                            return None
                        if not self._build():
                            self._finish(True, steps, e, trail)
                            return True
                    bit, call, _ = returning[e]
                    if mask & bit:
                        mask ^= bit
                        e += 1
                        continue
                    row = rows[state]
                    if self.pure[call]:
                        t = row.get(call, _UNKNOWN)
                        if (t if t != _UNKNOWN else compute(state, call)) == state:
                            e += 1
                            continue
                    break
                for b, c in all_pures[e]:
                    if not mask & b:
                        t = row.get(c, _UNKNOWN)
                        if (t if t != _UNKNOWN else compute(state, c)) == state:
                            mask |= b
                if e > self._deepest[0]:
                    self._deepest = (e, trail)
            effects = all_effects[e]
            row = rows[state]
            moved = False
            while k < len(effects):
                b, c, twins, free, op = effects[k]
                k += 1
                if mask & b or mask & twins != twins:
                    continue
                t = row.get(c, _UNKNOWN)
                if t < 0:
                    if t == _UNKNOWN:
                        t = compute(state, c)
                    if t == _SEVERAL:
                        for t in several[state, c]:
                            if not (free and t == state):
                                stack.append((e, t, mask | b, (trail, e, op, t), -1))
                        continue
                    if t == _ILLEGAL:
                        continue
                if free and t == state:
                    continue
                after = mask | b
                below = rows[t]
                for pb, pc in all_pures[e]:
                    if not after & pb:
                        u = below.get(pc, _UNKNOWN)
                        if (u if u != _UNKNOWN else compute(t, pc)) == t:
                            after |= pb
                steps += 1
                if needs is not None and needs.doomed(e, states[state], states[t], c, after):
                    continue
                mark = (e, t, after)
                if mark in seen:
                    continue
                seen.add(mark)
                if k < len(effects):
                    stack.append((e, state, mask, trail, k))
                state, mask, trail, k = t, after, (trail, e, op, t), 0
                moved = True
                break
            if not moved:
                if not stack:
                    self._finish(False, steps, e, trail)
                    return False
                e, state, mask, trail, k = stack.pop()
                if k < 0:
                    # One of several answers to an unknown: a configuration that has not been looked at yet.
                    k = 0
                    for pb, pc in all_pures[e]:
                        u = rows[state].get(pc, _UNKNOWN)
                        if (u if u != _UNKNOWN else compute(state, pc)) == state:
                            mask |= pb
                    mark = (e, state, mask)
                    if mark in seen:
                        k = FOREVER
                    seen.add(mark)
            if steps >= last:
                self._now = (e, state, mask, trail, k)
                self.steps = steps
                return None

    def _finish(self, valid: bool, steps: int, e: int, trail: Any) -> None:
        self.valid = valid
        self.steps = steps
        self._seen = set()
        self._stack = []
        if valid:
            self._deepest = (e, trail)

    def give_up(self, why: str) -> None:
        """Forget what is remembered: there will be no answer, for this reason."""
        self.spent = why
        self._seen = set()
        self._stack = []

    def decision(self, limit: str = "", trace: bool = True) -> Decision:
        """What is known so far, with the (longest partial) linearization where `trace` is set; `limit` says why there is no
        answer yet, and then `linearized` is what had returned, in that order, where the search came furthest."""
        if self.valid is None:
            passed = self._returned()
            return Decision(
                method="search", valid=None, limit=limit, linearized=passed[:-1], stuck=passed[-1] if passed else None,
                steps=self.steps,
            )
        if not trace:
            return Decision(method="search", valid=self.valid, limit=limit if self.valid is None else "", steps=self.steps)
        order, stuck = self._order()
        rows = tuple(self.rows_of[i] for i in order)
        return Decision(
            method="search", valid=self.valid, limit=limit if self.valid is None else "", linearized=rows, steps=self.steps,
            stuck=self.rows_of[stuck] if stuck is not None and self.valid is not True else None,
        )

    def _returned(self) -> tuple[int, ...]:
        """The rows of what had returned at the furthest place that was reached, and last the one that could not be passed yet.
        Unlike `_order` it takes no more time than there are such."""
        upto = self._deepest[0] + 1
        return tuple(self.rows_of[i] for _, _, i in self._returning[:upto])

    def _order(self) -> tuple[list[int], int | None]:
        """The operations in the order of the deepest trail, pure ones put where they first become legal."""
        reached, trail = self._deepest
        moves = []
        while trail is not None:
            trail, e, op, state = trail
            moves.append((e, op, state))
        moves.reverse()
        order: list[int] = []
        done: set[int] = set()
        pending: list[int] = []
        state, at, e = self.initial, 0, 0

        def settle() -> None:
            for i in pending:
                call = self.call_of[i]
                if i not in done and self.pure[call]:
                    t = self.rows[state].get(call, _UNKNOWN)
                    if (t if t != _UNKNOWN else self.compute(state, call)) == state:
                        done.add(i)
                        order.append(i)

        for event in self.events:
            if event >= 0:
                pending.append(event)
                continue
            i = ~event
            while at < len(moves) and moves[at][0] == e:
                settle()
                _, op, state = moves[at]
                done.add(op)
                order.append(op)
                at += 1
            if e >= reached and i not in done:
                settle()
                if i not in done:
                    return order, i
            settle()
            pending.remove(i)
            done.discard(i)
            e += 1
        return order, None


def from_problem(problem: Problem, budget: Budget = FOR_EVER) -> Search:
    """The search for an encoded problem of any model. Pure `info` operations are left out: nothing can tell them. Raises
    `Exhausted`."""
    numbers: dict[Any, int] = {}
    call_of = [numbers.setdefault(same(problem.model, call), len(numbers)) for call in problem.calls]
    budget.check()
    calls = list(numbers)
    pure = [problem.pure(call) for call in calls]
    dropped = [pure[c] and problem.info(i) for i, c in enumerate(call_of)]
    events = [event for event in problem.events if event < 0 or not dropped[event]]
    model, needs = foresight(problem.model, calls, call_of, [*events, *(~i for i in problem.open_ok)], budget)
    machine = Machine(model, calls)
    return Search(
        machine.rows, machine.compute, machine.several, pure, call_of, problem.rows, events, problem.open_ok,
        machine.states, needs,
    )
