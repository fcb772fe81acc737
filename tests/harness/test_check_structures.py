"""`splitbrain check FILE` of structures: each is judged from a file, and taken for what only it can be."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from splitbrain import Operation
from splitbrain.checkers.anomalies import generalises
from splitbrain.checkers.structures.choose import STRUCTURES, found_structure
from splitbrain.harness.check import check, check_file
from splitbrain.harness.errors import UsageError
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.history import History

Calls = list[tuple[str, Any]]

WRITES: Calls = [("write", 10), ("write", 11)]

# Every structure with calls that are right and calls that are wrong, one after the other, and what is wrong with them.
FILES: dict[str, tuple[Calls, Calls, str]] = {
    "bank": (
        [("read", (5, 5)), ("transfer", (0, 1, 2)), ("read", (3, 7))],
        [("read", (5, 5)), ("transfer", (0, 1, 2)), ("read", (5, 7))], "wrong-total",
    ),
    "counter-bounds": ([("add", 2), ("add", 3), ("read", 5)], [("add", 2), ("add", 3), ("read", 6)], "out-of-bounds"),
    "fenced-lock": (
        [("acquire", 1), ("write", (7, 1)), ("release", None), ("acquire", 2), ("write", (8, 2))],
        [("acquire", 1), ("write", (7, 2)), ("release", None), ("acquire", 2), ("write", (8, 1))], "fence-passed",
    ),
    "lock": ([("acquire", None), ("release", None)] * 2, [("acquire", 2), ("release", None), ("acquire", 1)], "stale-fence"),
    "long-fork": (
        [("txn", (("w", 1, 1),)), ("txn", (("r", 1, 1), ("r", 2, None))), ("txn", (("w", 2, 1),)),
         ("txn", (("r", 1, 1), ("r", 2, 1)))],
        [("txn", (("w", 1, 1),)), ("txn", (("w", 2, 1),)), ("txn", (("r", 1, 1), ("r", 2, None))),
         ("txn", (("r", 1, None), ("r", 2, 1)))], "long-fork",
    ),
    "monotonic": (
        [("cas", (None, 1)), ("cas", (1, 2)), ("read", 2)], [("cas", (None, 1)), ("cas", (1, 2)), ("read", 1)],
        "non-monotonic-read",
    ),
    "set-full": ([("add", 1), ("add", 2), ("read", (1, 2))], [("add", 1), ("add", 2), ("read", (2,))], "lost-element"),
    "total-queue": (
        [("enqueue", 1), ("enqueue", 2), ("dequeue", 1), ("read", (2,))],
        [("enqueue", 1), ("enqueue", 2), ("dequeue", 1), ("read", ())], "lost-element",
    ),
    "unique-ids": ([("generate", 1), ("generate", 2)], [("generate", 1), ("generate", 1)], "duplicate-id"),
    "watch": (
        [*WRITES, ("read", (0, ((1, 10), (4, 11)))), ("read", (1, ((4, 11),)))],
        [*WRITES, ("read", (0, ((1, 10), (4, 11)))), ("read", (0, ((4, 11),)))], "missed-event",
    ),
}


def operations(calls: Calls) -> list[Operation]:
    return [
        Operation(process=0, f=f, value=value, invoked=1000 * at, completed=1000 * at + 500)
        for at, (f, value) in enumerate(calls)
    ]


def written(path: Path, calls: Calls) -> Path:
    path.write_bytes(jsonl.encode(operations(calls)))
    return path


@pytest.mark.parametrize("name", STRUCTURES)
def test_every_structure_is_judged_from_a_file(name: str, tmp_path: Path) -> None:
    right, wrong, identifier = FILES[name]
    fine = check_file(written(tmp_path / "right.jsonl", right), model=name)
    assert (fine.exit_code, fine.model, fine.why) == (0, name, "as told")
    bad = check_file(written(tmp_path / "wrong.jsonl", wrong), model=name)
    assert bad.exit_code == 1 and set(bad.verdict.counts) == {identifier}
    assert check(operations(wrong), name).counts == bad.verdict.counts
    for anomaly in bad.verdict.anomalies:
        alone = check(anomaly.operations, name)
        assert any(generalises(one, identifier) for one in alone.counts)


@pytest.mark.parametrize(("calls", "name"), [
    (FILES["bank"][0], "bank"), (FILES["total-queue"][0], "total-queue"), ([("transfer", (0, 1, 2))], "bank"),
    ([("acquire", 1), ("renew", None), ("write", (7, 1))], "fenced-lock"), ([("acquire", 1), ("renew", None)], "lock"),
    # These may be of something else, or are a linearizable object's as well.
    (FILES["watch"][0], None), (FILES["monotonic"][0], None), (FILES["set-full"][0], None), (FILES["lock"][0], None),
    (FILES["unique-ids"][0], None), (FILES["long-fork"][0], None), (FILES["counter-bounds"][0], None),
    (FILES["fenced-lock"][0], None), ([("enqueue", 1), ("dequeue", 1)], None), ([("read", (1, 2))], None),
])
def test_only_what_is_certain_is_found(calls: Calls, name: str | None) -> None:
    found = found_structure(History.of(operations(calls)))
    assert (found and found[0]) == name


def test_a_name_that_an_object_has_too_is_the_structure_where_the_object_knows_less(tmp_path: Path) -> None:
    linearizable = check_file(written(tmp_path / "a.jsonl", [("enqueue", 1), ("dequeue", 1)]), model="queue")
    assert linearizable.verdict.checker == "linearizability"
    lost = check_file(written(tmp_path / "b.jsonl", FILES["total-queue"][1]), model="queue")
    assert lost.verdict.counts == {"lost-element": 1}
    assert check(operations(FILES["fenced-lock"][1]), "fenced-lock").counts == {"fence-passed": 1}


def test_the_total_of_a_bank() -> None:
    """It is told, or what a read before the first transfer told, or what most reads tell; maps are balances, too."""
    reads: Calls = [("transfer", (0, 1, 2)), ("read", {"a": 3, "b": 7}), ("read", {"a": 4, "b": 7}), ("read", {"a": 5, "b": 5})]
    verdict = check(operations(reads), "bank")
    assert verdict.counts == {"wrong-total": 1} and "11 in all, where most reads tell 10" in verdict.anomalies[0].sentence
    assert check(operations(reads), "bank:11").counts == {"wrong-total": 2}
    first: Calls = [("read", {"a": 4, "b": 7}), *reads]
    assert check(operations(first), "bank").counts == {"wrong-total": 2}
    even = check(operations(reads[:2]), "bank")
    assert even.validity == "valid" and "it is taken for 10 (--model bank:10)" in even.reason
    overdrawn = check(operations([("read", {"a": -1, "b": 11})]), "bank")
    assert overdrawn.counts == {"negative-balance": 1} and "account a is overdrawn" in overdrawn.anomalies[0].sentence
    assert check(operations([("transfer", {"from": 0, "to": 1, "amount": 5})]), "bank").validity == "unknown"


@pytest.mark.parametrize(("model", "message"), [
    ("bank:many", "the total of a bank is a whole number"), ("watch:3", "takes no parameter"), ("wach", "did you mean 'watch'"),
])
def test_names_of_structures_that_are_wrong(model: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check(operations(FILES["bank"][0]), model)


def test_a_structure_has_no_initial_value(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'watch' has no initial value"):
        check_file(written(tmp_path / "a.jsonl", FILES["watch"][0]), model="watch", initial="0")


def test_reads_and_writes_of_micro_operations_are_transactions_and_may_be_a_long_fork(tmp_path: Path) -> None:
    """As the test of long forks of Jepsen writes them: no register that anybody read a list from."""
    told = [
        (process, f"{{:type :ok, :f {f}, :value {value}, :process {process}, :time {at}}}")
        for process, (at, f, value) in enumerate((
            (10, ":write", "[[:w 0 1]]"), (15, ":write", "[[:w 1 1]]"), (30, ":read", "[[:r 0 1] [:r 1 nil]]"),
            (31, ":read", "[[:r 0 nil] [:r 1 1]]"),
        ))
    ]
    path = tmp_path / "history.edn"
    begun = [line.replace(":ok", ":invoke").replace(f":time {line.split(':time ')[1]}", ":time 1}") for _, line in told]
    path.write_text("\n".join([*begun, *(line for _, line in told)]))
    assert "long-fork" in check_file(path).verdict.counts
    path.write_text(path.read_text().replace("[[:r 0 nil] [:r 1 1]]", "[[:r 0 1] [:r 1 1]]"))
    assert check_file(path).verdict.validity == "valid"
