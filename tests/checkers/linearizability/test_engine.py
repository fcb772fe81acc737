"""The order of attack, limits, processes, models of one's own, and the checker of recordings."""

from __future__ import annotations

import json
import pickle
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import pytest

from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.attribution import attribute
from splitbrain.checkers.budget import Budget
from splitbrain.checkers.linearizability import Linearizability, check
from splitbrain.checkers.linearizability import engine as engine_module
from splitbrain.checkers.linearizability.registers import zones
from splitbrain.checkers.linearizability.search.plain import search
from splitbrain.checkers.linearizability.search.pool import judge_apart, searched
from splitbrain.checkers.models.specifications import MODELS, Call, CasRegister, KeyValue, Model, Mutex, State
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.fault import Fault, PlainFault
from splitbrain.harness.history.formats import read
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.recording import LocalRead, Recording
from tests.checkers.linearizability.random_histories import register_history
from tests.checkers.linearizability.random_objects import object_history

HISTORIES = Path(__file__).resolve().parents[4] / "shared" / "histories"
SECOND = 1_000_000_000


def _keyed(parts: list[History]) -> History:
    return History.of([msgspec.structs.replace(op, key=key) for key, part in enumerate(parts) for op in part])


def _hard(keys: int, writers: int = 12) -> History:
    """Registers with many concurrent writes of repeated values, and a read at the end that none of them explains."""
    operations = []
    for key in range(keys):
        for p in range(writers):
            operations.append(Operation(process=100 * key + p, f="write", value=p % 6, key=key, invoked=p, completed=1000 + p))
            operations.append(
                Operation(process=100 * key + 50 + p, f="cas", value=(p % 6, p % 5), key=key, invoked=p, completed=2000 + p)
            )
        operations.append(Operation(process=100 * key + 99, f="read", value=77, key=key, invoked=3000, completed=3001))
    return History.of(operations)


@pytest.mark.parametrize("name", sorted(set(MODELS) - {"multi-register"}))
def test_every_model_over_many_keys_agrees_with_the_plain_search(name: str) -> None:
    model = MODELS[name]()
    for seed in range(40):
        parts = [object_history(random.Random(f"engine {name} {seed} {key}"), model, operations=8) for key in range(4)]
        verdict = check(_keyed(parts), model)
        broken = sum(search(part, model).valid is False for part in parts)
        assert verdict.coverage.refuted == broken and verdict.coverage.keys == 4
        assert verdict.validity == ("invalid" if broken else "valid"), seed
        assert bool(verdict.anomalies) is bool(broken)
        assert sum(verdict.coverage.methods.values()) == 4
        for anomaly in verdict.anomalies:
            assert search(History.of(anomaly.operations), model).valid is False


def test_registers_of_many_keys_agree_with_the_plain_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SMALL", 10)
    model = CasRegister()
    for seed in range(60):
        parts = [register_history(random.Random(f"{seed} {key}"), operations=9, unique=key != 2) for key in range(5)]
        verdict = check(_keyed(parts), model)
        assert verdict.coverage.refuted == sum(search(part, model).valid is False for part in parts)


def test_an_empty_history_is_valid() -> None:
    for model in (CasRegister(), Mutex(), KeyValue()):
        assert check(History.of([]), model).validity == "valid"


def test_a_time_limit_that_is_hit_is_said_and_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", time.process_time)  # What others compute meanwhile is none of its time.
    began = time.process_time()
    verdict = check(_hard(2), Register2(), time_limit=0.2, processes=1)
    assert time.process_time() - began < 20
    assert verdict.validity == "unknown"
    assert verdict.limits == ("time limit of 0.2 s",)
    assert len(verdict.coverage.undecided) == 2
    assert all(0 < entry.linearized < entry.operations for entry in verdict.coverage.undecided)


def _stale(turns: int) -> History:
    """A register of many values, and one read of an old one."""
    operations = [
        Operation(process=0, f=f, value=value, invoked=10 * value + at, completed=10 * value + at)
        for value in range(turns) for at, f in enumerate(("write", "read"))
    ]
    operations[turns + 1] = msgspec.structs.replace(operations[turns + 1], value=1)
    return History.of(operations)


def test_without_any_time_nothing_is_known_and_that_is_said() -> None:
    for model, history in ((CasRegister(), _stale(800)), (Mutex(), object_history(random.Random(1), Mutex()))):
        verdict = check(history, model, time_limit=0.0)
        assert verdict.validity == "unknown"
        assert verdict.limits == ("time limit of 0 s",)


def test_what_is_refuted_stays_refuted_where_no_time_is_left_to_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    decide = zones.decide
    monkeypatch.setattr(zones, "decide", lambda history, model, budget: decide(history, model))
    monkeypatch.setattr(engine_module, "AT_LEAST", -1.0)
    verdict = check(_stale(800), CasRegister(), time_limit=0.0)
    assert verdict.validity == "invalid" and not verdict.anomalies
    assert verdict.limits == ("time limit of 0 s: no explanation for 1 of 1 refuted keys",)
    monkeypatch.undo()
    assert check(_stale(800), CasRegister()).counts == {"stale-read": 1}


