"""The isolation levels of transactions: what each means, what it implies, and what rules it out.

The levels are those of Adya ("Weak consistency: a generalized theory and optimistic implementations for distributed
transactions", 1999: PL-1, PL-2, PL-2+, PL-3), of Cerone, Bernardi & Gotsman ("A framework for transactional consistency
models with atomic visibility", CONCUR 2015; the characterisations by dependency graphs in Cerone & Gotsman, "Analysing
snapshot isolation", PODC 2016, and Cerone, Gotsman & Yang, "Algebraic laws for weak consistency", CONCUR 2017) and of
Biswas & Enea ("On the complexity of checking transactional consistency", OOPSLA 2019: the `-session` levels and causal).
`strong-session` and `strong` are of Daudjee & Salem ("Lazy database replication with ordering guarantees", ICDE 2004; "Lazy
database replication with snapshot isolation", VLDB 2006). Only reads and writes of single items are judged, so that Adya's
repeatable read is serializable, and his PL-2+ is parallel snapshot isolation.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Level = Literal[
    "read-uncommitted",
    "read-committed",
    "read-committed-session",
    "read-atomic",
    "read-atomic-session",
    "causal",
    "consistent-view",
    "parallel-snapshot-isolation",
    "strong-session-parallel-snapshot-isolation",
    "prefix",
    "snapshot-isolation",
    "strong-session-snapshot-isolation",
    "strong-snapshot-isolation",
    "serializable",
    "strong-session-serializable",
    "strict-serializable",
]

IMPLIED: dict[Level, tuple[Level, ...]] = {
    "read-uncommitted": (),
    "read-committed": ("read-uncommitted",),
    "read-committed-session": ("read-committed",),
    "read-atomic": ("read-committed",),
    "read-atomic-session": ("read-atomic", "read-committed-session"),
    "causal": ("read-atomic-session",),
    "consistent-view": ("parallel-snapshot-isolation",),
    "parallel-snapshot-isolation": ("consistent-view", "read-atomic"),
    "strong-session-parallel-snapshot-isolation": ("parallel-snapshot-isolation", "causal"),
    "prefix": ("causal",),
    "snapshot-isolation": ("parallel-snapshot-isolation",),
    "strong-session-snapshot-isolation": ("snapshot-isolation", "prefix", "strong-session-parallel-snapshot-isolation"),
    "strong-snapshot-isolation": ("strong-session-snapshot-isolation",),
    "serializable": ("snapshot-isolation",),
    "strong-session-serializable": ("serializable", "strong-session-snapshot-isolation"),
    "strict-serializable": ("strong-session-serializable", "strong-snapshot-isolation"),
}
"""Every level with those that it implies directly; each comes after all that it implies, but for the two names of one
level."""

LEVELS: tuple[Level, ...] = tuple(IMPLIED)


def weaker(level: Level) -> frozenset[Level]:
    """The level and all that it implies: what holds where it holds."""
    found: set[Level] = set()
    left = [level]
    while left:
        one = left.pop()
        if one not in found:
            found.add(one)
            left += IMPLIED[one]
    return frozenset(found)


_WEAKER = {level: weaker(level) for level in LEVELS}


def stronger(level: Level) -> frozenset[Level]:
    """The level and all that imply it: what is ruled out where it is."""
    return frozenset(one for one in LEVELS if level in _WEAKER[one])


RULED_OUT: dict[str, Level] = {
    "G0": "read-uncommitted",
    "unwritten-read": "read-uncommitted",
    "duplicate-elements": "read-uncommitted",
    "incompatible-order": "read-committed",
    "G1a": "read-committed",
    "G1b": "read-committed",
    "G1c": "read-committed",
    "dirty-update": "read-committed",
    "future-read": "read-committed",
    "internal": "read-committed",
    "non-repeatable-read": "read-atomic",
    "lost-update": "consistent-view",
    "lost-append": "strong-snapshot-isolation",
}
"""The weakest level that an anomaly rules out, for those that are no matter of a cycle's edges: it and all that imply it.

A value that nobody wrote, and a list with an element twice, are against every level; lists that no order explains are
against those that say something of reads. A transaction that does not see its own write (`internal`), or one it has yet to
make, is against Adya's PL-2 and what is stronger; Elle counts `internal` only from read atomic upwards.
"""


def strongest(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Those of the levels that no other of them implies, one of two names for one level."""
    chosen = list(levels)
    kept: list[Level] = []
    for level in chosen:
        above = [one for one in chosen if one != level and level in _WEAKER[one]]
        if all(one in _WEAKER[level] and one in kept for one in above):
            kept.append(level)
    return tuple(one for one in kept if not any(one in _WEAKER[other] for other in kept if other != one))


def weakest(levels: Iterable[Level]) -> tuple[Level, ...]:
    """Those of the levels that imply no other of them, one of two names for one level."""
    chosen = list(levels)
    kept: list[Level] = []
    for level in chosen:
        below = [one for one in chosen if one != level and one in _WEAKER[level]]
        if not below or all(level in _WEAKER[one] and one not in kept for one in below):
            kept.append(level)
    return tuple(kept)
