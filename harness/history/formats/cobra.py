"""Cobra's logs: a folder with one `T<n>.log` per client, records of big-endian words.

A version is a transaction and the number of a write in it, never a value, but where these were erased. Aborted transactions
are in no log: what was read from one that none has was not committed, unless a whole log is missing, which nothing tells. One
that a log has without its commit may have committed or not. Some logs tell the time of every begin and commit, by clocks that
nobody compared: it is left out.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Mapping
from pathlib import Path

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history.formats.sessions import Sessions
from splitbrain.harness.history.formats.source import opened
from splitbrain.harness.history.history import FAIL, INFO, History
from splitbrain.harness.history.micros import Micro

_LOG = re.compile(r"T(\d+)\.log(?:\.gz)?\Z")
_RECORDS = {b"S": struct.Struct(">q"), b"W": struct.Struct(">qqq"), b"R": struct.Struct(">qqqq"), b"C": struct.Struct(">q")}
_WITH_TIMES = _RECORDS | {kind: struct.Struct(">q8x") for kind in (b"S", b"C")}
_INITIAL = (0xBEBEEBEE, 0xDEADBEEF)
"""As the transaction or the write that was read from: the value from before the run, and no value at all."""
_UNTOLD = (0xABCDEFAB, 0x23332333, 0x66666666)
"""As these: a value that was deleted, nobody knows by whom, and the garbage collector's own."""
_ERASED = 0xABDDEFEE
"""Stands for every write's number, and for the transaction that was read from, in the logs that VeriStrong hands on: only
values tell versions apart there."""
_LOOKED_AT = 200
"""Records by which it is told whether those of a log have times."""

_Version = tuple[int, ...]


def logs(folder: Path) -> list[Path]:
    """The logs in a folder, in the order of their numbers; none where it is no folder of Cobra's."""
    if not folder.is_dir():
        return []
    found = {int(match[1]): path for path in sorted(folder.iterdir(), reverse=True) if (match := _LOG.match(path.name))}
    return [found[number] for number in sorted(found)]


def read(folder: Path, *, torn: bool = False) -> tuple[History, list[str]]:
    """The history in such a folder, and notes. With `torn`, logs that are cut short are read as far as they go.

    Raises `HistoryError` naming the log and the byte (as a column), or where there are no logs.
    """
    if not (found := logs(folder)):
        raise HistoryError("expected a folder with the logs T0.log, T1.log, ...", path=str(folder), line=1, column=1)
    known = _Known()
    for session, path in enumerate(found):
        _log(path, session, known, torn)
    strangers: dict[int, list[Micro]] = {}
    erased: list[Micro] = []
    for version, key in known.reads.items():
        if version in known.written:
            continue
        if version[0] == _ERASED:
            erased.append(("w", key, known.names[version]))
        else:
            strangers.setdefault(version[0], []).append(("w", key, known.names[version]))
    # Nobody knows in which order these ran, so that each is a session of its own.
    for number, micros in enumerate(strangers.values(), 1):
        # What is cut off a log may be just these.
        known.sessions.whole(-number, micros, FAIL if known.whole else INFO)
    for number, micro in enumerate(erased, len(strangers) + 1):
        known.sessions.whole(-number, (micro,), INFO)
    notes = known.notes
    if strangers:
        told = "they did not commit, unless a log is missing" if known.whole else "they may have committed or not"
        notes.append(f"{len(strangers)} transactions that no log has were read from: {told}")
    if any(version[0] == _ERASED for version in (*known.written, *known.reads)):
        notes.append("what was read from is erased in these logs: versions are told apart by their values alone")
    if erased:
        notes.append(f"{len(erased)} values that were read are written in no log: they may be what was there before the run")
    if known.untold:
        notes.append(f"{known.untold} reads of what was deleted, or is the garbage collector's, left out")
    return known.sessions.history(notes), notes


class _Known:
    """What the logs told so far: `names` has a number for every version, `reads` the key of each that was read. `whole`: no log
    is cut short."""

    def __init__(self) -> None:
        self.sessions = Sessions()
        self.names: dict[_Version, int] = {}
        self.written: set[_Version] = set()
        self.reads: dict[_Version, int] = {}
        self.notes: list[str] = []
        self.whole = True
        self.untold = 0

    def write(self, transaction: int, number: int, key: int, value: int) -> Micro:
        """A write of a transaction."""
        version = (_ERASED, key, value) if number == _ERASED else (transaction, number)
        self.written.add(version)
        return "w", key, self.names.setdefault(version, len(self.names))

    def read(self, author: int, number: int, key: int, value: int) -> Micro | None:
        """A read of what that transaction wrote; None where nobody knows what was found."""
        if author in _INITIAL or number in _INITIAL:
            return "r", key, None
        if author in _UNTOLD or number in _UNTOLD:
            self.untold += 1
            return None
        version = (_ERASED, key, value) if _ERASED in (author, number) else (author, number)
        self.reads[version] = key
        return "r", key, self.names.setdefault(version, len(self.names))


def _fits(data: bytes, records: Mapping[bytes, struct.Struct]) -> bool:
    """Whether a log begins with such records."""
    at = 0
    for _ in range(_LOOKED_AT):
        if at >= len(data):
            return True
        record = records.get(data[at : at + 1])
        if record is None:
            return False
        at += 1 + record.size
    return True


def _log(path: Path, session: int, known: _Known, torn: bool) -> None:
    """Take one log."""
    with opened(path) as source:
        data, at = source.file.read(), 0
    records = _WITH_TIMES if not _fits(data, _RECORDS) and _fits(data, _WITH_TIMES) else _RECORDS
    open_number, micros, unfinished = None, list[Micro](), 0

    def fail(message: str) -> HistoryError:
        return HistoryError(f"{message}.", path=str(path), line=1, column=at + 1)

    while at < len(data):
        record = records.get(data[at : at + 1])
        if record is None:
            raise fail(f"expected S, W, R or C, found the byte 0x{data[at]:02x}")
        if at + 1 + record.size > len(data):
            if not torn:
                raise fail("the log is cut short: --torn judges what came before")
            known.notes.append(f"{path.name} is cut short: what its end tells in part is left out")
            known.whole = False
            break
        kind, words = data[at : at + 1], record.unpack_from(data, at + 1)
        if kind == b"S":
            if open_number is not None:
                known.sessions.whole(session, micros, INFO)
                unfinished += 1
            open_number, micros = words[0], []
        elif open_number is None:
            raise fail("expected the begin of a transaction (S)")
        elif kind == b"W":
            micros.append(known.write(open_number, *words))
        elif kind == b"R":
            if (micro := known.read(*words)) is not None:
                micros.append(micro)
        else:
            if words[0] != open_number:
                raise fail(f"expected the commit of transaction {open_number}, found that of {words[0]}")
            known.sessions.whole(session, micros)
            open_number = None
        at += 1 + record.size
    if open_number is not None:
        known.sessions.whole(session, micros, INFO)
        unfinished += 1
    if unfinished:
        known.notes.append(f"{unfinished} transactions of {path.name} without a commit: they may have committed or not")
