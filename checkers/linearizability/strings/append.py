"""A string with `get`, `put` and `append` whose written texts are distinct: near-linear in the length of what was read.

**Reading a text.** Where no written text begins with another, a text falls into written ones in one way at most. Every put
opens an *epoch*, in which the string is the put's text and then appended ones; before any put there is the first epoch,
which begins with nothing. A text thus tells its epoch (by the put it begins with) and which appends took effect in it, in
which order. Texts of one epoch must be beginnings of its longest.

**Chains.** The operations of an epoch that some read shows are its *chain*: the put, the reads of its text alone, the first
append, the reads up to there, the second append, and so on. A chain is a contiguous part of every linearization in that
order, but for appends and puts that no read shows. These can be moved out of it: behind the last read of the chain an
append or a put that nobody sees does no harm, and a put in front of the last read would have been seen. So take each of
them as a chain of one operation. Conversely, chains one after another in any order are legal, provided that the first epoch
comes first: what nobody sees is appended to the end of some epoch after its last read, and every chain but the first epoch's
begins with a put. Hence the rule of zones (Gibbons & Korach 1997, see `zones`): linearizable if and only if

* within a chain no operation ended before one of an earlier step started, and
* no two chains precede each other, where A precedes B if an operation of A ended before one of B started, and the first
  epoch's chain precedes every other.

In the relation between chains the latest start of a cycle is preceded by all of the cycle, so every cycle contains one of
length two; and from an order of chains that extends the relation each operation takes effect at the latest start so far.

**Indeterminate** writes have no end. One that a read shows did happen; one that none shows may be left out (its chain of one
precedes nothing), for in a linearization nobody would notice. Indeterminate and failed gets tell nothing.

**Equal texts.** A text that was appended several times is a choice: which append put it where it is shown. Only those are
candidates that may come behind what is before that place and before what is behind it; the history is linearizable if and
only if it is so for one of the choices. A text that was put several times, or put and appended, opens several epochs: a read
that begins with it belongs to one whose put began before the read ended, and not to one that a put behind it had closed
before the read began (the first epoch is closed by any put). Where several are possible, all such reads are taken for the
latest, then for the earliest.

**Undecided** is a key where a text is empty or begins with another; where the choices are too many; and where neither of the
two ways to take such beginnings does, for the history may need some of each.

The steps are in `epochs`; what is said of a history that they refute is in `account`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from splitbrain.checkers.budget import FOREVER, Budget, Exhausted
from splitbrain.checkers.linearizability.decision import Decision
from splitbrain.checkers.linearizability.evidence.evidence import settle
from splitbrain.checkers.linearizability.machine import compiled
from splitbrain.checkers.linearizability.registers.zones import ABSENT, INVALID, UNDECIDED, VALID
from splitbrain.checkers.linearizability.strings.account import Account
from splitbrain.checkers.linearizability.strings.epochs import judges
from splitbrain.checkers.models.specifications import Model
from splitbrain.harness.history.history import History


def decide(history: History, model: Model, *, every_key: bool = True, budget: Budget = FOREVER) -> NDArray[np.int8]:
    """`VALID`, `INVALID`, `UNDECIDED` or `ABSENT` for every key: entry 0 for operations without a key, c + 1 for key code c.

    With `every_key` false it ends at the first that is invalid, and those behind it are left undecided, as are those that
    were not looked at within the budget.
    """
    status = compiled.append(history, every_key=every_key, budget=budget) if model.initial == "" else None
    part = history
    if status is None:
        status = np.full(len(history.keys) + 1, ABSENT, np.int8)
        status[history.key + 1] = UNDECIDED
        if model.initial != "":
            return status
    else:
        found = status.tolist()
        if UNDECIDED not in found or (INVALID in found and not every_key):
            return status
        part = history.select(status[history.key + 1] == UNDECIDED)
    try:
        left = judges(part, budget)
    except Exhausted:
        return status
    while left:
        code, judge = left.popitem()
        try:
            status[code + 1] = judge.status()
        except Exhausted:
            break
        if status[code + 1] == INVALID and not every_key:
            for other in left:
                status[other + 1] = UNDECIDED
            break
    return status


def decide_append(history: History, model: Model, budget: Budget = FOREVER) -> Decision | None:
    """The history of one key, with the evidence where it is invalid; None where it is undecided. Raises `Exhausted`.

    The evidence holds every write that its reads are made of, for a read of what nobody wrote would be another violation.
    """
    if model.initial != "":
        return None
    budget.check()
    decision = _decide(history, budget)
    if decision is None or decision.valid:
        return decision
    return settle(history, decision, lambda part: _decide(part, budget), budget)


def _decide(history: History, budget: Budget) -> Decision | None:
    judge = next(iter(judges(history, budget).values()), None)
    status = VALID if judge is None else judge.status()
    if judge is None or status == VALID:
        return Decision(method="append", valid=True)
    return Account(history, judge).decision() if status == INVALID else None
