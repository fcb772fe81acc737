"""Our own JSON lines: the journal of a run, or a history that somebody's own program wrote.

One object a line, either an event

    {"type":"invoke","time":12,"process":0,"f":"write","key":7,"value":42,"node":"n1","server":"n2"}
    {"type":"ok","time":15,"process":0,"f":"write","key":7,"value":42}

or one complete operation, with the fields of `Operation`:

    {"process":0,"f":"write","value":42,"key":7,"outcome":"ok","invoked":12,"completed":15}

Times are nanoseconds on one clock, taken before the call and after its answer; where no line tells one, the order of the
lines counts. A completion may leave out what its invocation told. A nil (`null`) read found no value. Lines of any other
type belong to runs, and are left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from splitbrain.harness.errors import HistoryError
from splitbrain.harness.history import lines as quick
from splitbrain.harness.history import texts
from splitbrain.harness.history.builder import Builder, Event, TextEvent
from splitbrain.harness.history.clients import first_overlap
from splitbrain.harness.history.formats import jepsen, malformed
from splitbrain.harness.history.formats.text import BOM
from splitbrain.harness.history.history import History, Table
from splitbrain.harness.history.operation import Operation
from splitbrain.harness.history.shapes import Shapes

CHUNK = 1 << 20
_HEAD = 1 << 12
TYPES = frozenset(("invoke", "ok", "fail", "info"))

Other = Callable[[int, bytes], None]
"""Takes the number of a line and the line."""


class Lines(Protocol):
    """As much of a binary file as is read of it here. `read` may give a few bytes more than were asked for."""

    def read(self, size: int, /) -> bytes: ...

    def readline(self) -> bytes: ...


class _Line(Operation, frozen=True, kw_only=True):
    """An operation; what tells a type is none."""

    type: str = ""


_EVENTS = msgspec.json.Decoder(Event)
_TEXTS = msgspec.json.Decoder(TextEvent)
_OPERATIONS = msgspec.json.Decoder(Operation)
_LINES = msgspec.json.Decoder(_Line)


def encode(operations: Iterable[Operation]) -> bytes:
    """These operations as lines that `read` takes back."""
    return b"".join(encode_plain(operation) + b"\n" for operation in operations)


def encode_plain(value: Any) -> bytes:
    """JSON of whatever a history can hold; a map whose names are no words becomes a list of pairs."""
    try:
        return msgspec.json.encode(value)
    except TypeError:
        return msgspec.json.encode(_plain(value))


def _plain(value: Any) -> Any:
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, dict):
        if all(isinstance(name, str) for name in value):
            return {name: _plain(part) for name, part in value.items()}
        return [[_plain(name), _plain(part)] for name, part in value.items()]
    return [_plain(part) for part in value] if isinstance(value, tuple | list | frozenset) else value


class _Typed(msgspec.Struct):
    type: str = ""


_TYPE = msgspec.json.Decoder(_Typed)
_ANY = msgspec.json.Decoder()


def read(
    file: Lines, path: str, *, torn: bool = False, other: Other | None = None
) -> tuple[History, list[str], Shapes]:
    """The history in JSON lines, read a few megabytes at a time, notes, and the shapes of what was invoked; `path` is the name
    of the file for errors. Lines of another type are handed to `other`; without it they are an error, but in the journal of a
    run. A last line that is cut short is an error, or is left out with `torn`.

    Raises `HistoryError` with line and column, and what was expected there.
    """
    reader = _Reader(path, torn, other)
    head = file.read(len(BOM))
    rest = b"" if head == BOM else head + file.readline()
    if rest:
        reader.take(rest)
    while chunk := file.read(CHUNK):
        reader.take(chunk + file.readline())
    return reader.history(), [*reader.notes, *reader.intake.notes()], reader.builder.shapes


_EVENT_BEGINS = tuple(f'{{"type":"{kind}",'.encode() for kind in sorted(TYPES))


def _whole(events: Sequence[Event]) -> bool:
    """Whether all tell their process, and invocations their function."""
    if None in [one.process for one in events]:
        return False
    return None not in [one.f for one in events] or not any([one.f is None and one.type == "invoke" for one in events])


class _Reader:
    def __init__(self, path: str, torn: bool, other: Other | None) -> None:
        self.path = path
        self.torn = torn
        self.other = other
        self.notes: list[str] = []
        self.line = 1
        self.builder = Builder(path, clock="times", where=lambda line: (line, 1))
        self.intake = jepsen.Intake(self.builder)
        self.journal = False
        self.table = Table()
        self.lines: list[NDArray[np.int64]] = []
        self.transactions = 0
        self.size = 0

    def take(self, chunk: bytes) -> None:
        """Take whole lines; the last of the file may lack its line break."""
        many = chunk.count(b"\n") + (not chunk.endswith(b"\n"))
        if not (self._all_events(chunk, many) or self._all_operations(chunk, many) or self._most_events(chunk)):
            self._take_lines(chunk)
        self.line += many

    def _all_events(self, chunk: bytes, many: int) -> bool:
        if len(self.table):
            return False
        if self._quickly(chunk, np.arange(self.line, self.line + many)):
            return True
        try:
            events = self._transactions(chunk) or _EVENTS.decode_lines(chunk)
        except malformed.ERRORS:
            return False
        if len(events) != many or not _whole(events):
            return False
        self.intake.named = True
        self.builder.extend(events, np.arange(self.line, self.line + many))
        return True

    def _most_events(self, chunk: bytes) -> bool:
        """Take the lines of a journal, where events alone begin as events do; none of them otherwise."""
        if len(self.table) or not (self.journal or self.other is not None):
            return False
        lines = chunk.removesuffix(b"\n").split(b"\n")
        begins = np.fromiter([line.startswith(_EVENT_BEGINS) for line in lines], np.bool_, len(lines))
        others = [(at, lines[at]) for at in np.flatnonzero(~begins).tolist()]
        try:
            kinds = [_TYPE.decode(line).type for _, line in others]
            told = b"\n".join([line for line, event in zip(lines, begins.tolist(), strict=True) if event])
            events = self._transactions(told) or _EVENTS.decode_lines(told)
        except malformed.ERRORS:
            return False
        if len(events) != len(lines) - len(others) or not _whole(events) or "" in kinds or not TYPES.isdisjoint(kinds):
            return False
        for (at, line), kind in zip(others, kinds, strict=True):
            self._take_other(kind, line, self.line + at)
        if events:
            self.intake.named = True
        self.builder.extend(events, self.line + np.flatnonzero(begins))
        return True

    def _quickly(self, chunk: bytes, positions: NDArray[np.int64]) -> bool:
        """Take the lines of a large file into columns, where they are events that tell all that they have to, and most of them
        are of the commonest shape; none of them otherwise."""
        self.size += len(chunk)
        told = quick.read(chunk, len(positions)) if quick.worth_it(self.size) else None
        if told is None:
            return False
        rows = np.flatnonzero(told.others)
        ends = np.append(told.starts[1:], len(chunk))
        try:
            others = _EVENTS.decode_lines(b"".join([
                chunk[begin:end] for begin, end in zip(told.starts[rows].tolist(), ends[rows].tolist(), strict=True)
            ]))
        except malformed.ERRORS:
            return False
        if len(others) != len(rows) or not self.builder.extend_read(told, others, positions):
            return False
        self.intake.named = True
        return True

    def _transactions(self, chunk: bytes) -> Sequence[Event]:
        """The events of a chunk, with their values as JSON, where all are of transactions and they are many; else none."""
        if b'"txn"' not in chunk[:_HEAD]:
            return ()
        self.transactions += len(chunk)
        if not texts.worth_it(self.transactions):
            return ()
        events = _TEXTS.decode_lines(chunk)
        return events if {one.f for one in events} <= {"txn", None} else ()

    def _all_operations(self, chunk: bytes, many: int) -> bool:
        if self.builder.events:
            return False
        try:
            operations = _LINES.decode_lines(chunk)
            if len(operations) != many or any(map(attrgetter("type"), operations)):
                return False
            if any([one.completed is not None and one.completed < one.invoked for one in operations]):
                return False
            self.table.extend(operations)
        except (*malformed.ERRORS, OverflowError):
            return False
        self.lines.append(np.arange(self.line, self.line + many))
        return True

    def _take_event(self, line: bytes, number: int) -> None:
        if len(self.table):
            raise self._error(number, 1, "expected an operation like the lines before, found an event")
        try:
            event = _EVENTS.decode(line)
        except msgspec.ValidationError:
            # As lenient as an array: what is no event at all is refused there.
            form = _ANY.decode(line)
            if "time" in form and form["time"] is not None and type(form["time"]) is not int:
                raise
            self.intake.take(form, number, partial(self._error, number, 1))
            return
        if event.process is None or event.f is None:
            self.intake.take(_ANY.decode(line), number, partial(self._error, number, 1))
        else:
            self.intake.named = True
            self.builder.add(event, number)

    def _take_other(self, kind: str, line: bytes, number: int) -> None:
        """A line of another type: a journal has more than events, and a type that only looks like ours is none of them."""
        self.journal |= number == 1 and kind == "header"
        if kind.strip(" :").lower() in TYPES or not (self.journal or self.other is not None):
            raise self._error(number, 1, f"expected type invoke, ok, fail or info, found {kind[:40]!r}")
        if self.other is not None:
            self.other(number, line)

    def _take_lines(self, chunk: bytes) -> None:
        """As `take`, a line at a time: some are blank, of another kind, or wrong."""
        lines = chunk.split(b"\n")
        for number, line in enumerate(lines, self.line):
            if not line.strip():
                continue
            try:
                kind = _TYPE.decode(line).type
                if kind in TYPES:
                    self._take_event(line, number)
                elif kind:
                    self._take_other(kind, line, number)
                else:
                    self._take_operation(_OPERATIONS.decode(line), number)
            except malformed.ERRORS as error:
                at, message = malformed.explain(line, error)
                if number == self.line + len(lines) - 1 and at == len(line):
                    if self.torn:
                        self.notes.append("the last line is cut short: left out")
                        return
                    message += ": --torn judges what came before"
                column = len(line[:at].decode("utf-8", "ignore")) + 1
                raise self._error(number, column, message) from error

    def _take_operation(self, operation: Operation, line: int) -> None:
        if self.builder.events:
            raise self._error(line, 1, "expected an event like the lines before, found an operation")
        if operation.completed is not None and operation.completed < operation.invoked:
            raise self._error(line, 1, "the operation completes before the time at which it was invoked")
        try:
            self.table.extend([operation])
        except OverflowError as error:
            raise self._error(line, 1, "expected integers of at most 64 bits") from error
        self.lines.append(np.array([line]))

    def history(self) -> History:
        if not len(self.table):
            return self.builder.history()
        process, invoked, completed = (self.table.column(name) for name in ("process", "invoked", "completed"))
        if (overlap := first_overlap(process, invoked, completed)) is not None:
            raise self._error(int(np.concatenate(self.lines)[overlap[0]]), 1, overlap[1])
        del process, invoked, completed
        return self.table.history()

    def _error(self, line: int, column: int, message: str) -> HistoryError:
        return HistoryError(f"{message}.", path=self.path, line=line, column=column)
