"""`splitbrain check`: the format and the model are found, the verdicts of others are met, the evidence proves itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pytest

from splitbrain.checkers.models.choose import describe, detect, model_of
from splitbrain.checkers.models.specifications import CasRegister, Nil
from splitbrain.checkers.result import encode
from splitbrain.checkers.verdict import Verdict
from splitbrain.harness.check import CheckedFile, check, check_file
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation
from tests.conftest import HISTORIES, Ran

EXPECTED: list[dict[str, Any]] = json.loads((HISTORIES / "verdicts.json").read_text()) if HISTORIES.is_dir() else []
LEVELS = ("list-append", "rw-register")
JUDGED = [one for one in EXPECTED if one["expected"] is not None and not one["model"].startswith(LEVELS)]
NAMES = {True: "valid", False: "invalid"}
ONLY_TOLD = ("elle-cli/bank-neg.edn", "elle-cli/bank-negative-balances.json")
"""Reads of maps and nothing else, which are a bank's only where somebody says so."""


def operations(*calls: tuple[Any, ...]) -> History:
    """One client, one call after another."""
    return History.of(
        Operation(process=0, f=f, value=value, outcome=how[0] if how else "ok", invoked=2 * i, completed=2 * i + 1)
        for i, (f, value, *how) in enumerate(calls)
    )


@pytest.mark.parametrize("told", [False, True], ids=["found", "told"])
@pytest.mark.parametrize("one", JUDGED, ids=lambda one: f"{one['file']}-{one['model']}")
def test_the_verdicts_of_others(one: dict[str, Any], told: bool) -> None:
    if not told and one["file"] in ONLY_TOLD:
        with pytest.raises(UsageError, match="--model bank"):
            check_file(HISTORIES / one["file"])
        return
    checked = check_file(HISTORIES / one["file"], model=one["model"] if told else None)
    if not checked.recording.history.answered().any():
        assert checked.exit_code == 2  # Nothing was answered, and that proves nothing.
        return
    assert checked.verdict.validity == NAMES[one["expected"]]
    assert checked.exit_code == (0 if one["expected"] else 1)


@pytest.mark.parametrize(
    "one", [one for one in JUDGED if one["expected"] is False], ids=lambda one: str(one["file"])
)
def test_the_evidence_proves_itself(one: dict[str, Any], tmp_path: Path) -> None:
    checked = check_file(HISTORIES / one["file"], model=one["model"] if one["file"] in ONLY_TOLD else None)
    assert checked.verdict.anomalies
    for anomaly in checked.verdict.anomalies:
        path = tmp_path / "evidence"
        path.write_bytes(jsonl.encode(anomaly.operations))
        again = check_file(path, model=checked.model, nil=checked.nil)
        assert again.verdict.validity == "invalid"
        assert set(again.verdict.counts) == {anomaly.identifier}


TRANSACTIONS = {
    # Valid for Elle, which lets a read see what nobody wrote, and where the model is found out, if it began so.
    "elle-cli/rw-register.edn": "unwritten-read",
    "elle-cli/paper-example.json": "G-single",
    "elle/si-without-g-single.edn": "G2-item",
}


@pytest.mark.parametrize("one", [one for one in EXPECTED if one["file"] in TRANSACTIONS], ids=lambda one: str(one["file"]))
def test_transactions_are_judged(one: dict[str, Any]) -> None:
    checked = check_file(HISTORIES / one["file"], model=one["model"].split(",")[0].split(" ")[0])
    assert checked.verdict.validity == "invalid"
    assert TRANSACTIONS[one["file"]] in checked.verdict.counts
    if "G2-item" in one.get("detail", ""):
        assert check_file(HISTORIES / one["file"], model="snapshot-isolation").verdict.validity == "valid"


