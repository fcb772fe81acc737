"""A store of transactions that works, and what can go wrong in one: small groups of transactions that show one anomaly
each."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

from splitbrain import Operation
from splitbrain.checkers.transactions.lattice import Level
from splitbrain.harness.history.operation import Outcome

Micro = tuple[Any, ...]


class Planted(NamedTuple):
    """One transaction of an anomaly: its micro-operations, when it runs (in steps, from and to), the process if it shares
    one, and its outcome."""

    micros: list[Micro]
    begin: int = 0
    end: int = 10
    process: int | None = None
    outcome: Outcome = "ok"


class Plant(NamedTuple):
    """An anomaly by its name, the weakest levels that it rules out, and the transactions that show it."""

    name: str
    ruled_out: tuple[Level, ...]
    transactions: list[Planted]


def at_once(*transactions: list[Micro]) -> list[Planted]:
    return [Planted(micros) for micros in transactions]


def r(key: str, value: Any) -> Micro:
    return ("r", key, value)


def a(key: str, value: int) -> Micro:
    return ("append", key, value)


def w(key: str, value: int) -> Micro:
    return ("w", key, value)


LISTS: list[Plant] = [
    Plant("G0", ("read-uncommitted",), at_once(
        [a("x", 1), a("y", 1)], [a("x", 2), a("y", 2)], [r("x", (1, 2))], [r("y", (2, 1))])),
    Plant("G1a", ("read-committed",), [Planted([a("x", 1)], outcome="fail"), Planted([r("x", (1,))])]),
    Plant("G1b", ("read-committed",), at_once([a("x", 1), a("x", 2)], [r("x", (1,))])),
    Plant("G1c", ("read-committed",), at_once([a("x", 1), r("y", (1,))], [a("y", 1), r("x", (1,))])),
    Plant("internal", ("read-committed",), at_once([a("x", 1), r("x", ())])),
    Plant("future-read", ("read-committed",), at_once([r("x", (1,)), a("x", 1)])),
    Plant("dirty-update", ("read-committed",), [
        Planted([a("x", 1)], outcome="fail"), Planted([a("x", 2)]), Planted([r("x", (1, 2))])]),
    Plant("duplicate-elements", ("read-uncommitted",), at_once([a("x", 1)], [r("x", (1, 1))])),
    Plant("incompatible-order", ("read-uncommitted",), at_once([a("x", 1)], [a("x", 2)], [r("x", (1, 2))], [r("x", (2, 1))])),
    Plant("unwritten-read", ("read-uncommitted",), at_once([r("x", (9,))])),
    Plant("non-repeatable-read", ("read-atomic",), at_once([r("x", ()), r("x", (1,))], [a("x", 1)])),
    Plant("G-single", ("read-atomic",), at_once([r("x", ()), r("y", (1,))], [a("x", 1), a("y", 1)])),
    Plant("lost-update", ("consistent-view",), at_once([r("x", ()), a("x", 1)], [r("x", ()), a("x", 2)], [r("x", (1, 2))])),
    Plant("long-fork", ("prefix", "snapshot-isolation"), at_once(
        [a("x", 1)], [a("y", 1)], [r("x", (1,)), r("y", ())], [r("x", ()), r("y", (1,))])),
    Plant("G-nonadjacent", ("prefix", "snapshot-isolation"), at_once(
        [a("x", 1)], [r("x", (1,)), r("y", ())], [a("y", 1)], [r("y", (1,)), r("z", ())], [a("z", 1)],
        [r("z", (1,)), r("x", ())])),
    Plant("G2-item", ("serializable",), at_once([r("x", ()), a("y", 1)], [r("y", ()), a("x", 1)])),
    Plant("G0-process", ("read-committed-session",), [
        Planted([a("x", 1)], 0, 2, 0), Planted([a("x", 2)], 3, 5, 0), Planted([r("x", (2, 1))])]),
    Plant("G0-realtime", ("strong-snapshot-isolation",), [
        Planted([a("x", 1)], 0, 2), Planted([a("x", 2)], 3, 5), Planted([r("x", (2, 1))])]),
    Plant("G1c-process", ("read-committed-session",), [Planted([r("x", (1,))], 0, 2, 0), Planted([a("x", 1)], 3, 5, 0)]),
    Plant("G1c-realtime", ("strong-snapshot-isolation",), [Planted([r("x", (1,))], 0, 2), Planted([a("x", 1)], 3, 5)]),
    Plant("G-single-process", ("read-atomic-session",), [
        Planted([a("x", 1)], 0, 2, 0), Planted([r("x", ())], 3, 5, 0)]),
    Plant("G-single-realtime", ("strong-snapshot-isolation",), [Planted([a("x", 1)], 0, 2), Planted([r("x", ())], 3, 5)]),
    Plant("G-nonadjacent-process", ("prefix",), [
        Planted([r("x", ()), r("y", (1,))]), Planted([a("x", 1)], 0, 2, 0), Planted([r("y", ())], 3, 5, 0),
        Planted([a("y", 1)])]),
    Plant("G-nonadjacent-realtime", ("strong-snapshot-isolation",), [
        Planted([r("x", ()), r("y", (1,))]), Planted([a("x", 1)], 0, 2), Planted([r("y", ())], 3, 5), Planted([a("y", 1)])]),
    Plant("G2-item-process", ("strong-session-serializable",), [
        Planted([a("z", 1)], 0, 2, 0), Planted([r("x", ())], 3, 5, 0), Planted([a("x", 1), r("z", ())])]),
    Plant("G2-item-realtime", ("strict-serializable",), [
        Planted([a("z", 1)], 0, 2), Planted([r("x", ())], 3, 5), Planted([a("x", 1), r("z", ())])]),
]

REGISTERS: list[Plant] = [
    Plant("G1a", ("read-committed",), [Planted([w("x", 1)], outcome="fail"), Planted([r("x", 1)])]),
    Plant("G1b", ("read-committed",), at_once([w("x", 1), w("x", 2)], [r("x", 1)])),
    Plant("G1c", ("read-committed",), at_once([w("x", 1), r("y", 1)], [w("y", 1), r("x", 1)])),
    Plant("internal", ("read-committed",), at_once([w("x", 1), r("x", None)])),
    Plant("future-read", ("read-committed",), at_once([r("x", 1), w("x", 1)])),
    Plant("unwritten-read", ("read-uncommitted",), at_once([r("x", 9)])),
    Plant("non-repeatable-read", ("read-atomic",), at_once([r("x", None), r("x", 1)], [w("x", 1)])),
    Plant("G-single", ("read-atomic",), at_once([r("x", None), r("y", 1)], [w("x", 1), w("y", 1)])),
    Plant("lost-update", ("consistent-view",), at_once([r("x", None), w("x", 1)], [r("x", None), w("x", 2)])),
    Plant("long-fork", ("prefix", "snapshot-isolation"), at_once(
        [w("x", 1)], [w("y", 1)], [r("x", 1), r("y", None)], [r("x", None), r("y", 1)])),
    Plant("G-nonadjacent", ("prefix", "snapshot-isolation"), at_once(
        [w("x", 1)], [r("x", 1), r("y", None)], [w("y", 1)], [r("y", 1), r("z", None)], [w("z", 1)],
        [r("z", 1), r("x", None)])),
    Plant("G2-item", ("serializable",), at_once([r("x", None), w("y", 1)], [r("y", None), w("x", 1)])),
    Plant("G1c-process", ("read-committed-session",), [Planted([r("x", 1)], 0, 2, 0), Planted([w("x", 1)], 3, 5, 0)]),
    Plant("G1c-realtime", ("strong-snapshot-isolation",), [Planted([r("x", 1)], 0, 2), Planted([w("x", 1)], 3, 5)]),
    Plant("G-single-process", ("read-atomic-session",), [Planted([w("x", 1)], 0, 2, 0), Planted([r("x", None)], 3, 5, 0)]),
    Plant("G-single-realtime", ("strong-snapshot-isolation",), [Planted([w("x", 1)], 0, 2), Planted([r("x", None)], 3, 5)]),
    Plant("G-nonadjacent-process", ("prefix",), [
        Planted([r("x", None), r("y", 1)]), Planted([w("x", 1)], 0, 2, 0), Planted([r("y", None)], 3, 5, 0),
        Planted([w("y", 1)])]),
    Plant("G-nonadjacent-realtime", ("strong-snapshot-isolation",), [
        Planted([r("x", None), r("y", 1)]), Planted([w("x", 1)], 0, 2), Planted([r("y", None)], 3, 5), Planted([w("y", 1)])]),
    Plant("G2-item-process", ("strong-session-serializable",), [
        Planted([w("z", 1)], 0, 2, 0), Planted([r("x", None)], 3, 5, 0), Planted([w("x", 1), r("z", None)])]),
    Plant("G2-item-realtime", ("strict-serializable",), [
        Planted([w("z", 1)], 0, 2), Planted([r("x", None)], 3, 5), Planted([w("x", 1), r("z", None)])]),
    Plant("cyclic-versions", ("causal",), [
        # Two clients see two versions of one key in opposite orders, and none of the reads shares a transaction with another.
        Planted([w("x", 1)]), Planted([w("x", 2)]), Planted([r("x", 1)], 0, 2, 0), Planted([r("x", 2)], 3, 5, 0),
        Planted([r("x", 2)], 0, 2, 1), Planted([r("x", 1)], 3, 5, 1)]),
]


def operations(plant: Plant, begin: int = 0) -> list[Operation]:
    """The transactions of a plant, from that step on, on keys of their own."""
    return [
        Operation(
            process=1000 + (100 + at if one.process is None else one.process), f="txn",
            value=tuple((f, f"planted-{key}", value) for f, key, value in one.micros), outcome=one.outcome,
            invoked=1000 * (begin + one.begin) + at, completed=1000 * (begin + one.end) + at,
        )
        for at, one in enumerate(plant.transactions)
    ]


def correct(rng: random.Random, count: int, *, lists: bool, clients: int = 5, keys: int = 4) -> list[Operation]:
    """What clients of a strictly serializable store record: each transaction takes effect at a moment inside of its
    interval. Some fail, and of some nobody knows, whether they took effect or not."""
    state: dict[int, list[int]] = {key: [] for key in range(keys)}
    agenda = []
    free = [rng.random() for _ in range(clients)]
    names = list(range(clients))
    for _ in range(count):
        client = min(range(clients), key=lambda one: free[one])
        begin = free[client] + rng.random()
        effect = begin + rng.random()
        end = effect + rng.random()
        outcome: Outcome = rng.choices(("ok", "fail", "info"), (90, 5, 5))[0]
        agenda.append((effect, begin, end, names[client], outcome, rng.random() < 0.5))
        free[client] = end
        if outcome == "info":
            names[client] = clients + len(agenda)
    done = []
    fresh = 0
    for effect, begin, end, process, outcome, happened in sorted(agenda):
        del effect
        held = {key: list(values) for key, values in state.items()}
        micros: list[Micro] = []
        for _ in range(rng.randint(1, 4)):
            key = rng.randrange(keys)
            if rng.random() < 0.5:
                seen: Any = tuple(held[key]) if lists else held[key][-1] if held[key] else None
                micros.append(("r", key, seen if outcome == "ok" else None))
            else:
                fresh += 1
                held[key].append(fresh)
                micros.append(("append" if lists else "w", key, fresh))
        if outcome == "ok" or (outcome == "info" and happened):
            state = held
        done.append(Operation(
            process=process, f="txn", value=tuple(micros), outcome=outcome, invoked=int(1e6 * begin),
            completed=None if outcome == "info" else int(1e6 * end),
        ))
    return done
