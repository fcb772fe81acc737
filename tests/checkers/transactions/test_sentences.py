"""Every sentence about a dependency is true of the history it is told of, read by a program that knows nothing of how it was
inferred."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from splitbrain import Operation
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.transactions import check, checker, explain
from splitbrain.harness.history.history import History
from tests.checkers.transactions import histories, stores

LIST, ONE, T = r"(\[[^\]]*\])", r"(\S+?)", r"T(\d+)"
ASSUMED = ", as one order of versions has it"


def value(text: str) -> Any:
    if text.startswith("["):
        return tuple(map(int, text[1:-1].split()))
    return None if text == "nil" else int(text)


def read(one: Operation, key: str, found: Any) -> bool:
    return any(f == "r" and str(k) == key and (told or ()) == (found or ()) for f, k, told in one.value)


def wrote(one: Operation, key: str, told: Any) -> bool:
    return any(f != "r" and str(k) == key and written == told for f, k, written in one.value)


class Claims:
    """What the sentences about some transactions, T1, T2, ..., claim, held against these."""

    def __init__(self, operations: Sequence[Operation]) -> None:
        self.operations = operations
        self.kinds: Counter[str] = Counter()

    def t(self, number: str) -> Operation:
        return self.operations[int(number) - 1]

    def over(self, first: str, second: str) -> bool:
        one = self.t(first)
        return one.outcome == "ok" and one.completed is not None and one.completed < self.t(second).invoked

    def follows(self, first: str, second: str) -> bool:
        one, other = self.t(first), self.t(second)
        return one.process == other.process and one.invoked < other.invoked

    def edge(self, sentence: str) -> tuple[int, int]:
        """The transactions that the dependency is between; it fails where what the sentence says is not so."""
        for pattern, claim in (
            (rf"{T} came after {T} in process \S+", lambda b, a: (a, b, self.follows(a, b))),
            (rf"{T} had completed before {T} was invoked.*", lambda a, b: (a, b, self.over(a, b))),
            (rf"{T} saw {T}'s append of {ONE} to {ONE}, because it read {LIST}", self.saw),
            (rf"{T} did not see {T}'s append of {ONE} to {ONE}, because it read {LIST}", self.missed),
            (rf"{T} appended {ONE} to {ONE} before {T} appended {ONE}(, .*|)", self.appended),
            (rf"{T} read {ONE} = {ONE}, which {T} wrote", lambda b, key, told, a: (
                a, b, read(self.t(b), key, value(told)) and wrote(self.t(a), key, value(told)))),
            (rf"{T} read {ONE} = {ONE}, which {T} replaced by {ONE}(, .*|)", self.replaced),
            (rf"{T} wrote {ONE} = {ONE} before {T} wrote {ONE}(, .*|)", self.preceded),
        ):
            if found := re.fullmatch(pattern, sentence[0].upper() + sentence[1:]):
                told: tuple[str, str, bool] = claim(*found.groups())
                assert told[2], sentence
                return int(told[0]) - 1, int(told[1]) - 1
        raise AssertionError(sentence)

    def saw(self, b: str, a: str, element: str, key: str, found: str) -> tuple[str, str, bool]:
        shown = value(found)
        return a, b, read(self.t(b), key, shown) and wrote(self.t(a), key, value(element)) and value(element) in shown

    def missed(self, a: str, b: str, element: str, key: str, found: str) -> tuple[str, str, bool]:
        shown = value(found)
        return a, b, read(self.t(a), key, shown) and wrote(self.t(b), key, value(element)) and value(element) not in shown

    def appended(self, a: str, one: str, key: str, b: str, other: str, why: str) -> tuple[str, str, bool]:
        fine = wrote(self.t(a), key, value(one)) and wrote(self.t(b), key, value(other))
        if found := re.fullmatch(rf", because {T} read {LIST}", why):
            shown = value(found[2])
            fine &= read(self.t(found[1]), key, shown) and shown.index(value(one)) < shown.index(value(other))
        elif found := re.fullmatch(rf", for {T} read {LIST} and nobody found {ONE} before that", why):
            shown = value(found[2])
            fine &= read(self.t(found[1]), key, shown) and value(one) in shown and value(other) not in shown
        else:
            assert why == ASSUMED, why
            self.kinds["assumed"] += 1
        return a, b, fine

    def replaced(self, a: str, key: str, old: str, b: str, new: str, why: str) -> tuple[str, str, bool]:
        fine = read(self.t(a), key, value(old)) and wrote(self.t(b), key, value(new))
        return a, b, fine and ((not why and old == "nil") or self.why(why, key, value(old), value(new)))

    def preceded(self, a: str, key: str, old: str, b: str, new: str, why: str) -> tuple[str, str, bool]:
        fine = wrote(self.t(a), key, value(old)) and wrote(self.t(b), key, value(new))
        return a, b, fine and self.why(why, key, value(old), value(new))

    def why(self, why: str, key: str, old: Any, new: Any) -> bool:
        """Whether a version came before another one for the reason that is told."""
        found = re.fullmatch(rf", for {T} had read (\S+) before it wrote", why)
        if found:
            self.kinds["read"] += 1
            return value(found[2]) == old and read(self.t(found[1]), key, old) and wrote(self.t(found[1]), key, new)
        if found := re.fullmatch(rf", for {T} saw {T} and read {T}'s (\S+)", why):
            reader, author, writer = map(self.t, found.groups()[:3])
            self.kinds["whole"] += 1
            saw = any(f == "w" and read(reader, str(k), told) for f, k, told in author.value)
            return saw and value(found[4]) == new and read(reader, key, new) and wrote(writer, key, new) and \
                wrote(author, key, old)
        if found := re.fullmatch(rf", for process \d+ (read|wrote) (\S+) \({T}\) and then (read|wrote) (\S+) \({T}\)", why):
            did = {"read": read, "wrote": wrote}
            self.kinds["client"] += 1
            return self.follows(found[3], found[6]) and did[found[1]](self.t(found[3]), key, old) and \
                did[found[4]](self.t(found[6]), key, new)
        if found := re.fullmatch(rf", for {T} came after {T} \((.*)\) and read {T}'s (\S+)", why):
            way = [self.edge(one) for one in found[3].split("; ")]
            self.kinds["way"] += 1
            linked = all(a[1] == b[0] for a, b in pairwise(way))
            return linked and way[0][0] == int(found[2]) - 1 and way[-1][1] == int(found[1]) - 1 and \
                wrote(self.t(found[2]), key, old) and read(self.t(found[1]), key, new)
        if found := re.fullmatch(
            rf", for {T}(, which read (\S+),)? had completed before {T}(, which read (\S+),)? was invoked.*", why
        ):
            self.kinds["time"] += 1
            known = (read if found[2] else wrote)(self.t(found[1]), key, old)
            return known and (read if found[5] else wrote)(self.t(found[4]), key, new) and self.over(found[1], found[4])
        self.kinds["assumed"] += 1
        return why == ASSUMED


def spoiled(rng: random.Random, *, lists: bool) -> list[Operation]:
    """What a store that works tells, but that some reads found something else that was there at some time."""
    operations = stores.correct(
        rng, rng.randint(3, 14), lists=lists, clients=rng.randint(2, 5), keys=rng.randint(1, 3)
    )
    told: dict[Any, list[Any]] = {}
    for one in operations:
        for f, key, found in one.value:
            told.setdefault(key, [() if lists else None])
            if found is not None and (f == "w" or (f == "r" and lists)):
                told[key].append(found)
    done = []
    for one in operations:
        own = {key for f, key, _ in one.value if f != "r"}
        done.append(msgspec.structs.replace(one, value=tuple(
            (f, key, rng.choice(told[key]) if f == "r" and one.outcome == "ok" and key not in own and rng.random() < 0.12
             else found)
            for f, key, found in one.value
        )))
    return done


@pytest.mark.parametrize(("lists", "kinds"), [(True, set()), (False, {
    "read", "whole", "client", "time", "assumed",
})], ids=["lists", "registers"])  # fmt: skip
def test_what_is_told_of_a_cycle_is_so(lists: bool, kinds: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "_LONGEST", 99)
    found: Counter[str] = Counter()
    told = 0
    for seed in range(60 if lists else 150):
        verdict = check(History.of(spoiled(random.Random(seed), lists=lists)))
        for anomaly in verdict.anomalies:
            claims = Claims(anomaly.operations)
            assert [claims.edge(edge.sentence) for edge in anomaly.cycle] == [
                (edge.source, edge.target) for edge in anomaly.cycle
            ], (seed, anomaly.sentence)
            # What is only assumed is no contradiction by itself.
            assert not claims.kinds["assumed"] or "every order of them leads to one" in anomaly.sentence, (seed, anomaly)
            found += claims.kinds
            told += len(anomaly.cycle)
    assert set(found) >= kinds and told > 50, (found, told)


NAMED = {
    "G1c": "read-committed", "G-single": "consistent-view", "lost-update": "consistent-view", "long-fork": "snapshot-isolation",
    "G-nonadjacent": "snapshot-isolation", "G2-item": "serializable", "G2-item-process": "strong-session-serializable",
    "G-nonadjacent-process": "strong-session-snapshot-isolation", "G-single-realtime": "strong-snapshot-isolation",
}  # fmt: skip
"""The level of Adya's that each class is against."""


