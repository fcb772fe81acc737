"""The plain search, after Wing & Gong 1993 with Lowe's memory of configurations (2017), and nothing more.

It knows no trick and is therefore the oracle that every faster way is tested against.
"""

from __future__ import annotations

from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.search.problem import Problem, encode
from splitbrain.checkers.models.specifications import Model, State
from splitbrain.harness.history.history import History


def search(history: History, model: Model, *, max_steps: int | None = None) -> Decision:
    """Decide the history of one object by trying orders of effect, depth first.

    An invalid decision names the operation that cannot be placed after the longest partial linearization, not yet a proof
    (`rows` is empty). Where `max_steps` applications of the model do not suffice, `valid` is None and `limit` says so.
    """
    return solve(encode(history, model), max_steps=max_steps)


def solve(problem: Problem, *, max_steps: int | None = None) -> Decision:
    """As `search`, on an encoded problem."""
    calls, rows, step = problem.calls, problem.rows, problem.model.step
    # The list of events: node 0 is the head, node k + 1 is event k. Unlinking leaves a node's own pointers in place.
    events = problem.events
    size = len(events)
    after = [*range(1, size + 1), 0]
    before = [size, *range(size)]
    opens, closes = [0] * len(calls), [0] * len(calls)
    for node, event in enumerate(events, 1):
        if event >= 0:
            opens[event] = node
        else:
            closes[~event] = node
    required = 0
    for i, call in enumerate(calls):
        if call.outcome != "info":
            required |= 1 << i

    done = 0
    state: State = problem.model.initial
    seen: set[tuple[int, State]] = set()
    # (operation, mask before, state before, the alternatives still to try)
    path: list[tuple[int, int, State, tuple[State, ...]]] = []
    best: tuple[int, ...] = ()
    stuck: int | None = None
    steps = 0
    node = after[0]
    while done & required != required:
        pending: tuple[State, ...] = ()
        i = -1
        if node:
            event = events[node - 1]
            if event >= 0:
                i = event
                steps += 1
                if max_steps is not None and steps > max_steps:
                    limit = f"{max_steps} steps"
                    return Decision(method="search", valid=None, limit=limit, linearized=best, stuck=stuck, steps=steps)
                pending = step(state, calls[i])
                node = after[node]
            elif len(path) >= len(best):
                best, stuck = tuple(rows[entry[0]] for entry in path), rows[~event]
        elif len(path) >= len(best):
            best = tuple(rows[entry[0]] for entry in path)
            stuck = next(rows[k] for k in range(len(calls)) if required & ~done & 1 << k)
        if i < 0:
            # A return that comes too early, or nothing left to try: take the last choice back.
            if not path:
                return Decision(method="search", valid=False, linearized=best, stuck=stuck, steps=steps)
            i, done, state, pending = path.pop()
            for at in (closes[i], opens[i]) if closes[i] else (opens[i],):
                before[after[at]] = after[before[at]] = at
            node = after[opens[i]]
        while pending:
            new, pending = pending[0], pending[1:]
            mark = (done | 1 << i, new)
            if mark in seen:
                continue
            seen.add(mark)
            path.append((i, done, state, pending))
            done, state = mark
            for at in (opens[i], closes[i]) if closes[i] else (opens[i],):
                after[before[at]], before[after[at]] = after[at], before[at]
            node = after[0]
            break
    return Decision(method="search", valid=True, linearized=tuple(rows[entry[0]] for entry in path), steps=steps)
