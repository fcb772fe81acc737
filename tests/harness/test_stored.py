"""A stored result stands for judging anew only where this version made it of the very journal that lies there."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import msgspec
import pytest

from splitbrain.checkers.result import encode
from splitbrain.harness.errors import INTERRUPTED
from splitbrain.harness.run import judge_and_write, judge_run, stored_or_judged
from splitbrain.harness.store import Run
from splitbrain.reports.page import html
from splitbrain.reports.terminal import Progress, console
from tests.harness.history.test_journal import write


def test_a_stored_result_is_reused_of_the_same_version_and_journal_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run.journal)
    known = msgspec.structs.replace(judge_run(run)[0], heading="STORED")
    journal = run.journal.read_bytes()

    def heading() -> str:
        return stored_or_judged(run)[0].heading

    run.result.write_bytes(encode(known))
    assert heading() == "STORED"
    run.result.write_bytes(encode(msgspec.structs.replace(known, judged="splitbrain 0.0.1," + known.judged.split(",")[1])))
    assert heading() != "STORED", "another version judged it"
    stored = encode(known)
    run.result.write_bytes(stored.replace(b"STORED", b"EDITED"))
    assert heading() not in ("STORED", "EDITED"), "somebody edited it"
    run.result.write_bytes(stored[: len(stored) // 2])
    assert heading() != "STORED", "it was cut short"
    run.result.write_bytes(stored)
    run.journal.write_bytes(journal[:-1])
    assert heading() != "STORED", "the journal is shorter"


def test_a_stored_result_does_not_stand_for_a_journal_that_was_damaged_since(tmp_path: Path) -> None:
    run = Run(tmp_path)
    write(run.journal)
    with run.journal.open("ab") as file:  # The end, by which journals are told apart, is the same.
        file.write(b" " * 8192)
    known = msgspec.structs.replace(judge_run(run)[0], heading="STORED")
    run.result.write_bytes(encode(known))
    assert stored_or_judged(run)[0].heading == "STORED"
    journal = bytearray(run.journal.read_bytes())
    journal[journal.index(b'"type":"ok"') + 30] ^= 1
    run.journal.write_bytes(bytes(journal))
    again, recording = stored_or_judged(run)
    assert again.heading != "STORED" and recording.damage and len(recording.history) == again.totals.operations


def test_a_report_that_was_interrupted_is_told_with_what_writes_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    run = Run(tmp_path)
    write(run.journal)
    monkeypatch.setattr(html, "write", interrupted)
    said = StringIO()
    outcome = judge_and_write(run, Progress(console(said)))
    assert outcome.exit_code == INTERRUPTED and outcome.result is not None and run.result.is_file()
    assert f"this writes it: splitbrain report {run.folder}" in " ".join(said.getvalue().split())
