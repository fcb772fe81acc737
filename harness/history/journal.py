"""The journal: every event of a run as one line of JSON, written the moment it happens.

The first line is a header (format, plan, variant, nodes). Then, in the order in which they happened: `phase`, `invoke` and
its `ok`, `fail` or `info`, `fault` (again at every stage of it: the last line of an id tells the whole), `view`, `death`,
`local-read`, `versions`, and `end`. Each line goes to the kernel by itself, so that a killed harness loses at most the line
it was writing. A journal without its `end` is torn, and still loads.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import msgspec

from splitbrain.harness.errors import HistoryError, StorageError
from splitbrain.harness.history.death import Death
from splitbrain.harness.history.fault import Fault, PlainFault
from splitbrain.harness.history.formats import jsonl
from splitbrain.harness.history.operation import Key, Operation, Outcome
from splitbrain.harness.history.recording import LocalRead, Phase, PhaseName, Placement, Recording, View
from splitbrain.harness.history.variant import Variant
from splitbrain.harness.plan import Plan

FORMAT = 3
"""Format 1 knew no deaths: nobody looked for them. Up to format 2 a fault was a partition."""


class Header(msgspec.Struct, frozen=True, kw_only=True, tag="header", tag_field="type"):
    """The first line: what was about to be run. `started` is ISO 8601, UTC."""

    format: int = FORMAT
    run: str
    plan: Plan
    variant: Variant
    nodes: tuple[str, ...]
    started: str
    version: str
    kernel: str = ""


class _Phase(msgspec.Struct, frozen=True, tag="phase", tag_field="type"):
    name: PhaseName
    time: int
    ended: bool
    problem: str = ""


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


class _LocalRead(msgspec.Struct, frozen=True, tag="local-read", tag_field="type"):
    read: LocalRead


class _Versions(msgspec.Struct, frozen=True, tag="versions", tag_field="type"):
    versions: dict[str, str]
    facts: dict[str, str] = {}


class _End(msgspec.Struct, frozen=True, tag="end", tag_field="type"):
    time: int
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


class _Outcome(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    type: Outcome
    time: int
    process: int
    f: str
    key: Key = None
    value: Any = None
    error: str | None = None
    seen: tuple[Any, ...] = ()


_Other = Header | _Phase | _Fault | _View | _Placement | _Death | _LocalRead | _Versions | _End
_Older = Header | _Phase | _PlainFault | _View | _Placement | _Death | _LocalRead | _Versions | _End
"""The lines of a journal up to format 2."""


class Journal:
    """A journal being written. Every method writes one line; raises `StorageError` where the disk does not take it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encoder = msgspec.json.Encoder()
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise StorageError(f"{path}: cannot be written: {error.strerror}.") from None

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
                seen=operation.seen,
            )
        )

    def phase(self, name: PhaseName, time: int, *, ended: bool, problem: str = "") -> None:
        self._line(_Phase(name, time, ended, problem))

    def fault(self, fault: Fault) -> None:
        self._line(_Fault(fault))

    def view(self, view: View) -> None:
        self._line(_View(view))

    def placement(self, placement: Placement) -> None:
        self._line(_Placement(placement))

    def death(self, death: Death) -> None:
        self._line(_Death(death))

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
        line = self._encoder.encode(event) + b"\n"
        try:
            written = os.write(self._file, line)
        except OSError as error:
            raise StorageError(f"{self.path}: cannot be written: {error.strerror}.") from None
        if written != len(line):
            raise StorageError(f"{self.path}: cannot be written: no space left on the device.")


def load(path: Path) -> tuple[Header | None, Recording]:
    """The recording that a journal tells, with its header (None where the run died before writing it).

    The last line may be cut short (the harness was killed while writing it): it is dropped and the recording is `torn`.
    Raises `HistoryError` with line and column for a file that is no journal, and for one of a newer format.
    """
    decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Other)
    older: msgspec.json.Decoder[Any] = msgspec.json.Decoder(_Older)
    header: Header | None = None
    phases: dict[PhaseName, Phase] = {}
    faults: dict[int, Fault] = {}
    views: list[View] = []
    placements: list[Placement] = []
    deaths: list[Death] = []
    local_reads: list[LocalRead] = []
    versions: dict[str, str] = {}
    facts: dict[str, str] = {}
    end: _End | None = None

    def take(number: int, line: bytes) -> None:
        nonlocal header, versions, facts, end
        _refuse_newer(line, number, path)
        try:
            event = (decoder if header is None or header.format > 2 else older).decode(line)
        except msgspec.MsgspecError as error:
            raise HistoryError(f"not a line of a journal: {error}.", path=str(path), line=number, column=1) from None
        match event:
            case Header():
                header = event
            case _Phase(name, time, ended, problem):
                began = phases[name].began if ended and name in phases else time
                phases[name] = Phase(name, began, time if ended else None, problem)
            case _Fault(fault):
                faults[fault.id] = fault
            case _PlainFault(plain):
                faults[plain.id] = plain.fault()
            case _View(view):
                views.append(view)
            case _Placement(placement):
                placements.append(placement)
            case _Death(death):
                deaths.append(death)
            case _LocalRead(read):
                local_reads.append(read)
            case _Versions(found, told):
                versions, facts = found, told
            case _End():
                end = event

    history, _ = jsonl.read(path, torn=True, other=take)
    return header, Recording(
        history=history,
        nodes=header.nodes if header else tuple(sorted(history.nodes)),
        plan=header.plan if header else None,
        variant=header.variant if header else None,
        started=header.started if header else "",
        splitbrain=header.version if header else "",
        kernel=header.kernel if header else "",
        faults=tuple(faults.values()),
        phases=tuple(phases.values()),
        local_reads=tuple(local_reads),
        views=tuple(views),
        placements=tuple(placements),
        deaths=tuple(deaths) if header is not None and header.format >= 2 else None,
        versions=versions,
        facts=facts,
        torn=end is None,
        interrupted=end is not None and end.interrupted,
    )


class _AnyHeader(msgspec.Struct, tag="header", tag_field="type"):
    format: int


def _refuse_newer(line: bytes, number: int, path: Path) -> None:
    if number != 1:
        return
    try:
        format = msgspec.json.decode(line, type=_AnyHeader).format
    except msgspec.MsgspecError:
        return  # Not a header: the caller's decoder says what is wrong with it.
    if format > FORMAT:
        raise HistoryError(
            f"a journal of format {format}, newer than this splitbrain reads ({FORMAT}): update splitbrain.",
            path=str(path), line=1, column=1,
        )
