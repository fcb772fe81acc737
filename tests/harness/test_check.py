"""`splitbrain check`: the format and the model are found, the verdicts of others are met, the evidence proves itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.models.specifications import CasRegister, Model
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.check import CheckedFile, check, check_file, describe, detect, model_of, render_json, render_text
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.conftest import HISTORIES, Ran

EXPECTED: list[dict[str, Any]] = json.loads((HISTORIES / "verdicts.json").read_text()) if HISTORIES.is_dir() else []
LATER = ("bank",)
LEVELS = ("list-append", "rw-register")
JUDGED = [one for one in EXPECTED if one["expected"] is not None and not one["model"].startswith((*LATER, *LEVELS))]
NAMES = {True: "valid", False: "invalid"}


def operations(*calls: tuple[Any, ...]) -> History:
    """One client, one call after another."""
    return History.of(
        Operation(process=0, f=f, value=value, outcome=how[0] if how else "ok", invoked=2 * i, completed=2 * i + 1)
        for i, (f, value, *how) in enumerate(calls)
    )


@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
@pytest.mark.parametrize("one", JUDGED, ids=lambda one: f"{one['file']}-{one['model']}")
def test_the_verdicts_of_others(one: dict[str, Any], told: bool) -> None:
    checked = check_file(HISTORIES / one["file"], model=one["model"] if told else None)
    assert checked.verdict.validity == NAMES[one["expected"]]
    assert checked.exit_code == (0 if one["expected"] else 1)


@pytest.mark.parametrize(
    "one", [one for one in JUDGED if one["expected"] is False], ids=lambda one: str(one["file"])
)
def test_the_evidence_proves_itself(one: dict[str, Any], tmp_path: Path) -> None:
    checked = check_file(HISTORIES / one["file"])
    assert checked.verdict.anomalies
    for anomaly in checked.verdict.anomalies:
        path = tmp_path / "evidence"
        path.write_bytes(jsonl.encode(anomaly.operations))
        again = check_file(path, model=checked.model, nil=checked.nil)
        assert again.verdict.validity == "invalid"
        assert set(again.verdict.counts) == {anomaly.identifier}


@pytest.mark.parametrize("one", [one for one in EXPECTED if one["model"].startswith(LATER)], ids=lambda one: str(one["file"]))
def test_what_is_not_judged_yet_is_refused(one: dict[str, Any]) -> None:
    for model in (None, one["model"]):
        with pytest.raises(UsageError, match="not judged yet"):
            check_file(HISTORIES / one["file"], model=model)


TRANSACTIONS = {
    "elle-cli/rw-register.edn": "unwritten-read",  # Valid for Elle, which lets a read see what nobody wrote.
    "elle-cli/paper-example.json": "G-single",
    "elle/si-without-g-single.edn": "G2-item",
}


@pytest.mark.parametrize("one", [one for one in EXPECTED if one["file"] in TRANSACTIONS], ids=lambda one: str(one["file"]))
def test_transactions_are_found_and_judged(one: dict[str, Any]) -> None:
    checked = check_file(HISTORIES / one["file"])
    assert checked.model == "transactions" and checked.verdict.validity == "invalid"
    assert TRANSACTIONS[one["file"]] in checked.verdict.counts
    assert "G2-item" not in one.get("detail", "") or check_file(
        HISTORIES / one["file"], model="snapshot-isolation"
    ).verdict.validity == "valid"


def test_several_levels_are_asked_for_at_once() -> None:
    history = operations(("txn", (("w", 1, 1),)), ("txn", (("r", 1, 1),)))
    verdict = check(history, "serializable,causal")
    assert verdict.validity == "valid" and [one.model for one in verdict.standings[:2]] == ["serializable", "causal"]
    with pytest.raises(UsageError, match="no isolation level is called 'serialisable': did you mean 'serializable'"):
        check(history, "causal,serialisable")


@pytest.mark.parametrize(
    ("calls", "model"),
    [
        ([("write", 1), ("read", 1)], "register"),
        ([("write", 1), ("cas", (1, 2))], "cas-register"),
        ([("acquire", None), ("release", None)], "mutex"),
        ([("enqueue", 1), ("dequeue", 1)], "queue"),
        ([("enqueue", 1), ("drain", (1,))], "unordered-queue"),
        ([("push", 1), ("pop", 1)], "stack"),
        ([("put", "a"), ("append", "b"), ("get", "ab")], "kv"),
        ([("add", 1), ("read", (1,))], "set"),
        ([("add", 1), ("read", frozenset({1}))], "set"),
        ([("add", 1), ("remove", 1)], "set"),
        ([("add", 1), ("add", 2)], "set"),
        ([("add", 1), ("add", 1)], "counter"),
        ([("add", 1), ("read", 1)], "counter"),
        ([("generate", 1)], "id-generator"),
    ],
)
def test_the_model_is_found(calls: list[tuple[Any, ...]], model: str) -> None:
    assert detect(operations(*calls))[0].name == model


@pytest.mark.parametrize(
    ("calls", "message"),
    [
        ([("txn", (("r", 1, None),)), ("read", 1)], "transactions beside other operations"),
        ([("transfer", None), ("read", {"1": 5})], "bank accounts .* not judged yet"),
        ([("read", {"1": 5})], "bank accounts .* not judged yet"),
        ([("fly", 1)], "no model is found for the operations fly: --model names one of cas-register"),
        ([("add", 1), ("read", 1), ("read", (1,))], "no model is found for the operations add, read"),
    ],
)
def test_no_model_is_found(calls: list[tuple[Any, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detect(operations(*calls))


def test_zero_is_an_initial_value_only_where_knossos_sees_it() -> None:
    seen = operations(("read", 0), ("cas", (0, 1)))
    assert describe(detect(seen, knossos=True)[0]) == "cas-register:0"
    assert describe(detect(seen)[0]) == "cas-register"
    assert describe(detect(operations(("write", 3), ("read", 3)), knossos=True)[0]) == "register"
    assert describe(detect(operations(("cas", (None, 0)), ("read", 0)), knossos=True)[0]) == "cas-register"


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cas-register", "cas-register"), ("cas-register:0", "cas-register:0"), ("cas-register init 0", "cas-register:0"),
        ("register:-3", "register:-3"), ("register:nil", "register"), ("register:x", "register:x"),
        ("etcd-register", "cas-register"), ("semaphore:3", "semaphore:3"), ("kv (unpartitioned)", "kv"), ("set-full", "set"),
    ],
)
def test_models_by_name(name: str, shown: str) -> None:
    assert describe(model_of(name)) == shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cas-registr", "no model is called 'cas-registr': did you mean 'cas-register'?"),
        ("xyzzy", "no model is called 'xyzzy': there are: cas-register,"),
        ("mutex:3", "the model 'mutex' takes no parameter"),
        ("semaphore:0", "the permits of 'semaphore' is a number above 0"),
    ],
)
def test_models_that_are_none(name: str, message: str) -> None:
    with pytest.raises(UsageError) as raised:
        model_of(name)
    assert str(raised.value).startswith(message)


NIL_READ = "{:type :invoke :f :write :value 1 :process 0}{:type :ok :f :write :process 0}" + (
    "{:type :invoke :f :read :process 0}{:type :ok :f :read :value nil :process 0}"
)


def test_a_read_of_nil(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(NIL_READ)
    assert check_file(path).verdict.validity == "valid"
    assert check_file(path, nil="absent").verdict.validity == "invalid"
    path.write_text(NIL_READ.replace(":write", ":add"))
    assert check_file(path, model="set").verdict.validity == "valid"
    assert check_file(path, model="set").notes == ("1 reads of nil left out, for they tell nothing",)
    assert check_file(path, model="set", nil="absent").verdict.validity == "invalid"
    with pytest.raises(UsageError, match="'wildcard' or 'absent', not 'zero'"):
        check_file(path, nil="zero")


def test_get_and_put_of_numbers_are_a_register(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("put", 1), ("get", 1))))
    checked = check_file(path)
    assert (checked.model, checked.verdict.validity) == ("register", "valid")


def test_a_drain_is_many_dequeues(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("enqueue", 1), ("enqueue", 2), ("drain", (2, 1)))))
    assert check_file(path).verdict.validity == "valid"
    path.write_bytes(jsonl.encode(operations(("enqueue", 1), ("drain", (2, 1)))))
    assert check_file(path).verdict.validity == "invalid"
    path.write_bytes(jsonl.encode(operations(("enqueue", 1), ("drain", None, "info"))))
    with pytest.raises(UsageError, match="operation 1 is a drain without an answer"):
        check_file(path)


def test_no_operations_prove_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.log"
    path.write_text("")
    checked = check_file(path)
    assert (checked.verdict.validity, checked.exit_code) == ("unknown", 2)
    assert render_text(checked).startswith("UNKNOWN   no operations")


def test_a_checker_that_fails_says_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(history: History, model: Model, **options: Any) -> Verdict:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("splitbrain.checkers.linearizability.check", broken)
    verdict = check(operations(("write", 1)))
    assert verdict.validity == "unknown"
    assert "ZeroDivisionError: division by zero" in verdict.reason


def stale(tmp_path: Path) -> CheckedFile:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("write", 1), ("write", 2), ("read", 1))))
    return check_file(path)


def test_text_tells_the_verdict_first_and_then_the_evidence(tmp_path: Path) -> None:
    lines = render_text(stale(tmp_path)).splitlines()
    assert lines[0].startswith("NOT LINEARIZABLE   ")
    assert any("read 1" in line and "ok" in line for line in lines)
    assert any(line.startswith("file  ") and "jsonl, 3 operations (3 ok)" in line for line in lines)
    assert any(line.startswith("model  ") and "register" in line for line in lines)


def test_json_holds_the_verdict_and_evidence_that_check_takes_back(tmp_path: Path) -> None:
    checked = stale(tmp_path)
    told = json.loads(render_json(checked))
    assert (told["format"], told["model"], told["exit_code"]) == ("jsonl", "register", 1)
    assert msgspec.convert(told["verdict"], Verdict) == checked.verdict
    path = tmp_path / "evidence"
    path.write_text("".join(json.dumps(one) + "\n" for one in told["verdict"]["anomalies"][0]["operations"]))
    assert check_file(path).verdict.counts == checked.verdict.counts


@pytest.mark.parametrize("value", ['{[1] 2}', "#{1 2}", "123456789012345678901234567890", '"\\ud83d"', "{nil #{nil}}", "1/3"])
def test_any_value_can_be_shown(value: str, tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(
        f"{{:type :invoke :f :write :value {value} :process 0}}{{:type :ok :f :write :process 0}}"
        "{:type :invoke :f :read :process 0}{:type :ok :f :read :value :other :process 0}"
    )
    checked = check_file(path)
    assert checked.verdict.validity == "invalid"
    json.loads(render_json(checked))
    render_text(checked).encode()


def test_one_s_own_model_and_plain_operations() -> None:
    assert check(list(operations(("write", 1), ("read", 1))), CasRegister()).validity == "valid"
    assert check(operations(("write", 1), ("read", None))).validity == "invalid"
    assert check(operations(("write", 1), ("read", None)), nil="wildcard").validity == "valid"
    assert check([]).validity == "unknown"


def test_the_command(tmp_path: Path, splitbrain: Callable[..., Ran]) -> None:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("write", 1), ("write", 2), ("read", 1))))
    ran = splitbrain("check", path, "--json")
    assert (ran.code, json.loads(ran.stdout)["verdict"]["validity"]) == (1, "invalid")
    path.write_text('{"type":"invoke","process":0,"f":"read"}\n{"type":"ok","pro')
    ran = splitbrain("check", path)
    assert (ran.code, ran.stdout) == (64, "")
    assert f"{path}:2:18: expected the rest of this JSON, found the end: --torn judges what came before." in ran.stderr
    ran = splitbrain("check", path, "--torn")
    assert (ran.code, ran.stderr) == (0, "")
    assert "the last line is cut short: left out" in ran.stdout
