"""Version orders that were not told, chosen: where one of them shows no cycle against a level, that level holds.

What nobody read, and registers in general, leave the order of some versions open. Finding one is hard in general (Biswas &
Enea 2019), but the order in which some topological sort of the known dependencies runs the writers is often good enough. It
is checked in full, so that luck decides only how often a level holds, never whether rightly.
"""

from __future__ import annotations

from itertools import permutations, product
from math import factorial, prod

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget, Exhausted
from splitbrain.checkers.transactions import cycles
from splitbrain.checkers.transactions.cycles import RULES, Cycle, Rule
from splitbrain.checkers.transactions.graph import (
    ALWAYS,
    PROCESS,
    REALTIME,
    RW,
    WR,
    WW,
    Edges,
    Ints,
    process_edges,
    realtime_edges,
)
from splitbrain.checkers.transactions.inference import Inference
from splitbrain.checkers.transactions.lattice import LEVELS, Level, weaker
from splitbrain.checkers.transactions.serial import serial_order
from splitbrain.harness.history.micros import APPEND

_ORDERS = 200
"""How many orders of what nobody read are gone through, at most."""

_SEARCHED = 500_000
"""How many transactions are gone through for all of these orders together, at most."""


def holding(inference: Inference, open_levels: frozenset[Level], budget: Budget) -> frozenset[Level]:
    """Those of the levels, none of them refuted, for which an order of all versions was found that shows no cycle."""
    found: set[Level] = set()
    ways = [level for level in reversed(LEVELS) if level in open_levels and level in RULES]
    for at, level in enumerate(ways):
        if level in found:
            continue
        if budget.over:
            break
        # An equal part of the time for each, and one for whatever decides what is left open here.
        part = budget.within(budget.left / (len(ways) - at + 1))
        rank = _order(inference, RULES[level], part)
        if rank is None:
            continue
        if RULES[level].shape == "any" and not (inference.micros.f == APPEND).any():
            found |= weaker(level)  # The transactions were run in that order, each on what it read: that is the proof.
            continue
        whole = _completed(inference, rank[inference.micros.owners()])
        if cycles.allows(whole, level, part):
            found |= weaker(level)
    return frozenset(found & open_levels)


def by_every_order(
    inference: Inference, open_levels: frozenset[Level], budget: Budget
) -> tuple[frozenset[Level], list[Cycle]] | None:
    """Which of the levels hold, by every order of what was appended and never read; and of each other one a cycle that one of
    these orders leads to, as all do. None where there are too many orders, or the time is up."""
    left = [level for level in reversed(LEVELS) if level in open_levels]
    if not left or not open_levels <= RULES.keys():
        return None
    rows = np.flatnonzero(inference.installed & (inference.version < 0))
    key = inference.micros.key[rows]
    names, counts = np.unique(key, return_counts=True)
    several = names[counts > 1].tolist()
    if len(several) > _ORDERS:
        return None
    groups = [rows[key == one].tolist() for one in several]
    ways = prod(factorial(min(len(group), _ORDERS)) for group in groups)
    if ways > _ORDERS or ways * len(inference.history) > _SEARCHED:
        return None
    holds: set[Level] = set()
    against: dict[Level, Cycle] = {}
    rank = np.full(len(inference.micros.key), -1)
    try:
        for orders in product(*map(permutations, groups)):
            for order in orders:
                rank[list(order)] = np.arange(len(order))
            whole = _completed(inference, rank)
            for level in left:
                if level in holds:
                    continue
                budget.check()
                found = cycles.cheapest(whole, level, budget)
                if found is None:
                    holds |= weaker(level)
                elif level not in against or len(found.edges) < len(against[level].edges):
                    against[level] = found
    except Exhausted:
        return None
    return frozenset(holds & open_levels), [against[level] for level in reversed(left) if level not in holds]


def serial(inference: Inference, level: Level, budget: Budget) -> Ints | None:
    """The rank of each transaction over registers in a serial order that keeps that level, None where none was found."""
    return _order(inference, RULES[level], budget)


