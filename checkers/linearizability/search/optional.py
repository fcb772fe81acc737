"""Which operations a refutation needs: a search in which all but some operations may also not have happened.

A part of a history proves something about the whole only if it is refuted *whatever the others did*. So an operation that is
not required may take effect within its interval or not at all. The more is required, the more is refuted; hence, what is
left after leaving out one operation after the other is minimal: no operation of it can be left out.

The search is just-in-time linearization, as in `jit`. At the return of an optional operation it goes on without it, or with
it as the last of some that take effect then; before, an optional operation takes effect only for the sake of another.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from splitbrain.checkers.budget import FOREVER, Budget
from splitbrain.checkers.linearizability.search.problem import Problem
from splitbrain.checkers.models.specifications import Call, Model, State

STATES = 128
PAIRS = 20_000
"""All states that there can be are found up to so many, and so many pairs of a state and a call."""

_NEVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Window:
    """What is looked at: `events` of a problem in the order of time, beginning in one of the states numbered `starts`.

    Operations in `free` are never required, for what they did may have been before the window; nor are those that do not
    return in it.
    """

    events: list[int]
    starts: tuple[int, ...]
    free: frozenset[int]


class Trials:
    """The searches of one problem; states and calls are numbered once."""

    def __init__(self, problem: Problem, budget: Budget = FOREVER) -> None:
        self.problem = problem
        self.budget = budget
        self.model: Model = problem.model
        numbers: dict[Call, int] = {}
        self.call_of = [numbers.setdefault(call, len(numbers)) for call in problem.calls]
        self.calls: list[Call] = list(numbers)
        self.pure = [problem.pure(call) for call in self.calls]
        self.states: list[State] = [self.model.initial]
        self._numbers: dict[State, int] = {self.model.initial: 0}
        self._steps: dict[tuple[int, int], tuple[int, ...]] = {}
        self.stuck: int | None = None
        """The operation that the last refuted trial got to and no further."""

    def _step(self, state: int, call: int) -> tuple[int, ...]:
        known = self._steps.get((state, call))
        if known is None:
            reached = []
            for new in self.model.step(self.states[state], self.calls[call]):
                number = self._numbers.setdefault(new, len(self.states))
                if number == len(self.states):
                    self.states.append(new)
                reached.append(number)
            known = self._steps[state, call] = tuple(reached)
        return known

    def whole(self) -> Window:
        """All of the problem, from the initial state."""
        return Window([*self.problem.events, *(~i for i in self.problem.open_ok)], (0,), frozenset())

    def until(self, last: int) -> Window:
        """From the beginning to the return of operation `last`."""
        events = self.whole().events
        return Window(events[:events.index(~last) + 1], (0,), frozenset())

    def all_states(self) -> tuple[int, ...] | None:
        """Every state that the calls of the problem can lead to, in whatever order; None where they are many."""
        at = 0
        while at < len(self.states):
            if len(self.states) > STATES or len(self.states) * len(self.calls) > PAIRS:
                return None
            for call in range(len(self.calls)):
                self._step(at, call)
            at += 1
        return tuple(range(len(self.states)))

    def since(self, at: int, window: Window, starts: tuple[int, ...]) -> Window:
        """The window from its event `at` on, with what was pending then, in any of the states `starts`."""
        events = window.events
        returned = {~event for event in events[:at] if event < 0}
        pending = [event for event in events[:at] if event >= 0 and event not in returned]
        return Window([*pending, *events[at:]], starts, frozenset(pending))

    def refuted(self, required: Collection[int], window: Window, steps: int) -> bool | None:
        """Whether no choice of the operations that are not `required` makes those that are linearizable; None where `steps`
        steps do not tell. Raises `Exhausted`."""
        events, starts, free = window.events, window.starts, window.free
        pure, call_of = self.pure, self.call_of
        needed = set(required) - free
        due = {~event: at for at, event in enumerate(events) if event < 0}
        # By return: its bit, operation, whether it is required; what is pending: pure ones, and (bit, call, twins, ever, op).
        returns: list[tuple[int, int, bool, list[tuple[int, int]], list[tuple[int, int, int, bool]]]] = []
        active: list[tuple[int, int, int, int, bool]] = []
        actives_pure: dict[int, tuple[int, int]] = {}
        bits: dict[int, int] = {}
        slots: list[int] = []
        used = 0
        for at, event in enumerate(events):
            if at & 4095 == 4095:
                self.budget.check()
            if event >= 0:
                call = call_of[event]
                must = event in needed and event in due
                if pure[call] and not must:
                    continue
                if slots:
                    bit = slots.pop()
                else:
                    bit = 1 << used
                    used += 1
                bits[event] = bit
                if pure[call]:
                    actives_pure[event] = (bit, call)
                else:
                    insort(active, (due.get(event, _NEVER), event, bit, call, must))
                continue
            i = ~event
            if i not in bits:
                continue
            bit, call = bits.pop(i), call_of[i]
            must = i in needed
            effects = []
            twins: dict[tuple[int, bool], int] = {}
            for _, _, b, c, forced in active:
                before = twins.get((c, forced), 0)
                effects.append((b, c, before, forced))
                twins[c, forced] = before | b
            returns.append((bit, i, must, list(actives_pure.values()), effects))
            if pure[call]:
                del actives_pure[i]
            else:
                active.remove((due[i], i, bit, call, must))
            slots.append(bit)
        return self._search(returns, starts, steps)

    def _search(
        self, returns: list[tuple[int, int, bool, list[tuple[int, int]], list[tuple[int, int, int, bool]]]],
        starts: Sequence[int], budget: int,
    ) -> bool | None:
        known, step, call_of, pure = self._steps, self._step, self.call_of, self.pure
        end = len(returns)
        seen: set[tuple[int, int, int, bool]] = set()
        # Return, state, which pending ones took effect, and whether the returning one has to.
        stack = [(0, state, 0, False) for state in reversed(starts)]
        deepest, steps = -1, 0
        while stack:
            e, state, mask, bound = stack.pop()
            while e < end:
                bit, i, must, _, _ = returns[e]
                if mask & bit:
                    mask ^= bit
                elif not (pure[call_of[i]] and state in step(state, call_of[i])):
                    break
                e += 1
                bound = False
            if e == end:
                self.stuck = None
                return False
            bit, i, must, pures, effects = returns[e]
            for b, c in pures:
                if not mask & b and state in step(state, c):
                    mask |= b
            mark = (e, state, mask, bound)
            if mark in seen:
                continue
            seen.add(mark)
            steps += 1
            if steps > budget:
                return None
            if steps & 1023 == 0:
                self.budget.check()
            if e > deepest and must:
                deepest, self.stuck = e, i
            for b, c, twins, forced in reversed(effects):
                if mask & b or mask & twins != twins:
                    continue
                following = known.get((state, c))
                for new in step(state, c) if following is None else following:
                    if forced or new != state:
                        stack.append((e, new, mask | b, not must))
            if not must and not bound:
                stack.append((e + 1, state, mask, False))
        return True