def test_a_memory_limit_that_is_hit_is_said() -> None:
    verdict = check(_hard(2), Register2(), memory_limit=1 << 20, processes=1)
    assert verdict.validity == "unknown"
    assert len(verdict.limits) == 1 and verdict.limits[0].startswith("memory limit")


def test_a_hard_key_does_not_hide_a_broken_one() -> None:
    hard = list(_hard(1))
    easy = [
        Operation(process=500, f="write", value=1, key="easy", invoked=0, completed=1),
        Operation(process=500, f="read", value=2, key="easy", invoked=2, completed=3),
    ]
    verdict = check(History.of([*hard, *easy]), Register2(), time_limit=0.5, processes=1)
    assert verdict.validity == "invalid"
    assert {anomaly.key for anomaly in verdict.anomalies} == {"easy"}


class Register2(Model):
    """A register under another name, so that only a search can judge it."""

    name: ClassVar[str] = "register-2"
    functions: ClassVar[tuple[str, ...]] = ("read", "write", "cas")
    initial: State = None

    def step(self, state: Any, call: Call) -> tuple[State, ...]:
        return CasRegister().step(state, call)

    def pure(self, call: Call) -> bool:
        return call.f == "read"


def test_a_model_of_ones_own_is_searched_like_the_others() -> None:
    for seed in range(200):
        history = register_history(random.Random(seed), unique=False, operations=8)
        assert (check(history, Register2()).validity == "valid") is search(history, CasRegister()).valid


def test_processes_give_the_same_answers() -> None:
    parts = [register_history(random.Random(f"apart {key}"), operations=10, unique=False) for key in range(7)]
    decisions = judge_apart(parts, CasRegister(), Budget.of(20.0), 2)
    assert decisions is not None
    assert [d.valid for d in decisions] == [search(part, CasRegister()).valid for part in parts]


@pytest.mark.parametrize("executable", (sys.executable, "/bin/false", "/nonexistent"))
def test_keys_are_explained_the_same_by_several_processes(monkeypatch: pytest.MonkeyPatch, executable: str) -> None:
    """Also where the others fail."""
    operations = [
        msgspec.structs.replace(operation, key=key, process=100 * key + operation.process)
        for key in range(9) for operation in register_history(random.Random(f"explained {key}"), operations=30, broken=1.0)
    ]
    history = History.of(operations)
    alone = check(history, CasRegister(), processes=1, time_limit=600.0)
    monkeypatch.setattr(engine_module, "EXPLAINED_APART", 0)
    monkeypatch.setattr(sys, "executable", executable)
    several = check(history, CasRegister(), processes=3, time_limit=600.0)
    assert alone.coverage is not None and (alone.coverage.refuted or 0) > 3 and len(alone.counts) > 1
    assert msgspec.structs.replace(several, seconds=0.0) == msgspec.structs.replace(alone, seconds=0.0)


def test_a_model_of_a_script_stays_in_this_process() -> None:
    foreign = type("Foreign", (Register2,), {"__module__": "__main__"})()
    assert judge_apart([History.of([])], foreign, Budget.of(1.0), 1) is None


def test_several_processes_are_used_where_one_is_not_soon_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PATIENCE", 0.01)
    verdict = check(_hard(3, 16), CasRegister(), time_limit=2.0, processes=2)
    assert verdict.validity == "unknown" and len(verdict.coverage.undecided) == 3


