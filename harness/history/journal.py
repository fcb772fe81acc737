"""The journal: every event of a run as one line of JSON, written the moment it happens.

The first line is a header (format, plan, variant, nodes). Then, in the order in which they happened: `phase`, `invoke` and
its `ok`, `fail` or `info`, `fault` (again at every stage of it: the last line of an id tells the whole), `view`, `death`,
`note`, `stall` (the harness itself did not run), `local-read`, `versions`, and `end`. Each line goes to the kernel by itself,
so that a killed harness loses at most the line it was writing. A journal without its `end` is torn, and still loads.

Every line ends with `"sum"`, the CRC-32 of what stands before it in the line, begun with the sum of the line before: a bit
that flipped, a line that is missing or was put in, is found where it is. What stands before the damage is judged as torn.
"""

from __future__ import annotations

import math
import os
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import msgspec

from splitbrain.harness.errors import HistoryError, StorageError
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Fault, PlainFault
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.formats.text import unreadable
from splitbrain.harness.history.history import History
from splitbrain.harness.history.moment import Time
from splitbrain.harness.history.operation import Key, Kind, Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, Phase, PhaseName, Placement, Recording, Stall, View
from splitbrain.harness.history.sums import summed
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan

FORMAT = 6
"""Format 1 knew no deaths, format 2 no stalls of the harness: nobody looked for them. Format 3 had no sums and no notes.
Up to format 4 a fault was a partition. Up to format 5 an invocation did not tell its kind, nor an outcome its detail: reads are
then told by the function."""

_SUM = re.compile(rb',"sum":"([0-9a-f]{8})"\}\n?$')


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", tag_field="type"):
    """The first line: what was about to be run. `started` is ISO 8601, UTC; `epoch` is the wall clock at the run's time zero,
    in nanoseconds since 1970, None in an older journal."""

    format: int = FORMAT
    run: str
    plan: Plan
    variant: Variant
    nodes: tuple[str, ...]
    started: str
    epoch: int | None = None
    version: str
    kernel: str = ""


class _Phase(msgspec.Struct, frozen=True, tag="phase", tag_field="type"):
    name: PhaseName
    time: Time
    ended: bool
    problem: str = ""
    cpu: int | None = None
    exit_code: Annotated[int, msgspec.Meta(ge=0, le=255)] = 0


class _Fault(msgspec.Struct, frozen=True, tag="fault", tag_field="type"):
    fault: Fault


class _PlainFault(msgspec.Struct, frozen=True, tag="fault", tag_field="type"):
    fault: PlainFault


class _View(msgspec.Struct, frozen=True, tag="view", tag_field="type"):
    view: View


class _Placement(msgspec.Struct, frozen=True, tag="placement", tag_field="type"):
    placement: Placement


class _Death(msgspec.Struct, frozen=True, tag="death", tag_field="type"):
    death: Death


class _Note(msgspec.Struct, frozen=True, tag="note", tag_field="type"):
    text: str
    times: int


class _Stall(msgspec.Struct, frozen=True, tag="stall", tag_field="type"):
    stall: Stall


class _LocalRead(msgspec.Struct, frozen=True, tag="local-read", tag_field="type"):
    read: LocalRead


class _Versions(msgspec.Struct, frozen=True, tag="versions", tag_field="type"):
    versions: dict[str, str]
    facts: dict[str, str] = {}


class _End(msgspec.Struct, frozen=True, tag="end", tag_field="type"):
    time: Time
    interrupted: bool = False


class Invoke(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="invoke", tag_field="type"):
    """A call begins: its outcome follows as a line of the same process, or never."""

    time: int
    process: int
    f: str
    key: Key = None
    value: Any = None
    node: str | None = None
    server: str | None = None
    scheduled: int | None = None
    kind: Kind | None = None


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: Outcome
    time: int
    process: int
    f: str
    key: Key = None
    value: Any = None
    error: str | None = None
    detail: str | None = None
    seen: tuple[Any, ...] = ()