def test_what_a_program_hands_over_is_taken_by_name_and_refused_by_place(tmp_path: Path) -> None:
    file = tmp_path / "history.jsonl"
    file.write_text("")
    assert check_file(str(file)).result.validity == "unknown"
    with pytest.raises(UsageError, match="no such file"):
        check_file(str(tmp_path / "none.jsonl"))
    write: Any = {"f": "write", "value": 1}
    with pytest.raises(UsageError, match=r"operation 1 is a dict: it must be a splitbrain\.Operation\."):
        check([Operation(process=0, f="write", value=1, invoked=1, completed=2), write])


def test_transactions_are_found_out_and_several_levels_asked_for_at_once() -> None:
    history = History.of(operations(("txn", (("w", 1, 1),)), ("txn", (("r", 1, 1),))))
    assert check(history).standings[0].model == "strict-serializable"
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
        ([("txn", (("append", 1, 2),)), ("read", 1)], "transactions beside other operations"),
        ([("read", {"1": 5})], "reads of maps alone may be of a bank's accounts: --model bank"),
        ([("fly", 1)], "no model is found for the operations fly: --model names one of cas-register"),
        ([("add", 1), ("read", 1), ("read", (1,))], "no model is found for the operations add, read"),
    ],
)
def test_no_model_is_found(calls: list[tuple[Any, ...]], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        detect(operations(*calls))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cas-register", "cas-register"), ("cas-register:0", "cas-register:0"), ("cas-register init 0", "cas-register:0"),
        ("register:-3", "register:-3"), ("register:nil", "register"), ("register:x", "register:x"),
        ("etcd-register", "cas-register"), ("semaphore:3", "semaphore:3"), ("kv (unpartitioned)", "kv"),
    ],
)
def test_models_by_name(name: str, shown: str) -> None:
    assert describe(model_of(name)) == shown


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cas-registr", "no model is called 'cas-registr': did you mean 'cas-register'?"),
        ("xyzzy", "no model is called 'xyzzy': there are: bank, cas-register,"),
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
    """A lost value may hide behind a nil that tells nothing: where the verdict depends on it, that is told."""
    path = tmp_path / "history.edn"
    for text in (NIL_READ, NIL_READ.replace(":write", ":add")):
        path.write_text(text)
        checked = check_file(path)
        assert (checked.verdict.validity, checked.nil) == ("valid", "wildcard")
        assert checked.result.reason.startswith("valid only if a read of nil tells nothing; if it found nothing (")
        assert check_file(path, nil="wildcard").verdict.validity == "valid"
        assert check_file(path, nil="absent").verdict.validity == "invalid"
    path.write_text(NIL_READ.replace(":value nil", ":value 1"))
    assert check_file(path).verdict.validity == "valid"
    path.write_bytes(jsonl.encode(operations(("write", 1), ("read", None))))
    checked = check_file(path)
    assert (checked.verdict.validity, checked.nil) == ("invalid", "absent")
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
    path.write_bytes(jsonl.encode(operations(("enqueue", 1), ("enqueue", 2), ("drain", (2,)))))
    assert check_file(path).verdict.validity == "invalid"
    path.write_bytes(jsonl.encode(operations(("enqueue", 1), ("drain", None, "info"))))
    assert check_file(path).verdict.validity == "valid"


def test_no_operations_prove_nothing(tmp_path: Path) -> None:
    path = tmp_path / "history.log"
    path.write_text("")
    checked = check_file(path)
    assert (checked.verdict.validity, checked.exit_code) == ("unknown", 2)
    assert checked.result.reason.startswith("no operations")


