"""The compiled checks against the plain search, on the fuzzer's histories and on histories full of equal values."""

from __future__ import annotations

import random

import numpy as np
import pytest

from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability import check
from splitbrain.checkers.linearizability.machine import compiled
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.linearizability.strings import append
from splitbrain.checkers.models.specifications import CasRegister, KeyValue, Register
from splitbrain.harness.errors import SetupError
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import MISMATCH, Operation
from tests.checkers.linearizability.fuzz import KINDS, histories
from tests.checkers.linearizability.random_histories import register_history

STATUS = {True: zones.VALID, False: zones.INVALID}


@pytest.fixture(autouse=True)
def loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("numba")
    monkeypatch.setattr(compiled, "_kernels", None)
    compiled.load_machine_code()


@pytest.mark.parametrize("name", ["register", "cas-register"])
def test_registers(name: str, count: int = 2000) -> None:
    """No small history without what was seen by a refused compare-and-set is left undecided."""
    model = KINDS[name].model
    assert isinstance(model, Register)
    answers = []
    for seed, history in histories(KINDS[name], 1, count):
        status = compiled.register(history, model)
        if status == zones.UNDECIDED:
            assert history.seen, seed
            continue
        assert status == STATUS[search(history, model).valid is True], seed
        answers.append(status)
    assert min(answers.count(zones.VALID), answers.count(zones.INVALID)) > count / 10


def test_registers_of_few_values(count: int = 3000) -> None:
    answers = set()
    for seed in range(count):
        rng = random.Random(f"compiled {seed}")
        model = CasRegister(initial=rng.choice([None, 0]), nil=rng.choice(["absent", "wildcard"]))
        info = rng.choice([0.05, 0.5])
        history = register_history(
            rng, operations=10, processes=4, unique=False, values=rng.choice([2, 3]), info=info, initial=model.initial,
        )
        status = compiled.register(history, model)
        if not history.seen:
            assert status == STATUS[search(history, model).valid is True], seed
            answers.add(status)
    assert answers == {zones.VALID, zones.INVALID}


def test_strings(count: int = 4000) -> None:
    """Most histories are decided, those with texts that were written several times, too."""
    answers = []
    for seed, history in histories(KINDS["kv"], 1, count):
        told = compiled.append(history, every_key=True)
        assert told is not None
        status = int(told[0])
        if status != zones.UNDECIDED:
            assert status == STATUS[search(history, KeyValue()).valid is True], seed
        answers.append(status)
    assert answers.count(zones.UNDECIDED) < count / 4
    assert min(answers.count(zones.VALID), answers.count(zones.INVALID)) > count / 10


def test_strings_of_several_keys() -> None:
    """The keys do not disturb each other, and what is left undecided is decided by the plain way."""
    parts = [history for _, history in histories(KINDS["kv"], 50_000, 300)]
    for at in range(0, len(parts), 3):
        three = parts[at:at + 3]
        both = History.of(
            Operation(process=op.process + 100 * key, f=op.f, value=op.value, key=key, invoked=op.invoked,
                      completed=op.completed, outcome=op.outcome)
            for key, part in enumerate(three) for op in part
        )
        status = append.decide(both, KeyValue())
        for key, part in enumerate(three):
            if key in both.keys and status[both.keys.index(key) + 1] != zones.UNDECIDED:
                assert status[both.keys.index(key) + 1] == STATUS[search(part, KeyValue()).valid is True], at + key


def test_letters_of_any_kind() -> None:
    """Zeros, letters of several bytes and lone surrogates in texts, and values that are no texts."""
    for text in ("ä", "\0", "€\0", "\udc80", "a\U0001f600"):
        for told, expected in ((text, "valid"), (text + text, "invalid"), (text[:-1] + "x", "invalid")):
            history = History.of([
                Operation(process=0, f="append", key=1, value=text, invoked=0, completed=1),
                Operation(process=0, f="get", key=1, value=told, invoked=2, completed=3),
            ])
            assert check(history, KeyValue(), explanation=False).validity == expected
            assert check(history, KeyValue(), explanation=False).coverage.keys == 1
    odd = History.of([Operation(process=0, f="get", value=(1, 2, 3), invoked=0, completed=1)])
    assert compiled.append(odd, every_key=True) is None