def test_no_cycle_has_a_name_that_is_against_a_level_that_holds() -> None:
    named: set[str] = set()
    for seed in [*range(40), 720, 805, 1588]:  # Where orders that only a stronger level forces are part of the cycle.
        found = checker.find(History.of(spoiled(random.Random(f"b{seed}"), lists=False)), Budget.of(60))
        for cycle in found.cycles:
            assert found.states[NAMED.get(cycle.identifier, cycle.level)] == "refuted", (seed, cycle)  # type: ignore[index]
            named.add(cycle.identifier)
    assert {"G1c", "G-single"} <= named


def test_appends_that_nobody_read_are_tried_in_every_order() -> None:
    """Two of them on one version each missed the other; two on either of two keys have an order that explains them."""
    both = check(histories.concurrent([("r", "x", ()), ("append", "x", 1)], [("r", "x", ()), ("append", "x", 2)]))
    assert both.counts == {"lost-update": 1} and both.validity == "invalid"
    assert {one.model: one.state for one in both.standings}["prefix"] == "holds"
    [told] = both.anomalies
    assert told.sentence == (
        "T1 and T2 both read x = [] and appended to that, 2 and 1: whichever of them came first, the other one had not seen it."
    )
    apart = [[("append", "x", 1), ("append", "y", 1)], [("append", "x", 2), ("append", "y", 2)]]
    assert check(histories.concurrent(*apart)).validity == "valid"
    # Neither transaction can have come first on x without missing what the other one appended to y, or z.
    found = check(histories.concurrent(
        [("append", "x", 1), ("append", "y", 1), ("r", "z", ())], [("append", "x", 2), ("append", "z", 1), ("r", "y", ())],
    ))
    states = {one.model: one.state for one in found.standings}
    assert (states["snapshot-isolation"], states["prefix"]) == ("refuted", "holds")
    assert found.anomalies[0].sentence.endswith("would avoid this cycle, but every order of them leads to one.")


