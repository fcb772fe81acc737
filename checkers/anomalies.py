"""The one table of anomalies: what each identifier means, how telling it is, and what it refutes.

Whoever needs to know something of an anomaly by its name (the order in which anomalies are told, whether it refutes writes,
whether data is gone, what it may be called when the evidence is seen alone) asks here. A new name is one more row.

The names of transactions follow Adya, Liskov and O'Neil (*Generalized Isolation Level Definitions*, ICDE 2000) and Elle
(Kingsbury and Alvaro, *Elle: Inferring Isolation Anomalies from Experimental Observations*, VLDB 2020): a cycle's name says
which dependencies it needs, `-process` and `-realtime` that it needs the order of a client's own operations, or of time, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

Object = Literal["register", "set", "queue", "counter", "bank", "lock", "ids", "watch", "transactions", "replicas",
                 "service", "any"]
"""What an anomaly can be seen on."""

_BOTH = frozenset({"read", "write"})
_READS = frozenset({"read"})


class Phenomenon(msgspec.Struct, frozen=True):
    """A row of the table.

    `refutes` are the kinds of operations that were wrongly answered: an old read leaves the writes as they were, a lost write
    leaves nothing. `touches` are the objects it is seen on. `loses`: something acknowledged is gone. `more_general` is what
    its evidence may be called when it is judged alone, because what tells the two apart is often outside the few operations;
    empty where nothing is more general. `meaning` is one sentence for a glossary. `kept`: what is gone was there until
    something else took its place, so that no promise to keep what is acknowledged is broken by it.
    """

    identifier: str
    refutes: frozenset[str]
    touches: tuple[Object, ...]
    meaning: str
    loses: bool = False
    more_general: tuple[str, ...] = ()
    kept: bool = False


def _cycles() -> Iterable[Phenomenon]:
    """The cycles of Adya's dependencies, each also with the order of processes and of real time."""
    rows = (
        ("G0", "G1c", "Two transactions wrote over each other: each one's write of some key came before the other's"),
        ("G1c", "G2-item", "Information flowed in a circle: each transaction read from, or overwrote, what the next one wrote"),
        ("G-single", "G-nonadjacent", "A transaction missed the effects of one that it also came after (read skew)"),
        ("G-nonadjacent", "G2-item", "Transactions missed each other's writes in a circle, though never two in a row"),
        ("G2-item", None, "Transactions missed each other's writes in a circle (write skew): no serial order explains it"),
    )
    extras = (("", ""), ("-process", ", if each client's transactions keep their order"),
              ("-realtime", ", if what was over before another began also came first"))
    for suffix, when in extras:
        for name, general, meaning in rows:
            wider = {"": "-process", "-process": "-realtime", "-realtime": None}[suffix]
            more_general = name + wider if wider and general is None else general + suffix if general else "non-linearizable"
            refutes = _BOTH if name in ("G0", "G1c") else _READS if name == "G-single" else _BOTH
            yield Phenomenon(name + suffix, refutes, ("transactions",), meaning + when + ".", more_general=(more_general,))


