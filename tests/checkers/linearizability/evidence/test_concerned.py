"""What is said of the part of a history that is concerned is what is said of all of it."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest

from bench import generate
from splitbrain.checkers.linearizability.evidence import explain as explain_module
from splitbrain.checkers.linearizability.evidence.concerned import concerned
from splitbrain.checkers.linearizability.evidence.explain import explain
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.models.specifications import CasRegister
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.checkers.linearizability.fuzz import KINDS, breakage, histories
from tests.checkers.linearizability.stores import NAMES, tell

MODEL = CasRegister()


def compared(history: History, monkeypatch: pytest.MonkeyPatch) -> dict[str, int]:
    """The anomalies of the whole, having found the same ones, at the same moments, in the part."""
    told = []
    for long in (len(history), 0):
        monkeypatch.setattr(explain_module, "LONG", long)
        moments, findings, whole = explain(history, MODEL, 3)
        assert whole
        assert set(moments) >= {finding.identifier for finding in findings}
        told.append(moments)
    assert {name: Counter(moments) for name, moments in told[0].items()} == {
        name: Counter(moments) for name, moments in told[1].items()}
    return {name: len(moments) for name, moments in told[0].items()}


def test_small_histories(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: Counter[str] = Counter()
    for name in ("register", "cas-register"):
        for number, history in histories(KINDS[name], 90_000, 800):
            if int(zones.decide(history, MODEL)[0]) == zones.INVALID:
                try:
                    seen.update(compared(history, monkeypatch))
                except AssertionError as problem:
                    raise AssertionError(f"{name}, seed {number}") from problem
    assert set(seen) >= {"stale-read", "non-monotonic-read", "future-read", "aborted-read", "unwritten-read", "split-brain"}


@pytest.mark.parametrize("seed", range(12))
def test_long_histories_with_several_faults(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(seed)
    operations = list(generate.operations("cas-register", 400, clients=rng.choice((3, 20)), unsure=0.05, seed=seed))
    for _ in range(rng.randint(1, 4)):
        operations = breakage(KINDS["cas-register"], operations, rng)
    history = History.of(operations)
    if int(zones.decide(history, MODEL)[0]) == zones.INVALID:
        compared(history, monkeypatch)


@pytest.mark.parametrize("flaw", NAMES)
def test_stores_with_faults(flaw: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(40):
        history = tell(random.Random(f"{flaw} {seed}"), flaw).history  # type: ignore[arg-type]
        if int(zones.decide(history, MODEL).max()) == zones.INVALID:
            compared(history, monkeypatch)


def test_one_old_read_concerns_few() -> None:
    operations = [
        Operation(process=at % 2, f=("write", "read")[at % 2], value=at // 2, invoked=10 * at, completed=10 * at + 5)
        for at in range(2_000)
    ]
    operations.append(Operation(process=0, f="read", value=300, invoked=30_000, completed=30_005))
    history = History.of(operations)
    chains = zones.chains(history, MODEL)
    assert chains is not None
    rows = concerned(history, chains)
    assert len(rows) < 20
    assert 2_000 in rows and 600 in rows
    assert np.array_equal(rows, np.unique(rows))
