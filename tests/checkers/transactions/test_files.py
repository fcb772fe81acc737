"""Files of every format, written with all the freedom that it leaves, are judged as the levels are defined."""

from __future__ import annotations

import gzip
import random
import struct
from pathlib import Path

import pytest

from splitbrain import Operation
from splitbrain.harness.check import CheckedFile, check_file
from splitbrain.harness.errors import UsageError
from tests.checkers.transactions import files, fuzz


@pytest.mark.parametrize("format", files.FORMATS)
def test_files_are_judged_as_the_levels_are_defined(format: str, tmp_path: Path) -> None:
    assert not [wrong for seed in range(25) if (wrong := fuzz.file_agrees(random.Random(seed), format, tmp_path / str(seed)))]


def test_what_is_cut_off_a_log_of_cobra_is_not_called_aborted(tmp_path: Path) -> None:
    written = Operation(process=0, f="txn", value=(("w", 1, 7),), invoked=0, completed=1)
    seen = Operation(process=1, f="txn", value=(("r", 1, 7),), invoked=2, completed=3)
    folder = files.write(tmp_path / "logs", [written, seen], "cobra", random.Random(1))
    log = min(folder.glob("T*.log"))
    whole = log.read_bytes()
    assert check_file(folder).verdict.validity == "valid"
    log.write_bytes(b"")
    assert check_file(folder).verdict.counts == {"G1a": 1}
    log.unlink()
    assert check_file(folder).verdict.counts == {"G1a": 1}
    log.write_bytes(whole[:20])
    checked = check_file(folder, torn=True)
    assert checked.verdict.validity == "valid" and any("may have committed or not" in note for note in checked.notes)


# What files may hold beside the usual.


def record(kind: bytes, *words: int, time: int | None = None) -> bytes:
    """A record of Cobra's, with a time where one is told."""
    return kind + struct.pack(f">{len(words)}q", *words) + (b"" if time is None else struct.pack(">q", time))


def judged(folder: Path, *logs: bytes) -> CheckedFile:
    """The verdict on a folder with these logs."""
    folder.mkdir()
    for number, log in enumerate(logs):
        (folder / f"T{number}.log").write_bytes(log)
    return check_file(folder)


WRITES = record(b"S", 1) + record(b"W", 7, 3, 9) + record(b"C", 1)


def test_logs_of_cobra_with_times_or_packed_are_read(tmp_path: Path) -> None:
    writes = record(b"S", 1, time=111) + record(b"W", 7, 3, 9) + record(b"C", 1, time=222)
    reads = record(b"S", 2, time=333) + record(b"R", 1, 7, 3, 9) + record(b"C", 2, time=444)
    assert judged(tmp_path / "timed", writes, reads).verdict.reason == "strong session serializable holds."
    checked = judged(tmp_path / "packed", gzip.compress(writes), reads)
    assert checked.verdict.reason == "strong session serializable holds." and not checked.notes
    for name, damaged in (("cut", gzip.compress(writes)[:-4]), ("flipped", gzip.compress(writes)[:-8] + b"damaged.")):
        with pytest.raises(UsageError, match=r"T0.log:1:1: cannot be decompressed"):
            judged(tmp_path / name, damaged, reads)


READS = record(b"S", 2) + record(b"R", 1, 7, 3, 9) + record(b"C", 2)


def test_a_verdict_that_rests_on_all_logs_of_cobra_being_there_says_so(tmp_path: Path) -> None:
    whole = judged(tmp_path / "whole", WRITES, READS)
    assert whole.verdict.validity == "valid"
    (tmp_path / "whole" / "T0.log").unlink()
    checked = check_file(tmp_path / "whole")
    assert checked.verdict.counts == {"G1a": 1} and "if no log is missing" in checked.verdict.reason
    assert "they did not commit, unless a log is missing" in checked.notes[0]
    # Whatever else they read, the second of these went back behind the first.
    back = record(b"S", 3) + record(b"R", 0xBEBEEBEE, 0xBEBEEBEE, 3, 0) + record(b"C", 3)
    checked = judged(tmp_path / "back", READS + back)
    assert checked.verdict.validity == "invalid" and "if no log is missing" not in checked.verdict.reason


@pytest.mark.parametrize("mark", [0xABCDEFAB, 0x23332333, 0x66666666])
def test_a_read_of_what_was_deleted_in_logs_of_cobra_accuses_nobody(mark: int, tmp_path: Path) -> None:
    checked = judged(tmp_path / "logs", WRITES, record(b"S", 2) + record(b"R", mark, mark, 3, 9) + record(b"C", 2))
    assert checked.verdict.validity == "valid" and "1 reads of what was deleted" in checked.notes[0]


def test_where_logs_of_cobra_are_erased_values_tell_versions_apart(tmp_path: Path) -> None:
    erased = 0xABDDEFEE

    def log(number: int, *steps: tuple[bytes, int, int]) -> bytes:
        """A transaction's begin, its reads and writes of a key and a value, and its commit."""
        ids = {b"W": (erased,), b"R": (erased, erased)}
        return record(b"S", number) + b"".join(record(f, *ids[f], *step) for f, *step in steps) + record(b"C", number)

    writes = log(1, (b"W", 3, 9)) + log(2, (b"W", 3, 10), (b"W", 4, 10))
    assert judged(tmp_path / "read", writes, log(3, (b"R", 3, 10), (b"R", 4, 10))).verdict.validity == "valid"
    assert judged(tmp_path / "torn", writes, log(3, (b"R", 4, 10), (b"R", 3, 9))).verdict.validity == "invalid"
    before = judged(tmp_path / "before", writes, log(3, (b"R", 3, 77), (b"R", 4, 78)))
    assert before.verdict.validity == "valid" and "may be what was there before the run" in before.notes[1]
    twice = judged(tmp_path / "twice", writes, log(3, (b"W", 3, 9)))
    assert twice.verdict.validity == "unknown"