@pytest.mark.parametrize(("transactions", "counts"), [
    ([[("w", "x", 2), ("w", "x", 2)], [("r", "x", 2)]], {}),
    ([[("w", "x", 2), ("r", "x", 2), ("w", "x", 2)], [("r", "x", 2)]], {}),
    ([[("w", "x", 2), ("w", "x", 2), ("w", "x", 3)], [("r", "x", 2)]], {"G1b": 1}),
    ([[("w", "x", 2), ("w", "x", 3), ("r", "x", 2), ("w", "x", 2)]], {"internal": 1}),
    ([[("r", "x", 2), ("w", "x", 2), ("w", "x", 2)]], {"future-read": 1}),
])  # fmt: skip
def test_what_a_transaction_writes_again_is_one_write(transactions: list[Any], counts: dict[str, int]) -> None:
    verdict = check(histories.concurrent(*transactions))
    assert (verdict.counts, verdict.validity) == (counts, "invalid" if counts else "valid")


def test_reading_nothing_after_ones_own_write_accuses_nobody_else() -> None:
    """The version that was read first of all is nobody's: the last transaction has nothing to do with it."""
    history = histories.serial((1, [("w", "x", 1)]), (1, [("r", "x", None)]), (2, [("w", "y", 1)]))
    verdict = check(history)
    assert verdict.counts == {"G-single-process": 1}
    assert all(one.process == 1 for one in verdict.anomalies[0].operations)


def test_an_append_on_top_of_an_aborted_one_is_shown_with_the_read_that_tells_so() -> None:
    history = History.of([
        Operation(process=0, f="txn", value=(("append", 0, 4), ("append", 0, 5)), outcome="fail", invoked=0, completed=1),
        Operation(process=1, f="txn", value=(("append", 0, 6),), invoked=2, completed=3),
        Operation(process=2, f="txn", value=(("r", 0, (4, 6)),), invoked=4, completed=5),
    ])
    dirty = next(one for one in check(history).anomalies if one.identifier == "dirty-update")
    assert dirty.sentence == "T1 appended 6 to 0 on top of 4, which T2 wrote, and that aborted: T3 read 0 = [4 6]."
    assert check(History.of(dirty.operations)).counts["dirty-update"] == 1


def test_a_read_of_ones_own_future_is_no_other_version() -> None:
    told = check(histories.serial((0, [("r", 0, (1,)), ("append", 0, 1), ("r", 0, (1,))])))
    assert told.counts == {"future-read": 1}
