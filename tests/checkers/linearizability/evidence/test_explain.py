"""What a violation is called, and that its evidence alone shows it."""

from __future__ import annotations

import random
import re
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.anomalies import ANOMALIES, generalises
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability import engine as engine_module
from splitbrain.checkers.linearizability.evidence.explain import explain
from splitbrain.checkers.linearizability.evidence.lineages import Course
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import CasRegister, Mutex
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.history.history import History
from splitbrain.harness.history.moment import clock
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability import stores
from tests.checkers.linearizability.random_histories import register_history

SECOND = 10**9


def _w(value: Any, invoked: int, completed: int, *, p: int = 0, at: str | None = None, outcome: Any = "ok") -> Operation:
    return Operation(process=p, f="write", value=value, invoked=invoked, completed=completed, outcome=outcome, node=at)


def _r(value: Any, invoked: int, completed: int, *, p: int = 1, at: str | None = None) -> Operation:
    return Operation(process=p, f="read", value=value, invoked=invoked, completed=completed, node=at)


def _c(a: Any, b: Any, invoked: int, completed: int, *, p: int = 2, at: str | None = None, outcome: Any = "ok") -> Operation:
    return Operation(process=p, f="cas", value=(a, b), invoked=invoked, completed=completed, outcome=outcome, node=at)


def _judge(*operations: Operation) -> Verdict:
    return check(History.of(operations), CasRegister())


CASES: dict[str, tuple[dict[str, int], list[Operation]]] = {
    "an acknowledged write that was never seen, by a reader who may ask a copy that lags": (
        {"stale-read": 1}, [_w(1, 0, 1), _w(2, 2, 3), _r(1, 4, 5)],
    ),
    "seen once, then not any more": (
        {"stale-read": 2}, [_w(1, 0, 1), _w(2, 2, 3), _r(2, 4, 5), _r(1, 6, 7), _r(1, 8, 9)],
    ),
    "several missed at once": (
        {"stale-read": 1}, [_w(1, 0, 1), _w(2, 2, 3), _w(3, 4, 5), _w(4, 6, 7), _r(1, 8, 9)],
    ),
    "a cas made on the value before it": (
        {"lost-write": 1}, [_w(7, 0, 1), _w(42, 2, 3), _c(7, 51, 4, 5), _r(51, 6, 7)],
    ),
    "a cas that was replaced by what had been there before it": (
        {"lost-write": 1}, [_w(7, 0, 1), _w(42, 2, 3), _c(7, 51, 4, 5), _r(42, 6, 7)],
    ),
    "an acknowledged cas, then the value before it": (
        {"stale-read": 1}, [_w(7, 0, 1), _c(7, 8, 2, 3), _r(7, 4, 5)],
    ),
    "old while the newer one is seen again later": (
        {"stale-read": 1}, [_w(1, 0, 1), _w(2, 2, 3), _r(1, 4, 5), _r(2, 6, 7)],
    ),
    "old while something newer still is seen later": (
        {"stale-read": 1}, [_w(1, 0, 1), _w(2, 2, 3), _r(1, 4, 5), _w(3, 6, 7), _r(3, 8, 9)],
    ),
    "the initial value, later than a write": (
        {"stale-read": 1}, [_w(1, 0, 1), _r(None, 2, 3), _r(1, 4, 5)],
    ),
    "old in the end, but on one node of three only": (
        {"stale-read": 1},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="b"), _r(2, 4, 5, at="c"), _r(1, 6, 7, at="a")],
    ),
    "old on most nodes, but nobody asked the one that acknowledged": (
        {"stale-read": 2},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(1, 4, 5, at="b"), _r(1, 6, 7, at="c")],
    ),
    "old in the end, through the node that had acknowledged": (
        {"stale-read": 1},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(2, 4, 5, at="b"), _r(2, 6, 7, at="c"), _r(1, 8, 9, at="a")],
    ),
    "two cas on one value": ({"split-brain": 1}, [_w(1, 0, 1), _c(1, 2, 2, 3), _c(1, 3, 4, 5)]),
    "two cas on one value, and one of them survived": (
        {"lost-write": 1}, [_w(1, 0, 1), _c(1, 2, 2, 3), _c(1, 3, 4, 5), _r(3, 6, 7)],
    ),
    "two cas on one value, both seen in the end": (
        {"split-brain": 1},
        [_w(1, 0, 1), _c(1, 2, 2, 3), _c(1, 3, 4, 5), _r(2, 6, 7), _r(3, 8, 9)],
    ),
    "what came of a write that had not begun": (
        {"future-read": 1}, [_c(1, 2, 0, 9), _c(2, 3, 1, 2), _w(1, 4, 5), _r(3, 20, 21)],
    ),
    "new, then old, while the write is pending": (
        {"non-monotonic-read": 1}, [_w(1, 0, 1), _w(2, 2, 20), _r(2, 3, 4), _r(1, 5, 6), _r(2, 21, 22)],
    ),
    "the value of a failed write": ({"aborted-read": 1}, [_w(1, 0, 1), _w(2, 2, 3, outcome="fail"), _r(2, 4, 5)]),
    "before it was written": ({"future-read": 1}, [_r(1, 0, 1), _w(1, 2, 3), _r(1, 4, 5)]),
    "never written": ({"unwritten-read": 1}, [_w(1, 0, 1), _r(9, 2, 3), _r(1, 4, 5)]),
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_name_of_a_violation(case: str) -> None:
    counts, operations = CASES[case]
    verdict = _judge(*operations)
    assert verdict.validity == "invalid"
    assert verdict.counts == counts
    assert verdict.anomalies[0].identifier == next(iter(counts))


