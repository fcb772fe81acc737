"""Files of every format, written with all the freedom that it leaves, are judged as the levels are defined."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from splitbrain import Operation
from splitbrain.harness.check import check_file
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
    log.write_bytes(whole[:20])
    checked = check_file(folder, torn=True)
    assert checked.verdict.validity == "valid" and any("may have committed or not" in note for note in checked.notes)