def test_a_worker_ends_with_its_parent() -> None:
    """The parent's end of the pipe is closed while the worker searches: it must not go on."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "splitbrain.checkers.linearizability.search.worker"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[3],
    )
    task = pickle.dumps((searched, ([_hard(1, writers=20)], CasRegister()), Budget.of(3600.0, 1 << 40)))
    assert worker.stdin is not None and worker.stdout is not None
    worker.stdin.write(len(task).to_bytes(8, "big") + task)
    worker.stdin.flush()
    time.sleep(0.5)
    assert worker.poll() is None
    worker.stdin.close()
    assert worker.wait(timeout=30) == 1
    worker.stdout.close()


def test_bad_values_are_refused_in_one_sentence() -> None:
    history = History.of([Operation(process=0, f="cas", value=7, invoked=0, completed=1)])
    with pytest.raises(UsageError, match="pair"):
        check(history, CasRegister())


def test_the_engine_loads_nothing_of_the_rest() -> None:
    code = (
        "import sys, json, splitbrain.checkers.linearizability\n"
        "print(json.dumps(sorted(name for name in sys.modules if '.' not in name or name.startswith('splitbrain.harness'))))"
    )
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert not loaded & {"networkx", "docker", "click", "rich", "jinja2", "scipy", "redis", "aiohttp", "paramiko", "asyncio"}
    allowed = tuple(f"splitbrain.harness.{name}" for name in ("history", "errors", "plan", "settings"))
    assert all(name.startswith(allowed) for name in loaded if name.startswith("splitbrain.harness."))


def _lossy() -> tuple[list[Operation], Fault]:
    operations = [
        Operation(process=0, f="write", value=7, key=1, invoked=0, completed=SECOND, node="n1", server="n1"),
        Operation(process=1, f="write", value=42, key=1, invoked=14 * SECOND, completed=15 * SECOND, node="n1", server="n1"),
    ]
    cut = (("n1", "n2"), ("n2", "n1"), ("n1", "n3"), ("n3", "n1"))
    fault = PlainFault(id=3, nemesis="partition", scenario="n1 | n2 n3", started=12 * SECOND, proven=12 * SECOND,
                       heal_began=20 * SECOND, healed=20 * SECOND, cut=cut, observed_cut=cut).fault()
    return operations, fault


def _recording(reads: dict[str, Any], **changes: Any) -> Recording:
    operations, fault = _lossy()
    local = tuple(
        LocalRead(node=node, key=1, value=value, time=30 * SECOND + at, round=1)
        for at, (node, value) in enumerate(reads.items())
    )
    stale = tuple(LocalRead(node=node, key=1, value=0, time=25 * SECOND, round=0) for node in reads)
    history = History.of(operations)
    return Recording(history=history, nodes=("n1", "n2", "n3"), faults=(fault,), local_reads=stale + local, **changes)


def test_what_every_replica_holds_in_the_end_proves_a_loss() -> None:
    recording = _recording({"n1": 7, "n2": 7, "n3": 7})
    verdict = attribute(Linearizability(CasRegister()).check(recording), recording.faults)
    assert verdict.counts == {"lost-write": 1}
    anomaly = verdict.anomalies[0]
    assert anomaly.fault == 3
    assert "write 42 of client 1, acknowledged by n1 at 0:15.000, was lost" in anomaly.sentence
    assert anomaly.sentence.endswith("(n1 was cut off from n2 n3 since 0:12.000)")
    again = check(History.of(anomaly.operations), CasRegister())
    assert generalises(again.anomalies[0].identifier, "lost-write")


@pytest.mark.parametrize("reads", [{"n1": 42, "n2": 7, "n3": 7}, {"n1": 7, "n2": 7}, {"n1": 42, "n2": 42, "n3": 42}])
def test_replicas_that_differ_or_did_not_answer_prove_nothing(reads: dict[str, Any]) -> None:
    assert Linearizability(CasRegister()).check(_recording(reads)).validity == "valid"


def test_an_explanation_that_throws_leaves_what_was_refuted(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> str:
        raise ArithmeticError("odd")

    monkeypatch.setattr(engine_module, "_explain", broken)
    verdict = check(_stale(3), CasRegister())
    assert verdict.validity == "invalid" and verdict.standings[0].state == "refuted"
    assert verdict.anomalies == () and verdict.limits == ("the explanation failed: ArithmeticError: odd",)


def test_a_fault_that_was_over_is_not_blamed() -> None:
    recording = _recording({"n1": 7, "n2": 7, "n3": 7})
    over = msgspec.structs.replace(
        recording.faults[0], started=2 * SECOND, in_force=2 * SECOND, heal_began=3 * SECOND, healed=3 * SECOND)
    later = msgspec.structs.replace(recording.faults[0], started=40 * SECOND, healed=None)
    later = msgspec.structs.replace(later, id=4)
    verdict = attribute(Linearizability(CasRegister()).check(recording), (over, later))
    assert verdict.anomalies[0].fault == over.id and "cut off" not in verdict.anomalies[0].sentence


def _published() -> list[dict[str, Any]]:
    if not (HISTORIES / "verdicts.json").exists():
        return []
    entries = json.loads((HISTORIES / "verdicts.json").read_text())
    return [entry for entry in entries if entry["expected"] is not None and _model(entry["model"]) is not None]


def _model(name: str) -> Model | None:
    if name.startswith("cas-register"):
        return CasRegister(initial=0, nil="wildcard")
    return {
        "etcd-register": CasRegister(), "mutex": Mutex(), "kv": KeyValue(), "kv (unpartitioned)": KeyValue(),
    }.get(name)


@pytest.mark.skipif(not HISTORIES.exists(), reason="the published histories are not here")
@pytest.mark.parametrize("small", [0, 600])
def test_published_histories_get_their_published_verdicts(small: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "SMALL", small)
    judged = 0
    for entry in _published():
        model = _model(entry["model"])
        assert model is not None
        verdict = check(read(HISTORIES / entry["file"]).history, model, explanation=False)
        assert verdict.validity == ("valid" if entry["expected"] else "invalid"), entry["file"]
        judged += 1
    assert judged > 150
