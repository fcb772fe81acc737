"""Cobra's logs: a folder with one `T<n>.log` per client, records of big-endian words.

A version is a transaction and the number of a write in it, never a value. Aborted transactions are in no log: what was read
from one that none has was not committed. One that a log has without its commit may have committed or not.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.formats.sessions import Sessions
from splitbrain.harness.history.formats.text import load
from splitbrain.harness.history.history import FAIL, INFO, History
from splitbrain.harness.history.micros import Micro

_LOG = re.compile(r"T(\d+)\.log\Z")
_RECORDS = {b"S": struct.Struct(">q"), b"W": struct.Struct(">qqq"), b"R": struct.Struct(">qqqq"), b"C": struct.Struct(">q")}
_INITIAL = (0xBEBEEBEE, 0xDEADBEEF)
"""As the transaction or the write that was read from: the value from before the run, and no value at all."""

_Version = tuple[int, int]


def logs(folder: Path) -> list[Path]:
    """The logs in a folder, in the order of their numbers; none where it is no folder of Cobra's."""
    if not folder.is_dir():
        return []
    found = [(int(match[1]), path) for path in folder.iterdir() if (match := _LOG.match(path.name))]
    return [path for _, path in sorted(found)]


def read(folder: Path, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a folder, and notes. With `torn`, logs that are cut short are read as far as they go.

    Raises `HistoryError` naming the log and the byte (as a column), or where there are no logs.
    """
    if not (found := logs(folder)):
        raise HistoryError("expected a folder with the logs T0.log, T1.log, ...", path=str(folder), line=1, column=1)
    notes: list[str] = []
    names: dict[_Version, int] = {}
    sessions = Sessions()
    written: set[_Version] = set()
    reads: dict[_Version, int] = {}
    whole = True
    for session, path in enumerate(found):
        whole &= _log(path, session, sessions, names, written, reads, torn, notes)
    strangers: dict[int, list[Micro]] = {}
    for version, key in reads.items():
        if version not in written:
            strangers.setdefault(version[0], []).append(("w", key, names[version]))
    for micros in strangers.values():
        # What is cut off a log may be just these.
        sessions.whole(-1, micros, FAIL if whole else INFO)
    if strangers:
        told = "they did not commit" if whole else "they may have committed or not"
        notes.append(f"{len(strangers)} transactions that no log has were read from: {told}")
    return sessions.history(notes), notes


def _log(
    path: Path, session: int, sessions: Sessions, names: dict[_Version, int], written: set[_Version],
    reads: dict[_Version, int], torn: bool, notes: list[str],
) -> bool:
    """Take one log; whether it is whole."""
    data, at, whole = load(path), 0, True
    open_number, micros, unfinished = None, list[Micro](), 0

    def fail(message: str) -> HistoryError:
        return HistoryError(f"{message}.", path=str(path), line=1, column=at + 1)

    while at < len(data):
        record = _RECORDS.get(data[at : at + 1])
        if record is None:
            raise fail(f"expected S, W, R or C, found the byte 0x{data[at]:02x}")
        if at + 1 + record.size > len(data):
            if not torn:
                raise fail("the log is cut short: --torn judges what came before")
            notes.append(f"{path.name} is cut short: what its end tells in part is left out")
            whole = False
            break
        kind, words = data[at : at + 1], record.unpack_from(data, at + 1)
        if kind == b"S":
            if open_number is not None:
                sessions.whole(session, micros, INFO)
                unfinished += 1
            open_number, micros = words[0], []
        elif open_number is None:
            raise fail("expected the begin of a transaction (S)")
        elif kind == b"W":
            write, key, _ = words
            written.add((open_number, write))
            micros.append(("w", key, names.setdefault((open_number, write), len(names))))
        elif kind == b"R":
            author, write, key, _ = words
            if author in _INITIAL or write in _INITIAL:
                micros.append(("r", key, None))
            else:
                reads[author, write] = key
                micros.append(("r", key, names.setdefault((author, write), len(names))))
        else:
            if words[0] != open_number:
                raise fail(f"expected the commit of transaction {open_number}, found that of {words[0]}")
            sessions.whole(session, micros)
            open_number = None
        at += 1 + record.size
    if open_number is not None:
        sessions.whole(session, micros, INFO)
        unfinished += 1
    if unfinished:
        notes.append(f"{unfinished} transactions of {path.name} without a commit: they may have committed or not")
    return whole
