"""Counters: bounds against every order of the operations, and what each kind of wrong read is called."""

from __future__ import annotations

from collections import Counter
from itertools import chain, combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.models.specifications import Counter as Model
from splitbrain.checkers.structures.counter import CounterChecker
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation, Outcome
from splitbrain.harness.history.recording import Phase, Recording
from tests.checkers.linearizability.naive import possible


def add(amount: int, invoked: int, completed: int | None, outcome: Outcome = "ok") -> Operation:
    return Operation(process=invoked, f="add", key=1, value=amount, invoked=invoked, completed=completed, outcome=outcome)


def read(value: int | None, invoked: int, completed: int) -> Operation:
    return Operation(process=invoked, f="read", key=1, value=value, invoked=invoked, completed=completed)


def judge(*operations: Operation, final: int | None = None) -> Verdict:
    """`final` is when the reads in the end began."""
    phases = () if final is None else (Phase("final-reads", final),)
    return CounterChecker().check(Recording(history=History.of(operations), nodes=("n1",), phases=phases))


@pytest.mark.parametrize(("value", "later", "counts"), [
    (5, 15, {"stale-read": 1}), (5, 5, {"wrong-total": 2}), (10, 15, {}), (15, 15, {}), (22, 22, {}),
    (23, 22, {"out-of-bounds": 1}),
])
def test_what_a_wrong_read_is_called(value: int, later: int, counts: dict[str, int]) -> None:
    """5 and 5 are acknowledged before the first read, 5 beside it, 7 may have happened, and 9 did not."""
    verdict = judge(
        add(5, 0, 10), add(5, 20, 30), add(7, 31, None, "info"), add(9, 32, 33, "fail"), add(5, 35, 60), read(value, 40, 50),
        read(later, 70, 80), final=65,
    )
    assert verdict.counts == counts
    assert verdict.validity == ("invalid" if counts else "valid")
    assert [one.state for one in verdict.standings] == [
        "refuted" if counts else "holds", "refuted" if "wrong-total" in counts else "holds"
    ]
    for anomaly in verdict.anomalies:  # The evidence alone is invalid too.
        assert all(generalises(name, anomaly.identifier) for name in judge(*anomaly.operations).counts)
        assert judge(*anomaly.operations).counts


def test_a_last_read_that_lags_says_nothing_of_the_sum() -> None:
    """Whether 5 are gone only reads in the end tell, and one of them that has them all is enough."""
    history = (add(5, 0, 10), add(5, 20, 30), read(5, 40, 50))
    verdict = judge(*history)
    assert verdict.counts == {"stale-read": 1}
    assert {one.model: one.state for one in verdict.standings} == {"counters consistent": "refuted", "sums right": "undecided"}
    assert judge(*history, read(10, 60, 70), read(5, 61, 71), final=55).counts == {"stale-read": 2}
    assert judge(*history, read(5, 60, 70), read(5, 61, 71), final=55).counts == {"wrong-total": 3}
    assert judge(*history, read(None, 60, 70)).counts == {"stale-read": 2}


@pytest.mark.parametrize("unit", [1, 1 << 61, (1 << 63) - 1, 1 << 63, 1 << 70])
def test_counters_have_no_largest_number(unit: int) -> None:
    """Whatever the amounts are counted in, the same reads are wrong."""
    for told, counts in ((1, {"stale-read": 1}), (2, {}), (3, {"non-monotonic-read": 1}), (4, {"out-of-bounds": 1})):
        verdict = judge(
            add(unit, 0, 10), add(unit, 11, 20), add(unit, 21, None, "info"), read(told * unit, 30, 40), read(2 * unit, 50, 60),
        )
        assert verdict.counts == counts, told
        assert all(judge(*anomaly.operations).counts for anomaly in verdict.anomalies)


TIMES = st.tuples(st.integers(0, 12), st.integers(1, 6)).map(lambda pair: (pair[0], pair[0] + pair[1]))


ADDED = st.tuples(TIMES, st.integers(1, 4), st.sampled_from(["ok", "info", "fail"]))


@given(st.lists(ADDED, max_size=5), TIMES, st.integers(0, 12))
def test_a_read_is_wrong_where_no_choice_of_additions_gives_it(
    added: list[tuple[tuple[int, int], int, Outcome]], span: tuple[int, int], value: int
) -> None:
    additions = [add(amount, begun, None if outcome == "info" else done, outcome) for (begun, done), amount, outcome in added]
    must = [one.value for one in additions if one.outcome == "ok" and (one.completed or 0) < span[0]]
    may = [one.value for one in additions if one.outcome != "fail" and one.invoked <= span[1]
           and not (one.outcome == "ok" and (one.completed or 0) < span[0])]
    sums = {sum(must) + sum(some) for some in chain.from_iterable(combinations(may, size) for size in range(len(may) + 1))}
    wrong = bool(judge(*additions, read(value, *span)).counts)
    assert wrong == (not min(sums) <= value <= max(sums))


