"""Variant: one configuration of a database, what its vendor claims for it, and how literature labels it."""

from __future__ import annotations

from typing import Literal

import msgspec

from splitbrain.harness.history.operation import Kind

Route = Literal["home", "primary"]
"""How a worker finds the server for an operation: always its home node, or the node that its home names as primary."""

Capability = Literal[
    "registers", "compare-and-set", "sets", "queues", "counters", "accounts", "locks", "fences", "ids", "transactions",
    "watches",
]
"""What a client can do: the protocols of `harness.load.client`, by name."""

Promise = Literal[
    "linearizable", "no-lost-write", "converges", "available",
    # Models, by the names of their standings: of sessions,
    "sequential", "causal", "read-your-writes", "monotonic-reads", "monotonic-writes", "writes-follow-reads",
    # and of transactions.
    "strict-serializable", "serializable", "snapshot-isolation", "read-committed",
]
"""What a run can refute. A model that a variant promises is what its histories are judged by, where a workload tests it."""


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """What the vendor's documentation promises, in its words, and where.

    `promises` are what a run can refute; `admits` are anomalies that it warns of (seen: the claim holds; not seen: not
    tested)."""

    text: str
    source: str
    promises: tuple[Promise, ...] = ()
    admits: tuple[str, ...] = ()


class Damage(msgspec.Struct, frozen=True, kw_only=True):
    """What is expected of a cluster when a file of servers was damaged that were stopped, of a minority at most: what they do
    with it, in a sentence, and where that is from. `kept`: what was acknowledged stays, and is told rightly, all the same."""

    text: str
    source: str
    kept: bool = False


class Label(msgspec.Struct, frozen=True):
    """A label that literature gives (`CP`, `PC/EC`) and where. Labels contradict each other: all are shown."""

    text: str
    source: str


class Variant(msgspec.Struct, frozen=True, kw_only=True):
    """One configuration of a database whose guarantees differ from another's.

    `offers` are the capabilities of its clients. `tuned` says, a line each, what differs from the vendor's defaults.
    `nodes` is the size of cluster that it has by default, 0 where that of its database does; `least` the smallest that it works
    on.
    `damage` says what is expected of damaged files; None: nobody says it, and nothing is held against it where some were.
    `keys` is the number of keys that it needs by default, 0 where the plan's own will do: where calls that meet on a key
    hinder each other, more keys keep them apart. `local` says what a final, node-local read is here ("GET on each replica").
    """

    name: str
    summary: str
    reads: Route
    writes: Route
    claim: Claim
    labels: tuple[Label, ...] = ()
    offers: frozenset[Capability] = frozenset({"registers", "compare-and-set", "sets"})
    tuned: tuple[str, ...] = ()
    nodes: int = 0
    least: int = 1
    keys: int = 0
    damage: Damage | None = None
    local: str = "a read of each node's own copy"

    def route(self, kind: Kind) -> Route:
        """Where calls of that kind go."""
        return self.reads if kind == "read" else self.writes
