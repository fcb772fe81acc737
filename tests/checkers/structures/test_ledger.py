"""Balances of one moment: every small bank is judged as by going through all orders of its transfers."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from itertools import combinations, permutations

import pytest
from msgspec.structs import replace

from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.structures import ledger
from splitbrain.checkers.structures.bank import AT_ONCE, UP_TO_DATE, BankChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import NEVER, History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import Recording
from splitbrain.harness.history.variant import Claim, Variant

STRICT = Variant(
    name="v", summary="s", reads="home", writes="home", claim=Claim(text="t", source="s", promises=("linearizable",)),
)
SERIALIZABLE = replace(STRICT, claim=replace(STRICT.claim, promises=("serializable",)))
DEPOSIT = 10

Balances = tuple[int, ...]


def judge(operations: Sequence[Operation], deposit: int | None = DEPOSIT, variant: Variant | None = STRICT) -> Verdict:
    recording = Recording(history=History.of(operations), nodes=("n1",), variant=variant)
    return BankChecker(deposit=deposit).check(recording)


def transfer(source: int, target: int, amount: int, invoked: int, completed: int, outcome: str = "ok") -> Operation:
    return Operation(
        process=invoked, f="transfer", value=(source, target, amount), invoked=invoked, completed=completed,
        outcome=outcome,  # type: ignore[arg-type]
    )


def read(balances: Balances, invoked: int, completed: int) -> Operation:
    return Operation(process=invoked, f="read", value=list(balances), invoked=invoked, completed=completed)


# The definition, word for word.

def over(one: Operation) -> int:
    assert one.completed is not None
    return one.completed if one.outcome == "ok" else NEVER


def orders(transfers: Sequence[Operation], timely: bool) -> Iterator[tuple[Operation, ...]]:
    """Every order of the transfers, one that agrees with time where that is promised, with any of those of which nobody knows
    whether they happened."""
    known = [one for one in transfers if one.outcome == "ok"]
    unknown = [one for one in transfers if one.outcome == "info"]
    for many in range(len(unknown) + 1):
        for some in combinations(unknown, many):
            for order in permutations([*known, *some]):
                if not timely or all(not over(later) < earlier.invoked for earlier, later in combinations(order, 2)):
                    yield order


def prefixes(order: Sequence[Operation], one: Operation, accounts: int) -> Iterator[tuple[Operation, ...]]:
    """The prefixes that explain a read."""
    balances = [DEPOSIT] * accounts
    for length in range(len(order) + 1):
        if length:
            source, target, amount = order[length - 1].value
            balances[source] -= amount
            balances[target] += amount
        begun = all(before.invoked <= (one.completed or 0) for before in order[:length])
        if begun and balances == list(one.value):
            yield tuple(order[:length])


def drawn(rng: random.Random) -> list[Operation]:
    """A few transfers and reads, that of some of them changed."""
    accounts, moments = rng.randint(2, 3), 12
    operations: list[Operation] = []
    for _ in range(rng.randint(1, 4)):
        source, target = rng.sample(range(accounts), 2)
        invoked = rng.randrange(moments)
        outcome = rng.choice(["ok", "ok", "ok", "info", "fail"])
        # One process each, so that no two are equal.
        one = transfer(source, target, rng.randint(1, 3), invoked, invoked + rng.randint(0, 5), outcome)
        operations.append(replace(one, process=100 + len(operations)))
    done = [one for one in operations if one.outcome != "fail"]
    for _ in range(rng.randint(1, 3)):
        balances = [DEPOSIT] * accounts
        for one in done:
            if rng.random() < 0.5:
                source, target, amount = one.value
                balances[source] -= amount
                balances[target] += amount
        invoked = rng.randrange(moments)
        operations.append(read(tuple(balances), invoked, invoked + rng.randint(0, 5)))
    rng.shuffle(operations)
    return operations


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("variant", [STRICT, SERIALIZABLE, None], ids=["strict", "serializable", "nothing promised"])
def test_small_banks_are_judged_as_by_all_orders(variant: Variant | None, seed: int) -> None:
    rng, timely = random.Random(seed), variant is STRICT
    seen: set[str] = set()
    for _ in range(250):
        operations = drawn(rng)
        transfers = [one for one in operations if one.f == "transfer" and one.outcome != "fail"]
        reads = [one for one in operations if one.f == "read"]
        accounts = len(reads[0].value)
        every = list(orders(transfers, timely))
        ways = [{prefix for order in every for prefix in prefixes(order, one, accounts)} for one in reads]
        unexplained = sum(not found for found in ways)
        whole = any(all(any(True for _ in prefixes(order, one, accounts)) for one in reads) for order in every)
        stale = sum(
            timely and bool(found)
            and not any({one for one in transfers if over(one) < at.invoked} <= set(prefix) for prefix in found)
            for at, found in zip(reads, ways, strict=True)
        )
        verdict = judge(operations, variant=variant)
        states = {one.model: one.state for one in verdict.standings}
        assert verdict.counts.get("inconsistent-analysis", 0) == unexplained, operations
        assert verdict.counts.get("stale-read", 0) == stale, operations
        # In both directions: what is refuted has no order, and what holds has one.
        if states.get(AT_ONCE) == "refuted":
            assert not whole, operations
        if states.get(AT_ONCE) == "holds":
            assert whole, operations
        if all(len({frozenset(prefix) for prefix in found}) == 1 for found in ways):
            assert states[AT_ONCE] == ("holds" if whole else "refuted"), operations
            assert bool(verdict.counts.get("long-fork")) is not whole, operations
        assert (states.get(UP_TO_DATE) == "refuted") is bool(stale)
        for anomaly in verdict.anomalies:
            alone = judge(anomaly.operations, variant=variant).counts
            assert any(generalises(name, anomaly.identifier) for name in alone), (anomaly, operations)
        seen |= set(verdict.counts) or {"nothing"}
    assert seen == {"nothing", "inconsistent-analysis", "long-fork"} | ({"stale-read"} if timely else set())


# One of each, and the same where it is right.

A = transfer(0, 1, 5, 10, 20)
B = transfer(1, 2, 3, 30, 40)
TOGETHER = transfer(1, 2, 3, 10, 20)


@pytest.mark.parametrize(("operations", "counts", "sentence"), [
    ([A, B, read((5, 12, 13), 50, 60)], {}, ""),
    ([A, B, read((10, 10, 10), 0, 9)], {}, ""),
    # The debit of one and the credit of another, which add up.
    ([A, transfer(3, 2, 5, 10, 20), read((5, 10, 15, 10), 12, 60)], {"inconsistent-analysis": 1},
     "account 3 held 10 only before any transfer that began at"),
    # What nobody moved.
    ([A, B, read((4, 16, 10), 50, 60)], {"inconsistent-analysis": 1},
     "by the transfers that had begun, account 0 held 4 at no moment until then"),
    # The second without the first, which was over before it began.
    ([A, B, read((10, 7, 13), 50, 60)], {"inconsistent-analysis": 1}, "account 1 held 7 at no moment"),
    # Each account as it was at some moment, and these were different ones.
    ([A, transfer(2, 3, 4, 30, 40), read((5, 15, 10, 10), 50, 60)], {"stale-read": 1}, ""),
    ([A, transfer(2, 3, 4, 30, 40), read((10, 10, 6, 14), 50, 60)], {"inconsistent-analysis": 1},
     "account 0 held 10 only before any transfer that began at"),
    # What had yet to begin, and what certainly did not happen.
    ([A, B, read((5, 12, 13), 22, 29)], {"inconsistent-analysis": 1}, "account 1 held 12 at no moment"),
    ([A, transfer(1, 2, 3, 30, 40, "fail"), read((5, 12, 13), 50, 60)], {"inconsistent-analysis": 1}, "account 1 held 12"),
    ([A, transfer(1, 2, 3, 30, 40, "info"), read((5, 12, 13), 50, 60), read((5, 15, 10), 70, 80)], {"stale": 0}, ""),
    # Of two that were open at once each was seen alone.
    ([A, TOGETHER, read((5, 15, 10), 12, 50), read((10, 7, 13), 12, 50)], {"long-fork": 1}, "and without client 10's transfer"),
    ([A, TOGETHER, read((5, 15, 10), 12, 50), read((5, 12, 13), 12, 50)], {}, ""),
    # What was over before it began.
    ([A, B, read((5, 15, 10), 50, 60)], {"stale-read": 1}, "without client 30's transfer of 3 from 1 to 2"),
])
def test_each_finding_and_its_opposite(operations: list[Operation], counts: dict[str, int], sentence: str) -> None:
    verdict = judge(operations)
    assert verdict.counts == {name: number for name, number in counts.items() if number}, verdict.anomalies
    assert verdict.validity == ("invalid" if verdict.counts else "valid")
    assert not sentence or sentence in verdict.anomalies[0].sentence, verdict.anomalies[0].sentence


def test_the_first_balances_are_told_or_read_and_else_nothing_is_said() -> None:
    first, wrong = read((10, 10, 10), 0, 5), read((4, 16, 10), 50, 60)
    assert judge([first, A, wrong], deposit=None).counts == {"inconsistent-analysis": 1}
    assert judge([first, A, wrong], deposit=None).anomalies[0].operations[0].value == (10, 10, 10)
    late = judge([A, wrong], deposit=None)
    assert late.validity == "valid" and AT_ONCE not in {one.model for one in late.standings}
    # Who records no transfers may have made some all the same.
    assert judge([first, wrong], deposit=None).validity == "valid"
    # A transfer that does not tell what it moved might explain anything.
    untold = Operation(process=7, f="transfer", value=None, invoked=11, completed=12, outcome="info")
    assert judge([first, A, untold, wrong], deposit=None).validity == "valid"


def test_maps_and_the_words_of_files_are_understood() -> None:
    first = Operation(process=0, f="read", value={"0": 10, "1": 0}, invoked=0, completed=5)
    moved = Operation(process=0, f="transfer", value={"from": 0, "to": 1, "amount": 4}, invoked=10, completed=20)
    right = Operation(process=0, f="read", value={"1": 4, "0": 6}, invoked=30, completed=40)
    wrong = Operation(process=0, f="read", value={"1": 3, "0": 7}, invoked=30, completed=40)
    assert judge([first, moved, right], deposit=None).validity == "valid"
    assert judge([first, moved, wrong], deposit=None).counts == {"inconsistent-analysis": 1}


def test_too_much_to_go_through_is_never_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [transfer(at % 3, (at + 1) % 3, 1 + at % 5, 10 + at, 100 + at, "info") for at in range(40)]
    operations = [*many, read((9, 12, 9), 200, 210), read((11, 11, 8), 200, 210)]
    for name, value in (("_STEPS", 10), ("MOST_OPEN", 3), ("_HEADS", 3)):
        monkeypatch.setattr(ledger, name, value)
        verdict = judge(operations)
        assert verdict.validity == "valid" and AT_ONCE not in {one.model for one in verdict.standings}
        monkeypatch.undo()


def test_what_a_search_that_was_cut_short_has_counted_is_told_as_the_least(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wrong balance is seen at once; what the other read saw was not found out."""
    many = [transfer(at % 3, (at + 1) % 3, 1, 10 + at, 100 + at, "info") for at in range(40)]
    wrong, late = read((4, 16, 10), 9, 9), read((9, 12, 9), 200, 210)
    operations = [wrong, *many, late]
    whole = judge([wrong, *many[:3], read((10, 10, 10), 200, 210)])
    assert ": 1 inconsistent-analysis." in whole.reason and whole.complete
    monkeypatch.setattr(ledger, "MOST_OPEN", 3)
    part = judge(operations)
    assert ": at least 1 inconsistent-analysis." in part.reason and not part.complete
    assert judge([*many, late]).complete


def test_a_long_history_of_one_order_holds() -> None:
    """As of a serializable bank: each transfer and each read happens at one moment of its call."""
    rng = random.Random(5)
    balances, operations = [DEPOSIT] * 5, []
    for at in range(0, 40_000, 20):
        if rng.random() < 0.4:
            operations.append(read(tuple(balances), at - rng.randint(0, 60), at + rng.randint(1, 60)))
            continue
        source, target = rng.sample(range(5), 2)
        outcome = "info" if rng.random() < 0.005 else "ok"
        amount = rng.randint(1, 9)
        operations.append(transfer(source, target, amount, at - rng.randint(0, 60), at + rng.randint(1, 60), outcome))
        if outcome == "ok" or rng.random() < 0.5:
            balances[source] -= amount
            balances[target] += amount
    verdict = judge(operations)
    assert not set(verdict.counts) - {"negative-balance"}


def test_who_promises_no_real_time_may_show_the_later_transfer_alone() -> None:
    reverse = [A, B, read((10, 7, 13), 50, 60)]
    assert judge(reverse).validity == "invalid"
    for variant in (SERIALIZABLE, None):
        assert judge(reverse, variant=variant).validity == "valid"