@pytest.mark.parametrize(("calls", "model", "nil", "silent"), [
    ([("write", 1), ("write", 2)], "cas-register", None, True),
    ([("write", 1), ("cas", [1, 2])], "cas-register", None, False),  # What was compared was there.
    ([("read", None)], "cas-register", "wildcard", True),
    ([("write", 1), ("read", None)], "cas-register", "wildcard", True),
    ([("write", 1), ("read", 1)], "cas-register", "wildcard", False),
    ([("add", 1), ("add", 2)], "set", None, True), ([("enqueue", 1)], "queue", None, True),
])
def test_a_history_whose_answers_tell_nothing_is_right_and_says_what_that_is_worth(
    calls: list[tuple[str, Any]], model: str, nil: Nil | None, silent: bool, tmp_path: Path
) -> None:
    path = tmp_path / "history.edn"
    lines = (f"{{:type :{kind}, :f :{f}, :process 0, :value {edn(value)}}}" for f, value in calls for kind in ("invoke", "ok"))
    path.write_text("\n".join(lines))
    checked = check_file(path, model, nil=nil)
    assert checked.exit_code == 0 or "nothing is proven" in checked.result.reason, checked.result.reason
    assert ("no answer tells what is there" in checked.result.reason) is (silent and checked.exit_code == 0)
    assert silent or checked.exit_code == 0
    assert ("1 operation on 1 key" in checked.result.exercised) is (len(calls) == 1)


def edn(value: Any) -> str:
    return "nil" if value is None else str(value).replace(",", "")


@pytest.mark.parametrize("model", [None, "serializable", "list-append", "causal", "multi-register", "sequential"])
def test_transactions_that_are_all_empty_prove_nothing(tmp_path: Path, model: str | None) -> None:
    path = tmp_path / "history.edn"
    path.write_text("".join(f"{{:type {word}, :f :txn, :value [], :process 0}}\n" for word in (":invoke", ":ok")))
    checked = check_file(path, model)
    assert checked.exit_code == 2 and "nothing is proven" in checked.verdict.reason


@pytest.mark.parametrize("model", ["serializable", "causal", "read-atomic", None])
def test_transactions_of_other_steps_are_refused_and_not_left_out(model: str | None) -> None:
    def txn(at: int, *micros: Any, outcome: Any = "ok") -> Operation:
        return Operation(process=at, f="txn", value=micros, invoked=2 * at, completed=2 * at + 1, outcome=outcome)

    written = [txn(0, ("w", "x", 1)), txn(1, ("inc", "x", 1)), txn(2, ("r", "x", 2))]
    with pytest.raises(UsageError):
        check(written, model)
    assert check([written[0], txn(1, ("r", "x", 1))], model).validity == "valid"


def test_keys_of_transactions_may_be_of_any_kind(tmp_path: Path) -> None:
    """Also where the transactions go by other names, so that only their values tell that they are some."""
    path = tmp_path / "history.edn"
    for key in ("true", "1.5", "[1 2]", "#{1 2}", '"x"', ":x"):
        events = [("invoke", "write", f"[[:w {key} 1]]"), ("ok", "write", f"[[:w {key} 1]]"),
                  ("invoke", "read", f"[[:r {key} nil]]"), ("ok", "read", f"[[:r {key} 1]]")]
        path.write_text("".join(f"{{:type :{kind}, :f :{f}, :value {value}, :process 0}}\n" for kind, f, value in events))
        checked = check_file(path)
        assert checked.model == "transactions" and checked.verdict.validity == "valid", key


def test_causal_consistency_is_of_transactions_or_of_registers_and_says_so(tmp_path: Path) -> None:
    registers, transactions = tmp_path / "registers", tmp_path / "transactions"
    registers.write_bytes(jsonl.encode(operations(("write", 1), ("read", 1))))
    transactions.write_text("w(1,1,0,1)\nr(1,1,0,2)\n")
    assert check_file(transactions, "transactional-causal").verdict.reason == "transactional causal consistency holds."
    assert check_file(transactions, "causal").verdict.reason == "transactional causal consistency holds."
    assert "transaction" not in check_file(registers, "causal").verdict.reason
    with pytest.raises(UsageError):
        check_file(registers, "transactional-causal")


def test_a_checker_that_fails_says_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*told: Any) -> Verdict:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr("splitbrain.checkers.linearizability.check_parts", broken)
    verdict = check(operations(("write", 1)))
    assert verdict.validity == "unknown"
    assert "ZeroDivisionError: division by zero" in verdict.reason


def stale(tmp_path: Path) -> CheckedFile:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("write", 1), ("write", 2), ("read", 1))))
    return check_file(path)