def test_what_was_seen_once_is_not_gone_later_though_nobody_acknowledged_it() -> None:
    history = add(5, 0, None, "info"), add(2, 1, 3)
    verdict = judge(*history, read(7, 5, 10), read(2, 11, 20), read(7, 21, 30))
    assert verdict.counts == {"non-monotonic-read": 1} and verdict.standings[0].state == "refuted"
    assert judge(*verdict.anomalies[0].operations).counts == verdict.counts
    assert "had been told 7 by" in verdict.anomalies[0].sentence
    assert not judge(*history, read(7, 5, 10), read(2, 10, 20)).counts
    # What was told too high before, or had to be more, is another thing.
    assert judge(*history, read(8, 5, 10), read(2, 11, 20)).counts == {"out-of-bounds": 1}
    assert judge(*history, read(7, 5, 10), read(1, 11, 20)).counts == {"stale-read": 1}


READ = st.tuples(TIMES, st.integers(-1, 9) | st.none())


def by_definition(additions: list[Operation], reads: list[Operation], final: int) -> list[str]:
    """What is wrong with each read of one counter."""
    def must(one: Operation) -> int:
        return sum(other.value for other in additions if other.outcome == "ok" and other.ended < one.invoked)

    def can(one: Operation) -> int:
        return sum(other.value for other in additions if other.outcome != "fail" and other.invoked <= one.ended)

    told = {one.process: one.value or 0 for one in reads}
    last = [told[one.process] for one in reads if one.invoked >= final]
    found = []
    for one in reads:
        value = told[one.process]
        before = [told[other.process] for other in reads if other.ended < one.invoked and told[other.process] <= can(other)]
        later = [told[other.process] for other in reads if (other.invoked, other.ended) > (one.invoked, one.ended)]
        if value < must(one):
            found.append("wrong-total" if last and max([*last, *later]) < must(one) else "stale-read")
        elif value < max(before, default=0):
            found.append("non-monotonic-read")
        if value > can(one):
            found.append("out-of-bounds")
    return found


@given(st.lists(ADDED, max_size=4), st.lists(READ, min_size=1, max_size=4), st.integers(0, 20), st.booleans())
def test_reads_are_counted_by_definition_and_none_that_an_order_explains(
    added: list[tuple[tuple[int, int], int, Outcome]], seen: list[tuple[tuple[int, int], int | None]], final: int, apart: bool
) -> None:
    """What may have happened may come to an end, too; of two counters each is judged by itself."""
    additions = [
        Operation(process=at, f="add", key=1, value=amount, invoked=begun, completed=done if amount % 2 else None if
                  outcome == "info" else done, outcome=outcome) for at, ((begun, done), amount, outcome) in enumerate(added)
    ]
    reads = [Operation(process=10 + at, f="read", key=1, value=value, invoked=span[0], completed=span[1])
             for at, (span, value) in enumerate(seen)]
    other = [replace(one, key=2, process=one.process + 20) for one in [*additions, *reads]] if apart else []
    verdict = judge(*additions, *reads, *other, final=final)
    names = by_definition(additions, reads, final) * (1 + apart)
    assert verdict.counts == Counter(names)
    assert verdict.coverage.refuted == (1 + apart if names else 0)
    if names:
        assert not possible([*additions, *(replace(one, value=one.value or 0) for one in reads)], Model())
    for anomaly in verdict.anomalies:
        again = judge(*anomaly.operations)
        assert again.counts and all(generalises(name, anomaly.identifier) for name in again.counts), anomaly


def test_nothing_read_proves_nothing_and_other_functions_are_refused() -> None:
    assert judge(add(1, 0, 1)).validity == "unknown"
    with pytest.raises(UsageError, match="positive amounts"):
        judge(add(-1, 0, 1))
    with pytest.raises(UsageError, match="no operation 'write'"):
        judge(Operation(process=0, f="write", key=1, value=1, invoked=0, completed=1))


def test_less_than_nothing_is_too_little_though_nothing_was_acknowledged() -> None:
    assert judge(add(5, 70, 80), read(-1, 40, 50), read(-1, 55, 60), final=30).counts == {"wrong-total": 2}
