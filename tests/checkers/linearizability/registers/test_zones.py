"""Zones and chains against the plain search, one key and many keys at once."""

from __future__ import annotations

import random

import msgspec
import numpy as np
import pytest

from bench import generate
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.models.specifications import CasRegister, Register
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.random_histories import register_history


def _history(seed: str, initial: object, broken: float = 0.7) -> History:
    rng = random.Random(seed)
    return register_history(
        rng, operations=rng.choice([4, 8, 12]), processes=rng.choice([2, 3, 5]), unique=rng.random() < 0.9,
        cas=rng.random() < 0.7, refused=rng.random() < 0.6, initial=initial, broken=broken,
    )


@pytest.mark.parametrize("initial", [None, 0, "x", 101])
@pytest.mark.parametrize("nil", ["absent", "wildcard"])
def test_zones_agree_with_the_plain_search(initial: object, nil: str) -> None:
    model = CasRegister(initial=initial, nil=nil)  # type: ignore[arg-type]
    seen = {zones.VALID: 0, zones.INVALID: 0, zones.UNDECIDED: 0}
    for seed in range(300):
        history = _history(f"{initial} {nil} {seed}", initial)
        status = int(zones.decide(history, model)[0])
        seen[status] += 1
        if status != zones.UNDECIDED:
            assert (status == zones.VALID) is search(history, model).valid, seed
    assert seen[zones.VALID] > 50 and seen[zones.INVALID] > 30 and seen[zones.UNDECIDED] < 125


def test_keys_are_judged_apart_but_together() -> None:
    model = CasRegister()
    for seed in range(60):
        parts = [_history(f"keys {seed} {key}", None) for key in range(8)]
        shift = random.Random(seed).choice([0, 1, 1000, 1 << 50])
        whole = History.of([
            msgspec.structs.replace(op, key=f"k{key}", invoked=op.invoked + key * shift,
                                    completed=None if op.completed is None else op.completed + key * shift)
            for key, part in enumerate(parts) for op in part
        ])
        status = zones.decide(whole, model)
        for code, name in enumerate(whole.keys):
            assert status[code + 1] == zones.decide(parts[int(str(name)[1:])], model)[0]


def test_values_of_other_types_are_other_values() -> None:
    def judged(written: object, read: object) -> int:
        history = History.of([
            Operation(process=0, f="write", value=written, invoked=0, completed=1),
            Operation(process=0, f="read", value=read, invoked=2, completed=3),
        ])
        return int(zones.decide(history, Register())[0])

    values: list[object] = [1, "1", True, 1.0, [1], {"a": 1}, None, 1 << 70]
    for a in values[:6]:
        for b in values:
            assert judged(a, b) == (zones.VALID if a is b else zones.INVALID)
    assert judged([1, [2]], (1, (2,))) == zones.VALID


def test_huge_times_do_not_overflow() -> None:
    far = (1 << 62) + 5
    operations = [
        Operation(process=0, f="write", value=1, key=key, invoked=0, completed=1) for key in range(50)
    ] + [Operation(process=0, f="read", value=1 + key % 2, key=key, invoked=far, completed=far + 1) for key in range(50)]
    status = zones.decide(History.of(operations), Register())
    assert status[0] == zones.ABSENT
    assert np.bincount(status[1:]).tolist() == [0, 25, 25]


def test_an_unseen_info_may_be_the_reason_of_a_refusal() -> None:
    """cas 1→2 refused: only the info write of 5, which nobody read, explains it. Zones must not say that it is broken."""
    history = History.of([
        Operation(process=0, f="write", value=1, invoked=0, completed=1),
        Operation(process=1, f="write", value=5, outcome="info", invoked=2),
        Operation(process=0, f="cas", value=(1, 2), outcome="fail", error="mismatch", invoked=4, completed=5),
    ])
    assert search(history, CasRegister()).valid is True
    assert zones.decide(history, CasRegister())[0] != zones.INVALID
    assert zones.decide(history.select(np.array([0, 2])), CasRegister())[0] != zones.VALID


def test_an_unknown_operation_is_refused() -> None:
    history = History.of([Operation(process=0, f="pop", invoked=0, completed=1)])
    with pytest.raises(UsageError, match="pop"):
        zones.decide(history, Register())


@pytest.mark.servers  # as long as one
def test_refusals_that_told_nothing_agree_with_the_plain_search() -> None:
    model = CasRegister()
    seen = {zones.VALID: 0, zones.INVALID: 0, zones.UNDECIDED: 0}
    refuted = 0
    for seed in range(1500):
        rng = random.Random(seed)
        told = register_history(
            rng, operations=rng.choice([4, 8, 12]), processes=rng.choice([2, 3, 5]), info=rng.choice([0, 0.1, 0.3]), broken=0.5,
        )
        history = History.of([msgspec.structs.replace(op, seen=()) for op in told])
        status = int(zones.decide(history, model)[0])
        seen[status] += 1
        refuted += bool(zones.refused_in_vain(history, model))
        if status != zones.UNDECIDED:
            assert (status == zones.VALID) is search(history, model).valid, seed
    assert seen[zones.VALID] > 900 and seen[zones.INVALID] > 120 and refuted >= 2, (seen, refuted)
    assert seen[zones.UNDECIDED] < 36, seen


@pytest.mark.parametrize("told", [True, False])
def test_large_histories_with_refusals_and_unanswered_writes_need_no_search(told: bool) -> None:
    operations = list(generate.operations("cas-register", 5000, unsure=0.02, seed=3))
    if not told:
        operations = [msgspec.structs.replace(op, seen=()) for op in operations]
    history = History.of(operations)
    assert zones.decide(history, CasRegister()).tolist() == [zones.VALID]


def test_a_refusal_of_what_was_there_all_the_time_is_found_and_shown() -> None:
    operations = list(generate.operations("cas-register", 5000, unsure=0.0, seed=3))
    last = max(op.completed for op in operations if op.completed is not None)
    refused = Operation(
        process=-1, f="cas", value=(10**6, -1), outcome="fail", error="mismatch", invoked=last + 6, completed=last + 7,
    )
    around = [
        Operation(process=-1, f="write", value=10**6, invoked=last + 1, completed=last + 2),
        Operation(process=-1, f="read", value=10**6, invoked=last + 3, completed=last + 4),
    ]
    spoiled = History.of([*operations, *around, refused])
    assert zones.refused_in_vain(spoiled, CasRegister()) == [len(spoiled) - 1]
    verdict = check(spoiled, CasRegister())
    assert verdict.validity == "invalid"
    evidence = verdict.anomalies[0].operations
    assert len(evidence) <= 3 and refused.value in [op.value for op in evidence]
    assert check(History.of(evidence), CasRegister()).counts == verdict.counts


def test_past_the_moment_nothing_is_decided_that_is_not_certain() -> None:
    for seed in range(60):
        history = register_history(random.Random(f"late {seed}"), operations=10)
        truth, late = zones.decide(history, CasRegister()), zones.decide(history, CasRegister(), Budget.of(-1))
        assert all(told in (zones.UNDECIDED, zones.ABSENT, truly) for told, truly in zip(late, truth, strict=True)), seed
        assert zones.VALID not in late