def test_what_a_session_with_a_negative_number_aborted_is_no_other_transaction(tmp_path: Path) -> None:
    path = tmp_path / "history.txt"
    path.write_text("w(1,5,-1,0)\nw(1,6,-1,-1)\nr(1,5,1,2)\n")
    assert check_file(path).verdict.validity == "valid"


def test_what_is_no_truth_value_in_dbcops_files_is_refused(tmp_path: Path) -> None:
    """Else what is read out of step with the file would be judged."""
    path = tmp_path / "history.bincode"
    written = Operation(process=0, f="txn", value=(("w", 1, 7),), invoked=0, completed=1)
    made = files.write(path, [written], "dbcop", random.Random(3))
    whole = made.read_bytes()
    assert made == path and check_file(path).verdict.validity == "valid"
    path.write_bytes(whole[:-1] + b"\7")
    with pytest.raises(UsageError, match="expected 0 or 1 before this byte, found 7"):
        check_file(path)


def test_values_that_repeat_prove_no_more_than_a_serial_order_where_no_times_are_told(tmp_path: Path) -> None:
    """The client read the initial state behind its own write: a serial order explains it, and none that keeps clients."""
    path = tmp_path / "history.txt"
    path.write_text("w(1,5,0,1)\nr(1,0,0,2)\nw(1,5,1,3)\n")
    checked = check_file(path)
    assert checked.verdict.validity == "unknown"
    assert {one.model: one.state for one in checked.verdict.standings} == {"linearizable": "undecided", "serializable": "holds"}
    path.write_text("w(1,5,0,1)\nw(2,6,0,1)\nw(1,5,1,2)\nr(1,0,2,3)\nr(2,6,2,3)\n")
    assert check_file(path).verdict.validity == "invalid"


def test_a_transaction_that_reads_may_tell_what_in_its_answer_alone(tmp_path: Path) -> None:
    path = tmp_path / "history.edn"

    def told(found: str) -> str:
        return "".join(f"{{:type :{kind}, :f :{f}, :value {value}, :process {process}}}\n" for process, kind, f, value in (
            (0, "invoke", "write", "[[:w 1 5]]"), (0, "ok", "write", "[[:w 1 5]]"), (1, "invoke", "read", "nil"),
            (1, "info", "read", "nil"), (2, "invoke", "read", "nil"), (2, "ok", "read", f"[[:r 1 {found}]]"),
        ))

    path.write_text(told("5"))
    checked = check_file(path)
    assert (checked.model, checked.verdict.reason) == ("transactions", "strict serializable holds.")
    path.write_text(told("7"))
    assert check_file(path).verdict.counts == {"unwritten-read": 1}


@pytest.mark.parametrize("answer", ["[1 2 []]", "[11 [7]]", "[11 7]", "[11 [[:x 1 2]]]"])
def test_an_answer_of_independent_keys_that_is_no_transaction_is_refused(answer: str, tmp_path: Path) -> None:
    path = tmp_path / "history.edn"
    path.write_text(
        "{:type :invoke, :f :txn, :value [11 [[:r 1 nil]]], :process 0}\n"
        f"{{:type :ok, :f :txn, :value {answer}, :process 0}}\n"
    )
    with pytest.raises(UsageError, match="of other steps than r, w and append, are not judged"):
        check_file(path)


def test_lists_whose_elements_repeat_are_judged_as_lists(tmp_path: Path) -> None:
    """Who appended what is not known, and that is said; they are no registers, and nothing is refused."""
    path = tmp_path / "history.edn"
    path.write_text("".join(
        f"{{:type :{kind}, :f :txn, :value [[:append 1 5]], :process {process}}}\n"
        for process in (0, 1) for kind in ("invoke", "ok")
    ) + "{:type :invoke, :f :txn, :value [[:r 1 nil]], :process 2}\n{:type :ok, :f :txn, :value [[:r 1 [5]]], :process 2}\n")
    checked = check_file(path)
    assert (checked.model, checked.verdict.validity) == ("transactions", "unknown")
    assert "more than once" in checked.verdict.reason


@pytest.mark.parametrize("f", ["txn", "write"])
def test_transactions_of_independent_keys_are_kept_apart(f: str, tmp_path: Path) -> None:
    path = tmp_path / "history.edn"

    def told(*steps: tuple[int, int, str, str]) -> str:
        return "".join(
            f"{{:type :{kind}, :f :{f}, :value [{key} [{value}]], :process {process}}}\n"
            for process, key, asked, answer in steps for kind, value in (("invoke", asked), ("ok", answer))
        )

    written = (0, 3, "[:w 1 5]", "[:w 1 5]")
    path.write_text(told(written, (1, 3, "[:r 1 nil]", "[:r 1 5]"), (0, 4, "[:r 1 nil]", "[:r 1 nil]")))
    checked = check_file(path)
    assert checked.verdict.reason == "strict serializable holds."
    assert checked.notes[0] == "values are [key value] pairs: 2 independent keys"
    path.write_text(told(written, (1, 3, "[:r 1 nil]", "[:r 1 nil]")))
    assert check_file(path).verdict.validity == "invalid"
