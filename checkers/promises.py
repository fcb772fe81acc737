"""Which model says what of a vendor's promise: decides it, or is a part of it.

A model *decides* a promise where a history that keeps it gives nothing away of what the promise forbids, as far as anybody
looked. It is a *part* of a promise that implies it: refuted it breaks the promise, and held it supports no more than a part,
since a history may keep it and break the promise all the same. What is in neither says nothing of the promise, a model of
somebody's own checker among it.
"""

from __future__ import annotations

from collections.abc import Mapping

from splitbrain.checkers.cases.cart import KEPT as CARTS
from splitbrain.checkers.cases.cart import REMOVED
from splitbrain.checkers.cases.flash_sale import CHARGES, ORDERS, STOCKS
from splitbrain.checkers.cases.messaging import KEPT as MESSAGES
from splitbrain.checkers.cases.messaging import ORDERED as IN_TURN
from splitbrain.checkers.cases.rate_limiter import MODEL as LIMITS
from splitbrain.checkers.cases.social_feed import BLOCKS, DELETIONS, LIKES, PROFILES, REPLIES
from splitbrain.checkers.sessions.models import GUARANTEES
from splitbrain.checkers.sessions.models import MODELS as SESSIONS
from splitbrain.checkers.sets import MODEL as SETS
from splitbrain.checkers.structures.bank import AT_ONCE, CONSERVED, COVERED, UP_TO_DATE
from splitbrain.checkers.structures.counter import FINAL as SUMS
from splitbrain.checkers.structures.counter import MODEL as COUNTERS
from splitbrain.checkers.structures.ids import MODEL as IDENTIFIERS
from splitbrain.checkers.structures.kept import MODEL as TRANSFERS
from splitbrain.checkers.structures.lock import EXCLUSIVE, FENCED
from splitbrain.checkers.structures.long_fork import MODEL as PREFIXED
from splitbrain.checkers.structures.monotonic import MODEL as VALUES
from splitbrain.checkers.structures.queue import COMPLETE as QUEUES
from splitbrain.checkers.structures.queue import ORDERED as QUEUED
from splitbrain.checkers.structures.set_full import COMPLETE as SETS_FULL
from splitbrain.checkers.structures.set_full import FRESH
from splitbrain.checkers.structures.watch import MODEL as WATCHES
from splitbrain.checkers.transactions.lattice import LEVELS, weaker
from splitbrain.harness.history.variant import Promise

WORDS: Mapping[Promise, str] = {
    "linearizable": "linearizability",
    "no-lost-write": "that no acknowledged write is lost",
    "converges": "that replicas converge",
    "available": "availability on every side",
    "sequential": "sequential consistency",
    "causal": "causal consistency",
    "read-your-writes": "that clients read their writes",
    "monotonic-reads": "monotonic reads",
    "monotonic-writes": "monotonic writes",
    "writes-follow-reads": "that writes follow reads",
    "strict-serializable": "strict serializability",
    "serializable": "serializability",
    "snapshot-isolation": "snapshot isolation",
    "read-committed": "read committed",
}
"""Promises as they are told."""

MEASURED: frozenset[Promise] = frozenset({"converges", "available"})
"""What every run measures, whatever its workload."""

BESIDE = frozenset({EXCLUSIVE, WATCHES, STOCKS, CHARGES, LIMITS})
"""What no promise says anything of, linearizability included: what two holders believe of a lease; watches, for it is said of
single operations (etcd exempts them by name); and what a service makes of its database, which may look and then write in two
steps."""

BY_A_LOOK = frozenset({CARTS, REMOVED, ORDERS})
"""What is beside every promise, too, where the service writes what it made of a look without a condition: whoever writes
next may replace it, on any database. A cart that is kept as sets writes nothing of that kind."""

DECIDING: Mapping[Promise, frozenset[str]] = {
    "linearizable": frozenset({"linearizable", "strict-serializable", SETS}),
    # What is lost of each of these is told one by one, as long as somebody looked in the end. Sessions have a causal, too.
    "no-lost-write": frozenset({"linearizable", SETS, SETS_FULL, QUEUES, *LEVELS}) - {"causal"},
    **{promise: frozenset({promise}) for promise in WORDS if promise not in ("linearizable", "no-lost-write", *MEASURED)},
}
"""The models each of which decides a promise."""

_OF_SNAPSHOTS = frozenset({CONSERVED, COVERED, AT_ONCE, PREFIXED})
"""What follows from snapshot isolation for a bank whose transfers and reads are transactions, since of two transfers from one
account at once only one commits (first committer wins); and for writes of single keys that transactions read together, of
which all see a prefix of one order."""

_STRUCTURES = frozenset({
    SETS_FULL, FRESH, QUEUES, QUEUED, COUNTERS, SUMS, VALUES, FENCED, IDENTIFIERS, UP_TO_DATE, TRANSFERS, *_OF_SNAPSHOTS,
})
_SERVICES = frozenset({ORDERS, CARTS, REMOVED, MESSAGES, IN_TURN, BLOCKS, DELETIONS, REPLIES, PROFILES, LIKES})


def _weaker(level: Promise) -> frozenset[str]:
    """The levels that follow from one, without itself."""
    return frozenset(weaker(level) - {level})  # type: ignore[arg-type]


PARTS: Mapping[Promise, frozenset[str]] = {
    # Where a variant promises it of its single operations, a transaction is one of them.
    "linearizable": (_STRUCTURES | _SERVICES | {*SESSIONS, *LEVELS}) - DECIDING["linearizable"],
    # A sum hides what is lost where as much of what nobody acknowledged is there; a cart's item may have been taken out, a
    # message sent twice, a payment is not looked for, and a value that only grows may have been passed.
    "no-lost-write": frozenset({SUMS, LIKES, TRANSFERS, VALUES, CARTS, MESSAGES, ORDERS}),
    "sequential": frozenset({"causal", *GUARANTEES, PROFILES, REPLIES}),
    "causal": frozenset({*GUARANTEES, PROFILES, REPLIES}),
    "read-your-writes": frozenset({PROFILES}),
    "writes-follow-reads": frozenset({REPLIES}),
    "strict-serializable": _weaker("strict-serializable") | _OF_SNAPSHOTS | {UP_TO_DATE, TRANSFERS},
    "serializable": _weaker("serializable") | _OF_SNAPSHOTS,
    "snapshot-isolation": _weaker("snapshot-isolation") | _OF_SNAPSHOTS,
    "read-committed": _weaker("read-committed"),
}
"""The models that are parts of a promise."""


def breaks(promise: Promise, model: str) -> bool:
    """Whether a history that is against that model is against that promise. Of lost writes and of what is measured the names of
    anomalies tell, and no model."""
    return promise not in ("no-lost-write", *MEASURED) and model in DECIDING[promise] | PARTS.get(promise, frozenset())
