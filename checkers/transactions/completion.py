"""Version orders that were not told, chosen: where one of them shows no cycle against a level, that level holds.

What nobody read, and registers in general, leave the order of some versions open. Finding one is hard in general (Biswas &
Enea 2019), but the order in which some topological sort of the known dependencies runs the writers is often good enough. It
is checked in full, so that luck decides only how often a level holds, never whether rightly.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import cycles
from splitbrain.checkers.transactions.cycles import RULES, Rule
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


def holding(inference: Inference, open_levels: frozenset[Level], budget: Budget) -> frozenset[Level]:
    """Those of the levels, none of them refuted, for which an order of all versions was found that shows no cycle."""
    found: set[Level] = set()
    for level in reversed(LEVELS):
        if level not in open_levels or level in found or level not in RULES:
            continue
        if budget.over:
            break
        rank = _order(inference, RULES[level])
        if rank is None:
            continue
        if RULES[level].shape == "any" and not (inference.micros.f == APPEND).any():
            found |= weaker(level)  # The transactions were run in that order, each on what it read: that is the proof.
            continue
        whole = _completed(inference, rank)
        if cycles.allows(whole, level, budget):
            found |= weaker(level)
    return frozenset(found & open_levels)


def _order(inference: Inference, rule: Rule) -> Ints | None:
    """A rank for each transaction that agrees with what the rule knows to be ordered, None where that is cyclic."""
    edges, many = inference.edges, len(inference.history)
    kinds = rule.kinds if rule.shape == "plain" else (*rule.kinds, RW)
    edges = edges.where(edges.of_kinds(kinds, rule.scopes))
    if PROCESS in rule.kinds:
        edges = Edges.joined([edges, process_edges(inference.history, inference.committed)])
    source, target, vertices = edges.source, edges.target, many
    chain = (np.empty(0, np.int64), np.empty(0, np.int64))
    if REALTIME in rule.kinds:
        *chain, vertices = realtime_edges(inference.history, inference.committed)  # type: ignore[assignment]
    if rule.shape in ("alternating", "prefix"):
        anti = edges.kind == RW
        plain = ~anti
        behind = np.where(anti[anti], vertices, 0)
        if rule.shape == "alternating":
            parts = [
                (source[plain], target[plain]), (source[plain] + vertices, target[plain]),
                (source[anti], target[anti] + behind), chain, (chain[0] + vertices, chain[1]),
            ]
        else:
            ww = edges.kind == WW
            seen = plain & ~ww
            parts = [
                (source[ww], target[ww]), (source[ww] + vertices, target[ww]), (source[seen], target[seen] + vertices),
                (source[seen] + vertices, target[seen] + vertices), (source[anti] + vertices, target[anti]),
            ]
        vertices *= 2
    else:
        parts = [(source, target), chain]
    sources, targets = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    if rule.shape == "any" and not (inference.micros.f == APPEND).any():
        return serial_order(inference, sources, targets, vertices)
    matrix = csr_matrix((np.ones(len(sources), np.int8), (sources, targets)), shape=(vertices, vertices))
    # The components of an acyclic graph are numbered against its order; that is checked, for nothing promises it.
    _, label = connected_components(matrix, directed=True, connection="strong")
    if not (label[sources] > label[targets]).all():
        return None
    return -label[:many].astype(np.int64)


def _completed(inference: Inference, rank: Ints) -> Inference:
    """The inference with all versions in an order: those whose place is known first, then by the rank of who installed
    them."""
    micros = inference.micros
    owner, key = micros.owners(), micros.key.astype(np.int64)
    rows = np.flatnonzero(inference.installed)
    version = inference.version[rows]
    late = version < 0
    order = np.lexsort((np.where(late, rank[owner[rows]], version), late, key[rows]))
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