_ROWS = (
    # What is gone or doubled comes first, then what was made wrong, then what was only read wrong.
    Phenomenon("lost-write", _BOTH, ("register", "queue"), "An acknowledged write did not survive: the register went on "
               "from an older version, and nobody ever found the write again.", True, ("split-brain", "stale-read")),
    Phenomenon("lost-element", _BOTH, ("set", "queue"), "What was acknowledged as added, or had been seen, is missing in the "
               "end.", True, ("stale-read",)),
    Phenomenon("lost-append", _BOTH, ("transactions",), "An acknowledged append is in none of the lists that were read in "
               "the end.", True, ("G-single-realtime",)),
    Phenomenon("lost-transfer", _BOTH, ("bank",), "What accounts hold in the end is what all acknowledged transfers leave but "
               "some that one server acknowledged one after the other: these are gone.", True, ("wrong-balance",)),
    Phenomenon("lost-update", _BOTH, ("transactions", "counter"), "A transaction replaced a version that it had read, without "
               "having seen another one that replaced it, too: the effect of one is gone.", True, ("G-single",), kept=True),
    Phenomenon("double-hold", _BOTH, ("lock",), "Two clients held a lock at the same time.", False, ("non-linearizable",)),
    Phenomenon("stale-fence", _BOTH, ("lock",), "A lock was granted with a fencing number that was not greater than an "
               "earlier one.", False, ("non-linearizable",)),
    Phenomenon("fence-passed", _BOTH, ("lock",), "A write with an old fencing number was let through after one with a newer "
               "number.", False, ("non-linearizable",)),
    Phenomenon("missed-event", _BOTH, ("watch",), "A watcher was not told of a change, though it was told of later ones, or of "
               "all.", False, ("unexpected",)),
    Phenomenon("event-reordered", _BOTH, ("watch",), "A watcher was told of changes in another order than that of their "
               "revisions or of time.", False, ("unexpected",)),
    Phenomenon("event-from-the-past", _READS, ("watch",), "A watcher was told again of a change that came before those that "
               "it had asked for.", False, ("unexpected",)),
    Phenomenon("duplicate-id", _BOTH, ("ids",), "An identifier was handed out twice.", False, ("non-linearizable",)),
    Phenomenon("oversold", _BOTH, ("service",), "A sale was confirmed though all units had been sold by confirmed sales.",
               False, ("non-linearizable",)),
    Phenomenon("charged-twice", _BOTH, ("service",), "A payment was carried out again though it had been carried out before "
               "with the same idempotency key.", False, ("non-linearizable",)),
    Phenomenon("came-back", _BOTH, ("service",), "What had been confirmed as removed is there in the end.", False,
               ("non-linearizable",)),
    Phenomenon("over-admitted", _BOTH, ("service",), "A request was let through though as many as the limit allows had been "
               "let through before.", False, ("non-linearizable",)),
    Phenomenon("blocked-seen", _READS, ("service",), "Somebody was shown a person whom they had blocked before.",
               False, ("stale-read",)),
    Phenomenon("deleted-seen", _READS, ("service",), "A post was shown after its deletion had been confirmed.",
               False, ("stale-read",)),
    Phenomenon("wrong-total", _BOTH, ("bank", "counter", "service"), "The balances, or a counter, do not add up to what "
               "they must.", False, ("stale-read",)),
    Phenomenon("wrong-balance", _BOTH, ("bank",), "What accounts hold in the end is not what the acknowledged transfers leave: "
               "some are gone, or happened twice, or a refused one happened.", False, ("non-linearizable",)),
    Phenomenon("inconsistent-analysis", _BOTH, ("bank",), "Balances were read that add up, but that were so at no one moment: "
               "no order of the transfers explains them (where real time is promised, none in which what was over came before "
               "what began later).", False, ("non-linearizable",)),
    Phenomenon("negative-balance", _BOTH, ("bank",), "An account was overdrawn although no transfer may do that.",
               False, ("non-linearizable",)),
    Phenomenon("out-of-bounds", _BOTH, ("counter", "service"), "A counter was read below all that was acknowledged, or above "
               "all that was attempted, by then.", False, ("non-linearizable",)),
    Phenomenon("dirty-update", _BOTH, ("transactions",), "A committed version was built on a write of a transaction that had "
               "aborted.", False, ("G1a",)),
    Phenomenon("split-brain", _BOTH, ("register", "set"), "Two lineages went on from one version, each unaware of the other.",
               False, ("non-linearizable",)),
    Phenomenon("duplicate", _BOTH, ("set", "queue"), "An element is there, or was handed out, more often than it was added.",
               False, ("unexpected",)),
    Phenomenon("unexpected", _BOTH, ("set", "queue"), "An element appeared that nobody added.", False, ("non-linearizable",)),
    Phenomenon("duplicate-elements", _BOTH, ("transactions",), "An element was appended once and is in a list twice.",
               False, ("incompatible-order",)),
    Phenomenon("incompatible-order", _BOTH, ("transactions",), "Two reads saw the same versions of a key in orders that "
               "contradict each other.", False, ("non-linearizable",)),
    Phenomenon("cyclic-versions", _BOTH, ("transactions",), "The versions of a key follow each other in a circle.",
               False, ("non-linearizable",)),
    Phenomenon("internal", _READS, ("transactions",), "A transaction did not see what it had itself written or read before.",
               False, ("non-linearizable",)),
    Phenomenon("G1a", _BOTH, ("transactions",), "A committed transaction read what an aborted one wrote.",
               False, ("unwritten-read",)),
    Phenomenon("G1b", _READS, ("transactions",), "A transaction read a value that another one had replaced before it "
               "committed.", False, ("G1c",)),
    *_cycles(),
    Phenomenon("non-repeatable-read", _READS, ("transactions",), "A transaction read a key twice and saw two versions, none of "
               "them its own.", False, ("G-single",)),
    Phenomenon("long-fork", _READS, ("transactions", "bank"), "Two readers saw two independent writes in opposite orders.",
               False, ("G-nonadjacent", "inconsistent-analysis")),
    Phenomenon("stale-read", _READS, ("register", "set", "queue", "bank"), "A read missed a write that had been acknowledged "
               "before the read began.", False, ("non-monotonic-read", "inconsistent-analysis")),
    Phenomenon("stale-element", _READS, ("set", "queue"), "A read missed an element that had been acknowledged or seen before "
               "it began and was there again later; or a dequeue found nothing while one was there.", False, ("stale-read",)),
    Phenomenon("non-monotonic-read", _READS, ("register", "set", "counter"), "What was read went back: something new was seen, "
               "and later something older.", False, ("non-linearizable",)),
    Phenomenon("missed-own-write", _READS, ("register",), "A client read something older than what it had itself written (read "
               "your writes).", False, ("causality-broken",)),
    Phenomenon("read-went-back", _READS, ("register",), "A client read something older than what it had read before (monotonic "
               "reads).", False, ("causality-broken",)),
    Phenomenon("own-writes-reordered", _BOTH, ("register",), "Writes of one client were seen in another order than that "
               "in which it made them (monotonic writes).", False, ("causality-broken",)),
    Phenomenon("effect-before-cause", _BOTH, ("register",), "A write was seen before what its client had read when it made it "
               "(writes follow reads).", False, ("causality-broken",)),
    Phenomenon("causality-broken", _READS, ("register",), "A client saw something, and then something older than what that "
               "followed from.", False, ("no-sequential-order",)),
    Phenomenon("no-sequential-order", _READS, ("register",), "No one order of all operations, in which each client's keep "
               "theirs, explains what was read.", False, ("non-linearizable",)),
    Phenomenon("reordered", _READS, ("set", "queue"), "Elements were seen, or taken out, in an order that contradicts the one "
               "in which they were added, or that of another reader.", False, ("non-linearizable",)),
    Phenomenon("aborted-read", _BOTH, ("register", "set"), "What a write had put there was observed although the write was "
               "reported as failed.", False, ("unwritten-read",)),
    Phenomenon("future-read", _BOTH, ("register", "set", "transactions"), "A value was observed before its write was invoked.",
               False, ("unwritten-read",)),
    Phenomenon("unwritten-read", _BOTH, ("register", "transactions"), "A value was observed that nobody had written.",
               False, ("non-linearizable",)),
    Phenomenon("diverged", _BOTH, ("replicas",), "Some replicas kept different data although the network was whole again."),
    Phenomenon("non-linearizable", _BOTH, ("any",), "No order of the operations explains what they returned, and no other name "
               "fits for certain."),
)