RUNS: dict[str, tuple[dict[str, int], list[Operation]]] = {
    "all homes read what is older, in the end": (
        {"lost-write": 1},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(1, 100, 101, at="a"), _r(1, 102, 103, at="b")],
    ),
    "one home is not heard of in the end": (
        {"stale-read": 1}, [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="b"), _r(1, 100, 101, at="a")],
    ),
    "two homes read different things in the end": (
        {"stale-read": 1}, [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(1, 100, 101, at="a"), _r(2, 102, 103, at="b")],
    ),
    "lost, and overwritten later": (
        {"lost-write": 1},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(1, 60, 61, at="a"), _r(1, 62, 63, at="b"), _w(3, 70, 71, at="b"),
         _r(3, 100, 101, at="a"), _r(3, 102, 103, at="b")],
    ),
    "missed by one copy, and overwritten later": (
        {"stale-read": 1},
        [_w(1, 0, 1, at="a"), _w(2, 2, 3, at="a"), _r(2, 60, 61, at="a"), _r(1, 62, 63, at="b"), _w(3, 70, 71, at="b"),
         _r(3, 100, 101, at="a"), _r(3, 102, 103, at="b")],
    ),
    # a was cut off. 2 was acknowledged where the majority is, read there, and properly replaced by 4; 3 and 5 were a's own.
    "the write in the way of the lineage that died is not the one that is lost": (
        {"lost-write": 1},
        [_w(1, 0, 1, at="b"), _w(2, 2, 3, at="b"), _r(2, 4, 5, at="b"), _c(1, 3, 6, 7, at="a"), _r(3, 8, 9, at="a"),
         _w(4, 10, 11, at="b"), _r(4, 60, 61, at="a"), _r(4, 62, 63, at="b"), _r(4, 100, 101, at="a"), _r(4, 102, 103, at="b")],
    ),
}
"""Of runs that began to heal at 50 and had settled at 100."""


@pytest.mark.parametrize("case", sorted(RUNS))
def test_what_a_run_that_settled_has_lost(case: str) -> None:
    counts, operations = RUNS[case]
    verdict = check(History.of(operations), CasRegister(), course=Course(100, (50,)))
    assert verdict.counts == counts
    _confirm(verdict, CasRegister())
    told = verdict.anomalies[0].sentence
    if "lost-write" in counts:
        assert told.startswith("cas 1 → 3" if "in the way" in case else "write 2"), told
        assert "nobody found it again: after the heal a and b read" in told
    # The same operations, of which no one knows what the copies held in the end, accuse nobody.
    assert "lost-write" not in check(History.of(operations), CasRegister(), course=Course(1000, (50,))).counts