_Other = Header | _Phase | _Fault | _View | _Placement | _Death | _Note | _Stall | _LocalRead | _Versions | _End
_Older = Header | _Phase | _PlainFault | _View | _Placement | _Death | _Note | _Stall | _LocalRead | _Versions | _End
"""The lines of a journal up to format 4."""


class Journal:
    """A journal being written. Every method writes one line; raises `StorageError` where the disk does not take it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder(enc_hook=repr)
        self._sum = 0
        self._failed = ""
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}.") from error

    def header(self, header: Header) -> None:
        self._line(header)

    def invoke(self, invoke: Invoke) -> None:
        self._line(invoke)

    def complete(self, operation: Operation) -> None:
        """The outcome of an operation that was invoked; its `completed` is the time, also of an `info`."""
        assert operation.completed is not None
        self._line(
            _Outcome(
                type=operation.outcome,
                time=operation.completed,
                process=operation.process,
                f=operation.f,
                key=operation.key,
                value=operation.value,
                error=operation.error,
                detail=operation.detail,
                seen=operation.seen,
            )
        )

    def phase(
        self, name: PhaseName, time: int, *, ended: bool, problem: str = "", cpu: int | None = None, exit_code: int = 0
    ) -> None:
        self._line(_Phase(name, time, ended, problem, cpu, exit_code))

    def fault(self, fault: Fault) -> None:
        self._line(_Fault(fault))

    def view(self, view: View) -> None:
        self._line(_View(view))

    def placement(self, placement: Placement) -> None:
        self._line(_Placement(placement))

    def death(self, death: Death) -> None:
        self._line(_Death(death))

    def note(self, text: str, times: int = 1) -> None:
        """Something that a reader of the verdict should know; told again with more `times`, it replaces what was told."""
        self._line(_Note(text, times))

    def stall(self, stall: Stall) -> None:
        self._line(_Stall(stall))

    def local_read(self, read: LocalRead) -> None:
        self._line(_LocalRead(read))

    def versions(self, versions: dict[str, str], facts: dict[str, str]) -> None:
        """What the servers say that they are, by node, and what the testbed says of itself."""
        self._line(_Versions(versions, facts))

    def end(self, time: int, *, interrupted: bool) -> None:
        self._line(_End(time, interrupted))

    def close(self) -> None:
        """Close the file; the journal is complete only after `end`."""
        os.close(self._file)

    def _line(self, event: Any) -> None:
        try:
            body = self._encoder.encode(event)[:-1]
        except (TypeError, ValueError):  # A text that is no Unicode, or a value that JSON does not have.
            body = self._encoder.encode(_plain(event))[:-1]
        if self._failed:  # What comes after a line that is missing would tell of a run that was not.
            raise StorageError(self._failed)
        self._sum = zlib.crc32(body, self._sum)
        line = b'%b,"sum":"%08x"}\n' % (body, self._sum)
        try:
            written, why = os.write(self._file, line), "No space left on device"
        except OSError as error:
            written, why = 0, error.strerror or repr(error)
        if written != len(line):
            self._failed = f"{self.path}: cannot be written: {why}."
            raise StorageError(self._failed)


def _plain(value: Any) -> Any:
    """The same in what JSON has; what it has not becomes text."""
    if isinstance(value, msgspec.Struct):
        tag = value.__struct_config__
        fields = {name: _plain(getattr(value, name)) for name in value.__struct_fields__}
        return ({tag.tag_field: tag.tag} if tag.tag_field else {}) | fields
    if isinstance(value, dict):
        return {str(_plain(name)): _plain(part) for name, part in value.items()}
    if isinstance(value, tuple | list | set | frozenset):
        return [_plain(part) for part in value]
    if value is None or isinstance(value, bool | float) or (isinstance(value, int) and abs(value) < 1 << 63):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode()


def check_storable(value: Any) -> None:
    """Raise `ValueError` with a sentence for a value that no history holds: JSON does not have it, or not as it is."""
    if value is None or (type(value) is int and -(1 << 63) < value < 1 << 63):
        return
    if isinstance(value, tuple | list):
        for part in value:
            if type(part) is not int or abs(part) >= 1 << 63:
                check_storable(part)
    elif isinstance(value, dict):
        for name, part in value.items():
            check_storable(str(name))
            check_storable(part)
    elif isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"a history holds no {value}")
    elif isinstance(value, int) and abs(value) >= 1 << 63:
        raise ValueError("a history holds integers of at most 64 bits")
    elif isinstance(value, str):
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a history holds no text that is not Unicode: {value[:60]!a}") from error
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError(f"a history holds no {type(value).__name__}: {value!a:.60}")


class _Summed:
    """A journal as a file of whole lines, up to the first whose sum is wrong: `damaged` is then its number. A journal of a
    format without sums is read as it is. `first` is its first line, as it lies there."""

    def __init__(self, file: BinaryIO) -> None:
        self.damaged = 0
        self.first = self._first = file.readline()
        self._file = file
        self._has_sums = self._first.startswith(b"{") and (
            _SUM.search(self._first) is not None or _promises_sums(self._first)
        )
        self._sum, self._number, self._ended = 0, 1, False

    def read(self, size: int) -> bytes:
        """Lines of `size` bytes together or a few more, whole ones where they have sums; first of all the first line."""
        if self._first:
            first, self._first = self._first, b""
            return self._sound(first)
        chunk = self._file.read(size)
        return self._sound(chunk + self._file.readline() if self._has_sums else chunk)

    def readline(self) -> bytes:
        """What is left of a line, or the next one; empty at the end."""
        return self._sound(self._file.readline())

    def _sound(self, lines: bytes) -> bytes:
        """As many of these lines as have the right sum."""
        if not self._has_sums:
            return lines
        if self._ended:
            return b""
        # All at once: looking at one after the other is most of the reading of a large journal.
        last = summed(lines, self._sum) if lines else self._sum
        if last is None:
            return b"".join(self._one_by_one(lines))
        self._sum, self._number = last, self._number + lines.count(b"\n")
        return lines

    def _one_by_one(self, lines: bytes) -> Iterator[bytes]:
        """The same, among which there is the last line, or a damaged one."""
        for line in re.findall(rb"[^\n]*\n|[^\n]+", lines):
            told = _SUM.search(line)
            if told is None and not line.endswith(b"\n"):
                self._ended = True  # It was being written when the harness ended.
                return
            if told is not None:
                self._sum = zlib.crc32(memoryview(line)[: told.start()], self._sum)
            if told is None or int(told[1], 16) != self._sum:
                self.damaged, self._ended = self._number, True
                return
            yield line
            self._number += 1


def _promises_sums(header: bytes) -> bool:
    """Whether this damaged or foreign first line says that it is of a format with sums."""
    found = re.match(rb'\{"type":"header","format":(\d+),', header)
    return found is not None and 4 <= int(found[1]) <= FORMAT


def load(path: Path) -> tuple[Header | None, Recording]:
    """The recording that a journal tells, with its header (None where the run died before writing it).

    The last line may be cut short (the harness was killed while writing it): it is dropped and the recording is `torn`. So is
    one that was damaged later, up to the damage, which `Recording.damage` tells.
    Raises `HistoryError` with line and column for a file that is no journal, and for one of a newer format.
    """
    told = _Told(path)
    try:
        with path.open("rb") as file:
            summed = _Summed(file)
            history, *_ = jsonl.read(summed, str(path), torn=True, other=told.take)
    except OSError as error:
        raise unreadable(path, error) from error
    if summed.damaged == 1:
        _refuse_newer(summed.first, path, "; or else its first line is damaged")
        raise HistoryError("the journal is damaged in its first line.", path=str(path), line=1)
    return told.header, told.recording(history, summed.damaged)


class _Told:
    """What the lines of a journal tell beside its operations, so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.header: Header | None = None
        self.end: _End | None = None
        self.phases: dict[PhaseName, Phase] = {}
        self.faults: dict[int, Fault] = {}
        self.views: list[View] = []
        self.placements: list[Placement] = []
        self.deaths: list[Death] = []
        self.stalls: list[Stall] = []
        self.local_reads: list[LocalRead] = []
        self.servers = _Versions({})
        self.notes: dict[str, int] = {}
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Other)

    def take(self, number: int, line: bytes) -> None:
        """Take one more line, the `number`th. Raises `HistoryError` where it is none of a journal."""
        if number == 1:
            _refuse_newer(line, self.path)
        try:
            event = self._decoder.decode(line)
        except msgspec.MsgspecError as error:
            by = f" (the run was recorded by splitbrain {self.header.version})" if self.header is not None else ""
            raise HistoryError(
                f"not a line of a journal: {error}{by}.", path=str(self.path), line=number, column=1
            ) from error
        match event:
            case Header():
                self.header = event
                self._decoder = msgspec.json.Decoder(_Other if event.format > 4 else _Older)
            case _Phase(name, time, ended, problem, cpu, exit_code):
                began = self.phases[name].began if ended and name in self.phases else time
                self.phases[name] = Phase(name, began, time if ended else None, problem, cpu, exit_code)
            case _Fault(fault):
                self.faults[fault.id] = fault
            case _PlainFault(plain):
                self.faults[plain.id] = plain.fault()
            case _View(view):
                self.views.append(view)
            case _Placement(placement):
                self.placements.append(placement)
            case _Death(death):
                self.deaths.append(death)
            case _Note(text, times):
                self.notes[text] = times
            case _Stall(stall):
                self.stalls.append(stall)
            case _LocalRead(read):
                self.local_reads.append(read)
            case _Versions():
                self.servers = event
            case _End():
                self.end = event

    def recording(self, history: History, damaged: int) -> Recording:
        """All of it with the operations; `damaged` is the number of the line up to which the journal was read, 0 for all."""
        header = self.header
        return Recording(
            history=history,
            nodes=header.nodes if header else tuple(sorted(history.nodes)),
            plan=header.plan if header else None,
            variant=header.variant if header else None,
            started=header.started if header else "",
            epoch=header.epoch if header else None,
            splitbrain=header.version if header else "",
            kernel=header.kernel if header else "",
            faults=tuple(self.faults.values()),
            phases=tuple(self.phases.values()),
            local_reads=tuple(self.local_reads),
            views=tuple(self.views),
            placements=tuple(self.placements),
            deaths=tuple(self.deaths) if header is not None and header.format >= 2 else None,
            stalls=tuple(self.stalls) if header is not None and header.format >= 3 else None,
            versions=self.servers.versions,
            facts=self.servers.facts,
            torn=self.end is None,
            damage=f"line {damaged} of the journal is damaged" if damaged else "",
            notes=tuple(text if times == 1 else f"{text} ({times:,} times)" for text, times in self.notes.items()),
            interrupted=self.end is not None and self.end.interrupted,
        )


class _AnyHeader(msgspec.Struct, tag="header", tag_field="type"):
    format: int


def _refuse_newer(line: bytes, path: Path, unless: str = "") -> None:
    """Raise `HistoryError` where the first line is that of a newer format, with what else it may be."""
    try:
        format = msgspec.json.decode(line, type=_AnyHeader).format
    except msgspec.MsgspecError:
        return  # Not a header: the caller says what is wrong with it.
    if format > FORMAT:
        raise HistoryError(
            f"a journal of format {format}, newer than this splitbrain reads ({FORMAT}): update splitbrain{unless}.",
            path=str(path), line=1, column=1,
        )