ANOMALIES: Mapping[str, Phenomenon] = {row.identifier: row for row in _ROWS}
"""Identifier → its row, the most telling first. The same names stand in JSON, JUnit, `--expect` and headings."""

_LONG = 3
_RANK = {identifier: at for at, identifier in enumerate(ANOMALIES)}


def rank(identifier: str) -> int:
    """Its place in the table, from 0; behind all others for a name of somebody's own checker."""
    return _RANK.get(identifier, len(_RANK))


def place(identifier: str, dependencies: int) -> tuple[int, int, int]:
    """Where an anomaly stands among those that are shown: by its rank, but for a cycle of transactions with more than `_LONG`
    dependencies, which stands behind the shorter ones, whatever level they are against."""
    own = rank(identifier)
    if _RANK["G0"] <= own <= _RANK["G2-item-realtime"]:
        return _RANK["G0"], max(0, dependencies - _LONG), own
    return own, 0, own


def in_order(counts: Mapping[str, int]) -> dict[str, int]:
    """The counts that are not 0, the most telling name first."""
    return {name: counts[name] for name in sorted(counts, key=lambda name: (rank(name), name)) if counts[name]}


def refutes_reads_only(identifiers: Iterable[str]) -> bool:
    """Whether each of these leaves the writes as they were. A name that is not in the table refutes everything."""
    return all(name in ANOMALIES and "write" not in ANOMALIES[name].refutes for name in identifiers)


def losing() -> tuple[str, ...]:
    """The identifiers that say that something acknowledged is gone."""
    return tuple(name for name, row in ANOMALIES.items() if row.loses)


def undoing() -> tuple[str, ...]:
    """The identifiers that are against durability: what was acknowledged was not kept. What one transaction makes of a version
    that another one replaced in the meantime is a matter of isolation: both were kept, one until the other replaced it."""
    return tuple(name for name, row in ANOMALIES.items() if row.loses and not row.kept)


_CYCLE = re.compile(r"(G0|G1c|G-single|G-nonadjacent|G2-item)(-process|-realtime|)\Z")
_SORTS = {"G0": "G1c", "G-single": "G-nonadjacent", "G-nonadjacent": "G2-item",
          "non-repeatable-read": "G-single", "long-fork": "G-nonadjacent"}
_ORDERS = ("", "-process", "-realtime")


def is_one(identifier: str, kind: str) -> bool:
    """Whether every anomaly of that name is also one of that kind by the definitions of both: itself, and of the cycles of
    transactions those with less in them. A cycle that needs nobody's order is one with the order of clients, and that is one
    with the order of time; a cycle that needs the order of time is nothing without it."""
    if identifier == kind:
        return True
    name, order, wider = identifier, "", _CYCLE.match(kind)
    if own := _CYCLE.match(identifier):
        name, order = own[1], own[2]
    if wider is None or _ORDERS.index(order) > _ORDERS.index(wider[2]):
        return False
    while name != wider[1] and name in _SORTS:
        name = _SORTS[name]
    return name == wider[1]


def generalises(general: str, identifier: str) -> bool:
    """Whether `general` is `identifier`, or is what its evidence may be called when it is judged alone."""
    wider = ANOMALIES[identifier].more_general if identifier in ANOMALIES else ()
    return general == identifier or any(generalises(general, name) for name in wider)
