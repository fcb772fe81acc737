"""Complete decisions for transactions over registers: whether a history satisfies a level, by the level's definition.

    decision = decide(facts(history), "causal", history.micros.keys, Budget(deadline))

What a checker that infers version orders leaves open (Elle), is decided here: the order of versions is part of the question.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions.decide.decision import Decision, Edge
from splitbrain.checkers.transactions.decide.facts import Facts, facts
from splitbrain.checkers.transactions.decide.strong import Kind, Polygraph
from splitbrain.checkers.transactions.decide.weak import decide_atomic, decide_causal, decide_committed

__all__ = ["LEVELS", "Budget", "Decision", "Edge", "Facts", "decide", "facts"]

Way = Callable[[Facts, str, Sequence[object], Budget], Decision]


def _strong(kind: Kind, *, sessions: bool = False, realtime: bool = False) -> Way:
    def way(facts: Facts, level: str, keys: Sequence[object], budget: Budget) -> Decision:
        return Polygraph(facts, kind, sessions=sessions, realtime=realtime).decide(level, keys, budget)

    return way


def _version_order_exists(facts: Facts, level: str, keys: Sequence[object], budget: Budget) -> Decision:
    """Read uncommitted forbids cycles of version orders alone: of registers, one in the order of the file has none."""
    return Decision(level=level, state="holds")


LEVELS: dict[str, Way] = {
    "read-uncommitted": _version_order_exists,
    "read-committed": lambda *given: decide_committed(*given, sessions=False),
    "read-committed-session": lambda *given: decide_committed(*given, sessions=True),
    "read-atomic": lambda *given: decide_atomic(*given, sessions=False),
    "read-atomic-session": lambda *given: decide_atomic(*given, sessions=True),
    "causal": decide_causal,
    "prefix": _strong("prefix", sessions=True),
    "consistent-view": _strong("parallel"),
    "parallel-snapshot-isolation": _strong("parallel"),
    "strong-session-parallel-snapshot-isolation": _strong("parallel", sessions=True),
    "snapshot-isolation": _strong("snapshot"),
    "strong-session-snapshot-isolation": _strong("snapshot", sessions=True),
    "strong-snapshot-isolation": _strong("snapshot", sessions=True, realtime=True),
    "serializable": _strong("serializable"),
    "strong-session-serializable": _strong("serializable", sessions=True),
    "strict-serializable": _strong("serializable", sessions=True, realtime=True),
}
"""The levels that can be decided, each with its way."""


def decide(facts: Facts, level: str, keys: Sequence[object], budget: Budget) -> Decision:
    """Whether these facts satisfy a level of `LEVELS`; `keys` are the names of the keys, for the proof. The real-time
    levels take `invoked` and `completed` for times of one clock: whoever has none must not ask.

    Undecided where a value that was read was written twice, where the history is none of registers, or where the budget ended.
    """
    if facts.unclear:
        return Decision(level=level, state="undecided", limit=facts.unclear)
    nothing_wrong_allowed = level != "read-uncommitted"
    for flaw, row, key in facts.flaws:
        if nothing_wrong_allowed or flaw == "garbage":
            return Decision(level=level, state="refuted", flaw=flaw, row=row, key=keys[key])
    try:
        return LEVELS[level](facts, level, keys, budget)
    except Exhausted as limit:
        return Decision(level=level, state="undecided", limit=str(limit))