def _order(inference: Inference, rule: Rule, budget: Budget) -> Ints | None:
    """A rank for each transaction that agrees with what the rule knows to be ordered, None where that is cyclic."""
    edges, many = inference.edges, len(inference.history)
    kinds = rule.kinds if rule.shape == "plain" else (*rule.kinds, RW)
    chosen = edges.of_kinds(kinds, rule.scopes)
    source, target, kind, vertices = edges.source[chosen], edges.target[chosen], edges.kind[chosen], many
    chain = (np.empty(0, np.int64), np.empty(0, np.int64))
    if PROCESS in rule.kinds:
        own = process_edges(inference.history, inference.committed)
        source, target = np.concatenate([source, own.source]), np.concatenate([target, own.target])
        kind = np.concatenate([kind, own.kind])
    if REALTIME in rule.kinds:
        *chain, vertices = realtime_edges(inference.history, inference.committed)  # type: ignore[assignment]
    if rule.shape in ("alternating", "prefix"):
        anti = kind == RW
        plain = ~anti
        behind = np.where(anti[anti], vertices, 0)
        if rule.shape == "alternating":
            parts = [
                (source[plain], target[plain]), (source[plain] + vertices, target[plain]),
                (source[anti], target[anti] + behind), chain, (chain[0] + vertices, chain[1]),
            ]
        else:
            ww = kind == WW
            seen = plain & ~ww
            parts = [
                (source[ww], target[ww]), (source[ww] + vertices, target[ww]), (source[seen], target[seen] + vertices),
                (source[seen] + vertices, target[seen] + vertices), (source[anti] + vertices, target[anti]),
            ]
        vertices *= 2
    else:
        # What time orders as well orders nothing more.
        apart = inference.history.completed[source] >= inference.history.invoked[target] if len(chain[0]) else slice(None)
        parts = [(source[apart], target[apart]), chain]
    parts = [part for part in parts if len(part[0])] or parts[:1]
    sources, targets = parts[0] if len(parts) == 1 else map(np.concatenate, zip(*parts, strict=True))
    if rule.shape == "any" and not (inference.micros.f == APPEND).any():
        return serial_order(inference, sources, targets, vertices, budget)
    matrix = csr_matrix((np.ones(len(sources), np.int8), (sources, targets)), shape=(vertices, vertices))
    # The components of an acyclic graph are numbered against its order; that is checked, for nothing promises it.
    _, label = connected_components(matrix, directed=True, connection="strong")
    if not (label[sources] > label[targets]).all():
        return None
    return -label[:many].astype(np.int64)


def _completed(inference: Inference, rank: Ints) -> Inference:
    """The inference with all versions in an order: those whose place is known first, then by the rank of the
    micro-operations that installed them."""
    micros = inference.micros
    owner, key = micros.owners(), micros.key.astype(np.int64)
    rows = np.flatnonzero(inference.installed)
    version = inference.version[rows]
    late = version < 0
    order = np.lexsort((np.where(late, rank[rows], version), late, key[rows]))
    rows = rows[order]
    follows = key[rows[1:]] == key[rows[:-1]]
    new = [Edges.of(owner[rows[:-1][follows]], owner[rows[1:][follows]], WW, ALWAYS, key=key[rows[1:][follows]])]
    edges = inference.edges
    if not (micros.f == APPEND).any():
        edges = edges.where(edges.kind == WR)
        place = np.full(len(key), -1)
        place[rows] = np.arange(len(rows))
        reads = np.flatnonzero(inference.external)
        source = inference.read_from[reads]
        begin = np.searchsorted(key[rows], key[reads])
        after = np.where(source >= 0, place[np.maximum(source, 0)] + 1, begin)
        after = np.where((source >= 0) & (place[np.maximum(source, 0)] < 0), len(rows), after)
        there = after < len(rows)
        there[there] = key[rows[after[there]]] == key[reads[there]]
        reads, after = reads[there], after[there]
        new.append(Edges.of(owner[reads], owner[rows[after]], RW, ALWAYS, key=key[reads], row=reads))
    return Inference(
        inference.history, micros, inference.committed, Edges.joined([edges, *new]), inference.installed, inference.version,
        inference.external, inference.read_from, inference.seen, True,
    )
