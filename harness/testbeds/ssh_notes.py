"""What runs have on machines of a person's own, remembered here until it is gone from there: so that `clean` finds it.

    $XDG_STATE_HOME/splitbrain/machines/RUN.json

(`~/.local/state` where the variable is not set). A note is written before a machine is touched and removed once every one has
said that everything is as before.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from splitbrain.harness.errors import StorageError
from splitbrain.harness.files import write_whole
from splitbrain.harness.testbeds.owner import is_gone
from splitbrain.harness.testbeds.ssh_inventory import Host


class Note(msgspec.Struct, frozen=True):
    """A run, the testbed that it had, whose it is (see owner.py), and its machines."""

    run: str
    testbed: str
    owner: str
    hosts: tuple[Host, ...]


def write(note: Note) -> None:
    """Remember. Raises `StorageError`: what could not be found again is not begun."""
    try:
        _folder().mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"{_folder()}: cannot be written: {error.strerror}. Name another with XDG_STATE_HOME.") from error
    write_whole(_file(note.run, note.owner), msgspec.json.encode(note))


def forget(run: str, owner: str) -> None:
    """The run of that owner has nothing on any machine any more."""
    _file(run, owner).unlink(missing_ok=True)


def left_behind(testbed: str) -> Iterator[Note]:
    """The notes of that testbed whose runs have ended for certain and were not torn down."""
    for path in sorted(_folder().glob("*.json")):
        try:
            note = msgspec.json.decode(path.read_bytes(), type=Note)
        except (OSError, msgspec.MsgspecError):
            continue
        if note.testbed == testbed and is_gone(note.owner):
            yield note


def _file(run: str, owner: str) -> Path:
    """Two runs that began in the same second in different folders bear one name: the owner's pid tells them apart."""
    return _folder() / f"{run}.{owner.split(':')[0]}.json"


def _folder() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "splitbrain" / "machines"