def test_longer_texts_than_there_is_room_for_are_left_to_the_plain_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "MOST_LETTERS", 10)
    history = History.of([Operation(process=0, f="append", value="x" * 11, invoked=0, completed=1)])
    assert compiled.append(history, every_key=True) is None
    assert append.decide(history, KeyValue()).tolist() == [zones.VALID]


def test_a_call_is_short_however_much_a_step_looks_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of very many choices at the beginning goes on through all the refusals behind, which nothing contradicts."""
    writes = [
        Operation(process=at, f="write", value=at, invoked=0, completed=None, outcome="info") for at in range(1, 9)
    ]
    read = Operation(process=9, f="read", value=1, invoked=10, completed=11)
    refused = [
        Operation(process=9, f="cas", value=(99, 100), invoked=at, completed=at + 5, outcome="fail", error=MISMATCH)
        for at in range(20, 20_000, 10)
    ]
    wrong = Operation(process=9, f="read", value=77, invoked=30_000, completed=30_001)
    history = History.of([*writes, read, *refused, wrong])
    assert compiled.register(history, CasRegister()) == zones.INVALID
    monkeypatch.setattr(compiled, "MOST_LOOKS", 40_000)
    assert compiled.register(history, CasRegister()) == zones.UNDECIDED
    right = History.of([*writes, read, *refused])
    assert compiled.register(right, CasRegister()) == zones.VALID
    monkeypatch.setattr(compiled, "MOST_OPERATIONS", len(right) - 1)
    assert compiled.register(right, CasRegister()) == zones.UNDECIDED


def test_texts_are_looked_at_some_keys_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60):
        rng = random.Random(f"slices {seed}")
        operations = []
        for at in range(rng.randrange(1, 60)):
            key, text = rng.randrange(9), rng.choice("ab")
            f, value = rng.choice([("append", text), ("get", text), ("get", "")])
            operations.append(Operation(process=0, f=f, key=key, value=value, invoked=10 * at, completed=10 * at + 5))
        history = History.of(operations)
        whole = compiled.append(history, every_key=True)
        assert whole is not None
        with monkeypatch.context() as changed:
            changed.setattr(compiled, "AT_ONCE", rng.randrange(1, 20))
            parts = compiled.append(history, every_key=True)
            some = compiled.append(history, every_key=False)
            none = compiled.append(history, every_key=True, budget=Budget(deadline=0))
        assert parts is not None and some is not None and none is not None
        assert parts.tolist() == whole.tolist()
        assert (zones.INVALID in some) == (zones.INVALID in whole)
        assert ((some == whole) | (some == zones.UNDECIDED)).all()
        assert set(none.tolist()) <= {zones.ABSENT, zones.UNDECIDED}


def test_more_pending_operations_than_there_are_bits_are_left_to_the_plain_search() -> None:
    writes = [Operation(process=at, f="write", value=at % 3, invoked=at, completed=1000) for at in range(70)]
    read = Operation(process=99, f="read", value=1, invoked=2000, completed=2001)
    history = History.of([*writes, read])
    assert compiled.register(history, Register()) == zones.UNDECIDED
    assert check(history, Register()).validity == "valid"


def test_the_verdict_is_the_same_with_its_evidence(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(300):
        rng = random.Random(f"evidence {seed}")
        history = register_history(rng, operations=10, processes=4, unique=False, values=2)
        ours = check(history, CasRegister())
        monkeypatch.setattr(compiled, "_kernels", None)
        plain = check(history, CasRegister())
        compiled.load_machine_code()
        assert (ours.validity, ours.anomalies, ours.counts) == (plain.validity, plain.anomalies, plain.counts), seed


def test_columns_of_any_layout() -> None:
    operations = [Operation(process=0, f="write", value=1, invoked=at, completed=at + 1) for at in range(0, 40, 2)]
    history = History.of(operations)
    history.invoked = np.repeat(history.invoked, 2)[::2]
    history.outcome.flags.writeable = False
    assert compiled.register(history, Register()) == zones.VALID


def test_without_numba(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError("No module named 'numba'", name="numba")

    monkeypatch.setattr(compiled, "import_module", missing)
    with pytest.raises(SetupError, match="numba"):
        compiled.load_machine_code()