LAST = [_r(1, 60, 61, at="a"), _r(1, 62, 63, at="b"), _r(1, 100, 101, at="a"), _r(1, 102, 103, at="b")]


@pytest.mark.parametrize(("writes", "lost"), [
    ([_w(2, 2, 3), _w(3, 4, 5), _w(4, 6, 7)], [4]),
    ([_w(2, 2, 3), _w(3, 4, 8), _w(4, 6, 7)], [3, 4]),  # Nobody knows which of the two replaced the other.
    ([_w(2, 2, 5), _w(3, 4, 7)], [2, 3]),
    ([_w(2, 2, 3), _c(2, 3, 4, 5)], [2, 3]),  # What was made of it is gone with it.
    ([_w(2, 2, 3), _c(2, 3, 4, 5), _w(4, 6, 7)], [4]),
    # It was gone before another one took its place.
    ([_w(2, 2, 3), _r(1, 52, 53, at="a"), _r(1, 54, 55, at="b"), _w(3, 56, 57)], [2, 3]),
])
def test_what_was_overwritten_before_is_not_lost(writes: list[Operation], lost: list[int]) -> None:
    """In the end there is 1 again, as where a server comes back without what it had not written to its disk."""
    operations = [_w(1, 0, 1), *writes, *LAST]
    homes = [msgspec.structs.replace(op, node=op.node or "a") for op in operations]
    verdict = check(History.of(homes), CasRegister(), course=Course(100, (50,)))
    accused = [one.operations[one.accused].value for one in verdict.anomalies
               if one.identifier == "lost-write" and one.accused is not None]
    assert sorted(value if isinstance(value, int) else value[1] for value in accused) == lost
    _confirm(verdict, CasRegister())


def _confirm(verdict: Verdict, model: CasRegister) -> None:
    for anomaly in verdict.anomalies:
        again = check(History.of(anomaly.operations), model)
        assert again.validity == "invalid"
        assert all(generalises(name, anomaly.identifier) for name in again.counts), (anomaly, again.counts)


@pytest.mark.parametrize("case", sorted(CASES))
def test_the_evidence_alone_shows_the_same_or_something_more_general(case: str) -> None:
    verdict = _judge(*CASES[case][1])
    _confirm(verdict, CasRegister())
    assert all(len(anomaly.operations) <= 6 for anomaly in verdict.anomalies)