def test_json_holds_evidence_that_check_takes_back(tmp_path: Path) -> None:
    checked = stale(tmp_path)
    told = json.loads(encode(checked.result))
    assert (told["source"]["format"], told["source"]["model"], told["exit_code"]) == ("jsonl", "register", 1)
    path = tmp_path / "evidence"
    path.write_text("".join(json.dumps(one) + "\n" for one in told["anomalies"][0]["operations"]))
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
    json.loads(encode(checked.result))


def test_one_s_own_model_and_plain_operations() -> None:
    assert check(list(operations(("write", 1), ("read", 1))), CasRegister()).validity == "valid"
    assert check(operations(("write", 1), ("read", None))).validity == "invalid"
    assert check(operations(("write", 1), ("read", None)), nil="wildcard").validity == "valid"
    assert check([]).validity == "unknown"


def test_the_command(tmp_path: Path, splitbrain: Callable[..., Ran]) -> None:
    path = tmp_path / "history"
    path.write_bytes(jsonl.encode(operations(("write", 1), ("write", 2), ("read", 1))))
    report, junit = tmp_path / "out.html", tmp_path / "out.xml"
    ran = splitbrain("check", path, "--json", "--report", report, "--junit", junit)
    assert (ran.code, json.loads(ran.stdout)["validity"]) == (1, "invalid")
    assert "NOT LINEARIZABLE" in report.read_text()
    suite = ElementTree.parse(junit).getroot()
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    assert splitbrain("check", path).stdout.startswith("NOT LINEARIZABLE   ")
    path.write_text('{"type":"invoke","process":0,"f":"read"}\n{"type":"ok","pro')
    ran = splitbrain("check", path)
    assert (ran.code, ran.stdout) == (64, "")
    assert f"{path}:2:18: expected the rest of this JSON, found the end: --torn judges what came before." in ran.stderr
    ran = splitbrain("check", path, "--torn")
    assert (ran.code, ran.stderr) == (2, "")
    assert "the last line is cut short: left out" in ran.stdout


REPORTED = HISTORIES / "reported"
SHOWN: list[dict[str, Any]] = json.loads((REPORTED / "verdicts.json").read_text()) if REPORTED.is_dir() else []


@pytest.mark.parametrize("one", SHOWN, ids=lambda one: " ".join((one["file"], *one["args"])))
def test_what_failed_once_exits_as_it_should(one: dict[str, Any]) -> None:
    options = {"initial": one["args"][1]} if "--initial" in one["args"] else {}
    options |= {"model": one["args"][1]} if "--model" in one["args"] else {}
    try:
        checked = check_file(REPORTED / one["file"], **options)
    except UsageError:
        assert one["exit"] == 64
        return
    assert checked.exit_code == one["exit"]
    if "identifier" in one:
        assert one["identifier"] in checked.verdict.counts


W, R = ("write", 0), ("read", 0)


