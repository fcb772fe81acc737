"""Columns on disk, as in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import pytest

from splitbrain.harness.check import check_file
from splitbrain.harness.errors import StorageError
from splitbrain.harness.history import builder, columns, formats
from splitbrain.harness.history.history import History
from splitbrain.harness.history.operation import Operation

EVENTS = "".join(
    f'{{"type":"invoke","process":{at % 3},"f":"write","key":{at % 7},"value":{at}}}\n'
    f'{{"type":"{"info" if at % 50 == 49 else "ok"}","process":{at % 3},"f":"write","key":{at % 7}}}\n'
    if at % 50 != 49 else ""
    for at in range(400)
) + '{"type":"invoke","process":77,"f":"read","key":1}\n'


def _operations() -> str:
    told = []
    for at in range(300):
        began = at * 37 % 301
        told.append(f'{{"process":{at},"f":"write","key":"k{at % 5}","value":"v{at}","outcome":"ok","invoked":{began},'
                    f'"completed":400}}\n')
    return "".join(told)


@pytest.mark.parametrize("text", [EVENTS, _operations()], ids=["events", "operations"])
def test_a_history_on_disk_is_the_one_in_memory(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "history.jsonl"
    path.write_text(text)
    expected = formats.read(path).history
    verdict = check_file(path)
    monkeypatch.setattr(columns, "ROWS_IN_MEMORY", 20)
    monkeypatch.setattr(columns, "_AT_ONCE", 7)
    monkeypatch.setattr(builder, "BATCH", 16)
    found = formats.read(path).history
    assert isinstance(found.invoked.base, np.memmap) or isinstance(found.process.base, np.memmap)
    assert list(found) == list(expected)
    again = check_file(path)
    assert (again.verdict.reason, again.result.totals) == (verdict.verdict.reason, verdict.result.totals)


def test_no_room_on_the_disk_is_a_sentence_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(columns, "ROWS_IN_MEMORY", 1)
    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(StorageError, match=r"finds no room there .* TMPDIR names another folder"):
        taken = columns.Columns()
        taken.append({"a": np.arange(3)})


def test_a_history_of_operations_is_taken_apart_and_put_together(monkeypatch: pytest.MonkeyPatch) -> None:
    told = [Operation(process=at, f="write", value=at, invoked=100 - at, completed=200) for at in range(50)]
    expected = list(History.of(told))
    monkeypatch.setattr(columns, "ROWS_IN_MEMORY", 10)
    assert list(History.of(told)) == expected