@pytest.mark.parametrize("small", [0, 600])
def test_random_violations_are_named_and_proven(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways, by zones and by a search first; the verdict is that of the plain search."""
    monkeypatch.setattr(engine_module, "SMALL", small)
    shown = 0
    for seed in range(800):
        rng = random.Random(f"explain {seed}")
        history = register_history(rng, operations=10, processes=3, unique=rng.random() < 0.9, broken=0.9)
        model = CasRegister()
        verdict = check(history, model)
        assert (verdict.validity == "valid") is search(history, model).valid, seed
        if verdict.validity != "invalid":
            assert not verdict.counts and not verdict.anomalies
            continue
        assert verdict.anomalies and set(verdict.counts) <= set(ANOMALIES)
        _confirm(verdict, model)
        shown += len(verdict.anomalies)
    assert shown > 200


MUTATIONS: dict[str, str] = {
    "drop a write": "stale-read", "move a read back": "stale-read", "read a failed write": "aborted-read",
    "read ahead": "future-read", "read nonsense": "unwritten-read", "fork": "split-brain",
}


@pytest.mark.parametrize("mutation", sorted(MUTATIONS))
def test_a_valid_history_spoiled_in_one_way_gets_exactly_that_name(mutation: str) -> None:
    for seed in range(30):
        rng = random.Random(f"{mutation} {seed}")
        operations: list[Operation] = []
        now, value, reads = 0, 0, rng.randint(1, 3)
        for value in range(1, 12):
            operations.append(_w(value, now, now + 5))
            for _ in range(reads):
                now += 10
                operations.append(_r(value, now, now + rng.randint(1, 5)))
            now += 10
        at = rng.randrange(3, 8)
        match mutation:
            case "drop a write":
                # The database forgets the last write: what is read from now on is the one before.
                operations += [_w(12, now, now + 5), _r(11, now + 10, now + 11), _r(11, now + 20, now + 25)]
            case "move a read back":
                place = next(i for i, op in enumerate(operations) if op.f == "read" and op.value == at)
                old = operations[place]
                operations[place] = _r(at - 2, old.invoked, old.completed or 0)
            case "read a failed write":
                operations += [_w(99, now, now + 5, outcome="fail"), _r(99, now + 10, now + 12), _r(11, now + 20, now + 22)]
            case "read ahead":
                operations += [_r(99, now, now + 5), _w(99, now + 10, now + 12), _r(99, now + 20, now + 22)]
            case "read nonsense":
                operations += [_r(99, now, now + 5), _r(11, now + 20, now + 22)]
            case "fork":
                operations += [_c(11, 98, now, now + 5), _c(11, 99, now + 2, now + 6)]
        verdict = _judge(*operations)
        assert list(verdict.counts) == [MUTATIONS[mutation]], seed
        _confirm(verdict, CasRegister())


def test_sentences_tell_who_read_what_where_and_when() -> None:
    second = 1_000_000_000
    verdict = _judge(
        _w(17, 1 * second, 2 * second, p=4, at="n1"), _w(18, 3 * second, 4 * second, p=5, at="n1"),
        _r(17, 5 * second, 6 * second, p=3, at="n2"), _r(18, 7 * second, 8 * second, p=3, at="n3"),
    )
    assert verdict.anomalies[0].sentence == (
        "client 3 read 17 from n2 at 0:05.000, although write 18 had been acknowledged at 0:04.000"
    )


@pytest.mark.parametrize("flaw", [flaw for flaw in stores.NAMES if flaw != "none"])
def test_every_operation_that_a_sentence_names_is_in_the_evidence(flaw: stores.Flaw) -> None:
    found = 0
    for seed in (*range(40), 77, 92, 237):
        calls = [
            msgspec.structs.replace(call, invoked=call.invoked * SECOND,
                                    completed=None if call.completed is None else call.completed * SECOND)
            for call in stores.tell(random.Random(seed), flaw).operations
        ]
        for anomaly in check(History.of(calls), CasRegister()).anomalies:
            said = anomaly.sentence.split("; nobody found it again")[0]  # Closing reads prove that by their number alone.
            moments = {clock(at) for call in anomaly.operations for at in (call.invoked, call.completed) if at is not None}
            assert set(re.findall(r"\d:\d\d\.\d{3}", said)) <= moments, (seed, anomaly)
            values = {value for call in anomaly.operations
                      for value in (call.value if isinstance(call.value, tuple) else (call.value,))}
            assert set(map(int, re.findall(r"(?:write|read|→) (\d+)", said))) <= values, (seed, anomaly)
            found += len(moments) > 1
    assert found > 10


def test_a_refuted_search_shows_a_part_that_is_refuted() -> None:
    operations = [
        Operation(process=p, f=f, invoked=at, completed=at + 1)
        for at, (p, f) in enumerate([(0, "acquire"), (0, "release"), (0, "acquire"), (1, "acquire"), (0, "release")])
    ]
    shifted = [operation for at, operation in enumerate(operations) for operation in [
        Operation(process=operation.process, f=operation.f, invoked=at * 10, completed=at * 10 + 1)
    ]]
    verdict = check(History.of(shifted), Mutex())
    assert verdict.counts == {"non-linearizable": 1}
    evidence = verdict.anomalies[0].operations
    assert len(evidence) < len(shifted)
    assert search(History.of(evidence), Mutex()).valid is False


def test_repeated_values_are_explained_without_leaving_out_what_may_have_been_read() -> None:
    """3 is written again before the last read: the first write of 3 alone would make a stale read of a valid one."""
    verdict = _judge(_w(3, 0, 1), _w(4, 2, 3), _w(3, 4, 5), _r(3, 6, 7), _w(5, 8, 9), _r(4, 10, 11))
    assert verdict.validity == "invalid"
    values = [operation.value for operation in verdict.anomalies[0].operations]
    assert 4 in values and 5 in values
    assert list(verdict.counts) == ["stale-read"]


def test_an_explanation_that_ran_out_of_time_says_so() -> None:
    history = History.of(CASES["several missed at once"][1])
    assert explain(history, CasRegister(), 5, Budget.of(-1)) == ({}, [], False)
    assert explain(history, CasRegister(), 5)[2]


def test_times_before_zero_are_times_like_others() -> None:
    refuted = 0
    for seed in range(150):
        history = register_history(random.Random(seed), operations=10, broken=1.0)
        if zones.decide(history, CasRegister())[0] != zones.INVALID:
            continue
        earlier = History.of([
            msgspec.structs.replace(
                op, invoked=op.invoked - 100, completed=None if op.completed is None else op.completed - 100,
            ) for op in history
        ])
        counts, findings, _ = explain(history, CasRegister(), 5)
        counts_earlier, findings_earlier, _ = explain(earlier, CasRegister(), 5)
        refuted += bool(counts)
        assert {name: [(moment.began - 100, moment.seen - 100) for moment in moments] for name, moments in counts.items()} == {
            name: [(moment.began, moment.seen) for moment in moments] for name, moments in counts_earlier.items()
        }, seed
        assert [found.rows for found in findings] == [found.rows for found in findings_earlier], seed
    assert refuted > 40


@pytest.mark.parametrize("links", [400, 5000])
def test_a_long_lineage_is_counted_and_not_listed(links: int) -> None:
    """One old read at the end of many compare-and-sets, each on what the one before it had set."""
    operations = [Operation(process=0, f="write", value=0, invoked=0, completed=1)]
    operations += [
        Operation(process=at % 5, f="cas", value=(at, at + 1), invoked=10 * at + 10, completed=10 * at + 15)
        for at in range(links)
    ]
    whole = check(History.of(operations), CasRegister())
    assert whole.validity == "valid"
    operations.append(Operation(process=9, f="read", value=links // 5, invoked=10 * links + 50, completed=10 * links + 60))
    verdict = check(History.of(operations), CasRegister())
    assert verdict.counts == {"stale-read": 1}
    [anomaly] = verdict.anomalies
    assert len(anomaly.operations) <= 4 and anomaly.accused is not None and anomaly.operations[anomaly.accused].f == "read"
    assert "more compare-and-sets in between" in anomaly.sentence


BRANCHES: dict[str, list[Operation]] = {
    "of two compare-and-sets": [_w(0, 0, 1), _c(0, 1, 2, 3), _c(1, -1, 4, 5), _c(1, 2, 6, 7)],
    "of which the one that died went on": [_w(0, 0, 1), _c(0, 1, 2, 3), *(_c(-at, -at - 1, 4 + at, 5 + at) if at else
                                          _c(1, -1, 4, 5) for at in range(90)), _c(1, 2, 100, 101)],
    "of a write that an older version came after": [_w(0, 0, 1), _c(0, 1, 2, 3), _w(-1, 4, 5), _c(1, 2, 6, 7)],
    "of a write that an older version came after, that had been read": [
        _w(0, 0, 1), _c(0, 1, 2, 90), _r(1, 3, 4), _w(-1, 5, 6), _c(1, 2, 100, 101),
    ],
    "of a write after which the version before it went on, and died": [
        _w(0, 0, 1), _c(0, 1, 2, 3), _w(3.5, 4, 5), _c(1, -2, 6, 7), _c(3.5, 2, 8, 9),
    ],
}


@pytest.mark.parametrize("begin", BRANCHES.values(), ids=BRANCHES)
def test_what_a_long_lineage_lost_where_it_began_is_told(begin: list[Operation]) -> None:
    """Two lineages from one version, of which the one that survived went on for long after."""
    end = max(op.completed or 0 for op in begin)
    long = [_c(at, at + 1, end + 10 * at, end + 10 * at + 5) for at in range(2, 300)]
    last = [_r(300, end + 4000, end + 4001, p=5)]
    verdict = check(History.of([*begin, *long, *last]), CasRegister(), course=Course(end + 4000, ()))
    died = [op for op in begin if op.f != "read" and (op.value[1] if op.f == "cas" else op.value) < 0]
    assert verdict.counts == {"lost-write": len(died)}, verdict.reason
    for anomaly in verdict.anomalies:
        assert len(anomaly.operations) <= 10 and "more compare-and-sets in between" in anomaly.sentence
        assert _judge(*anomaly.operations).validity == "invalid", anomaly