@pytest.mark.parametrize(
    ("calls", "initial", "validity", "reason"),
    [
        ([R, ("write", 1)], None, "valid", "valid only if it began with 0, as was directly seen"),
        ([R, ("write", 1)], "nil", "invalid", ""),
        ([("read", False), ("write", 1), ("read", 1)], None, "valid", "valid only if it began with false"),
        ([("read", False), R], None, "invalid", ""),
        ([("write", 0, "fail"), R], None, "unknown", "valid only if it began with 0; if it began with nil: "),
        ([("write", 0, "fail"), R], "nil", "invalid", ""),
        ([("write", 0, "fail"), R], "0", "valid", ""),
        ([("write", 0, "fail"), ("read", False)], "0", "invalid", ""),
        ([("read", 7), ("write", 7, "fail")], None, "invalid", ""),
        ([("read", 7), ("write", 8)], None, "valid", "valid only if it began with 7"),
        ([("write", 1), R], None, "invalid", ""),
        ([("txn", (("r", "x", 0),)), ("txn", (("w", "x", 1),))], None, "valid", "valid only if it began with 0"),
        ([("txn", (("r", "x", 0),)), ("txn", (("w", "x", 1),))], "nil", "invalid", ""),
        ([("write", 1, "info"), ("write", 2, "fail")], None, "unknown", "nothing is proven: none of 2 operations was answered"),
    ],
)
def test_what_registers_began_with(
    calls: list[tuple[Any, ...]], initial: str | None, validity: str, reason: str, tmp_path: Path
) -> None:
    path = tmp_path / "history"
    told = [msgspec.structs.replace(one, process=i) for i, one in enumerate(operations(*calls))]
    path.write_bytes(jsonl.encode(told))
    checked = check_file(path, initial=initial)
    assert checked.verdict.validity == validity
    assert reason in checked.result.reason


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"invoked": 5, "completed": 4}, "it completes before the time at which it was invoked"),
        ({"invoked": 0.5}, "expected a whole number as invoked, found 0.5"),
        ({"outcome": "okay"}, "expected the outcome ok, fail or info, found 'okay'"),
        ({"process": "a"}, "expected a whole number as process, found 'a'"),
        ({"value": json.loads("[" * 300 + "]" * 300)}, "expected at most 200 levels of nesting"),
    ],
)
def test_operations_that_cannot_be(fields: dict[str, Any], message: str) -> None:
    one = Operation(process=0, f="read", invoked=0, completed=1)
    with pytest.raises(UsageError, match=f"^operation 1.*{message}"):
        check([one, msgspec.structs.replace(Operation(process=1, f="read", invoked=2, completed=9), **fields)])


@pytest.mark.parametrize("value", [object(), (1, [object()]), {"a": object()}])
def test_a_value_that_is_equal_to_itself_alone_is_no_value(value: Any) -> None:
    for seen in ((), (value,)):
        with pytest.raises(UsageError, match=r"of the type object .* is equal to nothing but itself"):
            check([Operation(process=0, f="write", value=1 if seen else value, seen=seen, invoked=0, completed=1)])
    assert check([Operation(process=0, f="write", value=(1, [2.5, {"a": b"x"}]), invoked=0, completed=1)]).validity == "valid"


NAMELESS = """
{:type :invoke, :f :txn, :value [[:w x 1]]}
{:type :ok, :f :txn, :value [[:w x 1]]}
{:type :invoke, :f :txn, :value [[:r x nil]]}
{:type :ok, :f :txn, :value [[:r x nil]]}
"""


def test_where_no_process_is_told_no_session_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    for text, broken in ((NAMELESS, False), (NAMELESS.replace(":f ", ":process 3, :f "), True)):
        path.write_text(text)
        checked = check_file(path)
        assert ("G-single-process" in checked.verdict.counts) == broken
        assert any("sessions are not judged" in note for note in checked.notes) != broken


def test_a_client_does_one_thing_at_a_time() -> None:
    with pytest.raises(UsageError, match="operation 1: process 0 begins an operation before its last one completed"):
        check([Operation(process=0, f="write", value=i, invoked=i, completed=i + 5) for i in range(2)])


def test_fences(tmp_path: Path) -> None:
    path = tmp_path / "history.jsonl"

    def events(*fences: Any) -> str:
        lines = []
        for process, fence in enumerate(fences):
            for f, told in (("acquire", fence), ("release", None)):
                lines.append({"type": "invoke", "f": f, "process": process})
                lines.append({"type": "ok", "f": f, "process": process, "value": told})
        return "".join(json.dumps(line) + "\n" for line in lines)

    for wrap in (lambda fence: fence, lambda fence: {"client": "c", "fence": fence}, lambda fence: {"token": fence}):
        for fences, validity in (((1, 2, 3), "valid"), ((1, 3, 2), "invalid")):
            path.write_text(events(*map(wrap, fences)))
            checked = check_file(path)
            assert (checked.model, checked.verdict.validity) == ("fenced-lock", validity)
    path.write_text(events(None, None))
    assert check_file(path).model == "mutex"
