"""Writing whole or not at all, and never through a link that somebody else left."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from splitbrain.harness.errors import StorageError
from splitbrain.harness.files import write_whole


def test_a_link_in_the_place_of_the_file_or_its_half_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = tmp_path / "mine"
    mine.write_text("precious")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "result.json").symlink_to(mine)
    write_whole(folder / "result.json", "new")
    assert mine.read_text() == "precious" and (folder / "result.json").read_text() == "new"
    monkeypatch.setattr("secrets.token_hex", lambda size: "guessed")
    (folder / ".guessed.half").symlink_to(mine)
    with pytest.raises(StorageError, match=r"report\.html: cannot be written"):
        write_whole(folder / "report.html", "new")
    assert mine.read_text() == "precious"


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(StorageError):
        write_whole(tmp_path / "report.html", "new")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_a_pipe_stays_a_pipe_and_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_whole(pipe, "page")
        assert os.read(reader, 100) == b"page"
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(pipe.lstat().st_mode) and [path.name for path in tmp_path.iterdir()] == ["pipe"]


def test_a_full_device_is_told_and_stays() -> None:
    with pytest.raises(StorageError, match="/dev/full: cannot be written: No space left on device"):
        write_whole(Path("/dev/full"), "page")
    assert stat.S_ISCHR(Path("/dev/full").lstat().st_mode)
